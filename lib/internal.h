/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Shared by the files of the library.
 *
 * A channel handle, a producer, a consumer and an observer each own one
 * struct __scatto_endpoint: a file descriptor, what is mapped through it and
 * the backend that knows how to wait, wake and leave. The inline functions of
 * the public header see it only as a pointer.
 *
 * Who calls whom: endpoint.c (public life cycle) -> kernel.c, local.c
 * (backends) <- wait.c (strategies, slow paths). consumer.c and observer.c
 * read shared memory only.
 */
#ifndef _LIBSCATTO_INTERNAL_H
#define _LIBSCATTO_INTERNAL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <scatto.h>

struct scatto_local;

/**
 * struct sleep_req - what somebody wants to sleep for
 * @want: position that must be reached
 * @enough: position that does when the other side sleeps as well; == @want for
 *	a wait that must not come back with less
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 * @wake: endpoint whose other side is woken first, or NULL
 * @reached: has the position been reached?
 * @arg: for @reached
 */
struct sleep_req {
	uint64_t want;
	uint64_t enough;
	uint64_t deadline;
	const struct __scatto_endpoint *wake;
	bool (*reached)(void *arg, uint64_t pos);
	void *arg;
};

/**
 * struct claim_req - a claim that waits
 * @count: slots wanted
 * @least: slots that do at the deadline
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 * @position: out: the first one
 * @granted: out: how many
 */
struct claim_req {
	uint32_t count;
	uint32_t least;
	uint64_t deadline;
	uint64_t position;
	uint32_t granted;
};

/**
 * struct backend - how one kind of endpoint works
 * @detach: ends the role; the caller unmaps and closes
 * @sleep: 0 when there may be something to see, -ETIMEDOUT, -EINTR, ...
 * @wake: looks at who of the other side can go on
 * @claim: waits for free slots and claims them (kind MPSC); NULL where the
 *	claim has to be tried again after a sleep
 * @close: ends the stream for all
 * @info: fills in all but size
 */
struct backend {
	void (*detach)(struct __scatto_endpoint *ep);
	int (*sleep)(struct __scatto_endpoint *ep, const struct sleep_req *req);
	void (*wake)(struct __scatto_endpoint *ep);
	int (*claim)(struct __scatto_endpoint *ep, struct claim_req *req);
	int (*close)(struct __scatto_endpoint *ep);
	int (*info)(const struct __scatto_endpoint *ep,
		    struct scatto_info *info);
};

/**
 * struct __scatto_endpoint - one role on one channel
 * @backend: its operations
 * @fd: its own
 * @seeks: waits and wakes by lseek() where that will do
 * @pid: process that has mapped it; to all others @map means nothing
 * @forks: how often it and its parents had been forked by then
 * @role: enum scatto_role
 * @index: number among the producers or consumers
 * @position: where it starts
 * @layout: private copy, checked
 * @map: the regions; NULL where none is needed
 * @local: local backend: its own words, in the channel's region
 * @strategy: enum scatto_strategy
 * @spin: rounds before an adaptive wait sleeps
 */
struct __scatto_endpoint {
	const struct backend *backend;
	int fd;
	bool seeks;
	pid_t pid;
	unsigned int forks;
	uint32_t role;
	uint32_t index;
	uint64_t position;
	struct scatto_layout layout;
	void *map[SCATTO_NR_REGIONS];
	struct scatto_local *local;
	uint32_t strategy;
	uint32_t spin;
};

struct scatto_channel {
	struct __scatto_endpoint ep;
};

/* The public part first: what users hold is the address of both. */
struct producer {
	struct scatto_producer pub;
	struct __scatto_endpoint ep;
};

/* Runs of tombstones that are kept until somebody asks, a power of two. */
#define SKIPPED_RUNS	64

/**
 * struct consumer - what is behind a consumer
 * @pub: what users see of it
 * @ep: its endpoint
 * @runs: of tombstones skipped: number i is at i modulo SKIPPED_RUNS
 * @first_run: number of the oldest that is kept
 * @next_run: number of the next
 */
struct consumer {
	struct scatto_consumer pub;
	struct __scatto_endpoint ep;
	struct scatto_run runs[SKIPPED_RUNS];
	uint64_t first_run;
	uint64_t next_run;
};

struct scatto_observer {
	struct __scatto_endpoint ep;
};

/* Public functions leave errno alone, whatever they call. */
static inline void restore_errno(const int *saved)
{
	errno = *saved;
}

#define KEEP_ERRNO() \
	int keep_errno __attribute__((cleanup(restore_errno), unused)) = errno

/*
 * What runs between two sleeps is kept together: each page of it, and of constants
 * that it loads, has to be found again after another process has run.
 */
#define HOT __attribute__((hot))

static inline struct scatto_channel_area *
endpoint_channel(const struct __scatto_endpoint *ep)
{
	return ep->map[SCATTO_REGION_CHANNEL];
}

static inline struct scatto_producer_area *
endpoint_producer(const struct __scatto_endpoint *ep)
{
	return ep->map[SCATTO_REGION_PRODUCER];
}

/* Consumer 0: there is one today. */
static inline struct scatto_consumer_area *
endpoint_consumer(const struct __scatto_endpoint *ep)
{
	return ep->map[SCATTO_REGION_CONSUMER];
}

/* Kind MPSC */
static inline struct scatto_intent *
endpoint_intent(const struct __scatto_endpoint *ep)
{
	return (void *)((char *)ep->map[SCATTO_REGION_PRODUCER] +
			ep->layout.intent_offset +
			(size_t)ep->index * ep->layout.intent_stride);
}

static inline __u64 *endpoint_stamps(const struct __scatto_endpoint *ep)
{
	return (void *)((char *)ep->map[SCATTO_REGION_DATA] +
			ep->layout.stamp_offset);
}

/* The stamp of event @seq, without what is lost and tombstones. */
static inline uint64_t stamp_lap(uint64_t seq, unsigned int shift)
{
	return (((seq >> shift) + 1) << 2) & SCATTO_STAMP_LAP;
}

static inline bool stamp_is(uint64_t stamp, uint64_t seq, unsigned int shift)
{
	return (stamp & SCATTO_STAMP_LAP) == stamp_lap(seq, shift);
}

/* endpoint.c */
int endpoint_map(struct __scatto_endpoint *ep);
void endpoint_unmap(struct __scatto_endpoint *ep);

/* kernel.c */
int kernel_query(struct scatto_query *q);
int kernel_list(struct scatto_list *entry);
int kernel_create(const struct scatto_config *cfg,
		  struct __scatto_endpoint *ep);
int kernel_attach(uint32_t role, int channel_fd, const char *name,
		  struct __scatto_endpoint *ep);
int kernel_adopt(int fd, struct __scatto_endpoint *ep);

/* local.c */
int local_create(const struct scatto_config *cfg, struct __scatto_endpoint *ep);
int local_attach(uint32_t role, int fd, struct __scatto_endpoint *ep);
int local_adopt(int fd, struct __scatto_endpoint *ep);

#endif /* _LIBSCATTO_INTERNAL_H */
