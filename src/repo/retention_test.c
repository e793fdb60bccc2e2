/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "repo/retention.h"

#define MANY 2000

static char nobody[] = "", somebody[] = "h";

struct history {
	struct snapshot snapshots[MANY];
	const struct snapshot *items[MANY];
	struct retention_verdict verdicts[MANY];
	size_t count;
};

static struct history history;

static void begin(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
	history.count = 0;
}

static void at_second(int64_t sec)
{
	history.snapshots[history.count] = (struct snapshot){ .time = { sec, 0 }, .host = somebody };
	history.items[history.count] = &history.snapshots[history.count];
	history.count++;
}

/* "2024-02-29 12:00:00", local time. */
static int64_t local(const char *text)
{
	struct tm tm = { .tm_isdst = -1 };
	assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
	return mktime(&tm);
}

static void at(const char *text)
{
	at_second(local(text));
}

static void judge(const struct retention *r)
{
	struct retention rules = *r;
	if (!rules.now.sec)
		rules.now.sec = INT64_MAX;
	retention_judge(&rules, history.items, history.count, history.verdicts);
}

/* kept: a letter for each snapshot, k or '.'. */
static void expect(const char *kept)
{
	assert_int_equal(strlen(kept), history.count);
	for (size_t i = 0; i < history.count; i++)
		if ((history.verdicts[i].kept_by != 0) != (kept[i] == 'k'))
			fail_msg("snapshot %zu is %s", i, history.verdicts[i].kept_by ? "kept" : "not kept");
}

static void counts_of_periods(void **state)
{
	(void)state;
	begin("UTC");
	at("2024-01-01 10:00:00");
	at("2024-01-01 10:30:00");
	at("2024-01-01 11:00:00");
	at("2024-01-03 09:00:00");
	at("2024-01-03 23:59:59");
	at("2024-01-04 00:00:00");
	judge(&(struct retention){ .counts = { [RETAIN_LAST] = 2 } });
	expect("....kk");
	judge(&(struct retention){ .counts = { [RETAIN_DAILY] = 2 } });
	expect("....kk");
	judge(&(struct retention){ .counts = { [RETAIN_DAILY] = 3 } });
	expect("..k.kk");
	/* One more than there are: the oldest, too, and it says so. */
	judge(&(struct retention){ .counts = { [RETAIN_DAILY] = 4 } });
	expect("k.k.kk");
	assert_int_equal(history.verdicts[0].as_oldest, 1u << RETAIN_DAILY);
	assert_int_equal(history.verdicts[2].as_oldest, 0);
	judge(&(struct retention){ .counts = { [RETAIN_HOURLY] = 5 } });
	expect(".kkkkk");
	judge(&(struct retention){ .counts = { [RETAIN_LAST] = 1, [RETAIN_MONTHLY] = UINT64_MAX } });
	expect("k....k");
	judge(&(struct retention){ .counts = { [RETAIN_YEARLY] = 1 } });
	expect(".....k");
}

static void weeks_begin_on_monday_across_the_year(void **state)
{
	(void)state;
	begin("UTC");
	at("2024-12-29 12:00:00"); /* Sunday */
	at("2024-12-30 12:00:00"); /* Monday */
	at("2024-12-31 12:00:00");
	at("2025-01-05 12:00:00"); /* Sunday of the same week */
	at("2025-01-06 12:00:00");
	judge(&(struct retention){ .counts = { [RETAIN_WEEKLY] = 3 } });
	expect("k..kk");
	judge(&(struct retention){ .counts = { [RETAIN_YEARLY] = 2 } });
	expect("..k.k");
	/* Before 1970 days count down. */
	begin("UTC");
	at("1969-12-28 23:00:00"); /* Sunday */
	at("1969-12-29 01:00:00"); /* Monday */
	at("1970-01-01 01:00:00");
	judge(&(struct retention){ .counts = { [RETAIN_WEEKLY] = 2 } });
	expect("k.k");
}

/* Berlin, 2024-10-27: 02:00 to 03:00 comes twice; 2024-03-31: it does not come at all. */
static void daylight_saving(void **state)
{
	(void)state;
	begin(":Europe/Berlin");
	if (local("2024-07-01 12:00:00") % 86400 != 10 * 3600) /* no time zones on this machine */
		begin("CET-1CEST,M3.5.0,M10.5.0/3");
	int64_t twice = local("2024-10-27 01:30:00") + 3600; /* 02:30, summer time */
	at("2024-10-27 01:30:00");
	at_second(twice);
	at_second(twice + 600);
	at_second(twice + 3600); /* 02:30 again */
	at_second(twice + 7200); /* 03:30 */
	judge(&(struct retention){ .counts = { [RETAIN_HOURLY] = 4 } });
	expect("k.kkk");
	judge(&(struct retention){ .counts = { [RETAIN_HOURLY] = 3 } });
	expect("..kkk");
	judge(&(struct retention){ .counts = { [RETAIN_DAILY] = 1 } });
	expect("....k");
	/* A day of 23 hours is one day back. */
	history.count = 0;
	at("2024-03-30 12:00:00");
	at("2024-03-31 01:59:59");
	at("2024-03-31 12:00:00");
	assert_int_equal(history.snapshots[2].time.sec - history.snapshots[0].time.sec, 23 * 3600);
	judge(&(struct retention){ .has_within = true, .within = { .days = 1 } });
	expect("kkk");
	judge(&(struct retention){ .has_within = true, .within = { .hours = 23 } });
	expect("kkk");
	judge(&(struct retention){ .has_within = true, .within = { .hours = 22 } });
	expect(".kk");
}

static void within_follows_the_calendar(void **state)
{
	(void)state;
	begin("UTC");
	at("2023-02-28 11:59:59");
	at("2023-02-28 12:00:00");
	at("2024-01-31 12:00:00");
	at("2024-02-29 12:00:00");
	judge(&(struct retention){ .has_within = true, .within = { .years = 1 } });
	expect(".kkk");
	judge(&(struct retention){ .has_within = true, .within = { .months = 1 } }); /* to 29 January */
	expect("..kk");
	judge(&(struct retention){ .has_within = true, .within = { .days = 29 } });
	expect("..kk");
	judge(&(struct retention){ .has_within = true, .within = { .days = 28 } });
	expect("...k");
	/* A month back from the 31st is the last day of a shorter month. */
	begin("UTC");
	at("2023-02-28 11:00:00");
	at("2023-02-28 12:00:00");
	at("2023-03-31 12:00:00");
	judge(&(struct retention){ .has_within = true, .within = { .months = 1 } });
	expect(".kk");
	judge(&(struct retention){ .has_within = true, .within = { .years = 100000 } });
	expect("kkk");
}

static void a_clock_that_was_ahead_costs_nothing(void **state)
{
	(void)state;
	begin("UTC");
	at("2024-05-01 12:00:00");
	at("2024-05-02 12:00:00");
	at("2037-01-01 12:00:00");
	struct retention r = { .has_within = true, .within = { .days = 7 }, .now = { local("2024-05-03 00:00:00"), 0 } };
	judge(&r);
	expect("kkk");
	/* All of them are ahead: nothing to count from. */
	r.now.sec = local("2020-01-01 00:00:00");
	judge(&r);
	expect("kkk");
}

static void times_of_no_calendar_are_kept(void **state)
{
	(void)state;
	begin("UTC");
	at_second(INT64_MIN);
	at("2024-05-01 12:00:00");
	at("2024-05-02 12:00:00");
	at_second(INT64_MAX);
	judge(&(struct retention){ .counts = { [RETAIN_DAILY] = 1, [RETAIN_LAST] = 1 }, .has_within = true, .within = { .hours = 1 } });
	expect("k.kk");
	assert_int_equal(history.verdicts[0].kept_by, 1u << RETAIN_UNDATED);
}

static void equal_times_are_two_snapshots(void **state)
{
	(void)state;
	begin("UTC");
	for (int i = 0; i < 3; i++)
		at("2024-05-01 12:00:00");
	judge(&(struct retention){ .counts = { [RETAIN_LAST] = 2 } });
	expect(".kk");
	judge(&(struct retention){ .counts = { [RETAIN_DAILY] = 1 } });
	expect("..k");
}

static void tags_are_kept(void **state)
{
	(void)state;
	char text[] = "release";
	struct blob tag = { text, 7 };
	const char *wanted[] = { "other", "release" };
	begin("UTC");
	at("2024-05-01 12:00:00");
	at("2024-05-02 12:00:00");
	history.snapshots[0].tags = (struct blob_list){ &tag, 1 };
	judge(&(struct retention){ .tags = wanted, .tag_count = 2 });
	expect("k.");
	judge(&(struct retention){ .tags = wanted, .tag_count = 1 });
	expect("..");
}

/* Forgetting every day must end where forgetting once does: what a rule will want later is not lost before. */
static void every_day_or_once(void **state)
{
	(void)state;
	static struct history once;
	const struct retention rules = { .counts = { [RETAIN_DAILY] = 7, [RETAIN_WEEKLY] = 4, [RETAIN_MONTHLY] = 12, [RETAIN_YEARLY] = 3 }, .now = { INT64_MAX, 0 } };
	begin("UTC");
	int64_t start = local("2022-03-05 04:00:00");
	for (int day = 0; day < 1500; day++) {
		at_second(start + day * 86400ll);
		judge(&rules);
		size_t left = 0;
		for (size_t i = 0; i < history.count; i++)
			if (history.verdicts[i].kept_by)
				history.snapshots[left++].time = history.snapshots[i].time;
		history.count = left;
	}
	for (int day = 0; day < 1500; day++) {
		once.snapshots[day] = (struct snapshot){ .time = { start + day * 86400ll, 0 }, .host = somebody };
		once.items[day] = &once.snapshots[day];
	}
	retention_judge(&rules, once.items, 1500, once.verdicts);
	size_t next = 0;
	for (int day = 0; day < 1500; day++) {
		if (!once.verdicts[day].kept_by || once.verdicts[day].as_oldest)
			continue;
		while (next < history.count && history.snapshots[next].time.sec < once.snapshots[day].time.sec)
			next++;
		assert_true(next < history.count);
		assert_int_equal(history.snapshots[next].time.sec, once.snapshots[day].time.sec);
	}
}

static void spans_are_parsed(void **state)
{
	(void)state;
	struct retention_span s;
	static const char *const bad[] = { "", "1", "d", "1x", "0d", "1d2", "-1d", "100001d", "99999999999999999999d", "1 d", "20000w" };
	assert_int_equal(retention_parse_span("2y6m1w3d12h", &s, NULL), 0);
	assert_int_equal(s.years, 2);
	assert_int_equal(s.months, 6);
	assert_int_equal(s.days, 10);
	assert_int_equal(s.hours, 12);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct error err = { 0 };
		assert_int_equal(retention_parse_span(bad[i], &s, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
	}
}

static void groups_differ(void **state)
{
	(void)state;
	char a[] = "/a", b[] = "/b";
	struct blob one[] = { { a, 2 } }, two[] = { { a, 2 }, { b, 2 } };
	struct snapshot x = { .kind = SNAPSHOT_FILES, .host = somebody, .sources = { one, 1 } };
	struct snapshot y = x;
	unsigned all = RETENTION_BY_HOST | RETENTION_BY_SOURCES | RETENTION_BY_KIND | RETENTION_BY_TAGS;
	assert_int_equal(retention_compare(&x, &y, all), 0);
	y.sources = (struct blob_list){ two, 2 };
	assert_true(retention_compare(&x, &y, all) < 0);
	assert_int_equal(retention_compare(&x, &y, RETENTION_BY_HOST), 0);
	y = x;
	y.host = nobody;
	assert_true(retention_compare(&x, &y, all) > 0);
	y = x;
	y.kind = SNAPSHOT_IMAGE;
	assert_true(retention_compare(&x, &y, all) < 0);
	y = x;
	y.tags = (struct blob_list){ one, 1 };
	assert_true(retention_compare(&x, &y, all) < 0);
	assert_int_equal(retention_compare(&x, &y, RETENTION_BY_SOURCES), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_of_periods),
		cmocka_unit_test(weeks_begin_on_monday_across_the_year),
		cmocka_unit_test(daylight_saving),
		cmocka_unit_test(within_follows_the_calendar),
		cmocka_unit_test(a_clock_that_was_ahead_costs_nothing),
		cmocka_unit_test(times_of_no_calendar_are_kept),
		cmocka_unit_test(equal_times_are_two_snapshots),
		cmocka_unit_test(tags_are_kept),
		cmocka_unit_test(every_day_or_once),
		cmocka_unit_test(spans_are_parsed),
		cmocka_unit_test(groups_differ),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
