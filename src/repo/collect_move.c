/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which packs go, and copying out of them what lives. */
#include <stdlib.h>

#include "repo/coders.h"
#include "repo/collect_internal.h"
#include "repo/format/pack.h"
#include "repo/object.h"
#include "repo/settle.h"
#include "task/pool.h"

#define SMALL_PACK (WRITER_PACK / 8)
#define SMALL_PACKS_MIN 32 /* so many small packs of a kind are put together */

/* --- choosing --------------------------------------------------------------------------- */

enum owner { OWNER_NOBODY, OWNER_LIVING, OWNER_INTERRUPTED };

/* Whose is it? Header and name are in clear; a false header can only spare a pack, or doom one that nobody reaches. */
static enum owner owner_of(const struct collect *c, const struct pack_info *p)
{
	uint8_t head[PACK_HEADER_SIZE];
	struct pack_header header;
	char key[OBJECT_KEY_MAX];
	if (!c->sessions.count && !c->unfinished.count)
		return OWNER_NOBODY;
	object_key(SEAL_PACK_DATA, &p->id, key);
	if (c->repo->store->ops->get(c->repo->store, key, 0, head, sizeof head, NULL) < 0 || pack_header_decode(&header, head, NULL) < 0)
		return c->sessions.count ? OWNER_LIVING : OWNER_NOBODY;
	for (size_t i = 0; i < c->sessions.count; i++)
		if (c->sessions.items[i].damaged || id_equal(&c->sessions.items[i].session, &header.session))
			return OWNER_LIVING;
	for (size_t i = 0; i < c->unfinished.count; i++)
		if (c->unfinished.items[i].kept && id_equal(&c->unfinished.items[i].session, &header.session))
			return OWNER_INTERRUPTED;
	return OWNER_NOBODY;
}

static uint64_t unused_of(const struct pack_info *p)
{
	return p->total ? (uint64_t)((double)p->size * (double)(p->total - (p->live < p->total ? p->live : p->total)) / (double)p->total) : 0;
}

/* The emptiest first; then the smallest. */
static int by_waste(const void *a, const void *b)
{
	const struct pack_info *x = *(const struct pack_info *const *)a, *y = *(const struct pack_info *const *)b;
	double u = (double)unused_of(x) / x->size, v = (double)unused_of(y) / y->size;
	if (u != v)
		return u > v ? -1 : 1;
	return (x->size > y->size) - (x->size < y->size);
}

static bool is_sealed_before(const struct pack_info *p, unsigned epoch)
{
	return p->how == SEAL_BY_MASTER && p->epoch < epoch;
}

struct choice {
	struct pack_info **packs; /* that hold living chunks and may be rewritten */
	size_t count, small[2];
	uint64_t stored, unused;  /* of what stays, moved packs included as they will be */
	uint64_t left;            /* of max_repack */
};

static void take(struct collect *c, struct choice *choice, struct pack_info *p)
{
	p->flags |= PACK_MOVE;
	c->report.moved_packs++;
	c->report.moved_bytes += p->size;
	choice->unused -= unused_of(p);
	choice->stored -= unused_of(p);
	choice->left -= p->size < choice->left ? p->size : choice->left;
}

static void sort_out(struct collect *c, struct choice *choice, struct pack_info *p)
{
	if (p->flags & PACK_DOOMED) {
		p->flags |= p->live ? PACK_MOVE | PACK_GOES : PACK_GOES;
		*(p->live ? &c->report.moved_packs : &c->report.dead_packs) += 1;
		*(p->live ? &c->report.moved_bytes : &c->report.dead_bytes) += p->size;
		return;
	}
	enum owner owner = p->live < p->total || !p->live ? owner_of(c, p) : OWNER_NOBODY;
	if (owner == OWNER_INTERRUPTED) {
		c->report.kept_packs++;
		c->report.kept_bytes += p->size;
	}
	if (owner != OWNER_NOBODY) {
		p->flags |= PACK_SPARED;
		return;
	}
	if (!p->live) {
		p->flags |= PACK_GOES;
		c->report.dead_packs++;
		c->report.dead_bytes += p->size;
		return;
	}
	choice->stored += p->size;
	choice->unused += unused_of(p);
	choice->packs[choice->count++] = p;
	if (p->size < SMALL_PACK)
		choice->small[p->kind == SEAL_PACK_META]++;
}

int collect_choose(struct collect *c, struct error *err)
{
	struct pack_info *packs = (void *)c->packs.data;
	size_t count = c->packs.len / sizeof *packs;
	struct choice choice = { .left = c->options->max_repack };
	CLEAN_FREE struct pack_info **room = calloc(count + 1, sizeof *room);
	if (!room)
		return error_set(err, ERR_NOMEM, "choose packs: out of memory");
	choice.packs = room;
	for (size_t i = 0; i < count; i++)
		sort_out(c, &choice, &packs[i]);
	if (choice.count)
		qsort(choice.packs, choice.count, sizeof(struct pack_info *), by_waste);
	for (size_t i = 0; i < choice.count; i++) {
		struct pack_info *p = choice.packs[i];
		bool wasteful = unused_of(p) && (double)choice.unused * 100 > (double)choice.stored * c->options->max_unused;
		bool small = c->options->max_unused < 100 && p->size < SMALL_PACK && choice.small[p->kind == SEAL_PACK_META] >= SMALL_PACKS_MIN;
		if ((wasteful || small) && choice.left >= p->size)
			take(c, &choice, p);
	}
	/* Those that come first by waste are resealed first. The last one may go over the limit, or nothing would ever be done where the limit is small. */
	for (size_t i = 0; i < choice.count && choice.left; i++) {
		struct pack_info *p = choice.packs[i];
		if (p->flags & PACK_MOVE || !is_sealed_before(p, c->options->reseal) || owner_of(c, p) == OWNER_LIVING)
			continue;
		take(c, &choice, p);
		c->report.resealed_packs++;
		c->report.resealed_bytes += p->size;
	}
	c->report.unused_bytes = choice.unused;
	return 0;
}

/* --- copying ------------------------------------------------------------------------------ */

struct mover {
	struct collect *c;
	struct buf *plain;     /* by slot: a block as it is under its cipher */
	struct buf *raw;       /* by slot */
	struct read_ahead *ahead; /* by slot */
};

struct move_task {
	struct mover *mover;
	const struct pack_info *pack;
};

/* Whether this very place is where the chunk lives. */
static int lives_here(const struct collect *c, const struct pack_info *p, uint32_t block, const struct id *id, bool *ret, struct error *err)
{
	struct place place;
	bool found;
	if (index_find(c->repo->index, id, &found, &place, err) < 0)
		return -1;
	*ret = found && id_equal(&place.pack, &p->id) && place.block == block && row_set_has(&c->live, place.row);
	return 0;
}

/* As it was compressed, under another key. */
static int copy_whole(struct mover *m, unsigned slot, enum seal_kind kind, const struct pack_block *b, const struct pack_chunk *chunks, struct error *err)
{
	const struct buf *plain = &m->plain[slot];
	struct seal_payload payload = { .bytes = plain->data + SEAL_BLOCK_HEAD, .len = plain->len - SEAL_BLOCK_HEAD };
	memcpy(payload.head, plain->data, SEAL_BLOCK_HEAD);
	return writer_put_block(m->c->writer, slot, kind == SEAL_PACK_DATA ? CHUNK_DATA : CHUNK_META, &payload, b->raw_length, chunks, b->chunk_count, err);
}

static int copy_block(struct mover *m, unsigned slot, const struct pack_info *p, enum seal_kind kind, const struct place *at, const struct pack_block *b,
                      const struct pack_chunk *chunks, struct error *err)
{
	struct collect *c = m->c;
	enum chunk_class class = kind == SEAL_PACK_DATA ? CHUNK_DATA : CHUNK_META;
	size_t living = 0;
	CLEAN_FREE bool *lives = calloc(b->chunk_count, sizeof *lives);
	if (!lives)
		return error_set(err, ERR_NOMEM, "copy a block: out of memory");
	for (size_t i = 0; i < b->chunk_count; i++) {
		if (lives_here(c, p, at->block, &chunks[i].id, &lives[i], err) < 0)
			return -1;
		living += lives[i];
	}
	if (!living)
		return 0;
	if (repo_read_block_both(c->repo, at, p->size, &m->ahead[slot], &m->plain[slot], &m->raw[slot], err) < 0)
		return -1;
	struct place place = *at;
	for (size_t i = 0; i < b->chunk_count; i++) {
		place.length = chunks[i].length;
		if (lives[i] && repo_verify_chunk(c->repo, class, &chunks[i].id, &place, m->raw[slot].data + place.offset, err) < 0)
			return -1;
		place.offset += place.length;
	}
	if (living == b->chunk_count)
		return copy_whole(m, slot, kind, b, chunks, err);
	uint32_t offset = 0;
	for (size_t i = 0; i < b->chunk_count; i++) {
		if (lives[i] && writer_put_copy(c->writer, slot, class, m->raw[slot].data + offset, chunks[i].length, &chunks[i].id, err) < 0)
			return -1;
		offset += chunks[i].length;
	}
	return 0;
}

static int move_pack(struct mover *m, unsigned slot, const struct pack_info *p, struct error *err)
{
	struct collect *c = m->c;
	CLEAN(pack_table_done) struct pack_table table = { 0 };
	enum seal_kind kind;
	if (repo_read_pack_table(c->repo, &p->id, p->size, &kind, &table, err) < 0)
		return -1;
	struct place at = { .pack = p->id, .kind = kind, .how = table.by.how, .epoch = table.by.epoch, .pack_size = p->size, .block_offset = PACK_HEADER_SIZE };
	for (size_t i = 0; i < table.block_count; i++) {
		const struct pack_block *b = &table.blocks[i];
		at.block = (uint32_t)i;
		at.sealed_length = b->sealed_length;
		at.raw_length = b->raw_length;
		if (collect_stopped(c, err) < 0 || copy_block(m, slot, p, kind, &at, b, table.chunks + b->first_chunk, err) < 0)
			return -1;
		at.block_offset += b->sealed_length;
		progress_add(c->options->progress, 0, b->sealed_length);
	}
	return 0;
}

static int run_move(const struct task_context *ctx, void *arg, struct error *err)
{
	CLEAN_FREE struct move_task *t = arg;
	return ctx->cancelled ? 0 : move_pack(t->mover, ctx->slot, t->pack, err);
}

static int submit_moves(struct mover *m, struct pool *pool, unsigned slot, struct error *err)
{
	const struct pack_info *packs = (const void *)m->c->packs.data;
	for (size_t i = 0; i < m->c->packs.len / sizeof *packs; i++) {
		if (!(packs[i].flags & PACK_MOVE))
			continue;
		struct move_task *t = malloc(sizeof *t);
		if (!t)
			return error_set(err, ERR_NOMEM, "copy packs: out of memory");
		*t = (struct move_task){ m, &packs[i] };
		pool_submit(pool, POOL_CONTENT, slot, run_move, t);
	}
	return pool_wait(pool, err);
}

static int begin_writing(struct collect *c, struct error *err)
{
	struct writer_options options = { .slots = c->options->threads + 1, .level = c->options->level, .work = WORK_COLLECT, .host = c->options->host, .session = c->session };
	return c->writer ? 0 : writer_begin(&c->writer, c->repo, &options, err);
}

static int move_all(struct collect *c, struct error *err)
{
	static const unsigned limits[POOL_LANES] = { [POOL_CONTENT] = 4 };
	unsigned slots = c->options->threads + 1;
	struct pool *pool;
	struct mover m = { .c = c, .plain = calloc(slots, sizeof *m.plain), .raw = calloc(slots, sizeof *m.raw), .ahead = calloc(slots, sizeof *m.ahead) };
	int done = m.plain && m.raw && m.ahead ? 0 : error_set(err, ERR_NOMEM, "copy packs: out of memory");
	if (done == 0 && (done = pool_new(&pool, c->options->threads, 1, limits, err)) == 0) {
		done = submit_moves(&m, pool, c->options->threads, err);
		pool_free(pool);
	}
	for (unsigned i = 0; i < slots; i++) {
		if (m.plain)
			buf_done(&m.plain[i]);
		if (m.raw)
			buf_done(&m.raw[i]);
		if (m.ahead)
			read_ahead_done(&m.ahead[i]);
	}
	free(m.plain);
	free(m.raw);
	free(m.ahead);
	return done;
}

int collect_move(struct collect *c, struct error *err)
{
	struct pack_info *packs = (void *)c->packs.data;
	struct writer_stats stats;
	if (!c->report.moved_packs)
		return 0;
	progress_add_total(c->options->progress, 0, c->report.moved_bytes);
	if (begin_writing(c, err) < 0 || move_all(c, err) < 0 || writer_flush(c->writer, err) < 0)
		return -1;
	writer_stats(c->writer, &stats);
	c->report.copied_bytes = stats.added_stored;
	for (size_t i = 0; i < c->packs.len / sizeof *packs; i++)
		if (packs[i].flags & PACK_MOVE)
			packs[i].flags |= PACK_GOES;
	return 0;
}

int collect_rescue(struct collect *c, const struct buf *unsettled, struct error *err)
{
	CLEAN_BUF struct buf chunk = BUF_INIT;
	const struct unsettled *u = (const void *)unsettled->data;
	if (begin_writing(c, err) < 0)
		return -1;
	for (size_t i = 0; i < unsettled->len / sizeof *u; i++)
		if (repo_get(c->repo, u[i].class, &u[i].id, &chunk, err) < 0 || writer_put_copy(c->writer, 0, u[i].class, chunk.data, chunk.len, &u[i].id, err) < 0)
			return -1;
	return writer_flush(c->writer, err);
}
