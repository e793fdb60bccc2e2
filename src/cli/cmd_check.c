/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"
#include "repo/check.h"
#include "task/pool.h"

struct check_args {
	const char *read_data, *read_since, *budget;
	bool resume;
};

static const struct option_spec check_options[] = {
	OPTION_OPTIONAL(struct check_args, read_data, "read-data", 0, "PERCENT", "read the packs' content too: all, or PERCENT of the bytes (1 to 100), those first that were read longest ago"),
	OPTION_TEXT(struct check_args, read_since, "read-since", 0, "TIME", "read the packs that were written since then: 7d (days ago; also h, m, w), or 2025-06-01"),
	OPTION_TEXT(struct check_args, budget, "budget", 0, "DURATION", "read packs for at most so long: 90s, 10m, 2h; the next run goes on with the others"),
	OPTION_FLAG(struct check_args, resume, "resume", 0, "go on with a full --read-data that was interrupted"),
	OPTION_END,
};

static void tell_damaged(void *cookie, const char *object, const char *what)
{
	struct cli *cli = cookie;
	CLEAN_FREE char *text = text_escaped(what, strlen(what));
	cli_print(cli, "damaged: %s: %s\n", object, text ? text : "out of memory");
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, ss, ss}", "type", "damaged", "object", object, "text", text ? text : ""));
}

static void tell_hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	struct cli *cli = cookie;
	char hex[ID_HEX_SIZE];
	CLEAN_FREE char *text = text_escaped(what, strlen(what)), *place = area ? strdup(area) : text_escaped(path, path_len);
	id_to_hex(snapshot, hex);
	cli_print(cli, "hit: %.16s%s%s: %s\n", hex, area ? ", " : ":", place ? place : "", text ? text : "out of memory");
	if (!cli->common.json)
		return;
	json_t *o = json_pack("{ss, ss, ss}", "type", "hit", "snapshot", hex, "text", text ? text : "");
	if (area)
		json_object_set_new(o, "area", json_string(area));
	else
		cli_json_bytes(o, "path", path, path_len);
	cli_json(cli, o);
}

static void summarise_reading(struct cli *cli, const struct check_report *r, const struct check_options *options)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX], d[TEXT_MAX];
	if (r->packs_read)
		cli_say(cli, "read %s of %s packs: %s chunks, %s\n", text_count(a, r->packs_read), text_count(b, r->packs), text_count(c, r->chunks_read),
		        text_size(d, r->bytes_read));
	if (!options->read_data)
		cli_say(cli, "the packs' content was not read; to do that: twofold check --read-data\n");
	if (r->packs_left)
		cli_say(cli, "%s packs were left when the time was used up; they come first in the next run\n", text_count(a, r->packs_left));
	if (!r->has_log || (!r->packs_read && !r->oldest_read))
		return;
	if (r->packs_never_read)
		cli_say(cli, "%s of %s packs were not read from here yet\n", text_count(a, r->packs_never_read), text_count(b, r->packs));
	else
		cli_say(cli, "every pack was read at %s or later\n", text_time(a, (struct time_ns){ r->oldest_read, 0 }));
}

static void summarise(struct cli *cli, const struct check_report *r, const struct check_options *options)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX], d[TEXT_MAX];
	cli_say(cli, "checked %s snapshots, %s packs, %s chunks, %s pages of trees, maps and tables\n", text_count(a, r->snapshots), text_count(b, r->packs),
	        text_count(c, r->chunks), text_count(d, r->pages));
	summarise_reading(cli, r, options);
	if (r->unreferenced_chunks)
		cli_say(cli, "%s chunks (%s) are in no snapshot\n", text_count(a, r->unreferenced_chunks), text_size(b, r->unreferenced_bytes));
	if (r->duplicate_chunks)
		cli_say(cli, "%s chunks are stored twice\n", text_count(a, r->duplicate_chunks));
	if (r->unindexed_packs)
		cli_say(cli, "%s packs (%s) are in no index: left by an interrupted run, or being written now\n", text_count(a, r->unindexed_packs),
		        text_size(b, r->unindexed_bytes));
	if (r->tombstones)
		cli_say(cli, "%s packs are marked to be deleted: a prune is at work or was interrupted; the next one completes it\n", text_count(a, r->marked_packs));
	if (r->parity_objects)
		cli_say(cli, "parity protects %s objects%s; %s are bare%s\n", text_count(a, r->protected_objects), r->weak_objects ? " (some of them weakly)" : "", text_count(b, r->bare_objects),
		        r->weak_objects || r->bare_objects ? ": run twofold parity add" : "");
	if (r->fenced_sessions)
		cli_say(cli, "%s sessions were given up as dead by a prune\n", text_count(a, r->fenced_sessions));
}

static void summarise_json(struct cli *cli, const struct check_report *r)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "snapshots", r->snapshots }, { "segments", r->segments }, { "packs", r->packs }, { "chunks", r->chunks }, { "keys", r->keys }, { "pages", r->pages },
		{ "packs_read", r->packs_read }, { "chunks_read", r->chunks_read }, { "bytes_read", r->bytes_read }, { "packs_left", r->packs_left }, { "unreferenced_chunks", r->unreferenced_chunks },
		{ "unreferenced_bytes", r->unreferenced_bytes }, { "duplicate_chunks", r->duplicate_chunks }, { "unindexed_packs", r->unindexed_packs },
		{ "unindexed_bytes", r->unindexed_bytes }, { "tombstones", r->tombstones }, { "marked_packs", r->marked_packs }, { "fenced_sessions", r->fenced_sessions }, { "parity_objects", r->parity_objects }, { "protected_objects", r->protected_objects }, { "weak_objects", r->weak_objects }, { "bare_objects", r->bare_objects },
		{ "damaged", r->damaged }, { "hits", r->hits },
	};
	json_t *o = json_pack("{ss}", "type", "summary");
	if (r->has_log)
		json_object_set_new(o, "packs_never_read", json_integer((json_int_t)r->packs_never_read));
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	cli_json(cli, o);
}

static int read_percent(struct cli *cli, const char *text, unsigned *ret, struct error *err)
{
	char *end;
	unsigned long percent = strtoul(text, &end, 10);
	if (*end == '%')
		end++;
	if (*end || text[0] < '0' || text[0] > '9' || percent < 1 || percent > 100)
		return cli_usage(cli, err, "check: --read-data=%s: give a number from 1 to 100", text);
	*ret = (unsigned)percent;
	return 0;
}

static int read_options(struct cli *cli, const struct check_args *a, struct check_options *ret, struct error *err)
{
	struct timespec now;
	uint64_t seconds = 0;
	clock_gettime(CLOCK_REALTIME, &now);
	/* Two more than there are processors, which so have work while others wait for the store. */
	*ret = (struct check_options){ .percent = 100, .threads = task_processors() + 2, .has_since = a->read_since != NULL, .resume = a->resume };
	ret->read_data = a->read_data || a->read_since || a->budget || a->resume;
	if (a->read_data && *a->read_data && read_percent(cli, a->read_data, &ret->percent, err) < 0)
		return -1;
	if (a->read_since && !text_parse_time(a->read_since, (struct time_ns){ now.tv_sec, (uint32_t)now.tv_nsec }, &ret->since))
		return cli_usage(cli, err, "check: --read-since %s: give a time such as 7d, 12h, 2025-06-01 or 2025-06-01T12:00", a->read_since);
	if (a->budget && !text_parse_duration(a->budget, &seconds))
		return cli_usage(cli, err, "check: --budget %s: give a time such as 90s, 10m or 2h", a->budget);
	ret->budget = seconds * 1000000000u;
	if (ret->percent != 100 && (a->read_since || a->resume))
		return cli_usage(cli, err, "check: a percentage goes with neither --read-since nor --resume");
	return 0;
}

static int check_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct check_options options;
	struct check_report report;
	struct progress progress;
	struct check_sink sink = { tell_damaged, tell_hit, cli };
	if (read_options(cli, args, &options, err) < 0 || cli_open_repo(cli, 0, &repo, err) < 0)
		return -1;
	progress_init(&progress, cli_stop_flag());
	options.progress = &progress;
	cli_progress_start(cli, &progress, "checking");
	int done = repo_check(repo, &options, &sink, &report, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	if (done < 0 && err->kind == ERR_CANCELLED && options.read_data && repo->cache)
		return error_set(err, ERR_CANCELLED, "check: interrupted; which packs were read is remembered (a full --read-data goes on with: twofold check --resume)");
	if (done < 0)
		return -1;
	summarise(cli, &report, &options);
	summarise_json(cli, &report);
	if (!report.damaged && !report.hits) {
		cli_say(cli, "no damage found\n");
		return 0;
	}
	return error_set(err, ERR_CORRUPT, "check: the repository is damaged: %llu findings, and %llu places in snapshots that they hit (named above)",
	                 (unsigned long long)report.damaged, (unsigned long long)report.hits);
}

const struct command command_check = {
	.name = "check",
	.group = GROUP_REPOSITORY,
	.summary = "verify that everything is there and can be read back",
	.about = "Every object is fetched and authenticated, every pack's table is compared with the index, and everything that the snapshots refer to is looked up.\n"
		 "With --read-data every block is decrypted, decompressed and hashed as well. Which packs were read, and when, is remembered in the local cache: checks that read "
		 "only a part (a percentage, or as much as a time allows) begin with what was read longest ago, so that several of them come to everything.\n"
		 "For --read-since a pack counts as old if the snapshot that it was written for was complete before; packs of other origin are read.\n"
		 "Each line that begins with \"damaged\" names an object; each that begins with \"hit\" a file that can no longer be given back in full. Exit code 1 if there is any.",
	.examples = "twofold check\ntwofold check --read-data\n# a tenth of the bytes each night\ntwofold check --read-data=10%\n# as much as goes in ten minutes\ntwofold check --budget 10m",
	.options = check_options,
	.args_size = sizeof(struct check_args),
	.run = check_run,
};
