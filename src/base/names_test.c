/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>

#include "base/names.h"

static void root_both_ways(void **state)
{
	(void)state;
	CLEAN_NAMES struct names *n = NULL;
	assert_int_equal(names_new(&n, NULL), 0);
	uint32_t id = 7;
	assert_string_equal(names_user(n, 0), "root");
	assert_string_equal(names_group(n, 0), "root");
	assert_true(names_uid(n, "root", &id));
	assert_int_equal(id, 0);
	id = 7;
	assert_true(names_gid(n, "root", &id));
	assert_int_equal(id, 0);
}

static void unknown_stays_unknown(void **state)
{
	(void)state;
	CLEAN_NAMES struct names *n = NULL;
	assert_int_equal(names_new(&n, NULL), 0);
	uint32_t id = 7;
	for (int i = 0; i < 2; i++) {
		assert_null(names_user(n, 3999999999u));
		assert_null(names_group(n, 3999999999u));
		assert_false(names_uid(n, "no such user \xff", &id));
		assert_false(names_gid(n, "", &id));
	}
	assert_int_equal(id, 7);
}

/* The table is bounded whatever a snapshot holds. */
static void many_names(void **state)
{
	(void)state;
	CLEAN_NAMES struct names *n = NULL;
	assert_int_equal(names_new(&n, NULL), 0);
	for (int i = 0; i < 300; i++) {
		char name[32];
		uint32_t id;
		snprintf(name, sizeof name, "nobody-%d", i);
		assert_false(names_uid(n, name, &id));
		assert_null(names_user(n, 4000000000u + (uint32_t)i));
	}
}

static void *ask_often(void *arg)
{
	struct names *n = arg;
	size_t unknown = 0;
	for (uint32_t i = 0; i < 100000; i++)
		unknown += !names_user(n, i % 8 ? 0 : 3000000000u + i % 64) + !names_group(n, 0);
	return (void *)unknown;
}

static void threads_share_it(void **state)
{
	(void)state;
	CLEAN_NAMES struct names *n = NULL;
	assert_int_equal(names_new(&n, NULL), 0);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, n), 0);
	for (int i = 0; i < 4; i++) {
		void *unknown;
		pthread_join(threads[i], &unknown);
		assert_int_equal((size_t)unknown, 12500);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_both_ways),
		cmocka_unit_test(unknown_stays_unknown),
		cmocka_unit_test(many_names),
		cmocka_unit_test(threads_share_it),
	};
	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
