// SPDX-License-Identifier: GPL-2.0-only
/*
 * What grows with what, in one process on one CPU:
 *
 *	attach_time	create a channel, attach a producer and a consumer, map all of it;
 *			with producers: attach one more of them
 *	memory		that the module charges for one channel
 *	system_memory	that is gone from the system, for each of many channels
 *	event_cost	send and receive one event, in turns of up to 64
 *
 * as slots, event size, idle producers of the same channel and idle channels grow: the
 * regime names what does. With --instructions the clock counts instructions, and the same
 * is measured on the local backend (scatto-local).
 */
#include "vm.h"

#define BYTES	64
#define SLOTS	1024
#define TURN	64

struct link {
	struct scatto_channel *ch;
	struct scatto_producer *p;
	struct scatto_consumer *c;
};

static struct row row(const char *measure, uint32_t backend, uint32_t kind, unsigned int bytes,
		      unsigned int slots, const char *regime)
{
	return (struct row){
		.measure = measure, .topology = "one-cpu", .bytes = bytes, .slots = slots,
		.impl = kind == SCATTO_KIND_MPSC ? "scatto-mpsc" :
			backend == SCATTO_BACKEND_LOCAL ? "scatto-local" : "scatto",
		.regime = regime, .unit = "ns",
	};
}

/* How long it took. */
static uint64_t link_open(struct link *l, uint32_t backend, uint32_t kind, unsigned int bytes,
			  unsigned int slots)
{
	uint64_t start = now_ns();

	l->ch = channel(backend, kind, bytes, slots, 0);
	l->p = producer(l->ch, SCATTO_STRATEGY_BUSY);
	l->c = consumer(l->ch, SCATTO_STRATEGY_BUSY);
	return now_ns() - start;
}

static void link_close(struct link *l)
{
	scatto_producer_close(l->p);
	scatto_consumer_close(l->c);
	scatto_channel_free(l->ch);
}

static double cost(struct link *l, unsigned int bytes, unsigned int slots)
{
	unsigned int events = count(1 << 18), turn = slots < TURN ? slots : TURN, i, j;
	uint64_t start, *buf = calloc(1, bytes), sent = 0, got = 0;

	events /= bytes / 256 + 1;
	start = now_ns();
	for (i = 0; i < events; i += turn) {
		for (j = 0; j < turn; j++) {
			buf[0] = sent++;
			check("send", scatto_try_send(l->p, buf));
		}
		for (j = 0; j < turn; j++) {
			check("recv", scatto_try_recv(l->c, buf));
			if (buf[0] != got++)
				die("got %ju, not %ju", (uintmax_t)buf[0], (uintmax_t)got - 1);
		}
	}
	start = now_ns() - start;
	free(buf);
	return (double)start / sent;
}

static void emit_memory(struct row r, struct link *l, unsigned int rep)
{
	r.measure = "memory";
	r.unit = "bytes";
	emit(r, rep, consumer_info(l->c).bytes);
}

static double available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long kib;

	if (!file || fscanf(file, "%*[^\n] %*[^\n] MemAvailable: %lu", &kib) != 1)
		die("/proc/meminfo is not as it should be");
	fclose(file);
	return kib * 1024.0;
}

/* One channel of these measures. */
static void one(uint32_t backend, uint32_t kind, unsigned int bytes, unsigned int slots,
		const char *regime, unsigned int rep)
{
	struct row r = row("attach_time", backend, kind, bytes, slots, regime);
	struct link l;

	emit(r, rep, link_open(&l, backend, kind, bytes, slots));
	r.measure = "event_cost";
	emit(r, rep, cost(&l, bytes, slots));
	if (backend == SCATTO_BACKEND_KERNEL)
		emit_memory(r, &l, rep);
	link_close(&l);
}

static void by_size(uint32_t kind, unsigned int rep)
{
	static const unsigned int log_slots[] = { 1, 6, 10, 16, 20 };
	unsigned int i, n;

	for (i = 0; i < ARRAY_LEN(log_slots) - opt.quick; i++)
		one(SCATTO_BACKEND_KERNEL, kind, BYTES, 1 << log_slots[i], "slots", rep);
	for (n = 8; n <= 4096; n *= 8)
		one(SCATTO_BACKEND_KERNEL, kind, n, SLOTS, "bytes", rep);
}

/* Attached, and doing nothing. */
static void by_producers(unsigned int rep)
{
	struct row r = row(NULL, SCATTO_BACKEND_KERNEL, SCATTO_KIND_MPSC, BYTES, SLOTS, NULL);
	struct scatto_producer *more[64];
	unsigned int n = 1, to;
	char regime[32];
	struct link l;

	r.regime = regime;
	link_open(&l, SCATTO_BACKEND_KERNEL, SCATTO_KIND_MPSC, BYTES, SLOTS);
	for (to = 1; to <= ARRAY_LEN(more); to *= 4) {
		uint64_t start = now_ns();
		unsigned int from = n;

		for (; n < to; n++)
			more[n] = producer(l.ch, SCATTO_STRATEGY_BUSY);
		snprintf(regime, sizeof(regime), "producers-%u", n);
		r.measure = "attach_time";
		if (n != from)
			emit(r, rep, (double)(now_ns() - start) / (n - from));
		r.measure = "event_cost";
		emit(r, rep, cost(&l, BYTES, SLOTS));
		emit_memory(r, &l, rep);
	}
	while (--n)
		scatto_producer_close(more[n]);
	link_close(&l);
}

static void by_channels(unsigned int rep)
{
	unsigned int most = opt.quick ? 100 : 10000, n = 0, to;
	struct link *links = calloc(most, sizeof(*links));
	struct row r = row(NULL, SCATTO_BACKEND_KERNEL, SCATTO_KIND_SPSC, BYTES, 64, NULL);
	char regime[32];

	r.regime = regime;
	/* What was closed before is given back after a while. */
	usleep(500000);
	for (to = 1; to <= most; to *= 10) {
		double before = available();
		unsigned int from = n;
		uint64_t ns = 0;

		for (; n < to; n++)
			ns += link_open(&links[n], SCATTO_BACKEND_KERNEL, SCATTO_KIND_SPSC,
					BYTES, 64);
		snprintf(regime, sizeof(regime), "channels-%u", n);
		r.measure = "attach_time";
		emit(r, rep, (double)ns / (n - from));
		r.measure = "event_cost";
		emit(r, rep, cost(&links[0], BYTES, 64));
		emit_memory(r, &links[0], rep);
		/* Fewer are lost in what else comes and goes. */
		if (n < 10000)
			continue;
		r.measure = "system_memory";
		r.unit = "bytes";
		emit(r, rep, (before - available()) / (n - from));
		r.unit = "ns";
	}
	while (n--)
		link_close(&links[n]);
	free(links);
}

int main(int argc, char **argv)
{
	unsigned int rep;

	options(argc, argv);
	pin(0);
	for (rep = 0; rep < opt.reps; rep++) {
		if (opt.instructions) {
			one(SCATTO_BACKEND_KERNEL, SCATTO_KIND_SPSC, 8, SLOTS, "fast-path", rep);
			one(SCATTO_BACKEND_LOCAL, SCATTO_KIND_SPSC, 8, SLOTS, "fast-path", rep);
			continue;
		}
		by_size(SCATTO_KIND_SPSC, rep);
		by_size(SCATTO_KIND_MPSC, rep);
		by_producers(rep);
		by_channels(rep);
	}
	return 0;
}
