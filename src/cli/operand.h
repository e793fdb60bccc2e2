/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The operand SNAPSHOT or SNAPSHOT:PATH of commands that read. */
#ifndef CLI_OPERAND_H
#define CLI_OPERAND_H

#include "cli/cli.h"
#include "repo/repo.h"

/* Finds and reads the snapshot. *ret_path: what stands behind the first colon, within text, or "". The snapshot is the caller's (snapshot_done). */
int operand_snapshot(struct repo *repo, const char *text, struct snapshot *ret, struct id *ret_id, const char **ret_path, struct error *err);

#endif
