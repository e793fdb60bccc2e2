/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/limit.h"

#include "store/wrap.h"

struct limited {
	struct store base;
	struct store_rates *rates;
};

static struct limited *limited_of(struct store *s)
{
	return (struct limited *)s;
}

static int limited_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	return wrap_put_begin(s, key, size_hint, sizeof(struct wrap_put), ret, err);
}

static int limited_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct wrap_put *put = (struct wrap_put *)p;
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

static int limited_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct rate *up = &limited_of(s)->rates->up;
	/* It goes in one piece, so its time is waited out before. */
	for (size_t left = len, step = rate_step(up, len); left; left -= left < step ? left : step)
		if (rate_take(up, left < step ? left : step, s->watch, err) < 0)
			return -1;
	return store_replace(s->inner, key, data, len, err);
}

static const struct store_ops limit_ops = {
	.name = "limit",
	.put_begin = limited_put_begin,
	.put_append = limited_put_append,
	.put_commit = wrap_put_commit,
	.put_abort = wrap_put_abort,
	.get = limited_get,
	.stat = wrap_stat,
	.list = wrap_list,
	.remove = wrap_remove,
	.replace = limited_replace,
	.close = wrap_close,
	.sweep = wrap_sweep,
	.reserve = wrap_reserve,
	.facts = wrap_facts,
};

int store_limit(struct store **s, struct store_rates *rates, struct error *err)
{
	if (!rates->up.bytes_per_second && !rates->down.bytes_per_second)
		return 0;
	if ((*s)->ops->set_rates) {
		(*s)->ops->set_rates(*s, rates);
		return 0;
	}
	struct limited *l = wrap_new(sizeof *l, &limit_ops, *s, err);
	if (!l)
		return -1;
	l->rates = rates;
	*s = &l->base;
	return 0;
}
