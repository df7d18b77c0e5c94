// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto: consumers of channels whose slots are published by stamps. These
 * tests lay one out themselves and play the producers, the kernel included: it
 * says what was lost, and no producer of the library does.
 */
#include <linux/futex.h>
#include <limits.h>

#include "common.h"

struct stamped {
	int fd;
	size_t page;
	size_t size;
	uint64_t capacity;
	unsigned char *map;
	struct scatto_channel_area *chan;
	struct scatto_local *local;
	struct scatto_producer_area *prod;
	struct scatto_consumer_area *cons;
	__u64 *stamps;
	uint64_t *slots;
};

/* 8-byte events; the first one is number @start. */
static bool stamped_open(struct stamped *s, uint64_t capacity, uint64_t start)
{
	uint64_t slots = (capacity * 8 + SCATTO_LINE - 1) / SCATTO_LINE *
			 SCATTO_LINE;
	unsigned char *data;

	s->page = (size_t)sysconf(_SC_PAGESIZE);
	s->size = 3 * s->page + (slots + capacity * 8 + s->page - 1) /
		  s->page * s->page;
	s->capacity = capacity;
	s->fd = memfd_create("stamped", MFD_ALLOW_SEALING);
	if (s->fd < 0 || ftruncate(s->fd, (off_t)s->size) ||
	    fcntl(s->fd, F_ADD_SEALS, F_SEAL_SHRINK))
		return false;
	s->map = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd,
		      0);
	if (s->map == MAP_FAILED)
		return false;
	s->chan = (void *)s->map;
	s->local = (void *)(s->map + LOCAL_OFFSET);
	s->prod = (void *)(s->map + s->page);
	s->cons = (void *)(s->map + 2 * s->page);
	data = s->map + 3 * s->page;
	s->stamps = (void *)data;
	s->slots = (void *)(data + slots);

	s->chan->magic = SCATTO_MAGIC;
	s->chan->abi = SCATTO_ABI_VERSION;
	s->chan->kind = SCATTO_KIND_MPSC;
	/* Whoever tests need not register for membarrier(2). */
	s->chan->flags = SCATTO_F_FENCE;
	s->chan->slot_size = 8;
	s->chan->slot_stride = 8;
	s->chan->capacity = capacity;
	s->chan->data_wake = SCATTO_WAKE_IDLE;
	s->chan->space_wake = SCATTO_WAKE_IDLE;
	s->chan->end = SCATTO_END_OPEN;
	s->local->magic = LOCAL_MAGIC;
	s->local->version = LOCAL_VERSION;
	s->local->max_producers = 1;
	s->cons->cursor = start;
	s->prod->claimed = start;
	return true;
}

static void stamped_close(struct stamped *s)
{
	munmap(s->map, s->size);
	close(s->fd);
}

/* Written independently of the library, from the ABI's own words. */
static uint64_t stamp_of(const struct stamped *s, uint64_t seq, uint32_t lost,
			 bool tombstone)
{
	uint64_t lap = (seq / s->capacity + 1) % (1ULL << 30);

	return (uint64_t)lost << 32 | lap << 2 | tombstone;
}

static void stamp(struct stamped *s, uint64_t seq, uint64_t stamp)
{
	__atomic_store_n(&s->stamps[seq % s->capacity], stamp,
			 __ATOMIC_RELEASE);
}

static void put(struct stamped *s, uint64_t seq, uint64_t value, uint32_t lost)
{
	s->slots[seq % s->capacity] = value;
	stamp(s, seq, stamp_of(s, seq, lost, false));
}

static void bury(struct stamped *s, uint64_t seq, uint32_t lost)
{
	stamp(s, seq, stamp_of(s, seq, lost, true));
}

/* What a publisher does after its stamp, see lib/local.c. */
static void wake(struct stamped *s, uint64_t pos)
{
	__u64 word;

	__sync_synchronize();
	word = __atomic_load_n(&s->chan->data_wake, __ATOMIC_RELAXED);
	if (pos < word)
		return;
	__atomic_compare_exchange_n(&s->chan->data_wake, &word,
				    SCATTO_WAKE_IDLE, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED);
	__atomic_fetch_add(&s->local->data.seq, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &s->local->data.seq, FUTEX_WAKE, INT_MAX, NULL, NULL,
		0);
}

FIXTURE(stamps)
{
	struct stamped s;
	struct scatto_consumer *c;
	uint64_t at;
};

/* Laps of all kinds: the first, and those next to the wrap of their bits. */
FIXTURE_VARIANT(stamps)
{
	uint64_t capacity;
	uint64_t lap;
	uint64_t offset;
};

#define STAMPS_VARIANT(name, cap, first_lap, off) \
	FIXTURE_VARIANT_ADD(stamps, name) { \
		.capacity = cap, .lap = first_lap, .offset = off, \
	}

STAMPS_VARIANT(from_the_start, 8, 0, 0);
STAMPS_VARIANT(odd_place, 8, 3, 5);
STAMPS_VARIANT(next_to_the_wrap, 8, (1ULL << 30) - 2, 6);
STAMPS_VARIANT(at_the_wrap, 8, (1ULL << 30) - 1, 0);
STAMPS_VARIANT(after_the_wrap, 8, (1ULL << 30), 7);
STAMPS_VARIANT(large, 1024, (1ULL << 30) - 1, 1020);

FIXTURE_SETUP(stamps)
{
	uint64_t start = variant->lap * variant->capacity + variant->offset;

	ASSERT_TRUE(stamped_open(&self->s, variant->capacity, start));
	/* The lap before, as its producers left it. */
	for (uint64_t seq = start < variant->capacity ? 0 :
	     start - variant->capacity; seq < start; seq++)
		put(&self->s, seq, ~seq, 0);
	ASSERT_EQ(0, scatto_consumer_from_fd(dup(self->s.fd), &self->c));
	self->at = start;
}

FIXTURE_TEARDOWN(stamps)
{
	scatto_consumer_close(self->c);
	stamped_close(&self->s);
}

TEST_F(stamps, in_order_and_around)
{
	uint64_t v, buf[16];

	EXPECT_EQ(self->at, scatto_consumer_position(self->c));
	for (int i = 0; i < 40; i++) {
		EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
		put(&self->s, self->at, self->at * 3, 0);
		ASSERT_EQ(0, scatto_try_recv(self->c, &v));
		ASSERT_EQ(self->at * 3, v);
		ASSERT_EQ(++self->at, self->s.cons->cursor);
	}
	for (int i = 0; i < 40; i++) {
		for (uint64_t k = 0; k < 8; k++)
			put(&self->s, self->at + k, self->at + k, 0);
		ASSERT_EQ(3, scatto_recv_batch(self->c, buf, 3));
		ASSERT_EQ(5, scatto_peek(self->c, 16));
		ASSERT_EQ(self->at + 3,
			  *(const uint64_t *)scatto_peek_slot(self->c, 0));
		ASSERT_EQ(5, scatto_recv_batch(self->c, buf + 3, 16));
		for (uint64_t k = 0; k < 8; k++)
			ASSERT_EQ(self->at + k, buf[k]);
		self->at += 8;
	}
	EXPECT_EQ(0, scatto_lost(self->c));
	EXPECT_EQ(0, scatto_lost_total(self->c));
	EXPECT_EQ(0, scatto_tombstones(self->c));
}

TEST_F(stamps, holes_stop)
{
	uint64_t v;

	put(&self->s, self->at, 1, 0);
	put(&self->s, self->at + 2, 3, 0);
	EXPECT_EQ(1, scatto_peek(self->c, 8));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
	EXPECT_EQ(-ETIMEDOUT, scatto_recv_until(self->c, &v, now_ns() + MS));
	put(&self->s, self->at + 1, 2, 0);
	EXPECT_EQ(2, scatto_peek(self->c, 8));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(2, v);
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(3, v);
}

TEST_F(stamps, tombstones_are_skipped)
{
	uint64_t v, buf[8];

	/* 1 T T 2 3 T 4 T */
	put(&self->s, self->at, 1, 0);
	bury(&self->s, self->at + 1, 0);
	bury(&self->s, self->at + 2, 0);
	put(&self->s, self->at + 3, 2, 0);
	put(&self->s, self->at + 4, 3, 0);
	bury(&self->s, self->at + 5, 0);
	put(&self->s, self->at + 6, 4, 0);
	bury(&self->s, self->at + 7, 0);

	/* A peek does not go over one. */
	EXPECT_EQ(1, scatto_peek(self->c, 8));
	EXPECT_EQ(0, scatto_tombstones(self->c));
	ASSERT_EQ(0, scatto_release(self->c, 1));
	EXPECT_EQ(2, scatto_recv_batch(self->c, buf, 8));
	EXPECT_EQ(2, buf[0]);
	EXPECT_EQ(3, buf[1]);
	EXPECT_EQ(2, scatto_tombstones(self->c));
	ASSERT_EQ(0, scatto_try_recv(self->c, &v));
	EXPECT_EQ(4, v);
	EXPECT_EQ(3, scatto_tombstones(self->c));
	/* The last one is given back although nothing follows it. */
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
	EXPECT_EQ(4, scatto_tombstones(self->c));
	EXPECT_EQ(self->at + 8, self->s.cons->cursor);
	EXPECT_EQ(0, scatto_lost_total(self->c));
}

TEST_F(stamps, nothing_but_tombstones)
{
	uint64_t n = self->s.capacity, v;

	for (int lap = 0; lap < 3; lap++) {
		for (uint64_t i = 0; i < n; i++)
			bury(&self->s, self->at + i, 0);
		EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
		self->at += n;
		EXPECT_EQ(self->at, self->s.cons->cursor);
		EXPECT_EQ((uint64_t)(lap + 1) * n, scatto_tombstones(self->c));
	}
	put(&self->s, self->at, 7, 0);
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(7, v);
}

TEST_F(stamps, losses_are_told_in_place)
{
	uint64_t v, buf[8];

	/* 0 1 (5 lost) 2 3 4 (max lost) 5 (1 lost) 6 7 */
	for (uint64_t i = 0; i < 8; i++)
		put(&self->s, self->at + i, i, i == 2 ? 5 :
		    i == 5 ? UINT32_MAX : i == 6 ? 1 : 0);

	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(0, scatto_lost(self->c));
	/* A batch ends where something is missing. */
	ASSERT_EQ(1, scatto_recv_batch(self->c, buf, 8));
	EXPECT_EQ(1, buf[0]);
	EXPECT_EQ(0, scatto_lost(self->c));
	ASSERT_LE(1, scatto_peek(self->c, 8));
	EXPECT_EQ(5, scatto_lost(self->c));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(5, scatto_lost(self->c));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(3, v);
	EXPECT_EQ(0, scatto_lost(self->c));
	ASSERT_EQ(1, scatto_recv_batch(self->c, buf, 8));
	EXPECT_EQ(4, buf[0]);
	EXPECT_EQ(0, scatto_lost(self->c));
	ASSERT_LE(1, scatto_recv_batch(self->c, buf, 8));
	EXPECT_EQ(5, buf[0]);
	EXPECT_EQ(UINT32_MAX, scatto_lost(self->c));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(6, v);
	EXPECT_EQ(1, scatto_lost(self->c));
	/* Nothing new: it still speaks of the last event. */
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
	EXPECT_EQ(0, scatto_lost(self->c));
	EXPECT_EQ(6 + (uint64_t)UINT32_MAX, scatto_lost_total(self->c));
}

/* What a tombstone says was lost is told at the next event. */
TEST_F(stamps, losses_at_tombstones)
{
	uint64_t v;

	bury(&self->s, self->at, 3);
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
	EXPECT_EQ(0, scatto_lost(self->c));
	bury(&self->s, self->at + 1, 4);
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
	put(&self->s, self->at + 2, 9, 5);
	put(&self->s, self->at + 3, 10, 0);
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(9, v);
	EXPECT_EQ(12, scatto_lost(self->c));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(0, scatto_lost(self->c));
	EXPECT_EQ(12, scatto_lost_total(self->c));
	EXPECT_EQ(2, scatto_tombstones(self->c));
}

TEST_F(stamps, the_end)
{
	uint64_t v;

	put(&self->s, self->at, 1, 0);
	bury(&self->s, self->at + 1, 2);
	put(&self->s, self->at + 2, 2, 0);
	/* Claimed, stamped and beyond the end: not part of the stream. */
	put(&self->s, self->at + 3, 3, 0);
	self->s.chan->end = self->at + 3;
	EXPECT_EQ(1, scatto_wait_data(self->c, 8, SCATTO_FOREVER));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(1, scatto_peek(self->c, 8));
	EXPECT_EQ(2, scatto_lost(self->c));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(-EPIPE, scatto_try_recv(self->c, &v));
	EXPECT_EQ(-EPIPE, scatto_recv(self->c, &v));
	EXPECT_EQ(-EPIPE, scatto_peek(self->c, 1));
}

TEST_F(stamps, tombstones_before_the_end)
{
	uint64_t v;

	bury(&self->s, self->at, 0);
	bury(&self->s, self->at + 1, 0);
	self->s.chan->end = self->at + 2;
	EXPECT_EQ(-EPIPE, scatto_recv(self->c, &v));
	EXPECT_EQ(2, scatto_tombstones(self->c));
}

TEST_F(stamps, hole_before_the_end)
{
	uint64_t v;

	self->s.chan->end = self->at + 2;
	EXPECT_EQ(-EBADMSG, scatto_try_recv(self->c, &v));
	EXPECT_EQ(-EBADMSG, scatto_recv(self->c, &v));
	put(&self->s, self->at, 1, 0);
	EXPECT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(-EBADMSG, scatto_recv(self->c, &v));
}

TEST_F(stamps, observed)
{
	struct scatto_observer *o;
	uint64_t published, consumed, v;

	ASSERT_EQ(0, scatto_observer_from_fd(dup(self->s.fd), &o));
	put(&self->s, self->at, 1, 0);
	bury(&self->s, self->at + 1, 0);
	put(&self->s, self->at + 2, 3, 9);
	put(&self->s, self->at + 4, 5, 0);
	ASSERT_EQ(0, scatto_observer_positions(o, &published, &consumed));
	EXPECT_EQ(self->at, consumed);
	EXPECT_EQ(self->at + 3, published);
	EXPECT_EQ(0, scatto_observer_read(o, self->at, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(-ENODATA, scatto_observer_read(o, self->at + 1, &v));
	EXPECT_EQ(0, scatto_observer_read(o, self->at + 2, &v));
	EXPECT_EQ(3, v);
	EXPECT_EQ(-EAGAIN, scatto_observer_read(o, self->at + 3, &v));
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(-ESTALE, scatto_observer_read(o, self->at, &v));
	scatto_observer_close(o);
}

/* What was published together: one stamp says it for all. */
TEST_F(stamps, runs)
{
	uint64_t buf[16];
	uint32_t n = 5;

	for (int i = 0; i < 40; i++) {
		for (uint64_t k = n - 1; k < n; k--)
			put(&self->s, self->at + k, self->at + k, 0);
		stamp(&self->s, self->at, stamp_of(&self->s, self->at, n, false) |
		      SCATTO_STAMP_RUN);
		/* They go on with who has other stamps. */
		put(&self->s, self->at + n, self->at + n, 0);
		bury(&self->s, self->at + n + 1, 0);
		ASSERT_EQ(6, scatto_recv_batch(self->c, buf, 16));
		for (uint64_t k = 0; k < n + 1; k++)
			ASSERT_EQ(self->at + k, buf[k]);
		/* The upper half is no loss here. */
		ASSERT_EQ(0, scatto_lost(self->c));
		ASSERT_EQ(-EAGAIN, scatto_try_recv(self->c, buf));
		self->at += n + 2;
	}
	EXPECT_EQ(0, scatto_lost_total(self->c));
}

/* In the middle of one, the stamps of the others do. */
TEST_F(stamps, successor_in_a_run)
{
	uint64_t buf[16];

	for (uint64_t k = 4; k < 5; k--)
		put(&self->s, self->at + k, k, 0);
	stamp(&self->s, self->at, stamp_of(&self->s, self->at, 5, false) |
	      SCATTO_STAMP_RUN);
	ASSERT_EQ(2, scatto_recv_batch(self->c, buf, 2));
	scatto_consumer_close(self->c);
	__atomic_store_n(&self->s.chan->state, 0, __ATOMIC_RELEASE);
	ASSERT_EQ(0, scatto_consumer_from_fd(dup(self->s.fd), &self->c));
	ASSERT_EQ(3, scatto_recv_batch(self->c, buf, 16));
	for (uint64_t k = 0; k < 3; k++)
		ASSERT_EQ(k + 2, buf[k]);
}

/* Counts that cannot be: no more than the ring, or than there is to the end. */
TEST_F(stamps, runs_forged)
{
	static const uint32_t forged[] = { 0, 1, 1025, 1U << 31, UINT32_MAX };
	uint64_t n = self->s.capacity, buf[16];

	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		put(&self->s, self->at, 7, 0);
		stamp(&self->s, self->at, stamp_of(&self->s, self->at,
						   forged[i], false) |
		      SCATTO_STAMP_RUN);
		ASSERT_EQ(1, scatto_peek(self->c, UINT32_MAX));
		ASSERT_EQ(0, scatto_release(self->c, 1));
		self->at++;
	}
	/* A lie that could be true is believed, in bounds. */
	put(&self->s, self->at, 7, 0);
	stamp(&self->s, self->at, stamp_of(&self->s, self->at, (uint32_t)n,
					   false) | SCATTO_STAMP_RUN);
	ASSERT_EQ((int)n, scatto_peek(self->c, UINT32_MAX));
	self->s.chan->end = self->at + 3;
	ASSERT_EQ(3, scatto_recv_batch(self->c, buf, 3));
	put(&self->s, self->at + 3, 7, 0);
	self->s.chan->end = self->at + n + 10;
}

/* Which tombstones there were, oldest first, each once. */
TEST_F(stamps, skipped)
{
	struct scatto_run runs[100];
	struct scatto_info info;
	uint64_t v;

	EXPECT_EQ(0, scatto_skipped(self->c, runs, 100));
	/* T T 1 T 2: one run, and one that goes on later. */
	bury(&self->s, self->at, 0);
	bury(&self->s, self->at + 1, 0);
	put(&self->s, self->at + 2, 1, 0);
	bury(&self->s, self->at + 3, 0);
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	ASSERT_EQ(-EAGAIN, scatto_try_recv(self->c, &v));
	bury(&self->s, self->at + 4, 0);
	put(&self->s, self->at + 5, 2, 0);
	ASSERT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(0, scatto_skipped(self->c, runs, 0));
	ASSERT_EQ(1, scatto_skipped(self->c, runs, 1));
	EXPECT_EQ(self->at, runs[0].first);
	EXPECT_EQ(2, runs[0].count);
	ASSERT_EQ(1, scatto_skipped(self->c, runs, 100));
	EXPECT_EQ(self->at + 3, runs[0].first);
	EXPECT_EQ(2, runs[0].count);
	EXPECT_EQ(0, scatto_skipped(self->c, runs, 100));
	self->at += 6;

	/* 70 of one: the last 64 are kept, and the total says that it was 70. */
	for (int i = 0; i < 70; i++) {
		bury(&self->s, self->at, 0);
		put(&self->s, self->at + 1, 3, 0);
		ASSERT_EQ(0, scatto_recv(self->c, &v));
		self->at += 2;
	}
	EXPECT_EQ(74, scatto_tombstones(self->c));
	ASSERT_EQ(64, scatto_skipped(self->c, runs, 100));
	for (uint64_t i = 0; i < 64; i++) {
		EXPECT_EQ(self->at - 128 + 2 * i, runs[i].first);
		EXPECT_EQ(1, runs[i].count);
	}
	EXPECT_EQ(74, self->s.cons->skipped);
	ASSERT_EQ(0, scatto_consumer_info(self->c, &info));
	EXPECT_EQ(74, info.skipped);
}

/* Random stamps, some of them of this lap: any answer, but one. */
TEST_F(stamps, forged)
{
	uint64_t n = self->s.capacity, got = 0, v, buf[16];
	unsigned int seed = 4;

	for (int i = 0; i < 200000; i++) {
		uint64_t seq = scatto_consumer_position(self->c) +
			       (uint64_t)rand_r(&seed) % n;
		int ret;

		if (rand_r(&seed) % 4)
			stamp(&self->s, seq, stamp_of(&self->s, seq,
						      rand_r(&seed) % 3,
						      rand_r(&seed) % 2));
		else
			stamp(&self->s, seq, (uint64_t)rand_r(&seed) << 34 |
			      (uint64_t)rand_r(&seed));
		if (rand_r(&seed) % 2)
			ret = scatto_try_recv(self->c, &v);
		else
			ret = scatto_try_recv_batch(self->c, buf, 16);
		ASSERT_TRUE(ret >= 0 || ret == -EAGAIN);
		got += ret >= 0;
		ASSERT_EQ(scatto_consumer_position(self->c),
			  self->s.cons->cursor);
	}
	EXPECT_LT(0, got);
}

/*
 * Several producers: they claim by adding to the claim cursor, within what is
 * free, and publish in any order. Some claims become tombstones, and some
 * events are dropped and told as lost.
 */
#define PRODUCERS	3

struct producers {
	struct stamped *s;
	uint64_t stop_at;
	uint64_t sent[PRODUCERS];
	uint64_t lost[PRODUCERS];
	uint64_t buried[PRODUCERS];
};

struct one_producer {
	struct producers *all;
	unsigned int id;
};

static uint64_t claim(struct stamped *s, uint64_t stop_at)
{
	uint64_t at = __atomic_load_n(&s->prod->claimed, __ATOMIC_RELAXED);

	for (;;) {
		if (now_ns() > stop_at)
			return UINT64_MAX;
		if (at - __atomic_load_n(&s->cons->cursor, __ATOMIC_ACQUIRE) >=
		    s->capacity) {
			sched_yield();
			at = __atomic_load_n(&s->prod->claimed,
					     __ATOMIC_RELAXED);
			continue;
		}
		if (__atomic_compare_exchange_n(&s->prod->claimed, &at, at + 1,
						false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return at;
	}
}

static void *produce(void *arg)
{
	struct one_producer *one = arg;
	struct producers *all = one->all;
	unsigned int seed = one->id + 10;
	uint64_t at;

	while ((at = claim(all->s, all->stop_at)) != UINT64_MAX) {
		uint32_t lost = rand_r(&seed) % 16 ? 0 : 2;

		all->lost[one->id] += lost;
		if (rand_r(&seed) % 16) {
			put(all->s, at, (uint64_t)one->id << 56 |
			    all->sent[one->id]++, lost);
		} else {
			bury(all->s, at, lost);
			all->buried[one->id]++;
		}
		wake(all->s, at + 1);
	}
	return NULL;
}

TEST_F(stamps, several_producers)
{
	struct producers all = {
		.s = &self->s,
		.stop_at = now_ns() + (SANITIZED ? 200 : scaled(300)) * MS,
	};
	struct one_producer one[PRODUCERS];
	uint64_t next[PRODUCERS] = {}, wrong = 0, lost = 0;
	uint64_t sent = 0, said_lost = 0, buried = 0;
	pthread_t threads[PRODUCERS];
	bool ended = false;
	uint64_t buf[4];
	int ret;

	/* As in stress.c: the same addresses for both sides. */
	self->c->stamps = self->s.stamps;
	self->c->slots = (unsigned char *)self->s.slots;
	self->c->cursor = &self->s.cons->cursor;
	for (unsigned int i = 0; i < PRODUCERS; i++) {
		one[i] = (struct one_producer){ &all, i };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, produce,
					    &one[i]));
	}
	for (;;) {
		ret = scatto_recv_batch_until(self->c, buf, 4,
					      now_ns() + 100 * MS);
		if (ret == -ETIMEDOUT && !ended && now_ns() > all.stop_at) {
			for (unsigned int i = 0; i < PRODUCERS; i++)
				pthread_join(threads[i], NULL);
			__atomic_store_n(&self->s.chan->end,
					 self->s.prod->claimed,
					 __ATOMIC_RELEASE);
			ended = true;
			continue;
		}
		if (ret == -ETIMEDOUT)
			continue;
		if (ret < 0)
			break;
		lost += scatto_lost(self->c);
		for (int i = 0; i < ret; i++) {
			uint64_t who = buf[i] >> 56;

			/* Each producer's own in order. */
			if (who >= PRODUCERS ||
			    (buf[i] & ~(0xffULL << 56)) != next[who])
				wrong++;
			else
				next[who]++;
		}
	}
	EXPECT_EQ(-EPIPE, ret);
	EXPECT_EQ(0, wrong);
	for (unsigned int i = 0; i < PRODUCERS; i++) {
		EXPECT_EQ(all.sent[i], next[i]);
		sent += next[i];
		said_lost += all.lost[i];
		buried += all.buried[i];
	}
	EXPECT_LT(0, sent);
	EXPECT_EQ(lost, scatto_lost_total(self->c));
	EXPECT_EQ(buried, scatto_tombstones(self->c));
	/* Only what tombstones at the very end told may be untold. */
	EXPECT_LE(lost, said_lost);
	EXPECT_GE(lost + 2 * self->s.capacity, said_lost);
	TH_LOG("%llu events, %llu lost, %llu tombstones",
	       (unsigned long long)sent, (unsigned long long)lost,
	       (unsigned long long)buried);
}

/* Who has come without waiting lets the producer get ahead: see __scatto_consumer_trail(). */
TEST_F(stamps, falls_back)
{
	uint64_t at = self->at, v;
	unsigned int i;

	/* In vain, and left out afterwards. */
	for (i = 0; i < 3; i++) {
		put(&self->s, at, at, 0);
		ASSERT_EQ(0, scatto_try_recv(self->c, &v));
		EXPECT_EQ(at++, v);
		EXPECT_EQ(i == 1 ? 0 : i + 1, self->c->held);
		EXPECT_EQ(i == 2 ? 3 : 1, self->c->hold);
	}
	/* Not who has waited, and not where something was lost. */
	self->c->held = 0;
	self->c->idle = __SCATTO_PATIENCE;
	put(&self->s, at++, 1, 0);
	ASSERT_EQ(0, scatto_try_recv(self->c, &v));
	EXPECT_EQ(0, self->c->held);
	put(&self->s, at++, 2, 5);
	ASSERT_EQ(0, scatto_try_recv(self->c, &v));
	EXPECT_EQ(5, scatto_lost(self->c));
	EXPECT_EQ(0, self->c->held);
	/* Not who is behind already. */
	for (i = 0; i < self->s.capacity / 2; i++)
		put(&self->s, at + i, 3, 0);
	ASSERT_EQ(0, scatto_try_recv(self->c, &v));
	EXPECT_EQ(0, self->c->held);
	EXPECT_EQ(3, self->c->hold);
	/* Nor when nothing can come any more. */
	self->s.chan->end = at + i;
	while (++at < self->s.chan->end)
		ASSERT_EQ(0, scatto_try_recv(self->c, &v));
	EXPECT_EQ(0, self->c->held);
	EXPECT_EQ(-EPIPE, scatto_try_recv(self->c, &v));
}

/* What a peek has shown can be released, whatever has become of the end. */
TEST_F(stamps, shown_before_the_end)
{
	unsigned int i;

	self->c->held = 1;
	for (i = 0; i < 4; i++)
		put(&self->s, self->at + i, i, 0);
	ASSERT_EQ(4, scatto_peek(self->c, 4));
	self->s.chan->end = self->at + 2;
	EXPECT_EQ(4, scatto_peek(self->c, 8));
	EXPECT_EQ(0, scatto_release(self->c, 4));
	EXPECT_EQ(-EPIPE, scatto_peek(self->c, 8));
}

struct ender {
	struct stamped *s;
	uint64_t at;		/* of the event before the end */
	uint64_t go, done;	/* rounds */
	bool over;
};

static void *end_it(void *arg)
{
	struct ender *e = arg;
	unsigned int seed = 1;

	for (uint64_t round = 1;; round++) {
		while (__atomic_load_n(&e->go, __ATOMIC_ACQUIRE) != round)
			;
		if (e->over)
			return NULL;
		for (unsigned int i = rand_r(&seed) % 64; i; i--)
			__scatto_relax();
		__atomic_store_n(&e->s->chan->end, e->at + 1, __ATOMIC_RELEASE);
		for (unsigned int i = 1; i <= 3; i++)
			put(e->s, e->at + i, 0, 0);
		__atomic_store_n(&e->done, round, __ATOMIC_RELEASE);
	}
}

/* What is stamped after the end was set is not in the stream, whoever looks meanwhile. */
TEST_F(stamps, the_end_while_falling_back)
{
	const uint64_t rounds = SANITIZED ? 1000 : 20000;
	struct ender e = { .s = &self->s };
	uint64_t at = self->at, wrong = 0, buf[8];
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, end_it, &e));
	for (uint64_t round = 1; round <= rounds; round++, at++) {
		for (unsigned int i = 1; i <= 3; i++)
			stamp(&self->s, at + i,
			      stamp_of(&self->s, at + i + 2 * self->s.capacity, 0, false));
		self->s.chan->end = SCATTO_END_OPEN;
		put(&self->s, at, at, 0);
		self->c->held = 0;
		self->c->idle = 0;
		e.at = at;
		__atomic_store_n(&e.go, round, __ATOMIC_RELEASE);
		wrong += scatto_try_recv_batch(self->c, buf, 8) != 1;
		while (__atomic_load_n(&e.done, __ATOMIC_ACQUIRE) != round)
			sched_yield();
		wrong += scatto_try_recv_batch(self->c, buf, 8) != -EPIPE;
		if (self->c->next != at + 1)
			break;
	}
	EXPECT_EQ(0, wrong);
	while (__atomic_load_n(&e.done, __ATOMIC_ACQUIRE) != e.go)
		;
	e.over = true;
	__atomic_store_n(&e.go, e.go + 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_EQ(self->at + rounds, self->c->next);
}

TEST_HARNESS_MAIN
