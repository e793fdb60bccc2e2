/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "repo/check_log.h"

static char folder[] = "/tmp/twofold-check-log-XXXXXX";
static struct repo repo;
static char path[100];

static int setup(void **state)
{
	(void)state;
	static const uint8_t master[SEAL_KEY_SIZE] = { 1 };
	const struct id id = { { 2 } };
	if (!mkdtemp(folder) || seal_init(NULL) < 0 || seal_keys_open(&repo.keys, master, 1, &id, NULL) < 0)
		return -1;
	repo.cache = folder;
	snprintf(path, sizeof path, "%s/check-log", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	seal_keys_free(repo.keys);
	unlink(path);
	return rmdir(folder);
}

static struct id pack(unsigned n)
{
	struct id id = { { 0 } };
	id.b[0] = (uint8_t)(n * 37);
	id.b[1] = (uint8_t)n;
	return id;
}

static void save(unsigned count)
{
	struct check_log log = { .interrupted = 77, .entries = BUF_INIT };
	for (unsigned i = count; i-- > 0;) {
		struct check_log_entry e = { pack(i), 1000 + i };
		buf_add(&log.entries, &e, sizeof e);
	}
	struct check_log_entry twice = { pack(3), 5 };
	buf_add(&log.entries, &twice, sizeof twice);
	assert_int_equal(check_log_save(&log, &repo, NULL), 0);
	check_log_done(&log);
}

static void comes_back(void **state)
{
	(void)state;
	struct check_log log;
	save(100);
	check_log_load(&log, &repo);
	assert_int_equal(log.interrupted, 77);
	for (unsigned i = 0; i < 100; i++) {
		struct id id = pack(i);
		assert_int_equal(check_log_find(&log, &id), i == 3 ? 5 : 1000 + i);
	}
	struct id other = pack(100);
	assert_int_equal(check_log_find(&log, &other), 0);
	check_log_done(&log);
}

/* Each byte changed, and each length, is as if there were no log. */
static void damage_counts_as_nothing(void **state)
{
	(void)state;
	struct check_log log;
	struct stat st;
	struct id id = pack(1);
	save(10);
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		uint8_t b;
		int fd = open(path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &b, 1, at), 1);
		b ^= 1;
		assert_int_equal(pwrite(fd, &b, 1, at), 1);
		check_log_load(&log, &repo);
		assert_int_equal(check_log_find(&log, &id), 0);
		assert_int_equal(log.interrupted, 0);
		check_log_done(&log);
		b ^= 1;
		assert_int_equal(pwrite(fd, &b, 1, at), 1);
		close(fd);
	}
	for (off_t len = st.st_size - 1; len >= 0; len--) {
		assert_int_equal(truncate(path, len), 0);
		check_log_load(&log, &repo);
		assert_int_equal(log.entries.len, 0);
		check_log_done(&log);
	}
}

static void works_without_a_cache(void **state)
{
	(void)state;
	struct repo none = { .keys = repo.keys };
	struct check_log log;
	check_log_load(&log, &none);
	assert_int_equal(check_log_save(&log, &none, NULL), 0);
	check_log_done(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(damage_counts_as_nothing),
		cmocka_unit_test(works_without_a_cache),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
