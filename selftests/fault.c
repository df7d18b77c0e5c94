// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocations and user copies that fail, each place that a call reaches once: the
 * "fail the Nth" of kernels with CONFIG_FAULT_INJECTION. The call gives the right
 * errno, and when it is made again, it works; nothing is left behind.
 */

#include <poll.h>
#include <sys/epoll.h>

#include "fault.h"
#include "many.h"
#include "kmod/scatto_test.h"
#include "kselftest_harness.h"

/* No call reaches as many places. */
#define PLACES		5000

/*
 * What the calls work on: an owner and both ends of a channel that traffic flows
 * through before and after, and what the call itself makes.
 */
struct scene {
	uint32_t kind;
	int dev;		/* not bound */
	int test;		/* the test module, or -errno */
	int owner;
	struct end p, c;
	int fd;			/* made by the call, or -1 */
	struct end end;		/* likewise */
	int channel;		/* the kernel's, or -1 */
};

static int traffic(struct scene *s)
{
	bool many = s->kind == SCATTO_KIND_MPSC;
	uint64_t i, value;
	int ret;

	for (i = 0; i < 5; i++) {
		ret = many ? many_send(&s->p, i) : end_send(&s->p, i);
		/* Tombstones of a claim that nobody was told of come first. */
		while (ret >= 0) {
			ret = many ? many_recv(&s->c, &value) : end_recv(&s->c, &value);
			if (ret == many)
				break;
		}
		if (ret < 0)
			return ret;
		if (value != i)
			return -EBADMSG;
	}
	return 0;
}

static int scene_open(struct scene *s, uint32_t kind)
{
	int ret;

	*s = (struct scene){
		.kind = kind, .fd = -1, .end.fd = -1, .channel = -1,
		.p.fd = -1, .c.fd = -1,
	};
	s->dev = dev_open();
	s->test = test_module_open();
	s->owner = kind == SCATTO_KIND_MPSC ?
		   many_create(NULL, 0, 8, 8, 4, SCATTO_F_SHARED) :
		   channel_create(NULL, 0, 8, 8, 0);
	if (s->dev < 0 || s->owner < 0)
		return -ENODEV;
	ret = end_open(&s->p, SCATTO_ROLE_PRODUCER, s->owner);
	if (!ret)
		ret = end_open(&s->c, SCATTO_ROLE_CONSUMER, s->owner);
	return ret ?: traffic(s);
}

/* What a call has made goes before the next try. */
static void scene_undo(struct scene *s)
{
	end_drop(&s->end);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	if (s->channel >= 0)
		ioctl(s->test, ST_IOC_DESTROY, s->channel);
	s->channel = -1;
}

static void scene_close(struct scene *s)
{
	scene_undo(s);
	end_drop(&s->p);
	end_drop(&s->c);
	close(s->owner);
	close(s->dev);
	if (s->test >= 0)
		close(s->test);
}

/* The calls. Each returns 0 or -errno; prepare() comes before it, in peace. */

static int call_open(struct scene *s)
{
	s->fd = dev_open();
	return s->fd < 0 ? s->fd : 0;
}

static int call_query(struct scene *s)
{
	struct scatto_query q = { .size = sizeof(q) };

	return dev_ioctl(s->dev, SCATTO_IOC_QUERY, &q);
}

static int call_list(struct scene *s)
{
	struct scatto_list arg = { .size = sizeof(arg) };

	return dev_ioctl(s->dev, SCATTO_IOC_LIST, &arg);
}

static int prepare_list(struct scene *s)
{
	s->fd = channel_create("fault", 0600, 8, 8, 0);
	return s->fd < 0 ? s->fd : 0;
}

static int prepare_blank(struct scene *s)
{
	s->fd = dev_open();
	return s->fd < 0 ? s->fd : 0;
}

static int call_create_spsc(struct scene *s)
{
	struct scatto_create arg = create_args(24, 64, SCATTO_F_PAUSE);

	return dev_create(s->fd, &arg);
}

static int call_create_named(struct scene *s)
{
	struct scatto_create arg = create_args(24, 64, 0);

	create_named(&arg, "fault", 0644);
	return dev_create(s->fd, &arg);
}

static int call_create_mpsc(struct scene *s)
{
	struct scatto_create arg = create_args(8, 1024, SCATTO_F_SHARED);

	arg.kind = SCATTO_KIND_MPSC;
	arg.max_producers = 1024;
	return dev_create(s->fd, &arg);
}

/* Not contiguous, and too large for a slab. */
static int call_create_large(struct scene *s)
{
	struct scatto_create arg = create_args(64 << 10, 64, 0);

	return dev_create(s->fd, &arg);
}

static int attach_as(struct scene *s, uint32_t role)
{
	struct scatto_attach arg = attach_args(role, s->owner, NULL);

	return dev_attach(s->fd, &arg);
}

static int call_attach_owner(struct scene *s)
{
	return attach_as(s, SCATTO_ROLE_OWNER);
}

static int call_attach_observer(struct scene *s)
{
	return attach_as(s, SCATTO_ROLE_OBSERVER);
}

static int call_attach_producer(struct scene *s)
{
	return attach_as(s, SCATTO_ROLE_PRODUCER);
}

static int prepare_by_name(struct scene *s)
{
	s->end.fd = channel_create("fault", 0666, 8, 8, 0);
	return s->end.fd < 0 ? s->end.fd : prepare_blank(s);
}

static int call_attach_by_name(struct scene *s)
{
	struct scatto_attach arg = attach_args(SCATTO_ROLE_CONSUMER, -1, "fault");

	return dev_attach(s->fd, &arg);
}

static int prepare_end(struct scene *s)
{
	return end_attach(&s->end, s->kind == SCATTO_KIND_MPSC ?
			  SCATTO_ROLE_PRODUCER : SCATTO_ROLE_OBSERVER, s->owner);
}

/* What is mapped stays: without it a producer would be gone. */
static int call_mmap(struct scene *s)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < SCATTO_NR_REGIONS && !ret; i++)
		if (!s->end.map[i])
			ret = end_map_region(&s->end, i, PROT_READ |
					     (s->end.layout.region[i].writable ?
					      PROT_WRITE : 0));
	return ret;
}

static int prepare_mapped(struct scene *s)
{
	return prepare_end(s) ?: end_map(&s->end);
}

static int call_munmap(struct scene *s)
{
	return end_unmap(&s->end);
}

static int call_mremap(struct scene *s)
{
	size_t size = s->end.layout.region[SCATTO_REGION_DATA].size;
	void *p = mremap(s->end.map[SCATTO_REGION_DATA], size, size,
			 MREMAP_MAYMOVE | MREMAP_FIXED,
			 (void *)0x700000000000UL);

	if (p == MAP_FAILED)
		return -errno;
	s->end.map[SCATTO_REGION_DATA] = p;
	return 0;
}

static int call_info(struct scene *s)
{
	struct scatto_info info;

	return dev_info(s->owner, &info);
}

static int call_wake(struct scene *s)
{
	return dev_wake(s->p.fd);
}

static int call_wait_past(struct scene *s)
{
	int ret = dev_wait(s->c.fd, end_cursor(&s->c) + 1, 0);

	return ret == -ETIMEDOUT ? 0 : ret ?: -EBADMSG;
}

static int call_wait_sleeps(struct scene *s)
{
	int ret = dev_wait(s->c.fd, end_cursor(&s->c) + 1, 2);

	return ret == -ETIMEDOUT ? 0 : ret ?: -EBADMSG;
}

static int call_wait_satisfied(struct scene *s)
{
	struct scatto_wait arg = { .size = sizeof(arg), .want = end_cursor(&s->c) };

	return dev_ioctl(s->p.fd, SCATTO_IOC_WAIT, &arg);
}

/* What is claimed is published by who was told of it; else the kernel has to. */
static int call_claim(struct scene *s)
{
	struct scatto_claim arg = claim_args(2, 2, -1);
	int ret = dev_claim(s->p.fd, &arg);

	if (ret)
		return ret;
	many_put_stamp(&s->p, arg.position, SCATTO_STAMP_TOMBSTONE);
	many_put_stamp(&s->p, arg.position + 1, SCATTO_STAMP_TOMBSTONE);
	return 0;
}

static int call_poll(struct scene *s)
{
	struct pollfd pfd = { .fd = s->c.fd, .events = POLLIN };

	return poll(&pfd, 1, 0) < 0 ? -errno : 0;
}

static int prepare_epoll(struct scene *s)
{
	s->fd = epoll_create1(0);
	return s->fd < 0 ? -errno : 0;
}

static int call_epoll(struct scene *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

	return epoll_ctl(s->fd, EPOLL_CTL_ADD, s->c.fd, &ev) ? -errno : 0;
}

static int call_fdinfo(struct scene *s)
{
	char path[64], buf[1024];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", s->owner);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, sizeof(buf));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

static int prepare_channel(struct scene *s)
{
	s->fd = channel_create(NULL, 0, 8, 8, 0);
	return s->fd < 0 ? s->fd : 0;
}

static int call_close(struct scene *s)
{
	int ret = dev_close(s->fd);

	/* It happened before whatever failed then. */
	return ret == -EPIPE ? 0 : ret;
}

static int call_kernel_create(struct scene *s)
{
	struct st_create arg = { .slot_size = 16, .capacity = 64 };
	int ret;

	snprintf(arg.name, sizeof(arg.name), "fault");
	ret = ioctl(s->test, ST_IOC_CREATE, &arg);
	if (ret < 0)
		return -errno;
	s->channel = ret;
	return 0;
}

static int call_kernel_join(struct scene *s)
{
	int ret = ioctl(s->test, ST_IOC_JOIN, s->owner);

	if (ret < 0)
		return -errno;
	s->channel = ret;
	return 0;
}

static int prepare_joined(struct scene *s)
{
	return call_kernel_join(s);
}

static int call_kernel_send(struct scene *s)
{
	uint64_t value = 1;
	struct st_send arg = {
		.channel = s->channel, .len = sizeof(value), .data = (uintptr_t)&value,
	};
	int ret = ioctl(s->test, ST_IOC_SEND, &arg);

	if (ret < 0)
		return -errno;
	ret = many_recv(&s->c, &value);
	return ret == 1 ? 0 : ret ?: -EBADMSG;
}

/* One line for all of it where there is nothing to inject. */
static __attribute__((constructor)) void need_faults(void)
{
	if (!access(FAIL_NTH, F_OK))
		return;
	printf("1..0 # SKIP the kernel has no fault injection\n");
	fflush(stdout);
	_exit(4);
}

FIXTURE(fault) {
	struct scene s;
	int nth, listed, dev;
};

FIXTURE_VARIANT(fault) {
	uint32_t kind;
	int (*prepare)(struct scene *s);
	int (*call)(struct scene *s);
	bool kernel;		/* needs the test module */
};

#define CASE(name, kind_, ...)						\
FIXTURE_VARIANT_ADD(fault, name) {					\
	.kind = SCATTO_KIND_ ## kind_, __VA_ARGS__			\
}

CASE(open, SPSC, .call = call_open);
CASE(query, SPSC, .call = call_query);
CASE(list, SPSC, .prepare = prepare_list, .call = call_list);
CASE(create_spsc, SPSC, .prepare = prepare_blank, .call = call_create_spsc);
CASE(create_named, SPSC, .prepare = prepare_blank, .call = call_create_named);
CASE(create_mpsc, SPSC, .prepare = prepare_blank, .call = call_create_mpsc);
CASE(create_large, SPSC, .prepare = prepare_blank, .call = call_create_large);
CASE(attach_owner, SPSC, .prepare = prepare_blank, .call = call_attach_owner);
CASE(attach_observer, SPSC, .prepare = prepare_blank, .call = call_attach_observer);
CASE(attach_producer, MPSC, .prepare = prepare_blank, .call = call_attach_producer);
CASE(attach_by_name, SPSC, .prepare = prepare_by_name, .call = call_attach_by_name);
CASE(mmap_observer, SPSC, .prepare = prepare_end, .call = call_mmap);
CASE(mmap_producer, MPSC, .prepare = prepare_end, .call = call_mmap);
CASE(munmap_observer, SPSC, .prepare = prepare_mapped, .call = call_munmap);
CASE(munmap_producer, MPSC, .prepare = prepare_mapped, .call = call_munmap);
CASE(mremap, MPSC, .prepare = prepare_mapped, .call = call_mremap);
CASE(info_spsc, SPSC, .call = call_info);
CASE(info_mpsc, MPSC, .call = call_info);
CASE(wake_spsc, SPSC, .call = call_wake);
CASE(wake_mpsc, MPSC, .call = call_wake);
CASE(wait_past, MPSC, .call = call_wait_past);
CASE(wait_sleeps, MPSC, .call = call_wait_sleeps);
CASE(wait_satisfied, SPSC, .call = call_wait_satisfied);
CASE(claim, MPSC, .call = call_claim);
CASE(poll, SPSC, .call = call_poll);
CASE(epoll, SPSC, .prepare = prepare_epoll, .call = call_epoll);
CASE(fdinfo, SPSC, .call = call_fdinfo);
CASE(close, SPSC, .prepare = prepare_channel, .call = call_close);
CASE(kernel_create, SPSC, .call = call_kernel_create, .kernel = true);
CASE(kernel_join, MPSC, .call = call_kernel_join, .kernel = true);
CASE(kernel_send, MPSC, .prepare = prepare_joined, .call = call_kernel_send, .kernel = true);

FIXTURE_SETUP(fault)
{
	self->nth = inject_open();
	ASSERT_LE(0, self->nth);
	inject_init();
	self->dev = dev_open();
	self->listed = dev_list_count(self->dev);
	ASSERT_EQ(0, scene_open(&self->s, variant->kind));
	if (variant->kernel)
		ASSERT_LE(0, self->s.test);
}

FIXTURE_TEARDOWN(fault)
{
	scene_close(&self->s);
	EXPECT_EQ(self->listed, dev_list_count(self->dev));
}

/* Endpoints of the scene and memory of its channel are as before. */
static bool same(const struct scatto_info *a, const struct scatto_info *b)
{
	return a->producers == b->producers && a->consumers == b->consumers &&
	       a->observers == b->observers && a->bytes == b->bytes;
}

TEST_F_TIMEOUT(fault, every_place, 300)
{
	unsigned int nth, failed = 0;
	struct scatto_info before, after;
	bool injected = true;
	int ret, again;

	ASSERT_EQ(0, dev_info(self->s.owner, &before));
	for (nth = 1; injected && nth < PLACES; nth++) {
		if (variant->prepare)
			ASSERT_EQ(0, variant->prepare(&self->s));
		ASSERT_EQ(0, inject_arm(self->nth, nth));
		ret = variant->call(&self->s);
		injected = !inject_disarm(self->nth);
		if (ret) {
			EXPECT_TRUE(ret == -ENOMEM || ret == -EFAULT)
				TH_LOG("place %u: %s", nth, strerror(-ret));
			EXPECT_TRUE(injected);
			failed++;
			again = variant->call(&self->s);
			EXPECT_EQ(0, again)
				TH_LOG("place %u, again: %s", nth, strerror(-again));
		}
		scene_undo(&self->s);
		EXPECT_EQ(0, traffic(&self->s))
			TH_LOG("place %u", nth);
		ASSERT_EQ(0, dev_info(self->s.owner, &after));
		EXPECT_TRUE(same(&before, &after))
			TH_LOG("place %u", nth);
	}
	printf("# %u places, %u of them made the call fail\n", nth - 2, failed);
	EXPECT_GT(PLACES, nth);
}

TEST_HARNESS_MAIN
