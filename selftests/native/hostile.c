// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto, local backend: a peer that writes whatever it likes into shared
 * memory, and file descriptors that are not what they seem.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common.h"
#include "../../lib/internal.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB	0x0004U
#endif

FIXTURE(hostile)
{
	struct ring r;
	struct words w;
	struct scatto_info info;
};

FIXTURE_SETUP(hostile)
{
	ASSERT_EQ(0, ring_open(&self->r, 8, 4, 0));
	ASSERT_EQ(0, scatto_channel_info(self->r.ch, &self->info));
	ASSERT_TRUE(words_map(&self->w, scatto_channel_fd(self->r.ch),
			      &self->info.layout));
}

FIXTURE_TEARDOWN(hostile)
{
	munmap(self->w.base, self->w.size);
	ring_close(&self->r);
}

TEST_F(hostile, published_forged)
{
	static const uint64_t forged[] = {
		7, 1ULL << 32, 1ULL << 63, ~0ULL, ~0ULL - 1,
		0, 1,	/* behind the consumer */
	};
	uint64_t buf[8], v = 5;

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
		ASSERT_EQ(0, scatto_recv(self->r.c, &v));
	}
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		self->w.prod->published = forged[i];
		EXPECT_EQ(-EBADMSG, scatto_try_recv(self->r.c, buf));
		EXPECT_EQ(-EBADMSG, scatto_recv(self->r.c, buf));
		EXPECT_EQ(-EBADMSG, scatto_recv_until(self->r.c, buf, 0));
		EXPECT_EQ(-EBADMSG, scatto_peek(self->r.c, 1));
		EXPECT_EQ(-EBADMSG, scatto_peek(self->r.c, 100));
		EXPECT_EQ(-EBADMSG, scatto_recv_batch(self->r.c, buf, 8));
		EXPECT_EQ(-EBADMSG,
			  scatto_wait_data(self->r.c, 4, SCATTO_FOREVER));
		EXPECT_EQ(-EINVAL, scatto_release(self->r.c, 1));
	}
	/* As many as there are slots: possible, so believed, in bounds. */
	self->w.prod->published = 6;
	EXPECT_EQ(4, scatto_recv_batch(self->r.c, buf, 8));
	self->w.prod->published = 7;
	EXPECT_EQ(0, scatto_recv(self->r.c, buf));
}

TEST_F(hostile, cursor_forged)
{
	static const uint64_t forged[] = {
		5, 1ULL << 32, 1ULL << 63,	/* ahead of the producer */
		~0ULL, ~0ULL - 1,		/* too far behind it */
	};
	uint64_t v = 5, four[4] = {};
	void *slot;

	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		self->w.cons->cursor = forged[i];
		EXPECT_EQ(-EBADMSG, scatto_try_send(self->r.p, &v));
		EXPECT_EQ(-EBADMSG, scatto_send(self->r.p, &v));
		EXPECT_EQ(-EBADMSG, scatto_try_claim(self->r.p, &slot));
		EXPECT_EQ(-EBADMSG, scatto_claim_batch(self->r.p, 4));
		EXPECT_EQ(-EBADMSG, scatto_send_batch(self->r.p, four, 4));
		EXPECT_EQ(-EBADMSG, scatto_available_slots(self->r.p));
		EXPECT_EQ(-EBADMSG,
			  scatto_wait_space(self->r.p, 4, SCATTO_FOREVER));
		EXPECT_EQ(-EBADMSG, scatto_call(self->r.p, &v, self->r.c, &v,
						SCATTO_FOREVER));
	}
	self->w.cons->cursor = 2;
	EXPECT_EQ(2, scatto_available_slots(self->r.p));
	EXPECT_EQ(0, scatto_send(self->r.p, &v));

	/* Between a claim and its end the cursor goes back. */
	ASSERT_EQ(0, scatto_claim(self->r.p, &slot));
	self->w.cons->cursor = 1;
	EXPECT_EQ(-EBADMSG, scatto_available_slots(self->r.p));
	EXPECT_EQ(0, scatto_publish(self->r.p));
}

TEST_F(hostile, end_forged)
{
	uint64_t v = 5;

	/* What is published is there, an end or not. */
	ASSERT_EQ(0, scatto_send(self->r.p, &v));
	self->w.chan->end = 100;
	EXPECT_EQ(0, scatto_recv(self->r.c, &v));
	EXPECT_EQ(-EBADMSG, scatto_recv(self->r.c, &v));
	EXPECT_EQ(-EBADMSG, scatto_wait_data(self->r.c, 2, SCATTO_FOREVER));
	self->w.chan->end = 6;
	EXPECT_EQ(-EBADMSG, scatto_recv(self->r.c, &v));
	self->w.chan->end = 5;
	EXPECT_EQ(4, scatto_peek(self->r.c, 100));
	EXPECT_EQ(0, scatto_release(self->r.c, 4));
	self->w.chan->end = 0;
	EXPECT_EQ(-EPIPE, scatto_recv(self->r.c, &v));
	EXPECT_EQ(1, scatto_consumer_is_disconnected(self->r.c));
}

/*
 * A consumer that has seen one event lets the producer get ahead. What it finds then is
 * in the stream only if there is room for it, and up to the end.
 */
TEST_F(hostile, forged_while_falling_back)
{
	self->w.prod->published = 4;
	EXPECT_EQ(4, __scatto_consumer_trail(self->r.c, 1));
	self->w.prod->published = 5;
	EXPECT_EQ(1, __scatto_consumer_trail(self->r.c, 1));
	self->w.prod->published = 0;
	EXPECT_EQ(1, __scatto_consumer_trail(self->r.c, 1));
	self->w.prod->published = 4;
	self->w.chan->end = 1;
	EXPECT_EQ(1, __scatto_consumer_trail(self->r.c, 1));
	self->w.chan->end = 4;
	EXPECT_EQ(4, __scatto_consumer_trail(self->r.c, 1));
}

/* When that was in vain the next occasions are left out, more of them each time. */
TEST_F(hostile, falls_back_in_vain)
{
	unsigned int most = 1, times;

	self->w.prod->published = 1;
	for (times = 1; times <= 12; times++) {
		EXPECT_EQ(1, __scatto_consumer_trail(self->r.c, 1));
		EXPECT_EQ(most, self->r.c->held);
		while (self->r.c->held)
			EXPECT_EQ(1, __scatto_consumer_trail(self->r.c, 1));
		most = most < 1023 ? 2 * most + 1 : 1023;
	}
	EXPECT_EQ(1, __scatto_consumer_trail(self->r.c, 1));
	/* Left out: nothing is looked at. */
	self->w.prod->published = 4;
	EXPECT_EQ(1, __scatto_consumer_trail(self->r.c, 1));
	self->r.c->held = 0;
	EXPECT_EQ(4, __scatto_consumer_trail(self->r.c, 1));
	EXPECT_EQ(0, self->r.c->hold);
}

/* A wake word that says "come" for no reason costs a call, not one per event. */
TEST_F(hostile, wake_words_forged)
{
	struct scatto_info before, after;
	uint64_t v = 5;

	ASSERT_EQ(0, scatto_channel_info(self->r.ch, &before));
	self->w.chan->data_wake = 0;
	self->w.chan->space_wake = 0;
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, scatto_send(self->r.p, &v));
		ASSERT_EQ(0, scatto_recv(self->r.c, &v));
	}
	ASSERT_EQ(0, scatto_channel_info(self->r.ch, &after));
	EXPECT_EQ(before.data_wakes + 1, after.data_wakes);
	EXPECT_EQ(before.space_wakes + 1, after.space_wakes);
	EXPECT_EQ(SCATTO_WAKE_IDLE, self->w.chan->data_wake);
	EXPECT_EQ(SCATTO_WAKE_IDLE, self->w.chan->space_wake);

	/* A sleeper finds a 0 there, and sleeps. */
	self->w.chan->data_wake = 0;
	scatto_consumer_set_wait(self->r.c, SCATTO_STRATEGY_BLOCK);
	EXPECT_EQ(-ETIMEDOUT,
		  scatto_recv_until(self->r.c, &v, now_ns() + 10 * MS));
	ASSERT_EQ(0, scatto_channel_info(self->r.ch, &after));
	EXPECT_EQ(before.data_sleeps + 1, after.data_sleeps);

	/* So does one that hears of a peer asleep who never was. */
	self->w.local->space.sleepers = 17;
	EXPECT_EQ(-ETIMEDOUT,
		  scatto_recv_until(self->r.c, &v, now_ns() + 10 * MS));
	ASSERT_EQ(0, scatto_channel_info(self->r.ch, &after));
	EXPECT_EQ(before.data_sleeps + 2, after.data_sleeps);
	EXPECT_GE(before.space_wakes + 2, after.space_wakes);
}

/*
 * Somebody writes random words over everything but the geometry, which nobody
 * reads again, and the geometry as well. The ends may report anything; they
 * must come back, and touch nothing that is not theirs.
 */
struct vandal {
	struct words *w;
	uint64_t sent, received;
	bool stop;
};

static uint64_t random_word(unsigned int *seed)
{
	uint64_t low = (uint64_t)rand_r(seed) % 64;

	switch (rand_r(seed) % 4) {
	case 0:
		return low;
	case 1:
		return ~low;
	case 2:
		return 1ULL << low;
	default:
		return (uint64_t)rand_r(seed) << 33 | (uint64_t)rand_r(seed);
	}
}

static void *vandalize(void *arg)
{
	struct vandal *v = arg;
	unsigned int seed = 3;

	while (!__atomic_load_n(&v->stop, __ATOMIC_RELAXED)) {
		uint64_t word = random_word(&seed);
		__u64 *at;

		/* Mostly what could be true, or the ends soon see nothing. */
		if (rand_r(&seed) % 4) {
			bool data = rand_r(&seed) % 2;
			uint64_t near = (uint64_t)rand_r(&seed) % 7 - 1;

			at = data ? &v->w->prod->published :
				    &v->w->cons->cursor;
			word = data ? __atomic_load_n(&v->received,
						      __ATOMIC_RELAXED) + near :
				      __atomic_load_n(&v->sent,
						      __ATOMIC_RELAXED) - near;
			__atomic_store_n(at, word, __ATOMIC_RELAXED);
			continue;
		}
		switch (rand_r(&seed) % 8) {
		case 0:
			at = (__u64 *)v->w->chan + rand_r(&seed) % 512;
			break;
		case 1:
			at = &v->w->chan->data_wake;
			break;
		case 2:
			at = &v->w->chan->space_wake;
			break;
		case 3:
		case 4:
			at = &v->w->prod->published;
			break;
		case 5:
			at = &v->w->chan->end;
			word = SCATTO_END_OPEN;
			break;
		default:
			at = &v->w->cons->cursor;
		}
		__atomic_store_n(at, word, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST_F(hostile, vandal)
{
	struct vandal vandal = { .w = &self->w };
	uint64_t end = now_ns() + SECOND;
	uint64_t buf[8] = {}, calls = 0, good = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, vandalize, &vandal));
	while (now_ns() < end) {
		uint64_t soon = now_ns() + MS;
		int ret[8];

		scatto_producer_set_wait(self->r.p, calls % ALL_STRATEGIES);
		scatto_consumer_set_wait(self->r.c, calls % ALL_STRATEGIES);
		ret[0] = scatto_send_until(self->r.p, buf, soon);
		ret[1] = scatto_recv_until(self->r.c, buf, soon);
		ret[2] = scatto_send_batch_until(self->r.p, buf, 8, soon);
		ret[3] = scatto_recv_batch_until(self->r.c, buf, 8, soon);
		ret[4] = scatto_wait_space(self->r.p, 3, soon);
		ret[5] = scatto_wait_data(self->r.c, 3, soon);
		ret[6] = scatto_available_slots(self->r.p);
		ret[7] = scatto_peek(self->r.c, 8);
		for (int i = 0; i < ret[7]; i++)
			buf[i] = *(const uint64_t *)
				 scatto_peek_slot(self->r.c, (uint32_t)i);
		for (int i = 0; i < 8; i++) {
			good += ret[i] >= 0;
			ASSERT_GE(8, ret[i]);
		}
		calls++;
		__atomic_store_n(&vandal.sent,
				 scatto_producer_position(self->r.p),
				 __ATOMIC_RELAXED);
		__atomic_store_n(&vandal.received,
				 scatto_consumer_position(self->r.c),
				 __ATOMIC_RELAXED);
	}
	__atomic_store_n(&vandal.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	TH_LOG("%llu rounds of 8 calls, %llu calls succeeded",
	       (unsigned long long)calls, (unsigned long long)good);
	EXPECT_LT(0, calls);
}

/* An attacher does not start from impossible positions. */
TEST(positions_forged_before_attach)
{
	struct scatto_config cfg = local_config(8, 4, SCATTO_F_PAUSE);
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	struct scatto_channel *ch;
	struct scatto_info info;
	struct words w;

	ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
	ASSERT_EQ(0, scatto_channel_info(ch, &info));
	ASSERT_TRUE(words_map(&w, scatto_channel_fd(ch), &info.layout));
	w.prod->published = 5;
	EXPECT_EQ(-EBADMSG, scatto_producer_attach(ch, &p));
	EXPECT_EQ(-EBADMSG, scatto_consumer_attach(ch, &c));
	w.prod->published = 0;
	w.cons->cursor = 1;
	EXPECT_EQ(-EBADMSG, scatto_producer_attach(ch, &p));
	EXPECT_EQ(-EBADMSG, scatto_consumer_attach(ch, &c));
	/* Their places were given back. */
	w.cons->cursor = 0;
	EXPECT_EQ(0, scatto_producer_attach(ch, &p));
	EXPECT_EQ(0, scatto_consumer_attach(ch, &c));
	scatto_producer_close(p);
	scatto_consumer_close(c);
	scatto_channel_free(ch);
	munmap(w.base, w.size);
}

/* No position of a real channel wraps; a forged one must not end deadlines. */
TEST(positions_that_wrap)
{
	struct scatto_config cfg = local_config(8, 8, SCATTO_F_PAUSE);
	struct scatto_info info;
	struct ring r = {};
	struct words w;

	ASSERT_EQ(0, scatto_channel_create(&cfg, &r.ch));
	ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
	ASSERT_TRUE(words_map(&w, scatto_channel_fd(r.ch), &info.layout));
	w.prod->published = -4ULL;
	w.cons->cursor = -4ULL;
	ASSERT_EQ(0, scatto_producer_attach(r.ch, &r.p));
	for (uint64_t v = 0; v < 8; v++)
		ASSERT_EQ(0, scatto_send(r.p, &v));
	EXPECT_EQ(-ETIMEDOUT, scatto_wait_space(r.p, 8, now_ns() + 10 * MS));
	munmap(w.base, w.size);
	ring_close(&r);
}

/* A newer module's kind: whoever maps it would read what nobody has checked. */
TEST(unknown_kind)
{
	struct __scatto_endpoint ep = { .role = SCATTO_ROLE_OBSERVER };
	struct scatto_info info;
	struct ring r;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	ASSERT_EQ(0, scatto_channel_info(r.ch, &info));
	ep.fd = scatto_channel_fd(r.ch);
	ep.layout = info.layout;
	for (uint32_t kind = 0; kind < 4; kind++) {
		bool known = kind == SCATTO_KIND_SPSC ||
			     kind == SCATTO_KIND_MPSC;

		ep.layout.kind = kind;
		EXPECT_EQ(known ? 0 : -EOPNOTSUPP, endpoint_map(&ep));
		endpoint_unmap(&ep);
	}
	ring_close(&r);
}

/* A local channel by hand, to be spoiled before it is sealed. */
struct forgery {
	int fd;
	size_t page;
	unsigned char *map;
	struct scatto_channel_area *chan;
	struct scatto_local *local;
};

static bool forge(struct forgery *f, unsigned int flags)
{
	f->page = (size_t)sysconf(_SC_PAGESIZE);
	f->fd = memfd_create("forgery", MFD_ALLOW_SEALING | flags);
	if (f->fd < 0 || ftruncate(f->fd, (off_t)(4 * f->page)))
		return false;
	f->map = mmap(NULL, f->page, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd,
		      0);
	if (f->map == MAP_FAILED)
		return false;
	f->chan = (void *)f->map;
	f->local = (void *)(f->map + LOCAL_OFFSET);
	f->chan->magic = SCATTO_MAGIC;
	f->chan->abi = SCATTO_ABI_VERSION;
	f->chan->kind = SCATTO_KIND_SPSC;
	f->chan->slot_size = 8;
	f->chan->slot_stride = 8;
	f->chan->capacity = 8;
	f->chan->data_wake = SCATTO_WAKE_IDLE;
	f->chan->space_wake = SCATTO_WAKE_IDLE;
	f->chan->end = SCATTO_END_OPEN;
	f->local->magic = LOCAL_MAGIC;
	f->local->version = LOCAL_VERSION;
	f->local->max_producers = 1;
	return true;
}

static void unforge(struct forgery *f)
{
	munmap(f->map, f->page);
	close(f->fd);
}

/* What every way in says to it. The file descriptor stays ours. */
static int enter(int fd)
{
	bool open = fcntl(fd, F_GETFD) >= 0;
	struct scatto_channel *ch = NULL;
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	struct scatto_observer *o = NULL;
	int ret = scatto_channel_from_fd(fd, &ch);

	if (!ret) {
		/* Keep the descriptor for the next one. */
		int copy = dup(fd);

		scatto_channel_free(ch);
		dup2(copy, fd);
		close(copy);
		return 0;
	}
	if (scatto_producer_from_fd(fd, &p) != ret ||
	    scatto_consumer_from_fd(fd, &c) != ret ||
	    scatto_observer_from_fd(fd, &o) != ret || p || c || o ||
	    open != (fcntl(fd, F_GETFD) >= 0))
		return 1;
	return ret;
}

TEST(memfd_as_it_should_be)
{
	struct forgery f;

	ASSERT_TRUE(forge(&f, 0));
	EXPECT_EQ(-EINVAL, enter(f.fd));
	ASSERT_EQ(0, fcntl(f.fd, F_ADD_SEALS, F_SEAL_SHRINK));
	EXPECT_EQ(0, enter(f.fd));
	unforge(&f);
}

TEST(memfd_with_other_seals)
{
	struct scatto_producer *p;
	struct scatto_channel *ch;
	struct forgery f;

	ASSERT_TRUE(forge(&f, 0));
	ASSERT_EQ(0, fcntl(f.fd, F_ADD_SEALS, F_SEAL_GROW));
	EXPECT_EQ(-EINVAL, enter(f.fd));
	unforge(&f);

	/* Nobody could write: an error, not a crash. */
	ASSERT_TRUE(forge(&f, 0));
	munmap(f.map, f.page);
	ASSERT_EQ(0, fcntl(f.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, scatto_channel_from_fd(f.fd, &ch));
	EXPECT_EQ(-EPERM, scatto_producer_from_fd(f.fd, &p));
	close(f.fd);
}

TEST(memfd_with_bad_geometry)
{
	struct forgery f;
	struct scatto_channel_area good;

	ASSERT_TRUE(forge(&f, 0));
	ASSERT_EQ(0, fcntl(f.fd, F_ADD_SEALS, F_SEAL_SHRINK));
	good = *f.chan;
#define REFUSED(err, field, value) do {					\
	*f.chan = good;							\
	f.chan->field = value;						\
	EXPECT_EQ(err, enter(f.fd)) {					\
		TH_LOG("%s = %s", #field, #value);			\
	}								\
} while (0)
	REFUSED(-EINVAL, magic, 0);
	REFUSED(-EPROTO, abi, SCATTO_ABI_VERSION + 1);
	REFUSED(-EINVAL, kind, 0);
	REFUSED(-EINVAL, kind, 3);
	REFUSED(-EINVAL, flags, 1U << 31);
	REFUSED(-EINVAL, flags, SCATTO_F_KERNEL);
	REFUSED(-EINVAL, slot_size, 0);
	REFUSED(-EINVAL, slot_size, 7);
	REFUSED(-EINVAL, slot_size, SCATTO_MAX_SLOT_SIZE + 1);
	REFUSED(-EINVAL, slot_size, UINT32_MAX);
	REFUSED(-EINVAL, capacity, 0);
	REFUSED(-EINVAL, capacity, 1);
	REFUSED(-EINVAL, capacity, 6);
	REFUSED(-EINVAL, capacity, 1ULL << 31);
	REFUSED(-EINVAL, capacity, 1ULL << 63);
	/* Possible, but not in a file of this size. */
	REFUSED(-EINVAL, slot_size, 4096);
	REFUSED(-EINVAL, capacity, 1024);
	REFUSED(-EINVAL, capacity, SCATTO_MAX_CAPACITY);
#undef REFUSED
	*f.chan = good;
	f.local->magic = 0;
	EXPECT_EQ(-EINVAL, enter(f.fd));
	f.local->magic = LOCAL_MAGIC;
	f.local->version = LOCAL_VERSION + 1;
	EXPECT_EQ(-EPROTO, enter(f.fd));
	f.local->version = LOCAL_VERSION;

	/* The stride is ours to compute, whatever it says. */
	f.chan->slot_stride = 1 << 20;
	EXPECT_EQ(0, enter(f.fd));
	unforge(&f);
}

TEST(memfd_too_short)
{
	int fd = memfd_create("short", MFD_ALLOW_SEALING);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	EXPECT_EQ(-EINVAL, enter(fd));
	ASSERT_EQ(0, ftruncate(fd, 100));
	EXPECT_EQ(-EINVAL, enter(fd));
	close(fd);
}

/* Huge pages that are not there kill whoever touches them. */
TEST(memfd_of_huge_pages)
{
	int fd = memfd_create("huge", MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0)
		SKIP(return, "no huge pages here");
	if (ftruncate(fd, 1 << 21) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		close(fd);
		SKIP(return, "no sealed huge pages here");
	}
	EXPECT_EQ(-EINVAL, enter(fd));
	close(fd);
}

TEST(other_files)
{
	int fd, pipes[2];
	char name[] = "scatto-test-XXXXXX";

	EXPECT_EQ(-EBADF, enter(-1));
	EXPECT_EQ(-EBADF, enter(999));
	fd = open("/dev/null", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, enter(fd));
	close(fd);
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-EINVAL, enter(pipes[0]));
	close(pipes[0]);
	close(pipes[1]);
	fd = mkstemp(name);
	ASSERT_LE(0, fd);
	unlink(name);
	ASSERT_EQ(0, ftruncate(fd, 1 << 20));
	EXPECT_EQ(-EINVAL, enter(fd));
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, enter(fd));
	close(fd);
}

TEST(no_more_descriptors)
{
	struct scatto_config cfg = local_config(8, 4, 0);
	struct rlimit limit = { 32, 32 };
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	struct scatto_channel *ch, *other = NULL;

	ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	while (dup(0) >= 0)
		;
	EXPECT_EQ(-EMFILE, scatto_channel_create(&cfg, &other));
	EXPECT_EQ(-EMFILE, scatto_producer_attach(ch, &p));
	EXPECT_EQ(-EMFILE, scatto_consumer_attach(ch, &c));
	EXPECT_EQ(NULL, other);
	EXPECT_EQ(NULL, p);
	EXPECT_EQ(NULL, c);
	close(31);
	EXPECT_EQ(0, scatto_producer_attach(ch, &p));
	scatto_producer_close(p);
	scatto_channel_free(ch);
}

TEST_HARNESS_MAIN
