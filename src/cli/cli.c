/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"
#include "cli/frame.h"
#include "cli/options.h"

/* One command line: the argument list without the words that named the command. */
struct line {
	int argc;
	char **argv; /* argv[0] is the program */
};

/* The command that stands at argv[at]: two words where there is such a one, otherwise one. *ret_words: how many it took. */
static const struct command *find_command(const struct command *const *commands, const struct line *line, int at, int *ret_words)
{
	char two[64] = "";
	if (at + 1 < line->argc)
		snprintf(two, sizeof two, "%s %s", line->argv[at], line->argv[at + 1]);
	for (size_t i = 0; commands[i]; i++)
		if (*two && strcmp(commands[i]->name, two) == 0) {
			*ret_words = 2;
			return commands[i];
		}
	for (size_t i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, line->argv[at]) == 0) {
			*ret_words = 1;
			return commands[i];
		}
	return NULL;
}

static int no_such_command(struct cli *cli, const char *word, struct error *err)
{
	if (help_group(cli, word))
		return cli_usage(cli, err, "%s: say which of these (twofold help %s)", word, word);
	const struct command *nearest = help_nearest(cli->commands, word);
	if (nearest)
		return cli_usage(cli, err, "there is no command %s; did you mean %s?", word, nearest->name);
	return cli_usage(cli, err, "there is no command %s (twofold help lists them)", word);
}

/* Reads what stands before the command, finds it, and takes its words out of the line. *ret_command NULL: only --help was asked for. */
static int parse_command(struct cli *cli, struct line *line, struct error *err)
{
	struct option_target common = { common_options, &cli->common };
	int operands, at;
	options_init(&common);
	if (options_parse(line->argc, line->argv, &common, 1, true, &operands, &at, err) < 0)
		return cli_usage(cli, err, "%s (twofold help)", err->text);
	if (at >= line->argc) {
		if (cli->common.help)
			return 0;
		return cli_usage(cli, err, "say what to do (twofold help lists the commands)");
	}
	int words = 0;
	cli->command = find_command(cli->commands, line, at, &words);
	if (!cli->command)
		return no_such_command(cli, line->argv[at], err);
	line->argv += at + words - 1;
	line->argc -= at + words - 1;
	return 0;
}

static int check_operands(struct cli *cli, struct error *err)
{
	const struct command *c = cli->command;
	if (cli->operand_count < c->min_operands)
		return cli_usage(cli, err, "%s needs %s (twofold help %s)", c->name, c->operands, c->name);
	if (cli->operand_count > c->max_operands)
		return cli_usage(cli, err, "%s: one argument too many: %s (twofold help %s)", c->name,
		                 cli->operands[c->max_operands], c->name);
	return 0;
}

static int run_command(struct cli *cli, struct line *line, void *args, struct error *err)
{
	const struct command *c = cli->command;
	struct option_target targets[] = { { c->options, args }, { common_options, &cli->common } };
	int operands, next;
	options_init(&targets[0]);
	if (options_parse(line->argc, line->argv, targets, 2, false, &operands, &next, err) < 0)
		return cli_usage(cli, err, "%s: %s (twofold help %s)", c->name, err->text, c->name);
	line->argv[1 + operands] = NULL;
	cli->operands = line->argv + 1;
	cli->operand_count = (size_t)operands;
	if (cli->common.help) {
		cli->common.json = false;
		help_command(cli, c);
		return 0;
	}
	if (check_operands(cli, err) < 0)
		return -1;
	return c->run(cli, args, err);
}

static int dispatch(struct cli *cli, struct line *line, struct error *err)
{
	char version[] = "version";
	if (line->argc == 2 && strcmp(line->argv[1], "--version") == 0)
		line->argv[1] = version;
	if (parse_command(cli, line, err) < 0)
		return -1;
	if (!cli->command) {
		cli->common.json = false;
		help_all(cli);
		return 0;
	}
	size_t size = cli->command->args_size;
	CLEAN_FREE void *args = calloc(1, size ? size : 1);
	if (!args)
		return error_set(err, ERR_NOMEM, "out of memory");
	int r = run_command(cli, line, args, err);
	cli_progress_stop(cli);
	options_done(&(struct option_target){ cli->command->options, args });
	return r;
}

static int exit_code(struct cli *cli, int result, const struct error *err)
{
	if (result == 0)
		return atomic_load(&cli->warnings) ? CLI_WARNED : CLI_COMPLETE;
	if (cli->usage_error)
		return CLI_USAGE;
	if (err->kind == ERR_CANCELLED && interrupt_by_signal())
		return CLI_INTERRUPTED;
	return CLI_FAILED;
}

int cli_main(int argc, char **argv, const struct command *const *commands)
{
	/* Names are measured and shown as UTF-8, whatever LANG says; all else stays as in the C locale. */
	setlocale(LC_CTYPE, "C.UTF-8");
	interrupt_install();
	struct cli cli = { .commands = commands, .json_out = stdout };
	struct error err = { 0 };
	struct line line = { argc, argv };
	int result = dispatch(&cli, &line, &err);
	struct error output = { 0 };
	bool lost = output_finish(&output) < 0;
	/* A reader that had enough (| head) needs no message. */
	bool quiet = lost && (output.sys == EPIPE || err.sys == EPIPE);
	if (lost && (result == 0 || err.kind == ERR_CANCELLED)) {
		/* The reason that the work was cancelled, or that its result did not arrive. */
		result = -1;
		err = output;
	}
	int code = exit_code(&cli, result, &err);
	if (result < 0 && !quiet)
		output_error(&cli, &err, code);
	fflush(NULL);
	return code;
}
