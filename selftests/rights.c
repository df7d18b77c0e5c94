// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page tables enforce the roles: what each role may map and how, and that a
 * consumer gets no writable mapping of anything but its own page by any route.
 * After every attempt the victim's data is looked at, through the producer.
 */
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "util.h"
#include "kselftest_harness.h"

/* From newer headers than some machines have. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define SLOT_SIZE	64
#define CAPACITY	1024		/* 16 pages of data */
#define PATTERN		0x5a

static sigjmp_buf on_fault;

static void fault(int sig)
{
	(void)sig;
	siglongjmp(on_fault, 1);
}

static void catch_faults(void)
{
	struct sigaction sa = { .sa_handler = fault, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

/* Does a store there fault? It writes what is there already. */
static __attribute__((noinline)) bool store_faults(volatile void *at)
{
	volatile char *p = at;

	if (sigsetjmp(on_fault, 1))
		return true;
	*p = *p;
	return false;
}

static __attribute__((noinline)) bool load_faults(volatile void *at)
{
	volatile char *p = at;

	if (sigsetjmp(on_fault, 1))
		return true;
	(void)*p;
	return false;
}

/* A producer that has written a pattern all over, and a consumer to tempt. */
FIXTURE(rights) {
	int owner;
	struct end prod, cons;
	size_t data_size;
};

FIXTURE_SETUP(rights)
{
	self->owner = channel_create("rights", 0600, SLOT_SIZE, CAPACITY,
				     SCATTO_F_PAUSE);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, end_open(&self->prod, SCATTO_ROLE_PRODUCER, self->owner));
	ASSERT_EQ(0, end_open(&self->cons, SCATTO_ROLE_CONSUMER, self->owner));
	self->data_size = self->prod.layout.region[SCATTO_REGION_DATA].size;
	ASSERT_EQ(16 * 4096, self->data_size);
	memset((void *)self->prod.data, PATTERN, self->data_size);
	ASSERT_EQ(0, end_publish(&self->prod, 7));
	catch_faults();
}

FIXTURE_TEARDOWN(rights)
{
	end_drop(&self->prod);
	end_drop(&self->cons);
	close(self->owner);
}

/* Is everything that the consumer must not write as it was, and seen so? */
static bool untouched(FIXTURE_DATA(rights) *self)
{
	volatile struct scatto_channel_area *area = self->prod.area;
	size_t i;

	for (i = 0; i < self->data_size; i++)
		if (self->prod.data[i] != PATTERN)
			return false;
	if (self->cons.data &&
	    memcmp((void *)self->cons.data, (void *)self->prod.data, self->data_size))
		return false;
	return self->prod.prod->published == 7 && area->magic == SCATTO_MAGIC &&
	       area->end == SCATTO_END_OPEN && !area->state &&
	       area->producers == 1 && area->consumers == 1;
}

/* And none of it can be written through the consumer's mappings. */
static bool all_read_only(struct end *end)
{
	return store_faults(end->area) && store_faults(end->prod) &&
	       store_faults(end->data) &&
	       store_faults(end->data + end->layout.region[SCATTO_REGION_DATA].size - 1) &&
	       !load_faults(end->data);
}

static int try_mmap(int fd, size_t size, int prot, int flags, off_t offset)
{
	void *p = mmap(NULL, size, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, size);
	return 0;
}

/* The matrix: role x region x protection x sharing. */
FIXTURE(matrix) {
	int owner;
};

FIXTURE_SETUP(matrix)
{
	self->owner = channel_create(NULL, 0, SLOT_SIZE, CAPACITY, SCATTO_F_PAUSE);
	ASSERT_GE(self->owner, 0);
}

FIXTURE_TEARDOWN(matrix)
{
	close(self->owner);
}

static const bool writable[5][SCATTO_NR_REGIONS] = {
	[SCATTO_ROLE_PRODUCER] = { [SCATTO_REGION_PRODUCER] = true,
				   [SCATTO_REGION_DATA] = true },
	[SCATTO_ROLE_CONSUMER] = { [SCATTO_REGION_CONSUMER] = true },
};

/* A fresh endpoint for each: unmapping ends a role. */
static void check_mmap(struct __test_metadata *_metadata, int owner,
		       unsigned int role, unsigned int region, int prot, int share)
{
	const struct scatto_region *r;
	struct end end;
	int want = 0;

	ASSERT_EQ(0, end_attach(&end, role, owner));
	r = &end.layout.region[region];
	EXPECT_EQ(writable[role][region], r->writable);
	if (prot & PROT_EXEC || (prot & PROT_WRITE && !writable[role][region]))
		want = -EACCES;
	if (share == MAP_PRIVATE)
		want = -EINVAL;
	EXPECT_EQ(want, try_mmap(end.fd, r->size, prot, share, r->offset)) {
		TH_LOG("role %u, region %u, prot %d, share %d", role, region, prot,
		       share);
	}
	end_drop(&end);
}

TEST_F(matrix, mmap)
{
	static const int shares[] = { MAP_SHARED, MAP_SHARED_VALIDATE, MAP_PRIVATE };
	unsigned int role, region, prot, s, tried = 0;

	for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++) {
		for (region = 0; region < SCATTO_NR_REGIONS; region++) {
			for (prot = 0; prot < 8; prot++) {
				for (s = 0; s < ARRAY_LEN(shares); s++, tried++)
					check_mmap(_metadata, self->owner, role, region,
						   prot, shares[s]);
			}
		}
	}
	EXPECT_EQ(4 * 4 * 8 * 3, tried);
}

/* What was mapped with little must not get more. */
static void check_mprotect(struct __test_metadata *_metadata, int owner,
			   unsigned int role, unsigned int region, int first,
			   int then)
{
	bool may_write = writable[role][region];
	struct end end;
	int ret;

	ASSERT_EQ(0, end_attach(&end, role, owner));
	ret = end_map_region(&end, region, first);
	EXPECT_EQ(first & PROT_WRITE && !may_write ? -EACCES : 0, ret);
	if (!ret) {
		ret = mprotect(end.map[region], end.layout.region[region].size,
			       then) ? -errno : 0;
		EXPECT_EQ(then & PROT_EXEC || (then & PROT_WRITE && !may_write) ?
			  -EACCES : 0, ret) {
			TH_LOG("role %u, region %u, prot %d to %d", role, region,
			       first, then);
		}
		EXPECT_TRUE(may_write || store_faults(end.map[region]));
	}
	end_drop(&end);
}

TEST_F(matrix, mprotect)
{
	unsigned int role, region, first, then;

	catch_faults();
	for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++) {
		for (region = 0; region < SCATTO_NR_REGIONS; region++) {
			for (first = 0; first < 4; first++) {
				for (then = 0; then < 8; then++)
					check_mprotect(_metadata, self->owner, role,
						       region, first, then);
			}
		}
	}
}

/* The access mode of the open limits a role further. */
static void check_open_mode(struct __test_metadata *_metadata, int owner, int mode,
			    unsigned int role, unsigned int region)
{
	int prot;

	for (prot = PROT_READ; prot <= (PROT_READ | PROT_WRITE); prot++) {
		struct scatto_attach arg = attach_args(role, owner, NULL);
		const struct scatto_region *r = &arg.layout.region[region];
		int fd = open(DEV, mode | O_CLOEXEC), want = 0;

		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, dev_attach(fd, &arg));
		/* Whatever is mapped is read as well. */
		if (mode == O_WRONLY ||
		    (prot & PROT_WRITE && (mode == O_RDONLY || !r->writable)))
			want = -EACCES;
		EXPECT_EQ(want, try_mmap(fd, r->size, prot, MAP_SHARED, r->offset)) {
			TH_LOG("open mode %#o, role %u, region %u, prot %d", mode, role,
			       region, prot);
		}
		close(fd);
	}
}

TEST_F(matrix, open_mode)
{
	static const int modes[] = { O_RDWR, O_RDONLY, O_WRONLY };
	unsigned int i, role, region;

	for (i = 0; i < ARRAY_LEN(modes); i++) {
		for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++) {
			for (region = 0; region < SCATTO_NR_REGIONS; region++)
				check_open_mode(_metadata, self->owner, modes[i], role,
						region);
		}
	}
}

/* An endpoint that was opened for reading cannot be made to write later. */
TEST_F(matrix, read_only_open_stays_so)
{
	struct scatto_attach arg =
		attach_args(SCATTO_ROLE_PRODUCER, self->owner, NULL);
	const struct scatto_region *r = &arg.layout.region[SCATTO_REGION_DATA];
	int fd = open(DEV, O_RDONLY | O_CLOEXEC);
	void *p;

	catch_faults();
	ASSERT_EQ(0, dev_attach(fd, &arg));
	p = mmap(NULL, r->size, PROT_READ, MAP_SHARED, fd, r->offset);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, mprotect(p, r->size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, fcntl(fd, F_SETFL, O_RDWR));
	EXPECT_EQ(-1, mprotect(p, r->size, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(store_faults(p));
	munmap(p, r->size);
	close(fd);
}

/* Regions are mapped at their offsets and whole, or not at all. */
static void check_geometry(struct __test_metadata *_metadata, int owner,
			   unsigned int role, unsigned int page, unsigned int pages)
{
	bool right = false;
	unsigned int i;
	struct end end;

	ASSERT_EQ(0, end_attach(&end, role, owner));
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		right |= end.layout.region[i].offset == page * 4096 &&
			 end.layout.region[i].size == pages * 4096;
	EXPECT_EQ(right ? 0 : -EINVAL,
		  try_mmap(end.fd, pages * 4096, PROT_READ, MAP_SHARED, page * 4096)) {
		TH_LOG("role %u, %u pages at %u", role, pages, page);
	}
	end_drop(&end);
}

TEST_F(matrix, geometry)
{
	unsigned int role, page, pages;

	/* The whole channel is 19 pages. */
	for (role = SCATTO_ROLE_OWNER; role <= SCATTO_ROLE_OBSERVER; role++) {
		for (page = 0; page < 22; page++) {
			for (pages = 1; pages < 22; pages++)
				check_geometry(_metadata, self->owner, role, page, pages);
		}
	}
}

TEST_F(matrix, far_offsets)
{
	static const uint64_t far[] = {
		1ULL << 20, 1ULL << 32, 1ULL << 44, 0x7ffffffffffff000,
		0x8000000000000000, 0xffffffffffffd000, 0xfffffffffffff000,
	};
	struct end end;
	unsigned int i;
	int ret;

	ASSERT_EQ(0, end_attach(&end, SCATTO_ROLE_CONSUMER, self->owner));
	for (i = 0; i < ARRAY_LEN(far); i++) {
		ret = try_mmap(end.fd, 4096, PROT_READ, MAP_SHARED, far[i]);
		EXPECT_TRUE(ret == -EINVAL || ret == -EOVERFLOW) {
			TH_LOG("offset %#llx gives %d", (unsigned long long)far[i], ret);
		}
	}
	EXPECT_EQ(-ENOMEM, try_mmap(end.fd, ~4095UL, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_mmap(end.fd, 0, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_mmap(end.fd, 4096, PROT_READ, MAP_SHARED, 1));
	end_drop(&end);
}

/*
 * On a channel of the kernel's nobody but the kernel writes: there are consumers
 * and observers, and a consumer writes its own page.
 */
FIXTURE(kernel) {
};

FIXTURE_SETUP(kernel)
{
	int fd = open("/lib/modules-scatto/scatto_sched.ko", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no scatto_sched.ko");
	ASSERT_EQ(0, syscall(SYS_finit_module, fd, "name=rights", 0));
	close(fd);
}

FIXTURE_TEARDOWN(kernel)
{
	EXPECT_EQ(0, syscall(SYS_delete_module, "scatto_sched", O_NONBLOCK));
}

TEST_F(kernel, rights)
{
	unsigned int role, i;
	struct end end;

	if (_metadata->skip)
		return;
	catch_faults();
	EXPECT_EQ(-EPERM, end_attach_to(&end, SCATTO_ROLE_OWNER, -1, "rights"));
	EXPECT_EQ(-EPERM, end_attach_to(&end, SCATTO_ROLE_PRODUCER, -1, "rights"));
	for (role = SCATTO_ROLE_CONSUMER; role <= SCATTO_ROLE_OBSERVER; role++) {
		ASSERT_EQ(0, end_attach_to(&end, role, -1, "rights"));
		EXPECT_EQ(SCATTO_KIND_MPSC, end.layout.kind);
		EXPECT_NE(0, end.layout.flags & SCATTO_F_KERNEL);
		for (i = 0; i < SCATTO_NR_REGIONS; i++) {
			const struct scatto_region *r = &end.layout.region[i];
			bool may = writable[role][i];

			EXPECT_EQ(may, r->writable);
			ASSERT_EQ(0, end_map_region(&end, i, PROT_READ));
			EXPECT_EQ(may ? 0 : -1, mprotect(end.map[i], r->size,
							 PROT_READ | PROT_WRITE));
			EXPECT_EQ(may, !store_faults(end.map[i]));
			EXPECT_EQ(may ? 0 : -EACCES,
				  try_mmap(end.fd, r->size, PROT_WRITE, MAP_SHARED,
					   r->offset));
		}
		end_drop(&end);
	}
}

/* Routes to a writable mapping, as the consumer would try them. */
TEST_F(rights, plain)
{
	unsigned int i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		const struct scatto_region *r = &self->cons.layout.region[i];

		if (i == SCATTO_REGION_CONSUMER)
			continue;
		EXPECT_EQ(-EACCES, try_mmap(self->cons.fd, r->size,
					    PROT_READ | PROT_WRITE, MAP_SHARED, r->offset));
		EXPECT_EQ(-EACCES, try_mmap(self->cons.fd, r->size, PROT_WRITE,
					    MAP_SHARED, r->offset));
		EXPECT_EQ(-EINVAL, try_mmap(self->cons.fd, r->size,
					    PROT_READ | PROT_WRITE, MAP_PRIVATE,
					    r->offset));
		EXPECT_EQ(-1, mprotect(self->cons.map[i], r->size,
				       PROT_READ | PROT_WRITE));
		EXPECT_EQ(EACCES, errno);
		EXPECT_EQ(-1, mprotect(self->cons.map[i], r->size, PROT_WRITE));
		EXPECT_EQ(-1, mprotect(self->cons.map[i], r->size,
				       PROT_READ | PROT_EXEC));
		EXPECT_EQ(0, mprotect(self->cons.map[i], r->size, PROT_NONE));
		EXPECT_EQ(-1, mprotect(self->cons.map[i], r->size,
				       PROT_READ | PROT_WRITE));
		EXPECT_EQ(0, mprotect(self->cons.map[i], r->size, PROT_READ));
		EXPECT_EQ(-1, syscall(SYS_pkey_mprotect, self->cons.map[i], r->size,
				      PROT_READ | PROT_WRITE, -1));
	}
	EXPECT_TRUE(all_read_only(&self->cons));
	EXPECT_FALSE(store_faults(self->cons.cons));
	EXPECT_TRUE(untouched(self));
}

TEST_F(rights, second_mapping)
{
	const struct scatto_region *r = &self->cons.layout.region[SCATTO_REGION_DATA];
	void *p = mmap(NULL, r->size, PROT_READ, MAP_SHARED, self->cons.fd, r->offset);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_TRUE(store_faults(p));
	EXPECT_EQ(-1, mprotect(p, r->size, PROT_READ | PROT_WRITE));
	/* Over the first one, in its place. */
	EXPECT_EQ(MAP_FAILED, mmap((void *)self->cons.data, r->size,
				   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				   self->cons.fd, r->offset));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, munmap(p, r->size));
	/*
	 * That may have cost it what was there (the kernel unmaps before it
	 * asks), but the role is alive as long as its own page is mapped.
	 */
	self->cons.data = NULL;
	EXPECT_TRUE(untouched(self));
}

TEST_F(rights, mremap)
{
	char *data = (void *)self->cons.data, *to, *moved;
	size_t size = self->data_size;

	/* Grow, in place and elsewhere: into what lies behind. */
	EXPECT_EQ(MAP_FAILED, mremap(data, size, size + 4096, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(data, size, size + 4096, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap((void *)self->cons.cons, 4096, 2 * 4096,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	/* A duplicate. */
	EXPECT_EQ(MAP_FAILED, mremap(data, 0, size, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->cons.map[SCATTO_REGION_CONSUMER], 0, 4096,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	/* Shrink, or move a part: no halves. */
	EXPECT_EQ(MAP_FAILED, mremap(data, size, size - 4096, 0));
	EXPECT_EQ(EINVAL, errno);
	to = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, to);
	EXPECT_EQ(MAP_FAILED, mremap(data, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mremap(data + 4096, size - 4096, size - 4096,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mremap(data, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(untouched(self));
	EXPECT_TRUE(all_read_only(&self->cons));

	/* A move is a move: still read-only, still one, the old one gone. */
	moved = mremap(data, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(to, moved);
	self->cons.data = (void *)moved;
	EXPECT_TRUE(load_faults(data));
	EXPECT_EQ(-1, mprotect(moved, size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_TRUE(all_read_only(&self->cons));
	EXPECT_TRUE(untouched(self));

	/* The writable one, too, and the role does not end by it. */
	to = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = mremap(self->cons.map[SCATTO_REGION_CONSUMER], 4096, 4096,
		       MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(to, moved);
	self->cons.map[SCATTO_REGION_CONSUMER] = moved;
	EXPECT_FALSE(store_faults(moved));
	EXPECT_TRUE(untouched(self));
	EXPECT_EQ(0, end_unmap_region(&self->cons, SCATTO_REGION_CONSUMER));
	EXPECT_EQ(0, self->prod.area->consumers);
}

/* One-page regions lie side by side: a writable one must not become another. */
TEST_F(rights, remap_file_pages)
{
	static const size_t pgoff[] = { 0, 1, 3 };
	void *own = self->cons.map[SCATTO_REGION_CONSUMER];
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(pgoff); i++) {
		EXPECT_NE(0, syscall(SYS_remap_file_pages, own, 4096, 0, pgoff[i], 0)) {
			TH_LOG("page %zu", pgoff[i]);
		}
	}
	EXPECT_NE(0, syscall(SYS_remap_file_pages, self->cons.data, self->data_size, 0,
			     2, 0));
	EXPECT_TRUE(store_faults(self->cons.area));
	EXPECT_EQ(SCATTO_MAGIC, self->prod.area->magic);
	EXPECT_EQ(7, self->prod.prod->published);
}

TEST_F(rights, proc_self_mem)
{
	char path[64], buf[64] = "", other[64];
	unsigned int i;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", getpid());
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		off_t at = (uintptr_t)self->cons.map[i];

		EXPECT_EQ(-1, pwrite(fd, buf, sizeof(buf), at));
		EXPECT_EQ(EIO, errno);
		EXPECT_EQ(-1, pread(fd, other, sizeof(other), at));
		EXPECT_EQ(EIO, errno);
	}
	/* The tool works, on memory that is the process's own. */
	EXPECT_EQ(64, pwrite(fd, "x", 1, (uintptr_t)buf) +
		      pread(fd, other, 63, (uintptr_t)buf));
	EXPECT_EQ('x', buf[0]);
	close(fd);
	EXPECT_TRUE(untouched(self));
}

TEST_F(rights, process_vm)
{
	char buf[64] = "";
	struct iovec here = { buf, sizeof(buf) };
	unsigned int i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		struct iovec there = { self->cons.map[i], sizeof(buf) };

		EXPECT_EQ(-1, process_vm_writev(getpid(), &here, 1, &there, 1, 0));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
		EXPECT_EQ(EFAULT, errno);
	}
	EXPECT_EQ(64, process_vm_readv(getpid(), &here, 1, &here, 1, 0));
	EXPECT_TRUE(untouched(self));
}

/* A debugger's pokes, and another process's look through /proc. */
TEST_F(rights, ptrace)
{
	void *data, *page;
	int status;
	pid_t pid;

	end_drop(&self->cons);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	pid = spawn();
	if (!pid) {
		if (end_open(&self->cons, SCATTO_ROLE_CONSUMER, self->owner))
			_exit(1);
		*(void **)page = (void *)self->cons.data;
		raise(SIGSTOP);
		_exit(!all_read_only(&self->cons));
	}
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	data = *(void **)page;
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, pid, data, (void *)0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, ptrace(PTRACE_POKETEXT, pid, data, (void *)0));
	EXPECT_EQ(EIO, errno);
	errno = 0;
	EXPECT_EQ(-1, ptrace(PTRACE_PEEKDATA, pid, data, NULL));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, (void *)&page, page));
	self->cons.data = NULL;
	EXPECT_TRUE(untouched(self));
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, pid, NULL, NULL));
	kill(pid, SIGCONT);
	EXPECT_EQ(0, reap(pid));
	self->cons.fd = -1;
}

/* /proc/self/fd/N is another open of the device, bound to nothing. */
TEST_F(rights, reopen)
{
	static const int modes[] = { O_RDWR, O_RDONLY, O_WRONLY };
	const struct scatto_region *r = &self->prod.layout.region[SCATTO_REGION_DATA];
	int fds[] = { self->owner, self->prod.fd, self->cons.fd };
	struct scatto_info info;
	unsigned int i, m;

	for (i = 0; i < ARRAY_LEN(fds); i++) {
		for (m = 0; m < ARRAY_LEN(modes); m++) {
			struct scatto_attach arg;
			char path[64];
			int fd;

			snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[i]);
			fd = open(path, modes[m] | O_CLOEXEC);
			ASSERT_GE(fd, 0);
			EXPECT_EQ(-ENOTCONN, dev_info(fd, &info));
			EXPECT_NE(0, try_mmap(fd, r->size, PROT_READ, MAP_SHARED,
					      r->offset));
			/* So it admits to nothing, either. */
			arg = attach_args(SCATTO_ROLE_OBSERVER, fd, NULL);
			EXPECT_EQ(-ENOTCONN, dev_attach(fd, &arg));
			close(fd);
		}
	}
	EXPECT_TRUE(untouched(self));
}

/* An endpoint admits observers, and only an owner's admits more. */
TEST_F(rights, lesser_role)
{
	struct end observer, more;
	int fds[3], role;
	unsigned int i;

	ASSERT_EQ(0, end_open(&observer, SCATTO_ROLE_OBSERVER, self->owner));
	EXPECT_TRUE(all_read_only(&observer));
	EXPECT_TRUE(store_faults(observer.cons));
	fds[0] = self->cons.fd;
	fds[1] = self->prod.fd;
	fds[2] = observer.fd;
	/* Places that are free are no easier to get. */
	EXPECT_EQ(0, dev_close(self->prod.fd));
	end_unmap(&self->prod);
	for (i = 0; i < ARRAY_LEN(fds); i++) {
		for (role = SCATTO_ROLE_OWNER; role < SCATTO_ROLE_OBSERVER; role++) {
			EXPECT_EQ(-EPERM, end_open(&more, role, fds[i])) {
				TH_LOG("role %d through fd %u", role, i);
			}
		}
		ASSERT_EQ(0, end_open(&more, SCATTO_ROLE_OBSERVER, fds[i]));
		EXPECT_TRUE(all_read_only(&more));
		EXPECT_TRUE(store_faults(more.cons));
		end_drop(&more);
	}
	end_drop(&observer);
}

/* The producer for its part stays out of the consumer's page. */
TEST_F(rights, producer)
{
	static const int forbidden[] = { SCATTO_REGION_CHANNEL, SCATTO_REGION_CONSUMER };
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(forbidden); i++) {
		const struct scatto_region *r =
			&self->prod.layout.region[forbidden[i]];
		void *p = self->prod.map[forbidden[i]];

		EXPECT_EQ(-EACCES, try_mmap(self->prod.fd, r->size,
					    PROT_READ | PROT_WRITE, MAP_SHARED,
					    r->offset));
		EXPECT_EQ(-1, mprotect(p, r->size, PROT_READ | PROT_WRITE));
		EXPECT_EQ(EACCES, errno);
		EXPECT_TRUE(store_faults(p));
		EXPECT_NE(0, syscall(SYS_remap_file_pages,
				     self->prod.map[SCATTO_REGION_PRODUCER], 4096, 0,
				     r->offset / 4096, 0));
		ASSERT_TRUE(store_faults(p));
	}
}

/*
 * Pins: whoever gets hold of the pages writes them after the unmap, or lets a
 * device or another process do it. Not even the producer gets them.
 */
TEST_F(rights, vmsplice)
{
	struct end *ends[] = { &self->cons, &self->prod };
	unsigned int i, k;
	int pipefd[2];
	char buf[8];

	ASSERT_EQ(0, pipe(pipefd));
	for (i = 0; i < ARRAY_LEN(ends); i++) {
		for (k = 0; k < SCATTO_NR_REGIONS; k++) {
			struct iovec iov = { ends[i]->map[k], 4096 };

			EXPECT_EQ(-1, vmsplice(pipefd[1], &iov, 1, 0));
			EXPECT_EQ(EFAULT, errno);
			EXPECT_EQ(-1, vmsplice(pipefd[1], &iov, 1, SPLICE_F_GIFT));
			EXPECT_EQ(EFAULT, errno);
		}
	}
	/* It works with anonymous memory. */
	EXPECT_EQ(8, vmsplice(pipefd[1], &(struct iovec){ buf, 8 }, 1, 0));
	close(pipefd[0]);
	close(pipefd[1]);
	EXPECT_TRUE(untouched(self));
}

/* What reads into memory cannot be made to read into the data. */
TEST_F(rights, read_into)
{
	void *data = (void *)self->cons.data;
	struct iovec iov = { data, 4096 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int sv[2], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char path[] = "direct.XXXXXX", page[4096] = "";
	int file = mkstemp(path);

	ASSERT_GE(zero, 0);
	ASSERT_GE(file, 0);
	ASSERT_EQ(4096, write(file, page, 4096));
	EXPECT_EQ(-1, read(zero, data, 4096));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, readv(zero, &iov, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(file, data, 4096, 0));
	EXPECT_EQ(EFAULT, errno);
	/* tmpfs takes O_DIRECT from 6.6 on. */
	if (!fcntl(file, F_SETFL, O_DIRECT)) {
		EXPECT_EQ(-1, pread(file, data, 4096, 0));
		EXPECT_EQ(EFAULT, errno);
	}
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	ASSERT_EQ(4096, write(sv[0], page, 4096));
	EXPECT_EQ(-1, recvmsg(sv[1], &msg, 0));
	EXPECT_EQ(EFAULT, errno);
	unlink(path);
	close(file);
	close(zero);
	EXPECT_TRUE(untouched(self));
}

TEST_F(rights, io_uring_buffers)
{
	struct end *ends[] = { &self->cons, &self->prod };
	struct io_uring_params params = {};
	unsigned int i, k;
	char buf[4096];
	int ring = syscall(__NR_io_uring_setup, 4, &params);

	if (ring < 0)
		SKIP(return, "no io_uring: %s", strerror(errno));
	for (i = 0; i < ARRAY_LEN(ends); i++) {
		for (k = 0; k < SCATTO_NR_REGIONS; k++) {
			struct iovec iov = { ends[i]->map[k], 4096 };

			EXPECT_EQ(-1, syscall(__NR_io_uring_register, ring,
					      IORING_REGISTER_BUFFERS, &iov, 1));
			EXPECT_EQ(EFAULT, errno);
		}
	}
	EXPECT_EQ(0, syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS,
			     &(struct iovec){ buf, sizeof(buf) }, 1));
	close(ring);
	EXPECT_TRUE(untouched(self));
}

TEST_F(rights, userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API };
	unsigned int i, mode;
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		for (mode = UFFDIO_REGISTER_MODE_MISSING;
		     mode <= UFFDIO_REGISTER_MODE_MINOR; mode <<= 1) {
			struct uffdio_register reg = {
				.range = { (uintptr_t)self->cons.map[i],
					   self->cons.layout.region[i].size },
				.mode = mode,
			};

			EXPECT_EQ(-1, ioctl(fd, UFFDIO_REGISTER, &reg));
		}
	}
	close(fd);
	EXPECT_TRUE(untouched(self));
}

/*
 * Advice. What would throw pages away, copy them, pin them or split the mapping
 * is refused; what is accepted does no harm. VM_DONTCOPY stays: with it gone a
 * forked child would keep on writing after its parent's death.
 */
TEST_F(rights, madvise)
{
	static const struct {
		const char *name;
		int advice;
		bool refused;
	} t[] = {
		{ "DOFORK", MADV_DOFORK, true },
		{ "DONTNEED", MADV_DONTNEED, true },
		{ "FREE", MADV_FREE, true },
		{ "REMOVE", MADV_REMOVE, true },
		{ "POPULATE_READ", MADV_POPULATE_READ, true },
		{ "POPULATE_WRITE", MADV_POPULATE_WRITE, true },
		{ "COLLAPSE", MADV_COLLAPSE, true },
		{ "COLD", MADV_COLD, true },
		{ "PAGEOUT", MADV_PAGEOUT, true },
		{ "DODUMP", MADV_DODUMP, true },
		{ "WIPEONFORK", MADV_WIPEONFORK, true },
		{ "NORMAL", MADV_NORMAL, false },
		{ "HUGEPAGE", MADV_HUGEPAGE, false },
		{ "RANDOM", MADV_RANDOM, false },
		{ "SEQUENTIAL", MADV_SEQUENTIAL, false },
		{ "WILLNEED", MADV_WILLNEED, false },
		{ "DONTFORK", MADV_DONTFORK, false },
		{ "KEEPONFORK", MADV_KEEPONFORK, false },
		{ "MERGEABLE", MADV_MERGEABLE, false },
		{ "UNMERGEABLE", MADV_UNMERGEABLE, false },
		{ "DONTDUMP", MADV_DONTDUMP, false },
		{ "NOHUGEPAGE", MADV_NOHUGEPAGE, false },
	};
	struct end *ends[] = { &self->cons, &self->prod };
	unsigned int i, k;

	for (i = 0; i < 2 * ARRAY_LEN(t); i++) {
		struct end *end = ends[i % 2];
		int advice = t[i / 2].advice;

		for (k = 0; k < SCATTO_NR_REGIONS; k++) {
			size_t size = end->layout.region[k].size;
			bool failed = madvise(end->map[k], size, advice);

			EXPECT_TRUE(failed || !t[i / 2].refused) {
				TH_LOG("%s, region %u, role %u", t[i / 2].name, k,
				       end->role);
			}
			/* Part of a region must not become another mapping. */
			if (size > 4096)
				madvise((char *)end->map[k] + 4096, 4096, advice);
			ASSERT_FALSE(load_faults(end->map[k]));
		}
	}
	EXPECT_TRUE(all_read_only(&self->cons));
	EXPECT_TRUE(untouched(self));
}

TEST_F(rights, no_fork_after_madvise)
{
	struct end *ends[] = { &self->cons, &self->prod };
	unsigned int i, e;
	pid_t pid;

	for (e = 0; e < ARRAY_LEN(ends); e++) {
		for (i = 0; i < SCATTO_NR_REGIONS; i++) {
			EXPECT_EQ(-1, madvise(ends[e]->map[i],
					      ends[e]->layout.region[i].size,
					      MADV_DOFORK));
			EXPECT_EQ(EINVAL, errno);
		}
	}
	pid = spawn();
	if (!pid) {
		unsigned int here = 0;

		for (e = 0; e < ARRAY_LEN(ends); e++)
			for (i = 0; i < SCATTO_NR_REGIONS; i++)
				here += !load_faults(ends[e]->map[i]);
		_exit(here);
	}
	EXPECT_EQ(0, reap(pid));
}

/* mlock, mbind and the like touch pages through other paths. */
TEST_F(rights, other_calls)
{
	char *data = (void *)self->cons.data;
	unsigned long node = 1;
	void *pages[] = { data };
	int nodes[] = { 0 }, status[] = { 0 };

	mlock(data, self->data_size);
	munlock(data, self->data_size);
	mlock(data + 4096, 4096);
	munlock(data + 4096, 4096);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	/* What is mapped while all is locked is not populated by page faults. */
	EXPECT_EQ(0, end_unmap_region(&self->cons, SCATTO_REGION_DATA));
	EXPECT_EQ(0, end_map_region(&self->cons, SCATTO_REGION_DATA, PROT_READ));
	data = (void *)self->cons.data;
	munlockall();
	msync(data, self->data_size, MS_SYNC | MS_INVALIDATE);
	syscall(SYS_mbind, data, self->data_size, 2 /* MPOL_BIND */, &node, 2, 0);
	syscall(SYS_mbind, data + 4096, 4096, 2 /* MPOL_BIND */, &node, 2, 0);
	syscall(SYS_move_pages, 0, 1, pages, nodes, status, 0);
	EXPECT_TRUE(all_read_only(&self->cons));
	EXPECT_TRUE(untouched(self));
}

/* Mappings are whole: no half is unmapped, protected or replaced. */
TEST_F(rights, halves)
{
	struct end *ends[] = { &self->cons, &self->prod };
	unsigned int e;

	for (e = 0; e < ARRAY_LEN(ends); e++) {
		char *data = (void *)ends[e]->data;
		size_t size = self->data_size;
		static const struct {
			size_t from, len;
		} t[] = {
			{ 0, 4096 }, { 4096, 4096 }, { 0, 15 * 4096 },
			{ 4096, 15 * 4096 }, { 15 * 4096, 4096 },
		};
		unsigned int i;

		for (i = 0; i < ARRAY_LEN(t); i++) {
			EXPECT_EQ(-1, munmap(data + t[i].from, t[i].len));
			EXPECT_EQ(EINVAL, errno);
			EXPECT_EQ(-1, mprotect(data + t[i].from, t[i].len, PROT_NONE));
			EXPECT_EQ(EINVAL, errno);
			EXPECT_EQ(MAP_FAILED,
				  mmap(data + t[i].from, t[i].len, PROT_READ,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			/* Older kernels forget why they could not make room. */
			EXPECT_TRUE(errno == EINVAL || errno == ENOMEM);
		}
		EXPECT_FALSE(load_faults(data));
		EXPECT_FALSE(load_faults(data + size - 1));
	}
	EXPECT_TRUE(untouched(self));
	/* The whole may be protected, and come back. */
	EXPECT_EQ(0, mprotect((void *)self->prod.data, self->data_size, PROT_NONE));
	EXPECT_EQ(0, mprotect((void *)self->prod.data, self->data_size, PROT_READ));
	EXPECT_TRUE(store_faults(self->prod.data));
	EXPECT_EQ(0, mprotect((void *)self->prod.data, self->data_size,
			      PROT_READ | PROT_WRITE));
	EXPECT_FALSE(store_faults(self->prod.data));
	EXPECT_TRUE(untouched(self));
}

/* After the unmap nothing is left that could write. */
TEST_F(rights, after_unmap)
{
	unsigned int i;
	void *was[SCATTO_NR_REGIONS];

	memcpy(was, self->cons.map, sizeof(was));
	ASSERT_EQ(0, end_unmap(&self->cons));
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		EXPECT_TRUE(load_faults(was[i]));
	/* The role has ended with it, and does not come back on the same fd. */
	EXPECT_EQ(0, self->prod.area->consumers);
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		EXPECT_EQ(-EPIPE, end_map_region(&self->cons, i, PROT_READ));
}

TEST_HARNESS_MAIN
