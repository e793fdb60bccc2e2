/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <time.h>

#include "capture/exclude.h"
#include "cli/commands.h"
#include "cli/operand.h"
#include "cli/session.h"
#include "cli/text.h"
#include "restore/files.h"

struct restore_args {
	const char *target;
	unsigned overwrite;
	bool dry_run, verify, numeric_ids;
	struct text_list include, exclude;
};

/* In the order of enum restore_overwrite. */
static const char *const overwrite_choices[] = { "if-changed", "always", "if-newer", "never", NULL };

static const struct option_spec restore_cli_options[] = {
	OPTION_TEXT(struct restore_args, target, "target", 't', "DIR", "where to; made where it is missing (needed)"),
	OPTION_CHOICE(struct restore_args, overwrite, "overwrite", 0, "WHEN", "what happens to files that are there already", overwrite_choices),
	OPTION_LIST(struct restore_args, include, "include", 'i', "GLOB", "only what matches, as in .gitignore, and all below it"),
	OPTION_LIST(struct restore_args, exclude, "exclude", 'e', "GLOB", "leave out what matches, as in .gitignore"),
	OPTION_FLAG(struct restore_args, numeric_ids, "numeric-ids", 0, "give owners and groups by number, not by name"),
	OPTION_FLAG(struct restore_args, verify, "verify", 0, "read every restored file back and compare it"),
	OPTION_FLAG(struct restore_args, dry_run, "dry-run", 'n', "only say what would be done (-v names every entry)"),
	OPTION_END,
};

struct chooser {
	struct cli *cli;
	struct exclude *include, *exclude; /* NULL: none */
	bool verbose;
};

static void chooser_done(struct chooser *c)
{
	exclude_free(c->include);
	exclude_free(c->exclude);
}

static int fill(struct exclude **ret, const struct text_list *globs, struct error *err)
{
	if (globs->count == 0)
		return 0;
	if (exclude_new(ret, err) < 0)
		return -1;
	for (size_t i = 0; i < globs->count; i++)
		if (exclude_add(*ret, globs->items[i], err) < 0)
			return -1;
	return 0;
}

static enum restore_choice choose(void *cookie, const char *path, size_t len, bool is_dir, bool within)
{
	const struct chooser *c = cookie;
	if (c->exclude && exclude_match(c->exclude, path, len, 1, is_dir))
		return RESTORE_SKIP;
	if (!c->include || within || exclude_match(c->include, path, len, 1, is_dir))
		return RESTORE_TAKE;
	return is_dir ? RESTORE_LOOK : RESTORE_SKIP;
}

static void tell(void *cookie, enum restore_action action, const char *path, size_t len)
{
	static const char *const names[] = { "create", "replace", "unchanged", "keep" };
	const struct chooser *c = cookie;
	CLEAN_FREE char *text = text_escaped(path, len);
	cli_detail(c->cli, 1, "%-9s %s\n", names[action], text ? text : "");
	if (!c->cli->common.json)
		return;
	json_t *object = json_pack("{ss, ss}", "type", "entry", "action", names[action]);
	cli_json_bytes(object, "path", path, len);
	cli_json(c->cli, object);
}

static void say_json(struct cli *cli, const struct restore_result *r, bool dry_run, uint64_t nanoseconds)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "files", r->files },
		{ "folders", r->folders },
		{ "symlinks", r->symlinks },
		{ "specials", r->specials },
		{ "hard_links", r->hard_links },
		{ "bytes", r->bytes },
		{ "replaced", r->replaced },
		{ "unchanged", r->unchanged },
		{ "kept", r->kept },
		{ "damaged", r->damaged },
		{ "failed", r->failed },
		{ "incomplete_attributes", r->incomplete_attributes },
		{ "verified", r->verified },
		{ "nanoseconds", nanoseconds },
	};
	if (!cli->common.json)
		return;
	json_t *object = json_pack("{ss, sb}", "type", "summary", "dry_run", (int)dry_run);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(object, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	cli_json(cli, object);
}

static void say(struct cli *cli, const struct restore_args *a, const struct restore_result *r, uint64_t nanoseconds)
{
	char t[7][TEXT_MAX];
	cli_say(cli, "%s %s files (%s), %s folders, %s symlinks, %s others, %s hard links\n", a->dry_run ? "would restore" : "restored     ", text_count(t[0], r->files),
	        text_size(t[1], r->bytes), text_count(t[2], r->folders), text_count(t[3], r->symlinks), text_count(t[4], r->specials), text_count(t[5], r->hard_links));
	if (r->replaced || r->unchanged || r->kept)
		cli_say(cli, "were there    %s replaced, %s unchanged and skipped, %s kept\n", text_count(t[0], r->replaced), text_count(t[1], r->unchanged),
		        text_count(t[2], r->kept));
	if (a->verify && !a->dry_run)
		cli_say(cli, "verified      %s files\n", text_count(t[0], r->verified));
	if (r->damaged || r->failed || r->incomplete_attributes)
		cli_say(cli, "incomplete    %s damaged, %s not restored, %s without all attributes (see above)\n", text_count(t[0], r->damaged),
		        text_count(t[1], r->failed), text_count(t[2], r->incomplete_attributes));
	cli_say(cli, "time          %s\n", text_duration(t[0], nanoseconds));
}

static uint64_t now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int restore_from(struct cli *cli, struct repo *repo, const struct snapshot *snapshot, const char *path, const struct restore_args *a,
                        struct chooser *chooser, struct error *err)
{
	struct progress progress;
	struct warner warner = cli_warner(cli);
	bool chosen = chooser->include || chooser->exclude, told = cli->common.verbose || (cli->common.json && a->dry_run);
	struct restore_options options = {
		.target = a->target,
		.overwrite = (enum restore_overwrite)a->overwrite,
		.dry_run = a->dry_run,
		.verify = a->verify,
		.numeric_ids = a->numeric_ids,
		.choose = chosen ? choose : NULL,
		.report = told ? tell : NULL,
		.cookie = chooser,
		.warner = &warner,
		.progress = &progress,
	};
	struct restore_result result = { 0 };
	uint64_t start = now();
	progress_init(&progress, cli_stop_flag());
	cli_progress_start(cli, &progress, "restoring");
	int done = restore_files(repo, snapshot, path, &options, &result, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	uint64_t took = now() - start;
	say(cli, a, &result, took);
	say_json(cli, &result, a->dry_run, took);
	return done;
}

static int restore_run(struct cli *cli, const void *args, struct error *err)
{
	const struct restore_args *a = args;
	CLEAN(chooser_done) struct chooser chooser = { .cli = cli };
	CLEAN_REPO struct repo *repo = NULL;
	if (!a->target || !*a->target)
		return cli_usage(cli, err, "restore: --target DIR is needed; it says where to (the files' own places are --target / )");
	if (fill(&chooser.include, &a->include, err) < 0 || fill(&chooser.exclude, &a->exclude, err) < 0)
		return -1;
	if (cli_open_repo(cli, SESSION_INDEX, &repo, err) < 0)
		return -1;
	struct snapshot snapshot = { 0 };
	struct id id;
	const char *path;
	if (operand_snapshot(repo, cli->operands[0], &snapshot, &id, &path, err) < 0)
		return -1;
	int done = restore_from(cli, repo, &snapshot, path, a, &chooser, err);
	snapshot_done(&snapshot);
	return done < 0 ? error_add(err, "restore") : 0;
}

const struct command command_restore = {
	.name = "restore",
	.group = GROUP_READ,
	.summary = "bring files and folders of a snapshot back",
	.operands = "SNAPSHOT[:PATH]",
	.min_operands = 1,
	.max_operands = 1,
	.about = "SNAPSHOT is an id, the beginning of one, or \"latest\"; a snapshot of files or of an image (whose partitions are /p1, /p2, ...). Without PATH, paths are kept below DIR: "
		 "/etc/passwd becomes DIR/etc/passwd. With the PATH of a folder, its entries come directly below DIR; with the PATH of a file, that becomes DIR/NAME.\n"
		 "\n"
		 "Everything is restored as it was: content with its holes, owner, mode, times, extended attributes, ACLs, flags, hard links, devices. Without root what the system "
		 "refuses is summed up, and the exit code is 3. A file that the repository cannot give in full is named; what there is of it is restored, with zeros for the rest.\n"
		 "\n"
		 "Nothing outside of DIR is ever touched: a symbolic link in the way is replaced, not followed. Files that are there already are replaced if they differ in type, size or "
		 "modification time (--overwrite if-changed), always, only by newer ones (if-newer), or never; what is not in the snapshot stays. A folder DIR that exists keeps its own owner "
		 "and mode.",
	.examples = "twofold restore latest --target /tmp/all\ntwofold restore latest:/home/me/work --target ./work --verify\n# one folder back to where it was\n"
		    "twofold restore 3f09:/etc --target /etc\n# a file out of the second partition of an image\ntwofold restore latest:/p2/etc/fstab --target .",
	.options = restore_cli_options,
	.args_size = sizeof(struct restore_args),
	.run = restore_run,
};
