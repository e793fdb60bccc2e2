/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Taking objects out of the way, and putting healed ones in their place. */
#include <stdio.h>
#include <stdlib.h>

#include "repo/repair_internal.h"

#define STEP (1u << 20)
#define SECTOR 4096u
#define ASIDE_MAX 9 /* parity_store.c looks as far */

/* The first place that is free. */
static int choose_place(struct store *store, const char *name, char ret[OBJECT_KEY_MAX + 16], struct error *err)
{
	for (int i = 1; i <= ASIDE_MAX; i++) {
		bool found;
		uint64_t size;
		snprintf(ret, OBJECT_KEY_MAX + 16, "aside/%d/%s", i, name);
		if (store->ops->stat(store, ret, &found, &size, err) < 0)
			return -1;
		if (!found)
			return 0;
	}
	return error_set(err, ERR_EXISTS, "%s was put aside %d times already; see twofold repair --discard-aside", name, ASIDE_MAX);
}

/* What cannot be read is zeros. */
static void read_what_can_be(struct store *store, const char *name, uint64_t at, uint8_t *to, size_t len)
{
	if (store->ops->get(store, name, at, to, len, NULL) == 0)
		return;
	for (size_t i = 0; i < len; i += SECTOR) {
		size_t n = len - i < SECTOR ? len - i : SECTOR;
		if (store->ops->get(store, name, at + i, to + i, n, NULL) < 0)
			memset(to + i, 0, n);
	}
}

static int copy_aside(struct store *store, const char *name, uint64_t size, struct error *err)
{
	CLEAN_FREE uint8_t *bytes = malloc(STEP);
	char place[OBJECT_KEY_MAX + 16];
	struct store_put *put = NULL;
	if (!bytes)
		return error_set(err, ERR_NOMEM, "put %s aside: out of memory", name);
	if (choose_place(store, name, place, err) < 0 || store->ops->put_begin(store, place, size, &put, err) < 0)
		return -1;
	for (uint64_t at = 0; at < size; at += STEP) {
		size_t n = size - at < STEP ? (size_t)(size - at) : STEP;
		read_what_can_be(store, name, at, bytes, n);
		if (store->ops->put_append(put, bytes, n, err) < 0) {
			store->ops->put_abort(put);
			return -1;
		}
	}
	return store->ops->put_commit(put, err);
}

int repair_put_aside(struct store *store, const char *name, struct error *err)
{
	bool found;
	uint64_t size;
	if (store->ops->stat(store, name, &found, &size, err) < 0)
		return -1;
	if (!found)
		return 0;
	if (copy_aside(store, name, size, err) < 0 || store_hide(store, name, err) < 0)
		return error_add(err, "put %s aside", name);
	return 0;
}

static int copy_healed(struct store *source, const char *name, uint64_t size, struct store_put *put, struct error *err)
{
	CLEAN_FREE uint8_t *bytes = malloc(STEP);
	if (!bytes)
		return error_set(err, ERR_NOMEM, "heal %s: out of memory", name);
	for (uint64_t at = 0; at < size; at += STEP) {
		size_t n = size - at < STEP ? (size_t)(size - at) : STEP;
		if (source->ops->get(source, name, at, bytes, n, err) < 0 || put->store->ops->put_append(put, bytes, n, err) < 0)
			return -1;
	}
	return 0;
}

int repair_replace(struct store *store, struct store *source, const char *name, uint64_t size, struct error *err)
{
	struct store_put *put = NULL;
	if (store->ops->put_begin(store, name, size, &put, err) < 0)
		return -1;
	/* All of it is read before the old object goes, since its good pieces may be part of it. */
	if (copy_healed(source, name, size, put, err) < 0 || repair_put_aside(store, name, err) < 0) {
		store->ops->put_abort(put);
		return error_add(err, "heal %s", name);
	}
	return store->ops->put_commit(put, err) < 0 ? error_add(err, "heal %s", name) : 0;
}

static int note_name(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	buf_add(cookie, key, strlen(key) + 1);
	return 0;
}

int repair_discard_aside(struct store *store, uint64_t *ret, struct error *err)
{
	CLEAN_BUF struct buf names = BUF_INIT;
	uint64_t count = 0;
	if (store->ops->list(store, "aside/", note_name, &names, err) < 0)
		return error_add(err, "list what was put aside");
	if (!buf_ok(&names))
		return error_set(err, ERR_NOMEM, "list what was put aside: out of memory");
	for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1, count++)
		if (store->ops->remove(store, (const char *)names.data + at, err) < 0)
			return error_add(err, "remove what was put aside");
	*ret = count;
	return 0;
}
