/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An image snapshot, or one partition of it, onto a device or into a file.
 *
 * First the target is opened: that refuses what must not be written over and says what lies there; whoever calls asks the user. Then it is
 * written: data in the order of the packs, each block decoded once; zero and unused ranges become holes or discards. Success means that all is on stable storage.
 * One thread at a time for one target; the work itself runs on several.
 */
#ifndef RESTORE_IMAGE_H
#define RESTORE_IMAGE_H

#include "base/progress.h"
#include "base/warn.h"
#include "repo/repo.h"

struct image_target;

/* partition 0: the whole disk; else the volume of this number, which then begins at offset 0 of the target.
 * A path that does not exist becomes a new file, mode 0600, in a folder that must exist. ERR_NOT_FOUND: no such partition; ERR_INVALID: not an image, or a target of another type; ERR_BUSY: the device, a
 * partition of it, or the file is in use, by whom; ERR_NO_SPACE: too small (a file that is not empty counts as a device of its size). Nothing is written here. */
int image_target_open(struct image_target **ret, const struct snapshot *snapshot, const char *path, unsigned partition, struct error *err);
/* Removes a file that image_target_open made, unless image_restore succeeded. */
void image_target_free(struct image_target *t);
DEFINE_CLEAN(image_target, image_target_free)
/* What would be lost, in one line; "" when nothing is known to be. Valid until image_target_free. */
const char *image_target_carries(const struct image_target *t);
uint64_t image_target_size(const struct image_target *t);

struct image_options {
	bool verify;                  /* read everything back and compare, before the partition table is adapted */
	unsigned threads;             /* 0: one a processor */
	const struct warner *warner;  /* damaged and unreadable ranges */
	struct progress *progress;    /* counts bytes */
};

struct image_result {
	uint64_t size;                /* bytes of the image */
	uint64_t data, zero, unused;
	uint64_t unreadable;          /* bytes that the backup could not read */
	uint64_t lost;                /* bytes that the repository could not give: zeros stand there */
	uint64_t verified;            /* bytes read back and found equal */
	bool table_moved;             /* the backup GPT was moved to the end of a larger target */
};

/* repo: index loaded. Unreadable and lost ranges are warnings. */
int image_restore(struct image_target *t, struct repo *repo, const struct snapshot *snapshot, const struct image_options *options, struct image_result *ret,
                  struct error *err);

#endif
