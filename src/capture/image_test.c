/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Images of disks made with the system's own tools, read back from the repository and compared byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "capture/test_image.h"
#include "capture/volume.h"

/* --- disks without a filesystem ------------------------------------------------------------ */

static void zeros_of_any_size(void **state)
{
	(void)state;
	static const unsigned sizes[] = { 1, 511, 4096, (3 << 20) + 17, 64 << 20 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		uint64_t kinds[4] = { 0 };
		shell("rm -f %s && head -c %u /dev/zero >%s", disk, sizes[i], disk);
		struct snapshot s = take(disk);
		assert_int_equal(each_range(&s, count_kinds, kinds), sizes[i]);
		assert_int_equal(kinds[MAP_ZERO], sizes[i]);
		snapshot_done(&s);
	}
}

static void bytes_of_any_size(void **state)
{
	(void)state;
	static const unsigned sizes[] = { 1, 513, 4097, (1 << 20) + 1, (5 << 20) - 3 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		shell("rm -f %s && head -c %u /dev/urandom >%s && truncate -s +3000000 %s && printf end >>%s", disk, sizes[i], disk, disk, disk);
		struct snapshot s = take(disk);
		expect_disk(&s, disk, NULL);
		assert_int_equal(warnings.count, 0);
		assert_int_equal(s.volume_count, 1);
		assert_true(s.volumes[0].raw);
		snapshot_done(&s);
	}
}

static void a_disk_near_the_limit(void **state)
{
	(void)state;
	CLEAN_FD int fd = -1;
	char path[64];
	make_huge(NULL, &fd, path);
	for (int with_data = 0; with_data < 2; with_data++) {
		uint64_t kinds[4] = { 0 };
		if (with_data)
			assert_int_equal(pwrite(fd, "x", 1, INT64_MAX - 5000), 1);
		struct snapshot s = take(path);
		assert_int_equal(each_range(&s, count_kinds, kinds), INT64_MAX - 4095);
		assert_int_equal(kinds[MAP_DATA] != 0, with_data);
		snapshot_done(&s);
	}
}

/* --- partitions ---------------------------------------------------------------------------- */

/* Boot code, data between partitions and behind the last one, logical partitions, an odd end: the image holds every byte. */
static void gaps_hold_data_too(void **state)
{
	(void)state;
	static const char *const tables[] = {
		"label: dos\nstart=2048,size=8192,type=83\nstart=20480,size=20000,type=5\nstart=22528,size=4096,type=83\nstart=30720,size=2048,type=7\n",
		"label: gpt\nstart=2048,size=8192\nstart=20480,size=20000,name=second\n",
	};
	need_tools("sfdisk");
	for (size_t i = 0; i < 2; i++) {
		shell(TOOLS "cd %s && rm -f disk && truncate -s 25000000 disk && printf '%s' | sfdisk -q disk", t.root, tables[i]);
		shell("cd %s && for at in 3 1500 2048 10239 10240 19000 20481 22530 30719 31000 33000 41000; do printf 'sector %%d' $at | dd of=disk bs=512 seek=$at conv=notrunc status=none; done",
		      t.root);
		if (i == 0) /* up to an end that is no sector's; a GPT has its copy there */
			shell("cd %s && printf odd >>disk", t.root);
		struct snapshot s = take(disk);
		assert_int_equal(s.table, i + 1);
		assert_int_equal(s.volume_count, i ? 2 : 3);
		expect_disk(&s, disk, NULL);
		snapshot_done(&s);
	}
}

/* A disk with a table and nothing in it. */
static void a_table_without_partitions(void **state)
{
	(void)state;
	need_tools("sfdisk");
	shell(TOOLS "cd %s && rm -f disk && truncate -s 5000000 disk && echo label: gpt | sfdisk -q disk && printf x | dd of=disk bs=1 seek=3000000 conv=notrunc status=none", t.root);
	struct snapshot s = take(disk);
	assert_int_equal(s.volume_count, 0);
	expect_disk(&s, disk, NULL);
	snapshot_done(&s);
}

/* --- what a device does not give -------------------------------------------------------------- */

static uint32_t bad_first, bad_length;

/* In a child: a part of the disk cannot be read. */
static int image_with_bad_sectors(void)
{
	struct capture_image_options o = options_of(disk);
	struct snapshot s = { 0 };
	struct error err = { 0 };
	struct id id;
	CHILD_WANTS(fail_reads(bad_first, bad_first + bad_length));
	if (capture_image(t.repo, &o, &s, &id, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	CHILD_WANTS(warnings.count > 0 && s.totals.warnings == warnings.count);
	return 0;
}

/* What was not read is known as such, from first to end; all else is as it is. */
static void expect_bad(uint64_t first, uint64_t end)
{
	struct snapshot s = { 0 };
	struct id id;
	test_repo_open(&t);
	in_child(image_with_bad_sectors);
	test_repo_open(&t);
	TEST_OK(repo_snapshot_find(t.repo, "latest", &id, &s, &err));
	struct mapped m = read_map(&s);
	CLEAN_FREE uint8_t *bytes = read_disk(disk, m.size);
	for (uint64_t i = 0; i < m.size; i++) {
		bool bad = i >= first && i < end;
		if (bad != (m.kinds[i] == MAP_UNREADABLE) || m.bytes[i] != (bad ? 0 : bytes[i]))
			fail_msg("byte %llu: kind %u", (unsigned long long)i, m.kinds[i]);
	}
	mapped_done(&m);
	snapshot_done(&s);
}

/* Two blocks in the middle of data: fewer than are left out where they are zeros. */
static void bad_sectors_amid_data(void **state)
{
	(void)state;
	bad_first = (200 << 20) + 73728;
	bad_length = 8192;
	shell("cd %s && rm -f disk && truncate -s %d disk && head -c 600000 /dev/urandom | dd of=disk bs=4096 seek=%d conv=notrunc status=none", t.root, 201 << 20,
	      (200 << 20) / 4096);
	expect_bad(bad_first, bad_first + bad_length);
}

/* A partition that begins at sector 63: blocks in which the device is asked again, and in which zeros are left out, do not begin at the same places. */
static void bad_sectors_between_zeros_and_data(void **state)
{
	(void)state;
	need_tools("sfdisk");
	bad_first = (200 << 20) + 3584;
	bad_length = 100;
	shell(TOOLS "cd %s && rm -f disk && truncate -s %d disk && printf 'label: dos\\nstart=63,size=409700\\n' | sfdisk -q disk && "
	      "(head -c 4096 /dev/zero && head -c 61440 /dev/urandom) | dd of=disk bs=4096 seek=%d conv=notrunc status=none", t.root, 201 << 20, (200 << 20) / 4096);
	expect_bad(bad_first, (200 << 20) + 3584 + 4096);
}

/* --- a filesystem that is made up ------------------------------------------------------------- */

static uint64_t made_up_root(struct fs *fs)
{
	(void)fs;
	return 2;
}

static int made_up_inode(struct fs *fs, uint64_t number, struct fs_inode *ret, struct error *err)
{
	(void)fs;
	(void)err;
	*ret = (struct fs_inode){ .number = number, .attr = { .mode = S_IFDIR | 0755, .ino = number, .nlink = 2 } };
	return 0;
}

static int made_up_entries(struct fs *fs, uint64_t directory, fs_entry_fn fn, void *cookie, struct error *err)
{
	(void)fs;
	(void)directory;
	(void)fn;
	(void)cookie;
	(void)err;
	return 0;
}

static void made_up_close(struct fs *fs)
{
	(void)fs;
}

static void count_inode(void *cookie, const uint8_t *record, size_t len)
{
	struct inode_record inode;
	TEST_OK(inode_record_decode(&inode, record, len, &err));
	++((unsigned *)cookie)[inode.number];
	inode_record_done(&inode);
}

/* A file in a million pieces does not fit into a record of the inode table: the table does without it, the image goes on. */
static void a_file_in_a_million_pieces(void **state)
{
	(void)state;
	enum { PIECES = 1000000 };
	static const struct fs_driver driver = { .name = "made up", .root = made_up_root, .inode = made_up_inode, .entries = made_up_entries, .close = made_up_close };
	struct fs fs = { .driver = &driver };
	struct capture_image_options o = options_of("");
	struct volume_file files[3] = { { .inode = 1 }, { .inode = 2 }, { .inode = 3 } };
	test_repo_open(&t);
	test_begin(&t);
	struct image image = { .options = &o, .writer = t.writer };
	struct volume v = { .image = &image, .fs = &fs, .info = { .walkable = true }, .files = files, .file_count = 3 };
	TEST_OK(block_open_memory(&v.block, files, 1, false, &err));
	files[1].extents = calloc(PIECES, sizeof *files[1].extents);
	files[1].extent_count = PIECES;
	files[1].size = PIECES * 4096ull;
	for (uint64_t i = 0; i < PIECES; i++)
		files[1].extents[i] = (struct fs_extent){ i * 4096, (i * 7919 % PIECES) << 20, 4096, false };
	TEST_OK(volume_trees(&v, 0, &err));
	assert_true(v.has_tree);
	TEST_OK(writer_flush(t.writer, &err));
	unsigned seen[4] = { 0 };
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	TEST_OK(seq_reader_new(&reader, SEQ_INODES, &v.inodes, repo_get_page, t.repo, &err));
	for (bool more = true; more;) {
		const uint8_t *record;
		size_t len;
		TEST_OK(seq_next(reader, &more, &record, &len, NULL, &err));
		if (more)
			count_inode(seen, record, len);
	}
	assert_int_equal(seen[1], 1);
	assert_int_equal(seen[2], 0);
	assert_int_equal(seen[3], 1);
	free(files[1].extents);
	block_free(v.block);
	attr_done(&v.root_attr);
	writer_free(t.writer);
	t.writer = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zeros_of_any_size),
		cmocka_unit_test(bytes_of_any_size),
		cmocka_unit_test(a_disk_near_the_limit),
		cmocka_unit_test(gaps_hold_data_too),
		cmocka_unit_test(a_table_without_partitions),
		cmocka_unit_test(bad_sectors_amid_data),
		cmocka_unit_test(bad_sectors_between_zeros_and_data),
		cmocka_unit_test(a_file_in_a_million_pieces),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
