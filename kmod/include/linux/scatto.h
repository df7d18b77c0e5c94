/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scatto: the in-kernel API. A driver creates a channel, user processes attach
 * to it by name as consumers, and the driver streams events into it from
 * whatever context they happen in.
 */
#ifndef _LINUX_SCATTO_H
#define _LINUX_SCATTO_H

#include <linux/types.h>
#include <linux/uidgid.h>

#include <uapi/linux/scatto.h>

struct scatto_channel;
struct task_struct;

/**
 * struct scatto_channel_attr - what scatto_channel_create() makes
 * @name: 1 to 63 printable bytes without '/', visible in the initial user
 *	namespace
 * @slot_size: bytes of an event, SCATTO_MIN_SLOT_SIZE to SCATTO_MAX_SLOT_SIZE
 * @capacity: slots, a power of two
 * @flags: SCATTO_F_PAUSE or 0. With it, events are kept from creation on and
 *	while no consumer is attached, until the ring is full, and a consumer
 *	continues where the last one stopped. Without it nothing is stored
 *	while no consumer is attached, and each consumer starts with the first
 *	event after it came
 * @mode: permission bits of the name; read admits consumers and observers,
 *	write admits nobody
 * @uid: owner of the name
 * @gid: group of the name
 */
struct scatto_channel_attr {
	const char *name;
	u32 slot_size;
	u32 capacity;
	u32 flags;
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
};

/**
 * struct scatto_reservation - a slot that a kernel producer is filling
 * @data: the payload, slot_size bytes, 8-byte aligned. Holds whatever an
 *	earlier event left there: write all of it
 * @seq: number of the event
 * @lost: private to scatto
 */
struct scatto_reservation {
	void *data;
	u64 seq;
	u32 lost;
};

/**
 * scatto_channel_create() - create a channel whose producer is the kernel
 * @attr: what to create; copied
 *
 * Context: process, may sleep.
 * Return: the channel, or an ERR_PTR: -EINVAL (an attribute is out of range),
 * -EEXIST (the name is taken), -ENOMEM.
 */
struct scatto_channel *
scatto_channel_create(const struct scatto_channel_attr *attr);

/**
 * scatto_channel_destroy() - end the stream and let go of the channel
 * @ch: the channel; NULL is allowed
 *
 * Consumers drain what was committed and then see the end. The memory goes
 * with the last of them. The caller has made sure that no reservation is open
 * and no more will be made (for tracepoint probes:
 * tracepoint_synchronize_unregister()).
 *
 * Context: process, may sleep.
 */
void scatto_channel_destroy(struct scatto_channel *ch);

/**
 * scatto_reserve() - claim the next slot
 * @ch: the channel
 * @rsv: filled in on success
 *
 * On success preemption is disabled until scatto_commit() or
 * scatto_discard(), one of which must follow on the same CPU and in the same
 * context, soon: consumers stop at the open slot. May nest: an interrupt or NMI
 * may come between reserve and commit and reserve for itself.
 *
 * The claim is a compare-and-exchange (acquire and release) on a word private
 * to the kernel; the free space is judged by a load-acquire of the consumer's
 * cursor, and a cursor that makes no sense counts as a full ring.
 *
 * Context: any, including NMI. Never sleeps, takes no lock.
 * Return: 0; -ENOSPC (full: the loss is counted, in total and at the next
 * surviving event); -ENOTCONN (nobody listens: nothing to count); -EOPNOTSUPP
 * (a user's channel: see scatto_channel_join()).
 */
int scatto_reserve(struct scatto_channel *ch, struct scatto_reservation *rsv);

/**
 * scatto_commit() - publish a reserved slot
 * @ch: the channel
 * @rsv: what scatto_reserve() filled in
 *
 * The stamp is stored with release after the payload. If a sleeper has asked
 * for this position it is woken through irq_work.
 *
 * Context: as scatto_reserve().
 */
void scatto_commit(struct scatto_channel *ch, struct scatto_reservation *rsv);

/**
 * scatto_discard() - give a reserved slot back unused
 * @ch: the channel
 * @rsv: what scatto_reserve() filled in
 *
 * The slot becomes a tombstone: the consumer skips it. It is not counted as
 * lost.
 *
 * Context: as scatto_reserve().
 */
void scatto_discard(struct scatto_channel *ch, struct scatto_reservation *rsv);

/**
 * scatto_send() - reserve, copy, commit
 * @ch: the channel
 * @data: the event
 * @len: bytes of it, at most slot_size; the rest of the slot is zeroed
 *
 * On a user's channel the event is dropped (and counted) also when the claim
 * cursor does not hold still for 64 tries, and when it interrupts another
 * scatto_send() to a user's channel in the same context (a probe in the middle of
 * it).
 *
 * Context: as scatto_reserve().
 * Return: 0, -ENOSPC, -ENOTCONN as scatto_reserve(); -EMSGSIZE when @len exceeds
 * the slot.
 */
int scatto_send(struct scatto_channel *ch, const void *data, size_t len);

/**
 * scatto_channel_join() - produce into a user's channel, beside its producers
 * @fd: file descriptor of an owner's endpoint, in the current process
 *
 * For channels created with SCATTO_F_SHARED, whose user opted in: a driver takes
 * the fd with an ioctl of its own. Only scatto_send() works on them, since their
 * slots are mapped writable by others. Nothing is promised of what arrives: any
 * producer of the channel can forge events, the kernel's included, and stall it.
 * The kernel counts as a producer until scatto_channel_leave(): the stream does
 * not end before.
 *
 * Context: process, may sleep.
 * Return: the channel, or an ERR_PTR: -EBADF, -EINVAL (not an endpoint),
 * -ENOTCONN (not bound), -EPERM (not an owner's), -EOPNOTSUPP (not created with
 * SCATTO_F_SHARED), -EPIPE (the stream has ended).
 */
struct scatto_channel *scatto_channel_join(int fd);

/**
 * scatto_channel_leave() - stop producing into a user's channel
 * @ch: what scatto_channel_join() returned; NULL is allowed
 *
 * The caller has made sure that no scatto_send() is under way.
 *
 * Context: process, may sleep.
 */
void scatto_channel_leave(struct scatto_channel *ch);

/**
 * scatto_has_consumer() - is anybody listening?
 * @ch: the channel
 *
 * A hint to skip the work of gathering an event; racy by nature.
 *
 * Context: any.
 */
bool scatto_has_consumer(const struct scatto_channel *ch);

/**
 * scatto_is_consumer() - does this task belong to the consuming process?
 * @ch: the channel
 * @task: the task; its thread group is what counts
 *
 * For producers whose events could be caused by the reading of them.
 *
 * Context: any.
 */
bool scatto_is_consumer(const struct scatto_channel *ch,
			const struct task_struct *task);

#endif /* _LINUX_SCATTO_H */
