// SPDX-License-Identifier: GPL-2.0-only
/*
 * libscatto against peers that write what they like: each input of libFuzzer is a
 * geometry, perhaps a forged one, and a script of calls and of words that change in
 * shared memory, also while a call sleeps. On the local backend, and on a stand-in
 * for the module behind open(), ioctl() and mmap().
 *
 * Memory beside what is mapped, and what the geometry leaves unused in it, may not
 * be touched: guard pages and poison see to that. Time passes by the look, so that
 * an input does the same each time.
 *
 * Linked with -Wl,--wrap=X for each __wrap_X below, see native/fuzz_library.sh.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../lib/internal.h"
#include "../../lib/local.h"
#include "wrap.h"

#define PAGE		4096UL
#define MAX_FILE	(64 * PAGE)
#define MAX_MAPPINGS	256
#define MAX_BATCH	600	/* more than the most slots */
#define FAKE_NAME	"fuzz"

/* The input, and all that lives as long as it */
static struct {
	const uint8_t *at;
	size_t left;
	int fd;
	bool kernel;
	uint64_t size;
	unsigned char *shared;		/* all of the file, as the peers see it */
	struct scatto_layout layout;	/* an honest one */
	struct scatto_layout forged;	/* what the fake module tells */
	uint64_t now;
	struct scatto_channel *ch;
	struct scatto_producer *p;
	struct scatto_consumer *c;
	struct scatto_observer *o;
} f;

#define MUST(cond) do {							\
	if (!(cond)) {							\
		fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
		abort();						\
	}								\
} while (0)

static uint8_t take8(void)
{
	if (!f.left)
		return 0;
	f.left--;
	return *f.at++;
}

static uint64_t take64(void)
{
	uint64_t v = 0;
	size_t n = f.left < 8 ? f.left : 8;

	memcpy(&v, f.at, n);
	f.at += n;
	f.left -= n;
	return v;
}

/* What peers write */

static uint64_t *word_at(uint64_t offset)
{
	return (uint64_t *)(f.shared + offset % (f.size - 7) / 8 * 8);
}

static uint64_t *region_word(unsigned int region, uint64_t offset)
{
	return word_at(f.layout.region[region].offset + offset);
}

static uint64_t *known_word(uint8_t which)
{
	const size_t local = LOCAL_OFFSET;

	switch (which % 16) {
	case 0:
		return region_word(SCATTO_REGION_PRODUCER, 0);
	case 1:
		return region_word(SCATTO_REGION_PRODUCER,
				   offsetof(struct scatto_producer_area, claimed));
	case 2:
	case 3:
		return region_word(SCATTO_REGION_CONSUMER, 0);
	case 4:
		return region_word(SCATTO_REGION_CHANNEL,
				   offsetof(struct scatto_channel_area, data_wake));
	case 5:
		return region_word(SCATTO_REGION_CHANNEL,
				   offsetof(struct scatto_channel_area, space_wake));
	case 6:
		return region_word(SCATTO_REGION_CHANNEL,
				   offsetof(struct scatto_channel_area, end));
	case 7:
		return region_word(SCATTO_REGION_CHANNEL,
				   offsetof(struct scatto_channel_area, state));
	case 8:
		return region_word(SCATTO_REGION_CHANNEL,
				   offsetof(struct scatto_channel_area, consumers));
	case 9:
		return region_word(SCATTO_REGION_PRODUCER, f.layout.intent_offset +
				   8 * (take8() % 32));
	case 10:
	case 11:
	case 12:
		return region_word(SCATTO_REGION_DATA,
				   8 * ((*region_word(SCATTO_REGION_CONSUMER, 0) + take8()) &
					(f.layout.capacity - 1)));
	case 13:
		return region_word(SCATTO_REGION_CHANNEL, local + 8 * (take8() % 64));
	case 14:
		return region_word(SCATTO_REGION_DATA, 8 * take8());
	default:
		return word_at(take64());
	}
}

static uint64_t some_value(void)
{
	uint64_t cursor = *region_word(SCATTO_REGION_CONSUMER, 0);
	uint64_t seq = cursor + take8();
	unsigned int shift = (unsigned int)__builtin_ctzll(f.layout.capacity);

	switch (take8() % 12) {
	case 0:
		return take64();
	case 1:
		return take8();
	case 2:
		return ~(uint64_t)take8();
	case 3:
		return seq;
	case 4:
		return cursor - take8();
	case 5:
		return cursor + f.layout.capacity;
	case 6:
		return cursor + f.layout.capacity + take8();
	case 7:
		return stamp_lap(seq, shift);
	case 8:
		return stamp_lap(seq, shift) | SCATTO_STAMP_TOMBSTONE;
	case 9:
		return stamp_lap(seq, shift) | SCATTO_STAMP_RUN |
		       (uint64_t)take8() << SCATTO_STAMP_LOST_SHIFT;
	case 10:
		return stamp_lap(cursor, shift) | (take64() & ~SCATTO_STAMP_LAP);
	default:
		return 1ULL << take8() % 64;
	}
}

static void poke(void)
{
	uint64_t *word = known_word(take8());

	__atomic_store_n(word, some_value(), __ATOMIC_RELAXED);
}

/* A call sleeps; what happens meanwhile? It is woken for no reason, or its time is up. */
static int nap(void)
{
	unsigned int n = take8() % 4;

	if (!f.left) {
		errno = EINTR;
		return -1;
	}
	while (n--)
		poke();
	switch (take8() % 8) {
	case 0:
		errno = ETIMEDOUT;
		return -1;
	case 1:
		errno = EINTR;
		return -1;
	default:
		return 0;
	}
}

/* What the library calls */

static size_t pages(size_t size)
{
	return (size + PAGE - 1) & ~(PAGE - 1);
}

/*
 * Mapping takes longer than all else: what the library unmaps is kept, poisoned, for
 * the next time that it wants the same.
 */
static struct mapping {
	unsigned char *at;
	size_t size;
	off_t offset;
	uint64_t file;		/* its size, one file for each */
	int prot;
	bool used;
} mappings[MAX_MAPPINGS];

static unsigned char *map_guarded(size_t size, int prot, int fd, off_t offset)
{
	size_t all = pages(size) + 2 * PAGE;
	unsigned char *p = __real_mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(p != MAP_FAILED);
	MUST(__real_mmap(p + PAGE, size, prot, MAP_SHARED | MAP_FIXED, fd, offset) != MAP_FAILED);
	return p + PAGE;
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	struct mapping *m, *empty = NULL;

	MUST(!at && flags == MAP_SHARED);
	if (!size) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	/* The library may ask for more than there is; the module says no. */
	if (size > MAX_FILE && f.kernel) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	for (m = mappings; m < mappings + MAX_MAPPINGS; m++) {
		if (!m->used && m->at && m->size == size && m->offset == offset &&
		    m->file == f.size && m->prot == prot)
			break;
		if (!m->used && (!empty || !m->at))
			empty = m;
	}
	if (m == mappings + MAX_MAPPINGS) {
		MUST(empty);
		m = empty;
		if (m->at) {
			ASAN_UNPOISON_MEMORY_REGION(m->at, pages(m->size));
			__real_munmap(m->at - PAGE, pages(m->size) + 2 * PAGE);
		}
		*m = (struct mapping){ map_guarded(size, prot, fd, offset), size, offset, f.size,
				       prot, false };
	}
	m->used = true;
	ASAN_UNPOISON_MEMORY_REGION(m->at, pages(size));
	return m->at;
}

int __wrap_munmap(void *at, size_t size)
{
	struct mapping *m;

	for (m = mappings; m->at != at; m++)
		MUST(m < mappings + MAX_MAPPINGS - 1);
	MUST(m->used && m->size == size);
	m->used = false;
	ASAN_POISON_MEMORY_REGION(at, pages(size));
	return 0;
}

int __wrap_madvise(void *at, size_t size, int advice)
{
	(void)at;
	(void)size;
	(void)advice;
	return 0;
}

int __wrap_open(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/scatto"))
		return __real_open(path, flags);
	return fcntl(f.fd, F_DUPFD_CLOEXEC, 0);
}

long __wrap_syscall(long nr, ...)
{
	va_list ap;
	long op;

	if (nr != SYS_futex)
		return 0;	/* membarrier */
	va_start(ap, nr);
	va_arg(ap, void *);
	op = va_arg(ap, int);
	va_end(ap);
	return op == 1 /* FUTEX_WAKE */ ? 0 : nap();
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	f.now += 1000;
	ts->tv_sec = (time_t)(f.now / 1000000000);
	ts->tv_nsec = (long)(f.now % 1000000000);
	return 0;
}

int __wrap_nanosleep(const struct timespec *ts, struct timespec *left)
{
	(void)left;
	f.now += (uint64_t)ts->tv_sec * 1000000000 + (uint64_t)ts->tv_nsec;
	if (f.left && !(take8() % 4))
		poke();
	return 0;
}

int __wrap_sched_yield(void)
{
	if (f.left && !(take8() % 4))
		poke();
	return 0;
}

/* The module, as far as the library can tell. Its answers are true, but for a layout. */

static void fake_layout(struct scatto_layout *l, uint32_t role)
{
	unsigned int i;

	*l = f.forged;
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		l->region[i].writable = role == SCATTO_ROLE_PRODUCER ?
			i == SCATTO_REGION_PRODUCER || i == SCATTO_REGION_DATA :
			role == SCATTO_ROLE_CONSUMER && i == SCATTO_REGION_CONSUMER;
}

static int fake_attach(struct scatto_attach *arg)
{
	fake_layout(&arg->layout, arg->role);
	arg->index = f.forged.max_producers ? take8() % f.forged.max_producers : 0;
	if (arg->role == SCATTO_ROLE_PRODUCER)
		arg->position = *region_word(SCATTO_REGION_PRODUCER, 0);
	if (arg->role == SCATTO_ROLE_CONSUMER)
		arg->position = *region_word(SCATTO_REGION_CONSUMER, 0);
	return 0;
}

static int fake_claim(struct scatto_claim *arg)
{
	uint32_t least = arg->least ? arg->least : arg->count;

	MUST(arg->count && arg->count <= f.layout.capacity && arg->least <= arg->count);
	if (nap())
		return -1;
	arg->position = *region_word(SCATTO_REGION_PRODUCER,
				     offsetof(struct scatto_producer_area, claimed));
	arg->granted = least + take8() % (arg->count - least + 1);
	return 0;
}

int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	struct scatto_info *info;
	va_list ap;
	void *arg;

	(void)fd;
	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (cmd) {
	case SCATTO_IOC_ATTACH:
		return fake_attach(arg);
	case SCATTO_IOC_WAIT:
		return nap();
	case SCATTO_IOC_CLAIM:
		return fake_claim(arg);
	case SCATTO_IOC_INFO:
		info = arg;
		info->role = SCATTO_ROLE_OWNER;
		fake_layout(&info->layout, info->role);
		return 0;
	case SCATTO_IOC_WAKE:
		if (f.left && !(take8() % 4))
			poke();
		return 0;
	default:
		return 0;
	}
}

/* The channel */

static uint64_t round_to(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* As both backends lay it out. Some of these fill their pages to the last byte. */
static void honest_layout(struct scatto_layout *l)
{
	static const struct { uint32_t slot, capacity; } shapes[] = {
		{ 8, 4 }, { 8, 2 }, { 8, 512 }, { 64, 64 }, { 12, 8 }, { 8, 256 }, { 56, 64 },
		{ 100, 16 },
	};
	uint8_t pick = take8();
	uint64_t at = 0;
	unsigned int i;

	memset(l, 0, sizeof(*l));
	l->kind = pick & 1 ? SCATTO_KIND_SPSC : SCATTO_KIND_MPSC;
	l->flags = (pick & 2 ? SCATTO_F_PAUSE : 0) | (pick & 4 ? SCATTO_F_FENCE : 0);
	f.kernel = pick & 8;
	l->slot_size = shapes[pick >> 4 & 7].slot;
	l->slot_stride = (uint32_t)round_to(l->slot_size, 8);
	l->capacity = shapes[pick >> 4 & 7].capacity;
	l->consumer_stride = PAGE;
	l->max_consumers = 1;
	l->max_producers = 1;
	if (l->kind == SCATTO_KIND_MPSC) {
		l->max_producers = pick & 128 ? 30 : 2;
		l->slot_offset = round_to(l->capacity * 8, SCATTO_LINE);
		l->intent_offset = sizeof(struct scatto_producer_area);
		l->intent_stride = sizeof(struct scatto_intent);
	}
	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		l->region[i].offset = at;
		l->region[i].size = PAGE;
		if (i == SCATTO_REGION_DATA)
			l->region[i].size = round_to(l->slot_offset + l->capacity * l->slot_stride,
						     PAGE);
		at += l->region[i].size;
	}
	f.size = at;
}

/* One for each size, which stays; as good as new. */
static void channel_file(void)
{
	static struct { int fd; unsigned char *at; } files[MAX_FILE / PAGE + 1];
	unsigned int n = f.size / PAGE;

	MUST(f.size <= MAX_FILE);
	if (!files[n].at) {
		files[n].fd = memfd_create("scatto", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		MUST(!ftruncate(files[n].fd, (off_t)f.size) &&
		     !fcntl(files[n].fd, F_ADD_SEALS, F_SEAL_SHRINK));
		files[n].at = __real_mmap(NULL, f.size, PROT_READ | PROT_WRITE, MAP_SHARED,
					  files[n].fd, 0);
		MUST(files[n].at != MAP_FAILED);
	}
	f.fd = files[n].fd;
	f.shared = files[n].at;
	memset(f.shared, 0, f.size);
}

static void channel_words(void)
{
	struct scatto_channel_area *chan = (void *)f.shared;
	struct scatto_local *local = (void *)(f.shared + LOCAL_OFFSET);

	chan->magic = SCATTO_MAGIC;
	chan->abi = SCATTO_ABI_VERSION;
	chan->kind = f.layout.kind;
	chan->flags = f.layout.flags;
	chan->slot_size = f.layout.slot_size;
	chan->slot_stride = f.layout.slot_stride;
	chan->capacity = f.layout.capacity;
	chan->data_wake = SCATTO_WAKE_IDLE;
	chan->space_wake = SCATTO_WAKE_IDLE;
	chan->end = SCATTO_END_OPEN;
	if (f.kernel)
		return;
	local->magic = LOCAL_MAGIC;
	local->version = LOCAL_VERSION;
	local->max_producers = f.layout.max_producers;
}

/* Some words of the layout, or of what the local backend reads of it. */
static void forge_layout(void)
{
	unsigned int n = take8() % 4, i;

	f.forged = f.layout;
	while (n--) {
		uint64_t value = take8() & 1 ? take64() : some_value();
		uint8_t at = take8();

		if (f.kernel)
			memcpy((char *)&f.forged + at % (sizeof(f.forged) / 4) * 4, &value,
			       at & 128 && at % (sizeof(f.forged) / 4) !=
			       sizeof(f.forged) / 4 - 1 ? 8 : 4);
		else
			memcpy(f.shared + (at & 128 ? LOCAL_OFFSET : 0) + at % 12 * 4, &value, 4);
	}
	/* The module maps what it has, or says no: a file that is too short is not its way. */
	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		struct scatto_region *r = &f.forged.region[i];

		r->offset = r->offset % f.size / PAGE * PAGE;
		if (r->size > f.size - r->offset)
			r->size = f.size - r->offset;
	}
}

static void poison(struct __scatto_endpoint *ep, unsigned int region, uint64_t from, uint64_t to)
{
	if (from < to && to <= ep->layout.region[region].size)
		ASAN_POISON_MEMORY_REGION((char *)ep->map[region] + from, to - from);
}

/* What an endpoint has mapped and has no use for. */
static void poison_rest(struct __scatto_endpoint *ep)
{
	const struct scatto_layout *l = &ep->layout;
	const struct scatto_region *r = l->region;
	uint64_t stamps = l->kind == SCATTO_KIND_MPSC ? l->stamp_offset + 8 * l->capacity : 0;

	if (!ep->map[SCATTO_REGION_DATA])
		return;
	poison(ep, SCATTO_REGION_DATA, stamps, l->slot_offset);
	if (l->slot_offset >= stamps)
		poison(ep, SCATTO_REGION_DATA, l->slot_offset + l->capacity * l->slot_stride,
		       r[SCATTO_REGION_DATA].size);
	poison(ep, SCATTO_REGION_CONSUMER, sizeof(struct scatto_consumer_area),
	       r[SCATTO_REGION_CONSUMER].size);
	poison(ep, SCATTO_REGION_CHANNEL, ep->local ? LOCAL_OFFSET + sizeof(struct scatto_local) :
	       sizeof(struct scatto_channel_area), r[SCATTO_REGION_CHANNEL].size);
	if (l->kind != SCATTO_KIND_MPSC)
		poison(ep, SCATTO_REGION_PRODUCER, sizeof(struct scatto_producer_area),
		       r[SCATTO_REGION_PRODUCER].size);
}

/* A failure leaves the descriptor with us. */
#define LOCAL_OPEN(how, handle) do {					\
	int copy = fcntl(f.fd, F_DUPFD_CLOEXEC, 0);			\
									\
	if (how(copy, &(handle)))					\
		close(copy);						\
} while (0)

static void open_channel(void)
{
	if (f.ch)
		return;
	if (f.kernel)
		scatto_channel_open(FAKE_NAME, &f.ch);
	else
		LOCAL_OPEN(scatto_channel_from_fd, f.ch);
}

static void open_producer(void)
{
	if (f.p)
		return;
	if (f.kernel)
		scatto_producer_open(FAKE_NAME, &f.p);
	else if (f.ch && take8() & 1)
		scatto_producer_attach(f.ch, &f.p);
	else
		LOCAL_OPEN(scatto_producer_from_fd, f.p);
	if (f.p)
		poison_rest(f.p->ep);
}

static void open_consumer(void)
{
	if (f.c)
		return;
	if (f.kernel)
		scatto_consumer_open(FAKE_NAME, &f.c);
	else if (f.ch && take8() & 1)
		scatto_consumer_attach(f.ch, &f.c);
	else
		LOCAL_OPEN(scatto_consumer_from_fd, f.c);
	if (f.c)
		poison_rest(f.c->ep);
}

static void open_observer(void)
{
	if (f.o)
		return;
	if (f.kernel)
		scatto_observer_open(FAKE_NAME, &f.o);
	else
		LOCAL_OPEN(scatto_observer_from_fd, f.o);
	if (f.o)
		poison_rest(&f.o->ep);
}

/* The script */

static uint64_t deadline(void)
{
	uint8_t n = take8();

	/* For ever is until the input ends; who spins never finds out. */
	return n < 64 ? 0 : scatto_deadline(n * 100);
}

/* As many bytes as a caller has to provide, and not one more. */
static unsigned char *events(uint32_t n, uint32_t slot_size)
{
	unsigned char *buf = malloc((size_t)n * slot_size);

	MUST(buf);
	memset(buf, 0x5a, (size_t)n * slot_size);
	return buf;
}

static uint32_t some_count(void)
{
	uint8_t n = take8();

	if (n < 200)
		return n;
	return n < 230 ? MAX_BATCH - n : n < 250 ? 1U << n % 32 : UINT32_MAX - (255U - n);
}

static void produce(uint8_t what)
{
	struct scatto_producer *p = f.p;
	uint64_t capacity = p->mask + 1;
	uint32_t n = take8() % 3 ? 1 + take8() % 8 : some_count();
	uint32_t few = n % (MAX_BATCH + 1), i;
	unsigned char *buf;
	void *slot;
	int ret;

	switch (what % 12) {
	case 0:
	case 1:
		buf = events(1, p->slot_size);
		ret = what % 12 ? scatto_send_until(p, buf, deadline()) : scatto_try_send(p, buf);
		MUST(ret <= 0);
		free(buf);
		break;
	case 2:
	case 3:
		buf = events(few ? few : 1, p->slot_size);
		ret = what % 12 == 2 ? scatto_try_send_batch(p, buf, few) :
				       scatto_send_batch_until(p, buf, few, deadline());
		MUST(ret <= (int)few);
		free(buf);
		break;
	case 4:
		if (!(take8() & 1 ? scatto_try_claim(p, &slot) :
				    scatto_claim_until(p, &slot, deadline())))
			memset(slot, 1, p->slot_size);
		break;
	case 5:
	case 6:
		ret = what % 12 == 5 ? scatto_try_claim_batch(p, n) :
				       scatto_claim_batch_until(p, n, deadline());
		for (i = 0; !ret && i < n && i < 2 * MAX_BATCH; i++) {
			slot = scatto_claim_slot(p, i);
			MUST(slot && n <= capacity);
			memset(slot, 2, p->slot_size);
		}
		break;
	case 7:
		ret = take8() & 1 ? scatto_publish_n(p, n) : scatto_publish(p);
		MUST(ret <= 0);
		break;
	case 8:
		scatto_abort(p);
		break;
	case 9:
		ret = scatto_available_slots(p);
		MUST(ret <= (int)capacity);
		scatto_producer_is_disconnected(p);
		scatto_producer_position(p);
		break;
	case 10:
		scatto_wait_space(p, n, deadline());
		break;
	default:
		scatto_producer_set_wait(p, take8() % 7);
		scatto_producer_set_spin(p, take8());
	}
}

static void consume(uint8_t what)
{
	struct scatto_consumer *c = f.c;
	uint64_t capacity = c->mask + 1;
	uint32_t n = take8() % 3 ? 1 + take8() % 8 : some_count();
	uint32_t few = n < capacity ? n : (uint32_t)capacity;
	struct scatto_run runs[4];
	unsigned char *buf;
	int ret, i;

	switch (what % 9) {
	case 0:
	case 1:
		buf = events(1, c->slot_size);
		ret = what % 9 ? scatto_recv_until(c, buf, deadline()) : scatto_try_recv(c, buf);
		MUST(ret <= 0);
		free(buf);
		break;
	case 2:
	case 3:
		/* More than the capacity cannot come, whatever the peers say. */
		buf = events(few ? few : 1, c->slot_size);
		ret = what % 9 == 2 ? scatto_try_recv_batch(c, buf, n) :
				      scatto_recv_batch_until(c, buf, n, deadline());
		MUST(ret < 0 || (ret && (uint32_t)ret <= few));
		free(buf);
		break;
	case 4:
		ret = scatto_peek(c, n);
		MUST(ret < 0 || (ret && (uint32_t)ret <= few));
		for (i = 0; i < ret; i++) {
			const unsigned char *slot = scatto_peek_slot(c, (uint32_t)i);
			static volatile unsigned char sink;

			MUST(slot);
			for (uint32_t j = 0; j < c->slot_size; j++)
				sink = slot[j];
			(void)sink;
		}
		scatto_peek_slot(c, n);
		break;
	case 5:
		scatto_release(c, n);
		break;
	case 6:
		scatto_wait_data(c, n, deadline());
		break;
	case 7:
		ret = scatto_skipped(c, runs, take8() % 5);
		MUST(ret >= 0 && ret <= 4);
		scatto_consumer_is_disconnected(c);
		scatto_lost(c);
		scatto_lost_total(c);
		scatto_tombstones(c);
		break;
	default:
		scatto_consumer_set_wait(c, take8() % 7);
		scatto_consumer_set_spin(c, take8());
	}
}

static void observe(void)
{
	uint64_t published, consumed, seq;
	unsigned char *buf;

	if (!scatto_observer_positions(f.o, &published, &consumed))
		MUST(published - consumed <= f.o->ep.layout.capacity);
	seq = some_value();
	buf = events(1, f.o->ep.layout.slot_size);
	scatto_observer_read(f.o, seq, buf);
	free(buf);
}

static void call_peer(void)
{
	unsigned char *out = events(1, f.p->slot_size), *in = events(1, f.c->slot_size);

	scatto_call(f.p, out, f.c, in, deadline());
	free(out);
	free(in);
}

static void close_one(uint8_t what)
{
	switch (what % 5) {
	case 0:
		scatto_producer_close(f.p);
		f.p = NULL;
		break;
	case 1:
		scatto_consumer_close(f.c);
		f.c = NULL;
		break;
	case 2:
		scatto_observer_close(f.o);
		f.o = NULL;
		break;
	case 3:
		scatto_channel_free(f.ch);
		f.ch = NULL;
		break;
	default:
		if (f.ch)
			scatto_channel_close(f.ch);
	}
}

static void step(void)
{
	uint8_t what = take8();
	struct scatto_info info;

	switch (what % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		poke();
		break;
	case 5:
	case 6:
	case 7:
		if (f.p)
			produce(what >> 4);
		else
			open_producer();
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		if (f.c)
			consume(what >> 4);
		else
			open_consumer();
		break;
	case 12:
		if (f.o)
			observe();
		else
			open_observer();
		break;
	case 13:
		if (f.p && f.c)
			call_peer();
		break;
	case 14:
		if (f.ch)
			scatto_channel_info(f.ch, &info);
		else
			open_channel();
		break;
	default:
		close_one(what >> 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int i;
	int first;

	memset(&f, 0, sizeof(f));
	f.at = data;
	f.left = size;
	f.now = 1000000000;
	honest_layout(&f.layout);
	channel_file();
	first = fcntl(STDERR_FILENO, F_DUPFD, 0);
	close(first);
	channel_words();
	forge_layout();

	open_channel();
	open_producer();
	open_consumer();
	while (f.left)
		step();
	for (i = 0; i < 4; i++)
		close_one((uint8_t)i);
	/* All mappings and file descriptors were given back. */
	for (i = 0; i < MAX_MAPPINGS; i++)
		MUST(!mappings[i].used);
	MUST(fcntl(STDERR_FILENO, F_DUPFD, 0) == first);
	close(first);
	return 0;
}
