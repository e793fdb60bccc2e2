/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers, times and foreign bytes as text for people, and tables of it. Pure but for the time zone; any thread. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"

#define TEXT_MAX 64 /* room for any of the texts below */

/* "0 B", "999 B", "1.5 KiB", "23.4 GiB": three or four digits, powers of 1024. Returns ret. */
char *text_size(char ret[TEXT_MAX], uint64_t bytes);
/* "100,606". */
char *text_count(char ret[TEXT_MAX], uint64_t n);
/* "0.4 s", "12 s", "3 min 05 s", "2 h 03 min", "3 d 04 h". */
char *text_duration(char ret[TEXT_MAX], uint64_t nanoseconds);
/* Local time: "2025-06-01 12:00:05"; seconds since 1970 as "@N" where the calendar ends. */
char *text_time(char ret[TEXT_MAX], struct time_ns t);
/* RFC 3339 in UTC with nanoseconds, for JSON: "2025-06-01T10:00:05.000000000Z"; "@N" as above. */
char *text_time_utc(char ret[TEXT_MAX], struct time_ns t);
/* "drwxr-xr-x", with s, S, t and T as ls shows them. */
char *text_mode(char ret[TEXT_MAX], uint32_t mode);

/* "90s", "10m", "2h", "7d", "2w", or several together ("1h30m"): seconds. false: it is none, or 0, or over 100 years. */
bool text_parse_duration(const char *text, uint64_t *ret_seconds);
/* A time: a duration as above, before now; or local time as "2025-06-01", "2025-06-01 12:00", "2025-06-01T12:00:05". */
bool text_parse_time(const char *text, struct time_ns now, struct time_ns *ret);

/* Strict UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool text_is_utf8(const void *bytes, size_t len);
/* Appends bytes so that a terminal can take them: valid printable UTF-8 as it is, a backslash doubled, newline as \n, tab as \t,
 * all other controls and bytes that are not UTF-8 as \xNN. */
void text_escape(struct buf *ret, const void *bytes, size_t len);
/* The same into a new, zero-terminated string; NULL when memory is out. */
char *text_escaped(const void *bytes, size_t len);
void text_base64(struct buf *ret, const void *bytes, size_t len);
/* Columns that the UTF-8 text takes on a terminal (needs LC_CTYPE to be a UTF-8 locale; cli_main sees to it). */
size_t text_columns(const char *text);

/* --- tables ------------------------------------------------------------------------------------- */

struct cli;

struct table_column {
	const char *title;
	bool right;        /* numbers */
};

/* Start with { .columns = ..., .column_count = ... } and the rest zero. */
struct table {
	const struct table_column *columns;
	size_t column_count;
	struct buf cells;  /* zero-terminated texts, row after row */
	size_t cell_count;
};

/* Cells come in order; every column_count of them make a row. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Through cli_print, with titles; nothing at all when there is no row. -1 when memory was out. */
int table_print(struct cli *cli, const struct table *t, struct error *err);
void table_done(struct table *t);

#endif
