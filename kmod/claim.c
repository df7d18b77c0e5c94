// SPDX-License-Identifier: GPL-2.0-only
/*
 * Claims that wait in the kernel: a queue of producers that want free slots of a
 * channel with several producers. First come, first served: whoever makes room
 * claims for the first of the queue and wakes it, then for the next, as long as
 * there is room. So nobody is woken in vain. The steps (Q) are in
 * Documentation/many-producers.rst; the wake word is that of the side that waits
 * for space, see wait.c.
 */
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "internal.h"
#include "trace.h"

/*
 * Each failure means that somebody else has claimed; a hostile producer may keep
 * that up for ever.
 */
#define SCATTO_CLAIM_TRIES	256

/*
 * One caller, on its stack. All under the space side's lock; @done is also read
 * without it, by the caller, and the caller may be gone once it is set.
 */
struct scatto_claimer {
	struct list_head node;
	struct task_struct *task;
	struct scatto_endpoint *ep;
	u32 count;
	bool done;
	int ret;		/* slots granted, or -EPIPE */
	u64 at;			/* the first of them */
};

static bool scatto_claim_hopeless(const struct scatto_endpoint *ep)
{
	/* Pairs with the release in scatto_channel_state(). */
	u32 state = smp_load_acquire(&ep->ch->area->state);

	return !READ_ONCE(ep->active) || state & SCATTO_STATE_SEND_EPIPE;
}

/*
 * Claims @least or more slots for the caller: how many, -EAGAIN, or -EBUSY (the
 * claim cursor does not hold still).
 */
static int scatto_claim_take(struct scatto_claimer *c, u32 least)
{
	struct scatto_endpoint *ep = c->ep;
	struct scatto_channel *ch = ep->ch;
	u64 claimed = scatto_channel_published(ch);
	unsigned int tries;

	lockdep_assert_held(&ch->side[SCATTO_SIDE_SPACE].lock);

	for (tries = 0; tries < SCATTO_CLAIM_TRIES; tries++) {
		/* Pairs with the consumer's release: it has read the slots. */
		u64 used = claimed - scatto_channel_consumed(ch);
		u64 room = ch->layout.capacity - used;
		u32 n;

		if (used > ch->layout.capacity || room < least) {
			u64 now = scatto_channel_published(ch);

			/* Old, or forged? */
			if (now == claimed)
				return -EAGAIN;
			claimed = now;
			continue;
		}
		n = min_t(u64, room, c->count);
		if (!try_cmpxchg(&ch->prod->claimed, &claimed, claimed + n))
			continue;
		scatto_window(GRANT);
		c->at = claimed;
		ep->grant_lo = claimed;
		ep->grant_hi = claimed + n;
		WRITE_ONCE(ch->many->claims, ch->many->claims + 1);
		trace_scatto_claim(ch->id, ep->index, claimed, n);
		return n;
	}
	return -EBUSY;
}

static void scatto_claimer_leave(struct scatto_channel *ch,
				 struct scatto_claimer *c)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_SPACE];
	struct scatto_many *m = ch->many;

	lockdep_assert_held(&side->lock);

	list_del(&c->node);
	WRITE_ONCE(side->nr_sleepers, side->nr_sleepers - 1);
	WRITE_ONCE(m->nr_claimers, m->nr_claimers - 1);
	WRITE_ONCE(ch->area->claimers, m->nr_claimers);
	/* What is free is to be had by others again. */
	if (!m->nr_claimers) {
		side->poll_at = SCATTO_WAKE_IDLE;
		wake_up_all(&side->pollers);
	}
}

/* The cursor at which there is room for the first of the queue. */
static u64 scatto_claim_want(struct scatto_channel *ch)
{
	u64 claimed = scatto_channel_published(ch);
	u64 cursor = scatto_channel_consumed(ch);
	struct scatto_claimer *c;

	c = list_first_entry_or_null(&ch->many->claimers,
				     struct scatto_claimer, node);
	if (!c)
		return SCATTO_WAKE_IDLE;
	/* A claim cursor that makes no sense may have changed by then. */
	if (claimed - cursor > ch->layout.capacity)
		return cursor + 1;
	return claimed + c->count - ch->layout.capacity;
}

/*
 * Q3, in whoever's context: grants what there is room for, first come first
 * served, and leaves side->claim_at for scatto_side_arm(). Returns how many were
 * woken.
 */
unsigned int scatto_claim_serve(struct scatto_channel *ch)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_SPACE];
	struct scatto_many *m = ch->many;
	struct scatto_claimer *c, *next;
	unsigned int woken = 0;
	bool stuck = false;

	lockdep_assert_held(&side->lock);

	list_for_each_entry_safe(c, next, &m->claimers, node) {
		int ret = -EPIPE;

		/* Behind one that waits on there may be others without hope. */
		if (!scatto_claim_hopeless(c->ep))
			ret = stuck ? -EAGAIN : scatto_claim_take(c, c->count);
		if (ret == -EBUSY)
			scatto_many_retry(m, 1);
		if (ret == -EBUSY || ret == -EAGAIN) {
			stuck = true;
			continue;
		}
		scatto_claimer_leave(ch, c);
		c->ret = ret;
		/* It takes the lock before it goes. */
		WRITE_ONCE(c->done, true);
		scatto_window(Q3);
		woken += wake_up_process(c->task);
	}
	side->claim_at = scatto_claim_want(ch);
	return woken;
}

/*
 * Somebody has left the queue without a grant. The next one may want less than the
 * wake word says, so whoever left looks on its behalf, as it would itself: arms,
 * has the consumer's CPUs execute a barrier, and serves.
 */
void scatto_claim_left(struct scatto_channel *ch)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_SPACE];
	bool again;

	spin_lock_irq(&side->lock);
	WRITE_ONCE(side->wakes, side->wakes + scatto_claim_serve(ch));
	scatto_side_arm(side);
	again = !list_empty(&ch->many->claimers);
	spin_unlock_irq(&side->lock);
	if (again)
		scatto_side_lowered(ch, SCATTO_SIDE_SPACE);
}

/* A deadline that has passed: what is free may do for the first of the queue. */
static int scatto_claimer_give_up(struct scatto_channel *ch,
				  struct scatto_claimer *c, int ret, u32 least)
{
	lockdep_assert_held(&ch->side[SCATTO_SIDE_SPACE].lock);

	if (ret == -ETIMEDOUT && list_is_first(&c->node, &ch->many->claimers) &&
	    !scatto_claim_hopeless(c->ep)) {
		int n = scatto_claim_take(c, least);

		ret = n > 0 ? n : ret;
	}
	scatto_claimer_leave(ch, c);
	return ret;
}

/* Q4 */
static int scatto_claim_sleep(struct scatto_channel *ch, struct scatto_claimer *c,
			      const struct scatto_claim *arg, u32 least)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_SPACE];
	bool timed = arg->flags & SCATTO_CLAIM_DEADLINE;
	ktime_t deadline = timed ? scatto_deadline(arg->deadline) : 0;
	bool slept = false, expired = false;
	int ret;

	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		ret = 0;
		if (READ_ONCE(c->done))
			break;
		ret = -ETIMEDOUT;
		if (expired)
			break;
		ret = -ERESTARTSYS;
		if (signal_pending(current))
			break;
		if (!slept) {
			slept = true;
			atomic64_inc(&side->sleeps);
			trace_scatto_sleep(ch->id, SCATTO_SIDE_SPACE, c->count);
		}
		scatto_window(Q4);
		expired = scatto_schedule(timed ? &deadline : NULL);
	}
	__set_current_state(TASK_RUNNING);

	spin_lock_irq(&side->lock);
	if (c->done) {
		/* A grant beats a signal, and a deadline. */
		spin_unlock_irq(&side->lock);
		return c->ret;
	}
	ret = scatto_claimer_give_up(ch, c, ret, least);
	spin_unlock_irq(&side->lock);
	scatto_window_sleep(LEFT);
	scatto_claim_left(ch);
	return ret;
}

/*
 * Is each slot of the last grant stamped? @claiming is set, so nobody changes it.
 * A slot that the cursor has passed was; looked at again after a stamp that does
 * not fit, since it may be of a later lap.
 */
static bool scatto_grant_used(const struct scatto_endpoint *ep, u64 lo, u64 hi)
{
	const struct scatto_channel *ch = ep->ch;
	u64 head = scatto_channel_consumed(ch), seq, stamp;

	for (seq = (s64)(head - lo) > 0 ? head : lo; (s64)(hi - seq) > 0; seq++) {
		scatto_breathe(seq);
		/* Nothing is read of the slot: the value is all. */
		stamp = READ_ONCE(ch->stamps[seq & ch->mask]);
		if ((stamp & SCATTO_STAMP_LAP) == scatto_stamp(ch, seq))
			continue;
		/* The stamp before the cursor. */
		smp_rmb();
		head = scatto_channel_consumed(ch);
		if ((s64)(head - seq) <= 0)
			return false;
		seq = head - 1;
	}
	return true;
}

static int scatto_claim_locked(struct scatto_channel *ch,
			       struct scatto_claimer *c,
			       const struct scatto_claim *arg, bool nonblock)
	__releases(&ch->side[SCATTO_SIDE_SPACE].lock)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_SPACE];
	struct scatto_many *m = ch->many;
	u32 least = arg->least ?: arg->count;
	int ret = -EAGAIN;

	lockdep_assert_held(&side->lock);

	if (scatto_claim_hopeless(c->ep))
		ret = -EPIPE;
	else if (list_empty(&m->claimers))
		ret = scatto_claim_take(c, nonblock ? least : c->count);
	if (ret == -EAGAIN || ret == -EBUSY) {
		if (nonblock)
			ret = -EAGAIN;
		else if (side->nr_sleepers == SCATTO_MAX_SLEEPERS)
			ret = -EUSERS;
		else
			ret = 0;
	}
	if (ret) {
		spin_unlock_irq(&side->lock);
		return ret;
	}

	/* Q1 and Q2 */
	list_add_tail(&c->node, &m->claimers);
	WRITE_ONCE(side->nr_sleepers, side->nr_sleepers + 1);
	WRITE_ONCE(m->nr_claimers, m->nr_claimers + 1);
	WRITE_ONCE(ch->area->claimers, m->nr_claimers);
	side->claim_at = scatto_claim_want(ch);
	scatto_side_arm(side);
	scatto_side_armed(ch, SCATTO_SIDE_SPACE);

	/* Whoever sleeps over there for a threshold may have enough now. */
	if (READ_ONCE(ch->side[SCATTO_SIDE_DATA].nr_sleepers))
		scatto_side_lowered(ch, SCATTO_SIDE_DATA);
	/* Q3 */
	scatto_side_wake(ch, SCATTO_SIDE_SPACE);
	return scatto_claim_sleep(ch, c, arg, least);
}

/*
 * Claims for @ep and fills in @arg. On success scatto_claim_done() must follow.
 * Fields are checked already.
 */
long scatto_claim(struct scatto_endpoint *ep, struct scatto_claim *arg,
		  bool nonblock)
{
	struct scatto_channel *ch = ep->ch;
	struct scatto_side *side = &ch->side[SCATTO_SIDE_SPACE];
	struct scatto_claimer c = {
		.task = current, .ep = ep, .count = arg->count,
	};
	int ret = -EBUSY;
	u64 lo, hi;

	spin_lock_irq(&side->lock);
	if (ep->claiming) {
		spin_unlock_irq(&side->lock);
		return -EBUSY;
	}
	ep->claiming = true;
	lo = ep->grant_lo;
	hi = ep->grant_hi;
	spin_unlock_irq(&side->lock);

	if (scatto_claim_hopeless(ep)) {
		ret = -EPIPE;
	} else if (scatto_grant_used(ep, lo, hi)) {
		spin_lock_irq(&side->lock);
		ret = scatto_claim_locked(ch, &c, arg, nonblock);
	}
	if (ret < 0) {
		scatto_claim_done(ep, true);
		return ret;
	}
	arg->position = c.at;
	arg->granted = ret;
	return 0;
}

/* The caller has been told of its grant, or never will be. */
void scatto_claim_done(struct scatto_endpoint *ep, bool delivered)
{
	struct scatto_side *side = &ep->ch->side[SCATTO_SIDE_SPACE];

	if (!delivered)
		scatto_repair_grant(ep->ch, ep);
	spin_lock_irq(&side->lock);
	ep->claiming = false;
	spin_unlock_irq(&side->lock);
}
