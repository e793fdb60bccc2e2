/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/fdcache.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fdcache_init(struct fdcache *c)
{
	memset(c, 0, sizeof *c);
	pthread_mutex_init(&c->lock, NULL);
	for (int i = 0; i < FDCACHE_SLOTS; i++)
		c->slots[i].fd = -1;
}

static void empty(struct fdcache_slot *slot)
{
	if (slot->fd >= 0)
		close(slot->fd);
	free(slot->key);
	*slot = (struct fdcache_slot){ .fd = -1 };
}

void fdcache_done(struct fdcache *c)
{
	for (int i = 0; i < FDCACHE_SLOTS; i++)
		empty(&c->slots[i]);
	pthread_mutex_destroy(&c->lock);
}

static int find(const struct fdcache *c, const char *key)
{
	for (int i = 0; i < FDCACHE_SLOTS; i++)
		if (c->slots[i].key && strcmp(c->slots[i].key, key) == 0)
			return i;
	return -1;
}

static struct fdcache_ref use(struct fdcache *c, int i)
{
	struct fdcache_slot *slot = &c->slots[i];
	slot->users++;
	slot->used = ++c->clock;
	return (struct fdcache_ref){ i, slot->fd, slot->size };
}

bool fdcache_take(struct fdcache *c, const char *key, struct fdcache_ref *ret)
{
	pthread_mutex_lock(&c->lock);
	int i = find(c, key);
	if (i >= 0)
		*ret = use(c, i);
	pthread_mutex_unlock(&c->lock);
	return i >= 0;
}

/* An empty slot, else the one unused for longest, else -1. */
static int find_room(const struct fdcache *c)
{
	int best = -1;
	for (int i = 0; i < FDCACHE_SLOTS; i++) {
		if (c->slots[i].fd < 0)
			return i;
		if (!c->slots[i].users && (best < 0 || c->slots[i].used < c->slots[best].used))
			best = i;
	}
	return best;
}

struct fdcache_ref fdcache_add(struct fdcache *c, const char *key, int fd, uint64_t size)
{
	char *name = strdup(key);
	pthread_mutex_lock(&c->lock);
	struct fdcache_ref ref = { -1, fd, size };
	int i = name ? find(c, key) : -1;
	if (i < 0 && name && (i = find_room(c)) >= 0) {
		empty(&c->slots[i]);
		c->slots[i].key = name;
		c->slots[i].fd = fd;
		c->slots[i].size = size;
		name = NULL;
		ref = use(c, i);
	} else if (i >= 0) {
		ref = use(c, i);
		close(fd);
	}
	pthread_mutex_unlock(&c->lock);
	free(name);
	return ref;
}

void fdcache_release(struct fdcache *c, struct fdcache_ref ref)
{
	if (ref.slot < 0) {
		close(ref.fd);
		return;
	}
	pthread_mutex_lock(&c->lock);
	struct fdcache_slot *slot = &c->slots[ref.slot];
	if (!--slot->users && !slot->key)
		empty(slot);
	pthread_mutex_unlock(&c->lock);
}

void fdcache_drop(struct fdcache *c, const char *key)
{
	pthread_mutex_lock(&c->lock);
	int i = find(c, key);
	if (i >= 0) {
		free(c->slots[i].key);
		c->slots[i].key = NULL;
		if (!c->slots[i].users)
			empty(&c->slots[i]);
	}
	pthread_mutex_unlock(&c->lock);
}
