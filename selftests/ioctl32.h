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

#define NR_LSEEK_32	19
#define NR_LLSEEK_32	140

static inline int lseek32(int fd, int32_t offset, int whence)
{
	long ret = NR_LSEEK_32;

	asm volatile("int $0x80"
		     : "+a"(ret)
		     : "b"((long)fd), "c"((long)offset), "d"((long)whence)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)ret;
}

/* -errno, or the result, which goes through memory. */
static inline int llseek32(int fd, uint64_t offset, int whence)
{
	uint64_t *result = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long ret = NR_LLSEEK_32;

	if (result == MAP_FAILED)
		return -ENOMEM;
	asm volatile("int $0x80"
		     : "+a"(ret)
		     : "b"((long)fd), "c"((long)(offset >> 32)), "d"((long)(uint32_t)offset),
		       "S"((long)result), "D"((long)whence)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	if ((int)ret >= 0)
		ret = *result;
	munmap(result, 4096);
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
