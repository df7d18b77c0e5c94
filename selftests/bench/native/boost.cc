// SPDX-License-Identifier: GPL-2.0-only
/* boost::lockfree. The queue's nodes are all allocated beforehand, as many as slots. */
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include "queue.hh"

namespace bench::with_boost {

template <unsigned int N> class Spsc {
	using Queue = boost::lockfree::spsc_queue<Event<N>,
		boost::lockfree::allocator<Allocator<Event<N>>>>;

public:
	Spsc(unsigned int slots, unsigned int) : queue_(slots) {}

	class Sender {
	public:
		explicit Sender(Spsc &to) : queue_(&to.queue_) {}
		bool push(const Event<N> &event) { return queue_->push(event); }
		unsigned int push(const Event<N> *events, unsigned int n)
		{
			return queue_->push(events, n);
		}

	private:
		Queue *const queue_;
	};

	class Receiver {
	public:
		explicit Receiver(Spsc &from) : queue_(&from.queue_) {}
		bool pop(Event<N> &event) { return queue_->pop(event); }
		unsigned int pop(Event<N> *events, unsigned int n)
		{
			return queue_->pop(events, n);
		}

	private:
		Queue *const queue_;
	};

private:
	alignas(128) Queue queue_;
};

template <unsigned int N> class Mpmc {
	using Queue = boost::lockfree::queue<Event<N>,
		boost::lockfree::allocator<Allocator<Event<N>>>>;

public:
	Mpmc(unsigned int slots, unsigned int) : queue_(slots) {}

	class Sender {
	public:
		explicit Sender(Mpmc &to) : queue_(&to.queue_) {}
		bool push(const Event<N> &event) { return queue_->bounded_push(event); }

	private:
		Queue *const queue_;
	};

	class Receiver {
	public:
		explicit Receiver(Mpmc &from) : queue_(&from.queue_) {}
		bool pop(Event<N> &event) { return queue_->pop(event); }

	private:
		Queue *const queue_;
	};

private:
	alignas(128) Queue queue_;
};

AllSizes<Spsc> spsc("boost-spsc", false, Reach::both);
AllSizes<Mpmc> mpmc("boost-queue", true, Reach::both);

} /* namespace bench::with_boost */
