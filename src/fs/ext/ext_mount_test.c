/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filesystems that the kernel has written: read by us and by the kernel, and compared to the last nanosecond. Needs root and loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/fscrypt.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/ext/test_compare.h"

static char work[256];
static bool can_mount;

static int make_work(void **state)
{
	(void)state;
	const char *tmp = getenv("TMPDIR");
	snprintf(work, sizeof work, "%s/twofold-mount-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(work) || run("mkdir %s/mnt", work) != 0)
		return -1;
	can_mount = geteuid() == 0 && run("cd %s && truncate -s 8M image && mkfs.ext2 -q -F image && mount -o loop image mnt"
	                                  " 2>/dev/null && umount mnt", work) == 0;
	return 0;
}

static int remove_work(void **state)
{
	(void)state;
	return run("umount %s/mnt 2>/dev/null; rm -rf %s", work, work);
}

static int unmount(void **state)
{
	(void)state;
	run("chattr -R -ia %s/mnt 2>/dev/null; umount %s/mnt 2>/dev/null", work, work);
	return 0;
}

static void need_mount(void)
{
	if (can_mount)
		return;
	printf("skipped: needs root and loop devices\n");
	skip();
}

/* False: the kernel does not know the feature. */
static bool make_and_mount(const char *mkfs, const char *size)
{
	assert_int_equal(run("cd %s && rm -f image && truncate -s %s image && %s -q -F image 2>/dev/null", work, size, mkfs), 0);
	if (run("cd %s && mount -o loop image mnt 2>/dev/null", work) == 0)
		return true;
	printf("skipped: this kernel does not mount %s\n", mkfs);
	return false;
}

static void open_image(struct compare *c)
{
	char path[300];
	struct error err = { 0 };
	snprintf(path, sizeof path, "%s/image", work);
	if (block_open_file(&c->block, path, false, &err) < 0 || fs_open(&c->fs, c->block, &err) < 0 || !c->fs)
		fail_msg("%s", err.text);
}

static void close_image(struct compare *c)
{
	fs_close(c->fs);
	block_free(c->block);
}

/* Every other block of many, so that the map of the file needs a tree; and one block far out. */
static void write_fragments(const char *name, unsigned pieces, uint64_t far)
{
	char path[300];
	snprintf(path, sizeof path, "%s/mnt/%s", work, name);
	CLEAN_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < pieces; i++)
		assert_int_equal(pwrite(fd, &i, sizeof i, (off_t)i * 8192), sizeof i);
	if (far)
		assert_int_equal(pwrite(fd, "far", 3, (off_t)far), 3);
}

/* What a kernel can do to files; what one filesystem refuses another takes. */
static const char *const life =
	"cd %s/mnt && { mkdir -p a/b many acl && head -c 300000 /dev/urandom >a/plain && ln a/plain a/b/hard &&"
	" for i in $(seq 0 40 400); do head -c $i /dev/urandom >many/size-$i; done;"
	" for i in $(seq 400); do echo $i >many/a-longer-name-for-big-directories-$i; done; rm many/*7;"
	" head -c 50 /dev/urandom >grown; head -c 90 /dev/urandom >>grown; head -c 5000 /dev/urandom >>grown;"
	" fallocate -l 400K reserved; echo begin | dd of=reserved conv=notrunc status=none; echo b >a/behind; fallocate -n -l 600K a/behind;"
	" head -c 400000 /dev/urandom >a/punched; fallocate -p -o 40960 -l 81920 a/punched; truncate -s 9M a/tail; echo x >>a/tail; truncate -s 12M a/tail;"
	" ln -s short a/short; ln -s $(printf 'x%%.0s' $(seq 59)) a/l59; ln -s $(printf 'x%%.0s' $(seq 60)) a/l60; ln -s $(printf 'x%%.0s' $(seq 130)) a/l130;"
	" ln -s $(printf 'x%%.0s' $(seq 900)) a/l900; mkfifo a/fifo; mknod a/null c 1 3; mknod a/big b 259 70000; chown 100000:200000 a/fifo;"
	" chmod 7711 a/plain; chown 12:34 many; chown -h 70000:5 a/short;"
	" setfattr -n user.one -v 1 a/plain; setfattr -n trusted.two -v 22 a/plain; setfattr -n security.three -v 333 a/plain;"
	" setfattr -n user.empty a/plain; for i in $(seq 12); do setfattr -n user.n$i -v $(printf 'v%%.0s' $(seq 20)) many; done;"
	" setfattr -n user.shared -v same-in-all many/*5 ; setfattr -n user.in -v inline many/size-40; setfattr -h -n trusted.link -v l a/short;"
	" setfattr -n user.large -v $(head -c 5000 /dev/urandom | od -An -tx1 | tr -d ' \\n') many/size-120;"
	" setcap cap_net_raw+ep many/size-400; setfacl -m u:1234:rw,g:99:r,u:0:r a/behind; setfacl -m d:u:4321:rwx,d:m:r acl; echo y >acl/inherits;"
	" chattr +d many/size-80; chattr +A many/size-160; chattr +S many/size-200; chattr +D acl; chattr +T acl; echo k >kept; chattr +a kept; echo i >fixed; chattr +i fixed;"
	" touch -d '2037-12-31 23:59:59.999999999' many/size-240; touch -d '2106-02-07 12:34:56.123456789' many/size-280;"
	" touch -d '2440-01-01 00:00:00.5' many/size-320; touch -d '1902-01-01 00:00:00.25' many/size-360; touch -d '1969-12-31 23:59:58.75' a/b; } 2>/dev/null; sync -f .";

struct variant {
	const char *mkfs, *size;
	uint64_t far;
};

static const struct variant variants[] = {
	{ "mkfs.ext2 -b 1024", "100M", (uint64_t)65 << 20 },
	{ "mkfs.ext3 -b 1024 -I 128", "100M", (uint64_t)65 << 20 },
	{ "mkfs.ext3 -b 4096", "100M", (uint64_t)5 << 20 },
	{ "mkfs.ext4 -b 4096", "300M", (uint64_t)60 << 20 },
	{ "mkfs.ext4 -b 1024", "100M", (uint64_t)60 << 20 },
	{ "mkfs.ext4 -b 2048 -O ^extents,^64bit", "100M", (uint64_t)60 << 20 },
	{ "mkfs.ext4 -b 4096 -O inline_data,ea_inode", "100M", 0 },
	{ "mkfs.ext4 -b 1024 -O inline_data -I 512", "100M", 0 },
	{ "mkfs.ext4 -b 4096 -O bigalloc -C 65536", "400M", (uint64_t)60 << 20 },
	{ "mkfs.ext4 -b 1024 -O bigalloc -C 4096", "300M", (uint64_t)60 << 20 },
	{ "mkfs.ext4 -b 4096 -O quota,project -E quotatype=usrquota:grpquota:prjquota", "100M", 0 },
	{ "mkfs.ext4 -b 4096 -O ^metadata_csum,uninit_bg -E lazy_itable_init=1", "600M", 0 },
	{ "mkfs.ext4 -b 4096 -O ^has_journal,meta_bg,^resize_inode", "300M", 0 },
	{ "mkfs.ext4 -b 4096 -O orphan_file,fast_commit", "100M", 0 },
};

static void read_as_kernel_does(const struct variant *v)
{
	char image[300], mnt[300];
	struct compare c = { .exact = true };
	snprintf(image, sizeof image, "%s/image", work);
	snprintf(mnt, sizeof mnt, "%s/mnt", work);
	if (!make_and_mount(v->mkfs, v->size))
		return;
	run(life, work);
	write_fragments("fragments", 1000, v->far);
	assert_int_equal(run("sync -f %s", mnt), 0);
	open_image(&c);
	if (!c.fs->info.untrusted)
		fail_msg("%s: trusted although it is mounted", v->mkfs);
	close_image(&c);
	assert_int_equal(run("umount %s && mount -o ro,loop %s %s", mnt, image, mnt), 0);
	open_image(&c);
	if (c.fs->info.untrusted)
		fail_msg("%s: %s", v->mkfs, c.fs->info.reason);
	compare_tree(&c, mnt, c.fs->driver->root(c.fs));
	compare_inodes(&c);
	compare_used(&c, image);
	compare_blocks(&c, image);
	if (c.failures || c.files < 380)
		fail_msg("%s: %u failures, %u files", v->mkfs, c.failures, c.files);
	close_image(&c);
	assert_int_equal(run("umount %s", mnt), 0);
}

static void files_read_as_the_kernel_shows_them(void **state)
{
	(void)state;
	need_mount();
	for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
		read_as_kernel_does(&variants[i]);
}

/* What a snapshot of a frozen filesystem holds is complete, and so is trusted. */
static void frozen_is_clean(void **state)
{
	(void)state;
	need_mount();
	struct compare c = { 0 };
	assert_true(make_and_mount("mkfs.ext4 -b 4096", "64M"));
	run(life, work);
	if (run("fsfreeze -f %s/mnt", work) != 0) {
		printf("skipped: fsfreeze does not work here\n");
		skip();
	}
	int copied = run("cp --sparse=always %s/image %s/copy; fsfreeze -u %s/mnt; umount %s/mnt; mv %s/copy %s/image", work, work,
	                 work, work, work, work);
	assert_int_equal(copied, 0);
	open_image(&c);
	if (c.fs->info.untrusted)
		fail_msg("%s", c.fs->info.reason);
	close_image(&c);
}

/* Deleted, but still open: neither free nor in any directory. */
static void orphans_are_told(void **state)
{
	(void)state;
	need_mount();
	struct compare c = { 0 };
	char path[300];
	assert_true(make_and_mount("mkfs.ext4 -b 4096 -O ^has_journal", "64M"));
	snprintf(path, sizeof path, "%s/mnt/gone", work);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(fd, "abc", 3, 100000), 3);
	unlink(path);
	assert_int_equal(run("sync -f %s/mnt; cp --sparse=always %s/image %s/copy", work, work, work), 0);
	close(fd);
	assert_int_equal(run("umount %s/mnt; mv %s/copy %s/image && debugfs -w -R 'ssv state 1' %s/image 2>/dev/null", work, work,
	                     work, work), 0);
	open_image(&c);
	assert_true(c.fs->info.untrusted);
	close_image(&c);
}

static bool encrypt_dir(const char *path)
{
	CLEAN_FREE struct fscrypt_add_key_arg *add = calloc(1, sizeof *add + 64);
	assert_non_null(add);
	add->key_spec.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER;
	add->raw_size = 64;
	memset(add->raw, 7, 64);
	CLEAN_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, FS_IOC_ADD_ENCRYPTION_KEY, add) != 0)
		return false;
	struct fscrypt_policy_v2 policy = { .version = FSCRYPT_POLICY_V2,
		                            .contents_encryption_mode = FSCRYPT_MODE_AES_256_XTS,
		                            .filenames_encryption_mode = FSCRYPT_MODE_AES_256_CTS };
	memcpy(policy.master_key_identifier, add->key_spec.u.identifier, sizeof policy.master_key_identifier);
	return ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, &policy) == 0;
}

static int find_opaque(void *cookie, const struct fs_inode *inode)
{
	if (inode->content == FS_OPAQUE && !strstr(inode->note, "encrypted"))
		return 1;
	*(unsigned *)cookie += inode->content == FS_OPAQUE;
	return 0;
}

static void encrypted_files_are_opaque(void **state)
{
	(void)state;
	need_mount();
	struct compare c = { 0 };
	char path[300], image[300];
	unsigned opaque = 0;
	if (!make_and_mount("mkfs.ext4 -b 4096 -O encrypt", "64M"))
		skip();
	snprintf(path, sizeof path, "%s/mnt/secret", work);
	snprintf(image, sizeof image, "%s/image", work);
	assert_int_equal(mkdir(path, 0700), 0);
	if (!encrypt_dir(path)) {
		printf("skipped: this kernel encrypts no directories\n");
		skip();
	}
	assert_int_equal(run("cd %s && head -c 70000 /dev/urandom >file && ln -s target link && mkdir dir && echo x >dir/y &&"
	                     " cd / && umount %s/mnt", path, work), 0);
	open_image(&c);
	if (c.fs->info.untrusted)
		fail_msg("%s", c.fs->info.reason);
	assert_int_equal(c.fs->driver->inodes(c.fs, find_opaque, &opaque, NULL), 0);
	assert_int_equal(opaque, 3);
	compare_used(&c, image);
	assert_int_equal(c.failures, 0);
	close_image(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(files_read_as_the_kernel_shows_them, unmount),
		cmocka_unit_test_teardown(frozen_is_clean, unmount),
		cmocka_unit_test_teardown(orphans_are_told, unmount),
		cmocka_unit_test_teardown(encrypted_files_are_opaque, unmount),
	};
	return cmocka_run_group_tests_name("ext-mount", tests, make_work, remove_work);
}
