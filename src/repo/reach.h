/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All that a snapshot reaches: the pages of its trees, maps and inode tables, and the chunks that these name. For who decides what may be deleted (collect.c) or relied on
 * (settle.c): whatever cannot be read or understood is an error here, never passed over. Threads: one a walk.
 */
#ifndef REPO_REACH_H
#define REPO_REACH_H

#include "base/progress.h"
#include "repo/repo.h"

/* Called for each reference, so for the same id as often as it is referred to. -1 ends the walk. */
struct reach_visitor {
	int (*page)(void *cookie, const struct id *id, bool *ret_enter, struct error *err); /* *ret_enter false: what is below is known already */
	int (*chunk)(void *cookie, const struct id *id, struct error *err);
	void *cookie;
	struct progress *progress; /* files: nodes; may be NULL */
};

/* Memory: 40 bytes for each page that waits, which are at most the children of the pages on one path. */
int reach_snapshot(struct repo *repo, const struct snapshot *s, const struct reach_visitor *visitor, struct error *err);

/* One bit for each row of an index. */
struct row_set {
	uint64_t *words;
	uint64_t count; /* rows */
};
int row_set_new(struct row_set *ret, uint64_t rows, struct error *err);
void row_set_done(struct row_set *s);
static inline bool row_set_has(const struct row_set *s, uint64_t row)
{
	return row < s->count && s->words[row / 64] >> (row % 64) & 1;
}
static inline void row_set_add(struct row_set *s, uint64_t row)
{
	if (row < s->count)
		s->words[row / 64] |= 1ull << (row % 64);
}

#endif
