/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"
#include "view/find.h"

struct find_args {
	struct text_list snapshots;
	bool ignore_case, details;
	unsigned type;
};

static const char *const types[] = { "any", "f", "d", "l", "p", "s", "b", "c", NULL };
static const uint32_t type_modes[] = { 0, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR };

static const struct option_spec find_options[] = {
	OPTION_LIST(struct find_args, snapshots, "snapshot", 's', "ID", "search only this snapshot"),
	OPTION_FLAG(struct find_args, ignore_case, "ignore-case", 'i', "capital and small letters are the same"),
	OPTION_CHOICE(struct find_args, type, "type", 't', "TYPE", "only: f file, d folder, l symlink, p fifo, s socket, b or c device", types),
	OPTION_FLAG(struct find_args, details, "long", 'l', "show mode, links, owner, group, size and time"),
	OPTION_END,
};

/* A pattern as fnmatch wants it. */
struct pattern {
	char *glob;     /* owned */
	bool on_path;
};

struct search {
	struct cli *cli;
	const struct find_args *args;
	struct pattern *patterns;
	size_t count;
	const struct id *snapshot; /* that is searched now */
	uint64_t found;
};

/* A slash in front: from the root. A slash elsewhere: at any depth. */
static int make_pattern(struct pattern *ret, const char *text, struct error *err)
{
	ret->on_path = strchr(text, '/') != NULL;
	if (asprintf(&ret->glob, "%s%s", ret->on_path && text[0] != '/' ? "*/" : "", text) < 0) {
		ret->glob = NULL;
		return error_set(err, ERR_NOMEM, "find: out of memory");
	}
	return 0;
}

static bool matches(void *cookie, const char *path, size_t path_len, const struct node *node)
{
	const struct search *s = cookie;
	if (s->args->type && (node->attr.mode & S_IFMT) != type_modes[s->args->type])
		return false;
	/* Neither holds a zero byte; the path is not terminated. */
	CLEAN_FREE char *whole = NULL;
	for (size_t i = 0; i < s->count; i++) {
		const struct pattern *p = &s->patterns[i];
		if (p->on_path && !whole && !(whole = strndup(path, path_len)))
			return true; /* out of memory: better one too many */
		if (fnmatch(p->glob, p->on_path ? whole : node->name, s->args->ignore_case ? FNM_CASEFOLD : 0) == 0)
			return true;
	}
	return false;
}

static int found(void *cookie, const char *path, size_t path_len, const struct node *node, struct error *err)
{
	struct search *s = cookie;
	char hex[ID_HEX_SIZE];
	CLEAN_BUF struct buf line = BUF_INIT;
	id_to_hex(s->snapshot, hex);
	s->found++;
	if (s->cli->common.json) {
		json_t *o = show_entry_json("match", node, path, path_len);
		json_object_set_new(o, "snapshot", json_string(hex));
		cli_json(s->cli, o);
		return 0;
	}
	buf_add(&line, hex, 16);
	buf_add_u8(&line, ':');
	buf_add(&line, path, path_len);
	if (!buf_ok(&line))
		return error_set(err, ERR_NOMEM, "find: out of memory");
	show_entry(s->cli, node, (const char *)line.data, line.len, s->args->details);
	return 0;
}

static int folder_is_broken(void *cookie, const char *path, size_t path_len, const struct error *why)
{
	struct search *s = cookie;
	char hex[ID_HEX_SIZE];
	CLEAN_FREE char *text = text_escaped(path, path_len);
	id_to_hex(s->snapshot, hex);
	cli_warn(s->cli, "%.16s:%s cannot be read in full: %s", hex, text ? text : "a folder", why->text);
	return 0;
}

static int search_snapshot(struct search *s, struct view_find *find, struct repo *repo, const struct id *id, const struct snapshot *snapshot, struct error *err)
{
	CLEAN_VIEW struct view *view = NULL;
	struct view_find_calls calls = { found, folder_is_broken, s };
	if (cli_interrupted())
		return error_set(err, ERR_CANCELLED, "interrupted");
	if (view_open(&view, repo, snapshot, err) < 0)
		return -1;
	s->snapshot = id;
	int done = view_find_run(find, view, &calls, err);
	s->snapshot = NULL;
	return done;
}

static int search_named(struct search *s, struct view_find *find, struct repo *repo, struct error *err)
{
	for (size_t i = 0; i < s->args->snapshots.count; i++) {
		CLEAN(snapshot_done) struct snapshot snapshot = { 0 };
		struct id id;
		if (repo_snapshot_find(repo, s->args->snapshots.items[i], &id, &snapshot, err) < 0 || search_snapshot(s, find, repo, &id, &snapshot, err) < 0)
			return -1;
	}
	return 0;
}

static int search_all(struct search *s, struct view_find *find, struct repo *repo, struct error *err)
{
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	if (repo_snapshots(repo, &list, err) < 0)
		return -1;
	for (size_t i = 0; i < list.count; i++)
		if (search_snapshot(s, find, repo, &list.items[i].id, &list.items[i].snapshot, err) < 0)
			return -1;
	if (list.damaged)
		cli_warn(s->cli, "%zu snapshots cannot be read: %s", list.damaged, list.first_error.text);
	return 0;
}

static int search(struct search *s, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN(view_find_cleanup) struct view_find *find = NULL;
	bool names_only = true;
	for (size_t i = 0; i < s->count; i++) {
		if (make_pattern(&s->patterns[i], s->cli->operands[i], err) < 0)
			return -1;
		names_only &= !s->patterns[i].on_path;
	}
	if (cli_open_repo(s->cli, SESSION_INDEX, &repo, err) < 0 || view_find_new(&find, matches, s, names_only, err) < 0)
		return -1;
	if ((s->args->snapshots.count ? search_named(s, find, repo, err) : search_all(s, find, repo, err)) < 0)
		return -1;
	if (!s->found)
		cli_say(s->cli, "nothing found\n");
	return 0;
}

static int find_run(struct cli *cli, const void *args, struct error *err)
{
	struct search s = { .cli = cli, .args = args, .count = cli->operand_count };
	s.patterns = calloc(s.count, sizeof *s.patterns);
	if (!s.patterns)
		return error_set(err, ERR_NOMEM, "find: out of memory");
	int done = search(&s, err);
	for (size_t i = 0; i < s.count; i++)
		free(s.patterns[i].glob);
	free(s.patterns);
	return done;
}

const struct command command_find = {
	.name = "find",
	.group = GROUP_READ,
	.summary = "find files by name in all snapshots",
	.operands = "PATTERN...",
	.min_operands = 1,
	.max_operands = COMMAND_ANY,
	.about = "PATTERN is a glob: * stands for anything, ? for one character, [a-z] for one of these. It is compared with the name; one with a slash in it is compared\n"
		 "with the path (then * stands for slashes too): from the root when it begins with a slash, otherwise with the path's last part.\n"
		 "Each line is SNAPSHOT:PATH, as ls, cat and restore take it.",
	.examples = "twofold find '*.odt'\ntwofold find -i 'invoice*' --type f\ntwofold find '/home/*/.ssh/*' --snapshot latest",
	.options = find_options,
	.args_size = sizeof(struct find_args),
	.run = find_run,
};
