// SPDX-License-Identifier: GPL-2.0-only
/*
 * Crash repair of MPSC channels, case by case: a producer is stopped after a
 * certain step of Documentation/many-producers.rst and dies or leaves there. What
 * it had claimed and not published becomes tombstones; nobody else's slot does.
 * Random deaths are in massacre.c.
 *
 * The victim is a process that does one step at a time, on the test's orders.
 */
#include "kselftest_harness.h"
#include "many.h"

#include <dirent.h>
#include <sys/mount.h>

#define TRACING		"/sys/kernel/tracing/instances/orphan/"
#define CAPACITY	16

/* The first slot of the lap whose number is 0 again. */
#define WRAP		((uint64_t)(SCATTO_STAMP_LAP >> 2) * CAPACITY)

/* What a consumer has read where there was a tombstone. */
#define TOMB		(~0ULL)

/* The victim */

enum op {
	OP_SEND,		/* value */
	OP_HI,			/* C4: at + n */
	OP_INTEND,		/* C4 and C5: [at, at + n) */
	OP_CAS,			/* C6: from at to at + n; 1 if won */
	OP_NO_INTENT,		/* C7 */
	OP_CLAIM,		/* C1 to C6: n */
	OP_FILL,		/* P1: value into at */
	OP_STAMP,		/* P2: at, n: flags */
	OP_GRANT,		/* SCATTO_IOC_CLAIM: n */
	OP_GRANT_FAULT,		/* the same, but the result cannot be written */
	OP_CLOSE,
	OP_UNMAP,
	OP_FORK,		/* a child keeps the fd until the test goes */
	OP_EXEC,		/* another program does */
	OP_EXIT,
	OP_FORGE_CLAIMED,	/* at */
	OP_FORGE_INTENTS,	/* everybody's: [at, value) */
	OP_FORGE_STAMP,		/* of at: value */
};

struct order {
	uint32_t op;
	uint32_t n;
	uint64_t at;
	uint64_t value;
};

struct answer {
	int64_t ret;
	uint64_t at;
};

struct victim {
	pid_t pid;
	int sock;
	uint32_t index;
};

static int victim_grant_fault(struct end *end, uint32_t n)
{
	struct scatto_claim *arg = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	*arg = claim_args(n, 0, -1);
	mprotect(arg, 4096, PROT_READ);
	ret = dev_claim(end->fd, arg);
	munmap(arg, 4096);
	return ret;
}

static void victim_fork(int sock)
{
	char byte;

	if (!fork()) {
		/* Reads nothing but the end: SOCK_SEQPACKET, and no order for it. */
		while (recv(sock, &byte, 1, MSG_PEEK) > 0)
			sleep_ms(10);
		_exit(0);
	}
}

static struct answer victim_obey(struct end *end, int sock, const struct order *o)
{
	volatile struct scatto_intent *intent = many_intent(end, end->index);
	struct answer a = { .at = o->at };
	struct scatto_claim arg;
	uint64_t seq = o->at;
	uint32_t i;

	switch ((enum op)o->op) {
	case OP_SEND:
		a.ret = many_send(end, o->value);
		break;
	case OP_HI:
		__atomic_store_n(&intent->hi, o->at + o->n, __ATOMIC_RELEASE);
		break;
	case OP_INTEND:
		many_intend(end, o->at, o->at + o->n);
		break;
	case OP_CAS:
		a.ret = __atomic_compare_exchange_n(&end->prod->claimed, &seq,
						    seq + o->n, false,
						    __ATOMIC_ACQ_REL,
						    __ATOMIC_RELAXED);
		break;
	case OP_NO_INTENT:
		__atomic_store_n(&intent->lo, SCATTO_INTENT_NONE, __ATOMIC_RELEASE);
		break;
	case OP_CLAIM:
		a.ret = many_claim(end, o->n, &a.at);
		break;
	case OP_FILL:
		memcpy(end_slot(end, o->at), &o->value, sizeof(o->value));
		break;
	case OP_STAMP:
		many_put_stamp(end, o->at, o->n);
		break;
	case OP_GRANT:
		arg = claim_args(o->n, 0, -1);
		a.ret = dev_claim(end->fd, &arg);
		a.at = arg.position;
		break;
	case OP_GRANT_FAULT:
		a.ret = victim_grant_fault(end, o->n);
		break;
	case OP_CLOSE:
		a.ret = dev_close(end->fd);
		break;
	case OP_UNMAP:
		a.ret = end_unmap(end);
		break;
	case OP_FORK:
		victim_fork(sock);
		break;
	case OP_EXEC:
		fcntl(end->fd, F_SETFD, 0);
		execl("/bin/busybox", "sleep", "1000", NULL);
		_exit(1);
	case OP_EXIT:
		_exit(0);
	case OP_FORGE_CLAIMED:
		__atomic_store_n(&end->prod->claimed, o->at, __ATOMIC_RELEASE);
		break;
	case OP_FORGE_INTENTS:
		for (i = 0; i < end->layout.max_producers; i++) {
			many_intent(end, i)->hi = o->value;
			many_intent(end, i)->lo = o->at;
		}
		break;
	case OP_FORGE_STAMP:
		*many_stamp(end, o->at) = o->value;
		break;
	}
	return a;
}

static void victim_main(int sock, int owner)
{
	struct answer a = {};
	struct order o;
	struct end end;

	a.ret = end_open(&end, SCATTO_ROLE_PRODUCER, owner);
	a.at = end.index;
	do {
		if (send(sock, &a, sizeof(a), 0) != sizeof(a) ||
		    recv(sock, &o, sizeof(o), 0) != sizeof(o))
			_exit(1);
		a = victim_obey(&end, sock, &o);
	} while (1);
}

/* Orders without waiting for it to be done. */
static int victim_begin(struct victim *v, enum op what, uint64_t at, uint32_t n,
			uint64_t value)
{
	struct order o = { .op = what, .n = n, .at = at, .value = value };

	return send(v->sock, &o, sizeof(o), MSG_NOSIGNAL) == sizeof(o) ? 0 : -errno;
}

static int64_t victim_answer(struct victim *v, uint64_t *at)
{
	struct answer a;

	if (recv(v->sock, &a, sizeof(a), 0) != sizeof(a))
		return -EPIPE;
	if (at)
		*at = a.at;
	return a.ret;
}

/* Has it done what it was told to? */
static bool victim_answers(struct victim *v)
{
	struct pollfd pfd = { .fd = v->sock, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static int64_t victim_do(struct victim *v, enum op what, uint64_t at, uint32_t n,
			 uint64_t value)
{
	return victim_begin(v, what, at, n, value) ?: victim_answer(v, NULL);
}

/* The same for the orders that answer with a position. */
static int64_t victim_claim(struct victim *v, enum op what, uint32_t n, uint64_t *at)
{
	return victim_begin(v, what, 0, n, 0) ?: victim_answer(v, at);
}

/* An attached producer in a process of its own, of group @pgid unless -1. */
static int victim_start_in(struct victim *v, int owner, pid_t pgid)
{
	uint64_t index = 0;
	int sock[2];
	int64_t ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock))
		return -errno;
	v->pid = spawn();
	if (v->pid < 0)
		return -errno;
	if (!v->pid) {
		close(sock[0]);
		victim_main(sock[1], owner);
	}
	if (pgid >= 0)
		setpgid(v->pid, pgid);
	close(sock[1]);
	v->sock = sock[0];
	ret = victim_answer(v, &index);
	v->index = index;
	return ret;
}

static int victim_start(struct victim *v, int owner)
{
	return victim_start_in(v, owner, -1);
}

/*
 * All of them have had their exit_mm() when the parent can reap them: the repair
 * has run once.
 */
static void victim_kill(struct victim *v)
{
	kill_and_reap(v->pid);
	close(v->sock);
}

/* A channel with a consumer and a producer that lives, in the test's process */

struct chan {
	int owner;
	struct end c;
	struct end p;
};

/* Starts at position @base, as if so much had been sent. */
static int chan_open(struct chan *ch, uint64_t base, uint32_t flags)
{
	int ret;

	ch->owner = many_create(NULL, 0, 8, CAPACITY, 16, flags);
	if (ch->owner < 0)
		return ch->owner;
	ret = end_open(&ch->c, SCATTO_ROLE_CONSUMER, ch->owner) ?:
	      end_open(&ch->p, SCATTO_ROLE_PRODUCER, ch->owner);
	if (!ret && base)
		many_move(&ch->p, &ch->c, base);
	return ret;
}

static void chan_close(struct chan *ch)
{
	end_drop(&ch->p);
	end_drop(&ch->c);
	close(ch->owner);
}

static struct scatto_info chan_info(struct chan *ch)
{
	struct scatto_info info;

	dev_info(ch->owner, &info);
	return info;
}

static bool chan_repaired(struct chan *ch)
{
	struct scatto_info info = chan_info(ch);

	return !info.repair_from && !info.repair_to;
}

/* Takes up to @most events, as a consumer would; how many. */
static unsigned int chan_take(struct chan *ch, uint64_t *values, unsigned int most)
{
	unsigned int n;
	int ret;

	for (n = 0; n < most; n++) {
		ret = many_recv(&ch->c, &values[n]);
		if (ret == -EAGAIN)
			break;
		if (!ret) {
			values[n] = TOMB;
			ch->c.cons->skipped++;
		}
	}
	return n;
}

/* The consumer's next events are exactly these. */
#define EXPECT_NEXT(ch, ...) do {					\
	const uint64_t _want[] = { __VA_ARGS__ };			\
	uint64_t _got[CAPACITY + 1];					\
	unsigned int _n = chan_take(ch, _got, CAPACITY + 1), _i;	\
									\
	EXPECT_EQ(ARRAY_LEN(_want), _n);				\
	for (_i = 0; _i < ARRAY_LEN(_want) && _i < _n; _i++)		\
		EXPECT_EQ(_want[_i], _got[_i])				\
			TH_LOG("at event %u", _i);			\
} while (0)

/* Each step, and each way to go there */

enum step {
	AFTER_ATTACH,
	AFTER_C4,		/* a new hi, the lo of a claim that was published */
	AFTER_C5,		/* an intent for what nobody has claimed yet */
	AFTER_C6_LOST,		/* an intent for what another has claimed */
	AFTER_C6,
	AFTER_C6_OLD,		/* the same, while the other claims on */
	AFTER_P1,
	AFTER_P2_LAST,		/* of three slots the last is stamped */
	AFTER_P2_BUT_FIRST,	/* as a batch does it */
	AFTER_P2,		/* all stamped, nobody woken */
	AFTER_GRANT,
	AFTER_GRANT_P2_LAST,
	AFTER_GRANT_P2,
	AFTER_GRANT_FAULT,
};

enum way {
	BY_KILL,
	BY_EXIT,
	BY_UNMAP,
	BY_CLOSE_UNMAP,
	BY_CLOSE_KILL,
	BY_EXEC,
	BY_FORK_KILL,		/* somebody else still has the fd */
	NR_WAYS,
};

#define BATCH	3

/* The events' values: who has sent them. */
#define BEFORE	1000ULL
#define BY_VICTIM 2000ULL
#define OTHERS	3000ULL
#define AFTER	4000ULL

FIXTURE(step) {
	struct chan ch;
};

FIXTURE_VARIANT(step) {
	enum step step;
	unsigned int claimed;	/* by the victim, when it goes */
	unsigned int published;	/* of those */
	bool in_doubt;		/* the other's claim is a candidate, too */
};

#define STEP(name, at, n, m, doubt)					\
FIXTURE_VARIANT_ADD(step, name) {					\
	.step = at, .claimed = n, .published = m, .in_doubt = doubt,	\
}

STEP(attach, AFTER_ATTACH, 0, 0, false);
STEP(c4, AFTER_C4, 0, 0, true);
STEP(c5, AFTER_C5, 0, 0, false);
STEP(c6_lost, AFTER_C6_LOST, 0, 0, true);
STEP(c6, AFTER_C6, BATCH, 0, false);
STEP(c6_old, AFTER_C6_OLD, BATCH, 0, false);
STEP(p1, AFTER_P1, BATCH, 0, false);
STEP(p2_last, AFTER_P2_LAST, BATCH, 1, false);
STEP(p2_but_first, AFTER_P2_BUT_FIRST, BATCH, 2, false);
STEP(p2, AFTER_P2, BATCH, 3, false);
STEP(grant, AFTER_GRANT, BATCH, 0, false);
STEP(grant_p2_last, AFTER_GRANT_P2_LAST, BATCH, 1, false);
STEP(grant_p2, AFTER_GRANT_P2, BATCH, 3, false);
STEP(grant_fault, AFTER_GRANT_FAULT, BATCH, 0, false);

FIXTURE_SETUP(step)
{
}

FIXTURE_TEARDOWN(step)
{
}

/* The victim's part up to its claim; *@at: where that is. */
static int step_claim(struct chan *ch, struct victim *v, enum step after, uint64_t *at)
{
	*at = many_claimed(&ch->p);
	switch (after) {
	case AFTER_ATTACH:
		return 0;
	case AFTER_C4:
		return victim_do(v, OP_HI, *at, BATCH, 0);
	case AFTER_C5:
	case AFTER_C6_LOST:
		return victim_do(v, OP_INTEND, *at, BATCH, 0);
	case AFTER_GRANT:
	case AFTER_GRANT_P2_LAST:
	case AFTER_GRANT_P2:
		return victim_claim(v, OP_GRANT, BATCH, at);
	case AFTER_GRANT_FAULT:
		return victim_do(v, OP_GRANT_FAULT, 0, BATCH, 0) == -EFAULT ? 0 : -EINVAL;
	default:
		return victim_do(v, OP_INTEND, *at, BATCH, 0) ?:
		       victim_do(v, OP_CAS, *at, BATCH, 0) == 1 ? 0 : -EINVAL;
	}
}

/* And beyond it. */
static int step_publish(struct victim *v, enum step after, uint64_t at)
{
	int ret = 0, i;

	for (i = 0; i < BATCH && !ret && after >= AFTER_P1 &&
	     after != AFTER_GRANT && after != AFTER_GRANT_FAULT; i++)
		ret = victim_do(v, OP_FILL, at + i, 0, BY_VICTIM + i);
	for (i = BATCH - 1; i >= 0 && !ret; i--) {
		bool all = after == AFTER_P2 || after == AFTER_GRANT_P2;

		if (all || (i == BATCH - 1 && (after == AFTER_P2_LAST ||
					       after == AFTER_GRANT_P2_LAST)) ||
		    (i && after == AFTER_P2_BUT_FIRST))
			ret = victim_do(v, OP_STAMP, at + i, 0, 0);
	}
	return ret;
}

/* Back when the endpoint can no longer write and its repair has run once. */
static int step_go(struct chan *ch, struct victim *v, enum way way, uint64_t at,
		   unsigned int claimed)
{
	bool before = claimed && many_stamped(&ch->c, at);
	int ret = 0;

	if (way == BY_CLOSE_UNMAP || way == BY_CLOSE_KILL) {
		ret = victim_do(v, OP_CLOSE, 0, 0, 0);
		/* It can still write: its slots are its own. */
		if (!ret && claimed && !before && many_stamped(&ch->c, at))
			ret = -EBUSY;
		if (!ret && ch->c.area->producers != 1)
			ret = -EISCONN;
	}
	switch (way) {
	case BY_UNMAP:
	case BY_CLOSE_UNMAP:
		return ret ?: victim_do(v, OP_UNMAP, 0, 0, 0);
	case BY_EXIT:
		return victim_begin(v, OP_EXIT, 0, 0, 0) ?: reap(v->pid);
	case BY_EXEC:
		ret = victim_begin(v, OP_EXEC, 0, 0, 0);
		if (!wait_for(ch->c.area->producers == 1, PATIENCE_MS))
			ret = -ETIME;
		/* Waits for whoever is at it. */
		chan_info(ch);
		return ret;
	case BY_FORK_KILL:
		ret = victim_do(v, OP_FORK, 0, 0, 0);
		kill_and_reap(v->pid);
		return ret;
	default:
		kill_and_reap(v->pid);
		return ret;
	}
}

static void step_run(struct __test_metadata *_metadata, struct chan *ch,
		     const struct _fixture_variant_step *variant, enum way way,
		     bool blocked, bool granted, uint64_t base)
{
	struct scatto_claim arg = claim_args(1, 0, -1);
	unsigned int tombs = variant->claimed - variant->published, i, n;
	uint64_t got[CAPACITY], want[CAPACITY], at, other;
	struct scatto_info info;
	struct sleeper s;
	struct victim v;

	ASSERT_EQ(0, chan_open(ch, base, 0));
	ASSERT_EQ(0, victim_start(&v, ch->owner));
	ASSERT_LE(0, many_send(&ch->p, BEFORE));
	ASSERT_LE(0, victim_do(&v, OP_SEND, 0, 0, BY_VICTIM));

	ASSERT_EQ(0, step_claim(ch, &v, variant->step, &at));
	/* For the last of the victim's slots, or the first after it. */
	if (blocked)
		ASSERT_EQ(0, sleeper_start(&s, ch->c.fd, base + 2 +
					   (variant->claimed ?: 1)));
	ASSERT_EQ(0, step_publish(&v, variant->step, at));
	if (variant->step == AFTER_C5)
		ASSERT_EQ(0, step_go(ch, &v, way, at, 0));

	/* The other claims as well, and is not done before the victim goes. */
	if (granted) {
		ASSERT_EQ(0, dev_claim(ch->p.fd, &arg));
		other = arg.position;
	} else {
		ASSERT_EQ(0, many_claim(&ch->p, 1, &other));
	}
	ASSERT_EQ(base + 2 + variant->claimed, other);
	if (variant->step == AFTER_C6_LOST)
		ASSERT_EQ(0, victim_do(&v, OP_CAS, at, BATCH, 0));
	if (variant->step == AFTER_C6_OLD) {
		ASSERT_LE(0, many_publish(&ch->p, other, OTHERS));
		ASSERT_EQ(0, many_claim(&ch->p, 1, &other));
	}
	if (blocked && variant->step != AFTER_GRANT_FAULT)
		EXPECT_FALSE(s.done);

	if (variant->step != AFTER_C5)
		ASSERT_EQ(0, step_go(ch, &v, way, at,
				     variant->step == AFTER_GRANT_FAULT ? 0 :
				     variant->claimed));
	EXPECT_FALSE(many_stamped(&ch->c, other));
	info = chan_info(ch);
	EXPECT_EQ(1, info.producers);
	EXPECT_EQ(tombs, info.tombstones);
	EXPECT_EQ(variant->in_doubt ? other : 0, info.repair_from);
	EXPECT_EQ(variant->in_doubt ? other + 1 : 0, info.repair_to);
	/* A result that could not be written was repaired while it lived. */
	if (!variant->in_doubt)
		EXPECT_EQ(tombs && variant->step != AFTER_GRANT_FAULT, info.repairs);
	if (blocked && variant->claimed)
		EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(SCATTO_END_OPEN, info.end);

	/* The other goes on as if nothing had happened. */
	ASSERT_LE(0, many_publish(&ch->p, other, OTHERS));
	ASSERT_LE(0, many_send(&ch->p, AFTER));
	if (blocked && !variant->claimed)
		EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_TRUE(wait_for(chan_repaired(ch), PATIENCE_MS));

	n = 0;
	want[n++] = BEFORE;
	want[n++] = BY_VICTIM;
	for (i = 0; i < variant->claimed; i++)
		want[n++] = many_is_tombstone(&ch->c, at + i) ? TOMB : BY_VICTIM + i;
	if (variant->step == AFTER_C6_OLD)
		want[n++] = OTHERS;
	want[n++] = OTHERS;
	want[n++] = AFTER;
	ASSERT_EQ(n, chan_take(ch, got, CAPACITY));
	for (i = 0; i < n; i++)
		EXPECT_EQ(want[i], got[i])
			TH_LOG("event %u of %u", i, n);
	info = chan_info(ch);
	EXPECT_EQ(tombs, info.tombstones);
	EXPECT_EQ(tombs, info.skipped);

	/* The last one gone: here it ends. */
	end_drop(&ch->p);
	EXPECT_EQ(base + n, ch->c.area->end);
	EXPECT_EQ(base + n, end_cursor(&ch->c));
	EXPECT_EQ(tombs, chan_info(ch).tombstones);
	close(v.sock);
	if (way == BY_UNMAP || way == BY_CLOSE_UNMAP || way == BY_EXEC)
		kill_and_reap(v.pid);
}

/* From the first slot on, and where the number of the lap wraps in mid-batch. */
TEST_F_TIMEOUT(step, and_gone, 100)
{
	unsigned int i;

	for (i = 0; i < 2 * NR_WAYS; i++) {
		enum way way = i / 2;
		/* One in two combinations of what matters little. */
		uint64_t base = i & 1 ? WRAP - 4 : 0;
		bool blocked = (i ^ way) & 1;
		bool granted = (i ^ way / 2) & 1;

		step_run(_metadata, &self->ch, variant, way, blocked, granted, base);
		chan_close(&self->ch);
		if (!_metadata->passed) {
			TH_LOG("way %d, %s, other %s, from %llu", way,
			       blocked ? "a sleeper" : "nobody asleep",
			       granted ? "granted" : "claimed",
			       (unsigned long long)base);
			return;
		}
	}
}

FIXTURE(orphan) {
	struct chan ch;
};

FIXTURE_SETUP(orphan)
{
	ASSERT_EQ(0, chan_open(&self->ch, 0, 0));
}

FIXTURE_TEARDOWN(orphan)
{
	chan_close(&self->ch);
}

/* Fills the ring by the living producer. */
static void fill_up(struct chan *ch)
{
	while (many_send(&ch->p, BEFORE) >= 0)
		;
}

/* Frees @n slots, telling whoever waits for them. */
static void make_room(struct chan *ch, unsigned int n)
{
	uint64_t value;

	while (n--)
		many_recv(&ch->c, &value);
}

static bool waits_in_claim(struct chan *ch, struct victim *v, unsigned int claimers)
{
	return wait_for(ch->c.area->claimers == claimers && task_in_call(v->pid),
			PATIENCE_MS);
}

/* The first of the queue dies: the next may want less than it did. */
TEST_F(orphan, killed_while_it_waits_in_claim)
{
	struct victim big, small;
	uint64_t at;

	ASSERT_EQ(0, victim_start(&big, self->ch.owner));
	ASSERT_EQ(0, victim_start(&small, self->ch.owner));
	fill_up(&self->ch);
	ASSERT_EQ(0, victim_begin(&big, OP_GRANT, 0, 4, 0));
	ASSERT_TRUE(waits_in_claim(&self->ch, &big, 1));
	ASSERT_EQ(0, victim_begin(&small, OP_GRANT, 0, 1, 0));
	ASSERT_TRUE(waits_in_claim(&self->ch, &small, 2));
	make_room(&self->ch, 1);
	sleep_ms(5);
	EXPECT_FALSE(victim_answers(&small));

	victim_kill(&big);
	ASSERT_EQ(0, victim_answer(&small, &at));
	EXPECT_EQ(CAPACITY, at);
	EXPECT_EQ(0, self->ch.c.area->claimers);
	EXPECT_EQ(0, chan_info(&self->ch).repairs);
	EXPECT_EQ(0, chan_info(&self->ch).tombstones);
	victim_kill(&small);
	EXPECT_EQ(1, chan_info(&self->ch).tombstones);
	EXPECT_TRUE(many_is_tombstone(&self->ch.c, CAPACITY));
}

/* The same, when it leaves the queue and lives. */
TEST_F(orphan, stopped_while_it_waits_in_claim)
{
	struct victim big, small;
	uint64_t at;

	ASSERT_EQ(0, victim_start(&big, self->ch.owner));
	ASSERT_EQ(0, victim_start(&small, self->ch.owner));
	fill_up(&self->ch);
	ASSERT_EQ(0, victim_begin(&big, OP_GRANT, 0, 4, 0));
	ASSERT_TRUE(waits_in_claim(&self->ch, &big, 1));
	ASSERT_EQ(0, victim_begin(&small, OP_GRANT, 0, 1, 0));
	ASSERT_TRUE(waits_in_claim(&self->ch, &small, 2));
	make_room(&self->ch, 1);
	kill(big.pid, SIGSTOP);
	ASSERT_TRUE(wait_for(victim_answers(&small), PATIENCE_MS));
	ASSERT_EQ(0, victim_answer(&small, &at));
	EXPECT_EQ(CAPACITY, at);
	victim_kill(&small);
	victim_kill(&big);
	EXPECT_EQ(1, chan_info(&self->ch).tombstones);
}

/*
 * Granted in its sleep, and killed before it could hear of it: it does not get
 * the CPU that we both are on.
 */
TEST_F(orphan, killed_before_the_grant_is_returned)
{
	struct sched_param first = { .sched_priority = 1 }, other = {};
	struct victim v;
	unsigned int i;

	ASSERT_EQ(0, pin(0));
	ASSERT_EQ(0, victim_start(&v, self->ch.owner));
	fill_up(&self->ch);
	ASSERT_EQ(0, victim_begin(&v, OP_GRANT, 0, 2, 0));
	ASSERT_TRUE(waits_in_claim(&self->ch, &v, 1));
	/* A stopped one leaves the queue, and comes back when it goes on. */
	kill(v.pid, SIGSTOP);
	EXPECT_TRUE(wait_for(self->ch.c.area->claimers == 0, PATIENCE_MS));
	kill(v.pid, SIGCONT);
	ASSERT_TRUE(waits_in_claim(&self->ch, &v, 1));

	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &first));
	make_room(&self->ch, 2);
	kill(v.pid, SIGKILL);
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &other));
	reap(v.pid);
	EXPECT_FALSE(victim_answers(&v) && !victim_answer(&v, NULL));
	close(v.sock);
	EXPECT_EQ(1, chan_info(&self->ch).claims);
	EXPECT_EQ(2, chan_info(&self->ch).tombstones);
	EXPECT_EQ(1, chan_info(&self->ch).repairs);
	EXPECT_TRUE(chan_repaired(&self->ch));
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(many_is_tombstone(&self->ch.c, CAPACITY + i));
}

/* The result of a claim that had to wait goes nowhere: the next one has room. */
TEST_F(orphan, waited_in_claim_for_nothing)
{
	struct victim v;
	uint64_t at;

	ASSERT_EQ(0, victim_start(&v, self->ch.owner));
	fill_up(&self->ch);
	ASSERT_EQ(0, victim_begin(&v, OP_GRANT_FAULT, 0, 3, 0));
	ASSERT_TRUE(waits_in_claim(&self->ch, &v, 1));
	make_room(&self->ch, 8);
	EXPECT_EQ(-EFAULT, victim_answer(&v, NULL));
	EXPECT_EQ(3, chan_info(&self->ch).tombstones);
	EXPECT_TRUE(chan_repaired(&self->ch));
	/* It is not held against it. */
	ASSERT_EQ(0, victim_claim(&v, OP_GRANT, 2, &at));
	EXPECT_EQ(CAPACITY + 3, at);
	victim_kill(&v);
	EXPECT_EQ(5, chan_info(&self->ch).tombstones);
	EXPECT_EQ(1, chan_info(&self->ch).repairs);
}

/*
 * A living producer has written down the intent for just the slots that the
 * victim has won, and was stopped there: nobody can tell whose they are until it
 * goes on.
 */
enum relief {
	RELIEF_C7,
	RELIEF_NEXT,		/* its next try wins */
	RELIEF_UNMAP,
	NR_RELIEFS,
};

static void relieve(struct __test_metadata *_metadata, struct end *q, enum relief r)
{
	uint64_t at;

	switch (r) {
	case RELIEF_C7:
		__atomic_store_n(&many_intent(q, q->index)->lo, SCATTO_INTENT_NONE,
				 __ATOMIC_RELEASE);
		break;
	case RELIEF_NEXT:
		ASSERT_EQ(0, many_claim(q, 1, &at));
		ASSERT_LE(0, many_publish(q, at, OTHERS));
		break;
	default:
		EXPECT_EQ(0, end_unmap(q));
	}
}

TEST_F_TIMEOUT(orphan, intent_of_the_living_holds_it, 100)
{
	struct chan *ch = &self->ch;
	struct scatto_info info;
	struct sleeper s;
	struct victim v;
	enum relief r;
	struct end q;
	uint64_t at, begin, value;

	for (r = 0; r < NR_RELIEFS; r++) {
		uint64_t done = chan_info(ch).tombstones;

		ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch->owner));
		ASSERT_EQ(0, victim_start(&v, ch->owner));
		at = many_claimed(&ch->p);
		/* One slot more on either side: what matters is what is common. */
		many_intend(&q, at, at + BATCH - 1);
		ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, BATCH, &at));
		ASSERT_EQ(0, sleeper_start(&s, ch->c.fd, at + BATCH));
		victim_kill(&v);

		info = chan_info(ch);
		EXPECT_EQ(at, info.repair_from);
		EXPECT_EQ(at + BATCH - 1, info.repair_to);
		EXPECT_EQ(done + 1, info.tombstones);
		sleep_ms(300);
		info = chan_info(ch);
		EXPECT_EQ(at, info.repair_from);
		EXPECT_EQ(at + BATCH - 1, info.repair_to);
		EXPECT_FALSE(many_stamped(&ch->c, at));
		EXPECT_FALSE(s.done);

		begin = now_ns();
		relieve(_metadata, &q, r);
		EXPECT_EQ(0, sleeper_join(&s));
		EXPECT_TRUE(chan_repaired(ch));
		/* What takes longest between two tries, and far more. */
		EXPECT_GT(5000 * test_slowness(), (now_ns() - begin) / 1000000);
		printf("# decided %.1f ms after\n", (s.woke_ns - begin) / 1e6);
		EXPECT_EQ(done + BATCH, chan_info(ch).tombstones);
		while (many_recv(&ch->c, &value) >= 0)
			;
		EXPECT_EQ(many_claimed(&ch->p), end_cursor(&ch->c));
		end_drop(&q);
	}
	EXPECT_EQ(NR_RELIEFS, chan_info(ch).repairs);
}

/* A torn pair, the new hi and the old lo, covers what lies between. */
TEST_F(orphan, torn_intent_of_the_living_holds_it)
{
	struct chan *ch = &self->ch;
	struct victim v;
	struct end q;
	uint64_t at;

	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch->owner));
	ASSERT_EQ(0, victim_start(&v, ch->owner));
	ASSERT_LE(0, many_send(&q, BEFORE));
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, BATCH, &at));
	many_intent(&q, q.index)->hi = at + BATCH + 1;
	victim_kill(&v);
	EXPECT_EQ(at, chan_info(ch).repair_from);
	EXPECT_EQ(at + BATCH, chan_info(ch).repair_to);
	EXPECT_FALSE(many_stamped(&ch->c, at));

	/* C5, C6 */
	many_intent(&q, q.index)->lo = at + BATCH;
	__atomic_store_n(&q.prod->claimed, at + BATCH + 1, __ATOMIC_RELEASE);
	EXPECT_TRUE(wait_for(chan_repaired(ch), PATIENCE_MS));
	EXPECT_FALSE(many_stamped(&ch->c, at + BATCH));
	ASSERT_LE(0, many_publish(&q, at + BATCH, AFTER));
	EXPECT_NEXT(ch, BEFORE, TOMB, TOMB, TOMB, AFTER);
	end_drop(&q);
}

/* Who waits long makes nobody else wait. */
TEST_F_TIMEOUT(orphan, old_doubts_delay_no_new_ones, 60)
{
	struct chan *ch = &self->ch;
	struct end q, other;
	struct victim v;
	uint64_t at, begin;
	unsigned int i;

	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch->owner));
	ASSERT_EQ(0, end_open(&other, SCATTO_ROLE_PRODUCER, ch->owner));
	ASSERT_EQ(0, victim_start(&v, ch->owner));
	many_intend(&q, 0, 1);
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 1, &at));
	victim_kill(&v);
	/* Until the tries are as far apart as they get. */
	sleep_ms(1200);

	for (i = 0; i < 3; i++) {
		/* In doubt for a moment only. */
		ASSERT_EQ(0, victim_start(&v, ch->owner));
		at = many_claimed(&ch->p);
		many_intend(&other, at, at + 1);
		ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 1, &at));
		victim_kill(&v);
		EXPECT_FALSE(many_stamped(&ch->c, at));
		begin = now_ns();
		many_intent(&other, other.index)->lo = SCATTO_INTENT_NONE;
		EXPECT_TRUE(wait_for(many_is_tombstone(&ch->c, at), PATIENCE_MS));
		/* The fourth or fifth look, and room for a busy machine. */
		EXPECT_GT(200 * test_slowness(), (now_ns() - begin) / 1000000);
		EXPECT_FALSE(chan_repaired(ch));
	}
	EXPECT_EQ(0, end_unmap(&q));
	EXPECT_TRUE(chan_repaired(ch));
	EXPECT_NEXT(ch, TOMB, TOMB, TOMB, TOMB);
	end_drop(&q);
	end_drop(&other);
}

/* CPU time of the threads of unbound workqueues, in ms. */
static uint64_t kworkers_ms(void)
{
	long user, sys, ticks = 0;
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char path[300], buf[1024];

	while (proc && (entry = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (read_file(path, buf, sizeof(buf)) > 0 && strstr(buf, "(kworker/u") &&
		    sscanf(strrchr(buf, ')'),
			   ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld",
			   &user, &sys) == 2)
			ticks += user + sys;
	}
	closedir(proc);
	return ticks * 1000 / sysconf(_SC_CLK_TCK);
}

#define RINGS	64
#define LARGE	16384	/* slots */

/*
 * Somebody keeps many large rings in doubt, with something new all the time. Who looks
 * at them are kernel threads, so it must not cost much.
 */
TEST(doubts_of_one_user_cost_little)
{
	static struct end holder[RINGS];
	uint64_t begin = 0, took, used = 0;
	int owner[RINGS], fd, i;
	unsigned int news = 0;
	uint64_t lo;

	for (i = 0; i < RINGS; i++) {
		owner[i] = many_create(NULL, 0, 8, LARGE, 4, 0);
		ASSERT_LE(0, owner[i]);
		ASSERT_EQ(0, end_open(&holder[i], SCATTO_ROLE_PRODUCER, owner[i]));
		many_intend(&holder[i], 0, LARGE);
		holder[i].prod->claimed = LARGE;
	}
	for (lo = LARGE / 2; lo; lo--) {
		for (i = 0; i < RINGS; i++) {
			struct scatto_attach a = attach_args(SCATTO_ROLE_PRODUCER, owner[i], NULL);

			fd = dev_open();
			ASSERT_EQ(0, dev_attach(fd, &a));
			many_intent(&holder[i], a.index)->hi = LARGE;
			many_intent(&holder[i], a.index)->lo = lo;
			close(fd);
			news++;
		}
		if (!begin) {
			begin = now_ns();
			used = kworkers_ms();
		}
		if (now_ns() - begin > 3000000000ULL)
			break;
	}
	took = (now_ns() - begin) / 1000000;
	used = kworkers_ms() - used;
	printf("# %u rings, in doubt anew %u times: kernel threads %llu ms of %llu\n", RINGS,
	       news, (unsigned long long)used, (unsigned long long)took);
	if (test_slowness() == 1)
		EXPECT_GT(took / 4, used);
	for (i = 0; i < RINGS; i++) {
		end_drop(&holder[i]);
		close(owner[i]);
	}
}

/* A group of eight, whose claims lie side by side and among those of the living. */
TEST_F(orphan, several_at_once)
{
	enum { N = 8 };
	struct chan *ch = &self->ch;
	struct victim v[N];
	uint64_t at[N], mine[2];
	struct end q;
	unsigned int i, round;

	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch->owner));
	for (round = 0; round < 10; round++) {
		struct scatto_info info = chan_info(ch);

		for (i = 0; i < N; i++) {
			ASSERT_EQ(0, victim_start_in(&v[i], ch->owner, i ? v[0].pid : 0));
			ASSERT_EQ(0, victim_claim(&v[i], i & 1 ? OP_CLAIM : OP_GRANT,
						  1, &at[i]));
			if (i == 2)
				ASSERT_EQ(0, many_claim(&ch->p, 1, &mine[0]));
			if (i == 5)
				ASSERT_EQ(0, many_claim(&q, 1, &mine[1]));
		}
		ASSERT_EQ(0, victim_do(&v[4], OP_FILL, at[4], 0, BY_VICTIM));
		ASSERT_EQ(0, victim_do(&v[4], OP_STAMP, at[4], 0, 0));
		kill(-v[0].pid, SIGKILL);
		for (i = 0; i < N; i++) {
			reap(v[i].pid);
			close(v[i].sock);
		}
		for (i = 0; i < N; i++)
			EXPECT_EQ(i != 4, many_is_tombstone(&ch->c, at[i]));
		EXPECT_FALSE(many_stamped(&ch->c, mine[0]));
		EXPECT_FALSE(many_stamped(&ch->c, mine[1]));
		EXPECT_EQ(info.tombstones + N - 1, chan_info(ch).tombstones);
		EXPECT_EQ(info.repairs + N - 1, chan_info(ch).repairs);
		EXPECT_EQ(2, chan_info(ch).producers);

		ASSERT_LE(0, many_publish(&q, mine[1], AFTER));
		ASSERT_LE(0, many_publish(&ch->p, mine[0], OTHERS));
		EXPECT_NEXT(ch, TOMB, TOMB, TOMB, OTHERS, TOMB, BY_VICTIM, TOMB,
			    AFTER, TOMB, TOMB);
		EXPECT_TRUE(wait_for(chan_repaired(ch), PATIENCE_MS));
	}
	end_drop(&q);
}

/* A new producer on the dead one's place, while that one's claim is in doubt. */
TEST_F(orphan, successor_on_the_same_place)
{
	struct chan *ch = &self->ch;
	struct victim v, w;
	struct end q;
	uint64_t at, next;

	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch->owner));
	ASSERT_EQ(0, victim_start(&v, ch->owner));
	many_intend(&q, 0, 2);
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 2, &at));
	victim_kill(&v);
	EXPECT_FALSE(chan_repaired(ch));

	ASSERT_EQ(0, victim_start(&w, ch->owner));
	EXPECT_EQ(v.index, w.index);
	EXPECT_EQ(SCATTO_INTENT_NONE, many_intent(&q, w.index)->lo);
	ASSERT_LE(0, victim_do(&w, OP_SEND, 0, 0, BY_VICTIM));
	/* Its own claim is nobody's but its own, whatever is in doubt. */
	ASSERT_EQ(0, victim_claim(&w, OP_CLAIM, 2, &next));
	EXPECT_EQ(at, chan_info(ch).repair_from);
	EXPECT_EQ(at + 2, chan_info(ch).repair_to);
	/* Another death: one hull for both. */
	victim_kill(&w);
	EXPECT_EQ(at, chan_info(ch).repair_from);
	EXPECT_EQ(at + 2, chan_info(ch).repair_to);
	EXPECT_TRUE(many_is_tombstone(&ch->c, next));
	EXPECT_TRUE(many_is_tombstone(&ch->c, next + 1));
	EXPECT_EQ(2, chan_info(ch).repairs);

	ASSERT_EQ(0, victim_start(&w, ch->owner));
	EXPECT_EQ(v.index, w.index);
	ASSERT_EQ(0, victim_claim(&w, OP_CLAIM, 1, &next));
	many_intent(&q, q.index)->lo = SCATTO_INTENT_NONE;
	EXPECT_TRUE(wait_for(chan_repaired(ch), PATIENCE_MS));
	EXPECT_FALSE(many_stamped(&ch->c, next));
	ASSERT_LE(0, many_send(&ch->p, AFTER));
	EXPECT_NEXT(ch, TOMB, TOMB, BY_VICTIM, TOMB, TOMB);
	victim_kill(&w);
	EXPECT_NEXT(ch, TOMB, AFTER);
	end_drop(&q);
}

/* Who leaves with nothing claimed is no repair, whatever else is going on. */
TEST_F(orphan, leaving_clean_is_no_repair)
{
	struct chan *ch = &self->ch;
	struct victim v;
	struct end q, r;
	uint64_t at;

	ASSERT_EQ(0, victim_start(&v, ch->owner));
	ASSERT_LE(0, victim_do(&v, OP_SEND, 0, 0, BY_VICTIM));
	victim_kill(&v);
	EXPECT_EQ(0, chan_info(ch).repairs);
	EXPECT_EQ(0, chan_info(ch).tombstones);

	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch->owner));
	ASSERT_EQ(0, end_open(&r, SCATTO_ROLE_PRODUCER, ch->owner));
	ASSERT_LE(0, many_send(&r, OTHERS));
	ASSERT_EQ(0, victim_start(&v, ch->owner));
	many_intend(&q, 2, 3);
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 1, &at));
	victim_kill(&v);
	EXPECT_EQ(1, chan_info(ch).repairs);
	EXPECT_FALSE(chan_repaired(ch));
	end_drop(&r);
	EXPECT_EQ(1, chan_info(ch).repairs);
	end_drop(&q);
	EXPECT_EQ(1, chan_info(ch).repairs);
	EXPECT_NEXT(ch, BY_VICTIM, OTHERS, TOMB);
}

/* One victim on two channels, and a channel beside that it has nothing to do with. */
TEST_F(orphan, other_channels_are_undisturbed)
{
	struct chan *ch = &self->ch, beside;
	struct scatto_info before, after;
	struct victim v;
	struct end q;
	uint64_t at, mine;

	ASSERT_EQ(0, chan_open(&beside, 0, 0));
	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, beside.owner));
	ASSERT_LE(0, many_send(&beside.p, BEFORE));
	ASSERT_EQ(0, many_claim(&beside.p, 2, &mine));
	/* An intent that covers nothing: as if its owner had died. */
	many_intend(&q, 0, CAPACITY);
	before = chan_info(&beside);

	ASSERT_EQ(0, victim_start(&v, ch->owner));
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 2, &at));
	victim_kill(&v);
	EXPECT_TRUE(many_is_tombstone(&ch->c, at));

	after = chan_info(&beside);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_FALSE(many_stamped(&beside.c, mine));
	EXPECT_EQ(0, many_intent(&beside.p, q.index)->lo);
	ASSERT_LE(0, many_publish(&beside.p, mine + 1, OTHERS + 1));
	ASSERT_LE(0, many_publish(&beside.p, mine, OTHERS));
	EXPECT_NEXT(&beside, BEFORE, OTHERS, OTHERS + 1);
	end_drop(&q);
	chan_close(&beside);
}

/* A place is kept by whoever can still write; the stream ends after that. */
TEST_F(orphan, last_one_has_closed_but_can_write)
{
	struct chan *ch = &self->ch;
	struct sleeper s;
	struct victim v;
	uint64_t at;

	ASSERT_EQ(0, victim_start(&v, ch->owner));
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 2, &at));
	ASSERT_EQ(0, victim_do(&v, OP_CLOSE, 0, 0, 0));
	ASSERT_LE(0, many_send(&ch->p, AFTER));
	end_drop(&ch->p);
	EXPECT_EQ(0, ch->c.area->state);
	EXPECT_EQ(SCATTO_END_OPEN, ch->c.area->end);
	EXPECT_FALSE(many_stamped(&ch->c, at));

	/* It may still publish what it had claimed. */
	ASSERT_EQ(0, victim_do(&v, OP_FILL, at, 0, BY_VICTIM));
	ASSERT_EQ(0, victim_do(&v, OP_STAMP, at, 0, 0));
	ASSERT_EQ(0, sleeper_start(&s, ch->c.fd, 3));
	ASSERT_EQ(0, victim_do(&v, OP_UNMAP, 0, 0, 0));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(3, ch->c.area->end);
	EXPECT_EQ(SCATTO_STATE_NO_PRODUCER, ch->c.area->state);
	EXPECT_NEXT(ch, BY_VICTIM, TOMB, AFTER);
	victim_kill(&v);
}

/* An owner's CLOSE does not wait for anybody: what is not stamped never was. */
TEST_F(orphan, owner_closes_over_claims)
{
	struct chan *ch = &self->ch;
	struct victim v;
	uint64_t at, mine;

	ASSERT_EQ(0, victim_start(&v, ch->owner));
	ASSERT_LE(0, many_send(&ch->p, BEFORE));
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 2, &at));
	ASSERT_EQ(0, many_claim(&ch->p, 1, &mine));
	ASSERT_EQ(0, victim_do(&v, OP_STAMP, at + 1, 0, 0));
	ASSERT_EQ(0, dev_close(ch->owner));
	EXPECT_EQ(4, ch->c.area->end);
	EXPECT_EQ(2, chan_info(ch).tombstones);
	EXPECT_TRUE(many_is_tombstone(&ch->c, at));
	EXPECT_FALSE(many_is_tombstone(&ch->c, at + 1));
	EXPECT_TRUE(many_is_tombstone(&ch->c, mine));
	victim_kill(&v);
	EXPECT_EQ(4, ch->c.area->end);
	EXPECT_EQ(2, chan_info(ch).tombstones);
	EXPECT_EQ(0, chan_info(ch).repairs);
}

/* Where the claim cursor makes no sense the stamps say where the end is. */
TEST_F(orphan, owner_closes_over_a_forged_cursor)
{
	struct chan *ch = &self->ch;

	ASSERT_LE(0, many_send(&ch->p, BEFORE));
	ASSERT_LE(0, many_send(&ch->p, BEFORE));
	ch->p.prod->claimed = 1ULL << 40;
	ASSERT_EQ(0, dev_close(ch->owner));
	EXPECT_EQ(2, ch->c.area->end);
	EXPECT_EQ(0, chan_info(ch).tombstones);
}

/* What is in doubt comes together, whoever has left first. */
TEST(doubts_from_the_back)
{
	int owner = many_create(NULL, 0, 8, 8, 0, SCATTO_F_PAUSE);
	struct end first, second, alive, c;
	struct scatto_info info;
	uint64_t at, value;

	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&c, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, end_open(&alive, SCATTO_ROLE_PRODUCER, owner));
	ASSERT_EQ(0, end_open(&first, SCATTO_ROLE_PRODUCER, owner));
	ASSERT_EQ(0, end_open(&second, SCATTO_ROLE_PRODUCER, owner));
	ASSERT_EQ(0, many_claim(&first, 1, &at));
	ASSERT_EQ(0, many_claim(&second, 1, &at));
	/* It may have claimed both, as far as one can see. */
	many_intend(&alive, 0, 2);
	end_drop(&second);
	ASSERT_EQ(0, dev_info(owner, &info));
	EXPECT_EQ(1, info.repair_from);
	EXPECT_EQ(2, info.repair_to);
	end_drop(&first);
	ASSERT_EQ(0, dev_info(owner, &info));
	EXPECT_EQ(0, info.repair_from);
	EXPECT_EQ(2, info.repair_to);
	many_intend(&alive, SCATTO_INTENT_NONE, 0);
	ASSERT_TRUE(wait_for(many_is_tombstone(&c, 0) && many_is_tombstone(&c, 1), PATIENCE_MS));
	EXPECT_EQ(0, many_recv(&c, &value));
	EXPECT_EQ(0, many_recv(&c, &value));
	end_drop(&alive);
	end_drop(&c);
	close(owner);
}

/* As large a claim as takes some time to look through. */
TEST(all_of_a_large_ring)
{
	enum { SLOTS = 1 << 14 };
	int owner = many_create(NULL, 0, 8, SLOTS, 0, SCATTO_F_PAUSE);
	struct end p, c;
	uint64_t at, value, i;

	ASSERT_LE(0, owner);
	ASSERT_EQ(0, end_open(&c, SCATTO_ROLE_CONSUMER, owner));
	ASSERT_EQ(0, end_open(&p, SCATTO_ROLE_PRODUCER, owner));
	ASSERT_EQ(0, many_claim(&p, SLOTS, &at));
	many_put_stamp(&p, SLOTS / 2, 0);
	end_drop(&p);
	for (i = 0; i < SLOTS; i++)
		ASSERT_EQ(i == SLOTS / 2, many_recv(&c, &value));
	EXPECT_EQ(-EAGAIN, many_recv(&c, &value));
	end_drop(&c);
	close(owner);
}

/*
 * The last one gone, having written whatever it liked: the stream ends where the
 * stamps do, at most one capacity on.
 */
FIXTURE(forged) {
	struct chan ch;
};

FIXTURE_VARIANT(forged) {
	int64_t claimed;	/* from what it was */
	bool absolute;		/* not from there */
};

FIXTURE_VARIANT_ADD(forged, nothing) { .claimed = 0 };
FIXTURE_VARIANT_ADD(forged, claimed_0) { .claimed = 0, .absolute = true };
FIXTURE_VARIANT_ADD(forged, claimed_higher) { .claimed = 1 };
FIXTURE_VARIANT_ADD(forged, claimed_much_higher) { .claimed = CAPACITY };
FIXTURE_VARIANT_ADD(forged, claimed_too_high) { .claimed = CAPACITY + 1 };
FIXTURE_VARIANT_ADD(forged, claimed_max) { .claimed = -1, .absolute = true };
FIXTURE_VARIANT_ADD(forged, claimed_half) { .claimed = INT64_MIN, .absolute = true };
FIXTURE_VARIANT_ADD(forged, claimed_lower) { .claimed = -2 };
FIXTURE_VARIANT_ADD(forged, claimed_much_lower) { .claimed = -CAPACITY - 1 };

FIXTURE_SETUP(forged)
{
}

FIXTURE_TEARDOWN(forged)
{
}

enum forgery {
	FORGE_NO_INTENT,
	FORGE_ALL,		/* everybody intends everything */
	FORGE_NEXT,		/* what follows */
	FORGE_BACKWARDS,
	NR_FORGERIES,
};

static void forged_run(struct __test_metadata *_metadata, struct chan *ch,
		       const struct _fixture_variant_forged *variant,
		       enum forgery forgery, bool pause, bool claims, bool ahead,
		       uint64_t base)
{
	const uint64_t real = base + 3 + 2 * claims;
	uint64_t first = base + 1, edge, at, claimed, value;
	struct scatto_info info;
	struct end next, other;
	struct victim v, w;
	unsigned int i;

	ASSERT_EQ(0, chan_open(ch, base, pause ? SCATTO_F_PAUSE : 0));
	ASSERT_EQ(0, victim_start(&v, ch->owner));
	ASSERT_EQ(0, victim_start(&w, ch->owner));
	ASSERT_LE(0, many_send(&ch->p, BEFORE));
	EXPECT_EQ(1, many_recv(&ch->c, &value));
	ASSERT_LE(0, many_send(&ch->p, BEFORE));
	ASSERT_LE(0, victim_do(&v, OP_SEND, 0, 0, BY_VICTIM));
	if (claims)
		ASSERT_EQ(0, victim_claim(&w, OP_CLAIM, 2, &at));
	ASSERT_EQ(real, many_claimed(&ch->p));
	claimed = variant->absolute ? (uint64_t)variant->claimed :
				      real + variant->claimed;

	ASSERT_EQ(0, victim_do(&v, OP_FORGE_CLAIMED, claimed, 0, 0));
	if (forgery == FORGE_ALL)
		ASSERT_EQ(0, victim_do(&v, OP_FORGE_INTENTS, 0, 0, ~0ULL));
	if (forgery == FORGE_NEXT)
		ASSERT_EQ(0, victim_do(&v, OP_FORGE_INTENTS, real, 0,
				       real + CAPACITY));
	if (forgery == FORGE_BACKWARDS)
		ASSERT_EQ(0, victim_do(&v, OP_FORGE_INTENTS, ~0ULL - 1, 0, 0));
	if (ahead) {
		/* Two that would pass for events of their slots, and are none. */
		ASSERT_EQ(0, victim_do(&v, OP_FORGE_STAMP, real + 2, 0,
				       many_lap(&ch->c, real + 2)));
		ASSERT_EQ(0, victim_do(&v, OP_FORGE_STAMP, base + CAPACITY, 0,
				       many_lap(&ch->c, base + CAPACITY)));
	}
	end_drop(&ch->p);
	victim_kill(&w);
	EXPECT_EQ(SCATTO_END_OPEN, ch->c.area->end);
	victim_kill(&v);

	info = chan_info(ch);
	EXPECT_EQ(0, info.repair_from);
	EXPECT_EQ(0, info.repair_to);
	EXPECT_EQ(0, info.producers);
	/* The first that is not stamped, of at most all. */
	for (edge = first; edge < first + CAPACITY && many_stamped(&ch->c, edge); edge++)
		;
	if (forgery == FORGE_NO_INTENT && !claims)
		EXPECT_EQ(real, edge);
	if (!variant->claimed && !variant->absolute && forgery == FORGE_NO_INTENT)
		EXPECT_EQ(real, edge);
	EXPECT_LE(base + 3, edge);
	EXPECT_EQ(pause ? SCATTO_END_OPEN : edge, info.end);
	EXPECT_EQ(edge, info.published);

	/* What was sent is there. */
	EXPECT_EQ(1, many_recv(&ch->c, &value));
	EXPECT_EQ(BEFORE, value);
	EXPECT_EQ(1, many_recv(&ch->c, &value));
	EXPECT_EQ(BY_VICTIM, value);
	if (!pause) {
		EXPECT_EQ(-EPIPE, end_attach(&next, SCATTO_ROLE_PRODUCER, ch->owner));
		return;
	}

	/* A successor goes on from there, over what was forged beyond. */
	while (end_cursor(&ch->c) != edge)
		ASSERT_LE(0, many_recv(&ch->c, &value));
	EXPECT_EQ(-EAGAIN, many_recv(&ch->c, &value));
	ASSERT_EQ(0, end_open(&next, SCATTO_ROLE_PRODUCER, ch->owner));
	ASSERT_EQ(0, end_open(&other, SCATTO_ROLE_PRODUCER, ch->owner));
	EXPECT_EQ(edge, next.position);
	for (i = 0; i < 2 * CAPACITY; i++) {
		EXPECT_EQ(0, many_claim(i & 1 ? &other : &next, 1, &at));
		EXPECT_EQ(edge + i, at);
		/* Nothing comes before it is sent. */
		EXPECT_EQ(-EAGAIN, many_recv(&ch->c, &value));
		EXPECT_LE(0, many_publish(i & 1 ? &other : &next, at, AFTER + i));
		EXPECT_EQ(1, many_recv(&ch->c, &value));
		EXPECT_EQ(AFTER + i, value);
		EXPECT_EQ(-EAGAIN, many_recv(&ch->c, &value));
	}
	end_drop(&next);
	end_drop(&other);
}

TEST_F_TIMEOUT(forged, and_gone, 100)
{
	unsigned int i;

	for (i = 0; i < 4 * NR_FORGERIES; i++) {
		enum forgery forgery = i / 4;
		bool pause = i & 1, claims = i & 2;
		bool ahead = pause ^ claims ^ (forgery & 1);
		uint64_t base = pause ^ (forgery & 1) ? WRAP - 4 : 2 * CAPACITY;

		forged_run(_metadata, &self->ch, variant, forgery, pause, claims,
			   ahead, base);
		chan_close(&self->ch);
		if (!_metadata->passed) {
			TH_LOG("intents %d, %s, %s, stamps %s, from %llu", forgery,
			       pause ? "pausing" : "ending",
			       claims ? "a claim" : "no claim",
			       ahead ? "ahead" : "right",
			       (unsigned long long)base);
			return;
		}
	}
}

/* A consumer that looked ahead while stamps were forged is not led astray later. */
TEST(forged_stamps_are_forgotten)
{
	struct pollfd pfd = { .events = POLLIN };
	struct chan ch;
	struct sleeper s;
	struct victim v;
	unsigned int i;
	uint64_t at;

	ASSERT_EQ(0, chan_open(&ch, 0, SCATTO_F_PAUSE));
	ASSERT_EQ(0, victim_start(&v, ch.owner));
	end_drop(&ch.p);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, victim_do(&v, OP_FORGE_STAMP, i, 0, many_lap(&ch.c, i)));
	pfd.fd = ch.c.fd;
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, victim_do(&v, OP_FORGE_STAMP, i, 0, 0));
	victim_kill(&v);

	EXPECT_EQ(0, poll(&pfd, 1, 0));
	ASSERT_EQ(0, end_open(&ch.p, SCATTO_ROLE_PRODUCER, ch.owner));
	ASSERT_EQ(0, many_claim(&ch.p, 1, &at));
	ASSERT_EQ(0, sleeper_start(&s, ch.c.fd, 1));
	dev_wake(ch.p.fd);
	sleep_ms(5);
	EXPECT_FALSE(s.done);
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	EXPECT_LE(0, many_publish(&ch.p, at, AFTER));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	EXPECT_NEXT(&ch, AFTER);
	chan_close(&ch);
}

/* Attached, and gone before it was of any use; and a pausing channel's rests. */
TEST(pausing_channel_repairs_between_producers)
{
	uint64_t at, value;
	struct chan ch;
	struct victim v;
	unsigned int i, n;

	ASSERT_EQ(0, chan_open(&ch, 0, SCATTO_F_PAUSE));
	end_drop(&ch.p);
	for (i = 0; i < 5 * CAPACITY; i++) {
		ASSERT_EQ(0, victim_start(&v, ch.owner));
		EXPECT_EQ(0, v.index);
		n = 1 + i % 3;
		ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, n, &at));
		ASSERT_EQ(0, victim_do(&v, OP_FILL, at + n - 1, 0, i));
		ASSERT_EQ(0, victim_do(&v, OP_STAMP, at + n - 1, 0, 0));
		victim_kill(&v);
		EXPECT_EQ(0, ch.c.area->producers);
		while (--n)
			ASSERT_EQ(0, many_recv(&ch.c, &value));
		ASSERT_EQ(1, many_recv(&ch.c, &value));
		EXPECT_EQ(i, value);
		EXPECT_EQ(SCATTO_END_OPEN, ch.c.area->end);
		EXPECT_EQ(end_cursor(&ch.c), ch.c.prod->claimed);
	}
	close(ch.owner);
	end_drop(&ch.c);
}

/* Tracepoints */

/* How many lines of the trace hold @event and @rest. */
static unsigned int traced(const char *event, const char *rest)
{
	static char buf[1 << 18];
	unsigned int n = 0;
	char *line, *next;

	if (read_file(TRACING "trace", buf, sizeof(buf)) < 0)
		return 0;
	for (line = buf; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = '\0';
		n += strstr(line, event) && strstr(line, rest);
	}
	return n;
}

TEST(tracepoints)
{
	char orphan[128], repair[128], doubt[128];
	struct scatto_info info;
	struct victim v;
	struct chan ch;
	struct end q;
	uint64_t at, value;
	unsigned int n;
	int ret;

	if (access("/sys/kernel/tracing/instances", F_OK) &&
	    mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL))
		SKIP(return, "no tracefs");
	ASSERT_TRUE(!mkdir(TRACING, 0700) || errno == EEXIST);
	ASSERT_EQ(0, write_file(TRACING "events/scatto/enable", "1"));
	ASSERT_EQ(0, write_file(TRACING "trace", " "));

	ASSERT_EQ(0, chan_open(&ch, 0, 0));
	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch.owner));
	info = chan_info(&ch);
	ASSERT_EQ(0, victim_start(&v, ch.owner));
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, BATCH, &at));
	victim_kill(&v);
	snprintf(orphan, sizeof(orphan), "id=%llu index=%u lo=%llu hi=%llu",
		 info.id, v.index, (unsigned long long)at,
		 (unsigned long long)at + BATCH);
	snprintf(repair, sizeof(repair), "id=%llu tombstones=%u lo=0 hi=0",
		 info.id, BATCH);
	EXPECT_EQ(1, traced("scatto_orphan:", orphan));
	EXPECT_EQ(1, traced("scatto_repair:", repair));

	/* What is in doubt is looked at less and less often. */
	ASSERT_EQ(0, write_file(TRACING "trace", " "));
	ASSERT_EQ(0, victim_start(&v, ch.owner));
	at = many_claimed(&ch.p);
	many_intend(&q, at, at + 1);
	ASSERT_EQ(0, victim_claim(&v, OP_CLAIM, 1, &at));
	victim_kill(&v);
	snprintf(doubt, sizeof(doubt), "id=%llu tombstones=0 lo=%llu hi=%llu held_by=%d",
		 info.id, (unsigned long long)at, (unsigned long long)at + 1, getpid());
	EXPECT_LE(1, traced("scatto_repair:", doubt));
	sleep_ms(1500);
	n = traced("scatto_repair:", doubt);
	printf("# %u looks in 1.5 s\n", n);
	EXPECT_LE(5, n);
	/* From 100 us, half as long again each time. */
	EXPECT_GE(26, n);
	snprintf(repair, sizeof(repair), "id=%llu tombstones=1 lo=0 hi=0 held_by=0",
		 info.id);
	EXPECT_EQ(0, traced("scatto_repair:", repair));
	end_drop(&q);
	EXPECT_EQ(1, traced("scatto_repair:", repair));

	/* A living one's after all, and read before the next look. */
	ASSERT_EQ(0, end_open(&q, SCATTO_ROLE_PRODUCER, ch.owner));
	ASSERT_EQ(0, victim_start(&v, ch.owner));
	ASSERT_EQ(0, victim_do(&v, OP_INTEND, many_claimed(&q), 1, 0));
	ASSERT_EQ(0, many_claim(&q, 1, &at));
	ASSERT_EQ(0, write_file(TRACING "trace", " "));
	victim_kill(&v);
	sleep_ms(300);
	snprintf(repair, sizeof(repair), "id=%llu tombstones=0 lo=0 hi=0", info.id);
	EXPECT_EQ(0, traced("scatto_repair:", repair));
	many_put_stamp(&q, at, 0);
	do
		ret = many_recv(&ch.c, &value);
	while (ret >= 0);
	EXPECT_EQ(at + 1, end_cursor(&ch.c));
	EXPECT_TRUE(wait_for(traced("scatto_repair:", repair) == 1, 3000));
	end_drop(&q);

	write_file(TRACING "events/enable", "0");
	chan_close(&ch);
	rmdir(TRACING);
}

TEST_HARNESS_MAIN
