/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the running system knows of a file: fills a struct attr for a name in an open directory.
 *
 * In two steps, because most files of most backups have not changed: capture_stat is one statx, enough to see that; capture_complete
 * adds names, link target, xattrs and flags. capture_open stands between them for what has content (files, directories), and never
 * opens anything else, whatever is swapped in under the name meanwhile.
 *
 * No state: any thread may call. dir is an open directory, or AT_FDCWD. name is one component (or a path where a caller trusts it).
 */
#ifndef CAPTURE_ATTR_H
#define CAPTURE_ATTR_H

#include "base/attr.h"
#include "base/error.h"
#include "base/names.h"

/*
 * statx without following a symlink. Fills everything that statx gives (mode, uid, gid, size, times, ino, dev, nlink, rdev) and zeroes the
 * rest, so ret needs no attr_done before capture_complete. size is 0 for what is neither a regular file nor a symlink.
 * ERR_NOT_FOUND where the name is gone.
 */
int capture_stat(int dir, const char *name, struct attr *ret, struct error *err);
/* The same of an open file: what to compare after reading it. */
int capture_stat_fd(int fd, struct attr *ret, struct error *err);

/*
 * Opens the regular file or directory that a describes, for reading, without touching its access time where the system allows
 * that, and fills *a anew from what was opened (the name may belong to another file of the same type by now). A name
 * that has become something else is ERR_NOT_FOUND. a must come from capture_stat.
 */
int capture_open(int dir, const char *name, struct attr *a, int *ret_fd, struct error *err);

/*
 * Adds the names of owner and group, the symlink's target, all xattrs that this process may see (sorted), and the
 * flags of ATTR_FLAGS_KEPT. fd is what capture_open gave, -1 for other types.
 *
 * 0: a is complete, or misses what gap names (gap->kind is not ERR_NONE then: a warning, the rest of the file is fine).
 * -1: a is of no use (the name is gone, memory is out); what it owned is freed.
 */
int capture_complete(struct names *names, int dir, const char *name, int fd, struct attr *a, struct error *gap,
                     struct error *err);

#endif
