// SPDX-License-Identifier: GPL-2.0-only
/* Concurrency Kit's ring. One slot always stays free. */
/* Its "return false" for a pointer is C only. */
#define false 0
#include <ck_ring.h>
#undef false

#include "queue.hh"

namespace bench::with_ck_ring {

template <bool many, unsigned int N> class Ring {
	/* Typed functions, as members. */
	struct Typed {
		CK_RING_PROTOTYPE(event, Event<N>)
	};

public:
	Ring(unsigned int slots, unsigned int)
		: slots_(static_cast<Event<N> *>(Arena::current->get(slots * sizeof(Event<N>))))
	{
		ck_ring_init(&ring_, slots);
	}

	class Sender {
	public:
		explicit Sender(Ring &to) : ring_(&to.ring_), slots_(to.slots_) {}
		bool push(const Event<N> &event)
		{
			auto *e = const_cast<Event<N> *>(&event);

			return many ? Typed::ck_ring_enqueue_mpsc_event(ring_, slots_, e) :
				      Typed::ck_ring_enqueue_spsc_event(ring_, slots_, e);
		}

	private:
		ck_ring_t *const ring_;
		Event<N> *const slots_;
	};

	class Receiver {
	public:
		explicit Receiver(Ring &from) : ring_(&from.ring_), slots_(from.slots_) {}
		bool pop(Event<N> &event)
		{
			return many ? Typed::ck_ring_dequeue_mpsc_event(ring_, slots_, &event) :
				      Typed::ck_ring_dequeue_spsc_event(ring_, slots_, &event);
		}

	private:
		ck_ring_t *const ring_;
		Event<N> *const slots_;
	};

private:
	alignas(128) ck_ring_t ring_;
	Event<N> *const slots_;
};

template <unsigned int N> using One = Ring<false, N>;
template <unsigned int N> using Many = Ring<true, N>;

AllSizes<One> one("ck_ring", false, Reach::both);
AllSizes<Many> many("ck_ring-mpsc", true, Reach::both);

} /* namespace bench::with_ck_ring */
