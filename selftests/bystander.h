/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bystanders: processes with a channel of their own, used all the time, each event
 * checked. Whatever is done to other channels must not be felt here.
 *
 * They run as another user than the attackers, and at a real-time priority: what
 * an attacker takes of the CPU by running is the scheduler's business, so it gets
 * nothing that they want. They want little: each producer sends a few events and
 * sleeps a while. One of them uses a pipe. It feels what the machine as a whole
 * does (a host that stops the VM, interrupts off), so the others are compared
 * with it: what they lack more than it is scatto's doing.
 */
#ifndef SELFTESTS_BYSTANDER_H
#define SELFTESTS_BYSTANDER_H

#include "many.h"

enum { BYSTANDER_PIPE, BYSTANDER_SPSC, BYSTANDER_MPSC, NR_BYSTANDERS };

#define BYSTANDER_CAPACITY	16
#define BYSTANDER_BURST		8
#define BYSTANDER_PAUSE_MS	10
#define BYSTANDER_PRODUCERS	2	/* of kind MPSC */

struct bystander {
	int kind;
	int owner;			/* or the ends of a pipe */
	int pipe[2];
	pid_t pids[BYSTANDER_PRODUCERS + 1];
	unsigned int nr_pids;
	/* Shared with them: */
	struct bystander_view {
		uint64_t count;		/* events received */
		uint64_t bad;		/* of those lost, garbled, twice; or the end */
		uint64_t last_ns;	/* when the last one came */
		uint64_t gap_ns;	/* the longest time between two */
	} *view;
};

static inline const char *bystander_name(int kind)
{
	return kind == BYSTANDER_PIPE ? "pipe" :
	       kind == BYSTANDER_SPSC ? "SPSC" : "MPSC";
}

/* Which producer and which of its events, made hard to guess. */
static inline uint64_t bystander_value(uint64_t producer, uint64_t seq)
{
	return (producer << 56 | seq) ^ 0x5ca770feed5ca770ULL;
}

static inline void bystander_got(struct bystander_view *v, uint64_t value,
				 uint64_t *next)
{
	uint64_t plain = value ^ bystander_value(0, 0);
	uint64_t producer = plain >> 56, now = now_ns();

	if (producer >= BYSTANDER_PRODUCERS ||
	    (plain & ~(0xffULL << 56)) != next[producer]++)
		v->bad++;
	if (v->last_ns && now - v->last_ns > v->gap_ns)
		v->gap_ns = now - v->last_ns;
	v->last_ns = now;
	__atomic_store_n(&v->count, v->count + 1, __ATOMIC_RELEASE);
}

static inline void bystander_send(struct bystander *b, struct end *end, uint64_t value)
{
	if (b->kind == BYSTANDER_PIPE) {
		if (write(b->pipe[1], &value, sizeof(value)) != sizeof(value))
			b->view->bad++;
		return;
	}
	while ((b->kind == BYSTANDER_SPSC ? end_send(end, value) :
					    many_send(end, value)) < 0) {
		uint64_t at = b->kind == BYSTANDER_SPSC ? end->prod->published :
							  many_claimed(end);

		if (dev_wait(end->fd, at + 1 - BYSTANDER_CAPACITY, -1) < 0 ||
		    end_is_over(end))
			b->view->bad++;
	}
}

static inline void bystander_produce(struct bystander *b, struct end *end, uint64_t me)
{
	uint64_t seq = 0;
	int i;

	for (;;) {
		for (i = 0; i < BYSTANDER_BURST; i++)
			bystander_send(b, end, bystander_value(me, seq++));
		sleep_ms(BYSTANDER_PAUSE_MS);
	}
}

static inline void bystander_consume(struct bystander *b, struct end *end)
{
	uint64_t next[BYSTANDER_PRODUCERS] = {}, value;
	int ret;

	for (;;) {
		if (b->kind == BYSTANDER_PIPE) {
			ret = read(b->pipe[0], &value, sizeof(value)) == sizeof(value) ?
			      1 : -EIO;
		} else if (b->kind == BYSTANDER_SPSC) {
			ret = end_recv(end, &value) < 0 ? -EAGAIN : 1;
		} else {
			ret = many_recv(end, &value);
		}
		if (ret == 1)
			bystander_got(b->view, value, next);
		else if (ret != -EAGAIN ||
			 dev_wait(end->fd, end->cons->cursor + 1, -1) < 0 ||
			 end_is_over(end))
			b->view->bad++;
	}
}

static inline void bystander_run(struct bystander *b, unsigned int i, uid_t uid)
{
	struct sched_param rt = { .sched_priority = 1 };
	struct end end = {};

	/* The consumer is the first. */
	if (sched_setscheduler(0, SCHED_RR, &rt) || become(uid))
		_exit(1);
	/* Not dumpable any more, and the signal is forgotten with the user. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (b->kind != BYSTANDER_PIPE &&
	    end_open(&end, i ? SCATTO_ROLE_PRODUCER : SCATTO_ROLE_CONSUMER, b->owner))
		_exit(1);
	if (i)
		bystander_produce(b, &end, i - 1);
	bystander_consume(b, &end);
}

/* Has everybody come? */
static inline bool bystander_complete(const struct bystander *b)
{
	struct scatto_info info;

	return b->kind == BYSTANDER_PIPE ||
	       (!dev_info(b->owner, &info) &&
		info.producers + info.consumers == b->nr_pids);
}

/* By root. */
static inline int bystander_start(struct bystander *b, int kind, uid_t uid)
{
	unsigned int i;

	memset(b, 0, sizeof(*b));
	b->kind = kind;
	b->owner = -1;
	b->view = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->view == MAP_FAILED)
		return -errno;
	if (kind == BYSTANDER_PIPE) {
		if (pipe2(b->pipe, O_CLOEXEC))
			return -errno;
	} else {
		b->owner = kind == BYSTANDER_SPSC ?
			   channel_create(NULL, 0, 8, BYSTANDER_CAPACITY, 0) :
			   many_create(NULL, 0, 8, BYSTANDER_CAPACITY,
				       BYSTANDER_PRODUCERS, 0);
		if (b->owner < 0)
			return b->owner;
	}
	b->nr_pids = kind == BYSTANDER_MPSC ? BYSTANDER_PRODUCERS + 1 : 2;
	for (i = 0; i < b->nr_pids; i++) {
		b->pids[i] = spawn();
		if (!b->pids[i])
			bystander_run(b, i, uid);
		if (b->pids[i] < 0)
			return -errno;
	}
	return wait_for(b->view->count && bystander_complete(b), PATIENCE_MS) ? 0 : -ETIME;
}

static inline uint64_t bystander_count(const struct bystander *b)
{
	return __atomic_load_n(&b->view->count, __ATOMIC_ACQUIRE);
}

/* Has it come further since @before, with nothing lost or garbled? */
static inline bool bystander_goes_on(const struct bystander *b, uint64_t before)
{
	return wait_for(bystander_count(b) > before, PATIENCE_MS) && !b->view->bad;
}

/* The longest time without an event since it was set to 0. */
static inline uint64_t bystander_gap(const struct bystander *b)
{
	uint64_t last = b->view->last_ns, now = now_ns();
	uint64_t gap = now > last ? now - last : 0;

	return gap > b->view->gap_ns ? gap : b->view->gap_ns;
}

static inline void bystander_stop(struct bystander *b)
{
	unsigned int i;

	for (i = 0; i < b->nr_pids; i++)
		if (b->pids[i] > 0)
			kill_and_reap(b->pids[i]);
	if (b->owner >= 0)
		close(b->owner);
	if (b->kind == BYSTANDER_PIPE) {
		close(b->pipe[0]);
		close(b->pipe[1]);
	}
	munmap(b->view, 4096);
}

#endif /* SELFTESTS_BYSTANDER_H */
