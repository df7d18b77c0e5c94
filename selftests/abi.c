// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ABI as numbers. Everything in linux/scatto.h is pinned here to what the
 * first version has, so that a change of the header has to be made twice, and
 * then the rules by which structures grow and 32-bit callers are served.
 */
#include "ioctl32.h"
#include "kselftest_harness.h"

struct number {
	const char *name;
	unsigned long long is, must;
};

#define N(name, must)	{ #name, (unsigned long long)(name), must }

static const struct number numbers[] = {
	N(SCATTO_ABI_VERSION, 1),
	N(SCATTO_MAGIC, 0x74616373),
	N(SCATTO_NAME_LEN, 64),
	N(SCATTO_LINE, 128),
	N(SCATTO_MIN_SLOT_SIZE, 8),
	N(SCATTO_MAX_SLOT_SIZE, 1048576),
	N(SCATTO_MIN_CAPACITY, 2),
	N(SCATTO_MAX_CAPACITY, 1073741824),
	N(SCATTO_MAX_PRODUCERS, 1024),

	N(SCATTO_KIND_SPSC, 1),
	N(SCATTO_KIND_MPSC, 2),

	N(SCATTO_ROLE_OWNER, 1),
	N(SCATTO_ROLE_PRODUCER, 2),
	N(SCATTO_ROLE_CONSUMER, 3),
	N(SCATTO_ROLE_OBSERVER, 4),

	N(SCATTO_F_PAUSE, 0x1),
	N(SCATTO_F_SHARED, 0x2),
	N(SCATTO_F_CREATE, 0x3),
	N(SCATTO_F_KERNEL, 0x10000),
	N(SCATTO_F_FENCE, 0x20000),
	N(SCATTO_F_MUST_KNOW, 0xffff0000),

	N(SCATTO_FEATURE_SPSC, 0x1),
	N(SCATTO_FEATURE_MPSC, 0x2),
	N(SCATTO_FEATURE_REPAIR, 0x4),
	N(SCATTO_FEATURE_RIGHTS, 0x8),
	N(SCATTO_FEATURE_CLAIM, 0x10),
	N(SCATTO_FEATURE_SEEK, 0x20),

	N(SCATTO_WAKE_IDLE, 0xffffffffffffffff),
	N(SCATTO_END_OPEN, 0xffffffffffffffff),

	N(SCATTO_STATE_CLOSED, 0x1),
	N(SCATTO_STATE_NO_CONSUMER, 0x2),
	N(SCATTO_STATE_NO_PRODUCER, 0x4),
	N(SCATTO_STATE_SEND_EPIPE, 0x3),

	N(SCATTO_INTENT_NONE, 0xffffffffffffffff),

	N(SCATTO_STAMP_TOMBSTONE, 0x1),
	N(SCATTO_STAMP_RUN, 0x2),
	N(SCATTO_STAMP_LAP, 0xfffffffc),
	N(SCATTO_STAMP_LOST_SHIFT, 32),

	N(SCATTO_REGION_CHANNEL, 0),
	N(SCATTO_REGION_PRODUCER, 1),
	N(SCATTO_REGION_CONSUMER, 2),
	N(SCATTO_REGION_DATA, 3),
	N(SCATTO_NR_REGIONS, 4),

	N(SCATTO_WAIT_ENOUGH, 0x1),
	N(SCATTO_WAIT_DEADLINE, 0x2),
	N(SCATTO_WAIT_WAKE, 0x4),
	N(SCATTO_WAIT_MOST, 4096),

	N(SCATTO_CLAIM_DEADLINE, 0x1),

	N(SCATTO_QUERY_SIZE_VER0, 40),
	N(SCATTO_LIST_SIZE_VER0, 112),
	N(SCATTO_CREATE_SIZE_VER0, 112),
	N(SCATTO_ATTACH_SIZE_VER0, 344),
	N(SCATTO_INFO_SIZE_VER0, 448),
	N(SCATTO_WAIT_SIZE_VER0, 40),
	N(SCATTO_CLAIM_SIZE_VER0, 40),

	N(SCATTO_IOC_MAGIC, 0xdc),
	N(SCATTO_IOC_QUERY, 0xdc00),
	N(SCATTO_IOC_LIST, 0xdc01),
	N(SCATTO_IOC_CREATE, 0xdc10),
	N(SCATTO_IOC_ATTACH, 0xdc11),
	N(SCATTO_IOC_INFO, 0xdc20),
	N(SCATTO_IOC_CLOSE, 0xdc21),
	N(SCATTO_IOC_WAIT, 0xdc30),
	N(SCATTO_IOC_WAKE, 0xdc31),
	N(SCATTO_IOC_CLAIM, 0xdc40),

	N(SCATTO_SEEK(5, 3), 0x400000005),
	N(SCATTO_SEEK(0x123456789ULL, 0), 0x123456789),
};

/* A field, or with @size 0 the end of a structure. */
struct field {
	const char *type, *name;
	size_t offset, size, must_offset, must_size, align;
};

#define F(type, name, offset, size) \
	{ #type, #name, offsetof(struct type, name), \
	  sizeof(((struct type *)0)->name), offset, size, 0 }
#define END(type, size) \
	{ #type, NULL, sizeof(struct type), 0, size, 0, _Alignof(struct type) }

static const struct field fields[] = {
	F(scatto_channel_area, magic, 0, 4),
	F(scatto_channel_area, abi, 4, 4),
	F(scatto_channel_area, kind, 8, 4),
	F(scatto_channel_area, flags, 12, 4),
	F(scatto_channel_area, slot_size, 16, 4),
	F(scatto_channel_area, slot_stride, 20, 4),
	F(scatto_channel_area, capacity, 24, 8),
	F(scatto_channel_area, id, 32, 8),
	F(scatto_channel_area, __pad0, 40, 88),
	F(scatto_channel_area, data_wake, 128, 8),
	F(scatto_channel_area, __pad1, 136, 120),
	F(scatto_channel_area, space_wake, 256, 8),
	F(scatto_channel_area, __pad2, 264, 120),
	F(scatto_channel_area, end, 384, 8),
	F(scatto_channel_area, state, 392, 4),
	F(scatto_channel_area, producers, 396, 4),
	F(scatto_channel_area, consumers, 400, 4),
	F(scatto_channel_area, claimers, 404, 4),
	F(scatto_channel_area, __pad3, 408, 104),
	F(scatto_channel_area, dropped, 512, 8),
	F(scatto_channel_area, tombstones, 520, 8),
	F(scatto_channel_area, __pad4, 528, 112),
	END(scatto_channel_area, 640),

	F(scatto_producer_area, published, 0, 8),
	F(scatto_producer_area, __pad0, 8, 120),
	F(scatto_producer_area, claimed, 128, 8),
	F(scatto_producer_area, __pad1, 136, 120),
	END(scatto_producer_area, 256),

	F(scatto_consumer_area, cursor, 0, 8),
	F(scatto_consumer_area, __pad0, 8, 120),
	F(scatto_consumer_area, skipped, 128, 8),
	F(scatto_consumer_area, __pad1, 136, 120),
	END(scatto_consumer_area, 256),

	F(scatto_intent, lo, 0, 8),
	F(scatto_intent, hi, 8, 8),
	F(scatto_intent, __pad0, 16, 112),
	END(scatto_intent, 128),

	F(scatto_region, offset, 0, 8),
	F(scatto_region, size, 8, 8),
	F(scatto_region, writable, 16, 4),
	F(scatto_region, reserved, 20, 4),
	END(scatto_region, 24),

	F(scatto_layout, kind, 0, 4),
	F(scatto_layout, flags, 4, 4),
	F(scatto_layout, slot_size, 8, 4),
	F(scatto_layout, slot_stride, 12, 4),
	F(scatto_layout, capacity, 16, 8),
	F(scatto_layout, consumer_stride, 24, 4),
	F(scatto_layout, max_producers, 28, 4),
	F(scatto_layout, max_consumers, 32, 4),
	F(scatto_layout, intent_stride, 36, 4),
	F(scatto_layout, stamp_offset, 40, 8),
	F(scatto_layout, slot_offset, 48, 8),
	F(scatto_layout, region, 56, 96),
	F(scatto_layout, intent_offset, 152, 8),
	F(scatto_layout, reserved, 160, 88),
	END(scatto_layout, 248),

	F(scatto_query, size, 0, 4),
	F(scatto_query, abi, 4, 4),
	F(scatto_query, features, 8, 8),
	F(scatto_query, max_channel_bytes, 16, 8),
	F(scatto_query, max_user_bytes, 24, 8),
	F(scatto_query, max_user_channels, 32, 8),
	END(scatto_query, 40),

	F(scatto_create, size, 0, 4),
	F(scatto_create, kind, 4, 4),
	F(scatto_create, flags, 8, 4),
	F(scatto_create, slot_size, 12, 4),
	F(scatto_create, capacity, 16, 8),
	F(scatto_create, max_producers, 24, 4),
	F(scatto_create, max_consumers, 28, 4),
	F(scatto_create, mode, 32, 4),
	F(scatto_create, reserved0, 36, 4),
	F(scatto_create, name, 40, 64),
	F(scatto_create, id, 104, 8),
	END(scatto_create, 112),

	F(scatto_attach, size, 0, 4),
	F(scatto_attach, role, 4, 4),
	F(scatto_attach, flags, 8, 4),
	F(scatto_attach, channel_fd, 12, 4),
	F(scatto_attach, name, 16, 64),
	F(scatto_attach, index, 80, 4),
	F(scatto_attach, reserved0, 84, 4),
	F(scatto_attach, position, 88, 8),
	F(scatto_attach, layout, 96, 248),
	END(scatto_attach, 344),

	F(scatto_wait, size, 0, 4),
	F(scatto_wait, flags, 4, 4),
	F(scatto_wait, want, 8, 8),
	F(scatto_wait, enough, 16, 8),
	F(scatto_wait, deadline, 24, 8),
	F(scatto_wait, wake_fd, 32, 4),
	F(scatto_wait, reserved0, 36, 4),
	END(scatto_wait, 40),

	F(scatto_claim, size, 0, 4),
	F(scatto_claim, flags, 4, 4),
	F(scatto_claim, count, 8, 4),
	F(scatto_claim, least, 12, 4),
	F(scatto_claim, deadline, 16, 8),
	F(scatto_claim, position, 24, 8),
	F(scatto_claim, granted, 32, 4),
	F(scatto_claim, reserved0, 36, 4),
	END(scatto_claim, 40),

	F(scatto_info, size, 0, 4),
	F(scatto_info, role, 4, 4),
	F(scatto_info, index, 8, 4),
	F(scatto_info, state, 12, 4),
	F(scatto_info, id, 16, 8),
	F(scatto_info, position, 24, 8),
	F(scatto_info, name, 32, 64),
	F(scatto_info, mode, 96, 4),
	F(scatto_info, uid, 100, 4),
	F(scatto_info, gid, 104, 4),
	F(scatto_info, producers, 108, 4),
	F(scatto_info, consumers, 112, 4),
	F(scatto_info, observers, 116, 4),
	F(scatto_info, bytes, 120, 8),
	F(scatto_info, published, 128, 8),
	F(scatto_info, consumed, 136, 8),
	F(scatto_info, end, 144, 8),
	F(scatto_info, dropped, 152, 8),
	F(scatto_info, tombstones, 160, 8),
	F(scatto_info, data_sleeps, 168, 8),
	F(scatto_info, data_wakes, 176, 8),
	F(scatto_info, space_sleeps, 184, 8),
	F(scatto_info, space_wakes, 192, 8),
	F(scatto_info, layout, 200, 248),
	F(scatto_info, skipped, 448, 8),
	F(scatto_info, repairs, 456, 8),
	F(scatto_info, repair_from, 464, 8),
	F(scatto_info, repair_to, 472, 8),
	F(scatto_info, claims, 480, 8),
	F(scatto_info, claimers, 488, 4),
	F(scatto_info, reserved0, 492, 4),
	END(scatto_info, 496),

	F(scatto_list, size, 0, 4),
	F(scatto_list, flags, 4, 4),
	F(scatto_list, id, 8, 8),
	F(scatto_list, name, 16, 64),
	F(scatto_list, mode, 80, 4),
	F(scatto_list, uid, 84, 4),
	F(scatto_list, gid, 88, 4),
	F(scatto_list, kind, 92, 4),
	F(scatto_list, chan_flags, 96, 4),
	F(scatto_list, slot_size, 100, 4),
	F(scatto_list, capacity, 104, 8),
	END(scatto_list, 112),
};

TEST(constants)
{
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(numbers); i++) {
		EXPECT_EQ(numbers[i].must, numbers[i].is) {
			TH_LOG("constant %u, %s, has changed", i,
			       numbers[i].name ?: "");
		}
	}
}

TEST(structures)
{
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(fields); i++) {
		const struct field *f = &fields[i];

		EXPECT_TRUE(f->offset == f->must_offset && f->size == f->must_size) {
			TH_LOG("struct %s: %s is now at %zu, %zu bytes", f->type,
			       f->name ?: "its end", f->offset, f->size);
		}
	}
}

/*
 * Fields follow each other without a gap, so the lists above are complete,
 * nothing is padded by the compiler, and 32-bit callers see the same.
 */
TEST(no_implicit_padding)
{
	size_t at = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(fields); i++) {
		const struct field *f = &fields[i];

		EXPECT_EQ(at, f->offset) {
			TH_LOG("struct %s: a gap before %s", f->type,
			       f->name ?: "its end");
		}
		if (f->name) {
			at = f->offset + f->size;
			continue;
		}
		EXPECT_EQ(8, f->align);
		EXPECT_EQ(0, f->offset % 8);
		at = 0;
	}
}

/* Words of different writers, and hot words of one, are on different lines. */
TEST(lines)
{
	EXPECT_EQ(0, sizeof(struct scatto_channel_area) % SCATTO_LINE);
	EXPECT_EQ(0, sizeof(struct scatto_producer_area) % SCATTO_LINE);
	EXPECT_EQ(0, sizeof(struct scatto_consumer_area) % SCATTO_LINE);
	EXPECT_EQ(0, sizeof(struct scatto_intent) % SCATTO_LINE);
	EXPECT_EQ(0, offsetof(struct scatto_consumer_area, skipped) % SCATTO_LINE);
	EXPECT_EQ(0, offsetof(struct scatto_channel_area, data_wake) % SCATTO_LINE);
	EXPECT_EQ(0, offsetof(struct scatto_channel_area, space_wake) % SCATTO_LINE);
	EXPECT_EQ(0, offsetof(struct scatto_channel_area, end) % SCATTO_LINE);
	EXPECT_EQ(0, offsetof(struct scatto_channel_area, dropped) % SCATTO_LINE);
	EXPECT_EQ(0, offsetof(struct scatto_producer_area, claimed) % SCATTO_LINE);
	EXPECT_GE(4096, (int)sizeof(struct scatto_channel_area));
}

/* What the kernel lays out for a geometry, to the byte. */
TEST(layout)
{
	static const struct {
		uint32_t slot_size;
		uint64_t capacity;
		uint32_t stride;
		uint64_t data;
	} t[] = {
		{ 8, 2, 8, 4096 },
		{ 8, 512, 8, 4096 },
		{ 8, 1024, 8, 8192 },
		{ 9, 256, 16, 4096 },
		{ 63, 64, 64, 4096 },
		{ 65, 64, 72, 8192 },
		{ 4096, 2, 4096, 8192 },
		{ 1048576, 2, 1048576, 2097152 },
		{ 1048575, 2, 1048576, 2097152 },
	};
	static const struct {
		uint64_t offset, size;
	} regions[3] = { { 0, 4096 }, { 4096, 4096 }, { 8192, 4096 } };
	unsigned int i, r;

	for (i = 0; i < ARRAY_LEN(t); i++) {
		int owner = channel_create(NULL, 0, t[i].slot_size,
					   t[i].capacity, SCATTO_F_PAUSE);
		struct end end;
		const struct scatto_layout *l = &end.layout;
		struct scatto_info info;

		ASSERT_GE(owner, 0);
		ASSERT_EQ(0, end_open(&end, SCATTO_ROLE_PRODUCER, owner));
		EXPECT_EQ(SCATTO_KIND_SPSC, l->kind);
		EXPECT_EQ(SCATTO_F_PAUSE, l->flags & ~SCATTO_F_FENCE);
		EXPECT_EQ(t[i].slot_size, l->slot_size);
		EXPECT_EQ(t[i].stride, l->slot_stride);
		EXPECT_EQ(t[i].capacity, l->capacity);
		EXPECT_EQ(4096, l->consumer_stride);
		EXPECT_EQ(1, l->max_producers);
		EXPECT_EQ(1, l->max_consumers);
		EXPECT_EQ(0, l->intent_stride);
		EXPECT_EQ(0, l->intent_offset);
		EXPECT_EQ(0, l->stamp_offset);
		EXPECT_EQ(0, l->slot_offset);
		for (r = 0; r < 3; r++) {
			EXPECT_EQ(regions[r].offset, l->region[r].offset);
			EXPECT_EQ(regions[r].size, l->region[r].size);
		}
		EXPECT_EQ(12288, l->region[SCATTO_REGION_DATA].offset);
		EXPECT_EQ(t[i].data, l->region[SCATTO_REGION_DATA].size);
		for (r = 0; r < SCATTO_NR_REGIONS; r++) {
			EXPECT_EQ(r == SCATTO_REGION_PRODUCER || r == SCATTO_REGION_DATA,
				  l->region[r].writable);
			EXPECT_EQ(0, l->region[r].reserved);
		}
		for (r = 0; r < ARRAY_LEN(l->reserved); r++)
			EXPECT_EQ(0, l->reserved[r]);

		/* The mapped header says the same. */
		EXPECT_EQ(SCATTO_MAGIC, end.area->magic);
		EXPECT_EQ(SCATTO_ABI_VERSION, end.area->abi);
		EXPECT_EQ(l->kind, end.area->kind);
		EXPECT_EQ(l->flags, end.area->flags);
		EXPECT_EQ(l->slot_size, end.area->slot_size);
		EXPECT_EQ(l->slot_stride, end.area->slot_stride);
		EXPECT_EQ(l->capacity, end.area->capacity);
		EXPECT_EQ(SCATTO_WAKE_IDLE, end.area->data_wake);
		EXPECT_EQ(SCATTO_WAKE_IDLE, end.area->space_wake);
		EXPECT_EQ(SCATTO_END_OPEN, end.area->end);
		EXPECT_EQ(0, end.area->state);
		EXPECT_EQ(1, end.area->producers);
		EXPECT_EQ(0, end.area->consumers);

		/* And so does INFO. */
		ASSERT_EQ(0, dev_info(end.fd, &info));
		EXPECT_EQ(0, memcmp(&info.layout, l, sizeof(*l)));
		EXPECT_EQ(info.id, end.area->id);
		EXPECT_EQ(12288 + t[i].data, info.bytes);
		end_drop(&end);
		close(owner);
	}
}

/*
 * Growth. Each call is made right, and then with every wrong size, on fds where
 * it can be repeated.
 */
FIXTURE(growth) {
	int owner, unbound;
	struct end prod;
	unsigned char *page;	/* and one more, and then nothing */
};

FIXTURE_SETUP(growth)
{
	self->owner = channel_create("growth", 0600, 8, 64, SCATTO_F_PAUSE);
	ASSERT_GE(self->owner, 0);
	ASSERT_EQ(0, end_open(&self->prod, SCATTO_ROLE_PRODUCER, self->owner));
	self->unbound = dev_open();
	ASSERT_GE(self->unbound, 0);
	self->page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	ASSERT_EQ(0, mprotect(self->page + 2 * 4096, 4096, PROT_NONE));
}

FIXTURE_TEARDOWN(growth)
{
	end_drop(&self->prod);
	close(self->owner);
	close(self->unbound);
}

enum on { ON_UNBOUND, ON_PRODUCER };

static const struct growing {
	const char *name;
	unsigned long cmd;
	size_t size, first;	/* now, and in the first version */
	enum on on;
} growing[] = {
	{ "QUERY", SCATTO_IOC_QUERY, sizeof(struct scatto_query),
	  SCATTO_QUERY_SIZE_VER0, ON_UNBOUND },
	{ "LIST", SCATTO_IOC_LIST, sizeof(struct scatto_list),
	  SCATTO_LIST_SIZE_VER0, ON_UNBOUND },
	{ "CREATE", SCATTO_IOC_CREATE, sizeof(struct scatto_create),
	  SCATTO_CREATE_SIZE_VER0, ON_UNBOUND },
	{ "ATTACH", SCATTO_IOC_ATTACH, sizeof(struct scatto_attach),
	  SCATTO_ATTACH_SIZE_VER0, ON_UNBOUND },
	{ "INFO", SCATTO_IOC_INFO, sizeof(struct scatto_info),
	  SCATTO_INFO_SIZE_VER0, ON_PRODUCER },
	{ "WAIT", SCATTO_IOC_WAIT, sizeof(struct scatto_wait),
	  SCATTO_WAIT_SIZE_VER0, ON_PRODUCER },
};

/* A correct call of its kind, but for the size. */
static void fill(void *at, const struct growing *g, int owner)
{
	memset(at, 0, g->size);
	if (g->cmd == SCATTO_IOC_CREATE)
		*(struct scatto_create *)at = create_args(8, 2, 0);
	else if (g->cmd == SCATTO_IOC_ATTACH)
		*(struct scatto_attach *)at =
			attach_args(SCATTO_ROLE_OBSERVER, owner, NULL);
}

static int call(FIXTURE_DATA(growth) *self, const struct growing *g, void *arg,
		uint32_t size)
{
	int fd = g->on == ON_PRODUCER ? self->prod.fd : self->unbound, ret;

	memcpy(arg, &size, sizeof(size));
	ret = dev_ioctl(fd, g->cmd, arg);
	if (!ret && (g->cmd == SCATTO_IOC_CREATE || g->cmd == SCATTO_IOC_ATTACH)) {
		close(self->unbound);
		self->unbound = dev_open();
	}
	return ret;
}

/* A structure shorter than its first version is a mistake; between, it is old. */
TEST_F(growth, shorter)
{
	unsigned int i, j;
	uint32_t size;

	for (i = 0; i < ARRAY_LEN(growing); i++) {
		const struct growing *g = &growing[i];

		for (size = 0; size < g->size; size++) {
			bool old = size >= g->first;

			fill(self->page, g, self->owner);
			memset(self->page + size, 0xff, g->size - size);
			EXPECT_EQ(old ? 0 : -EINVAL,
				  call(self, g, self->page, size)) {
				TH_LOG("%s of size %u", g->name, size);
			}
			for (j = size > 4 ? size : 4; j < g->size; j++)
				ASSERT_EQ(0xff, self->page[j]);
		}
		fill(self->page, g, self->owner);
		EXPECT_EQ(0, call(self, g, self->page, g->size)) {
			TH_LOG("%s", g->name);
		}
	}
}

/* A newer caller's fields are fine while they are zero, and stay untouched. */
TEST_F(growth, longer)
{
	static const uint32_t more[] = { 1, 4, 8, 100, 1000 };
	unsigned int i, j;
	uint32_t size;

	for (i = 0; i < ARRAY_LEN(growing); i++) {
		const struct growing *g = &growing[i];

		for (j = 0; j <= ARRAY_LEN(more); j++) {
			unsigned int byte;

			size = j < ARRAY_LEN(more) ? g->size + more[j] : 4096;
			memset(self->page, 0, 4096);
			fill(self->page, g, self->owner);
			memset(self->page + size, 0xff, 4096);
			EXPECT_EQ(0, call(self, g, self->page, size)) {
				TH_LOG("%s of size %u", g->name, size);
			}
			for (byte = g->size; byte < size; byte++)
				ASSERT_EQ(0, self->page[byte]);
			ASSERT_EQ(0xff, self->page[size]);
			ASSERT_EQ(size, *(uint32_t *)self->page);
		}
	}
}

TEST_F(growth, longer_not_zero)
{
	static const uint32_t more[] = { 1, 4, 8, 100, 1000 };
	unsigned int i, j, at;

	for (i = 0; i < ARRAY_LEN(growing); i++) {
		const struct growing *g = &growing[i];

		for (j = 0; j < ARRAY_LEN(more); j++) {
			/* The first, one in the middle, and the last byte. */
			for (at = 0; at < 3; at++) {
				memset(self->page, 0, 2 * 4096);
				fill(self->page, g, self->owner);
				self->page[g->size + (more[j] - 1) * at / 2] = 1;
				EXPECT_EQ(-E2BIG, call(self, g, self->page,
						       g->size + more[j])) {
					TH_LOG("%s and %u", g->name, more[j]);
				}
			}
		}
	}
}

TEST_F(growth, over_a_page)
{
	static const uint32_t sizes[] = { 4097, 8192, 1 << 20, 1u << 31, ~0u };
	unsigned int i, j;

	for (i = 0; i < ARRAY_LEN(growing); i++) {
		for (j = 0; j < ARRAY_LEN(sizes); j++) {
			memset(self->page, 0, 2 * 4096);
			fill(self->page, &growing[i], self->owner);
			EXPECT_EQ(-EINVAL, call(self, &growing[i], self->page,
						sizes[j])) {
				TH_LOG("%s of size %u", growing[i].name, sizes[j]);
			}
		}
	}
}

/* Not a byte behind the size is looked at; a size that promises more is. */
TEST_F(growth, stays_inside)
{
	unsigned char *end = self->page + 2 * 4096;
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(growing); i++) {
		const struct growing *g = &growing[i];

		fill(end - g->size, g, self->owner);
		EXPECT_EQ(0, call(self, g, end - g->size, g->size)) {
			TH_LOG("%s", g->name);
		}
		fill(end - g->size, g, self->owner);
		EXPECT_EQ(-EFAULT, call(self, g, end - g->size, g->size + 8)) {
			TH_LOG("%s", g->name);
		}
	}
}

/* 32-bit callers */
#ifdef __x86_64__
static int ioctl32p(int fd, uint32_t cmd, void *arg)
{
	return ioctl32(fd, cmd, (uintptr_t)arg);
}

TEST(compat)
{
	int owner = dev_open(), fd = dev_open(), cons = dev_open();
	struct scatto_layout layout;
	struct scatto_query *query;
	struct scatto_create *create;
	struct scatto_attach *attach;
	struct scatto_info *info, info64;
	struct scatto_list *list;
	struct scatto_wait *wait;
	struct scatto_claim *claim;
	void *low = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	ASSERT_NE(MAP_FAILED, low);
	ASSERT_EQ(0, (uintptr_t)low >> 32);
	ASSERT_GE(owner, 0);
	ASSERT_GE(fd, 0);
	ASSERT_GE(cons, 0);
	query = low;
	create = low;
	attach = low;
	info = low;
	list = low;
	wait = low;
	claim = low;

	if (!have_ioctl32())
		SKIP(return, "this kernel runs no 32-bit system calls");

	query->size = sizeof(*query);
	ASSERT_EQ(0, ioctl32p(fd, SCATTO_IOC_QUERY, query));
	EXPECT_EQ(SCATTO_ABI_VERSION, query->abi);
	EXPECT_NE(0, query->features & SCATTO_FEATURE_SPSC);

	*create = create_args(24, 64, SCATTO_F_PAUSE);
	create_named(create, "compat", 0600);
	ASSERT_EQ(0, ioctl32p(owner, SCATTO_IOC_CREATE, create));
	EXPECT_NE(0, create->id);
	EXPECT_EQ(-EISCONN, ioctl32p(owner, SCATTO_IOC_CREATE, create));

	*attach = attach_args(SCATTO_ROLE_PRODUCER, owner, NULL);
	ASSERT_EQ(0, ioctl32p(fd, SCATTO_IOC_ATTACH, attach));
	EXPECT_EQ(64, attach->layout.capacity);
	EXPECT_EQ(24, attach->layout.slot_size);
	layout = attach->layout;
	*attach = attach_args(SCATTO_ROLE_CONSUMER, -1, "compat");
	ASSERT_EQ(0, ioctl32p(cons, SCATTO_IOC_ATTACH, attach));

	memset(low, 0, 4096);
	info->size = sizeof(*info);
	ASSERT_EQ(0, ioctl32p(fd, SCATTO_IOC_INFO, info));
	ASSERT_EQ(0, dev_info(fd, &info64));
	EXPECT_EQ(0, memcmp(info, &info64, sizeof(info64)));
	EXPECT_EQ(0, memcmp(&info->layout, &layout, sizeof(layout)));

	memset(low, 0, 4096);
	list->size = sizeof(*list);
	do {
		memset(list->name, 0, sizeof(*list) - offsetof(struct scatto_list, name));
		ASSERT_EQ(0, ioctl32p(fd, SCATTO_IOC_LIST, list));
	} while (strcmp(list->name, "compat"));
	EXPECT_EQ(info64.id, list->id);

	memset(low, 0, 4096);
	wait->size = sizeof(*wait);
	wait->flags = SCATTO_WAIT_DEADLINE;
	wait->want = 1;
	wait->deadline = now_ns() + 20000000;
	EXPECT_EQ(-ETIMEDOUT, ioctl32p(cons, SCATTO_IOC_WAIT, wait));
	EXPECT_LE(wait->deadline, now_ns());

	EXPECT_EQ(0, ioctl32(fd, SCATTO_IOC_WAKE, 0));
	EXPECT_EQ(-EINVAL, ioctl32(fd, SCATTO_IOC_WAKE, 1));
	memset(low, 0, 4096);
	claim->size = sizeof(*claim);
	claim->count = 1;
	EXPECT_EQ(-EOPNOTSUPP, ioctl32p(fd, SCATTO_IOC_CLAIM, claim));
	EXPECT_EQ(-ENOTTY, ioctl32p(fd, 0xdcff, low));
	EXPECT_EQ(-EFAULT, ioctl32(fd, SCATTO_IOC_INFO, 0));
	EXPECT_EQ(-EINVAL, ioctl32(fd, SCATTO_IOC_CLOSE, 1));
	EXPECT_EQ(0, ioctl32(fd, SCATTO_IOC_CLOSE, 0));
	EXPECT_EQ(-EPIPE, ioctl32(fd, SCATTO_IOC_WAKE, 0));

	/* Pointers of a 32-bit program have 32 bits, whatever the register has. */
	memset(low, 0, 4096);
	info->size = sizeof(*info);
	EXPECT_EQ(0, ioctl32(fd, SCATTO_IOC_INFO,
			     (uintptr_t)low | 0x123400000000));
}
#endif

TEST_HARNESS_MAIN
