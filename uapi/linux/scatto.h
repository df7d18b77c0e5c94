/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * scatto: channels of fixed-size events in mapped rings, behind /dev/scatto.
 *
 * This file is the ABI: ioctl numbers, structures, the layout of what is
 * mapped. Documentation/uapi.rst describes each call and every errno;
 * Documentation/memory-ordering.rst argues the protocols named here.
 *
 * Every structure passed to an ioctl starts with its size. A caller built
 * against an older header passes a smaller size and gets the older meaning; a
 * newer caller on an older kernel is accepted as long as what the kernel does
 * not know is zero, and gets E2BIG otherwise. Reserved fields must be zero.
 */
#ifndef _UAPI_LINUX_SCATTO_H
#define _UAPI_LINUX_SCATTO_H

#include <linux/const.h>
#include <linux/ioctl.h>
#include <linux/types.h>

#define SCATTO_ABI_VERSION	1
#define SCATTO_MAGIC		0x74616373	/* "scat" */

/* A name: 1 to 63 bytes and the rest zero; printable ASCII without '/'. */
#define SCATTO_NAME_LEN		64

/* Each word that another CPU writes in the fast path has a line of its own. */
#define SCATTO_LINE		128

#define SCATTO_MIN_SLOT_SIZE	8
#define SCATTO_MAX_SLOT_SIZE	(1 << 20)
#define SCATTO_MIN_CAPACITY	2
#define SCATTO_MAX_CAPACITY	(1 << 30)
#define SCATTO_MAX_PRODUCERS	1024	/* kind MPSC; 64 unless asked for */

/**
 * enum scatto_kind - how a channel is coordinated
 * @SCATTO_KIND_SPSC: one producer, one consumer; slots are published by
 *	moving &scatto_producer_area.published
 * @SCATTO_KIND_MPSC: many producers, one consumer; slots are claimed by moving
 *	&scatto_producer_area.claimed and published by stamping each of them.
 *	The order of events is the order of claims. Channels whose producer is
 *	the kernel are of this kind.
 */
enum scatto_kind {
	SCATTO_KIND_SPSC	= 1,
	SCATTO_KIND_MPSC	= 2,
};

/**
 * enum scatto_role - what an endpoint may do
 * @SCATTO_ROLE_OWNER: keeps the channel alive, may close it and admit others;
 *	maps everything read-only
 * @SCATTO_ROLE_PRODUCER: writes the producer area and the data
 * @SCATTO_ROLE_CONSUMER: writes its own consumer page, nothing else
 * @SCATTO_ROLE_OBSERVER: maps everything read-only
 */
enum scatto_role {
	SCATTO_ROLE_OWNER	= 1,
	SCATTO_ROLE_PRODUCER	= 2,
	SCATTO_ROLE_CONSUMER	= 3,
	SCATTO_ROLE_OBSERVER	= 4,
};

/*
 * Flags of a channel. The first group is chosen at creation, the second (from
 * bit 16 on) is set by the kernel and only ever reported: who maps a channel
 * must know each flag of that group that it finds set, or keep off.
 */
/* The absence of the last peer pauses the stream instead of ending it. */
#define SCATTO_F_PAUSE		_BITUL(0)
/*
 * The kernel may produce beside the user's producers (kind MPSC). Nothing that
 * such a channel holds is more than a user's word, the kernel's events included.
 */
#define SCATTO_F_SHARED		_BITUL(1)
#define SCATTO_F_CREATE		(SCATTO_F_PAUSE | SCATTO_F_SHARED)

/* The kernel is the only producer. */
#define SCATTO_F_KERNEL		_BITUL(16)
/*
 * Publishers (and consumers that release) need a full barrier between their
 * position and the wake word: the sleeper's kernel cannot supply it by
 * interrupting the CPUs that run the other side.
 */
#define SCATTO_F_FENCE		_BITUL(17)
#define SCATTO_F_MUST_KNOW	0xffff0000UL

/* Features of the running module, see SCATTO_IOC_QUERY. */
#define SCATTO_FEATURE_SPSC	_BITULL(0)	/* kind SPSC can be created */
#define SCATTO_FEATURE_MPSC	_BITULL(1)	/* kind MPSC can be created */
#define SCATTO_FEATURE_REPAIR	_BITULL(2)	/* a death is noticed and repaired */
#define SCATTO_FEATURE_RIGHTS	_BITULL(3)	/* rights enforced by the page tables */
#define SCATTO_FEATURE_CLAIM	_BITULL(4)	/* SCATTO_IOC_CLAIM works */
#define SCATTO_FEATURE_SEEK	_BITULL(5)	/* lseek(2) waits and wakes */

/*
 * Mapped layout. A channel has four regions; SCATTO_IOC_ATTACH and
 * SCATTO_IOC_INFO report the offset and size to mmap each with. All positions
 * are 64-bit counts of events since the channel was created; they never wrap
 * in practice (500 years at 1 GHz), and are loaded and stored with one 64-bit
 * access, by 32-bit callers too. Event number seq lives in slot
 * seq & (capacity - 1).
 */

/* A wake word at rest: no position reaches it. */
#define SCATTO_WAKE_IDLE	(~0ULL)
/* A stream that goes on: no position reaches its end. */
#define SCATTO_END_OPEN		(~0ULL)

/* Bits of &scatto_channel_area.state */
#define SCATTO_STATE_CLOSED	_BITUL(0)	/* closed by SCATTO_IOC_CLOSE of an owner */
#define SCATTO_STATE_NO_CONSUMER _BITUL(1)	/* the last consumer has gone for good */
#define SCATTO_STATE_NO_PRODUCER _BITUL(2)	/* the last producer has gone for good */
/* Nobody will read what is sent from now on. */
#define SCATTO_STATE_SEND_EPIPE	(SCATTO_STATE_CLOSED | SCATTO_STATE_NO_CONSUMER)

/**
 * struct scatto_channel_area - region "channel", written by the kernel alone
 *
 * Nobody can map it writable, so it is the one region that each side may
 * believe. (On the library's local backend, where nothing is enforced, its
 * users write it by the same rules.)
 */
struct scatto_channel_area {
	/* Immutable once the channel exists. */
	__u32 magic;		/* SCATTO_MAGIC */
	__u32 abi;		/* SCATTO_ABI_VERSION */
	__u32 kind;		/* enum scatto_kind */
	__u32 flags;		/* SCATTO_F_* */
	__u32 slot_size;	/* bytes of an event */
	__u32 slot_stride;	/* bytes from slot to slot */
	__aligned_u64 capacity;	/* slots, a power of two */
	__aligned_u64 id;
	__u8 __pad0[SCATTO_LINE - 40];

	/*
	 * data_wake: the position at which somebody who waits for data wants
	 * a SCATTO_IOC_WAKE; SCATTO_WAKE_IDLE when nobody does; 0 when the
	 * consumer has gone, so that publishers come and see.
	 * Written under the wait queue's lock, read by producers (relaxed)
	 * after they have published. Pairs: the sleeper arms it, makes the
	 * other side's CPUs execute a full barrier, and looks at the position
	 * again; the publisher stores its position and then loads this word,
	 * in that order (a compiler barrier is enough unless SCATTO_F_FENCE).
	 */
	__aligned_u64 data_wake;
	__u8 __pad1[SCATTO_LINE - 8];

	/*
	 * space_wake: the same in the other direction: the cursor at which
	 * somebody who waits for space wants a SCATTO_IOC_WAKE. Read by the
	 * consumer after it has released.
	 */
	__aligned_u64 space_wake;
	__u8 __pad2[SCATTO_LINE - 8];

	/*
	 * end: the position at which consumers stop; SCATTO_END_OPEN while the
	 * stream goes on. Written once. Store-release after every slot below
	 * it is final; consumers load it (acquire) when they find nothing to
	 * read and then look once more.
	 * state: SCATTO_STATE_*, bits are only ever added; store-release
	 * before the wake word becomes 0, load-acquire in the slow paths.
	 * producers, consumers: attached endpoints, for information.
	 * claimers: callers of SCATTO_IOC_CLAIM that wait. While it is not 0
	 * nobody claims in user space, so that the queue is not overtaken for
	 * ever. Written under the space side's lock, read by producers
	 * (relaxed) before they claim; it orders nothing: who has just missed
	 * it overtakes once.
	 */
	__aligned_u64 end;
	__u32 state;
	__u32 producers;
	__u32 consumers;
	__u32 claimers;
	__u8 __pad3[SCATTO_LINE - 24];

	/* Totals, for information; relaxed. */
	__aligned_u64 dropped;		/* events the kernel had no room for */
	__aligned_u64 tombstones;	/* claimed slots that will never hold an event */
	__u8 __pad4[SCATTO_LINE - 16];
};

/**
 * struct scatto_producer_area - region "producer", written by producers
 *
 * On a channel of the kernel's it is read-only for everybody and unused: the
 * kernel keeps its claim cursor to itself.
 */
struct scatto_producer_area {
	/*
	 * SPSC: the number of events published. Written by the producer,
	 * store-release after the slots below it; load-acquire by the consumer
	 * before it reads them. Also what a successor starts from.
	 */
	__aligned_u64 published;
	__u8 __pad0[SCATTO_LINE - 8];

	/*
	 * MPSC: the number of slots claimed; the next to claim. Written by
	 * producers, and by the kernel for SCATTO_IOC_CLAIM, by
	 * compare-and-exchange only (acquire and release: whoever sees the
	 * claim sees the claimer's intent); stored by the kernel when no
	 * producer is left. Load-acquire by the kernel's repair before it looks
	 * at intents.
	 */
	__aligned_u64 claimed;
	__u8 __pad1[SCATTO_LINE - 8];
};

/**
 * struct scatto_intent - MPSC: what one producer is about to claim
 *
 * Producer i's is at &scatto_layout.intent_offset + i *
 * &scatto_layout.intent_stride of region "producer". Written by producer i
 * before each try to move &scatto_producer_area.claimed from @lo to @hi: @hi,
 * then @lo, both store-release, so that neither is seen before the stamps of
 * the claim before. It stays until the next try, but for a try that did not
 * win: after the last of those it is cleared (@lo = SCATTO_INTENT_NONE,
 * store-release) before the producer does anything else. Read by the kernel
 * (acquire) when a producer has died: see Documentation/memory-ordering.rst.
 */
struct scatto_intent {
	__aligned_u64 lo;
	__aligned_u64 hi;
	__u8 __pad0[SCATTO_LINE - 16];
};

/* No position is as high. */
#define SCATTO_INTENT_NONE	(~0ULL)

/**
 * struct scatto_consumer_area - the page of one consumer, written by it alone
 *
 * Consumer i's page starts i * &scatto_layout.consumer_stride into the region.
 */
struct scatto_consumer_area {
	/*
	 * The number of events consumed: all slots below may be written again.
	 * Written by the consumer, store-release after its last look at them;
	 * load-acquire by producers before they write. A successor starts here.
	 */
	__aligned_u64 cursor;
	__u8 __pad0[SCATTO_LINE - 8];

	/* Tombstones skipped so far, for information; relaxed. */
	__aligned_u64 skipped;
	__u8 __pad1[SCATTO_LINE - 8];
};

/*
 * MPSC: one 64-bit stamp per slot, at &scatto_layout.stamp_offset in region
 * "data". Stored once per lap by whoever claimed the slot (or by the kernel,
 * compare-and-exchange, when that one is dead), store-release after the payload;
 * load-acquire by the consumer before it reads the payload. The slot holds event
 * seq when the lap bits equal those of SCATTO_STAMP(seq): the consumer compares
 * for equality, since before it the slot can only hold the stamp of the lap
 * before (a wrap of the lap bits needs no special care).
 *
 *  63            32 31          2  1  0
 * |  lost, or run  |  lap         | R | T |
 *
 * lap:    (seq / capacity + 1), modulo 2^30; 0 only before the first lap and
 *         after a wrap
 * T:      tombstone: no event here, skip it
 * R:      run: the upper half counts events published together, this one
 *         included: the stamps of the others were stored before this one and
 *         need no look. Never with T. A hint: it may be ignored
 * lost:   without R: events lost just before this one (saturates at 2^32 - 1);
 *         what a tombstone says was lost counts for the event after it. Where
 *         several claim at the same time, exact up to the order among them
 */
#define SCATTO_STAMP_TOMBSTONE	_BITULL(0)
#define SCATTO_STAMP_RUN	_BITULL(1)
#define SCATTO_STAMP_LAP	0xfffffffcULL
#define SCATTO_STAMP_LOST_SHIFT	32

/**
 * enum scatto_region_id - index into &scatto_layout.region
 */
enum scatto_region_id {
	SCATTO_REGION_CHANNEL	= 0,
	SCATTO_REGION_PRODUCER	= 1,
	SCATTO_REGION_CONSUMER	= 2,	/* a consumer: its own page; others: all */
	SCATTO_REGION_DATA	= 3,
	SCATTO_NR_REGIONS	= 4,
};

/**
 * struct scatto_region - how to mmap one region, as seen by one endpoint
 * @offset: file offset to pass to mmap
 * @size: length to pass to mmap; offset and size must be exactly these
 * @writable: 1 when this endpoint may map it with PROT_WRITE
 * @reserved: zero
 */
struct scatto_region {
	__aligned_u64 offset;
	__aligned_u64 size;
	__u32 writable;
	__u32 reserved;
};

/**
 * struct scatto_layout - geometry of a channel
 * @kind: enum scatto_kind
 * @flags: SCATTO_F_*
 * @slot_size: bytes of an event
 * @slot_stride: bytes from slot to slot; @slot_size rounded up to 8
 * @capacity: slots, a power of two
 * @consumer_stride: bytes from consumer page to consumer page
 * @max_producers: producers that can be attached at once
 * @max_consumers: consumers that can be attached at once
 * @intent_stride: bytes from intent to intent (MPSC only)
 * @stamp_offset: of the first stamp in region "data"; stamps are 8 bytes apart
 *	(MPSC only)
 * @slot_offset: of the first slot in region "data"
 * @region: the regions, by enum scatto_region_id
 * @intent_offset: of the first &struct scatto_intent in region "producer"
 *	(MPSC only; 0 where the kernel is the only producer)
 */
struct scatto_layout {
	__u32 kind;
	__u32 flags;
	__u32 slot_size;
	__u32 slot_stride;
	__aligned_u64 capacity;
	__u32 consumer_stride;
	__u32 max_producers;
	__u32 max_consumers;
	__u32 intent_stride;
	__aligned_u64 stamp_offset;
	__aligned_u64 slot_offset;
	struct scatto_region region[SCATTO_NR_REGIONS];
	__aligned_u64 intent_offset;
	__aligned_u64 reserved[11];
};

/**
 * struct scatto_query - SCATTO_IOC_QUERY, on any open of /dev/scatto
 * @size: sizeof(struct scatto_query)
 * @abi: out: SCATTO_ABI_VERSION of the module
 * @features: out: SCATTO_FEATURE_*
 * @max_channel_bytes: out: limit of one channel, all regions together
 * @max_user_bytes: out: limit of all channels of one user
 * @max_user_channels: out: limit of the number of channels of one user
 */
struct scatto_query {
	__u32 size;
	__u32 abi;
	__aligned_u64 features;
	__aligned_u64 max_channel_bytes;
	__aligned_u64 max_user_bytes;
	__aligned_u64 max_user_channels;
};

/**
 * struct scatto_create - SCATTO_IOC_CREATE, binds an open as the owner
 * @size: sizeof(struct scatto_create)
 * @kind: enum scatto_kind
 * @flags: of SCATTO_F_CREATE
 * @slot_size: bytes of an event
 * @capacity: slots, a power of two
 * @max_producers: 0 for the kind's default; more than one on kind MPSC, up to
 *	SCATTO_MAX_PRODUCERS
 * @max_consumers: 0 for the kind's default
 * @mode: permission bits of the name (of 0666); 0 without a name. Read admits
 *	consumers and observers, write admits producers
 * @reserved0: zero
 * @name: all zero for a channel without a name
 * @id: out: number of the channel, never used again
 */
struct scatto_create {
	__u32 size;
	__u32 kind;
	__u32 flags;
	__u32 slot_size;
	__aligned_u64 capacity;
	__u32 max_producers;
	__u32 max_consumers;
	__u32 mode;
	__u32 reserved0;
	char name[SCATTO_NAME_LEN];
	__aligned_u64 id;
};

/**
 * struct scatto_attach - SCATTO_IOC_ATTACH, binds an open to a role
 * @size: sizeof(struct scatto_attach)
 * @role: enum scatto_role
 * @flags: zero
 * @channel_fd: an endpoint of the channel, or -1 to use @name. An owner's
 *	admits to every role, any other only as an observer
 * @name: all zero when @channel_fd is used
 * @index: out: number among the producers or consumers
 * @reserved0: zero
 * @position: out: where this endpoint starts: a producer, the next event to
 *	publish; a consumer, the next to read
 * @layout: out
 */
struct scatto_attach {
	__u32 size;
	__u32 role;
	__u32 flags;
	__s32 channel_fd;
	char name[SCATTO_NAME_LEN];
	__u32 index;
	__u32 reserved0;
	__aligned_u64 position;
	struct scatto_layout layout;
};

/**
 * struct scatto_wait - SCATTO_IOC_WAIT: a consumer waits for data, a producer
 *	for space
 * @size: sizeof(struct scatto_wait)
 * @flags: SCATTO_WAIT_*
 * @want: a consumer: the position that must have been published; a producer:
 *	the cursor the consumer must have reached. On kind MPSC nobody waits for
 *	more than SCATTO_WAIT_MOST events beyond the cursor: WAIT comes back then
 * @enough: with SCATTO_WAIT_ENOUGH, the position that is enough when the other
 *	side sleeps too (two thresholds could wait for each other for ever);
 *	at most @want. Else zero.
 * @deadline: with SCATTO_WAIT_DEADLINE, absolute CLOCK_MONOTONIC nanoseconds
 *	(of the caller's time namespace). Else zero.
 * @wake_fd: with SCATTO_WAIT_WAKE, a producer or consumer endpoint whose other
 *	side is woken first, as SCATTO_IOC_WAKE would. Else zero.
 * @reserved0: zero
 */
struct scatto_wait {
	__u32 size;
	__u32 flags;
	__aligned_u64 want;
	__aligned_u64 enough;
	__aligned_u64 deadline;
	__s32 wake_fd;
	__u32 reserved0;
};

#define SCATTO_WAIT_MOST	4096

#define SCATTO_WAIT_ENOUGH	_BITUL(0)
#define SCATTO_WAIT_DEADLINE	_BITUL(1)
#define SCATTO_WAIT_WAKE	_BITUL(2)

/**
 * struct scatto_claim - SCATTO_IOC_CLAIM, on a producer of kind MPSC: waits for
 *	free slots and claims them, in one call
 * @size: sizeof(struct scatto_claim)
 * @flags: SCATTO_CLAIM_*
 * @count: slots wanted, 1 to the capacity
 * @least: slots that do at @deadline, or at once on an endpoint that does not
 *	block; at most @count. 0 for @count
 * @deadline: with SCATTO_CLAIM_DEADLINE, absolute CLOCK_MONOTONIC nanoseconds
 *	(of the caller's time namespace). Else zero.
 * @position: out, zero on input: the first slot claimed
 * @granted: out, zero on input: number of slots claimed
 * @reserved0: zero
 *
 * First come, first served. The caller publishes by stamping the slots, as after
 * a claim of its own; it needs no intent, the kernel remembers. The next CLAIM is
 * EBUSY until each slot of this one is stamped.
 */
struct scatto_claim {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 least;
	__aligned_u64 deadline;
	__aligned_u64 position;
	__u32 granted;
	__u32 reserved0;
};

#define SCATTO_CLAIM_DEADLINE	_BITUL(0)

/**
 * struct scatto_info - SCATTO_IOC_INFO, on any bound endpoint. All but @size
 *	is out and zero on input
 * @size: sizeof(struct scatto_info)
 * @role: out: enum scatto_role of this endpoint
 * @index: out: its number among the producers or consumers
 * @state: out: SCATTO_STATE_*
 * @id: out: number of the channel
 * @position: out: where this endpoint started
 * @name: out: all zero without a name
 * @mode: out: permission bits of the name
 * @uid: out: owner, in the caller's user namespace
 * @gid: out: group, in the caller's user namespace
 * @producers: out: attached producers
 * @consumers: out: attached consumers
 * @observers: out: attached observers and owners
 * @bytes: out: memory charged for the channel
 * @published: out: events published (MPSC: slots claimed)
 * @consumed: out: events consumed and released
 * @end: out: position at which the stream ends, or SCATTO_END_OPEN
 * @dropped: out: events for which there was no room
 * @tombstones: out: claimed slots that will never hold an event
 * @data_sleeps: out: times somebody went to sleep for data
 * @data_wakes: out: times a sleeper for data was woken by a publisher
 * @space_sleeps: out: times somebody went to sleep for space
 * @space_wakes: out: times a sleeper for space was woken by a consumer
 * @layout: out
 * @skipped: out: tombstones that the consumer says it has skipped; those of
 *	aborted claims included, which the kernel does not count
 * @repairs: out: producers that left claims behind which had to be repaired
 * @repair_from: out: the claims of dead producers that are not decided yet lie
 *	from here...
 * @repair_to: out: ...to below here; both 0 when there are none
 * @claims: out: claims granted by SCATTO_IOC_CLAIM
 * @claimers: out: callers of SCATTO_IOC_CLAIM that wait
 */
struct scatto_info {
	__u32 size;
	__u32 role;
	__u32 index;
	__u32 state;
	__aligned_u64 id;
	__aligned_u64 position;
	char name[SCATTO_NAME_LEN];
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 producers;
	__u32 consumers;
	__u32 observers;
	__aligned_u64 bytes;
	__aligned_u64 published;
	__aligned_u64 consumed;
	__aligned_u64 end;
	__aligned_u64 dropped;
	__aligned_u64 tombstones;
	__aligned_u64 data_sleeps;
	__aligned_u64 data_wakes;
	__aligned_u64 space_sleeps;
	__aligned_u64 space_wakes;
	struct scatto_layout layout;
	__aligned_u64 skipped;
	__aligned_u64 repairs;
	__aligned_u64 repair_from;
	__aligned_u64 repair_to;
	__aligned_u64 claims;
	__u32 claimers;
	__u32 reserved0;
};

/**
 * struct scatto_list - SCATTO_IOC_LIST, on any open: walks the named channels
 *	of the caller's user namespace
 * @size: sizeof(struct scatto_list)
 * @flags: zero
 * @id: in: 0, or the id of the channel before; out: the next channel's.
 *	ENOENT at the end
 * @name: out, as all below: zero on input
 * @mode: out: permission bits
 * @uid: out: owner, in the caller's user namespace
 * @gid: out: group, in the caller's user namespace
 * @kind: out: enum scatto_kind
 * @chan_flags: out: SCATTO_F_*
 * @slot_size: out: bytes of an event
 * @capacity: out: slots
 */
struct scatto_list {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	char name[SCATTO_NAME_LEN];
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 kind;
	__u32 chan_flags;
	__u32 slot_size;
	__aligned_u64 capacity;
};

/* Sizes in the first version of the ABI: the least that is accepted. */
#define SCATTO_QUERY_SIZE_VER0	40
#define SCATTO_LIST_SIZE_VER0	112
#define SCATTO_CREATE_SIZE_VER0	112
#define SCATTO_ATTACH_SIZE_VER0	344
#define SCATTO_INFO_SIZE_VER0	448
#define SCATTO_WAIT_SIZE_VER0	40
#define SCATTO_CLAIM_SIZE_VER0	40

#define SCATTO_IOC_MAGIC	0xdc

/* On any open of /dev/scatto */
#define SCATTO_IOC_QUERY	_IO(SCATTO_IOC_MAGIC, 0x00)
#define SCATTO_IOC_LIST		_IO(SCATTO_IOC_MAGIC, 0x01)
/* On an open that is not bound yet */
#define SCATTO_IOC_CREATE	_IO(SCATTO_IOC_MAGIC, 0x10)
#define SCATTO_IOC_ATTACH	_IO(SCATTO_IOC_MAGIC, 0x11)
/* On every endpoint */
#define SCATTO_IOC_INFO		_IO(SCATTO_IOC_MAGIC, 0x20)
/*
 * CLOSE: no argument (0). A producer or consumer leaves its role at once; an
 * owner closes the channel for all.
 */
#define SCATTO_IOC_CLOSE	_IO(SCATTO_IOC_MAGIC, 0x21)
/* On producers and consumers */
#define SCATTO_IOC_WAIT		_IO(SCATTO_IOC_MAGIC, 0x30)
/* WAKE: no argument (0). Looks again at who of the other side can go on. */
#define SCATTO_IOC_WAKE		_IO(SCATTO_IOC_MAGIC, 0x31)
/*
 * WAIT and WAKE in short, by lseek(2) (_llseek(2) of 32-bit processes), without
 * thresholds and deadlines. They return what the ioctls return; for errors of
 * their own see uapi.rst.
 *	consumer: (fd, want, SEEK_DATA)	WAIT	(fd, 0, SEEK_HOLE)	WAKE
 *	producer: (fd, want, SEEK_HOLE)	WAIT	(fd, 0, SEEK_DATA)	WAKE
 *	consumer: (fd, SCATTO_SEEK(want, wake_fd), SEEK_END)	WAIT with wake_fd
 */
#define SCATTO_SEEK(want, wake_fd) \
	((__s64)(((__u64)(__u32)(wake_fd) + 1) << 32 | (__u32)(want)))
/* On producers */
#define SCATTO_IOC_CLAIM	_IO(SCATTO_IOC_MAGIC, 0x40)

#endif /* _UAPI_LINUX_SCATTO_H */
