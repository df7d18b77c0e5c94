/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/scatto_bench: fires the tracepoint scatto_bench_event, and attaches those probes
 * to it that are in the module. Not an ABI: both sides are built from the same tree.
 */
#ifndef SELFTESTS_BENCH_SCATTO_BENCH_H
#define SELFTESTS_BENCH_SCATTO_BENCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SB_CHANNEL	"bench"

/* Of a record. Fixed when it is compiled, so that all write it as well as they can. */
#ifndef SB_WORDS
#define SB_WORDS	8
#endif

/* What every probe records of event @seq, and every consumer checks. */
struct sb_record {
	__u64 word[SB_WORDS];
};

static inline void sb_fill(struct sb_record *to, __u64 seq)
{
	int i;

#pragma GCC unroll 8
	for (i = 0; i < SB_WORDS; i++)
		to->word[i] = seq + i;
}

static inline int sb_is_valid(const struct sb_record *record)
{
	return record->word[SB_WORDS - 1] == record->word[0] + SB_WORDS - 1;
}

enum sb_probe {
	SB_NONE,
	SB_EMPTY,		/* does nothing */
	SB_SCATTO,		/* scatto_reserve(), scatto_commit() */
	SB_SCATTO_SEND,		/* scatto_send() */
	SB_RELAY,		/* relay_write() */
};

/* Instead of the one before. EOPNOTSUPP: this kernel cannot. */
struct sb_attach {
	__u32 probe;
	__u32 slots;		/* that the channel or buffer holds */
};

/* Events @first to below @first + @count, @gap_ns apart or as fast as it goes. */
struct sb_fire {
	__aligned_u64 first;
	__aligned_u64 count;
	__aligned_u64 gap_ns;
	__aligned_u64 ns;	/* out: how long it took */
};

#define SB_IOC_ATTACH	_IOW('B', 0, struct sb_attach)
#define SB_IOC_FIRE	_IOWR('B', 1, struct sb_fire)

#endif /* SELFTESTS_BENCH_SCATTO_BENCH_H */
