/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Snapshots from one repository into another, each with its own keys.
 *
 * Chunk ids depend on a repository's keys, so the chunks' bytes are the same there but every id is another one: data is read, verified, hashed again, and its blocks are stored as they were
 * compressed; lists are made anew with the new ids. What an id became is remembered in a file in the source's cache, so that what was copied before is neither read nor stored again.
 * What the source lost is left out and told: a hole in the file (which is marked as incomplete), an unreadable range of the disk. All else of the snapshot is copied.
 * Memory: as a backup's, and 136 bytes for each of at most 65 536 chunks that are planned; it does not grow with the repositories. Threads: one calls; workers inside.
 */
#ifndef REPO_COPY_H
#define REPO_COPY_H

#include "base/progress.h"
#include "repo/format/seq.h"
#include "repo/repo.h"

struct copy_options {
	unsigned threads;
	int level;                 /* zstd, for what is compressed anew */
	const char *host;          /* for the session */
	struct progress *progress; /* bytes: of data chunks. May be NULL */
};

/* Where losses go, on the calling thread. path: bytes, beginning with '/'; NULL with area ("the disk") where it is no file. */
struct copy_sink {
	void (*lost)(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what);
	void *cookie;
};

struct copy;

/* Both repositories are borrowed; from's index is loaded, to's too. ERR_INVALID: they are the same. */
int copy_new(struct copy **ret, struct repo *from, struct repo *to, const struct copy_options *options, const struct copy_sink *sink, struct error *err);
void copy_free(struct copy *c);
DEFINE_CLEAN(copy, copy_free)

enum copy_result { COPY_DONE, COPY_KNOWN };

struct copied {
	enum copy_result result;
	struct id id;              /* of the snapshot in the target */
	uint64_t lost;             /* places that were told */
	uint64_t added_raw, added_stored;
};

/* One snapshot of the source, in a session of its own. COPY_KNOWN: the target has it. ERR_CORRUPT: too much of it is lost (its root); others may be better. An error that is no damage of the
 * source (a store that does not answer, a full disk) ends the whole work; what was stored is found again by the next copy. */
int copy_snapshot(struct copy *c, const struct id *id, const struct snapshot *s, struct copied *ret, struct error *err);
/* Whether the error says that something in the source is damaged or missing, as opposed to: could not be asked for. */
bool copy_is_damage(const struct error *err);
/* Whether they hold the same, whoever stored it, and whatever way it came into the repository. */
int snapshots_equal(const struct snapshot *a, const struct snapshot *b, bool *ret, struct error *err);
/* A list of the source, and all lists below it, as they would be in the target: put gets their pages, and tells their ids there. The data below is read and hashed, as far as it is not remembered; nothing is stored. What the source
 * lost makes other pages. Errors as of copy_snapshot, where nothing at all can be read. */
int copy_translate(struct copy *c, enum seq_kind kind, const struct id *root, seq_put_fn put, void *cookie, struct error *err);
/* The snapshots in the target that are copies from the source, but of none of those that copy_snapshot was asked for: *ret gets their ids. */
int copy_vanished(struct copy *c, struct buf *ret, struct error *err);

#endif
