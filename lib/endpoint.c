// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Life cycle of channel handles, producers, consumers and observers. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/*
 * About a microsecond of pause instructions, the order of a system call: with
 * less a peer that is about to answer is not met, and where both sides share a
 * CPU all of it is waste.
 */
#define DEFAULT_SPIN	20

/**
 * struct source - where an endpoint comes from: one of these
 * @ch: a channel handle
 * @name: a channel's name
 * @fd: somebody passed it; stays the caller's on failure
 */
struct source {
	const struct scatto_channel *ch;
	const char *name;
	int fd;
};

/*
 * Bumped in each forked child: in another pid namespace it may have its
 * parent's pid.
 */
static unsigned int forks;
static int forks_error;

static void forks_bump(void)
{
	forks++;
}

static void forks_register(void)
{
	forks_error = -pthread_atfork(NULL, NULL, forks_bump);
}

/* Has this process mapped it, and not one that it was forked from? */
static bool endpoint_is_ours(const struct __scatto_endpoint *ep)
{
	return ep->pid == getpid() && ep->forks == forks;
}

/* No name is an impossible one. */
static struct source source_named(const char *name)
{
	return (struct source){ .name = name ? name : "", .fd = -1 };
}

void endpoint_unmap(struct __scatto_endpoint *ep)
{
	unsigned int i;

	for (i = 0; i < SCATTO_NR_REGIONS; i++) {
		if (ep->map[i])
			munmap(ep->map[i], (size_t)ep->layout.region[i].size);
		ep->map[i] = NULL;
	}
}

/*
 * A geometry that does not fit its regions would be the backend's mistake, but
 * nothing later checks it again.
 */
static bool layout_fits(const struct scatto_layout *layout)
{
	uint64_t data = layout->region[SCATTO_REGION_DATA].size;
	uint64_t capacity = layout->capacity;

	if (!capacity || capacity & (capacity - 1) ||
	    capacity > SCATTO_MAX_CAPACITY ||
	    layout->slot_stride > SCATTO_MAX_SLOT_SIZE ||
	    layout->slot_stride < layout->slot_size || layout->slot_size < 8)
		return false;
	if (layout->slot_offset > data ||
	    (data - layout->slot_offset) / layout->slot_stride < capacity)
		return false;
	if (layout->kind == SCATTO_KIND_MPSC &&
	    (layout->stamp_offset > data ||
	     (data - layout->stamp_offset) / 8 < capacity))
		return false;
	return layout->region[SCATTO_REGION_CHANNEL].size >=
	       sizeof(struct scatto_channel_area) &&
	       layout->region[SCATTO_REGION_PRODUCER].size >=
	       sizeof(struct scatto_producer_area) &&
	       layout->region[SCATTO_REGION_CONSUMER].size >=
	       sizeof(struct scatto_consumer_area);
}

/* The intent of a producer of kind MPSC lies within its region, and aligned. */
static bool intent_fits(const struct __scatto_endpoint *ep)
{
	uint64_t size = ep->layout.region[SCATTO_REGION_PRODUCER].size;
	uint64_t offset = ep->layout.intent_offset;
	uint64_t stride = ep->layout.intent_stride;

	return offset <= size && ep->index < ep->layout.max_producers &&
	       stride >= sizeof(struct scatto_intent) &&
	       !(offset % 8) && !(stride % 8) &&
	       (size - offset) / stride > ep->index;
}

/*
 * As the module does by itself, the mapping of a role is kept out of forked
 * children: there it would be a second user of the same role.
 */
int endpoint_map(struct __scatto_endpoint *ep)
{
	/*
	 * As mmap goes each lies below the one before. What a producer asks for at the
	 * end of the data (__scatto_producer_prefetch(), __scatto_many_next()) is the
	 * producers' area then.
	 */
	static const unsigned char order[SCATTO_NR_REGIONS] = {
		SCATTO_REGION_CHANNEL, SCATTO_REGION_CONSUMER,
		SCATTO_REGION_PRODUCER, SCATTO_REGION_DATA,
	};
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	unsigned int n;
	int ret;

	/* A newer kernel's channel, by rules that this library cannot know. */
	if (ep->layout.flags & SCATTO_F_MUST_KNOW &
	    ~(SCATTO_F_KERNEL | SCATTO_F_FENCE))
		return -EOPNOTSUPP;
	/* Or of a kind that nothing here checks or reads. */
	if (ep->layout.kind != SCATTO_KIND_SPSC &&
	    ep->layout.kind != SCATTO_KIND_MPSC)
		return -EOPNOTSUPP;
	if (!layout_fits(&ep->layout))
		return -EPROTO;
	if (ep->role == SCATTO_ROLE_PRODUCER &&
	    ep->layout.kind == SCATTO_KIND_MPSC) {
		/* A module that cannot claim yet. */
		if (!ep->layout.intent_offset)
			return -EOPNOTSUPP;
		if (!intent_fits(ep))
			return -EPROTO;
	}
	pthread_once(&once, forks_register);
	if (forks_error)
		return forks_error;
	for (n = 0; n < SCATTO_NR_REGIONS; n++) {
		unsigned int i = order[n];
		const struct scatto_region *region = &ep->layout.region[i];
		int prot = PROT_READ | (region->writable ? PROT_WRITE : 0);
		void *map;

		ret = -ENOMEM;
		if (region->size > SIZE_MAX)
			goto unmap;
		map = mmap(NULL, (size_t)region->size, prot, MAP_SHARED, ep->fd,
			   (off_t)region->offset);
		ret = -errno;
		if (map == MAP_FAILED)
			goto unmap;
		ep->map[i] = map;
		if (ep->role != SCATTO_ROLE_OWNER)
			madvise(map, (size_t)region->size, MADV_DONTFORK);
	}
	ep->pid = getpid();
	ep->forks = forks;
	return 0;
unmap:
	endpoint_unmap(ep);
	return ret;
}

/* A forked child lets go of its copy; the role is its parent's. */
static void endpoint_close(struct __scatto_endpoint *ep)
{
	bool ours = endpoint_is_ours(ep);

	if (ours)
		ep->backend->detach(ep);
	if (ours || ep->role == SCATTO_ROLE_OWNER)
		endpoint_unmap(ep);
	close(ep->fd);
}

static int endpoint_map_role(struct __scatto_endpoint *ep, uint32_t role)
{
	if (ep->role != role)
		return -EPERM;
	return endpoint_map(ep);
}

static int endpoint_attach_local(struct __scatto_endpoint *ep, int channel_fd,
				 uint32_t role)
{
	int fd = fcntl(channel_fd, F_DUPFD_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	ret = local_attach(role, fd, ep);
	if (ret)
		close(fd);
	return ret;
}

static int endpoint_attach_kernel(struct __scatto_endpoint *ep, int channel_fd,
				  const char *name, uint32_t role)
{
	int ret = kernel_attach(role, channel_fd, name, ep);

	if (ret || role == SCATTO_ROLE_OWNER)
		return ret;
	ret = endpoint_map_role(ep, role);
	if (ret)
		close(ep->fd);
	return ret;
}

/* A character device may be the module's, a regular file may be a memfd. */
static int endpoint_adopt(struct __scatto_endpoint *ep, int fd, uint32_t role)
{
	struct stat st;
	int ret;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode))
		return role == SCATTO_ROLE_OWNER ? local_adopt(fd, ep) :
						   local_attach(role, fd, ep);
	if (!S_ISCHR(st.st_mode))
		return -EINVAL;
	ret = kernel_adopt(fd, ep);
	/* A channel handle maps nothing, and any role will do. */
	if (ret || role == SCATTO_ROLE_OWNER)
		return ret;
	return endpoint_map_role(ep, role);
}

static int endpoint_init(struct __scatto_endpoint *ep, uint32_t role,
			 const struct source *from)
{
	ep->strategy = SCATTO_STRATEGY_ADAPTIVE;
	ep->spin = DEFAULT_SPIN;
	if (from->ch && from->ch->ep.local)
		return endpoint_attach_local(ep, from->ch->ep.fd, role);
	if (from->ch)
		return endpoint_attach_kernel(ep, from->ch->ep.fd, NULL, role);
	if (from->name)
		return endpoint_attach_kernel(ep, -1, from->name, role);
	return endpoint_adopt(ep, from->fd, role);
}

/* Zeroed, and on cache lines of its own. */
static void *line_alloc(size_t size)
{
	void *mem;

	size = (size + SCATTO_LINE - 1) & ~(size_t)(SCATTO_LINE - 1);
	mem = aligned_alloc(SCATTO_LINE, size);
	if (mem)
		memset(mem, 0, size);
	return mem;
}

/* Where nobody queues for claims. */
static const __u32 no_claimers;

static void producer_init(struct scatto_producer *p,
			  struct __scatto_endpoint *ep)
{
	const struct scatto_layout *layout = &ep->layout;

	p->next = ep->position;
	/* Look at the cursor first: a claim of nothing is not in the way. */
	p->limit = ep->position;
	p->head = ep->position - layout->capacity;
	p->mask = layout->capacity - 1;
	p->slots = (unsigned char *)ep->map[SCATTO_REGION_DATA] +
		   layout->slot_offset;
	p->published = &endpoint_producer(ep)->published;
	p->cursor = &endpoint_consumer(ep)->cursor;
	p->data_wake = &endpoint_channel(ep)->data_wake;
	p->slot_size = layout->slot_size;
	p->slot_stride = layout->slot_stride;
	p->ahead = layout->slot_stride < __SCATTO_FETCH ?
		   __SCATTO_FETCH / layout->slot_stride : 1;
	p->flags = layout->flags;
	p->chan = endpoint_channel(ep);
	p->ep = ep;
	if (layout->kind != SCATTO_KIND_MPSC)
		return;
	/* For batches, and as measured; see __scatto_many_ahead(). */
	p->ahead = layout->slot_stride < 64 ? 64 : 32;
	p->claim_cursor = &endpoint_producer(ep)->claimed;
	p->stamps = endpoint_stamps(ep);
	p->intent = endpoint_intent(ep);
	p->claimers = ep->backend->claim ? &endpoint_channel(ep)->claimers :
					   &no_claimers;
	p->shift = (uint32_t)__builtin_ctzll(layout->capacity);
}

static void consumer_init(struct scatto_consumer *c,
			  struct __scatto_endpoint *ep)
{
	const struct scatto_layout *layout = &ep->layout;
	unsigned char *data = ep->map[SCATTO_REGION_DATA];

	c->next = ep->position;
	c->avail = ep->position;
	c->mask = layout->capacity - 1;
	c->slots = data + layout->slot_offset;
	c->cursor = &endpoint_consumer(ep)->cursor;
	c->space_wake = &endpoint_channel(ep)->space_wake;
	if (layout->kind == SCATTO_KIND_MPSC)
		c->stamps = endpoint_stamps(ep);
	else
		c->published = &endpoint_producer(ep)->published;
	c->slot_size = layout->slot_size;
	c->slot_stride = layout->slot_stride;
	c->flags = layout->flags;
	c->shift = (uint32_t)__builtin_ctzll(layout->capacity);
	c->chan = endpoint_channel(ep);
	c->ep = ep;
}

static int producer_new(const struct source *from, struct scatto_producer **out)
{
	struct producer *p = line_alloc(sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	ret = endpoint_init(&p->ep, SCATTO_ROLE_PRODUCER, from);
	if (ret) {
		free(p);
		return ret;
	}
	producer_init(&p->pub, &p->ep);
	*out = &p->pub;
	return 0;
}

static int consumer_new(const struct source *from, struct scatto_consumer **out)
{
	struct consumer *c = line_alloc(sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	ret = endpoint_init(&c->ep, SCATTO_ROLE_CONSUMER, from);
	if (ret) {
		free(c);
		return ret;
	}
	consumer_init(&c->pub, &c->ep);
	*out = &c->pub;
	return 0;
}

static int observer_new(const struct source *from, struct scatto_observer **out)
{
	struct scatto_observer *o = line_alloc(sizeof(*o));
	int ret;

	if (!o)
		return -ENOMEM;
	ret = endpoint_init(&o->ep, SCATTO_ROLE_OBSERVER, from);
	if (ret) {
		free(o);
		return ret;
	}
	*out = o;
	return 0;
}

static int channel_new(const struct source *from, struct scatto_channel **out)
{
	struct scatto_channel *ch = line_alloc(sizeof(*ch));
	int ret;

	if (!ch)
		return -ENOMEM;
	ret = endpoint_init(&ch->ep, SCATTO_ROLE_OWNER, from);
	if (ret) {
		free(ch);
		return ret;
	}
	*out = ch;
	return 0;
}

/* Fields that the caller's header has and this library does not are zero. */
static int config_read(const struct scatto_config *from,
		       struct scatto_config *cfg)
{
	const unsigned char *bytes = (const unsigned char *)from;
	size_t i;

	/* The first version ends with reserved; there is no older one. */
	if (from->size < sizeof(*cfg) ||
	    from->size > (size_t)sysconf(_SC_PAGESIZE))
		return -EINVAL;
	for (i = sizeof(*cfg); i < from->size; i++)
		if (bytes[i])
			return -E2BIG;
	*cfg = *from;
	if (cfg->reserved0)
		return -EINVAL;
	for (i = 0; i < sizeof(cfg->reserved) / sizeof(cfg->reserved[0]); i++)
		if (cfg->reserved[i])
			return -EINVAL;
	/* A mode is the name's. */
	if (cfg->mode && !cfg->name)
		return -EINVAL;
	return 0;
}

const char *scatto_version(void)
{
	return SCATTO_VERSION;
}

int scatto_features(uint32_t backend, uint64_t *features)
{
	struct scatto_query q;
	int ret;
	KEEP_ERRNO();

	if (backend == SCATTO_BACKEND_LOCAL) {
		*features = SCATTO_FEATURE_SPSC | SCATTO_FEATURE_MPSC;
		return 0;
	}
	if (backend != SCATTO_BACKEND_KERNEL)
		return -EINVAL;
	ret = kernel_query(&q);
	if (!ret)
		*features = q.features;
	return ret;
}

int scatto_query(struct scatto_query *q)
{
	KEEP_ERRNO();

	return kernel_query(q);
}

int scatto_list(struct scatto_list *entry)
{
	KEEP_ERRNO();

	return kernel_list(entry);
}

uint64_t scatto_deadline(uint64_t ns)
{
	struct timespec now;
	uint64_t at;
	KEEP_ERRNO();

	/* Cannot fail, but for a filter of system calls, and goes through the vDSO. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	at = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	return ns > SCATTO_FOREVER - at ? SCATTO_FOREVER : at + ns;
}

int scatto_channel_create(const struct scatto_config *from,
			  struct scatto_channel **out)
{
	struct scatto_channel *ch;
	struct scatto_config cfg;
	int ret = config_read(from, &cfg);
	KEEP_ERRNO();

	if (ret)
		return ret;
	ch = line_alloc(sizeof(*ch));
	if (!ch)
		return -ENOMEM;
	ret = -EINVAL;
	if (cfg.backend == SCATTO_BACKEND_LOCAL)
		ret = local_create(&cfg, &ch->ep);
	else if (cfg.backend == SCATTO_BACKEND_KERNEL)
		ret = kernel_create(&cfg, &ch->ep);
	if (ret) {
		free(ch);
		return ret;
	}
	*out = ch;
	return 0;
}

int scatto_channel_open(const char *name, struct scatto_channel **ch)
{
	struct source from = source_named(name);
	KEEP_ERRNO();

	return channel_new(&from, ch);
}

int scatto_channel_from_fd(int fd, struct scatto_channel **ch)
{
	struct source from = { .fd = fd };
	KEEP_ERRNO();

	return channel_new(&from, ch);
}

int scatto_channel_fd(const struct scatto_channel *ch)
{
	return ch->ep.fd;
}

int scatto_channel_close(struct scatto_channel *ch)
{
	KEEP_ERRNO();

	if (ch->ep.role != SCATTO_ROLE_OWNER)
		return -EPERM;
	return ch->ep.backend->close(&ch->ep);
}

void scatto_channel_free(struct scatto_channel *ch)
{
	KEEP_ERRNO();

	if (!ch)
		return;
	endpoint_close(&ch->ep);
	free(ch);
}

int scatto_channel_info(const struct scatto_channel *ch,
			struct scatto_info *info)
{
	KEEP_ERRNO();

	return ch->ep.backend->info(&ch->ep, info);
}

int scatto_producer_attach(struct scatto_channel *ch,
			   struct scatto_producer **p)
{
	struct source from = { .ch = ch, .fd = -1 };
	KEEP_ERRNO();

	return producer_new(&from, p);
}

int scatto_producer_open(const char *name, struct scatto_producer **p)
{
	struct source from = source_named(name);
	KEEP_ERRNO();

	return producer_new(&from, p);
}

int scatto_producer_from_fd(int fd, struct scatto_producer **p)
{
	struct source from = { .fd = fd };
	KEEP_ERRNO();

	return producer_new(&from, p);
}

void scatto_producer_close(struct scatto_producer *p)
{
	KEEP_ERRNO();

	if (!p)
		return;
	/* SPSC: what is claimed is not visible, and stays so. */
	if (p->claim_cursor && p->claimed && endpoint_is_ours(p->ep))
		__scatto_many_publish(p, p->next, 0, p->claimed);
	endpoint_close(p->ep);
	free(p);
}

int scatto_producer_fd(const struct scatto_producer *p)
{
	return p->ep->fd;
}

int scatto_producer_info(const struct scatto_producer *p,
			 struct scatto_info *info)
{
	KEEP_ERRNO();

	return p->ep->backend->info(p->ep, info);
}

static int set_wait(struct __scatto_endpoint *ep, uint32_t strategy)
{
	if (strategy > SCATTO_STRATEGY_BACKOFF)
		return -EINVAL;
	ep->strategy = strategy;
	return 0;
}

int scatto_producer_set_wait(struct scatto_producer *p, uint32_t strategy)
{
	return set_wait(p->ep, strategy);
}

void scatto_producer_set_spin(struct scatto_producer *p, uint32_t rounds)
{
	p->ep->spin = rounds;
}

int scatto_consumer_attach(struct scatto_channel *ch,
			   struct scatto_consumer **c)
{
	struct source from = { .ch = ch, .fd = -1 };
	KEEP_ERRNO();

	return consumer_new(&from, c);
}

int scatto_consumer_open(const char *name, struct scatto_consumer **c)
{
	struct source from = source_named(name);
	KEEP_ERRNO();

	return consumer_new(&from, c);
}

int scatto_consumer_from_fd(int fd, struct scatto_consumer **c)
{
	struct source from = { .fd = fd };
	KEEP_ERRNO();

	return consumer_new(&from, c);
}

void scatto_consumer_close(struct scatto_consumer *c)
{
	KEEP_ERRNO();

	if (!c)
		return;
	endpoint_close(c->ep);
	free(c);
}

int scatto_consumer_fd(const struct scatto_consumer *c)
{
	return c->ep->fd;
}

int scatto_consumer_info(const struct scatto_consumer *c,
			 struct scatto_info *info)
{
	KEEP_ERRNO();

	return c->ep->backend->info(c->ep, info);
}

int scatto_consumer_set_wait(struct scatto_consumer *c, uint32_t strategy)
{
	return set_wait(c->ep, strategy);
}

void scatto_consumer_set_spin(struct scatto_consumer *c, uint32_t rounds)
{
	c->ep->spin = rounds;
}

int scatto_observer_attach(struct scatto_channel *ch,
			   struct scatto_observer **o)
{
	struct source from = { .ch = ch, .fd = -1 };
	KEEP_ERRNO();

	return observer_new(&from, o);
}

int scatto_observer_open(const char *name, struct scatto_observer **o)
{
	struct source from = source_named(name);
	KEEP_ERRNO();

	return observer_new(&from, o);
}

int scatto_observer_from_fd(int fd, struct scatto_observer **o)
{
	struct source from = { .fd = fd };
	KEEP_ERRNO();

	return observer_new(&from, o);
}

void scatto_observer_close(struct scatto_observer *o)
{
	KEEP_ERRNO();

	if (!o)
		return;
	endpoint_close(&o->ep);
	free(o);
}

int scatto_observer_fd(const struct scatto_observer *o)
{
	return o->ep.fd;
}

int scatto_observer_info(const struct scatto_observer *o,
			 struct scatto_info *info)
{
	KEEP_ERRNO();

	return o->ep.backend->info(&o->ep, info);
}
