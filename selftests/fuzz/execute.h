/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does what an operation says, and judges what the kernel answers: each errno must
 * be one that Documentation/uapi.rst allows, and what is reported must make sense.
 */
#ifndef SELFTESTS_FUZZ_EXECUTE_H
#define SELFTESTS_FUZZ_EXECUTE_H

#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "many.h"
#include "kmod/scatto_test.h"
#include "sequence.h"

/* Numbers of file descriptors */
#define FD_SLOT		100
#define FD_EPOLL	120
#define FD_SOCKET	121	/* and the next */
#define FD_TEST		123	/* /dev/scatto_test */
#define FD_KCOV		124	/* one for each actor, and for the lane */
#define FD_END		130

#define MAX_ERRNO	136
#define MAX_PIDS	8

/* Longest sleep of a call with a deadline, and until a signal ends one without. */
#define SLEEP_US	600
#define SIGNAL_US	1000

#define KERNEL_NAME	"fuzzk"		/* + 0 or 1 */

#define MAX_CHANNEL_BYTES	(4 << 20)
#define MAX_USER_BYTES		(8 << 20)
#define MAX_USER_CHANNELS	12

struct totals {
	uint64_t sequences;
	uint64_t calls;
	uint64_t used;		/* channels that were still good after a sequence */
	uint64_t ns[NR_CALLS];
	uint64_t count[NR_CALLS][MAX_ERRNO];
};

/* In memory that the processes of a lane share. */
struct lane {
	struct sequence seq;
	pthread_barrier_t begin;
	pid_t pids[MAX_PIDS];
	unsigned int nr_pids;
	unsigned int at[NR_ACTORS];
	unsigned int news;	/* see coverage.h */
	unsigned int way;	/* how the sequence was made */
	unsigned int failed;
	char why[256];
	bool joins;		/* may have the kernel join its channels */
	unsigned int nr;
};

struct view {
	struct end end;
	bool writable[SCATTO_NR_REGIONS];
	bool sure[SCATTO_NR_REGIONS];	/* it is end.role's that is mapped */
	bool known;
};

/* One thread. */
struct actor {
	struct lane *lane;
	unsigned int nr;
	uint64_t rnd;		/* of the operation at hand */
	struct view view[NR_SLOTS];
	unsigned char *args;	/* a page, behind it one that is not there, then the
				 * first again, read-only
				 */
	timer_t timer;
	bool timed;
	bool owes;		/* a wake-up, after a move */
	bool child;
};

static struct totals *totals;
static struct {
	bool verbose;
	bool int80;		/* the kernel has 32-bit calls */
	bool test_module;
} options;

static __thread sigjmp_buf fault_env;
static __thread volatile sig_atomic_t fault_armed;

/* What each call may say */

#define ANY	{ -1 }
#define STRUCT	EFAULT, EINVAL, E2BIG, EBADF, ENOTTY

static const short allowed[NR_CALLS][24] = {
	[CALL_OPEN] = { ENOMEM },
	[CALL_QUERY] = { STRUCT },
	[CALL_LIST] = { STRUCT, ENOENT },
	[CALL_CREATE] = { STRUCT, EISCONN, EEXIST, EFBIG, EDQUOT, ENOMEM },
	[CALL_ATTACH] = { STRUCT, EISCONN, ENOTCONN, ENOENT, EACCES, EPERM, EPIPE, EBUSY },
	[CALL_INFO] = { STRUCT, ENOTCONN },
	[CALL_CLOSE] = { EBADF, ENOTTY, ENOTCONN, EINVAL, EPERM, EPIPE },
	[CALL_WAIT] = { STRUCT, ENOTCONN, EPERM, EPIPE, EUSERS, EAGAIN, ETIMEDOUT, EINTR,
			ESPIPE },
	[CALL_WAKE] = { EBADF, ENOTTY, ENOTCONN, EINVAL, EPERM, EPIPE, ESPIPE, EAGAIN, EINTR,
			EUSERS },
	[CALL_CLAIM] = { STRUCT, ENOTCONN, EPERM, EOPNOTSUPP, EBUSY, EPIPE, EUSERS, EAGAIN,
			 ETIMEDOUT, EINTR },
	[CALL_OTHER] = { EBADF, ENOTTY },
	/* ENODEV, EPERM (executable): not /dev/scatto. EOVERFLOW: no file can be that long. */
	[CALL_MMAP] = { EBADF, ENODEV, EPERM, EOVERFLOW, ENOTCONN, EINVAL, EACCES, EPIPE, EBUSY,
			ENOMEM },
	[CALL_MUNMAP] = { EINVAL },
	[CALL_MREMAP] = { EINVAL, EFAULT, ENOMEM },
	[CALL_MPROTECT] = { EINVAL, EACCES, ENOMEM },
	[CALL_MADVISE] = ANY,
	[CALL_POLL] = { EINTR },
	[CALL_EPOLL_CTL] = { EBADF, EEXIST, ENOENT, EINVAL, ELOOP },
	[CALL_EPOLL_WAIT] = { EINTR },
	/* What is not /dev/scatto is an eventfd. */
	[CALL_READ] = { EBADF, EINVAL, EAGAIN, ESPIPE, EINTR },
	[CALL_CLOSE_FD] = { EBADF },
	[CALL_DUP] = { EBADF, EBUSY },
	[CALL_NONBLOCK] = { EBADF },
	[CALL_FDINFO] = { ENOENT },
	[CALL_PASS] = { EBADF, EAGAIN, ETOOMANYREFS },
	[CALL_TAKE] = { EAGAIN, ENOMSG },
	[CALL_FOREIGN] = { EBUSY },
	[CALL_FORK] = { EAGAIN },
	[CALL_KILL] = { ESRCH, EPERM },
	[CALL_KERNEL_SEND] = { EBADF, EINVAL, ENOSPC, ENOTCONN, EMSGSIZE },
	[CALL_KERNEL_JOIN] = { EBADF, EINVAL, ENOSPC, ENOTCONN, EPERM, EOPNOTSUPP, EPIPE },
	[CALL_KERNEL_LEAVE] = { EBADF, EINVAL },
	[CALL_MOVE] = { EAGAIN, ENOENT, EFAULT },
	[CALL_SCRIBBLE] = { ENOENT, EFAULT },
	[CALL_SCRIBBLE_ARG] = {},
};

static void complain(struct actor *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The first one counts. */
static void complain(struct actor *a, const char *fmt, ...)
{
	struct lane *lane = a->lane;
	va_list ap;

	if (__atomic_exchange_n(&lane->failed, 1, __ATOMIC_ACQ_REL))
		return;
	va_start(ap, fmt);
	vsnprintf(lane->why, sizeof(lane->why), fmt, ap);
	va_end(ap);
}

static bool is_allowed(enum call_id call, int err)
{
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(allowed[call]) && allowed[call][i]; i++)
		if (allowed[call][i] == err || allowed[call][i] < 0)
			return true;
	return false;
}

static long answer(struct actor *a, enum call_id call, long ret, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Counts and judges one answer, and prints the call if that is wanted. */
static long answer(struct actor *a, enum call_id call, long ret, const char *fmt, ...)
{
	int err = ret < 0 && ret > -MAX_ERRNO ? -ret : 0;
	char line[320];
	va_list ap;
	int n = 0;

	__atomic_fetch_add(&totals->count[call][err], 1, __ATOMIC_RELAXED);
	if (call < CALL_MOVE)
		__atomic_fetch_add(&totals->calls, 1, __ATOMIC_RELAXED);
	if (options.verbose) {
		n = snprintf(line, sizeof(line), "#%s %u:%-3u %-12s ", a->child ? " child of" : "",
			     a->nr, a->lane->at[a->nr], call_names[call]);
		va_start(ap, fmt);
		n += vsnprintf(line + n, sizeof(line) - n - 40, fmt, ap);
		va_end(ap);
		if (n > (int)sizeof(line) - 40)
			n = sizeof(line) - 40;
		n += snprintf(line + n, 40, " = %ld%s%s\n", ret, err ? " " : "",
			      err ? strerrorname_np(err) ?: "" : "");
		if (write(STDOUT_FILENO, line, n) != n)
			_exit(1);
	}
	if (ret < 0 && !is_allowed(call, -ret))
		complain(a, "actor %u, operation %u: %s says %ld (%s)", a->nr,
			 a->lane->at[a->nr], call_names[call], ret, strerror(-ret));
	return ret;
}

static uint64_t pick(struct actor *a, uint64_t n)
{
	return chance(&a->rnd) % n;
}

/* Values at which something begins or ends. */
static uint64_t boundary(struct actor *a)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 40, 63, 64, 65, 112, 128, 344, 448, 0444,
		0600, 0666, 0777, 512, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 65536,
		(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 1 << 30, (1U << 30) + 1, 0x7fffffff,
		0x80000000, 0xffffffff, 1ULL << 32, 1ULL << 62, ~0ULL >> 1, 1ULL << 63,
		~0ULL - 1, ~0ULL,
	};
	uint64_t v = values[pick(a, ARRAY_LEN(values))];

	return pick(a, 8) ? v : 1ULL << pick(a, 64);
}

/* Signals: one that ends a call that sleeps too long, and faults of ours */

static void on_signal(int sig)
{
	(void)sig;
}

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
	(void)info;
	(void)ctx;
	if (!fault_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	fault_armed = 0;
	siglongjmp(fault_env, 1);
}

static void signals_init(void)
{
	struct sigaction end = { .sa_handler = on_signal };
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGUSR1, &end, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
}

static void timer_arm(struct actor *a, bool on)
{
	struct itimerspec at = {};

	if (!a->timed) {
		struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };

		ev._sigev_un._tid = thread_id();
		if (timer_create(CLOCK_MONOTONIC, &ev, &a->timer))
			return;
		a->timed = true;
	}
	/* Again and again: the first may come before the call sleeps. */
	if (on)
		at.it_interval.tv_nsec = SIGNAL_US * 1000;
	at.it_value = at.it_interval;
	timer_settime(a->timer, 0, &at, NULL);
}

/* Whatever @body does to mapped memory: -EFAULT if that is not there. */
#define MAY_FAULT(ret, body) do {					\
	if (sigsetjmp(fault_env, 0)) {					\
		(ret) = -EFAULT;					\
	} else {							\
		fault_armed = 1;					\
		body;							\
		fault_armed = 0;					\
	}								\
} while (0)

/* The calls with a structure */

static long ioctl_32(int fd, uint32_t cmd, uint32_t arg)
{
	long ret = -ENOSYS;

#ifdef __x86_64__
	__asm__ __volatile__("int $0x80" : "=a" (ret) :
			     "a" (54), "b" (fd), "c" (cmd), "d" (arg) :
			     "memory", "r8", "r9", "r10", "r11");
#endif
	return (int)ret;
}

static long raw_ioctl(struct actor *a, int fd, uint32_t cmd, uint64_t arg)
{
	if (options.int80 && arg < 1ULL << 32 && !pick(a, 8))
		return ioctl_32(fd, cmd, arg);
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

/* One field; the size more often than others. */
static void change_field(struct actor *a, unsigned char *at, size_t size, size_t first)
{
	size_t sizes[] = { 0, first - 1, first, first + 1, size - 4, size - 1, size + 1,
			   size + 8, 4095, 4096, 4097, ~0U };
	uint32_t small;
	uint64_t value;
	size_t where;

	if (!pick(a, 3)) {
		small = sizes[pick(a, ARRAY_LEN(sizes))];
		memcpy(at, &small, sizeof(small));
		/* A byte that the kernel does not know. */
		if (!pick(a, 2))
			at[size + pick(a, 16)] = 1;
		return;
	}
	where = pick(a, size / 4) * 4;
	value = boundary(a);
	memcpy(at + where, &value, where % 8 || !pick(a, 2) ? 4 : 8);
}

/*
 * Passes @arg, which comes back with what the kernel wrote, from a place in the page
 * of arguments: @op may say that it is a bad one, or that a field is not as it was.
 */
static long struct_call(struct actor *a, const struct op *op, uint32_t cmd, void *arg,
			size_t size, size_t first)
{
	unsigned char *page = a->args, *at = page;
	uint64_t pass;
	long ret;

	if (RND_POINTER(op->rnd))
		at = page + 4096 - size + (pick(a, 2) ? 0 : 4 * (1 + pick(a, size / 4)));
	memset(page, 0, 1024);
	memcpy(at, arg, at + size > page + 4096 ? page + 4096 - at : (long)size);
	pass = (uintptr_t)at;
	if (RND_FIELD(op->rnd))
		change_field(a, page, size, first);
	if (RND_POINTER(op->rnd)) {
		switch (pick(a, 8)) {
		case 0:
			pass = 0;
			break;
		case 1:
			pass = 0xffff888000000000ULL + pick(a, 1 << 20);
			break;
		case 2:
			pass = ~0ULL - pick(a, 64);
			break;
		case 3:
		case 4:
			/* Read-only: what comes in is good, what goes out is not. */
			memcpy(page, arg, size);
			pass = (uintptr_t)page + 2 * 4096;
			break;
		case 5:
			memcpy(page + 3, arg, size);
			pass = (uintptr_t)page + 3;
			break;
		default:
			break;
		}
	}
	ret = raw_ioctl(a, FD_SLOT + op->slot, cmd, pass);
	if (!RND_POINTER(op->rnd))
		memcpy(arg, page, size);
	return ret;
}

#define STRUCT_CALL(a, op, cmd, arg, first) \
	struct_call(a, op, cmd, arg, sizeof(*(arg)), first)

/* Nobody else writes arguments, and this one came where it should. */
static bool answer_is_good(struct actor *a, const struct op *op)
{
	return (a->lane->seq.setup & SETUP_SCRIBBLE_ARG) != SETUP_SCRIBBLE_ARG &&
	       !RND_POINTER(op->rnd) && !RND_FIELD(op->rnd);
}

static bool layout_is_sane(const struct scatto_layout *l, uint32_t role)
{
	uint64_t at = 0;
	unsigned int i;

	if (l->kind != SCATTO_KIND_SPSC && l->kind != SCATTO_KIND_MPSC)
		return false;
	if (l->capacity < 2 || l->capacity & (l->capacity - 1) || l->slot_size < 8 ||
	    l->slot_stride != (l->slot_size + 7) / 8 * 8)
		return false;
	if (l->flags & ~(SCATTO_F_CREATE | SCATTO_F_KERNEL | SCATTO_F_FENCE) ||
	    l->max_consumers != 1 || !l->max_producers ||
	    l->max_producers > SCATTO_MAX_PRODUCERS)
		return false;
	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		const struct scatto_region *r = &l->region[i];
		bool writes = role == SCATTO_ROLE_PRODUCER ?
			      i == SCATTO_REGION_PRODUCER || i == SCATTO_REGION_DATA :
			      role == SCATTO_ROLE_CONSUMER && i == SCATTO_REGION_CONSUMER;

		if (r->offset != at || !r->size || r->size % 4096 || r->reserved ||
		    r->writable != writes)
			return false;
		at += r->size;
	}
	for (i = 0; i < ARRAY_LEN(l->reserved); i++)
		if (l->reserved[i])
			return false;
	return l->slot_offset + l->capacity * l->slot_stride <=
	       l->region[SCATTO_REGION_DATA].size;
}

/* NULL, or what is wrong. */
static const char *info_is_insane(const struct scatto_info *info)
{
	const struct scatto_layout *l = &info->layout;
	const struct scatto_region *last = &l->region[SCATTO_REGION_DATA];

	if (info->size != sizeof(*info))
		return "size";
	if (info->role < SCATTO_ROLE_OWNER || info->role > SCATTO_ROLE_OBSERVER)
		return "role";
	if (!layout_is_sane(l, info->role))
		return "layout";
	if (!info->id || info->bytes != last->offset + last->size)
		return "id or bytes";
	if (info->index >= l->max_producers || info->reserved0)
		return "index";
	if (info->state & ~7U)
		return "state";
	if (info->state & (SCATTO_STATE_CLOSED | SCATTO_STATE_NO_PRODUCER) &&
	    info->end == SCATTO_END_OPEN)
		return "end";
	if (info->producers > l->max_producers + ST_MAX_CHANNELS || info->consumers > 1)
		return "producers or consumers";
	if (info->claimers > 1024 ||
	    (info->claimers && l->flags & SCATTO_F_KERNEL))
		return "claimers";
	if (info->repair_to - info->repair_from > l->capacity)
		return "repair_from and repair_to";
	if (info->mode & ~0666U)
		return "mode";
	if (strnlen(info->name, sizeof(info->name)) == sizeof(info->name))
		return "name";
	return NULL;
}

static void view_know(struct actor *a, unsigned int slot, const struct scatto_layout *l,
		      uint32_t role, uint32_t index)
{
	struct view *v = &a->view[slot];
	unsigned int i;

	/* Offsets into what is mapped must stay those of its layout. */
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		if (v->end.map[i])
			return;
	v->end.fd = FD_SLOT + slot;
	v->end.role = role;
	v->end.index = index < l->max_producers ? index : 0;
	v->end.layout = *l;
	v->known = true;
}

static long do_info(struct actor *a, const struct op *op)
{
	struct scatto_info info = { .size = sizeof(info) };
	const char *bad;
	long ret = STRUCT_CALL(a, op, SCATTO_IOC_INFO, &info, SCATTO_INFO_SIZE_VER0);

	answer(a, CALL_INFO, ret, "slot %u", op->slot);
	if (ret || !answer_is_good(a, op))
		return ret;
	bad = info_is_insane(&info);
	if (bad)
		complain(a, "actor %u, operation %u: INFO reports a bad %s", a->nr,
			 a->lane->at[a->nr], bad);
	else
		view_know(a, op->slot, &info.layout, info.role, info.index);
	return 0;
}

static void do_query(struct actor *a, const struct op *op)
{
	struct scatto_query q = { .size = sizeof(q) };
	long ret = STRUCT_CALL(a, op, SCATTO_IOC_QUERY, &q, SCATTO_QUERY_SIZE_VER0);

	answer(a, CALL_QUERY, ret, "slot %u", op->slot);
	if (!ret && answer_is_good(a, op) && q.abi != SCATTO_ABI_VERSION)
		complain(a, "QUERY reports abi %u", q.abi);
}

static void do_list(struct actor *a, const struct op *op)
{
	struct scatto_list l = { .size = sizeof(l) };
	long ret;

	l.id = pick(a, 2) ? 0 : boundary(a);
	ret = STRUCT_CALL(a, op, SCATTO_IOC_LIST, &l, SCATTO_LIST_SIZE_VER0);
	answer(a, CALL_LIST, ret, "slot %u id %llu", op->slot, l.id);
	if (!ret && answer_is_good(a, op) && (!l.id || !l.name[0]))
		complain(a, "LIST reports no id or name");
}

static void lane_name(struct actor *a, char *name, unsigned int i)
{
	snprintf(name, SCATTO_NAME_LEN, "fuzz%u.%u", a->lane->nr, i);
}

static void do_create(struct actor *a, const struct op *op)
{
	static const uint32_t sizes[] = { 8, 8, 8, 16, 12, 64, 100, 4096 };
	static const uint64_t capacities[] = { 2, 4, 4, 8, 8, 16, 64, 512, 1 << 16 };
	struct scatto_create arg = {
		.size = sizeof(arg),
		.kind = op->rnd & 1 ? SCATTO_KIND_SPSC : SCATTO_KIND_MPSC,
	};
	long ret;

	arg.slot_size = sizes[pick(a, ARRAY_LEN(sizes))];
	arg.capacity = capacities[pick(a, ARRAY_LEN(capacities))];
	arg.flags = pick(a, 3) ? SCATTO_F_PAUSE : 0;
	if (arg.kind == SCATTO_KIND_MPSC) {
		arg.flags |= pick(a, 2) ? SCATTO_F_SHARED : 0;
		arg.max_producers = pick(a, 3) ? pick(a, 9) : 0;
	}
	if (!pick(a, 16))
		arg.max_producers = boundary(a);
	if (pick(a, 2)) {
		lane_name(a, arg.name, pick(a, 4));
		arg.mode = pick(a, 2) ? 0666 : pick(a, 0667) & 0666;
	}
	ret = STRUCT_CALL(a, op, SCATTO_IOC_CREATE, &arg, SCATTO_CREATE_SIZE_VER0);
	answer(a, CALL_CREATE, ret,
	       "slot %u kind %u flags %#x slot_size %u capacity %llu producers %u name '%.8s' mode %o",
	       op->slot, arg.kind, arg.flags, arg.slot_size, arg.capacity, arg.max_producers,
	       arg.name, arg.mode);
	if (ret || !answer_is_good(a, op))
		return;
	if (!arg.id)
		complain(a, "CREATE reports no id");
	if (arg.max_producers > (arg.kind == SCATTO_KIND_MPSC ? SCATTO_MAX_PRODUCERS : 1))
		complain(a, "CREATE of %u producers works", arg.max_producers);
}

static long do_attach(struct actor *a, const struct op *op)
{
	struct scatto_attach arg = {
		.size = sizeof(arg),
		.role = (op->rnd & 3) + 1,
		.channel_fd = FD_SLOT + op->other,
	};
	long ret;

	if (op->other > 1 && pick(a, 2)) {
		arg.channel_fd = -1;
		if (options.test_module && pick(a, 2))
			snprintf(arg.name, sizeof(arg.name), KERNEL_NAME "%u", (int)pick(a, 2));
		else
			lane_name(a, arg.name, pick(a, 4));
	}
	ret = STRUCT_CALL(a, op, SCATTO_IOC_ATTACH, &arg, SCATTO_ATTACH_SIZE_VER0);
	answer(a, CALL_ATTACH, ret, "slot %u role %u channel_fd %d name '%.8s' position %llu",
	       op->slot, arg.role, arg.channel_fd, arg.name, arg.position);
	if (ret || !answer_is_good(a, op))
		return ret;
	if (!layout_is_sane(&arg.layout, arg.role))
		complain(a, "ATTACH reports a bad layout");
	else
		view_know(a, op->slot, &arg.layout, arg.role, arg.index);
	return 0;
}

static uint64_t some_deadline(struct actor *a)
{
	return pick(a, 16) ? now_ns() + pick(a, SLEEP_US) * 1000 : pick(a, 2);
}

/* The position that the other side has reached, as far as one can see. */
static uint64_t position_of_peer(struct view *v)
{
	volatile uint64_t pos = 0;
	volatile long ret = 0;

	if (!v->end.map[SCATTO_REGION_PRODUCER] || !v->end.map[SCATTO_REGION_CONSUMER])
		return 0;
	MAY_FAULT(ret, {
		pos = v->end.cons->cursor;
		if (v->end.role == SCATTO_ROLE_CONSUMER)
			pos = v->end.layout.kind == SCATTO_KIND_SPSC ?
			      v->end.prod->published : v->end.prod->claimed;
	});
	return ret ? 0 : pos;
}

/* WAIT, or WAKE, in short; the role is what we believe it is. */
static long seek_call(struct actor *a, const struct op *op, uint64_t offset, bool wait)
{
	bool consumer = a->view[op->slot].end.role == SCATTO_ROLE_CONSUMER;
	int whence = consumer == wait ? SEEK_DATA : SEEK_HOLE;
	long ret;

	if (wait && !pick(a, 4)) {
		whence = SEEK_END;
		offset = SCATTO_SEEK(offset, pick(a, 8) ? FD_SLOT + op->other : (int)boundary(a));
	}
	if (RND_FIELD(op->rnd) && pick(a, 2))
		whence = pick(a, 6);
	else if (RND_FIELD(op->rnd))
		offset = boundary(a);
	timer_arm(a, true);
	ret = lseek(FD_SLOT + op->slot, offset, whence);
	ret = ret < 0 ? -errno : ret;
	timer_arm(a, false);
	return ret;
}

static void do_wait(struct actor *a, const struct op *op)
{
	struct scatto_wait arg = { .size = sizeof(arg) };
	bool bounded;
	long ret;

	if (!pick(a, 4)) {
		ret = seek_call(a, op, position_of_peer(&a->view[op->slot]) + 1, true);
		answer(a, CALL_WAIT, ret < 0 ? ret : 0, "slot %u by lseek", op->slot);
		return;
	}
	arg.want = position_of_peer(&a->view[op->slot]) + 1;
	if (!pick(a, 4))
		arg.want += pick(a, 2) ? pick(a, 70) : boundary(a);
	if (!pick(a, 4)) {
		arg.flags |= SCATTO_WAIT_ENOUGH;
		arg.enough = arg.want - (pick(a, 4) ? pick(a, 4) : 0);
	}
	bounded = pick(a, 6);
	if (bounded) {
		arg.flags |= SCATTO_WAIT_DEADLINE;
		arg.deadline = some_deadline(a);
	}
	if (!pick(a, 4)) {
		arg.flags |= SCATTO_WAIT_WAKE;
		arg.wake_fd = pick(a, 8) ? FD_SLOT + op->other : (int)boundary(a);
	}
	bounded = bounded && answer_is_good(a, op);
	if (!bounded)
		timer_arm(a, true);
	ret = STRUCT_CALL(a, op, SCATTO_IOC_WAIT, &arg, SCATTO_WAIT_SIZE_VER0);
	if (!bounded)
		timer_arm(a, false);
	answer(a, CALL_WAIT, ret, "slot %u flags %#x want %llu enough %llu wake_fd %d%s", op->slot,
	       arg.flags, arg.want, arg.enough, arg.wake_fd, bounded ? "" : " (signals)");
}

static void do_wake(struct actor *a, const struct op *op)
{
	long ret;

	if (pick(a, 2)) {
		ret = seek_call(a, op, 0, false);
	} else {
		ret = ioctl(FD_SLOT + op->slot, SCATTO_IOC_WAKE,
			    RND_FIELD(op->rnd) ? boundary(a) : 0);
		ret = ret < 0 ? -errno : ret;
	}
	answer(a, CALL_WAKE, ret, "slot %u", op->slot);
	if (ret > 1024)
		complain(a, "WAKE says that it woke %ld", ret);
}

static void do_claim(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	struct scatto_claim arg = { .size = sizeof(arg), .count = 1 };
	uint64_t capacity = v->known ? v->end.layout.capacity : 4;
	volatile long fault = 0;
	bool bounded;
	long ret;

	if (pick(a, 2))
		arg.count += pick(a, capacity < 64 ? capacity : 64);
	if (!pick(a, 4))
		arg.least = pick(a, arg.count + 1);
	bounded = pick(a, 6);
	if (bounded) {
		arg.flags = SCATTO_CLAIM_DEADLINE;
		arg.deadline = some_deadline(a);
	}
	bounded = bounded && answer_is_good(a, op);
	if (!bounded)
		timer_arm(a, true);
	ret = STRUCT_CALL(a, op, SCATTO_IOC_CLAIM, &arg, SCATTO_CLAIM_SIZE_VER0);
	if (!bounded)
		timer_arm(a, false);
	answer(a, CALL_CLAIM, ret, "slot %u count %u least %u position %llu granted %u%s", op->slot,
	       arg.count, arg.least, arg.position, arg.granted, bounded ? "" : " (signals)");
	if (ret || !answer_is_good(a, op))
		return;
	if (!arg.granted || arg.granted > arg.count ||
	    (arg.granted < arg.count && !arg.least))
		complain(a, "CLAIM grants %u of %u, least %u", arg.granted, arg.count, arg.least);
	/* Most are published, in part or all. */
	if (!v->end.map[SCATTO_REGION_DATA] || !v->writable[SCATTO_REGION_DATA] ||
	    v->end.layout.kind != SCATTO_KIND_MPSC || !pick(a, 4))
		return;
	MAY_FAULT(fault, {
		uint64_t n = pick(a, 4) ? arg.granted : pick(a, arg.granted + 1);

		for (uint64_t i = 0; i < n; i++)
			many_put_stamp(&v->end, arg.position + i, 0);
	});
	if (fault)
		answer(a, CALL_SCRIBBLE, fault, "slot %u, stamps", op->slot);
}

static void do_close(struct actor *a, const struct op *op)
{
	long ret = raw_ioctl(a, FD_SLOT + op->slot, SCATTO_IOC_CLOSE,
			     RND_FIELD(op->rnd) ? boundary(a) : 0);

	answer(a, CALL_CLOSE, ret, "slot %u", op->slot);
}

static bool is_known_ioctl(uint32_t cmd)
{
	static const uint32_t known[] = {
		SCATTO_IOC_QUERY, SCATTO_IOC_LIST, SCATTO_IOC_CREATE, SCATTO_IOC_ATTACH,
		SCATTO_IOC_INFO, SCATTO_IOC_CLOSE, SCATTO_IOC_WAIT, SCATTO_IOC_WAKE,
		SCATTO_IOC_CLAIM,
	};

	for (unsigned int i = 0; i < ARRAY_LEN(known); i++)
		if (cmd == known[i])
			return true;
	return false;
}

static void do_other(struct actor *a, const struct op *op)
{
	uint32_t cmd = SCATTO_IOC_MAGIC << 8 | pick(a, 256) |
		       (pick(a, 2) ? 0 : (uint32_t)chance(&a->rnd) & 0xffff0000U);

	if (is_known_ioctl(cmd))
		cmd |= 0x10000;
	answer(a, CALL_OTHER, raw_ioctl(a, FD_SLOT + op->slot, cmd, (uintptr_t)a->args),
	       "slot %u cmd %#x", op->slot, cmd);
}

/* Files that come and go */

/* Anything that makes a file descriptor: into the slot. */
static long into_slot(int fd, unsigned int slot)
{
	long ret;

	if (fd < 0)
		return -errno;
	ret = dup3(fd, FD_SLOT + slot, O_CLOEXEC) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static void do_open(struct actor *a, const struct op *op)
{
	int flags = RND_FIELD(op->rnd) ? (int)pick(a, 3) : O_RDWR;
	long ret;

	if (!pick(a, 8))
		flags |= O_NONBLOCK;
	ret = into_slot(open(DEV, flags | O_CLOEXEC), op->slot);
	/* Two that fill a slot at once: dup() says so. */
	if (ret == -EBUSY)
		ret = 0;
	answer(a, CALL_OPEN, ret, "slot %u flags %#o", op->slot, flags);
}

/* Mapping */

static void map_region(struct actor *a, const struct op *op, unsigned int i, int fd)
{
	struct view *v = &a->view[op->slot];
	const struct scatto_region *r = &v->end.layout.region[i];
	int prot = PROT_READ | (r->writable ? PROT_WRITE : 0), flags = MAP_SHARED;
	uint64_t offset = r->offset, size = r->size;
	void *p;
	long ret;

	if (RND_FIELD(op->rnd)) {
		switch (pick(a, 5)) {
		case 0:
			prot = pick(a, 8);
			break;
		case 1:
			flags = MAP_PRIVATE;
			break;
		case 2:
			offset = pick(a, 2) ? boundary(a) & ~4095ULL : offset + 4096;
			break;
		case 3:
			size = pick(a, 2) ? size + 4096 : pick(a, 1 << 20) + 1;
			break;
		default:
			flags |= MAP_POPULATE;
		}
	}
	p = mmap(NULL, size, prot, flags, fd, offset);
	ret = p == MAP_FAILED ? -errno : 0;
	answer(a, CALL_MMAP, ret, "slot %u region %u size %#llx offset %#llx prot %d flags %#x",
	       op->slot, i, (unsigned long long)size, (unsigned long long)offset, prot, flags);
	if (ret)
		return;
	/* One that is not what it says, or one too many, stays until the process ends. */
	if (size != r->size || offset != r->offset || v->end.map[i])
		return;
	v->end.map[i] = p;
	v->writable[i] = prot & PROT_WRITE;
	v->sure[i] = fd >= FD_END;
}

/*
 * What a slot holds may change at any time. With a file descriptor of one's own it is
 * certain what is mapped; without, mmap() races with that.
 */
static int own_fd(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	struct scatto_info info;
	int fd, i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		if (v->end.map[i])
			return -1;
	fd = fcntl(FD_SLOT + op->slot, F_DUPFD_CLOEXEC, FD_END);
	if (fd < 0)
		return fd;
	if (answer(a, CALL_INFO, dev_info(fd, &info), "slot %u for mmap", op->slot)) {
		close(fd);
		return -1;
	}
	view_know(a, op->slot, &info.layout, info.role, info.index);
	return fd;
}

static void do_mmap(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	struct op info = { op->actor, CALL_INFO, op->slot, 0, RND_VALID };
	int fd = pick(a, 2) ? own_fd(a, op) : -1;
	unsigned int i;

	if (!v->known || (fd < 0 && !pick(a, 4)))
		do_info(a, &info);
	if (v->known && pick(a, 4))
		for (i = 0; i < SCATTO_NR_REGIONS; i++)
			map_region(a, op, i, fd < 0 ? FD_SLOT + op->slot : fd);
	else if (v->known)
		map_region(a, op, pick(a, SCATTO_NR_REGIONS), fd < 0 ? FD_SLOT + op->slot : fd);
	if (fd >= 0)
		close(fd);
}

/* Some region that @v has mapped, or -1. */
static int mapped_region(struct actor *a, const struct view *v)
{
	unsigned int i = pick(a, SCATTO_NR_REGIONS), n;

	for (n = 0; n < SCATTO_NR_REGIONS; n++, i++)
		if (v->end.map[i % SCATTO_NR_REGIONS])
			return i % SCATTO_NR_REGIONS;
	return -1;
}

static void do_munmap(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	bool all = pick(a, 2);
	int i = mapped_region(a, v);

	while (i >= 0) {
		uint64_t size = v->end.layout.region[i].size;
		bool part = RND_FIELD(op->rnd) && size > 4096;
		long ret = munmap(v->end.map[i], part ? 4096 : size) ? -errno : 0;

		answer(a, CALL_MUNMAP, ret, "slot %u region %d%s", op->slot, i,
		       part ? " in part" : "");
		if (part && !ret)
			complain(a, "part of a region can be unmapped");
		if (ret)
			break;
		v->end.map[i] = NULL;
		i = all ? mapped_region(a, v) : -1;
	}
}

static void do_mremap(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	int i = mapped_region(a, v);
	uint64_t size, from, to;
	unsigned int kind;
	void *hole, *p;
	long ret;

	if (i < 0)
		return;
	size = v->end.layout.region[i].size;
	from = size;
	to = size;
	kind = pick(a, 6);
	if (kind == 0) {
		to += 4096;
	} else if (kind == 1) {
		from = 0;
	} else if (kind == 2 && size > 4096) {
		from = 4096;
		to = 4096;
	}
	hole = mmap(NULL, to, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (hole == MAP_FAILED)
		return;
	p = mremap(v->end.map[i], from, to, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
	ret = p == MAP_FAILED ? -errno : 0;
	answer(a, CALL_MREMAP, ret, "slot %u region %d from %#llx to %#llx", op->slot, i,
	       (unsigned long long)from, (unsigned long long)to);
	/*
	 * A call that failed may have unmapped the hole before it did: what is there
	 * now may be the other thread's. It stays until the process ends.
	 */
	if (ret)
		return;
	if (from == size && to == size)
		v->end.map[i] = p;
	else
		complain(a, "mremap() of %#llx to %#llx of a region works",
			 (unsigned long long)from, (unsigned long long)to);
}

static void do_mprotect(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	int i = mapped_region(a, v), prot;
	long ret;

	if (i < 0)
		return;
	prot = pick(a, 3) ? PROT_READ | PROT_WRITE : (int)pick(a, 8);
	ret = mprotect(v->end.map[i], v->end.layout.region[i].size, prot) ? -errno : 0;
	answer(a, CALL_MPROTECT, ret, "slot %u region %d prot %d", op->slot, i, prot);
	if (!ret && (prot & PROT_EXEC || (prot & PROT_WRITE && v->sure[i] &&
					  !v->end.layout.region[i].writable)))
		complain(a, "mprotect() to %d works on region %d of role %u", prot, i, v->end.role);
}

static void do_madvise(struct actor *a, const struct op *op)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_DONTFORK, MADV_DOFORK,
		MADV_DODUMP, MADV_DONTDUMP, MADV_MERGEABLE, 20 /* COLD */, 21 /* PAGEOUT */,
		22 /* POPULATE_READ */, 23 /* POPULATE_WRITE */,
	};
	struct view *v = &a->view[op->slot];
	int i = mapped_region(a, v), what = advice[pick(a, ARRAY_LEN(advice))];
	long ret;

	if (i < 0)
		return;
	ret = madvise(v->end.map[i], v->end.layout.region[i].size, what) ? -errno : 0;
	answer(a, CALL_MADVISE, ret, "slot %u region %d advice %d", op->slot, i, what);
	if (!ret && (what == MADV_DOFORK || what == MADV_DODUMP))
		complain(a, "madvise(%d) works", what);
}

/* Shared words */

static void do_scribble(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	const struct scatto_layout *l = &v->end.layout;
	int i = mapped_region(a, v);
	uint64_t words, at = 0, value, *word;
	volatile long ret = 0;

	if (i < 0) {
		answer(a, CALL_SCRIBBLE, -ENOENT, "slot %u", op->slot);
		return;
	}
	if (v->end.map[SCATTO_REGION_PRODUCER] && v->writable[SCATTO_REGION_PRODUCER] && pick(a, 2))
		i = SCATTO_REGION_PRODUCER;
	words = l->region[i].size / 8;
	switch (i) {
	case SCATTO_REGION_PRODUCER:
		at = pick(a, 4) * 128;
		if (!pick(a, 2) && l->intent_stride)
			at = l->intent_offset + pick(a, l->max_producers) * l->intent_stride +
			     8 * pick(a, 2);
		break;
	case SCATTO_REGION_CONSUMER:
		at = pick(a, 2) * 128;
		break;
	case SCATTO_REGION_DATA:
		at = 8 * pick(a, l->capacity);
		break;
	}
	if (!pick(a, 8))
		at = 8 * pick(a, words);
	at = at / 8 % words;
	value = position_of_peer(v);
	switch (pick(a, 6)) {
	case 0:
		value = boundary(a);
		break;
	case 1:
		value = chance(&a->rnd);
		break;
	case 2:
		value += l->capacity;
		break;
	case 3:
		value -= l->capacity;
		break;
	case 4:
		value = many_lap(&v->end, value) | pick(a, 4);
		break;
	}
	value += pick(a, 3) - 1;
	word = (uint64_t *)v->end.map[i] + at;
	/* First, as it may not be there afterwards to be told of. */
	answer(a, CALL_SCRIBBLE, 0, "slot %u region %d word %llu value %#llx", op->slot, i,
	       (unsigned long long)at, (unsigned long long)value);
	MAY_FAULT(ret, __atomic_store_n(word, value, __ATOMIC_RELEASE));
	if (ret)
		answer(a, CALL_SCRIBBLE, ret, "slot %u", op->slot);
}

/* The page of arguments of any actor, while it may be in use. */
static void do_scribble_arg(struct actor *a, const struct op *op)
{
	unsigned char *page = a->args + ((int)pick(a, NR_ACTORS) - (int)a->nr) * 3 * 4096;
	uint32_t value = boundary(a);

	if ((a->lane->seq.setup & SETUP_SCRIBBLE_ARG) != SETUP_SCRIBBLE_ARG)
		return;
	memcpy(page + 4 * pick(a, 32), &value, sizeof(value));
	answer(a, CALL_SCRIBBLE_ARG, 0, "value %#x, %u", value, op->slot);
}

/* What a program does: an event or some, and the wake-up that is owed. */
static long move_producer(struct actor *a, struct view *v)
{
	struct end *e = &v->end;
	uint64_t at, seq, n;

	if (e->layout.kind == SCATTO_KIND_SPSC) {
		seq = e->prod->published;
		if (seq - end_cursor(e) >= e->layout.capacity)
			return -EAGAIN;
		memcpy(end_slot(e, seq), &seq, sizeof(seq));
		__atomic_store_n(&e->prod->published, seq + 1, __ATOMIC_RELEASE);
		a->owes = seq + 1 >= e->area->data_wake;
		return 0;
	}
	n = pick(a, 4) ? 1 : 1 + pick(a, 4);
	if (n > e->layout.capacity || many_claim(e, n, &at))
		return -EAGAIN;
	/* Now and then one is left open. */
	if (!pick(a, 8))
		n--;
	while (n--)
		many_put_stamp(e, at++, pick(a, 8) ? 0 : SCATTO_STAMP_TOMBSTONE);
	a->owes = e->area->data_wake != SCATTO_WAKE_IDLE;
	return 0;
}

static long move_consumer(struct actor *a, struct view *v)
{
	struct end *e = &v->end;
	uint64_t seq = e->cons->cursor;

	if (e->layout.kind == SCATTO_KIND_SPSC ? seq == end_published(e) :
						 !many_stamped(e, seq))
		return -EAGAIN;
	__atomic_store_n(&e->cons->cursor, seq + 1, __ATOMIC_RELEASE);
	a->owes = seq + 1 >= e->area->space_wake;
	return 0;
}

static bool view_is_mapped(const struct view *v)
{
	unsigned int i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		if (!v->end.map[i])
			return false;
	return true;
}

/*
 * Most of what happens ends something: so that a sequence does not run dry, who cannot
 * move gets an endpoint that can, or even a channel.
 */
static void revive(struct actor *a, const struct op *op)
{
	struct op map = { op->actor, CALL_MMAP, op->slot, 0, RND_VALID };
	struct op attach = { op->actor, CALL_ATTACH, op->slot, op->other % 2, RND_VALID };
	struct op create = { op->actor, CALL_CREATE, op->other % 2, 0, op->rnd | RND_VALID };
	struct view *v = &a->view[op->slot];
	unsigned int i;
	long ret;

	do_mmap(a, &map);
	if (view_is_mapped(v) || (v->known && pick(a, 2)))
		return;
	/* The mappings go with the process, if not before. */
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		v->end.map[i] = NULL;
	v->known = false;
	attach.rnd |= (pick(a, 2) ? SCATTO_ROLE_PRODUCER : SCATTO_ROLE_CONSUMER) - 1;
	do_open(a, &attach);
	ret = do_attach(a, &attach);
	if (ret == -EBUSY) {
		/* The other one? */
		attach.rnd ^= (SCATTO_ROLE_PRODUCER - 1) ^ (SCATTO_ROLE_CONSUMER - 1);
		ret = do_attach(a, &attach);
	}
	if (ret && (ret != -EBUSY || !pick(a, 4))) {
		do_open(a, &create);
		do_create(a, &create);
		do_attach(a, &attach);
	}
	for (i = 0; v->known && i < SCATTO_NR_REGIONS; i++)
		map_region(a, &map, i, FD_SLOT + op->slot);
}

static void do_move(struct actor *a, const struct op *op)
{
	struct view *v = &a->view[op->slot];
	struct op wake = { op->actor, CALL_WAKE, op->slot, 0, RND_VALID };
	volatile unsigned int n = 1 + pick(a, 4);
	volatile long ret = -ENOENT;

	if (!view_is_mapped(v)) {
		revive(a, op);
		n = view_is_mapped(v);
	}
	while (n--) {
		if (v->end.role == SCATTO_ROLE_PRODUCER)
			MAY_FAULT(ret, ret = move_producer(a, v));
		else if (v->end.role == SCATTO_ROLE_CONSUMER)
			MAY_FAULT(ret, ret = move_consumer(a, v));
		if (a->owes && pick(a, 16))
			do_wake(a, &wake);
		a->owes = false;
		if (ret)
			break;
	}
	answer(a, CALL_MOVE, ret, "slot %u", op->slot);
}

/* Files */

static void do_poll(struct actor *a, const struct op *op)
{
	struct pollfd p[2] = {
		{ FD_SLOT + op->slot, pick(a, 2) ? POLLIN | POLLRDHUP : (short)chance(&a->rnd), 0 },
		{ FD_SLOT + op->other, POLLOUT, 0 },
	};
	struct timespec ts = { 0, pick(a, SLEEP_US) * 1000 * pick(a, 2) };
	long ret = ppoll(p, 1 + pick(a, 2), &ts, NULL);

	answer(a, CALL_POLL, ret < 0 ? -errno : ret, "slot %u events %#x: %#x", op->slot,
	       p[0].events, p[0].revents);
}

static void do_epoll_ctl(struct actor *a, const struct op *op)
{
	static const uint32_t extra[] = { 0, EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE, EPOLLRDHUP };
	struct epoll_event ev = {
		.events = (pick(a, 2) ? EPOLLIN : EPOLLOUT) | extra[pick(a, ARRAY_LEN(extra))],
	};
	int what = pick(a, 2) ? EPOLL_CTL_ADD : EPOLL_CTL_ADD + (int)pick(a, 3);
	long ret = epoll_ctl(FD_EPOLL, what, FD_SLOT + op->slot, &ev) ? -errno : 0;

	answer(a, CALL_EPOLL_CTL, ret, "slot %u op %d events %#x", op->slot, what, ev.events);
}

static void do_epoll_wait(struct actor *a)
{
	struct epoll_event ev[4];
	long ret = epoll_wait(FD_EPOLL, ev, 4, pick(a, 2));

	answer(a, CALL_EPOLL_WAIT, ret < 0 ? -errno : ret, "%s", "");
}

static void do_read(struct actor *a, const struct op *op)
{
	int fd = FD_SLOT + op->slot;
	char buf[8] = "";
	long ret;

	/* An eventfd that has been read, and made to block since, has nothing more. */
	timer_arm(a, true);
	switch (pick(a, 3)) {
	case 0:
		ret = read(fd, buf, sizeof(buf));
		break;
	case 1:
		ret = write(fd, buf, sizeof(buf));
		break;
	default:
		ret = lseek(fd, pick(a, 4096), SEEK_SET);
	}
	ret = ret < 0 ? -errno : 0;
	timer_arm(a, false);
	answer(a, CALL_READ, ret, "slot %u", op->slot);
}

static void do_nonblock(struct actor *a, const struct op *op)
{
	int on = pick(a, 2) ? O_NONBLOCK : 0;
	long ret = fcntl(FD_SLOT + op->slot, F_SETFL, on) ? -errno : 0;

	answer(a, CALL_NONBLOCK, ret, "slot %u %s", op->slot, on ? "on" : "off");
}

static void do_fdinfo(struct actor *a, const struct op *op)
{
	char path[64], buf[1024];
	long ret;

	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", FD_SLOT + op->slot);
	ret = read_file(path, buf, sizeof(buf));
	/* Not ours to read when the process has changed its user. */
	if (ret == -EACCES || ret == -EPERM)
		ret = -ENOENT;
	answer(a, CALL_FDINFO, ret < 0 ? ret : 0, "slot %u", op->slot);
}

static void do_pass(struct actor *a, const struct op *op)
{
	answer(a, CALL_PASS, send_fd(FD_SOCKET, FD_SLOT + op->slot), "slot %u", op->slot);
}

static void do_take(struct actor *a, const struct op *op)
{
	int fd = recv_fd(FD_SOCKET + 1);
	long ret = fd;

	if (fd >= 0)
		ret = into_slot(fd, op->slot);
	answer(a, CALL_TAKE, ret == -EBUSY ? 0 : ret, "slot %u", op->slot);
}

static void do_foreign(struct actor *a, const struct op *op)
{
	answer(a, CALL_FOREIGN, into_slot(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC), op->slot),
	       "slot %u", op->slot);
}

static void do_kill(struct actor *a, const struct op *op)
{
	unsigned int n = __atomic_load_n(&a->lane->nr_pids, __ATOMIC_ACQUIRE);
	pid_t pid = n ? a->lane->pids[pick(a, n < MAX_PIDS ? n : MAX_PIDS)] : 0;

	if (pid <= 0)
		return;
	answer(a, CALL_KILL, kill(pid, SIGKILL) ? -errno : 0, "pid %d, %u", pid, op->slot);
}

static void lane_note_pid(struct lane *lane, pid_t pid)
{
	unsigned int i = __atomic_fetch_add(&lane->nr_pids, 1, __ATOMIC_ACQ_REL);

	if (i < MAX_PIDS)
		lane->pids[i] = pid;
}

/* The kernel as producer: numbers 0 and 1 are its own channels. */

static void do_kernel_send(struct actor *a, const struct op *op)
{
	uint64_t data[8] = { op->rnd };
	struct st_send arg = {
		.channel = pick(a, 8) ? pick(a, 2) : pick(a, ST_MAX_CHANNELS),
		.len = pick(a, 8) ? 8 : pick(a, sizeof(data) + 1),
		.data = (uintptr_t)data,
	};

	if (options.test_module)
		answer(a, CALL_KERNEL_SEND, dev_ioctl(FD_TEST, ST_IOC_SEND, &arg),
		       "channel %u len %u", arg.channel, arg.len);
}

static void do_kernel_join(struct actor *a, const struct op *op)
{
	long ret;

	if (!options.test_module || !a->lane->joins)
		return;
	ret = ioctl(FD_TEST, ST_IOC_JOIN, (unsigned long)FD_SLOT + op->slot);
	answer(a, CALL_KERNEL_JOIN, ret < 0 ? -errno : ret, "slot %u", op->slot);
}

static void do_kernel_leave(struct actor *a)
{
	unsigned long nr = 2 + pick(a, ST_MAX_CHANNELS - 2);
	long ret;

	if (!options.test_module || !a->lane->joins)
		return;
	ret = ioctl(FD_TEST, ST_IOC_DESTROY, nr);
	answer(a, CALL_KERNEL_LEAVE, ret < 0 ? -errno : 0, "channel %lu", nr);
}

static void execute(struct actor *a, const struct op *op)
{
	uint64_t begin = now_ns();
	long ret;

	a->rnd = op->rnd * 0x9e3779b97f4a7c15ULL | 1;
	chance(&a->rnd);
	switch (op->call) {
	case CALL_OPEN:
		do_open(a, op);
		break;
	case CALL_CREATE:
		do_create(a, op);
		break;
	case CALL_ATTACH:
		do_attach(a, op);
		break;
	case CALL_INFO:
		do_info(a, op);
		break;
	case CALL_CLOSE:
		do_close(a, op);
		break;
	case CALL_WAIT:
		do_wait(a, op);
		break;
	case CALL_WAKE:
		do_wake(a, op);
		break;
	case CALL_CLAIM:
		do_claim(a, op);
		break;
	case CALL_QUERY:
		do_query(a, op);
		break;
	case CALL_LIST:
		do_list(a, op);
		break;
	case CALL_OTHER:
		do_other(a, op);
		break;
	case CALL_MMAP:
		do_mmap(a, op);
		break;
	case CALL_MUNMAP:
		do_munmap(a, op);
		break;
	case CALL_MREMAP:
		do_mremap(a, op);
		break;
	case CALL_MPROTECT:
		do_mprotect(a, op);
		break;
	case CALL_MADVISE:
		do_madvise(a, op);
		break;
	case CALL_POLL:
		do_poll(a, op);
		break;
	case CALL_EPOLL_CTL:
		do_epoll_ctl(a, op);
		break;
	case CALL_EPOLL_WAIT:
		do_epoll_wait(a);
		break;
	case CALL_READ:
		do_read(a, op);
		break;
	case CALL_CLOSE_FD:
		ret = close(FD_SLOT + op->slot) ? -errno : 0;
		answer(a, CALL_CLOSE_FD, ret, "slot %u", op->slot);
		break;
	case CALL_DUP:
		ret = dup2(FD_SLOT + op->other, FD_SLOT + op->slot) < 0 ? -errno : 0;
		answer(a, CALL_DUP, ret, "slot %u to %u", op->other, op->slot);
		break;
	case CALL_NONBLOCK:
		do_nonblock(a, op);
		break;
	case CALL_FDINFO:
		do_fdinfo(a, op);
		break;
	case CALL_PASS:
		do_pass(a, op);
		break;
	case CALL_TAKE:
		do_take(a, op);
		break;
	case CALL_FOREIGN:
		do_foreign(a, op);
		break;
	case CALL_KILL:
		do_kill(a, op);
		break;
	case CALL_KERNEL_SEND:
		do_kernel_send(a, op);
		break;
	case CALL_KERNEL_JOIN:
		do_kernel_join(a, op);
		break;
	case CALL_KERNEL_LEAVE:
		do_kernel_leave(a);
		break;
	case CALL_MOVE:
		do_move(a, op);
		break;
	case CALL_SCRIBBLE:
		do_scribble(a, op);
		break;
	case CALL_SCRIBBLE_ARG:
		do_scribble_arg(a, op);
		break;
	}
	__atomic_fetch_add(&totals->ns[op->call], now_ns() - begin, __ATOMIC_RELAXED);
}

#endif /* SELFTESTS_FUZZ_EXECUTE_H */
