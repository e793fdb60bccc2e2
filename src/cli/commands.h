/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every command, each defined in cmd_NAME.c. main.c's table gives their order in the help. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct command command_help;
extern const struct command command_version;

#endif
