/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/parity.h"
#include "cli/prune.h"
#include "cli/secrets.h"
#include "cli/session.h"
#include "cli/text.h"
#include "repo/parity.h"
#include "repo/reseal.h"
#include "task/pool.h"

struct reseal_args {
	struct text_list also;
	uint64_t max_repack;
	bool dry_run;
};

static const struct option_spec reseal_options[] = {
	OPTION_SIZE(struct reseal_args, max_repack, "max-repack", 0, "SIZE", "rewrite about so much, and leave the rest to the next run (default: no limit)", UINT64_MAX, 1, UINT64_MAX),
	OPTION_LIST(struct reseal_args, also, "also", 0, "FILE", "at the end drop the old master keys from the key of this password file, key file or recovery key, too"),
	OPTION_FLAG(struct reseal_args, dry_run, "dry-run", 'n', "only show what is still sealed by old master keys"),
	OPTION_END,
};

static void tell(void *cookie, const char *text)
{
	cli_say(cookie, "%s\n", text);
}

static void tell_left(struct cli *cli, const struct reseal_left *l)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX], d[TEXT_MAX];
	if (reseal_is_complete(l))
		cli_say(cli, "nothing is sealed by an old master key any more\n");
	else
		cli_say(cli, "still sealed by old master keys: %s packs (%s), %s index segments, %s other objects%s\n", text_count(a, l->packs), text_size(b, l->pack_bytes), text_count(c, l->segments),
		        text_count(d, l->objects), l->sessions ? "; somebody is at work who began before the change" : "");
	if (l->unreadable)
		cli_warn(cli, "%s objects are damaged, so that nobody can say which key they need: %s", text_count(a, l->unreadable), l->first_error.text);
	cli_json(cli, json_pack("{ss, sI, sI, sI, sI, sI, sI, sb}", "type", "left", "packs", (json_int_t)l->packs, "pack_bytes", (json_int_t)l->pack_bytes, "segments", (json_int_t)l->segments, "objects",
	                        (json_int_t)l->objects, "sessions", (json_int_t)l->sessions, "unreadable", (json_int_t)l->unreadable, "complete", (int)reseal_is_complete(l)));
}

static void tell_done(struct cli *cli, const struct reseal_report *r)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX];
	cli_say(cli, "sealed anew: %s packs (%s) and %s other objects\n", text_count(a, r->collected.resealed_packs), text_size(b, r->collected.resealed_bytes), text_count(c, r->objects));
	if (r->collected.pending_packs)
		cli_say(cli, "%s packs are copied, but stay until sessions that began before have ended; the next run deletes them\n", text_count(a, r->collected.pending_packs));
	if (r->collected.protected_packs)
		cli_warn(cli, "%s packs are copied, but the storage does not let them be deleted yet: %s", text_count(a, r->collected.protected_packs), r->collected.protected_why);
	if (r->damaged)
		cli_warn(cli, "%s objects cannot be opened, and stay as they are: %s", text_count(a, r->damaged), r->first_error.text);
}

/* *ret_parity: parity has to be made anew. */
static int reseal(struct cli *cli, struct repo *repo, const struct reseal_args *a, bool *ret_parity, struct error *err)
{
	struct collect_options options = { .max_unused = 100, .max_repack = a->max_repack, .fence_seconds = SESSION_FENCE_SECONDS, .keep_seconds = UNFINISHED_KEEP_SECONDS, .threads = task_processors(), .level = PRUNE_LEVEL, .host = cli_host(),
		                           .tell = tell, .cookie = cli };
	struct reseal_report report;
	struct progress progress;
	progress_init(&progress, cli_stop_flag());
	options.progress = &progress;
	cli_progress_start(cli, &progress, "resealing");
	int done = repo_reseal(repo, &options, &report, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	if (done < 0)
		return error_add(err, "seal anew");
	tell_done(cli, &report);
	*ret_parity = report.parity_gone;
	return 0;
}

/* --- dropping the old ones ---------------------------------------------------------------------- */

static void tell_dropped(void *cookie, const struct id *before, const struct id *after, const struct key_object *key)
{
	struct cli *cli = cookie;
	char old[ID_HEX_SIZE], new[ID_HEX_SIZE];
	CLEAN_FREE char *label = text_escaped(key->label, strlen(key->label));
	id_to_hex(before, old);
	id_to_hex(after, new);
	cli_say(cli, "key %.16s (%s) holds no old master key any more, now %.16s\n", old, label ? label : "", new);
	cli_json(cli, json_pack("{ss, ss, ss, ss, ss}", "type", "key", "change", "dropped", "id", old, "label", label ? label : "", "new_id", new));
}

static int tell_holder(void *cookie, const struct id *id, const struct key_object *key, bool current)
{
	struct cli *cli = cookie;
	char hex[ID_HEX_SIZE];
	CLEAN_FREE char *label = text_escaped(key->label, strlen(key->label));
	(void)current;
	id_to_hex(id, hex);
	if (key->wrapped.first + 1u < key->wrapped.count)
		cli_say(cli, "key %.16s (%s) still holds old master keys, though nothing needs them: run twofold key reseal with it, or give it here with --also\n", hex, label ? label : "");
	return 0;
}

static int drop(struct cli *cli, struct repo *repo, const struct secrets *s, struct error *err)
{
	unsigned epochs;
	seal_masters(repo->keys, &epochs);
	if (epochs < 2)
		return 0;
	return repo_key_drop(repo, s->proofs, s->count, epochs - 1, tell_dropped, cli, err) < 0 ? -1 : repo_keys(repo, tell_holder, cli, err);
}

static int reseal_run(struct cli *cli, const void *args, struct error *err)
{
	const struct reseal_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN(secrets_done) struct secrets s = { 0 };
	struct reseal_left left;
	bool automatic = false, parity = false;
	/* Whether backups add parity says parity itself, of which some goes. */
	if (secrets_open(&s, cli, &a->also, &repo, err) < 0 || parity_is_automatic(repo->store, &automatic, err) < 0 || reseal_look(repo, &left, err) < 0)
		return -1;
	if (!a->dry_run && !reseal_is_complete(&left) && (reseal(cli, repo, a, &parity, err) < 0 || reseal_look(repo, &left, err) < 0))
		return -1;
	tell_left(cli, &left);
	if (!a->dry_run && reseal_is_complete(&left) && drop(cli, repo, &s, err) < 0)
		return -1;
	if (parity && !automatic)
		cli_warn(cli, "parity of what was replaced is gone: run twofold parity add");
	return parity && automatic ? cli_parity_begin(cli, repo, 0, err) : 0;
}

const struct command command_key_reseal = {
	.name = "key reseal",
	.group = GROUP_REPOSITORY,
	.summary = "seal by the new master key what old ones seal, and drop the old ones",
	.about = "After key rotate, what was stored before stays sealed by the old master key, which all keys go on to hold. This rewrites it: packs are copied as prune copies them, segments of the index are "
		 "written anew, snapshots and the log are replaced under their ids. Backups and restores may go on meanwhile; an interrupted run leaves nothing that disturbs, and the next one goes on. With "
		 "--max-repack it is done in pieces, say every night. Once nothing is sealed by an old master key any more, the old ones are dropped from the key that opened the repository, and from those of "
		 "--also. Like prune, it deletes packs that no snapshot needs.\n"
		 "\n"
		 "It is for an old key that may be in the wrong hands, together with access to the storage. It takes nothing back that was copied from the storage before.",
	.examples = "twofold key rotate\ntwofold key reseal\n# 10 GiB every night\ntwofold key reseal --max-repack 10G\ntwofold key reseal --dry-run",
	.options = reseal_options,
	.args_size = sizeof(struct reseal_args),
	.run = reseal_run,
};
