/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Little-endian and big-endian integers in byte strings. Everything on disk goes through these. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdint.h>
#include <string.h>

#define BYTES_LE(n, type)                                                                          \
	static inline type get_le##n(const void *p)                                                \
	{                                                                                          \
		type v;                                                                            \
		memcpy(&v, p, sizeof v);                                                           \
		return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? v : (type)__builtin_bswap##n(v); \
	}                                                                                          \
	static inline void put_le##n(void *p, type v)                                              \
	{                                                                                          \
		if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)                                     \
			v = (type)__builtin_bswap##n(v);                                           \
		memcpy(p, &v, sizeof v);                                                           \
	}                                                                                          \
	static inline type get_be##n(const void *p)                                                \
	{                                                                                          \
		type v;                                                                            \
		memcpy(&v, p, sizeof v);                                                           \
		return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? v : (type)__builtin_bswap##n(v);   \
	}                                                                                          \
	static inline void put_be##n(void *p, type v)                                              \
	{                                                                                          \
		if (__BYTE_ORDER__ != __ORDER_BIG_ENDIAN__)                                        \
			v = (type)__builtin_bswap##n(v);                                           \
		memcpy(p, &v, sizeof v);                                                           \
	}
BYTES_LE(16, uint16_t)
BYTES_LE(32, uint32_t)
BYTES_LE(64, uint64_t)
#undef BYTES_LE

#endif
