/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Merging index segments in the local cache. Every session adds a segment to the repository, and a look-up asks each; so once INDEX_MERGE_AT of them have gathered, their
 * rows are merged into one file of the same form in the cache folder, and that is searched in their place. The repository itself is not touched.
 *
 * A merged file is "merged-XXXX"; beside it "merged-XXXX.ids" lists the segments whose rows it holds. It counts only while all of them are still in the repository.
 */
#ifndef REPO_INDEX_MERGE_H
#define REPO_INDEX_MERGE_H

#include "base/buf.h"
#include "repo/format/segment.h"

#define INDEX_MERGE_AT 16

/* Called for each usable merged file; path is its file, ids (ID_SIZE each) what it stands for. */
typedef void (*index_merged_fn)(void *cookie, const char *path, const uint8_t *ids, size_t count);
/* listed: ids of the repository's segments, sorted. Merged files that name others are removed. */
void index_merged_find(const char *folder, const struct buf *listed, index_merged_fn fn, void *cookie);

/* Merges the segments (all open) into a new file of folder; ids: those that it then stands for. replaces: all
 * other merged files are removed. Streams: 176 KiB a segment; give_back is called after pages of a segment were touched, for who has mapped it, to let go of them.
 * A chunk in several of them keeps the place of the first. */
struct index_merging {
	const struct segment *const *segments;
	size_t count;
	const struct buf *ids;
	bool replaces;
	void (*give_back)(void *cookie, const struct segment *segment);
	void *cookie;
};
int index_merge(const char *folder, const struct index_merging *what, struct error *err);

#endif
