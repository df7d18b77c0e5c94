/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the benchmarks in the VM share: options, rows for the CSV, processes.
 */
#ifndef SELFTESTS_BENCH_VM_H
#define SELFTESTS_BENCH_VM_H

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <scatto.h>

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

static struct {
	bool quick;
	/* The clock counts instructions: see run. */
	bool instructions;
	unsigned int reps;
} opt;

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

/* @ret is -errno, or no error; @ret. */
static inline long check(const char *what, long ret)
{
	if (ret < 0)
		die("%s: %s", what, strerror(-ret));
	return ret;
}

/* @ret is -1 with errno, or no error; @ret. */
static inline long check_errno(const char *what, long ret)
{
	return check(what, ret == -1 ? -errno : ret);
}

static inline void options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "quick", no_argument, NULL, 'q' },
		{ "instructions", no_argument, NULL, 'i' },
		{ "reps", required_argument, NULL, 'r' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'q':
			opt.quick = true;
			break;
		case 'i':
			opt.instructions = true;
			break;
		case 'r':
			opt.reps = atoi(optarg);
			break;
		default:
			die("usage: [--quick] [--instructions] [--reps N]");
		}
	}
	if (!opt.reps)
		opt.reps = opt.quick ? 3 : 7;
	/* One row is one write: children print, too. */
	setvbuf(stdout, NULL, _IOLBF, 0);
}

/* How many to do: a tenth of it in the quick form. */
static inline unsigned int count(unsigned int full)
{
	return opt.quick ? full / 10 : full;
}

/* What a figure is of. NULL and 0 where it does not apply. */
struct row {
	const char *measure;
	const char *impl;
	const char *topology;
	unsigned int bytes;
	const char *batch;
	unsigned int slots;
	const char *regime;
	const char *unit;
};

static inline void emit(struct row r, unsigned int rep, double value)
{
	bool counted = opt.instructions && !strcmp(r.unit, "ns");

	printf("vm,%s%s,%s,%s,%u,%s,%u,%s,%u,%.8g,%s\n", r.measure,
	       counted ? "_instructions" : "", r.impl, r.topology ?: "-", r.bytes,
	       r.batch ?: "1", r.slots, r.regime ?: "-", rep, value,
	       counted ? "instructions" : r.unit);
}

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	check_errno("affinity", sched_setaffinity(0, sizeof(set), &set));
}

/* Memory that children share. */
static inline void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return p;
}

static inline pid_t spawn(void (*run)(void *), void *arg)
{
	pid_t pid = check_errno("fork", fork());

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(arg);
		exit(0);
	}
	return pid;
}

static inline void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("a child failed");
}

/* Waits until that child sleeps. */
static inline void until_asleep(pid_t pid)
{
	char path[32], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	while (state != 'S') {
		usleep(100);
		file = fopen(path, "re");
		if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			die("%s is not as it should be", path);
		fclose(file);
		if (state == 'Z')
			die("a child failed");
	}
}

static inline double cpu_ns(int who)
{
	struct rusage ru;

	getrusage(who, &ru);
	return (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e9 +
	       (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1e3;
}

static inline int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The value below which that share of @n is; sorts them. */
static inline uint64_t percentile(uint64_t *samples, unsigned int n, double share)
{
	qsort(samples, n, sizeof(*samples), by_value);
	return samples[(unsigned int)((n - 1) * share)];
}

/* A channel of ours: the owner's handle. */
static inline struct scatto_channel *channel(uint32_t backend, uint32_t kind, uint32_t bytes,
					     uint32_t slots, uint32_t producers)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg), .backend = backend, .kind = kind,
		.slot_size = bytes, .capacity = slots, .max_producers = producers,
	};
	struct scatto_channel *ch;

	check("create", scatto_channel_create(&cfg, &ch));
	return ch;
}

static inline struct scatto_producer *producer(struct scatto_channel *ch, uint32_t strategy)
{
	struct scatto_producer *p;

	check("producer", scatto_producer_attach(ch, &p));
	scatto_producer_set_wait(p, strategy);
	return p;
}

static inline struct scatto_consumer *consumer(struct scatto_channel *ch, uint32_t strategy)
{
	struct scatto_consumer *c;

	check("consumer", scatto_consumer_attach(ch, &c));
	scatto_consumer_set_wait(c, strategy);
	return c;
}

static inline struct scatto_info consumer_info(struct scatto_consumer *c)
{
	struct scatto_info info = { .size = sizeof(info) };

	check("info", scatto_consumer_info(c, &info));
	return info;
}

#endif /* SELFTESTS_BENCH_VM_H */
