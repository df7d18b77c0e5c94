/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * 32-bit callers. int 0x80 enters the kernel's 32-bit system call table from a
 * 64-bit program, and with it ->compat_ioctl; what it points to must lie in the
 * low 4 GiB.
 */
#ifndef SELFTESTS_IOCTL32_H
#define SELFTESTS_IOCTL32_H

#include "util.h"

#ifdef __x86_64__
#define NR_IOCTL_32	54

static inline int ioctl32(int fd, uint32_t cmd, uint64_t arg)
{
	long ret = NR_IOCTL_32;

	asm volatile("int $0x80"
		     : "+a"(ret)
		     : "b"((long)fd), "c"((long)cmd), "d"(arg)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)ret;
}

/* Without support for it, int 0x80 is a fault or an unknown call. */
static inline bool have_ioctl32(void)
{
	pid_t pid = spawn();

	if (!pid)
		_exit(ioctl32(-1, 0, 0) != -EBADF);
	return !reap(pid);
}
#endif

#endif /* SELFTESTS_IOCTL32_H */
