/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The victim of an attack: a process that uses the attacked channel through
 * libscatto, by all its functions and strategies in turn. It may see garbage or any
 * error. What it may not: crash, write where it was not told to, stay in a call for
 * longer than it was told to, or fail to close.
 */
#ifndef SELFTESTS_VICTIM_H
#define SELFTESTS_VICTIM_H

#include <scatto.h>

#include "attack.h"

#define VICTIM_BATCH		(2 * ATTACK_CAPACITY)
#define VICTIM_DEADLINE_NS	2000000ULL

struct victim {
	struct attack_shared *sh;
	struct victim_view *view;
	int owner;
	uint32_t role;
	uint64_t seed;
	unsigned char *buf;		/* ends where nothing is mapped */
	struct scatto_producer *p;
	struct scatto_consumer *c;
};

/* At the very end of a page, so that a byte too many is a fault. */
static inline void *victim_buf(size_t size)
{
	size_t room = (size + 4095) & ~4095UL;
	unsigned char *p = mmap(NULL, room + 8192, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + 4096, room, PROT_READ | PROT_WRITE))
		_exit(90);
	return p + 4096 + room - size;
}

static inline int victim_fill(struct scatto_producer *p, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		memset(scatto_claim_slot(p, i), 1, ATTACK_SLOT);
	if (scatto_claim_slot(p, n))
		_exit(91);
	return 0;
}

static inline int victim_send(struct victim *v, uint64_t until)
{
	struct scatto_producer *p = v->p;
	struct scatto_info info;
	void *slot;
	int ret;

	scatto_producer_set_wait(p, chance(&v->seed) % 6);
	switch (chance(&v->seed) % 9) {
	case 0:
		return scatto_try_send(p, v->buf);
	case 1:
		return scatto_send_until(p, v->buf, until);
	case 2:
		return scatto_send_batch_until(p, v->buf, VICTIM_BATCH, until);
	case 3:
		ret = scatto_claim_until(p, &slot, until);
		if (ret)
			return ret;
		memset(slot, 1, ATTACK_SLOT);
		return chance(&v->seed) % 2 ? scatto_publish(p) : scatto_abort(p);
	case 4:
		ret = scatto_claim_batch_until(p, 3, until);
		return ret ?: victim_fill(p, 3) ?: scatto_publish_n(p, 2);
	case 5:
		return scatto_wait_space(p, 2, until);
	case 6:
		return scatto_available_slots(p);
	case 7:
		return scatto_try_send_batch(p, v->buf, 3);
	default:
		return scatto_producer_info(p, &info);
	}
}

static inline int victim_peek(struct victim *v)
{
	int n = scatto_peek(v->c, VICTIM_BATCH), i;

	for (i = 0; i < n; i++)
		memcpy(v->buf, scatto_peek_slot(v->c, i), ATTACK_SLOT);
	if (n > 0 && scatto_release(v->c, 1 + chance(&v->seed) % n))
		_exit(92);
	return n;
}

static inline int victim_recv(struct victim *v, uint64_t until)
{
	struct scatto_consumer *c = v->c;
	struct scatto_info info;
	struct scatto_run runs[4];

	scatto_consumer_set_wait(c, chance(&v->seed) % 6);
	switch (chance(&v->seed) % 7) {
	case 0:
		return scatto_try_recv(c, v->buf);
	case 1:
		return scatto_recv_until(c, v->buf, until);
	case 2:
		return scatto_recv_batch_until(c, v->buf, VICTIM_BATCH, until);
	case 3:
		return victim_peek(v);
	case 4:
		return scatto_wait_data(c, 3, until);
	case 5:
		return scatto_skipped(c, runs, 4);
	default:
		return scatto_consumer_info(c, &info);
	}
}

static inline void victim_close(struct victim *v)
{
	scatto_producer_close(v->p);
	scatto_consumer_close(v->c);
	v->p = NULL;
	v->c = NULL;
}

static inline int victim_open(struct victim *v)
{
	struct scatto_channel *ch = NULL;
	int fd = fcntl(v->owner, F_DUPFD_CLOEXEC, 0);
	int ret = scatto_channel_from_fd(fd, &ch);

	if (ret) {
		close(fd);
		return ret;
	}
	ret = v->role == SCATTO_ROLE_PRODUCER ? scatto_producer_attach(ch, &v->p) :
						scatto_consumer_attach(ch, &v->c);
	scatto_channel_free(ch);
	v->view->attaches += !ret;
	return ret;
}

static inline void victim_begin(struct victim *v)
{
	__atomic_store_n(&v->view->since_ns, now_ns(), __ATOMIC_RELEASE);
}

static inline void victim_end(struct victim *v, uint64_t until, int ret)
{
	uint64_t now = now_ns();

	v->view->calls++;
	v->view->good += ret >= 0;
	if (now > until && now - until > v->view->late_ns)
		v->view->late_ns = now - until;
	__atomic_store_n(&v->view->since_ns, 0, __ATOMIC_RELEASE);
	/* More than a ring holds is never the answer. */
	if (ret > VICTIM_BATCH)
		_exit(93);
}

/* What a program does: goes on, or tries anew where that makes no sense. */
static inline void victim_call(struct victim *v)
{
	uint64_t until = now_ns() + chance(&v->seed) % VICTIM_DEADLINE_NS;
	int ret;

	victim_begin(v);
	if (v->p)
		ret = victim_send(v, until);
	else if (v->c)
		ret = victim_recv(v, until);
	else
		ret = victim_open(v);
	victim_end(v, until, ret);
	if (ret != -EBADMSG && ret != -EPIPE && ret != -EBUSY)
		return;
	victim_begin(v);
	victim_close(v);
	victim_end(v, now_ns(), 0);
	sleep_ms(1);
}

static inline void *victim_main(void *arg)
{
	struct victim *v = arg;
	uint64_t deadline = SCATTO_FOREVER;

	v->buf = victim_buf(VICTIM_BATCH * ATTACK_SLOT);
	while (!__atomic_load_n(&v->sh->stop, __ATOMIC_ACQUIRE))
		victim_call(v);
	/* The owner closes the channel: who waits for ever comes back. */
	victim_begin(v);
	if (v->p)
		while (scatto_send_until(v->p, v->buf, deadline) >= 0)
			;
	if (v->c)
		while (scatto_recv_until(v->c, v->buf, deadline) >= 0)
			;
	victim_close(v);
	victim_end(v, now_ns(), 0);
	return NULL;
}

/* One thread for each role that the attack leaves; never returns. */
static inline void victim_run(const struct attack *a, struct attack_shared *sh, int owner)
{
	bool many = a->kind == SCATTO_KIND_MPSC;
	bool roles[] = {
		many || a->role != SCATTO_ROLE_PRODUCER,
		a->role != SCATTO_ROLE_CONSUMER,
	};
	struct victim v[2];
	pthread_t threads[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		v[i] = (struct victim){
			.sh = sh, .view = &sh->victim[i], .owner = owner,
			.role = i ? SCATTO_ROLE_CONSUMER : SCATTO_ROLE_PRODUCER,
			.seed = 17 + i,
		};
		if (roles[i] && pthread_create(&threads[i], NULL, victim_main, &v[i]))
			_exit(94);
	}
	for (i = 0; i < 2; i++)
		if (roles[i])
			pthread_join(threads[i], NULL);
	_exit(0);
}

#endif /* SELFTESTS_VICTIM_H */
