/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which ways through the module's code a sequence has taken, where the kernel has
 * KCOV: a buffer for each task, in which the kernel notes the addresses that it passes
 * (but none from when the task has begun to exit). It takes from them what KASLR has
 * added; the kernels of vm/config have none.
 */
#ifndef SELFTESTS_FUZZ_COVERAGE_H
#define SELFTESTS_FUZZ_COVERAGE_H

#include "util.h"

/* From linux/kcov.h, which not each build machine has. */
#define KCOV_INIT_TRACE	_IOR('c', 1, unsigned long)
#define KCOV_ENABLE	_IO('c', 100)
#define KCOV_TRACE_PC	0

/* For one operation; a ring is looked through by some. */
#define KCOV_WORDS	(64 << 10)
#define KCOV_FILE	"/sys/kernel/debug/kcov"
#define EDGE_BITS	20

struct kcov {
	int fd;
	uint64_t *pcs;		/* number, then as many addresses */
};

/* In memory that all share. Some thousand edges: hardly two have the same hash. */
struct coverage {
	uint64_t base;		/* 0: there is none */
	uint64_t size;
	uint64_t reached;	/* edges: from one address to the next */
	uint64_t cut;		/* how often a buffer was too small */
	uint8_t seen[1 << EDGE_BITS];
};

static bool coverage_init(struct coverage *c)
{
	char line[256];
	FILE *f;

	if (access(KCOV_FILE, R_OK | W_OK))
		return false;
	f = fopen("/proc/modules", "r");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long size, base;

		if (sscanf(line, "scatto %llu %*u %*s %*s %llx", &size, &base) == 2) {
			c->base = base;
			c->size = size;
		}
	}
	if (f)
		fclose(f);
	return c->base;
}

static int kcov_open(struct kcov *k, int at)
{
	int fd = open(KCOV_FILE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	k->fd = dup2(fd, at);
	close(fd);
	if (ioctl(k->fd, KCOV_INIT_TRACE, KCOV_WORDS))
		return -errno;
	k->pcs = mmap(NULL, KCOV_WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
	return k->pcs == MAP_FAILED ? -errno : 0;
}

/* For the calling thread, until it ends. */
static int kcov_begin(struct kcov *k)
{
	if (!k->pcs)
		return 0;
	__atomic_store_n(&k->pcs[0], 0, __ATOMIC_RELAXED);
	return ioctl(k->fd, KCOV_ENABLE, KCOV_TRACE_PC) ? -errno : 0;
}

/* How many edges since the last call are new to all. By the thread itself. */
static unsigned int coverage_add(struct coverage *c, struct kcov *k)
{
	uint64_t n, i, from = 0;
	unsigned int news = 0;

	if (!k->pcs)
		return 0;
	n = __atomic_load_n(&k->pcs[0], __ATOMIC_RELAXED);
	for (i = 1; i <= n; i++) {
		uint64_t at = k->pcs[i] - c->base;
		uint32_t edge = (uint32_t)(at + 31 * from) * 0x9e3779b1U >> (32 - EDGE_BITS);

		if (at >= c->size)
			continue;
		from = at;
		if (!c->seen[edge] && !__atomic_exchange_n(&c->seen[edge], 1, __ATOMIC_RELAXED))
			news++;
	}
	if (n == KCOV_WORDS - 1)
		__atomic_fetch_add(&c->cut, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&k->pcs[0], 0, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->reached, news, __ATOMIC_RELAXED);
	return news;
}

#endif /* SELFTESTS_FUZZ_COVERAGE_H */
