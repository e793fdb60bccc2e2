/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What lies on a device or in a file before it is written over, in words for a question. Any thread. */
#ifndef RESTORE_CARRIES_H
#define RESTORE_CARRIES_H

#include "base/buf.h"
#include "block/block.h"

/* Appends "a partition table (gpt) with 3 partitions, p1 vfat, p2 ext4 \"root\"", or "a filesystem: ext4". Nothing when nothing is known. */
int carries_describe(struct block *b, struct buf *ret, struct error *err);

#endif
