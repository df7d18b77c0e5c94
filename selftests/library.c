// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sleeping and waking by the library on the module, in the short form (lseek) and,
 * where SCATTO_NO_SEEK is set, by ioctls alone: that it is this form, that nothing is
 * lost, what an interrupted call returns, and that errno is left alone. What the library
 * does on the local backend has its tests in native/.
 */
#include "kselftest_harness.h"
#include "util.h"

#include <scatto.h>

#define ROUNDS	5000
#define ERRNO	4711	/* nobody sets it to that */

FIXTURE(library)
{
	struct scatto_channel *to, *fro;
	struct scatto_producer *p;
	struct scatto_consumer *c;
	pid_t pid;
};

FIXTURE_VARIANT(library)
{
	uint32_t kind;
	uint32_t strategy;
	bool by_ioctl;
};

#define VARIANT(name, k, s, by) \
	FIXTURE_VARIANT_ADD(library, name) \
	{ SCATTO_KIND_##k, SCATTO_STRATEGY_##s, by }

VARIANT(spsc_block, SPSC, BLOCK, false);
VARIANT(spsc_block_by_ioctl, SPSC, BLOCK, true);
VARIANT(spsc_adaptive, SPSC, ADAPTIVE, false);
VARIANT(spsc_backoff, SPSC, BACKOFF, false);
VARIANT(spsc_yield, SPSC, YIELD, false);
VARIANT(mpsc_block, MPSC, BLOCK, false);
VARIANT(mpsc_block_by_ioctl, MPSC, BLOCK, true);

static bool sleeps(uint32_t strategy)
{
	return strategy == SCATTO_STRATEGY_BLOCK || strategy == SCATTO_STRATEGY_ADAPTIVE;
}

/* Each event comes back with one added, one answer in two by scatto_call(). */
static int serve(struct scatto_channel *from, struct scatto_channel *to, uint32_t strategy)
{
	struct scatto_producer *p;
	struct scatto_consumer *c;
	uint64_t v;
	int ret;

	if (scatto_consumer_attach(from, &c) || scatto_producer_attach(to, &p) ||
	    scatto_consumer_set_wait(c, strategy) || scatto_producer_set_wait(p, strategy))
		return 1;
	errno = ERRNO;
	ret = scatto_recv(c, &v);
	while (!ret) {
		v++;
		ret = v % 4 == 1 ? scatto_call(p, &v, c, &v, SCATTO_FOREVER) :
				   scatto_send(p, &v) ?: scatto_recv(c, &v);
	}
	return ret == -EPIPE && errno == ERRNO ? 0 : 2;
}

FIXTURE_SETUP(library)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg), .backend = SCATTO_BACKEND_KERNEL, .kind = variant->kind,
		.slot_size = sizeof(uint64_t), .capacity = 4,
		.max_producers = variant->kind == SCATTO_KIND_MPSC ? 2 : 0,
	};
	uint64_t v = 0;

	if (variant->by_ioctl)
		setenv("SCATTO_NO_SEEK", "1", 1);
	ASSERT_EQ(0, scatto_channel_create(&cfg, &self->to));
	ASSERT_EQ(0, scatto_channel_create(&cfg, &self->fro));
	self->pid = spawn();
	ASSERT_LE(0, self->pid);
	if (!self->pid)
		_exit(serve(self->to, self->fro, variant->strategy));
	ASSERT_EQ(0, scatto_producer_attach(self->to, &self->p));
	ASSERT_EQ(0, scatto_consumer_attach(self->fro, &self->c));
	ASSERT_EQ(0, scatto_producer_set_wait(self->p, variant->strategy));
	ASSERT_EQ(0, scatto_consumer_set_wait(self->c, variant->strategy));
	/* It is there. */
	ASSERT_EQ(0, scatto_send(self->p, &v) ?: scatto_recv(self->c, &v));
	ASSERT_EQ(1, v);
}

FIXTURE_TEARDOWN(library)
{
	kill(self->pid, SIGCONT);
	scatto_producer_close(self->p);
	scatto_consumer_close(self->c);
	scatto_channel_free(self->to);
	scatto_channel_free(self->fro);
	EXPECT_EQ(0, reap(self->pid));
}

/* Requests and answers, by two calls and by one. */
TEST_F_TIMEOUT(library, round_trips, 120)
{
	uint64_t i, v, begin = now_ns();
	struct scatto_info info;

	errno = ERRNO;
	for (i = 0; i < ROUNDS && test_goes_on(begin, 10); i++) {
		v = 2 * i;
		ASSERT_EQ(0, i % 2 ? scatto_call(self->p, &v, self->c, &v, SCATTO_FOREVER) :
				     scatto_send(self->p, &v) ?: scatto_recv(self->c, &v));
		ASSERT_EQ(2 * i + 1, v);
	}
	EXPECT_EQ(ERRNO, errno);
	ASSERT_EQ(0, scatto_consumer_info(self->c, &info));
	printf("# %llu of %llu rounds slept\n", info.data_sleeps, (unsigned long long)i);
	if (variant->strategy == SCATTO_STRATEGY_BLOCK)
		EXPECT_LT(0, info.data_sleeps);
	if (!sleeps(variant->strategy))
		EXPECT_EQ(0, info.data_sleeps);
}

static void nothing(int sig)
{
	(void)sig;
}

struct interrupter {
	pid_t tid;
	long call;
	int ret;
};

/* Says in which call the thread sleeps, and wakes it by a signal. */
static void *interrupt(void *arg)
{
	struct interrupter *in = arg;

	if (!wait_for(task_in_call(in->tid), PATIENCE_MS))
		return NULL;
	in->call = task_syscall(in->tid);
	in->ret = syscall(SYS_tgkill, getpid(), in->tid, SIGUSR1);
	return NULL;
}

/* Makes @step sleep and be interrupted: in a call of number @call, errno as it was. */
static void interrupt_step(struct __test_metadata *_metadata, FIXTURE_DATA(library) *self,
			   int (*step)(FIXTURE_DATA(library) *self), long call)
{
	struct sigaction sa = { .sa_handler = nothing };
	struct interrupter in = { .tid = thread_id() };
	pthread_t thread;

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, pthread_create(&thread, NULL, interrupt, &in));
	errno = ERRNO;
	EXPECT_EQ(-EINTR, step(self));
	EXPECT_EQ(ERRNO, errno);
	pthread_join(thread, NULL);
	EXPECT_EQ(call, in.call);
	errno = ERRNO;
}

static int step_recv(FIXTURE_DATA(library) *self)
{
	uint64_t v;

	return scatto_recv(self->c, &v);
}

static int step_send(FIXTURE_DATA(library) *self)
{
	uint64_t v = 0;

	return scatto_send(self->p, &v);
}

TEST_F(library, interrupted)
{
	uint64_t v;

	if (!sleeps(variant->strategy))
		SKIP(return, "signals do not end what does not sleep");
	interrupt_step(_metadata, self, step_recv, variant->by_ioctl ? SYS_ioctl : SYS_lseek);

	/* A deadline needs the ioctl, whatever the form. */
	EXPECT_EQ(-ETIMEDOUT, scatto_recv_until(self->c, &v, scatto_deadline(1000000)));
	EXPECT_EQ(ERRNO, errno);
}

/* A producer that waits for room: kind SPSC by WAIT, kind MPSC by CLAIM. */
TEST_F(library, full)
{
	bool by_ioctl = variant->by_ioctl || variant->kind == SCATTO_KIND_MPSC;
	uint64_t v = 0;

	if (!sleeps(variant->strategy))
		SKIP(return, "signals do not end what does not sleep");
	/* Nobody reads any more. */
	ASSERT_EQ(0, kill(self->pid, SIGSTOP));
	ASSERT_TRUE(wait_for(task_state(self->pid) == 'T', PATIENCE_MS));
	while (!scatto_try_send(self->p, &v))
		;
	interrupt_step(_metadata, self, step_send, by_ioctl ? SYS_ioctl : SYS_lseek);
	EXPECT_EQ(-ETIMEDOUT, scatto_send_until(self->p, &v, scatto_deadline(1000000)));
	EXPECT_EQ(ERRNO, errno);
	ASSERT_EQ(0, kill(self->pid, SIGCONT));
	EXPECT_EQ(0, scatto_recv(self->c, &v));
	EXPECT_EQ(1, v);
	/* There is room again. */
	EXPECT_EQ(0, scatto_send(self->p, &v));
	EXPECT_EQ(ERRNO, errno);
}

TEST_HARNESS_MAIN
