/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Channels of kind MPSC as the raw ABI describes them: claiming, publishing,
 * receiving, each step by its name in Documentation/many-producers.rst.
 */
#ifndef SELFTESTS_MANY_H
#define SELFTESTS_MANY_H

#include "util.h"

/* A channel; the fd of its owner, or -errno. */
static inline int many_create(const char *name, uint32_t mode, uint32_t slot_size,
			      uint64_t capacity, uint32_t producers, uint32_t flags)
{
	struct scatto_create arg = create_args(slot_size, capacity, flags);

	arg.kind = SCATTO_KIND_MPSC;
	arg.max_producers = producers;
	if (name)
		create_named(&arg, name, mode);
	return channel_create_args(&arg);
}

static inline uint64_t many_lap(const struct end *end, uint64_t seq)
{
	return ((seq / end->layout.capacity + 1) << 2) & SCATTO_STAMP_LAP;
}

static inline volatile __u64 *many_stamp(const struct end *end, uint64_t seq)
{
	return (volatile __u64 *)(end->data + end->layout.stamp_offset) +
	       (seq & (end->layout.capacity - 1));
}

static inline bool many_stamped(const struct end *end, uint64_t seq)
{
	return (__atomic_load_n(many_stamp(end, seq), __ATOMIC_ACQUIRE) &
		SCATTO_STAMP_LAP) == many_lap(end, seq);
}

static inline bool many_is_tombstone(const struct end *end, uint64_t seq)
{
	return many_stamped(end, seq) &&
	       *many_stamp(end, seq) & SCATTO_STAMP_TOMBSTONE;
}

static inline volatile struct scatto_intent *many_intent(const struct end *end,
							 uint32_t index)
{
	return (volatile void *)((volatile char *)end->prod +
				 end->layout.intent_offset +
				 index * end->layout.intent_stride);
}

static inline uint64_t many_claimed(const struct end *end)
{
	return __atomic_load_n(&end->prod->claimed, __ATOMIC_ACQUIRE);
}

/* C4 and C5 */
static inline void many_intend(struct end *end, uint64_t lo, uint64_t hi)
{
	volatile struct scatto_intent *intent = many_intent(end, end->index);

	__atomic_store_n(&intent->hi, hi, __ATOMIC_RELEASE);
	__atomic_store_n(&intent->lo, lo, __ATOMIC_RELEASE);
}

/* C1 to C7, without waiting; -EAGAIN. */
static inline int many_claim(struct end *end, uint32_t n, uint64_t *at)
{
	uint64_t seq = many_claimed(end);
	bool tried = false;

	while (!end->area->claimers && seq + n - end_cursor(end) <=
	       end->layout.capacity) {
		many_intend(end, seq, seq + n);
		tried = true;
		if (__atomic_compare_exchange_n(&end->prod->claimed, &seq, seq + n,
						false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED)) {
			*at = seq;
			return 0;
		}
	}
	if (tried)
		__atomic_store_n(&many_intent(end, end->index)->lo,
				 SCATTO_INTENT_NONE, __ATOMIC_RELEASE);
	return -EAGAIN;
}

/* How often many_wake() has made a call, by all threads of this process. */
static unsigned long many_wake_calls;

/* P3 and P4; how many were woken. */
static inline int many_wake(struct end *end)
{
	uint64_t word, from;

	if (end->layout.flags & SCATTO_F_FENCE)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	word = end->area->data_wake;
	if (word == SCATTO_WAKE_IDLE)
		return 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (from = end_cursor(end); from < word; from++)
		if (!many_stamped(end, from))
			return 0;
	__atomic_fetch_add(&many_wake_calls, 1, __ATOMIC_RELAXED);
	return end_wake(end);
}

/* P2 */
static inline void many_put_stamp(struct end *end, uint64_t seq, uint64_t flags)
{
	__atomic_store_n(many_stamp(end, seq), many_lap(end, seq) | flags,
			 __ATOMIC_RELEASE);
}

/* P1 to P4 for one slot of a claim. */
static inline int many_publish(struct end *end, uint64_t seq, uint64_t value)
{
	memcpy(end_slot(end, seq), &value, sizeof(value));
	many_put_stamp(end, seq, 0);
	return many_wake(end);
}

/* -EAGAIN, or how many were woken. */
static inline int many_send(struct end *end, uint64_t value)
{
	uint64_t at;
	int ret = many_claim(end, 1, &at);

	return ret ?: many_publish(end, at, value);
}

/* Receives one u64: 1; 0 for a tombstone; -EAGAIN when there is nothing. */
static inline int many_recv(struct end *end, uint64_t *value)
{
	uint64_t seq = end->cons->cursor;
	bool tombstone;

	if (!many_stamped(end, seq))
		return -EAGAIN;
	tombstone = many_is_tombstone(end, seq);
	memcpy(value, end_slot(end, seq), sizeof(*value));
	end_release(end, seq + 1);
	return !tombstone;
}

/*
 * As if @base events had passed, at least a lap of them: for what is next to the
 * wrap of the laps. Both ends are at rest.
 */
static inline void many_move(struct end *prod, struct end *cons, uint64_t base)
{
	uint64_t seq;

	for (seq = base - prod->layout.capacity; seq != base; seq++)
		many_put_stamp(prod, seq, 0);
	__atomic_store_n(&prod->prod->claimed, base, __ATOMIC_RELEASE);
	__atomic_store_n(&cons->cons->cursor, base, __ATOMIC_RELEASE);
}

static inline struct scatto_claim claim_args(uint32_t count, uint32_t least, int ms)
{
	struct scatto_claim arg = {
		.size = sizeof(arg), .count = count, .least = least,
	};

	if (ms >= 0) {
		arg.flags = SCATTO_CLAIM_DEADLINE;
		arg.deadline = now_ns() + ms * 1000000ULL;
	}
	return arg;
}

static inline int dev_claim(int fd, struct scatto_claim *arg)
{
	return dev_ioctl(fd, SCATTO_IOC_CLAIM, arg);
}

#endif /* SELFTESTS_MANY_H */
