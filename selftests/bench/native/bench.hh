/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What main.cc and the contenders have in common: a case of the matrix, and who
 * can be measured in it.
 */
#ifndef SELFTESTS_BENCH_H
#define SELFTESTS_BENCH_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace bench {

constexpr unsigned int kMaxProducers = 64;

enum class Measure { throughput, round_trip, latency, setup };

/* Whether the two sides do something with each event; that slows one of them. */
enum class Regime {
	flat_out,	/* neither */
	fills,		/* the consumer: the ring is full */
	flows,		/* the producers: the ring is empty */
	paced,		/* events are due at a rate */
};

constexpr unsigned int kAll = 0;	/* receive: whatever is there */

struct Case {
	Measure measure = Measure::throughput;
	bool many = false;		/* queues that may have many producers */
	unsigned int producers = 1;
	bool processes = false;		/* rather than threads */
	unsigned int bytes = 64;
	unsigned int send = 1;		/* events each time */
	unsigned int receive = 1;
	unsigned int slots = 1024;
	Regime regime = Regime::flat_out;
	unsigned int rate = 0;		/* events per second, paced */
	bool alone = false;		/* scatto without peers */

	/* More of us than CPUs: who waits yields. */
	bool yields() const { return producers > 1; }
};

struct Value {
	std::string measure;
	double value;
	std::string unit;
};

/* What a run took, and what it measured. */
struct Run {
	double seconds;
	std::vector<Value> values;
};

class Contender {
public:
	Contender(const char *name, bool many) : name(name), many(many)
	{
		all().push_back(this);
	}
	virtual ~Contender() = default;
	virtual bool can(const Case &c) const = 0;
	/* @n: events, or round trips. Fails the program when they do not arrive. */
	virtual Run run(const Case &c, uint64_t n) = 0;

	static std::vector<Contender *> &all()
	{
		static std::vector<Contender *> list;

		return list;
	}

	const char *const name;
	const bool many;
};

/* scatto's channels are the module's. */
inline bool in_kernel;

/* The exit code of a process that has used its CPU time in vain. */
constexpr int kInVain = 3;

/* Those we may use; the consumer has the first. */
inline std::vector<int> cpus;

inline int cpu_of_producer(unsigned int i)
{
	return cpus[1 + i % (cpus.size() - 1)];
}

/* Without destructors: other threads are still at work on what they would destroy. */
[[noreturn]] inline void die(const std::string &what)
{
	std::fprintf(stderr, "bench: %s\n", what.c_str());
	std::_Exit(1);
}

/* What is being measured, for messages. */
inline std::string now_running = "nothing yet";

} /* namespace bench */

#endif /* SELFTESTS_BENCH_H */
