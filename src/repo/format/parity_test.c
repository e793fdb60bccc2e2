/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "repo/format/parity.h"

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void only_what_stays_is_covered(void **state)
{
	(void)state;
	assert_true(parity_covers("twofold"));
	assert_true(parity_covers("packs/00/" HEX));
	assert_true(parity_covers("index/" HEX));
	assert_true(parity_covers("keys/" HEX));
	assert_true(parity_covers("snapshots/" HEX));
	assert_false(parity_covers("packs/01/" HEX));
	assert_false(parity_covers("packs/" HEX));
	assert_false(parity_covers("index/00/" HEX));
	assert_false(parity_covers("index/" HEX "0"));
	assert_false(parity_covers("parity/" HEX));
	assert_false(parity_covers("sessions/" HEX));
	assert_false(parity_covers("tombstones/" HEX));
	assert_false(parity_covers("aside/1/index/" HEX));
	assert_false(parity_covers("../index/" HEX));
	assert_false(parity_covers(""));
}

static struct parity_head a_head(void)
{
	return (struct parity_head){ .form = PARITY_ACROSS, .shards = 2, .shard = 1, .percent = 3, .length = 100000, .table_length = 500 };
}

static void places_follow_from_the_head(void **state)
{
	(void)state;
	struct parity_head h = a_head();
	assert_int_equal(parity_table_at(&h, 0), 100000);
	assert_int_equal(parity_table_at(&h, 1), 100000 + PARITY_GAP);
	assert_int_equal(parity_object_size(&h), 100000 + PARITY_GAP + 500 + 64 + PARITY_GAP + 64);
	h.table_length = PARITY_GAP + 1;
	assert_int_equal(parity_table_at(&h, 1), 100000 + PARITY_GAP + 1);
	assert_int_equal(parity_pieces(100000), 2);
	assert_int_equal(parity_pieces(PARITY_PIECE), 1);
}

static void a_head_comes_back_and_every_flipped_bit_is_seen(void **state)
{
	(void)state;
	struct parity_head h = a_head(), back;
	uint8_t bytes[PARITY_HEAD_SIZE];
	parity_head_encode(bytes, &h);
	assert_int_equal(parity_head_decode(&back, bytes, NULL), 0);
	assert_int_equal(back.shard, 1);
	assert_int_equal(back.length, 100000);
	for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(parity_head_decode(&back, bytes, NULL), -1);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void heads_out_of_bounds_are_refused(void **state)
{
	(void)state;
	struct parity_head back, wrong[] = { a_head(), a_head(), a_head(), a_head(), a_head(), a_head(), a_head(), a_head() };
	wrong[0].form = (enum parity_form)3;
	wrong[1].shards = PARITY_SHARDS_MAX + 1;
	wrong[2].shard = 2;
	wrong[3].percent = 0;
	wrong[4].percent = 101;
	wrong[5].length = 0;
	wrong[6].length = PARITY_MEMBER_MAX + 1ull;
	wrong[7].table_length = PARITY_TABLE_MAX + 1;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		uint8_t bytes[PARITY_HEAD_SIZE];
		parity_head_encode(bytes, &wrong[i]);
		assert_int_equal(parity_head_decode(&back, bytes, NULL), -1);
	}
}

/* A table of two members, as the arguments say. */
static int decode(enum parity_form form, const char *a, uint64_t size_a, const char *b, uint64_t size_b, uint64_t length)
{
	static const uint8_t sums[100 * PARITY_SUM_SIZE];
	struct parity_member members[2] = { { .size = size_a, .sums = sums }, { .size = size_b, .sums = sums } };
	struct parity_table t = { .members = members, .count = 2, .shard_sums = { sums, sums } };
	CLEAN(parity_table_done) struct parity_table back = { 0 };
	struct parity_head h = a_head();
	CLEAN_BUF struct buf bytes = BUF_INIT;
	snprintf(members[0].name, sizeof members[0].name, "%s", a);
	snprintf(members[1].name, sizeof members[1].name, "%s", b);
	h.form = form;
	h.length = length;
	parity_table_encode(&bytes, &t, h.shards, length);
	return parity_table_decode(&back, &h, bytes.data, bytes.len, NULL);
}

static void members_must_fit_their_form(void **state)
{
	(void)state;
	const char *a = "index/" HEX, *b = "packs/00/" HEX;
	assert_int_equal(decode(PARITY_ACROSS, a, 70000, b, 200000, 200000), 0);
	assert_int_equal(decode(PARITY_ACROSS, a, 70000, b, 200000, 270000), -1);
	assert_int_equal(decode(PARITY_ACROSS, b, 70000, a, 200000, 200000), -1);
	assert_int_equal(decode(PARITY_ACROSS, a, 70000, a, 200000, 200000), -1);
	assert_int_equal(decode(PARITY_ACROSS, a, 70000, "sessions/" HEX, 200000, 200000), -1);
	assert_int_equal(decode(PARITY_BUNDLE, a, 100, b, 200, 300), 0);
	assert_int_equal(decode(PARITY_BUNDLE, a, 100, b, 200, 200), -1);
	assert_int_equal(decode(PARITY_BUNDLE, a, 100, b, PARITY_PIECE + 1, 101 + PARITY_PIECE), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_stays_is_covered),
		cmocka_unit_test(places_follow_from_the_head),
		cmocka_unit_test(a_head_comes_back_and_every_flipped_bit_is_seen),
		cmocka_unit_test(heads_out_of_bounds_are_refused),
		cmocka_unit_test(members_must_fit_their_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
