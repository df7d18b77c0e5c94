// SPDX-License-Identifier: GPL-2.0-only
/*
 * The LMAX Disruptor itself. Disruptor.java runs beside us all the time, is told a case
 * a line, and answers with what it has measured. Java cannot pin threads: it names them,
 * and we do.
 */
#include <dirent.h>
#include <sched.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "helper.hh"
#include "queue.hh"

namespace bench::with_disruptor {

class Disruptor final : public Contender {
public:
	using Contender::Contender;
	bool can(const Case &c) const override
	{
		return c.many == many && !c.processes && c.measure != Measure::setup;
	}
	Run run(const Case &c, uint64_t n) override
	{
		std::istringstream words;
		std::string line, word;
		Run result;
		Value v;

		start();
		std::fprintf(to_, "%d %d %u %u %u %u %d %u %llu\n", int(c.measure), many,
			     c.producers, c.bytes, c.send, c.slots, int(c.regime), c.rate,
			     static_cast<unsigned long long>(n));
		pin_threads(c, answer());
		std::fprintf(to_, "go\n");
		line = answer();
		words.str(line);
		if (!(words >> result.seconds))
			die(now_running + ": " + line);
		while (words >> v.measure >> v.value >> v.unit)
			result.values.push_back(v);
		return result;
	}

private:
	static void start()
	{
		int in[2], out[2];

		if (java_)
			return;
		signal(SIGPIPE, SIG_IGN);
		if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
			die("pipe");
		java_ = start_helper(in[0], out[1], 2, {"java", "-Xms1g", "-Xmx1g",
							"-XX:+UseSerialGC", "-cp", CLASSES, "Disruptor"});
		close(in[0]);
		close(out[1]);
		to_ = fdopen(in[1], "w");
		from_ = fdopen(out[0], "r");
		if (!to_ || !from_)
			die("fdopen");
		setlinebuf(to_);
	}
	static std::string answer()
	{
		char line[1024];

		if (!std::fgets(line, sizeof(line), from_))
			die("java has ended: " + now_running);
		line[std::strcspn(line, "\n")] = 0;
		return line;
	}
	static void pin_threads(const Case &c, const std::string &run)
	{
		const std::string name = "run" + run + "-";
		std::string tasks = "/proc/" + std::to_string(java_) + "/task/", comm;
		unsigned int pinned = 0;
		DIR *dir = opendir(tasks.c_str());

		while (dirent *entry = dir ? readdir(dir) : nullptr) {
			std::ifstream file(tasks + entry->d_name + "/comm");
			cpu_set_t set;
			int who;

			if (!std::getline(file, comm) || comm.rfind(name, 0))
				continue;
			who = std::atoi(comm.c_str() + name.size());
			CPU_ZERO(&set);
			CPU_SET(who ? cpu_of_producer(who - 1) : cpus[0], &set);
			if (sched_setaffinity(std::atoi(entry->d_name), sizeof(set), &set))
				die("cannot pin a thread of java's");
			pinned++;
		}
		if (dir)
			closedir(dir);
		if (pinned != c.producers + 1)
			die("cannot find java's threads");
	}

	static inline pid_t java_;
	static inline FILE *to_, *from_;
};

Disruptor one("disruptor", false);
Disruptor many("disruptor-multi", true);

} /* namespace bench::with_disruptor */
