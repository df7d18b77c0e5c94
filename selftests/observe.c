// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be seen from outside: INFO and its counters, LIST, the lines in
 * /proc/<pid>/fdinfo, tracepoints.
 */
#include "util.h"
#include "kselftest_harness.h"

#define TRACING		"/sys/kernel/tracing/"
#define SLOT_SIZE	16
#define CAPACITY	8
#define BYTES		(4 * 4096)

FIXTURE(observe) {
	int owner;
	struct end prod, cons;
	struct scatto_info info;	/* of the owner, at the start */
};

FIXTURE_SETUP(observe)
{
	self->owner = channel_create("observe", 0640, SLOT_SIZE, CAPACITY,
				     SCATTO_F_PAUSE);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, end_open(&self->prod, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->cons, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, dev_info(self->owner, &self->info));
}

FIXTURE_TEARDOWN(observe)
{
	end_drop(&self->prod);
	end_drop(&self->cons);
	close(self->owner);
}

TEST_F(observe, info)
{
	struct end observer;
	struct scatto_info info;
	uint64_t value;
	int i;

	EXPECT_EQ(SCATTO_ROLE_OWNER, self->info.role);
	EXPECT_EQ(0, self->info.index);
	EXPECT_EQ(0, self->info.state);
	EXPECT_NE(0, self->info.id);
	EXPECT_EQ(0, self->info.position);
	EXPECT_STREQ("observe", self->info.name);
	EXPECT_EQ(0640, self->info.mode);
	EXPECT_EQ(0, self->info.uid);
	EXPECT_EQ(0, self->info.gid);
	EXPECT_EQ(1, self->info.producers);
	EXPECT_EQ(1, self->info.consumers);
	EXPECT_EQ(1, self->info.observers);
	EXPECT_EQ(BYTES, self->info.bytes);
	EXPECT_EQ(0, self->info.published);
	EXPECT_EQ(0, self->info.consumed);
	EXPECT_EQ(SCATTO_END_OPEN, self->info.end);
	EXPECT_EQ(0, self->info.dropped);
	EXPECT_EQ(0, self->info.tombstones);

	for (i = 0; i < 7; i++)
		EXPECT_EQ(0, end_send(&self->prod, i));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, end_recv(&self->cons, &value));
	ASSERT_EQ(0, end_attach(&observer, SCATTO_ROLE_OBSERVER, self->cons.fd));
	ASSERT_EQ(0, dev_info(observer.fd, &info));
	EXPECT_EQ(SCATTO_ROLE_OBSERVER, info.role);
	EXPECT_EQ(self->info.id, info.id);
	EXPECT_EQ(2, info.observers);
	EXPECT_EQ(7, info.published);
	EXPECT_EQ(3, info.consumed);
	end_drop(&observer);

	/* Where a role began does not move; a successor begins elsewhere. */
	end_drop(&self->cons);
	ASSERT_EQ(0, end_open(&self->cons, SCATTO_ROLE_CONSUMER, self->owner));
	ASSERT_EQ(0, dev_info(self->cons.fd, &info));
	EXPECT_EQ(SCATTO_ROLE_CONSUMER, info.role);
	EXPECT_EQ(3, info.position);
	EXPECT_EQ(0, end_recv(&self->cons, &value));
	ASSERT_EQ(0, dev_info(self->cons.fd, &info));
	EXPECT_EQ(3, info.position);
	EXPECT_EQ(4, info.consumed);
	ASSERT_EQ(0, dev_info(self->prod.fd, &info));
	EXPECT_EQ(SCATTO_ROLE_PRODUCER, info.role);
	EXPECT_EQ(0, info.position);
	EXPECT_EQ(1, info.observers);

	EXPECT_EQ(0, dev_close(self->owner));
	ASSERT_EQ(0, dev_info(self->prod.fd, &info));
	EXPECT_EQ(SCATTO_STATE_CLOSED, info.state);
	EXPECT_EQ(7, info.end);
}

/* Sleeps are counted when somebody sleeps, and wakes when one is woken. */
TEST_F(observe, counters)
{
	enum { ROUNDS = 20 };
	struct scatto_info info;
	uint64_t value;
	pid_t pid;
	int i;

	for (i = 0; i < 5; i++) {
		EXPECT_EQ(0, end_send(&self->prod, i));
		EXPECT_EQ(0, dev_wait(self->cons.fd, i + 1, PATIENCE_MS));
		EXPECT_EQ(0, end_recv(&self->cons, &value));
		EXPECT_EQ(0, dev_wake(self->prod.fd));
	}
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(0, info.data_sleeps);
	EXPECT_EQ(0, info.data_wakes);

	end_drop(&self->cons);
	pid = spawn();
	if (!pid) {
		if (end_open(&self->cons, SCATTO_ROLE_CONSUMER, self->owner))
			_exit(1);
		for (i = 5; i < 5 + ROUNDS; i++)
			if (dev_wait(self->cons.fd, i + 1, PATIENCE_MS) ||
			    end_recv(&self->cons, &value) < 0 || value != (uint64_t)i)
				_exit(2);
		_exit(0);
	}
	for (i = 5; i < 5 + ROUNDS; i++) {
		uint64_t sleeps = i - 5 + 1;

		ASSERT_TRUE(wait_for(!dev_info(self->owner, &info) &&
				     info.data_sleeps == sleeps &&
				     task_in_call(pid), PATIENCE_MS));
		EXPECT_EQ(1, end_send(&self->prod, i));
	}
	EXPECT_EQ(0, reap(pid));
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(ROUNDS, info.data_sleeps);
	EXPECT_EQ(ROUNDS, info.data_wakes);
	EXPECT_EQ(0, info.space_sleeps);
	EXPECT_EQ(0, info.space_wakes);
	self->cons.fd = -1;
	memset(self->cons.map, 0, sizeof(self->cons.map));
}

TEST_F(observe, space_counters)
{
	enum { ROUNDS = 20 };
	struct scatto_info info;
	uint64_t value, got = 0;
	pid_t pid;
	int i;

	end_drop(&self->prod);
	pid = spawn();
	if (!pid) {
		if (end_open(&self->prod, SCATTO_ROLE_PRODUCER, self->owner))
			_exit(1);
		for (i = 0; i < CAPACITY + ROUNDS; i++) {
			if (end_send(&self->prod, i) != -EAGAIN)
				continue;
			if (dev_wait(self->prod.fd, i + 1 - CAPACITY, PATIENCE_MS) ||
			    end_send(&self->prod, i) < 0)
				_exit(2);
		}
		_exit(0);
	}
	for (i = 0; i < ROUNDS; i++) {
		uint64_t sleeps = i + 1;

		ASSERT_TRUE(wait_for(!dev_info(self->owner, &info) &&
				     info.space_sleeps == sleeps &&
				     task_in_call(pid), PATIENCE_MS));
		EXPECT_EQ(1, end_recv(&self->cons, &value));
		EXPECT_EQ(got++, value);
	}
	EXPECT_EQ(0, reap(pid));
	ASSERT_EQ(0, dev_info(self->owner, &info));
	EXPECT_EQ(ROUNDS, info.space_sleeps);
	EXPECT_EQ(ROUNDS, info.space_wakes);
	EXPECT_EQ(0, info.data_sleeps);
	EXPECT_EQ(0, info.data_wakes);
	self->prod.fd = -1;
	memset(self->prod.map, 0, sizeof(self->prod.map));
}

/* LIST walks the named channels by id. */
TEST_F(observe, list)
{
	static const char * const names[] = { "list.c", "list.a", "list.b" };
	struct scatto_list arg = { .size = sizeof(arg) };
	int fds[3], unnamed, i, before = dev_list_count(self->owner);
	uint64_t id = 0;

	for (i = 0; i < 3; i++) {
		fds[i] = channel_create(names[i], 0600 | i * 2, 8 << i, 2 << i,
					i == 1 ? SCATTO_F_PAUSE : 0);
		ASSERT_GE(fds[i], 0);
	}
	unnamed = channel_create(NULL, 0, 8, 2, 0);
	ASSERT_GE(unnamed, 0);
	EXPECT_EQ(before + 3, dev_list_count(self->owner));
	EXPECT_EQ(before + 3, dev_list_count(unnamed));

	/* From ours on, which came before them. */
	id = self->info.id;
	for (i = 0; i < 3; i++) {
		struct scatto_info info;

		memset(&arg, 0, sizeof(arg));
		arg.size = sizeof(arg);
		arg.id = id;
		ASSERT_EQ(0, dev_ioctl(self->owner, SCATTO_IOC_LIST, &arg));
		ASSERT_EQ(0, dev_info(fds[i], &info));
		EXPECT_LT(id, arg.id);
		EXPECT_EQ(info.id, arg.id);
		EXPECT_STREQ(names[i], arg.name);
		EXPECT_EQ(0600 | i * 2, arg.mode);
		EXPECT_EQ(0, arg.uid);
		EXPECT_EQ(0, arg.gid);
		EXPECT_EQ(SCATTO_KIND_SPSC, arg.kind);
		EXPECT_EQ(i == 1 ? SCATTO_F_PAUSE : 0, arg.chan_flags & ~SCATTO_F_FENCE);
		EXPECT_EQ(8 << i, arg.slot_size);
		EXPECT_EQ(2 << i, arg.capacity);
		id = arg.id;
	}
	/* The walk goes on from an id that is gone. */
	memset(&arg, 0, sizeof(arg));
	arg.size = sizeof(arg);
	arg.id = self->info.id;
	ASSERT_EQ(0, dev_ioctl(self->owner, SCATTO_IOC_LIST, &arg));
	close(fds[0]);
	id = arg.id;
	memset(&arg, 0, sizeof(arg));
	arg.size = sizeof(arg);
	arg.id = id;
	ASSERT_EQ(0, dev_ioctl(self->owner, SCATTO_IOC_LIST, &arg));
	EXPECT_STREQ(names[1], arg.name);
	close(fds[1]);
	close(fds[2]);
	close(unnamed);
	EXPECT_EQ(before, dev_list_count(self->owner));
}

/* Ids count up and are not used again. */
TEST_F(observe, ids)
{
	uint64_t last = self->info.id;
	struct scatto_info info;
	int i, fd;

	for (i = 0; i < 100; i++) {
		fd = channel_create(i % 2 ? "ids" : NULL, 0, 8, 2, 0);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, dev_info(fd, &info));
		ASSERT_LT(last, info.id);
		last = info.id;
		close(fd);
	}
}

/* The scatto lines of an fd, as they are. */
static int read_fdinfo(pid_t pid, int fd, char *out, size_t size)
{
	char path[64], all[4096], *at;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	if (read_file(path, all, sizeof(all)) <= 0)
		return -1;
	at = strstr(all, "scatto-");
	snprintf(out, size, "%s", at ?: "");
	return 0;
}

TEST_F(observe, fdinfo)
{
	static const char * const roles[] = { "", "owner", "producer", "consumer",
					      "observer" };
	char want[1024], seen[1024];
	uint64_t value;
	int i, fds[5], unbound = dev_open();
	struct end observer;

	ASSERT_EQ(0, end_attach(&observer, SCATTO_ROLE_OBSERVER, self->owner));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(0, end_send(&self->prod, i));
	EXPECT_EQ(0, end_recv(&self->cons, &value));
	EXPECT_EQ(0, end_recv(&self->cons, &value));

	ASSERT_EQ(0, read_fdinfo(getpid(), unbound, seen, sizeof(seen)));
	EXPECT_STREQ("scatto-role:\tnone\n", seen);

	fds[1] = self->owner;
	fds[2] = self->prod.fd;
	fds[3] = self->cons.fd;
	fds[4] = observer.fd;
	for (i = 1; i < 5; i++) {
		snprintf(want, sizeof(want),
			 "scatto-role:\t%s\n"
			 "scatto-channel:\t%llu\n"
			 "scatto-name:\tobserve\n"
			 "scatto-state:\t0x0\n"
			 "scatto-active:\t1\n"
			 "scatto-published:\t5\n"
			 "scatto-consumed:\t2\n"
			 "scatto-dropped:\t0\n"
			 "scatto-bytes:\t%d\n", roles[i],
			 (unsigned long long)self->info.id, BYTES);
		ASSERT_EQ(0, read_fdinfo(getpid(), fds[i], seen, sizeof(seen)));
		EXPECT_STREQ(want, seen);
	}
	EXPECT_EQ(0, dev_close(self->prod.fd));
	EXPECT_EQ(0, dev_close(self->owner));
	ASSERT_EQ(0, read_fdinfo(getpid(), self->prod.fd, seen, sizeof(seen)));
	EXPECT_NE(NULL, strstr(seen, "scatto-active:\t0\n"));
	EXPECT_NE(NULL, strstr(seen, "scatto-state:\t0x1\n"));
	end_drop(&observer);
	close(unbound);
}

/* Of another process, and without a right to its memory. */
TEST_F(observe, fdinfo_of_others)
{
	char seen[1024], number[32];
	int sv[2], fd = -1;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = spawn();
	if (!pid) {
		struct end end;

		if (end_open(&end, SCATTO_ROLE_OBSERVER, self->owner) ||
		    write(sv[1], &end.fd, sizeof(end.fd)) < 0)
			_exit(1);
		pause();
	}
	ASSERT_EQ(sizeof(fd), read(sv[0], &fd, sizeof(fd)));
	ASSERT_EQ(0, read_fdinfo(pid, fd, seen, sizeof(seen)));
	EXPECT_NE(NULL, strstr(seen, "scatto-role:\tobserver\n"));
	snprintf(number, sizeof(number), "scatto-channel:\t%llu\n",
		 (unsigned long long)self->info.id);
	EXPECT_NE(NULL, strstr(seen, number));
	EXPECT_EQ(128 + SIGKILL, kill_and_reap(pid));
}

/* Tracepoints. Others may be at work on other channels: lines of ours only. */
FIXTURE(trace) {
	int owner;
	uint64_t id;
};

static int tracing(int on)
{
	return write_file(TRACING "events/scatto/enable", "%d", on);
}

FIXTURE_SETUP(trace)
{
	struct scatto_info info;

	ASSERT_EQ(0, tracing(0));
	ASSERT_EQ(0, write_file(TRACING "trace", "\n"));
	ASSERT_EQ(0, tracing(1));
	self->owner = channel_create("trace", 0600, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, dev_info(self->owner, &info));
	self->id = info.id;
}

FIXTURE_TEARDOWN(trace)
{
	EXPECT_EQ(0, tracing(0));
	close(self->owner);
}

/* "event: args" lines of our channel from @buf on, in order. */
static char *next_event(FIXTURE_DATA(trace) *self, char **at, char *out,
			size_t size)
{
	char id[32], *line, *event;

	snprintf(id, sizeof(id), "id=%llu ", (unsigned long long)self->id);
	while ((line = strsep(at, "\n"))) {
		event = strstr(line, ": scatto_");
		if (*line == '#' || !event || !strstr(event, id))
			continue;
		event += strlen(": scatto_");
		snprintf(out, size, "%.*s %s", (int)strcspn(event, ":"), event,
			 strstr(event, id) + strlen(id));
		/* A WAKE that found nobody is of no interest. */
		if (strcmp(out + strlen(out) - strlen("woken=0"), "woken=0"))
			return out;
	}
	return NULL;
}

/* A task can be seen to sleep before it has said so. */
static bool is_traced(const char *event)
{
	static char buf[1 << 20];

	return read_file(TRACING "trace", buf, sizeof(buf)) > 0 && strstr(buf, event);
}

TEST_F(trace, all)
{
	static const char * const want[] = {
		"attach role=1 position=0",
		"attach role=2 position=0",
		"attach role=3 position=0",
		"sleep side=0 want=1",
		"wake side=0 woken=1",
		"detach role=3 position=1",
		"attach role=3 position=1",
		"sleep side=1 want=2",
		"wake side=1 woken=1",
		"detach role=2 position=10",
		"close role=2",
		"close role=1",
	};
	static char buf[1 << 20];
	char *at = buf, event[256];
	struct end prod, cons;
	uint64_t value;
	unsigned int i;
	int sv[2];
	pid_t pid;

	ASSERT_EQ(0, end_open(&prod, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	/* A consumer that sleeps, is woken, and dies when its waker is back. */
	pid = spawn();
	if (!pid) {
		if (end_open(&cons, SCATTO_ROLE_CONSUMER, self->owner) ||
		    dev_wait(cons.fd, 1, PATIENCE_MS) || end_recv(&cons, &value))
			_exit(1);
		_exit(step_take(sv[1]) ? 2 : 0);
	}
	ASSERT_TRUE(wait_for(is_traced("side=0 want=1"), PATIENCE_MS));
	ASSERT_TRUE(wait_for(task_in_call(pid), PATIENCE_MS));
	EXPECT_EQ(1, end_send(&prod, 0));
	step_give(sv[0]);
	EXPECT_EQ(0, reap(pid));

	/* And a producer that does, on the full ring, and is closed. */
	ASSERT_EQ(0, end_open(&cons, SCATTO_ROLE_CONSUMER, self->owner));
	for (i = 1; i < 9; i++)
		EXPECT_EQ(0, end_send(&prod, i));
	pid = spawn();
	if (!pid)
		_exit(dev_wait(prod.fd, 2, PATIENCE_MS) ? 1 : 0);
	ASSERT_TRUE(wait_for(is_traced("side=1 want=2"), PATIENCE_MS));
	ASSERT_TRUE(wait_for(task_in_call(pid), PATIENCE_MS));
	EXPECT_EQ(1, end_recv(&cons, &value));
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(0, end_send(&prod, 9));
	EXPECT_EQ(0, dev_close(prod.fd));
	EXPECT_EQ(0, dev_close(self->owner));

	ASSERT_LT(0, read_file(TRACING "trace", buf, sizeof(buf)));
	for (i = 0; i < ARRAY_LEN(want); i++) {
		ASSERT_NE(NULL, next_event(self, &at, event, sizeof(event))) {
			TH_LOG("no %s", want[i]);
		}
		EXPECT_STREQ(want[i], event);
	}
	EXPECT_EQ(NULL, next_event(self, &at, event, sizeof(event))) {
		TH_LOG("%s", event);
	}
	end_drop(&prod);
	end_drop(&cons);
}

/* Each can be switched on alone, and off is off. */
TEST_F(trace, one_by_one)
{
	static const char * const names[] = { "attach", "detach", "close" };
	static char buf[1 << 20];
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(names); i++) {
		char path[128], event[256], *at = buf;
		struct end end;

		snprintf(path, sizeof(path), TRACING "events/scatto/scatto_%s/enable",
			 names[i]);
		ASSERT_EQ(0, tracing(0));
		ASSERT_EQ(0, write_file(TRACING "trace", "\n"));
		ASSERT_EQ(0, write_file(path, "1"));
		ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, self->owner));
		EXPECT_EQ(0, dev_close(end.fd));
		end_drop(&end);
		ASSERT_EQ(0, write_file(path, "0"));
		ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, self->owner));
		EXPECT_EQ(0, dev_close(end.fd));
		end_drop(&end);

		ASSERT_LT(0, read_file(TRACING "trace", buf, sizeof(buf)));
		ASSERT_NE(NULL, next_event(self, &at, event, sizeof(event)));
		EXPECT_EQ(0, strncmp(event, names[i], strlen(names[i])));
		EXPECT_EQ(NULL, next_event(self, &at, event, sizeof(event)));
	}
}

TEST_HARNESS_MAIN
