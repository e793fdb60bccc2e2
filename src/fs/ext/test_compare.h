/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For the tests of this folder: a filesystem as the reader sees it against the same as the kernel shows it. */
#ifndef FS_EXT_TEST_COMPARE_H
#define FS_EXT_TEST_COMPARE_H

#include "fs/fs.h"

struct compare {
	struct block *block;
	struct fs *fs;
	bool exact;         /* mounted from the same image: inode numbers, ns, birth times, flags, device must be equal */
	bool no_xattrs;     /* this variant cannot hold them */
	unsigned files;     /* compared */
	unsigned failures;  /* each printed */
};

/* A shell command, printf style. The exit status. */
int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Everything below path against everything below directory number; lost+found in the root may be more. */
void compare_tree(struct compare *c, const char *path, uint64_t number);
/* Every inode that inodes() passes is what inode() gives, in ascending order. Returns how many. */
unsigned compare_inodes(struct compare *c);
/* The used map against dumpe2fs's lists of free blocks. Returns the bytes in use. */
uint64_t compare_used(struct compare *c, const char *image);
/* A byte of the device that some file maps, its xattr block, or its map blocks, is not in the used map: counted as a failure.
 * The files' blocks come from libext2fs's own iterator, over all inodes that have links. */
void compare_blocks(struct compare *c, const char *image);

#endif
