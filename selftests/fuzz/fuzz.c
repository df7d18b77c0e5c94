// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sequences of calls to /dev/scatto that chance makes up, see sequence.h, each by
 * two processes of two threads at once that share their file descriptors. What must
 * hold: no answer that the documentation does not know, nobody who hangs, channels
 * that are sane and usable afterwards, nothing left behind, and (vm/init looks) no
 * word in the kernel's log. Where the kernel has KCOV, sequences that take new ways
 * through the module are kept and changed.
 *
 *	fuzz [--seed S] [--first A] [--count N] [--seconds T | --calls N] [--jobs 1|2]
 *	     [--replay FILE] [--minimise] [--verbose] [--unguided]
 *
 * Sequence A of seed S is the same everywhere (but for what KCOV has taught); how
 * its actors meet is not, so --count 0 with --first repeats it until it fails.
 */
#include <dirent.h>
#include <linux/capability.h>
#include <sys/time.h>

#include "execute.h"
#include "coverage.h"

#define MAX_LANES	2
#define ROUND_S		4	/* all lanes stop, and the module must be unused */
#define PROGRESS_S	60
#define HANG_S		10	/* three times that, since the machine may have stopped */
#define MAX_CORPUS	512

RESTORE_LIMITS

/* Ways to make a sequence, and what each has brought of late. */
enum { MADE, ENRICHED, MUTATED, NR_WAYS };

static const char * const way_names[] = { "made", "enriched", "mutated" };

struct corpus {
	unsigned int n;
	struct {
		uint64_t sequences;
		uint64_t news;
		double recent;	/* news of one */
	} way[NR_WAYS];
	struct sequence seq[MAX_CORPUS];
};

static struct lane *lanes;
static struct coverage *coverage;
static struct corpus *corpus;
static struct kcov kcovs[NR_ACTORS + 1];	/* the last is the lane's own */
static unsigned char *args_pages;
static uint64_t seed, calls_most = ~0ULL, count = ~0ULL, round_end;
static unsigned int jobs = 2;
static bool unguided;

static void *share(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

/* What the calling thread has just done, operation @at: was any of that new? */
static void note_news(struct lane *lane, unsigned int kcov, unsigned int at)
{
	unsigned int news = coverage_add(coverage, &kcovs[kcov]);

	if (!news)
		return;
	__atomic_fetch_add(&lane->news, news, __ATOMIC_RELAXED);
	if (at < lane->seq.n)
		__atomic_store_n(&lane->seq.hot, at, __ATOMIC_RELAXED);
}

/* Actors */

/* In a child that goes on from where its parent is: it has no mapping of its own. */
static void fork_child(struct actor *a, unsigned int at)
{
	const struct sequence *s = &a->lane->seq;
	uint32_t rnd = s->op[at].rnd;
	unsigned int left = 1 + rnd % 8;

	/* Its arguments are not its parent's; what is read-only stays as it was. */
	if (mmap(a->args, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) == MAP_FAILED)
		_exit(1);
	memset(a->view, 0, sizeof(a->view));
	a->child = true;
	a->timed = false;
	while (left && ++at < s->n) {
		if (s->op[at].actor != a->nr || s->op[at].call == CALL_FORK)
			continue;
		execute(a, &s->op[at]);
		left--;
	}
	switch (rnd >> 8 & 15) {
	case 0:
		execl("/proc/self/exe", "fuzz", "--exit", NULL);
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		raise(SIGKILL);
		break;
	}
	_exit(0);
}

static void do_fork(struct actor *a, unsigned int at)
{
	pid_t pid = fork();

	if (!pid)
		fork_child(a, at);
	if (pid > 0)
		lane_note_pid(a->lane, pid);
	answer(a, CALL_FORK, pid < 0 ? -errno : 0, "pid %d", pid);
}

static bool one_thread(const struct sequence *s)
{
	return (s->setup & SETUP_ONE_THREAD) == SETUP_ONE_THREAD;
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;
	struct lane *lane = a->lane;
	const struct sequence *s = &lane->seq;
	unsigned int i;

	if (kcov_begin(&kcovs[a->nr]))
		complain(a, "KCOV: %m");
	for (i = 0; i < s->n; i++) {
		const struct op *op = &s->op[i];
		/* Where one is missing its neighbour does it all. */
		unsigned int who = op->actor == 3 && one_thread(s) ? 2 : op->actor;

		if (i == s->prologue)
			pthread_barrier_wait(&lane->begin);
		if (i < s->prologue)
			who = op->call == CALL_KILL || op->call == CALL_FORK ? NR_ACTORS : 0;
		if (who != a->nr || __atomic_load_n(&lane->failed, __ATOMIC_RELAXED))
			continue;
		lane->at[a->nr] = i;
		if (op->call == CALL_FORK)
			do_fork(a, i);
		else
			execute(a, op);
		note_news(lane, a->nr, i);
	}
	lane->at[a->nr] = MAX_OPS;
	return NULL;
}

/* Root is not above the limits here. */
static void drop_resource(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		_exit(1);
	data[0].effective &= ~(1U << CAP_SYS_RESOURCE);
	data[0].permitted &= ~(1U << CAP_SYS_RESOURCE);
	if (syscall(SYS_capset, &head, data))
		_exit(1);
}

static void process_main(struct lane *lane, unsigned int nr)
{
	static const uid_t uids[] = { 0, UID_USER, UID_OTHER, UID_USER };
	static struct actor actors[2];
	uint32_t setup = lane->seq.setup;
	uid_t uid = uids[SETUP_USER(setup, setup & SETUP_SAME_USER ? 0 : nr)];
	bool two = nr == 0 || !one_thread(&lane->seq);
	pthread_t thread;
	unsigned int i;

	drop_resource();
	if (uid && become(uid))
		_exit(1);
	if (nr == 1 && (setup & SETUP_USERNS) == SETUP_USERNS)
		unshare(CLONE_NEWUSER);
	for (i = 0; i < 2; i++) {
		actors[i].lane = lane;
		actors[i].nr = 2 * nr + i;
		actors[i].args = args_pages + actors[i].nr * 3 * 4096;
	}
	if (two && pthread_create(&thread, NULL, actor_main, &actors[1]))
		_exit(1);
	actor_main(&actors[0]);
	if (two)
		pthread_join(thread, NULL);
	_exit(0);
}

/* Lanes: one sequence after the other */

static void lane_fail(struct lane *lane, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void lane_fail(struct lane *lane, const char *fmt, ...)
{
	va_list ap;

	if (lane->failed)
		return;
	lane->failed = 1;
	va_start(ap, fmt);
	vsnprintf(lane->why, sizeof(lane->why), fmt, ap);
	va_end(ap);
}

/* Where does everybody hang? */
static void show_tasks(void)
{
	struct dirent *d, *t;
	DIR *proc = opendir("/proc"), *tasks;
	char path[300], buf[4096];

	while (proc && (d = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%.16s/task", d->d_name);
		if (d->d_name[0] < '1' || d->d_name[0] > '9')
			continue;
		tasks = opendir(path);
		while (tasks && (t = readdir(tasks))) {
			if (t->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "/proc/%.16s/comm", t->d_name);
			if (read_file(path, buf, sizeof(buf)) < 0 || strncmp(buf, "fuzz", 4))
				continue;
			printf("# task %s: state %c\n", t->d_name, task_state(atoi(t->d_name)));
			snprintf(path, sizeof(path), "/proc/%.16s/stack", t->d_name);
			if (read_file(path, buf, sizeof(buf)) > 0)
				for (char *at = strtok(buf, "\n"); at; at = strtok(NULL, "\n"))
					printf("#   %s\n", at);
		}
		if (tasks)
			closedir(tasks);
	}
	if (proc)
		closedir(proc);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

/* Waits for all children; does somebody hang? */
static bool lane_reap(struct lane *lane)
{
	struct itimerval it = { { HANG_S, 0 }, { HANG_S, 0 } }, off = {};
	unsigned int i;
	int status;

	alarms = 0;
	setitimer(ITIMER_REAL, &it, NULL);
	while (alarms < 3 && (waitpid(-1, &status, 0) > 0 || errno == EINTR))
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
			lane_fail(lane, "a process was killed by signal %d", WTERMSIG(status));
	setitimer(ITIMER_REAL, &off, NULL);
	if (alarms < 3)
		return true;
	lane_fail(lane, "somebody hangs; actors are at operations %u %u %u %u",
		  lane->at[0], lane->at[1], lane->at[2], lane->at[3]);
	show_tasks();
	for (i = 0; i < lane->nr_pids && i < MAX_PIDS; i++)
		if (lane->pids[i] > 0)
			kill(lane->pids[i], SIGKILL);
	sleep_ms(2000);
	while (waitpid(-1, &status, WNOHANG) > 0)
		;
	return false;
}

/* Both ends of a channel that nobody else has: does an event arrive? */
static int use_channel(int owner)
{
	struct end prod, cons;
	uint64_t value = 0, most;
	int ret = end_open(&cons, SCATTO_ROLE_CONSUMER, owner);

	if (ret)
		return ret;
	ret = end_open(&prod, SCATTO_ROLE_PRODUCER, owner);
	if (ret) {
		end_drop(&cons);
		return ret;
	}
	most = cons.layout.capacity + 1;
	if (cons.layout.kind == SCATTO_KIND_SPSC) {
		while (most-- && end_recv(&cons, &value) >= 0)
			;
		ret = end_send(&prod, 42);
		ret = ret < 0 ? ret : end_recv(&cons, &value);
	} else {
		while (most-- && many_recv(&cons, &value) >= 0)
			;
		ret = many_send(&prod, 42);
		ret = ret < 0 ? ret : many_recv(&cons, &value);
	}
	if (ret >= 0)
		ret = value == 42 ? 0 : -EBADMSG;
	end_drop(&prod);
	end_drop(&cons);
	return ret;
}

/* A channel that only owners and observers still hold. */
static void check_channel(struct lane *lane, unsigned int slot, const struct scatto_info *info)
{
	int ret;

	if (info->layout.flags & SCATTO_F_KERNEL)
		return;
	if (info->producers || info->consumers || info->claimers)
		lane_fail(lane, "slot %u: %u producers, %u consumers, %u claimers are left", slot,
			  info->producers, info->consumers, info->claimers);
	if (info->published - info->consumed > info->layout.capacity)
		lane_fail(lane, "slot %u: published %llu, consumed %llu", slot,
			  info->published, info->consumed);
	if (info->repair_from || info->repair_to)
		lane_fail(lane, "slot %u: still to be repaired: %llu to %llu", slot,
			  info->repair_from, info->repair_to);
	if (info->role != SCATTO_ROLE_OWNER || !(info->layout.flags & SCATTO_F_PAUSE) ||
	    info->state)
		return;
	ret = use_channel(FD_SLOT + slot);
	if (ret)
		lane_fail(lane, "slot %u: the channel is of no use: %s", slot, strerror(-ret));
	__atomic_fetch_add(&totals->used, 1, __ATOMIC_RELAXED);
}

/* Names of ours that are still there. */
static void check_names(struct lane *lane)
{
	struct scatto_list arg = {};
	char ours[16];
	int fd = dev_open(), ret;

	snprintf(ours, sizeof(ours), "fuzz%u.", lane->nr);
	do {
		arg = (struct scatto_list){ .size = sizeof(arg), .id = arg.id };
		ret = dev_ioctl(fd, SCATTO_IOC_LIST, &arg);
		if (!ret && !strncmp(arg.name, ours, strlen(ours)))
			lane_fail(lane, "channel '%s' is left behind", arg.name);
	} while (!ret);
	if (ret != -ENOENT)
		lane_fail(lane, "LIST says %d", ret);
	close(fd);
}

/* Everybody has gone but us, who have the file descriptors. */
static void lane_judge(struct lane *lane)
{
	struct scatto_info info;
	const char *bad;
	unsigned int i;

	/* Whoever was killed may have had some for a moment. */
	close_range(STDERR_FILENO + 1, FD_SLOT - 1, 0);
	close_range(FD_END, ~0U, 0);
	close_range(FD_EPOLL, FD_SOCKET + 1, 0);
	for (i = 2; lane->joins && options.test_module && i < ST_MAX_CHANNELS; i++)
		ioctl(FD_TEST, ST_IOC_DESTROY, (unsigned long)i);
	for (i = 0; i < NR_SLOTS; i++)
		if (!dev_info(FD_SLOT + i, &info) && (info.role == SCATTO_ROLE_PRODUCER ||
						      info.role == SCATTO_ROLE_CONSUMER))
			close(FD_SLOT + i);
	for (i = 0; i < NR_SLOTS; i++) {
		if (dev_info(FD_SLOT + i, &info))
			continue;
		bad = info_is_insane(&info);
		if (bad)
			lane_fail(lane, "slot %u: INFO reports a bad %s", i, bad);
		else
			check_channel(lane, i, &info);
	}
	close_range(FD_SLOT, FD_SLOT + NR_SLOTS - 1, 0);
	check_names(lane);
}

static void lane_start(struct lane *lane)
{
	int socks[2], epoll = epoll_create1(EPOLL_CLOEXEC);
	unsigned int i;

	lane->failed = 0;
	lane->nr_pids = 0;
	memset(lane->at, 0, sizeof(lane->at));
	if (epoll < 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, socks) ||
	    dup2(epoll, FD_EPOLL) < 0 || dup2(socks[0], FD_SOCKET) < 0 ||
	    dup2(socks[1], FD_SOCKET + 1) < 0) {
		lane_fail(lane, "no file descriptors: %m");
		return;
	}
	close(epoll);
	close(socks[0]);
	close(socks[1]);
	shared_barrier(&lane->begin, one_thread(&lane->seq) ? 3 : 4);
	for (i = 0; i < 2; i++) {
		/* File descriptors are common, memory is not. */
		pid_t pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);

		if (!pid)
			process_main(lane, i);
		lane_note_pid(lane, pid);
	}
}

/* Has all gone well? */
static bool lane_run(struct lane *lane)
{
	lane->news = 0;
	lane_start(lane);
	if (lane_reap(lane))
		lane_judge(lane);
	note_news(lane, NR_ACTORS, MAX_OPS);
	__atomic_fetch_add(&corpus->way[lane->way].sequences, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&corpus->way[lane->way].news, lane->news, __ATOMIC_RELAXED);
	corpus->way[lane->way].recent += (lane->news - corpus->way[lane->way].recent) / 16;
	if (lane->news && !lane->failed) {
		unsigned int at = __atomic_fetch_add(&corpus->n, 1, __ATOMIC_RELAXED);

		/* The oldest go first. */
		corpus->seq[at % MAX_CORPUS] = lane->seq;
	}
	__atomic_fetch_add(&totals->sequences, 1, __ATOMIC_RELAXED);
	return !lane->failed;
}

/* A page, nothing, and the page again: below 4 GiB, for 32-bit calls. */
static void args_init(void)
{
	const size_t size = 3 * 4096 * NR_ACTORS;
	int fd = memfd_create("args", MFD_CLOEXEC);
	unsigned int i;

	args_pages = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (fd < 0 || args_pages == MAP_FAILED || ftruncate(fd, 4096 * NR_ACTORS))
		exit(1);
	for (i = 0; i < NR_ACTORS; i++) {
		unsigned char *at = args_pages + 3 * 4096 * i;

		if (mmap(at, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 4096 * i) == MAP_FAILED ||
		    mmap(at + 2 * 4096, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
			 4096 * i) == MAP_FAILED)
			exit(1);
	}
	close(fd);
}

static void lane_init(void)
{
	volatile long ret = 0;
	unsigned int i;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signals_init();
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm }, NULL);
	args_init();
	MAY_FAULT(ret, ret = ioctl_32(-1, 0, 0));
	options.int80 = ret == -EBADF;
	fd = test_module_open();
	options.test_module = fd >= 0;
	if (fd >= 0) {
		dup2(fd, FD_TEST);
		close(fd);
	}
	for (i = 0; i <= NR_ACTORS && coverage->base; i++)
		if (kcov_open(&kcovs[i], FD_KCOV + i)) {
			printf("# KCOV: %m\n");
			exit(1);
		}
	if (kcov_begin(&kcovs[NR_ACTORS]))
		exit(1);
}

static void lane_next(struct lane *lane, uint64_t number)
{
	uint64_t state = mix(~seed, number);
	unsigned int n = __atomic_load_n(&corpus->n, __ATOMIC_RELAXED), i;

	if (n > MAX_CORPUS)
		n = MAX_CORPUS;
	/* The one that has brought most, and now and then another. */
	lane->way = MADE;
	if (!unguided && n) {
		for (i = 0; i < NR_WAYS; i++)
			if (corpus->way[i].recent > corpus->way[lane->way].recent)
				lane->way = i;
		if (!(chance(&state) % 4))
			lane->way = chance(&state) % NR_WAYS;
	}
	sequence_make(&lane->seq, seed, number);
	switch (lane->way) {
	case ENRICHED:
		for (i = 1 + chance(&state) % 8; i; i--)
			sequence_enrich(&lane->seq, &corpus->seq[chance(&state) % n], &state);
		break;
	case MUTATED:
		sequence_mutate(&lane->seq, &corpus->seq[chance(&state) % n],
				&corpus->seq[chance(&state) % n], &state);
		break;
	}
	lane->seq.hot = 0;
	/* Only the kernel's numbers tell lanes apart. */
	lane->joins = number % 2 == 0 || jobs == 1;
}

static void lane_report(struct lane *lane, const char *what)
{
	printf("# %s: %s\n", what, lane->why);
	sequence_print(stdout, "# ", &lane->seq);
	fflush(stdout);
}

/* A lane's process, until the round is over. */
static int lane_main(struct lane *lane, uint64_t *next, uint64_t end)
{
	char what[128];

	lane_init();
	for (; *next < end && now_ns() < round_end; *next += jobs) {
		if (__atomic_load_n(&totals->calls, __ATOMIC_RELAXED) >= calls_most)
			break;
		lane_next(lane, *next);
		if (lane_run(lane))
			continue;
		snprintf(what, sizeof(what), "sequence %llu of seed %llu has failed",
			 (unsigned long long)*next, (unsigned long long)seed);
		lane_report(lane, what);
		return 1;
	}
	return 0;
}

/* The same sequence up to @times, in a process of its own: does it fail? */
static bool sequence_fails(const struct sequence *s, uint64_t times)
{
	pid_t pid;
	bool fails;

	fflush(stdout);
	pid = spawn();
	if (!pid) {
		int bad = 0;

		lane_init();
		lanes->joins = true;
		lanes->seq = *s;
		while (times-- && !bad)
			bad = !lane_run(lanes);
		_exit(bad);
	}
	fails = reap(pid);
	return fails;
}

/* Leaves out what need not be there for it to fail. */
static void minimise(struct sequence *s, uint64_t times)
{
	unsigned int chunk, at;

	for (chunk = s->n / 2; chunk; chunk /= 2) {
		for (at = 0; at + chunk <= s->n;) {
			struct sequence less = *s;

			memmove(&less.op[at], &less.op[at + chunk],
				(s->n - at - chunk) * sizeof(s->op[0]));
			less.n -= chunk;
			if (at + chunk <= s->prologue)
				less.prologue -= chunk;
			else if (at < s->prologue)
				less.prologue = at;
			if (less.n && sequence_fails(&less, times))
				*s = less;
			else
				at += chunk;
		}
		printf("# down to %u operations\n", s->n);
	}
}

/* Around all of them */

static unsigned int kernel_channels(int fd, bool create)
{
	struct st_create arg = { .slot_size = 8, .capacity = 8, .mode = 0666 };
	unsigned int i, n = 0;

	for (i = 0; i < ST_MAX_CHANNELS && !create; i++)
		ioctl(fd, ST_IOC_DESTROY, (unsigned long)i);
	for (i = 0; i < 2 && create; i++) {
		snprintf(arg.name, sizeof(arg.name), KERNEL_NAME "%u", i);
		arg.flags = i ? SCATTO_F_PAUSE : 0;
		n += ioctl(fd, ST_IOC_CREATE, &arg) == (int)i;
	}
	return n;
}

static long long module_users(void)
{
	return read_number("/sys/module/scatto/refcnt", NULL);
}

/* As each user: all that is allowed can be had, and no more. */
static bool quota_is_back(void)
{
	static const uid_t uids[] = { 0, UID_USER, UID_OTHER };
	struct scatto_query q = limits_get();
	struct scatto_info info;
	unsigned int i, j;
	int fd = channel_create(NULL, 0, 8, 8, 0);
	bool good = true;

	if (dev_info(fd, &info))
		return false;
	close(fd);
	q.max_user_channels = 3;
	q.max_user_bytes = 3 * info.bytes;
	limits_set(&q);
	for (i = 0; i < ARRAY_LEN(uids); i++) {
		pid_t pid = spawn();

		if (!pid) {
			drop_resource();
			if (uids[i] && become(uids[i]))
				_exit(1);
			for (j = 0; j < 3; j++)
				if (channel_create(NULL, 0, 8, 8, 0) < 0)
					_exit(2);
			_exit(channel_create(NULL, 0, 8, 8, 0) != -EDQUOT);
		}
		good = !reap(pid) && good;
	}
	limits_set(&default_limits);
	return good;
}

static bool module_can_go(void)
{
	int fd, ret;

	syscall(SYS_delete_module, "scatto_test", O_NONBLOCK);
	syscall(SYS_delete_module, "scatto_sched", O_NONBLOCK);
	if (module_users())
		return false;
	if (syscall(SYS_delete_module, "scatto", O_NONBLOCK))
		return false;
	fd = open("/lib/modules-scatto/scatto.ko", O_RDONLY | O_CLOEXEC);
	ret = syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	return !ret && wait_for(!access(DEV, R_OK), 2000) && !chmod(DEV, 0666);
}

static long long vmalloc_kb(void)
{
	return read_number("/proc/meminfo", "VmallocUsed:");
}

/* Tasks in state D, but for those that are so for a moment. */
static unsigned int stuck_tasks(void)
{
	struct dirent *d;
	DIR *proc = opendir("/proc");
	unsigned int n = 0;
	pid_t pid;

	while (proc && (d = readdir(proc))) {
		pid = atoi(d->d_name);
		if (pid > 0 && task_state(pid) == 'D' &&
		    !wait_for(task_state(pid) != 'D', 2000)) {
			printf("# task %d is in state D\n", pid);
			n++;
		}
	}
	if (proc)
		closedir(proc);
	return n;
}

static void print_table(double seconds)
{
	unsigned int i, e;

	printf("# %llu calls in %.1f s, %.0f calls/s\n", (unsigned long long)totals->calls, seconds,
	       totals->calls / seconds);
	printf("# %llu sequences, %llu channels used after one\n",
	       (unsigned long long)totals->sequences, (unsigned long long)totals->used);
	if (coverage->base)
		printf("# %llu edges in the module reached%s, %u sequences kept, %llu traces cut\n",
		       (unsigned long long)coverage->reached, unguided ? " without guidance" : "",
		       corpus->n, (unsigned long long)coverage->cut);
	for (i = 0; i < NR_WAYS && coverage->base; i++)
		printf("# %llu sequences were %s, with %llu new edges\n",
		       (unsigned long long)corpus->way[i].sequences, way_names[i],
		       (unsigned long long)corpus->way[i].news);
	printf("# %-12s %8s %9s  others\n", "call", "us", "good");
	for (i = 0; i < NR_CALLS; i++) {
		uint64_t n = 0;

		for (e = 0; e < MAX_ERRNO; e++)
			n += totals->count[i][e];
		printf("# %-12s %8.1f %9llu ", call_names[i], n ? totals->ns[i] / 1e3 / n : 0,
		       (unsigned long long)totals->count[i][0]);
		for (e = 1; e < MAX_ERRNO; e++)
			if (totals->count[i][e])
				printf(" %s %llu", strerrorname_np(e),
				       (unsigned long long)totals->count[i][e]);
		printf("\n");
	}
}

static unsigned int results, bad;

static void result(bool good, const char *what)
{
	bad += !good;
	printf("%sok %u %s\n", good ? "" : "not ", ++results, what);
	fflush(stdout);
}

/* All lanes at once, once; does one fail? */
static bool one_round(uint64_t *next, uint64_t end)
{
	pid_t pids[MAX_LANES];
	unsigned int i;
	bool failed = false;

	round_end = now_ns() + ROUND_S * 1000000000ULL;
	fflush(stdout);
	for (i = 0; i < jobs; i++) {
		pids[i] = spawn();
		if (!pids[i])
			_exit(lane_main(&lanes[i], &next[i], end) | !!fflush(stdout));
	}
	for (i = 0; i < jobs; i++)
		failed = reap(pids[i]) || failed;
	return failed;
}

/* What is printed of a sequence is all of it. */
static bool sequences_replay(void)
{
	struct sequence s, again;
	unsigned int i;
	FILE *f;
	int ret;

	for (i = 0; i < 20; i++) {
		f = tmpfile();
		if (!f)
			return false;
		sequence_make(&s, seed, i);
		sequence_print(f, "# ", &s);
		rewind(f);
		ret = sequence_read(f, &again);
		fclose(f);
		if (ret || memcmp(&s, &again, sizeof(s)))
			return false;
	}
	return true;
}

static int fuzz(uint64_t first, unsigned int seconds, int test)
{
	uint64_t begin = now_ns(), *next = share(MAX_LANES * sizeof(*next)), end;
	uint64_t told = begin;
	long long users, vmalloc;
	bool failed = false, unused = true;
	unsigned int i;

	printf("TAP version 13\n1..7\n# seed %llu, %u at a time%s%s%s\n", (unsigned long long)seed,
	       jobs, test >= 0 ? "" : ", no kernel producers",
	       coverage->base ? ", with KCOV" : "", count == ~0ULL ? "" : ", some sequences");
	/* What is allocated once is now. */
	kernel_channels(test, false);
	if (test >= 0 && kernel_channels(test, true) != 2)
		return 1;
	users = module_users();
	vmalloc = vmalloc_kb();

	for (i = 0; i < MAX_LANES; i++)
		next[i] = first + i;
	end = count < ~0ULL - first ? first + count : ~0ULL;
	while (!failed && unused && totals->calls < calls_most && next[0] < end &&
	       (!seconds || now_ns() - begin < seconds * 1000000000ULL)) {
		failed = one_round(next, end);
		unused = module_users() == users;
		if (!unused)
			printf("# the module has %lld users, it had %lld\n", module_users(), users);
		if (now_ns() - told < PROGRESS_S * 1000000000ULL)
			continue;
		told = now_ns();
		printf("# %llu calls after %llu s\n", (unsigned long long)totals->calls,
		       (unsigned long long)(told - begin) / 1000000000);
	}
	print_table((now_ns() - begin) / 1e9);
	if (coverage->base && !coverage->reached) {
		printf("# KCOV saw nothing: is the module built with KCOV_INSTRUMENT=y?\n");
		failed = true;
	}
	result(!failed, "each sequence ends as it should");
	result(unused, "no reference to the module is left after a round");
	result(!stuck_tasks(), "no task is stuck");

	vmalloc = vmalloc_kb() - vmalloc;
	printf("# memory of channels and the like: %+lld KiB\n", vmalloc);
	result(vmalloc < 4096, "no memory of channels is left");
	kernel_channels(test, false);
	if (test >= 0)
		close(test);
	result(quota_is_back(), "each user can have what the quota allows");
	result(module_can_go(), "the module can be removed and loaded again");
	result(sequences_replay(), "a sequence can be read as it was printed");
	return !!bad;
}

static int replay(const char *file, uint64_t first, bool less)
{
	uint64_t times = count == ~0ULL ? 100 : count ? count : ~0ULL;
	struct sequence s;
	bool fails;

	if (file) {
		FILE *f = fopen(file, "r");

		if (!f || sequence_read(f, &s)) {
			fprintf(stderr, "%s: no sequence\n", file);
			return 2;
		}
		fclose(f);
	} else {
		sequence_make(&s, seed, first);
	}
	fails = sequence_fails(&s, times);
	if (!fails) {
		printf("# has not failed\n");
		return 0;
	}
	printf("# fails: %s\n", lanes->why);
	if (less && !options.verbose)
		minimise(&s, times);
	sequence_print(stdout, "# ", &s);
	return 1;
}

int main(int argc, char **argv)
{
	const char *file = NULL, *is_long = getenv("SCATTO_LONG");
	uint64_t first = 0;
	unsigned int seconds = 20;
	bool less = false, one = false;
	int i, test, ret;

	seed = now_ns() ^ (uint64_t)time(NULL) << 20;
	seed %= 1000000000;
	if (is_long && atoi(is_long)) {
		seconds = 0;
		calls_most = 10000000;
	}
	for (i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--exit"))
			return 0;
		if (!strcmp(argv[i], "--verbose")) {
			options.verbose = true;
			continue;
		}
		if (!strcmp(argv[i], "--unguided")) {
			unguided = true;
			continue;
		}
		if (!strcmp(argv[i], "--minimise")) {
			less = true;
			continue;
		}
		i++;
		if (!strcmp(argv[i - 1], "--seed")) {
			seed = strtoull(value, NULL, 0);
		} else if (!strcmp(argv[i - 1], "--first")) {
			first = strtoull(value, NULL, 0);
			one = true;
		} else if (!strcmp(argv[i - 1], "--count")) {
			count = strtoull(value, NULL, 0);
			seconds = 0;
		} else if (!strcmp(argv[i - 1], "--seconds")) {
			seconds = atoi(value);
			calls_most = ~0ULL;
		} else if (!strcmp(argv[i - 1], "--calls")) {
			calls_most = strtoull(value, NULL, 0);
			seconds = 0;
		} else if (!strcmp(argv[i - 1], "--jobs")) {
			jobs = atoi(value) > 1 ? 2 : 1;
		} else if (!strcmp(argv[i - 1], "--replay")) {
			file = value;
		} else {
			fprintf(stderr, "unknown option %s, see the top of fuzz.c\n", argv[i - 1]);
			return 2;
		}
	}

	totals = share(sizeof(*totals));
	lanes = share(MAX_LANES * sizeof(*lanes));
	coverage = share(sizeof(*coverage));
	corpus = share(sizeof(*corpus));
	for (i = 0; i < MAX_LANES; i++)
		lanes[i].nr = i;
	coverage_init(coverage);
	test = test_module_open();
	limit_set("max_channel_bytes", MAX_CHANNEL_BYTES);
	limit_set("max_user_bytes", MAX_USER_BYTES);
	limit_set("max_user_channels", MAX_USER_CHANNELS);

	/* The same one again and again. */
	if (file || less || (one && !count)) {
		kernel_channels(test, false);
		kernel_channels(test, true);
		jobs = 1;
		ret = replay(file, first, less);
		kernel_channels(test, false);
		return ret;
	}
	return fuzz(first, seconds, test);
}
