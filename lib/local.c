// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The local backend: a sealed memfd laid out as the module lays out its
 * regions, and futexes. Nothing is enforced and no death is noticed: a place
 * that a killed process held stays taken, and who sleeps for it sleeps on (a
 * deadline bounds that). It never makes the survivors spin.
 *
 * Sleeping and waking, for either side:
 *
 *	sleeper				publisher
 *	S1 s = seq			P1 position = pos	(release)
 *	S2 arm: wake = min(wake, want)	P2 w = wake		(relaxed)
 *	S3 full barrier on all CPUs	P3 if (pos >= w):
 *	S4 look at the position		P4	disarm: wake = idle
 *	S5 FUTEX_WAIT(seq, s)		P5	seq++
 *					P6	FUTEX_WAKE(seq, all)
 *
 * S3 is membarrier(2), which makes the CPUs of all registered processes execute
 * a barrier, so P1 and P2 need none. Either P2 comes after it and sees the word
 * armed, or P1 comes before it and S4 sees the position. Where membarrier(2) is
 * not to be had at creation, SCATTO_F_FENCE puts a fence at both places.
 *
 * Several sleepers share a word and a futex. Whoever finds the word low enough
 * leaves it. S1 comes before S2, P4 before P5: a sleeper that relies on an
 * armed word which is then disarmed, by whomever, has read seq before it
 * changes, so S5 does not sleep, or P6 ends it. Everybody woken looks again and
 * arms again, unless it has what it wants. A sleeper that leaves for another
 * reason leaves the word armed, since others may rely on it; that costs a
 * publisher one system call.
 *
 * A wake word of 0 is final: the other side is told to come and look at state.
 *
 * Kind MPSC: P1 is the stamp of a slot, P3 the look of
 * Documentation/many-producers.rst. Nobody claims for a producer that sleeps:
 * woken, it tries again, and another may have been quicker.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"
#include "local.h"

/* As the module's. */
#define DEFAULT_PRODUCERS	64

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL	0x0008U
#endif

_Static_assert(sizeof(struct scatto_channel_area) <= LOCAL_OFFSET,
	       "the channel's words reach into the local ones");
_Static_assert(LOCAL_OFFSET + sizeof(struct scatto_local) <= 4096,
	       "the local words do not fit into a page");

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static int futex_wait(__u32 *word, __u32 value, uint64_t deadline)
{
	struct { long sec, nsec; } at;
	uint64_t sec = deadline / 1000000000;

	at.sec = sec > LONG_MAX ? LONG_MAX : (long)sec;
	at.nsec = (long)(deadline % 1000000000);
	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value,
		    deadline == SCATTO_FOREVER ? NULL : &at, NULL,
		    FUTEX_BITSET_MATCH_ANY) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

static bool membarrier_register(void)
{
	return !syscall(SYS_membarrier,
			MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
}

/* S3 */
static int barrier_for_all(const struct __scatto_endpoint *ep)
{
	if (ep->layout.flags & SCATTO_F_FENCE) {
		__sync_synchronize();
		return 0;
	}
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0))
		return -EOPNOTSUPP;
	return 0;
}

/* The side that @ep waits on, or the one that waits for it. */
static struct scatto_local_side *side_of(const struct __scatto_endpoint *ep,
					 bool mine)
{
	bool consumer = ep->role == SCATTO_ROLE_CONSUMER;

	return consumer == mine ? &ep->local->data : &ep->local->space;
}

static __u64 *word_of(const struct __scatto_endpoint *ep, bool mine)
{
	bool consumer = ep->role == SCATTO_ROLE_CONSUMER;
	struct scatto_channel_area *chan = endpoint_channel(ep);

	return consumer == mine ? &chan->data_wake : &chan->space_wake;
}

static bool stream_over(const struct __scatto_endpoint *ep, bool consumer)
{
	struct scatto_channel_area *chan = endpoint_channel(ep);

	if (consumer)
		return __atomic_load_n(&chan->end, __ATOMIC_ACQUIRE) !=
		       SCATTO_END_OPEN;
	return __atomic_load_n(&chan->state, __ATOMIC_ACQUIRE) &
	       SCATTO_STATE_SEND_EPIPE;
}

/* S2. A word of 0 is as low as can be. */
static void side_arm(__u64 *word, uint64_t want)
{
	__u64 now = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (now > want &&
	       !__atomic_compare_exchange_n(word, &now, want, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

/* P5, P6 */
static void side_wake(struct scatto_local_side *side)
{
	__atomic_fetch_add(&side->seq, 1, __ATOMIC_RELEASE);
	__atomic_fetch_add(&side->wakes, 1, __ATOMIC_RELAXED);
	syscall(SYS_futex, &side->seq, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/*
 * P4. A final 0 is never overwritten: it is stored after the state that says
 * why, and found here with acquire. A 0 without a reason is somebody's mischief
 * and treated as any armed word, so that not every event costs a system call.
 */
static bool side_disarm(const struct __scatto_endpoint *ep)
{
	bool waiter_consumes = ep->role != SCATTO_ROLE_CONSUMER;
	__u64 *word = word_of(ep, false);
	__u64 now = __atomic_load_n(word, __ATOMIC_ACQUIRE);

	if (now == SCATTO_WAKE_IDLE)
		return false;
	if (!now && waiter_consumes && stream_over(ep, false))
		return false;
	/* A word that changes meanwhile is an arming: that sleeper looks. */
	__atomic_compare_exchange_n(word, &now, SCATTO_WAKE_IDLE, false,
				    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	return true;
}

static void local_wake(struct __scatto_endpoint *ep)
{
	KEEP_ERRNO();

	if (side_disarm(ep))
		side_wake(side_of(ep, false));
}

/*
 * One that sleeps for a threshold goes on with less when the other side sleeps,
 * too. Each side counts itself, executes a barrier and then looks for the
 * other, so at least the later one notices. It tells the other once: if that
 * cannot go on, telling it again would keep both awake. What is enough may come
 * from a third when the two sleep already, so who knows that the other side
 * sleeps arms for that.
 */
static int local_sleep(struct __scatto_endpoint *ep,
		       const struct sleep_req *req)
{
	bool consumer = ep->role == SCATTO_ROLE_CONSUMER;
	struct scatto_local_side *side = side_of(ep, true);
	struct scatto_local_side *other = side_of(ep, false);
	bool told = false;
	int ret;
	KEEP_ERRNO();

	__atomic_fetch_add(&side->sleepers, 1, __ATOMIC_RELAXED);
	for (;;) {
		__u32 seq = __atomic_load_n(&side->seq, __ATOMIC_ACQUIRE);
		uint64_t want = __atomic_load_n(&other->sleepers,
						__ATOMIC_RELAXED) ?
				req->enough : req->want;

		side_arm(word_of(ep, true), want);
		ret = barrier_for_all(ep);
		if (ret || req->reached(req->arg, want) ||
		    stream_over(ep, consumer))
			break;
		if (__atomic_load_n(&other->sleepers, __ATOMIC_RELAXED)) {
			if (!told)
				local_wake(ep);
			told = true;
			if (want != req->enough)
				continue;
		}
		__atomic_fetch_add(&side->sleeps, 1, __ATOMIC_RELAXED);
		ret = futex_wait(&side->seq, seq, req->deadline);
		/* Who has what it wants need not arm again. */
		if (ret || req->reached(req->arg, req->want))
			break;
	}
	__atomic_fetch_sub(&side->sleepers, 1, __ATOMIC_RELAXED);
	return ret;
}

static uint64_t consumed_of(const struct __scatto_endpoint *ep)
{
	return __atomic_load_n(&endpoint_consumer(ep)->cursor,
			       __ATOMIC_ACQUIRE);
}

/* Kind MPSC: the first slot that is not stamped. */
static uint64_t first_hole(const struct __scatto_endpoint *ep)
{
	unsigned int shift = (unsigned int)__builtin_ctzll(ep->layout.capacity);
	uint64_t mask = ep->layout.capacity - 1;
	uint64_t head = consumed_of(ep);
	uint64_t pos = head;

	while (pos - head <= mask &&
	       stamp_is(__atomic_load_n(&endpoint_stamps(ep)[pos & mask],
					__ATOMIC_ACQUIRE), pos, shift))
		pos++;
	return pos;
}

/*
 * Kind MPSC: what is claimed and has no stamp gets one. Nobody is interrupted:
 * who stamps such a slot later finds that the channel is closed.
 */
static void fill_holes(const struct __scatto_endpoint *ep, uint64_t pos,
		       uint64_t to)
{
	unsigned int shift = (unsigned int)__builtin_ctzll(ep->layout.capacity);
	uint64_t mask = ep->layout.capacity - 1;

	for (; pos != to; pos++) {
		__u64 *at = &endpoint_stamps(ep)[pos & mask];
		__u64 stamp = __atomic_load_n(at, __ATOMIC_ACQUIRE);

		if (stamp_is(stamp, pos, shift))
			continue;
		if (__atomic_compare_exchange_n(at, &stamp, stamp_lap(pos, shift) |
						SCATTO_STAMP_TOMBSTONE, false,
						__ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			__atomic_fetch_add(&endpoint_channel(ep)->tombstones, 1,
					   __ATOMIC_RELAXED);
	}
}

/* Everything that anybody may still read is written, or is after this. */
static void end_stream(const struct __scatto_endpoint *ep)
{
	struct scatto_channel_area *chan = endpoint_channel(ep);
	const struct scatto_producer_area *prod = endpoint_producer(ep);
	bool many = ep->layout.kind == SCATTO_KIND_MPSC;
	uint64_t tail = __atomic_load_n(many ? &prod->claimed :
					&prod->published, __ATOMIC_ACQUIRE);
	uint64_t head = consumed_of(ep);
	__u64 open = SCATTO_END_OPEN;

	/* Nobody is left who could stamp, so claims are of no interest. */
	if (many && ep->role == SCATTO_ROLE_PRODUCER)
		tail = first_hole(ep);
	else if (tail - head > ep->layout.capacity)
		tail = head;
	else if (many)
		fill_holes(ep, head, tail);
	__atomic_compare_exchange_n(&chan->end, &open, tail, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

/* Returns what it was. */
static __u32 set_state(struct __scatto_endpoint *ep, __u32 bits)
{
	return __atomic_fetch_or(&endpoint_channel(ep)->state, bits,
				 __ATOMIC_ACQ_REL);
}

/* Kind MPSC: a place, or -EBUSY, or -EPIPE once the last producer has left. */
static int place_take(struct __scatto_endpoint *ep)
{
	struct scatto_local *local = ep->local;
	__u32 n = __atomic_load_n(&local->entered, __ATOMIC_RELAXED);
	uint32_t i;

	do {
		if (n & LOCAL_OVER)
			return -EPIPE;
		if (n >= ep->layout.max_producers)
			return -EBUSY;
	} while (!__atomic_compare_exchange_n(&local->entered, &n, n + 1, false,
					      __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	/* A bit is given back before its count: one of them is free. */
	for (i = 0; i < ep->layout.max_producers; i++) {
		__u64 bit = 1ULL << i % 64;

		if (!(__atomic_fetch_or(&local->places[i / 64], bit,
					__ATOMIC_ACQ_REL) & bit)) {
			ep->index = i;
			__atomic_store_n(&endpoint_intent(ep)->lo,
					 SCATTO_INTENT_NONE, __ATOMIC_RELEASE);
			__atomic_fetch_add(&endpoint_channel(ep)->producers, 1,
					   __ATOMIC_RELAXED);
			return 0;
		}
	}
	/* Somebody forges. */
	__atomic_fetch_sub(&local->entered, 1, __ATOMIC_RELEASE);
	return -EBUSY;
}

/* Gives it back; true when it was the last, and nobody can come after it. */
static bool place_leave(struct __scatto_endpoint *ep, bool pause)
{
	struct scatto_local *local = ep->local;
	__u32 n = __atomic_load_n(&local->entered, __ATOMIC_RELAXED);
	__u32 left;

	__atomic_store_n(&endpoint_intent(ep)->lo, SCATTO_INTENT_NONE,
			 __ATOMIC_RELEASE);
	__atomic_fetch_sub(&endpoint_channel(ep)->producers, 1,
			   __ATOMIC_RELAXED);
	__atomic_fetch_and(&local->places[ep->index / 64],
			   ~(1ULL << ep->index % 64), __ATOMIC_RELEASE);
	do {
		left = n == 1 && !pause ? LOCAL_OVER : n - 1;
	} while (!__atomic_compare_exchange_n(&local->entered, &n, left, false,
					      __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return left == LOCAL_OVER;
}

static void leave_many(struct __scatto_endpoint *ep)
{
	if (!place_leave(ep, ep->layout.flags & SCATTO_F_PAUSE))
		return;
	end_stream(ep);
	set_state(ep, SCATTO_STATE_NO_PRODUCER);
	side_wake(&ep->local->data);
}

/*
 * What ends is said before the place is given up: whoever takes it afterwards
 * sees the end.
 */
static void local_detach(struct __scatto_endpoint *ep)
{
	struct scatto_channel_area *chan = endpoint_channel(ep);
	bool pause = ep->layout.flags & SCATTO_F_PAUSE;

	if (ep->role == SCATTO_ROLE_PRODUCER &&
	    ep->layout.kind == SCATTO_KIND_MPSC) {
		leave_many(ep);
	} else if (ep->role == SCATTO_ROLE_PRODUCER) {
		if (!pause) {
			end_stream(ep);
			set_state(ep, SCATTO_STATE_NO_PRODUCER);
		}
		__atomic_store_n(&chan->producers, 0, __ATOMIC_RELEASE);
		if (!pause)
			side_wake(&ep->local->data);
	} else if (ep->role == SCATTO_ROLE_CONSUMER) {
		if (!pause) {
			set_state(ep, SCATTO_STATE_NO_CONSUMER);
			__atomic_store_n(&chan->data_wake, 0, __ATOMIC_RELEASE);
		}
		__atomic_store_n(&chan->consumers, 0, __ATOMIC_RELEASE);
		if (!pause)
			side_wake(&ep->local->space);
	}
}

static int local_close(struct __scatto_endpoint *ep)
{
	struct scatto_channel_area *chan = endpoint_channel(ep);

	if (set_state(ep, SCATTO_STATE_CLOSED) & SCATTO_STATE_CLOSED)
		return -EPIPE;
	__atomic_store_n(&chan->data_wake, 0, __ATOMIC_RELEASE);
	/*
	 * Who has published and seen neither has done so before this, and what
	 * it has published is visible. Without membarrier(2) now, although there
	 * was at creation, an event may be left out of the stream.
	 */
	barrier_for_all(ep);
	end_stream(ep);
	side_wake(&ep->local->data);
	side_wake(&ep->local->space);
	return 0;
}

static int local_info(const struct __scatto_endpoint *ep,
		      struct scatto_info *info)
{
	const struct scatto_channel_area *chan = endpoint_channel(ep);
	const struct scatto_producer_area *prod = endpoint_producer(ep);
	const struct scatto_local *local = ep->local;
	struct stat st;

	if (fstat(ep->fd, &st))
		return -errno;
	*info = (struct scatto_info){
		.size = sizeof(*info),
		.role = ep->role,
		.index = ep->index,
		.state = __atomic_load_n(&chan->state, __ATOMIC_RELAXED),
		.id = __atomic_load_n(&chan->id, __ATOMIC_RELAXED),
		.position = ep->position,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.producers = __atomic_load_n(&chan->producers,
					     __ATOMIC_RELAXED),
		.consumers = __atomic_load_n(&chan->consumers,
					     __ATOMIC_RELAXED),
		.bytes = (uint64_t)st.st_size,
		.published = __atomic_load_n(ep->layout.kind ==
					     SCATTO_KIND_SPSC ?
					     &prod->published : &prod->claimed,
					     __ATOMIC_RELAXED),
		.consumed = __atomic_load_n(&endpoint_consumer(ep)->cursor,
					    __ATOMIC_RELAXED),
		.end = __atomic_load_n(&chan->end, __ATOMIC_RELAXED),
		.dropped = __atomic_load_n(&chan->dropped, __ATOMIC_RELAXED),
		.tombstones = __atomic_load_n(&chan->tombstones,
					      __ATOMIC_RELAXED),
		.data_sleeps = __atomic_load_n(&local->data.sleeps,
					       __ATOMIC_RELAXED),
		.data_wakes = __atomic_load_n(&local->data.wakes,
					      __ATOMIC_RELAXED),
		.space_sleeps = __atomic_load_n(&local->space.sleeps,
						__ATOMIC_RELAXED),
		.space_wakes = __atomic_load_n(&local->space.wakes,
					       __ATOMIC_RELAXED),
		.layout = ep->layout,
		.skipped = __atomic_load_n(&endpoint_consumer(ep)->skipped,
					   __ATOMIC_RELAXED),
	};
	return 0;
}

static const struct backend local_backend = {
	.detach	= local_detach,
	.sleep	= local_sleep,
	.wake	= local_wake,
	.close	= local_close,
	.info	= local_info,
};

/* Geometry to offsets and sizes, the same in every process. */
static int local_layout(struct scatto_layout *layout, uint32_t role)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t at = 0;
	uint32_t i;

	if (layout->kind != SCATTO_KIND_SPSC &&
	    layout->kind != SCATTO_KIND_MPSC)
		return -EINVAL;
	if (layout->flags & ~(uint32_t)(SCATTO_F_PAUSE | SCATTO_F_FENCE))
		return -EINVAL;
	if (!layout->max_producers || layout->max_producers >
	    (layout->kind == SCATTO_KIND_MPSC ? SCATTO_MAX_PRODUCERS : 1))
		return -EINVAL;
	if (layout->slot_size < SCATTO_MIN_SLOT_SIZE ||
	    layout->slot_size > SCATTO_MAX_SLOT_SIZE)
		return -EINVAL;
	if (layout->capacity < SCATTO_MIN_CAPACITY ||
	    layout->capacity > SCATTO_MAX_CAPACITY ||
	    layout->capacity & (layout->capacity - 1))
		return -EINVAL;

	layout->slot_stride = (uint32_t)round_up(layout->slot_size, 8);
	layout->consumer_stride = (uint32_t)page;
	layout->max_consumers = 1;
	if (layout->kind == SCATTO_KIND_MPSC) {
		layout->slot_offset = round_up(layout->capacity * 8,
					       SCATTO_LINE);
		layout->intent_offset = sizeof(struct scatto_producer_area);
		layout->intent_stride = sizeof(struct scatto_intent);
	}

	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		struct scatto_region *region = &layout->region[i];

		region->offset = at;
		region->size = page;
		if (i == SCATTO_REGION_PRODUCER)
			region->size = round_up(sizeof(struct scatto_producer_area) +
						(uint64_t)layout->intent_stride *
						layout->max_producers, page);
		if (i == SCATTO_REGION_DATA)
			region->size = round_up(layout->slot_offset +
						layout->capacity *
						layout->slot_stride, page);
		at += region->size;
	}
	/* The wait words are the users' own to write here. */
	layout->region[SCATTO_REGION_CHANNEL].writable =
		role != SCATTO_ROLE_OBSERVER;
	layout->region[SCATTO_REGION_PRODUCER].writable =
		role == SCATTO_ROLE_PRODUCER;
	layout->region[SCATTO_REGION_CONSUMER].writable =
		role == SCATTO_ROLE_CONSUMER;
	/* An owner that closes makes tombstones. */
	layout->region[SCATTO_REGION_DATA].writable =
		role == SCATTO_ROLE_PRODUCER ||
		(role == SCATTO_ROLE_OWNER && layout->kind == SCATTO_KIND_MPSC);
	return 0;
}

static uint64_t layout_bytes(const struct scatto_layout *layout)
{
	const struct scatto_region *last = &layout->region[SCATTO_REGION_DATA];

	return last->offset + last->size;
}

/*
 * Reads what a memfd says of itself, once, and believes it only after it fits:
 * a regular tmpfs file (huge pages could be missing when they are touched)
 * that cannot shrink and is as large as its geometry needs.
 */
static int local_read(int fd, uint32_t role, struct scatto_layout *layout)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const struct scatto_channel_area *chan;
	const struct scatto_local *local;
	struct statfs fs;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	int ret = -EPROTO;
	void *map;

	if (seals < 0)
		return errno == EBADF ? -EBADF : -EINVAL;
	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return -errno;
	if (!(seals & F_SEAL_SHRINK) || !S_ISREG(st.st_mode) ||
	    fs.f_type != TMPFS_MAGIC || st.st_size < (off_t)page)
		return -EINVAL;

	map = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	chan = map;
	local = (void *)((char *)map + LOCAL_OFFSET);
	if (__atomic_load_n(&chan->magic, __ATOMIC_RELAXED) != SCATTO_MAGIC ||
	    __atomic_load_n(&local->magic, __ATOMIC_RELAXED) != LOCAL_MAGIC) {
		ret = -EINVAL;
		goto unmap;
	}
	if (__atomic_load_n(&chan->abi, __ATOMIC_RELAXED) !=
	    SCATTO_ABI_VERSION ||
	    __atomic_load_n(&local->version, __ATOMIC_RELAXED) != LOCAL_VERSION)
		goto unmap;
	memset(layout, 0, sizeof(*layout));
	layout->kind = __atomic_load_n(&chan->kind, __ATOMIC_RELAXED);
	layout->flags = __atomic_load_n(&chan->flags, __ATOMIC_RELAXED);
	layout->slot_size = __atomic_load_n(&chan->slot_size, __ATOMIC_RELAXED);
	layout->capacity = __atomic_load_n(&chan->capacity, __ATOMIC_RELAXED);
	layout->max_producers = __atomic_load_n(&local->max_producers,
						__ATOMIC_RELAXED);
	ret = local_layout(layout, role);
	if (!ret && (uint64_t)st.st_size < layout_bytes(layout))
		ret = -EINVAL;
unmap:
	munmap(map, page);
	return ret;
}

static int local_map(int fd, uint32_t role, struct __scatto_endpoint *ep)
{
	int ret;

	ep->backend = &local_backend;
	ep->fd = fd;
	ep->role = role;
	ret = local_read(fd, role, &ep->layout);
	if (!ret)
		ret = endpoint_map(ep);
	if (!ret)
		ep->local = (void *)((char *)endpoint_channel(ep) +
				     LOCAL_OFFSET);
	return ret;
}

/* A handle for the owner; @fd is taken over on success. */
int local_adopt(int fd, struct __scatto_endpoint *ep)
{
	return local_map(fd, SCATTO_ROLE_OWNER, ep);
}

int local_create(const struct scatto_config *cfg, struct __scatto_endpoint *ep)
{
	struct scatto_layout layout = {
		.kind = cfg->kind,
		.flags = cfg->flags,
		.slot_size = cfg->slot_size,
		.capacity = cfg->capacity,
		.max_producers = cfg->max_producers,
	};
	struct scatto_channel_area *chan;
	struct stat st;
	int fd, ret;
	char *page;

	if (cfg->flags & ~(uint32_t)SCATTO_F_CREATE)
		return -EINVAL;
	/* There is no kernel here that could produce. */
	layout.flags &= ~(uint32_t)SCATTO_F_SHARED;
	if (!layout.max_producers)
		layout.max_producers = cfg->kind == SCATTO_KIND_MPSC ?
				       DEFAULT_PRODUCERS : 1;
	ret = local_layout(&layout, SCATTO_ROLE_OWNER);
	if (ret)
		return ret;
	if (cfg->name || cfg->flags & SCATTO_F_SHARED)
		return -EOPNOTSUPP;

	fd = memfd_create("scatto", MFD_CLOEXEC | MFD_ALLOW_SEALING |
			  MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("scatto", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)layout_bytes(&layout)) || fstat(fd, &st)) {
		ret = errno == EFBIG ? -ENOMEM : -errno;
		goto close;
	}
	page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (page == MAP_FAILED) {
		ret = -errno;
		goto close;
	}
	chan = (struct scatto_channel_area *)page;
	chan->magic = SCATTO_MAGIC;
	chan->abi = SCATTO_ABI_VERSION;
	chan->kind = layout.kind;
	chan->flags = layout.flags;
	if (!membarrier_register())
		chan->flags |= SCATTO_F_FENCE;
	chan->slot_size = layout.slot_size;
	chan->slot_stride = layout.slot_stride;
	chan->capacity = layout.capacity;
	chan->id = st.st_ino;
	chan->data_wake = SCATTO_WAKE_IDLE;
	chan->space_wake = SCATTO_WAKE_IDLE;
	chan->end = SCATTO_END_OPEN;
	*(struct scatto_local *)(page + LOCAL_OFFSET) = (struct scatto_local){
		.magic = LOCAL_MAGIC,
		.version = LOCAL_VERSION,
		.max_producers = layout.max_producers,
	};
	munmap(page, (size_t)sysconf(_SC_PAGESIZE));

	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		ret = -errno;
		goto close;
	}
	ret = local_map(fd, SCATTO_ROLE_OWNER, ep);
	if (!ret)
		return 0;
close:
	close(fd);
	return ret;
}

/*
 * Takes the place, then looks whether the stream is over: who leaves says that
 * first and gives up the place afterwards.
 */
static int local_enter(struct __scatto_endpoint *ep)
{
	struct scatto_channel_area *chan = endpoint_channel(ep);
	bool producer = ep->role == SCATTO_ROLE_PRODUCER;
	bool many = ep->layout.kind == SCATTO_KIND_MPSC;
	__u32 *place = producer ? &chan->producers : &chan->consumers;
	__u32 over = SCATTO_STATE_NO_CONSUMER, none = 0;
	uint64_t head, tail;
	int ret = -EBADMSG;

	if (!(ep->layout.flags & SCATTO_F_FENCE) && !membarrier_register())
		return -EOPNOTSUPP;
	/* What was sent before the end may still be read. */
	if (producer)
		over = SCATTO_STATE_SEND_EPIPE | SCATTO_STATE_NO_PRODUCER;
	if (__atomic_load_n(&chan->state, __ATOMIC_ACQUIRE) & over)
		return -EPIPE;
	if (producer && many) {
		ret = place_take(ep);
		if (ret)
			return ret;
		if (__atomic_load_n(&chan->state, __ATOMIC_ACQUIRE) & over) {
			leave_many(ep);
			return -EPIPE;
		}
		ep->position = __atomic_load_n(&endpoint_producer(ep)->claimed,
					       __ATOMIC_ACQUIRE);
		return 0;
	}
	if (!__atomic_compare_exchange_n(place, &none, 1, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return -EBUSY;
	if (__atomic_load_n(&chan->state, __ATOMIC_ACQUIRE) & over) {
		ret = -EPIPE;
		goto leave;
	}

	head = __atomic_load_n(&endpoint_consumer(ep)->cursor,
			       __ATOMIC_ACQUIRE);
	if (!many) {
		tail = __atomic_load_n(&endpoint_producer(ep)->published,
				       __ATOMIC_ACQUIRE);
		if (tail - head > ep->layout.capacity)
			goto leave;
		ep->position = producer ? tail : head;
	} else {
		ep->position = head;
	}
	return 0;
leave:
	__atomic_store_n(place, 0, __ATOMIC_RELEASE);
	return ret;
}

/* @fd is taken over on success. */
int local_attach(uint32_t role, int fd, struct __scatto_endpoint *ep)
{
	int ret = local_map(fd, role, ep);

	if (ret || role == SCATTO_ROLE_OBSERVER)
		return ret;
	ret = local_enter(ep);
	if (ret)
		endpoint_unmap(ep);
	return ret;
}
