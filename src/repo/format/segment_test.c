/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/format/segment.h"
#include "repo/format/test_values.h"

static const struct segment_pack one_pack = { { { 7 } }, SEAL_PACK_DATA, 1 << 20, SEAL_BY_MASTER, 0 };
static const struct segment_block one_block = { 0, 0, 80, 1000, 5000 };
static const struct id session = { { 9 } };

static void encode(struct buf *b, const struct segment_chunk *chunks, size_t count)
{
	struct error err = { 0 };
	if (segment_encode(b, &session, &one_pack, 1, &one_block, 1, chunks, count, &err) < 0)
		fail_msg("%s", err.text);
}

static bool read_buf(void *cookie, uint64_t offset, void *to, size_t len)
{
	const struct buf *b = cookie;
	assert_true(offset <= b->len && len <= b->len - offset);
	memcpy(to, b->data + offset, len);
	return true;
}

static bool read_nothing(void *cookie, uint64_t offset, void *to, size_t len)
{
	(void)cookie, (void)offset, (void)to, (void)len;
	return false;
}

/* Reading finds what searching in place finds. */
static bool reading_finds(struct buf *b, const struct segment *s, const struct id *id)
{
	uint64_t row = 0, read_row = 0;
	struct segment_chunk c;
	bool found = segment_find(s, id, &row), read_found = !found;
	assert_int_equal(segment_find_reading(s, read_buf, b, id, &read_found, &read_row, &c), 0);
	assert_int_equal(found, read_found);
	if (found) {
		assert_int_equal(row, read_row);
		assert_true(id_equal(&c.id, id));
	}
	return found;
}

/* Every id is found in its row, and none that is not there. */
static void check_all(struct buf *b, const struct segment_chunk *chunks, size_t count)
{
	struct segment s;
	assert_int_equal(segment_view(&s, b->data, b->len, NULL), 0);
	assert_int_equal(s.chunk_count, count);
	assert_true(id_equal(&s.session, &session));
	for (size_t i = 0; i < count; i++) {
		uint64_t row;
		struct segment_chunk c;
		assert_true(segment_find(&s, &chunks[i].id, &row));
		segment_chunk_at(&s, row, &c);
		assert_true(id_equal(&c.id, &chunks[i].id));
		assert_int_equal(c.length, chunks[i].length);
		assert_int_equal(c.offset, chunks[i].offset);
		assert_true(reading_finds(b, &s, &c.id));
		c.id.b[31] ^= 1;
		assert_false(segment_find(&s, &c.id, &row));
		assert_false(reading_finds(b, &s, &c.id));
		c.id.b[31] ^= 1;
		c.id.b[0] ^= 0x80;
		assert_false(segment_find(&s, &c.id, &row));
		assert_false(reading_finds(b, &s, &c.id));
	}
	bool found;
	uint64_t none;
	struct segment_chunk c;
	if (count)
		assert_int_equal(segment_find_reading(&s, read_nothing, NULL, &chunks[0].id, &found, &none, &c), -1);
	for (uint64_t row = 1; row < count; row++)
		assert_true(memcmp(s.chunks + (row - 1) * SEGMENT_CHUNK_SIZE, s.chunks + row * SEGMENT_CHUNK_SIZE, ID_SIZE) < 0);
}

static void uniform_ids_are_found(void **state)
{
	(void)state;
	static const size_t counts[] = { 0, 1, 2, 3, 10, 1000, 200000 };
	uint64_t r = 31;
	for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
		CLEAN_FREE struct segment_chunk *chunks = calloc(counts[k] + 1, sizeof *chunks);
		CLEAN_BUF struct buf b = BUF_INIT;
		for (size_t i = 0; i < counts[k]; i++)
			chunks[i] = (struct segment_chunk){ random_id(&r), 0, (uint32_t)i, (uint32_t)random_next(&r) };
		encode(&b, chunks, counts[k]);
		check_all(&b, chunks, counts[k]);
	}
}

/* All ids begin alike, or lie at the two ends: as only somebody with the key, or an accident, makes them. */
static void lopsided_ids_are_found_too(void **state)
{
	(void)state;
	uint64_t r = 32;
	enum { COUNT = 20000 };
	CLEAN_FREE struct segment_chunk *chunks = calloc(COUNT, sizeof *chunks);
	for (int shape = 0; shape < 4; shape++) {
		CLEAN_BUF struct buf b = BUF_INIT;
		for (size_t i = 0; i < COUNT; i++) {
			struct id id = random_id(&r);
			if (shape == 0)
				memset(id.b, 0, 9);
			else if (shape == 1)
				memset(id.b, 0xff, 12);
			else if (shape == 2)
				memset(id.b, i & 1 ? 0xff : 0, 5);
			else
				put_be64(id.b, (uint64_t)1 << (i % 60));
			id.b[30] &= 0xfe;
			chunks[i] = (struct segment_chunk){ id, 0, (uint32_t)i, 1 };
		}
		encode(&b, chunks, COUNT);
		check_all(&b, chunks, COUNT);
	}
}

static void of_equal_ids_the_first_stays(void **state)
{
	(void)state;
	uint64_t r = 33;
	enum { COUNT = 5000, DISTINCT = 100 };
	struct segment_chunk chunks[COUNT];
	CLEAN_BUF struct buf b = BUF_INIT;
	for (size_t i = 0; i < DISTINCT; i++)
		chunks[i] = (struct segment_chunk){ random_id(&r), 0, (uint32_t)i, 1 };
	for (size_t i = DISTINCT; i < COUNT; i++)
		chunks[i] = (struct segment_chunk){ chunks[random_below(&r, DISTINCT)].id, 0, (uint32_t)i, 2 };
	encode(&b, chunks, COUNT);
	check_all(&b, chunks, DISTINCT);
}

static void rows_that_lead_nowhere_are_refused(void **state)
{
	(void)state;
	struct segment_chunk chunk = { { { 1 } }, 1, 0, 1 };
	struct segment_block block = { 1, 0, 80, 1000, 5000 };
	CLEAN_BUF struct buf b = BUF_INIT;
	struct error err = { 0 };
	assert_int_equal(segment_encode(&b, &session, &one_pack, 1, &one_block, 1, &chunk, 1, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(segment_encode(&b, &session, &one_pack, 1, &block, 1, &chunk, 0, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	block = (struct segment_block){ 0, 0, (1 << 20) - 10, 11, 5000 };
	chunk.block = 0;
	assert_int_equal(segment_encode(&b, &session, &one_pack, 1, &block, 1, &chunk, 1, &err), 0);
	struct segment s;
	struct segment_block back;
	assert_int_equal(segment_view(&s, b.data, b.len, &err), 0);
	assert_int_equal(segment_block_at(&s, 0, &back, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(segment_block_at(&s, 1, &back, &err), -1);
}

static void counts_must_fit_the_size(void **state)
{
	(void)state;
	struct segment s;
	struct segment_chunk chunk = { { { 1 } }, 0, 0, 1 };
	CLEAN_BUF struct buf b = BUF_INIT;
	encode(&b, &chunk, 1);
	assert_int_equal(segment_view(&s, b.data, b.len, NULL), 0);
	assert_int_equal(segment_view(&s, b.data, b.len - 1, NULL), -1);
	static const uint64_t counts[] = { 0, 2, UINT64_MAX, UINT64_MAX / 44, UINT64_MAX / 44 + 2, (uint64_t)1 << 62 };
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		put_le64(b.data + 24, counts[i]);
		assert_int_equal(segment_view(&s, b.data, b.len, NULL), -1);
	}
	put_le64(b.data + 24, 1);
	put_le32(b.data + 16, UINT32_MAX);
	assert_int_equal(segment_view(&s, b.data, b.len, NULL), -1);
	assert_int_equal(segment_view(&s, NULL, 0, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uniform_ids_are_found),
		cmocka_unit_test(lopsided_ids_are_found_too),
		cmocka_unit_test(of_equal_ids_the_first_stays),
		cmocka_unit_test(rows_that_lead_nowhere_are_refused),
		cmocka_unit_test(counts_must_fit_the_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
