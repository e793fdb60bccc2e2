/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What every kind of store must do, for the unit tests: include after cmocka, run all three over an empty store. */
#ifndef STORE_TEST_CONTRACT_H
#define STORE_TEST_CONTRACT_H

#include <string.h>

#include "store/store.h"

static inline int count_entry(void *cookie, const char *key, uint64_t size)
{
	(void)key;
	*(uint64_t *)cookie += 1000000 + size;
	return 0;
}

static inline int stop_at_first(void *cookie, const char *key, uint64_t size)
{
	(void)key, (void)size;
	++*(int *)cookie;
	return 42;
}

static inline int remove_listed(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	struct store *s = cookie;
	return s->ops->remove(s, key, NULL);
}

static inline uint64_t listed(struct store *s, const char *prefix)
{
	uint64_t sum = 0;
	struct error err;
	if (s->ops->list(s, prefix, count_entry, &sum, &err) != 0)
		fail_msg("%s", err.text);
	return sum;
}

static inline void expect_contract(struct store *s)
{
	struct error err;
	assert_int_equal(store_write(s, "twofold", "header", 6, &err), 0);
	assert_int_equal(store_write(s, "packs/3f/3f01", "0123456789", 10, &err), 0);
	assert_int_equal(store_write(s, "packs/40/4001", "", 0, &err), 0);

	char piece[8] = "";
	assert_int_equal(s->ops->get(s, "packs/3f/3f01", 3, piece, 4, &err), 0);
	assert_string_equal(piece, "3456");
	assert_int_equal(s->ops->get(s, "packs/3f/3f01", 7, piece, 4, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(s->ops->get(s, "packs/3f/3f01", UINT64_MAX, piece, 1, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(s->ops->get(s, "packs/3f/3f01", 10, NULL, 0, &err), 0);
	assert_int_equal(s->ops->get(s, "packs/3f/3f02", 0, piece, 1, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);

	bool found;
	uint64_t size;
	assert_int_equal(s->ops->stat(s, "packs/3f/3f01", &found, &size, &err), 0);
	assert_true(found && size == 10);
	assert_int_equal(s->ops->stat(s, "packs/41/4101", &found, &size, &err), 0);
	assert_false(found);

	assert_int_equal(store_write(s, "twofold", "other", 5, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	CLEAN_BUF struct buf whole = BUF_INIT;
	assert_int_equal(store_read(s, "twofold", 6, &whole, &err), 0);
	assert_int_equal(whole.len, 6);
	assert_memory_equal(whole.data, "header", 6);
	assert_int_equal(store_read(s, "twofold", 5, &whole, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(whole.len, 6);
	assert_int_equal(store_read(s, "keys/1", 5, &whole, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);

	assert_int_equal(listed(s, ""), 3000016);
	assert_int_equal(listed(s, "packs/"), 2000010);
	assert_int_equal(listed(s, "packs/3f/"), 1000010);
	assert_int_equal(listed(s, "nothing/"), 0);
	int calls = 0;
	assert_int_equal(s->ops->list(s, "packs/", stop_at_first, &calls, &err), 42);
	assert_int_equal(calls, 1);

	if (!s->ops->replace)
		return;
	assert_int_equal(store_replace(s, "twofold", "Header", 6, &err), 0);
	assert_int_equal(store_replace(s, "twofold", "Header", 6, &err), 0);
	buf_clear(&whole);
	assert_int_equal(store_read(s, "twofold", 6, &whole, &err), 0);
	assert_int_equal(whole.len, 6);
	assert_memory_equal(whole.data, "Header", 6);
	assert_int_equal(listed(s, ""), 3000016);
	assert_int_equal(store_write(s, "twofold", "other", 5, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
}

static inline void expect_atomic(struct store *s)
{
	struct error err;
	struct store_put *put;
	assert_int_equal(s->ops->put_begin(s, "index/1", 0, &put, &err), 0);
	assert_int_equal(s->ops->put_append(put, "half", 4, &err), 0);
	bool found;
	uint64_t size, before = listed(s, "");
	assert_int_equal(s->ops->stat(s, "index/1", &found, &size, &err), 0);
	assert_false(found);
	s->ops->put_abort(put);
	assert_int_equal(listed(s, ""), before);
	assert_int_equal(store_write(s, "index/1", "whole", 5, &err), 0);

	assert_int_equal(s->ops->remove(s, "index/1", &err), 0);
	assert_int_equal(s->ops->remove(s, "index/1", &err), 0);
	char c;
	assert_int_equal(s->ops->get(s, "index/1", 0, &c, 1, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(s->ops->list(s, "", remove_listed, s, &err), 0);
	assert_int_equal(listed(s, ""), 0);
}

static inline void expect_keys_checked(struct store *s)
{
	static const char *const bad[] = { "", "/", "/a", "a/", "a//b", "..", "a/../b", ".", "a/.b", "A", "a b", "a\n", "\xc3\xa4",
		                           "../../etc/passwd" };
	struct error err;
	struct store_put *put;
	bool found;
	uint64_t size;
	char long_key[300];
	memset(long_key, 'a', sizeof long_key - 1);
	long_key[sizeof long_key - 1] = 0;
	for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
		const char *key = i < sizeof bad / sizeof *bad ? bad[i] : long_key;
		assert_int_equal(s->ops->put_begin(s, key, 0, &put, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_int_equal(s->ops->get(s, key, 0, &size, 1, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_int_equal(s->ops->stat(s, key, &found, &size, &err), -1);
		assert_int_equal(s->ops->remove(s, key, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
		if (*key && strcmp(key, "a/") != 0)
			assert_int_equal(s->ops->list(s, key, count_entry, &size, &err), -1);
	}
}

#endif
