/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/opened.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"

struct ls_args {
	bool details, recursive;
};

static const struct option_spec ls_options[] = {
	OPTION_FLAG(struct ls_args, details, "long", 'l', "show mode, links, owner, group, size and time"),
	OPTION_FLAG(struct ls_args, recursive, "recursive", 'R', "show everything below, too"),
	OPTION_END,
};

struct listing {
	struct cli *cli;
	const struct ls_args *args;
	struct buf path;   /* of the place that is listed, in the snapshot: "/etc", "" for the root */
	size_t start_len;
};

/* The path that was asked for, with one slash before each component. */
static void add_clean_path(struct buf *ret, const char *path, size_t len)
{
	for (const char *end = path + len; path < end;) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		size_t n = (size_t)((slash ? slash : end) - path);
		if (n && !(n == 1 && path[0] == '.')) {
			buf_add_u8(ret, '/');
			buf_add(ret, path, n);
		}
		path += n + (slash != NULL);
	}
}

static int list_node(void *cookie, enum view_walk_event event, const char *path, size_t path_len, struct node *node, struct error *err)
{
	struct listing *l = cookie;
	(void)event;
	if (cli_interrupted())
		return error_set(err, ERR_CANCELLED, "interrupted");
	if (path_len == 0)
		return 0;
	show_entry(l->cli, node, path, path_len, l->args->details);
	if (l->cli->common.json) {
		l->path.len = l->start_len;
		buf_add_u8(&l->path, '/');
		buf_add(&l->path, path, path_len);
		if (!buf_ok(&l->path))
			return error_set(err, ERR_NOMEM, "list: out of memory");
		cli_json(l->cli, show_entry_json("entry", node, (const char *)l->path.data, l->path.len));
	}
	return l->args->recursive ? 0 : VIEW_SKIP;
}

static int folder_is_broken(void *cookie, const char *path, size_t path_len, const struct error *why)
{
	struct listing *l = cookie;
	CLEAN_FREE char *text = text_escaped(path, path_len);
	cli_warn(l->cli, "the folder %s cannot be read in full: %s", path_len && text ? text : "that was asked for", why->text);
	return 0;
}

static int list_folder(struct listing *l, const struct opened *o, const struct node *node, struct error *err)
{
	struct view_walk walk = { .fn = list_node, .cookie = l, .broken = folder_is_broken };
	if (!node->has_tree && node->note)
		return error_set(err, ERR_UNSUPPORTED, "list /%s of snapshot %s: its files cannot be seen one by one: %s", node->name, o->name, node->note);
	add_clean_path(&l->path, o->path, o->path_len);
	l->start_len = l->path.len;
	/* Everything below the start is visited; list_node keeps out of deeper folders. */
	return view_walk(o->view, node, &walk, err);
}

static int list_one(struct listing *l, const struct opened *o, const struct node *node)
{
	add_clean_path(&l->path, o->path, o->path_len);
	show_entry(l->cli, node, NULL, 0, l->args->details);
	if (l->cli->common.json)
		cli_json(l->cli, show_entry_json("entry", node, (const char *)l->path.data, l->path.len));
	return 0;
}

static int ls_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN_OPENED struct opened o = { 0 };
	CLEAN(node_done) struct node node = { 0 };
	struct listing l = { cli, args, BUF_INIT, 0 };
	if (cli_open_repo(cli, SESSION_INDEX, &repo, err) < 0 || opened_snapshot(&o, repo, cli->operands[0], err) < 0 || opened_node(&o, &node, err) < 0)
		return -1;
	int done = S_ISDIR(node.attr.mode) ? list_folder(&l, &o, &node, err) : list_one(&l, &o, &node);
	buf_done(&l.path);
	return done < 0 ? -1 : 0;
}

const struct command command_ls = {
	.name = "ls",
	.group = GROUP_READ,
	.summary = "list files of a snapshot",
	.operands = "SNAPSHOT[:PATH]",
	.min_operands = 1,
	.max_operands = 1,
	.about = "SNAPSHOT is an id, its first digits, or \"latest\". In the image of a disk the partitions are the folders /p1, /p2 and so on.\n"
		 "With --json everything that is stored of each entry is shown.",
	.examples = "twofold ls latest\ntwofold ls -l latest:/etc\ntwofold ls -R 3f09c2d1:/p2/home",
	.options = ls_options,
	.args_size = sizeof(struct ls_args),
	.run = ls_run,
};
