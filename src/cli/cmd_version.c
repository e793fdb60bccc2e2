/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"

static int version_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	(void)err;
	cli_print(cli, "twofold " TWOFOLD_VERSION "\n");
	cli_detail(cli, 1, "built with %s, jansson %s\n", __VERSION__, jansson_version_str());
	cli_json(cli, json_pack("{ssss}", "type", "version", "version", TWOFOLD_VERSION));
	return 0;
}

const struct command command_version = {
	.name = "version", .group = GROUP_OTHER, .summary = "show the program's version",
	.run = version_run,
};
