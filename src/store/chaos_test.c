/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stores that other tests lean on: a journal that many share, and chaos that is the same for the same seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/chaos.h"
#include "store/journal.h"

static struct journal *journal;
static struct error err;

static int setup(void **state)
{
	(void)state;
	return journal_new(&journal, &err);
}

static int teardown(void **state)
{
	(void)state;
	journal_free(journal);
	return 0;
}

static struct store *open_one(struct chaos *chaos)
{
	struct store *s = NULL;
	assert_int_equal(store_open_journal(&s, journal, &err), 0);
	if (chaos)
		assert_int_equal(store_open_chaos(&s, s, chaos, &err), 0);
	return s;
}

static int note_key(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	buf_add(cookie, key, strlen(key));
	buf_add(cookie, " ", 1);
	return 0;
}

static bool lists(struct store *s, const char *prefix, const char *want)
{
	CLEAN_BUF struct buf keys = BUF_INIT;
	assert_int_equal(s->ops->list(s, prefix, note_key, &keys, &err), 0);
	buf_add(&keys, "", 1);
	if (strcmp((char *)keys.data, want) == 0)
		return true;
	print_message("listed: %s\n", (char *)keys.data);
	return false;
}

static void a_journal_is_shared_and_copied(void **state)
{
	(void)state;
	CLEAN_STORE struct store *a = open_one(NULL), *b = open_one(NULL);
	char bytes[3];
	assert_int_equal(store_write(a, "keys/1", "abc", 3, &err), 0);
	assert_int_equal(store_write(b, "keys/1", "xyz", 3, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(b->ops->get(b, "keys/1", 0, bytes, 3, &err), 0);
	assert_memory_equal(bytes, "abc", 3);
	assert_int_equal(store_write(b, "packs/00/2", "12345", 5, &err), 0);
	assert_true(lists(a, "", "keys/1 packs/00/2 "));
	assert_true(lists(a, "packs/", "packs/00/2 "));
	assert_int_equal(journal_written(journal, "packs/"), 5);

	CLEAN(journal_cleanup) struct journal *copy = NULL;
	assert_int_equal(journal_copy(&copy, journal, &err), 0);
	assert_int_equal(journal_calls(copy), 0);
	assert_int_equal(journal_damage(copy, "keys/1", 1, false, &err), 0);
	struct store *c;
	assert_int_equal(store_open_journal(&c, copy, &err), 0);
	assert_int_equal(c->ops->get(c, "keys/1", 0, bytes, 3, &err), 0);
	assert_memory_equal(bytes, "aBc", 3);
	assert_int_equal(c->ops->remove(c, "packs/00/2", &err), 0);
	assert_true(lists(c, "", "keys/1 "));
	store_close(c);
	assert_true(lists(a, "", "keys/1 packs/00/2 "));
	assert_int_equal(a->ops->get(a, "keys/1", 0, bytes, 3, &err), 0);
	assert_memory_equal(bytes, "abc", 3);
	assert_int_equal(journal_objects(journal, "packs/"), 1);
	assert_int_equal(journal_call(journal, 0)->op, JOURNAL_BEGIN);
	assert_string_equal(journal_call(journal, 0)->key, "keys/1");
}

/* Each moment of each call of one write: what is left, and that the dead stay dead. */
static void death_at_each_call(void **state)
{
	(void)state;
	for (uint64_t at = 1; at <= 3; at++)
		for (int moment = CHAOS_BEFORE; moment <= CHAOS_AFTER; moment++) {
			struct chaos chaos = { .strike = { at, (enum chaos_moment)moment, CHAOS_DEAD, 0 } };
			char key[16];
			snprintf(key, sizeof key, "k/%u%d", (unsigned)at, moment);
			CLEAN_STORE struct store *s = open_one(&chaos);
			int wrote = store_write(s, key, "abcd", 4, &err);
			bool there = at == 3 && moment != CHAOS_BEFORE;
			assert_int_equal(wrote, at == 3 && moment == CHAOS_AFTER ? 0 : -1);
			assert_true(chaos.dead);
			assert_int_equal(store_write(s, "k/other", "x", 1, &err), -1);
			assert_int_equal(err.sys, ESHUTDOWN);
			CLEAN_STORE struct store *fine = open_one(NULL);
			CLEAN_BUF struct buf whole = BUF_INIT;
			assert_int_equal(store_read(fine, key, 100, &whole, NULL), there ? 0 : -1);
			assert_int_equal(whole.len, there ? 4 : 0);
		}
}

static void a_full_disk_still_reads_and_removes(void **state)
{
	(void)state;
	struct chaos chaos = { .strike = { 5, CHAOS_MIDDLE, CHAOS_FULL, ENOSPC } };
	CLEAN_STORE struct store *s = open_one(&chaos);
	char c;
	assert_int_equal(store_write(s, "k/1", "1", 1, &err), 0);
	assert_int_equal(store_write(s, "k/2", "2", 1, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	assert_int_equal(s->ops->get(s, "k/1", 0, &c, 1, &err), 0);
	assert_int_equal(store_write(s, "k/3", "3", 1, &err), -1);
	assert_int_equal(s->ops->remove(s, "k/1", &err), 0);
	assert_true(lists(s, "", ""));
}

/* Many calls under every kind of trouble; what is told twice for one seed must be the same. */
static uint64_t trouble(uint64_t seed, unsigned *ret_failures)
{
	struct chaos chaos = { .seed = seed, .fail = 50, .tear = 50, .lose = 100, .repeat = 200, .delay = 10, .delay_us = 20, .shuffle = true };
	struct store *s = open_one(&chaos);
	uint64_t sum = 0;
	*ret_failures = 0;
	for (unsigned i = 0; i < 300; i++) {
		char key[32], back[8];
		snprintf(key, sizeof key, "k%llu/%u", (unsigned long long)(seed % 7), i % 40);
		bool failed;
		if (i % 3 == 0)
			failed = s->ops->remove(s, key, NULL) < 0;
		else if (i % 3 == 1)
			failed = store_write(s, key, key, 4, NULL) < 0;
		else
			failed = s->ops->get(s, key, 0, back, 4, NULL) < 0;
		*ret_failures += failed;
		sum = sum * 31 + failed;
	}
	CLEAN_BUF struct buf keys = BUF_INIT;
	s->ops->list(s, "", note_key, &keys, NULL);
	for (size_t i = 0; i < keys.len; i++)
		sum = sum * 31 + keys.data[i];
	store_close(s);
	return sum;
}

static void the_same_seed_does_the_same(void **state)
{
	(void)state;
	unsigned failures, again;
	uint64_t first = trouble(7, &failures);
	journal_free(journal);
	assert_int_equal(journal_new(&journal, &err), 0);
	assert_true(trouble(7, &again) == first);
	assert_int_equal(again, failures);
	assert_in_range(failures, 20, 250);
	journal_free(journal);
	assert_int_equal(journal_new(&journal, &err), 0);
	assert_true(trouble(14, &again) != first);
}

/* A lost acknowledgement leaves the object, a torn write leaves none; sent twice it is what it was. */
static void losses_and_repetitions(void **state)
{
	(void)state;
	struct chaos lose = { .lose = 1000 }, tear = { .tear = 1000 }, repeat = { .repeat = 1000 };
	struct store *s = open_one(&lose);
	assert_int_equal(store_write(s, "k/lost", "1", 1, &err), -1);
	store_close(s);
	s = open_one(&tear);
	assert_int_equal(store_write(s, "k/torn", "12", 2, &err), -1);
	store_close(s);
	s = open_one(&repeat);
	assert_int_equal(store_write(s, "k/twice", "12", 2, &err), 0);
	assert_int_equal(s->ops->remove(s, "k/nothing", &err), 0);
	assert_true(lists(s, "", "k/lost k/twice "));
	store_close(s);
	size_t commits = 0;
	for (size_t i = 0; i < journal_calls(journal); i++)
		commits += journal_call(journal, i)->op == JOURNAL_COMMIT && strcmp(journal_call(journal, i)->key, "k/twice") == 0;
	assert_int_equal(commits, 2);
}

static void listings_that_are_behind(void **state)
{
	(void)state;
	struct chaos_lag *lag;
	assert_int_equal(chaos_lag_new(&lag, 1, 100, &err), 0);
	struct chaos one = { .lag = lag }, two = { .lag = lag };
	CLEAN_STORE struct store *a = open_one(&one), *b = open_one(&two), *truth = open_one(NULL);
	unsigned behind = 0;
	for (unsigned i = 0; i < 30; i++) {
		char key[16];
		snprintf(key, sizeof key, "k/%02u", i);
		assert_int_equal(store_write(a, key, "x", 1, &err), 0);
		if (i >= 5) {
			snprintf(key, sizeof key, "k/%02u", i - 5);
			assert_int_equal(a->ops->remove(a, key, &err), 0);
		}
		CLEAN_BUF struct buf seen = BUF_INIT, is = BUF_INIT;
		assert_int_equal(b->ops->list(b, "k/", note_key, &seen, &err), 0);
		assert_int_equal(truth->ops->list(truth, "k/", note_key, &is, &err), 0);
		behind += seen.len != is.len || memcmp(seen.data, is.data, is.len) != 0;
	}
	assert_true(behind > 5);
	assert_int_equal(b->promises.list_lag, 1);
	usleep(101000);
	assert_true(lists(b, "k/", "k/25 k/26 k/27 k/28 k/29 "));
	chaos_lag_free(lag);
}

static bool gate_three(void *cookie, enum fault_call call, const char *key)
{
	(void)call;
	(void)key;
	return ++*(unsigned *)cookie <= 3;
}

static void a_gate_kills(void **state)
{
	(void)state;
	unsigned passed = 0;
	struct chaos chaos = { .gate = gate_three, .cookie = &passed };
	CLEAN_STORE struct store *s = open_one(&chaos);
	assert_int_equal(store_write(s, "k/1", "1", 1, &err), 0);
	assert_false(chaos.dead);
	assert_int_equal(store_write(s, "k/2", "1", 1, &err), -1);
	assert_true(chaos.dead);
	assert_int_equal(chaos.calls, 4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_journal_is_shared_and_copied), TEST(death_at_each_call), TEST(a_full_disk_still_reads_and_removes), TEST(the_same_seed_does_the_same),
		TEST(losses_and_repetitions), TEST(listings_that_are_behind), TEST(a_gate_kills),
	};
	return cmocka_run_group_tests_name("store-chaos", tests, NULL, NULL);
}
