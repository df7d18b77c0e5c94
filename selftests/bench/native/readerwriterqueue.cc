// SPDX-License-Identifier: GPL-2.0-only
/* moodycamel::ReaderWriterQueue, which could grow; try_enqueue() does not let it. */
#include <readerwriterqueue/readerwriterqueue.h>

#include "queue.hh"

namespace bench::with_readerwriterqueue {

template <unsigned int N> class Spsc {
	using Queue = moodycamel::ReaderWriterQueue<Event<N>>;

public:
	Spsc(unsigned int slots, unsigned int) : queue_(slots) {}

	class Sender {
	public:
		explicit Sender(Spsc &to) : queue_(&to.queue_) {}
		bool push(const Event<N> &event) { return queue_->try_enqueue(event); }

	private:
		Queue *const queue_;
	};

	class Receiver {
	public:
		explicit Receiver(Spsc &from) : queue_(&from.queue_) {}
		bool pop(Event<N> &event) { return queue_->try_dequeue(event); }

	private:
		Queue *const queue_;
	};

private:
	alignas(128) Queue queue_;
};

AllSizes<Spsc> spsc("readerwriterqueue", false, Reach::threads);

} /* namespace bench::with_readerwriterqueue */
