/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Disk image: a whole disk, a partition or a bare filesystem into a snapshot, read through its filesystems.
 *
 * A volume whose filesystem a reader of fs/ understands and trusts is stored by its used map: files are cut as a file backup cuts them, all else that is in use in windows
 * of 64 KiB. Everything else (no reader, an untrusted filesystem, gaps between partitions) is stored raw: every byte that is not zero. Reads go in physical order.
 */
#ifndef CAPTURE_IMAGE_H
#define CAPTURE_IMAGE_H

#include "base/progress.h"
#include "base/warn.h"
#include "repo/writer.h"

struct capture_image_options {
	const char *path;       /* device or regular file */
	bool raw;               /* look into no filesystem: store all that is not zero */
	const char *host, *user, *program;
	const char *const *tags;
	size_t tag_count;
	unsigned threads;       /* 0: one a processor */
	int level;
	struct progress *progress;
	const struct warner *warner;
};

/* The index must be loaded. Whether the source is mounted is the caller's to ask (block/occupied.h). Once it returns 0 the snapshot is durable. */
int capture_image(struct repo *repo, const struct capture_image_options *options, struct snapshot *ret, struct id *ret_id, struct error *err);

#endif
