/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A set of numbers below a bound, one bit each, in pages of 4 KiB that exist only where something is set and
 * collapse where everything is: a full or an empty terabyte costs next to nothing. The bit order is that of
 * ext's own bitmaps, so that both compare byte by byte. One thread at a time.
 */
#ifndef FS_EXT_BITS_H
#define FS_EXT_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bits {
	uint64_t count;      /* members are below it */
	size_t page_count;
	uint8_t **pages;     /* NULL: nothing set; the shared full page: everything set */
	uint32_t *filled;    /* bits set in each page */
};

/* -1 when memory is out. */
int bits_init(struct bits *b, uint64_t count);
void bits_done(struct bits *b);

bool bits_test(const struct bits *b, uint64_t at);
/* Whether any of len bits from at is set. */
bool bits_any(const struct bits *b, uint64_t at, uint64_t len);
/* Sets len bits from at, which lie below count. *ret_again is set to true (never to false) where one was set already.
 * -1 when memory is out. */
int bits_set(struct bits *b, uint64_t at, uint64_t len, bool *ret_again);
/* Copies len bits from at into a byte string; at is a multiple of 8; what lies beyond count is 0. */
void bits_copy(const struct bits *b, uint64_t at, uint64_t len, uint8_t *ret);

#endif
