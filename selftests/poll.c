// SPDX-License-Identifier: GPL-2.0-only
/*
 * poll, select and epoll on endpoints: what is reported when, that nobody is
 * called for nothing, and that no edge is lost.
 */
#include "kselftest_harness.h"
#include "util.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>

#define CAPACITY	8
#define MS		1000000ULL

#define IN		(EPOLLIN | EPOLLRDNORM)
#define OUT		(EPOLLOUT | EPOLLWRNORM)

static int epoll_with(int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	return ep;
}

/* What epoll says of its one fd within @ms; 0 for nothing. */
static uint32_t epoll_events(int ep, int ms)
{
	struct epoll_event ev;
	int n;

	do {
		n = epoll_wait(ep, &ev, 1, ms);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? ev.events : 0;
}

enum manner { POLL, SELECT, EPOLL };

/*
 * The events of @fd within @ms: what poll() and epoll_wait() say; select()
 * knows readable, writable and nothing else.
 */
static uint32_t events_of(enum manner how, int fd, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
	struct pollfd pfd = { .fd = fd, .events = IN | OUT | EPOLLRDHUP };
	uint32_t events = 0;
	fd_set in, out;
	int ep;

	switch (how) {
	case POLL:
		return poll(&pfd, 1, ms) == 1 ? (uint32_t)(uint16_t)pfd.revents : 0;
	case SELECT:
		FD_ZERO(&in);
		FD_ZERO(&out);
		FD_SET(fd, &in);
		FD_SET(fd, &out);
		if (select(fd + 1, &in, &out, NULL, ms < 0 ? NULL : &tv) <= 0)
			return 0;
		return (FD_ISSET(fd, &in) ? IN : 0) | (FD_ISSET(fd, &out) ? OUT : 0);
	default:
		ep = epoll_with(fd, IN | OUT | EPOLLRDHUP);
		events = epoll_events(ep, ms);
		close(ep);
		return events;
	}
}

/* A thread that polls, in one of the three ways */
struct poller {
	pthread_t thread;
	pid_t tid;
	enum manner how;
	int fd;
	int ms;
	uint32_t events;
	bool done;
};

static void *poller_main(void *p)
{
	struct poller *s = p;

	__atomic_store_n(&s->tid, thread_id(), __ATOMIC_RELEASE);
	s->events = events_of(s->how, s->fd, s->ms);
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void *epoll_waiter_main(void *p)
{
	struct poller *s = p;

	__atomic_store_n(&s->tid, thread_id(), __ATOMIC_RELEASE);
	s->events = epoll_events(s->fd, s->ms);
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool sleeps_in_poll(pid_t tid)
{
	long nr;

	if (task_state(tid) != 'S')
		return false;
	nr = task_syscall(tid);
	return nr == SYS_poll || nr == SYS_select || nr == SYS_pselect6 ||
	       nr == SYS_epoll_wait || nr == SYS_epoll_pwait;
}

static int poller_launch(struct poller *s, void *(*main)(void *))
{
	if (pthread_create(&s->thread, NULL, main, s))
		return -EAGAIN;
	return wait_for(__atomic_load_n(&s->done, __ATOMIC_ACQUIRE) ||
			(__atomic_load_n(&s->tid, __ATOMIC_ACQUIRE) &&
			 sleeps_in_poll(s->tid)), PATIENCE_MS) ? 0 : -ETIMEDOUT;
}

static int poller_start(struct poller *s, enum manner how, int fd)
{
	*s = (struct poller){ .how = how, .fd = fd, .ms = PATIENCE_MS };
	return poller_launch(s, poller_main);
}

/* Waits on an epoll instance that is there already. */
static int epoll_waiter_start(struct poller *s, int ep)
{
	*s = (struct poller){ .fd = ep, .ms = PATIENCE_MS };
	return poller_launch(s, epoll_waiter_main);
}

static bool poller_done(struct poller *s, int ms)
{
	return wait_for(__atomic_load_n(&s->done, __ATOMIC_ACQUIRE), ms);
}

static uint32_t poller_join(struct poller *s)
{
	pthread_join(s->thread, NULL);
	return s->events;
}

FIXTURE(poll)
{
	int owner;
	struct end p, c;
};

FIXTURE_SETUP(poll)
{
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
}

FIXTURE_TEARDOWN(poll)
{
	end_drop(&self->p);
	end_drop(&self->c);
	close(self->owner);
}

static int fill(struct end *p)
{
	int n = 0;

	while (end_send(p, n) >= 0)
		n++;
	return n;
}

static int drain(struct end *c)
{
	uint64_t value;
	int n = 0;

	while (end_recv(c, &value) >= 0)
		n++;
	return n;
}

FIXTURE(ways)
{
	int owner;
	struct end p, c;
};

FIXTURE_VARIANT(ways)
{
	enum manner how;
};

FIXTURE_VARIANT_ADD(ways, poll) { .how = POLL };
FIXTURE_VARIANT_ADD(ways, select) { .how = SELECT };
FIXTURE_VARIANT_ADD(ways, epoll) { .how = EPOLL };

FIXTURE_SETUP(ways)
{
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
}

FIXTURE_TEARDOWN(ways)
{
	end_drop(&self->p);
	end_drop(&self->c);
	close(self->owner);
}

TEST_F(ways, looks)
{
	enum manner how = variant->how;
	uint64_t value = 1;

	EXPECT_EQ(0, events_of(how, self->c.fd, 0));
	EXPECT_EQ(0, events_of(how, self->c.fd, 20));
	/* Written is not published. */
	memcpy(end_slot(&self->p, 0), &value, sizeof(value));
	EXPECT_EQ(0, events_of(how, self->c.fd, 0));
	ASSERT_LE(0, end_send(&self->p, 1));
	EXPECT_EQ(IN, events_of(how, self->c.fd, 0));
	EXPECT_EQ(IN, events_of(how, self->c.fd, -1));
	EXPECT_EQ(1, drain(&self->c));
	EXPECT_EQ(0, events_of(how, self->c.fd, 0));

	EXPECT_EQ(OUT, events_of(how, self->p.fd, 0));
	EXPECT_EQ(CAPACITY, fill(&self->p));
	EXPECT_EQ(0, events_of(how, self->p.fd, 20));
	ASSERT_LE(0, end_recv(&self->c, &value));
	EXPECT_EQ(OUT, events_of(how, self->p.fd, 0));
}

TEST_F(ways, sleeps)
{
	enum manner how = variant->how;
	struct poller s;
	uint64_t value;

	ASSERT_EQ(0, poller_start(&s, how, self->c.fd));
	EXPECT_FALSE(poller_done(&s, 20));
	ASSERT_LE(0, end_send(&self->p, 1));
	EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
	EXPECT_EQ(IN, poller_join(&s));

	drain(&self->c);
	fill(&self->p);
	ASSERT_EQ(0, poller_start(&s, how, self->p.fd));
	EXPECT_FALSE(poller_done(&s, 20));
	ASSERT_LE(0, end_recv(&self->c, &value));
	EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
	EXPECT_EQ(OUT, poller_join(&s));
}

/* The end comes to those who sleep in poll, too. */
TEST_F(ways, ends)
{
	enum manner how = variant->how;
	bool sel = how == SELECT;
	struct poller s;

	/* No more data: readable for select(), so that a read would say so. */
	drain(&self->c);
	ASSERT_EQ(0, poller_start(&s, how, self->c.fd));
	ASSERT_EQ(0, dev_close(self->p.fd));
	EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
	EXPECT_EQ(sel ? IN : EPOLLHUP | EPOLLRDHUP, poller_join(&s));
}

TEST_F(ways, nobody_reads)
{
	enum manner how = variant->how;
	bool sel = how == SELECT;
	struct poller s;

	fill(&self->p);
	ASSERT_EQ(0, poller_start(&s, how, self->p.fd));
	ASSERT_EQ(0, dev_close(self->c.fd));
	EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
	EXPECT_EQ(sel ? IN | OUT : EPOLLERR, poller_join(&s));
}

TEST_F(poll, drained_then_hup)
{
	uint64_t value;

	ASSERT_LE(0, end_send(&self->p, 1));
	ASSERT_LE(0, end_send(&self->p, 2));
	end_drop(&self->p);
	EXPECT_EQ(IN | EPOLLRDHUP, events_of(POLL, self->c.fd, 0));
	ASSERT_LE(0, end_recv(&self->c, &value));
	EXPECT_EQ(IN | EPOLLRDHUP, events_of(POLL, self->c.fd, 0));
	ASSERT_LE(0, end_recv(&self->c, &value));
	EXPECT_EQ(EPOLLHUP | EPOLLRDHUP, events_of(POLL, self->c.fd, 0));
}

TEST_F(poll, own_role_ended)
{
	ASSERT_EQ(0, dev_close(self->c.fd));
	EXPECT_EQ(EPOLLHUP, events_of(POLL, self->c.fd, 0));
	ASSERT_EQ(0, dev_close(self->p.fd));
	EXPECT_EQ(EPOLLERR, events_of(POLL, self->p.fd, 0));
}

/* Whose role ends while it sleeps in poll is not left there. */
TEST_F(poll, own_role_ends)
{
	struct poller s;

	ASSERT_EQ(0, poller_start(&s, POLL, self->c.fd));
	ASSERT_EQ(0, dev_close(self->c.fd));
	EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
	EXPECT_TRUE(poller_join(&s) & EPOLLHUP);
}

TEST_F(poll, unbound)
{
	int fd = dev_open();

	ASSERT_LE(0, fd);
	EXPECT_EQ(EPOLLERR, events_of(POLL, fd, 0));
	close(fd);
}

TEST_F(poll, owner_and_observer)
{
	struct poller s, t;
	struct end o;

	ASSERT_EQ(0, end_open(&o, SCATTO_ROLE_OBSERVER, self->owner));
	EXPECT_EQ(0, events_of(POLL, self->owner, 0));
	EXPECT_EQ(0, events_of(POLL, o.fd, 0));
	ASSERT_EQ(0, poller_start(&s, POLL, self->owner));
	ASSERT_EQ(0, poller_start(&t, EPOLL, o.fd));
	/* Events are none of their business. */
	fill(&self->p);
	drain(&self->c);
	EXPECT_FALSE(poller_done(&s, 20));
	EXPECT_FALSE(poller_done(&t, 20));
	ASSERT_EQ(0, dev_close(self->p.fd));
	EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
	EXPECT_TRUE(poller_done(&t, PATIENCE_MS / 2));
	EXPECT_EQ(EPOLLHUP, poller_join(&s));
	EXPECT_EQ(EPOLLHUP, poller_join(&t));
	end_drop(&o);
}

TEST_F(poll, level)
{
	int ep = epoll_with(self->c.fd, EPOLLIN), i;

	ASSERT_LE(0, ep);
	EXPECT_EQ(0, epoll_events(ep, 0));
	ASSERT_LE(0, end_send(&self->p, 1));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
	drain(&self->c);
	EXPECT_EQ(0, epoll_events(ep, 20));
	ASSERT_LE(0, end_send(&self->p, 2));
	EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
	close(ep);
}

TEST_F(poll, edge_of_data)
{
	int ep = epoll_with(self->c.fd, EPOLLIN | EPOLLET);
	uint64_t value;
	int i;

	ASSERT_LE(0, ep);
	for (i = 0; i < 3; i++) {
		ASSERT_LE(0, end_send(&self->p, 1));
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
		/* Nothing new: nothing said, drained or not. */
		EXPECT_EQ(0, epoll_events(ep, 20));
		/* Drained in part, and something new. */
		ASSERT_LE(0, end_send(&self->p, 2));
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
		ASSERT_LE(0, end_recv(&self->c, &value));
		EXPECT_EQ(0, epoll_events(ep, 20));
		ASSERT_LE(0, end_send(&self->p, 3));
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
		EXPECT_EQ(2, drain(&self->c));
		/* Drained, which polls nothing again. */
		ASSERT_LE(0, end_send(&self->p, 4));
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
		EXPECT_EQ(1, drain(&self->c));
	}
	close(ep);
}

TEST_F(poll, edge_of_space)
{
	int ep = epoll_with(self->p.fd, EPOLLOUT | EPOLLET);
	uint64_t value;
	int i;

	ASSERT_LE(0, ep);
	EXPECT_EQ(EPOLLOUT, epoll_events(ep, PATIENCE_MS));
	EXPECT_EQ(0, epoll_events(ep, 20));
	for (i = 0; i < 3; i++) {
		fill(&self->p);
		EXPECT_EQ(0, epoll_events(ep, 20));
		ASSERT_LE(0, end_recv(&self->c, &value));
		EXPECT_EQ(EPOLLOUT, epoll_events(ep, PATIENCE_MS));
		EXPECT_EQ(0, epoll_events(ep, 20));
		ASSERT_EQ(1, fill(&self->p));
		ASSERT_LE(0, end_recv(&self->c, &value));
		EXPECT_EQ(EPOLLOUT, epoll_events(ep, PATIENCE_MS));
	}
	close(ep);
}

/* What was there before anybody looked is an edge as well. */
TEST_F(poll, edge_before_the_first_look)
{
	int ep;

	ASSERT_LE(0, end_send(&self->p, 1));
	ep = epoll_with(self->c.fd, EPOLLIN | EPOLLET);
	ASSERT_LE(0, ep);
	EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
	EXPECT_EQ(0, epoll_events(ep, 20));
	close(ep);
}

TEST_F(poll, oneshot)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT };
	int ep = epoll_with(self->c.fd, ev.events), i;

	ASSERT_LE(0, ep);
	for (i = 0; i < 3; i++) {
		ASSERT_LE(0, end_send(&self->p, 1));
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
		drain(&self->c);
		ASSERT_LE(0, end_send(&self->p, 1));
		EXPECT_EQ(0, epoll_events(ep, 20));
		if (i == 1)
			drain(&self->c);
		ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_MOD, self->c.fd, &ev));
		/* What came meanwhile is told, if it is still there. */
		EXPECT_EQ(i == 1 ? 0 : EPOLLIN, epoll_events(ep, 20));
		drain(&self->c);
		if (i != 1)
			ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_MOD, self->c.fd, &ev));
	}
	close(ep);
}

TEST_F(poll, two_instances)
{
	struct poller s, t;
	int a, b, i;

	a = epoll_with(self->c.fd, EPOLLIN);
	b = epoll_with(self->c.fd, EPOLLIN | EPOLLET);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, epoll_waiter_start(&s, a));
		ASSERT_EQ(0, epoll_waiter_start(&t, b));
		ASSERT_LE(0, end_send(&self->p, 1));
		EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
		EXPECT_TRUE(poller_done(&t, PATIENCE_MS / 2));
		EXPECT_EQ(EPOLLIN, poller_join(&s));
		EXPECT_EQ(EPOLLIN, poller_join(&t));
		EXPECT_EQ(1, drain(&self->c));
	}
	close(a);
	close(b);
}

/* Those who wait exclusively may share a wake-up, but nobody is left behind. */
TEST_F(poll, exclusive)
{
	struct poller s, t;
	int a, b, i, both = 0;

	a = epoll_with(self->c.fd, EPOLLIN | EPOLLEXCLUSIVE);
	b = epoll_with(self->c.fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, epoll_waiter_start(&s, a));
		ASSERT_EQ(0, epoll_waiter_start(&t, b));
		ASSERT_LE(0, end_send(&self->p, 1));
		ASSERT_TRUE(wait_for(poller_done(&s, 0) || poller_done(&t, 0),
				     PATIENCE_MS / 2));
		EXPECT_EQ(1, drain(&self->c));
		sleep_ms(5);
		both += s.done && t.done;
		/* The other one gets the next. */
		if (!s.done || !t.done) {
			ASSERT_LE(0, end_send(&self->p, 1));
			ASSERT_TRUE(wait_for(poller_done(&s, 0) &&
					     poller_done(&t, 0),
					     PATIENCE_MS / 2));
			drain(&self->c);
		}
		EXPECT_EQ(EPOLLIN, poller_join(&s));
		EXPECT_EQ(EPOLLIN, poller_join(&t));
	}
	printf("# both were woken %d times of 10\n", both);
	/* One that does not come back leaves the events to the other. */
	close(a);
	ASSERT_EQ(0, epoll_waiter_start(&t, b));
	ASSERT_LE(0, end_send(&self->p, 1));
	EXPECT_TRUE(poller_done(&t, PATIENCE_MS / 2));
	poller_join(&t);
	close(b);
}

TEST_F(poll, nested)
{
	struct poller s;
	int inner, outer, edge, i;

	inner = epoll_with(self->c.fd, EPOLLIN);
	ASSERT_LE(0, inner);
	outer = epoll_with(inner, EPOLLIN);
	ASSERT_LE(0, outer);
	edge = epoll_with(outer, EPOLLIN | EPOLLET);
	ASSERT_LE(0, edge);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, epoll_events(outer, 0));
		ASSERT_EQ(0, epoll_waiter_start(&s, edge));
		ASSERT_LE(0, end_send(&self->p, 1));
		EXPECT_TRUE(poller_done(&s, PATIENCE_MS / 2));
		EXPECT_EQ(EPOLLIN, poller_join(&s));
		EXPECT_EQ(EPOLLIN, epoll_events(outer, PATIENCE_MS));
		EXPECT_EQ(EPOLLIN, epoll_events(inner, PATIENCE_MS));
		EXPECT_EQ(1, drain(&self->c));
		EXPECT_EQ(0, epoll_events(outer, 0));
	}
	close(edge);
	close(outer);
	close(inner);
}

/* Each gets what it asked for, whoever of them asks for less. */
TEST_F(poll, together_with_wait)
{
	int ep = epoll_with(self->c.fd, EPOLLIN | EPOLLET), i;
	struct sleeper s, t;
	struct poller p;
	uint64_t at = 0;

	ASSERT_LE(0, ep);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, sleeper_start(&s, self->c.fd, at + 3));
		ASSERT_EQ(0, epoll_waiter_start(&p, ep));
		ASSERT_LE(0, end_send(&self->p, 1));
		EXPECT_TRUE(poller_done(&p, PATIENCE_MS / 2));
		EXPECT_EQ(EPOLLIN, poller_join(&p));
		EXPECT_FALSE(sleeper_done(&s, 20));
		ASSERT_LE(0, end_send(&self->p, 2));
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
		EXPECT_FALSE(sleeper_done(&s, 20));
		/* A sleeper for less comes and goes. */
		ASSERT_EQ(0, sleeper_start(&t, self->c.fd, at + 2));
		EXPECT_EQ(0, sleeper_join(&t));
		ASSERT_LE(0, end_send(&self->p, 3));
		EXPECT_EQ(0, sleeper_join(&s));
		EXPECT_EQ(EPOLLIN, epoll_events(ep, PATIENCE_MS));
		EXPECT_EQ(3, drain(&self->c));
		at += 3;
	}
	/* A poller that sleeps, and a sleeper that leaves. */
	ASSERT_EQ(0, epoll_waiter_start(&p, ep));
	EXPECT_EQ(-ETIMEDOUT, dev_wait(self->c.fd, at + 2, 20));
	EXPECT_EQ(-ETIMEDOUT, dev_wait(self->c.fd, at + 1, 20));
	EXPECT_FALSE(p.done);
	ASSERT_LE(0, end_send(&self->p, 1));
	EXPECT_TRUE(poller_done(&p, PATIENCE_MS / 2));
	poller_join(&p);
	close(ep);
}

#define CHANNELS	16

TEST_F(poll, many_channels)
{
	struct pollfd pfd[CHANNELS];
	struct end p[CHANNELS], c[CHANNELS];
	uint64_t seed = 99;
	int ep = epoll_create1(0), owner, i;

	ASSERT_LE(0, ep);
	for (i = 0; i < CHANNELS; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };

		owner = channel_create(NULL, 0, 8, CAPACITY, 0);
		ASSERT_LE(0, owner);
		ASSERT_EQ(0, end_open(&p[i], SCATTO_ROLE_PRODUCER, owner));
		ASSERT_EQ(0, end_open(&c[i], SCATTO_ROLE_CONSUMER, owner));
		close(owner);
		pfd[i] = (struct pollfd){ .fd = c[i].fd, .events = POLLIN };
		ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, c[i].fd, &ev));
	}
	for (i = 0; i < 100; i++) {
		int which = chance(&seed) % CHANNELS, j;
		struct epoll_event ev;

		ASSERT_LE(0, end_send(&p[which], i));
		ASSERT_EQ(1, epoll_wait(ep, &ev, 1, PATIENCE_MS));
		EXPECT_EQ(which, (int)ev.data.u32);
		ASSERT_EQ(1, poll(pfd, CHANNELS, PATIENCE_MS));
		for (j = 0; j < CHANNELS; j++)
			EXPECT_EQ(j == which ? POLLIN : 0, pfd[j].revents);
		EXPECT_EQ(1, drain(&c[which]));
		EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	}
	for (i = 0; i < CHANNELS; i++) {
		end_drop(&p[i]);
		end_drop(&c[i]);
	}
	close(ep);
}

/* How many of @n events make the publisher call: those that reach the word. */
static int calls_for(struct end *p, struct end *c, int n)
{
	int calls = 0;

	while (n--) {
		uint64_t at = p->prod->published + 1;

		/* Nobody polls while these events come. */
		calls += at >= p->area->data_wake;
		end_publish(p, at);
		__atomic_store_n(&c->cons->cursor, at, __ATOMIC_RELEASE);
	}
	return calls;
}

/* A look costs the other side at most one call, however much comes after it. */
TEST_F(poll, calls_are_bounded)
{
	int ep, i, calls = 0;

	EXPECT_EQ(0, calls_for(&self->p, &self->c, 1000));
	/* Time-out 0 queues nobody: nobody needs to be called. */
	for (i = 0; i < 100; i++)
		events_of(POLL, self->c.fd, 0);
	EXPECT_EQ(0, calls_for(&self->p, &self->c, 1000));
	for (i = 0; i < 100; i++) {
		events_of(POLL, self->c.fd, 1);
		calls += calls_for(&self->p, &self->c, 100);
	}
	EXPECT_GE(100, calls);
	printf("# 100 polls that slept: %d calls for 10000 events\n", calls);

	ep = epoll_with(self->c.fd, EPOLLIN | EPOLLET);
	ASSERT_LE(0, ep);
	EXPECT_GE(1, calls_for(&self->p, &self->c, 1000));
	for (calls = i = 0; i < 100; i++) {
		epoll_events(ep, 0);
		calls += calls_for(&self->p, &self->c, 100);
	}
	printf("# 100 edge-triggered epoll_waits: %d calls for 10000 events\n", calls);
	/* One for each look, and an edge is one that is found by a look. */
	EXPECT_GE(101, calls);
	EXPECT_LE(90, calls);
	close(ep);
	EXPECT_GE(1, calls_for(&self->p, &self->c, 1000));
}

/* Under fire */

FIXTURE(hammer)
{
	int owner;
};

FIXTURE_VARIANT(hammer)
{
	bool data;
	bool one_cpu;
	bool level;
	bool plain;		/* poll() instead of epoll */
	unsigned long full, reduced;
};

FIXTURE_VARIANT_ADD(hammer, edge_data) {
	.data = true, .full = 1000000, .reduced = 100000,
};

FIXTURE_VARIANT_ADD(hammer, edge_data_one_cpu) {
	.data = true, .one_cpu = true, .full = 1000000, .reduced = 100000,
};

FIXTURE_VARIANT_ADD(hammer, edge_space) { .full = 100000, .reduced = 20000 };
FIXTURE_VARIANT_ADD(hammer, edge_space_one_cpu) {
	.one_cpu = true, .full = 100000, .reduced = 20000,
};

FIXTURE_VARIANT_ADD(hammer, level_data) {
	.data = true, .level = true, .full = 100000, .reduced = 20000,
};

FIXTURE_VARIANT_ADD(hammer, poll_data) {
	.data = true, .plain = true, .full = 100000, .reduced = 20000,
};

FIXTURE_SETUP(hammer)
{
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
}

FIXTURE_TEARDOWN(hammer)
{
	close(self->owner);
}

/*
 * Moves by 1 to 3 after a short random time, then spins until the poller has
 * answered all of it: an edge that is lost is not made good by the next one.
 */
static void hammer_mover(struct end *m, unsigned long events, bool one_cpu)
{
	bool data = m->role == SCATTO_ROLE_PRODUCER;
	uint64_t seed = 0x2545f4914f6cdd1dULL, at = 0, i;
	uint64_t lead = data ? 0 : CAPACITY;

	while (at < events && !end_is_over(m)) {
		uint64_t answer = data ? end_cursor(m) : end_published(m);
		unsigned int n = 1 + chance(&seed) % 3;

		if (answer < at + lead) {
			if (one_cpu)
				sched_yield();
			continue;
		}
		dither(&seed, chance(&seed) & 7 ? 1000 : 20000);
		for (i = 0; i < n; i++) {
			at++;
			if (data)
				end_publish(m, at);
			else
				end_release(m, at);
			dither(&seed, 200);
		}
	}
}

TEST_F_TIMEOUT(hammer, no_edge_is_lost, 1100)
{
	unsigned long events = test_count(variant->full, variant->reduced), looks = 0;
	bool data = variant->data;
	struct pollfd pfd = { .events = data ? POLLIN : POLLOUT };
	uint64_t seed = 77, begin, at;
	struct end end;
	pid_t pid;
	int ep;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(variant->one_cpu ? 0 : 1 % cpus_online());
		if (end_open(&end, data ? SCATTO_ROLE_PRODUCER :
				   SCATTO_ROLE_CONSUMER, self->owner))
			_exit(1);
		hammer_mover(&end, events, variant->one_cpu);
		while (!end_is_over(&end))
			sched_yield();
		_exit(0);
	}
	ASSERT_EQ(0, pin(0));
	ASSERT_EQ(0, end_open(&end, data ? SCATTO_ROLE_CONSUMER :
					   SCATTO_ROLE_PRODUCER, self->owner));
	if (!data)
		end_publish(&end, CAPACITY);
	pfd.fd = end.fd;
	ep = epoll_with(end.fd, (data ? EPOLLIN : EPOLLOUT) |
				(variant->level ? 0 : EPOLLET));
	ASSERT_LE(0, ep);

	begin = now_ns();
	for (at = 0; at < events && test_goes_on(begin, 25); looks++) {
		uint64_t t = now_ns(), seen;
		struct epoll_event ev;
		int n = variant->plain ? poll(&pfd, 1, 10000) :
					 epoll_wait(ep, &ev, 1, 10000);

		ASSERT_EQ(1, n) TH_LOG("an edge was lost at %llu",
				       (unsigned long long)at);
		ASSERT_GT(t + 10000 * MS, now_ns());
		/* All that is there; no fence before the last look. */
		for (;;) {
			seen = data ? end_published(&end) : end_cursor(&end);
			if (seen == at)
				break;
			at = seen;
			if (data)
				end_release(&end, at);
			else
				end_publish(&end, at + CAPACITY);
		}
		dither(&seed, 500);
	}
	printf("# %llu events in %.1f s, %lu looks\n", (unsigned long long)at,
	       (now_ns() - begin) / 1e9, looks);
	EXPECT_LT(at / 20, looks);
	dev_close(self->owner);
	EXPECT_EQ(0, reap(pid));
	end_drop(&end);
	close(ep);
}

TEST_HARNESS_MAIN
