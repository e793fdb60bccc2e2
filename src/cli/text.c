/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <wchar.h>

#include "cli/cli.h"

char *text_size(char ret[TEXT_MAX], uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	if (bytes < 1024) {
		snprintf(ret, TEXT_MAX, "%" PRIu64 " B", bytes);
		return ret;
	}
	double value = (double)bytes / 1024;
	size_t unit = 0;
	/* 1023.95 would be printed as 1024.0. */
	for (; value >= 1023.95 && unit < 5; unit++)
		value /= 1024;
	snprintf(ret, TEXT_MAX, "%.1f %s", value, units[unit]);
	return ret;
}

char *text_count(char ret[TEXT_MAX], uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
	char *out = ret;
	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*out++ = ',';
		*out++ = digits[i];
	}
	*out = 0;
	return ret;
}

char *text_duration(char ret[TEXT_MAX], uint64_t nanoseconds)
{
	uint64_t s = nanoseconds / 1000000000u;
	if (s < 10)
		snprintf(ret, TEXT_MAX, "%.1f s", (double)nanoseconds / 1e9);
	else if (s < 60)
		snprintf(ret, TEXT_MAX, "%" PRIu64 " s", s);
	else if (s < 3600)
		snprintf(ret, TEXT_MAX, "%" PRIu64 " min %02" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(ret, TEXT_MAX, "%" PRIu64 " h %02" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(ret, TEXT_MAX, "%" PRIu64 " d %02" PRIu64 " h", s / 86400, s / 3600 % 24);
	return ret;
}

char *text_time(char ret[TEXT_MAX], struct time_ns t)
{
	time_t sec = t.sec;
	struct tm tm;
	if (!localtime_r(&sec, &tm) || !strftime(ret, TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(ret, TEXT_MAX, "@%" PRId64, t.sec);
	return ret;
}

char *text_time_utc(char ret[TEXT_MAX], struct time_ns t)
{
	time_t sec = t.sec;
	struct tm tm;
	size_t len = gmtime_r(&sec, &tm) ? strftime(ret, TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
	if (len)
		snprintf(ret + len, TEXT_MAX - len, ".%09" PRIu32 "Z", t.ns);
	else
		snprintf(ret, TEXT_MAX, "@%" PRId64, t.sec);
	return ret;
}

bool text_parse_duration(const char *text, uint64_t *ret_seconds)
{
	static const char units[] = "smhdw";
	static const uint64_t lengths[] = { 1, 60, 3600, 86400, 7 * 86400 };
	const uint64_t most = 100ull * 366 * 86400;
	uint64_t sum = 0;
	do {
		uint64_t n = 0;
		const char *digits = text;
		for (; *text >= '0' && *text <= '9'; text++)
			n = n > most ? n : n * 10 + (uint64_t)(*text - '0');
		const char *unit = text != digits && *text ? strchr(units, *text) : NULL;
		if (!unit || n > most)
			return false;
		sum += n * lengths[unit - units];
		if (sum > most)
			return false;
		text++;
	} while (*text);
	*ret_seconds = sum;
	return sum > 0;
}

bool text_parse_time(const char *text, struct time_ns now, struct time_ns *ret)
{
	static const char *const forms[] = { "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S" };
	uint64_t seconds;
	if (text_parse_duration(text, &seconds)) {
		*ret = (struct time_ns){ now.sec - (int64_t)seconds, now.ns };
		return true;
	}
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct tm tm = { .tm_isdst = -1, .tm_mday = 1 };
		const char *end = strptime(text, forms[i], &tm);
		if (!end || *end)
			continue;
		*ret = (struct time_ns){ mktime(&tm), 0 };
		return true;
	}
	return false;
}

static char type_letter(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return '-';
	case S_IFDIR: return 'd';
	case S_IFLNK: return 'l';
	case S_IFCHR: return 'c';
	case S_IFBLK: return 'b';
	case S_IFIFO: return 'p';
	case S_IFSOCK: return 's';
	default: return '?';
	}
}

char *text_mode(char ret[TEXT_MAX], uint32_t mode)
{
	static const char letters[] = "rwxrwxrwx";
	ret[0] = type_letter(mode);
	for (int i = 0; i < 9; i++)
		ret[1 + i] = mode & (0400u >> i) ? letters[i] : '-';
	if (mode & S_ISUID)
		ret[3] = mode & 0100 ? 's' : 'S';
	if (mode & S_ISGID)
		ret[6] = mode & 0010 ? 's' : 'S';
	if (mode & S_ISVTX)
		ret[9] = mode & 0001 ? 't' : 'T';
	ret[10] = 0;
	return ret;
}

/* Length of the valid UTF-8 sequence at p, or 0; the code point goes to *ret. Unicode 15, table 3-7. */
static size_t utf8_at(const uint8_t *p, size_t len, uint32_t *ret)
{
	size_t need = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (need == 0 || need > len)
		return 0;
	uint32_t v = need == 1 ? p[0] : p[0] & (0x7fu >> need);
	for (size_t i = 1; i < need; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (v < least[need] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return 0;
	*ret = v;
	return need;
}

bool text_is_utf8(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint32_t v;
	for (size_t at = 0, n; at < len; at += n) {
		n = utf8_at(p + at, len - at, &v);
		if (n == 0)
			return false;
	}
	return true;
}

/* C0, delete, C1, line and paragraph separators, and the marks that turn the writing direction (they can make one name look like another). */
static bool is_control(uint32_t v)
{
	return v < 0x20 || (v >= 0x7f && v < 0xa0) || v == 0x2028 || v == 0x2029 || v == 0x200e || v == 0x200f ||
	       (v >= 0x202a && v <= 0x202e) || (v >= 0x2066 && v <= 0x2069);
}

void text_escape(struct buf *ret, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	for (size_t at = 0; at < len;) {
		uint32_t v = 0;
		size_t n = utf8_at(p + at, len - at, &v);
		if (n && !is_control(v) && v != '\\') {
			buf_add(ret, p + at, n);
			at += n;
			continue;
		}
		for (n = n ? n : 1; n; n--, at++) {
			char hex[5];
			if (p[at] == '\\')
				buf_add(ret, "\\\\", 2);
			else if (p[at] == '\n')
				buf_add(ret, "\\n", 2);
			else if (p[at] == '\t')
				buf_add(ret, "\\t", 2);
			else
				buf_add(ret, hex, (size_t)snprintf(hex, sizeof hex, "\\x%02x", p[at]));
		}
	}
}

char *text_escaped(const void *bytes, size_t len)
{
	struct buf b = BUF_INIT;
	text_escape(&b, bytes, len);
	buf_add_u8(&b, 0);
	if (!buf_ok(&b)) {
		buf_done(&b);
		return NULL;
	}
	return (char *)b.data;
}

void text_base64(struct buf *ret, const void *bytes, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = bytes;
	for (size_t at = 0; at < len; at += 3) {
		size_t n = len - at < 3 ? len - at : 3;
		uint32_t v = (uint32_t)p[at] << 16 | (n > 1 ? (uint32_t)p[at + 1] << 8 : 0) | (n > 2 ? p[at + 2] : 0);
		char out[4] = { digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
		                n > 2 ? digits[v & 63] : '=' };
		buf_add(ret, out, sizeof out);
	}
}

size_t text_columns(const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t left = strlen(text), columns = 0;
	while (left) {
		uint32_t v = 0;
		size_t n = utf8_at(p, left, &v);
		int width = n ? wcwidth((wchar_t)v) : 1;
		columns += width > 0 ? (size_t)width : 0;
		n = n ? n : 1;
		p += n;
		left -= n;
	}
	return columns;
}

/* --- tables ------------------------------------------------------------------------------------- */

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	CLEAN_FREE char *text = NULL;
	int len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0) {
		text = NULL;
		t->cells.failed = true;
		return;
	}
	buf_add(&t->cells, text, strlen(text) + 1);
	t->cell_count++;
}

void table_done(struct table *t)
{
	buf_done(&t->cells);
	t->cell_count = 0;
}

static void add_padded(struct buf *line, const char *text, size_t width, bool right, bool last)
{
	size_t have = text_columns(text), pad = have < width ? width - have : 0;
	if (right)
		for (size_t i = 0; i < pad; i++)
			buf_add_u8(line, ' ');
	buf_add(line, text, strlen(text));
	if (!right && !last)
		for (size_t i = 0; i < pad; i++)
			buf_add_u8(line, ' ');
	if (!last)
		buf_add(line, "  ", 2);
}

int table_print(struct cli *cli, const struct table *t, struct error *err)
{
	CLEAN_FREE size_t *widths = calloc(t->column_count, sizeof *widths);
	if (!widths || !buf_ok(&t->cells))
		return error_set(err, ERR_NOMEM, "out of memory");
	if (t->cell_count == 0)
		return 0;
	for (size_t i = 0; i < t->column_count; i++)
		widths[i] = text_columns(t->columns[i].title);
	const char *cell = (const char *)t->cells.data;
	for (size_t i = 0; i < t->cell_count; i++, cell += strlen(cell) + 1) {
		size_t columns = text_columns(cell);
		if (columns > widths[i % t->column_count])
			widths[i % t->column_count] = columns;
	}
	CLEAN_BUF struct buf line = BUF_INIT;
	cell = (const char *)t->cells.data;
	for (size_t i = 0; i < t->cell_count + t->column_count; i++) {
		size_t column = i % t->column_count;
		bool last = column + 1 == t->column_count;
		const char *text = i < t->column_count ? t->columns[i].title : cell;
		add_padded(&line, text, widths[column], t->columns[column].right, last);
		if (i >= t->column_count)
			cell += strlen(cell) + 1;
		if (last) {
			while (line.len && line.data[line.len - 1] == ' ')
				line.len--;
			buf_add_u8(&line, 0);
			if (!buf_ok(&line))
				return error_set(err, ERR_NOMEM, "out of memory");
			cli_print(cli, "%s\n", (const char *)line.data);
			buf_clear(&line);
		}
	}
	return 0;
}
