/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks: taking all there is, and crossing borders between users. Those that are
 * marked as root's in the table begin as root to set a limit, and drop it then.
 */
#ifndef SELFTESTS_ATTACK_LIMITS_H
#define SELFTESTS_ATTACK_LIMITS_H

#include "attack.h"

#include <sys/ptrace.h>
#include <sys/uio.h>

#define ATTACK_CGROUP	"/sys/fs/cgroup/scatto-attack"
#define ATTACK_TARGET	"attack-target"		/* a channel of UID_OTHER's, 0600 */

/* False: there are no such cgroups. */
static bool attack_jail(struct attacker *at, const char *limit, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), ATTACK_CGROUP "/%s", limit);
	if ((mkdir(ATTACK_CGROUP, 0755) && errno != EEXIST) ||
	    write_file(path, "%s", value) ||
	    write_file(ATTACK_CGROUP "/cgroup.procs", "%d", getpid())) {
		attack_skip(at);
		return false;
	}
	return must(at, !become(UID_USER));
}

static bool is_shortage(int ret)
{
	return ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE;
}

/*
 * Channels until there are no more to be had, or if not @all until the attack is over;
 * then all of them back. How many there were; 0 if it was not the quota that ended it.
 */
static unsigned int take_channels(struct attacker *at, uint32_t slot, uint64_t capacity,
				  bool named, bool all)
{
	static int fds[4096];
	struct scatto_query most = limits_get();
	unsigned int n = 0, took;
	char name[SCATTO_NAME_LEN];
	int ret = 0;

	while (n < ARRAY_LEN(fds) && n <= most.max_user_channels &&
	       n * slot * capacity <= most.max_user_bytes && (all || attack_goes_on(at))) {
		snprintf(name, sizeof(name), "attack-%d-%u", getpid(), n);
		ret = channel_create(named ? name : NULL, named ? 0600 : 0, slot, capacity, 0);
		if (ret < 0)
			break;
		fds[n++] = ret;
		attack_round(at);
	}
	must(at, ret >= 0 || ret == -EDQUOT || is_shortage(ret));
	must(at, n <= most.max_user_channels && n * slot * capacity <= most.max_user_bytes);
	took = ret == -EDQUOT ? n : 0;
	while (n)
		close(fds[--n]);
	return took;
}

static void attack_channels(struct attacker *at)
{
	struct rlimit files = { 4096, 4096 };
	bool all = true;

	setrlimit(RLIMIT_NOFILE, &files);
	if (at->a->root && !must(at, !become(UID_USER)))
		return;
	while (attack_goes_on(at)) {
		take_channels(at, 8, 8, at->a->what, all);
		all = false;
	}
}

/* What was given back is to be had again, while the user's account exists. */
static void attack_bytes(struct attacker *at)
{
	int kept = channel_create(NULL, 0, 8, 8, 0);
	unsigned int first = 0, n, i;

	must(at, kept >= 0);
	for (i = 0; i < 2 || attack_goes_on(at); i++) {
		/* Twice at any rate, however long the pages take. */
		n = take_channels(at, 4096, 4096, false, i < 2);
		must(at, !n || !first || n == first);
		first = n ?: first;
	}
	close(kept);
}

/* A few names, and everybody wants each of them. */
static void names_run(struct attack_crew *crew, unsigned int me)
{
	struct attacker *at = crew->at;
	struct scatto_list list;
	uint64_t seed = me + 1;
	struct end end;
	char name[SCATTO_NAME_LEN];
	int owner;

	while (attack_goes_on(at)) {
		snprintf(name, sizeof(name), "attack-%u", (unsigned int)chance(&seed) % 3);
		owner = channel_create(name, 0600, 8, 8, 0);
		must(at, owner >= 0 || owner == -EEXIST);
		if (!end_attach_to(&end, 1 + chance(&seed) % 4, -1, name)) {
			list = (struct scatto_list){ .size = sizeof(list) };
			dev_ioctl(end.fd, SCATTO_IOC_LIST, &list);
			end_map(&end);
			attack_work(&end, 2);
			end_drop(&end);
		}
		if (owner >= 0)
			close(owner);
		attack_round(at);
	}
}

static void attack_names(struct attacker *at)
{
	attack_crew(at, 8, NULL, names_run);
}

/* Where memory runs out in the middle of everything: -ENOMEM, or the OOM killer. */
static void attack_memory(struct attacker *at)
{
	if (!attack_jail(at, "memory.max", "6M"))
		return;
	while (attack_goes_on(at)) {
		pid_t pid = spawn();
		struct end end;

		if (!pid) {
			if (at->a->what) {
				/* Dies of what it takes beside, with the ring mapped. */
				if (!attack_open(at, &end))
					_exit(0);
				attack_work(&end, 4);
				memset(malloc(16 << 20), 1, 16 << 20);
			}
			take_channels(at, 1024, 512, false, false);
			_exit(0);
		}
		if (pid > 0)
			reap(pid);
		attack_round(at);
	}
}

/* Each call in turn is the one that gets no descriptor, or no room to map. */
static void attack_rlimit(struct attacker *at)
{
	while (attack_goes_on(at)) {
		pid_t pid = spawn();
		struct rlimit limit = { 3, 3 };
		struct end end;

		if (!pid) {
			limit.rlim_cur += chance(&at->seed) % 8;
			limit.rlim_max = limit.rlim_cur;
			if (at->a->what == RLIMIT_AS) {
				limit.rlim_cur = read_number("/proc/self/statm", NULL) * 4096 +
						 chance(&at->seed) % 8 * 4096;
				limit.rlim_max = limit.rlim_cur;
			}
			setrlimit(at->a->what, &limit);
			if (!end_open(&end, at->a->role, at->owner)) {
				attack_work(&end, 4);
				end_drop(&end);
			}
			close(attack_create(at));
			_exit(0);
		}
		chance(&at->seed);
		must(at, pid < 0 || reap(pid) == 0);
		attack_round(at);
	}
}

/* Endpoints that come, work, and die in the middle of it, from all generations. */
static void attack_bomb(struct attacker *at)
{
	struct end end;
	pid_t pid;

	if (!attack_jail(at, "pids.max", "48"))
		return;
	signal(SIGCHLD, SIG_IGN);
	while (attack_goes_on(at)) {
		pid = fork();
		if (!pid) {
			at->seed ^= (uint64_t)getpid() << 32;
			if (!end_open(&end, at->a->role, at->owner)) {
				attack_work(&end, chance(&at->seed) % 8);
				attack_round(at);
				if (chance(&at->seed) % 2)
					kill(getpid(), SIGKILL);
			}
			if (chance(&at->seed) % 2)
				_exit(0);
		} else if (pid < 0) {
			sched_yield();
		}
	}
}

/* As many as descriptors allow. */
static void attack_many_endpoints(struct attacker *at)
{
	static struct end ends[1024];

	while (attack_goes_on(at)) {
		unsigned int n = 0;

		while (n < ARRAY_LEN(ends) && attack_goes_on(at)) {
			int ret = end_open(&ends[n], at->a->role, at->owner);

			if (ret) {
				must(at, ret == -EBUSY || is_shortage(ret));
				break;
			}
			attack_work(&ends[n++], 1);
			attack_round(at);
		}
		while (n)
			end_drop(&ends[--n]);
	}
}

/* Somebody else's channel, by its name. */
static void attack_permission(struct attacker *at)
{
	uint32_t role = 0;

	while (attack_goes_on(at)) {
		struct end end;

		role = role % 4 + 1;
		must(at, end_attach_to(&end, role, -1, ATTACK_TARGET) == -EACCES);
		must(at, channel_create(ATTACK_TARGET, 0666, 8, 8, 0) == -EEXIST);
		attack_round(at);
	}
}

/* Root of a namespace of one's own is nobody in the one around it. */
static void attack_userns(struct attacker *at)
{
	while (attack_goes_on(at)) {
		pid_t pid = spawn();
		struct scatto_list list = { .size = sizeof(list) };
		struct end end;
		uint32_t role;
		int own, fd;

		if (pid > 0)
			reap(pid);
		attack_round(at);
		if (pid)
			continue;
		if (unshare(CLONE_NEWUSER)) {
			attack_skip(at);
			_exit(0);
		}
		write_file("/proc/self/setgroups", "deny");
		must(at, !write_file("/proc/self/uid_map", "0 %d 1", UID_USER));
		must(at, !write_file("/proc/self/gid_map", "0 %d 1", UID_USER));
		for (role = 1; role <= 4; role++)
			must(at, end_attach_to(&end, role, -1, ATTACK_TARGET) == -ENOENT);
		fd = dev_open();
		must(at, dev_ioctl(fd, SCATTO_IOC_LIST, &list) == -ENOENT);
		/* The name is free here; the limits are those of outside. */
		own = channel_create(ATTACK_TARGET, 0600, 8, 8, 0);
		must(at, own >= 0);
		must(at, channel_create(NULL, 0, 4096, 1 << 15, 0) == -EFBIG);
		must(at, limit_set("max_user_bytes", 1ULL << 40));
		_exit(0);
	}
}

/* An endpoint that was had before the user changed stays what it was. */
static void attack_setuid(struct attacker *at)
{
	static const uid_t users[] = { UID_USER, UID_OTHER };

	while (attack_goes_on(at)) {
		pid_t pid = spawn();
		struct end end, other;
		uint32_t role;

		if (!pid) {
			uid_t uid = users[chance(&at->seed) % 2];

			if (!attack_open(at, &end))
				_exit(0);
			must(at, !become(uid));
			attack_work(&end, 4);
			must(at, end_attach_to(&other, SCATTO_ROLE_OBSERVER, -1, ATTACK_TARGET) ==
				 (uid == UID_OTHER ? 0 : -EACCES));
			/* No way up through what it has. */
			for (role = SCATTO_ROLE_OWNER; role < SCATTO_ROLE_OBSERVER; role++)
				must(at, end_attach(&other, role, end.fd) == -EPERM);
			must(at, setuid(0) < 0);
			_exit(0);
		}
		chance(&at->seed);
		if (pid > 0)
			reap(pid);
		attack_round(at);
	}
}

/* An observer wants more. */
static void attack_observer(struct attacker *at)
{
	struct end end, other;
	char path[64];
	uint32_t role;
	int fd;

	if (!attack_open(at, &end))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", end.fd);
	while (attack_goes_on(at)) {
		struct scatto_claim claim = claim_args(1, 1, 0);
		struct scatto_info info;
		unsigned int i;

		for (role = SCATTO_ROLE_OWNER; role < SCATTO_ROLE_OBSERVER; role++)
			must(at, end_attach(&other, role, end.fd) == -EPERM);
		must(at, dev_close(end.fd) == -EPERM);
		must(at, dev_wake(end.fd) == -EPERM);
		must(at, dev_wait(end.fd, 1, 0) == -EPERM);
		must(at, dev_claim(end.fd, &claim) == -EPERM);
		for (i = 0; i < SCATTO_NR_REGIONS; i++) {
			must(at, end_map_region(&end, i, PROT_READ | PROT_WRITE) == -EACCES);
			must(at, mprotect(end.map[i], end.layout.region[i].size,
					  PROT_READ | PROT_WRITE) < 0);
		}
		/* Another open of the device, and nothing of this one. */
		fd = open(path, O_RDWR | O_CLOEXEC);
		must(at, fd >= 0 && dev_info(fd, &info) == -ENOTCONN);
		close(fd);
		attack_round(at);
	}
	end_drop(&end);
}

/* The victim's process instead of its channel. */
static void attack_process(struct attacker *at)
{
	char path[64], buf[64];
	struct iovec own = { buf, sizeof(buf) }, its = { (void *)0x10000, sizeof(buf) };
	int pidfd = syscall(SYS_pidfd_open, at->victim, 0);

	snprintf(path, sizeof(path), "/proc/%d/mem", at->victim);
	while (attack_goes_on(at)) {
		must(at, open(path, O_RDWR | O_CLOEXEC) < 0);
		must(at, ptrace(PTRACE_SEIZE, at->victim, NULL, NULL) < 0);
		must(at, process_vm_readv(at->victim, &own, 1, &its, 1, 0) < 0);
		must(at, syscall(SYS_pidfd_getfd, pidfd, 3, 0) < 0);
		must(at, kill(at->victim, SIGSTOP) < 0);
		attack_round(at);
	}
	close(pidfd);
}

/* The module itself. */
static void attack_module(struct attacker *at)
{
	while (attack_goes_on(at)) {
		must(at, limit_set("max_user_bytes", 1ULL << 40) == -EACCES);
		must(at, syscall(SYS_delete_module, "scatto", O_NONBLOCK) < 0);
		must(at, chmod(DEV, 0) < 0);
		attack_round(at);
	}
}

#endif /* SELFTESTS_ATTACK_LIMITS_H */
