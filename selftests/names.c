// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names: what is one, who may use it, how long it lives, who sees it.
 */
#include <linux/capability.h>

#include "util.h"
#include "kselftest_harness.h"

/* Attaches by name and leaves again; what ATTACH said. */
static int knock(const char *name, uint32_t role)
{
	struct end end;
	int ret = end_attach_to(&end, role, -1, name);

	if (!ret)
		end_drop(&end);
	return ret;
}

static int try_create(const struct scatto_create *arg)
{
	struct scatto_create copy = *arg;
	int fd = channel_create_args(&copy);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

/* Every byte as a name, and at the end of one. */
TEST(characters)
{
	unsigned int c;

	for (c = 0; c < 256; c++) {
		bool good = c > ' ' && c <= '~' && c != '/';
		struct scatto_create arg = create_args(8, 2, 0);
		struct scatto_attach attach;
		int fd = dev_open();

		if (!c)
			continue;	/* no name at all */
		arg.mode = 0600;
		arg.name[0] = c;
		EXPECT_EQ(good ? 0 : -EINVAL, try_create(&arg)) {
			TH_LOG("byte %#x", c);
		}
		memcpy(arg.name, "a-b.c", 5);
		arg.name[5] = c;
		EXPECT_EQ(good ? 0 : -EINVAL, try_create(&arg)) {
			TH_LOG("byte %#x", c);
		}
		attach = attach_args(SCATTO_ROLE_OBSERVER, -1, "");
		memcpy(attach.name, arg.name, sizeof(attach.name));
		EXPECT_EQ(good ? -ENOENT : -EINVAL, dev_attach(fd, &attach));
		close(fd);
	}
}

TEST(length)
{
	struct scatto_create arg = create_args(8, 2, 0);
	struct scatto_attach attach = attach_args(SCATTO_ROLE_OWNER, -1, "");
	struct scatto_info info;
	unsigned int len, i;

	for (len = 1; len <= SCATTO_NAME_LEN; len++) {
		int fd, second = dev_open();

		memset(arg.name, 0, sizeof(arg.name));
		memset(arg.name, 'n', len);
		arg.mode = 0600;
		arg.id = 0;
		fd = channel_create_args(&arg);
		if (len == SCATTO_NAME_LEN) {
			EXPECT_EQ(-EINVAL, fd);
			memcpy(attach.name, arg.name, sizeof(attach.name));
			EXPECT_EQ(-EINVAL, dev_attach(second, &attach));
			close(second);
			break;
		}
		ASSERT_GE(fd, 0);
		attach = attach_args(SCATTO_ROLE_OWNER, -1, arg.name);
		EXPECT_EQ(0, dev_attach(second, &attach));
		ASSERT_EQ(0, dev_info(second, &info));
		EXPECT_EQ(0, memcmp(info.name, arg.name, sizeof(info.name)));
		close(fd);
		close(second);
	}
	/* The rest is zero, all of it. */
	for (i = 2; i < SCATTO_NAME_LEN; i++) {
		memset(arg.name, 0, sizeof(arg.name));
		arg.name[0] = 'n';
		arg.name[i] = 'n';
		EXPECT_EQ(-EINVAL, try_create(&arg));
	}
}

/* Names are compared whole, and are not paths or patterns. */
TEST(distinct)
{
	static const char * const names[] = {
		"name", "Name", "nam", "name1", "name.", ".", "..", "*", "name%s",
	};
	int fds[ARRAY_LEN(names)];
	struct scatto_info a, b;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(names); i++) {
		fds[i] = channel_create(names[i], 0600, 8, 2, 0);
		ASSERT_GE(fds[i], 0);
	}
	for (i = 0; i < ARRAY_LEN(names); i++) {
		struct end end;

		EXPECT_EQ(-EEXIST, channel_create(names[i], 0600, 8, 2, 0));
		ASSERT_EQ(0, end_attach_to(&end, SCATTO_ROLE_OBSERVER, -1, names[i]));
		ASSERT_EQ(0, dev_info(end.fd, &a));
		ASSERT_EQ(0, dev_info(fds[i], &b));
		EXPECT_EQ(b.id, a.id);
		end_drop(&end);
	}
	for (i = 0; i < ARRAY_LEN(names); i++)
		close(fds[i]);
}

/* A name lasts as long as anybody holds the channel, and no longer. */
TEST(lifetime)
{
	static const int roles[] = {
		SCATTO_ROLE_OWNER, SCATTO_ROLE_PRODUCER, SCATTO_ROLE_CONSUMER,
		SCATTO_ROLE_OBSERVER,
	};
	uint64_t last = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(roles); i++) {
		int owner = channel_create("lifetime", 0600, 8, 2, 0), again;
		struct scatto_info info;
		struct end end;

		ASSERT_GE(owner, 0);
		ASSERT_EQ(0, end_open(&end, roles[i], owner));
		ASSERT_EQ(0, dev_info(end.fd, &info));
		EXPECT_LT(last, info.id);
		last = info.id;

		close(owner);
		EXPECT_EQ(-EEXIST, channel_create("lifetime", 0600, 8, 2, 0));
		EXPECT_EQ(0, knock("lifetime", SCATTO_ROLE_OBSERVER));
		/* A mapping without an fd holds it, too. */
		close(end.fd);
		end.fd = -1;
		EXPECT_EQ(-EEXIST, channel_create("lifetime", 0600, 8, 2, 0));
		EXPECT_EQ(0, knock("lifetime", SCATTO_ROLE_OBSERVER));
		end_drop(&end);
		EXPECT_EQ(-ENOENT, knock("lifetime", SCATTO_ROLE_OBSERVER));

		again = channel_create("lifetime", 0600, 8, 2, 0);
		EXPECT_GE(again, 0);
		close(again);
	}
	/* Closing the stream is not letting go of it. */
	i = channel_create("lifetime", 0600, 8, 2, 0);
	EXPECT_EQ(0, dev_close(i));
	EXPECT_EQ(0, knock("lifetime", SCATTO_ROLE_OBSERVER));
	close(i);
	EXPECT_EQ(-ENOENT, knock("lifetime", SCATTO_ROLE_OBSERVER));
}

/* A process that dies lets go of its names. */
TEST(lifetime_of_process)
{
	pid_t pid = spawn();

	if (!pid) {
		if (channel_create("process", 0600, 8, 2, 0) < 0)
			_exit(1);
		pause();
	}
	EXPECT_TRUE(wait_for(!knock("process", SCATTO_ROLE_OBSERVER), PATIENCE_MS));
	EXPECT_EQ(128 + SIGKILL, kill_and_reap(pid));
	EXPECT_TRUE(wait_for(knock("process", SCATTO_ROLE_OBSERVER) == -ENOENT,
			     PATIENCE_MS));
}

/*
 * Rights: the class of the caller decides (owner, else group, else others) and
 * no other class is asked, as with files. All modes, all classes, all roles.
 */
TEST(modes)
{
	static const struct {
		const char *name;
		uid_t uid;
		gid_t gid, extra;
		int shift;
	} who[] = {
		{ "the owner", UID_USER, UID_USER, -1, 6 },
		{ "the owner in a group of others", UID_USER, UID_OTHER, -1, 6 },
		{ "the group", UID_OTHER, UID_USER, -1, 3 },
		{ "a supplementary group", UID_OTHER, UID_OTHER, UID_USER, 3 },
		{ "others", UID_OTHER, UID_OTHER, -1, 0 },
		{ "others in some group", UID_OTHER, UID_OTHER, 65534, 0 },
	};
	unsigned int m, i, role;

	for (m = 0; m < 64; m++) {
		/* Two bits for each class: 06 is read and write. */
		uint32_t mode = (m >> 4 & 3) << 7 | (m >> 2 & 3) << 4 | (m & 3) << 1;
		struct scatto_info info;
		int owner;

		ASSERT_EQ(0, act_as(UID_USER));
		owner = channel_create("modes", mode, 8, 2, SCATTO_F_PAUSE);
		ASSERT_GE(owner, 0);
		ASSERT_EQ(0, dev_info(owner, &info));
		EXPECT_EQ(mode, info.mode);
		EXPECT_EQ(UID_USER, info.uid);
		EXPECT_EQ(UID_USER, info.gid);

		for (i = 0; i < ARRAY_LEN(who); i++) {
			ASSERT_EQ(0, act_as_in(who[i].uid, who[i].gid, who[i].extra));
			for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER;
			     role++) {
				unsigned int bits = mode >> who[i].shift;
				bool may = role == SCATTO_ROLE_PRODUCER ? bits & 2 :
					   role == SCATTO_ROLE_OWNER ?
					   who[i].uid == UID_USER : bits & 4;

				EXPECT_EQ(may ? 0 : -EACCES, knock("modes", role)) {
					TH_LOG("mode %o, %s, role %u", mode,
					       who[i].name, role);
				}
			}
		}
		/* CAP_DAC_OVERRIDE goes before everything. */
		ASSERT_EQ(0, act_as_root());
		for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++)
			EXPECT_EQ(0, knock("modes", role));
		close(owner);
	}
}

static int drop_capability(unsigned int cap)
{
	struct __user_cap_header_struct hdr = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &hdr, data))
		return -errno;
	data[0].effective &= ~(1u << cap);
	return syscall(SYS_capset, &hdr, data) ? -errno : 0;
}

/* It is the capability that admits root, not the number. */
TEST(root_without_capability)
{
	int owner;

	ASSERT_EQ(0, act_as(UID_USER));
	owner = channel_create("capable", 0606, 8, 2, SCATTO_F_PAUSE);
	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, act_as_root());
	ASSERT_EQ(0, drop_capability(CAP_DAC_OVERRIDE));
	EXPECT_EQ(-EACCES, knock("capable", SCATTO_ROLE_OWNER));
	EXPECT_EQ(0, knock("capable", SCATTO_ROLE_PRODUCER));
	close(owner);

	owner = channel_create("capable", 0, 8, 2, SCATTO_F_PAUSE);
	ASSERT_GE(owner, 0);
	EXPECT_EQ(-EACCES, knock("capable", SCATTO_ROLE_OBSERVER));
	EXPECT_EQ(0, knock("capable", SCATTO_ROLE_OWNER));
	close(owner);
}

/* The owner by name is another owner: it may admit and close. */
TEST(owner_by_name)
{
	int owner, second = dev_open();
	struct scatto_attach arg;
	struct scatto_info info;
	struct end end;

	ASSERT_EQ(0, act_as(UID_USER));
	owner = channel_create("owners", 0, 8, 2, 0);
	ASSERT_GE(owner, 0);
	arg = attach_args(SCATTO_ROLE_OWNER, -1, "owners");
	ASSERT_EQ(0, dev_attach(second, &arg));
	close(owner);
	EXPECT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, second));
	EXPECT_EQ(0, dev_close(second));
	ASSERT_EQ(0, dev_info(end.fd, &info));
	EXPECT_EQ(SCATTO_STATE_CLOSED, info.state);
	end_drop(&end);
	close(second);
	ASSERT_EQ(0, act_as_root());
}

/* The name belongs to whom the creator was to files (setfsuid and the like). */
TEST(owner_is_effective)
{
	struct scatto_info info;
	int owner;

	ASSERT_EQ(0, setresgid(0, UID_OTHER, 0));
	ASSERT_EQ(0, setresuid(0, UID_USER, 0));
	owner = channel_create("effective", 0600, 8, 2, 0);
	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, act_as_root());
	ASSERT_EQ(0, dev_info(owner, &info));
	EXPECT_EQ(UID_USER, info.uid);
	EXPECT_EQ(UID_OTHER, info.gid);
	close(owner);
}

FIXTURE(race) {
};

FIXTURE_SETUP(race)
{
}

FIXTURE_TEARDOWN(race)
{
}

/* Of those who want a name at once exactly one gets it, every time. */
TEST_F_TIMEOUT(race, one_wins, LONG_TEST_S)
{
	enum { RACERS = 4 };
	unsigned long n = test_count(10000, 300), i;
	struct shared {
		pthread_barrier_t start, tried, left;
		unsigned long winners;
	} *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[RACERS];
	int k;

	ASSERT_NE(MAP_FAILED, sh);
	shared_barrier(&sh->start, RACERS);
	shared_barrier(&sh->tried, RACERS + 1);
	shared_barrier(&sh->left, RACERS + 1);
	for (k = 0; k < RACERS; k++) {
		pids[k] = spawn();
		if (pids[k])
			continue;
		for (i = 0; i < n; i++) {
			int fd;

			pthread_barrier_wait(&sh->start);
			fd = channel_create("race", 0600, 8, 2, 0);
			if (fd >= 0)
				__atomic_add_fetch(&sh->winners, 1, __ATOMIC_SEQ_CST);
			else if (fd != -EEXIST)
				_exit(1);
			/* Nobody lets go before all have tried. */
			pthread_barrier_wait(&sh->tried);
			close(fd);
			pthread_barrier_wait(&sh->left);
		}
		_exit(0);
	}
	for (i = 1; i <= n; i++) {
		pthread_barrier_wait(&sh->tried);
		ASSERT_EQ(i, sh->winners);
		pthread_barrier_wait(&sh->left);
	}
	for (k = 0; k < RACERS; k++)
		EXPECT_EQ(0, reap(pids[k]));
}

/* Looking a name up while its channel goes finds it whole or not at all. */
TEST_F_TIMEOUT(race, end, LONG_TEST_S)
{
	unsigned long n = test_count(20000, 1000), i, found = 0, missed = 0;
	volatile int *stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = spawn();

	if (!pid) {
		while (!*stop) {
			int fd = channel_create("ephemeral", 0600, 8, 2, 0);

			/* It is taken while our parent looks at the last one. */
			if (fd < 0 && fd != -EEXIST)
				_exit(1);
			close(fd);
		}
		_exit(0);
	}
	for (i = 0; i < n || !found || !missed; i++) {
		struct end end;
		int ret = end_attach_to(&end, SCATTO_ROLE_OBSERVER, -1, "ephemeral");

		if (!ret) {
			found++;
			ASSERT_EQ(0, end_map(&end));
			ASSERT_EQ(SCATTO_MAGIC, end.area->magic);
			end_drop(&end);
		} else {
			ASSERT_EQ(-ENOENT, ret);
			missed++;
		}
		ASSERT_NE('Z', task_state(pid));
	}
	*stop = 1;
	EXPECT_EQ(0, reap(pid));
	TH_LOG("found %lu times, not found %lu times", found, missed);
}

/* LIST of one name in the caller's namespace; 0, or -errno. */
static int find_listed(int fd, const char *name, struct scatto_list *arg)
{
	uint64_t id = 0;
	int ret;

	for (;;) {
		memset(arg, 0, sizeof(*arg));
		arg->size = sizeof(*arg);
		arg->id = id;
		ret = dev_ioctl(fd, SCATTO_IOC_LIST, arg);
		if (ret || !strcmp(arg->name, name))
			return ret;
		id = arg->id;
	}
}

/*
 * User namespaces. The child sees none of its parent's names and may use the
 * same ones; the parent sees none of the child's. Exit codes tell where it
 * went wrong.
 */
#define CHECK(cond)	do { if (!(cond)) _exit(__LINE__ % 250 + 1); } while (0)

static void in_namespace(int parents, int sock)
{
	int fd = dev_open(), owner;
	struct scatto_attach arg;
	struct scatto_info info;
	struct scatto_list list;
	struct end end;

	CHECK(!unshare(CLONE_NEWUSER));
	CHECK(dev_list_count(fd) == 0);
	CHECK(knock("ours", SCATTO_ROLE_OBSERVER) == -ENOENT);
	CHECK(knock("ours", SCATTO_ROLE_OWNER) == -ENOENT);

	owner = channel_create("ours", 0666, 8, 4, 0);
	CHECK(owner >= 0);
	CHECK(channel_create("ours", 0666, 8, 4, 0) == -EEXIST);
	CHECK(dev_list_count(fd) == 1);
	CHECK(!find_listed(fd, "ours", &list));
	CHECK(list.capacity == 4);
	/* Nobody has been mapped yet. */
	CHECK(list.uid == 65534);
	/* What binds is where one is, not where the device was opened. */
	arg = attach_args(SCATTO_ROLE_OBSERVER, -1, "ours");
	CHECK(!dev_attach(fd, &arg));
	CHECK(arg.layout.capacity == 4);

	/* An fd of the parent's works; its owner's number means nothing here. */
	CHECK(!dev_info(parents, &info));
	CHECK(info.uid == 65534 && info.gid == 65534);
	CHECK(!end_open(&end, SCATTO_ROLE_OBSERVER, parents));
	end_drop(&end);
	close(parents);

	CHECK(!step_give(sock));
	CHECK(!step_take(sock));
	_exit(0);
}

TEST(namespaces)
{
	int owner, fd, sv[2], before;
	struct scatto_list list;
	struct scatto_info mine, found;
	struct end end;
	pid_t pid;

	ASSERT_EQ(0, act_as(UID_USER));
	fd = dev_open();
	before = dev_list_count(fd);
	owner = channel_create("ours", 0600, 8, 2, 0);
	ASSERT_GE(owner, 0);
	ASSERT_EQ(0, act_as_root());
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		close(sv[0]);
		if (become(UID_USER))
			_exit(1);
		in_namespace(owner, sv[1]);
	}
	close(sv[1]);
	EXPECT_EQ(0, step_take(sv[0])) {
		TH_LOG("the child failed at line %d mod 250", reap(pid) - 1);
	}
	/* Its channel exists, and is not ours. */
	EXPECT_EQ(before + 1, dev_list_count(fd));
	ASSERT_EQ(0, find_listed(fd, "ours", &list));
	EXPECT_EQ(2, list.capacity);
	EXPECT_EQ(UID_USER, list.uid);
	ASSERT_EQ(0, end_attach_to(&end, SCATTO_ROLE_OBSERVER, -1, "ours"));
	ASSERT_EQ(0, dev_info(owner, &mine));
	ASSERT_EQ(0, dev_info(end.fd, &found));
	EXPECT_EQ(mine.id, found.id);
	end_drop(&end);
	close(owner);
	EXPECT_EQ(-ENOENT, knock("ours", SCATTO_ROLE_OBSERVER));
	EXPECT_EQ(before, dev_list_count(fd));
	step_give(sv[0]);
	EXPECT_EQ(0, reap(pid));
}

/* Root of a namespace overrides modes there, and only there. */
TEST(namespace_root)
{
	int theirs, sv[2], role;
	pid_t pid;

	ASSERT_EQ(0, act_as(UID_OTHER));
	theirs = channel_create("theirs", 0, 8, 2, SCATTO_F_PAUSE);
	ASSERT_GE(theirs, 0);
	ASSERT_EQ(0, act_as_root());
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		int fd;

		CHECK(!become(UID_USER));
		CHECK(knock("theirs", SCATTO_ROLE_OBSERVER) == -EACCES);
		CHECK(!unshare(CLONE_NEWUSER));
		CHECK(knock("theirs", SCATTO_ROLE_OBSERVER) == -ENOENT);
		/* It has all capabilities here, so a mode of 0 is none to it. */
		fd = channel_create("zero", 0, 8, 2, SCATTO_F_PAUSE);
		CHECK(fd >= 0);
		for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++)
			CHECK(!knock("zero", role));
		CHECK(!drop_capability(CAP_DAC_OVERRIDE));
		CHECK(!knock("zero", SCATTO_ROLE_OWNER));
		CHECK(knock("zero", SCATTO_ROLE_PRODUCER) == -EACCES);
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
	close(theirs);
}

TEST_HARNESS_MAIN
