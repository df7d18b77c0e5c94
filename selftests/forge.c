// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every word that a role can write, forged by whoever has the role: that may
 * stall or garble the channel for those who share it, and hurts nobody else.
 * The kernel survives, calls return, bystanders do not notice, and when the
 * forger is gone the channel can be taken down, or used by a successor.
 *
 * (Consumers of the kernel's channels do the same in kapi.c.)
 */
#include "kselftest_harness.h"
#include "bystander.h"

#include <sys/epoll.h>

#define CAPACITY	8
#define MS		1000000ULL

static uint64_t payload(uint64_t seq)
{
	return (seq + 1) * 0x9e3779b97f4a7c15ULL;
}

FIXTURE(forge)
{
	int owner;
	struct end forger, victim;
	volatile uint64_t *word;	/* what the forger can write */
	struct bystander b;
};

FIXTURE_VARIANT(forge)
{
	uint32_t role;			/* of the forger */
	uint32_t flags;
	bool other_word;		/* the one that is not used here */
};

FIXTURE_VARIANT_ADD(forge, published) { .role = SCATTO_ROLE_PRODUCER };
FIXTURE_VARIANT_ADD(forge, published_pausing) {
	.role = SCATTO_ROLE_PRODUCER, .flags = SCATTO_F_PAUSE,
};

FIXTURE_VARIANT_ADD(forge, claimed) {
	.role = SCATTO_ROLE_PRODUCER, .other_word = true,
};

FIXTURE_VARIANT_ADD(forge, cursor) { .role = SCATTO_ROLE_CONSUMER };
FIXTURE_VARIANT_ADD(forge, cursor_pausing) {
	.role = SCATTO_ROLE_CONSUMER, .flags = SCATTO_F_PAUSE,
};

FIXTURE_SETUP(forge)
{
	bool producer = variant->role == SCATTO_ROLE_PRODUCER;

	ASSERT_EQ(0, bystander_start(&self->b, BYSTANDER_SPSC, 0));
	self->owner = channel_create(NULL, 0, 8, CAPACITY, variant->flags);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->forger, variant->role, self->owner));
	ASSERT_EQ(0, end_open(&self->victim, producer ? SCATTO_ROLE_CONSUMER :
			      SCATTO_ROLE_PRODUCER, self->owner));
	self->word = (volatile uint64_t *)(!producer ? &self->forger.cons->cursor :
		     variant->other_word ? &self->forger.prod->claimed :
					   &self->forger.prod->published);
}

FIXTURE_TEARDOWN(forge)
{
	end_drop(&self->victim);
	end_drop(&self->forger);
	close(self->owner);
	bystander_stop(&self->b);
}

static const uint64_t values[] = {
	0, 1, 2, CAPACITY - 1, CAPACITY, CAPACITY + 1, 2 * CAPACITY,
	UINT32_MAX, 1ULL << 32, (1ULL << 63) - 1, 1ULL << 63, (1ULL << 63) + 1,
	UINT64_MAX - CAPACITY, UINT64_MAX - 1, UINT64_MAX,
};

static uint64_t forged_value(uint64_t *seed, uint64_t now)
{
	uint64_t pick = chance(seed) % (ARRAY_LEN(values) + 4);

	if (pick < ARRAY_LEN(values))
		return values[pick];
	if (pick == ARRAY_LEN(values))
		return chance(seed);
	/* One lap off, and thereabouts. */
	return now + chance(seed) % (4 * CAPACITY) - 2 * CAPACITY;
}

/* Everything that can be asked of the kernel; the time the slowest call took. */
static uint64_t ask_everything(struct __test_metadata *_metadata,
			       struct end *end, int owner, int ep, uint64_t want)
{
	struct pollfd pfd = { .fd = end->fd, .events = POLLIN | POLLOUT };
	struct scatto_info info;
	struct epoll_event ev;
	uint64_t begin = now_ns();
	char path[64], buf[1024];
	int ret;

	EXPECT_EQ(0, dev_info(end->fd, &info));
	EXPECT_EQ(0, dev_info(owner, &info));
	EXPECT_LE(0, poll(&pfd, 1, 0));
	EXPECT_LE(0, poll(&pfd, 1, 1));
	EXPECT_LE(0, epoll_wait(ep, &ev, 1, 0));
	EXPECT_LE(0, dev_wake(end->fd));
	ret = dev_wait(end->fd, want, 1);
	EXPECT_TRUE(ret == 0 || ret == -ETIMEDOUT) TH_LOG("WAIT: %d", ret);
	ret = dev_wait(end->fd, info.published + 1, 1);
	EXPECT_TRUE(ret == 0 || ret == -ETIMEDOUT) TH_LOG("WAIT: %d", ret);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", end->fd);
	EXPECT_LT(0, read_file(path, buf, sizeof(buf)));
	return now_ns() - begin;
}

TEST_F(forge, values)
{
	uint64_t before = bystander_count(&self->b), seed = 42, longest = 0;
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	int ep = epoll_create1(EPOLL_CLOEXEC), i;

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->victim.fd, &ev));
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->forger.fd, &ev));
	for (i = 0; i < 100; i++) {
		uint64_t took;

		*self->word = i < (int)ARRAY_LEN(values) ? values[i] :
			      forged_value(&seed, *self->word);
		took = ask_everything(_metadata, &self->victim, self->owner, ep,
				      forged_value(&seed, *self->word));
		longest = took > longest ? took : longest;
		/* The forger, as well, gets answers. */
		ask_everything(_metadata, &self->forger, self->owner, ep,
			       forged_value(&seed, *self->word));
	}
	printf("# the slowest round took %.1f ms\n", longest / 1e6);
	EXPECT_GT(10000 * MS, longest);
	EXPECT_TRUE(bystander_goes_on(&self->b, before));
	close(ep);
}

struct flipper {
	pthread_t thread;
	volatile uint64_t *word;
	struct end *end;
	volatile bool stop;
	uint64_t flips;
};

static void *flipper_main(void *arg)
{
	struct flipper *f = arg;
	uint64_t seed = 7;

	while (!f->stop) {
		*f->word = forged_value(&seed, *f->word);
		if (chance(&seed) % 64 == 0)
			dev_wake(f->end->fd);
		f->flips++;
	}
	return NULL;
}

/* A word that is never twice the same, whoever looks. */
TEST_F_TIMEOUT(forge, flipping, 600)
{
	unsigned int ms = test_count(10000, 600);
	uint64_t before = bystander_count(&self->b), seed = 43, asked = 0, until;
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	struct flipper f = { .word = self->word, .end = &self->forger };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->victim.fd, &ev));
	ASSERT_EQ(0, pthread_create(&f.thread, NULL, flipper_main, &f));
	until = now_ns() + ms * MS;
	while (now_ns() < until) {
		ask_everything(_metadata, &self->victim, self->owner, ep,
			       forged_value(&seed, *self->word));
		asked++;
	}
	f.stop = true;
	pthread_join(f.thread, NULL);
	printf("# %llu flips, asked %llu times\n", (unsigned long long)f.flips,
	       (unsigned long long)asked);
	EXPECT_LT(0, asked);
	EXPECT_TRUE(bystander_goes_on(&self->b, before));
	close(ep);
}

/* The forger leaves the worst it can behind: the end and its successor. */
TEST_F(forge, and_gone)
{
	uint32_t role = variant->role, other = self->victim.role;
	uint64_t value = 0, before;
	unsigned int i;

	end_drop(&self->forger);
	end_drop(&self->victim);
	close(self->owner);
	for (i = 0; i < ARRAY_LEN(values); i++) {
		struct end forger, victim, next;
		struct scatto_info info;
		volatile uint64_t *word;
		struct sleeper s;

		before = bystander_count(&self->b);
		self->owner = channel_create(NULL, 0, 8, CAPACITY, variant->flags);
		ASSERT_LE(0, self->owner);
		ASSERT_EQ(0, end_open(&forger, role, self->owner));
		ASSERT_EQ(0, end_open(&victim, other, self->owner));
		word = (volatile uint64_t *)(role == SCATTO_ROLE_CONSUMER ?
			&forger.cons->cursor : variant->other_word ?
			&forger.prod->claimed : &forger.prod->published);
		*word = values[i];
		/* Far away; only the end of the stream is that far. */
		ASSERT_EQ(0, sleeper_start(&s, victim.fd, 1ULL << 62));
		end_drop(&forger);
		if (!(variant->flags & SCATTO_F_PAUSE)) {
			EXPECT_EQ(0, sleeper_join(&s));
			EXPECT_TRUE(end_is_over(&victim));
			ASSERT_EQ(0, dev_info(self->owner, &info));
			/* An end that the consumer can reach. */
			EXPECT_TRUE(role == SCATTO_ROLE_CONSUMER ||
				    info.end <= CAPACITY);
		} else {
			/* One can go on with it, from words that make sense. */
			ASSERT_EQ(0, end_open(&next, role, self->owner));
			EXPECT_GE(CAPACITY, next.prod->published - next.cons->cursor);
			EXPECT_EQ(role == SCATTO_ROLE_PRODUCER ?
				  next.prod->published : next.cons->cursor,
				  next.position);
			dev_close(victim.fd);
			sleeper_join(&s);
			end_drop(&victim);
			ASSERT_EQ(0, end_open(&victim, other, self->owner));
			if (role == SCATTO_ROLE_PRODUCER) {
				while (end_recv(&victim, &value) >= 0)
					;
				EXPECT_LE(0, end_send(&next, payload(i)));
				EXPECT_LE(0, end_recv(&victim, &value));
			} else {
				while (end_recv(&next, &value) >= 0)
					;
				EXPECT_LE(0, end_send(&victim, payload(i)));
				EXPECT_LE(0, end_recv(&next, &value));
			}
			EXPECT_EQ(payload(i), value);
			end_drop(&next);
		}
		end_drop(&victim);
		close(self->owner);
		EXPECT_TRUE(bystander_goes_on(&self->b, before));
	}
	self->owner = -1;
}

/*
 * The dead consumer's cursor made the ring look full (or worse): a producer
 * that sleeps for space is not to sleep on until the next consumer comes.
 */
TEST_F(forge, and_gone_under_a_sleeper)
{
	struct scatto_info info;
	struct sleeper s;
	int i;

	/* The other variants have no such sleeper, or no successor. */
	if (variant->role != SCATTO_ROLE_CONSUMER || !variant->flags)
		return;
	for (i = 0; i < CAPACITY; i++)
		ASSERT_LE(0, end_send(&self->victim, i));
	*self->word = UINT64_MAX;
	ASSERT_EQ(0, sleeper_start(&s, self->victim.fd, 1));
	end_drop(&self->forger);
	/* Its successor finds an empty ring: so does the producer. */
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(info.published, info.consumed);
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_LE(0, end_send(&self->victim, 1));
}

TEST_HARNESS_MAIN
