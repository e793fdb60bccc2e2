/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"
#include "cli/session.h"

static int init_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	return cli_make_repo(cli, cli->operand_count ? cli->operands[0] : NULL, err);
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
	.examples = "twofold init /media/usb/backup\nTWOFOLD_PASSWORD=... twofold init /srv/backup",
	.run = init_run,
};
