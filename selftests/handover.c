// SPDX-License-Identifier: GPL-2.0-only
/*
 * Endpoints on their way between processes: fork, passing of fds, exec, shared
 * memory; when a role ends and when it does not; who may follow.
 */
#include <linux/io_uring.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/resource.h>

#include "util.h"
#include "kselftest_harness.h"

#define SLOT_SIZE	16
#define CAPACITY	64

static sigjmp_buf on_fault;

static void fault(int sig)
{
	(void)sig;
	siglongjmp(on_fault, 1);
}

static __attribute__((noinline)) bool load_faults(volatile void *at)
{
	struct sigaction sa = { .sa_handler = fault }, old;
	volatile bool faulted = false;

	sigaction(SIGSEGV, &sa, &old);
	if (sigsetjmp(on_fault, 1))
		faulted = true;
	else
		(void)*(volatile char *)at;
	sigaction(SIGSEGV, &old, NULL);
	return faulted;
}

/*
 * This program again, as what was exec'd: exits with the errno of mapping the
 * channel region through the fd that it is given.
 */
static __attribute__((constructor)) void execd(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "map"))
		return;
	if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, atoi(argv[2]), 0) != MAP_FAILED)
		_exit(0);
	_exit(errno);
}

static void exec_self(int fd)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	execl("/proc/self/exe", "handover", "map", number, NULL);
	_exit(254);
}

static int other_role(int role)
{
	return role == SCATTO_ROLE_PRODUCER ? SCATTO_ROLE_CONSUMER :
					      SCATTO_ROLE_PRODUCER;
}

static int peers(int fd, int role)
{
	struct scatto_info info;

	if (dev_info(fd, &info))
		return -1;
	return role == SCATTO_ROLE_PRODUCER ? info.producers : info.consumers;
}

/* There is no time-out on the way: this is for the machine to be busy. */
#define AT_ONCE_MS	5000

/*
 * Sleeps in WAIT until the other side has gone: no position ends this wait.
 * How long it took goes to @ms.
 */
static int wait_for_the_end(struct end *end, unsigned int *ms)
{
	uint64_t began = now_ns();
	int ret = dev_wait(end->fd, 1ULL << 40, PATIENCE_MS);

	*ms = (now_ns() - began) / 1000000;
	if (ret)
		return ret;
	return end_is_over(end) ? 0 : -EAGAIN;
}

/* Kills @victim once @waiter sleeps in a call. */
static pid_t kill_once_asleep(pid_t victim, pid_t waiter, int sig)
{
	pid_t pid = spawn();

	if (!pid) {
		if (!wait_for(task_in_call(waiter), PATIENCE_MS))
			_exit(1);
		_exit(kill(victim, sig) ? 2 : 0);
	}
	return pid;
}

/* A forked child has no mapping, and mapping for itself is not for it. */
TEST(fork_has_no_mapping)
{
	static const int roles[] = {
		SCATTO_ROLE_OWNER, SCATTO_ROLE_PRODUCER, SCATTO_ROLE_CONSUMER,
		SCATTO_ROLE_OBSERVER,
	};
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE), i;

	ASSERT_GE(owner, 0);
	for (i = 0; i < 4; i++) {
		struct end end;
		pid_t pid;

		ASSERT_EQ(0, end_open(&end, roles[i], owner));
		pid = spawn();
		if (!pid) {
			int r, bad = 0;

			for (r = 0; r < SCATTO_NR_REGIONS; r++) {
				bad += !load_faults(end.map[r]);
				bad += end_map_region(&end, r, PROT_READ) != -EBUSY;
			}
			_exit(bad);
		}
		EXPECT_EQ(0, reap(pid)) {
			TH_LOG("role %d", roles[i]);
		}
		/* Its end has ended nothing. */
		EXPECT_FALSE(load_faults(end.area));
		EXPECT_EQ(roles[i] == SCATTO_ROLE_PRODUCER, end.area->producers);
		EXPECT_EQ(roles[i] == SCATTO_ROLE_CONSUMER, end.area->consumers);
		end_drop(&end);
	}
	close(owner);
}

/*
 * The death of a process whose endpoint somebody else holds as well. We are the
 * other side and asleep when it happens.
 */
enum how {
	BY_NOBODY,
	BY_CHILD,		/* forked after the mmap */
	BY_US,			/* received by SCM_RIGHTS */
	BY_PIDFD,		/* taken with pidfd_getfd() */
	BY_QUEUE,		/* in a message that nobody has received */
	BY_IO_URING,		/* a fixed file of a ring of ours */
};

FIXTURE(hold) {
	int owner, sv[2], ring;
	struct end end;		/* ours, of the other role */
	pid_t holder;
};

FIXTURE_VARIANT(hold) {
	int role;		/* the one that dies */
	enum how how;
};

#define HOLD(name, role_, how_) \
FIXTURE_VARIANT_ADD(hold, name) { .role = role_, .how = how_ }

HOLD(producer_nobody, SCATTO_ROLE_PRODUCER, BY_NOBODY);
HOLD(producer_child, SCATTO_ROLE_PRODUCER, BY_CHILD);
HOLD(producer_us, SCATTO_ROLE_PRODUCER, BY_US);
HOLD(producer_pidfd, SCATTO_ROLE_PRODUCER, BY_PIDFD);
HOLD(producer_queue, SCATTO_ROLE_PRODUCER, BY_QUEUE);
HOLD(producer_io_uring, SCATTO_ROLE_PRODUCER, BY_IO_URING);
HOLD(consumer_nobody, SCATTO_ROLE_CONSUMER, BY_NOBODY);
HOLD(consumer_child, SCATTO_ROLE_CONSUMER, BY_CHILD);
HOLD(consumer_us, SCATTO_ROLE_CONSUMER, BY_US);
HOLD(consumer_pidfd, SCATTO_ROLE_CONSUMER, BY_PIDFD);
HOLD(consumer_queue, SCATTO_ROLE_CONSUMER, BY_QUEUE);
HOLD(consumer_io_uring, SCATTO_ROLE_CONSUMER, BY_IO_URING);

FIXTURE_SETUP(hold)
{
	struct io_uring_params params = {};

	self->ring = -1;
	if (variant->how == BY_IO_URING) {
		self->ring = syscall(__NR_io_uring_setup, 4, &params);
		if (self->ring < 0)
			SKIP(return, "no io_uring: %s", strerror(errno));
	}
	self->owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sv));
	ASSERT_EQ(0, end_open(&self->end, other_role(variant->role), self->owner));
}

FIXTURE_TEARDOWN(hold)
{
	if (self->holder)
		kill(self->holder, SIGKILL);
	end_drop(&self->end);
	close(self->owner);
	close(self->ring);
	close(self->sv[0]);
	close(self->sv[1]);
}

/* What dies: tells its fd's number and its child's pid. */
static void victim(FIXTURE_DATA(hold) *self,
		   const FIXTURE_VARIANT(hold) *variant)
{
	struct end end;
	int told[2];

	if (end_open(&end, variant->role, self->owner))
		_exit(1);
	told[0] = end.fd;
	told[1] = 0;
	switch (variant->how) {
	case BY_CHILD:
		/* No spawn(): it has to outlive us. */
		told[1] = fork();
		if (!told[1]) {
			pause();
			_exit(0);
		}
		break;
	case BY_US:
	case BY_QUEUE:
		/* First in line, whether or not somebody fetches it. */
		if (send_fd(self->sv[1], end.fd))
			_exit(2);
		break;
	case BY_IO_URING:
		if (syscall(__NR_io_uring_register, self->ring,
			    IORING_REGISTER_FILES, &end.fd, 1))
			_exit(3);
		break;
	default:
		break;
	}
	if (variant->how != BY_QUEUE &&
	    write(self->sv[1], told, sizeof(told)) != sizeof(told))
		_exit(4);
	pause();
}

TEST_F_TIMEOUT(hold, killed, 60)
{
	struct scatto_info info;
	unsigned int ms = 0;
	pid_t pid, killer;
	int told[2] = {}, fd = -1, i;

	if (_metadata->skip)
		return;
	pid = spawn();
	if (!pid)
		victim(self, variant);
	if (variant->how == BY_US) {
		fd = recv_fd(self->sv[0]);
		ASSERT_GE(fd, 0);
	}
	if (variant->how != BY_QUEUE) {
		ASSERT_EQ(sizeof(told), read(self->sv[0], told, sizeof(told)));
		self->holder = told[1];
	}
	if (variant->how == BY_PIDFD) {
		int pidfd = syscall(SYS_pidfd_open, pid, 0);

		ASSERT_GE(pidfd, 0);
		fd = syscall(SYS_pidfd_getfd, pidfd, told[0], 0);
		ASSERT_GE(fd, 0);
		close(pidfd);
	}
	ASSERT_TRUE(wait_for(peers(self->owner, variant->role) == 1, PATIENCE_MS));
	if (variant->how == BY_QUEUE) {
		struct pollfd p = { self->sv[0], POLLIN, 0 };

		ASSERT_EQ(1, poll(&p, 1, PATIENCE_MS));
	}

	killer = kill_once_asleep(pid, getpid(), SIGKILL);
	EXPECT_EQ(0, wait_for_the_end(&self->end, &ms));
	EXPECT_GT(AT_ONCE_MS, ms);
	EXPECT_EQ(0, reap(killer));
	EXPECT_EQ(0, peers(self->owner, variant->role));
	/* It has not been reaped yet, and whoever holds the fd holds it still. */
	EXPECT_EQ(128 + SIGKILL, reap(pid));
	if (self->holder)
		EXPECT_TRUE(wait_for(task_state(self->holder) == 'S', PATIENCE_MS));
	if (variant->how == BY_QUEUE) {
		fd = recv_fd(self->sv[0]);
		ASSERT_GE(fd, 0);
	}
	if (fd >= 0) {
		ASSERT_EQ(0, dev_info(fd, &info));
		EXPECT_EQ(variant->role, info.role);
		EXPECT_EQ(-EPIPE, dev_wake(fd));
		for (i = 0; i < SCATTO_NR_REGIONS; i++) {
			const struct scatto_region *r = &info.layout.region[i];

			EXPECT_EQ(MAP_FAILED, mmap(NULL, r->size, PROT_READ,
						   MAP_SHARED, fd, r->offset));
			EXPECT_EQ(EPIPE, errno);
		}
		close(fd);
	}
	if (variant->how == BY_IO_URING) {
		EXPECT_EQ(0, syscall(__NR_io_uring_register, self->ring,
				     IORING_UNREGISTER_FILES, NULL, 0));
	}
}

/* The ways to go. All look the same from the other side. */
FIXTURE(go) {
	int owner;
	struct end end;
};

FIXTURE_VARIANT(go) {
	int sig;		/* or -1: _exit, -2: exec, -3: unmap, -4: CLOSE */
};

FIXTURE_VARIANT_ADD(go, exit) { -1 };
FIXTURE_VARIANT_ADD(go, exec) { -2 };
FIXTURE_VARIANT_ADD(go, unmap) { -3 };
FIXTURE_VARIANT_ADD(go, close) { -4 };
FIXTURE_VARIANT_ADD(go, sigterm) { SIGTERM };
FIXTURE_VARIANT_ADD(go, sigsegv) { SIGSEGV };
FIXTURE_VARIANT_ADD(go, sigabrt) { SIGABRT };

FIXTURE_SETUP(go)
{
	self->owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, end_open(&self->end, SCATTO_ROLE_CONSUMER, self->owner));
}

FIXTURE_TEARDOWN(go)
{
	end_drop(&self->end);
	close(self->owner);
}

TEST_F(go, producer)
{
	struct rlimit no_core = {};
	unsigned int ms = 0;
	uint64_t value = 0;
	pid_t pid, us = getpid();
	int i;

	pid = spawn();
	if (!pid) {
		struct end end;

		setrlimit(RLIMIT_CORE, &no_core);
		if (end_open(&end, SCATTO_ROLE_PRODUCER, self->owner))
			_exit(1);
		for (i = 0; i < 5; i++)
			end_send(&end, i);
		wait_for(task_in_call(us), PATIENCE_MS);
		switch (variant->sig) {
		case -1:
			_exit(0);
		case -2:
			fcntl(end.fd, F_SETFD, 0);
			exec_self(end.fd);
			break;
		case -3:
			end_unmap(&end);
			break;
		case -4:
			dev_close(end.fd);
			break;
		default:
			signal(variant->sig, SIG_DFL);
			raise(variant->sig);
		}
		pause();
	}
	EXPECT_EQ(0, wait_for_the_end(&self->end, &ms));
	EXPECT_GT(AT_ONCE_MS, ms);
	EXPECT_EQ(5, self->end.area->end);
	EXPECT_EQ(SCATTO_STATE_NO_PRODUCER, self->end.area->state);
	/* What it had published is all there. */
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(0, end_recv(&self->end, &value));
		EXPECT_EQ(i, value);
	}
	EXPECT_EQ(-EAGAIN, end_recv(&self->end, &value));
	switch (variant->sig) {
	case -1:
		EXPECT_EQ(0, reap(pid));
		break;
	case -2:
		/* The new program has the fd, and its role is over. */
		EXPECT_EQ(EPIPE, reap(pid));
		break;
	case -3:
	case -4:
		/* The process lives on. */
		EXPECT_TRUE(wait_for(task_state(pid) == 'S', PATIENCE_MS));
		kill_and_reap(pid);
		break;
	default:
		EXPECT_EQ(128 + variant->sig, reap(pid));
	}
}

/* Passed on before anybody has mapped it: who maps it is whose life counts. */
TEST(passed_before_mapping)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0);
	int ab[2], bt[2], fd;
	unsigned int ms = 0;
	struct end end;
	pid_t a, b, killer;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ab));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, bt));
	a = spawn();
	if (!a) {
		struct end prod;

		if (end_attach(&prod, SCATTO_ROLE_PRODUCER, owner) ||
		    send_fd(ab[0], prod.fd))
			_exit(1);
		pause();
	}
	b = spawn();
	if (!b) {
		struct scatto_info info;
		struct end prod = { .role = SCATTO_ROLE_PRODUCER };

		prod.fd = recv_fd(ab[1]);
		if (prod.fd < 0 || dev_info(prod.fd, &info))
			_exit(1);
		prod.layout = info.layout;
		if (info.role != SCATTO_ROLE_PRODUCER || end_map(&prod))
			_exit(2);
		end_send(&prod, 42);
		send_fd(bt[0], prod.fd);
		pause();
	}
	fd = recv_fd(bt[1]);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(128 + SIGKILL, kill_and_reap(a));
	EXPECT_EQ(-ETIMEDOUT, dev_wait(end.fd, 2, 200));
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	killer = kill_once_asleep(b, getpid(), SIGKILL);
	EXPECT_EQ(0, wait_for_the_end(&end, &ms));
	EXPECT_GT(AT_ONCE_MS, ms);
	EXPECT_EQ(0, reap(killer));
	EXPECT_EQ(1, end.area->end);
	EXPECT_EQ(128 + SIGKILL, reap(b));
	close(fd);
	end_drop(&end);
	close(owner);
}

/* Passed on after: an endpoint's mappings are one process's at a time. */
TEST(passed_after_mapping)
{
	static const int roles[] = {
		SCATTO_ROLE_OWNER, SCATTO_ROLE_PRODUCER, SCATTO_ROLE_CONSUMER,
		SCATTO_ROLE_OBSERVER,
	};
	int i, sv[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	for (i = 0; i < 4; i++) {
		bool moves = roles[i] == SCATTO_ROLE_PRODUCER ||
			     roles[i] == SCATTO_ROLE_CONSUMER;
		int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY,
					   SCATTO_F_PAUSE);
		struct end end;
		pid_t pid;

		ASSERT_GE(owner, 0);
		/* One region is enough. */
		ASSERT_EQ(0, end_attach(&end, roles[i], owner));
		ASSERT_EQ(0, end_map_region(&end, SCATTO_REGION_CHANNEL, PROT_READ));
		pid = spawn();
		if (!pid) {
			int fd = recv_fd(sv[1]), r;
			struct end mine = end;

			mine.fd = fd;
			for (r = 0; r < SCATTO_NR_REGIONS; r++)
				if (end_map_region(&mine, r, PROT_READ) != -EBUSY)
					_exit(10 + r);
			step_give(sv[1]);
			step_take(sv[1]);
			/* Its mappings are gone now. */
			for (r = 0; r < SCATTO_NR_REGIONS; r++)
				if (end_map_region(&mine, r, PROT_READ) !=
				    (moves ? -EPIPE : 0))
					_exit(20 + r);
			_exit(0);
		}
		ASSERT_EQ(0, send_fd(sv[0], end.fd));
		EXPECT_EQ(0, step_take(sv[0]));
		/* The first process maps on. */
		EXPECT_EQ(0, end_map_region(&end, SCATTO_REGION_DATA, PROT_READ));
		EXPECT_EQ(moves, !!peers(owner, roles[i]));
		EXPECT_EQ(0, end_unmap(&end));
		step_give(sv[0]);
		EXPECT_EQ(0, reap(pid)) {
			TH_LOG("role %d", roles[i]);
		}
		end_drop(&end);
		close(owner);
	}
}

/* An endpoint that is not mapped yet goes through exec, unless it is O_CLOEXEC. */
TEST(exec_before_mapping)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0), keep;

	ASSERT_GE(owner, 0);
	for (keep = 1; keep >= 0; keep--) {
		struct scatto_info info;
		pid_t pid = spawn();

		if (!pid) {
			struct end end;

			if (end_attach(&end, SCATTO_ROLE_PRODUCER, owner))
				_exit(255);
			if (keep)
				fcntl(end.fd, F_SETFD, 0);
			exec_self(end.fd);
		}
		EXPECT_EQ(keep ? 0 : EBADF, reap(pid));
		ASSERT_EQ(0, dev_info(owner, &info));
		EXPECT_EQ(0, info.producers);
		EXPECT_EQ(SCATTO_STATE_NO_PRODUCER, info.state);
		/* For the second round. */
		close(owner);
		owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0);
		ASSERT_GE(owner, 0);
	}
	close(owner);
}

static __attribute__((noinline)) pid_t vfork_and_exit(void)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(0);
	return pid;
}

/* Whoever runs on the same memory is the same process to us: vfork, spawn. */
TEST(vfork_keeps)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0);
	static char * const argv[] = { "handover", "map", "-1", NULL };
	struct end end;
	pid_t pid;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
	EXPECT_EQ(0, reap(vfork_and_exit()));
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	ASSERT_EQ(0, posix_spawn(&pid, "/proc/self/exe", NULL, NULL,
				 (char **)argv, NULL));
	EXPECT_EQ(EBADF, reap(pid));
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	EXPECT_EQ(SCATTO_END_OPEN, end.area->end);
	EXPECT_EQ(0, end_send(&end, 1));
	end_drop(&end);
	close(owner);
}

struct shared_vm {
	struct end end;
	int ready;		/* a pipe */
};

static int on_shared_vm(void *p)
{
	struct shared_vm *vm = p;

	/* The same memory, so it may map more of the same endpoint. */
	if (end_map_region(&vm->end, SCATTO_REGION_DATA, PROT_READ | PROT_WRITE))
		_exit(1);
	step_give(vm->ready);
	for (;;)
		pause();
}

/* The memory lives while one of those who share it does, and so does the role. */
TEST(clone_vm_keeps)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0);
	int go[2], from[2];
	unsigned int ms = 0;
	struct end end;
	pid_t pid, other = 0, killer;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(from));
	pid = spawn();
	if (!pid) {
		static char stack[65536] __attribute__((aligned(16)));
		struct shared_vm vm = { .ready = go[1] };

		if (end_attach(&vm.end, SCATTO_ROLE_PRODUCER, owner) ||
		    end_map_region(&vm.end, SCATTO_REGION_CHANNEL, PROT_READ))
			_exit(1);
		other = clone(on_shared_vm, stack + sizeof(stack), CLONE_VM | SIGCHLD,
			      &vm);
		if (other < 0 || write(from[1], &other, sizeof(other)) < 0)
			_exit(2);
		pause();
	}
	ASSERT_EQ(sizeof(other), read(from[0], &other, sizeof(other)));
	ASSERT_EQ(0, step_take(go[0]));
	EXPECT_EQ(128 + SIGKILL, kill_and_reap(pid));
	EXPECT_EQ(-ETIMEDOUT, dev_wait(end.fd, 1, 200));
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	killer = kill_once_asleep(other, getpid(), SIGKILL);
	EXPECT_EQ(0, wait_for_the_end(&end, &ms));
	EXPECT_GT(AT_ONCE_MS, ms);
	EXPECT_EQ(0, reap(killer));
	EXPECT_EQ(128 + SIGKILL, reap(other));
	end_drop(&end);
	close(owner);
}

static void *lives_on(void *p)
{
	int *fds = p;

	step_take(fds[0]);
	_exit(7);
}

/* A first thread that is gone is not a process that is gone. */
TEST(leader_exits)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0), sv[2];
	unsigned int ms = 0;
	struct end end;
	pid_t pid;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		struct end prod;
		pthread_t th;

		if (end_open(&prod, SCATTO_ROLE_PRODUCER, owner) ||
		    pthread_create(&th, NULL, lives_on, &sv[1]))
			_exit(1);
		syscall(SYS_exit, 0);
	}
	EXPECT_TRUE(wait_for(task_state(pid) == 'Z', PATIENCE_MS));
	EXPECT_EQ(-ETIMEDOUT, dev_wait(end.fd, 1, 200));
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	step_give(sv[0]);
	EXPECT_EQ(0, wait_for_the_end(&end, &ms));
	EXPECT_GT(AT_ONCE_MS, ms);
	EXPECT_EQ(7, reap(pid));
	end_drop(&end);
	close(owner);
}

/* Stopped is not dead, however long it lasts. */
TEST(stopped_is_alive)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, 0), sv[2];
	uint64_t value;
	struct end end;
	pid_t pid;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		struct end prod;

		if (end_open(&prod, SCATTO_ROLE_PRODUCER, owner))
			_exit(1);
		step_give(sv[1]);
		step_take(sv[1]);
		end_send(&prod, 99);
		pause();
	}
	ASSERT_EQ(0, step_take(sv[0]));
	kill(pid, SIGSTOP);
	ASSERT_TRUE(wait_for(task_state(pid) == 'T', PATIENCE_MS));
	step_give(sv[0]);
	EXPECT_EQ(-ETIMEDOUT, dev_wait(end.fd, 1, 1500));
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	kill(pid, SIGCONT);
	EXPECT_EQ(0, dev_wait(end.fd, 1, PATIENCE_MS));
	EXPECT_EQ(0, end_recv(&end, &value));
	EXPECT_EQ(99, value);
	EXPECT_EQ(128 + SIGKILL, kill_and_reap(pid));
	end_drop(&end);
	close(owner);
}

/* A mapping needs no fd; without a mapping the last fd is what counts. */
TEST(close_of_fd)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE);
	int second, sv[2];
	struct end end;
	pid_t pid;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
	close(end.fd);
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	EXPECT_EQ(0, end_unmap(&end));
	EXPECT_EQ(0, peers(owner, SCATTO_ROLE_PRODUCER));

	ASSERT_EQ(0, end_attach(&end, SCATTO_ROLE_PRODUCER, owner));
	second = dup(end.fd);
	close(end.fd);
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		step_take(sv[1]);
		_exit(0);
	}
	close(second);
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_PRODUCER));
	step_give(sv[0]);
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(0, peers(owner, SCATTO_ROLE_PRODUCER));
	close(owner);
}

/* The last region that it could write is what makes a role, in either order. */
TEST(last_writable_region)
{
	static const struct {
		int role, order[3];
		unsigned int ends_after;
	} t[] = {
		{ SCATTO_ROLE_PRODUCER,
		  { SCATTO_REGION_PRODUCER, SCATTO_REGION_DATA, SCATTO_REGION_CHANNEL },
		  2 },
		{ SCATTO_ROLE_PRODUCER,
		  { SCATTO_REGION_CONSUMER, SCATTO_REGION_DATA, SCATTO_REGION_PRODUCER },
		  3 },
		{ SCATTO_ROLE_CONSUMER,
		  { SCATTO_REGION_DATA, SCATTO_REGION_CONSUMER, SCATTO_REGION_CHANNEL },
		  2 },
		{ SCATTO_ROLE_CONSUMER,
		  { SCATTO_REGION_CONSUMER, SCATTO_REGION_DATA, SCATTO_REGION_CHANNEL },
		  1 },
	};
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE);
	unsigned int i, k;

	ASSERT_GE(owner, 0);
	for (i = 0; i < ARRAY_LEN(t); i++) {
		struct end end, next;
		int ret;

		ASSERT_EQ(0, end_open(&end, t[i].role, owner));
		for (k = 1; k <= 3; k++) {
			bool over = k >= t[i].ends_after;

			ASSERT_EQ(0, end_unmap_region(&end, t[i].order[k - 1]));
			EXPECT_EQ(!over, peers(owner, t[i].role)) {
				TH_LOG("case %u after %u regions", i, k);
			}
			EXPECT_EQ(over ? -EPIPE : 0, dev_wake(end.fd));
			/* What is left to read does not keep the place. */
			ret = end_attach(&next, t[i].role, owner);
			EXPECT_EQ(over ? 0 : -EBUSY, ret);
			if (!ret)
				end_drop(&next);
		}
		end_drop(&end);
	}
	close(owner);
}

/* A second mapping of the same region is as good as the first. */
TEST(second_mapping_keeps)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE);
	struct end end;
	void *first;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
	first = end.map[SCATTO_REGION_CONSUMER];
	ASSERT_EQ(0, end_map_region(&end, SCATTO_REGION_CONSUMER,
				    PROT_READ | PROT_WRITE));
	EXPECT_NE(first, end.map[SCATTO_REGION_CONSUMER]);
	munmap(first, 4096);
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_CONSUMER));
	/* Mapped to read it could be made to write: it counts, too. */
	first = end.map[SCATTO_REGION_CONSUMER];
	ASSERT_EQ(0, end_map_region(&end, SCATTO_REGION_CONSUMER, PROT_READ));
	munmap(first, 4096);
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_CONSUMER));
	EXPECT_EQ(0, end_unmap_region(&end, SCATTO_REGION_CONSUMER));
	EXPECT_EQ(0, peers(owner, SCATTO_ROLE_CONSUMER));
	end_drop(&end);
	close(owner);
}

/* Mapped for reading only, a role ends with its last mapping. */
TEST(never_writable)
{
	int owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE);
	struct end end;

	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_attach(&end, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, end_map_region(&end, SCATTO_REGION_CHANNEL, PROT_READ));
	ASSERT_EQ(0, end_map_region(&end, SCATTO_REGION_DATA, PROT_READ));
	EXPECT_EQ(0, end_unmap_region(&end, SCATTO_REGION_CHANNEL));
	EXPECT_EQ(1, peers(owner, SCATTO_ROLE_CONSUMER));
	EXPECT_EQ(0, end_unmap_region(&end, SCATTO_REGION_DATA));
	EXPECT_EQ(0, peers(owner, SCATTO_ROLE_CONSUMER));
	end_drop(&end);
	close(owner);
}

/*
 * Succession on a pausing channel. CLOSE ends the role at once, and the place is
 * free when nothing can write any more.
 */
FIXTURE(succeed) {
	int owner;
	struct end prod, cons;
};

FIXTURE_SETUP(succeed)
{
	self->owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, end_open(&self->prod, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->cons, SCATTO_ROLE_CONSUMER, self->owner));
}

FIXTURE_TEARDOWN(succeed)
{
	end_drop(&self->prod);
	end_drop(&self->cons);
	close(self->owner);
}

TEST_F(succeed, close_then_unmap)
{
	struct end *ends[] = { &self->prod, &self->cons };
	struct end next;
	int i;

	for (i = 0; i < 2; i++) {
		int role = ends[i]->role;

		EXPECT_EQ(-EBUSY, end_attach(&next, role, self->owner));
		EXPECT_EQ(0, dev_close(ends[i]->fd));
		EXPECT_EQ(0, peers(self->owner, role));
		EXPECT_EQ(0, role == SCATTO_ROLE_PRODUCER ?
			     ends[i]->area->producers : ends[i]->area->consumers);
		/* It could still write, so nobody else may. */
		EXPECT_EQ(-EBUSY, end_attach(&next, role, self->owner));
		/* Nor may it map anything more. */
		EXPECT_EQ(0, end_unmap_region(ends[i], SCATTO_REGION_CHANNEL));
		EXPECT_EQ(-EPIPE, end_map_region(ends[i], SCATTO_REGION_CHANNEL,
						 PROT_READ));
		EXPECT_EQ(-EBUSY, end_attach(&next, role, self->owner));
		EXPECT_EQ(0, end_unmap(ends[i]));
		/* The fd may stay open. */
		EXPECT_EQ(0, end_open(&next, role, self->owner));
		EXPECT_EQ(1, peers(self->owner, role));
		end_drop(&next);
	}
}

/* The old one's unmap and end leave the new one alone. */
TEST_F(succeed, late_end_of_the_first)
{
	struct end next;

	EXPECT_EQ(0, end_unmap_region(&self->cons, SCATTO_REGION_CONSUMER));
	ASSERT_EQ(0, end_open(&next, SCATTO_ROLE_CONSUMER, self->owner));
	end_drop(&self->cons);
	EXPECT_EQ(1, peers(self->owner, SCATTO_ROLE_CONSUMER));
	EXPECT_EQ(1, next.area->consumers);
	EXPECT_EQ(0, end_send(&self->prod, 5));
	EXPECT_EQ(0, dev_wait(next.fd, 1, PATIENCE_MS));
	end_drop(&next);
}

/* Consumers come and are killed; each begins where the last one had released. */
TEST_F_TIMEOUT(succeed, consumers, LONG_TEST_S)
{
	unsigned long n = test_count(1000, 30), i;
	uint64_t sent = 0, taken = 0;
	int sv[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	end_drop(&self->cons);
	for (i = 0; i < n; i++) {
		unsigned int k, few = i % 7 + 1, more = i % 5;
		pid_t pid;

		for (k = 0; k < few + more && k < CAPACITY; k++)
			if (!end_send(&self->prod, sent))
				sent++;
		pid = spawn();
		if (!pid) {
			struct end end;
			uint64_t value;

			if (end_open(&end, SCATTO_ROLE_CONSUMER, self->owner))
				_exit(1);
			if (end.position != taken || end.cons->cursor != taken)
				_exit(2);
			for (k = 0; k < few; k++)
				if (end_recv(&end, &value) || value != taken + k)
					_exit(3);
			/* Looked at, but not released: the next one gets it. */
			(void)*(volatile uint64_t *)end_slot(&end, taken + few);
			step_give(sv[1]);
			pause();
		}
		ASSERT_EQ(0, step_take(sv[0])) {
			TH_LOG("round %lu: %d", i, reap(pid));
		}
		taken += few;
		ASSERT_EQ(128 + SIGKILL, kill_and_reap(pid));
		ASSERT_EQ(taken, end_cursor(&self->prod));
		ASSERT_EQ(0, self->prod.area->state);
		/* Keep the ring from filling up. */
		if (sent - taken > CAPACITY / 2) {
			struct end end;
			uint64_t value;

			ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, self->owner));
			ASSERT_EQ(taken, end.position);
			while (!end_recv(&end, &value) && value == taken)
				taken++;
			ASSERT_EQ(sent, taken);
			end_drop(&end);
		}
	}
	EXPECT_EQ(SCATTO_END_OPEN, self->prod.area->end);
}

/* Producers, too; what they wrote without publishing it is nobody's. */
TEST_F_TIMEOUT(succeed, producers, LONG_TEST_S)
{
	unsigned long n = test_count(1000, 30), i;
	uint64_t sent = 0, value, garbage = ~0ULL;
	int sv[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	end_drop(&self->prod);
	for (i = 0; i < n; i++) {
		unsigned int k, few = i % 9;
		pid_t pid = spawn();

		if (!pid) {
			struct end end;

			if (end_open(&end, SCATTO_ROLE_PRODUCER, self->owner))
				_exit(1);
			if (end.position != sent || end.prod->published != sent)
				_exit(2);
			for (k = 0; k < few; k++)
				if (end_send(&end, sent + k) < 0)
					_exit(3);
			memcpy(end_slot(&end, sent + few), &garbage, sizeof(garbage));
			step_give(sv[1]);
			pause();
		}
		ASSERT_EQ(0, step_take(sv[0])) {
			TH_LOG("round %lu: %d", i, reap(pid));
		}
		ASSERT_EQ(128 + SIGKILL, kill_and_reap(pid));
		for (k = 0; k < few; k++) {
			ASSERT_EQ(0, end_recv(&self->cons, &value));
			ASSERT_EQ(sent++, value);
		}
		ASSERT_EQ(-EAGAIN, end_recv(&self->cons, &value));
		/* Nobody sends, and that is not the end. */
		ASSERT_EQ(SCATTO_END_OPEN, self->cons.area->end);
		ASSERT_EQ(0, self->cons.area->state);
	}
}

/* A consumer that waits sleeps through the change. */
TEST_F(succeed, sleeper_stays)
{
	struct end next;
	pid_t pid;

	end_drop(&self->cons);
	pid = spawn();
	if (!pid) {
		struct end end;
		uint64_t value;

		if (end_open(&end, SCATTO_ROLE_CONSUMER, self->owner) ||
		    dev_wait(end.fd, 1, -1) || end_recv(&end, &value))
			_exit(1);
		_exit(value == 77 ? 0 : 2);
	}
	ASSERT_TRUE(wait_for(task_in_call(pid), PATIENCE_MS));
	end_drop(&self->prod);
	ASSERT_EQ(0, end_open(&next, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_TRUE(wait_for(task_in_call(pid), PATIENCE_MS));
	EXPECT_EQ(1, end_send(&next, 77));
	EXPECT_EQ(0, reap(pid));
	end_drop(&next);
}

/* The owner's CLOSE is for all, pausing or not. */
TEST_F(succeed, owner_closes)
{
	struct end next;

	EXPECT_EQ(0, end_send(&self->prod, 1));
	EXPECT_EQ(0, dev_close(self->owner));
	EXPECT_EQ(1, self->cons.area->end);
	EXPECT_EQ(SCATTO_STATE_CLOSED, self->cons.area->state);
	EXPECT_EQ(0, self->cons.area->data_wake);
	end_drop(&self->prod);
	EXPECT_EQ(-EPIPE, end_attach(&next, SCATTO_ROLE_PRODUCER, self->owner));
	end_drop(&self->cons);
	/* What was sent may still be fetched. */
	EXPECT_EQ(0, end_attach(&next, SCATTO_ROLE_CONSUMER, self->owner));
	EXPECT_EQ(0, next.position);
	end_drop(&next);
}

TEST_HARNESS_MAIN
