// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hostile peers: a table of attacks, each for a moment, against a victim that uses
 * the attacked channel through libscatto. What may be harmed is that channel. After
 * each attack:
 *
 * - the victim was in no call for longer than it had said, has not crashed, and
 *   comes back from calls without a deadline once the owner closes the channel
 * - the attackers can be killed, and nothing of the channel stays behind
 * - the bystanders (see bystander.h) have lost nothing and were not held up
 * - nobody finds an address of the kernel in shared memory
 * - the kernel log has nothing to complain about
 */
#include <sys/utsname.h>

#include "kselftest.h"

#include "attack.h"
#include "attack_words.h"
#include "attack_maps.h"
#include "attack_fds.h"
#include "attack_calls.h"
#include "attack_limits.h"
#include "bystander.h"
#include "victim.h"

#define MS		1000000ULL
#define MAX_ATTACKS	512

/*
 * How much later than its deadline a call of the victim's may return, and how much
 * longer than the pipe's the pause of a bystander may be. It shares two CPUs that
 * are emulated with attackers, and they with the rest of the host: some 10 ms are
 * normal, 500 ms happen. A hang is for ever.
 */
#define LATE_MS		5000

static struct attack attacks[MAX_ATTACKS];
static unsigned int nr_attacks;

static struct attack *add(uint32_t kind, uint32_t role, void (*run)(struct attacker *at),
			  const char *what, const char *how)
{
	static const char * const roles[] = { "", "owner ", "producer ", "consumer ", "observer " };
	struct attack *a = &attacks[nr_attacks++];

	if (nr_attacks > MAX_ATTACKS)
		ksft_exit_fail_msg("the table is full\n");
	*a = (struct attack){ .kind = kind, .role = role, .run = run };
	snprintf(a->name, sizeof(a->name), "%s %s%s%s%s",
		 kind == SCATTO_KIND_SPSC ? "SPSC" : "MPSC", roles[role], what,
		 how ? " " : "", how ?: "");
	return a;
}

/* For whom most attacks are different. */
static const struct {
	uint32_t kind;
	uint32_t role;
} peers[] = {
	{ SCATTO_KIND_SPSC, SCATTO_ROLE_PRODUCER },
	{ SCATTO_KIND_SPSC, SCATTO_ROLE_CONSUMER },
	{ SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER },
	{ SCATTO_KIND_MPSC, SCATTO_ROLE_CONSUMER },
};

static void add_words(void)
{
	unsigned int i;
	int how;

	for (i = 0; i < ARRAY_LEN(forgeable); i++) {
		int most = forgeable[i].word == WORD_STAMP ? NR_STAMP_VALUES : NR_VALUES;

		for (how = 0; how < most; how++) {
			struct attack *a;

			/* What nobody looks at is the same with any value in it. */
			if (forgeable[i].word == WORD_SKIPPED && how != VALUE_FLIP)
				continue;
			if (forgeable[i].word == WORD_SLOT && how < VALUE_RANDOM)
				continue;
			a = add(forgeable[i].kind, forgeable[i].role, attack_words,
				word_names[forgeable[i].word], value_names[how]);
			a->what = forgeable[i].word;
			a->how = how;
		}
	}
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER, attack_claims, "claims of all there is", NULL);
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER, attack_tombstones, "tombstones for ever", NULL);
}

/* One of them for each peer and each of @n names. */
static void add_peers(void (*run)(struct attacker *at), const char * const *names, int n)
{
	unsigned int i;
	int what;

	for (what = 0; what < n; what++)
		for (i = 0; i < ARRAY_LEN(peers); i++)
			add(peers[i].kind, peers[i].role, run, names[what], NULL)->what = what;
}

static void add_peer(void (*run)(struct attacker *at), const char *name)
{
	add_peers(run, &name, 1);
}

static void add_blocked(void)
{
	unsigned int i;
	int how, claim;

	for (how = 0; how < NR_BLOCKED; how++) {
		for (i = 0; i < ARRAY_LEN(peers); i++) {
			bool many = peers[i].kind == SCATTO_KIND_MPSC &&
				    peers[i].role == SCATTO_ROLE_PRODUCER;

			for (claim = 0; claim <= many; claim++) {
				struct attack *a = add(peers[i].kind, peers[i].role,
						       attack_blocked, claim ? "in CLAIM:" :
						       "in WAIT:", blocked_names[how]);

				a->what = claim;
				a->how = how;
			}
		}
	}
}

static void add_calls(void)
{
	unsigned int i, how;

	for (i = 0; i < NR_ARGS; i++) {
		add(SCATTO_KIND_SPSC, SCATTO_ROLE_CONSUMER, attack_args, "arguments:",
		    args_names[i])->what = i;
		add(SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER, attack_args, "arguments:",
		    args_names[i])->what = i;
	}
	for (i = 0; i < ARRAY_LEN(stalled_cmds); i++) {
		for (how = 0; how < 2; how++) {
			struct attack *a = add(SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER,
					       attack_stalled, how ? "killed in the copy of" :
					       "stalled in the copy of", stalled_names[i]);

			a->what = i;
			a->how = how;
		}
	}
}

static void add_limits(void)
{
	struct attack *a;

	add(SCATTO_KIND_SPSC, 0, attack_channels, "all channels", NULL)->root = true;
	a = add(SCATTO_KIND_SPSC, 0, attack_channels, "all names", NULL);
	a->root = true;
	a->what = 1;
	add(SCATTO_KIND_MPSC, 0, attack_bytes, "all bytes", NULL);
	add(SCATTO_KIND_MPSC, 0, attack_names, "names raced for", NULL);
	add(SCATTO_KIND_SPSC, 0, attack_memory, "no memory left", NULL)->root = true;
	a = add(SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER, attack_memory, "killed for memory", NULL);
	a->root = true;
	a->what = 1;
	add_peers(attack_rlimit, (const char * const []){ "no descriptors" }, 1);
	for (a = &attacks[nr_attacks - ARRAY_LEN(peers)]; a < &attacks[nr_attacks]; a++)
		a->what = RLIMIT_NOFILE;
	add_peers(attack_rlimit, (const char * const []){ "no address space" }, 1);
	for (a = &attacks[nr_attacks - ARRAY_LEN(peers)]; a < &attacks[nr_attacks]; a++)
		a->what = RLIMIT_AS;
	add_peer(attack_bomb, "fork bomb");
	for (a = &attacks[nr_attacks - ARRAY_LEN(peers)]; a < &attacks[nr_attacks]; a++)
		a->root = true;
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_OBSERVER, attack_bomb, "fork bomb", NULL)->root = true;
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_PRODUCER, attack_many_endpoints, "all places", NULL);
	add(SCATTO_KIND_SPSC, SCATTO_ROLE_OBSERVER, attack_many_endpoints, "all descriptors", NULL);
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_OWNER, attack_many_endpoints, "all descriptors", NULL);

	add(SCATTO_KIND_SPSC, 0, attack_permission, "another's name", NULL);
	add(SCATTO_KIND_SPSC, 0, attack_userns, "root of a user namespace", NULL);
	add_peer(attack_setuid, "setuid");
	for (a = &attacks[nr_attacks - ARRAY_LEN(peers)]; a < &attacks[nr_attacks]; a++)
		a->root = true;
	add(SCATTO_KIND_SPSC, SCATTO_ROLE_OBSERVER, attack_observer, "wants more", NULL);
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_OBSERVER, attack_observer, "wants more", NULL);
	add(SCATTO_KIND_MPSC, 0, attack_process, "the victim's memory", NULL);
	add(SCATTO_KIND_MPSC, 0, attack_module, "the module", NULL);
}

static void add_all(void)
{
	static const char * const owner_storm = "CLOSE storm";

	add_words();
	add_peers(attack_maps, map_names, NR_MAP_ATTACKS);
	add_peer(attack_fork, "fork");
	add_peer(attack_exec, "exec");
	add_peer(attack_clone_vm, "memory outlives");
	add_blocked();
	add_peer(attack_races, "calls race release");
	add(SCATTO_KIND_SPSC, SCATTO_ROLE_OWNER, attack_races, "calls race release", NULL);
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_OBSERVER, attack_races, "calls race release", NULL);
	add_peer(attack_close_storm, owner_storm);
	add(SCATTO_KIND_SPSC, SCATTO_ROLE_OWNER, attack_close_storm, owner_storm, NULL);
	add(SCATTO_KIND_MPSC, SCATTO_ROLE_OWNER, attack_close_storm, owner_storm, NULL);
	add_peer(attack_wake_storm, "WAKE storm");
	add_peer(attack_crowd, "crowd in WAIT");
	add_peer(attack_cycles, "cycles of sockets");
	add_peer(attack_epoll, "epoll");
	add_peer(attack_io_uring, "io_uring");
	add_calls();
	add_limits();
}

/* The kernel log: what is new in it, and does it complain? */
static int kmsg = -1;

static const char *kmsg_complaint(void)
{
	static const char * const bad[] = {
		"BUG: ", "WARNING:", "Oops", "KASAN", "UBSAN", "refcount_t",
		"lockup", "general protection", "unable to handle", "rcu_preempt", "bad page",
		"corruption", "usercopy", "suspicious RCU", "INFO: task",
	};
	static char record[8192], found[512];
	unsigned int i;
	ssize_t n;

	found[0] = '\0';
	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		record[n > 0 ? n : 0] = '\0';
		/* The kernel has races of its own: vm/init knows which are ours. */
		if (strstr(record, "BUG: KCSAN:"))
			continue;
		for (i = 0; i < ARRAY_LEN(bad) && !found[0]; i++)
			if (strstr(record, bad[i]))
				snprintf(found, sizeof(found), "%.500s", record);
	}
	return found[0] ? found : NULL;
}

/* Words like the kernel's own addresses; forged stamps may look like them. */
static unsigned int kernel_addresses(const struct attack *a, struct end *end)
{
	bool stamps = a->run == attack_words && a->what == WORD_STAMP;
	unsigned int i, n = 0;
	size_t k;

	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		volatile __u64 *words = end->map[i];

		if (i == SCATTO_REGION_DATA && stamps)
			continue;
		for (k = 0; k < end->layout.region[i].size / 8; k++)
			n += words[k] >= 0xffff800000000000ULL &&
			     words[k] < UINT64_MAX - (1 << 28);
	}
	return n;
}

static struct bystander bystanders[NR_BYSTANDERS];

/* One attack as its judge sees it. */
struct trial {
	const struct attack *a;
	struct attack_shared *sh;
	int owner;
	pid_t attacker, victim;
	uint64_t counts[NR_BYSTANDERS];
	long long refs;			/* of the module, without this */
	const char *why;
	char buf[600];
};

static long long module_refs(void)
{
	return read_number("/sys/module/scatto/refcnt", NULL);
}

/* As before this trial? The socket is for its collector of garbage. */
static bool module_at_rest(const struct trial *t)
{
	int sv[2];

	if (!socketpair(AF_UNIX, SOCK_STREAM, 0, sv)) {
		close(sv[0]);
		close(sv[1]);
	}
	return module_refs() == t->refs;
}

static void fail(struct trial *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void fail(struct trial *t, const char *fmt, ...)
{
	va_list ap;

	if (t->why)
		return;
	va_start(ap, fmt);
	vsnprintf(t->buf, sizeof(t->buf), fmt, ap);
	va_end(ap);
	t->why = t->buf;
}

static void attacker_run(struct trial *t)
{
	struct attacker at = {
		.a = t->a, .sh = t->sh, .owner = t->owner, .victim = t->victim, .seed = 4711,
	};
	int fd;

	/* What belongs to others it must find for itself. */
	for (fd = 3; fd < 256; fd++)
		if (fd != t->owner)
			close(fd);
	setsid();
	if (!t->a->root && become(UID_USER))
		_exit(1);
	/* It reads in /proc what its own threads do. */
	prctl(PR_SET_DUMPABLE, 1);
	t->a->run(&at);
	_exit(0);
}

static void bystanders_mark(struct trial *t)
{
	int i;

	for (i = 0; i < NR_BYSTANDERS; i++) {
		t->counts[i] = bystander_count(&bystanders[i]);
		__atomic_store_n(&bystanders[i].view->gap_ns, 0, __ATOMIC_RELAXED);
	}
}

/*
 * Half of what the pipe got in the same time, less two bursts for the edges; a pipe
 * that got next to nothing is the harm, but of the machine: it goes on in its time.
 */
static void bystanders_judge(struct trial *t)
{
	uint64_t pipe = bystander_count(&bystanders[BYSTANDER_PIPE]) - t->counts[BYSTANDER_PIPE];
	uint64_t gap = bystander_gap(&bystanders[BYSTANDER_PIPE]);
	int i;

	if (!bystander_goes_on(&bystanders[BYSTANDER_PIPE], t->counts[BYSTANDER_PIPE] + pipe))
		fail(t, "the machine stands still");
	for (i = BYSTANDER_SPSC; i < NR_BYSTANDERS; i++) {
		struct bystander *b = &bystanders[i];
		uint64_t got = bystander_count(b) - t->counts[i], its = bystander_gap(b);

		if (!bystander_goes_on(b, t->counts[i]))
			fail(t, "bystander %s: %llu events, %llu of them wrong",
			     bystander_name(i), (unsigned long long)got,
			     (unsigned long long)b->view->bad);
		if (its > gap + LATE_MS * MS)
			fail(t, "bystander %s: nothing for %llu ms, pipe: %llu ms",
			     bystander_name(i), its / MS, gap / MS);
		if (got + 2 * BYSTANDER_BURST < pipe / 2 &&
		    !wait_for(bystander_count(b) - t->counts[i] >= pipe / 2, LATE_MS))
			fail(t, "bystander %s: %llu events, pipe: %llu", bystander_name(i),
			     (unsigned long long)got, (unsigned long long)pipe);
	}
}

/* A call that has not come back yet counts from its begin. */
static void victim_judge(struct trial *t)
{
	uint64_t gap = bystander_gap(&bystanders[BYSTANDER_PIPE]);
	int i;

	for (i = 0; i < 2; i++) {
		struct victim_view *v = &t->sh->victim[i];
		uint64_t since = __atomic_load_n(&v->since_ns, __ATOMIC_ACQUIRE);
		uint64_t now = now_ns(), late = since && now > since ? now - since : 0;

		if (late < v->late_ns)
			late = v->late_ns;
		if (late > gap + LATE_MS * MS)
			fail(t, "the victim's %s was in one call for %llu ms too long",
			     i ? "consumer" : "producer", late / MS);
	}
}

/* The worst that a call may take is in here, so that it is seen. */
static bool victim_stuck(struct trial *t)
{
	victim_judge(t);
	return t->why;
}

static void trial_begin(struct trial *t)
{
	bool many = t->a->kind == SCATTO_KIND_MPSC;

	t->refs = module_refs();
	act_as(UID_OTHER);
	t->owner = many ? many_create(NULL, 0, ATTACK_SLOT, ATTACK_CAPACITY, ATTACK_PRODUCERS,
				      SCATTO_F_PAUSE) :
			  channel_create(NULL, 0, ATTACK_SLOT, ATTACK_CAPACITY, SCATTO_F_PAUSE);
	act_as_root();
	bystanders_mark(t);
	t->victim = spawn();
	if (!t->victim) {
		become(UID_OTHER);
		victim_run(t->a, t->sh, t->owner);
	}
	t->attacker = spawn();
	if (!t->attacker)
		attacker_run(t);
	if (t->owner < 0 || t->victim < 0 || t->attacker < 0)
		ksft_exit_fail_msg("cannot begin: %s\n", strerror(errno));
}

/* Gone by itself, within PATIENCE_MS? Else it is killed, and that works. */
static bool gone(struct trial *t, pid_t pid, int *status)
{
	bool went = wait_for(waitpid(pid, status, WNOHANG) == pid, PATIENCE_MS * test_slowness());

	if (went)
		return true;
	kill(pid, SIGKILL);
	if (!wait_for(waitpid(pid, status, WNOHANG) == pid, PATIENCE_MS * test_slowness()))
		fail(t, "a process does not die");
	return false;
}

static void attacker_end(struct trial *t)
{
	int status = 0, ret;

	if (!gone(t, t->attacker, &status))
		fail(t, "the attacker does not come to its end");
	/* Whoever it has left behind. */
	kill(-t->attacker, SIGKILL);
	ret = rmdir(ATTACK_CGROUP);
	if (ret && errno == EBUSY && !wait_for(!rmdir(ATTACK_CGROUP), PATIENCE_MS))
		fail(t, "attackers stay in their cgroup");
	if (t->sh->broken)
		fail(t, "%u times not as it must be", t->sh->broken);
	if (!t->sh->rounds && !t->sh->skipped)
		fail(t, "nothing happened (status %#x)", status);
}

static void victim_end_of(struct trial *t)
{
	struct end end;
	int status = 0, ret;

	if (end_open(&end, SCATTO_ROLE_OBSERVER, t->owner)) {
		fail(t, "the channel cannot be observed");
	} else {
		if (kernel_addresses(t->a, &end))
			fail(t, "%u kernel addresses in shared memory",
			     kernel_addresses(t->a, &end));
		end_drop(&end);
	}
	ret = dev_close(t->owner);
	if (ret && ret != -EPIPE)
		fail(t, "CLOSE: %d", ret);
	if (!gone(t, t->victim, &status))
		fail(t, "the victim does not come back");
	if (status)
		fail(t, "the victim died of %s %d", WIFSIGNALED(status) ? "signal" : "status",
		     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (!t->sh->victim[0].calls && !t->sh->victim[1].calls)
		fail(t, "the victim did nothing");
}

static void trial_end(struct trial *t)
{
	const char *complaint;

	victim_judge(t);
	__atomic_store_n(&t->sh->stop, true, __ATOMIC_RELEASE);
	attacker_end(t);
	victim_end_of(t);
	close(t->owner);
	if (!wait_for(module_at_rest(t), PATIENCE_MS))
		fail(t, "%lld references to the module, before: %lld", module_refs(), t->refs);
	bystanders_judge(t);
	complaint = kmsg_complaint();
	if (complaint)
		fail(t, "kernel log: %s", complaint);
}

/* Calls of all victims that had no error: attacked, they do work. */
static unsigned long victims_good;

static void try_attack(const struct attack *a, unsigned int ms, struct attack_shared *sh)
{
	struct trial t = { .a = a, .sh = sh };
	uint64_t began = now_ns(), until = 0;
	int i;

	memset(sh, 0, sizeof(*sh));
	trial_begin(&t);
	/* It counts from when both are at work. */
	while (!until || now_ns() < until) {
		bool works = (sh->rounds || sh->skipped) &&
			     (sh->victim[0].calls || sh->victim[1].calls);

		if (!until && (works || task_state(t.attacker) == 'Z' ||
			       now_ns() > began + PATIENCE_MS * MS))
			until = now_ns() + ms * MS;
		sleep_ms(5);
		if (victim_stuck(&t))
			break;
	}
	trial_end(&t);
	victims_good += sh->victim[0].good + sh->victim[1].good;
	if (getenv("SCATTO_ATTACK")) {
		ksft_print_msg("%llu ms, %lu rounds\n", (now_ns() - began) / MS, sh->rounds);
		for (i = 0; i < 2; i++)
			ksft_print_msg("victim's %s: %lu calls, %lu good, %llu ms late\n",
				       i ? "consumer" : "producer", sh->victim[i].calls,
				       sh->victim[i].good, sh->victim[i].late_ns / MS);
	}
	if (t.why) {
		ksft_print_msg("%s: %s\n", a->name, t.why);
		ksft_test_result_fail("%s\n", a->name);
	} else if (sh->skipped) {
		ksft_test_result_skip("%s: not on this kernel\n", a->name);
	} else {
		ksft_test_result_pass("%s\n", a->name);
	}
	fflush(stdout);
}

/* Over all attacks; for single ones the pipe is no good measure. */
static void bystanders_total(const uint64_t *begin)
{
	uint64_t pipe = bystander_count(&bystanders[BYSTANDER_PIPE]) - begin[BYSTANDER_PIPE];
	int i;

	for (i = BYSTANDER_SPSC; i < NR_BYSTANDERS; i++) {
		struct bystander *b = &bystanders[i];
		uint64_t got = bystander_count(b) - begin[i];
		/*
		 * Each producer of kind MPSC sends as much as the pipe's, but for the
		 * time that two bursts which meet wait for room: 92 % are normal.
		 */
		uint64_t due = i == BYSTANDER_MPSC ? pipe * BYSTANDER_PRODUCERS : pipe;

		ksft_print_msg("bystander %s: %llu events, %llu wrong; pipe: %llu\n",
			       bystander_name(i), (unsigned long long)got,
			       (unsigned long long)b->view->bad, (unsigned long long)pipe);
		if (!b->view->bad && got > due / 4 * 3)
			ksft_test_result_pass("bystander %s: throughput\n", bystander_name(i));
		else
			ksft_test_result_fail("bystander %s: throughput\n", bystander_name(i));
	}
}

/* SCATTO_ATTACK: only those with this in their name, and what they did. */
static bool is_asked_for(unsigned int i)
{
	static unsigned int turns, turn;
	const char *only = getenv("SCATTO_ATTACK");
	struct utsname un;

	if (only)
		return strstr(attacks[i].name, only);
	/* What takes seconds each is done by turns, others every day and on each kernel. */
	if (!turns) {
		turns = test_is_long() || test_slowness() == 1 ? 1 : 3;
		uname(&un);
		turn = (time(NULL) / (24 * 60 * 60) + atoi(un.release)) % turns;
		if (turns > 1)
			ksft_print_msg("reduced: attacks %u, %u, ... of %u\n", turn,
				       turn + turns, nr_attacks);
	}
	return i % turns == turn;
}

int main(void)
{
	unsigned int ms, i, n = 0;
	uint64_t begin[NR_BYSTANDERS];
	/* Ahead of whom it judges; its children are like all others. */
	struct sched_param rt = { .sched_priority = 2 };
	struct attack_shared *sh;
	int target;

	ksft_print_header();
	if (getuid())
		ksft_exit_skip("needs root\n");
	add_all();
	for (i = 0; i < nr_attacks; i++)
		n += is_asked_for(i);
	ksft_set_plan(n + 2);
	ms = test_count(3000, 80);

	sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &rt);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(kmsg, 0, SEEK_END);
	write_file("/proc/sys/vm/unprivileged_userfaultfd", "1");
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	act_as(UID_OTHER);
	target = channel_create(ATTACK_TARGET, 0600, 8, 8, SCATTO_F_PAUSE);
	act_as_root();
	if (kmsg < 0 || sh == MAP_FAILED || target < 0)
		ksft_exit_fail_msg("cannot begin: %s\n", strerror(errno));
	for (i = 0; i < NR_BYSTANDERS; i++) {
		if (bystander_start(&bystanders[i], i, UID_OTHER))
			ksft_exit_fail_msg("no bystander: %s\n", strerror(errno));
	}
	for (i = 0; i < NR_BYSTANDERS; i++)
		begin[i] = bystander_count(&bystanders[i]);

	for (i = 0; i < nr_attacks; i++)
		if (is_asked_for(i))
			try_attack(&attacks[i], ms, sh);

	bystanders_total(begin);
	for (i = 0; i < NR_BYSTANDERS; i++)
		bystander_stop(&bystanders[i]);
	close(target);
	write_file("/proc/sys/vm/unprivileged_userfaultfd", "0");
	ksft_print_msg("%u attacks of %u ms each; the victims made %lu calls without an error\n",
		       n, ms, victims_good);
	if (ksft_get_fail_cnt())
		ksft_exit_fail();
	ksft_exit_pass();
}
