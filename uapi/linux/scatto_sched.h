/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * scatto_sched: the events of the channel that scatto_sched.ko feeds.
 *
 * Every slot holds one struct scatto_sched_event. Numbers of processes are
 * those of the initial pid namespace, whoever reads them. A reader who finds a
 * type it does not know skips the event.
 */
#ifndef _UAPI_LINUX_SCATTO_SCHED_H
#define _UAPI_LINUX_SCATTO_SCHED_H

#include <linux/const.h>
#include <linux/types.h>

/* Includes the terminating zero byte. */
#define SCATTO_SCHED_COMM_LEN	16

/**
 * enum scatto_sched_type - what happened, and to whom
 * @SCATTO_SCHED_SWITCH: a CPU went from task[0] to task[1]
 * @SCATTO_SCHED_FORK: task[0] created task[1], a process or a thread
 * @SCATTO_SCHED_EXEC: task[0] runs a new program and bears its name already;
 *	task[1].pid is the number of the thread that asked for it, and the rest
 *	of task[1] is zero
 * @SCATTO_SCHED_EXIT: task[0] exits; task[1] is zero
 */
enum scatto_sched_type {
	SCATTO_SCHED_SWITCH	= 1,
	SCATTO_SCHED_FORK	= 2,
	SCATTO_SCHED_EXEC	= 3,
	SCATTO_SCHED_EXIT	= 4,
};

/*
 * A switch to or from the process that reads the channel. Reading causes such
 * switches, so they wake nobody: they are held back until something else
 * happens on their CPU (or very many have gathered), keep their place in the
 * order of their CPU, and have the time at which they happened. They may thus
 * arrive late, even at a reader that succeeds the one they are about.
 */
#define SCATTO_SCHED_HELD	_BITUL(0)

/* The state of a task that could have gone on, but another was more urgent. */
#define SCATTO_SCHED_PREEMPTED	'+'

/**
 * struct scatto_sched_task - a task at the time of the event
 * @pid: number of the thread; 0 is the idle task of a CPU
 * @tgid: number of the process
 * @comm: name, zero-terminated and zero-padded. The task chose it: it may hold
 *	any byte, those that a terminal obeys included
 */
struct scatto_sched_task {
	__s32 pid;
	__s32 tgid;
	char comm[SCATTO_SCHED_COMM_LEN];
};

/**
 * struct scatto_sched_event - one event
 * @time_ns: when, on the clock CLOCK_MONOTONIC of the initial time namespace.
 *	Events of one CPU are in the order of their times; those of several
 *	CPUs need not be
 * @type: enum scatto_sched_type
 * @flags: SCATTO_SCHED_HELD
 * @cpu: where
 * @prev_prio: of a switch: priority of task[0] as in field 18 of
 *	/proc/pid/stat: 0 to 39 for nice -20 to 19, -2 to -100 for real-time
 *	priority 1 to 99, -101 for a deadline task
 * @next_prio: of a switch: priority of task[1]
 * @prev_state: of a switch: why task[0] stopped: the letter that ps shows, or
 *	SCATTO_SCHED_PREEMPTED
 * @__pad: zero
 * @exit_code: of an exit: as wait() reports it
 * @task: see enum scatto_sched_type
 */
struct scatto_sched_event {
	__aligned_u64 time_ns;
	__u8 type;
	__u8 flags;
	__u16 cpu;
	union {
		struct {
			__s8 prev_prio;
			__s8 next_prio;
			char prev_state;
			__u8 __pad;
		};
		__s32 exit_code;
	};
	struct scatto_sched_task task[2];
};

#endif /* _UAPI_LINUX_SCATTO_SCHED_H */
