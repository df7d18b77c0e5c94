/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scatto.ko: what its files share.
 *
 * Locks, outermost first:
 *
 *	endpoint->lock		binding of one open; held over user copies
 *	mmap_lock		taken by the mm above mmap and vm_ops
 *	channel->lock		roles, peers, end of stream; never held over a
 *				user copy, because vm_ops takes it
 *	registry lock		names and ids (registry.c)
 *	quota lock		limits per user (quota.c)
 *	many->barrier_lock	the mask of CPUs to interrupt (wait.c)
 *	side->lock		one direction of waiting; irq-safe
 *	side->pollers.lock	inside it, by wake_up()
 */
#ifndef _SCATTO_INTERNAL_H
#define _SCATTO_INTERNAL_H

#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/scatto.h>

#include "window.h"

struct scatto_user;

/*
 * What users cause to be allocated is charged to them, but for the nodes of the table
 * of names (registry.c), of which the quota bounds the number. At their limit they get
 * -ENOMEM; the OOM killer is for those who cannot be told.
 */
#define SCATTO_GFP	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/*
 * Stamps are looked at one by one, so thresholds on channels of kind MPSC end
 * here: bounds what one look costs, possibly with interrupts off.
 */
#define SCATTO_MAX_SCAN		SCATTO_WAIT_MOST

#define SCATTO_DEFAULT_PRODUCERS	64

/*
 * Offers the CPU now and then in a loop over slots, but not at once: most are
 * short, and who takes it (others that send, say) may keep it for longer than all
 * of the loop takes.
 */
static inline void scatto_breathe(u64 slots)
{
	if (slots % 4096 == 4095)
		cond_resched();
}

/* Each wake-up looks at all of one side's sleepers, interrupts off. */
#define SCATTO_MAX_SLEEPERS	1024

/*
 * One direction of waiting: consumers for data, or producers for space. @lock
 * guards all but @sleeps. WAIT callers have a queue of their own beside that of
 * the pollers, because each wants a position of its own.
 */
struct scatto_side {
	spinlock_t lock;		/* see above */
	bool gone;			/* word stays 0: movers must come and see */
	unsigned int nr_sleepers;	/* also read without the lock */
	struct list_head sleepers;	/* WAIT callers, first come first */
	u64 *word;			/* the mapped wake word; we alone write it */
	u64 poll_at;			/* position at which pollers want a look */
	u64 claim_at;			/* the same for the first claimer (claim.c) */
	struct mm_struct *mover;	/* who moves the position waited for */
	u64 wakes;
	atomic64_t sleeps;
	wait_queue_head_t pollers;
};

enum {
	SCATTO_SIDE_DATA,	/* consumers wait for producers */
	SCATTO_SIDE_SPACE,	/* producers wait for consumers */
	SCATTO_NR_SIDES,
};

/* A range of positions that somebody alive may have claimed, in repair.c. */
struct scatto_cover {
	u32 from;
	u32 to;
	pid_t tgid;			/* whose; 0: the kernel's */
};

/* What a kernel producer is about to claim, one for each context it can be in. */
struct scatto_kernel_intents {
	u64 at[4];
};

/*
 * What a channel with producers in user space has if it may have several of
 * them; NULL for all others. Lives and dies with the channel.
 */
struct scatto_many {
	struct scatto_channel *ch;
	struct delayed_work work;	/* any time; see scatto_many_retry() */

	/* Under ch->lock: see repair.c. */
	bool produced;			/* somebody has come: the last may go */
	u64 repair_lo;			/* hull of what is undecided; empty if equal */
	u64 repair_hi;
	u64 repairs;
	bool doubt;			/* counted in the quota; under the lock, as the hull */
	unsigned int backoff;		/* of the work, in us */
	unsigned int nap;		/* the same below a jiffy; hint, no lock */
	struct scatto_cover *cover;	/* for one pass */

	/* Under the space side's lock: see claim.c. */
	struct list_head claimers;	/* first come first */
	unsigned int nr_claimers;
	u64 claims;

	struct list_head movers;	/* the data side's, under its lock */
	struct mutex barrier_lock;	/* for the mask */
	cpumask_var_t barrier_mask;

	struct scatto_kernel_intents __percpu *intents;	/* SCATTO_F_SHARED */
};

/*
 * Lifetime: one reference for each bound endpoint and one for the kernel
 * creator. VMAs hold the file, the file holds the endpoint. The registry holds
 * none and finds a channel only while it has references. With the last
 * reference go name, id, memory and charge, in that order.
 */
struct scatto_channel {
	/* Constant after creation. */
	struct kref ref;
	u64 id;
	struct scatto_layout layout;	/* region[].writable is per endpoint */
	u64 mask;
	unsigned int shift;
	void *mem;			/* all regions, zeroed, memcg-charged */
	size_t bytes;
	struct scatto_channel_area *area;
	struct scatto_producer_area *prod;
	void *intents;			/* of user producers, in region "producer" */
	struct scatto_consumer_area *cons;
	u64 *stamps;			/* MPSC */
	u8 *slots;
	struct scatto_user *user;	/* who pays; NULL for the kernel */
	char name[SCATTO_NAME_LEN];
	struct hlist_node by_name;
	struct user_namespace *user_ns;
	kuid_t uid;
	kgid_t gid;
	umode_t mode;

	struct mutex lock;		/* roles; see the top of this file */
	/*
	 * Under lock: who has which place. An endpoint keeps its place until
	 * it can no longer write, which may be later than the end of its role.
	 */
	struct scatto_endpoint **producer;	/* layout.max_producers */
	unsigned int nr_places;		/* taken of those */
	struct scatto_endpoint *consumer;
	unsigned int producers;		/* active ones, the kernel among them */
	unsigned int consumers;
	unsigned int observers;
	bool registered;		/* registry lock, these two */
	bool visible;

	struct scatto_side side[SCATTO_NR_SIDES];
	u64 seen;			/* data side's lock: stamps below were seen */
	struct scatto_many *many;

	/*
	 * The kernel as producer. claim: the next slot, by cmpxchg from any
	 * context (on SCATTO_F_SHARED channels that is in the mapped region).
	 * lost: events dropped since the last claim. listening: is there
	 * anybody to store for? consumer_tgid: see scatto_is_consumer().
	 */
	atomic64_t claim ____cacheline_aligned;
	atomic_t lost;
	bool listening;
	pid_t consumer_tgid;
	struct irq_work wake_work;
};

/*
 * One open of /dev/scatto. @ch is set once, with release, when everything that
 * depends on it is in place; who loads it with acquire may use @role, @index
 * and @start without a lock.
 */
struct scatto_endpoint {
	struct mutex lock;		/* binds */
	struct scatto_channel *ch;
	u32 role;
	u32 index;
	u64 start;

	/* Under ch->lock. */
	struct mm_struct *mm;		/* whose mappings; NULL while unmapped */
	pid_t tgid;			/* who mapped it, for tracing */
	unsigned int maps;		/* VMAs */
	unsigned int writable;		/* those it could write through */
	bool active;			/* read without the lock in wait.c */
	struct list_head mover;		/* under the data side's lock */

	/*
	 * Under the space side's lock. What SCATTO_IOC_CLAIM has claimed for
	 * it last, empty if equal; @claiming: a thread is in that call, and
	 * nobody else starts one.
	 */
	u64 grant_lo;
	u64 grant_hi;
	bool claiming;
};

extern const struct file_operations scatto_fops;

/* quota.c */
struct scatto_user *scatto_quota_charge(kuid_t uid, size_t bytes);
void scatto_quota_uncharge(struct scatto_user *user, size_t bytes);
unsigned int scatto_quota_doubt(struct scatto_user *user, int more);
void scatto_quota_limits(struct scatto_query *q);

/* registry.c */
bool scatto_name_valid(const char *name);
int scatto_registry_add(struct scatto_channel *ch);
void scatto_registry_show(struct scatto_channel *ch);
void scatto_registry_del(struct scatto_channel *ch);
struct scatto_channel *scatto_registry_find(const char *name);
int scatto_registry_next(struct scatto_list *arg);

/* channel.c */
struct scatto_channel *scatto_channel_new(const struct scatto_create *arg,
					  u32 extra_flags);
void scatto_channel_put(struct scatto_channel *ch);
void scatto_channel_state(struct scatto_channel *ch, u32 state);
void scatto_channel_end(struct scatto_channel *ch);
bool scatto_channel_settle(struct scatto_channel *ch);

/* Adds to a mapped total; nobody else writes those. */
static inline void scatto_count(__u64 *total, u64 n)
{
	atomic64_add(n, (atomic64_t *)total);
}

/*
 * What the two sides say they have done. Both words are mapped writable by
 * somebody: a forged one garbles this channel for those who share it, nothing
 * else, as every index made of it is masked.
 */
static inline u64 scatto_channel_published(const struct scatto_channel *ch)
{
	if (ch->layout.kind == SCATTO_KIND_SPSC)
		/* Pairs with the producer's release after it filled the slots. */
		return smp_load_acquire(&ch->prod->published);
	/* Pairs with the claimer's compare-and-exchange. */
	return ch->many ? smp_load_acquire(&ch->prod->claimed) :
			  atomic64_read(&ch->claim);
}

static inline u64 scatto_channel_consumed(const struct scatto_channel *ch)
{
	/* Pairs with the consumer's release after it read the slots. */
	return smp_load_acquire(&ch->cons->cursor);
}

static inline struct scatto_channel *scatto_channel_get(struct scatto_channel *ch)
{
	kref_get(&ch->ref);
	return ch;
}

/* endpoint.c */
int scatto_endpoint_create(struct scatto_endpoint *ep,
			   struct scatto_create *arg, void __user *uarg,
			   size_t out);
int scatto_endpoint_attach(struct scatto_endpoint *ep,
			   struct scatto_attach *arg, void __user *uarg,
			   size_t out);
int scatto_endpoint_close(struct scatto_endpoint *ep);
void scatto_endpoint_info(struct scatto_endpoint *ep, struct scatto_info *info);
void scatto_endpoint_release(struct scatto_endpoint *ep);
void scatto_endpoint_mapped(struct scatto_endpoint *ep, struct mm_struct *mm,
			    bool writable);
void scatto_endpoint_unmapped(struct scatto_endpoint *ep, bool writable);
void scatto_endpoint_not_mapped(struct scatto_endpoint *ep, bool writable);
struct scatto_channel *scatto_kernel_join(int fd);
void scatto_kernel_leave(struct scatto_channel *ch);
void scatto_endpoint_layout(const struct scatto_endpoint *ep,
			    struct scatto_layout *layout);

/* Bound, and to which channel? */
static inline struct scatto_channel *
scatto_endpoint_channel(const struct scatto_endpoint *ep)
{
	/* Pairs with the release in scatto_bind(). */
	return smp_load_acquire(&ep->ch);
}

/* mmap.c */
int scatto_mmap(struct file *file, struct vm_area_struct *vma);

/* wait.c */
void scatto_side_init(struct scatto_side *side, u64 *word);
void scatto_side_set_mover(struct scatto_side *side, struct mm_struct *mm);
void scatto_mover_add(struct scatto_channel *ch, struct scatto_endpoint *ep);
void scatto_mover_del(struct scatto_channel *ch, struct scatto_endpoint *ep);
void scatto_side_arm(struct scatto_side *side);
void scatto_side_armed(struct scatto_channel *ch, unsigned int which)
	__releases(&ch->side[which].lock);
bool scatto_schedule(ktime_t *deadline);
ktime_t scatto_deadline(u64 ns);
int scatto_side_wake(struct scatto_channel *ch, unsigned int which);
void scatto_side_gone(struct scatto_channel *ch, unsigned int which);
void scatto_side_lowered(struct scatto_channel *ch, unsigned int which);
void scatto_side_wake_all(struct scatto_channel *ch, unsigned int which);
long scatto_wait(struct scatto_endpoint *ep, const struct scatto_wait *arg,
		 bool nonblock);
long scatto_wake(struct scatto_endpoint *ep);
__poll_t scatto_poll(struct file *file, poll_table *wait);

/* claim.c */
long scatto_claim(struct scatto_endpoint *ep, struct scatto_claim *arg,
		  bool nonblock);
void scatto_claim_done(struct scatto_endpoint *ep, bool delivered);
unsigned int scatto_claim_serve(struct scatto_channel *ch);
void scatto_claim_left(struct scatto_channel *ch);

/* repair.c */
int scatto_repair_init(void);
void scatto_repair_exit(void);
int scatto_many_init(struct scatto_channel *ch);
void scatto_many_free(struct scatto_channel *ch);
void scatto_many_retry(struct scatto_many *m, unsigned long delay);
void scatto_intent_clear(struct scatto_channel *ch, u32 index);
void scatto_repair_leave(struct scatto_channel *ch, struct scatto_endpoint *ep);
void scatto_repair_grant(struct scatto_channel *ch, struct scatto_endpoint *ep);
u64 scatto_repair_edge(struct scatto_channel *ch, u64 head);
u64 scatto_repair_close(struct scatto_channel *ch);
bool scatto_repair_settle(struct scatto_channel *ch);

/* producer.c */
void scatto_producer_listen(struct scatto_channel *ch, bool on);
bool scatto_producer_published(struct scatto_channel *ch, u64 from, u64 to);

static inline u64 scatto_stamp(const struct scatto_channel *ch, u64 seq)
{
	return (((seq >> ch->shift) + 1) << 2) & SCATTO_STAMP_LAP;
}

#endif /* _SCATTO_INTERNAL_H */
