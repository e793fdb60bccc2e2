/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filesystems that mkfs makes in all its variants, then the same with one thing broken. Needs e2fsprogs, no root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/cache.h"
#include "fs/ext/bits.h"
#include "fs/ext/test_compare.h"

static char work[256];

static void put_file(const char *name, size_t size, unsigned seed)
{
	char path[512];
	snprintf(path, sizeof path, "%s/source/%s", work, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	for (size_t i = 0; i < size; i++) {
		seed = seed * 1103515245 + 12345;
		fputc((int)(seed >> 16 & 0xff), f);
	}
	assert_int_equal(fclose(f), 0);
}

static int make_source(void **state)
{
	(void)state;
	const char *tmp = getenv("TMPDIR");
	snprintf(work, sizeof work, "%s/twofold-ext-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(work) || run("mkdir -p %s/source/dir/deeper %s/source/many", work, work) != 0)
		return -1;
	static const size_t sizes[] = { 0, 1, 59, 60, 61, 100, 130, 1023, 1024, 4096, 4097, 70000, 300000 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char name[64];
		snprintf(name, sizeof name, "dir/file-%zu", sizes[i]);
		put_file(name, sizes[i], (unsigned)i + 1);
	}
	put_file("dir/deeper/odd \377\001 name", 10, 1);
	for (unsigned i = 0; i < 300; i++) {
		char name[64];
		snprintf(name, sizeof name, "many/a-name-that-fills-directory-blocks-%03u", i);
		put_file(name, i % 3 * 30, i);
	}
	return run("cd %s/source && ln -s short dir/short-link && ln dir/file-4096 dir/hard && mkfifo fifo &&"
	           " ln -s $(printf 'x%%.0s' $(seq 59)) dir/link-59 && ln -s $(printf 'y%%.0s' $(seq 60)) dir/link-60 &&"
	           " ln -s $(printf 'z%%.0s' $(seq 700)) dir/link-700 && chmod 4751 dir/file-60 && touch -d 1969-01-01 dir/file-1 &&"
	           " touch -d 2030-01-01 dir/file-59 && touch -d 2001-02-03 dir/deeper &&"
	           " dd if=/dev/urandom of=sparse bs=4096 seek=50 count=2 status=none &&"
	           /* mkfs 1.47.0 with inline_data loses holes at the end */
	           " printf end | dd of=sparse bs=1 seek=899997 conv=notrunc status=none &&"
	           " { mknod null c 1 3; mknod big b 259 70000; chown 70000:80000 fifo; } 2>/dev/null;"
	           " for i in 1 2 3 4; do setfattr -n user.$i -v value-$i dir/file-4096 dir/file-100; done;"
	           " setfattr -n user.long -v $(printf 'v%%.0s' $(seq 600)) dir/deeper;"
	           " setfacl -m u:1234:rw,g:99:r dir/file-4097; setfacl -d -m u:1234:rwx dir; true", work);
}

static int remove_source(void **state)
{
	(void)state;
	return run("rm -rf %s", work);
}

struct variant {
	const char *type, *options, *size;
};

static const struct variant variants[] = {
	{ "ext2", "-b 1024", "16M" },
	{ "ext2", "-b 2048 -g 2048", "24M" },
	{ "ext2", "-b 4096 -r 0", "32M" },
	{ "ext2", "-b 65536", "128M" },
	{ "ext3", "-b 1024 -I 128", "24M" },
	{ "ext3", "-b 4096 -O ^dir_index,^resize_inode", "32M" },
	{ "ext4", "-b 1024", "40M" },
	{ "ext4", "-b 1024 -g 256 -N 2048 -G 4", "24M" },
	{ "ext4", "-b 2048 -I 512", "40M" },
	{ "ext4", "-b 4096", "300M" },
	{ "ext4", "-b 65536", "1G" },
	{ "ext4", "-b 4096 -O ^extents,^64bit,^huge_file", "64M" },
	{ "ext4", "-b 4096 -O bigalloc -C 65536", "300M" },
	{ "ext4", "-b 1024 -O bigalloc -C 8192", "300M" },
	{ "ext4", "-b 4096 -O meta_bg,^resize_inode", "300M" },
	{ "ext4", "-b 1024 -O meta_bg,^resize_inode,^flex_bg", "300M" },
	{ "ext4", "-b 4096 -O inline_data -I 256", "64M" },
	{ "ext4", "-b 1024 -O inline_data -I 1024", "64M" },
	{ "ext4", "-b 4096 -O ^metadata_csum,uninit_bg,^64bit", "600M" },
	{ "ext4", "-b 4096 -O ^metadata_csum,^uninit_bg", "300M" },
	{ "ext4", "-b 4096 -O metadata_csum_seed,large_dir,project,quota", "64M" },
	{ "ext4", "-b 4096 -O ea_inode,verity,encrypt", "64M" },
	{ "ext4", "-b 4096 -O mmp", "64M" },
	{ "ext4", "-b 4096 -O orphan_file,fast_commit", "64M" },
	{ "ext4", "-b 4096 -O casefold -E encoding=utf8", "64M" },
	{ "ext4", "-b 4096 -O sparse_super2,^resize_inode", "300M" },
	{ "ext4", "-b 4096 -O ^flex_bg,^sparse_super,^resize_inode", "300M" },
	{ "ext4", "-b 4096 -O ^has_journal -E packed_meta_blocks=1,lazy_itable_init=1", "600M" },
	{ "ext4", "-b 4096 -I 128 -O ^has_journal", "64M" },
	{ "ext4", "-b 1024 -E resize=4194304", "40001K" },
};

static void image_path(char *ret, size_t size)
{
	snprintf(ret, size, "%s/image", work);
}

static void make_image(const struct variant *v)
{
	int rc = run("rm -f %s/image && truncate -s %s %s/image && mkfs.%s -q -F -L 'a label' %s -d %s/source %s/image 2>%s/log"
	             " </dev/null || { cat %s/log >&2; false; }", work, v->size, work, v->type, v->options, work, work, work, work);
	if (rc != 0)
		fail_msg("mkfs.%s %s failed", v->type, v->options);
}

static void open_image(struct compare *c)
{
	char path[300];
	struct error err = { 0 };
	image_path(path, sizeof path);
	if (block_open_file(&c->block, path, false, &err) < 0 || fs_open(&c->fs, c->block, &err) < 0)
		fail_msg("%s", err.text);
	assert_non_null(c->fs);
}

static void close_image(struct compare *c)
{
	fs_close(c->fs);
	block_free(c->block);
	c->fs = NULL;
	c->block = NULL;
}

static void every_variant_reads_as_its_source(void **state)
{
	(void)state;
	char source[300], image[300];
	snprintf(source, sizeof source, "%s/source", work);
	image_path(image, sizeof image);
	for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
		const struct variant *v = &variants[i];
		struct compare c = { .no_xattrs = strstr(v->options, "-r 0") != NULL };
		make_image(v);
		open_image(&c);
		if (c.fs->info.untrusted || !c.fs->info.walkable)
			fail_msg("%s %s: %s", v->type, v->options, c.fs->info.reason);
		assert_string_equal(c.fs->info.type, v->type);
		assert_string_equal(c.fs->info.label, "a label");
		compare_tree(&c, source, c.fs->driver->root(c.fs));
		unsigned inodes = compare_inodes(&c);
		uint64_t used = compare_used(&c, image);
		compare_blocks(&c, image);
		if (c.failures || c.files < 300 || inodes < 300 || used < 1 << 19)
			fail_msg("%s %s: %u failures, %u files, %u inodes, %llu bytes used", v->type, v->options, c.failures,
			         c.files, inodes, (unsigned long long)used);
		close_image(&c);
	}
}

struct damage {
	const char *command;   /* run in the work folder */
	const char *reason;    /* a part of it */
	bool blind;            /* the tree cannot be read at all */
};

#define DEBUGFS "debugfs -w image -R 2>/dev/null >&2 "
#define POKE(offset, bytes) "printf '" bytes "' | dd of=image bs=1 seek=$((" offset ")) conv=notrunc status=none"

static const struct damage damages[] = {
	{ DEBUGFS "'ssv state 0'", "not unmounted cleanly", false },
	{ DEBUGFS "'ssv state 3'", "e2fsck", false },
	{ DEBUGFS "'feature needs_recovery'", "journal", false },
	{ DEBUGFS "'ssv last_orphan 12'", "deleted files", false },
	{ DEBUGFS "'feature orphan_present'", "deleted files", false },
	{ DEBUGFS "'feature shared_blocks'", "share blocks", false },
	{ DEBUGFS "'feature FEATURE_I28'", "not known here", true },
	{ DEBUGFS "'feature FEATURE_R30'", "not known here", false },
	{ DEBUGFS "'ssv free_blocks_count 77'", "the superblock says", false },
	{ DEBUGFS "'ssv free_inodes_count 77'", "the superblock says", false },
	{ DEBUGFS "'set_bg 0 free_blocks_count 3' && " DEBUGFS "'set_bg 0 checksum calc'", "group 0 says", false },
	{ DEBUGFS "'set_bg 0 free_blocks_count 3' && " POKE("4096 + 30", "\\021\\042"), "descriptor of group 0", false },
	{ DEBUGFS "'set_bg 0 inode_table 999999999' && " DEBUGFS "'set_bg 0 checksum calc'", "inode table", true },
	{ "printf 'set_bg 0 block_bitmap 2\nset_bg 0 checksum calc\n' | debugfs -w image >/dev/null 2>&1", "overlaps", false },
	{ DEBUGFS "'freeb '$(debugfs -R 'bmap dir/file-70000 3' image 2>/dev/null)", "is in use, but", false },
	{ DEBUGFS "'freei dir/file-70000'", "bitmap says", false },
	{ DEBUGFS "'sif dir/file-70000 block[5] 40'", "own structures", false },
	{ DEBUGFS "'sif dir/file-70000 block[5] '$(debugfs -R 'bmap dir/file-300000 3' image 2>/dev/null)", "two inodes claim", false },
	{ DEBUGFS "'sif dir/file-70000 block[5] 99999999'", "outside of the filesystem", false },
	{ DEBUGFS "'sif dir/file-70000 block[0] 1234'", "extent tree is damaged", false },
	{ DEBUGFS "'sif dir/file-70000 mode 070644'", "no type of file", false },
	{ DEBUGFS "'sif dir/file-4097 file_acl 99999999'", "outside of the filesystem", false },
	{ DEBUGFS "'sif <2> mode 0100644'", "no root directory", true },
	{ DEBUGFS "'sif dir size 77777'", "a hole, or not the size", false },
	{ DEBUGFS "'sif dir links_count 0'", "which is not in use", false },
	{ POKE("1024 + 0x78", "X"), "superblock's checksum", false },
	{ POKE("1024 + 0x4c", "\\007"), "not known here", true },
	{ POKE("4096 * $(debugfs -R 'bmap dir 0' image 2>/dev/null) + 28", "\\003"), "damaged", false },
	{ POKE("4096 * $(debugfs -R 'bmap <8> 0' image 2>/dev/null)", "X"), "journal is damaged", false },
	{ POKE("4096 * $(debugfs -R 'bmap <8> 0' image 2>/dev/null) + 31", "\\001"), "may not be in place", false },
	{ "truncate -s 20M image", "larger", false },
};

static int count_range(void *cookie, uint64_t offset, uint64_t length)
{
	(void)offset;
	*(uint64_t *)cookie += length;
	return 0;
}

static void damage_is_not_trusted(void **state)
{
	(void)state;
	static const struct variant plain = { "ext4", "-b 4096 -O ^orphan_file", "64M" };
	make_image(&plain);
	assert_int_equal(run("mv %s/image %s/sound", work, work), 0);
	for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
		const struct damage *d = &damages[i];
		struct compare c = { 0 };
		struct error err = { 0 };
		uint64_t used = 0;
		assert_int_equal(run("cp --sparse=always %s/sound %s/image && cd %s && { %s; }", work, work, work, d->command), 0);
		open_image(&c);
		if (!c.fs->info.untrusted || !strstr(c.fs->info.reason, d->reason))
			fail_msg("%s: untrusted %d, reason \"%s\"", d->command, c.fs->info.untrusted, c.fs->info.reason);
		if (c.fs->info.walkable == d->blind)
			fail_msg("%s: walkable %d", d->command, c.fs->info.walkable);
		assert_int_equal(c.fs->driver->used(c.fs, count_range, &used, &err), 0);
		assert_int_equal(used, c.fs->info.size);
		assert_true(c.fs->info.size <= c.block->size);
		close_image(&c);
	}
}

static void journal_device_has_no_files(void **state)
{
	(void)state;
	struct compare c = { 0 };
	uint64_t used = 0;
	assert_int_equal(run("cd %s && rm -f image && truncate -s 8M image && mkfs.ext4 -q -F -O journal_dev image", work), 0);
	open_image(&c);
	assert_string_equal(c.fs->info.type, "jbd");
	assert_false(c.fs->info.walkable);
	assert_int_equal(c.fs->driver->used(c.fs, count_range, &used, NULL), 0);
	assert_int_equal(used, 8 << 20);
	assert_int_equal(c.fs->driver->inodes(c.fs, NULL, NULL, NULL), -1);
	close_image(&c);
}

static void bad_blocks_are_in_use(void **state)
{
	(void)state;
	struct compare c = { 0 };
	char image[300];
	image_path(image, sizeof image);
	assert_int_equal(run("cd %s && rm -f image && truncate -s 32M image && seq 9000 9007 >bad && echo 9011 >>bad &&"
	                     " mkfs.ext4 -q -F -b 1024 -l bad image", work), 0);
	open_image(&c);
	assert_string_equal(c.fs->info.reason, "");
	compare_used(&c, image);
	assert_int_equal(c.failures, 0);
	close_image(&c);
}

/* A device on which some bytes cannot be read. */
struct broken {
	struct block base;
	struct block *under;
	uint64_t from, to;
};

static int broken_read(struct block *b, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct broken *k = (struct broken *)b;
	if (offset < k->to && offset + len > k->from)
		return error_set(err, ERR_IO, "read %s: bad sector", b->label);
	return block_read(k->under, offset, data, len, err);
}

static const struct block_ops broken_ops = { .name = "broken", .read = broken_read };

static int count_notes(void *cookie, const struct fs_inode *inode)
{
	*(unsigned *)cookie += *inode->note != 0;
	return 0;
}

static int count_entry(void *cookie, const struct fs_entry *entry)
{
	*(unsigned *)cookie += entry->name_len != 0;
	return 0;
}

/* What a command on the image (%s: its folder) prints. */
static uint64_t number_of(const char *fmt)
{
	char command[512], text[64] = "";
	snprintf(command, sizeof command, fmt, work);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof text, f));
	pclose(f);
	return strtoull(text, NULL, 10);
}

static void bad_sectors_are_told(void **state)
{
	(void)state;
	static const struct variant plain = { "ext4", "-b 4096", "64M" };
	make_image(&plain);
	struct compare c = { 0 };
	open_image(&c);
	unsigned entries = 0;
	struct error err = { 0 };
	uint64_t root = number_of("debugfs -R 'bmap <2> 0' %s/image 2>/dev/null") * 4096;
	struct broken k = { .base = { .ops = &broken_ops, .size = c.block->size, .sector = 512, .label = "broken" },
		            .under = c.block, .from = root, .to = root + 512 };
	struct fs *fs = NULL;
	assert_int_equal(fs_open(&fs, &k.base, &err), 0);
	assert_non_null(strstr(fs->info.reason, "bad sector"));
	assert_int_equal(fs->driver->entries(fs, 2, count_entry, &entries, &err), -1);
	assert_int_equal(err.kind, ERR_IO);
	fs_close(fs);

	/* The second half of the first inode table. */
	k.from = number_of("dumpe2fs %s/image 2>/dev/null | sed -n 's/.*Inode table at \\([0-9]*\\)-.*/\\1/p' | head -1") * 4096 + 8192;
	k.to = k.from + 1;
	assert_int_equal(fs_open(&fs, &k.base, &err), 0);
	assert_true(fs->info.untrusted);
	assert_true(fs->info.walkable);
	unsigned notes = 0;
	assert_int_equal(fs->driver->inodes(fs, count_notes, &notes, &err), 0);
	assert_int_equal(notes, 4096 / 256);
	fs_close(fs);
	close_image(&c);
}

static void nothing_known_is_not_an_error(void **state)
{
	(void)state;
	static uint8_t zeros[1 << 16];
	CLEAN_BLOCK struct block *b = NULL;
	struct fs *fs = (struct fs *)zeros;
	struct fs_info info;
	assert_int_equal(block_open_memory(&b, zeros, sizeof zeros, false, NULL), 0);
	assert_int_equal(fs_open(&fs, b, NULL), 0);
	assert_null(fs);
	assert_int_equal(fs_identify(b, &info, NULL), 0);
	assert_string_equal(info.type, "");
}

static void bits_and_pages(void **state)
{
	(void)state;
	struct bits b;
	bool again = false;
	uint8_t copy[8200];
	assert_int_equal(bits_init(&b, 200000), 0);
	assert_int_equal(bits_set(&b, 5, 100, &again), 0);
	assert_int_equal(bits_set(&b, 32768, 65536, &again), 0);
	assert_int_equal(bits_set(&b, 199999, 1, &again), 0);
	assert_false(again);
	assert_false(bits_test(&b, 4) || bits_test(&b, 105) || bits_test(&b, 32767) || bits_test(&b, 98304));
	assert_true(bits_test(&b, 5) && bits_test(&b, 104) && bits_test(&b, 32768) && bits_test(&b, 98303));
	assert_false(bits_any(&b, 105, 32768 - 105));
	assert_true(bits_any(&b, 105, 32768 - 104));
	bits_copy(&b, 98296, 65536, copy);
	assert_int_equal(copy[0], 0xff);
	assert_int_equal(copy[1], 0);
	bits_copy(&b, 0, 13, copy);
	assert_int_equal(copy[0], 0xe0);
	assert_int_equal(copy[1], 0x1f);
	assert_int_equal(bits_set(&b, 40000, 1, &again), 0);
	assert_true(again);
	bits_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_and_pages),
		cmocka_unit_test(nothing_known_is_not_an_error),
		cmocka_unit_test(every_variant_reads_as_its_source),
		cmocka_unit_test(damage_is_not_trusted),
		cmocka_unit_test(journal_device_has_no_files),
		cmocka_unit_test(bad_blocks_are_in_use),
		cmocka_unit_test(bad_sectors_are_told),
	};
	return cmocka_run_group_tests_name("ext", tests, make_source, remove_source);
}
