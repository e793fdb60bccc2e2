/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A growable byte string, and a bounded reader over one.
 *
 * struct buf: start with BUF_INIT; buf_done empties and frees. Appending cannot fail for the
 * caller's purposes: out of memory is remembered in .failed and every later append is a no-op,
 * so an encoder appends freely and checks buf_ok() once, at its end. No locks: one thread at a time.
 *
 * struct cursor: reads bytes that come from outside. Reading past the end sets .bad, yields
 * zeros and stays bad, so a decoder reads a record and checks cursor_ok() before it uses any of it.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clean.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	bool failed;
};

#define BUF_INIT { NULL, 0, 0, false }

void buf_done(struct buf *b);
#define CLEAN_BUF CLEAN(buf_done)

/* Room for extra more bytes; the returned place is at the end, or NULL (and .failed is set). */
uint8_t *buf_reserve(struct buf *b, size_t extra);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_le16(struct buf *b, uint16_t v);
void buf_add_le32(struct buf *b, uint32_t v);
void buf_add_le64(struct buf *b, uint64_t v);
/* LEB128: 7 bits a byte, least significant first, high bit = more follows; 1 to 10 bytes. */
void buf_add_varint(struct buf *b, uint64_t v);
/* Zigzag, then varint: small magnitudes of either sign stay short. */
void buf_add_svarint(struct buf *b, int64_t v);
/* Formatted text, without its terminating zero; after ", " where something stands there already: for lists in messages. At most 511 bytes. */
void buf_list(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* varint length, then the bytes. */
void buf_add_blob(struct buf *b, const void *data, size_t len);
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
}
static inline bool buf_ok(const struct buf *b)
{
	return !b->failed;
}

struct cursor {
	const uint8_t *p;
	const uint8_t *end;
	bool bad;
};

static inline struct cursor cursor_of(const void *data, size_t len)
{
	const uint8_t *p = data;
	return (struct cursor){ p, p ? p + len : p, false };
}
static inline size_t cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}
static inline bool cursor_ok(const struct cursor *c)
{
	return !c->bad;
}
/* The next len bytes in place, or NULL when there are fewer (the cursor is then bad). */
const uint8_t *cursor_take(struct cursor *c, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_le16(struct cursor *c);
uint32_t cursor_le32(struct cursor *c);
uint64_t cursor_le64(struct cursor *c);
/* Bad also when longer than needed (a value has exactly one encoding) or over 64 bits. */
uint64_t cursor_varint(struct cursor *c);
int64_t cursor_svarint(struct cursor *c);
/* A varint length of at most max, then the bytes in place. */
const uint8_t *cursor_blob(struct cursor *c, size_t max, size_t *ret_len);

#endif
