// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks that sleep for each other: scatto beside what else there is.
 *
 * blocked_roundtrip: two processes on one CPU,
 *
 *	client --- request ---> server
 *	client <--- reply ----- server		one round
 *
 * under SCHED_BATCH, which does not preempt on wake-up: whoever sends goes on to sleep
 * for the answer before the other runs, so each round is two real sleeps. With
 * scatto-call waking the other and waiting for it are one system call. The median over
 * turns of 50 rounds, so that what the host does now and then does not count.
 *
 * oneway_wake: from just before sending until the receiver, who sleeps, has the event;
 * "one-cpu" with a SCHED_FIFO receiver, which runs at once, and "two-cpus" with one that
 * has the other CPU for itself. The median of a run.
 *
 * With --instructions the clock counts instructions: only what is on one CPU is measured.
 *
 * That there are as many sleeps as events is checked, not assumed: a run whose voluntary
 * context switches (and, for scatto, the channel's own count of sleeps) differ by more
 * than the tick explains is a failure. So is anything that arrives and was not sent.
 */
#include <limits.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <stdalign.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "vm.h"

/*
 * The first round and the last reply need not sleep, and the tick may take the
 * CPU away between sending and sleeping.
 */
#define SLACK (4 + rounds / 50)

/* Rounds that are timed at once. */
#define TURN	50

enum { THERE, BACK };

/**
 * struct way - for two processes to hand each other a number, in both directions
 * @open: before the fork
 * @attach: afterwards, in each of the two: where it receives
 * @send: @value is never 0
 * @call: send there, receive here; NULL: as two calls
 * @detach: in each of the two
 * @close: by who has opened
 */
struct way {
	const char *name;
	void (*open)(void);
	void (*attach)(int from);
	void (*send)(int to, uint64_t value);
	uint64_t (*recv)(int from);
	uint64_t (*call)(int from, uint64_t value);
	void (*detach)(void);
	void (*close)(void);
};

static struct shared {
	alignas(128) _Atomic uint32_t word[2][32];
	alignas(128) uint64_t value[2][16];
	_Atomic unsigned int received;
	long sleeps;
	uint64_t latency;
} *sh;

static unsigned int rounds;

static void futex_send(int to, uint64_t value)
{
	_Atomic uint32_t *word = sh->word[to];

	sh->value[to][0] = value;
	atomic_store_explicit(word, *word + 1, memory_order_release);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static uint32_t futex_seen[2];

static uint64_t futex_recv(int from)
{
	_Atomic uint32_t *word = sh->word[from];

	while (atomic_load_explicit(word, memory_order_acquire) == futex_seen[from])
		syscall(SYS_futex, word, FUTEX_WAIT, futex_seen[from], NULL, NULL, 0);
	futex_seen[from]++;
	return sh->value[from][0];
}

static void futex_open(void)
{
	memset(sh, 0, sizeof(*sh));
	memset(futex_seen, 0, sizeof(futex_seen));
}

/* What is written here and read there, in each direction. */
static int in[2], out[2];

static void fd_send(int to, uint64_t value)
{
	if (write(out[to], &value, sizeof(value)) != sizeof(value))
		die("write: %s", strerror(errno));
}

static uint64_t fd_recv(int from)
{
	uint64_t value;

	if (read(in[from], &value, sizeof(value)) != sizeof(value))
		die("read: %s", strerror(errno));
	return value;
}

static void fd_close(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(in[i]);
		if (out[i] != in[i])
			close(out[i]);
	}
}

/* Its counter is the value: it is 0 again before the next. */
static void eventfd_open(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		in[i] = check_errno("eventfd", eventfd(0, EFD_CLOEXEC));
		out[i] = in[i];
	}
}

static void pipe_open(void)
{
	int i, fds[2];

	for (i = 0; i < 2; i++) {
		check_errno("pipe", pipe2(fds, O_CLOEXEC));
		in[i] = fds[0];
		out[i] = fds[1];
	}
}

static void socketpair_open(int type)
{
	int fds[2];

	check_errno("socketpair", socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
	out[THERE] = fds[0];
	in[BACK] = check_errno("dup", dup(fds[0]));
	out[BACK] = fds[1];
	in[THERE] = check_errno("dup", dup(fds[1]));
}

static void stream_open(void)
{
	socketpair_open(SOCK_STREAM);
}

static void seqpacket_open(void)
{
	socketpair_open(SOCK_SEQPACKET);
}

#define QUEUE	"/scatto-bench"

static void mqueue_open(void)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = sizeof(uint64_t) };
	int i;

	for (i = 0; i < 2; i++) {
		in[i] = mq_open(QUEUE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
		out[i] = check_errno("mq_open", in[i]);
		mq_unlink(QUEUE);
	}
}

static void mqueue_send(int to, uint64_t value)
{
	check_errno("mq_send", mq_send(out[to], (char *)&value, sizeof(value), 0));
}

static uint64_t mqueue_recv(int from)
{
	uint64_t value;

	check_errno("mq_receive", mq_receive(in[from], (char *)&value, sizeof(value), NULL));
	return value;
}

static struct scatto_channel *ch[2];
static struct scatto_producer *prod;
static struct scatto_consumer *cons;

static void scatto_open(void)
{
	int i;

	for (i = 0; i < 2; i++)
		ch[i] = channel(SCATTO_BACKEND_KERNEL, SCATTO_KIND_SPSC, 8, 64, 0);
}

static void scatto_open_many(void)
{
	int i;

	for (i = 0; i < 2; i++)
		ch[i] = channel(SCATTO_BACKEND_KERNEL, SCATTO_KIND_MPSC, 8, 64, 0);
}

static void scatto_attach(int from)
{
	cons = consumer(ch[from], SCATTO_STRATEGY_BLOCK);
	prod = producer(ch[!from], SCATTO_STRATEGY_BLOCK);
}

static void scatto_way_send(int to, uint64_t value)
{
	check("send", scatto_send(prod, &value));
}

static uint64_t scatto_way_recv(int from)
{
	uint64_t value;

	check("recv", scatto_recv(cons, &value));
	return value;
}

static uint64_t scatto_way_call(int from, uint64_t value)
{
	uint64_t reply;

	check("call", scatto_call(prod, &value, cons, &reply, SCATTO_FOREVER));
	return reply;
}

static void scatto_detach(void)
{
	scatto_consumer_close(cons);
	scatto_producer_close(prod);
	cons = NULL;
}

static void scatto_close(void)
{
	scatto_channel_free(ch[THERE]);
	scatto_channel_free(ch[BACK]);
}

#define FD_WAY(n, o)	{ .name = n, .open = o, .send = fd_send, .recv = fd_recv,	\
			  .close = fd_close }
#define SCATTO_WAY(n, o, c)	{ .name = n, .open = o, .attach = scatto_attach,		\
				  .send = scatto_way_send, .recv = scatto_way_recv, .call = c,	\
				  .detach = scatto_detach, .close = scatto_close }

static const struct way ways[] = {
	{ .name = "futex", .open = futex_open, .send = futex_send, .recv = futex_recv },
	FD_WAY("eventfd", eventfd_open),
	FD_WAY("pipe", pipe_open),
	FD_WAY("socketpair-stream", stream_open),
	FD_WAY("socketpair-seqpacket", seqpacket_open),
	{ .name = "mqueue", .open = mqueue_open, .send = mqueue_send, .recv = mqueue_recv,
	  .close = fd_close },
	SCATTO_WAY("scatto", scatto_open, NULL),
	SCATTO_WAY("scatto-call", scatto_open, scatto_way_call),
	SCATTO_WAY("scatto-mpsc", scatto_open_many, NULL),
};

static const struct way *way;

static uint64_t call(int from, uint64_t value)
{
	if (way->call)
		return way->call(from, value);
	way->send(!from, value);
	return way->recv(from);
}

static void attach(int from)
{
	if (way->attach)
		way->attach(from);
}

static void detach(void)
{
	if (way->detach)
		way->detach();
}

static long sleeps(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_nvcsw;
}

static double least_sleeps = 1;

static void check_sleeps(const char *what, long n)
{
	double share = (double)n / rounds;

	if (share < least_sleeps)
		least_sleeps = share;
	if (labs(n - (long)rounds) > (long)SLACK)
		die("%s, %s: slept %ld times for %u events", way->name, what, n, rounds);
}

static void schedule_as(int policy, int priority)
{
	struct sched_param param = { .sched_priority = priority };

	check_errno("scheduler", sched_setscheduler(0, policy, &param));
}

/* The server's half of all rounds. Replies are the request's complement. */
static void serve(void *unused)
{
	uint64_t got;
	unsigned int i;

	attach(THERE);
	got = way->recv(THERE);
	for (i = 1; i < rounds; i++)
		got = call(THERE, ~got);
	way->send(BACK, ~got);
	sh->sleeps = sleeps();
	/* It is the client who has counted when we leave. */
	way->recv(THERE);
	detach();
}

static struct row row(const char *measure, const char *topology)
{
	return (struct row){
		.measure = measure, .impl = way->name, .topology = topology, .bytes = 8,
		.unit = "ns",
	};
}

static void roundtrip(unsigned int rep)
{
	uint64_t samples[rounds / TURN], start, i;
	long before;
	pid_t pid;

	pin(0);
	schedule_as(SCHED_BATCH, 0);
	pid = spawn(serve, NULL);
	attach(BACK);
	until_asleep(pid);

	before = sleeps();
	start = now_ns();
	for (i = 1; i <= rounds; i++) {
		uint64_t got = call(BACK, i), now;

		if (got != ~i)
			die("%s: got %ju for %ju", way->name, (uintmax_t)got, (uintmax_t)i);
		if (i % TURN)
			continue;
		now = now_ns();
		samples[i / TURN - 1] = now - start;
		start = now;
	}
	check_sleeps("the client", sleeps() - before);
	if (cons)
		check_sleeps("the client by the channel's count", consumer_info(cons).data_sleeps);
	way->send(THERE, 1);
	reap(pid);
	check_sleeps("the server", sh->sleeps);
	detach();
	emit(row("blocked_roundtrip", "one-cpu"), rep,
	     (double)percentile(samples, rounds / TURN, 0.5) / TURN);
}

/* Receives times, and compares them with its clock. */
static void receive(void *alone)
{
	uint64_t *samples = calloc(rounds, sizeof(*samples));
	unsigned int i;
	long before;

	if (alone)
		pin(1);
	else
		schedule_as(SCHED_FIFO, 1);
	attach(THERE);
	before = sleeps();
	for (i = 0; i < rounds; i++) {
		uint64_t sent = way->recv(THERE), now = now_ns();

		if (sent > now || now - sent > 1000000000)
			die("%s: sent at %ju, received at %ju", way->name, (uintmax_t)sent,
			    (uintmax_t)now);
		samples[i] = now - sent;
		atomic_store(&sh->received, i + 1);
	}
	sh->sleeps = sleeps() - before;
	sh->latency = percentile(samples, rounds, 0.5);
	detach();
}

static void oneway(bool alone, unsigned int rep)
{
	unsigned int i;
	pid_t pid;

	pin(0);
	schedule_as(SCHED_OTHER, 0);
	atomic_store(&sh->received, 0);
	pid = spawn(receive, alone ? &rounds : NULL);
	attach(BACK);
	until_asleep(pid);
	for (i = 0; i < rounds; i++) {
		/* On its own CPU it has yet to run, and then to go to sleep again. */
		while (alone && atomic_load(&sh->received) != i)
			usleep(100);
		if (alone)
			until_asleep(pid);
		way->send(THERE, now_ns());
	}
	reap(pid);
	check_sleeps("the receiver", sh->sleeps);
	detach();
	emit(row("oneway_wake", alone ? "two-cpus" : "one-cpu"), rep, sh->latency);
}

static void run(void (*measure)(unsigned int rep), unsigned int rep)
{
	for (way = ways; way < ways + ARRAY_LEN(ways); way++) {
		way->open();
		measure(rep);
		if (way->close)
			way->close();
	}
}

static void oneway_shared(unsigned int rep)
{
	oneway(false, rep);
}

static void oneway_alone(unsigned int rep)
{
	oneway(true, rep);
}

int main(int argc, char **argv)
{
	unsigned int rep;

	options(argc, argv);
	sh = shared(sizeof(*sh));
	for (rep = 0; rep < opt.reps; rep++) {
		rounds = count(3000);
		run(roundtrip, rep);
		run(oneway_shared, rep);
		if (opt.instructions)
			continue;
		rounds = count(500);
		run(oneway_alone, rep);
	}
	fprintf(stderr, "blocked: sleeps per event at least %.4f\n", least_sleeps);
	return 0;
}
