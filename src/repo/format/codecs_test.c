/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What holds for every codec: it gives back what it took, has one encoding for a value, and lets no damage crash it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/format/test_codecs.h"
#include "repo/format/test_values.h"

/* In memory of exactly this size, so that a sanitizer sees a read past its end. */
static int again(const struct codec *codec, const uint8_t *bytes, size_t len, struct buf *b)
{
	CLEAN_FREE uint8_t *exact = malloc(len ? len : 1);
	if (len)
		memcpy(exact, bytes, len);
	struct error err = { 0 };
	int result = codec->again(exact, len, b, &err);
	if (result < 0 && (err.kind == ERR_NONE || !err.text[0]))
		fail_msg("%s: failed without saying why", codec->name);
	if (result == 0 && !buf_ok(b))
		fail_msg("%s: out of memory", codec->name);
	return result;
}

static void must_be_canonical(const struct codec *codec, const uint8_t *bytes, size_t len)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	if (again(codec, bytes, len, &b) == 0 && (b.len != len || memcmp(b.data, bytes, len) != 0))
		fail_msg("%s: decodes %zu bytes that encode to %zu others", codec->name, len, b.len);
}

static void random_values_round_trip(void **state)
{
	(void)state;
	uint64_t r = 1;
	for (size_t i = 0; i < test_codec_count; i++) {
		for (int n = 0; n < 500; n++) {
			CLEAN_BUF struct buf a = BUF_INIT;
			CLEAN_BUF struct buf b = BUF_INIT;
			test_codecs[i].make(&r, &a);
			if (again(&test_codecs[i], a.data, a.len, &b) < 0)
				fail_msg("%s: does not decode what it encoded", test_codecs[i].name);
			assert_int_equal(a.len, b.len);
			assert_memory_equal(a.data, b.data, a.len);
		}
	}
}

static void truncations_fail(void **state)
{
	(void)state;
	uint64_t r = 2;
	for (size_t i = 0; i < test_codec_count; i++) {
		const struct codec *codec = &test_codecs[i];
		for (int n = 0; n < 10; n++) {
			CLEAN_BUF struct buf a = BUF_INIT;
			codec->make(&r, &a);
			/* Of long ones (padding) a sample. */
			for (size_t len = 0; len < a.len; len += 1 + len / 700) {
				CLEAN_BUF struct buf b = BUF_INIT;
				if (codec->prefix_may_decode)
					must_be_canonical(codec, a.data, len);
				else if (again(codec, a.data, len, &b) == 0)
					fail_msg("%s: decodes %zu bytes of %zu", codec->name, len, a.len);
			}
			buf_add_u8(&a, 0);
			CLEAN_BUF struct buf b = BUF_INIT;
			assert_int_equal(again(codec, a.data, a.len, &b), -1);
		}
	}
}

static void flipped_bytes_fail_or_mean_something_else(void **state)
{
	(void)state;
	static const uint8_t flips[] = { 1, 2, 4, 8, 16, 32, 64, 128, 255 };
	uint64_t r = 3;
	for (size_t i = 0; i < test_codec_count; i++) {
		for (int n = 0; n < 10; n++) {
			CLEAN_BUF struct buf a = BUF_INIT;
			test_codecs[i].make(&r, &a);
			for (size_t at = 0; at < a.len; at += 1 + at / 700) {
				for (size_t f = 0; f < sizeof flips; f++) {
					a.data[at] ^= flips[f];
					must_be_canonical(&test_codecs[i], a.data, a.len);
					a.data[at] ^= flips[f];
				}
			}
		}
	}
}

/* Random bytes put over, cut out of and copied within an encoding. */
static void mangled_bytes_do_no_harm(void **state)
{
	(void)state;
	uint64_t r = 4;
	for (size_t i = 0; i < test_codec_count; i++) {
		for (int n = 0; n < 3000; n++) {
			CLEAN_BUF struct buf a = BUF_INIT;
			test_codecs[i].make(&r, &a);
			for (uint64_t hits = 1 + random_below(&r, 3); hits && a.len; hits--) {
				size_t at = random_below(&r, a.len < 500 ? a.len : 500), from = random_below(&r, a.len);
				size_t len = 1 + random_below(&r, 8);
				if (len > a.len - at)
					len = a.len - at;
				if (random_next(&r) & 1)
					random_bytes(&r, a.data + at, len);
				else if (len <= a.len - from)
					memmove(a.data + at, a.data + from, len);
				if (random_below(&r, 4) == 0) {
					memmove(a.data + at, a.data + at + len, a.len - at - len);
					a.len -= len;
				}
			}
			must_be_canonical(&test_codecs[i], a.data, a.len);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_values_round_trip),
		cmocka_unit_test(truncations_fail),
		cmocka_unit_test(flipped_bytes_fail_or_mean_something_else),
		cmocka_unit_test(mangled_bytes_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
