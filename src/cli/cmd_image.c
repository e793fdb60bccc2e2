/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "block/occupied.h"
#include "capture/image.h"
#include "cli/commands.h"
#include "cli/parity.h"
#include "cli/session.h"
#include "cli/summary.h"

struct image_args {
	struct text_list tags;
	const char *host;
	bool allow_mounted, raw;
	uint64_t level;
};

static const struct option_spec image_cli_options[] = {
	OPTION_FLAG(struct image_args, allow_mounted, "allow-mounted", 0, "take the image although the source is mounted for writing"),
	OPTION_FLAG(struct image_args, raw, "raw", 0, "look into no filesystem: store every byte that is not zero"),
	OPTION_LIST(struct image_args, tags, "tag", 't', "TAG", "mark the snapshot with TAG"),
	OPTION_TEXT(struct image_args, host, "host", 0, "NAME", "name of the host to record instead of this one's"),
	OPTION_NUMBER(struct image_args, level, "level", 0, "N", "zstd compression level", 3, 1, 19),
	OPTION_END,
};

/* A filesystem that changes while it is read gives an image of no moment at all. */
static int refuse_mounted(const struct image_args *a, const char *path, struct error *err)
{
	CLEAN_BUF struct buf by = BUF_INIT;
	if (occupied_by(path, OCCUPIED_WRITING, &by, err) < 0)
		return error_add(err, "image");
	if (!by.len || a->allow_mounted)
		return 0;
	return error_set(err, ERR_BUSY, "image: %s is in use (%.*s); unmount it or mount it read-only, or give --allow-mounted to take it as it changes", path, (int)by.len,
	                 (const char *)by.data);
}

static int image_run(struct cli *cli, const void *args, struct error *err)
{
	const struct image_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	if (refuse_mounted(a, cli->operands[0], err) < 0)
		return -1;
	if (cli_open_repo(cli, SESSION_CREATE | SESSION_WRITES, &repo, err) < 0)
		return -1;
	struct progress progress;
	struct warner warner = cli_warner(cli);
	struct capture_image_options options = {
		.path = cli->operands[0],
		.raw = a->raw,
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
	cli_progress_start(cli, &progress, "taking an image");
	int done = capture_image(repo, &options, &snapshot, &id, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	if (done < 0)
		return error_add(err, "image");
	summary_of_backup(cli, &snapshot, &id);
	snapshot_done(&snapshot);
	if (!seal_is_write_only(repo->keys)) /* parity is computed over what others wrote, too */
		cli_parity_after_backup(cli, repo);
	return 0;
}

const struct command command_image = {
	.name = "image",
	.group = GROUP_BACKUP,
	.summary = "store a whole disk or partition as a new snapshot",
	.operands = "DEVICE|FILE",
	.min_operands = 1,
	.max_operands = 1,
	.about = "Stores a disk with its partition table, boot code and every filesystem, or a single partition; in DEVICE's place a regular file that holds a disk. Filesystems that "
		 "twofold can read (ext2, ext3, ext4) are stored by what they use, and their files can be listed, searched and restored one by one; files that a file backup has stored "
		 "cost nothing again. Everything else is stored by what is not zero.",
	.examples = "twofold image /dev/sda\ntwofold image disk.img",
	.options = image_cli_options,
	.args_size = sizeof(struct image_args),
	.run = image_run,
};
