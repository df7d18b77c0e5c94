/* SPDX-License-Identifier: GPL-2.0-only */
/* Has the Nth allocation or user copy of a task fail: CONFIG_FAULT_INJECTION. */
#ifndef SELFTESTS_FAULT_H
#define SELFTESTS_FAULT_H

#include "util.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"
/* More than any call reaches. */
#define FAIL_NEVER	1000000

/* Where all of it is to fail, not only what is not allowed to wait. */
static inline void inject_init(void)
{
	write_file(DEBUGFS "failslab/ignore-gfp-wait", "N");
	write_file(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N");
	write_file(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N");
	write_file(DEBUGFS "fail_page_alloc/min-order", "0");
	write_file(DEBUGFS "failslab/verbose", "0");
	write_file(DEBUGFS "fail_page_alloc/verbose", "0");
	write_file(DEBUGFS "fail_usercopy/verbose", "0");
}

static inline int inject_open(void)
{
	int fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int inject_arm(int fd, unsigned int nth)
{
	char buf[16];
	int n = snprintf(buf, sizeof(buf), "%u", nth);

	return pwrite(fd, buf, n, 0) == n ? 0 : -errno;
}

/* How many places were left to go; 0: one has failed. This read and this write count. */
static inline int inject_disarm(int fd)
{
	char buf[16] = "";
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

	while (pwrite(fd, "0", 1, 0) != 1)
		;
	return n > 0 ? atoi(buf) : -1;
}

#endif /* SELFTESTS_FAULT_H */
