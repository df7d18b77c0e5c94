// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives the in-kernel API of scatto for its tests: /dev/scatto_test lets user
 * space create channels of the kernel's and send into them from every context
 * there is. See scatto_test.h.
 *
 * One call at a time (st_lock), so that the state of a storm needs no more
 * care than its own contexts do.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <linux/scatto.h>

#include "compat.h"
#include "scatto_test.h"

#ifdef CONFIG_X86_LOCAL_APIC
#include <asm/apic.h>
#include <asm/irq_vectors.h>
#include <asm/nmi.h>
#endif

struct st_cpu {
	struct st_count count[ST_NR_CONTEXTS];
	u64 nr[ST_NR_CONTEXTS];
	struct hrtimer hard;
	struct hrtimer soft;
	struct task_struct *task;
	bool open;			/* the task has a reservation open */
};

static DEFINE_MUTEX(st_lock);
static struct scatto_channel *st_channels[ST_MAX_CHANNELS];
static bool st_joined[ST_MAX_CHANNELS];
static struct st_cpu st_cpus[ST_MAX_CPUS];

/* Of the storm or script under way. */
static struct scatto_channel *st_target;
static struct st_storm st_storm;
static bool st_target_joined;
static bool st_blowing;
static bool st_nmi_wanted;
static int st_script_ret;

static void st_fill(struct scatto_reservation *rsv, u64 source, u64 nr)
{
	*(struct st_event *)rsv->data = (struct st_event){
		.source = source,
		.nr = nr,
		.check = st_check(source, nr),
		.seq = rsv->seq,
	};
}

/* On a user's channel there is nothing but to send. */
static void st_shoot_joined(int cpu, enum st_context context)
{
	u64 source = cpu * ST_NR_CONTEXTS + context;
	struct st_cpu *self = &st_cpus[cpu];
	struct st_count *count = &self->count[context];
	u64 nr = self->nr[context]++;
	struct st_event ev = {
		.source = source, .nr = nr, .check = st_check(source, nr),
	};
	int ret = scatto_send(st_target, &ev, sizeof(ev));

	if (!ret)
		count->sent++;
	else if (ret == -ENOSPC)
		count->full++;
	else
		count->nobody++;
}

/*
 * One event of a source: every 16th is discarded. Tasks have others nested in
 * every 4th of theirs, and all leave the slot open for a moment, for whoever
 * comes next to nest in.
 */
static void st_shoot(int cpu, enum st_context context, int depth)
{
	u64 source = cpu * ST_NR_CONTEXTS + context;
	struct st_cpu *self = &st_cpus[cpu];
	struct st_count *count = &self->count[context];
	struct scatto_reservation rsv;
	int ret, i;
	u64 nr;

	if (st_target_joined) {
		st_shoot_joined(cpu, context);
		return;
	}
	nr = self->nr[context]++;
	ret = scatto_reserve(st_target, &rsv);
	if (ret == -ENOSPC) {
		count->full++;
		return;
	}
	if (ret) {
		count->nobody++;
		return;
	}
	if (depth || (context != ST_TASK && READ_ONCE(self->open)))
		count->nested++;
	if (!depth && context == ST_TASK)
		WRITE_ONCE(self->open, true);
	st_fill(&rsv, source, nr);
	for (i = 0; i < (nr & 63); i++)
		cpu_relax();
	if (context == ST_TASK && !depth && !(nr & 3)) {
		st_shoot(cpu, context, depth + 1);
		st_shoot(cpu, context, depth + 1);
	}
	if (nr % 16 == 15) {
		scatto_discard(st_target, &rsv);
		count->discarded++;
	} else {
		scatto_commit(st_target, &rsv);
		count->sent++;
	}
	if (!depth && context == ST_TASK)
		WRITE_ONCE(self->open, false);
	/* Time for the consumer to get past what was interrupted. */
	if (context != ST_TASK)
		for (i = 0; i < (nr & 3) * 200; i++)
			cpu_relax();
}

#ifdef CONFIG_X86_LOCAL_APIC
static int st_nmi(unsigned int type, struct pt_regs *regs)
{
	int cpu = raw_smp_processor_id();

	if (!READ_ONCE(st_nmi_wanted))
		return NMI_DONE;
	if (READ_ONCE(st_blowing))
		st_shoot(cpu, ST_NMI, 0);
	else
		scatto_send(st_target, &(u64){ 0x4e }, sizeof(u64));
	return NMI_HANDLED;
}

static void st_send_nmi(int cpu)
{
	apic->send_IPI(cpu, NMI_VECTOR);
}

static int st_nmi_begin(void)
{
	return register_nmi_handler(NMI_LOCAL, st_nmi, 0, "scatto_test");
}

static void st_nmi_end(void)
{
	WRITE_ONCE(st_nmi_wanted, false);
	unregister_nmi_handler(NMI_LOCAL, "scatto_test");
}

#define ST_NMI_BIT	ST_HAS_NMI
#else
static void st_send_nmi(int cpu)
{
}

static int st_nmi_begin(void)
{
	return 0;
}

static void st_nmi_end(void)
{
}

#define ST_NMI_BIT	0
#endif

static ktime_t st_period(void)
{
	return ns_to_ktime(st_storm.period_us * NSEC_PER_USEC);
}

static enum hrtimer_restart st_hard(struct hrtimer *timer)
{
	int cpu = smp_processor_id();

	if (st_storm.contexts & BIT(ST_HARDIRQ))
		st_shoot(cpu, ST_HARDIRQ, 0);
	/* To the next one, which may be doing anything. */
	if (READ_ONCE(st_nmi_wanted))
		st_send_nmi((cpu + 1) % st_storm.cpus);
	hrtimer_forward_now(timer, st_period());
	return READ_ONCE(st_blowing) ? HRTIMER_RESTART : HRTIMER_NORESTART;
}

static enum hrtimer_restart st_soft(struct hrtimer *timer)
{
	st_shoot(smp_processor_id(), ST_SOFTIRQ, 0);
	hrtimer_forward_now(timer, st_period());
	return READ_ONCE(st_blowing) ? HRTIMER_RESTART : HRTIMER_NORESTART;
}

static int st_task(void *arg)
{
	struct st_cpu *self = arg;
	int cpu = self - st_cpus;

	if (st_storm.contexts & (BIT(ST_HARDIRQ) | BIT(ST_NMI))) {
		hrtimer_setup(&self->hard, st_hard, CLOCK_MONOTONIC,
			      HRTIMER_MODE_REL_PINNED_HARD);
		hrtimer_start(&self->hard, st_period(),
			      HRTIMER_MODE_REL_PINNED_HARD);
	}
	if (st_storm.contexts & BIT(ST_SOFTIRQ)) {
		hrtimer_setup(&self->soft, st_soft, CLOCK_MONOTONIC,
			      HRTIMER_MODE_REL_PINNED_SOFT);
		hrtimer_start(&self->soft, st_period(),
			      HRTIMER_MODE_REL_PINNED_SOFT);
	}
	while (!kthread_should_stop()) {
		if (st_storm.contexts & BIT(ST_TASK))
			st_shoot(cpu, ST_TASK, 0);
		if (st_storm.pause_us >= 10 || !(st_storm.contexts & BIT(ST_TASK)))
			usleep_range(st_storm.pause_us + 10,
				     st_storm.pause_us * 2 + 20);
		else
			cond_resched();
	}
	if (st_storm.contexts & (BIT(ST_HARDIRQ) | BIT(ST_NMI)))
		hrtimer_cancel(&self->hard);
	if (st_storm.contexts & BIT(ST_SOFTIRQ))
		hrtimer_cancel(&self->soft);
	return 0;
}

static struct scatto_channel *st_channel(u32 nr)
{
	lockdep_assert_held(&st_lock);

	return nr < ST_MAX_CHANNELS ? st_channels[nr] : NULL;
}

static void st_blow(void)
{
	unsigned int cpu;

	lockdep_assert_held(&st_lock);

	memset(st_cpus, 0, sizeof(st_cpus));
	WRITE_ONCE(st_blowing, true);
	WRITE_ONCE(st_nmi_wanted, st_storm.contexts & BIT(ST_NMI));
	for (cpu = 0; cpu < st_storm.cpus; cpu++) {
		struct task_struct *task;

		task = kthread_create_on_cpu(st_task, &st_cpus[cpu], cpu,
					     "scatto_test/%u");
		if (IS_ERR(task))
			continue;
		st_cpus[cpu].task = task;
		wake_up_process(task);
	}
	msleep_interruptible(st_storm.ms);
	WRITE_ONCE(st_nmi_wanted, false);
	WRITE_ONCE(st_blowing, false);
	for (cpu = 0; cpu < st_storm.cpus; cpu++)
		if (st_cpus[cpu].task)
			kthread_stop(st_cpus[cpu].task);
	/* An NMI that was still on its way has its handler and its target. */
	msleep(20);
	for (cpu = 0; cpu < st_storm.cpus; cpu++)
		memcpy(st_storm.count[cpu], st_cpus[cpu].count,
		       sizeof(st_storm.count[cpu]));
}

static long st_ioctl_storm(struct st_storm __user *uarg)
{
	if (copy_from_user(&st_storm, uarg, sizeof(st_storm)))
		return -EFAULT;
	st_target = st_channel(st_storm.channel);
	if (!st_target || !st_storm.period_us)
		return -EINVAL;
	st_target_joined = st_joined[st_storm.channel];
	st_storm.cpus = min_t(u32, num_online_cpus(), ST_MAX_CPUS);
	memset(st_storm.count, 0, sizeof(st_storm.count));
	st_blow();
	return copy_to_user(uarg, &st_storm, sizeof(st_storm)) ? -EFAULT : 0;
}

struct st_volley_run {
	struct st_volley arg;
	atomic_t sent;
	atomic_t arrived;
	unsigned int cpus;
};

static void st_volley_fire(void *p)
{
	struct st_volley_run *run = p;
	u32 seed = run->arg.seed * 2654435761U + smp_processor_id() * 40503U;
	u32 i, j, patience;

	/* All together, but an IPI that is late does not hold up the others. */
	atomic_inc(&run->arrived);
	for (patience = 0; patience < 100000 &&
	     atomic_read(&run->arrived) < run->cpus; patience++)
		cpu_relax();
	for (i = 0; i < run->arg.each; i++) {
		struct scatto_reservation rsv;

		if (scatto_reserve(st_target, &rsv))
			continue;
		st_fill(&rsv, ST_NR_CONTEXTS * ST_MAX_CPUS, rsv.seq);
		seed = seed * 1664525U + 1013904223U;
		for (j = run->arg.delay ? (seed >> 8) % run->arg.delay : 0; j; j--)
			cpu_relax();
		scatto_commit(st_target, &rsv);
		atomic_inc(&run->sent);
	}
}

static long st_ioctl_volley(struct st_volley __user *uarg)
{
	struct st_volley_run run = { .cpus = num_online_cpus() };

	if (copy_from_user(&run.arg, uarg, sizeof(run.arg)))
		return -EFAULT;
	st_target = st_channel(run.arg.channel);
	if (!st_target || run.arg.each > 1000 || run.arg.delay > 100000)
		return -EINVAL;
	on_each_cpu(st_volley_fire, &run, true);
	return atomic_read(&run.sent);
}

static void st_script_irq(struct irq_work *work)
{
	scatto_send(st_target, &(u64){ 0x48 }, sizeof(u64));
}

static DEFINE_IRQ_WORK(st_script_work, st_script_irq);

/* An interrupt asked for is taken at once, or after a very short while. */
static void st_script_step(char step, int place)
{
	static struct scatto_reservation rsv[10];

	switch (step) {
	case 'R':
		st_script_ret = scatto_reserve(st_target, &rsv[place]);
		if (!st_script_ret)
			st_fill(&rsv[place], place, rsv[place].seq);
		break;
	case 'C':
		scatto_commit(st_target, &rsv[place]);
		break;
	case 'D':
		scatto_discard(st_target, &rsv[place]);
		break;
	case 'S':
		st_script_ret = scatto_send(st_target, &(u64){ 0x53 }, sizeof(u64));
		break;
	case 'N':
		st_send_nmi(smp_processor_id());
		mdelay(1);
		break;
	case 'H':
		irq_work_queue(&st_script_work);
		mdelay(1);
		break;
	case 'W':
		mdelay(1);
		break;
	case 'L':
		mdelay(50);
		break;
	}
}

static long st_ioctl_script(struct st_script __user *uarg)
{
	struct st_script script;
	unsigned int i;

	if (copy_from_user(&script, uarg, sizeof(script)))
		return -EFAULT;
	script.steps[sizeof(script.steps) - 1] = '\0';
	st_target = st_channel(script.channel);
	if (!st_target)
		return -EINVAL;

	st_script_ret = 0;
	preempt_disable();
	WRITE_ONCE(st_nmi_wanted, strchr(script.steps, 'N'));
	for (i = 0; script.steps[i]; i++) {
		char step = script.steps[i];
		int place = 0;

		if (step == 'R' || step == 'C' || step == 'D')
			place = clamp(script.steps[++i] - '0', 0, 9);
		st_script_step(step, place);
	}
	WRITE_ONCE(st_nmi_wanted, false);
	preempt_enable();
	irq_work_sync(&st_script_work);

	script.ret = st_script_ret;
	return copy_to_user(uarg, &script, sizeof(script)) ? -EFAULT : 0;
}

static int st_free_number(void)
{
	unsigned int i;

	lockdep_assert_held(&st_lock);

	for (i = 0; i < ST_MAX_CHANNELS && st_channels[i]; i++)
		;
	return i < ST_MAX_CHANNELS ? i : -ENOSPC;
}

static long st_ioctl_join(unsigned long fd)
{
	struct scatto_channel *ch;
	int i = st_free_number();

	if (i < 0)
		return i;
	ch = scatto_channel_join(fd);
	if (IS_ERR(ch))
		return PTR_ERR(ch);
	st_channels[i] = ch;
	st_joined[i] = true;
	return i;
}

static void st_put(unsigned int nr)
{
	if (st_joined[nr])
		scatto_channel_leave(st_channels[nr]);
	else
		scatto_channel_destroy(st_channels[nr]);
	st_channels[nr] = NULL;
	st_joined[nr] = false;
}

static long st_ioctl_create(struct st_create __user *uarg)
{
	struct scatto_channel_attr attr;
	struct scatto_channel *ch;
	struct st_create arg;
	int i = st_free_number();

	if (i < 0)
		return i;
	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	arg.name[sizeof(arg.name) - 1] = '\0';
	attr = (struct scatto_channel_attr){
		.name = arg.no_name ? NULL : arg.name,
		.slot_size = arg.slot_size,
		.capacity = arg.capacity,
		.flags = arg.flags,
		.mode = arg.mode,
		.uid = make_kuid(&init_user_ns, arg.uid),
		.gid = make_kgid(&init_user_ns, arg.uid),
	};
	ch = scatto_channel_create(&attr);
	if (IS_ERR(ch))
		return PTR_ERR(ch);
	st_channels[i] = ch;
	return i;
}

static long st_ioctl_destroy(unsigned long nr)
{
	if (nr == ST_MAX_CHANNELS) {
		scatto_channel_destroy(NULL);
		return 0;
	}
	if (!st_channel(nr))
		return -EINVAL;
	st_put(nr);
	return 0;
}

static long st_ioctl_send(struct st_send __user *uarg)
{
	struct scatto_channel *ch;
	struct st_send arg;
	void *data;
	long ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	ch = st_channel(arg.channel);
	if (!ch)
		return -EINVAL;
	data = memdup_user(u64_to_user_ptr(arg.data), arg.len);
	if (IS_ERR(data))
		return PTR_ERR(data);
	ret = scatto_send(ch, data, arg.len);
	kfree(data);
	return ret;
}

static long st_ioctl_query(unsigned long nr)
{
	struct scatto_channel *ch = st_channel(nr);

	if (!ch)
		return -EINVAL;
	return (scatto_has_consumer(ch) ? ST_HAS_CONSUMER : 0) |
	       (scatto_is_consumer(ch, current) ? ST_IS_CONSUMER : 0) |
	       ST_NMI_BIT;
}

static long st_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *uarg = (void __user *)arg;
	long ret;

	mutex_lock(&st_lock);
	switch (cmd) {
	case ST_IOC_CREATE:
		ret = st_ioctl_create(uarg);
		break;
	case ST_IOC_DESTROY:
		ret = st_ioctl_destroy(arg);
		break;
	case ST_IOC_SEND:
		ret = st_ioctl_send(uarg);
		break;
	case ST_IOC_SCRIPT:
		ret = st_ioctl_script(uarg);
		break;
	case ST_IOC_STORM:
		ret = st_ioctl_storm(uarg);
		break;
	case ST_IOC_VOLLEY:
		ret = st_ioctl_volley(uarg);
		break;
	case ST_IOC_QUERY:
		ret = st_ioctl_query(arg);
		break;
	case ST_IOC_JOIN:
		ret = st_ioctl_join(arg);
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&st_lock);
	return ret;
}

static const struct file_operations st_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= st_ioctl,
};

static struct miscdevice st_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "scatto_test",
	.fops	= &st_fops,
	.mode	= 0600,
};

static int __init st_init(void)
{
	int ret = st_nmi_begin();

	if (ret)
		return ret;
	ret = misc_register(&st_device);
	if (ret)
		st_nmi_end();
	return ret;
}

static void __exit st_exit(void)
{
	unsigned int i;

	misc_deregister(&st_device);
	st_nmi_end();
	for (i = 0; i < ST_MAX_CHANNELS; i++)
		st_put(i);
}

module_init(st_init);
module_exit(st_exit);
MODULE_DESCRIPTION("Drives the in-kernel API of scatto for its tests");
MODULE_LICENSE("GPL");
