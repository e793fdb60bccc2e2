/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "repo/test_snapshot.h"
#include "view/diff.h"
#include "view/disk.h"
#include "view/find.h"
#include "view/tree.h"

#define BIG (3u << 20)
#define MANY 5000u

static struct test_repo t;
static uint8_t *big;
static struct id files_tree;
static struct snapshot files, image;

/* /a (big, paged) /dir/{empty, nested/deep, small} /many/f00000.. /sparse */
static void make_files(void)
{
	struct node nested[1] = { test_file(&t, "deep", "deep\n", 5, 1000, false) };
	struct id nested_tree = test_tree(&t, nested, 1);
	struct node dir[3] = { test_node("empty", S_IFREG | 0600), test_folder("nested", &nested_tree), test_file(&t, "small", "hello world", 11, 4, false) };
	struct id dir_tree = test_tree(&t, dir, 3);
	static struct node many[MANY];
	for (unsigned i = 0; i < MANY; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%05u", i);
		many[i] = test_node(name, S_IFREG | 0644);
	}
	struct id many_tree = test_tree(&t, many, MANY);
	struct node sparse = test_node("sparse", S_IFREG | 0644);
	sparse.content.parts = calloc(3, sizeof *sparse.content.parts);
	sparse.content.count = 3;
	sparse.has_content = true;
	sparse.content.parts[0] = (struct content_part){ .kind = CONTENT_HOLE, .length = 1ull << 40 };
	sparse.content.parts[1] = (struct content_part){ .kind = CONTENT_CHUNK, .length = 3, .chunk = test_chunk(&t, "end", 3) };
	sparse.content.parts[2] = (struct content_part){ .kind = CONTENT_HOLE, .length = 5 };
	sparse.attr.size = (1ull << 40) + 8;
	struct node top[4] = { test_file(&t, "a", big, BIG, 7001, true), test_folder("dir", &dir_tree), test_folder("many", &many_tree), sparse };
	files_tree = test_tree(&t, top, 4);
}

/* A disk of 3 volumes whose data, in pieces of 10000 bytes, lies in the order of the chunks; every third piece is unused. */
static struct id make_map(uint64_t *ret_size)
{
	static struct map_range ranges[BIG / 10000 + 1];
	size_t count = 0;
	struct id chunk = { 0 };
	uint32_t chunk_start = 0;
	for (uint32_t at = 0; at + 10000 <= BIG; at += 10000) {
		if (at % 1000000 == 0) {
			uint32_t len = BIG - at < 1000000 ? BIG - at : 1000000;
			chunk = test_chunk(&t, big + at, len);
			chunk_start = at;
		}
		uint32_t chunk_length = BIG - chunk_start < 1000000 ? BIG - chunk_start : 1000000;
		if (at / 10000 % 3 == 2)
			ranges[count++] = (struct map_range){ .kind = (enum map_kind)(1 + at / 10000 % 2), .length = 10000 };
		else
			ranges[count++] = (struct map_range){ MAP_DATA, 10000, chunk, at - chunk_start, chunk_length };
		*ret_size = at + 10000;
	}
	return test_map(&t, ranges, count);
}

static int setup(void **state)
{
	(void)state;
	static char none[] = "", why[] = "unclean", ext4[] = "ext4", ntfs[] = "ntfs";
	static struct snapshot_volume volumes[3];
	test_repo_make(&t);
	big = malloc(BIG);
	test_fill(big, BIG, 1);
	test_begin(&t);
	make_files();
	files = (struct snapshot){ .kind = SNAPSHOT_FILES, .tree = files_tree };
	test_commit(&t, &files, 1000);
	test_begin(&t);
	image = (struct snapshot){ .kind = SNAPSHOT_IMAGE, .sector = 512, .table = 2, .volumes = volumes, .volume_count = 3 };
	image.map = make_map(&image.disk_size);
	for (unsigned i = 0; i < 3; i++)
		volumes[i] = (struct snapshot_volume){ .name = none, .fs_type = ext4, .fs_uuid = none, .fs_label = none, .raw_reason = none, .size = 1000000,
			                               .number = i == 0 ? 1 : i == 1 ? 2 : 10, .offset = i * 1000000 };
	volumes[0].has_tree = true;
	volumes[0].tree = files_tree;
	volumes[0].inodes = files_tree;
	volumes[0].root_attr.mode = S_IFDIR | 0700;
	volumes[1].raw = true;
	volumes[1].raw_reason = why;
	volumes[2].raw = true;
	volumes[2].fs_type = ntfs;
	test_commit(&t, &image, 2000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_repo_done(&t);
	free(big);
	return 0;
}

static bool look(struct view *v, const char *path, struct node *ret)
{
	bool found;
	TEST_OK(view_lookup(v, path, strlen(path), &found, ret, &err));
	return found;
}

static void paths_are_found(void **state)
{
	(void)state;
	static const char *const there[] = { "", "/", "//", "/.", "a", "/a", "dir/nested/deep", "//dir//nested/./deep/", "/many/f00000", "many/f02500", "many/f04999" };
	static const char *const missing[] = { "b", "a/b", "dir/nested/dee", "dir/nested/deepe", "many/f05000", "many/f", "many/f00000/x", "zzz" };
	CLEAN_VIEW struct view *v = NULL;
	struct node n;
	bool found;
	struct error why = { 0 };
	TEST_OK(view_open(&v, t.repo, &files, &err));
	for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
		assert_true(look(v, there[i], &n));
		node_done(&n);
	}
	for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
		assert_false(look(v, missing[i], &n));
	assert_int_equal(view_lookup(v, "dir/..", 6, &found, &n, &why), -1);
	assert_int_equal(why.kind, ERR_INVALID);
}


struct seen {
	struct buf text;
	size_t nodes, leaves;
};

static int note(void *cookie, enum view_walk_event event, const char *path, size_t path_len, struct node *node, struct error *err)
{
	struct seen *seen = cookie;
	(void)err;
	if (event == VIEW_LEAVE) {
		seen->leaves++;
		buf_add(&seen->text, "<", 1);
	}
	seen->nodes += event == VIEW_NODE;
	if (path_len > 5 && memcmp(path, "many/", 5) == 0)
		return 0;
	buf_add(&seen->text, path, path_len);
	buf_add(&seen->text, " ", 1);
	return node->name_len == 6 && memcmp(node->name, "nested", 6) == 0 && event == VIEW_NODE && seen->leaves == 99 ? VIEW_SKIP : 0;
}

static void a_walk_goes_depth_first(void **state)
{
	(void)state;
	CLEAN_VIEW struct view *v = NULL;
	struct node root;
	struct seen seen = { BUF_INIT, 0, 0 };
	struct view_walk walk = { .fn = note, .cookie = &seen, .leave = true };
	TEST_OK(view_open(&v, t.repo, &files, &err));
	TEST_OK(view_root(v, &root, &err));
	TEST_OK(view_walk(v, &root, &walk, &err));
	buf_add_u8(&seen.text, 0);
	assert_string_equal(seen.text.data, " a dir dir/empty dir/nested dir/nested/deep <dir/nested dir/small <dir many <many sparse < ");
	assert_int_equal(seen.nodes, 9 + MANY);
	assert_int_equal(seen.leaves, 4);
	buf_done(&seen.text);
	node_done(&root);
	assert_true(look(v, "dir", &root));
	seen = (struct seen){ BUF_INIT, 0, 99 };
	walk.leave = false;
	TEST_OK(view_walk(v, &root, &walk, &err));
	buf_add_u8(&seen.text, 0);
	assert_string_equal(seen.text.data, " empty nested small ");
	buf_done(&seen.text);
	node_done(&root);
}

static void an_image_shows_its_volumes(void **state)
{
	(void)state;
	CLEAN_VIEW struct view *v = NULL;
	struct node n;
	struct seen seen = { BUF_INIT, 0, 0 };
	struct view_walk walk = { .fn = note, .cookie = &seen };
	TEST_OK(view_open(&v, t.repo, &image, &err));
	assert_true(look(v, "p1/dir/nested/deep", &n));
	node_done(&n);
	assert_true(look(v, "/p2", &n));
	assert_string_equal(n.note, "unclean");
	assert_false(n.has_tree);
	node_done(&n);
	assert_true(look(v, "/p10", &n));
	assert_string_equal(n.note, "no reader for ntfs");
	node_done(&n);
	assert_false(look(v, "p3", &n));
	assert_false(look(v, "p2/x", &n));
	assert_true(look(v, "", &n));
	TEST_OK(view_walk(v, &n, &walk, &err));
	assert_int_equal(seen.nodes, 1 + 3 + 8 + MANY);
	buf_add_u8(&seen.text, 0);
	assert_non_null(strstr((char *)seen.text.data, "p1/sparse p10 p2 "));
	buf_done(&seen.text);
	node_done(&n);
}

static void a_bare_filesystem_is_the_root(void **state)
{
	(void)state;
	CLEAN_VIEW struct view *v = NULL;
	struct snapshot bare = image;
	struct snapshot_volume volume = image.volumes[0];
	struct node n;
	volume.number = 0;
	bare.volumes = &volume;
	bare.volume_count = 1;
	TEST_OK(view_open(&v, t.repo, &bare, &err));
	assert_true(look(v, "", &n));
	assert_int_equal(n.attr.mode, S_IFDIR | 0700);
	node_done(&n);
	assert_true(look(v, "dir/small", &n));
	node_done(&n);
}

static void files_read_anywhere(void **state)
{
	(void)state;
	static uint8_t got[40000];
	CLEAN_VIEW struct view *v = NULL;
	struct node n;
	size_t len;
	TEST_OK(view_open(&v, t.repo, &files, &err));
	assert_true(look(v, "a", &n));
	assert_true(n.content.paged);
	for (uint64_t at = 0; at < BIG; at += 39999) {
		TEST_OK(view_read(v, &n, at, got, sizeof got, &len, &err));
		assert_int_equal(len, BIG - at < sizeof got ? BIG - at : sizeof got);
		assert_memory_equal(got, big + at, len);
	}
	TEST_OK(view_read(v, &n, BIG, got, sizeof got, &len, &err));
	assert_int_equal(len, 0);
	node_done(&n);
	assert_true(look(v, "dir/small", &n));
	TEST_OK(view_read(v, &n, 3, got, 100, &len, &err));
	assert_int_equal(len, 8);
	assert_memory_equal(got, "lo world", 8);
	node_done(&n);
	assert_true(look(v, "sparse", &n));
	TEST_OK(view_read(v, &n, (1ull << 40) - 2, got, 100, &len, &err));
	assert_int_equal(len, 10);
	assert_memory_equal(got, "\0\0end\0\0\0\0\0", 10);
	node_done(&n);
	assert_true(look(v, "dir/empty", &n));
	TEST_OK(view_read(v, &n, 0, got, 100, &len, &err));
	assert_int_equal(len, 0);
	node_done(&n);
}

/* --- disk ------------------------------------------------------------------------------- */

static void expect(uint8_t *ret, uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ret[i] = (offset + i) / 10000 % 3 == 2 ? 0 : big[offset + i];
}

static void a_disk_reads_anywhere(void **state)
{
	(void)state;
	static uint8_t got[100000], want[100000];
	CLEAN_BLOCK struct block *b = NULL;
	uint32_t random = 7;
	TEST_OK(view_disk_open(&b, t.repo, &image, &err));
	assert_int_equal(b->size, image.disk_size);
	for (unsigned i = 0; i < 400; i++) {
		random = random * 1664525u + 1013904223u;
		size_t len = random % (i % 2 ? 5000 : sizeof got);
		uint64_t at = (random >> 3) % (image.disk_size - len);
		TEST_OK(block_read(b, at, got, len, &err));
		expect(want, at, len);
		assert_memory_equal(got, want, len);
	}
}

struct reading {
	struct block *block;
	uint32_t random;
	bool wrong;
};

static void *read_often(void *arg)
{
	struct reading *r = arg;
	uint8_t *got = malloc(2 * 30000), *want = got + 30000;
	for (unsigned i = 0; i < 60 && got; i++) {
		r->random = r->random * 1664525u + 1013904223u;
		uint64_t at = (r->random >> 3) % (image.disk_size - 30000);
		expect(want, at, 30000);
		r->wrong |= block_read(r->block, at, got, 30000, NULL) < 0 || memcmp(got, want, 30000) != 0;
	}
	free(got);
	return NULL;
}

static void threads_share_a_disk(void **state)
{
	(void)state;
	CLEAN_BLOCK struct block *b = NULL;
	pthread_t threads[4];
	struct reading readings[4];
	TEST_OK(view_disk_open(&b, t.repo, &image, &err));
	for (unsigned i = 0; i < 4; i++) {
		readings[i] = (struct reading){ b, i, false };
		assert_int_equal(pthread_create(&threads[i], NULL, read_often, &readings[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_false(readings[i].wrong);
	}
}

static int count_extent(void *cookie, uint64_t offset, uint64_t length, enum block_extent kind)
{
	uint64_t *at = cookie;
	assert_int_equal(offset, at[0]);
	at[0] += length;
	at[1] += 1;
	at[2] += kind == BLOCK_ZERO ? length : 0;
	return at[3] && at[1] == at[3] ? 5 : 0;
}

static void a_disk_tells_its_extents(void **state)
{
	(void)state;
	CLEAN_BLOCK struct block *b = NULL;
	uint64_t at[4] = { 0 }, pieces = image.disk_size / 10000;
	TEST_OK(view_disk_open(&b, t.repo, &image, &err));
	assert_int_equal(block_extents(b, 0, image.disk_size, count_extent, at, NULL), 0);
	assert_int_equal(at[0], image.disk_size);
	assert_int_equal(at[2], pieces / 3 * 10000);
	uint64_t part[4] = { 5000 };
	assert_int_equal(block_extents(b, 5000, 30000, count_extent, part, NULL), 0);
	assert_int_equal(part[0], 35000);
	assert_int_equal(part[1], 3);
	uint64_t stop[4] = { 0, 0, 0, 2 };
	assert_int_equal(block_extents(b, 0, image.disk_size, count_extent, stop, NULL), 5);
}

static void a_short_map_is_an_error(void **state)
{
	(void)state;
	CLEAN_BLOCK struct block *b = NULL;
	struct snapshot longer = image;
	struct error why = { 0 };
	uint8_t byte;
	longer.disk_size += 1000;
	TEST_OK(view_disk_open(&b, t.repo, &longer, &err));
	TEST_OK(block_read(b, image.disk_size - 1, &byte, 1, &err));
	assert_int_equal(block_read(b, image.disk_size, &byte, 1, &why), -1);
	assert_int_equal(why.kind, ERR_CORRUPT);
	assert_int_equal(view_disk_open(&b, t.repo, &files, &why), -1);
}

/* A map of more ranges than one window holds. */
static void a_fragmented_disk_reads_anywhere(void **state)
{
	(void)state;
	enum { RANGES = 20000 };
	struct map_range *ranges = calloc(RANGES, sizeof *ranges);
	struct snapshot s = { .kind = SNAPSHOT_IMAGE, .sector = 512, .disk_size = RANGES * 10 };
	test_begin(&t);
	struct id chunk = test_chunk(&t, big, RANGES * 10);
	/* Backwards: the disk is the chunk's pieces of 10 bytes in reverse order. */
	for (uint32_t i = 0; i < RANGES; i++)
		ranges[i] = (struct map_range){ MAP_DATA, 10, chunk, (RANGES - 1 - i) * 10, RANGES * 10 };
	s.map = test_map(&t, ranges, RANGES);
	free(ranges);
	test_commit(&t, &s, 3000);
	CLEAN_BLOCK struct block *b = NULL;
	TEST_OK(view_disk_open(&b, t.repo, &s, &err));
	uint8_t got[100];
	for (uint32_t i = 0; i < RANGES - 10; i += 1 + i % 577) {
		uint32_t at = i % 2 ? i : RANGES - 10 - i;
		TEST_OK(block_read(b, at * 10u, got, sizeof got, &err));
		for (uint32_t k = 0; k < 10; k++)
			assert_memory_equal(got + k * 10, big + (RANGES - 1 - at - k) * 10, 10);
	}
}

/* --- two trees ------------------------------------------------------------------------- */

static int note_change(void *cookie, enum view_change change, const char *path, size_t path_len, const struct node *a, const struct node *b, struct error *err)
{
	static const char letters[] = { [VIEW_ADDED] = '+', [VIEW_REMOVED] = '-', [VIEW_REPLACED] = 'T', [VIEW_CONTENT] = 'M', [VIEW_META] = 'm' };
	struct buf *text = cookie;
	(void)err;
	assert_true((a != NULL) == (change != VIEW_ADDED));
	assert_true((b != NULL) == (change != VIEW_REMOVED));
	buf_add_u8(text, (uint8_t)letters[change]);
	buf_add(text, path, path_len);
	buf_add_u8(text, ' ');
	return 0;
}

static void expect_diff(const struct snapshot *a, const struct snapshot *b, const char *expected)
{
	CLEAN_VIEW struct view *x = NULL;
	CLEAN_VIEW struct view *y = NULL;
	CLEAN_BUF struct buf text = BUF_INIT;
	struct node from, to;
	TEST_OK(view_open(&x, t.repo, a, &err));
	TEST_OK(view_open(&y, t.repo, b, &err));
	TEST_OK(view_root(x, &from, &err));
	TEST_OK(view_root(y, &to, &err));
	to.attr.mtime = from.attr.mtime;
	struct view_place before = { x, &from }, after = { y, &to };
	TEST_OK(view_diff(&before, &after, note_change, &text, &err));
	buf_add_u8(&text, 0);
	assert_string_equal(text.data, expected);
	node_done(&from);
	node_done(&to);
}

static void differences_are_told(void **state)
{
	(void)state;
	test_begin(&t);
	struct node nested[1] = { test_file(&t, "deep", "deeper\n", 7, 1000, false) };
	struct id nested_tree = test_tree(&t, nested, 1);
	struct node dir[2] = { test_node("empty", S_IFREG | 0640), test_folder("nested", &nested_tree) };
	struct id dir_tree = test_tree(&t, dir, 2);
	struct node below[1] = { test_node("below", S_IFREG | 0600) };
	struct id below_tree = test_tree(&t, below, 1);
	struct node many = test_node("many", S_IFREG | 0644);
	struct node top[5] = { test_file(&t, "a", big, BIG, 7001, true), test_folder("dir", &dir_tree), many, test_folder("new", &below_tree), test_folder("sparse", &below_tree) };
	struct snapshot s = { .kind = SNAPSHOT_FILES, .tree = test_tree(&t, top, 5) };
	test_commit(&t, &s, 4000);
	expect_diff(&files, &files, "");
	CLEAN_BUF struct buf expected = BUF_INIT;
	static const char head[] = "mdir/empty Mdir/nested/deep -dir/small Tmany ", tail[] = "+new +new/below Tsparse +sparse/below ";
	buf_add(&expected, head, sizeof head - 1);
	for (unsigned i = 0; i < MANY; i++) {
		char name[32];
		buf_add(&expected, name, (size_t)snprintf(name, sizeof name, "-many/f%05u ", i));
	}
	buf_add(&expected, tail, sizeof tail);
	expect_diff(&files, &s, (const char *)expected.data);
	expect_diff(&s, &s, "");
}

/* --- finding --------------------------------------------------------------------------------- */

struct hunt {
	const char *name;
	unsigned asked, found;
};

static bool is_prey(void *cookie, const char *path, size_t path_len, const struct node *node)
{
	struct hunt *h = cookie;
	assert_true(path_len > node->name_len && path[path_len - node->name_len - 1] == '/');
	h->asked++;
	return strcmp(node->name, h->name) == 0;
}

static int count_prey(void *cookie, const char *path, size_t path_len, const struct node *node, struct error *err)
{
	struct hunt *h = cookie;
	(void)path;
	(void)path_len;
	(void)node;
	(void)err;
	h->found++;
	return 0;
}

static void folders_without_prey_are_remembered(void **state)
{
	(void)state;
	struct hunt h = { .name = "deep" };
	struct view_find_calls calls = { .found = count_prey, .cookie = &h };
	CLEAN_VIEW struct view *v = NULL;
	CLEAN_VIEW struct view *w = NULL;
	CLEAN(view_find_cleanup) struct view_find *names = NULL;
	CLEAN(view_find_cleanup) struct view_find *paths = NULL;
	TEST_OK(view_open(&v, t.repo, &files, &err));
	TEST_OK(view_open(&w, t.repo, &image, &err));
	TEST_OK(view_find_new(&names, is_prey, &h, true, &err));
	TEST_OK(view_find_run(names, v, &calls, &err));
	assert_int_equal(h.found, 1);
	assert_int_equal(h.asked, 8 + MANY);
	TEST_OK(view_find_run(names, w, &calls, &err));
	assert_int_equal(h.found, 2);
	assert_int_equal(h.asked, 8 + MANY + 3 + 8); /* "many" was not opened again */
	h = (struct hunt){ .name = "deep" };
	TEST_OK(view_find_new(&paths, is_prey, &h, false, &err));
	TEST_OK(view_find_run(paths, v, &calls, &err));
	TEST_OK(view_find_run(paths, w, &calls, &err));
	assert_int_equal(h.asked, 3 + 2 * (8 + MANY));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_found),
		cmocka_unit_test(a_walk_goes_depth_first),
		cmocka_unit_test(an_image_shows_its_volumes),
		cmocka_unit_test(a_bare_filesystem_is_the_root),
		cmocka_unit_test(files_read_anywhere),
		cmocka_unit_test(differences_are_told),
		cmocka_unit_test(folders_without_prey_are_remembered),
		cmocka_unit_test(a_disk_reads_anywhere),
		cmocka_unit_test(threads_share_a_disk),
		cmocka_unit_test(a_disk_tells_its_extents),
		cmocka_unit_test(a_short_map_is_an_error),
		cmocka_unit_test(a_fragmented_disk_reads_anywhere),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
