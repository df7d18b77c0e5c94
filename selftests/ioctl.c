// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every errno of every ioctl, and that a call which fails changes nothing: the
 * same open can still be bound, no place is taken, no quota is used, nobody
 * sees a peer or a channel.
 */
#include <sys/time.h>

#include "many.h"
#include "kselftest_harness.h"
#include "ioctl32.h"

RESTORE_LIMITS

#define BYTES		(4 * 4096)	/* of a channel of 64 slots of 8 */

/* A field with a value it must not have. */
struct wrong {
	const char *what;
	size_t at, width;
	uint64_t value;
	int err;
};

#define WRONG(type, field, value, err) \
	{ #field " = " #value, offsetof(struct type, field), \
	  sizeof(((struct type *)0)->field), (uint64_t)(value), -(err) }

static void spoil(void *arg, const struct wrong *w)
{
	memcpy((char *)arg + w->at, &w->value, w->width);
}

/*
 * A user who may have two channels and has one. On it sit a producer, a
 * consumer (both mapped) and an observer.
 */
FIXTURE(call) {
	int owner, unbound, observer, null;
	struct end prod, cons;
	struct scatto_info before;
	int listed;
	unsigned char *page;	/* and a read-only one, and then nothing */
};

FIXTURE_SETUP(call)
{
	struct scatto_query few;
	struct end observer;

	self->unbound = dev_open();
	ASSERT_GE(self->unbound, 0);
	self->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->null, 0);
	few = default_limits;
	few.max_user_bytes = 2 * BYTES;
	few.max_user_channels = 2;
	ASSERT_EQ(0, limits_set(&few));
	ASSERT_EQ(0, act_as(UID_USER));

	self->owner = channel_create("call", 0600, 8, 64, SCATTO_F_PAUSE);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, end_open(&self->prod, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->cons, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, end_attach(&observer, SCATTO_ROLE_OBSERVER, self->owner));
	self->observer = observer.fd;

	self->page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	ASSERT_EQ(0, mprotect(self->page + 2 * 4096, 4096, PROT_NONE));
	self->listed = dev_list_count(self->unbound);
	ASSERT_GE(self->listed, 1);
	ASSERT_EQ(0, dev_info(self->owner, &self->before));
}

FIXTURE_TEARDOWN(call)
{
	end_drop(&self->prod);
	end_drop(&self->cons);
	close(self->observer);
	close(self->owner);
	EXPECT_EQ(0, act_as_root());
	EXPECT_EQ(0, limits_set(&default_limits));
}

/* As in the beginning? But for who went to sleep. */
static bool unchanged(FIXTURE_DATA(call) *self)
{
	struct scatto_info now;

	if (dev_info(self->owner, &now))
		return false;
	now.data_sleeps = self->before.data_sleeps;
	now.space_sleeps = self->before.space_sleeps;
	return dev_list_count(self->unbound) == self->listed &&
	       !memcmp(&now, &self->before, sizeof(now)) &&
	       self->cons.area->producers == 1 && self->prod.area->consumers == 1;
}

static int producer_leaves(FIXTURE_DATA(call) *self)
{
	end_drop(&self->prod);
	return dev_info(self->owner, &self->before);
}

/* Can this open still be bound, and is the second channel still to be had? */
static int still_creates(int fd)
{
	struct scatto_create arg = create_args(8, 64, 0);

	return dev_create(fd, &arg);
}

static int still_attaches(FIXTURE_DATA(call) *self, int fd)
{
	struct scatto_attach arg =
		attach_args(SCATTO_ROLE_PRODUCER, self->owner, NULL);

	return dev_attach(fd, &arg);
}

static const struct wrong wrong_create[] = {
	WRONG(scatto_create, size, 0, EINVAL),
	WRONG(scatto_create, size, 3, EINVAL),
	WRONG(scatto_create, size, 4, EINVAL),
	WRONG(scatto_create, size, 111, EINVAL),
	WRONG(scatto_create, size, 4097, EINVAL),
	WRONG(scatto_create, size, 0xffffffff, EINVAL),
	WRONG(scatto_create, kind, 0, EINVAL),
	WRONG(scatto_create, kind, 3, EINVAL),
	WRONG(scatto_create, kind, 0x101, EINVAL),
	WRONG(scatto_create, kind, 0xffffffff, EINVAL),
	WRONG(scatto_create, flags, SCATTO_F_SHARED, EINVAL),
	WRONG(scatto_create, flags, SCATTO_F_KERNEL, EINVAL),
	WRONG(scatto_create, flags, SCATTO_F_FENCE, EINVAL),
	WRONG(scatto_create, flags, SCATTO_F_KERNEL | SCATTO_F_PAUSE, EINVAL),
	WRONG(scatto_create, slot_size, 0, EINVAL),
	WRONG(scatto_create, slot_size, 1, EINVAL),
	WRONG(scatto_create, slot_size, 7, EINVAL),
	WRONG(scatto_create, slot_size, (1 << 20) + 1, EINVAL),
	WRONG(scatto_create, slot_size, 0x80000000, EINVAL),
	WRONG(scatto_create, slot_size, 0xffffffff, EINVAL),
	WRONG(scatto_create, slot_size, 1 << 20, EFBIG),
	WRONG(scatto_create, slot_size, 4096, EDQUOT),
	WRONG(scatto_create, capacity, 0, EINVAL),
	WRONG(scatto_create, capacity, 1, EINVAL),
	WRONG(scatto_create, capacity, 3, EINVAL),
	WRONG(scatto_create, capacity, 63, EINVAL),
	WRONG(scatto_create, capacity, 65, EINVAL),
	WRONG(scatto_create, capacity, (1ULL << 30) + 1, EINVAL),
	WRONG(scatto_create, capacity, 1ULL << 31, EINVAL),
	WRONG(scatto_create, capacity, 1ULL << 32, EINVAL),
	WRONG(scatto_create, capacity, (1ULL << 32) + 64, EINVAL),
	WRONG(scatto_create, capacity, 1ULL << 63, EINVAL),
	WRONG(scatto_create, capacity, ~0ULL, EINVAL),
	WRONG(scatto_create, capacity, 1ULL << 30, EFBIG),
	WRONG(scatto_create, max_producers, 2, EINVAL),
	WRONG(scatto_create, max_producers, 0xffffffff, EINVAL),
	WRONG(scatto_create, max_consumers, 2, EINVAL),
	WRONG(scatto_create, max_consumers, 0xffffffff, EINVAL),
	WRONG(scatto_create, mode, 0001, EINVAL),
	WRONG(scatto_create, mode, 0111, EINVAL),
	WRONG(scatto_create, mode, 0700, EINVAL),
	WRONG(scatto_create, mode, 01000, EINVAL),
	WRONG(scatto_create, mode, 0100000, EINVAL),
	WRONG(scatto_create, mode, 0xffffffff, EINVAL),
	WRONG(scatto_create, reserved0, 1, EINVAL),
	WRONG(scatto_create, reserved0, 0x80000000, EINVAL),
	WRONG(scatto_create, id, 1, EINVAL),
	WRONG(scatto_create, id, 1ULL << 63, EINVAL),
	{ "a name of '/'", offsetof(struct scatto_create, name), 1, '/', -EINVAL },
	{ "a name behind a zero", offsetof(struct scatto_create, name) + 1, 1, 'a',
	  -EINVAL },
	{ "a taken name", offsetof(struct scatto_create, name), 8,
	  0x6c6c6163 /* "call" */, -EEXIST },
};

TEST_F(call, create)
{
	unsigned int i, bit;

	for (i = 0; i < ARRAY_LEN(wrong_create); i++) {
		struct scatto_create arg = create_args(8, 64, 0);
		int fd = dev_open();

		spoil(&arg, &wrong_create[i]);
		EXPECT_EQ(wrong_create[i].err, dev_create(fd, &arg)) {
			TH_LOG("%s", wrong_create[i].what);
		}
		EXPECT_TRUE(unchanged(self));
		EXPECT_EQ(0, still_creates(fd)) {
			TH_LOG("after %s", wrong_create[i].what);
		}
		close(fd);
	}
	for (bit = 0; bit < 32; bit++) {
		struct scatto_create arg = create_args(8, 64, 1u << bit);
		int fd = dev_open();

		EXPECT_EQ(1u << bit & SCATTO_F_PAUSE ? 0 : -EINVAL,
			  dev_create(fd, &arg)) {
			TH_LOG("flag %u", bit);
		}
		close(fd);
	}
}

/* A mode without a name would be a right to nothing. */
TEST_F(call, create_mode_needs_name)
{
	static const unsigned int modes[] = { 0400, 0200, 0040, 0666 };
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(modes); i++) {
		struct scatto_create arg = create_args(8, 64, 0);

		arg.mode = modes[i];
		EXPECT_EQ(-EINVAL, dev_create(self->unbound, &arg));
		create_named(&arg, "second", modes[i]);
		EXPECT_EQ(0, dev_create(self->unbound, &arg));
		close(self->unbound);
		self->unbound = dev_open();
	}
}

/* The defaults may be written out; what comes out is only the id. */
TEST_F(call, create_ok)
{
	struct scatto_create arg = create_args(8, 64, 0), in;

	arg.max_producers = 1;
	arg.max_consumers = 1;
	in = arg;
	EXPECT_EQ(0, dev_create(self->unbound, &arg));
	EXPECT_LT(self->before.id, arg.id);
	in.id = arg.id;
	EXPECT_EQ(0, memcmp(&in, &arg, sizeof(in)));
}

/* Two channels are the limit, and it is not the failures that used it up. */
TEST_F(call, create_quota)
{
	struct scatto_create arg = create_args(8, 64, 0);
	int fd = dev_open(), second = dev_open(), i;

	EXPECT_EQ(0, dev_create(second, &arg));
	for (i = 0; i < 20; i++) {
		arg = create_args(8, 64, 0);
		EXPECT_EQ(-EDQUOT, dev_create(fd, &arg));
		EXPECT_EQ(0, arg.id);
	}
	close(second);
	EXPECT_EQ(0, still_creates(fd));
}

static const struct wrong wrong_attach[] = {
	WRONG(scatto_attach, size, 0, EINVAL),
	WRONG(scatto_attach, size, 96, EINVAL),
	WRONG(scatto_attach, size, 279, EINVAL),
	WRONG(scatto_attach, size, 4097, EINVAL),
	WRONG(scatto_attach, role, 0, EINVAL),
	WRONG(scatto_attach, role, 5, EINVAL),
	WRONG(scatto_attach, role, 0x102, EINVAL),
	WRONG(scatto_attach, role, 0xffffffff, EINVAL),
	WRONG(scatto_attach, role, SCATTO_ROLE_CONSUMER, EBUSY),
	WRONG(scatto_attach, channel_fd, -1, EINVAL),
	WRONG(scatto_attach, channel_fd, -2, EBADF),
	WRONG(scatto_attach, channel_fd, 0x7fffffff, EBADF),
	WRONG(scatto_attach, channel_fd, 100000, EBADF),
	WRONG(scatto_attach, index, 1, EINVAL),
	WRONG(scatto_attach, reserved0, 1, EINVAL),
	WRONG(scatto_attach, reserved0, 0x80000000, EINVAL),
	WRONG(scatto_attach, position, 1, EINVAL),
	WRONG(scatto_attach, position, 1ULL << 63, EINVAL),
	{ "a name as well", offsetof(struct scatto_attach, name), 8, 0x6c6c6163,
	  -EINVAL },
	{ "the last byte of a name", offsetof(struct scatto_attach, name) + 63, 1, 1,
	  -EINVAL },
};

TEST_F(call, attach)
{
	unsigned int i, bit;

	ASSERT_EQ(0, producer_leaves(self));
	for (i = 0; i < ARRAY_LEN(wrong_attach); i++) {
		struct scatto_attach arg =
			attach_args(SCATTO_ROLE_PRODUCER, self->owner, NULL);
		struct scatto_info now;
		int fd = dev_open();

		spoil(&arg, &wrong_attach[i]);
		EXPECT_EQ(wrong_attach[i].err, dev_attach(fd, &arg)) {
			TH_LOG("%s", wrong_attach[i].what);
		}
		ASSERT_EQ(0, dev_info(self->owner, &now));
		EXPECT_EQ(0, memcmp(&now, &self->before, sizeof(now)));
		EXPECT_EQ(0, self->cons.area->producers);
		EXPECT_EQ(0, still_attaches(self, fd)) {
			TH_LOG("after %s", wrong_attach[i].what);
		}
		close(fd);
	}
	for (bit = 0; bit < 32; bit++) {
		struct scatto_attach arg =
			attach_args(SCATTO_ROLE_PRODUCER, self->owner, NULL);

		arg.flags = 1u << bit;
		EXPECT_EQ(-EINVAL, dev_attach(self->unbound, &arg)) {
			TH_LOG("flag %u", bit);
		}
	}
	for (i = 0; i < sizeof(struct scatto_layout); i++) {
		struct scatto_attach arg =
			attach_args(SCATTO_ROLE_PRODUCER, self->owner, NULL);

		((char *)&arg.layout)[i] = 1;
		EXPECT_EQ(-EINVAL, dev_attach(self->unbound, &arg)) {
			TH_LOG("byte %u of the layout", i);
		}
	}
	EXPECT_EQ(0, still_attaches(self, self->unbound));
}

/* What is behind the fd decides. */
TEST_F(call, attach_fds)
{
	struct scatto_attach arg;
	int fd = dev_open();
	unsigned int i, role;
	struct {
		int fd, err[5];		/* by role */
	} t[] = {
		{ self->null, { 0, -EINVAL, -EINVAL, -EINVAL, -EINVAL } },
		{ self->unbound, { 0, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN } },
		{ fd, { 0, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN } },
		{ self->prod.fd, { 0, -EPERM, -EPERM, -EPERM, 0 } },
		{ self->cons.fd, { 0, -EPERM, -EPERM, -EPERM, 0 } },
		{ self->observer, { 0, -EPERM, -EPERM, -EPERM, 0 } },
		{ self->owner, { 0, 0, -EBUSY, -EBUSY, 0 } },
	};

	for (i = 0; i < ARRAY_LEN(t); i++) {
		for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++) {
			arg = attach_args(role, t[i].fd, NULL);
			EXPECT_EQ(t[i].err[role], dev_attach(fd, &arg)) {
				TH_LOG("role %u through fd %u", role, i);
			}
			if (!t[i].err[role]) {
				close(fd);
				fd = dev_open();
				t[2].fd = fd;
			}
			EXPECT_TRUE(unchanged(self));
		}
	}
}

TEST_F(call, attach_names)
{
	struct scatto_attach arg;
	struct scatto_info info;

	ASSERT_EQ(0, producer_leaves(self));
	arg = attach_args(SCATTO_ROLE_PRODUCER, -1, "no-such");
	EXPECT_EQ(-ENOENT, dev_attach(self->unbound, &arg));
	arg = attach_args(SCATTO_ROLE_PRODUCER, -1, "cal");
	EXPECT_EQ(-ENOENT, dev_attach(self->unbound, &arg));
	arg = attach_args(SCATTO_ROLE_PRODUCER, -1, "call2");
	EXPECT_EQ(-ENOENT, dev_attach(self->unbound, &arg));
	arg = attach_args(SCATTO_ROLE_PRODUCER, -1, "");
	EXPECT_EQ(-EINVAL, dev_attach(self->unbound, &arg));
	arg = attach_args(SCATTO_ROLE_PRODUCER, -1, "call");
	arg.name[5] = 1;
	EXPECT_EQ(-EINVAL, dev_attach(self->unbound, &arg));
	ASSERT_EQ(0, act_as(UID_OTHER));
	arg = attach_args(SCATTO_ROLE_PRODUCER, -1, "call");
	EXPECT_EQ(-EACCES, dev_attach(self->unbound, &arg));
	ASSERT_EQ(0, act_as(UID_USER));

	EXPECT_EQ(-ENOTCONN, dev_info(self->unbound, &info));
	arg = attach_args(SCATTO_ROLE_PRODUCER, -1, "call");
	EXPECT_EQ(0, dev_attach(self->unbound, &arg));
	EXPECT_EQ(0, dev_info(self->unbound, &info));
	EXPECT_EQ(self->before.id, info.id);
}

/* Streams that have ended, or that nobody will read, admit nobody new. */
TEST_F(call, attach_epipe)
{
	static const struct {
		int leaves;		/* a role, or 0: the owner closes */
		int prod, cons, owner, observer;
	} t[] = {
		{ SCATTO_ROLE_PRODUCER, -EPIPE, 0, 0, 0 },
		{ SCATTO_ROLE_CONSUMER, -EPIPE, -EPIPE, 0, 0 },
		{ 0, -EPIPE, 0, 0, 0 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(t); i++) {
		int owner = channel_create(NULL, 0, 8, 64, 0);
		struct end end;

		ASSERT_GE(owner, 0);
		if (t[i].leaves) {
			ASSERT_EQ(0, end_open(&end, t[i].leaves, owner));
			end_drop(&end);
		} else {
			EXPECT_EQ(0, dev_close(owner));
		}
		EXPECT_EQ(t[i].prod, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
		EXPECT_EQ(t[i].cons, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
		end_drop(&end);
		EXPECT_EQ(t[i].owner, end_open(&end, SCATTO_ROLE_OWNER, owner));
		end_drop(&end);
		EXPECT_EQ(t[i].observer, end_open(&end, SCATTO_ROLE_OBSERVER, owner));
		end_drop(&end);
		close(owner);
	}
}

/* Once bound, always bound, and to the same. */
TEST_F(call, bound_twice)
{
	int fds[] = { self->owner, self->prod.fd, self->cons.fd, self->observer };
	unsigned int i, role;

	for (i = 0; i < ARRAY_LEN(fds); i++) {
		struct scatto_create create = create_args(8, 64, 0);

		EXPECT_EQ(-EISCONN, dev_create(fds[i], &create));
		for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++) {
			struct scatto_attach arg =
				attach_args(role, self->owner, NULL);

			EXPECT_EQ(-EISCONN, dev_attach(fds[i], &arg));
			arg = attach_args(role, fds[i], NULL);
			EXPECT_EQ(-EISCONN, dev_attach(fds[i], &arg));
		}
		EXPECT_TRUE(unchanged(self));
	}
	EXPECT_EQ(0, dev_close(self->prod.fd));
	EXPECT_EQ(-EISCONN, still_attaches(self, self->prod.fd));
}

struct race {
	pthread_barrier_t *start;
	int fd, owner, ret;
};

static void *race_to_bind(void *p)
{
	struct race *r = p;
	struct scatto_create create = create_args(8, 64, 0);
	struct scatto_attach attach =
		attach_args(SCATTO_ROLE_PRODUCER, r->owner, NULL);

	pthread_barrier_wait(r->start);
	r->ret = r->owner < 0 ? dev_create(r->fd, &create) :
				dev_attach(r->fd, &attach);
	return NULL;
}

/* Two threads on one open: one binds it. Two opens for one place: one gets it. */
TEST_F_TIMEOUT(call, bound_once, LONG_TEST_S)
{
	unsigned long n = test_count(5000, 200), i, k, won[4] = {};
	pthread_barrier_t start;

	ASSERT_EQ(0, producer_leaves(self));
	pthread_barrier_init(&start, NULL, 2);
	for (i = 0; i < n; i++) {
		bool same = i % 2;
		struct race r[2];
		pthread_t th;

		for (k = 0; k < 2; k++) {
			r[k].start = &start;
			r[k].fd = k && same ? r[0].fd : dev_open();
			r[k].owner = same && i % 4 == 1 && k ? -1 : self->owner;
			r[k].ret = 1;
		}
		ASSERT_EQ(0, pthread_create(&th, NULL, race_to_bind, &r[1]));
		race_to_bind(&r[0]);
		pthread_join(th, NULL);

		ASSERT_EQ(1, !r[0].ret + !r[1].ret);
		ASSERT_EQ(same ? -EISCONN : -EBUSY, r[0].ret + r[1].ret);
		won[i % 4] += !r[0].ret;
		close(r[0].fd);
		if (!same)
			close(r[1].fd);
		ASSERT_EQ(0, self->cons.area->producers);
	}
	TH_LOG("the first won %lu %lu %lu %lu of %lu each", won[0], won[1], won[2],
	       won[3], n / 4);
}

/* Everything but the size comes in as zero. */
TEST_F(call, blank)
{
	static const struct {
		const char *name;
		unsigned long cmd;
		size_t first, size;
	} t[] = {
		{ "QUERY", SCATTO_IOC_QUERY, 4, sizeof(struct scatto_query) },
		{ "LIST", SCATTO_IOC_LIST, 4, 8 },
		{ "LIST", SCATTO_IOC_LIST, 16, sizeof(struct scatto_list) },
		{ "INFO", SCATTO_IOC_INFO, 4, sizeof(struct scatto_info) },
	};
	unsigned int i, at;

	for (i = 0; i < ARRAY_LEN(t); i++) {
		for (at = t[i].first; at < t[i].size; at++) {
			unsigned char arg[1024] = {};
			uint32_t size = t[i].cmd == SCATTO_IOC_LIST ?
					sizeof(struct scatto_list) : t[i].size;

			memcpy(arg, &size, sizeof(size));
			arg[at] = 0x80;
			EXPECT_EQ(-EINVAL, dev_ioctl(self->prod.fd, t[i].cmd, arg)) {
				TH_LOG("%s, byte %u", t[i].name, at);
			}
			arg[at] = 0;
			ASSERT_EQ(0, dev_ioctl(self->prod.fd, t[i].cmd, arg));
		}
	}
}

TEST_F(call, list_end)
{
	struct scatto_list arg = { .size = sizeof(arg), .id = ~0ULL };

	EXPECT_EQ(-ENOENT, dev_ioctl(self->unbound, SCATTO_IOC_LIST, &arg));
	arg.id = self->before.id;
	EXPECT_EQ(-ENOENT, dev_ioctl(self->unbound, SCATTO_IOC_LIST, &arg));
	EXPECT_EQ(self->before.id, arg.id);
	EXPECT_EQ(0, arg.name[0]);
}

static const struct wrong wrong_wait[] = {
	WRONG(scatto_wait, size, 0, EINVAL),
	WRONG(scatto_wait, size, 39, EINVAL),
	WRONG(scatto_wait, size, 4097, EINVAL),
	WRONG(scatto_wait, enough, 1, EINVAL),
	WRONG(scatto_wait, enough, ~0ULL, EINVAL),
	WRONG(scatto_wait, deadline, 1, EINVAL),
	WRONG(scatto_wait, deadline, ~0ULL, EINVAL),
	WRONG(scatto_wait, wake_fd, 1, EINVAL),
	WRONG(scatto_wait, wake_fd, -1, EINVAL),
	WRONG(scatto_wait, reserved0, 1, EINVAL),
	WRONG(scatto_wait, reserved0, 0x80000000, EINVAL),
};

TEST_F(call, wait)
{
	int fds[] = { self->prod.fd, self->cons.fd };
	struct scatto_wait arg;
	unsigned int i, k, bit;

	for (k = 0; k < ARRAY_LEN(fds); k++) {
		/* Position 0 is reached: a wait for it is over at once. */
		for (i = 0; i < ARRAY_LEN(wrong_wait); i++) {
			arg = (struct scatto_wait){ .size = sizeof(arg) };
			spoil(&arg, &wrong_wait[i]);
			EXPECT_EQ(wrong_wait[i].err,
				  dev_ioctl(fds[k], SCATTO_IOC_WAIT, &arg)) {
				TH_LOG("%s", wrong_wait[i].what);
			}
		}
		for (bit = 3; bit < 32; bit++) {
			arg = (struct scatto_wait){ .size = sizeof(arg),
						    .flags = 1u << bit };
			EXPECT_EQ(-EINVAL, dev_ioctl(fds[k], SCATTO_IOC_WAIT, &arg)) {
				TH_LOG("flag %u", bit);
			}
		}
		arg = (struct scatto_wait){ .size = sizeof(arg), .want = 1,
					    .flags = SCATTO_WAIT_ENOUGH, .enough = 2 };
		EXPECT_EQ(-EINVAL, dev_ioctl(fds[k], SCATTO_IOC_WAIT, &arg));
		arg.want = 0;
		arg.enough = 0;
		EXPECT_EQ(0, dev_ioctl(fds[k], SCATTO_IOC_WAIT, &arg));
		EXPECT_EQ(0, dev_wait(fds[k], 0, -1));
	}
	EXPECT_TRUE(unchanged(self));
}

TEST_F(call, wait_wake_fd)
{
	struct end gone;
	unsigned int i;
	int other = channel_create(NULL, 0, 8, 64, 0);
	struct {
		int fd, ret;
	} t[] = {
		{ -1, -EBADF },
		{ 100000, -EBADF },
		{ self->null, -EINVAL },
		{ self->unbound, -ENOTCONN },
		{ self->owner, -EPERM },
		{ self->observer, -EPERM },
		{ -2, -EPIPE },
		{ self->prod.fd, 0 },
		{ self->cons.fd, 0 },
	};

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, end_attach(&gone, SCATTO_ROLE_CONSUMER, other));
	ASSERT_EQ(0, dev_close(gone.fd));
	for (i = 0; i < ARRAY_LEN(t); i++) {
		struct scatto_wait arg = {
			.size = sizeof(arg), .flags = SCATTO_WAIT_WAKE,
			.wake_fd = t[i].fd == -2 ? gone.fd : t[i].fd,
		};

		EXPECT_EQ(t[i].ret, dev_ioctl(self->cons.fd, SCATTO_IOC_WAIT, &arg)) {
			TH_LOG("wake_fd %u", i);
		}
	}
	end_drop(&gone);
	close(other);
}

static void nothing(int sig)
{
	(void)sig;
}

TEST_F(call, wait_results)
{
	int fds[] = { self->prod.fd, self->cons.fd };
	struct sigaction sa = { .sa_handler = nothing };
	struct itimerval soon = { .it_value.tv_usec = 50000 };
	struct scatto_wait arg;
	unsigned int k;

	sigaction(SIGALRM, &sa, NULL);
	for (k = 0; k < ARRAY_LEN(fds); k++) {
		uint64_t began = now_ns();

		EXPECT_EQ(-ETIMEDOUT, dev_wait(fds[k], 1, 30));
		EXPECT_LE(began + 30000000, now_ns());
		arg = (struct scatto_wait){ .size = sizeof(arg), .want = 1,
					    .flags = SCATTO_WAIT_DEADLINE };
		EXPECT_EQ(-ETIMEDOUT, dev_ioctl(fds[k], SCATTO_IOC_WAIT, &arg));

		EXPECT_EQ(0, fcntl(fds[k], F_SETFL, O_NONBLOCK));
		EXPECT_EQ(-EAGAIN, dev_wait(fds[k], 1, -1));
		EXPECT_EQ(-EAGAIN, dev_wait(fds[k], 1, 1000));
		EXPECT_EQ(0, dev_wait(fds[k], 0, -1));
		EXPECT_EQ(0, fcntl(fds[k], F_SETFL, 0));

		setitimer(ITIMER_REAL, &soon, NULL);
		EXPECT_EQ(-EINTR, dev_wait(fds[k], 1, PATIENCE_MS));
		EXPECT_TRUE(unchanged(self));
	}
	for (k = 0; k < ARRAY_LEN(fds); k++) {
		EXPECT_EQ(0, dev_close(fds[k]));
		EXPECT_EQ(-EPIPE, dev_wait(fds[k], 1, PATIENCE_MS));
		EXPECT_EQ(-EPIPE, dev_wait(fds[k], 0, -1));
	}
}

TEST_F(call, wake)
{
	EXPECT_EQ(0, dev_wake(self->prod.fd));
	EXPECT_EQ(0, dev_wake(self->cons.fd));
	EXPECT_EQ(-EPERM, dev_wake(self->owner));
	EXPECT_EQ(-EPERM, dev_wake(self->observer));
	EXPECT_EQ(-EINVAL, dev_ioctl(self->prod.fd, SCATTO_IOC_WAKE, (void *)1));
	EXPECT_EQ(-EINVAL, dev_ioctl(self->cons.fd, SCATTO_IOC_WAKE, self->page));
	EXPECT_TRUE(unchanged(self));
	EXPECT_EQ(0, dev_close(self->prod.fd));
	EXPECT_EQ(-EPIPE, dev_wake(self->prod.fd));
}

/* WAIT and WAKE in short: what is refused, and that nothing else happens. */
TEST_F(call, seek)
{
	struct {
		int fd;
		uint64_t offset;
		int whence, ret;
	} t[] = {
		{ self->unbound, 0, SEEK_DATA, -ENOTCONN },
		{ self->unbound, 0, SEEK_HOLE, -ENOTCONN },
		{ self->unbound, SCATTO_SEEK(0, self->prod.fd), SEEK_END, -ENOTCONN },
		{ self->unbound, 0, SEEK_SET, -ESPIPE },
		{ self->owner, 0, SEEK_DATA, -EPERM },
		{ self->owner, 0, SEEK_HOLE, -EPERM },
		{ self->observer, 0, SEEK_DATA, -EPERM },
		{ self->observer, SCATTO_SEEK(0, self->prod.fd), SEEK_END, -EPERM },
		/* WAKE has no argument. */
		{ self->prod.fd, 1, SEEK_DATA, -EINVAL },
		{ self->prod.fd, 1ULL << 63, SEEK_DATA, -EINVAL },
		{ self->cons.fd, 1ULL << 32, SEEK_HOLE, -EINVAL },
		{ self->cons.fd, 1ULL << 63, SEEK_DATA, -EINVAL },
		{ self->prod.fd, -1, SEEK_HOLE, -EINVAL },
		/* What asks for the size of a file wakes nobody. */
		{ self->unbound, 0, SEEK_END, -ESPIPE },
		{ self->owner, 0, SEEK_END, -ESPIPE },
		{ self->prod.fd, 0, SEEK_END, -ESPIPE },
		{ self->cons.fd, 0xffffffff, SEEK_END, -ESPIPE },
		{ self->cons.fd, -1, SEEK_END, -ESPIPE },
		{ self->cons.fd, 1ULL << 63, SEEK_END, -ESPIPE },
		{ self->cons.fd, SCATTO_SEEK(0, -1), SEEK_END, -ESPIPE },
		{ self->cons.fd, SCATTO_SEEK(0, -2), SEEK_END, -ESPIPE },
		{ self->cons.fd, SCATTO_SEEK(0, 100000), SEEK_END, -EBADF },
		{ self->cons.fd, SCATTO_SEEK(0, INT32_MAX - 1), SEEK_END, -EBADF },
		{ self->cons.fd, SCATTO_SEEK(0, self->null), SEEK_END, -EINVAL },
		{ self->cons.fd, SCATTO_SEEK(0, self->unbound), SEEK_END, -ENOTCONN },
		{ self->cons.fd, SCATTO_SEEK(0, self->owner), SEEK_END, -EPERM },
		{ self->cons.fd, SCATTO_SEEK(0, self->observer), SEEK_END, -EPERM },
		{ self->prod.fd, SCATTO_SEEK(0, self->cons.fd), SEEK_END, -EPERM },
		{ self->cons.fd, 0, 5, -EINVAL },
		{ self->cons.fd, 0, -1, -EINVAL },
		/* Position 0 is reached. */
		{ self->cons.fd, 0, SEEK_DATA, 0 },
		{ self->prod.fd, 0, SEEK_HOLE, 0 },
		{ self->cons.fd, SCATTO_SEEK(0, self->prod.fd), SEEK_END, 0 },
		{ self->cons.fd, SCATTO_SEEK(0, self->cons.fd), SEEK_END, 0 },
		{ self->cons.fd, 0, SEEK_HOLE, 0 },
		{ self->prod.fd, 0, SEEK_DATA, 0 },
	};
	struct {
		int fd;
		uint64_t offset;
		int whence;
	} sleeps[] = {
		{ self->prod.fd, 1, SEEK_HOLE },
		{ self->cons.fd, 1, SEEK_DATA },
		{ self->cons.fd, SCATTO_SEEK(1, self->prod.fd), SEEK_END },
	};
	struct sigaction sa = { .sa_handler = nothing };
	/* Again and again: the first may come before the call sleeps. */
	struct itimerval soon = { { 0, 20000 }, { 0, 20000 } }, never = {};
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(t); i++)
		EXPECT_EQ(t[i].ret, dev_seek(t[i].fd, t[i].offset, t[i].whence)) {
			TH_LOG("call %u", i);
		}
	EXPECT_TRUE(unchanged(self));

	sigaction(SIGALRM, &sa, NULL);
	for (i = 0; i < ARRAY_LEN(sleeps); i++) {
		EXPECT_EQ(0, fcntl(sleeps[i].fd, F_SETFL, O_NONBLOCK));
		EXPECT_EQ(-EAGAIN, dev_seek(sleeps[i].fd, sleeps[i].offset, sleeps[i].whence));
		EXPECT_EQ(0, fcntl(sleeps[i].fd, F_SETFL, 0));
		setitimer(ITIMER_REAL, &soon, NULL);
		EXPECT_EQ(-EINTR, dev_seek(sleeps[i].fd, sleeps[i].offset, sleeps[i].whence));
		setitimer(ITIMER_REAL, &never, NULL);
	}
	EXPECT_TRUE(unchanged(self));
	EXPECT_EQ(0, dev_close(self->prod.fd));
	EXPECT_EQ(-EPIPE, dev_seek(self->cons.fd, SCATTO_SEEK(0, self->prod.fd), SEEK_END));
	EXPECT_EQ(-EPIPE, dev_seek(self->prod.fd, 0, SEEK_HOLE));
	EXPECT_EQ(-EPIPE, dev_seek(self->prod.fd, 0, SEEK_DATA));
	EXPECT_EQ(0, dev_close(self->cons.fd));
	EXPECT_EQ(-EPIPE, dev_seek(self->cons.fd, 0, SEEK_HOLE));
	EXPECT_EQ(-EPIPE, dev_seek(self->cons.fd, 0, SEEK_DATA));
	EXPECT_EQ(-EPIPE, dev_seek(self->cons.fd, SCATTO_SEEK(0, self->cons.fd), SEEK_END));
}

#ifdef __x86_64__
/* _llseek(2) has all 64 bits of the offset, lseek(2) of a 32-bit program has 32. */
TEST_F(call, seek32)
{
	if (!have_ioctl32())
		SKIP(return, "the kernel has no 32-bit calls");
	self->cons.cons->cursor = 5ULL << 32;
	self->prod.prod->published = 5ULL << 32;
	EXPECT_EQ(0, fcntl(self->cons.fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(0, llseek32(self->cons.fd, 5ULL << 32, SEEK_DATA));
	EXPECT_EQ(-EAGAIN, llseek32(self->cons.fd, (5ULL << 32) + 1, SEEK_DATA));
	EXPECT_EQ(0, llseek32(self->cons.fd, 0, SEEK_HOLE));
	EXPECT_EQ(0, llseek32(self->cons.fd, SCATTO_SEEK(0, self->prod.fd), SEEK_END));
	EXPECT_EQ(-EAGAIN, llseek32(self->cons.fd, SCATTO_SEEK(1, self->prod.fd), SEEK_END));
	EXPECT_EQ(0, lseek32(self->cons.fd, 1, SEEK_DATA));
	EXPECT_EQ(-EINVAL, lseek32(self->cons.fd, INT32_MIN, SEEK_DATA));
}
#endif

TEST_F(call, close)
{
	struct scatto_info info;

	EXPECT_EQ(-EINVAL, dev_ioctl(self->prod.fd, SCATTO_IOC_CLOSE, (void *)1));
	EXPECT_EQ(-EINVAL, dev_ioctl(self->cons.fd, SCATTO_IOC_CLOSE, self->page));
	EXPECT_EQ(-EINVAL, dev_ioctl(self->owner, SCATTO_IOC_CLOSE, self->page));
	EXPECT_EQ(-EPERM, dev_close(self->observer));
	EXPECT_TRUE(unchanged(self));

	EXPECT_EQ(0, dev_close(self->prod.fd));
	EXPECT_EQ(-EPIPE, dev_close(self->prod.fd));
	EXPECT_EQ(0, dev_close(self->cons.fd));
	EXPECT_EQ(-EPIPE, dev_close(self->cons.fd));
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(0, info.state);
	EXPECT_EQ(0, info.producers);
	EXPECT_EQ(0, info.consumers);
	EXPECT_EQ(0, dev_close(self->owner));
	EXPECT_EQ(-EPIPE, dev_close(self->owner));
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(SCATTO_STATE_CLOSED, info.state);
	EXPECT_EQ(0, info.end);
}

/* Claims are of kind MPSC and are made by producers: see mpsc.c. */
TEST_F(call, claim)
{
	struct scatto_claim arg = { .size = sizeof(arg), .count = 1, .least = 1 };

	EXPECT_EQ(-EOPNOTSUPP, dev_ioctl(self->prod.fd, SCATTO_IOC_CLAIM, &arg));
	EXPECT_EQ(-EFAULT, dev_ioctl(self->prod.fd, SCATTO_IOC_CLAIM, NULL));
	EXPECT_EQ(-EPERM, dev_ioctl(self->cons.fd, SCATTO_IOC_CLAIM, &arg));
	EXPECT_EQ(-EPERM, dev_ioctl(self->owner, SCATTO_IOC_CLAIM, &arg));
	EXPECT_EQ(-EPERM, dev_ioctl(self->observer, SCATTO_IOC_CLAIM, &arg));
	EXPECT_EQ(SCATTO_FEATURE_CLAIM | SCATTO_FEATURE_MPSC,
		  limits_get().features &
		  (SCATTO_FEATURE_CLAIM | SCATTO_FEATURE_MPSC));
	EXPECT_TRUE(unchanged(self));
}

TEST_F(call, wrong_role)
{
	EXPECT_EQ(-EPERM, dev_wait(self->owner, 0, -1));
	EXPECT_EQ(-EPERM, dev_wait(self->observer, 0, -1));
	EXPECT_EQ(-EPERM, dev_wait(self->owner, 1, 10));
	EXPECT_EQ(-EPERM, dev_wait(self->observer, 1, 10));
}

TEST_F(call, unbound)
{
	static const unsigned long cmds[] = {
		SCATTO_IOC_INFO, SCATTO_IOC_CLOSE, SCATTO_IOC_WAIT,
		SCATTO_IOC_WAKE, SCATTO_IOC_CLAIM,
	};
	struct pollfd p = { self->unbound, POLLIN | POLLOUT, 0 };
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(cmds); i++) {
		EXPECT_EQ(-ENOTCONN, dev_ioctl(self->unbound, cmds[i], NULL));
		EXPECT_EQ(-ENOTCONN, dev_ioctl(self->unbound, cmds[i], self->page));
	}
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_EQ(POLLERR, p.revents);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED,
				   self->unbound, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(0, still_creates(self->unbound));
}

static bool is_known(unsigned long cmd)
{
	static const unsigned long known[] = {
		SCATTO_IOC_QUERY, SCATTO_IOC_LIST, SCATTO_IOC_CREATE,
		SCATTO_IOC_ATTACH, SCATTO_IOC_INFO, SCATTO_IOC_CLOSE,
		SCATTO_IOC_WAIT, SCATTO_IOC_WAKE, SCATTO_IOC_CLAIM,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(known); i++)
		if (known[i] == cmd)
			return true;
	return false;
}

TEST_F(call, unknown)
{
	int fds[] = { self->unbound, self->owner, self->prod.fd, self->cons.fd,
		      self->observer };
	unsigned int i, nr;

	for (i = 0; i < ARRAY_LEN(fds); i++) {
		for (nr = 0; nr < 256; nr++) {
			unsigned long cmd = _IO(SCATTO_IOC_MAGIC, nr);

			if (!is_known(cmd))
				EXPECT_EQ(-ENOTTY, dev_ioctl(fds[i], cmd, self->page));
			/* The same numbers with a direction and a size. */
			EXPECT_EQ(-ENOTTY, dev_ioctl(fds[i], cmd | _IOC_READ << 30,
						     self->page));
			EXPECT_EQ(-ENOTTY, dev_ioctl(fds[i], cmd | _IOC_WRITE << 30,
						     self->page));
			EXPECT_EQ(-ENOTTY, dev_ioctl(fds[i], cmd | 112 << 16,
						     self->page));
			/* And of somebody else's. */
			EXPECT_EQ(-ENOTTY, dev_ioctl(fds[i], _IO(0xdd, nr), self->page));
		}
	}
	EXPECT_TRUE(unchanged(self));
}

/* It is no file to read, write or seek in. */
TEST_F(call, not_a_file)
{
	int fds[] = { self->unbound, self->owner, self->prod.fd, self->cons.fd };
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(fds); i++) {
		EXPECT_EQ(-1, read(fds[i], self->page, 8));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, write(fds[i], self->page, 8));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, pread(fds[i], self->page, 8, 0));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-ESPIPE, dev_seek(fds[i], 0, SEEK_CUR));
		EXPECT_EQ(-ESPIPE, dev_seek(fds[i], 8, SEEK_SET));
		EXPECT_EQ(-1, ftruncate(fds[i], 4096));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_TRUE(unchanged(self));
}

/*
 * Pointers. The calls that bind are made on opens that are then bound for
 * real; the others have nothing to leave behind.
 */
enum { ON_NEW, ON_BOUND };

static const struct pointed {
	const char *name;
	unsigned long cmd;
	size_t size;
	int on;
	bool copies_out;
} pointed[] = {
	{ "QUERY", SCATTO_IOC_QUERY, sizeof(struct scatto_query), ON_BOUND, true },
	{ "LIST", SCATTO_IOC_LIST, sizeof(struct scatto_list), ON_BOUND, true },
	{ "CREATE", SCATTO_IOC_CREATE, sizeof(struct scatto_create), ON_NEW, true },
	{ "ATTACH", SCATTO_IOC_ATTACH, sizeof(struct scatto_attach), ON_NEW, true },
	{ "INFO", SCATTO_IOC_INFO, sizeof(struct scatto_info), ON_BOUND, true },
	{ "WAIT", SCATTO_IOC_WAIT, sizeof(struct scatto_wait), ON_BOUND, false },
};

static void fill(void *at, const struct pointed *p, int owner)
{
	uint32_t size = p->size;

	memset(at, 0, p->size);
	if (p->cmd == SCATTO_IOC_CREATE) {
		struct scatto_create arg = create_args(8, 64, 0);

		create_named(&arg, "pointed", 0666);
		memcpy(at, &arg, sizeof(arg));
	} else if (p->cmd == SCATTO_IOC_ATTACH) {
		struct scatto_attach arg =
			attach_args(SCATTO_ROLE_PRODUCER, owner, NULL);

		memcpy(at, &arg, sizeof(arg));
	} else {
		memcpy(at, &size, sizeof(size));
	}
}

/* With a tail that a later version may have. */
static void fill_tailed(unsigned char *at, const struct pointed *p, int owner, size_t tail)
{
	uint32_t size = p->size + tail;

	fill(at, p, owner);
	memcpy(at, &size, sizeof(size));
}

/* Makes the call, and has it fail without a trace. */
static bool faults(FIXTURE_DATA(call) *self, const struct pointed *p, void *arg)
{
	int fd = p->on == ON_NEW ? dev_open() : self->cons.fd, ret;
	struct scatto_info now;
	bool ok;

	ret = dev_ioctl(fd, p->cmd, arg);
	ok = ret == -EFAULT && !dev_info(self->owner, &now) &&
	     !memcmp(&now, &self->before, sizeof(now)) &&
	     dev_list_count(self->unbound) == self->listed &&
	     self->cons.area->producers == 0;
	if (p->on == ON_NEW) {
		ok = ok && dev_info(fd, &now) == -ENOTCONN;
		ok = ok && !(p->cmd == SCATTO_IOC_CREATE ? still_creates(fd) :
							   still_attaches(self, fd));
		close(fd);
	}
	return ok;
}

TEST_F(call, bad_pointers_in)
{
	static const uintptr_t wild[] = {
		0, 1, 8, 0x7ffffffff000 - 4, 0x7ffffffff000, 0x8000000000000000,
		0xffff888000000000, 0xffffffff81000000, ~7UL, ~0UL,
	};
	unsigned char *end = self->page + 2 * 4096;
	unsigned int i, k;

	ASSERT_EQ(0, producer_leaves(self));
	for (i = 0; i < ARRAY_LEN(pointed); i++) {
		const struct pointed *p = &pointed[i];
		unsigned char full[1024];

		for (k = 0; k < ARRAY_LEN(wild); k++) {
			EXPECT_TRUE(faults(self, p, (void *)wild[k])) {
				TH_LOG("%s at %#lx", p->name, wild[k]);
			}
		}
		/* Only the first @k bytes are there. */
		fill(full, p, self->owner);
		for (k = 0; k < p->size; k++) {
			memcpy(end - k, full, k);
			EXPECT_TRUE(faults(self, p, end - k)) {
				TH_LOG("%s with %u bytes", p->name, k);
			}
		}
		/* Nor are all bytes of the tail. */
		for (k = 0; k < 24; k++) {
			memset(end - k, 0, k);
			fill_tailed(end - p->size - k, p, self->owner, 24);
			EXPECT_TRUE(faults(self, p, end - p->size - k)) {
				TH_LOG("%s with a tail of %u bytes", p->name, k);
			}
		}
	}
}

/* The channel is the second one, and has four pages as well. */
static int claim_ends(struct end *prod, struct end *cons)
{
	int owner = many_create(NULL, 0, 8, 64, 2, SCATTO_F_PAUSE);

	if (owner < 0)
		return owner;
	return end_open(prod, SCATTO_ROLE_PRODUCER, owner) ?:
	       end_open(cons, SCATTO_ROLE_CONSUMER, owner) ?: owner;
}

/* CLAIM, all of it or the tail not there: nothing is claimed. */
TEST_F(call, bad_pointers_claim_in)
{
	static const struct pointed claim = {
		"CLAIM", SCATTO_IOC_CLAIM, sizeof(struct scatto_claim), ON_BOUND, true,
	};
	unsigned char *end = self->page + 2 * 4096;
	struct scatto_claim arg;
	struct end prod, cons;
	unsigned int k;
	int owner = claim_ends(&prod, &cons);

	ASSERT_LE(0, owner);
	arg = claim_args(1, 1, -1);
	for (k = 0; k < sizeof(arg); k++) {
		memcpy(end - k, &arg, k);
		EXPECT_EQ(-EFAULT, dev_claim(prod.fd, (void *)(end - k)));
	}
	for (k = 0; k < 24; k++) {
		memset(end - k, 0, k);
		fill_tailed(end - sizeof(arg) - k, &claim, owner, 24);
		((struct scatto_claim *)(end - sizeof(arg) - k))->count = 1;
		EXPECT_EQ(-EFAULT, dev_claim(prod.fd, (void *)(end - sizeof(arg) - k)));
	}
	EXPECT_EQ(0, many_claimed(&prod));
	EXPECT_EQ(0, dev_claim(prod.fd, &arg));
	EXPECT_EQ(0, arg.position);
	end_drop(&prod);
	end_drop(&cons);
	close(owner);
}

/* A grant that cannot be told is none: tombstones, and the next CLAIM is no -EBUSY. */
TEST_F(call, bad_pointers_claim_out)
{
	unsigned char *read_only = self->page + 4096;
	struct scatto_claim arg;
	struct scatto_info info;
	struct end prod, cons;
	uint64_t value, n = 0;
	unsigned int k;
	int owner = claim_ends(&prod, &cons);

	ASSERT_LE(0, owner);
	for (k = 0; k < sizeof(arg); k += 4) {
		arg = claim_args(2, 2, -1);
		ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ | PROT_WRITE));
		memcpy(read_only - k, &arg, sizeof(arg));
		ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ));
		EXPECT_EQ(-EFAULT, dev_claim(prod.fd, (void *)(read_only - k)));
		n += 2;
		ASSERT_EQ(0, dev_info(owner, &info));
		EXPECT_EQ(n, info.tombstones);
		EXPECT_EQ(info.repair_from, info.repair_to);
		EXPECT_EQ(0, many_recv(&cons, &value));
		EXPECT_EQ(0, many_recv(&cons, &value));
	}
	arg = claim_args(1, 1, -1);
	EXPECT_EQ(0, dev_claim(prod.fd, &arg));
	EXPECT_EQ(n, arg.position);
	EXPECT_EQ(0, many_publish(&prod, n, 4711));
	EXPECT_EQ(1, many_recv(&cons, &value));
	EXPECT_EQ(4711, value);
	end_drop(&prod);
	end_drop(&cons);
	close(owner);
}

TEST_F(call, bad_pointers_out)
{
	unsigned char *read_only = self->page + 4096;
	unsigned int i, k;

	ASSERT_EQ(0, producer_leaves(self));
	for (i = 0; i < ARRAY_LEN(pointed); i++) {
		const struct pointed *p = &pointed[i];

		if (!p->copies_out)
			continue;
		/* All of it, or all but the first @k bytes, cannot be written. */
		for (k = 0; k < p->size; k += 4) {
			ASSERT_EQ(0, mprotect(read_only, 4096,
					      PROT_READ | PROT_WRITE));
			fill(read_only - k, p, self->owner);
			ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ));
			EXPECT_TRUE(faults(self, p, read_only - k)) {
				TH_LOG("%s but for %u bytes", p->name, k);
			}
		}
	}
	/* WAIT only reads. */
	ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ | PROT_WRITE));
	fill(read_only, &pointed[5], self->owner);
	ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ));
	EXPECT_EQ(0, dev_ioctl(self->cons.fd, SCATTO_IOC_WAIT, read_only));
}

/*
 * On a channel that does not pause, a producer or consumer that never came to
 * be must not end the stream by its going.
 */
TEST_F(call, failed_attach_ends_nothing)
{
	int owner = channel_create(NULL, 0, 8, 64, 0), role;
	unsigned char *read_only = self->page + 4096;
	struct end end;

	ASSERT_GE(owner, 0);
	for (role = SCATTO_ROLE_PRODUCER; role <= SCATTO_ROLE_CONSUMER; role++) {
		struct scatto_attach arg = attach_args(role, owner, NULL);
		struct scatto_info info;
		int fd = dev_open();

		ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ | PROT_WRITE));
		memcpy(read_only, &arg, sizeof(arg));
		ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ));
		EXPECT_EQ(-EFAULT, dev_ioctl(fd, SCATTO_IOC_ATTACH, read_only));
		close(fd);
		ASSERT_EQ(0, dev_info(owner, &info));
		EXPECT_EQ(0, info.state);
		EXPECT_EQ(SCATTO_END_OPEN, info.end);
	}
	EXPECT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
	end_drop(&end);
	EXPECT_EQ(0, end_open(&end, SCATTO_ROLE_CONSUMER, owner));
	EXPECT_EQ(0, end.area->end);
	end_drop(&end);
	close(owner);
}

/* Nor is it in what the same open becomes later. */
TEST_F(call, failed_attach_leaves_no_position)
{
	unsigned char *read_only = self->page + 4096;
	struct scatto_create create = create_args(8, 64, 0);
	struct scatto_attach attach;
	struct scatto_info info;
	int fd = dev_open(), i;

	for (i = 0; i < 5; i++)
		EXPECT_EQ(0, end_send(&self->prod, i));
	ASSERT_EQ(0, producer_leaves(self));
	attach = attach_args(SCATTO_ROLE_PRODUCER, self->owner, NULL);
	memcpy(read_only, &attach, sizeof(attach));
	ASSERT_EQ(0, mprotect(read_only, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, dev_ioctl(fd, SCATTO_IOC_ATTACH, read_only));
	EXPECT_EQ(0, dev_create(fd, &create));
	ASSERT_EQ(0, dev_info(fd, &info));
	EXPECT_EQ(SCATTO_ROLE_OWNER, info.role);
	EXPECT_EQ(0, info.position);
	close(fd);
}

TEST_HARNESS_MAIN
