/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Chunks and pages that no pack has: from another repository, from the original files, from the original disk. Whatever comes is hashed before it is taken. */
#ifndef REPO_REPAIR_FETCH_H
#define REPO_REPAIR_FETCH_H

#include "repo/repair_walk.h"

/* Whether the chunk is in a pack; if not, and it can be had from elsewhere, it is stored. offset: in the file at w->path. */
int fetch_chunk(struct walk *w, const struct id *id, uint64_t length, uint64_t offset, bool *ret_there, struct error *err);
/* Replaces *ret by the page; it belongs to the list of this kind at which w is. ret_there false: lost. */
int fetch_page(struct walk *w, enum seq_kind kind, const struct id *id, struct buf *ret, bool *ret_there, struct error *err);
/* The same as fetch_chunk of what a map says; the range begins at start on the disk. A chunk can lie in many pieces all over the disk: what is not found here is remembered, and found, if it can be, by fetch_from_disk after the walk. */
int fetch_range(struct walk *w, const struct map_range *range, uint64_t start, bool *ret_there, struct error *err);
int fetch_from_disk(struct walk *w, const struct snapshot *s, struct error *err);

#endif
