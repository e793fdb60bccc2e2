/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT;
}

uint8_t *buf_reserve(struct buf *b, size_t extra)
{
	if (b->failed)
		return NULL;
	if (extra > SIZE_MAX / 2 - b->len) {
		b->failed = true;
		return NULL;
	}
	/* Also the first time with nothing to add, so that there is always a place to return. */
	if (!b->data || b->len + extra > b->cap) {
		size_t cap = b->cap ? b->cap : 64;
		while (cap < b->len + extra)
			cap += cap / 2 + 64;
		uint8_t *data = realloc(b->data, cap);
		if (!data) {
			b->failed = true;
			return NULL;
		}
		b->data = data;
		b->cap = cap;
	}
	return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	uint8_t *at = buf_reserve(b, len);
	if (!at)
		return;
	if (len)
		memcpy(at, data, len);
	b->len += len;
}

void buf_add_u8(struct buf *b, uint8_t v)
{
	buf_add(b, &v, 1);
}

void buf_add_le16(struct buf *b, uint16_t v)
{
	uint8_t bytes[2];
	put_le16(bytes, v);
	buf_add(b, bytes, sizeof bytes);
}

void buf_add_le32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4];
	put_le32(bytes, v);
	buf_add(b, bytes, sizeof bytes);
}

void buf_add_le64(struct buf *b, uint64_t v)
{
	uint8_t bytes[8];
	put_le64(bytes, v);
	buf_add(b, bytes, sizeof bytes);
}

void buf_add_varint(struct buf *b, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;
	while (v >= 0x80) {
		bytes[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	bytes[n++] = (uint8_t)v;
	buf_add(b, bytes, n);
}

void buf_add_svarint(struct buf *b, int64_t v)
{
	buf_add_varint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void buf_list(struct buf *b, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (b->len)
		buf_add(b, ", ", 2);
	buf_add(b, text, strlen(text));
}

void buf_add_blob(struct buf *b, const void *data, size_t len)
{
	buf_add_varint(b, len);
	buf_add(b, data, len);
}

const uint8_t *cursor_take(struct cursor *c, size_t len)
{
	if (c->bad || len > cursor_left(c)) {
		c->bad = true;
		return NULL;
	}
	const uint8_t *at = c->p;
	c->p += len;
	return at;
}

uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 1);
	return p ? *p : 0;
}

uint16_t cursor_le16(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 2);
	return p ? get_le16(p) : 0;
}

uint32_t cursor_le32(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 4);
	return p ? get_le32(p) : 0;
}

uint64_t cursor_le64(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 8);
	return p ? get_le64(p) : 0;
}

uint64_t cursor_varint(struct cursor *c)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t byte = cursor_u8(c);
		if (c->bad)
			return 0;
		if ((shift == 63 && byte > 1) || (shift && byte == 0))
			break;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return v;
	}
	c->bad = true;
	return 0;
}

int64_t cursor_svarint(struct cursor *c)
{
	uint64_t v = cursor_varint(c);
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

const uint8_t *cursor_blob(struct cursor *c, size_t max, size_t *ret_len)
{
	uint64_t len = cursor_varint(c);
	if (c->bad || len > max || len > cursor_left(c)) {
		c->bad = true;
		return NULL;
	}
	*ret_len = (size_t)len;
	return cursor_take(c, (size_t)len);
}
