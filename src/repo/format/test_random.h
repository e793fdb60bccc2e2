/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Repeatable random values for the tests of this folder: splitmix64 (Steele, Lea, Flood, 2014). Not for anything else. */
#ifndef REPO_FORMAT_TEST_RANDOM_H
#define REPO_FORMAT_TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}
static inline uint64_t random_below(uint64_t *state, uint64_t end)
{
	return random_next(state) % end;
}
/* Small, middling and large numbers alike: each count of bits up to bits is as likely. */
static inline uint64_t random_number(uint64_t *state, unsigned bits)
{
	unsigned n = (unsigned)random_below(state, bits + 1);
	return n ? random_next(state) >> (64 - n) : 0;
}
static inline void random_bytes(uint64_t *state, void *ret, size_t len)
{
	for (uint8_t *p = ret; len; p++, len--)
		*p = (uint8_t)random_next(state);
}

#endif
