/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Everything Linux knows of a file except its name and its content.
 *
 * The one type that goes through the whole program: capture/ fills it from the running system, fs/
 * from a filesystem on a disk, repo/format/ stores it in trees, restore/ and serve/ give it back.
 */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct time_ns {
	int64_t sec;  /* since 1970-01-01 UTC; may be negative */
	uint32_t ns;  /* 0 to 999 999 999 */
};

/*
 * Flags that a user sets and would miss: COMPR, SYNC, IMMUTABLE, APPEND, NODUMP, NOATIME, NOCOMP, DIRSYNC, TOPDIR, NOCOW,
 * PROJINHERIT, CASEFOLD. The others say how a filesystem stores a file. Values of linux/fs.h (FS_*_FL), which are those of ext2 on
 * the disk; that header is not included because it defines much more.
 */
#define ATTR_FLAG_IMMUTABLE 0x00000010u
#define ATTR_FLAG_APPEND 0x00000020u
#define ATTR_FLAGS_KEPT                                                                                                         \
	(0x00000004u | 0x00000008u | ATTR_FLAG_IMMUTABLE | ATTR_FLAG_APPEND | 0x00000040u | 0x00000080u | 0x00000400u | 0x00010000u | \
	 0x00020000u | 0x00800000u | 0x20000000u | 0x40000000u)

struct xattr {
	char *name;      /* with its namespace ("user.x", "security.capability", "system.posix_acl_access"
	                    in the kernel's xattr form, version 2); owned */
	uint8_t *value;  /* owned; may be NULL when size is 0 */
	size_t size;
};

struct attr {
	uint32_t mode;        /* st_mode: type and permission bits */
	uint32_t uid, gid;
	char *user, *group;   /* names at the time of the backup; NULL where unknown; owned */
	uint64_t size;        /* of a regular file; length of a symlink's target; otherwise 0 */
	struct time_ns mtime, ctime, btime;
	bool has_btime;
	uint64_t ino, dev;    /* dev: st_dev of the source; 0 in an image */
	uint32_t nlink;
	uint64_t rdev;        /* of a device node, as makedev() composes it */
	uint32_t flags;       /* FS_*_FL as FS_IOC_GETFLAGS gives them, only those of ATTR_FLAGS_KEPT */
	struct xattr *xattrs; /* sorted by name; owned */
	size_t xattr_count;
	uint8_t *link;        /* a symlink's target, bytes, not terminated; owned */
	size_t link_len;
};

/* Frees what it owns and zeroes it. */
void attr_done(struct attr *a);
/* A deep copy; -1 when memory is out (ret then untouched). */
int attr_copy(struct attr *ret, const struct attr *src);
/* Appends a copy of the pair; -1 when memory is out. Call attr_sort_xattrs after the last. */
int attr_add_xattr(struct attr *a, const char *name, const void *value, size_t size);
void attr_sort_xattrs(struct attr *a);

static inline struct time_ns time_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct time_ns){ ts.tv_sec, (uint32_t)ts.tv_nsec };
}
static inline int time_compare(struct time_ns a, struct time_ns b)
{
	if (a.sec != b.sec)
		return a.sec < b.sec ? -1 : 1;
	return a.ns < b.ns ? -1 : a.ns > b.ns;
}

#endif
