// SPDX-License-Identifier: GPL-2.0-only
/* BPF programs for scatto_bench_event: reserve + submit, and nothing at all. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kmod/scatto_bench.h"

/* The size is set by the program that loads it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

static __always_inline int record(__u64 seq, __u64 flags)
{
	struct sb_record *to = bpf_ringbuf_reserve(&ring, sizeof(*to), 0);

	if (!to)
		return 0;
	sb_fill(to, seq);
	bpf_ringbuf_submit(to, flags);
	return 0;
}

/* Wakes the consumer when it has read all before: what users get by default. */
SEC("raw_tp/scatto_bench_event")
int ringbuf(struct bpf_raw_tracepoint_args *ctx)
{
	return record(ctx->args[0], 0);
}

/* For a consumer that spins. */
SEC("raw_tp/scatto_bench_event")
int ringbuf_quiet(struct bpf_raw_tracepoint_args *ctx)
{
	return record(ctx->args[0], BPF_RB_NO_WAKEUP);
}

SEC("raw_tp/scatto_bench_event")
int nothing(struct bpf_raw_tracepoint_args *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
