/* SPDX-License-Identifier: GPL-2.0-only */
/* Attacks: every word of shared memory that the role can write, forged. */
#ifndef SELFTESTS_ATTACK_WORDS_H
#define SELFTESTS_ATTACK_WORDS_H

#include "attack.h"

enum attack_word {
	WORD_PUBLISHED,
	WORD_CLAIMED,
	WORD_INTENT_LO,
	WORD_INTENT_HI,
	WORD_THEIR_INTENT,	/* of all the other producers */
	WORD_STAMP,
	WORD_SLOT,
	WORD_CURSOR,
	WORD_SKIPPED,
	WORD_ANY,		/* anywhere in what the role can write */
	NR_WORDS,
};

static const char * const word_names[] = {
	"published", "claimed", "intent-lo", "intent-hi", "their-intents", "stamp",
	"slot", "cursor", "skipped", "anything",
};

enum attack_value {
	VALUE_0,
	VALUE_MAX,
	VALUE_ONE_MORE,
	VALUE_ONE_LESS,
	VALUE_LAP_MORE,
	VALUE_LAP_LESS,
	VALUE_RANDOM,
	VALUE_FLIP,		/* all of these, as fast as it can */
	NR_VALUES,
	VALUE_TOMBSTONE = NR_VALUES,	/* of stamps only, these */
	VALUE_LONG_RUN,
	VALUE_NO_RUN,
	VALUE_MOST_LOST,
	NR_STAMP_VALUES,
};

static const char * const value_names[] = {
	"0", "max", "one-more", "one-less", "lap-more", "lap-less", "random", "flip",
	"tombstone", "run-too-long", "run-of-none", "most-lost",
};

/*
 * No random word looks like an address of the kernel, since who looks for those
 * in shared memory afterwards should find none.
 */
static uint64_t forged(int how, uint64_t was, bool stamp, uint64_t *seed)
{
	uint64_t lap = stamp ? 1 << 2 : ATTACK_CAPACITY;

	switch (how) {
	case VALUE_0:
		return 0;
	case VALUE_MAX:
		return UINT64_MAX;
	case VALUE_ONE_MORE:
		return was + 1;
	case VALUE_ONE_LESS:
		return was - 1;
	case VALUE_LAP_MORE:
		return was + lap;
	case VALUE_LAP_LESS:
		return was - lap;
	case VALUE_RANDOM:
		return chance(seed) >> 1;
	case VALUE_TOMBSTONE:
		return was | SCATTO_STAMP_TOMBSTONE;
	case VALUE_LONG_RUN:
		return was | SCATTO_STAMP_RUN | 0xffffffffULL << SCATTO_STAMP_LOST_SHIFT;
	case VALUE_NO_RUN:
		return (uint32_t)was | SCATTO_STAMP_RUN;
	case VALUE_MOST_LOST:
		return (uint32_t)was | 0xffffffffULL << SCATTO_STAMP_LOST_SHIFT;
	default:
		return forged(chance(seed) % VALUE_FLIP, was, stamp, seed);
	}
}

static volatile __u64 *any_word(struct end *end, uint64_t *seed)
{
	unsigned int region = SCATTO_REGION_CONSUMER;

	if (end->role == SCATTO_ROLE_PRODUCER)
		region = chance(seed) % 2 ? SCATTO_REGION_PRODUCER : SCATTO_REGION_DATA;
	return (volatile __u64 *)end->map[region] +
	       chance(seed) % (end->layout.region[region].size / 8);
}

static volatile __u64 *word_at(struct end *end, int word, uint64_t *seed)
{
	uint64_t near = end->layout.kind == SCATTO_KIND_SPSC ? end->prod->published :
							       end->prod->claimed;

	near += chance(seed) % 8 - 4;
	switch (word) {
	case WORD_PUBLISHED:
		return &end->prod->published;
	case WORD_CLAIMED:
		return &end->prod->claimed;
	case WORD_INTENT_LO:
		return &many_intent(end, end->index)->lo;
	case WORD_INTENT_HI:
		return &many_intent(end, end->index)->hi;
	case WORD_THEIR_INTENT:
		return &many_intent(end, chance(seed) % ATTACK_PRODUCERS)->lo;
	case WORD_STAMP:
		return many_stamp(end, near);
	case WORD_SLOT:
		return end_slot(end, near);
	case WORD_CURSOR:
		return &end->cons->cursor;
	case WORD_SKIPPED:
		return &end->cons->skipped;
	default:
		return any_word(end, seed);
	}
}

struct flipper {
	struct attacker *at;
	struct end *end;
	pthread_t thread;
	bool stop;
};

static void *flip(void *arg)
{
	struct flipper *f = arg;
	int word = f->at->a->what;
	uint64_t seed = 77;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		volatile __u64 *at = word_at(f->end, word, &seed);

		*at = forged(VALUE_FLIP, *at, word == WORD_STAMP, &seed);
		dither(&seed, 20);
	}
	return NULL;
}

/* Calls that have the kernel look at what is forged. */
static void look(struct attacker *at, struct end *end)
{
	struct pollfd pfd = { .fd = end->fd, .events = POLLIN | POLLOUT };
	struct scatto_claim claim = claim_args(2, 1, 0);
	struct scatto_info info;

	switch (chance(&at->seed) % 5) {
	case 0:
		must(at, poll(&pfd, 1, 0) >= 0);
		break;
	case 1:
		dev_wait(end->fd, chance(&at->seed) >> 1, 0);
		break;
	case 2:
		must(at, !dev_info(end->fd, &info));
		break;
	case 3:
		/* What it is granted it may or may not publish. */
		if (end->role == SCATTO_ROLE_PRODUCER && !dev_claim(end->fd, &claim) &&
		    chance(&at->seed) % 4)
			many_publish(end, claim.position, 1);
		break;
	}
	must(at, dev_wake(end->fd) >= 0);
}

/* One life of the attacker's endpoint. */
static void forge_for_a_life(struct attacker *at, struct end *end)
{
	bool stamp = at->a->what == WORD_STAMP;
	unsigned int i, life = 1 + chance(&at->seed) % 64;

	for (i = 0; i < life && attack_goes_on(at); i++) {
		volatile __u64 *word;
		uint64_t was, lie;

		attack_work(end, 8);
		word = word_at(end, at->a->what, &at->seed);
		was = *word;
		lie = forged(at->a->how, was, stamp, &at->seed);
		*word = lie;
		look(at, end);
		dither(&at->seed, 2000);
		/* Nobody works long with who only lies; but the last lie stays. */
		if (i + 1 < life && *word == lie)
			*word = was;
		attack_round(at);
	}
}

static void attack_words(struct attacker *at)
{
	struct end end;

	while (attack_open(at, &end)) {
		struct flipper f = { .at = at, .end = &end };
		bool flips = at->a->how == VALUE_FLIP &&
			     !pthread_create(&f.thread, NULL, flip, &f);

		forge_for_a_life(at, &end);
		__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
		if (flips)
			pthread_join(f.thread, NULL);
		end_drop(&end);
	}
}

/* Dies with claims of whatever there is, again and again: two words that agree. */
static void attack_claims(struct attacker *at)
{
	struct end end;

	while (attack_open(at, &end)) {
		uint64_t lie = forged(VALUE_FLIP, end.prod->claimed, false, &at->seed);

		many_intend(&end, end_cursor(&end), lie);
		end.prod->claimed = lie;
		look(at, &end);
		end_drop(&end);
		attack_round(at);
	}
}

/*
 * A producer that has nothing but tombstones to say, all of the ring and again as
 * soon as they are skipped: the consumer's calls end in time all the same.
 */
static void attack_tombstones(struct attacker *at)
{
	struct end end;
	uint64_t seq = 0;

	if (!attack_open(at, &end))
		return;
	while (attack_goes_on(at)) {
		uint64_t to = end_cursor(&end) + ATTACK_CAPACITY;

		if (to - seq > ATTACK_CAPACITY)
			seq = to - ATTACK_CAPACITY;
		for (; seq != to; seq++)
			many_put_stamp(&end, seq, SCATTO_STAMP_TOMBSTONE);
		attack_round(at);
	}
	end_drop(&end);
}

/* Which words a role writes on which kind. */
static const struct {
	int word;
	uint32_t kind;
	uint32_t role;
} forgeable[] = {
	{ WORD_PUBLISHED, SCATTO_KIND_SPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_SLOT, SCATTO_KIND_SPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_ANY, SCATTO_KIND_SPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_CURSOR, SCATTO_KIND_SPSC, SCATTO_ROLE_CONSUMER },
	{ WORD_SKIPPED, SCATTO_KIND_SPSC, SCATTO_ROLE_CONSUMER },
	{ WORD_CLAIMED, SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_INTENT_LO, SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_INTENT_HI, SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_THEIR_INTENT, SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_STAMP, SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_SLOT, SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_ANY, SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ WORD_CURSOR, SCATTO_KIND_MPSC, SCATTO_ROLE_CONSUMER },
	{ WORD_SKIPPED, SCATTO_KIND_MPSC, SCATTO_ROLE_CONSUMER },
	{ WORD_ANY, SCATTO_KIND_MPSC, SCATTO_ROLE_CONSUMER },
};

#endif /* SELFTESTS_ATTACK_WORDS_H */
