/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The disk of an image snapshot as random-access bytes: a read-only struct block, so that part/ and fs/ read a backup as they read a disk. */
#ifndef VIEW_DISK_H
#define VIEW_DISK_H

#include "block/block.h"
#include "repo/repo.h"

/* Borrows repo and snapshot until block_free. extents tells zero and unused ranges as BLOCK_ZERO. Unreadable ranges read as zeros. Any thread. */
int view_disk_open(struct block **ret, struct repo *repo, const struct snapshot *snapshot, struct error *err);

#endif
