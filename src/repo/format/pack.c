/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/pack.h"

#include <stdlib.h>

#include "repo/format/document.h"
#include "repo/format/fields.h"

static const uint8_t head_magic[8] = "2FOLDPAK", foot_magic[8] = "2FOLDEND";

/* Bytes of the shortest block and chunk in a table. */
#define TABLE_BLOCK_MIN 9u
#define TABLE_CHUNK_MIN (ID_SIZE + 1u)
/* A sealed block has at least one byte of payload. */
#define SEALED_BLOCK_MIN (SEAL_BLOCK_HEAD + 1u + SEAL_TAG_SIZE)

void pack_header_encode(uint8_t ret[PACK_HEADER_SIZE], const struct pack_header *h)
{
	memset(ret, 0, PACK_HEADER_SIZE);
	memcpy(ret, head_magic, sizeof head_magic);
	put_le16(ret + 8, head_by_version(&h->by));
	ret[10] = (uint8_t)h->kind;
	head_by_encode(ret + 11, &h->by);
	memcpy(ret + 16, h->pack.b, ID_SIZE);
	memcpy(ret + 48, h->session.b, ID_SIZE);
}

int pack_header_decode(struct pack_header *ret, const uint8_t bytes[PACK_HEADER_SIZE], struct error *err)
{
	if (memcmp(bytes, head_magic, sizeof head_magic) != 0)
		return error_set(err, ERR_CORRUPT, "not a pack");
	uint16_t version = get_le16(bytes + 8);
	if (version > OBJECT_VERSION)
		return error_set(err, ERR_UNSUPPORTED, "pack has format version %u, this program knows up to %u", version, OBJECT_VERSION);
	uint8_t kind = bytes[10];
	struct id session;
	memcpy(session.b, bytes + 48, ID_SIZE);
	if (version == 0 || (kind != SEAL_PACK_DATA && kind != SEAL_PACK_META) || !head_by_decode(&ret->by, version, bytes + 11, &session))
		return error_set(err, ERR_CORRUPT, "damaged pack header");
	ret->kind = (enum seal_kind)kind;
	memcpy(ret->pack.b, bytes + 16, ID_SIZE);
	ret->session = session;
	return 0;
}

void pack_footer_encode(uint8_t ret[PACK_FOOTER_SIZE], uint64_t table_offset, uint32_t table_length)
{
	memset(ret, 0, PACK_FOOTER_SIZE);
	put_le64(ret, table_offset);
	put_le32(ret + 8, table_length);
	memcpy(ret + 24, foot_magic, sizeof foot_magic);
}

int pack_footer_decode(uint64_t *ret_offset, uint32_t *ret_length, const uint8_t bytes[PACK_FOOTER_SIZE], uint64_t pack_size, struct error *err)
{
	if (memcmp(bytes + 24, foot_magic, sizeof foot_magic) != 0 || !field_is_zero(bytes + 12, 12))
		return error_set(err, ERR_CORRUPT, "damaged pack footer");
	uint64_t offset = get_le64(bytes);
	uint32_t length = get_le32(bytes + 8);
	if (pack_size > PACK_SIZE_MAX || pack_size < PACK_HEADER_SIZE + PACK_FOOTER_SIZE || offset < PACK_HEADER_SIZE ||
	    offset > pack_size - PACK_FOOTER_SIZE || length != pack_size - PACK_FOOTER_SIZE - offset || length <= SEAL_TAG_SIZE ||
	    length > PACK_TABLE_MAX + SEAL_TAG_SIZE)
		return error_set(err, ERR_CORRUPT, "pack footer does not fit a pack of %llu bytes", (unsigned long long)pack_size);
	*ret_offset = offset;
	*ret_length = length;
	return 0;
}

/* --- table ------------------------------------------------------------------ */

void pack_table_done(struct pack_table *t)
{
	free(t->blocks);
	free(t->chunks);
	*t = (struct pack_table){ 0 };
}

/* Room for one more item of an array that holds count: the capacity is the power of two from 16 up, so it need not be kept. */
static int grow(void **items, size_t count, size_t size)
{
	if (count && (count < 16 || (count & (count - 1))))
		return 0;
	void *grown = realloc(*items, (count < 16 ? 16 : 2 * count) * size);
	if (!grown)
		return -1;
	*items = grown;
	return 0;
}

int pack_table_add_block(struct pack_table *t, uint32_t sealed_length, uint32_t raw_length)
{
	void *blocks = t->blocks;
	if (grow(&blocks, t->block_count, sizeof *t->blocks) < 0)
		return -1;
	t->blocks = blocks;
	struct pack_block *b = &t->blocks[t->block_count];
	*b = (struct pack_block){ .offset = PACK_HEADER_SIZE, .sealed_length = sealed_length, .raw_length = raw_length, .first_chunk = t->chunk_count };
	if (t->block_count)
		b->offset = b[-1].offset + b[-1].sealed_length;
	t->block_count++;
	return 0;
}

int pack_table_add_chunk(struct pack_table *t, const struct id *id, uint32_t length)
{
	void *chunks = t->chunks;
	if (grow(&chunks, t->chunk_count, sizeof *t->chunks) < 0)
		return -1;
	t->chunks = chunks;
	t->chunks[t->chunk_count++] = (struct pack_chunk){ *id, length };
	t->blocks[t->block_count - 1].chunk_count++;
	return 0;
}

/* How many zeros bring a pack whose table has len bytes to a multiple of PACK_PAD. */
static size_t padding(uint64_t blocks_length, size_t len)
{
	uint64_t size = PACK_HEADER_SIZE + blocks_length + len + SEAL_TAG_SIZE + PACK_FOOTER_SIZE;
	return (size_t)(-size & (PACK_PAD - 1));
}

void pack_table_encode(struct buf *b, const struct pack_table *t, uint64_t blocks_length)
{
	size_t before = b->len;
	field_add_id(b, &t->session);
	buf_add_varint(b, t->block_count);
	for (size_t i = 0; i < t->block_count; i++) {
		const struct pack_block *block = &t->blocks[i];
		buf_add_le32(b, block->sealed_length);
		buf_add_le32(b, block->raw_length);
		buf_add_varint(b, block->chunk_count);
		for (size_t k = 0; k < block->chunk_count; k++) {
			const struct pack_chunk *chunk = &t->chunks[block->first_chunk + k];
			field_add_id(b, &chunk->id);
			buf_add_varint(b, chunk->length);
		}
	}
	size_t pad = padding(blocks_length, b->len - before);
	uint8_t *zeros = buf_reserve(b, pad);
	if (!zeros)
		return;
	memset(zeros, 0, pad);
	b->len += pad;
}

static int block_decode(struct pack_table *t, struct cursor *c, struct error *err)
{
	uint32_t sealed = cursor_le32(c), raw = cursor_le32(c);
	uint64_t chunks = field_set(c, UINT64_MAX), sum = 0;
	if (!cursor_ok(c) || sealed < SEALED_BLOCK_MIN || raw > SEAL_BLOCK_MAX || chunks > cursor_left(c) / TABLE_CHUNK_MIN)
		return error_set(err, ERR_CORRUPT, "damaged pack table");
	if (pack_table_add_block(t, sealed, raw) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (uint64_t i = 0; i < chunks; i++) {
		struct id id = field_id(c);
		uint64_t length = field_set(c, SEAL_BLOCK_MAX);
		sum += length;
		if (!cursor_ok(c) || sum > raw)
			return error_set(err, ERR_CORRUPT, "pack table: chunks do not fit their block");
		if (pack_table_add_chunk(t, &id, (uint32_t)length) < 0)
			return error_set(err, ERR_NOMEM, "out of memory");
	}
	if (sum != raw)
		return error_set(err, ERR_CORRUPT, "pack table: chunks do not fill their block");
	return 0;
}

int pack_table_decode(struct pack_table *ret, const uint8_t *plain, size_t len, uint64_t blocks_length, struct error *err)
{
	CLEAN(pack_table_done) struct pack_table t = { 0 };
	struct cursor c = cursor_of(plain, len);
	t.session = field_id(&c);
	uint64_t count = field_varint(&c), sealed = 0;
	if (!cursor_ok(&c) || len > PACK_TABLE_MAX || blocks_length > PACK_SIZE_MAX || count > cursor_left(&c) / TABLE_BLOCK_MIN)
		return error_set(err, ERR_CORRUPT, "damaged pack table");
	for (uint64_t i = 0; i < count; i++) {
		if (block_decode(&t, &c, err) < 0)
			return -1;
		sealed += t.blocks[i].sealed_length;
		if (sealed > blocks_length)
			break;
	}
	if (sealed != blocks_length)
		return error_set(err, ERR_CORRUPT, "pack table: blocks do not fill the pack");
	size_t pad = cursor_left(&c);
	if (pad != padding(blocks_length, len - pad) || !field_is_zero(c.p, pad))
		return error_set(err, ERR_CORRUPT, "pack table: wrong padding");
	*ret = t;
	t = (struct pack_table){ 0 };
	return 0;
}
