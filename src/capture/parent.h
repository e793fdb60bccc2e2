/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The snapshot that the next one of the same things is compared with. */
#ifndef CAPTURE_PARENT_H
#define CAPTURE_PARENT_H

#include "repo/repo.h"

/* The newest snapshot of the kind, host and sources of s (sources in the order they stand there). Damaged snapshots are passed over. ret is the caller's when
 * ret_found is true. */
int capture_find_parent(struct repo *repo, const struct snapshot *s, bool *ret_found, struct id *ret_id, struct snapshot *ret, struct error *err);

#endif
