/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>

#include "repo/check.h"
#include "repo/object.h"
#include "repo/test_snapshot.h"

#define BIG (1u << 20)

static struct test_repo t;
static char copy[128];
static struct id first_files, second_files, image;

/* --- a repository with every kind of object ------------------------------------------------- */

static struct id make_folder(uint8_t *data)
{
	struct node keep[2] = { test_file(&t, "a", data, BIG, 300000, false), test_file(&t, "b", data + 17, BIG - 17, 20000, true) };
	return test_tree(&t, keep, 2);
}

static struct id make_files(uint8_t *data, const char *name, int64_t second)
{
	test_begin(&t);
	struct id keep = make_folder(data);
	test_fill(data, 1000, (uint32_t)second);
	struct node top[2] = { test_folder("keep", &keep), test_file(&t, name, data, 1000, 1000, false) };
	struct snapshot s = { .kind = SNAPSHOT_FILES, .tree = test_tree(&t, top, 2) };
	return test_commit(&t, &s, second);
}

static struct id make_image(uint8_t *data)
{
	static char none[] = "";
	test_begin(&t);
	struct node file[1] = { test_file(&t, "in-image", data, BIG / 2, BIG / 4, false) };
	struct snapshot_volume volume = { .number = 3, .size = BIG / 2, .name = none, .fs_type = none, .fs_uuid = none, .fs_label = none, .raw_reason = none, .has_tree = true };
	volume.root_attr.mode = S_IFDIR | 0755;
	struct inode_record inode = { .number = 12, .size = BIG / 2, .has_content = true };
	TEST_OK(content_copy(&inode.content, &file[0].content));
	CLEAN_BUF struct buf record = BUF_INIT;
	uint8_t key[8];
	inode_record_encode(&record, &inode);
	inode_record_key(12, key);
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	TEST_OK(seq_writer_new(&w, SEQ_INODES, writer_put_page, &t.slot, &err));
	TEST_OK(seq_add(w, record.data, record.len, key, 8, 1, &err));
	TEST_OK(seq_finish(w, &volume.inodes, &err));
	inode_record_done(&inode);
	volume.tree = test_tree(&t, file, 1);
	struct map_range ranges[3] = { { MAP_DATA, BIG / 4, test_chunk(&t, data, BIG / 4), 0, BIG / 4 }, { .kind = MAP_UNUSED, .length = BIG / 2 },
		                       { MAP_DATA, BIG / 4 - 100, test_chunk(&t, data + BIG / 4, BIG / 4), 100, BIG / 4 } };
	struct snapshot s = { .kind = SNAPSHOT_IMAGE, .sector = 512, .disk_size = BIG - 100, .volumes = &volume, .volume_count = 1 };
	s.map = test_map(&t, ranges, 3);
	return test_commit(&t, &s, 3000);
}

static void make_documents(void)
{
	struct id id;
	char host[] = "h";
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct session session = { .host = host, .work = 1 };
	session_encode(&bytes, &session);
	seal_random(id.b, ID_SIZE);
	TEST_OK(object_write(t.repo->store, t.repo->keys, SEAL_SESSION, &id, &id, bytes.data, bytes.len, &err));
	const struct repo_secret other = { .how = SEAL_WRAP_KEYFILE, .data = "another-key-file-of-32-bytes-ab!", .len = 32 };
	TEST_OK(repo_key_add(t.repo, &other, "second", &id, &err));
}

static int setup(void **state)
{
	(void)state;
	test_repo_make(&t);
	uint8_t *data = malloc(BIG);
	test_fill(data, BIG, 9);
	first_files = make_files(data, "x", 1000);
	test_fill(data, 1000, 9);
	test_fill(data, BIG, 9);
	second_files = make_files(data, "y", 2000);
	test_fill(data, BIG, 33);
	image = make_image(data);
	make_documents();
	free(data);
	snprintf(copy, sizeof copy, "%s/copy", t.root);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_repo_done(&t);
	return 0;
}

/* --- running the check on a copy that was damaged ----------------------------------------------- */

struct findings {
	struct buf text;
	struct check_report report;
	bool opened;
};

static void note_damage(void *cookie, const char *object, const char *what)
{
	struct findings *f = cookie;
	buf_add(&f->text, "damaged ", 8);
	buf_add(&f->text, object, strlen(object));
	buf_add(&f->text, ": ", 2);
	buf_add(&f->text, what, strlen(what));
	buf_add(&f->text, "\n", 1);
}

static void note_hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	struct findings *f = cookie;
	char hex[ID_HEX_SIZE];
	id_to_hex(snapshot, hex);
	buf_add(&f->text, hex, 64);
	buf_add(&f->text, ":", 1);
	if (area)
		buf_add(&f->text, area, strlen(area));
	else
		buf_add(&f->text, path, path_len);
	buf_add(&f->text, ": ", 2);
	buf_add(&f->text, what, strlen(what));
	buf_add(&f->text, "\n", 1);
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
	char command[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

static void fresh_copy(void)
{
	shell("rm -rf %s && cp -r %s %s", copy, t.location, copy);
}

static void run_check(struct findings *ret, bool read_data)
{
	struct check_options options = { .read_data = read_data, .percent = 100, .threads = 2 };
	*ret = (struct findings){ .text = BUF_INIT };
	struct check_sink sink = { note_damage, note_hit, ret };
	CLEAN_REPO struct repo *r = NULL;
	struct error why = { 0 };
	if (repo_open(&r, copy, &test_secret, NULL, &why) < 0) {
		note_damage(ret, "open", why.text);
	} else {
		ret->opened = true;
		TEST_OK(repo_check(r, &options, &sink, &ret->report, &err));
	}
	buf_add_u8(&ret->text, 0);
}

static bool has_line(const struct findings *f, const char *object, const char *what)
{
	for (const char *line = (const char *)f->text.data; *line; line = strchr(line, '\n') + 1) {
		const char *a = strstr(line, object), *b = strstr(line, what), *end = strchr(line, '\n');
		if (a && a < end && b && b < end)
			return true;
	}
	return false;
}

static bool has_hit(const struct findings *f, const struct id *snapshot, const char *place)
{
	char head[ID_HEX_SIZE + 100], hex[ID_HEX_SIZE];
	id_to_hex(snapshot, hex);
	snprintf(head, sizeof head, "%s:%s: ", hex, place);
	return strstr((const char *)f->text.data, head) != NULL;
}

/* Objects of the repository, as keys. */
static char objects[64][128];
static uint64_t sizes[64];
static size_t object_count;

static int note_object(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	const char *key = path + strlen(t.location);
	if (type == FTW_F && object_count < 64 && strncmp(key, "/tmp/", 5) != 0) {
		snprintf(objects[object_count], sizeof objects[0], "%s", key + 1);
		sizes[object_count++] = (uint64_t)st->st_size;
	}
	return 0;
}

static void list_objects(void)
{
	object_count = 0;
	assert_int_equal(nftw(t.location, note_object, 16, FTW_PHYS), 0);
	assert_true(object_count > 10);
}

static bool is_kind(size_t i, const char *prefix)
{
	return strncmp(objects[i], prefix, strlen(prefix)) == 0;
}

static void flip(size_t object, uint64_t at)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", copy, objects[object]);
	chmod(path, 0600);
	FILE *f = fopen(path, "r+");
	assert_non_null(f);
	fseek(f, (long)at, SEEK_SET);
	int byte = fgetc(f);
	fseek(f, (long)at, SEEK_SET);
	fputc(byte ^ 0x10, f);
	assert_int_equal(fclose(f), 0);
}

/* --- tests ------------------------------------------------------------------------------------------ */

static void a_whole_repository_passes(void **state)
{
	(void)state;
	struct findings f;
	fresh_copy();
	run_check(&f, true);
	assert_string_equal(f.text.data, "");
	assert_int_equal(f.report.damaged + f.report.hits, 0);
	assert_int_equal(f.report.snapshots, 3);
	assert_int_equal(f.report.keys, 2);
	assert_int_equal(f.report.unreferenced_chunks, 0);
	assert_int_equal(f.report.duplicate_chunks, 0);
	assert_int_equal(f.report.unindexed_packs, 0);
	assert_int_equal(f.report.packs_read, f.report.packs);
	assert_int_equal(f.report.chunks_read, f.report.chunks);
	buf_done(&f.text);
}

static void what_is_not_needed_is_counted(void **state)
{
	(void)state;
	struct findings f;
	fresh_copy();
	list_objects();
	shell("rm -r %s/log", copy); /* which would miss them */
	for (size_t i = 0; i < object_count; i++)
		if (is_kind(i, "snapshots/"))
			shell("rm %s/%s", copy, objects[i]);
	run_check(&f, false);
	assert_string_equal(f.text.data, "");
	assert_int_equal(f.report.snapshots, 0);
	assert_int_equal(f.report.unreferenced_chunks, f.report.chunks);
	assert_true(f.report.unreferenced_bytes > BIG);
	buf_done(&f.text);
}

/* The line that a damaged object must have; opening fails for what is needed to open. */
static void expect_named(const struct findings *f, size_t object)
{
	if (!f->opened) {
		assert_true(is_kind(object, "twofold") || is_kind(object, "keys/"));
		return;
	}
	if (!has_line(f, "damaged", objects[object]))
		fail_msg("%s is not named in:\n%s", objects[object], (const char *)f->text.data);
	assert_true(f->report.damaged > 0);
}

/* Every byte of the store is vouched for by something. */
static void a_flipped_bit_is_found_anywhere(void **state)
{
	(void)state;
	uint32_t random = 1;
	list_objects();
	for (size_t i = 0; i < object_count; i++)
		for (unsigned n = 0; n < 6; n++) {
			struct findings f;
			random = random * 1664525u + 1013904223u;
			uint64_t at = n == 0 ? 12 : n == 1 ? sizes[i] - 20 : n == 2 ? sizes[i] - 1 : (random >> 4) % sizes[i];
			/* The label of a key is not bound to anything but the key's own wrapping, which only its own secret opens. */
			if (is_kind(i, "keys/"))
				at = 3;
			fresh_copy();
			flip(i, at);
			run_check(&f, true);
			expect_named(&f, i);
			buf_done(&f.text);
		}
}

static void a_truncated_object_is_found(void **state)
{
	(void)state;
	list_objects();
	for (size_t i = 0; i < object_count; i++)
		for (unsigned n = 0; n < 3; n++) {
			struct findings f;
			fresh_copy();
			shell("chmod u+w %s/%s && truncate -s %llu %s/%s", copy, objects[i], (unsigned long long)(n == 0 ? 0 : n == 1 ? sizes[i] / 2 : sizes[i] - 1), copy,
			      objects[i]);
			run_check(&f, false);
			expect_named(&f, i);
			buf_done(&f.text);
		}
}

/* Two objects of one kind in each other's place. */
static void swapped_objects_are_found(void **state)
{
	(void)state;
	static const char *const kinds[] = { "packs/", "index/", "snapshots/" };
	list_objects();
	for (size_t k = 0; k < 3; k++) {
		size_t two[2], count = 0;
		struct findings f;
		for (size_t i = 0; i < object_count && count < 2; i++)
			if (is_kind(i, kinds[k]))
				two[count++] = i;
		assert_int_equal(count, 2);
		fresh_copy();
		shell("cd %s && mv %s z && mv %s %s && mv z %s", copy, objects[two[0]], objects[two[1]], objects[two[0]], objects[two[1]]);
		run_check(&f, false);
		expect_named(&f, two[0]);
		expect_named(&f, two[1]);
		buf_done(&f.text);
	}
}

/* The pack that holds the chunk at position at of the file's content. */
static void pack_of_file(const struct id *snapshot, enum seal_kind kind, char ret[OBJECT_KEY_MAX])
{
	struct snapshot s = { 0 };
	struct place place;
	bool found;
	TEST_OK(repo_snapshot_read(t.repo, snapshot, &s, &err));
	struct id chunk = s.tree;
	if (s.kind == SNAPSHOT_IMAGE)
		chunk = s.map;
	TEST_OK(index_find(t.repo->index, &chunk, &found, &place, &err));
	assert_true(found);
	/* Meta pack of the session that made this snapshot; its data pack is the other one in the same segment. */
	struct id session = s.session;
	snapshot_done(&s);
	for (size_t i = 0; i < index_segments(t.repo->index); i++) {
		const struct segment *segment = index_segment(t.repo->index, i);
		for (uint32_t row = 0; row < segment->pack_count; row++) {
			struct segment_pack pack;
			segment_pack_at(segment, row, &pack);
			if (id_equal(&segment->session, &session) && pack.kind == kind) {
				object_key(kind, &pack.id, ret);
				return;
			}
		}
	}
	fail();
}

static void a_missing_pack_of_data_hits_files(void **state)
{
	(void)state;
	struct findings f;
	char key[OBJECT_KEY_MAX];
	pack_of_file(&first_files, SEAL_PACK_DATA, key);
	fresh_copy();
	shell("rm %s/%s", copy, key);
	run_check(&f, false);
	assert_true(has_line(&f, key, "missing"));
	assert_true(has_hit(&f, &first_files, "/keep/a"));
	assert_true(has_hit(&f, &first_files, "/keep/b"));
	assert_true(has_hit(&f, &first_files, "/x"));
	assert_true(has_hit(&f, &second_files, "/keep/a"));
	assert_true(has_hit(&f, &second_files, "/keep/b"));
	assert_false(has_hit(&f, &second_files, "/y"));
	assert_int_equal(f.report.hits, 5);
	assert_int_equal(f.report.damaged, 1);
	buf_done(&f.text);
}

static void a_missing_pack_of_an_image_hits_file_and_disk(void **state)
{
	(void)state;
	struct findings f;
	char key[OBJECT_KEY_MAX];
	pack_of_file(&image, SEAL_PACK_DATA, key);
	fresh_copy();
	shell("rm %s/%s", copy, key);
	run_check(&f, false);
	assert_true(has_hit(&f, &image, "/p3/in-image"));
	assert_true(has_hit(&f, &image, "the disk"));
	assert_true(has_hit(&f, &image, "the inode table of p3"));
	assert_int_equal(f.report.hits, 3);
	buf_done(&f.text);
}

static void a_missing_pack_of_trees_hits_folders(void **state)
{
	(void)state;
	struct findings f;
	char key[OBJECT_KEY_MAX];
	pack_of_file(&first_files, SEAL_PACK_META, key);
	fresh_copy();
	shell("rm %s/%s", copy, key);
	run_check(&f, false);
	assert_true(has_hit(&f, &first_files, "/"));
	assert_true(has_hit(&f, &second_files, "/keep"));
	assert_int_equal(f.report.hits, 2);
	buf_done(&f.text);
}

static void a_damaged_block_hits_its_files_only(void **state)
{
	(void)state;
	struct findings f;
	char key[OBJECT_KEY_MAX];
	size_t object = 0;
	pack_of_file(&first_files, SEAL_PACK_DATA, key);
	list_objects();
	while (strcmp(objects[object], key) != 0)
		object++;
	fresh_copy();
	flip(object, 100); /* in the first block: a piece of /keep/a */
	run_check(&f, false);
	assert_string_equal(f.text.data, "");
	buf_done(&f.text);
	run_check(&f, true);
	assert_true(has_line(&f, key, "1 of its"));
	assert_true(has_hit(&f, &first_files, "/keep/a"));
	assert_true(has_hit(&f, &second_files, "/keep/a"));
	assert_int_equal(f.report.hits, 2);
	buf_done(&f.text);
	/* A table that is damaged costs nothing but the table. */
	fresh_copy();
	flip(object, sizes[object] - 40);
	run_check(&f, false);
	assert_true(has_line(&f, key, "can still be read"));
	assert_int_equal(f.report.damaged, 1);
	assert_int_equal(f.report.hits, 0);
	buf_done(&f.text);
}

static void a_missing_index_segment_is_found(void **state)
{
	(void)state;
	struct findings f;
	fresh_copy();
	shell("rm -r %s/index", copy);
	run_check(&f, false);
	assert_true(f.report.unindexed_packs > 0);
	assert_int_equal(f.report.unindexed_packs, f.report.packs);
	assert_true(has_hit(&f, &first_files, "/"));
	assert_true(has_hit(&f, &image, "the disk"));
	assert_true(has_line(&f, "/:", "which no index segment names"));
	buf_done(&f.text);
}

static void a_sample_reads_a_part(void **state)
{
	(void)state;
	struct findings f = { .text = BUF_INIT };
	struct check_options options = { .read_data = true, .percent = 1, .threads = 1 };
	struct check_sink sink = { note_damage, note_hit, &f };
	TEST_OK(repo_check(t.repo, &options, &sink, &f.report, &err));
	/* A small pack may not be a percent of the bytes. */
	assert_in_range(f.report.packs_read, 1, f.report.packs - 1);
	assert_int_equal(f.text.len, 0);
}

/* --- a snapshot that was written wrong: all authentic, but it makes no sense --------------------- */

/* In a repository of its own. */
static void expect_wrong(struct test_repo *r, const struct id *snapshot, const char *path, const char *what)
{
	char head[ID_HEX_SIZE + 100], hex[ID_HEX_SIZE];
	struct findings f = { .text = BUF_INIT };
	struct check_options options = { .threads = 1 };
	struct check_sink sink = { note_damage, note_hit, &f };
	id_to_hex(snapshot, hex);
	snprintf(head, sizeof head, "%s:%s: ", hex, path);
	TEST_OK(repo_check(r->repo, &options, &sink, &f.report, &err));
	buf_add_u8(&f.text, 0);
	if (!has_line(&f, head, what))
		fail_msg("no line has %s and %s:\n%s", head, what, (const char *)f.text.data);
	assert_true(f.report.hits > 0);
	buf_done(&f.text);
}

static struct id commit_nodes(struct test_repo *r, struct node *nodes, size_t count)
{
	struct snapshot s = { .kind = SNAPSHOT_FILES, .tree = test_tree(r, nodes, count) };
	return test_commit(r, &s, 1);
}

static void a_snapshot_that_makes_no_sense_is_named(void **state)
{
	(void)state;
	struct test_repo r;
	struct id id, odd = { { 1, 2, 3 } };
	static uint8_t data[50000];
	test_fill(data, sizeof data, 4);
	test_repo_make(&r);
	test_begin(&r);
	struct node nodes[3] = { test_folder("folder", &odd), test_file(&r, "none", data, 100, 100, false), test_file(&r, "short", data, 1000, 1000, false) };
	nodes[1].content.parts[0].chunk = odd;
	nodes[2].content.parts[0].length = 2000;
	nodes[2].attr.size = 2000;
	id = commit_nodes(&r, nodes, 3);
	expect_wrong(&r, &id, "/folder", "in no pack");
	expect_wrong(&r, &id, "/none", "100 bytes are lost: chunk 0102030000000000 is in no pack");
	expect_wrong(&r, &id, "/short", "has 1000 bytes where 2000 are referred to");

	/* Content that is a tree, a tree that is content, a list that is shorter than its file. */
	test_begin(&r);
	struct node inner[1] = { test_file(&r, "x", data, 100, 100, false) };
	struct id tree = test_tree(&r, inner, 1);
	struct node lists[3] = { test_file(&r, "as-content", data, sizeof data, 1000, true), test_folder("as-tree", &tree), test_file(&r, "longer", data, sizeof data, 999, true) };
	lists[1].tree = lists[0].content.root;
	lists[0].content.root = tree;
	lists[2].attr.size++;
	id = commit_nodes(&r, lists, 3);
	expect_wrong(&r, &id, "/as-content", "has kind");
	expect_wrong(&r, &id, "/as-tree", "has kind");
	expect_wrong(&r, &id, "/longer", "holds 50000 bytes where 50001 belong");
	test_repo_done(&r);
}

/* Lists of many pages: damage below one page leaves the others alone, and is told for each snapshot that has it. */
static void a_large_folder_is_walked_page_by_page(void **state)
{
	(void)state;
	enum { MANY = 20000, WRONG = 13000 };
	struct test_repo r;
	struct id odd = { { 1, 2, 3 } }, first, second;
	struct node *nodes = calloc(MANY, sizeof *nodes);
	struct findings f = { .text = BUF_INIT };
	struct check_options options = { .threads = 1 };
	struct check_sink sink = { note_damage, note_hit, &f };
	test_repo_make(&r);
	for (unsigned pass = 0; pass < 2; pass++) {
		test_begin(&r);
		for (unsigned i = 0; i < MANY; i++) {
			char name[16];
			snprintf(name, sizeof name, "f%05u", i);
			nodes[i] = i == WRONG ? test_file(&r, name, name, 6, 6, false) : test_node(name, S_IFREG | 0644);
			if (i == WRONG)
				nodes[i].content.parts[0].chunk = odd;
		}
		nodes[0].attr.uid = pass;
		*(pass ? &second : &first) = commit_nodes(&r, nodes, MANY);
	}
	TEST_OK(repo_check(r.repo, &options, &sink, &f.report, &err));
	buf_add_u8(&f.text, 0);
	assert_true(has_hit(&f, &first, "/f13000"));
	assert_true(has_hit(&f, &second, "/f13000"));
	assert_int_equal(f.report.hits, 2);
	assert_int_equal(f.report.damaged, 0);
	assert_true(f.report.pages > 10);
	buf_done(&f.text);
	free(nodes);
	test_repo_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_repository_passes),
		cmocka_unit_test(what_is_not_needed_is_counted),
		cmocka_unit_test(a_flipped_bit_is_found_anywhere),
		cmocka_unit_test(a_truncated_object_is_found),
		cmocka_unit_test(swapped_objects_are_found),
		cmocka_unit_test(a_missing_pack_of_data_hits_files),
		cmocka_unit_test(a_missing_pack_of_an_image_hits_file_and_disk),
		cmocka_unit_test(a_missing_pack_of_trees_hits_folders),
		cmocka_unit_test(a_damaged_block_hits_its_files_only),
		cmocka_unit_test(a_missing_index_segment_is_found),
		cmocka_unit_test(a_sample_reads_a_part),
		cmocka_unit_test(a_snapshot_that_makes_no_sense_is_named),
		cmocka_unit_test(a_large_folder_is_walked_page_by_page),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
