/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The look-up of many ids at once, and the ways of a large index, against the plain look-up of one id in a small one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "repo/ids.h"
#include "repo/index_merge.h"
#include "repo/rows.h"
#include "repo/test_snapshot.h"

#define SEGMENTS 4u
#define CHUNKS 6000u /* in each segment */
#define LARGE (64u << 10) /* resident bytes by which these segments, of about 300 KB each, are a large index */

static struct id id_of(uint32_t n)
{
	struct id id;
	test_fill(id.b, sizeof id.b, n);
	return id;
}

/* Rows of chunks first, first + 1, ...: ten a block, eight blocks a pack. */
static void make_segment(uint32_t first, struct buf *ret)
{
	CLEAN(segment_rows_done) struct segment_rows rows = SEGMENT_ROWS_INIT;
	struct id session = id_of(1u << 30);
	for (uint32_t n = first; n < first + CHUNKS;) {
		struct pack_table table = { .session = session };
		struct id pack = id_of((1u << 29) + n);
		for (uint32_t block = 0; block < 8; block++) {
			assert_int_equal(pack_table_add_block(&table, 1000 + block, 10000), 0);
			for (uint32_t i = 0; i < 10; i++, n++) {
				struct id id = id_of(n);
				assert_int_equal(pack_table_add_chunk(&table, &id, 1000), 0);
			}
		}
		segment_rows_add(&rows, &pack, SEAL_PACK_DATA, 10000, &table);
		pack_table_done(&table);
	}
	TEST_OK(segment_rows_encode(&rows, &session, ret, &err));
}

/* Segments whose chunks overlap by a half, as the copies of a collector do; the last exists in memory only. */
static struct index *open_index(uint64_t resident)
{
	char root[] = "/tmp/twofold-test-XXXXXX", paths[SEGMENTS - 1][64], command[96];
	char *list[SEGMENTS - 1];
	struct index *x = NULL;
	assert_non_null(mkdtemp(root));
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		CLEAN_BUF struct buf bytes = BUF_INIT;
		make_segment(i * CHUNKS / 2, &bytes);
		if (i == SEGMENTS - 1) {
			TEST_OK(index_open_files(&x, list, i, &err));
			TEST_OK(index_adopt(x, bytes.data, bytes.len, &err));
			break;
		}
		snprintf(paths[i], sizeof paths[i], "%s/%u", root, i);
		list[i] = paths[i];
		FILE *f = fopen(paths[i], "we");
		assert_non_null(f);
		assert_int_equal(fwrite(bytes.data, 1, bytes.len, f), bytes.len);
		assert_int_equal(fclose(f), 0);
	}
	index_set_resident(x, resident);
	snprintf(command, sizeof command, "rm -r %s", root);
	assert_int_equal(system(command), 0);
	return x;
}

struct comparison {
	struct index *plain;
	const struct buf *ids;
	size_t at, found;
};

static void compare(void *cookie, const struct id *id, bool found, uint64_t row)
{
	struct comparison *c = cookie;
	struct id expected = ids_at(c->ids, c->at++);
	bool is_there;
	struct place place;
	assert_true(id_equal(id, &expected));
	TEST_OK(index_find(c->plain, id, &is_there, &place, &err));
	assert_int_equal(found, is_there);
	assert_int_equal(row, is_there ? place.row : 0);
	c->found += found;
}

/* Every step-th of the ids that there are and of as many that there are not, by all at once and one by one. */
static void compare_all(struct index *plain, struct index *x, uint32_t step)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	const uint32_t present = (SEGMENTS + 1) * CHUNKS / 2;
	size_t there = 0;
	for (uint32_t n = 0; n < 2 * present; n += step) {
		struct id id = id_of(n);
		buf_add(&ids, id.b, ID_SIZE);
		there += n < present;
	}
	ids_order(&ids);
	struct comparison c = { .plain = plain, .ids = &ids };
	index_find_many(x, (const void *)ids.data, ids.len / ID_SIZE, compare, &c);
	assert_int_equal(c.at, ids.len / ID_SIZE);
	assert_int_equal(c.found, there);
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct id id = ids_at(&ids, i);
		bool in_plain, in_large;
		struct place a = { 0 }, b = { 0 };
		TEST_OK(index_find(plain, &id, &in_plain, &a, &err));
		TEST_OK(index_find(x, &id, &in_large, &b, &err));
		assert_int_equal(in_plain, in_large);
		assert_true(id_equal(&a.pack, &b.pack));
		assert_true(a.row == b.row && a.pack_row == b.pack_row && a.block == b.block && a.block_offset == b.block_offset && a.sealed_length == b.sealed_length &&
		            a.raw_length == b.raw_length && a.offset == b.offset && a.length == b.length && a.marked == b.marked);
	}
}

/* Ids close together are looked up in order, ids far apart each by itself: with both, over an index that is resident, and one that is not. */
static void test_many_as_one(void **state)
{
	(void)state;
	static const uint32_t steps[] = { 1, 7, 1200, 2 * (SEGMENTS + 1) * CHUNKS };
	static const uint64_t residents[] = { INDEX_RESIDENT, LARGE, 1 };
	CLEAN(index_cleanup) struct index *plain = open_index(INDEX_RESIDENT);
	for (size_t r = 0; r < sizeof residents / sizeof *residents; r++) {
		CLEAN(index_cleanup) struct index *x = open_index(residents[r]);
		for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
			compare_all(plain, x, steps[i]);
		struct comparison none = { .plain = plain };
		index_find_many(x, NULL, 0, compare, &none);
		assert_int_equal(none.at, 0);
	}
}

/* Of two places the one counts that is not marked, and whose pack is not known to be missing; a large index reads the packs' rows. */
static void test_marked_and_missing(void **state)
{
	(void)state;
	CLEAN(index_cleanup) struct index *plain = open_index(INDEX_RESIDENT), *x = open_index(LARGE);
	CLEAN_BUF struct buf packs = BUF_INIT, marked = BUF_INIT;
	TEST_OK(index_packs(plain, &packs, &err));
	for (size_t i = 0; i < packs.len / ID_SIZE; i++) {
		struct id pack = ids_at(&packs, i);
		if (i % 3 == 0)
			buf_add(&marked, pack.b, ID_SIZE);
		if (i % 10 == 0) {
			TEST_OK(index_forget_pack(plain, &pack, &err));
			TEST_OK(index_forget_pack(x, &pack, &err));
		}
	}
	TEST_OK(index_mark(plain, &marked, &err));
	TEST_OK(index_mark(x, &marked, &err));
	size_t found = 0, doomed = 0;
	for (uint32_t n = 0; n < (SEGMENTS + 1) * CHUNKS / 2; n += 5) {
		struct id id = id_of(n);
		bool in_plain, in_large;
		struct place a = { 0 }, b = { 0 };
		TEST_OK(index_find(plain, &id, &in_plain, &a, &err));
		TEST_OK(index_find(x, &id, &in_large, &b, &err));
		assert_int_equal(in_plain, in_large);
		assert_true(a.row == b.row && a.marked == b.marked);
		found += in_plain;
		doomed += a.marked;
	}
	assert_true(found > doomed && doomed > 0);
}

static void count_call(void *cookie, const struct segment *segment)
{
	(void)segment;
	++*(unsigned *)cookie;
}

static void take_bytes(void *cookie, const char *path, const uint8_t *ids, size_t count)
{
	struct buf *bytes = cookie;
	FILE *f = fopen(path, "re");
	(void)ids;
	assert_int_equal(count, 1);
	assert_non_null(f);
	for (int c; (c = fgetc(f)) != EOF;)
		buf_add_u8(bytes, (uint8_t)c);
	fclose(f);
}

/* Segments of several windows: the merged one has each chunk once, in order, at the place that the first of them names. */
static void test_merged(void **state)
{
	(void)state;
	char root[] = "/tmp/twofold-test-XXXXXX", command[96];
	struct buf bytes[SEGMENTS] = { BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT };
	CLEAN_BUF struct buf ids = BUF_INIT, merged = BUF_INIT;
	struct segment views[SEGMENTS], all;
	const struct segment *segments[SEGMENTS];
	struct id name = id_of(7);
	unsigned calls = 0;
	assert_non_null(mkdtemp(root));
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		make_segment(i * CHUNKS / 2, &bytes[i]);
		TEST_OK(segment_view(&views[i], bytes[i].data, bytes[i].len, &err));
		segments[i] = &views[i];
	}
	buf_add(&ids, name.b, ID_SIZE);
	const struct index_merging what = { .segments = segments, .count = SEGMENTS, .ids = &ids, .give_back = count_call, .cookie = &calls };
	TEST_OK(index_merge(root, &what, &err));
	assert_true(calls > SEGMENTS);
	index_merged_find(root, &ids, take_bytes, &merged);
	TEST_OK(segment_view(&all, merged.data, merged.len, &err));
	assert_int_equal(all.chunk_count, (SEGMENTS + 1) * CHUNKS / 2);
	uint32_t blocks_before[SEGMENTS] = { 0 };
	for (uint32_t i = 1; i < SEGMENTS; i++)
		blocks_before[i] = blocks_before[i - 1] + views[i - 1].block_count;
	for (uint32_t n = 0; n < (SEGMENTS + 1) * CHUNKS / 2; n++) {
		struct id id = id_of(n);
		uint32_t first = n < CHUNKS ? 0 : (n - CHUNKS) / (CHUNKS / 2) + 1;
		uint64_t row, own;
		struct segment_chunk a, b;
		assert_true(segment_find(&all, &id, &row));
		assert_true(segment_find(&views[first], &id, &own));
		segment_chunk_at(&all, row, &a);
		segment_chunk_at(&views[first], own, &b);
		assert_int_equal(a.block, b.block + blocks_before[first]);
	}
	for (uint32_t i = 0; i < SEGMENTS; i++)
		buf_done(&bytes[i]);
	snprintf(command, sizeof command, "rm -r %s", root);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_many_as_one), cmocka_unit_test(test_marked_and_missing), cmocka_unit_test(test_merged) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
