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
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "restore/apply.h"

static char folder[64];
static int dir = -1;
static struct names *names;
static struct apply_options options;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/twofold-apply-XXXXXX");
	if (!mkdtemp(folder) || names_new(&names, NULL) < 0)
		return -1;
	dir = open(folder, O_RDONLY | O_DIRECTORY);
	options = (struct apply_options){ names, true };
	return dir < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(dir);
	names_free(names);
	return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_file(const char *name)
{
	int fd = openat(dir, name, O_CREAT | O_RDWR | O_EXCL, 0600);
	assert_true(fd >= 0);
	return fd;
}

/* Of this process, so that nothing has to be refused. */
static struct attr plain(uint32_t mode)
{
	return (struct attr){ .mode = mode, .uid = geteuid(), .gid = getegid(), .mtime = { -5, 123456789 } };
}

static void expect(const char *name, const struct attr *a)
{
	struct stat st;
	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	if (!S_ISLNK(a->mode))
		assert_int_equal(st.st_mode, a->mode);
	assert_int_equal(st.st_uid, a->uid);
	assert_int_equal(st.st_gid, a->gid);
	assert_int_equal(st.st_mtim.tv_sec, a->mtime.sec);
	assert_int_equal(st.st_mtim.tv_nsec, a->mtime.ns);
}

static void every_type(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		uint32_t mode;
	} all[] = { { "fifo", S_IFIFO | 0640 }, { "socket", S_IFSOCK | 0755 }, { "link", S_IFLNK | 0777 }, { "dir", S_IFDIR | 0555 }, { "file", S_IFREG | 0444 } };
	close(make_file("file"));
	close(make_file("victim"));
	assert_int_equal(mkdirat(dir, "dir", 0700), 0);
	assert_int_equal(symlinkat("victim", dir, "link"), 0);
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	assert_int_equal(mknodat(dir, "socket", S_IFSOCK | 0600, 0), 0);
	struct stat before, after;
	assert_int_equal(fstatat(dir, "victim", &before, 0), 0);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct attr a = plain(all[i].mode);
		struct apply_report r;
		if (geteuid() == 0)
			a.uid = 1000000 + (uint32_t)i, a.gid = 2000000;
		apply_attr(&options, -1, dir, all[i].name, &a, &r);
		assert_int_equal(r.missing, 0);
		expect(all[i].name, &a);
	}
	assert_int_equal(fstatat(dir, "victim", &after, 0), 0);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_uid, before.st_uid);
	assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
}

static void by_descriptor(void **state)
{
	(void)state;
	struct apply_report r;
	CLEAN_FD int fd = make_file("file");
	struct attr a = plain(S_IFREG | 04511);
	if (geteuid() == 0)
		a.uid = 1000000, a.gid = 2000000, a.mode |= S_ISGID;
	apply_attr(&options, fd, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 0);
	expect("file", &a);
	static const struct timespec old[2] = { { 1, 0 }, { 1, 0 } };
	futimens(fd, old);
	apply_attr(&options, fd, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 0);
	expect("file", &a);
	struct stat st;
	fstat(fd, &st);
	assert_int_equal(st.st_atim.tv_sec, 1);
}

static void owner_by_name(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	uint32_t uid;
	if (!names_uid(names, "nobody", &uid)) {
		print_message("no user nobody here\n");
		skip();
	}
	struct apply_report r;
	struct stat st;
	CLEAN_FD int fd = make_file("file");
	struct attr a = plain(S_IFREG | 0600);
	char user[] = "nobody", group[] = "no such group";
	a.uid = 12345;
	a.gid = 54321;
	a.user = user;
	a.group = group;
	options.numeric_ids = false;
	apply_attr(&options, fd, -1, NULL, &a, &r);
	fstat(fd, &st);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, 54321);
	options.numeric_ids = true;
	apply_attr(&options, fd, -1, NULL, &a, &r);
	fstat(fd, &st);
	assert_int_equal(st.st_uid, 12345);
	assert_int_equal(r.missing, 0);
}

static void xattrs(void **state)
{
	(void)state;
	CLEAN_FD int fd = make_file("file");
	if (fsetxattr(fd, "user.old", "x", 1, 0) < 0) {
		print_message("no user xattrs here: %s\n", strerror(errno));
		skip();
	}
	fsetxattr(fd, "user.kept", "x", 1, 0);
	struct apply_report r;
	struct attr a = plain(S_IFREG | 0444); /* a mode that forbids to write them later */
	attr_add_xattr(&a, "user.empty", NULL, 0);
	attr_add_xattr(&a, "user.kept", "value", 5);
	apply_attr(&options, fd, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 0);
	expect("file", &a);
	char value[8];
	assert_int_equal(fgetxattr(fd, "user.kept", value, sizeof value), 5);
	assert_int_equal(fgetxattr(fd, "user.empty", value, sizeof value), 0);
	assert_int_equal(fgetxattr(fd, "user.old", value, sizeof value), -1);

	attr_add_xattr(&a, "nonsense.name", "v", 1);
	attr_add_xattr(&a, "", "v", 1);
	apply_attr(&options, fd, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 1u << APPLY_XATTRS);
	assert_string_equal(r.xattr, "nonsense.name");
	assert_int_equal(r.sys[APPLY_XATTRS], EOPNOTSUPP);
	attr_done(&a);
}

static const uint8_t capability[20] = { 1, 0, 0, 2, 0, 4 };
/* user::rw- user:1:r-- group::r-- mask::rw- other::--- */
static const uint8_t acl[44] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 1, 0, 0, 0, 4, 0, 4, 0,
	                         255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };

static void capabilities_and_acls(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	/* The folder passes an ACL on to what is made in it, which the file must not keep. */
	bool inherits = fsetxattr(dir, "system.posix_acl_default", acl, sizeof acl, 0) == 0;
	CLEAN_FD int plain_file = make_file("plain"), rich_file = make_file("rich");
	assert_int_equal(symlinkat("plain", dir, "link"), 0);
	struct apply_report r;
	struct attr a = plain(S_IFREG | 0640);
	apply_attr(&options, plain_file, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 0);
	expect("plain", &a);
	uint8_t value[64];
	assert_int_equal(fgetxattr(plain_file, "system.posix_acl_access", value, sizeof value), -1);

	a = plain(S_IFREG | 0660); /* the group's bits are the ACL's mask */
	a.uid = 4242;
	attr_add_xattr(&a, "security.capability", capability, sizeof capability);
	if (inherits)
		attr_add_xattr(&a, "system.posix_acl_access", acl, sizeof acl);
	apply_attr(&options, rich_file, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 0);
	expect("rich", &a);
	assert_int_equal(fgetxattr(rich_file, "security.capability", value, sizeof value), sizeof capability);
	assert_memory_equal(value, capability, sizeof capability);
	if (inherits) {
		assert_int_equal(fgetxattr(rich_file, "system.posix_acl_access", value, sizeof value), sizeof acl);
		assert_memory_equal(value, acl, sizeof acl);
	}
	attr_done(&a);

	a = plain(S_IFLNK | 0777);
	attr_add_xattr(&a, "trusted.test", "link", 4);
	apply_attr(&options, -1, dir, "link", &a, &r);
	char path[128];
	snprintf(path, sizeof path, "%s/link", folder);
	if (!r.missing) /* not every filesystem has them */
		assert_int_equal(lgetxattr(path, "trusted.test", value, sizeof value), 4);
	assert_int_equal(fgetxattr(plain_file, "trusted.test", value, sizeof value), -1);
	attr_done(&a);
}

static void flags(void **state)
{
	(void)state;
	CLEAN_FD int fd = make_file("file");
	unsigned value = FS_NODUMP_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &value) < 0) {
		print_message("no flags here: %s\n", strerror(errno));
		skip();
	}
	struct apply_report r;
	struct attr a = plain(S_IFREG | 0600);
	a.flags = FS_NOATIME_FL | ATTR_FLAG_APPEND;
	apply_empty(fd, &a);
	apply_attr(&options, fd, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 0);
	ioctl(fd, FS_IOC_GETFLAGS, &value);
	assert_int_equal(value & ATTR_FLAGS_KEPT, FS_NOATIME_FL);
	apply_lock(fd, &a, &r);
	ioctl(fd, FS_IOC_GETFLAGS, &value);
	if (geteuid() == 0) {
		assert_int_equal(r.missing, 0);
		assert_int_equal(value & ATTR_FLAGS_KEPT, FS_NOATIME_FL | FS_APPEND_FL);
		value &= ~(unsigned)FS_APPEND_FL;
		assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &value), 0);
	} else {
		assert_int_equal(r.missing, 1u << APPLY_FLAGS);
		assert_int_equal(r.sys[APPLY_FLAGS], EPERM);
	}
	a.flags = 0x40000000; /* case-insensitive names, of a file: no filesystem does that; the time stamp is set all the same */
	a.mtime.sec = 77;
	apply_attr(&options, fd, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 1u << APPLY_FLAGS);
	expect("file", &a);
}

static void bad_values(void **state)
{
	(void)state;
	CLEAN_FD int fd = make_file("file");
	struct apply_report r;
	struct attr a = plain(S_IFREG | 0640);
	a.uid = UINT32_MAX;
	a.mtime.ns = UTIME_NOW;
	apply_attr(&options, fd, -1, NULL, &a, &r);
	assert_int_equal(r.missing, 1u << APPLY_OWNER | 1u << APPLY_TIMES);
	struct stat st;
	fstat(fd, &st);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(st.st_mode, S_IFREG | 0640);

	/* A name that is gone, or is another type now. */
	a = plain(S_IFREG | 0777);
	apply_attr(&options, -1, dir, "gone", &a, &r);
	assert_int_equal(r.missing, (1u << APPLY_KINDS) - 1);
	assert_int_equal(r.sys[APPLY_MODE], ENOENT);
	assert_int_equal(symlinkat("/etc/passwd", dir, "swapped"), 0);
	apply_attr(&options, -1, dir, "swapped", &a, &r);
	assert_int_equal(r.sys[APPLY_MODE], ESTALE);
	for (int kind = 0; kind < APPLY_KINDS; kind++)
		assert_true(strlen(apply_kind_name(kind)) > 3);
}

/* In a child without any rights: the owner, the device's and other people's things are refused, the rest is done. */
static int without_root(void)
{
	int fd = openat(dir, "file", O_CREAT | O_RDWR | O_EXCL, 0600);
	if (fd < 0)
		return 10;
	struct apply_report r;
	struct attr a = plain(S_IFREG | 06755);
	a.uid = 4242;
	a.gid = 4343;
	attr_add_xattr(&a, "security.capability", capability, sizeof capability);
	attr_add_xattr(&a, "trusted.test", "v", 1);
	apply_attr(&options, fd, -1, NULL, &a, &r);
	attr_done(&a);
	struct stat st;
	fstat(fd, &st);
	close(fd);
	if (r.missing != (1u << APPLY_OWNER | 1u << APPLY_MODE | 1u << APPLY_XATTRS) || r.sys[APPLY_OWNER] != EPERM)
		return 11;
	if (strcmp(r.xattr, "security.capability") != 0)
		return 12;
	/* Somebody else's set-user-id program must not become one of ours. */
	return st.st_mode == (S_IFREG | 0755) && st.st_mtim.tv_sec == -5 ? 0 : 13;
}

static void refused(void **state)
{
	(void)state;
	fchmod(dir, 0777);
	pid_t child = fork();
	if (child == 0) {
		if (geteuid() == 0 && (setgid(65533) < 0 || setuid(65533) < 0))
			_exit(14);
		_exit(without_root());
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_type), TEST(by_descriptor), TEST(owner_by_name), TEST(xattrs), TEST(capabilities_and_acls), TEST(flags), TEST(bad_values), TEST(refused),
	};
	return cmocka_run_group_tests_name("apply", tests, NULL, NULL);
}
