/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the two walks of a repair share: repair_walk.c looks for what is lost (repair_fetch.c gets it from elsewhere), repair_cut.c writes snapshots anew without it. */
#ifndef REPO_REPAIR_WALK_H
#define REPO_REPAIR_WALK_H

#include "repo/format/map.h"
#include "repo/format/seq_page.h"
#include "repo/repair_internal.h"

#define REPAIR_DEPTH_MAX 2000u /* folders in folders; the walk is recursive */

/* Ids in no order. Start with zeros. */
struct id_set {
	struct id *slots; /* an id of zeros is a free slot: no hash is that */
	size_t count, size;
};
void id_set_done(struct id_set *s);
bool id_set_has(const struct id_set *s, const struct id *id);
int id_set_add(struct id_set *s, const struct id *id, struct error *err);

struct counterparts;

struct walk {
	struct repair *repair;
	struct writer *writer;      /* of what is fetched from elsewhere; NULL in a dry run */
	struct repo *twin;          /* another repository whose chunks have the same ids, or */
	struct counterparts *others; /* one with other keys; or neither */
	bool mute;                  /* only looking, nothing is told */
	/* Where it is: */
	const struct id *snapshot;
	bool on_files;              /* the snapshot is one of files: paths are paths of this machine */
	const struct snapshot_volume *volume; /* of an image; NULL before its first */
	bool in_inodes, in_map;     /* in that volume's inode table, in the disk's map; else at path, in the tree */
	uint64_t inode;
	size_t root_len;            /* bytes of path before the tree begins: "/p2" */
	struct buf path;
	unsigned depth;
	struct buf pieces;          /* see fetch_range */
	struct id_set clean, hit;   /* roots of lists, by what is below them */
	struct id_set lost, fetched; /* chunks and pages */
};

/* What is done with a list, record by record. start: where the record begins, in spans. */
struct list_visitor {
	int (*record)(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err);
	/* A page is lost, with all below it; of a root nothing is known (zeros). */
	int (*gap)(struct walk *w, void *cookie, uint64_t span, uint64_t records, struct error *err);
	void *cookie;
};
int walk_list(struct walk *w, enum seq_kind kind, const struct id *root, const struct list_visitor *visitor, struct error *err);

/* repair_cut.c: the snapshot anew, without what w->hit and w->lost say; the old one goes aside. */
int repair_cut(struct walk *w, const struct snapshot_list *list, size_t which, struct error *err);

#endif
