// SPDX-License-Identifier: GPL-2.0-only
/*
 * Queues with a fault, run only when asked for: a measurement of any of them has to
 * fail. broken-not has none and has not.
 */
#include <deque>
#include <mutex>

#include "queue.hh"

namespace bench::with_broken {

enum class Fault { none, swaps, repeats, loses, tears };

template <Fault fault, unsigned int N> class Broken {
public:
	Broken(unsigned int slots, unsigned int) : slots_(slots) {}

	class Sender {
	public:
		explicit Sender(Broken &to) : to_(to) {}
		bool push(const Event<N> &event)
		{
			std::lock_guard<std::mutex> lock(to_.mutex_);
			std::deque<Event<N>> &queue = to_.queue_;

			if (queue.size() >= to_.slots_)
				return false;
			/* Past the untimed lap. */
			bool now = ++to_.count_ == 2 * to_.slots_ + 500;

			if (now && fault == Fault::loses)
				return true;
			queue.push_back(event);
			if (now && fault == Fault::tears)
				queue.back().word[N / 8 - 1] = 0;
			if (now && fault == Fault::repeats)
				queue.push_back(event);
			if (to_.count_ > 2 * to_.slots_ + 500 && fault == Fault::swaps && queue.size() > 1)
				std::swap(queue[queue.size() - 1], queue[queue.size() - 2]);
			return true;
		}

	private:
		Broken &to_;
	};

	class Receiver {
	public:
		explicit Receiver(Broken &from) : from_(from) {}
		bool pop(Event<N> &event)
		{
			std::lock_guard<std::mutex> lock(from_.mutex_);

			if (from_.queue_.empty())
				return false;
			event = from_.queue_.front();
			from_.queue_.pop_front();
			return true;
		}

	private:
		Broken &from_;
	};

private:
	const unsigned int slots_;
	std::mutex mutex_;
	std::deque<Event<N>> queue_;
	uint64_t count_ = 0;
};

template <unsigned int N> using None = Broken<Fault::none, N>;
template <unsigned int N> using Swaps = Broken<Fault::swaps, N>;
template <unsigned int N> using Repeats = Broken<Fault::repeats, N>;
template <unsigned int N> using Loses = Broken<Fault::loses, N>;
template <unsigned int N> using Tears = Broken<Fault::tears, N>;

Queues<None, 8> none("broken-not", false, Reach::threads);
Queues<Swaps, 8> swaps("broken-swaps", false, Reach::threads);
Queues<Repeats, 8> repeats("broken-repeats", false, Reach::threads);
Queues<Loses, 8> loses("broken-loses", false, Reach::threads);
Queues<Tears, 64> tears("broken-tears", false, Reach::threads);

} /* namespace bench::with_broken */
