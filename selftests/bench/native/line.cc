// SPDX-License-Identifier: GPL-2.0-only
/* The least that a message can cost: a word on a line of its own. For round trips. */
#include "queue.hh"

namespace bench::with_line {

template <unsigned int N> class Line {
	using Word = std::atomic<uint64_t>;

public:
	Line(unsigned int, unsigned int) {}

	class Sender {
	public:
		explicit Sender(Line &to) : word_(&to.word_) {}
		bool push(const Event<N> &event)
		{
			word_->store(event.word[0], std::memory_order_release);
			return true;
		}

	private:
		Word *const word_;
	};

	class Receiver {
	public:
		explicit Receiver(Line &from) : word_(&from.word_) {}
		bool pop(Event<N> &event)
		{
			uint64_t now = word_->load(std::memory_order_acquire);

			if (now == last_)
				return false;
			event.word[0] = last_ = now;
			return true;
		}

	private:
		Word *const word_;
		uint64_t last_ = 0;
	};

private:
	alignas(128) Word word_{0};
};

class RoundTrips final : public Contender {
public:
	using Contender::Contender;
	bool can(const Case &c) const override
	{
		return c.measure == Measure::round_trip && c.bytes == 8;
	}
	Run run(const Case &c, uint64_t n) override { return Trial<Line<8>, 8>::run(c, n); }
};

RoundTrips line("line", false);

} /* namespace bench::with_line */
