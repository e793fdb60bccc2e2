/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/map.h"

#include <stdlib.h>

#include "repo/format/fields.h"
#include "seal/seal.h"

/* --- ranges of a disk ------------------------------------------------------- */

void map_range_encode(struct buf *b, const struct map_range *r)
{
	buf_add_varint(b, r->length << 2 | (unsigned)r->kind);
	if (r->kind != MAP_DATA)
		return;
	field_add_id(b, &r->chunk);
	buf_add_varint(b, r->offset);
	/* What the chunk holds behind the range: mostly nothing, so one byte. */
	buf_add_varint(b, (uint64_t)r->chunk_length - r->offset - r->length);
}

int map_range_decode(struct map_range *ret, const uint8_t *record, size_t len, struct error *err)
{
	struct cursor c = cursor_of(record, len);
	uint64_t head = field_varint(&c);
	struct map_range r = { .kind = (enum map_kind)(head & 3), .length = head >> 2 };
	if (r.kind == MAP_DATA) {
		r.chunk = field_id(&c);
		r.offset = (uint32_t)field_max(&c, SEAL_BLOCK_MAX);
		uint64_t rest = field_max(&c, SEAL_BLOCK_MAX);
		if (r.length > SEAL_BLOCK_MAX || r.offset + r.length + rest > SEAL_BLOCK_MAX)
			return error_set(err, ERR_CORRUPT, "range of the disk outside its chunk");
		r.chunk_length = (uint32_t)(r.offset + r.length + rest);
	}
	if (!cursor_ok(&c) || cursor_left(&c) || r.length == 0)
		return error_set(err, ERR_CORRUPT, "damaged range of the disk");
	*ret = r;
	return 0;
}

/* --- inode table -------------------------------------------------------------- */

enum {
	INODE_GENERATION = 1u << 0,
	INODE_SIZE = 1u << 1,
	INODE_CTIME = 1u << 2,   /* differs from mtime */
	INODE_EXTENTS = 1u << 3,
	INODE_CONTENT = 1u << 4,
	INODE_BITS_END = 1u << 5,
};
/* Bytes of the shortest extent. */
#define EXTENT_SIZE_MIN 3u

void inode_record_done(struct inode_record *r)
{
	free(r->extents);
	content_done(&r->content);
	*r = (struct inode_record){ 0 };
}

void inode_record_key(uint64_t number, uint8_t ret[8])
{
	put_be64(ret, number);
}

/* How many low bits are zero in all numbers of all extents: they are counted in units of that size. */
static unsigned extents_shift(const struct inode_extent *e, size_t count)
{
	uint64_t all = 0;
	for (size_t i = 0; i < count; i++)
		all |= e[i].logical | e[i].physical | e[i].length;
	return all ? (unsigned)__builtin_ctzll(all) : 0;
}

static void extents_encode(struct buf *b, const struct inode_extent *e, size_t count)
{
	unsigned shift = extents_shift(e, count);
	uint64_t logical = 0, physical = 0;
	buf_add_varint(b, count);
	buf_add_u8(b, (uint8_t)shift);
	for (size_t i = 0; i < count; i++) {
		uint64_t length = e[i].length >> shift;
		buf_add_varint(b, length << 1 | e[i].unwritten);
		buf_add_varint(b, (e[i].logical >> shift) - logical);
		buf_add_svarint(b, (int64_t)((e[i].physical >> shift) - physical));
		logical = (e[i].logical >> shift) + length;
		physical = (e[i].physical >> shift) + length;
	}
}

void inode_record_encode(struct buf *b, const struct inode_record *r)
{
	uint32_t bits = 0;
	bits |= r->generation ? INODE_GENERATION : 0;
	bits |= r->size ? INODE_SIZE : 0;
	bits |= time_compare(r->ctime, r->mtime) ? INODE_CTIME : 0;
	bits |= r->extent_count ? INODE_EXTENTS : 0;
	bits |= r->has_content ? INODE_CONTENT : 0;
	/* Fixed, and first: it is the record's key as it stands. */
	uint8_t key[8];
	inode_record_key(r->number, key);
	buf_add(b, key, sizeof key);
	buf_add_varint(b, bits);
	if (bits & INODE_GENERATION)
		buf_add_varint(b, r->generation);
	if (bits & INODE_SIZE)
		buf_add_varint(b, r->size);
	field_add_time(b, r->mtime);
	if (bits & INODE_CTIME)
		field_add_time_after(b, r->ctime, r->mtime);
	if (bits & INODE_EXTENTS)
		extents_encode(b, r->extents, r->extent_count);
	if (bits & INODE_CONTENT)
		content_encode(b, &r->content);
}

/* One extent, in units; its numbers in bytes stay below 2^63. */
static void extent_decode(struct inode_extent *ret, struct cursor *c, unsigned shift, uint64_t *logical, uint64_t *physical)
{
	uint64_t max = FIELD_LENGTH_MAX >> shift;
	uint64_t head = field_varint(c), length = head >> 1;
	uint64_t gap = field_max(c, max);
	uint64_t from = *logical + gap, at = *physical + (uint64_t)field_svarint(c);
	if (length == 0 || length > max || from > max - length || at > max - length) {
		c->bad = true;
		return;
	}
	*ret = (struct inode_extent){ from << shift, at << shift, length << shift, head & 1 };
	*logical = from + length;
	*physical = at + length;
}

static int extents_decode(struct inode_record *r, struct cursor *c, struct error *err)
{
	uint64_t count = field_set(c, UINT64_MAX), logical = 0, physical = 0;
	unsigned shift = cursor_u8(c);
	if (!cursor_ok(c) || count == 0 || shift > 62 || count > cursor_left(c) / EXTENT_SIZE_MIN)
		return error_set(err, ERR_CORRUPT, "damaged extents");
	r->extents = calloc(count, sizeof *r->extents);
	if (!r->extents)
		return error_set(err, ERR_NOMEM, "out of memory");
	r->extent_count = count;
	for (uint64_t i = 0; i < count && cursor_ok(c); i++)
		extent_decode(&r->extents[i], c, shift, &logical, &physical);
	if (!cursor_ok(c) || extents_shift(r->extents, count) != shift)
		return error_set(err, ERR_CORRUPT, "damaged extents");
	return 0;
}

static int inode_fields_decode(struct inode_record *r, struct cursor *c, struct error *err)
{
	const uint8_t *key = cursor_take(c, 8);
	r->number = key ? get_be64(key) : 0;
	uint64_t bits = field_varint(c), sum;
	if (bits >= INODE_BITS_END)
		return error_set(err, ERR_UNSUPPORTED, "fields that this version does not know");
	r->generation = bits & INODE_GENERATION ? (uint32_t)field_set(c, UINT32_MAX) : 0;
	r->size = bits & INODE_SIZE ? field_set(c, FIELD_LENGTH_MAX) : 0;
	r->mtime = field_time(c);
	r->ctime = bits & INODE_CTIME ? field_time_after(c, r->mtime) : r->mtime;
	if ((bits & INODE_EXTENTS) && extents_decode(r, c, err) < 0)
		return -1;
	if (bits & INODE_CONTENT) {
		r->has_content = true;
		if (content_decode(&r->content, c, &sum, err) < 0)
			return -1;
		if (!r->content.paged && sum != r->size)
			return error_set(err, ERR_CORRUPT, "the parts of the content do not add up to the size");
	}
	if (!cursor_ok(c) || cursor_left(c))
		return error_set(err, ERR_CORRUPT, "damaged fields");
	return 0;
}

int inode_record_decode(struct inode_record *ret, const uint8_t *record, size_t len, struct error *err)
{
	CLEAN(inode_record_done) struct inode_record r = { 0 };
	struct cursor c = cursor_of(record, len);
	if (inode_fields_decode(&r, &c, err) < 0)
		return error_add(err, "record of inode %llu", (unsigned long long)r.number);
	*ret = r;
	r = (struct inode_record){ 0 };
	return 0;
}
