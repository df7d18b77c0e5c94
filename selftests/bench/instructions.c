// SPDX-License-Identifier: GPL-2.0-only
/*
 * Instructions for each event of the inline fast path, counted by callgrind: unlike
 * time, the same on every run and every machine. native/instructions.sh compares
 * them with bench/instructions.txt. Module and local backend run the same
 * instructions here; this is the local one, as valgrind knows no /dev/scatto.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <scatto.h>

#include <valgrind/callgrind.h>

#define CAPACITY	1024
#define LAPS		16
#define MOST		64	/* bytes of an event */
#define BATCH		32

struct ring {
	struct scatto_producer *p;
	struct scatto_consumer *c;
};

struct operation {
	const char *name;
	unsigned int batch;	/* events each time */
	int (*send)(struct scatto_producer *p, void *ev);
	int (*recv)(struct scatto_consumer *c, void *ev);
};

/* noinline: the call is part of each figure, so nothing is moved out of the loop. */
#define OPERATION static __attribute__((noinline)) int

OPERATION send_one(struct scatto_producer *p, void *ev)
{
	return scatto_try_send(p, ev);
}

OPERATION recv_one(struct scatto_consumer *c, void *ev)
{
	return scatto_try_recv(c, ev);
}

OPERATION send_in_place(struct scatto_producer *p, void *ev)
{
	void *slot;
	int ret = scatto_try_claim(p, &slot);

	if (ret)
		return ret;
	memcpy(slot, ev, 8);
	return scatto_publish(p);
}

OPERATION recv_in_place(struct scatto_consumer *c, void *ev)
{
	int n = scatto_peek(c, 1);

	if (n < 0)
		return n;
	memcpy(ev, scatto_peek_slot(c, 0), 8);
	return scatto_release(c, 1);
}

OPERATION send_many(struct scatto_producer *p, void *ev)
{
	return scatto_try_send_batch(p, ev, BATCH) == BATCH ? 0 : -1;
}

OPERATION recv_many(struct scatto_consumer *c, void *ev)
{
	return scatto_try_recv_batch(c, ev, BATCH) == BATCH ? 0 : -1;
}

OPERATION recv_batch_in_place(struct scatto_consumer *c, void *ev)
{
	int n = scatto_peek(c, BATCH), i;

	if (n != BATCH)
		return -1;
	for (i = 0; i < BATCH; i++)
		memcpy(ev, scatto_peek_slot(c, i), 8);
	return scatto_release(c, BATCH);
}

static const struct operation operations[] = {
	{ "one", 1, send_one, recv_one },
	{ "in-place", 1, send_in_place, recv_in_place },
	{ "batch-32", BATCH, send_many, recv_many },
	{ "batch-32-in-place", BATCH, send_many, recv_batch_in_place },
};

static void die(const char *what, int ret)
{
	fprintf(stderr, "instructions: %s: %s\n", what, strerror(-ret));
	exit(1);
}

static struct ring ring_open(uint32_t kind, uint32_t slot_size)
{
	struct scatto_config cfg = {
		.size = sizeof(cfg),
		.backend = SCATTO_BACKEND_LOCAL,
		.kind = kind,
		.slot_size = slot_size,
		.capacity = CAPACITY,
		.flags = SCATTO_F_PAUSE,
	};
	struct scatto_channel *ch;
	struct ring r;
	int ret = scatto_channel_create(&cfg, &ch);

	if (ret)
		die("scatto_channel_create", ret);
	ret = scatto_producer_attach(ch, &r.p);
	if (!ret)
		ret = scatto_consumer_attach(ch, &r.c);
	if (ret)
		die("attach", ret);
	scatto_channel_free(ch);
	return r;
}

/* Half a ring at a time, each direction counted for itself. */
static void measure(const char *kind, struct ring *r, uint32_t slot_size,
		    const struct operation *op)
{
	static char events[BATCH * MOST], got[BATCH * MOST];
	unsigned int lap, n;
	char name[64];

	for (lap = 0; lap < LAPS; lap++) {
		CALLGRIND_ZERO_STATS;
		CALLGRIND_TOGGLE_COLLECT;
		for (n = 0; n < CAPACITY / 2; n += op->batch)
			if (op->send(r->p, events))
				die("send", -EIO);
		CALLGRIND_TOGGLE_COLLECT;
		/* The first laps have cold limits to fetch; the last is like all after. */
		snprintf(name, sizeof(name), "%s %u send %s", kind, slot_size, op->name);
		if (lap == LAPS - 1)
			CALLGRIND_DUMP_STATS_AT(name);

		CALLGRIND_ZERO_STATS;
		CALLGRIND_TOGGLE_COLLECT;
		for (n = 0; n < CAPACITY / 2; n += op->batch)
			if (op->recv(r->c, got))
				die("recv", -EIO);
		CALLGRIND_TOGGLE_COLLECT;
		/* What it has read is released when it looks for more. */
		op->recv(r->c, got);
		snprintf(name, sizeof(name), "%s %u recv %s", kind, slot_size, op->name);
		if (lap == LAPS - 1)
			CALLGRIND_DUMP_STATS_AT(name);
	}
}

int main(void)
{
	static const uint32_t sizes[] = { 8, 64 };
	unsigned int kind, size, op;

	for (kind = SCATTO_KIND_SPSC; kind <= SCATTO_KIND_MPSC; kind++)
		for (size = 0; size < 2; size++) {
			struct ring r = ring_open(kind, sizes[size]);

			for (op = 0; op < sizeof(operations) / sizeof(operations[0]); op++)
				measure(kind == SCATTO_KIND_SPSC ? "spsc" : "mpsc", &r,
					sizes[size], &operations[op]);
			scatto_producer_close(r.p);
			scatto_consumer_close(r.c);
		}
	return 0;
}
