// SPDX-License-Identifier: GPL-2.0-only
/*
 * Three channels at full rate for SCATTO_SOAK seconds (10; 600 in the long form):
 * SPSC, MPSC with four producers, and one that the kernel fills from all contexts.
 * Producers in user space are killed at random and replaced; after each death and before
 * the next each channel goes on, with nobody coming or leaving who would wake others by
 * accident. Every position is accounted for, and the kernel has no more memory in use at
 * the end than before. So it is after thousands of visits, where a few bytes that each of
 * them leaves behind are seen.
 */
#include "kselftest_harness.h"
#include "kmod/scatto_test.h"
#include "many.h"

#define CAPACITY	256
#define PRODUCERS	4
#define VICTIMS		(1 + PRODUCERS)	/* the first is the SPSC one's */
#define LIVES		65536
#define STORM_MS	100
#define GROWTH_KB	512		/* of the kernel's memory: 50 to 150 are normal */
#define VISITS		20000
#define FULL_VISITS	200000
#define VISITS_GROWTH_KB 128		/* 0 is normal; 8 bytes each would be 156 */

struct life {
	volatile uint64_t about;	/* events that it may have published */
	volatile uint64_t sent;		/* ...that it has */
	uint64_t got;
};

struct soak {
	volatile uint32_t over;
	volatile uint64_t got[3];	/* by channel */
	volatile uint64_t tombstones;
	char wrong[256];
	struct life life[LIVES];
};

static struct soak *soak;

#define complain(...) do {						\
	if (!soak->wrong[0])						\
		snprintf(soak->wrong, sizeof(soak->wrong), __VA_ARGS__);	\
} while (0)

/* Producers: until they are killed, or told that it is over */

static void wait_for_room(struct end *end, uint64_t want)
{
	int ret = dev_wait(end->fd, want, -1);

	if (ret)
		complain("WAIT for space: %s", strerror(-ret));
}

/* What it sends is the position. */
static void send_spsc(int owner)
{
	struct end end;
	int ret = end_open(&end, SCATTO_ROLE_PRODUCER, owner);

	if (ret)
		complain("SPSC producer: %s", strerror(-ret));
	while (!ret && !soak->over) {
		uint64_t at = end.prod->published;

		if (end_send(&end, at) == -EAGAIN)
			wait_for_room(&end, at - CAPACITY + 1 + CAPACITY / 4);
	}
}

static void send_mpsc(int owner, uint32_t id)
{
	struct life *me = &soak->life[id];
	struct end end;
	int ret = end_open(&end, SCATTO_ROLE_PRODUCER, owner);

	if (ret)
		complain("MPSC producer: %s", strerror(-ret));
	while (!ret && !soak->over) {
		struct scatto_claim arg = claim_args(1, 0, -1);
		uint64_t at;

		if (many_claim(&end, 1, &at)) {
			ret = dev_claim(end.fd, &arg);
			if (ret)
				complain("CLAIM: %s", strerror(-ret));
			at = arg.position;
		}
		if (ret)
			break;
		me->about = me->sent + 1;
		many_publish(&end, at, (uint64_t)id << 40 | me->sent);
		me->sent++;
	}
}

/* Who comes and goes. */
static void visit(int owner, bool stay)
{
	struct end end;
	int ret = end_attach(&end, SCATTO_ROLE_OBSERVER, owner);

	if (!ret && stay)
		ret = end_map(&end);
	if (ret)
		complain("visitor: %s", strerror(-ret));
	end_drop(&end);
}

static void visit_own(bool many)
{
	int owner = many ? many_create(NULL, 0, 8, 16, PRODUCERS, 0) :
			   channel_create(NULL, 0, 8, 16, 0);
	struct end end[2] = {};
	int i, ret = owner < 0 ? owner : 0;

	for (i = 0; i < 2 && !ret; i++)
		ret = end_open(&end[i], i ? SCATTO_ROLE_CONSUMER : SCATTO_ROLE_PRODUCER, owner);
	if (!ret)
		ret = many ? many_send(&end[0], 1) : end_send(&end[0], 1);
	if (ret < 0)
		complain("visitor's channel: %s", strerror(-ret));
	while (i--)
		end_drop(&end[i]);
	close(owner);
}

/* Most attach to what is there, some to a channel of their own. */
static void visit_many(const int *owner, unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n && !soak->wrong[0]; i++) {
		if (i % 16)
			visit(owner[i % 2], i % 4 == 1);
		else
			visit_own(i % 32);
	}
}

static pid_t begin_life(unsigned int i, uint32_t id, const int *owner)
{
	pid_t pid = spawn();

	if (pid)
		return pid;
	if (i)
		send_mpsc(owner[1], id);
	else
		send_spsc(owner[0]);
	_exit(0);
}

/* Consumers: threads that read to the end */

struct consumer {
	pthread_t thread;
	unsigned int channel;
	struct end end;
};

static void check_event(struct consumer *c, uint64_t seq)
{
	const void *slot = end_slot(&c->end, seq);
	const struct st_event *ev = slot;
	uint64_t value = *(const uint64_t *)slot;
	struct life *of;

	switch (c->channel) {
	case 0:
		if (value != seq)
			complain("SPSC: %llu at %llu", (unsigned long long)value,
				 (unsigned long long)seq);
		break;
	case 1:
		of = &soak->life[(value >> 40) % LIVES];
		value &= (1ULL << 40) - 1;
		if (value != of->got)
			complain("MPSC: event %llu of life %td, %llu expected",
				 (unsigned long long)value, of - soak->life,
				 (unsigned long long)of->got);
		of->got++;
		break;
	default:
		if (ev->check != st_check(ev->source, ev->nr) || ev->seq != seq)
			complain("kernel: nonsense at %llu", (unsigned long long)seq);
	}
}

static void *consume(void *p)
{
	struct consumer *c = p;
	struct end *end = &c->end;
	uint64_t seq = end_cursor(end);

	/* Not a step past the end, whatever may be there. */
	for (; seq < end->area->end; seq++) {
		while (c->channel ? !many_stamped(end, seq) : end_published(end) == seq) {
			if (end_is_over(end)) {
				/* What is below the end was there when it was set. */
				if (seq < end->area->end && c->channel && !many_stamped(end, seq))
					complain("channel %u: nothing at %llu, the end is %llu",
						 c->channel, (unsigned long long)seq,
						 (unsigned long long)end->area->end);
				if (seq >= end->area->end || soak->wrong[0])
					return NULL;
			}
			dev_wait(end->fd, seq + 1, -1);
		}
		if (c->channel && many_is_tombstone(end, seq)) {
			if (c->channel == 1)
				soak->tombstones++;
		} else {
			check_event(c, seq);
			soak->got[c->channel]++;
		}
		end_release(end, seq + 1);
	}
	return NULL;
}

/* Memory that the kernel does not get back by itself, in kB */
static long long unreclaimable(void)
{
	return read_number("/proc/meminfo", "SUnreclaim:") +
	       read_number("/proc/meminfo", "VmallocUsed:") +
	       read_number("/proc/meminfo", "Percpu:");
}

static long long settled(void)
{
	/* What waits for a grace period or a work queue has gone by then. */
	sleep_ms(500);
	return unreclaimable();
}

/* A debug kernel keeps for a while what is freed; it has kmemleak instead. */
static bool grows_too_much(long long before, long long after, long long most)
{
	return test_slowness() == 1 && after - before >= most;
}

struct kernel_counts {
	uint64_t sent;
	uint64_t full;
};

static void blow(int module, int number, struct kernel_counts *sum)
{
	static struct st_storm arg;
	unsigned int i, j;

	arg = (struct st_storm){
		.channel = number, .ms = STORM_MS, .period_us = 500,
		.contexts = 1 << ST_TASK | 1 << ST_SOFTIRQ | 1 << ST_HARDIRQ,
	};
	if (ioctl(module, ST_IOC_STORM, &arg))
		complain("storm: %s", strerror(errno));
	for (i = 0; i < arg.cpus; i++)
		for (j = 0; j < ST_NR_CONTEXTS; j++) {
			sum->sent += arg.count[i][j].sent;
			sum->full += arg.count[i][j].full;
		}
}

static void goes_on(unsigned int i)
{
	uint64_t before = soak->got[i];

	if (!wait_for(soak->got[i] != before || soak->wrong[0], PATIENCE_MS))
		complain("channel %u stands still at %llu", i, (unsigned long long)before);
}

/* The consumer gets all that the kernel has sent. */
static void has_all(const struct kernel_counts *sum)
{
	if (!wait_for(soak->got[2] == sum->sent || soak->wrong[0], PATIENCE_MS))
		complain("kernel: %llu sent, %llu came", (unsigned long long)sum->sent,
			 (unsigned long long)soak->got[2]);
}

/*
 * Every other one is stopped first, so that the others fill the ring behind what it may
 * have claimed, and only its death can wake them.
 */
static void kill_one(pid_t pid, uint64_t *seed)
{
	if (chance(seed) % 2) {
		kill(pid, SIGSTOP);
		usleep(chance(seed) % 20000);
	}
	kill_and_reap(pid);
}

static unsigned int soak_seconds(void)
{
	const char *seconds = getenv("SCATTO_SOAK");

	return seconds ? strtoul(seconds, NULL, 0) : test_count(600, 10);
}

FIXTURE(soak)
{
	int owner[2];
	int module;
	int number;
	struct consumer consumer[3];
	pid_t pid[VICTIMS];
	uint32_t lives;
};

FIXTURE_SETUP(soak)
{
	struct st_create arg = {
		.name = "soak", .slot_size = sizeof(struct st_event),
		.capacity = CAPACITY, .mode = 0600,
	};

	soak = mmap(NULL, sizeof(*soak), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, soak);
	self->module = test_module_open();
	ASSERT_LE(0, self->module);
	self->owner[0] = channel_create(NULL, 0, 8, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_LE(0, self->owner[0]);
	self->owner[1] = many_create(NULL, 0, 8, CAPACITY, PRODUCERS + 1, SCATTO_F_PAUSE);
	ASSERT_LE(0, self->owner[1]);
	self->number = ioctl(self->module, ST_IOC_CREATE, &arg);
	ASSERT_LE(0, self->number);
}

FIXTURE_TEARDOWN(soak)
{
	ioctl(self->module, ST_IOC_DESTROY, self->number);
}

TEST_F_TIMEOUT(soak, all, LONG_TEST_S)
{
	uint64_t begin = now_ns(), next = begin + 10000000000ULL, seed = 1;
	unsigned int seconds = soak_seconds(), kills = 0, i;
	long long before = -1, after;
	struct kernel_counts sum = {};

	for (i = 0; i < 3; i++) {
		struct consumer *c = &self->consumer[i];

		c->channel = i;
		ASSERT_EQ(0, end_attach_to(&c->end, SCATTO_ROLE_CONSUMER,
					   i < 2 ? self->owner[i] : -1, i < 2 ? NULL : "soak"));
		ASSERT_EQ(0, end_map(&c->end));
	}
	for (i = 0; i < VICTIMS; i++)
		self->pid[i] = begin_life(i, self->lives++, self->owner);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&self->consumer[i].thread, NULL, consume,
					    &self->consumer[i]));
	while (now_ns() - begin < seconds * 1000000000ULL && !soak->wrong[0] &&
	       self->lives < LIVES) {
		blow(self->module, self->number, &sum);
		has_all(&sum);
		goes_on(0);
		goes_on(1);
		/* By now slabs and the like are filled as they will be. */
		if (before < 0 && now_ns() - begin > seconds * 200000000ULL)
			before = settled();
		i = chance(&seed) % VICTIMS;
		usleep(chance(&seed) % 20000);
		kill_one(self->pid[i], &seed);
		kills++;
		/* Without the next one: it would wake those who were forgotten. */
		if (i)
			goes_on(1);
		self->pid[i] = begin_life(i, self->lives++, self->owner);
		if (now_ns() < next)
			continue;
		next += 10000000000ULL;
		printf("# %llu s: %u killed, %llu SPSC, %llu MPSC, %llu kernel, %lld kB\n",
		       (unsigned long long)(now_ns() - begin) / 1000000000, kills,
		       (unsigned long long)soak->got[0], (unsigned long long)soak->got[1],
		       (unsigned long long)soak->got[2], unreclaimable());
		fflush(stdout);
	}
	after = settled();
	soak->over = 1;
	for (i = 0; i < VICTIMS; i++)
		EXPECT_EQ(0, reap(self->pid[i]));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, dev_close(self->owner[i]));
	EXPECT_EQ(0, ioctl(self->module, ST_IOC_DESTROY, self->number));
	for (i = 0; i < 3; i++)
		pthread_join(self->consumer[i].thread, NULL);
	EXPECT_STREQ("", soak->wrong);
	EXPECT_EQ(end_published(&self->consumer[0].end), soak->got[0]);
	EXPECT_EQ(many_claimed(&self->consumer[1].end), soak->got[1] + soak->tombstones);
	EXPECT_EQ(self->consumer[0].end.area->end, soak->got[0]);
	EXPECT_EQ(self->consumer[1].end.area->end, soak->got[1] + soak->tombstones);
	for (i = 0; i < self->lives; i++) {
		const struct life *l = &soak->life[i];

		EXPECT_LE(l->sent, l->got);
		EXPECT_GE(l->about, l->got);
	}
	EXPECT_EQ(sum.sent, soak->got[2]);
	EXPECT_GE(kills, soak->tombstones);
	printf("# %u killed, %llu SPSC, %llu MPSC (%llu tombstones), %llu kernel (%llu full)\n",
	       kills, (unsigned long long)soak->got[0], (unsigned long long)soak->got[1],
	       (unsigned long long)soak->tombstones, (unsigned long long)soak->got[2],
	       (unsigned long long)sum.full);
	printf("# %lld kB before, %lld after\n", before, after);
	/* The harness leaves its children through _exit(). */
	fflush(stdout);
	/* The same processes and channels exist at both looks. */
	if (!soak->wrong[0]) {
		EXPECT_LE(0, before);
		EXPECT_FALSE(grows_too_much(before, after, GROWTH_KB));
	}
}

TEST_F_TIMEOUT(soak, visits, LONG_TEST_S)
{
	unsigned long n = test_count(FULL_VISITS, VISITS);
	long long before, after;

	visit_many(self->owner, n / 10);
	before = settled();
	visit_many(self->owner, n);
	after = settled();
	EXPECT_STREQ("", soak->wrong);
	printf("# %lu visits, %lld kB before, %lld after\n", n, before, after);
	fflush(stdout);
	EXPECT_FALSE(grows_too_much(before, after, VISITS_GROWTH_KB));
}

TEST_HARNESS_MAIN
