/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks: mappings taken away, moved, changed and pinned while they are in use.
 * What each call answers is rights.c's business; here it is made again and again
 * beside threads that use the ring.
 */
#ifndef SELFTESTS_ATTACK_MAPS_H
#define SELFTESTS_ATTACK_MAPS_H

#include "attack.h"

#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/uio.h>

enum attack_map {
	MAP_UNMAP,
	MAP_REPLACE,
	MAP_MPROTECT,
	MAP_ADVISE,
	MAP_MREMAP,
	MAP_LOCK,
	MAP_AGAIN,
	MAP_ODD,
	MAP_PIN,
	MAP_UFFD,
	NR_MAP_ATTACKS,
};

static const char * const map_names[] = {
	"munmap", "MAP_FIXED-over", "mprotect", "madvise", "mremap", "mlock-msync",
	"mapped-often", "mapped-oddly", "pins", "userfaultfd",
};

/* Uses the ring until the end, whatever happens to the mappings. */
struct map_load {
	struct attacker *at;
	struct end *end;
	pthread_t thread;
	bool stop;
};

static void *map_load_main(void *arg)
{
	struct map_load *l = arg;

	while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED))
		may_fault(attack_work(l->end, 4));
	return NULL;
}

static void map_load_stop(struct map_load *l)
{
	__atomic_store_n(&l->stop, true, __ATOMIC_RELAXED);
	pthread_join(l->thread, NULL);
}

static int map_prot(const struct end *end, unsigned int i)
{
	return PROT_READ | (end->layout.region[i].writable ? PROT_WRITE : 0);
}

static void map_unmap(struct attacker *at, struct end *end, unsigned int i)
{
	/* All or nothing. */
	if (end->map[i] && end->layout.region[i].size > 4096)
		must(at, munmap(end->map[i], 4096) < 0);
	end_unmap_region(end, i);
	end_map_region(end, i, map_prot(end, i));
}

static void map_replace(struct attacker *at, struct end *end, unsigned int i)
{
	const struct scatto_region *r = &end->layout.region[i];
	void *p = end->map[i];

	if (!p)
		return;
	must(at, mmap(p, r->size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	mmap(p, r->size, map_prot(end, i), MAP_SHARED | MAP_FIXED, end->fd, r->offset);
}

static void map_mprotect(struct attacker *at, struct end *end, unsigned int i)
{
	const struct scatto_region *r = &end->layout.region[i];
	void *p = end->map[i];

	if (!p)
		return;
	must(at, !mprotect(p, r->size, PROT_NONE));
	must(at, !mprotect(p, r->size, PROT_READ));
	must(at, !mprotect(p, r->size, PROT_READ | PROT_WRITE) == !!r->writable);
	must(at, mprotect(p, r->size, PROT_READ | PROT_EXEC) < 0);
	if (r->size > 4096)
		must(at, mprotect(p, 4096, PROT_NONE) < 0);
	must(at, !mprotect(p, r->size, map_prot(end, i)));
}

static void map_advise(struct attacker *at, struct end *end, unsigned int i)
{
	const struct scatto_region *r = &end->layout.region[i];
	int advice;

	if (!end->map[i])
		return;
	for (advice = 0; advice < 128; advice++)
		/* Not MADV_HWPOISON and the like: they are for root, and pages of RAM. */
		madvise(end->map[i], r->size, advice);
	must(at, madvise(end->map[i], r->size, MADV_DONTNEED) < 0);
	must(at, madvise(end->map[i], r->size, MADV_REMOVE) < 0);
	must(at, end->area->magic == SCATTO_MAGIC);
}

static void map_mremap(struct attacker *at, struct end *end, unsigned int i)
{
	size_t size = end->layout.region[i].size;
	void *p = end->map[i], *q;

	if (!p)
		return;
	must(at, mremap(p, size, 2 * size, MREMAP_MAYMOVE) == MAP_FAILED);
	if (size > 4096)
		must(at, mremap(p, size, 4096, 0) == MAP_FAILED);
	/* Duplicates a shared mapping, if it is allowed to. */
	q = mremap(p, 0, size, MREMAP_MAYMOVE);
	if (q != MAP_FAILED)
		munmap(q, size);
	q = mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	if (q != MAP_FAILED)
		munmap(q, size);
	q = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q)
		end->map[i] = q;
	else
		munmap(q, size);
}

static void map_lock(struct attacker *at, struct end *end, unsigned int i)
{
	size_t size = end->layout.region[i].size;
	unsigned char there[64];
	void *p = end->map[i];
	unsigned long node = 1;
	int nodes[] = { 0 }, status[] = { 0 };

	if (!p)
		return;
	mlock(p, size);
	mlock2(p, size, MLOCK_ONFAULT);
	munlock(p, size);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	end_unmap_region(end, i);
	end_map_region(end, i, map_prot(end, i));
	munlockall();
	msync(p, size, MS_SYNC | MS_INVALIDATE);
	mincore(p, size < sizeof(there) * 4096 ? size : 4096, there);
	syscall(SYS_mbind, p, size, 2 /* MPOL_BIND */, &node, 2, 2 /* MPOL_MF_MOVE */);
	syscall(SYS_move_pages, 0, 1, &p, nodes, status, 0);
	must(at, end->fd >= 0);
}

static void map_again(struct attacker *at, struct end *end, unsigned int i)
{
	const struct scatto_region *r = &end->layout.region[i];
	void *maps[200];
	unsigned int n = 0;

	while (n < ARRAY_LEN(maps) && attack_goes_on(at)) {
		maps[n] = mmap(NULL, r->size, map_prot(end, i), MAP_SHARED, end->fd,
			       r->offset);
		if (maps[n] == MAP_FAILED)
			break;
		n++;
	}
	while (n--)
		munmap(maps[n], r->size);
}

static void map_odd(struct attacker *at, struct end *end, unsigned int i)
{
	static const int flags[] = {
		MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SHARED | MAP_POPULATE,
		MAP_SHARED | MAP_LOCKED, MAP_SHARED | MAP_GROWSDOWN,
		MAP_SHARED | MAP_HUGETLB, MAP_SHARED | MAP_NORESERVE,
		MAP_SHARED_VALIDATE | MAP_SYNC, MAP_SHARED | MAP_32BIT,
	};
	const struct scatto_region *r = &end->layout.region[i];
	int f = flags[chance(&at->seed) % ARRAY_LEN(flags)];
	int prot = chance(&at->seed) % 8;
	off_t offset = r->offset;
	size_t size = r->size;
	bool known = false;
	unsigned int k;
	void *p;

	switch (chance(&at->seed) % 5) {
	case 0:
		size += 4096;
		break;
	case 1:
		offset += 4096;
		break;
	case 2:
		offset = chance(&at->seed) & ~4095ULL;
		break;
	case 3:
		offset = -(off_t)size;
		break;
	}
	for (k = 0; k < SCATTO_NR_REGIONS; k++)
		known |= (uint64_t)offset == end->layout.region[k].offset &&
			 size == end->layout.region[k].size;
	p = mmap(NULL, size, prot, f, end->fd, offset);
	if (p == MAP_FAILED)
		return;
	must(at, known && !(prot & PROT_EXEC) && f != MAP_PRIVATE);
	munmap(p, size);
}

static void map_pin_ring(struct attacker *at, struct iovec *iov)
{
	struct io_uring_params params = {};
	int ring = syscall(__NR_io_uring_setup, 4, &params);

	if (ring < 0)
		return;
	must(at, syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, iov, 1) < 0);
	close(ring);
}

/* get_user_pages() by all the doors there are. */
static void map_pin(struct attacker *at, struct end *end, unsigned int i)
{
	void *p = end->map[i];
	struct iovec iov = { p, 4096 }, own;
	char buf[64] = "";
	int fds[2], mem;

	if (!p || pipe(fds))
		return;
	must(at, vmsplice(fds[1], &iov, 1, SPLICE_F_GIFT | SPLICE_F_NONBLOCK) < 0);
	must(at, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) < 0);
	close(fds[0]);
	close(fds[1]);
	map_pin_ring(at, &iov);

	own = (struct iovec){ buf, sizeof(buf) };
	iov.iov_len = sizeof(buf);
	must(at, process_vm_writev(getpid(), &own, 1, &iov, 1, 0) < 0);
	must(at, process_vm_readv(getpid(), &own, 1, &iov, 1, 0) < 0);
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	must(at, pwrite(mem, buf, sizeof(buf), (uintptr_t)p) < 0);
	must(at, pread(mem, buf, sizeof(buf), (uintptr_t)p) < 0);
	close(mem);
	/* A futex of many processes is found by its page. */
	must(at, syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0) < 0);
}

static void map_uffd(struct attacker *at, struct end *end, unsigned int i)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
	unsigned int mode;

	if (fd < 0) {
		attack_skip(at);
		return;
	}
	must(at, !ioctl(fd, UFFDIO_API, &api));
	for (mode = 1; mode < 8 && end->map[i]; mode++) {
		struct uffdio_register reg = {
			.range = { (uintptr_t)end->map[i], end->layout.region[i].size },
			.mode = mode,
		};

		must(at, ioctl(fd, UFFDIO_REGISTER, &reg) < 0);
	}
	close(fd);
}

static void (* const map_attacks[])(struct attacker *, struct end *, unsigned int) = {
	map_unmap, map_replace, map_mprotect, map_advise, map_mremap, map_lock, map_again,
	map_odd, map_pin, map_uffd,
};

/* What is the role's to write... */
static bool is_ones_own(const struct end *end, unsigned int i)
{
	if (end->role == SCATTO_ROLE_PRODUCER)
		return i == SCATTO_REGION_PRODUCER || i == SCATTO_REGION_DATA;
	return end->role == SCATTO_ROLE_CONSUMER && i == SCATTO_REGION_CONSUMER;
}

/* ...and nothing else is. */
static void map_trespass(struct attacker *at, struct end *end)
{
	unsigned int i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		const struct scatto_region *r = &end->layout.region[i];

		must(at, r->writable == is_ones_own(end, i));
		if (!is_ones_own(end, i))
			must(at, mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED,
				      end->fd, r->offset) == MAP_FAILED);
	}
}

static void attack_maps(struct attacker *at)
{
	struct end end;

	attack_catch_faults();
	while (attack_open(at, &end)) {
		struct map_load load = { .at = at, .end = &end };
		unsigned int life = 1 + chance(&at->seed) % 32;

		map_trespass(at, &end);
		if (pthread_create(&load.thread, NULL, map_load_main, &load))
			return;
		while (life-- && attack_goes_on(at)) {
			map_attacks[at->a->what](at, &end,
						 chance(&at->seed) % SCATTO_NR_REGIONS);
			attack_round(at);
		}
		map_load_stop(&load);
		end_drop(&end);
	}
}

/* Children that inherit the addresses, and find nothing there. */
static void attack_fork(struct attacker *at)
{
	struct end end;
	pid_t pid;

	attack_catch_faults();
	while (attack_open(at, &end)) {
		unsigned int life = 1 + chance(&at->seed) % 8;

		while (life-- && attack_goes_on(at)) {
			unsigned int i;

			pid = spawn();
			if (!pid) {
				for (i = 0; i < SCATTO_NR_REGIONS; i++) {
					volatile bool here = false;

					may_fault({ (void)*(volatile char *)end.map[i];
						    here = true; });
					must(at, !here);
				}
				/* The descriptor it has: its call is the parent's role. */
				dev_wake(end.fd);
				must(at, end_map(&end) == -EBUSY);
				_exit(0);
			}
			attack_work(&end, 4);
			if (pid > 0)
				reap(pid);
			attack_round(at);
		}
		end_drop(&end);
	}
}

/* The program is replaced under the mappings; the file stays open, or goes. */
static void attack_exec(struct attacker *at)
{
	while (attack_goes_on(at)) {
		pid_t pid = spawn();
		struct end end;

		if (!pid) {
			if (!attack_open(at, &end))
				_exit(0);
			attack_work(&end, 4);
			if (chance(&at->seed) % 2)
				fcntl(end.fd, F_SETFD, 0);
			execl("/bin/busybox", "true", NULL);
			_exit(1);
		}
		/* Else all children have the same luck. */
		chance(&at->seed);
		must(at, pid < 0 || reap(pid) == 0);
		attack_round(at);
	}
}

/* Another process with the same memory outlives the one that mapped it. */
static int attack_heir(void *arg)
{
	struct end *end = arg;
	int i;

	for (i = 0; i < 20; i++) {
		attack_work(end, 4);
		sched_yield();
	}
	_exit(0);
}

static void attack_clone_vm(struct attacker *at)
{
	static char stack[16384] __attribute__((aligned(16)));
	static struct end end;

	while (attack_goes_on(at)) {
		pid_t pid = spawn();

		if (!pid) {
			if (!attack_open(at, &end))
				_exit(0);
			clone(attack_heir, stack + sizeof(stack), CLONE_VM | SIGCHLD, &end);
			attack_work(&end, 4);
			kill(getpid(), SIGKILL);
		}
		if (pid > 0)
			reap(pid);
		attack_round(at);
	}
}

#endif /* SELFTESTS_ATTACK_MAPS_H */
