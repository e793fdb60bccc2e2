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
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "repo/id_table.h"

#define MANY 10000u

static char folder[] = "/tmp/twofold-id-table-XXXXXX";
static char path[100];
static struct seal_keys *keys;

static int setup(void **state)
{
	(void)state;
	static const uint8_t master[SEAL_KEY_SIZE] = { 1 };
	const struct id id = { { 2 } };
	if (!mkdtemp(folder) || seal_init(NULL) < 0 || seal_keys_open(&keys, master, 1, &id, NULL) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/table", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	seal_keys_free(keys);
	unlink(path);
	return rmdir(folder);
}

static struct id number(uint32_t n, uint32_t salt)
{
	struct id id;
	uint8_t bytes[8];
	put_le32(bytes, n);
	put_le32(bytes + 4, salt);
	seal_chunk_id(keys, CHUNK_DATA, bytes, sizeof bytes, &id);
	return id;
}

static struct id_table *open_table(uint64_t max)
{
	struct id_table *t = NULL;
	struct error err = { 0 };
	if (id_table_open(&t, path, keys, max, &err) < 0)
		fail_msg("%s", err.text);
	return t;
}

static void fill(struct id_table *t)
{
	for (uint32_t i = 0; i < MANY; i++) {
		struct id from = number(i, 1), to = number(i, 2);
		assert_int_equal(id_table_set(t, &from, &to, NULL), 0);
	}
}

/* How many are found; what is found must be right. */
static uint32_t count(struct id_table *t)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < MANY; i++) {
		struct id from = number(i, 1), to = number(i, 2), got;
		bool found;
		assert_int_equal(id_table_find(t, &from, &found, &got, NULL), 0);
		if (!found)
			continue;
		assert_true(id_equal(&got, &to));
		n++;
	}
	return n;
}

static void comes_back(void **state)
{
	(void)state;
	struct id_table *t = open_table(MANY);
	struct id other = number(MANY, 1), got;
	bool found;
	fill(t);
	assert_int_equal(count(t), MANY);
	assert_int_equal(id_table_find(t, &other, &found, &got, NULL), 0);
	assert_false(found);
	id_table_free(t);
	t = open_table(MANY);
	assert_int_equal(count(t), MANY);
	/* Replaced, not doubled. */
	struct id from = number(7, 1), to = number(8, 2);
	assert_int_equal(id_table_set(t, &from, &to, NULL), 0);
	assert_int_equal(id_table_find(t, &from, &found, &got, NULL), 0);
	assert_true(found && id_equal(&got, &to));
	id_table_free(t);
	/* Too many: begun anew. */
	t = open_table(MANY - 1);
	assert_int_equal(count(t), 0);
	id_table_free(t);
}

/* Bytes changed anywhere cost entries, and never give a wrong one; full of rubbish it still works. */
static void damage_gives_nothing_wrong(void **state)
{
	(void)state;
	struct stat st;
	struct id_table *t = open_table(2 * MANY);
	fill(t);
	id_table_free(t);
	assert_int_equal(stat(path, &st), 0);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t b;
	for (off_t at = 64; at < st.st_size; at += 977) {
		assert_int_equal(pread(fd, &b, 1, at), 1);
		b ^= 0x5a;
		assert_int_equal(pwrite(fd, &b, 1, at), 1);
	}
	t = open_table(4 * MANY);
	uint32_t left = count(t);
	assert_true(left > MANY / 2 && left < MANY);
	fill(t);
	assert_int_equal(count(t), MANY);
	id_table_free(t);
	close(fd);
	assert_int_equal(stat(path, &st), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (off_t at = 64; at < st.st_size; at += 36)
		assert_int_equal(pwrite(fd, "rubbish", 7, at), 7);
	close(fd);
	t = open_table(UINT64_MAX);
	assert_int_equal(count(t), 0);
	fill(t);
	assert_int_equal(count(t), MANY);
	id_table_free(t);
	for (off_t len = 200; len >= 0; len -= 10) {
		assert_int_equal(truncate(path, len), 0);
		t = open_table(MANY);
		assert_int_equal(count(t), 0);
		id_table_free(t);
	}
}

static void works_without_a_name(void **state)
{
	(void)state;
	struct id_table *t = NULL;
	assert_int_equal(id_table_open(&t, NULL, keys, 0, NULL), 0);
	fill(t);
	assert_int_equal(count(t), MANY);
	id_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(damage_gives_nothing_wrong),
		cmocka_unit_test(works_without_a_name),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
