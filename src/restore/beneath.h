/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All path work of a restore. Nothing here ever leaves the target, whatever the snapshot's names or the target's symlinks say, also when
 * somebody changes the target meanwhile: folders are found by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), or where the kernel
 * has none, one component at a time without following; and everything is made by its name in such an open folder.
 *
 * Paths are relative to the target, bytes, components joined by single slashes, "" for the target itself; they may be longer than PATH_MAX.
 * A path with an empty, "." or ".." component is ERR_CORRUPT. What is in the way (a symlink or a file where a folder must be, or an entry where one is to be made) is
 * ERR_EXISTS; nothing here removes or overwrites but beneath_remove and beneath_rename.
 *
 * A struct beneath may be used by several threads; each brings a struct beneath_cache of its own.
 */
#ifndef RESTORE_BENEATH_H
#define RESTORE_BENEATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clean.h"
#include "base/error.h"

struct beneath;

/* The last folder that a thread has opened. A folder that has been removed or renamed since must be forgotten by
 * beneath_cache_done (after which the cache can be used again). */
struct beneath_cache {
	char *path; /* NULL: none */
	size_t len;
	int fd;
};
#define BENEATH_CACHE_INIT { NULL, 0, -1 }
void beneath_cache_done(struct beneath_cache *c);
#define CLEAN_BENEATH_CACHE CLEAN(beneath_cache_done)

/* The target, as the user named it: symlinks on the way to it are followed. create: a missing one is made (mode 0700), its parents too. */
int beneath_open(struct beneath **ret, const char *target, bool create, struct error *err);
void beneath_close(struct beneath *b);
DEFINE_CLEAN(beneath, beneath_close)
#define CLEAN_BENEATH CLEAN(beneath_cleanup)
/* For tests: behave as on a kernel without openat2. Before threads share it. */
void beneath_without_openat2(struct beneath *b);

/*
 * Makes the folders of path that are missing (mode 0700). *ret_fd (where wanted) is the folder, opened with O_PATH; it belongs to the
 * cache, and is valid until the next call with it.
 */
int beneath_mkdirs(struct beneath *b, struct beneath_cache *cache, const char *path, int *ret_fd, struct error *err);
/*
 * The folder that the last component of path is in (opened with O_PATH, the cache's, as above), and that component, a part of path.
 * Path must not be "". The folder must be there: ERR_NOT_FOUND.
 */
int beneath_open_parent(struct beneath *b, struct beneath_cache *cache, const char *path, int *ret_dir, const char **ret_name,
                        struct error *err);
/* A folder opened for reading; the caller's. Where its mode forbids that: ERR_AUTH. */
int beneath_open_folder(struct beneath *b, const char *path, int *ret_fd, struct error *err);

/* In all of these dir is from above, and name one component. Modes are narrow (files 0600, folders 0700), until apply.h gives the right ones. */

/* A new, empty regular file, opened for reading and writing; the caller's. */
int beneath_make_file(int dir, const char *name, int *ret_fd, struct error *err);
int beneath_make_folder(int dir, const char *name, struct error *err);
/* target: len bytes, as the snapshot has them; a zero byte in it, or none at all, is ERR_CORRUPT. */
int beneath_make_symlink(int dir, const char *name, const uint8_t *target, size_t len, struct error *err);
/* type: S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK (the last two with rdev, and mostly for root only: ERR_AUTH). */
int beneath_make_special(int dir, const char *name, mode_t type, uint64_t rdev, struct error *err);
/* Another name for what old_name is (a symlink is not followed). */
int beneath_make_link(int old_dir, const char *old_name, int dir, const char *name, struct error *err);

/* An existing regular file for reading or (flags O_WRONLY, O_RDWR) writing; never a fifo or device, nor through a symlink: ERR_EXISTS. */
int beneath_open_file(int dir, const char *name, int flags, int *ret_fd, struct error *err);
/* Anything but a folder that is not empty. What is not there is fine. */
int beneath_remove(int dir, const char *name, struct error *err);
/* In place of what has the name to, if that is not a folder. */
int beneath_rename(int dir, const char *from, const char *to, struct error *err);

#endif
