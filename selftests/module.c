// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module comes and goes: not while it is used, many times, and leaving
 * nothing behind.
 */
#include <sys/sysmacros.h>

#include "fault.h"
#include "util.h"
#include "kselftest_harness.h"

#define MODULE		"/lib/modules-scatto/scatto.ko"
/* What loading reaches last is the module's own; it is less than this. */
#define LAST_PLACES	100

static int load(void)
{
	int fd = open(MODULE, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "scatto", O_NONBLOCK) ? -errno : 0;
}

static bool loaded(void)
{
	return !access("/sys/module/scatto/parameters", F_OK);
}

/* What is allocated by the code of this module, in /proc/vmallocinfo. */
static int ring_allocations(void)
{
	FILE *f = fopen("/proc/vmallocinfo", "r");
	char line[512];
	int n = 0;

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, "[scatto]");
	fclose(f);
	return n;
}

static long available_kib(void)
{
	write_file("/proc/sys/vm/drop_caches", "3");
	return read_number("/proc/meminfo", "MemAvailable:");
}

FIXTURE(module) {
};

FIXTURE_SETUP(module)
{
	if (access(MODULE, R_OK))
		SKIP(return, "no %s", MODULE);
	if (!loaded())
		ASSERT_EQ(0, load());
}

FIXTURE_TEARDOWN(module)
{
	if (!loaded())
		EXPECT_EQ(0, load());
}

TEST_F(module, device)
{
	struct stat st;

	ASSERT_EQ(0, unload());
	EXPECT_EQ(-1, stat(DEV, &st));
	EXPECT_EQ(-ENOENT, dev_open());
	ASSERT_EQ(0, load());
	EXPECT_EQ(-EEXIST, load());
	ASSERT_EQ(0, stat(DEV, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0666, st.st_mode & 07777);
	EXPECT_EQ(10, major(st.st_rdev));
}

/* EAGAIN is what delete_module(2) says to a module that is in use. */
TEST_F(module, refused)
{
	int owner, fd, sv[2];
	struct end end;
	uint64_t value;
	pid_t pid;

	/* Opened, and nothing else. */
	fd = dev_open();
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-EAGAIN, unload());
	EXPECT_TRUE(loaded());
	close(fd);

	/* Bound. */
	owner = channel_create("module", 0600, 8, 64, SCATTO_F_PAUSE);
	ASSERT_GE(owner, 0);
	EXPECT_EQ(-EAGAIN, unload());

	/* Mapped, and every fd closed: the mapping works on. */
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
	close(end.fd);
	close(owner);
	EXPECT_EQ(-EAGAIN, unload());
	EXPECT_EQ(0, end_send(&end, 1));
	EXPECT_EQ(-EAGAIN, unload());
	end.fd = -1;
	end_drop(&end);

	/* In a message that nobody has received. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	owner = channel_create("module", 0600, 8, 64, SCATTO_F_PAUSE);
	ASSERT_EQ(0, send_fd(sv[0], owner));
	close(owner);
	EXPECT_EQ(-EAGAIN, unload());
	owner = recv_fd(sv[1]);
	ASSERT_GE(owner, 0);
	close(sv[0]);
	close(sv[1]);

	/* In a child, which sleeps in WAIT. */
	pid = spawn();
	if (!pid) {
		if (end_open(&end, SCATTO_ROLE_CONSUMER, owner))
			_exit(1);
		close(owner);
		if (dev_wait(end.fd, 1, -1) || end_recv(&end, &value))
			_exit(2);
		_exit(0);
	}
	ASSERT_TRUE(wait_for(task_in_call(pid), PATIENCE_MS));
	EXPECT_EQ(-EAGAIN, unload());
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
	close(owner);
	EXPECT_EQ(1, end_send(&end, 1));
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(-EAGAIN, unload());
	end_drop(&end);

	/* And then it goes. */
	EXPECT_EQ(0, unload());
	EXPECT_FALSE(loaded());
}

/* A channel is one allocation, which goes with the last who holds it. */
TEST_F(module, allocations)
{
	enum { MANY = 20 };
	struct end ends[MANY];
	int i, owner;

	if (ring_allocations() < 0)
		SKIP(return, "no /proc/vmallocinfo");
	ASSERT_EQ(0, ring_allocations());
	for (i = 0; i < MANY; i++) {
		owner = channel_create(NULL, 0, 64, 64 << i % 5, 0);
		ASSERT_GE(owner, 0);
		ASSERT_EQ(0, end_open(&ends[i], i % 2 ? SCATTO_ROLE_PRODUCER :
				      SCATTO_ROLE_CONSUMER, owner));
		close(owner);
		EXPECT_EQ(i + 1, ring_allocations());
	}
	for (i = 0; i < MANY; i++) {
		end_drop(&ends[i]);
		EXPECT_EQ(MANY - i - 1, ring_allocations());
	}
}

/* Each allocation of its init fails once; nothing is left of a module that says so. */
TEST_F_TIMEOUT(module, no_memory_to_load, 100)
{
	int nth, left, ret, failed = 0, fd = inject_open();

	if (fd < 0)
		SKIP(return, "the kernel has no fault injection");
	inject_init();
	ASSERT_EQ(0, unload());
	ASSERT_EQ(0, inject_arm(fd, FAIL_NEVER));
	ASSERT_EQ(0, load());
	left = inject_disarm(fd);
	ASSERT_LT(0, left);
	nth = FAIL_NEVER - left - LAST_PLACES;
	for (nth = nth < 1 ? 1 : nth, left = 0; !left; nth++) {
		ASSERT_EQ(0, unload());
		ASSERT_EQ(0, inject_arm(fd, nth));
		ret = load();
		left = inject_disarm(fd);
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_FALSE(loaded());
			EXPECT_EQ(-ENOENT, dev_open());
			failed++;
			ASSERT_EQ(0, load());
		}
		ret = dev_open();
		EXPECT_LE(0, ret);
		close(ret);
	}
	printf("# it has failed to load %d times\n", failed);
	EXPECT_LT(0, failed);
	close(fd);
}

struct tally {
	volatile unsigned long cycles, absent;
	volatile int stop;
};

/* Both ends of a channel in one process, and some events; the line of a failure. */
static int use(int owner, bool forever)
{
	struct end prod, cons;
	uint64_t value, i;

	if (end_open(&prod, SCATTO_ROLE_PRODUCER, owner) ||
	    end_open(&cons, SCATTO_ROLE_CONSUMER, owner))
		return __LINE__;
	for (i = 0; i < 100 || forever; i++)
		if (end_send(&prod, i) < 0 || end_recv(&cons, &value) < 0 ||
		    value != i)
			return __LINE__;
	if (dev_wait(cons.fd, i + 1, 1) != -ETIMEDOUT)
		return __LINE__;
	end_drop(&prod);
	if (cons.area->end != i)
		return __LINE__;
	end_drop(&cons);
	return 0;
}

/*
 * Uses the module when it is there: a channel of 1 MiB, at times in a child that
 * is killed with all of it. Then leaves it alone for a moment, or it would never
 * go.
 */
static int user(struct tally *t, unsigned int seed)
{
	while (!t->stop) {
		int owner, ret = 0;
		pid_t pid;

		sleep_ms(rand_r(&seed) % 4);
		owner = channel_create(NULL, 0, 64, 16384, 0);
		if (owner == -ENOENT || owner == -ENODEV || owner == -ENXIO) {
			__atomic_add_fetch(&t->absent, 1, __ATOMIC_RELAXED);
			continue;
		}
		if (owner < 0)
			return __LINE__;
		if (rand_r(&seed) % 4) {
			ret = use(owner, false);
		} else {
			pid = spawn();
			if (!pid)
				_exit(use(owner, true));
			sleep_ms(rand_r(&seed) % 4);
			ret = kill_and_reap(pid);
			ret = ret == 128 + SIGKILL ? 0 : ret ?: __LINE__;
		}
		close(owner);
		if (ret)
			return ret;
		__atomic_add_fetch(&t->cycles, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

TEST_F_TIMEOUT(module, repeated, LONG_TEST_S)
{
	enum { USERS = 2, WARM_UP = 5 };
	unsigned long n = test_count(100, 20), i, refused = 0;
	struct tally *t = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long before = 0, after;
	pid_t pids[USERS];
	unsigned int k;

	ASSERT_NE(MAP_FAILED, t);
	for (i = 0; i < WARM_UP + n; i++) {
		unsigned long cycles = t->cycles;
		int ret;

		if (i == WARM_UP)
			before = available_kib();
		t->stop = 0;
		for (k = 0; k < USERS; k++) {
			pids[k] = spawn();
			if (!pids[k])
				_exit(user(t, i * USERS + k));
		}
		ASSERT_TRUE(wait_for(t->cycles >= cycles + 3, PATIENCE_MS));
		/* Now it is to go, while they use it. */
		ASSERT_TRUE(wait_for((ret = unload()) != -EAGAIN ||
				     (refused++, false), PATIENCE_MS));
		ASSERT_EQ(0, ret);
		sleep_ms(2);
		ASSERT_EQ(0, load());
		cycles = t->cycles;
		ASSERT_TRUE(wait_for(t->cycles > cycles, PATIENCE_MS));
		t->stop = 1;
		for (k = 0; k < USERS; k++) {
			ASSERT_EQ(0, reap(pids[k])) {
				TH_LOG("in round %lu", i);
			}
		}
		ASSERT_EQ(0, ring_allocations());
		ASSERT_EQ(0, unload());
		ASSERT_EQ(0, load());
	}
	after = available_kib();
	TH_LOG("%lu uses; unloading was refused %lu times; the device was missed %lu times",
	       t->cycles, refused, t->absent);
	/* It was in use when it was to go, and it was gone when it was wanted. */
	EXPECT_LT(n, t->cycles);
	EXPECT_LT(0, refused);
	EXPECT_LT(0, t->absent);
	/* Each use held more than 1 MiB: this is a leak of a few. */
	EXPECT_GT(8192, before - after) {
		TH_LOG("%ld KiB before, %ld KiB after", before, after);
	}
}

TEST_HARNESS_MAIN
