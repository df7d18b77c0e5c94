// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels: geometry, memory, the end of the stream.
 */
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "internal.h"
#include "trace.h"

/*
 * Makes the two positions consistent again, once nobody who could have forged
 * one is still writing it, so that a successor starts from sane words. Where
 * the two contradict each other the consumer's wins and what was not read is
 * lost: one of them lied, and the kernel cannot know which. Has one been changed?
 */
bool scatto_channel_settle(struct scatto_channel *ch)
{
	u64 consumed = scatto_channel_consumed(ch);
	u64 published = scatto_channel_published(ch);
	bool kernel = ch->layout.flags & SCATTO_F_KERNEL;

	lockdep_assert_held(&ch->lock);

	if (ch->many && !ch->nr_places && !ch->producers)
		return scatto_repair_settle(ch);
	if (published - consumed <= ch->layout.capacity)
		return false;
	/* The kernel's own position is never in doubt. Both words order
	 * nothing here: no slot is handed over by them.
	 */
	if (!ch->many && !ch->nr_places && !kernel)
		WRITE_ONCE(ch->prod->published, consumed);
	else if (!ch->consumer)
		WRITE_ONCE(ch->cons->cursor, published);
	else
		return false;
	return true;
}

/* Adds to the mapped state. */
void scatto_channel_state(struct scatto_channel *ch, u32 state)
{
	lockdep_assert_held(&ch->lock);

	/* Pairs with the acquire in the slow paths of either side, who were
	 * sent there by a wake word of 0 or by finding the ring full or empty.
	 */
	smp_store_release(&ch->area->state, ch->area->state | state);
}

/*
 * Nothing follows what is published now. Consumers load @end when they find
 * nothing to read, so it is stored before anybody is told.
 *
 * Both sides may be at work. If they ran on between our two looks, by more than
 * a lap, another try will do; if they never agree, one of them lies, and then
 * what was not read is lost.
 */
void scatto_channel_end(struct scatto_channel *ch)
{
	/* The kernel's own position needs nobody's consent. */
	unsigned int tries = ch->layout.flags & SCATTO_F_KERNEL ? 1 : 8;
	u64 consumed, end;

	lockdep_assert_held(&ch->lock);

	if (ch->area->end != SCATTO_END_OPEN)
		return;
	if (ch->many) {
		end = ch->nr_places || ch->producers ?
		      scatto_repair_close(ch) :
		      scatto_repair_edge(ch, scatto_channel_consumed(ch));
		goto out;
	}
	do {
		consumed = scatto_channel_consumed(ch);
		end = scatto_channel_published(ch);
	} while (end - consumed > ch->layout.capacity && --tries);
	if (!tries && !(ch->layout.flags & SCATTO_F_KERNEL))
		end = consumed;
out:
	/* Pairs with the acquire of whoever finds nothing to read. */
	smp_store_release(&ch->area->end, min(end, SCATTO_END_OPEN - 1));
}

static int scatto_channel_geometry(struct scatto_channel *ch,
				   const struct scatto_create *arg, u32 flags)
{
	struct scatto_layout *l = &ch->layout;
	u64 at = 0, stamps, slots, intents = 0;
	bool many = arg->kind == SCATTO_KIND_MPSC && !(flags & SCATTO_F_KERNEL);
	unsigned int i;

	if (arg->kind != SCATTO_KIND_SPSC && arg->kind != SCATTO_KIND_MPSC)
		return -EINVAL;
	if (arg->slot_size < SCATTO_MIN_SLOT_SIZE ||
	    arg->slot_size > SCATTO_MAX_SLOT_SIZE)
		return -EINVAL;
	if (arg->capacity < SCATTO_MIN_CAPACITY ||
	    arg->capacity > SCATTO_MAX_CAPACITY ||
	    !is_power_of_2(arg->capacity))
		return -EINVAL;
	if (arg->max_producers > (many ? SCATTO_MAX_PRODUCERS : 1) ||
	    arg->max_consumers > 1)
		return -EINVAL;
	if (arg->flags & SCATTO_F_SHARED && !many)
		return -EINVAL;

	l->kind = arg->kind;
	l->flags = arg->flags | flags;
	if (!IS_ENABLED(CONFIG_X86))
		l->flags |= SCATTO_F_FENCE;
	l->slot_size = arg->slot_size;
	l->slot_stride = round_up(arg->slot_size, 8);
	l->capacity = arg->capacity;
	l->consumer_stride = PAGE_SIZE;
	l->max_producers = 1;
	l->max_consumers = 1;
	if (many) {
		l->max_producers = arg->max_producers ?: SCATTO_DEFAULT_PRODUCERS;
		l->intent_stride = sizeof(struct scatto_intent);
		l->intent_offset = sizeof(struct scatto_producer_area);
		intents = l->max_producers * sizeof(struct scatto_intent);
	}

	/* At most 2^50 + 2^33: no overflow. */
	stamps = l->kind == SCATTO_KIND_MPSC ? l->capacity * sizeof(u64) : 0;
	slots = l->capacity * l->slot_stride;
	l->stamp_offset = 0;
	l->slot_offset = round_up(stamps, SCATTO_LINE);

	l->region[SCATTO_REGION_CHANNEL].size = PAGE_SIZE;
	l->region[SCATTO_REGION_PRODUCER].size =
		PAGE_ALIGN(sizeof(struct scatto_producer_area) + intents);
	l->region[SCATTO_REGION_CONSUMER].size = l->max_consumers * PAGE_SIZE;
	l->region[SCATTO_REGION_DATA].size = PAGE_ALIGN(l->slot_offset + slots);
	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		l->region[i].offset = at;
		at += l->region[i].size;
	}

	ch->bytes = at;
	ch->mask = l->capacity - 1;
	ch->shift = ilog2(l->capacity);
	return 0;
}

static void scatto_channel_place(struct scatto_channel *ch)
{
	const struct scatto_layout *l = &ch->layout;
	struct scatto_channel_area *area;
	void *data = ch->mem + l->region[SCATTO_REGION_DATA].offset;

	ch->area = ch->mem + l->region[SCATTO_REGION_CHANNEL].offset;
	ch->prod = ch->mem + l->region[SCATTO_REGION_PRODUCER].offset;
	ch->intents = (void *)ch->prod + l->intent_offset;
	ch->cons = ch->mem + l->region[SCATTO_REGION_CONSUMER].offset;
	ch->stamps = data + l->stamp_offset;
	ch->slots = data + l->slot_offset;

	area = ch->area;
	area->magic = SCATTO_MAGIC;
	area->abi = SCATTO_ABI_VERSION;
	area->kind = l->kind;
	area->flags = l->flags;
	area->slot_size = l->slot_size;
	area->slot_stride = l->slot_stride;
	area->capacity = l->capacity;
	area->end = SCATTO_END_OPEN;
	scatto_side_init(&ch->side[SCATTO_SIDE_DATA], &area->data_wake);
	scatto_side_init(&ch->side[SCATTO_SIDE_SPACE], &area->space_wake);
}

static void scatto_channel_free(struct scatto_channel *ch)
{
	scatto_many_free(ch);
	if (ch->user)
		scatto_quota_uncharge(ch->user, ch->bytes);
	kvfree(ch->producer);
	vfree(ch->mem);
	put_user_ns(ch->user_ns);
	kfree(ch);
}

static void scatto_channel_release(struct kref *ref)
{
	struct scatto_channel *ch = container_of(ref, struct scatto_channel, ref);

	scatto_window_sleep(PUT);
	scatto_registry_del(ch);
	irq_work_sync(&ch->wake_work);
	scatto_channel_free(ch);
}

void scatto_channel_put(struct scatto_channel *ch)
{
	kref_put(&ch->ref, scatto_channel_release);
}

static void scatto_wake_work(struct irq_work *work)
{
	struct scatto_channel *ch =
		container_of(work, struct scatto_channel, wake_work);

	scatto_side_wake(ch, SCATTO_SIDE_DATA);
}

/*
 * Makes a channel with one reference, not yet in the registry. @extra_flags: of
 * those only the kernel may set; SCATTO_F_KERNEL is neither charged to anybody
 * nor named in the caller's namespace.
 */
struct scatto_channel *scatto_channel_new(const struct scatto_create *arg,
					  u32 extra_flags)
{
	bool kernel = extra_flags & SCATTO_F_KERNEL;
	struct scatto_channel *ch;
	int ret;

	if (arg->flags & ~SCATTO_F_CREATE || arg->mode & ~0666)
		return ERR_PTR(-EINVAL);
	if (arg->name[0] ? !scatto_name_valid(arg->name) :
	    arg->mode || memchr_inv(arg->name, 0, sizeof(arg->name)))
		return ERR_PTR(-EINVAL);

	ch = kzalloc(sizeof(*ch), SCATTO_GFP);
	if (!ch)
		return ERR_PTR(-ENOMEM);
	ch->user_ns = get_user_ns(kernel ? &init_user_ns : current_user_ns());

	ret = scatto_channel_geometry(ch, arg, extra_flags);
	if (ret)
		goto free;
	if (!kernel) {
		struct scatto_user *user;

		user = scatto_quota_charge(current_uid(), ch->bytes);
		ret = PTR_ERR_OR_ZERO(user);
		if (ret)
			goto free;
		ch->user = user;
	}
	ret = -ENOMEM;
	ch->producer = kvcalloc(ch->layout.max_producers,
				sizeof(*ch->producer), SCATTO_GFP);
	if (!ch->producer ||
	    (ch->layout.intent_offset && scatto_many_init(ch)))
		goto free;
	/*
	 * The last allocation: 7.2 frees, and uncharges, what a failure has left only
	 * later, so that one after it would meet the limit.
	 */
	ch->mem = __vmalloc(ch->bytes, SCATTO_GFP | __GFP_ZERO);
	if (!ch->mem)
		goto free;

	kref_init(&ch->ref);
	mutex_init(&ch->lock);
	init_irq_work(&ch->wake_work, scatto_wake_work);
	memcpy(ch->name, arg->name, sizeof(ch->name));
	ch->mode = arg->mode;
	ch->uid = current_fsuid();
	ch->gid = current_fsgid();
	scatto_channel_place(ch);
	return ch;

free:
	scatto_channel_free(ch);
	return ERR_PTR(ret);
}
