/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What interrupted runs left behind: whole packs that no index names. They are found by the next writer and used again.
 * The packs are only looked for when a session object other than the caller's exists: a session that ended in order has indexed all its packs.
 */
#ifndef REPO_LEFTOVERS_H
#define REPO_LEFTOVERS_H

#include "repo/marks.h"

/* Indexes such packs under the caller's session, but not those in marks. Sessions of processes of this machine that are gone are ended afterwards, and their temporary files removed; others may be
 * alive and are left alone. */
int leftovers_adopt(struct repo *repo, const struct id *session, const struct marks *marks, uint64_t *ret_packs, struct error *err);
/* The same without looking at sessions: every pack that no segment names and that can be read. Adds to *ret_packs. */
int leftovers_index(struct repo *repo, const struct id *session, const struct marks *marks, uint64_t *ret_packs, struct error *err);

#endif
