// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto, local backend: two threads send and receive in every way there is,
 * mixed at random, for a while; an observer looks on. Every event carries its
 * number and what follows from it, so a lost, doubled, swapped or torn one
 * shows.
 *
 * The ends share their addresses here (see ring_alias()), which is what a
 * thread sanitizer needs to judge the ordering.
 */
#include "common.h"

#define MAX_BATCH	32

struct event {
	uint64_t seq;
	uint64_t check;
	uint64_t more;
};

struct side {
	struct ring *r;
	unsigned int seed;
	uint32_t slot_size;
	uint32_t capacity;
	uint64_t stop_at;
	uint64_t count;
	uint64_t calls;
	uint64_t wrong;
	int last;
};

static unsigned int dice(struct side *s, unsigned int n)
{
	return (unsigned int)rand_r(&s->seed) % n;
}

static void event_make(void *to, uint64_t seq, uint32_t slot_size)
{
	struct event ev = { seq, seq * 0x9e3779b97f4a7c15ULL, ~seq };

	memcpy(to, &ev, slot_size < sizeof(ev) ? slot_size : sizeof(ev));
}

static bool event_is(const void *from, uint64_t seq, uint32_t slot_size)
{
	struct event ev = {}, want;

	memcpy(&ev, from, slot_size < sizeof(ev) ? slot_size : sizeof(ev));
	event_make(&want, seq, sizeof(want));
	if (slot_size < sizeof(ev))
		return ev.seq == want.seq;
	return !memcmp(&ev, &want, sizeof(ev));
}

static uint32_t some(struct side *s)
{
	uint32_t max = s->capacity < MAX_BATCH ? s->capacity : MAX_BATCH;

	return 1 + dice(s, max);
}

static int send_some(struct side *s, unsigned char *buf)
{
	uint32_t n = some(s), k;
	void *slot;
	int ret;

	switch (dice(s, 6)) {
	case 0:
		event_make(buf, s->count, s->slot_size);
		ret = scatto_send(s->r->p, buf);
		s->count += !ret;
		return ret;
	case 1:
		event_make(buf, s->count, s->slot_size);
		ret = scatto_try_send(s->r->p, buf);
		s->count += !ret;
		return ret == -EAGAIN ? 0 : ret;
	case 2:
		ret = scatto_claim(s->r->p, &slot);
		if (ret)
			return ret;
		event_make(slot, s->count, s->slot_size);
		ret = scatto_publish(s->r->p);
		s->count += !ret;
		return ret;
	case 3:
		/* Claimed, scribbled upon, and partly or not published. */
		ret = scatto_claim_batch(s->r->p, n);
		if (ret)
			return ret;
		k = dice(s, n + 1);
		for (uint32_t i = 0; i < n; i++)
			event_make(scatto_claim_slot(s->r->p, i),
				   i < k ? s->count + i : ~0ULL, s->slot_size);
		ret = scatto_publish_n(s->r->p, k);
		s->count += ret ? 0 : k;
		return ret;
	case 4:
		for (uint32_t i = 0; i < n; i++)
			event_make(buf + i * s->slot_size, s->count + i,
				   s->slot_size);
		ret = scatto_send_batch(s->r->p, buf, n);
		s->count += ret > 0 ? (uint64_t)ret : 0;
		return ret < 0 ? ret : 0;
	default:
		ret = scatto_wait_space(s->r->p, n, now_ns() + MS);
		return ret > 0 || ret == -ETIMEDOUT ? 0 : ret;
	}
}

static void *sender(void *arg)
{
	struct side *s = arg;
	unsigned char *buf = calloc(MAX_BATCH, s->slot_size);

	while (now_ns() < s->stop_at && !s->last) {
		s->last = send_some(s, buf);
		s->calls++;
	}
	/* Not by leaving: the consumer looks at the producer's mapping. */
	if (scatto_channel_close(s->r->ch))
		s->wrong++;
	free(buf);
	return NULL;
}

static void check(struct side *s, const void *event)
{
	s->wrong += !event_is(event, s->count, s->slot_size);
	s->count++;
}

static int recv_some(struct side *s, unsigned char *buf)
{
	uint32_t n = some(s), k;
	int ret;

	switch (dice(s, 6)) {
	case 0:
		ret = scatto_recv(s->r->c, buf);
		if (!ret)
			check(s, buf);
		return ret;
	case 1:
		ret = scatto_try_recv(s->r->c, buf);
		if (!ret)
			check(s, buf);
		return ret == -EAGAIN ? 0 : ret;
	case 2:
		ret = scatto_recv_batch(s->r->c, buf, n);
		for (int i = 0; i < ret; i++)
			check(s, buf + (uint32_t)i * s->slot_size);
		return ret < 0 ? ret : 0;
	case 3:
		ret = scatto_peek(s->r->c, n);
		if (ret <= 0)
			return ret == -EAGAIN ? 0 : ret;
		k = 1 + dice(s, (unsigned int)ret);
		for (uint32_t i = 0; i < k; i++)
			check(s, scatto_peek_slot(s->r->c, i));
		return scatto_release(s->r->c, k);
	case 4:
		ret = scatto_recv_until(s->r->c, buf, now_ns() + MS);
		if (!ret)
			check(s, buf);
		return ret == -ETIMEDOUT ? 0 : ret;
	default:
		ret = scatto_wait_data(s->r->c, n, now_ns() + MS);
		return ret > 0 || ret == -ETIMEDOUT ? 0 : ret;
	}
}

static void *receiver(void *arg)
{
	struct side *s = arg;
	unsigned char *buf = calloc(MAX_BATCH, s->slot_size);

	while (!s->last) {
		s->last = recv_some(s, buf);
		s->calls++;
	}
	free(buf);
	return NULL;
}

/* Reads what waits, and finds it whole or gone. */
struct watcher {
	struct scatto_observer *o;
	uint32_t slot_size;
	bool stop;
	uint64_t seen;
	uint64_t wrong;
};

static void *watch(void *arg)
{
	struct watcher *w = arg;
	unsigned char *buf = calloc(1, w->slot_size);

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint64_t published, consumed;

		if (scatto_observer_positions(w->o, &published, &consumed)) {
			w->wrong++;
			break;
		}
		for (; consumed < published; consumed++) {
			int ret = scatto_observer_read(w->o, consumed, buf);

			if (!ret) {
				w->seen++;
				w->wrong += !event_is(buf, consumed,
						      w->slot_size);
			} else if (ret != -ESTALE) {
				w->wrong++;
			}
		}
		sched_yield();
	}
	free(buf);
	return NULL;
}

FIXTURE(stress)
{
	struct ring r;
};

FIXTURE_VARIANT(stress)
{
	uint32_t strategy[2];
	uint32_t slot_size;
	uint32_t capacity;
};

#define STRESS(name, ps, cs, slot, cap) \
	FIXTURE_VARIANT_ADD(stress, name) { \
		.strategy = { SCATTO_STRATEGY_##ps, SCATTO_STRATEGY_##cs }, \
		.slot_size = slot, .capacity = cap, \
	}

STRESS(adaptive_tiny, ADAPTIVE, ADAPTIVE, 24, 2);
STRESS(adaptive, ADAPTIVE, ADAPTIVE, 24, 64);
STRESS(adaptive_8, ADAPTIVE, ADAPTIVE, 8, 1024);
STRESS(block_tiny, BLOCK, BLOCK, 8, 2);
STRESS(block, BLOCK, BLOCK, 24, 64);
STRESS(busy, BUSY, BUSY, 24, 64);
STRESS(busy_tiny, BUSY, BUSY, 24, 2);
STRESS(spin, SPIN, SPIN, 24, 64);
STRESS(yield, YIELD, YIELD, 24, 8);
STRESS(backoff, BACKOFF, BACKOFF, 24, 64);
STRESS(block_and_busy, BLOCK, BUSY, 24, 4);
STRESS(busy_and_block, BUSY, BLOCK, 24, 4);
STRESS(yield_and_block, YIELD, BLOCK, 4096, 16);

FIXTURE_SETUP(stress)
{
	ASSERT_EQ(0, ring_open(&self->r, variant->slot_size, variant->capacity,
			       0));
	ring_alias(&self->r);
	scatto_producer_set_wait(self->r.p, variant->strategy[0]);
	scatto_consumer_set_wait(self->r.c, variant->strategy[1]);
}

FIXTURE_TEARDOWN(stress)
{
	ring_close(&self->r);
}

TEST_F(stress, everything_arrives_once)
{
	struct side tx = {
		.r = &self->r, .seed = 1,
		.slot_size = variant->slot_size,
		.capacity = variant->capacity,
		.stop_at = now_ns() + scaled(400) * MS,
	};
	struct side rx = tx;
	struct watcher w = { .slot_size = variant->slot_size };
	pthread_t threads[3];

	if (SANITIZED)
		tx.stop_at = now_ns() + 200 * MS;
	rx.seed = 2;
	ASSERT_EQ(0, scatto_observer_attach(self->r.ch, &w.o));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, receiver, &rx));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, sender, &tx));
	/* Torn copies are for observers to find, not for a sanitizer. */
	if (!SANITIZED)
		ASSERT_EQ(0, pthread_create(&threads[2], NULL, watch, &w));
	pthread_join(threads[1], NULL);
	pthread_join(threads[0], NULL);
	if (!SANITIZED) {
		__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
		pthread_join(threads[2], NULL);
	}
	EXPECT_EQ(0, tx.last);
	EXPECT_EQ(-EPIPE, rx.last);
	EXPECT_EQ(0, tx.wrong);
	EXPECT_EQ(0, rx.wrong);
	EXPECT_EQ(tx.count, rx.count);
	EXPECT_LT(0, rx.count);
	EXPECT_EQ(0, w.wrong);
	TH_LOG("%llu events, %llu calls to send, %llu to receive, %llu observed",
	       (unsigned long long)rx.count, (unsigned long long)tx.calls,
	       (unsigned long long)rx.calls, (unsigned long long)w.seen);
	scatto_observer_close(w.o);
}

TEST_HARNESS_MAIN
