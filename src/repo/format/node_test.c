/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "repo/format/test_values.h"

static void nodes_come_back_whole(void **state)
{
	(void)state;
	uint64_t r = 11;
	for (int i = 0; i < 3000; i++) {
		CLEAN(node_done) struct node n = { 0 };
		CLEAN(node_done) struct node back = { 0 };
		CLEAN_BUF struct buf b = BUF_INIT;
		random_node(&r, &n);
		node_encode(&b, &n);
		struct error err = { 0 };
		if (node_decode(&back, b.data, b.len, &err) < 0)
			fail_msg("%s", err.text);
		assert_true(same_node(&n, &back));
		assert_int_equal(back.name[back.name_len], 0);
		const uint8_t *name;
		size_t len;
		assert_int_equal(node_decode_name(b.data, b.len, &name, &len, NULL), 0);
		assert_int_equal(len, n.name_len);
		assert_memory_equal(name, n.name, len);
	}
}

static void inodes_and_ranges_come_back_whole(void **state)
{
	(void)state;
	uint64_t r = 12;
	for (int i = 0; i < 3000; i++) {
		CLEAN(inode_record_done) struct inode_record n = { 0 };
		CLEAN(inode_record_done) struct inode_record back = { 0 };
		CLEAN_BUF struct buf b = BUF_INIT;
		random_inode(&r, &n);
		inode_record_encode(&b, &n);
		assert_int_equal(inode_record_decode(&back, b.data, b.len, NULL), 0);
		assert_true(same_inode(&n, &back));

		struct map_range range, range_back;
		random_range(&r, &range);
		buf_clear(&b);
		map_range_encode(&b, &range);
		assert_int_equal(map_range_decode(&range_back, b.data, b.len, NULL), 0);
		assert_int_equal(range.kind, range_back.kind);
		assert_int_equal(range.length, range_back.length);
		assert_int_equal(range.offset, range_back.offset);
		assert_int_equal(range.chunk_length, range_back.chunk_length);
		assert_true(id_equal(&range.chunk, &range_back.chunk));
	}
}

/* As an ordinary file of a home folder has it. */
static void fill_ordinary(struct node *n, char *name, struct content_part *part)
{
	static char user[] = "alice", group[] = "users";
	*n = (struct node){ .name = name, .name_len = strlen(name), .has_content = true };
	n->content = (struct content){ .parts = part, .count = 1 };
	n->attr = (struct attr){ .mode = S_IFREG | 0644, .uid = 1000, .gid = 1000, .user = user, .group = group, .size = part->length, .nlink = 1 };
	n->attr.mtime = n->attr.ctime = n->attr.btime = (struct time_ns){ 1700000000, 123456789 };
	n->attr.has_btime = true;
	n->attr.ctime.sec += 3;
	n->attr.ino = 1234567;
	n->attr.dev = 66310;
}

static void an_ordinary_node_is_small(void **state)
{
	(void)state;
	struct content_part part = { .kind = CONTENT_CHUNK, .length = 23456 };
	char name[] = "0123456789";
	struct node n;
	fill_ordinary(&n, name, &part);
	CLEAN_BUF struct buf b = BUF_INIT;
	node_encode(&b, &n);
	/* Name 11, chunk id 32, owner names 12; all else: */
	assert_true(b.len <= 11 + 32 + 12 + 36);
}

static int decode_node(const struct node *n, struct error *err)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN(node_done) struct node back = { 0 };
	*err = (struct error){ 0 };
	node_encode(&b, n);
	return node_decode(&back, b.data, b.len, err);
}

static void refused(const struct node *n)
{
	struct error err;
	assert_int_equal(decode_node(n, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_true(err.text[0]);
}

static void hostile_names_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
	} names[] = { { "", 0 }, { ".", 1 }, { "..", 2 }, { "a/b", 3 }, { "/", 1 }, { "a\0b", 3 }, { "\0", 1 } };
	struct content_part part = { .kind = CONTENT_CHUNK, .length = 5 };
	struct error err;
	struct node n;
	char good[] = "...", name[NODE_NAME_MAX + 2];
	fill_ordinary(&n, good, &part);
	assert_int_equal(decode_node(&n, &err), 0);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		memcpy(name, names[i].bytes, names[i].len + 1);
		n.name = name;
		n.name_len = names[i].len;
		refused(&n);
	}
	memset(name, 'a', sizeof name);
	n.name = name;
	n.name_len = NODE_NAME_MAX;
	assert_int_equal(decode_node(&n, &err), 0);
	n.name_len = NODE_NAME_MAX + 1;
	refused(&n);
}

static void contradictions_are_refused(void **state)
{
	(void)state;
	struct content_part part = { .kind = CONTENT_CHUNK, .length = 5 };
	char name[] = "x";
	struct node n;
	fill_ordinary(&n, name, &part);
	n.attr.size = 6;
	refused(&n);
	n.attr.size = 0;
	part.length = 0;
	refused(&n);
	part.length = SEAL_BLOCK_MAX + 1;
	refused(&n);
	fill_ordinary(&n, name, &part);
	part.kind = CONTENT_HOLE;
	part.length = n.attr.size = INT64_MAX;
	struct error err;
	assert_int_equal(decode_node(&n, &err), 0);
	struct content_part two[] = { { .kind = CONTENT_HOLE, .length = INT64_MAX }, { .kind = CONTENT_HOLE, .length = 1 } };
	n.content = (struct content){ .parts = two, .count = 2 };
	refused(&n);
	fill_ordinary(&n, name, &part);
	n.attr.mode = S_IFDIR | 0755;
	refused(&n);
	n.has_content = false;
	n.has_tree = true;
	assert_int_equal(decode_node(&n, &err), 0);
	n.attr.mode = S_IFREG | 0644;
	refused(&n);
	n.has_tree = false;
	n.attr.size = (uint64_t)INT64_MAX + 1;
	refused(&n);
	uint8_t target[] = "target";
	n.attr.size = 0;
	n.attr.link = target;
	n.attr.link_len = 6;
	refused(&n);
	n.attr.mode = S_IFLNK | 0777;
	assert_int_equal(decode_node(&n, &err), 0);
	target[2] = 0;
	refused(&n);
}

static void bad_attributes_are_refused(void **state)
{
	(void)state;
	char name[] = "x", a[] = "user.a", b[] = "user.b", empty[] = "";
	struct xattr sorted[] = { { a, NULL, 0 }, { b, NULL, 0 } }, twice[] = { { a, NULL, 0 }, { a, NULL, 0 } };
	struct xattr unsorted[] = { { b, NULL, 0 }, { a, NULL, 0 } }, unnamed[] = { { empty, NULL, 0 } };
	struct node n = { .name = name, .name_len = 1, .attr = { .mode = S_IFIFO | 0600, .xattrs = sorted, .xattr_count = 2 } };
	struct error err;
	assert_int_equal(decode_node(&n, &err), 0);
	n.attr.xattrs = twice;
	refused(&n);
	n.attr.xattrs = unsorted;
	refused(&n);
	n.attr.xattrs = unnamed;
	n.attr.xattr_count = 1;
	refused(&n);
	n.attr.xattr_count = 0;
	n.attr.mtime.ns = 1000000000;
	refused(&n);
	n.attr.mtime.ns = 999999999;
	assert_int_equal(decode_node(&n, &err), 0);
	n.attr.ctime.ns = UINT32_MAX;
	refused(&n);
}

static void too_many_parts_are_refused(void **state)
{
	(void)state;
	struct content_part parts[CONTENT_INLINE_MAX + 1];
	char name[] = "x";
	struct node n;
	struct error err;
	for (size_t i = 0; i < CONTENT_INLINE_MAX + 1; i++)
		parts[i] = (struct content_part){ .kind = CONTENT_CHUNK, .length = 1 };
	fill_ordinary(&n, name, parts);
	n.content.count = n.attr.size = CONTENT_INLINE_MAX;
	assert_int_equal(decode_node(&n, &err), 0);
	n.content.count = n.attr.size = CONTENT_INLINE_MAX + 1;
	refused(&n);
}

static void unknown_fields_are_not_guessed(void **state)
{
	(void)state;
	/* Name "x", presence bit 20. */
	static const uint8_t record[] = { 1, 'x', 0x80, 0x80, 0x40, 0, 0 };
	struct error err = { 0 };
	CLEAN(node_done) struct node n = { 0 };
	assert_int_equal(node_decode(&n, record, sizeof record, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

static void ranges_outside_their_chunk_are_refused(void **state)
{
	(void)state;
	struct map_range r = { .kind = MAP_DATA, .length = 4096, .offset = 4096, .chunk_length = 8192 }, back;
	CLEAN_BUF struct buf b = BUF_INIT;
	map_range_encode(&b, &r);
	assert_int_equal(map_range_decode(&back, b.data, b.len, NULL), 0);
	r.chunk_length = 8191;
	buf_clear(&b);
	map_range_encode(&b, &r);
	assert_int_equal(map_range_decode(&back, b.data, b.len, NULL), -1);
	r = (struct map_range){ .kind = MAP_DATA, .length = SEAL_BLOCK_MAX, .offset = 1, .chunk_length = SEAL_BLOCK_MAX + 1 };
	buf_clear(&b);
	map_range_encode(&b, &r);
	assert_int_equal(map_range_decode(&back, b.data, b.len, NULL), -1);
	r = (struct map_range){ .kind = MAP_ZERO, .length = MAP_LENGTH_MAX };
	buf_clear(&b);
	map_range_encode(&b, &r);
	assert_int_equal(map_range_decode(&back, b.data, b.len, NULL), 0);
	assert_int_equal(back.length, MAP_LENGTH_MAX);
	r.length = 0;
	buf_clear(&b);
	map_range_encode(&b, &r);
	assert_int_equal(map_range_decode(&back, b.data, b.len, NULL), -1);
}

static int decode_extents(struct inode_extent *e, size_t count)
{
	struct inode_record r = { .number = 12, .extents = e, .extent_count = count };
	CLEAN(inode_record_done) struct inode_record back = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	inode_record_encode(&b, &r);
	return inode_record_decode(&back, b.data, b.len, NULL);
}

static void overlapping_and_endless_extents_are_refused(void **state)
{
	(void)state;
	struct inode_extent fine[] = { { 0, 40960, 4096, false }, { 4096, 4096, 4096, true }, { 16384, 8192, 8192, false } };
	assert_int_equal(decode_extents(fine, 3), 0);
	struct inode_extent overlap[] = { { 0, 40960, 8192, false }, { 4096, 4096, 4096, false } };
	assert_int_equal(decode_extents(overlap, 2), -1);
	struct inode_extent backwards[] = { { 8192, 40960, 4096, false }, { 0, 4096, 4096, false } };
	assert_int_equal(decode_extents(backwards, 2), -1);
	struct inode_extent empty[] = { { 0, 4096, 0, false } };
	assert_int_equal(decode_extents(empty, 1), -1);
	struct inode_extent endless[] = { { 0, (uint64_t)INT64_MAX & ~4095ull, 8192, false } };
	assert_int_equal(decode_extents(endless, 1), -1);
	struct inode_extent largest[] = { { 0, 0, (uint64_t)1 << 62, false } };
	assert_int_equal(decode_extents(largest, 1), 0);
}

/* Not a benchmark: a bound that only a mistake of the order of magnitude breaks. */
static void a_hundred_thousand_nodes_decode_at_once(void **state)
{
	(void)state;
	struct content_part part = { .kind = CONTENT_CHUNK, .length = 23456 };
	char name[] = "some-file-name.txt";
	struct node n;
	fill_ordinary(&n, name, &part);
	CLEAN_BUF struct buf b = BUF_INIT;
	node_encode(&b, &n);
	struct timespec from, to;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	for (int i = 0; i < 100000; i++) {
		CLEAN(node_done) struct node back = { 0 };
		assert_int_equal(node_decode(&back, b.data, b.len, NULL), 0);
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
	print_message("100 000 nodes of %zu bytes decoded in %.1f ms\n", b.len, ms);
	assert_true(ms < 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_come_back_whole),
		cmocka_unit_test(inodes_and_ranges_come_back_whole),
		cmocka_unit_test(an_ordinary_node_is_small),
		cmocka_unit_test(hostile_names_are_refused),
		cmocka_unit_test(contradictions_are_refused),
		cmocka_unit_test(bad_attributes_are_refused),
		cmocka_unit_test(too_many_parts_are_refused),
		cmocka_unit_test(unknown_fields_are_not_guessed),
		cmocka_unit_test(ranges_outside_their_chunk_are_refused),
		cmocka_unit_test(overlapping_and_endless_extents_are_refused),
		cmocka_unit_test(a_hundred_thousand_nodes_decode_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
