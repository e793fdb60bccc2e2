/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "repo/format/fields.h"
#include "seal/seal.h"

/* Bytes of the shortest part: a hole of less than 64 bytes. */
#define PART_SIZE_MIN 1u

void content_done(struct content *c)
{
	free(c->parts);
	*c = (struct content){ 0 };
}

int content_copy(struct content *ret, const struct content *src)
{
	struct content c = *src;
	c.parts = NULL;
	if (src->count) {
		c.parts = malloc(src->count * sizeof *c.parts);
		if (!c.parts)
			return -1;
		memcpy(c.parts, src->parts, src->count * sizeof *c.parts);
	}
	*ret = c;
	return 0;
}

uint64_t content_sum(const struct content *content)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < content->count; i++) {
		if (content->parts[i].length > FIELD_LENGTH_MAX - sum)
			return UINT64_MAX;
		sum += content->parts[i].length;
	}
	return sum;
}

void content_part_encode(struct buf *b, const struct content_part *p)
{
	buf_add_varint(b, p->length << 1 | (p->kind == CONTENT_HOLE));
	if (p->kind == CONTENT_CHUNK)
		field_add_id(b, &p->chunk);
}

/* *ret is all zero; what is wrong makes the cursor bad. */
static void part_decode(struct content_part *ret, struct cursor *c)
{
	uint64_t head = field_varint(c);
	ret->kind = head & 1 ? CONTENT_HOLE : CONTENT_CHUNK;
	ret->length = head >> 1;
	if (ret->kind == CONTENT_CHUNK)
		ret->chunk = field_id(c);
	if (ret->length == 0 || (ret->kind == CONTENT_CHUNK && ret->length > SEAL_BLOCK_MAX))
		c->bad = true;
}

int content_part_decode(struct content_part *ret, const uint8_t *record, size_t len, struct error *err)
{
	struct cursor c = cursor_of(record, len);
	struct content_part p = { 0 };
	part_decode(&p, &c);
	if (!cursor_ok(&c) || cursor_left(&c))
		return error_set(err, ERR_CORRUPT, "damaged part of a file's content");
	*ret = p;
	return 0;
}

void content_encode(struct buf *b, const struct content *content)
{
	if (content->paged) {
		buf_add_varint(b, 1);
		field_add_id(b, &content->root);
		return;
	}
	buf_add_varint(b, (uint64_t)content->count << 1);
	for (size_t i = 0; i < content->count; i++)
		content_part_encode(b, &content->parts[i]);
}

int content_decode(struct content *ret, struct cursor *c, uint64_t *ret_sum, struct error *err)
{
	uint64_t head = field_varint(c), count = head >> 1;
	*ret_sum = 0;
	if (head == 1) {
		ret->paged = true;
		ret->root = field_id(c);
		return cursor_ok(c) ? 0 : error_set(err, ERR_CORRUPT, "damaged content");
	}
	if (!cursor_ok(c) || (head & 1) || count > CONTENT_INLINE_MAX || count > cursor_left(c) / PART_SIZE_MIN)
		return error_set(err, ERR_CORRUPT, "damaged content");
	if (count == 0)
		return 0;
	ret->parts = calloc(count, sizeof *ret->parts);
	if (!ret->parts)
		return error_set(err, ERR_NOMEM, "out of memory");
	ret->count = count;
	for (uint64_t i = 0; i < count; i++)
		part_decode(&ret->parts[i], c);
	*ret_sum = content_sum(ret);
	if (!cursor_ok(c) || *ret_sum > FIELD_LENGTH_MAX)
		return error_set(err, ERR_CORRUPT, "damaged content");
	return 0;
}
