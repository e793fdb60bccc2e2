/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/journal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/kind.h"

/* Shared by all journals that have the object. */
struct bytes {
	atomic_uint users;
	size_t size;
	uint8_t data[];
};

struct object {
	char *key;
	struct bytes *bytes;
};

struct journal {
	pthread_mutex_t lock; /* guards all below */
	struct object *objects; /* sorted by key */
	size_t count;
	struct buf calls;       /* of struct journal_call */
};

struct view {
	struct store base;
	struct journal *journal;
};

struct view_put {
	struct store_put base;
	char *key;
	struct buf data;
};

static struct journal *journal_of(struct store *s)
{
	return ((struct view *)s)->journal;
}

/* --- objects ----------------------------------------------------------------------- */

static void bytes_drop(struct bytes *b)
{
	if (b && atomic_fetch_sub(&b->users, 1) == 1)
		free(b);
}

static struct bytes *bytes_new(const void *data, size_t size)
{
	struct bytes *b = malloc(sizeof *b + size);
	if (!b)
		return NULL;
	atomic_init(&b->users, 1);
	b->size = size;
	if (size)
		memcpy(b->data, data, size);
	return b;
}

/* Where key is, or would have to be put. */
static size_t place(const struct journal *j, const char *key, bool *ret_found)
{
	size_t low = 0, high = j->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(j->objects[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = low < j->count && strcmp(j->objects[low].key, key) == 0;
	return low;
}

/* With the lock held. */
static void note(struct journal *j, enum journal_op op, const char *key, uint64_t size, bool failed)
{
	struct journal_call call = { .op = op, .size = size, .failed = failed };
	snprintf(call.key, sizeof call.key, "%s", key);
	buf_add(&j->calls, &call, sizeof call);
}

static void note_locked(struct journal *j, enum journal_op op, const char *key, uint64_t size)
{
	pthread_mutex_lock(&j->lock);
	note(j, op, key, size, false);
	pthread_mutex_unlock(&j->lock);
}

/* --- life --------------------------------------------------------------------------- */

int journal_new(struct journal **ret, struct error *err)
{
	struct journal *j = calloc(1, sizeof *j);
	if (!j)
		return error_set(err, ERR_NOMEM, "make a journal: out of memory");
	pthread_mutex_init(&j->lock, NULL);
	*ret = j;
	return 0;
}

int journal_copy(struct journal **ret, const struct journal *from, struct error *err)
{
	CLEAN(journal_cleanup) struct journal *j = NULL;
	if (journal_new(&j, err) < 0)
		return -1;
	j->objects = calloc(from->count + 1, sizeof *j->objects);
	if (!j->objects)
		return error_set(err, ERR_NOMEM, "copy a journal: out of memory");
	for (size_t i = 0; i < from->count; i++) {
		struct object *o = &j->objects[i];
		o->key = strdup(from->objects[i].key);
		if (!o->key)
			return error_set(err, ERR_NOMEM, "copy a journal: out of memory");
		o->bytes = from->objects[i].bytes;
		atomic_fetch_add(&o->bytes->users, 1);
		j->count++;
	}
	*ret = TAKE(j);
	return 0;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	for (size_t i = 0; i < j->count; i++) {
		free(j->objects[i].key);
		bytes_drop(j->objects[i].bytes);
	}
	free(j->objects);
	buf_done(&j->calls);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

size_t journal_calls(const struct journal *j)
{
	return j->calls.len / sizeof(struct journal_call);
}

const struct journal_call *journal_call(const struct journal *j, size_t i)
{
	return (const struct journal_call *)(const void *)j->calls.data + i;
}

uint64_t journal_written(const struct journal *j, const char *prefix)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < journal_calls(j); i++) {
		const struct journal_call *c = journal_call(j, i);
		if (c->op == JOURNAL_COMMIT && !c->failed && strncmp(c->key, prefix, strlen(prefix)) == 0)
			sum += c->size;
	}
	return sum;
}

size_t journal_objects(const struct journal *j, const char *prefix)
{
	size_t count = 0;
	for (size_t i = 0; i < j->count; i++)
		count += strncmp(j->objects[i].key, prefix, strlen(prefix)) == 0;
	return count;
}

int journal_damage(struct journal *j, const char *key, uint64_t at, bool cut, struct error *err)
{
	bool found;
	size_t i = place(j, key, &found);
	if (!found)
		return error_set(err, ERR_NOT_FOUND, "damage %s: there is no such object", key);
	struct object *o = &j->objects[i];
	struct bytes *changed = bytes_new(o->bytes->data, cut ? o->bytes->size / 2 : o->bytes->size);
	if (!changed)
		return error_set(err, ERR_NOMEM, "damage %s: out of memory", key);
	if (!cut && changed->size)
		changed->data[at % changed->size] ^= 0x20;
	bytes_drop(o->bytes);
	o->bytes = changed;
	return 0;
}

/* --- the store ------------------------------------------------------------------------- */

static void put_free(struct view_put *put)
{
	free(put->key);
	buf_done(&put->data);
	free(put);
}

static int view_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	(void)size_hint;
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct view_put *put = calloc(1, sizeof *put);
	char *name = strdup(key);
	if (!put || !name) {
		free(put);
		free(name);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	}
	note_locked(journal_of(s), JOURNAL_BEGIN, key, 0);
	put->base.store = s;
	put->key = name;
	*ret = &put->base;
	return 0;
}

static int view_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct view_put *put = (struct view_put *)p;
	note_locked(journal_of(p->store), JOURNAL_APPEND, put->key, len);
	buf_add(&put->data, data, len);
	return buf_ok(&put->data) ? 0 : error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
}

static void view_put_abort(struct store_put *p)
{
	struct view_put *put = (struct view_put *)p;
	note_locked(journal_of(p->store), JOURNAL_ABORT, put->key, put->data.len);
	put_free(put);
}

/* With the lock held. Moves the key of put into the journal. */
static int insert(struct journal *j, struct view_put *put, struct error *err)
{
	bool found;
	size_t at = place(j, put->key, &found);
	note(j, JOURNAL_COMMIT, put->key, put->data.len, found);
	if (found)
		return error_set(err, ERR_EXISTS, "write %s: it is there already", put->key);
	struct bytes *bytes = bytes_new(put->data.data, put->data.len);
	struct object *grown = realloc(j->objects, (j->count + 1) * sizeof *grown);
	if (grown)
		j->objects = grown;
	if (!grown || !bytes) {
		bytes_drop(bytes);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	}
	memmove(grown + at + 1, grown + at, (j->count - at) * sizeof *grown);
	grown[at] = (struct object){ TAKE(put->key), bytes };
	j->count++;
	return 0;
}

static int view_put_commit(struct store_put *p, struct error *err)
{
	struct view_put *put = (struct view_put *)p;
	struct journal *j = journal_of(p->store);
	pthread_mutex_lock(&j->lock);
	int result = insert(j, put, err);
	pthread_mutex_unlock(&j->lock);
	put_free(put);
	return result;
}

static int view_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct journal *j = journal_of(s);
	int result = 0;
	bool found;
	pthread_mutex_lock(&j->lock);
	size_t at = place(j, key, &found);
	note(j, JOURNAL_GET, key, len, !found);
	if (!found)
		result = error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", s->location, key);
	else if (offset > j->objects[at].bytes->size || len > j->objects[at].bytes->size - offset)
		result = error_set(err, ERR_CORRUPT, "read %s/%s: it ends after %zu bytes", s->location, key, j->objects[at].bytes->size);
	else if (len)
		memcpy(data, j->objects[at].bytes->data + offset, len);
	pthread_mutex_unlock(&j->lock);
	return result;
}

static int view_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct journal *j = journal_of(s);
	pthread_mutex_lock(&j->lock);
	size_t at = place(j, key, ret_found);
	*ret_size = *ret_found ? j->objects[at].bytes->size : 0;
	note(j, JOURNAL_STAT, key, *ret_size, !*ret_found);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

/* With the lock held. Copies what is below prefix, since fn may call the store: keys with their zeros, each after its size. */
static void copy_list(struct journal *j, const char *prefix, struct buf *ret)
{
	bool found;
	for (size_t i = place(j, prefix, &found); i < j->count && strncmp(j->objects[i].key, prefix, strlen(prefix)) == 0; i++) {
		uint64_t size = j->objects[i].bytes->size;
		buf_add(ret, &size, sizeof size);
		buf_add(ret, j->objects[i].key, strlen(j->objects[i].key) + 1);
	}
}

static int view_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	if (store_check_prefix(s, prefix, err) < 0)
		return -1;
	struct journal *j = journal_of(s);
	CLEAN_BUF struct buf found = BUF_INIT;
	pthread_mutex_lock(&j->lock);
	copy_list(j, prefix, &found);
	note(j, JOURNAL_LIST, prefix, 0, false);
	pthread_mutex_unlock(&j->lock);
	if (!buf_ok(&found))
		return error_set(err, ERR_NOMEM, "list %s: out of memory", prefix);
	int result = 0;
	for (size_t at = 0; !result && at < found.len;) {
		uint64_t size;
		memcpy(&size, found.data + at, sizeof size);
		const char *key = (const char *)found.data + at + sizeof size;
		at += sizeof size + strlen(key) + 1;
		result = fn(cookie, key, size);
	}
	return result;
}

static int view_remove(struct store *s, const char *key, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct journal *j = journal_of(s);
	bool found;
	pthread_mutex_lock(&j->lock);
	size_t at = place(j, key, &found);
	note(j, JOURNAL_REMOVE, key, found ? j->objects[at].bytes->size : 0, !found);
	if (found) {
		free(j->objects[at].key);
		bytes_drop(j->objects[at].bytes);
		memmove(j->objects + at, j->objects + at + 1, (j->count - at - 1) * sizeof *j->objects);
		j->count--;
	}
	pthread_mutex_unlock(&j->lock);
	return 0;
}

static int view_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct journal *j = journal_of(s);
	bool found;
	struct bytes *bytes = bytes_new(data, len);
	if (!bytes)
		return error_set(err, ERR_NOMEM, "replace %s: out of memory", key);
	pthread_mutex_lock(&j->lock);
	size_t at = place(j, key, &found);
	note(j, JOURNAL_COMMIT, key, len, !found);
	if (found) {
		bytes_drop(j->objects[at].bytes);
		j->objects[at].bytes = bytes;
	}
	pthread_mutex_unlock(&j->lock);
	if (found)
		return 0;
	bytes_drop(bytes);
	return store_write(s, key, data, len, err);
}

static void view_close(struct store *s)
{
	free(s->location);
	free(s);
}

static const struct store_ops view_ops = {
	.name = "journal",
	.put_begin = view_put_begin,
	.put_append = view_put_append,
	.put_commit = view_put_commit,
	.put_abort = view_put_abort,
	.get = view_get,
	.stat = view_stat,
	.list = view_list,
	.remove = view_remove,
	.replace = view_replace,
	.close = view_close,
};

int store_open_journal(struct store **ret, struct journal *j, struct error *err)
{
	struct view *v = calloc(1, sizeof *v);
	char *location = strdup("journal");
	if (!v || !location) {
		free(v);
		free(location);
		return error_set(err, ERR_NOMEM, "open a journal: out of memory");
	}
	v->base = (struct store){ .ops = &view_ops, .location = location,
		                  .promises = { .atomic_put = true, .conditional_put = true, .durable_put = true, .commits = 2 } };
	v->journal = j;
	*ret = &v->base;
	return 0;
}
