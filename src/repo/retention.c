/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/retention.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#define SPAN_MAX 100000u

/* --- spans ------------------------------------------------------------------------------- */

static int add_part(struct retention_span *s, char unit, uint64_t n, const char *text, struct error *err)
{
	uint32_t *part = NULL;
	uint64_t scale = 1;
	switch (unit) {
	case 'y': part = &s->years; break;
	case 'm': part = &s->months; break;
	case 'w': part = &s->days; scale = 7; break;
	case 'd': part = &s->days; break;
	case 'h': part = &s->hours; break;
	default: return error_set(err, ERR_INVALID, "'%.40s' is no span of time: give numbers with y, m (months), w, d or h, such as 1y6m or 14d", text);
	}
	uint64_t sum = *part + n * scale;
	if (sum > SPAN_MAX)
		return error_set(err, ERR_INVALID, "'%.40s' is too long a span of time", text);
	*part = (uint32_t)sum;
	return 0;
}

int retention_parse_span(const char *text, struct retention_span *ret, struct error *err)
{
	struct retention_span s = { 0 };
	const char *at = text;
	uint64_t all = 0;
	do {
		uint64_t n = 0;
		const char *digits = at;
		for (; isdigit((unsigned char)*at); at++)
			n = n > SPAN_MAX ? n : n * 10 + (uint64_t)(*at - '0');
		if (add_part(&s, at == digits ? '?' : *at, n, text, err) < 0)
			return -1;
		all += n;
		at++;
	} while (*at);
	if (!all)
		return error_set(err, ERR_INVALID, "'%.40s' is no time at all", text);
	*ret = s;
	return 0;
}

static bool is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	return days[month] + (month == 1 && is_leap(year));
}

/* The time that lies span before t by the local calendar; a day that the month does not have (31 April, 29 February) becomes its last one. false: the calendar ends before. */
static bool before(struct time_ns t, const struct retention_span *span, struct time_ns *ret)
{
	time_t sec = t.sec;
	struct tm tm;
	if (!localtime_r(&sec, &tm))
		return false;
	int64_t months = (int64_t)(tm.tm_year + 1900ll) * 12 + tm.tm_mon - (int64_t)span->years * 12 - span->months;
	if (months < 12)
		return false;
	tm.tm_year = (int)(months / 12 - 1900);
	tm.tm_mon = (int)(months % 12);
	int last = days_in_month((int)(months / 12), tm.tm_mon);
	if (tm.tm_mday > last)
		tm.tm_mday = last;
	tm.tm_mday -= (int)span->days;
	tm.tm_isdst = -1;
	time_t start = mktime(&tm);
	*ret = (struct time_ns){ (int64_t)start - (int64_t)span->hours * 3600, t.ns };
	return true;
}

/* --- periods -------------------------------------------------------------------------------- */

/* Days since 1970-01-01 of the local date, so that weeks can be counted. */
static int64_t day_number(const struct tm *tm, int64_t sec)
{
	int64_t local = sec + tm->tm_gmtoff;
	return local >= 0 ? local / 86400 : -((-local + 86399) / 86400);
}

/* Equal for two times in the same period, and only then (of neighbours in time). */
static int64_t period(enum retention_rule rule, const struct tm *tm, int64_t sec, uint64_t index)
{
	switch (rule) {
	case RETAIN_HOURLY: /* the offset keeps apart the two hours of the same name */
		return ((day_number(tm, sec) * 24 + tm->tm_hour) << 20) + tm->tm_gmtoff;
	case RETAIN_DAILY: return day_number(tm, sec);
	case RETAIN_WEEKLY: return day_number(tm, sec) - (tm->tm_wday + 6) % 7;
	case RETAIN_MONTHLY: return (int64_t)tm->tm_year * 12 + tm->tm_mon;
	case RETAIN_YEARLY: return tm->tm_year;
	default: return (int64_t)index;
	}
}

/* The far ends of 64 bits have no year; those near them would overflow the sums above. */
static bool has_date(struct time_ns t, struct tm *ret)
{
	time_t sec = t.sec;
	return sec > -(1ll << 40) && sec < 1ll << 40 && localtime_r(&sec, ret) != NULL;
}

/* --- rules --------------------------------------------------------------------------------------- */

static void judge_count(const struct retention *r, enum retention_rule rule, const struct snapshot *const *items, size_t count, struct retention_verdict *ret)
{
	uint64_t left = r->counts[rule];
	bool any = false;
	int64_t last = 0;
	size_t oldest = count;
	for (size_t i = count; left && i-- > 0;) {
		struct tm tm = { 0 };
		if (!has_date(items[i]->time, &tm))
			continue;
		int64_t now = period(rule, &tm, items[i]->time.sec, i);
		oldest = i;
		if (any && now == last)
			continue;
		ret[i].kept_by |= 1u << rule;
		any = true;
		last = now;
		left--;
	}
	if (left && oldest < count && !(ret[oldest].kept_by >> rule & 1)) {
		ret[oldest].kept_by |= 1u << rule;
		ret[oldest].as_oldest |= 1u << rule;
	}
}

static void judge_within(const struct retention *r, const struct snapshot *const *items, size_t count, struct retention_verdict *ret)
{
	struct time_ns start;
	struct tm tm;
	size_t newest = count;
	while (newest > 0 && (!has_date(items[newest - 1]->time, &tm) || time_compare(items[newest - 1]->time, r->now) > 0))
		newest--;
	bool all = newest == 0 || !before(items[newest - 1]->time, &r->within, &start);
	for (size_t i = 0; i < count; i++)
		if (all || time_compare(items[i]->time, start) >= 0)
			ret[i].kept_by |= 1u << RETAIN_WITHIN;
}

static bool has_tag(const struct snapshot *s, const struct retention *r)
{
	for (size_t i = 0; i < s->tags.count; i++)
		for (size_t k = 0; k < r->tag_count; k++)
			if (strcmp(s->tags.items[i].data, r->tags[k]) == 0)
				return true;
	return false;
}

bool retention_has_rule(const struct retention *r)
{
	bool any = r->has_within || r->tag_count;
	for (int rule = 0; rule < RETAIN_COUNTS; rule++)
		any |= r->counts[rule] != 0;
	return any;
}

void retention_judge(const struct retention *r, const struct snapshot *const *items, size_t count, struct retention_verdict *ret)
{
	tzset();
	memset(ret, 0, count * sizeof *ret);
	for (int rule = 0; rule < RETAIN_COUNTS; rule++)
		judge_count(r, (enum retention_rule)rule, items, count, ret);
	if (r->has_within)
		judge_within(r, items, count, ret);
	for (size_t i = 0; i < count; i++) {
		struct tm tm;
		if (has_tag(items[i], r))
			ret[i].kept_by |= 1u << RETAIN_TAG;
		if (!has_date(items[i]->time, &tm))
			ret[i].kept_by |= 1u << RETAIN_UNDATED;
	}
}

/* --- groups ------------------------------------------------------------------------------------------ */

static int compare_lists(const struct blob_list *a, const struct blob_list *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++) {
		int c = strcmp(a->items[i].data, b->items[i].data);
		if (c)
			return c;
	}
	return (a->count > b->count) - (a->count < b->count);
}

int retention_compare(const struct snapshot *a, const struct snapshot *b, unsigned by)
{
	/* Always: a machine that may only write must not push out the snapshots of others, by giving itself their name. */
	int c = a->has_writer || b->has_writer ? (a->has_writer != b->has_writer ? a->has_writer - b->has_writer : id_compare(&a->writer, &b->writer)) : 0;
	if (!c && by & RETENTION_BY_HOST)
		c = strcmp(a->host, b->host);
	if (!c && by & RETENTION_BY_KIND)
		c = (a->kind > b->kind) - (a->kind < b->kind);
	if (!c && by & RETENTION_BY_SOURCES)
		c = compare_lists(&a->sources, &b->sources);
	if (!c && by & RETENTION_BY_TAGS)
		c = compare_lists(&a->tags, &b->tags);
	return c;
}
