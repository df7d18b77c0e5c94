// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The module's channels: everything goes through an open of /dev/scatto. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"
#include "seek.h"

#define DEVICE	"/dev/scatto"

static int call(int fd, unsigned long cmd, void *arg)
{
	int ret;
	KEEP_ERRNO();

	ret = ioctl(fd, cmd, arg);
	return ret < 0 ? -errno : ret;
}

static int kernel_open(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	/* Left behind by something, or never made: it means the same. */
	if (errno == ENOENT || errno == ENXIO)
		return -ENODEV;
	return -errno;
}

static int query(int fd, struct scatto_query *q)
{
	int ret;

	memset(q, 0, sizeof(*q));
	q->size = sizeof(*q);
	ret = call(fd, SCATTO_IOC_QUERY, q);
	return ret < 0 ? ret : 0;
}

int kernel_query(struct scatto_query *q)
{
	int fd = kernel_open();
	int ret;

	if (fd < 0)
		return fd;
	ret = query(fd, q);
	close(fd);
	return ret;
}

/*
 * Does lseek() wait and wake? Tools that run a program's threads one at a time
 * (valgrind, rr) know that an ioctl() may block and think that an lseek() does not.
 */
static bool may_seek;

static void may_seek_init(void)
{
	may_seek = !getenv("SCATTO_NO_SEEK");
}

static bool seeks(int fd, uint32_t role)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct scatto_query q;

	if (role != SCATTO_ROLE_PRODUCER && role != SCATTO_ROLE_CONSUMER)
		return false;
	pthread_once(&once, may_seek_init);
	return may_seek && !query(fd, &q) && q.features & SCATTO_FEATURE_SEEK;
}

int kernel_list(struct scatto_list *entry)
{
	uint64_t before = entry->id;
	int fd = kernel_open();
	int ret;

	if (fd < 0)
		return fd;
	memset(entry, 0, sizeof(*entry));
	entry->size = sizeof(*entry);
	entry->id = before;
	ret = call(fd, SCATTO_IOC_LIST, entry);
	close(fd);
	return ret < 0 ? ret : 0;
}

static void kernel_detach(struct __scatto_endpoint *ep)
{
	/* An owner's CLOSE would end the channel; its going does not. */
	if (ep->role == SCATTO_ROLE_PRODUCER ||
	    ep->role == SCATTO_ROLE_CONSUMER)
		call(ep->fd, SCATTO_IOC_CLOSE, NULL);
}

static __attribute__((noinline)) int
kernel_sleep_until(struct __scatto_endpoint *ep, const struct sleep_req *req)
{
	struct scatto_wait arg = {
		.size = sizeof(arg),
		.want = req->want,
	};
	int ret;

	if (req->enough != req->want) {
		arg.flags |= SCATTO_WAIT_ENOUGH;
		arg.enough = req->enough;
	}
	if (req->deadline != SCATTO_FOREVER) {
		arg.flags |= SCATTO_WAIT_DEADLINE;
		arg.deadline = req->deadline;
	}
	if (req->wake) {
		arg.flags |= SCATTO_WAIT_WAKE;
		arg.wake_fd = req->wake->fd;
	}
	ret = call(ep->fd, SCATTO_IOC_WAIT, &arg);
	return ret < 0 ? ret : 0;
}

static HOT int kernel_sleep(struct __scatto_endpoint *ep, const struct sleep_req *req)
{
	if (req->deadline != SCATTO_FOREVER || req->enough != req->want || !ep->seeks)
		return kernel_sleep_until(ep, req);
	if (ep->role != SCATTO_ROLE_CONSUMER)
		return seek(ep->fd, (int64_t)req->want, SEEK_HOLE);
	if (!req->wake)
		return seek(ep->fd, (int64_t)req->want, SEEK_DATA);
	return seek(ep->fd, SCATTO_SEEK(req->want, req->wake->fd), SEEK_END);
}

static HOT void kernel_wake(struct __scatto_endpoint *ep)
{
	if (!ep->seeks)
		call(ep->fd, SCATTO_IOC_WAKE, NULL);
	else
		seek(ep->fd, 0, ep->role == SCATTO_ROLE_CONSUMER ? SEEK_HOLE : SEEK_DATA);
}

static int kernel_claim(struct __scatto_endpoint *ep, struct claim_req *req)
{
	struct scatto_claim arg = {
		.size = sizeof(arg),
		.count = req->count,
		.least = req->least,
	};
	int ret;

	if (req->deadline != SCATTO_FOREVER) {
		arg.flags |= SCATTO_CLAIM_DEADLINE;
		arg.deadline = req->deadline;
	}
	ret = call(ep->fd, SCATTO_IOC_CLAIM, &arg);
	if (ret < 0)
		return ret;
	req->position = arg.position;
	req->granted = arg.granted;
	return 0;
}

static int kernel_close(struct __scatto_endpoint *ep)
{
	int ret = call(ep->fd, SCATTO_IOC_CLOSE, NULL);

	return ret < 0 ? ret : 0;
}

static int kernel_info(const struct __scatto_endpoint *ep,
		       struct scatto_info *info)
{
	int ret;

	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	ret = call(ep->fd, SCATTO_IOC_INFO, info);
	return ret < 0 ? ret : 0;
}

static const struct backend kernel_backend = {
	.detach	= kernel_detach,
	.sleep	= kernel_sleep,
	.wake	= kernel_wake,
	.claim	= kernel_claim,
	.close	= kernel_close,
	.info	= kernel_info,
};

int kernel_create(const struct scatto_config *cfg, struct __scatto_endpoint *ep)
{
	struct scatto_create arg = {
		.size = sizeof(arg),
		.kind = cfg->kind,
		.flags = cfg->flags,
		.slot_size = cfg->slot_size,
		.capacity = cfg->capacity,
		.max_producers = cfg->max_producers,
		.mode = cfg->mode,
	};
	int fd, ret;

	if (cfg->name) {
		size_t len = strlen(cfg->name);

		if (!len || len >= sizeof(arg.name))
			return -EINVAL;
		memcpy(arg.name, cfg->name, len);
	}
	fd = kernel_open();
	if (fd < 0)
		return fd;
	ret = call(fd, SCATTO_IOC_CREATE, &arg);
	if (ret < 0)
		goto close;
	ret = kernel_adopt(fd, ep);
	if (!ret)
		return 0;
close:
	close(fd);
	return ret;
}

int kernel_attach(uint32_t role, int channel_fd, const char *name,
		  struct __scatto_endpoint *ep)
{
	struct scatto_attach arg = {
		.size = sizeof(arg),
		.role = role,
		.channel_fd = channel_fd,
	};
	int fd, ret;

	if (name) {
		size_t len = strlen(name);

		if (!len || len >= sizeof(arg.name))
			return -EINVAL;
		memcpy(arg.name, name, len);
	}
	fd = kernel_open();
	if (fd < 0)
		return fd;
	ret = call(fd, SCATTO_IOC_ATTACH, &arg);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	ep->backend = &kernel_backend;
	ep->fd = fd;
	ep->seeks = seeks(fd, role);
	ep->role = role;
	ep->index = arg.index;
	ep->position = arg.position;
	ep->layout = arg.layout;
	return 0;
}

/* The caller has made sure that @fd is a character device. */
int kernel_adopt(int fd, struct __scatto_endpoint *ep)
{
	struct scatto_info info = { .size = sizeof(info) };
	int ret = call(fd, SCATTO_IOC_INFO, &info);

	if (ret == -ENOTTY)
		return -EINVAL;
	if (ret < 0)
		return ret;
	ep->backend = &kernel_backend;
	ep->fd = fd;
	ep->seeks = seeks(fd, info.role);
	ep->role = info.role;
	ep->index = info.index;
	ep->position = info.position;
	ep->layout = info.layout;
	return 0;
}
