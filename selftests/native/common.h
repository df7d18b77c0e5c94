/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of libscatto on its local backend share. */
#ifndef SELFTESTS_NATIVE_COMMON_H
#define SELFTESTS_NATIVE_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <scatto.h>

#include <kselftest_harness.h>

#include "../../lib/local.h"

#define MS	1000000ULL
#define SECOND	(1000 * MS)

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED	1
#else
#define SANITIZED	0
#endif

#define ALL_STRATEGIES	6

static inline uint64_t now_ns(void)
{
	return scatto_deadline(0);
}

/* CPU time of the calling thread. */
static inline uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * MS };

	nanosleep(&ts, NULL);
}

/* Counts grow with SCATTO_SCALE, and shrink where everything is slow. */
static inline uint64_t scaled(uint64_t n)
{
	const char *scale = getenv("SCATTO_SCALE");

	if (SANITIZED)
		return n / 20 + 1;
	return scale ? n * strtoull(scale, NULL, 0) : n;
}

static inline struct scatto_config local_config(uint32_t slot_size,
						uint64_t capacity,
						uint32_t flags)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg),
		.backend = SCATTO_BACKEND_LOCAL,
		.kind = SCATTO_KIND_SPSC,
		.slot_size = slot_size,
		.capacity = capacity,
		.flags = flags,
	};

	return cfg;
}

/* A channel with both its ends. */
struct ring {
	struct scatto_channel *ch;
	struct scatto_producer *p;
	struct scatto_consumer *c;
};

static inline int ring_open_kind(struct ring *r, uint32_t kind,
				 uint32_t slot_size, uint64_t capacity,
				 uint32_t flags)
{
	struct scatto_config cfg = local_config(slot_size, capacity, flags);
	int ret;

	memset(r, 0, sizeof(*r));
	cfg.kind = kind;
	ret = scatto_channel_create(&cfg, &r->ch);
	if (!ret)
		ret = scatto_producer_attach(r->ch, &r->p);
	if (!ret)
		ret = scatto_consumer_attach(r->ch, &r->c);
	return ret;
}

static inline int ring_open(struct ring *r, uint32_t slot_size,
			    uint64_t capacity, uint32_t flags)
{
	return ring_open_kind(r, SCATTO_KIND_SPSC, slot_size, capacity, flags);
}

static inline void ring_close(struct ring *r)
{
	scatto_producer_close(r->p);
	scatto_consumer_close(r->c);
	scatto_channel_free(r->ch);
	memset(r, 0, sizeof(*r));
}

/*
 * Both ends at the same addresses, as in no real channel, so that a thread
 * sanitizer sees that they share memory.
 */
static inline void ring_alias(struct ring *r)
{
	r->c->slots = r->p->slots;
	r->c->published = r->p->published;
	r->c->chan = r->p->chan;
	r->c->space_wake = &r->p->chan->space_wake;
	r->p->cursor = r->c->cursor;
}

/* Everything, writable: the local backend keeps nobody from it. */
struct words {
	size_t size;
	unsigned char *base;
	struct scatto_channel_area *chan;
	struct scatto_local *local;
	struct scatto_producer_area *prod;
	struct scatto_consumer_area *cons;
};

static inline bool words_map(struct words *w, int fd,
			     const struct scatto_layout *l)
{
	w->size = l->region[SCATTO_REGION_DATA].offset +
		  l->region[SCATTO_REGION_DATA].size;
	w->base = mmap(NULL, w->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		       0);
	if (w->base == MAP_FAILED)
		return false;
	w->chan = (void *)(w->base + l->region[SCATTO_REGION_CHANNEL].offset);
	w->local = (void *)((unsigned char *)w->chan + LOCAL_OFFSET);
	w->prod = (void *)(w->base + l->region[SCATTO_REGION_PRODUCER].offset);
	w->cons = (void *)(w->base + l->region[SCATTO_REGION_CONSUMER].offset);
	return true;
}

/* Waits until somebody sleeps for data (or for space) who did not before. */
static inline bool wait_for_sleep(const struct scatto_channel *ch, bool data,
				  uint64_t before)
{
	uint64_t end = now_ns() + 10 * SECOND;
	struct scatto_info info;

	while (now_ns() < end) {
		if (scatto_channel_info(ch, &info))
			return false;
		if ((data ? info.data_sleeps : info.space_sleeps) > before) {
			/* Counted just before the system call. */
			sleep_ms(5);
			return true;
		}
		sched_yield();
	}
	return false;
}

/* Up to some microseconds, short ones as likely as long ones. */
static inline void dither(unsigned int *seed)
{
	unsigned int most = 1U << (unsigned int)rand_r(seed) % 13;
	unsigned int n = (unsigned int)rand_r(seed) % most;

	for (unsigned int i = 0; i < n; i++)
		__asm__ __volatile__("" ::: "memory");
}

/* Without a second CPU the tests that pin are only weaker. */
static inline void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * One message at a time, so that a wakeup that gets lost is not made up for by
 * the next one. The server sleeps at once; the client does not, and sends at a
 * random distance from the moment the server falls asleep.
 */
struct sleeper {
	struct ring *in, *out;
	uint64_t n;
	uint64_t wrong;
};

static inline void *echo_asleep(void *arg)
{
	struct sleeper *s = arg;
	uint64_t v;

	for (uint64_t i = 0; i < s->n && !s->wrong; i++)
		if (scatto_recv_until(s->in->c, &v, now_ns() + 10 * SECOND) ||
		    scatto_send(s->out->p, &v))
			s->wrong = i + 1;
	return NULL;
}

/* 0, or the first round that failed; @info of the server's requests. */
static inline uint64_t ping_pong_asleep(uint64_t n, struct scatto_info *info)
{
	struct sleeper s = { .n = n };
	unsigned int seed = 2;
	struct ring a, b;
	pthread_t thread;
	uint64_t wrong = 0, v;

	if (ring_open(&a, 8, 2, 0) || ring_open(&b, 8, 2, 0))
		return 1;
	scatto_consumer_set_wait(a.c, SCATTO_STRATEGY_BLOCK);
	scatto_consumer_set_wait(b.c, SCATTO_STRATEGY_BUSY);
	s.in = &a;
	s.out = &b;
	pin(1);
	if (pthread_create(&thread, NULL, echo_asleep, &s))
		return 1;
	pin(0);
	for (uint64_t i = 0; i < n && !wrong; i++) {
		dither(&seed);
		if (scatto_send(a.p, &i) ||
		    scatto_recv_until(b.c, &v, now_ns() + 10 * SECOND) ||
		    v != i)
			wrong = i + 1;
	}
	if (wrong)
		scatto_channel_close(a.ch);
	pthread_join(thread, NULL);
	scatto_channel_info(a.ch, info);
	ring_close(&a);
	ring_close(&b);
	return wrong ? wrong : s.wrong;
}

#endif /* SELFTESTS_NATIVE_COMMON_H */
