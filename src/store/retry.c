/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/retry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "store/kind.h"
#include "store/wrap.h"

#define SLICE 50u /* milliseconds between two looks at the stop flag */

struct retry_policy retry_usual(void)
{
	struct retry_policy p = { .tries = 20, .first = 500, .longest = 20000, .total = 300000 };
	const char *text = getenv("TWOFOLD_RETRY_SECONDS");
	char *end;
	unsigned long seconds = text && *text ? strtoul(text, &end, 10) : 0;
	if (text && *text && !*end && seconds <= 86400)
		p.total = (unsigned)seconds * 1000;
	return p;
}

static uint64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool stopped(const struct store *s)
{
	return s->watch && s->watch->stop && atomic_load_explicit(s->watch->stop, memory_order_relaxed);
}

void retry_begin(struct retry *r, const struct store *s, const struct retry_policy *policy)
{
	*r = (struct retry){ .store = s, .policy = policy ? *policy : retry_usual() };
}

/* A random part of first * 2^(failed-1), capped. */
static unsigned next_pause(const struct retry *r)
{
	unsigned top = r->policy.first;
	for (unsigned i = 1; i < r->failed && top < r->policy.longest; i++)
		top *= 2;
	if (top > r->policy.longest)
		top = r->policy.longest;
	uint32_t random = 0;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return top;
	return (unsigned)((uint64_t)random * top >> 32);
}

static bool pause_for(const struct store *s, unsigned pause)
{
	for (uint64_t end = now_ms() + pause, now; !stopped(s) && (now = now_ms()) < end;) {
		unsigned left = end - now < SLICE ? (unsigned)(end - now) : SLICE;
		struct timespec ts = { 0, (long)left * 1000000 };
		nanosleep(&ts, NULL);
	}
	return !stopped(s);
}

static bool give_up(const struct retry *r, struct error *err)
{
	err->passing = false;
	if (r->failed < 2)
		return false;
	size_t used = strlen(err->text);
	snprintf(err->text + used, sizeof err->text - used, " (tried %u times in %llu s)", r->failed,
	         (unsigned long long)(now_ms() - r->since + 500) / 1000);
	return false;
}

bool retry_again(struct retry *r, struct error *err)
{
	uint64_t now = now_ms();
	if (!err->passing)
		return false;
	if (!r->failed++)
		r->since = now;
	unsigned pause = next_pause(r);
	if (r->failed >= r->policy.tries || now - r->since + pause >= r->policy.total)
		return give_up(r, err);
	if (r->store->watch && r->store->watch->waiting)
		r->store->watch->waiting(r->store->watch->cookie, err, r->failed, pause);
	if (pause_for(r->store, pause))
		return true;
	err->kind = ERR_CANCELLED;
	err->passing = false;
	error_add(err, "stopped while the store did not answer");
	return false;
}

/* --- the wrapper ----------------------------------------------------------------- */

struct retrying {
	struct store base;
	struct retry_policy policy;
};

struct retrying_put {
	struct store_put base;
	char *key;
	uint64_t hint, size;
	struct buf kept;          /* all that was appended, while inner is NULL */
	struct store_put *inner;  /* NULL while the object is small */
};

static void begin(struct retry *r, struct store *s)
{
	retry_begin(r, s, &((struct retrying *)s)->policy);
}

static int report(struct error *err, const struct error *why)
{
	if (err)
		*err = *why;
	return -1;
}

static void put_free(struct retrying_put *put)
{
	buf_done(&put->kept);
	free(put->key);
	free(put);
}

/* Starts the put in the inner store, with what was kept so far. */
static int stream(struct retrying_put *put, struct error *err)
{
	struct store *s = put->base.store, *inner = s->inner;
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		struct store_put *started = NULL;
		if (inner->ops->put_begin(inner, put->key, put->hint, &started, &why) < 0)
			continue;
		if (!put->kept.len || inner->ops->put_append(started, put->kept.data, put->kept.len, &why) == 0) {
			put->inner = started;
			buf_done(&put->kept);
			return 0;
		}
		inner->ops->put_abort(started);
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct retrying_put *put = calloc(1, sizeof *put);
	char *name = strdup(key);
	if (!put || !name) {
		free(put);
		free(name);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	}
	*put = (struct retrying_put){ .base = { s }, .key = name, .hint = size_hint };
	if (size_hint > RETRY_KEEP && stream(put, err) < 0) {
		put_free(put);
		return -1;
	}
	*ret = &put->base;
	return 0;
}

static int retrying_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct retrying_put *put = (struct retrying_put *)p;
	if (!put->inner && len > RETRY_KEEP - put->kept.len && stream(put, err) < 0)
		return -1;
	put->size += len;
	if (put->inner)
		return put->inner->store->ops->put_append(put->inner, data, len, err);
	buf_add(&put->kept, data, len);
	return buf_ok(&put->kept) ? 0 : error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
}

static void retrying_put_abort(struct store_put *p)
{
	struct retrying_put *put = (struct retrying_put *)p;
	if (put->inner)
		put->inner->store->ops->put_abort(put->inner);
	put_free(put);
}

/* Whether the object holds exactly these bytes: the answer to an earlier try was lost. */
static bool is_ours(struct store *s, const char *key, const struct buf *wanted)
{
	CLEAN_BUF struct buf there = BUF_INIT;
	if (store_read(s, key, wanted->len, &there, NULL) < 0 || there.len != wanted->len)
		return false;
	return !there.len || (there.data && wanted->data && memcmp(there.data, wanted->data, there.len) == 0);
}

static int write_kept(struct retrying_put *put, struct error *err)
{
	struct store *s = put->base.store;
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		if (store_write(s->inner, put->key, put->kept.data ? (const void *)put->kept.data : "", put->kept.len, &why) == 0)
			return 0;
		if (why.kind == ERR_EXISTS && r.failed && is_ours(s, put->key, &put->kept))
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err);

static int commit_streamed(struct retrying_put *put, struct error *err)
{
	struct store *s = put->base.store;
	struct store_put *inner = TAKE(put->inner);
	struct error why = { 0 };
	bool found;
	uint64_t size;
	if (inner->store->ops->put_commit(inner, &why) == 0)
		return 0;
	if (why.passing && retrying_stat(s, put->key, &found, &size, NULL) == 0 && found && size == put->size)
		return 0;
	why.passing = false;
	return report(err, &why);
}

static int retrying_put_commit(struct store_put *p, struct error *err)
{
	struct retrying_put *put = (struct retrying_put *)p;
	int result = put->inner ? commit_streamed(put, err) : write_kept(put, err);
	put_free(put);
	return result;
}

static int retrying_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		if (s->inner->ops->get(s->inner, key, offset, data, len, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_read(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	if (!s->inner->ops->read)
		return store_read_by_parts(s, key, max, ret, err);
	begin(&r, s);
	do {
		if (store_read(s->inner, key, max, ret, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		if (s->inner->ops->stat(s->inner, key, ret_found, ret_size, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

struct listing {
	store_list_fn fn;
	void *cookie;
	bool any, stopped; /* fn was called; and returned nonzero */
};

static int pass_on(void *cookie, const char *key, uint64_t size)
{
	struct listing *l = cookie;
	l->any = true;
	int result = l->fn(l->cookie, key, size);
	l->stopped = result != 0;
	return result;
}

static int retrying_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	struct listing l = { fn, cookie, false, false };
	struct error why = { 0 };
	struct retry r;
	int result;
	begin(&r, s);
	do {
		result = s->inner->ops->list(s->inner, prefix, pass_on, &l, &why);
		if (result == 0 || l.stopped)
			return result;
	} while (!l.any && retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_remove(struct store *s, const char *key, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		if (s->inner->ops->remove(s->inner, key, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_sweep(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	*ret_removed = 0;
	if (!s->inner->ops->sweep)
		return 0;
	begin(&r, s);
	do {
		if (s->inner->ops->sweep(s->inner, min_age, ret_removed, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_reserve(struct store *s, bool keep, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		if (store_reserve(s->inner, keep, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		if (store_replace(s->inner, key, data, len, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static int retrying_facts(struct store *s, struct store_facts *ret, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	begin(&r, s);
	do {
		if (store_facts(s->inner, ret, &why) == 0)
			return 0;
	} while (retry_again(&r, &why));
	return report(err, &why);
}

static const struct store_ops retry_ops = {
	.name = "retry",
	.put_begin = retrying_put_begin,
	.put_append = retrying_put_append,
	.put_commit = retrying_put_commit,
	.put_abort = retrying_put_abort,
	.get = retrying_get,
	.read = retrying_read,
	.stat = retrying_stat,
	.list = retrying_list,
	.remove = retrying_remove,
	.close = wrap_close,
	.sweep = retrying_sweep,
	.reserve = retrying_reserve,
	.replace = retrying_replace,
	.facts = retrying_facts,
};

int store_open_retry(struct store **ret, struct store *inner, const struct retry_policy *policy, struct error *err)
{
	struct retrying *s = wrap_new(sizeof *s, &retry_ops, inner, err);
	if (!s) {
		store_close(inner);
		return -1;
	}
	s->policy = policy ? *policy : retry_usual();
	*ret = &s->base;
	return 0;
}
