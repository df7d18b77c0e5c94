/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM scatto_bench

#if !defined(_SCATTO_BENCH_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _SCATTO_BENCH_TRACE_H

#include <linux/tracepoint.h>

#include "scatto_bench.h"

/* The argument is a number, which a BPF program can read without a helper. */
TRACE_EVENT(scatto_bench_event,
	TP_PROTO(u64 seq),
	TP_ARGS(seq),
	TP_STRUCT__entry(
		__array(u64, word, SB_WORDS)
	),
	TP_fast_assign(
		sb_fill((struct sb_record *)__entry->word, seq);
	),
	TP_printk("seq=%llu", __entry->word[0])
);

#endif /* _SCATTO_BENCH_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
