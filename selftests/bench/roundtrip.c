// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocked round trip between two processes on one CPU: scatto, futex, eventfd.
 *
 *	client --- request ---> server
 *	client <--- reply ----- server		one round
 *
 * Both run on the same CPU under SCHED_BATCH, which does not preempt on
 * wake-up: whoever sends goes on to sleep for the answer before the other
 * runs, so each round is two real sleeps. That is checked, not assumed: a run
 * whose voluntary context switches (and, for scatto, the channel's own count of
 * sleeps) differ from the rounds by more than the tick explains is a failure,
 * and the smallest share of sleeps is printed. What arrives is checked too.
 *
 * The runs of the methods are interleaved; the median, smallest and largest of
 * them are printed, and the ratios of the medians.
 *
 * usage: roundtrip [rounds [repetitions]]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <scatto.h>

/*
 * The first round and the last reply need not sleep, and the tick may take the
 * CPU away between sending and sleeping.
 */
#define SLACK (4 + rounds / 100)

enum method { FUTEX, EVENTFD, SCATTO, SCATTO_CALL, NR_METHODS };

static const char * const names[NR_METHODS] = {
	"futex", "eventfd", "scatto", "scatto_call",
};

struct shared {
	alignas(128) _Atomic uint32_t request;
	alignas(128) _Atomic uint32_t reply;
	alignas(128) uint64_t event[2];		/* eventfd: the payload */
	long server_sleeps;
	int failed;
};

struct setup {
	struct shared *sh;
	int efd[2];
	struct scatto_channel *ch[2];
};

static unsigned int rounds = 5000;
static unsigned int repetitions = 7;

static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "roundtrip: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

static void check(const char *what, int ret)
{
	if (ret < 0)
		die("%s: %s", what, strerror(-ret));
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static long sleeps(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_nvcsw;
}

static void futex_send(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_recv(_Atomic uint32_t *word, uint32_t value)
{
	uint32_t seen;

	while ((seen = atomic_load_explicit(word, memory_order_acquire)) != value)
		syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void event_send(int fd, uint64_t *slot, uint64_t value)
{
	uint64_t one = 1;

	*slot = value;
	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("eventfd: %s", strerror(errno));
}

static void event_recv(int fd, const uint64_t *slot, uint64_t value)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		die("eventfd: %s", strerror(errno));
	if (*slot != value)
		die("eventfd: got %lu, not %lu", *slot, value);
}

/* The server's half of all rounds. Replies are the request's complement. */
static void serve(enum method m, struct setup *s)
{
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	uint64_t got = 0, reply;
	unsigned int i;

	if (m == SCATTO || m == SCATTO_CALL) {
		check("consumer", scatto_consumer_attach(s->ch[0], &c));
		check("producer", scatto_producer_attach(s->ch[1], &p));
		scatto_consumer_set_wait(c, SCATTO_STRATEGY_BLOCK);
		scatto_producer_set_wait(p, SCATTO_STRATEGY_BLOCK);
	}
	if (m == SCATTO_CALL)
		check("recv", scatto_recv(c, &got));
	for (i = 1; i <= rounds; i++) {
		switch (m) {
		case FUTEX:
			futex_recv(&s->sh->request, i);
			futex_send(&s->sh->reply, i);
			break;
		case EVENTFD:
			event_recv(s->efd[0], &s->sh->event[0], i);
			event_send(s->efd[1], &s->sh->event[1], ~(uint64_t)i);
			break;
		case SCATTO:
			check("recv", scatto_recv(c, &got));
			reply = ~got;
			check("send", scatto_send(p, &reply));
			break;
		default:
			reply = ~got;
			if (i < rounds)
				check("call", scatto_call(p, &reply, c, &got,
							  SCATTO_FOREVER));
			else
				check("send", scatto_send(p, &reply));
		}
	}
	s->sh->server_sleeps = sleeps();
	if (c)
		scatto_consumer_close(c);
	if (p)
		scatto_producer_close(p);
}

static double request(enum method m, struct setup *s, struct scatto_producer *p,
		      struct scatto_consumer *c)
{
	double start = now();
	uint64_t i, got = 0;

	for (i = 1; i <= rounds; i++) {
		switch (m) {
		case FUTEX:
			futex_send(&s->sh->request, i);
			futex_recv(&s->sh->reply, i);
			continue;
		case EVENTFD:
			event_send(s->efd[0], &s->sh->event[0], i);
			event_recv(s->efd[1], &s->sh->event[1], ~i);
			continue;
		case SCATTO:
			check("send", scatto_send(p, &i));
			check("recv", scatto_recv(c, &got));
			break;
		default:
			check("call", scatto_call(p, &i, c, &got,
						  SCATTO_FOREVER));
		}
		if (got != ~i)
			die("%s: got %lu for %lu", names[m], got, i);
	}
	return (now() - start) / rounds * 1e6;
}

static double least_sleeps = 1;

static void check_sleeps(const char *what, long n)
{
	double share = (double)n / rounds;

	if (share < least_sleeps)
		least_sleeps = share;
	if (labs(n - (long)rounds) > (long)SLACK)
		die("%s slept %ld times in %u rounds: not a blocked round trip",
		    what, n, rounds);
}

/* One run of one method; microseconds per round. */
static double run(enum method m)
{
	bool scatto = m == SCATTO || m == SCATTO_CALL;
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	struct setup s = {};
	double us;
	long before;
	int i, status;
	pid_t pid;

	s.sh = mmap(NULL, sizeof(*s.sh), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s.sh == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	for (i = 0; i < 2; i++) {
		struct scatto_config cfg = {
			.size = sizeof(cfg), .kind = SCATTO_KIND_SPSC,
			.slot_size = 8, .capacity = 64,
		};

		s.efd[i] = eventfd(0, EFD_CLOEXEC);
		if (scatto)
			check("create", scatto_channel_create(&cfg, &s.ch[i]));
	}

	pid = fork();
	if (!pid) {
		serve(m, &s);
		exit(0);
	}
	if (scatto) {
		check("producer", scatto_producer_attach(s.ch[0], &p));
		check("consumer", scatto_consumer_attach(s.ch[1], &c));
		scatto_consumer_set_wait(c, SCATTO_STRATEGY_BLOCK);
		scatto_producer_set_wait(p, SCATTO_STRATEGY_BLOCK);
	}
	/* Until the server waits for the first request. */
	usleep(20000);

	before = sleeps();
	us = request(m, &s, p, c);
	check_sleeps(names[m], sleeps() - before);
	if (scatto) {
		struct scatto_info info = { .size = sizeof(info) };

		check("info", scatto_consumer_info(c, &info));
		check_sleeps("by the channel's count, the client", info.data_sleeps);
		scatto_consumer_close(c);
		scatto_producer_close(p);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("%s: the server failed", names[m]);
	check_sleeps("the server", s.sh->server_sleeps);
	for (i = 0; i < 2; i++) {
		close(s.efd[i]);
		if (scatto)
			scatto_channel_free(s.ch[i]);
	}
	munmap(s.sh, sizeof(*s.sh));
	return us;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double us[NR_METHODS][100], median[NR_METHODS];
	struct sched_param batch = {};
	unsigned int m, i;
	cpu_set_t cpu;

	if (argc > 1)
		rounds = atoi(argv[1]);
	if (argc > 2)
		repetitions = atoi(argv[2]);
	if (!rounds || !repetitions || repetitions > 100)
		die("usage: roundtrip [rounds [repetitions, at most 100]]");

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu) ||
	    sched_setscheduler(0, SCHED_BATCH, &batch))
		die("cannot pin: %s", strerror(errno));

	for (i = 0; i < repetitions; i++)
		for (m = 0; m < NR_METHODS; m++)
			us[m][i] = run(m);

	printf("# blocked round trip, one CPU, %u rounds, %u interleaved runs\n",
	       rounds, repetitions);
	printf("# sleeps per round and side: at least %.4f\n", least_sleeps);
	printf("%-12s %10s %10s %10s %10s %10s\n", "us per round", "median",
	       "min", "max", "/ futex", "/ eventfd");
	for (m = 0; m < NR_METHODS; m++) {
		qsort(us[m], repetitions, sizeof(double), by_value);
		median[m] = us[m][repetitions / 2];
	}
	for (m = 0; m < NR_METHODS; m++)
		printf("%-12s %10.2f %10.2f %10.2f %10.3f %10.3f\n", names[m],
		       median[m], us[m][0], us[m][repetitions - 1],
		       median[m] / median[FUTEX], median[m] / median[EVENTFD]);
	return 0;
}
