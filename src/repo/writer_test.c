/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a writing session leaves behind when the store, or the caller, fails in the middle of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "repo/check.h"
#include "repo/format/pack.h"
#include "repo/test_snapshot.h"
#include "store/fault.h"

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

/* From here on the repository's store fails by plan; test_repo_open gets back to one that does not. Before a session begins: what is open stays with the store before. */
static void plan_faults(struct fault *faults, size_t count)
{
	TEST_OK(store_open_fault(&t.repo->store, t.repo->store, faults, count, &err));
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

/* One write fails and nobody asks how: an interrupted run that keeps what it has. */
static void a_torn_block_is_in_no_pack(void **state)
{
	(void)state;
	static uint8_t data[300 << 10], small[1000];
	struct fault fault = { .call = FAULT_PUT_APPEND, .effect = FAULT_SHORT, .from = 3, .count = 1, .sys = EIO, .prefix = "packs/" };
	test_fill(data, sizeof data, 1);
	test_fill(small, sizeof small, 2);
	plan_faults(&fault, 1); /* a pack's first write is its header */
	test_begin(&t);
	test_chunk(&t, data, sizeof data); /* at once in the pack */
	test_chunk(&t, small, sizeof small); /* stored when the session ends */
	writer_free(t.writer);
	t.writer = NULL;
	test_repo_open(&t);
	assert_true(fault.seen >= 3);
	check_all();
}

/* The disk runs full in the middle: what is whole by then must serve the next run. */
static void whole_packs_survive_a_failure(void **state)
{
	(void)state;
	enum { COUNT = 200, SIZE = 1 << 20 };
	uint8_t *data = malloc(SIZE);
	struct fault full[] = {
		{ .call = FAULT_PUT_APPEND, .effect = FAULT_SHORT, .from = 142, .sys = ENOSPC, .prefix = "packs/" },
		{ .call = FAULT_PUT_BEGIN, .effect = FAULT_FAIL, .sys = ENOSPC, .prefix = "index/" },
	};
	for (int with_index = 0; with_index < 2; with_index++) {
		struct error why = { 0 };
		struct id id;
		struct writer_stats stats;
		unsigned stored = 0;
		test_repo_open(&t);
		full[0].seen = 0;
		plan_faults(full, with_index ? 1 : 2);
		test_begin(&t);
		for (; stored < COUNT; stored++) {
			test_fill(data, SIZE, 1000 * (uint32_t)with_index + stored);
			if (writer_put(t.writer, 0, CHUNK_DATA, data, SIZE, &id, &why) < 0)
				break;
		}
		assert_in_range(stored, 128, COUNT - 1); /* in the fifth pack; the fourth may still wait for its table */
		assert_int_equal(why.kind, ERR_NO_SPACE);
		/* Who goes on all the same is told the reason, not that there was one. */
		struct error again = { 0 };
		assert_int_equal(writer_flush(t.writer, &again), -1);
		assert_int_equal(again.kind, ERR_NO_SPACE);
		writer_free(t.writer);
		t.writer = NULL;
		test_repo_open(&t);
		test_begin(&t);
		for (unsigned i = 0; i < stored; i++) {
			test_fill(data, SIZE, 1000 * (uint32_t)with_index + i);
			test_chunk(&t, data, SIZE);
		}
		writer_stats(t.writer, &stats);
		assert_in_range(stats.chunks_known, 93, COUNT);
		writer_free(t.writer);
		t.writer = NULL;
	}
	free(data);
	test_repo_open(&t);
	check_all();
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
		cmocka_unit_test(a_torn_block_is_in_no_pack),
		cmocka_unit_test(whole_packs_survive_a_failure),
		cmocka_unit_test(tiny_chunks_fill_packs_too),
		cmocka_unit_test(many_leftovers_become_many_segments),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
