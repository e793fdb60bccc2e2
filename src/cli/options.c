/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct option_spec common_options[] = {
	OPTION_TEXT(struct cli_common, repository, "repo", 'r', "LOCATION",
	            "the repository (or TWOFOLD_REPOSITORY; by default in your home folder)"),
	OPTION_TEXT(struct cli_common, password_file, "password-file", 'p', "FILE",
	            "read the password or key from FILE (see: twofold help passwords)"),
	OPTION_FLAG(struct cli_common, recovery_key, "recovery-key", 0, "ask for the printed recovery key in place of a password"),
	OPTION_FLAG(struct cli_common, json, "json", 0, "one JSON object a line, progress too"),
	OPTION_FLAG(struct cli_common, quiet, "quiet", 'q', "only results, warnings and errors"),
	OPTION_COUNT(struct cli_common, verbose, "verbose", 'v', "say more; twice for still more"),
	OPTION_FLAG(struct cli_common, no_cache, "no-cache", 0, "keep nothing on this machine: no cache of the index and of folders, no signing key"),
	OPTION_SIZE(struct cli_common, cache_size, "cache-size", 0, "SIZE",
	            "keep so much of what describes folders and snapshots (see: twofold help cache)", CACHE_SIZE_UNSET, 0, 0),
	OPTION_SIZE(struct cli_common, limit_upload, "limit-upload", 0, "RATE", "write at most RATE bytes a second to the repository: 500K, 2M (or TWOFOLD_LIMIT_UPLOAD)", 0, 1024, 0),
	OPTION_SIZE(struct cli_common, limit_download, "limit-download", 0, "RATE", "read at most RATE bytes a second from it (or TWOFOLD_LIMIT_DOWNLOAD)", 0, 1024, 0),
	OPTION_FLAG(struct cli_common, help, "help", 'h', "show help for the command"),
	OPTION_END,
};

static bool takes_value(const struct option_spec *spec)
{
	return spec->kind != OPTION_KIND_FLAG && spec->kind != OPTION_KIND_COUNT;
}

void options_init(const struct option_target *target)
{
	for (const struct option_spec *s = target->specs; s && s->name; s++)
		if (s->kind == OPTION_KIND_NUMBER || s->kind == OPTION_KIND_SIZE)
			memcpy((char *)target->args + s->offset, &s->initial, sizeof s->initial);
}

void options_done(const struct option_target *target)
{
	for (const struct option_spec *s = target->specs; s && s->name; s++) {
		if (s->kind != OPTION_KIND_LIST)
			continue;
		struct text_list *list = (void *)((char *)target->args + s->offset);
		free(list->items);
		*list = (struct text_list){ NULL, 0 };
	}
}

bool option_parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGTP";
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	char *end;
	uint64_t whole = strtoull(text, &end, 10);
	if (errno)
		return false;
	double fraction = 0, place = 1;
	if (*end == '.')
		for (end++; isdigit((unsigned char)*end); end++) {
			place /= 10;
			fraction += (*end - '0') * place;
		}
	uint64_t unit = 1;
	const char *found = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	if (found) {
		unit <<= 10 * (found - units + 1);
		end++;
		if (end[0] == 'i' && end[1] == 'B')
			end++;
	}
	if (*end == 'B')
		end++;
	uint64_t scaled;
	if (*end || __builtin_mul_overflow(whole, unit, &scaled))
		return false;
	return !__builtin_add_overflow(scaled, (uint64_t)(fraction * (double)unit), ret);
}

unsigned option_distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned row[42];
	if (la > 40 || lb > 40)
		return 100;
	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned corner = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = corner + (a[i - 1] != b[j - 1]);
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			corner = row[j];
			row[j] = best;
		}
	}
	return row[lb];
}

/* A place in the tables: which option, and the struct that it fills. */
struct match {
	const struct option_spec *spec;
	void *args;
};

static struct match find_long(const struct option_target *targets, size_t count, const char *name, size_t len)
{
	for (size_t t = 0; t < count; t++)
		for (const struct option_spec *s = targets[t].specs; s && s->name; s++)
			if (strlen(s->name) == len && memcmp(s->name, name, len) == 0)
				return (struct match){ s, targets[t].args };
	return (struct match){ NULL, NULL };
}

static struct match find_letter(const struct option_target *targets, size_t count, char letter)
{
	for (size_t t = 0; t < count; t++)
		for (const struct option_spec *s = targets[t].specs; s && s->name; s++)
			if (s->letter && s->letter == letter)
				return (struct match){ s, targets[t].args };
	return (struct match){ NULL, NULL };
}

static int unknown_option(const struct option_target *targets, size_t count, const char *name, size_t len, struct error *err)
{
	char given[41];
	snprintf(given, sizeof given, "%.*s", (int)(len < 40 ? len : 40), name);
	const char *nearest = NULL;
	unsigned best = 4;
	for (size_t t = 0; t < count; t++)
		for (const struct option_spec *s = targets[t].specs; s && s->name; s++) {
			unsigned d = option_distance(given, s->name);
			bool begins = len >= 2 && strncmp(s->name, given, strlen(given)) == 0;
			if (begins)
				d = 1;
			if (d < best && (begins || d * 2 <= strlen(s->name))) {
				best = d;
				nearest = s->name;
			}
		}
	if (nearest)
		return error_set(err, ERR_INVALID, "unknown option --%s; did you mean --%s?", given, nearest);
	return error_set(err, ERR_INVALID, "unknown option --%s", given);
}

static int set_number(const struct match *m, const char *value, struct error *err)
{
	const struct option_spec *s = m->spec;
	uint64_t v;
	bool ok;
	if (s->kind == OPTION_KIND_SIZE) {
		ok = option_parse_size(value, &v);
	} else {
		errno = 0;
		char *end;
		v = strtoull(value, &end, 10);
		ok = isdigit((unsigned char)*value) && !*end && !errno;
	}
	if (!ok)
		return error_set(err, ERR_INVALID, "--%s %s: not a %s", s->name, value,
		                 s->kind == OPTION_KIND_SIZE ? "size (such as 100, 64K, 1.5M, 2G)" : "number");
	if (v < s->min || (s->max && v > s->max))
		return error_set(err, ERR_INVALID, "--%s %s: must lie between %llu and %llu", s->name, value,
		                 (unsigned long long)s->min, (unsigned long long)(s->max ? s->max : UINT64_MAX));
	memcpy((char *)m->args + s->offset, &v, sizeof v);
	return 0;
}

static int set_choice(const struct match *m, const char *value, struct error *err)
{
	char all[200] = "";
	for (unsigned i = 0; m->spec->choices[i]; i++) {
		if (strcmp(m->spec->choices[i], value) == 0) {
			memcpy((char *)m->args + m->spec->offset, &i, sizeof i);
			return 0;
		}
		size_t used = strlen(all);
		snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", m->spec->choices[i]);
	}
	return error_set(err, ERR_INVALID, "--%s %s: must be one of %s", m->spec->name, value, all);
}

static int add_to_list(const struct match *m, const char *value, struct error *err)
{
	struct text_list *list = (void *)((char *)m->args + m->spec->offset);
	const char **items = reallocarray(list->items, list->count + 1, sizeof *items);
	if (!items)
		return error_set(err, ERR_NOMEM, "out of memory");
	list->items = items;
	list->items[list->count++] = value;
	return 0;
}

static int set_option(const struct match *m, const char *value, struct error *err)
{
	char *member = (char *)m->args + m->spec->offset;
	switch (m->spec->kind) {
	case OPTION_KIND_FLAG: *(bool *)(void *)member = true; return 0;
	case OPTION_KIND_COUNT: ++*(unsigned *)(void *)member; return 0;
	case OPTION_KIND_OPTIONAL: memcpy(member, &(const char *){ value ? value : "" }, sizeof value); return 0;
	case OPTION_KIND_TEXT: memcpy(member, &value, sizeof value); return 0;
	case OPTION_KIND_LIST: return add_to_list(m, value, err);
	case OPTION_KIND_CHOICE: return set_choice(m, value, err);
	case OPTION_KIND_NUMBER:
	case OPTION_KIND_SIZE: return set_number(m, value, err);
	}
	return 0;
}

/* argv[*at] is "--name" or "--name=value"; moves *at over a value that stands by itself. */
static int parse_long(int argc, char **argv, int *at, const struct option_target *targets, size_t count, struct error *err)
{
	const char *name = argv[*at] + 2;
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	struct match m = find_long(targets, count, name, len);
	if (!m.spec)
		return unknown_option(targets, count, name, len, err);
	const char *value = equals ? equals + 1 : NULL;
	if (value && !takes_value(m.spec))
		return error_set(err, ERR_INVALID, "--%s takes no value", m.spec->name);
	if (!value && takes_value(m.spec) && m.spec->kind != OPTION_KIND_OPTIONAL) {
		if (*at + 1 >= argc)
			return error_set(err, ERR_INVALID, "--%s needs a value: %s", m.spec->name, m.spec->value);
		value = argv[++*at];
	}
	return set_option(&m, value, err);
}

/* argv[*at] is "-abc" or "-pFILE" or "-p" with the value behind it. */
static int parse_letters(int argc, char **argv, int *at, const struct option_target *targets, size_t count, struct error *err)
{
	for (const char *c = argv[*at] + 1; *c; c++) {
		struct match m = find_letter(targets, count, *c);
		if (!m.spec)
			return isprint((unsigned char)*c) ? error_set(err, ERR_INVALID, "unknown option -%c", *c)
			                                  : error_set(err, ERR_INVALID, "unknown option");
		const char *value = NULL;
		if (takes_value(m.spec) && m.spec->kind != OPTION_KIND_OPTIONAL) {
			if (c[1])
				value = c + 1;
			else if (*at + 1 < argc)
				value = argv[++*at];
			else
				return error_set(err, ERR_INVALID, "-%c needs a value: %s", *c, m.spec->value);
		}
		if (set_option(&m, value, err) < 0)
			return -1;
		if (value)
			return 0;
	}
	return 0;
}

int options_parse(int argc, char **argv, const struct option_target *targets, size_t target_count, bool stop_at_operand,
                  int *ret_operands, int *ret_next, struct error *err)
{
	int operands = 0, at = 1;
	bool ended = false;
	for (; at < argc; at++) {
		char *arg = argv[at];
		bool is_option = !ended && arg[0] == '-' && arg[1];
		if (!is_option) {
			if (stop_at_operand)
				break;
			argv[1 + operands++] = arg;
		} else if (strcmp(arg, "--") == 0) {
			ended = true;
		} else if (arg[1] == '-') {
			if (parse_long(argc, argv, &at, targets, target_count, err) < 0)
				return -1;
		} else if (parse_letters(argc, argv, &at, targets, target_count, err) < 0) {
			return -1;
		}
	}
	*ret_operands = operands;
	*ret_next = at;
	return 0;
}
