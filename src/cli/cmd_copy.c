/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/filter.h"
#include "cli/location.h"
#include "cli/parity.h"
#include "cli/session.h"
#include "cli/text.h"
#include "repo/copy.h"
#include "task/pool.h"

struct copy_args {
	const char *to, *from;
	const char *to_password_file, *to_password_command, *from_password_file, *from_password_command;
	struct snapshot_filter filter;
	bool init, mirror;
	uint64_t level;
};

static const struct option_spec copy_options[] = {
	OPTION_TEXT(struct copy_args, to, "to", 0, "LOCATION", "copy into this repository"),
	OPTION_TEXT(struct copy_args, from, "from", 0, "LOCATION", "copy out of this one, into the one of --repo"),
	OPTION_TEXT(struct copy_args, to_password_file, "to-password-file", 0, "FILE", "password or key of --to (or TWOFOLD_TO_PASSWORD, _FILE, _COMMAND)"),
	OPTION_TEXT(struct copy_args, to_password_command, "to-password-command", 0, "COMMAND", "shell command that prints it"),
	OPTION_TEXT(struct copy_args, from_password_file, "from-password-file", 0, "FILE", "password or key of --from (or TWOFOLD_FROM_PASSWORD, _FILE, _COMMAND)"),
	OPTION_TEXT(struct copy_args, from_password_command, "from-password-command", 0, "COMMAND", "shell command that prints it"),
	FILTER_OPTIONS(struct copy_args, filter),
	OPTION_FLAG(struct copy_args, init, "init", 0, "make the repository of --to where there is none"),
	OPTION_FLAG(struct copy_args, mirror, "mirror", 0, "then forget in the target the copies of snapshots that the source has no more"),
	OPTION_NUMBER(struct copy_args, level, "level", 0, "N", "zstd compression level of what is compressed anew", 3, 1, 19),
	OPTION_END,
};

struct copying {
	struct cli *cli;
	const struct copy_args *args;
	struct repo *from, *to;
	struct copy *copy;
	size_t wanted, copied, known, failed;
	uint64_t lost, added_stored;
};

/* --- repositories -------------------------------------------------------------------------- */

static int open_both(struct copying *k, struct repo **ret_own, struct repo **ret_other, struct error *err)
{
	const struct copy_args *a = k->args;
	struct location other = { .side = a->to ? "TO" : "FROM",
		                  .password_file = a->to ? a->to_password_file : a->from_password_file,
		                  .password_command = a->to ? a->to_password_command : a->from_password_command };
	other.text = strdup(a->to ? a->to : a->from);
	if (!other.text)
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	int done = cli_open_repo(k->cli, SESSION_INDEX, ret_own, err);
	if (done == 0)
		done = cli_open_other(k->cli, &other, SESSION_INDEX | (a->init ? SESSION_CREATE : 0), ret_other, err);
	location_done(&other);
	k->from = a->to ? *ret_own : *ret_other;
	k->to = a->to ? *ret_other : *ret_own;
	return done;
}

/* --- snapshots --------------------------------------------------------------------------------- */

static void tell_lost(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	struct cli *cli = cookie;
	char hex[ID_HEX_SIZE];
	CLEAN_FREE char *text = text_escaped(what, strlen(what)), *place = area ? strdup(area) : text_escaped(path, path_len);
	id_to_hex(snapshot, hex);
	cli_warn(cli, "%.16s%s%s: %s", hex, area ? ", " : ":", place ? place : "", text ? text : "out of memory");
}

static int copy_one(struct copying *k, const struct id *id, const struct snapshot *s, struct error *err)
{
	char from[ID_HEX_SIZE], to[ID_HEX_SIZE], size[TEXT_MAX], time[TEXT_MAX];
	struct copied copied;
	struct error why = { 0 };
	id_to_hex(id, from);
	k->wanted++;
	if (copy_snapshot(k->copy, id, s, &copied, &why) < 0) {
		*err = why;
		if (!copy_is_damage(&why))
			return error_add(err, "copy snapshot %.16s", from);
		k->failed++;
		cli_warn(k->cli, "snapshot %.16s cannot be copied: %s", from, why.text);
		return 0;
	}
	id_to_hex(&copied.id, to);
	k->lost += copied.lost;
	k->added_stored += copied.added_stored;
	k->copied += copied.result == COPY_DONE;
	k->known += copied.result == COPY_KNOWN;
	if (copied.result == COPY_DONE)
		cli_say(k->cli, "copied %.16s of %s as %.16s, stored %s\n", from, text_time(time, s->time), to, text_size(size, copied.added_stored));
	cli_json(k->cli, json_pack("{ss, ss, ss, sb, sI}", "type", "copied", "snapshot", from, "copy", to, "new", copied.result == COPY_DONE, "added_stored", (json_int_t)copied.added_stored));
	return 0;
}

static int copy_named(struct copying *k, struct error *err)
{
	for (size_t i = 0; i < k->cli->operand_count; i++) {
		struct snapshot s = { 0 };
		struct id id;
		if (repo_snapshot_find(k->from, k->cli->operands[i], &id, &s, err) < 0)
			return -1;
		int done = copy_one(k, &id, &s, err);
		snapshot_done(&s);
		if (done < 0)
			return -1;
	}
	return 0;
}

static int copy_all(struct copying *k, bool *ret_whole, struct error *err)
{
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	if (repo_snapshots(k->from, &list, err) < 0)
		return -1;
	if (list.damaged) {
		k->failed += list.damaged;
		cli_warn(k->cli, "%zu snapshots of the source cannot be read: %s", list.damaged, list.first_error.text);
	}
	for (size_t i = 0; i < list.count; i++)
		if (filter_takes(&k->args->filter, &list.items[i].snapshot) && copy_one(k, &list.items[i].id, &list.items[i].snapshot, err) < 0)
			return -1;
	*ret_whole = list.count && !list.damaged && !list.unconfirmed;
	return 0;
}

/* --- mirror --------------------------------------------------------------------------------------- */

/* Only when everything in the source was seen and is well: what is missing for another reason must not take its copy with it. */
static int forget_vanished(struct copying *k, bool whole, size_t *ret_forgotten, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (!whole || k->failed || k->lost)
		return error_set(err, ERR_CORRUPT, "copy: the source %s; nothing was forgotten in the target", whole ? "is damaged (see above)" : "has no snapshots, or some that cannot be seen");
	if (copy_vanished(k->copy, &ids, err) < 0)
		return -1;
	const struct id *list = (const void *)ids.data;
	for (size_t i = 0; i < ids.len / sizeof *list; i++) {
		char hex[ID_HEX_SIZE];
		struct error why = { 0 };
		id_to_hex(&list[i], hex);
		if (cli_interrupted())
			return error_set(err, ERR_CANCELLED, "copy: interrupted");
		int done = repo_snapshot_forget(k->to, &list[i], &why);
		if (done < 0 && why.kind == ERR_PROTECTED) {
			cli_warn(k->cli, "%.16s stays, though the source has it no more: %s", hex, why.text);
			continue;
		}
		if (done < 0 && why.kind != ERR_NOT_FOUND) {
			*err = why;
			return -1;
		}
		++*ret_forgotten;
		cli_say(k->cli, "forgot %.16s, which the source has no more\n", hex);
		cli_json(k->cli, json_pack("{ss, ss}", "type", "forgot", "snapshot", hex));
	}
	return 0;
}

/* --- the command ------------------------------------------------------------------------------------ */

static int check_args(struct cli *cli, const struct copy_args *a, struct error *err)
{
	if (!a->to == !a->from)
		return cli_usage(cli, err, "copy: give the other repository, by --to LOCATION or --from LOCATION");
	if (a->init && !a->to)
		return cli_usage(cli, err, "copy: --init makes the repository of --to; make the one of --repo with: twofold init");
	if (a->mirror && (cli->operand_count || filter_is_set(&a->filter)))
		return cli_usage(cli, err, "copy: --mirror goes by all snapshots: name none, and give no filter");
	if (cli->operand_count && filter_is_set(&a->filter))
		return cli_usage(cli, err, "copy: name snapshots, or choose them by --host, --path, --tag and --kind, not both");
	return 0;
}

static int copy_everything(struct copying *k, size_t *ret_forgotten, struct error *err)
{
	struct copy_sink sink = { tell_lost, k->cli };
	struct progress progress;
	bool whole = false;
	progress_init(&progress, cli_stop_flag());
	struct copy_options options = { .threads = task_processors() + 1, .level = (int)k->args->level, .host = cli_host(), .progress = &progress };
	int done = copy_new(&k->copy, k->from, k->to, &options, &sink, err);
	if (done == 0) {
		cli_progress_start(k->cli, &progress, "copying");
		done = k->cli->operand_count ? copy_named(k, err) : copy_all(k, &whole, err);
		cli_progress_stop(k->cli);
	}
	progress_done(&progress);
	if (done == 0 && k->args->mirror)
		done = forget_vanished(k, whole, ret_forgotten, err);
	copy_free(k->copy);
	return done;
}

static int copy_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *own = NULL;
	CLEAN_REPO struct repo *other = NULL;
	struct copying k = { .cli = cli, .args = args };
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX];
	size_t forgotten = 0;
	if (check_args(cli, args, err) < 0 || open_both(&k, &own, &other, err) < 0)
		return -1;
	int done = copy_everything(&k, &forgotten, err);
	if (k.copied)
		cli_parity_after_backup(cli, k.to);
	if (done < 0)
		return -1;
	cli_say(cli, "copied %s snapshots, %s were there already; stored %s\n", text_count(a, k.copied), text_count(b, k.known), text_size(c, k.added_stored));
	cli_json(cli, json_pack("{ss, sI, sI, sI, sI, sI, sI}", "type", "summary", "copied", (json_int_t)k.copied, "known", (json_int_t)k.known, "failed", (json_int_t)k.failed, "lost",
	                        (json_int_t)k.lost, "forgotten", (json_int_t)forgotten, "added_stored", (json_int_t)k.added_stored));
	if (k.failed)
		return error_set(err, ERR_CORRUPT, "copy: %zu snapshots could not be copied (named above); all others were", k.failed);
	return 0;
}

const struct command command_copy = {
	.name = "copy",
	.group = GROUP_REPOSITORY,
	.summary = "copy snapshots into another repository, or out of one",
	.operands = "[SNAPSHOT...]",
	.max_operands = COMMAND_ANY,
	.about = "All snapshots are copied, or those that are named or chosen. Each repository keeps its own keys; every chunk is verified on the way. What the target has already is neither "
		 "read nor stored again, so a copy that was interrupted goes on where it was, and one that is repeated brings what is new.\n"
		 "What the source has lost is named (exit code 3), and left out of the file or disk that it belongs to; all else of the snapshot is copied.\n"
		 "With --mirror, copies of snapshots that were forgotten in the source are forgotten in the target too; never other snapshots, and never while the source is empty or damaged.",
	.examples = "twofold copy --to /media/usb/backup --init\ntwofold copy latest --to /media/usb/backup --to-password-file usb.key\n"
		    "# everything, and nothing more than everything\ntwofold copy --from /mnt/office/backup --mirror",
	.options = copy_options,
	.args_size = sizeof(struct copy_args),
	.run = copy_run,
};
