/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A prune that runs through, in the middle of a check, at each of its calls to the store: nothing is damaged, and nothing may be called so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/check.h"
#include "repo/collect.h"
#include "repo/test_snapshot.h"
#include "store/chaos.h"

#define SIZE (1u << 20)

static struct test_repo t;
static uint64_t at;            /* the call before which the prune runs */
static _Atomic uint64_t calls; /* of any thread */
static _Atomic bool pruned;

static void make(uint8_t *data)
{
	test_repo_make(&t);
	for (int64_t i = 0; i < 2; i++) {
		test_begin(&t);
		/* The second has half of the first; its own half of the trees. */
		struct node nodes[2] = { test_file(&t, "a", data, SIZE, 100000, true), test_file(&t, "b", data + SIZE + i * 1000, SIZE / 2, 50000, true) };
		struct snapshot s = { .kind = SNAPSHOT_FILES, .tree = test_tree(&t, nodes, i ? 1 : 2) };
		if (i)
			node_done(&nodes[1]);
		struct id id = test_commit(&t, &s, 1000 + i);
		if (!i)
			continue;
		struct snapshot_list list = { 0 };
		TEST_OK(repo_snapshots(t.repo, &list, &err));
		for (size_t k = 0; k < list.count; k++)
			if (!id_equal(&list.items[k].id, &id))
				TEST_OK(repo_snapshot_forget(t.repo, &list.items[k].id, &err));
		snapshot_list_done(&list);
	}
}

static void prune(void)
{
	struct repo *repo;
	const struct collect_options options = { .max_repack = UINT64_MAX, .fence_seconds = 86400, .threads = 1, .level = 1, .host = "host" };
	struct collect_report report;
	TEST_OK(repo_open(&repo, t.location, &test_secret, NULL, &err));
	TEST_OK(repo_load_index(repo, &err));
	TEST_OK(repo_collect(repo, &options, &report, &err));
	repo_free(repo);
	assert_true(report.deleted_packs > 0);
	pruned = true;
}

static bool gate(void *cookie, enum fault_call call, const char *key)
{
	(void)cookie, (void)call, (void)key;
	if (++calls == at)
		prune();
	return true;
}

static void damaged(void *cookie, const char *object, const char *what)
{
	(void)cookie;
	print_error("call %llu: %s: %s\n", (unsigned long long)at, object, what);
}

static void hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	(void)snapshot, (void)path_len;
	damaged(cookie, path ? path : area, what);
}

static void check_once(struct check_report *report)
{
	struct chaos chaos = { .gate = gate };
	struct store *store;
	struct repo *repo;
	const struct check_options options = { .read_data = true, .threads = 1 };
	const struct check_sink sink = { .damaged = damaged, .hit = hit };
	calls = 0;
	TEST_OK(store_open(&store, t.location, STORE_MUST_EXIST, &err));
	TEST_OK(store_open_chaos(&store, store, &chaos, &err));
	TEST_OK(repo_open_store(&repo, store, &test_secret, NULL, &err));
	TEST_OK(repo_check(repo, &options, &sink, report, &err));
	repo_free(repo);
}

static void a_prune_at_any_call_is_no_damage(void **state)
{
	(void)state;
	static uint8_t data[2 * SIZE];
	test_fill(data, sizeof data, 3);
	pruned = true;
	/* The calls are much alike in between. */
	for (at = 1; pruned; at += at < 8 ? 1 : 3) {
		struct check_report report = { 0 };
		pruned = false;
		make(data);
		check_once(&report);
		assert_int_equal(report.damaged, 0);
		assert_int_equal(report.hits, 0);
		assert_true(report.packs_read <= report.packs);
		test_repo_done(&t);
	}
	assert_true(at > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_prune_at_any_call_is_no_damage) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
