// SPDX-License-Identifier: GPL-2.0-only
/*
 * Producers of one MPSC channel killed by the thousand: at random instants, while
 * eight of them send in every way there is, and after each single instruction of
 * claiming, publishing and waking. Every event that was published arrives once, in
 * the order of claims; what a dead one had claimed is skipped; nobody waits for
 * the dead. Particular cases are in orphan.c.
 */
#include "kselftest_harness.h"
#include "latencies.h"
#include "many.h"

#include <scatto.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/user.h>

#define PRODUCERS	8
#define BYSTANDERS	2
#define CAPACITY	64
#define MOST		5	/* slots of a claim */

/* A log of who claimed what, as long as a claim can be ahead of the consumer. */
#define LOG		(4 * CAPACITY)

#define UNKNOWN		(~0ULL)

struct event {
	uint64_t life;
	uint64_t serial;	/* of that life's events */
	uint64_t pos;		/* or UNKNOWN: a send does not tell its caller */
	uint64_t check;
};

enum phase {
	IDLE,
	ABOUT,			/* to claim, or in a call that does it all */
	CLAIMED,		/* nothing stamped yet */
	STAMPING,
	ABORTING,
};

/* What a producer writes down of itself, outside the ring; outlives it. */
struct life {
	volatile uint32_t phase;
	volatile uint32_t n;		/* slots it is about to claim, or has */
	volatile uint64_t sent;		/* events published for sure */
	volatile uint64_t aborted;	/* slots made tombstones for sure */
	volatile uint32_t doomed;	/* by whoever kills it, before that */
	volatile uint32_t wrong;	/* a call has failed: -errno */
	/* The consumer's. */
	uint64_t got;
	uint64_t next;			/* serial expected */
};

struct claim_log {
	volatile uint64_t pos;
	volatile uint32_t life;
	volatile uint32_t aborted;
};

struct shared {
	struct claim_log log[LOG];
	volatile uint64_t taken;	/* events that the consumer has got */
	volatile uint64_t tombs;	/* tombstones that it has skipped */
	volatile uint64_t unlogged;	/* those that nobody had written down */
	volatile uint64_t position;	/* where it is */
	volatile uint32_t done;
	uint64_t stall_ns;		/* longest that a bystander was off the CPU */
	struct stalls stalls[STALL_CPUS];	/* when a sleeper should have run and did not */
	char wrong[256];		/* what it complains about */
	struct life lives[];
};

static uint64_t check_of(const struct event *e)
{
	return (e->life << 40 ^ e->serial ^ e->pos) * 0x9e3779b97f4a7c15ULL;
}

static struct event event_of(uint64_t life, uint64_t serial, uint64_t pos)
{
	struct event e = { .life = life, .serial = serial, .pos = pos };

	e.check = check_of(&e);
	return e;
}

/* A life */

static void life_about(struct life *me, uint32_t n)
{
	me->n = n;
	me->phase = ABOUT;
}

static void life_claimed(struct shared *sh, struct life *me, uint64_t pos, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		struct claim_log *l = &sh->log[(pos + i) % LOG];

		l->life = me - sh->lives;
		l->aborted = 0;
		__atomic_store_n(&l->pos, pos + i, __ATOMIC_RELEASE);
	}
	me->n = n;
	me->phase = CLAIMED;
}

/* Of its last claim it keeps the first @keep slots. */
static void life_stamping(struct shared *sh, struct life *me, uint64_t pos,
			  uint32_t keep)
{
	uint32_t i;

	for (i = keep; i < me->n; i++)
		sh->log[(pos + i) % LOG].aborted = 1;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	me->phase = keep ? STAMPING : ABORTING;
}

static void life_done(struct life *me, uint32_t sent, uint32_t aborted)
{
	me->sent += sent;
	me->aborted += aborted;
	me->phase = IDLE;
}

static void life_fails(struct life *me, int ret)
{
	me->wrong = -ret;
	for (;;)
		pause();
}

/* Now and then it takes its time, so that more of them die right there. */
static void life_linger(uint64_t *seed)
{
	switch (chance(seed) % 16) {
	case 0:
		dither(seed, 20000);
		break;
	case 1:
		sched_yield();
	}
}

/* Or has nothing to send: the consumer is to sleep as well. */
static void life_rest(uint64_t *seed)
{
	if (!(chance(seed) % 8))
		usleep(chance(seed) % 5000);
}

/* How many of @n slots to publish: mostly all, sometimes some or none. */
static uint32_t life_keep(uint64_t *seed, uint32_t n)
{
	return chance(seed) % 8 ? n : chance(seed) % (n + 1);
}

/* By the library: sends of all kinds. */
static int lib_send(struct life *me, struct scatto_producer *p, uint64_t id,
		    uint64_t *seed)
{
	struct event evs[MOST];
	uint32_t n = 1, i;
	int ret;

	switch (chance(seed) % 3) {
	case 0:
		life_about(me, 1);
		evs[0] = event_of(id, me->sent, UNKNOWN);
		ret = scatto_send(p, evs);
		break;
	case 1:
		life_about(me, 1);
		evs[0] = event_of(id, me->sent, UNKNOWN);
		ret = scatto_try_send(p, evs);
		break;
	default:
		n = 1 + chance(seed) % MOST;
		life_about(me, n);
		for (i = 0; i < n; i++)
			evs[i] = event_of(id, me->sent + i, UNKNOWN);
		ret = scatto_send_batch(p, evs, n);
		if (ret >= 0 && ret != (int)n)
			return -EBADE;
	}
	if (ret == -EAGAIN)
		n = 0;
	else if (ret < 0)
		return ret;
	life_done(me, n, 0);
	return 0;
}

static int lib_claim(struct shared *sh, struct life *me, struct scatto_producer *p,
		     uint64_t *seed)
{
	uint32_t n = 1 + chance(seed) % MOST, keep = life_keep(seed, n), i;
	uint64_t pos;
	int ret;

	life_about(me, n);
	ret = scatto_claim_batch(p, n);
	if (ret)
		return ret;
	pos = scatto_producer_position(p);
	life_claimed(sh, me, pos, n);
	for (i = 0; i < n; i++) {
		struct event *e = scatto_claim_slot(p, i);

		*e = event_of(me - sh->lives, me->sent + i, pos + i);
	}
	life_linger(seed);
	life_stamping(sh, me, pos, keep);
	ret = scatto_publish_n(p, keep);
	if (ret)
		return ret;
	life_done(me, keep, n - keep);
	return 0;
}

static void live_by_library(struct shared *sh, struct life *me, int owner,
			    uint64_t *seed)
{
	struct scatto_producer *p;
	struct scatto_channel *ch;
	int ret;

	ret = scatto_channel_from_fd(owner, &ch);
	ret = ret ?: scatto_producer_attach(ch, &p);
	while (!ret) {
		life_rest(seed);
		ret = chance(seed) % 2 ? lib_send(me, p, me - sh->lives, seed) :
					 lib_claim(sh, me, p, seed);
	}
	life_fails(me, ret);
}

/*
 * many_claim() that lingers: others win what it is about to claim, and what the
 * dead have left is in doubt as long as it does.
 */
static int slow_claim(struct end *end, uint32_t n, uint64_t *at, uint64_t *seed)
{
	volatile struct scatto_intent *intent = many_intent(end, end->index);
	uint64_t seq = many_claimed(end);

	while (!end->area->claimers &&
	       seq + n - end_cursor(end) <= end->layout.capacity) {
		__atomic_store_n(&intent->hi, seq + n, __ATOMIC_RELEASE);
		life_linger(seed);
		__atomic_store_n(&intent->lo, seq, __ATOMIC_RELEASE);
		life_linger(seed);
		if (__atomic_compare_exchange_n(&end->prod->claimed, &seq, seq + n,
						false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED)) {
			*at = seq;
			return 0;
		}
	}
	__atomic_store_n(&intent->lo, SCATTO_INTENT_NONE, __ATOMIC_RELEASE);
	return -EAGAIN;
}

/* By the ABI: claims of both kinds, stamps in any order. */
static int raw_claim(struct end *end, uint32_t *n, uint64_t *pos, uint64_t *seed)
{
	unsigned int tries = chance(seed) % 16;
	struct scatto_claim arg;
	int ret;

	while (tries--) {
		ret = slow_claim(end, *n, pos, seed);
		if (ret != -EAGAIN)
			return ret;
		sched_yield();
	}
	arg = claim_args(*n, chance(seed) % 2, chance(seed) % 2 ? 1 : -1);
	ret = dev_claim(end->fd, &arg);
	if (ret == -ETIMEDOUT)
		return -EAGAIN;
	*pos = arg.position;
	*n = arg.granted;
	return ret;
}

static int raw_step(struct shared *sh, struct life *me, struct end *end,
		    uint64_t *seed)
{
	uint32_t n = 1 + chance(seed) % MOST, keep, i, from;
	uint64_t pos;
	int ret;

	life_about(me, n);
	ret = raw_claim(end, &n, &pos, seed);
	if (ret == -EAGAIN) {
		life_done(me, 0, 0);
		return 0;
	}
	if (ret)
		return ret;
	life_linger(seed);
	life_claimed(sh, me, pos, n);
	keep = life_keep(seed, n);
	for (i = 0; i < keep; i++) {
		struct event *e = end_slot(end, pos + i);

		*e = event_of(me - sh->lives, me->sent + i, pos + i);
	}
	life_linger(seed);
	life_stamping(sh, me, pos, keep);
	from = chance(seed) % n;
	for (i = 0; i < n; i++) {
		uint32_t at = (from + i) % n;

		life_linger(seed);
		many_put_stamp(end, pos + at, at < keep ? 0 : SCATTO_STAMP_TOMBSTONE);
	}
	life_linger(seed);
	ret = many_wake(end);
	if (ret < 0)
		return ret;
	life_done(me, keep, n - keep);
	return 0;
}

static void *idle_main(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void live_raw(struct shared *sh, struct life *me, int owner, uint64_t *seed)
{
	pthread_t thread;
	struct end end;
	int ret;

	ret = end_open(&end, SCATTO_ROLE_PRODUCER, owner);
	/* The last thread to go is not always the one that sends. */
	if (!ret && !(chance(seed) % 8))
		ret = -pthread_create(&thread, NULL, idle_main, NULL);
	while (!ret) {
		life_rest(seed);
		ret = raw_step(sh, me, &end, seed);
	}
	life_fails(me, ret);
}

static pid_t life_begin(struct shared *sh, uint64_t id, int owner)
{
	uint64_t seed = (id + 1) * 0x9e3779b97f4a7c15ULL;
	pid_t pid = spawn();

	if (pid)
		return pid;
	setpriority(PRIO_PROCESS, 0, 0);
	chance(&seed);
	if (chance(&seed) % 2)
		live_by_library(sh, &sh->lives[id], owner, &seed);
	live_raw(sh, &sh->lives[id], owner, &seed);
	_exit(1);
}

/* The consumer: a process that checks all it gets against the logs */

#define complain(sh, ...) do {						\
	if (!(sh)->wrong[0])						\
		snprintf((sh)->wrong, sizeof((sh)->wrong), __VA_ARGS__);	\
} while (0)

static void check_tombstone(struct shared *sh, uint64_t pos)
{
	const struct claim_log *l = &sh->log[pos % LOG];
	const struct life *of;

	sh->tombs++;
	if (__atomic_load_n(&l->pos, __ATOMIC_ACQUIRE) != pos) {
		sh->unlogged++;
		return;
	}
	of = &sh->lives[l->life];
	if (!l->aborted && !of->doomed)
		complain(sh, "slot %llu of life %u is a tombstone, and that lives",
			 (unsigned long long)pos, l->life);
}

static void check_event(struct shared *sh, const struct event *e, uint64_t pos)
{
	const struct claim_log *l = &sh->log[pos % LOG];
	struct life *of = &sh->lives[e->life];

	if (e->check != check_of(e)) {
		complain(sh, "nonsense at %llu", (unsigned long long)pos);
		return;
	}
	if (e->pos != UNKNOWN && e->pos != pos)
		complain(sh, "event of slot %llu at %llu",
			 (unsigned long long)e->pos, (unsigned long long)pos);
	if (__atomic_load_n(&l->pos, __ATOMIC_ACQUIRE) == pos &&
	    (l->life != e->life || l->aborted))
		complain(sh, "slot %llu of life %u holds an event of life %llu",
			 (unsigned long long)pos, l->life,
			 (unsigned long long)e->life);
	/* One that dies while it stamps several may leave a gap, see the end. */
	if (e->serial < of->next || (e->serial > of->next && !of->doomed))
		complain(sh, "event %llu of life %llu where %llu was expected",
			 (unsigned long long)e->serial, (unsigned long long)e->life,
			 (unsigned long long)of->next);
	of->next = e->serial + 1;
	of->got++;
	sh->taken++;
}

static void consume(struct shared *sh, int owner)
{
	struct scatto_consumer *c;
	struct scatto_channel *ch;
	uint64_t pos, next = 0;
	struct event e;
	int ret;

	/* Else it is what all others wait for. */
	setpriority(PRIO_PROCESS, 0, -10);
	ret = scatto_channel_from_fd(owner, &ch);
	ret = ret ?: scatto_consumer_attach(ch, &c);
	if (ret)
		complain(sh, "the consumer cannot attach: %d", ret);
	while (!sh->wrong[0]) {
		ret = scatto_recv_until(c, &e, scatto_deadline(PATIENCE_MS * 1000000ULL));
		if (ret && ret != -EPIPE) {
			complain(sh, "at %llu: %s", (unsigned long long)next,
				 strerror(-ret));
			break;
		}
		/* An event has been taken: what came before it were tombstones. */
		pos = scatto_consumer_position(c) - !ret;
		for (; next < pos; next++)
			check_tombstone(sh, next);
		if (ret)
			break;
		check_event(sh, &e, next++);
		sh->position = next;
	}
	sh->position = next;
	sh->done = 1;
	_exit(0);
}

/* Memory */

/* Lines of /proc/vmallocinfo: channels that still have memory. */
static int channels_in_memory(void)
{
	static char buf[1 << 20];
	char *at = buf;
	int n = 0;

	if (read_file("/proc/vmallocinfo", buf, sizeof(buf)) < 0)
		return -1;
	while ((at = strstr(at, "scatto_channel_new"))) {
		at++;
		n++;
	}
	return n;
}

FIXTURE(massacre) {
	int dev;
	int listed, in_memory;
};

FIXTURE_SETUP(massacre)
{
	self->dev = dev_open();
	ASSERT_LE(0, self->dev);
	self->listed = dev_list_count(self->dev);
	self->in_memory = channels_in_memory();
	ASSERT_LE(0, self->in_memory);
}

/* Nothing of any channel is left, however it went. */
FIXTURE_TEARDOWN(massacre)
{
	EXPECT_EQ(self->listed, dev_list_count(self->dev));
	/* vfree() may be deferred. */
	EXPECT_TRUE(wait_for(channels_in_memory() == self->in_memory, 5000));
	close(self->dev);
}

/* What a killed one may have left, by its own log. */
struct bounds {
	uint64_t least, most;		/* tombstones by the kernel */
	uint64_t own;			/* by itself, at most, beyond those logged */
	uint64_t unlogged;		/* claimed and not written down, at most */
	uint64_t aborted;		/* by itself, for sure */
	uint64_t sent;
	unsigned int phases[ABORTING + 1];
};

static void bounds_add(struct bounds *b, const struct life *l)
{
	b->sent += l->sent;
	b->aborted += l->aborted;
	b->phases[l->phase]++;
	if (l->phase == IDLE)
		return;
	b->most += l->n;
	if (l->phase == ABOUT)
		b->unlogged += l->n;
	if (l->phase == CLAIMED)
		b->least += l->n;
	/* A call that does it all stamps tombstones when it was granted more. */
	else
		b->own += l->n;
}

static void note_most(uint64_t *at, uint64_t ns)
{
	uint64_t most = __atomic_load_n(at, __ATOMIC_RELAXED);

	while (ns > most &&
	       !__atomic_compare_exchange_n(at, &most, ns, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Comes before all others on its CPU: when it is late the machine is. */
static pid_t sleeper_begin(struct stalls *stalls, int cpu)
{
	struct sched_param fifo = { .sched_priority = 2 };
	pid_t pid = spawn();
	uint64_t due;

	if (pid)
		return pid;
	if (pin(cpu) || sched_setscheduler(0, SCHED_FIFO, &fifo))
		_exit(1);
	for (;;) {
		due = now_ns() + 1000000;
		usleep(1000);
		if (now_ns() > due + STALL_NS)
			stall_add(stalls, due, now_ns());
	}
}

/*
 * One that has no channel, and as much to do. How long it waits for the CPU is what
 * a living producer may wait for in the middle of a claim.
 */
static pid_t bystander_begin(struct shared *sh, uint64_t seed)
{
	pid_t pid = spawn();
	uint64_t begin;

	if (pid)
		return pid;
	setpriority(PRIO_PROCESS, 0, 0);
	for (;;) {
		life_rest(&seed);
		begin = now_ns();
		dither(&seed, 20000);
		note_most(&sh->stall_ns, now_ns() - begin);
	}
}

/*
 * What dies gets the CPU at once, so that the time it takes is the kernel's and not
 * that of others which are runnable as well.
 */
static void kill_now(pid_t pid)
{
	struct sched_param param = { .sched_priority = 1 };

	kill(pid, SIGKILL);
	/* It may be gone. */
	sched_setscheduler(pid, SCHED_FIFO, &param);
}

/*
 * Processes without a channel die in the same load, and producers do not: the
 * machine's own stalls.
 */
static void control(struct shared *sh, struct tracer *t, struct latencies *lat,
		    unsigned int n, pid_t *bystander, uint64_t *seed)
{
	t->idle = lat;
	while (n--) {
		pid_t *pid = &bystander[chance(seed) % BYSTANDERS];

		usleep(chance(seed) % 4000);
		kill_now(*pid);
		reap(*pid);
		*pid = bystander_begin(sh, chance(seed));
		tracer_read(t);
	}
	t->idle = NULL;
}

TEST_F_TIMEOUT(massacre, at_random, 3000)
{
	unsigned long kills = test_count(20000, 300), i = 0, many = 0;
	size_t size = sizeof(struct shared) +
		      (kills + 3 * PRODUCERS) * sizeof(struct life);
	uint64_t seed = 0xfeedf00d, bar = 10000000, begin, lives = 0, born[PRODUCERS];
	struct latencies lat = {}, own = {}, idle = {}, doubt = {}, net = {};
	struct bounds b = {};
	struct scatto_info info;
	struct end keeper;
	struct tracer tracer;
	long long free_kb = 0;
	pid_t pid[PRODUCERS], bystander[BYSTANDERS], consumer, sleeper[STALL_CPUS];
	struct shared *sh;
	unsigned int j, gap = 0, wrong = 0;
	bool trace;
	int owner;

	/* The figures are wanted most when a bar is missed, and then it leaves by _exit(). */
	setvbuf(stdout, NULL, _IOLBF, 0);
	sh = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, sh);
	memset(sh->log, 0xff, sizeof(sh->log));
	owner = many_create(NULL, 0, sizeof(struct event), CAPACITY, 2 * PRODUCERS, 0);
	ASSERT_LE(0, owner);
	trace = !tracer_start(&tracer);
	ASSERT_TRUE(trace || !test_is_long());
	tracer.stalls = sh->stalls;
	lat.most = kills + 3 * PRODUCERS;
	idle.most = kills / 2 + 100;
	own.most = lat.most;
	doubt.most = lat.most;
	net.most = lat.most;
	lat.ns = calloc(lat.most, sizeof(*lat.ns));
	own.ns = calloc(own.most, sizeof(*own.ns));
	doubt.ns = calloc(doubt.most, sizeof(*doubt.ns));
	net.ns = calloc(net.most, sizeof(*net.ns));
	idle.ns = calloc(idle.most, sizeof(*idle.ns));
	/* Else seven may die before the eighth has come: the end of the stream. */
	ASSERT_EQ(0, end_attach(&keeper, SCATTO_ROLE_PRODUCER, owner));
	consumer = spawn();
	ASSERT_LE(0, consumer);
	if (!consumer)
		consume(sh, owner);
	/* Who kills gets the CPU when it wants it. */
	setpriority(PRIO_PROCESS, 0, -20);
	for (j = 0; j < PRODUCERS; j++) {
		born[j] = lives++;
		pid[j] = life_begin(sh, born[j], owner);
	}

	for (j = 0; j < BYSTANDERS; j++)
		bystander[j] = bystander_begin(sh, chance(&seed));
	for (j = 0; j < STALL_CPUS && j < (unsigned int)cpus_online(); j++)
		sleeper[j] = sleeper_begin(&sh->stalls[j], j);

	dev_info(owner, &info);
	tracer.id = info.id;
	tracer.lat = &lat;
	tracer.own = &own;
	tracer.doubt = &doubt;
	tracer.net = &net;
	begin = now_ns();
	while (i < kills && test_goes_on(begin, 20) && !sh->wrong[0] && !wrong) {
		/* Mostly one, now and then several together. */
		unsigned int n = chance(&seed) % 16 ? 1 : 2 + chance(&seed) % 6;
		unsigned int first = chance(&seed) % PRODUCERS;

		/* In between, so that both have the machine's good and bad times. */
		if (trace && idle.n <= i / 2)
			control(sh, &tracer, &idle, 50, bystander, &seed);
		if (!free_kb && i >= kills / 4)
			free_kb = read_number("/proc/meminfo", "MemFree:");
		usleep(chance(&seed) % (chance(&seed) % 4 ? 2000 : 20000));
		many += n > 1;
		for (j = 0; j < n; j++)
			sh->lives[born[(first + j) % PRODUCERS]].doomed = 1;
		for (j = 0; j < n; j++)
			kill_now(pid[(first + j) % PRODUCERS]);
		for (j = 0; j < n; j++, i++) {
			unsigned int at = (first + j) % PRODUCERS;

			ASSERT_EQ(128 + SIGKILL, reap(pid[at]));
			wrong |= sh->lives[born[at]].wrong;
			bounds_add(&b, &sh->lives[born[at]]);
			born[at] = lives++;
			pid[at] = life_begin(sh, born[at], owner);
		}
		if (trace)
			tracer_read(&tracer);
		for (j = 0; j < PRODUCERS; j++)
			wrong |= sh->lives[born[j]].wrong;
	}
	EXPECT_EQ(0, wrong)
		TH_LOG("%s", strerror(wrong));
	printf("# %lu kills, %.0f per second, %lu times several together\n", i,
	       i / ((now_ns() - begin) / 1e9), many);

	/* The last ones together: the stream ends behind what they have sent. */
	EXPECT_TRUE(wait_for(!dev_info(owner, &info) && info.producers == PRODUCERS + 1,
			     PATIENCE_MS));
	/* All children have the fd, too. */
	EXPECT_EQ(0, dev_close(keeper.fd));
	end_drop(&keeper);
	for (j = 0; j < PRODUCERS; j++)
		sh->lives[born[j]].doomed = 1;
	for (j = 0; j < PRODUCERS; j++)
		kill(pid[j], SIGKILL);
	for (j = 0; j < PRODUCERS; j++) {
		reap(pid[j]);
		EXPECT_EQ(0, sh->lives[born[j]].wrong);
		bounds_add(&b, &sh->lives[born[j]]);
	}
	for (j = 0; j < BYSTANDERS; j++)
		kill_and_reap(bystander[j]);
	for (j = 0; j < STALL_CPUS && j < (unsigned int)cpus_online(); j++)
		kill_and_reap(sleeper[j]);
	EXPECT_TRUE(wait_for(sh->done, 2 * PATIENCE_MS));
	EXPECT_EQ('\0', sh->wrong[0])
		TH_LOG("%s", sh->wrong);
	EXPECT_EQ(0, reap(consumer));
	if (trace)
		tracer_finish(&tracer);

	ASSERT_EQ(0, dev_info(owner, &info));
	printf("# died idle %u, about to claim %u, claimed %u, stamping %u, aborting %u\n",
	       b.phases[IDLE], b.phases[ABOUT], b.phases[CLAIMED], b.phases[STAMPING],
	       b.phases[ABORTING]);
	printf("# %llu events; tombstones of the kernel's: %llu (by the logs %llu to %llu)\n",
	       (unsigned long long)sh->taken, info.tombstones,
	       (unsigned long long)b.least, (unsigned long long)b.most);
	printf("# of the producers' own: %llu (%llu to %llu)\n",
	       (unsigned long long)(sh->tombs - info.tombstones),
	       (unsigned long long)b.aborted,
	       (unsigned long long)(b.aborted + b.own));
	EXPECT_EQ(info.end, sh->position);
	EXPECT_EQ(info.end, sh->taken + sh->tombs);
	EXPECT_EQ(info.skipped, sh->tombs);
	EXPECT_EQ(0, info.repair_from);
	EXPECT_EQ(0, info.repair_to);
	EXPECT_LE(b.least, info.tombstones);
	EXPECT_GE(b.most, info.tombstones);
	EXPECT_LE(b.aborted, sh->tombs - info.tombstones);
	EXPECT_GE(b.aborted + b.own, sh->tombs - info.tombstones);
	EXPECT_GE(b.unlogged, sh->unlogged);
	EXPECT_LE(info.repairs, i + PRODUCERS);

	/* Once each: all that was published, and some of what was being published. */
	for (j = 0; j < lives; j++) {
		const struct life *l = &sh->lives[j];

		EXPECT_LE(l->sent, l->got);
		EXPECT_GE(l->sent + (l->phase ? l->n : 0), l->next)
			TH_LOG("life %u, phase %u of %u: %llu sent, %llu got", j,
			       l->phase, l->n, (unsigned long long)l->sent,
			       (unsigned long long)l->got);
		gap += l->next != l->got;
	}
	printf("# %llu repairs; %u died amid several stamps\n", info.repairs, gap);
	if (trace) {
		latencies_print(&idle, "control: a process without a channel exits in");
		latencies_print(&lat, "from the last thread's exit to repaired");
		latencies_print(&own, "of that, from its last unmapping to repaired");
		latencies_print(&doubt, "the same where a living one left it in doubt");
		if (test_is_long())
			latencies_print(&net, "exit to repaired, less waits and stalls");
		printf("# control: a process without a channel is off the CPU for up to %.2f ms\n",
		       sh->stall_ns / 1e6);
		stalls_print(sh->stalls);
		tracer_stop(&tracer);
		/* Some die before they are attached. */
		EXPECT_LE(i / 2, lat.n);
		/*
		 * The bar, for a machine that has nothing else to do; what had
		 * to be tried again depends on timers, too. When the host itself
		 * is busy some take what the control takes.
		 */
		if (test_is_long()) {
			EXPECT_EQ(0, tracer.nr_open);
			EXPECT_EQ(lat.n, net.n);
			printf("# %u orphans whose exit was not seen\n", tracer.dropped);
			/* The one that kept the channel. */
			EXPECT_GE(1, tracer.dropped);
			EXPECT_GE(bar, latencies_at(&own, 100));
			EXPECT_GE(bar, latencies_at(&net, 100));
		} else if (test_slowness() == 1) {
			if (idle.n && idle.ns[idle.n - 1] * 2 > bar)
				bar = idle.ns[idle.n - 1] * 2;
			EXPECT_GE(bar, latencies_at(&own, 95));
		}
	}
	if (free_kb) {
		long long now_kb = read_number("/proc/meminfo", "MemFree:");

		printf("# free memory: %lld kB after a quarter of them, %lld kB in the end\n",
		       free_kb, now_kb);
		/* One page in four deaths would show among thousands. */
		if (i >= 3000)
			EXPECT_GT(8192 + (long long)i, free_kb - now_kb);
	}
	close(owner);
	munmap(sh, size);
	free(lat.ns);
	free(own.ns);
	free(doubt.ns);
	free(net.ns);
	free(idle.ns);
}

/*
 * Each instruction once: the victim is stopped by ptrace before it, and killed
 * there. One victim is stepped through the whole sequence to learn the way; all
 * others run into a breakpoint on it.
 */
enum sequence {
	RAW_SEND,
	RAW_BATCH,		/* of BATCH slots */
	RAW_CLAIM_CALL,		/* SCATTO_IOC_CLAIM of BATCH */
	LIB_SEND,
	LIB_BATCH,
	LIB_SEND_BATCH,
	LIB_PUBLISH_SOME,	/* one of BATCH */
	LIB_ABORT,
	LIB_BLOCKED,		/* a send that has to wait in the module */
	LIB_BATCH_BLOCKED,
};

#define BATCH		3
#define SMALL		8	/* capacity */
#define VALUE		7000ULL
#define WAY		20000	/* instructions of a sequence, far more than there are */

struct stepped {
	volatile uint32_t done;
	volatile int ret;
};

FIXTURE(step) {
	int owner, in_memory;
	struct end c, q;	/* a consumer; a producer that lives */
	struct stepped *sh;
};

FIXTURE_VARIANT(step) {
	enum sequence what;
	unsigned int n;		/* slots */
	unsigned int events;	/* in the end */
	bool blocked;
};

#define SEQUENCE(name, w, slots, evs, b)				\
FIXTURE_VARIANT_ADD(step, name) {					\
	.what = w, .n = slots, .events = evs, .blocked = b,		\
}

SEQUENCE(raw_send, RAW_SEND, 1, 1, false);
SEQUENCE(raw_batch, RAW_BATCH, BATCH, BATCH, false);
SEQUENCE(raw_claim_call, RAW_CLAIM_CALL, BATCH, BATCH, false);
SEQUENCE(send, LIB_SEND, 1, 1, false);
SEQUENCE(claim_batch, LIB_BATCH, BATCH, BATCH, false);
SEQUENCE(send_batch, LIB_SEND_BATCH, BATCH, BATCH, false);
SEQUENCE(publish_some, LIB_PUBLISH_SOME, BATCH, 1, false);
SEQUENCE(abort, LIB_ABORT, BATCH, 0, false);
SEQUENCE(send_blocked, LIB_BLOCKED, 1, 1, true);
SEQUENCE(claim_batch_blocked, LIB_BATCH_BLOCKED, BATCH, BATCH, true);

/* Else the first call of each function would be a long way through the linker. */
static __attribute__((constructor)) void bind_now(int argc, char **argv)
{
	(void)argc;
	if (setenv("LD_BIND_NOW", "1", 0) || getenv("MASSACRE_BOUND"))
		return;
	setenv("MASSACRE_BOUND", "1", 1);
	execv("/proc/self/exe", argv);
}

FIXTURE_SETUP(step)
{
	self->in_memory = channels_in_memory();
	self->sh = mmap(NULL, sizeof(*self->sh), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->sh);
	self->owner = many_create(NULL, 0, 8, SMALL, 4, 0);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, end_open(&self->q, SCATTO_ROLE_PRODUCER, self->owner));
	/* A switch between the two is quickest on one CPU. */
	ASSERT_EQ(0, pin(0));
}

FIXTURE_TEARDOWN(step)
{
	end_drop(&self->q);
	end_drop(&self->c);
	close(self->owner);
	EXPECT_TRUE(wait_for(channels_in_memory() == self->in_memory, 5000));
}

/* The sequence itself. */
static int step_act(enum sequence what, struct end *end, struct scatto_producer *p)
{
	uint64_t at, i, values[BATCH];
	struct scatto_claim arg;
	int ret;

	switch (what) {
	case RAW_SEND:
		return many_send(end, VALUE);
	case RAW_BATCH:
	case RAW_CLAIM_CALL:
		if (what == RAW_BATCH) {
			ret = many_claim(end, BATCH, &at);
		} else {
			arg = claim_args(BATCH, 0, -1);
			ret = dev_claim(end->fd, &arg);
			at = arg.position;
		}
		if (ret)
			return ret;
		for (i = 0; i < BATCH; i++)
			*(volatile uint64_t *)end_slot(end, at + i) = VALUE + i;
		for (i = BATCH; i-- > 0;)
			many_put_stamp(end, at + i, 0);
		return many_wake(end);
	case LIB_SEND:
	case LIB_BLOCKED:
		at = VALUE;
		return scatto_send(p, &at);
	case LIB_SEND_BATCH:
		for (i = 0; i < BATCH; i++)
			values[i] = VALUE + i;
		return scatto_send_batch(p, values, BATCH);
	default:
		ret = scatto_claim_batch(p, BATCH);
		if (ret)
			return ret;
		for (i = 0; i < BATCH; i++)
			*(volatile uint64_t *)scatto_claim_slot(p, i) = VALUE + i;
		return what == LIB_ABORT ? scatto_abort(p) :
		       scatto_publish_n(p, what == LIB_PUBLISH_SOME ? 1 : BATCH);
	}
}

static void step_victim(struct stepped *sh, const FIXTURE_VARIANT(step) *variant,
			int owner)
{
	struct scatto_producer *p = NULL;
	struct scatto_channel *ch;
	struct end end;
	int ret;

	if (variant->what <= RAW_CLAIM_CALL) {
		ret = end_open(&end, SCATTO_ROLE_PRODUCER, owner);
	} else {
		ret = scatto_channel_from_fd(owner, &ch);
		ret = ret ?: scatto_producer_attach(ch, &p);
		ret = ret ?: scatto_producer_set_wait(p, SCATTO_STRATEGY_BLOCK);
		if (!ret)
			scatto_producer_set_spin(p, 0);
	}
	/* Once before it counts: what is bound at its first call is bound then. */
	if (!ret && variant->blocked)
		ret = scatto_claim_batch_until(p, BATCH, now_ns() + 1000000) !=
		      -ETIMEDOUT;
	else if (!ret)
		ret = step_act(variant->what, &end, p);
	sh->ret = ret;
	if (ret < 0)
		_exit(1);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	__asm__ volatile("int3");
	sh->ret = step_act(variant->what, &end, p);
	sh->done = 1;
	for (;;)
		__asm__ volatile("int3");
}

/*
 * Lets it go on by @request. While it waits in the module the consumer makes room:
 * takes what comes before @until, if that is not 0.
 */
static int step_go_on(pid_t pid, int request, struct end *c, uint64_t until)
{
	uint64_t value;
	int status;

	if (ptrace(request, pid, NULL, NULL))
		return -errno;
	while (until) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got)
			return got == pid && WIFSTOPPED(status) ? 0 : -ECHILD;
		while (c->area->claimers && end_cursor(c) != until)
			many_recv(c, &value);
		sched_yield();
	}
	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) ? 0 : -ECHILD;
}

#define USER(field)	((void *)offsetof(struct user, field))

static uint64_t step_pc(pid_t pid)
{
	return ptrace(PTRACE_PEEKUSER, pid, USER(regs.rip), NULL);
}

/* Stops it before instruction @k of the way; -ESRCH if it went another. */
static int step_to(pid_t pid, const uint64_t *way, unsigned int k, struct end *c,
		   uint64_t until)
{
	unsigned int passes = 0, i;
	int ret;

	if (!k)
		return 0;
	for (i = 1; i < k; i++)
		passes += way[i] == way[k];
	if (ptrace(PTRACE_POKEUSER, pid, USER(u_debugreg[0]), way[k]) ||
	    ptrace(PTRACE_POKEUSER, pid, USER(u_debugreg[7]), 1))
		return -errno;
	for (;;) {
		ret = step_go_on(pid, PTRACE_CONT, c, until);
		if (ret || step_pc(pid) != way[k])
			return ret ?: -ESRCH;
		if (!passes--)
			return 0;
		ret = step_go_on(pid, PTRACE_SINGLESTEP, c, until);
		/* An instruction that repeats itself. */
		while (!ret && passes && step_pc(pid) == way[k]) {
			passes--;
			ret = step_go_on(pid, PTRACE_SINGLESTEP, c, until);
		}
		if (ret)
			return ret;
	}
}

static bool step_in_vdso(uint64_t pc)
{
	return pc - getauxval(AT_SYSINFO_EHDR) < 8192;
}

/*
 * Steps until it is done, or has gone @most steps of its way; how many those were.
 * Who reads the clock so slowly has to try again and again: loops there are left
 * out, as nobody else runs into them.
 */
static int step_through(pid_t pid, struct stepped *sh, uint64_t *way, unsigned int most,
			struct end *c, uint64_t until)
{
	unsigned int k, j;
	int ret;

	for (k = 0; k < most && !sh->done; k++) {
		way[k] = step_pc(pid);
		for (j = k; j && step_in_vdso(way[j]); j--) {
			if (way[j - 1] == way[k]) {
				k = j - 1;
				break;
			}
		}
		ret = step_go_on(pid, PTRACE_SINGLESTEP, c, until);
		if (ret)
			return ret;
	}
	return k;
}

/* As sleeper_start(), where both are on one CPU: quicker. */
static int sleeper_start_here(struct sleeper *s, int fd, uint64_t want)
{
	*s = (struct sleeper){ .fd = fd, .arg.want = want };
	s->arg.size = sizeof(s->arg);
	if (pthread_create(&s->thread, NULL, sleeper_main, s))
		return -EAGAIN;
	while (!s->tid || !task_in_call(s->tid))
		sched_yield();
	return 0;
}

/*
 * The way depends on where in the ring it begins: each time at the same slot, from
 * which a batch goes around the end.
 */
static void step_align(struct end *c, struct end *q)
{
	uint64_t value;

	while (many_claimed(q) % SMALL != SMALL - 2) {
		many_send(q, 1);
		many_recv(c, &value);
	}
}

/* A victim at the beginning of the sequence, and the channel as it expects it. */
static pid_t step_begin(struct stepped *sh, const FIXTURE_VARIANT(step) *variant,
			struct end *c, struct end *q, int owner)
{
	uint64_t value;
	int status;
	pid_t pid;

	sh->done = 0;
	if (variant->blocked) {
		step_align(c, q);
		while (many_send(q, 1) >= 0)
			;
	}
	pid = spawn();
	if (!pid)
		step_victim(sh, variant, owner);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return -1;
	while (!variant->blocked && many_recv(c, &value) >= 0)
		;
	if (!variant->blocked)
		step_align(c, q);
	return pid;
}

/* What there is to read, tombstones included; how many. */
static unsigned int step_read(struct end *c, uint64_t *got, unsigned int most)
{
	unsigned int n;
	int ret;

	for (n = 0; n < most; n++) {
		ret = many_recv(c, &got[n]);
		if (ret < 0)
			break;
		if (!ret)
			got[n] = UNKNOWN;
	}
	return n;
}

/* Kills one before instruction @k. @crowd: the other producer sends before that. */
static void step_kill(struct __test_metadata *_metadata, struct end *c, struct end *q,
		      int owner, struct stepped *sh,
		      const FIXTURE_VARIANT(step) *variant,
		      const uint64_t *way, unsigned int k, bool crowd, bool *missed)
{
	static uint64_t scratch[WAY];
	uint64_t at, value, other = 0, want[2 * SMALL], got[2 * SMALL], tombs, until;
	unsigned int i, n = 0, m, stamped = 0;
	bool won, asleep = !variant->blocked;
	struct scatto_info info;
	struct sleeper s = {};
	pid_t pid;
	int ret;

	pid = step_begin(sh, variant, c, q, owner);
	ASSERT_LE(0, pid);
	at = many_claimed(q);
	until = variant->blocked ? at : 0;
	tombs = c->area->tombstones;
	if (asleep)
		ASSERT_EQ(0, sleeper_start_here(&s, c->fd, at + 1));
	if (!*missed) {
		ret = step_to(pid, way, k, c, until);
		*missed = ret == -ESRCH;
		if (!*missed)
			ASSERT_EQ(0, ret);
	} else {
		*missed = false;
		ASSERT_LE(0, step_through(pid, sh, scratch, k, c, until));
	}

	/* How far did it come? */
	won = many_claimed(q) != at;
	if (won)
		ASSERT_EQ(at + variant->n, many_claimed(q));
	for (i = 0; won && i < variant->n; i++) {
		want[n] = UNKNOWN;
		if (many_stamped(c, at + i)) {
			stamped++;
			if (!many_is_tombstone(c, at + i))
				want[n] = VALUE + i;
		}
		n++;
	}
	if (crowd) {
		if (many_claimed(q) - end_cursor(c) == SMALL)
			ASSERT_LE(0, many_recv(c, &value));
		ASSERT_EQ(0, many_claim(q, 1, &other));
		ASSERT_LE(0, many_publish(q, other, 2));
		want[n++] = 2;
	}

	kill_and_reap(pid);
	ASSERT_EQ(0, dev_info(owner, &info));
	EXPECT_EQ(0, info.repair_from);
	EXPECT_EQ(0, info.repair_to);
	EXPECT_EQ(tombs + (won ? variant->n - stamped : 0), info.tombstones);
	/* The consumer hears of whatever has become of the first slot. */
	if (asleep && (won || crowd)) {
		EXPECT_EQ(0, sleeper_join(&s));
		asleep = false;
	}

	/* The channel works on. */
	while (variant->blocked && end_cursor(c) < at)
		ASSERT_LE(0, many_recv(c, &value));
	ASSERT_LE(0, many_send(q, 3));
	want[n++] = 3;
	if (asleep)
		EXPECT_EQ(0, sleeper_join(&s));
	m = step_read(c, got, ARRAY_LEN(got));
	EXPECT_EQ(n, m);
	for (i = 0; i < n && i < m; i++)
		EXPECT_EQ(want[i], got[i])
			TH_LOG("slot %u", i);
	EXPECT_EQ(many_claimed(q), end_cursor(c));
	if (!_metadata->passed)
		TH_LOG("killed before instruction %u: %s, %u of %u stamped", k,
		       won ? "claimed" : "not claimed", stamped, variant->n);
}

/* Steps one through all of it; how many instructions that took. */
static int step_learn(struct __test_metadata *_metadata, FIXTURE_DATA(step) *self,
		      const FIXTURE_VARIANT(step) *variant, uint64_t *way,
		      unsigned int most)
{
	unsigned int n, i, events = 0;
	uint64_t got[2 * SMALL];
	struct sleeper s;
	pid_t pid;
	int ret;

	pid = step_begin(self->sh, variant, &self->c, &self->q, self->owner);
	ASSERT_LE(0, pid);
	if (!variant->blocked)
		ASSERT_EQ(0, sleeper_start_here(&s, self->c.fd,
						many_claimed(&self->q) + 1));
	ret = step_through(pid, self->sh, way, most, &self->c,
			   variant->blocked ? many_claimed(&self->q) : 0);
	ASSERT_LT(10, ret);
	ASSERT_GT((int)most, ret);
	EXPECT_LE(0, self->sh->ret);
	if (!variant->blocked)
		EXPECT_EQ(0, sleeper_join(&s));
	kill_and_reap(pid);
	n = step_read(&self->c, got, ARRAY_LEN(got));
	for (i = 0; i < n; i++)
		events += got[i] >= VALUE && got[i] != UNKNOWN;
	EXPECT_EQ(variant->events, events);
	return ret;
}

TEST_F_TIMEOUT(step, each_instruction, 1000)
{
	unsigned int every, k, kills = 0, astray = 0, crowd;
	static uint64_t way[WAY];
	uint64_t begin = now_ns();
	int ret;

	ret = step_learn(_metadata, self, variant, way, WAY);

	/* Each alone and with the other; in the short form one in five, by turns. */
	every = test_count(2 * ret, ret / 5) < 2U * ret ? 5 : 1;
	for (k = variant->what % every; k < (unsigned int)ret; k += every) {
		for (crowd = 0; crowd < 2 && _metadata->passed; crowd++) {
			bool missed = false;

			if (every != 1 && crowd != k % 2)
				continue;
			/* Its way depends on time as well: then by single steps. */
			do {
				step_kill(_metadata, &self->c, &self->q, self->owner,
					  self->sh, variant, way, k, crowd, &missed);
				astray += missed;
			} while (missed && _metadata->passed);
			kills++;
		}
	}
	if (astray)
		printf("# %u went another way\n", astray);
	printf("# %d instructions, %u kills, %.1f s\n", ret, kills,
	       (now_ns() - begin) / 1e9);
}

TEST_HARNESS_MAIN
