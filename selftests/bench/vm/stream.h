/* SPDX-License-Identifier: GPL-2.0-only */
/* Ways for the events of a tracepoint to get to a process. */
#ifndef SELFTESTS_BENCH_STREAM_H
#define SELFTESTS_BENCH_STREAM_H

#include "vm.h"
#include "kmod/scatto_bench.h"

/* The CPU on which events happen. */
#define STREAM_CPU	0

/**
 * struct stream - one of them
 * @name: for the CSV
 * @probe: enum sb_probe, of those that are in the module
 * @program: of those that are BPF programs
 * @open: attach; a buffer for @slots records, which does nothing for a consumer that
 *	sleeps if not @wakes. 0 or -errno, and nothing attached
 * @drain: hand over to received() what is there
 * @wait: sleep until there is something, at most @ms; may hand it over
 * @close: detach
 *
 * Without @drain there is nothing to receive: only the cost of being called.
 */
struct stream {
	const char *name;
	uint32_t probe;
	const char *program;
	int (*open)(const struct stream *s, uint32_t slots, bool wakes);
	void (*drain)(void);
	void (*wait)(int ms);
	void (*close)(void);
};

extern int bench_fd;

extern struct received {
	uint64_t next;
	uint64_t n;
} got;

static inline void received(const struct sb_record *record)
{
	if (record->word[0] < got.next || !sb_is_valid(record))
		die("event %ju after event %ju", (uintmax_t)record->word[0], (uintmax_t)got.next);
	got.next = record->word[0] + 1;
	got.n++;
}

/* Of a buffer that keeps headers, too: those of small records are larger than they. */
static inline uint32_t buffer_bytes(uint32_t slots)
{
	return slots * (sizeof(struct sb_record) > 32 ? sizeof(struct sb_record) : 32);
}

int stream_attach(uint32_t probe, uint32_t slots);

int bpf_open(const struct stream *s, uint32_t slots, bool wakes);
void bpf_drain(void);
void bpf_wait(int ms);
void bpf_close(void);

int perf_open(const struct stream *s, uint32_t slots, bool wakes);
void perf_drain(void);
void perf_wait(int ms);
void perf_close(void);

int relay_open(const struct stream *s, uint32_t slots, bool wakes);
void relay_drain(void);
void relay_wait(int ms);
void relay_close(void);

#endif /* SELFTESTS_BENCH_STREAM_H */
