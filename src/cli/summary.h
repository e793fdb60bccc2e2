/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What backup and image say at their end. */
#ifndef CLI_SUMMARY_H
#define CLI_SUMMARY_H

#include "cli/cli.h"
#include "repo/format/document.h"

void summary_of_backup(struct cli *cli, const struct snapshot *s, const struct id *id);

#endif
