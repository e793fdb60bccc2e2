/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The parallel walk of a file backup. Used by files.c only.
 *
 * A folder is scanned by one task: its names are read and sorted, each is compared with the node of the last snapshot, what must be read goes into content tasks, and
 * each sub-folder becomes a scan task. A folder is finished by whoever finishes its last entry: its nodes become a tree, whose id goes into the parent's node.
 */
#ifndef CAPTURE_WALK_H
#define CAPTURE_WALK_H

#include <stdatomic.h>

#include "capture/files.h"
#include "repo/format/node.h"
#include "task/pool.h"

/* The folders above the sources: only the named children are looked at. */
struct source {
	char *name;              /* "" for the root */
	struct source *children; /* ascending by name */
	size_t count;
	bool whole;              /* this very entry is a source */
};

struct walk {
	struct writer *writer;
	struct pool *pool;
	const struct capture_files_options *options;
	struct names *names;     /* of users and groups */
	struct source *root;
	bool has_prior;
	struct id prior_tree;    /* of the parent snapshot */
	struct time_ns trusted_before; /* times from here on prove nothing */
	uint8_t **scratch;       /* one a slot, STREAM_SCRATCH bytes, made when first used */
	_Atomic uint64_t scans;  /* folders found and not scanned yet */
	/* results */
	struct id tree;
	_Atomic uint64_t files, dirs, others, bytes, files_new, files_changed, files_unchanged, bytes_read, warnings;
};

/* Runs the walk to its end, from outside of the pool. The pool must be idle. */
int walk_run(struct walk *w, struct error *err);

#endif
