/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/ids.h"

#include <stdlib.h>

#include "repo/object.h"

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, ID_SIZE);
}

static int note_id(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	struct id id;
	if (object_id_of_key(key, &id))
		buf_add(cookie, id.b, ID_SIZE);
	return 0;
}

int ids_list(struct store *store, const char *prefix, struct buf *ret, struct error *err)
{
	if (store->ops->list(store, prefix, note_id, ret, err) < 0)
		return -1;
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "list %s: out of memory", prefix);
}

void ids_order(struct buf *ids)
{
	size_t kept = 0;
	if (!ids->len)
		return;
	qsort(ids->data, ids->len / ID_SIZE, ID_SIZE, by_bytes);
	for (size_t at = 0; at < ids->len; at += ID_SIZE) {
		if (kept && memcmp(ids->data + kept - ID_SIZE, ids->data + at, ID_SIZE) == 0)
			continue;
		memmove(ids->data + kept, ids->data + at, ID_SIZE);
		kept += ID_SIZE;
	}
	ids->len = kept;
}

bool ids_have(const struct buf *ids, const struct id *id)
{
	return ids->len && bsearch(id->b, ids->data, ids->len / ID_SIZE, ID_SIZE, by_bytes);
}
