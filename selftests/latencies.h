/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long repair takes, by tracepoints: from the death of a producer's last thread
 * to the last of what it had claimed being decided, and how much of that the dying
 * or a living one in the middle of a claim has waited for the CPU.
 */
#ifndef LATENCIES_H
#define LATENCIES_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "util.h"

#define TRACING		"/sys/kernel/tracing/instances/deaths/"
/* What the CPUs did of late: of use when a death took long, overwritten else. */
#define SWITCHES	"/sys/kernel/tracing/instances/switches/"

/* Beyond this, who waited for the CPU is looked up. */
#define LATE_NS		5000000U

/*
 * One that is late: how long did @tid wait for the CPU from @from to @to? The dying
 * also waits for locks of the kernel's own, mostly that of a file's mappings while
 * others fork: what it sleeps uninterruptibly with no module in its stack.
 */
struct wait_for_cpu {
	pid_t tid;
	uint64_t from, to;
	uint64_t ns;
	uint64_t since;			/* when that began; 0: it does not wait */
	uint64_t asleep;		/* the same while its stack is not known */
};

/* Of one that sleeps uninterruptibly; it stands behind the switch. */
struct sleep_stack {
	pid_t tid;
	unsigned int frames;
	bool in_module;			/* or not known */
};

#define STALL_NS	1000000ULL

/* When a CPU did not run even who came before all others. */
#define STALL_CPUS	4	/* that are looked at */

struct stalls {
	volatile unsigned int n;
	struct stall {
		uint64_t from, to;
	} at[4096];			/* the last ones */
};

struct latencies {
	uint64_t *ns;
	unsigned int n, most;
};

struct tracer {
	int pipe;
	uint64_t id;			/* of the channel */
	char line[512];
	unsigned int len;
	/* Threads that have started to exit, since when. */
	struct exiting {
		pid_t tid;
		uint64_t ns;
	} exiting[64];
	unsigned int next;
	/* Deaths whose repair is not complete. */
	struct death {
		pid_t tid;
		uint64_t exit_ns;	/* it began to exit */
		uint64_t orphan_ns;	/* it could no longer write */
	} open[64];
	unsigned int nr_open;
	unsigned int dropped;		/* orphans of which that is not known */
	/* Looks at what is undecided, and who was in the way. */
	struct look {
		uint64_t ns;
		pid_t held_by;
	} look[256];
	unsigned int looks;
	/* Late ones whose waits are to be looked up, and what they took. */
	struct late {
		struct wait_for_cpu w[16];
		unsigned int n;
		uint64_t ns;
	} late[16];
	unsigned int nr_late;
	const struct stalls *stalls;	/* of STALL_CPUS, if anybody notes them */
	pid_t orphan;			/* tid of the event before; 0: another event */
	uint64_t orphan_ns;
	struct latencies *idle;		/* of exits, while there are only others' */
	struct latencies *lat;		/* from exits */
	struct latencies *own;		/* from the unmapping: the repair alone */
	struct latencies *doubt;	/* the same where it had to be tried again */
	struct latencies *net;		/* from exits, less what waited for the CPU */
};

static inline int tracer_start(struct tracer *t)
{
	char comm[16] = "";

	prctl(PR_GET_NAME, comm);
	memset(t, 0, sizeof(*t));
	if (access("/sys/kernel/tracing/instances", F_OK) &&
	    mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL))
		return -errno;
	if ((mkdir(TRACING, 0700) && errno != EEXIST) ||
	    (mkdir(SWITCHES, 0700) && errno != EEXIST))
		return -errno;
	write_file(TRACING "trace_clock", "mono");
	write_file(TRACING "trace", " ");
	write_file(TRACING "events/signal/signal_deliver/filter", "sig == 9");
	write_file(SWITCHES "trace_clock", "mono");
	write_file(SWITCHES "buffer_size_kb", "512");
	write_file(SWITCHES "events/sched/sched_switch/filter",
		   "prev_comm == \"%1$s\" || next_comm == \"%1$s\"",
		   comm);
	/* Functions of modules tell by their addresses. */
	if (test_is_long() &&
	    (write_file(SWITCHES "options/sym-addr", "1") ||
	     write_file(SWITCHES "events/sched/sched_switch/trigger",
			"stacktrace if prev_state == 2 && prev_comm == \"%s\"", comm)))
		return -ENOENT;
	if (write_file(TRACING "events/signal/signal_deliver/enable", "1") ||
	    write_file(TRACING "events/sched/sched_process_exit/enable", "1") ||
	    write_file(TRACING "events/scatto/scatto_orphan/enable", "1") ||
	    write_file(TRACING "events/scatto/scatto_repair/enable", "1") ||
	    (test_is_long() && write_file(SWITCHES "events/sched/sched_switch/enable", "1")))
		return -ENOENT;
	t->pipe = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return t->pipe < 0 ? -errno : 0;
}

static inline void tracer_stop(struct tracer *t)
{
	close(t->pipe);
	write_file(TRACING "events/enable", "0");
	write_file(SWITCHES "events/enable", "0");
	rmdir(TRACING);
	rmdir(SWITCHES);
}

static inline void stall_add(struct stalls *s, uint64_t from, uint64_t to)
{
	s->at[s->n % ARRAY_LEN(s->at)] = (struct stall){ from, to };
	s->n++;
}

/* On the CPU where it was most: whoever was held up may have been there. */
static inline uint64_t stalls_between(const struct stalls *s, uint64_t from, uint64_t to)
{
	uint64_t most = 0;
	unsigned int cpu, i;

	for (cpu = 0; s && cpu < STALL_CPUS; cpu++, s++) {
		uint64_t ns = 0;

		for (i = 0; i < s->n && i < ARRAY_LEN(s->at); i++) {
			uint64_t begin = s->at[i].from > from ? s->at[i].from : from;
			uint64_t end = s->at[i].to < to ? s->at[i].to : to;

			if (begin < end)
				ns += end - begin;
		}
		if (ns > most)
			most = ns;
	}
	return most;
}

static inline void latency_add(struct latencies *lat, uint64_t ns)
{
	if (lat->n < lat->most)
		lat->ns[lat->n++] = ns;
}

/*
 * "  comm-1234   [001] d..1.  12.345678: event: ...": the time, or 0. @tid is the
 * number, @event what begins with the name's colon.
 */
static inline uint64_t trace_parse(char *line, pid_t *tid, char **event)
{
	char *at = strchr(line, '['), *dash;
	unsigned long long s, us;

	if (!at || !strchr(at, ']'))
		return 0;
	*at = '\0';
	dash = strrchr(line, '-');
	*tid = dash ? atoi(dash + 1) : 0;
	/* Behind the flags. */
	at = strchr(at + 1, ']') + 1;
	while (*at == ' ')
		at++;
	at = strchrnul(at, ' ');
	if (sscanf(at, " %llu.%llu:", &s, &us) != 2)
		return 0;
	*event = strchr(at, ':');
	return s * 1000000000ULL + us * 1000;
}

static inline void waited(struct wait_for_cpu *w, uint64_t until)
{
	uint64_t from = w->since > w->from ? w->since : w->from;
	uint64_t to = until < w->to ? until : w->to;

	if (w->since && to > from)
		w->ns += to - from;
	w->since = 0;
}

static inline void waits_add(struct late *late, pid_t prev, char state, pid_t next,
			     uint64_t ns)
{
	unsigned int i;

	for (i = 0; i < late->n; i++) {
		struct wait_for_cpu *w = &late->w[i];

		if (next == w->tid) {
			waited(w, ns);
			w->asleep = 0;
		}
		if (prev == w->tid) {
			w->since = state == 'R' ? ns : 0;
			w->asleep = !i && state == 'D' ? ns : 0;
		}
	}
}

/* From here on there is more than was known before: what has been found is in doubt. */
static inline void waits_forget(struct late *late)
{
	unsigned int i;

	for (i = 0; i < late->n; i++) {
		late->w[i].ns = 0;
		late->w[i].since = 0;
		late->w[i].asleep = 0;
	}
}

/* Above the kernel's own functions, which have half a gigabyte or one to themselves. */
static inline uint64_t modules_begin(void)
{
	static uint64_t begin;
	char text[32] = "";

	if (!begin && read_file("/sys/module/scatto/sections/.text", text, sizeof(text)) > 0)
		begin = strtoull(text, NULL, 16) & ~0x1fffffffULL;
	return begin;
}

/* @line is a function of it. */
static inline void stack_add(struct sleep_stack *stack, const char *line)
{
	const char *at = strrchr(line, '<');

	stack->frames++;
	stack->in_module |= !at || strtoull(at + 1, NULL, 16) >= modules_begin();
}

/* @stack is complete: does who sleeps there wait? */
static inline void stack_judge(const struct sleep_stack *stack, struct wait_for_cpu *w)
{
	if (!w->asleep || w->tid != stack->tid)
		return;
	if (stack->frames && !stack->in_module)
		w->since = w->asleep;
	w->asleep = 0;
}

/*
 * What those who could do something waited for the CPU. Takes the reader's CPU for
 * long: not while somebody else is late.
 */
static inline void tracer_late(struct tracer *t)
{
	static char buf[16 << 20];
	char *line, *next, *event, state;
	pid_t tid, prev, other;
	struct sleep_stack stack = {};
	unsigned int i, j;
	uint64_t ns;
	int len;

	/* In the short form nobody has noted the switches. */
	if (!t->nr_late || !test_is_long())
		return;
	/* What is written to while it is read comes with holes. */
	write_file(SWITCHES "tracing_on", "0");
	len = read_file(SWITCHES "trace", buf, sizeof(buf));
	write_file(SWITCHES "trace", " ");
	write_file(SWITCHES "tracing_on", "1");
	if (len < 0 || len == sizeof(buf) - 1)
		return;
	for (line = buf; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = '\0';
		if (!strncmp(line, " => ", 4)) {
			stack_add(&stack, line);
			continue;
		}
		for (i = 0; i < t->nr_late; i++)
			stack_judge(&stack, &t->late[i].w[0]);
		stack = (struct sleep_stack){};
		if (strstr(line, "<stack trace>")) {
			if (!trace_parse(line, &stack.tid, &event))
				stack.tid = 0;
			continue;
		}
		/* One CPU's part begins later where older ones were overwritten. */
		for (i = 0; i < t->nr_late && strstr(line, " buffer started "); i++)
			waits_forget(&t->late[i]);
		ns = *line == '#' ? 0 : trace_parse(line, &tid, &event);
		if (!ns)
			continue;
		event = strstr(event, " prev_pid=");
		if (!event || sscanf(event, " prev_pid=%d prev_prio=%*d prev_state=%c",
				     &prev, &state) != 2)
			continue;
		event = strstr(event, " next_pid=");
		if (!event || sscanf(event, " next_pid=%d", &other) != 1)
			continue;
		for (i = 0; i < t->nr_late; i++)
			waits_add(&t->late[i], prev, state, other, ns);
	}
	for (i = 0; i < t->nr_late; i++) {
		struct late *late = &t->late[i];
		uint64_t stalled = stalls_between(t->stalls, late->w[0].from,
						  late->w[0].from + late->ns);
		uint64_t waits = 0;

		for (j = 0; j < late->n; j++) {
			/* The dying ran when it said that it could no longer write. */
			if (j)
				waited(&late->w[j], late->w[j].to);
			waits += late->w[j].ns;
		}
		/* The one may be part of the other. */
		ns = late->ns - (waits > stalled ? waits : stalled);
		latency_add(t->net, ns);
		/* What this does not explain, one can look into. */
		for (j = 0; j < late->n && ns > LATE_NS; j++)
			printf("# late: %d from %.3f ms on for %.3f ms, waits %.3f ms\n",
			       late->w[j].tid, (late->w[j].from - late->w[0].from) / 1e6,
			       (late->w[j].to - late->w[j].from) / 1e6,
			       late->w[j].ns / 1e6);
	}
	t->nr_late = 0;
}

/* From its exit on the dying had to run, and from then on who held up the repair. */
static inline void late_add(struct tracer *t, const struct death *d, uint64_t end)
{
	struct late *late = &t->late[t->nr_late++];
	unsigned int i;

	late->ns = end - d->exit_ns;
	late->n = 1;
	late->w[0] = (struct wait_for_cpu){
		.tid = d->tid, .from = d->exit_ns, .to = d->orphan_ns,
	};
	for (i = 0; i < t->looks && late->n < ARRAY_LEN(late->w); i++) {
		const struct look *l = &t->look[i];
		uint64_t to = i + 1 < t->looks ? l[1].ns : end;

		if (l->held_by && to > d->orphan_ns)
			late->w[late->n++] = (struct wait_for_cpu){
				.tid = l->held_by, .to = to,
				.from = l->ns > d->orphan_ns ? l->ns : d->orphan_ns,
			};
	}
}

static inline void tracer_complete(struct tracer *t, uint64_t ns)
{
	unsigned int i;

	for (i = 0; i < t->nr_open; i++) {
		const struct death *d = &t->open[i];
		uint64_t lat = ns - d->exit_ns;

		latency_add(t->lat, lat);
		latency_add(t->looks ? t->doubt : t->own, ns - d->orphan_ns);
		if (lat < LATE_NS || t->nr_late == ARRAY_LEN(t->late))
			latency_add(t->net, lat);
		else
			late_add(t, d, ns);
	}
	t->nr_open = 0;
	t->looks = 0;
}

static inline uint64_t tracer_exit_of(struct tracer *t, pid_t tid)
{
	unsigned int i, most = ARRAY_LEN(t->exiting);

	/* The last one of that number. */
	for (i = 1; i <= most; i++)
		if (t->exiting[(t->next + most - i) % most].tid == tid)
			return t->exiting[(t->next + most - i) % most].ns;
	return 0;
}

/*
 * An orphan and the first look at it come one after the other; without the second
 * there was nothing to do.
 */
static inline void tracer_line(struct tracer *t)
{
	unsigned long long lo, hi;
	char *event, *id;
	uint64_t ns;
	int held_by;
	pid_t tid;

	ns = trace_parse(t->line, &tid, &event);
	if (!ns)
		return;
	if (strstr(event, "signal_deliver:")) {
		t->exiting[t->next].tid = tid;
		t->exiting[t->next].ns = ns;
		t->next = (t->next + 1) % ARRAY_LEN(t->exiting);
		return;
	}
	if (strstr(event, "sched_process_exit:")) {
		if (t->idle && tracer_exit_of(t, tid))
			latency_add(t->idle, ns - tracer_exit_of(t, tid));
		return;
	}
	id = strstr(event, "id=");
	if (!id || strtoull(id + 3, NULL, 10) != t->id)
		return;
	/* The orphan before had nothing to look at, and neither had any other. */
	if (t->orphan && !(strstr(event, "scatto_repair:") && t->orphan == tid))
		tracer_complete(t, t->orphan_ns);
	t->orphan = 0;
	if (strstr(event, "scatto_orphan:")) {
		if (tracer_exit_of(t, tid) && t->nr_open < ARRAY_LEN(t->open))
			t->open[t->nr_open++] = (struct death){
				tid, tracer_exit_of(t, tid), ns };
		else
			t->dropped++;
		t->orphan = tid;
		t->orphan_ns = ns;
	} else if (sscanf(strstr(event, "lo="), "lo=%llu hi=%llu held_by=%d", &lo,
			  &hi, &held_by) == 3) {
		if (lo == hi)
			tracer_complete(t, ns);
		else if (t->looks < ARRAY_LEN(t->look))
			t->look[t->looks++] = (struct look){ ns, held_by };
		else
			t->look[ARRAY_LEN(t->look) - 1].held_by = 0;
	}
}

/* All that has been traced up to now. */
static inline void tracer_read(struct tracer *t)
{
	char buf[4096];
	ssize_t n, i;

	while ((n = read(t->pipe, buf, sizeof(buf))) > 0) {
		for (i = 0; i < n; i++) {
			if (buf[i] != '\n') {
				if (t->len < sizeof(t->line) - 1)
					t->line[t->len++] = buf[i];
				continue;
			}
			t->line[t->len] = '\0';
			t->len = 0;
			tracer_line(t);
		}
	}
	if (!t->nr_open)
		tracer_late(t);
}

/* The last has nobody behind it that would tell. */
static inline void tracer_finish(struct tracer *t)
{
	tracer_read(t);
	if (t->orphan)
		tracer_complete(t, t->orphan_ns);
	t->orphan = 0;
	tracer_late(t);
}

static int latency_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static inline void latencies_print(struct latencies *lat, const char *what)
{
	qsort(lat->ns, lat->n, sizeof(*lat->ns), latency_compare);
	if (!lat->n)
		return;
	printf("# %s: %.2f ms (median), %.2f ms (99 %%), %.2f ms (most) of %u\n",
	       what, lat->ns[lat->n / 2] / 1e6, lat->ns[lat->n * 99UL / 100] / 1e6,
	       lat->ns[lat->n - 1] / 1e6, lat->n);
}

static inline void stalls_print(const struct stalls *s)
{
	uint64_t most = 0;
	unsigned int cpu, i, n = 0;

	for (cpu = 0; cpu < STALL_CPUS; cpu++, s++) {
		n += s->n;
		for (i = 0; i < s->n && i < ARRAY_LEN(s->at); i++)
			if (s->at[i].to - s->at[i].from > most)
				most = s->at[i].to - s->at[i].from;
	}
	printf("# control: a sleep of 1 ms took %.0f ms or more too long %u times, at most %.2f\n",
	       STALL_NS / 1e6, n, most / 1e6);
}

/* Below which so many in a hundred are; sorted by latencies_print(). */
static inline uint64_t latencies_at(const struct latencies *lat, unsigned int percent)
{
	unsigned long at = (unsigned long)lat->n * percent / 100;

	return lat->n ? lat->ns[at < lat->n ? at : lat->n - 1] : 0;
}

#endif
