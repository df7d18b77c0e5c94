// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the lines of a stream cost, from CPU to CPU. Whatever a row is about, here 16 KiB, at
 * most a quarter of the ring, are copied before the other side is told, so that positions,
 * fullness and calls cost next to nothing. Many to one each slot has a stamp, as those of such
 * queues have that keep an order. Nobody's peer: it shows about what is left to gain.
 */
#include "queue.hh"

namespace bench::with_lines {

template <bool stamped, unsigned int N> class Ring {
public:
	Ring(unsigned int slots, unsigned int)
		: mask_(slots - 1),
		  slots_(static_cast<Event<N> *>(Arena::current->get(slots * sizeof(Event<N>)))),
		  stamps_(static_cast<uint64_t *>(Arena::current->get(slots * sizeof(uint64_t))))
	{
	}

	class Sender {
	public:
		explicit Sender(Ring &to) : ring_(&to) {}
		bool push(const Event<N> &event) { return push(&event, 1); }
		unsigned int push(const Event<N> *event, unsigned int n)
		{
			if (next_ + n - free_ > ring_->mask_ + 1)
				free_ = ring_->consumed_.load(std::memory_order_acquire);
			n = std::min<uint64_t>(n, free_ + ring_->mask_ + 1 - next_);
			for (unsigned int i = 0; i < n; i++, next_++) {
				ring_->slots_[next_ & ring_->mask_] = event[i];
				if (stamped)
					ring_->stamps_[next_ & ring_->mask_] = next_;
			}
			if (n)
				ring_->published_.store(next_, std::memory_order_release);
			return n;
		}

	private:
		Ring *const ring_;
		uint64_t next_ = 0, free_ = 0;
	};

	class Receiver {
	public:
		explicit Receiver(Ring &from) : ring_(&from) {}
		bool pop(Event<N> &event) { return pop(&event, 1); }
		unsigned int pop(Event<N> *event, unsigned int n)
		{
			if (next_ + n > edge_)
				edge_ = ring_->published_.load(std::memory_order_acquire);
			n = std::min<uint64_t>(n, edge_ - next_);
			for (unsigned int i = 0; i < n; i++, next_++) {
				event[i] = ring_->slots_[next_ & ring_->mask_];
				if (stamped && ring_->stamps_[next_ & ring_->mask_] != next_)
					die("a stamp is wrong: " + now_running);
			}
			if (n)
				ring_->consumed_.store(next_, std::memory_order_release);
			return n;
		}

	private:
		Ring *const ring_;
		uint64_t next_ = 0, edge_ = 0;
	};

private:
	const uint64_t mask_;
	Event<N> *const slots_;
	uint64_t *const stamps_;
	alignas(128) std::atomic<uint64_t> published_{0};
	alignas(128) std::atomic<uint64_t> consumed_{0};
};

template <unsigned int N> using Plain = Ring<false, N>;
template <unsigned int N> using Stamped = Ring<true, N>;

template <template <unsigned int> class Queue> class Lines final : public AllSizes<Queue> {
public:
	Lines(const char *name, bool many) : AllSizes<Queue>(name, many, Reach::both) {}
	bool can(const Case &c) const override
	{
		return c.measure == Measure::throughput && c.producers == 1 &&
		       c.regime == Regime::flat_out && c.slots >= 64 && AllSizes<Queue>::can(c);
	}
	Run run(const Case &c, uint64_t n) override
	{
		Case large = c;

		large.send = large.receive =
			std::max(std::min(c.slots / 4, (16u << 10) / c.bytes), 1u);
		return AllSizes<Queue>::run(large, n);
	}
};

Lines<Plain> one("lines", false);
Lines<Stamped> many("lines-stamped", true);

} /* namespace bench::with_lines */
