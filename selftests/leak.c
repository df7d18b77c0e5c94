// SPDX-License-Identifier: GPL-2.0-only
/*
 * No byte that the kernel did not put there: free memory and the stack are filled
 * with a pattern, and then everything that the module shows is looked through for
 * it. The page frames of the channels are compared with those that held the pattern
 * before, so that it is known that there was something to be seen.
 */
#include "kselftest_harness.h"
#include "leak.h"
#include "many.h"

FIXTURE(leak) {
};

FIXTURE_SETUP(leak)
{
	leak_poison_slab();
}

FIXTURE_TEARDOWN(leak)
{
}

static const uint32_t slot_sizes[] = { 8, 9, 24, 64, 100, 1000, 4095, 4096 };
static const uint64_t capacities[] = { 2, 16, 128, 1024 };
static const uint32_t producers[] = { 1, 2, 64, 1024 };

/* The next of all kinds and sizes; false when there are no more. */
static bool next_create(struct scatto_create *arg, unsigned int i)
{
	unsigned int slot = i % ARRAY_LEN(slot_sizes);
	unsigned int capacity = i / ARRAY_LEN(slot_sizes) % ARRAY_LEN(capacities);
	unsigned int kind = i / ARRAY_LEN(slot_sizes) / ARRAY_LEN(capacities);

	*arg = create_args(slot_sizes[slot], capacities[capacity], 0);
	if (kind > ARRAY_LEN(producers))
		return false;
	if (kind) {
		arg->kind = SCATTO_KIND_MPSC;
		arg->max_producers = producers[kind - 1];
		arg->flags = kind % 2 ? SCATTO_F_SHARED : 0;
	}
	return true;
}

static size_t mapped_leaks(struct end *end)
{
	size_t n = 0;
	unsigned int i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		n += leak_count(end->map[i], end->layout.region[i].size);
	return n;
}

/* Another word, by which the pages of a channel are known. */
#define MARK	0x3a4b5c6dU

/* Looked at by each role before anybody has written; then marked. */
static void look_and_mark(struct __test_metadata *_metadata, int owner, struct end *prod)
{
	struct end end;
	uint32_t role;

	for (role = SCATTO_ROLE_OBSERVER; role >= SCATTO_ROLE_OWNER; role--) {
		if (role == SCATTO_ROLE_PRODUCER)
			continue;
		ASSERT_EQ(0, end_open(&end, role, owner));
		EXPECT_EQ(0, mapped_leaks(&end)) {
			TH_LOG("kind %u, slots of %u, %llu of them, role %u", end.layout.kind,
			       end.layout.slot_size,
			       (unsigned long long)end.layout.capacity, role);
		}
		end_drop(&end);
	}
	ASSERT_EQ(0, end_open(prod, SCATTO_ROLE_PRODUCER, owner));
	EXPECT_EQ(0, mapped_leaks(prod));
	leak_fill_with(MARK, (void *)prod->data, prod->layout.region[SCATTO_REGION_DATA].size);
}

/*
 * Channels of all sizes. Returns how many of a hundred of their pages had held the
 * pattern: which free ones the kernel takes is its own choice.
 */
static unsigned int look_at_all(struct __test_metadata *_metadata)
{
	static struct end prods[256];
	struct leak_pages before, after;
	struct scatto_create arg;
	unsigned int n, percent;

	leak_poison_pages();
	leak_poison_channels();
	ASSERT_EQ(0, leak_look(&before, LEAK_WORD));
	ASSERT_LT(0, before.found)
		TH_LOG("this kernel clears what it frees, or hides it");
	for (n = 0; next_create(&arg, n); n++) {
		int owner;

		/* Who pauses is not ended by the consumer's going. */
		arg.flags |= SCATTO_F_PAUSE;
		owner = channel_create_args(&arg);
		ASSERT_GE(owner, 0);
		look_and_mark(_metadata, owner, &prods[n]);
		close(owner);
	}
	ASSERT_EQ(0, leak_look(&after, MARK));
	TH_LOG("%u channels with %llu pages of data, of which %llu held the pattern before",
	       n, (unsigned long long)after.found,
	       (unsigned long long)leak_both(&before, &after));
	percent = leak_both(&before, &after) * 100 / after.found;
	while (n--)
		end_drop(&prods[n]);
	free(before.bits);
	free(after.bits);
	return percent;
}

/* Pages: those of a channel had the pattern, and do not show it. */
TEST_F_TIMEOUT(leak, mapped, 300)
{
	unsigned int i, percent = 0;

	if (access("/proc/kcore", R_OK))
		SKIP(return, "no /proc/kcore to see the pattern in");
	for (i = 0; i < 4 && percent < 10; i++)
		percent = look_at_all(_metadata);
	EXPECT_LE(10, percent);
}

/* Who looks through them finds what is there. */
TEST_F(leak, seen_if_there)
{
	int owner = channel_create(NULL, 0, 64, 64, 0);
	struct end prod, cons;
	size_t size;

	ASSERT_EQ(0, end_open(&prod, SCATTO_ROLE_PRODUCER, owner));
	ASSERT_EQ(0, end_open(&cons, SCATTO_ROLE_CONSUMER, owner));
	size = prod.layout.region[SCATTO_REGION_DATA].size;
	EXPECT_EQ(0, mapped_leaks(&cons));
	leak_fill((void *)(prod.data + size - 4), 4);
	EXPECT_EQ(1, mapped_leaks(&cons));
	end_drop(&prod);
	end_drop(&cons);
	close(owner);
}

/*
 * The stack: what poll() has left is there for the next call of the same depth. How
 * deep that is depends on the compiler, so it is not known that it hits; that the
 * structures are whole (no padding) and copied in first is what this guards.
 */
union any_arg {
	uint32_t size;
	struct scatto_query query;
	struct scatto_list list;
	struct scatto_create create;
	struct scatto_attach attach;
	struct scatto_info info;
	struct scatto_claim claim;
	unsigned char bytes[4096];
};

/* Makes the call with the structure's own size and others, on a poisoned stack. */
static size_t copied_leaks(struct __test_metadata *_metadata, int fd, unsigned long cmd,
			   union any_arg *arg, size_t size)
{
	size_t n = 0, i;
	int ret;

	arg->size = size;
	leak_poison_stack();
	ret = dev_ioctl(fd, cmd, arg);
	EXPECT_EQ(0, ret) {
		TH_LOG("%#lx: %d", cmd, ret);
	}
	n = leak_count(arg, sizeof(*arg));
	/* Nothing is written behind what the caller has. */
	for (i = size; i < sizeof(*arg); i++)
		n += !!arg->bytes[i];
	return n;
}

static size_t count_nonzero(const void *at, size_t size)
{
	const unsigned char *p = at;
	size_t n = 0;

	while (size--)
		n += !!*p++;
	return n;
}

TEST_F_TIMEOUT(leak, copied, 120)
{
	static const char name[] = "leak";
	union any_arg arg;
	unsigned int round;

	for (round = 0; round < 64; round++) {
		bool many = round % 2;
		size_t more = round % 4 < 2 ? 0 : 256;
		int owner = dev_open(), prod = dev_open();

		leak_poison_slab();
		memset(&arg, 0, sizeof(arg));
		EXPECT_EQ(0, copied_leaks(_metadata, owner, SCATTO_IOC_QUERY, &arg,
					  sizeof(arg.query) + more));

		memset(&arg, 0, sizeof(arg));
		arg.create = create_args(24, 16, 0);
		arg.create.kind = many ? SCATTO_KIND_MPSC : SCATTO_KIND_SPSC;
		if (round % 3)
			create_named(&arg.create, name, 0600);
		EXPECT_EQ(0, copied_leaks(_metadata, owner, SCATTO_IOC_CREATE, &arg,
					  sizeof(arg.create) + more));
		if (round % 3) {
			memset(&arg, 0, sizeof(arg));
			EXPECT_EQ(0, copied_leaks(_metadata, owner, SCATTO_IOC_LIST, &arg,
						  sizeof(arg.list) + more));
			EXPECT_EQ(0, count_nonzero(arg.list.name + sizeof(name),
						   sizeof(arg.list.name) - sizeof(name)));
		}

		memset(&arg, 0, sizeof(arg));
		arg.attach = attach_args(SCATTO_ROLE_PRODUCER, owner, NULL);
		EXPECT_EQ(0, copied_leaks(_metadata, prod, SCATTO_IOC_ATTACH, &arg,
					  sizeof(arg.attach) + more));
		EXPECT_EQ(0, count_nonzero(arg.attach.layout.reserved,
					   sizeof(arg.attach.layout.reserved)));

		memset(&arg, 0, sizeof(arg));
		EXPECT_EQ(0, copied_leaks(_metadata, round % 8 < 4 ? prod : owner,
					  SCATTO_IOC_INFO, &arg, sizeof(arg.info) + more));
		EXPECT_EQ(0, count_nonzero(arg.info.layout.reserved,
					   sizeof(arg.info.layout.reserved)));
		EXPECT_EQ(0, count_nonzero(arg.info.name + (round % 3 ? sizeof(name) : 0),
					   sizeof(arg.info.name) - sizeof(name)));
		EXPECT_EQ(0, arg.info.reserved0);

		if (many) {
			memset(&arg, 0, sizeof(arg));
			arg.claim = claim_args(1, 1, -1);
			EXPECT_EQ(0, copied_leaks(_metadata, prod, SCATTO_IOC_CLAIM, &arg,
						  sizeof(arg.claim) + more));
		}
		close(prod);
		close(owner);
	}
}

/* No structure has a hole that could keep what was there. */
#define WHOLE(type, sum)	EXPECT_EQ(sizeof(type), sum)

TEST(whole)
{
	struct scatto_layout *l = NULL;

	WHOLE(struct scatto_query, 2 * 4 + 4 * 8);
	WHOLE(struct scatto_create, 4 * 4 + 8 + 4 * 4 + SCATTO_NAME_LEN + 8);
	WHOLE(struct scatto_region, 2 * 8 + 2 * 4);
	WHOLE(struct scatto_layout, 4 * 4 + 8 + 4 * 4 + 2 * 8 + sizeof(l->region) + 8 +
				    sizeof(l->reserved));
	WHOLE(struct scatto_attach, 4 * 4 + SCATTO_NAME_LEN + 2 * 4 + 8 + sizeof(*l));
	WHOLE(struct scatto_wait, 2 * 4 + 3 * 8 + 2 * 4);
	WHOLE(struct scatto_claim, 4 * 4 + 2 * 8 + 2 * 4);
	WHOLE(struct scatto_info, 4 * 4 + 2 * 8 + SCATTO_NAME_LEN + 6 * 4 + 10 * 8 + sizeof(*l) +
				  5 * 8 + 2 * 4);
	WHOLE(struct scatto_list, 2 * 4 + 8 + SCATTO_NAME_LEN + 6 * 4 + 8);
}

/* Text for people is made of the same. */
TEST_F_TIMEOUT(leak, fdinfo, 120)
{
	int owner, i;

	for (i = 0; i < 32; i++) {
		char path[64], buf[2048] = "";
		ssize_t n, k;

		owner = channel_create(NULL, 0, 8, 8, 0);
		leak_poison_slab();
		leak_poison_stack();
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", owner);
		n = read_file(path, buf, sizeof(buf));
		ASSERT_LT(0, n);
		for (k = 0; k < n; k++)
			ASSERT_TRUE(buf[k] == '\n' || buf[k] == '\t' ||
				    (buf[k] >= ' ' && buf[k] <= '~'));
		close(owner);
	}
}

TEST_HARNESS_MAIN
