/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For who looks for bytes that the kernel did not mean to show: a pattern all over
 * memory that is free again, and a look at which pages held it. Needs root, a kernel
 * that does not clear what it allocates (init_on_alloc=0), and /proc/kcore.
 */
#ifndef SELFTESTS_LEAK_H
#define SELFTESTS_LEAK_H

#include "util.h"

#include <elf.h>
#include <sys/ipc.h>
#include <sys/msg.h>

/* As a word of 32 bits, wherever it is found. As a file descriptor it is none. */
#define LEAK_WORD	0xdca71eafU

static inline void leak_fill_with(uint32_t word, void *at, size_t size)
{
	uint32_t *p = at;

	while (size >= sizeof(*p)) {
		*p++ = word;
		size -= sizeof(*p);
	}
}

static inline void leak_fill(void *at, size_t size)
{
	leak_fill_with(LEAK_WORD, at, size);
}

static inline size_t leak_count_of(uint32_t word, const volatile void *at, size_t size)
{
	const volatile uint32_t *p = at;
	size_t i, n = 0;

	for (i = 0; i < size / sizeof(*p); i++)
		n += p[i] == word;
	return n;
}

static inline size_t leak_count(const volatile void *at, size_t size)
{
	return leak_count_of(LEAK_WORD, at, size);
}

/* Pages: most of what is free, through anonymous memory and the page cache. */
static inline void leak_poison_pages(void)
{
	size_t size = read_number("/proc/meminfo", "MemFree:") * 1024 / 8 * 5 & ~4095UL, at;
	int file = memfd_create("leak", MFD_CLOEXEC);
	unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	leak_fill(p, size);
	for (at = 0; at < size / 8; at += 1 << 20)
		if (write(file, p, 1 << 20) < 0)
			break;
	munmap(p, size);
	close(file);
}

/*
 * The kernel keeps pages of its own apart from those of users: what it takes next is
 * what a channel has left.
 */
static inline void leak_poison_channels(void)
{
	struct end prod[4];
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(prod); i++) {
		int owner = channel_create(NULL, 0, 4096, 8192, 0);

		if (end_open(&prod[i], SCATTO_ROLE_PRODUCER, owner))
			prod[i].fd = -1;
		else
			leak_fill((void *)prod[i].data,
				  prod[i].layout.region[SCATTO_REGION_DATA].size);
		close(owner);
	}
	while (i--)
		end_drop(&prod[i]);
}

/*
 * Objects of kmalloc(), of all sizes up to a page and charged to the memcg as the
 * module's are: messages of a queue.
 */
static inline void leak_poison_slab(void)
{
	static struct {
		long type;
		unsigned char text[8192];
	} msg = { .type = 1 };
	size_t size;
	int q, i;

	leak_fill(msg.text, sizeof(msg.text));
	for (size = 16; size <= 4096; size *= 2) {
		q = msgget(IPC_PRIVATE, 0600);
		/* The kernel's header has 48 bytes. */
		for (i = 0; i < 256; i++)
			if (msgsnd(q, &msg, size > 64 ? size - 48 : size, IPC_NOWAIT))
				break;
		msgctl(q, IPC_RMID, NULL);
	}
}

/* The kernel's stack below the caller's system calls: what poll() keeps there. */
static inline void leak_poison_stack(void)
{
	struct pollfd fds[30];

	leak_fill(fds, sizeof(fds));
	poll(fds, ARRAY_LEN(fds), 0);
}

/* A bit for each page of memory: did it hold this word? */
struct leak_pages {
	uint32_t word;
	unsigned char *bits;
	uint64_t nr;
	uint64_t found;
};

static inline void leak_look_at(struct leak_pages *pages, int kcore, const Elf64_Phdr *ph)
{
	enum { CHUNK = 1 << 20 };
	static unsigned char buf[CHUNK];
	uint64_t at;

	for (at = 0; at < ph->p_filesz; at += CHUNK) {
		ssize_t n = pread(kcore, buf, CHUNK, ph->p_offset + at), i;

		for (i = 0; i + 4096 <= n; i += 4096) {
			uint64_t pfn = (ph->p_paddr + at + i) / 4096;
			/* Not the word that a free object begins with. */
			size_t words = leak_count_of(pages->word, buf + i + 2048, 64);

			if (pfn >= pages->nr || words != 64 / sizeof(pages->word))
				continue;
			pages->bits[pfn / 8] |= 1 << pfn % 8;
			pages->found++;
		}
	}
}

/* /proc/kcore shows all memory at the kernel's own addresses. */
static inline int leak_look(struct leak_pages *pages, uint32_t word)
{
	int kcore = open("/proc/kcore", O_RDONLY | O_CLOEXEC), i;
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	memset(pages, 0, sizeof(*pages));
	pages->word = word;
	pages->nr = 1 << 22;
	pages->bits = calloc(1, pages->nr / 8);
	if (kcore < 0 || pread(kcore, &eh, sizeof(eh), 0) != sizeof(eh))
		return -errno;
	for (i = 0; i < eh.e_phnum; i++) {
		pread(kcore, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph));
		/* Of what is not in memory, or there twice, it does not say where. */
		if (ph.p_type == PT_LOAD && ph.p_paddr && ph.p_paddr >> 12 < pages->nr)
			leak_look_at(pages, kcore, &ph);
	}
	close(kcore);
	return 0;
}

/* How many pages are in both? */
static inline uint64_t leak_both(const struct leak_pages *a, const struct leak_pages *b)
{
	uint64_t n = 0, i;

	for (i = 0; i < a->nr / 8; i++)
		n += __builtin_popcount(a->bits[i] & b->bits[i]);
	return n;
}

#endif /* SELFTESTS_LEAK_H */
