/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>

#include "task/pool.h"

struct sum {
	atomic_uint total, in_slot[8], skipped;
	unsigned depth;
};

static int add_one(const struct task_context *ctx, void *arg, struct error *err)
{
	(void)err;
	struct sum *sum = arg;
	if (ctx->cancelled) {
		atomic_fetch_add(&sum->skipped, 1);
		return 0;
	}
	atomic_fetch_add(&sum->in_slot[ctx->slot], 1);
	atomic_fetch_add(&sum->total, 1);
	return 0;
}

static int add_ten(const struct task_context *ctx, void *arg, struct error *err)
{
	(void)err;
	for (int i = 0; i < 10; i++)
		pool_submit(ctx->pool, POOL_FINISH, ctx->slot, add_one, arg);
	return 0;
}

static int break_down(const struct task_context *ctx, void *arg, struct error *err)
{
	(void)ctx;
	(void)arg;
	return error_set(err, ERR_IO, "broken on purpose");
}

static int break_silently(const struct task_context *ctx, void *arg, struct error *err)
{
	(void)ctx;
	(void)arg;
	(void)err;
	return -1;
}

static void every_task_runs_once(void **state)
{
	(void)state;
	struct pool *pool = NULL;
	struct sum sum = { 0 };
	assert_int_equal(pool_new(&pool, 3, 1, (unsigned[]){ 2, 4, 0 }, NULL), 0);
	assert_int_equal(pool_slots(pool), 4);
	for (int i = 0; i < 1000; i++)
		pool_submit(pool, POOL_SCAN, 3, add_ten, &sum);
	assert_int_equal(pool_wait(pool, NULL), 0);
	assert_int_equal(atomic_load(&sum.total), 10000);
	pool_free(pool);
}

static void first_error_cancels(void **state)
{
	(void)state;
	struct pool *pool = NULL;
	struct sum sum = { 0 };
	struct error err = { 0 };
	assert_int_equal(pool_new(&pool, 2, 1, (unsigned[]){ 0, 0, 0 }, NULL), 0);
	pool_submit(pool, POOL_FINISH, 2, break_down, NULL);
	assert_int_equal(pool_wait(pool, &err), -1);
	assert_int_equal(err.kind, ERR_IO);
	pool_submit(pool, POOL_FINISH, 2, add_one, &sum);
	assert_int_equal(pool_wait(pool, &err), -1);
	assert_int_equal(atomic_load(&sum.skipped), 1);
	assert_int_equal(atomic_load(&sum.total), 0);
	pool_free(pool);
}

static void a_silent_failure_is_one(void **state)
{
	(void)state;
	struct pool *pool = NULL;
	struct error err = { 0 };
	assert_int_equal(pool_new(&pool, 2, 1, (unsigned[]){ 0, 0, 0 }, NULL), 0);
	pool_submit(pool, POOL_FINISH, 2, break_silently, NULL);
	assert_int_equal(pool_wait(pool, &err), -1);
	assert_int_not_equal(err.kind, ERR_NONE);
	pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_task_runs_once),
		cmocka_unit_test(first_error_cancels),
		cmocka_unit_test(a_silent_failure_is_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
