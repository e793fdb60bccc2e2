/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "repo/check_internal.h"
#include "repo/format/pack.h"
#include "repo/ids.h"
#include "repo/object.h"
#include "repo/rows.h"
#include "task/pool.h"

/* Chunks of packs without an index that are remembered, to say where a lost chunk is: at most this many. */
#define SPARE_MAX (4u << 20)

/* One row of a segment's packs. */
struct pack_task {
	struct check *check;
	const struct segment *segment;
	const struct id *segment_id;
	uint32_t row;        /* in the segment */
	uint32_t global_row;
	uint64_t first_chunk; /* row of the segment's first chunk, across all segments */
	uint32_t expected;   /* chunks that the index says are in it */
	struct pack_choice *choice;
};

/* A chunk of the pack, as the index has it. */
struct piece {
	uint32_t block;     /* row in the segment */
	uint32_t offset, length;
	uint64_t chunk;     /* row in the segment */
};

/* --- what a pack is found to be ----------------------------------------------------------- */

static int find_by_id(const void *id, const void *pack)
{
	return id_compare(id, &((const struct found_pack *)pack)->id);
}

static int by_id(const void *a, const void *b)
{
	return id_compare(&((const struct found_pack *)a)->id, &((const struct found_pack *)b)->id);
}

static const struct found_pack *find_found(const struct buf *found, const struct id *id)
{
	if (!found->len)
		return NULL;
	return bsearch(id, found->data, found->len / sizeof(struct found_pack), sizeof(struct found_pack), find_by_id);
}

/* The chunk's row where the index places it in this pack; false: the index has it elsewhere, or not at all. */
static bool find_piece(const struct pack_task *t, const struct id *id, struct piece *ret, struct segment_block *ret_block)
{
	struct segment_chunk chunk;
	uint64_t row;
	if (!segment_find(t->segment, id, &row))
		return false;
	segment_chunk_at(t->segment, row, &chunk);
	if (segment_block_at(t->segment, chunk.block, ret_block, NULL) < 0 || ret_block->pack != t->row)
		return false;
	*ret = (struct piece){ chunk.block, chunk.offset, chunk.length, row };
	return true;
}

/* Compares the table with the index, and collects the pieces. */
static int compare_table(const struct pack_task *t, const struct pack_table *table, struct buf *pieces, struct error *err)
{
	for (size_t i = 0; i < table->block_count; i++) {
		const struct pack_block *b = &table->blocks[i];
		uint32_t at = 0;
		for (size_t k = 0; k < b->chunk_count; k++) {
			const struct pack_chunk *chunk = &table->chunks[b->first_chunk + k];
			struct segment_block block;
			struct piece piece;
			if (find_piece(t, &chunk->id, &piece, &block)) {
				if (block.number != i || block.offset != b->offset || block.sealed_length != b->sealed_length ||
				    block.raw_length != b->raw_length || piece.offset != at || piece.length != chunk->length)
					return error_set(err, ERR_CORRUPT, "the index places a chunk of block %zu elsewhere than the pack's table", i);
				buf_add(pieces, &piece, sizeof piece);
			}
			at += chunk->length;
		}
	}
	if (!buf_ok(pieces))
		return error_set(err, ERR_NOMEM, "check: out of memory");
	if (pieces->len / sizeof(struct piece) != t->expected)
		return error_set(err, ERR_CORRUPT, "the index says that it holds %u chunks, its table has %zu of them", t->expected, pieces->len / sizeof(struct piece));
	return 0;
}

/* The pieces as the index alone has them: for a pack whose table cannot be relied on. */
static int collect_pieces(const struct pack_task *t, struct buf *pieces, struct error *err)
{
	buf_clear(pieces);
	for (uint64_t row = 0; row < t->segment->chunk_count; row++) {
		struct segment_chunk chunk;
		struct segment_block block;
		segment_chunk_at(t->segment, row, &chunk);
		if (segment_block_at(t->segment, chunk.block, &block, NULL) < 0 || block.pack != t->row)
			continue;
		struct piece piece = { chunk.block, chunk.offset, chunk.length, row };
		buf_add(pieces, &piece, sizeof piece);
	}
	return buf_ok(pieces) ? 0 : error_set(err, ERR_NOMEM, "check: out of memory");
}

static int by_block(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* --- reading what is in a pack --------------------------------------------------------------- */

/* What came of reading a pack's blocks. */
struct outcome {
	unsigned blocks, lost;
	uint64_t chunks, bytes;
	struct error first;
};

/* Verifies one block's pieces. -1 only when the check cannot go on. */
static int read_pieces(const struct pack_task *t, const struct segment_pack *pack, const struct piece *pieces, size_t count, struct read_ahead *ahead, struct buf *raw,
                       struct outcome *o, struct error *err)
{
	struct check *c = t->check;
	struct segment_block block;
	struct error why = { 0 };
	if (segment_block_at(t->segment, pieces[0].block, &block, err) < 0)
		return -1;
	struct place place = { .pack = pack->id, .kind = pack->kind, .how = pack->how, .epoch = pack->epoch, .pack_row = t->global_row, .pack_size = pack->size, .block = block.number,
		               .block_offset = block.offset, .sealed_length = block.sealed_length, .raw_length = block.raw_length };
	enum chunk_class class = pack->kind == SEAL_PACK_META ? CHUNK_META : CHUNK_DATA;
	bool whole = repo_read_block_ahead(c->repo, &place, pack->size, ahead, raw, &why) == 0;
	if (!whole && why.kind == ERR_NOMEM)
		return error_set(err, why.kind, "%s", why.text);
	bool lost = false;
	for (size_t i = 0; i < count; i++) {
		struct segment_chunk chunk;
		segment_chunk_at(t->segment, pieces[i].chunk, &chunk);
		place.offset = pieces[i].offset;
		place.length = pieces[i].length;
		bool good = whole;
		if (good && (uint64_t)place.offset + place.length > raw->len)
			good = error_set(&why, ERR_CORRUPT, "the index places a chunk outside of block %u", block.number) == 0;
		good = good && repo_verify_chunk(c->repo, class, &chunk.id, &place, raw->data + place.offset, &why) == 0;
		if (!good)
			bitmap_set(&c->bad, t->first_chunk + pieces[i].chunk);
		lost |= !good;
	}
	error_keep_first(&o->first, &why);
	o->blocks++;
	o->lost += lost;
	o->chunks += count;
	o->bytes += block.sealed_length;
	progress_add(c->options->progress, 0, block.sealed_length);
	return 0;
}

static int read_pack(const struct pack_task *t, const struct segment_pack *pack, struct buf *pieces, struct outcome *o, struct error *err)
{
	CLEAN_BUF struct buf raw = BUF_INIT;
	CLEAN(read_ahead_done) struct read_ahead ahead = { .bytes = BUF_INIT };
	struct piece *all = (void *)pieces->data;
	size_t count = pieces->len / sizeof *all, end;
	if (count)
		qsort(all, count, sizeof *all, by_block);
	for (size_t at = 0; at < count; at = end) {
		for (end = at; end < count && all[end].block == all[at].block;)
			end++;
		if (check_stopped(t->check, err) < 0 || read_pieces(t, pack, all + at, end - at, &ahead, &raw, o, err) < 0)
			return -1;
	}
	return 0;
}

/* --- what a prune took away meanwhile ----------------------------------------------------------- */

static bool is_gone(struct check *c, enum seal_kind kind, const struct id *id)
{
	char key[OBJECT_KEY_MAX];
	bool found = true;
	uint64_t size;
	object_key(kind, id, key);
	return c->repo->store->ops->stat(c->repo->store, key, &found, &size, NULL) == 0 && !found;
}

/* The pack, and the segment that named it: then what lived in it lies elsewhere, where the prune has verified it. */
static bool was_moved(const struct pack_task *t, const struct id *pack)
{
	return is_gone(t->check, SEAL_PACK_DATA, pack) && is_gone(t->check, SEAL_INDEX, t->segment_id);
}

static void forget_losses(const struct pack_task *t, const struct buf *pieces)
{
	const struct piece *all = (const void *)pieces->data;
	for (size_t i = 0; i < pieces->len / sizeof *all; i++)
		bitmap_clear(&t->check->bad, t->first_chunk + all[i].chunk);
}

/* --- one pack ----------------------------------------------------------------------------------- */

/* Size, header and table. -1 when they are not as they should be; pieces are complete only on 0. */
static int check_frame(const struct pack_task *t, const struct segment_pack *pack, const struct found_pack *found, struct buf *pieces, struct id *ret_session,
                       struct error *err)
{
	struct pack_table table = { 0 };
	enum seal_kind kind;
	if (found->size != pack->size)
		return error_set(err, ERR_CORRUPT, "it has %llu bytes, the index says %u", (unsigned long long)found->size, pack->size);
	if (repo_read_pack_table(t->check->repo, &pack->id, found->size, &kind, &table, err) < 0)
		return -1;
	int done = kind == pack->kind ? compare_table(t, &table, pieces, err) : error_set(err, ERR_CORRUPT, "its kind is not what the index says");
	*ret_session = table.session;
	pack_table_done(&table);
	return done;
}

static void tell_outcome(struct check *c, const char *key, const struct error *frame, const struct outcome *o)
{
	if (frame->kind != ERR_NONE && o->lost)
		check_damaged(c, key, "%s; %u of its %u blocks are lost: %.300s", frame->text, o->lost, o->blocks, o->first.text);
	else if (frame->kind != ERR_NONE)
		check_damaged(c, key, "%s; all of its %u blocks can still be read", frame->text, o->blocks);
	else if (o->lost)
		check_damaged(c, key, "%u of its %u blocks are lost: %s", o->lost, o->blocks, o->first.text);
}

static int check_pack(const struct task_context *ctx, void *arg, struct error *err)
{
	const struct pack_task *t = arg;
	struct check *c = t->check;
	CLEAN_BUF struct buf pieces = BUF_INIT;
	char key[OBJECT_KEY_MAX];
	struct segment_pack pack;
	struct id session = { { 0 } };
	struct error frame = { 0 };
	struct outcome o = { 0 };
	if (ctx->cancelled || check_stopped(c, err) < 0)
		return ctx->cancelled ? 0 : -1;
	segment_pack_at(t->segment, t->row, &pack);
	object_key(SEAL_PACK_DATA, &pack.id, key);
	const struct found_pack *found = find_found(&c->found, &pack.id);
	if (!found && was_moved(t, &pack.id))
		return 0;
	if (!found) {
		c->missing[t->global_row] = true;
		t->choice->lost = true;
		check_damaged(c, key, "it is missing, with the %u chunks in it", t->expected);
		return 0;
	}
	bool sound = check_frame(t, &pack, found, &pieces, &session, &frame) == 0;
	if (!sound && frame.kind != ERR_NOMEM && was_moved(t, &pack.id))
		return 0;
	if (!sound && (frame.kind == ERR_NOMEM || collect_pieces(t, &pieces, err) < 0))
		return frame.kind == ERR_NOMEM ? error_set(err, frame.kind, "%s", frame.text) : -1;
	/* What a pack whose frame is damaged still holds decides which files are hit. */
	bool read = !sound || (t->choice->read && check_wants(c, &session));
	if (read && read_pack(t, &pack, &pieces, &o, err) < 0)
		return -1;
	if (o.lost && was_moved(t, &pack.id)) {
		forget_losses(t, &pieces);
		return 0;
	}
	tell_outcome(c, key, &frame, &o);
	if (read && sound && !o.lost)
		t->choice->time = c->started.sec;
	t->choice->lost = !sound || o.lost;
	t->choice->was_read = o.blocks > 0;
	pthread_mutex_lock(&c->lock);
	c->report.chunks_read += o.chunks;
	c->report.bytes_read += o.bytes;
	pthread_mutex_unlock(&c->lock);
	progress_add(c->options->progress, 1, 0);
	return 0;
}

/* --- all packs ------------------------------------------------------------------------------------- */

static int note_pack(void *cookie, const char *key, uint64_t size)
{
	struct found_pack found = { .size = size };
	char proper[OBJECT_KEY_MAX];
	if (!object_id_of_key(key, &found.id))
		return 0;
	object_key(SEAL_PACK_DATA, &found.id, proper);
	if (strcmp(key, proper) == 0) /* anywhere else nobody finds it */
		buf_add(cookie, &found, sizeof found);
	return 0;
}

static int list_packs(struct check *c, struct error *err)
{
	struct store *store = c->repo->store;
	buf_clear(&c->found);
	if (store->ops->list(store, object_prefix(SEAL_PACK_DATA), note_pack, &c->found, err) < 0)
		return error_add(err, "check: list packs");
	if (!buf_ok(&c->found))
		return error_set(err, ERR_NOMEM, "check: out of memory");
	size_t count = c->found.len / sizeof(struct found_pack);
	if (count)
		qsort(c->found.data, count, sizeof(struct found_pack), by_id);
	c->report.packs = count;
	return 0;
}

/* Whether a segment names a pack that is not listed because a prune has moved what was in it, and has taken the segment out of the index. */
static bool was_pruned(struct check *c, const struct segment *s, const struct id *id)
{
	bool missing = false;
	for (uint32_t row = 0; row < s->pack_count && !missing; row++) {
		struct segment_pack pack;
		segment_pack_at(s, row, &pack);
		missing = !find_found(&c->found, &pack.id);
	}
	return missing && is_gone(c, SEAL_INDEX, id);
}

/* The packs as they are listed and the index as it was loaded are of two moments: what a prune did between them is no damage. The index is loaded anew until they fit, or what is missing is missing. */
#define LOOKS_MAX 5

static int look_until_they_fit(struct check *c, struct error *err)
{
	bool pruned = true;
	for (unsigned looks = 0; pruned && looks < LOOKS_MAX; looks++) {
		if ((looks && check_load_index(c, err) < 0) || list_packs(c, err) < 0)
			return -1;
		pruned = false;
		for (size_t i = 0; i < c->report.segments && !pruned && !c->segments_damaged; i++)
			pruned = was_pruned(c, index_segment(c->repo->index, i), index_segment_id(c->repo->index, i));
	}
	return 0;
}

/* How many chunks the index places in each pack. tasks: those of the segment. */
static void count_chunks(struct check *c, const struct segment *s, const struct id *segment, struct pack_task *tasks)
{
	uint64_t bad = 0;
	for (uint64_t row = 0; row < s->chunk_count; row++) {
		struct segment_chunk chunk;
		struct segment_block block;
		segment_chunk_at(s, row, &chunk);
		if (segment_block_at(s, chunk.block, &block, NULL) < 0 || (uint64_t)chunk.offset + chunk.length > block.raw_length)
			bad++;
		else
			tasks[block.pack].expected++;
	}
	if (bad) {
		char key[OBJECT_KEY_MAX];
		object_key(SEAL_INDEX, segment, key);
		check_damaged(c, key, "%llu of its rows make no sense", (unsigned long long)bad);
	}
}

static struct pack_task *make_tasks(struct check *c, struct error *err)
{
	struct pack_task *tasks = calloc((size_t)c->pack_count + 1, sizeof *tasks);
	uint32_t next = 0;
	uint64_t first_chunk = 0;
	if (!tasks) {
		error_set(err, ERR_NOMEM, "check: out of memory");
		return NULL;
	}
	for (size_t i = 0; i < c->report.segments; i++) {
		const struct segment *s = index_segment(c->repo->index, i);
		struct pack_task *first = tasks + next;
		for (uint32_t row = 0; row < s->pack_count; row++, next++)
			tasks[next] = (struct pack_task){ .check = c, .segment = s, .segment_id = index_segment_id(c->repo->index, i), .row = row, .global_row = next, .first_chunk = first_chunk };
		count_chunks(c, s, index_segment_id(c->repo->index, i), first);
		first_chunk += s->chunk_count;
	}
	return tasks;
}

/* The choices, still in the order of the rows. */
static int make_choices(struct check *c, struct pack_task *tasks, struct error *err)
{
	c->choices = calloc((size_t)c->pack_count + 1, sizeof *c->choices);
	if (!c->choices)
		return error_set(err, ERR_NOMEM, "check: out of memory");
	for (uint32_t i = 0; i < c->pack_count; i++) {
		struct segment_pack pack;
		segment_pack_at(tasks[i].segment, tasks[i].row, &pack);
		c->choices[i] = (struct pack_choice){ .pack = pack.id, .row = i, .size = pack.size };
	}
	if (check_choose(c, err) < 0)
		return -1;
	for (uint32_t i = 0; i < c->pack_count; i++)
		tasks[c->choices[i].row].choice = &c->choices[i];
	return 0;
}

static int run_tasks(struct check *c, struct pack_task *tasks, struct error *err)
{
	struct pool *pool = NULL;
	unsigned threads = c->options->threads, limits[POOL_LANES] = { 0 };
	limits[POOL_CONTENT] = threads * 2;
	if (pool_new(&pool, threads, 1, limits, err) < 0)
		return -1;
	progress_add_total(c->options->progress, c->pack_count, 0);
	for (uint32_t i = 0; i < c->pack_count && !pool_cancelled(pool); i++)
		pool_submit(pool, POOL_CONTENT, threads, check_pack, &tasks[c->choices[i].row]);
	int done = pool_wait(pool, err);
	pool_free(pool);
	return done;
}

/* --- packs that no segment names ----------------------------------------------------------------------- */

/* Ids of the packs in the index, ascending. */
static int indexed_packs(struct check *c, struct buf *ret, struct error *err)
{
	for (size_t i = 0; i < c->report.segments; i++) {
		const struct segment *s = index_segment(c->repo->index, i);
		for (uint32_t row = 0; row < s->pack_count; row++) {
			struct segment_pack pack;
			segment_pack_at(s, row, &pack);
			struct found_pack entry = { pack.id, pack.size };
			buf_add(ret, &entry, sizeof entry);
		}
	}
	if (!buf_ok(ret))
		return error_set(err, ERR_NOMEM, "check: out of memory");
	if (ret->len)
		qsort(ret->data, ret->len / sizeof(struct found_pack), sizeof(struct found_pack), by_id);
	return 0;
}

static void check_unindexed(struct check *c, const struct found_pack *pack, struct segment_rows *spare)
{
	struct pack_table table = { 0 };
	struct error why = { 0 };
	enum seal_kind kind;
	c->report.unindexed_packs++;
	c->report.unindexed_bytes += pack->size;
	if (repo_read_pack_table(c->repo, &pack->id, pack->size, &kind, &table, &why) < 0) {
		char key[OBJECT_KEY_MAX];
		object_key(SEAL_PACK_DATA, &pack->id, key);
		if (why.kind != ERR_NOT_FOUND)
			check_damaged(c, key, "%s (no index segment names it)", why.text);
		return;
	}
	if (spare->chunks.len / sizeof(struct segment_chunk) + table.chunk_count <= SPARE_MAX)
		segment_rows_add(spare, &pack->id, kind, pack->size, &table);
	pack_table_done(&table);
}

static int keep_spare(struct check *c, struct segment_rows *rows, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	const struct id none = { { 0 } };
	if (!rows->packs.len)
		return 0;
	return segment_rows_encode(rows, &none, &bytes, err) < 0 || index_open_files(&c->spare, NULL, 0, err) < 0 ||
	                       index_adopt(c->spare, bytes.data, bytes.len, err) < 0
	               ? -1
	               : 0;
}

static int check_leftovers(struct check *c, struct error *err)
{
	CLEAN(segment_rows_done) struct segment_rows spare = SEGMENT_ROWS_INIT;
	CLEAN_BUF struct buf indexed = BUF_INIT;
	const struct found_pack *found = (const void *)c->found.data;
	if (indexed_packs(c, &indexed, err) < 0)
		return -1;
	for (size_t i = 0; i < c->report.packs; i++) {
		if (!find_found(&indexed, &found[i].id))
			check_unindexed(c, &found[i], &spare);
		if (check_stopped(c, err) < 0)
			return -1;
	}
	return keep_spare(c, &spare, err);
}

/* Two segments may name one pack, each some of its chunks. */
static int count_read(struct check *c, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	for (uint32_t i = 0; i < c->pack_count; i++)
		if (c->choices[i].was_read)
			buf_add(&ids, c->choices[i].pack.b, ID_SIZE);
	if (!buf_ok(&ids))
		return error_set(err, ERR_NOMEM, "check: out of memory");
	ids_order(&ids);
	c->report.packs_read = ids.len / ID_SIZE;
	return 0;
}

int check_packs(struct check *c, struct error *err)
{
	if (look_until_they_fit(c, err) < 0)
		return -1;
	CLEAN_FREE struct pack_task *tasks = make_tasks(c, err);
	if (!tasks || make_choices(c, tasks, err) < 0)
		return -1;
	int done = run_tasks(c, tasks, err);
	check_remember(c, done == 0);
	return done < 0 || count_read(c, err) < 0 ? -1 : check_leftovers(c, err);
}
