/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which snapshots a set of rules keeps. Decides, and does nothing: no store, no clock of its own; pure but for the time zone.
 *
 * The snapshots given are one group (retention_compare tells groups apart), oldest first. A rule of a period (hourly to yearly) looks from the newest to the oldest, and keeps
 * the last snapshot of each period that has any, until it has kept as many as it says; periods without a snapshot do not count. Where it comes to the end before, it keeps the
 * oldest one too, so that what will be the last of its year, one day, is not lost before. Periods are those of the local time zone: an hour that daylight saving repeats is
 * two, weeks begin on Monday. A snapshot is kept if any rule keeps it.
 *
 * Nothing here goes by the present time alone: "within" counts back from the newest snapshot, so that a machine that is switched off for a year keeps what it has.
 */
#ifndef REPO_RETENTION_H
#define REPO_RETENTION_H

#include "repo/format/document.h"

enum retention_rule { RETAIN_LAST, RETAIN_HOURLY, RETAIN_DAILY, RETAIN_WEEKLY, RETAIN_MONTHLY, RETAIN_YEARLY, RETAIN_COUNTS, RETAIN_WITHIN = RETAIN_COUNTS, RETAIN_TAG, RETAIN_UNDATED };

/* A length of time on the calendar. */
struct retention_span {
	uint32_t years, months, days, hours; /* each at most 100 000 */
};

struct retention {
	uint64_t counts[RETAIN_COUNTS];  /* by rule; 0: no such rule */
	bool has_within;
	struct retention_span within;
	const char *const *tags;         /* each snapshot with one of them is kept */
	size_t tag_count;
	struct time_ns now;              /* snapshots later than this have a wrong clock: within does not count from them */
};

struct retention_verdict {
	uint32_t kept_by;   /* bits 1 << enum retention_rule; 0: it goes. RETAIN_UNDATED: its time is none that a calendar has, so no rule can judge it */
	uint32_t as_oldest; /* of these, the rules that keep it only as the oldest one */
};

/* "2y6m1w3d12h": years, months, weeks, days, hours, each at most once, in any order. ERR_INVALID says what is wrong. */
int retention_parse_span(const char *text, struct retention_span *ret, struct error *err);
/* Whether there is any rule at all. */
bool retention_has_rule(const struct retention *r);
/* items: count snapshots of one group, oldest first; ret has room for as many. */
void retention_judge(const struct retention *r, const struct snapshot *const *items, size_t count, struct retention_verdict *ret);

enum { RETENTION_BY_HOST = 1, RETENTION_BY_SOURCES = 2, RETENTION_BY_KIND = 4, RETENTION_BY_TAGS = 8 };
/* Snapshots that were written with a write-only key are never of a group with others. An order in which the snapshots of a group stand together: 0 says that both belong to one. by: bits of what tells groups apart. */
int retention_compare(const struct snapshot *a, const struct snapshot *b, unsigned by);

#endif
