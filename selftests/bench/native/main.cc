// SPDX-License-Identifier: GPL-2.0-only
/*
 * scatto beside its peers on this machine; or in a VM the module beside those that work
 * between processes, with --device.
 *
 * A matrix of all sizes, batches, rings, loads and topologies would take days. So one
 * of them changes at a time, from a point that all tables have in common: 64 bytes, one
 * by one, 1024 slots, both sides flat out, two pinned threads. The bars' 8 bytes are a
 * second such point.
 *
 * In a case, each repetition runs all contenders before the next one does, so that what
 * else the machine does hits all alike. How many events a run has is found out for each
 * of them beforehand, so that all runs take about the same time.
 */
#include <fcntl.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "bench.hh"
#include "clock.hh"
#include "parties.hh"

namespace {

using namespace bench;

struct Options {
	const char *csv = nullptr;
	const char *only = nullptr;	/* contender */
	const char *measure = nullptr;
	unsigned int repetitions = 7;
	double seconds = 0.1;
	bool quick = false, smoke = false, device = false;
} opt;

constexpr Case kBase;

constexpr Case with_bytes(Case c, unsigned int bytes)
{
	c.bytes = bytes;
	return c;
}

constexpr Case with_batch(Case c, unsigned int send, unsigned int receive)
{
	c.send = send;
	c.receive = receive;
	return c;
}

constexpr Case with_slots(Case c, unsigned int slots)
{
	c.slots = slots;
	return c;
}

constexpr Case with_producers(Case c, unsigned int producers)
{
	c.producers = producers;
	return c;
}

constexpr Case with_regime(Case c, Regime regime, unsigned int rate = 0)
{
	c.regime = regime;
	c.rate = rate;
	return c;
}

constexpr Case alone(Case c)
{
	c.alone = true;
	return c;
}

constexpr Case with_measure(Case c, Measure measure)
{
	c.measure = measure;
	return c;
}

/* Two processes, with as many slots as all can have (iceoryx). */
constexpr Case with_processes(Case c)
{
	c.processes = true;
	return with_slots(c, 256);
}

const Case kSmall = with_bytes(kBase, 8);

/* Of one kind of queues. */
std::vector<Case> matrix(bool many)
{
	const Case trip = with_measure(kBase, Measure::round_trip);
	const unsigned int rate = opt.device ? 50000 : 1000000;
	const Case paced = with_regime(with_measure(kBase, Measure::latency), Regime::paced, rate);
	const Case setup = with_measure(kBase, Measure::setup);
	std::vector<Case> list;

	auto add = [&](Case c) {
		/* There all are processes anyway. */
		if (opt.device && c.processes)
			return;
		c.processes |= opt.device;
		c.many = many;
		list.push_back(c);
	};
	if (opt.smoke) {
		add(kSmall);
		add(kBase);
		add(with_batch(kBase, 32, 32));
		add(with_batch(kBase, 1, kAll));
		add(with_processes(kBase));
		add(with_bytes(trip, 8));
		add(with_processes(with_bytes(trip, 8)));
		add(paced);
		add(setup);
		if (many)
			add(with_producers(kSmall, 3));
		return list;
	}

	add(kBase);
	/* A glance at the VM, where all takes its time. */
	if (opt.quick && opt.device) {
		if (!many) {
			add(with_batch(kBase, 32, 32));
			add(with_bytes(trip, 8));
			add(paced);
		}
		return list;
	}
	add(with_batch(kBase, 32, 32));
	add(kSmall);
	add(with_batch(kBase, 1, kAll));
	if (!opt.quick) {
		for (unsigned int bytes : {256, 1024, 4096})
			add(with_bytes(kBase, bytes));
		add(with_batch(kBase, 8, 8));
		add(with_batch(kBase, 128, 128));
		add(with_batch(kSmall, 1, kAll));
		add(with_batch(kSmall, 32, 32));
		for (unsigned int slots : {64, 65536})
			add(with_slots(kBase, slots));
		add(with_regime(kBase, Regime::fills));
		add(with_regime(kBase, Regime::flows));
		add(with_processes(kSmall));
		add(with_processes(with_batch(kBase, 32, 32)));
	}
	if (!opt.quick || !many)
		add(with_processes(kBase));

	add(with_bytes(trip, 8));
	if (!opt.quick) {
		add(trip);
		add(with_processes(with_bytes(trip, 8)));
		add(with_processes(trip));
	}
	add(paced);
	if (!opt.quick) {
		if (!opt.device) {
			add(with_regime(paced, Regime::paced, rate / 10));
			add(with_regime(paced, Regime::paced, 4 * rate));
		}
		add(with_processes(paced));
	}

	if (many) {
		add(with_producers(kSmall, 4));
		if (!opt.quick) {
			for (unsigned int producers : {2, 8})
				if (!opt.device)
					add(with_producers(kSmall, producers));
			for (unsigned int producers : {16, 64})
				add(with_producers(kSmall, producers));
			add(with_producers(with_batch(kBase, 32, 32), 4));
		}
	}

	/* In the VM that is vm/scaling.c's. */
	if (opt.device || (opt.quick && many))
		return list;
	/* The scaling table: cost of an event, memory, time to attach. */
	for (unsigned int slots : {2, 16, 1024, 16384, 1 << 20}) {
		if (opt.quick && slots != 2 && slots != 1 << 20)
			continue;
		if (slots != 1024)
			add(alone(with_slots(kSmall, slots)));
		add(with_slots(with_bytes(setup, 8), slots));
	}
	if (!opt.quick)
		for (unsigned int bytes : {64, 256, 1024, 4096})
			add(with_bytes(setup, bytes));
	if (many && !opt.quick)
		for (unsigned int producers : {2, 4, 16, 64})
			add(with_producers(with_bytes(setup, 8), producers));
	return list;
}

std::string topology(const Case &c)
{
	return std::to_string(c.producers) + "p1c" + (c.many ? "-many" : "") +
	       (c.processes ? "-process" : "");
}

std::string batch(const Case &c)
{
	if (c.receive == kAll)
		return std::to_string(c.send) + ":all";
	return std::to_string(c.send);
}

std::string regime(const Case &c)
{
	switch (c.measure == Measure::throughput ? c.regime : Regime::paced) {
	case Regime::flat_out:
		return "flat-out";
	case Regime::fills:
		return "fills";
	case Regime::flows:
		return "flows";
	default:
		return c.rate ? "paced-" + std::to_string(c.rate) : "-";
	}
}

std::string place_in_matrix(const Case &c)
{
	return topology(c) + "," + std::to_string(c.bytes) + "," + batch(c) + "," +
	       std::to_string(c.slots) + "," + regime(c);
}

/*
 * Several producers run in a process of their own, which ends when it has used so much
 * time in vain: a queue whose producers wait for one that has been preempted, without
 * yielding, may keep it from running for ever. No values then.
 */
int vain_seconds = 6;
bool in_child;

void watch(int seconds)
{
	/* The time we use, not that for which somebody has stopped us. */
	itimerval limit = {{0, 0}, {seconds, 0}};

	setitimer(ITIMER_PROF, &limit, nullptr);
}

void too_long(int)
{
	static const char what[] = "bench: nothing arrives any more: ";

	if (in_child)
		_exit(kInVain);
	if (write(2, what, sizeof(what) - 1) < 0 ||
	    write(2, now_running.c_str(), now_running.size()) < 0 || write(2, "\n", 1) < 0)
		_exit(2);
	_exit(1);
}

Run run_apart(Contender &who, const Case &c, uint64_t n)
{
	int ends[2], status;
	Run result = {0, {}};
	char measure[64], unit[64];
	double value;
	FILE *in;
	pid_t pid;

	std::fflush(nullptr);
	if (pipe2(ends, O_CLOEXEC) || (pid = fork()) < 0)
		die("cannot fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		in_child = true;
		watch(vain_seconds);
		result = who.run(c, n);
		FILE *out = fdopen(ends[1], "w");

		std::fprintf(out, "seconds %.17g s\n", result.seconds);
		for (const Value &v : result.values)
			std::fprintf(out, "%s %.17g %s\n", v.measure.c_str(), v.value, v.unit.c_str());
		std::fclose(out);
		std::_Exit(0);
	}
	close(ends[1]);
	in = fdopen(ends[0], "r");
	while (std::fscanf(in, "%63s %lg %63s", measure, &value, unit) == 3) {
		if (result.seconds)
			result.values.push_back({measure, value, unit});
		else
			result.seconds = value;
	}
	std::fclose(in);
	if (waitpid(pid, &status, 0) != pid ||
	    (status && !(WIFEXITED(status) && WEXITSTATUS(status) == kInVain)))
		die("failed: " + now_running);
	return result;
}

Run run_once(Contender &who, const Case &c, uint64_t n)
{
	Run result;

	now_running = std::string(who.name) + "," + place_in_matrix(c);
	if (c.producers > 1 && c.measure == Measure::throughput)
		return run_apart(who, c, n);
	watch(120);
	result = who.run(c, n);
	watch(0);
	return result;
}

/* So many that a run takes its time; the same for all repetitions. 0: it takes for ever. */
uint64_t calibrate(Contender &who, const Case &c)
{
	/* Who shares a CPU gets it for milliseconds at a time. */
	const double want = opt.seconds * (c.yields() ? 3 : 1);
	double seconds;
	uint64_t n;

	if (c.measure == Measure::setup)
		return 1;
	/* At least a second, so that p99.99 means something. */
	if (c.measure == Measure::latency)
		return std::max<uint64_t>(c.rate * opt.seconds * 2,
					  opt.quick || opt.smoke ? 1000 : std::min(c.rate, 100000u));
	for (n = opt.device ? 16000 : 2000;; n *= 4) {
		seconds = run_once(who, c, n).seconds;
		if (!seconds)
			return 0;
		if (seconds > want / 10)
			return std::max<uint64_t>(n * want / seconds, 1);
	}
}

void run_case(const Case &c, FILE *csv)
{
	std::map<Contender *, uint64_t> events;

	for (Contender *who : Contender::all()) {
		/* Unless asked for, not those that are to fail. */
		if (opt.only ? std::strcmp(opt.only, who->name) : !std::strncmp(who->name, "broken", 6))
			continue;
		if (c.alone && std::strncmp(who->name, "scatto", 6))
			continue;
		if (opt.quick && std::strstr(who->name, "-block"))
			continue;
		if (who->can(c))
			events[who] = calibrate(*who, c);
	}
	std::fprintf(stderr, "%s: %zu contenders\n", place_in_matrix(c).c_str(), events.size());
	for (unsigned int i = 0; i < opt.repetitions; i++)
		for (Contender *who : Contender::all()) {
			if (!events.count(who) || !events[who])
				continue;
			Run run = run_once(*who, c, events[who]);

			if (!run.seconds)
				events[who] = 0;
			for (const Value &v : run.values)
				std::fprintf(csv, "%s,%s,%s,%s,%u,%.10g,%s\n",
					     opt.device ? "vm" : "native", v.measure.c_str(),
					     who->name, place_in_matrix(c).c_str(), i, v.value,
					     v.unit.c_str());
		}
	for (auto [who, n] : events)
		if (!n)
			std::fprintf(stderr, "not measured to the end: %s,%s (nothing arrived for %d s)\n",
				     who->name, place_in_matrix(c).c_str(), vain_seconds);
	std::fflush(csv);
}

void find_cpus()
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus.push_back(cpu);
	if (cpus.size() < 2) {
		std::fprintf(stderr, "bench: needs two CPUs\n");
		std::exit(4);
	}
}

[[noreturn]] void usage()
{
	std::fprintf(stderr,
		     "usage: bench [--csv FILE] [--device] [--quick | --smoke] [--reps N] [--seconds S]\n"
		     "	[--only CONTENDER] [--measure throughput|round_trip|latency|setup] [--list]\n");
	std::exit(2);
}

} /* namespace */

int main(int argc, char **argv)
{
	static const char *const measures[] = {"throughput", "round_trip", "latency", "setup"};
	bool repetitions = false, seconds = false;
	FILE *csv = stdout;

	for (int i = 1; i < argc; i++) {
		std::string arg = argv[i];

		if (arg == "--quick") {
			opt.quick = true;
		} else if (arg == "--smoke") {
			opt.smoke = true;
		} else if (arg == "--device") {
			opt.device = in_kernel = true;
		} else if (arg == "--list") {
			for (Contender *who : Contender::all())
				std::printf("%s\n", who->name);
			return 0;
		} else if (++i == argc) {
			usage();
		} else if (arg == "--csv") {
			opt.csv = argv[i];
		} else if (arg == "--only") {
			opt.only = argv[i];
		} else if (arg == "--measure") {
			opt.measure = argv[i];
		} else if (arg == "--reps") {
			repetitions = (opt.repetitions = std::atoi(argv[i])) > 0;
		} else if (arg == "--seconds") {
			seconds = (opt.seconds = std::atof(argv[i])) > 0;
		} else {
			usage();
		}
	}
	if (!repetitions && (opt.quick || opt.smoke))
		opt.repetitions = opt.smoke ? 2 : 3;
	if (!seconds && (opt.quick || opt.smoke))
		opt.seconds = opt.smoke ? 0.002 : 0.02;
	else if (!seconds && opt.device)
		opt.seconds = 0.05;
	if (opt.quick)
		vain_seconds = 2;
	if (opt.csv && !(csv = std::fopen(opt.csv, "w")))
		die(std::string("cannot write ") + opt.csv);

	find_cpus();
	signal(SIGPROF, too_long);
	std::fprintf(csv, "place,measure,impl,topology,bytes,batch,slots,regime,rep,value,unit\n");
	for (bool many : {false, true})
		for (const Case &c : matrix(many))
			if (!opt.measure || !std::strcmp(opt.measure, measures[int(c.measure)]))
				run_case(c, csv);
	if (std::ferror(csv) || (opt.csv && std::fclose(csv)))
		die("cannot write the figures");
	return 0;
}
