/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/commands.h"
#include "cli/frame.h"

static const char passwords_text[] =
	"Where the password comes from, the first that is there:\n"
	"  1. --password-file FILE          the file's first line, or a key file\n"
	"  2. TWOFOLD_PASSWORD              the password itself\n"
	"  3. TWOFOLD_PASSWORD_FILE         as --password-file\n"
	"  4. TWOFOLD_PASSWORD_COMMAND      a shell command that prints it\n"
	"  5. the key file that was made with the default repository\n"
	"  6. a prompt on the terminal\n"
	"\n"
	"The default repository is ${XDG_DATA_HOME:-~/.local/share}/twofold/repository. Without a terminal and without any of these,\n"
	"creating it makes a random key file ${XDG_CONFIG_HOME:-~/.config}/twofold/default.key. Without that file, or a password added\n"
	"with \"twofold key add\", nothing can be read back: keep a copy of it on another machine.\n"
	"A recovery key (\"twofold key add --recovery\") is accepted wherever a password is: its 24 words, in a file, a variable, or typed; with --recovery-key\n"
	"they are asked for line by line, and a mistake is named at once. \"twofold key print FILE\" prints a key file as such words.\n"
	"The second repository of \"twofold copy\" has its own: --to-password-file or --to-password-command, TWOFOLD_TO_PASSWORD, TWOFOLD_TO_PASSWORD_FILE,\n"
	"TWOFOLD_TO_PASSWORD_COMMAND, a prompt; with --from the same with FROM.\n"
	"A new password (key add, key change) comes from --new-password-file, TWOFOLD_NEW_PASSWORD, or a prompt.\n";

static const char cache_text[] =
	"What is kept on this machine, in ${XDG_CACHE_HOME:-~/.cache}/twofold/REPOSITORY-ID; removing it at any time costs nothing but time:\n"
	"  index/    which chunk lies where, fetched once\n"
	"  blocks/   of repositories behind a network: what was read or written of folders' contents, snapshots and the log, so that\n"
	"            ls, cat, find and the next backup need not fetch it again; encrypted as it is in the repository\n"
	"  locked    of repositories made with --lock-for: when this machine last renewed the locks\n"
	"--cache-size SIZE (or TWOFOLD_CACHE_SIZE) limits blocks/ of all repositories together, by default to 1 GiB; what was not used\n"
	"for the longest time goes first, and 0 keeps nothing there. index/ is not limited: without it every command would fetch it whole,\n"
	"and hold it in memory. --no-cache neither uses nor writes any of it. check and repair never believe blocks/: they ask the repository.\n";

static const struct {
	const char *name, *text;
} topics[] = { { "passwords", passwords_text }, { "cache", cache_text } };

static int show_topic(struct cli *cli, const char *name)
{
	for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
		if (strcmp(name, topics[i].name) == 0) {
			cli_print(cli, "%s", topics[i].text);
			return 0;
		}
	return -1;
}

static int show_command(struct cli *cli, const char *name)
{
	for (size_t i = 0; cli->commands[i]; i++)
		if (strcmp(cli->commands[i]->name, name) == 0) {
			help_command(cli, cli->commands[i]);
			return 0;
		}
	return -1;
}

static int help_run(struct cli *cli, const void *args, struct error *err)
{
	(void)args;
	cli->common.json = false; /* help is for people */
	if (cli->operand_count == 0) {
		help_all(cli);
		return 0;
	}
	char name[64];
	snprintf(name, sizeof name, "%s%s%s", cli->operands[0], cli->operand_count > 1 ? " " : "",
	         cli->operand_count > 1 ? cli->operands[1] : "");
	if (show_topic(cli, name) == 0 || show_command(cli, name) == 0 || help_group(cli, name))
		return 0;
	return cli_usage(cli, err, "there is no command %s (twofold help lists them)", name);
}

const struct command command_help = {
	.name = "help", .group = GROUP_OTHER, .summary = "show this list, or a command's options and examples",
	.operands = "[COMMAND | passwords | cache]", .max_operands = 2,
	.examples = "twofold help backup\ntwofold help passwords",
	.run = help_run,
};
