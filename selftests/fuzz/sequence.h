/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a sequence of calls is, and how one is made from a number. A sequence says
 * which of a few actors does what to which file descriptor, and carries the chance
 * from which execute.h makes up the rest; so it can be changed anywhere and still
 * is one.
 */
#ifndef SELFTESTS_FUZZ_SEQUENCE_H
#define SELFTESTS_FUZZ_SEQUENCE_H

#include "util.h"

#define MAX_OPS		512
#define NR_SLOTS	16	/* file descriptors that all actors share */
#define NR_ACTORS	4	/* threads: 0 and 1 of one process, 2 and 3 of another */

enum call_id {
	CALL_OPEN, CALL_CREATE, CALL_ATTACH, CALL_INFO, CALL_CLOSE, CALL_WAIT,
	CALL_WAKE, CALL_CLAIM, CALL_QUERY, CALL_LIST, CALL_OTHER, CALL_MMAP,
	CALL_MUNMAP, CALL_MREMAP, CALL_MPROTECT, CALL_MADVISE, CALL_POLL,
	CALL_EPOLL_CTL, CALL_EPOLL_WAIT, CALL_READ, CALL_CLOSE_FD, CALL_DUP,
	CALL_NONBLOCK, CALL_FDINFO, CALL_PASS, CALL_TAKE, CALL_FOREIGN, CALL_FORK,
	CALL_KILL, CALL_KERNEL_SEND, CALL_KERNEL_JOIN, CALL_KERNEL_LEAVE,
	/* No system calls, but for the wake-ups that they owe. */
	CALL_MOVE, CALL_SCRIBBLE, CALL_SCRIBBLE_ARG,
	NR_CALLS,
};

static const char * const call_names[NR_CALLS] = {
	[CALL_OPEN] = "open", [CALL_CREATE] = "CREATE", [CALL_ATTACH] = "ATTACH",
	[CALL_INFO] = "INFO", [CALL_CLOSE] = "CLOSE", [CALL_WAIT] = "WAIT",
	[CALL_WAKE] = "WAKE", [CALL_CLAIM] = "CLAIM", [CALL_QUERY] = "QUERY",
	[CALL_LIST] = "LIST", [CALL_OTHER] = "other-ioctl", [CALL_MMAP] = "mmap",
	[CALL_MUNMAP] = "munmap", [CALL_MREMAP] = "mremap",
	[CALL_MPROTECT] = "mprotect", [CALL_MADVISE] = "madvise",
	[CALL_POLL] = "poll", [CALL_EPOLL_CTL] = "epoll_ctl",
	[CALL_EPOLL_WAIT] = "epoll_wait", [CALL_READ] = "read-write",
	[CALL_CLOSE_FD] = "close", [CALL_DUP] = "dup", [CALL_NONBLOCK] = "nonblock",
	[CALL_FDINFO] = "fdinfo", [CALL_PASS] = "pass", [CALL_TAKE] = "take",
	[CALL_FOREIGN] = "foreign", [CALL_FORK] = "fork", [CALL_KILL] = "kill",
	[CALL_KERNEL_SEND] = "kernel-send", [CALL_KERNEL_JOIN] = "kernel-join",
	[CALL_KERNEL_LEAVE] = "kernel-leave", [CALL_MOVE] = "move",
	[CALL_SCRIBBLE] = "scribble", [CALL_SCRIBBLE_ARG] = "scribble-arg",
};

struct op {
	uint8_t actor;
	uint8_t call;
	uint8_t slot;
	uint8_t other;		/* a second slot */
	uint32_t rnd;
};

/*
 * The upper four bits of op.rnd: a field of the structure is changed, or its
 * pointer; else it is what a program would pass. The lower two are the role of an
 * ATTACH, the lowest the kind of a CREATE.
 */
#define RND_FIELD(rnd)		((rnd) >> 28 < 2)
#define RND_POINTER(rnd)	((rnd) >> 28 == 2)
#define RND_VALID		0xf0000000U

/* Bits of sequence.setup, which is as random as the rest. */
#define SETUP_USER(setup, proc)	((setup) >> (2 * (proc)) & 3)
#define SETUP_SAME_USER		(1U << 4)
#define SETUP_USERNS		(7U << 5)	/* all of them: process 1 has its own */
#define SETUP_ONE_THREAD	(3U << 8)	/* all of them: process 1 has but one */
#define SETUP_SCRIBBLE_ARG	(3U << 10)	/* all of them: arguments are changed, too */

struct sequence {
	uint32_t setup;
	uint32_t n;
	uint32_t prologue;	/* actor 0 does these before the others start */
	uint32_t hot;		/* the last one that went where none had been */
	struct op op[MAX_OPS];
};

/* What calls of one kind of endpoint are worth trying, and how often. */
struct weight {
	uint8_t call;
	uint8_t weight;
};

static const struct weight weights_blank[] = {
	{ CALL_CREATE, 30 }, { CALL_ATTACH, 60 }, { CALL_LIST, 4 }, { CALL_QUERY, 3 },
	{ CALL_MMAP, 1 }, { CALL_POLL, 1 }, { CALL_CLOSE_FD, 1 }, { 0, 0 },
};

static const struct weight weights_owner[] = {
	{ CALL_INFO, 24 }, { CALL_MMAP, 12 }, { CALL_CLOSE, 1 }, { CALL_POLL, 10 },
	{ CALL_EPOLL_CTL, 5 }, { CALL_FDINFO, 6 }, { CALL_CLOSE_FD, 3 }, { CALL_DUP, 4 },
	{ CALL_MUNMAP, 4 }, { CALL_KERNEL_JOIN, 5 }, { CALL_PASS, 3 }, { CALL_LIST, 3 },
	{ 0, 0 },
};

static const struct weight weights_producer[] = {
	{ CALL_MOVE, 34 }, { CALL_WAIT, 10 }, { CALL_CLAIM, 18 }, { CALL_WAKE, 8 },
	{ CALL_MMAP, 7 }, { CALL_MUNMAP, 3 }, { CALL_SCRIBBLE, 7 }, { CALL_POLL, 5 },
	{ CALL_EPOLL_CTL, 3 }, { CALL_EPOLL_WAIT, 2 }, { CALL_INFO, 3 }, { CALL_CLOSE, 2 },
	{ CALL_CLOSE_FD, 1 }, { CALL_MREMAP, 2 }, { CALL_MPROTECT, 2 }, { CALL_NONBLOCK, 2 },
	{ CALL_DUP, 1 }, { CALL_PASS, 1 }, { CALL_SCRIBBLE_ARG, 2 }, { CALL_FORK, 1 },
	{ CALL_KERNEL_SEND, 2 }, { 0, 0 },
};

static const struct weight weights_consumer[] = {
	{ CALL_MOVE, 40 }, { CALL_WAIT, 22 }, { CALL_WAKE, 8 }, { CALL_MMAP, 7 },
	{ CALL_MUNMAP, 3 }, { CALL_SCRIBBLE, 6 }, { CALL_POLL, 8 }, { CALL_EPOLL_CTL, 3 },
	{ CALL_EPOLL_WAIT, 2 }, { CALL_INFO, 3 }, { CALL_CLOSE, 2 }, { CALL_CLOSE_FD, 1 },
	{ CALL_MREMAP, 2 }, { CALL_MPROTECT, 2 }, { CALL_NONBLOCK, 2 }, { CALL_DUP, 1 },
	{ CALL_KERNEL_SEND, 6 }, { CALL_FORK, 1 }, { CALL_SCRIBBLE_ARG, 2 }, { 0, 0 },
};

enum { SLOT_CLOSED, SLOT_BLANK, SLOT_BOUND };	/* + role */

static enum call_id weigh(uint64_t *state, const struct weight *w)
{
	unsigned int sum = 0, i, at;

	for (i = 0; w[i].weight; i++)
		sum += w[i].weight;
	at = chance(state) % sum;
	for (i = 0; at >= w[i].weight; i++)
		at -= w[i].weight;
	return w[i].call;
}

static enum call_id call_for(uint64_t *state, unsigned int slot)
{
	if (!(chance(state) % 10))
		return chance(state) % NR_CALLS;
	switch (slot) {
	case SLOT_CLOSED:
		return chance(state) % 8 ? CALL_OPEN : CALL_TAKE;
	case SLOT_BLANK:
		return weigh(state, weights_blank);
	case SLOT_BOUND + SCATTO_ROLE_PRODUCER:
		return weigh(state, weights_producer);
	case SLOT_BOUND + SCATTO_ROLE_CONSUMER:
		return weigh(state, weights_consumer);
	default:
		return weigh(state, weights_owner);
	}
}

static struct op *sequence_add(struct sequence *s, unsigned int actor, enum call_id call,
			       unsigned int slot, unsigned int other, uint32_t rnd)
{
	struct op *op = &s->op[s->n++];

	*op = (struct op){ actor, call, slot, other, rnd };
	return op;
}

static uint64_t mix(uint64_t seed, uint64_t number)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + number + 1;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (x ^ x >> 31) | 1;
}

static uint32_t random_role(uint64_t *state)
{
	static const uint8_t roles[] = {
		SCATTO_ROLE_PRODUCER, SCATTO_ROLE_PRODUCER, SCATTO_ROLE_PRODUCER,
		SCATTO_ROLE_CONSUMER, SCATTO_ROLE_CONSUMER, SCATTO_ROLE_CONSUMER,
		SCATTO_ROLE_OWNER, SCATTO_ROLE_OBSERVER,
	};

	return roles[chance(state) % ARRAY_LEN(roles)];
}

/*
 * Two channels in slots 0 and 1 and endpoints of theirs in 4 to 11, so that most
 * calls find something to work on. Slots belong to actors by their number, loosely.
 */
static void sequence_prologue(struct sequence *s, uint64_t *state, uint8_t *slots)
{
	unsigned int i, channels = 1 + chance(state) % 2;
	bool spsc[2], taken[2][SCATTO_ROLE_OBSERVER + 1] = {};

	for (i = 0; i < channels; i++) {
		uint32_t rnd = chance(state) | RND_VALID;

		spsc[i] = rnd & 1;
		sequence_add(s, 0, CALL_OPEN, i, 0, RND_VALID);
		sequence_add(s, 0, CALL_CREATE, i, 0, rnd);
		slots[i] = SLOT_BOUND + SCATTO_ROLE_OWNER;
	}
	for (i = 4; i < 12; i++) {
		unsigned int ch = chance(state) % channels;
		uint32_t role = random_role(state);

		sequence_add(s, 0, CALL_OPEN, i, 0, chance(state) | RND_VALID);
		slots[i] = SLOT_BLANK;
		if (taken[ch][role] && (spsc[ch] || role == SCATTO_ROLE_CONSUMER) &&
		    chance(state) % 8)
			continue;
		sequence_add(s, 0, CALL_ATTACH, i, ch,
			     (chance(state) & ~3U) | RND_VALID | (role - 1));
		taken[ch][role] = role <= SCATTO_ROLE_CONSUMER;
		slots[i] = SLOT_BOUND + role;
	}
	s->prologue = s->n;
	for (i = 4; i < 12; i++)
		if (slots[i] > SLOT_BOUND)
			sequence_add(s, i % NR_ACTORS, CALL_MMAP, i, 0, RND_VALID);
}

static void sequence_make(struct sequence *s, uint64_t seed, uint64_t number)
{
	uint64_t state = mix(seed, number);
	uint8_t slots[NR_SLOTS] = {};
	unsigned int n, forks = 0, kills = 0;

	memset(s, 0, sizeof(*s));
	s->setup = chance(&state);
	n = MAX_OPS / 4 + chance(&state) % (MAX_OPS * 3 / 4);
	sequence_prologue(s, &state, slots);
	while (s->n < n - 1) {
		unsigned int actor = chance(&state) % NR_ACTORS;
		unsigned int slot = chance(&state) % NR_SLOTS;
		unsigned int other = chance(&state) % NR_SLOTS;
		uint32_t rnd = chance(&state);
		enum call_id call;

		if (chance(&state) % 8)
			slot = slot / NR_ACTORS * NR_ACTORS + actor;
		call = call_for(&state, slots[slot]);
		/* These end much, or cost much. */
		if ((call == CALL_FORK && ++forks > 1) ||
		    (call == CALL_KILL && (s->n < n / 2 || chance(&state) % 2 || ++kills > 1)))
			continue;
		switch (call) {
		case CALL_OPEN:
			slots[slot] = SLOT_BLANK;
			break;
		case CALL_CREATE:
			if (slots[slot] == SLOT_BLANK)
				slots[slot] = SLOT_BOUND + SCATTO_ROLE_OWNER;
			break;
		case CALL_ATTACH:
			rnd = (rnd & ~3U) | (random_role(&state) - 1);
			if (chance(&state) % 4)
				other = chance(&state) % 2;
			if (slots[slot] != SLOT_BLANK)
				break;
			slots[slot] = SLOT_BOUND + (rnd & 3) + 1;
			sequence_add(s, actor, call, slot, other, rnd);
			call = CALL_MMAP;
			break;
		case CALL_CLOSE_FD:
			slots[slot] = SLOT_CLOSED;
			break;
		case CALL_DUP:
			slots[slot] = slots[other];
			break;
		default:
			break;
		}
		sequence_add(s, actor, call, slot, other, rnd);
	}
}

/* @s with what led @from to something new, somewhere. */
static void sequence_enrich(struct sequence *s, const struct sequence *from, uint64_t *state)
{
	unsigned int n = 4 + chance(state) % 28, at;

	if (n > from->hot + 1)
		n = from->hot + 1;
	if (s->prologue + n >= s->n)
		return;
	at = s->prologue + chance(state) % (s->n - s->prologue - n);
	memcpy(&s->op[at], &from->op[from->hot + 1 - n], n * sizeof(s->op[0]));
}

/* One that is like @from, with something of @with. */
static void sequence_mutate(struct sequence *s, const struct sequence *from,
			    const struct sequence *with, uint64_t *state)
{
	unsigned int times = 1 + chance(state) % 8, at, n;

	*s = *from;
	while (times--) {
		at = chance(state) % s->n;
		switch (chance(state) % 6) {
		case 0:
			s->op[at].rnd = chance(state);
			break;
		case 1:
			s->op[at].rnd ^= 1U << chance(state) % 32;
			break;
		case 2:
			s->op[at].call = chance(state) % NR_CALLS;
			break;
		case 3:
			s->op[at].actor = chance(state) % NR_ACTORS;
			s->op[at].slot = chance(state) % NR_SLOTS;
			break;
		case 4:
			if (s->n > 16 && at >= s->prologue) {
				memmove(&s->op[at], &s->op[at + 1],
					(s->n - at - 1) * sizeof(s->op[0]));
				s->n--;
			}
			break;
		default:
			n = 1 + chance(state) % 32;
			if (n > with->n)
				n = with->n;
			if (at + n > MAX_OPS)
				n = MAX_OPS - at;
			memcpy(&s->op[at], &with->op[chance(state) % (with->n - n + 1)],
			       n * sizeof(s->op[0]));
			if (s->n < at + n)
				s->n = at + n;
		}
	}
	if (!(chance(state) % 8))
		s->setup = chance(state);
}

/* As text, one line each, for --replay */

static void sequence_print(FILE *to, const char *before, const struct sequence *s)
{
	unsigned int i;

	fprintf(to, "%ssetup %x %u\n", before, s->setup, s->prologue);
	for (i = 0; i < s->n; i++)
		fprintf(to, "%s%u %s %u %u %x\n", before, s->op[i].actor,
			call_names[s->op[i].call], s->op[i].slot, s->op[i].other,
			s->op[i].rnd);
}

static int sequence_read(FILE *from, struct sequence *s)
{
	char line[128], name[32];
	unsigned int actor, slot, other, rnd, call;

	memset(s, 0, sizeof(*s));
	while (fgets(line, sizeof(line), from)) {
		const char *at = line + strspn(line, "# ");

		if (sscanf(at, "setup %x %u", &s->setup, &s->prologue) == 2)
			continue;
		if (sscanf(at, "%u %31s %u %u %x", &actor, name, &slot, &other, &rnd) != 5)
			continue;
		for (call = 0; call < NR_CALLS && strcmp(name, call_names[call]); call++)
			;
		if (call == NR_CALLS || actor >= NR_ACTORS || slot >= NR_SLOTS ||
		    other >= NR_SLOTS || s->n == MAX_OPS)
			return -EINVAL;
		sequence_add(s, actor, call, slot, other, rnd);
	}
	return s->n && s->prologue <= s->n ? 0 : -EINVAL;
}

#endif /* SELFTESTS_FUZZ_SEQUENCE_H */
