/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/filter.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"
#include "repo/signers.h"

struct snapshots_args {
	struct snapshot_filter filter;
	uint64_t latest;
	bool accept;
};

static const struct option_spec snapshots_options[] = {
	FILTER_OPTIONS(struct snapshots_args, filter),
	OPTION_NUMBER(struct snapshots_args, latest, "latest", 'n', "N", "only the newest N of them", 0, 0, 0),
	OPTION_FLAG(struct snapshots_args, accept, "accept", 0, "take what is there for right where it differs from the log"),
	OPTION_END,
};

static void add_row(struct table *t, const struct snapshot_entry *e)
{
	const struct snapshot *s = &e->snapshot;
	char hex[ID_HEX_SIZE], text[TEXT_MAX];
	CLEAN_BUF struct buf sources = BUF_INIT, tags = BUF_INIT;
	CLEAN_FREE char *host = text_escaped(s->host, strlen(s->host));
	id_to_hex(&e->id, hex);
	show_joined(&sources, &s->sources);
	show_joined(&tags, &s->tags);
	table_cell(t, "%.16s", hex);
	table_cell(t, "%s", text_time(text, s->time));
	table_cell(t, "%s", s->kind == SNAPSHOT_IMAGE ? "image" : "files");
	table_cell(t, "%s", host ? host : "");
	table_cell(t, "%s", text_count(text, s->totals.files));
	table_cell(t, "%s", text_size(text, s->totals.bytes));
	table_cell(t, "%s", text_size(text, s->totals.added_stored));
	char by[64] = "", writer[ID_HEX_SIZE];
	id_to_hex(&s->writer, writer);
	if (s->has_writer)
		snprintf(by, sizeof by, "  (by write-only key %.16s)", writer);
	table_cell(t, "%s%s%s", buf_ok(&sources) ? (const char *)sources.data : "", s->totals.warnings ? "  (with warnings)" : "", by);
	table_cell(t, "%s", buf_ok(&tags) ? (const char *)tags.data : "");
}

/* Marks what is wanted, the newest last; returns how many. */
static size_t choose(const struct snapshot_list *list, const struct snapshots_args *a, bool *wanted)
{
	size_t count = 0;
	for (size_t i = list->count; i-- > 0;) {
		wanted[i] = filter_takes(&a->filter, &list->items[i].snapshot) && (!a->latest || count < a->latest);
		count += wanted[i];
	}
	return count;
}

static int print(struct cli *cli, const struct snapshot_list *list, const struct snapshots_args *a, struct error *err)
{
	static const struct table_column columns[] = { { "id", false }, { "time", false }, { "kind", false }, { "host", false }, { "files", true },
		                                       { "size", true }, { "added", true }, { "source", false }, { "tags", false } };
	CLEAN(table_done) struct table t = { .columns = columns, .column_count = sizeof columns / sizeof *columns };
	CLEAN_FREE bool *wanted = calloc(list->count + 1, sizeof *wanted);
	if (!wanted)
		return error_set(err, ERR_NOMEM, "list snapshots: out of memory");
	size_t count = choose(list, a, wanted);
	for (size_t i = 0; i < list->count; i++) {
		if (!wanted[i])
			continue;
		add_row(&t, &list->items[i]);
		if (cli->common.json)
			cli_json(cli, show_snapshot_json(&list->items[i].id, &list->items[i].snapshot));
	}
	if (table_print(cli, &t, err) < 0)
		return -1;
	if (!list->count)
		cli_say(cli, "no snapshots yet; make one with: twofold backup PATH, or: twofold image DEVICE\n");
	else if (count < list->count)
		cli_say(cli, "%zu of %zu snapshots\n", count, list->count);
	return 0;
}

static void warn_each(struct cli *cli, const char *kind, const struct buf *ids, const char *what)
{
	for (size_t at = 0; at < ids->len; at += ID_SIZE) {
		struct id id;
		char hex[ID_HEX_SIZE];
		memcpy(id.b, ids->data + at, ID_SIZE);
		id_to_hex(&id, hex);
		cli_warn(cli, "%s %.16s: %s", kind, hex, what);
	}
}

/* Whose signatures they bear. */
static int look_at_signers(struct cli *cli, struct repo *repo, const struct repo_log *l, const struct snapshot_list *list, struct error *err)
{
	CLEAN(signers_judgement_done) struct signers_judgement j = { 0 };
	if (signers_judge(repo, l, list, false, &j, err) < 0)
		return -1;
	for (size_t i = 0; i < j.count; i++) {
		char hex[ID_HEX_SIZE], text[SIGNERS_TEXT_MAX];
		id_to_hex(&j.items[i].id, hex);
		cli_warn(cli, "%s %.16s %s", j.items[i].is_entry ? "log" : "snapshot", hex, signers_text(l, &j.items[i], text));
	}
	return 0;
}

/* What the log says of it. A warning is for what no sound storage does. */
static int compare_log(struct cli *cli, struct repo *repo, const struct snapshot_list *list, struct error *err)
{
	CLEAN(log_findings_done) struct log_findings f = { 0 };
	if (repo_log_compare(repo, &f, err) < 0)
		return -1;
	warn_each(cli, "snapshot", &f.vanished, LOG_VANISHED);
	warn_each(cli, "snapshot", &f.returned, LOG_RETURNED);
	warn_each(cli, "log", &f.missing, LOG_MISSING);
	warn_each(cli, "log", &f.lost, LOG_LOST);
	warn_each(cli, "log", &f.log.changed, LOG_CHANGED);
	if (f.older_keys)
		cli_warn(cli, LOG_OLDER_KEYS);
	if (f.damaged)
		cli_warn(cli, "%zu entries of the log cannot be read: %s", f.damaged, f.first_error.text);
	if (f.exists && f.unlogged.len)
		cli_say(cli, "%zu %s not in the log yet: of a write-only key, an older program, or a backup that was interrupted at its very end; the next backup with another key takes %s in\n", f.unlogged.len / ID_SIZE,
		        f.unlogged.len == ID_SIZE ? "snapshot is" : "snapshots are", f.unlogged.len == ID_SIZE ? "it" : "them");
	return look_at_signers(cli, repo, &f.log, list, err);
}

static int snapshots_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	const struct snapshots_args *a = args;
	if (cli_open_repo(cli, 0, &repo, err) < 0 || (a->accept && (repo_log_accept(repo, err) < 0 || signers_accept(repo, err) < 0)) || repo_snapshots(repo, &list, err) < 0)
		return -1;
	if (print(cli, &list, args, err) < 0)
		return -1;
	if (list.damaged)
		cli_warn(cli, "%zu %s cannot be read: %s", list.damaged, list.damaged == 1 ? "snapshot" : "snapshots", list.first_error.text);
	if (list.unconfirmed)
		cli_warn(cli, list.unconfirmed == 1 ? "%zu more does not count, since its backup was given up before it had finished; run twofold prune, which makes sure of it"
		                                    : "%zu more do not count, since their backups were given up before they had finished; run twofold prune, which makes sure of them",
		         list.unconfirmed);
	return compare_log(cli, repo, &list, err);
}

const struct command command_snapshots = {
	.name = "snapshots",
	.group = GROUP_READ,
	.summary = "list what is in the repository",
	.about = "Oldest first. \"added\" is what the snapshot cost: the bytes that it added to the repository, compressed.\n"
		 "\n"
		 "Every backup and every forget is noted in a sealed log. A snapshot that is gone though nobody forgot it, one that is there again, and a storage that went back in time since this machine "
		 "last looked, are named in warnings. Entries are signed by a key of each user and machine; what comes in the name of a host and is not signed by a key that signed for it when you first looked is "
		 "named, too (twofold key signing lists these keys). --accept notes that all of this is right.",
	.examples = "twofold snapshots\ntwofold snapshots --kind image --latest 3\n# which of them hold a folder\ntwofold snapshots --path /home/ana/letters",
	.options = snapshots_options,
	.args_size = sizeof(struct snapshots_args),
	.run = snapshots_run,
};
