/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * libscatto: channels of fixed-size events in shared memory.
 *
 * Functions return 0 or a count on success and -errno on failure. They never
 * touch errno, print or abort. Errors with the same meaning everywhere:
 *
 * -EAGAIN	full (producers) or empty (consumers)
 * -EPIPE	producers: nobody will read what is sent; consumers: the stream
 *		has ended and everything in it has been read
 * -EBUSY	the last claim is neither published nor aborted
 * -EINVAL	an argument is out of range, or nothing is claimed
 * -ETIMEDOUT	the deadline has passed
 * -EINTR	a signal handler ran during a sleep
 * -EBADMSG	the other side has put impossible positions into shared memory
 *
 * An endpoint (producer, consumer, observer) is used by one thread at a time;
 * different endpoints need no coordination. A signal handler is a second thread
 * in that sense: it must not use the endpoint that it may have interrupted. A
 * forked child inherits no endpoint's mapping: all it may do with one is to close
 * it.
 *
 * What is sent and received without waiting is inline and makes no system
 * call. The same functions are exported by the library too, for languages
 * that cannot include this file.
 */
#ifndef _SCATTO_H
#define _SCATTO_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/scatto.h>

#include <scatto/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library defines this empty once, to emit what others only inline. */
#ifndef SCATTO_INLINE
#define SCATTO_INLINE static inline
#endif

/**
 * enum scatto_backend - who keeps a channel
 * @SCATTO_BACKEND_KERNEL: the module, through /dev/scatto
 * @SCATTO_BACKEND_LOCAL: a memfd and futexes; no module, no privileges, but
 *	whoever has the file descriptor may write everything, and nobody
 *	notices a death
 */
enum scatto_backend {
	SCATTO_BACKEND_KERNEL	= 0,
	SCATTO_BACKEND_LOCAL	= 1,
};

/**
 * enum scatto_strategy - how an endpoint waits
 * @SCATTO_STRATEGY_ADAPTIVE: spin for about the time of a system call, then
 *	sleep; what an endpoint starts with
 * @SCATTO_STRATEGY_BLOCK: sleep at once
 * @SCATTO_STRATEGY_BUSY: spin; needs a CPU of its own
 * @SCATTO_STRATEGY_SPIN: spin with the CPU's hint for it, which leaves more to
 *	a sibling thread and reacts later
 * @SCATTO_STRATEGY_YIELD: give the CPU to others in a loop
 * @SCATTO_STRATEGY_BACKOFF: spin, then yield, then sleep for growing times
 *	of at most a millisecond; nobody has to wake it
 *
 * Signals end a wait with -EINTR only where it sleeps for the peer (adaptive,
 * block); a handler installed with SA_RESTART does not, unless there is a
 * deadline on the local backend.
 */
enum scatto_strategy {
	SCATTO_STRATEGY_ADAPTIVE	= 0,
	SCATTO_STRATEGY_BLOCK		= 1,
	SCATTO_STRATEGY_BUSY		= 2,
	SCATTO_STRATEGY_SPIN		= 3,
	SCATTO_STRATEGY_YIELD		= 4,
	SCATTO_STRATEGY_BACKOFF		= 5,
};

/* A deadline that never comes. */
#define SCATTO_FOREVER	UINT64_MAX

/**
 * struct scatto_config - what scatto_channel_create() makes
 * @size: sizeof(struct scatto_config)
 * @backend: enum scatto_backend
 * @kind: enum scatto_kind
 * @slot_size: bytes of an event
 * @capacity: slots, a power of two from 2
 * @flags: of SCATTO_F_CREATE
 * @mode: permission bits of the name (of 0666); 0 without a name
 * @name: 1 to 63 bytes, printable, without '/'; NULL for none. Not on the
 *	local backend
 * @max_producers: that can be attached at once: 0 for the kind's default (one,
 *	or 64 on kind MPSC); more than one, up to SCATTO_MAX_PRODUCERS, on kind
 *	MPSC only
 * @reserved0: zero
 * @reserved: zero
 */
struct scatto_config {
	uint32_t size;
	uint32_t backend;
	uint32_t kind;
	uint32_t slot_size;
	uint64_t capacity;
	uint32_t flags;
	uint32_t mode;
	const char *name;
	uint32_t max_producers;
	uint32_t reserved0;
	uint64_t reserved[3];
};

struct scatto_channel;
struct scatto_observer;
struct __scatto_endpoint;

/**
 * struct scatto_producer - a producer
 *
 * Allocated by the library, and here only for the inline functions: its fields
 * are private. New ones are added at the end.
 */
struct scatto_producer {
	uint64_t next;		/* the next event to publish */
	/*
	 * Events below this one fit without another look at the cursor. While
	 * a claim is outstanding it equals next, so that the one comparison of
	 * the fast path catches that as well; and always on kind MPSC.
	 */
	uint64_t limit;
	uint64_t head;		/* the consumer's cursor, as last seen */
	uint64_t mask;		/* capacity - 1 */
	unsigned char *slots;
	__u64 *published;
	const __u64 *cursor;
	const __u64 *data_wake;
	uint32_t slot_size;
	uint32_t slot_stride;
	uint32_t flags;		/* SCATTO_F_* */
	uint32_t claimed;	/* slots of the outstanding claim */
	const struct scatto_channel_area *chan;
	struct __scatto_endpoint *ep;
	/* Kind MPSC, NULL on others. There next means something in a claim only. */
	__u64 *claim_cursor;
	__u64 *stamps;
	struct scatto_intent *intent;
	const __u32 *claimers;
	uint32_t shift;		/* log2 of the capacity */
	uint32_t ahead;		/* slots until one whose lines are asked for now */
	uint64_t reserved[15];
} __attribute__((aligned(SCATTO_LINE)));

/**
 * struct scatto_consumer - a consumer
 *
 * As &struct scatto_producer. The events from @next to below @avail form a run:
 * they are there, none of them is a tombstone, and none but the first was
 * preceded by a loss.
 */
struct scatto_consumer {
	uint64_t next;		/* the next event to read */
	uint64_t avail;
	uint64_t mask;		/* capacity - 1 */
	const unsigned char *slots;
	__u64 *cursor;
	const __u64 *space_wake;
	const __u64 *published;	/* NULL where slots are stamped */
	const __u64 *stamps;	/* NULL where they are not */
	uint32_t slot_size;
	uint32_t slot_stride;
	uint32_t flags;		/* SCATTO_F_* */
	uint32_t shift;		/* log2 of the capacity */
	const struct scatto_channel_area *chan;
	struct __scatto_endpoint *ep;
	uint64_t lost;		/* just before the run */
	uint64_t lost_ahead;	/* at tombstones skipped since */
	uint64_t lost_total;
	uint64_t tombstones;
	uint32_t idle;		/* looks in vain since the last event */
	uint16_t held;		/* occasions to fall back that are left out... */
	uint16_t hold;		/* ...of so many, see __scatto_consumer_trail() */
} __attribute__((aligned(SCATTO_LINE)));

/* Library */

/**
 * scatto_version() - version of the library in use
 *
 * Return: as SCATTO_VERSION of its header.
 */
const char *scatto_version(void);

/**
 * scatto_features() - what a backend can do
 * @backend: enum scatto_backend
 * @features: SCATTO_FEATURE_*
 *
 * Return: 0; -ENODEV (the module is not loaded); -EACCES, -EPERM (no access to
 * /dev/scatto); -EINVAL.
 */
int scatto_features(uint32_t backend, uint64_t *features);

/**
 * scatto_query() - features and limits of the module
 * @q: filled in
 *
 * Return: as scatto_features().
 */
int scatto_query(struct scatto_query *q);

/**
 * scatto_list() - walk the named channels
 * @entry: @entry->id is 0 or that of the channel before; filled in
 *
 * Return: 0; -ENOENT at the end; else as scatto_features().
 */
int scatto_list(struct scatto_list *entry);

/**
 * scatto_deadline() - a point in time from now
 * @ns: nanoseconds from now
 *
 * Return: CLOCK_MONOTONIC nanoseconds, at most SCATTO_FOREVER.
 */
uint64_t scatto_deadline(uint64_t ns);

/* Channels */

/**
 * scatto_channel_create() - create a channel
 * @cfg: what to create
 * @ch: the owner's handle
 *
 * Return: 0; -EINVAL (a field is out of range, or the size larger than a page);
 * -E2BIG (a newer field that this library does not know is not zero); -EFBIG
 * (the channel is larger than the module permits); -EOPNOTSUPP (the backend
 * cannot do this: names on the local one, kinds that its features do not list);
 * -EEXIST (the name is taken); -EDQUOT (a limit of the user); -ENOMEM; -EMFILE,
 * -ENFILE; -ENODEV; -EACCES.
 */
int scatto_channel_create(const struct scatto_config *cfg,
			  struct scatto_channel **ch);

/**
 * scatto_channel_open() - become an owner of a named channel
 * @name: its name
 * @ch: the handle
 *
 * Return: 0; -ENOENT (no such channel); -EACCES (somebody else's); -EPERM (the
 * kernel's); -EINVAL (not a name); -ENOMEM; -EMFILE, -ENFILE; -ENODEV.
 */
int scatto_channel_open(const char *name, struct scatto_channel **ch);

/**
 * scatto_channel_from_fd() - take over a channel somebody passed
 * @fd: an endpoint of the module's, or the memfd of a local channel. Belongs to
 *	the handle on success
 * @ch: the handle
 *
 * An owner's endpoint admits to every role, any other endpoint of the module's
 * to observing. A memfd is checked before anything in it is believed.
 *
 * Return: 0; -EINVAL (not a channel, or one that could shrink under us);
 * -EBADF; -ENOTCONN (an endpoint without a channel); -EPROTO (a version this
 * library does not know); -ENOMEM.
 */
int scatto_channel_from_fd(int fd, struct scatto_channel **ch);

/**
 * scatto_channel_fd() - the file descriptor to pass to others
 * @ch: the channel
 *
 * Return: the handle's own; do not close it.
 */
int scatto_channel_fd(const struct scatto_channel *ch);

/**
 * scatto_channel_close() - end the stream for all
 * @ch: the channel
 *
 * Consumers read what is there and then get -EPIPE; producers get it at once.
 *
 * Return: 0; -EPIPE (closed already); -EPERM (not the owner).
 */
int scatto_channel_close(struct scatto_channel *ch);

/**
 * scatto_channel_free() - let go of the handle and its file descriptor
 * @ch: the channel; NULL is allowed
 *
 * Endpoints attached through it stay as they are.
 */
void scatto_channel_free(struct scatto_channel *ch);

/**
 * scatto_channel_info() - geometry, positions and counters
 * @ch: the channel
 * @info: filled in
 *
 * Return: 0.
 */
int scatto_channel_info(const struct scatto_channel *ch,
			struct scatto_info *info);

/* Producers: attaching */

/**
 * scatto_producer_attach() - become a producer of a channel
 * @ch: the channel
 * @p: the producer
 *
 * Return: 0; -EBUSY (it has as many producers as it can have); -EPIPE (ended);
 * -EPERM (the handle does not admit producers, or only the kernel produces);
 * -EOPNOTSUPP (a local channel relies on membarrier(2), which is not to be had
 * here; the kind has no user-space producers in an old module); -ENOMEM;
 * -EMFILE, -ENFILE; -EACCES and -ENODEV (of /dev/scatto); -EBADMSG.
 */
int scatto_producer_attach(struct scatto_channel *ch,
			   struct scatto_producer **p);

/**
 * scatto_producer_open() - become a producer of a named channel
 * @name: its name
 * @p: the producer
 *
 * Return: as scatto_producer_attach(); -ENOENT (no such channel); -EACCES (not
 * permitted); -EINVAL (not a name).
 */
int scatto_producer_open(const char *name, struct scatto_producer **p);

/**
 * scatto_producer_from_fd() - be the producer that somebody passed
 * @fd: an endpoint bound as producer that nobody has mapped yet, or the memfd
 *	of a local channel. Belongs to the producer on success
 * @p: the producer
 *
 * Return: as scatto_channel_from_fd() and scatto_producer_attach(); -EPERM
 * (bound to another role); -EBUSY (another process has mapped it).
 */
int scatto_producer_from_fd(int fd, struct scatto_producer **p);

/**
 * scatto_producer_close() - leave
 * @p: the producer; NULL is allowed. Gone afterwards
 *
 * What is claimed and not published never becomes visible; on kind MPSC it is
 * aborted here.
 */
void scatto_producer_close(struct scatto_producer *p);

/**
 * scatto_producer_fd() - the endpoint, to poll or to pass on
 * @p: the producer
 *
 * With the module: POLLOUT when a slot is free, POLLERR when nobody is left to
 * read. The file descriptor of a local channel cannot be polled.
 *
 * Return: the producer's own; do not close it.
 */
int scatto_producer_fd(const struct scatto_producer *p);

/**
 * scatto_producer_info() - geometry, positions and counters
 * @p: the producer
 * @info: filled in
 *
 * Return: 0.
 */
int scatto_producer_info(const struct scatto_producer *p,
			 struct scatto_info *info);

/**
 * scatto_producer_set_wait() - choose how to wait
 * @p: the producer
 * @strategy: enum scatto_strategy
 *
 * Return: 0; -EINVAL.
 */
int scatto_producer_set_wait(struct scatto_producer *p, uint32_t strategy);

/**
 * scatto_producer_set_spin() - choose how long to spin
 * @p: the producer
 * @rounds: of spinning, before the adaptive strategy sleeps and the backoff
 *	strategy yields
 */
void scatto_producer_set_spin(struct scatto_producer *p, uint32_t rounds);

/**
 * scatto_wait_space() - wait until several slots are free
 * @p: the producer
 * @n: slots, at most the capacity
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * Comes back with fewer when the consumer waits as well, since neither would
 * ever go on. On kind MPSC another producer may be quicker to claim what is
 * free: who needs several slots claims them.
 *
 * Return: slots free, at least 1; -EPIPE; -EBUSY; -EINVAL; -ETIMEDOUT; -EINTR;
 * -EBADMSG.
 */
int scatto_wait_space(struct scatto_producer *p, uint32_t n,
		      uint64_t deadline);

/* Consumers: attaching */

/**
 * scatto_consumer_attach() - become the consumer of a channel
 * @ch: the channel
 * @c: the consumer
 *
 * Return: as scatto_producer_attach().
 */
int scatto_consumer_attach(struct scatto_channel *ch,
			   struct scatto_consumer **c);

/**
 * scatto_consumer_open() - become the consumer of a named channel
 * @name: its name
 * @c: the consumer
 *
 * Return: as scatto_producer_open().
 */
int scatto_consumer_open(const char *name, struct scatto_consumer **c);

/**
 * scatto_consumer_from_fd() - be the consumer that somebody passed
 * @fd: as for scatto_producer_from_fd()
 * @c: the consumer
 *
 * Return: as scatto_producer_from_fd().
 */
int scatto_consumer_from_fd(int fd, struct scatto_consumer **c);

/**
 * scatto_consumer_close() - leave
 * @c: the consumer; NULL is allowed. Gone afterwards
 *
 * On a pausing channel a successor continues with what was not released.
 */
void scatto_consumer_close(struct scatto_consumer *c);

/**
 * scatto_consumer_fd() - the endpoint, to poll or to pass on
 * @c: the consumer
 *
 * With the module: POLLIN when there is something to read, POLLHUP when the
 * stream has ended and was read. The file descriptor of a local channel cannot
 * be polled.
 *
 * Return: the consumer's own; do not close it.
 */
int scatto_consumer_fd(const struct scatto_consumer *c);

/**
 * scatto_consumer_info() - geometry, positions and counters
 * @c: the consumer
 * @info: filled in
 *
 * Return: 0.
 */
int scatto_consumer_info(const struct scatto_consumer *c,
			 struct scatto_info *info);

/**
 * scatto_consumer_set_wait() - choose how to wait
 * @c: the consumer
 * @strategy: enum scatto_strategy
 *
 * Return: 0; -EINVAL.
 */
int scatto_consumer_set_wait(struct scatto_consumer *c, uint32_t strategy);

/**
 * scatto_consumer_set_spin() - choose how long to spin
 * @c: the consumer
 * @rounds: as for scatto_producer_set_spin()
 */
void scatto_consumer_set_spin(struct scatto_consumer *c, uint32_t rounds);

/**
 * scatto_wait_data() - wait until several events can be read
 * @c: the consumer
 * @n: events, at most the capacity
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * Comes back with fewer at the end of the stream, before a tombstone or a loss,
 * and when the producer waits as well, since neither would ever go on; on kind
 * MPSC with SCATTO_WAIT_MOST in any case.
 *
 * Return: events that scatto_peek() would show, 1 to @n; -EPIPE; -EINVAL;
 * -ETIMEDOUT (some may be there all the same); -EINTR; -EBADMSG.
 */
int scatto_wait_data(struct scatto_consumer *c, uint32_t n, uint64_t deadline);

/**
 * scatto_call() - send one event and wait for one
 * @p: where to send
 * @ev: what to send
 * @c: where to receive
 * @reply: where to store what is received
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * As scatto_send_until() and scatto_recv_until(), but where the module keeps
 * both channels and both sides sleep, waking the peer and going to sleep are
 * one system call. Useful to both sides of a request: one sends it and waits
 * for the reply, the other sends the reply and waits for the next request.
 *
 * Return: 0; as those two. The caller cannot tell from an error whether @ev was
 * sent.
 */
int scatto_call(struct scatto_producer *p, const void *ev,
		struct scatto_consumer *c, void *reply, uint64_t deadline);

/**
 * struct scatto_run - consecutive slots
 * @first: the first one's number
 * @count: how many
 */
struct scatto_run {
	uint64_t first;
	uint64_t count;
};

/**
 * scatto_skipped() - which tombstones were skipped
 * @c: the consumer
 * @runs: filled in, the oldest first
 * @max: how many fit there
 *
 * Tells each run once. 64 are kept until they are asked for; beyond that the
 * oldest ones are forgotten, which shows in scatto_tombstones(): it counts all.
 *
 * Return: how many were filled in, 0 to @max.
 */
int scatto_skipped(struct scatto_consumer *c, struct scatto_run *runs,
		   uint32_t max);

/* Observers: see everything, change nothing, nobody waits for them */

/**
 * scatto_observer_attach() - watch a channel
 * @ch: the channel
 * @o: the observer
 *
 * Return: 0; -ENOMEM; -EMFILE, -ENFILE; -EACCES and -ENODEV (of /dev/scatto).
 */
int scatto_observer_attach(struct scatto_channel *ch,
			   struct scatto_observer **o);

/**
 * scatto_observer_open() - watch a named channel
 * @name: its name
 * @o: the observer
 *
 * Return: as scatto_observer_attach(); -ENOENT; -EACCES; -EINVAL.
 */
int scatto_observer_open(const char *name, struct scatto_observer **o);

/**
 * scatto_observer_from_fd() - be the observer that somebody passed
 * @fd: as for scatto_producer_from_fd()
 * @o: the observer
 *
 * Return: as scatto_producer_from_fd().
 */
int scatto_observer_from_fd(int fd, struct scatto_observer **o);

/**
 * scatto_observer_close() - leave
 * @o: the observer; NULL is allowed. Gone afterwards
 */
void scatto_observer_close(struct scatto_observer *o);

/**
 * scatto_observer_fd() - the endpoint, to pass on
 * @o: the observer
 *
 * Return: the observer's own; do not close it.
 */
int scatto_observer_fd(const struct scatto_observer *o);

/**
 * scatto_observer_info() - geometry, positions and counters
 * @o: the observer
 * @info: filled in
 *
 * Return: 0.
 */
int scatto_observer_info(const struct scatto_observer *o,
			 struct scatto_info *info);

/**
 * scatto_observer_positions() - how far the channel is
 * @o: the observer
 * @published: events published (where slots are stamped: in a row from
 *	@consumed on)
 * @consumed: events consumed and released
 *
 * No system call.
 *
 * Return: 0; -EBADMSG.
 */
int scatto_observer_positions(const struct scatto_observer *o,
			      uint64_t *published, uint64_t *consumed);

/**
 * scatto_observer_read() - copy an event that waits to be consumed
 * @o: the observer
 * @seq: its number
 * @buf: room for one event
 *
 * Return: 0; -EAGAIN (not published yet); -ESTALE (consumed already, before or
 * while it was copied); -ENODATA (a tombstone); -EBADMSG.
 */
int scatto_observer_read(const struct scatto_observer *o, uint64_t seq,
			 void *buf);

/*
 * What the inline functions need from the library. Not to be called.
 */
int __scatto_producer_wake(struct scatto_producer *p);
int __scatto_producer_wait(struct scatto_producer *p, uint32_t n,
			   uint32_t least, uint64_t deadline);
void __scatto_consumer_wake(struct scatto_consumer *c);
int __scatto_consumer_wait(struct scatto_consumer *c, uint64_t deadline);
int __scatto_consumer_dry(struct scatto_consumer *c);
uint64_t __scatto_consumer_trail(struct scatto_consumer *c, uint64_t found);
int __scatto_consumer_stamped(struct scatto_consumer *c, uint32_t n);

#define __scatto_unlikely(x)	__builtin_expect(!!(x), 0)
#define __scatto_barrier()	__asm__ __volatile__("" ::: "memory")

/*
 * The size is known at run time only. For the common ones a compare that is
 * always predicted is much cheaper than the call of memcpy(). The compiler is
 * not to know what the pointers point to: it would warn of the sizes that do
 * not fit the caller's variable, although they are not the channel's.
 */
static inline void __scatto_copy(void *to, const void *from, uint32_t size)
{
	if (__builtin_expect(size == 8, 1)) {
		__builtin_memcpy(to, from, 8);
		return;
	}
	__asm__("" : "+r" (to), "+r" (from));
	if (size == 64)
		__builtin_memcpy(to, from, 64);
	else if (size == 16)
		__builtin_memcpy(to, from, 16);
	else if (size == 32)
		__builtin_memcpy(to, from, 32);
	else
		__builtin_memcpy(to, from, size);
}

/*
 * From where the program has just written it, by the word, as most fields are.
 * A wider load takes bytes of several stores, and cannot have them before these
 * are in the cache. On x86 they get there in order, so it would wait for the
 * event before, whose lines come from the consumer's CPU.
 */
typedef uint64_t __scatto_word __attribute__((__may_alias__, __aligned__(1)));

static inline void __scatto_copy_2(void *to, const void *from)
{
	const volatile __scatto_word *f = (const volatile __scatto_word *)from;
	__scatto_word *t = (__scatto_word *)to;

	t[0] = f[0];
	t[1] = f[1];
}

static inline void __scatto_copy_4(void *to, const void *from)
{
	__scatto_copy_2(to, from);
	__scatto_copy_2((char *)to + 16, (const char *)from + 16);
}

static inline void __scatto_copy_event(void *to, const void *from, uint32_t size)
{
	if (__builtin_expect(size == 8, 1)) {
		__builtin_memcpy(to, from, 8);
		return;
	}
	__asm__("" : "+r" (to), "+r" (from));
	if (size == 64) {
		__scatto_copy_4(to, from);
		__scatto_copy_4((char *)to + 32, (const char *)from + 32);
	} else if (size == 16) {
		__scatto_copy_2(to, from);
	} else if (size == 32) {
		__scatto_copy_4(to, from);
	} else {
		__builtin_memcpy(to, from, size);
	}
}

static inline unsigned char *
__scatto_producer_slot(const struct scatto_producer *p, uint64_t seq)
{
	return p->slots + (size_t)(seq & p->mask) * p->slot_stride;
}

static inline const unsigned char *
__scatto_consumer_slot(const struct scatto_consumer *c, uint64_t seq)
{
	return c->slots + (size_t)(seq & c->mask) * c->slot_stride;
}

/* Room for @n more events? Looks at the consumer's cursor. */
static inline int __scatto_producer_room(struct scatto_producer *p, uint32_t n)
{
	uint64_t capacity = p->mask + 1;
	uint64_t head, used;

	if (__scatto_unlikely(p->claimed))
		return -EBUSY;

	head = __atomic_load_n(p->cursor, __ATOMIC_ACQUIRE);
	used = p->next - head;
	if (__scatto_unlikely(used > capacity))
		return -EBADMSG;

	p->head = head;
	p->limit = head + capacity;
	if (capacity - used >= n)
		return 0;
	if (__atomic_load_n(&p->chan->state, __ATOMIC_ACQUIRE) &
	    SCATTO_STATE_SEND_EPIPE)
		return -EPIPE;
	return -EAGAIN;
}

/*
 * Everything below @pos is published. The store of the position and the load
 * of the wake word must not change places; where the CPU could do that, the
 * sleeper makes this CPU execute a barrier after arming the word, unless it
 * has said that it cannot.
 */
static inline int __scatto_producer_flush(struct scatto_producer *p,
					  uint64_t pos)
{
	p->next = pos;
	__atomic_store_n(p->published, pos, __ATOMIC_RELEASE);
	__scatto_barrier();
	if (__scatto_unlikely(p->flags & SCATTO_F_FENCE))
		__sync_synchronize();
	if (__scatto_unlikely(pos >= __atomic_load_n(p->data_wake,
						     __ATOMIC_RELAXED)))
		return __scatto_producer_wake(p);
	return 0;
}

/* Everything below @pos may be written again. As above. */
static inline void __scatto_consumer_flush(struct scatto_consumer *c,
					   uint64_t pos)
{
	c->next = pos;
	__atomic_store_n(c->cursor, pos, __ATOMIC_RELEASE);
	__scatto_barrier();
	if (__scatto_unlikely(c->flags & SCATTO_F_FENCE))
		__sync_synchronize();
	if (__scatto_unlikely(pos >= __atomic_load_n(c->space_wake,
						     __ATOMIC_RELAXED)))
		__scatto_consumer_wake(c);
}

/* Let a moment pass: a fraction of what a line takes from CPU to CPU. */
static inline void __scatto_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("isb" ::: "memory");
#else
	__scatto_barrier();
#endif
}

/*
 * A consumer that is faster than the producer and looks again at once takes the
 * line of the position away after each event, and both go on at the pace of
 * lines. So the first looks in vain let the producer get ahead by a few events.
 *
 * Who looks on in vain waits for a single event, which costs two lines from the
 * producer's CPU, position and slot. Asked for together they take the time of
 * one.
 */
#define __SCATTO_PATIENCE	4

static inline void __scatto_consumer_idle(struct scatto_consumer *c)
{
	if (c->idle < __SCATTO_PATIENCE) {
		c->idle++;
		__scatto_relax();
	} else {
		__builtin_prefetch(__scatto_consumer_slot(c, c->next));
	}
}

/*
 * Look for more events; @n are wanted, fewer will do. On success at least one
 * can be read.
 */
static inline int __scatto_consumer_fill(struct scatto_consumer *c, uint32_t n)
{
	uint64_t tail, end;

	if (__scatto_unlikely(!c->published))
		return __scatto_consumer_stamped(c, n);

	tail = __atomic_load_n(c->published, __ATOMIC_ACQUIRE);
	end = __atomic_load_n(&c->chan->end, __ATOMIC_RELAXED);
	if (tail == c->next && end == SCATTO_END_OPEN) {
		__scatto_consumer_idle(c);
		return -EAGAIN;
	}
	if (__scatto_unlikely(tail - c->next - 1 > c->mask || tail > end))
		return __scatto_consumer_dry(c);
	if (__scatto_unlikely(c->idle < __SCATTO_PATIENCE && c->avail == c->next &&
			      end == SCATTO_END_OPEN))
		tail = __scatto_consumer_trail(c, tail);
	c->avail = tail;
	c->idle = 0;
	return 0;
}

/*
 * Get a line for writing. CPUs that do not know the instruction ignore it. The
 * builtin asks to read, unless told of a CPU that can do better.
 */
static inline void __scatto_prefetchw(const void *at)
{
#if defined(__x86_64__)
	__asm__ __volatile__("prefetchw %0" : : "m" (*(const char *)at));
#else
	__builtin_prefetch(at, 1);
#endif
}

#define __SCATTO_FETCH		512	/* bytes */

/*
 * A slot's line is in the consumer's cache, and the store buffer is soon full of
 * stores that wait for it. Only of slots that are known to be free: others would
 * be taken away from a consumer that is about to read them.
 */
static inline void __scatto_producer_prefetch(const struct scatto_producer *p,
					      uint64_t seq, const unsigned char *slot)
{
	if (p->limit - seq <= p->ahead)
		return;
	/* Behind the ring lies a page of the producer's own: see endpoint_map(). */
	__scatto_prefetchw(slot + __SCATTO_FETCH);
}

/* Copies where the events lie one after the other, in at most two pieces. */
static inline void __scatto_copy_in(struct scatto_producer *p, uint64_t seq,
				    const unsigned char *from, uint32_t n)
{
	uint32_t i;

	if (p->slot_size == p->slot_stride) {
		uint64_t at = seq & p->mask;
		uint64_t first = p->mask + 1 - at;

		if (first > n)
			first = n;
		__builtin_memcpy(__scatto_producer_slot(p, seq), from,
				 (size_t)first * p->slot_size);
		__builtin_memcpy(p->slots, from + (size_t)first * p->slot_size,
				 (size_t)(n - first) * p->slot_size);
		return;
	}
	for (i = 0; i < n; i++)
		__builtin_memcpy(__scatto_producer_slot(p, seq + i),
				 from + (size_t)i * p->slot_size, p->slot_size);
}

static inline void __scatto_copy_out(const struct scatto_consumer *c,
				     unsigned char *to, uint32_t n)
{
	uint32_t i;

	if (c->slot_size == c->slot_stride) {
		uint64_t at = c->next & c->mask;
		uint64_t first = c->mask + 1 - at;

		if (first > n)
			first = n;
		__builtin_memcpy(to, __scatto_consumer_slot(c, c->next),
				 (size_t)first * c->slot_size);
		__builtin_memcpy(to + (size_t)first * c->slot_size, c->slots,
				 (size_t)(n - first) * c->slot_size);
		return;
	}
	for (i = 0; i < n; i++)
		__builtin_memcpy(to + (size_t)i * c->slot_size,
				 __scatto_consumer_slot(c, c->next + i),
				 c->slot_size);
}

/*
 * Kind MPSC. C1 to C7 and P1 to P4 are the steps of
 * Documentation/many-producers.rst.
 */

/*
 * How many slots are claimed and not consumed; @seq is the next to claim. More
 * than a capacity means that somebody forges positions: else the consumer would
 * have to pass @seq between the two loads again and again. The first acquire is
 * for the cursor that its claimer saw, so the second load is not older.
 */
static inline uint64_t __scatto_many_used(struct scatto_producer *p,
					  __u64 *seq)
{
	uint32_t tries = 0;
	uint64_t used;

	do {
		*seq = __atomic_load_n(p->claim_cursor, __ATOMIC_ACQUIRE);
		p->head = __atomic_load_n(p->cursor, __ATOMIC_ACQUIRE);
		used = *seq - p->head;
	} while (used > p->mask + 1 && ++tries < 16);
	return used;
}

/*
 * The consumer has the lines of stamps and slots from the last lap, and a
 * compare-and-exchange waits until those that were written before it have been got
 * back, one after the other. So they are asked for some way ahead, where the consumer
 * is known to have been. In batches: as many as the @n slots from @seq take, and up to
 * eight lines of slots for one of stamps.
 */
static inline void __scatto_many_ahead(const struct scatto_producer *p,
				       uint64_t seq, uint64_t n)
{
	uint64_t to = seq + n + p->ahead;
	uint32_t bytes = 8 * p->slot_stride;
	uint32_t i;

	seq = (seq + p->ahead + 7) & ~7ULL;
	if (bytes > 512)
		bytes = 512;
	for (; seq < to && seq + 8 - p->head <= p->mask; seq += 8) {
		const unsigned char *slot = p->slots + (size_t)
					    (seq & p->mask) * p->slot_stride;

		__scatto_prefetchw(&p->stamps[seq & p->mask]);
		for (i = 0; i < bytes; i += 64)
			__scatto_prefetchw(slot + i);
	}
}

/* One by one: a line of slots each time, at most 32 slots away, and one of stamps at 16. */
static inline void __scatto_many_next(const struct scatto_producer *p,
				      uint64_t seq)
{
	if (seq - p->head + 32 > p->mask)
		return;
	__scatto_prefetchw(__scatto_producer_slot(p, seq) + 256);
	if (!(seq & 7))
		__scatto_prefetchw(&p->stamps[(seq + 16) & p->mask]);
}

/* C7, and why there is no claim. */
static inline int __scatto_many_full(struct scatto_producer *p, int why)
{
	__atomic_store_n(&p->intent->lo, SCATTO_INTENT_NONE, __ATOMIC_RELEASE);
	if (__atomic_load_n(&p->chan->state, __ATOMIC_ACQUIRE) &
	    SCATTO_STATE_SEND_EPIPE)
		return -EPIPE;
	return why;
}

/*
 * C1 to C7: claims @n slots, or as many as there are if that is at least
 * @least. Returns how many; @at is the first of them.
 */
static inline int __scatto_many_claim(struct scatto_producer *p, uint32_t n,
				      uint32_t least, uint64_t *at)
{
	uint64_t capacity = p->mask + 1;
	uint64_t used, mine;
	__u64 seq;

	if (__scatto_unlikely(p->claimed))
		return -EBUSY;
	if (__scatto_unlikely(__atomic_load_n(p->claimers, __ATOMIC_RELAXED)))
		return __scatto_many_full(p, -EAGAIN);
	seq = __atomic_load_n(p->claim_cursor, __ATOMIC_RELAXED);
	/*
	 * Where others claim as well the next lines would be theirs. No more than a hint:
	 * they may write this word.
	 */
	mine = __atomic_load_n(&p->intent->hi, __ATOMIC_RELAXED);
	for (;;) {
		uint64_t to;

		if (__scatto_unlikely(seq - p->head > capacity - n)) {
			used = __scatto_many_used(p, &seq);
			if (used > capacity)
				return __scatto_many_full(p, -EBADMSG);
			if (capacity - used < least)
				return __scatto_many_full(p, -EAGAIN);
			if (capacity - used < n)
				n = (uint32_t)(capacity - used);
		}
		to = seq + n;
		if (seq == mine && n > 1)
			__scatto_many_ahead(p, seq, n);
		__atomic_store_n(&p->intent->hi, to, __ATOMIC_RELEASE);
		__atomic_store_n(&p->intent->lo, seq, __ATOMIC_RELEASE);
		if (__atomic_compare_exchange_n(p->claim_cursor, &seq, to,
						0, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			break;
	}
	if (seq == mine && n == 1)
		__scatto_many_next(p, seq);
	*at = seq;
	return (int)n;
}

/*
 * P2 for the slots from @seq to below @to. The local copies are for the
 * compiler: to it any store of a stamp could change what @p says.
 */
static inline void __scatto_many_stamp(const struct scatto_producer *p,
				       uint64_t seq, uint64_t to,
				       uint64_t flags)
{
	__u64 *stamps = p->stamps;
	uint64_t mask = p->mask;
	uint32_t shift = p->shift;

	for (; seq != to; seq++) {
		uint64_t lap = ((seq >> shift) + 1) << 2;

		__atomic_store_n(&stamps[seq & mask],
				 (lap & SCATTO_STAMP_LAP) | flags,
				 __ATOMIC_RELEASE);
	}
}

/*
 * P3 and P4. What __scatto_producer_flush() says of store and load holds here
 * as well.
 */
static inline int __scatto_many_flush(struct scatto_producer *p)
{
	__scatto_barrier();
	if (__scatto_unlikely(p->flags & SCATTO_F_FENCE))
		__sync_synchronize();
	if (__scatto_unlikely(__atomic_load_n(p->data_wake, __ATOMIC_RELAXED) !=
			      SCATTO_WAKE_IDLE))
		return __scatto_producer_wake(p);
	return 0;
}

/* P2 to P4: @n slots from @seq become events, those up to @total tombstones. */
static inline int __scatto_many_publish(struct scatto_producer *p, uint64_t seq,
					uint32_t n, uint32_t total)
{
	uint64_t first = SCATTO_STAMP_TOMBSTONE;

	if (n)
		first = n == 1 ? 0 : SCATTO_STAMP_RUN |
			(uint64_t)n << SCATTO_STAMP_LOST_SHIFT;
	if (n > 1)
		__scatto_many_stamp(p, seq + 1, seq + n, 0);
	if (n < total)
		__scatto_many_stamp(p, n ? seq + n : seq + 1, seq + total,
				    SCATTO_STAMP_TOMBSTONE);
	__scatto_many_stamp(p, seq, seq + 1, first);
	return __scatto_many_flush(p);
}

static inline int __scatto_many_send(struct scatto_producer *p, const void *ev)
{
	uint64_t seq;
	int ret = __scatto_many_claim(p, 1, 1, &seq);

	if (__scatto_unlikely(ret < 0))
		return ret;
	/* On x86 the claim's compare-and-swap has emptied the store buffer. */
	__scatto_copy(__scatto_producer_slot(p, seq), ev, p->slot_size);
	__scatto_many_stamp(p, seq, seq + 1, 0);
	return __scatto_many_flush(p);
}

static inline int __scatto_many_send_batch(struct scatto_producer *p,
					   const void *evs, uint32_t n)
{
	uint64_t seq;
	int ret;

	if (n - 1 > p->mask)
		n = (uint32_t)p->mask + 1;
	ret = __scatto_many_claim(p, n, 1, &seq);
	if (__scatto_unlikely(ret < 0))
		return ret;
	n = (uint32_t)ret;
	__scatto_copy_in(p, seq, (const unsigned char *)evs, n);
	ret = __scatto_many_publish(p, seq, n, n);
	return ret ? ret : (int)n;
}

/* The module has claimed: as many of @n events as fit into that. */
static inline int __scatto_many_send_claimed(struct scatto_producer *p,
					     const void *evs, uint32_t n)
{
	uint32_t total = p->claimed;
	int ret;

	if (n > total)
		n = total;
	p->claimed = 0;
	__scatto_copy_in(p, p->next, (const unsigned char *)evs, n);
	ret = __scatto_many_publish(p, p->next, n, total);
	return ret ? ret : (int)n;
}

/* Producers: one event */

/**
 * scatto_try_send() - send an event if there is room
 * @p: the producer
 * @ev: the event, as many bytes as the channel's slots have
 *
 * Return: 0; -EAGAIN; -EPIPE (nobody will read it); -EBUSY; -EBADMSG.
 */
SCATTO_INLINE int scatto_try_send(struct scatto_producer *p, const void *ev)
{
	uint64_t seq = p->next;
	unsigned char *slot;

	if (__scatto_unlikely(seq == p->limit)) {
		int ret;

		if (p->claim_cursor)
			return __scatto_many_send(p, ev);
		ret = __scatto_producer_room(p, 1);
		if (ret)
			return ret;
	}
	slot = __scatto_producer_slot(p, seq);
	__scatto_producer_prefetch(p, seq, slot);
	__scatto_copy_event(slot, ev, p->slot_size);
	return __scatto_producer_flush(p, seq + 1);
}

/**
 * scatto_send_until() - send an event, wait for room until a deadline
 * @p: the producer
 * @ev: the event
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * Return: 0; -EPIPE; -EBUSY; -ETIMEDOUT; -EINTR; -EBADMSG; -EUSERS (the module:
 * too many wait already).
 */
SCATTO_INLINE int scatto_send_until(struct scatto_producer *p, const void *ev,
				    uint64_t deadline)
{
	for (;;) {
		int ret = scatto_try_send(p, ev);

		if (!__scatto_unlikely(ret == -EAGAIN))
			return ret;
		ret = __scatto_producer_wait(p, 1, 1, deadline);
		if (ret)
			return ret;
		/* Kind MPSC: the module has claimed while it waited. */
		if (p->claimed) {
			ret = __scatto_many_send_claimed(p, ev, 1);
			return ret < 0 ? ret : 0;
		}
	}
}

/**
 * scatto_send() - send an event, wait for room
 * @p: the producer
 * @ev: the event
 *
 * Return: as scatto_send_until().
 */
SCATTO_INLINE int scatto_send(struct scatto_producer *p, const void *ev)
{
	return scatto_send_until(p, ev, SCATTO_FOREVER);
}

/* Producers: claims */

/**
 * scatto_try_claim_batch() - reserve slots if they are free
 * @p: the producer
 * @n: slots, 1 to the capacity
 *
 * Nobody sees them before scatto_publish() or scatto_publish_n(). They hold
 * whatever earlier events left there.
 *
 * Return: 0; -EAGAIN; -EPIPE; -EBUSY; -EINVAL; -EBADMSG.
 */
SCATTO_INLINE int scatto_try_claim_batch(struct scatto_producer *p, uint32_t n)
{
	if (__scatto_unlikely(!n || n - 1 > p->mask))
		return -EINVAL;
	if (__scatto_unlikely(p->limit - p->next < n)) {
		uint64_t seq = p->next;
		int ret = p->claim_cursor ?
			  __scatto_many_claim(p, n, n, &seq) :
			  __scatto_producer_room(p, n);

		if (ret < 0)
			return ret;
		p->next = seq;
	}
	p->claimed = n;
	p->limit = p->next;
	return 0;
}

/**
 * scatto_claim_batch_until() - reserve slots, wait for them until a deadline
 * @p: the producer
 * @n: slots, 1 to the capacity
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * Return: 0; -EPIPE; -EBUSY; -EINVAL; -ETIMEDOUT; -EINTR; -EBADMSG; -EUSERS.
 */
SCATTO_INLINE int scatto_claim_batch_until(struct scatto_producer *p,
					   uint32_t n, uint64_t deadline)
{
	for (;;) {
		int ret = scatto_try_claim_batch(p, n);

		if (!__scatto_unlikely(ret == -EAGAIN))
			return ret;
		ret = __scatto_producer_wait(p, n, n, deadline);
		/* Kind MPSC: the module claims while it waits. */
		if (ret || p->claimed)
			return ret;
	}
}

/**
 * scatto_claim_batch() - reserve slots, wait for them
 * @p: the producer
 * @n: slots, 1 to the capacity
 *
 * Return: as scatto_claim_batch_until().
 */
SCATTO_INLINE int scatto_claim_batch(struct scatto_producer *p, uint32_t n)
{
	return scatto_claim_batch_until(p, n, SCATTO_FOREVER);
}

/**
 * scatto_claim_slot() - one slot of the outstanding claim
 * @p: the producer
 * @i: which, from 0
 *
 * Return: where to write the event; NULL when @i is not part of the claim.
 */
SCATTO_INLINE void *scatto_claim_slot(struct scatto_producer *p, uint32_t i)
{
	if (__scatto_unlikely(i >= p->claimed))
		return NULL;
	return __scatto_producer_slot(p, p->next + i);
}

/**
 * scatto_try_claim() - reserve a slot if one is free
 * @p: the producer
 * @slot: where to write the event
 *
 * Return: as scatto_try_claim_batch().
 */
SCATTO_INLINE int scatto_try_claim(struct scatto_producer *p, void **slot)
{
	int ret = scatto_try_claim_batch(p, 1);

	if (!ret)
		*slot = __scatto_producer_slot(p, p->next);
	return ret;
}

/**
 * scatto_claim_until() - reserve a slot, wait for it until a deadline
 * @p: the producer
 * @slot: where to write the event
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * Return: as scatto_claim_batch_until().
 */
SCATTO_INLINE int scatto_claim_until(struct scatto_producer *p, void **slot,
				     uint64_t deadline)
{
	int ret = scatto_claim_batch_until(p, 1, deadline);

	if (!ret)
		*slot = __scatto_producer_slot(p, p->next);
	return ret;
}

/**
 * scatto_claim() - reserve a slot, wait for it
 * @p: the producer
 * @slot: where to write the event
 *
 * Return: as scatto_claim_batch_until().
 */
SCATTO_INLINE int scatto_claim(struct scatto_producer *p, void **slot)
{
	return scatto_claim_until(p, slot, SCATTO_FOREVER);
}

/**
 * scatto_publish_n() - publish the first slots of the claim, drop the others
 * @p: the producer
 * @n: slots; 0 is the same as scatto_abort()
 *
 * On kind MPSC those that are dropped become tombstones.
 *
 * Return: 0; -EINVAL (nothing is claimed, or less); -EPIPE (nobody will read
 * it). The claim is over but for -EINVAL.
 */
SCATTO_INLINE int scatto_publish_n(struct scatto_producer *p, uint32_t n)
{
	uint32_t total = p->claimed;

	if (__scatto_unlikely(!total || n > total))
		return -EINVAL;
	p->claimed = 0;
	if (p->claim_cursor) {
		int ret = __scatto_many_publish(p, p->next, n, total);

		return n ? ret : 0;
	}
	p->limit = p->head + p->mask + 1;
	if (__scatto_unlikely(!n))
		return 0;
	return __scatto_producer_flush(p, p->next + n);
}

/**
 * scatto_publish() - publish all slots of the claim
 * @p: the producer
 *
 * Return: as scatto_publish_n().
 */
SCATTO_INLINE int scatto_publish(struct scatto_producer *p)
{
	return scatto_publish_n(p, p->claimed);
}

/**
 * scatto_abort() - drop the claim
 * @p: the producer
 *
 * Return: 0; -EINVAL (nothing is claimed).
 */
SCATTO_INLINE int scatto_abort(struct scatto_producer *p)
{
	return scatto_publish_n(p, 0);
}

/* Producers: many events */

/**
 * scatto_try_send_batch() - send as many events as there is room for
 * @p: the producer
 * @evs: the events, one after the other
 * @n: how many
 *
 * Return: how many were sent, at least 1; -EAGAIN; -EPIPE; -EBUSY; -EINVAL (@n
 * is 0); -EBADMSG.
 */
SCATTO_INLINE int scatto_try_send_batch(struct scatto_producer *p,
					const void *evs, uint32_t n)
{
	int ret;

	if (__scatto_unlikely(!n))
		return -EINVAL;
	if (p->limit - p->next < n) {
		if (p->claim_cursor)
			return __scatto_many_send_batch(p, evs, n);
		ret = __scatto_producer_room(p, 1);
		if (ret)
			return ret;
		if (p->limit - p->next < n)
			n = (uint32_t)(p->limit - p->next);
	}
	__scatto_copy_in(p, p->next, (const unsigned char *)evs, n);
	ret = __scatto_producer_flush(p, p->next + n);
	return ret ? ret : (int)n;
}

/**
 * scatto_send_batch_until() - send events, wait for room until a deadline
 * @p: the producer
 * @evs: the events, one after the other
 * @n: how many, 1 to INT32_MAX; may exceed the capacity
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * The events of one batch follow each other, but on kind MPSC others' may come
 * between them where it had to wait.
 *
 * Return: @n, or how many were sent before something went wrong; if none were,
 * -EPIPE, -EBUSY, -EINVAL, -ETIMEDOUT, -EINTR, -EBADMSG, -EUSERS.
 */
SCATTO_INLINE int scatto_send_batch_until(struct scatto_producer *p,
					  const void *evs, uint32_t n,
					  uint64_t deadline)
{
	const unsigned char *from = (const unsigned char *)evs;
	uint32_t sent = 0;

	if (__scatto_unlikely(!n || n > INT32_MAX))
		return -EINVAL;
	while (sent < n) {
		const unsigned char *rest = from + (size_t)sent * p->slot_size;
		int ret = scatto_try_send_batch(p, rest, n - sent);

		if (ret == -EAGAIN) {
			ret = __scatto_producer_wait(p, n - sent, 1, deadline);
			if (!ret && !p->claimed)
				continue;
			/* Kind MPSC: the module claims while it waits. */
			if (!ret)
				ret = __scatto_many_send_claimed(p, rest,
								 n - sent);
		}
		if (ret < 0)
			return sent ? (int)sent : ret;
		sent += (uint32_t)ret;
	}
	return (int)sent;
}

/**
 * scatto_send_batch() - send events, wait for room
 * @p: the producer
 * @evs: the events, one after the other
 * @n: how many
 *
 * Return: as scatto_send_batch_until().
 */
SCATTO_INLINE int scatto_send_batch(struct scatto_producer *p, const void *evs,
				    uint32_t n)
{
	return scatto_send_batch_until(p, evs, n, SCATTO_FOREVER);
}

/* Producers: state */

/**
 * scatto_available_slots() - free slots
 * @p: the producer
 *
 * What is claimed and not published is not free, whoever has claimed it.
 *
 * Return: 0 to the capacity; -EBADMSG.
 */
SCATTO_INLINE int scatto_available_slots(struct scatto_producer *p)
{
	uint64_t capacity = p->mask + 1;
	uint64_t used;
	__u64 seq;

	if (p->claim_cursor) {
		used = __scatto_many_used(p, &seq);
		return used > capacity ? -EBADMSG : (int)(capacity - used);
	}
	used = p->next - __atomic_load_n(p->cursor, __ATOMIC_ACQUIRE);
	if (__scatto_unlikely(used > capacity ||
			      p->claimed > capacity - used))
		return -EBADMSG;
	return (int)(capacity - used - p->claimed);
}

/**
 * scatto_producer_is_disconnected() - will nobody read what is sent?
 * @p: the producer
 *
 * Return: 1 when the consumer has gone for good or the channel was closed.
 */
SCATTO_INLINE int
scatto_producer_is_disconnected(const struct scatto_producer *p)
{
	return !!(__atomic_load_n(&p->chan->state, __ATOMIC_ACQUIRE) &
		  SCATTO_STATE_SEND_EPIPE);
}

/* Consumers: one event */

/**
 * scatto_try_recv() - receive an event if there is one
 * @c: the consumer
 * @buf: room for one event
 *
 * Return: 0; -EAGAIN; -EPIPE; -EBADMSG.
 */
SCATTO_INLINE int scatto_try_recv(struct scatto_consumer *c, void *buf)
{
	if (__scatto_unlikely(c->next == c->avail)) {
		int ret = __scatto_consumer_fill(c, 1);

		if (ret)
			return ret;
	}
	__scatto_copy(buf, __scatto_consumer_slot(c, c->next), c->slot_size);
	__scatto_consumer_flush(c, c->next + 1);
	return 0;
}

/**
 * scatto_recv_until() - receive an event, wait for it until a deadline
 * @c: the consumer
 * @buf: room for one event
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * Return: 0; -EPIPE; -ETIMEDOUT; -EINTR; -EBADMSG.
 */
SCATTO_INLINE int scatto_recv_until(struct scatto_consumer *c, void *buf,
				    uint64_t deadline)
{
	for (;;) {
		int ret = scatto_try_recv(c, buf);

		if (!__scatto_unlikely(ret == -EAGAIN))
			return ret;
		ret = __scatto_consumer_wait(c, deadline);
		if (ret)
			return ret;
	}
}

/**
 * scatto_recv() - receive an event, wait for it
 * @c: the consumer
 * @buf: room for one event
 *
 * Return: as scatto_recv_until().
 */
SCATTO_INLINE int scatto_recv(struct scatto_consumer *c, void *buf)
{
	return scatto_recv_until(c, buf, SCATTO_FOREVER);
}

/* Consumers: without a copy */

/**
 * scatto_peek() - see which events can be read
 * @c: the consumer
 * @max: how many are of interest
 *
 * Shows a run of consecutive events: it ends before a tombstone, which is
 * skipped once the run is released, and before an event that was preceded by a
 * loss, so that scatto_lost() tells the loss before the first of them.
 *
 * The events stay what they are until they are released, as far as the
 * producer plays by the rules: who does not trust it copies what it checks.
 *
 * Return: how many, 1 to @max; -EAGAIN; -EPIPE; -EINVAL (@max is 0); -EBADMSG.
 */
SCATTO_INLINE int scatto_peek(struct scatto_consumer *c, uint32_t max)
{
	if (__scatto_unlikely(!max))
		return -EINVAL;
	if (c->avail - c->next < max) {
		int ret = __scatto_consumer_fill(c, max);

		if (ret && c->avail == c->next)
			return ret;
		if (c->avail - c->next < max)
			max = (uint32_t)(c->avail - c->next);
	}
	return (int)max;
}

/**
 * scatto_peek_slot() - one of the events that scatto_peek() has shown
 * @c: the consumer
 * @i: which, from 0: the first that is not released
 *
 * Return: the event; NULL when @i was not shown.
 */
SCATTO_INLINE const void *scatto_peek_slot(const struct scatto_consumer *c,
					   uint32_t i)
{
	if (__scatto_unlikely(i >= c->avail - c->next))
		return NULL;
	return __scatto_consumer_slot(c, c->next + i);
}

/**
 * scatto_release() - let the producer write over events
 * @c: the consumer
 * @n: how many of those that scatto_peek() has shown, from the first
 *
 * Return: 0; -EINVAL (0, or more than were shown).
 */
SCATTO_INLINE int scatto_release(struct scatto_consumer *c, uint32_t n)
{
	if (__scatto_unlikely(!n || n > c->avail - c->next))
		return -EINVAL;
	__scatto_consumer_flush(c, c->next + n);
	return 0;
}

/* Consumers: many events */

/**
 * scatto_try_recv_batch() - receive the events that are there
 * @c: the consumer
 * @buf: room for @max events
 * @max: how many
 *
 * As with scatto_peek(), scatto_lost() tells the loss before the first of them,
 * and there was none between them.
 *
 * Return: how many, 1 to @max; -EAGAIN; -EPIPE; -EINVAL (@max is 0); -EBADMSG.
 */
SCATTO_INLINE int scatto_try_recv_batch(struct scatto_consumer *c, void *buf,
					uint32_t max)
{
	int n = scatto_peek(c, max);

	if (n > 0) {
		__scatto_copy_out(c, (unsigned char *)buf, (uint32_t)n);
		__scatto_consumer_flush(c, c->next + (uint32_t)n);
	}
	return n;
}

/**
 * scatto_recv_batch_until() - receive events, wait for one until a deadline
 * @c: the consumer
 * @buf: room for @max events
 * @max: how many at most
 * @deadline: CLOCK_MONOTONIC nanoseconds, or SCATTO_FOREVER
 *
 * Return: how many, 1 to @max; -EPIPE; -EINVAL (@max is 0); -ETIMEDOUT; -EINTR;
 * -EBADMSG.
 */
SCATTO_INLINE int scatto_recv_batch_until(struct scatto_consumer *c, void *buf,
					  uint32_t max, uint64_t deadline)
{
	for (;;) {
		int ret = scatto_try_recv_batch(c, buf, max);

		if (!__scatto_unlikely(ret == -EAGAIN))
			return ret;
		ret = __scatto_consumer_wait(c, deadline);
		if (ret)
			return ret;
	}
}

/**
 * scatto_recv_batch() - receive events, wait for one
 * @c: the consumer
 * @buf: room for @max events
 * @max: how many at most
 *
 * Return: as scatto_recv_batch_until().
 */
SCATTO_INLINE int scatto_recv_batch(struct scatto_consumer *c, void *buf,
				    uint32_t max)
{
	return scatto_recv_batch_until(c, buf, max, SCATTO_FOREVER);
}

/* Consumers: state */

/**
 * scatto_consumer_is_disconnected() - has the stream ended?
 * @c: the consumer
 *
 * Return: 1 when nothing will come but what is there already.
 */
SCATTO_INLINE int
scatto_consumer_is_disconnected(const struct scatto_consumer *c)
{
	return __atomic_load_n(&c->chan->end, __ATOMIC_ACQUIRE) !=
	       SCATTO_END_OPEN;
}

/**
 * scatto_lost() - events lost just before what was last received or peeked
 * @c: the consumer
 *
 * A producer that waits for room loses nothing; the kernel cannot wait.
 *
 * Return: how many were lost before the first of those events.
 */
SCATTO_INLINE uint64_t scatto_lost(const struct scatto_consumer *c)
{
	return c->lost;
}

/**
 * scatto_lost_total() - events lost in front of this consumer so far
 * @c: the consumer
 *
 * Return: how many.
 */
SCATTO_INLINE uint64_t scatto_lost_total(const struct scatto_consumer *c)
{
	return c->lost_total;
}

/**
 * scatto_tombstones() - slots without an event that were skipped
 * @c: the consumer
 *
 * Slots become tombstones when their claim is aborted, published in part, or
 * left behind by a dead producer. scatto_skipped() tells which they were.
 *
 * Return: how many this consumer has skipped so far.
 */
SCATTO_INLINE uint64_t scatto_tombstones(const struct scatto_consumer *c)
{
	return c->tombstones;
}

/**
 * scatto_producer_position() - the number of the next event to publish
 * @p: the producer
 *
 * On kind MPSC it is another's as well, unless a claim is outstanding: then it is
 * that of the first slot claimed.
 *
 * Return: how many events were published (kind MPSC: slots claimed) before it.
 */
SCATTO_INLINE uint64_t scatto_producer_position(const struct scatto_producer *p)
{
	if (p->claim_cursor && !p->claimed)
		return __atomic_load_n(p->claim_cursor, __ATOMIC_RELAXED);
	return p->next;
}

/**
 * scatto_consumer_position() - the number of the next event to read
 * @c: the consumer
 *
 * Return: how many events came before it.
 */
SCATTO_INLINE uint64_t scatto_consumer_position(const struct scatto_consumer *c)
{
	return c->next;
}

/**
 * scatto_producer_slot_size() - bytes of an event
 * @p: the producer
 *
 * Return: as at the channel's creation.
 */
SCATTO_INLINE uint32_t
scatto_producer_slot_size(const struct scatto_producer *p)
{
	return p->slot_size;
}

/**
 * scatto_consumer_slot_size() - bytes of an event
 * @c: the consumer
 *
 * Return: as at the channel's creation.
 */
SCATTO_INLINE uint32_t
scatto_consumer_slot_size(const struct scatto_consumer *c)
{
	return c->slot_size;
}

#ifdef __cplusplus
}
#endif

#endif /* _SCATTO_H */
