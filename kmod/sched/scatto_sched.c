// SPDX-License-Identifier: GPL-2.0-only
/*
 * scatto_sched: the scheduler's tracepoints as a scatto channel.
 *
 * Whoever may read the channel learns the names and numbers of all tasks of
 * the machine, in every container, and when each of them ran. The default mode
 * therefore admits root alone.
 *
 * A stream of scheduler events can feed on itself: an event wakes the reader,
 * which is a switch to it and later one from it, which are events, which wake
 * the reader. A machine with nothing else to do would do that for ever. To
 * leave these switches out would tear a hole into the sequence of its CPU each
 * time: who ran before, and since when has the next one been running? So they
 * are held back in a buffer of the CPU and sent in front of the next event that
 * does not concern the reader, to which they add no wake-up. When the buffer is
 * full before that, it is sent as a whole: HOLD / 2 periods of reading cost one
 * more, and that sum converges.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include <linux/uidgid.h>
#include <trace/events/sched.h>

#include <linux/scatto.h>
#include <uapi/linux/scatto_sched.h>

#include "../compat.h"

static_assert(sizeof(struct scatto_sched_event) == 64);
static_assert(SCATTO_SCHED_COMM_LEN == TASK_COMM_LEN);

#define HOLD	16

static char *name = "sched";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "Name of the channel (default sched)");

static uint capacity = 65536;
module_param(capacity, uint, 0444);
MODULE_PARM_DESC(capacity, "Events that fit, a power of two (default 65536)");

static ushort mode = 0400;

static int mode_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%04ho\n", mode);
}

static const struct kernel_param_ops mode_ops = {
	.set = param_set_ushort,
	.get = mode_get,
};
module_param_cb(mode, &mode_ops, &mode, 0444);
MODULE_PARM_DESC(mode, "Who may read: they see all tasks (default 0400)");

static uint uid;
module_param(uid, uint, 0444);
MODULE_PARM_DESC(uid, "Owner of the channel (default 0)");

static uint gid;
module_param(gid, uint, 0444);
MODULE_PARM_DESC(gid, "Group of the channel (default 0)");

/*
 * One CPU's share. Touched by that CPU with interrupts off, or by anybody when
 * no probe is registered; the counters are read by anybody at any time.
 */
struct sched_cpu {
	u64 sent;
	u64 lost;
	unsigned int held;
	struct scatto_sched_event hold[HOLD];
};

/*
 * Set before the first probe is registered and cleared after the last has
 * finished, under the lock; probes read them without.
 */
static struct scatto_channel *channel;
static struct sched_cpu __percpu *cpus;

static DEFINE_MUTEX(lock);

/* Under lock. */
static bool enabled = true;

static void send(struct sched_cpu *cpu, const struct scatto_sched_event *ev)
{
	switch (scatto_send(channel, ev, sizeof(*ev))) {
	case 0:
		WRITE_ONCE(cpu->sent, cpu->sent + 1);
		break;
	case -ENOSPC:
		WRITE_ONCE(cpu->lost, cpu->lost + 1);
		break;
	}
}

static void send_held(struct sched_cpu *cpu)
{
	unsigned int i;

	for (i = 0; i < cpu->held; i++)
		send(cpu, &cpu->hold[i]);
	cpu->held = 0;
}

/*
 * The time is taken with interrupts off, so that the events of a CPU are sent
 * in the order of their times.
 */
static void record(struct scatto_sched_event *ev, bool hold)
{
	struct sched_cpu *cpu;
	unsigned long flags;

	local_irq_save(flags);
	cpu = this_cpu_ptr(cpus);
	ev->time_ns = ktime_get_mono_fast_ns();
	ev->cpu = smp_processor_id();

	if (hold) {
		ev->flags |= SCATTO_SCHED_HELD;
		cpu->hold[cpu->held++] = *ev;
		if (cpu->held == HOLD)
			send_held(cpu);
	} else {
		send_held(cpu);
		send(cpu, ev);
	}
	local_irq_restore(flags);
}

static void describe(struct scatto_sched_task *to, const struct task_struct *p)
{
	/* A thread that executes a program takes over its dying leader's. */
	to->pid = data_race(p->pid);
	to->tgid = p->tgid;
	/*
	 * The task may be changing its name: then this is a mixture, as it is
	 * in the kernel's own trace, but it ends.
	 */
	data_race(memcpy(to->comm, p->comm, sizeof(to->comm)));
	to->comm[sizeof(to->comm) - 1] = '\0';
}

static s8 shown_prio(const struct task_struct *p)
{
	return p->prio - MAX_RT_PRIO;
}

static void probe_switch(void *data, bool preempt, struct task_struct *prev,
			 struct task_struct *next, unsigned int prev_state)
{
	struct scatto_sched_event ev = { .type = SCATTO_SCHED_SWITCH };
	unsigned int state;
	bool own;

	if (!scatto_has_consumer(channel)) {
		/* What a former reader has left behind. Interrupts are off. */
		this_cpu_write(cpus->held, 0);
		return;
	}

	/* A parent may reap it already: any of the values means dead. */
	state = __task_state_index(prev_state, data_race(prev->exit_state));
	ev.prev_state = preempt ? SCATTO_SCHED_PREEMPTED :
				  task_index_to_char(state);
	ev.prev_prio = shown_prio(prev);
	ev.next_prio = shown_prio(next);
	describe(&ev.task[0], prev);
	describe(&ev.task[1], next);
	own = scatto_is_consumer(channel, prev) ||
	      scatto_is_consumer(channel, next);
	record(&ev, own);
}

static void probe_fork(void *data, struct task_struct *parent,
		       struct task_struct *child)
{
	struct scatto_sched_event ev = { .type = SCATTO_SCHED_FORK };

	if (!scatto_has_consumer(channel))
		return;

	describe(&ev.task[0], parent);
	describe(&ev.task[1], child);
	record(&ev, false);
}

static void probe_exec(void *data, struct task_struct *p, pid_t old_pid,
		       struct linux_binprm *bprm)
{
	struct scatto_sched_event ev = { .type = SCATTO_SCHED_EXEC };

	if (!scatto_has_consumer(channel))
		return;

	describe(&ev.task[0], p);
	ev.task[1].pid = old_pid;
	record(&ev, false);
}

static void probe_exit(void *data, SCHED_PROCESS_EXIT_ARGS)
{
	struct scatto_sched_event ev = { .type = SCATTO_SCHED_EXIT };

	if (!scatto_has_consumer(channel))
		return;

	ev.exit_code = p->exit_code;
	describe(&ev.task[0], p);
	record(&ev, false);
}

/*
 * The tracepoints are not exported one by one, so they are looked up by name,
 * and registering takes a void pointer. Here the compiler compares each probe
 * with the kernel's declaration: a kernel with other arguments fails to build.
 */
static void __maybe_unused check_probes(void)
{
	check_trace_callback_type_sched_switch(probe_switch);
	check_trace_callback_type_sched_process_fork(probe_fork);
	check_trace_callback_type_sched_process_exec(probe_exec);
	check_trace_callback_type_sched_process_exit(probe_exit);
}

/* Under lock, except @name and @probe, which are constant. */
static struct sched_probe {
	const char *name;
	void *probe;
	struct tracepoint *tp;
	bool registered;
} probes[] = {
	{ .name = "sched_process_fork", .probe = probe_fork },
	{ .name = "sched_process_exec", .probe = probe_exec },
	{ .name = "sched_process_exit", .probe = probe_exit },
	{ .name = "sched_switch", .probe = probe_switch },
};

/* Afterwards no probe runs, and all that they have recorded has been sent. */
static void unregister_probes(void)
{
	struct sched_probe *p;
	int cpu;

	lockdep_assert_held(&lock);

	for (p = probes; p < probes + ARRAY_SIZE(probes); p++) {
		if (p->registered)
			tracepoint_probe_unregister(p->tp, p->probe, NULL);
		p->registered = false;
	}
	tracepoint_synchronize_unregister();

	for_each_possible_cpu(cpu)
		send_held(per_cpu_ptr(cpus, cpu));
}

static int register_probes(void)
{
	struct sched_probe *p;
	int ret;

	lockdep_assert_held(&lock);

	for (p = probes; p < probes + ARRAY_SIZE(probes); p++) {
		if (p->registered)
			continue;
		ret = tracepoint_probe_register(p->tp, p->probe, NULL);
		if (ret) {
			pr_err("cannot attach to tracepoint %s: %d\n",
			       p->name, ret);
			unregister_probes();
			return ret;
		}
		p->registered = true;
	}
	return 0;
}

/*
 * Parameters are parsed before the module's init and can be written while it
 * runs and until its exit has returned, hence the looks at the channel. When a
 * write of N has returned, the last event has been sent and counted.
 */
static int enabled_set(const char *val, const struct kernel_param *kp)
{
	bool on;
	int ret;

	ret = kstrtobool(val, &on);
	if (ret)
		return ret;

	mutex_lock(&lock);
	if (channel) {
		if (on)
			ret = register_probes();
		else
			unregister_probes();
	}
	if (!ret)
		enabled = on;
	mutex_unlock(&lock);
	return ret;
}

static const struct kernel_param_ops enabled_ops = {
	.set = enabled_set,
	.get = param_get_bool,
};
module_param_cb(enabled, &enabled_ops, &enabled, 0644);
MODULE_PARM_DESC(enabled, "Whether events are recorded (default Y)");

enum { TOTAL_SENT, TOTAL_LOST };

static int total_get(char *buffer, const struct kernel_param *kp)
{
	u64 total = 0;
	int i;

	mutex_lock(&lock);
	if (cpus) {
		for_each_possible_cpu(i) {
			const struct sched_cpu *cpu = per_cpu_ptr(cpus, i);

			total += (long)kp->arg == TOTAL_SENT ?
				 READ_ONCE(cpu->sent) : READ_ONCE(cpu->lost);
		}
	}
	mutex_unlock(&lock);
	return scnprintf(buffer, PAGE_SIZE, "%llu\n", total);
}

static const struct kernel_param_ops total_ops = {
	.get = total_get,
};

module_param_cb(sent, &total_ops, (void *)TOTAL_SENT, 0444);
MODULE_PARM_DESC(sent, "Read-only: events stored in the channel since loading");
module_param_cb(lost, &total_ops, (void *)TOTAL_LOST, 0444);
MODULE_PARM_DESC(lost, "Read-only: events for which there was no room");

static void find_tracepoint(struct tracepoint *tp, void *priv)
{
	struct sched_probe *p;

	for (p = probes; p < probes + ARRAY_SIZE(probes); p++) {
		if (!strcmp(tp->name, p->name))
			p->tp = tp;
	}
}

static struct scatto_channel *create_channel(void)
{
	struct scatto_channel_attr attr = {
		.name = name,
		.slot_size = sizeof(struct scatto_sched_event),
		.capacity = capacity,
		.mode = mode,
		.uid = make_kuid(&init_user_ns, uid),
		.gid = make_kgid(&init_user_ns, gid),
	};
	struct scatto_channel *ch;

	if (!uid_valid(attr.uid) || !gid_valid(attr.gid))
		return ERR_PTR(-EINVAL);

	ch = scatto_channel_create(&attr);
	if (IS_ERR(ch))
		pr_err("no channel \"%s\" of %u events, mode %04ho: %pe\n",
		       name, capacity, mode, ch);
	return ch;
}

static int __init scatto_sched_init(void)
{
	struct scatto_channel *ch;
	struct sched_probe *p;
	int ret = 0;

	for_each_kernel_tracepoint(find_tracepoint, NULL);
	for (p = probes; p < probes + ARRAY_SIZE(probes); p++) {
		if (!p->tp) {
			pr_err("this kernel has no tracepoint %s\n", p->name);
			return -ENOENT;
		}
	}

	mutex_lock(&lock);
	cpus = alloc_percpu(struct sched_cpu);
	if (!cpus) {
		ret = -ENOMEM;
		goto out;
	}

	ch = create_channel();
	if (IS_ERR(ch)) {
		ret = PTR_ERR(ch);
		goto free;
	}

	channel = ch;
	if (enabled)
		ret = register_probes();
	if (!ret)
		goto out;

	channel = NULL;
	scatto_channel_destroy(ch);
free:
	free_percpu(cpus);
	cpus = NULL;
out:
	mutex_unlock(&lock);
	return ret;
}

static void __exit scatto_sched_exit(void)
{
	mutex_lock(&lock);
	unregister_probes();
	scatto_channel_destroy(channel);
	channel = NULL;
	free_percpu(cpus);
	cpus = NULL;
	mutex_unlock(&lock);
}

module_init(scatto_sched_init);
module_exit(scatto_sched_exit);

MODULE_DESCRIPTION("Scheduler events as a scatto channel");
MODULE_LICENSE("GPL");
