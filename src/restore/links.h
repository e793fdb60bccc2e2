/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hard links: which inode of the snapshot has been given which first name in the target. One thread, but .state, which the thread that makes
 * the first file sets.
 */
#ifndef RESTORE_LINKS_H
#define RESTORE_LINKS_H

#include <stdatomic.h>
#include <stddef.h>

#include "repo/format/node.h"

enum link_state { LINK_PENDING, LINK_MADE, LINK_FAILED };

struct link_group {
	uint64_t dev, ino;
	uint64_t content;      /* of what was found first: another name of it must be the same file */
	char *path;            /* of the first name, below the target; owned */
	uint32_t flags;        /* immutable, append only: given when all names are there */
	_Atomic int state;     /* enum link_state */
};

struct links {
	struct link_group **slots; /* open addressing */
	size_t cap, count;
};

void links_done(struct links *l);
/* The inode's group, or NULL. */
struct link_group *links_find(const struct links *l, uint64_t dev, uint64_t ino);
/* Takes a copy of path. NULL: out of memory. */
struct link_group *links_add(struct links *l, uint64_t dev, uint64_t ino, const struct node *node, const char *path);
/* A number that differs, but by bad luck, where type or content do. */
uint64_t links_content(const struct node *node);

#endif
