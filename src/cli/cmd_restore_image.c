/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/operand.h"
#include "cli/session.h"
#include "cli/text.h"
#include "restore/image.h"

struct restore_image_args {
	const char *target;
	uint64_t partition;
	bool yes, verify;
};

static const struct option_spec restore_image_options[] = {
	OPTION_TEXT(struct restore_image_args, target, "target", 't', "DEVICE|FILE", "what to write; a file is made where it is missing (needed)"),
	OPTION_NUMBER(struct restore_image_args, partition, "partition", 0, "N", "only partition N, which then begins at the start of the target", 0, 1, 4096),
	OPTION_FLAG(struct restore_image_args, verify, "verify", 0, "read everything back and compare it"),
	OPTION_FLAG(struct restore_image_args, yes, "yes", 'y', "do not ask before data is written over"),
	OPTION_END,
};

/* Something is on the target: the user must want to lose it. */
static int confirm(struct cli *cli, const struct image_target *target, const struct restore_image_args *a, struct error *err)
{
	const char *carries = image_target_carries(target);
	CLEAN_FREE char *text = text_escaped(carries, strlen(carries));
	char question[1400];
	bool yes = false;
	if (!*carries || a->yes)
		return 0;
	snprintf(question, sizeof question, "%s holds %s. All of it will be lost. Continue?", a->target, text ? text : "data");
	if (cli_ask(cli, question, &yes, err) < 0)
		return -1;
	if (yes)
		return 0;
	return error_set(err, ERR_EXISTS, "%s holds %s; nothing was written (--yes writes over it without asking)", a->target, text ? text : "data");
}

static void say(struct cli *cli, const struct restore_image_args *a, const struct image_result *r)
{
	char t[4][TEXT_MAX];
	cli_say(cli, "restored   %s onto %s: %s of data, %s of zeros, %s unused\n", text_size(t[0], r->size), a->target, text_size(t[1], r->data), text_size(t[2], r->zero),
	        text_size(t[3], r->unused));
	if (r->unreadable || r->lost)
		cli_say(cli, "missing    %s could not be read when the image was taken, %s are lost in the repository; zeros stand there\n", text_size(t[0], r->unreadable),
		        text_size(t[1], r->lost));
	if (r->table_moved)
		cli_say(cli, "the target is larger than the image: the backup partition table was moved to its end\n");
	if (a->verify)
		cli_say(cli, "verified   %s read back and equal\n", text_size(t[0], r->verified));
	if (!cli->common.json)
		return;
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "size", r->size }, { "data", r->data }, { "zero", r->zero },         { "unused", r->unused },
		{ "unreadable", r->unreadable }, { "lost", r->lost }, { "verified", r->verified },
	};
	json_t *object = json_pack("{ss, ss, sb}", "type", "summary", "target", a->target, "table_moved", (int)r->table_moved);
	for (size_t i = 0; object && i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(object, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	if (object)
		cli_json(cli, object);
}

static int restore_onto(struct cli *cli, struct repo *repo, const struct snapshot *snapshot, const struct restore_image_args *a, struct error *err)
{
	CLEAN(image_target_cleanup) struct image_target *target = NULL;
	if (image_target_open(&target, snapshot, a->target, (unsigned)a->partition, err) < 0 || confirm(cli, target, a, err) < 0)
		return -1;
	struct progress progress;
	struct warner warner = cli_warner(cli);
	struct image_options options = { .verify = a->verify, .warner = &warner, .progress = &progress };
	struct image_result result = { 0 };
	progress_init(&progress, cli_stop_flag());
	cli_progress_start(cli, &progress, "restoring the image");
	int done = image_restore(target, repo, snapshot, &options, &result, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	if (done == 0)
		say(cli, a, &result);
	return done;
}

static int restore_image_run(struct cli *cli, const void *args, struct error *err)
{
	const struct restore_image_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	if (!a->target || !*a->target)
		return cli_usage(cli, err, "restore-image: --target DEVICE|FILE is needed; it says what to write");
	if (strchr(cli->operands[0], ':'))
		return cli_usage(cli, err, "restore-image takes a SNAPSHOT without a path; one partition: --partition N; files: twofold restore");
	if (cli_open_repo(cli, SESSION_INDEX, &repo, err) < 0)
		return -1;
	struct snapshot snapshot = { 0 };
	struct id id;
	const char *path;
	if (operand_snapshot(repo, cli->operands[0], &snapshot, &id, &path, err) < 0)
		return -1;
	int done = restore_onto(cli, repo, &snapshot, a, err);
	snapshot_done(&snapshot);
	return done;
}

const struct command command_restore_image = {
	.name = "restore-image",
	.group = GROUP_READ,
	.summary = "write an image, or one partition of it, to a device or file",
	.operands = "SNAPSHOT",
	.min_operands = 1,
	.max_operands = 1,
	.about = "Writes the disk back as it was: partition table, boot code, every filesystem. Zeros and areas that a filesystem did not use become holes in a file and are discarded on "
		 "a device. A target that is larger than the image gets its backup partition table (GPT) moved to its end; one that is smaller is refused, and so is one that is mounted "
		 "or otherwise in use. Before anything known is written over, it is shown and you are asked.\n"
		 "\n"
		 "Ranges that could not be read when the image was taken, or that the repository has lost, are named and restored as zeros; the exit code is then 3.",
	.examples = "twofold restore-image latest --target /dev/sdb --verify\ntwofold restore-image latest --target disk.img\n# one partition, for a script\n"
		    "twofold restore-image 3f09 --partition 2 --target /dev/sdb2 --yes",
	.options = restore_image_options,
	.args_size = sizeof(struct restore_image_args),
	.run = restore_image_run,
};
