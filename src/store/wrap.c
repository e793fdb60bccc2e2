/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/wrap.h"

#include <stdlib.h>
#include <string.h>

void *wrap_new(size_t size, const struct store_ops *ops, struct store *inner, struct error *err)
{
	struct store *s = calloc(1, size);
	char *location = strdup(inner->location);
	if (!s || !location) {
		free(s);
		free(location);
		error_set(err, ERR_NOMEM, "open %s: out of memory", inner->location);
		return NULL;
	}
	*s = (struct store){ .ops = ops, .location = location, .promises = inner->promises, .inner = inner, .watch = inner->watch };
	return s;
}

void wrap_close(struct store *s)
{
	store_close(s->inner);
	free(s->location);
	free(s);
}

int wrap_put_begin(struct store *s, const char *key, uint64_t size_hint, size_t size, struct store_put **ret, struct error *err)
{
	struct wrap_put *put = calloc(1, size);
	char *name = strdup(key);
	if (!put || !name) {
		free(put);
		free(name);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	}
	*put = (struct wrap_put){ .base = { s }, .key = name };
	if (s->inner->ops->put_begin(s->inner, key, size_hint, &put->inner, err) < 0) {
		wrap_put_free(put);
		return -1;
	}
	*ret = &put->base;
	return 0;
}

void wrap_put_free(struct wrap_put *put)
{
	free(put->key);
	free(put);
}

int wrap_put_commit(struct store_put *p, struct error *err)
{
	struct wrap_put *put = (struct wrap_put *)p;
	int result = put->inner->store->ops->put_commit(put->inner, err);
	wrap_put_free(put);
	return result;
}

void wrap_put_abort(struct store_put *p)
{
	struct wrap_put *put = (struct wrap_put *)p;
	put->inner->store->ops->put_abort(put->inner);
	wrap_put_free(put);
}

int wrap_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	return s->inner->ops->stat(s->inner, key, ret_found, ret_size, err);
}

int wrap_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	return s->inner->ops->list(s->inner, prefix, fn, cookie, err);
}

int wrap_remove(struct store *s, const char *key, struct error *err)
{
	return s->inner->ops->remove(s->inner, key, err);
}

int wrap_sweep(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err)
{
	*ret_removed = 0;
	return s->inner->ops->sweep ? s->inner->ops->sweep(s->inner, min_age, ret_removed, err) : 0;
}

int wrap_reserve(struct store *s, bool keep, struct error *err)
{
	return store_reserve(s->inner, keep, err);
}

int wrap_facts(struct store *s, struct store_facts *ret, struct error *err)
{
	return store_facts(s->inner, ret, err);
}
