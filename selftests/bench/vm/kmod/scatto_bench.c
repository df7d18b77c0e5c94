// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tracepoint that is fired in a loop, for measuring what it costs to record it:
 * by scatto or relayfs, whose probes are here, or by whatever else user space
 * attaches to it (BPF programs, perf). All of them get the same event and make the
 * same record of it.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/relay.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include <linux/scatto.h>

#include "scatto_bench.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Sub-buffers of a relay buffer; its reader is woken for each. */
#define SB_SUBBUFS	8

static DEFINE_MUTEX(sb_lock);

/* All under sb_lock; probes get their target with the call. */
static enum sb_probe sb_probe;
static void *sb_target;
static struct dentry *sb_dir;

static void sb_probe_empty(void *target, u64 seq)
{
}

static void sb_probe_scatto(void *target, u64 seq)
{
	struct scatto_reservation rsv;

	if (scatto_reserve(target, &rsv))
		return;
	sb_fill(rsv.data, seq);
	scatto_commit(target, &rsv);
}

static void sb_probe_scatto_send(void *target, u64 seq)
{
	struct sb_record record;

	sb_fill(&record, seq);
	scatto_send(target, &record, sizeof(record));
}

static void *sb_channel_open(u32 slots)
{
	struct scatto_channel_attr attr = {
		.name = SB_CHANNEL,
		.slot_size = sizeof(struct sb_record),
		.capacity = slots,
		.mode = 0400,
	};

	return scatto_channel_create(&attr);
}

static void sb_channel_close(void *target)
{
	scatto_channel_destroy(target);
}

#if IS_ENABLED(CONFIG_RELAY)
static void sb_probe_relay(void *target, u64 seq)
{
	struct sb_record record;

	sb_fill(&record, seq);
	relay_write(target, &record, sizeof(record));
}

/* As the others do: what finds no room is dropped. */
static int sb_subbuf_start(struct rchan_buf *buf, void *subbuf, void *prev,
			   size_t prev_padding)
{
	return !relay_buf_full(buf);
}

static struct dentry *sb_create_file(const char *name, struct dentry *dir, umode_t mode,
				     struct rchan_buf *buf, int *is_global)
{
	return debugfs_create_file(name, mode, dir, buf, &relay_file_operations);
}

static int sb_remove_file(struct dentry *dentry)
{
	debugfs_remove(dentry);
	return 0;
}

static const struct rchan_callbacks sb_relay_callbacks = {
	.subbuf_start = sb_subbuf_start,
	.create_buf_file = sb_create_file,
	.remove_buf_file = sb_remove_file,
};

static void *sb_relay_open(u32 slots)
{
	if (!slots || slots % SB_SUBBUFS)
		return ERR_PTR(-EINVAL);
	return relay_open(SB_CHANNEL, sb_dir,
			  slots / SB_SUBBUFS * sizeof(struct sb_record),
			  SB_SUBBUFS, &sb_relay_callbacks, NULL) ?: ERR_PTR(-ENOMEM);
}

static void sb_relay_close(void *target)
{
	relay_close(target);
}
#endif

static const struct sb_kind {
	void (*probe)(void *target, u64 seq);
	void *(*open)(u32 slots);
	void (*close)(void *target);
} sb_kinds[] = {
	[SB_EMPTY] = { sb_probe_empty },
	[SB_SCATTO] = { sb_probe_scatto, sb_channel_open, sb_channel_close },
	[SB_SCATTO_SEND] = { sb_probe_scatto_send, sb_channel_open, sb_channel_close },
#if IS_ENABLED(CONFIG_RELAY)
	[SB_RELAY] = { sb_probe_relay, sb_relay_open, sb_relay_close },
#endif
};

static void sb_detach(void)
{
	const struct sb_kind *kind = &sb_kinds[sb_probe];

	lockdep_assert_held(&sb_lock);

	if (sb_probe == SB_NONE)
		return;
	unregister_trace_scatto_bench_event(kind->probe, sb_target);
	tracepoint_synchronize_unregister();
	if (kind->close)
		kind->close(sb_target);
	sb_probe = SB_NONE;
}

static int sb_attach(const struct sb_attach *arg)
{
	const struct sb_kind *kind;
	void *target = NULL;
	int ret;

	lockdep_assert_held(&sb_lock);

	sb_detach();
	if (arg->probe == SB_NONE)
		return 0;
	if (arg->probe >= ARRAY_SIZE(sb_kinds) || !sb_kinds[arg->probe].probe)
		return -EOPNOTSUPP;
	kind = &sb_kinds[arg->probe];
	if (kind->open)
		target = kind->open(arg->slots);
	if (IS_ERR(target))
		return PTR_ERR(target);
	ret = register_trace_scatto_bench_event(kind->probe, target);
	if (ret) {
		if (kind->close)
			kind->close(target);
		return ret;
	}
	sb_probe = arg->probe;
	sb_target = target;
	return 0;
}

static noinline u64 sb_loop(u64 seq, u64 count)
{
	u64 begin = ktime_get_ns(), end = seq + count;

	for (; seq != end; seq++)
		trace_scatto_bench_event(seq);
	return ktime_get_ns() - begin;
}

/* Each at its own time, however late those before it were. */
static u64 sb_loop_paced(u64 seq, u64 count, u64 gap)
{
	u64 begin = ktime_get_ns(), end = seq + count, due = begin;

	for (; seq != end && !signal_pending(current); seq++) {
		while (ktime_get_ns() < due) {
			cond_resched();
			cpu_relax();
		}
		due += gap;
		trace_scatto_bench_event(seq);
	}
	return ktime_get_ns() - begin;
}

static long sb_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct sb_attach attach;
	struct sb_fire fire;
	long ret;

	switch (cmd) {
	case SB_IOC_ATTACH:
		if (copy_from_user(&attach, user, sizeof(attach)))
			return -EFAULT;
		mutex_lock(&sb_lock);
		ret = sb_attach(&attach);
		mutex_unlock(&sb_lock);
		return ret;
	case SB_IOC_FIRE:
		if (copy_from_user(&fire, user, sizeof(fire)))
			return -EFAULT;
		fire.ns = fire.gap_ns ? sb_loop_paced(fire.first, fire.count, fire.gap_ns) :
					sb_loop(fire.first, fire.count);
		return copy_to_user(user, &fire, sizeof(fire)) ? -EFAULT : 0;
	default:
		return -ENOTTY;
	}
}

static int sb_release(struct inode *inode, struct file *file)
{
	mutex_lock(&sb_lock);
	sb_detach();
	mutex_unlock(&sb_lock);
	return 0;
}

static const struct file_operations sb_fops = {
	.owner = THIS_MODULE,
	.release = sb_release,
	.unlocked_ioctl = sb_ioctl,
};

static struct miscdevice sb_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "scatto_bench",
	.fops = &sb_fops,
	.mode = 0600,
};

static int __init sb_init(void)
{
	sb_dir = debugfs_create_dir("scatto_bench", NULL);
	return misc_register(&sb_device);
}

static void __exit sb_exit(void)
{
	misc_deregister(&sb_device);
	debugfs_remove(sb_dir);
}

module_init(sb_init);
module_exit(sb_exit);

MODULE_DESCRIPTION("A tracepoint to measure the recording of");
MODULE_LICENSE("GPL");
