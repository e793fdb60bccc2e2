/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * File backup: folders of the running system into a snapshot.
 *
 * Incremental by itself: against the newest file snapshot of the same host and sources, an entry whose type, size, mtime, ctime and inode are equal is not opened, and a
 * folder in which nothing changed keeps its tree. What changed within two seconds of the last backup's start, or later, is read again (the time stamps cannot tell: the "racily clean" rule).
 */
#ifndef CAPTURE_FILES_H
#define CAPTURE_FILES_H

#include "base/progress.h"
#include "base/warn.h"
#include "capture/exclude.h"
#include "repo/writer.h"

struct capture_files_options {
	const char *const *paths;       /* as the user gave them */
	size_t path_count;
	const struct exclude *exclude;  /* NULL: nothing is left out */
	bool read_all;                  /* do not trust time stamps: read every file */
	const char *host, *user, *program;
	const char *const *tags;
	size_t tag_count;
	unsigned threads;               /* 0: one a processor */
	int level;
	struct progress *progress;      /* may be NULL */
	const struct warner *warner;    /* unreadable or changing files: each one named, the snapshot is made all the same */
};

/* The index must be loaded. Once it returns 0 the snapshot is durable. ERR_CANCELLED: what was stored will be found by the next run. */
int capture_files(struct repo *repo, const struct capture_files_options *options, struct snapshot *ret, struct id *ret_id, struct error *err);

#endif
