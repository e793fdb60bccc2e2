/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Work that was interrupted: which sessions stored packs and never a snapshot, so that a collector leaves these packs to the next backup for some time. docs/FORMAT.md, "Unfinished work".
 * A note is a hint: without it the packs are garbage as any other, and with it they are garbage later. Threads: one.
 */
#ifndef REPO_UNFINISHED_H
#define REPO_UNFINISHED_H

#include "repo/ids.h"
#include "repo/sessions.h"

#define UNFINISHED_KEEP_SECONDS (7u * 24 * 3600)
#define UNFINISHED_KEEP_TIMES 10u /* as long at most, while the same machine goes on with the same work */

/* Before the session's own object goes. Nothing is written of sessions that make no snapshots (collections, repairs), nor with a write-only key. */
int unfinished_note(struct repo *repo, const struct id *session, const struct session *document, struct error *err);

struct unfinished {
	struct id object, session;
	struct session document; /* zeros where it cannot be read */
	bool kept;               /* its packs are to stay */
};
struct unfinished_list {
	struct unfinished *items;
	size_t count;
};
/* keep_seconds: from the last sign of the session, by the clock here; a sign of the same host and work that is younger counts for the older ones, up to UNFINISHED_KEEP_TIMES as long. What cannot be read, or is of the future, is not kept. */
int unfinished_read(struct unfinished_list *ret, struct repo *repo, uint64_t keep_seconds, struct error *err);
void unfinished_list_done(struct unfinished_list *l);

#endif
