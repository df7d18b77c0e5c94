/* SPDX-License-Identifier: GPL-2.0-only */
/* What the linker puts between the library and the C library, in fuzz_library.c. */
#ifndef SELFTESTS_FUZZ_WRAP_H
#define SELFTESTS_FUZZ_WRAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
int __real_open(const char *path, int flags, ...);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t size);
int __wrap_madvise(void *at, size_t size, int advice);
int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long cmd, ...);
long __wrap_syscall(long nr, ...);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_nanosleep(const struct timespec *ts, struct timespec *left);
int __wrap_sched_yield(void);

#endif /* SELFTESTS_FUZZ_WRAP_H */
