/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/opened.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"
#include "view/diff.h"

struct diff_args {
	bool metadata;
};

static const struct option_spec diff_options[] = {
	OPTION_FLAG(struct diff_args, metadata, "metadata", 'm', "show also where only owner, mode, times or attributes differ"),
	OPTION_END,
};

static const struct {
	char letter;
	const char *name;
} changes[] = {
	[VIEW_ADDED] = { '+', "added" },
	[VIEW_REMOVED] = { '-', "removed" },
	[VIEW_REPLACED] = { 'T', "replaced" },
	[VIEW_CONTENT] = { 'M', "content" },
	[VIEW_META] = { 'm', "metadata" },
};

struct differences {
	struct cli *cli;
	bool metadata;
	uint64_t counts[VIEW_META + 1];
	uint64_t bytes_added, bytes_removed;
};

static void tell_json(struct differences *d, enum view_change change, const char *path, size_t path_len, const struct node *a, const struct node *b)
{
	json_t *o = json_pack("{ssss}", "type", "change", "change", changes[change].name);
	cli_json_bytes(o, "path", path, path_len);
	json_object_set_new(o, "kind", json_string(show_type((change == VIEW_REMOVED ? a : b)->attr.mode)));
	if (change != VIEW_ADDED)
		json_object_set_new(o, "size_before", json_integer((json_int_t)a->attr.size));
	if (change != VIEW_REMOVED)
		json_object_set_new(o, "size_after", json_integer((json_int_t)b->attr.size));
	cli_json(d->cli, o);
}

static int note(void *cookie, enum view_change change, const char *path, size_t path_len, const struct node *a, const struct node *b, struct error *err)
{
	struct differences *d = cookie;
	if (cli_interrupted())
		return error_set(err, ERR_CANCELLED, "interrupted");
	d->counts[change]++;
	if (change != VIEW_REMOVED && change != VIEW_META && S_ISREG(b->attr.mode))
		d->bytes_added += b->attr.size;
	if (change != VIEW_ADDED && change != VIEW_META && S_ISREG(a->attr.mode))
		d->bytes_removed += a->attr.size;
	if (change == VIEW_META && !d->metadata)
		return 0;
	CLEAN_BUF struct buf line = BUF_INIT;
	buf_add_u8(&line, '/');
	buf_add(&line, path, path_len);
	if (!buf_ok(&line))
		return error_set(err, ERR_NOMEM, "compare: out of memory");
	if (d->cli->common.json) {
		tell_json(d, change, (const char *)line.data, line.len, a, b);
		return 0;
	}
	CLEAN_FREE char *text = text_escaped(line.data, line.len);
	bool folder = path_len && S_ISDIR((change == VIEW_REMOVED ? a : b)->attr.mode);
	cli_print(d->cli, "%c  %s%s\n", changes[change].letter, text ? text : "out of memory", folder ? "/" : "");
	return 0;
}

static void summarise(const struct differences *d)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX], e[TEXT_MAX], f[TEXT_MAX], g[TEXT_MAX], h[TEXT_MAX];
	cli_say(d->cli, "%s added, %s removed, %s replaced, %s with other content, %s with other metadata only; %s went, %s came\n",
	        text_count(a, d->counts[VIEW_ADDED]), text_count(b, d->counts[VIEW_REMOVED]), text_count(c, d->counts[VIEW_REPLACED]),
	        text_count(e, d->counts[VIEW_CONTENT]), text_count(f, d->counts[VIEW_META]), text_size(g, d->bytes_removed), text_size(h, d->bytes_added));
	if (!d->cli->common.json)
		return;
	json_t *o = json_pack("{ss}", "type", "summary");
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
		json_object_set_new(o, changes[i].name, json_integer((json_int_t)d->counts[i]));
	json_object_set_new(o, "bytes_removed", json_integer((json_int_t)d->bytes_removed));
	json_object_set_new(o, "bytes_added", json_integer((json_int_t)d->bytes_added));
	cli_json(d->cli, o);
}

static int diff_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN_OPENED struct opened a = { 0 };
	CLEAN_OPENED struct opened b = { 0 };
	CLEAN(node_done) struct node from = { 0 };
	CLEAN(node_done) struct node to = { 0 };
	struct differences d = { .cli = cli, .metadata = ((const struct diff_args *)args)->metadata };
	if (cli_open_repo(cli, SESSION_INDEX, &repo, err) < 0 || opened_snapshot(&a, repo, cli->operands[0], err) < 0 ||
	    opened_snapshot(&b, repo, cli->operands[1], err) < 0 || opened_node(&a, &from, err) < 0 || opened_node(&b, &to, err) < 0)
		return -1;
	struct view_place before = { a.view, &from }, after = { b.view, &to };
	if (view_diff(&before, &after, note, &d, err) < 0)
		return error_add(err, "compare %s and %s", a.name, b.name);
	summarise(&d);
	return 0;
}

const struct command command_diff = {
	.name = "diff",
	.group = GROUP_READ,
	.summary = "show what differs between two snapshots",
	.operands = "SNAPSHOT[:PATH] SNAPSHOT[:PATH]",
	.min_operands = 2,
	.max_operands = 2,
	.about = "+ is only in the second, - only in the first, M has other content, T is of another type, m (with --metadata) has another owner, mode, time or attribute.\n"
		 "Folders that are equal are not opened. A snapshot of files and a partition of an image can be compared too.",
	.examples = "twofold diff 3f09c2d1 latest\n# the partition in an image with a file backup of it\ntwofold diff 3f09c2d1:/p2/home latest:/home",
	.options = diff_options,
	.args_size = sizeof(struct diff_args),
	.run = diff_run,
};
