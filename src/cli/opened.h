/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SNAPSHOT[:PATH] on a command line, opened for reading. */
#ifndef CLI_OPENED_H
#define CLI_OPENED_H

#include "cli/cli.h"
#include "view/tree.h"

/* A snapshot, and a place in it. Must not be moved once it is open: view refers to snapshot. */
struct opened {
	struct id id;
	char name[17];          /* the id's first digits, for messages */
	struct snapshot snapshot;
	struct view *view;      /* NULL: nothing is open */
	const char *path;       /* behind the first ':', in argv; "" when there is none */
	size_t path_len;
};

/* text: an id, a prefix of one, or "latest"; what stands behind the first ':' is the path. repo's index is loaded. ret starts zeroed. */
int opened_snapshot(struct opened *ret, struct repo *repo, const char *text, struct error *err);
/* The node at its path; ERR_NOT_FOUND names both. ret is the caller's. */
int opened_node(const struct opened *o, struct node *ret, struct error *err);
void opened_done(struct opened *o);
#define CLEAN_OPENED CLEAN(opened_done)

#endif
