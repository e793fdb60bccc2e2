/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "capture/files.h"
#include "cli/commands.h"
#include "cli/parity.h"
#include "cli/session.h"
#include "cli/summary.h"

struct backup_args {
	struct text_list exclude, exclude_from, if_present, tags;
	const char *larger_than, *host;
	bool caches, one_file_system, read_all;
	uint64_t level;
};

static const struct option_spec backup_options[] = {
	OPTION_LIST(struct backup_args, exclude, "exclude", 'e', "GLOB", "leave out what matches, as in .gitignore"),
	OPTION_LIST(struct backup_args, exclude_from, "exclude-from", 0, "FILE", "read such patterns from FILE, one a line"),
	OPTION_FLAG(struct backup_args, caches, "exclude-caches", 0, "leave out the content of folders marked by a CACHEDIR.TAG"),
	OPTION_LIST(struct backup_args, if_present, "exclude-if-present", 0, "NAME", "leave out the content of folders that hold an entry NAME"),
	OPTION_TEXT(struct backup_args, larger_than, "exclude-larger-than", 0, "SIZE", "leave out files over SIZE (100K, 2G)"),
	OPTION_FLAG(struct backup_args, one_file_system, "one-file-system", 'x', "do not enter other filesystems mounted below PATH"),
	OPTION_FLAG(struct backup_args, read_all, "read-all", 'f', "read every file, also those whose time stamps say that they are unchanged"),
	OPTION_LIST(struct backup_args, tags, "tag", 't', "TAG", "mark the snapshot with TAG"),
	OPTION_TEXT(struct backup_args, host, "host", 0, "NAME", "name of the host to record instead of this one's"),
	OPTION_NUMBER(struct backup_args, level, "level", 0, "N", "zstd compression level", 3, 1, 19),
	OPTION_END,
};

static int fill_exclude(struct exclude *ex, const struct backup_args *a, struct error *err)
{
	for (size_t i = 0; i < a->exclude.count; i++)
		if (exclude_add(ex, a->exclude.items[i], err) < 0)
			return -1;
	for (size_t i = 0; i < a->exclude_from.count; i++)
		if (exclude_add_file(ex, a->exclude_from.items[i], err) < 0)
			return -1;
	for (size_t i = 0; i < a->if_present.count; i++)
		if (exclude_add_marker(ex, a->if_present.items[i], err) < 0)
			return -1;
	if (a->larger_than && exclude_set_larger_than(ex, a->larger_than, err) < 0)
		return -1;
	if (a->caches)
		exclude_set_caches(ex);
	if (a->one_file_system)
		exclude_set_one_file_system(ex);
	return 0;
}

static int backup_run(struct cli *cli, const void *args, struct error *err)
{
	const struct backup_args *a = args;
	CLEAN_EXCLUDE struct exclude *ex = NULL;
	CLEAN_REPO struct repo *repo = NULL;
	if (exclude_new(&ex, err) < 0 || fill_exclude(ex, a, err) < 0)
		return -1;
	if (cli_open_repo(cli, SESSION_CREATE | SESSION_WRITES, &repo, err) < 0)
		return -1;
	struct progress progress;
	struct warner warner = cli_warner(cli);
	struct capture_files_options options = {
		.paths = (const char *const *)cli->operands,
		.path_count = cli->operand_count,
		.exclude = ex,
		.read_all = a->read_all,
		.host = a->host ? a->host : cli_host(),
		.user = cli_user(),
		.program = "twofold " TWOFOLD_VERSION,
		.tags = a->tags.items,
		.tag_count = a->tags.count,
		.level = (int)a->level,
		.progress = &progress,
		.warner = &warner,
	};
	struct snapshot snapshot = { 0 };
	struct id id;
	progress_init(&progress, cli_stop_flag());
	cli_progress_start(cli, &progress, "backing up");
	int done = capture_files(repo, &options, &snapshot, &id, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	if (done < 0)
		return error_add(err, "backup");
	summary_of_backup(cli, &snapshot, &id);
	snapshot_done(&snapshot);
	if (!seal_is_write_only(repo->keys)) /* parity is computed over what others wrote, too */
		cli_parity_after_backup(cli, repo);
	return 0;
}

const struct command command_backup = {
	.name = "backup",
	.group = GROUP_BACKUP,
	.summary = "store files and folders as a new snapshot",
	.operands = "PATH...",
	.min_operands = 1,
	.max_operands = COMMAND_ANY,
	.about = "Stores everything below each PATH with all that the system knows of it. What is in the repository already is not stored again; files whose type, size, times and "
		 "inode are those of the last snapshot of the same paths are not even opened.\n"
		 "\n"
		 "Files that cannot be read, or change while they are read, are named; the snapshot is made all the same, and the exit code is 3.",
	.examples = "twofold backup ~\ntwofold backup /etc /home --exclude '*.o' --exclude /home/*/.cache\n# everything but other filesystems\ntwofold backup --one-file-system /",
	.options = backup_options,
	.args_size = sizeof(struct backup_args),
	.run = backup_run,
};
