// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names and ids. A name belongs to a user namespace and lives as long as its
 * channel; looking one up takes a reference, holding one does not.
 */
#include <linux/hashtable.h>
#include <linux/stringhash.h>
#include <linux/user_namespace.h>
#include <linux/xarray.h>

#include "internal.h"

static DEFINE_MUTEX(scatto_registry_lock);
static DEFINE_HASHTABLE(scatto_names, 8);
/* Named channels by id. Ids count up for ever: 64 bits do not wrap. */
static DEFINE_XARRAY(scatto_ids);
static u64 scatto_last_id;

static u32 scatto_name_hash(const struct user_namespace *ns, const char *name)
{
	return full_name_hash(ns, name, strlen(name));
}

static struct scatto_channel *scatto_name_lookup(struct user_namespace *ns,
						 const char *name)
{
	struct scatto_channel *ch;

	lockdep_assert_held(&scatto_registry_lock);

	hash_for_each_possible(scatto_names, ch, by_name,
			       scatto_name_hash(ns, name))
		if (ch->user_ns == ns && !strcmp(ch->name, name))
			return ch;
	return NULL;
}

bool scatto_name_valid(const char *name)
{
	size_t len = strnlen(name, SCATTO_NAME_LEN), i;

	if (!len || len == SCATTO_NAME_LEN)
		return false;
	for (i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '/')
			return false;
	/* The rest is reserved, so that names can be compared as bytes. */
	return !memchr_inv(name + len, 0, SCATTO_NAME_LEN - len);
}

/* Gives the channel its id and, if it has a name, takes that for it. */
int scatto_registry_add(struct scatto_channel *ch)
{
	int ret = 0;

	mutex_lock(&scatto_registry_lock);
	ch->id = scatto_last_id + 1;
	if (ch->name[0]) {
		if (scatto_name_lookup(ch->user_ns, ch->name))
			ret = -EEXIST;
		else
			ret = xa_insert(&scatto_ids, ch->id, ch, SCATTO_GFP);
		if (!ret) {
			hash_add(scatto_names, &ch->by_name,
				 scatto_name_hash(ch->user_ns, ch->name));
			ch->registered = true;
		}
	}
	if (!ret) {
		scatto_last_id = ch->id;
		ch->area->id = ch->id;
	}
	mutex_unlock(&scatto_registry_lock);
	return ret;
}

/* From now on others find it. */
void scatto_registry_show(struct scatto_channel *ch)
{
	mutex_lock(&scatto_registry_lock);
	ch->visible = true;
	mutex_unlock(&scatto_registry_lock);
}

void scatto_registry_del(struct scatto_channel *ch)
{
	mutex_lock(&scatto_registry_lock);
	if (ch->registered) {
		hash_del(&ch->by_name);
		xa_erase(&scatto_ids, ch->id);
		ch->registered = false;
	}
	mutex_unlock(&scatto_registry_lock);
}

/* Returns a reference to the caller's channel of this name, or NULL. */
struct scatto_channel *scatto_registry_find(const char *name)
{
	struct scatto_channel *ch;

	mutex_lock(&scatto_registry_lock);
	ch = scatto_name_lookup(current_user_ns(), name);
	scatto_window_sleep(FIND);
	if (ch && (!ch->visible || !kref_get_unless_zero(&ch->ref)))
		ch = NULL;
	mutex_unlock(&scatto_registry_lock);
	return ch;
}

/* The caller's next named channel after arg->id; -ENOENT at the end. */
int scatto_registry_next(struct scatto_list *arg)
{
	struct user_namespace *ns = current_user_ns();
	struct scatto_channel *ch;
	unsigned long id = arg->id;
	int ret = -ENOENT;

	if (id == ULONG_MAX)
		return ret;

	mutex_lock(&scatto_registry_lock);
	xa_for_each_start(&scatto_ids, id, ch, id + 1) {
		if (ch->user_ns != ns || !ch->visible) {
			cond_resched();
			continue;
		}
		arg->id = ch->id;
		memcpy(arg->name, ch->name, sizeof(arg->name));
		arg->mode = ch->mode;
		arg->uid = from_kuid_munged(ns, ch->uid);
		arg->gid = from_kgid_munged(ns, ch->gid);
		arg->kind = ch->layout.kind;
		arg->chan_flags = ch->layout.flags;
		arg->slot_size = ch->layout.slot_size;
		arg->capacity = ch->layout.capacity;
		ret = 0;
		break;
	}
	mutex_unlock(&scatto_registry_lock);
	return ret;
}
