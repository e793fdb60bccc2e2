/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "capture/attr.h"

static char folder[64];
static int dir = -1;
static struct names *names;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/twofold-attr-XXXXXX");
	if (!mkdtemp(folder) || names_new(&names, NULL) < 0)
		return -1;
	dir = open(folder, O_RDONLY | O_DIRECTORY);
	return dir < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(dir);
	names_free(names);
	return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_file(const char *name)
{
	CLEAN_FD int fd = openat(dir, name, O_CREAT | O_WRONLY | O_EXCL, 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "12345", 5), 5);
}

/* All steps for one name. */
static struct attr captured(const char *name)
{
	struct attr a;
	struct error err, gap;
	CLEAN_FD int fd = -1;
	if (capture_stat(dir, name, &a, &err) < 0)
		fail_msg("%s", err.text);
	if ((S_ISREG(a.mode) || S_ISDIR(a.mode)) && capture_open(dir, name, &a, &fd, &err) < 0)
		fail_msg("%s", err.text);
	if (capture_complete(names, dir, name, fd, &a, &gap, &err) < 0)
		fail_msg("%s", err.text);
	if (gap.kind)
		fail_msg("%s", gap.text);
	return a;
}

static void expect_stat(const struct attr *a, const char *name)
{
	struct stat st;
	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(a->mode, st.st_mode);
	assert_int_equal(a->uid, st.st_uid);
	assert_int_equal(a->gid, st.st_gid);
	assert_int_equal(a->ino, st.st_ino);
	assert_int_equal(a->dev, st.st_dev);
	assert_int_equal(a->nlink, st.st_nlink);
	assert_int_equal(a->rdev, st.st_rdev);
	assert_int_equal(a->mtime.sec, st.st_mtim.tv_sec);
	assert_int_equal(a->mtime.ns, st.st_mtim.tv_nsec);
	assert_int_equal(a->ctime.sec, st.st_ctim.tv_sec);
	assert_int_equal(a->ctime.ns, st.st_ctim.tv_nsec);
	assert_int_equal(a->size, S_ISDIR(st.st_mode) ? 0 : st.st_size);
}

static void every_type(void **state)
{
	(void)state;
	static const struct timespec old[2] = { { 1, 2 }, { -86400, 123456789 } };
	make_file("file");
	assert_int_equal(linkat(dir, "file", dir, "hard", 0), 0);
	assert_int_equal(mkdirat(dir, "dir", 0711), 0);
	assert_int_equal(symlinkat("some/where \xff", dir, "link"), 0);
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	assert_int_equal(mknodat(dir, "socket", S_IFSOCK | 0600, 0), 0);
	utimensat(dir, "file", old, 0);
	utimensat(dir, "link", old, AT_SYMLINK_NOFOLLOW);
	static const char *const all[] = { "file", "hard", "dir", "link", "fifo", "socket" };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct attr a = captured(all[i]);
		expect_stat(&a, all[i]);
		if (a.uid == 0)
			assert_string_equal(a.user, "root");
		if (S_ISLNK(a.mode)) {
			assert_int_equal(a.link_len, 12);
			assert_memory_equal(a.link, "some/where \xff", 12);
		} else {
			assert_null(a.link);
		}
		attr_done(&a);
	}
	if (mknodat(dir, "device", S_IFCHR | 0600, makedev(250, 70000)) == 0) {
		struct attr a = captured("device");
		expect_stat(&a, "device");
		attr_done(&a);
	}
}

static void long_links(void **state)
{
	(void)state;
	char target[4096];
	memset(target, 'x', sizeof target - 1);
	target[sizeof target - 1] = 0;
	assert_int_equal(symlinkat(target, dir, "long"), 0);
	struct attr a = captured("long");
	assert_int_equal(a.link_len, 4095);
	attr_done(&a);
	struct error gap, err;
	assert_int_equal(capture_stat(AT_FDCWD, "/proc/self/exe", &a, &err), 0);
	assert_int_equal(capture_complete(names, AT_FDCWD, "/proc/self/exe", -1, &a, &gap, &err), 0);
	assert_true(a.link_len > 0 && a.size == a.link_len);
	attr_done(&a);
}

static void xattrs(void **state)
{
	(void)state;
	make_file("file");
	char path[128];
	snprintf(path, sizeof path, "%s/file", folder);
	static uint8_t large[2000];
	memset(large, 7, sizeof large);
	if (setxattr(path, "user.z", "value", 5, 0) < 0) {
		print_message("no user xattrs here: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(setxattr(path, "user.large", large, sizeof large, 0), 0);
	assert_int_equal(setxattr(path, "user.empty", "", 0, 0), 0);
	struct attr a = captured("file");
	assert_int_equal(a.xattr_count, 3);
	assert_string_equal(a.xattrs[0].name, "user.empty");
	assert_int_equal(a.xattrs[0].size, 0);
	assert_string_equal(a.xattrs[1].name, "user.large");
	assert_int_equal(a.xattrs[1].size, sizeof large);
	assert_memory_equal(a.xattrs[1].value, large, sizeof large);
	assert_string_equal(a.xattrs[2].name, "user.z");
	assert_memory_equal(a.xattrs[2].value, "value", 5);
	attr_done(&a);
}

/* Many names, so that the list does not fit the first buffer. */
static void many_xattrs(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(dir, "dir", 0700), 0);
	char path[128], name[64];
	snprintf(path, sizeof path, "%s/dir", folder);
	size_t count = 0;
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "user.attribute.number.%02d", i);
		count += setxattr(path, name, "v", 1, 0) == 0;
	}
	struct attr a = captured("dir");
	assert_int_equal(a.xattr_count, count);
	for (size_t i = 1; i < a.xattr_count; i++)
		assert_true(strcmp(a.xattrs[i - 1].name, a.xattrs[i].name) < 0);
	attr_done(&a);
}

/* What only root can set: attributes of links and special files, capabilities, ACLs, flags. */
static void as_root(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	char path[128];
	make_file("file");
	assert_int_equal(symlinkat("file", dir, "link"), 0);
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	snprintf(path, sizeof path, "%s/link", folder);
	if (lsetxattr(path, "trusted.test", "link", 4, 0) < 0) {
		print_message("no trusted xattrs here: %s\n", strerror(errno));
		skip();
	}
	snprintf(path, sizeof path, "%s/fifo", folder);
	assert_int_equal(lsetxattr(path, "trusted.test", "fifo", 4, 0), 0);
	static const uint8_t capability[20] = { 1, 0, 0, 2, 0, 4 };
	static const uint8_t acl[44] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 1, 0, 0, 0, 4, 0, 4, 0,
		                         255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };
	snprintf(path, sizeof path, "%s/file", folder);
	assert_int_equal(setxattr(path, "security.capability", capability, sizeof capability, 0), 0);
	bool has_acl = setxattr(path, "system.posix_acl_access", acl, sizeof acl, 0) == 0;

	struct attr a = captured("link");
	assert_int_equal(a.xattr_count, 1);
	assert_memory_equal(a.xattrs[0].value, "link", 4);
	attr_done(&a);
	a = captured("fifo");
	assert_int_equal(a.xattr_count, 1);
	assert_memory_equal(a.xattrs[0].value, "fifo", 4);
	attr_done(&a);
	a = captured("file");
	assert_int_equal(a.xattr_count, 1 + has_acl);
	assert_string_equal(a.xattrs[0].name, "security.capability");
	assert_memory_equal(a.xattrs[0].value, capability, sizeof capability);
	if (has_acl)
		assert_memory_equal(a.xattrs[1].value, acl, sizeof acl);
	attr_done(&a);
}

static void flags(void **state)
{
	(void)state;
	make_file("file");
	CLEAN_FD int fd = openat(dir, "file", O_RDONLY);
	unsigned value = FS_NODUMP_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &value) < 0) {
		print_message("no flags here: %s\n", strerror(errno));
		skip();
	}
	struct attr a = captured("file");
	assert_int_equal(a.flags, FS_NODUMP_FL); /* not FS_EXTENT_FL */
	attr_done(&a);
}

static void swapped_names(void **state)
{
	(void)state;
	struct attr a;
	struct error err, gap;
	int fd = -1;
	make_file("file");
	assert_int_equal(capture_stat(dir, "file", &a, &err), 0);
	struct attr before = a;
	unlinkat(dir, "file", 0);
	assert_int_equal(capture_open(dir, "file", &a, &fd, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);

	assert_int_equal(mkfifoat(dir, "file", 0600), 0);
	assert_int_equal(capture_open(dir, "file", &a, &fd, &err), -1);
	assert_non_null(strstr(err.text, "replaced"));
	unlinkat(dir, "file", 0);
	assert_int_equal(mknodat(dir, "file", S_IFSOCK | 0600, 0), 0);
	assert_int_equal(capture_open(dir, "file", &a, &fd, &err), -1);
	assert_non_null(strstr(err.text, "replaced"));
	unlinkat(dir, "file", 0);
	assert_int_equal(symlinkat("/etc/passwd", dir, "file"), 0);
	assert_int_equal(capture_open(dir, "file", &a, &fd, &err), -1);
	assert_non_null(strstr(err.text, "replaced"));
	unlinkat(dir, "file", 0);
	assert_int_equal(mkdirat(dir, "file", 0700), 0);
	assert_int_equal(capture_open(dir, "file", &a, &fd, &err), -1);
	assert_int_equal(fd, -1);
	a.mode = S_IFDIR | 0700;
	unlinkat(dir, "file", AT_REMOVEDIR);
	make_file("file");
	assert_int_equal(capture_open(dir, "file", &a, &fd, &err), -1);
	assert_non_null(strstr(err.text, "replaced"));

	/* Another file of the same type: its own attributes. */
	a = before;
	make_file("other");
	renameat(dir, "other", dir, "file");
	assert_int_equal(capture_open(dir, "file", &a, &fd, &err), 0);
	expect_stat(&a, "file");
	close(fd);

	assert_int_equal(symlinkat("x", dir, "link"), 0);
	assert_int_equal(capture_stat(dir, "link", &a, &err), 0);
	unlinkat(dir, "link", 0);
	assert_int_equal(capture_complete(names, dir, "link", -1, &a, &gap, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(capture_stat(dir, "link", &a, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void access_time_stays(void **state)
{
	(void)state;
	make_file("file");
	static const struct timespec old[2] = { { 1000, 0 }, { 2000000000, 0 } };
	assert_int_equal(utimensat(dir, "file", old, 0), 0);
	struct attr a;
	int fd;
	char c;
	assert_int_equal(capture_stat(dir, "file", &a, NULL), 0);
	assert_int_equal(capture_open(dir, "file", &a, &fd, NULL), 0);
	assert_int_equal(read(fd, &c, 1), 1);
	close(fd);
	struct stat st;
	assert_int_equal(fstatat(dir, "file", &st, 0), 0);
	assert_int_equal(st.st_atim.tv_sec, 1000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_type), TEST(long_links), TEST(xattrs), TEST(many_xattrs), TEST(as_root), TEST(flags), TEST(swapped_names), TEST(access_time_stays),
	};
	return cmocka_run_group_tests_name("capture-attr", tests, NULL, NULL);
}
