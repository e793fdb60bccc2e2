/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/segment.h"

#include <stdlib.h>

#include "repo/format/document.h"
#include "repo/format/fields.h"

static const uint8_t magic[8] = "2FOLDIDX";

/* --- writing ------------------------------------------------------------------ */

/* Sorting moves these, not the 44 bytes of a chunk; rows make equal ids keep their order. */
struct sort_key {
	uint64_t prefix; /* first 8 bytes of the id, as a number */
	uint32_t row;
};

struct sort_job {
	const struct segment_chunk *chunks;
	struct sort_key *keys; /* owned */
	size_t count;
};

static void sort_job_done(struct sort_job *job)
{
	free(job->keys);
}

static int compare_keys(const void *va, const void *vb, void *cookie)
{
	const struct sort_key *a = va, *b = vb;
	const struct segment_chunk *chunks = cookie;
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	int c = id_compare(&chunks[a->row].id, &chunks[b->row].id);
	if (c)
		return c;
	return a->row < b->row ? -1 : a->row > b->row;
}

/* Ids are uniform, so the buckets are small, and mostly in order after insertion sort; qsort_r for what is not uniform. */
static void sort_bucket(const struct sort_job *job, size_t from, size_t to)
{
	void *chunks = (void *)(uintptr_t)job->chunks;
	struct sort_key *k = job->keys + from;
	size_t n = to - from;
	if (n > 32) {
		qsort_r(k, n, sizeof *k, compare_keys, chunks);
		return;
	}
	for (size_t i = 1; i < n; i++) {
		struct sort_key key = k[i];
		size_t at = i;
		for (; at && compare_keys(&k[at - 1], &key, chunks) > 0; at--)
			k[at] = k[at - 1];
		k[at] = key;
	}
}

/* One distribution by the leading bits into buckets of about 8, then each bucket for itself: linear time for uniform ids. */
static int sort_chunks(struct sort_job *job, struct error *err)
{
	unsigned bits = 1;
	while (bits < 24 && ((size_t)8 << bits) < job->count)
		bits++;
	size_t buckets = (size_t)1 << bits;
	CLEAN_FREE uint32_t *ends = calloc(buckets + 1, sizeof *ends);
	job->keys = calloc(job->count ? job->count : 1, sizeof *job->keys);
	if (!ends || !job->keys)
		return error_set(err, ERR_NOMEM, "out of memory for an index segment of %zu chunks", job->count);
	for (size_t i = 0; i < job->count; i++)
		ends[(get_be64(job->chunks[i].id.b) >> (64 - bits)) + 1]++;
	for (size_t i = 1; i <= buckets; i++)
		ends[i] += ends[i - 1];
	/* ends[b] is where bucket b begins, and moves to its end. */
	for (size_t i = 0; i < job->count; i++) {
		uint64_t prefix = get_be64(job->chunks[i].id.b);
		job->keys[ends[prefix >> (64 - bits)]++] = (struct sort_key){ prefix, (uint32_t)i };
	}
	for (size_t i = 0, from = 0; i < buckets; from = ends[i++])
		sort_bucket(job, from, ends[i]);
	return 0;
}

static int check_rows(const struct segment_block *blocks, size_t pack_count, const struct sort_job *job, size_t block_count, struct error *err)
{
	if (pack_count > UINT32_MAX || block_count > UINT32_MAX || job->count > UINT32_MAX)
		return error_set(err, ERR_INVALID, "index segment of more than 4 294 967 295 rows");
	for (size_t i = 0; i < block_count; i++)
		if (blocks[i].pack >= pack_count)
			return error_set(err, ERR_INVALID, "index segment: block %zu refers to pack %u of %zu", i, blocks[i].pack, pack_count);
	for (size_t i = 0; i < job->count; i++)
		if (job->chunks[i].block >= block_count)
			return error_set(err, ERR_INVALID, "index segment: chunk %zu refers to block %u of %zu", i, job->chunks[i].block, block_count);
	return 0;
}

static uint8_t *put_packs(uint8_t *at, const struct segment_pack *packs, size_t count)
{
	for (size_t i = 0; i < count; i++, at += SEGMENT_PACK_SIZE) {
		memcpy(at, packs[i].id.b, ID_SIZE);
		at[32] = (uint8_t)packs[i].kind;
		at[33] = (uint8_t)packs[i].how;
		put_le16(at + 34, packs[i].epoch);
		put_le32(at + 36, packs[i].size);
	}
	return at;
}

static uint8_t *put_blocks(uint8_t *at, const struct segment_block *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++, at += SEGMENT_BLOCK_SIZE) {
		put_le32(at, blocks[i].pack);
		put_le32(at + 4, blocks[i].number);
		put_le32(at + 8, blocks[i].offset);
		put_le32(at + 12, blocks[i].sealed_length);
		put_le32(at + 16, blocks[i].raw_length);
	}
	return at;
}

/* Drops equal ids but the first. Returns how many rows it wrote. */
static uint64_t put_chunks(uint8_t *at, const struct sort_job *job)
{
	uint64_t rows = 0;
	for (size_t i = 0; i < job->count; i++) {
		const struct segment_chunk *c = &job->chunks[job->keys[i].row];
		if (rows && memcmp(at - SEGMENT_CHUNK_SIZE, c->id.b, ID_SIZE) == 0)
			continue;
		memcpy(at, c->id.b, ID_SIZE);
		put_le32(at + 32, c->block);
		put_le32(at + 36, c->offset);
		put_le32(at + 40, c->length);
		at += SEGMENT_CHUNK_SIZE;
		rows++;
	}
	return rows;
}

void segment_header(uint8_t ret[SEGMENT_HEADER_SIZE], const struct id *session, uint32_t pack_count, uint32_t block_count, uint64_t chunk_count)
{
	memset(ret, 0, SEGMENT_HEADER_SIZE);
	memcpy(ret, magic, sizeof magic);
	put_le16(ret + 8, FORMAT_VERSION);
	put_le32(ret + 16, pack_count);
	put_le32(ret + 20, block_count);
	put_le64(ret + 24, chunk_count);
	memcpy(ret + 32, session->b, ID_SIZE);
}

int segment_encode(struct buf *b, const struct id *session, const struct segment_pack *packs, size_t pack_count, const struct segment_block *blocks,
                   size_t block_count, const struct segment_chunk *chunks, size_t chunk_count, struct error *err)
{
	CLEAN(sort_job_done) struct sort_job job = { chunks, NULL, chunk_count };
	if (check_rows(blocks, pack_count, &job, block_count, err) < 0 || sort_chunks(&job, err) < 0)
		return -1;
	uint8_t *head = buf_reserve(b, SEGMENT_HEADER_SIZE + pack_count * SEGMENT_PACK_SIZE + block_count * SEGMENT_BLOCK_SIZE +
	                                   chunk_count * SEGMENT_CHUNK_SIZE);
	if (!head)
		return error_set(err, ERR_NOMEM, "out of memory for an index segment of %zu chunks", chunk_count);
	uint8_t *at = put_packs(head + SEGMENT_HEADER_SIZE, packs, pack_count);
	at = put_blocks(at, blocks, block_count);
	uint64_t rows = put_chunks(at, &job);
	segment_header(head, session, (uint32_t)pack_count, (uint32_t)block_count, rows);
	b->len += (size_t)(at - head) + rows * SEGMENT_CHUNK_SIZE;
	return 0;
}

/* --- reading -------------------------------------------------------------------- */

int segment_view(struct segment *ret, const void *data, size_t len, struct error *err)
{
	const uint8_t *p = data;
	if (len < SEGMENT_HEADER_SIZE || memcmp(p, magic, sizeof magic) != 0)
		return error_set(err, ERR_CORRUPT, "not an index segment");
	uint16_t version = get_le16(p + 8);
	if (version > FORMAT_VERSION)
		return error_set(err, ERR_UNSUPPORTED, "index segment has format version %u, this program knows up to %u", version, FORMAT_VERSION);
	struct segment s = { .pack_count = get_le32(p + 16), .block_count = get_le32(p + 20), .chunk_count = get_le64(p + 24) };
	uint64_t before = SEGMENT_HEADER_SIZE + (uint64_t)s.pack_count * SEGMENT_PACK_SIZE + (uint64_t)s.block_count * SEGMENT_BLOCK_SIZE;
	/* The division keeps the product from wrapping. */
	if (version == 0 || !field_is_zero(p + 10, 6) || before > len || s.chunk_count != (len - before) / SEGMENT_CHUNK_SIZE ||
	    (len - before) % SEGMENT_CHUNK_SIZE)
		return error_set(err, ERR_CORRUPT, "damaged index segment");
	s.packs = p + SEGMENT_HEADER_SIZE;
	s.blocks = s.packs + (size_t)s.pack_count * SEGMENT_PACK_SIZE;
	s.chunks = p + before;
	memcpy(s.session.b, p + 32, ID_SIZE);
	*ret = s;
	return 0;
}

void segment_pack_at(const struct segment *s, uint32_t row, struct segment_pack *ret)
{
	const uint8_t *p = s->packs + (size_t)row * SEGMENT_PACK_SIZE;
	memcpy(ret->id.b, p, ID_SIZE);
	ret->kind = (enum seal_kind)p[32];
	ret->how = (enum seal_how)p[33];
	ret->epoch = get_le16(p + 34);
	ret->size = get_le32(p + 36);
}

int segment_block_at(const struct segment *s, uint32_t row, struct segment_block *ret, struct error *err)
{
	if (row >= s->block_count)
		return error_set(err, ERR_CORRUPT, "index segment refers to block %u of %u", row, s->block_count);
	const uint8_t *p = s->blocks + (size_t)row * SEGMENT_BLOCK_SIZE;
	struct segment_block b = { get_le32(p), get_le32(p + 4), get_le32(p + 8), get_le32(p + 12), get_le32(p + 16) };
	if (b.pack >= s->pack_count)
		return error_set(err, ERR_CORRUPT, "index segment refers to pack %u of %u", b.pack, s->pack_count);
	struct segment_pack pack;
	segment_pack_at(s, b.pack, &pack);
	if ((uint64_t)b.offset + b.sealed_length > pack.size || b.raw_length > SEAL_BLOCK_MAX)
		return error_set(err, ERR_CORRUPT, "index segment: block %u does not fit its pack", row);
	*ret = b;
	return 0;
}

static void get_chunk(const uint8_t *p, struct segment_chunk *ret)
{
	memcpy(ret->id.b, p, ID_SIZE);
	ret->block = get_le32(p + 32);
	ret->offset = get_le32(p + 36);
	ret->length = get_le32(p + 40);
}

void segment_chunk_at(const struct segment *s, uint64_t row, struct segment_chunk *ret)
{
	get_chunk(s->chunks + row * SEGMENT_CHUNK_SIZE, ret);
}

static const uint8_t *row_id(const struct segment *s, uint64_t row)
{
	return s->chunks + row * SEGMENT_CHUNK_SIZE;
}

/* How many rows lie between two prefixes that are distance apart, if ids are uniform. */
static uint64_t rows_between(const struct segment *s, uint64_t distance)
{
	return (uint64_t)((unsigned __int128)distance * s->chunk_count >> 64);
}

/* [lo, hi) is where the id can be; found rows leave lo == hi == row and *found true. */
struct search {
	uint64_t lo, hi;
	bool found;
};

static void look_at(const struct segment *s, const struct id *id, uint64_t row, struct search *at)
{
	int c = memcmp(row_id(s, row), id->b, ID_SIZE);
	if (c < 0)
		at->lo = row + 1;
	else if (c > 0)
		at->hi = row;
	else
		*at = (struct search){ row, row, true };
}

static uint64_t clamp(uint64_t row, const struct search *at)
{
	return row < at->lo ? at->lo : row >= at->hi ? at->hi - 1 : row;
}

/*
 * The first guess is off by about the square root of the row count, the second by the square root of that; from there
 * it widens in doubling steps until the id is enclosed, and halves. So two or three pages are touched for uniform ids, and O(log n) for any bytes.
 */
bool segment_find(const struct segment *s, const struct id *id, uint64_t *ret_row)
{
	struct search at = { 0, s->chunk_count, false };
	uint64_t prefix = get_be64(id->b), row = rows_between(s, prefix);
	bool up = true;
	for (int i = 0; i < 3 && at.lo < at.hi; i++) {
		row = clamp(row, &at);
		uint64_t here = get_be64(row_id(s, row));
		look_at(s, id, row, &at);
		up = row < at.lo;
		uint64_t off = rows_between(s, up ? prefix - here : here - prefix);
		row = up ? row + off : row - (off < row ? off : row);
	}
	for (uint64_t step = 4; at.lo < at.hi && at.hi - at.lo > step; step *= 2) {
		uint64_t next = up ? at.lo + step : at.hi - 1 - step;
		look_at(s, id, next, &at);
		if (at.found || up != (next < at.lo))
			break;
	}
	while (at.lo < at.hi)
		look_at(s, id, at.lo + (at.hi - at.lo) / 2, &at);
	if (at.found)
		*ret_row = at.lo;
	return at.found;
}

/* Rows of the chunk table that are read together: no more than a page, and more than the second guess is off by. */
#define WINDOW_ROWS 92u
#define GUESSES 4

struct window {
	uint64_t from; /* row */
	size_t rows;
	uint8_t bytes[WINDOW_ROWS * SEGMENT_CHUNK_SIZE];
};

/* Halves the window; false: not there. */
static bool find_in_window(const struct window *w, const struct id *id, size_t *ret_row)
{
	size_t lo = 0, hi = w->rows;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = memcmp(w->bytes + mid * SEGMENT_CHUNK_SIZE, id->b, ID_SIZE);
		if (c == 0) {
			*ret_row = mid;
			return true;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* Narrows at to what lies beside the window on the id's side, and returns where in there it should be; both ends equal: the window is where it must be. */
static uint64_t beside_window(const struct segment *s, const struct window *w, const struct id *id, struct search *at)
{
	const uint8_t *first = w->bytes, *last = w->bytes + (w->rows - 1) * SEGMENT_CHUNK_SIZE;
	uint64_t prefix = get_be64(id->b);
	if (memcmp(id->b, first, ID_SIZE) < 0) {
		uint64_t off = rows_between(s, get_be64(first) - prefix);
		at->hi = w->from;
		return w->from - (off < w->from ? off : w->from);
	}
	if (memcmp(id->b, last, ID_SIZE) > 0) {
		at->lo = w->from + w->rows;
		return at->lo + rows_between(s, prefix - get_be64(last));
	}
	at->lo = at->hi = w->from;
	return w->from;
}

int segment_find_reading(const struct segment *s, segment_read_fn read, void *cookie, const struct id *id, bool *ret_found, uint64_t *ret_row,
                         struct segment_chunk *ret_chunk)
{
	const uint64_t table = SEGMENT_HEADER_SIZE + (uint64_t)s->pack_count * SEGMENT_PACK_SIZE + (uint64_t)s->block_count * SEGMENT_BLOCK_SIZE;
	struct search at = { 0, s->chunk_count, false };
	uint64_t guess = rows_between(s, get_be64(id->b));
	struct window w;
	*ret_found = false;
	for (int i = 0; at.lo < at.hi; i++) {
		/* Where guesses do not lead there, the ids are not uniform: halve. */
		guess = i < GUESSES ? clamp(guess, &at) : at.lo + (at.hi - at.lo) / 2;
		/* The first guess only tells where to look. */
		uint64_t rows = i == 0 ? 1 : WINDOW_ROWS;
		w.from = guess - at.lo < rows / 2 ? at.lo : guess - rows / 2;
		w.rows = (size_t)(at.hi - w.from < rows ? at.hi - w.from : rows);
		if (!read(cookie, table + w.from * SEGMENT_CHUNK_SIZE, w.bytes, w.rows * SEGMENT_CHUNK_SIZE))
			return -1;
		guess = beside_window(s, &w, id, &at);
	}
	size_t row;
	if (s->chunk_count == 0 || !find_in_window(&w, id, &row))
		return 0;
	*ret_found = true;
	*ret_row = w.from + row;
	get_chunk(w.bytes + row * SEGMENT_CHUNK_SIZE, ret_chunk);
	return 0;
}
