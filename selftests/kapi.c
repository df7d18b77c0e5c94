// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel as producer: <linux/scatto.h>, driven through scatto_test.ko, seen
 * by consumers, who read stamps by themselves or let the library do it.
 */
#include "kselftest_harness.h"
#include "util.h"

#include <sys/epoll.h>
#include <sys/prctl.h>

#include <scatto.h>

#include "kmod/scatto_test.h"

#define NAME		"kapi"
#define CAPACITY	8
#define MS		1000000ULL

static struct st_create kernel_args(const char *name, uint32_t slot_size,
				    uint32_t capacity, uint32_t flags)
{
	struct st_create arg = {
		.slot_size = slot_size, .capacity = capacity, .flags = flags,
		.mode = 0600,
	};

	snprintf(arg.name, sizeof(arg.name), "%s", name);
	return arg;
}

static int kernel_create(int test, const char *name, uint32_t slot_size,
			 uint32_t capacity, uint32_t flags)
{
	struct st_create arg = kernel_args(name, slot_size, capacity, flags);

	return dev_ioctl(test, ST_IOC_CREATE, &arg);
}

static int kernel_destroy(int test, int channel)
{
	return dev_ioctl(test, ST_IOC_DESTROY, (void *)(long)channel);
}

static int kernel_query(int test, int channel)
{
	return dev_ioctl(test, ST_IOC_QUERY, (void *)(long)channel);
}

static int kernel_send(int test, int channel, const void *data, uint32_t len)
{
	struct st_send arg = {
		.channel = channel, .len = len, .data = (uintptr_t)data,
	};

	return dev_ioctl(test, ST_IOC_SEND, &arg);
}

/* What the last step that could fail answered. */
static int kernel_script(int test, int channel, const char *steps)
{
	struct st_script arg = { .channel = channel };
	int ret;

	snprintf(arg.steps, sizeof(arg.steps), "%s", steps);
	ret = dev_ioctl(test, ST_IOC_SCRIPT, &arg);
	return ret ? ret : arg.ret;
}

/* A consumer that reads stamps by itself, as the ABI describes them */
struct reader {
	struct end end;
	uint64_t at;
	uint64_t lost;
	uint64_t tombstones;
};

static int reader_open(struct reader *r, const char *name)
{
	int ret;

	memset(r, 0, sizeof(*r));
	ret = end_attach_to(&r->end, SCATTO_ROLE_CONSUMER, -1, name);
	if (ret)
		return ret;
	r->at = r->end.position;
	return end_map(&r->end);
}

static uint64_t stamp_of(const struct scatto_layout *l, uint64_t seq)
{
	return ((seq / l->capacity + 1) << 2) & SCATTO_STAMP_LAP;
}

static uint64_t reader_stamp(struct reader *r, uint64_t seq)
{
	const struct scatto_layout *l = &r->end.layout;
	volatile uint64_t *stamps = (void *)(r->end.data + l->stamp_offset);

	return __atomic_load_n(&stamps[seq & (l->capacity - 1)], __ATOMIC_ACQUIRE);
}

static bool reader_sees(struct reader *r, uint64_t seq)
{
	return (reader_stamp(r, seq) & SCATTO_STAMP_LAP) ==
	       stamp_of(&r->end.layout, seq);
}

/* The next event, past tombstones; -EAGAIN when there is none. Not released. */
static int reader_next(struct reader *r, void *buf, size_t len)
{
	while (reader_sees(r, r->at)) {
		uint64_t stamp = reader_stamp(r, r->at);
		uint64_t seq = r->at++;

		r->lost += stamp >> SCATTO_STAMP_LOST_SHIFT;
		if (stamp & SCATTO_STAMP_TOMBSTONE) {
			r->tombstones++;
			continue;
		}
		memcpy(buf, end_slot(&r->end, seq), len);
		return 0;
	}
	return -EAGAIN;
}

static void reader_release(struct reader *r)
{
	end_release(&r->end, r->at);
}

static int reader_recv(struct reader *r, void *buf, size_t len)
{
	int ret = reader_next(r, buf, len);

	reader_release(r);
	return ret;
}

static int reader_drain(struct reader *r)
{
	struct st_event ev;
	int n = 0;

	while (!reader_next(r, &ev, sizeof(uint64_t)))
		n++;
	reader_release(r);
	return n;
}

FIXTURE(kapi)
{
	int test;
	int channel;
	struct reader r;
};

FIXTURE_SETUP(kapi)
{
	self->test = test_module_open();
	if (self->test == -ENOENT)
		SKIP(return, "scatto_test.ko is not there");
	ASSERT_LE(0, self->test);
	self->channel = kernel_create(self->test, NAME, sizeof(struct st_event),
				      CAPACITY, 0);
	ASSERT_LE(0, self->channel);
	ASSERT_EQ(0, reader_open(&self->r, NAME));
}

FIXTURE_TEARDOWN(kapi)
{
	end_drop(&self->r.end);
	if (self->channel >= 0)
		kernel_destroy(self->test, self->channel);
	close(self->test);
}

TEST_F(kapi, create_errors)
{
	struct st_create good = kernel_args("other", 8, 8, 0), arg;
	char name[ST_NAME_MAX];
	int channel, fd;

#define REFUSED(error, field, value) do {				\
	arg = good;							\
	arg.field = value;						\
	EXPECT_EQ(error, dev_ioctl(self->test, ST_IOC_CREATE, &arg))	\
		TH_LOG(#field " = " #value);				\
} while (0)

	REFUSED(-EINVAL, slot_size, 0);
	REFUSED(-EINVAL, slot_size, SCATTO_MIN_SLOT_SIZE - 1);
	REFUSED(-EINVAL, slot_size, SCATTO_MAX_SLOT_SIZE + 1);
	REFUSED(-EINVAL, capacity, 0);
	REFUSED(-EINVAL, capacity, 1);
	REFUSED(-EINVAL, capacity, 12);
	REFUSED(-EINVAL, capacity, SCATTO_MAX_CAPACITY * 2U);
	REFUSED(-EINVAL, flags, 2);
	REFUSED(-EINVAL, flags, SCATTO_F_KERNEL);
	REFUSED(-EINVAL, mode, 01600);
	REFUSED(-EINVAL, mode, 0700);
	REFUSED(-EINVAL, no_name, 1);
	arg = good;
	arg.slot_size = SCATTO_MAX_SLOT_SIZE;
	arg.capacity = SCATTO_MAX_CAPACITY;
	EXPECT_EQ(-ENOMEM, dev_ioctl(self->test, ST_IOC_CREATE, &arg));

	memset(name, 'x', sizeof(name));
	name[SCATTO_NAME_LEN] = '\0';
	EXPECT_EQ(-EINVAL, kernel_create(self->test, name, 8, 8, 0));
	name[SCATTO_NAME_LEN - 1] = '\0';
	channel = kernel_create(self->test, name, 8, 8, 0);
	EXPECT_LE(0, channel);
	EXPECT_EQ(0, kernel_destroy(self->test, channel));
	EXPECT_EQ(-EINVAL, kernel_create(self->test, "", 8, 8, 0));
	EXPECT_EQ(-EINVAL, kernel_create(self->test, "a/b", 8, 8, 0));
	EXPECT_EQ(-EINVAL, kernel_create(self->test, "a b", 8, 8, 0));

	/* One name, whoever has it. */
	EXPECT_EQ(-EEXIST, kernel_create(self->test, NAME, 8, 8, 0));
	EXPECT_EQ(-EEXIST, channel_create(NAME, 0600, 8, 8, 0));
	fd = channel_create("other", 0600, 8, 8, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EEXIST, kernel_create(self->test, "other", 8, 8, 0));
	close(fd);
	channel = kernel_create(self->test, "other", 8, 8, 0);
	EXPECT_LE(0, channel);
	EXPECT_EQ(0, kernel_destroy(self->test, channel));
	EXPECT_EQ(0, kernel_destroy(self->test, ST_MAX_CHANNELS));
}

/* What user space may be on a channel of the kernel's: a reader. */
TEST_F(kapi, roles)
{
	struct scatto_info info;
	struct end e;

	EXPECT_EQ(-EPERM, end_attach_to(&e, SCATTO_ROLE_PRODUCER, -1, NAME));
	EXPECT_EQ(-EPERM, end_attach_to(&e, SCATTO_ROLE_OWNER, -1, NAME));
	EXPECT_EQ(-EBUSY, end_attach_to(&e, SCATTO_ROLE_CONSUMER, -1, NAME));
	ASSERT_EQ(0, end_attach_to(&e, SCATTO_ROLE_OBSERVER, -1, NAME));
	EXPECT_EQ(SCATTO_KIND_MPSC, e.layout.kind);
	EXPECT_EQ(SCATTO_F_KERNEL, e.layout.flags & ~SCATTO_F_FENCE);
	EXPECT_EQ(-EACCES, end_map_region(&e, SCATTO_REGION_DATA,
					  PROT_READ | PROT_WRITE));
	EXPECT_EQ(-EACCES, end_map_region(&self->r.end, SCATTO_REGION_DATA,
					  PROT_READ | PROT_WRITE));
	EXPECT_EQ(-EACCES, end_map_region(&self->r.end, SCATTO_REGION_PRODUCER,
					  PROT_READ | PROT_WRITE));
	end_drop(&e);
	ASSERT_EQ(0, dev_info(self->r.end.fd, &info));
	EXPECT_EQ(0, strcmp(NAME, info.name));
	EXPECT_EQ(0600, info.mode);
	EXPECT_EQ(1, info.consumers);
}

TEST_F(kapi, send)
{
	struct st_event ev = { 1, 2, 3, 4 }, got;
	char big[sizeof(ev) + 1] = "";
	int i;

	for (i = 0; i < 3 * CAPACITY; i++) {
		ev.nr = i;
		EXPECT_EQ(0, kernel_send(self->test, self->channel, &ev, sizeof(ev)));
		EXPECT_EQ(stamp_of(&self->r.end.layout, i),
			  reader_stamp(&self->r, i));
		ASSERT_EQ(0, reader_recv(&self->r, &got, sizeof(got)));
		EXPECT_EQ(0, memcmp(&ev, &got, sizeof(ev)));
	}
	/* What is not sent is zero, whatever was there. */
	EXPECT_EQ(0, kernel_send(self->test, self->channel, &ev, 12));
	ASSERT_EQ(0, reader_recv(&self->r, &got, sizeof(got)));
	EXPECT_EQ(1, got.source);
	EXPECT_EQ((uint32_t)ev.nr, got.nr);
	EXPECT_EQ(0, got.check);
	EXPECT_EQ(0, got.seq);
	EXPECT_EQ(-EMSGSIZE, kernel_send(self->test, self->channel, big,
					 sizeof(big)));
	EXPECT_EQ(-EAGAIN, reader_recv(&self->r, &got, sizeof(got)));
}

TEST_F(kapi, nobody_listens)
{
	struct scatto_info info;
	struct st_event ev = {};
	struct end o;
	int i;

	EXPECT_TRUE(kernel_query(self->test, self->channel) & ST_HAS_CONSUMER);
	EXPECT_EQ(0, kernel_send(self->test, self->channel, &ev, sizeof(ev)));
	end_drop(&self->r.end);
	EXPECT_FALSE(kernel_query(self->test, self->channel) & ST_HAS_CONSUMER);
	for (i = 0; i < 2 * CAPACITY; i++)
		EXPECT_EQ(-ENOTCONN, kernel_send(self->test, self->channel, &ev,
						 sizeof(ev)));
	/* That is not a loss, and onlookers are not listeners. */
	ASSERT_EQ(0, end_attach_to(&o, SCATTO_ROLE_OBSERVER, -1, NAME));
	EXPECT_EQ(-ENOTCONN, kernel_script(self->test, self->channel, "S"));
	ASSERT_EQ(0, dev_info(o.fd, &info));
	EXPECT_EQ(0, info.dropped);
	EXPECT_EQ(1, info.published);
	end_drop(&o);

	/* Who comes starts with what comes. */
	ASSERT_EQ(0, reader_open(&self->r, NAME));
	EXPECT_EQ(1, self->r.at);
	EXPECT_TRUE(kernel_query(self->test, self->channel) & ST_HAS_CONSUMER);
	EXPECT_EQ(-EAGAIN, reader_recv(&self->r, &ev, sizeof(ev)));
	ev.nr = 77;
	EXPECT_EQ(0, kernel_send(self->test, self->channel, &ev, sizeof(ev)));
	ev.nr = 0;
	EXPECT_EQ(0, reader_recv(&self->r, &ev, sizeof(ev)));
	EXPECT_EQ(77, ev.nr);
	EXPECT_EQ(0, self->r.lost);
}

TEST_F(kapi, starts_with_what_comes)
{
	struct st_event ev = {};
	int i;

	/* Sent, not read, and left: the next one does not get it. */
	for (i = 0; i < CAPACITY + 3; i++)
		kernel_send(self->test, self->channel, &ev, sizeof(ev));
	end_drop(&self->r.end);
	ASSERT_EQ(0, reader_open(&self->r, NAME));
	EXPECT_EQ(CAPACITY, self->r.at);
	EXPECT_EQ(0, kernel_send(self->test, self->channel, &ev, sizeof(ev)));
	EXPECT_EQ(0, reader_recv(&self->r, &ev, sizeof(ev)));
	/* Nor the losses of its predecessor. */
	EXPECT_EQ(0, self->r.lost);
}

TEST_F(kapi, pausing)
{
	struct st_event ev = {}, got;
	int channel, i;
	struct reader r;

	channel = kernel_create(self->test, "pausing", sizeof(ev), CAPACITY,
				SCATTO_F_PAUSE);
	ASSERT_LE(0, channel);
	/* Kept from the beginning, until the ring is full. */
	for (i = 0; i < CAPACITY; i++) {
		ev.nr = i;
		EXPECT_EQ(0, kernel_send(self->test, channel, &ev, sizeof(ev)));
	}
	EXPECT_EQ(-ENOSPC, kernel_send(self->test, channel, &ev, sizeof(ev)));
	EXPECT_EQ(-ENOSPC, kernel_send(self->test, channel, &ev, sizeof(ev)));
	ASSERT_EQ(0, reader_open(&r, "pausing"));
	EXPECT_EQ(0, r.at);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, reader_recv(&r, &got, sizeof(got)));
		EXPECT_EQ((uint64_t)i, got.nr);
	}
	/* One is read and not released: it comes again. */
	ASSERT_EQ(0, reader_next(&r, &got, sizeof(got)));
	end_drop(&r.end);
	for (i = 0; i < 3; i++) {
		ev.nr = CAPACITY + 2 + i;
		EXPECT_EQ(0, kernel_send(self->test, channel, &ev, sizeof(ev)));
	}
	EXPECT_EQ(-ENOSPC, kernel_send(self->test, channel, &ev, sizeof(ev)));
	ASSERT_EQ(0, reader_open(&r, "pausing"));
	EXPECT_EQ(3, r.at);
	for (i = 3; i < CAPACITY; i++) {
		ASSERT_EQ(0, reader_recv(&r, &got, sizeof(got)));
		EXPECT_EQ((uint64_t)i, got.nr);
	}
	EXPECT_EQ(0, r.lost);
	ASSERT_EQ(0, reader_recv(&r, &got, sizeof(got)));
	EXPECT_EQ(CAPACITY + 2, got.nr);
	EXPECT_EQ(2, r.lost);
	EXPECT_EQ(2, reader_drain(&r));
	end_drop(&r.end);
	EXPECT_EQ(0, kernel_destroy(self->test, channel));
}

TEST_F(kapi, full)
{
	struct scatto_info info;
	struct st_event ev = {};
	int i;

	for (i = 0; i < CAPACITY; i++)
		EXPECT_EQ(0, kernel_script(self->test, self->channel, "S"));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(-ENOSPC, kernel_script(self->test, self->channel, "S"));
	EXPECT_EQ(-ENOSPC, kernel_script(self->test, self->channel, "R0"));
	ASSERT_EQ(0, dev_info(self->r.end.fd, &info));
	EXPECT_EQ(6, info.dropped);
	EXPECT_EQ(6, self->r.end.area->dropped);
	/* One slot, one event, with all that was lost before it. */
	ASSERT_EQ(0, reader_recv(&self->r, &ev, sizeof(ev)));
	EXPECT_EQ(0, kernel_script(self->test, self->channel, "S"));
	EXPECT_EQ(-ENOSPC, kernel_script(self->test, self->channel, "S"));
	EXPECT_EQ(6, reader_stamp(&self->r, CAPACITY) >> SCATTO_STAMP_LOST_SHIFT);
	EXPECT_EQ(CAPACITY, reader_drain(&self->r));
	EXPECT_EQ(6, self->r.lost);
	EXPECT_EQ(0, kernel_script(self->test, self->channel, "S"));
	EXPECT_EQ(1, reader_drain(&self->r));
	EXPECT_EQ(7, self->r.lost);
	ASSERT_EQ(0, dev_info(self->r.end.fd, &info));
	EXPECT_EQ(7, info.dropped);
}

TEST_F(kapi, tombstones)
{
	struct scatto_info info;
	struct st_event ev;

	EXPECT_EQ(0, kernel_script(self->test, self->channel, "R0D0SR1D1R2C2"));
	EXPECT_TRUE(reader_stamp(&self->r, 0) & SCATTO_STAMP_TOMBSTONE);
	EXPECT_FALSE(reader_stamp(&self->r, 1) & SCATTO_STAMP_TOMBSTONE);
	EXPECT_EQ(2, reader_drain(&self->r));
	EXPECT_EQ(2, self->r.tombstones);
	ASSERT_EQ(0, dev_info(self->r.end.fd, &info));
	EXPECT_EQ(2, info.tombstones);
	EXPECT_EQ(2, self->r.end.area->tombstones);
	EXPECT_EQ(0, info.dropped);
	/* A loss just before a tombstone is told by the tombstone. */
	EXPECT_EQ(-ENOSPC, kernel_script(self->test, self->channel, "SSSSSSSSSSS"));
	ASSERT_EQ(0, reader_recv(&self->r, &ev, sizeof(uint64_t)));
	ASSERT_EQ(0, reader_recv(&self->r, &ev, sizeof(uint64_t)));
	EXPECT_EQ(0, kernel_script(self->test, self->channel, "R0D0S"));
	EXPECT_EQ(7, reader_drain(&self->r));
	EXPECT_EQ(3, self->r.lost);
	EXPECT_EQ(3, self->r.tombstones);
}

/* Reservations of all contexts inside reservations, closed in any order. */
TEST_F(kapi, nested)
{
	bool nmi = kernel_query(self->test, self->channel) & ST_HAS_NMI;
	struct st_event ev[CAPACITY];
	int i, n = nmi ? 5 : 4;

	if (!nmi)
		printf("# no NMI can be had here: without them\n");
	EXPECT_EQ(0, kernel_script(self->test, self->channel,
				   nmi ? "R0R1HNR2SD1C2C0" : "R0R1HR2SD1C2C0"));
	/* 0, a tombstone, H, N, 2, S */
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, reader_next(&self->r, &ev[i], sizeof(ev[i])))
			TH_LOG("event %d", i);
	EXPECT_EQ(-EAGAIN, reader_next(&self->r, &ev[n], sizeof(ev[n])));
	EXPECT_EQ(1, self->r.tombstones);
	EXPECT_EQ(0, ev[0].source);
	EXPECT_EQ(0, ev[0].seq);
	EXPECT_EQ('H', ev[1].source);
	i = 2;
	if (nmi) {
		EXPECT_EQ('N', ev[i].source);
		i++;
	}
	EXPECT_EQ(2, ev[i].source);
	EXPECT_EQ('S', ev[i + 1].source);
	reader_release(&self->r);
}

/* A script on another CPU, so that somebody can look while it runs */
struct script_thread {
	pthread_t thread;
	int channel;
	const char *steps;
};

static void *script_main(void *arg)
{
	struct script_thread *s = arg;
	int test = open("/dev/scatto_test", O_RDWR | O_CLOEXEC);

	pin(1 % cpus_online());
	kernel_script(test, s->channel, s->steps);
	close(test);
	return NULL;
}

/* The last hole to be filled wakes, and no other slot does. */
TEST_F(kapi, the_last_hole_wakes)
{
	struct pollfd pfd = { .fd = self->r.end.fd, .events = POLLIN };
	struct script_thread script = { .channel = self->channel };
	struct sleeper s, t;
	struct scatto_info info;

	if (cpus_online() < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(0, pin(0));
	ASSERT_EQ(0, sleeper_start(&s, self->r.end.fd, 3));
	EXPECT_EQ(0, kernel_script(self->test, self->channel,
				   "R0R1R2C2WC1WSSWC0"));
	EXPECT_EQ(0, sleeper_join(&s));
	ASSERT_EQ(0, dev_info(self->r.end.fd, &info));
	EXPECT_EQ(1, info.data_sleeps);
	EXPECT_EQ(1, info.data_wakes);
	EXPECT_EQ(5, reader_drain(&self->r));
	/* Claimed is not published, for poll either. */
	EXPECT_EQ(0, poll(&pfd, 1, 0));

	/* Two who want different amounts; what the far one wants comes first. */
	ASSERT_EQ(0, sleeper_start(&s, self->r.end.fd, 6));
	ASSERT_EQ(0, sleeper_start(&t, self->r.end.fd, 8));
	script.steps = "R0R1R2C2LC0LLC1";
	ASSERT_EQ(0, pthread_create(&script.thread, NULL, script_main, &script));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_TRUE(reader_sees(&self->r, 5));
	EXPECT_TRUE(reader_sees(&self->r, 7));
	EXPECT_FALSE(t.done && !reader_sees(&self->r, 6));
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	EXPECT_EQ(0, sleeper_join(&t));
	EXPECT_TRUE(reader_sees(&self->r, 6));
	pthread_join(script.thread, NULL);
	EXPECT_EQ(3, reader_drain(&self->r));
}

TEST_F(kapi, nothing_is_seen_past_a_hole)
{
	struct pollfd pfd = { .fd = self->r.end.fd, .events = POLLIN };
	struct script_thread script = {
		.channel = self->channel, .steps = "R0R1C1LLLLC0",
	};
	struct st_event ev;
	int polled, received, waited;

	if (cpus_online() < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(0, pin(0));
	ASSERT_EQ(0, pthread_create(&script.thread, NULL, script_main, &script));
	ASSERT_TRUE(wait_for(reader_sees(&self->r, 1), PATIENCE_MS));
	polled = poll(&pfd, 1, 0);
	waited = dev_wait(self->r.end.fd, 1, 10);
	received = reader_next(&self->r, &ev, sizeof(ev));
	/* If it was there all the while. */
	if (reader_sees(&self->r, 0)) {
		printf("# this machine is too busy to look into the hole\n");
		self->r.at = 0;
	} else {
		EXPECT_EQ(0, polled);
		EXPECT_EQ(-ETIMEDOUT, waited);
		EXPECT_EQ(-EAGAIN, received);
	}
	EXPECT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
	EXPECT_EQ(0, reader_next(&self->r, &ev, sizeof(ev)));
	EXPECT_EQ(0, ev.seq);
	EXPECT_EQ(0, reader_next(&self->r, &ev, sizeof(ev)));
	EXPECT_EQ(1, ev.seq);
	pthread_join(script.thread, NULL);
}

/* Who polls may be further ahead of its cursor than the kernel looks at one time. */
TEST_F(kapi, poller_far_ahead)
{
	enum { UNREAD = SCATTO_WAIT_MOST + 1000, LOOKS = 3 };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET }, got;
	int channel, epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t i, value = 7;
	struct reader r;

	channel = kernel_create(self->test, "far", 8, 2 * SCATTO_WAIT_MOST, 0);
	ASSERT_LE(0, channel);
	ASSERT_EQ(0, reader_open(&r, "far"));
	for (i = 0; i < UNREAD; i++)
		ASSERT_EQ(0, kernel_send(self->test, channel, &value, sizeof(value)));
	for (i = 0; i < LOOKS; i++) {
		ASSERT_EQ(0, epoll_ctl(epoll, i ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, r.end.fd, &ev));
		EXPECT_EQ(1, epoll_wait(epoll, &got, 1, 0));
	}
	/* What the first look saw: later ones do not take that back. */
	EXPECT_EQ(SCATTO_WAIT_MOST + 1, r.end.area->data_wake);
	EXPECT_EQ(0, epoll_wait(epoll, &got, 1, 0));
	ASSERT_EQ(0, kernel_send(self->test, channel, &value, sizeof(value)));
	EXPECT_EQ(1, epoll_wait(epoll, &got, 1, PATIENCE_MS));
	close(epoll);
	end_drop(&r.end);
	EXPECT_EQ(0, kernel_destroy(self->test, channel));
}

TEST_F(kapi, destroyed_under_a_sleeper)
{
	struct pollfd pfd = { .fd = self->r.end.fd, .events = POLLIN };
	struct st_event ev;
	struct sleeper s;
	struct end e;
	int channel;

	EXPECT_EQ(0, kernel_script(self->test, self->channel, "SSS"));
	ASSERT_EQ(0, sleeper_start(&s, self->r.end.fd, 4));
	EXPECT_EQ(0, kernel_destroy(self->test, self->channel));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(3, self->r.end.area->end);
	EXPECT_EQ(SCATTO_STATE_NO_PRODUCER, self->r.end.area->state);
	/* The name is free at once, the memory when nobody has it any more. */
	EXPECT_EQ(-ENOENT, end_attach_to(&e, SCATTO_ROLE_OBSERVER, -1, NAME));
	channel = kernel_create(self->test, NAME, sizeof(ev), CAPACITY, 0);
	EXPECT_LE(0, channel);
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	EXPECT_EQ(POLLIN, pfd.revents);
	EXPECT_EQ(3, reader_drain(&self->r));
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	EXPECT_EQ(POLLHUP, pfd.revents);
	EXPECT_EQ(0, dev_wait(self->r.end.fd, 4, -1));
	self->channel = channel;
}

TEST_F(kapi, is_consumer)
{
	pid_t pid;

	EXPECT_TRUE(kernel_query(self->test, self->channel) & ST_IS_CONSUMER);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(!!(kernel_query(self->test, self->channel) & ST_IS_CONSUMER));
	EXPECT_EQ(0, reap(pid));
	end_drop(&self->r.end);
	EXPECT_FALSE(kernel_query(self->test, self->channel) & ST_IS_CONSUMER);
}

static void *query_main(void *arg)
{
	int *v = arg;

	v[2] = kernel_query(v[0], v[1]);
	return NULL;
}

TEST_F(kapi, is_consumer_in_every_thread)
{
	int v[3] = { self->test, self->channel, 0 };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, query_main, v));
	pthread_join(thread, NULL);
	EXPECT_TRUE(v[2] & ST_IS_CONSUMER);
}

/* Volleys from all CPUs, at sleepers who want some of it, all, or poll. */
TEST_F_TIMEOUT(kapi, no_wakeup_is_lost, 1100)
{
	unsigned long rounds = test_count(200000, 4000), i;
	struct pollfd pfd = { .events = POLLIN };
	struct st_volley volley = { .each = 2, .delay = 200 };
	uint64_t begin = now_ns(), seed = 5;
	struct scatto_info info;
	struct reader r;
	int channel, n;

	channel = kernel_create(self->test, "volley", sizeof(struct st_event), 64, 0);
	ASSERT_LE(0, channel);
	ASSERT_EQ(0, reader_open(&r, "volley"));
	pfd.fd = r.end.fd;
	volley.channel = channel;
	n = volley.each * cpus_online();

	for (i = 0; i < rounds && test_goes_on(begin, 20); i++) {
		struct sleeper s[2];
		int j;

		/* Two that sleep for different amounts, and sometimes a poller. */
		for (j = 0; j < 2; j++) {
			s[j] = (struct sleeper){ .fd = r.end.fd, .arg = {
				.size = sizeof(s[j].arg),
				.flags = SCATTO_WAIT_DEADLINE,
				.want = r.at + 1 + (j ? n - 1U : chance(&seed) % n),
				.deadline = now_ns() + 10000 * MS,
			} };
			ASSERT_EQ(0, pthread_create(&s[j].thread, NULL,
						    sleeper_main, &s[j]));
		}
		if (chance(&seed) % 2)
			usleep(chance(&seed) % 200);
		volley.seed = i;
		ASSERT_EQ(n, dev_ioctl(self->test, ST_IOC_VOLLEY, &volley));
		if (chance(&seed) % 4 == 0)
			ASSERT_EQ(1, poll(&pfd, 1, 10000));
		for (j = 0; j < 2; j++) {
			pthread_join(s[j].thread, NULL);
			ASSERT_EQ(0, s[j].ret);
			ASSERT_GT(s[j].arg.deadline, s[j].woke_ns)
				TH_LOG("the wake-up for %d of %d was lost",
				       (int)(s[j].arg.want - r.at), n);
		}
		ASSERT_EQ(n, reader_drain(&r));
	}
	ASSERT_EQ(0, dev_info(r.end.fd, &info));
	printf("# %lu volleys, %llu sleeps, %llu wakes\n", i,
	       (unsigned long long)info.data_sleeps,
	       (unsigned long long)info.data_wakes);
	EXPECT_LT(i / 2, info.data_sleeps);
	end_drop(&r.end);
	kernel_destroy(self->test, channel);
}

#define HOSTILE	200

/* The best of @n sends: what else the machine does is not to count. */
static uint64_t send_ns(int test, int channel, unsigned int n)
{
	uint64_t best = UINT64_MAX;
	struct st_event ev = {};

	while (n--) {
		uint64_t t = now_ns();

		kernel_send(test, channel, &ev, sizeof(ev));
		t = now_ns() - t;
		best = t < best ? t : best;
	}
	return best;
}

/*
 * Whoever may read may also sleep, in many threads and for whatever position.
 * The kernel pays for it with interrupts off, so that has to stay cheap: here
 * each sleeper wants 4096 events of which the first are long overwritten.
 */
TEST_F(kapi, hostile_sleepers_cost_little)
{
	static struct sleeper s[HOSTILE];
	uint64_t alone, with, claimed;
	struct reader r;
	int channel, i;

	channel = kernel_create(self->test, "hostile", sizeof(struct st_event),
				8192, 0);
	ASSERT_LE(0, channel);
	ASSERT_EQ(0, reader_open(&r, "hostile"));
	for (i = 0; i < 40; i++) {
		send_ns(self->test, channel, 512);
		ASSERT_EQ(512, reader_drain(&r));
	}
	claimed = r.at;
	alone = send_ns(self->test, channel, 512);
	reader_drain(&r);
	claimed = r.at;

	r.end.cons->cursor = claimed - 8192 - 1;
	for (i = 0; i < HOSTILE; i++) {
		s[i] = (struct sleeper){ .fd = r.end.fd, .arg = {
			.size = sizeof(s[i].arg),
			.want = claimed - 8192 - 1 + 4096,
		} };
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, sleeper_main, &s[i]));
	}
	sleep_ms(200);
	r.end.cons->cursor = claimed;
	with = send_ns(self->test, channel, 100);
	printf("# a send takes %.1f us, and %.1f us with %d hostile sleepers\n",
	       alone / 1e3, with / 1e3, HOSTILE);
	EXPECT_GT(alone + 300000, with);
	dev_close(r.end.fd);
	for (i = 0; i < HOSTILE; i++)
		pthread_join(s[i].thread, NULL);
	end_drop(&r.end);
	EXPECT_EQ(0, kernel_destroy(self->test, channel));
}

/* Storms: everybody at once */

struct storm_thread {
	pthread_t thread;
	int test;
	struct st_storm storm;
	int ret;
	volatile bool done;
};

static void *storm_main(void *arg)
{
	struct storm_thread *s = arg;

	s->ret = dev_ioctl(s->test, ST_IOC_STORM, &s->storm);
	s->done = true;
	return NULL;
}

/* What a consumer has seen of a storm. */
struct tally {
	uint64_t received[ST_MAX_CPUS * ST_NR_CONTEXTS];
	uint64_t next[ST_MAX_CPUS * ST_NR_CONTEXTS];
	uint64_t wrong;
	uint64_t events;
};

static void tally_add(struct tally *t, const struct st_event *ev, uint64_t seq)
{
	if (ev->source >= ARRAY_LEN(t->received) || ev->seq != seq ||
	    ev->check != st_check(ev->source, ev->nr)) {
		t->wrong++;
		return;
	}
	/*
	 * In its own order; but a task that nests a second event in the first
	 * has numbered that one before and claimed it before, so also then.
	 */
	if (ev->nr < t->next[ev->source])
		t->wrong++;
	t->next[ev->source] = ev->nr + 1;
	t->received[ev->source]++;
	t->events++;
}

/* Does what the kernel counted agree with what came? */
static bool tally_agrees(const struct tally *t, const struct st_storm *s,
			 uint64_t *sent, uint64_t *full, uint64_t *discarded,
			 uint64_t *nested)
{
	bool agrees = !t->wrong;
	unsigned int cpu, context;

	*sent = *full = *discarded = *nested = 0;
	for (cpu = 0; cpu < s->cpus; cpu++)
		for (context = 0; context < ST_NR_CONTEXTS; context++) {
			const struct st_count *c = &s->count[cpu][context];

			agrees &= t->received[cpu * ST_NR_CONTEXTS + context] == c->sent;
			*sent += c->sent;
			*full += c->full;
			*discarded += c->discarded;
			*nested += c->nested;
		}
	return agrees && t->events == *sent;
}

static void storm_print(const struct st_storm *s)
{
	static const char * const names[] = { "task", "softirq", "hardirq", "NMI" };
	unsigned int cpu, context;

	for (context = 0; context < ST_NR_CONTEXTS; context++) {
		struct st_count sum = {};

		for (cpu = 0; cpu < s->cpus; cpu++) {
			sum.sent += s->count[cpu][context].sent;
			sum.full += s->count[cpu][context].full;
			sum.discarded += s->count[cpu][context].discarded;
			sum.nested += s->count[cpu][context].nested;
		}
		printf("# %-7s %9llu sent, %9llu dropped, %7llu discarded, %7llu nested\n",
		       names[context], (unsigned long long)sum.sent,
		       (unsigned long long)sum.full,
		       (unsigned long long)sum.discarded,
		       (unsigned long long)sum.nested);
	}
}

FIXTURE(storm)
{
	int test;
};

FIXTURE_VARIANT(storm)
{
	uint32_t capacity;
	bool short_run;		/* in the long form, too */
	bool library;
};

/* So fast that the ring is full most of the time. */
FIXTURE_VARIANT_ADD(storm, overrun) { .capacity = 64 };
/* With room for all that comes. */
FIXTURE_VARIANT_ADD(storm, roomy) { .capacity = 1 << 20, .short_run = true };
FIXTURE_VARIANT_ADD(storm, library) { .capacity = 1024, .library = true };

FIXTURE_SETUP(storm)
{
	self->test = test_module_open();
	if (self->test == -ENOENT)
		SKIP(return, "scatto_test.ko is not there");
	ASSERT_LE(0, self->test);
}

FIXTURE_TEARDOWN(storm)
{
	close(self->test);
}

static uint32_t all_contexts(int test, int channel)
{
	bool nmi = kernel_query(test, channel) & ST_HAS_NMI;

	return 1 << ST_TASK | 1 << ST_SOFTIRQ | 1 << ST_HARDIRQ |
	       (nmi ? 1 << ST_NMI : 0);
}

TEST_F_TIMEOUT(storm, all_contexts_on_all_cpus, 600)
{
	uint64_t sent, full, discarded, nested, lost, tombstones = 0;
	struct storm_thread s = { .test = self->test };
	struct scatto_consumer *lc = NULL;
	struct scatto_info info;
	struct tally t = {};
	struct st_event ev;
	struct reader r;
	int channel, ret;
	bool last;

	channel = kernel_create(self->test, "storm", sizeof(ev),
				variant->capacity, 0);
	ASSERT_LE(0, channel);
	ASSERT_EQ(0, variant->library ? scatto_consumer_open("storm", &lc) :
					reader_open(&r, "storm"));
	s.storm = (struct st_storm){
		.channel = channel,
		.ms = variant->short_run ? 1500 : test_count(20000, 1500),
		.period_us = variant->short_run ? 50 : 100,
		.contexts = all_contexts(self->test, channel),
	};
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, storm_main, &s));
	do {
		last = s.done;
		if (variant->library) {
			uint64_t seq = scatto_consumer_position(lc);

			while (!(ret = scatto_recv_until(lc, &ev, now_ns() + 10 * MS))) {
				/* The one just received, past tombstones. */
				seq = scatto_consumer_position(lc) - 1;
				tally_add(&t, &ev, seq);
			}
			ASSERT_EQ(-ETIMEDOUT, ret);
		} else {
			while (!reader_next(&r, &ev, sizeof(ev))) {
				tally_add(&t, &ev, r.at - 1);
				/* Several at a time, as far as there is room. */
				if (!(r.at % 16))
					reader_release(&r);
			}
			reader_release(&r);
			dev_wait(r.end.fd, r.at + 1, 10);
		}
	} while (!last);
	pthread_join(s.thread, NULL);
	ASSERT_EQ(0, s.ret);

	/* What was lost after the last event is told by the next one. */
	ASSERT_EQ(0, kernel_script(self->test, channel, "S"));
	if (variant->library) {
		EXPECT_EQ(0, scatto_try_recv(lc, &ev));
		lost = scatto_lost_total(lc);
		tombstones = scatto_tombstones(lc);
		ASSERT_EQ(0, scatto_consumer_info(lc, &info));
	} else {
		EXPECT_EQ(0, reader_recv(&r, &ev, sizeof(ev)));
		lost = r.lost;
		tombstones = r.tombstones;
		ASSERT_EQ(0, dev_info(r.end.fd, &info));
	}
	EXPECT_EQ('S', ev.source);

	EXPECT_TRUE(tally_agrees(&t, &s.storm, &sent, &full, &discarded, &nested));
	storm_print(&s.storm);
	printf("# %.0f events/s; lost by the stamps %llu, dropped by INFO %llu\n",
	       sent * 1e3 / s.storm.ms, (unsigned long long)lost,
	       (unsigned long long)info.dropped);
	EXPECT_EQ(0, t.wrong);
	EXPECT_EQ(full, lost);
	EXPECT_EQ(full, info.dropped);
	EXPECT_EQ(discarded, tombstones);
	EXPECT_EQ(discarded, info.tombstones);
	EXPECT_EQ(sent + discarded + 1, info.published);
	EXPECT_LT(0, nested);
	/* A ring that never had as much as it holds drops nothing. */
	EXPECT_TRUE(!full || info.published >= variant->capacity);

	if (variant->library)
		scatto_consumer_close(lc);
	else
		end_drop(&r.end);
	EXPECT_EQ(0, kernel_destroy(self->test, channel));
}

FIXTURE(traffic)
{
	int test;
};

FIXTURE_SETUP(traffic)
{
	self->test = test_module_open();
	if (self->test == -ENOENT)
		SKIP(return, "scatto_test.ko is not there");
	ASSERT_LE(0, self->test);
}

FIXTURE_TEARDOWN(traffic)
{
	close(self->test);
}

/* Consumers come and go while it storms. */
static void come_and_go(struct __test_metadata *_metadata, int test,
			uint32_t flags)
{
	struct storm_thread s = { .test = test };
	unsigned long turns = 0, events = 0;
	uint64_t seed = 8, expect = 0;
	struct st_event ev;
	int channel;

	channel = kernel_create(test, "visit", sizeof(ev), 64, flags);
	ASSERT_LE(0, channel);
	s.storm = (struct st_storm){
		.channel = channel, .ms = test_count(20000, 1500) * test_slowness(),
		.period_us = 100, .pause_us = 50,
		.contexts = all_contexts(test, channel),
	};
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, storm_main, &s));
	while (!s.done) {
		uint64_t next[ST_MAX_CPUS * ST_NR_CONTEXTS] = {};
		unsigned int n = chance(&seed) % 200, wrong = 0;
		struct reader r;

		ASSERT_EQ(0, reader_open(&r, "visit"));
		EXPECT_TRUE(!(flags & SCATTO_F_PAUSE) || r.at == expect);
		while (n-- && !s.done) {
			if (reader_next(&r, &ev, sizeof(ev))) {
				dev_wait(r.end.fd, r.at + 1, 20);
				continue;
			}
			reader_release(&r);
			wrong += ev.seq != r.at - 1 || ev.source >= ARRAY_LEN(next) ||
				 ev.check != st_check(ev.source, ev.nr) ||
				 ev.nr < next[ev.source];
			next[ev.source % ARRAY_LEN(next)] = ev.nr + 1;
			events++;
		}
		ASSERT_EQ(0, wrong);
		expect = r.end.cons->cursor;
		turns++;
		if (chance(&seed) & 1)
			dev_close(r.end.fd);
		end_drop(&r.end);
	}
	pthread_join(s.thread, NULL);
	ASSERT_EQ(0, s.ret);
	printf("# %lu consumers one after the other, %lu events\n", turns, events);
	EXPECT_LT(3, turns);
	EXPECT_LT(100, events);
	EXPECT_EQ(0, kernel_destroy(test, channel));
}

TEST_F_TIMEOUT(traffic, consumers_come_and_go, 600)
{
	come_and_go(_metadata, self->test, 0);
}

TEST_F_TIMEOUT(traffic, consumers_come_and_go_pausing, 600)
{
	come_and_go(_metadata, self->test, SCATTO_F_PAUSE);
}

/* A consumer of the one channel forges all it can; the other loses nothing. */
TEST_F_TIMEOUT(traffic, forged_cursor, 600)
{
	struct storm_thread s = { .test = self->test };
	uint64_t seed = 1, forged = 0, sent = 0;
	struct st_event ev = {}, got;
	int bad, good;
	struct reader r, f;

	bad = kernel_create(self->test, "forged", sizeof(ev), 64, 0);
	ASSERT_LE(0, bad);
	good = kernel_create(self->test, "good", sizeof(ev), 64, 0);
	ASSERT_LE(0, good);
	ASSERT_EQ(0, reader_open(&r, "good"));
	ASSERT_EQ(0, reader_open(&f, "forged"));
	s.storm = (struct st_storm){
		.channel = bad, .ms = test_count(20000, 2000),
		.period_us = 100, .pause_us = 0,
		.contexts = all_contexts(self->test, bad),
	};
	s.test = open("/dev/scatto_test", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, s.test);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, storm_main, &s));
	while (!s.done) {
		struct pollfd pfd = { .fd = f.end.fd, .events = POLLIN };
		struct scatto_info info;
		static const uint64_t values[] = {
			0, 1, 63, 64, 65, ~0ULL, 1ULL << 63, (1ULL << 63) - 1,
			~0ULL - 64, 1ULL << 32,
		};
		uint64_t pick = chance(&seed) % (ARRAY_LEN(values) + 3);

		f.end.cons->cursor = pick < ARRAY_LEN(values) ? values[pick] :
				     pick == ARRAY_LEN(values) ? chance(&seed) :
				     f.end.cons->cursor + (chance(&seed) & 127) - 64;
		forged++;
		if (chance(&seed) % 64)
			continue;
		EXPECT_EQ(0, dev_info(f.end.fd, &info));
		EXPECT_LE(0, poll(&pfd, 1, 0));
		dev_wait(f.end.fd, chance(&seed), 1);
		dev_wait(f.end.fd, info.published + 1, 1);
	}
	pthread_join(s.thread, NULL);
	ASSERT_EQ(0, s.ret);
	/* The test module does one thing at a time: now the other channel. */
	for (sent = 0; sent < 1000; sent++) {
		ev.nr = sent;
		f.end.cons->cursor = chance(&seed);
		ASSERT_EQ(0, kernel_send(self->test, good, &ev, sizeof(ev)));
		ASSERT_EQ(0, reader_recv(&r, &got, sizeof(got)));
		ASSERT_EQ(sent, got.nr);
	}
	EXPECT_EQ(0, r.lost);
	printf("# %llu cursors forged during %u ms\n", (unsigned long long)forged,
	       s.storm.ms);
	storm_print(&s.storm);

	/* It goes, and leaves a channel that works. */
	end_drop(&f.end);
	ASSERT_EQ(0, reader_open(&f, "forged"));
	ASSERT_EQ(0, kernel_send(self->test, bad, &ev, sizeof(ev)));
	ASSERT_EQ(0, reader_recv(&f, &got, sizeof(got)));
	EXPECT_EQ(ev.nr, got.nr);
	end_drop(&f.end);
	end_drop(&r.end);
	EXPECT_EQ(0, kernel_destroy(self->test, bad));
	EXPECT_EQ(0, kernel_destroy(self->test, good));
	close(s.test);
}

TEST_HARNESS_MAIN
