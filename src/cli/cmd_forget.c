/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/filter.h"
#include "cli/prune.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"
#include "repo/retention.h"

struct forget_args {
	uint64_t keep[RETAIN_COUNTS];
	const char *keep_within;
	struct text_list keep_tags;
	struct snapshot_filter filter;
	const char *group_by;
	bool dry_run, prune;
};

#define KEEP(rule, name, help) OPTION_NUMBER(struct forget_args, keep[rule], name, 0, "N", help, 0, 0, 0)

static const struct option_spec forget_options[] = {
	KEEP(RETAIN_LAST, "keep-last", "keep the newest N"),
	KEEP(RETAIN_HOURLY, "keep-hourly", "keep the last of each of N hours that have any"),
	KEEP(RETAIN_DAILY, "keep-daily", "keep the last of each of N days that have any"),
	KEEP(RETAIN_WEEKLY, "keep-weekly", "keep the last of each of N weeks (from Monday) that have any"),
	KEEP(RETAIN_MONTHLY, "keep-monthly", "keep the last of each of N months that have any"),
	KEEP(RETAIN_YEARLY, "keep-yearly", "keep the last of each of N years that have any"),
	OPTION_TEXT(struct forget_args, keep_within, "keep-within", 0, "DURATION", "keep what is at most so much older than the newest: 1y6m14d12h (m: months)"),
	OPTION_LIST(struct forget_args, keep_tags, "keep-tag", 0, "TAG", "keep those with this tag"),
	FILTER_OPTIONS(struct forget_args, filter),
	OPTION_TEXT(struct forget_args, group_by, "group-by", 0, "LIST", "apply the rules to each group by itself (default: host,source,kind; also tag, or none)"),
	OPTION_FLAG(struct forget_args, dry_run, "dry-run", 'n', "only show what would be kept, why, and what forgotten"),
	OPTION_FLAG(struct forget_args, prune, "prune", 0, "then give back the space, as twofold prune does"),
	OPTION_END,
};

/* --- what was asked for ------------------------------------------------------------------------ */

static int parse_groups(struct cli *cli, const char *text, unsigned *ret, struct error *err)
{
	static const struct {
		const char *name;
		unsigned bit;
	} names[] = { { "host", RETENTION_BY_HOST }, { "source", RETENTION_BY_SOURCES }, { "kind", RETENTION_BY_KIND }, { "tag", RETENTION_BY_TAGS }, { "none", 0 } };
	unsigned by = 0;
	if (!text)
		text = "host,source,kind";
	for (const char *at = text;; at++) {
		size_t len = strcspn(at, ","), i = 0;
		while (i < sizeof names / sizeof *names && (strlen(names[i].name) != len || strncmp(names[i].name, at, len) != 0))
			i++;
		if (i == sizeof names / sizeof *names)
			return cli_usage(cli, err, "forget: --group-by %s: give some of host, source, kind, tag, with commas between, or none", text);
		by |= names[i].bit;
		at += len;
		if (!*at)
			break;
	}
	*ret = by;
	return 0;
}

static int read_rules(struct cli *cli, const struct forget_args *a, struct retention *ret, unsigned *ret_by, struct error *err)
{
	struct retention r = { .has_within = a->keep_within != NULL, .tags = a->keep_tags.items, .tag_count = a->keep_tags.count, .now = time_now() };
	struct error why = { 0 };
	memcpy(r.counts, a->keep, sizeof r.counts);
	if (a->keep_within && retention_parse_span(a->keep_within, &r.within, &why) < 0)
		return cli_usage(cli, err, "forget: --keep-within: %s", why.text);
	if (cli->operand_count && (retention_has_rule(&r) || filter_is_set(&a->filter) || a->group_by))
		return cli_usage(cli, err, "forget: name snapshots, or give rules (--keep-...), not both");
	if (!cli->operand_count && !retention_has_rule(&r))
		return cli_usage(cli, err, "forget: say what to keep (such as --keep-daily 7 --keep-monthly 12), or name the snapshots to forget; nothing was forgotten");
	*ret = r;
	return parse_groups(cli, a->group_by, ret_by, err);
}

/* --- forgetting -------------------------------------------------------------------------------------- */

struct forgetting {
	struct cli *cli;
	struct repo *repo;
	bool dry_run;
	size_t kept, forgotten, gone, locked;
	char locked_why[300];
};

static int forget_one(struct forgetting *f, const struct id *id, struct error *err)
{
	char hex[ID_HEX_SIZE];
	struct error why = { 0 };
	id_to_hex(id, hex);
	if (cli_interrupted())
		return error_set(err, ERR_CANCELLED, "forget: interrupted after %zu snapshots", f->forgotten);
	if (!f->dry_run && repo_snapshot_forget(f->repo, id, &why) < 0) {
		if (why.kind == ERR_PROTECTED) {
			if (!f->locked++)
				snprintf(f->locked_why, sizeof f->locked_why, "%.16s: %.250s", hex, why.text);
			return 0;
		}
		if (why.kind != ERR_NOT_FOUND) {
			*err = why;
			return error_add(err, "%.16s", hex);
		}
		f->gone++;
		cli_say(f->cli, "%.16s is gone already\n", hex);
		return 0;
	}
	f->forgotten++;
	return 0;
}

static void summarise(const struct forgetting *f)
{
	char a[TEXT_MAX], b[TEXT_MAX];
	if (f->kept || !f->forgotten)
		cli_say(f->cli, "%s %s snapshots, %s %s kept\n", f->dry_run ? "would forget" : "forgot", text_count(a, f->forgotten), text_count(b, f->kept),
		        f->kept == 1 ? "is" : "are");
	else
		cli_say(f->cli, "%s %s snapshots\n", f->dry_run ? "would forget" : "forgot", text_count(a, f->forgotten));
	cli_json(f->cli, json_pack("{ss, sI, sI, sI, sI, sb}", "type", "summary", "forgotten", (json_int_t)f->forgotten, "kept", (json_int_t)f->kept, "gone", (json_int_t)f->gone, "locked", (json_int_t)f->locked,
	                           "dry_run", (int)f->dry_run));
}

/* --- by name ------------------------------------------------------------------------------------------- */

/* As many digits as a listing shows: that none begins so is no slip of the keyboard, it was forgotten before. */
#define DIGITS_SHOWN 16

static int resolve(struct forgetting *f, const char *name, struct id *ret, bool *ret_found, struct error *err)
{
	struct error why = { 0 };
	*ret_found = true;
	if (strcmp(name, "latest") == 0) {
		struct snapshot s = { 0 };
		if (repo_snapshot_find(f->repo, name, ret, &s, err) < 0)
			return -1;
		snapshot_done(&s);
		return 0;
	}
	if (repo_snapshot_resolve(f->repo, name, ret, &why) == 0)
		return 0;
	if (why.kind != ERR_NOT_FOUND || strlen(name) < DIGITS_SHOWN) {
		*err = why;
		return -1;
	}
	f->gone++;
	cli_say(f->cli, "%.16s is gone already\n", name);
	*ret_found = false;
	return 0;
}

/* All names are looked up before anything is forgotten. */
static int forget_named(struct forgetting *f, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	for (size_t i = 0; i < f->cli->operand_count; i++) {
		struct id id;
		bool found;
		if (resolve(f, f->cli->operands[i], &id, &found, err) < 0)
			return -1;
		if (found)
			buf_add(&ids, &id, sizeof id);
	}
	if (!buf_ok(&ids))
		return error_set(err, ERR_NOMEM, "forget: out of memory");
	const struct id *list = (const void *)ids.data;
	for (size_t i = 0; i < ids.len / sizeof *list; i++) {
		char hex[ID_HEX_SIZE];
		if (forget_one(f, &list[i], err) < 0)
			return -1;
		id_to_hex(&list[i], hex);
		cli_json(f->cli, json_pack("{ss, ss, ss}", "type", "forget", "snapshot", hex, "action", "forget"));
	}
	return 0;
}

/* --- by rules ---------------------------------------------------------------------------------------------- */

static const char *const rule_names[] = { "last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "tag", "its time is none" };

static void add_reasons(struct buf *b, const struct retention_verdict *v)
{
	for (unsigned rule = 0; rule < sizeof rule_names / sizeof *rule_names; rule++) {
		if (!(v->kept_by >> rule & 1))
			continue;
		if (b->len)
			buf_add(b, ", ", 2);
		if (v->as_oldest >> rule & 1)
			buf_add(b, "oldest ", 7);
		buf_add(b, rule_names[rule], strlen(rule_names[rule]));
	}
	buf_add_u8(b, 0);
}

static void show_judged(struct cli *cli, struct table *t, const struct snapshot_entry *e, const struct retention_verdict *v)
{
	char hex[ID_HEX_SIZE], time[TEXT_MAX];
	CLEAN_BUF struct buf tags = BUF_INIT, reasons = BUF_INIT;
	id_to_hex(&e->id, hex);
	show_joined(&tags, &e->snapshot.tags);
	add_reasons(&reasons, v);
	const char *why = buf_ok(&reasons) ? (const char *)reasons.data : "";
	table_cell(t, "%s", v->kept_by ? "keep" : "forget");
	table_cell(t, "%.16s", hex);
	table_cell(t, "%s", text_time(time, e->snapshot.time));
	table_cell(t, "%s", buf_ok(&tags) ? (const char *)tags.data : "");
	table_cell(t, "%s", why);
	cli_json(cli, json_pack("{ss, ss, ss, ss, ss}", "type", "forget", "snapshot", hex, "action", v->kept_by ? "keep" : "forget", "time",
	                        text_time_utc(time, e->snapshot.time), "why", why));
}

/* What all of the group's snapshots have in common. */
static void show_group(struct cli *cli, const struct snapshot *s, unsigned by)
{
	CLEAN_BUF struct buf sources = BUF_INIT, tags = BUF_INIT;
	CLEAN_FREE char *host = text_escaped(s->host, strlen(s->host));
	show_joined(&sources, &s->sources);
	show_joined(&tags, &s->tags);
	cli_print(cli, "%s%s%s%s%s%s%s\n", by & RETENTION_BY_HOST ? "host " : "all hosts", by & RETENTION_BY_HOST && host ? host : "",
	          !(by & RETENTION_BY_KIND) ? "" : s->kind == SNAPSHOT_IMAGE ? ", image" : ", files", by & RETENTION_BY_SOURCES ? " of " : "",
	          by & RETENTION_BY_SOURCES && buf_ok(&sources) ? (const char *)sources.data : "", by & RETENTION_BY_TAGS ? ", tags: " : "",
	          by & RETENTION_BY_TAGS && buf_ok(&tags) ? (const char *)tags.data : "");
}

/* The snapshots that the filter takes, group after group, each oldest first. */
struct chosen {
	const struct snapshot_entry **entries;
	const struct snapshot **snapshots; /* the same, as the rules want them */
	struct retention_verdict *verdicts;
	size_t count;
};

static void chosen_done(struct chosen *c)
{
	free(c->entries);
	free(c->snapshots);
	free(c->verdicts);
}

static int by_group(const void *a, const void *b, void *by)
{
	const struct snapshot_entry *x = *(const struct snapshot_entry *const *)a, *y = *(const struct snapshot_entry *const *)b;
	int c = retention_compare(&x->snapshot, &y->snapshot, *(const unsigned *)by);
	return c ? c : (x > y) - (x < y); /* entries of one array, which is in order of time */
}

static int choose(struct chosen *c, const struct snapshot_list *list, const struct snapshot_filter *filter, unsigned by, struct error *err)
{
	c->entries = calloc(list->count + 1, sizeof *c->entries);
	c->snapshots = calloc(list->count + 1, sizeof *c->snapshots);
	c->verdicts = calloc(list->count + 1, sizeof *c->verdicts);
	if (!c->entries || !c->snapshots || !c->verdicts)
		return error_set(err, ERR_NOMEM, "forget: out of memory");
	for (size_t i = 0; i < list->count; i++)
		if (filter_takes(filter, &list->items[i].snapshot))
			c->entries[c->count++] = &list->items[i];
	qsort_r(c->entries, c->count, sizeof *c->entries, by_group, &by);
	for (size_t i = 0; i < c->count; i++)
		c->snapshots[i] = &c->entries[i]->snapshot;
	return 0;
}

static size_t group_end(const struct chosen *c, size_t start, unsigned by)
{
	size_t end = start + 1;
	while (end < c->count && retention_compare(c->snapshots[start], c->snapshots[end], by) == 0)
		end++;
	return end;
}

static size_t count_kept(const struct chosen *c, size_t start, size_t end)
{
	size_t kept = 0;
	for (size_t i = start; i < end; i++)
		kept += c->verdicts[i].kept_by != 0;
	return kept;
}

static int judge_group(struct forgetting *f, const struct chosen *c, size_t start, size_t end, const struct retention *rules, unsigned by, struct error *err)
{
	static const struct table_column columns[] = { { "", false }, { "id", false }, { "time", false }, { "tags", false }, { "kept by", false } };
	CLEAN(table_done) struct table t = { .columns = columns, .column_count = sizeof columns / sizeof *columns };
	retention_judge(rules, c->snapshots + start, end - start, c->verdicts + start);
	show_group(f->cli, c->snapshots[start], by);
	for (size_t i = start; i < end; i++)
		show_judged(f->cli, &t, c->entries[i], &c->verdicts[i]);
	if (table_print(f->cli, &t, err) < 0)
		return -1;
	cli_print(f->cli, "\n");
	size_t kept = count_kept(c, start, end);
	f->kept += kept;
	if (!kept)
		return error_set(err, ERR_INVALID, "forget: the rules keep no snapshot at all of the group above, so nothing was forgotten; add a rule, or name the snapshots to forget");
	return 0;
}

static int forget_by_rules(struct forgetting *f, const struct forget_args *a, const struct retention *rules, unsigned by, struct error *err)
{
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	CLEAN(chosen_done) struct chosen c = { 0 };
	if (repo_snapshots(f->repo, &list, err) < 0 || choose(&c, &list, &a->filter, by, err) < 0)
		return -1;
	if (list.damaged)
		cli_warn(f->cli, "%zu snapshots cannot be read, so no rule can judge them (name them to forget them): %s", list.damaged, list.first_error.text);
	for (size_t start = 0, end; start < c.count; start = end) {
		end = group_end(&c, start, by);
		if (judge_group(f, &c, start, end, rules, by, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < c.count; i++)
		if (!c.verdicts[i].kept_by && forget_one(f, &c.entries[i]->id, err) < 0)
			return -1;
	return 0;
}

static int forget_run(struct cli *cli, const void *args, struct error *err)
{
	const struct forget_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	struct retention rules;
	unsigned by = 0;
	if (read_rules(cli, a, &rules, &by, err) < 0 || cli_open_repo(cli, 0, &repo, err) < 0)
		return -1;
	struct forgetting f = { .cli = cli, .repo = repo, .dry_run = a->dry_run };
	if ((cli->operand_count ? forget_named(&f, err) : forget_by_rules(&f, a, &rules, by, err)) < 0)
		return -1;
	if (f.locked && !f.forgotten && cli->operand_count)
		return error_set(err, ERR_PROTECTED, "%s", f.locked_why);
	if (f.locked)
		cli_warn(cli, "%zu snapshots stay, as they are locked: %s", f.locked, f.locked_why);
	summarise(&f);
	if (a->prune && !a->dry_run)
		return cli_prune(cli, repo, &(struct prune_limits){ .max_unused = PRUNE_MAX_UNUSED, .max_repack = UINT64_MAX, .fence_seconds = SESSION_FENCE_SECONDS, .keep_seconds = UNFINISHED_KEEP_SECONDS }, err);
	if (f.forgotten && !a->dry_run)
		cli_say(cli, "the space that only they needed is given back by: twofold prune\n");
	return 0;
}

const struct command command_forget = {
	.name = "forget",
	.group = GROUP_REPOSITORY,
	.summary = "remove snapshots, by name or by rules for what to keep",
	.operands = "[SNAPSHOT...]",
	.max_operands = COMMAND_ANY,
	.about = "Only the snapshots go: what they held stays stored until twofold prune, or --prune here, deletes what no other snapshot needs.\n"
		 "A snapshot stays if any rule keeps it. Rules apply to each group of snapshots (same host, sources and kind) by itself, and only to those that --host, --path, --tag "
		 "and --kind choose. A rule such as --keep-daily 7 counts days that have a snapshot, keeps the last one of each, and the oldest of all while there are fewer days than that. "
		 "Days are those of the local time zone. --keep-within counts from the newest snapshot of the group, not from today.\n"
		 "Rules that would leave nothing of a group are refused. Snapshots that the storage has locked until a date (init --lock-for) stay, and are counted in a warning.",
	.examples = "twofold forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly 10 --dry-run\ntwofold forget --keep-last 3 --prune\ntwofold forget --keep-within 30d --keep-tag release\n"
		    "# one snapshot\ntwofold forget 3f09a1c2d4e5f607",
	.options = forget_options,
	.args_size = sizeof(struct forget_args),
	.run = forget_run,
};
