/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/exclude.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATTERN_MAX 4096u
#define CACHE_TAG "CACHEDIR.TAG"
#define CACHE_SIGNATURE "Signature: 8a477f597d28d172789f06886806bc55"

/* One component of a pattern. */
struct part {
	const char *text; /* into the pattern's text */
	size_t len;
	bool any_depth;   /* "**" */
	bool literal;     /* no wildcard, no backslash: compare bytes */
};

enum anchor { ANY_NAME, SOURCE, ROOT };

struct pattern {
	char *text;
	struct part *parts;
	size_t count;
	enum anchor anchor;
	bool only_dirs;
	bool keep; /* "!" */
};

struct exclude {
	struct pattern *patterns;
	size_t count;
	char **markers;
	size_t marker_count;
	bool caches, one_file_system;
	bool limited;
	uint64_t larger_than;
};

int exclude_new(struct exclude **ret, struct error *err)
{
	struct exclude *ex = calloc(1, sizeof *ex);
	if (!ex)
		return error_set(err, ERR_NOMEM, "read the excludes: out of memory");
	*ret = ex;
	return 0;
}

static void pattern_done(struct pattern *p)
{
	free(p->text);
	free(p->parts);
}

void exclude_free(struct exclude *ex)
{
	if (!ex)
		return;
	for (size_t i = 0; i < ex->count; i++)
		pattern_done(&ex->patterns[i]);
	for (size_t i = 0; i < ex->marker_count; i++)
		free(ex->markers[i]);
	free(ex->patterns);
	free(ex->markers);
	free(ex);
}

/* One character, and how many bytes it has: a code point, or 0x110000 + the byte where it is not UTF-8 (or overlong, or a surrogate). */
static uint32_t character(const char *text, size_t len, size_t *ret_len)
{
	const uint8_t *b = (const uint8_t *)text;
	size_t more = b[0] < 0x80 ? 0 : b[0] >= 0xc2 && b[0] < 0xe0 ? 1 : b[0] >= 0xe0 && b[0] < 0xf0 ? 2 : b[0] >= 0xf0 && b[0] < 0xf5 ? 3 : 9;
	*ret_len = 1;
	if (!more)
		return b[0];
	if (more >= len)
		return 0x110000u + b[0];
	uint32_t c = b[0] & (0x3fu >> more);
	for (size_t i = 1; i <= more; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0x110000u + b[0];
		c = c << 6 | (b[i] & 0x3fu);
	}
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0x110000u + b[0];
	*ret_len = more + 1;
	return c;
}

/* A character of a pattern, after its backslash if it has one. */
static uint32_t pattern_character(const char *text, size_t len, size_t *at)
{
	if (text[*at] == '\\' && *at + 1 < len)
		++*at;
	size_t bytes;
	uint32_t c = character(text + *at, len - *at, &bytes);
	*at += bytes;
	return c;
}

/* The bracket expression at text[*at] == '['; moves *at behind it. False also where it does not end. */
static bool bracket(const char *text, size_t len, size_t *at, uint32_t c, bool *ret_closed)
{
	size_t i = *at + 1;
	bool negated = i < len && (text[i] == '!' || text[i] == '^'), hit = false;
	if (negated)
		i++;
	*ret_closed = false;
	for (size_t first = i; i < len; ) {
		if (text[i] == ']' && i > first) {
			*ret_closed = true;
			*at = i + 1;
			return hit != negated;
		}
		uint32_t low = pattern_character(text, len, &i), high = low;
		if (i + 1 < len && text[i] == '-' && text[i + 1] != ']') {
			i++;
			high = pattern_character(text, len, &i);
		}
		hit = hit || (low <= c && c <= high);
	}
	return false;
}

/* Matches one character of name against the pattern at *at (not a star); moves *at behind it. */
static bool match_one(const struct part *p, size_t *at, uint32_t c)
{
	if (p->text[*at] == '?') {
		++*at;
		return true;
	}
	if (p->text[*at] == '[') {
		bool closed;
		return bracket(p->text, p->len, at, c, &closed);
	}
	return pattern_character(p->text, p->len, at) == c;
}

/* On a mismatch the last star takes one character more; an earlier star never has to be tried again. */
static bool match_part(const struct part *p, const char *name, size_t len)
{
	if (p->literal)
		return p->len == len && memcmp(p->text, name, len) == 0;
	size_t at = 0, n = 0, star = SIZE_MAX, star_n = 0;
	while (n < len) {
		size_t bytes;
		uint32_t c = character(name + n, len - n, &bytes);
		if (at < p->len && p->text[at] == '*') {
			star = ++at;
			star_n = n;
		} else if (at < p->len && match_one(p, &at, c)) {
			n += bytes;
		} else if (star != SIZE_MAX) {
			character(name + star_n, len - star_n, &bytes);
			n = star_n += bytes;
			at = star;
		} else {
			return false;
		}
	}
	while (at < p->len && p->text[at] == '*')
		at++;
	return at == p->len;
}

static size_t component_length(const char *path, size_t len)
{
	const char *slash = memchr(path, '/', len);
	return slash ? (size_t)(slash - path) : len;
}

/* The same over components, with "**" as the star; at the end of a pattern it takes at least one. */
static bool match_path(const struct pattern *p, const char *path, size_t len)
{
	size_t i = 0, n = 0, star = SIZE_MAX, star_n = 0;
	while (n < len) {
		size_t name = component_length(path + n, len - n);
		if (i < p->count && p->parts[i].any_depth) {
			if (i + 1 == p->count)
				return true;
			star = ++i;
			star_n = n;
			continue;
		}
		if (i < p->count && match_part(&p->parts[i], path + n, name)) {
			i++;
			n += name + (n + name < len);
		} else if (star != SIZE_MAX) {
			name = component_length(path + star_n, len - star_n);
			n = star_n += name + (star_n + name < len);
			i = star;
		} else {
			return false;
		}
	}
	return i == p->count;
}

static bool matches(const struct pattern *p, const char *path, size_t len, size_t below, size_t name, bool is_dir)
{
	if (p->only_dirs && !is_dir)
		return false;
	switch (p->anchor) {
	case ANY_NAME: return match_part(&p->parts[0], path + name, len - name);
	case SOURCE: return match_path(p, path + below, len - below);
	case ROOT: return path[0] == '/' && match_path(p, path + 1, len - 1);
	}
	return false;
}

bool exclude_match(const struct exclude *ex, const char *path, size_t len, size_t below, bool is_dir)
{
	if (!ex->count || !len || below > len)
		return false;
	const char *slash = memrchr(path, '/', len);
	size_t name = slash ? (size_t)(slash - path) + 1 : 0;
	for (size_t i = ex->count; i-- > 0;)
		if (matches(&ex->patterns[i], path, len, below, name, is_dir))
			return !ex->patterns[i].keep;
	return false;
}

static bool brackets_close(const struct part *p)
{
	for (size_t at = 0; at < p->len;) {
		bool closed = true;
		if (p->text[at] == '[')
			bracket(p->text, p->len, &at, 0, &closed);
		else
			pattern_character(p->text, p->len, &at);
		if (!closed)
			return false;
	}
	return true;
}

static bool is_wild(const char *text, size_t len)
{
	return memchr(text, '*', len) || memchr(text, '?', len) || memchr(text, '[', len) || memchr(text, '\\', len);
}

/* Cuts p->text at its slashes. -1: out of memory, or a bracket does not close. */
static int split(struct pattern *p, const char *glob, struct error *err)
{
	p->parts = calloc(strlen(p->text) + 1, sizeof *p->parts);
	if (!p->parts)
		return error_set(err, ERR_NOMEM, "exclude %s: out of memory", glob);
	for (const char *at = p->text; *at;) {
		struct part part = { .text = at, .len = strcspn(at, "/") };
		at += part.len + (at[part.len] == '/');
		if (!part.len || (part.len == 1 && part.text[0] == '.'))
			continue;
		part.any_depth = part.len == 2 && memcmp(part.text, "**", 2) == 0;
		part.literal = !is_wild(part.text, part.len);
		if (!brackets_close(&part))
			return error_set(err, ERR_INVALID, "exclude %s: the bracket is never closed (write \\[ for the character itself)", glob);
		p->parts[p->count++] = part;
	}
	return p->count ? 0 : error_set(err, ERR_INVALID, "exclude \"%s\": such a pattern matches nothing", glob);
}

static int compile(struct pattern *p, const char *glob, struct error *err)
{
	const char *text = glob;
	if (*text == '!') {
		p->keep = true;
		text++;
	}
	size_t len = strlen(text);
	if (len > PATTERN_MAX)
		return error_set(err, ERR_INVALID, "exclude %.40s...: a pattern may have %u bytes", glob, PATTERN_MAX);
	p->only_dirs = len && text[len - 1] == '/';
	const char *slash = strchr(text, '/');
	p->anchor = *text == '/' ? ROOT : slash && slash[1] ? SOURCE : ANY_NAME;
	p->text = strdup(text);
	if (!p->text)
		return error_set(err, ERR_NOMEM, "exclude %s: out of memory", glob);
	if (split(p, glob, err) < 0)
		return -1;
	if (p->anchor == ANY_NAME && p->count > 1) /* "a//" */
		p->anchor = SOURCE;
	return 0;
}

int exclude_add(struct exclude *ex, const char *glob, struct error *err)
{
	struct pattern p = { 0 };
	if (compile(&p, glob, err) < 0) {
		pattern_done(&p);
		return -1;
	}
	struct pattern *grown = realloc(ex->patterns, (ex->count + 1) * sizeof *grown);
	if (!grown) {
		pattern_done(&p);
		return error_set(err, ERR_NOMEM, "exclude %s: out of memory", glob);
	}
	ex->patterns = grown;
	ex->patterns[ex->count++] = p;
	return 0;
}

/* Cuts the end of the line, and blanks that are not escaped. */
static void trim(char *line, size_t len)
{
	while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		line[--len] = 0;
	while (len && (line[len - 1] == ' ' || line[len - 1] == '\t') && !(len > 1 && line[len - 2] == '\\'))
		line[--len] = 0;
}

static int add_lines(struct exclude *ex, FILE *f, const char *path, struct error *err)
{
	CLEAN_FREE char *line = NULL;
	size_t room = 0;
	for (unsigned number = 1;; number++) {
		errno = 0;
		ssize_t len = getline(&line, &room, f);
		if (len < 0)
			return ferror(f) ? error_sys(err, errno, "read the excludes in %s", path) : 0;
		if (strlen(line) != (size_t)len)
			return error_set(err, ERR_INVALID, "read the excludes in %s: line %u holds a zero byte", path, number);
		trim(line, (size_t)len);
		if (*line && *line != '#' && exclude_add(ex, line, err) < 0)
			return error_add(err, "%s, line %u", path, number);
	}
}

int exclude_add_file(struct exclude *ex, const char *path, struct error *err)
{
	if (strcmp(path, "-") == 0)
		return add_lines(ex, stdin, "standard input", err);
	FILE *f = fopen(path, "re");
	if (!f)
		return error_sys(err, errno, "read the excludes in %s", path);
	int result = add_lines(ex, f, path, err);
	fclose(f);
	return result;
}

int exclude_add_marker(struct exclude *ex, const char *name, struct error *err)
{
	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, ERR_INVALID, "exclude folders that hold \"%s\": give the plain name of a file", name);
	char *copy = strdup(name);
	char **grown = copy ? realloc(ex->markers, (ex->marker_count + 1) * sizeof *grown) : NULL;
	if (!grown) {
		free(copy);
		return error_set(err, ERR_NOMEM, "exclude folders that hold %s: out of memory", name);
	}
	ex->markers = grown;
	ex->markers[ex->marker_count++] = copy;
	return 0;
}

void exclude_set_caches(struct exclude *ex)
{
	ex->caches = true;
}

void exclude_set_one_file_system(struct exclude *ex)
{
	ex->one_file_system = true;
}

bool exclude_device(const struct exclude *ex, uint64_t dev, uint64_t source_dev)
{
	return ex->one_file_system && dev != source_dev;
}

int exclude_set_larger_than(struct exclude *ex, const char *size, struct error *err)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(size, &end, 10);
	bool bad = errno || end == size || size[0] < '0' || size[0] > '9';
	static const char units[] = "KMGTkmgt";
	const char *unit = *end ? strchr(units, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)((unit - units) % 4 + 1) : 0;
	if (unit)
		end++;
	if (unit && *end == 'i' && end[1] == 'B')
		end++;
	if (*end == 'B')
		end++;
	if (bad || *end || value > UINT64_MAX >> shift)
		return error_set(err, ERR_INVALID, "exclude files larger than \"%s\": give a number of bytes, or one with K, M, G or T", size);
	ex->limited = true;
	ex->larger_than = (uint64_t)value << shift;
	return 0;
}

bool exclude_size(const struct exclude *ex, uint64_t size)
{
	return ex->limited && size > ex->larger_than;
}

/* The tag must be a regular file (not a link to one) that begins with the signature. */
static bool has_cache_tag(int dir)
{
	CLEAN_FD int fd = openat(dir, CACHE_TAG, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	char start[sizeof CACHE_SIGNATURE - 1];
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	return read(fd, start, sizeof start) == (ssize_t)sizeof start && memcmp(start, CACHE_SIGNATURE, sizeof start) == 0;
}

bool exclude_folder(const struct exclude *ex, int dir, const char **ret_marker)
{
	struct stat st;
	for (size_t i = 0; i < ex->marker_count; i++)
		if (fstatat(dir, ex->markers[i], &st, AT_SYMLINK_NOFOLLOW) == 0) {
			*ret_marker = ex->markers[i];
			return true;
		}
	if (!ex->caches || !has_cache_tag(dir))
		return false;
	*ret_marker = CACHE_TAG;
	return true;
}
