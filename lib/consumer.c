// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What a consumer does when the run of events it knew of is used up and the
 * inline look at the published position did not settle it: the end of the
 * stream, impossible positions, and slots that are published by stamps.
 */
#include "internal.h"

/*
 * How far to look ahead for one event. Stamps lie eight to a line, so this
 * touches few lines, and the calls per event become few as well.
 */
#define LOOK_AHEAD	64

/*
 * The inline look found nothing, or too much. Once the end is known it says
 * what there is: everything below it is final, whatever published has become.
 */
int __scatto_consumer_dry(struct scatto_consumer *c)
{
	uint64_t end = __atomic_load_n(&c->chan->end, __ATOMIC_ACQUIRE);
	uint64_t tail = end;

	if (end == SCATTO_END_OPEN)
		tail = __atomic_load_n(c->published, __ATOMIC_ACQUIRE);
	else if (c->next >= end)
		return -EPIPE;
	if (tail - c->next > c->mask + 1)
		return -EBADMSG;
	if (tail == c->next)
		return -EAGAIN;
	c->avail = tail;
	return 0;
}

static uint64_t stamp_load(const struct scatto_consumer *c, uint64_t seq)
{
	return __atomic_load_n(&c->stamps[seq & c->mask], __ATOMIC_ACQUIRE);
}

/*
 * Goes over tombstones to the next event. What they say was lost belongs to
 * that event, which may be found by a later call only. What is skipped is given
 * back at once: a ring may be full of nothing else.
 */
static int skip_tombstones(struct scatto_consumer *c, uint64_t end)
{
	uint64_t next = c->next;
	int ret = -EAGAIN;

	while (next < end && next - c->next <= c->mask) {
		uint64_t stamp = stamp_load(c, next);

		if (!stamp_is(stamp, next, c->shift))
			break;
		if (!(stamp & SCATTO_STAMP_TOMBSTONE)) {
			ret = 0;
			break;
		}
		c->lost_ahead += stamp >> SCATTO_STAMP_LOST_SHIFT;
		next++;
	}
	if (next != c->next) {
		c->tombstones += next - c->next;
		c->avail = next;
		__scatto_consumer_flush(c, next);
	}
	return ret;
}

/* The first event of a new run. */
static int run_begin(struct scatto_consumer *c)
{
	uint64_t end = __atomic_load_n(&c->chan->end, __ATOMIC_ACQUIRE);
	uint64_t stamp;
	int ret = skip_tombstones(c, end);

	/* The end may have come meanwhile, and events before it. */
	if (ret && end == SCATTO_END_OPEN) {
		end = __atomic_load_n(&c->chan->end, __ATOMIC_ACQUIRE);
		if (end != SCATTO_END_OPEN)
			ret = skip_tombstones(c, end);
	}
	if (ret && c->next >= end)
		return -EPIPE;
	/* Below the end everything is final, so something must be there. */
	if (ret && end != SCATTO_END_OPEN &&
	    !stamp_is(stamp_load(c, c->next), c->next, c->shift))
		return -EBADMSG;
	if (ret)
		return ret;

	stamp = stamp_load(c, c->next);
	c->lost = c->lost_ahead + (stamp >> SCATTO_STAMP_LOST_SHIFT);
	c->lost_total += c->lost;
	c->lost_ahead = 0;
	c->avail = c->next + 1;
	return 0;
}

/*
 * A loss is told by the run it precedes, so the event after a loss begins a
 * run, and ends it as well: with the next event scatto_lost() is 0 again
 * without the inline functions having to care.
 */
int __scatto_consumer_stamped(struct scatto_consumer *c, uint32_t n)
{
	uint64_t end, want;

	if (c->avail == c->next) {
		int ret = run_begin(c);

		if (ret)
			return ret;
	}
	if (c->lost)
		return 0;

	end = __atomic_load_n(&c->chan->end, __ATOMIC_ACQUIRE);
	want = n > LOOK_AHEAD ? n : LOOK_AHEAD;
	if (want > c->mask + 1)
		want = c->mask + 1;
	while (c->avail - c->next < want && c->avail < end) {
		uint64_t stamp = stamp_load(c, c->avail);

		if (!stamp_is(stamp, c->avail, c->shift) ||
		    stamp & SCATTO_STAMP_TOMBSTONE ||
		    stamp >> SCATTO_STAMP_LOST_SHIFT)
			break;
		c->avail++;
	}
	return 0;
}
