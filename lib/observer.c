// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Observers read what consumers read, without anybody waiting for them: what
 * they copy is good only if it had not been released when the copy was done.
 */
#include <string.h>

#include "internal.h"

static uint64_t consumed_of(const struct scatto_observer *o)
{
	return __atomic_load_n(&endpoint_consumer(&o->ep)->cursor,
			       __ATOMIC_ACQUIRE);
}

static uint64_t stamp_of(const struct scatto_observer *o, uint64_t seq)
{
	const struct scatto_layout *layout = &o->ep.layout;
	const unsigned char *data = o->ep.map[SCATTO_REGION_DATA];
	const __u64 *stamps = (const __u64 *)(data + layout->stamp_offset);

	return __atomic_load_n(&stamps[seq & (layout->capacity - 1)],
			       __ATOMIC_ACQUIRE);
}

static unsigned int shift_of(const struct scatto_observer *o)
{
	return (unsigned int)__builtin_ctzll(o->ep.layout.capacity);
}

int scatto_observer_positions(const struct scatto_observer *o,
			      uint64_t *published, uint64_t *consumed)
{
	uint64_t capacity = o->ep.layout.capacity;
	uint64_t head, tail;

	if (o->ep.layout.kind == SCATTO_KIND_SPSC) {
		tail = __atomic_load_n(&endpoint_producer(&o->ep)->published,
				       __ATOMIC_ACQUIRE);
		/* Looked at later, so it may have passed the other one. */
		head = consumed_of(o);
		if ((int64_t)(head - tail) > 0)
			tail = head;
		if (tail - head > capacity)
			return -EBADMSG;
	} else {
		head = consumed_of(o);
		tail = head;
		while (tail - head < capacity &&
		       stamp_is(stamp_of(o, tail), tail, shift_of(o)))
			tail++;
	}
	*published = tail;
	*consumed = head;
	return 0;
}

/*
 * A seqlock of sorts: the copy is torn only if the producer wrote to the slot
 * meanwhile, which it does only after the cursor has passed the event.
 */
static int copy_event(const struct scatto_observer *o, uint64_t seq, void *buf)
{
	const struct scatto_layout *layout = &o->ep.layout;
	const unsigned char *slots = (unsigned char *)
		o->ep.map[SCATTO_REGION_DATA] + layout->slot_offset;

	memcpy(buf, slots + (size_t)(seq & (layout->capacity - 1)) *
	       layout->slot_stride, layout->slot_size);
	__sync_synchronize();
	return (int64_t)(consumed_of(o) - seq) > 0 ? -ESTALE : 0;
}

int scatto_observer_read(const struct scatto_observer *o, uint64_t seq,
			 void *buf)
{
	const struct scatto_layout *layout = &o->ep.layout;
	uint64_t head = consumed_of(o);
	uint64_t tail, stamp;

	if ((int64_t)(head - seq) > 0)
		return -ESTALE;
	/* Not even claimed yet, whatever the stamp says: its laps wrap. */
	if (seq - head >= layout->capacity)
		return -EAGAIN;
	if (layout->kind == SCATTO_KIND_SPSC) {
		tail = __atomic_load_n(&endpoint_producer(&o->ep)->published,
				       __ATOMIC_ACQUIRE);
		if ((int64_t)(tail - seq) <= 0)
			return -EAGAIN;
		return copy_event(o, seq, buf);
	}
	stamp = stamp_of(o, seq);
	if (!stamp_is(stamp, seq, shift_of(o)))
		return -EAGAIN;
	if (stamp & SCATTO_STAMP_TOMBSTONE)
		return -ENODATA;
	return copy_event(o, seq, buf);
}
