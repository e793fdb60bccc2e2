/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What ids became under the keys of another repository: a hash table in a file, so that memory does not grow with it.
 *
 * 64 bytes of head ("2FOLDTBL", le32 version 1, 4 zeros, le64 slots, a power of two; zeros), then slots of 72 bytes: id, what it became, and the first 8 bytes of the keyed hash of both;
 * a free slot is zeros. A slot whose hash does not fit holds nothing: whatever becomes of the file, it tells no wrong id. It is a cache: what it forgets is found out again.
 * Threads: any.
 */
#ifndef REPO_ID_TABLE_H
#define REPO_ID_TABLE_H

#include "base/error.h"
#include "base/id.h"
#include "seal/seal.h"

struct id_table;

/* path NULL: a file without a name, gone with the table. A file that is no table, or has more than max entries (rounded up), is begun anew. keys are borrowed. */
int id_table_open(struct id_table **ret, const char *path, const struct seal_keys *keys, uint64_t max, struct error *err);
void id_table_free(struct id_table *t);
DEFINE_CLEAN(id_table, id_table_free)

int id_table_find(struct id_table *t, const struct id *id, bool *ret_found, struct id *ret, struct error *err);
/* Also replaces. */
int id_table_set(struct id_table *t, const struct id *id, const struct id *became, struct error *err);

#endif
