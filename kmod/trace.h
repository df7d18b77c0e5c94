/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM scatto

#if !defined(_SCATTO_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _SCATTO_TRACE_H

#include <linux/tracepoint.h>

/* Roles and sides are numbers of enum scatto_role and of internal.h. */
DECLARE_EVENT_CLASS(scatto_endpoint,
	TP_PROTO(u64 id, u32 role, u64 position),
	TP_ARGS(id, role, position),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, position)
		__field(u32, role)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->position = position;
		__entry->role = role;
	),
	TP_printk("id=%llu role=%u position=%llu",
		  __entry->id, __entry->role, __entry->position)
);

DEFINE_EVENT(scatto_endpoint, scatto_attach,
	TP_PROTO(u64 id, u32 role, u64 position),
	TP_ARGS(id, role, position));

DEFINE_EVENT(scatto_endpoint, scatto_detach,
	TP_PROTO(u64 id, u32 role, u64 position),
	TP_ARGS(id, role, position));

TRACE_EVENT(scatto_close,
	TP_PROTO(u64 id, u32 role),
	TP_ARGS(id, role),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, role)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->role = role;
	),
	TP_printk("id=%llu role=%u", __entry->id, __entry->role)
);

TRACE_EVENT(scatto_sleep,
	TP_PROTO(u64 id, u32 side, u64 want),
	TP_ARGS(id, side, want),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, want)
		__field(u32, side)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->want = want;
		__entry->side = side;
	),
	TP_printk("id=%llu side=%u want=%llu",
		  __entry->id, __entry->side, __entry->want)
);

TRACE_EVENT(scatto_wake,
	TP_PROTO(u64 id, u32 side, u32 woken),
	TP_ARGS(id, side, woken),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, side)
		__field(u32, woken)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->side = side;
		__entry->woken = woken;
	),
	TP_printk("id=%llu side=%u woken=%u",
		  __entry->id, __entry->side, __entry->woken)
);

/* A producer is gone; [lo, hi) may hold what it had claimed. */
TRACE_EVENT(scatto_orphan,
	TP_PROTO(u64 id, u32 index, u64 lo, u64 hi),
	TP_ARGS(id, index, lo, hi),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, lo)
		__field(u64, hi)
		__field(u32, index)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->lo = lo;
		__entry->hi = hi;
		__entry->index = index;
	),
	TP_printk("id=%llu index=%u lo=%llu hi=%llu",
		  __entry->id, __entry->index, __entry->lo, __entry->hi)
);

/*
 * A pass is over; what is left undecided lies in [lo, hi), empty when all is done.
 * @held_by: the process in the middle of a claim that may be the first of it.
 */
TRACE_EVENT(scatto_repair,
	TP_PROTO(u64 id, u64 tombstones, u64 lo, u64 hi, pid_t held_by),
	TP_ARGS(id, tombstones, lo, hi, held_by),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, tombstones)
		__field(u64, lo)
		__field(u64, hi)
		__field(pid_t, held_by)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->tombstones = tombstones;
		__entry->lo = lo;
		__entry->hi = hi;
		__entry->held_by = held_by;
	),
	TP_printk("id=%llu tombstones=%llu lo=%llu hi=%llu held_by=%d",
		  __entry->id, __entry->tombstones, __entry->lo, __entry->hi,
		  __entry->held_by)
);

/* Claimed in the kernel for a producer. */
TRACE_EVENT(scatto_claim,
	TP_PROTO(u64 id, u32 index, u64 position, u32 count),
	TP_ARGS(id, index, position, count),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, position)
		__field(u32, index)
		__field(u32, count)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->position = position;
		__entry->index = index;
		__entry->count = count;
	),
	TP_printk("id=%llu index=%u position=%llu count=%u",
		  __entry->id, __entry->index, __entry->position, __entry->count)
);

#endif /* _SCATTO_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
