// SPDX-License-Identifier: GPL-2.0-only
/*
 * DPDK's rte_ring for elements of any size. One slot always stays free. In mode RTS
 * (relaxed tail sync) a producer does not wait for those before it to finish.
 */
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "queue.hh"

namespace bench::with_rte_ring {

template <unsigned int flags, unsigned int N> class Ring {
public:
	Ring(unsigned int slots, unsigned int)
		: ring_(static_cast<rte_ring *>(Arena::current->get(
			rte_ring_get_memsize_elem(N, slots))))
	{
		if (rte_ring_init(ring_, "bench", slots, flags | RING_F_SC_DEQ))
			die("rte_ring_init");
	}

	class Sender {
	public:
		explicit Sender(Ring &to) : ring_(to.ring_) {}
		bool push(const Event<N> &event)
		{
			if constexpr (flags == RING_F_SP_ENQ)
				return !rte_ring_sp_enqueue_elem(ring_, plain(&event), N);
			else if constexpr (flags == RING_F_MP_RTS_ENQ)
				return rte_ring_mp_rts_enqueue_bulk_elem(ring_, plain(&event), N, 1,
									 nullptr);
			else
				return !rte_ring_mp_enqueue_elem(ring_, plain(&event), N);
		}
		unsigned int push(const Event<N> *events, unsigned int n)
		{
			void *from = plain(events);

			if constexpr (flags == RING_F_SP_ENQ)
				return rte_ring_sp_enqueue_burst_elem(ring_, from, N, n, nullptr);
			else if constexpr (flags == RING_F_MP_RTS_ENQ)
				return rte_ring_mp_rts_enqueue_burst_elem(ring_, from, N, n, nullptr);
			else
				return rte_ring_mp_enqueue_burst_elem(ring_, from, N, n, nullptr);
		}

	private:
		/* Not all of its functions say that they only read. */
		static void *plain(const Event<N> *events) { return const_cast<Event<N> *>(events); }

		rte_ring *const ring_;
	};

	class Receiver {
	public:
		explicit Receiver(Ring &from) : ring_(from.ring_) {}
		bool pop(Event<N> &event)
		{
			return !rte_ring_sc_dequeue_elem(ring_, &event, N);
		}
		unsigned int pop(Event<N> *events, unsigned int n)
		{
			return rte_ring_sc_dequeue_burst_elem(ring_, events, N, n, nullptr);
		}

	private:
		rte_ring *const ring_;
	};

private:
	rte_ring *const ring_;
};

template <unsigned int N> using One = Ring<RING_F_SP_ENQ, N>;
template <unsigned int N> using Many = Ring<0, N>;
template <unsigned int N> using Relaxed = Ring<RING_F_MP_RTS_ENQ, N>;

AllSizes<One> one("rte_ring", false, Reach::both);
AllSizes<Many> many("rte_ring-mp", true, Reach::both);
Queues<Relaxed, 8, 64> relaxed("rte_ring-rts", true, Reach::both);

} /* namespace bench::with_rte_ring */
