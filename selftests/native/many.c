// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto, local backend: channels with many producers (kind MPSC).
 */
#include "common.h"

#define MOST	1024

/* A channel with its consumer, and as many producers as a test attaches. */
struct many {
	struct scatto_channel *ch;
	struct scatto_consumer *c;
	struct scatto_producer *p[MOST];
	struct scatto_info info;
	struct words w;
};

static struct scatto_config many_config(uint32_t slot_size, uint64_t capacity,
					uint32_t flags)
{
	struct scatto_config cfg = local_config(slot_size, capacity, flags);

	cfg.kind = SCATTO_KIND_MPSC;
	return cfg;
}

static int many_open(struct many *m, const struct scatto_config *cfg, int n)
{
	int ret;

	memset(m, 0, sizeof(*m));
	ret = scatto_channel_create(cfg, &m->ch);
	if (!ret)
		ret = scatto_channel_info(m->ch, &m->info);
	if (!ret)
		ret = words_map(&m->w, scatto_channel_fd(m->ch),
				&m->info.layout) ? 0 : -ENOMEM;
	if (!ret)
		ret = scatto_consumer_attach(m->ch, &m->c);
	for (int i = 0; i < n && !ret; i++)
		ret = scatto_producer_attach(m->ch, &m->p[i]);
	return ret;
}

static void many_leave(struct many *m, int i)
{
	scatto_producer_close(m->p[i]);
	m->p[i] = NULL;
}

static void many_close(struct many *m)
{
	for (int i = 0; i < MOST; i++)
		many_leave(m, i);
	scatto_consumer_close(m->c);
	scatto_channel_free(m->ch);
	munmap(m->w.base, m->w.size);
}

/*
 * All ends at the addresses of the test's own mapping, as ring_alias(): so that
 * a thread sanitizer sees that they share memory.
 */
static void producer_alias(struct many *m, struct scatto_producer *p)
{
	const struct scatto_layout *l = &m->info.layout;
	unsigned char *data = m->w.base + l->region[SCATTO_REGION_DATA].offset;

	p->slots = data + l->slot_offset;
	p->stamps = (__u64 *)(data + l->stamp_offset);
	p->claim_cursor = &m->w.prod->claimed;
	p->cursor = &m->w.cons->cursor;
	p->data_wake = &m->w.chan->data_wake;
	p->chan = m->w.chan;
}

static void many_alias(struct many *m)
{
	const struct scatto_layout *l = &m->info.layout;
	unsigned char *data = m->w.base + l->region[SCATTO_REGION_DATA].offset;

	m->c->slots = data + l->slot_offset;
	m->c->stamps = (__u64 *)(data + l->stamp_offset);
	m->c->cursor = &m->w.cons->cursor;
	m->c->space_wake = &m->w.chan->space_wake;
	m->c->chan = m->w.chan;
	for (int i = 0; i < MOST && m->p[i]; i++)
		producer_alias(m, m->p[i]);
}

static __u64 *many_stamps(struct many *m)
{
	const struct scatto_layout *l = &m->info.layout;

	return (__u64 *)(m->w.base + l->region[SCATTO_REGION_DATA].offset +
			 l->stamp_offset);
}

static struct scatto_intent *many_intent(struct many *m, unsigned int i)
{
	const struct scatto_layout *l = &m->info.layout;

	return (struct scatto_intent *)
		(m->w.base + l->region[SCATTO_REGION_PRODUCER].offset +
		 l->intent_offset + (size_t)i * l->intent_stride);
}

FIXTURE(many)
{
	struct many m;
};

FIXTURE_SETUP(many)
{
	struct scatto_config cfg = many_config(8, 8, 0);

	ASSERT_EQ(0, many_open(&self->m, &cfg, 3));
}

FIXTURE_TEARDOWN(many)
{
	many_close(&self->m);
}

TEST(creation)
{
	struct scatto_config cfg = many_config(8, 8, 0);
	struct scatto_channel *ch;
	struct scatto_info info;

	for (uint32_t n = 0; n <= MOST; n += n < 3 ? 1 : 1021) {
		cfg.max_producers = n;
		ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
		ASSERT_EQ(0, scatto_channel_info(ch, &info));
		EXPECT_EQ(n ? n : 64, info.layout.max_producers);
		EXPECT_EQ(SCATTO_KIND_MPSC, info.layout.kind);
		/* As the module lays it out. */
		EXPECT_EQ(256, info.layout.intent_offset);
		EXPECT_EQ(128, info.layout.intent_stride);
		EXPECT_LE(256 + 128 * info.layout.max_producers,
			  info.layout.region[SCATTO_REGION_PRODUCER].size);
		scatto_channel_free(ch);
	}
	cfg.max_producers = MOST + 1;
	EXPECT_EQ(-EINVAL, scatto_channel_create(&cfg, &ch));
	cfg.max_producers = UINT32_MAX;
	EXPECT_EQ(-EINVAL, scatto_channel_create(&cfg, &ch));
	cfg = many_config(8, 8, SCATTO_F_SHARED);
	EXPECT_EQ(-EOPNOTSUPP, scatto_channel_create(&cfg, &ch));
	cfg = local_config(8, 8, 0);
	cfg.max_producers = 1;
	ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
	scatto_channel_free(ch);
}

TEST_F(many, order_is_that_of_claims)
{
	struct scatto_producer **p = self->m.p;
	uint64_t v, buf[8];
	void *slot[3];

	for (uint64_t lap = 0; lap < 20; lap++) {
		for (int i = 0; i < 3; i++) {
			ASSERT_EQ(0, scatto_try_claim(p[i], &slot[i]));
			ASSERT_EQ(5 * lap + (unsigned int)i,
				  scatto_producer_position(p[i]));
			*(uint64_t *)slot[i] = 5 * lap + (unsigned int)i;
		}
		EXPECT_EQ(5, scatto_available_slots(p[0]));
		/* Whatever is published first, the first claimed comes first. */
		ASSERT_EQ(0, scatto_publish(p[2]));
		ASSERT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
		ASSERT_EQ(0, scatto_publish(p[1]));
		v = 5 * lap + 3;
		ASSERT_EQ(0, scatto_send(p[2], &v));
		ASSERT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
		ASSERT_EQ(0, scatto_publish(p[0]));
		v = 5 * lap + 4;
		ASSERT_EQ(0, scatto_try_send(p[0], &v));
		ASSERT_EQ(5, scatto_recv_batch(self->m.c, buf, 8));
		for (uint64_t i = 0; i < 5; i++)
			ASSERT_EQ(5 * lap + i, buf[i]);
	}
	EXPECT_EQ(0, scatto_tombstones(self->m.c));
	EXPECT_EQ(0, scatto_lost_total(self->m.c));
}

/* Every length of batch at every place in the ring, whole and in part. */
TEST_F(many, batches)
{
	struct scatto_producer *p = self->m.p[0], *q = self->m.p[1];
	uint64_t buf[9], sent = 0, got = 0, buried = 0;

	for (uint32_t at = 0; at < 8; at++) {
		for (uint32_t n = 1; n <= 9; n++) {
			int room = n < 8 ? (int)n : 8;

			for (uint32_t i = 0; i < n; i++)
				buf[i] = sent + i;
			ASSERT_EQ(room, scatto_try_send_batch(p, buf, n));
			sent += (uint64_t)room;
			memset(buf, 0, sizeof(buf));
			ASSERT_EQ(room, scatto_try_recv_batch(self->m.c, buf,
							      9));
			for (int i = 0; i < room; i++)
				ASSERT_EQ(got++, buf[i]);
		}
		for (uint32_t n = 1; n <= 8; n++) {
			for (uint32_t k = 0; k <= n; k++) {
				ASSERT_EQ(0, scatto_claim_batch(q, n));
				ASSERT_EQ(NULL, scatto_claim_slot(q, n));
				ASSERT_EQ(8 - (int)n,
					  scatto_available_slots(p));
				for (uint32_t i = 0; i < n; i++)
					*(uint64_t *)scatto_claim_slot(q, i) =
						i < k ? sent++ : ~0ULL;
				ASSERT_EQ(0, scatto_publish_n(q, k));
				buried += n - k;
				for (uint32_t i = 0; i < k; i++) {
					ASSERT_EQ(0, scatto_recv(self->m.c,
								 buf));
					ASSERT_EQ(got++, buf[0]);
				}
				ASSERT_EQ(-EAGAIN, scatto_try_recv(self->m.c,
								   buf));
				ASSERT_EQ(buried, scatto_tombstones(self->m.c));
			}
		}
		/* One further. */
		ASSERT_EQ(0, scatto_send(p, &sent));
		sent++;
		ASSERT_EQ(0, scatto_recv(self->m.c, buf));
		ASSERT_EQ(got++, buf[0]);
	}
	EXPECT_EQ(buried, self->m.w.cons->skipped);
}

TEST_F(many, claim_rules)
{
	struct scatto_producer *p = self->m.p[0], *q = self->m.p[1];
	struct scatto_run runs[4];
	uint64_t v = 7, two[2] = {};
	void *slot;

	EXPECT_EQ(-EINVAL, scatto_publish(p));
	EXPECT_EQ(-EINVAL, scatto_publish_n(p, 0));
	EXPECT_EQ(-EINVAL, scatto_publish_n(p, 1));
	EXPECT_EQ(-EINVAL, scatto_abort(p));
	EXPECT_EQ(NULL, scatto_claim_slot(p, 0));
	EXPECT_EQ(-EINVAL, scatto_try_claim_batch(p, 0));
	EXPECT_EQ(-EINVAL, scatto_claim_batch(p, 0));
	EXPECT_EQ(-EINVAL, scatto_try_claim_batch(p, 9));
	EXPECT_EQ(-EINVAL, scatto_claim_batch_until(p, 9, 0));
	EXPECT_EQ(-EINVAL, scatto_claim_batch(p, UINT32_MAX));
	EXPECT_EQ(-EINVAL, scatto_try_send_batch(p, two, 0));
	EXPECT_EQ(-EINVAL, scatto_send_batch(p, two, 0));
	EXPECT_EQ(-EINVAL, scatto_send_batch(p, two, 0x80000000U));
	EXPECT_EQ(-EINVAL, scatto_wait_space(p, 0, 0));
	EXPECT_EQ(-EINVAL, scatto_wait_space(p, 9, 0));

	/* One claim at a time for each producer; others are not concerned. */
	ASSERT_EQ(0, scatto_claim_batch(p, 3));
	EXPECT_EQ(-EBUSY, scatto_try_claim(p, &slot));
	EXPECT_EQ(-EBUSY, scatto_claim(p, &slot));
	EXPECT_EQ(-EBUSY, scatto_claim_batch(p, 1));
	EXPECT_EQ(-EBUSY, scatto_try_send(p, &v));
	EXPECT_EQ(-EBUSY, scatto_send(p, &v));
	EXPECT_EQ(-EBUSY, scatto_try_send_batch(p, two, 2));
	EXPECT_EQ(-EBUSY, scatto_send_batch(p, two, 2));
	EXPECT_EQ(-EBUSY, scatto_wait_space(p, 1, 0));
	EXPECT_EQ(-EBUSY, scatto_call(p, &v, self->m.c, &v, 0));
	EXPECT_EQ(-EINVAL, scatto_publish_n(p, 4));
	ASSERT_EQ(0, scatto_claim_batch(q, 5));
	EXPECT_EQ(0, scatto_available_slots(p));

	/* Full. */
	EXPECT_EQ(-EAGAIN, scatto_try_claim(self->m.p[2], &slot));
	EXPECT_EQ(-EAGAIN, scatto_try_send(self->m.p[2], &v));
	EXPECT_EQ(-EAGAIN, scatto_try_send_batch(self->m.p[2], two, 2));
	EXPECT_EQ(SCATTO_INTENT_NONE, many_intent(&self->m, 2)->lo);
	EXPECT_EQ(-ETIMEDOUT, scatto_claim_until(self->m.p[2], &slot,
						 now_ns() + MS));
	EXPECT_EQ(-ETIMEDOUT, scatto_send_until(self->m.p[2], &v, 0));
	EXPECT_EQ(-ETIMEDOUT, scatto_send_batch_until(self->m.p[2], two, 2,
						      now_ns() + MS));
	EXPECT_EQ(-ETIMEDOUT, scatto_wait_space(self->m.p[2], 1, 0));

	ASSERT_EQ(0, scatto_abort(q));
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
	*(uint64_t *)scatto_claim_slot(p, 0) = 1;
	*(uint64_t *)scatto_claim_slot(p, 1) = 2;
	ASSERT_EQ(0, scatto_publish_n(p, 2));
	EXPECT_EQ(-EINVAL, scatto_publish(p));
	EXPECT_EQ(8, scatto_producer_position(p));
	for (uint64_t i = 1; i < 3; i++) {
		ASSERT_EQ(0, scatto_recv(self->m.c, &v));
		EXPECT_EQ(i, v);
	}
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
	EXPECT_EQ(6, scatto_tombstones(self->m.c));
	ASSERT_EQ(1, scatto_skipped(self->m.c, runs, 4));
	EXPECT_EQ(2, runs[0].first);
	EXPECT_EQ(6, runs[0].count);
	EXPECT_EQ(8, scatto_available_slots(p));
	EXPECT_EQ(8, scatto_wait_space(p, 8, 0));

	/* As many as are free. */
	ASSERT_EQ(0, scatto_claim_batch(q, 7));
	EXPECT_EQ(-EAGAIN, scatto_try_claim_batch(p, 2));
	EXPECT_EQ(1, scatto_try_send_batch(p, two, 2));
	ASSERT_EQ(0, scatto_abort(q));
}

TEST_F(many, close_with_a_claim)
{
	struct scatto_producer **p = self->m.p;
	struct scatto_run runs[4];
	uint64_t v = 1;

	ASSERT_EQ(0, scatto_send(p[0], &v));
	ASSERT_EQ(0, scatto_claim_batch(p[1], 3));
	v = 2;
	ASSERT_EQ(0, scatto_send(p[0], &v));
	many_leave(&self->m, 1);
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(1, v);
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(3, scatto_tombstones(self->m.c));
	ASSERT_EQ(1, scatto_skipped(self->m.c, runs, 4));
	EXPECT_EQ(1, runs[0].first);
	EXPECT_EQ(3, runs[0].count);
	ASSERT_EQ(0, scatto_channel_info(self->m.ch, &self->m.info));
	EXPECT_EQ(3, self->m.info.skipped);
	EXPECT_EQ(2, self->m.info.producers);
	EXPECT_EQ(5, self->m.info.published);
	EXPECT_EQ(5, self->m.info.consumed);
}

/* A child's copy of a producer is not the producer. */
TEST_F(many, forked_child_aborts_nothing)
{
	struct scatto_producer *p = self->m.p[0];
	uint64_t v;
	void *slot;
	int status;
	pid_t pid;

	ASSERT_EQ(0, scatto_claim(p, &slot));
	pid = fork();
	if (!pid) {
		scatto_producer_close(p);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
	*(uint64_t *)slot = 5;
	ASSERT_EQ(0, scatto_publish(p));
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(5, v);
}

TEST_F(many, the_last_one_ends_it)
{
	struct scatto_producer *p;
	uint64_t v = 1;

	ASSERT_EQ(0, scatto_send(self->m.p[0], &v));
	many_leave(&self->m, 0);
	many_leave(&self->m, 1);
	EXPECT_EQ(0, scatto_consumer_is_disconnected(self->m.c));
	ASSERT_EQ(0, scatto_producer_attach(self->m.ch, &self->m.p[1]));
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
	v = 2;
	ASSERT_EQ(0, scatto_send(self->m.p[1], &v));
	ASSERT_EQ(0, scatto_claim_batch(self->m.p[1], 2));
	v = 3;
	ASSERT_EQ(0, scatto_send(self->m.p[2], &v));
	many_leave(&self->m, 2);
	EXPECT_EQ(0, scatto_consumer_is_disconnected(self->m.c));
	many_leave(&self->m, 1);
	EXPECT_EQ(1, scatto_consumer_is_disconnected(self->m.c));
	EXPECT_EQ(-EPIPE, scatto_producer_attach(self->m.ch, &p));
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(2, v);
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(3, v);
	EXPECT_EQ(-EPIPE, scatto_try_recv(self->m.c, &v));
	EXPECT_EQ(-EPIPE, scatto_recv(self->m.c, &v));
	EXPECT_EQ(2, scatto_tombstones(self->m.c));
	ASSERT_EQ(0, scatto_channel_info(self->m.ch, &self->m.info));
	EXPECT_EQ(5, self->m.info.end);
	EXPECT_EQ(SCATTO_STATE_NO_PRODUCER, self->m.info.state);
}

TEST_F(many, consumer_gone)
{
	struct scatto_producer **p = self->m.p;
	uint64_t v = 1, two[2] = {};
	void *slot;

	ASSERT_EQ(0, scatto_claim(p[0], &slot));
	ASSERT_EQ(0, scatto_claim(p[2], &slot));
	scatto_consumer_close(self->m.c);
	self->m.c = NULL;
	EXPECT_EQ(1, scatto_producer_is_disconnected(p[0]));
	EXPECT_EQ(-EPIPE, scatto_publish(p[0]));
	EXPECT_EQ(-EINVAL, scatto_publish(p[0]));
	EXPECT_EQ(0, scatto_abort(p[2]));
	EXPECT_EQ(-EPIPE, scatto_send(p[1], &v));
	EXPECT_EQ(-EPIPE, scatto_try_send(p[1], &v));
	EXPECT_EQ(-EPIPE, scatto_send_batch(p[1], two, 2));
	EXPECT_EQ(-EPIPE, scatto_try_send_batch(p[1], two, 2));
	EXPECT_EQ(-EPIPE, scatto_claim_batch(p[1], 8));
	EXPECT_EQ(-EPIPE, scatto_wait_space(p[1], 8, SCATTO_FOREVER));
	EXPECT_EQ(-EPIPE, scatto_call(p[1], &v, NULL, &v, SCATTO_FOREVER));
	EXPECT_EQ(-EPIPE, scatto_consumer_attach(self->m.ch, &self->m.c));
}

/* What is claimed when the owner closes is a tombstone, what was sent is not. */
TEST_F(many, closed_by_the_owner)
{
	struct scatto_producer **p = self->m.p;
	uint64_t v = 1;
	void *slot;

	ASSERT_EQ(0, scatto_send(p[0], &v));
	ASSERT_EQ(0, scatto_claim(p[1], &slot));
	v = 2;
	ASSERT_EQ(0, scatto_send(p[0], &v));
	ASSERT_EQ(0, scatto_claim_batch(p[2], 2));
	ASSERT_EQ(0, scatto_channel_close(self->m.ch));
	EXPECT_EQ(-EPIPE, scatto_channel_close(self->m.ch));
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(1, v);
	ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(-EPIPE, scatto_recv(self->m.c, &v));
	EXPECT_EQ(3, scatto_tombstones(self->m.c));
	EXPECT_EQ(-EPIPE, scatto_publish(p[1]));
	EXPECT_EQ(0, scatto_abort(p[2]));
	EXPECT_EQ(-EPIPE, scatto_send(p[0], &v));
	EXPECT_EQ(-EPIPE, scatto_recv(self->m.c, &v));
	ASSERT_EQ(0, scatto_channel_info(self->m.ch, &self->m.info));
	EXPECT_EQ(3, self->m.info.tombstones);
	EXPECT_EQ(5, self->m.info.end);
}

TEST(pause_and_go_on)
{
	struct scatto_config cfg = many_config(8, 8, SCATTO_F_PAUSE);
	struct many m;
	uint64_t v;

	ASSERT_EQ(0, many_open(&m, &cfg, 2));
	for (v = 0; v < 3; v++)
		ASSERT_EQ(0, scatto_send(m.p[0], &v));
	ASSERT_EQ(0, scatto_claim_batch(m.p[1], 2));
	many_leave(&m, 1);
	many_leave(&m, 0);
	EXPECT_EQ(0, scatto_consumer_is_disconnected(m.c));
	ASSERT_EQ(0, scatto_recv(m.c, &v));
	scatto_consumer_close(m.c);
	ASSERT_EQ(0, scatto_producer_attach(m.ch, &m.p[0]));
	EXPECT_EQ(5, scatto_producer_position(m.p[0]));
	v = 3;
	ASSERT_EQ(0, scatto_send(m.p[0], &v));
	ASSERT_EQ(0, scatto_consumer_attach(m.ch, &m.c));
	EXPECT_EQ(1, scatto_consumer_position(m.c));
	for (uint64_t i = 1; i < 4; i++) {
		ASSERT_EQ(0, scatto_recv(m.c, &v));
		EXPECT_EQ(i, v);
	}
	EXPECT_EQ(-EAGAIN, scatto_try_recv(m.c, &v));
	EXPECT_EQ(2, scatto_tombstones(m.c));
	many_close(&m);
}

/* Places: as many as there are, each given again. */
TEST(places)
{
	static const uint32_t counts[] = { 1, 2, 64, 65, 1024 };
	struct scatto_producer *p = NULL;
	static struct many m;
	uint64_t v;

	for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
		struct scatto_config cfg = many_config(8, 1024, SCATTO_F_PAUSE);
		uint32_t n = counts[k];

		cfg.max_producers = n == 64 ? 0 : n;
		ASSERT_EQ(0, many_open(&m, &cfg, (int)n));
		EXPECT_EQ(-EBUSY, scatto_producer_attach(m.ch, &p));
		EXPECT_EQ(NULL, p);
		ASSERT_EQ(0, scatto_channel_info(m.ch, &m.info));
		EXPECT_EQ(n, m.info.producers);
		for (v = 0; v < n; v++)
			ASSERT_EQ(0, scatto_send(m.p[v], &v));
		for (uint64_t i = 0; i < n; i++) {
			ASSERT_EQ(0, scatto_recv(m.c, &v));
			ASSERT_EQ(i, v);
		}
		many_leave(&m, (int)n / 2);
		ASSERT_EQ(0, scatto_producer_attach(m.ch, &m.p[n / 2]));
		ASSERT_EQ(0, scatto_producer_info(m.p[n / 2], &m.info));
		EXPECT_EQ(n / 2, m.info.index);
		EXPECT_EQ(-EBUSY, scatto_producer_attach(m.ch, &p));
		many_close(&m);
	}
}

/* The laps in the stamps wrap: nothing is special about it. */
TEST(wrap_of_laps)
{
	for (uint64_t back = 0; back < 20; back++) {
		struct scatto_config cfg = many_config(8, 4, SCATTO_F_PAUSE);
		uint64_t start = (4ULL << 30) - back, sent = 0, got = 0;
		struct many m;
		uint64_t v, buf[4];

		ASSERT_EQ(0, many_open(&m, &cfg, 0));
		scatto_consumer_close(m.c);
		m.w.prod->claimed = start;
		m.w.cons->cursor = start;
		for (uint64_t seq = start - 4; seq < start; seq++)
			many_stamps(&m)[seq % 4] =
				(seq / 4 + 1) % (1ULL << 30) << 2;
		ASSERT_EQ(0, scatto_consumer_attach(m.ch, &m.c));
		for (int i = 0; i < 3; i++)
			ASSERT_EQ(0, scatto_producer_attach(m.ch, &m.p[i]));
		EXPECT_EQ(start, scatto_producer_position(m.p[0]));
		for (int i = 0; i < 30; i++) {
			ASSERT_EQ(-EAGAIN, scatto_try_recv(m.c, &v));
			for (int k = 0; k < 3; k++) {
				v = sent++;
				ASSERT_EQ(0, scatto_send(m.p[k], &v));
			}
			ASSERT_EQ(3, scatto_recv_batch(m.c, buf, 4));
			for (int k = 0; k < 3; k++)
				ASSERT_EQ(got++, buf[k]);
			ASSERT_EQ(0, scatto_claim_batch(m.p[0], 4));
			for (uint32_t k = 0; k < 4; k++)
				*(uint64_t *)scatto_claim_slot(m.p[0], k) =
					k < 3 ? sent++ : 0;
			ASSERT_EQ(0, scatto_publish_n(m.p[0], 3));
			for (int k = 0; k < 3; k++) {
				ASSERT_EQ(0, scatto_recv(m.c, &v));
				ASSERT_EQ(got++, v);
			}
		}
		ASSERT_EQ(-EAGAIN, scatto_try_recv(m.c, &v));
		EXPECT_EQ(30, scatto_tombstones(m.c));
		many_close(&m);
	}
}

TEST_F(many, observed)
{
	struct scatto_producer **p = self->m.p;
	uint64_t published, consumed, v, four[4] = { 1, 2, 3, 4 };
	struct scatto_observer *o;
	void *slot;

	ASSERT_EQ(0, scatto_observer_attach(self->m.ch, &o));
	ASSERT_EQ(4, scatto_send_batch(p[0], four, 4));
	ASSERT_EQ(0, scatto_claim(p[1], &slot));
	v = 6;
	ASSERT_EQ(0, scatto_send(p[2], &v));
	ASSERT_EQ(0, scatto_observer_positions(o, &published, &consumed));
	EXPECT_EQ(4, published);
	EXPECT_EQ(0, consumed);
	/* The first stamp of a batch counts; it is as good as the others. */
	for (uint64_t i = 0; i < 4; i++) {
		ASSERT_EQ(0, scatto_observer_read(o, i, &v));
		EXPECT_EQ(i + 1, v);
	}
	EXPECT_EQ(-EAGAIN, scatto_observer_read(o, 4, &v));
	EXPECT_EQ(0, scatto_observer_read(o, 5, &v));
	ASSERT_EQ(0, scatto_abort(p[1]));
	EXPECT_EQ(-ENODATA, scatto_observer_read(o, 4, &v));
	ASSERT_EQ(0, scatto_observer_positions(o, &published, &consumed));
	EXPECT_EQ(6, published);
	scatto_observer_close(o);
}

/* Stamps repeat after 2^30 laps; a slot so far off has no event all the same. */
TEST(observed_laps_away)
{
	struct scatto_config cfg = many_config(8, 2, 0);
	struct scatto_observer *o;
	struct many m;
	uint64_t v = 7;

	ASSERT_EQ(0, many_open(&m, &cfg, 1));
	ASSERT_EQ(0, scatto_observer_attach(m.ch, &o));
	EXPECT_EQ(-EAGAIN, scatto_observer_read(o, (2ULL << 30) - 2, &v));
	ASSERT_EQ(0, scatto_send(m.p[0], &v));
	EXPECT_EQ(-EAGAIN, scatto_observer_read(o, 2ULL << 30, &v));
	EXPECT_EQ(-EAGAIN, scatto_observer_read(o, 1, &v));
	EXPECT_EQ(0, scatto_observer_read(o, 0, &v));
	scatto_observer_close(o);
	many_close(&m);
}

/*
 * P4: whoever stamps the last slot that a sleeper waits for wakes it, in
 * whatever order the slots are stamped, and nobody does before.
 */
struct job {
	struct many *m;
	struct scatto_producer *p;
	uint32_t n;
	uint64_t deadline;
	uint64_t value;
	int ret;
	pthread_t thread;
};

static void *do_wait_data(void *arg)
{
	struct job *job = arg;

	job->ret = scatto_wait_data(job->m->c, job->n, job->deadline);
	return NULL;
}

static void *do_send(void *arg)
{
	struct job *job = arg;

	job->ret = scatto_send_until(job->p, &job->value, job->deadline);
	return NULL;
}

static void *do_send_batch(void *arg)
{
	uint64_t evs[64];
	struct job *job = arg;

	for (uint32_t i = 0; i < job->n; i++)
		evs[i] = job->value + i;
	job->ret = scatto_send_batch_until(job->p, evs, job->n, job->deadline);
	return NULL;
}

static void *do_claim(void *arg)
{
	struct job *job = arg;

	job->ret = scatto_claim_batch_until(job->p, job->n, job->deadline);
	return NULL;
}

static void start(struct job *job, void *(*what)(void *arg))
{
	if (!job->deadline)
		job->deadline = SCATTO_FOREVER;
	if (pthread_create(&job->thread, NULL, what, job))
		abort();
}

static bool is_done(struct job *job)
{
	return !pthread_tryjoin_np(job->thread, NULL);
}

static void finish(struct job *job)
{
	pthread_join(job->thread, NULL);
}

TEST_F(many, the_last_stamp_wakes)
{
	static const int orders[][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 },
		{ 2, 0, 1 }, { 2, 1, 0 },
	};
	struct scatto_info before, after;

	scatto_consumer_set_wait(self->m.c, SCATTO_STRATEGY_BLOCK);
	for (int o = 0; o < 6; o++) {
		struct job job = { .m = &self->m, .n = 3 };
		void *slot;

		ASSERT_EQ(0, scatto_channel_info(self->m.ch, &before));
		for (int i = 0; i < 3; i++)
			ASSERT_EQ(0, scatto_claim(self->m.p[i], &slot));
		start(&job, do_wait_data);
		ASSERT_TRUE(wait_for_sleep(self->m.ch, true,
					   before.data_sleeps));
		for (int i = 0; i < 3; i++) {
			ASSERT_FALSE(is_done(&job));
			ASSERT_EQ(0, scatto_channel_info(self->m.ch, &after));
			EXPECT_EQ(before.data_wakes, after.data_wakes);
			ASSERT_EQ(0, scatto_publish(self->m.p[orders[o][i]]));
		}
		finish(&job);
		EXPECT_EQ(3, job.ret);
		ASSERT_EQ(0, scatto_channel_info(self->m.ch, &after));
		EXPECT_EQ(before.data_wakes + 1, after.data_wakes);
		EXPECT_EQ(before.data_sleeps + 1, after.data_sleeps);
		ASSERT_EQ(0, scatto_release(self->m.c, 3));
	}
}

/*
 * The look for holes is at the last SCATTO_WAIT_MOST slots below the word: only a
 * poller's can be farther from the cursor, and that one has seen the others.
 */
TEST(look_for_holes)
{
	struct scatto_config cfg = many_config(8, 2 * SCATTO_WAIT_MOST, 0);
	struct scatto_info before, after;
	uint64_t v = 0;
	void *slot;

	for (uint64_t hole = 9; hole <= 10; hole++) {
		struct many m;

		ASSERT_EQ(0, many_open(&m, &cfg, 2));
		for (uint64_t i = 0; i < SCATTO_WAIT_MOST + 9; i++) {
			ASSERT_EQ(0, i == hole ? scatto_claim(m.p[1], &slot) :
						 scatto_send(m.p[0], &v));
		}
		m.w.chan->data_wake = SCATTO_WAIT_MOST + 10;
		ASSERT_EQ(0, scatto_channel_info(m.ch, &before));
		ASSERT_EQ(0, scatto_send(m.p[0], &v));
		ASSERT_EQ(0, scatto_channel_info(m.ch, &after));
		EXPECT_EQ(before.data_wakes + (hole == 9), after.data_wakes);
		many_close(&m);
	}
}

/* So does a tombstone, an abort of any kind; it ends the wait with less. */
TEST_F(many, tombstones_wake)
{
	scatto_consumer_set_wait(self->m.c, SCATTO_STRATEGY_BLOCK);
	for (int how = 0; how < 3; how++) {
		struct job job = { .m = &self->m, .n = 2 };
		uint64_t v = 7;
		void *slot;

		ASSERT_EQ(0, scatto_channel_info(self->m.ch, &self->m.info));
		ASSERT_EQ(0, scatto_send(self->m.p[0], &v));
		ASSERT_EQ(0, scatto_claim(self->m.p[1], &slot));
		start(&job, do_wait_data);
		ASSERT_TRUE(wait_for_sleep(self->m.ch, true,
					   self->m.info.data_sleeps));
		if (how == 0)
			scatto_abort(self->m.p[1]);
		else if (how == 1)
			scatto_publish_n(self->m.p[1], 0);
		else
			many_leave(&self->m, 1);
		finish(&job);
		EXPECT_EQ(1, job.ret);
		ASSERT_EQ(0, scatto_recv(self->m.c, &v));
		EXPECT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
	}
	EXPECT_EQ(3, scatto_tombstones(self->m.c));
}

/*
 * Both sides sleep for more than there can be when a third brings what is enough
 * for the one that fell asleep first.
 */
TEST_F(many, enough_from_a_third)
{
	uint64_t deadline = now_ns() + 10 * SECOND;
	struct job get = { .m = &self->m, .n = 5, .deadline = deadline };
	struct job put = { .p = self->m.p[1], .n = 8, .deadline = deadline };
	void *slot;

	ASSERT_EQ(0, scatto_claim(self->m.p[0], &slot));
	start(&get, do_wait_data);
	ASSERT_TRUE(wait_for_sleep(self->m.ch, true, 0));
	start(&put, do_claim);
	ASSERT_TRUE(wait_for_sleep(self->m.ch, false, 0));
	sleep_ms(20);
	ASSERT_FALSE(is_done(&get));
	ASSERT_EQ(0, scatto_publish(self->m.p[0]));
	finish(&get);
	EXPECT_EQ(1, get.ret);
	scatto_release(self->m.c, 1);
	finish(&put);
	EXPECT_EQ(0, put.ret);
}

/*
 * One slot was free before anything moved: with the consumer asleep, a producer
 * goes on with less than the whole ring in the first lap, too.
 */
TEST_F(many, enough_in_the_first_lap)
{
	struct job get = { .m = &self->m, .n = 1 };
	void *slot;

	ASSERT_EQ(0, scatto_claim(self->m.p[0], &slot));
	start(&get, do_wait_data);
	ASSERT_TRUE(wait_for_sleep(self->m.ch, true, 0));
	EXPECT_EQ(7, scatto_wait_space(self->m.p[1], 8, now_ns() + SECOND));
	ASSERT_EQ(0, scatto_publish(self->m.p[0]));
	finish(&get);
	EXPECT_EQ(1, get.ret);
}

/*
 * There is always one more tombstone: here by a consumer to which each lap is the
 * first. A deadline that has passed allows for one look at the ring.
 */
TEST_F(many, deadline_among_tombstones)
{
	struct scatto_consumer *c = self->m.c;

	ASSERT_EQ(0, scatto_claim_batch(self->m.p[0], 8));
	ASSERT_EQ(0, scatto_abort(self->m.p[0]));
	c->shift = 63;
	for (int strategy = 0; strategy < ALL_STRATEGIES; strategy++) {
		uint64_t before = scatto_tombstones(c), deadline, v;

		scatto_consumer_set_wait(c, strategy);
		EXPECT_EQ(-ETIMEDOUT, scatto_recv_until(c, &v, 1));
		EXPECT_EQ(-ETIMEDOUT, scatto_wait_data(c, 1, 1));
		EXPECT_EQ(before + 16, scatto_tombstones(c));
		deadline = now_ns() + MS;
		EXPECT_EQ(-ETIMEDOUT, scatto_recv_until(c, &v, deadline));
		EXPECT_EQ(-ETIMEDOUT, scatto_wait_data(c, 8, deadline + MS));
		EXPECT_LE(deadline + MS, now_ns());
		EXPECT_GT(deadline + SECOND, now_ns());
	}
}

/* Several producers asleep or spinning before a full ring, in every way. */
TEST_F(many, several_blocked)
{
	for (uint32_t s = 0; s < ALL_STRATEGIES; s++) {
		uint64_t next[3] = { 100, 200, 300 };
		struct job jobs[3] = {};
		uint64_t v, seen = 0;

		for (v = 0; v < 8; v++)
			ASSERT_EQ(0, scatto_send(self->m.p[v % 3], &v));
		for (int i = 0; i < 3; i++) {
			jobs[i].p = self->m.p[i];
			jobs[i].value = next[i];
			jobs[i].n = 20;
			scatto_producer_set_wait(self->m.p[i], s);
			start(&jobs[i], i ? do_send_batch : do_send);
		}
		sleep_ms(20);
		for (int i = 0; i < 3; i++)
			ASSERT_FALSE(is_done(&jobs[i]));
		for (uint64_t i = 0; i < 8; i++) {
			ASSERT_EQ(0, scatto_recv(self->m.c, &v));
			ASSERT_EQ(i, v);
		}
		/* 1 and twice 20, each one's in order. */
		for (int i = 0; i < 41; i++) {
			uint64_t who;

			ASSERT_EQ(0, scatto_recv_until(self->m.c, &v, now_ns() +
						       10 * SECOND));
			who = v / 100 - 1;
			ASSERT_GT(3, who);
			ASSERT_EQ(next[who]++, v);
			seen += who;
		}
		EXPECT_EQ(60, seen);
		for (int i = 0; i < 3; i++) {
			finish(&jobs[i]);
			EXPECT_EQ(i ? 20 : 0, jobs[i].ret);
		}
		EXPECT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
	}
}

/* A claim of all there is waits for just that, while others come and go. */
TEST_F(many, blocked_claim_of_all)
{
	struct job job = { .p = self->m.p[0], .n = 8 };
	uint64_t v;

	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(self->m.p[1], &v));
	start(&job, do_claim);
	for (int i = 0; i < 8; i++) {
		sleep_ms(3);
		ASSERT_FALSE(is_done(&job));
		ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	}
	finish(&job);
	EXPECT_EQ(0, job.ret);
	EXPECT_EQ(-EAGAIN, scatto_try_send(self->m.p[1], &v));
	EXPECT_EQ(0, scatto_publish(self->m.p[0]));
}

TEST_F(many, blocked_and_the_end)
{
	for (int how = 0; how < 2; how++) {
		struct scatto_config cfg = many_config(8, 2, 0);
		struct job jobs[3] = {};
		struct many m;
		uint64_t v = 1;

		ASSERT_EQ(0, many_open(&m, &cfg, 3));
		ASSERT_EQ(0, scatto_send(m.p[0], &v));
		ASSERT_EQ(0, scatto_send(m.p[0], &v));
		for (int i = 0; i < 3; i++) {
			jobs[i].p = m.p[i];
			start(&jobs[i], do_send);
			ASSERT_TRUE(wait_for_sleep(m.ch, false, (uint64_t)i));
		}
		if (how) {
			ASSERT_EQ(0, scatto_channel_close(m.ch));
		} else {
			scatto_consumer_close(m.c);
			m.c = NULL;
		}
		for (int i = 0; i < 3; i++) {
			finish(&jobs[i]);
			EXPECT_EQ(-EPIPE, jobs[i].ret);
		}
		many_close(&m);
	}
}

static void on_signal(int sig)
{
	(void)sig;
}

TEST_F(many, signals)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct job jobs[2] = {};
	uint64_t v;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	for (v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(self->m.p[2], &v));
	for (int i = 0; i < 2; i++) {
		jobs[i].p = self->m.p[i];
		jobs[i].value = 8;
		start(&jobs[i], do_send);
		ASSERT_TRUE(wait_for_sleep(self->m.ch, false, (uint64_t)i));
	}
	pthread_kill(jobs[0].thread, SIGUSR1);
	finish(&jobs[0]);
	EXPECT_EQ(-EINTR, jobs[0].ret);
	EXPECT_EQ(SCATTO_INTENT_NONE, many_intent(&self->m, 0)->lo);
	/* The other one has not been forgotten for that. */
	for (uint64_t i = 0; i < 9; i++) {
		ASSERT_EQ(0, scatto_recv(self->m.c, &v));
		EXPECT_EQ(i, v);
	}
	finish(&jobs[1]);
	EXPECT_EQ(0, jobs[1].ret);
}

/* Processes of their own, one of them with a claim when it leaves. */
TEST_F(many, processes)
{
	uint64_t next[4] = {}, v, got = 0;
	pid_t pids[4];

	for (uint64_t who = 0; who < 4; who++) {
		pids[who] = fork();
		if (!pids[who]) {
			int fd = dup(scatto_channel_fd(self->m.ch));
			struct scatto_producer *p;
			void *slot;

			if (scatto_producer_from_fd(fd, &p))
				_exit(1);
			for (uint64_t i = 0; i < 2000; i++) {
				v = who << 32 | i;
				if (scatto_send(p, &v))
					_exit(2);
			}
			if (scatto_claim(p, &slot))
				_exit(3);
			scatto_producer_close(p);
			_exit(0);
		}
	}
	while (got < 8000) {
		uint64_t who;

		ASSERT_EQ(0, scatto_recv_until(self->m.c, &v,
					       now_ns() + 20 * SECOND));
		who = v >> 32;
		ASSERT_GT(4, who);
		ASSERT_EQ(next[who]++, (uint32_t)v);
		got++;
	}
	for (int who = 0; who < 4; who++) {
		int status;

		/* Their last claims may need the room. */
		while (!waitpid(pids[who], &status, WNOHANG))
			scatto_try_recv(self->m.c, &v);
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->m.c, &v));
	EXPECT_EQ(4, scatto_tombstones(self->m.c));
}

/*
 * Hostile words: anything may be reported, everything comes back, and nobody
 * touches what is not theirs.
 */
TEST_F(many, positions_forged)
{
	static const uint64_t forged[] = {
		17, 1ULL << 32, 1ULL << 63, ~0ULL, ~0ULL - 1, 0,
	};
	struct scatto_producer *p = self->m.p[0];
	uint64_t v = 5, four[4] = {};
	void *slot;

	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, scatto_send(p, &v));
		if (i < 4)
			ASSERT_EQ(0, scatto_recv(self->m.c, &v));
	}
	/* 4 to 8 are there. */
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		self->m.w.prod->claimed = forged[i];
		EXPECT_EQ(-EBADMSG, scatto_try_send_batch(p, four, 4));
		EXPECT_EQ(-EBADMSG, scatto_claim_batch(p, 8));
		EXPECT_EQ(-EBADMSG, scatto_available_slots(p));
		EXPECT_EQ(-EBADMSG, scatto_wait_space(p, 8, SCATTO_FOREVER));
	}
	self->m.w.prod->claimed = 8;
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		if (!forged[i])
			continue;
		self->m.w.cons->cursor = forged[i];
		EXPECT_EQ(-EBADMSG, scatto_claim_batch(p, 8));
		EXPECT_EQ(-EBADMSG, scatto_available_slots(p));
		EXPECT_EQ(-EBADMSG, scatto_wait_space(p, 8, SCATTO_FOREVER));
	}
	self->m.w.cons->cursor = 4;
	EXPECT_EQ(4, scatto_available_slots(p));
	ASSERT_EQ(0, scatto_claim_batch(p, 4));
	/* Within a claim it does not matter what the cursors say. */
	self->m.w.cons->cursor = 1;
	self->m.w.prod->claimed = 77;
	EXPECT_EQ(0, scatto_publish(p));
	EXPECT_EQ(-EBADMSG, scatto_try_claim(p, &slot));
}

struct vandal {
	struct many *m;
	pthread_t thread;
	bool stop;
};

static void *vandalize(void *arg)
{
	struct vandal *v = arg;
	struct words *w = &v->m->w;
	uint64_t lap = 1ULL << SCATTO_STAMP_LOST_SHIFT;
	unsigned int seed = 3;

	while (!__atomic_load_n(&v->stop, __ATOMIC_RELAXED)) {
		uint64_t at = __atomic_load_n(&w->cons->cursor, __ATOMIC_RELAXED);
		uint64_t word = at + (uint64_t)rand_r(&seed) % 12 - 1;
		uint64_t wild = 1ULL << rand_r(&seed) % 64;

		/* Mostly what could be true, or the ends soon see nothing. */
		if (!(rand_r(&seed) % 8))
			word = rand_r(&seed) % 2 ? wild : ~wild;
		switch (rand_r(&seed) % 10) {
		case 0:
			__atomic_store_n(&w->prod->claimed, word,
					 __ATOMIC_RELAXED);
			break;
		case 1:
			__atomic_store_n(&w->cons->cursor, word,
					 __ATOMIC_RELAXED);
			break;
		case 2:
			__atomic_store_n(rand_r(&seed) % 2 ? &w->chan->data_wake :
					 &w->chan->space_wake, word,
					 __ATOMIC_RELAXED);
			break;
		case 3:
			__atomic_store_n(&many_intent(v->m, rand_r(&seed) % 3)->lo,
					 word, __ATOMIC_RELAXED);
			break;
		case 4:
			__atomic_store_n(&w->chan->end, rand_r(&seed) % 2 ?
					 SCATTO_END_OPEN : word,
					 __ATOMIC_RELAXED);
			break;
		case 5:
			__atomic_store_n(&w->local->entered, (__u32)word,
					 __ATOMIC_RELAXED);
			__atomic_store_n(&w->local->places[0], word,
					 __ATOMIC_RELAXED);
			break;
		case 6:
			__atomic_store_n(&w->chan->claimers, (__u32)word,
					 __ATOMIC_RELAXED);
			break;
		default:
			/* A stamp: of this lap, a run of any length, a loss. */
			__atomic_store_n(&many_stamps(v->m)[word % 8],
					 (word / 8 + 1) << 2 |
					 (uint64_t)rand_r(&seed) % 4 |
					 lap * ((uint64_t)rand_r(&seed) % 12 *
						(wild & 0xffffff)),
					 __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

TEST_F(many, vandal)
{
	uint64_t end = now_ns() + SECOND, calls = 0, good = 0;
	struct vandal vandal = { .m = &self->m };
	struct scatto_observer *o;
	uint64_t buf[16] = {};

	ASSERT_EQ(0, scatto_observer_attach(self->m.ch, &o));
	ASSERT_EQ(0, pthread_create(&vandal.thread, NULL, vandalize, &vandal));
	while (now_ns() < end) {
		struct scatto_producer *p = self->m.p[calls % 3], *more = NULL;
		uint64_t soon = now_ns() + MS, positions[2];
		struct scatto_run runs[64];
		int ret[12];

		scatto_producer_set_wait(p, calls % ALL_STRATEGIES);
		scatto_consumer_set_wait(self->m.c, calls % ALL_STRATEGIES);
		ret[0] = scatto_send_until(p, buf, soon);
		ret[1] = scatto_recv_until(self->m.c, buf, soon);
		ret[2] = scatto_send_batch_until(p, buf, 8, soon);
		ret[3] = scatto_recv_batch_until(self->m.c, buf, 8, soon);
		ret[4] = scatto_wait_space(p, 3, soon);
		ret[5] = scatto_wait_data(self->m.c, 3, soon);
		ret[6] = scatto_available_slots(p);
		ret[7] = scatto_claim_batch_until(p, 5, soon);
		if (!ret[7]) {
			for (uint32_t i = 0; i < 5; i++)
				memset(scatto_claim_slot(p, i), 0, 8);
			scatto_publish_n(p, calls % 6);
		}
		ret[8] = scatto_peek(self->m.c, 8);
		for (int i = 0; i < ret[8]; i++)
			buf[i] = *(const uint64_t *)
				 scatto_peek_slot(self->m.c, (uint32_t)i);
		ret[9] = scatto_observer_positions(o, positions, positions + 1);
		ret[10] = scatto_skipped(self->m.c, runs, 64);
		ret[11] = scatto_producer_attach(self->m.ch, &more);
		scatto_producer_close(more);
		for (int i = 0; i < 12; i++) {
			good += ret[i] >= 0;
			ASSERT_GE(i == 10 ? 64 : 8, ret[i]);
		}
		calls++;
	}
	__atomic_store_n(&vandal.stop, true, __ATOMIC_RELAXED);
	pthread_join(vandal.thread, NULL);
	TH_LOG("%llu rounds of 12 calls, %llu calls succeeded",
	       (unsigned long long)calls, (unsigned long long)good);
	EXPECT_LT(0, calls);
	scatto_observer_close(o);
}

/*
 * Several threads send in every way there is. Each event says whose it is, its
 * number among that one's events, and where it was claimed if that was known
 * when it was written.
 */
#define SENDERS	4

struct event {
	uint64_t who;
	uint64_t number;
	uint64_t position;
};

#define UNKNOWN	UINT64_MAX

struct sender {
	struct many *m;
	struct scatto_producer *p;
	pthread_t thread;
	uint64_t who;
	uint64_t stop_at;
	uint64_t sent;
	uint64_t buried;
	uint64_t wrong;
	uint64_t last_position;
	uint32_t capacity;
	unsigned int seed;
	int ret;
};

static struct event next_event(struct sender *s, uint64_t position)
{
	return (struct event){ s->who, s->sent++, position };
}

static uint32_t some(struct sender *s)
{
	return 1 + (uint32_t)rand_r(&s->seed) % (s->capacity < 16 ?
						 s->capacity : 16);
}

static void claim_some(struct sender *s, uint32_t n)
{
	struct scatto_producer *p = s->p;
	uint64_t at = scatto_producer_position(p);
	uint32_t k = (uint32_t)rand_r(&s->seed) % (n + 1);

	/* The first time there was none before it. */
	if (at < s->last_position)
		s->wrong++;
	s->last_position = at + n;
	for (uint32_t i = 0; i < n; i++) {
		struct event *to = scatto_claim_slot(p, i);

		if (i < k)
			*to = next_event(s, at + i);
		else
			memset(to, 0xff, sizeof(*to));
	}
	s->buried += n - k;
	s->ret = k || rand_r(&s->seed) % 2 ? scatto_publish_n(p, k) :
					     scatto_abort(p);
}

static void send_some(struct sender *s)
{
	struct scatto_producer *p = s->p;
	struct event evs[40];
	uint32_t n = some(s);
	void *slot;

	switch (rand_r(&s->seed) % 7) {
	case 0:
		evs[0] = next_event(s, UNKNOWN);
		s->ret = scatto_send(p, evs);
		break;
	case 1:
		evs[0] = next_event(s, UNKNOWN);
		s->ret = scatto_try_send(p, evs);
		if (s->ret == -EAGAIN) {
			s->sent--;
			s->ret = 0;
		}
		break;
	case 2:
		s->ret = scatto_claim(p, &slot);
		if (!s->ret)
			claim_some(s, 1);
		break;
	case 3:
		s->ret = scatto_claim_batch(p, n);
		if (!s->ret)
			claim_some(s, n);
		break;
	case 4:
		s->ret = scatto_try_claim_batch(p, n);
		if (!s->ret)
			claim_some(s, n);
		else if (s->ret == -EAGAIN)
			s->ret = 0;
		break;
	case 5:
		/* Of a small ring more than fit. */
		n *= 2;
		for (uint32_t i = 0; i < n; i++)
			evs[i] = next_event(s, UNKNOWN);
		s->ret = scatto_send_batch(p, evs, n);
		if (s->ret == (int)n)
			s->ret = 0;
		else if (s->ret >= 0)
			s->wrong++;
		break;
	default:
		s->ret = scatto_wait_space(p, n, now_ns() + MS);
		if (s->ret == -ETIMEDOUT || s->ret > 0)
			s->ret = 0;
	}
}

static void *send_all(void *arg)
{
	struct sender *s = arg;

	while (!s->ret && now_ns() < s->stop_at)
		send_some(s);
	return NULL;
}

/* Leaves and comes back all the time, now and then with a claim outstanding. */
static void *come_and_go(void *arg)
{
	struct sender *s = arg;

	while (!s->ret && now_ns() < s->stop_at) {
		s->ret = scatto_producer_attach(s->m->ch, &s->p);
		if (s->ret)
			break;
		producer_alias(s->m, s->p);
		for (int i = 0; i < 20 && !s->ret; i++)
			send_some(s);
		if (!s->ret && rand_r(&s->seed) % 2) {
			uint32_t n = some(s);

			s->ret = scatto_claim_batch(s->p, n);
			s->buried += s->ret ? 0 : n;
		}
		scatto_producer_close(s->p);
	}
	return NULL;
}

struct receiver {
	struct many *m;
	uint64_t next[SENDERS];
	uint64_t got;
	uint64_t wrong;
	uint64_t told;
	int ret;
};

static void receive(struct receiver *r, const struct event *ev, uint64_t at)
{
	if (ev->who >= SENDERS || ev->number != r->next[ev->who] ||
	    (ev->position != UNKNOWN && ev->position != at))
		r->wrong++;
	else
		r->next[ev->who]++;
	r->got++;
}

static void *receive_all(void *arg)
{
	struct receiver *r = arg;
	struct scatto_consumer *c = r->m->c;
	struct scatto_run runs[64];
	unsigned int seed = 99;
	struct event evs[32];
	int n;

	while (!r->ret) {
		switch (rand_r(&seed) % 4) {
		case 0:
			r->ret = scatto_recv(c, evs);
			if (!r->ret)
				receive(r, evs, scatto_consumer_position(c) - 1);
			break;
		case 1:
			n = scatto_recv_batch(c, evs, 32);
			for (int i = 0; i < n; i++)
				receive(r, evs + i, scatto_consumer_position(c) -
					(uint64_t)(n - i));
			r->ret = n < 0 ? n : 0;
			break;
		case 2:
			n = scatto_peek(c, 32);
			for (int i = 0; i < n; i++)
				receive(r, scatto_peek_slot(c, (uint32_t)i),
					scatto_consumer_position(c) +
					(uint64_t)i);
			if (n > 0)
				r->ret = scatto_release(c, (uint32_t)n);
			else
				r->ret = n == -EAGAIN ? 0 : n;
			break;
		default:
			n = scatto_wait_data(c, c->mask < 4 ? 2 : 4,
					     now_ns() + MS);
			r->ret = n < 0 && n != -ETIMEDOUT ? n : 0;
		}
		n = scatto_skipped(c, runs, 64);
		for (int i = 0; i < n; i++)
			r->told += runs[i].count;
	}
	return NULL;
}

FIXTURE(stress)
{
	struct many m;
};

FIXTURE_VARIANT(stress)
{
	uint32_t strategy[2];
	uint32_t capacity;
};

#define STRESS(name, ps, cs, cap) \
	FIXTURE_VARIANT_ADD(stress, name) { \
		.strategy = { SCATTO_STRATEGY_##ps, SCATTO_STRATEGY_##cs }, \
		.capacity = cap, \
	}

STRESS(adaptive_tiny, ADAPTIVE, ADAPTIVE, 2);
STRESS(adaptive, ADAPTIVE, ADAPTIVE, 64);
STRESS(adaptive_large, ADAPTIVE, ADAPTIVE, 1024);
STRESS(block_tiny, BLOCK, BLOCK, 2);
STRESS(block, BLOCK, BLOCK, 64);
STRESS(busy, BUSY, BUSY, 64);
STRESS(spin, SPIN, SPIN, 16);
STRESS(yield, YIELD, YIELD, 8);
STRESS(backoff, BACKOFF, BACKOFF, 64);
STRESS(block_and_yield, BLOCK, YIELD, 4);
STRESS(yield_and_block, YIELD, BLOCK, 4);

FIXTURE_SETUP(stress)
{
	struct scatto_config cfg = many_config(sizeof(struct event),
					       variant->capacity, 0);

	ASSERT_EQ(0, many_open(&self->m, &cfg, SENDERS));
	many_alias(&self->m);
	for (int i = 0; i < SENDERS; i++)
		scatto_producer_set_wait(self->m.p[i], variant->strategy[0]);
	scatto_consumer_set_wait(self->m.c, variant->strategy[1]);
}

FIXTURE_TEARDOWN(stress)
{
	many_close(&self->m);
}

TEST_F(stress, in_order_of_claims_and_once)
{
	struct receiver r = { .m = &self->m };
	struct sender s[SENDERS] = {};
	uint64_t sent = 0, buried = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, receive_all, &r));
	for (unsigned int i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){
			.m = &self->m, .p = self->m.p[i], .who = i,
			.stop_at = now_ns() + (SANITIZED ? 200 : scaled(400)) * MS,
			.capacity = variant->capacity, .seed = i + 1,
		};
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, send_all,
					    &s[i]));
	}
	for (unsigned int i = 0; i < SENDERS; i++) {
		pthread_join(s[i].thread, NULL);
		many_leave(&self->m, (int)i);
		EXPECT_EQ(0, s[i].ret);
		EXPECT_EQ(0, s[i].wrong);
		sent += s[i].sent;
		buried += s[i].buried;
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(-EPIPE, r.ret);
	EXPECT_EQ(0, r.wrong);
	EXPECT_EQ(sent, r.got);
	for (unsigned int i = 0; i < SENDERS; i++)
		EXPECT_EQ(s[i].sent, r.next[i]);
	EXPECT_EQ(buried, scatto_tombstones(self->m.c));
	EXPECT_EQ(buried, r.told);
	EXPECT_EQ(sent + buried, scatto_consumer_position(self->m.c));
	EXPECT_LT(0, sent);
	EXPECT_LT(0, buried);
	TH_LOG("%llu events, %llu tombstones", (unsigned long long)sent,
	       (unsigned long long)buried);
}

TEST(attach_and_leave_meanwhile)
{
	struct scatto_config cfg = many_config(sizeof(struct event), 16, 0);
	uint64_t sent = 0, buried = 0;
	struct sender s[SENDERS] = {};
	struct receiver r = {};
	pthread_t thread;
	struct many m;

	/* One that stays, or the first pause would be the end. */
	ASSERT_EQ(0, many_open(&m, &cfg, 1));
	many_alias(&m);
	r.m = &m;
	ASSERT_EQ(0, pthread_create(&thread, NULL, receive_all, &r));
	for (unsigned int i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){
			.m = &m, .who = i, .seed = i + 1, .capacity = 16,
			.stop_at = now_ns() + (SANITIZED ? 400 : scaled(1000)) * MS,
		};
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, come_and_go,
					    &s[i]));
	}
	for (unsigned int i = 0; i < SENDERS; i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ(0, s[i].ret);
		EXPECT_EQ(0, s[i].wrong);
		sent += s[i].sent;
		buried += s[i].buried;
	}
	ASSERT_EQ(0, scatto_channel_info(m.ch, &m.info));
	EXPECT_EQ(1, m.info.producers);
	many_leave(&m, 0);
	pthread_join(thread, NULL);
	EXPECT_EQ(-EPIPE, r.ret);
	EXPECT_EQ(0, r.wrong);
	EXPECT_EQ(sent, r.got);
	EXPECT_EQ(buried, scatto_tombstones(m.c));
	EXPECT_LT(0, sent);
	TH_LOG("%llu events, %llu tombstones", (unsigned long long)sent,
	       (unsigned long long)buried);
	many_close(&m);
}

TEST_HARNESS_MAIN
