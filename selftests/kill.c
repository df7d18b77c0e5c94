// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sudden death, thousands of times: a process that holds one end dies at some
 * moment of whatever it does, in one of the ways processes die. Whoever holds
 * the other end, spinning, sleeping or polling, learns of it; what the dead one
 * had published is there; nothing is left behind.
 */
#include "kselftest_harness.h"
#include "util.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>

#define CAPACITY	8
#define MS		1000000ULL

/* What the two know of each other besides the channel; outlives both. */
struct shared {
	volatile uint64_t done;		/* the victim: events surely published */
	volatile uint64_t died_ns;	/* just before the deadly act */
	volatile uint32_t ready;
	volatile uint32_t wrong;	/* the victim has read nonsense */
};

enum death {
	DEATH_KILL,		/* SIGKILL from outside */
	DEATH_SEGV,
	DEATH_EXIT_GROUP,	/* by another thread */
	DEATH_TERM,		/* a signal nobody handles, to any thread */
	NR_DEATHS,
};

enum doing {
	DOING_EVENTS,		/* moves, spins when it cannot */
	DOING_WAIT,		/* sleeps in WAIT when it cannot */
	DOING_POLL,		/* sleeps in poll when it cannot */
	DOING_MAPS,		/* maps and unmaps all the time, too */
	NR_DOINGS,
};

static uint64_t payload(uint64_t seq)
{
	return (seq + 1) * 0x9e3779b97f4a7c15ULL;
}

/* Waits for @position, in the way that @how says. */
static void rest(struct end *end, uint64_t position, enum doing how)
{
	struct pollfd pfd = {
		.fd = end->fd,
		.events = end->role == SCATTO_ROLE_PRODUCER ? POLLOUT : POLLIN,
	};

	if (how == DOING_WAIT)
		dev_wait(end->fd, position, -1);
	else if (how == DOING_POLL)
		poll(&pfd, 1, -1);
}

static void *exit_group_main(void *arg)
{
	struct shared *shared = arg;

	shared->died_ns = now_ns();
	_exit(0);
}

static void die(struct shared *shared, enum death death)
{
	pthread_t thread;

	switch (death) {
	case DEATH_SEGV:
		shared->died_ns = now_ns();
		*(volatile int *)NULL = 0;
		break;
	case DEATH_EXIT_GROUP:
		pthread_create(&thread, NULL, exit_group_main, shared);
		for (;;)
			pause();
	default:
		break;
	}
}

/* One step: an event sent or received, if that is possible now. */
static bool step(struct end *end, struct shared *shared, uint64_t *at)
{
	uint64_t value;

	if (end->role == SCATTO_ROLE_PRODUCER) {
		if (end_send(end, payload(*at)) < 0)
			return false;
	} else {
		if (end_recv(end, &value) < 0)
			return false;
		if (value != payload(*at))
			shared->wrong = 1;
	}
	shared->done = ++*at;
	return true;
}

static void *idle_main(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* The victim: lives until it is killed, or for @life steps. */
static void victim(struct shared *shared, int owner, uint32_t role,
		   enum doing doing, enum death death, unsigned int life)
{
	const struct scatto_region *r;
	uint64_t at = 0;
	struct end end;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	if (end_attach(&end, role, owner)) {
		shared->wrong = 2;
		_exit(1);
	}
	/* From here on it may die at any moment: half mapped, for example. */
	shared->ready = 1;
	if (end_map(&end)) {
		shared->wrong = 3;
		_exit(1);
	}
	if (death == DEATH_TERM)
		pthread_create(&thread, NULL, idle_main, NULL);
	r = &end.layout.region[SCATTO_REGION_CHANNEL];
	for (;;) {
		if (step(&end, shared, &at)) {
			if (at == life)
				die(shared, death);
		} else {
			rest(&end, role == SCATTO_ROLE_PRODUCER ?
				   at + 1 - CAPACITY : at + 1, doing);
		}
		if (doing == DOING_MAPS) {
			void *p = mmap(NULL, r->size, PROT_READ, MAP_SHARED,
				       end.fd, r->offset);

			munmap(p, r->size);
		}
	}
}

static volatile pid_t kill_pid;
static int kill_sig;
static struct shared *kill_shared;

/* Not by a second process: the survivor may be asleep in the kernel. */
static void on_alarm(int sig)
{
	(void)sig;
	kill_shared->died_ns = now_ns();
	kill(kill_pid, kill_sig);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Lines of /proc/vmallocinfo: channels that still have memory. */
static int channels_in_memory(void)
{
	static char buf[1 << 20];
	char *at = buf;
	int n = 0;

	if (read_file("/proc/vmallocinfo", buf, sizeof(buf)) < 0)
		return -1;
	while ((at = strstr(at, "scatto_channel_new"))) {
		at++;
		n++;
	}
	return n;
}

/* Follows the victim until the end of the stream; when that was, or 0. */
static uint64_t survive(struct end *end, struct shared *shared, enum doing how,
			uint64_t *at)
{
	uint64_t until = now_ns() + PATIENCE_MS * MS;
	bool producer = end->role == SCATTO_ROLE_PRODUCER;

	while (now_ns() < until) {
		uint64_t want = producer ? *at + 1 - CAPACITY : *at + 1;
		struct scatto_wait w = {
			.size = sizeof(w), .want = want,
			.flags = SCATTO_WAIT_DEADLINE, .deadline = until,
		};
		struct pollfd pfd = {
			.fd = end->fd, .events = producer ? POLLOUT : POLLIN,
		};
		uint64_t value;
		int ret;

		if (end_is_over(end) && (producer || *at == end->area->end))
			return now_ns();
		if (producer) {
			ret = end_send(end, payload(*at));
		} else {
			ret = end_recv(end, &value);
			if (ret >= 0 && value != payload(*at))
				shared->wrong = 4;
		}
		if (ret >= 0) {
			++*at;
			continue;
		}
		/* Once round the ring there is always somebody to wait for. */
		if (producer && *at < CAPACITY)
			continue;
		if (how == DOING_WAIT)
			ret = dev_ioctl(end->fd, SCATTO_IOC_WAIT, &w);
		else if (how == DOING_POLL)
			ret = poll(&pfd, 1, PATIENCE_MS);
	}
	return 0;
}

FIXTURE(kill)
{
	struct shared *shared;
	int dev;
	int listed, in_memory;
};

FIXTURE_SETUP(kill)
{
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	self->dev = dev_open();
	ASSERT_LE(0, self->dev);
	self->listed = dev_list_count(self->dev);
	self->in_memory = channels_in_memory();
	ASSERT_LE(0, self->in_memory);
}

/* Nothing of any channel is left, however it went. */
FIXTURE_TEARDOWN(kill)
{
	EXPECT_EQ(self->listed, dev_list_count(self->dev));
	/* vfree() may be deferred. */
	EXPECT_TRUE(wait_for(channels_in_memory() == self->in_memory, 5000));
	close(self->dev);
	munmap(self->shared, sizeof(*self->shared));
}

TEST_F_TIMEOUT(kill, survivor_learns_of_it, 3000)
{
	unsigned long kills = test_count(10000, 300), i, how_many[2][NR_DEATHS] = {};
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	uint64_t seed = 0x123456789abcdefULL, begin = now_ns(), events = 0;
	struct shared *shared = self->shared;
	long long free_kb, now_free_kb;
	uint64_t *took;

	took = calloc(kills, sizeof(*took));
	ASSERT_NE(NULL, took);
	memset(took, 1, kills * sizeof(*took));
	kill_shared = shared;
	sigaction(SIGALRM, &sa, NULL);
	free_kb = 0;

	for (i = 0; i < kills && test_goes_on(begin, 60); i++) {
		bool producer = chance(&seed) & 1;
		enum death death = chance(&seed) % 2 ? DEATH_KILL :
				   chance(&seed) % NR_DEATHS;
		enum doing doing = chance(&seed) % NR_DOINGS;
		enum doing how = chance(&seed) % (DOING_POLL + 1);
		unsigned int us = 1 + chance(&seed) % (chance(&seed) % 4 ? 300 : 3000);
		unsigned int life = 1 + chance(&seed) % 200;
		bool alarmed = death == DEATH_KILL || death == DEATH_TERM;
		struct itimerval timer = { .it_value.tv_usec = us };
		uint64_t at = 0, known;
		struct end end;
		char name[SCATTO_NAME_LEN];
		pid_t pid;
		int owner;

		/* Once all caches have filled. */
		if (i == kills / 4)
			free_kb = read_number("/proc/meminfo", "MemFree:");
		memset(shared, 0, sizeof(*shared));
		snprintf(name, sizeof(name), "kill-%d-%lu", getpid(), i);
		owner = channel_create(name, 0600, 8, CAPACITY, 0);
		ASSERT_LE(0, owner);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			victim(shared, owner, producer ? SCATTO_ROLE_PRODUCER :
			       SCATTO_ROLE_CONSUMER, doing, death,
			       alarmed ? 0 : life);
		ASSERT_EQ(0, end_open(&end, producer ? SCATTO_ROLE_CONSUMER :
						       SCATTO_ROLE_PRODUCER, owner));
		while (!shared->ready && !shared->wrong)
			sched_yield();
		if (alarmed) {
			kill_pid = pid;
			kill_sig = death == DEATH_KILL ? SIGKILL : SIGTERM;
			setitimer(ITIMER_REAL, &timer, NULL);
		}
		known = survive(&end, shared, how, &at);
		/* Before anybody has reaped it. */
		ASSERT_NE(0, known)
			TH_LOG("death %d of a %s while doing %d was not seen by one who does %d",
			       death, producer ? "producer" : "consumer", doing, how);
		ASSERT_EQ(0, shared->wrong);
		took[i] = known - shared->died_ns;
		if (producer) {
			/* All it had published, and at most one it was at. */
			EXPECT_LE(shared->done, at);
			EXPECT_GE(shared->done + 1, at);
			EXPECT_EQ(end.area->end, at);
		} else {
			EXPECT_GE(at, shared->done);
			EXPECT_GE(shared->done + 1, end_cursor(&end));
			EXPECT_LE(shared->done, end_cursor(&end));
			/* Comes after the state by which we saw it. */
			EXPECT_TRUE(wait_for(!end.area->data_wake, PATIENCE_MS));
		}
		events += at;
		EXPECT_LE(0, reap(pid));
		end_drop(&end);
		close(owner);
		how_many[producer][death]++;
	}
	kills = i;
	qsort(took, kills, sizeof(*took), compare);
	printf("# %lu deaths, %.0f per second, %llu events\n", kills,
	       kills / ((now_ns() - begin) / 1e9), (unsigned long long)events);
	printf("# seen after %.0f us (median), %.0f us (99 %%), %.0f us (most)\n",
	       took[kills / 2] / 1e3,
	       took[kills * 99 / 100] / 1e3, took[kills - 1] / 1e3);
	printf("# SIGKILL %lu, SIGSEGV %lu, exit_group %lu, SIGTERM %lu; producers %lu\n",
	       how_many[0][DEATH_KILL] + how_many[1][DEATH_KILL],
	       how_many[0][DEATH_SEGV] + how_many[1][DEATH_SEGV],
	       how_many[0][DEATH_EXIT_GROUP] + how_many[1][DEATH_EXIT_GROUP],
	       how_many[0][DEATH_TERM] + how_many[1][DEATH_TERM],
	       how_many[1][0] + how_many[1][1] + how_many[1][2] + how_many[1][3]);
	now_free_kb = read_number("/proc/meminfo", "MemFree:");
	printf("# free memory: %lld kB after a quarter of them, %lld kB in the end\n",
	       free_kb, now_free_kb);
	/*
	 * Each channel had 16 kB: one in four kept would show among thousands.
	 * What a few hundred leave is lost in what the kernel frees later.
	 */
	if (kills >= 3000)
		EXPECT_GT(8192 + (long long)kills * 3, free_kb - now_free_kb);
	free(took);
}

/* Both ends at once: an onlooker sees it, and the channel is gone with it. */
TEST_F_TIMEOUT(kill, both_at_once, 600)
{
	unsigned long kills = test_count(2000, 60), i;
	uint64_t seed = 4711, begin = now_ns();
	struct shared *shared = self->shared;

	for (i = 0; i < kills && test_goes_on(begin, 20); i++) {
		struct pollfd pfd = { .events = POLLIN };
		pid_t pid[2];
		struct end o;
		int owner, j;

		memset(shared, 0, sizeof(*shared));
		owner = channel_create(NULL, 0, 8, CAPACITY, 0);
		ASSERT_LE(0, owner);
		ASSERT_EQ(0, end_open(&o, SCATTO_ROLE_OBSERVER, owner));
		for (j = 0; j < 2; j++) {
			pid[j] = fork();
			ASSERT_LE(0, pid[j]);
			if (!pid[j])
				victim(shared, owner, j ? SCATTO_ROLE_PRODUCER :
				       SCATTO_ROLE_CONSUMER,
				       chance(&seed) % NR_DOINGS, DEATH_KILL, 0);
		}
		chance(&seed);
		while (!o.area->producers || !o.area->consumers)
			sched_yield();
		usleep(chance(&seed) % 500);
		kill(pid[i & 1], SIGKILL);
		kill(pid[~i & 1], SIGKILL);
		pfd.fd = o.fd;
		EXPECT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
		EXPECT_EQ(POLLHUP, pfd.revents);
		EXPECT_TRUE(wait_for(o.area->state == (SCATTO_STATE_NO_CONSUMER |
						       SCATTO_STATE_NO_PRODUCER),
				     PATIENCE_MS));
		EXPECT_EQ(0, shared->wrong);
		reap(pid[0]);
		reap(pid[1]);
		EXPECT_GE(CAPACITY, o.prod->published - o.cons->cursor);
		end_drop(&o);
		close(owner);
	}
	printf("# %lu pairs\n", i);
}

/* A pausing channel sees a row of producers die; the consumer gets every event. */
TEST_F_TIMEOUT(kill, successors_go_on, 600)
{
	unsigned long kills = test_count(2000, 60), i;
	uint64_t seed = 31337, at = 0, value, begin = now_ns();
	struct shared *shared = self->shared;
	struct end c;
	int owner;

	owner = channel_create(NULL, 0, 8, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&c, SCATTO_ROLE_CONSUMER, owner));
	for (i = 0; i < kills && test_goes_on(begin, 20); i++) {
		uint64_t from = c.prod->published, until;
		struct end p;
		pid_t pid;

		memset(shared, 0, sizeof(*shared));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			uint64_t n;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (end_open(&p, SCATTO_ROLE_PRODUCER, owner) ||
			    p.position != from) {
				shared->wrong = 1;
				_exit(1);
			}
			n = p.position;
			shared->ready = 1;
			for (;;) {
				if (end_send(&p, payload(n)) >= 0)
					shared->done = ++n;
				else
					dev_wait(p.fd, n + 1 - CAPACITY, -1);
			}
		}
		while (!shared->ready && !shared->wrong)
			sched_yield();
		until = now_ns() + chance(&seed) % 1000000;
		while (now_ns() < until)
			if (end_recv(&c, &value) >= 0)
				ASSERT_EQ(payload(at++), value);
		kill(pid, SIGKILL);
		ASSERT_TRUE(wait_for(!c.area->producers, PATIENCE_MS));
		ASSERT_EQ(0, shared->wrong);
		EXPECT_LE(shared->done, c.prod->published);
		while (end_recv(&c, &value) >= 0)
			ASSERT_EQ(payload(at++), value);
		EXPECT_EQ(c.prod->published, at);
		reap(pid);
	}
	printf("# %lu producers one after the other, %llu events\n", i,
	       (unsigned long long)at);
	end_drop(&c);
	close(owner);
}

/* The OOM killer's way, which reaps memory before the process is gone. */
TEST_F_TIMEOUT(kill, out_of_memory, 120)
{
	char dir[64], path[96];
	struct shared *shared = self->shared;
	uint64_t at = 0;
	struct end c;
	int owner, i;
	pid_t pid;

	snprintf(dir, sizeof(dir), "/sys/fs/cgroup/scatto-kill-%d", getpid());
	if (mkdir(dir, 0755))
		SKIP(return, "no cgroup2 file system to limit memory in");
	snprintf(path, sizeof(path), "%s/memory.max", dir);
	if (write_file(path, "%d\n", 16 << 20)) {
		rmdir(dir);
		SKIP(return, "no memory controller");
	}
	for (i = 0; i < 3; i++) {
		memset(shared, 0, sizeof(*shared));
		at = 0;
		owner = channel_create(NULL, 0, 8, CAPACITY, 0);
		ASSERT_LE(0, owner);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct end p;
			uint64_t n;

			snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
			if (write_file(path, "0\n") ||
			    end_open(&p, SCATTO_ROLE_PRODUCER, owner))
				_exit(1);
			for (n = 0; n < 5; n++)
				end_send(&p, payload(n));
			shared->done = n;
			shared->ready = 1;
			for (;;) {
				char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

				shared->died_ns = now_ns();
				memset(m, 1, 1 << 20);
			}
		}
		ASSERT_EQ(0, end_open(&c, SCATTO_ROLE_CONSUMER, owner));
		while (!shared->ready && task_state(pid) != 'Z')
			sched_yield();
		EXPECT_NE(0, survive(&c, shared, i % (DOING_POLL + 1), &at));
		EXPECT_EQ(5, at);
		EXPECT_EQ(0, shared->wrong);
		EXPECT_EQ(128 + SIGKILL, reap(pid));
		end_drop(&c);
		close(owner);
	}
	rmdir(dir);
}

TEST_HARNESS_MAIN
