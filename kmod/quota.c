// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one user may hold. The memory is charged to the creator's memcg as
 * well; these limits bind where no memcg does.
 */
#include <linux/capability.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "internal.h"

static unsigned long max_channel_bytes = 64UL << 20;
module_param(max_channel_bytes, ulong, 0644);
MODULE_PARM_DESC(max_channel_bytes, "bytes of one channel, all regions (default 64 MiB)");

static unsigned long max_user_bytes = 256UL << 20;
module_param(max_user_bytes, ulong, 0644);
MODULE_PARM_DESC(max_user_bytes, "bytes of all channels of one user (default 256 MiB)");

static unsigned long max_user_channels = 1024;
module_param(max_user_channels, ulong, 0644);
MODULE_PARM_DESC(max_user_channels, "channels of one user (default 1024)");

/* Exists while its user has a channel. All under scatto_quota_lock. */
struct scatto_user {
	struct list_head node;
	kuid_t uid;
	unsigned long bytes;
	unsigned long channels;
	/* Channels that repair.c looks at again and again. A number to pace by: orders nothing. */
	atomic_t in_doubt;
};

/* Parameters are written plainly, by kernel/params.c. */
#define SCATTO_LIMIT(param)	data_race(READ_ONCE(param))

static DEFINE_MUTEX(scatto_quota_lock);
static LIST_HEAD(scatto_users);

static struct scatto_user *scatto_user_find(kuid_t uid)
{
	struct scatto_user *user;

	lockdep_assert_held(&scatto_quota_lock);

	list_for_each_entry(user, &scatto_users, node)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

static void scatto_user_free_if_idle(struct scatto_user *user)
{
	lockdep_assert_held(&scatto_quota_lock);

	if (!user->channels) {
		list_del(&user->node);
		kfree(user);
	}
}

/*
 * Returns the account to uncharge later, or -EFBIG (one channel), -EDQUOT (all
 * of this user's) or -ENOMEM. CAP_SYS_RESOURCE lifts the limits, not the
 * accounting.
 */
struct scatto_user *scatto_quota_charge(kuid_t uid, size_t bytes)
{
	bool unlimited = capable(CAP_SYS_RESOURCE);
	unsigned long most = SCATTO_LIMIT(max_user_bytes);
	struct scatto_user *user, *fresh;

	if (!unlimited && bytes > SCATTO_LIMIT(max_channel_bytes))
		return ERR_PTR(-EFBIG);

	/* Not under a lock that all need: it may take long at one user's limit. */
	fresh = kzalloc(sizeof(*fresh), SCATTO_GFP);
	mutex_lock(&scatto_quota_lock);
	user = scatto_user_find(uid);
	if (!user && fresh) {
		user = fresh;
		fresh = NULL;
		user->uid = uid;
		list_add(&user->node, &scatto_users);
	}
	if (!user) {
		user = ERR_PTR(-ENOMEM);
	} else if (!unlimited &&
		   (user->channels >= SCATTO_LIMIT(max_user_channels) ||
		    user->bytes > most || bytes > most - user->bytes)) {
		scatto_user_free_if_idle(user);
		user = ERR_PTR(-EDQUOT);
	} else {
		user->channels++;
		user->bytes += bytes;
	}
	mutex_unlock(&scatto_quota_lock);
	kfree(fresh);
	return user;
}

void scatto_quota_uncharge(struct scatto_user *user, size_t bytes)
{
	mutex_lock(&scatto_quota_lock);
	user->channels--;
	user->bytes -= bytes;
	scatto_user_free_if_idle(user);
	mutex_unlock(&scatto_quota_lock);
}

void scatto_quota_limits(struct scatto_query *q)
{
	q->max_channel_bytes = SCATTO_LIMIT(max_channel_bytes);
	q->max_user_bytes = SCATTO_LIMIT(max_user_bytes);
	q->max_user_channels = SCATTO_LIMIT(max_user_channels);
}

/*
 * @more (1, -1, 0) of @user's channels are in doubt; returns how many are now. NULL: the
 * kernel's, of which there are few.
 */
unsigned int scatto_quota_doubt(struct scatto_user *user, int more)
{
	return user ? atomic_add_return(more, &user->in_doubt) : 1;
}
