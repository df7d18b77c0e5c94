// SPDX-License-Identifier: GPL-2.0-only
/*
 * liburcu's wfcqueue, a list of the user's own nodes. Here each producer has an equal
 * share of the slots as nodes and takes them in turn: they come back in order, and the
 * consumer says how many have.
 */
#define _LGPL_SOURCE
#include <urcu/wfcqueue.h>

#include "queue.hh"

namespace bench::with_wfcqueue {

template <unsigned int N> class Queue {
	struct alignas(128) Returned {
		std::atomic<uint64_t> count{0};
	};
	struct Node {
		cds_wfcq_node link;
		Returned *returned;
		Event<N> event;
	};

public:
	Queue(unsigned int slots, unsigned int producers)
		: share_(std::max(slots / producers, 1u)),
		  nodes_(static_cast<Node *>(Arena::current->get(share_ * producers * sizeof(Node))))
	{
		cds_wfcq_init(&head_, &tail_);
	}

	class Sender {
	public:
		explicit Sender(Queue &to)
			: queue_(&to), share_(to.share_), limit_(share_)
		{
			unsigned int me = to.producers_++;

			nodes_ = to.nodes_ + size_t(me) * share_;
			returned_ = &to.returned_[me];
		}
		bool push(const Event<N> &event)
		{
			if (next_ == limit_) {
				limit_ = returned_->count.load(std::memory_order_acquire) + share_;
				if (next_ == limit_)
					return false;
			}
			Node *node = &nodes_[index_];

			index_ = index_ + 1 == share_ ? 0 : index_ + 1;
			next_++;
			cds_wfcq_node_init(&node->link);
			node->returned = returned_;
			node->event = event;
			cds_wfcq_enqueue(queue_->head(), &queue_->tail_, &node->link);
			return true;
		}

	private:
		Queue *const queue_;
		Node *nodes_;
		Returned *returned_;
		const unsigned int share_;
		unsigned int index_ = 0;
		uint64_t next_ = 0, limit_;
	};

	class Receiver {
	public:
		explicit Receiver(Queue &from) : queue_(&from) { __cds_wfcq_init(&head_, &tail_); }
		bool pop(Event<N> &event)
		{
			return take(__cds_wfcq_dequeue_blocking(queue_->head(), &queue_->tail_), event);
		}
		/* All that is there becomes a list of our own. */
		unsigned int pop(Event<N> *events, unsigned int n)
		{
			unsigned int got = 0;

			if (cds_wfcq_empty(head(), &tail_))
				__cds_wfcq_splice_blocking(head(), &tail_, queue_->head(),
							   &queue_->tail_);
			while (got < n && take(__cds_wfcq_dequeue_blocking(head(), &tail_), events[got]))
				got++;
			return got;
		}

	private:
		cds_wfcq_head_ptr_t head() { return {._h = &head_}; }
		static bool take(cds_wfcq_node *link, Event<N> &event)
		{
			Node *node = caa_container_of(link, Node, link);
			uint64_t count;

			if (!link)
				return false;
			event = node->event;
			count = node->returned->count.load(std::memory_order_relaxed);
			node->returned->count.store(count + 1, std::memory_order_release);
			return true;
		}

		Queue *const queue_;
		__cds_wfcq_head head_;
		cds_wfcq_tail tail_;
	};

private:
	cds_wfcq_head_ptr_t head() { return {.h = &head_}; }

	alignas(128) cds_wfcq_head head_;
	alignas(128) cds_wfcq_tail tail_;
	const unsigned int share_;
	Node *const nodes_;
	std::atomic<unsigned int> producers_{0};
	Returned returned_[kMaxProducers];
};

AllSizes<Queue> queue("wfcqueue", true, Reach::both);

} /* namespace bench::with_wfcqueue */
