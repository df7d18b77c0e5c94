// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a stream: who learns of it, when, and what may still be read. One
 * side goes in each of the ways there are, and the other side finds out: when
 * it looks, when it sleeps, when it polls.
 */
#include "kselftest_harness.h"
#include "util.h"

#include <sys/prctl.h>

#define CAPACITY	8

/* A process that holds one end, and does as it is told by a byte. */
struct peer {
	pid_t pid;
	int sock;
	int child_sock;
};

enum way {
	BY_CLOSE_CALL,		/* SCATTO_IOC_CLOSE */
	BY_UNMAP,		/* the last writable mapping goes */
	BY_DROP,		/* all mappings, then the fd */
	BY_EXIT,
	BY_KILL,
	BY_SEGV,
	BY_EXEC,
	BY_KILL_WITH_FD_ELSEWHERE,
	NR_WAYS,
};

FIXTURE(gone)
{
	int owner;
	struct end end;
	struct peer peer;
	pid_t holder;
};

FIXTURE_VARIANT(gone)
{
	enum way way;
};

FIXTURE_VARIANT_ADD(gone, close_call) { .way = BY_CLOSE_CALL };
FIXTURE_VARIANT_ADD(gone, unmap) { .way = BY_UNMAP };
FIXTURE_VARIANT_ADD(gone, drop) { .way = BY_DROP };
FIXTURE_VARIANT_ADD(gone, exit) { .way = BY_EXIT };
FIXTURE_VARIANT_ADD(gone, kill) { .way = BY_KILL };
FIXTURE_VARIANT_ADD(gone, segv) { .way = BY_SEGV };
FIXTURE_VARIANT_ADD(gone, exec) { .way = BY_EXEC };
FIXTURE_VARIANT_ADD(gone, kill_with_fd_elsewhere) {
	.way = BY_KILL_WITH_FD_ELSEWHERE,
};

FIXTURE_SETUP(gone)
{
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
}

FIXTURE_TEARDOWN(gone)
{
	if (self->peer.pid)
		kill_and_reap(self->peer.pid);
	if (self->holder)
		kill(self->holder, SIGKILL);
	end_drop(&self->end);
	close(self->owner);
}

static void peer_leave(struct end *end, enum way way)
{
	static char * const args[] = { "sleep", "1000", NULL };
	int flags;

	switch (way) {
	case BY_CLOSE_CALL:
		dev_close(end->fd);
		break;
	case BY_UNMAP:
		end_unmap_region(end, SCATTO_REGION_PRODUCER);
		end_unmap_region(end, end->role == SCATTO_ROLE_PRODUCER ?
				 SCATTO_REGION_DATA : SCATTO_REGION_CONSUMER);
		break;
	case BY_DROP:
		end_drop(end);
		break;
	case BY_EXIT:
		_exit(0);
	case BY_SEGV:
		signal(SIGSEGV, SIG_DFL);
		*(volatile int *)NULL = 0;
		break;
	case BY_EXEC:
		/* The fd lives on in the new program, the mappings do not. */
		flags = fcntl(end->fd, F_GETFD);
		fcntl(end->fd, F_SETFD, flags & ~FD_CLOEXEC);
		execv("/bin/sleep", args);
		_exit(99);
	default:
		break;
	}
	for (;;)
		pause();
}

/* Starts the peer: it attaches, sends what it has to send, and waits. */
static int peer_start(struct peer *peer, int owner, uint32_t role, int events,
		      enum way way, pid_t *holder)
{
	int sock[2], i;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return -errno;
	peer->sock = sock[0];
	peer->child_sock = sock[1];
	peer->pid = fork();
	if (peer->pid < 0)
		return -errno;
	if (!peer->pid) {
		struct end end;
		pid_t child = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (end_open(&end, role, owner))
			_exit(1);
		for (i = 0; i < events; i++)
			if (end_send(&end, i) < 0)
				_exit(2);
		if (way == BY_KILL_WITH_FD_ELSEWHERE) {
			/* In another process, and in a socket's queue. */
			int queue[2];

			if (socketpair(AF_UNIX, SOCK_STREAM, 0, queue) ||
			    send_fd(queue[0], end.fd))
				_exit(3);
			child = fork();
			if (child < 0)
				_exit(4);
			if (!child)
				for (;;)
					pause();
		}
		if (write(sock[1], &child, sizeof(child)) != sizeof(child))
			_exit(5);
		step_take(sock[1]);
		peer_leave(&end, way);
	}
	if (read(sock[0], holder, sizeof(*holder)) != sizeof(*holder))
		return -EPIPE;
	return 0;
}

static void peer_go(struct peer *peer, enum way way)
{
	if (way == BY_KILL || way == BY_KILL_WITH_FD_ELSEWHERE)
		kill(peer->pid, SIGKILL);
	else
		step_give(peer->sock);
}

static uint32_t poll_now(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT };

	return poll(&pfd, 1, 0) == 1 ? (uint32_t)pfd.revents : 0;
}

static void *poll_main(void *arg)
{
	struct pollfd *pfd = arg;

	poll(pfd, 1, PATIENCE_MS);
	return NULL;
}

TEST_F(gone, producer)
{
	struct sleeper s;
	struct scatto_info info;
	uint64_t value = 0, i;

	ASSERT_EQ(0, end_open(&self->end, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, peer_start(&self->peer, self->owner, SCATTO_ROLE_PRODUCER,
				3, variant->way, &self->holder));
	EXPECT_EQ(SCATTO_END_OPEN, self->end.area->end);
	/* One more than there will ever be. */
	ASSERT_EQ(0, sleeper_start(&s, self->end.fd, 4));
	EXPECT_FALSE(s.done);
	peer_go(&self->peer, variant->way);
	EXPECT_EQ(0, sleeper_join(&s));

	EXPECT_EQ(3, self->end.area->end);
	EXPECT_EQ(SCATTO_STATE_NO_PRODUCER, self->end.area->state);
	EXPECT_EQ(POLLIN, poll_now(self->end.fd));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, dev_wait(self->end.fd, i + 1, -1));
		EXPECT_EQ(0, end_recv(&self->end, &value));
		EXPECT_EQ(i, value);
	}
	EXPECT_EQ(-EAGAIN, end_recv(&self->end, &value));
	EXPECT_TRUE(end_is_over(&self->end));
	EXPECT_EQ(POLLHUP, poll_now(self->end.fd));
	EXPECT_EQ(0, dev_wait(self->end.fd, 4, -1));
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(0, info.producers);
	EXPECT_EQ(3, info.end);
	/* Nobody can go on with it. */
	EXPECT_EQ(-EPIPE, end_attach(&(struct end){}, SCATTO_ROLE_PRODUCER,
				     self->owner));
}

TEST_F(gone, consumer)
{
	struct scatto_info info;
	struct pollfd pfd;
	pthread_t poller;
	struct sleeper s;
	int i;

	ASSERT_EQ(0, end_open(&self->end, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, peer_start(&self->peer, self->owner, SCATTO_ROLE_CONSUMER,
				0, variant->way, &self->holder));
	for (i = 0; i < CAPACITY; i++)
		ASSERT_EQ(0, end_send(&self->end, i));
	EXPECT_EQ(-EAGAIN, end_send(&self->end, i));
	pfd = (struct pollfd){ .fd = self->end.fd, .events = POLLOUT };
	ASSERT_EQ(0, sleeper_start(&s, self->end.fd, 1));
	ASSERT_EQ(0, pthread_create(&poller, NULL, poll_main, &pfd));
	EXPECT_FALSE(sleeper_done(&s, 20));
	EXPECT_EQ(0, self->end.area->state);
	peer_go(&self->peer, variant->way);
	EXPECT_EQ(0, sleeper_join(&s));
	pthread_join(poller, NULL);
	EXPECT_EQ(POLLERR, pfd.revents);

	EXPECT_EQ(SCATTO_STATE_NO_CONSUMER, self->end.area->state);
	EXPECT_TRUE(end_is_over(&self->end));
	/* Publishers are sent into the slow path, where they see it. */
	EXPECT_TRUE(wait_for(!self->end.area->data_wake, PATIENCE_MS));
	EXPECT_EQ(0, dev_wait(self->end.fd, 1, -1));
	EXPECT_EQ(0, dev_wake(self->end.fd));
	EXPECT_EQ(0, self->end.area->data_wake);
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(0, info.consumers);
	EXPECT_EQ(-EPIPE, end_attach(&(struct end){}, SCATTO_ROLE_CONSUMER,
				     self->owner));
}

/* The same on a channel that pauses: nobody is told, a successor goes on. */
TEST_F(gone, producer_of_a_pausing_channel)
{
	struct end second;
	struct sleeper s;
	uint64_t value = 0, i;
	int owner;

	owner = channel_create(NULL, 0, 8, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&self->end, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, peer_start(&self->peer, owner, SCATTO_ROLE_PRODUCER, 3,
				variant->way, &self->holder));
	ASSERT_EQ(0, sleeper_start(&s, self->end.fd, 4));
	peer_go(&self->peer, variant->way);
	ASSERT_TRUE(wait_for(!self->end.area->producers, PATIENCE_MS));
	EXPECT_FALSE(sleeper_done(&s, 50));
	EXPECT_EQ(SCATTO_END_OPEN, self->end.area->end);
	EXPECT_EQ(0, self->end.area->state);
	EXPECT_EQ(POLLIN, poll_now(self->end.fd));

	if (variant->way == BY_CLOSE_CALL) {
		/* It could still write: its place is taken until it cannot. */
		EXPECT_EQ(-EBUSY, end_attach(&second, SCATTO_ROLE_PRODUCER, owner));
		kill_and_reap(self->peer.pid);
		self->peer.pid = 0;
	}
	ASSERT_EQ(0, end_open(&second, SCATTO_ROLE_PRODUCER, owner));
	EXPECT_EQ(3, second.position);
	ASSERT_LE(0, end_send(&second, 3));
	EXPECT_EQ(0, sleeper_join(&s));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, end_recv(&self->end, &value));
		EXPECT_EQ(i, value);
	}
	end_drop(&second);
	close(owner);
}

TEST_F(gone, consumer_of_a_pausing_channel)
{
	struct end second;
	struct sleeper s;
	uint64_t value;
	int owner, i;

	owner = channel_create(NULL, 0, 8, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&self->end, SCATTO_ROLE_PRODUCER, owner));
	/* Two are read by somebody who releases one of them. */
	ASSERT_EQ(0, end_open(&second, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, end_send(&self->end, 0));
	ASSERT_EQ(0, end_send(&self->end, 1));
	ASSERT_EQ(0, end_recv(&second, &value));
	end_drop(&second);
	ASSERT_EQ(0, peer_start(&self->peer, owner, SCATTO_ROLE_CONSUMER, 0,
				variant->way, &self->holder));
	for (i = 2; i < CAPACITY + 1; i++)
		ASSERT_EQ(0, end_send(&self->end, i));
	ASSERT_EQ(0, sleeper_start(&s, self->end.fd, 2));
	peer_go(&self->peer, variant->way);
	ASSERT_TRUE(wait_for(!self->end.area->consumers, PATIENCE_MS));
	EXPECT_FALSE(sleeper_done(&s, 50));
	EXPECT_EQ(0, self->end.area->state);
	EXPECT_NE(0, self->end.area->data_wake);

	if (variant->way == BY_CLOSE_CALL) {
		EXPECT_EQ(-EBUSY, end_attach(&second, SCATTO_ROLE_CONSUMER, owner));
		kill_and_reap(self->peer.pid);
		self->peer.pid = 0;
	}
	/* At least once: from what was released. */
	ASSERT_EQ(0, end_open(&second, SCATTO_ROLE_CONSUMER, owner));
	EXPECT_EQ(1, second.position);
	for (i = 1; i < CAPACITY + 1; i++) {
		EXPECT_LE(0, end_recv(&second, &value));
		EXPECT_EQ((uint64_t)i, value);
	}
	EXPECT_EQ(0, sleeper_join(&s));
	end_drop(&second);
	close(owner);
}

FIXTURE(end)
{
	int owner;
	struct end p, c;
};

FIXTURE_SETUP(end)
{
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
}

FIXTURE_TEARDOWN(end)
{
	end_drop(&self->p);
	end_drop(&self->c);
	close(self->owner);
}

/* Nothing has ended before somebody has come. */
TEST_F(end, not_before_the_first)
{
	struct sleeper s;
	uint64_t value;
	int i;

	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	EXPECT_EQ(SCATTO_END_OPEN, self->c.area->end);
	EXPECT_EQ(0, poll_now(self->c.fd));
	EXPECT_EQ(-ETIMEDOUT, dev_wait(self->c.fd, 1, 20));
	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 1));
	/* An attempt that fails is not a producer that went. */
	EXPECT_EQ(-EBUSY, end_attach(&self->p, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	EXPECT_FALSE(sleeper_done(&s, 20));
	EXPECT_EQ(1, end_send(&self->p, 1));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(0, end_recv(&self->c, &value));
	end_drop(&self->c);
	end_drop(&self->p);
	close(self->owner);

	/* A producer fills the ring for somebody yet to come. */
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	for (i = 0; i < CAPACITY; i++)
		EXPECT_EQ(0, end_send(&self->p, i));
	EXPECT_FALSE(end_is_over(&self->p));
	EXPECT_EQ(0, poll_now(self->p.fd));
	EXPECT_EQ(-ETIMEDOUT, dev_wait(self->p.fd, 1, 20));
	ASSERT_EQ(0, sleeper_start(&s, self->p.fd, 1));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	EXPECT_FALSE(sleeper_done(&s, 20));
	EXPECT_EQ(1, end_recv(&self->c, &value));
	EXPECT_EQ(0, sleeper_join(&s));
}

/* Observers and owners come and go, and it means nothing. */
TEST_F(end, not_by_onlookers)
{
	struct end o;

	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, end_open(&o, SCATTO_ROLE_OBSERVER, self->owner));
	end_drop(&o);
	close(self->owner);
	self->owner = -1;
	EXPECT_EQ(SCATTO_END_OPEN, self->c.area->end);
	EXPECT_EQ(0, self->c.area->state);
	EXPECT_EQ(0, end_send(&self->p, 1));
}

TEST_F(end, consumer_after_the_producer)
{
	uint64_t value = 0, i;

	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, end_send(&self->p, i));
	end_drop(&self->p);
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	EXPECT_EQ(0, self->c.position);
	EXPECT_EQ(5, self->c.area->end);
	for (i = 0; i < 5; i++) {
		EXPECT_LE(0, end_recv(&self->c, &value));
		EXPECT_EQ(i, value);
	}
	EXPECT_EQ(-EAGAIN, end_recv(&self->c, &value));
	EXPECT_EQ(0, dev_wait(self->c.fd, 6, -1));
	EXPECT_EQ(POLLHUP, poll_now(self->c.fd));
}

TEST_F(end, both_gone)
{
	struct end o;

	ASSERT_EQ(0, end_open(&o, SCATTO_ROLE_OBSERVER, self->owner));
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	end_drop(&self->c);
	end_drop(&self->p);
	EXPECT_EQ(SCATTO_STATE_NO_CONSUMER | SCATTO_STATE_NO_PRODUCER,
		  o.area->state);
	EXPECT_EQ(-EPIPE, end_attach(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	EXPECT_EQ(-EPIPE, end_attach(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	end_drop(&o);
}

TEST_F(end, by_the_owner)
{
	struct scatto_info info;
	struct end late;
	uint64_t value;

	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, end_send(&self->p, 7));
	ASSERT_EQ(0, end_send(&self->p, 8));
	ASSERT_EQ(0, dev_close(self->owner));
	EXPECT_EQ(-EPIPE, dev_close(self->owner));
	EXPECT_EQ(2, self->c.area->end);
	EXPECT_EQ(SCATTO_STATE_CLOSED, self->c.area->state);
	EXPECT_EQ(0, self->p.area->data_wake);
	EXPECT_EQ(POLLERR, poll_now(self->p.fd));
	EXPECT_EQ(0, dev_wait(self->p.fd, 100, -1));
	/* What is sent now was sent to nobody. */
	EXPECT_LE(0, end_send(&self->p, 9));
	EXPECT_EQ(2, self->c.area->end);
	EXPECT_EQ(POLLIN, poll_now(self->c.fd));
	EXPECT_LE(0, end_recv(&self->c, &value));
	EXPECT_EQ(7, value);
	EXPECT_LE(0, end_recv(&self->c, &value));
	EXPECT_EQ(8, value);
	EXPECT_EQ(POLLHUP, poll_now(self->c.fd));
	EXPECT_EQ(0, dev_wait(self->c.fd, 3, -1));
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(1, info.producers);
	EXPECT_EQ(1, info.consumers);
	/* Their leaving adds to it, and changes nothing. */
	end_drop(&self->p);
	EXPECT_EQ(2, self->c.area->end);
	EXPECT_EQ(-EPIPE, end_attach(&late, SCATTO_ROLE_PRODUCER, self->owner));
}

/* Also a channel that pauses is ended by its owner. */
TEST_F(end, of_a_pausing_channel)
{
	struct sleeper s;
	int owner;

	owner = channel_create(NULL, 0, 8, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 1));
	ASSERT_EQ(0, dev_close(owner));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(0, self->c.area->end);
	EXPECT_EQ(-EPIPE, end_attach(&self->p, SCATTO_ROLE_PRODUCER, owner));
	close(owner);
}

TEST_F(end, of_a_role)
{
	struct scatto_info info;
	uint64_t value = 5;

	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_attach(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, dev_close(self->p.fd));
	EXPECT_EQ(-EPIPE, dev_close(self->p.fd));
	EXPECT_EQ(-EPIPE, dev_wake(self->p.fd));
	EXPECT_EQ(-EPIPE, dev_wait(self->p.fd, 0, -1));
	EXPECT_EQ(0, dev_info(self->p.fd, &info));
	EXPECT_EQ(0, info.producers);
	/* It can still write, into a ring whose end is set. */
	memcpy(end_slot(&self->p, 0), &value, sizeof(value));
	end_publish(&self->p, 1);
	EXPECT_EQ(0, self->p.area->end);
	/* Never mapped, never to be mapped. */
	ASSERT_EQ(0, dev_close(self->c.fd));
	EXPECT_EQ(-EPIPE, end_map(&self->c));
}

TEST_HARNESS_MAIN
