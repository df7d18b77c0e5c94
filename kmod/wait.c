// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting and waking, in both directions by the same code.
 *
 * The mover publishes (or releases): it stores its position, then loads the
 * wake word of the side that waits for it, and calls SCATTO_IOC_WAKE only if
 * its position has reached the word. The sleeper, in scatto_wait() or
 * scatto_poll():
 *
 *	A  queues itself and arms the word, under the side's lock
 *	B  makes every CPU that may be running a mover execute a full barrier
 *	C  looks at the position again, and sleeps if it must
 *
 * A mover that loaded the word before A reached it did so before its CPU's
 * barrier in B, so its store of the position, earlier in program order, is
 * visible to C. A mover that comes later sees the word. So movers need no
 * barrier of their own: the sleeper pays, and only when it sleeps. Movers that
 * are kernel code fence for themselves. Where B cannot be had the channel says
 * SCATTO_F_FENCE and movers in user space fence, too.
 *
 * The word is the smallest position that anybody wants: a mover below it makes
 * no call. Only this file writes it, under the lock, so nobody can be disarmed
 * by somebody else's leaving.
 *
 * Thresholds are judged in the waker's context: nobody is scheduled just to
 * find that it must sleep on.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>
#include <linux/time_namespace.h>

#include "internal.h"
#include "trace.h"

struct scatto_waiter {
	struct wait_queue_entry entry;
	struct scatto_endpoint *ep;
	struct scatto_channel *ch;
	unsigned int which;
	u64 from;		/* data: the consumer's cursor when it came */
	u64 want;
	u64 enough;		/* == want unless SCATTO_WAIT_ENOUGH */
	bool woken;		/* a waker found it ready; see scatto_sleep() */
};

static int scatto_waiter_wake(struct wait_queue_entry *entry, unsigned int mode,
			      int flags, void *key);

static bool scatto_reached(struct scatto_channel *ch, unsigned int which,
			   u64 from, u64 want)
{
	if (which == SCATTO_SIDE_SPACE)
		return (s64)(scatto_channel_consumed(ch) - want) >= 0;
	if (ch->layout.kind == SCATTO_KIND_MPSC)
		return scatto_producer_published(ch, from, want);
	return (s64)(scatto_channel_published(ch) - want) >= 0;
}

/* Is there no point in waiting, whatever the positions? */
static bool scatto_hopeless(struct scatto_channel *ch, unsigned int which)
{
	if (which == SCATTO_SIDE_SPACE)
		return smp_load_acquire(&ch->area->state) &
		       SCATTO_STATE_SEND_EPIPE;
	return smp_load_acquire(&ch->area->end) != SCATTO_END_OPEN;
}

static bool scatto_waiter_ready(struct scatto_waiter *w)
{
	struct scatto_side *other = &w->ch->side[!w->which];

	if (!READ_ONCE(w->ep->active) || scatto_hopeless(w->ch, w->which))
		return true;
	if (scatto_reached(w->ch, w->which, w->from, w->want))
		return true;
	/* Pairs with the barrier after A of the other side's sleeper. */
	return w->enough != w->want && READ_ONCE(other->sleepers) &&
	       scatto_reached(w->ch, w->which, w->from, w->enough);
}

/* Sets the wake word to the smallest position that somebody wants. */
static void scatto_side_arm(struct scatto_side *side)
{
	struct wait_queue_entry *entry;
	u64 word = side->poll_at;

	lockdep_assert_held(&side->wq.lock);

	list_for_each_entry(entry, &side->wq.head, entry) {
		if (entry->func == scatto_waiter_wake)
			word = min(word, container_of(entry, struct scatto_waiter,
						      entry)->want);
	}
	if (side->gone)
		word = 0;
	if (*side->word != word)
		WRITE_ONCE(*side->word, word);
}

static void scatto_waiter_dequeue(struct scatto_side *side,
				  struct scatto_waiter *w)
{
	lockdep_assert_held(&side->wq.lock);

	WRITE_ONCE(side->sleepers, side->sleepers - 1);
	/* Pairs with list_empty_careful() in scatto_wait(). */
	list_del_init_careful(&w->entry.entry);
}

/*
 * Called by the wait queue, under its lock. What made the waiter ready may be
 * gone when it runs, hence @woken: the wake-up counts once it was given. The
 * sleeper may return as soon as its entry is off the list, so that comes last.
 */
static int scatto_waiter_wake(struct wait_queue_entry *entry, unsigned int mode,
			      int flags, void *key)
{
	struct scatto_waiter *w = container_of(entry, struct scatto_waiter, entry);
	struct scatto_side *side = &w->ch->side[w->which];

	if (!scatto_waiter_ready(w))
		return 0;
	/* Ordered by the barriers of try_to_wake_up() and set_current_state(). */
	WRITE_ONCE(w->woken, true);
	side->woken += !!default_wake_function(entry, mode, flags, key);
	scatto_waiter_dequeue(side, w);
	return 1;
}

#ifdef CONFIG_X86
static void scatto_ipi_barrier(void *unused)
{
	smp_mb();
}

/*
 * B above: interrupts the CPUs that run the mover's mm. mm_cpumask() has every
 * CPU that has that mm loaded; a CPU sets its bit (a full barrier on x86)
 * before it runs user code of the mm, and clears it only after.
 */
static void scatto_mover_barrier(struct mm_struct *mm)
{
	preempt_disable();
	smp_call_function_many(mm_cpumask(mm), scatto_ipi_barrier, NULL, true);
	preempt_enable();
}

static bool scatto_mover_elsewhere(struct mm_struct *mm)
{
	return cpumask_any_but(mm_cpumask(mm), smp_processor_id()) < nr_cpu_ids;
}
#else
static void scatto_mover_barrier(struct mm_struct *mm)
{
}

static bool scatto_mover_elsewhere(struct mm_struct *mm)
{
	return false;
}
#endif

/*
 * A is done: drops the lock and does B. The common cases, a mover that is not
 * running or runs on this very CPU when it does, need no interrupt.
 */
static void scatto_side_armed(struct scatto_side *side)
	__releases(&side->wq.lock)
{
	struct mm_struct *mm = NULL;

	/* The word, and sleepers, before the mask and the positions. */
	smp_mb();
	if (side->mover && scatto_mover_elsewhere(side->mover)) {
		mm = side->mover;
		mmgrab(mm);
	}
	spin_unlock_irq(&side->wq.lock);
	if (mm) {
		scatto_mover_barrier(mm);
		mmdrop(mm);
	}
}

void scatto_side_init(struct scatto_side *side, u64 *word)
{
	init_waitqueue_head(&side->wq);
	side->word = word;
	side->poll_at = SCATTO_WAKE_IDLE;
	*word = SCATTO_WAKE_IDLE;
}

/* @mm moves the position from now on; NULL: nobody does. */
void scatto_side_set_mover(struct scatto_side *side, struct mm_struct *mm)
{
	struct mm_struct *old;

	if (mm)
		mmgrab(mm);
	spin_lock_irq(&side->wq.lock);
	old = side->mover;
	side->mover = mm;
	spin_unlock_irq(&side->wq.lock);
	if (old)
		mmdrop(old);
}

/*
 * Lets those go on that can, and says how many WAIT callers that were. Pollers
 * are woken once for each time they looked: every ->poll arms again, and comes
 * before the user's own look, so no edge is lost.
 */
int scatto_side_wake(struct scatto_channel *ch, unsigned int which)
{
	struct scatto_side *side = &ch->side[which];
	unsigned long flags;
	int woken;

	spin_lock_irqsave(&side->wq.lock, flags);
	side->woken = 0;
	side->poll_at = SCATTO_WAKE_IDLE;
	__wake_up_locked_key(&side->wq, TASK_NORMAL,
			     poll_to_key(which == SCATTO_SIDE_DATA ?
					 EPOLLIN | EPOLLRDNORM :
					 EPOLLOUT | EPOLLWRNORM));
	scatto_side_arm(side);
	woken = side->woken;
	side->wakes += woken;
	spin_unlock_irqrestore(&side->wq.lock, flags);

	if (woken)
		trace_scatto_wake(ch->id, which, woken);
	return woken;
}

/*
 * Something other than a position has changed. @gone: from now on movers are
 * to come and see at every step.
 */
void scatto_side_wake_all(struct scatto_channel *ch, unsigned int which,
			  bool gone)
{
	struct scatto_side *side = &ch->side[which];

	spin_lock_irq(&side->wq.lock);
	side->gone |= gone;
	side->poll_at = SCATTO_WAKE_IDLE;
	__wake_up_locked(&side->wq, TASK_NORMAL, 0);
	scatto_side_arm(side);
	spin_unlock_irq(&side->wq.lock);
}

/* The caller's absolute monotonic time in terms of the host's clock. */
static ktime_t scatto_deadline(u64 ns)
{
	s64 t = min_t(u64, ns, KTIME_MAX);

#ifdef CONFIG_TIME_NS
	struct timespec64 *offset =
		&current->nsproxy->time_ns->offsets.monotonic;

	t = ktime_sub(t, timespec64_to_ktime(*offset));
	if (t < 0)
		t = 0;
#endif
	return t;
}

/*
 * C above. Returns 0 when there is something to see. @woken is looked at
 * after the state is set and written before the wake-up, so it is never missed;
 * without it a waiter that found its reason gone again (its peer slept, and
 * sleeps no more) would sleep on without being queued.
 */
static long scatto_sleep(struct scatto_side *side, struct scatto_waiter *w,
			 const struct scatto_wait *arg)
{
	bool timed = arg->flags & SCATTO_WAIT_DEADLINE;
	ktime_t deadline = timed ? scatto_deadline(arg->deadline) : 0;
	bool slept = false, expired = false;
	long ret;

	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		ret = 0;
		if (READ_ONCE(w->woken) || scatto_waiter_ready(w))
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
			trace_scatto_sleep(w->ch->id, w->which, w->want);
		}
		if (timed)
			expired = !schedule_hrtimeout_range_clock(&deadline,
					current->timer_slack_ns,
					HRTIMER_MODE_ABS, CLOCK_MONOTONIC);
		else
			schedule();
	}
	__set_current_state(TASK_RUNNING);

	if (!list_empty_careful(&w->entry.entry)) {
		spin_lock_irq(&side->wq.lock);
		if (!list_empty(&w->entry.entry)) {
			scatto_waiter_dequeue(side, w);
			scatto_side_arm(side);
		}
		spin_unlock_irq(&side->wq.lock);
	}
	return ret;
}

/*
 * Waits until the other side has reached arg->want or there is no point in
 * waiting; the caller finds out which. Fields are checked already.
 */
long scatto_wait(struct scatto_endpoint *ep, const struct scatto_wait *arg,
		 bool nonblock)
{
	struct scatto_channel *ch = scatto_endpoint_channel(ep);
	unsigned int which = ep->role == SCATTO_ROLE_CONSUMER ?
			     SCATTO_SIDE_DATA : SCATTO_SIDE_SPACE;
	struct scatto_side *side = &ch->side[which];
	struct scatto_side *other = &ch->side[!which];
	struct scatto_waiter w = {
		.ep = ep, .ch = ch, .which = which,
		.from = scatto_channel_consumed(ch),
		.want = arg->want,
		.enough = arg->flags & SCATTO_WAIT_ENOUGH ? arg->enough : arg->want,
	};
	long ret = 0;

	if (which == SCATTO_SIDE_DATA && ch->layout.kind == SCATTO_KIND_MPSC)
		w.want = min(w.want, w.from + SCATTO_MAX_SCAN);
	if (scatto_waiter_ready(&w))
		goto out;
	if (nonblock)
		return -EAGAIN;

	init_waitqueue_func_entry(&w.entry, scatto_waiter_wake);
	w.entry.private = current;
	spin_lock_irq(&side->wq.lock);
	__add_wait_queue_entry_tail(&side->wq, &w.entry);
	WRITE_ONCE(side->sleepers, side->sleepers + 1);
	scatto_side_arm(side);
	scatto_side_armed(side);

	/* Whoever sleeps over there for a threshold may have enough now. */
	if (READ_ONCE(other->sleepers))
		scatto_side_wake(ch, !which);

	ret = scatto_sleep(side, &w, arg);
out:
	return !ret && !READ_ONCE(ep->active) ? -EPIPE : ret;
}

/* The caller has moved its position: wakes the side that waits for it. */
long scatto_wake(struct scatto_endpoint *ep)
{
	return scatto_side_wake(scatto_endpoint_channel(ep),
				ep->role == SCATTO_ROLE_CONSUMER ?
				SCATTO_SIDE_SPACE : SCATTO_SIDE_DATA);
}

/*
 * The first position that is not readable yet. Under the lock it moves on with
 * what was seen before, in steps that bound the time the lock is held.
 */
static u64 scatto_data_edge(struct scatto_channel *ch, u64 cursor)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_DATA];
	u64 claimed = scatto_channel_published(ch), seen;

	if (ch->layout.kind != SCATTO_KIND_MPSC)
		return claimed;
	do {
		unsigned int n = 0;

		spin_lock_irq(&side->wq.lock);
		/* A cursor that makes no sense is its owner's problem. */
		if (claimed - ch->seen > claimed - cursor)
			ch->seen = cursor;
		while (n++ < SCATTO_MAX_SCAN && ch->seen != claimed &&
		       scatto_producer_published(ch, ch->seen, ch->seen + 1))
			ch->seen++;
		seen = ch->seen;
		spin_unlock_irq(&side->wq.lock);
		if (n <= SCATTO_MAX_SCAN)
			break;
	} while (!fatal_signal_pending(current));
	return seen;
}

/*
 * A and B for somebody who polls: whatever moves next is to be told. Without
 * anybody queued (a second look, a zero time-out) there is nothing to arm.
 */
static void scatto_poll_arm(struct scatto_side *side, u64 at)
{
	spin_lock_irq(&side->wq.lock);
	if (list_empty(&side->wq.head)) {
		spin_unlock_irq(&side->wq.lock);
		return;
	}
	side->poll_at = min(side->poll_at, at);
	scatto_side_arm(side);
	scatto_side_armed(side);
}

static __poll_t scatto_poll_data(struct scatto_channel *ch, struct file *file,
				 poll_table *wait)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_DATA];
	u64 cursor, edge, end;
	__poll_t mask = 0;

	poll_wait(file, &side->wq, wait);
	cursor = scatto_channel_consumed(ch);
	edge = scatto_data_edge(ch, cursor);
	scatto_poll_arm(side, edge + 1);

	/* What came between the look and the arming is found by this one. */
	end = smp_load_acquire(&ch->area->end);
	if (edge != cursor || scatto_reached(ch, SCATTO_SIDE_DATA, edge, edge + 1))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (end != SCATTO_END_OPEN) {
		mask |= EPOLLRDHUP;
		if ((s64)(cursor - end) >= 0)
			mask = EPOLLRDHUP | EPOLLHUP;
	}
	return mask;
}

static __poll_t scatto_poll_space(struct scatto_channel *ch, struct file *file,
				  poll_table *wait)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_SPACE];
	u64 cursor;

	poll_wait(file, &side->wq, wait);
	cursor = scatto_channel_consumed(ch);
	scatto_poll_arm(side, cursor + 1);

	if (scatto_hopeless(ch, SCATTO_SIDE_SPACE))
		return EPOLLERR;
	if (scatto_channel_published(ch) - scatto_channel_consumed(ch) <
	    ch->layout.capacity)
		return EPOLLOUT | EPOLLWRNORM;
	return 0;
}

/* Owners and observers can wait for the end of it all. */
static __poll_t scatto_poll_end(struct scatto_channel *ch, struct file *file,
				poll_table *wait)
{
	poll_wait(file, &ch->side[SCATTO_SIDE_DATA].wq, wait);
	return scatto_hopeless(ch, SCATTO_SIDE_DATA) ||
	       scatto_hopeless(ch, SCATTO_SIDE_SPACE) ? EPOLLHUP : 0;
}

__poll_t scatto_poll(struct file *file, poll_table *wait)
{
	struct scatto_endpoint *ep = file->private_data;
	struct scatto_channel *ch = scatto_endpoint_channel(ep);

	if (!ch)
		return EPOLLERR;
	switch (ep->role) {
	case SCATTO_ROLE_CONSUMER:
		return READ_ONCE(ep->active) ? scatto_poll_data(ch, file, wait) :
					       EPOLLHUP;
	case SCATTO_ROLE_PRODUCER:
		return READ_ONCE(ep->active) ? scatto_poll_space(ch, file, wait) :
					       EPOLLERR;
	default:
		return scatto_poll_end(ch, file, wait);
	}
}
