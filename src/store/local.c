/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A folder of this machine as a store. An object is a file of its key's name.
 *
 * Writing: a file tmp/tmp-RANDOM is filled and synced, renamed to its name (never over another), and the folder
 * that it is now in is synced; so an object is either whole and durable, or not there. On some filesystems (FAT)
 * the file has to be synced again under its new name before that holds. A folder that has
 * to be made is made and its parent synced before the first object in it counts as stored.
 * A put holds a lock (flock) on its temporary file, by which sweep knows the dead from the slow.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "store/local_fs.h"
#include "store/local_internal.h"

#define TMP_FOLDER LOCAL_TMP
#define TMP_START "tmp-"
#define TMP_NAME_SIZE (sizeof TMP_FOLDER "/" TMP_START + 32)
#define WRITEBACK_STEP (8u << 20) /* bytes after which the kernel is told to start writing, so that the sync at the end is short */
#define DEPTH_MAX 8               /* folders in folders that a listing goes down */

struct local_put {
	struct store_put base;
	int fd;
	uint64_t written, flushed;
	char tmp[TMP_NAME_SIZE]; /* below root */
	char *key;
	bool over;               /* takes the place of an object that is there */
};

static int random_name(char ret[TMP_NAME_SIZE], struct error *err)
{
	uint8_t bytes[16];
	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		return error_sys(err, errno, "get random bytes");
	char *at = stpcpy(ret, TMP_FOLDER "/" TMP_START);
	for (size_t i = 0; i < sizeof bytes; i++)
		at += sprintf(at, "%02x", bytes[i]);
	return 0;
}

static int open_tmp(struct local *l, const char *tmp)
{
	return openat(l->root, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, l->file_mode);
}

static void put_free(struct local_put *put)
{
	if (put->fd >= 0)
		close(put->fd);
	free(put->key);
	free(put);
}

static int put_open(struct local *l, struct local_put *put, const char *key, struct error *err)
{
	put->key = strdup(key);
	if (!put->key)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	if (random_name(put->tmp, err) < 0)
		return -1;
	put->fd = open_tmp(l, put->tmp);
	if (put->fd < 0 && errno == ENOENT) {
		int sys = local_make_folder(l, TMP_FOLDER);
		if (sys)
			return local_fail(err, sys, "write", l, key);
		put->fd = open_tmp(l, put->tmp);
	}
	if (put->fd < 0)
		return local_fail(err, errno, "write", l, key);
	flock(put->fd, LOCK_EX | LOCK_NB); /* only a help to sweep: no matter where a filesystem has no locks */
	return 0;
}

static int local_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	(void)size_hint;
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct local_put *put = calloc(1, sizeof *put);
	if (!put)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	put->base.store = s;
	put->fd = -1;
	if (put_open(local_of(s), put, key, err) < 0) {
		put_free(put);
		return -1;
	}
	*ret = &put->base;
	return 0;
}

static int local_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct local_put *put = (struct local_put *)p;
	const uint8_t *at = data;
	for (size_t left = len; left;) {
		ssize_t n = write(put->fd, at, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return local_fail(err, n < 0 ? errno : ENOSPC, "write", local_of(p->store), put->key);
		at += n;
		left -= (size_t)n;
	}
	put->written += len;
	if (put->written - put->flushed >= WRITEBACK_STEP) {
		sync_file_range(put->fd, (off_t)put->flushed, (off_t)(put->written - put->flushed), SYNC_FILE_RANGE_WRITE);
		put->flushed = put->written;
	}
	return 0;
}

static void local_put_abort(struct store_put *p)
{
	struct local_put *put = (struct local_put *)p;
	unlinkat(local_of(p->store)->root, put->tmp, 0);
	put_free(put);
}

/* Where renaming alone would leave an empty file behind after a power cut. */
static int sync_renamed(struct local *l, const char *key, struct error *err)
{
	if (l->rename_is_whole)
		return 0;
	CLEAN_FD int fd = openat(l->root, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? local_fail(err, errno, "sync", l, key) : 0;
}

static int publish(struct local *l, struct local_put *put, struct error *err)
{
	if (fdatasync(put->fd) < 0)
		return local_fail(err, errno, "sync", l, put->key);
	if (close(take_fd(&put->fd)) < 0 && errno != EINTR)
		return local_fail(err, errno, "write", l, put->key);
	char folder[STORE_KEY_MAX + 1];
	local_parent_of(put->key, folder);
	if (local_ensure_folder(l, folder, err) < 0)
		return -1;
	int sys = put->over ? (renameat(l->root, put->tmp, l->root, put->key) < 0 ? errno : 0) : local_rename_new(l->root, put->tmp, put->key);
	if (sys == EEXIST)
		return error_set(err, ERR_EXISTS, "write %s/%s: it is there already", l->base.location, put->key);
	if (sys)
		return local_fail(err, sys, "write", l, put->key);
	put->tmp[0] = 0; /* nothing left to remove */
	if (sync_renamed(l, put->key, err) < 0)
		return -1;
	return local_sync_folder(l, folder, err);
}

static int local_put_commit(struct store_put *p, struct error *err)
{
	struct local_put *put = (struct local_put *)p;
	struct local *l = local_of(p->store);
	int result = publish(l, put, err);
	if (result < 0 && put->tmp[0])
		unlinkat(l->root, put->tmp, 0);
	put_free(put);
	return result;
}

static int local_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct store_put *put;
	if (local_put_begin(s, key, len, &put, err) < 0)
		return -1;
	((struct local_put *)put)->over = true;
	if (local_put_append(put, data, len, err) < 0) {
		local_put_abort(put);
		return -1;
	}
	int result = local_put_commit(put, err);
	fdcache_drop(&local_of(s)->cache, key);
	return result;
}

/* O_NONBLOCK: a fifo of that name in a hostile folder must not hang the reader; what is not a regular file is no object. */
static int open_object(struct local *l, const char *key, struct fdcache_ref *ret, struct error *err)
{
	CLEAN_FD int fd = openat(l->root, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", l->base.location, key);
	if (fd < 0)
		return local_fail(err, errno, "read", l, key);
	struct stat st;
	if (fstat(fd, &st) < 0)
		return local_fail(err, errno, "read", l, key);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERR_CORRUPT, "read %s/%s: it is not a file", l->base.location, key);
	*ret = fdcache_add(&l->cache, key, take_fd(&fd), (uint64_t)st.st_size);
	return 0;
}

static int read_range(const struct local *l, const char *key, const struct fdcache_ref *ref, uint64_t offset, void *data,
                      size_t len, struct error *err)
{
	if (offset > ref->size || len > ref->size - offset)
		return error_set(err, ERR_CORRUPT, "read %s/%s: it ends after %llu bytes, but %zu at %llu were wanted", l->base.location,
		                 key, (unsigned long long)ref->size, len, (unsigned long long)offset);
	uint8_t *at = data;
	while (len) {
		ssize_t n = pread(ref->fd, at, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return local_fail(err, errno, "read", l, key);
		if (n == 0)
			return error_set(err, ERR_CORRUPT, "read %s/%s: it was cut short at %llu", l->base.location, key,
			                 (unsigned long long)offset);
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int local_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct local *l = local_of(s);
	struct fdcache_ref ref;
	if (!fdcache_take(&l->cache, key, &ref) && open_object(l, key, &ref, err) < 0)
		return -1;
	int result = read_range(l, key, &ref, offset, data, len, err);
	fdcache_release(&l->cache, ref);
	return result;
}

static int local_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct stat st;
	if (fstatat(local_of(s)->root, key, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			return local_fail(err, errno, "look for", local_of(s), key);
		*ret_found = false;
		*ret_size = 0;
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERR_CORRUPT, "look for %s/%s: it is not a file", s->location, key);
	*ret_found = true;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

struct listing {
	struct local *local;
	store_list_fn fn;
	void *cookie;
};

static int list_folder(const struct listing *ls, const char *folder, unsigned depth, struct error *err);

static int list_entry(const struct listing *ls, const char *folder, const struct dirent *e, unsigned depth, struct error *err)
{
	char key[STORE_KEY_MAX + 256 + 2];
	int len = snprintf(key, sizeof key, "%s%s", folder, e->d_name);
	/* Temporary files, and what is not ours: lost+found, .nfs0001, .DS_Store. */
	if (len < 0 || !store_key_valid(key) || strcmp(key, TMP_FOLDER) == 0)
		return 0;
	struct stat st;
	if (e->d_type == DT_DIR)
		st.st_mode = S_IFDIR;
	else if (fstatat(ls->local->root, key, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : local_fail(err, errno, "list", ls->local, key);
	if (S_ISREG(st.st_mode))
		return ls->fn(ls->cookie, key, (uint64_t)st.st_size);
	if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
		return 0;
	key[len] = '/';
	key[len + 1] = 0;
	return list_folder(ls, key, depth + 1, err);
}

/* folder: "" or ends in '/'. */
static int list_folder(const struct listing *ls, const char *folder, unsigned depth, struct error *err)
{
	CLEAN_FD int fd = openat(ls->local->root, *folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : local_fail(err, errno, "list", ls->local, folder);
	CLEAN_DIR DIR *dir = fdopendir(fd);
	if (!dir)
		return local_fail(err, errno, "list", ls->local, folder);
	take_fd(&fd);
	for (;;) {
		errno = 0;
		const struct dirent *e = readdir(dir);
		if (!e)
			return errno ? local_fail(err, errno, "list", ls->local, folder) : 0;
		int result = list_entry(ls, folder, e, depth, err);
		if (result)
			return result;
	}
}

static int local_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	if (store_check_prefix(s, prefix, err) < 0)
		return -1;
	if (strncmp(prefix, TMP_FOLDER "/", sizeof TMP_FOLDER) == 0)
		return 0;
	struct listing ls = { local_of(s), fn, cookie };
	return list_folder(&ls, prefix, 0, err);
}

static int local_remove(struct store *s, const char *key, struct error *err)
{
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct local *l = local_of(s);
	if (unlinkat(l->root, key, 0) < 0 && errno != ENOENT && errno != ENOTDIR)
		return local_fail(err, errno, "remove", l, key);
	fdcache_drop(&l->cache, key);
	return 0;
}

/* Removes one temporary file if it is old and nobody holds its lock. */
static bool sweep_one(int folder, const char *name, const struct timespec *now, uint64_t min_age)
{
	CLEAN_FD int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	if (!S_ISREG(st.st_mode) || now->tv_sec < st.st_mtim.tv_sec || (uint64_t)(now->tv_sec - st.st_mtim.tv_sec) < min_age)
		return false;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return false;
	return unlinkat(folder, name, 0) == 0;
}

static int local_make_removals_last(struct store *s, const char *prefix, struct error *err)
{
	struct local *l = local_of(s);
	if (store_check_prefix(s, prefix, err) < 0)
		return -1;
	CLEAN_FD int fd = openat(l->root, *prefix ? prefix : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : local_fail(err, errno, "sync", l, prefix);
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP)
		return local_fail(err, errno, "sync", l, prefix);
	return 0;
}

static int local_sweep(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err)
{
	struct local *l = local_of(s);
	uint64_t removed = 0;
	CLEAN_FD int fd = openat(l->root, TMP_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return local_fail(err, errno, "clean up", l, TMP_FOLDER);
	CLEAN_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (fd >= 0 && !dir)
		return local_fail(err, errno, "clean up", l, TMP_FOLDER);
	take_fd(&fd);
	struct timespec now;
	bool clock = local_fs_now(l->root, &now);
	for (const struct dirent *e; dir && clock && (e = readdir(dir));)
		if (strncmp(e->d_name, TMP_START, strlen(TMP_START)) == 0)
			removed += sweep_one(dirfd(dir), e->d_name, &now, min_age);
	*ret_removed = removed;
	return 0;
}

static int local_reserve(struct store *s, bool keep, struct error *err)
{
	struct local *l = local_of(s);
	int sys = keep ? local_make_folder(l, TMP_FOLDER) : 0;
	if (sys)
		return local_fail(err, sys, "make the folder", l, TMP_FOLDER);
	sys = local_keep_reserve(l->root, keep, l->file_mode);
	return sys ? local_fail(err, sys, keep ? "set room aside in" : "give up the reserve in", l, TMP_FOLDER) : 0;
}

static int local_facts(struct store *s, struct store_facts *ret, struct error *err)
{
	int sys = local_fs_facts(local_of(s)->root, ret);
	return sys ? local_fail(err, sys, "ask for the free space of", local_of(s), "") : 0;
}

static void local_close(struct store *s)
{
	struct local *l = local_of(s);
	fdcache_done(&l->cache);
	folders_done(&l->known);
	folders_done(&l->made);
	folders_done(&l->made_roots);
	pthread_mutex_destroy(&l->lock);
	if (l->root >= 0)
		close(l->root);
	free(s->location);
	free(l);
}

static const struct store_ops local_ops = {
	.name = "local",
	.put_begin = local_put_begin,
	.put_append = local_put_append,
	.put_commit = local_put_commit,
	.put_abort = local_put_abort,
	.get = local_get,
	.stat = local_stat,
	.list = local_list,
	.remove = local_remove,
	.replace = local_replace,
	.close = local_close,
	.sweep = local_sweep,
	.make_removals_last = local_make_removals_last,
	.reserve = local_reserve,
	.facts = local_facts,
	.unmake = local_unmake,
};

int store_open_local(struct store **ret, const char *location, enum store_create create, struct error *err)
{
	const char *path = strncmp(location, "file://", 7) == 0 ? location + 7 : location;
	if (!*path)
		return error_set(err, ERR_INVALID, "open \"%s\": it names no folder", location);
	CLEAN_STORE struct store *s = NULL;
	struct local *l = calloc(1, sizeof *l);
	if (!l)
		return error_set(err, ERR_NOMEM, "open %s: out of memory", path);
	s = &l->base;
	s->ops = &local_ops;
	l->root = -1;
	fdcache_init(&l->cache);
	pthread_mutex_init(&l->lock, NULL);
	s->location = strdup(path);
	if (!s->location)
		return error_set(err, ERR_NOMEM, "open %s: out of memory", path);
	for (size_t len = strlen(s->location); len > 1 && s->location[len - 1] == '/'; len--)
		s->location[len - 1] = 0;
	if (create && local_make_root(&l->made_roots, s->location, err) < 0)
		return -1;
	l->root = open(s->location, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	if (l->root < 0 || fstat(l->root, &st) < 0)
		return error_sys(err, errno, "open %s", path);
	/* Whom the folder is shared with (its group), the objects are shared with. */
	l->file_mode = 0600 | (st.st_mode & 0060);
	l->folder_mode = 0700 | (st.st_mode & 0070);
	s->promises = local_promises(l->root);
	l->rename_is_whole = local_rename_is_whole(l->root);
	*ret = TAKE(s);
	return 0;
}
