/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Looking chunks up, with bounded memory. */
#include <sys/mman.h>
#include <unistd.h>

#include "repo/ids.h"
#include "repo/index_internal.h"

/* A page fault in a mapped file brings in up to 16 pages (the kernel's fault-around). */
#define TOUCH_BYTES (64u << 10)

void index_give_back(struct index *x)
{
	if (x->mapped_bytes <= x->resident)
		return;
	for (size_t i = 0; i < x->count; i++)
		if (x->segments[i].mapped)
			madvise(x->segments[i].bytes, x->segments[i].len, MADV_DONTNEED);
}

void index_read_through(struct index *x, bool in_order)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->segments[i].mapped)
			madvise(x->segments[i].bytes, x->segments[i].len, in_order ? MADV_NORMAL : MADV_RANDOM);
}

/* Gives mapped pages back before they add up; a page that is wanted again comes from the page cache. */
static void bound_resident(struct index *x)
{
	if (atomic_fetch_add_explicit(&x->touches, 1, memory_order_relaxed) < x->resident / TOUCH_BYTES)
		return;
	atomic_store_explicit(&x->touches, 0, memory_order_relaxed);
	index_give_back(x);
}

static bool read_mapped(void *cookie, uint64_t offset, void *to, size_t len)
{
	const struct loaded *segment = cookie;
	return pread(segment->fd, to, len, (off_t)offset) == (ssize_t)len;
}

/* A large index is read where it is searched: a page fault brings in sixteen pages, which then must be given back, and costs ten times as much (docs/decisions/large-index.md).
 * But not by who goes through it in order, and so comes to the same pages again, and gives them back himself. */
enum search_how { SEARCH_ANY, SEARCH_IN_ORDER };

static bool is_read(const struct index *x, const struct loaded *segment, enum search_how how)
{
	return how == SEARCH_ANY && x->mapped_bytes > x->resident && segment->mapped;
}

static bool find_in(struct index *x, struct loaded *segment, enum search_how how, const struct id *id, uint64_t *ret_row, struct segment_chunk *ret)
{
	bool found = false, large = is_read(x, segment, how);
	if (large && segment_find_reading(&segment->view, read_mapped, segment, id, &found, ret_row, ret) == 0)
		return found;
	if (large)
		bound_resident(x);
	found = segment_find(&segment->view, id, ret_row);
	if (found)
		segment_chunk_at(&segment->view, *ret_row, ret);
	return found;
}

/* false: to be looked at in the mapping. */
static bool read_row(const struct loaded *segment, const uint8_t *table, uint32_t row, uint8_t *bytes, size_t size)
{
	return pread(segment->fd, bytes, size, table - segment->bytes + (off_t)row * (off_t)size) == (ssize_t)size;
}

/* Block and pack of a chunk; of a large index they are read as well. */
static int rows_of(struct index *x, const struct loaded *segment, enum search_how how, uint32_t row, struct segment_block *ret_block, struct segment_pack *ret_pack, struct error *err)
{
	const struct segment *s = &segment->view;
	bool large = is_read(x, segment, how);
	uint8_t block[SEGMENT_BLOCK_SIZE], pack[SEGMENT_PACK_SIZE];
	if (large && row < s->block_count && read_row(segment, s->blocks, row, block, sizeof block) && get_le32(block) < s->pack_count &&
	    read_row(segment, s->packs, get_le32(block), pack, sizeof pack)) {
		const uint32_t pack_row = get_le32(block);
		put_le32(block, 0); /* the one row of packs that is at hand */
		struct segment one = { .packs = pack, .blocks = block, .pack_count = 1, .block_count = 1 };
		if (segment_block_at(&one, 0, ret_block, err) < 0)
			return -1;
		segment_pack_at(&one, 0, ret_pack);
		ret_block->pack = pack_row;
		return 0;
	}
	if (large)
		bound_resident(x);
	if (segment_block_at(s, row, ret_block, err) < 0)
		return -1;
	segment_pack_at(s, ret_block->pack, ret_pack);
	return 0;
}

/* How good a place is. Of what machines wrote that may only write nothing is relied on, as its rows may be lies; but such a machine has nothing else. */
enum worth { WORTH_NOTHING, WORTH_BY_SESSION_MARKED, WORTH_BY_SESSION, WORTH_MARKED, WORTH_RELYING };

static enum worth row_worth(struct index *x, const struct loaded *segment, enum search_how how, const struct segment_chunk *chunk)
{
	struct segment_block block;
	struct segment_pack pack;
	if ((!segment->by_session && !x->marked.len && !x->has_trusted && !x->absent.len) || rows_of(x, segment, how, chunk->block, &block, &pack, NULL) < 0)
		return segment->by_session ? WORTH_BY_SESSION_MARKED : WORTH_RELYING; /* a row that makes no sense is told by index_find */
	if (x->has_trusted && !segment->own && !ids_have(&x->trusted, &pack.id))
		return WORTH_NOTHING;
	for (size_t at = 0; at < x->absent.len; at += ID_SIZE)
		if (memcmp(x->absent.data + at, pack.id.b, ID_SIZE) == 0)
			return WORTH_NOTHING;
	bool marked = ids_have(&x->marked, &pack.id);
	if (pack.how == SEAL_BY_SESSION && !(x->keys && seal_is_write_only(x->keys)))
		return marked ? WORTH_BY_SESSION_MARKED : WORTH_BY_SESSION;
	return marked ? WORTH_MARKED : WORTH_RELYING;
}

/* false: no segment has it. The copy stays valid: segments are never unloaded before the index is. Of places of equal worth the newest counts. */
static bool find_segment(struct index *x, enum search_how how, const struct id *id, struct loaded *ret, uint64_t *ret_row, struct segment_chunk *ret_chunk, bool *ret_marked)
{
	enum worth best = WORTH_NOTHING;
	pthread_rwlock_rdlock(&x->loading);
	for (size_t i = x->count; i-- > 0 && best < WORTH_RELYING;) {
		struct segment_chunk chunk;
		uint64_t row;
		if (x->segments[i].gone || !find_in(x, &x->segments[i], how, id, &row, &chunk))
			continue;
		enum worth worth = row_worth(x, &x->segments[i], how, &chunk);
		if (worth <= best)
			continue;
		best = worth;
		*ret = x->segments[i];
		*ret_row = row;
		*ret_chunk = chunk;
	}
	*ret_marked = best < WORTH_RELYING;
	pthread_rwlock_unlock(&x->loading);
	return best > WORTH_NOTHING;
}

int index_find(struct index *x, const struct id *id, bool *ret_found, struct place *ret, struct error *err)
{
	uint64_t row;
	struct loaded segment;
	struct segment_chunk chunk;
	struct segment_block block;
	struct segment_pack pack;
	bool marked;
	*ret_found = find_segment(x, SEARCH_ANY, id, &segment, &row, &chunk, &marked);
	if (!*ret_found)
		return 0;
	if (rows_of(x, &segment, SEARCH_ANY, chunk.block, &block, &pack, err) < 0)
		return error_add(err, "look up a chunk in the index");
	if ((uint64_t)chunk.offset + chunk.length > block.raw_length || (uint64_t)block.offset + block.sealed_length > pack.size ||
	    block.raw_length > SEAL_BLOCK_MAX)
		return error_set(err, ERR_CORRUPT, "look up a chunk in the index: its place makes no sense; run twofold check");
	*ret = (struct place){ .pack = pack.id,
		               .kind = pack.kind,
		               .how = pack.how,
		               .epoch = pack.epoch,
		               .pack_row = segment.first_row + block.pack,
		               .pack_size = pack.size,
		               .block = block.number,
		               .block_offset = block.offset,
		               .sealed_length = block.sealed_length,
		               .raw_length = block.raw_length,
		               .offset = chunk.offset,
		               .length = chunk.length,
		               .row = segment.first_chunk + row,
		               .marked = marked };
	return 0;
}

#define DENSE_ROWS 512 /* on average between two ids: further apart, each is in pages of its own */

void index_find_many(struct index *x, const struct id *ids, size_t count, index_found_fn fn, void *cookie)
{
	uint64_t apart = x->chunks / (count + 1) + 1;
	enum search_how how = apart <= DENSE_ROWS ? SEARCH_IN_ORDER : SEARCH_ANY;
	uint64_t at_once = x->resident / 2 / (apart * SEGMENT_CHUNK_SIZE) + 1;
	index_read_through(x, how == SEARCH_IN_ORDER);
	for (size_t i = 0; i < count; i++) {
		struct loaded segment;
		struct segment_chunk chunk;
		uint64_t row = 0;
		bool marked;
		if (i % at_once == 0)
			index_give_back(x);
		bool found = find_segment(x, how, &ids[i], &segment, &row, &chunk, &marked);
		fn(cookie, &ids[i], found, found ? segment.first_chunk + row : 0);
	}
	index_give_back(x);
	index_read_through(x, false);
}

bool index_is_settled(struct index *x, const struct id *id)
{
	uint64_t row;
	struct loaded segment;
	struct segment_chunk chunk;
	bool marked;
	return find_segment(x, SEARCH_ANY, id, &segment, &row, &chunk, &marked) && !marked;
}
