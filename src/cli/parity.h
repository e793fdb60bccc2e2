/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What other commands do about parity. */
#ifndef CLI_PARITY_H
#define CLI_PARITY_H

#include "cli/cli.h"
#include "repo/repo.h"

/* At the end of a backup: adds parity where the repository was told to keep it up to date. The backup itself is complete; what fails here is a warning. */
void cli_parity_after_backup(struct cli *cli, struct repo *repo);
/* init --parity: the first parity of a new repository, from then on kept up to date by backups. */
int cli_parity_begin(struct cli *cli, struct repo *repo, unsigned percent, struct error *err);

#endif
