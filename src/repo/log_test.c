/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The log through its header, on a repository in a folder; a machine is an open repository with a cache of its own. */
#include "repo/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "repo/format/log.h"
#include "repo/marks.h"
#include "repo/object.h"
#include "repo/test_snapshot.h"

static struct test_repo t;

static int start(void **state)
{
	(void)state;
	test_repo_make(&t);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	test_repo_done(&t);
	return 0;
}

static struct repo *machine(const char *name)
{
	char cache[128];
	struct repo *r = NULL;
	snprintf(cache, sizeof cache, "%s/%s", t.root, name);
	mkdir(cache, 0700);
	TEST_OK(repo_open(&r, t.location, &test_secret, cache, &err));
	return r;
}

/* A snapshot object that the log is told of: what it holds is nothing to the log. */
static struct id add(struct repo *r)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	struct id id;
	seal_random(id.b, ID_SIZE);
	buf_add(&payload, id.b, ID_SIZE);
	TEST_OK(object_write(r->store, r->keys, SEAL_SNAPSHOT, &id, &id, payload.data, payload.len, &err));
	TEST_OK(repo_log_append(r, &id, &id, &payload, &err));
	return id;
}

static struct repo_log read_log(struct repo *r)
{
	struct repo_log l = { 0 };
	TEST_OK(repo_log_read(r, &l, &err));
	return l;
}

static struct log_findings compare(struct repo *r)
{
	struct log_findings f = { 0 };
	TEST_OK(repo_log_compare(r, &f, &err));
	return f;
}

static bool is_clean(struct repo *r)
{
	struct log_findings f = compare(r);
	bool clean = !f.vanished.len && !f.returned.len && !f.unlogged.len && !f.missing.len && !f.lost.len && !f.damaged && !f.older_keys;
	log_findings_done(&f);
	return clean;
}

/* Two that do not know of each other make two heads, which the next one joins. */
static void writers_at_the_same_time(void **state)
{
	(void)state;
	struct repo *a = machine("a"), *b = machine("b");
	add(a);
	struct id other = add(b);
	add(a);
	add(b);
	struct repo_log l = read_log(a);
	assert_int_equal(l.heads.len / ID_SIZE, 2);
	assert_int_equal(l.added.len / LOG_ADDED_SIZE, 4);
	repo_log_done(&l);
	assert_true(is_clean(a));
	assert_true(is_clean(b));
	struct repo *c = machine("c");
	add(c);
	l = read_log(c);
	assert_int_equal(l.heads.len / ID_SIZE, 1);
	repo_log_done(&l);
	TEST_OK(repo_snapshot_forget(b, &other, &err));
	assert_true(is_clean(a));
	assert_true(is_clean(c));
	repo_free(a);
	repo_free(b);
	repo_free(c);
}

/* Many entries become one; what was forgotten stays forgotten, and who saw the old ones misses nothing. */
static void many_entries_are_gathered(void **state)
{
	(void)state;
	struct repo *a = machine("a"), *watcher = machine("w");
	struct id first = add(a), last = first;
	assert_true(is_clean(watcher));
	TEST_OK(repo_snapshot_forget(a, &first, &err));
	for (int i = 0; i < 150; i++)
		last = add(a);
	struct repo_log l = read_log(watcher);
	assert_true(l.entries.len / ID_SIZE < 66);
	assert_int_equal(l.added.len / LOG_ADDED_SIZE, 150);
	assert_true(ids_have(&l.forgotten, &first));
	assert_non_null(repo_log_hash(&l, &last));
	repo_log_done(&l);
	assert_true(is_clean(watcher));
	repo_free(a);
	repo_free(watcher);
}

/* What cannot be deleted stays, counts as replaced, and disturbs nothing. */
static void what_was_gathered_may_stay(void **state)
{
	(void)state;
	char command[512];
	struct repo *a = machine("a");
	for (int i = 0; i < 60; i++)
		add(a);
	snprintf(command, sizeof command, "cp -a %s/log %s/kept", t.location, t.root);
	assert_int_equal(system(command), 0);
	for (int i = 0; i < 10; i++)
		add(a);
	snprintf(command, sizeof command, "cp -a %s/kept/. %s/log/", t.root, t.location);
	assert_int_equal(system(command), 0);
	assert_true(is_clean(a));
	struct repo *b = machine("b");
	add(b);
	struct repo_log l = read_log(b);
	assert_true(l.live < 64);
	assert_int_equal(l.heads.len / ID_SIZE, 1);
	repo_log_done(&l);
	repo_free(a);
	repo_free(b);
}

static void a_damaged_entry_is_counted(void **state)
{
	(void)state;
	char command[512];
	struct repo *a = machine("a");
	add(a);
	snprintf(command, sizeof command, "for f in %s/log/*; do truncate -s 300 $f; done", t.location);
	assert_int_equal(system(command), 0);
	struct log_findings f = compare(a);
	assert_int_equal(f.damaged, 1);
	assert_int_equal(f.unlogged.len / ID_SIZE, 1);
	log_findings_done(&f);
	repo_free(a);
}

/* A memory that makes no sense is none. */
static void a_memory_that_makes_no_sense(void **state)
{
	(void)state;
	char command[512];
	struct repo *a = machine("a");
	add(a);
	snprintf(command, sizeof command, "echo rubbish >%s/log-seen", a->cache);
	assert_int_equal(system(command), 0);
	assert_true(is_clean(a));
	snprintf(command, sizeof command, "head -c 40 %s/log-seen >%s/x && mv %s/x %s/log-seen", a->cache, a->cache, a->cache, a->cache);
	assert_int_equal(system(command), 0);
	assert_true(is_clean(a));
	repo_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writers_at_the_same_time, start, stop),
		cmocka_unit_test_setup_teardown(many_entries_are_gathered, start, stop),
		cmocka_unit_test_setup_teardown(what_was_gathered_may_stay, start, stop),
		cmocka_unit_test_setup_teardown(a_damaged_entry_is_counted, start, stop),
		cmocka_unit_test_setup_teardown(a_memory_that_makes_no_sense, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
