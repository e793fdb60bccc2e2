/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What wrappers have in common: a store around another (struct store.inner), whose calls go through where the wrapper does nothing about them. A wrapper's own struct begins with a struct store,
 * its puts are struct wrap_put or begin with one. For the files of this folder.
 */
#ifndef STORE_WRAP_H
#define STORE_WRAP_H

#include "store/store.h"

struct wrap_put {
	struct store_put base;
	struct store_put *inner;
	char *key;
};

/* A zeroed struct of size bytes that begins with the store, named and promising as inner, which it owns. NULL, with err: out of memory; inner stays the caller's then. */
void *wrap_new(size_t size, const struct store_ops *ops, struct store *inner, struct error *err);
/* .close of a wrapper that has nothing more to free; or the end of its own. */
void wrap_close(struct store *s);

/* Begins the put in inner. size: of a struct that begins with a struct wrap_put, zeroed but for that. */
int wrap_put_begin(struct store *s, const char *key, uint64_t size_hint, size_t size, struct store_put **ret, struct error *err);
/* After the inner put has ended. */
void wrap_put_free(struct wrap_put *put);
/* These end both. */
int wrap_put_commit(struct store_put *put, struct error *err);
void wrap_put_abort(struct store_put *put);

/* The others of struct store_ops, passed on; also where inner has none. */
int wrap_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err);
int wrap_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err);
int wrap_remove(struct store *s, const char *key, struct error *err);
int wrap_sweep(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err);
int wrap_reserve(struct store *s, bool keep, struct error *err);
int wrap_facts(struct store *s, struct store_facts *ret, struct error *err);

#endif
