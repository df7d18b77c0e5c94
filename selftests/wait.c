// SPDX-License-Identifier: GPL-2.0-only
/*
 * SCATTO_IOC_WAIT and SCATTO_IOC_WAKE: who sleeps, until when, and that nobody
 * sleeps on. The stress tests come last.
 *
 * A lost wake-up shows as a WAIT that comes back at its deadline, whatever it
 * returns then: it looks once more before it gives up.
 */
#include "kselftest_harness.h"
#include "util.h"

#include <limits.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CAPACITY	8
#define MS		1000000ULL

FIXTURE(wait)
{
	int owner;
	struct end p, c;
};

FIXTURE_SETUP(wait)
{
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
}

FIXTURE_TEARDOWN(wait)
{
	end_drop(&self->p);
	end_drop(&self->c);
	close(self->owner);
}

static uint64_t info_sleeps(int fd, bool data)
{
	struct scatto_info info;

	if (dev_info(fd, &info))
		return UINT64_MAX;
	return data ? info.data_sleeps : info.space_sleeps;
}

static uint64_t info_wakes(int fd, bool data)
{
	struct scatto_info info;

	if (dev_info(fd, &info))
		return UINT64_MAX;
	return data ? info.data_wakes : info.space_wakes;
}

TEST_F(wait, for_data)
{
	struct sleeper s;
	uint64_t value;

	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 1));
	EXPECT_FALSE(s.done);
	EXPECT_EQ(1, self->c.area->data_wake);
	EXPECT_EQ(1, end_send(&self->p, 42));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(0, end_recv(&self->c, &value));
	EXPECT_EQ(42, value);
	EXPECT_EQ(1, info_sleeps(self->owner, true));
	EXPECT_EQ(1, info_wakes(self->owner, true));
	EXPECT_EQ(0, info_sleeps(self->owner, false));
	EXPECT_EQ(0, info_wakes(self->owner, false));
	EXPECT_EQ(SCATTO_WAKE_IDLE, self->c.area->data_wake);
}

TEST_F(wait, for_space)
{
	struct sleeper s;
	uint64_t value;
	int i;

	for (i = 0; i < CAPACITY; i++)
		ASSERT_EQ(0, end_send(&self->p, i));
	EXPECT_EQ(-EAGAIN, end_send(&self->p, i));
	ASSERT_EQ(0, sleeper_start(&s, self->p.fd, 1));
	EXPECT_FALSE(s.done);
	EXPECT_EQ(1, self->p.area->space_wake);
	EXPECT_EQ(1, end_recv(&self->c, &value));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(0, end_send(&self->p, i));
	EXPECT_EQ(1, info_sleeps(self->owner, false));
	EXPECT_EQ(1, info_wakes(self->owner, false));
	EXPECT_EQ(0, info_sleeps(self->owner, true));
	EXPECT_EQ(SCATTO_WAKE_IDLE, self->p.area->space_wake);
}

TEST_F(wait, returns_at_once_when_there)
{
	ASSERT_EQ(0, end_send(&self->p, 1));
	EXPECT_EQ(0, dev_wait(self->c.fd, 1, -1));
	EXPECT_EQ(0, dev_wait(self->c.fd, 0, -1));
	EXPECT_EQ(0, dev_wait(self->p.fd, 0, -1));
	EXPECT_EQ(0, info_sleeps(self->owner, true));
	EXPECT_EQ(0, info_sleeps(self->owner, false));
}

/* Below the threshold nobody is called, nobody is scheduled. */
TEST_F(wait, threshold_of_data)
{
	struct sleeper s;
	long long switches;
	int i;

	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 5));
	switches = task_switches(s.tid);
	EXPECT_EQ(5, self->p.area->data_wake);
	for (i = 1; i < 5; i++) {
		ASSERT_EQ(0, end_send(&self->p, i));
		/* Whoever calls all the same wakes nobody. */
		EXPECT_EQ(0, dev_wake(self->p.fd));
		EXPECT_EQ(5, self->p.area->data_wake);
	}
	for (i = 0; i < 1000; i++)
		EXPECT_EQ(0, dev_wake(self->p.fd));
	EXPECT_FALSE(sleeper_done(&s, 50));
	EXPECT_TRUE(task_in_call(s.tid));
	EXPECT_EQ(switches, task_switches(s.tid));
	EXPECT_EQ(1, end_send(&self->p, 5));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(1, info_sleeps(self->owner, true));
	EXPECT_EQ(1, info_wakes(self->owner, true));
}

TEST_F(wait, threshold_of_space)
{
	struct sleeper s;
	long long switches;
	uint64_t value;
	int i;

	for (i = 0; i < CAPACITY; i++)
		ASSERT_EQ(0, end_send(&self->p, i));
	ASSERT_EQ(0, sleeper_start(&s, self->p.fd, 6));
	switches = task_switches(s.tid);
	for (i = 1; i < 6; i++) {
		ASSERT_EQ(0, end_recv(&self->c, &value));
		EXPECT_EQ(0, dev_wake(self->c.fd));
		EXPECT_EQ(6, self->c.area->space_wake);
	}
	for (i = 0; i < 1000; i++)
		EXPECT_EQ(0, dev_wake(self->c.fd));
	EXPECT_FALSE(sleeper_done(&s, 50));
	EXPECT_EQ(switches, task_switches(s.tid));
	EXPECT_EQ(1, end_recv(&self->c, &value));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(1, info_wakes(self->owner, false));
}

static int sleep_for_enough(struct sleeper *s, struct end *end, uint64_t want,
			    uint64_t enough, int ms)
{
	*s = (struct sleeper){ .fd = end->fd, .arg = {
		.want = want, .enough = enough,
		.flags = SCATTO_WAIT_ENOUGH | SCATTO_WAIT_DEADLINE,
		.deadline = now_ns() + ms * MS,
	} };
	return sleeper_start_args(s);
}

/*
 * 4 of 8 are full; the one wants 5 to read, the other 5 to write: both would
 * wait for ever. One of them is let go and moves, then so is the other.
 */
TEST_F(wait, two_thresholds)
{
	struct sleeper s, t;
	uint64_t value;
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, end_send(&self->p, i));

	for (i = 0; i < 2; i++) {
		bool ready;

		if (!i)
			ASSERT_EQ(0, sleep_for_enough(&s, &self->c, 5, 1, PATIENCE_MS));
		ASSERT_EQ(0, sleep_for_enough(&t, &self->p, 1, 0, PATIENCE_MS));
		if (i)
			ASSERT_EQ(0, sleep_for_enough(&s, &self->c, 5, 1, PATIENCE_MS));
		ready = wait_for(s.done || t.done, PATIENCE_MS / 2);
		ASSERT_TRUE(ready);
		/* Whom that lets go is woken by it. */
		EXPECT_EQ(!s.done || !t.done,
			  s.done ? end_recv(&self->c, &value) :
				   end_send(&self->p, 4));
		EXPECT_EQ(0, sleeper_join(&s));
		EXPECT_EQ(0, sleeper_join(&t));
		EXPECT_GT(s.arg.deadline, s.woke_ns);
		EXPECT_GT(t.arg.deadline, t.woke_ns);
		/* As it was. */
		end_publish(&self->p, 4);
		end_release(&self->c, 0);
	}

	/* Only those are let go that say what is enough... */
	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 5));
	ASSERT_EQ(0, sleep_for_enough(&t, &self->p, 1, 1, 50));
	EXPECT_EQ(-ETIMEDOUT, sleeper_join(&t));
	EXPECT_FALSE(s.done);
	EXPECT_EQ(1, end_send(&self->p, 4));
	EXPECT_EQ(0, sleeper_join(&s));
	/* ...and only while the other side sleeps. */
	ASSERT_EQ(0, sleep_for_enough(&s, &self->c, 6, 1, 50));
	EXPECT_EQ(-ETIMEDOUT, sleeper_join(&s));
}

TEST_F(wait, deadline)
{
	static const int ms[] = { 1, 5, 20, 100 };
	struct scatto_wait arg = {
		.size = sizeof(arg), .flags = SCATTO_WAIT_DEADLINE, .want = 1,
	};
	struct sleeper s;
	uint64_t begin;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(ms); i++) {
		arg.deadline = now_ns() + ms[i] * MS;
		EXPECT_EQ(-ETIMEDOUT,
			  dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
		EXPECT_LE(arg.deadline, now_ns());
		EXPECT_GT(arg.deadline + 5000 * MS, now_ns());
		EXPECT_EQ(SCATTO_WAKE_IDLE, self->c.area->data_wake);
	}

	/* In the past: at once. */
	begin = now_ns();
	for (i = 0; i < 3; i++) {
		arg.deadline = i == 0 ? 0 : i == 1 ? 1 : begin - 1;
		EXPECT_EQ(-ETIMEDOUT,
			  dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	}
	EXPECT_GT(1000 * MS * test_slowness(), now_ns() - begin);

	/* What is there is there, however late. */
	ASSERT_EQ(0, end_send(&self->p, 1));
	EXPECT_EQ(0, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));

	/* As far away as can be said. */
	s = (struct sleeper){ .fd = self->c.fd, .arg = {
		.want = 2, .flags = SCATTO_WAIT_DEADLINE, .deadline = UINT64_MAX,
	} };
	ASSERT_EQ(0, sleeper_start_args(&s));
	EXPECT_FALSE(sleeper_done(&s, 50));
	EXPECT_EQ(1, end_send(&self->p, 2));
	EXPECT_EQ(0, sleeper_join(&s));
}

/* Waits in a time namespace whose monotonic clock is @seconds off. */
static int wait_in_timens(int owner, struct end *p, int seconds)
{
	struct scatto_wait arg = {
		.size = sizeof(arg), .flags = SCATTO_WAIT_DEADLINE, .want = 1,
	};
	struct sleeper s;
	uint64_t took;
	struct end c;
	int ret;

	if (unshare(CLONE_NEWTIME))
		return errno == EINVAL ? 4 : 10;
	if (write_file("/proc/self/timens_offsets", "monotonic %d 0\n", seconds))
		return 11;
	/* Children are in the new one. */
	ret = fork();
	if (ret)
		return ret < 0 ? 12 : reap(ret);
	if (end_open(&c, SCATTO_ROLE_CONSUMER, owner))
		_exit(20);
	took = now_ns();
	arg.deadline = took + 100 * MS;
	ret = dev_ioctl(c.fd, SCATTO_IOC_WAIT, &arg);
	took = now_ns() - took;
	if (ret != -ETIMEDOUT)
		_exit(21);
	if (took < 100 * MS)
		_exit(22);
	if (took > 5000 * MS)
		_exit(23);
	s = (struct sleeper){ .fd = c.fd, .arg = {
		.want = 1, .flags = SCATTO_WAIT_DEADLINE, .deadline = UINT64_MAX,
	} };
	if (sleeper_start_args(&s))
		_exit(24);
	/* The furthest deadline has not passed, wherever the clock stands. */
	if (sleeper_done(&s, 50))
		_exit(25);
	/* The producer's mapping stayed behind, its endpoint did not. */
	if (dev_close(p->fd) || sleeper_join(&s))
		_exit(26);
	_exit(0);
}

TEST_F(wait, deadline_in_time_namespace)
{
	static const int offsets[] = { 1000, -3 };
	unsigned int i;

	/* No clock may stand before the beginning. */
	EXPECT_TRUE(wait_for(now_ns() > 4000 * MS, PATIENCE_MS));
	end_drop(&self->c);
	end_drop(&self->p);
	for (i = 0; i < ARRAY_LEN(offsets); i++) {
		int owner = channel_create(NULL, 0, 8, CAPACITY, 0), ret;
		struct end p;
		pid_t pid;

		ASSERT_LE(0, owner);
		ASSERT_EQ(0, end_open(&p, SCATTO_ROLE_PRODUCER, owner));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(wait_in_timens(owner, &p, offsets[i]));
		ret = reap(pid);
		if (ret == 4)
			SKIP(return, "the kernel has no time namespaces");
		EXPECT_EQ(0, ret) TH_LOG("offset %d s", offsets[i]);
		end_drop(&p);
		close(owner);
	}
}

static volatile int signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

static void catch(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

TEST_F(wait, signal_interrupts)
{
	struct sleeper s;

	catch(SIGUSR1, 0);
	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 1));
	pthread_kill(s.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, sleeper_join(&s));
	EXPECT_EQ(SCATTO_WAKE_IDLE, self->c.area->data_wake);
	EXPECT_EQ(0, end_send(&self->p, 1));
}

TEST_F(wait, signal_restarts)
{
	static const int forms[] = { 0, SEEK_DATA, SEEK_END };
	struct sleeper s;
	unsigned int k;
	int i;

	catch(SIGUSR2, SA_RESTART);
	for (k = 0; k < ARRAY_LEN(forms); k++) {
		signals = 0;
		s = (struct sleeper){ .fd = self->c.fd, .whence = forms[k], .arg = {
			.want = k + 1, .wake_fd = forms[k] ? self->c.fd : 0,
		} };
		ASSERT_EQ(0, sleeper_start_args(&s));
		for (i = 1; i <= 5; i++) {
			pthread_kill(s.thread, SIGUSR2);
			ASSERT_TRUE(wait_for(signals == i && task_in_call(s.tid),
					     PATIENCE_MS));
			EXPECT_FALSE(s.done);
		}
		EXPECT_EQ(1, end_publish(&self->p, k + 1));
		EXPECT_EQ(0, sleeper_join(&s));
	}

	/* A deadline is a point in time, so a restart does not move it. */
	s = (struct sleeper){ .fd = self->c.fd, .arg = {
		.want = 4, .flags = SCATTO_WAIT_DEADLINE,
		.deadline = now_ns() + 300 * MS,
	} };
	ASSERT_EQ(0, sleeper_start_args(&s));
	for (i = 0; i < 100 && !sleeper_done(&s, 10); i++)
		pthread_kill(s.thread, SIGUSR2);
	EXPECT_EQ(-ETIMEDOUT, sleeper_join(&s));
	EXPECT_GT(100, i);
	EXPECT_LE(s.arg.deadline, s.woke_ns);
}

TEST_F(wait, stop_and_continue)
{
	struct scatto_info info;
	struct end c;
	pid_t pid;
	int i;

	end_drop(&self->c);
	end_drop(&self->p);
	close(self->owner);
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (end_open(&c, SCATTO_ROLE_CONSUMER, self->owner))
			_exit(1);
		_exit(dev_wait(c.fd, 1, -1) ? 2 : 0);
	}
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(wait_for(task_in_call(pid), PATIENCE_MS));
		kill(pid, SIGSTOP);
		ASSERT_TRUE(wait_for(task_state(pid) == 'T', PATIENCE_MS));
		/* Stopped is not dead. */
		ASSERT_EQ(0, dev_info(self->owner, &info));
		EXPECT_EQ(1, info.consumers);
		EXPECT_EQ(0, info.state);
		kill(pid, SIGCONT);
	}
	ASSERT_TRUE(wait_for(task_in_call(pid), PATIENCE_MS));
	/* Published while it is stopped: found when it goes on. */
	kill(pid, SIGSTOP);
	ASSERT_TRUE(wait_for(task_state(pid) == 'T', PATIENCE_MS));
	EXPECT_LE(0, end_send(&self->p, 1));
	kill(pid, SIGCONT);
	EXPECT_EQ(0, reap(pid));
}

TEST_F(wait, nonblock)
{
	uint64_t value;
	int i;

	ASSERT_EQ(0, fcntl(self->c.fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, fcntl(self->p.fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, dev_wait(self->c.fd, 1, -1));
	EXPECT_EQ(-EAGAIN, dev_wait(self->c.fd, 1, 1000));
	for (i = 0; i < CAPACITY; i++)
		ASSERT_EQ(0, end_send(&self->p, i));
	EXPECT_EQ(0, dev_wait(self->c.fd, CAPACITY, -1));
	EXPECT_EQ(-EAGAIN, dev_wait(self->p.fd, 1, -1));
	EXPECT_EQ(0, end_recv(&self->c, &value));
	EXPECT_EQ(0, dev_wait(self->p.fd, 1, -1));
	EXPECT_EQ(0, info_sleeps(self->owner, true));
}

/*
 * Who was let go because the other side slept too stays so, also when that one
 * is gone again before it runs.
 */
TEST_F(wait, what_was_given_counts)
{
	struct scatto_wait arg = {
		.size = sizeof(arg), .want = 1000000,
		.flags = SCATTO_WAIT_DEADLINE,
	};
	uint64_t at = 0, value;
	int i, given = 0;

	/* On one CPU, so that the other thread does not run at once. */
	ASSERT_EQ(0, pin(0));
	for (i = 0; i < 200; i++, at += 2) {
		struct sleeper s;

		ASSERT_LE(0, end_send(&self->p, at));
		ASSERT_EQ(0, sleep_for_enough(&s, &self->c, at + 2, at + 1,
					      PATIENCE_MS));
		ASSERT_FALSE(s.done);
		arg.deadline = i & 1 ? 0 : now_ns() + 10000;
		EXPECT_EQ(-ETIMEDOUT, dev_ioctl(self->p.fd, SCATTO_IOC_WAIT, &arg));
		given += sleeper_done(&s, 1);
		ASSERT_LE(0, end_send(&self->p, at + 1));
		ASSERT_EQ(0, sleeper_join(&s));
		ASSERT_GT(s.arg.deadline, s.woke_ns);
		ASSERT_LE(0, end_recv(&self->c, &value));
		ASSERT_LE(0, end_recv(&self->c, &value));
	}
	EXPECT_LT(100, given);
}

/* There is a limit to how many may sleep, and those who do are not disturbed. */
TEST_F(wait, too_many_sleepers)
{
	static struct sleeper s[1100];
	int i, refused = 0, slept = 0;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 16);
	for (i = 0; i < (int)ARRAY_LEN(s); i++) {
		s[i] = (struct sleeper){ .fd = self->c.fd, .arg = {
			.size = sizeof(s[i].arg), .want = 1,
		} };
		ASSERT_EQ(0, pthread_create(&s[i].thread, &attr, sleeper_main,
					    &s[i]));
	}
	EXPECT_TRUE(wait_for(info_sleeps(self->owner, true) >= 1024, PATIENCE_MS));
	sleep_ms(100);
	EXPECT_LE(0, end_send(&self->p, 1));
	for (i = 0; i < (int)ARRAY_LEN(s); i++) {
		int ret = sleeper_join(&s[i]);

		EXPECT_TRUE(!ret || ret == -EUSERS);
		refused += ret == -EUSERS;
		slept += !ret;
	}
	EXPECT_LE(1024, slept);
	EXPECT_LT(0, refused);
	pthread_attr_destroy(&attr);
}

/* The word is always the smallest of those that are still there. */
TEST_F(wait, many_sleepers_of_one_endpoint)
{
	struct sleeper s[CAPACITY + 1];
	int i, j;

	catch(SIGUSR1, 0);
	/* The largest first, so that each one that comes moves the word. */
	for (i = CAPACITY; i >= 1; i--) {
		s[i] = (struct sleeper){ .fd = self->c.fd, .arg = { .want = i } };
		if (i == 2) {
			s[i].arg.flags = SCATTO_WAIT_DEADLINE;
			s[i].arg.deadline = now_ns() + 500 * MS;
		}
		ASSERT_EQ(0, sleeper_start_args(&s[i]));
		EXPECT_EQ(i, self->p.area->data_wake);
	}
	/* One leaves by a signal, one by its deadline, one in the middle. */
	pthread_kill(s[1].thread, SIGUSR1);
	EXPECT_EQ(-EINTR, sleeper_join(&s[1]));
	EXPECT_LE(2, self->p.area->data_wake);
	EXPECT_EQ(-ETIMEDOUT, sleeper_join(&s[2]));
	EXPECT_EQ(3, self->p.area->data_wake);
	pthread_kill(s[5].thread, SIGUSR1);
	EXPECT_EQ(-EINTR, sleeper_join(&s[5]));
	EXPECT_EQ(3, self->p.area->data_wake);

	/* Each of the others goes when its own is reached. */
	for (i = 1; i <= CAPACITY; i++) {
		bool waits = i >= 3 && i != 5;

		EXPECT_EQ(waits, end_send(&self->p, i)) TH_LOG("event %d", i);
		if (waits)
			EXPECT_EQ(0, sleeper_join(&s[i]));
		for (j = i + 1; j <= CAPACITY; j++)
			if (j >= 3 && j != 5)
				EXPECT_FALSE(s[j].done);
	}
	EXPECT_EQ(SCATTO_WAKE_IDLE, self->p.area->data_wake);
}

TEST_F(wait, wake_and_wait)
{
	struct sleeper s, t;
	struct end p, c;
	int owner, i;

	owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&p, SCATTO_ROLE_PRODUCER, owner));
	ASSERT_EQ(0, end_open(&c, SCATTO_ROLE_CONSUMER, owner));

	for (i = 1; i <= 6; i++) {
		ASSERT_EQ(0, sleeper_start(&s, self->c.fd, i));
		/* Published, and nobody told: the call below does that. */
		__atomic_store_n(&self->p.prod->published, i, __ATOMIC_RELEASE);
		EXPECT_FALSE(sleeper_done(&s, 20));
		t = (struct sleeper){ .fd = c.fd, .whence = i % 2 ? SEEK_END : 0, .arg = {
			.want = i, .flags = SCATTO_WAIT_WAKE,
			.wake_fd = self->p.fd,
		} };
		ASSERT_EQ(0, sleeper_start_args(&t));
		EXPECT_EQ(0, sleeper_join(&s));
		EXPECT_FALSE(t.done);
		EXPECT_EQ(1, end_send(&p, i));
		EXPECT_EQ(0, sleeper_join(&t));
	}
	EXPECT_EQ(6, info_wakes(self->owner, true));

	/* Without a reason to wait it wakes all the same. */
	t.arg.want = 0;
	for (i = 7; i <= 8; i++) {
		ASSERT_EQ(0, sleeper_start(&s, self->c.fd, i));
		__atomic_store_n(&self->p.prod->published, i, __ATOMIC_RELEASE);
		EXPECT_EQ(0, i % 2 ? dev_seek(c.fd, SCATTO_SEEK(0, self->p.fd), SEEK_END) :
				     dev_ioctl(c.fd, SCATTO_IOC_WAIT, &t.arg));
		EXPECT_EQ(0, sleeper_join(&s));
	}

	end_drop(&p);
	end_drop(&c);
	close(owner);
}

/*
 * SEEK_END has the lower half of a position: the nearest to the consumer's cursor is
 * meant, whatever producers say they have published.
 */
TEST_F(wait, wake_and_wait_far_on)
{
	static const uint64_t at[] = { 1ULL << 31, 1ULL << 32, 5ULL << 32, 1ULL << 62 };
	unsigned int i;
	int k;

	for (i = 0; i < ARRAY_LEN(at); i++)
		for (k = -CAPACITY; k <= CAPACITY; k++) {
			uint64_t next = at[i] + k;
			struct sleeper s = { .fd = self->c.fd, .whence = SEEK_END, .arg = {
				.want = next + 1, .wake_fd = self->c.fd,
			} };

			self->c.cons->cursor = next;
			self->p.prod->published = next - (1ULL << 32);
			ASSERT_EQ(0, sleeper_start_args(&s));
			EXPECT_EQ(next + 1, self->p.area->data_wake);
			EXPECT_EQ(1, end_publish(&self->p, next + 1));
			EXPECT_EQ(0, sleeper_join(&s));
			/* That one is there, more are not. */
			EXPECT_EQ(0, fcntl(self->c.fd, F_SETFL, O_NONBLOCK));
			EXPECT_EQ(0, dev_seek(self->c.fd, SCATTO_SEEK(next + 1, self->c.fd),
					      SEEK_END));
			EXPECT_EQ(0, dev_seek(self->c.fd, SCATTO_SEEK(next - 1, self->c.fd),
					      SEEK_END));
			EXPECT_EQ(-EAGAIN, dev_seek(self->c.fd,
						    SCATTO_SEEK(next + 2, self->c.fd), SEEK_END));
			EXPECT_EQ(-EAGAIN, dev_seek(self->c.fd, SCATTO_SEEK(next + CAPACITY,
									    self->c.fd), SEEK_END));
			EXPECT_EQ(0, fcntl(self->c.fd, F_SETFL, 0));
		}
}

TEST_F(wait, wake_and_wait_errors)
{
	struct scatto_wait arg = {
		.size = sizeof(arg), .flags = SCATTO_WAIT_WAKE,
	};
	int fds[2], unbound;

	/* Each beats what could be returned for the wait itself. */
	arg.wake_fd = -1;
	EXPECT_EQ(-EBADF, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.wake_fd = 1000;
	EXPECT_EQ(-EBADF, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	ASSERT_EQ(0, pipe(fds));
	arg.wake_fd = fds[1];
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	unbound = dev_open();
	ASSERT_LE(0, unbound);
	arg.wake_fd = unbound;
	EXPECT_EQ(-ENOTCONN, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.wake_fd = self->owner;
	EXPECT_EQ(-EPERM, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	ASSERT_EQ(0, dev_close(self->p.fd));
	arg.wake_fd = self->p.fd;
	EXPECT_EQ(-EPIPE, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.wake_fd = self->c.fd;
	EXPECT_EQ(0, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	close(unbound);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(wait, who_may_and_what)
{
	struct scatto_wait arg = { .size = sizeof(arg) };
	struct {
		struct scatto_wait arg;
		uint64_t more;
	} newer = { .arg = { .size = sizeof(newer) } };
	int unbound = dev_open();
	struct end o;

	ASSERT_LE(0, unbound);
	EXPECT_EQ(-ENOTCONN, dev_ioctl(unbound, SCATTO_IOC_WAIT, &arg));
	EXPECT_EQ(-ENOTCONN, dev_wake(unbound));
	EXPECT_EQ(-EPERM, dev_ioctl(self->owner, SCATTO_IOC_WAIT, &arg));
	EXPECT_EQ(-EPERM, dev_wake(self->owner));
	ASSERT_EQ(0, end_open(&o, SCATTO_ROLE_OBSERVER, self->owner));
	EXPECT_EQ(-EPERM, dev_ioctl(o.fd, SCATTO_IOC_WAIT, &arg));
	EXPECT_EQ(-EPERM, dev_wake(o.fd));

	EXPECT_EQ(0, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.flags = 1 << 3;
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.flags = 0;
	arg.deadline = 1;
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.deadline = 0;
	arg.wake_fd = 1;
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.wake_fd = 0;
	arg.reserved0 = 1;
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.reserved0 = 0;
	arg.want = 1;
	arg.enough = 1;
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg.flags = SCATTO_WAIT_ENOUGH;
	arg.enough = 2;
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	arg = (struct scatto_wait){ .size = sizeof(arg) - 1 };
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &arg));
	EXPECT_EQ(0, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &newer));
	newer.more = 1;
	EXPECT_EQ(-E2BIG, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, &newer));
	EXPECT_EQ(-EFAULT, dev_ioctl(self->c.fd, SCATTO_IOC_WAIT, NULL));
	EXPECT_EQ(-EINVAL, dev_ioctl(self->c.fd, SCATTO_IOC_WAKE, &arg));
	end_drop(&o);
	close(unbound);
}

/* Another thread ends the sleeper's own role. */
TEST_F(wait, own_role_ends)
{
	struct sleeper s;
	int i;

	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, 1));
	ASSERT_EQ(0, dev_close(self->c.fd));
	EXPECT_EQ(-EPIPE, sleeper_join(&s));
	EXPECT_EQ(-EPIPE, dev_wait(self->c.fd, 1, -1));
	EXPECT_EQ(-EPIPE, dev_wake(self->c.fd));

	end_drop(&self->p);
	end_drop(&self->c);
	close(self->owner);
	self->owner = channel_create(NULL, 0, 8, CAPACITY, 0);
	ASSERT_LE(0, self->owner);
	ASSERT_EQ(0, end_open(&self->p, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->c, SCATTO_ROLE_CONSUMER, self->owner));
	for (i = 0; i < CAPACITY; i++)
		ASSERT_EQ(0, end_send(&self->p, i));
	ASSERT_EQ(0, sleeper_start(&s, self->p.fd, 1));
	ASSERT_EQ(0, end_unmap_region(&self->p, SCATTO_REGION_PRODUCER));
	EXPECT_FALSE(sleeper_done(&s, 20));
	ASSERT_EQ(0, end_unmap_region(&self->p, SCATTO_REGION_DATA));
	EXPECT_EQ(-EPIPE, sleeper_join(&s));
}

/* The channel is closed under the sleeper: 0, and it sees for itself. */
TEST_F(wait, channel_is_closed)
{
	struct sleeper s, t;
	int i;

	for (i = 0; i < CAPACITY; i++)
		ASSERT_EQ(0, end_send(&self->p, i));
	ASSERT_EQ(0, sleeper_start(&s, self->c.fd, CAPACITY + 1));
	ASSERT_EQ(0, sleeper_start(&t, self->p.fd, 1));
	ASSERT_EQ(0, dev_close(self->owner));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(0, sleeper_join(&t));
	EXPECT_EQ(CAPACITY, self->c.area->end);
	EXPECT_TRUE(end_is_over(&self->p));
}

static uint64_t my_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static long rusage_us(const struct rusage *r)
{
	return (r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1000000L +
	       r->ru_utime.tv_usec + r->ru_stime.tv_usec;
}

/*
 * A second of sleep costs what falling asleep costs. A virtual machine's CPU
 * time includes what its host did meanwhile: the best of several counts.
 */
TEST_F(wait, uses_no_cpu_time)
{
	uint64_t best = UINT64_MAX;
	long best_us = LONG_MAX;
	int i;

	for (i = 0; i < 5 && (best > 5 * MS || best_us > 5000); i++) {
		struct rusage before, after;
		uint64_t cpu = my_cpu_ns();

		ASSERT_EQ(0, getrusage(RUSAGE_THREAD, &before));
		EXPECT_EQ(-ETIMEDOUT, dev_wait(self->c.fd, 1, 1000));
		ASSERT_EQ(0, getrusage(RUSAGE_THREAD, &after));
		cpu = my_cpu_ns() - cpu;
		EXPECT_GE(3, after.ru_nvcsw - before.ru_nvcsw);
		if (cpu < best)
			best = cpu;
		if (rusage_us(&after) - rusage_us(&before) < best_us)
			best_us = rusage_us(&after) - rusage_us(&before);
	}
	printf("# blocked for 1 s: %llu us of CPU time, %ld us by getrusage\n",
	       (unsigned long long)best / 1000, best_us);
	EXPECT_GT(10 * MS, best);
	EXPECT_GT(10000, best_us);
	EXPECT_EQ(i, info_sleeps(self->owner, true));
}

FIXTURE(hammer)
{
	int owner;
};

FIXTURE_VARIANT(hammer)
{
	bool one_cpu;
	bool data;		/* the sleeper waits for data, or space */
	bool thread;		/* both in one mm */
};

FIXTURE_VARIANT_ADD(hammer, data_two_cpus) { .data = true };
FIXTURE_VARIANT_ADD(hammer, data_one_cpu) { .data = true, .one_cpu = true };
FIXTURE_VARIANT_ADD(hammer, data_threads) { .data = true, .thread = true };
FIXTURE_VARIANT_ADD(hammer, space_two_cpus) { .data = false };
FIXTURE_VARIANT_ADD(hammer, space_one_cpu) { .one_cpu = true };

FIXTURE_SETUP(hammer)
{
	self->owner = channel_create(NULL, 0, 8, 2, 0);
	ASSERT_LE(0, self->owner);
}

FIXTURE_TEARDOWN(hammer)
{
	close(self->owner);
}

struct mover {
	struct end end;
	bool one_cpu;
	unsigned long rounds;
	volatile uint64_t *answer;	/* where the sleeper's steps show */
	volatile __u64 *word;
	uint64_t lead;
};

/*
 * Makes one step, and spins until the sleeper has answered, so that no later
 * step can repair what was lost at this one. It never sleeps itself: a WAIT
 * would look after the other side.
 */
static void mover_run(struct mover *m)
{
	uint64_t seed = 88172645463325252ULL, i;
	bool data = m->end.role == SCATTO_ROLE_PRODUCER;

	for (i = 0; i < m->rounds; i++) {
		while (__atomic_load_n(m->answer, __ATOMIC_ACQUIRE) < i + m->lead) {
			if (end_is_over(&m->end))
				return;
			if (m->one_cpu)
				sched_yield();
		}
		/* Half of the time just when the sleeper has armed its word. */
		if (chance(&seed) & 1) {
			while (*m->word > i + 1 && !end_is_over(&m->end))
				if (m->one_cpu)
					sched_yield();
			dither(&seed, 300);
		} else {
			dither(&seed, 2000);
		}
		if (data)
			end_publish(&m->end, i + 1);
		else
			end_release(&m->end, i + 1);
	}
}

static void *mover_main(void *arg)
{
	mover_run(arg);
	return NULL;
}

/*
 * The sleeper goes to sleep while the mover is on its way to make the step it
 * waits for: the two meet at every point of the protocol.
 */
TEST_F_TIMEOUT(hammer, no_wakeup_is_lost, 1100)
{
	unsigned long rounds = test_count(1000000, 25000), slept = 0, i;
	uint64_t seed = 2463534242ULL, begin, longest = 0;
	bool data = variant->data;
	/* Some machines need more rounds for as many sleeps. */
	struct mover m = {
		.one_cpu = variant->one_cpu, .rounds = 8 * rounds,
	};
	pthread_t thread;
	struct end end;
	pid_t pid = 0;

	ASSERT_EQ(0, pin(0));
	if (!variant->thread) {
		pid = fork();
		ASSERT_LE(0, pid);
	}
	if (variant->thread || !pid) {
		unsigned int role = data ? SCATTO_ROLE_PRODUCER :
					   SCATTO_ROLE_CONSUMER;

		if (!pid && !variant->thread)
			prctl(PR_SET_PDEATHSIG, SIGKILL);
		ASSERT_EQ(0, end_open(&m.end, role, self->owner));
		m.answer = data ? (volatile uint64_t *)&m.end.cons->cursor :
				  (volatile uint64_t *)&m.end.prod->published;
		m.word = data ? &m.end.area->data_wake : &m.end.area->space_wake;
		/* The other side starts two ahead of a releasing consumer. */
		m.lead = data ? 0 : 2;
		if (!variant->one_cpu)
			pin(1 % cpus_online());
	}
	if (variant->thread) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, mover_main, &m));
		ASSERT_EQ(0, pin(0));
	} else if (!pid) {
		mover_run(&m);
		/* Gone only when the sleeper has seen it all. */
		while (!end_is_over(&m.end))
			sched_yield();
		_exit(0);
	}
	ASSERT_EQ(0, end_open(&end, data ? SCATTO_ROLE_CONSUMER :
					   SCATTO_ROLE_PRODUCER, self->owner));
	if (!data)
		ASSERT_EQ(0, end_publish(&end, 2));

	catch(SIGALRM, 0);
	begin = now_ns();
	for (i = 1; i <= m.rounds && test_goes_on(begin, 10); i++) {
		struct scatto_wait arg = {
			.size = sizeof(arg), .want = i,
			.flags = SCATTO_WAIT_DEADLINE,
		};
		uint64_t t = now_ns();
		int ret;

		if (i > rounds && i % 1000 == 0) {
			slept = info_sleeps(self->owner, data);
			if (slept > rounds / 200)
				break;
		}
		dither(&seed, 1500);
		arg.deadline = t + 10000 * MS;
		if (i % 2) {
			ret = dev_ioctl(end.fd, SCATTO_IOC_WAIT, &arg);
		} else {
			/* Without a deadline: it is the signal that ends it. */
			alarm(10);
			ret = dev_seek(end.fd, i, data ? SEEK_DATA : SEEK_HOLE);
			alarm(0);
		}
		t = now_ns();
		ASSERT_EQ(0, ret);
		ASSERT_GT(arg.deadline, t)
			TH_LOG("the wake-up of round %lu was lost", i);
		if (t + 10000 * MS - arg.deadline > longest)
			longest = t + 10000 * MS - arg.deadline;
		if (data)
			end_release(&end, i);
		else
			end_publish(&end, i + 2);
	}
	slept = info_sleeps(self->owner, data);
	i--;
	printf("# %lu rounds in %.1f s, %lu slept, the longest wait %.1f ms\n",
	       i, (now_ns() - begin) / 1e9, slept, longest / 1e6);
	/* Without sleepers nothing was tested. */
	EXPECT_LT((i < rounds ? i : rounds) / 200, slept);
	dev_close(self->owner);
	if (variant->thread)
		pthread_join(thread, NULL);
	else
		EXPECT_EQ(0, reap(pid));
	end_drop(&end);
	end_drop(&m.end);
}

/* Several sleepers of one endpoint, some of which do not stay. */
#define CROWD	4

struct crowd_member {
	pthread_t thread;
	int fd;
	unsigned int nr;
	volatile uint64_t *position;
	volatile uint64_t waits_for;	/* ~0: for nothing it insists on */
	volatile bool *stop;
	unsigned long stays, leaves;
	uint64_t late;
};

static void *crowd_main(void *arg)
{
	struct crowd_member *m = arg;
	uint64_t seed = 0x9e3779b97f4a7c15ULL + m->nr;

	while (!*m->stop) {
		uint64_t at = *m->position;
		struct scatto_wait w = {
			.size = sizeof(w), .flags = SCATTO_WAIT_DEADLINE,
			.want = at + 1 + chance(&seed) % CROWD,
		};
		bool stays = chance(&seed) % 2;
		uint64_t now = now_ns();
		int ret;

		w.deadline = now + (stays ? 10000 * MS : chance(&seed) % 300000);
		if (stays)
			__atomic_store_n(&m->waits_for, w.want, __ATOMIC_SEQ_CST);
		do {
			ret = dev_ioctl(m->fd, SCATTO_IOC_WAIT, &w);
		} while (stays && ret == -EINTR);
		if (stays && now_ns() >= w.deadline && !*m->stop)
			m->late = w.want;
		__atomic_store_n(&m->waits_for, UINT64_MAX, __ATOMIC_SEQ_CST);
		if (stays)
			m->stays++;
		else
			m->leaves++;
	}
	return NULL;
}

TEST_F_TIMEOUT(wait, those_who_leave_disturb_nobody, 1100)
{
	unsigned long rounds = test_count(500000, 10000), i, stays = 0, leaves = 0;
	uint64_t begin;
	struct crowd_member m[CROWD] = {};
	volatile uint64_t position = 0;
	volatile bool stop = false;
	uint64_t seed = 1234567;
	unsigned int j;

	catch(SIGUSR1, 0);
	for (j = 0; j < CROWD; j++) {
		m[j] = (struct crowd_member){
			.fd = self->c.fd, .nr = j, .position = &position,
			.waits_for = UINT64_MAX, .stop = &stop,
		};
		ASSERT_EQ(0, pthread_create(&m[j].thread, NULL, crowd_main, &m[j]));
	}
	begin = now_ns();
	for (i = 1; i <= rounds && test_goes_on(begin, 10); i++) {
		uint64_t until = now_ns() + 15000 * MS;
		bool met;

		/* Somebody is to be there to be woken, most of the time. */
		do {
			met = false;
			for (j = 0; j < CROWD; j++)
				met |= m[j].waits_for != UINT64_MAX;
			if (!met)
				sched_yield();
		} while (!met && now_ns() < until);
		if (chance(&seed) % 8 == 0)
			pthread_kill(m[chance(&seed) % CROWD].thread, SIGUSR1);
		dither(&seed, 3000);
		self->c.cons->cursor = i;
		end_publish(&self->p, i);
		__atomic_store_n(&position, i, __ATOMIC_SEQ_CST);
		do {
			met = true;
			for (j = 0; j < CROWD; j++)
				met &= m[j].waits_for > i;
			if (!met)
				sched_yield();
		} while (!met && now_ns() < until);
		ASSERT_TRUE(met) TH_LOG("somebody sleeps on after %lu", i);
	}
	stop = true;
	dev_close(self->owner);
	for (j = 0; j < CROWD; j++) {
		pthread_join(m[j].thread, NULL);
		EXPECT_EQ(0, m[j].late);
		stays += m[j].stays;
		leaves += m[j].leaves;
	}
	printf("# %lu events in %.1f s, %lu waits that stayed, %lu that left\n",
	       i - 1, (now_ns() - begin) / 1e9, stays, leaves);
	EXPECT_LT(i / 10, stays);
	EXPECT_LT(100, leaves);
}

/* A reader and a writer of batches, in a ring too small for both batches. */
struct dance {
	struct end *end;
	unsigned long rounds;
	uint64_t begin;
	uint64_t late;
};

static void *dance_producer(void *arg)
{
	struct dance *d = arg;
	uint64_t at = 0;

	while (at < d->rounds && test_goes_on(d->begin, 10)) {
		uint64_t room = CAPACITY - (at - end_cursor(d->end));
		uint64_t n = room < 5 ? room : 5;
		struct scatto_wait w = {
			.size = sizeof(w), .want = at + 5 - CAPACITY,
			.enough = at + 1 - CAPACITY,
			.flags = SCATTO_WAIT_DEADLINE | SCATTO_WAIT_ENOUGH,
			.deadline = now_ns() + 10000 * MS,
		};

		/* Before the ring has gone round once there is room. */
		if (room < 5 && at >= CAPACITY) {
			if (dev_ioctl(d->end->fd, SCATTO_IOC_WAIT, &w) ||
			    now_ns() >= w.deadline) {
				d->late = at + 1;
				break;
			}
			room = CAPACITY - (at - end_cursor(d->end));
			n = room < 5 ? room : 5;
		}
		at += n;
		end_publish(d->end, at);
	}
	return NULL;
}

static void *dance_consumer(void *arg)
{
	struct dance *d = arg;
	uint64_t at = 0;

	while (at < d->rounds) {
		uint64_t n = end_published(d->end) - at;
		struct scatto_wait w = {
			.size = sizeof(w), .want = at + 5, .enough = at + 1,
			.flags = SCATTO_WAIT_DEADLINE | SCATTO_WAIT_ENOUGH,
			.deadline = now_ns() + 10000 * MS,
		};

		if (n < 5) {
			if (dev_ioctl(d->end->fd, SCATTO_IOC_WAIT, &w) ||
			    now_ns() >= w.deadline) {
				d->late = at + 1;
				break;
			}
			n = end_published(d->end) - at;
			if (!n && end_is_over(d->end))
				break;
		}
		at += n < 5 ? n : 5;
		end_release(d->end, at);
	}
	return NULL;
}

TEST_F_TIMEOUT(wait, two_thresholds_never_lock, 1100)
{
	unsigned long rounds = test_count(1000000, 50000);
	struct dance p = { &self->p, rounds, now_ns(), 0 }, c = p;
	pthread_t producer, consumer;
	struct scatto_info info;

	c.end = &self->c;
	ASSERT_EQ(0, pthread_create(&producer, NULL, dance_producer, &p));
	ASSERT_EQ(0, pthread_create(&consumer, NULL, dance_consumer, &c));
	pthread_join(producer, NULL);
	/* What remains may be fewer than the consumer wants. */
	dev_close(self->p.fd);
	pthread_join(consumer, NULL);
	EXPECT_EQ(0, p.late);
	EXPECT_EQ(0, c.late);
	ASSERT_EQ(0, dev_info(self->owner, &info));
	printf("# %lu events, slept %llu times for data, %llu for space\n",
	       (unsigned long)info.published,
	       (unsigned long long)info.data_sleeps,
	       (unsigned long long)info.space_sleeps);
	EXPECT_LT(0, info.data_sleeps + info.space_sleeps);
}

TEST_HARNESS_MAIN
