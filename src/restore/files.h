/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files and folders of a snapshot (of files, or of an image) into a folder.
 *
 * The tree is walked once; folders are made on the way, file content is gathered in batches and written by worker threads in the order of the packs, each block
 * decoded once for all files that hold part of it. Attributes come last: a file's when its content is whole, a folder's when all in it is done. Nothing outside of the target is
 * touched, whatever the snapshot or the target holds: see beneath.h. What cannot be restored is a warning and the rest goes on; a full disk stops.
 * One call, one thread; the work itself runs on several.
 */
#ifndef RESTORE_FILES_H
#define RESTORE_FILES_H

#include "base/progress.h"
#include "base/warn.h"
#include "repo/repo.h"

/* What happens to what is there already. Folders are never replaced, nor is anything removed that is not in the snapshot. */
enum restore_overwrite {
	RESTORE_IF_CHANGED, /* replaced unless type, size and mtime (target of a symlink, number of a device) are equal; then owner and mode are corrected */
	RESTORE_ALWAYS,
	RESTORE_IF_NEWER,   /* replaced when the snapshot's mtime is later */
	RESTORE_NEVER,      /* kept as it is, folders' attributes too */
};

enum restore_action { RESTORE_CREATE, RESTORE_REPLACE, RESTORE_UNCHANGED, RESTORE_KEEP };

/* What the user wants of the snapshot. */
enum restore_choice {
	RESTORE_TAKE, /* this entry; of a folder all below it, as far as .choose does not leave it out */
	RESTORE_LOOK, /* of a folder: only what is chosen below it; the folder itself is made when something is */
	RESTORE_SKIP,
};

struct restore_options {
	const char *target;          /* made where missing */
	enum restore_overwrite overwrite;
	bool dry_run;                /* decides and counts, writes nothing */
	bool verify;                 /* every restored file is read back and hashed */
	bool numeric_ids;            /* owners by number, not by name */
	unsigned threads;            /* 0: one a processor */
	/* path: in the snapshot, "/etc/passwd". within: RESTORE_TAKE was the answer for a folder above. NULL: everything. */
	enum restore_choice (*choose)(void *cookie, const char *path, size_t len, bool is_dir, bool within);
	/* Told of every entry when it has been decided on; path in the snapshot. NULL: nobody is. */
	void (*report)(void *cookie, enum restore_action action, const char *path, size_t len);
	void *cookie;                /* of both */
	const struct warner *warner;
	struct progress *progress;
};

struct restore_result {
	uint64_t files, folders, symlinks, specials, hard_links; /* restored */
	uint64_t bytes;          /* written to files */
	uint64_t replaced;       /* of the above: in place of something else */
	uint64_t unchanged;      /* not written since they were equal already */
	uint64_t kept;           /* not written since the target's own were to be kept */
	uint64_t damaged;        /* files that could not be restored in full: named */
	uint64_t failed;         /* entries that could not be made at all: named */
	uint64_t incomplete_attributes; /* entries of which not every attribute could be set */
	uint64_t verified;       /* files read back and found equal */
};

/*
 * path: of a folder, whose entries then come directly below the target; or of anything else, which comes below it under its own name;
 * "" is the root. ERR_NOT_FOUND: no such path. repo: index loaded. ret is filled also when the restore fails or is stopped.
 *
 * A file that cannot be restored in full: what there is of it stands in the target, with zeros for the rest and the present time as mtime (so that a later restore does not
 * take it for whole); where it was to replace something, that is left as it was.
 */
int restore_files(struct repo *repo, const struct snapshot *snapshot, const char *path, const struct restore_options *options, struct restore_result *ret,
                  struct error *err);

#endif
