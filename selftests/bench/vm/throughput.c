// SPDX-License-Identifier: GPL-2.0-only
/*
 * Process to process on /dev/scatto, as fast as it goes:
 *
 *	1p1c-process	producer --> ring --> consumer, each spinning on its CPU; one by one,
 *			in batches of 32 both ways, and sent one by one but received all there
 *			is at once (1:all), whose size is told (average_batch)
 *	Np1c-process	several producers on kind MPSC, all yielding, on any CPU
 *
 * And what sending costs on a channel whose consumer would sleep but is awake: awake_send,
 * by how the consumer waits. A first event wakes it; it looks away until half a ring has
 * been sent, which is timed, and reads that. That it slept before each of these bursts,
 * and never in them, is checked. The median burst.
 *
 * Each event says who sent it and how many before; all of it is checked.
 */
#include "vm.h"

#define MAX_BATCH	32
#define MAX_BYTES	4096
#define SLOTS		1024
#define ALL		0

struct event {
	uint32_t source;
	uint32_t nr;
};

static struct shared {
	_Atomic unsigned int ready;
	_Atomic bool go;
	_Atomic bool sent;
} *sh;

static struct run {
	struct scatto_channel *ch;
	uint32_t kind;
	unsigned int producers;
	unsigned int bytes;
	unsigned int batch;		/* ALL: sent one by one */
	unsigned int events;		/* of each producer */
	uint32_t strategy;
	bool pinned;
} run;

static void start_together(void)
{
	atomic_fetch_add(&sh->ready, 1);
	while (!atomic_load(&sh->go))
		if (!run.pinned)
			sched_yield();
}

static void produce(void *arg)
{
	unsigned int source = (uintptr_t)arg, n = run.batch ?: 1, nr, i;
	unsigned char *events = calloc(n, run.bytes);
	struct scatto_producer *p;

	if (run.pinned)
		pin(0);
	p = producer(run.ch, run.strategy);
	start_together();
	for (nr = 0; nr < run.events; nr += n) {
		for (i = 0; i < n; i++) {
			struct event *ev = (void *)(events + i * run.bytes);

			*ev = (struct event){ .source = source, .nr = nr + i };
			memcpy(events + (i + 1) * run.bytes - sizeof(*ev), ev, sizeof(*ev));
		}
		if (n == 1)
			check("send", scatto_send(p, events));
		else
			check("send", scatto_send_batch(p, events, n));
	}
	scatto_producer_close(p);
}

static unsigned int *next_nr;

static void judge(const unsigned char *at)
{
	struct event first, last;

	memcpy(&first, at, sizeof(first));
	memcpy(&last, at + run.bytes - sizeof(last), sizeof(last));
	if (first.source >= run.producers || first.nr != next_nr[first.source]++ ||
	    memcmp(&first, &last, sizeof(first)))
		die("event %u of %u, after %u", first.nr, first.source, next_nr[0]);
}

/* How many calls it took. */
static unsigned int consume(struct scatto_consumer *c, unsigned int events)
{
	static unsigned char buf[MAX_BATCH * MAX_BYTES];
	unsigned int got, calls = 0, i;
	int n;

	for (got = 0; got < events; got += n, calls++) {
		if (run.batch == 1) {
			check("recv", scatto_recv(c, buf));
			n = 1;
		} else if (run.batch) {
			n = check("recv", scatto_recv_batch(c, buf, run.batch));
		} else {
			n = check("wait", scatto_wait_data(c, 1, SCATTO_FOREVER));
			n = check("peek", scatto_peek(c, SLOTS));
		}
		for (i = 0; i < (unsigned int)n; i++)
			judge(run.batch ? buf + i * run.bytes : scatto_peek_slot(c, i));
		if (!run.batch)
			scatto_release(c, n);
	}
	return calls;
}

static void measure(unsigned int rep)
{
	unsigned int all = run.events * run.producers, calls, i;
	struct scatto_consumer *c;
	pid_t pid[run.producers];
	char topology[32];
	uint64_t start;
	double ns;
	struct row row = {
		.measure = "throughput", .topology = topology, .bytes = run.bytes,
		.impl = run.kind == SCATTO_KIND_SPSC ? "scatto" : "scatto-mpsc",
		.batch = run.batch == ALL ? "1:all" : run.batch == 1 ? "1" : "32",
		.slots = SLOTS, .regime = run.pinned ? "fills" : "fills-yield", .unit = "events/s",
	};

	run.ch = channel(SCATTO_BACKEND_KERNEL, run.kind, run.bytes, SLOTS,
			 run.kind == SCATTO_KIND_MPSC ? run.producers : 1);
	c = consumer(run.ch, run.strategy);
	next_nr = calloc(run.producers, sizeof(*next_nr));
	atomic_store(&sh->ready, 0);
	atomic_store(&sh->go, false);
	for (i = 0; i < run.producers; i++)
		pid[i] = spawn(produce, (void *)(uintptr_t)i);
	if (run.pinned)
		pin(1);
	while (atomic_load(&sh->ready) != run.producers)
		sched_yield();

	start = now_ns();
	atomic_store(&sh->go, true);
	calls = consume(c, all);
	ns = now_ns() - start;

	for (i = 0; i < run.producers; i++)
		reap(pid[i]);
	if (consumer_info(c).published != all)
		die("more has been published than was sent");
	scatto_consumer_close(c);
	scatto_channel_free(run.ch);
	free(next_nr);
	snprintf(topology, sizeof(topology), "%up1c-process", run.producers);
	emit(row, rep, all * 1e9 / ns);
	if (run.batch == ALL) {
		row.measure = "average_batch";
		row.unit = "events";
		emit(row, rep, (double)all / calls);
	}
}

/* A size's share of the events, so that no run is long. */
static unsigned int events_of(unsigned int bytes)
{
	unsigned int events = count(bytes <= 64 ? 1 << 20 : (64 << 20) / bytes);

	return events / MAX_BATCH * MAX_BATCH;
}

static void one_to_one(unsigned int rep)
{
	static const unsigned int sizes[] = { 8, 64, 256, 1024, MAX_BYTES };
	static const unsigned int batches[] = { 1, MAX_BATCH, ALL };
	unsigned int i, j;

	run = (struct run){ .producers = 1, .strategy = SCATTO_STRATEGY_BUSY, .pinned = true };
	for (i = 0; i < ARRAY_LEN(sizes); i += opt.quick ? 3 : 1) {
		for (j = 0; j < ARRAY_LEN(batches); j++) {
			run.bytes = sizes[i];
			run.batch = batches[j];
			run.events = events_of(run.bytes);
			run.kind = SCATTO_KIND_SPSC;
			measure(rep);
			run.kind = SCATTO_KIND_MPSC;
			measure(rep);
		}
	}
}

static void many_to_one(unsigned int rep)
{
	static const unsigned int producers[] = { 1, 2, 4, 16, 64 };
	unsigned int i;

	run = (struct run){ .kind = SCATTO_KIND_MPSC, .strategy = SCATTO_STRATEGY_YIELD };
	for (i = 0; i < ARRAY_LEN(producers); i += opt.quick ? 3 : 1) {
		run.producers = producers[i];
		for (run.bytes = 8; run.bytes <= 64; run.bytes += 56) {
			for (run.batch = 1; run.batch <= MAX_BATCH; run.batch += MAX_BATCH - 1) {
				run.events = count(1 << 18) / producers[i] / MAX_BATCH * MAX_BATCH;
				measure(rep);
			}
		}
	}
}

#define BURST	(SLOTS / 2)

static unsigned int bursts;

static void be_awake(void *unused)
{
	struct scatto_consumer *c;
	uint64_t ev, expect = 0, sleeps;
	unsigned int i;

	pin(1);
	c = consumer(run.ch, run.strategy);
	atomic_fetch_add(&sh->ready, 1);
	while (expect < bursts * (1 + BURST)) {
		check("recv", scatto_recv(c, &ev));
		atomic_store(&sh->go, true);
		while (!atomic_load(&sh->sent))
			;
		for (i = 0; i < BURST && ev == expect; i++, expect++)
			check("recv", scatto_recv(c, &ev));
		if (ev != expect++)
			die("got %ju, not %ju", (uintmax_t)ev, (uintmax_t)expect - 1);
		atomic_store(&sh->sent, false);
	}
	sleeps = consumer_info(c).data_sleeps;
	if (sleeps != (run.strategy == SCATTO_STRATEGY_BUSY ? 0 : bursts))
		die("slept %ju times in %u bursts", (uintmax_t)sleeps, bursts);
	scatto_consumer_close(c);
}

static void awake(const char *impl, uint32_t strategy, unsigned int rep)
{
	struct row row = {
		.measure = "awake_send", .impl = impl, .topology = "1p1c-process", .bytes = 8,
		.slots = SLOTS, .regime = "flows", .unit = "events/s",
	};
	struct scatto_producer *p;
	uint64_t ev = 0, start, samples[bursts];
	unsigned int i, j;
	pid_t pid;

	run.strategy = strategy;
	run.ch = channel(SCATTO_BACKEND_KERNEL, SCATTO_KIND_SPSC, 8, SLOTS, 0);
	atomic_store(&sh->ready, 0);
	atomic_store(&sh->sent, false);
	pid = spawn(be_awake, NULL);
	pin(0);
	p = producer(run.ch, SCATTO_STRATEGY_BUSY);
	while (!atomic_load(&sh->ready))
		usleep(100);
	for (i = 0; i < bursts; i++) {
		/* Where it spins our sleep is the same, and its is none. */
		if (strategy == SCATTO_STRATEGY_BUSY)
			usleep(100);
		else
			until_asleep(pid);
		atomic_store(&sh->go, false);
		check("send", scatto_send(p, &ev));
		ev++;
		while (!atomic_load(&sh->go))
			;
		start = now_ns();
		for (j = 0; j < BURST; j++, ev++)
			check("send", scatto_send(p, &ev));
		samples[i] = now_ns() - start;
		atomic_store(&sh->sent, true);
		while (atomic_load(&sh->sent))
			;
	}
	reap(pid);
	scatto_producer_close(p);
	scatto_channel_free(run.ch);
	emit(row, rep, BURST * 1e9 / percentile(samples, bursts, 0.5));
}

int main(int argc, char **argv)
{
	unsigned int rep;

	options(argc, argv);
	sh = shared(sizeof(*sh));
	bursts = count(200);
	for (rep = 0; rep < opt.reps; rep++) {
		one_to_one(rep);
		many_to_one(rep);
		awake("busy", SCATTO_STRATEGY_BUSY, rep);
		awake("adaptive", SCATTO_STRATEGY_ADAPTIVE, rep);
		awake("block", SCATTO_STRATEGY_BLOCK, rep);
	}
	return 0;
}
