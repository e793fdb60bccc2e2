/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Finding entries in many snapshots. Most folders of one snapshot stand unchanged in the next, so a folder in which nothing was found is remembered by its id and
 * not opened again: searching a hundred snapshots costs little more than searching one.
 */
#ifndef VIEW_FIND_H
#define VIEW_FIND_H

#include "view/tree.h"

struct view_find;

/* Whether an entry is wanted. path: with a leading slash. Must depend on nothing else. */
typedef bool (*view_match_fn)(void *cookie, const char *path, size_t path_len, const struct node *node);

/* names_only: match looks at the node alone, never at its path. Only then can folders be remembered. */
int view_find_new(struct view_find **ret, view_match_fn match, void *cookie, bool names_only, struct error *err);
void view_find_free(struct view_find *f);
DEFINE_CLEAN(view_find, view_find_free)

/* Searches one whole snapshot, in the order of view_walk. found: 0 goes on, -1 with err stops. broken: as in struct view_walk. */
struct view_find_calls {
	int (*found)(void *cookie, const char *path, size_t path_len, const struct node *node, struct error *err);
	int (*broken)(void *cookie, const char *path, size_t path_len, const struct error *why);
	void *cookie;
};
int view_find_run(struct view_find *f, struct view *v, const struct view_find_calls *calls, struct error *err);

#endif
