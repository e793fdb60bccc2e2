/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The folders of a local store: made when the first object needs them, and synced, so that an object is not lost with the folder that it is in.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/local_internal.h"

static const char *advice(int sys)
{
	switch (sys) {
	case ENOSPC: return "; make room there and run the command again";
	case EDQUOT: return "; the quota is used up: make room there and run the command again";
	case EROFS: return "; the filesystem is read-only, nothing can be stored there";
	case EIO: return "; the medium or its connection is failing, look into the system's log";
	case ENOTCONN:
	case ECONNABORTED:
	case ECONNRESET:
	case EPIPE:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENODEV:
	case ENXIO:
	case ESTALE:
	case ETIMEDOUT:
	case EHOSTDOWN: return "; the drive or its server went away: connect it again and run the command again";
	case EACCES:
	case EPERM: return "; you lack the permission there";
	case EMFILE: return "; raise the limit of open files (ulimit -n)";
	default: return "";
	}
}

int local_fail(struct error *err, int sys, const char *what, const struct local *l, const char *key)
{
	error_sys(err, sys, "%s %s/%s", what, l->base.location, key);
	if (err) {
		size_t used = strlen(err->text);
		snprintf(err->text + used, sizeof err->text - used, "%s", advice(sys));
	}
	return -1;
}

/* Some filesystems cannot sync a folder, and say EINVAL; nothing more can be done on those. */
int local_sync_folder(const struct local *l, const char *folder, struct error *err)
{
	CLEAN_FD int fd = openat(l->root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return local_fail(err, errno, "open", l, folder);
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP)
		return local_fail(err, errno, "sync", l, folder);
	return 0;
}

void local_parent_of(const char *key, char ret[STORE_KEY_MAX + 1])
{
	const char *slash = strrchr(key, '/');
	size_t len = slash ? (size_t)(slash - key) : 0;
	memcpy(ret, slash ? key : ".", slash ? len : 1);
	ret[slash ? len : 1] = 0;
}

static bool folder_known(struct local *l, const char *folder)
{
	pthread_mutex_lock(&l->lock);
	bool known = folders_have(&l->known, folder);
	pthread_mutex_unlock(&l->lock);
	return known;
}

/* Failing to remember costs a sync later, nothing else. */
static void remember_folder(struct local *l, const char *folder)
{
	pthread_mutex_lock(&l->lock);
	folders_add(&l->known, folder);
	pthread_mutex_unlock(&l->lock);
}

int local_make_folder(struct local *l, const char *folder)
{
	if (mkdirat(l->root, folder, l->folder_mode) < 0)
		return errno == EEXIST ? 0 : errno;
	pthread_mutex_lock(&l->lock);
	folders_add(&l->made, folder);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* A folder that exists may have been made a moment ago by somebody who has not synced its parent yet, or who was
 * cut off before; so the parent is synced at its first use by this process in any case. */
int local_ensure_folder(struct local *l, const char *folder, struct error *err)
{
	if (strcmp(folder, ".") == 0 || folder_known(l, folder))
		return 0;
	char parent[STORE_KEY_MAX + 1];
	local_parent_of(folder, parent);
	if (local_ensure_folder(l, parent, err) < 0)
		return -1;
	int sys = local_make_folder(l, folder);
	if (sys)
		return local_fail(err, sys, "make the folder", l, folder);
	if (local_sync_folder(l, parent, err) < 0)
		return -1;
	remember_folder(l, folder);
	return 0;
}

void local_unmake(struct store *s)
{
	struct local *l = local_of(s);
	pthread_mutex_lock(&l->lock);
	for (char *name; (name = folders_take(&l->made)); free(name))
		unlinkat(l->root, name, AT_REMOVEDIR);
	for (char *name; (name = folders_take(&l->made_roots)); free(name))
		rmdir(name);
	pthread_mutex_unlock(&l->lock);
}

/* How much of path is its parent: "/a/b" -> 2, "/a" -> 1 (the slash itself), "a" -> 0. */
static size_t parent_length(const char *path)
{
	const char *slash = strrchr(path, '/');
	return !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
}

/* Makes one folder, 0700, and syncs its parent if it was not there. */
static int make_one(struct folders *made, const char *path, struct error *err)
{
	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : error_sys(err, errno, "make the folder %s", path);
	folders_add(made, path);
	size_t len = parent_length(path);
	CLEAN_FREE char *parent = len ? strndup(path, len) : strdup(".");
	CLEAN_FD int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0)
		fsync(fd); /* as far as it can be read and synced */
	return 0;
}

int local_make_root(struct folders *made, char *path, struct error *err)
{
	for (char *at = path + 1;; at++) {
		char here = *at;
		if (here && here != '/')
			continue;
		*at = 0;
		int result = make_one(made, path, err);
		*at = here;
		if (result < 0 || !here)
			return result;
	}
}
