/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last used objects of a local store, kept open: packs are read many times in small pieces, and opening costs
 * more than reading one. May be called from any thread; the lock is held for a few compares, never over a system call that blocks
 * except close().
 */
#ifndef STORE_FDCACHE_H
#define STORE_FDCACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FDCACHE_SLOTS 64

struct fdcache_slot {
	char *key;      /* NULL: nothing can find it (empty, or dropped while in use); owned */
	int fd;         /* -1: empty */
	uint64_t size;
	unsigned users; /* calls between take and release */
	uint64_t used;  /* when it was last taken; the smallest goes first */
};

struct fdcache {
	pthread_mutex_t lock; /* guards all below */
	uint64_t clock;
	struct fdcache_slot slots[FDCACHE_SLOTS];
};

/* An open object in use. slot -1: not in the cache, closed by the release. */
struct fdcache_ref {
	int slot;
	int fd;
	uint64_t size;
};

void fdcache_init(struct fdcache *c);
/* Closes all. Nothing may be in use. */
void fdcache_done(struct fdcache *c);
/* False when key is not there. */
bool fdcache_take(struct fdcache *c, const char *key, struct fdcache_ref *ret);
/* Gives fd to the cache and takes it. Where another thread was faster, or every slot is in use, or memory is out, the
 * reference is still good. */
struct fdcache_ref fdcache_add(struct fdcache *c, const char *key, int fd, uint64_t size);
void fdcache_release(struct fdcache *c, struct fdcache_ref ref);
/* The next take of key misses. */
void fdcache_drop(struct fdcache *c, const char *key);

#endif
