/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPENAT2_TRIES 16 /* it says EAGAIN when a rename anywhere on the way raced with it */

struct beneath {
	int root;               /* O_PATH */
	_Atomic bool no_openat2;
};

static int in_the_way(struct error *err, const char *what, const char *name)
{
	return error_set(err, ERR_EXISTS, "%s %s: something that is no folder (perhaps a symbolic link) stands in the way", what, name);
}

static int make_target(const char *target, struct error *err)
{
	CLEAN_FREE char *path = strdup(target);
	if (!path)
		return error_set(err, ERR_NOMEM, "open the target %s: out of memory", target);
	for (char *at = path + (*path != 0);; at++) {
		char here = *at;
		if (here && here != '/')
			continue;
		*at = 0;
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return error_sys(err, errno, "make the target %s", path);
		*at = here;
		if (!here)
			return 0;
	}
}

int beneath_open(struct beneath **ret, const char *target, bool create, struct error *err)
{
	if (create && make_target(target, err) < 0)
		return -1;
	CLEAN_FD int fd = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "open the target %s", target);
	struct beneath *b = calloc(1, sizeof *b);
	if (!b)
		return error_set(err, ERR_NOMEM, "open the target %s: out of memory", target);
	b->root = take_fd(&fd);
	*ret = b;
	return 0;
}

void beneath_close(struct beneath *b)
{
	if (!b)
		return;
	close(b->root);
	free(b);
}

void beneath_without_openat2(struct beneath *b)
{
	b->no_openat2 = true;
}

void beneath_cache_done(struct beneath_cache *c)
{
	free(c->path);
	if (c->fd >= 0)
		close(c->fd);
	*c = (struct beneath_cache)BENEATH_CACHE_INIT;
}

static bool name_valid(const char *name, size_t len)
{
	return len && !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))) && !memchr(name, '/', len);
}

/* Every component up to len. */
static int check_path(const char *path, size_t len, struct error *err)
{
	for (size_t at = 0; len;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t end = slash ? (size_t)(slash - path) : len;
		if (!name_valid(path + at, end - at))
			return error_set(err, ERR_CORRUPT, "restore \"%.*s\": this is not a path below the target", (int)(len < 200 ? len : 200), path);
		if (end == len)
			break;
		at = end + 1;
	}
	return 0;
}

static int check_name(const char *name, struct error *err)
{
	if (name_valid(name, strlen(name)))
		return 0;
	return error_set(err, ERR_CORRUPT, "restore \"%.200s\": this is not a file's name", name);
}

/* -1 with errno: ENOSYS where another way has to be taken. */
static int open_whole(const struct beneath *b, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	for (int tries = 0; tries < OPENAT2_TRIES; tries++) {
		long fd = syscall(SYS_openat2, b->root, path, &how, sizeof how);
		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			return -1;
	}
	errno = ENOSYS;
	return -1;
}

/* One component at a time, which no symlink can lead astray. create: missing ones are made. flags are for the last one. path is cut up. */
static int open_stepwise(const struct beneath *b, char *path, int flags, bool create)
{
	CLEAN_FD int dir = openat(b->root, ".", (*path ? O_PATH : flags) | O_DIRECTORY | O_CLOEXEC);
	for (char *at = path; dir >= 0 && *at;) {
		char *slash = strchr(at, '/');
		if (slash)
			*slash = 0;
		int how = (slash ? O_PATH : flags) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
		int next = openat(dir, at, how);
		if (next < 0 && errno == ENOENT && create) {
			if (mkdirat(dir, at, 0700) < 0 && errno != EEXIST)
				return -1;
			next = openat(dir, at, how);
		}
		if (next < 0)
			return -1;
		close(dir);
		dir = next;
		at = slash ? slash + 1 : at + strlen(at);
	}
	return take_fd(&dir);
}

/* The folder path[0..len); -1 with errno. */
static int open_folder(struct beneath *b, const char *path, size_t len, int flags, bool create)
{
	CLEAN_FREE char *copy = strndup(path, len);
	if (!copy)
		return -1;
	if (!b->no_openat2 && len < PATH_MAX) {
		int fd = open_whole(b, len ? copy : ".", flags);
		if (fd >= 0)
			return fd;
		if (errno == ENOSYS)
			b->no_openat2 = true;
		else if (errno != EPERM && (errno != ENOENT || !create)) /* EPERM: a sandbox older than openat2 */
			return -1;
	}
	return open_stepwise(b, copy, flags, create);
}

static int folder_error(struct error *err, int sys, const char *path, size_t len)
{
	CLEAN_FREE char *copy = strndup(path, len);
	const char *name = copy ? copy : "";
	if (sys == ELOOP || sys == ENOTDIR || sys == EXDEV)
		return in_the_way(err, "open the folder", name);
	return error_sys(err, sys, "open the folder %s in the target", name);
}

/* Puts the folder path[0..len) into the cache, if it is not there. */
static int cache_folder(struct beneath *b, struct beneath_cache *c, const char *path, size_t len, bool create, struct error *err)
{
	if (c->path && c->len == len && memcmp(c->path, path, len) == 0)
		return 0;
	if (check_path(path, len, err) < 0)
		return -1;
	CLEAN_FREE char *copy = malloc(len + 1);
	if (!copy)
		return error_set(err, ERR_NOMEM, "open a folder of the target: out of memory");
	memcpy(copy, path, len);
	copy[len] = 0;
	int fd = open_folder(b, path, len, O_PATH, create);
	if (fd < 0)
		return folder_error(err, errno, path, len);
	beneath_cache_done(c);
	*c = (struct beneath_cache){ TAKE(copy), len, fd };
	return 0;
}

int beneath_mkdirs(struct beneath *b, struct beneath_cache *cache, const char *path, int *ret_fd, struct error *err)
{
	if (cache_folder(b, cache, path, strlen(path), true, err) < 0)
		return -1;
	if (ret_fd)
		*ret_fd = cache->fd;
	return 0;
}

int beneath_open_parent(struct beneath *b, struct beneath_cache *cache, const char *path, int *ret_dir, const char **ret_name,
                        struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	if (check_name(name, err) < 0)
		return -1;
	/* "/name" has an empty first component, which check_path cannot see in a parent of no length. */
	if (slash == path)
		return error_set(err, ERR_CORRUPT, "restore \"%.200s\": this is not a path below the target", path);
	if (cache_folder(b, cache, path, slash ? (size_t)(slash - path) : 0, false, err) < 0)
		return -1;
	*ret_dir = cache->fd;
	*ret_name = name;
	return 0;
}

int beneath_open_folder(struct beneath *b, const char *path, int *ret_fd, struct error *err)
{
	size_t len = strlen(path);
	if (check_path(path, len, err) < 0)
		return -1;
	int fd = open_folder(b, path, len, O_RDONLY, false);
	if (fd < 0)
		return folder_error(err, errno, path, len);
	*ret_fd = fd;
	return 0;
}

int beneath_make_file(int dir, const char *name, int *ret_fd, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, errno, "make the file %s", name);
	*ret_fd = fd;
	return 0;
}

int beneath_make_folder(int dir, const char *name, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	return mkdirat(dir, name, 0700) == 0 ? 0 : error_sys(err, errno, "make the folder %s", name);
}

int beneath_make_symlink(int dir, const char *name, const uint8_t *target, size_t len, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	if (!len || memchr(target, 0, len))
		return error_set(err, ERR_CORRUPT, "make the symbolic link %s: its target is no path", name);
	CLEAN_FREE char *text = malloc(len + 1);
	if (!text)
		return error_set(err, ERR_NOMEM, "make the symbolic link %s: out of memory", name);
	memcpy(text, target, len);
	text[len] = 0;
	return symlinkat(text, dir, name) == 0 ? 0 : error_sys(err, errno, "make the symbolic link %s", name);
}

int beneath_make_special(int dir, const char *name, mode_t type, uint64_t rdev, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	bool device = type == S_IFCHR || type == S_IFBLK;
	if (!device && type != S_IFIFO && type != S_IFSOCK)
		return error_set(err, ERR_INVALID, "make %s: %o is no type of a special file", name, (unsigned)type);
	if (mknodat(dir, name, type | 0600, device ? (dev_t)rdev : 0) == 0)
		return 0;
	return error_sys(err, errno, "make the %s %s", device ? "device" : type == S_IFIFO ? "fifo" : "socket", name);
}

int beneath_make_link(int old_dir, const char *old_name, int dir, const char *name, struct error *err)
{
	if (check_name(old_name, err) < 0 || check_name(name, err) < 0)
		return -1;
	return linkat(old_dir, old_name, dir, name, 0) == 0 ? 0 : error_sys(err, errno, "make the hard link %s to %s", name, old_name);
}

int beneath_open_file(int dir, const char *name, int flags, int *ret_fd, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	flags &= O_ACCMODE;
	CLEAN_FD int fd = openat(dir, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st = { 0 };
	bool other = fd < 0 && (errno == ELOOP || errno == ENXIO || errno == ENODEV || errno == EISDIR);
	if (!other && (fd < 0 || fstat(fd, &st) < 0))
		return error_sys(err, errno, "open the file %s", name);
	if (other || !S_ISREG(st.st_mode))
		return error_set(err, ERR_EXISTS, "open the file %s: something that is no regular file has that name", name);
	*ret_fd = take_fd(&fd);
	return 0;
}

int beneath_remove(int dir, const char *name, struct error *err)
{
	if (check_name(name, err) < 0)
		return -1;
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	/* Linux says EISDIR for a folder; POSIX, and some FUSE filesystems, EPERM. */
	int sys = errno;
	if ((sys == EISDIR || sys == EPERM) && unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return 0;
	if (sys == EISDIR || (sys == EPERM && errno != ENOTDIR))
		sys = errno;
	if (sys == ENOTEMPTY || sys == EEXIST)
		return error_set(err, ERR_EXISTS, "remove the folder %s: it is not empty", name);
	return error_sys(err, sys, "remove %s", name);
}

int beneath_rename(int dir, const char *from, const char *to, struct error *err)
{
	if (check_name(from, err) < 0 || check_name(to, err) < 0)
		return -1;
	if (renameat(dir, from, dir, to) == 0)
		return 0;
	if (errno == EISDIR || errno == ENOTEMPTY)
		return error_set(err, ERR_EXISTS, "rename %s: a folder has the name %s", from, to);
	return error_sys(err, errno, "rename %s to %s", from, to);
}
