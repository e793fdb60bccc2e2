/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between two trees: of two snapshots, of a snapshot of files and an image, or of two folders of one.
 * Equal subtrees have the same id and are not opened, so the cost follows what has changed, not the size of the snapshots.
 */
#ifndef VIEW_DIFF_H
#define VIEW_DIFF_H

#include "view/tree.h"

enum view_change {
	VIEW_ADDED,    /* only in b */
	VIEW_REMOVED,  /* only in a */
	VIEW_REPLACED, /* of another type; what was below it follows as removed, what is below it now as added */
	VIEW_CONTENT,  /* the bytes of a file, or the target of a symlink */
	VIEW_META,     /* owner, mode, times, attributes only */
};

/* One place of a tree. */
struct view_place {
	struct view *view;
	const struct node *node;
};

/* path: below the two nodes, without a leading slash, "" for themselves; directories before what is in them. a is NULL for VIEW_ADDED, b for VIEW_REMOVED. Nonzero stops. */
typedef int (*view_diff_fn)(void *cookie, enum view_change change, const char *path, size_t path_len, const struct node *a, const struct node *b, struct error *err);
int view_diff(const struct view_place *a, const struct view_place *b, view_diff_fn fn, void *cookie, struct error *err);

#endif
