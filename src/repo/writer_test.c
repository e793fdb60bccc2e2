/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a writing session leaves behind when the store, or the caller, fails in the middle of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/check.h"
#include "repo/format/pack.h"
#include "repo/test_snapshot.h"

static struct test_repo t;

static int setup(void **state)
{
	(void)state;
	test_repo_make(&t);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_repo_done(&t);
	return 0;
}

static void note_damage(void *cookie, const char *object, const char *what)
{
	snprintf(cookie, 300, "%s: %s", object, what);
}

static void note_hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	(void)snapshot;
	(void)path;
	(void)path_len;
	snprintf(cookie, 300, "hit: %s %s", area ? area : "", what);
}

static struct check_report check_all(void)
{
	char found[300] = "";
	struct check_options options = { .read_data = true, .percent = 100, .threads = 2 };
	struct check_sink sink = { note_damage, note_hit, found };
	struct check_report report;
	TEST_OK(repo_check(t.repo, &options, &sink, &report, &err));
	if (found[0])
		fail_msg("%s", found);
	return report;
}

static int count_object(void *cookie, const char *key, uint64_t size)
{
	(void)key;
	(void)size;
	++*(unsigned *)cookie;
	return 0;
}

static unsigned objects(const char *prefix)
{
	unsigned count = 0;
	TEST_OK(t.repo->store->ops->list(t.repo->store, prefix, count_object, &count, &err));
	return count;
}

/* Millions of tiny files: a pack's table stays within what a reader takes. */
static void tiny_chunks_fill_packs_too(void **state)
{
	(void)state;
	enum { COUNT = 2200000 };
	test_repo_open(&t);
	unsigned segments = objects("index/");
	test_begin(&t);
	for (uint64_t i = 0; i < COUNT; i++)
		test_chunk(&t, &i, sizeof i);
	TEST_OK(writer_flush(t.writer, &err));
	segments = objects("index/") - segments;
	writer_free(t.writer);
	t.writer = NULL;
	assert_in_range(segments, 3, 50);
	test_repo_open(&t);
	check_all();
}

/* The same packs found without their segments: not all in one segment, which could become too long to be read again. */
static void many_leftovers_become_many_segments(void **state)
{
	(void)state;
	char command[600];
	snprintf(command, sizeof command, "rm -r %s/index && mkdir -p %s/sessions && cp %s/twofold %s/sessions/%064d", t.location, t.location, t.location, t.location, 0);
	assert_int_equal(system(command), 0);
	test_repo_open(&t);
	test_begin(&t);
	assert_in_range(objects("index/"), 4, 50);
	writer_free(t.writer);
	t.writer = NULL;
	test_repo_open(&t);
	uint64_t value = 1234567;
	test_begin(&t);
	test_chunk(&t, &value, sizeof value);
	struct writer_stats stats;
	writer_stats(t.writer, &stats);
	assert_int_equal(stats.chunks_known, 1);
	writer_free(t.writer);
	t.writer = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiny_chunks_fill_packs_too),
		cmocka_unit_test(many_leftovers_become_many_segments),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
