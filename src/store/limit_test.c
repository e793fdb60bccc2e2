/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rates by a clock of the test's own: nothing here waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "store/limit.h"

#define SECOND 1000000000u

struct fake {
	pthread_mutex_t lock;
	uint64_t now, longest;
	atomic_bool *stop_at_pause;
};

static uint64_t fake_now(void *cookie)
{
	struct fake *f = cookie;
	pthread_mutex_lock(&f->lock);
	uint64_t now = f->now;
	pthread_mutex_unlock(&f->lock);
	return now;
}

static void fake_pause(void *cookie, uint64_t nanoseconds)
{
	struct fake *f = cookie;
	pthread_mutex_lock(&f->lock);
	f->now += nanoseconds;
	if (nanoseconds > f->longest)
		f->longest = nanoseconds;
	pthread_mutex_unlock(&f->lock);
	if (f->stop_at_pause)
		atomic_store(f->stop_at_pause, true);
}

static struct fake *fake_new(struct rate *r, uint64_t bytes_per_second)
{
	struct fake *f = calloc(1, sizeof *f);
	assert_non_null(f);
	pthread_mutex_init(&f->lock, NULL);
	f->now = 1000ull * SECOND;
	rate_init(r, bytes_per_second, &(struct rate_clock){ fake_now, fake_pause, f });
	return f;
}

static void fake_free(struct fake *f, struct rate *r)
{
	rate_done(r);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static void takes_as_long_as_it_must(void **state)
{
	(void)state;
	struct rate r;
	struct fake *f = fake_new(&r, 10000);
	uint64_t start = f->now;
	for (int i = 0; i < 100; i++)
		assert_int_equal(rate_take(&r, 1000, NULL, NULL), 0);
	uint64_t took = f->now - start;
	assert_true(took >= 10ull * SECOND - RATE_BURST && took <= 10ull * SECOND);
	/* Evenly: no pause is long. */
	assert_true(f->longest <= SECOND / 10);
	fake_free(f, &r);
}

static void idle_time_is_not_saved(void **state)
{
	(void)state;
	struct rate r;
	struct fake *f = fake_new(&r, 1000);
	assert_int_equal(rate_take(&r, 1000, NULL, NULL), 0);
	f->now += 3600ull * SECOND;
	uint64_t start = f->now;
	assert_int_equal(rate_take(&r, 5000, NULL, NULL), 0);
	assert_true(f->now - start >= 5ull * SECOND - RATE_BURST);
	fake_free(f, &r);
}

static void no_limit_is_none(void **state)
{
	(void)state;
	struct rate r;
	struct fake *f = fake_new(&r, 0);
	uint64_t start = f->now;
	assert_int_equal(rate_take(&r, UINT64_MAX, NULL, NULL), 0);
	assert_int_equal(rate_take(NULL, 1000, NULL, NULL), 0);
	assert_int_equal(f->now, start);
	assert_int_equal(rate_step(&r, 777), 777);
	fake_free(f, &r);
}

static void steps_are_small_but_not_tiny(void **state)
{
	(void)state;
	struct rate r = { .bytes_per_second = RATE_LEAST };
	assert_int_equal(rate_step(&r, 1), 4096);
	r.bytes_per_second = 1u << 20;
	assert_int_equal(rate_step(&r, 1), 65536);
	r.bytes_per_second = UINT64_MAX;
	assert_int_equal(rate_step(&r, 1), 1u << 20);
}

static void a_stop_ends_the_wait(void **state)
{
	(void)state;
	struct rate r;
	struct fake *f = fake_new(&r, 1024);
	atomic_bool stop = false;
	struct store_watch watch = { .stop = &stop };
	struct error err = { 0 };
	uint64_t start = f->now;
	f->stop_at_pause = &stop;
	assert_int_equal(rate_take(&r, 1u << 30, &watch, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_true(f->now - start < SECOND);
	fake_free(f, &r);
}

static void *take_a_tenth(void *arg)
{
	for (int i = 0; i < 100; i++)
		rate_take(arg, 100, NULL, NULL);
	return NULL;
}

static void threads_share_it(void **state)
{
	(void)state;
	struct rate r;
	struct fake *f = fake_new(&r, 10000);
	uint64_t start = f->now;
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_a_tenth, &r), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(f->now - start >= 4ull * SECOND - RATE_BURST);
	fake_free(f, &r);
}

static int count_key(void *cookie, const char *key, uint64_t size)
{
	(void)key;
	(void)size;
	++*(unsigned *)cookie;
	return 0;
}

static void a_store_within_a_limit(void **state)
{
	(void)state;
	struct store_rates rates;
	struct fake *up = fake_new(&rates.up, 100000), *down = fake_new(&rates.down, 50000);
	struct error err = { 0 };
	CLEAN_STORE struct store *s = NULL;
	CLEAN_BUF struct buf back = BUF_INIT;
	static uint8_t bytes[300000];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(store_open_memory(&s, &err), 0);
	assert_int_equal(store_limit(&s, &rates, &err), 0);
	uint64_t start = up->now, start_down = down->now;
	assert_int_equal(store_write(s, "a/b", bytes, sizeof bytes, &err), 0);
	assert_true(up->now - start >= 3ull * SECOND - RATE_BURST && up->now - start <= 3ull * SECOND);
	assert_int_equal(down->now, start_down);
	assert_int_equal(store_read(s, "a/b", sizeof bytes, &back, &err), 0);
	assert_true(down->now - start_down >= 6ull * SECOND - RATE_BURST && down->now - start_down <= 6ull * SECOND);
	assert_int_equal(back.len, sizeof bytes);
	assert_memory_equal(back.data, bytes, sizeof bytes);
	/* What is there stays, an empty one too; all else goes through. */
	assert_int_equal(store_write(s, "a/b", bytes, 3, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(store_write(s, "a/empty", "", 0, &err), 0);
	assert_int_equal(s->ops->get(s, "a/none", 0, bytes, 0, &err), -1);
	unsigned count = 0;
	assert_int_equal(s->ops->list(s, "", count_key, &count, &err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(s->ops->remove(s, "a/b", &err), 0);
	uint64_t removed = 1;
	assert_int_equal(s->ops->sweep(s, 0, &removed, &err), 0);
	assert_int_equal(removed, 0);
	store_close(TAKE(s));
	fake_free(up, &rates.up);
	fake_free(down, &rates.down);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_as_long_as_it_must), cmocka_unit_test(idle_time_is_not_saved), cmocka_unit_test(no_limit_is_none),
		cmocka_unit_test(steps_are_small_but_not_tiny), cmocka_unit_test(a_stop_ends_the_wait), cmocka_unit_test(threads_share_it),
		cmocka_unit_test(a_store_within_a_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
