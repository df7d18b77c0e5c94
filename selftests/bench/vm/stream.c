// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel to user: one tracepoint, fired in a loop in the kernel, and those who record
 * it for a process: scatto, BPF ring buffer, perf ring buffer, relayfs. A program and a
 * module for each size of records, SB_WORDS. Only that of 64 bytes measures what is lost
 * at given rates, and the idle consumer.
 *
 *	producer_cost	ns of the loop per event beyond those without a probe, on one CPU:
 *			"stored" while there is room and nobody reads, "full" while there is
 *			none, "flows" while a consumer on another CPU spins
 *	consumer_cost	ns per event of reading what is stored, system calls included
 *	consumer_rate	"drain": the same as events/s; "flows": of what is fired as fast as it goes
 *	lost		share of the events, in "flows" and at given rates to a consumer that
 *			sleeps; ring of 64 KiB
 *	idle_cpu	of a consumer that sleeps, with no event at all and 1000 a second
 *
 * With --instructions the clock counts instructions, and only the costs on one CPU are
 * measured.
 */
#include "stream.h"

/* Not more than 4 MiB. */
#define SLOTS		(SB_WORDS <= 32 ? 16384u : (4u << 20) / (8 * SB_WORDS))
#define SLOTS_PACED	1024
#define BURST		(SLOTS / 2)
#define PATIENCE	10	/* ms: some wake late, or never */

int bench_fd;
struct received got;

static uint64_t seq = 1;

int stream_attach(uint32_t probe, uint32_t slots)
{
	struct sb_attach arg = { .probe = probe, .slots = slots };

	return ioctl(bench_fd, SB_IOC_ATTACH, &arg) ? -errno : 0;
}

static struct scatto_consumer *cons;

static int scatto_open(const struct stream *s, uint32_t slots, bool wakes)
{
	check("attach", stream_attach(s->probe, slots));
	check("consumer", scatto_consumer_open(SB_CHANNEL, &cons));
	scatto_consumer_set_wait(cons, SCATTO_STRATEGY_BLOCK);
	return 0;
}

static void scatto_drain(void)
{
	int n, i;

	while ((n = scatto_peek(cons, 256)) > 0) {
		for (i = 0; i < n; i++)
			received(scatto_peek_slot(cons, i));
		scatto_release(cons, n);
	}
	if (n != -EAGAIN)
		check("peek", n);
}

static void scatto_wait(int ms)
{
	int ret = scatto_wait_data(cons, 1, scatto_deadline(ms * 1000000ULL));

	if (ret != -ETIMEDOUT)
		check("wait", ret);
}

static void scatto_close(void)
{
	scatto_consumer_close(cons);
	stream_attach(SB_NONE, 0);
}

static int probe_open(const struct stream *s, uint32_t slots, bool wakes)
{
	return stream_attach(s->probe, 0);
}

static void probe_close(void)
{
	stream_attach(SB_NONE, 0);
}

/* The first is the loop itself. */
static const struct stream streams[] = {
	{ "no-probe", SB_NONE, NULL, probe_open, NULL, NULL, probe_close },
	{ "empty-probe", SB_EMPTY, NULL, probe_open, NULL, NULL, probe_close },
	{ "bpf-empty", 0, "nothing", bpf_open, NULL, NULL, bpf_close },
	{ "scatto", SB_SCATTO, NULL, scatto_open, scatto_drain, scatto_wait, scatto_close },
	{ "scatto-send", SB_SCATTO_SEND, NULL, scatto_open, scatto_drain, scatto_wait,
	  scatto_close },
	{ "bpf-ringbuf", 0, "ringbuf", bpf_open, bpf_drain, bpf_wait, bpf_close },
	{ "bpf-ringbuf-quiet", 0, "ringbuf_quiet", bpf_open, bpf_drain, NULL, bpf_close },
	{ "perf", 0, NULL, perf_open, perf_drain, perf_wait, perf_close },
	{ "relayfs", SB_RELAY, NULL, relay_open, relay_drain, relay_wait, relay_close },
};

static bool missing[ARRAY_LEN(streams)];
static double loop_ns;

static uint64_t fire(uint64_t n, uint64_t gap_ns)
{
	struct sb_fire arg = { .first = seq, .count = n, .gap_ns = gap_ns };

	check_errno("fire", ioctl(bench_fd, SB_IOC_FIRE, &arg));
	seq += n;
	return arg.ns;
}

static struct row row(const struct stream *s, const char *measure, uint32_t slots,
		      const char *regime, const char *unit)
{
	return (struct row){
		.measure = measure, .impl = s->name, .topology = "kernel-user",
		.bytes = sizeof(struct sb_record), .batch = "1:all",
		.slots = slots, .regime = regime, .unit = unit,
	};
}

static void emit_cost(const struct stream *s, const char *regime, unsigned int rep, double ns)
{
	emit(row(s, "producer_cost", SLOTS, regime, "ns"), rep, ns);
}

/* All on one CPU: fire, then read. The median burst. */
static void measure_cost(const struct stream *s, unsigned int rep)
{
	unsigned int bursts = opt.instructions ? 5 : count(50), i;
	uint64_t fired[bursts], read[bursts], start;
	double ns;

	pin(STREAM_CPU);
	got.n = 0;
	for (i = 0; i < bursts; i++) {
		fired[i] = fire(BURST, 0);
		start = now_ns();
		if (s->drain)
			s->drain();
		read[i] = now_ns() - start;
	}
	if (s->drain && got.n != bursts * BURST)
		die("%s: %ju of %u events", s->name, (uintmax_t)got.n, bursts * BURST);
	ns = (double)percentile(fired, bursts, 0.5) / BURST;
	if (s == streams)
		loop_ns = ns;
	emit_cost(s, "stored", rep, s == streams ? ns : ns - loop_ns);
	if (!s->drain)
		return;
	ns = (double)percentile(read, bursts, 0.5) / BURST;
	emit(row(s, "consumer_cost", SLOTS, "drain", "ns"), rep, ns);
	if (!opt.instructions)
		emit(row(s, "consumer_rate", SLOTS, "drain", "events/s"), rep, 1e9 / ns);

	fire(2 * SLOTS, 0);
	emit_cost(s, "full", rep, (double)fire(BURST, 0) / BURST - loop_ns);
	s->drain();
}

struct firing {
	uint64_t n;
	uint64_t gap_ns;
	uint64_t ns;
	uint64_t begin;
	_Atomic bool done;
};

static void *firing_main(void *arg)
{
	struct firing *f = arg;

	pin(STREAM_CPU);
	f->begin = now_ns();
	f->ns = fire(f->n, f->gap_ns);
	atomic_store(&f->done, true);
	return NULL;
}

/* Fires from a thread on the one CPU and receives on the other; how long it took. */
static uint64_t flow(const struct stream *s, struct firing *f, bool spin)
{
	pthread_t thread;
	uint64_t before;
	bool done;

	got.n = 0;
	pin(STREAM_CPU + 1);
	check("thread", -pthread_create(&thread, NULL, firing_main, f));
	do {
		done = atomic_load(&f->done);
		before = got.n;
		if (!spin && !done)
			s->wait(PATIENCE);
		s->drain();
	} while (!done || got.n != before);
	pthread_join(thread, NULL);
	return now_ns() - f->begin;
}

static double lost(const struct firing *f)
{
	if (got.n > f->n)
		die("more events than were fired");
	return (f->n - got.n) * 100.0 / f->n;
}

/* The median of several flows, of which a busy host spoils some. */
static void measure_flows(const struct stream *s, unsigned int rep)
{
	unsigned int flows = opt.quick ? 5 : 15, i;
	uint64_t fired[flows], rate[flows];
	double share = 0;

	for (i = 0; i < flows; i++) {
		struct firing f = { .n = 3 * SLOTS };
		uint64_t ns = flow(s, &f, true);

		fired[i] = f.ns;
		rate[i] = got.n * 1000000000 / ns;
		share += lost(&f) / flows;
	}
	emit_cost(s, "flows", rep, (double)percentile(fired, flows, 0.5) / (3 * SLOTS) - loop_ns);
	emit(row(s, "consumer_rate", SLOTS, "flows", "events/s"), rep,
	     percentile(rate, flows, 0.5));
	emit(row(s, "lost", SLOTS, "flows", "percent"), rep, share);
}

static void measure_paced(const struct stream *s, unsigned int rep)
{
	static const unsigned int rates[] = { 100000, 500000, 1000000, 2000000 };
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(rates); i++) {
		struct firing f = { .n = rates[i] / (opt.quick ? 50 : 5),
				    .gap_ns = 1000000000 / rates[i] };
		char regime[32];

		flow(s, &f, false);
		snprintf(regime, sizeof(regime), "paced-%u", rates[i]);
		emit(row(s, "lost", SLOTS_PACED, regime, "percent"), rep, lost(&f));
	}
}

static void measure_idle(const struct stream *s, unsigned int rep)
{
	unsigned int ms = opt.quick ? 100 : 500, rate;

	for (rate = 0; rate <= 1000; rate += 1000) {
		struct firing f = { .n = rate * ms / 1000, .gap_ns = 1000000 };
		uint64_t start = now_ns(), end = start + ms * 1000000ULL;
		double used = cpu_ns(RUSAGE_THREAD);

		if (rate)
			flow(s, &f, false);
		else
			while (now_ns() < end)
				s->wait(ms);
		if (rate && got.n != f.n)
			die("%s: %ju of %ju events", s->name, (uintmax_t)got.n, (uintmax_t)f.n);
		emit(row(s, "idle_cpu", SLOTS_PACED, rate ? "paced-1000" : "idle", "percent"),
		     rep, (cpu_ns(RUSAGE_THREAD) - used) * 100 / (now_ns() - start));
	}
}

static bool opened(const struct stream *s, uint32_t slots, bool wakes)
{
	int ret = s->open(s, slots, wakes);

	if (!ret)
		return true;
	missing[s - streams] = true;
	fprintf(stderr, "not measured: %s (%s)\n", s->name,
		ret == -ENOPKG ? "needs clang and libbpf-dev" : strerror(-ret));
	return false;
}

static void measure(const struct stream *s, unsigned int rep)
{
	if (missing[s - streams] || !opened(s, SLOTS, false))
		return;
	measure_cost(s, rep);
	if (s->drain && !opt.instructions)
		measure_flows(s, rep);
	s->close();
	if (SB_WORDS != 8 || !s->wait || opt.instructions || !opened(s, SLOTS_PACED, true))
		return;
	measure_paced(s, rep);
	measure_idle(s, rep);
	s->close();
}

int main(int argc, char **argv)
{
	const struct stream *s;
	unsigned int rep;

	options(argc, argv);
	bench_fd = check_errno("/dev/scatto_bench", open("/dev/scatto_bench", O_RDWR | O_CLOEXEC));
	for (rep = 0; rep < opt.reps; rep++)
		for (s = streams; s < streams + ARRAY_LEN(streams); s++)
			measure(s, rep);
	return 0;
}
