// SPDX-License-Identifier: GPL-2.0-only
/*
 * scatto_sched.ko: one record for each scheduler event, in order, with nothing
 * missing but what is counted, and no stream that feeds on itself.
 */
#include "kselftest_harness.h"
#include "fault.h"
#include "util.h"

#include <scatto.h>

#include <linux/scatto_sched.h>

#define MODULE		"/lib/modules-scatto/scatto_sched.ko"
#define SCHED_PARAMS		"/sys/module/scatto_sched/parameters/"
#define PATIENCE_NS	(PATIENCE_MS * 1000000ULL)
/* What loading reaches last is the module's own; it is less than this. */
#define LAST_PLACES	100

static int load(const char *params)
{
	int fd = open(MODULE, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return ret;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "scatto_sched", O_NONBLOCK) ?
	       -errno : 0;
}

static int enable(bool on)
{
	return write_file(SCHED_PARAMS "enabled", "%d", on);
}

static uint64_t count_sent(void)
{
	return read_number(SCHED_PARAMS "sent", NULL);
}

static uint64_t count_lost(void)
{
	return read_number(SCHED_PARAMS "lost", NULL);
}

/* Is it about this process? */
static bool concerns(const struct scatto_sched_event *ev, pid_t tgid)
{
	return ev->task[0].tgid == tgid || ev->task[1].tgid == tgid;
}

/* The next event of a type whose task number @which has that number. */
static int find(struct scatto_consumer *c, int type, int which, pid_t pid,
		struct scatto_sched_event *ev)
{
	uint64_t deadline = scatto_deadline(PATIENCE_NS);
	int ret;

	do {
		ret = scatto_recv_until(c, ev, deadline);
	} while (!ret && (ev->type != type || ev->task[which].pid != pid));
	return ret;
}

/* Some life: tasks that sleep, run, wake each other, come and go. */
static void be_busy(void)
{
	int pipes[2], other[2];
	char byte = 0;
	pid_t pid;

	if (pipe(pipes) || pipe(other))
		_exit(1);
	pid = spawn();
	if (!pid) {
		while (read(pipes[0], &byte, 1) == 1 &&
		       write(other[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	for (;;) {
		if (write(pipes[1], &byte, 1) != 1 ||
		    read(other[0], &byte, 1) != 1)
			_exit(1);
		pid = spawn();
		if (!pid)
			_exit(0);
		reap(pid);
	}
}

static pid_t start_busy(void)
{
	pid_t pid = spawn();

	if (!pid)
		be_busy();
	return pid;
}

FIXTURE(sched)
{
	struct scatto_consumer *c;
};

FIXTURE_SETUP(sched)
{
	unload();
	ASSERT_EQ(0, load("mode=0444"));
	ASSERT_EQ(0, scatto_consumer_open("sched", &self->c));
	ASSERT_EQ(0, scatto_consumer_set_wait(self->c, SCATTO_STRATEGY_BLOCK));
	ASSERT_EQ(sizeof(struct scatto_sched_event),
		  scatto_consumer_slot_size(self->c));
}

FIXTURE_TEARDOWN(sched)
{
	scatto_consumer_close(self->c);
	unload();
}

TEST_F(sched, life_of_a_process)
{
	struct scatto_sched_event ev;
	uint64_t before, after;
	int status, go[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	before = now_ns();
	pid = spawn();
	if (!pid) {
		char byte;

		if (read(go[0], &byte, 1) == 1)
			execl("/bin/sh", "sh", "-c", "exit 7", NULL);
		_exit(1);
	}
	after = now_ns();
	ASSERT_EQ(1, write(go[1], "", 1));
	status = reap(pid);
	EXPECT_EQ(7, status);

	ASSERT_EQ(0, find(self->c, SCATTO_SCHED_FORK, 1, pid, &ev));
	EXPECT_EQ(getpid(), ev.task[0].pid);
	EXPECT_EQ(getpid(), ev.task[0].tgid);
	EXPECT_EQ(pid, ev.task[1].tgid);
	EXPECT_STREQ(ev.task[0].comm, ev.task[1].comm);
	/* Of the same clock, but its fast reading may be off a little. */
	EXPECT_LE(before - 1000000, ev.time_ns);
	EXPECT_GE(after + 1000000, ev.time_ns);

	ASSERT_EQ(0, find(self->c, SCATTO_SCHED_EXEC, 0, pid, &ev));
	EXPECT_EQ(pid, ev.task[0].tgid);
	EXPECT_STREQ("sh", ev.task[0].comm);
	EXPECT_EQ(pid, ev.task[1].pid);
	EXPECT_STREQ("", ev.task[1].comm);

	ASSERT_EQ(0, find(self->c, SCATTO_SCHED_EXIT, 0, pid, &ev));
	EXPECT_EQ(7 << 8, ev.exit_code);
	EXPECT_EQ(0, ev.task[1].pid);

	/* The last that a task does is to leave its CPU. */
	ASSERT_EQ(0, find(self->c, SCATTO_SCHED_SWITCH, 0, pid, &ev));
	while (ev.prev_state != 'Z' && ev.prev_state != 'X')
		ASSERT_EQ(0, find(self->c, SCATTO_SCHED_SWITCH, 0, pid, &ev));
	EXPECT_EQ(20, ev.prev_prio);
}

TEST_F(sched, killed)
{
	struct scatto_sched_event ev;
	pid_t pid = spawn();

	if (!pid) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(128 + SIGKILL, kill_and_reap(pid));
	ASSERT_EQ(0, find(self->c, SCATTO_SCHED_EXIT, 0, pid, &ev));
	EXPECT_EQ(SIGKILL, ev.exit_code);
}

static void *say_tid(void *arg)
{
	*(pid_t *)arg = syscall(SYS_gettid);
	return NULL;
}

TEST_F(sched, thread)
{
	struct scatto_sched_event ev;
	pthread_t thread;
	pid_t tid;

	ASSERT_EQ(0, pthread_create(&thread, NULL, say_tid, &tid));
	pthread_join(thread, NULL);
	ASSERT_EQ(0, find(self->c, SCATTO_SCHED_FORK, 1, tid, &ev));
	EXPECT_EQ(getpid(), ev.task[1].tgid);
	ASSERT_EQ(0, find(self->c, SCATTO_SCHED_EXIT, 0, tid, &ev));
	EXPECT_EQ(getpid(), ev.task[0].tgid);
}

/* Why a task stopped, and how urgent it was. */
TEST_F(sched, states_and_priorities)
{
	struct sched_param fifo = { .sched_priority = 10 };
	struct scatto_sched_event ev;
	pid_t pid = spawn();

	if (!pid) {
		sched_setscheduler(0, SCHED_FIFO, &fifo);
		/* Twice: to be seen with the new priority. */
		sleep_ms(20);
		sleep_ms(20);
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
	do {
		ASSERT_EQ(0, find(self->c, SCATTO_SCHED_SWITCH, 0, pid, &ev));
	} while (ev.prev_state != 'S');
	EXPECT_EQ(-11, ev.prev_prio);
	do {
		ASSERT_EQ(0, find(self->c, SCATTO_SCHED_SWITCH, 1, pid, &ev));
	} while (ev.next_prio == 20);
	EXPECT_EQ(-11, ev.next_prio);
}

/*
 * Who a switch leads to is who the next one leaves, also where the reader
 * itself has run in between, and time does not go back on a CPU.
 */
TEST_F(sched, chain_without_gaps)
{
	struct seen {
		uint64_t time;
		pid_t pid;
		bool known;
	} cpus[256] = {};
	uint64_t switches = 0, own = 0, held = 0, broken = 0, back = 0;
	uint64_t end = scatto_deadline(2000000000);
	struct scatto_sched_event ev;
	pid_t busy[2];
	int ret;

	busy[0] = start_busy();
	busy[1] = start_busy();
	while (!(ret = scatto_recv_until(self->c, &ev, end))) {
		struct seen *cpu = &cpus[ev.cpu % ARRAY_LEN(cpus)];

		if (cpu->known && ev.time_ns < cpu->time)
			back++;
		cpu->time = ev.time_ns;
		if (ev.type != SCATTO_SCHED_SWITCH)
			continue;
		if (cpu->known && cpu->pid != ev.task[0].pid)
			broken++;
		cpu->known = true;
		cpu->pid = ev.task[1].pid;
		switches++;
		own += concerns(&ev, getpid());
		held += !!(ev.flags & SCATTO_SCHED_HELD);
	}
	kill_and_reap(busy[0]);
	kill_and_reap(busy[1]);
	TH_LOG("%lu switches, %lu of them to or from this process",
	       (unsigned long)switches, (unsigned long)own);
	EXPECT_EQ(-ETIMEDOUT, ret);
	EXPECT_LT(100, switches);
	EXPECT_LT(0, own);
	EXPECT_EQ(own, held);
	EXPECT_EQ(0, broken);
	EXPECT_EQ(0, back);
	EXPECT_EQ(0, scatto_lost_total(self->c));
}

/*
 * A reader who wants each event at once, on a machine that does nothing else.
 * If its own switches woke it, they would outnumber all others beyond measure.
 */
TEST_F(sched, does_not_feed_on_itself)
{
	uint64_t own = 0, foreign = 0, end = scatto_deadline(3000000000);
	struct scatto_sched_event ev;

	while (!scatto_recv_until(self->c, &ev, end)) {
		if (concerns(&ev, getpid()))
			own++;
		else
			foreign++;
	}
	TH_LOG("%lu events of the reader, %lu of others", (unsigned long)own,
	       (unsigned long)foreign);
	EXPECT_GE(4 * foreign + 100, own);
}

/* When a write of N has returned, all that was counted is in the ring. */
TEST_F(sched, counts)
{
	uint64_t received = 0;
	struct scatto_sched_event ev;
	struct scatto_info info;
	pid_t busy;

	busy = start_busy();
	while (received < 1000) {
		ASSERT_EQ(0, scatto_recv_until(self->c, &ev,
					       scatto_deadline(PATIENCE_NS)));
		received++;
	}
	ASSERT_EQ(0, enable(false));
	kill_and_reap(busy);
	while (!scatto_try_recv(self->c, &ev))
		received++;
	EXPECT_EQ(received, count_sent());
	EXPECT_EQ(0, count_lost());

	ASSERT_EQ(0, scatto_consumer_info(self->c, &info));
	EXPECT_EQ(received, info.published);
	EXPECT_EQ(0, info.dropped);

	/* Off is off, and on is on again. */
	sleep_ms(50);
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &ev));
	ASSERT_EQ(0, enable(true));
	EXPECT_EQ(0, scatto_recv_until(self->c, &ev,
				       scatto_deadline(PATIENCE_NS)));
}

TEST_F(sched, ends_when_unloaded)
{
	struct scatto_sched_event ev;
	int ret;

	EXPECT_EQ(0, scatto_recv_until(self->c, &ev,
				       scatto_deadline(PATIENCE_NS)));
	ASSERT_EQ(0, unload());
	while (!(ret = scatto_recv_until(self->c, &ev,
					 scatto_deadline(PATIENCE_NS))))
		;
	EXPECT_EQ(-EPIPE, ret);
}

FIXTURE(params)
{
	struct scatto_consumer *c;
};

FIXTURE_SETUP(params)
{
	unload();
}

FIXTURE_TEARDOWN(params)
{
	act_as_root();
	scatto_consumer_close(self->c);
	unload();
}

TEST_F(params, root_alone_by_default)
{
	ASSERT_EQ(0, load(""));
	ASSERT_EQ(0, act_as(UID_USER));
	EXPECT_EQ(-EACCES, scatto_consumer_open("sched", &self->c));
	self->c = NULL;
	ASSERT_EQ(0, act_as_root());
	EXPECT_EQ(0, scatto_consumer_open("sched", &self->c));
}

TEST_F(params, owner_and_mode)
{
	char mode[16];

	ASSERT_EQ(0, load("name=who uid=1000 gid=1000 mode=0440"));
	/* As it is written. */
	ASSERT_EQ(5, read_file(SCHED_PARAMS "mode", mode, sizeof(mode)));
	EXPECT_STREQ("0440\n", mode);
	EXPECT_EQ(-ENOENT, scatto_consumer_open("sched", &self->c));
	ASSERT_EQ(0, act_as(UID_OTHER));
	EXPECT_EQ(-EACCES, scatto_consumer_open("who", &self->c));
	self->c = NULL;
	ASSERT_EQ(0, act_as(UID_USER));
	EXPECT_EQ(0, scatto_consumer_open("who", &self->c));
}

TEST_F(params, refused)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg),
		.kind = SCATTO_KIND_SPSC,
		.slot_size = 64,
		.capacity = 2,
		.mode = 0600,
		.name = "sched",
	};
	struct scatto_channel *ch;
	int ret;

	EXPECT_EQ(-EINVAL, load("capacity=3"));
	EXPECT_EQ(-EINVAL, load("name=a/b"));
	EXPECT_EQ(-EINVAL, load("uid=4294967295"));

	ASSERT_EQ(0, scatto_channel_create(&cfg, &ch));
	/* Some kernels make -EBUSY of it, as -EEXIST says that the module is there. */
	ret = load("");
	EXPECT_TRUE(ret == -EEXIST || ret == -EBUSY);
	scatto_channel_free(ch);
	EXPECT_EQ(0, load(""));
}

TEST_F(params, starts_disabled)
{
	struct scatto_sched_event ev;

	ASSERT_EQ(0, load("enabled=0"));
	ASSERT_EQ(0, scatto_consumer_open("sched", &self->c));
	sleep_ms(50);
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &ev));
	ASSERT_EQ(0, enable(true));
	EXPECT_EQ(0, scatto_recv_until(self->c, &ev,
				       scatto_deadline(PATIENCE_NS)));

	/* Twice is as good as once. */
	EXPECT_EQ(0, enable(true));
	EXPECT_EQ(0, enable(false));
	while (!scatto_try_recv(self->c, &ev))
		;
	sleep_ms(50);
	EXPECT_EQ(-EAGAIN, scatto_try_recv(self->c, &ev));
}

/* Every loss is counted, and reported where it happened. */
TEST_F(params, loss)
{
	uint64_t received = 0, lost = 0, places = 0;
	struct scatto_sched_event ev;
	struct scatto_info info;
	pid_t busy;

	ASSERT_EQ(0, load("capacity=64"));
	ASSERT_EQ(0, scatto_consumer_open("sched", &self->c));

	busy = start_busy();
	EXPECT_TRUE(wait_for(count_lost() > 100, PATIENCE_MS));
	kill_and_reap(busy);
	ASSERT_EQ(0, enable(false));
	EXPECT_EQ(64, count_sent());
	lost = count_lost();

	/* What was stored was stored before the loss. */
	while (!scatto_try_recv(self->c, &ev)) {
		EXPECT_EQ(0, scatto_lost(self->c));
		received++;
	}
	EXPECT_EQ(64, received);

	/* The first that comes after it says how much. */
	ASSERT_EQ(0, enable(true));
	ASSERT_EQ(0, scatto_recv_until(self->c, &ev,
				       scatto_deadline(PATIENCE_NS)));
	EXPECT_EQ(lost, scatto_lost(self->c));
	EXPECT_EQ(65, scatto_consumer_position(self->c));

	/* The same with a reader that runs, but too slowly. */
	busy = start_busy();
	lost = scatto_lost(self->c);
	received = 1;
	while (places < 5) {
		ASSERT_EQ(0, scatto_recv_until(self->c, &ev,
					       scatto_deadline(PATIENCE_NS)));
		received++;
		lost += scatto_lost(self->c);
		places += !!scatto_lost(self->c);
		sleep_ms(2);
	}
	kill_and_reap(busy);
	ASSERT_EQ(0, enable(false));
	while (!scatto_try_recv(self->c, &ev)) {
		received++;
		lost += scatto_lost(self->c);
	}
	EXPECT_EQ(received + 64, count_sent());
	EXPECT_EQ(lost, scatto_lost_total(self->c));
	/* What was lost behind the last event is known to the channel. */
	ASSERT_EQ(0, scatto_consumer_info(self->c, &info));
	EXPECT_EQ(info.dropped, count_lost());
	EXPECT_GE(info.dropped, lost);
}

/* Each allocation of its init fails once. */
TEST_F_TIMEOUT(params, no_memory_to_load, 100)
{
	int nth, left, ret, failed = 0, fd = inject_open();

	if (fd < 0)
		SKIP(return, "the kernel has no fault injection");
	inject_init();
	ASSERT_EQ(0, inject_arm(fd, FAIL_NEVER));
	ASSERT_EQ(0, load(""));
	left = inject_disarm(fd);
	ASSERT_LT(0, left);
	nth = FAIL_NEVER - left - LAST_PLACES;
	for (nth = nth < 1 ? 1 : nth, left = 0; !left; nth++) {
		unload();
		ASSERT_EQ(0, inject_arm(fd, nth));
		ret = load("");
		left = inject_disarm(fd);
		if (!ret)
			continue;
		EXPECT_EQ(-ENOMEM, ret);
		failed++;
		/* It has kept neither the name nor a tracepoint. */
		ASSERT_EQ(0, load(""));
	}
	printf("# it has failed to load %d times\n", failed);
	EXPECT_LT(0, failed);
	close(fd);
}

/* Likewise when it is switched on: then it is off, all of it. */
TEST_F(params, no_memory_to_enable)
{
	int nth, left = 0, ret, failed = 0, fd = inject_open();
	struct scatto_sched_event ev;
	uint64_t sent;

	if (fd < 0)
		SKIP(return, "the kernel has no fault injection");
	inject_init();
	ASSERT_EQ(0, load("enabled=0"));
	ASSERT_EQ(0, scatto_consumer_open("sched", &self->c));
	for (nth = 1; !left; nth++) {
		ASSERT_EQ(0, inject_arm(fd, nth));
		ret = enable(true);
		left = inject_disarm(fd);
		if (ret) {
			EXPECT_TRUE(ret == -ENOMEM || ret == -EFAULT)
				TH_LOG("place %d: %s", nth, strerror(-ret));
			failed++;
			sent = count_sent();
			sleep_ms(5);
			EXPECT_EQ(sent, count_sent());
			ASSERT_EQ(0, enable(true));
		}
		while (!scatto_try_recv(self->c, &ev))
			;
		EXPECT_EQ(0, scatto_recv_until(self->c, &ev, scatto_deadline(PATIENCE_NS)));
		ASSERT_EQ(0, enable(false));
	}
	printf("# it has failed %d times\n", failed);
	EXPECT_LT(0, failed);
	close(fd);
}

/*
 * Loaded, read and unloaded again and again while events come. Each round patches
 * the kernel's text at its busiest places: see vm/run --in-turn.
 */
TEST_F_TIMEOUT(params, reload_under_load, 1000)
{
	unsigned long i, n = test_count(100, 10);
	struct scatto_sched_event ev;
	pid_t busy[2];
	int ret;

	busy[0] = start_busy();
	busy[1] = start_busy();
	for (i = 0; i < n; i++) {
		ret = load(i & 1 ? "capacity=256" : "capacity=65536");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, scatto_consumer_open("sched", &self->c));
		EXPECT_EQ(0, scatto_recv_until(self->c, &ev,
					       scatto_deadline(PATIENCE_NS)));
		if (i % 3 == 0) {
			EXPECT_EQ(0, enable(false));
			EXPECT_EQ(0, enable(true));
		}
		ASSERT_EQ(0, unload());
		while (!(ret = scatto_try_recv(self->c, &ev)))
			;
		EXPECT_EQ(-EPIPE, ret);
		scatto_consumer_close(self->c);
		self->c = NULL;
	}
	kill_and_reap(busy[0]);
	kill_and_reap(busy[1]);
}

TEST_HARNESS_MAIN
