/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Garbage collection: what no snapshot reaches is deleted, while others read and write. docs/FORMAT.md, "Collecting garbage", has the protocol that all of this follows, and docs/model/
 * the model that it was checked with.
 *
 * An interrupted collection leaves nothing that disturbs anybody; the next one goes on. Memory: 1 bit a chunk of the index, 60 bytes a pack, and the index itself as far as index.h says.
 */
#ifndef REPO_COLLECT_H
#define REPO_COLLECT_H

#include "base/progress.h"
#include "repo/repo.h"

struct collect_options {
	unsigned max_unused;       /* percent of what stays stored that may be unused: packs with dead chunks among living ones are rewritten until it is less. 100: none is */
	uint64_t max_repack;       /* bytes of packs that are rewritten at the most */
	unsigned reseal;           /* not 0: what master keys of epochs below it sealed is written anew too: packs (within max_repack, but always one), and all segments */
	bool dry_run;              /* only tell what would be done; nothing is written */
	uint64_t fence_seconds;    /* a session that was not refreshed for so long is given up */
	uint64_t keep_seconds;     /* packs of interrupted backups stay so long after the last that was heard of them; 0: they go */
	uint64_t wait_seconds;     /* how long to wait for backups that began before this collection; after that the next collection goes on */
	unsigned threads;          /* at least 1 */
	int level;                 /* zstd, for what is compressed anew */
	const char *host;
	struct progress *progress; /* files: nodes of snapshots; bytes: of packs that are rewritten. May be NULL */
	/* A remark for people, one line without a line feed: may be NULL. */
	void (*tell)(void *cookie, const char *text);
	void *cookie;
};

struct collect_report {
	uint64_t snapshots, confirmed, unconfirmed; /* unconfirmed: of sessions that were given up, and not whole: they do not count */
	uint64_t fenced;                            /* sessions given up */
	uint64_t packs, pack_bytes;                 /* found */
	uint64_t live_chunks;
	uint64_t kept_packs, kept_bytes;            /* of interrupted backups: not needed, or partly, but left to the next backup */
	uint64_t dead_packs, dead_bytes;            /* hold nothing that is reached */
	uint64_t moved_packs, moved_bytes;          /* rewritten: before ... */
	uint64_t copied_bytes;                      /* ... and what was stored anew for them */
	uint64_t resealed_packs, resealed_bytes;    /* of these, for the sake of their key */
	uint64_t unused_bytes;                      /* of packs that stay: an estimate */
	uint64_t deleted_packs, deleted_bytes;      /* 0 with dry_run */
	uint64_t pending_packs, pending_bytes;      /* marked, to be deleted by a later collection */
	uint64_t awaited;                           /* sessions that these wait for */
	uint64_t protected_packs, protected_bytes;  /* the store refuses to delete them before a date (ERR_PROTECTED); marked, too */
	char protected_why[ERROR_TEXT_MAX];         /* what it said of the first */
	uint64_t segments_before, segments_after;
};

/* The index is loaded anew. ERR_BUSY: another collection is at work. ERR_CORRUPT: the repository is damaged, and nothing was deleted. */
int repo_collect(struct repo *r, const struct collect_options *options, struct collect_report *ret, struct error *err);

#endif
