// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/scatto: carries calls between user space and the rest. Every ioctl has
 * the same shape: copy in, check, act, copy out.
 */
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "internal.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define SCATTO_FEATURES	(SCATTO_FEATURE_SPSC | SCATTO_FEATURE_MPSC | \
			 SCATTO_FEATURE_REPAIR | SCATTO_FEATURE_RIGHTS | \
			 SCATTO_FEATURE_CLAIM | SCATTO_FEATURE_SEEK)

/*
 * Copies a structure that starts with its size: what the caller does not know
 * reads as zero, what we do not know must be zero (-E2BIG). @out gets how much
 * of it to copy back. @first: size in the first version of the ABI.
 */
static __always_inline int scatto_copy_in(void *arg, size_t size, size_t first,
					  const void __user *uarg, size_t *out)
{
	u32 usize;
	int ret;

	/* Nobody's structure is shorter than this, most are just as long. */
	if (copy_from_user(arg, uarg, first))
		return -EFAULT;
	usize = *(u32 *)arg;
	*out = min_t(size_t, size, usize);
	if (usize == size && size == first)
		return 0;
	if (usize < first || usize > PAGE_SIZE)
		return -EINVAL;
	ret = copy_struct_from_user(arg, size, uarg, usize);
	/* The first word may have changed since; the rest was judged by this. */
	*(u32 *)arg = usize;
	return ret;
}

/* All fields but the size, and @keep bytes behind it, must come in as zero. */
static bool scatto_is_blank(const void *arg, size_t keep, size_t size)
{
	return !memchr_inv(arg + keep, 0, size - keep);
}

static noinline long scatto_ioctl_query(void __user *uarg)
{
	struct scatto_query arg;
	size_t out;
	int ret = scatto_copy_in(&arg, sizeof(arg), SCATTO_QUERY_SIZE_VER0,
				 uarg, &out);

	if (ret)
		return ret;
	if (!scatto_is_blank(&arg, sizeof(arg.size), sizeof(arg)))
		return -EINVAL;
	arg.abi = SCATTO_ABI_VERSION;
	arg.features = SCATTO_FEATURES;
	scatto_quota_limits(&arg);
	return copy_to_user(uarg, &arg, out) ? -EFAULT : 0;
}

static noinline long scatto_ioctl_list(void __user *uarg)
{
	struct scatto_list arg;
	size_t out;
	int ret = scatto_copy_in(&arg, sizeof(arg), SCATTO_LIST_SIZE_VER0,
				 uarg, &out);

	if (ret)
		return ret;
	if (arg.flags || !scatto_is_blank(&arg, offsetof(struct scatto_list, name),
					  sizeof(arg)))
		return -EINVAL;
	ret = scatto_registry_next(&arg);
	if (ret)
		return ret;
	return copy_to_user(uarg, &arg, out) ? -EFAULT : 0;
}

static noinline long scatto_ioctl_create(struct scatto_endpoint *ep, void __user *uarg)
{
	struct scatto_create arg;
	size_t out;
	int ret = scatto_copy_in(&arg, sizeof(arg), SCATTO_CREATE_SIZE_VER0,
				 uarg, &out);

	return ret ?: scatto_endpoint_create(ep, &arg, uarg, out);
}

static noinline long scatto_ioctl_attach(struct scatto_endpoint *ep, void __user *uarg)
{
	struct scatto_attach arg;
	size_t out;
	int ret = scatto_copy_in(&arg, sizeof(arg), SCATTO_ATTACH_SIZE_VER0,
				 uarg, &out);

	return ret ?: scatto_endpoint_attach(ep, &arg, uarg, out);
}

static noinline long scatto_ioctl_info(struct scatto_endpoint *ep, void __user *uarg)
{
	struct scatto_info arg;
	size_t out;
	int ret = scatto_copy_in(&arg, sizeof(arg), SCATTO_INFO_SIZE_VER0,
				 uarg, &out);

	if (ret)
		return ret;
	if (!scatto_is_blank(&arg, sizeof(arg.size), sizeof(arg)))
		return -EINVAL;
	scatto_endpoint_info(ep, &arg);
	return copy_to_user(uarg, &arg, out) ? -EFAULT : 0;
}

static bool scatto_moves(const struct scatto_endpoint *ep)
{
	return ep->role == SCATTO_ROLE_PRODUCER || ep->role == SCATTO_ROLE_CONSUMER;
}

static long scatto_ioctl_wake(struct scatto_endpoint *ep)
{
	if (!scatto_moves(ep))
		return -EPERM;
	if (!READ_ONCE(ep->active))
		return -EPIPE;
	return scatto_wake(ep);
}

static long scatto_wake_fd(int fd)
{
	struct fd f = fdget(fd);
	long ret = -EINVAL;

	if (!fd_file(f))
		return -EBADF;
	if (fd_file(f)->f_op == &scatto_fops) {
		struct scatto_endpoint *ep = fd_file(f)->private_data;

		ret = scatto_endpoint_channel(ep) ? scatto_ioctl_wake(ep) :
						    -ENOTCONN;
	}
	fdput(f);
	return ret;
}

/* Every blocking call comes through here: no function for a few words. */
static __always_inline bool scatto_copy_wait(struct scatto_wait *arg,
					     const struct scatto_wait __user *uarg)
{
	if (!user_read_access_begin(uarg, sizeof(*uarg)))
		return false;
	unsafe_get_user(arg->size, &uarg->size, fault);
	unsafe_get_user(arg->flags, &uarg->flags, fault);
	unsafe_get_user(arg->want, &uarg->want, fault);
	unsafe_get_user(arg->enough, &uarg->enough, fault);
	unsafe_get_user(arg->deadline, &uarg->deadline, fault);
	unsafe_get_user(arg->wake_fd, &uarg->wake_fd, fault);
	unsafe_get_user(arg->reserved0, &uarg->reserved0, fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

static long scatto_ioctl_wait(struct file *file, void __user *uarg)
{
	struct scatto_endpoint *ep = file->private_data;
	struct scatto_wait arg;
	size_t out;
	long ret;

	if (!scatto_copy_wait(&arg, uarg))
		return -EFAULT;
	if (unlikely(arg.size != sizeof(arg))) {
		ret = scatto_copy_in(&arg, sizeof(arg), SCATTO_WAIT_SIZE_VER0,
				     uarg, &out);
		if (ret)
			return ret;
	}
	if (arg.flags & ~(SCATTO_WAIT_ENOUGH | SCATTO_WAIT_DEADLINE |
			  SCATTO_WAIT_WAKE) || arg.reserved0 ||
	    (!(arg.flags & SCATTO_WAIT_DEADLINE) && arg.deadline) ||
	    (!(arg.flags & SCATTO_WAIT_WAKE) && arg.wake_fd))
		return -EINVAL;
	if (arg.flags & SCATTO_WAIT_ENOUGH ? arg.enough > arg.want : arg.enough)
		return -EINVAL;
	if (!scatto_moves(ep))
		return -EPERM;
	if (!READ_ONCE(ep->active))
		return -EPIPE;
	if (arg.flags & SCATTO_WAIT_WAKE) {
		ret = scatto_wake_fd(arg.wake_fd);
		if (ret < 0)
			return ret;
	}
	/* Whoever calls F_SETFL meanwhile gets the one or the other. */
	return scatto_wait(ep, &arg, data_race(file->f_flags) & O_NONBLOCK);
}

static noinline long scatto_ioctl_claim(struct file *file, void __user *uarg)
{
	struct scatto_endpoint *ep = file->private_data;
	struct scatto_claim arg;
	size_t out;
	long ret = scatto_copy_in(&arg, sizeof(arg), SCATTO_CLAIM_SIZE_VER0,
				  uarg, &out);

	if (ret)
		return ret;
	if (arg.flags & ~SCATTO_CLAIM_DEADLINE || arg.position || arg.granted ||
	    arg.reserved0 || (!(arg.flags & SCATTO_CLAIM_DEADLINE) && arg.deadline))
		return -EINVAL;
	if (ep->role != SCATTO_ROLE_PRODUCER)
		return -EPERM;
	if (!ep->ch->many)
		return -EOPNOTSUPP;
	if (!arg.count || arg.count > ep->ch->layout.capacity ||
	    arg.least > arg.count)
		return -EINVAL;

	/* Whoever calls F_SETFL meanwhile gets the one or the other. */
	ret = scatto_claim(ep, &arg, data_race(file->f_flags) & O_NONBLOCK);
	if (ret)
		return ret;
	scatto_window_sleep(TOLD);
	if (copy_to_user(uarg, &arg, out))
		ret = -EFAULT;
	scatto_claim_done(ep, !ret);
	return ret;
}

/* On endpoints; everything else is below. */
static long scatto_ioctl_bound(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	struct scatto_endpoint *ep = file->private_data;
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case SCATTO_IOC_WAIT:
		return scatto_ioctl_wait(file, uarg);
	case SCATTO_IOC_WAKE:
		return arg ? -EINVAL : scatto_ioctl_wake(ep);
	case SCATTO_IOC_INFO:
		return scatto_ioctl_info(ep, uarg);
	case SCATTO_IOC_CLOSE:
		return arg ? -EINVAL : scatto_endpoint_close(ep);
	case SCATTO_IOC_CLAIM:
		return scatto_ioctl_claim(file, uarg);
	default:
		return -ENOTTY;
	}
}

static long scatto_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct scatto_endpoint *ep = file->private_data;
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case SCATTO_IOC_QUERY:
		return scatto_ioctl_query(uarg);
	case SCATTO_IOC_LIST:
		return scatto_ioctl_list(uarg);
	case SCATTO_IOC_CREATE:
		return scatto_ioctl_create(ep, uarg);
	case SCATTO_IOC_ATTACH:
		return scatto_ioctl_attach(ep, uarg);
	case SCATTO_IOC_INFO:
	case SCATTO_IOC_CLOSE:
	case SCATTO_IOC_WAIT:
	case SCATTO_IOC_WAKE:
	case SCATTO_IOC_CLAIM:
		return scatto_endpoint_channel(ep) ?
		       scatto_ioctl_bound(file, cmd, arg) : -ENOTCONN;
	default:
		return -ENOTTY;
	}
}

static long scatto_seek_wait(struct file *file, u64 want)
{
	struct scatto_endpoint *ep = file->private_data;
	struct scatto_wait arg = { .want = want };

	/* Whoever calls F_SETFL meanwhile gets the one or the other. */
	return scatto_wait(ep, &arg, data_race(file->f_flags) & O_NONBLOCK);
}

/*
 * The consumer waits for the position with this lower half that is nearest to
 * its own cursor. Nobody else can move that, so nobody can make it wait for
 * another than it asks for. (Producers share what they claim.)
 */
static long scatto_seek_call(struct file *file, loff_t offset)
{
	struct scatto_endpoint *ep = file->private_data;
	u64 cursor;
	long ret;

	if (ep->role != SCATTO_ROLE_CONSUMER)
		return -EPERM;
	if (!READ_ONCE(ep->active))
		return -EPIPE;
	ret = scatto_wake_fd((offset >> 32) - 1);
	if (ret < 0)
		return ret;
	/* What is wanted is within the ring. */
	BUILD_BUG_ON(SCATTO_MAX_CAPACITY > S32_MAX);
	cursor = scatto_channel_consumed(ep->ch);
	return scatto_seek_wait(file, cursor + (s32)((u32)offset - (u32)cursor));
}

/*
 * WAIT and WAKE once more, for who needs neither threshold nor deadline: two
 * words in registers, nothing to copy in, and none of the hooks on the way to
 * an ioctl (see design.rst for what that is worth). SEEK_DATA is about the side
 * that waits for data, SEEK_HOLE about the one that waits for space: who
 * belongs to it waits, who belongs to the other wakes it.
 */
static loff_t scatto_llseek(struct file *file, loff_t offset, int whence)
{
	struct scatto_endpoint *ep = file->private_data;
	bool waits;

	switch (whence) {
	case SEEK_DATA:
	case SEEK_HOLE:
		break;
	case SEEK_END:
		/* No descriptor: a common question for a file's size. */
		if (offset >> 32 > 0)
			break;
		fallthrough;
	default:
		return -ESPIPE;
	}
	if (!scatto_endpoint_channel(ep))
		return -ENOTCONN;
	if (!scatto_moves(ep))
		return -EPERM;
	if (whence == SEEK_END)
		return scatto_seek_call(file, offset);
	waits = ep->role == (whence == SEEK_DATA ? SCATTO_ROLE_CONSUMER :
						   SCATTO_ROLE_PRODUCER);
	if (!waits)
		return offset ? -EINVAL : scatto_ioctl_wake(ep);
	if (offset < 0)
		return -EINVAL;
	return READ_ONCE(ep->active) ? scatto_seek_wait(file, offset) : -EPIPE;
}

static void scatto_show_fdinfo(struct seq_file *m, struct file *file)
{
	static const char * const roles[] = {
		[SCATTO_ROLE_OWNER]	= "owner",
		[SCATTO_ROLE_PRODUCER]	= "producer",
		[SCATTO_ROLE_CONSUMER]	= "consumer",
		[SCATTO_ROLE_OBSERVER]	= "observer",
	};
	struct scatto_endpoint *ep = file->private_data;
	struct scatto_info info = {};

	if (!scatto_endpoint_channel(ep)) {
		seq_puts(m, "scatto-role:\tnone\n");
		return;
	}
	scatto_endpoint_info(ep, &info);
	seq_printf(m, "scatto-role:\t%s\n", roles[info.role]);
	seq_printf(m, "scatto-channel:\t%llu\n", info.id);
	seq_printf(m, "scatto-name:\t%s\n", info.name);
	seq_printf(m, "scatto-state:\t%#x\n", info.state);
	seq_printf(m, "scatto-active:\t%d\n", READ_ONCE(ep->active));
	seq_printf(m, "scatto-published:\t%llu\n", info.published);
	seq_printf(m, "scatto-consumed:\t%llu\n", info.consumed);
	seq_printf(m, "scatto-dropped:\t%llu\n", info.dropped);
	seq_printf(m, "scatto-bytes:\t%llu\n", info.bytes);
}

static int scatto_open(struct inode *inode, struct file *file)
{
	struct scatto_endpoint *ep = kzalloc(sizeof(*ep), SCATTO_GFP);

	if (!ep)
		return -ENOMEM;
	mutex_init(&ep->lock);
	file->private_data = ep;
	return 0;
}

static int scatto_release(struct inode *inode, struct file *file)
{
	struct scatto_endpoint *ep = file->private_data;

	scatto_endpoint_release(ep);
	kfree(ep);
	return 0;
}

const struct file_operations scatto_fops = {
	.owner		= THIS_MODULE,
	.open		= scatto_open,
	.release	= scatto_release,
	.llseek		= scatto_llseek,
	.mmap		= scatto_mmap,
	.poll		= scatto_poll,
	.unlocked_ioctl	= scatto_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.show_fdinfo	= scatto_show_fdinfo,
};

/* Anybody may open it: what a user can take is bounded by quota and memcg. */
static struct miscdevice scatto_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "scatto",
	.fops	= &scatto_fops,
	.mode	= 0666,
};

static int __init scatto_init(void)
{
	int ret = scatto_repair_init();

	if (ret)
		return ret;
	ret = misc_register(&scatto_device);
	if (ret)
		scatto_repair_exit();
	return ret;
}

static void __exit scatto_exit(void)
{
	misc_deregister(&scatto_device);
	scatto_repair_exit();
}

module_init(scatto_init);
module_exit(scatto_exit);

MODULE_DESCRIPTION("Channels of events in mapped rings");
MODULE_AUTHOR("The scatto authors");
MODULE_LICENSE("GPL");
