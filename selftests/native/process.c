// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto, local backend: several processes, what they may take along and
 * what their death leaves behind; which system calls are made, and what happens
 * without membarrier(2).
 */
#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "common.h"

static bool send_fd(int sock, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1;
}

static int recv_fd(int sock)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static int exit_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	if (WIFSIGNALED(status))
		return 256 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

/* Reads numbers, writes their squares, until there are no more. */
static int squares(int in, int out)
{
	struct scatto_consumer *c;
	struct scatto_producer *p;
	uint64_t v;
	int ret;

	if (scatto_consumer_from_fd(in, &c) || scatto_producer_from_fd(out, &p))
		return 2;
	while (!(ret = scatto_recv(c, &v))) {
		v *= v;
		if (scatto_send(p, &v))
			return 3;
	}
	scatto_producer_close(p);
	scatto_consumer_close(c);
	return ret == -EPIPE ? 0 : 4;
}

/* Set by the test that executes itself. */
__attribute__((constructor)) static void maybe_be_the_child(void)
{
	const char *fds = getenv("SCATTO_TEST_FDS");
	int in, out;

	if (!fds)
		return;
	in = (int)strtol(fds, (char **)&fds, 10);
	out = (int)strtol(fds + 1, NULL, 10);
	_exit(squares(in, out));
}

struct feeder {
	struct scatto_producer *p;
	uint64_t n;
	int wrong;
};

static void *feed(void *arg)
{
	struct feeder *f = arg;

	for (uint64_t i = 0; i < f->n; i++)
		f->wrong |= scatto_send(f->p, &i);
	scatto_producer_close(f->p);
	return NULL;
}

/* Both directions at once; every answer is checked. */
static bool check_squares(struct scatto_channel *ch[2], uint64_t n)
{
	struct feeder f = { .n = n };
	struct scatto_consumer *c;
	pthread_t thread;
	uint64_t v, got = 0;
	bool good = true;
	int ret;

	if (scatto_producer_attach(ch[0], &f.p) ||
	    scatto_consumer_attach(ch[1], &c) ||
	    pthread_create(&thread, NULL, feed, &f))
		return false;
	while (!(ret = scatto_recv(c, &v))) {
		good &= v == got * got;
		got++;
	}
	pthread_join(thread, NULL);
	scatto_consumer_close(c);
	return good && got == n && ret == -EPIPE && !f.wrong;
}

static bool two_channels(struct scatto_channel *ch[2])
{
	struct scatto_config cfg = local_config(8, 64, 0);

	return !scatto_channel_create(&cfg, &ch[0]) &&
	       !scatto_channel_create(&cfg, &ch[1]);
}

TEST(passed_over_a_socket)
{
	struct scatto_channel *ch[2];
	int socks[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int in = recv_fd(socks[1]);
		int out = recv_fd(socks[1]);

		_exit(in < 0 || out < 0 ? 1 : squares(in, out));
	}
	ASSERT_TRUE(two_channels(ch));
	for (int i = 0; i < 2; i++)
		ASSERT_TRUE(send_fd(socks[0], scatto_channel_fd(ch[i])));
	EXPECT_TRUE(check_squares(ch, scaled(200000)));
	EXPECT_EQ(0, exit_status(pid));
	for (int i = 0; i < 2; i++)
		scatto_channel_free(ch[i]);
}

TEST(inherited_through_exec)
{
	struct scatto_channel *ch[2];
	char fds[64];
	pid_t pid;

	ASSERT_TRUE(two_channels(ch));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		snprintf(fds, sizeof(fds), "%d %d",
			 dup(scatto_channel_fd(ch[0])),
			 dup(scatto_channel_fd(ch[1])));
		setenv("SCATTO_TEST_FDS", fds, 1);
		execl("/proc/self/exe", "child", NULL);
		_exit(1);
	}
	EXPECT_TRUE(check_squares(ch, scaled(20000)));
	EXPECT_EQ(0, exit_status(pid));
	for (int i = 0; i < 2; i++)
		scatto_channel_free(ch[i]);
}

/* A handle works in a forked child; an end is its parent's alone. */
TEST(forked)
{
	struct ring r, half = {};
	uint64_t v = 1;
	pid_t pid;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	half.ch = r.ch;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct scatto_info info;

		if (scatto_channel_info(r.ch, &info))
			_exit(1);
		if (scatto_producer_attach(r.ch, &half.p) != -EBUSY)
			_exit(2);
		/* Closing what was inherited takes nothing from the parent. */
		ring_close(&r);
		_exit(0);
	}
	EXPECT_EQ(0, exit_status(pid));
	ASSERT_EQ(0, scatto_send(r.p, &v));
	ASSERT_EQ(0, scatto_recv(r.c, &v));
	EXPECT_EQ(0, scatto_consumer_is_disconnected(r.c));
	EXPECT_EQ(0, scatto_producer_is_disconnected(r.p));

	/* It is not even mapped there. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		scatto_try_send(r.p, &v);
		_exit(0);
	}
	EXPECT_EQ(256 + SIGSEGV, exit_status(pid)) {
		TH_LOG("a sanitizer may make this an exit");
	}
	ring_close(&r);
}

/* Process 1 of a pid namespace, with an end; its child is process 1 of the next. */
static int be_init_twice(void)
{
	struct ring r;
	uint64_t v = 1;
	pid_t pid;
	int ret;

	if (getpid() != 1 || ring_open_kind(&r, SCATTO_KIND_MPSC, 8, 4, 0) ||
	    scatto_claim_batch(r.p, 1) || unshare(CLONE_NEWPID))
		return 1;
	pid = fork();
	if (!pid) {
		ret = getpid() == 1 ? 0 : 2;
		ring_close(&r);
		_exit(ret);
	}
	ret = exit_status(pid);
	if (ret)
		return ret;
	return scatto_publish(r.p) || scatto_recv(r.c, &v) ? 3 : 0;
}

TEST(forked_into_the_same_pid)
{
	pid_t pid;

	if (unshare(CLONE_NEWPID) && unshare(CLONE_NEWUSER | CLONE_NEWPID))
		SKIP(return, "no new pid namespace: %s", strerror(errno));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(be_init_twice());
	EXPECT_EQ(0, exit_status(pid));
}

TEST(closed_by_another_process)
{
	struct ring r;
	uint64_t v;
	pid_t pid;

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!wait_for_sleep(r.ch, true, 0))
			_exit(1);
		_exit(-scatto_channel_close(r.ch));
	}
	EXPECT_EQ(-EPIPE, scatto_recv(r.c, &v));
	EXPECT_EQ(0, exit_status(pid));
	ring_close(&r);
}

/*
 * What the local backend cannot do, and says so: the place of the dead stays
 * taken, nobody is told. What it must do: leave the survivor in peace.
 */
TEST(killed_producer)
{
	struct scatto_config cfg = local_config(8, 4, 0);
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c;
	struct scatto_channel *ch;
	uint64_t v, cpu, features;
	pid_t pid;

	ASSERT_EQ(0, scatto_features(SCATTO_BACKEND_LOCAL, &features));
	EXPECT_EQ(0, features & (SCATTO_FEATURE_REPAIR |
				 SCATTO_FEATURE_RIGHTS));
	ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
	ASSERT_EQ(0, scatto_consumer_attach(ch, &c));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		void *slot;

		v = 77;
		if (scatto_producer_attach(ch, &p) || scatto_send(p, &v) ||
		    scatto_claim(p, &slot))
			_exit(1);
		*(uint64_t *)slot = 78;
		raise(SIGKILL);
	}
	EXPECT_EQ(256 + SIGKILL, exit_status(pid));
	ASSERT_EQ(0, scatto_recv(c, &v));
	EXPECT_EQ(77, v);
	cpu = cpu_ns();
	EXPECT_EQ(-ETIMEDOUT, scatto_recv_until(c, &v, now_ns() + 200 * MS));
	EXPECT_GT(50 * MS, cpu_ns() - cpu);
	EXPECT_EQ(-EBUSY, scatto_producer_attach(ch, &p));
	/* The owner can end it. */
	ASSERT_EQ(0, scatto_channel_close(ch));
	EXPECT_EQ(-EPIPE, scatto_recv(c, &v));
	scatto_consumer_close(c);
	scatto_channel_free(ch);
}

TEST(killed_in_its_sleep)
{
	struct scatto_config cfg = local_config(8, 4, 0);
	struct scatto_producer *p;
	struct scatto_consumer *c = NULL;
	struct scatto_channel *ch;
	struct scatto_info before, after;
	uint64_t v = 1, cpu;
	pid_t pid;

	ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
	ASSERT_EQ(0, scatto_producer_attach(ch, &p));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!scatto_consumer_attach(ch, &c))
			scatto_recv(c, &v);
		_exit(1);
	}
	ASSERT_TRUE(wait_for_sleep(ch, true, 0));
	kill(pid, SIGKILL);
	EXPECT_EQ(256 + SIGKILL, exit_status(pid));

	ASSERT_EQ(0, scatto_channel_info(ch, &before));
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, scatto_send(p, &v));
	cpu = cpu_ns();
	EXPECT_EQ(-ETIMEDOUT, scatto_send_until(p, &v, now_ns() + 200 * MS));
	EXPECT_EQ(-ETIMEDOUT,
		  scatto_claim_batch_until(p, 3, now_ns() + 200 * MS));
	EXPECT_GT(50 * MS, cpu_ns() - cpu);
	ASSERT_EQ(0, scatto_channel_info(ch, &after));
	EXPECT_EQ(before.data_wakes + 1, after.data_wakes);
	scatto_producer_close(p);
	scatto_channel_free(ch);
}

#if !SANITIZED
#if defined(__x86_64__)
#define AUDIT_ARCH_HERE	AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define AUDIT_ARCH_HERE	AUDIT_ARCH_AARCH64
#endif
#endif

#ifdef AUDIT_ARCH_HERE
/*
 * @nr does @there, everything else @elsewhere. TSYNC: threads that run already
 * are to obey, too.
 */
static bool filter(int nr, uint32_t there, uint32_t elsewhere)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_HERE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, there),
		BPF_STMT(BPF_RET | BPF_K, elsewhere),
	};
	struct sock_fprog prog = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			SECCOMP_FILTER_FLAG_TSYNC, &prog);
}

/* From here on any system call but the last one kills. */
static bool forbid_system_calls(void)
{
	return filter(SYS_exit_group, SECCOMP_RET_ALLOW,
		      SECCOMP_RET_KILL_PROCESS);
}

struct echo {
	struct ring *in, *out;
	int ready, go;
	uint64_t n;
};

static void *echo(void *arg)
{
	struct echo *e = arg;
	uint64_t v;

	__atomic_store_n(&e->ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&e->go, __ATOMIC_ACQUIRE))
		;
	for (uint64_t i = 0; i < e->n; i++)
		if (scatto_recv(e->in->c, &v) || scatto_send(e->out->p, &v))
			break;
	/* Not even to end: the other thread ends us all. */
	for (;;)
		;
	return NULL;
}

/* One thread that fills and empties its ring in every way. */
static int all_paths(struct ring *r, uint64_t n)
{
	uint64_t buf[8] = {}, v;
	void *slot;

	for (uint64_t i = 0; i < n; i++) {
		if (scatto_send(r->p, &i) || scatto_claim(r->p, &slot))
			return 2;
		*(uint64_t *)slot = i + 1;
		if (scatto_publish(r->p) ||
		    scatto_send_batch(r->p, buf, 4) != 4 ||
		    scatto_claim_batch(r->p, 2) || scatto_abort(r->p))
			return 3;
		if (scatto_recv(r->c, &v) || v != i ||
		    scatto_peek(r->c, 1) != 1 || scatto_release(r->c, 1) ||
		    scatto_recv_batch(r->c, buf, 8) != 4)
			return 4;
		if (scatto_try_recv(r->c, &v) != -EAGAIN ||
		    scatto_available_slots(r->p) != 8 ||
		    scatto_wait_space(r->p, 1, 0) < 1 ||
		    scatto_consumer_is_disconnected(r->c) ||
		    scatto_producer_is_disconnected(r->p))
			return 5;
	}
	return 0;
}

TEST(no_system_calls)
{
	struct ring a, b;
	struct echo e = { .in = &a, .out = &b };
	pthread_t thread;
	uint64_t v;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (ring_open(&a, 8, 8, 0) || !forbid_system_calls())
			syscall(SYS_exit_group, 1);
		syscall(SYS_exit_group, all_paths(&a, 100000));
	}
	EXPECT_EQ(0, exit_status(pid));

	/* Two threads, each waiting for the other all the time. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (ring_open(&a, 8, 8, 0) || ring_open(&b, 8, 8, 0))
			syscall(SYS_exit_group, 1);
		for (int i = 0; i < 2; i++) {
			struct ring *r = i ? &a : &b;

			scatto_producer_set_wait(r->p, SCATTO_STRATEGY_BUSY);
			scatto_consumer_set_wait(r->c, SCATTO_STRATEGY_BUSY);
		}
		e.n = 200;
		if (pthread_create(&thread, NULL, echo, &e))
			syscall(SYS_exit_group, 2);
		/* Starting a thread takes a few. */
		while (!__atomic_load_n(&e.ready, __ATOMIC_ACQUIRE))
			;
		if (!forbid_system_calls())
			syscall(SYS_exit_group, 2);
		__atomic_store_n(&e.go, 1, __ATOMIC_RELEASE);
		for (uint64_t i = 0; i < e.n; i++)
			if (scatto_send(a.p, &i) || scatto_recv(b.c, &v) ||
			    v != i)
				syscall(SYS_exit_group, 3);
		syscall(SYS_exit_group, 0);
	}
	EXPECT_EQ(0, exit_status(pid));

	/* The filter does see what there is to see. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (ring_open(&a, 8, 8, 0) || !forbid_system_calls())
			syscall(SYS_exit_group, 1);
		scatto_consumer_set_wait(a.c, SCATTO_STRATEGY_BLOCK);
		scatto_recv_until(a.c, &v, 0);
		syscall(SYS_exit_group, 0);
	}
	EXPECT_EQ(256 + SIGSYS, exit_status(pid));
}

/* Without membarrier(2) publishers fence, and sleeping works as well. */
TEST(no_membarrier)
{
	struct scatto_producer *p = NULL;
	struct scatto_consumer *c = NULL;
	struct scatto_observer *o = NULL;
	struct scatto_info info;
	struct ring with, without;

	ASSERT_EQ(0, ring_open(&with, 8, 2, SCATTO_F_PAUSE));
	ASSERT_EQ(0, scatto_channel_info(with.ch, &info));
	if (info.layout.flags & SCATTO_F_FENCE)
		SKIP(return, "there is no membarrier(2) here");
	scatto_consumer_close(with.c);
	scatto_producer_close(with.p);

	ASSERT_TRUE(filter(SYS_membarrier, SECCOMP_RET_ERRNO | ENOSYS,
			   SECCOMP_RET_ALLOW));
	EXPECT_EQ(-EOPNOTSUPP, scatto_producer_attach(with.ch, &p));
	EXPECT_EQ(-EOPNOTSUPP, scatto_consumer_attach(with.ch, &c));
	EXPECT_EQ(NULL, p);
	EXPECT_EQ(NULL, c);
	/* Who only looks needs none. */
	EXPECT_EQ(0, scatto_observer_attach(with.ch, &o));
	scatto_observer_close(o);
	scatto_channel_free(with.ch);

	ASSERT_EQ(0, ring_open(&without, 8, 2, 0));
	ASSERT_EQ(0, scatto_channel_info(without.ch, &info));
	EXPECT_EQ(SCATTO_F_FENCE, info.layout.flags);
	ring_close(&without);
	EXPECT_EQ(0, ping_pong_asleep(scaled(100000), &info));
	EXPECT_EQ(SCATTO_F_FENCE, info.layout.flags);
	EXPECT_LT(0, info.data_sleeps);
}
#endif /* AUDIT_ARCH_HERE */

/*
 * The exported functions on what the inline ones have set up: same fields, same
 * results. (symbols.sh compares the lists of names.)
 */
TEST(exported_functions)
{
	const char *build = getenv("BUILD");
	char path[4096] = "", *slash;
	int (*try_send)(struct scatto_producer *p, const void *ev);
	int (*try_recv)(struct scatto_consumer *c, void *buf);
	int (*claim)(struct scatto_producer *p, void **slot);
	int (*publish)(struct scatto_producer *p);
	int (*send_batch)(struct scatto_producer *p, const void *ev,
			  uint32_t n);
	int (*recv_batch)(struct scatto_consumer *c, void *buf, uint32_t max);
	const char *(*version)(void);
	uint64_t buf[4] = { 3, 4, 5 }, v = 1;
	struct ring r;
	void *lib, *slot;

	if (build) {
		snprintf(path, sizeof(path), "%s", build);
	} else {
		/* build/selftests/native/process */
		ASSERT_LT(0, readlink("/proc/self/exe", path,
				      sizeof(path) - 1));
		for (int i = 0; i < 3; i++) {
			slash = strrchr(path, '/');
			if (slash)
				*slash = 0;
		}
	}
	strncat(path, "/lib/libscatto.so", sizeof(path) - strlen(path) - 1);
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		SKIP(return, "the shared library is not where it is built");
	*(void **)&try_send = dlsym(lib, "scatto_try_send");
	*(void **)&try_recv = dlsym(lib, "scatto_try_recv");
	*(void **)&claim = dlsym(lib, "scatto_claim");
	*(void **)&publish = dlsym(lib, "scatto_publish");
	*(void **)&send_batch = dlsym(lib, "scatto_send_batch");
	*(void **)&recv_batch = dlsym(lib, "scatto_recv_batch");
	*(void **)&version = dlsym(lib, "scatto_version");
	ASSERT_TRUE(try_send && try_recv && claim && publish && send_batch &&
		    recv_batch && version);
	EXPECT_STREQ(SCATTO_VERSION, version());

	ASSERT_EQ(0, ring_open(&r, 8, 4, 0));
	EXPECT_EQ(0, try_send(r.p, &v));
	EXPECT_EQ(0, claim(r.p, &slot));
	EXPECT_EQ(-EBUSY, scatto_try_send(r.p, &v));
	*(uint64_t *)slot = 2;
	EXPECT_EQ(0, publish(r.p));
	EXPECT_EQ(-EINVAL, publish(r.p));
	EXPECT_EQ(2, send_batch(r.p, buf, 2));
	EXPECT_EQ(-EAGAIN, try_send(r.p, &v));
	EXPECT_EQ(0, try_recv(r.c, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(0, scatto_try_recv(r.c, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(2, recv_batch(r.c, buf, 4));
	EXPECT_EQ(3, buf[0]);
	EXPECT_EQ(4, buf[1]);
	EXPECT_EQ(-EAGAIN, try_recv(r.c, &v));
	ring_close(&r);
	dlclose(lib);
}

TEST_HARNESS_MAIN
