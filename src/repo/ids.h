/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sets of ids: a struct buf that holds them one after the other. Those that are looked up in are ascending, each id once (ids_order). Threads: as for any struct buf. */
#ifndef REPO_IDS_H
#define REPO_IDS_H

#include <string.h>

#include "base/buf.h"
#include "base/id.h"
#include "store/store.h"

/* Appends the ids of all objects that the store lists under prefix, in its order. Names that are no ids are passed over. */
int ids_list(struct store *store, const char *prefix, struct buf *ret, struct error *err);
/* Sorts, and drops what is there twice. */
void ids_order(struct buf *ids);
/* ids: ordered. */
bool ids_have(const struct buf *ids, const struct id *id);

static inline struct id ids_at(const struct buf *ids, size_t i)
{
	struct id id;
	memcpy(id.b, ids->data + i * ID_SIZE, ID_SIZE);
	return id;
}

#endif
