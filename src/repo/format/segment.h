/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Index segment: a sorted, immutable table chunk id -> place. The plaintext is used in place (memory-mapped from the local cache), so all is fixed-size.
 *
 *   0    header, 64 bytes: magic "2FOLDIDX", le16 version, 6 zero, le32 pack count, le32 block count, le64 chunk count, session id[32]
 *   64   packs:  id[32], u8 kind, u8 how and le16 epoch of the key that sealed it (struct seal_by), le32 size of the pack in bytes
 *   ..   blocks: le32 pack (row), le32 block number in the pack, le32 offset in the pack, le32 sealed length, le32 raw length
 *   ..   chunks, ascending by id: id[32], le32 block (row), le32 offset in the raw block, le32 length
 * Sizes follow exactly from the counts. The sealed object: see docs/FORMAT.md "Sealed objects" (padded, in messages of 1 MiB).
 * Ids are uniform (keyed hash), so a look-up interpolates: about one page of the chunk table is touched.
 */
#ifndef REPO_FORMAT_SEGMENT_H
#define REPO_FORMAT_SEGMENT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"
#include "seal/seal.h"

#define SEGMENT_HEADER_SIZE 64u
#define SEGMENT_PACK_SIZE 40u
#define SEGMENT_BLOCK_SIZE 20u
#define SEGMENT_CHUNK_SIZE 44u

struct segment_pack {
	struct id id;
	enum seal_kind kind;
	uint32_t size;
	enum seal_how how; /* which key sealed it; by session: its header says whose */
	uint16_t epoch;
};
struct segment_block {
	uint32_t pack, number, offset, sealed_length, raw_length;
};
struct segment_chunk {
	struct id id;
	uint32_t block, offset, length;
};

/* A view of a segment's bytes, which stay the caller's. */
struct segment {
	const uint8_t *packs, *blocks, *chunks;
	uint32_t pack_count, block_count;
	uint64_t chunk_count;
	struct id session;
};

/* Appends the whole segment. Chunks may come in any order; of equal ids the first wins. Needs 16 bytes a chunk besides the result. Rows that refer to blocks or packs
 * that are not there: ERR_INVALID. */
int segment_encode(struct buf *b, const struct id *session, const struct segment_pack *packs, size_t pack_count, const struct segment_block *blocks,
                   size_t block_count, const struct segment_chunk *chunks, size_t chunk_count, struct error *err);
/* The header alone, for who writes the tables piece by piece. */
void segment_header(uint8_t ret[SEGMENT_HEADER_SIZE], const struct id *session, uint32_t pack_count, uint32_t block_count, uint64_t chunk_count);
/* Checks header and exact size only (a segment may be gigabytes): rows are checked when they are read. */
int segment_view(struct segment *ret, const void *data, size_t len, struct error *err);
void segment_pack_at(const struct segment *s, uint32_t row, struct segment_pack *ret);
/* Row numbers out of range: ERR_CORRUPT. */
int segment_block_at(const struct segment *s, uint32_t row, struct segment_block *ret, struct error *err);
void segment_chunk_at(const struct segment *s, uint64_t row, struct segment_chunk *ret);
/* Interpolation search; false: not there. */
bool segment_find(const struct segment *s, const struct id *id, uint64_t *ret_row);

/* Reads len bytes of the segment from an offset on into to; false: not to be had. */
typedef bool (*segment_read_fn)(void *cookie, uint64_t offset, void *to, size_t len);
/* segment_find without touching the chunk table in memory: two pieces of about 4 KiB are read for uniform ids, O(log n) for any bytes.
 * -1: read failed. Else 0, and *ret_found says whether ret_row and ret_chunk were set. */
int segment_find_reading(const struct segment *s, segment_read_fn read, void *cookie, const struct id *id, bool *ret_found, uint64_t *ret_row,
                         struct segment_chunk *ret_chunk);

#endif
