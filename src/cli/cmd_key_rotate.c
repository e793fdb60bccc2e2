/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/password.h"
#include "cli/secrets.h"
#include "cli/session.h"
#include "cli/text.h"

struct rotate_args {
	struct text_list also;
	bool revoke;
};

static const struct option_spec rotate_options[] = {
	OPTION_LIST(struct rotate_args, also, "also", 0, "FILE", "keep the key of this password file, key file or recovery key"),
	OPTION_FLAG(struct rotate_args, revoke, "revoke", 0, "take away all keys whose password or key file is not given"),
	OPTION_END,
};

static void tell_key(void *cookie, const struct id *before, const struct id *after, const struct key_object *key)
{
	struct cli *cli = cookie;
	char old[ID_HEX_SIZE], new[ID_HEX_SIZE] = "";
	CLEAN_FREE char *label = text_escaped(key->label, strlen(key->label));
	id_to_hex(before, old);
	if (after)
		id_to_hex(after, new);
	if (after)
		cli_say(cli, "kept key %.16s (%s), now %.16s\n", old, label ? label : "", new);
	else
		cli_say(cli, "took away key %.16s (%s)\n", old, label ? label : "");
	cli_json(cli, json_pack("{ss, ss, ss, ss, ss*}", "type", "key", "change", after ? "kept" : "removed", "id", old, "label", label ? label : "", "new_id",
	                        after ? new : NULL));
}

static int rotate_run(struct cli *cli, const void *args, struct error *err)
{
	const struct rotate_args *a = args;
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN(secrets_done) struct secrets s = { 0 };
	if (secrets_open(&s, cli, &a->also, &repo, err) < 0)
		return -1;
	if (repo_key_rotate(repo, s.proofs, s.count, a->revoke, tell_key, cli, err) < 0)
		return -1;
	unsigned epochs;
	seal_masters(repo->keys, &epochs);
	cli_say(cli, "what is written from now on is sealed by master key %u; backups that are running end with the old one\n", epochs + 1);
	return 0;
}

const struct command command_key_rotate = {
	.name = "key rotate",
	.group = GROUP_REPOSITORY,
	.summary = "change the master key for all that is written from now on",
	.about = "For when a password or key file, together with a copy of the repository's keys, may be in the wrong hands: removing the key is then not enough, since the master key in it can be kept. "
		 "After the change, whoever has only the old master key cannot open what is written later. What was written before stays readable, to him too: make the next backups, and forget and prune the old "
		 "ones. If he can write to the storage, change that first: an old master key still seals objects that readers believe.\n"
		 "\n"
		 "Every key that shall go on has to be wrapped anew, which needs its password or key file: give each with --also. With --revoke all others are taken away; make new ones with key add.",
	.examples = "twofold key rotate --also /media/usb/twofold.key\ntwofold key rotate --revoke",
	.options = rotate_options,
	.args_size = sizeof(struct rotate_args),
	.run = rotate_run,
};
