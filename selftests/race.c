// SPDX-License-Identifier: GPL-2.0-only
/*
 * Races on purpose: all pairs of attach, detach, kill, CLOSE, WAIT, WAKE, poll,
 * CLAIM and repair (a producer that dies with a claim), at the same time on one
 * channel, of each kind, between two CPUs. Where the module has windows to stay in
 * (kmod/window.h) some of them are open in each round, others in the next.
 *
 * A round: two actors, processes or two threads with one endpoint, do one of the
 * pair each, in the middle of traffic, while the judge, who is what the two are not,
 * sends and receives, and then stops. Nothing moves any more: whoever sleeps now must
 * have reason to. Then somebody serves or closes, and all come back; all leave, the
 * stream ends, each event below the end was seen once, and of the channel nothing is
 * left.
 */
#include "kselftest_harness.h"
#include "kmod/scatto_test.h"
#include "many.h"

#include <linux/futex.h>

#define NAME		"race"
#define CAPACITY	8
#define LIMIT		(1 << 14)	/* events of a round */
#define TOMBSTONE	(~0ULL)
#define MOST		4		/* slots of a claim */
#define FULL_ROUNDS	200
#define SHORT_ROUNDS	8
#define STAY_NS		10000000ULL	/* at most, in a window of a producer's */

enum op {
	OP_attach, OP_detach, OP_kill, OP_close, OP_wait, OP_wake, OP_poll, OP_claim,
	OP_repair,
};

static const char * const op_names[] = {
	"attach", "detach", "kill", "close", "wait", "wake", "poll", "claim", "repair",
};

enum kind { SPSC, MPSC, SHARED, KERNEL, NR_KINDS };

static const char * const kind_names[] = {
	"SPSC", "MPSC", "shared with the kernel", "of the kernel",
};

enum phase { IDLE, SETUP, GO, SERVE, PRODUCERS_LEAVE, ALL_LEAVE, LAST };

enum cause { NOTHING, DATA, SPACE, ROOM, IN, OUT };

struct actor {
	/* The judge's plan. */
	uint32_t op;
	uint32_t role;
	bool attached;			/* before the race */
	bool idle;			/* the other one's thread does it */
	bool closes_all;
	uint64_t seed;

	/* What it says. */
	volatile uint32_t reached;	/* phase: it is through with that */
	volatile uint32_t done;		/* with its part of the race */
	volatile uint32_t leaving;	/* its endpoint: may say so from now on... */
	volatile uint32_t left;		/* ...and must from now on */
	volatile uint32_t produced;
	volatile uint32_t intends;	/* to claim, and will not */
	volatile uint32_t waits_for;	/* enum cause */
	volatile uint64_t want;
	volatile uint64_t enough;

	/* The judge's. */
	pid_t pid;			/* 0: no process */
	bool dead;			/* its part of the race has ended so */
};

struct sender {
	volatile uint64_t about;	/* events that it may have published */
	volatile uint64_t sent;		/* ...that it has, and in time */
};

enum { SENDER_JUDGE = 2, SENDER_KERNEL, NR_SENDERS };

struct stage {
	uint32_t kind;
	bool pause;
	bool together;			/* the actors have one endpoint */
	volatile uint32_t phase;
	struct actor actor[2];
	struct sender sender[NR_SENDERS];
	volatile uint64_t seen[LIMIT];
	volatile uint32_t closed;	/* by an owner */
	char wrong[256];
};

static struct stage *stage;

#define complain(...) do {							\
	if (!stage->wrong[0])							\
		snprintf(stage->wrong, sizeof(stage->wrong), __VA_ARGS__);	\
} while (0)

static void phase_set(enum phase phase)
{
	__atomic_store_n(&stage->phase, phase, __ATOMIC_RELEASE);
	syscall(SYS_futex, &stage->phase, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* The first is awaited from the end of the round before; others may have passed. */
static bool phase_is(uint32_t now, enum phase phase)
{
	return phase == SETUP ? now == SETUP : now >= phase;
}

static void phase_await(enum phase phase)
{
	uint32_t now;

	while (!phase_is(now = __atomic_load_n(&stage->phase, __ATOMIC_ACQUIRE), phase))
		syscall(SYS_futex, &stage->phase, FUTEX_WAIT, now, NULL, NULL, 0);
}

/* Who holds an endpoint: an actor, its thread, the judge */

struct party {
	struct end end;
	bool open;
	bool closing;			/* sends no more */
	int owner;
	unsigned int sender;
	pthread_mutex_t lock;		/* one step at a time */
};

static int party_open(struct party *p, uint32_t role)
{
	int ret = end_attach_to(&p->end, role, -1, NAME);

	p->closing = false;
	if (ret)
		return ret;
	ret = end_map(&p->end);
	if (ret)
		end_drop(&p->end);
	p->open = !ret;
	return ret;
}

static void party_drop(struct party *p)
{
	pthread_mutex_lock(&p->lock);
	if (p->open)
		end_drop(&p->end);
	p->open = false;
	pthread_mutex_unlock(&p->lock);
}

static bool is_spsc(void)
{
	return stage->kind == SPSC;
}

static bool is_there(struct end *end, uint64_t seq)
{
	return is_spsc() ? (int64_t)(end_published(end) - seq) > 0 :
			   many_stamped(end, seq);
}

static uint64_t end_of(const struct end *end)
{
	return __atomic_load_n(&end->area->end, __ATOMIC_ACQUIRE);
}

static bool is_refused(const struct end *end)
{
	return __atomic_load_n(&end->area->state, __ATOMIC_ACQUIRE) &
	       SCATTO_STATE_SEND_EPIPE;
}

static uint64_t position_of(struct end *end)
{
	return is_spsc() ? end_published(end) : many_claimed(end);
}

/*
 * Publishes @n claimed slots. Not refused: they are below the end, whatever happens
 * now.
 */
static int put(struct party *p, uint64_t at, uint32_t n)
{
	struct sender *me = &stage->sender[p->sender];
	struct end *end = &p->end;
	uint64_t word, value;
	uint32_t i;

	me->about = me->sent + n;
	for (i = 0; i < n; i++) {
		value = (uint64_t)p->sender << 32 | (me->sent + 1 + i);
		memcpy(end_slot(end, at + i), &value, sizeof(value));
		if (!is_spsc())
			many_put_stamp(end, at + i, 0);
	}
	if (is_spsc())
		__atomic_store_n(&end->prod->published, at + n, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	word = end->area->data_wake;
	if (!word) {
		p->closing = true;
		return -EPIPE;
	}
	me->sent += n;
	if (!is_spsc())
		many_wake(end);
	else if (at + n >= word)
		dev_wake(end->fd);
	return 0;
}

/*
 * Between C6 and P2: while the other one dies with an intent for the same slots, which
 * are not to be repaired. Afterwards their stamps would hide it, but not the count of
 * tombstones.
 */
static void stay_claimed(const struct party *p)
{
	uint64_t until = now_ns() + STAY_NS;
	const struct actor *other;

	if (p->sender >= SENDER_JUDGE)
		return;
	other = &stage->actor[!p->sender];
	if (!other->intends)
		return;
	while (!__atomic_load_n(&other->dead, __ATOMIC_RELAXED) && now_ns() < until)
		usleep(50);
}

static int send_one(struct party *p)
{
	struct end *end = &p->end;
	uint64_t at;
	int ret = -EAGAIN;

	if (is_refused(end))
		return -EPIPE;
	at = position_of(end);
	if (at > LIMIT - 2 * CAPACITY)
		return -EAGAIN;
	if (!is_spsc())
		ret = many_claim(end, 1, &at);
	else if (at - end_cursor(end) < CAPACITY)
		ret = 0;
	if (ret)
		return ret;
	if (!is_spsc())
		stay_claimed(p);
	return put(p, at, 1);
}

static void note(uint64_t at, uint64_t value)
{
	uint64_t old;

	if (at >= LIMIT) {
		complain("position %llu", (unsigned long long)at);
		return;
	}
	old = stage->seen[at];
	/* A consumer that died has not released what it had noted. */
	if (old && old != value && !(old == TOMBSTONE && stage->closed))
		complain("%#llx at %llu, which was %#llx", (unsigned long long)value,
			 (unsigned long long)at, (unsigned long long)old);
	stage->seen[at] = value;
}

static int recv_one(struct party *p)
{
	struct end *end = &p->end;
	uint64_t seq = end->cons->cursor, value;

	if (!is_there(end, seq)) {
		if (end_of(end) == SCATTO_END_OPEN)
			return -EAGAIN;
		if (!is_there(end, seq))
			return -EPIPE;
	}
	if (seq >= end_of(end))
		return -EPIPE;
	memcpy(&value, end_slot(end, seq), sizeof(value));
	if (!is_spsc() && many_is_tombstone(end, seq))
		value = TOMBSTONE;
	note(seq, value);
	end_release(end, seq + 1);
	return 0;
}

/* Sends or receives one; -EAGAIN, -EPIPE: not any more. */
static int work(struct party *p)
{
	int ret = -EPIPE;

	pthread_mutex_lock(&p->lock);
	if (p->open && !p->closing && p->end.role != SCATTO_ROLE_OBSERVER)
		ret = p->end.role == SCATTO_ROLE_PRODUCER ? send_one(p) : recv_one(p);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

/* Until there is nothing to do but wait. */
static void work_off(struct party *p)
{
	unsigned int n = 0;

	while (n++ < 4 * CAPACITY && !work(p))
		;
}

/* What actors do */

static bool owns_left(const struct actor *a)
{
	return stage->together ? stage->actor[0].leaving || stage->actor[1].leaving :
				 a->leaving;
}

static bool has_left(const struct actor *a)
{
	return stage->together ? stage->actor[0].left || stage->actor[1].left : a->left;
}

static void wait_begins(struct actor *a, uint32_t cause, uint64_t want, uint64_t enough)
{
	a->want = want;
	a->enough = enough;
	__atomic_store_n(&a->waits_for, cause, __ATOMIC_RELEASE);
}

static void wait_ends(struct actor *a)
{
	__atomic_store_n(&a->waits_for, NOTHING, __ATOMIC_RELEASE);
}

/* A call has failed: because its endpoint leaves just now? */
static bool is_over(struct actor *a, int ret, const char *call)
{
	if (!ret)
		return false;
	if (!owns_left(a) || (ret != -EPIPE && ret != -EBADF))
		complain("%s: %s", call, strerror(-ret));
	return true;
}

static bool reached(struct end *end, uint32_t role, uint64_t want)
{
	uint64_t at = end_cursor(end);

	if (role == SCATTO_ROLE_PRODUCER)
		return is_refused(end) || (int64_t)(at - want) >= 0;
	if (end_of(end) != SCATTO_END_OPEN)
		return true;
	for (; (int64_t)(want - at) > 0; at++)
		if (!is_there(end, at))
			return false;
	return true;
}

/* -1: unmapped and closed, or as good as full. */
static int party_fd(struct party *p)
{
	int fd = -1;

	pthread_mutex_lock(&p->lock);
	if (p->open && position_of(&p->end) <= LIMIT - 2 * CAPACITY)
		fd = p->end.fd;
	pthread_mutex_unlock(&p->lock);
	return fd;
}

static bool wait_once(struct actor *a, struct party *p, uint64_t *seed)
{
	struct scatto_wait arg = { .size = sizeof(arg) };
	bool produces, ok;
	uint64_t base;
	int fd, ret;

	pthread_mutex_lock(&p->lock);
	ok = p->open;
	if (ok) {
		produces = p->end.role == SCATTO_ROLE_PRODUCER;
		base = produces ? position_of(&p->end) - CAPACITY : end_cursor(&p->end);
		fd = p->end.fd;
	}
	pthread_mutex_unlock(&p->lock);
	if (!ok || (int64_t)base < 0)
		return ok;

	arg.want = base + 1 + chance(seed) % MOST;
	if (!(chance(seed) % 4)) {
		arg.flags |= SCATTO_WAIT_ENOUGH;
		arg.enough = base + 1;
	}
	if (!(chance(seed) % 4)) {
		arg.flags |= SCATTO_WAIT_DEADLINE;
		arg.deadline = now_ns() + chance(seed) % 1000000;
	}
	wait_begins(a, produces ? SPACE : DATA, arg.want, arg.enough);
	ret = dev_ioctl(fd, SCATTO_IOC_WAIT, &arg);
	wait_ends(a);
	if (ret == -ETIMEDOUT && arg.flags & SCATTO_WAIT_DEADLINE)
		return true;
	if (is_over(a, ret, "WAIT"))
		return false;
	pthread_mutex_lock(&p->lock);
	if (p->open && !(arg.flags & SCATTO_WAIT_ENOUGH) && !owns_left(a) &&
	    !reached(&p->end, p->end.role, arg.want))
		complain("WAIT came back before %llu", (unsigned long long)arg.want);
	pthread_mutex_unlock(&p->lock);
	return true;
}

static bool poll_once(struct actor *a, struct party *p, uint64_t *seed)
{
	bool produces = p->end.role == SCATTO_ROLE_PRODUCER;
	struct pollfd pfd = { party_fd(p), produces ? POLLOUT : POLLIN, 0 };
	int timeout = chance(seed) % 4 ? -1 : (int)(chance(seed) % 2);

	if (pfd.fd < 0)
		return false;
	if (timeout < 0)
		wait_begins(a, produces ? OUT : IN, 0, 0);
	if (poll(&pfd, 1, timeout) < 0)
		complain("poll: %s", strerror(errno));
	wait_ends(a);
	return !(pfd.revents & POLLNVAL);
}

static bool claim_once(struct actor *a, struct party *p, uint64_t *seed)
{
	struct scatto_claim arg = claim_args(1 + chance(seed) % MOST, chance(seed) % 2,
					     chance(seed) % 4 ? -1 : (int)(chance(seed) % 2));
	int fd = party_fd(p), ret;
	bool refused;

	if (fd < 0)
		return false;
	wait_begins(a, ROOM, arg.count, 0);
	ret = dev_claim(fd, &arg);
	wait_ends(a);
	if ((ret == -ETIMEDOUT && arg.flags & SCATTO_CLAIM_DEADLINE) ||
	    (ret == -EBUSY && stage->together))
		return true;
	pthread_mutex_lock(&p->lock);
	refused = ret == -EPIPE && (!p->open || is_refused(&p->end));
	pthread_mutex_unlock(&p->lock);
	if (refused || is_over(a, ret, "CLAIM"))
		return false;
	pthread_mutex_lock(&p->lock);
	stay_claimed(p);
	/* What it had no time to publish is to be repaired. */
	if (p->open && !p->closing)
		put(p, arg.position, arg.granted);
	pthread_mutex_unlock(&p->lock);
	return true;
}

static void wake_once(struct actor *a, struct party *p)
{
	int ret, i;

	work(p);
	for (i = 0; i < 3; i++) {
		ret = dev_wake(p->end.fd);
		if (ret < 0 && is_over(a, ret, "WAKE"))
			break;
	}
}

static void act_wait(struct actor *a, struct party *p, uint64_t *seed)
{
	unsigned int n = 3;

	do
		work_off(p);
	while (n-- && wait_once(a, p, seed));
}

static void act_poll(struct actor *a, struct party *p, uint64_t *seed)
{
	unsigned int n = 3;

	do
		work_off(p);
	while (n-- && poll_once(a, p, seed));
}

static void act_claim(struct actor *a, struct party *p, uint64_t *seed)
{
	unsigned int n = 3;

	if (chance(seed) % 2)
		work_off(p);
	while (n-- && claim_once(a, p, seed))
		;
}

static void act_wake(struct actor *a, struct party *p)
{
	unsigned int n = 4;

	while (n--)
		wake_once(a, p);
}

/* Until it is killed. */
static void act_kill(struct actor *a, struct party *p, uint64_t *seed)
{
	for (;;) {
		switch (chance(seed) % 4) {
		case 0:
			act_wait(a, p, seed);
			break;
		case 1:
			act_poll(a, p, seed);
			break;
		case 2:
			if (!is_spsc() && p->end.role == SCATTO_ROLE_PRODUCER) {
				act_claim(a, p, seed);
				break;
			}
			/* fallthrough */
		default:
			act_wake(a, p);
		}
	}
}

/* How many slots from @at on; 0: there is no room. */
static uint32_t claim_some(struct party *p, uint32_t n, uint64_t *at, uint64_t *seed)
{
	struct scatto_claim arg = claim_args(n, 1, 1);

	if (chance(seed) % 2)
		return many_claim(&p->end, n, at) ? 0 : n;
	if (dev_claim(p->end.fd, &arg))
		return 0;
	*at = arg.position;
	return arg.granted;
}

/* Says what it will claim (C5, or only C4), and lets the other one do so. */
static void intend_only(struct actor *a, struct party *p, uint64_t *seed)
{
	uint64_t until = now_ns() + STAY_NS / 10, at;
	struct end *end = &p->end;

	a->intends = 1;
	at = many_claimed(end);
	if (chance(seed) % 4)
		many_intend(end, at, at + MOST);
	else
		__atomic_store_n(&many_intent(end, end->index)->hi, at + MOST,
				 __ATOMIC_RELEASE);
	while (many_claimed(end) == at && now_ns() < until)
		sched_yield();
}

/* Claims, publishes some of it, and dies. */
static void act_repair(struct actor *a, struct party *p, uint64_t *seed)
{
	uint64_t at;
	uint32_t n;

	pthread_mutex_lock(&p->lock);
	if (!p->open) {
		/* The other thread has detached. */
	} else if (!is_spsc() && !stage->together && chance(seed) % 2) {
		intend_only(a, p, seed);
	} else if (!is_spsc()) {
		n = claim_some(p, 1 + chance(seed) % MOST, &at, seed);
		if (n > 1)
			put(p, at, chance(seed) % n);
	} else if (position_of(&p->end) - end_cursor(&p->end) < CAPACITY) {
		memset(end_slot(&p->end, position_of(&p->end)), 0xff, sizeof(uint64_t));
	}
	kill(getpid(), SIGKILL);
}

static void act_attach(struct actor *a, struct party *p)
{
	int ret = party_open(p, a->role), n = 4;

	if (ret && ret != -EBUSY && ret != -EPIPE)
		complain("attach: %s", strerror(-ret));
	if (ret)
		return;
	a->produced = a->role == SCATTO_ROLE_PRODUCER;
	while (n-- && !work(p))
		;
}

static void act_detach(struct actor *a, struct party *p)
{
	a->leaving = 1;
	party_drop(p);
	a->left = 1;
}

static void act_close(struct actor *a, struct party *p)
{
	int fd = p->end.fd, ret;

	if (a->closes_all) {
		stage->closed = 1;
		ret = dev_close(p->owner);
	} else {
		pthread_mutex_lock(&p->lock);
		p->closing = true;
		pthread_mutex_unlock(&p->lock);
		a->leaving = 1;
		ret = dev_close(fd);
		a->left = 1;
	}
	if (ret && !(ret == -EPIPE || (ret == -EBADF && stage->together)))
		complain("CLOSE: %s", strerror(-ret));
}

static void act(struct actor *a, struct party *p)
{
	uint64_t seed = a->seed;
	unsigned int n = chance(&seed) % 4;

	dither(&seed, 3000);
	if (a->op != OP_attach)
		while (n-- && !work(p))
			;
	switch (a->op) {
	case OP_attach:
		act_attach(a, p);
		break;
	case OP_detach:
		act_detach(a, p);
		break;
	case OP_kill:
		act_kill(a, p, &seed);
		break;
	case OP_close:
		act_close(a, p);
		break;
	case OP_wait:
		act_wait(a, p, &seed);
		break;
	case OP_wake:
		act_wake(a, p);
		break;
	case OP_poll:
		act_poll(a, p, &seed);
		break;
	case OP_claim:
		act_claim(a, p, &seed);
		break;
	case OP_repair:
		act_repair(a, p, &seed);
	}
	__atomic_store_n(&a->done, 1, __ATOMIC_RELEASE);
}

static void *second_main(void *p)
{
	pin(1);
	act(&stage->actor[1], p);
	return NULL;
}

static void actor_reaches(struct actor *a, enum phase phase)
{
	__atomic_store_n(&a->reached, phase, __ATOMIC_RELEASE);
}

static void actor_setup(struct actor *a, struct party *p)
{
	int ret;

	if (a->attached && !a->idle) {
		ret = party_open(p, a->role);
		if (ret)
			complain("attach before the race: %s", strerror(-ret));
		a->produced = a->role == SCATTO_ROLE_PRODUCER;
	}
	if (stage->actor[0].closes_all || stage->actor[1].closes_all) {
		struct scatto_attach arg = attach_args(SCATTO_ROLE_OWNER, -1, NAME);

		p->owner = dev_open();
		ret = dev_attach(p->owner, &arg);
		if (ret)
			complain("owner: %s", strerror(-ret));
	}
}

static void actor_race(struct actor *a, struct party *p)
{
	pthread_t second;

	if (a->idle) {
		phase_await(GO);
		return;
	}
	while (__atomic_load_n(&stage->phase, __ATOMIC_ACQUIRE) < GO)
		sched_yield();
	if (stage->together && pthread_create(&second, NULL, second_main, p))
		complain("no thread");
	act(a, p);
	if (stage->together)
		pthread_join(second, NULL);
}

static void actor_serve(struct party *p)
{
	while (__atomic_load_n(&stage->phase, __ATOMIC_ACQUIRE) == SERVE) {
		if (p->open && has_left(&stage->actor[p->sender]))
			party_drop(p);
		if (work(p))
			usleep(50);
	}
}

static void actor_leave(struct party *p)
{
	if (!p->open)
		return;
	if (!p->closing)
		while (work(p) != -EPIPE)
			usleep(50);
	party_drop(p);
}

/* One round after the other. */
static void actor_main(unsigned int i)
{
	struct actor *a = &stage->actor[i];
	struct party party = { .sender = i, .lock = PTHREAD_MUTEX_INITIALIZER };

	pin(i);
	for (;;) {
		phase_await(SETUP);
		party.owner = -1;
		actor_setup(a, &party);
		actor_reaches(a, SETUP);
		actor_race(a, &party);
		actor_reaches(a, GO);
		phase_await(SERVE);
		actor_serve(&party);
		phase_await(PRODUCERS_LEAVE);
		if (party.open && (party.end.role != SCATTO_ROLE_CONSUMER || has_left(a)))
			party_drop(&party);
		if (party.owner >= 0)
			close(party.owner);
		actor_reaches(a, PRODUCERS_LEAVE);
		phase_await(ALL_LEAVE);
		actor_leave(&party);
		actor_reaches(a, ALL_LEAVE);
		phase_await(LAST);
		while (!end_attach_to(&party.end, SCATTO_ROLE_OBSERVER, -1, NAME))
			end_drop(&party.end);
		actor_reaches(a, LAST);
	}
}

/* The judge */

struct judge {
	struct party prod;
	struct party cons;
	struct end watch;
	int owner;
	int module;			/* scatto_test */
	int number;			/* of the channel there; -1 */
	int windows;			/* parameters; -1 without */
	int window_us;
	uint64_t seed;
	uint64_t kill_ns[2];
};

static void kernel_send(struct judge *j)
{
	struct sender *me = &stage->sender[SENDER_KERNEL];
	uint64_t value = (uint64_t)SENDER_KERNEL << 32 | (me->sent + 1);
	struct st_send arg = { j->number, sizeof(value), (uintptr_t)&value };

	if (j->number < 0 || me->about != me->sent ||
	    (stage->kind != KERNEL && position_of(&j->watch) > LIMIT - 2 * CAPACITY))
		return;
	me->about++;
	/* On a channel that is being closed nobody knows where it went. */
	if (ioctl(j->module, ST_IOC_SEND, &arg))
		me->about = me->sent;
	else if (!is_refused(&j->watch))
		me->sent++;
}

static void judge_works(struct judge *j)
{
	work(&j->prod);
	work(&j->cons);
	if (chance(&j->seed) % 2)
		kernel_send(j);
}

/* Takes what roles are to be had. */
static void judge_joins(struct judge *j)
{
	if (!j->prod.open && stage->kind != KERNEL && !j->prod.closing)
		party_open(&j->prod, SCATTO_ROLE_PRODUCER);
	if (!j->cons.open)
		party_open(&j->cons, SCATTO_ROLE_CONSUMER);
}

static bool kills(const struct actor *a)
{
	return a->op == OP_kill || a->op == OP_repair;
}

static void actor_died(struct actor *a)
{
	a->dead = true;
	a->pid = 0;
	if (stage->together)
		stage->actor[1].dead = true;
}

/* Kills those whose time has come, takes note of those who have died. */
static void judge_kills(struct judge *j)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct actor *a = &stage->actor[i];
		struct actor *who = stage->together ? &stage->actor[0] : a;

		if (who->dead || !kills(a))
			continue;
		if (a->op == OP_kill && now_ns() >= j->kill_ns[i]) {
			kill_and_reap(who->pid);
			actor_died(who);
		} else if (waitpid(who->pid, NULL, WNOHANG) == who->pid) {
			actor_died(who);
		}
	}
}

/* As things are: does whatever the actor waits for hold already? */
static bool is_satisfied(struct judge *j, unsigned int i)
{
	struct actor *a = &stage->actor[i], *other = &stage->actor[!i];
	struct end *w = &j->watch;
	uint32_t cause = __atomic_load_n(&a->waits_for, __ATOMIC_ACQUIRE);
	uint64_t room = CAPACITY - (position_of(w) - end_cursor(w));
	uint64_t want = a->want;
	/* Who was killed on the way to sleep has never slept. */
	uint32_t theirs = other->dead ? NOTHING : other->waits_for;

	if (cause == NOTHING || has_left(a))
		return true;
	switch (cause) {
	case DATA:
		if (a->enough && (theirs == SPACE || theirs == ROOM))
			want = a->enough;
		return reached(w, SCATTO_ROLE_CONSUMER, want);
	case SPACE:
		if (a->enough && theirs == DATA)
			want = a->enough;
		return reached(w, SCATTO_ROLE_PRODUCER, want);
	case ROOM:
		if (theirs == ROOM && other->want > want)
			want = other->want;
		return is_refused(w) || room >= want;
	case IN:
		return end_of(w) != SCATTO_END_OPEN || is_there(w, end_cursor(w));
	default:
		return is_refused(w) || (room && !w->area->claimers);
	}
}

/* Has everybody come back who is not asleep for a reason? */
static bool is_quiet(struct judge *j)
{
	unsigned int i;

	judge_kills(j);
	for (i = 0; i < 2; i++) {
		struct actor *a = &stage->actor[i];

		if (a->dead || __atomic_load_n(&a->done, __ATOMIC_ACQUIRE))
			continue;
		if (kills(a) || is_satisfied(j, i))
			return false;
	}
	return true;
}

static bool have_reached(enum phase phase)
{
	unsigned int i;

	for (i = 0; i < 2; i++)
		if (stage->actor[i].pid &&
		    __atomic_load_n(&stage->actor[i].reached, __ATOMIC_ACQUIRE) != phase)
			return false;
	return true;
}

/* wait_for() that does not let milliseconds pass. */
#define soon(cond) ({							\
	uint64_t soon_until = now_ns() + PATIENCE_MS * 1000000ULL;	\
	bool soon_ok;							\
									\
	while (!(soon_ok = (cond)) && now_ns() < soon_until)		\
		usleep(20);						\
	soon_ok;							\
})

static void describe_stuck(struct judge *j, const char *when)
{
	struct end *w = &j->watch;
	struct actor *a = stage->actor;

	complain("%s: %s%s for %u of %llu, %s%s for %u of %llu; %llu to %llu, end %lld, %u queue",
		 when, op_names[a[0].op], a[0].dead ? " (dead)" : "", a[0].waits_for,
		 (unsigned long long)a[0].want, op_names[a[1].op],
		 a[1].dead ? " (dead)" : "", a[1].waits_for,
		 (unsigned long long)a[1].want, (unsigned long long)end_cursor(w),
		 (unsigned long long)position_of(w), (long long)w->area->end,
		 w->area->claimers);
}

/* Other windows in each round, about half of them. */
static void windows_open(struct judge *j, bool open)
{
	static const unsigned int most[] = { 30, 100, 400 };
	char buf[32];

	if (j->windows < 0)
		return;
	snprintf(buf, sizeof(buf), "%llu", open ?
		 (unsigned long long)chance(&j->seed) & INT64_MAX : 0);
	if (pwrite(j->windows, buf, strlen(buf), 0) < 0)
		complain("windows: %s", strerror(errno));
	snprintf(buf, sizeof(buf), "%u", most[chance(&j->seed) % ARRAY_LEN(most)]);
	if (pwrite(j->window_us, buf, strlen(buf), 0) < 0)
		complain("window_us: %s", strerror(errno));
}

/* Who does what as what, or false: there is no such race on that kind. */
static bool round_cast(struct judge *j, enum op x, enum op y)
{
	struct actor *a = &stage->actor[0], *b = &stage->actor[1];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct actor *me = &stage->actor[i];

		memset(me, 0, offsetof(struct actor, pid));
		me->dead = false;
		me->op = i ? y : x;
		me->seed = chance(&j->seed);
		me->attached = me->op != OP_attach;
		if (me->op == OP_claim && is_spsc())
			return false;
		if (me->op == OP_claim || me->op == OP_repair)
			me->role = SCATTO_ROLE_PRODUCER;
		else if (stage->kind == KERNEL)
			me->role = SCATTO_ROLE_CONSUMER;
		else
			me->role = chance(&j->seed) % 2 ? SCATTO_ROLE_CONSUMER :
							  SCATTO_ROLE_PRODUCER;
		if (stage->kind == KERNEL && me->role == SCATTO_ROLE_PRODUCER)
			return false;
		if (me->op == OP_attach && !(chance(&j->seed) % 8))
			me->role = SCATTO_ROLE_OBSERVER;
		me->closes_all = me->op == OP_close && stage->kind != KERNEL &&
				 chance(&j->seed) % 2;
	}
	/* One place for two: one endpoint for both, unless one only wants it. */
	stage->together = a->role == b->role && a->attached && b->attached &&
			  (is_spsc() || a->role == SCATTO_ROLE_CONSUMER ||
			   !(chance(&j->seed) % 3));
	b->idle = stage->together;
	if (stage->together)
		b->attached = true;
	return true;
}

static bool round_begin(struct judge *j)
{
	struct scatto_create arg = create_args(8, CAPACITY,
					       stage->pause ? SCATTO_F_PAUSE : 0);
	struct st_create kernel = {
		.name = NAME, .slot_size = 8, .capacity = CAPACITY, .mode = 0600,
		.flags = arg.flags,
	};
	struct actor *a = &stage->actor[0], *b = &stage->actor[1];
	unsigned int i;
	int ret;

	/* Before there is a channel whose fds they would inherit. */
	for (i = 0; i < 2; i++)
		if (!stage->actor[i].pid) {
			pid_t pid = spawn();

			if (!pid)
				actor_main(i);
			stage->actor[i].pid = pid;
		}
	j->owner = -1;
	j->number = -1;
	if (stage->kind == KERNEL) {
		ret = ioctl(j->module, ST_IOC_CREATE, &kernel);
		j->number = ret;
	} else {
		create_named(&arg, NAME, 0600);
		if (!is_spsc())
			arg.kind = SCATTO_KIND_MPSC;
		if (stage->kind == SHARED)
			arg.flags |= SCATTO_F_SHARED;
		ret = channel_create_args(&arg);
		j->owner = ret;
		if (ret >= 0 && stage->kind == SHARED) {
			ret = ioctl(j->module, ST_IOC_JOIN, j->owner);
			j->number = ret;
		}
	}
	if (ret < 0) {
		complain("no channel: %s", strerror(ret == -1 ? errno : -ret));
		return false;
	}
	ret = end_attach_to(&j->watch, SCATTO_ROLE_OBSERVER, -1, NAME) ?:
	      end_map(&j->watch);
	/* What neither of them is the judge is. */
	j->prod.closing = false;
	if (!ret && stage->kind != KERNEL && a->role != SCATTO_ROLE_PRODUCER &&
	    b->role != SCATTO_ROLE_PRODUCER)
		ret = party_open(&j->prod, SCATTO_ROLE_PRODUCER);
	if (!ret && a->role != SCATTO_ROLE_CONSUMER && b->role != SCATTO_ROLE_CONSUMER)
		ret = party_open(&j->cons, SCATTO_ROLE_CONSUMER);
	if (ret) {
		complain("the judge's part: %s", strerror(-ret));
		return false;
	}
	phase_set(SETUP);
	if (!soon(have_reached(SETUP)))
		complain("the actors do not come");
	return !stage->wrong[0];
}

static void round_race(struct judge *j)
{
	uint64_t begin = now_ns(), until = begin + chance(&j->seed) % 3000000;
	unsigned int i;

	for (i = 0; i < 2; i++)
		j->kill_ns[i] = begin + chance(&j->seed) % 2000000;
	windows_open(j, true);
	phase_set(GO);
	while (now_ns() < until) {
		judge_kills(j);
		judge_works(j);
		if (!(chance(&j->seed) % 4))
			usleep(chance(&j->seed) % 100);
	}
	if (!soon(is_quiet(j)))
		describe_stuck(j, "left asleep");
	windows_open(j, false);
}

static bool race_done(struct judge *j)
{
	judge_joins(j);
	judge_works(j);
	judge_kills(j);
	return (stage->actor[0].dead || stage->actor[0].done) &&
	       (stage->actor[1].dead || stage->actor[1].done);
}

static void round_serve(struct judge *j)
{
	if (j->owner >= 0 && !(chance(&j->seed) % 3)) {
		stage->closed = 1;
		dev_close(j->owner);
	}
	phase_set(SERVE);
	if (!soon(race_done(j)))
		describe_stuck(j, "does not come back");
}

static bool judge_drains(struct judge *j)
{
	int ret;

	if (!j->cons.open)
		return true;
	while (!(ret = work(&j->cons)))
		;
	return ret == -EPIPE;
}

static void round_leave(struct judge *j)
{
	struct actor *a = &stage->actor[0], *b = &stage->actor[1];

	phase_set(PRODUCERS_LEAVE);
	if (!soon(have_reached(PRODUCERS_LEAVE)))
		complain("the producers do not leave");
	party_drop(&j->prod);
	if (!j->cons.open)
		party_open(&j->cons, SCATTO_ROLE_CONSUMER);
	if (j->number >= 0)
		ioctl(j->module, ST_IOC_DESTROY, j->number);
	/* Otherwise it ends by itself. */
	if (stage->kind != KERNEL &&
	    (stage->pause || !(a->produced || b->produced || stage->sender[SENDER_JUDGE].about ||
			       stage->kind == SHARED)))
		dev_close(j->owner);
	if (!soon(end_of(&j->watch) != SCATTO_END_OPEN))
		describe_stuck(j, "no end");
	phase_set(ALL_LEAVE);
	if (!soon(judge_drains(j)))
		describe_stuck(j, "not read to its end");
	party_drop(&j->cons);
	if (!soon(have_reached(ALL_LEAVE)))
		describe_stuck(j, "the consumer does not see the end");
}

/* Each event below the end once, each sender's in order; how far. */
static void round_account(struct judge *j)
{
	uint32_t state = j->watch.area->state;
	uint64_t end = end_of(&j->watch), last[NR_SENDERS] = {};
	uint64_t got[NR_SENDERS] = {}, sum[NR_SENDERS] = {}, buried = 0;
	bool deaths = kills(&stage->actor[0]) || kills(&stage->actor[1]);
	/* Of two threads one may publish, or unmap, before the other has its claim. */
	bool mixed = stage->together && (deaths || stage->actor[0].op == OP_claim ||
					 stage->actor[1].op == OP_claim);
	bool buries = stage->closed || deaths || mixed;
	/* What nobody can have read; what was not kept for anybody. */
	bool cut = stage->kind != KERNEL && state & SCATTO_STATE_NO_CONSUMER;
	bool holes = stage->kind == KERNEL && !stage->pause, gaps;
	uint64_t at;
	unsigned int i;

	for (at = 0; at < LIMIT; at++) {
		uint64_t value = stage->seen[at], serial = (uint32_t)value;

		stage->seen[at] = 0;
		if (!value) {
			if (at < end && !holes && !cut) {
				complain("nothing at %llu, the end is %llu",
					 (unsigned long long)at, (unsigned long long)end);
				break;
			}
			if (at >= end || cut)
				break;
			continue;
		}
		i = value >> 32;
		if (at >= end)
			complain("event %#llx at %llu, the end is %llu",
				 (unsigned long long)value, (unsigned long long)at,
				 (unsigned long long)end);
		if (value == TOMBSTONE) {
			if (!buries)
				complain("tombstone at %llu", (unsigned long long)at);
			buried++;
			continue;
		}
		if (i >= NR_SENDERS) {
			complain("nonsense: %#llx at %llu", (unsigned long long)value,
				 (unsigned long long)at);
			continue;
		}
		/*
		 * CLOSE buries what is claimed and not stamped yet; what the sender
		 * stamps meanwhile, further on in the same claim, is in the stream.
		 * It has been told.
		 */
		gaps = holes || (stage->closed && last[i] >= stage->sender[i].sent);
		if (!mixed && (gaps ? serial <= last[i] : serial != last[i] + 1))
			complain("sender %u: event %llu after %llu", i,
				 (unsigned long long)serial, (unsigned long long)last[i]);
		last[i] = serial;
		got[i]++;
		sum[i] += serial;
	}
	/* Was one of them an event later? */
	if (!stage->closed && !mixed && !cut && j->watch.area->tombstones != buried)
		complain("%llu tombstones, %llu of them seen",
			 (unsigned long long)j->watch.area->tombstones,
			 (unsigned long long)buried);
	for (; at < LIMIT && stage->seen[at]; at++)
		stage->seen[at] = 0;
	for (i = 0; i < NR_SENDERS; i++) {
		const struct sender *s = &stage->sender[i];

		if (mixed && !holes && !cut && sum[i] != got[i] * (got[i] + 1) / 2)
			complain("sender %u: not all of %llu came once", i,
				 (unsigned long long)got[i]);
		if (got[i] > s->about || (!holes && !cut && got[i] < s->sent))
			complain("sender %u has sent %llu, perhaps %llu, and %llu came", i,
				 (unsigned long long)s->sent, (unsigned long long)s->about,
				 (unsigned long long)got[i]);
	}
}

static bool is_at_rest(struct judge *j, struct scatto_info *info)
{
	return !dev_info(j->watch.fd, info) && !info->producers && !info->consumers &&
	       !info->claimers && info->repair_from == info->repair_to &&
	       info->observers == (stage->kind == KERNEL ? 1 : 2);
}

static void round_end(struct judge *j)
{
	struct scatto_attach again = attach_args(SCATTO_ROLE_OBSERVER, -1, NAME);
	struct scatto_info info;
	int fd, ret;

	if (!soon(is_at_rest(j, &info)))
		complain("at rest: %u + %u + %u endpoints, %u claimers, repair %llu to %llu",
			 info.producers, info.consumers, info.observers, info.claimers,
			 (unsigned long long)info.repair_from,
			 (unsigned long long)info.repair_to);
	round_account(j);
	/* The last reference goes while others look the name up. */
	windows_open(j, true);
	phase_set(LAST);
	end_drop(&j->watch);
	if (j->owner >= 0)
		close(j->owner);
	if (!soon(have_reached(LAST)))
		complain("the name does not go");
	windows_open(j, false);
	fd = dev_open();
	ret = dev_attach(fd, &again);
	if (ret != -ENOENT)
		complain("the channel is still there: %d", ret);
	close(fd);
	phase_set(IDLE);
}

FIXTURE(pair)
{
	struct judge j;
};

FIXTURE_VARIANT(pair)
{
	enum op x, y;
};

#define PAIR(a, b) FIXTURE_VARIANT_ADD(pair, a##_##b) { .x = OP_##a, .y = OP_##b }

PAIR(attach, attach);
PAIR(attach, detach);
PAIR(attach, kill);
PAIR(attach, close);
PAIR(attach, wait);
PAIR(attach, wake);
PAIR(attach, poll);
PAIR(attach, claim);
PAIR(attach, repair);
PAIR(detach, detach);
PAIR(detach, kill);
PAIR(detach, close);
PAIR(detach, wait);
PAIR(detach, wake);
PAIR(detach, poll);
PAIR(detach, claim);
PAIR(detach, repair);
PAIR(kill, kill);
PAIR(kill, close);
PAIR(kill, wait);
PAIR(kill, wake);
PAIR(kill, poll);
PAIR(kill, claim);
PAIR(kill, repair);
PAIR(close, close);
PAIR(close, wait);
PAIR(close, wake);
PAIR(close, poll);
PAIR(close, claim);
PAIR(close, repair);
PAIR(wait, wait);
PAIR(wait, wake);
PAIR(wait, poll);
PAIR(wait, claim);
PAIR(wait, repair);
PAIR(wake, wake);
PAIR(wake, poll);
PAIR(wake, claim);
PAIR(wake, repair);
PAIR(poll, poll);
PAIR(poll, claim);
PAIR(poll, repair);
PAIR(claim, claim);
PAIR(claim, repair);
PAIR(repair, repair);

static unsigned long rounds;

/* Once for all pairs. */
static __attribute__((constructor)) void rounds_count(void)
{
	rounds = test_count(FULL_ROUNDS, SHORT_ROUNDS);
}

FIXTURE_SETUP(pair)
{
	struct judge *j = &self->j;

	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, stage);
	*j = (struct judge){
		.prod = { .sender = SENDER_JUDGE, .lock = PTHREAD_MUTEX_INITIALIZER },
		.cons = { .lock = PTHREAD_MUTEX_INITIALIZER },
		.seed = (variant->x * 16 + variant->y + 1) * 0x9e3779b97f4a7c15ULL,
		.windows = open(PARAMS "windows", O_WRONLY | O_CLOEXEC),
		.window_us = open(PARAMS "window_us", O_WRONLY | O_CLOEXEC),
	};
	j->module = test_module_open();
	ASSERT_LE(0, j->module);
}

FIXTURE_TEARDOWN(pair)
{
	unsigned int i;

	for (i = 0; i < 2; i++)
		if (stage->actor[i].pid)
			kill_and_reap(stage->actor[i].pid);
	/* A test that fails leaves its channel. */
	for (i = 0; i < ST_MAX_CHANNELS; i++)
		ioctl(self->j.module, ST_IOC_DESTROY, i);
}

TEST_F_TIMEOUT(pair, race, LONG_TEST_S)
{
	struct judge *j = &self->j;
	unsigned long i, held = 0;

	for (i = 0; i < rounds * NR_KINDS; i++) {
		bool swap = chance(&j->seed) % 2;

		stage->kind = i % NR_KINDS;
		stage->pause = chance(&j->seed) % 2;
		stage->closed = 0;
		memset(stage->sender, 0, sizeof(stage->sender));
		if (!round_cast(j, swap ? variant->y : variant->x,
				swap ? variant->x : variant->y))
			continue;
		held++;
		stage->closed = stage->actor[0].closes_all || stage->actor[1].closes_all;
		if (round_begin(j)) {
			round_race(j);
			round_serve(j);
			round_leave(j);
			round_end(j);
		}
		ASSERT_STREQ("", stage->wrong) {
			TH_LOG("round %lu, channel %s%s, %s as %s, %s as %s%s", i,
			       kind_names[stage->kind], stage->pause ? " that pauses" : "",
			       op_names[stage->actor[0].op],
			       stage->actor[0].role == SCATTO_ROLE_PRODUCER ? "producer" :
									      "consumer",
			       op_names[stage->actor[1].op],
			       stage->actor[1].role == SCATTO_ROLE_PRODUCER ? "producer" :
									      "consumer",
			       stage->together ? ", one endpoint" : "");
		}
	}
	EXPECT_LE(rounds, held);
}

/* Has all of it been where it means to have been? */
FIXTURE(all)
{
};

FIXTURE_SETUP(all)
{
}

FIXTURE_TEARDOWN(all)
{
}

TEST_F(all, windows)
{
	char buf[4096], *line, *next = buf, name[32];
	unsigned int hits, n = 0;

	if (read_file(PARAMS "window_hits", buf, sizeof(buf)) < 0)
		SKIP(return, "a module without windows");
	while ((line = strsep(&next, "\n")) && *line) {
		ASSERT_EQ(2, sscanf(line, "%31s %u", name, &hits));
		EXPECT_NE(0, hits)
			TH_LOG("nobody has been in %s", name);
		n++;
	}
	EXPECT_LT(20, n);
}

TEST_HARNESS_MAIN
