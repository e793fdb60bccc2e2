/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store in memory: objects in a vector that is sorted by key. For tests. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "store/kind.h"

struct object {
	char *key;
	uint8_t *data;
	size_t size;
};

struct memory {
	struct store base;
	pthread_mutex_t lock; /* guards objects and count */
	struct object *objects;
	size_t count;
};

struct memory_put {
	struct store_put base;
	char *key;
	struct buf data;
};

static struct memory *memory_of(struct store *s)
{
	return (struct memory *)s;
}

/* Where key is, or would have to be put. */
static size_t place(const struct memory *m, const char *key, bool *ret_found)
{
	size_t low = 0, high = m->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(m->objects[middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = low < m->count && strcmp(m->objects[low].key, key) == 0;
	return low;
}

static void put_free(struct memory_put *put)
{
	free(put->key);
	buf_done(&put->data);
	free(put);
}

static int memory_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	(void)size_hint;
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct memory_put *put = calloc(1, sizeof *put);
	char *name = strdup(key);
	if (!put || !name) {
		free(put);
		free(name);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	}
	put->base.store = s;
	put->key = name;
	*ret = &put->base;
	return 0;
}

static int memory_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct memory_put *put = (struct memory_put *)p;
	buf_add(&put->data, data, len);
	return buf_ok(&put->data) ? 0 : error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
}

static void memory_put_abort(struct store_put *p)
{
	put_free((struct memory_put *)p);
}

/* Moves key and data of put into the vector. */
static int insert(struct memory *m, struct memory_put *put, struct error *err)
{
	bool found;
	size_t at = place(m, put->key, &found);
	if (found)
		return error_set(err, ERR_EXISTS, "write %s/%s: it is there already", m->base.location, put->key);
	struct object *grown = realloc(m->objects, (m->count + 1) * sizeof *grown);
	if (!grown)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	m->objects = grown;
	memmove(grown + at + 1, grown + at, (m->count - at) * sizeof *grown);
	grown[at] = (struct object){ TAKE(put->key), TAKE(put->data.data), put->data.len };
	m->count++;
	return 0;
}

static int memory_put_commit(struct store_put *p, struct error *err)
{
	struct memory_put *put = (struct memory_put *)p;
	struct memory *m = memory_of(p->store);
	pthread_mutex_lock(&m->lock);
	int result = insert(m, put, err);
	pthread_mutex_unlock(&m->lock);
	put_free(put);
	return result;
}

static int memory_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct memory *m = memory_of(s);
	int result = 0;
	pthread_mutex_lock(&m->lock);
	bool found;
	size_t at = place(m, key, &found);
	if (!found)
		result = error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", s->location, key);
	else if (offset > m->objects[at].size || len > m->objects[at].size - offset)
		result = error_set(err, ERR_CORRUPT, "read %s/%s: it ends after %zu bytes", s->location, key, m->objects[at].size);
	else if (len)
		memcpy(data, m->objects[at].data + offset, len);
	pthread_mutex_unlock(&m->lock);
	return result;
}

static int memory_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct memory *m = memory_of(s);
	pthread_mutex_lock(&m->lock);
	size_t at = place(m, key, ret_found);
	*ret_size = *ret_found ? m->objects[at].size : 0;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

struct listed {
	char *key;
	uint64_t size;
};

/* Copies what is below prefix, because fn may call the store. -1: out of memory. */
static int copy_list(struct memory *m, const char *prefix, struct listed **ret, size_t *ret_count)
{
	*ret = calloc(m->count + 1, sizeof **ret);
	*ret_count = 0;
	if (!*ret)
		return -1;
	for (size_t i = 0; i < m->count; i++) {
		if (strncmp(m->objects[i].key, prefix, strlen(prefix)) != 0)
			continue;
		struct listed one = { strdup(m->objects[i].key), m->objects[i].size };
		if (!one.key)
			return -1;
		(*ret)[(*ret_count)++] = one;
	}
	return 0;
}

static int memory_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	if (store_check_prefix(s, prefix, err) < 0)
		return -1;
	struct memory *m = memory_of(s);
	struct listed *found = NULL;
	size_t count = 0;
	pthread_mutex_lock(&m->lock);
	int result = copy_list(m, prefix, &found, &count);
	pthread_mutex_unlock(&m->lock);
	if (result < 0)
		error_set(err, ERR_NOMEM, "list %s/%s: out of memory", s->location, prefix);
	for (size_t i = 0; i < count; i++) {
		if (!result)
			result = fn(cookie, found[i].key, found[i].size);
		free(found[i].key);
	}
	free(found);
	return result;
}

static int memory_remove(struct store *s, const char *key, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct memory *m = memory_of(s);
	pthread_mutex_lock(&m->lock);
	bool found;
	size_t at = place(m, key, &found);
	if (found) {
		free(m->objects[at].key);
		free(m->objects[at].data);
		memmove(m->objects + at, m->objects + at + 1, (m->count - at - 1) * sizeof *m->objects);
		m->count--;
	}
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int memory_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct store_put *put;
	if (memory_put_begin(s, key, len, &put, err) < 0)
		return -1;
	struct memory_put *own = (struct memory_put *)put;
	if (memory_put_append(put, data, len, err) < 0) {
		put_free(own);
		return -1;
	}
	struct memory *m = memory_of(s);
	bool found;
	int result = 0;
	pthread_mutex_lock(&m->lock);
	size_t at = place(m, key, &found);
	if (found) {
		free(m->objects[at].data);
		m->objects[at].data = TAKE(own->data.data);
		m->objects[at].size = own->data.len;
	} else {
		result = insert(m, own, err);
	}
	pthread_mutex_unlock(&m->lock);
	put_free(own);
	return result;
}

static void memory_close(struct store *s)
{
	struct memory *m = memory_of(s);
	for (size_t i = 0; i < m->count; i++) {
		free(m->objects[i].key);
		free(m->objects[i].data);
	}
	free(m->objects);
	pthread_mutex_destroy(&m->lock);
	free(s->location);
	free(m);
}

static const struct store_ops memory_ops = {
	.name = "memory",
	.put_begin = memory_put_begin,
	.put_append = memory_put_append,
	.put_commit = memory_put_commit,
	.put_abort = memory_put_abort,
	.get = memory_get,
	.stat = memory_stat,
	.list = memory_list,
	.remove = memory_remove,
	.replace = memory_replace,
	.close = memory_close,
};

int store_open_memory(struct store **ret, struct error *err)
{
	struct memory *m = calloc(1, sizeof *m);
	char *location = strdup("memory");
	if (!m || !location) {
		free(m);
		free(location);
		return error_set(err, ERR_NOMEM, "open a store in memory: out of memory");
	}
	m->base = (struct store){ .ops = &memory_ops, .location = location,
		                  .promises = { .atomic_put = true, .conditional_put = true, .durable_put = true, .commits = 1 } };
	pthread_mutex_init(&m->lock, NULL);
	*ret = &m->base;
	return 0;
}
