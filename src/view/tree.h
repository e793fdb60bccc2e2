/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A snapshot as a directory tree: the same for file snapshots and for images.
 *
 * The root of a file snapshot is "/". The root of an image of a partitioned disk holds one folder a volume, "p1", "p2", ...; of a bare filesystem, that filesystem's root itself.
 * A volume that no reader understood is an empty folder whose node.note says why.
 * Nodes are read page by page; nothing is kept but what the caller holds. Threads: a struct view may be used by several at once.
 */
#ifndef VIEW_TREE_H
#define VIEW_TREE_H

#include "repo/format/node.h"
#include "repo/repo.h"

struct view;

/* Borrows repo and snapshot (index loaded) until view_free. */
int view_open(struct view **ret, struct repo *repo, const struct snapshot *snapshot, struct error *err);
void view_free(struct view *v);
DEFINE_CLEAN(view, view_free)
#define CLEAN_VIEW CLEAN(view_cleanup)

/* The root's node: a directory with an empty name. ret is the caller's (node_done). */
int view_root(struct view *v, struct node *ret, struct error *err);
/* path: components separated by '/', bytes; leading, trailing and doubled slashes do not matter; "" is the root; "." is skipped and ".." refused. Symlinks are not followed.
 * ret_found false: no such entry (or a component is not a directory). */
int view_lookup(struct view *v, const char *path, size_t path_len, bool *ret_found, struct node *ret, struct error *err);
int view_child(struct view *v, const struct node *directory, const char *name, size_t name_len, bool *ret_found, struct node *ret, struct error *err);

/* The entries of a directory node, ascending by name. node is valid during the call; the callback may move out of it what it wants (leaving it node_done-able).
 * Nonzero stops and is returned. */
typedef int (*view_entry_fn)(void *cookie, struct node *node, struct error *err);
int view_entries(struct view *v, const struct node *directory, view_entry_fn fn, void *cookie, struct error *err);

/* Depth first, a directory before its entries, entries by name. path is relative to start, "" for start itself, without a leading slash. VIEW_SKIP: do not descend.
 * VIEW_LEAVE is a second call for a directory after its entries (only when wanted). */
enum view_walk_event { VIEW_NODE, VIEW_LEAVE };
#define VIEW_SKIP 1
struct view_walk {
	/* 0 go on, VIEW_SKIP (on a directory), -1 with err stops. */
	int (*fn)(void *cookie, enum view_walk_event event, const char *path, size_t path_len, struct node *node, struct error *err);
	void *cookie;
	bool leave;
	/* A directory whose pages cannot be read: called with the error; 0 goes on without it, -1 stops. NULL: stops. */
	int (*broken)(void *cookie, const char *path, size_t path_len, const struct error *why);
};
int view_walk(struct view *v, const struct node *start, const struct view_walk *walk, struct error *err);

/* --- content --------------------------------------------------------------------- */

/* The parts of a regular file's content one after the other (paged content is fetched page by page). */
typedef int (*view_part_fn)(void *cookie, uint64_t offset, const struct content_part *part, struct error *err);
int view_parts(struct view *v, const struct content *content, view_part_fn fn, void *cookie, struct error *err);
/* Bytes of a file at any place; *ret_len less than len only at the end of the file. Chunks are cached. */
int view_read(struct view *v, const struct node *file, uint64_t offset, void *data, size_t len, size_t *ret_len, struct error *err);

#endif
