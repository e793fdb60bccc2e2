/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For the tests of this folder: a temporary folder, disks in it, and other people's tools run on them. */
#ifndef PART_TEST_DISK_H
#define PART_TEST_DISK_H

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

#include "part/part.h"

static char test_folder[256];

__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char command[4096];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	return system(command);
}

static int test_begin(void **state)
{
	(void)state;
	const char *tmp = getenv("TMPDIR"), *path = getenv("PATH");
	char tools[4096];
	snprintf(test_folder, sizeof test_folder, "%s/twofold-part-XXXXXX", tmp ? tmp : "/tmp");
	snprintf(tools, sizeof tools, "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin");
	setenv("PATH", tools, 1);
	setenv("LC_ALL", "C.UTF-8", 1); /* otherwise sfdisk drops names that are not ASCII */
	if (!mkdtemp(test_folder) || chdir(test_folder) < 0)
		return -1;
	return 0;
}

static int test_end(void **state)
{
	(void)state;
	return run("rm -rf '%s'", test_folder);
}

static inline bool have_tool(const char *name)
{
	if (run("command -v %s >/dev/null 2>&1", name) == 0)
		return true;
	print_message("skipped: %s is not installed\n", name);
	return false;
}

static inline void new_disk(const char *name, uint64_t size)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static inline void sfdisk(const char *name, const char *script)
{
	assert_int_equal(run("sfdisk -q --no-reread --no-tell-kernel %s >log 2>&1 <<'END' || { cat log; exit 1; }\n%s\nEND",
	                     name, script), 0);
}

static inline struct block *open_disk(const char *name, uint32_t sector, bool writable)
{
	struct block *b = NULL;
	struct error err = { 0 };
	if (block_open_file(&b, name, writable, &err) < 0)
		fail_msg("%s", err.text);
	b->sector = sector;
	return b;
}

static inline struct part_table read_table(struct block *b)
{
	struct part_table t;
	struct error err = { 0 };
	if (part_read(&t, b, &err) < 0)
		fail_msg("%s", err.text);
	return t;
}

static inline struct part_table read_disk(const char *name, uint32_t sector)
{
	CLEAN_BLOCK struct block *b = open_disk(name, sector, false);
	return read_table(b);
}

static inline void poke(const char *name, uint64_t offset, const void *data, size_t len)
{
	struct error err = { 0 };
	CLEAN_BLOCK struct block *b = open_disk(name, 512, true);
	assert_int_equal(block_write(b, offset, data, len, &err), 0);
}

#endif
