/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What collectors have published: which packs are about to go, and which sessions do not count any more. docs/FORMAT.md, "Tombstone". Threads: one.
 */
#ifndef REPO_MARKS_H
#define REPO_MARKS_H

#include "base/buf.h"
#include "base/id.h"
#include "repo/ids.h"
#include "repo/repo.h"

#define TOMBSTONE_BYTES_MAX (64u << 20)
#define TOMBSTONE_PACKS_MAX 1500000u /* so that it stays below that */

/* Ids one after the other, ascending, each once. */
struct marks {
	struct buf objects; /* tombstones and fences that were read */
	struct buf packs;   /* that will go */
	struct buf fenced;  /* sessions */
	bool unread_tombstones, unread_fences; /* with a write-only key: there are some; packs and fenced are empty, objects names all that lie there */
};

#define MARKS_INIT { BUF_INIT, BUF_INIT, BUF_INIT, false, false }

void marks_done(struct marks *m);
/* Replaces *ret. One that vanishes while it is looked for has been dealt with; one that is damaged is an error, since nobody can say what it names. */
int marks_read(struct marks *ret, struct repo *repo, struct error *err);
/* The same for fences alone: all that a reader needs. */
int marks_read_fences(struct marks *ret, struct repo *repo, struct error *err);
bool marks_is_fenced(const struct marks *m, const struct id *session);
/* Whether now holds an object that before does not. */
bool marks_has_news(const struct marks *before, const struct marks *now);

#endif
