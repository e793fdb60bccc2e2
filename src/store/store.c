/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/store.h"

#include <string.h>
#include <time.h>

#include "store/kind.h"
#include "store/retry.h"

struct kind {
	const char *scheme; /* the location starts with it */
	int (*open)(struct store **ret, const char *location, enum store_create create, struct error *err);
	bool retry;         /* behind a network: opened through the wrapper that tries again */
	bool locks;         /* its objects can be locked */
};

/* A location without a scheme is a folder. */
static const struct kind kinds[] = {
	{ "file://", store_open_local, false, false },
	{ "sftp://", store_open_sftp, true, false },
	{ "s3://", store_open_s3, false, true }, /* tries single requests again by itself */
};

static bool has_scheme(const char *location)
{
	size_t letters = strspn(location, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
	return letters && strncmp(location + letters, "://", 3) == 0;
}

static int open_kind(const struct kind *kind, struct store **ret, const char *location, enum store_create create, struct error *err)
{
	struct store *s;
	if (kind->open(&s, location, create, err) < 0)
		return -1;
	if (kind->retry)
		return store_open_retry(ret, s, NULL, err);
	*ret = s;
	return 0;
}

/* NULL: by its form it is of no kind in the table. */
static const struct kind *kind_of(const char *location)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strncmp(location, kinds[i].scheme, strlen(kinds[i].scheme)) == 0)
			return &kinds[i];
	return NULL;
}

int store_check_locking(const char *location, struct error *err)
{
	const struct kind *kind = kind_of(location);
	if (kind && kind->locks)
		return 0;
	return error_set(err, ERR_UNSUPPORTED, "%s: objects there cannot be locked; that needs a bucket of S3 with Object Lock (s3://...)", location);
}

int store_open(struct store **ret, const char *location, enum store_create create, struct error *err)
{
	const struct kind *kind = kind_of(location);
	if (kind)
		return open_kind(kind, ret, location, create, err);
	if (has_scheme(location))
		return error_set(err, ERR_UNSUPPORTED, "open %s: this build has no store of that kind; give the path of a folder",
		                 location);
	return store_open_local(ret, location, create, err);
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

void store_set_watch(struct store *s, const struct store_watch *watch)
{
	for (; s; s = s->inner)
		s->watch = watch;
}

int store_make_removals_last(struct store *s, const char *prefix, struct error *err)
{
	for (; s; s = s->inner)
		if (s->ops->make_removals_last)
			return s->ops->make_removals_last(s, prefix, err);
	return 0;
}

void store_unmake(struct store *s)
{
	for (; s; s = s->inner)
		if (s->ops->unmake)
			s->ops->unmake(s);
}

/* The store, or the one below it, that can lock. */
static struct store *locking(struct store *s)
{
	while (s && !s->ops->lock_new)
		s = s->inner;
	return s;
}

bool store_can_lock(struct store *s)
{
	return locking(s) != NULL;
}

void store_lock_new(struct store *s, const struct store_locks *locks)
{
	struct store *at = locking(s);
	if (at)
		at->ops->lock_new(at, locks);
}

int store_extend_lock(struct store *s, const char *key, uint64_t seconds, bool *ret_found, struct error *err)
{
	struct store *at = locking(s);
	if (!at)
		return error_set(err, ERR_UNSUPPORTED, "lock %s/%s: objects there cannot be locked", s->location, key);
	return at->ops->extend_lock(at, key, seconds, ret_found, err);
}

int store_locked_until(struct store *s, const char *key, int64_t *ret, int64_t *ret_now, struct error *err)
{
	struct store *at = locking(s);
	if (at)
		return at->ops->locked_until(at, key, ret, ret_now, err);
	*ret = 0;
	*ret_now = time(NULL);
	return 0;
}

int store_hide(struct store *s, const char *key, struct error *err)
{
	struct store *at = locking(s);
	return at && at->ops->hide ? at->ops->hide(at, key, err) : s->ops->remove(s, key, err);
}

int store_reserve(struct store *s, bool keep, struct error *err)
{
	return s->ops->reserve ? s->ops->reserve(s, keep, err) : 0;
}

int store_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	if (!s->ops->replace)
		return error_set(err, ERR_UNSUPPORTED, "replace %s/%s: this kind of store cannot replace an object at once", s->location, key);
	return s->ops->replace(s, key, data, len, err);
}

int store_facts(struct store *s, struct store_facts *ret, struct error *err)
{
	struct store_facts facts = { 0 };
	if (s->ops->facts && s->ops->facts(s, &facts, err) < 0)
		return -1;
	*ret = facts;
	return 0;
}

bool store_key_valid(const char *key)
{
	size_t len = strlen(key);
	if (!len || len > STORE_KEY_MAX || key[0] == '/' || key[len - 1] == '/')
		return false;
	return strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789/") == len && !strstr(key, "//");
}

bool store_prefix_valid(const char *prefix)
{
	size_t len = strlen(prefix);
	if (!len)
		return true;
	if (len > STORE_KEY_MAX || prefix[len - 1] != '/')
		return false;
	char key[STORE_KEY_MAX + 1];
	memcpy(key, prefix, len - 1);
	key[len - 1] = 0;
	return store_key_valid(key);
}

int store_check_key(const struct store *s, const char *key, struct error *err)
{
	if (store_key_valid(key))
		return 0;
	return error_set(err, ERR_INVALID, "%s: \"%.64s\" cannot be the name of an object", s->location, key);
}

int store_check_prefix(const struct store *s, const char *prefix, struct error *err)
{
	if (store_prefix_valid(prefix))
		return 0;
	return error_set(err, ERR_INVALID, "%s: \"%.64s\" cannot be a folder of objects", s->location, prefix);
}

int store_write(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct store_put *put;
	if (s->ops->put_begin(s, key, len, &put, err) < 0)
		return -1;
	if (s->ops->put_append(put, data, len, err) < 0) {
		s->ops->put_abort(put);
		return -1;
	}
	return s->ops->put_commit(put, err);
}

int store_read(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err)
{
	return s->ops->read ? s->ops->read(s, key, max, ret, err) : store_read_by_parts(s, key, max, ret, err);
}

int store_read_by_parts(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err)
{
	bool found;
	uint64_t size;
	if (s->ops->stat(s, key, &found, &size, err) < 0)
		return -1;
	if (!found)
		return error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", s->location, key);
	if (size > max)
		return error_set(err, ERR_CORRUPT, "read %s/%s: it has %llu bytes, but such an object has at most %zu", s->location,
		                 key, (unsigned long long)size, max);

	CLEAN_BUF struct buf whole = BUF_INIT;
	if (!buf_reserve(&whole, size ? (size_t)size : 1))
		return error_set(err, ERR_NOMEM, "read %s/%s: out of memory", s->location, key);
	if (s->ops->get(s, key, 0, whole.data, (size_t)size, err) < 0)
		return -1;
	whole.len = (size_t)size;

	buf_done(ret);
	*ret = whole;
	whole = (struct buf)BUF_INIT;
	return 0;
}
