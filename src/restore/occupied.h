/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Before a device or a file is written over: who uses it, and what lies on it. For messages and questions; that a device is opened
 * exclusively (block_open_file) is what protects it. Any thread; nothing is kept.
 */
#ifndef RESTORE_OCCUPIED_H
#define RESTORE_OCCUPIED_H

#include "base/buf.h"
#include "block/block.h"

/* Appends to ret who uses the device, one of its partitions, or (through a loop device, or as swap) the file at path: "mounted at /srv", "swap", "used by dm-0". Nothing
 * when nobody does. Sources: /proc/self/mountinfo, /proc/swaps, /sys/dev/block, /sys/block; what of them cannot be read says nothing. */
int occupied_by(const char *path, struct buf *ret, struct error *err);

/* Appends what is known to lie on b: "a GPT with 3 partitions (p1 vfat, p2 ext4 \"root\", p3 swap)", or "an ext4 filesystem \"root\"". Nothing when nothing is known. */
int occupied_describe(struct block *b, struct buf *ret, struct error *err);

#endif
