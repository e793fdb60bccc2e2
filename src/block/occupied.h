/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who uses a device, one of its partitions, or a file that holds a disk. For messages and refusals; what protects a device that is written over is that it is
 * opened exclusively (block_open_file). Any thread; nothing is kept.
 */
#ifndef BLOCK_OCCUPIED_H
#define BLOCK_OCCUPIED_H

#include "base/buf.h"
#include "base/error.h"

enum occupied_how {
	OCCUPIED_AT_ALL,  /* any use: asked before it is written over */
	OCCUPIED_WRITING, /* uses that may change it meanwhile: asked before it is read */
};

/* Appends to ret who uses what is at path (through a loop device, too): "mounted at /srv", "in use as swap", "used by dm-0". Nothing when nobody does.
 * Sources: /proc/self/mountinfo, /proc/swaps, /sys/dev/block, /sys/block; what of them cannot be read says nothing. */
int occupied_by(const char *path, enum occupied_how how, struct buf *ret, struct error *err);

#endif
