/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that some peers need beside them; they end with the benchmark. */
#ifndef SELFTESTS_BENCH_HELPER_H
#define SELFTESTS_BENCH_HELPER_H

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench.hh"

namespace bench {

/* Runs @argv with these as its standard input, output and error. */
inline pid_t start_helper(int in, int out, int err, const std::vector<const char *> &argv)
{
	pid_t parent = getpid(), child = fork();

	if (child < 0)
		die("cannot fork");
	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		std::_Exit(1);
	std::vector<char *> args;

	for (const char *arg : argv)
		args.push_back(const_cast<char *>(arg));
	args.push_back(nullptr);
	execvp(args[0], args.data());
	std::fprintf(stderr, "bench: cannot run %s\n", args[0]);
	std::_Exit(1);
}

} /* namespace bench */

#endif /* SELFTESTS_BENCH_HELPER_H */
