/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An object store: named, immutable byte strings. Objects are written once, whole, and never changed.
 *
 * Keys are relative paths of [a-z0-9/] ("packs/3f/3f09..."); any other key is ERR_INVALID. All functions may be called from several threads
 * at once, but one struct store_put by one thread at a time. Kinds of store are rows of one table in store.c, chosen by the location's form.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct store;
struct store_put;

/* Nonzero stops the listing and is returned by it. key is valid during the call. */
typedef int (*store_list_fn)(void *cookie, const char *key, uint64_t size);

struct store_ops {
	const char *name;
	/* Starts an object that will be about size_hint bytes (0: unknown). Nothing is visible before commit. */
	int (*put_begin)(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err);
	int (*put_append)(struct store_put *put, const void *data, size_t len, struct error *err);
	/* The object is whole, visible and durable (survives a power cut) once this returns 0. Frees put in either case. An object that has this
	 * key already stays as it is: ERR_EXISTS. */
	int (*put_commit)(struct store_put *put, struct error *err);
	/* Leaves nothing visible. Frees put. */
	void (*put_abort)(struct store_put *put);
	/* Exactly len bytes from offset; fewer there: ERR_CORRUPT. No such object: ERR_NOT_FOUND. */
	int (*get)(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err);
	/* ret_found false is not an error. */
	int (*stat)(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err);
	/* Every object below prefix (which ends in '/', or is "" for all), in no order. A prefix that does not exist is empty. fn runs on the calling
	 * thread and may call the store. */
	int (*list)(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err);
	/* Removing what is not there is fine. A power cut soon after may bring the object back. */
	int (*remove)(struct store *s, const char *key, struct error *err);
	void (*close)(struct store *s);
	/* For the collector: removes what puts that died (not committed, not aborted) left behind, once it is min_age seconds old. NULL where a kind
	 * of store leaves nothing behind. */
	int (*sweep)(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err);
};

/* Implementations embed these as their first members. */
struct store {
	const struct store_ops *ops;
	char *location; /* as messages show it; owned */
};
struct store_put {
	struct store *store;
};

/* Opens the store at location: a folder's path, or scheme://... create makes the folder (mode 0700) where it is missing; without it a missing
 * location is ERR_NOT_FOUND. */
int store_open(struct store **ret, const char *location, bool create, struct error *err);
void store_close(struct store *s);
DEFINE_CLEAN(store, store_close)
#define CLEAN_STORE CLEAN(store_cleanup)

/* A store in memory, for tests. */
int store_open_memory(struct store **ret, struct error *err);

/* Whole small objects. store_read refuses objects over max bytes (ERR_CORRUPT) before it allocates. */
int store_write(struct store *s, const char *key, const void *data, size_t len, struct error *err);
int store_read(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err);

#endif
