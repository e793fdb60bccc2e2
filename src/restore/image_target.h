/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What image_target_open found, for image.c. */
#ifndef RESTORE_IMAGE_TARGET_H
#define RESTORE_IMAGE_TARGET_H

#include "block/block.h"
#include "restore/image.h"

struct image_target {
	char *path;
	struct block *block;
	bool device;
	bool created;        /* made by us, and not yet successfully written */
	bool fresh;          /* reads as zeros all over, so that zeros need not be written */
	struct buf carries;  /* zero-terminated text */
	unsigned partition;
	uint64_t start;      /* of what is restored, on the image's disk */
	uint64_t size;
};

#endif
