// SPDX-License-Identifier: GPL-2.0-only
/*
 * atomic_queue. It is fastest with a capacity known to the compiler, so it gets one for
 * each that is measured; and with words instead of any element, where events are words.
 *
 * Several producers' events may overtake those before them by a whole ring: while one who
 * has claimed a slot does not get on, and the consumer waits there, another comes round to
 * the same slot and fills it first.
 */
#include <atomic_queue/atomic_queue.h>

#include "queue.hh"

namespace bench::with_atomic_queue {

template <bool many, unsigned int slots, unsigned int N> class Ring {
	static constexpr bool kWords = N == 8;
	using Element = std::conditional_t<kWords, uint64_t, Event<N>>;
	using Queue = std::conditional_t<kWords,
		atomic_queue::AtomicQueue<uint64_t, slots, 0, true, true, false, !many>,
		atomic_queue::AtomicQueue2<Event<N>, slots, true, true, false, !many>>;

public:
	static constexpr bool kInOrder = !many;

	Ring(unsigned int, unsigned int) {}

	class Sender {
	public:
		explicit Sender(Ring &to) : queue_(&to.queue_) {}
		bool push(const Event<N> &event)
		{
			if constexpr (kWords)
				return queue_->try_push(event.word[0]);
			else
				return queue_->try_push(event);
		}

	private:
		Queue *const queue_;
	};

	class Receiver {
	public:
		explicit Receiver(Ring &from) : queue_(&from.queue_) {}
		bool pop(Event<N> &event)
		{
			if constexpr (kWords)
				return queue_->try_pop(event.word[0]);
			else
				return queue_->try_pop(event);
		}

	private:
		Queue *const queue_;
	};

private:
	alignas(128) Queue queue_;
};

template <bool many, unsigned int slots> struct Of {
	template <unsigned int N> using Queue = Ring<many, slots, N>;
};

constexpr const char *kOne = "atomic_queue", *kMany = "atomic_queue-mpmc";

AllSizes<Of<false, 1024>::Queue> one(kOne, false, Reach::both, 1024);
Queues<Of<false, 64>::Queue, 8, 64> one_64(kOne, false, Reach::both, 64);
Queues<Of<false, 256>::Queue, 8, 64> one_256(kOne, false, Reach::both, 256);
Queues<Of<false, 65536>::Queue, 8, 64> one_65536(kOne, false, Reach::both, 65536);
AllSizes<Of<true, 1024>::Queue> many(kMany, true, Reach::both, 1024);
Queues<Of<true, 64>::Queue, 8, 64> many_64(kMany, true, Reach::both, 64);
Queues<Of<true, 256>::Queue, 8, 64> many_256(kMany, true, Reach::both, 256);
Queues<Of<true, 65536>::Queue, 8, 64> many_65536(kMany, true, Reach::both, 65536);

} /* namespace bench::with_atomic_queue */
