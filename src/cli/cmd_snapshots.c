/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"

struct snapshots_args {
	struct text_list hosts, paths, tags;
	unsigned kind;
	uint64_t latest;
};

static const char *const kinds[] = { "all", "files", "image", NULL };

static const struct option_spec snapshots_options[] = {
	OPTION_LIST(struct snapshots_args, hosts, "host", 0, "NAME", "only those of this host"),
	OPTION_LIST(struct snapshots_args, paths, "path", 0, "PATH", "only those that hold PATH"),
	OPTION_LIST(struct snapshots_args, tags, "tag", 0, "TAG", "only those with this tag"),
	OPTION_CHOICE(struct snapshots_args, kind, "kind", 0, "KIND", "only those of this kind: files or image", kinds),
	OPTION_NUMBER(struct snapshots_args, latest, "latest", 'n', "N", "only the newest N of them", 0, 0, 0),
	OPTION_END,
};

static bool list_has(const struct blob_list *l, const char *text)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->items[i].data, text) == 0)
			return true;
	return false;
}

/* Whether path is one of the sources, or lies below one. */
static bool holds_path(const struct blob_list *sources, const char *path)
{
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	for (size_t i = 0; i < sources->count; i++) {
		const struct blob *source = &sources->items[i];
		bool below = source->len <= len && memcmp(source->data, path, source->len) == 0;
		if (below && (source->len == len || path[source->len] == '/' || (source->len == 1 && source->data[0] == '/')))
			return true;
	}
	return false;
}

static bool is_wanted(const struct snapshot *s, const struct snapshots_args *a)
{
	bool host = a->hosts.count == 0, path = a->paths.count == 0, tag = a->tags.count == 0;
	if (a->kind && (a->kind == 2) != (s->kind == SNAPSHOT_IMAGE))
		return false;
	for (size_t i = 0; i < a->hosts.count && !host; i++)
		host = strcmp(s->host, a->hosts.items[i]) == 0;
	for (size_t i = 0; i < a->paths.count && !path; i++)
		path = holds_path(&s->sources, a->paths.items[i]);
	for (size_t i = 0; i < a->tags.count && !tag; i++)
		tag = list_has(&s->tags, a->tags.items[i]);
	return host && path && tag;
}

static void add_joined(struct buf *b, const struct blob_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		if (i)
			buf_add(b, ", ", 2);
		text_escape(b, l->items[i].data, l->items[i].len);
	}
	buf_add_u8(b, 0);
}

static void add_row(struct table *t, const struct snapshot_entry *e)
{
	const struct snapshot *s = &e->snapshot;
	char hex[ID_HEX_SIZE], text[TEXT_MAX];
	CLEAN_BUF struct buf sources = BUF_INIT, tags = BUF_INIT;
	CLEAN_FREE char *host = text_escaped(s->host, strlen(s->host));
	id_to_hex(&e->id, hex);
	add_joined(&sources, &s->sources);
	add_joined(&tags, &s->tags);
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
		wanted[i] = is_wanted(&list->items[i].snapshot, a) && (!a->latest || count < a->latest);
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
