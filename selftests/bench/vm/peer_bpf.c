// SPDX-License-Identifier: GPL-2.0-only
/* BPF ring buffer through libbpf, with the programs of ringbuf.bpf.c. */
#include "stream.h"

#ifdef WITH_LIBBPF
#include <bpf/libbpf.h>

/* In the folder of the program. */
#define OBJECT	"ringbuf.bpf.o"

static struct bpf_object *object;
static struct bpf_link *attached;
static struct ring_buffer *ring;

static int on_record(void *arg, void *record, size_t size)
{
	received(record);
	return 0;
}

void bpf_close(void)
{
	bpf_link__destroy(attached);
	ring_buffer__free(ring);
	bpf_object__close(object);
	attached = NULL;
	ring = NULL;
	object = NULL;
}

static int load(const char *name, uint32_t bytes)
{
	struct bpf_program *program;
	struct bpf_map *map;

	object = bpf_object__open_file(OBJECT, NULL);
	if (!object)
		return -errno;
	map = bpf_object__find_map_by_name(object, "ring");
	program = bpf_object__find_program_by_name(object, name);
	if (!map || !program)
		return -ENOENT;
	if (bpf_map__set_max_entries(map, bytes) || bpf_object__load(object))
		return -errno;
	ring = ring_buffer__new(bpf_map__fd(map), on_record, NULL, NULL);
	if (!ring)
		return -errno;
	attached = bpf_program__attach(program);
	return attached ? 0 : -errno;
}

int bpf_open(const struct stream *s, uint32_t slots, bool wakes)
{
	int ret = load(s->program, buffer_bytes(slots));

	if (ret)
		bpf_close();
	return ret;
}

void bpf_drain(void)
{
	check("ring_buffer__consume", ring_buffer__consume(ring));
}

void bpf_wait(int ms)
{
	int ret = ring_buffer__poll(ring, ms);

	if (ret != -EINTR)
		check("ring_buffer__poll", ret);
}
#else
int bpf_open(const struct stream *s, uint32_t slots, bool wakes)
{
	return -ENOPKG;
}

void bpf_drain(void)
{
}

void bpf_wait(int ms)
{
}

void bpf_close(void)
{
}
#endif
