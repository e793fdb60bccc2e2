/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cut/cut.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cut/aes.h"
#include "cut/internal.h"

/* The hash shifts by one bit a byte, so a byte is gone after this many. */
#define WINDOW 64
#define SMALLEST_AVG 512u

/*
 * Of 2^32 values of the cipher, how many cut. A position is nominated with probability 512 / avg; together with these that makes a cut at
 * 1 / (2 avg) before avg and at 4 / avg behind it, and with min = avg / 4, max = 4 avg a mean chunk of 1.05 avg.
 */
#define STRICT (1u << 22)
#define LOOSE (1u << 25)

struct cutter {
	uint64_t gear[256];
	uint64_t nominated; /* the largest hash that nominates */
	struct cut_params params;
	void (*encrypt)(const struct aes128 *aes, const uint8_t in[16], uint8_t out[16]);
	struct aes128 aes;
};

static int check_params(const struct cut_params *p, struct error *err)
{
	bool power = p->avg && (p->avg & (p->avg - 1)) == 0;
	if (p->min < WINDOW || p->min > p->avg || p->avg > p->max || p->avg < SMALLEST_AVG || !power)
		return error_set(err, ERR_INVALID, "chunk sizes %u, %u, %u (minimum, average, maximum) make no sense", p->min, p->avg,
		                 p->max);
	return 0;
}

/* Four entries from each SHA-256("twofold gear", seed, le32 i). */
static int make_gear(uint64_t gear[256], const uint8_t seed[16], struct error *err)
{
	static const char label[12] = "twofold gear";
	uint8_t in[sizeof label + 16 + 4], out[32];
	memcpy(in, label, sizeof label);
	memcpy(in + sizeof label, seed, 16);
	int done = 1;
	for (uint32_t i = 0; done && i < 64; i++) {
		put_le32(in + sizeof label + 16, i);
		done = EVP_Digest(in, sizeof in, out, NULL, EVP_sha256(), NULL);
		for (uint32_t j = 0; done && j < 4; j++)
			gear[4 * i + j] = get_le64(out + 8 * j);
	}
	explicit_bzero(in, sizeof in);
	explicit_bzero(out, sizeof out);
	return done ? 0 : error_set(err, ERR_UNSUPPORTED, "OpenSSL offers no SHA-256");
}

int cut_new(struct cutter **ret, const struct cut_params *params, const uint8_t key[32], struct error *err)
{
	if (check_params(params, err))
		return -1;
	CLEAN(cutter_cleanup) struct cutter *c = calloc(1, sizeof *c);
	if (!c)
		return error_set(err, ERR_NOMEM, "out of memory");
	c->params = *params;
	c->nominated = UINT64_MAX / (params->avg / SMALLEST_AVG);
	c->encrypt = aes128_has_native() ? aes128_encrypt_native : aes128_encrypt_portable;
	aes128_init(&c->aes, key);
	if (make_gear(c->gear, key + 16, err))
		return -1;
	*ret = TAKE(c);
	return 0;
}

void cut_free(struct cutter *c)
{
	if (!c)
		return;
	explicit_bzero(c, sizeof *c);
	free(c);
}

void cut_use_portable_aes(struct cutter *c)
{
	c->encrypt = aes128_encrypt_portable;
}

const uint64_t *cut_gear(const struct cutter *c)
{
	return c->gear;
}

uint32_t cut_max(const struct cutter *c)
{
	return c->params.max;
}

static bool decide(const struct cutter *c, uint64_t hash, uint32_t threshold)
{
	uint8_t in[16] = { 0 }, out[16];
	put_le64(in, hash);
	c->encrypt(&c->aes, in, out);
	return get_le32(out) < threshold;
}

/*
 * Rolls *hash over data[at], data[at + 1], ... before end; stops behind the first byte that nominates and returns the position there,
 * or end + 1 when there is none. Two bytes a step: the chain from one hash to the next is then a shift and an addition for both together.
 */
static size_t next_nominated(const struct cutter *c, const uint8_t *data, size_t at, size_t end, uint64_t *hash)
{
	const uint64_t *gear = c->gear;
	uint64_t nominated = c->nominated, h = *hash;
#define TWO_BYTES(i)                                                                                                   \
	{                                                                                                              \
		uint64_t first = gear[data[at + (i)]], both = 2 * first + gear[data[at + (i) + 1]];                    \
		uint64_t one = 2 * h + first, two = 4 * h + both;                                                      \
		if (__builtin_expect(one <= nominated, 0)) {                                                           \
			*hash = one;                                                                                   \
			return at + (i) + 1;                                                                           \
		}                                                                                                      \
		h = two;                                                                                               \
		if (__builtin_expect(two <= nominated, 0)) {                                                           \
			*hash = two;                                                                                   \
			return at + (i) + 2;                                                                           \
		}                                                                                                      \
	}
	for (; end - at >= 8; at += 8) {
		TWO_BYTES(0)
		TWO_BYTES(2)
		TWO_BYTES(4)
		TWO_BYTES(6)
	}
#undef TWO_BYTES
	for (; at < end; at++) {
		h = 2 * h + gear[data[at]];
		if (h <= nominated) {
			*hash = h;
			return at + 1;
		}
	}
	*hash = h;
	return end + 1;
}

/* The first position in (at, end] that is nominated and passes; end + 1 when none does. */
static size_t scan(const struct cutter *c, const uint8_t *data, size_t at, size_t end, uint32_t threshold, uint64_t *hash)
{
	while (at < end) {
		at = next_nominated(c, data, at, end, hash);
		if (at > end || decide(c, *hash, threshold))
			return at;
	}
	return end + 1;
}

size_t cut_length(const struct cutter *c, const uint8_t *data, size_t len)
{
	const struct cut_params *p = &c->params;
	if (len <= p->min)
		return len;
	size_t last = (len < p->max ? len : p->max) - 1; /* the last position that needs a decision */
	size_t middle = last < p->avg - 1 ? last : p->avg - 1;
	/* All but one byte of the window, so that the first decision, at min, sees exactly the window as any other does. */
	uint64_t hash = 0;
	size_t at = p->min - WINDOW;
	for (; at < p->min - 1; at++)
		hash = 2 * hash + c->gear[data[at]];

	if (at < middle) {
		size_t cut = scan(c, data, at, middle, STRICT, &hash);
		if (cut <= middle)
			return cut;
		at = middle;
	}
	size_t cut = at < last ? scan(c, data, at, last, LOOSE, &hash) : last + 1;
	return cut; /* last + 1 is max, or the end of the stream */
}
