/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of /dev/scatto share. Everything here speaks the raw ABI of
 * linux/scatto.h, returns -errno, and leaves judging to the tests.
 */
#ifndef SELFTESTS_UTIL_H
#define SELFTESTS_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/scatto.h>

#define DEV		"/dev/scatto"
#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

/* Users that the VM knows, see selftests/vm/run. */
#define UID_USER	1000
#define UID_OTHER	1001

/* Users and time */

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	/* A system call, where the clock is not stable: fault.c may make it fail. */
	while (clock_gettime(CLOCK_MONOTONIC, &ts))
		;
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/*
 * Evaluates @cond until it is true or @ms have passed; yields the last value.
 * Tests give far more time than is needed: the machine may be busy, and only a
 * failure takes it all.
 */
#define wait_for(cond, ms) ({						\
	uint64_t wait_until = now_ns() + (ms) * 1000000ULL;		\
	bool wait_ok;							\
									\
	while (!(wait_ok = (cond)) && now_ns() < wait_until)		\
		sleep_ms(1);						\
	wait_ok;							\
})

/* How long a test waits for what must happen. */
#define PATIENCE_MS	20000

/* Seconds for a test that counts, see test_count(). */
#define LONG_TEST_S	1000

/*
 * More than 1 on a kernel that checks all it does: counts are divided by it, and times
 * are not judged.
 */
static inline unsigned int test_slowness(void)
{
	const char *slow = getenv("SCATTO_SLOW");

	return slow && atoi(slow) > 1 ? atoi(slow) : 1;
}

/* What the harness ends a test with: it knows nothing of slow kernels. */
unsigned int alarm(unsigned int seconds)
{
	struct itimerval old, new = { .it_value.tv_sec = seconds * test_slowness() };

	setitimer(ITIMER_REAL, &new, &old);
	return old.it_value.tv_sec;
}

static inline bool test_is_long(void)
{
	const char *is_long = getenv("SCATTO_LONG");

	return is_long && atoi(is_long);
}

/*
 * @full in the long form, else @reduced times SCATTO_SCALE and a line that
 * says so.
 */
static inline unsigned long test_count(unsigned long full, unsigned long reduced)
{
	const char *scale = getenv("SCATTO_SCALE");
	unsigned long n = reduced * (scale ? strtoul(scale, NULL, 0) : 1);

	if (test_is_long())
		return full;
	if (!n || n > full)
		n = reduced < full ? reduced : full;
	n = n / test_slowness() ?: 1;
	if (n < full)
		printf("# reduced: %lu of %lu\n", n, full);
	/* The harness leaves its children through _exit(). */
	fflush(stdout);
	return n;
}

/*
 * For loops over test_count(): false when the short form has taken @seconds
 * since @begin_ns, as it may on a machine with other things to do.
 */
static inline bool test_goes_on(uint64_t begin_ns, unsigned int seconds)
{
	return test_is_long() || now_ns() - begin_ns < seconds * 1000000000ULL;
}

/* For good, and without any group but @uid's own. For children. */
static inline int become(uid_t uid)
{
	gid_t gid = uid;

	return setgroups(1, &gid) || setresgid(gid, gid, gid) ||
	       setresuid(uid, uid, uid) ? -errno : 0;
}

/*
 * As @uid of group @gid, and of group @extra unless that is -1, with no
 * capability in effect; act_as_root() leads back.
 */
static inline int act_as_root(void)
{
	return setresuid(0, 0, 0) || setresgid(0, 0, 0) || setgroups(0, NULL) ?
	       -errno : 0;
}

static inline int act_as_in(uid_t uid, gid_t gid, gid_t extra)
{
	int ret = act_as_root();

	if (ret || !uid)
		return ret;
	return setgroups(extra != (gid_t)-1, &extra) || setresgid(gid, gid, 0) ||
	       setresuid(uid, uid, 0) ? -errno : 0;
}

static inline int act_as(uid_t uid)
{
	return act_as_in(uid, uid, -1);
}

/* Files */

/* Reads up to @size - 1 bytes and terminates them. */
static inline ssize_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	n = n < 0 ? -errno : (ssize_t)len;
	close(fd);
	buf[len] = '\0';
	return n;
}

static inline int write_file(const char *path, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static inline int write_file(const char *path, const char *fmt, ...)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC), ret;
	va_list ap;

	if (fd < 0)
		return -errno;
	va_start(ap, fmt);
	ret = vdprintf(fd, fmt, ap) < 0 ? -errno : 0;
	va_end(ap);
	close(fd);
	return ret;
}

/* A number that is all of a file, or that follows @key in it; -1 without. */
static inline long long read_number(const char *path, const char *key)
{
	static char buf[1 << 16];
	const char *at = buf;

	if (read_file(path, buf, sizeof(buf)) < 0)
		return -1;
	if (key)
		at = strstr(buf, key);
	return at ? strtoll(at + (key ? strlen(key) : 0), NULL, 0) : -1;
}

/* Processes */

/* R, S, D, T, Z...; 0 when there is no such task. */
static inline char task_state(pid_t tid)
{
	char path[64], buf[512], *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	at = strrchr(buf, ')');
	return at && at[1] == ' ' ? at[2] : 0;
}

/* The number of the system call that a sleeping task is in; -1 if in none. */
static inline long task_syscall(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	return read_number(path, NULL);
}

/* Asleep in the device's ioctl() or lseek() */
static inline bool task_in_call(pid_t tid)
{
	long nr = task_syscall(tid);

	return task_state(tid) == 'S' && (nr == SYS_ioctl || nr == SYS_lseek);
}

/* A child that goes when its parent does; tests that fail leave nobody behind. */
static inline pid_t spawn(void)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

/* Waits for a child; its exit status, or 128 + the signal that killed it. */
static inline int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int kill_and_reap(pid_t pid)
{
	kill(pid, SIGKILL);
	return reap(pid);
}

/* Passing fds */

static inline int send_fd(int sock, int fd)
{
	char ctrl[CMSG_SPACE(sizeof(int))] = "";
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = ctrl, .msg_controllen = sizeof(ctrl),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

static inline int recv_fd(int sock)
{
	char ctrl[CMSG_SPACE(sizeof(int))];
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = ctrl, .msg_controllen = sizeof(ctrl),
	};
	struct cmsghdr *c;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -ENOMSG;
	memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

/* Two processes in step: each byte sent is one step of the other's. */
static inline int step_give(int sock)
{
	char c = 0;

	return write(sock, &c, 1) == 1 ? 0 : -errno;
}

static inline int step_take(int sock)
{
	char c;
	ssize_t n;

	do {
		n = read(sock, &c, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -EPIPE;
}

/* For processes, in memory that they share. */
static inline void shared_barrier(pthread_barrier_t *b, unsigned int n)
{
	pthread_barrierattr_t attr;

	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(b, &attr, n);
}

/* The raw calls */

static inline int dev_open(void)
{
	int fd = open(DEV, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int dev_ioctl(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static inline struct scatto_create create_args(uint32_t slot_size,
					       uint64_t capacity, uint32_t flags)
{
	return (struct scatto_create){
		.size = sizeof(struct scatto_create),
		.kind = SCATTO_KIND_SPSC,
		.flags = flags,
		.slot_size = slot_size,
		.capacity = capacity,
	};
}

static inline void create_named(struct scatto_create *arg, const char *name,
				uint32_t mode)
{
	memcpy(arg->name, name, strnlen(name, sizeof(arg->name)));
	arg->mode = mode;
}

static inline int dev_create(int fd, struct scatto_create *arg)
{
	return dev_ioctl(fd, SCATTO_IOC_CREATE, arg);
}

/* By @name, or if that is NULL through @channel_fd. */
static inline struct scatto_attach attach_args(uint32_t role, int channel_fd,
					       const char *name)
{
	struct scatto_attach arg = {
		.size = sizeof(arg),
		.role = role,
		.channel_fd = name ? -1 : channel_fd,
	};

	if (name)
		memcpy(arg.name, name, strnlen(name, sizeof(arg.name)));
	return arg;
}

static inline int dev_attach(int fd, struct scatto_attach *arg)
{
	return dev_ioctl(fd, SCATTO_IOC_ATTACH, arg);
}

static inline int dev_info(int fd, struct scatto_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return dev_ioctl(fd, SCATTO_IOC_INFO, info);
}

static inline int dev_close(int fd)
{
	return dev_ioctl(fd, SCATTO_IOC_CLOSE, NULL);
}

/* WAIT and WAKE in short */
static inline int dev_seek(int fd, uint64_t offset, int whence)
{
	off_t ret = lseek(fd, offset, whence);

	return ret < 0 ? -errno : ret;
}

/*
 * These have two forms. Where nothing says which, it changes from call to call, and it
 * is chance which comes first: tests are processes of their own.
 */
static inline bool in_short(void)
{
	static _Atomic uint32_t calls;
	uint32_t n = calls++ + 7 * getpid();

	return (n * 2654435761U) >> 31;
}

/* How an endpoint waits in short; 0 if it is none that can. */
static inline int dev_whence(int fd)
{
	struct scatto_info info;

	if (dev_info(fd, &info))
		return 0;
	return info.role == SCATTO_ROLE_CONSUMER ? SEEK_DATA :
	       info.role == SCATTO_ROLE_PRODUCER ? SEEK_HOLE : 0;
}

static inline int dev_wake(int fd)
{
	return dev_ioctl(fd, SCATTO_IOC_WAKE, NULL);
}

/* Waits for position @want; at most @ms unless that is negative. */
static inline int dev_wait(int fd, uint64_t want, int ms)
{
	struct scatto_wait arg = { .size = sizeof(arg), .want = want };
	int whence = ms < 0 && in_short() ? dev_whence(fd) : 0;

	if (whence)
		return dev_seek(fd, want, whence);
	if (ms >= 0) {
		arg.flags = SCATTO_WAIT_DEADLINE;
		arg.deadline = now_ns() + ms * 1000000ULL;
	}
	return dev_ioctl(fd, SCATTO_IOC_WAIT, &arg);
}

/* Named channels of the caller's namespace; -errno. */
static inline int dev_list_count(int fd)
{
	struct scatto_list arg = { .size = sizeof(arg) };
	int ret, n = 0;

	for (;;) {
		uint64_t id = arg.id;

		memset(&arg, 0, sizeof(arg));
		arg.size = sizeof(arg);
		arg.id = id;
		ret = dev_ioctl(fd, SCATTO_IOC_LIST, &arg);
		if (ret)
			return ret == -ENOENT ? n : ret;
		n++;
	}
}

/* Drives the in-kernel API, see selftests/kmod; loaded when first asked for. */
static inline int test_module_open(void)
{
	int fd = open("/dev/scatto_test", O_RDWR | O_CLOEXEC), module;

	if (fd >= 0)
		return fd;
	module = open("/lib/modules-scatto/scatto_test.ko", O_RDONLY | O_CLOEXEC);
	if (module < 0)
		return -errno;
	if (syscall(SYS_finit_module, module, "", 0) && errno != EEXIST)
		return -errno;
	close(module);
	wait_for(!access("/dev/scatto_test", R_OK), 2000);
	fd = open("/dev/scatto_test", O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Limits: those of the module, which are all tests' */

#define PARAMS		"/sys/module/scatto/parameters/"

static inline struct scatto_query limits_get(void)
{
	struct scatto_query q = { .size = sizeof(q) };
	int fd = dev_open();

	dev_ioctl(fd, SCATTO_IOC_QUERY, &q);
	close(fd);
	return q;
}

static inline int limit_set(const char *param, unsigned long long value)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMS "%s", param);
	return write_file(path, "%llu", value);
}

static inline int limits_set(const struct scatto_query *q)
{
	return limit_set("max_channel_bytes", q->max_channel_bytes) ?:
	       limit_set("max_user_bytes", q->max_user_bytes) ?:
	       limit_set("max_user_channels", q->max_user_channels);
}

/*
 * Once in a program that sets them: puts them back at its very end, however its
 * tests (which are children) have ended.
 */
#define RESTORE_LIMITS							\
static struct scatto_query default_limits;				\
									\
static __attribute__((constructor)) void limits_save(void)		\
{									\
	default_limits = limits_get();					\
}									\
									\
static __attribute__((destructor)) void limits_restore(void)		\
{									\
	if (default_limits.max_user_channels)				\
		limits_set(&default_limits);				\
}

/* Channels of their own: open and bind in one go; the fd, or -errno */

static inline int channel_create_args(struct scatto_create *arg)
{
	int fd = dev_open(), ret;

	if (fd < 0)
		return fd;
	ret = dev_create(fd, arg);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

/* @name may be NULL. */
static inline int channel_create(const char *name, uint32_t mode,
				 uint32_t slot_size, uint64_t capacity,
				 uint32_t flags)
{
	struct scatto_create arg = create_args(slot_size, capacity, flags);

	if (name)
		create_named(&arg, name, mode);
	return channel_create_args(&arg);
}

/*
 * One end of a channel as a program would use it: the endpoint, what ATTACH
 * said, and the mapped regions (NULL while unmapped).
 */
struct end {
	int fd;
	uint32_t role;
	uint32_t index;
	uint64_t position;
	struct scatto_layout layout;
	union {
		void *map[SCATTO_NR_REGIONS];
		struct {
			volatile struct scatto_channel_area *area;
			volatile struct scatto_producer_area *prod;
			volatile struct scatto_consumer_area *cons;
			volatile unsigned char *data;
		};
	};
};

/* By @name, or if that is NULL through @channel_fd. */
static inline int end_attach_to(struct end *end, uint32_t role, int channel_fd,
				const char *name)
{
	struct scatto_attach arg = attach_args(role, channel_fd, name);
	int ret;

	memset(end, 0, sizeof(*end));
	end->role = role;
	end->fd = dev_open();
	if (end->fd < 0)
		return end->fd;
	ret = dev_attach(end->fd, &arg);
	if (ret) {
		close(end->fd);
		end->fd = -1;
		return ret;
	}
	end->index = arg.index;
	end->position = arg.position;
	end->layout = arg.layout;
	return 0;
}

static inline int end_attach(struct end *end, uint32_t role, int channel_fd)
{
	return end_attach_to(end, role, channel_fd, NULL);
}

static inline int end_map_region(struct end *end, unsigned int i, int prot)
{
	const struct scatto_region *r = &end->layout.region[i];
	void *p = mmap(NULL, r->size, prot, MAP_SHARED, end->fd, r->offset);

	if (p == MAP_FAILED)
		return -errno;
	end->map[i] = p;
	return 0;
}

/* All regions, each as writable as it may be. */
static inline int end_map(struct end *end)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < SCATTO_NR_REGIONS && !ret; i++)
		ret = end_map_region(end, i, PROT_READ |
				     (end->layout.region[i].writable ? PROT_WRITE : 0));
	return ret;
}

static inline int end_unmap_region(struct end *end, unsigned int i)
{
	if (!end->map[i])
		return 0;
	if (munmap(end->map[i], end->layout.region[i].size))
		return -errno;
	end->map[i] = NULL;
	return 0;
}

static inline int end_unmap(struct end *end)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < SCATTO_NR_REGIONS && !ret; i++)
		ret = end_unmap_region(end, i);
	return ret;
}

/* Attached and mapped. */
static inline int end_open(struct end *end, uint32_t role, int channel_fd)
{
	int ret = end_attach(end, role, channel_fd);

	if (ret)
		return ret;
	ret = end_map(end);
	if (ret) {
		end_unmap(end);
		close(end->fd);
		end->fd = -1;
	}
	return ret;
}

/* Unmapped and the fd closed, however far it had come. */
static inline void end_drop(struct end *end)
{
	end_unmap(end);
	if (end->fd > 0)
		close(end->fd);
	end->fd = -1;
}

/* The fast paths, SPSC, as the ABI describes them */

static inline void *end_slot(struct end *end, uint64_t seq)
{
	const struct scatto_layout *l = &end->layout;

	return (void *)(end->data + l->slot_offset +
			(seq & (l->capacity - 1)) * l->slot_stride);
}

static inline uint64_t end_published(struct end *end)
{
	return __atomic_load_n(&end->prod->published, __ATOMIC_ACQUIRE);
}

static inline uint64_t end_cursor(struct end *end)
{
	return __atomic_load_n(&end->cons->cursor, __ATOMIC_ACQUIRE);
}

static inline int end_wake(struct end *end)
{
	if (in_short())
		return dev_seek(end->fd, 0, end->role == SCATTO_ROLE_CONSUMER ?
					    SEEK_HOLE : SEEK_DATA);
	return dev_wake(end->fd);
}

/* After a store of @position: has somebody asked for it? Then WAKE. */
static inline int end_wake_at(struct end *end, volatile __u64 *word,
			      uint64_t position)
{
	if (end->layout.flags & SCATTO_F_FENCE)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return position >= *word ? end_wake(end) : 0;
}

/* Says that everything below @position can be read; how many were woken. */
static inline int end_publish(struct end *end, uint64_t position)
{
	__atomic_store_n(&end->prod->published, position, __ATOMIC_RELEASE);
	return end_wake_at(end, &end->area->data_wake, position);
}

/* Says that everything below @position may be written again. */
static inline int end_release(struct end *end, uint64_t position)
{
	__atomic_store_n(&end->cons->cursor, position, __ATOMIC_RELEASE);
	return end_wake_at(end, &end->area->space_wake, position);
}

/* Sends one u64 (the rest of the slot stays); -EAGAIN when the ring is full. */
static inline int end_send(struct end *end, uint64_t value)
{
	uint64_t seq = end->prod->published;

	if (seq - end_cursor(end) >= end->layout.capacity)
		return -EAGAIN;
	memcpy(end_slot(end, seq), &value, sizeof(value));
	return end_publish(end, seq + 1);
}

/* Receives one u64; -EAGAIN when there is none. */
static inline int end_recv(struct end *end, uint64_t *value)
{
	uint64_t seq = end->cons->cursor;

	if (seq == end_published(end))
		return -EAGAIN;
	memcpy(value, end_slot(end, seq), sizeof(*value));
	return end_release(end, seq + 1);
}

/* A consumer: the stream has ended; a producer: nobody will read. */
static inline bool end_is_over(struct end *end)
{
	if (end->role == SCATTO_ROLE_PRODUCER)
		return end->area->state & SCATTO_STATE_SEND_EPIPE;
	return end->area->end != SCATTO_END_OPEN;
}

/* Threads, CPUs, chance */

static inline pid_t thread_id(void)
{
	return syscall(SYS_gettid);
}

/* Runs the calling thread on that CPU only; -1: on any. */
static inline int pin(int cpu)
{
	cpu_set_t set;
	int i;

	CPU_ZERO(&set);
	for (i = 0; i < CPU_SETSIZE; i++)
		if (cpu < 0 || i == cpu)
			CPU_SET(i, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static inline int cpus_online(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

/* How often a task has gone to sleep. */
static inline long long task_switches(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	return read_number(path, "\nvoluntary_ctxt_switches:");
}

/* xorshift64: good enough to vary what a test does, and repeatable. */
static inline uint64_t chance(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Passes up to @most steps of an empty loop. */
static inline void dither(uint64_t *state, unsigned int most)
{
	volatile unsigned int i = chance(state) % (most + 1);

	while (i)
		i--;
}

/* A thread in SCATTO_IOC_WAIT, or in its short form */
struct sleeper {
	pthread_t thread;
	pid_t tid;
	int fd;
	int whence;	/* 0: the ioctl */
	struct scatto_wait arg;
	int ret;
	bool done;
	uint64_t woke_ns;
};

static inline void *sleeper_main(void *p)
{
	struct sleeper *s = p;

	__atomic_store_n(&s->tid, thread_id(), __ATOMIC_RELEASE);
	if (s->whence == SEEK_END)
		s->ret = dev_seek(s->fd, SCATTO_SEEK(s->arg.want, s->arg.wake_fd), SEEK_END);
	else if (s->whence)
		s->ret = dev_seek(s->fd, s->arg.want, s->whence);
	else
		s->ret = dev_ioctl(s->fd, SCATTO_IOC_WAIT, &s->arg);
	s->woke_ns = now_ns();
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Starts one with s->fd and s->arg; back when it sleeps, or has returned. */
static inline int sleeper_start_args(struct sleeper *s)
{
	int ret;

	s->arg.size = sizeof(s->arg);
	s->tid = 0;
	s->done = false;
	ret = pthread_create(&s->thread, NULL, sleeper_main, s);
	if (ret)
		return -ret;
	return wait_for(__atomic_load_n(&s->done, __ATOMIC_ACQUIRE) ||
			(__atomic_load_n(&s->tid, __ATOMIC_ACQUIRE) &&
			 task_in_call(s->tid)), PATIENCE_MS) ? 0 : -ETIMEDOUT;
}

static inline int sleeper_start(struct sleeper *s, int fd, uint64_t want)
{
	*s = (struct sleeper){
		.fd = fd, .whence = in_short() ? dev_whence(fd) : 0, .arg.want = want,
	};
	return sleeper_start_args(s);
}

/* Has it come back, within @ms? */
static inline bool sleeper_done(struct sleeper *s, int ms)
{
	return wait_for(__atomic_load_n(&s->done, __ATOMIC_ACQUIRE), ms);
}

/* What WAIT returned; -ETIME, and a thread left behind, if it never did. */
static inline int sleeper_join(struct sleeper *s)
{
	if (!sleeper_done(s, PATIENCE_MS))
		return -ETIME;
	pthread_join(s->thread, NULL);
	return s->ret;
}

#endif /* SELFTESTS_UTIL_H */
