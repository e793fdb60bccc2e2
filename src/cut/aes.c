/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cut/aes.h"

#include <string.h>

/* Multiplication by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
static uint8_t times_x(uint8_t a)
{
	return (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0));
}

static uint8_t rotate(uint8_t v, unsigned by)
{
	return (uint8_t)(v << by | v >> (8 - by));
}

/* FIPS 197, 5.1.1: the inverse in GF(2^8), then an affine map. Powers of 3 run through the whole field, and 3^i has the inverse 3^(255-i). */
static void make_sbox(uint8_t sbox[256])
{
	uint8_t power[256];
	uint8_t p = 1;
	for (unsigned i = 0; i < 255; i++) {
		power[i] = p;
		p ^= times_x(p);
	}
	power[255] = 1;
	sbox[0] = 0x63;
	for (unsigned i = 0; i < 255; i++) {
		uint8_t inverse = power[255 - i];
		sbox[power[i]] = (uint8_t)(inverse ^ rotate(inverse, 1) ^ rotate(inverse, 2) ^ rotate(inverse, 3) ^
		                           rotate(inverse, 4) ^ 0x63);
	}
}

void aes128_init(struct aes128 *ret, const uint8_t key[16])
{
	make_sbox(ret->sbox);
	uint8_t *words = ret->round_keys[0];
	memcpy(words, key, 16);
	uint8_t rcon = 1;
	for (unsigned at = 16; at < sizeof ret->round_keys; at += 4) {
		uint8_t word[4];
		memcpy(word, words + at - 4, 4);
		if (at % 16 == 0) {
			uint8_t first = word[0];
			for (unsigned i = 0; i < 4; i++)
				word[i] = ret->sbox[i < 3 ? word[i + 1] : first];
			word[0] ^= rcon;
			rcon = times_x(rcon);
		}
		for (unsigned i = 0; i < 4; i++)
			words[at + i] = words[at - 16 + i] ^ word[i];
	}
}

static void add_round_key(uint8_t state[16], const uint8_t key[16])
{
	for (unsigned i = 0; i < 16; i++)
		state[i] ^= key[i];
}

/* SubBytes and ShiftRows; the state's byte in row r and column c is state[4c + r]. */
static void sub_and_shift(const uint8_t sbox[256], uint8_t state[16])
{
	uint8_t old[16];
	memcpy(old, state, 16);
	for (unsigned c = 0; c < 4; c++)
		for (unsigned r = 0; r < 4; r++)
			state[4 * c + r] = sbox[old[4 * ((c + r) % 4) + r]];
}

static void mix_columns(uint8_t state[16])
{
	for (unsigned c = 0; c < 4; c++) {
		uint8_t *col = state + 4 * c;
		uint8_t all = col[0] ^ col[1] ^ col[2] ^ col[3];
		uint8_t first = col[0];
		for (unsigned r = 0; r < 4; r++)
			col[r] ^= all ^ times_x(col[r] ^ (r < 3 ? col[r + 1] : first));
	}
}

void aes128_encrypt_portable(const struct aes128 *aes, const uint8_t in[16], uint8_t out[16])
{
	uint8_t state[16];
	memcpy(state, in, 16);
	add_round_key(state, aes->round_keys[0]);
	for (unsigned round = 1; round < AES128_ROUNDS; round++) {
		sub_and_shift(aes->sbox, state);
		mix_columns(state);
		add_round_key(state, aes->round_keys[round]);
	}
	sub_and_shift(aes->sbox, state);
	add_round_key(state, aes->round_keys[AES128_ROUNDS]);
	memcpy(out, state, 16);
}

#if defined(__x86_64__)
#include <immintrin.h>

bool aes128_has_native(void)
{
	return __builtin_cpu_supports("aes");
}

__attribute__((target("aes,sse2"))) void aes128_encrypt_native(const struct aes128 *aes, const uint8_t in[16],
                                                               uint8_t out[16])
{
	const __m128i *keys = (const __m128i *)(const void *)aes->round_keys;
	__m128i state = _mm_loadu_si128((const __m128i *)(const void *)in);
	state = _mm_xor_si128(state, _mm_loadu_si128(keys));
	for (unsigned round = 1; round < AES128_ROUNDS; round++)
		state = _mm_aesenc_si128(state, _mm_loadu_si128(keys + round));
	state = _mm_aesenclast_si128(state, _mm_loadu_si128(keys + AES128_ROUNDS));
	_mm_storeu_si128((__m128i *)(void *)out, state);
}
#else
bool aes128_has_native(void)
{
	return false;
}

void aes128_encrypt_native(const struct aes128 *aes, const uint8_t in[16], uint8_t out[16])
{
	aes128_encrypt_portable(aes, in, out);
}
#endif
