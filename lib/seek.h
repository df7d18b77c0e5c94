/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * lseek(2) as the call that sleeps and wakes, see <linux/scatto.h>. Where we know
 * how, without the C library's wrapper: each page that is touched between two
 * sleeps (its text, the table through which it is found, the thread's errno) is one
 * more that has to be found again after the other process has run.
 */
#ifndef _LIBSCATTO_SEEK_H
#define _LIBSCATTO_SEEK_H

#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

/* -errno, or what lseek() returns, which fits: 0 or a number of sleepers. */
static inline int seek(int fd, int64_t offset, int whence)
{
#if defined(__x86_64__) && defined(__LP64__)
	long ret;

	__asm__ volatile ("syscall"
			  : "=a" (ret)
			  : "0" ((long)SYS_lseek), "D" ((long)fd), "S" (offset), "d" ((long)whence)
			  : "rcx", "r11", "memory");
	return (int)ret;
#elif defined(__aarch64__) && defined(__LP64__)
	register long x8 __asm__ ("x8") = SYS_lseek;
	register long x0 __asm__ ("x0") = fd;
	register long x1 __asm__ ("x1") = offset;
	register long x2 __asm__ ("x2") = whence;

	__asm__ volatile ("svc #0" : "+r" (x0) : "r" (x8), "r" (x1), "r" (x2) : "memory");
	return (int)x0;
#else
	off_t ret;
	KEEP_ERRNO();

	_Static_assert(sizeof(off_t) == 8, "a position does not fit into an off_t");
	ret = lseek(fd, offset, whence);
	return ret < 0 ? -errno : (int)ret;
#endif
}

#endif /* _LIBSCATTO_SEEK_H */
