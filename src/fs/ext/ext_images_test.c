/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The images of e2fsprogs' own tests, most of them damaged on purpose: nothing crashes or hangs, what e2fsck
 * calls clean is trusted (but for the exceptions below), and where it finds something and we trust the used
 * map all the same, libext2fs's own block iterator shows that the map holds every block of every file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext/test_compare.h"

/* e2fsck -fn exits with 0 although it had reasons, or does not look; we do not trust them. */
static const char *const clean_but[][2] = {
	{ "f_bad_gdt_csum", "descriptor of group 0 is wrong" },
	{ "f_first_meta_bg_too_big", "superblock is damaged" },
	{ "f_hurd", "not unmounted cleanly" },
	{ "f_readonly_fsck", "blocks are free" },
	{ "f_uninit_disable", "not unmounted cleanly" },
	{ "f_unshare_blocks_ok", "share blocks" },
	{ "f_zero_inode_size", "superblock is damaged" },
	{ "j_corrupt_commit_csum", "journal" },
	{ "j_corrupt_descr_csum", "journal" },
	{ "j_corrupt_journal_block", "journal" },
	{ "j_corrupt_revoke_csum", "journal" },
};

/*
 * e2fsck finds something, we trust the used map. Each was judged harmless for it: attributes, names, links, checksums of
 * xattr blocks or of hash trees, wrong sizes, deleted inodes, quota numbers; no block of any file is outside of the map.
 */
static const char *const harmless[] = {
	"f_bad_encryption", "f_badsymlinks2", "f_deleted_inode_bad_csum", "f_dup_de", "f_dup_de_crypt", "f_ea_bad_csum",
	"f_ea_inode", "f_encrypted_lpf", "f_eofblocks", "f_file_acl_high", "f_h_badnode", "f_preen_htree_csum",
	"f_quota_deallocate_inode", "f_quota_invalid_inum", "f_short_encrypted_dirent", "j_ext_dumpe2fs", "jbd",
};

static char work[256];

struct walk {
	struct fs *fs;
	uint8_t *seen;     /* directories, by inode number */
	uint64_t seen_count;
	uint64_t *queue;
	size_t queued;
	unsigned files;
};

/* Directories go into a queue once each, so a loop ends. */
static int enter(void *cookie, const struct fs_entry *entry)
{
	struct walk *w = cookie;
	struct fs_inode inode;
	if (entry->inode >= w->seen_count || w->seen[entry->inode])
		return 0;
	w->seen[entry->inode] = 1;
	w->files++;
	if (w->fs->driver->inode(w->fs, entry->inode, &inode, NULL) < 0)
		return 0;
	if (S_ISDIR(inode.attr.mode))
		w->queue[w->queued++] = entry->inode;
	fs_inode_done(&inode);
	return 0;
}

static unsigned walk_all(struct fs *fs)
{
	struct walk w = { .fs = fs, .seen_count = 1 << 20 };
	w.seen = calloc(w.seen_count, 1);
	w.queue = calloc(w.seen_count, sizeof *w.queue);
	w.queue[w.queued++] = fs->driver->root(fs);
	for (size_t at = 0; at < w.queued; at++)
		fs->driver->entries(fs, w.queue[at], enter, &w, NULL);
	free(w.seen);
	free(w.queue);
	return w.files;
}

static int count_inode(void *cookie, const struct fs_inode *inode)
{
	(void)inode;
	++*(unsigned *)cookie;
	return 0;
}

static int count_range(void *cookie, uint64_t offset, uint64_t length)
{
	uint64_t *end = cookie;
	assert_true(offset >= *end && length > 0);
	*end = offset + length;
	return 0;
}

static const char *reason_expected(const char *name)
{
	for (size_t i = 0; i < sizeof clean_but / sizeof *clean_but; i++)
		if (strcmp(clean_but[i][0], name) == 0)
			return clean_but[i][1];
	return NULL;
}

static bool is_harmless(const char *name)
{
	for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
		if (strcmp(harmless[i], name) == 0)
			return true;
	return false;
}

static void read_everything(struct fs *fs)
{
	struct error err = { 0 };
	uint64_t end = 0;
	unsigned inodes = 0;
	if (fs->driver->used(fs, count_range, &end, &err) != 0)
		fail_msg("used: %s", err.text);
	assert_true(end <= fs->info.size && fs->info.size <= fs->block->size);
	fs->driver->inodes(fs, count_inode, &inodes, NULL);
	if (fs->info.walkable)
		walk_all(fs);
}

static unsigned images, trusted, failures;

static void try_image(const char *file, const char *name)
{
	struct compare c = { 0 };
	struct error err = { 0 };
	char image[512];
	snprintf(image, sizeof image, "%s/%s", work, name);
	assert_int_equal(run("%s -dc '%s' >%s", strstr(file, ".xz") ? "xz" : "gzip", file, image), 0);
	assert_int_equal(block_open_file(&c.block, image, false, &err), 0);
	int opened = fs_open(&c.fs, c.block, &err);
	const char *reason = opened < 0 ? err.text : c.fs ? c.fs->info.reason : "no filesystem";
	bool trust = opened == 0 && c.fs && !c.fs->info.untrusted;
	/* e2fsck 1.47.0 does not end on some (f_misstable). */
	int fsck = run("timeout 20 e2fsck -fn %s >/dev/null 2>&1", image);
	const char *expected = reason_expected(name);
	if (fsck == 0 && (expected ? trust || !strstr(reason, expected) : !trust)) {
		fprintf(stderr, "%s: clean, but: %s\n", name, reason);
		failures++;
	}
	if (fsck != 0 && trust != is_harmless(name)) {
		fprintf(stderr, "%s: e2fsck says %d, trusted %d: %s\n", name, fsck, trust, reason);
		failures++;
	}
	if (opened == 0 && c.fs)
		read_everything(c.fs);
	if (trust && c.fs->info.walkable) {
		compare_blocks(&c, image);
		failures += c.failures;
	}
	images++;
	trusted += trust;
	fs_close(c.fs);
	block_free(c.block);
	remove(image);
}

static void images_of_e2fsprogs(void **state)
{
	(void)state;
	const char *data = getenv("TWOFOLD_TEST_DATA");
	glob_t found = { 0 };
	char pattern[512];
	snprintf(pattern, sizeof pattern, "%s/e2fsprogs-images/*.gz", data ? data : "");
	if (!data || glob(pattern, 0, NULL, &found) != 0) {
		printf("skipped: no images of e2fsprogs in TWOFOLD_TEST_DATA\n");
		skip();
	}
	snprintf(pattern, sizeof pattern, "%s/util-linux-images/ext[234].img.xz", data);
	glob(pattern, GLOB_APPEND, NULL, &found);
	snprintf(pattern, sizeof pattern, "%s/util-linux-images/jbd.img.xz", data);
	glob(pattern, GLOB_APPEND, NULL, &found);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		char name[128];
		const char *base = strrchr(found.gl_pathv[i], '/') + 1;
		snprintf(name, sizeof name, "%.*s", (int)strcspn(base, "."), base);
		try_image(found.gl_pathv[i], name);
	}
	globfree(&found);
	printf("%u images, %u trusted\n", images, trusted);
	assert_int_equal(failures, 0);
	assert_true(images >= 109);
}

struct known {
	const char *file, *type;
};

static void identify_names_other_filesystems(void **state)
{
	(void)state;
	static const struct known list[] = {
		{ "ext4", "ext4" }, { "ntfs", "ntfs" }, { "xfs", "xfs" },
		{ "fat", "vfat" }, { "swap1", "swap" }, { "luks2", "crypto_LUKS" },
		{ "mdraid", "linux_raid_member" }, { "promise-raid", "promise_fasttrack_raid_member" },
		{ "bitlocker-win7", "BitLocker" }, { "zfs", "zfs_member" }, { "udf", "udf" }, { "lvm2", "LVM2_member" },
	};
	const char *data = getenv("TWOFOLD_TEST_DATA");
	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		char image[300];
		struct error err = { 0 };
		struct fs_info info;
		CLEAN_BLOCK struct block *b = NULL;
		snprintf(image, sizeof image, "%s/image", work);
		if (!data || run("xz -dc %s/util-linux-images/%s.img.xz >%s 2>/dev/null", data, list[i].file, image) != 0) {
			printf("skipped: no images of util-linux in TWOFOLD_TEST_DATA\n");
			skip();
		}
		assert_int_equal(block_open_file(&b, image, false, &err), 0);
		assert_int_equal(fs_identify(b, &info, &err), 0);
		if (strcmp(info.type, list[i].type) != 0)
			fail_msg("%s: \"%s\"", list[i].file, info.type);
	}
}

/* Windows puts NTFS's table of files 3 GiB into the partition. */
static void identify_follows_ntfs_to_its_table(void **state)
{
	(void)state;
	const char *data = getenv("TWOFOLD_TEST_DATA");
	char image[300];
	struct error err = { 0 };
	struct fs_info info;
	CLEAN_BLOCK struct block *b = NULL;
	snprintf(image, sizeof image, "%s/image", work);
	if (!data || run("xz -dc %s/util-linux-images/ntfs.img.xz >%s 2>/dev/null", data, image) != 0) {
		printf("skipped: no images of util-linux in TWOFOLD_TEST_DATA\n");
		skip();
	}
	assert_int_equal(block_open_file(&b, image, true, &err), 0);
	uint8_t boot[512], table[4096];
	assert_int_equal(block_read(b, 0, boot, sizeof boot, &err), 0);
	uint64_t cluster = (uint64_t)get_le16(boot + 0x0b) * boot[0x0d];
	assert_int_equal(block_read(b, get_le64(boot + 0x30) * cluster, table, sizeof table, &err), 0);
	block_free(TAKE(b));
	assert_int_equal(run("truncate -s 5G %s", image), 0);
	assert_int_equal(block_open_file(&b, image, true, &err), 0);
	uint64_t far = ((uint64_t)3 << 30) / cluster;
	put_le64(boot + 0x28, b->size / 512 - 1);
	put_le64(boot + 0x30, far);
	assert_int_equal(block_write(b, 0, boot, sizeof boot, &err), 0);
	assert_int_equal(block_write(b, far * cluster, table, sizeof table, &err), 0);
	assert_int_equal(fs_identify(b, &info, &err), 0);
	assert_string_equal(info.type, "ntfs");
}

static int make_work(void **state)
{
	(void)state;
	const char *tmp = getenv("TMPDIR");
	snprintf(work, sizeof work, "%s/twofold-images-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(work) ? 0 : -1;
}

static int remove_work(void **state)
{
	(void)state;
	return run("rm -rf %s", work);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_of_e2fsprogs),
		cmocka_unit_test(identify_names_other_filesystems),
		cmocka_unit_test(identify_follows_ntfs_to_its_table),
	};
	return cmocka_run_group_tests_name("ext-images", tests, make_work, remove_work);
}
