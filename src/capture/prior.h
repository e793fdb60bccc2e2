/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One folder of the last snapshot, in step with the names that are found in it now. Used by the walk; one thread at a time.
 * A damaged tree of the last snapshot only costs reading again what it would have told.
 */
#ifndef CAPTURE_PRIOR_H
#define CAPTURE_PRIOR_H

#include "repo/format/node.h"
#include "repo/repo.h"

/* All zero: a folder that the last snapshot does not have. */
struct prior {
	struct seq_reader *reader;
	bool have;
	bool broken;    /* its end was not reached */
	struct node node;
	uint64_t count; /* nodes passed */
};

int prior_open(struct prior *p, struct repo *repo, const struct id *tree, struct error *err);
void prior_close(struct prior *p);
/* The node of this name, or NULL. Names must come ascending. The caller may take what it wants out of the node, but must leave a name in it. */
struct node *prior_find(struct prior *p, const char *name);
/* Passes the nodes that no name met: they are gone. */
void prior_skip_rest(struct prior *p);

/* Whether the index knows every chunk: where a pack was lost, the file is read again instead of being referred to. */
bool prior_is_stored(struct repo *repo, const struct content *content);

#endif
