/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The keys by which users and machines sign what they note in the snapshot log. */
#include <string.h>

#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"
#include "repo/ids.h"
#include "repo/log.h"
#include "repo/signing.h"

struct signing_args {
	bool new;
};

static const struct option_spec signing_options[] = {
	OPTION_FLAG(struct signing_args, new, "new", 0, "make another key for this user on this machine, in place of one that was lost"),
	OPTION_END,
};

/* How many of the snapshots that the log knows are signed by it. */
static uint64_t count_snapshots(const struct repo_log *l, const uint8_t key[LOG_KEY_SIZE])
{
	uint64_t count = 0;
	for (size_t at = 0; at < l->vouchers.len; at += LOG_VOUCHER_SIZE) {
		struct id id;
		memcpy(id.b, l->vouchers.data + at, ID_SIZE);
		count += memcmp(l->vouchers.data + at + 2 * ID_SIZE, key, LOG_KEY_SIZE) == 0 && repo_log_hash(l, &id) && !ids_have(&l->forgotten, &id);
	}
	return count;
}

static void add_row(struct cli *cli, struct table *t, const struct repo_log *l, const struct log_signer *s, const struct seal_signer *own)
{
	char hex[ID_HEX_SIZE], text[TEXT_MAX];
	struct id key;
	CLEAN_FREE char *name = text_escaped(s->name, strlen(s->name));
	uint64_t snapshots = count_snapshots(l, s->key);
	bool here = own && memcmp(seal_signer_public(own), s->key, LOG_KEY_SIZE) == 0;
	memcpy(key.b, s->key, ID_SIZE);
	id_to_hex(&key, hex);
	table_cell(t, "%.16s%s", hex, here ? " *" : "");
	table_cell(t, "%s", text_time(text, s->time));
	table_cell(t, "%s", text_count(text, snapshots));
	table_cell(t, "%s", name ? name : "");
	if (cli->common.json)
		cli_json(cli, json_pack("{ss, ss, ss, ss, sI, sb}", "type", "signing_key", "id", hex, "name", name ? name : "", "since", text_time_utc(text, s->time), "snapshots", (json_int_t)snapshots,
		                        "here", (int)here));
}

static int list(struct cli *cli, struct repo *repo, struct error *err)
{
	static const struct table_column columns[] = { { "id", false }, { "since", false }, { "snapshots", true }, { "of", false } };
	CLEAN(table_done) struct table t = { .columns = columns, .column_count = 4 };
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	if (repo_log_read(repo, &l, err) < 0)
		return -1;
	if (repo->signing)
		repo->signing->make = false; /* looking makes no key */
	const struct seal_signer *own = signing_key(repo, &l);
	for (size_t i = 0; i < l.signers.count; i++)
		add_row(cli, &t, &l, &l.signers.items[i], own);
	if (!l.signers.count)
		cli_say(cli, "nobody signs yet: a key is made by the next backup with a home folder\n");
	return table_print(cli, &t, err);
}

static int signing_run(struct cli *cli, const void *args, struct error *err)
{
	const struct signing_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	if (cli_open_repo(cli, 0, &repo, err) < 0)
		return -1;
	if (a->new && (signing_make(repo, err) < 0 || repo_log_introduce(repo, err) < 0))
		return -1;
	return list(cli, repo, err);
}

const struct command command_key_signing = {
	.name = "key signing",
	.group = GROUP_REPOSITORY,
	.summary = "list the keys by which machines sign what they note",
	.about = "Every user on every machine signs his snapshots, and what he notes in the log, by a key of his own, which the first backup makes (in ~/.local/state/twofold). It opens nothing; it shows to others "
		 "who hold a key of the repository that nobody else wrote in this machine's name. twofold snapshots and twofold check name what is not signed as it was before.\n"
		 "\n"
		 "--new makes another key, where the first one was lost with its machine or home folder. All others are told, once they look, that another key signs in this name, and accept it with: twofold "
		 "snapshots --accept.",
	.examples = "twofold key signing\n# on a new machine that has the name of the old one\ntwofold key signing --new",
	.options = signing_options,
	.args_size = sizeof(struct signing_args),
	.run = signing_run,
};
