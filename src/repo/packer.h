/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The packs of one session: blocks go in, committed packs and index segments come out. Used by writer.c only.
 * Threads: packer_add from any; packer_finish while none adds.
 */
#ifndef REPO_PACKER_H
#define REPO_PACKER_H

#include "repo/format/pack.h"
#include "repo/repo.h"

struct packer;

int packer_new(struct packer **ret, struct repo *repo, const struct id *session, struct error *err);
/* Aborts what is open. */
void packer_free(struct packer *p);
DEFINE_CLEAN(packer, packer_free)

/* Where a block went, for reading it back: valid until packer_checked. */
struct packed {
	struct open_pack *pack;
	uint64_t counter;
	struct id id;
	enum seal_kind kind;
};

/* Encrypts payload (a block's plaintext) under the open pack of the class, appends it and notes its chunks. sealed is the caller's scratch and holds the message afterwards.
 * The pack is not committed before packer_checked was called for the block. */
int packer_add(struct packer *p, enum chunk_class class, const struct seal_payload *payload, uint32_t raw_length, const struct pack_chunk *chunks, size_t count,
               struct buf *sealed, struct packed *ret, struct error *err);
/* ok false: the read-back failed; the pack is dropped and the session fails. */
void packer_checked(struct packer *p, const struct packed *where, bool ok);

/* What is written from now on carries this session's id. Between packer_finish and the next packer_add. */
void packer_set_session(struct packer *p, const struct id *session);
/* Commits all packs, and an index segment that names them. After a failure: drops what is open, and indexes what was committed before. */
int packer_finish(struct packer *p, struct error *err);
/* After packer_finish: whether every committed pack is in a segment. */
bool packer_is_indexed(struct packer *p);

#endif
