/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the user wants left out of a file backup.
 *
 * Patterns are those of gitignore, as far as they make sense here:
 *   *.o          no slash: any entry of that name, at any depth
 *   build/out    a slash inside: seen from the folder that is backed up
 *   /home/x/tmp  a slash in front: seen from the root of the filesystem
 *   cache/       a slash at the end: only folders
 *   a/ ** /b     (without the blanks) any number of folders between; at the start or the end likewise
 *   !keep.o      takes back what an earlier pattern left out (but nothing below a folder that is left out: it is never opened)
 * The last pattern that matches decides. "*" and "?" do not match a slash; "[a-z]", "[!a-z]" and "\" for "taken literally" are known.
 * Names are bytes; where they are UTF-8, "?" and "[...]" take one character of it.
 *
 * Filled by one thread; afterwards any number may ask.
 */
#ifndef CAPTURE_EXCLUDE_H
#define CAPTURE_EXCLUDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clean.h"
#include "base/error.h"

struct exclude;

int exclude_new(struct exclude **ret, struct error *err);
void exclude_free(struct exclude *ex);
DEFINE_CLEAN(exclude, exclude_free)
#define CLEAN_EXCLUDE CLEAN(exclude_cleanup)

/* --exclude GLOB. ERR_INVALID for an empty one, or a bracket that is not closed. */
int exclude_add(struct exclude *ex, const char *glob, struct error *err);
/* --exclude-from FILE: one pattern a line; empty lines and lines that start with "#" are skipped. "-" is standard input. */
int exclude_add_file(struct exclude *ex, const char *path, struct error *err);
/* --exclude-if-present NAME */
int exclude_add_marker(struct exclude *ex, const char *name, struct error *err);
/* --exclude-caches: folders marked by a CACHEDIR.TAG, see https://bford.info/cachedir/ */
void exclude_set_caches(struct exclude *ex);
/* --one-file-system */
void exclude_set_one_file_system(struct exclude *ex);
/* --exclude-larger-than SIZE: bytes, or with K, M, G, T (powers of 1024; a following "B" or "iB" is fine). */
int exclude_set_larger_than(struct exclude *ex, const char *size, struct error *err);

/*
 * Whether patterns leave the entry out. path: from the filesystem's root, without a slash at its end, len bytes; below: where in it the part
 * begins that is seen from the folder that is backed up ("/home/x/a/b" with /home/x backed up: 8). Costs well under a
 * microsecond for a few patterns.
 */
bool exclude_match(const struct exclude *ex, const char *path, size_t len, size_t below, bool is_dir);
/* Whether a regular file is too large. */
bool exclude_size(const struct exclude *ex, uint64_t size);
/* Whether a folder of device dev is another filesystem than the one that the backed-up folder is on (source_dev), and so is kept empty. */
bool exclude_device(const struct exclude *ex, uint64_t dev, uint64_t source_dev);
/* Whether the folder open at dir is marked to be left out, and by which entry of it; the folder itself and that entry are kept,
 * so that the mark is still there after a restore. *ret_marker is valid as long as ex. */
bool exclude_folder(const struct exclude *ex, int dir, const char **ret_marker);

#endif
