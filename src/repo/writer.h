/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing into a repository: one session, from its first chunk to its snapshot.
 *
 * Each worker thread (slot) fills blocks of its own, so hashing, compression and the read-back check run without locks; only handing a
 * finished block to the open pack is serial. Packs are streamed to the store while they grow and committed by a thread of their own.
 *
 * Order of writing: session, packs, index segments, snapshot, end of session. A crash at any point leaves garbage, never damage; what a dead session
 * left in whole packs is adopted by the next writer (writer_begin).
 */
#ifndef REPO_WRITER_H
#define REPO_WRITER_H

#include "repo/format/pack.h"
#include "repo/repo.h"
#include "repo/sessions.h"

#define WRITER_BLOCK (512u << 10) /* small chunks are gathered up to this */
#define WRITER_SOLO (256u << 10)  /* chunks from this size on are a block by themselves */
#define WRITER_PACK (32u << 20)

struct writer;

struct writer_options {
	unsigned slots;      /* how many threads may put at the same time */
	int level;           /* zstd */
	enum session_work work;
	const char *host;
	struct own_session *session; /* NULL: one of its own. Else that one, which stays the caller's; what collectors publish is then the caller's business too */
};

struct writer_stats {
	uint64_t chunks_new, chunks_known;
	uint64_t added_raw, added_stored; /* bytes of new chunks before, and of their sealed blocks after */
	uint64_t adopted_packs;           /* whole packs of dead sessions found and indexed */
};

/* Announces the session, and (re)loads the repository's index after that: whatever is looked up for this session, snapshots too, is looked up afterwards. The writer borrows repo until writer_free. */
int writer_begin(struct writer **ret, struct repo *repo, const struct writer_options *options, struct error *err);
/* Without writer_commit before: keeps what can be kept (finishes packs, indexes them), so that the next run finds it; after a failure drops what is unfinished and keeps
 * the packs that are whole. Where even their index cannot be written, the session object stays, by which the next writer knows to look for them. NULL is fine. */
void writer_free(struct writer *w);
DEFINE_CLEAN(writer, writer_free)
const struct id *writer_session(const struct writer *w);
struct repo *writer_repo(const struct writer *w);
/* Packs are about to be deleted: what is taken over from another snapshot must be stored page by page and chunk by chunk. */
bool writer_is_wary(const struct writer *w);

/* Stores the chunk unless it is there already, and tells its id. One thread a slot. data may be reused afterwards. len 1 to SEAL_BLOCK_MAX. */
int writer_put(struct writer *w, unsigned slot, enum chunk_class class, const void *data, size_t len, struct id *ret, struct error *err);

/* Stores the chunk (of this id) though the index may have it elsewhere, unless this session stored it: for who moves chunks. */
int writer_put_copy(struct writer *w, unsigned slot, enum chunk_class class, const void *data, size_t len, const struct id *id, struct error *err);
/* Stores a whole block as it was compressed for another pack; the caller has verified its chunks. */
int writer_put_block(struct writer *w, unsigned slot, enum chunk_class class, const struct seal_payload *payload, uint32_t raw_length, const struct pack_chunk *chunks, size_t count,
                     struct error *err);

/* For seq writers: a seq_put_fn; cookie is a struct writer_slot. */
struct writer_slot {
	struct writer *writer;
	unsigned slot;
};
int writer_put_page(void *cookie, const void *page, size_t len, struct id *ret, struct error *err);

void writer_stats(const struct writer *w, struct writer_stats *ret);

/* Finishes every block, pack and the index, makes sure that all the snapshot refers to stays (docs/FORMAT.md, "To settle"), then writes it: once this returns 0 it is committed and durable. Sets snapshot->session and the added_ totals.
 * No put may run. */
int writer_commit(struct writer *w, struct snapshot *snapshot, struct id *ret_id, struct error *err);
/* The same without a snapshot: what was stored can be found by the next run. Fails with the session's first error. */
int writer_flush(struct writer *w, struct error *err);

#endif
