// SPDX-License-Identifier: GPL-2.0-only
/*
 * What waiting costs, and how soon it ends: a producer on one CPU sends events at a
 * fixed rate, a consumer on the other waits for each in one of the library's ways.
 *
 *	latency_p50, latency_p99	from when an event was due until the consumer has it
 *	consumer_cpu			share of a CPU that the consumer uses
 */
#include "vm.h"

#define SLOTS	1024

static const struct {
	const char *name;
	uint32_t strategy;
} strategies[] = {
	{ "busy", SCATTO_STRATEGY_BUSY },
	{ "spin", SCATTO_STRATEGY_SPIN },
	{ "yield", SCATTO_STRATEGY_YIELD },
	{ "backoff", SCATTO_STRATEGY_BACKOFF },
	{ "adaptive", SCATTO_STRATEGY_ADAPTIVE },
	{ "block", SCATTO_STRATEGY_BLOCK },
};

static struct run {
	struct scatto_channel *ch;
	unsigned int events;
	unsigned int rate;
	unsigned int which;
	unsigned int rep;
} run;

static void report(uint64_t *samples, double cpu_share)
{
	struct row row = {
		.impl = strategies[run.which].name, .topology = "1p1c-process", .bytes = 8,
		.slots = SLOTS, .unit = "ns",
	};
	char regime[32];

	snprintf(regime, sizeof(regime), "paced-%u", run.rate);
	row.regime = regime;
	row.measure = "latency_p50";
	emit(row, run.rep, percentile(samples, run.events, 0.5));
	row.measure = "latency_p99";
	emit(row, run.rep, percentile(samples, run.events, 0.99));
	row.measure = "consumer_cpu";
	row.unit = "percent";
	emit(row, run.rep, cpu_share * 100);
}

static void consume(void *unused)
{
	uint64_t *samples = calloc(run.events, sizeof(*samples));
	struct scatto_consumer *c;
	uint64_t due, now, last = 0, start = 0;
	double used = 0;
	unsigned int i;

	pin(1);
	c = consumer(run.ch, strategies[run.which].strategy);
	for (i = 0; i < run.events; i++) {
		check("recv", scatto_recv(c, &due));
		now = now_ns();
		if (due > now || due <= last)
			die("due at %ju, received at %ju", (uintmax_t)due, (uintmax_t)now);
		samples[i] = now - due;
		last = due;
		if (!i) {
			start = now;
			used = cpu_ns(RUSAGE_SELF);
		}
	}
	report(samples, (cpu_ns(RUSAGE_SELF) - used) / (now_ns() - start));
	scatto_consumer_close(c);
}

static void measure(void)
{
	struct scatto_producer *p;
	unsigned int i;
	uint64_t due;
	pid_t pid;

	run.ch = channel(SCATTO_BACKEND_KERNEL, SCATTO_KIND_SPSC, 8, SLOTS, 0);
	pid = spawn(consume, NULL);
	pin(0);
	p = producer(run.ch, SCATTO_STRATEGY_BUSY);
	usleep(20000);
	due = now_ns();
	for (i = 0; i < run.events; i++) {
		while (now_ns() < due)
			;
		check("send", scatto_send(p, &due));
		due += 1000000000 / run.rate;
	}
	reap(pid);
	scatto_producer_close(p);
	scatto_channel_free(run.ch);
}

int main(int argc, char **argv)
{
	static const unsigned int rates[] = { 1000, 10000 };
	unsigned int i;

	options(argc, argv);
	for (run.rep = 0; run.rep < opt.reps; run.rep++) {
		for (i = 0; i < ARRAY_LEN(rates); i++) {
			run.rate = rates[i];
			run.events = rates[i] / (opt.quick ? 10 : 2);
			for (run.which = 0; run.which < ARRAY_LEN(strategies); run.which++)
				measure();
		}
	}
	return 0;
}
