/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/limit.h"

#include <stdlib.h>
#include <string.h>

struct limited {
	struct store base;
	struct store_rates *rates;
};

struct limited_put {
	struct store_put base;
	struct store_put *inner;
};

static struct limited *limited_of(struct store *s)
{
	return (struct limited *)s;
}

static int limited_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	struct limited_put *put = calloc(1, sizeof *put);
	if (!put)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	put->base.store = s;
	if (s->inner->ops->put_begin(s->inner, key, size_hint, &put->inner, err) < 0) {
		free(put);
		return -1;
	}
	*ret = &put->base;
	return 0;
}

static int limited_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct limited_put *put = (struct limited_put *)p;
	struct rate *up = &limited_of(p->store)->rates->up;
	const uint8_t *at = data;
	for (size_t step = rate_step(up, len); len;) {
		size_t n = len < step ? len : step;
		if (rate_take(up, n, p->store->watch, err) < 0 || put->inner->store->ops->put_append(put->inner, at, n, err) < 0)
			return -1;
		at += n;
		len -= n;
	}
	return 0;
}

static int limited_put_commit(struct store_put *p, struct error *err)
{
	struct store_put *inner = ((struct limited_put *)p)->inner;
	free(p);
	return inner->store->ops->put_commit(inner, err);
}

static void limited_put_abort(struct store_put *p)
{
	struct store_put *inner = ((struct limited_put *)p)->inner;
	free(p);
	inner->store->ops->put_abort(inner);
}

static int limited_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct rate *down = &limited_of(s)->rates->down;
	uint8_t *at = data;
	size_t step = rate_step(down, len);
	do { /* also for no bytes: is it there? */
		size_t n = len < step ? len : step;
		if (rate_take(down, n, s->watch, err) < 0 || s->inner->ops->get(s->inner, key, offset, at, n, err) < 0)
			return -1;
		at += n;
		offset += n;
		len -= n;
	} while (len);
	return 0;
}

static int limited_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	return s->inner->ops->stat(s->inner, key, ret_found, ret_size, err);
}

static int limited_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	return s->inner->ops->list(s->inner, prefix, fn, cookie, err);
}

static int limited_remove(struct store *s, const char *key, struct error *err)
{
	return s->inner->ops->remove(s->inner, key, err);
}

static int limited_sweep(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err)
{
	*ret_removed = 0;
	return s->inner->ops->sweep ? s->inner->ops->sweep(s->inner, min_age, ret_removed, err) : 0;
}

static int limited_reserve(struct store *s, bool keep, struct error *err)
{
	return store_reserve(s->inner, keep, err);
}

static int limited_facts(struct store *s, struct store_facts *ret, struct error *err)
{
	return store_facts(s->inner, ret, err);
}

static void limited_close(struct store *s)
{
	store_close(s->inner);
	free(s->location);
	free(s);
}

static const struct store_ops limit_ops = {
	.name = "limit",
	.put_begin = limited_put_begin,
	.put_append = limited_put_append,
	.put_commit = limited_put_commit,
	.put_abort = limited_put_abort,
	.get = limited_get,
	.stat = limited_stat,
	.list = limited_list,
	.remove = limited_remove,
	.close = limited_close,
	.sweep = limited_sweep,
	.reserve = limited_reserve,
	.facts = limited_facts,
};

int store_limit(struct store **s, struct store_rates *rates, struct error *err)
{
	if (!rates->up.bytes_per_second && !rates->down.bytes_per_second)
		return 0;
	if ((*s)->ops->set_rates) {
		(*s)->ops->set_rates(*s, rates);
		return 0;
	}
	struct limited *l = calloc(1, sizeof *l);
	char *location = strdup((*s)->location);
	if (!l || !location) {
		free(l);
		free(location);
		return error_set(err, ERR_NOMEM, "limit the rate: out of memory");
	}
	l->base = (struct store){ .ops = &limit_ops, .location = location, .promises = (*s)->promises, .inner = *s, .watch = (*s)->watch };
	l->rates = rates;
	*s = &l->base;
	return 0;
}
