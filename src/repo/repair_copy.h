/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is lost, out of a repository with other keys: "twofold copy" made one from the other, or the same machine was backed up into both.
 *
 * Nothing there has the ids that are looked for. So bytes are found by where they were: the same path and offset, or the same place of the disk, in that snapshot's counterpart; a lost page of a list is made anew from the
 * counterpart's list, for which the data below it has to be read. All that is found is hashed by the caller: what is not what was lost does no harm.
 * A snapshot's counterparts: its copy, or what it is a copy of, or another copy of the same; after these the nearest in time of the same machine and kind. Threads: one.
 */
#ifndef REPO_REPAIR_COPY_H
#define REPO_REPAIR_COPY_H

#include "repo/repair_walk.h"

struct counterparts;

/* Both repositories are borrowed; their indexes are loaded. */
int counterparts_open(struct counterparts **ret, struct repo *own, const struct repair_options *options, struct error *err);
void counterparts_free(struct counterparts *c);
DEFINE_CLEAN(counterparts, counterparts_free)
/* From now on those of this snapshot are meant. */
void counterparts_of(struct counterparts *c, const struct id *id, const struct snapshot *s);

/* len bytes of the file at which w is, from offset on. Replaces *ret. which: 0, 1, ... until *ret_more is false: the next counterpart may have something else there. */
bool counterpart_read(struct counterparts *c, const struct walk *w, uint64_t offset, size_t len, unsigned which, struct buf *ret, bool *ret_more);
/* The same of the disk. data: len bytes. */
bool counterpart_read_disk(struct counterparts *c, unsigned which, uint64_t offset, void *data, size_t len, bool *ret_more);
/* The page of this id, which belongs to the list of this kind at which w is. ret_there false: it cannot be made. */
int counterpart_page(struct counterparts *c, const struct walk *w, enum seq_kind kind, const struct id *id, struct buf *ret, bool *ret_there, struct error *err);

#endif
