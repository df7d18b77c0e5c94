/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What attacks are made of: see attack.c. An attack is a function that runs in a
 * process of its own, as an unprivileged user, with an endpoint of the owner of the
 * attacked channel, until attack_goes_on() says no. It counts what it does, says
 * with must() what may not happen to it, and may die in any way it likes.
 */
#ifndef SELFTESTS_ATTACK_H
#define SELFTESTS_ATTACK_H

#include "many.h"

#include <setjmp.h>
#include <sys/resource.h>

#define ATTACK_SLOT		64
#define ATTACK_CAPACITY		64
#define ATTACK_PRODUCERS	8

/* Shared by all processes of one attack. */
struct attack_shared {
	bool stop;
	unsigned long rounds;		/* what the attack has done */
	unsigned int broken;		/* must() that were not */
	unsigned int skipped;
	struct victim_view {
		unsigned long calls;	/* of library functions */
		unsigned long good;	/* of those without an error */
		unsigned long attaches;
		uint64_t since_ns;	/* the call it is in; 0: none */
		uint64_t late_ns;	/* the most a call took beyond its deadline */
	} victim[2];
};

struct attack;

struct attacker {
	const struct attack *a;
	struct attack_shared *sh;
	int owner;
	pid_t victim;
	uint64_t seed;
};

/* @role: whose part it plays; 0 where it needs no channel. */
struct attack {
	char name[64];
	uint32_t kind;
	uint32_t role;
	void (*run)(struct attacker *at);
	int what;			/* for functions that do several things */
	int how;
	bool root;			/* needs it, see the function */
};

static inline bool attack_goes_on(const struct attacker *at)
{
	return !__atomic_load_n(&at->sh->stop, __ATOMIC_ACQUIRE);
}

static inline void attack_round(struct attacker *at)
{
	__atomic_fetch_add(&at->sh->rounds, 1, __ATOMIC_RELAXED);
}

/* What holds whoever attacks and however; the first few are told. */
#define must(at, cond) ({						\
	bool must_ok = (cond);						\
									\
	if (!must_ok && __atomic_fetch_add(&(at)->sh->broken, 1,	\
					   __ATOMIC_RELAXED) < 4) {	\
		printf("# %s: %s:%d: not so: %s (errno %d)\n",		\
		       (at)->a->name, __FILE__, __LINE__, #cond, errno);\
		fflush(stdout);						\
	}								\
	must_ok;							\
})

/* This kernel has not got what the attack is about. */
static inline void attack_skip(struct attacker *at)
{
	at->sh->skipped = 1;
}

/* Calls that fault, on purpose. */
static __thread sigjmp_buf attack_fault_env;
static __thread bool attack_fault_expected;

static inline void attack_fault(int sig)
{
	if (attack_fault_expected)
		siglongjmp(attack_fault_env, 1);
	signal(sig, SIG_DFL);
}

static inline void attack_catch_faults(void)
{
	struct sigaction sa = { .sa_handler = attack_fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

/* Runs @statement; where that faults, goes on behind it. */
#define may_fault(statement) do {					\
	attack_fault_expected = true;					\
	if (!sigsetjmp(attack_fault_env, 1))				\
		statement;						\
	attack_fault_expected = false;					\
} while (0)

/*
 * An end of the attacked channel, for the role that the attack plays. The place may
 * be taken for a moment, by an attacker that has just died. False: not any more.
 */
static inline bool attack_open_as(struct attacker *at, struct end *end, uint32_t role)
{
	while (attack_goes_on(at)) {
		int ret = end_open(end, role, at->owner);

		if (!ret)
			return true;
		if (ret != -EBUSY && ret != -EPIPE)
			must(at, !ret);
		sleep_ms(1);
	}
	return false;
}

static inline bool attack_open(struct attacker *at, struct end *end)
{
	return attack_open_as(at, end, at->a->role);
}

/* A channel for the attack alone, like the victim's. */
static inline int attack_create(struct attacker *at)
{
	return at->a->kind == SCATTO_KIND_SPSC ?
	       channel_create(NULL, 0, ATTACK_SLOT, ATTACK_CAPACITY, SCATTO_F_PAUSE) :
	       many_create(NULL, 0, ATTACK_SLOT, ATTACK_CAPACITY, ATTACK_PRODUCERS,
			   SCATTO_F_PAUSE);
}

/* What its role is there for, @n times at most: sends, or receives. */
static inline void attack_work(struct end *end, unsigned int n)
{
	bool many = end->layout.kind == SCATTO_KIND_MPSC;
	uint64_t value = 1;

	while (n--) {
		int ret = -EAGAIN;

		if (end->role == SCATTO_ROLE_PRODUCER)
			ret = many ? many_send(end, n) : end_send(end, n);
		else if (end->role == SCATTO_ROLE_CONSUMER)
			ret = many ? many_recv(end, &value) : end_recv(end, &value);
		if (ret < 0)
			break;
	}
}

/* In an ioctl that blocks: WAIT for what never comes, or CLAIM of a full ring. */
static inline int attack_block(struct end *end, bool claim)
{
	struct scatto_claim arg = claim_args(ATTACK_CAPACITY, 0, -1);

	return claim ? dev_claim(end->fd, &arg) : dev_wait(end->fd, 1ULL << 62, -1);
}

/* A thread that does that. */
struct blocker {
	pthread_t thread;
	struct end *end;
	bool claim;
	pid_t tid;
	int ret;
	bool done;
};

static inline void *blocker_main(void *p)
{
	struct blocker *b = p;

	__atomic_store_n(&b->tid, thread_id(), __ATOMIC_RELEASE);
	b->ret = attack_block(b->end, b->claim);
	__atomic_store_n(&b->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Back when it sleeps, or has returned. */
static inline bool blocker_start(struct blocker *b, struct end *end, bool claim)
{
	*b = (struct blocker){ .end = end, .claim = claim };
	if (pthread_create(&b->thread, NULL, blocker_main, b))
		return false;
	wait_for(__atomic_load_n(&b->done, __ATOMIC_ACQUIRE) ||
		 (__atomic_load_n(&b->tid, __ATOMIC_ACQUIRE) && task_in_call(b->tid)),
		 PATIENCE_MS);
	return true;
}

static inline bool blocker_done(struct blocker *b, unsigned int ms)
{
	return wait_for(__atomic_load_n(&b->done, __ATOMIC_ACQUIRE), ms);
}

/* Several threads that do the same until the end of the attack. */
struct attack_crew {
	struct attacker *at;
	void (*run)(struct attack_crew *crew, unsigned int me);
	void *arg;
	unsigned int next;
	unsigned int n;
	pthread_t threads[16];
};

static inline void *attack_crew_main(void *p)
{
	struct attack_crew *crew = p;

	crew->run(crew, __atomic_fetch_add(&crew->next, 1, __ATOMIC_RELAXED));
	return NULL;
}

static inline void attack_crew(struct attacker *at, unsigned int n, void *arg,
			       void (*run)(struct attack_crew *crew, unsigned int me))
{
	struct attack_crew crew = { .at = at, .run = run, .arg = arg };

	while (crew.n < n && !pthread_create(&crew.threads[crew.n], NULL,
					     attack_crew_main, &crew))
		crew.n++;
	must(at, crew.n > 0);
	while (crew.n--)
		pthread_join(crew.threads[crew.n], NULL);
}

#endif /* SELFTESTS_ATTACK_H */
