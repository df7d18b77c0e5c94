/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The local backend's own words. They live in the padding of region "channel",
 * behind struct scatto_channel_area, and are no part of the module's ABI.
 *
 * Offsets in the memfd: channel 0, producer 1, consumer 2, data 3 (pages).
 */
#ifndef _LIBSCATTO_LOCAL_H
#define _LIBSCATTO_LOCAL_H

#include <scatto.h>

#define LOCAL_MAGIC	0x6c6f6373	/* "scol" */
#define LOCAL_VERSION	2
#define LOCAL_OFFSET	2048

/**
 * struct scatto_local_side - those who wait for one thing: data, or space
 * @seq: the futex; changes with every wake-up
 * @sleepers: threads that sleep or are about to
 * @sleeps: times somebody went to sleep
 * @wakes: times somebody was told to wake up
 */
struct scatto_local_side {
	__u32 seq;
	__u32 sleepers;
	__aligned_u64 sleeps;
	__aligned_u64 wakes;
	__u8 __pad[SCATTO_LINE - 24];
};

/* Producers attached (kind MPSC), or this once the last one has ended the stream. */
#define LOCAL_OVER	0x80000000U

/**
 * struct scatto_local - at LOCAL_OFFSET in region "channel"
 * @magic: LOCAL_MAGIC
 * @version: LOCAL_VERSION
 * @max_producers: that can be attached at once
 * @entered: kind MPSC: producers that are attached, or LOCAL_OVER
 * @places: kind MPSC: a bit for each place of a producer, set while it is taken
 * @data: consumers
 * @space: producers
 */
struct scatto_local {
	__u32 magic;
	__u32 version;
	__u32 max_producers;
	__u32 entered;
	__u8 __pad[SCATTO_LINE - 16];
	__aligned_u64 places[SCATTO_MAX_PRODUCERS / 64];
	struct scatto_local_side data;
	struct scatto_local_side space;
};

#endif /* _LIBSCATTO_LOCAL_H */
