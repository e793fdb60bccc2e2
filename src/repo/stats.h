/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How much is in a repository, and what it takes. Reads the listing, the index and the snapshots' own documents; no pack is opened. */
#ifndef REPO_STATS_H
#define REPO_STATS_H

#include "repo/repo.h"

struct repo_stats {
	uint64_t snapshots, images;          /* images: how many of the snapshots */
	uint64_t snapshot_files;             /* files in all snapshots together */
	uint64_t snapshot_bytes;             /* their bytes, disks with their full size: what the snapshots would take if each was stored by itself */
	uint64_t chunks, blocks, segments;
	uint64_t data_raw, data_sealed;      /* bytes of blocks of files and disks, before compression and as stored */
	uint64_t meta_raw, meta_sealed;      /* of trees, maps and tables */
	uint64_t packs, pack_bytes;          /* as the store lists them */
	uint64_t index_bytes, snapshot_object_bytes, key_bytes, other_bytes;
	uint64_t stored_bytes;               /* all of the above */
	uint64_t damaged_snapshots;          /* not counted */
	struct error first_error;
};

/* The index must be loaded. */
int repo_stats(struct repo *r, struct repo_stats *ret, struct error *err);

#endif
