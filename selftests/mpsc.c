// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels with several producers: places, order, claims that wait in the kernel
 * and who gets them, waking, the end of the stream, the kernel as one of the
 * producers. What becomes of the claims of the dead is in orphan.c.
 */
#include "kselftest_harness.h"
#include "many.h"

#include "kmod/scatto_test.h"

#define MS		1000000ULL
#define CAPACITY	8

FIXTURE(many)
{
	int owner;
	struct end p[3];
	struct end c;
};

FIXTURE_SETUP(many)
{
	unsigned int i;

	self->owner = many_create(NULL, 0, 8, CAPACITY, 0, 0);
	ASSERT_LE(0, self->owner);
	for (i = 0; i < ARRAY_LEN(self->p); i++)
		ASSERT_EQ(0, end_open(&self->p[i], SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
}

FIXTURE_TEARDOWN(many)
{
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(self->p); i++)
		end_drop(&self->p[i]);
	end_drop(&self->c);
	close(self->owner);
}

static struct scatto_info info_of(int fd)
{
	struct scatto_info info;

	dev_info(fd, &info);
	return info;
}

static int fill(struct end *p)
{
	int n = 0;

	while (!many_send(p, n))
		n++;
	return n;
}

static int drain(struct end *c)
{
	uint64_t value;
	int n = 0;

	while (many_recv(c, &value) >= 0)
		n++;
	return n;
}

/* The same, but no more than @most: what is released may be filled at once. */
static int drain_some(struct end *c, int most)
{
	uint64_t value;
	int n = 0;

	while (n < most && many_recv(c, &value) >= 0)
		n++;
	return n;
}

/* A thread in SCATTO_IOC_CLAIM, which publishes what it gets. */
struct claimer {
	struct end *p;
	struct scatto_claim *arg;
	struct scatto_claim own;
	bool hold;		/* does not publish */
	pthread_t thread;
	pid_t tid;
	int ret;
	bool done;
};

static void *claimer_main(void *data)
{
	struct claimer *c = data;
	uint32_t i;

	__atomic_store_n(&c->tid, thread_id(), __ATOMIC_RELEASE);
	c->ret = dev_claim(c->p->fd, c->arg);
	for (i = 0; !c->ret && !c->hold && i < c->arg->granted; i++)
		many_publish(c->p, c->arg->position + i, i);
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Back when it sleeps, or has returned. */
static int claimer_start(struct claimer *c, struct end *p, uint32_t count,
			 uint32_t least, int ms)
{
	c->p = p;
	c->own = claim_args(count, least, ms);
	if (!c->arg)
		c->arg = &c->own;
	c->tid = 0;
	c->done = false;
	if (pthread_create(&c->thread, NULL, claimer_main, c))
		return -EAGAIN;
	return wait_for(__atomic_load_n(&c->done, __ATOMIC_ACQUIRE) ||
			(__atomic_load_n(&c->tid, __ATOMIC_ACQUIRE) &&
			 task_in_call(c->tid)), PATIENCE_MS) ? 0 : -ETIMEDOUT;
}

static bool claimer_done(struct claimer *c, int ms)
{
	return wait_for(__atomic_load_n(&c->done, __ATOMIC_ACQUIRE), ms);
}

static int claimer_join(struct claimer *c)
{
	if (!claimer_done(c, PATIENCE_MS))
		return -ETIME;
	pthread_join(c->thread, NULL);
	return c->ret;
}

/* Places */

TEST(places)
{
	static const struct {
		uint32_t asked, got;
	} t[] = { { 0, 64 }, { 1, 1 }, { 3, 3 }, { 1024, 1024 } };
	struct end end, again;
	unsigned int i, n;

	for (i = 0; i < ARRAY_LEN(t); i++) {
		int owner = many_create(NULL, 0, 8, 4, t[i].asked,
					SCATTO_F_PAUSE);
		int fds[1024];

		ASSERT_LE(0, owner);
		for (n = 0; n < t[i].got; n++) {
			struct scatto_attach arg =
				attach_args(SCATTO_ROLE_PRODUCER, owner, NULL);

			fds[n] = dev_open();
			if (fds[n] == -EMFILE)
				break;
			ASSERT_EQ(0, dev_attach(fds[n], &arg));
			ASSERT_EQ(n, arg.index);
			ASSERT_EQ(t[i].got, arg.layout.max_producers);
			ASSERT_EQ(128, arg.layout.intent_stride);
			ASSERT_LE(arg.layout.intent_offset + t[i].got * 128,
				  arg.layout.region[SCATTO_REGION_PRODUCER].size);
		}
		if (n == t[i].got) {
			EXPECT_EQ(-EBUSY, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
			EXPECT_EQ(n, info_of(owner).producers);
			/* One leaves, and only its place is to be had. */
			close(fds[n / 2]);
			EXPECT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
			EXPECT_EQ(n / 2, end.index);
			EXPECT_EQ(-EBUSY, end_open(&again, SCATTO_ROLE_PRODUCER, owner));
			end_drop(&end);
			fds[n / 2] = -1;
		}
		while (n--)
			close(fds[n]);
		close(owner);
	}
	EXPECT_EQ(-EINVAL, many_create(NULL, 0, 8, 4, 1025, 0));
	EXPECT_EQ(-EINVAL, many_create(NULL, 0, 8, 4, ~0u, 0));
	EXPECT_EQ(-EINVAL, many_create(NULL, 0, 8, 4, 0, SCATTO_F_KERNEL));
}

/* The order is that of the claims, however late they are published. */
TEST_F(many, order)
{
	uint64_t at[3], value;

	ASSERT_EQ(0, many_claim(&self->p[0], 1, &at[0]));
	ASSERT_EQ(0, many_claim(&self->p[1], 2, &at[1]));
	ASSERT_EQ(0, many_claim(&self->p[2], 1, &at[2]));
	EXPECT_EQ(0, at[0]);
	EXPECT_EQ(1, at[1]);
	EXPECT_EQ(3, at[2]);
	many_publish(&self->p[2], 3, 103);
	many_publish(&self->p[1], 2, 102);
	EXPECT_EQ(-EAGAIN, many_recv(&self->c, &value));
	many_publish(&self->p[0], 0, 100);
	EXPECT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(100, value);
	EXPECT_EQ(-EAGAIN, many_recv(&self->c, &value));
	many_publish(&self->p[1], 1, 101);
	EXPECT_EQ(3, drain(&self->c));
	EXPECT_EQ(4, info_of(self->owner).published);
	EXPECT_EQ(4, info_of(self->owner).consumed);
}

/* Only the mapping that fills the last hole wakes a sleeper, and it does. */
TEST_F(many, the_last_hole_wakes)
{
	uint64_t at[3];
	struct sleeper s;
	unsigned int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, many_claim(&self->p[i], 1, &at[i]));
	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 3));
	EXPECT_EQ(0, many_publish(&self->p[2], at[2], 2));
	EXPECT_EQ(0, many_publish(&self->p[0], at[0], 0));
	EXPECT_FALSE(sleeper_done(&s, 20));
	EXPECT_EQ(1, many_publish(&self->p[1], at[1], 1));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(1, info_of(self->owner).data_wakes);
}

TEST_F(many, poll)
{
	struct pollfd out = { self->p[0].fd, POLLOUT, 0 };
	struct pollfd in = { self->c.fd, POLLIN, 0 };
	uint64_t at, value;

	EXPECT_EQ(1, poll(&out, 1, 0));
	ASSERT_EQ(0, many_claim(&self->p[1], 1, &at));
	/* Claimed is not published. */
	EXPECT_EQ(0, poll(&in, 1, 0));
	many_publish(&self->p[1], at, 1);
	EXPECT_EQ(1, poll(&in, 1, 0));
	EXPECT_EQ(CAPACITY - 1, fill(&self->p[0]));
	EXPECT_EQ(0, poll(&out, 1, 0));
	EXPECT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(1, poll(&out, 1, 0));
}

/* Claims by ioctl */

TEST_F(many, claim_errors)
{
	static const struct scatto_claim wrong[] = {
		{ .flags = 2 },
		{ .flags = 0x80000000 },
		{ .count = 0 },
		{ .count = CAPACITY + 1 },
		{ .count = ~0u },
		{ .count = 2, .least = 3 },
		{ .deadline = 1 },
		{ .position = 1 },
		{ .granted = 1 },
		{ .reserved0 = 1 },
	};
	struct scatto_claim arg;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(wrong); i++) {
		arg = wrong[i];
		arg.size = sizeof(arg);
		if (!arg.count && i != 2)
			arg.count = 1;
		EXPECT_EQ(-EINVAL, dev_claim(self->p[0].fd, &arg)) {
			TH_LOG("case %u", i);
		}
	}
	arg = claim_args(1, 0, -1);
	arg.size = 39;
	EXPECT_EQ(-EINVAL, dev_claim(self->p[0].fd, &arg));
	EXPECT_EQ(-EFAULT, dev_claim(self->p[0].fd, NULL));
	arg = claim_args(1, 0, -1);
	EXPECT_EQ(-EPERM, dev_claim(self->c.fd, &arg));
	EXPECT_EQ(-EPERM, dev_claim(self->owner, &arg));
	EXPECT_EQ(0, many_claimed(&self->c));
	EXPECT_EQ(0, info_of(self->owner).claims);
}

/* One at a time: the next when each slot of the last is stamped. */
TEST_F(many, claim_busy)
{
	struct scatto_claim arg = claim_args(2, 0, -1);
	unsigned int lap;

	ASSERT_EQ(0, dev_claim(self->p[0].fd, &arg));
	EXPECT_EQ(0, arg.position);
	EXPECT_EQ(2, arg.granted);
	EXPECT_EQ(2, many_claimed(&self->c));
	arg = claim_args(1, 0, -1);
	EXPECT_EQ(-EBUSY, dev_claim(self->p[0].fd, &arg));
	many_publish(&self->p[0], 1, 1);
	EXPECT_EQ(-EBUSY, dev_claim(self->p[0].fd, &arg));
	many_publish(&self->p[0], 0, 0);
	EXPECT_EQ(0, dev_claim(self->p[0].fd, &arg));
	EXPECT_EQ(2, arg.position);
	many_publish(&self->p[0], 2, 2);

	/* And when laps of others have gone over them. */
	for (lap = 0; lap < 3; lap++) {
		drain(&self->c);
		fill(&self->p[1]);
	}
	drain(&self->c);
	arg = claim_args(1, 0, -1);
	EXPECT_EQ(0, dev_claim(self->p[0].fd, &arg));
	EXPECT_EQ(3, info_of(self->owner).claims);
}

TEST_F(many, claim_nonblock)
{
	struct scatto_claim arg;
	uint64_t value;

	ASSERT_EQ(0, fcntl(self->p[0].fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	arg = claim_args(1, 0, -1);
	EXPECT_EQ(-EAGAIN, dev_claim(self->p[0].fd, &arg));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	arg = claim_args(3, 0, -1);
	EXPECT_EQ(-EAGAIN, dev_claim(self->p[0].fd, &arg));
	arg = claim_args(8, 3, -1);
	EXPECT_EQ(-EAGAIN, dev_claim(self->p[0].fd, &arg));
	arg = claim_args(8, 2, -1);
	EXPECT_EQ(0, dev_claim(self->p[0].fd, &arg));
	EXPECT_EQ(2, arg.granted);
	EXPECT_EQ(CAPACITY, arg.position);
}

TEST_F(many, claim_waits)
{
	struct claimer a = {};
	uint64_t value, at;
	unsigned int i;

	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 3, 0, -1));
	EXPECT_EQ(1, self->c.area->claimers);
	EXPECT_EQ(1, info_of(self->owner).claimers);
	/* A consumer below the third makes no call. */
	EXPECT_EQ(3, self->c.area->space_wake);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_FALSE(claimer_done(&a, 20));
	/* What is free is not to be had by others. */
	EXPECT_EQ(-EAGAIN, many_claim(&self->p[2], 1, &at));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	ASSERT_EQ(0, claimer_join(&a));
	EXPECT_EQ(CAPACITY, a.arg->position);
	EXPECT_EQ(3, a.arg->granted);
	EXPECT_EQ(0, self->c.area->claimers);
	EXPECT_EQ(SCATTO_WAKE_IDLE, self->c.area->space_wake);
	EXPECT_EQ(CAPACITY, drain(&self->c));
	EXPECT_EQ(1, info_of(self->owner).space_sleeps);
	EXPECT_EQ(1, info_of(self->owner).space_wakes);
}

TEST_F(many, claim_deadline)
{
	struct claimer a = {};
	uint64_t value, begin = now_ns();
	struct scatto_claim arg = claim_args(2, 0, 30);

	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	EXPECT_EQ(-ETIMEDOUT, dev_claim(self->p[0].fd, &arg));
	EXPECT_LE(30 * MS, now_ns() - begin);
	EXPECT_EQ(0, self->c.area->claimers);
	EXPECT_EQ(CAPACITY, many_claimed(&self->c));

	/* Less will do when the time has come, and not before. */
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 4, 2, 200));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_FALSE(claimer_done(&a, 20));
	ASSERT_EQ(0, claimer_join(&a));
	EXPECT_LE(a.arg->deadline, now_ns());
	EXPECT_EQ(3, a.arg->granted);
	arg = claim_args(4, 1, 0);
	EXPECT_EQ(-ETIMEDOUT, dev_claim(self->p[2].fd, &arg));
}

/* A claim cursor that makes no sense may at the next step of the consumer. */
TEST_F(many, claim_behind_a_forged_cursor)
{
	struct claimer a = {};
	uint64_t value, claimed;

	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	claimed = many_claimed(&self->c);
	self->p[1].prod->claimed = claimed + 4 * CAPACITY;
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 4, 0, -1));
	EXPECT_EQ(end_cursor(&self->c) + 1, self->c.area->space_wake);
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_FALSE(claimer_done(&a, 20));
	self->p[1].prod->claimed = claimed;
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(claimed + 4 - CAPACITY, self->c.area->space_wake);
	EXPECT_EQ(CAPACITY - 2 + 4, drain(&self->c) +
		  (claimer_join(&a) ? 0 : drain(&self->c)));
	EXPECT_EQ(claimed, a.arg->position);
}

static void on_signal(int sig __attribute__((unused)))
{
}

TEST_F(many, claim_signal)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct claimer a = {}, b = {};
	uint64_t value;

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 1, 0, -1));
	ASSERT_EQ(0, claimer_start(&b, &self->p[2], 1, 0, -1));
	EXPECT_EQ(2, self->c.area->claimers);
	pthread_kill(a.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, claimer_join(&a));
	EXPECT_EQ(1, self->c.area->claimers);
	EXPECT_FALSE(claimer_done(&b, 20));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(0, claimer_join(&b));
	EXPECT_EQ(CAPACITY, b.arg->position);
	EXPECT_EQ(CAPACITY, drain(&self->c));
}

/* A storm of signals and grants: none is lost, none is given twice. */
TEST_F(many, claim_signal_races_grant)
{
	struct sigaction sa = { .sa_handler = on_signal };
	unsigned long i, n = test_count(20000, 1000), granted = 0, interrupted = 0;
	uint64_t value, begin = now_ns(), seed = 1;

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	for (i = 0; i < n && test_goes_on(begin, 10); i++) {
		struct claimer a = {};
		bool first = chance(&seed) & 1;

		ASSERT_EQ(0, claimer_start(&a, &self->p[0], 1, 0, -1));
		if (first)
			pthread_kill(a.thread, SIGUSR1);
		dither(&seed, 2000);
		ASSERT_LE(0, many_recv(&self->c, &value));
		if (!first) {
			dither(&seed, 2000);
			pthread_kill(a.thread, SIGUSR1);
		}
		ASSERT_LE(-EINTR, claimer_join(&a));
		if (!a.ret)
			granted++;
		else
			interrupted++;
		ASSERT_EQ(0, self->c.area->claimers);
		/* Free slots that nobody got are for the next. */
		if (a.ret)
			ASSERT_EQ(0, many_send(&self->p[1], 0));
		ASSERT_EQ(CAPACITY, many_claimed(&self->c) - end_cursor(&self->c));
	}
	printf("# %lu granted, %lu interrupted\n", granted, interrupted);
	EXPECT_EQ(granted, info_of(self->owner).claims);
	EXPECT_NE(0, granted);
	EXPECT_NE(0, interrupted);
	EXPECT_EQ(CAPACITY, drain(&self->c));
}

/* The result cannot be stored: the grant becomes tombstones. */
TEST_F(many, claim_fault)
{
	struct scatto_claim *arg = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct claimer a = { .arg = arg };
	struct scatto_info info;
	uint64_t value;
	unsigned int i;

	ASSERT_NE(MAP_FAILED, arg);
	*arg = claim_args(2, 0, -1);
	ASSERT_EQ(0, mprotect(arg, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, dev_claim(self->p[0].fd, arg));
	EXPECT_EQ(2, many_claimed(&self->c));
	EXPECT_TRUE(many_is_tombstone(&self->c, 0));
	EXPECT_TRUE(many_is_tombstone(&self->c, 1));
	EXPECT_EQ(2, info_of(self->owner).tombstones);
	EXPECT_EQ(0, many_send(&self->p[1], 77));
	EXPECT_EQ(0, many_recv(&self->c, &value));
	EXPECT_EQ(0, many_recv(&self->c, &value));
	EXPECT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(77, value);

	/* The same after a sleep; and the endpoint is as good as before. */
	fill(&self->p[1]);
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 2, 0, -1));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(-EFAULT, claimer_join(&a));
	EXPECT_EQ(CAPACITY, drain(&self->c));
	info = info_of(self->owner);
	EXPECT_EQ(4, info.tombstones);
	EXPECT_EQ(info.repair_from, info.repair_to);
	a.arg = NULL;
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 1, 0, -1));
	EXPECT_EQ(0, claimer_join(&a));
}

/* First come, first served; each slot wakes one, and nobody in vain. */
TEST_F(many, claim_queue)
{
	struct claimer a = {}, b = {}, d = {};
	struct end more;
	uint64_t value;

	ASSERT_EQ(0, end_open(&more, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 2, 0, -1));
	ASSERT_EQ(0, claimer_start(&b, &self->p[2], 1, 0, -1));
	ASSERT_EQ(0, claimer_start(&d, &more, 3, 0, -1));
	EXPECT_EQ(3, self->c.area->claimers);

	/* One slot would do for the second. */
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_FALSE(claimer_done(&b, 20));
	EXPECT_FALSE(claimer_done(&a, 0));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(0, claimer_join(&a));
	EXPECT_FALSE(claimer_done(&b, 20));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(0, claimer_join(&b));
	EXPECT_FALSE(claimer_done(&d, 20));
	EXPECT_EQ(CAPACITY, drain_some(&self->c, CAPACITY));
	EXPECT_EQ(0, claimer_join(&d));
	EXPECT_EQ(CAPACITY, a.arg->position);
	EXPECT_EQ(CAPACITY + 2, b.arg->position);
	EXPECT_EQ(CAPACITY + 3, d.arg->position);
	EXPECT_EQ(3, info_of(self->owner).space_wakes);
	EXPECT_EQ(3, info_of(self->owner).space_sleeps);
	end_drop(&more);
}

/* Whoever leaves does not leave the others behind. */
TEST_F(many, claim_first_leaves)
{
	struct claimer a = {}, b = {};
	uint64_t value;
	unsigned int i;

	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], CAPACITY, 0, 300));
	ASSERT_EQ(0, claimer_start(&b, &self->p[2], 2, 0, -1));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_FALSE(claimer_done(&b, 20));
	EXPECT_EQ(-ETIMEDOUT, claimer_join(&a));
	EXPECT_EQ(0, claimer_join(&b));
	EXPECT_EQ(CAPACITY, b.arg->position);
}

/* One that has no hope does not wait for those before it. */
TEST_F(many, claim_closed_behind_the_first)
{
	struct claimer a = {}, b = {};

	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], CAPACITY, 0, 3000));
	ASSERT_EQ(0, claimer_start(&b, &self->p[2], 1, 0, -1));
	EXPECT_EQ(0, dev_close(self->p[2].fd));
	EXPECT_EQ(-EPIPE, claimer_join(&b));
	EXPECT_FALSE(claimer_done(&a, 0));
	EXPECT_EQ(-ETIMEDOUT, claimer_join(&a));
}

/*
 * The first is closed while the consumer frees a slot: enough for the next, who
 * wants less than the wake word said.
 */
struct freer {
	struct end *c;
	pthread_t thread;
	volatile bool go, stop;
	unsigned int delay;
};

static void *freer_main(void *data)
{
	struct freer *f = data;
	volatile unsigned int i;

	pin(1);
	for (;;) {
		while (!f->go)
			if (f->stop)
				return NULL;
		for (i = 0; i < f->delay; i++)
			;
		end_release(f->c, f->c->cons->cursor + 1);
		f->go = false;
	}
}

TEST_F_TIMEOUT(many, claim_first_closed_races_release, 600)
{
	unsigned long i, n = test_count(5000, 200);
	struct freer f = { .c = &self->c };
	uint64_t seed = 7, begin = now_ns();

	ASSERT_EQ(0, pthread_create(&f.thread, NULL, freer_main, &f));
	for (i = 0; i < n && test_goes_on(begin, 5); i++) {
		struct claimer a = {}, b = {};
		struct end first;

		ASSERT_EQ(0, end_open(&first, SCATTO_ROLE_PRODUCER, self->owner));
		fill(&self->p[1]);
		ASSERT_EQ(0, claimer_start(&a, &first, CAPACITY, 0, -1));
		ASSERT_EQ(0, claimer_start(&b, &self->p[2], 1, 0, -1));
		f.delay = chance(&seed) % 1500;
		f.go = true;
		dev_close(first.fd);
		ASSERT_EQ(0, claimer_join(&b));
		ASSERT_EQ(-EPIPE, claimer_join(&a));
		while (f.go)
			sched_yield();
		end_drop(&first);
	}
	f.stop = true;
	pthread_join(f.thread, NULL);
}

/* While somebody queues poll does not promise what is not to be had. */
TEST_F(many, claim_poll)
{
	struct pollfd out = { self->p[2].fd, POLLOUT, 0 };
	struct claimer a = {};
	uint64_t value;

	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 4, 0, 200));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(0, poll(&out, 1, 20));
	EXPECT_EQ(1, poll(&out, 1, PATIENCE_MS));
	EXPECT_EQ(-ETIMEDOUT, claimer_join(&a));
	EXPECT_EQ(0, many_send(&self->p[2], 1));
}

/* Two thresholds: the consumer goes on with less while producers queue. */
TEST_F(many, claim_and_threshold)
{
	struct claimer a = {};
	struct sleeper s = { .fd = self->c.fd };
	unsigned int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, many_send(&self->p[1], i));
	s.arg.want = 5;
	s.arg.enough = 1;
	s.arg.flags = SCATTO_WAIT_ENOUGH;
	ASSERT_EQ(0, sleeper_start_args(&s));
	EXPECT_FALSE(sleeper_done(&s, 20));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 5, 0, -1));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(4, drain_some(&self->c, 4));
	EXPECT_EQ(0, claimer_join(&a));
}

/* What is enough may come from a third, when the two sleep already. */
TEST_F(many, enough_comes_later)
{
	struct sleeper s = { .fd = self->c.fd };
	struct claimer a = {};

	ASSERT_EQ(0, many_send(&self->p[1], 0));
	s.arg.want = 3;
	s.arg.enough = 2;
	s.arg.flags = SCATTO_WAIT_ENOUGH;
	ASSERT_EQ(0, sleeper_start_args(&s));
	EXPECT_EQ(3, self->c.area->data_wake);
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], CAPACITY, 0, -1));
	EXPECT_FALSE(sleeper_done(&s, 20));
	EXPECT_EQ(2, self->c.area->data_wake);

	/* It had claimed before somebody queued. */
	many_intend(&self->p[2], 1, 2);
	__atomic_store_n(&self->p[2].prod->claimed, 2, __ATOMIC_RELEASE);
	EXPECT_EQ(1, many_publish(&self->p[2], 1, 1));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(2, drain_some(&self->c, 2));
	EXPECT_EQ(0, claimer_join(&a));
}

TEST_F(many, claim_twice)
{
	struct claimer a = {};
	struct scatto_claim arg = claim_args(1, 0, -1);
	uint64_t value;

	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 1, 0, -1));
	EXPECT_EQ(-EBUSY, dev_claim(self->p[0].fd, &arg));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(0, claimer_join(&a));
}

TEST_F(many, claim_epipe)
{
	struct scatto_claim arg = claim_args(1, 0, -1);
	struct claimer a = {}, b = {};
	uint64_t value;

	/* Of the endpoint itself. */
	ASSERT_EQ(CAPACITY, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[0], 1, 0, -1));
	ASSERT_EQ(0, claimer_start(&b, &self->p[2], 1, 0, -1));
	EXPECT_EQ(0, dev_close(self->p[0].fd));
	EXPECT_EQ(-EPIPE, claimer_join(&a));
	EXPECT_EQ(-EPIPE, dev_claim(self->p[0].fd, &arg));
	EXPECT_EQ(1, self->c.area->claimers);
	/* Of the consumer. */
	EXPECT_FALSE(claimer_done(&b, 20));
	ASSERT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(0, claimer_join(&b));
	ASSERT_EQ(0, claimer_start(&b, &self->p[2], 1, 0, -1));
	end_drop(&self->c);
	EXPECT_EQ(-EPIPE, claimer_join(&b));
	arg = claim_args(1, 0, -1);
	EXPECT_EQ(-EPIPE, dev_claim(self->p[2].fd, &arg));
}

/*
 * 64 that sleep, one consumer that frees slots one at a time: each gets its
 * share, and for each slot one is woken.
 */
#define CROWD	64

struct crowd {
	struct end p;
	pthread_t thread;
	volatile bool *stop;
	volatile uint64_t got;
	int ret;
};

static void *crowd_main(void *data)
{
	struct crowd *w = data;

	while (!*w->stop) {
		struct scatto_claim arg = claim_args(1, 0, -1);

		w->ret = dev_claim(w->p.fd, &arg);
		if (w->ret)
			break;
		many_publish(&w->p, arg.position, w->p.index);
		w->got++;
	}
	return NULL;
}

TEST_F_TIMEOUT(many, fair, 600)
{
	unsigned long rounds = test_count(100, 100), i, freed;
	uint64_t per[SCATTO_MAX_PRODUCERS] = {}, value, least = ~0ULL, most = 0;
	struct scatto_info before, after;
	volatile bool stop = false;
	struct crowd *crowd;

	crowd = calloc(CROWD, sizeof(*crowd));
	ASSERT_NE(NULL, crowd);
	for (i = 0; i < CROWD; i++) {
		crowd[i].stop = &stop;
		/* They are 64 with these, and there is never none. */
		if (i < ARRAY_LEN(self->p))
			end_drop(&self->p[i]);
		ASSERT_EQ(0, end_open(&crowd[i].p, SCATTO_ROLE_PRODUCER, self->owner));
		ASSERT_EQ(0, pthread_create(&crowd[i].thread, NULL, crowd_main,
					    &crowd[i]));
	}
	ASSERT_TRUE(wait_for(info_of(self->owner).claimers == CROWD, PATIENCE_MS));
	before = info_of(self->owner);

	for (freed = 0; freed < rounds * CROWD; freed++) {
		/* All asleep again: a slot is freed when everybody wants one. */
		while (self->c.area->claimers != CROWD)
			sched_yield();
		ASSERT_TRUE(wait_for(many_stamped(&self->c, end_cursor(&self->c)),
				     PATIENCE_MS));
		ASSERT_EQ(1, many_recv(&self->c, &value));
		if (freed >= CAPACITY)
			per[value]++;
	}
	while (self->c.area->claimers != CROWD)
		sched_yield();
	after = info_of(self->owner);
	for (i = 0; i < CROWD; i++) {
		least = per[crowd[i].p.index] < least ? per[crowd[i].p.index] : least;
		most = per[crowd[i].p.index] > most ? per[crowd[i].p.index] : most;
	}
	printf("# %lu slots freed for %u sleepers: %llu to %llu each, %llu woken\n",
	       freed, CROWD, (unsigned long long)least, (unsigned long long)most,
	       (unsigned long long)(after.space_wakes - before.space_wakes));
	EXPECT_GE(1, most - (freed - CAPACITY) / CROWD);
	EXPECT_GE(1, (freed - CAPACITY + CROWD - 1) / CROWD - least);
	EXPECT_EQ(freed, after.space_wakes - before.space_wakes);
	EXPECT_EQ(freed, after.claims - before.claims);

	stop = true;
	end_drop(&self->c);
	for (i = 0; i < CROWD; i++) {
		pthread_join(crowd[i].thread, NULL);
		EXPECT_EQ(-EPIPE, crowd[i].ret);
		end_drop(&crowd[i].p);
	}
	free(crowd);
}

/*
 * One that queues beside others that claim in user space as fast as they can:
 * is served while they are at it.
 */
static void *greedy_main(void *data)
{
	struct crowd *w = data;

	while (!*w->stop)
		if (!many_send(&w->p, w->p.index))
			w->got++;
	return NULL;
}

static void *drain_main(void *data)
{
	struct crowd *w = data;

	while (!*w->stop)
		w->got += drain(&w->p);
	return NULL;
}

TEST_F(many, claim_is_not_starved)
{
	volatile bool stop = false;
	struct crowd greedy = { .p = self->p[1], .stop = &stop };
	struct crowd reader = { .p = self->c, .stop = &stop };
	unsigned int i;

	ASSERT_EQ(0, pthread_create(&greedy.thread, NULL, greedy_main, &greedy));
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, drain_main, &reader));
	ASSERT_TRUE(wait_for(greedy.got > 100, PATIENCE_MS));
	for (i = 0; i < 200; i++) {
		/* All of the ring: never free while the other one goes on. */
		struct scatto_claim arg = claim_args(CAPACITY, 0, PATIENCE_MS);
		uint32_t n;

		ASSERT_EQ(0, dev_claim(self->p[0].fd, &arg));
		for (n = 0; n < arg.granted; n++)
			many_publish(&self->p[0], arg.position + n, n);
	}
	stop = true;
	pthread_join(greedy.thread, NULL);
	pthread_join(reader.thread, NULL);
}

/* The end of the stream */

TEST_F(many, ends_with_the_last)
{
	uint64_t value;

	ASSERT_EQ(0, many_send(&self->p[0], 1));
	end_drop(&self->p[0]);
	end_drop(&self->p[1]);
	EXPECT_EQ(SCATTO_END_OPEN, self->c.area->end);
	ASSERT_EQ(0, many_send(&self->p[2], 2));
	end_drop(&self->p[2]);
	EXPECT_EQ(2, self->c.area->end);
	EXPECT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(2, value);
	EXPECT_EQ(-EPIPE, end_open(&self->p[0], SCATTO_ROLE_PRODUCER, self->owner));
}

/*
 * A thread that is in the middle of a send when its endpoint is closed stamps and
 * may not wake any more. That is made good when the endpoint unmaps.
 */
TEST_F(many, stamped_after_close)
{
	struct sleeper s;
	uint64_t at;

	ASSERT_EQ(0, many_claim(&self->p[0], 1, &at));
	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 1));
	EXPECT_EQ(0, dev_close(self->p[0].fd));
	EXPECT_EQ(-EPIPE, many_publish(&self->p[0], at, 1));
	EXPECT_EQ(0, end_unmap(&self->p[0]));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(1, drain(&self->c));
	EXPECT_EQ(0, info_of(self->owner).tombstones);
}

/* CLOSE with claims open: what is not published by then is a tombstone. */
TEST_F(many, closed_by_the_owner)
{
	uint64_t at[2], value;
	struct claimer a = {};

	ASSERT_EQ(0, many_claim(&self->p[0], 2, &at[0]));
	ASSERT_EQ(0, many_claim(&self->p[1], 1, &at[1]));
	many_publish(&self->p[0], 1, 101);
	many_publish(&self->p[1], 2, 102);
	ASSERT_EQ(CAPACITY - 3, fill(&self->p[1]));
	ASSERT_EQ(0, claimer_start(&a, &self->p[2], 1, 0, -1));
	EXPECT_EQ(0, dev_close(self->owner));
	EXPECT_EQ(-EPIPE, claimer_join(&a));
	EXPECT_EQ(CAPACITY, self->c.area->end);
	EXPECT_EQ(0, self->c.area->data_wake);
	EXPECT_EQ(0, many_recv(&self->c, &value));
	EXPECT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(101, value);
	EXPECT_EQ(1, many_recv(&self->c, &value));
	EXPECT_EQ(CAPACITY - 3, drain(&self->c));
	EXPECT_EQ(1, info_of(self->owner).tombstones);
}

TEST(pausing)
{
	int owner = many_create(NULL, 0, 8, CAPACITY, 2, SCATTO_F_PAUSE);
	struct end p, c;
	uint64_t at, value;
	unsigned int i;

	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&c, SCATTO_ROLE_CONSUMER, owner));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, end_open(&p, SCATTO_ROLE_PRODUCER, owner));
		EXPECT_EQ(2 * i, p.position);
		ASSERT_EQ(0, many_send(&p, i));
		ASSERT_EQ(0, many_claim(&p, 1, &at));
		end_drop(&p);
		EXPECT_EQ(SCATTO_END_OPEN, c.area->end);
		ASSERT_EQ(1, many_recv(&c, &value));
		EXPECT_EQ(i, value);
		ASSERT_EQ(0, many_recv(&c, &value));
		EXPECT_EQ(-EAGAIN, many_recv(&c, &value));
	}
	end_drop(&c);
	close(owner);
}

/*
 * Positions forged so far apart that differences of differences change their sign:
 * an unmapping takes no longer for it, and neither does what comes later.
 */
TEST(forged_far_apart)
{
	static const uint64_t words[] = {
		0, 1, 2, 1ULL << 31, 1ULL << 32, (1ULL << 62) + 1, (1ULL << 63) - 1,
		1ULL << 63, (1ULL << 63) + 1, ~0ULL - 1, ~0ULL,
	};
	const unsigned int n = ARRAY_LEN(words);
	int owner = many_create(NULL, 0, 8, 2, 0, SCATTO_F_PAUSE);
	unsigned long rounds = test_count(2000, 2000), i;
	uint64_t begin = now_ns(), seed = 3;
	struct end p, alive, c;

	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&c, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, end_open(&alive, SCATTO_ROLE_PRODUCER, owner));
	for (i = 0; i < rounds; i++) {
		uint64_t lo = words[chance(&seed) % n], hi = words[chance(&seed) % n];

		ASSERT_EQ(0, end_open(&p, SCATTO_ROLE_PRODUCER, owner));
		p.prod->claimed = words[chance(&seed) % n];
		c.cons->cursor = words[chance(&seed) % n];
		many_intend(&p, lo, hi);
		/* Covered, so that it stays undecided. */
		many_intend(&alive, lo, hi);
		end_drop(&p);
		c.cons->cursor = words[chance(&seed) % n];
	}
	EXPECT_GT(10000 * MS * test_slowness(), now_ns() - begin);
	end_drop(&alive);
	end_drop(&c);
	close(owner);
}

/* A cursor that jumps while the kernel looks holds up nobody. */
static void *jumping_main(void *data)
{
	struct crowd *w = data;

	while (!*w->stop) {
		w->p.cons->cursor = 0;
		w->p.cons->cursor = 1ULL << 62;
	}
	return NULL;
}

TEST(forged_while_looked_at)
{
	int owner = many_create(NULL, 0, 8, 1024, 0, SCATTO_F_PAUSE);
	uint64_t end = now_ns() + 1500 * MS;
	volatile bool stop = false;
	struct crowd w = { .stop = &stop };
	unsigned long rounds = 0;
	struct end p;
	unsigned int i;

	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&w.p, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, jumping_main, &w));
	for (; now_ns() < end; rounds++) {
		ASSERT_EQ(0, end_open(&p, SCATTO_ROLE_PRODUCER, owner));
		for (i = 0; i < 1024; i++)
			many_put_stamp(&p, i, 0);
		end_drop(&p);
	}
	stop = true;
	pthread_join(w.thread, NULL);
	printf("# %lu rounds\n", rounds);
	EXPECT_LT(10, rounds);
	end_drop(&w.p);
	close(owner);
}

/*
 * Many at once: everything arrives once, in each one's order. A WAIT costs all of
 * them together at most one call each: whoever had seen the word before the first
 * of them changed it.
 */
static void *sender_main(void *data)
{
	struct crowd *w = data;
	uint64_t i = 0;

	while (!*w->stop) {
		if (many_send(&w->p, (uint64_t)w->p.index << 48 | i) < 0)
			sched_yield();
		else
			i++;
	}
	w->got = i;
	return NULL;
}

TEST_F(many, all_at_once)
{
	uint64_t next[CROWD] = {}, value, end = now_ns() + 2000 * MS;
	struct crowd w[8] = {};
	volatile bool stop = false;
	unsigned long waits = 0;
	unsigned int i, wrong = 0;

	for (i = 0; i < ARRAY_LEN(w); i++) {
		w[i].stop = &stop;
		ASSERT_EQ(0, end_open(&w[i].p, SCATTO_ROLE_PRODUCER, self->owner));
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, sender_main, &w[i]));
	}
	while (now_ns() < end) {
		if (many_recv(&self->c, &value) < 0) {
			dev_wait(self->c.fd, end_cursor(&self->c) + 1, 100);
			waits++;
			continue;
		}
		wrong += next[value >> 48]++ != (value & 0xffffffffffffULL);
	}
	stop = true;
	for (i = 0; i < ARRAY_LEN(w); i++)
		pthread_join(w[i].thread, NULL);
	while (many_recv(&self->c, &value) >= 0)
		wrong += next[value >> 48]++ != (value & 0xffffffffffffULL);
	for (i = 0; i < ARRAY_LEN(w); i++) {
		EXPECT_EQ(w[i].got, next[w[i].p.index]);
		end_drop(&w[i].p);
	}
	EXPECT_EQ(0, wrong);
	printf("# %llu events of 8 producers, %lu waits, %lu calls to wake\n",
	       (unsigned long long)end_cursor(&self->c), waits, many_wake_calls);
	EXPECT_NE(0, many_wake_calls);
	EXPECT_GE(waits * ARRAY_LEN(w), many_wake_calls);
}

/* The kernel beside them */

FIXTURE(shared)
{
	int test, owner, channel;
	struct end p, c;
};

FIXTURE_SETUP(shared)
{
	self->test = test_module_open();
	if (self->test == -ENOENT)
		SKIP(return, "scatto_test.ko is not there");
	ASSERT_LE(0, self->test);
	self->owner = many_create(NULL, 0, sizeof(struct st_event), 64, 0,
				  SCATTO_F_SHARED);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	self->channel = dev_ioctl(self->test, ST_IOC_JOIN, (void *)(long)self->owner);
	ASSERT_LE(0, self->channel);
}

FIXTURE_TEARDOWN(shared)
{
	dev_ioctl(self->test, ST_IOC_DESTROY, (void *)(long)self->channel);
	end_drop(&self->p);
	end_drop(&self->c);
	close(self->owner);
	close(self->test);
}

static int join(int test, int fd)
{
	return dev_ioctl(test, ST_IOC_JOIN, (void *)(long)fd);
}

static int kernel_send(FIXTURE_DATA(shared) *self, const void *data, uint32_t len)
{
	struct st_send arg = {
		.channel = self->channel, .len = len, .data = (uintptr_t)data,
	};

	return dev_ioctl(self->test, ST_IOC_SEND, &arg);
}

TEST_F(shared, join_errors)
{
	int plain = many_create(NULL, 0, 8, 8, 0, 0), blank = dev_open();

	EXPECT_EQ(-EOPNOTSUPP, join(self->test, plain));
	EXPECT_EQ(-ENOTCONN, join(self->test, blank));
	EXPECT_EQ(-EINVAL, join(self->test, self->test));
	EXPECT_EQ(-EBADF, join(self->test, 999));
	EXPECT_EQ(-EPERM, join(self->test, self->p.fd));
	EXPECT_EQ(-EPERM, join(self->test, self->c.fd));
	EXPECT_EQ(2, info_of(self->owner).producers);
	ASSERT_EQ(0, dev_close(self->owner));
	EXPECT_EQ(-EPIPE, join(self->test, self->owner));
	close(plain);
	close(blank);
}

TEST_F(shared, sends)
{
	struct st_event ev = { .source = 1 };
	uint64_t value;
	unsigned int i;

	EXPECT_EQ(0, kernel_send(self, &ev, sizeof(ev)));
	EXPECT_EQ(0, many_send(&self->p, 2));
	ev.source = 3;
	EXPECT_EQ(0, kernel_send(self, &ev, 8));
	EXPECT_EQ(-EMSGSIZE, kernel_send(self, &ev, sizeof(ev) + 1));
	for (i = 1; i <= 3; i++) {
		EXPECT_EQ(1, many_recv(&self->c, &value));
		EXPECT_EQ(i, value);
	}
	/* Full: dropped, counted, and told by the next event that arrives. */
	EXPECT_EQ(64, fill(&self->p));
	EXPECT_EQ(-ENOSPC, kernel_send(self, &ev, 8));
	EXPECT_EQ(-ENOSPC, kernel_send(self, &ev, 8));
	EXPECT_EQ(2, info_of(self->owner).dropped);
	EXPECT_EQ(64, drain(&self->c));
	EXPECT_EQ(0, kernel_send(self, &ev, 8));
	EXPECT_EQ(2, *many_stamp(&self->c, 67) >> SCATTO_STAMP_LOST_SHIFT);
}

/* The kernel is a producer like the others until it leaves. */
TEST_F(shared, the_kernel_is_the_last)
{
	struct st_event ev = { .source = 1 };
	uint64_t at;

	ASSERT_EQ(0, many_claim(&self->p, 1, &at));
	end_drop(&self->p);
	EXPECT_EQ(SCATTO_END_OPEN, self->c.area->end);
	EXPECT_TRUE(many_is_tombstone(&self->c, at));
	EXPECT_EQ(0, kernel_send(self, &ev, 8));
	EXPECT_EQ(0, dev_ioctl(self->test, ST_IOC_DESTROY, (void *)(long)self->channel));
	EXPECT_EQ(2, self->c.area->end);
	EXPECT_EQ(SCATTO_STATE_NO_PRODUCER, self->c.area->state);
}

TEST_F(shared, nobody_reads)
{
	struct st_event ev = {};

	end_drop(&self->c);
	EXPECT_EQ(-ENOTCONN, kernel_send(self, &ev, 8));
}

/* Whatever a user writes into the words that both use, the kernel goes on. */
TEST_F(shared, forged)
{
	static const uint64_t forged[] = {
		0, 1, 63, 64, 65, 1ULL << 32, 1ULL << 63, ~0ULL, ~0ULL - 64,
	};
	struct st_event ev = {};
	unsigned int i, j;

	for (i = 0; i < ARRAY_LEN(forged); i++)
		for (j = 0; j < ARRAY_LEN(forged); j++) {
			int ret;

			self->p.prod->claimed = forged[i];
			self->c.cons->cursor = forged[j];
			ret = kernel_send(self, &ev, 8);
			EXPECT_TRUE(!ret || ret == -ENOSPC);
			if (forged[i] - forged[j] >= 64)
				EXPECT_EQ(-ENOSPC, ret);
		}
}

struct blower {
	pthread_t thread;
	int test;
	struct st_storm storm;
	int ret;
	volatile bool done;
};

static void *blower_main(void *data)
{
	struct blower *b = data;

	b->ret = dev_ioctl(b->test, ST_IOC_STORM, &b->storm);
	b->done = true;
	return NULL;
}

#define USER_SOURCE	(ST_MAX_CPUS * ST_NR_CONTEXTS)

static void *user_main(void *data)
{
	struct crowd *w = data;
	uint64_t at, i = 0;

	while (!*w->stop) {
		struct st_event ev = { .source = USER_SOURCE, .nr = i };

		if (many_claim(&w->p, 1, &at)) {
			sched_yield();
			continue;
		}
		memcpy(end_slot(&w->p, at), &ev, sizeof(ev));
		many_put_stamp(&w->p, at, 0);
		many_wake(&w->p);
		i++;
	}
	w->got = i;
	return NULL;
}

/*
 * Task, softirq, hardirq and NMI on all CPUs beside a user producer: each one's
 * events arrive once and in its order, and what was dropped is counted.
 */
TEST_F_TIMEOUT(shared, storm, 600)
{
	uint64_t received[USER_SOURCE + 1] = {}, next[USER_SOURCE + 1] = {};
	uint64_t lost = 0, dropped = 0, wrong = 0, sent = 0;
	struct crowd user = { .p = self->p };
	struct blower b = { .test = self->test };
	volatile bool stop = false;
	struct st_event ev;
	unsigned int cpu, context;
	bool last = false;

	user.stop = &stop;
	b.storm = (struct st_storm){
		.channel = self->channel,
		.ms = test_count(20000, 1500),
		.period_us = 100,
		.contexts = 1 << ST_TASK | 1 << ST_SOFTIRQ | 1 << ST_HARDIRQ |
			    (dev_ioctl(self->test, ST_IOC_QUERY,
				       (void *)(long)self->channel) & ST_HAS_NMI ?
			     1 << ST_NMI : 0),
	};
	ASSERT_EQ(0, pthread_create(&user.thread, NULL, user_main, &user));
	ASSERT_EQ(0, pthread_create(&b.thread, NULL, blower_main, &b));
	while (!last) {
		uint64_t at = end_cursor(&self->c);

		last = stop;
		if (b.done && !stop) {
			stop = true;
			pthread_join(user.thread, NULL);
		}
		if (!many_stamped(&self->c, at)) {
			dev_wait(self->c.fd, at + 1, 10);
			continue;
		}
		last = false;
		memcpy(&ev, end_slot(&self->c, at), sizeof(ev));
		lost += *many_stamp(&self->c, at) >> SCATTO_STAMP_LOST_SHIFT;
		end_release(&self->c, at + 1);
		if (ev.source > USER_SOURCE || ev.nr < next[ev.source]) {
			wrong++;
			continue;
		}
		next[ev.source] = ev.nr + 1;
		received[ev.source]++;
	}
	pthread_join(b.thread, NULL);
	ASSERT_EQ(0, b.ret);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(user.got, received[USER_SOURCE]);
	for (cpu = 0; cpu < b.storm.cpus; cpu++)
		for (context = 0; context < ST_NR_CONTEXTS; context++) {
			const struct st_count *c = &b.storm.count[cpu][context];

			EXPECT_EQ(c->sent, received[cpu * ST_NR_CONTEXTS + context]);
			sent += c->sent;
			dropped += c->full;
		}
	printf("# kernel: %llu sent, %llu dropped; user: %llu sent\n",
	       (unsigned long long)sent, (unsigned long long)dropped,
	       (unsigned long long)user.got);
	EXPECT_NE(0, sent);
	EXPECT_NE(0, user.got);
	EXPECT_EQ(dropped, info_of(self->owner).dropped);
	EXPECT_GE(dropped, lost);
	EXPECT_EQ(0, info_of(self->owner).tombstones);
}

TEST_HARNESS_MAIN
