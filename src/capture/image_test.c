/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Images of disks made with the system's own tools, read back from the repository and compared byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "capture/test_image.h"

/* --- disks without a filesystem ------------------------------------------------------------ */

static void zeros_of_any_size(void **state)
{
	(void)state;
	static const unsigned sizes[] = { 1, 511, 4096, (3 << 20) + 17, 64 << 20 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		uint64_t kinds[4] = { 0 };
		shell("rm -f %s && head -c %u /dev/zero >%s", disk, sizes[i], disk);
		struct snapshot s = take(disk);
		assert_int_equal(each_range(&s, count_kinds, kinds), sizes[i]);
		assert_int_equal(kinds[MAP_ZERO], sizes[i]);
		snapshot_done(&s);
	}
}

static void bytes_of_any_size(void **state)
{
	(void)state;
	static const unsigned sizes[] = { 1, 513, 4097, (1 << 20) + 1, (5 << 20) - 3 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		shell("rm -f %s && head -c %u /dev/urandom >%s && truncate -s +3000000 %s && printf end >>%s", disk, sizes[i], disk, disk, disk);
		struct snapshot s = take(disk);
		expect_disk(&s, disk, NULL);
		assert_int_equal(warnings.count, 0);
		assert_int_equal(s.volume_count, 1);
		assert_true(s.volumes[0].raw);
		snapshot_done(&s);
	}
}

static void a_disk_near_the_limit(void **state)
{
	(void)state;
	CLEAN_FD int fd = -1;
	char path[64];
	make_huge(NULL, &fd, path);
	for (int with_data = 0; with_data < 2; with_data++) {
		uint64_t kinds[4] = { 0 };
		if (with_data)
			assert_int_equal(pwrite(fd, "x", 1, INT64_MAX - 5000), 1);
		struct snapshot s = take(path);
		assert_int_equal(each_range(&s, count_kinds, kinds), INT64_MAX - 4095);
		assert_int_equal(kinds[MAP_DATA] != 0, with_data);
		snapshot_done(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zeros_of_any_size),
		cmocka_unit_test(bytes_of_any_size),
		cmocka_unit_test(a_disk_near_the_limit),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
