/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/location.h"
#include "cli/session.h"
#include "cli/text.h"
#include "repo/repair.h"

struct repair_args {
	const char *from, *from_password, *disk;
	bool originals, cut, dry_run, discard;
};

static const struct option_spec repair_options[] = {
	OPTION_TEXT(struct repair_args, from, "from", 0, "LOCATION", "take what is lost from another repository: a copy of this one (twofold copy, or cp, rsync, rclone), or one that the same machines are backed up into"),
	OPTION_TEXT(struct repair_args, from_password, "from-password-file", 0, "FILE", "its password or key file (default: as for the repository itself)"),
	OPTION_FLAG(struct repair_args, originals, "originals", 0, "take what is lost from the files and disks that were backed up, where they are unchanged"),
	OPTION_TEXT(struct repair_args, disk, "disk", 0, "PATH", "with --originals: the disk or file that images were taken of (default: where it was then)"),
	OPTION_FLAG(struct repair_args, cut, "cut", 0, "write snapshots anew without what stays lost"),
	OPTION_FLAG(struct repair_args, dry_run, "dry-run", 'n', "only say what is damaged, and what could be done"),
	OPTION_FLAG(struct repair_args, discard, "discard-aside", 0, "only delete what earlier repairs have replaced and kept"),
	OPTION_END,
};

static void tell_healed(void *cookie, const char *object, const char *how)
{
	struct cli *cli = cookie;
	cli_print(cli, "healed: %s: %s\n", object, how);
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, ss, ss}", "type", "healed", "object", object, "how", how));
}

static void tell_lost(void *cookie, const char *object, const char *why)
{
	struct cli *cli = cookie;
	CLEAN_FREE char *text = text_escaped(why, strlen(why));
	cli_print(cli, "lost: %s: %s\n", object, text ? text : "out of memory");
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, ss, ss}", "type", "lost", "object", object, "text", text ? text : ""));
}

static void tell_hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what, bool cut)
{
	struct cli *cli = cookie;
	char hex[ID_HEX_SIZE];
	CLEAN_FREE char *text = text_escaped(what, strlen(what)), *place = area ? strdup(area) : text_escaped(path, path_len);
	id_to_hex(snapshot, hex);
	cli_print(cli, "%s: %.16s%s%s: %s\n", cut ? "cut" : "hit", hex, area ? ", " : ":", place ? place : "", text ? text : "out of memory");
	if (!cli->common.json)
		return;
	json_t *o = json_pack("{ss, ss, ss}", "type", cut ? "cut" : "hit", "snapshot", hex, "text", text ? text : "");
	if (area)
		json_object_set_new(o, "area", json_string(area));
	else
		cli_json_bytes(o, "path", path, path_len);
	cli_json(cli, o);
}

static void tell_replaced(void *cookie, const struct id *old, const struct id *new)
{
	struct cli *cli = cookie;
	char a[ID_HEX_SIZE], b[ID_HEX_SIZE];
	id_to_hex(old, a);
	id_to_hex(new, b);
	cli_print(cli, "snapshot %.16s is replaced by %.16s\n", a, b);
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, ss, ss}", "type", "replaced", "snapshot", a, "by", b));
}

static void summarise(struct cli *cli, const struct repair_report *r)
{
	const struct {
		const char *name, *text;
		uint64_t value;
	} numbers[] = {
		{ "objects", "objects read and authenticated", r->objects },
		{ "damaged", "damaged", r->damaged },
		{ "missing", "missing", r->missing },
		{ "healed", "healed, bit for bit", r->healed },
		{ "indexed_packs", "packs put into the index again", r->indexed_packs },
		{ "replaced_packs", "packs given up", r->replaced_packs },
		{ "salvaged_chunks", "chunks saved out of these", r->salvaged_chunks },
		{ "lost_chunks", "chunks lost with these", r->lost_chunks },
		{ "from_other", "chunks taken from the other repository", r->from_other },
		{ "from_originals", "chunks taken from the original files", r->from_originals },
		{ "hits", "files that lack something", r->hits },
		{ "cut_snapshots", "snapshots written anew without what is lost", r->cut_snapshots },
		{ "unhealed", "objects that stay damaged", r->unhealed },
	};
	json_t *o = json_pack("{ss}", "type", "summary");
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		char count[TEXT_MAX];
		if (numbers[i].value)
			cli_say(cli, "%-10s %s\n", text_count(count, numbers[i].value), numbers[i].text);
		json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	}
	if (cli->common.json)
		cli_json(cli, o);
	else
		json_decref(o);
	if (!r->damaged && !r->missing && !r->hits && !r->indexed_packs)
		cli_say(cli, "nothing is damaged\n");
}

/* The header and the keys have to be whole before anything can be opened. */
static int open_entrance(struct cli *cli, const struct repair_options *options, const struct repair_sink *sink, struct error *err)
{
	CLEAN_LOCATION struct location location = { 0 };
	CLEAN_STORE struct store *store = NULL;
	uint64_t healed = 0;
	if (seal_init(err) < 0 || location_resolve(&location, cli, NULL, err) < 0 || store_open(&store, location.text, false, err) < 0 || cli_limit_store(cli, &store, err) < 0 ||
	    repair_entrance(store, options, sink, &healed, err) < 0)
		return error_add(err, "repair");
	return 0;
}

/* The other repository, as if --repo named it. */
static int open_other(struct cli *cli, const struct repair_args *a, struct repo **ret, struct error *err)
{
	const struct cli_common own = cli->common;
	if (!a->from)
		return 0;
	cli->common.repository = a->from;
	if (a->from_password)
		cli->common.password_file = a->from_password;
	int done = cli_open_repo(cli, SESSION_INDEX, ret, err);
	cli->common = own;
	return done < 0 ? error_add(err, "--from %s", a->from) : 0;
}

/* With other keys it has to have snapshots of what was backed up here. */
static int check_other(struct repo *repo, struct repo *other, const char *name, struct error *err)
{
	bool any;
	if (repair_has_counterparts(repo, other, &any, err) < 0)
		return error_add(err, "repair: --from %s", name);
	return any ? 0 : error_set(err, ERR_INVALID, "repair: --from %s has other keys, and holds no snapshot of a machine that was backed up here; nothing can be taken from it", name);
}

static int discard(struct cli *cli, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	uint64_t count;
	if (cli_open_repo(cli, 0, &repo, err) < 0 || repair_discard_aside(repo->store, &count, err) < 0)
		return -1;
	cli_say(cli, "deleted %llu objects that repairs had put aside\n", (unsigned long long)count);
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, sI}", "type", "discarded", "objects", (json_int_t)count));
	return 0;
}

static int repair_run(struct cli *cli, const void *args, struct error *err)
{
	const struct repair_args *a = args;
	CLEAN_REPO struct repo *repo = NULL, *other = NULL;
	struct repair_report report = { 0 };
	struct progress progress;
	const struct repair_sink sink = { tell_healed, tell_lost, tell_hit, tell_replaced, cli };
	struct repair_options options = { .dry_run = a->dry_run, .cut = a->cut, .originals = a->originals, .disk = a->disk, .host = cli_host(), .level = 3, .progress = &progress };
	if (a->discard)
		return discard(cli, err);
	if (a->from_password && !a->from)
		return cli_usage(cli, err, "repair: --from-password-file says nothing without --from");
	if (a->disk && !a->originals)
		return cli_usage(cli, err, "repair: --disk says nothing without --originals");
	progress_init(&progress, cli_stop_flag());
	int done = open_entrance(cli, &options, &sink, err);
	if (done == 0)
		done = cli_open_repo(cli, 0, &repo, err);
	if (done == 0)
		done = open_other(cli, a, &other, err);
	if (done == 0 && other && !repo_same_chunks(repo, other))
		done = check_other(repo, other, a->from, err);
	options.from = other;
	if (done == 0) {
		cli_progress_start(cli, &progress, "repairing");
		done = repo_repair(repo, &options, &sink, &report, err);
		cli_progress_stop(cli);
	}
	progress_done(&progress);
	if (done < 0)
		return -1;
	summarise(cli, &report);
	if (report.unhealed || report.hits > report.cut_hits)
		return error_set(err, ERR_CORRUPT, "repair: not all could be made whole: %llu objects stay damaged, %llu files lack something (named above)",
		                 (unsigned long long)report.unhealed, (unsigned long long)(report.hits - report.cut_hits));
	return 0;
}

const struct command command_repair = {
	.name = "repair",
	.group = GROUP_REPOSITORY,
	.summary = "heal what is damaged or lost, as far as anything is left to do it with",
	.about = "Reads and authenticates every object. What is damaged or missing comes back from parity (twofold parity add), bit for bit; a lost index out of the packs; of packs that cannot be healed, what is "
		 "whole is stored anew. What then still is missing comes from another repository (--from: a copy of this one, or one that the same machines are backed up into), or out of the original files and disks (--originals). Each line that begins with \"hit\" names a "
		 "file that lacks something; --cut writes the snapshots anew without that: lost parts of files become holes, and the files are marked as incomplete.\n"
		 "\n"
		 "Nothing is overwritten: what is replaced is kept in the repository, below aside/, until --discard-aside.",
	.examples = "twofold repair --dry-run\ntwofold repair\ntwofold repair --from /media/usb/copy\ntwofold repair --originals --cut\ntwofold repair --discard-aside",
	.options = repair_options,
	.args_size = sizeof(struct repair_args),
	.run = repair_run,
};
