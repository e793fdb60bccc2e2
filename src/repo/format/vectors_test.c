/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The examples of docs/FORMAT.md, byte for byte: whoever changes one of these changes the format of repositories that exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>

#include "repo/format/document.h"
#include "repo/format/log.h"
#include "repo/format/map.h"
#include "repo/format/pack.h"
#include "repo/format/segment.h"
#include "repo/format/seq.h"

/* from, from + 1, ... */
static struct id counting(uint8_t from)
{
	struct id id;
	for (size_t i = 0; i < ID_SIZE; i++)
		id.b[i] = (uint8_t)(from + i);
	return id;
}

static void stands(const struct buf *b, const char *expected)
{
	CLEAN_FREE char *hex = calloc(1, 2 * b->len + 1);
	for (size_t i = 0; i < b->len; i++)
		sprintf(hex + 2 * i, "%02x", b->data[i]);
	assert_string_equal(hex, expected);
}

#define IDS_00 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define ZEROS_64 "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
#define IDS_20 "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"

static void a_file(struct buf *b)
{
	static char name[] = "a.txt", user[] = "bob";
	struct content_part part = { .kind = CONTENT_CHUNK, .length = 300, .chunk = counting(0) };
	struct node n = { .name = name, .name_len = 5, .has_content = true, .content = { .parts = &part, .count = 1 } };
	n.attr = (struct attr){ .mode = S_IFREG | 0644, .uid = 1000, .user = user, .size = 300, .nlink = 1, .ino = 12 };
	n.attr.mtime = (struct time_ns){ 1700000000, 500000000 };
	n.attr.ctime = (struct time_ns){ 1700000003, 0 };
	node_encode(b, &n);
}

static void nodes(void **state)
{
	(void)state;
	CLEAN_BUF struct buf b = BUF_INIT;
	a_file(&b);
	stands(&b, "05612e747874" "cd0a" "a403" "80c49fd50c" "0065cd1d" "06" "00000000" "e807" "03626f62" "0c" "02" "d804" IDS_00);

	static char name[] = "dir";
	struct node n = { .name = name, .name_len = 3, .has_tree = true, .tree = counting(0x20), .attr = { .mode = S_IFDIR | 0755, .nlink = 2 } };
	n.attr.mtime = n.attr.ctime = n.attr.btime = (struct time_ns){ -1, 0 };
	n.attr.has_btime = true;
	buf_clear(&b);
	node_encode(&b, &n);
	stands(&b, "03646972" "9240" "ed8303" "01" "02" IDS_20);
}

static void ranges_and_inodes(void **state)
{
	(void)state;
	CLEAN_BUF struct buf b = BUF_INIT;
	struct map_range data = { .kind = MAP_DATA, .length = 4096, .chunk = counting(0), .offset = 8192, .chunk_length = 65536 };
	map_range_encode(&b, &data);
	stands(&b, "808001" IDS_00 "8040" "80a003");
	struct map_range unused = { .kind = MAP_UNUSED, .length = 1 << 20 };
	buf_clear(&b);
	map_range_encode(&b, &unused);
	stands(&b, "82808002");

	struct inode_extent e[] = { { 0, 4096000, 8192, false }, { 8192, 4096, 4096, true } };
	struct inode_record i = { .number = 12, .size = 300, .mtime = { 5, 6 }, .ctime = { 5, 6 }, .extents = e, .extent_count = 2, .has_content = true };
	i.content = (struct content){ .paged = true, .root = counting(0x20) };
	buf_clear(&b);
	inode_record_encode(&b, &i);
	stands(&b, "000000000000000c" "1a" "ac02" "0a" "06000000" "02" "0c" "0400d00f" "0300d10f" "01" IDS_20);
}

static int show_page(void *cookie, const void *page, size_t len, struct id *ret, struct error *err)
{
	(void)err;
	buf_add(cookie, page, len);
	*ret = counting(0);
	return 0;
}

static void pages(void **state)
{
	(void)state;
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN_BUF struct buf record = BUF_INIT;
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct id root;
	assert_int_equal(seq_writer_new(&w, SEQ_ENTRIES, show_page, &b, NULL), 0);
	a_file(&record);
	assert_int_equal(seq_add(w, record.data, record.len, "a.txt", 5, 1, NULL), 0);
	assert_int_equal(seq_finish(w, &root, NULL), 0);
	assert_int_equal(record.len, 66);
	assert_int_equal(b.len, 70);
	assert_memory_equal(b.data, "\0\1\1\102", 4);
	assert_memory_equal(b.data + 4, record.data, record.len);
}

/* Where a list of 3000 small ranges is cut: sizes of its pages in the order of their writing. */
static int note_page(void *cookie, const void *page, size_t len, struct id *ret, struct error *err)
{
	(void)err;
	struct buf *text = cookie;
	char line[64];
	uint64_t h = len * 0x9e3779b97f4a7c15u;
	int n = snprintf(line, sizeof line, "%u:%zu ", *(const uint8_t *)page, len);
	buf_add(text, line, (size_t)n);
	*ret = counting(0);
	memcpy(ret->b, &h, sizeof h);
	return 0;
}

static void page_boundaries(void **state)
{
	(void)state;
	CLEAN_BUF struct buf text = BUF_INIT;
	CLEAN_BUF struct buf record = BUF_INIT;
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct id root;
	assert_int_equal(seq_writer_new(&w, SEQ_MAP, note_page, &text, NULL), 0);
	for (uint32_t i = 0; i < 3000; i++) {
		struct map_range r = { .kind = MAP_DATA, .length = 4096, .chunk = counting(0), .chunk_length = 4096 };
		put_le32(r.chunk.b, i);
		buf_clear(&record);
		map_range_encode(&record, &r);
		assert_int_equal(seq_add(w, record.data, record.len, NULL, 0, 4096, NULL), 0);
	}
	assert_int_equal(seq_finish(w, &root, NULL), 0);
	buf_add_u8(&text, 0);
	assert_string_equal((char *)text.data, "0:16572 0:16496 0:16534 0:16572 0:18016 0:16648 0:13190 1:269 ");
}

static void documents(void **state)
{
	(void)state;
	CLEAN_BUF struct buf b = BUF_INIT;
	char host[] = "h", path[] = "/etc";
	struct blob source = { path, 4 };
	struct snapshot s = { .kind = SNAPSHOT_FILES, .time = { 1700000000, 1 }, .host = host, .sources = { &source, 1 }, .session = counting(0x20) };
	s.tree = counting(0);
	s.totals.files = 300;
	snapshot_encode(&b, &s);
	stands(&b, "0100" "020101" "040980c49fd50c01000000" "050168" "0b042f657463" "0e20" IDS_20 "110dac020000000000000000000000" "1220" IDS_00);

	struct id pack = counting(0);
	struct tombstone t = { .time = { 1, 2 }, .session = counting(0x20), .packs = &pack, .pack_count = 1 };
	buf_clear(&b);
	tombstone_encode(&b, &t);
	stands(&b, "0100" "02050202000000" "0420" IDS_20 "0820" IDS_00);

	struct log_entry entry = { .time = { 1, 2 }, .host = host };
	buf_add(&entry.before, counting(0).b, ID_SIZE);
	buf_add(&entry.added, counting(0x20).b, ID_SIZE);
	buf_add(&entry.added, counting(0).b, ID_SIZE);
	buf_add(&entry.forgotten, counting(0).b, ID_SIZE);
	buf_clear(&b);
	log_entry_encode(&b, &entry);
	stands(&b, "0100" "02050202000000" "050168" "0620" IDS_00 "0840" IDS_20 IDS_00 "0a20" IDS_00);
	struct log_signer signer = { .time = { 1, 2 }, .name = host };
	memcpy(signer.key, counting(0x20).b, LOG_KEY_SIZE);
	assert_int_equal(log_signers_add(&entry.signers, &signer), 0);
	buf_add(&entry.hashes, counting(0x20).b, ID_SIZE);
	for (int i = 0; i < 5; i++)
		buf_add(&entry.vouchers, counting(i ? 0 : 0x20).b, ID_SIZE);
	entry.is_signed = true;
	memcpy(entry.signer, counting(0x20).b, LOG_KEY_SIZE);
	buf_clear(&b);
	log_entry_encode(&b, &entry);
	stands(&b, "0100" "02050202000000" "050168" "0620" IDS_00 "0840" IDS_20 IDS_00 "0a20" IDS_00 "0d20" IDS_20 "0fa001" IDS_20 IDS_00 IDS_00 IDS_00 IDS_00 "1167" IDS_20 "0202000000" "0168" ZEROS_64 "1360" IDS_20
	       ZEROS_64);
	log_signers_done(&entry.signers);
	buf_done(&entry.hashes);
	buf_done(&entry.vouchers);
	buf_done(&entry.before);
	buf_done(&entry.added);
	buf_done(&entry.forgotten);

	struct session open = { { 1, 2 }, { 1, 2 }, host, 300, 1, NULL };
	buf_clear(&b);
	session_encode(&b, &open);
	stands(&b, "0100" "02050202000000" "04050202000000" "050168" "0702ac02" "090101");

	struct repo_header h = { 1, 1, 1, 1, 1, counting(0), 0, 0 };
	uint8_t header[HEADER_SIZE];
	repo_header_encode(header, &h);
	buf_clear(&b);
	buf_add(&b, header, sizeof header);
	stands(&b, "54574f464f4c440a" "0100" "01010101" "0000" IDS_00 "000000000000000000000000" "3f34e23c");

	struct repo_header locking = { 2, 1, 1, 1, 1, counting(0), 1, 2592000 };
	repo_header_encode(header, &locking);
	buf_clear(&b);
	buf_add(&b, header, sizeof header);
	stands(&b, "54574f464f4c440a" "0200" "01010101" "0100" IDS_00 "008d27000000000000000000" "cfcd5c7a");
}

static void a_pack_table(void **state)
{
	(void)state;
	CLEAN(pack_table_done) struct pack_table t = { .session = counting(0x20) };
	CLEAN_BUF struct buf b = BUF_INIT;
	struct id id = counting(0);
	pack_table_add_block(&t, 200, 300);
	pack_table_add_chunk(&t, &id, 300);
	pack_table_encode(&b, &t, 200);
	assert_int_equal(b.len, PACK_PAD - PACK_HEADER_SIZE - 200 - SEAL_TAG_SIZE - PACK_FOOTER_SIZE);
	b.len = 76;
	stands(&b, IDS_20 "01" "c8000000" "2c010000" "01" IDS_00 "ac02");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes),
		cmocka_unit_test(ranges_and_inodes),
		cmocka_unit_test(pages),
		cmocka_unit_test(page_boundaries),
		cmocka_unit_test(documents),
		cmocka_unit_test(a_pack_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
