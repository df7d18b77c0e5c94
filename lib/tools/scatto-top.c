// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * scatto-top: shows what the scheduler does, from the events that
 * scatto_sched.ko streams into a channel.
 *
 * It sleeps until something happens, and then a little longer, so that a batch
 * of events gathers: where much happens it is not woken for each event, where
 * nothing happens not at all.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <linux/scatto_sched.h>
#include <scatto.h>

#include "histogram.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define NSEC_PER_SEC	1000000000ULL
#define NSEC_PER_MSEC	1000000ULL

#define MAX_CPUS	8192
#define MAX_TASKS	4096	/* a power of two */
#define SHOWN_CPUS	8
#define SHOWN_TASKS	8
#define SHOWN_GAPS	8
#define RUN		1024	/* events between two looks at the clock */

enum { SWITCH, FORK, EXEC, EXIT, NR_TYPES };

static const char * const type_names[NR_TYPES] = {
	"switch", "fork", "exec", "exit",
};

/* In total, and in the interval that is shown. */
struct count {
	__u64 total;
	__u64 now;
};

struct cpu {
	struct count events;
	struct count switches;
	__u64 busy_ns;	/* in the interval */
	__u64 idle_ns;
	__u64 since;		/* the last switch, to this task: */
	__s32 running;
	bool known;
};

/* Of one name: what comes and goes by the thousand has one entry. */
struct task {
	char comm[SCATTO_SCHED_COMM_LEN];
	struct count switches;
	struct count run_ns;
};

struct gap {
	__u64 lost;
	__u64 seq;		/* of the event behind it */
	__u64 before_ns;	/* times of the events around it */
	__u64 after_ns;
};

static const char *name = "sched";
static __u64 seconds, count_limit;
static double interval = 1;
static __u32 batch = 64;
static __u64 delay = NSEC_PER_MSEC;
static bool plain;
static const char *totals_path;

static struct cpu cpus[MAX_CPUS];
static unsigned int nr_cpus;
/* A hash table, and one more for those who find no place in it. */
static struct task tasks[MAX_TASKS + 1] = {
	[MAX_TASKS] = { .comm = "(others)" },
};

static unsigned int nr_tasks;
static struct count types[NR_TYPES];
static struct count received;
static __u64 held, unknown;
static struct histogram latency, latency_now;
static struct gap gaps[SHOWN_GAPS];
static __u64 nr_gaps, last_event_ns, runs;

static __u64 began, shown_at;
static unsigned int lines_up;
static atomic_bool stopped;

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static void bump(struct count *c, __u64 by)
{
	c->total += by;
	c->now += by;
}

static struct task *find_task(const char *comm)
{
	__u32 hash = 2166136261U;
	const char *s;

	for (s = comm; s < comm + SCATTO_SCHED_COMM_LEN && *s; s++)
		hash = (hash ^ (unsigned char)*s) * 16777619U;

	for (;; hash++) {
		struct task *t = &tasks[hash & (MAX_TASKS - 1)];

		if (!t->comm[0]) {
			/* A quarter stays empty, so that searches are short. */
			if (nr_tasks >= MAX_TASKS / 4 * 3)
				return &tasks[MAX_TASKS];
			nr_tasks++;
			memcpy(t->comm, comm, sizeof(t->comm));
			return t;
		}
		if (!strncmp(t->comm, comm, sizeof(t->comm)))
			return t;
	}
}

/*
 * The time since the last switch of this CPU belongs to the task that leaves,
 * provided that it is the one that came: after a loss it may be another.
 */
static void take_switch(const struct scatto_sched_event *ev, struct cpu *cpu)
{
	const struct scatto_sched_task *prev = &ev->task[0];
	const struct scatto_sched_task *next = &ev->task[1];

	bump(&cpu->switches, 1);
	if (cpu->known && cpu->running == prev->pid &&
	    ev->time_ns >= cpu->since) {
		__u64 ran = ev->time_ns - cpu->since;

		if (prev->pid) {
			cpu->busy_ns += ran;
			bump(&find_task(prev->comm)->run_ns, ran);
		} else {
			cpu->idle_ns += ran;
		}
	}
	cpu->known = true;
	cpu->running = next->pid;
	cpu->since = ev->time_ns;
	if (next->pid)
		bump(&find_task(next->comm)->switches, 1);
}

static void take(const struct scatto_sched_event *ev, __u64 now)
{
	struct cpu *cpu = &cpus[ev->cpu % MAX_CPUS];

	bump(&received, 1);
	bump(&cpu->events, 1);
	if (ev->cpu >= nr_cpus && ev->cpu < MAX_CPUS)
		nr_cpus = ev->cpu + 1;

	switch (ev->type) {
	case SCATTO_SCHED_SWITCH:
		bump(&types[SWITCH], 1);
		take_switch(ev, cpu);
		break;
	case SCATTO_SCHED_FORK:
		bump(&types[FORK], 1);
		break;
	case SCATTO_SCHED_EXEC:
		bump(&types[EXEC], 1);
		break;
	case SCATTO_SCHED_EXIT:
		bump(&types[EXIT], 1);
		break;
	default:
		unknown++;
	}

	last_event_ns = ev->time_ns;
	if (ev->flags & SCATTO_SCHED_HELD) {
		/* Late on purpose, which says nothing about the channel. */
		held++;
		return;
	}
	/* The kernel's fast clock may be ahead by some nanoseconds. */
	now = now > ev->time_ns ? now - ev->time_ns : 0;
	histogram_add(&latency, now);
	histogram_add(&latency_now, now);
}

/* Returns the number of events read, or -errno when there are none. */
static int take_run(struct scatto_consumer *c)
{
	const struct scatto_sched_event *ev;
	__u64 now, lost, left = RUN;
	int i, n;

	if (count_limit && count_limit - received.total < left)
		left = count_limit - received.total;
	n = scatto_peek(c, left);
	if (n <= 0)
		return n;

	now = now_ns();
	runs++;
	lost = scatto_lost(c);
	if (lost) {
		ev = scatto_peek_slot(c, 0);
		if (nr_gaps < SHOWN_GAPS)
			gaps[nr_gaps] = (struct gap) {
				.lost = lost,
				.seq = scatto_consumer_position(c),
				.before_ns = last_event_ns,
				.after_ns = ev->time_ns,
			};
		nr_gaps++;
	}
	for (i = 0; i < n; i++)
		take(scatto_peek_slot(c, i), now);
	scatto_release(c, n);
	return n;
}

static const char *duration(char *buf, __u64 ns)
{
	if (ns < 1000)
		sprintf(buf, "%llu ns", ns);
	else if (ns < NSEC_PER_MSEC)
		sprintf(buf, "%.4g us", ns / 1e3);
	else if (ns < NSEC_PER_SEC)
		sprintf(buf, "%.4g ms", ns / 1e6);
	else
		sprintf(buf, "%.4g s", ns / 1e9);
	return buf;
}

/* A task chooses its name: to the terminal nothing of it may be a command. */
static const char *printable(char *buf, const char *comm)
{
	int i;

	for (i = 0; i < SCATTO_SCHED_COMM_LEN - 1 && comm[i]; i++)
		buf[i] = comm[i] >= ' ' && comm[i] <= '~' ? comm[i] : '?';
	buf[i] = '\0';
	return buf;
}

static int busier_cpu(const void *a, const void *b)
{
	const struct cpu *x = *(struct cpu * const *)a;
	const struct cpu *y = *(struct cpu * const *)b;

	if (x->events.now != y->events.now)
		return x->events.now < y->events.now ? 1 : -1;
	return x < y ? -1 : 1;
}

static int by_number(const void *a, const void *b)
{
	const struct cpu *x = *(struct cpu * const *)a;
	const struct cpu *y = *(struct cpu * const *)b;

	return x < y ? -1 : 1;
}

static int busier_task(const void *a, const void *b)
{
	const struct task *x = *(struct task * const *)a;
	const struct task *y = *(struct task * const *)b;

	if (x->run_ns.now != y->run_ns.now)
		return x->run_ns.now < y->run_ns.now ? 1 : -1;
	if (x->switches.now != y->switches.now)
		return x->switches.now < y->switches.now ? 1 : -1;
	return x < y ? -1 : 1;
}

/* One line of the table; what was there before is erased. */
#define LINE(fmt, ...) \
	do { \
		printf("\r" fmt "\033[K\n", ##__VA_ARGS__); \
		lines_up++; \
	} while (0)

static void show_cpus(double elapsed, unsigned int room)
{
	static struct cpu *order[MAX_CPUS];
	unsigned int i, n = 0, shown;

	for (i = 0; i < nr_cpus; i++) {
		if (cpus[i].events.total)
			order[n++] = &cpus[i];
	}
	qsort(order, n, sizeof(order[0]), busier_cpu);
	shown = n < room ? n : room;
	qsort(order, shown, sizeof(order[0]), by_number);

	LINE("%6s %12s %12s %8s", "cpu", "events/s", "switches/s", "busy");
	for (i = 0; i < shown; i++) {
		const struct cpu *cpu = order[i];
		__u64 known = cpu->busy_ns + cpu->idle_ns;

		LINE("%6d %12.0f %12.0f %7.0f%%", (int)(cpu - cpus),
		     cpu->events.now / elapsed, cpu->switches.now / elapsed,
		     known ? 100.0 * cpu->busy_ns / known : 0);
	}
	if (n > shown)
		LINE("   and %u with fewer", n - shown);
}

static void show_tasks(double elapsed, unsigned int room)
{
	static struct task *order[MAX_TASKS + 1];
	char comm[SCATTO_SCHED_COMM_LEN];
	unsigned int i, n = 0;

	for (i = 0; i <= MAX_TASKS; i++) {
		if (tasks[i].switches.now || tasks[i].run_ns.now)
			order[n++] = &tasks[i];
	}
	qsort(order, n, sizeof(order[0]), busier_task);

	LINE("  %-16s %14s %14s", "task", "switches/s", "run ms/s");
	for (i = 0; i < n && i < room; i++)
		LINE("  %-16s %14.0f %14.1f", printable(comm, order[i]->comm),
		     order[i]->switches.now / elapsed,
		     order[i]->run_ns.now / 1e6 / elapsed);
	/* The table keeps its height. */
	for (; i < room; i++)
		LINE("%s", "");
}

static unsigned int fill_percent(const struct scatto_consumer *c)
{
	struct scatto_info info = { .size = sizeof(info) };

	if (scatto_consumer_info(c, &info))
		return 0;
	return 100 * (info.published - info.consumed) / info.layout.capacity;
}

static void show_table(const struct scatto_consumer *c, double elapsed)
{
	unsigned int i, rows = 24, fixed, room;
	char p50[32], p99[32], max[32];
	struct winsize size;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_row)
		rows = size.ws_row;

	if (lines_up)
		printf("\033[%uA", lines_up);
	lines_up = 0;

	LINE("%s: %.1f s, %.0f events/s, %llu lost, ring %u%% full",
	     name, (shown_at - began) / 1e9, received.now / elapsed,
	     (__u64)scatto_lost_total(c), fill_percent(c));
	LINE("tracepoint to here: p50 %s, p99 %s, max %s",
	     duration(p50, histogram_percentile(&latency_now, 50)),
	     duration(p99, histogram_percentile(&latency_now, 99)),
	     duration(max, latency_now.max));
	LINE("%8s %12s %12s", "type", "events/s", "total");
	for (i = 0; i < NR_TYPES; i++)
		LINE("%8s %12.0f %12llu", type_names[i],
		     types[i].now / elapsed, types[i].total);

	/* What the window has left, CPUs first. */
	fixed = lines_up + 4;
	room = rows > fixed ? rows - fixed : 2;
	i = nr_cpus < SHOWN_CPUS ? nr_cpus : SHOWN_CPUS;
	if (i > room / 2)
		i = room / 2;
	show_cpus(elapsed, i);
	room -= i;
	show_tasks(elapsed, room < SHOWN_TASKS ? room : SHOWN_TASKS);
}

static void show_line(const struct scatto_consumer *c, double elapsed)
{
	char p50[32], p99[32], max[32];
	unsigned int i;

	printf("%6.1f s %8.0f events/s:", (shown_at - began) / 1e9,
	       received.now / elapsed);
	for (i = 0; i < NR_TYPES; i++)
		printf(" %s %.0f", type_names[i], types[i].now / elapsed);
	printf("; lost %llu; p50 %s p99 %s max %s\n",
	       (__u64)scatto_lost_total(c),
	       duration(p50, histogram_percentile(&latency_now, 50)),
	       duration(p99, histogram_percentile(&latency_now, 99)),
	       duration(max, latency_now.max));
}

static void show(const struct scatto_consumer *c)
{
	__u64 now = now_ns();
	double elapsed = (now - shown_at) / 1e9;
	unsigned int i;

	shown_at = now;
	if (plain)
		show_line(c, elapsed);
	else
		show_table(c, elapsed);
	fflush(stdout);

	received.now = 0;
	for (i = 0; i < NR_TYPES; i++)
		types[i].now = 0;
	for (i = 0; i < nr_cpus; i++) {
		cpus[i].events.now = 0;
		cpus[i].switches.now = 0;
		cpus[i].busy_ns = 0;
		cpus[i].idle_ns = 0;
	}
	for (i = 0; i <= MAX_TASKS; i++) {
		tasks[i].switches.now = 0;
		tasks[i].run_ns.now = 0;
	}
	memset(&latency_now, 0, sizeof(latency_now));
}

static double cpu_seconds(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_utime.tv_sec + ru.ru_stime.tv_sec +
	       (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static void summary_lost(const struct scatto_consumer *c, __u64 dropped)
{
	__u64 located = scatto_lost_total(c);
	__u64 i;

	printf("lost            %12llu\n", dropped);
	for (i = 0; i < nr_gaps && i < SHOWN_GAPS; i++) {
		const struct gap *g = &gaps[i];

		printf("    %llu between event %llu (%.6f s) and %llu (%.6f s)\n",
		       g->lost, g->seq - 1, g->before_ns / 1e9,
		       g->seq, g->after_ns / 1e9);
	}
	if (nr_gaps > SHOWN_GAPS)
		printf("    and in %llu further places\n",
		       nr_gaps - SHOWN_GAPS);
	if (dropped > located)
		printf("    %llu behind the last event received\n",
		       dropped - located);
}

static void summary_latency(void)
{
	static const double percent[] = { 50, 90, 99, 99.9 };
	char buf[32];
	size_t i;

	printf("from tracepoint to this process (%llu events):\n",
	       latency.count);
	for (i = 0; i < ARRAY_SIZE(percent); i++)
		printf("    p%-5g %s\n", percent[i],
		       duration(buf, histogram_percentile(&latency,
							  percent[i])));
	printf("    max    %s\n", duration(buf, latency.max));
}

/* For scripts. */
static int write_totals(__u64 lost)
{
	FILE *f = fopen(totals_path, "w");

	if (f) {
		fprintf(f, "received=%llu\nlost=%llu\nplaces=%llu\n",
			received.total, lost, nr_gaps);
		if (!fclose(f))
			return 0;
	}
	fprintf(stderr, "scatto-top: cannot write %s: %s\n", totals_path,
		strerror(errno));
	return 1;
}

static int summary(const struct scatto_consumer *c,
		   const struct scatto_info *first)
{
	struct scatto_info info = { .size = sizeof(info) };
	double elapsed = (now_ns() - began) / 1e9;
	__u64 stored, unread, dropped, tombstones = scatto_tombstones(c);
	unsigned int i;
	int ret;

	ret = scatto_consumer_info(c, &info);
	if (ret) {
		fprintf(stderr, "scatto-top: cannot read the channel's totals: %s\n",
			strerror(-ret));
		return 1;
	}
	stored = info.published - first->position;
	unread = info.published - scatto_consumer_position(c);
	dropped = info.dropped - first->dropped;

	printf("\nsummary of %.1f s of channel \"%s\" (capacity %llu)\n",
	       elapsed, name, info.layout.capacity);
	printf("received        %12llu  %.0f/s\n", received.total,
	       received.total / elapsed);
	for (i = 0; i < NR_TYPES; i++)
		printf("    %-12s%12llu  %.0f/s\n", type_names[i],
		       types[i].total, types[i].total / elapsed);
	if (unknown)
		printf("    %-12s%12llu\n", "unknown", unknown);
	summary_lost(c, dropped);
	printf("stored          %12llu  %llu received, %llu empty, %llu unread\n",
	       stored, received.total, tombstones, unread);
	summary_latency();
	printf("    (it waits for %u events, up to %g ms from the first;\n"
	       "    %llu switches of its own came late by design and are left out)\n",
	       batch, delay / 1e6, held);
	printf("effort: slept %llu times, %.0f events at a time, %.2f s of CPU\n",
	       info.data_sleeps - first->data_sleeps,
	       runs ? (double)received.total / runs : 0, cpu_seconds());

	if (received.total + tombstones + unread != stored ||
	    scatto_lost_total(c) > dropped) {
		fprintf(stderr, "scatto-top: the kernel's totals are not what came\n");
		return 1;
	}
	return totals_path ? write_totals(dropped) : 0;
}

/* Until a limit, a signal, or the end of the stream. */
static int watch(struct scatto_consumer *c)
{
	__u64 end = seconds ? began + seconds * NSEC_PER_SEC : UINT64_MAX;
	__u64 step = (__u64)(interval * 1e9);
	__u64 next = began + step;
	int ret;

	while (!stopped) {
		__u64 now = now_ns(), until;

		if (now >= end)
			break;
		if (now >= next) {
			show(c);
			next += step;
			/* After a stop no rush of tables. */
			if (next <= now)
				next = now + step;
		}
		until = next < end ? next : end;
		/* A signal just before the sleep must not have to wait long. */
		if (until > now + NSEC_PER_SEC)
			until = now + NSEC_PER_SEC;
		ret = scatto_wait_data(c, 1, until);
		if (ret > 0 && batch > 1) {
			now = now_ns() + delay;
			ret = scatto_wait_data(c, batch,
					       now < until ? now : until);
		}
		if (ret < 0 && ret != -ETIMEDOUT && ret != -EINTR &&
		    ret != -EPIPE)
			return ret;
		ret = take_run(c);
		if (ret == -EPIPE) {
			printf("the stream has ended\n");
			break;
		}
		if (ret < 0 && ret != -EAGAIN)
			return ret;
		if (count_limit && received.total == count_limit)
			break;
	}
	return 0;
}

static const char *reason(int err)
{
	switch (err) {
	case -ENODEV:
		return "there is no /dev/scatto; load the module scatto";
	case -ENOENT:
		return "it does not exist; is the module scatto_sched loaded?";
	case -EACCES:
	case -EPERM:
		if (access("/dev/scatto", R_OK | W_OK))
			return "this user may not open /dev/scatto";
		return "not permitted; scatto_sched has parameters mode, uid, gid";
	case -EBUSY:
		return "somebody else reads it; a channel has one consumer";
	case -EPIPE:
		return "its stream has ended";
	default:
		return strerror(-err);
	}
}

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: scatto-top [options]\n"
		"Shows scheduler events as they happen, then a summary.\n"
		"\n"
		"  -s, --seconds N   stop after N seconds (default: at Ctrl-C)\n"
		"  -c, --count N     stop after N events\n"
		"  -i, --interval S  seconds from one update to the next (default 1)\n"
		"  -b, --batch N     wake up for N events... (default 64)\n"
		"  -d, --delay MS    ...or so many milliseconds after the first (default 1)\n"
		"  -n, --name NAME   channel to read (default sched)\n"
		"  -p, --plain       a line per update, as when stdout is no terminal\n"
		"  -t, --totals FILE write received=, lost=, places= there at the end\n"
		"  -h, --help\n");
}

static __u64 parse_number(const char *text, const char *what, __u64 max)
{
	unsigned long long value;
	char *rest;

	errno = 0;
	value = strtoull(text, &rest, 10);
	if (errno || *rest || rest == text || !value || value > max) {
		fprintf(stderr, "scatto-top: %s: \"%s\" is no number from 1 to %llu\n",
			what, text, max);
		exit(2);
	}
	return value;
}

static double parse_fraction(const char *text, const char *what, double max)
{
	double value;
	char *rest;

	value = strtod(text, &rest);
	if (*rest || rest == text || !(value >= 0.001 && value <= max)) {
		fprintf(stderr, "scatto-top: %s: \"%s\" is no number from 0.001 to %g\n",
			what, text, max);
		exit(2);
	}
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'c' },
		{ "interval", required_argument, NULL, 'i' },
		{ "batch", required_argument, NULL, 'b' },
		{ "delay", required_argument, NULL, 'd' },
		{ "name", required_argument, NULL, 'n' },
		{ "plain", no_argument, NULL, 'p' },
		{ "totals", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int opt;

	plain = !isatty(STDOUT_FILENO);
	while ((opt = getopt_long(argc, argv, "s:c:i:b:d:n:pt:h", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			seconds = parse_number(optarg, "--seconds", 1000000000);
			break;
		case 'c':
			count_limit = parse_number(optarg, "--count", UINT64_MAX);
			break;
		case 'i':
			interval = parse_fraction(optarg, "--interval", 86400);
			break;
		case 'b':
			batch = parse_number(optarg, "--batch", SCATTO_MAX_CAPACITY);
			break;
		case 'd':
			delay = (__u64)(parse_fraction(optarg, "--delay", 1e6) * 1e6);
			break;
		case 'n':
			name = optarg;
			break;
		case 'p':
			plain = true;
			break;
		case 't':
			totals_path = optarg;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct scatto_info first = { .size = sizeof(first) };
	struct sigaction sa = { .sa_handler = on_signal };
	struct scatto_consumer *c;
	int ret, status;

	parse(argc, argv);

	/* Without SA_RESTART: a signal ends the sleep. */
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);

	ret = scatto_consumer_open(name, &c);
	if (!ret)
		ret = scatto_consumer_info(c, &first);
	if (ret) {
		fprintf(stderr, "scatto-top: cannot read channel \"%s\": %s\n",
			name, reason(ret));
		return 1;
	}
	if (!(first.layout.flags & SCATTO_F_KERNEL) ||
	    first.layout.slot_size != sizeof(struct scatto_sched_event)) {
		fprintf(stderr, "scatto-top: channel \"%s\" does not carry scheduler events\n",
			name);
		return 1;
	}
	if (batch > first.layout.capacity)
		batch = first.layout.capacity;
	/* Spinning would show up in what is measured. */
	scatto_consumer_set_wait(c, SCATTO_STRATEGY_BLOCK);

	began = now_ns();
	shown_at = began;
	ret = watch(c);
	if (ret)
		fprintf(stderr, "scatto-top: reading stopped: %s\n",
			strerror(-ret));
	status = summary(c, &first);
	scatto_consumer_close(c);
	return ret ? 1 : status;
}
