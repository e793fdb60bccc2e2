/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/format/test_values.h"

static void tables_come_back_whole(void **state)
{
	(void)state;
	uint64_t r = 21;
	for (int i = 0; i < 500; i++) {
		CLEAN(pack_table_done) struct pack_table t = { 0 };
		CLEAN(pack_table_done) struct pack_table back = { 0 };
		CLEAN_BUF struct buf b = BUF_INIT;
		uint64_t length;
		random_table(&r, &t, &length);
		pack_table_encode(&b, &t, length);
		assert_int_equal((PACK_HEADER_SIZE + length + b.len + SEAL_TAG_SIZE + PACK_FOOTER_SIZE) % PACK_PAD, 0);
		assert_int_equal(pack_table_decode(&back, b.data, b.len, length, NULL), 0);
		assert_true(id_equal(&t.session, &back.session));
		assert_int_equal(t.block_count, back.block_count);
		assert_int_equal(t.chunk_count, back.chunk_count);
		uint32_t offset = PACK_HEADER_SIZE;
		for (size_t k = 0; k < t.block_count; k++) {
			assert_int_equal(back.blocks[k].offset, offset);
			assert_int_equal(t.blocks[k].raw_length, back.blocks[k].raw_length);
			assert_int_equal(t.blocks[k].sealed_length, back.blocks[k].sealed_length);
			assert_int_equal(t.blocks[k].first_chunk, back.blocks[k].first_chunk);
			assert_int_equal(t.blocks[k].chunk_count, back.blocks[k].chunk_count);
			offset += back.blocks[k].sealed_length;
		}
		for (size_t k = 0; k < t.chunk_count; k++) {
			assert_true(id_equal(&t.chunks[k].id, &back.chunks[k].id));
			assert_int_equal(t.chunks[k].length, back.chunks[k].length);
		}
	}
}

static int decode_one_block(uint32_t sealed, uint32_t raw, uint32_t chunk, uint64_t said)
{
	CLEAN(pack_table_done) struct pack_table t = { 0 };
	CLEAN(pack_table_done) struct pack_table back = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	struct id id = { { 1 } };
	assert_int_equal(pack_table_add_block(&t, sealed, raw), 0);
	assert_int_equal(pack_table_add_chunk(&t, &id, chunk), 0);
	pack_table_encode(&b, &t, said);
	return pack_table_decode(&back, b.data, b.len, said, NULL);
}

static void lengths_must_add_up(void **state)
{
	(void)state;
	assert_int_equal(decode_one_block(100, 50, 50, 100), 0);
	assert_int_equal(decode_one_block(100, 50, 49, 100), -1);
	assert_int_equal(decode_one_block(100, 50, 51, 100), -1);
	assert_int_equal(decode_one_block(100, 50, 50, 99), -1);
	assert_int_equal(decode_one_block(100, 50, 50, 101), -1);
	assert_int_equal(decode_one_block(100, 0, 0, 100), -1);
	assert_int_equal(decode_one_block(21, 50, 50, 21), -1);
	assert_int_equal(decode_one_block(100, SEAL_BLOCK_MAX, SEAL_BLOCK_MAX, 100), 0);
	assert_int_equal(decode_one_block(100, SEAL_BLOCK_MAX + 1, SEAL_BLOCK_MAX + 1, 100), -1);
}

static void a_table_does_not_allocate_by_its_counts(void **state)
{
	(void)state;
	CLEAN(pack_table_done) struct pack_table t = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	struct id session = { { 0 } };
	buf_add(&b, session.b, ID_SIZE);
	size_t head = b.len;
	buf_add_varint(&b, UINT64_MAX); /* blocks */
	buf_add_le64(&b, 0);
	assert_int_equal(pack_table_decode(&t, b.data, b.len, 0, NULL), -1);
	b.len = head;
	buf_add_varint(&b, 1);
	buf_add_le32(&b, 100);
	buf_add_le32(&b, 1);
	buf_add_varint(&b, UINT64_MAX / 33); /* chunks */
	buf_add_le64(&b, 0);
	assert_int_equal(pack_table_decode(&t, b.data, b.len, 100, NULL), -1);
}

static void a_footer_must_fit_its_pack(void **state)
{
	(void)state;
	uint8_t foot[PACK_FOOTER_SIZE];
	uint64_t offset;
	uint32_t length;
	pack_footer_encode(foot, 1000, 500);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, 1532, NULL), 0);
	assert_int_equal(offset, 1000);
	assert_int_equal(length, 500);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, 1531, NULL), -1);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, 1533, NULL), -1);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, 0, NULL), -1);
	pack_footer_encode(foot, UINT64_MAX - 499, 500);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, 32, NULL), -1);
	pack_footer_encode(foot, PACK_HEADER_SIZE - 1, 500);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, PACK_HEADER_SIZE - 1 + 532, NULL), -1);
	pack_footer_encode(foot, PACK_SIZE_MAX, 500);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, PACK_SIZE_MAX + 532ull, NULL), -1);
	pack_footer_encode(foot, 80, SEAL_TAG_SIZE);
	assert_int_equal(pack_footer_decode(&offset, &length, foot, 80 + SEAL_TAG_SIZE + 32, NULL), -1);
}

static void a_newer_pack_says_so(void **state)
{
	(void)state;
	uint8_t head[PACK_HEADER_SIZE];
	struct pack_header h = { SEAL_PACK_META, { { 1 } }, { { 2 } }, { SEAL_BY_MASTER, 0, { { 0 } } } }, back;
	struct error err = { 0 };
	pack_header_encode(head, &h);
	assert_int_equal(pack_header_decode(&back, head, &err), 0);
	assert_int_equal(back.kind, SEAL_PACK_META);
	assert_true(id_equal(&back.pack, &h.pack) && id_equal(&back.session, &h.session));
	put_le16(head + 8, 3);
	assert_int_equal(pack_header_decode(&back, head, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	put_le16(head + 8, 1);
	head[10] = SEAL_INDEX;
	assert_int_equal(pack_header_decode(&back, head, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_come_back_whole),
		cmocka_unit_test(lengths_must_add_up),
		cmocka_unit_test(a_table_does_not_allocate_by_its_counts),
		cmocka_unit_test(a_footer_must_fit_its_pack),
		cmocka_unit_test(a_newer_pack_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
