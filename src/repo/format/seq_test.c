/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>

#include "repo/format/map.h"
#include "repo/format/node.h"
#include "repo/format/seq.h"
#include "repo/format/test_values.h"

/* Pages in memory; the id is the page's number and a hash of its bytes, so equal pages get equal ids. */
struct shelf {
	struct buf *pages;
	struct id *ids;
	size_t count, put_calls, gets;
};

static void shelf_done(struct shelf *s)
{
	for (size_t i = 0; i < s->count; i++)
		buf_done(&s->pages[i]);
	free(s->pages);
	free(s->ids);
}

static struct id hash_of(const uint8_t *p, size_t len)
{
	struct id id;
	for (size_t lane = 0; lane < 4; lane++) {
		uint64_t h = 0x9e3779b97f4a7c15u * (lane + 1);
		for (size_t i = 0; i < len; i++)
			h = (h ^ p[i]) * 0x100000001b3u, h ^= h >> 29;
		put_le64(id.b + 8 * lane, h * 0x9e3779b97f4a7c15u);
	}
	return id;
}

static int put(void *cookie, const void *page, size_t len, struct id *ret, struct error *err)
{
	(void)err;
	struct shelf *s = cookie;
	*ret = hash_of(page, len);
	s->put_calls++;
	for (size_t i = 0; i < s->count; i++)
		if (id_equal(&s->ids[i], ret))
			return 0;
	s->pages = realloc(s->pages, (s->count + 1) * sizeof *s->pages);
	s->ids = realloc(s->ids, (s->count + 1) * sizeof *s->ids);
	s->pages[s->count] = (struct buf)BUF_INIT;
	buf_add(&s->pages[s->count], page, len);
	s->ids[s->count++] = *ret;
	return 0;
}

static int get(void *cookie, const struct id *id, struct buf *ret, struct error *err)
{
	struct shelf *s = cookie;
	s->gets++;
	buf_clear(ret);
	for (size_t i = 0; i < s->count; i++) {
		if (!id_equal(&s->ids[i], id))
			continue;
		/* Exactly as large as the page, so that a sanitizer sees a step beyond it. */
		buf_done(ret);
		ret->data = malloc(s->pages[i].len);
		memcpy(ret->data, s->pages[i].data, s->pages[i].len);
		ret->len = ret->cap = s->pages[i].len;
		return 0;
	}
	return error_set(err, ERR_NOT_FOUND, "no such page");
}

/* A list of entries named by numbers, each with one chunk. */
static void add_entry(struct seq_writer *w, uint64_t number, uint64_t salt)
{
	char name[32];
	int len = snprintf(name, sizeof name, "file-%08llu", (unsigned long long)number);
	struct content_part part = { .kind = CONTENT_CHUNK, .length = 1 + number };
	uint64_t state = number * 77 + salt;
	random_bytes(&state, part.chunk.b, ID_SIZE);
	struct node n = { .name = name, .name_len = (size_t)len, .has_content = true, .content = { .parts = &part, .count = 1 } };
	n.attr = (struct attr){ .mode = S_IFREG | 0644, .nlink = 1, .size = part.length, .ino = number };
	CLEAN_BUF struct buf b = BUF_INIT;
	node_encode(&b, &n);
	struct error err = { 0 };
	if (seq_add(w, b.data, b.len, name, (size_t)len, 1, &err) < 0)
		fail_msg("%s", err.text);
}

static struct id write_entries(struct shelf *s, uint64_t count, uint64_t changed)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct id root;
	struct error err = { 0 };
	assert_int_equal(seq_writer_new(&w, SEQ_ENTRIES, put, s, &err), 0);
	for (uint64_t i = 0; i < count; i++)
		add_entry(w, i, i == changed ? 1 : 0);
	if (seq_finish(w, &root, &err) < 0)
		fail_msg("%s", err.text);
	return root;
}

static uint64_t entry_number(const uint8_t *record, size_t len)
{
	const uint8_t *name;
	size_t name_len;
	assert_int_equal(node_decode_name(record, len, &name, &name_len, NULL), 0);
	assert_int_equal(name_len, 13);
	return strtoull((const char *)name + 5, NULL, 10);
}

static void check_from(struct seq_reader *r, uint64_t from, uint64_t count, uint64_t limit)
{
	struct error err = { 0 };
	for (uint64_t i = from; limit--; i++) {
		bool more;
		const uint8_t *record;
		size_t len;
		uint64_t start;
		if (seq_next(r, &more, &record, &len, &start, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(more, i < count);
		if (!more)
			return;
		assert_int_equal(start, i);
		assert_int_equal(entry_number(record, len), i);
	}
}

static void entries_round_trip(void **state)
{
	(void)state;
	static const uint64_t counts[] = { 0, 1, 2, 300, 1000, 100000 };
	for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
		CLEAN(shelf_done) struct shelf s = { 0 };
		struct id root = write_entries(&s, counts[k], UINT64_MAX);
		CLEAN(seq_reader_cleanup) struct seq_reader *r = NULL;
		assert_int_equal(seq_reader_new(&r, SEQ_ENTRIES, &root, get, &s, NULL), 0);
		check_from(r, 0, counts[k], UINT64_MAX);
		assert_int_equal(s.gets, s.count);
		check_from(r, counts[k], counts[k], 1);
	}
}

static void seeks_find_the_page(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	const uint64_t count = 60000;
	struct id root = write_entries(&s, count, UINT64_MAX);
	CLEAN(seq_reader_cleanup) struct seq_reader *r = NULL;
	assert_int_equal(seq_reader_new(&r, SEQ_ENTRIES, &root, get, &s, NULL), 0);
	uint64_t rnd = 5;
	for (int i = 0; i < 300; i++) {
		uint64_t want = random_below(&rnd, count), start = 0;
		assert_int_equal(seq_seek_span(r, want, &start, NULL), 0);
		assert_true(start <= want && want - start < SEQ_PAGE_MAX / 50);
		check_from(r, start, count, random_below(&rnd, 1500));
		char key[32];
		int len = snprintf(key, sizeof key, "file-%08llu", (unsigned long long)random_below(&rnd, count));
		assert_int_equal(seq_seek_key(r, key, (size_t)len, NULL), 0);
		bool more = true, found = false;
		for (int steps = 0; steps < 4000 && more && !found; steps++) {
			const uint8_t *record;
			size_t record_len;
			assert_int_equal(seq_next(r, &more, &record, &record_len, NULL, NULL), 0);
			found = more && record_len > 14 && memcmp(record + 1, key, 13) == 0;
		}
		assert_true(found);
	}
	uint64_t start = 0;
	assert_int_equal(seq_seek_span(r, count, &start, NULL), 0);
	assert_int_equal(start, count);
	check_from(r, count, count, 1);
	assert_int_equal(seq_seek_key(r, "zzz", 3, NULL), 0);
	check_from(r, count, count, 1);
	assert_int_equal(seq_seek_key(r, "a", 1, NULL), 0);
	check_from(r, 0, count, 10);
}

static void a_change_shares_all_other_pages(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	struct id a = write_entries(&s, 30000, UINT64_MAX);
	size_t before = s.count;
	struct id b = write_entries(&s, 30000, UINT64_MAX);
	assert_true(id_equal(&a, &b));
	assert_int_equal(s.count, before);
	struct id c = write_entries(&s, 30000, 12345);
	assert_false(id_equal(&a, &c));
	assert_true(s.count - before <= 4);
}

/* --- other kinds ----------------------------------------------------------------- */

/* Ranges of a disk, and parts of a file: positions in bytes. */
static struct id write_ranges(struct shelf *s, size_t count, uint64_t *ret_starts)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct id root;
	struct error err = { 0 };
	uint64_t r = 77, at = 0;
	assert_int_equal(seq_writer_new(&w, SEQ_MAP, put, s, &err), 0);
	for (size_t i = 0; i < count; i++) {
		struct map_range range;
		CLEAN_BUF struct buf b = BUF_INIT;
		random_range(&r, &range);
		if (range.kind != MAP_DATA)
			range.length = 1 + range.length % (1 << 20);
		map_range_encode(&b, &range);
		ret_starts[i] = at;
		at += range.length;
		if (seq_add(w, b.data, b.len, NULL, 0, range.length, &err) < 0)
			fail_msg("%s", err.text);
	}
	ret_starts[count] = at;
	if (seq_finish(w, &root, &err) < 0)
		fail_msg("%s", err.text);
	return root;
}

static void positions_of_a_map_are_exact(void **state)
{
	(void)state;
	enum { COUNT = 50000 };
	CLEAN(shelf_done) struct shelf s = { 0 };
	CLEAN_FREE uint64_t *starts = calloc(COUNT + 1, sizeof *starts);
	struct id root = write_ranges(&s, COUNT, starts);
	CLEAN(seq_reader_cleanup) struct seq_reader *r = NULL;
	assert_int_equal(seq_reader_new(&r, SEQ_MAP, &root, get, &s, NULL), 0);
	uint64_t rnd = 3;
	for (int i = 0; i < 2000; i++) {
		uint64_t want = random_below(&rnd, starts[COUNT]), start = 0;
		assert_int_equal(seq_seek_span(r, want, &start, NULL), 0);
		assert_true(start <= want);
		for (bool found = false; !found;) {
			bool more;
			const uint8_t *record;
			size_t len;
			uint64_t at;
			struct map_range range;
			assert_int_equal(seq_next(r, &more, &record, &len, &at, NULL), 0);
			assert_true(more);
			assert_int_equal(at, start);
			assert_int_equal(map_range_decode(&range, record, len, NULL), 0);
			start = at + range.length;
			found = want < start;
		}
	}
	/* Going on within open pages costs no fetch. */
	uint64_t start;
	assert_int_equal(seq_seek_span(r, starts[100], &start, NULL), 0);
	size_t gets = s.gets;
	assert_int_equal(seq_seek_span(r, starts[101], &start, NULL), 0);
	assert_int_equal(s.gets, gets);
}

static void inodes_are_found_by_number(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	CLEAN_BUF struct buf b = BUF_INIT;
	struct id root;
	uint8_t key[8];
	assert_int_equal(seq_writer_new(&w, SEQ_INODES, put, &s, NULL), 0);
	for (uint64_t i = 1; i < 20000; i++) {
		struct inode_record rec = { .number = i * 300, .size = i };
		buf_clear(&b);
		inode_record_encode(&b, &rec);
		inode_record_key(rec.number, key);
		assert_int_equal(seq_add(w, b.data, b.len, key, 8, 1, NULL), 0);
	}
	assert_int_equal(seq_finish(w, &root, NULL), 0);
	CLEAN(seq_reader_cleanup) struct seq_reader *r = NULL;
	assert_int_equal(seq_reader_new(&r, SEQ_INODES, &root, get, &s, NULL), 0);
	for (uint64_t i = 19999; i; i -= i > 700 ? 700 : i) {
		inode_record_key(i * 300, key);
		assert_int_equal(seq_seek_key(r, key, 8, NULL), 0);
		bool more = true;
		for (bool found = false; !found;) {
			CLEAN(inode_record_done) struct inode_record rec = { 0 };
			const uint8_t *record;
			size_t len;
			assert_int_equal(seq_next(r, &more, &record, &len, NULL, NULL), 0);
			assert_true(more);
			assert_int_equal(inode_record_decode(&rec, record, len, NULL), 0);
			assert_true(rec.number <= i * 300);
			found = rec.number == i * 300;
		}
	}
}

/* A directory whose entries have long extended attributes: records over SEQ_PAGE_MAX stand alone. */
static void huge_records_stand_alone(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	CLEAN_FREE uint8_t *value = calloc(1, NODE_XATTR_MAX);
	char xattr_name[] = "user.long";
	struct id root;
	assert_int_equal(seq_writer_new(&w, SEQ_ENTRIES, put, &s, NULL), 0);
	for (int i = 0; i < 9; i++) {
		char name[8];
		struct xattr x = { xattr_name, value, i % 3 == 1 ? NODE_XATTR_MAX : 10 };
		struct node n = { .name = name, .name_len = (size_t)snprintf(name, sizeof name, "n%d", i), .attr = { .mode = S_IFIFO, .xattrs = &x, .xattr_count = 1 } };
		CLEAN_BUF struct buf b = BUF_INIT;
		node_encode(&b, &n);
		assert_int_equal(seq_add(w, b.data, b.len, name, n.name_len, 1, NULL), 0);
	}
	assert_int_equal(seq_finish(w, &root, NULL), 0);
	/* n0 | n1 | n2 n3 | n4 | n5 n6 | n7 | n8, and the root. */
	assert_int_equal(s.count, 8);
}

static void a_writer_refuses_nonsense(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	struct map_range range = { .kind = MAP_ZERO, .length = 4096 };
	CLEAN_BUF struct buf b = BUF_INIT;
	map_range_encode(&b, &range);
	for (int i = 0; i < 4; i++) {
		CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
		struct error err = { 0 };
		struct id root;
		assert_int_equal(seq_writer_new(&w, i == 3 ? SEQ_INODES : SEQ_MAP, put, &s, NULL), 0);
		assert_int_equal(seq_add(w, b.data, i == 0 ? 0 : b.len, "k", i == 1, i == 2 ? 4095 : 4096, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_int_equal(seq_finish(w, &root, &err), -1);
	}
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct inode_record rec = { .number = 5 };
	uint8_t key[8];
	inode_record_key(5, key);
	buf_clear(&b);
	inode_record_encode(&b, &rec);
	assert_int_equal(seq_writer_new(&w, SEQ_INODES, put, &s, NULL), 0);
	assert_int_equal(seq_add(w, b.data, b.len, key, 8, 1, NULL), 0);
	assert_int_equal(seq_add(w, b.data, b.len, key, 8, 1, NULL), -1);
}

/* --- damage ------------------------------------------------------------------------ */

struct counted {
	size_t pages, records;
};

static int count_record(void *cookie, const uint8_t *record, size_t len, struct error *err)
{
	(void)record, (void)len, (void)err;
	((struct counted *)cookie)->records++;
	return 0;
}

static int count_page(void *cookie, const struct id *id, const uint8_t *page, size_t len, struct error *err)
{
	(void)id;
	((struct counted *)cookie)->pages++;
	return seq_page_records(SEQ_ENTRIES, page, len, count_record, cookie, err);
}

static int stop_below_root(void *cookie, const struct id *id, const uint8_t *page, size_t len, struct error *err)
{
	(void)id, (void)page, (void)len, (void)err;
	return ++((struct counted *)cookie)->pages > 0;
}

static void a_walk_sees_every_page(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	struct id root = write_entries(&s, 40000, UINT64_MAX);
	struct counted all = { 0 }, top = { 0 };
	assert_int_equal(seq_walk_pages(SEQ_ENTRIES, &root, get, &s, count_page, &all, NULL), 0);
	assert_int_equal(all.pages, s.count);
	assert_int_equal(all.records, 40000);
	assert_int_equal(seq_walk_pages(SEQ_ENTRIES, &root, get, &s, stop_below_root, &top, NULL), 0);
	assert_int_equal(top.pages, 1);
	assert_int_equal(seq_walk_pages(SEQ_MAP, &root, get, &s, count_page, &all, NULL), -1);
}

/* A page in another's place is sound by itself; only what its parent says of it gives it away. */
static void swapped_pages_are_noticed(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	const uint64_t count = 20000;
	struct id root = write_entries(&s, count, UINT64_MAX);
	size_t tried = 0;
	for (size_t i = 0; i + 1 < s.count; i++, tried++) {
		struct buf kept = s.pages[i];
		s.pages[i] = s.pages[i + 1];
		struct counted all = { 0 };
		struct error err = { 0 };
		assert_int_equal(seq_walk_pages(SEQ_ENTRIES, &root, get, &s, count_page, &all, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		CLEAN(seq_reader_cleanup) struct seq_reader *r = NULL;
		assert_int_equal(seq_reader_new(&r, SEQ_ENTRIES, &root, get, &s, NULL), 0);
		bool more = true;
		int result = 0;
		const uint8_t *record;
		size_t len;
		while (result == 0 && more)
			result = seq_next(r, &more, &record, &len, NULL, NULL);
		assert_int_equal(result, -1);
		s.pages[i] = kept;
		/* It recovers by a seek. */
		assert_int_equal(seq_seek_span(r, 0, NULL, NULL), 0);
		check_from(r, 0, count, 10);
	}
	assert_true(tried > 20);
}

/* No damage of a page is followed further than it should be: keys ascend, counts end. */
static void damaged_pages_do_no_harm(void **state)
{
	(void)state;
	CLEAN(shelf_done) struct shelf s = { 0 };
	struct id root = write_entries(&s, 3000, UINT64_MAX);
	uint64_t r = 9;
	for (int i = 0; i < 2000; i++) {
		struct buf *page = &s.pages[random_below(&r, s.count)];
		size_t at = random_below(&r, i & 1 ? page->len : 100), len = page->len;
		uint8_t flip = (uint8_t)(1 + random_below(&r, 255));
		page->data[at] ^= flip;
		if (i % 8 == 0)
			page->len = random_below(&r, len);
		struct counted all = { 0 };
		if (seq_walk_pages(SEQ_ENTRIES, &root, get, &s, count_page, &all, NULL) == 0)
			assert_int_equal(all.records, 3000);
		page->data[at] ^= flip;
		page->len = len;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_round_trip),
		cmocka_unit_test(seeks_find_the_page),
		cmocka_unit_test(a_change_shares_all_other_pages),
		cmocka_unit_test(positions_of_a_map_are_exact),
		cmocka_unit_test(inodes_are_found_by_number),
		cmocka_unit_test(huge_records_stand_alone),
		cmocka_unit_test(a_writer_refuses_nonsense),
		cmocka_unit_test(a_walk_sees_every_page),
		cmocka_unit_test(swapped_pages_are_noticed),
		cmocka_unit_test(damaged_pages_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
