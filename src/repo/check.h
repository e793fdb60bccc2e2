/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Is everything there, whole, and enough to give every snapshot back?
 *
 * Every object is fetched from the store and authenticated; every pack that the index names must be there, with the size and the table that the index says;
 * from every snapshot all trees, maps and inode tables are walked (each page once, however many snapshots share it), and each chunk that they
 * refer to must be in the index and in a pack that is there. With read_data every block is decoded and every chunk hashed too.
 * What is damaged is told by object, and then by the snapshots and paths that it hits. Nothing is written or changed, but the local cache of the index is renewed.
 *
 * A backup may run meanwhile: snapshots are listed before the index, and the index before packs, so that what a snapshot needs is seen.
 * Memory: 3 bits a chunk and about 100 bytes a pack of the index, and the pages of one path down the deepest tree.
 */
#ifndef REPO_CHECK_H
#define REPO_CHECK_H

#include "base/progress.h"
#include "repo/repo.h"

struct check_options {
	bool read_data;
	unsigned percent;          /* read_data: of the packs' bytes, 1 to 100; those go first that were read longest ago by this user on this machine (check_log.h) */
	bool has_since;            /* read_data: only packs of sessions that are not known to have ended before this time: a pack's session is that of a snapshot, */
	struct time_ns since;      /* or unknown (interrupted, forgotten, of a prune), and then it is read */
	uint64_t budget;           /* read_data: nanoseconds; no further pack is read when they have passed since the start. 0: no limit */
	bool resume;               /* read_data: leave out what a full read that was interrupted has read already */
	unsigned threads;          /* at least 1 */
	struct progress *progress; /* files: packs and snapshots; bytes: of blocks read. May be NULL */
};

/* Where the findings go: from any thread, but never two at once. All texts and paths are valid during the call. */
struct check_sink {
	/* object: its key in the store ("packs/3f/3f09..."), what: why it is damaged. Each object is told once for each thing that is wrong in it. */
	void (*damaged)(void *cookie, const char *object, const char *what);
	/* A part of a snapshot that cannot be given back. path: bytes, beginning with '/'; NULL with area set where it is no file ("the disk", "the inode table of p1"). */
	void (*hit)(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what);
	void *cookie;
};

struct check_report {
	uint64_t snapshots, segments, packs, chunks, keys; /* found */
	uint64_t pages;                                   /* of trees, maps and tables, each once */
	uint64_t packs_read, chunks_read, bytes_read;     /* read_data */
	uint64_t packs_left;                              /* read_data: chosen, and not read because the budget was used up */
	bool has_log;                                     /* it is known when packs were read: */
	uint64_t packs_never_read;                        /* after this check */
	int64_t oldest_read;                              /* seconds since 1970; 0: none was ever read */
	uint64_t tombstones, marked_packs;                /* a prune is at work, or was interrupted: packs that it has marked to go */
	uint64_t fenced_sessions;
	uint64_t unreferenced_chunks, unreferenced_bytes; /* in the index, in no snapshot; only known when nothing is damaged */
	uint64_t duplicate_chunks;                        /* in more than one segment */
	uint64_t unindexed_packs, unindexed_bytes;        /* left behind by an interrupted run, or being written now */
	uint64_t parity_objects;                          /* 0: the repository has no parity, and the next three mean nothing */
	uint64_t protected_objects, weak_objects;         /* weak: of the protected ones, those whose group misses something */
	uint64_t bare_objects;                            /* not protected */
	uint64_t damaged;                                 /* findings */
	uint64_t hits;
};

/* Replaces r's index by one that is read anew. 0 also where there is damage: see the report. -1: the check itself could not go on. */
int repo_check(struct repo *r, const struct check_options *options, const struct check_sink *sink, struct check_report *ret, struct error *err);

#endif
