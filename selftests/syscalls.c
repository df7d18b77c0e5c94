// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two processes exchange events through the library, each spinning on a CPU of
 * its own, while every system call they make is counted: in steady state there
 * is none. Where a producer has to wait for room, there is one.
 */
#include "kselftest_harness.h"
#include "util.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>

#include <scatto.h>

/* What marks the beginning and the end of the steady state. */
#define MARK	0x5ca77

/* The first steps, in which anything may be faulted in or looked up. */
#define WARM_UP	1000

static void mark(void)
{
	syscall(SYS_getpgid, MARK);
}

enum pattern {
	STREAM,		/* one way, as fast as it goes: the ring is full or empty */
	ROUND_TRIPS,	/* to and fro */
};

FIXTURE(syscalls)
{
	struct scatto_channel *to, *fro;
};

FIXTURE_VARIANT(syscalls)
{
	enum pattern traffic;
	uint32_t strategy;
	uint64_t capacity;
	uint32_t kind;		/* 0: SPSC */
};

FIXTURE_VARIANT_ADD(syscalls, stream) {
	.traffic = STREAM, .strategy = SCATTO_STRATEGY_SPIN, .capacity = 256,
};

FIXTURE_VARIANT_ADD(syscalls, stream_busy_two_slots) {
	.traffic = STREAM, .strategy = SCATTO_STRATEGY_BUSY, .capacity = 2,
};

FIXTURE_VARIANT_ADD(syscalls, round_trips) {
	.traffic = ROUND_TRIPS, .strategy = SCATTO_STRATEGY_SPIN, .capacity = 16,
};

FIXTURE_VARIANT_ADD(syscalls, stream_many) {
	.traffic = STREAM, .strategy = SCATTO_STRATEGY_SPIN, .capacity = 256,
	.kind = SCATTO_KIND_MPSC,
};

FIXTURE_VARIANT_ADD(syscalls, round_trips_many) {
	.traffic = ROUND_TRIPS, .strategy = SCATTO_STRATEGY_SPIN, .capacity = 16,
	.kind = SCATTO_KIND_MPSC,
};

/* The same counting, where there must be some to be counted. */
FIXTURE_VARIANT_ADD(syscalls, blocking) {
	.traffic = ROUND_TRIPS, .strategy = SCATTO_STRATEGY_BLOCK, .capacity = 16,
};

static struct scatto_channel *new_channel(uint32_t kind, uint64_t capacity)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg), .backend = SCATTO_BACKEND_KERNEL,
		.kind = kind ?: SCATTO_KIND_SPSC,
		.slot_size = 8, .capacity = capacity,
	};
	struct scatto_channel *ch;

	return scatto_channel_create(&cfg, &ch) ? NULL : ch;
}

FIXTURE_SETUP(syscalls)
{
	self->to = new_channel(variant->kind, variant->capacity);
	self->fro = new_channel(variant->kind, variant->capacity);
	ASSERT_NE(NULL, self->to);
	ASSERT_NE(NULL, self->fro);
}

FIXTURE_TEARDOWN(syscalls)
{
	scatto_channel_free(self->to);
	scatto_channel_free(self->fro);
}

struct side {
	struct scatto_producer *p;
	struct scatto_consumer *c;
	bool first;
};

static int side_steps(struct side *s, enum pattern traffic, uint64_t from,
		      uint64_t n)
{
	uint64_t i, got;

	for (i = from; i < from + n; i++) {
		if (s->first && scatto_send(s->p, &i))
			return 3;
		if (traffic == STREAM && s->first)
			continue;
		if (scatto_recv(s->c, &got) || got != i)
			return 4;
		if (traffic != STREAM && !s->first && scatto_send(s->p, &i))
			return 5;
	}
	return 0;
}

static void side_run(struct side *s, struct scatto_channel *out,
		     struct scatto_channel *in, enum pattern traffic,
		     uint32_t strategy, uint64_t events)
{
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(s->first ? 0 : 1);
	if (scatto_producer_attach(out, &s->p) || scatto_consumer_attach(in, &s->c))
		_exit(1);
	if (scatto_producer_set_wait(s->p, strategy) ||
	    scatto_consumer_set_wait(s->c, strategy))
		_exit(2);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	ret = side_steps(s, traffic, 0, WARM_UP);
	mark();
	if (!ret)
		ret = side_steps(s, traffic, WARM_UP, events);
	mark();
	_exit(ret);
}

/* A traced process, and what it has called between its two marks */
struct traced {
	pid_t pid;
	bool entering;
	int marks;
	unsigned long calls;
	int status;
	bool gone;
};

/* One stop of the process: counts it and lets it go on. */
static void traced_stop(struct traced *t, int status)
{
	struct __ptrace_syscall_info info = {};
	int sig = 0;

	if (WIFEXITED(status) || WIFSIGNALED(status)) {
		t->gone = true;
		t->status = status;
		return;
	}
	if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
		ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, sizeof(info), &info);
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
			if (info.entry.nr == SYS_getpgid &&
			    info.entry.args[0] == MARK)
				t->marks++;
			else if (t->marks == 1)
				t->calls++;
		}
	} else if (WSTOPSIG(status) != SIGSTOP) {
		sig = WSTOPSIG(status);
	}
	ptrace(PTRACE_SYSCALL, t->pid, NULL, (void *)(long)sig);
}

TEST_F_TIMEOUT(syscalls, per_event, 600)
{
	bool blocking = variant->strategy == SCATTO_STRATEGY_BLOCK;
	uint64_t events = test_count(1000000, 100000);
	struct traced t[2] = {};
	int i, status;

	if (blocking)
		events /= 20;
	if (cpus_online() < 2)
		SKIP(return, "two that spin need two CPUs");
	for (i = 0; i < 2; i++) {
		struct side s = { .first = !i };

		t[i].pid = fork();
		ASSERT_LE(0, t[i].pid);
		if (!t[i].pid)
			side_run(&s, i ? self->fro : self->to,
				 i ? self->to : self->fro, variant->traffic,
				 variant->strategy, events);
	}
	/* Both are attached before either goes on. */
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(t[i].pid, waitpid(t[i].pid, &status, 0));
		ASSERT_TRUE(WIFSTOPPED(status));
		ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t[i].pid, NULL,
				    (void *)PTRACE_O_TRACESYSGOOD));
	}
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, ptrace(PTRACE_SYSCALL, t[i].pid, NULL, NULL));
	while (!t[0].gone || !t[1].gone) {
		pid_t pid = waitpid(-1, &status, __WALL);

		ASSERT_LT(0, pid);
		traced_stop(&t[pid == t[1].pid], status);
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, t[i].status);
		EXPECT_EQ(2, t[i].marks);
	}
	printf("# %llu events%s: %lu system calls by the one, %lu by the other\n",
	       (unsigned long long)events,
	       variant->traffic == STREAM ? "" : " to and fro", t[0].calls,
	       t[1].calls);
	if (blocking) {
		EXPECT_LT(events / 2, t[0].calls);
		EXPECT_LT(events / 2, t[1].calls);
	} else {
		EXPECT_EQ(0, t[0].calls);
		EXPECT_EQ(0, t[1].calls);
	}
}

/* Sends to a full ring; back in the kernel until somebody makes room. */
static void blocked_run(struct scatto_channel *ch, uint64_t n)
{
	struct scatto_producer *p;
	uint64_t i = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (scatto_producer_attach(ch, &p) ||
	    scatto_producer_set_wait(p, SCATTO_STRATEGY_BLOCK))
		_exit(1);
	while (!scatto_try_send(p, &i))
		;
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	mark();
	for (i = 0; i < n; i++)
		if (scatto_send(p, &i))
			_exit(2);
	mark();
	_exit(0);
}

/* Frees a slot whenever the producer queues for one, once for each time it does. */
static void reader_run(struct scatto_channel *ch, uint64_t n)
{
	struct scatto_consumer *c;
	struct scatto_info info;
	uint64_t value, i, before, claims = UINT64_MAX;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (scatto_consumer_attach(ch, &c))
		_exit(1);
	for (i = 0; i < n; i++) {
		info.claims = claims;
		/* Two looks, as one may see half of a grant, by a CPU that is slow. */
		do {
			before = info.claims;
			sleep_ms(5);
			if (scatto_channel_info(ch, &info))
				_exit(2);
		} while (!info.claimers || info.claims == claims || info.claims != before);
		claims = info.claims;
		if (scatto_try_recv(c, &value))
			_exit(3);
	}
	/* Somebody is to read the last one. */
	pause();
}

static void *wait_for_the_ring(void *arg)
{
	struct scatto_producer *p = arg;

	return (void *)(long)scatto_wait_space(p, 8, now_ns() + 10000000000ULL);
}

/* Room for the whole ring when none of it has been given back yet. */
TEST(space_in_the_first_lap)
{
	for (uint32_t kind = SCATTO_KIND_SPSC; kind <= SCATTO_KIND_MPSC; kind++) {
		struct scatto_channel *ch = new_channel(kind, 8);
		struct scatto_producer *p;
		struct scatto_consumer *c;
		struct scatto_info info;
		pthread_t thread;
		uint64_t i, got;
		void *ret;

		ASSERT_NE(NULL, ch);
		ASSERT_EQ(0, scatto_producer_attach(ch, &p));
		ASSERT_EQ(0, scatto_consumer_attach(ch, &c));
		for (i = 0; i < 5; i++)
			ASSERT_EQ(0, scatto_send(p, &i));
		ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_the_ring, p));
		for (i = 0; i < 1000; i++) {
			ASSERT_EQ(0, scatto_channel_info(ch, &info));
			if (info.space_sleeps)
				break;
			sleep_ms(1);
		}
		EXPECT_LT(0, info.space_sleeps);
		for (i = 0; i < 5; i++) {
			ASSERT_EQ(0, scatto_recv(c, &got));
			EXPECT_EQ(i, got);
		}
		ASSERT_EQ(0, pthread_join(thread, &ret));
		EXPECT_EQ(8, (long)ret);
		scatto_producer_close(p);
		scatto_consumer_close(c);
		scatto_channel_free(ch);
	}
}

/* Waiting and claiming are one call. */
TEST(blocked_claim)
{
	struct scatto_channel *ch = new_channel(SCATTO_KIND_MPSC, 4);
	const uint64_t n = 100;
	struct traced t = {};
	pid_t reader;
	int status;

	ASSERT_NE(NULL, ch);
	t.pid = fork();
	if (!t.pid)
		blocked_run(ch, n);
	ASSERT_EQ(t.pid, waitpid(t.pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, t.pid, NULL,
			    (void *)PTRACE_O_TRACESYSGOOD));
	reader = spawn();
	if (!reader)
		reader_run(ch, n);
	ASSERT_EQ(0, ptrace(PTRACE_SYSCALL, t.pid, NULL, NULL));
	while (!t.gone) {
		ASSERT_EQ(t.pid, waitpid(t.pid, &status, __WALL));
		traced_stop(&t, status);
	}
	EXPECT_EQ(0, t.status);
	EXPECT_EQ(128 + SIGKILL, kill_and_reap(reader));
	EXPECT_EQ(n, t.calls);
	scatto_channel_free(ch);
}

TEST_HARNESS_MAIN
