/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/prune.h"

#include <string.h>

#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"
#include "task/pool.h"

struct prune_args {
	uint64_t max_unused, max_repack;
	const char *wait, *fence_after, *keep;
	bool dry_run;
};

static const struct option_spec prune_options[] = {
	OPTION_NUMBER(struct prune_args, max_unused, "max-unused", 0, "PERCENT", "rewrite packs until at most so much of what is stored is unused (default 5; 100 rewrites none)", PRUNE_MAX_UNUSED, 0, 100),
	OPTION_SIZE(struct prune_args, max_repack, "max-repack", 0, "SIZE", "rewrite at most so much (default: no limit)", UINT64_MAX, 0, UINT64_MAX),
	OPTION_TEXT(struct prune_args, wait, "wait", 0, "DURATION", "wait so long for backups that began before (default: do not wait, the next prune goes on)"),
	OPTION_TEXT(struct prune_args, fence_after, "fence-after", 0, "DURATION", "give up sessions that were not heard of for so long (default 24h)"),
	OPTION_TEXT(struct prune_args, keep, "keep-interrupted", 0, "DURATION", "leave what interrupted backups have stored to the next ones for so long (default 7d; 0: delete it)"),
	OPTION_FLAG(struct prune_args, dry_run, "dry-run", 'n', "only show what would be done"),
	OPTION_END,
};

static void tell(void *cookie, const char *text)
{
	cli_say(cookie, "%s\n", text);
}

static void summarise(struct cli *cli, const struct collect_report *r, bool dry_run)
{
	char a[TEXT_MAX], b[TEXT_MAX], d[TEXT_MAX];
	char s[TEXT_MAX], m[TEXT_MAX];
	cli_say(cli, "%s %s and %s packs (%s): %s are unused, %s are used too little\n", text_count(s, r->snapshots), r->snapshots == 1 ? "snapshot" : "snapshots", text_count(a, r->packs),
	        text_size(b, r->pack_bytes), text_count(d, r->dead_packs), text_count(m, r->moved_packs));
	if (r->kept_packs)
		cli_say(cli, "%s packs (%s) of interrupted backups are kept, so that the next backups go on with them (--keep-interrupted 0 deletes them)\n", text_count(a, r->kept_packs), text_size(b, r->kept_bytes));
	if (dry_run) {
		cli_say(cli, "would delete %s unused packs (%s)", text_count(a, r->dead_packs), text_size(b, r->dead_bytes));
		cli_say(cli, " and rewrite %s partly used ones (%s)\n", text_count(a, r->moved_packs), text_size(b, r->moved_bytes));
		return;
	}
	if (r->moved_packs)
		cli_say(cli, "rewrote %s partly used packs (%s) as %s\n", text_count(a, r->moved_packs), text_size(b, r->moved_bytes), text_size(d, r->copied_bytes));
	cli_say(cli, "deleted %s packs (%s)\n", text_count(a, r->deleted_packs), text_size(b, r->deleted_bytes));
	if (r->unused_bytes)
		cli_say(cli, "about %s remain unused in packs that are mostly needed\n", text_size(a, r->unused_bytes));
}

static void summarise_json(struct cli *cli, const struct collect_report *r, bool dry_run)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "snapshots", r->snapshots }, { "confirmed", r->confirmed }, { "unconfirmed", r->unconfirmed }, { "fenced", r->fenced }, { "packs", r->packs }, { "pack_bytes", r->pack_bytes },
		{ "live_chunks", r->live_chunks }, { "kept_packs", r->kept_packs }, { "kept_bytes", r->kept_bytes }, { "dead_packs", r->dead_packs }, { "dead_bytes", r->dead_bytes }, { "moved_packs", r->moved_packs }, { "moved_bytes", r->moved_bytes },
		{ "copied_bytes", r->copied_bytes }, { "unused_bytes", r->unused_bytes }, { "deleted_packs", r->deleted_packs }, { "deleted_bytes", r->deleted_bytes },
		{ "pending_packs", r->pending_packs }, { "pending_bytes", r->pending_bytes }, { "awaited", r->awaited }, { "protected_packs", r->protected_packs }, { "protected_bytes", r->protected_bytes }, { "segments_before", r->segments_before },
		{ "segments_after", r->segments_after },
	};
	json_t *o = json_pack("{ss, sb}", "type", "prune", "dry_run", (int)dry_run);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	cli_json(cli, o);
}

int cli_prune(struct cli *cli, struct repo *repo, const struct prune_limits *limits, struct error *err)
{
	struct collect_options options = { .max_unused = limits->max_unused, .max_repack = limits->max_repack, .dry_run = limits->dry_run, .fence_seconds = limits->fence_seconds, .keep_seconds = limits->keep_seconds,
		                           .wait_seconds = limits->wait_seconds, .threads = task_processors(), .level = PRUNE_LEVEL, .host = cli_host(), .tell = tell, .cookie = cli };
	struct collect_report report;
	struct progress progress;
	char a[TEXT_MAX], b[TEXT_MAX];
	progress_init(&progress, cli_stop_flag());
	options.progress = &progress;
	cli_progress_start(cli, &progress, "pruning");
	int done = repo_collect(repo, &options, &report, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	if (done < 0)
		return error_add(err, "prune");
	summarise(cli, &report, limits->dry_run);
	summarise_json(cli, &report, limits->dry_run);
	if (report.pending_packs)
		cli_warn(cli, "%s packs (%s) are marked, but stay until %s that began before this prune %s ended; the next prune deletes them", text_count(a, report.pending_packs),
		         text_size(b, report.pending_bytes), report.awaited == 1 ? "a session" : "all sessions", report.awaited == 1 ? "has" : "have");
	if (report.protected_packs)
		cli_warn(cli, "%s packs (%s) are protected; a later prune deletes them. The first: %s", text_count(a, report.protected_packs), text_size(b, report.protected_bytes), report.protected_why);
	if (report.unconfirmed)
		cli_warn(cli, "%llu snapshots do not count: their backups were given up before they had finished, and something is missing", (unsigned long long)report.unconfirmed);
	return 0;
}

static int prune_run(struct cli *cli, const void *args, struct error *err)
{
	const struct prune_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	struct prune_limits limits = { .max_unused = (unsigned)a->max_unused, .max_repack = a->max_repack, .dry_run = a->dry_run, .fence_seconds = SESSION_FENCE_SECONDS,
		                       .keep_seconds = UNFINISHED_KEEP_SECONDS };
	if (a->wait && !text_parse_duration(a->wait, &limits.wait_seconds))
		return cli_usage(cli, err, "prune: --wait=%s: give a duration such as 90s, 10m or 2h", a->wait);
	if (a->fence_after && !text_parse_duration(a->fence_after, &limits.fence_seconds))
		return cli_usage(cli, err, "prune: --fence-after=%s: give a duration such as 30m, 12h or 7d", a->fence_after);
	if (a->keep && strcmp(a->keep, "0") == 0)
		limits.keep_seconds = 0;
	else if (a->keep && !text_parse_duration(a->keep, &limits.keep_seconds))
		return cli_usage(cli, err, "prune: --keep-interrupted=%s: give a duration such as 12h, 7d or 4w, or 0", a->keep);
	return cli_open_repo(cli, 0, &repo, err) < 0 ? -1 : cli_prune(cli, repo, &limits, err);
}

const struct command command_prune = {
	.name = "prune",
	.group = GROUP_REPOSITORY,
	.summary = "give back the space of what no snapshot needs",
	.about = "Deletes packs that no snapshot needs any more, and rewrites those that hold little that is needed. Backups and restores may go on meanwhile, on this machine and on others; nothing waits for a lock.\n"
		 "What a backup that began before might still rely on is only marked: the next prune deletes it. So it is with packs that the storage protects until a date (Object Lock of S3). An interrupted prune leaves nothing that disturbs; the next one goes on.\n"
		 "What an interrupted backup has stored is no snapshot's yet, and stays for a week after the last that was heard of it (while the same machine goes on with such backups, for ten weeks), so that the next backup need not store it again.",
	.examples = "twofold prune\n# see what it would do\ntwofold prune --dry-run\n# only what costs no rewriting\ntwofold prune --max-unused 100",
	.options = prune_options,
	.args_size = sizeof(struct prune_args),
	.run = prune_run,
};
