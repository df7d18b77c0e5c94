// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel as producer: the in-kernel API of <linux/scatto.h>.
 *
 * Producers on all CPUs and in all contexts, NMI included, claim slots by
 * cmpxchg on a word that user space cannot see, fill them, and publish each by
 * its stamp. They never wait: a claim whose cmpxchg fails has lost to one that
 * succeeded, so somebody makes progress at every step, and an interrupt that
 * comes between claim and publish just claims the next slot.
 *
 * On a user's channel (SCATTO_F_SHARED) the claim cursor is one that others can
 * forge, and their dead are repaired: there the kernel only copies in, tries a
 * bounded number of times, and writes down an intent as they do.
 */
#include <linux/err.h>
#include <linux/export.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "internal.h"
#include "trace.h"

/* A hostile producer may move the claim cursor for ever. */
#define SCATTO_SHARED_TRIES	64

/*
 * Are all slots in [from, to) published? Looks from the far end: it is filled
 * last, so a hole is found soon.
 */
bool scatto_producer_published(struct scatto_channel *ch, u64 from, u64 to)
{
	/* A caller's @from may be forged; a ring holds no more than this. */
	if (to - from > ch->layout.capacity)
		return false;
	while (to-- != from) {
		/* Nothing is read of the slot: the value is all. */
		u64 stamp = READ_ONCE(ch->stamps[to & ch->mask]);

		if ((stamp & SCATTO_STAMP_LAP) != scatto_stamp(ch, to))
			return false;
	}
	return true;
}

/* Under ch->lock: a consumer has come (after its cursor was set) or gone. */
void scatto_producer_listen(struct scatto_channel *ch, bool on)
{
	lockdep_assert_held(&ch->lock);

	if (!(ch->layout.flags & SCATTO_F_KERNEL) ||
	    ch->layout.flags & SCATTO_F_PAUSE)
		return;
	if (on)
		atomic_set(&ch->lost, 0);
	/* Pairs with the acquire in scatto_reserve(). */
	smp_store_release(&ch->listening, on);
}

/*
 * Publishes the slot and wakes the consumer if this was the last stamp that it
 * waits for. Several producers may fill [cursor, word) out of order, so each
 * looks whether that has no hole left. The stamp and the barrier come before the
 * look: of two that finish together at least one sees both stamps.
 */
static void scatto_stamp_slot(struct scatto_channel *ch,
			      struct scatto_reservation *rsv, u64 flags)
{
	u64 stamp = scatto_stamp(ch, rsv->seq) | flags |
		    (u64)rsv->lost << SCATTO_STAMP_LOST_SHIFT;
	u64 word, from;

	/* Pairs with the consumer's acquire of the stamp. */
	smp_store_release(&ch->stamps[rsv->seq & ch->mask], stamp);

	scatto_window(P2);
	/* Pairs with the barrier in scatto_side_armed(). */
	smp_mb();
	word = READ_ONCE(ch->area->data_wake);
	/* A wake-up that is still to come sees this stamp, too. */
	if (likely(word == SCATTO_WAKE_IDLE) ||
	    irq_work_is_pending(&ch->wake_work))
		return;
	/*
	 * A sleeper wants at most SCATTO_MAX_SCAN slots and a poller one that
	 * follows what it saw. A word that was reached before this slot counts
	 * as well: a poller may have seen that by itself and wait for the next
	 * event, or somebody else for a later one. A cursor that makes no sense
	 * is woken for.
	 */
	from = scatto_channel_consumed(ch);
	if ((s64)(word - from) > SCATTO_MAX_SCAN)
		from = word - SCATTO_MAX_SCAN;
	if ((s64)(word - from) <= 0 || word - from > ch->layout.capacity ||
	    scatto_producer_published(ch, from, word))
		irq_work_queue(&ch->wake_work);
}

bool scatto_has_consumer(const struct scatto_channel *ch)
{
	return ch->many ? READ_ONCE(ch->consumers) : READ_ONCE(ch->listening);
}
EXPORT_SYMBOL_GPL(scatto_has_consumer);

bool scatto_is_consumer(const struct scatto_channel *ch,
			const struct task_struct *task)
{
	pid_t tgid = READ_ONCE(ch->consumer_tgid);

	return tgid && tgid == task->tgid;
}
EXPORT_SYMBOL_GPL(scatto_is_consumer);

static void scatto_drop(struct scatto_channel *ch)
{
	scatto_count(&ch->area->dropped, 1);
	atomic_add_unless(&ch->lost, 1, -1);
}

static u32 scatto_take_lost(struct scatto_channel *ch)
{
	return unlikely(atomic_read(&ch->lost)) ? atomic_xchg(&ch->lost, 0) : 0;
}

int scatto_reserve(struct scatto_channel *ch, struct scatto_reservation *rsv)
{
	s64 seq;

	if (unlikely(ch->many))
		return -EOPNOTSUPP;
	/* Pairs with the release in scatto_producer_listen(). */
	if (!smp_load_acquire(&ch->listening))
		return -ENOTCONN;

	preempt_disable_notrace();
	seq = atomic64_read(&ch->claim);
	do {
		/*
		 * Pairs with the consumer's release: it has read the slot that
		 * we are about to fill. A cursor more than a lap behind, or
		 * beyond the claim, is forged and counts as full; but first
		 * see that it is not our claim that is old, since others may
		 * have claimed more, and the consumer read that, meanwhile.
		 */
		while (unlikely(seq - scatto_channel_consumed(ch) >=
				ch->layout.capacity)) {
			s64 now = atomic64_read(&ch->claim);

			if (now == seq) {
				scatto_drop(ch);
				preempt_enable_notrace();
				return -ENOSPC;
			}
			seq = now;
		}
	} while (!atomic64_try_cmpxchg(&ch->claim, &seq, seq + 1));

	rsv->seq = seq;
	rsv->data = ch->slots + (seq & ch->mask) * ch->layout.slot_stride;
	rsv->lost = scatto_take_lost(ch);
	return 0;
}
EXPORT_SYMBOL_GPL(scatto_reserve);

void scatto_commit(struct scatto_channel *ch, struct scatto_reservation *rsv)
{
	scatto_stamp_slot(ch, rsv, 0);
	preempt_enable_notrace();
}
EXPORT_SYMBOL_GPL(scatto_commit);

void scatto_discard(struct scatto_channel *ch, struct scatto_reservation *rsv)
{
	scatto_count(&ch->area->tombstones, 1);
	scatto_stamp_slot(ch, rsv, SCATTO_STAMP_TOMBSTONE);
	preempt_enable_notrace();
}
EXPORT_SYMBOL_GPL(scatto_discard);

static void scatto_fill(const struct scatto_channel *ch,
			struct scatto_reservation *rsv, const void *data, size_t len)
{
	rsv->data = ch->slots + (rsv->seq & ch->mask) * ch->layout.slot_stride;
	/* A user who shares the slots, or forges the cursor, garbles his own channel. */
	data_race(memcpy(rsv->data, data, len));
	/* The same. */
	data_race(memset(rsv->data + len, 0, ch->layout.slot_size - len));
}

/* Each of them may interrupt those before it, and none itself. */
static unsigned int scatto_context(void)
{
	if (in_nmi())
		return 3;
	if (in_hardirq())
		return 2;
	return in_serving_softirq() ? 1 : 0;
}

/* C2 to C7, by the names of Documentation/many-producers.rst. */
static bool scatto_claim_shared(struct scatto_channel *ch, u64 *intent, u64 *seq)
{
	u64 claimed = scatto_channel_published(ch);
	unsigned int tries;

	for (tries = 0; tries < SCATTO_SHARED_TRIES; tries++) {
		if (claimed - scatto_channel_consumed(ch) >= ch->layout.capacity) {
			u64 now = scatto_channel_published(ch);

			if (now == claimed)
				break;
			claimed = now;
			continue;
		}
		/* Pair with the acquire in scatto_cover_read(). */
		smp_store_release(intent, claimed);
		scatto_window(C5);
		if (try_cmpxchg(&ch->prod->claimed, &claimed, claimed + 1)) {
			*seq = claimed;
			return true;
		}
	}
	/* C7: a try that was lost may have left it. */
	smp_store_release(intent, SCATTO_INTENT_NONE);
	return false;
}

static int scatto_send_shared(struct scatto_channel *ch, const void *data, size_t len)
{
	struct scatto_reservation rsv;
	u64 *intent;

	/* Pairs with the release in scatto_channel_state(). */
	if (smp_load_acquire(&ch->area->state) & SCATTO_STATE_SEND_EPIPE)
		return -ENOTCONN;

	preempt_disable_notrace();
	intent = &this_cpu_ptr(ch->many->intents)->at[scatto_context()];
	if (*intent != SCATTO_INTENT_NONE ||
	    !scatto_claim_shared(ch, intent, &rsv.seq)) {
		scatto_drop(ch);
		preempt_enable_notrace();
		return -ENOSPC;
	}
	scatto_window(C6);
	rsv.lost = scatto_take_lost(ch);
	scatto_fill(ch, &rsv, data, len);
	scatto_stamp_slot(ch, &rsv, 0);
	/* Pairs with the acquire in scatto_cover_read(): the stamp comes first. */
	smp_store_release(intent, SCATTO_INTENT_NONE);
	preempt_enable_notrace();
	return 0;
}

int scatto_send(struct scatto_channel *ch, const void *data, size_t len)
{
	struct scatto_reservation rsv;
	int ret;

	if (len > ch->layout.slot_size)
		return -EMSGSIZE;
	if (ch->many)
		return scatto_send_shared(ch, data, len);
	ret = scatto_reserve(ch, &rsv);
	if (ret)
		return ret;
	scatto_fill(ch, &rsv, data, len);
	scatto_commit(ch, &rsv);
	return 0;
}
EXPORT_SYMBOL_GPL(scatto_send);

struct scatto_channel *scatto_channel_join(int fd)
{
	return scatto_kernel_join(fd);
}
EXPORT_SYMBOL_GPL(scatto_channel_join);

void scatto_channel_leave(struct scatto_channel *ch)
{
	if (ch)
		scatto_kernel_leave(ch);
}
EXPORT_SYMBOL_GPL(scatto_channel_leave);

struct scatto_channel *
scatto_channel_create(const struct scatto_channel_attr *attr)
{
	struct scatto_create arg = {
		.kind = SCATTO_KIND_MPSC,
		.flags = attr->flags,
		.slot_size = attr->slot_size,
		.capacity = attr->capacity,
		.mode = attr->mode,
	};
	struct scatto_channel *ch;
	int ret;

	if (!attr->name || strscpy(arg.name, attr->name, sizeof(arg.name)) <= 0)
		return ERR_PTR(-EINVAL);

	ch = scatto_channel_new(&arg, SCATTO_F_KERNEL);
	if (IS_ERR(ch))
		return ch;
	ch->uid = attr->uid;
	ch->gid = attr->gid;
	ch->listening = attr->flags & SCATTO_F_PAUSE;

	ret = scatto_registry_add(ch);
	if (ret) {
		scatto_channel_put(ch);
		return ERR_PTR(ret);
	}
	scatto_registry_show(ch);
	return ch;
}
EXPORT_SYMBOL_GPL(scatto_channel_create);

void scatto_channel_destroy(struct scatto_channel *ch)
{
	if (!ch)
		return;

	scatto_registry_del(ch);
	mutex_lock(&ch->lock);
	WRITE_ONCE(ch->listening, false);
	scatto_channel_end(ch);
	scatto_channel_state(ch, SCATTO_STATE_NO_PRODUCER);
	mutex_unlock(&ch->lock);
	scatto_side_wake_all(ch, SCATTO_SIDE_DATA);
	trace_scatto_close(ch->id, 0);
	scatto_channel_put(ch);
}
EXPORT_SYMBOL_GPL(scatto_channel_destroy);
