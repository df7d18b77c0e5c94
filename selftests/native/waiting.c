// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto, local backend: waiting in both directions, under each strategy,
 * with thresholds, deadlines, signals and ends.
 */
#include "common.h"

FIXTURE(wait)
{
	struct ring r;
};

FIXTURE_VARIANT(wait)
{
	uint32_t strategy;
	bool sleeps;
	uint32_t kind;
};

/* One producer is one of many as well. */
#define WAIT_VARIANT(name, does_sleep, which) \
	FIXTURE_VARIANT_ADD(wait, which##_##name) { \
		.strategy = SCATTO_STRATEGY_##name, .sleeps = does_sleep, \
		.kind = SCATTO_KIND_##which, \
	}

WAIT_VARIANT(ADAPTIVE, true, SPSC);
WAIT_VARIANT(BLOCK, true, SPSC);
WAIT_VARIANT(BUSY, false, SPSC);
WAIT_VARIANT(SPIN, false, SPSC);
WAIT_VARIANT(YIELD, false, SPSC);
WAIT_VARIANT(BACKOFF, false, SPSC);
WAIT_VARIANT(ADAPTIVE, true, MPSC);
WAIT_VARIANT(BLOCK, true, MPSC);
WAIT_VARIANT(BUSY, false, MPSC);
WAIT_VARIANT(SPIN, false, MPSC);
WAIT_VARIANT(YIELD, false, MPSC);
WAIT_VARIANT(BACKOFF, false, MPSC);

FIXTURE_SETUP(wait)
{
	ASSERT_EQ(0, ring_open_kind(&self->r, variant->kind, 8, 8, 0));
	ASSERT_EQ(0, scatto_producer_set_wait(self->r.p, variant->strategy));
	ASSERT_EQ(0, scatto_consumer_set_wait(self->r.c, variant->strategy));
}

FIXTURE_TEARDOWN(wait)
{
	ring_close(&self->r);
}

/* What a thread is to do, and what came of it. */
struct job {
	struct ring *r;
	uint32_t n;
	uint64_t deadline;
	int ret;
	uint64_t value;
	uint64_t cpu;
	pthread_t thread;
};

static void *do_recv(void *arg)
{
	struct job *job = arg;
	uint64_t start = cpu_ns();

	job->ret = scatto_recv_until(job->r->c, &job->value, job->deadline);
	job->cpu = cpu_ns() - start;
	return NULL;
}

static void *do_send(void *arg)
{
	struct job *job = arg;
	uint64_t start = cpu_ns();

	job->ret = scatto_send_until(job->r->p, &job->value, job->deadline);
	job->cpu = cpu_ns() - start;
	return NULL;
}

static void *do_wait_data(void *arg)
{
	struct job *job = arg;

	job->ret = scatto_wait_data(job->r->c, job->n, job->deadline);
	return NULL;
}

static void *do_wait_space(void *arg)
{
	struct job *job = arg;

	job->ret = scatto_wait_space(job->r->p, job->n, job->deadline);
	return NULL;
}

static void *do_claim(void *arg)
{
	struct job *job = arg;

	job->ret = scatto_claim_batch_until(job->r->p, job->n, job->deadline);
	return NULL;
}

static void start(struct job *job, void *(*what)(void *arg))
{
	if (!job->deadline)
		job->deadline = SCATTO_FOREVER;
	job->ret = 1;
	if (pthread_create(&job->thread, NULL, what, job))
		abort();
}

static void finish(struct job *job)
{
	pthread_join(job->thread, NULL);
}

static bool is_done(struct job *job)
{
	return !pthread_tryjoin_np(job->thread, NULL);
}

/* Lets the other thread get as far as it can without us. */
static void settle(struct ring *r, bool sleeps, bool data)
{
	if (sleeps)
		wait_for_sleep(r->ch, data, 0);
	else
		sleep_ms(20);
}

TEST_F(wait, for_data)
{
	struct job job = { .r = &self->r };
	uint64_t v = 42;

	start(&job, do_recv);
	settle(&self->r, variant->sleeps, true);
	ASSERT_FALSE(is_done(&job));
	ASSERT_EQ(0, scatto_send(self->r.p, &v));
	finish(&job);
	EXPECT_EQ(0, job.ret);
	EXPECT_EQ(42, job.value);
}

TEST_F(wait, for_space)
{
	struct job job = { .r = &self->r, .value = 8 };
	uint64_t v;

	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
	start(&job, do_send);
	settle(&self->r, variant->sleeps, false);
	ASSERT_FALSE(is_done(&job));
	for (uint64_t i = 0; i < 9; i++) {
		ASSERT_EQ(0, scatto_recv(self->r.c, &v));
		EXPECT_EQ(i, v);
	}
	finish(&job);
	EXPECT_EQ(0, job.ret);
}

TEST_F(wait, for_the_producer_to_go)
{
	struct job job = { .r = &self->r };

	start(&job, do_recv);
	settle(&self->r, variant->sleeps, true);
	scatto_producer_close(self->r.p);
	self->r.p = NULL;
	finish(&job);
	EXPECT_EQ(-EPIPE, job.ret);
}

TEST_F(wait, for_the_consumer_to_go)
{
	struct job job = { .r = &self->r };
	uint64_t v;

	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
	start(&job, do_send);
	settle(&self->r, variant->sleeps, false);
	scatto_consumer_close(self->r.c);
	self->r.c = NULL;
	finish(&job);
	EXPECT_EQ(-EPIPE, job.ret);
}

TEST_F(wait, for_the_channel_to_close)
{
	struct job get = { .r = &self->r }, put = { .r = &self->r };
	struct ring other;
	uint64_t v;

	start(&get, do_recv);
	settle(&self->r, variant->sleeps, true);
	ASSERT_EQ(0, scatto_channel_close(self->r.ch));
	finish(&get);
	EXPECT_EQ(-EPIPE, get.ret);

	ASSERT_EQ(0, ring_open_kind(&other, variant->kind, 8, 8, 0));
	ASSERT_EQ(0, scatto_producer_set_wait(other.p, variant->strategy));
	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(other.p, &v));
	put.r = &other;
	start(&put, do_send);
	settle(&other, variant->sleeps, false);
	ASSERT_EQ(0, scatto_channel_close(other.ch));
	finish(&put);
	EXPECT_EQ(-EPIPE, put.ret);
	ring_close(&other);
}

TEST_F(wait, until_a_deadline)
{
	uint64_t v, begin, took;

	/* One that has passed, then one that passes. */
	for (uint64_t ms = 0; ms <= 30; ms += 30) {
		begin = now_ns();
		EXPECT_EQ(-ETIMEDOUT,
			  scatto_recv_until(self->r.c, &v, begin + ms * MS));
		took = now_ns() - begin;
		EXPECT_LE(ms * MS, took);
		EXPECT_GT(5 * SECOND, took);
	}
	EXPECT_EQ(-ETIMEDOUT,
		  scatto_recv_batch_until(self->r.c, &v, 1, now_ns() + MS));
	EXPECT_EQ(-ETIMEDOUT, scatto_wait_data(self->r.c, 1, 0));
	EXPECT_EQ(-ETIMEDOUT, scatto_wait_data(self->r.c, 8, now_ns() + MS));

	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
	begin = now_ns();
	EXPECT_EQ(-ETIMEDOUT,
		  scatto_send_until(self->r.p, &v, begin + 30 * MS));
	EXPECT_LE(30 * MS, now_ns() - begin);
	EXPECT_EQ(-ETIMEDOUT, scatto_send_until(self->r.p, &v, 0));
	EXPECT_EQ(-ETIMEDOUT,
		  scatto_send_batch_until(self->r.p, &v, 1, now_ns() + MS));
	EXPECT_EQ(-ETIMEDOUT,
		  scatto_claim_batch_until(self->r.p, 8, now_ns() + 3 * MS));
	EXPECT_EQ(-ETIMEDOUT, scatto_wait_space(self->r.p, 1, now_ns() + MS));
	EXPECT_EQ(-ETIMEDOUT, scatto_claim_until(self->r.p, (void **)&v,
						 now_ns() + MS));

	/* A deadline is no reason not to take what is there. */
	EXPECT_EQ(0, scatto_recv_until(self->r.c, &v, 0));
	EXPECT_EQ(0, scatto_send_until(self->r.p, &v, 0));
	EXPECT_EQ(8, scatto_wait_data(self->r.c, 8, 0));
}

TEST_F(wait, for_a_threshold_of_data)
{
	struct job job = { .r = &self->r, .n = 5 };
	uint64_t v;

	start(&job, do_wait_data);
	settle(&self->r, variant->sleeps, true);
	for (v = 0; v < 4; v++) {
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
		sleep_ms(2);
		ASSERT_FALSE(is_done(&job));
	}
	ASSERT_EQ(0, scatto_send(self->r.p, &v));
	finish(&job);
	EXPECT_EQ(5, job.ret);
}

TEST_F(wait, for_a_threshold_of_space)
{
	struct job job = { .r = &self->r, .n = 5 };
	uint64_t v;

	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
	start(&job, do_wait_space);
	settle(&self->r, variant->sleeps, false);
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, scatto_recv(self->r.c, &v));
		sleep_ms(2);
		ASSERT_FALSE(is_done(&job));
	}
	ASSERT_EQ(0, scatto_recv(self->r.c, &v));
	finish(&job);
	EXPECT_EQ(5, job.ret);
}

TEST_F(wait, for_a_claim_of_several)
{
	struct job job = { .r = &self->r, .n = 6 };
	uint64_t v;

	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
	start(&job, do_claim);
	settle(&self->r, variant->sleeps, false);
	for (int i = 0; i < 6; i++) {
		ASSERT_FALSE(is_done(&job));
		ASSERT_EQ(0, scatto_recv(self->r.c, &v));
	}
	finish(&job);
	EXPECT_EQ(0, job.ret);
	EXPECT_EQ(0, scatto_publish(self->r.p));
}

/*
 * 4 of 8 are there; one side waits for 5 events, the other for 5 slots. The
 * consumer must see that and come back with the 4.
 */
TEST_F(wait, not_both_for_ever)
{
	struct job get = { .r = &self->r, .n = 5 };
	struct job put = { .r = &self->r, .n = 5 };
	bool got = false;
	uint64_t v;

	for (int who_first = 0; who_first < 2; who_first++) {
		for (v = 0; v < 4; v++)
			ASSERT_EQ(0, scatto_send(self->r.p, &v));
		if (who_first) {
			start(&get, do_wait_data);
			sleep_ms(10);
			start(&put, do_claim);
		} else {
			start(&put, do_claim);
			sleep_ms(10);
			start(&get, do_wait_data);
		}
		finish(&get);
		EXPECT_EQ(4, get.ret);
		ASSERT_FALSE(is_done(&put));
		ASSERT_EQ(0, scatto_release(self->r.c, 4));
		finish(&put);
		EXPECT_EQ(0, put.ret);
		EXPECT_EQ(0, scatto_abort(self->r.p));
		/* Tombstones take room until they are skipped. */
		EXPECT_EQ(-EAGAIN, scatto_try_recv(self->r.c, &v));
	}

	/* Both can do with less: at least one of them comes back. */
	for (v = 0; v < 4; v++)
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
	get.deadline = 0;
	put.deadline = 0;
	start(&get, do_wait_data);
	start(&put, do_wait_space);
	for (v = now_ns() + 10 * SECOND; now_ns() < v; sleep_ms(1)) {
		got = is_done(&get);
		if (got || is_done(&put))
			break;
	}
	ASSERT_GT(v, now_ns());
	if (got) {
		EXPECT_EQ(4, get.ret);
		scatto_peek(self->r.c, 4);
		ASSERT_EQ(0, scatto_release(self->r.c, 4));
		finish(&put);
		EXPECT_LE(4, put.ret);
	} else {
		EXPECT_EQ(4, put.ret);
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
		finish(&get);
		/* It may have been on its way back, as well. */
		EXPECT_LE(4, get.ret);
		EXPECT_GE(5, get.ret);
	}
}

/* The end of the stream is reason enough for a threshold. */
TEST_F(wait, for_a_threshold_at_the_end)
{
	struct job job = { .r = &self->r, .n = 5 };
	uint64_t v = 1;

	ASSERT_EQ(0, scatto_send(self->r.p, &v));
	start(&job, do_wait_data);
	settle(&self->r, variant->sleeps, true);
	scatto_producer_close(self->r.p);
	self->r.p = NULL;
	finish(&job);
	EXPECT_EQ(1, job.ret);
}

/* A long send goes through a short ring in pieces. */
TEST_F(wait, batch_longer_than_the_ring)
{
	struct job job = { .r = &self->r };
	uint64_t events[100], got = 0;

	for (uint64_t i = 0; i < 100; i++)
		events[i] = i;
	ASSERT_EQ(8, scatto_try_send_batch(self->r.p, events, 100));
	job.value = 8;
	start(&job, do_send);
	while (got < 9) {
		uint64_t v;

		ASSERT_EQ(0, scatto_recv(self->r.c, &v));
		ASSERT_EQ(got++, v);
	}
	finish(&job);
	/* Stopped half-way, it says how far it got. */
	EXPECT_EQ(8, scatto_send_batch_until(self->r.p, events, 100,
					     now_ns() + MS));
}

/* Ping-pong with scatto_call() on both sides, each round checked. */
struct service {
	struct ring *request, *reply;
	uint64_t rounds;
	uint64_t wrong;
};

static void *serve(void *arg)
{
	struct service *s = arg;
	uint64_t v, reply;

	if (scatto_recv(s->request->c, &v))
		s->wrong++;
	for (uint64_t i = 1; i < s->rounds; i++) {
		s->wrong += v != i;
		reply = v * 3;
		if (scatto_call(s->reply->p, &reply, s->request->c, &v,
				SCATTO_FOREVER))
			s->wrong++;
	}
	reply = v * 3;
	s->wrong += !!scatto_send(s->reply->p, &reply);
	return NULL;
}

TEST_F(wait, call)
{
	struct service s = {};
	struct ring reply;
	pthread_t thread;
	uint64_t v = 1;

	ASSERT_EQ(0, ring_open_kind(&reply, variant->kind, 8, 2, 0));
	scatto_producer_set_wait(reply.p, variant->strategy);
	scatto_consumer_set_wait(reply.c, variant->strategy);
	EXPECT_EQ(-ETIMEDOUT, scatto_call(self->r.p, &v, reply.c, &v,
					  now_ns() + 5 * MS));
	ASSERT_EQ(0, scatto_recv(self->r.c, &v));

	s.request = &self->r;
	s.reply = &reply;
	/* Two spinning threads may have to share a CPU. */
	s.rounds = scaled(variant->strategy == SCATTO_STRATEGY_BUSY ||
			  variant->strategy == SCATTO_STRATEGY_SPIN ?
			  200 : 5000);
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve, &s));
	for (uint64_t i = 1; i <= s.rounds; i++) {
		ASSERT_EQ(0, scatto_call(self->r.p, &i, reply.c, &v,
					 SCATTO_FOREVER));
		ASSERT_EQ(i * 3, v);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, s.wrong);
	ring_close(&reply);
}

/* Sleeping is sleeping: a blocked thread uses no CPU time. */
TEST(blocked_uses_no_cpu)
{
	struct job job = {};
	struct ring r;
	uint64_t v = 1;

	ASSERT_EQ(0, ring_open(&r, 8, 2, 0));
	job.r = &r;
	start(&job, do_recv);
	sleep_ms(300);
	ASSERT_EQ(0, scatto_send(r.p, &v));
	finish(&job);
	EXPECT_EQ(0, job.ret);
	EXPECT_GT(5 * MS * (SANITIZED ? 10 : 1), job.cpu);

	for (v = 0; v < 2; v++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	start(&job, do_send);
	sleep_ms(300);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, scatto_recv(r.c, &v));
	finish(&job);
	EXPECT_EQ(0, job.ret);
	EXPECT_GT(5 * MS * (SANITIZED ? 10 : 1), job.cpu);
	ring_close(&r);
}

/* Rounds of spinning are many or few, a deadline is a deadline. */
TEST(spinning_ends_at_the_deadline)
{
	static const uint32_t strategies[] = {
		SCATTO_STRATEGY_ADAPTIVE, SCATTO_STRATEGY_BACKOFF,
	};
	struct scatto_info info;
	struct ring r;
	uint64_t v;

	ASSERT_EQ(0, ring_open(&r, 8, 2, 0));
	scatto_consumer_set_spin(r.c, UINT32_MAX);
	scatto_producer_set_spin(r.p, UINT32_MAX);
	for (v = 0; v < 2; v++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	for (int i = 0; i < 2; i++) {
		uint64_t deadline = now_ns() + 5 * MS;

		scatto_producer_set_wait(r.p, strategies[i]);
		EXPECT_EQ(-ETIMEDOUT, scatto_send_until(r.p, &v, deadline));
		EXPECT_GT(deadline + SECOND, now_ns());
	}
	while (!scatto_try_recv(r.c, &v))
		;
	for (int i = 0; i < 2; i++) {
		uint64_t deadline = now_ns() + 5 * MS;

		scatto_consumer_set_wait(r.c, strategies[i]);
		EXPECT_EQ(-ETIMEDOUT, scatto_recv_until(r.c, &v, deadline));
		EXPECT_GT(deadline + SECOND, now_ns());
	}
	/* They were spun, too. */
	ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
	EXPECT_EQ(0, info.data_sleeps);
	EXPECT_EQ(0, info.space_sleeps);
	ring_close(&r);
}

/* Below the threshold nobody is woken. */
TEST(threshold_wakes_once)
{
	struct scatto_info before, after;
	struct job job = { .n = 64 };
	struct ring r;
	uint64_t v;

	ASSERT_EQ(0, ring_open(&r, 8, 64, 0));
	job.r = &r;
	scatto_consumer_set_wait(r.c, SCATTO_STRATEGY_BLOCK);
	start(&job, do_wait_data);
	ASSERT_TRUE(wait_for_sleep(r.ch, true, 0));
	ASSERT_EQ(0, scatto_channel_info(r.ch, &before));
	for (v = 0; v < 64; v++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	finish(&job);
	EXPECT_EQ(64, job.ret);
	ASSERT_EQ(0, scatto_channel_info(r.ch, &after));
	EXPECT_EQ(before.data_sleeps, after.data_sleeps);
	EXPECT_EQ(before.data_wakes + 1, after.data_wakes);
	ring_close(&r);
}

static void on_signal(int sig)
{
	(void)sig;
}

TEST(signals)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct job job = {};
	struct ring r;
	uint64_t v = 1;

	ASSERT_EQ(0, ring_open(&r, 8, 2, 0));
	job.r = &r;
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));

	/* Data, with and without a deadline, then space. */
	for (int timed = 0; timed < 2; timed++) {
		struct scatto_info info;

		ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
		job.deadline = timed ? now_ns() + 20 * SECOND : SCATTO_FOREVER;
		start(&job, do_recv);
		ASSERT_TRUE(wait_for_sleep(r.ch, true, info.data_sleeps));
		pthread_kill(job.thread, SIGUSR1);
		finish(&job);
		EXPECT_EQ(-EINTR, job.ret);
	}
	/* Nothing was lost or left behind by that. */
	ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(0, scatto_recv(r.c, &v));

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	start(&job, do_send);
	ASSERT_TRUE(wait_for_sleep(r.ch, false, 0));
	pthread_kill(job.thread, SIGUSR1);
	finish(&job);
	EXPECT_EQ(-EINTR, job.ret);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, scatto_recv(r.c, &v));

	/* A handler that restarts calls restarts this one. */
	sa.sa_flags = SA_RESTART;
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	job.deadline = SCATTO_FOREVER;
	start(&job, do_recv);
	sleep_ms(30);
	pthread_kill(job.thread, SIGUSR1);
	sleep_ms(30);
	ASSERT_FALSE(is_done(&job));
	v = 5;
	ASSERT_EQ(0, scatto_send(r.p, &v));
	finish(&job);
	EXPECT_EQ(0, job.ret);
	EXPECT_EQ(5, job.value);
	ring_close(&r);
}

/* On a busy machine it may be that nobody gets to sleep: nothing was tested then. */
#define TRIES	30

TEST(no_wakeup_for_data_is_lost)
{
	struct scatto_info info = {};
	int i;

	for (i = 0; i < TRIES && !info.data_sleeps; i++)
		ASSERT_EQ(0, ping_pong_asleep(scaled(20000), &info));
	TH_LOG("%llu sleeps, %llu wakes", (unsigned long long)info.data_sleeps,
	       (unsigned long long)info.data_wakes);
	EXPECT_LT(0, info.data_sleeps);
}

/* The other direction: a producer that sleeps in front of a full ring. */
struct filler {
	struct ring *r;
	uint64_t n;
	uint64_t wrong;
};

static void *fill_asleep(void *arg)
{
	struct filler *s = arg;

	for (uint64_t i = 0; i < s->n && !s->wrong; i++)
		if (scatto_send_until(s->r->p, &i, now_ns() + 10 * SECOND))
			s->wrong = i + 1;
	return NULL;
}

static void fill_and_drain(struct __test_metadata *_metadata, struct scatto_info *info)
{
	unsigned int seed = 3;
	struct filler s = {};
	pthread_t thread;
	struct ring r;
	uint64_t v;

	ASSERT_EQ(0, ring_open(&r, 8, 2, 0));
	scatto_producer_set_wait(r.p, SCATTO_STRATEGY_BLOCK);
	scatto_consumer_set_wait(r.c, SCATTO_STRATEGY_BUSY);
	s.r = &r;
	s.n = scaled(20000);
	pin(1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_asleep, &s));
	pin(0);
	for (uint64_t i = 0; i < s.n; i++) {
		/* Full, so that its next step is to fall asleep. */
		if (i + 2 <= s.n)
			ASSERT_LE(1, scatto_wait_data(r.c, 2,
						      now_ns() + 10 * SECOND));
		dither(&seed);
		ASSERT_EQ(0, scatto_recv_until(r.c, &v,
					       now_ns() + 10 * SECOND));
		ASSERT_EQ(i, v);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, s.wrong);
	ASSERT_EQ(0, scatto_channel_info(r.ch, info));
	TH_LOG("%llu events, %llu sleeps, %llu wakes", (unsigned long long)s.n,
	       (unsigned long long)info->space_sleeps,
	       (unsigned long long)info->space_wakes);
	ring_close(&r);
}

TEST(no_wakeup_for_space_is_lost)
{
	struct scatto_info info = {};
	int i;

	for (i = 0; i < TRIES && !info.space_sleeps; i++)
		fill_and_drain(_metadata, &info);
	EXPECT_LT(0, info.space_sleeps);
}

/*
 * Many threads may look at one side at once: here, channels whose owner asks
 * for the end while both ends sleep, over and over.
 */
TEST(ends_reach_sleepers)
{
	for (uint64_t i = 0; i < scaled(300); i++) {
		struct job get = {}, put = {};
		struct ring a, b;
		uint64_t v = 0;

		ASSERT_EQ(0, ring_open(&a, 8, 2, 0));
		ASSERT_EQ(0, ring_open(&b, 8, 2, 0));
		while (!scatto_try_send(b.p, &v))
			;
		get.r = &a;
		put.r = &b;
		start(&get, do_recv);
		start(&put, do_send);
		for (unsigned int spin = 0; spin < i * 37; spin++)
			__asm__ __volatile__("" ::: "memory");
		ASSERT_EQ(0, scatto_channel_close(a.ch));
		ASSERT_EQ(0, scatto_channel_close(b.ch));
		finish(&get);
		finish(&put);
		ASSERT_EQ(-EPIPE, get.ret);
		ASSERT_EQ(-EPIPE, put.ret);
		ring_close(&a);
		ring_close(&b);
	}
}

TEST_HARNESS_MAIN
