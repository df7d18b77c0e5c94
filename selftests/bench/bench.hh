// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the benchmarks of pinned threads share: two CPUs, a clock, one by one and
 * round trips for any contender, interleaved repetitions, and bars.
 *
 * A contender T has two rings with push(ring, value) and pop(ring, value), which
 * do not block. No value is 0.
 */
#ifndef SELFTESTS_BENCH_H
#define SELFTESTS_BENCH_H

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace bench {

constexpr unsigned int kCapacity = 1024;

struct Options {
	unsigned int repetitions = 9;
	uint64_t events = 20000000;
	uint64_t rounds = 2000000;
	bool strict = false;
};

inline int cpus[2];

[[noreturn]] inline void die(const char *what)
{
	std::fprintf(stderr, "bench: %s\n", what);
	std::exit(1);
}

inline void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		die("cannot pin a thread");
}

inline bool find_cpus()
{
	cpu_set_t set;
	int found = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		return false;
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[found++] = cpu;
	return found == 2;
}

inline double seconds()
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* Order matters to it, unlike to a sum. */
inline uint64_t mix(uint64_t sum, uint64_t value)
{
	return sum * 31 + value;
}

/*
 * Runs @near on this thread and @far on another, each on its CPU, from the same
 * moment on. Both are handed what they need by value and touch no variable of
 * this frame while they run: its lines are shared, and one of them going back
 * and forth costs more than any ring.
 */
template <class Near, class Far> double seconds_of(Near near, Far far)
{
	alignas(128) std::atomic<int> ready{0};
	double start;

	/* Threads inherit where their creator may run. */
	pin(cpus[1]);
	std::thread other([far, &ready]() mutable {
		Far run = far;

		ready++;
		while (ready != 2)
			;
		run();
	});
	pin(cpus[0]);
	ready++;
	while (ready != 2)
		;
	start = seconds();
	near();
	other.join();
	return seconds() - start;
}

struct alignas(128) Result {
	uint64_t value = 0;
};

/* The least a message can cost: a line there and a line back. */
class Line {
public:
	bool push(unsigned int ring, uint64_t value)
	{
		line_[ring].word.store(value, std::memory_order_release);
		return true;
	}
	bool pop(unsigned int ring, uint64_t &value)
	{
		uint64_t now = line_[ring].word.load(std::memory_order_acquire);

		if (now == last_[ring].word.load(std::memory_order_relaxed))
			return false;
		last_[ring].word.store(now, std::memory_order_relaxed);
		value = now;
		return true;
	}

private:
	struct alignas(128) {
		std::atomic<uint64_t> word{0};
	} line_[2], last_[2];
};

template <class T> double throughput(const Options &opt)
{
	auto ring = std::make_unique<T>();
	auto got = std::make_unique<Result>();
	uint64_t want = 0, n = opt.events;
	double time;

	for (uint64_t i = 1; i <= n; i++)
		want = mix(want, i);
	time = seconds_of([r = ring.get(), n] {
		T &to = *r;

		for (uint64_t i = 1; i <= n; i++)
			while (!to.push(0, i))
				;
	}, [r = ring.get(), g = got.get(), n] {
		T &from = *r;
		uint64_t sum = 0, value;

		for (uint64_t i = 0; i < n; i++) {
			while (!from.pop(0, value))
				;
			sum = mix(sum, value);
		}
		g->value = sum;
	});
	if (got->value != want)
		die("throughput: not what was sent");
	return n / time * 1e-6;
}

template <class T> double round_trip(const Options &opt)
{
	auto ring = std::make_unique<T>();
	auto wrong = std::make_unique<Result>();
	uint64_t n = opt.rounds;
	double time;

	time = seconds_of([r = ring.get(), n] {
		T &line = *r;
		uint64_t value = 0;

		for (uint64_t i = 1; i <= n; i++) {
			line.push(0, i);
			while (!line.pop(1, value))
				;
			if (value != i * 3)
				die("round trip: not the reply");
		}
	}, [r = ring.get(), w = wrong.get(), n] {
		T &line = *r;
		uint64_t bad = 0, request;

		for (uint64_t i = 1; i <= n; i++) {
			while (!line.pop(0, request))
				;
			bad |= request ^ i;
			line.push(1, request * 3);
		}
		w->value = bad;
	});
	if (wrong->value)
		die("round trip: not the request");
	return time / n * 1e9;
}

struct Row {
	const char *name;
	double (*run)(const Options &opt);
	std::vector<double> samples;

	double median()
	{
		std::sort(samples.begin(), samples.end());
		return samples[samples.size() / 2];
	}
};

inline void print(Row &row, const char *unit)
{
	double median = row.median();

	std::printf("%-32s %8.1f %8.1f %8.1f  %s\n", row.name, median,
		    row.samples.front(), row.samples.back(), unit);
}

/* Says whether the bar is held; only --strict makes it the exit status. */
inline bool bar(const char *what, double ratio, double limit, bool at_least)
{
	bool held = at_least ? ratio >= limit : ratio <= limit;

	std::printf("%-32s %8.3f  (bar: %s %.2f)  %s\n", what, ratio,
		    at_least ? "at least" : "at most", limit,
		    held ? "held" : "MISSED");
	return held;
}

inline Options parse(int argc, char **argv)
{
	Options opt;

	for (int i = 1; i < argc; i++) {
		if (!std::strcmp(argv[i], "--strict"))
			opt.strict = true;
		else if (!std::strncmp(argv[i], "--repetitions=", 14))
			opt.repetitions = std::atoi(argv[i] + 14);
		else if (!std::strncmp(argv[i], "--events=", 9))
			opt.events = std::strtoull(argv[i] + 9, nullptr, 0);
		else if (!std::strncmp(argv[i], "--rounds=", 9))
			opt.rounds = std::strtoull(argv[i] + 9, nullptr, 0);
		else
			die("usage: [--strict] [--repetitions=N] "
			    "[--events=N] [--rounds=N]");
	}
	if (!opt.repetitions || !opt.events || !opt.rounds)
		die("counts start at 1");
	return opt;
}

} /* namespace bench */

#endif /* SELFTESTS_BENCH_H */
