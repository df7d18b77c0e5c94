/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time as the measuring loops need it: the CPU's counter where it ticks steadily
 * and alike on all CPUs, else CLOCK_MONOTONIC.
 */
#ifndef SELFTESTS_BENCH_CLOCK_H
#define SELFTESTS_BENCH_CLOCK_H

#include <time.h>

#include <cstdint>
#include <fstream>
#include <string>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace bench {

inline uint64_t monotonic()
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

class Clock {
public:
	Clock()
	{
#if defined(__x86_64__)
		std::ifstream info("/proc/cpuinfo");
		std::string line;
		uint64_t ns, tsc;

		while (std::getline(info, line) && line.rfind("flags", 0))
			;
		tsc_ = line.find(" constant_tsc") != line.npos &&
		       line.find(" nonstop_tsc") != line.npos;
		if (!tsc_)
			return;
		ns = monotonic();
		tsc = now();
		while (monotonic() - ns < 50000000)
			;
		ns_per_tick_ = double(monotonic() - ns) / double(now() - tsc);
#endif
	}
	/* Not before what was loaded before it. */
	uint64_t now() const
	{
#if defined(__x86_64__)
		if (tsc_) {
			_mm_lfence();
			return __rdtsc();
		}
#endif
		return monotonic();
	}
	double ns(uint64_t ticks) const { return ticks * ns_per_tick_; }
	uint64_t ticks(double ns) const { return ns / ns_per_tick_; }
	bool tsc() const { return tsc_; }

private:
	double ns_per_tick_ = 1;
	bool tsc_ = false;
};

inline const Clock ticker;

} /* namespace bench */

#endif /* SELFTESTS_BENCH_CLOCK_H */
