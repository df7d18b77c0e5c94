// SPDX-License-Identifier: GPL-2.0-only
/*
 * Crash repair of channels with several user producers: what a dead one has
 * claimed and not stamped becomes tombstones. The steps (C, P, D, R) and the
 * argument are in Documentation/many-producers.rst.
 *
 * All of it runs under the channel's mutex: in the dying task when its last
 * writable mapping goes, and, where a living producer leaves something undecided
 * for the moment, in delayed work.
 */
#include <linux/delay.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "internal.h"
#include "trace.h"

/*
 * Between two tries of what is undecided, in us. Most wait for a producer that
 * lost the CPU between two instructions, and a tick is long for those.
 */
#define SCATTO_BACKOFF_MIN	100
#define SCATTO_BACKOFF_MAX	USEC_PER_SEC
/* For a user with many channels in doubt. */
#define SCATTO_BACKOFF_MOST	(60 * USEC_PER_SEC)

/*
 * For the tries that come later. Not bound to a CPU: a large ring takes long to
 * look through, and others wait behind it there. Before others, where CPUs are busy:
 * a consumer waits for it, and there is little to do for all the time it sleeps (see
 * scatto_repair_retry()).
 */
static struct workqueue_struct *scatto_wq;

static struct scatto_intent *scatto_intent(const struct scatto_channel *ch,
					   u32 index)
{
	return ch->intents + (size_t)index * ch->layout.intent_stride;
}

static bool scatto_stamped(const struct scatto_channel *ch, u64 seq)
{
	/* Pairs with the release of whoever stamps. */
	u64 stamp = smp_load_acquire(&ch->stamps[seq & ch->mask]);

	return (stamp & SCATTO_STAMP_LAP) == scatto_stamp(ch, seq);
}

/*
 * R2 for a slot that nobody covers: 1: is a tombstone now, 0: has been decided
 * by somebody else, -EAGAIN: is being written. The stamp is looked at before the
 * cursor: a slot that was not released then can only hold the stamp of its own
 * lap or of the one before, so one that differs is not a later lap's.
 */
static int scatto_bury(struct scatto_channel *ch, u64 seq)
{
	u64 *stamp = &ch->stamps[seq & ch->mask];
	u64 lap = scatto_stamp(ch, seq);
	/* Pairs with the release of whoever stamps. */
	u64 old = smp_load_acquire(stamp);

	if ((old & SCATTO_STAMP_LAP) == lap ||
	    (s64)(scatto_channel_consumed(ch) - seq) > 0)
		return 0;
	scatto_window_sleep(R2);
	return try_cmpxchg(stamp, &old, lap | SCATTO_STAMP_TOMBSTONE) ?
	       1 : -EAGAIN;
}

/*
 * How far @pos is ahead of @head, 0 to one capacity. Signed differences of forged
 * words do not compose, so each is cut before it is compared with another.
 */
static u64 scatto_ahead(const struct scatto_channel *ch, u64 pos, u64 head)
{
	return clamp_t(s64, pos - head, 0, ch->layout.capacity);
}

/* Whatever is forged, candidates are at most one capacity from the cursor. */
static void scatto_hull_clamp(struct scatto_channel *ch)
{
	struct scatto_many *m = ch->many;
	u64 head = scatto_channel_consumed(ch);

	lockdep_assert_held(&ch->lock);

	m->repair_lo = head + scatto_ahead(ch, m->repair_lo, head);
	m->repair_hi = head + scatto_ahead(ch, m->repair_hi, head);
	if (m->repair_hi - head <= m->repair_lo - head) {
		m->repair_lo = 0;
		m->repair_hi = 0;
	}
}

/* Is there anything in [lo, hi) to be decided that was not in doubt before? */
static bool scatto_hull_news(struct scatto_channel *ch, u64 lo, u64 hi)
{
	struct scatto_many *m = ch->many;
	u64 seq;

	for (seq = lo; seq != hi; seq++) {
		scatto_breathe(seq - lo);
		if (seq - m->repair_lo >= m->repair_hi - m->repair_lo &&
		    !scatto_stamped(ch, seq))
			return true;
	}
	return false;
}

/*
 * D2: what [lo, hi) has in common with what can be claimed and not consumed. Is
 * that news? Then it does not wait as long as what has been in doubt for long.
 */
static bool scatto_hull_add(struct scatto_channel *ch, u64 lo, u64 hi, u64 claimed)
{
	struct scatto_many *m = ch->many;
	u64 head = scatto_channel_consumed(ch);

	lockdep_assert_held(&ch->lock);

	if (lo == SCATTO_INTENT_NONE)
		return false;
	lo = scatto_ahead(ch, lo, head);
	hi = min(scatto_ahead(ch, hi, head), scatto_ahead(ch, claimed, head));
	if (lo >= hi)
		return false;
	lo += head;
	hi += head;

	if (!scatto_hull_news(ch, lo, hi))
		return false;
	m->backoff = SCATTO_BACKOFF_MIN;
	if (m->repair_lo == m->repair_hi) {
		m->repair_lo = lo;
		m->repair_hi = hi;
		return true;
	}
	if ((s64)(lo - m->repair_lo) < 0)
		m->repair_lo = lo;
	if ((s64)(hi - m->repair_hi) > 0)
		m->repair_hi = hi;
	return true;
}

/* Notes what [lo, hi) covers of the hull; returns the number of notes. */
static unsigned int scatto_cover_add(struct scatto_many *m, unsigned int n,
				     u64 lo, u64 hi, pid_t tgid)
{
	s64 most = m->repair_hi - m->repair_lo;
	s64 from = lo - m->repair_lo, to = hi - m->repair_lo;

	if (lo == SCATTO_INTENT_NONE || from >= most || to <= 0 || from >= to)
		return n;
	m->cover[n].from = max_t(s64, from, 0);
	m->cover[n].to = min(to, most);
	m->cover[n].tgid = tgid;
	return n + 1;
}

static int scatto_cover_cmp(const void *a, const void *b)
{
	const struct scatto_cover *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* R1 */
static unsigned int scatto_cover_read(struct scatto_channel *ch)
{
	struct scatto_side *space = &ch->side[SCATTO_SIDE_SPACE];
	struct scatto_many *m = ch->many;
	unsigned int n = 0, i;
	int cpu;

	lockdep_assert_held(&ch->lock);

	for (i = 0; i < ch->layout.max_producers; i++) {
		struct scatto_endpoint *ep = ch->producer[i];
		struct scatto_intent *intent = scatto_intent(ch, i);
		u64 lo, hi;

		if (!ep)
			continue;
		/*
		 * Pair with C4, C5 and C7. In either order: a pair of which one
		 * is newer belongs to a claim that comes after D1.
		 */
		hi = smp_load_acquire(&intent->hi);
		/* The other half. */
		lo = smp_load_acquire(&intent->lo);
		n = scatto_cover_add(m, n, lo, hi, ep->tgid);

		spin_lock_irq(&space->lock);
		lo = ep->grant_lo;
		hi = ep->grant_hi;
		spin_unlock_irq(&space->lock);
		n = scatto_cover_add(m, n, lo, hi, ep->tgid);
	}
	if (m->intents) {
		for_each_possible_cpu(cpu) {
			u64 *at = per_cpu_ptr(m->intents, cpu)->at;

			for (i = 0; i < 4; i++) {
				/* Pairs with the releases in scatto_send_shared(). */
				u64 lo = smp_load_acquire(&at[i]);

				n = scatto_cover_add(m, n, lo, lo + 1, 0);
			}
		}
	}
	sort(m->cover, n, sizeof(m->cover[0]), scatto_cover_cmp, NULL);
	return n;
}

/*
 * The work comes after @delay jiffies, or before if that was planned; later when two
 * plan at the same moment, which takes a cursor that is forged all the time.
 */
void scatto_many_retry(struct scatto_many *m, unsigned long delay)
{
	/* A plan that is carried out just now does no harm. */
	unsigned long planned = data_race(m->work.timer.expires);

	if (!delayed_work_pending(&m->work) || time_after(planned, jiffies + delay))
		mod_delayed_work(scatto_wq, &m->work, delay);
}

/*
 * @slots have just been looked at: who keeps large rings in doubt, or many, does not
 * have the kernel look through them all the time. All channels of a user together pay a
 * microsecond for a slot, and some for the wake-up. Less than a jiffy is slept by the
 * work itself, but that keeps a worker: not when others wait for one.
 */
static void scatto_repair_retry(struct scatto_many *m, u32 slots)
{
	u64 least = (slots + 32ULL) * scatto_quota_doubt(m->ch->user, 0);
	unsigned int us = clamp_t(u64, least, m->backoff, SCATTO_BACKOFF_MOST);
	bool nap = us < jiffies_to_usecs(1) &&
		   !workqueue_congested(WORK_CPU_UNBOUND, scatto_wq);

	WRITE_ONCE(m->nap, nap ? us : 0);
	scatto_many_retry(m, nap ? 0 : usecs_to_jiffies(us));
	m->backoff = min(m->backoff + m->backoff / 2, SCATTO_BACKOFF_MAX);
}

static void scatto_doubt(struct scatto_many *m, bool doubt)
{
	if (doubt != m->doubt)
		scatto_quota_doubt(m->ch->user, doubt ? 1 : -1);
	m->doubt = doubt;
}

/* Decides what can be decided of the hull and shrinks it to the rest. */
static void scatto_repair_pass(struct scatto_channel *ch)
{
	struct scatto_many *m = ch->many;
	unsigned int n, at = 0, made = 0, open = 0;
	u64 first = 0, last = 0, seq;
	u32 covered = 0, i, most;
	bool open_before = m->repair_lo != m->repair_hi;
	pid_t by = 0, held_by = 0;

	lockdep_assert_held(&ch->lock);

	scatto_hull_clamp(ch);
	most = m->repair_hi - m->repair_lo;
	if (!most) {
		scatto_doubt(m, false);
		/* The consumer has passed it: all of it was a living one's. */
		if (open_before) {
			m->backoff = SCATTO_BACKOFF_MIN;
			trace_scatto_repair(ch->id, 0, 0, 0, 0);
		}
		return;
	}

	n = scatto_cover_read(ch);
	scatto_window_sleep(R1);
	for (i = 0; i < most; i++) {
		int ret = -EAGAIN;

		scatto_breathe(i);
		seq = m->repair_lo + i;
		for (; at < n && m->cover[at].from <= i; at++) {
			if (m->cover[at].to <= covered)
				continue;
			covered = m->cover[at].to;
			by = m->cover[at].tgid;
		}
		if (covered <= i)
			ret = scatto_bury(ch, seq);
		else if (scatto_stamped(ch, seq))
			ret = 0;
		if (ret >= 0) {
			made += ret;
			continue;
		}
		if (!open++) {
			first = seq;
			held_by = covered > i ? by : 0;
		}
		last = seq + 1;
	}
	m->repair_lo = first;
	m->repair_hi = last;

	if (made) {
		scatto_count(&ch->area->tombstones, made);
		scatto_side_wake(ch, SCATTO_SIDE_DATA);
	}
	trace_scatto_repair(ch->id, made, first, last, held_by);
	scatto_doubt(m, open);
	if (open)
		scatto_repair_retry(m, most);
	else
		m->backoff = SCATTO_BACKOFF_MIN;
}

/* Also for a queue of claimers that found the claim cursor too busy. */
static void scatto_many_work(struct work_struct *work)
{
	struct scatto_many *m = container_of(to_delayed_work(work),
					     struct scatto_many, work);
	struct scatto_channel *ch = m->ch;
	unsigned int nap = READ_ONCE(m->nap);

	if (nap)
		usleep_range_state(nap, nap + nap / 4, TASK_IDLE);
	mutex_lock(&ch->lock);
	WRITE_ONCE(m->nap, 0);
	scatto_repair_pass(ch);
	mutex_unlock(&ch->lock);
	/* Tombstones make no room: pollers need not look. */
	if (READ_ONCE(m->nr_claimers))
		scatto_side_wake(ch, SCATTO_SIDE_SPACE);
}

/* D3, and what a new producer finds: the place is nobody's, or its own. */
void scatto_intent_clear(struct scatto_channel *ch, u32 index)
{
	struct scatto_intent *intent = scatto_intent(ch, index);

	lockdep_assert_held(&ch->lock);

	WRITE_ONCE(intent->lo, SCATTO_INTENT_NONE);
	WRITE_ONCE(intent->hi, 0);
}

/* Takes over what the kernel has claimed for @ep. Is that news? */
static bool scatto_hull_add_grant(struct scatto_channel *ch,
				  struct scatto_endpoint *ep, u64 claimed)
{
	struct scatto_side *space = &ch->side[SCATTO_SIDE_SPACE];
	u64 lo, hi;

	spin_lock_irq(&space->lock);
	lo = ep->grant_lo;
	hi = ep->grant_hi;
	ep->grant_lo = 0;
	ep->grant_hi = 0;
	spin_unlock_irq(&space->lock);
	return lo != hi && scatto_hull_add(ch, lo, hi, claimed);
}

/*
 * D1 to D3: @ep has left its place, can no longer write, and nothing is claimed
 * for it any more.
 */
void scatto_repair_leave(struct scatto_channel *ch, struct scatto_endpoint *ep)
{
	struct scatto_intent *intent = scatto_intent(ch, ep->index);
	/* The acquire of D1: whoever has claimed below it has shown its intent. */
	u64 claimed = scatto_channel_published(ch);
	u64 lo = READ_ONCE(intent->lo), hi = READ_ONCE(intent->hi);
	bool news;

	lockdep_assert_held(&ch->lock);

	scatto_window_sleep(D1);
	trace_scatto_orphan(ch->id, ep->index, lo, hi);
	news = scatto_hull_add(ch, lo, hi, claimed);
	news |= scatto_hull_add_grant(ch, ep, claimed);
	ch->many->repairs += news;
	scatto_intent_clear(ch, ep->index);
	scatto_repair_pass(ch);
}

/* A grant that its endpoint, which goes on, will never hear of. */
void scatto_repair_grant(struct scatto_channel *ch, struct scatto_endpoint *ep)
{
	mutex_lock(&ch->lock);
	scatto_hull_add_grant(ch, ep, scatto_channel_published(ch));
	scatto_repair_pass(ch);
	mutex_unlock(&ch->lock);
}

/* The first slot that is not stamped; at most one capacity from @head. */
u64 scatto_repair_edge(struct scatto_channel *ch, u64 head)
{
	u64 n;

	for (n = 0; n < ch->layout.capacity && scatto_stamped(ch, head + n); n++)
		scatto_breathe(n);
	return head + n;
}

/*
 * The end of a stream whose producers are at work and have been told: what is
 * claimed now and not stamped never was in time. Whoever stamps it all the same
 * has been told as well. Where claimed makes no sense, the stamps say.
 */
u64 scatto_repair_close(struct scatto_channel *ch)
{
	u64 end = scatto_channel_published(ch);
	u64 head = scatto_channel_consumed(ch), seq;
	unsigned int made = 0;

	lockdep_assert_held(&ch->lock);

	if (end - head > ch->layout.capacity)
		return scatto_repair_edge(ch, head);
	for (seq = head; seq != end; seq++) {
		scatto_breathe(seq - head);
		made += scatto_bury(ch, seq) == 1;
	}
	scatto_count(&ch->area->tombstones, made);
	return end;
}

/*
 * Nobody is left who could write: claimed becomes the first slot that is not
 * stamped, for a successor to go on from. Stamps beyond would pass for events
 * once the slots are claimed; they are forged, so they go.
 */
bool scatto_repair_settle(struct scatto_channel *ch)
{
	struct scatto_side *data = &ch->side[SCATTO_SIDE_DATA];
	struct scatto_many *m = ch->many;
	u64 head, edge, end, seq;

	lockdep_assert_held(&ch->lock);

	/* What the kernel has covered until it left. */
	scatto_repair_pass(ch);
	m->repair_lo = 0;
	m->repair_hi = 0;
	scatto_doubt(m, false);

	/* Read once: the consumer may move it all the time. */
	head = scatto_channel_consumed(ch);
	edge = scatto_repair_edge(ch, head);
	end = head + ch->layout.capacity;

	/* Whoever looked while stamps were forged has seen too much. */
	spin_lock_irq(&data->lock);
	ch->seen = edge;
	spin_unlock_irq(&data->lock);
	for (seq = edge; seq != end; seq++) {
		scatto_breathe(end - seq);
		if (scatto_stamped(ch, seq))
			WRITE_ONCE(ch->stamps[seq & ch->mask],
				   scatto_stamp(ch, seq - ch->layout.capacity));
	}
	if (scatto_channel_published(ch) == edge)
		return false;
	/* Orders nothing: no slot is handed over by it. */
	WRITE_ONCE(ch->prod->claimed, edge);
	return true;
}

int scatto_many_init(struct scatto_channel *ch)
{
	unsigned int covers = 2 * ch->layout.max_producers, i;
	struct scatto_many *m;
	int cpu;

	m = kzalloc(sizeof(*m), SCATTO_GFP);
	if (!m)
		return -ENOMEM;
	ch->many = m;
	m->ch = ch;
	m->backoff = SCATTO_BACKOFF_MIN;
	INIT_DELAYED_WORK(&m->work, scatto_many_work);
	INIT_LIST_HEAD(&m->claimers);
	INIT_LIST_HEAD(&m->movers);
	mutex_init(&m->barrier_lock);
	if (!zalloc_cpumask_var(&m->barrier_mask, SCATTO_GFP))
		return -ENOMEM;
	if (ch->layout.flags & SCATTO_F_SHARED) {
		m->intents = alloc_percpu_gfp(struct scatto_kernel_intents,
					      SCATTO_GFP);
		if (!m->intents)
			return -ENOMEM;
		for_each_possible_cpu(cpu)
			for (i = 0; i < 4; i++)
				per_cpu_ptr(m->intents, cpu)->at[i] =
					SCATTO_INTENT_NONE;
		covers += 4 * num_possible_cpus();
	}
	m->cover = kvmalloc_array(covers, sizeof(m->cover[0]), SCATTO_GFP);
	return m->cover ? 0 : -ENOMEM;
}

/* Whatever of it there is. */
void scatto_many_free(struct scatto_channel *ch)
{
	struct scatto_many *m = ch->many;

	if (!m)
		return;
	cancel_delayed_work_sync(&m->work);
	scatto_doubt(m, false);
	kvfree(m->cover);
	free_percpu(m->intents);
	free_cpumask_var(m->barrier_mask);
	kfree(m);
}

int scatto_repair_init(void)
{
	scatto_wq = alloc_workqueue("scatto", WQ_UNBOUND | WQ_HIGHPRI | WQ_SYSFS, 0);
	return scatto_wq ? 0 : -ENOMEM;
}

void scatto_repair_exit(void)
{
	destroy_workqueue(scatto_wq);
}
