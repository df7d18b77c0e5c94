// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits: per channel and per user by module parameters, and the memory cgroup
 * of whoever creates. And that memory comes zeroed and goes back.
 */

#include "util.h"
#include "kselftest_harness.h"

RESTORE_LIMITS

#define CGROUP		"/sys/fs/cgroup/scatto-limits"
#define PAGE		4096
#define MIB		(1 << 20)
#define FIXED		(3 * PAGE)	/* channel, producer, consumer */

/* A channel of @bytes in all. */
static int create_bytes(size_t bytes, uint32_t flags)
{
	size_t data = bytes - FIXED, slot = 8;

	/* Slots are a power of two in number, so they come in a size to match. */
	while (data / slot & (data / slot - 1) || data / slot < 2)
		slot += 8;
	return channel_create(NULL, 0, slot, data / slot, flags);
}

static size_t bytes_of(int fd)
{
	struct scatto_info info;

	return dev_info(fd, &info) ? 0 : info.bytes;
}

FIXTURE(limits) {
};

FIXTURE_SETUP(limits)
{
}

FIXTURE_TEARDOWN(limits)
{
	EXPECT_EQ(0, act_as_root());
	EXPECT_EQ(0, limits_set(&default_limits));
}

TEST_F(limits, defaults)
{
	EXPECT_EQ(64 * MIB, default_limits.max_channel_bytes);
	EXPECT_EQ(256 * MIB, default_limits.max_user_bytes);
	EXPECT_EQ(1024, default_limits.max_user_channels);
}

TEST_F(limits, query_follows)
{
	struct scatto_query q;

	ASSERT_EQ(0, limit_set("max_channel_bytes", 123));
	ASSERT_EQ(0, limit_set("max_user_bytes", 456));
	ASSERT_EQ(0, limit_set("max_user_channels", 789));
	q = limits_get();
	EXPECT_EQ(123, q.max_channel_bytes);
	EXPECT_EQ(456, q.max_user_bytes);
	EXPECT_EQ(789, q.max_user_channels);
	ASSERT_EQ(0, act_as(UID_USER));
	EXPECT_EQ(-EACCES, limit_set("max_user_bytes", 1 << 30));
}

TEST_F(limits, channel_bytes)
{
	int fd;

	ASSERT_EQ(0, limit_set("max_channel_bytes", FIXED + 2 * PAGE));
	ASSERT_EQ(0, act_as(UID_USER));
	fd = create_bytes(FIXED + 2 * PAGE, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(FIXED + 2 * PAGE, bytes_of(fd));
	close(fd);
	EXPECT_EQ(-EFBIG, create_bytes(FIXED + 4 * PAGE, 0));
	ASSERT_EQ(0, act_as_root());
	ASSERT_EQ(0, limit_set("max_channel_bytes", FIXED + 2 * PAGE - 1));
	ASSERT_EQ(0, act_as(UID_USER));
	EXPECT_EQ(-EFBIG, create_bytes(FIXED + 2 * PAGE, 0));
	/* Nothing of that is counted against the user. */
	fd = create_bytes(FIXED + PAGE, 0);
	EXPECT_GE(fd, 0);
	close(fd);
}

TEST_F(limits, user_bytes)
{
	int fds[4], i, round;

	ASSERT_EQ(0, limit_set("max_user_bytes", 4 * (FIXED + PAGE) + PAGE));
	ASSERT_EQ(0, act_as(UID_USER));
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 4; i++) {
			fds[i] = create_bytes(FIXED + PAGE, 0);
			ASSERT_GE(fds[i], 0);
		}
		/* A page is left, and no channel is as small as that. */
		EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
		EXPECT_EQ(-EDQUOT, create_bytes(FIXED + MIB, 0));
		close(fds[3]);
		EXPECT_EQ(-EDQUOT, create_bytes(FIXED + 4 * PAGE, 0));
		fds[3] = create_bytes(FIXED + 2 * PAGE, 0);
		EXPECT_GE(fds[3], 0);
		EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
		for (i = 0; i < 4; i++)
			close(fds[i]);
	}
}

TEST_F(limits, user_channels)
{
	int fds[3], i, round;

	ASSERT_EQ(0, limit_set("max_user_channels", 3));
	ASSERT_EQ(0, act_as(UID_USER));
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 3; i++) {
			fds[i] = create_bytes(FIXED + PAGE, 0);
			ASSERT_GE(fds[i], 0);
		}
		EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
		close(fds[round % 3]);
		fds[round % 3] = create_bytes(FIXED + PAGE, 0);
		EXPECT_GE(fds[round % 3], 0);
		EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
		for (i = 0; i < 3; i++)
			close(fds[i]);
	}
}

/* Each user has their own, and none at all is a limit, too. */
TEST_F(limits, per_user)
{
	int a, b;

	ASSERT_EQ(0, limit_set("max_user_channels", 1));
	ASSERT_EQ(0, act_as(UID_USER));
	a = create_bytes(FIXED + PAGE, 0);
	ASSERT_GE(a, 0);
	EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
	ASSERT_EQ(0, act_as(UID_OTHER));
	b = create_bytes(FIXED + PAGE, 0);
	EXPECT_GE(b, 0);
	EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
	/* Who lets go does not matter; who made it does. */
	close(a);
	EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
	ASSERT_EQ(0, act_as(UID_USER));
	a = create_bytes(FIXED + PAGE, 0);
	EXPECT_GE(a, 0);
	close(a);
	close(b);
	ASSERT_EQ(0, act_as_root());
	ASSERT_EQ(0, limit_set("max_user_channels", 0));
	ASSERT_EQ(0, act_as(UID_USER));
	EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
}

/* The charge lasts as long as the channel: the creator's fd is not it. */
TEST_F(limits, charged_until_the_end)
{
	struct end end;
	int owner;

	ASSERT_EQ(0, limit_set("max_user_channels", 1));
	ASSERT_EQ(0, act_as(UID_USER));
	owner = create_bytes(FIXED + PAGE, 0);
	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
	close(owner);
	EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
	close(end.fd);
	end.fd = -1;
	EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
	end_drop(&end);
	owner = create_bytes(FIXED + PAGE, 0);
	EXPECT_GE(owner, 0);
	close(owner);
}

/* CAP_SYS_RESOURCE lifts the limits. The accounts are kept all the same. */
TEST_F(limits, capable)
{
	int fds[3], i;

	ASSERT_EQ(0, limit_set("max_channel_bytes", FIXED + PAGE));
	ASSERT_EQ(0, limit_set("max_user_bytes", FIXED + PAGE));
	ASSERT_EQ(0, limit_set("max_user_channels", 1));
	for (i = 0; i < 3; i++) {
		fds[i] = create_bytes(FIXED + 16 * PAGE, 0);
		EXPECT_GE(fds[i], 0);
	}
	ASSERT_EQ(0, act_as(UID_USER));
	EXPECT_EQ(-EFBIG, create_bytes(FIXED + 2 * PAGE, 0));
	for (i = 0; i < 3; i++)
		close(fds[i]);
	fds[0] = create_bytes(FIXED + PAGE, 0);
	EXPECT_GE(fds[0], 0);
	EXPECT_EQ(-EDQUOT, create_bytes(FIXED + PAGE, 0));
	close(fds[0]);
}

/* Capabilities of a user namespace are not those of the machine. */
TEST_F(limits, namespace_root_is_limited)
{
	pid_t pid;

	ASSERT_EQ(0, limit_set("max_user_channels", 1));
	ASSERT_EQ(0, limit_set("max_channel_bytes", FIXED + PAGE));
	pid = spawn();
	if (!pid) {
		/* What has changed its user is not dumpable, nor its /proc its own. */
		if (become(UID_USER) || prctl(PR_SET_DUMPABLE, 1) ||
		    unshare(CLONE_NEWUSER))
			_exit(1);
		if (create_bytes(FIXED + 2 * PAGE, 0) != -EFBIG)
			_exit(2);
		if (create_bytes(FIXED + PAGE, 0) < 0)
			_exit(3);
		if (create_bytes(FIXED + PAGE, 0) != -EDQUOT)
			_exit(4);
		/* A second namespace is no second account. */
		if (write_file("/proc/self/uid_map", "0 %d 1", UID_USER) ||
		    write_file("/proc/self/setgroups", "deny") ||
		    write_file("/proc/self/gid_map", "0 %d 1", UID_USER) ||
		    unshare(CLONE_NEWUSER))
			_exit(5);
		_exit(create_bytes(FIXED + PAGE, 0) == -EDQUOT ? 0 : 6);
	}
	EXPECT_EQ(0, reap(pid));
}

/* Many creating at once do not get past it together. */
TEST_F_TIMEOUT(limits, race, LONG_TEST_S)
{
	enum { RACERS = 4, EACH = 4, LIMIT = 7 };
	unsigned long n = test_count(5000, 200), i;
	struct shared {
		pthread_barrier_t start, tried, left;
		unsigned long made;
	} *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[RACERS];
	int k, made, fds[EACH];

	ASSERT_NE(MAP_FAILED, sh);
	ASSERT_EQ(0, limit_set("max_user_channels", LIMIT));
	shared_barrier(&sh->start, RACERS);
	shared_barrier(&sh->tried, RACERS + 1);
	shared_barrier(&sh->left, RACERS + 1);
	for (k = 0; k < RACERS; k++) {
		pids[k] = spawn();
		if (pids[k])
			continue;
		if (become(UID_USER))
			_exit(1);
		for (i = 0; i < n; i++) {
			pthread_barrier_wait(&sh->start);
			for (made = 0; made < EACH; made++) {
				fds[made] = create_bytes(FIXED + PAGE, 0);
				if (fds[made] < 0)
					break;
			}
			if (made < EACH && fds[made] != -EDQUOT)
				_exit(2);
			__atomic_add_fetch(&sh->made, made, __ATOMIC_SEQ_CST);
			pthread_barrier_wait(&sh->tried);
			while (made)
				close(fds[--made]);
			pthread_barrier_wait(&sh->left);
		}
		_exit(0);
	}
	for (i = 1; i <= n; i++) {
		pthread_barrier_wait(&sh->tried);
		ASSERT_EQ(i * LIMIT, sh->made);
		pthread_barrier_wait(&sh->left);
	}
	for (k = 0; k < RACERS; k++)
		EXPECT_EQ(0, reap(pids[k]));
}

/* The memory cgroup of whoever creates. */
FIXTURE(memcg) {
	bool there;
};

static long long memory_current(void)
{
	return read_number(CGROUP "/memory.current", NULL);
}

static int cgroup_enter(void)
{
	return write_file(CGROUP "/cgroup.procs", "%d", getpid());
}

FIXTURE_SETUP(memcg)
{
	self->there = !mkdir(CGROUP, 0755) &&
		      read_number(CGROUP "/memory.current", NULL) >= 0;
}

FIXTURE_TEARDOWN(memcg)
{
	EXPECT_TRUE(wait_for(!rmdir(CGROUP), PATIENCE_MS));
}

TEST_F(memcg, charged)
{
	enum { BYTES = 8 * MIB, MANY = 3 };
	int sv[2];
	long long before, after, slack = MIB;
	pid_t pid;

	if (!self->there)
		SKIP(return, "no memory controller in %s", CGROUP);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		int fds[MANY], i;

		close(sv[0]);
		if (cgroup_enter())
			_exit(1);
		/* Once, so that what stays around is there already. */
		fds[0] = channel_create(NULL, 0, 64, 1024, 0);
		close(fds[0]);
		step_give(sv[1]);
		step_take(sv[1]);
		for (i = 0; i < MANY; i++) {
			fds[i] = channel_create(NULL, 0, 64, BYTES / 64, 0);
			if (fds[i] < 0)
				_exit(2);
		}
		step_give(sv[1]);
		step_take(sv[1]);
		for (i = 0; i < MANY; i++)
			close(fds[i]);
		step_give(sv[1]);
		step_take(sv[1]);
		_exit(0);
	}
	close(sv[1]);
	ASSERT_EQ(0, step_take(sv[0]));
	before = memory_current();
	step_give(sv[0]);
	ASSERT_EQ(0, step_take(sv[0]));
	after = memory_current();
	/* All at once at creation, and nobody has mapped anything. */
	EXPECT_LE(before + (long long)MANY * BYTES, after);
	EXPECT_GE(before + (long long)MANY * BYTES + slack, after);
	step_give(sv[0]);
	ASSERT_EQ(0, step_take(sv[0]));
	EXPECT_TRUE(wait_for(memory_current() <= before + slack, PATIENCE_MS)) {
		TH_LOG("%lld before, %lld after", before, memory_current());
	}
	step_give(sv[0]);
	EXPECT_EQ(0, reap(pid));
}

/*
 * 7.2 uncharges what has failed only later, from a workqueue: an open() of the user's own
 * that does not wait for it may be killed.
 */
static int create_beyond(const char *name)
{
	int ret = channel_create(name, 0600, 64, 32 * MIB / 64, 0);

	sleep_ms(25 * test_slowness());
	return ret;
}

/* Beyond memory.max it is -ENOMEM: no OOM kill, and nothing stays behind. */
TEST_F(memcg, beyond)
{
	int sv[2], i, listed, fd = dev_open();
	long long before;
	pid_t pid;

	if (!self->there)
		SKIP(return, "no memory controller in %s", CGROUP);
	listed = dev_list_count(fd);
	ASSERT_EQ(0, write_file(CGROUP "/memory.max", "%d", 16 * MIB));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		close(sv[0]);
		if (cgroup_enter())
			_exit(1);
		step_give(sv[1]);
		step_take(sv[1]);
		for (i = 0; i < 10; i++)
			if (create_beyond("toobig") != -ENOMEM)
				_exit(2);
		step_give(sv[1]);
		step_take(sv[1]);
		/* There is room, and the name is free. */
		fd = channel_create("toobig", 0600, 64, 8 * MIB / 64, 0);
		_exit(fd < 0 ? 3 : 0);
	}
	close(sv[1]);
	ASSERT_EQ(0, step_take(sv[0]));
	before = memory_current();
	step_give(sv[0]);
	EXPECT_EQ(0, step_take(sv[0]));
	EXPECT_EQ(0, read_number(CGROUP "/memory.events", "oom_kill "));
	/* The limit was what stopped it. */
	EXPECT_LT(0, read_number(CGROUP "/memory.events", "max "));
	EXPECT_TRUE(wait_for(memory_current() <= before + MIB, PATIENCE_MS)) {
		TH_LOG("%lld before, %lld after", before, memory_current());
	}
	EXPECT_EQ(listed, dev_list_count(fd));
	step_give(sv[0]);
	EXPECT_EQ(0, reap(pid));
}

/* Nor does what failed count against the user. */
TEST_F(memcg, beyond_frees_quota)
{
	pid_t pid;

	if (!self->there)
		SKIP(return, "no memory controller in %s", CGROUP);
	ASSERT_EQ(0, write_file(CGROUP "/memory.max", "%d", 16 * MIB));
	ASSERT_EQ(0, limit_set("max_user_channels", 1));
	pid = spawn();
	if (!pid) {
		int i, fd;

		if (cgroup_enter() || become(UID_USER))
			_exit(1);
		for (i = 0; i < 10; i++)
			if (create_beyond(NULL) != -ENOMEM)
				_exit(2);
		wait_for((fd = channel_create(NULL, 0, 64, 8 * MIB / 64, 0)) != -ENOMEM,
			 PATIENCE_MS);
		if (fd < 0)
			_exit(3);
		_exit(channel_create(NULL, 0, 8, 2, 0) == -EDQUOT ? 0 : 4);
	}
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(0, limits_set(&default_limits));
}

/*
 * What one channel held is not seen in the next. Everything a user can write is
 * filled, and channels of the same size, which are likely to get the same
 * pages, are looked through for anything but the kernel's own words.
 */
static size_t count_foreign(struct end *end)
{
	struct scatto_channel_area area;
	size_t n = 0, i, k;

	memcpy(&area, (void *)end->area, sizeof(area));
	/* The words of the header are known; the padding is not excused. */
	area.magic = 0;
	area.abi = 0;
	area.kind = 0;
	area.flags = 0;
	area.slot_size = 0;
	area.slot_stride = 0;
	area.capacity = 0;
	area.id = 0;
	area.data_wake = 0;
	area.space_wake = 0;
	area.end = 0;
	area.state = 0;
	area.producers = 0;
	area.consumers = 0;
	for (i = 0; i < sizeof(area); i++)
		n += !!((unsigned char *)&area)[i];
	for (i = sizeof(area); i < end->layout.region[0].size; i++)
		n += !!((unsigned char *)end->area)[i];
	for (k = 1; k < SCATTO_NR_REGIONS; k++)
		for (i = 0; i < end->layout.region[k].size; i++)
			n += !!((unsigned char *)end->map[k])[i];
	return n;
}

FIXTURE(pages) {
};

FIXTURE_SETUP(pages)
{
}

FIXTURE_TEARDOWN(pages)
{
}

TEST_F_TIMEOUT(pages, zeroed, LONG_TEST_S)
{
	unsigned long n = test_count(1000, 50), i;
	int owner;

	for (i = 0; i < n; i++) {
		struct end end;

		owner = channel_create(NULL, 0, 64, 4096, SCATTO_F_PAUSE);
		ASSERT_GE(owner, 0);
		ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
		ASSERT_EQ(0, count_foreign(&end));
		memset((void *)end.cons, 0xa5, PAGE);
		end_drop(&end);
		ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
		memset((void *)end.prod, 0xa5, PAGE);
		memset((void *)end.data, 0xa5,
		       end.layout.region[SCATTO_REGION_DATA].size);
		end_drop(&end);
		close(owner);
	}
}

TEST_HARNESS_MAIN
