/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Images of ext filesystems: what they use is stored, their files are those of a file backup, and what contradicts itself is not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/mman.h>

#include "capture/files.h"
#include "capture/test_image.h"

/* A folder with files of all kinds of sizes, holes among them. */
static void make_source(void)
{
	shell("cd %s && rm -rf source && mkdir -p source/folder/deeper && cd source && printf tiny >tiny && : >empty && head -c 5000 /dev/urandom >folder/small && "
	      "head -c 3000001 /dev/urandom >folder/deeper/large && truncate -s 300000 holes && printf x | dd of=holes bs=1 seek=100000 conv=notrunc status=none && "
	      "ln -s folder/small link && ln folder/small folder/again && head -c 9000000 /dev/urandom >spread",
	      t.root);
}

static void make_fs(const char *options, const char *size)
{
	shell(TOOLS "cd %s && rm -f disk && truncate -s %s disk && mkfs.ext4 -q -F -E lazy_itable_init=0 %s -d source disk", t.root, size, options);
	/* With inline_data it forgets the hole at a file's end. */
	shell(TOOLS "cd %s && test ! -e source/holes || debugfs -w -R 'set_inode_field /holes size 300000' disk 2>/dev/null", t.root);
}

/* "Block count:   1024"; false for another line. */
static bool number_after(const char *line, const char *title, unsigned long long *ret)
{
	size_t len = strlen(title);
	if (strncmp(line, title, len) != 0)
		return false;
	*ret = strtoull(line + len, NULL, 10);
	return true;
}

/* What dumpe2fs calls free, one byte a block; all else is used. */
static uint8_t *free_blocks(uint64_t *ret_count, unsigned *ret_block_size)
{
	char command[256], line[1 << 16];
	uint8_t *map = NULL;
	unsigned cluster = 1; /* blocks; a range of free clusters is told by the first block of its first and of its last one */
	snprintf(command, sizeof command, TOOLS "dumpe2fs %s 2>/dev/null", disk);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f)) {
		unsigned long long value;
		if (number_after(line, "Block count:", &value)) {
			*ret_count = value;
			map = calloc(1, value);
		} else if (number_after(line, "Block size:", &value)) {
			*ret_block_size = (unsigned)value;
		} else if (number_after(line, "Cluster size:", &value)) {
			cluster = (unsigned)value / *ret_block_size;
		} else if (map && strncmp(line, "  Free blocks: ", 15) == 0) {
			for (char *at = line + 15; *at >= '0' && *at <= '9';) {
				unsigned long long first = strtoull(at, &at, 10), last = first;
				if (*at == '-')
					last = strtoull(at + 1, &at, 10);
				last += cluster - 1;
				assert_true(first <= last && first < *ret_count);
				memset(map + first, 1, (last < *ret_count ? last + 1 : *ret_count) - first);
				at += strspn(at, ", ");
			}
		}
	}
	assert_int_equal(pclose(f), 0);
	assert_non_null(map);
	return map;
}

/* Every block in use is in the image as it is on the disk. */
static void expect_used_blocks(const struct snapshot *s)
{
	struct mapped m;
	uint64_t count, unused = 0;
	unsigned size;
	CLEAN_FREE uint8_t *map = free_blocks(&count, &size);
	expect_disk(s, disk, &m);
	for (uint64_t i = 0; i < m.size; i++) {
		if (m.kinds[i] != MAP_UNUSED)
			continue;
		unused++;
		if (i / size >= count || !map[i / size])
			fail_msg("block %llu is in use and left out", (unsigned long long)(i / size));
	}
	assert_true(unused > m.size / 4); /* and most of what is free is left out */
	mapped_done(&m);
}

static void expect_source_file(const struct snapshot *s, const char *name)
{
	char path[160];
	snprintf(path, sizeof path, "%s/source/%s", t.root, name);
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = lseek(fd, 0, SEEK_END);
	assert_true(size >= 0);
	CLEAN_FREE uint8_t *bytes = read_disk(path, (uint64_t)size);
	expect_file(s, &s->volumes[0].tree, name, bytes, (size_t)size);
}

static void expect_source(const struct snapshot *s)
{
	static const char *const names[] = { "tiny", "empty", "folder/small", "folder/again", "folder/deeper/large", "holes", "spread" };
	assert_int_equal(s->volume_count, 1);
	assert_true(s->volumes[0].has_tree);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		expect_source_file(s, names[i]);
}

static void every_used_block_is_there(void **state)
{
	(void)state;
	static const char *const kinds[] = { "-b 1024", "-b 4096", "-O ^extent,^64bit,^has_journal -b 2048", "-O bigalloc -C 65536 -b 4096", "-O inline_data -I 512", "-O meta_bg,^resize_inode" };
	need_tools("mkfs.ext4 debugfs dumpe2fs");
	make_source();
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		make_fs(kinds[i], "64M");
		struct snapshot s = take(disk);
		if (warnings.count || s.volumes[0].raw)
			fail_msg("%s: %s", kinds[i], s.volumes[0].raw_reason);
		expect_used_blocks(&s);
		expect_source(&s);
		snapshot_done(&s);
	}
}

/* Files that a file backup has stored cost nothing again in an image. */
static void files_and_image_share_their_chunks(void **state)
{
	(void)state;
	char folder[96];
	const char *path = folder;
	struct snapshot files = { 0 };
	struct id id;
	need_tools("mkfs.ext4 debugfs");
	make_source();
	make_fs("-b 4096", "64M");
	snprintf(folder, sizeof folder, "%s/source", t.root);
	struct capture_files_options o = { .paths = &path, .path_count = 1, .host = "host", .user = "user", .program = "test", .threads = 3, .level = 1 };
	test_repo_open(&t);
	TEST_OK(capture_files(t.repo, &o, &files, &id, &err));
	struct snapshot s = take(disk);
	assert_int_equal(warnings.count, 0);
	assert_true(files.totals.bytes > 12000000);
	assert_true(s.totals.added_raw < 1500000); /* the journal is zeros; tables, bitmaps, folders */
	expect_source(&s);
	struct snapshot again = take(disk);
	assert_int_equal(again.totals.added_raw, 0);
	assert_true(id_equal(&again.map, &s.map));
	assert_true(again.has_parent);
	snapshot_done(&files);
	snapshot_done(&s);
	snapshot_done(&again);
}

/* Unwritten blocks hold what was there before, and slack may hold anything: both are in the image, neither in the file. */
static void unwritten_blocks_and_slack(void **state)
{
	(void)state;
	need_tools("mkfs.ext4 debugfs dumpe2fs");
	make_source();
	make_fs("-b 4096", "64M");
	shell(TOOLS "cd %s && debugfs -w -R 'fallocate /holes 40 50' disk 2>/dev/null >&2 && "
	      "slack=$(debugfs -R 'bmap /tiny 0' disk 2>/dev/null) && unwritten=$(debugfs -R 'bmap /holes 41' disk 2>/dev/null | cut -d' ' -f1) && "
	      "printf SLACK | dd of=disk bs=1 seek=$((slack * 4096 + 1000)) conv=notrunc status=none && "
	      "printf UNWRITTEN | dd of=disk bs=1 seek=$((unwritten * 4096 + 1000)) conv=notrunc status=none && e2fsck -fn disk >/dev/null 2>&1",
	      t.root);
	struct snapshot s = take(disk);
	if (s.volumes[0].raw)
		fail_msg("%s", s.volumes[0].raw_reason);
	expect_used_blocks(&s);
	expect_source(&s);
	struct mapped m = read_map(&s);
	assert_non_null(memmem(m.bytes, m.size, "SLACK", 5));
	assert_non_null(memmem(m.bytes, m.size, "UNWRITTEN", 9));
	mapped_done(&m);
	snapshot_done(&s);
}

/* A filesystem that is much smaller than the file it lies in. */
static void a_small_filesystem_on_a_huge_disk(void **state)
{
	(void)state;
	char path[64];
	CLEAN_FD int fd = -1;
	uint64_t kinds[4] = { 0 };
	need_tools("mkfs.ext4 debugfs");
	make_source();
	make_fs("-b 4096", "64M");
	make_huge(disk, &fd, path);
	assert_int_equal(pwrite(fd, "behind", 6, 70 << 20), 6);
	struct snapshot s = take(path);
	assert_false(s.volumes[0].raw);
	assert_int_equal(each_range(&s, count_kinds, kinds), INT64_MAX - 4095);
	expect_source(&s);
	snapshot_done(&s);
}

/* --- what contradicts itself ---------------------------------------------------------------- */

static void expect_raw(const char *reason)
{
	struct snapshot s = take(disk);
	assert_true(s.volumes[0].raw);
	if (!strstr(s.volumes[0].raw_reason, reason))
		fail_msg("the reason is: %s", s.volumes[0].raw_reason);
	assert_true(warnings.count > 0);
	assert_int_equal(s.totals.warnings, warnings.count); /* of the snapshot and of the exit code alike */
	struct mapped m;
	expect_disk(&s, disk, &m);
	assert_null(memchr(m.kinds, MAP_UNUSED, m.size));
	mapped_done(&m);
	snapshot_done(&s);
}

static void two_files_in_one_block(void **state)
{
	(void)state;
	need_tools("mkfs.ext4 debugfs");
	make_source();
	make_fs("-O ^extent,^metadata_csum,^64bit", "64M");
	shell(TOOLS "cd %s && block=$(debugfs -R 'bmap /folder/small 0' disk 2>/dev/null) && debugfs -w -R \"set_inode_field /tiny block[0] $block\" disk 2>/dev/null", t.root);
	expect_raw("");
}

static void a_file_in_a_free_block(void **state)
{
	(void)state;
	need_tools("mkfs.ext4 debugfs");
	make_source();
	make_fs("-O ^extent,^metadata_csum,^64bit,^uninit_bg", "64M");
	shell(TOOLS "cd %s && debugfs -w -R 'set_inode_field /tiny block[0] 60000' disk 2>/dev/null", t.root);
	expect_raw("");
}

static void a_journal_that_is_not_replayed(void **state)
{
	(void)state;
	need_tools("mkfs.ext4 debugfs");
	make_source();
	make_fs("", "64M");
	shell(TOOLS "cd %s && debugfs -w -R 'feature needs_recovery' disk >/dev/null 2>&1", t.root);
	expect_raw("journal");
}

/* Folders with two names each double the ways with every level; one way to each is enough. */
static void folders_that_are_linked_twice(void **state)
{
	(void)state;
	need_tools("mkfs.ext4 debugfs");
	shell(TOOLS "cd %s && rm -rf source && mkdir source && path=source && for i in $(seq 40); do path=$path/d; mkdir $path; done && echo x >$path/bottom", t.root);
	make_fs("-O ^metadata_csum", "16M");
	shell(TOOLS "cd %s && (path=; for i in $(seq 40); do echo \"link $path/d $path/e\"; path=$path/d; done) | debugfs -w -f - disk >/dev/null 2>&1", t.root);
	struct snapshot s = take(disk);
	expect_disk(&s, disk, NULL);
	char path[200] = "";
	for (size_t i = 0; i < 40; i++)
		memcpy(path + 2 * i, "/d", 3);
	strcat(path, "/bottom");
	expect_file(&s, &s.volumes[0].tree, path, "x\n", 2);
	assert_true(warned_of(&warnings, "a second name"));
	snapshot_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_used_block_is_there),
		cmocka_unit_test(files_and_image_share_their_chunks),
		cmocka_unit_test(unwritten_blocks_and_slack),
		cmocka_unit_test(a_small_filesystem_on_a_huge_disk),
		cmocka_unit_test(two_files_in_one_block),
		cmocka_unit_test(a_file_in_a_free_block),
		cmocka_unit_test(a_journal_that_is_not_replayed),
		cmocka_unit_test(folders_that_are_linked_twice),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
