/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gives a file its attributes back: owner, extended attributes (and so ACLs and capabilities), mode, times, flags, in the order in which none
 * undoes another. Nothing here stops a restore: what the system refuses is noted in a report, and the rest is done all the same.
 *
 * Call order for one file: apply_empty when it has just been made, then its content, then apply_attr (folders: once everything in them is
 * done), and apply_lock when no link to it, and nothing in it, has to be made any more.
 *
 * Any thread may call; different files at the same time.
 */
#ifndef RESTORE_APPLY_H
#define RESTORE_APPLY_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/names.h"

/* Bits of apply_report.missing, and places in .sys. */
enum apply_kind { APPLY_OWNER, APPLY_MODE, APPLY_XATTRS, APPLY_TIMES, APPLY_FLAGS, APPLY_KINDS };

struct apply_report {
	unsigned missing;      /* 1u << kind: could not be set, or not in full */
	int sys[APPLY_KINDS];  /* the first errno of each */
	char xattr[64];        /* the first extended attribute that could not be set, perhaps cut */
};

struct apply_options {
	struct names *names; /* this system's */
	bool numeric_ids;    /* owners by number; else by name, and by number where the name is unknown here */
};

/* For messages: "owner", "permissions", ... */
const char *apply_kind_name(enum apply_kind kind);

/* Flags that only an empty file can get (no copy-on-write, compression, case-insensitive names). fd: as for apply_attr, of a new file or folder. What fails here is
 * tried again, and reported, by apply_attr. */
void apply_empty(int fd, const struct attr *a);

/*
 * All but the flags "immutable" and "append only". fd: the file, opened in any way but O_PATH; or -1, and then (dir, name) is the file, which is
 * not followed if it is a symlink. A name that is of another type than a by now gets nothing (ESTALE for all). Flags need an fd.
 * A set-user-id bit whose owner, or set-group-id bit whose group, could not be given is left out, because it would lend somebody else's rights.
 * Extended attributes that the file has got from elsewhere (user.*, ACLs inherited from the folder above, capabilities) are removed.
 * ret is set anew.
 */
void apply_attr(const struct apply_options *o, int fd, int dir, const char *name, const struct attr *a, struct apply_report *ret);

/* "Immutable" and "append only", if a has them. Adds to the report. */
void apply_lock(int fd, const struct attr *a, struct apply_report *report);

#endif
