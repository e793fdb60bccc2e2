/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/block_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "repo/ids.h"

#define BLOCKS "blocks"         /* the folder's name in that of a repository */
#define STATE "state"           /* the file in it that says what it was tidied by */
#define STEP 16                 /* the whole is looked at again after this part of the limit was written */
#define KEEP_OF_16 14           /* so much of the limit stays when it is exceeded */
#define TOUCH_SECONDS 60        /* a use is noted on the disk when the last one noted is older */
#define TEMPORARY_SECONDS 3600  /* older temporary files belong to nobody */

struct block_cache {
	char *folder;            /* .../ID/blocks */
	char *root;              /* .../ */
	uint64_t limit;
	pthread_mutex_t lock;    /* guards all below */
	uint64_t before_look;    /* bytes that may still be written before the whole is looked at */
	bool looking;
	bool broken;             /* a write failed: none is tried again */
};

static char *printed(const char *format, const char *a, const char *b)
{
	char *text;
	return asprintf(&text, format, a, b) < 0 ? NULL : text;
}

struct block_cache *block_cache_new(const char *folder, uint64_t limit)
{
	struct block_cache *c = calloc(1, sizeof *c);
	const char *slash = strrchr(folder, '/');
	if (!c || !slash)
		return free(c), NULL;
	c->limit = limit;
	pthread_mutex_init(&c->lock, NULL);
	c->folder = printed("%s/%s", folder, BLOCKS);
	c->root = strndup(folder, (size_t)(slash - folder));
	if (c->folder && c->root)
		return c;
	block_cache_free(c);
	return NULL;
}

void block_cache_free(struct block_cache *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->folder);
	free(c->root);
	free(c);
}

/* --- files ------------------------------------------------------------------------------- */

#define NAME_SIZE (ID_HEX_SIZE + 9) /* 64 digits, '-', 8 digits */

static void file_name(const struct id *id, uint32_t part, char ret[NAME_SIZE])
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	snprintf(ret, NAME_SIZE, "%s-%08x", hex, part);
}

static bool parse_name(const char *name, struct id *ret_id, uint32_t *ret_part)
{
	char hex[ID_HEX_SIZE], again[NAME_SIZE];
	if (strlen(name) != NAME_SIZE - 1)
		return false;
	memcpy(hex, name, ID_HEX_SIZE - 1);
	hex[ID_HEX_SIZE - 1] = 0;
	if (!id_from_hex(hex, ret_id))
		return false;
	*ret_part = (uint32_t)strtoul(name + ID_HEX_SIZE, NULL, 16);
	file_name(ret_id, *ret_part, again);
	return strcmp(name, again) == 0;
}

static char *path_of(const struct block_cache *c, const struct id *id, uint32_t part)
{
	char name[NAME_SIZE];
	file_name(id, part, name);
	return printed("%s/%s", c->folder, name);
}

static bool read_all(int fd, void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (uint8_t *)data + done, len - done, (off_t)done);
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool write_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const uint8_t *)data + done, len - done);
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

bool block_cache_get(struct block_cache *c, const struct id *id, uint32_t part, size_t max, struct buf *ret)
{
	CLEAN_FREE char *path = c ? path_of(c, id, part) : NULL;
	struct stat st;
	if (!path)
		return false;
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > max)
		return false;
	size_t len = (size_t)st.st_size;
	buf_clear(ret);
	if (!buf_reserve(ret, len) || !read_all(fd, ret->data, len))
		return false;
	ret->len = len;
	if (time(NULL) - st.st_mtime > TOUCH_SECONDS)
		futimens(fd, NULL); /* where it may not be written, it seems unused */
	return true;
}

void block_cache_drop(struct block_cache *c, const struct id *id, uint32_t part)
{
	CLEAN_FREE char *path = c ? path_of(c, id, part) : NULL;
	if (path)
		unlink(path);
}

/* --- the limit ----------------------------------------------------------------------------- */

struct entry {
	int64_t used;      /* seconds */
	uint32_t size;
	uint32_t part;
	struct id id;
	uint32_t folder;   /* which of the repositories */
};

/* All that lies below the root. */
struct whole {
	struct buf entries; /* of struct entry */
	struct buf folders; /* of char *, owned */
	uint64_t bytes;
};

static void whole_done(struct whole *w)
{
	char **folders = (void *)w->folders.data;
	for (size_t i = 0; i < w->folders.len / sizeof *folders; i++)
		free(folders[i]);
	buf_done(&w->folders);
	buf_done(&w->entries);
}

static void look_into(struct whole *w, const char *folder, uint32_t number)
{
	CLEAN_DIR DIR *dir = opendir(folder);
	time_t now = time(NULL);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct entry entry = { .folder = number };
		struct stat st;
		if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (parse_name(e->d_name, &entry.id, &entry.part)) {
			entry.used = st.st_mtime;
			entry.size = st.st_size > UINT32_MAX ? UINT32_MAX : (uint32_t)st.st_size;
			buf_add(&w->entries, &entry, sizeof entry);
			w->bytes += entry.size;
		} else if (strncmp(e->d_name, "tmp-", 4) == 0 && now - st.st_mtime > TEMPORARY_SECONDS) {
			unlinkat(dirfd(dir), e->d_name, 0);
		}
	}
}

static void look_at_all(struct whole *w, const char *root)
{
	CLEAN_DIR DIR *dir = opendir(root);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct id repository;
		CLEAN_FREE char *path = NULL;
		if (!id_from_hex(e->d_name, &repository) || asprintf(&path, "%s/%s/%s", root, e->d_name, BLOCKS) < 0)
			continue;
		uint32_t number = (uint32_t)(w->folders.len / sizeof path);
		buf_add(&w->folders, &path, sizeof path);
		if (!buf_ok(&w->folders))
			return;
		look_into(w, TAKE(path), number);
	}
}

static int by_use(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return x->used < y->used ? -1 : x->used > y->used;
}

/* Makes room for len bytes. Returns how many are left. */
static uint64_t evict(struct block_cache *c, size_t len)
{
	CLEAN(whole_done) struct whole w = { BUF_INIT, BUF_INIT, 0 };
	look_at_all(&w, c->root);
	if (w.bytes + len <= c->limit || !buf_ok(&w.entries) || !w.entries.len)
		return w.bytes;
	struct entry *entries = (void *)w.entries.data;
	char **folders = (void *)w.folders.data;
	uint64_t keep = c->limit / 16 * KEEP_OF_16, most = c->limit > len ? c->limit - len : 0;
	if (keep > most)
		keep = most;
	qsort(entries, w.entries.len / sizeof *entries, sizeof *entries, by_use);
	for (size_t i = 0; i < w.entries.len / sizeof *entries && w.bytes > keep; i++) {
		char name[NAME_SIZE];
		file_name(&entries[i].id, entries[i].part, name);
		CLEAN_FREE char *path = printed("%s/%s", folders[entries[i].folder], name);
		if (path && (unlink(path) == 0 || errno == ENOENT))
			w.bytes -= entries[i].size;
	}
	return w.bytes;
}

/* Whether len bytes may be written now, which are then counted. */
static bool make_room(struct block_cache *c, size_t len)
{
	pthread_mutex_lock(&c->lock);
	bool look = !c->broken && !c->looking && c->before_look < len;
	c->looking |= look;
	bool may = !c->broken && c->before_look >= len;
	if (may)
		c->before_look -= len;
	pthread_mutex_unlock(&c->lock);
	if (!look)
		return may; /* while another thread looks, nothing is written: it is a cache */
	uint64_t bytes = evict(c, len), step = c->limit / STEP, room = c->limit > bytes ? c->limit - bytes : 0;
	if (step < len)
		step = len;
	if (room > step)
		room = step;
	pthread_mutex_lock(&c->lock);
	c->looking = false;
	may = room >= len;
	c->before_look = may ? room - len : 0;
	pthread_mutex_unlock(&c->lock);
	return may;
}

/* --- writing ----------------------------------------------------------------------------------- */

static bool make_folders(const char *path)
{
	CLEAN_FREE char *copy = strdup(path);
	for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(copy, 0700);
		*slash = '/';
	}
	return copy && (mkdir(copy, 0700) == 0 || errno == EEXIST);
}

/* A name of its own, also beside processes of other machines and containers that share the folder. */
static int open_temporary(struct block_cache *c, char **ret_path)
{
	*ret_path = printed("%s/%s", c->folder, "tmp-XXXXXX");
	int fd = *ret_path ? mkostemp(*ret_path, O_CLOEXEC) : -1;
	if (fd >= 0 || !*ret_path || errno != ENOENT || !make_folders(c->folder))
		return fd;
	strcpy(*ret_path + strlen(*ret_path) - 6, "XXXXXX"); /* mkostemp may have written there */
	return mkostemp(*ret_path, O_CLOEXEC);
}

/* Whole or not at all. A power cut may leave anything under the name: that does not authenticate. */
static bool write_file(struct block_cache *c, const char *path, const void *data, size_t len)
{
	CLEAN_FREE char *temporary = NULL;
	CLEAN_FD int fd = open_temporary(c, &temporary);
	if (fd < 0)
		return false;
	if (write_all(fd, data, len) && rename(temporary, path) == 0)
		return true;
	unlink(temporary);
	return false;
}

void block_cache_put(struct block_cache *c, const struct id *id, uint32_t part, const void *data, size_t len)
{
	CLEAN_FREE char *path = c && len ? path_of(c, id, part) : NULL;
	if (!path || !make_room(c, len) || write_file(c, path, data, len))
		return;
	pthread_mutex_lock(&c->lock);
	c->broken = true;
	pthread_mutex_unlock(&c->lock);
}

/* --- packs that are gone -------------------------------------------------------------------------- */

bool block_cache_is_tidy(struct block_cache *c, const struct id *state)
{
	struct id was;
	CLEAN_FREE char *path = c ? printed("%s/%s", c->folder, STATE) : NULL;
	if (!path)
		return true;
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return access(c->folder, F_OK) < 0; /* nothing was ever put in */
	return read_all(fd, was.b, ID_SIZE) && id_equal(&was, state);
}

void block_cache_tidy(struct block_cache *c, const struct id *state, const struct buf *packs)
{
	CLEAN_DIR DIR *dir = opendir(c->folder);
	CLEAN_FREE char *path = printed("%s/%s", c->folder, STATE);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct id id;
		uint32_t part;
		if (parse_name(e->d_name, &id, &part) && part != BLOCK_CACHE_OBJECT && !ids_have(packs, &id))
			unlinkat(dirfd(dir), e->d_name, 0);
	}
	if (dir && path)
		write_file(c, path, state->b, ID_SIZE);
}
