// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Waiting: the strategies, and the slow paths of the inline functions.
 *
 * Everything here only decides when to look again. What there is to see, an
 * end or an impossible position included, is found by the caller's own look.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <time.h>

#include "internal.h"

/* Rounds of spinning between two looks at everything else, the clock too. */
#define BUSY_ROUNDS	256
#define HINT_ROUNDS	32

/* Backoff: turns of yielding before the first nap, and the longest nap. */
#define BACKOFF_YIELDS	16
#define BACKOFF_NAP_NS	1000000

/*
 * Who waits for several slots or events without sleeping cannot be seen by a
 * peer that sleeps for several as well, and both could wait for ever: after
 * this time they sleep, whatever the strategy.
 */
#define STALL_NS	1000000

/**
 * struct waiter - one call's waiting
 * @ep: who
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 * @stall: when to sleep in any case, or SCATTO_FOREVER
 * @rounds: to spin before the next waiter_step()
 * @left: rounds after those, before anything else is done
 * @hint: with the CPU's hint for it
 * @steps: taken so far
 * @nap: length of the last nap
 */
struct waiter {
	struct __scatto_endpoint *ep;
	uint64_t deadline;
	uint64_t stall;
	uint32_t rounds;
	uint32_t left;
	bool hint;
	uint32_t steps;
	uint32_t nap;
};

static void nap(uint64_t ns)
{
	struct timespec ts = { .tv_nsec = (long)ns };

	nanosleep(&ts, NULL);
}

/* Does a wait of @ep sleep before it looks at the clock? */
static bool sleeps(const struct __scatto_endpoint *ep)
{
	return ep->strategy == SCATTO_STRATEGY_ADAPTIVE ||
	       ep->strategy == SCATTO_STRATEGY_BLOCK;
}

/* As many rounds as may pass until the end, or the clock, is looked at. */
static void waiter_rounds(struct waiter *w, uint32_t rounds)
{
	w->rounds = rounds < BUSY_ROUNDS ? rounds : BUSY_ROUNDS;
	w->left = rounds - w->rounds;
}

static inline __attribute__((always_inline)) struct waiter
waiter_init(struct __scatto_endpoint *ep, uint32_t n, uint64_t deadline)
{
	struct waiter w = {
		.ep = ep,
		.deadline = deadline,
		.stall = SCATTO_FOREVER,
	};

	if (n > 1 && !sleeps(ep))
		w.stall = scatto_deadline(STALL_NS);
	switch (ep->strategy) {
	case SCATTO_STRATEGY_BUSY:
		w.rounds = BUSY_ROUNDS;
		break;
	case SCATTO_STRATEGY_SPIN:
		w.rounds = HINT_ROUNDS;
		w.hint = true;
		break;
	case SCATTO_STRATEGY_ADAPTIVE:
	case SCATTO_STRATEGY_BACKOFF:
		waiter_rounds(&w, ep->spin);
		w.hint = true;
		break;
	}
	return w;
}

/* 0: look again; 1: sleep now; -ETIMEDOUT. */
static int check_clock(const struct waiter *w)
{
	uint64_t now;

	if (w->deadline == SCATTO_FOREVER && w->stall == SCATTO_FOREVER)
		return 0;
	now = scatto_deadline(0);
	if (now >= w->deadline)
		return -ETIMEDOUT;
	return now >= w->stall;
}

static void backoff(struct waiter *w)
{
	uint64_t left = SCATTO_FOREVER;

	w->rounds = 0;
	if (w->steps <= BACKOFF_YIELDS) {
		sched_yield();
		return;
	}
	w->nap = w->nap ? w->nap * 2 : 1000;
	if (w->nap > BACKOFF_NAP_NS)
		w->nap = BACKOFF_NAP_NS;
	if (w->deadline != SCATTO_FOREVER) {
		uint64_t now = scatto_deadline(0);

		left = w->deadline > now ? w->deadline - now : 0;
	}
	nap(left < w->nap ? left : w->nap);
}

/* Spin on, yield or nap: 0: look again; 1: sleep now; -ETIMEDOUT. */
static __attribute__((noinline)) int waiter_pause(struct waiter *w)
{
	int ret;
	KEEP_ERRNO();

	if (w->left) {
		waiter_rounds(w, w->left);
		return check_clock(w);
	}
	ret = check_clock(w);
	if (ret)
		return ret;
	if (w->steps != UINT32_MAX)
		w->steps++;
	if (w->ep->strategy == SCATTO_STRATEGY_YIELD)
		sched_yield();
	else if (w->ep->strategy == SCATTO_STRATEGY_BACKOFF)
		backoff(w);
	return 0;
}

/*
 * Spinning has not helped, w->rounds times. 0: go on; 1: sleep now;
 * -ETIMEDOUT.
 */
static inline int waiter_step(struct waiter *w)
{
	return !w->left && sleeps(w->ep) ? 1 : waiter_pause(w);
}

static int waiter_sleep(struct waiter *w, struct sleep_req *req)
{
	req->deadline = w->deadline;
	return w->ep->backend->sleep(w->ep, req);
}

static bool space_reached(void *arg, uint64_t pos)
{
	const struct scatto_producer *p = arg;

	return (int64_t)(__atomic_load_n(p->cursor, __ATOMIC_ACQUIRE) - pos) >= 0;
}

/* The next event to publish; kind MPSC: the next to claim, by anybody. */
static uint64_t next_of(const struct scatto_producer *p)
{
	return p->claim_cursor ? __atomic_load_n(p->claim_cursor,
						 __ATOMIC_ACQUIRE) : p->next;
}

static bool queued(const struct scatto_producer *p)
{
	return p->claim_cursor && __atomic_load_n(p->claimers, __ATOMIC_RELAXED);
}

/*
 * Anything new for who waits for @n slots, bad news included? Free slots are
 * none as long as others queue for them.
 */
static bool space_ready(const struct scatto_producer *p, uint32_t n)
{
	uint64_t next = next_of(p);
	uint64_t used = next - __atomic_load_n(p->cursor, __ATOMIC_ACQUIRE);
	uint64_t capacity = p->mask + 1;

	return ((used > capacity || capacity - used >= n) && !queued(p)) ||
	       __atomic_load_n(&p->chan->state, __ATOMIC_ACQUIRE) &
	       SCATTO_STATE_SEND_EPIPE;
}

static bool space_spin(const struct scatto_producer *p, uint32_t n,
		       const struct waiter *w)
{
	uint32_t i;

	for (i = 0; i < w->rounds; i++) {
		uint64_t next = next_of(p);
		uint64_t head = __atomic_load_n(p->cursor, __ATOMIC_ACQUIRE);

		if (p->mask + 1 - (next - head) >= n && !queued(p))
			return true;
		if (w->hint)
			__scatto_relax();
	}
	return space_ready(p, n);
}

/*
 * The module claims while it waits. A claim of several that may be less waits
 * for many only for a while: the consumer may do nothing before the ring is
 * full, and then any slot must do.
 */
static int sleep_claim(struct scatto_producer *p, uint32_t n, uint32_t least,
		       uint64_t deadline)
{
	struct claim_req req = { .count = n, .least = least };
	int ret = -ETIMEDOUT;

	if (n > least) {
		uint64_t soon = scatto_deadline(STALL_NS);

		req.deadline = soon < deadline ? soon : deadline;
		ret = p->ep->backend->claim(p->ep, &req);
		req.count = least;
	}
	if (ret == -ETIMEDOUT) {
		req.deadline = deadline;
		ret = p->ep->backend->claim(p->ep, &req);
	}
	if (ret)
		return ret;
	p->next = req.position;
	p->limit = req.position;
	p->claimed = req.granted;
	return 0;
}

/*
 * 0: try again; or, when p->claimed says so, there is a claim of @least to @n
 * slots; or an error. The intent has been cleared by the try before.
 */
static int wait_claim(struct scatto_producer *p, uint32_t n, uint32_t least,
		      uint64_t deadline)
{
	struct waiter w = waiter_init(p->ep, least, deadline);
	int ret = check_clock(&w);

	/* Others may take what is free for ever, but not beyond the deadline. */
	if (ret < 0)
		return ret;
	while (!space_spin(p, least, &w)) {
		ret = waiter_step(&w);
		/* Who spins would wait for a queue that may never end. */
		if (!ret && queued(p) && w.stall == SCATTO_FOREVER)
			w.stall = scatto_deadline(STALL_NS);
		else if (!ret && !queued(p) && least == 1)
			w.stall = SCATTO_FOREVER;
		if (!ret)
			continue;
		if (ret > 0 && p->ep->backend->claim) {
			ret = sleep_claim(p, n, least, deadline);
		} else if (ret > 0) {
			uint64_t want = next_of(p) + least - (p->mask + 1);
			struct sleep_req req = {
				.want = want,
				.enough = want,
				.reached = space_reached,
				.arg = p,
			};

			ret = waiter_sleep(&w, &req);
		}
		if (ret && space_ready(p, least))
			ret = 0;
		return ret;
	}
	return 0;
}

/* 0: look; 1: look, fewer will do; or an error. */
static int wait_space(struct scatto_producer *p, uint32_t n, bool fewer,
		      uint64_t deadline)
{
	struct waiter w = waiter_init(p->ep, n, deadline);
	/* Only ever waited for when n slots are not free: not negative. */
	uint64_t want = next_of(p) + n - (p->mask + 1);
	struct sleep_req req = {
		.want = want,
		/* In the first lap one may have been free before anything moved. */
		.enough = !fewer ? want : want < n ? 0 : want - n + 1,
		.reached = space_reached,
		.arg = p,
	};
	int ret;

	while (!space_spin(p, n, &w)) {
		ret = waiter_step(&w);
		if (!ret)
			continue;
		if (ret > 0)
			ret = waiter_sleep(&w, &req);
		if (!ret)
			return 1;
		return space_ready(p, n) ? 0 : ret;
	}
	return 0;
}

static __attribute__((noinline)) bool stamped_n(const struct scatto_consumer *c, uint64_t n)
{
	uint64_t i;

	for (i = c->avail - c->next; i < n; i++) {
		uint64_t seq = c->next + i;

		if (!stamp_is(__atomic_load_n(&c->stamps[seq & c->mask],
					      __ATOMIC_ACQUIRE), seq, c->shift))
			return false;
	}
	return true;
}

/* Are the @n events from the next on there, as events or as tombstones? */
static inline bool data_reached_n(const struct scatto_consumer *c, uint64_t n)
{
	if (!c->published)
		return stamped_n(c, n);
	return __atomic_load_n(c->published, __ATOMIC_ACQUIRE) - c->next >= n;
}

static bool data_reached(void *arg, uint64_t pos)
{
	const struct scatto_consumer *c = arg;

	return data_reached_n(c, pos - c->next);
}

static inline bool data_ready(const struct scatto_consumer *c, uint32_t n)
{
	return data_reached_n(c, n) ||
	       __atomic_load_n(&c->chan->end, __ATOMIC_ACQUIRE) !=
	       SCATTO_END_OPEN;
}

static bool data_spin(struct scatto_consumer *c, uint32_t n,
		      const struct waiter *w)
{
	uint32_t i;

	for (i = 0; i < w->rounds; i++) {
		if (data_reached_n(c, n))
			return true;
		__scatto_consumer_idle(c);
		if (w->hint)
			__scatto_relax();
	}
	return data_ready(c, n);
}

/* 0: look; 1: look, fewer will do; or an error. */
static HOT int wait_data(struct scatto_consumer *c, uint32_t n, uint64_t deadline)
{
	struct waiter w = waiter_init(c->ep, n, deadline);
	struct sleep_req req = {
		.want = c->next + n,
		.enough = c->next + 1,
		.reached = data_reached,
		.arg = c,
	};
	int ret;

	while (!data_spin(c, n, &w)) {
		/* It has waited long enough: no further patience. */
		c->idle = __SCATTO_PATIENCE;
		ret = waiter_step(&w);
		if (!ret)
			continue;
		if (ret > 0)
			ret = waiter_sleep(&w, &req);
		if (!ret)
			return 1;
		return data_ready(c, n) ? 0 : ret;
	}
	return 0;
}

/*
 * P4: is there no hole below @wake? The cursor may move on meanwhile, and slots
 * below it be stamped for their next lap.
 *
 * As the module looks for itself: a sleeper wants at most SCATTO_WAIT_MOST slots,
 * and a poller, whose word may be a whole ring away, one that follows what it saw.
 */
static bool all_stamped(const struct scatto_producer *p, uint64_t wake)
{
	uint64_t pos = __atomic_load_n(p->cursor, __ATOMIC_ACQUIRE);

	if (pos < wake && wake - pos > SCATTO_WAIT_MOST)
		pos = wake - SCATTO_WAIT_MOST;
	while (pos < wake) {
		uint64_t stamp = __atomic_load_n(&p->stamps[pos & p->mask],
						 __ATOMIC_ACQUIRE);
		uint64_t head;

		if (stamp_is(stamp, pos, p->shift)) {
			pos++;
			continue;
		}
		head = __atomic_load_n(p->cursor, __ATOMIC_ACQUIRE);
		if (head <= pos)
			return false;
		pos = head;
	}
	return true;
}

/*
 * The wake word is 0, or it has been reached, or (kind MPSC) it is not at rest.
 * It is loaded again, with acquire: the state is stored before it. 1: somebody
 * is to be woken; 0; -EPIPE.
 *
 * Kind MPSC: of two that stamp the last two holes at the same time at least the
 * one whose barrier comes later sees both stamps.
 */
static inline int wake_due(const struct scatto_producer *p)
{
	__u64 wake;

	if (p->claim_cursor)
		__sync_synchronize();
	wake = __atomic_load_n(p->data_wake, __ATOMIC_ACQUIRE);
	if (!wake && __atomic_load_n(&p->chan->state, __ATOMIC_ACQUIRE) &
	    SCATTO_STATE_SEND_EPIPE)
		return -EPIPE;
	if (wake == SCATTO_WAKE_IDLE)
		return 0;
	return !p->claim_cursor || all_stamped(p, wake);
}

HOT int __scatto_producer_wake(struct scatto_producer *p)
{
	int ret = wake_due(p);

	if (ret > 0)
		p->ep->backend->wake(p->ep);
	return ret < 0 ? ret : 0;
}

HOT void __scatto_consumer_wake(struct scatto_consumer *c)
{
	c->ep->backend->wake(c->ep);
}

int __scatto_producer_wait(struct scatto_producer *p, uint32_t n,
			   uint32_t least, uint64_t deadline)
{
	int ret;

	if (!p->claim_cursor) {
		ret = wait_space(p, least, false, deadline);
		return ret < 0 ? ret : 0;
	}
	/* More than half of the ring would only make the consumer wait. */
	if (n > least && n > p->mask / 2 + 1)
		n = (uint32_t)(p->mask / 2 + 1);
	return wait_claim(p, n > least ? n : least, least, deadline);
}

/* Tombstones may come for ever, each of them something to look at. */
static bool too_late(const struct scatto_consumer *c, uint64_t deadline)
{
	return c->stamps && deadline != SCATTO_FOREVER &&
	       scatto_deadline(0) >= deadline;
}

HOT int __scatto_consumer_wait(struct scatto_consumer *c, uint64_t deadline)
{
	int ret;

	if (too_late(c, deadline))
		return -ETIMEDOUT;
	ret = wait_data(c, 1, deadline);
	return ret < 0 ? ret : 0;
}

/* Free slots, at least @n; or an error. */
static int room(struct scatto_producer *p, uint32_t n)
{
	int ret;

	if (!p->claim_cursor) {
		ret = __scatto_producer_room(p, n);
		return ret ? ret : (int)(p->limit - p->next);
	}
	ret = p->claimed ? -EBUSY : scatto_available_slots(p);
	if (ret < 0 || (uint32_t)ret >= n)
		return ret;
	return scatto_producer_is_disconnected(p) ? -EPIPE : -EAGAIN;
}

int scatto_wait_space(struct scatto_producer *p, uint32_t n, uint64_t deadline)
{
	int ret, fewer = 0;

	if (!n || n - 1 > p->mask)
		return -EINVAL;
	for (;;) {
		ret = room(p, fewer ? 1 : n);
		if (ret != -EAGAIN)
			return ret;
		fewer = wait_space(p, n, true, deadline);
		if (fewer < 0)
			return fewer;
	}
}

int scatto_wait_data(struct scatto_consumer *c, uint32_t n, uint64_t deadline)
{
	uint32_t wait = n;
	int ret;

	if (!n || n - 1 > c->mask)
		return -EINVAL;
	/* Who publishes looks at each stamp that a sleeper waits for. */
	if (c->stamps && wait > SCATTO_WAIT_MOST)
		wait = SCATTO_WAIT_MOST;
	for (;;) {
		/*
		 * What interrupts a run of stamped events interrupts this
		 * wait, too: waiting would not make the run longer.
		 */
		ret = wait_data(c, wait, deadline);
		if (ret < 0)
			return ret;
		ret = scatto_peek(c, n);
		if (ret != -EAGAIN)
			return ret;
		if (too_late(c, deadline))
			return -ETIMEDOUT;
	}
}

/*
 * The peer is woken by the same call that puts this side to sleep, unless there
 * is something to read already. The module looks for that once more after
 * waking, so nothing is missed.
 */
static HOT int wake_and_wait(struct scatto_producer *p,
			     struct scatto_consumer *c, uint64_t deadline)
{
	struct sleep_req req = {
		.want = c->next + 1,
		.enough = c->next + 1,
		.deadline = deadline,
		.wake = p->ep,
		.reached = data_reached,
		.arg = c,
	};
	int ret = c->ep->backend->sleep(c->ep, &req);

	return ret && data_ready(c, 1) ? 0 : ret;
}

HOT int scatto_call(struct scatto_producer *p, const void *ev,
		    struct scatto_consumer *c, void *reply, uint64_t deadline)
{
	__u64 wake;
	int ret;

	ret = scatto_claim_batch_until(p, 1, deadline);
	if (ret)
		return ret;
	__scatto_copy(__scatto_producer_slot(p, p->next), ev, p->slot_size);

	/* As scatto_publish(), but for what follows the wake word. */
	p->claimed = 0;
	if (p->claim_cursor)
		__scatto_many_stamp(p, p->next, p->next + 1, 0);
	else
		__atomic_store_n(p->published, p->next + 1, __ATOMIC_RELEASE);
	p->next++;
	p->limit = p->claim_cursor ? p->next : p->head + p->mask + 1;
	__scatto_barrier();
	if (p->flags & SCATTO_F_FENCE)
		__sync_synchronize();
	wake = __atomic_load_n(p->data_wake, __ATOMIC_RELAXED);
	if (p->claim_cursor ? wake != SCATTO_WAKE_IDLE : p->next >= wake) {
		ret = wake_due(p);
		if (ret > 0 && !p->ep->local && !c->ep->local &&
		    sleeps(c->ep) && !data_ready(c, 1))
			ret = wake_and_wait(p, c, deadline);
		else if (ret > 0)
			ret = __scatto_producer_wake(p);
		if (ret < 0)
			return ret;
	}
	return scatto_recv_until(c, reply, deadline);
}
