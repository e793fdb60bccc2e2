/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"
#include "cli/session.h"

struct init_args {
	uint64_t parity;
};

static const struct option_spec init_options[] = {
	OPTION_NUMBER(struct init_args, parity, "parity", 0, "PERCENT", "every backup adds parity at its end, PERCENT of the data (see: twofold help parity add)", 0, 1, 100),
	OPTION_END,
};

static int init_run(struct cli *cli, const void *args, struct error *err)
{
	const struct init_args *a = args;
	return cli_make_repo(cli, cli->operand_count ? cli->operands[0] : NULL, (unsigned)a->parity, err);
}

const struct command command_init = {
	.name = "init",
	.group = GROUP_REPOSITORY,
	.summary = "make a repository",
	.operands = "[LOCATION]",
	.max_operands = 1,
	.about = "Makes an empty repository in LOCATION, a folder that is missing or empty. Without LOCATION, --repo, TWOFOLD_REPOSITORY or the default place is meant.\n"
		 "\n"
		 "Whoever has the password (or the key file) can read everything; without it nobody can, there is no other way in.",
	.examples = "twofold init /media/usb/backup\nTWOFOLD_PASSWORD=... twofold init /srv/backup\ntwofold init --parity 3 /media/usb/backup",
	.options = init_options,
	.args_size = sizeof(struct init_args),
	.run = init_run,
};
