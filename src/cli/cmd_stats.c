/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"
#include "repo/stats.h"

static double ratio(uint64_t a, uint64_t b)
{
	return b ? (double)a / (double)b : 0;
}

static const char *lock_name(const struct repo *r)
{
	return r->header.lock == STORE_LOCK_GOVERNANCE ? "governance" : "compliance";
}

static void tell(struct cli *cli, const struct repo *r, const struct repo_stats *s)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX];
	cli_print(cli, "snapshots    %s (%s of files, %s images) with %s in %s files\n", text_count(a, s->snapshots), text_count(b, s->snapshots - s->images),
	          text_count(c, s->images), text_size((char[TEXT_MAX]){ 0 }, s->snapshot_bytes), text_count((char[TEXT_MAX]){ 0 }, s->snapshot_files));
	cli_print(cli, "data         %s, stored as %s\n", text_size(a, s->data_raw), text_size(b, s->data_sealed));
	cli_print(cli, "metadata     %s, stored as %s\n", text_size(a, s->meta_raw), text_size(b, s->meta_sealed));
	cli_print(cli, "ratio        %.2f by deduplication, %.2f by compression, %.2f together\n", ratio(s->snapshot_bytes, s->data_raw),
	          ratio(s->data_raw + s->meta_raw, s->data_sealed + s->meta_sealed), ratio(s->snapshot_bytes, s->stored_bytes));
	cli_print(cli, "chunks       %s in %s blocks in %s packs\n", text_count(a, s->chunks), text_count(b, s->blocks), text_count(c, s->packs));
	if (r->header.lock)
		cli_print(cli, "locks        every backup for %s (%s mode)\n", text_duration(a, r->header.lock_seconds * 1000000000ull), lock_name(r));
	cli_print(cli, "takes        %s: packs %s, index %s\n", text_size(a, s->stored_bytes), text_size(b, s->pack_bytes), text_size(c, s->index_bytes));
}

static void tell_json(struct cli *cli, const struct repo *r, const struct repo_stats *s)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "snapshots", s->snapshots }, { "images", s->images }, { "snapshot_files", s->snapshot_files }, { "snapshot_bytes", s->snapshot_bytes },
		{ "chunks", s->chunks }, { "blocks", s->blocks }, { "segments", s->segments }, { "packs", s->packs }, { "data_raw", s->data_raw },
		{ "data_stored", s->data_sealed }, { "meta_raw", s->meta_raw }, { "meta_stored", s->meta_sealed }, { "pack_bytes", s->pack_bytes },
		{ "index_bytes", s->index_bytes }, { "snapshot_object_bytes", s->snapshot_object_bytes }, { "stored_bytes", s->stored_bytes },
	};
	json_t *o = json_pack("{ss}", "type", "stats");
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	json_object_set_new(o, "ratio_deduplication", json_real(ratio(s->snapshot_bytes, s->data_raw)));
	json_object_set_new(o, "ratio_compression", json_real(ratio(s->data_raw + s->meta_raw, s->data_sealed + s->meta_sealed)));
	json_object_set_new(o, "lock_seconds", json_integer((json_int_t)r->header.lock_seconds));
	json_object_set_new(o, "lock_mode", r->header.lock ? json_string(lock_name(r)) : json_null());
	cli_json(cli, o);
}

static int stats_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct repo_stats stats;
	(void)args;
	if (cli_open_repo(cli, SESSION_INDEX, &repo, err) < 0 || repo_stats(repo, &stats, err) < 0)
		return -1;
	tell(cli, repo, &stats);
	if (cli->common.json)
		tell_json(cli, repo, &stats);
	if (stats.damaged_snapshots)
		cli_warn(cli, "%llu snapshots cannot be read and are not counted: %s", (unsigned long long)stats.damaged_snapshots, stats.first_error.text);
	return 0;
}

const struct command command_stats = {
	.name = "stats",
	.group = GROUP_REPOSITORY,
	.summary = "show how much is in the repository, and what it takes",
	.about = "Disks count with their full size among the bytes of the snapshots.",
	.examples = "twofold stats",
	.run = stats_run,
};
