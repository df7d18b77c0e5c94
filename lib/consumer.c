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

/* Events lost just before, if that is what the upper half counts. */
static uint64_t stamp_lost(uint64_t stamp)
{
	return stamp & SCATTO_STAMP_RUN ? 0 : stamp >> SCATTO_STAMP_LOST_SHIFT;
}

/* Of a ring of runs the oldest is forgotten when there is no room. */
static void note_skipped(struct scatto_consumer *c, uint64_t first,
			 uint64_t count)
{
	struct consumer *priv = (struct consumer *)c;
	__u64 *total = &endpoint_consumer(c->ep)->skipped;
	struct scatto_run *run;

	c->tombstones += count;
	/* For information: whoever has the place writes it, and nobody else. */
	__atomic_store_n(total, __atomic_load_n(total, __ATOMIC_RELAXED) + count,
			 __ATOMIC_RELAXED);

	run = &priv->runs[(priv->next_run - 1) % SKIPPED_RUNS];
	if (priv->next_run != priv->first_run &&
	    run->first + run->count == first) {
		run->count += count;
		return;
	}
	if (priv->next_run - priv->first_run == SKIPPED_RUNS)
		priv->first_run++;
	run = &priv->runs[priv->next_run++ % SKIPPED_RUNS];
	run->first = first;
	run->count = count;
}

int scatto_skipped(struct scatto_consumer *c, struct scatto_run *runs,
		   uint32_t max)
{
	struct consumer *priv = (struct consumer *)c;
	uint32_t n = 0;

	while (n < max && priv->first_run != priv->next_run)
		runs[n++] = priv->runs[priv->first_run++ % SKIPPED_RUNS];
	return (int)n;
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
		c->lost_ahead += stamp_lost(stamp);
		next++;
	}
	if (next != c->next) {
		note_skipped(c, c->next, next - c->next);
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
	c->lost = c->lost_ahead + stamp_lost(stamp);
	c->lost_total += c->lost;
	c->lost_ahead = 0;
	c->avail = c->next + 1;
	return 0;
}

/* An event that nothing was lost before? */
static bool stamp_plain(uint64_t stamp, uint64_t seq, unsigned int shift)
{
	return stamp_is(stamp, seq, shift) &&
	       !(stamp & SCATTO_STAMP_TOMBSTONE) && !stamp_lost(stamp);
}

/* As much as a consumer in pursuit of a producer lets it get ahead, in bytes. */
#define TRAIL		4096
#define GAIN		512	/* in all LOOKS; more than 8 events is enough in any case */
#define LOOKS		4
#define HOLD_MOST	1023	/* occasions */

/*
 * Some 1000 cycles, what lines take from CPU to CPU. A pause would take 10 to 140 of them, by
 * CPU, and an emulator that runs its CPUs in turn goes on with the next one then.
 */
static void pass_time(void)
{
	unsigned int i;

	for (i = 0; i < 1000; i++)
		__scatto_barrier();
}

/* Are there more than @n events? Where slots are stamped, one stamp is enough to go by. */
static bool more_than(const struct scatto_consumer *c, uint64_t n, uint64_t tail)
{
	uint64_t seq = c->next + n;

	if (c->published)
		return tail - c->next > n;
	return stamp_is(stamp_load(c, seq), seq, c->shift);
}

/* A number of events, up to @far, that there are not more than. */
static uint64_t no_more_than(const struct scatto_consumer *c, uint64_t far, uint64_t tail)
{
	uint64_t n = 1;

	if (c->published)
		return tail - c->next;
	/* To count them would be to look at each line up to the producer's. */
	while (n < far && more_than(c, n, tail))
		n *= 2;
	return n < far ? n : far;
}

/*
 * A consumer that keeps up with a busy producer finds few events at each look, and
 * each look, and each slot in a line that is being filled, costs that producer a
 * line. So it falls back a little, with looks few and far between.
 *
 * If what comes meanwhile is too little to gain by it, because the producer is slow or waits
 * for an answer, it was delay for nothing: then the next occasions are left out, after
 * each such time twice as many.
 */
uint64_t __scatto_consumer_trail(struct scatto_consumer *c, uint64_t found)
{
	uint64_t far = TRAIL / c->slot_stride, tail = found, few, enough;
	unsigned int looks;
	bool gains = true;

	if (c->held) {
		c->held--;
		return found;
	}
	far = far < c->mask / 2 ? far : c->mask / 2;
	if (more_than(c, far, tail))
		return found;
	few = no_more_than(c, far, tail);
	enough = GAIN / c->slot_stride;
	enough = few + (enough < 1 ? 0 : enough < 8 ? enough - 1 : 7);
	if (enough > far)
		enough = far;
	for (looks = 0; looks < LOOKS && !more_than(c, far, tail); looks++) {
		pass_time();
		if (c->published) {
			/* Pairs with the release in __scatto_producer_flush(). */
			tail = __atomic_load_n(c->published, __ATOMIC_ACQUIRE);
			if (tail - c->next - 1 > c->mask)
				return found;
		}
		if (looks == LOOKS - 1)
			gains = more_than(c, enough, tail);
		else if (c->published || few == 1)
			gains = more_than(c, few, tail);
		if (!gains)
			break;
	}
	c->hold = gains ? 0 : c->hold < HOLD_MOST ? 2 * c->hold + 1 : HOLD_MOST;
	c->held = c->hold;
	/* What was published behind the end meanwhile is not in the stream: read after it. */
	return tail > __atomic_load_n(&c->chan->end, __ATOMIC_RELAXED) ? found : tail;
}

/*
 * A loss is told by the run it precedes, so the event after a loss begins a
 * run, and ends it as well: with the next event scatto_lost() is 0 again
 * without the inline functions having to care.
 *
 * What was published together is taken at once: the other stamps need no look,
 * and their lines stay with the producer. Its word for how many that are is
 * good for no more than what can be there.
 */
int __scatto_consumer_stamped(struct scatto_consumer *c, uint32_t n)
{
	uint64_t end = __atomic_load_n(&c->chan->end, __ATOMIC_ACQUIRE);
	const __u64 *stamps = c->stamps;
	unsigned int shift = c->shift;
	uint64_t mask = c->mask;
	uint64_t seq = c->avail;
	uint64_t stamp = stamp_load(c, seq);
	uint64_t most, want;

	if (seq == c->next) {
		if (c->lost_ahead || seq >= end ||
		    !stamp_plain(stamp, seq, shift)) {
			int ret = run_begin(c);

			if (ret == -EAGAIN)
				__scatto_consumer_idle(c);
			if (ret)
				return ret;
			seq = c->avail;
		} else {
			c->lost = 0;
		}
		if (!c->lost && c->idle < __SCATTO_PATIENCE && end == SCATTO_END_OPEN)
			__scatto_consumer_trail(c, 0);
		c->idle = 0;
		/* A look is believed: another one at the same stamp might differ. */
		if (seq != c->next)
			stamp = stamp_load(c, seq);
	}
	if (c->lost)
		return 0;

	want = n > LOOK_AHEAD ? n : LOOK_AHEAD;
	most = end - c->next - 1 < mask ? end - c->next : mask + 1;
	want = (want < most ? want : most) + c->next;
	most += c->next;
	while (seq < want && stamp_plain(stamp, seq, shift)) {
		uint64_t run = stamp & SCATTO_STAMP_RUN ?
			       stamp >> SCATTO_STAMP_LOST_SHIFT : 1;

		if (!run || run > most - seq)
			run = 1;
		seq += run;
		stamp = __atomic_load_n(&stamps[seq & mask], __ATOMIC_ACQUIRE);
	}
	/*
	 * What was stamped behind the end meanwhile is not in the stream: read after the
	 * stamps. Whoever stamped it had seen the end, as set by the kernel (release), and
	 * passed it on with the stamp (release, acquire). What was shown before stays.
	 */
	end = __atomic_load_n(&c->chan->end, __ATOMIC_RELAXED);
	if (__scatto_unlikely(seq > end)) {
		uint64_t shown = c->avail == c->next ? c->next + 1 : c->avail;

		seq = end > shown ? end : shown;
	}
	c->avail = seq;
	return 0;
}
