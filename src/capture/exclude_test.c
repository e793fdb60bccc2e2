/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "capture/exclude.h"

static struct exclude *with(const char *glob)
{
	struct exclude *ex = NULL;
	struct error err;
	assert_int_equal(exclude_new(&ex, &err), 0);
	if (glob && exclude_add(ex, glob, &err) < 0)
		fail_msg("%s", err.text);
	return ex;
}

/* Everything is seen from /home/x here. */
static bool asked(const struct exclude *ex, const char *path)
{
	char whole[8192] = "/home/x/";
	strcat(whole, path);
	size_t len = strlen(whole);
	bool is_dir = whole[len - 1] == '/';
	return exclude_match(ex, whole, len - is_dir, 8, is_dir);
}

static void patterns(void **state)
{
	(void)state;
	static const struct {
		const char *glob, *path; /* a slash at the path's end: a folder */
		bool match;
	} cases[] = {
		{ "*.o", "a.o", true },
		{ "*.o", "deep/er/a.o", true },
		{ "*.o", "a.o/", true },
		{ "*.o", "a.c", false },
		{ "*.o", "x.o/a.c", false },
		{ "cache/", "deep/cache/", true },
		{ "cache/", "deep/cache", false },
		{ "a/b", "a/b", true },
		{ "a/b", "x/a/b", false },
		{ "./a/b", "a/b", true },
		{ "a//b", "a/b", true },
		{ "a/*", "a/b", true },
		{ "a/*", "a/b/c", false },
		{ "a/*/c", "a/b/c", true },
		{ "/home/x/a", "a", true },
		{ "/home/*/a", "a", true },
		{ "/x/a", "a", false },
		{ "/a", "a", false },
		{ "**/b", "b", true },
		{ "**/b", "a/c/b", true },
		{ "a/**", "a/", false },
		{ "a/**", "a/b/c/d", true },
		{ "a/**/d", "a/d", true },
		{ "a/**/d", "a/b/c/d", true },
		{ "a/**/d", "a/b/c/e", false },
		{ "a/**/d/**/e", "a/d/x/d/y/e", true },
		{ "**", "a", true },
		{ "a**c", "abbc", true },
		{ "/**", "a", true },
		{ "?", "a", true },
		{ "?", "\xc3\xa4", true },
		{ "?", "\xff", true },
		{ "?", "ab", false },
		{ "??", "\xc3", false },
		{ "[a-c]x", "bx", true },
		{ "[!a-c]x", "bx", false },
		{ "[^a-c]x", "dx", true },
		{ "[]a]", "]", true },
		{ "[a-]", "-", true },
		{ "[\xc3\xa0-\xc3\xbc]", "\xc3\xa4", true },
		{ "[\\]]", "]", true },
		{ "\\*", "*", true },
		{ "\\*", "a", false },
		{ "\\!x", "!x", true },
		{ "a\\", "a\\", true },
		{ "*a*b*c*", "xxaxxbxxcxx", true },
		{ "*a*b*c*", "xxaxxcxxbxx", false },
		{ "*", ".hidden", true },
		{ "caf\xe9", "caf\xe9", true },
		{ "caf\xe9*", "caf\xe9.txt", true },
		{ "a\nb", "a\nb", true },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		CLEAN_EXCLUDE struct exclude *ex = with(cases[i].glob);
		if (asked(ex, cases[i].path) != cases[i].match)
			fail_msg("%s on %s", cases[i].glob, cases[i].path);
	}
}

static void last_match_decides(void **state)
{
	(void)state;
	CLEAN_EXCLUDE struct exclude *ex = with("*.log");
	assert_int_equal(exclude_add(ex, "!keep.log", NULL), 0);
	assert_int_equal(exclude_add(ex, "old/keep.log", NULL), 0);
	assert_true(asked(ex, "a/x.log"));
	assert_false(asked(ex, "a/keep.log"));
	assert_true(asked(ex, "old/keep.log"));
	assert_false(asked(ex, "a"));
}

static void bad_patterns(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "!", "/", ".", "//", "[a", "a/[!", "x[]", "[a-", "[\\]" };
	CLEAN_EXCLUDE struct exclude *ex = with(NULL);
	struct error err;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (exclude_add(ex, bad[i], &err) == 0)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(err.kind, ERR_INVALID);
	}
	static char huge[8000];
	memset(huge, 'a', sizeof huge - 1);
	assert_int_equal(exclude_add(ex, huge, &err), -1);
	assert_false(asked(ex, "a"));
}

/* Patterns that take some matchers exponential time. */
static void no_explosion(void **state)
{
	(void)state;
	char glob[256] = "", path[4096] = "";
	for (int i = 0; i < 30; i++)
		strcat(glob, "**/a*a*/");
	strcat(glob, "b");
	for (int i = 0; i < 200; i++)
		strcat(path, "aaaaaaaaaaaaaaa/");
	strcat(path, "c");
	CLEAN_EXCLUDE struct exclude *ex = with(glob);
	clock_t start = clock();
	assert_false(asked(ex, path));
	assert_true(clock() - start < CLOCKS_PER_SEC);
}

static void from_a_file(void **state)
{
	(void)state;
	char path[] = "/tmp/twofold-exclude-XXXXXX";
	CLEAN_FD int fd = mkstemp(path);
	static const char text[] = "# comment\n\n*.o   \r\n\\#x\n!a.o\nkeep\\ \nlast";
	assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
	CLEAN_EXCLUDE struct exclude *ex = with(NULL);
	struct error err;
	assert_int_equal(exclude_add_file(ex, path, &err), 0);
	assert_true(asked(ex, "b.o"));
	assert_false(asked(ex, "a.o"));
	assert_true(asked(ex, "#x"));
	assert_true(asked(ex, "keep "));
	assert_true(asked(ex, "last"));
	assert_false(asked(ex, "# comment"));

	assert_int_equal(write(fd, "\n[a", 3), 3);
	assert_int_equal(exclude_add_file(ex, path, &err), -1);
	assert_non_null(strstr(err.text, "line 8"));
	assert_int_equal(pwrite(fd, "\0", 1, 1), 1);
	assert_int_equal(exclude_add_file(ex, path, &err), -1);
	unlink(path);
	assert_int_equal(exclude_add_file(ex, path, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void sizes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = { { "0", 0 }, { "17", 17 }, { "17B", 17 }, { "2K", 2048 }, { "2k", 2048 }, { "3MB", 3u << 20 }, { "1GiB", 1u << 30 }, { "2T", 2ull << 40 } };
	CLEAN_EXCLUDE struct exclude *ex = with(NULL);
	assert_false(exclude_size(ex, UINT64_MAX));
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(exclude_set_larger_than(ex, good[i].text, NULL), 0);
		assert_false(exclude_size(ex, good[i].value));
		assert_true(exclude_size(ex, good[i].value + 1));
	}
	static const char *const bad[] = { "", "x", "-1", " 1", "1 ", "1X", "1Kx", "1.5G", "99999999999999999999", "18014398509481985K" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (exclude_set_larger_than(ex, bad[i], NULL) == 0)
			fail_msg("%s was taken", bad[i]);
}

static void put(int dir, const char *name, const char *text)
{
	CLEAN_FD int fd = openat(dir, name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void marked_folders(void **state)
{
	(void)state;
	char path[] = "/tmp/twofold-exclude-XXXXXX";
	assert_non_null(mkdtemp(path));
	CLEAN_FD int dir = open(path, O_RDONLY | O_DIRECTORY);
	CLEAN_EXCLUDE struct exclude *ex = with(NULL);
	const char *marker;
	put(dir, "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# by a test\n");
	put(dir, ".nobackup", "");
	assert_false(exclude_folder(ex, dir, &marker));
	exclude_set_caches(ex);
	assert_true(exclude_folder(ex, dir, &marker));
	assert_string_equal(marker, "CACHEDIR.TAG");
	put(dir, "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc5");
	assert_false(exclude_folder(ex, dir, &marker));
	unlinkat(dir, "CACHEDIR.TAG", 0);
	assert_int_equal(mkfifoat(dir, "CACHEDIR.TAG", 0600), 0);
	assert_false(exclude_folder(ex, dir, &marker));
	assert_int_equal(exclude_add_marker(ex, ".nobackup", NULL), 0);
	assert_true(exclude_folder(ex, dir, &marker));
	assert_string_equal(marker, ".nobackup");
	assert_int_equal(exclude_add_marker(ex, "a/b", NULL), -1);
	assert_int_equal(exclude_add_marker(ex, "", NULL), -1);
	assert_int_equal(exclude_add_marker(ex, "..", NULL), -1);
	unlinkat(dir, "CACHEDIR.TAG", 0);
	unlinkat(dir, ".nobackup", 0);
	rmdir(path);
}

static void other_devices(void **state)
{
	(void)state;
	CLEAN_EXCLUDE struct exclude *ex = with(NULL);
	assert_false(exclude_device(ex, 1, 2));
	exclude_set_one_file_system(ex);
	assert_true(exclude_device(ex, 1, 2));
	assert_false(exclude_device(ex, 2, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns),       cmocka_unit_test(last_match_decides), cmocka_unit_test(bad_patterns),
		cmocka_unit_test(no_explosion),   cmocka_unit_test(from_a_file),        cmocka_unit_test(sizes),
		cmocka_unit_test(marked_folders), cmocka_unit_test(other_devices),
	};
	return cmocka_run_group_tests_name("exclude", tests, NULL, NULL);
}
