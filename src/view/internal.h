/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of view/ share among themselves. */
#ifndef VIEW_INTERNAL_H
#define VIEW_INTERNAL_H

#include "view/tree.h"

struct view {
	struct repo *repo;
	const struct snapshot *snapshot;
};

struct seq_reader;
struct named_volume;

/* The entries of one directory, one after the other. Zeroed: none. */
struct entries {
	struct seq_reader *reader;
	struct named_volume *volumes; /* ascending by name */
	size_t volume_count, volume_next;
};

int entries_open(struct view *v, const struct node *directory, struct entries *ret, struct error *err);
/* ret is the caller's when *ret_more. */
int entries_next(struct view *v, struct entries *e, bool *ret_more, struct node *ret, struct error *err);
void entries_done(struct entries *e);

#endif
