/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "restore/beneath.h"

/* Each test runs twice: with openat2 and without. */
static bool old_kernel;
static char folder[64];
static int target = -1, outside = -1; /* folder/target, folder/outside */
static struct beneath *b;
static struct beneath_cache cache = BENEATH_CACHE_INIT;


static int setup(void **state)
{
	old_kernel = *state;
	strcpy(folder, "/tmp/twofold-beneath-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	char path[128];
	snprintf(path, sizeof path, "%s/outside", folder);
	mkdir(path, 0700);
	outside = open(path, O_RDONLY | O_DIRECTORY);
	snprintf(path, sizeof path, "%s/target", folder);
	if (beneath_open(&b, path, true, NULL) < 0)
		return -1;
	if (old_kernel)
		beneath_without_openat2(b);
	target = open(path, O_RDONLY | O_DIRECTORY);
	return target < 0;
}

static int teardown(void **state)
{
	(void)state;
	beneath_cache_done(&cache);
	beneath_close(b);
	close(target);
	close(outside);
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", folder); /* deeper than nftw goes */
	return system(command);
}

static bool outside_is_empty(void)
{
	CLEAN_DIR DIR *dir = fdopendir(openat(outside, ".", O_RDONLY | O_DIRECTORY));
	int count = 0;
	while (readdir(dir))
		count++;
	return count == 2;
}

static void makes_folders(void **state)
{
	(void)state;
	struct error err;
	struct stat st;
	int fd, again;
	const char *name;
	assert_int_equal(beneath_mkdirs(b, &cache, "a/b/c", &fd, &err), 0);
	assert_int_equal(fstatat(target, "a/b/c", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(beneath_mkdirs(b, &cache, "a/b/c", &again, &err), 0);
	assert_int_equal(fd, again);
	assert_int_equal(beneath_open_parent(b, &cache, "a/b/c/name", &again, &name, &err), 0);
	assert_int_equal(fd, again);
	assert_string_equal(name, "name");
	assert_int_equal(beneath_open_parent(b, &cache, "top", &fd, &name, &err), 0);
	assert_string_equal(name, "top");
	assert_int_equal(beneath_make_folder(fd, name, &err), 0);
	assert_int_equal(fstatat(target, "top", &st, 0), 0);
	assert_int_equal(beneath_make_folder(fd, name, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(beneath_open_parent(b, &cache, "missing/name", &fd, &name, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(beneath_mkdirs(b, &cache, "", &fd, &err), 0);
	assert_int_equal(beneath_open_folder(b, "a/b", &fd, &err), 0);
	close(fd);
	assert_int_equal(beneath_open_folder(b, "", &fd, &err), 0);
	close(fd);
	assert_int_equal(beneath_open_folder(b, "a/x", &fd, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void deeper_than_path_max(void **state)
{
	(void)state;
	char path[32 * 201] = "";
	struct error err;
	for (int i = 0; i < 30; i++) {
		size_t len = strlen(path);
		memset(path + len, 'a' + i % 26, 200);
		strcpy(path + len + 200, "/");
	}
	path[strlen(path) - 1] = 0;
	int fd;
	const char *name;
	assert_int_equal(beneath_mkdirs(b, &cache, path, &fd, &err), 0);
	strcat(path, "/file");
	beneath_cache_done(&cache);
	assert_int_equal(beneath_open_parent(b, &cache, path, &fd, &name, &err), 0);
	int file;
	assert_int_equal(beneath_make_file(fd, name, &file, &err), 0);
	close(file);
}

static void hostile_paths(void **state)
{
	(void)state;
	static const char *const bad[] = { "..", ".", "/", "/etc/passwd", "a/../b", "a//b", "a/", "a/.", "./a", "../outside/x", "a/..", "//", "/a" };
	struct error err;
	int fd;
	const char *name;
	assert_int_equal(beneath_mkdirs(b, &cache, "a", NULL, &err), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (beneath_mkdirs(b, &cache, bad[i], &fd, &err) == 0)
			fail_msg("mkdirs took %s", bad[i]);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_int_equal(beneath_open_parent(b, &cache, bad[i], &fd, &name, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_int_equal(beneath_open_folder(b, bad[i], &fd, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
	}
	static const char *const names[] = { "", ".", "..", "a/b", "/a", "../outside/x" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		assert_int_equal(beneath_make_file(target, names[i], &fd, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
		assert_int_equal(beneath_make_folder(target, names[i], &err), -1);
		assert_int_equal(beneath_make_symlink(target, names[i], (const uint8_t *)"x", 1, &err), -1);
		assert_int_equal(beneath_make_special(target, names[i], S_IFIFO, 0, &err), -1);
		assert_int_equal(beneath_make_link(target, "a", target, names[i], &err), -1);
		assert_int_equal(beneath_make_link(target, names[i], target, "x", &err), -1);
		assert_int_equal(beneath_open_file(target, names[i], O_RDONLY, &fd, &err), -1);
		assert_int_equal(beneath_remove(target, names[i], &err), -1);
		assert_int_equal(beneath_rename(target, "a", names[i], &err), -1);
	}
	assert_true(outside_is_empty());
}

static void hostile_symlinks(void **state)
{
	(void)state;
	struct error err;
	int fd;
	const char *name;
	char absolute[128];
	snprintf(absolute, sizeof absolute, "%s/outside", folder);
	const char *const links[] = { "../outside", absolute, "real", ".", "/proc/self/fd/1", "/proc/self/root", "dangling" };
	assert_int_equal(beneath_mkdirs(b, &cache, "real/sub", NULL, &err), 0);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		assert_int_equal(symlinkat(links[i], target, "link"), 0);
		static const char *const through[] = { "link", "link/sub", "link/new/deep" };
		for (size_t j = 0; j < 3; j++) {
			if (beneath_mkdirs(b, &cache, through[j], &fd, &err) == 0)
				fail_msg("went through %s at %s", links[i], through[j]);
			assert_int_equal(err.kind, ERR_EXISTS);
			assert_non_null(strstr(err.text, "in the way"));
		}
		assert_int_equal(beneath_open_parent(b, &cache, "link/x", &fd, &name, &err), -1);
		assert_int_equal(err.kind, ERR_EXISTS);
		assert_int_equal(beneath_open_folder(b, "link", &fd, &err), -1);
		assert_int_equal(beneath_make_file(target, "link", &fd, &err), -1);
		assert_int_equal(err.kind, ERR_EXISTS);
		assert_int_equal(beneath_open_file(target, "link", O_WRONLY, &fd, &err), -1);
		assert_int_equal(err.kind, ERR_EXISTS);
		assert_int_equal(beneath_remove(target, "link", &err), 0);
	}
	struct stat st;
	assert_int_equal(fstatat(target, "real/sub", &st, 0), 0);
	assert_int_equal(fstatat(target, "real/new", &st, 0), -1);
	assert_true(outside_is_empty());
	assert_int_equal(beneath_make_file(target, "file", &fd, &err), 0);
	close(fd);
	assert_int_equal(beneath_mkdirs(b, &cache, "file/x", &fd, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
}

static void makes_every_type(void **state)
{
	(void)state;
	struct error err;
	struct stat st;
	int fd;
	assert_int_equal(beneath_make_file(target, "file", &fd, &err), 0);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	assert_int_equal(fstatat(target, "file", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(beneath_make_file(target, "file", &fd, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(beneath_make_symlink(target, "link", (const uint8_t *)"to\xffgarbage", 3, &err), 0);
	char text[8] = "";
	assert_int_equal(readlinkat(target, "link", text, sizeof text), 3);
	assert_string_equal(text, "to\xff");
	assert_int_equal(beneath_make_symlink(target, "zero", (const uint8_t *)"a\0b", 3, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(beneath_make_symlink(target, "none", NULL, 0, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(beneath_make_special(target, "fifo", S_IFIFO, 0, &err), 0);
	assert_int_equal(beneath_make_special(target, "socket", S_IFSOCK, 99, &err), 0);
	assert_int_equal(fstatat(target, "socket", &st, 0), 0);
	assert_true(S_ISSOCK(st.st_mode) && st.st_rdev == 0);
	assert_int_equal(beneath_make_special(target, "file2", S_IFREG, 0, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	if (beneath_make_special(target, "device", S_IFBLK, makedev(259, 70000), &err) == 0) {
		assert_int_equal(fstatat(target, "device", &st, 0), 0);
		assert_int_equal(st.st_rdev, makedev(259, 70000));
	}
	assert_int_equal(beneath_make_link(target, "file", target, "hard", &err), 0);
	assert_int_equal(fstatat(target, "hard", &st, 0), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(beneath_make_link(target, "link", target, "hardlink", &err), 0);
	assert_int_equal(fstatat(target, "hardlink", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(beneath_open_file(target, "fifo", O_WRONLY, &fd, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(beneath_open_file(target, "fifo", O_RDONLY, &fd, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(beneath_open_file(target, "file", O_RDONLY, &fd, &err), 0);
	close(fd);
	assert_int_equal(beneath_open_file(target, "missing", O_RDONLY, &fd, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void removes_and_renames(void **state)
{
	(void)state;
	struct error err;
	struct stat st;
	int fd;
	assert_int_equal(beneath_mkdirs(b, &cache, "full/sub", NULL, &err), 0);
	assert_int_equal(beneath_make_file(target, "file", &fd, &err), 0);
	close(fd);
	assert_int_equal(beneath_remove(target, "missing", &err), 0);
	assert_int_equal(beneath_remove(target, "full", &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(beneath_rename(target, "file", "full", &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(symlinkat("../outside", target, "link"), 0);
	assert_int_equal(beneath_rename(target, "file", "link", &err), 0);
	assert_int_equal(fstatat(target, "link", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(beneath_remove(target, "link", &err), 0);
	CLEAN_FD int full = openat(target, "full", O_RDONLY | O_DIRECTORY);
	assert_int_equal(beneath_remove(full, "sub", &err), 0);
	assert_int_equal(beneath_remove(target, "full", &err), 0);
	assert_true(outside_is_empty());
}

static _Atomic bool stop;

/* Swaps target/d (a folder) and target/l (a symlink to the outside) for each other, over and over. */
static void *swap(void *arg)
{
	(void)arg;
	while (!stop)
		renameat2(target, "d", target, "l", RENAME_EXCHANGE);
	return NULL;
}

static void symlink_swapped_in(void **state)
{
	(void)state;
	struct error err;
	assert_int_equal(mkdirat(target, "d", 0700), 0);
	assert_int_equal(mkdirat(target, "d/sub", 0700), 0);
	assert_int_equal(symlinkat("../outside", target, "l"), 0);
	if (renameat2(target, "d", target, "l", RENAME_EXCHANGE) < 0) {
		print_message("cannot exchange names here: %s\n", strerror(errno));
		skip();
	}
	pthread_t thread;
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
	unsigned made = 0, refused = 0;
	for (unsigned i = 0; i < 20000 && !(i > 2000 && made > 50 && refused > 50); i++) {
		char path[64];
		int dir, fd;
		const char *name;
		snprintf(path, sizeof path, "d/sub%u/x", i);
		beneath_cache_done(&cache);
		if (beneath_mkdirs(b, &cache, path, NULL, &err) == 0)
			made++;
		else
			refused++;
		snprintf(path, sizeof path, "d/file%u", i);
		if (beneath_open_parent(b, &cache, path, &dir, &name, &err) == 0 && beneath_make_file(dir, name, &fd, &err) == 0)
			close(fd);
	}
	stop = true;
	pthread_join(thread, NULL);
	assert_true(outside_is_empty());
	print_message("%u made, %u refused\n", made, refused);
	assert_true(made > 0);
}

static void *make_many(void *arg)
{
	struct beneath_cache own = BENEATH_CACHE_INIT;
	size_t failed = 0;
	for (int i = 0; i < 500; i++) {
		char path[64];
		snprintf(path, sizeof path, "%d/%d/%d", i % 10, i % 50, i);
		failed += beneath_mkdirs(b, &own, path, NULL, NULL) < 0;
	}
	beneath_cache_done(&own);
	(void)arg;
	return (void *)failed;
}

static void many_threads(void **state)
{
	(void)state;
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_many, NULL), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

#define TEST(f) \
	{ #f, f, setup, teardown, NULL }, { #f " (no openat2)", f, setup, teardown, &old_kernel }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(makes_folders),       TEST(deeper_than_path_max), TEST(hostile_paths),      TEST(hostile_symlinks),
		TEST(makes_every_type),    TEST(removes_and_renames),  TEST(symlink_swapped_in), TEST(many_threads),
	};
	return cmocka_run_group_tests_name("beneath", tests, NULL, NULL);
}
