/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pruning, for prune and for forget --prune. */
#ifndef CLI_PRUNE_H
#define CLI_PRUNE_H

#include "cli/cli.h"
#include "repo/collect.h"
#include "repo/unfinished.h"

#define PRUNE_MAX_UNUSED 5 /* percent */
#define PRUNE_LEVEL 3      /* zstd, for what has to be compressed anew */

struct prune_limits {
	unsigned max_unused;
	uint64_t max_repack, fence_seconds, keep_seconds, wait_seconds;
	bool dry_run;
};

/* Collects, and says what was done. */
int cli_prune(struct cli *cli, struct repo *repo, const struct prune_limits *limits, struct error *err);

#endif
