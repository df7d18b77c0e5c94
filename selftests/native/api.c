// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto, local backend: every function and every error, by one thread that
 * never waits.
 */
#include "common.h"

FIXTURE(ring)
{
	struct ring r;
};

FIXTURE_VARIANT(ring)
{
	uint32_t slot_size;
	uint64_t capacity;
	uint32_t kind;
};

#define RING_VARIANT(slot, cap, which) \
	FIXTURE_VARIANT_ADD(ring, which##_##slot##_by_##cap) { \
		.slot_size = slot, .capacity = cap, \
		.kind = SCATTO_KIND_##which, \
	}

RING_VARIANT(8, 2, SPSC);
RING_VARIANT(8, 8, SPSC);
RING_VARIANT(16, 4, SPSC);
RING_VARIANT(32, 4, SPSC);
RING_VARIANT(64, 4, SPSC);
RING_VARIANT(11, 4, SPSC);
RING_VARIANT(20, 2, SPSC);
RING_VARIANT(4096, 16, SPSC);
RING_VARIANT(1048576, 2, SPSC);
RING_VARIANT(8, 2, MPSC);
RING_VARIANT(8, 8, MPSC);
RING_VARIANT(16, 4, MPSC);
RING_VARIANT(32, 4, MPSC);
RING_VARIANT(64, 4, MPSC);
RING_VARIANT(11, 4, MPSC);
RING_VARIANT(20, 2, MPSC);
RING_VARIANT(4096, 16, MPSC);
RING_VARIANT(1048576, 2, MPSC);

FIXTURE_SETUP(ring)
{
	ASSERT_EQ(0, ring_open_kind(&self->r, variant->kind, variant->slot_size,
				    variant->capacity, 0));
}

FIXTURE_TEARDOWN(ring)
{
	ring_close(&self->r);
}

/* Event @seq, every byte of it different from its neighbours'. */
static void fill(unsigned char *buf, uint32_t size, uint64_t seq)
{
	for (uint32_t i = 0; i < size; i++)
		buf[i] = (unsigned char)(seq * 37 + i * 11 + (i >> 8));
}

static bool is_event(const unsigned char *buf, uint32_t size, uint64_t seq)
{
	for (uint32_t i = 0; i < size; i++)
		if (buf[i] != (unsigned char)(seq * 37 + i * 11 + (i >> 8)))
			return false;
	return true;
}

TEST_F(ring, one_by_one)
{
	unsigned char *buf = malloc(variant->slot_size);
	uint64_t sent = 0, got = 0;

	ASSERT_NE(NULL, buf);
	for (int lap = 0; lap < 5; lap++) {
		EXPECT_EQ(-EAGAIN, scatto_try_recv(self->r.c, buf));
		for (uint64_t i = 0; i < variant->capacity; i++) {
			EXPECT_EQ((int)(variant->capacity - i),
				  scatto_available_slots(self->r.p));
			fill(buf, variant->slot_size, sent);
			ASSERT_EQ(0, scatto_try_send(self->r.p, buf));
			sent++;
		}
		EXPECT_EQ(-EAGAIN, scatto_try_send(self->r.p, buf));
		EXPECT_EQ(0, scatto_available_slots(self->r.p));
		for (uint64_t i = 0; i < variant->capacity; i++) {
			ASSERT_EQ(0, scatto_try_recv(self->r.c, buf));
			ASSERT_TRUE(is_event(buf, variant->slot_size, got));
			got++;
		}
		EXPECT_EQ(sent, scatto_producer_position(self->r.p));
		EXPECT_EQ(got, scatto_consumer_position(self->r.c));
	}
	EXPECT_EQ(0, scatto_lost(self->r.c));
	EXPECT_EQ(0, scatto_lost_total(self->r.c));
	EXPECT_EQ(0, scatto_tombstones(self->r.c));
	EXPECT_EQ(variant->slot_size, scatto_producer_slot_size(self->r.p));
	EXPECT_EQ(variant->slot_size, scatto_consumer_slot_size(self->r.c));
	free(buf);
}

/* Every length of batch at every place in the ring. */
TEST_F(ring, batches)
{
	uint32_t size = variant->slot_size, cap = (uint32_t)variant->capacity;
	unsigned char *buf = malloc((size_t)size * (cap + 1));
	uint64_t sent = 0, got = 0;

	ASSERT_NE(NULL, buf);
	for (uint32_t at = 0; at < cap; at++) {
		for (uint32_t n = 1; n <= cap + 1; n++) {
			int room = n < cap ? (int)n : (int)cap;

			for (uint32_t i = 0; i < n; i++)
				fill(buf + (size_t)i * size, size, sent + i);
			ASSERT_EQ(room,
				  scatto_try_send_batch(self->r.p, buf, n));
			sent += (uint64_t)room;
			memset(buf, 0, (size_t)size * (cap + 1));
			ASSERT_EQ(room,
				  scatto_try_recv_batch(self->r.c, buf, n));
			for (int i = 0; i < room; i++)
				ASSERT_TRUE(is_event(buf + (size_t)i * size,
						     size, got++));
		}
		/* One further. */
		fill(buf, size, sent++);
		ASSERT_EQ(0, scatto_send(self->r.p, buf));
		ASSERT_EQ(0, scatto_recv(self->r.c, buf));
		ASSERT_TRUE(is_event(buf, size, got++));
	}
	EXPECT_EQ(-EINVAL, scatto_try_send_batch(self->r.p, buf, 0));
	EXPECT_EQ(-EINVAL, scatto_send_batch(self->r.p, buf, 0));
	EXPECT_EQ(-EINVAL, scatto_send_batch(self->r.p, buf, 0x80000000U));
	EXPECT_EQ(-EINVAL, scatto_try_recv_batch(self->r.c, buf, 0));
	EXPECT_EQ(-EINVAL, scatto_recv_batch(self->r.c, buf, 0));
	EXPECT_EQ(-EAGAIN, scatto_try_recv_batch(self->r.c, buf, 1));
	free(buf);
}

TEST_F(ring, claim_in_place)
{
	uint32_t size = variant->slot_size, cap = (uint32_t)variant->capacity;
	uint64_t sent = 0, got = 0;

	for (int lap = 0; lap < 3; lap++) {
		void *slot = NULL;

		ASSERT_EQ(0, scatto_try_claim(self->r.p, &slot));
		ASSERT_EQ(slot, scatto_claim_slot(self->r.p, 0));
		ASSERT_EQ(NULL, scatto_claim_slot(self->r.p, 1));
		fill(slot, size, sent++);
		EXPECT_EQ(-EAGAIN, scatto_peek(self->r.c, 1));
		ASSERT_EQ(0, scatto_publish(self->r.p));
		ASSERT_EQ(1, scatto_peek(self->r.c, 5));
		ASSERT_TRUE(is_event(scatto_peek_slot(self->r.c, 0), size,
				     got++));
		ASSERT_EQ(NULL, scatto_peek_slot(self->r.c, 1));
		ASSERT_EQ(0, scatto_release(self->r.c, 1));

		ASSERT_EQ(0, scatto_claim_batch(self->r.p, cap));
		for (uint32_t i = 0; i < cap; i++)
			fill(scatto_claim_slot(self->r.p, i), size, sent++);
		EXPECT_EQ(NULL, scatto_claim_slot(self->r.p, cap));
		EXPECT_EQ(0, scatto_available_slots(self->r.p));
		ASSERT_EQ(0, scatto_publish(self->r.p));
		ASSERT_EQ((int)cap, scatto_peek(self->r.c, cap));
		for (uint32_t i = 0; i < cap; i++)
			ASSERT_TRUE(is_event(scatto_peek_slot(self->r.c, i),
					     size, got++));
		ASSERT_EQ(0, scatto_release(self->r.c, cap));
	}
}

TEST(claim_rules)
{
	uint64_t v = 7;
	struct ring r;
	void *slot;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));

	/* Nothing is claimed. */
	EXPECT_EQ(-EINVAL, scatto_publish(r.p));
	EXPECT_EQ(-EINVAL, scatto_publish_n(r.p, 0));
	EXPECT_EQ(-EINVAL, scatto_publish_n(r.p, 1));
	EXPECT_EQ(-EINVAL, scatto_abort(r.p));
	EXPECT_EQ(NULL, scatto_claim_slot(r.p, 0));
	EXPECT_EQ(-EINVAL, scatto_try_claim_batch(r.p, 0));
	EXPECT_EQ(-EINVAL, scatto_claim_batch(r.p, 0));
	EXPECT_EQ(-EINVAL, scatto_try_claim_batch(r.p, 5));
	EXPECT_EQ(-EINVAL, scatto_claim_batch_until(r.p, 5, 0));
	EXPECT_EQ(-EINVAL, scatto_claim_batch(r.p, UINT32_MAX));

	/* Something is: nothing else goes. */
	ASSERT_EQ(0, scatto_claim_batch(r.p, 3));
	EXPECT_EQ(1, scatto_available_slots(r.p));
	EXPECT_EQ(-EBUSY, scatto_try_claim(r.p, &slot));
	EXPECT_EQ(-EBUSY, scatto_claim(r.p, &slot));
	EXPECT_EQ(-EBUSY, scatto_claim_batch(r.p, 1));
	EXPECT_EQ(-EBUSY, scatto_try_send(r.p, &v));
	EXPECT_EQ(-EBUSY, scatto_send(r.p, &v));
	EXPECT_EQ(-EBUSY, scatto_try_send_batch(r.p, &v, 1));
	EXPECT_EQ(-EBUSY, scatto_send_batch(r.p, &v, 1));
	EXPECT_EQ(-EBUSY, scatto_wait_space(r.p, 1, 0));
	EXPECT_EQ(-EBUSY, scatto_call(r.p, &v, r.c, &v, 0));
	EXPECT_EQ(-EINVAL, scatto_publish_n(r.p, 4));
	EXPECT_EQ(-EAGAIN, scatto_try_recv(r.c, &v));

	/* Two of three; what was in the third never shows. */
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t *at = scatto_claim_slot(r.p, i);

		*at = 100 + i;
	}
	ASSERT_EQ(0, scatto_publish_n(r.p, 2));
	EXPECT_EQ(-EINVAL, scatto_publish(r.p));
	EXPECT_EQ(2, scatto_available_slots(r.p));
	v = 103;
	ASSERT_EQ(0, scatto_send(r.p, &v));
	for (uint32_t i = 0; i < 3; i++) {
		static const uint64_t want[] = { 100, 101, 103 };

		ASSERT_EQ(0, scatto_recv(r.c, &v));
		EXPECT_EQ(want[i], v);
	}
	EXPECT_EQ(-EAGAIN, scatto_try_recv(r.c, &v));

	/* None. */
	ASSERT_EQ(0, scatto_claim_batch(r.p, 4));
	ASSERT_EQ(0, scatto_abort(r.p));
	EXPECT_EQ(4, scatto_available_slots(r.p));
	ASSERT_EQ(0, scatto_claim(r.p, &slot));
	ASSERT_EQ(0, scatto_publish_n(r.p, 0));
	EXPECT_EQ(-EAGAIN, scatto_try_recv(r.c, &v));
	EXPECT_EQ(3, scatto_producer_position(r.p));

	/* As much as is free, no more. */
	ASSERT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(-EAGAIN, scatto_try_claim_batch(r.p, 4));
	EXPECT_EQ(0, scatto_try_claim_batch(r.p, 3));
	ring_close(&r);
}

TEST(peek_and_release)
{
	struct ring r;
	uint64_t v;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	EXPECT_EQ(-EAGAIN, scatto_peek(r.c, 1));
	EXPECT_EQ(-EINVAL, scatto_peek(r.c, 0));
	EXPECT_EQ(-EINVAL, scatto_release(r.c, 1));
	EXPECT_EQ(NULL, scatto_peek_slot(r.c, 0));

	for (v = 0; v < 3; v++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(2, scatto_peek(r.c, 2));
	EXPECT_EQ(3, scatto_peek(r.c, 100));
	EXPECT_EQ(-EINVAL, scatto_release(r.c, 0));
	EXPECT_EQ(-EINVAL, scatto_release(r.c, 4));
	EXPECT_EQ(1, *(const uint64_t *)scatto_peek_slot(r.c, 1));

	/* Nothing is free before the release, and just that after it. */
	EXPECT_EQ(1, scatto_available_slots(r.p));
	ASSERT_EQ(0, scatto_release(r.c, 2));
	EXPECT_EQ(3, scatto_available_slots(r.p));
	EXPECT_EQ(2, *(const uint64_t *)scatto_peek_slot(r.c, 0));

	/* A peek sees what came since, a receive goes on from there. */
	v = 3;
	ASSERT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(2, scatto_peek(r.c, 100));
	ASSERT_EQ(0, scatto_recv(r.c, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(3, *(const uint64_t *)scatto_peek_slot(r.c, 0));
	EXPECT_EQ(NULL, scatto_peek_slot(r.c, 1));
	ring_close(&r);
}

TEST(producer_gone)
{
	struct ring r;
	uint64_t v = 1;
	void *slot;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	ASSERT_EQ(0, scatto_send(r.p, &v));
	v = 2;
	ASSERT_EQ(0, scatto_send(r.p, &v));
	/* Claimed and never published. */
	ASSERT_EQ(0, scatto_claim(r.p, &slot));
	*(uint64_t *)slot = 3;
	EXPECT_EQ(0, scatto_consumer_is_disconnected(r.c));
	scatto_producer_close(r.p);
	r.p = NULL;

	EXPECT_EQ(1, scatto_consumer_is_disconnected(r.c));
	ASSERT_EQ(0, scatto_recv(r.c, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(1, scatto_wait_data(r.c, 3, SCATTO_FOREVER));
	EXPECT_EQ(1, scatto_peek(r.c, 4));
	EXPECT_EQ(2, *(const uint64_t *)scatto_peek_slot(r.c, 0));
	ASSERT_EQ(0, scatto_release(r.c, 1));
	EXPECT_EQ(-EPIPE, scatto_try_recv(r.c, &v));
	EXPECT_EQ(-EPIPE, scatto_recv(r.c, &v));
	EXPECT_EQ(-EPIPE, scatto_peek(r.c, 1));
	EXPECT_EQ(-EPIPE, scatto_try_recv_batch(r.c, &v, 1));
	EXPECT_EQ(-EPIPE, scatto_recv_batch(r.c, &v, 1));
	EXPECT_EQ(-EPIPE, scatto_wait_data(r.c, 1, SCATTO_FOREVER));

	/* Nobody can take it up again. */
	EXPECT_EQ(-EPIPE, scatto_producer_attach(r.ch, &r.p));
	ring_close(&r);
}

TEST(consumer_comes_after_the_end)
{
	struct scatto_config cfg = local_config(8, 4, 0);
	struct ring r = {};
	uint64_t v = 9;

	ASSERT_EQ(0, scatto_channel_create(&cfg, &r.ch));
	ASSERT_EQ(0, scatto_producer_attach(r.ch, &r.p));
	ASSERT_EQ(0, scatto_send(r.p, &v));
	scatto_producer_close(r.p);
	r.p = NULL;
	ASSERT_EQ(0, scatto_consumer_attach(r.ch, &r.c));
	v = 0;
	ASSERT_EQ(0, scatto_recv(r.c, &v));
	EXPECT_EQ(9, v);
	EXPECT_EQ(-EPIPE, scatto_recv(r.c, &v));
	scatto_consumer_close(r.c);
	r.c = NULL;
	EXPECT_EQ(-EPIPE, scatto_consumer_attach(r.ch, &r.c));
	ring_close(&r);
}

TEST(consumer_gone)
{
	struct ring r;
	uint64_t v = 1, two[2] = {};
	void *slot;

	ASSERT_EQ(0, ring_open(&r, 8, 2, 0));
	ASSERT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(0, scatto_producer_is_disconnected(r.p));
	scatto_consumer_close(r.c);
	r.c = NULL;
	EXPECT_EQ(1, scatto_producer_is_disconnected(r.p));

	/* With room, and when it is full. */
	ASSERT_EQ(0, scatto_claim(r.p, &slot));
	EXPECT_EQ(-EPIPE, scatto_publish(r.p));
	EXPECT_EQ(-EINVAL, scatto_publish(r.p));
	EXPECT_EQ(-EPIPE, scatto_try_send(r.p, &v));
	EXPECT_EQ(-EPIPE, scatto_send(r.p, &v));
	EXPECT_EQ(-EPIPE, scatto_try_claim(r.p, &slot));
	EXPECT_EQ(-EPIPE, scatto_claim_batch(r.p, 2));
	EXPECT_EQ(-EPIPE, scatto_send_batch(r.p, two, 2));
	EXPECT_EQ(-EPIPE, scatto_try_send_batch(r.p, two, 2));
	EXPECT_EQ(-EPIPE, scatto_wait_space(r.p, 1, SCATTO_FOREVER));
	EXPECT_EQ(-EPIPE, scatto_consumer_attach(r.ch, &r.c));
	ring_close(&r);

	ASSERT_EQ(0, ring_open(&r, 8, 2, 0));
	scatto_consumer_close(r.c);
	r.c = NULL;
	EXPECT_EQ(-EPIPE, scatto_try_send(r.p, &v));
	EXPECT_EQ(-EPIPE, scatto_call(r.p, &v, NULL, &v, SCATTO_FOREVER));
	ring_close(&r);
}

TEST(closed_by_the_owner)
{
	struct scatto_info info;
	struct ring r;
	uint64_t v = 1;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(0, scatto_channel_close(r.ch));
	EXPECT_EQ(-EPIPE, scatto_channel_close(r.ch));
	EXPECT_EQ(-EPIPE, scatto_try_send(r.p, &v));
	EXPECT_EQ(1, scatto_producer_is_disconnected(r.p));
	EXPECT_EQ(1, scatto_consumer_is_disconnected(r.c));
	/* What came after the end is not part of the stream. */
	EXPECT_EQ(0, scatto_try_recv(r.c, &v));
	EXPECT_EQ(-EPIPE, scatto_try_recv(r.c, &v));
	ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
	EXPECT_EQ(SCATTO_STATE_CLOSED, info.state);
	EXPECT_EQ(1, info.end);
	ring_close(&r);
}

TEST(closed_and_sent_on)
{
	struct ring r;
	uint64_t v;

	/* A producer that does not mind: the consumer stops all the same. */
	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	v = 1;
	ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(0, scatto_channel_close(r.ch));
	for (v = 2; v < 5; v++)
		EXPECT_EQ(-EPIPE, scatto_try_send(r.p, &v));
	EXPECT_EQ(1, scatto_peek(r.c, 4));
	EXPECT_EQ(0, scatto_try_recv(r.c, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(-EPIPE, scatto_try_recv(r.c, &v));
	ring_close(&r);
}

TEST(pause_and_go_on)
{
	struct ring r;
	uint64_t v;

	ASSERT_EQ(0, ring_open(&r, 8, 4, SCATTO_F_PAUSE));
	for (v = 0; v < 3; v++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(3, scatto_peek(r.c, 4));
	ASSERT_EQ(0, scatto_release(r.c, 1));
	scatto_consumer_close(r.c);
	EXPECT_EQ(0, scatto_producer_is_disconnected(r.p));
	ASSERT_EQ(0, scatto_send(r.p, &v));
	v = 4;
	ASSERT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(-EAGAIN, scatto_try_send(r.p, &v));
	scatto_producer_close(r.p);

	/* What was not released is seen again, and the numbers go on. */
	ASSERT_EQ(0, scatto_consumer_attach(r.ch, &r.c));
	EXPECT_EQ(1, scatto_consumer_position(r.c));
	ASSERT_EQ(0, scatto_producer_attach(r.ch, &r.p));
	EXPECT_EQ(5, scatto_producer_position(r.p));
	EXPECT_EQ(-EAGAIN, scatto_try_send(r.p, &v));
	for (uint64_t i = 1; i < 5; i++) {
		ASSERT_EQ(0, scatto_recv(r.c, &v));
		EXPECT_EQ(i, v);
	}
	EXPECT_EQ(-EAGAIN, scatto_try_recv(r.c, &v));
	v = 5;
	ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(0, scatto_recv(r.c, &v));
	EXPECT_EQ(5, v);
	EXPECT_EQ(0, scatto_consumer_is_disconnected(r.c));
	ring_close(&r);
}

TEST(places)
{
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	struct scatto_info info;
	struct ring r;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	EXPECT_EQ(-EBUSY, scatto_producer_attach(r.ch, &p));
	EXPECT_EQ(-EBUSY, scatto_consumer_attach(r.ch, &c));
	EXPECT_EQ(NULL, p);
	EXPECT_EQ(NULL, c);
	ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
	EXPECT_EQ(1, info.producers);
	EXPECT_EQ(1, info.consumers);
	ring_close(&r);

	/* Nothing is "the last one gone" before the first one came. */
	ASSERT_EQ(0, ring_open(&r, 8, 4, SCATTO_F_PAUSE));
	scatto_producer_close(r.p);
	scatto_consumer_close(r.c);
	r.p = NULL;
	r.c = NULL;
	ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
	EXPECT_EQ(0, info.producers);
	EXPECT_EQ(0, info.consumers);
	EXPECT_EQ(0, info.state);
	ring_close(&r);
	scatto_producer_close(NULL);
	scatto_consumer_close(NULL);
	scatto_observer_close(NULL);
	scatto_channel_free(NULL);
}

TEST(config)
{
	struct scatto_config cfg;
	struct scatto_channel *ch = NULL;
	struct { struct scatto_config cfg; uint64_t newer; } big = {};

#define REFUSED(err, field, value) do {					\
	cfg = local_config(8, 4, 0);					\
	cfg.field = value;						\
	EXPECT_EQ(err, scatto_channel_create(&cfg, &ch)) {		\
		TH_LOG("%s = %s", #field, #value);			\
	}								\
} while (0)
	REFUSED(-EINVAL, size, 0);
	REFUSED(-EINVAL, size, sizeof(cfg) - 1);
	REFUSED(-EINVAL, backend, 2);
	REFUSED(-EINVAL, kind, 0);
	REFUSED(-EINVAL, kind, 3);
	REFUSED(-EINVAL, slot_size, 0);
	REFUSED(-EINVAL, slot_size, 7);
	REFUSED(-EINVAL, slot_size, SCATTO_MAX_SLOT_SIZE + 1);
	REFUSED(-EINVAL, capacity, 0);
	REFUSED(-EINVAL, capacity, 1);
	REFUSED(-EINVAL, capacity, 3);
	REFUSED(-EINVAL, capacity, SCATTO_MAX_CAPACITY * 2ULL);
	REFUSED(-EINVAL, capacity, 1ULL << 63);
	REFUSED(-EOPNOTSUPP, flags, SCATTO_F_SHARED);
	REFUSED(-EINVAL, flags, 4);
	REFUSED(-EINVAL, flags, SCATTO_F_FENCE);
	REFUSED(-EINVAL, flags, SCATTO_F_KERNEL);
	REFUSED(-EINVAL, mode, 0600);
	REFUSED(-EOPNOTSUPP, name, "name");
	REFUSED(-EINVAL, max_producers, 2);
	REFUSED(-EINVAL, reserved0, 1);
	REFUSED(-EINVAL, reserved[0], 1);
	REFUSED(-EINVAL, reserved[2], 1);
#undef REFUSED

	big.cfg = local_config(8, 4, 0);
	big.cfg.size = sizeof(big);
	big.newer = 1;
	EXPECT_EQ(-E2BIG, scatto_channel_create(&big.cfg, &ch));
	big.newer = 0;
	EXPECT_EQ(NULL, ch);
	EXPECT_EQ(0, scatto_channel_create(&big.cfg, &ch));
	scatto_channel_free(ch);

	/* More than any address space. */
	ch = NULL;
	cfg = local_config(SCATTO_MAX_SLOT_SIZE, SCATTO_MAX_CAPACITY, 0);
	EXPECT_EQ(-ENOMEM, scatto_channel_create(&cfg, &ch));
	EXPECT_EQ(NULL, ch);
}

/* As the module: larger than a page is not even looked at. */
TEST(config_larger_than_a_page)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct scatto_channel *ch = NULL;
	struct scatto_config *cfg;

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mprotect(map + page, page, PROT_NONE));
	cfg = (void *)map;
	*cfg = local_config(8, 4, 0);
	cfg->size = (uint32_t)page;
	EXPECT_EQ(0, scatto_channel_create(cfg, &ch));
	scatto_channel_free(ch);
	ch = NULL;
	cfg->size = (uint32_t)page + 1;
	EXPECT_EQ(-EINVAL, scatto_channel_create(cfg, &ch));
	cfg->size = UINT32_MAX;
	EXPECT_EQ(-EINVAL, scatto_channel_create(cfg, &ch));
	EXPECT_EQ(NULL, ch);
	munmap(map, 2 * page);
}

/* No name and no channel are errors, and not file descriptor 0. */
TEST(null_is_no_source)
{
	struct scatto_config cfg = local_config(8, 4, 0);
	struct scatto_channel *ch, *other = NULL;
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	struct scatto_observer *o = NULL;

	ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
	ASSERT_EQ(0, dup2(scatto_channel_fd(ch), 0));
	EXPECT_EQ(-EINVAL, scatto_channel_open(NULL, &other));
	EXPECT_EQ(-EINVAL, scatto_producer_open(NULL, &p));
	EXPECT_EQ(-EINVAL, scatto_consumer_open(NULL, &c));
	EXPECT_EQ(-EINVAL, scatto_observer_open(NULL, &o));
	EXPECT_EQ(-EBADF, scatto_producer_attach(NULL, &p));
	EXPECT_EQ(-EBADF, scatto_consumer_attach(NULL, &c));
	EXPECT_EQ(-EBADF, scatto_observer_attach(NULL, &o));
	EXPECT_LE(0, fcntl(0, F_GETFD));
	scatto_channel_free(ch);
}

TEST(info_of_each)
{
	struct scatto_observer *o;
	struct scatto_info info;
	uint64_t v = 1;
	struct ring r;

	ASSERT_EQ(0, ring_open(&r, 12, 8, SCATTO_F_PAUSE));
	ASSERT_EQ(0, scatto_observer_attach(r.ch, &o));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, scatto_send(r.p, (uint64_t[2]){ v }));
	ASSERT_EQ(0, scatto_recv(r.c, (uint64_t[2]){}));

	ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
	EXPECT_EQ(sizeof(info), info.size);
	EXPECT_EQ(SCATTO_ROLE_OWNER, info.role);
	EXPECT_EQ(3, info.published);
	EXPECT_EQ(1, info.consumed);
	EXPECT_EQ(SCATTO_END_OPEN, info.end);
	EXPECT_EQ(12, info.layout.slot_size);
	EXPECT_EQ(16, info.layout.slot_stride);
	EXPECT_EQ(8, info.layout.capacity);
	EXPECT_EQ(SCATTO_KIND_SPSC, info.layout.kind);
	EXPECT_EQ(SCATTO_F_PAUSE, info.layout.flags & SCATTO_F_CREATE);
	EXPECT_EQ(getuid(), info.uid);
	EXPECT_LT(8 * 16, info.bytes);
	EXPECT_NE(0, info.id);
	ASSERT_EQ(0, scatto_producer_info(r.p, &info));
	EXPECT_EQ(SCATTO_ROLE_PRODUCER, info.role);
	ASSERT_EQ(0, scatto_consumer_info(r.c, &info));
	EXPECT_EQ(SCATTO_ROLE_CONSUMER, info.role);
	ASSERT_EQ(0, scatto_observer_info(o, &info));
	EXPECT_EQ(SCATTO_ROLE_OBSERVER, info.role);

	EXPECT_LE(0, scatto_channel_fd(r.ch));
	EXPECT_LE(0, scatto_producer_fd(r.p));
	EXPECT_LE(0, scatto_consumer_fd(r.c));
	EXPECT_LE(0, scatto_observer_fd(o));
	scatto_observer_close(o);
	ring_close(&r);
}

TEST(observer)
{
	uint64_t published, consumed, v;
	struct scatto_observer *o;
	struct ring r;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	ASSERT_EQ(0, scatto_observer_attach(r.ch, &o));
	ASSERT_EQ(0, scatto_observer_positions(o, &published, &consumed));
	EXPECT_EQ(0, published);
	EXPECT_EQ(0, consumed);
	EXPECT_EQ(-EAGAIN, scatto_observer_read(o, 0, &v));
	for (v = 10; v < 14; v++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(0, scatto_recv(r.c, &v));
	ASSERT_EQ(0, scatto_observer_positions(o, &published, &consumed));
	EXPECT_EQ(4, published);
	EXPECT_EQ(1, consumed);
	EXPECT_EQ(-ESTALE, scatto_observer_read(o, 0, &v));
	for (uint64_t i = 1; i < 4; i++) {
		ASSERT_EQ(0, scatto_observer_read(o, i, &v));
		EXPECT_EQ(10 + i, v);
	}
	EXPECT_EQ(-EAGAIN, scatto_observer_read(o, 4, &v));
	scatto_observer_close(o);
	ring_close(&r);
}

TEST(strategies_are_checked)
{
	struct ring r;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	for (uint32_t s = 0; s < ALL_STRATEGIES; s++) {
		EXPECT_EQ(0, scatto_producer_set_wait(r.p, s));
		EXPECT_EQ(0, scatto_consumer_set_wait(r.c, s));
	}
	EXPECT_EQ(-EINVAL, scatto_producer_set_wait(r.p, ALL_STRATEGIES));
	EXPECT_EQ(-EINVAL, scatto_consumer_set_wait(r.c, ALL_STRATEGIES));
	EXPECT_EQ(-EINVAL, scatto_wait_data(r.c, 0, 0));
	EXPECT_EQ(-EINVAL, scatto_wait_data(r.c, 5, 0));
	EXPECT_EQ(-EINVAL, scatto_wait_space(r.p, 0, 0));
	EXPECT_EQ(-EINVAL, scatto_wait_space(r.p, 5, 0));
	ring_close(&r);
}

TEST(errno_is_left_alone)
{
	struct scatto_config cfg = local_config(8, 3, 0);
	struct scatto_channel *ch;
	struct scatto_query q;
	struct scatto_list entry = {};
	struct ring r;
	uint64_t v = 1;

	errno = 4711;
	EXPECT_EQ(-EINVAL, scatto_channel_create(&cfg, &ch));
	EXPECT_EQ(-EBADF, scatto_channel_from_fd(-1, &ch));
	scatto_query(&q);
	scatto_list(&entry);
	ASSERT_EQ(0, ring_open(&r, 8, 2, 0));
	EXPECT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(0, scatto_recv(r.c, &v));
	EXPECT_EQ(-ETIMEDOUT, scatto_recv_until(r.c, &v, now_ns() + MS));
	EXPECT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(-ETIMEDOUT, scatto_send_until(r.p, &v, now_ns() + MS));
	ring_close(&r);
	EXPECT_EQ(4711, errno);
}

TEST(names_and_features)
{
	bool module = !access("/dev/scatto", F_OK);
	uint64_t features = ~0ULL;
	struct scatto_query q;
	struct scatto_producer *p;
	struct scatto_consumer *c;
	struct scatto_observer *o;
	struct scatto_channel *ch;

	EXPECT_STREQ(SCATTO_VERSION, scatto_version());
	ASSERT_EQ(0, scatto_features(SCATTO_BACKEND_LOCAL, &features));
	EXPECT_EQ(SCATTO_FEATURE_SPSC | SCATTO_FEATURE_MPSC, features);
	EXPECT_EQ(-EINVAL, scatto_features(7, &features));
	EXPECT_EQ(-EINVAL, scatto_producer_open("", &p));
	EXPECT_EQ(-EINVAL, scatto_consumer_open("", &c));

	if (module)
		SKIP(return, "the module is loaded here");
	EXPECT_EQ(-ENODEV, scatto_features(SCATTO_BACKEND_KERNEL, &features));
	EXPECT_EQ(-ENODEV, scatto_query(&q));
	EXPECT_EQ(-ENODEV, scatto_producer_open("x", &p));
	EXPECT_EQ(-ENODEV, scatto_consumer_open("x", &c));
	EXPECT_EQ(-ENODEV, scatto_observer_open("x", &o));
	EXPECT_EQ(-ENODEV, scatto_channel_open("x", &ch));
}

TEST(deadlines_saturate)
{
	uint64_t now = scatto_deadline(0);

	EXPECT_LT(0, now);
	EXPECT_LE(now + SECOND, scatto_deadline(SECOND));
	EXPECT_EQ(SCATTO_FOREVER, scatto_deadline(SCATTO_FOREVER));
	EXPECT_EQ(SCATTO_FOREVER, scatto_deadline(SCATTO_FOREVER - 1));
}

TEST_HARNESS_MAIN
