/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/scatto_test: how the tests drive the in-kernel API through
 * scatto_test.ko. Not an ABI: both sides are built from the same tree.
 */
#ifndef SELFTESTS_KMOD_SCATTO_TEST_H
#define SELFTESTS_KMOD_SCATTO_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ST_MAX_CHANNELS		8
#define ST_NAME_MAX		128

/* As struct scatto_channel_attr. Answers the number of the channel. */
struct st_create {
	char name[ST_NAME_MAX];
	__u32 no_name;			/* attr.name is NULL */
	__u32 slot_size;
	__u32 capacity;
	__u32 flags;
	__u32 mode;
	__u32 uid;
};

struct st_send {
	__u32 channel;
	__u32 len;
	__aligned_u64 data;
};

/*
 * A little program, run with one CPU held and interrupts on: reservations that
 * overlap, commits out of order. One step is a letter, a digit where it says so.
 *
 *	R0-R9	reserve into that place
 *	C0-C9	commit it
 *	D0-D9	discard it
 *	S	send
 *	N	have an NMI come on this CPU, which sends
 *	H	have a hardware interrupt come on this CPU, which sends
 *	W	wait a millisecond
 *	L	wait 50 of them
 *
 * Every reservation must be closed again: preemption is off until then.
 */
struct st_script {
	__u32 channel;
	__s32 ret;			/* out: of the last step that could fail */
	char steps[120];
};

/* Contexts that send */
enum st_context {
	ST_TASK,
	ST_SOFTIRQ,
	ST_HARDIRQ,
	ST_NMI,
	ST_NR_CONTEXTS,
};

#define ST_MAX_CPUS	8

/* What the channels of a storm carry: who sent it, and their how manieth. */
struct st_event {
	__u64 source;			/* cpu * ST_NR_CONTEXTS + context */
	__u64 nr;
	__u64 check;			/* st_check() */
	__u64 seq;			/* what scatto_reserve() said; 0 if joined */
};

static inline __u64 st_check(__u64 source, __u64 nr)
{
	return (source + 1) * 0x9e3779b97f4a7c15ULL ^ nr;
}

struct st_count {
	__u64 sent;
	__u64 discarded;
	__u64 full;			/* -ENOSPC */
	__u64 nobody;			/* -ENOTCONN */
	__u64 nested;			/* of those sent: inside an open reservation */
};

/*
 * Sends from all chosen contexts on all CPUs for a while, then reports what
 * became of it. Some events are discarded, some are sent while the
 * reservation of another one is open.
 */
struct st_storm {
	__u32 channel;
	__u32 contexts;			/* bits of enum st_context */
	__u32 ms;
	__u32 period_us;		/* of the interrupts */
	__u32 pause_us;			/* of the tasks, between events */
	__u32 cpus;			/* out */
	struct st_count count[ST_MAX_CPUS][ST_NR_CONTEXTS];	/* out */
};

/*
 * All CPUs at once reserve @each slots one after the other and commit each after
 * up to @delay steps of an empty loop: neighbours are committed in any order.
 * Answers how many were sent.
 */
struct st_volley {
	__u32 channel;
	__u32 each;
	__u32 delay;
	__u32 seed;
};

/* ST_QUERY answers these bits. */
#define ST_HAS_CONSUMER		1
#define ST_IS_CONSUMER		2	/* the caller is */
#define ST_HAS_NMI		4	/* NMIs can be had here */

#define ST_IOC_CREATE	_IOW('S', 1, struct st_create)
#define ST_IOC_DESTROY	_IO('S', 2)
#define ST_IOC_SEND	_IOW('S', 3, struct st_send)
#define ST_IOC_SCRIPT	_IOWR('S', 4, struct st_script)
#define ST_IOC_STORM	_IOWR('S', 5, struct st_storm)
#define ST_IOC_VOLLEY	_IOW('S', 6, struct st_volley)
#define ST_IOC_QUERY	_IO('S', 7)
/* An owner's fd of a user's channel. Answers a number, for SEND, STORM, DESTROY. */
#define ST_IOC_JOIN	_IO('S', 8)

#endif /* SELFTESTS_KMOD_SCATTO_TEST_H */
