/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Write-only keys: a machine that holds one stores backups which it cannot read. docs/FORMAT.md, "Write-only keys".
 * The key pair's secret half lies sealed in writers/ID; each session of such a machine has a key of its own, which lies in sealed/SESSION for whoever has the secret half.
 */
#ifndef REPO_WRITERS_H
#define REPO_WRITERS_H

#include "repo/repo.h"

/* What stands in a write-only key file: ids of the repository and of the key, the public half, the keys of chunk ids (data, metadata), the cutting key. */
#define WRITE_ONLY_SIZE (6u * 32)

/* Makes a key; ret is what the machine gets. Durable on return. */
int writers_add(struct repo *r, const char *label, struct id *ret_id, uint8_t ret[WRITE_ONLY_SIZE], struct error *err);
/* All there are, in no order. Nonzero from fn stops and is returned. */
typedef int (*writers_fn)(void *cookie, const struct id *id, const struct writer_key *w);
int writers_list(struct repo *r, writers_fn fn, void *cookie, struct error *err);

/* Opens r->keys from bytes; r->header is read. */
int writers_open(struct repo *r, const uint8_t *bytes, size_t len, struct error *err);
/* The key of a new session, of which ret_session is the id: what is sealed from now on, is by it. Nothing else uses r meanwhile. */
int writers_begin_session(struct repo *r, struct id *ret_session, struct error *err);
/* Lets r->keys find keys of sessions; r was opened with a master key, and outlives them. */
void writers_find_sessions(struct repo *r);

#endif
