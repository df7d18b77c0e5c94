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
 * The word is the smallest position that lets anybody go on: a mover below it
 * makes no call. Only this file writes it, under the lock, so nobody can be disarmed
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
	struct list_head node;
	struct task_struct *task;
	struct scatto_endpoint *ep;
	struct scatto_channel *ch;
	unsigned int which;
	bool woken;		/* a waker found it ready; see scatto_sleep() */
	u64 want;
	u64 enough;		/* == want unless SCATTO_WAIT_ENOUGH */
};

/*
 * The first position that cannot be read yet. Moves on from what was seen
 * before; at most SCATTO_MAX_SCAN stamps a call, which is all that a waiter can
 * want beyond the cursor.
 */
static u64 scatto_data_edge(struct scatto_channel *ch)
{
	u64 cursor;
	unsigned int n;

	lockdep_assert_held(&ch->side[SCATTO_SIDE_DATA].lock);

	if (ch->layout.kind != SCATTO_KIND_MPSC)
		return scatto_channel_published(ch);
	/* A cursor that makes no sense is its owner's problem. */
	cursor = scatto_channel_consumed(ch);
	if (ch->seen - cursor > ch->layout.capacity)
		ch->seen = cursor;
	for (n = 0; n < SCATTO_MAX_SCAN &&
	     ch->seen - cursor < ch->layout.capacity; n++) {
		if (!scatto_producer_published(ch, ch->seen, ch->seen + 1))
			break;
		ch->seen++;
	}
	return ch->seen;
}

/* The position that this side waits for to move. */
static u64 scatto_side_position(struct scatto_channel *ch, unsigned int which)
{
	return which == SCATTO_SIDE_SPACE ? scatto_channel_consumed(ch) :
					    scatto_data_edge(ch);
}

/* The same question without the lock, for one position. */
static __always_inline bool scatto_reached(struct scatto_channel *ch,
					   unsigned int which, u64 want)
{
	u64 cursor;

	if (which == SCATTO_SIDE_DATA && ch->layout.kind != SCATTO_KIND_MPSC)
		return (s64)(scatto_channel_published(ch) - want) >= 0;
	cursor = scatto_channel_consumed(ch);
	return (s64)(cursor - want) >= 0 ||
	       (which == SCATTO_SIDE_DATA &&
		scatto_producer_published(ch, cursor, want));
}

/* Is there no point in waiting, whatever the positions? */
static __always_inline bool scatto_hopeless(struct scatto_channel *ch, unsigned int which)
{
	if (which == SCATTO_SIDE_SPACE)
		/* Pairs with the release in scatto_channel_state(). */
		return smp_load_acquire(&ch->area->state) &
		       SCATTO_STATE_SEND_EPIPE;
	/* Pairs with the release in scatto_channel_end(). */
	return smp_load_acquire(&ch->area->end) != SCATTO_END_OPEN;
}

/* The position at which @w can go on as things are. */
static __always_inline u64 scatto_waiter_want(const struct scatto_waiter *w)
{
	const struct scatto_side *other = &w->ch->side[!w->which];

	/* Pairs with the barrier in scatto_side_armed() of the other side. */
	return w->enough != w->want && READ_ONCE(other->nr_sleepers) ?
	       w->enough : w->want;
}

static __always_inline bool scatto_waiter_hopeless(const struct scatto_waiter *w)
{
	return !READ_ONCE(w->ep->active) || scatto_hopeless(w->ch, w->which);
}

static __always_inline bool scatto_waiter_ready(const struct scatto_waiter *w)
{
	return scatto_reached(w->ch, w->which, scatto_waiter_want(w)) ||
	       scatto_waiter_hopeless(w);
}

/*
 * Sets the wake word to the smallest position that lets somebody go on. This and
 * the other steps of a WAIT and a WAKE are inlined there: fewer branches to be
 * predicted, or translated by an emulator, after another process has run.
 */
static __always_inline void __scatto_side_arm(struct scatto_side *side)
{
	u64 word = side->gone ? 0 : min(side->poll_at, side->claim_at);
	struct scatto_waiter *w;

	lockdep_assert_held(&side->lock);

	list_for_each_entry(w, &side->sleepers, node)
		word = min(word, scatto_waiter_want(w));
	WRITE_ONCE(*side->word, word);
}

void scatto_side_arm(struct scatto_side *side)
{
	__scatto_side_arm(side);
}

static void scatto_waiter_enqueue(struct scatto_side *side,
				  struct scatto_waiter *w)
{
	lockdep_assert_held(&side->lock);

	list_add_tail(&w->node, &side->sleepers);
	WRITE_ONCE(side->nr_sleepers, side->nr_sleepers + 1);
}

/* The waiter may be gone as soon as its node is off the list. */
static void scatto_waiter_dequeue(struct scatto_side *side,
				  struct scatto_waiter *w)
{
	lockdep_assert_held(&side->lock);

	WRITE_ONCE(side->nr_sleepers, side->nr_sleepers - 1);
	/* Pairs with list_empty_careful() in scatto_sleep(). */
	list_del_init_careful(&w->node);
}

/*
 * Lets those go on that can; returns how many had to be woken for it. What
 * made a waiter ready may be gone when it runs, hence @woken: the wake-up
 * counts once it was given.
 */
static __always_inline unsigned int
scatto_side_rouse(struct scatto_channel *ch, unsigned int which)
{
	struct scatto_side *side = &ch->side[which];
	struct scatto_waiter *w, *next;
	unsigned int woken = 0;
	u64 pos;

	lockdep_assert_held(&side->lock);

	if (which == SCATTO_SIDE_SPACE && ch->many)
		woken = scatto_claim_serve(ch);
	if (list_empty(&side->sleepers))
		return woken;
	pos = scatto_side_position(ch, which);
	list_for_each_entry_safe(w, next, &side->sleepers, node) {
		if ((s64)(pos - scatto_waiter_want(w)) < 0 &&
		    !scatto_waiter_hopeless(w))
			continue;
		/* Ordered by try_to_wake_up() and set_current_state(). */
		WRITE_ONCE(w->woken, true);
		scatto_window(ROUSE);
		woken += wake_up_process(w->task);
		scatto_waiter_dequeue(side, w);
	}
	return woken;
}

#ifdef CONFIG_X86
static void scatto_ipi_barrier(void *unused)
{
	/* Between the mover's store and load, wherever it was; see above. */
	smp_mb();
}

/*
 * B above: interrupts the CPUs that run the mover's mm. mm_cpumask() has every
 * CPU that has that mm loaded; a CPU sets its bit (a full barrier on x86)
 * before it runs user code of the mm, and clears it only after.
 */
static void scatto_mask_barrier(const struct cpumask *mask)
{
	preempt_disable();
	/* Of a live mask: see above for the bits that come and go meanwhile. */
	kcsan_disable_current();
	smp_call_function_many(mask, scatto_ipi_barrier, NULL, true);
	kcsan_enable_current();
	preempt_enable();
}

static void scatto_mover_barrier(struct mm_struct *mm)
{
	scatto_mask_barrier(mm_cpumask(mm));
}

/* Adds those CPUs to @to, if not NULL. */
static bool scatto_mover_elsewhere(struct mm_struct *mm, struct cpumask *to)
{
	const unsigned long *mask = cpumask_bits(mm_cpumask(mm));
	unsigned int cpu = smp_processor_id(), i;
	bool elsewhere = false;

	for (i = 0; i < BITS_TO_LONGS(nr_cpu_ids); i++) {
		unsigned long own = i == BIT_WORD(cpu) ? BIT_MASK(cpu) : 0;
		unsigned long others = READ_ONCE(mask[i]) & ~own;

		elsewhere |= others;
		if (to)
			cpumask_bits(to)[i] |= others;
	}
	return elsewhere;
}
#else
static void scatto_mask_barrier(const struct cpumask *mask)
{
}

static void scatto_mover_barrier(struct mm_struct *mm)
{
}

static bool scatto_mover_elsewhere(struct mm_struct *mm, struct cpumask *to)
{
	return false;
}
#endif

/*
 * B where there are several movers: all their CPUs at once. The mask is as large
 * as there are CPUs, so it is not on the stack.
 */
static void scatto_movers_barrier(struct scatto_channel *ch)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_DATA];
	struct scatto_many *m = ch->many;
	struct scatto_endpoint *ep;
	bool elsewhere = false;

	mutex_lock(&m->barrier_lock);
	cpumask_clear(m->barrier_mask);
	spin_lock_irq(&side->lock);
	list_for_each_entry(ep, &m->movers, mover)
		elsewhere |= scatto_mover_elsewhere(ep->mm, m->barrier_mask);
	spin_unlock_irq(&side->lock);
	if (elsewhere)
		scatto_mask_barrier(m->barrier_mask);
	mutex_unlock(&m->barrier_lock);
}

/*
 * A is done: drops the lock and does B. The common cases, a mover that is not
 * running or runs on this very CPU when it does, need no interrupt.
 */
static __always_inline void
__scatto_side_armed(struct scatto_channel *ch, unsigned int which)
	__releases(&ch->side[which].lock)
{
	struct scatto_side *side = &ch->side[which];
	struct mm_struct *mm = NULL;

	scatto_window(S1);
	/* The word, and nr_sleepers, before the mask and the positions. */
	smp_mb();
	if (side->mover && scatto_mover_elsewhere(side->mover, NULL)) {
		mm = side->mover;
		mmgrab(mm);
	}
	spin_unlock_irq(&side->lock);
	scatto_window_sleep(S3);
	if (mm) {
		scatto_mover_barrier(mm);
		mmdrop(mm);
	}
	if (which == SCATTO_SIDE_DATA && ch->many)
		scatto_movers_barrier(ch);
	scatto_window_sleep(S4);
}

void scatto_side_armed(struct scatto_channel *ch, unsigned int which)
	__releases(&ch->side[which].lock)
{
	__scatto_side_armed(ch, which);
}

void scatto_side_init(struct scatto_side *side, u64 *word)
{
	spin_lock_init(&side->lock);
	INIT_LIST_HEAD(&side->sleepers);
	init_waitqueue_head(&side->pollers);
	side->word = word;
	side->poll_at = SCATTO_WAKE_IDLE;
	side->claim_at = SCATTO_WAKE_IDLE;
	*word = SCATTO_WAKE_IDLE;
}

/* @mm moves the position from now on; NULL: nobody does. */
void scatto_side_set_mover(struct scatto_side *side, struct mm_struct *mm)
{
	struct mm_struct *old;

	if (mm)
		mmgrab(mm);
	spin_lock_irq(&side->lock);
	old = side->mover;
	side->mover = mm;
	spin_unlock_irq(&side->lock);
	if (old)
		mmdrop(old);
}

/* The same where there are several: @ep->mm moves the position, too. */
void scatto_mover_add(struct scatto_channel *ch, struct scatto_endpoint *ep)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_DATA];

	spin_lock_irq(&side->lock);
	list_add_tail(&ep->mover, &ch->many->movers);
	spin_unlock_irq(&side->lock);
}

void scatto_mover_del(struct scatto_channel *ch, struct scatto_endpoint *ep)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_DATA];

	spin_lock_irq(&side->lock);
	list_del(&ep->mover);
	spin_unlock_irq(&side->lock);
}

/*
 * The position has moved: lets those go on that can, and says how many WAIT
 * callers that were. Pollers are woken once for each time they looked: every
 * ->poll arms again, and comes before the user's own look, so no edge is lost.
 * All of them are woken, and without saying for what: one who took the wake-up
 * for itself or believed the event without calling ->poll (EPOLLEXCLUSIVE,
 * io_uring's multishot) would leave nobody to arm again.
 */
int scatto_side_wake(struct scatto_channel *ch, unsigned int which)
{
	struct scatto_side *side = &ch->side[which];
	unsigned long flags;
	unsigned int woken;

	spin_lock_irqsave(&side->lock, flags);
	woken = scatto_side_rouse(ch, which);
	/* Read without the lock. */
	WRITE_ONCE(side->wakes, side->wakes + woken);
	if (side->poll_at != SCATTO_WAKE_IDLE) {
		side->poll_at = SCATTO_WAKE_IDLE;
		wake_up_all(&side->pollers);
	}
	__scatto_side_arm(side);
	spin_unlock_irqrestore(&side->lock, flags);

	trace_scatto_wake(ch->id, which, woken);
	return woken;
}

/*
 * From now on movers come and see at every step. When this returns each of
 * them either has, or its position is visible: what it has moved was moved
 * before.
 */
void scatto_side_gone(struct scatto_channel *ch, unsigned int which)
{
	struct scatto_side *side = &ch->side[which];

	spin_lock_irq(&side->lock);
	side->gone = true;
	scatto_side_arm(side);
	scatto_side_armed(ch, which);
}

/*
 * Less may do for this side than its word says, be it that the other side sleeps as
 * well now or that whoever wanted more has left: A to C on behalf of those who sleep.
 */
void scatto_side_lowered(struct scatto_channel *ch, unsigned int which)
{
	struct scatto_side *side = &ch->side[which];

	spin_lock_irq(&side->lock);
	scatto_side_arm(side);
	scatto_side_armed(ch, which);
	scatto_side_wake(ch, which);
}

/* Something other than a position has changed. */
void scatto_side_wake_all(struct scatto_channel *ch, unsigned int which)
{
	struct scatto_side *side = &ch->side[which];

	spin_lock_irq(&side->lock);
	scatto_side_rouse(ch, which);
	side->poll_at = SCATTO_WAKE_IDLE;
	wake_up_all(&side->pollers);
	scatto_side_arm(side);
	spin_unlock_irq(&side->lock);
}

/* The caller's absolute monotonic time in terms of the host's clock. */
ktime_t scatto_deadline(u64 ns)
{
	s64 t = min_t(u64, ns, KTIME_MAX);

#ifdef CONFIG_TIME_NS
	ktime_t offset =
		timespec64_to_ktime(current->nsproxy->time_ns->offsets.monotonic);

	/* Neither before the beginning nor past the end of time. */
	if (offset < 0)
		t = ktime_add_safe(t, -offset);
	else
		t = max_t(s64, ktime_sub(t, offset), 0);
#endif
	return t;
}

/* Until somebody wakes us or @deadline, if not NULL, has passed: has it? */
bool scatto_schedule(ktime_t *deadline)
{
	if (deadline)
		return !schedule_hrtimeout_range_clock(deadline,
						       current->timer_slack_ns,
						       HRTIMER_MODE_ABS,
						       CLOCK_MONOTONIC);
	schedule();
	return false;
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
		scatto_window(S5);
		expired = scatto_schedule(timed ? &deadline : NULL);
	}
	__set_current_state(TASK_RUNNING);
	scatto_window_sleep(LEAVE);

	if (!list_empty_careful(&w->node)) {
		spin_lock_irq(&side->lock);
		if (!list_empty(&w->node)) {
			scatto_waiter_dequeue(side, w);
			scatto_side_arm(side);
		}
		spin_unlock_irq(&side->lock);
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
		.task = current, .ep = ep, .ch = ch, .which = which,
		.want = arg->want,
		.enough = arg->flags & SCATTO_WAIT_ENOUGH ? arg->enough : arg->want,
	};
	long ret = 0;

	if (which == SCATTO_SIDE_DATA && ch->layout.kind == SCATTO_KIND_MPSC) {
		w.want = min(w.want,
			     scatto_channel_consumed(ch) + SCATTO_MAX_SCAN);
		w.enough = min(w.enough, w.want);
	}
	if (scatto_waiter_ready(&w))
		goto out;
	if (nonblock)
		return -EAGAIN;

	scatto_window_sleep(LOOK);
	spin_lock_irq(&side->lock);
	if (side->nr_sleepers == SCATTO_MAX_SLEEPERS) {
		spin_unlock_irq(&side->lock);
		return -EUSERS;
	}
	scatto_waiter_enqueue(side, &w);
	if (w.enough != w.want)
		/*
		 * The word depends on whether the other side sleeps. Of two
		 * that go to sleep at the same time either we see the other
		 * here, or it sees us when it looks below: the barrier there is
		 * in scatto_side_armed().
		 */
		smp_mb();
	__scatto_side_arm(side);
	__scatto_side_armed(ch, which);

	/* Whoever sleeps over there for a threshold may have enough now. */
	if (READ_ONCE(other->nr_sleepers))
		scatto_side_lowered(ch, !which);

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
 * A and B for somebody who polls: whatever moves next is to be told. Without
 * anybody queued (a second look, a zero time-out) there is nothing to arm.
 */
static void scatto_poll_arm(struct scatto_channel *ch, unsigned int which, u64 at)
	__releases(&ch->side[which].lock)
{
	struct scatto_side *side = &ch->side[which];

	/* poll_wait() has queued us, if it has, before this look. */
	if (!waitqueue_active(&side->pollers)) {
		spin_unlock_irq(&side->lock);
		return;
	}
	side->poll_at = min(side->poll_at, at);
	scatto_side_arm(side);
	scatto_side_armed(ch, which);
}

/*
 * Where there is more to be read than one look at the stamps covers, whoever
 * polls has enough to do: it will be back before the edge matters.
 */
static __poll_t scatto_poll_data(struct scatto_channel *ch, struct file *file,
				 poll_table *wait)
{
	struct scatto_side *side = &ch->side[SCATTO_SIDE_DATA];
	u64 cursor, edge, end;
	__poll_t mask = 0;

	poll_wait(file, &side->pollers, wait);
	spin_lock_irq(&side->lock);
	edge = scatto_data_edge(ch);
	scatto_window(POLL);
	scatto_poll_arm(ch, SCATTO_SIDE_DATA, edge + 1);

	/* What came between the look and the arming is found by this one. */
	cursor = scatto_channel_consumed(ch);
	/* Pairs with the release in scatto_channel_end(). */
	end = smp_load_acquire(&ch->area->end);
	if (edge != cursor || scatto_reached(ch, SCATTO_SIDE_DATA, edge + 1))
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

	poll_wait(file, &side->pollers, wait);
	spin_lock_irq(&side->lock);
	scatto_poll_arm(ch, SCATTO_SIDE_SPACE, scatto_channel_consumed(ch) + 1);

	if (scatto_hopeless(ch, SCATTO_SIDE_SPACE))
		return EPOLLERR;
	/* What is free while somebody queues for it is not to be had. */
	if (READ_ONCE(ch->area->claimers))
		return 0;
	if (scatto_channel_published(ch) - scatto_channel_consumed(ch) <
	    ch->layout.capacity)
		return EPOLLOUT | EPOLLWRNORM;
	return 0;
}

/* Owners and observers can wait for the end of it all. */
static __poll_t scatto_poll_end(struct scatto_channel *ch, struct file *file,
				poll_table *wait)
{
	poll_wait(file, &ch->side[SCATTO_SIDE_DATA].pollers, wait);
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
