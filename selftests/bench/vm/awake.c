// SPDX-License-Identifier: GPL-2.0-only
/*
 * What sending costs on a channel whose consumer would sleep but is awake: awake_send, by
 * how the consumer waits. A first event wakes it; it looks away until half a ring has been
 * sent, which is timed, and reads that. That it slept before these bursts, and never in
 * them, is checked. The median burst.
 */
#include "vm.h"

#define SLOTS	1024
#define BURST	(SLOTS / 2)

static struct shared {
	_Atomic bool ready;
	_Atomic bool go;
	_Atomic bool sent;
} *sh;

static struct scatto_channel *ch;

static unsigned int bursts;

static void be_awake(void *strategy)
{
	bool busy = *(uint32_t *)strategy == SCATTO_STRATEGY_BUSY;
	struct scatto_consumer *c;
	uint64_t ev, expect = 0, sleeps;
	unsigned int i;

	pin(1);
	c = consumer(ch, *(uint32_t *)strategy);
	atomic_store(&sh->ready, true);
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
	/* Some events come when it is about to sleep, and looks once more. */
	if (busy ? sleeps : sleeps > bursts || sleeps < bursts - bursts / 10)
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

	ch = channel(SCATTO_BACKEND_KERNEL, SCATTO_KIND_SPSC, 8, SLOTS, 0);
	atomic_store(&sh->ready, false);
	atomic_store(&sh->sent, false);
	pid = spawn(be_awake, &strategy);
	pin(0);
	p = producer(ch, SCATTO_STRATEGY_BUSY);
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
	scatto_channel_free(ch);
	emit(row, rep, BURST * 1e9 / percentile(samples, bursts, 0.5));
}

int main(int argc, char **argv)
{
	unsigned int rep;

	options(argc, argv);
	sh = shared(sizeof(*sh));
	bursts = count(200);
	for (rep = 0; rep < opt.reps; rep++) {
		awake("busy", SCATTO_STRATEGY_BUSY, rep);
		awake("adaptive", SCATTO_STRATEGY_ADAPTIVE, rep);
		awake("block", SCATTO_STRATEGY_BLOCK, rep);
	}
	return 0;
}
