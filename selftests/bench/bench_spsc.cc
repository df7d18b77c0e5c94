// SPDX-License-Identifier: GPL-2.0-only
/*
 * One to one, 8-byte events one by one, two pinned threads:
 *
 *	throughput	producer --> ring (1024) --> consumer
 *	round trip	client   --> ring (1024) --> server
 *			         <-- ring (1024) <--
 *
 * scatto on its local backend beside boost::lockfree::spsc_queue; the round
 * trip also beside two threads that do nothing but pass a word on a cache line
 * each way, the least it can cost. The rings fill and wrap. Repetitions are
 * interleaved, so that whatever else the machine does hits all alike; what
 * arrived is checked in every one of them.
 *
 * Exit status: 0, 1 when something wrong arrived, 4 when there are not two CPUs
 * to run on.
 */
#include <boost/lockfree/spsc_queue.hpp>

#include <scatto.h>

#include "bench.hh"

namespace {

using namespace bench;

/* Each contender: two rings of one type, non-blocking push and pop. */
class alignas(128) Scatto {
public:
	Scatto()
	{
		for (unsigned int i = 0; i < 2; i++) {
			scatto_config cfg = {};

			cfg.size = sizeof(cfg);
			cfg.backend = SCATTO_BACKEND_LOCAL;
			cfg.kind = SCATTO_KIND_SPSC;
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

private:
	scatto_channel *ch_[2];
	scatto_producer *p_[2];
	scatto_consumer *c_[2];
};

class alignas(128) Boost {
public:
	bool push(unsigned int ring, uint64_t value)
	{
		return ring_[ring].push(value);
	}
	bool pop(unsigned int ring, uint64_t &value)
	{
		return ring_[ring].pop(value);
	}

private:
	boost::lockfree::spsc_queue<uint64_t, boost::lockfree::capacity<
		kCapacity>> ring_[2];
};

} /* namespace */

int main(int argc, char **argv)
{
	Options opt = parse(argc, argv);
	Row rows[] = {
		{ "throughput, scatto", throughput<Scatto>, {} },
		{ "throughput, boost spsc_queue", throughput<Boost>, {} },
		{ "round trip, scatto", round_trip<Scatto>, {} },
		{ "round trip, boost spsc_queue", round_trip<Boost>, {} },
		{ "round trip, bare cache line", round_trip<Line>, {} },
	};
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
		print(row, &row - rows < 2 ? "M/s" : "ns");
	std::printf("\n");
	held = bar("throughput, scatto / boost",
		   rows[0].median() / rows[1].median(), 1.0, true);
	held &= bar("round trip, scatto / bare line",
		    rows[2].median() / rows[4].median(), 1.15, false);
	return opt.strict && !held;
}
