/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A run has parties, one consumer (party 0) and its producers, each pinned: threads
 * of this process, or processes. All memory that they share is from the arena, so
 * that it does not matter to a queue which they are.
 */
#ifndef SELFTESTS_BENCH_PARTIES_H
#define SELFTESTS_BENCH_PARTIES_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "bench.hh"

namespace bench {

/* Memory for one run; nothing is given back before its end. */
class Arena {
public:
	explicit Arena(bool shared) : flags_(MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE))
	{
		current = this;
	}
	~Arena()
	{
		for (const Chunk &chunk : chunks_)
			munmap(chunk.start, chunk.size);
		current = nullptr;
	}
	Arena(const Arena &) = delete;
	void *get(size_t bytes)
	{
		bytes = (bytes + kLine - 1) / kLine * kLine;
		if (left_ < bytes) {
			size_t size = std::max<size_t>(bytes, 1 << 20);
			void *start = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags_, -1, 0);

			if (start == MAP_FAILED)
				die("no memory for " + now_running);
			chunks_.push_back({start, size});
			next_ = static_cast<char *>(start);
			left_ = size;
		}
		next_ += bytes;
		left_ -= bytes;
		return next_ - bytes;
	}

	static inline Arena *current;

private:
	static constexpr size_t kLine = 128;
	struct Chunk {
		void *start;
		size_t size;
	};
	const int flags_;
	std::vector<Chunk> chunks_;
	char *next_ = nullptr;
	size_t left_ = 0;
};

/* For queues that take an allocator. */
template <class T> struct Allocator {
	using value_type = T;

	Allocator() = default;
	template <class U> Allocator(const Allocator<U> &) {}
	T *allocate(size_t n) { return static_cast<T *>(Arena::current->get(n * sizeof(T))); }
	void deallocate(T *, size_t) {}
	template <class U> struct rebind {
		using other = Allocator<U>;
	};
	friend bool operator==(const Allocator &, const Allocator &) { return true; }
};

/* An object in the arena. */
template <class T> class Owned {
public:
	template <class... Args> explicit Owned(Args &&...args)
		: object_(new (Arena::current->get(sizeof(T))) T(std::forward<Args>(args)...))
	{
	}
	~Owned() { object_->~T(); }
	Owned(const Owned &) = delete;
	T &operator*() const { return *object_; }
	T *operator->() const { return object_; }

private:
	T *const object_;
};

/* Where all of them wait for each other, as often as they like. */
class Meeting {
public:
	explicit Meeting(unsigned int parties) : parties_(parties) {}
	void operator()()
	{
		unsigned int round = round_.load(std::memory_order_acquire);

		if (arrived_.fetch_add(1) + 1 == parties_) {
			arrived_.store(0, std::memory_order_relaxed);
			round_.fetch_add(1, std::memory_order_release);
			return;
		}
		while (round_.load(std::memory_order_acquire) == round)
			sched_yield();
	}

private:
	const unsigned int parties_;
	std::atomic<unsigned int> arrived_{0}, round_{0};
};

inline void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		die("cannot pin to CPU " + std::to_string(cpu));
}

/* Runs body(0) to body(n - 1), each on its CPU, until all have returned. */
inline void run_parties(unsigned int n, bool processes,
			const std::function<void(unsigned int)> &body)
{
	auto party = [&body](unsigned int i) {
		pin(i ? cpu_of_producer(i - 1) : cpus[0]);
		body(i);
	};

	if (!processes) {
		std::vector<std::thread> threads;

		for (unsigned int i = 0; i < n; i++)
			threads.emplace_back(party, i);
		for (std::thread &thread : threads)
			thread.join();
		return;
	}

	itimerval limit;

	/* Is not inherited. */
	getitimer(ITIMER_PROF, &limit);
	std::fflush(nullptr);
	for (unsigned int i = 0; i < n; i++) {
		pid_t parent = getpid(), child = fork();

		if (child < 0)
			die("cannot fork");
		if (child)
			continue;
		/* Whoever is left when one has failed waits for ever. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			std::_Exit(1);
		setitimer(ITIMER_PROF, &limit, nullptr);
		/* For those that sleep. Somebody may stop all of us for some time. */
		alarm(600);
		party(i);
		std::exit(0);
	}
	for (unsigned int i = 0; i < n; i++) {
		int status;

		if (wait(&status) < 0)
			die("wait");
		if (WIFEXITED(status) && WEXITSTATUS(status) == kInVain)
			std::_Exit(kInVain);
		if (status)
			die("a process failed: " + now_running);
	}
}

} /* namespace bench */

#endif /* SELFTESTS_BENCH_PARTIES_H */
