/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/fault.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "store/wrap.h"

struct faulty {
	struct store base;
	pthread_mutex_t lock; /* guards seen of every fault */
	struct fault *faults;
	size_t count;
};

static struct faulty *faulty_of(struct store *s)
{
	return (struct faulty *)s;
}

/* Counts the call; the fault that hits it, or NULL. */
static const struct fault *next_fault(struct faulty *f, enum fault_call call, const char *key)
{
	const struct fault *hit = NULL;
	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < f->count; i++) {
		struct fault *one = &f->faults[i];
		if (one->call != call || (one->prefix && strncmp(key, one->prefix, strlen(one->prefix)) != 0))
			continue;
		uint64_t number = ++one->seen, from = one->from ? one->from : 1;
		if (!hit && number >= from && (!one->count || number - from < one->count))
			hit = one;
	}
	pthread_mutex_unlock(&f->lock);
	return hit;
}

static int fail(const struct faulty *f, const struct fault *fault, const char *what, const char *key, struct error *err)
{
	error_sys(err, fault->sys, "%s %s/%s (planned)", what, f->base.location, key);
	return fault->sys == ECONNRESET ? error_passing(err) : -1;
}

static int faulty_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	struct faulty *f = faulty_of(s);
	const struct fault *fault = next_fault(f, FAULT_PUT_BEGIN, key);
	if (fault)
		return fail(f, fault, "write", key, err);
	return wrap_put_begin(s, key, size_hint, sizeof(struct wrap_put), ret, err);
}

static void flip(void *data, size_t len)
{
	if (len)
		((uint8_t *)data)[len / 2] ^= 0x10;
}

static int append_flipped(struct wrap_put *put, const void *data, size_t len, struct error *err)
{
	CLEAN_BUF struct buf copy = BUF_INIT;
	buf_add(&copy, data, len);
	if (!buf_ok(&copy))
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	flip(copy.data, copy.len);
	return put->inner->store->ops->put_append(put->inner, copy.data, copy.len, err);
}

static int faulty_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct wrap_put *put = (struct wrap_put *)p;
	struct faulty *f = faulty_of(p->store);
	const struct fault *fault = next_fault(f, FAULT_PUT_APPEND, put->key);
	if (!fault)
		return put->inner->store->ops->put_append(put->inner, data, len, err);
	if (fault->effect == FAULT_FLIP)
		return append_flipped(put, data, len, err);
	size_t done = fault->effect == FAULT_LOST ? len : fault->effect == FAULT_SHORT ? len / 2 : 0;
	if (done && put->inner->store->ops->put_append(put->inner, data, done, err) < 0)
		return -1;
	return fail(f, fault, "write", put->key, err);
}

static int faulty_put_commit(struct store_put *p, struct error *err)
{
	struct wrap_put *put = (struct wrap_put *)p;
	struct faulty *f = faulty_of(p->store);
	const struct fault *fault = next_fault(f, FAULT_PUT_COMMIT, put->key);
	int result = 0;
	if (fault && fault->effect != FAULT_LOST)
		put->inner->store->ops->put_abort(put->inner);
	else
		result = put->inner->store->ops->put_commit(put->inner, err);
	if (fault && result == 0)
		result = fail(f, fault, "write", put->key, err);
	wrap_put_free(put);
	return result;
}

static int faulty_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct faulty *f = faulty_of(s);
	const struct fault *fault = next_fault(f, FAULT_GET, key);
	if (fault && fault->effect == FAULT_SHORT)
		return error_set(err, ERR_CORRUPT, "read %s/%s: it ends too early (planned)", s->location, key);
	if (fault && fault->effect != FAULT_FLIP)
		return fail(f, fault, "read", key, err);
	if (s->inner->ops->get(s->inner, key, offset, data, len, err) < 0)
		return -1;
	if (fault)
		flip(data, len);
	return 0;
}

static int faulty_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	struct faulty *f = faulty_of(s);
	const struct fault *fault = next_fault(f, FAULT_STAT, key);
	return fault ? fail(f, fault, "look for", key, err) : s->inner->ops->stat(s->inner, key, ret_found, ret_size, err);
}

static int faulty_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	struct faulty *f = faulty_of(s);
	const struct fault *fault = next_fault(f, FAULT_LIST, prefix);
	int result = 0;
	if (!fault || fault->effect == FAULT_LOST)
		result = s->inner->ops->list(s->inner, prefix, fn, cookie, err);
	return fault && result == 0 ? fail(f, fault, "list", prefix, err) : result;
}

static int faulty_remove(struct store *s, const char *key, struct error *err)
{
	struct faulty *f = faulty_of(s);
	const struct fault *fault = next_fault(f, FAULT_REMOVE, key);
	int result = 0;
	if (!fault || fault->effect == FAULT_LOST)
		result = s->inner->ops->remove(s->inner, key, err);
	return fault && result == 0 ? fail(f, fault, "remove", key, err) : result;
}

static int faulty_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct faulty *f = faulty_of(s);
	const struct fault *fault = next_fault(f, FAULT_PUT_COMMIT, key);
	int result = 0;
	if (!fault || fault->effect == FAULT_LOST)
		result = store_replace(s->inner, key, data, len, err);
	return fault && result == 0 ? fail(f, fault, "replace", key, err) : result;
}

static void faulty_close(struct store *s)
{
	pthread_mutex_destroy(&faulty_of(s)->lock);
	wrap_close(s);
}

static const struct store_ops faulty_ops = {
	.name = "fault",
	.put_begin = faulty_put_begin,
	.put_append = faulty_put_append,
	.put_commit = faulty_put_commit,
	.put_abort = wrap_put_abort,
	.get = faulty_get,
	.stat = faulty_stat,
	.list = faulty_list,
	.remove = faulty_remove,
	.replace = faulty_replace,
	.close = faulty_close,
	.sweep = wrap_sweep,
	.reserve = wrap_reserve,
	.facts = wrap_facts,
};

int store_open_fault(struct store **ret, struct store *inner, struct fault *faults, size_t count, struct error *err)
{
	struct faulty *f = wrap_new(sizeof *f, &faulty_ops, inner, err);
	if (!f) {
		store_close(inner);
		return -1;
	}
	f->faults = faults;
	f->count = count;
	pthread_mutex_init(&f->lock, NULL);
	*ret = &f->base;
	return 0;
}
