/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"

struct init_args {
	uint64_t parity;
	const char *lock_for;
	unsigned lock_mode;
};

static const char *const lock_modes[] = { "compliance", "governance", NULL };

static const struct option_spec init_options[] = {
	OPTION_NUMBER(struct init_args, parity, "parity", 0, "PERCENT", "every backup adds parity at its end, PERCENT of the data (see: twofold help parity add)", 0, 1, 100),
	OPTION_TEXT(struct init_args, lock_for, "lock-for", 0, "DURATION", "S3 with Object Lock: whatever is stored cannot be deleted for DURATION (30d, 12w)"),
	OPTION_CHOICE(struct init_args, lock_mode, "lock-mode", 0, "MODE", "compliance: by nobody (default); governance: but by whoever may bypass it", lock_modes),
	OPTION_END,
};

static int init_run(struct cli *cli, const void *args, struct error *err)
{
	const struct init_args *a = args;
	struct cli_new_repo wanted = { .parity = (unsigned)a->parity };
	uint64_t seconds = 0;
	if (a->lock_for && (!text_parse_duration(a->lock_for, &seconds) || seconds > REPO_LOCK_MAX))
		return cli_usage(cli, err, "init: --lock-for %s: give a duration such as 12h, 30d or 26w, at most 36500d", a->lock_for);
	if (a->lock_mode && !a->lock_for)
		return cli_usage(cli, err, "init: --lock-mode says how --lock-for DURATION locks; give that, too");
	if (a->lock_for)
		wanted.lock = (struct repo_lock){ a->lock_mode ? STORE_LOCK_GOVERNANCE : STORE_LOCK_COMPLIANCE, (uint32_t)seconds };
	return cli_make_repo(cli, cli->operand_count ? cli->operands[0] : NULL, &wanted, err);
}

const struct command command_init = {
	.name = "init",
	.group = GROUP_REPOSITORY,
	.summary = "make a repository",
	.operands = "[LOCATION]",
	.max_operands = 1,
	.about = "Makes an empty repository in LOCATION, a folder that is missing or empty. Without LOCATION, --repo, TWOFOLD_REPOSITORY or the default place is meant.\n"
		 "\n"
		 "Whoever has the password (or the key file) can read everything; without it nobody can, there is no other way in.\n"
		 "\n"
		 "With --lock-for every backup is protected for that long from when it is made, with all that it needs, even against somebody who has all keys to the bucket: it cannot be deleted, "
		 "nor forgotten, nor its space given back before. That cannot be changed later, so begin with a short time. The bucket has to have Object Lock; one that is missing is made so.",
	.examples = "twofold init /media/usb/backup\nTWOFOLD_PASSWORD=... twofold init /srv/backup\ntwofold init --parity 3 /media/usb/backup\ntwofold init --lock-for 30d s3://bucket/laptop",
	.options = init_options,
	.args_size = sizeof(struct init_args),
	.run = init_run,
};
