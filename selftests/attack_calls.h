/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attacks: calls with arguments that make no sense, change while they are read, or
 * lie where they should not. ioctl.c knows the right errno of each mistake; here
 * they are made at random, by the thousand, on the victim's channel.
 */
#ifndef SELFTESTS_ATTACK_CALLS_H
#define SELFTESTS_ATTACK_CALLS_H

#include "attack.h"
#include "ioctl32.h"

#include <linux/userfaultfd.h>

enum attack_args {
	ARGS_SIZES,
	ARGS_PADDING,
	ARGS_FLAGS,
	ARGS_EDGE,
	ARGS_CHANGING,
	ARGS_IN_RING,
	ARGS_FDS,
	ARGS_UNKNOWN,
	ARGS_COMPAT,
	ARGS_NAMES,
	ARGS_SEEK,
	NR_ARGS,
};

static const char * const args_names[] = {
	"sizes", "padding", "flags", "edge-of-page", "changing", "in-the-ring", "wrong-fds",
	"unknown-commands", "32-bit", "names", "seeks",
};

union any_arg {
	uint32_t size;
	struct scatto_query query;
	struct scatto_list list;
	struct scatto_create create;
	struct scatto_attach attach;
	struct scatto_info info;
	struct scatto_wait wait;
	struct scatto_claim claim;
	unsigned char bytes[2 * 4096];
	uint32_t words[2 * 1024];
};

static const struct any_call {
	unsigned long cmd;
	size_t size;
} any_calls[] = {
	{ SCATTO_IOC_QUERY, sizeof(struct scatto_query) },
	{ SCATTO_IOC_LIST, sizeof(struct scatto_list) },
	{ SCATTO_IOC_CREATE, sizeof(struct scatto_create) },
	{ SCATTO_IOC_ATTACH, sizeof(struct scatto_attach) },
	{ SCATTO_IOC_INFO, sizeof(struct scatto_info) },
	{ SCATTO_IOC_WAIT, sizeof(struct scatto_wait) },
	{ SCATTO_IOC_CLAIM, sizeof(struct scatto_claim) },
};

struct args {
	struct attacker *at;
	struct end end;			/* of the victim's channel */
	int fresh;			/* an open that is not bound, or was not */
	union any_arg *arg;		/* below 4 GiB; a page of nothing behind */
	int others[8];			/* files of other kinds */
};

/* As it would be right; no call takes longer than a moment. */
static void args_fill(struct args *a, union any_arg *arg, const struct any_call *call)
{
	memset(arg, 0, sizeof(*arg));
	arg->size = call->size;
	switch (call->cmd) {
	case SCATTO_IOC_CREATE:
		arg->create = create_args(8, 8, 0);
		break;
	case SCATTO_IOC_ATTACH:
		arg->attach = attach_args(SCATTO_ROLE_OBSERVER, a->at->owner, NULL);
		break;
	case SCATTO_IOC_WAIT:
		arg->wait.flags = SCATTO_WAIT_DEADLINE;
		arg->wait.deadline = 1;
		arg->wait.want = chance(&a->at->seed) >> 1;
		break;
	case SCATTO_IOC_CLAIM:
		arg->claim = claim_args(1, 1, 0);
		break;
	}
}

static int args_fd(struct args *a, const struct any_call *call)
{
	if (call->cmd != SCATTO_IOC_CREATE && call->cmd != SCATTO_IOC_ATTACH)
		return a->end.fd;
	close(a->fresh);
	a->fresh = dev_open();
	return a->fresh;
}

/* One thing is wrong with it, or more. */
static void args_spoil(struct args *a, union any_arg *arg, const struct any_call *call)
{
	uint64_t *seed = &a->at->seed;
	uint32_t *word = &arg->words[1 + chance(seed) % (call->size / 4 - 1)];

	switch (a->at->a->what) {
	case ARGS_SIZES:
		arg->size = chance(seed) % 4 ? chance(seed) % 8192 : chance(seed);
		if (chance(seed) % 2)
			memset(&arg->bytes[call->size], chance(seed) % 2,
			       sizeof(*arg) - call->size);
		break;
	case ARGS_FLAGS:
		/* Flags, roles, kinds and modes are near the beginning. */
		arg->words[1 + chance(seed) % 12] = 1U << chance(seed) % 32;
		break;
	case ARGS_NAMES:
		if (call->cmd == SCATTO_IOC_CREATE || call->cmd == SCATTO_IOC_ATTACH) {
			char *name = call->cmd == SCATTO_IOC_CREATE ? arg->create.name :
								      arg->attach.name;
			unsigned int i;

			for (i = 0; i < SCATTO_NAME_LEN; i++)
				name[i] = chance(seed) % 8 ? chance(seed) : 0;
			arg->attach.channel_fd = call->cmd == SCATTO_IOC_ATTACH ? -1 :
						 arg->attach.channel_fd;
		}
		break;
	default:
		*word = chance(seed);
	}
	/* Else it would block until the end of the attack. */
	if (call->cmd == SCATTO_IOC_WAIT || call->cmd == SCATTO_IOC_CLAIM)
		fcntl(a->end.fd, F_SETFL, O_RDWR | O_NONBLOCK);
}

/* What must come in as zero: from a field to the end of the structure, or one field. */
#define BLANK_FROM(call, type, from) \
	{ SCATTO_IOC_ ## call, offsetof(struct type, from), \
	  sizeof(struct type) - offsetof(struct type, from) }
#define BLANK(call, type, field) \
	{ SCATTO_IOC_ ## call, offsetof(struct type, field), \
	  sizeof(((struct type *)0)->field) }

static const struct {
	unsigned long cmd;
	size_t at, size;
} blanks[] = {
	BLANK_FROM(QUERY, scatto_query, abi),
	BLANK(LIST, scatto_list, flags),
	BLANK_FROM(LIST, scatto_list, name),
	BLANK(CREATE, scatto_create, reserved0),
	BLANK(CREATE, scatto_create, id),
	BLANK(ATTACH, scatto_attach, flags),
	BLANK_FROM(ATTACH, scatto_attach, index),
	BLANK_FROM(INFO, scatto_info, role),
	/* With a deadline, as args_fill() has it. */
	BLANK(WAIT, scatto_wait, enough),
	BLANK(WAIT, scatto_wait, wake_fd),
	BLANK(WAIT, scatto_wait, reserved0),
	BLANK(CLAIM, scatto_claim, position),
	BLANK(CLAIM, scatto_claim, granted),
	BLANK(CLAIM, scatto_claim, reserved0),
};

static bool is_blank(const void *at, size_t size)
{
	const unsigned char *p = at;

	while (size && !*p++)
		size--;
	return !size;
}

/* One bit of those is not zero; and what is reserved comes out as zero. */
static void args_padding(struct args *a)
{
	unsigned int i = chance(&a->at->seed) % ARRAY_LEN(blanks), bit;
	const struct any_call *call = any_calls;
	struct scatto_info info;

	while (call->cmd != blanks[i].cmd)
		call++;
	args_fill(a, a->arg, call);
	bit = chance(&a->at->seed) % (blanks[i].size * 8);
	a->arg->bytes[blanks[i].at + bit / 8] ^= 1 << bit % 8;
	must(a->at, dev_ioctl(args_fd(a, call), call->cmd, a->arg) == -EINVAL);

	must(a->at, !dev_info(a->end.fd, &info));
	must(a->at, !info.reserved0 && is_blank(info.layout.reserved,
						sizeof(info.layout.reserved)));
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		must(a->at, !info.layout.region[i].reserved);
}

/* Any fd instead of an endpoint's; files of other kinds are refused. */
static void args_fds(struct args *a)
{
	uint64_t *seed = &a->at->seed;
	bool other = chance(seed) % 2, attach = chance(seed) % 2;
	int fd = chance(seed) % 64 - 4;
	const struct any_call *call = any_calls;
	int ret;

	while (call->cmd != (attach ? SCATTO_IOC_ATTACH : SCATTO_IOC_WAIT))
		call++;
	if (other)
		fd = a->others[chance(seed) % ARRAY_LEN(a->others)];
	args_fill(a, a->arg, call);
	if (attach) {
		a->arg->attach.channel_fd = fd;
		a->arg->attach.role = other ? SCATTO_ROLE_OBSERVER : chance(seed) % 6;
	} else {
		a->arg->wait.flags |= SCATTO_WAIT_WAKE;
		a->arg->wait.wake_fd = fd;
	}
	ret = dev_ioctl(args_fd(a, call), call->cmd, a->arg);
	must(a->at, !other || ret == -EINVAL);
}

static void args_open_others(struct args *a)
{
	int sv[2] = { -1, -1 };

	must(a->at, !socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	a->others[0] = sv[0];
	a->others[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
	a->others[2] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	a->others[3] = syscall(SYS_memfd_create, "attack", 0);
	a->others[4] = syscall(SYS_epoll_create1, 0);
	a->others[5] = syscall(SYS_eventfd2, 0, 0);
	a->others[6] = syscall(SYS_pidfd_open, getpid(), 0);
	a->others[7] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* So that the last byte is the last of a page, or the first of what is not there. */
static void args_edge(struct args *a, const struct any_call *call)
{
	unsigned char *end = (unsigned char *)(a->arg + 1);
	int over = chance(&a->at->seed) % (call->size + 5) - 4;
	size_t there = call->size - (over > 0 ? over : 0);
	union any_arg right;
	int ret;

	args_fill(a, &right, call);
	memcpy(end - there, &right, there);
	ret = dev_ioctl(args_fd(a, call), call->cmd, end - there);
	must(a->at, over <= 0 || ret == -EFAULT);
	must(a->at, over > 0 || ret != -EFAULT);
}

/* The ring itself as the argument: read by the call while others write it. */
static void args_in_ring(struct args *a, const struct any_call *call)
{
	struct end *end = &a->end;
	unsigned int i = chance(&a->at->seed) % SCATTO_NR_REGIONS;
	size_t room = end->layout.region[i].size - call->size;
	char *at = (char *)end->map[i] + (chance(&a->at->seed) % room & ~7UL);
	union any_arg right;
	int ret;

	args_fill(a, &right, call);
	if (end->layout.region[i].writable)
		memcpy(at, &right, call->size);
	fcntl(end->fd, F_SETFL, O_RDWR | O_NONBLOCK);
	ret = dev_ioctl(args_fd(a, call), call->cmd, at);
	/* Results are not written where the caller cannot. */
	if (!end->layout.region[i].writable && call->cmd != SCATTO_IOC_WAIT)
		must(a->at, ret);
}

static void args_unknown(struct args *a)
{
	uint64_t *seed = &a->at->seed;
	unsigned long cmd = chance(seed) % 2 ? chance(seed) :
			    (chance(seed) & ~0xff00UL) | SCATTO_IOC_MAGIC << 8;
	int ret;

	if (cmd >> 16 == 0 && (cmd >> 8 & 0xff) == SCATTO_IOC_MAGIC)
		return;
	/* The file system's own, on any file. */
	ret = dev_ioctl(chance(seed) % 2 ? a->fresh : a->end.fd, cmd, a->arg);
	must(a->at, ret <= 0);
}

/* All that a 32-bit program can say, and what it cannot, like these pointers. */
static void args_compat(struct args *a, const struct any_call *call)
{
#ifdef __x86_64__
	uint64_t at = (uintptr_t)a->arg;
	int fd = args_fd(a, call);

	fcntl(a->end.fd, F_SETFL, O_RDWR | O_NONBLOCK);
	args_fill(a, a->arg, call);
	if (chance(&a->at->seed) % 2)
		args_spoil(a, a->arg, call);
	if (chance(&a->at->seed) % 2)
		at |= chance(&a->at->seed) << 32;
	ioctl32(fd, call->cmd, at);
	ioctl32(fd, call->cmd, chance(&a->at->seed));
	ioctl32(fd, SCATTO_IOC_WAKE, chance(&a->at->seed) % 2);
#else
	attack_skip(a->at);
#endif
}

/* Any offset, any whence, any descriptor in the offset. It must not sleep for ever. */
static void args_seek(struct args *a)
{
	static const int whences[] = { SEEK_DATA, SEEK_HOLE, SEEK_END, SEEK_SET, SEEK_CUR, 5 };
	uint64_t *seed = &a->at->seed, offset = chance(seed) >> chance(seed) % 64;

	fcntl(a->end.fd, F_SETFL, O_RDWR | O_NONBLOCK);
	if (chance(seed) % 2)
		offset = SCATTO_SEEK(chance(seed), a->others[chance(seed) % ARRAY_LEN(a->others)]);
	dev_seek(chance(seed) % 4 ? a->end.fd : a->fresh, offset,
		 whences[chance(seed) % ARRAY_LEN(whences)]);
	dev_seek(a->end.fd, 0, chance(seed) % 2 ? SEEK_DATA : SEEK_HOLE);
}

static void args_call(struct args *a)
{
	const struct any_call *call = &any_calls[chance(&a->at->seed) % ARRAY_LEN(any_calls)];

	switch (a->at->a->what) {
	case ARGS_PADDING:
		args_padding(a);
		break;
	case ARGS_FDS:
		args_fds(a);
		break;
	case ARGS_EDGE:
		args_edge(a, call);
		break;
	case ARGS_IN_RING:
		args_in_ring(a, call);
		break;
	case ARGS_UNKNOWN:
		args_unknown(a);
		break;
	case ARGS_COMPAT:
		args_compat(a, call);
		break;
	case ARGS_SEEK:
		args_seek(a);
		break;
	default:
		args_fill(a, a->arg, call);
		args_spoil(a, a->arg, call);
		dev_ioctl(args_fd(a, call), call->cmd, a->arg);
	}
}

/* Writes all over the argument while calls read it. */
static void *args_changer(void *arg)
{
	struct args *a = arg;
	uint64_t seed = 5;

	while (attack_goes_on(a->at)) {
		a->arg->words[chance(&seed) % 16] = chance(&seed) % 512;
		a->arg->size = chance(&seed) % 2 ? chance(&seed) % 8192 :
			       any_calls[chance(&seed) % ARRAY_LEN(any_calls)].size;
	}
	return NULL;
}

static void attack_args(struct attacker *at)
{
	struct args a = { .at = at, .fresh = -1 };
	pthread_t changer;
	unsigned char *low = mmap(NULL, sizeof(*a.arg) + 4096, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	must(at, low != MAP_FAILED && !munmap(low + sizeof(*a.arg), 4096));
#ifdef __x86_64__
	if (at->a->what == ARGS_COMPAT && !have_ioctl32()) {
		attack_skip(at);
		return;
	}
#endif
	a.arg = (void *)low;
	if (!attack_open(at, &a.end))
		return;
	if (at->a->what == ARGS_CHANGING)
		must(at, !pthread_create(&changer, NULL, args_changer, &a));
	if (at->a->what == ARGS_FDS || at->a->what == ARGS_SEEK)
		args_open_others(&a);
	a.fresh = dev_open();
	while (attack_goes_on(at)) {
		int i;

		for (i = 0; i < 16; i++)
			args_call(&a);
		attack_work(&a.end, 2);
		attack_round(at);
	}
	if (at->a->what == ARGS_CHANGING)
		pthread_join(changer, NULL);
	close(a.fresh);
	end_drop(&a.end);
}

/*
 * A page that is not there until somebody says so (userfaultfd): the call hangs in
 * the middle of its copy, out with a place taken or slots claimed, for as long as the
 * caller likes. @what: the call; @how: 0, it is let go on, 1, it is killed there.
 */
static const unsigned long stalled_cmds[] = {
	SCATTO_IOC_CREATE, SCATTO_IOC_ATTACH, SCATTO_IOC_INFO, SCATTO_IOC_CLAIM,
};

static const char * const stalled_names[] = { "CREATE", "ATTACH", "INFO", "CLAIM" };

struct stalled {
	pthread_t thread;
	unsigned long cmd;
	int fd;
	pid_t tid;
	int ret;
	bool done;
	union any_arg *arg;
};

static void *stalled_main(void *p)
{
	struct stalled *s = p;

	__atomic_store_n(&s->tid, thread_id(), __ATOMIC_RELEASE);
	s->ret = dev_ioctl(s->fd, s->cmd, s->arg);
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool write_protect(int uffd, void *page, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)page, sizeof(union any_arg) },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

static bool stalled_setup(int *uffd, void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)page, sizeof(union any_arg) },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	*uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return *uffd >= 0 && !ioctl(*uffd, UFFDIO_API, &api) &&
	       !ioctl(*uffd, UFFDIO_REGISTER, &reg);
}

static void stalled_once(struct attacker *at, struct end *end)
{
	struct stalled s = { .cmd = stalled_cmds[at->a->what] };
	struct args a = { .at = at, .end = *end, .fresh = -1 };
	struct scatto_info info;
	int uffd = -1, i;

	s.arg = mmap(NULL, sizeof(*s.arg), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!stalled_setup(&uffd, s.arg)) {
		attack_skip(at);
		_exit(0);
	}
	for (i = 0; any_calls[i].cmd != s.cmd; i++)
		;
	args_fill(&a, s.arg, &any_calls[i]);
	if (s.cmd == SCATTO_IOC_ATTACH)
		s.arg->attach.role = at->a->role;
	s.fd = args_fd(&a, &any_calls[i]);
	if (s.cmd == SCATTO_IOC_ATTACH)
		end_drop(end);
	must(at, write_protect(uffd, s.arg, true));
	if (pthread_create(&s.thread, NULL, stalled_main, &s))
		_exit(0);
	wait_for(__atomic_load_n(&s.done, __ATOMIC_ACQUIRE) ||
		 (__atomic_load_n(&s.tid, __ATOMIC_ACQUIRE) &&
		  task_syscall(s.tid) == SYS_ioctl && task_state(s.tid) != 'R'), PATIENCE_MS);
	/* Meanwhile, on the same endpoint. */
	if (s.cmd == SCATTO_IOC_INFO || s.cmd == SCATTO_IOC_CLAIM) {
		struct scatto_claim claim = claim_args(1, 1, 0);

		must(at, !dev_info(s.fd, &info));
		if (s.cmd == SCATTO_IOC_CLAIM && !s.done)
			must(at, dev_claim(s.fd, &claim) < 0);
		if (chance(&at->seed) % 2)
			must(at, !dev_close(s.fd));
	} else {
		dev_info(s.fd, &info);
	}
	if (at->a->how)
		kill(getpid(), SIGKILL);
	must(at, write_protect(uffd, s.arg, false));
	must(at, wait_for(__atomic_load_n(&s.done, __ATOMIC_ACQUIRE), PATIENCE_MS));
	_exit(0);
}

static void attack_stalled(struct attacker *at)
{
	while (attack_goes_on(at)) {
		pid_t pid = spawn();
		struct end end = { .fd = -1 };

		if (!pid) {
			if (stalled_cmds[at->a->what] != SCATTO_IOC_CREATE &&
			    !attack_open(at, &end))
				_exit(0);
			stalled_once(at, &end);
		}
		if (pid > 0)
			reap(pid);
		chance(&at->seed);
		attack_round(at);
	}
}

#endif /* SELFTESTS_ATTACK_CALLS_H */
