/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/summary.h"

#include "cli/text.h"

static void say(struct cli *cli, const struct snapshot *s, const char *hex)
{
	const struct snapshot_totals *t = &s->totals;
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX], d[TEXT_MAX], e[TEXT_MAX];
	if (s->kind == SNAPSHOT_FILES)
		cli_say(cli, "files      %s new, %s changed, %s unchanged; %s folders, %s others\n", text_count(a, t->files_new), text_count(b, t->files_changed),
		        text_count(c, t->files_unchanged), text_count(d, t->dirs), text_count(e, t->others));
	else
		cli_say(cli, "disk       %s, with %s files in %s folders\n", text_size(a, s->disk_size), text_count(b, t->files), text_count(c, t->dirs));
	cli_say(cli, "read       %s of %s\n", text_size(a, t->bytes_read), text_size(b, t->bytes));
	cli_say(cli, "added      %s, stored as %s\n", text_size(a, t->added_raw), text_size(b, t->added_stored));
	cli_say(cli, "time       %s\n", text_duration(a, t->nanoseconds));
	cli_say(cli, "snapshot   %.16s%s\n", hex, t->warnings ? " (with warnings, see above)" : "");
}

void summary_of_backup(struct cli *cli, const struct snapshot *s, const struct id *id)
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	say(cli, s, hex);
	if (!cli->common.json)
		return;
	const struct snapshot_totals *t = &s->totals;
	json_t *object = json_pack("{ss, ss, ss}", "type", "summary", "snapshot", hex, "kind", s->kind == SNAPSHOT_FILES ? "files" : "image");
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "files", t->files },
		{ "folders", t->dirs },
		{ "others", t->others },
		{ "bytes", t->bytes },
		{ "files_new", t->files_new },
		{ "files_changed", t->files_changed },
		{ "files_unchanged", t->files_unchanged },
		{ "bytes_read", t->bytes_read },
		{ "added_raw", t->added_raw },
		{ "added_stored", t->added_stored },
		{ "warnings", t->warnings },
		{ "nanoseconds", t->nanoseconds },
	};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(object, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	cli_json(cli, object);
}
