// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stays in the windows of window.h, for tests that look for races. Parameters of
 * the module, all of CONFIG_SCATTO_DEBUG only:
 *
 *	windows		which, one bit each, by their order
 *	window_us	for how long: anything up to this
 *	window_hits	how often so far: name and number of each, in their order
 */
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/sched/clock.h>

#include "window.h"

/* Delays with interrupts off must not look like a CPU that hangs. */
#define SCATTO_WINDOW_MAX_US	2000

static unsigned long scatto_windows;
module_param_named(windows, scatto_windows, ulong, 0644);
MODULE_PARM_DESC(windows, "Windows to stay in, one bit each");

static unsigned int scatto_window_us;
module_param_named(window_us, scatto_window_us, uint, 0644);
MODULE_PARM_DESC(window_us, "Microseconds to stay there, at most");

static atomic_t scatto_window_hits[SCATTO_NR_WINDOWS];

void scatto_stay(enum scatto_window window, bool may_sleep)
{
	/* Parameters are written plainly, by kernel/params.c. */
	u32 most = min_t(u32, data_race(READ_ONCE(scatto_window_us)), SCATTO_WINDOW_MAX_US);
	u32 chance, us;

	/* The same. */
	if (!(data_race(READ_ONCE(scatto_windows)) & BIT(window)))
		return;
	/* No generator of random numbers works in NMIs; a hash of the time does. */
	chance = hash_64(local_clock() + atomic_inc_return(&scatto_window_hits[window]), 32);
	us = reciprocal_scale(chance << 1, most + 1);
	/* A sleeper leaves the CPU to others, a delay does not. */
	if (may_sleep && chance >> 31)
		usleep_range(us, us + 1);
	else
		udelay(us);
}

static int scatto_window_hits_get(char *buf, const struct kernel_param *kp)
{
#define SCATTO_WINDOW_NAME(name)	#name,
	static const char * const names[] = { SCATTO_WINDOWS(SCATTO_WINDOW_NAME) };
	unsigned int i;
	int len = 0;

	for (i = 0; i < SCATTO_NR_WINDOWS; i++)
		len += scnprintf(buf + len, PAGE_SIZE - len, "%s %u\n", names[i],
				 atomic_read(&scatto_window_hits[i]));
	return len;
}

static const struct kernel_param_ops scatto_window_hits_ops = {
	.get = scatto_window_hits_get,
};

module_param_cb(window_hits, &scatto_window_hits_ops, NULL, 0444);
MODULE_PARM_DESC(window_hits, "How often each window was stayed in");
