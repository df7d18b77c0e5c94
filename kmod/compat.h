/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels scatto builds for (6.1, 6.12, 7.2), and
 * nothing else.
 */
#ifndef _SCATTO_COMPAT_H
#define _SCATTO_COMPAT_H

#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/version.h>

#ifndef CONFIG_64BIT
#error "scatto shares 64-bit words with user space and needs a 64-bit kernel"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_mod(struct vm_area_struct *vma,
				unsigned long set, unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 1, 0)
#define zap_special_vma_range zap_vma_ptes
#endif

/* What the tracepoint sched_process_exit passes. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define SCHED_PROCESS_EXIT_ARGS	struct task_struct *p
#else
#define SCHED_PROCESS_EXIT_ARGS	struct task_struct *p, bool group_dead
#endif

/* From 6.12 on what fdget() returns is opaque. */
#ifndef fd_file
#define fd_file(f) ((f).file)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*fn)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
}
#endif

#endif /* _SCATTO_COMPAT_H */
