/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pack: sealed blocks, a sealed table of them, a fixed footer. Pure codecs; sealing and storing are repo/'s.
 *
 *   0    header, 80 bytes in clear: magic "2FOLDPAK", le16 version, u8 kind (enum seal_kind), which key sealed it (5 bytes), pack id[32], session id[32]
 *   80   blocks, each a message of seal (counter = block number from 0), one after the other
 *   T    table: a message with counter PACK_TABLE_COUNTER
 *   end-32  footer in clear: le64 T, le32 sealed length of the table, 12 zero bytes, magic "2FOLDEND"
 * The table's plaintext:
 *   session id[32] (must equal the header's), varint block count, for each block: le32 sealed length, le32 raw length, varint chunk count, for each chunk: id[32], varint length
 *   then zero padding up to a multiple that hides exact sizes.
 * Chunks lie in their block one after the other from offset 0; their lengths add up to the raw length.
 */
#ifndef REPO_FORMAT_PACK_H
#define REPO_FORMAT_PACK_H

#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"
#include "seal/seal.h"

#define PACK_HEADER_SIZE 80u
#define PACK_FOOTER_SIZE 32u
#define PACK_TABLE_COUNTER UINT64_MAX
#define PACK_TABLE_MAX (64u << 20)
#define PACK_SIZE_MAX (1u << 30)
#define PACK_PAD (16u << 10) /* a finished pack's size is a multiple of this */

struct pack_header {
	enum seal_kind kind;
	struct id pack, session;
	struct seal_by by;
};
struct pack_chunk {
	struct id id;
	uint32_t length;
};
struct pack_block {
	uint32_t offset;        /* from the start of the pack; computed, not stored */
	uint32_t sealed_length;
	uint32_t raw_length;
	size_t first_chunk;     /* index into chunks */
	size_t chunk_count;
};
struct pack_table {
	struct seal_by by; /* of the pack; not in the table's bytes */
	struct id session;
	struct pack_block *blocks;
	size_t block_count;
	struct pack_chunk *chunks;
	size_t chunk_count;
};

void pack_header_encode(uint8_t ret[PACK_HEADER_SIZE], const struct pack_header *h);
int pack_header_decode(struct pack_header *ret, const uint8_t bytes[PACK_HEADER_SIZE], struct error *err);
void pack_footer_encode(uint8_t ret[PACK_FOOTER_SIZE], uint64_t table_offset, uint32_t table_length);
/* pack_size: the object's; refuses a table that does not lie between header and footer. */
int pack_footer_decode(uint64_t *ret_offset, uint32_t *ret_length, const uint8_t bytes[PACK_FOOTER_SIZE], uint64_t pack_size, struct error *err);

void pack_table_done(struct pack_table *t);
/* Appends a block without chunks, then its chunks; -1 when memory is out. */
int pack_table_add_block(struct pack_table *t, uint32_t sealed_length, uint32_t raw_length);
int pack_table_add_chunk(struct pack_table *t, const struct id *id, uint32_t length);
/* Pads so that PACK_HEADER_SIZE + blocks + sealed table + footer is a multiple of PACK_PAD; blocks_length: sum of sealed lengths. */
void pack_table_encode(struct buf *b, const struct pack_table *t, uint64_t blocks_length);
/* blocks_length: table offset - PACK_HEADER_SIZE, which the sealed lengths must add up to. */
int pack_table_decode(struct pack_table *ret, const uint8_t *plain, size_t len, uint64_t blocks_length, struct error *err);

#endif
