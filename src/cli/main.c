/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"

static const struct command *const commands[] = {
	&command_init,
	&command_backup,
	&command_image,
	&command_snapshots,
	&command_ls,
	&command_find,
	&command_cat,
	&command_diff,
	&command_stats,
	&command_check, &command_store_test,
	&command_copy,
	&command_forget,
	&command_prune,
	&command_restore,
	&command_restore_image,
	&command_parity_add,
	&command_parity_status,
	&command_parity_remove,
	&command_repair,
	&command_key_add,
	&command_key_list,
	&command_key_change,
	&command_key_remove,
	&command_key_print,
	&command_key_rotate,
	&command_key_reseal,
	&command_key_signing,
	&command_help,
	&command_version,
	NULL,
};

int main(int argc, char **argv)
{
	return cli_main(argc, argv, commands);
}
