/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a backup must give back: folders and disks whose whole content follows from numbers, so that they can be made, changed, remembered and compared at any time.
 */
#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "repo/repo.h"

#define MODEL_FILES 24
#define MODEL_BLOCKS 24
#define MODEL_BLOCK (32u << 10)

struct model_file {
	uint32_t seed; /* 0: there is no such file */
	uint32_t size;
};

/* Files "d0/f0" ... on disk below a path. */
struct model_tree {
	char path[128];
	struct model_file files[MODEL_FILES];
	uint32_t stamp; /* grows with every change: makes time stamps that differ */
};

/* A disk without a partition table: blocks of random bytes, or of zeros (seed 0). */
struct model_disk {
	char path[128];
	uint32_t blocks[MODEL_BLOCKS];
};

/* Bytes that follow from seed; the first half of two seeds of equal seed / 16 are equal, so files share chunks. */
void model_fill(uint8_t *data, size_t len, uint32_t seed);

/* Makes it on disk, from nothing. */
int model_tree_make(struct model_tree *t, const char *path, unsigned files, uint64_t seed, struct error *err);
/* Writes, replaces and removes some files. */
int model_tree_change(struct model_tree *t, uint64_t seed, struct error *err);
/* Is the folder on disk what the model says? Anything else in it counts too. */
int model_tree_on_disk(const struct model_tree *t, const char *path, struct error *err);
/* Reads everything that the snapshot has at the tree's path. */
int model_tree_in_snapshot(const struct model_tree *t, struct repo *repo, const struct snapshot *s, struct error *err);

int model_disk_make(struct model_disk *d, const char *path, uint64_t seed, struct error *err);
int model_disk_change(struct model_disk *d, uint64_t seed, struct error *err);
int model_disk_on_disk(const struct model_disk *d, const char *path, struct error *err);
int model_disk_in_snapshot(const struct model_disk *d, struct repo *repo, const struct snapshot *s, struct error *err);

#endif
