/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clean.h"
#include "capture/holes.h"

static int make(uint64_t size)
{
	char path[] = "/tmp/twofold-holes-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void put(int fd, uint64_t at, size_t len)
{
	CLEAN_FREE char *data = malloc(len);
	memset(data, 'x', len);
	assert_int_equal(pwrite(fd, data, len, (off_t)at), len);
}

/* "h4096 d10 " and so on. */
static void expect(struct holes *h, const char *runs)
{
	char seen[256] = "";
	struct hole_run run;
	uint64_t at = h->at;
	for (int i = 0; i < 20 && holes_next(h, &run); i++) {
		assert_int_equal(run.offset, at);
		assert_true(run.length > 0);
		at += run.length;
		sprintf(seen + strlen(seen), "%c%llu ", run.hole ? 'h' : 'd', (unsigned long long)run.length);
	}
	assert_string_equal(seen, runs);
	assert_false(holes_next(h, &run));
}

static void expect_file(int fd, uint64_t size, const char *runs)
{
	struct holes h;
	holes_start(&h, fd, size);
	expect(&h, runs);
}

static void runs(void **state)
{
	(void)state;
	CLEAN_FD int empty = make(0);
	expect_file(empty, 0, "");
	CLEAN_FD int full = make(0);
	put(full, 0, 10000);
	expect_file(full, 10000, "d10000 ");
	CLEAN_FD int hole = make(1 << 20);
	if (lseek(hole, 0, SEEK_HOLE) != 0) {
		print_message("this filesystem knows no holes\n");
		skip();
	}
	expect_file(hole, 1 << 20, "h1048576 ");
	put(hole, 256 << 10, 64 << 10);
	expect_file(hole, 1 << 20, "h262144 d65536 h720896 ");
	put(hole, 0, 64 << 10);
	put(hole, (1 << 20) - 65536, 65536);
	expect_file(hole, 1 << 20, "d65536 h196608 d65536 h655360 d65536 ");
}

static void grows_and_shrinks(void **state)
{
	(void)state;
	CLEAN_FD int fd = make(0);
	put(fd, 0, 65536);
	put(fd, 128 << 10, 65536);
	struct holes h;
	struct hole_run run;

	/* It has grown: what is new is not looked at. */
	expect_file(fd, 65536 + 100, "d65536 h100 ");
	expect_file(fd, 1000, "d1000 ");

	/* It shrinks between two runs, into the hole, or to nothing. */
	holes_start(&h, fd, 192 << 10);
	assert_true(holes_next(&h, &run));
	assert_int_equal(ftruncate(fd, 100 << 10), 0);
	if (lseek(fd, 0, SEEK_HOLE) == 65536) {
		expect(&h, "h36864 ");
		assert_true(h.shrunk);
	}
	holes_start(&h, fd, 192 << 10);
	assert_true(holes_next(&h, &run));
	assert_int_equal(ftruncate(fd, 0), 0);
	expect(&h, "");
	assert_true(h.shrunk);
	holes_start(&h, fd, 192 << 10);
	expect(&h, "");
	assert_true(h.shrunk);
}

/* A pipe cannot be asked: all is data, and there is an end. */
static void cannot_be_asked(void **state)
{
	(void)state;
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	expect_file(fds[0], 100, "d100 ");
	close(fds[0]);
	close(fds[1]);
	expect_file(-1, 100, "d100 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs),
		cmocka_unit_test(grows_and_shrinks),
		cmocka_unit_test(cannot_be_asked),
	};
	return cmocka_run_group_tests_name("holes", tests, NULL, NULL);
}
