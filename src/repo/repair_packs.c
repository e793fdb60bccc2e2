/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Packs that no segment names, and packs that cannot be healed. The latter are marked by a tombstone first, as a collector marks what it deletes: whoever begins to write from then on does not rely on them; and they are touched only while
 * no session is at work that may have relied on them before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "repo/format/pack.h"
#include "repo/leftovers.h"
#include "repo/repair_internal.h"
#include "repo/rows.h"
#include "repo/sessions.h"

/* A chunk of a pack that is given up. */
struct piece {
	struct id pack, id;
	enum seal_kind kind;
	enum seal_how how;   /* which key sealed the pack */
	uint16_t epoch;
	uint32_t number, block_offset, sealed_length, raw_length; /* its block */
	uint32_t offset, length;
};

/* --- the index ------------------------------------------------------------------------------ */

int repair_index_packs(struct repair *p, struct error *err)
{
	CLEAN(marks_done) struct marks marks = MARKS_INIT;
	if (marks_read(&marks, p->repo, err) < 0)
		return -1;
	return leftovers_index(p->repo, own_session_id(p->session), &marks, &p->report.indexed_packs, err);
}

static bool is_bad(const struct buf *bad, const struct segment *s, uint32_t row)
{
	struct segment_pack pack;
	segment_pack_at(s, row, &pack);
	return ids_have(bad, &pack.id);
}

/* The rows of all other packs. ret_dropped: packs that were left out. */
static int copy_rows(const struct segment *s, const struct buf *bad, struct segment_rows *rows, size_t *ret_dropped, struct error *err)
{
	CLEAN_FREE uint32_t *packs = calloc(s->pack_count + 1, sizeof *packs), *blocks = calloc(s->block_count + 1, sizeof *blocks);
	if (!packs || !blocks)
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	for (uint32_t i = 0; i < s->pack_count; i++) {
		struct segment_pack pack;
		segment_pack_at(s, i, &pack);
		packs[i] = is_bad(bad, s, i) ? UINT32_MAX : (uint32_t)(rows->packs.len / sizeof pack);
		if (packs[i] == UINT32_MAX)
			++*ret_dropped;
		else
			buf_add(&rows->packs, &pack, sizeof pack);
	}
	for (uint32_t i = 0; i < s->block_count; i++) {
		struct segment_block block;
		if (segment_block_at(s, i, &block, err) < 0)
			return -1;
		bool keep = block.pack < s->pack_count && packs[block.pack] != UINT32_MAX;
		blocks[i] = keep ? (uint32_t)(rows->blocks.len / sizeof block) : UINT32_MAX;
		block.pack = keep ? packs[block.pack] : 0;
		if (keep)
			buf_add(&rows->blocks, &block, sizeof block);
	}
	for (uint64_t i = 0; i < s->chunk_count; i++) {
		struct segment_chunk chunk;
		segment_chunk_at(s, i, &chunk);
		if (chunk.block >= s->block_count || blocks[chunk.block] == UINT32_MAX)
			continue;
		chunk.block = blocks[chunk.block];
		buf_add(&rows->chunks, &chunk, sizeof chunk);
	}
	return 0;
}

/* The segment without the bad packs, under a new id; then the old one goes aside. */
static int rewrite_segment(struct repair *p, const struct id *id, const struct buf *bad, struct error *err)
{
	CLEAN(segment_rows_done) struct segment_rows rows = SEGMENT_ROWS_INIT;
	CLEAN_BUF struct buf bytes = BUF_INIT, encoded = BUF_INIT;
	struct repo *r = p->repo;
	struct segment s;
	struct error why = { 0 };
	char key[OBJECT_KEY_MAX];
	size_t dropped = 0;
	object_key(SEAL_INDEX, id, key);
	if (index_read_segment(r->store, r->keys, id, &bytes, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		*err = why;
		return -1;
	}
	if (segment_view(&s, bytes.data, bytes.len, err) < 0 || copy_rows(&s, bad, &rows, &dropped, err) < 0)
		return error_add(err, "%s", key);
	if (!dropped)
		return 0;
	if (rows.packs.len) {
		struct id fresh;
		seal_random(fresh.b, ID_SIZE);
		if (segment_rows_encode(&rows, own_session_id(p->session), &encoded, err) < 0 ||
		    object_write(r->store, r->keys, SEAL_INDEX, &fresh, own_session_id(p->session), encoded.data, encoded.len, err) < 0)
			return -1;
	}
	return repair_put_aside(r->store, key, err);
}

static int rewrite_index(struct repair *p, const struct buf *bad, struct error *err)
{
	CLEAN_BUF struct buf segments = BUF_INIT;
	if (ids_list(p->repo->store, "index/", &segments, err) < 0)
		return -1;
	for (size_t i = 0; i < segments.len / ID_SIZE; i++) {
		struct id id;
		memcpy(id.b, segments.data + i * ID_SIZE, ID_SIZE);
		if (rewrite_segment(p, &id, bad, err) < 0)
			return -1;
	}
	return 0;
}

/* --- what is in a bad pack ---------------------------------------------------------------------- */

static void pieces_of_segment(const struct segment *s, const struct buf *bad, struct buf *pieces)
{
	bool any = false;
	for (uint32_t i = 0; !any && i < s->pack_count; i++)
		any = is_bad(bad, s, i);
	for (uint64_t i = 0; any && i < s->chunk_count; i++) {
		struct segment_chunk chunk;
		struct segment_block block;
		struct segment_pack pack;
		segment_chunk_at(s, i, &chunk);
		if (segment_block_at(s, chunk.block, &block, NULL) < 0 || block.pack >= s->pack_count || !is_bad(bad, s, block.pack))
			continue;
		segment_pack_at(s, block.pack, &pack);
		struct piece piece = { pack.id, chunk.id, pack.kind, pack.how, pack.epoch, block.number, block.offset, block.sealed_length, block.raw_length, chunk.offset, chunk.length };
		buf_add(pieces, &piece, sizeof piece);
	}
}

/* What its own table says, where that can be read: for packs that no segment names. */
static void pieces_of_table(struct repair *p, const struct patient *t, struct buf *pieces)
{
	struct repo view = { .store = p->healing, .keys = p->repo->keys };
	CLEAN(pack_table_done) struct pack_table table = { 0 };
	enum seal_kind kind;
	struct id id;
	if (t->missing || !object_id_of_key(t->name, &id) || repo_read_pack_table(&view, &id, t->size, &kind, &table, NULL) < 0)
		return;
	for (size_t i = 0; i < table.block_count; i++) {
		const struct pack_block *b = &table.blocks[i];
		uint32_t at = 0;
		for (size_t k = 0; k < b->chunk_count; k++) {
			const struct pack_chunk *c = &table.chunks[b->first_chunk + k];
			struct piece piece = { id, c->id, kind, table.by.how, table.by.epoch, (uint32_t)i, b->offset, b->sealed_length, b->raw_length, at, c->length };
			buf_add(pieces, &piece, sizeof piece);
			at += c->length;
		}
	}
}

static int by_block(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	int c = id_compare(&x->pack, &y->pack);
	if (c)
		return c;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

static int salvage_piece(struct repair *p, struct writer *w, const struct piece *piece, const struct buf *raw, struct error *err)
{
	enum chunk_class class = piece->kind == SEAL_PACK_META ? CHUNK_META : CHUNK_DATA;
	struct place place = { .pack = piece->pack, .kind = piece->kind, .block = piece->number, .length = piece->length };
	bool found;
	struct place other;
	if (index_find(p->repo->index, &piece->id, &found, &other, err) < 0)
		return -1;
	if (found && !other.marked)
		return 0; /* it lies in a good pack too */
	if ((uint64_t)piece->offset + piece->length > raw->len ||
	    repo_verify_chunk(p->repo, class, &piece->id, &place, raw->data + piece->offset, NULL) < 0) {
		p->report.lost_chunks++;
		return 0;
	}
	p->report.salvaged_chunks++;
	return writer_put_copy(w, 0, class, raw->data + piece->offset, piece->length, &piece->id, err);
}

/* Empty: it is lost. A medium that fails is asked twice; a store that does not answer has lost nothing. */
static int read_block(struct repo *view, const struct place *place, struct buf *ret, struct error *err)
{
	for (unsigned tries = 0; tries < 2; tries++) {
		struct error why = { 0 };
		if (repo_read_block(view, place, ret, &why) == 0)
			return 0;
		buf_clear(ret);
		if (why.kind == ERR_NOMEM || (why.kind == ERR_IO && why.sys != EIO)) {
			*err = why;
			return -1;
		}
		if (why.kind != ERR_IO)
			return 0;
	}
	return 0;
}

static int salvage(struct repair *p, struct writer *w, struct buf *pieces, struct error *err)
{
	struct repo view = *p->repo; /* reads through parity: some of a pack's pieces may still be healed */
	CLEAN_BUF struct buf raw = BUF_INIT;
	struct piece *all = (void *)pieces->data;
	size_t count = pieces->len / sizeof *all;
	view.store = p->healing;
	if (count)
		qsort(all, count, sizeof *all, by_block);
	for (size_t i = 0; i < count; i++) {
		const struct piece *at = &all[i];
		if (repair_stopped(p, err) < 0)
			return -1;
		if (i == 0 || at->number != at[-1].number || !id_equal(&at->pack, &at[-1].pack)) {
			struct place place = { .pack = at->pack, .kind = at->kind, .how = at->how, .epoch = at->epoch, .block = at->number, .block_offset = at->block_offset, .sealed_length = at->sealed_length,
				               .raw_length = at->raw_length };
			if (read_block(&view, &place, &raw, err) < 0)
				return -1;
		}
		if (salvage_piece(p, w, at, &raw, err) < 0)
			return -1;
	}
	return 0;
}

/* --- order -------------------------------------------------------------------------------------------- */

static int publish(struct repair *p, const struct buf *bad, char ret_key[OBJECT_KEY_MAX], struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id;
	struct tombstone t = { .time = time_now(), .session = *own_session_id(p->session), .packs = (struct id *)(void *)bad->data,
		               .pack_count = bad->len / ID_SIZE };
	tombstone_encode(&bytes, &t);
	seal_random(id.b, ID_SIZE);
	object_key(SEAL_TOMBSTONE, &id, ret_key);
	if (!buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	return object_write(p->repo->store, p->repo->keys, SEAL_TOMBSTONE, &id, &t.session, bytes.data, bytes.len, err);
}

/* Whether a session is at work that may rely on the packs. Those whose process is gone are ended. */
static int look_for_others(struct repair *p, bool *ret_busy, struct error *err)
{
	CLEAN(session_list_done) struct session_list others = { 0 };
	*ret_busy = false;
	if (session_list_read(&others, p->repo, own_session_id(p->session), SESSION_FENCE_SECONDS, err) < 0)
		return -1;
	for (size_t i = 0; i < others.count; i++) {
		if (others.items[i].state != SESSION_GONE)
			*ret_busy = true;
		else if (session_delete(p->repo, &others, &others.items[i].session, err) < 0)
			return -1;
	}
	return 0;
}

static int give_up_packs(struct repair *p, const struct buf *bad, struct error *err)
{
	CLEAN(writer_cleanup) struct writer *w = NULL;
	CLEAN_BUF struct buf pieces = BUF_INIT, named = BUF_INIT;
	struct repo *r = p->repo;
	const struct writer_options options = { .slots = 1, .level = p->options->level, .work = WORK_REPAIR, .host = p->options->host, .session = p->session };
	if (index_mark(r->index, bad, err) < 0 || index_packs(r->index, &named, err) < 0)
		return -1;
	for (size_t i = 0; i < index_segments(r->index); i++)
		if (!index_segment_is_gone(r->index, i))
			pieces_of_segment(index_segment(r->index, i), bad, &pieces);
	for (size_t i = 0; i < p->patient_count; i++) {
		struct id id;
		if (object_id_of_key(p->patients[i].name, &id) && ids_have(bad, &id) && !ids_have(&named, &id))
			pieces_of_table(p, &p->patients[i], &pieces);
	}
	if (!buf_ok(&pieces))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	if (writer_begin(&w, r, &options, err) < 0 || salvage(p, w, &pieces, err) < 0 || writer_flush(w, err) < 0)
		return -1;
	if (rewrite_index(p, bad, err) < 0)
		return -1;
	for (size_t i = 0; i < bad->len / ID_SIZE; i++) {
		struct id id;
		char name[OBJECT_KEY_MAX];
		memcpy(id.b, bad->data + i * ID_SIZE, ID_SIZE);
		object_key(SEAL_PACK_DATA, &id, name);
		if (repair_put_aside(r->store, name, err) < 0)
			return -1;
	}
	return 0;
}

static bool is_bad_pack(const struct patient *t)
{
	return !t->healed && repair_may_give_up(t) && strncmp(t->name, "packs/", 6) == 0;
}

int repair_packs(struct repair *p, struct error *err)
{
	CLEAN_BUF struct buf bad = BUF_INIT;
	char tombstone[OBJECT_KEY_MAX];
	bool busy;
	for (size_t i = 0; i < p->patient_count; i++) {
		struct id id;
		if (is_bad_pack(&p->patients[i]) && object_id_of_key(p->patients[i].name, &id))
			buf_add(&bad, id.b, ID_SIZE);
	}
	if (!buf_ok(&bad))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	if (!bad.len)
		return 0;
	ids_order(&bad);
	if (publish(p, &bad, tombstone, err) < 0)
		return -1;
	int done = look_for_others(p, &busy, err);
	if (done == 0 && !busy)
		done = give_up_packs(p, &bad, err);
	for (size_t i = 0; done == 0 && i < p->patient_count; i++) {
		struct patient *t = &p->patients[i];
		if (!is_bad_pack(t))
			continue;
		if (busy) {
			error_set(&t->why, ERR_BUSY, "it cannot be healed, nor replaced while another session is at work; run the repair again when that has ended");
			continue;
		}
		t->healed = true;
		p->report.replaced_packs++;
		p->sink->healed(p->sink->cookie, t->name, "taken out of the index; what was whole in it is stored anew");
	}
	struct error *gone = done < 0 ? NULL : err; /* the first error counts */
	return p->repo->store->ops->remove(p->repo->store, tombstone, gone) < 0 || done < 0 ? -1 : 0;
}
