/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every command, each defined in cmd_NAME.c. main.c's table gives their order in the help. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct command command_init;
extern const struct command command_backup;
extern const struct command command_image;
extern const struct command command_snapshots;
extern const struct command command_ls;
extern const struct command command_find;
extern const struct command command_cat;
extern const struct command command_diff;
extern const struct command command_stats;
extern const struct command command_check;
extern const struct command command_store_test;
extern const struct command command_copy;
extern const struct command command_forget;
extern const struct command command_prune;
extern const struct command command_parity_add;
extern const struct command command_parity_status;
extern const struct command command_parity_remove;
extern const struct command command_repair;
extern const struct command command_restore;
extern const struct command command_restore_image;
extern const struct command command_key_add;
extern const struct command command_key_list;
extern const struct command command_key_change;
extern const struct command command_key_remove;
extern const struct command command_key_print;
extern const struct command command_key_rotate;
extern const struct command command_key_reseal;
extern const struct command command_key_signing;
extern const struct command command_help;
extern const struct command command_version;

#endif
