// SPDX-License-Identifier: GPL-2.0-only
/*
 * moodycamel::ConcurrentQueue with a token for each thread, its fastest way. It keeps
 * the order of each producer, but none between them. It could grow; try_enqueue() does
 * not let it.
 */
#include <concurrentqueue/concurrentqueue.h>

#include "queue.hh"

namespace bench::with_concurrentqueue {

/* Without room for its blocks in the index, a ring would stay smaller than asked for. */
struct Traits : moodycamel::ConcurrentQueueDefaultTraits {
	static const size_t EXPLICIT_INITIAL_INDEX_SIZE = 4096;
};

template <unsigned int N> class Mpmc {
	using Queue = moodycamel::ConcurrentQueue<Event<N>, Traits>;

public:
	Mpmc(unsigned int slots, unsigned int producers) : queue_(slots, producers, 0) {}

	class Sender {
	public:
		explicit Sender(Mpmc &to) : queue_(&to.queue_), token_(to.queue_) {}
		bool push(const Event<N> &event) { return queue_->try_enqueue(token_, event); }
		unsigned int push(const Event<N> *events, unsigned int n)
		{
			return queue_->try_enqueue_bulk(token_, events, n) ? n : 0;
		}

	private:
		Queue *const queue_;
		moodycamel::ProducerToken token_;
	};

	class Receiver {
	public:
		explicit Receiver(Mpmc &from) : queue_(&from.queue_), token_(from.queue_) {}
		bool pop(Event<N> &event) { return queue_->try_dequeue(token_, event); }
		unsigned int pop(Event<N> *events, unsigned int n)
		{
			return queue_->try_dequeue_bulk(token_, events, n);
		}

	private:
		Queue *const queue_;
		moodycamel::ConsumerToken token_;
	};

private:
	alignas(128) Queue queue_;
};

AllSizes<Mpmc> mpmc("concurrentqueue", true, Reach::threads);

} /* namespace bench::with_concurrentqueue */
