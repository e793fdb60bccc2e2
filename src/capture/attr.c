/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/attr.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

_Static_assert(ATTR_FLAGS_KEPT == (FS_COMPR_FL | FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_NOCOMP_FL |
                                   FS_DIRSYNC_FL | FS_TOPDIR_FL | FS_NOCOW_FL | FS_PROJINHERIT_FL | FS_CASEFOLD_FL),
               "ATTR_FLAGS_KEPT says in numbers what its comment says in names");

#define LINK_MAX_BYTES (64u << 10)
#define LIST_MAX_BYTES (64u << 10)  /* XATTR_LIST_MAX */
#define VALUE_MAX_BYTES (64u << 10) /* XATTR_SIZE_MAX; the kernel passes on no more at a time, whatever is stored */
#define LEASE_TRIES 500             /* of 100 ms each: a little longer than the kernel waits for a lease to be given back (45 s) */

static struct time_ns time_of(struct statx_timestamp t)
{
	return (struct time_ns){ t.tv_sec, t.tv_nsec };
}

static void from_statx(struct attr *a, const struct statx *st)
{
	*a = (struct attr){
		.mode = st->stx_mode,
		.uid = st->stx_uid,
		.gid = st->stx_gid,
		.size = S_ISREG(st->stx_mode) || S_ISLNK(st->stx_mode) ? st->stx_size : 0,
		.mtime = time_of(st->stx_mtime),
		.ctime = time_of(st->stx_ctime),
		.ino = st->stx_ino,
		.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.nlink = st->stx_nlink,
		.rdev = S_ISBLK(st->stx_mode) || S_ISCHR(st->stx_mode) ? makedev(st->stx_rdev_major, st->stx_rdev_minor) : 0,
		.has_btime = st->stx_mask & STATX_BTIME,
	};
	if (a->has_btime)
		a->btime = time_of(st->stx_btime);
}

static int stat_into(int dir, const char *name, int flags, struct attr *ret)
{
	struct statx st;
	if (statx(dir, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return -1;
	from_statx(ret, &st);
	return 0;
}

int capture_stat(int dir, const char *name, struct attr *ret, struct error *err)
{
	if (stat_into(dir, name, AT_SYMLINK_NOFOLLOW, ret) < 0)
		return error_sys(err, errno, "look at %s", name);
	return 0;
}

int capture_stat_fd(int fd, struct attr *ret, struct error *err)
{
	if (stat_into(fd, "", AT_EMPTY_PATH, ret) < 0)
		return error_sys(err, errno, "look at an open file");
	return 0;
}

/* O_NONBLOCK: a fifo or a device that was swapped in answers at once. It has no effect on a regular file, except that a lease of
 * somebody else (a file server's) shows as EWOULDBLOCK: opening has asked for it back, so it is tried again until it is. */
static int open_quietly(int dir, const char *name, int flags)
{
	flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int noatime = O_NOATIME;
	for (int tries = 0;; tries++) {
		int fd = openat(dir, name, flags | noatime);
		if (fd >= 0)
			return fd;
		if (errno == EPERM && noatime) /* only the owner and root may ask for that */
			noatime = 0;
		else if (errno == EWOULDBLOCK && tries < LEASE_TRIES)
			nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
		else if (errno != EINTR)
			return -1;
	}
}

int capture_open(int dir, const char *name, struct attr *a, int *ret_fd, struct error *err)
{
	bool folder = S_ISDIR(a->mode);
	if (!folder && !S_ISREG(a->mode))
		return error_set(err, ERR_INVALID, "open %s: neither a file nor a folder", name);
	CLEAN_FD int fd = open_quietly(dir, name, folder ? O_DIRECTORY : 0);
	bool swapped = fd < 0 && (errno == ELOOP || errno == ENOTDIR || errno == ENXIO || errno == ENODEV);
	if (fd < 0 && !swapped)
		return error_sys(err, errno, "open %s", name);
	struct attr now;
	if (!swapped && stat_into(fd, "", AT_EMPTY_PATH, &now) < 0)
		return error_sys(err, errno, "look at %s", name);
	if (swapped || (now.mode & S_IFMT) != (a->mode & S_IFMT))
		return error_set(err, ERR_NOT_FOUND, "open %s: it has just been replaced by something else", name);
	*a = now;
	*ret_fd = take_fd(&fd);
	return 0;
}

static int read_link(int dir, const char *name, struct attr *a, struct error *err)
{
	char short_target[PATH_MAX];
	CLEAN_FREE char *long_target = NULL;
	char *target = short_target;
	ssize_t len = readlinkat(dir, name, short_target, sizeof short_target);
	if (len == sizeof short_target) {
		long_target = malloc(LINK_MAX_BYTES + 1);
		if (!long_target)
			return error_set(err, ERR_NOMEM, "read the link %s: out of memory", name);
		target = long_target;
		len = readlinkat(dir, name, target, LINK_MAX_BYTES + 1);
	}
	if (len < 0 && errno == EINVAL)
		return error_set(err, ERR_NOT_FOUND, "read the link %s: it has just been replaced by something else", name);
	if (len < 0)
		return error_sys(err, errno, "read the link %s", name);
	if (len > (ssize_t)LINK_MAX_BYTES)
		return error_set(err, ERR_UNSUPPORTED, "read the link %s: its target has more than %u bytes", name, LINK_MAX_BYTES);
	a->link = malloc(len ? (size_t)len : 1);
	if (!a->link)
		return error_set(err, ERR_NOMEM, "read the link %s: out of memory", name);
	memcpy(a->link, target, (size_t)len);
	a->link_len = (size_t)len;
	a->size = (uint64_t)len; /* proc and some others say 0 */
	return 0;
}

/* Where the xattrs of a file are asked: at its fd, or without following a symlink at a path through the directory's fd. */
struct place {
	int fd;
	char path[64 + PATH_MAX];
};

static int place_of(struct place *at, int dir, const char *name, int fd)
{
	at->fd = fd;
	if (fd >= 0)
		return 0;
	int len = dir == AT_FDCWD || name[0] == '/' ? snprintf(at->path, sizeof at->path, "%s", name)
	                                            : snprintf(at->path, sizeof at->path, "/proc/self/fd/%d/%s", dir, name);
	errno = ENAMETOOLONG;
	return len < (int)sizeof at->path ? 0 : -1;
}

static ssize_t list_at(const struct place *at, char *list, size_t size)
{
	return at->fd >= 0 ? flistxattr(at->fd, list, size) : llistxattr(at->path, list, size);
}

static ssize_t get_at(const struct place *at, const char *name, void *value, size_t size)
{
	return at->fd >= 0 ? fgetxattr(at->fd, name, value, size) : lgetxattr(at->path, name, value, size);
}

static bool means_none(int sys)
{
	return sys == ENOTSUP || sys == ENOSYS || sys == ENODATA;
}

static void note_gap(struct error *gap, int sys, const char *what, const char *name)
{
	struct error one = { 0 };
	error_sys(&one, sys, "read %s of %s", what, name);
	error_keep_first(gap, &one);
}

/* One value: mostly short; one that vanished since it was listed is none. -1: out of memory. */
static int read_value(const struct place *at, const char *name, const char *xattr, struct attr *a, struct error *gap)
{
	uint8_t short_value[512];
	CLEAN_FREE uint8_t *long_value = NULL;
	uint8_t *value = short_value;
	ssize_t size = get_at(at, xattr, value, sizeof short_value);
	if (size < 0 && errno == ERANGE) {
		long_value = malloc(VALUE_MAX_BYTES);
		if (!long_value)
			return -1;
		value = long_value;
		size = get_at(at, xattr, value, VALUE_MAX_BYTES);
	}
	if (size < 0) {
		if (!means_none(errno))
			note_gap(gap, errno, xattr, name);
		return 0;
	}
	return attr_add_xattr(a, xattr, size ? value : NULL, (size_t)size);
}

/* -1: out of memory. Everything else that fails is a gap. */
static int read_xattrs(int dir, const char *name, int fd, struct attr *a, struct error *gap)
{
	struct place at;
	char short_list[512];
	CLEAN_FREE char *long_list = NULL;
	char *list = short_list;
	ssize_t len = place_of(&at, dir, name, fd) < 0 ? -1 : list_at(&at, list, sizeof short_list);
	if (len < 0 && errno == ERANGE) {
		long_list = malloc(LIST_MAX_BYTES);
		if (!long_list)
			return -1;
		list = long_list;
		len = list_at(&at, list, LIST_MAX_BYTES);
	}
	if (len < 0 && !means_none(errno))
		note_gap(gap, errno, "the extended attributes", name);
	for (ssize_t i = 0; i < len; i += (ssize_t)strlen(list + i) + 1)
		if (read_value(&at, name, list + i, a, gap) < 0)
			return -1;
	attr_sort_xattrs(a);
	return 0;
}

/* Filesystems without flags have many ways to say so; none of them is a loss. */
static uint32_t read_flags(int fd)
{
	unsigned flags = 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return 0;
	return flags & ATTR_FLAGS_KEPT;
}

static int copy_name(char **ret, const char *name)
{
	*ret = name ? strdup(name) : NULL;
	return name && !*ret ? -1 : 0;
}

static int complete(struct names *names, int dir, const char *name, int fd, struct attr *a, struct error *gap, struct error *err)
{
	if (copy_name(&a->user, names_user(names, a->uid)) < 0 || copy_name(&a->group, names_group(names, a->gid)) < 0)
		return error_set(err, ERR_NOMEM, "look at %s: out of memory", name);
	if (S_ISLNK(a->mode) && read_link(dir, name, a, err) < 0)
		return -1;
	if (read_xattrs(dir, name, fd, a, gap) < 0)
		return error_set(err, ERR_NOMEM, "look at %s: out of memory", name);
	if (fd >= 0)
		a->flags = read_flags(fd);
	return 0;
}

int capture_complete(struct names *names, int dir, const char *name, int fd, struct attr *a, struct error *gap,
                     struct error *err)
{
	error_clear(gap);
	if (complete(names, dir, name, fd, a, gap, err) == 0)
		return 0;
	attr_done(a);
	return -1;
}
