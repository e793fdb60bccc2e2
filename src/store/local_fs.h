/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a local store has to know of the filesystem that it lies on: what it can promise, its room, its clock; and the reserve file.
 * root is the store's folder. For local.c only; may be called from any thread.
 */
#ifndef STORE_LOCAL_FS_H
#define STORE_LOCAL_FS_H

#include "store/store.h"

#define LOCAL_TMP "tmp" /* the folder for what is not an object */

/* A filesystem of this machine promises all but checksums. One that is served (NFS, SMB, 9p, FUSE without a disk below it) may list late, and may have no way to
 * name a file without replacing another. */
struct store_promises local_promises(int root);
/* Whether a file that was synced and then renamed keeps its bytes when the power fails: true for filesystems that are known to write size, place and name of a file in
 * one transaction. FAT has length and place in the name's entry, and writes those of the new name only with the file: synced before alone, the file is empty. */
bool local_rename_is_whole(int root);
/* Makes or removes tmp/reserve, made with mode. 0 or an errno; ENOSPC also where not even four times that much is free. */
int local_keep_reserve(int root, bool keep, mode_t mode);
/* 0 or an errno. The clock is that of a file made just now, so the folder must be writable for it; otherwise it stays unknown. */
int local_fs_facts(int root, struct store_facts *ret);
/* The time that a file written now would get, by the filesystem's own clock (a server's, or FAT's steps of 2 seconds): file times may be
 * compared with it. False where nothing can be written. */
bool local_fs_now(int root, struct timespec *ret);
/* Gives the file from the name to, taking it from no other file as far as the filesystem can do that. 0 or an errno (EEXIST). */
int local_rename_new(int root, const char *from, const char *to);

#endif
