/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/filter.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"

struct snapshots_args {
	struct snapshot_filter filter;
	uint64_t latest;
};

static const struct option_spec snapshots_options[] = {
	FILTER_OPTIONS(struct snapshots_args, filter),
	OPTION_NUMBER(struct snapshots_args, latest, "latest", 'n', "N", "only the newest N of them", 0, 0, 0),
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
	table_cell(t, "%s%s", buf_ok(&sources) ? (const char *)sources.data : "", s->totals.warnings ? "  (with warnings)" : "");
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

static int snapshots_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	if (cli_open_repo(cli, 0, &repo, err) < 0 || repo_snapshots(repo, &list, err) < 0)
		return -1;
	if (print(cli, &list, args, err) < 0)
		return -1;
	if (list.damaged)
		cli_warn(cli, "%zu snapshots cannot be read: %s", list.damaged, list.first_error.text);
	if (list.unconfirmed)
		cli_warn(cli, "%zu more do not count, since their backups were given up before they had finished; run twofold prune, which makes sure of them", list.unconfirmed);
	return 0;
}

const struct command command_snapshots = {
	.name = "snapshots",
	.group = GROUP_READ,
	.summary = "list what is in the repository",
	.about = "Oldest first. \"added\" is what the snapshot cost: the bytes that it added to the repository, compressed.",
	.examples = "twofold snapshots\ntwofold snapshots --kind image --latest 3\n# which of them hold a folder\ntwofold snapshots --path /home/ana/letters",
	.options = snapshots_options,
	.args_size = sizeof(struct snapshots_args),
	.run = snapshots_run,
};
