// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings that may have many producers, with one of them, two pinned threads and
 * 8-byte events:
 *
 *	one by one	producer --> ring (1024) --> consumer
 *	bursts of 32	the same with up to 32 events a call, both ways
 *	round trip	client   --> ring (1024) --> server
 *			         <-- ring (1024) <--
 *
 * scatto (kind MPSC, local backend) beside atomic_queue for many producers and
 * many consumers (it has nothing between that and one to one; AtomicQueue2 takes
 * any element, AtomicQueue only what has a value that is never sent), and beside
 * DPDK's rte_ring for many producers and one consumer. The round trip is beside
 * a bare cache line each way. Repetitions are interleaved; what arrived is
 * checked in every one of them.
 *
 * Exit status: as bench_spsc.cc.
 */
#include <atomic_queue/atomic_queue.h>
#include <rte_ring.h>

#include <scatto.h>

#include "bench.hh"

namespace {

using namespace bench;

constexpr unsigned int kBurst = 32;

/* Each contender: two rings of one type, non-blocking. */
class alignas(128) Scatto {
public:
	Scatto()
	{
		for (unsigned int i = 0; i < 2; i++) {
			scatto_config cfg = {};

			cfg.size = sizeof(cfg);
			cfg.backend = SCATTO_BACKEND_LOCAL;
			cfg.kind = SCATTO_KIND_MPSC;
			cfg.slot_size = 8;
			cfg.capacity = kCapacity;
			if (scatto_channel_create(&cfg, &ch_[i]) ||
			    scatto_producer_attach(ch_[i], &p_[i]) ||
			    scatto_consumer_attach(ch_[i], &c_[i]))
				die("cannot set up a channel");
		}
	}
	~Scatto()
	{
		for (unsigned int i = 0; i < 2; i++) {
			scatto_producer_close(p_[i]);
			scatto_consumer_close(c_[i]);
			scatto_channel_free(ch_[i]);
		}
	}
	bool push(unsigned int ring, uint64_t value)
	{
		return !scatto_try_send(p_[ring], &value);
	}
	bool pop(unsigned int ring, uint64_t &value)
	{
		return !scatto_try_recv(c_[ring], &value);
	}
	unsigned int push(const uint64_t *values, unsigned int n)
	{
		int ret = scatto_try_send_batch(p_[0], values, n);

		return ret < 0 ? 0 : ret;
	}
	unsigned int pop(uint64_t *values, unsigned int n)
	{
		int ret = scatto_try_recv_batch(c_[0], values, n);

		return ret < 0 ? 0 : ret;
	}

private:
	scatto_channel *ch_[2];
	scatto_producer *p_[2];
	scatto_consumer *c_[2];
};

template <class Queue> class alignas(128) Atomic {
public:
	bool push(unsigned int ring, uint64_t value)
	{
		return ring_[ring].try_push(value);
	}
	bool pop(unsigned int ring, uint64_t &value)
	{
		return ring_[ring].try_pop(value);
	}

private:
	Queue ring_[2];
};

using Atomic1 = Atomic<atomic_queue::AtomicQueue<uint64_t, kCapacity>>;
using Atomic2 = Atomic<atomic_queue::AtomicQueue2<uint64_t, kCapacity>>;

class Rte {
public:
	Rte()
	{
		for (rte_ring *&ring : ring_) {
			ring = static_cast<rte_ring *>(std::aligned_alloc(
				128, rte_ring_get_memsize(kCapacity)));
			if (!ring || rte_ring_init(ring, "bench", kCapacity,
						   RING_F_SC_DEQ))
				die("cannot set up a rte_ring");
		}
	}
	~Rte()
	{
		for (rte_ring *ring : ring_)
			std::free(ring);
	}
	bool push(unsigned int ring, uint64_t value)
	{
		return !rte_ring_mp_enqueue(ring_[ring],
					    reinterpret_cast<void *>(value));
	}
	bool pop(unsigned int ring, uint64_t &value)
	{
		return !rte_ring_sc_dequeue(ring_[ring],
					    reinterpret_cast<void **>(&value));
	}
	unsigned int push(const uint64_t *values, unsigned int n)
	{
		return rte_ring_mp_enqueue_burst(ring_[0],
			reinterpret_cast<void *const *>(values), n, nullptr);
	}
	unsigned int pop(uint64_t *values, unsigned int n)
	{
		return rte_ring_sc_dequeue_burst(ring_[0],
			reinterpret_cast<void **>(values), n, nullptr);
	}

private:
	rte_ring *ring_[2];
};

template <class T> double bursts(const Options &opt)
{
	auto ring = std::make_unique<T>();
	auto got = std::make_unique<Result>();
	uint64_t want = 0, n = opt.events;
	double time;

	for (uint64_t i = 1; i <= n; i++)
		want = mix(want, i);
	time = seconds_of([r = ring.get(), n] {
		uint64_t values[kBurst];
		T &to = *r;

		for (uint64_t i = 0; i < n;) {
			unsigned int k = std::min<uint64_t>(kBurst, n - i);
			unsigned int done = 0;

			for (unsigned int j = 0; j < k; j++)
				values[j] = ++i;
			while (done < k)
				done += to.push(values + done, k - done);
		}
	}, [r = ring.get(), g = got.get(), n] {
		uint64_t values[kBurst], sum = 0;
		T &from = *r;

		for (uint64_t i = 0; i < n;) {
			unsigned int k = from.pop(values, kBurst);

			for (unsigned int j = 0; j < k; j++)
				sum = mix(sum, values[j]);
			i += k;
		}
		g->value = sum;
	});
	if (got->value != want)
		die("bursts: not what was sent");
	return n / time * 1e-6;
}

} /* namespace */

int main(int argc, char **argv)
{
	Options opt = parse(argc, argv);
	enum { ONE, ATOMIC1, ATOMIC2, RTE, BURST, RTE_BURST, TRIP, LINE };
	Row rows[] = {
		{ "one by one, scatto MPSC", throughput<Scatto>, {} },
		{ "one by one, AtomicQueue MPMC", throughput<Atomic1>, {} },
		{ "one by one, AtomicQueue2 MPMC", throughput<Atomic2>, {} },
		{ "one by one, rte_ring MP/SC", throughput<Rte>, {} },
		{ "bursts of 32, scatto MPSC", bursts<Scatto>, {} },
		{ "bursts of 32, rte_ring MP/SC", bursts<Rte>, {} },
		{ "round trip, scatto MPSC", round_trip<Scatto>, {} },
		{ "round trip, bare cache line", round_trip<Line>, {} },
	};
	double atomic;
	bool held;

	if (!find_cpus()) {
		std::printf("SKIP: needs two CPUs\n");
		return 4;
	}
	for (unsigned int i = 0; i < opt.repetitions; i++)
		for (Row &row : rows)
			row.samples.push_back(row.run(opt));

	std::printf("%u repetitions, %llu events, %llu rounds\n\n",
		    opt.repetitions, (unsigned long long)opt.events,
		    (unsigned long long)opt.rounds);
	std::printf("%-32s %8s %8s %8s\n", "", "median", "min", "max");
	for (Row &row : rows)
		print(row, &row - rows < TRIP ? "M/s" : "ns");
	std::printf("\n");
	atomic = std::max(rows[ATOMIC1].median(), rows[ATOMIC2].median());
	held = bar("one by one, / atomic_queue", rows[ONE].median() / atomic,
		   1.5, true);
	held &= bar("one by one, / rte_ring",
		    rows[ONE].median() / rows[RTE].median(), 1.5, true);
	held &= bar("bursts of 32, / rte_ring",
		    rows[BURST].median() / rows[RTE_BURST].median(), 1.0, true);
	return opt.strict && !held;
}
