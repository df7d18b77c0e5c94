// SPDX-License-Identifier: GPL-2.0-only
/*
 * Endpoints: who may take which role, when a role begins and when it ends.
 *
 * A role ends with the first of: SCATTO_IOC_CLOSE, the unmapping of the last
 * VMA through which the endpoint could write (or of its last VMA at all), the
 * release of the file. Mappings are VM_DONTCOPY and belong to one process, so
 * its death unmaps them however it dies and whoever else holds the file. The
 * place (there is one consumer, one or several producers) is free for a successor
 * only when the endpoint can no longer write; what it had claimed is repaired then.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>

#include "internal.h"
#include "trace.h"

static struct scatto_endpoint **scatto_place(struct scatto_channel *ch,
					     const struct scatto_endpoint *ep)
{
	switch (ep->role) {
	case SCATTO_ROLE_PRODUCER:
		return &ch->producer[ep->index];
	case SCATTO_ROLE_CONSUMER:
		return &ch->consumer;
	default:
		return NULL;
	}
}

static bool scatto_writes(const struct scatto_endpoint *ep, unsigned int region)
{
	if (ep->role == SCATTO_ROLE_PRODUCER)
		return region == SCATTO_REGION_PRODUCER ||
		       region == SCATTO_REGION_DATA;
	return ep->role == SCATTO_ROLE_CONSUMER &&
	       region == SCATTO_REGION_CONSUMER;
}

void scatto_endpoint_layout(const struct scatto_endpoint *ep,
			    struct scatto_layout *layout)
{
	unsigned int i;

	*layout = scatto_endpoint_channel(ep)->layout;
	for (i = 0; i < SCATTO_NR_REGIONS; i++)
		layout->region[i].writable = scatto_writes(ep, i);
}

/* Mirrors the counts into the mapped page, for information. */
static void scatto_show_peers(struct scatto_channel *ch)
{
	WRITE_ONCE(ch->area->producers, ch->producers);
	WRITE_ONCE(ch->area->consumers, ch->consumers);
}

static void scatto_role_begin(struct scatto_channel *ch,
			      struct scatto_endpoint *ep)
{
	lockdep_assert_held(&ch->lock);

	switch (ep->role) {
	case SCATTO_ROLE_PRODUCER:
		ch->producers++;
		if (ch->many)
			ch->many->produced = true;
		break;
	case SCATTO_ROLE_CONSUMER:
		WRITE_ONCE(ch->consumers, ch->consumers + 1);
		WRITE_ONCE(ch->consumer_tgid, task_tgid_nr(current));
		scatto_producer_listen(ch, true);
		break;
	default:
		ch->observers++;
	}
	WRITE_ONCE(ep->active, true);
	scatto_show_peers(ch);
	trace_scatto_attach(ch->id, ep->role, ep->start);
}

/*
 * One producer less. The absence of the last one ends the stream unless the
 * channel pauses; where there can be several, only when the last has left its
 * place as well, see scatto_places_changed().
 */
static void scatto_producer_end(struct scatto_channel *ch)
{
	lockdep_assert_held(&ch->lock);

	if (--ch->producers || ch->many || ch->layout.flags & SCATTO_F_PAUSE)
		return;
	scatto_channel_end(ch);
	scatto_channel_state(ch, SCATTO_STATE_NO_PRODUCER);
}

/*
 * The other side learns of it at once. The absence of a side's last peer ends
 * the stream unless the channel pauses; a stream of the kernel's outlives its
 * consumers.
 */
static void scatto_role_end(struct scatto_channel *ch,
			    struct scatto_endpoint *ep)
{
	bool gone;

	lockdep_assert_held(&ch->lock);

	if (!ep->active)
		return;
	WRITE_ONCE(ep->active, false);

	switch (ep->role) {
	case SCATTO_ROLE_PRODUCER:
		scatto_producer_end(ch);
		break;
	case SCATTO_ROLE_CONSUMER:
		scatto_producer_listen(ch, false);
		WRITE_ONCE(ch->consumer_tgid, 0);
		WRITE_ONCE(ch->consumers, ch->consumers - 1);
		gone = !ch->consumers &&
		       !(ch->layout.flags & (SCATTO_F_PAUSE | SCATTO_F_KERNEL));
		if (gone) {
			scatto_channel_state(ch, SCATTO_STATE_NO_CONSUMER);
			scatto_side_gone(ch, SCATTO_SIDE_DATA);
		}
		break;
	default:
		ch->observers--;
	}
	scatto_show_peers(ch);
	trace_scatto_detach(ch->id, ep->role,
			    ep->role == SCATTO_ROLE_CONSUMER ?
			    scatto_channel_consumed(ch) :
			    scatto_channel_published(ch));

	/* Whoever died may have owed a wake-up, so both sides look again. */
	scatto_side_wake_all(ch, SCATTO_SIDE_DATA);
	scatto_side_wake_all(ch, SCATTO_SIDE_SPACE);
	if (ch->many && ep->role == SCATTO_ROLE_PRODUCER)
		scatto_claim_left(ch);
	scatto_window_sleep(ROLE);
}

/*
 * For everybody, while producers are at work. They are told first: what has
 * been sent without being told lies below the end.
 */
static void scatto_close_all(struct scatto_channel *ch)
{
	lockdep_assert_held(&ch->lock);

	scatto_channel_state(ch, SCATTO_STATE_CLOSED);
	scatto_side_gone(ch, SCATTO_SIDE_DATA);
	scatto_window_sleep(CLOSE);
	scatto_channel_end(ch);
	scatto_side_wake_all(ch, SCATTO_SIDE_DATA);
	scatto_side_wake_all(ch, SCATTO_SIDE_SPACE);
}

/* @ep's place is @holder's from now on. Who moves for whom is the caller's business. */
static void scatto_place_set(struct scatto_channel *ch,
			     const struct scatto_endpoint *ep,
			     struct scatto_endpoint *holder)
{
	lockdep_assert_held(&ch->lock);

	*scatto_place(ch, ep) = holder;
	if (ep->role == SCATTO_ROLE_PRODUCER)
		ch->nr_places += holder ? 1 : -1;
}

/* What is set right here may be what somebody waits for. */
static void scatto_places_changed(struct scatto_channel *ch)
{
	bool changed = scatto_channel_settle(ch);

	lockdep_assert_held(&ch->lock);

	if (ch->many && ch->many->produced && !ch->nr_places && !ch->producers &&
	    !(ch->layout.flags & SCATTO_F_PAUSE) &&
	    !(ch->area->state & SCATTO_STATE_NO_PRODUCER)) {
		scatto_channel_end(ch);
		scatto_channel_state(ch, SCATTO_STATE_NO_PRODUCER);
		changed = true;
	}
	scatto_window_sleep(END);
	if (changed) {
		scatto_side_wake_all(ch, SCATTO_SIDE_DATA);
		scatto_side_wake_all(ch, SCATTO_SIDE_SPACE);
	}
}

/* The endpoint can no longer write: a successor may come. */
static void scatto_place_leave(struct scatto_channel *ch,
			       struct scatto_endpoint *ep)
{
	struct scatto_endpoint **place = scatto_place(ch, ep);

	lockdep_assert_held(&ch->lock);

	if (ep->active || ep->writable || !place || *place != ep)
		return;
	if (ep->role == SCATTO_ROLE_CONSUMER)
		scatto_side_set_mover(&ch->side[SCATTO_SIDE_SPACE], NULL);
	else if (!ch->many)
		scatto_side_set_mover(&ch->side[SCATTO_SIDE_DATA], NULL);
	scatto_place_set(ch, ep, NULL);
	if (ep->role == SCATTO_ROLE_PRODUCER && ch->many) {
		scatto_repair_leave(ch, ep);
		/* What it stamped after its role had ended it could not wake for. */
		scatto_side_wake(ch, SCATTO_SIDE_DATA);
	}
	scatto_places_changed(ch);
}

/* A place that nobody has, if there is one. */
static int scatto_place_find(const struct scatto_channel *ch,
			     struct scatto_endpoint *ep)
{
	u32 i;

	for (i = 0; i < ch->layout.max_producers; i++)
		if (!ch->producer[i]) {
			ep->index = i;
			return 0;
		}
	return -EBUSY;
}

/* Is the role to be had? Takes the place, so that the answer stays true. */
static int scatto_place_take(struct scatto_channel *ch,
			     struct scatto_endpoint *ep)
{
	u32 state = ch->area->state;

	lockdep_assert_held(&ch->lock);

	switch (ep->role) {
	case SCATTO_ROLE_PRODUCER:
		if (ch->layout.flags & SCATTO_F_KERNEL)
			return -EPERM;
		if (state & (SCATTO_STATE_SEND_EPIPE | SCATTO_STATE_NO_PRODUCER))
			return -EPIPE;
		break;
	case SCATTO_ROLE_CONSUMER:
		/* What was sent before the end may still be read. */
		if (state & SCATTO_STATE_NO_CONSUMER)
			return -EPIPE;
		break;
	case SCATTO_ROLE_OWNER:
		/* The kernel's stream is the kernel's to end. */
		if (!ch->user)
			return -EPERM;
		return 0;
	default:
		return 0;
	}

	if (ep->role == SCATTO_ROLE_PRODUCER) {
		if (scatto_place_find(ch, ep))
			return -EBUSY;
		scatto_place_set(ch, ep, ep);
		if (ch->many)
			scatto_intent_clear(ch, ep->index);
		ep->start = scatto_channel_published(ch);
		return 0;
	}
	if (ch->consumer)
		return -EBUSY;
	scatto_place_set(ch, ep, ep);
	/* A stream that was not kept for anybody starts with what comes. */
	if (ch->layout.flags & SCATTO_F_KERNEL &&
	    !(ch->layout.flags & SCATTO_F_PAUSE) &&
	    ch->area->end == SCATTO_END_OPEN)
		WRITE_ONCE(ch->cons->cursor, scatto_channel_published(ch));
	ep->start = scatto_channel_consumed(ch);
	return 0;
}

/* Like a file's: owner, else group, else others; or CAP_DAC_OVERRIDE. */
static int scatto_permission(const struct scatto_channel *ch, u32 role)
{
	unsigned int want = role == SCATTO_ROLE_PRODUCER ? 02 : 04;
	unsigned int mode = ch->mode;

	if (ns_capable(ch->user_ns, CAP_DAC_OVERRIDE))
		return 0;
	if (role == SCATTO_ROLE_OWNER)
		return uid_eq(current_fsuid(), ch->uid) ? 0 : -EACCES;
	if (uid_eq(current_fsuid(), ch->uid))
		mode >>= 6;
	else if (in_group_p(ch->gid))
		mode >>= 3;
	return mode & want ? 0 : -EACCES;
}

/* A reference to the channel behind an endpoint's fd that may admit @role. */
static struct scatto_channel *scatto_channel_by_fd(int fd, u32 role)
{
	struct scatto_channel *ch;
	struct file *file = fget(fd);

	if (!file)
		return ERR_PTR(-EBADF);
	if (file->f_op != &scatto_fops) {
		ch = ERR_PTR(-EINVAL);
	} else {
		struct scatto_endpoint *ep = file->private_data;

		ch = scatto_endpoint_channel(ep);
		if (!ch)
			ch = ERR_PTR(-ENOTCONN);
		else if (ep->role != SCATTO_ROLE_OWNER &&
			 role != SCATTO_ROLE_OBSERVER)
			ch = ERR_PTR(-EPERM);
		else
			scatto_channel_get(ch);
	}
	fput(file);
	return ch;
}

static struct scatto_channel *scatto_channel_by_name(const char *name, u32 role)
{
	struct scatto_channel *ch;
	int ret;

	if (!scatto_name_valid(name))
		return ERR_PTR(-EINVAL);
	ch = scatto_registry_find(name);
	if (!ch)
		return ERR_PTR(-ENOENT);
	ret = scatto_permission(ch, role);
	if (ret) {
		scatto_channel_put(ch);
		return ERR_PTR(ret);
	}
	return ch;
}

/* The kernel as one more producer; @fd is an owner's. */
struct scatto_channel *scatto_kernel_join(int fd)
{
	struct scatto_channel *ch = scatto_channel_by_fd(fd, SCATTO_ROLE_PRODUCER);
	int ret = 0;

	if (IS_ERR(ch))
		return ch;
	mutex_lock(&ch->lock);
	if (!(ch->layout.flags & SCATTO_F_SHARED))
		ret = -EOPNOTSUPP;
	else if (ch->area->state &
		 (SCATTO_STATE_SEND_EPIPE | SCATTO_STATE_NO_PRODUCER))
		ret = -EPIPE;
	if (!ret) {
		ch->producers++;
		ch->many->produced = true;
		scatto_show_peers(ch);
		trace_scatto_attach(ch->id, SCATTO_ROLE_PRODUCER,
				    scatto_channel_published(ch));
	}
	mutex_unlock(&ch->lock);
	if (!ret)
		return ch;
	scatto_channel_put(ch);
	return ERR_PTR(ret);
}

void scatto_kernel_leave(struct scatto_channel *ch)
{
	mutex_lock(&ch->lock);
	scatto_producer_end(ch);
	scatto_show_peers(ch);
	trace_scatto_detach(ch->id, SCATTO_ROLE_PRODUCER,
			    scatto_channel_published(ch));
	scatto_places_changed(ch);
	mutex_unlock(&ch->lock);
	scatto_channel_put(ch);
}

/* Under ep->lock. From here on the endpoint works. */
static void scatto_bind(struct scatto_endpoint *ep, struct scatto_channel *ch)
{
	lockdep_assert_held(&ep->lock);

	mutex_lock(&ch->lock);
	scatto_role_begin(ch, ep);
	mutex_unlock(&ch->lock);
	/* Pairs with scatto_endpoint_channel(). */
	smp_store_release(&ep->ch, ch);
}

/*
 * The result is copied out before anything can be seen of the channel, so that
 * a bad pointer changes nothing.
 */
static int scatto_create_locked(struct scatto_endpoint *ep,
				struct scatto_create *arg, void __user *uarg,
				size_t out)
{
	struct scatto_channel *ch;
	int ret;

	lockdep_assert_held(&ep->lock);

	if (ep->ch)
		return -EISCONN;
	if (arg->reserved0 || arg->id)
		return -EINVAL;
	ch = scatto_channel_new(arg, 0);
	if (IS_ERR(ch))
		return PTR_ERR(ch);
	ret = scatto_registry_add(ch);
	if (ret)
		goto put;
	arg->id = ch->id;
	ret = -EFAULT;
	if (copy_to_user(uarg, arg, out))
		goto put;
	/* An ATTACH that failed may have left its own. */
	ep->role = SCATTO_ROLE_OWNER;
	ep->index = 0;
	ep->start = 0;
	scatto_bind(ep, ch);
	scatto_registry_show(ch);
	return 0;
put:
	scatto_channel_put(ch);
	return ret;
}

int scatto_endpoint_create(struct scatto_endpoint *ep,
			   struct scatto_create *arg, void __user *uarg,
			   size_t out)
{
	int ret;

	/* Somebody's page fault may hold it for as long as he likes. */
	if (mutex_lock_killable(&ep->lock))
		return -EINTR;
	ret = scatto_create_locked(ep, arg, uarg, out);
	mutex_unlock(&ep->lock);
	return ret;
}

/* As above: the place is taken, but nobody sees a peer before the copy. */
static int scatto_attach_locked(struct scatto_endpoint *ep,
				struct scatto_attach *arg, void __user *uarg,
				size_t out)
{
	struct scatto_channel *ch;
	bool by_fd = arg->channel_fd != -1;
	int ret;

	lockdep_assert_held(&ep->lock);

	if (ep->ch)
		return -EISCONN;
	if (arg->role < SCATTO_ROLE_OWNER || arg->role > SCATTO_ROLE_OBSERVER ||
	    arg->flags || arg->index || arg->reserved0 || arg->position ||
	    memchr_inv(&arg->layout, 0, sizeof(arg->layout)))
		return -EINVAL;
	if (by_fd && memchr_inv(arg->name, 0, sizeof(arg->name)))
		return -EINVAL;

	ch = by_fd ? scatto_channel_by_fd(arg->channel_fd, arg->role) :
		     scatto_channel_by_name(arg->name, arg->role);
	if (IS_ERR(ch))
		return PTR_ERR(ch);

	ep->role = arg->role;
	ep->index = 0;
	ep->start = 0;
	mutex_lock(&ch->lock);
	ret = scatto_place_take(ch, ep);
	mutex_unlock(&ch->lock);
	if (ret)
		goto put;
	scatto_window_sleep(PLACE);

	arg->index = ep->index;
	arg->position = ep->start;
	arg->layout = ch->layout;
	for (unsigned int i = 0; i < SCATTO_NR_REGIONS; i++)
		arg->layout.region[i].writable = scatto_writes(ep, i);
	if (copy_to_user(uarg, arg, out)) {
		ret = -EFAULT;
		mutex_lock(&ch->lock);
		scatto_place_leave(ch, ep);
		mutex_unlock(&ch->lock);
		goto put;
	}
	scatto_bind(ep, ch);
	return 0;
put:
	scatto_channel_put(ch);
	return ret;
}

int scatto_endpoint_attach(struct scatto_endpoint *ep,
			   struct scatto_attach *arg, void __user *uarg,
			   size_t out)
{
	int ret;

	if (mutex_lock_killable(&ep->lock))
		return -EINTR;
	ret = scatto_attach_locked(ep, arg, uarg, out);
	mutex_unlock(&ep->lock);
	return ret;
}

/* A peer leaves; an owner ends it for all. */
int scatto_endpoint_close(struct scatto_endpoint *ep)
{
	struct scatto_channel *ch = scatto_endpoint_channel(ep);
	int ret = 0;

	mutex_lock(&ch->lock);
	switch (ep->role) {
	case SCATTO_ROLE_PRODUCER:
	case SCATTO_ROLE_CONSUMER:
		if (!ep->active)
			ret = -EPIPE;
		scatto_role_end(ch, ep);
		scatto_place_leave(ch, ep);
		break;
	case SCATTO_ROLE_OWNER:
		if (ch->area->state & SCATTO_STATE_CLOSED)
			ret = -EPIPE;
		else
			scatto_close_all(ch);
		break;
	default:
		ret = -EPERM;
	}
	mutex_unlock(&ch->lock);
	if (!ret)
		trace_scatto_close(ch->id, ep->role);
	return ret;
}

/* Under ch->lock, by mmap and vm_ops->open. */
void scatto_endpoint_mapped(struct scatto_endpoint *ep, struct mm_struct *mm,
			    bool writable)
{
	struct scatto_channel *ch = scatto_endpoint_channel(ep);

	lockdep_assert_held(&ch->lock);

	if (!ep->maps++) {
		ep->mm = mm;
		ep->tgid = task_tgid_nr(current);
		mmgrab(mm);
		if (ep->role == SCATTO_ROLE_CONSUMER) {
			WRITE_ONCE(ch->consumer_tgid, task_tgid_nr(current));
			scatto_side_set_mover(&ch->side[SCATTO_SIDE_SPACE], mm);
		} else if (ep->role == SCATTO_ROLE_PRODUCER && ch->many) {
			scatto_mover_add(ch, ep);
		} else if (ep->role == SCATTO_ROLE_PRODUCER) {
			scatto_side_set_mover(&ch->side[SCATTO_SIDE_DATA], mm);
		}
	}
	ep->writable += writable;
}

static void scatto_endpoint_unmap(struct scatto_endpoint *ep, bool writable, bool ends)
{
	struct scatto_channel *ch = scatto_endpoint_channel(ep);
	bool peer = scatto_place(ch, ep);

	lockdep_assert_held(&ch->lock);

	ep->writable -= writable;
	if (!--ep->maps) {
		if (ep->role == SCATTO_ROLE_PRODUCER && ch->many)
			scatto_mover_del(ch, ep);
		mmdrop(ep->mm);
		ep->mm = NULL;
	}
	if (ends && peer && (!ep->maps || (writable && !ep->writable))) {
		scatto_role_end(ch, ep);
		scatto_place_leave(ch, ep);
	}
}

/* Under ch->lock, by vm_ops->close: death looks like this, too. */
void scatto_endpoint_unmapped(struct scatto_endpoint *ep, bool writable)
{
	scatto_endpoint_unmap(ep, writable, true);
}

/* What was counted and could not be mapped: the role goes on, if it has not been closed. */
void scatto_endpoint_not_mapped(struct scatto_endpoint *ep, bool writable)
{
	scatto_endpoint_unmap(ep, writable, !ep->active);
}

/* The last reference to the file, and so to every mapping, is gone. */
void scatto_endpoint_release(struct scatto_endpoint *ep)
{
	struct scatto_channel *ch = scatto_endpoint_channel(ep);

	if (!ch)
		return;
	mutex_lock(&ch->lock);
	scatto_role_end(ch, ep);
	scatto_place_leave(ch, ep);
	mutex_unlock(&ch->lock);
	scatto_channel_put(ch);
}

void scatto_endpoint_info(struct scatto_endpoint *ep, struct scatto_info *info)
{
	struct scatto_channel *ch = scatto_endpoint_channel(ep);
	struct scatto_side *data = &ch->side[SCATTO_SIDE_DATA];
	struct scatto_side *space = &ch->side[SCATTO_SIDE_SPACE];
	struct user_namespace *ns = current_user_ns();

	info->role = ep->role;
	info->index = ep->index;
	info->id = ch->id;
	info->position = ep->start;
	memcpy(info->name, ch->name, sizeof(info->name));
	info->mode = ch->mode;
	info->uid = from_kuid_munged(ns, ch->uid);
	info->gid = from_kgid_munged(ns, ch->gid);
	info->bytes = ch->bytes;

	mutex_lock(&ch->lock);
	info->state = ch->area->state;
	info->end = ch->area->end;
	info->producers = ch->producers;
	info->consumers = ch->consumers;
	info->observers = ch->observers;
	mutex_unlock(&ch->lock);

	info->consumed = scatto_channel_consumed(ch);
	info->published = scatto_channel_published(ch);
	info->dropped = READ_ONCE(ch->area->dropped);
	info->tombstones = READ_ONCE(ch->area->tombstones);
	info->data_sleeps = atomic64_read(&data->sleeps);
	info->data_wakes = READ_ONCE(data->wakes);
	info->space_sleeps = atomic64_read(&space->sleeps);
	info->space_wakes = READ_ONCE(space->wakes);
	info->skipped = READ_ONCE(ch->cons->skipped);
	if (ch->many) {
		mutex_lock(&ch->lock);
		info->repairs = ch->many->repairs;
		info->repair_from = ch->many->repair_lo;
		info->repair_to = ch->many->repair_hi;
		mutex_unlock(&ch->lock);
		info->claims = READ_ONCE(ch->many->claims);
		info->claimers = READ_ONCE(ch->many->nr_claimers);
	}
	scatto_endpoint_layout(ep, &info->layout);
}
