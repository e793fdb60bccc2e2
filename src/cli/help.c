/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "cli/cli.h"
#include "cli/frame.h"
#include "cli/options.h"

static const char *const group_titles[] = {
	[GROUP_BACKUP] = "Backing up",
	[GROUP_READ] = "Looking inside and getting it back",
	[GROUP_REPOSITORY] = "The repository",
	[GROUP_OTHER] = "More",
};

static void print_options(struct cli *cli, const struct option_spec *specs)
{
	for (const struct option_spec *s = specs; s && s->name; s++) {
		char left[80], letter[8] = "    ";
		if (s->letter)
			snprintf(letter, sizeof letter, "-%c, ", s->letter);
		if (s->kind == OPTION_KIND_OPTIONAL)
			snprintf(left, sizeof left, "%s--%s[=%s]", letter, s->name, s->value);
		else
			snprintf(left, sizeof left, "%s--%s%s%s", letter, s->name, s->value ? " " : "", s->value ? s->value : "");
		cli_print(cli, "  %-32s  %s", left, s->help);
		for (unsigned i = 0; s->choices && s->choices[i]; i++)
			cli_print(cli, "%s%s%s", i ? ", " : ": ", s->choices[i], i ? "" : " (default)");
		if (s->kind == OPTION_KIND_LIST)
			cli_print(cli, " (may be repeated)");
		cli_print(cli, "\n");
	}
}

static void print_commands(struct cli *cli, enum command_group group)
{
	bool titled = false;
	for (size_t i = 0; cli->commands[i]; i++) {
		const struct command *c = cli->commands[i];
		if (c->group != group)
			continue;
		if (!titled)
			cli_print(cli, "\n%s:\n", group_titles[group]);
		titled = true;
		cli_print(cli, "  %-15s %s\n", c->name, c->summary);
	}
}

void help_all(struct cli *cli)
{
	cli_print(cli, "Twofold backs up folders and whole disks into one deduplicated, encrypted repository.\n\n"
	               "usage: twofold COMMAND [OPTION...] [ARGUMENT...]\n");
	for (unsigned g = 0; g < sizeof group_titles / sizeof *group_titles; g++)
		print_commands(cli, (enum command_group)g);
	cli_print(cli, "\nOptions of every command:\n");
	print_options(cli, common_options);
	cli_print(cli, "\ntwofold help COMMAND shows a command's options and examples.\n"
	               "Exit codes: 0 complete, 1 failed, 2 usage, 3 complete with warnings, 130 interrupted.\n");
}

#define WIDTH 100

/* Paragraphs, with lines broken at spaces. */
static void print_wrapped(struct cli *cli, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		if (len > WIDTH) {
			len = WIDTH;
			while (len && text[len] != ' ')
				len--;
			if (!len)
				len = strcspn(text, " \n");
		}
		cli_print(cli, "%.*s\n", (int)len, text);
		text += len + (text[len] != 0);
	}
}

void help_command(struct cli *cli, const struct command *c)
{
	cli_print(cli, "twofold %s: %s\n\nusage: twofold %s [OPTION...]%s%s\n", c->name, c->summary, c->name,
	          c->operands ? " " : "", c->operands ? c->operands : "");
	if (c->about) {
		cli_print(cli, "\n");
		print_wrapped(cli, c->about);
	}
	if (c->options && c->options->name) {
		cli_print(cli, "\nOptions:\n");
		print_options(cli, c->options);
	}
	cli_print(cli, "\nOptions of every command:\n");
	print_options(cli, common_options);
	if (c->examples)
		cli_print(cli, "\nExamples:\n");
	for (const char *line = c->examples; line && *line;) {
		size_t len = strcspn(line, "\n");
		cli_print(cli, "  %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

bool help_group(struct cli *cli, const char *word)
{
	size_t len = strlen(word);
	bool found = false;
	for (size_t i = 0; cli->commands[i]; i++) {
		const struct command *c = cli->commands[i];
		if (strncmp(c->name, word, len) != 0 || c->name[len] != ' ')
			continue;
		found = true;
		cli_print(cli, "  %-15s %s\n", c->name, c->summary);
	}
	return found;
}

const struct command *help_nearest(const struct command *const *commands, const char *text)
{
	const struct command *nearest = NULL;
	unsigned best = 3;
	for (size_t i = 0; commands[i]; i++) {
		unsigned d = option_distance(text, commands[i]->name);
		if (d < best && d < strlen(commands[i]->name)) {
			best = d;
			nearest = commands[i];
		}
	}
	return nearest;
}
