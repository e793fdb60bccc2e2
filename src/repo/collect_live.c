/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "repo/collect_internal.h"
#include "repo/log.h"
#include "repo/object.h"
#include "repo/settle.h"

/* --- packs ---------------------------------------------------------------------------- */

static int note_pack(void *cookie, const char *key, uint64_t size)
{
	struct pack_info p = { .size = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size };
	if (object_id_of_key(key, &p.id))
		buf_add(cookie, &p, sizeof p);
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return id_compare(&((const struct pack_info *)a)->id, &((const struct pack_info *)b)->id);
}

static int find_by_id(const void *id, const void *pack)
{
	return id_compare(id, &((const struct pack_info *)pack)->id);
}

struct pack_info *collect_pack(const struct collect *c, const struct id *id)
{
	if (!c->packs.len)
		return NULL;
	return bsearch(id, c->packs.data, c->packs.len / sizeof(struct pack_info), sizeof(struct pack_info), find_by_id);
}

int collect_list_packs(struct collect *c, struct error *err)
{
	if (c->repo->store->ops->list(c->repo->store, "packs/", note_pack, &c->packs, err) < 0)
		return error_add(err, "list packs");
	if (!buf_ok(&c->packs))
		return error_set(err, ERR_NOMEM, "list packs: out of memory");
	struct pack_info *packs = (void *)c->packs.data;
	size_t count = c->packs.len / sizeof *packs;
	if (count)
		qsort(packs, count, sizeof *packs, by_id);
	/* Told twice, a pack would be taken for another one that nobody needs. */
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		if (!kept || !id_equal(&packs[kept - 1].id, &packs[i].id))
			packs[kept++] = packs[i];
	count = kept;
	c->packs.len = count * sizeof *packs;
	for (size_t i = 0; i < count; i++) {
		c->report.packs++;
		c->report.pack_bytes += packs[i].size;
		if (ids_have(&c->marks.packs, &packs[i].id))
			packs[i].flags |= PACK_DOOMED;
	}
	return 0;
}

int collect_going(const struct collect *c, uint32_t with_flags, struct buf *ret, struct error *err)
{
	const struct pack_info *packs = (const void *)c->packs.data;
	for (size_t i = 0; i < c->packs.len / sizeof *packs; i++)
		if (packs[i].flags & PACK_GOES && (packs[i].flags & with_flags) == with_flags)
			buf_add(ret, packs[i].id.b, ID_SIZE);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "note what is to be deleted: out of memory");
}

/* --- the walk ------------------------------------------------------------------------------ */

static int missing(const struct id *id, struct error *err)
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	return error_set(err, ERR_CORRUPT, "chunk %.16s is in no pack that is there", hex);
}

static void note_live(struct collect *c, uint64_t row, bool *ret_first)
{
	*ret_first = !row_set_has(&c->live, row);
	if (!*ret_first)
		return;
	row_set_add(&c->live, row);
	c->report.live_chunks++;
}

static int see_page(void *cookie, const struct id *id, bool *ret_enter, struct error *err)
{
	struct collect *c = cookie;
	struct place place;
	bool found;
	if (index_find(c->repo->index, id, &found, &place, err) < 0)
		return -1;
	if (!found)
		return missing(id, err);
	note_live(c, place.row, ret_enter);
	return 0;
}

/* Chunks are looked up many at once, in order of their ids: their trees name them in an order that is none for the index. */
#define WAITING_MAX (1u << 20)

struct looking {
	struct collect *c;
	bool missed;
	struct id first_missed;
};

static void note_found(void *cookie, const struct id *id, bool found, uint64_t row)
{
	struct looking *l = cookie;
	bool first;
	if (found) {
		note_live(l->c, row, &first);
	} else if (!l->missed) {
		l->missed = true;
		l->first_missed = *id;
	}
}

static int by_bytes(const void *a, const void *b)
{
	return id_compare(a, b);
}

static int look_up_waiting(struct collect *c, struct error *err)
{
	struct looking l = { .c = c };
	size_t count = c->waiting.len / ID_SIZE;
	if (!count)
		return 0;
	qsort(c->waiting.data, count, ID_SIZE, by_bytes);
	index_find_many(c->repo->index, (const void *)c->waiting.data, count, note_found, &l);
	buf_clear(&c->waiting);
	return l.missed ? missing(&l.first_missed, err) : 0;
}

static int see_chunk(void *cookie, const struct id *id, struct error *err)
{
	struct collect *c = cookie;
	buf_add(&c->waiting, id->b, ID_SIZE);
	if (!buf_ok(&c->waiting))
		return error_set(err, ERR_NOMEM, "walk snapshots: out of memory");
	return c->waiting.len < (size_t)WAITING_MAX * ID_SIZE ? 0 : look_up_waiting(c, err);
}

static int walk_one(struct collect *c, const struct id *id, struct error *err)
{
	struct reach_visitor visitor = { .page = see_page, .chunk = see_chunk, .cookie = c, .progress = c->options->progress };
	CLEAN(snapshot_done) struct snapshot s = { 0 };
	struct error why = { 0 };
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	if (repo_snapshot_read(c->repo, id, &s, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0; /* forgotten this moment */
		return error_set(err, why.kind, "snapshot %.16s cannot be read, so nobody knows what it needs: %s; nothing was deleted. Run twofold check, and forget or repair it", hex, why.text);
	}
	for (size_t i = 0; i < c->unfinished.count; i++)
		if (id_equal(&c->unfinished.items[i].session, &s.session))
			c->unfinished.items[i].kept = false;
	bool fenced = marks_is_fenced(&c->marks, &s.session);
	buf_clear(&c->waiting);
	int done = reach_snapshot(c->repo, &s, &visitor, &why);
	if (done == 0)
		done = look_up_waiting(c, &why);
	if (done < 0 && fenced && why.kind != ERR_CANCELLED && why.kind != ERR_NOMEM) {
		c->report.unconfirmed++;
		collect_tell(c, "snapshot %.16s does not count: its backup was given up before it had finished, and something is missing (%.200s)", hex, why.text);
		buf_add(&c->snapshots, id->b, ID_SIZE);
		return 0;
	}
	if (done < 0 && (why.kind == ERR_CANCELLED || why.kind == ERR_NOMEM))
		return error_set(err, why.kind, "%s", why.text);
	if (done < 0)
		return error_set(err, why.kind, "snapshot %.16s: %s; nothing was deleted. Run twofold check", hex, why.text);
	c->report.snapshots++;
	buf_add(&c->snapshots, id->b, ID_SIZE);
	if (!buf_ok(&c->snapshots))
		return error_set(err, ERR_NOMEM, "walk snapshots: out of memory");
	/* Confirmed, it would pass for one that can be relied on. */
	if (fenced && s.has_writer) {
		c->report.unconfirmed++;
		collect_tell(c, "snapshot %.16s does not count: its backup, with a write-only key, was given up before it had finished; forget it", hex);
	} else if (fenced) {
		buf_add(&c->whole, id->b, ID_SIZE);
	}
	return buf_ok(&c->whole) ? 0 : error_set(err, ERR_NOMEM, "walk snapshots: out of memory");
}

/* Rows count where their pack is there now: a session that was given up may have woken up, and named packs that are gone. What an earlier collection marked goes, so any other place is better. */
static int trust_what_is_there(struct collect *c, struct error *err)
{
	CLEAN_BUF struct buf listed = BUF_INIT;
	if (ids_list(c->repo->store, "packs/", &listed, err) < 0)
		return error_add(err, "list packs");
	ids_order(&listed);
	return index_trust_only(c->repo->index, &listed, err) < 0 ? -1 : index_mark(c->repo->index, &c->marks.packs, err);
}

static int refuse_damaged(void *cookie, const struct id *segment, const struct error *why)
{
	(void)segment;
	*(struct error *)cookie = *why;
	return 1;
}

/* anew: from the store, and without what the local cache has merged, where a chunk has one place only. */
static int load_index(struct collect *c, bool anew, struct error *err)
{
	struct repo *r = c->repo;
	struct error why = { 0 };
	int done = anew ? repo_load_index_anew(r, refuse_damaged, &why, err) : r->index ? index_refresh(r->index, NULL, err) : repo_load_index(r, err);
	if (why.kind != ERR_NONE)
		return error_set(err, why.kind, "a part of the index is damaged (%.300s), so nothing was deleted; run twofold repair", why.text);
	if (done < 0 || trust_what_is_there(c, err) < 0)
		return -1;
	row_set_done(&c->live);
	return row_set_new(&c->live, index_row_limit(r->index), err);
}

static int walk_all(struct collect *c, bool anew, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	c->report.snapshots = c->report.unconfirmed = c->report.live_chunks = 0;
	buf_clear(&c->snapshots);
	buf_clear(&c->whole);
	/* The index after the snapshots: so all that they refer to is in it. */
	if (ids_list(c->repo->store, object_prefix(SEAL_SNAPSHOT), &ids, err) < 0 || load_index(c, anew, err) < 0)
		return -1;
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (walk_one(c, &id, err) < 0)
			return -1;
	}
	ids_order(&c->snapshots);
	return 0;
}

int collect_walk(struct collect *c, struct error *err)
{
	struct error why = { 0 };
	if (walk_all(c, false, &why) == 0)
		return 0;
	if (why.kind != ERR_CORRUPT && why.kind != ERR_NOT_FOUND)
		return error_set(err, why.kind, "%s", why.text);
	/* A listing is no instant, it may lag, and a cache may be stale: only what is missing twice is missing. */
	return collect_let_it_be_seen(c, err) < 0 ? -1 : walk_all(c, true, err);
}

/* Written under the own session the snapshot counts again. */
static int confirm(struct collect *c, const struct id *id, struct error *err)
{
	CLEAN(snapshot_done) struct snapshot s = { 0 };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct error why = { 0 };
	struct id fresh;
	if (repo_snapshot_read(c->repo, id, &s, &why) < 0)
		return why.kind == ERR_NOT_FOUND ? 0 : error_set(err, why.kind, "confirm a snapshot: %s", why.text);
	s.session = *own_session_id(c->session);
	snapshot_encode(&bytes, &s);
	if (!buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "confirm a snapshot: out of memory");
	seal_random(fresh.b, ID_SIZE);
	if (object_write(c->repo->store, c->repo->keys, SEAL_SNAPSHOT, &fresh, &s.session, bytes.data, bytes.len, &why) < 0 ||
	    repo_log_append(c->repo, &s.session, &fresh, &bytes, &why) < 0 || (repo_snapshot_drop(c->repo, id, &why) < 0 && why.kind != ERR_NOT_FOUND))
		return error_set(err, why.kind, "confirm a snapshot: %s", why.text);
	buf_add(&c->snapshots, fresh.b, ID_SIZE);
	c->report.confirmed++;
	collect_tell(c, "a snapshot whose backup was given up is whole: it counts again");
	return 0;
}

int collect_confirm(struct collect *c, struct error *err)
{
	for (size_t at = 0; at < c->whole.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, c->whole.data + at, ID_SIZE);
		if (confirm(c, &id, err) < 0)
			return -1;
	}
	ids_order(&c->snapshots);
	return 0;
}

/* --- how much of each pack ------------------------------------------------------------------- */

static int map_rows(struct collect *c, struct error *err)
{
	const struct index *x = c->repo->index;
	uint32_t row = 0;
	c->pack_rows = 0;
	for (size_t i = 0; i < index_segments(x); i++)
		c->pack_rows += index_segment(x, i)->pack_count;
	c->pack_of_row = calloc((size_t)c->pack_rows + 1, sizeof *c->pack_of_row);
	if (!c->pack_of_row)
		return error_set(err, ERR_NOMEM, "out of memory for %u packs", c->pack_rows);
	for (size_t i = 0; i < index_segments(x); i++) {
		const struct segment *s = index_segment(x, i);
		for (uint32_t k = 0; k < s->pack_count; k++, row++) {
			struct segment_pack pack;
			segment_pack_at(s, k, &pack);
			struct pack_info *p = index_segment_is_gone(x, i) ? NULL : collect_pack(c, &pack.id);
			c->pack_of_row[row] = p ? (uint32_t)(p - (struct pack_info *)(void *)c->packs.data) : UINT32_MAX;
			if (!p || p->flags & PACK_INDEXED)
				continue;
			p->flags |= PACK_INDEXED;
			p->kind = pack.kind;
			p->how = pack.how;
			p->epoch = pack.epoch;
		}
	}
	return 0;
}

#define ROWS_AT_ONCE 65536u /* between giving the index's pages back */

/* A segment for chunks that lie twice names some blocks of a pack only; another one names all. */
static int account_blocks(struct collect *c, const struct segment *s, uint32_t first_pack, struct error *err)
{
	struct pack_info *packs = (void *)c->packs.data;
	CLEAN_FREE uint64_t *totals = calloc((size_t)s->pack_count + 1, sizeof *totals);
	struct segment_block block;
	if (!totals)
		return error_set(err, ERR_NOMEM, "out of memory for %u packs", s->pack_count);
	for (uint32_t row = 0; row < s->block_count; row++) {
		if (row % ROWS_AT_ONCE == 0)
			index_give_back(c->repo->index);
		if (segment_block_at(s, row, &block, err) < 0)
			return -1;
		totals[block.pack] += block.raw_length;
	}
	for (uint32_t row = 0; row < s->pack_count; row++) {
		uint32_t at = c->pack_of_row[first_pack + row];
		if (at != UINT32_MAX && totals[row] > packs[at].total)
			packs[at].total = totals[row];
	}
	return 0;
}

static int account_segment(struct collect *c, size_t number, uint32_t first_pack, uint64_t first_chunk, struct error *err)
{
	const struct segment *s = index_segment(c->repo->index, number);
	struct pack_info *packs = (void *)c->packs.data;
	struct segment_block block;
	if (account_blocks(c, s, first_pack, err) < 0)
		return -1;
	for (uint64_t row = 0; row < s->chunk_count; row++) {
		struct segment_chunk chunk;
		if (row % ROWS_AT_ONCE == 0) {
			index_give_back(c->repo->index);
			if (collect_stopped(c, err) < 0)
				return -1;
		}
		if (!row_set_has(&c->live, first_chunk + row))
			continue;
		segment_chunk_at(s, row, &chunk);
		if (segment_block_at(s, chunk.block, &block, err) < 0)
			return -1;
		if ((uint64_t)chunk.offset + chunk.length > block.raw_length)
			return error_set(err, ERR_CORRUPT, "the place of a chunk makes no sense, so nothing was deleted; run twofold check");
		uint32_t at = c->pack_of_row[first_pack + block.pack];
		if (at != UINT32_MAX) /* else of a pack that came after the packs were listed */
			packs[at].live += chunk.length;
	}
	return 0;
}

static int account_all(struct collect *c, struct error *err)
{
	uint32_t first_pack = 0;
	uint64_t first_chunk = 0;
	for (size_t i = 0; i < index_segments(c->repo->index); i++) {
		const struct segment *s = index_segment(c->repo->index, i);
		if (!index_segment_is_gone(c->repo->index, i) && account_segment(c, i, first_pack, first_chunk, err) < 0)
			return -1;
		first_pack += s->pack_count;
		first_chunk += s->chunk_count;
	}
	return 0;
}

int collect_account(struct collect *c, struct error *err)
{
	if (map_rows(c, err) < 0)
		return -1;
	index_read_through(c->repo->index, true);
	int done = account_all(c, err);
	index_give_back(c->repo->index);
	index_read_through(c->repo->index, false);
	return done;
}

/* --- what came since -------------------------------------------------------------------------- */

/* index_mark and index_trust_only as things are now. */
static int mark_going(struct collect *c, struct error *err)
{
	CLEAN_BUF struct buf going = BUF_INIT, listed = BUF_INIT;
	if (index_refresh(c->repo->index, NULL, err) < 0 || ids_list(c->repo->store, "packs/", &listed, err) < 0 || collect_going(c, 0, &going, err) < 0)
		return -1;
	ids_order(&listed);
	return index_trust_only(c->repo->index, &listed, err) < 0 ? -1 : index_mark(c->repo->index, &going, err);
}

static void add_missed(struct collect *c, const struct buf *some, bool only_found, struct buf *missed)
{
	const struct unsettled *u = (const void *)some->data;
	for (size_t i = 0; i < some->len / sizeof *u; i++) {
		struct place place;
		bool found = true;
		if (only_found && (index_find(c->repo->index, &u[i].id, &found, &place, NULL) < 0 || !found))
			continue;
		buf_add(missed, &u[i], sizeof u[i]);
	}
}

int collect_walk_new(struct collect *c, struct buf *missed, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	bool marked = false;
	if (ids_list(c->repo->store, object_prefix(SEAL_SNAPSHOT), &ids, err) < 0)
		return -1;
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		CLEAN(snapshot_done) struct snapshot s = { 0 };
		CLEAN_BUF struct buf some = BUF_INIT;
		struct error why = { 0 };
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (ids_have(&c->snapshots, &id))
			continue;
		if (!marked && mark_going(c, err) < 0)
			return -1;
		marked = true;
		int done = repo_snapshot_read(c->repo, &id, &s, &why);
		if (done < 0 && why.kind == ERR_NOT_FOUND)
			continue; /* forgotten this moment */
		bool fenced = done == 0 && marks_is_fenced(&c->marks, &s.session);
		if (done == 0)
			done = settle_find(c->repo, &s, &some, &why);
		/* One of a fenced session may lack what it likes: it does not count, and whoever confirms it looks again. What it has stays. */
		if (done == 0 || (fenced && why.kind == ERR_NOT_FOUND)) {
			add_missed(c, &some, fenced, missed);
			continue;
		}
		return error_set(err, why.kind, "look at a snapshot that came meanwhile: %s; nothing was deleted", why.text);
	}
	return buf_ok(missed) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}
