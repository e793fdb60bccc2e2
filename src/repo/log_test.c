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
#include "repo/signers.h"
#include "repo/signing.h"
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

/* --- signatures ------------------------------------------------------------------------- */

/* The same with a home of its own, where a signing key can be. */
static struct repo *signing_machine(const char *name)
{
	struct repo *r = machine(name);
	char folder[128], user[64];
	snprintf(folder, sizeof folder, "%s/%s-state", t.root, name);
	snprintf(user, sizeof user, "user@%s", name);
	TEST_OK(repo_sign_by(r, &(struct signing_options){ .folder = folder, .name = user, .make = true }, &err));
	return r;
}

/* A whole snapshot in the name of a host. */
static struct id add_snapshot_of(struct repo *r, char *host)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	struct blob source = { .data = (char[]){ "/x" }, .len = 2 };
	struct snapshot s = { .kind = SNAPSHOT_FILES, .time = time_now(), .host = host, .sources = { &source, 1 } };
	struct id id;
	seal_random(id.b, ID_SIZE);
	s.session = id;
	snapshot_encode(&payload, &s);
	TEST_OK(object_write(r->store, r->keys, SEAL_SNAPSHOT, &id, &id, payload.data, payload.len, &err));
	TEST_OK(repo_log_append(r, &id, &id, &payload, &err));
	return id;
}

static struct signers_judgement judge(struct repo *r, bool accept)
{
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	CLEAN(repo_log_done) struct repo_log l = read_log(r);
	struct signers_judgement j = { 0 };
	TEST_OK(repo_snapshots(r, &list, &err));
	TEST_OK(signers_judge(r, &l, &list, accept, &j, &err));
	return j;
}

static size_t doubts(struct repo *r)
{
	struct signers_judgement j = judge(r, false);
	size_t count = j.count;
	signers_judgement_done(&j);
	return count;
}

/* An entry as somebody makes it who holds the master key and builds it by hand. */
static struct id forge(struct repo *r, const struct id *id, struct log_entry *e)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	e->time = time_now();
	log_entry_encode(&bytes, e);
	TEST_OK(object_write(r->store, r->keys, SEAL_LOG, id, id, bytes.data, bytes.len, &err));
	return *id;
}

static void entries_are_signed_and_chained(void **state)
{
	(void)state;
	struct repo *a = signing_machine("a");
	add_snapshot_of(a, (char[]){ "a" });
	add_snapshot_of(a, (char[]){ "a" });
	struct repo_log l = read_log(a);
	assert_int_equal(l.writing_count, 2);
	assert_true(l.writings[0].fits && l.writings[1].fits);
	assert_int_equal(l.signers.count, 1);
	assert_string_equal(l.signers.items[0].name, "user@a");
	assert_int_equal(l.vouchers.len, 2 * LOG_VOUCHER_SIZE);
	repo_log_done(&l);
	assert_int_equal(doubts(a), 0);
	/* The first one under its id, but another: who names it has its hash. */
	char key[OBJECT_KEY_MAX];
	l = read_log(a);
	struct id replaced = { { 0 } };
	for (size_t i = 0; i < l.writing_count; i++)
		if (!ids_have(&l.heads, &l.writings[i].id))
			replaced = l.writings[i].id;
	repo_log_done(&l);
	object_key(SEAL_LOG, &replaced, key);
	TEST_OK(a->store->ops->remove(a->store, key, &err));
	CLEAN(log_entry_done) struct log_entry e = { .host = strdup("elsewhere") };
	forge(a, &replaced, &e);
	l = read_log(a);
	assert_int_equal(l.changed.len / ID_SIZE, 1);
	assert_memory_equal(l.changed.data, replaced.b, ID_SIZE);
	repo_log_done(&l);
	repo_free(a);
}

/* In the name of this host: not signed; signed by nobody's key; with a signature that was taken from another entry. */
static void forged_entries_are_named(void **state)
{
	(void)state;
	struct repo *a = signing_machine("a"), *thief = machine("thief");
	char host[256] = "";
	gethostname(host, sizeof host - 1);
	add_snapshot_of(a, host);
	assert_int_equal(doubts(a), 0);
	struct id id;
	seal_random(id.b, ID_SIZE);
	CLEAN(log_entry_done) struct log_entry e = { .host = strdup(host) };
	forge(thief, &id, &e);
	struct signers_judgement j = judge(a, false);
	assert_int_equal(j.count, 1);
	assert_true(j.items[0].is_entry && j.items[0].doubt == SIGNERS_NONE);
	assert_memory_equal(j.items[0].id.b, id.b, ID_SIZE);
	assert_string_equal(j.items[0].host, host);
	signers_judgement_done(&j);
	j = judge(a, true);
	signers_judgement_done(&j);
	assert_int_equal(doubts(a), 0);
	/* The bytes of a real signature, for something else. */
	struct repo_log l = read_log(a);
	for (size_t i = 0; i < l.writing_count; i++)
		if (l.writings[i].fits)
			memcpy(e.signer, l.writings[i].key.b, LOG_KEY_SIZE);
	repo_log_done(&l);
	e.is_signed = true;
	seal_random(id.b, ID_SIZE);
	forge(thief, &id, &e);
	j = judge(a, false);
	assert_int_equal(j.count, 1);
	assert_int_equal(j.items[0].doubt, SIGNERS_FALSE);
	signers_judgement_done(&j);
	repo_free(a);
	repo_free(thief);
}

/* Whoever takes a snapshot in, or gathers, vouches for nothing; and the signatures of others come through a gathering. */
static void vouchers_survive_gathering(void **state)
{
	(void)state;
	struct repo *a = signing_machine("a"), *b = signing_machine("b"), *thief = machine("thief");
	struct id last = { { 0 } };
	for (int i = 0; i < 5; i++)
		last = add_snapshot_of(a, (char[]){ "a" });
	assert_int_equal(doubts(b), 0);
	struct id false_one = add_snapshot_of(thief, (char[]){ "a" });
	for (int i = 0; i < 70; i++)
		add_snapshot_of(b, (char[]){ "b" });
	struct repo_log l = read_log(b);
	assert_true(l.entries.len / ID_SIZE < 20);
	assert_int_equal(l.vouchers.len / LOG_VOUCHER_SIZE, 75);
	assert_int_equal(l.signers.count, 2);
	repo_log_done(&l);
	struct signers_judgement j = judge(b, false);
	assert_int_equal(j.count, 1);
	assert_memory_equal(j.items[0].id.b, false_one.b, ID_SIZE);
	assert_string_equal(j.items[0].host, "a");
	signers_judgement_done(&j);
	/* A snapshot that is not what was vouched for. */
	char key[OBJECT_KEY_MAX];
	object_key(SEAL_SNAPSHOT, &last, key);
	CLEAN_BUF struct buf payload = BUF_INIT;
	CLEAN(snapshot_done) struct snapshot s = { 0 };
	TEST_OK(repo_snapshot_read(a, &last, &s, &err));
	s.totals.warnings = 7;
	snapshot_encode(&payload, &s);
	TEST_OK(a->store->ops->remove(a->store, key, &err));
	TEST_OK(object_write(a->store, a->keys, SEAL_SNAPSHOT, &last, &s.session, payload.data, payload.len, &err));
	j = judge(b, false);
	assert_int_equal(j.count, 2);
	assert_true(j.items[0].doubt == SIGNERS_FALSE || j.items[1].doubt == SIGNERS_FALSE);
	signers_judgement_done(&j);
	repo_free(a);
	repo_free(b);
	repo_free(thief);
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
		cmocka_unit_test_setup_teardown(entries_are_signed_and_chained, start, stop),
		cmocka_unit_test_setup_teardown(forged_entries_are_named, start, stop),
		cmocka_unit_test_setup_teardown(vouchers_survive_gathering, start, stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
