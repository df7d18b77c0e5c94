/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks: file descriptors that go, come again or change hands while somebody is
 * blocked in a call on them; calls that race with the last close.
 */
#ifndef SELFTESTS_ATTACK_FDS_H
#define SELFTESTS_ATTACK_FDS_H

#include "attack.h"

#include <linux/io_uring.h>
#include <sys/epoll.h>

/* What is done to an endpoint that somebody is blocked on. */
enum attack_blocked {
	BLOCKED_CLOSE,
	BLOCKED_DUP,
	BLOCKED_PASS,
	BLOCKED_UNMAP,
	BLOCKED_IOC_CLOSE,
	BLOCKED_END,
	BLOCKED_SIGNALS,
	BLOCKED_KILL,
	BLOCKED_EXEC,
	NR_BLOCKED,
};

static const char * const blocked_names[] = {
	"close", "dup2-over", "pass", "munmap", "CLOSE", "owner's-CLOSE", "signals",
	"kill", "exec",
};

static void nothing(int sig)
{
	(void)sig;
}

static void blocked_close(struct end *end)
{
	close(end->fd);
	end->fd = -1;
}

static void blocked_dup(struct end *end)
{
	int other = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(other, end->fd);
	close(other);
}

/* In flight it is nobody's; then there is a second descriptor; then neither. */
static void blocked_pass(struct attacker *at, struct end *end)
{
	int sv[2], copy;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return;
	must(at, !send_fd(sv[0], end->fd));
	blocked_close(end);
	if (chance(&at->seed) % 2) {
		copy = recv_fd(sv[1]);
		must(at, copy >= 0);
		if (chance(&at->seed) % 2)
			dev_close(copy);
		close(copy);
	}
	close(sv[0]);
	close(sv[1]);
}

/* Whoever is blocked hears of a signal without SA_RESTART at once. */
static void blocked_signals(struct attacker *at, struct blocker *b)
{
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	int i;

	sigaction(SIGUSR1, &sa, NULL);
	for (i = 0; i < 50; i++) {
		pthread_kill(b->thread, SIGUSR1);
		sched_yield();
	}
	sa.sa_flags = 0;
	sigaction(SIGUSR1, &sa, NULL);
	/* One that comes just before the call is made again is not enough. */
	must(at, wait_for(pthread_kill(b->thread, SIGUSR1) || blocker_done(b, 1), PATIENCE_MS));
}

static void blocked_once(struct attacker *at, int owner)
{
	struct blocker b;
	struct end end;
	int ret = end_open(&end, at->a->role, owner);

	if (ret)
		return;
	attack_work(&end, 4);
	if (!blocker_start(&b, &end, at->a->what))
		return;
	switch (at->a->how) {
	case BLOCKED_CLOSE:
		blocked_close(&end);
		break;
	case BLOCKED_DUP:
		blocked_dup(&end);
		break;
	case BLOCKED_PASS:
		blocked_pass(at, &end);
		break;
	case BLOCKED_IOC_CLOSE:
		must(at, !dev_close(end.fd));
		must(at, blocker_done(&b, PATIENCE_MS));
		break;
	case BLOCKED_END:
		must(at, !dev_close(owner));
		must(at, blocker_done(&b, PATIENCE_MS));
		break;
	case BLOCKED_SIGNALS:
		blocked_signals(at, &b);
		break;
	}
	/* With the last mapping goes the role, and nobody waits for it any more. */
	end_unmap(&end);
	if (must(at, blocker_done(&b, PATIENCE_MS)))
		pthread_join(b.thread, NULL);
	if (end.fd >= 0)
		close(end.fd);
}

/* The whole process goes, in the middle of it. */
static void blocked_child(struct attacker *at, int owner)
{
	pid_t pid = spawn();
	struct blocker b;
	struct end end;

	if (!pid) {
		if (end_open(&end, at->a->role, owner))
			_exit(0);
		if (!blocker_start(&b, &end, at->a->what))
			_exit(0);
		if (at->a->how == BLOCKED_KILL)
			kill(getpid(), SIGKILL);
		if (chance(&at->seed) % 2)
			fcntl(end.fd, F_SETFD, 0);
		execl("/bin/busybox", "true", NULL);
		_exit(1);
	}
	if (pid > 0)
		reap(pid);
}

/* On the victim's channel, and on one that is full, where nobody comes. */
static void attack_blocked(struct attacker *at)
{
	struct end fill;

	while (attack_goes_on(at)) {
		bool own = at->a->how == BLOCKED_END || chance(&at->seed) % 2;
		int owner = own ? attack_create(at) : at->owner;

		if (own && at->a->role == SCATTO_ROLE_PRODUCER) {
			must(at, !end_open(&fill, SCATTO_ROLE_PRODUCER, owner));
			attack_work(&fill, ATTACK_CAPACITY);
			end_drop(&fill);
		}
		if (at->a->how == BLOCKED_KILL || at->a->how == BLOCKED_EXEC)
			blocked_child(at, owner);
		else
			blocked_once(at, owner);
		if (own)
			close(owner);
		attack_round(at);
	}
}

/* Every call there is, on a descriptor that others close and open all the time. */
struct race {
	int fd;				/* where endpoints come and go */
	int owner;
};

static void race_call(struct attacker *at, struct race *r, uint64_t *seed)
{
	static const unsigned long cmds[] = {
		SCATTO_IOC_QUERY, SCATTO_IOC_LIST, SCATTO_IOC_CREATE, SCATTO_IOC_ATTACH,
		SCATTO_IOC_INFO, SCATTO_IOC_CLOSE, SCATTO_IOC_WAIT, SCATTO_IOC_WAKE,
		SCATTO_IOC_CLAIM,
	};
	unsigned long cmd = cmds[chance(seed) % ARRAY_LEN(cmds)];
	struct pollfd pfd = { .fd = r->fd, .events = POLLIN | POLLOUT };
	struct scatto_create create = create_args(8, 8, 0);
	struct scatto_attach attach = attach_args(at->a->role, r->owner, NULL);
	struct scatto_claim claim = claim_args(1, 1, 1);
	struct scatto_query query = { .size = sizeof(query) };
	struct scatto_list list = { .size = sizeof(list) };
	struct scatto_info info;

	switch (cmd) {
	case SCATTO_IOC_QUERY:
		dev_ioctl(r->fd, cmd, &query);
		break;
	case SCATTO_IOC_LIST:
		dev_ioctl(r->fd, cmd, &list);
		break;
	case SCATTO_IOC_CREATE:
		dev_create(r->fd, &create);
		break;
	case SCATTO_IOC_ATTACH:
		dev_attach(r->fd, &attach);
		break;
	case SCATTO_IOC_INFO:
		dev_info(r->fd, &info);
		poll(&pfd, 1, 0);
		break;
	case SCATTO_IOC_WAIT:
		dev_wait(r->fd, chance(seed) % 128, 1);
		break;
	case SCATTO_IOC_CLAIM:
		dev_claim(r->fd, &claim);
		break;
	default:
		dev_ioctl(r->fd, cmd, NULL);
	}
}

static void race_run(struct attack_crew *crew, unsigned int me)
{
	struct attacker *at = crew->at;
	struct race *r = crew->arg;
	uint64_t seed = me + 1;
	struct end end;
	int fd;

	while (attack_goes_on(at)) {
		if (chance(&seed) % 4) {
			race_call(at, r, &seed);
		} else if (chance(&seed) % 2) {
			/* Not bound: for whoever comes to bind it. */
			fd = dev_open();
			dup2(fd, r->fd);
			close(fd);
		} else if (!end_open(&end, at->a->role, r->owner)) {
			dup2(end.fd, r->fd);
			attack_work(&end, 2);
			end_drop(&end);
		}
		attack_round(at);
	}
}

static void attack_races(struct attacker *at)
{
	struct race r = { .fd = dev_open(), .owner = at->owner };

	attack_crew(at, 8, &r, race_run);
}

/* Of one endpoint, or of a channel by its owners. */
static void close_storm_run(struct attack_crew *crew, unsigned int me)
{
	struct attacker *at = crew->at;
	struct race *r = crew->arg;
	uint64_t seed = me + 1;

	while (attack_goes_on(at)) {
		int fd = __atomic_load_n(&r->fd, __ATOMIC_RELAXED), fresh, owner;
		struct end end;

		if (me) {
			dev_close(fd);
			dither(&seed, 100);
		} else if (at->a->role != SCATTO_ROLE_OWNER) {
			if (end_open(&end, at->a->role, r->owner))
				continue;
			dup2(end.fd, fd);
			close(end.fd);
			end.fd = -1;
			attack_work(&end, 2);
			dither(&seed, 1000);
			end_unmap(&end);
		} else {
			owner = attack_create(at);
			fresh = owner < 0 || end_open(&end, SCATTO_ROLE_PRODUCER, owner);
			dup2(owner, fd);
			close(owner);
			if (fresh)
				continue;
			attack_work(&end, 2);
			end_drop(&end);
		}
		attack_round(at);
	}
}

static void attack_close_storm(struct attacker *at)
{
	struct race r = { .fd = dev_open(), .owner = at->owner };

	attack_crew(at, 8, &r, close_storm_run);
}

/* Wakes nobody asked for. */
static void wake_storm_run(struct attack_crew *crew, unsigned int me)
{
	struct attacker *at = crew->at;
	struct end *end = crew->arg;

	(void)me;
	while (attack_goes_on(at)) {
		struct scatto_wait wait = {
			.size = sizeof(wait), .flags = SCATTO_WAIT_WAKE | SCATTO_WAIT_DEADLINE,
			.want = 1ULL << 60, .deadline = 1, .wake_fd = end->fd,
		};
		int ret;

		must(at, dev_wake(end->fd) >= 0);
		ret = dev_ioctl(end->fd, SCATTO_IOC_WAIT, &wait);
		must(at, ret == -ETIMEDOUT || end_is_over(end));
		attack_round(at);
	}
}

static void attack_wake_storm(struct attacker *at)
{
	struct end end;

	if (!attack_open(at, &end))
		return;
	attack_crew(at, 8, &end, wake_storm_run);
	end_drop(&end);
}

/* More sleepers than one side may have. */
static void *crowd_main(void *arg)
{
	struct blocker *b = arg;

	b->ret = dev_wait(b->end->fd, 1ULL << 62, -1);
	return NULL;
}

static void attack_crowd(struct attacker *at)
{
	enum { CROWD = 1100 };
	static struct blocker b[CROWD];
	unsigned int n = 0;
	pthread_attr_t attr;
	struct end end;

	if (!attack_open(at, &end))
		return;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16384);
	for (n = 0; n < CROWD && attack_goes_on(at); n++) {
		b[n] = (struct blocker){ .end = &end };
		if (pthread_create(&b[n].thread, &attr, crowd_main, &b[n]))
			break;
		attack_round(at);
	}
	while (attack_goes_on(at)) {
		attack_work(&end, 4);
		dev_wake(end.fd);
		attack_round(at);
	}
	/* All at once. */
	end_unmap(&end);
	while (n--) {
		pthread_join(b[n].thread, NULL);
		must(at, b[n].ret == -EPIPE || b[n].ret == -EUSERS);
	}
	end_drop(&end);
}

/* Endpoints that only each other's messages hold, for the garbage collector. */
static void attack_cycles(struct attacker *at)
{
	while (attack_goes_on(at)) {
		int a[2], b[2];
		struct end end;

		if (end_open(&end, at->a->role, at->owner))
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, a) ||
		    socketpair(AF_UNIX, SOCK_STREAM, 0, b))
			return;
		send_fd(a[0], end.fd);
		send_fd(a[0], b[0]);
		send_fd(a[0], b[1]);
		send_fd(b[0], a[0]);
		send_fd(b[0], a[1]);
		send_fd(b[0], end.fd);
		close(a[0]);
		close(a[1]);
		close(b[0]);
		close(b[1]);
		/* Mapped still, in flight only, and in a cycle. */
		attack_work(&end, 4);
		end_drop(&end);
		attack_round(at);
	}
}

/* epoll in all its flavours, its target closed under it. */
static void attack_epoll(struct attacker *at)
{
	static const uint32_t flavours[] = {
		EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLOUT | EPOLLET,
		EPOLLIN | EPOLLOUT | EPOLLONESHOT, EPOLLIN | EPOLLEXCLUSIVE,
	};

	while (attack_goes_on(at)) {
		int outer = epoll_create1(EPOLL_CLOEXEC), inner[ARRAY_LEN(flavours)], i;
		struct epoll_event ev = { .events = EPOLLIN }, got[8];
		struct end end;

		if (end_open(&end, at->a->role, at->owner)) {
			close(outer);
			continue;
		}
		for (i = 0; i < (int)ARRAY_LEN(flavours); i++) {
			inner[i] = epoll_create1(EPOLL_CLOEXEC);
			ev.events = flavours[i];
			must(at, !epoll_ctl(inner[i], EPOLL_CTL_ADD, end.fd, &ev));
			ev.events = EPOLLIN | EPOLLET;
			must(at, !epoll_ctl(outer, EPOLL_CTL_ADD, inner[i], &ev));
			attack_work(&end, 2);
			must(at, epoll_wait(inner[i], got, 8, 0) >= 0);
			must(at, epoll_wait(outer, got, 8, 0) >= 0);
		}
		/* In any order. */
		if (chance(&at->seed) % 2)
			end_unmap(&end);
		if (chance(&at->seed) % 2)
			close(outer);
		end_drop(&end);
		for (i = 0; i < (int)ARRAY_LEN(flavours); i++) {
			epoll_wait(inner[i], got, 8, 0);
			close(inner[i]);
		}
		close(outer);
		attack_round(at);
	}
}

/* A poll that io_uring keeps, with its reference to the file. */
static void attack_io_uring(struct attacker *at)
{
	while (attack_goes_on(at)) {
		struct io_uring_params p = {};
		struct io_uring_sqe *sqe;
		struct end end;
		unsigned int *array, *tail;
		char *sq;
		size_t sq_size;
		int ring, i;

		if (end_open(&end, at->a->role, at->owner))
			continue;
		ring = syscall(__NR_io_uring_setup, 8, &p);
		if (ring < 0) {
			attack_skip(at);
			end_drop(&end);
			return;
		}
		sq_size = p.sq_off.array + p.sq_entries * sizeof(*array);
		sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
			  IORING_OFF_SQ_RING);
		sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE,
			   MAP_SHARED, ring, IORING_OFF_SQES);
		must(at, sq != MAP_FAILED && sqe != MAP_FAILED);
		array = (void *)(sq + p.sq_off.array);
		tail = (void *)(sq + p.sq_off.tail);
		for (i = 0; i < 4; i++) {
			sqe[i] = (struct io_uring_sqe){
				.opcode = IORING_OP_POLL_ADD, .fd = end.fd,
				.poll32_events = POLLIN | POLLOUT,
				.len = i % 2 ? 1 /* IORING_POLL_ADD_MULTI */ : 0,
			};
			array[i] = i;
		}
		__atomic_store_n(tail, 4, __ATOMIC_RELEASE);
		must(at, syscall(__NR_io_uring_enter, ring, 4, 0, 0, NULL, 0) == 4);
		attack_work(&end, 4);
		if (chance(&at->seed) % 2)
			end_drop(&end);
		close(ring);
		munmap(sq, sq_size);
		munmap(sqe, p.sq_entries * sizeof(*sqe));
		end_drop(&end);
		attack_round(at);
	}
}

#endif /* SELFTESTS_ATTACK_FDS_H */
