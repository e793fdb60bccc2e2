/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/leftovers.h"

#include "repo/ids.h"
#include "repo/locks.h"
#include "repo/object.h"
#include "repo/rows.h"
#include "repo/sessions.h"
#include "repo/unfinished.h"

#define TEMPORARY_MIN_AGE (24 * 3600) /* seconds: younger ones may belong to a machine that writes at this moment */

struct found_pack {
	struct id id;
	uint64_t size;
};

static int note_pack(void *cookie, const char *key, uint64_t size)
{
	struct found_pack found = { .size = size };
	if (object_id_of_key(key, &found.id))
		buf_add(cookie, &found, sizeof found);
	return 0;
}

/* Stores the rows as a segment, and empties them. */
static int index_rows(struct repo *r, const struct id *session, struct segment_rows *rows, struct error *err)
{
	CLEAN_BUF struct buf segment = BUF_INIT;
	struct id id;
	seal_random(id.b, ID_SIZE);
	if (segment_rows_encode(rows, session, &segment, err) < 0 ||
	    object_write(r->store, r->keys, SEAL_INDEX, &id, session, segment.data, segment.len, err) < 0)
		return -1;
	segment_rows_done(rows);
	return index_add(r->index, &id, segment.data, segment.len, err);
}

int leftovers_index(struct repo *r, const struct id *session, const struct marks *marks, uint64_t *ret_packs, struct error *err)
{
	CLEAN(segment_rows_done) struct segment_rows rows = SEGMENT_ROWS_INIT;
	CLEAN_BUF struct buf packs = BUF_INIT, known = BUF_INIT;
	if (r->store->ops->list(r->store, "packs/", note_pack, &packs, err) < 0 || index_packs(r->index, &known, err) < 0)
		return -1;
	if (!buf_ok(&packs))
		return error_set(err, ERR_NOMEM, "out of memory");
	const struct found_pack *found = (const void *)packs.data;
	for (size_t i = 0; i < packs.len / sizeof *found; i++) {
		struct pack_table table = { 0 };
		enum seal_kind kind;
		/* A pack that cannot be read is nothing to rely on; check names it. */
		if (ids_have(&known, &found[i].id) || ids_have(&marks->packs, &found[i].id) || repo_read_pack_table(r, &found[i].id, found[i].size, &kind, &table, NULL) < 0)
			continue;
		segment_rows_add(&rows, &found[i].id, kind, found[i].size, &table);
		pack_table_done(&table);
		/* Its writer may have died before it could. */
		if (locks_extend_pack(r, &found[i].id, err) < 0)
			return -1;
		++*ret_packs;
		if (segment_rows_chunks(&rows) >= SEGMENT_ROWS_CHUNKS && index_rows(r, session, &rows, err) < 0)
			return -1;
	}
	return segment_rows_chunks(&rows) ? index_rows(r, session, &rows, err) : 0;
}

int leftovers_adopt(struct repo *r, const struct id *session, const struct marks *marks, uint64_t *ret_packs, struct error *err)
{
	CLEAN(session_list_done) struct session_list others = { 0 };
	uint64_t removed;
	bool ended = false;
	*ret_packs = 0;
	/* Judged before the packs are listed: what a process wrote before it went is then in the list. */
	if (session_list_read(&others, r, session, SESSION_FENCE_SECONDS, err) < 0)
		return error_add(err, "look for interrupted runs");
	if (!others.count)
		return 0;
	if (leftovers_index(r, session, marks, ret_packs, err) < 0)
		return error_add(err, "index what an interrupted run left behind");
	for (size_t i = 0; i < others.count; i++)
		if (others.items[i].state == SESSION_GONE) {
			unfinished_note(r, &others.items[i].session, &others.items[i].document, NULL);
			session_delete(r, &others, &others.items[i].session, NULL);
			ended = true;
		}
	if (ended && r->store->ops->sweep)
		r->store->ops->sweep(r->store, TEMPORARY_MIN_AGE, &removed, NULL);
	return 0;
}
