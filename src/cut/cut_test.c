/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/bytes.h"
#include "cut/aes.h"
#include "cut/cut.h"
#include "cut/internal.h"

static const struct cut_params usual = { CUT_MIN, CUT_AVG, CUT_MAX };
static const struct cut_params small = { 256, 1024, 4096 };

/* The stream of docs/FORMAT.md's test vector: splitmix64 from seed, each value in little-endian. */
static uint8_t *stream(size_t len, uint64_t seed)
{
	uint8_t *data = malloc(len);
	assert_non_null(data);
	for (size_t at = 0; at < len; at += 8) {
		seed += UINT64_C(0x9e3779b97f4a7c15);
		uint64_t z = seed;
		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		uint8_t bytes[8];
		put_le64(bytes, z ^ z >> 31);
		memcpy(data + at, bytes, len - at < 8 ? len - at : 8);
	}
	return data;
}

static struct cutter *cutter(const struct cut_params *params, uint8_t first_key_byte)
{
	uint8_t key[32];
	for (unsigned i = 0; i < sizeof key; i++)
		key[i] = (uint8_t)(first_key_byte + i);
	struct cutter *c = NULL;
	struct error err;
	assert_int_equal(cut_new(&c, params, key, &err), 0);
	return c;
}

static void skip_without_aes(void)
{
	if (aes128_has_native())
		return;
	print_message("skipped: this processor has no AES instructions, so only the portable way can be tested\n");
	skip();
}

static void aes_is_that_of_fips_197(void **state)
{
	(void)state;
	static const uint8_t expected[16] = { 0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
		                              0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a };
	uint8_t key[16], plain[16], out[16];
	for (unsigned i = 0; i < 16; i++) {
		key[i] = (uint8_t)i;
		plain[i] = (uint8_t)(i * 0x11);
	}
	struct aes128 aes;
	aes128_init(&aes, key);
	aes128_encrypt_portable(&aes, plain, out);
	assert_memory_equal(out, expected, 16);
	skip_without_aes();
	aes128_encrypt_native(&aes, plain, out);
	assert_memory_equal(out, expected, 16);
}

static void native_and_portable_aes_agree(void **state)
{
	(void)state;
	skip_without_aes();
	CLEAN_FREE uint8_t *data = stream(32 * 1000, 5);
	for (unsigned i = 0; i < 1000; i++) {
		struct aes128 aes;
		uint8_t native[16], portable[16];
		aes128_init(&aes, data + 32 * i);
		aes128_encrypt_native(&aes, data + 32 * i + 16, native);
		aes128_encrypt_portable(&aes, data + 32 * i + 16, portable);
		assert_memory_equal(native, portable, 16);
	}
}

/* From an independent implementation (Python, OpenSSL's AES). A change here is a change of the format. */
static const size_t vector[] = { 1132966, 1503576, 1094392, 1083691, 1487453, 1130443, 956087 };

static void check_vector(bool portable)
{
	CLEAN(cutter_cleanup) struct cutter *c = cutter(&usual, 0);
	if (portable)
		cut_use_portable_aes(c);
	size_t len = 8u << 20, at = 0;
	CLEAN_FREE uint8_t *data = stream(len, 0);
	for (size_t i = 0; i < sizeof vector / sizeof *vector; i++) {
		size_t cut = cut_length(c, data + at, len - at);
		assert_int_equal(cut, vector[i]);
		at += cut;
	}
	assert_int_equal(at, len);
}

static void cuts_where_the_format_says(void **state)
{
	(void)state;
	check_vector(false);
	check_vector(true);
}

/* Every hash afresh from its 64 bytes: what comes before them must not matter, and no step of the scan may be skipped or done twice. */
static size_t plain_cut(const struct aes128 *aes, const uint64_t gear[256], const struct cut_params *p, const uint8_t *data, size_t len)
{
	if (len <= p->min)
		return len;
	size_t limit = len < p->max ? len : p->max;
	for (size_t at = p->min; at < limit; at++) {
		uint64_t hash = 0;
		for (size_t i = at - 64; i < at; i++)
			hash = 2 * hash + gear[data[i]];
		if (hash > UINT64_MAX / (p->avg / 512))
			continue;
		uint8_t block[16] = { 0 };
		put_le64(block, hash);
		aes128_encrypt_portable(aes, block, block);
		if (get_le32(block) < (at < p->avg ? 1u << 22 : 1u << 25))
			return at;
	}
	return limit;
}

static void fast_scan_equals_the_definition(void **state)
{
	(void)state;
	static const struct cut_params shapes[] = {
		{ 64, 512, 512 }, { 64, 512, 5000 }, { 100, 1024, 4096 }, { 1024, 1024, 1024 }, { 1023, 2048, 2049 }, { 1024, 1024, 4096 },
	};
	CLEAN_FREE uint8_t *data = stream(200000, 9);
	for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
		CLEAN(cutter_cleanup) struct cutter *c = cutter(&shapes[s], 40);
		struct aes128 aes;
		uint8_t key[16];
		for (unsigned i = 0; i < 16; i++)
			key[i] = (uint8_t)(40 + i);
		aes128_init(&aes, key);
		for (size_t at = 0, len = 200000 - s, cut; at < len; at += cut) {
			cut = cut_length(c, data + at, len - at);
			assert_int_equal(cut, plain_cut(&aes, cut_gear(c), &shapes[s], data + at, len - at));
		}
		for (size_t len = 0; len < 2 * shapes[s].min; len++) /* ends of streams, of every remainder */
			assert_int_equal(cut_length(c, data, len), plain_cut(&aes, cut_gear(c), &shapes[s], data, len));
	}
}

static void cut_does_not_depend_on_what_follows(void **state)
{
	(void)state;
	CLEAN(cutter_cleanup) struct cutter *c = cutter(&small, 3);
	size_t len = 1u << 20;
	CLEAN_FREE uint8_t *data = stream(len, 11);
	for (size_t at = 0, cut; at < len; at += cut) {
		cut = cut_length(c, data + at, len - at);
		size_t least = len - at < small.max ? len - at : small.max;
		/* An exact copy, so that a sanitizer sees a byte read behind it. */
		CLEAN_FREE uint8_t *copy = malloc(least);
		memcpy(copy, data + at, least);
		assert_int_equal(cut_length(c, copy, least), cut);
	}
}

static void chunks_keep_their_bounds(void **state)
{
	(void)state;
	size_t len = 100000;
	CLEAN_FREE uint8_t *data = calloc(1, len);
	for (unsigned key = 0; key < 8; key++) { /* equal bytes: the same decision everywhere */
		CLEAN(cutter_cleanup) struct cutter *c = cutter(&small, (uint8_t)(17 * key));
		assert_int_equal(cut_max(c), small.max);
		assert_int_equal(cut_length(c, data, 0), 0);
		assert_int_equal(cut_length(c, data, 1), 1);
		assert_int_equal(cut_length(c, data, small.min), small.min);
		for (size_t at = 0, cut; at < len; at += cut) {
			cut = cut_length(c, data + at, len - at);
			assert_in_range(cut, len - at < small.min ? len - at : small.min, small.max);
		}
	}
}

static void insertion_moves_the_cuts_with_the_content(void **state)
{
	(void)state;
	CLEAN(cutter_cleanup) struct cutter *c = cutter(&small, 77);
	size_t len = 1u << 20, inserted = 1000;
	CLEAN_FREE uint8_t *old = stream(len, 21), *new = malloc(len + inserted), *ends = calloc(1, len + 1);
	memset(new, 'x', inserted);
	memcpy(new + inserted, old, len);
	size_t cuts = 0, shared = 0;
	for (size_t at = 0; at < len;) {
		at += cut_length(c, old + at, len - at);
		ends[at] = 1;
		cuts++;
	}
	size_t first_shared = SIZE_MAX;
	for (size_t at = 0; at < len + inserted;) {
		at += cut_length(c, new + at, len + inserted - at);
		bool same = at >= inserted && ends[at - inserted];
		if (same && first_shared == SIZE_MAX)
			first_shared = at;
		if (first_shared != SIZE_MAX)
			assert_true(same); /* once in step, always in step */
		shared += same;
	}
	assert_true(first_shared < 30 * small.avg);
	assert_true(shared + 30 > cuts);
}

static void mean_is_near_the_average(void **state)
{
	(void)state;
	CLEAN(cutter_cleanup) struct cutter *c = cutter(&small, 1);
	size_t len = 16u << 20, chunks = 0;
	CLEAN_FREE uint8_t *data = stream(len, 2);
	for (size_t at = 0; at < len; chunks++)
		at += cut_length(c, data + at, len - at);
	/* 1.047 is expected, and the spread of a chunk is 0.4: over 16000 chunks 0.003. */
	assert_in_range(len / chunks, small.avg * 103 / 100, small.avg * 106 / 100);
}

static void another_key_cuts_elsewhere(void **state)
{
	(void)state;
	size_t len = 1u << 20, same = 0, cuts = 0;
	CLEAN_FREE uint8_t *data = stream(len, 2);
	CLEAN_FREE uint8_t *ends = calloc(1, len + 1);
	for (uint8_t half = 0; half < 2; half++) { /* the two differ in one half of the key only */
		for (uint8_t other = 0; other < 2; other++) {
			uint8_t key[32] = { 0 };
			key[16 * half] = other;
			CLEAN(cutter_cleanup) struct cutter *c = NULL;
			assert_int_equal(cut_new(&c, &small, key, NULL), 0);
			for (size_t at = 0; at < len;) {
				at += cut_length(c, data + at, len - at);
				same += other && ends[at];
				cuts += other;
				ends[at] = !other;
			}
		}
		memset(ends, 0, len + 1);
	}
	assert_true(same * 20 < cuts);
}

static void senseless_sizes_are_refused(void **state)
{
	(void)state;
	static const struct cut_params bad[] = {
		{ 63, 1024, 4096 }, { 256, 1000, 4096 }, { 2048, 1024, 4096 }, { 256, 1024, 1023 }, { 64, 256, 1024 }, { 0, 0, 0 },
	};
	static const uint8_t key[32];
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct cutter *c = NULL;
		struct error err = { 0 };
		assert_int_equal(cut_new(&c, &bad[i], key, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_null(c);
	}
	cut_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aes_is_that_of_fips_197),
		cmocka_unit_test(native_and_portable_aes_agree),
		cmocka_unit_test(cuts_where_the_format_says),
		cmocka_unit_test(fast_scan_equals_the_definition),
		cmocka_unit_test(cut_does_not_depend_on_what_follows),
		cmocka_unit_test(chunks_keep_their_bounds),
		cmocka_unit_test(insertion_moves_the_cuts_with_the_content),
		cmocka_unit_test(mean_is_near_the_average),
		cmocka_unit_test(another_key_cuts_elsewhere),
		cmocka_unit_test(senseless_sizes_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
