// SPDX-License-Identifier: GPL-2.0-only
/* perf's ring buffer: each event a sample that holds the tracepoint's record. */
#include <linux/perf_event.h>

#include "stream.h"

#define ID	"/sys/kernel/tracing/events/scatto_bench/scatto_bench_event/id"

/* PERF_RECORD_SAMPLE with PERF_SAMPLE_RAW only. */
struct sample {
	struct perf_event_header header;
	uint32_t size;
	unsigned char raw[];
};

static int fd = -1;
static struct perf_event_mmap_page *meta;
static unsigned char *data;
static uint64_t size;

void perf_close(void)
{
	munmap(meta, size + sysconf(_SC_PAGESIZE));
	close(fd);
}

static int event_id(__u64 *id)
{
	FILE *file = fopen(ID, "re");
	int n;

	if (!file)
		return -errno;
	n = fscanf(file, "%llu", id);
	fclose(file);
	return n == 1 ? 0 : -EINVAL;
}

int perf_open(const struct stream *s, uint32_t slots, bool wakes)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_TRACEPOINT, .sample_period = 1,
		.sample_type = PERF_SAMPLE_RAW, .wakeup_events = wakes ? 1 : UINT32_MAX,
	};
	long page = sysconf(_SC_PAGESIZE);
	int ret;

	ret = event_id(&attr.config);
	if (ret)
		return ret;
	size = buffer_bytes(slots);
	fd = syscall(SYS_perf_event_open, &attr, -1, STREAM_CPU, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	meta = mmap(NULL, page + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (meta == MAP_FAILED) {
		close(fd);
		return -errno;
	}
	data = (unsigned char *)meta + page;
	return 0;
}

/* Records are contiguous but for the one at the end of the buffer. */
static void take(uint64_t tail, uint16_t length)
{
	union {
		struct sample sample;
		unsigned char bytes[sizeof(struct sb_record) + 64];
	} copy;
	const struct sample *sample = (void *)(data + (tail & (size - 1)));
	uint64_t left = size - (tail & (size - 1));
	struct sb_record record;

	if (length > left) {
		if (length > sizeof(copy))
			die("perf: a record of %u bytes", length);
		memcpy(copy.bytes, sample, left);
		memcpy(copy.bytes + left, data, length - left);
		sample = &copy.sample;
	}
	/* The record comes after the fields that all trace events have. */
	memcpy(&record, sample->raw + 8, sizeof(record));
	received(&record);
}

void perf_drain(void)
{
	uint64_t head = __atomic_load_n(&meta->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = meta->data_tail;

	while (tail != head) {
		const struct perf_event_header *header = (void *)(data + (tail & (size - 1)));

		if (header->type == PERF_RECORD_SAMPLE)
			take(tail, header->size);
		tail += header->size;
	}
	__atomic_store_n(&meta->data_tail, tail, __ATOMIC_RELEASE);
}

void perf_wait(int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	poll(&p, 1, ms);
}
