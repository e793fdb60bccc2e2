/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/parity.h"
#include "cli/session.h"
#include "cli/text.h"
#include "repo/parity.h"

struct parity_args {
	uint64_t percent;
	bool automatic;
};

static const struct option_spec add_options[] = {
	OPTION_NUMBER(struct parity_args, percent, "percent", 0, "N", "parity in percent of the data (default: as before, at first 3)", 0, 1, 100),
	OPTION_FLAG(struct parity_args, automatic, "automatic", 0, "from now on, every backup adds parity at its end"),
	OPTION_END,
};

static void tell_left_out(void *cookie, const char *name, const struct error *why)
{
	CLEAN_FREE char *text = text_escaped(why->text, strlen(why->text));
	cli_warn(cookie, "parity: %s is damaged and left out (%s); run twofold repair", name, text ? text : "out of memory");
}

static int add(struct cli *cli, struct repo *repo, unsigned percent, bool automatic, struct parity_report *ret, struct error *err)
{
	struct progress progress;
	struct parity_options options = { .percent = percent, .automatic = automatic, .progress = &progress, .left_out = tell_left_out, .cookie = cli };
	progress_init(&progress, cli_stop_flag());
	cli_progress_start(cli, &progress, "adding parity");
	int done = parity_add(repo, &options, ret, err);
	cli_progress_stop(cli);
	progress_done(&progress);
	if (done < 0)
		return -1;
	if (ret->groups_held)
		cli_warn(cli, "parity: something is lost that %llu groups still know of, so these are kept; run twofold repair", (unsigned long long)ret->groups_held);
	return 0;
}

static void tell_report(struct cli *cli, const struct parity_report *r)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX];
	if (r->groups_made)
		cli_say(cli, "parity     %s for %s objects (%s)\n", text_size(a, r->parity_bytes), text_count(b, r->objects_added), text_size(c, r->bytes_read));
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, sI, sI, sI, sI, sI, sI, sI}", "type", "parity", "groups_made", (json_int_t)r->groups_made, "groups_removed",
		                        (json_int_t)r->groups_removed, "groups_held", (json_int_t)r->groups_held, "objects_added", (json_int_t)r->objects_added, "bytes_read",
		                        (json_int_t)r->bytes_read, "parity_bytes", (json_int_t)r->parity_bytes, "left_out", (json_int_t)r->left_out));
}

void cli_parity_after_backup(struct cli *cli, struct repo *repo)
{
	struct parity_report report = { 0 };
	struct error err = { 0 };
	bool automatic = false;
	if (parity_is_automatic(repo->store, &automatic, &err) == 0 && (!automatic || add(cli, repo, 0, false, &report, &err) == 0)) {
		if (automatic)
			tell_report(cli, &report);
		return;
	}
	cli_warn(cli, "the backup is complete, but parity was not added: %s", err.text);
}

int cli_parity_begin(struct cli *cli, struct repo *repo, unsigned percent, struct error *err)
{
	struct parity_report report;
	return add(cli, repo, percent, true, &report, err);
}

static int parity_add_run(struct cli *cli, const void *args, struct error *err)
{
	const struct parity_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	struct parity_report report;
	if (cli_open_repo(cli, SESSION_INDEX, &repo, err) < 0 || add(cli, repo, (unsigned)a->percent, a->automatic, &report, err) < 0)
		return -1;
	if (!report.groups_made)
		cli_say(cli, "everything is protected already\n");
	tell_report(cli, &report);
	return 0;
}

static void tell_status(struct cli *cli, const struct parity_status *s)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX];
	cli_print(cli, "parity       %u %%, %s in %s objects%s\n", s->percent, text_size(a, s->parity_bytes), text_count(b, s->parity_objects),
	          s->automatic ? ", added by every backup" : "");
	cli_print(cli, "protected    %s of %s objects, %s\n", text_count(a, s->whole_objects + s->weak_objects), text_count(b, s->objects),
	          text_size(c, s->whole_bytes + s->weak_bytes));
	if (s->weak_objects)
		cli_print(cli, "weakly       %s of these (%s): their groups miss something; run twofold parity add\n", text_count(a, s->weak_objects), text_size(b, s->weak_bytes));
	if (s->bare_objects)
		cli_print(cli, "bare         %s objects (%s); run twofold parity add\n", text_count(a, s->bare_objects), text_size(b, s->bare_bytes));
	if (s->gone)
		cli_print(cli, "gone         %s objects that parity knows were removed, or lost\n", text_count(a, s->gone));
}

static int parity_status_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	CLEAN_REPO struct repo *repo = NULL;
	struct parity_status s;
	if (cli_open_repo(cli, 0, &repo, err) < 0 || parity_status(repo->store, &s, err) < 0)
		return -1;
	if (s.parity_objects)
		tell_status(cli, &s);
	else
		cli_print(cli, "no parity; make it with: twofold parity add\n");
	if (s.damaged)
		cli_warn(cli, "parity: %llu parity objects are damaged and of no use; run twofold parity add", (unsigned long long)s.damaged);
	if (!cli->common.json)
		return 0;
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "percent", s.percent }, { "objects", s.objects }, { "bytes", s.bytes }, { "whole_objects", s.whole_objects }, { "whole_bytes", s.whole_bytes },
		{ "weak_objects", s.weak_objects }, { "weak_bytes", s.weak_bytes }, { "bare_objects", s.bare_objects }, { "bare_bytes", s.bare_bytes }, { "gone", s.gone },
		{ "groups", s.groups }, { "parity_objects", s.parity_objects }, { "parity_bytes", s.parity_bytes }, { "damaged", s.damaged },
	};
	json_t *o = json_pack("{ss, sb}", "type", "parity_status", "automatic", (int)s.automatic);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	cli_json(cli, o);
	return 0;
}

static int parity_remove_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	CLEAN_REPO struct repo *repo = NULL;
	uint64_t count;
	if (cli_open_repo(cli, 0, &repo, err) < 0 || parity_remove(repo->store, &count, err) < 0)
		return -1;
	cli_say(cli, "removed %llu parity objects\n", (unsigned long long)count);
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, sI}", "type", "parity_removed", "objects", (json_int_t)count));
	return 0;
}

const struct command command_parity_add = {
	.name = "parity add",
	.group = GROUP_REPOSITORY,
	.summary = "protect the repository against bytes that rot and objects that get lost",
	.about = "Stores Reed-Solomon parity beside packs, index, snapshots, keys and header: of each group of objects (66 packs at 3 percent) as many may be lost, or damaged at the same "
		 "place, as the group has parity objects (2 at 3 percent). What is protected already is not read again. twofold repair heals from it.\n"
		 "\n"
		 "Parity is no second copy: it heals single bad sectors and lost objects, not a lost disk.",
	.examples = "twofold parity add\ntwofold parity add --percent 10 --automatic",
	.options = add_options,
	.args_size = sizeof(struct parity_args),
	.run = parity_add_run,
};

const struct command command_parity_status = {
	.name = "parity status",
	.group = GROUP_REPOSITORY,
	.summary = "show how much of the repository is protected by parity",
	.run = parity_status_run,
};

const struct command command_parity_remove = {
	.name = "parity remove",
	.group = GROUP_REPOSITORY,
	.summary = "delete all parity",
	.run = parity_remove_run,
};
