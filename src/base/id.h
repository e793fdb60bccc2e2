/* SPDX-License-Identifier: GPL-3.0-or-later */
/* 32-byte names: of chunks (keyed hashes), and of repository objects (random). */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ID_SIZE 32
#define ID_HEX_SIZE 65 /* with the terminating zero */

struct id {
	uint8_t b[ID_SIZE];
};

static inline int id_compare(const struct id *a, const struct id *b)
{
	return memcmp(a->b, b->b, ID_SIZE);
}
static inline bool id_equal(const struct id *a, const struct id *b)
{
	return memcmp(a->b, b->b, ID_SIZE) == 0;
}
/* Lower-case hexadecimal. */
void id_to_hex(const struct id *id, char ret[ID_HEX_SIZE]);
/* Exactly 64 hexadecimal digits; false otherwise. */
bool id_from_hex(const char *hex, struct id *ret);

#endif
