/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/id_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clean.h"

#define HEAD 64u
#define CHECK 8u
#define SLOT (2 * ID_SIZE + CHECK)
#define SLOTS_MIN (1u << 12)
#define SLOTS_MAX (1ull << 34)

static const uint8_t magic[8] = { '2', 'F', 'O', 'L', 'D', 'T', 'B', 'L' };

struct id_table {
	pthread_mutex_t lock; /* guards all below */
	char *path;           /* NULL: without a name */
	int fd;
	const struct seal_keys *keys;
	uint64_t slots, used;
};

static int fail(const struct id_table *t, const char *what, struct error *err)
{
	return error_sys(err, errno, "%s the table of ids %s", what, t->path ? t->path : "in the folder for temporary files");
}

/* --- the file -------------------------------------------------------------------------- */

static int read_at(const struct id_table *t, int fd, uint64_t offset, void *data, size_t len, struct error *err)
{
	for (uint8_t *at = data; len;) {
		ssize_t n = pread(fd, at, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(t, "read", err);
		if (n == 0) { /* a hole behind the end: free slots */
			memset(at, 0, len);
			return 0;
		}
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_at(const struct id_table *t, int fd, uint64_t offset, const void *data, size_t len, struct error *err)
{
	for (const uint8_t *at = data; len;) {
		ssize_t n = pwrite(fd, at, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(t, "write", err);
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int open_file(const struct id_table *t, const char *path, int flags, struct error *err)
{
	const char *folder = getenv("TMPDIR");
	int fd = path ? open(path, flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600) : open(folder && *folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(t, "open", err);
	return fd;
}

static int write_head(const struct id_table *t, int fd, uint64_t slots, struct error *err)
{
	uint8_t head[HEAD] = { 0 };
	memcpy(head, magic, sizeof magic);
	put_le32(head + 8, 1);
	put_le64(head + 16, slots);
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)(HEAD + slots * SLOT)) < 0)
		return fail(t, "make", err);
	return write_at(t, fd, 0, head, sizeof head, err);
}

/* --- slots -------------------------------------------------------------------------------- */

static void make_slot(const struct id_table *t, const struct id *id, const struct id *became, uint8_t ret[SLOT])
{
	struct id hash;
	memcpy(ret, id->b, ID_SIZE);
	memcpy(ret + ID_SIZE, became->b, ID_SIZE);
	seal_chunk_id(t->keys, CHUNK_META, ret, (size_t)2 * ID_SIZE, &hash);
	memcpy(ret + (size_t)2 * ID_SIZE, hash.b, CHECK);
}

static bool is_whole(const struct id_table *t, const uint8_t slot[SLOT])
{
	struct id hash;
	seal_chunk_id(t->keys, CHUNK_META, slot, (size_t)2 * ID_SIZE, &hash);
	return memcmp(hash.b, slot + (size_t)2 * ID_SIZE, CHECK) == 0;
}

static bool is_free(const uint8_t slot[SLOT])
{
	static const uint8_t zeros[SLOT];
	return memcmp(slot, zeros, SLOT) == 0;
}

/* The slot of id, or the one where it goes: the first free one from its place on. *ret_free: it is free. */
static int seek(const struct id_table *t, int fd, uint64_t slots, const struct id *id, uint64_t *ret_at, uint8_t ret[SLOT], struct error *err)
{
	uint64_t at = get_le64(id->b) & (slots - 1);
	for (uint64_t tries = 0; tries < slots; tries++, at = (at + 1) & (slots - 1)) {
		if (read_at(t, fd, HEAD + at * SLOT, ret, SLOT, err) < 0)
			return -1;
		if (is_free(ret) || memcmp(ret, id->b, ID_SIZE) == 0) {
			*ret_at = at;
			return 0;
		}
	}
	return error_set(err, ERR_CORRUPT, "the table of ids %s is full; delete it", t->path ? t->path : "");
}

/* Calls nothing for what is damaged. to < 0: only counts. */
static int move_slots(struct id_table *t, int to, uint64_t slots, uint64_t *ret_count, struct error *err)
{
	enum { BATCH = 4096 };
	CLEAN_FREE uint8_t *batch = malloc((size_t)BATCH * SLOT);
	uint8_t there[SLOT];
	uint64_t count = 0, at;
	if (!batch)
		return error_set(err, ERR_NOMEM, "table of ids: out of memory");
	for (uint64_t first = 0; first < t->slots; first += BATCH) {
		if (read_at(t, t->fd, HEAD + first * SLOT, batch, (size_t)BATCH * SLOT, err) < 0)
			return -1;
		for (uint64_t i = 0; i < BATCH && first + i < t->slots; i++) {
			const uint8_t *slot = batch + i * SLOT;
			struct id id;
			if (is_free(slot))
				continue;
			count++;
			if (to < 0 || !is_whole(t, slot))
				continue;
			memcpy(id.b, slot, ID_SIZE);
			if (seek(t, to, slots, &id, &at, there, err) < 0 || write_at(t, to, HEAD + at * SLOT, slot, SLOT, err) < 0)
				return -1;
		}
	}
	*ret_count = count;
	return 0;
}

static int grow(struct id_table *t, struct error *err)
{
	CLEAN_FREE char *path = NULL;
	uint64_t slots = t->slots * 2, count;
	if (slots > SLOTS_MAX || (t->path && asprintf(&path, "%s.new", t->path) < 0)) {
		path = NULL;
		return error_set(err, ERR_NOMEM, "table of ids: out of memory");
	}
	CLEAN_FD int fd = open_file(t, path, O_CREAT | O_TRUNC, err);
	if (fd < 0 || write_head(t, fd, slots, err) < 0 || move_slots(t, fd, slots, &count, err) < 0)
		return -1;
	if (path && rename(path, t->path) < 0)
		return fail(t, "replace", err);
	close(t->fd);
	t->fd = take_fd(&fd);
	t->slots = slots;
	t->used = count;
	return 0;
}

/* --- life ------------------------------------------------------------------------------------ */

/* Whether the file is a table of a size that is told; then slots and used are set. */
static int take_file(struct id_table *t, uint64_t max, bool *ret_taken, struct error *err)
{
	uint8_t head[HEAD];
	struct stat st;
	*ret_taken = false;
	if (fstat(t->fd, &st) < 0)
		return fail(t, "look at", err);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERR_IO, "the table of ids %s is no file; delete it", t->path);
	if (read_at(t, t->fd, 0, head, sizeof head, err) < 0)
		return -1;
	uint64_t slots = get_le64(head + 16);
	if (memcmp(head, magic, sizeof magic) != 0 || get_le32(head + 8) != 1 || slots < SLOTS_MIN || slots > SLOTS_MAX || (slots & (slots - 1)) != 0 ||
	    (uint64_t)st.st_size != HEAD + slots * SLOT)
		return 0;
	t->slots = slots;
	if (move_slots(t, -1, 0, &t->used, err) < 0)
		return -1;
	*ret_taken = t->used <= max;
	return 0;
}

int id_table_open(struct id_table **ret, const char *path, const struct seal_keys *keys, uint64_t max, struct error *err)
{
	CLEAN(id_table_cleanup) struct id_table *t = calloc(1, sizeof *t);
	bool taken = false;
	if (!t)
		return error_set(err, ERR_NOMEM, "table of ids: out of memory");
	pthread_mutex_init(&t->lock, NULL);
	t->fd = -1;
	t->keys = keys;
	if (path && !(t->path = strdup(path)))
		return error_set(err, ERR_NOMEM, "table of ids: out of memory");
	t->fd = open_file(t, path, O_CREAT, err);
	if (t->fd < 0 || (path && take_file(t, max, &taken, err) < 0))
		return -1;
	if (!taken) {
		t->slots = SLOTS_MIN;
		t->used = 0;
		if (write_head(t, t->fd, t->slots, err) < 0)
			return -1;
	}
	/* A file full of what is no slot would never end a search. */
	if (t->used * 4 >= t->slots * 3 && grow(t, err) < 0)
		return -1;
	*ret = TAKE(t);
	return 0;
}

void id_table_free(struct id_table *t)
{
	if (!t)
		return;
	if (t->fd >= 0)
		close(t->fd);
	free(t->path);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

int id_table_find(struct id_table *t, const struct id *id, bool *ret_found, struct id *ret, struct error *err)
{
	uint8_t slot[SLOT];
	uint64_t at;
	pthread_mutex_lock(&t->lock);
	int done = seek(t, t->fd, t->slots, id, &at, slot, err);
	pthread_mutex_unlock(&t->lock);
	if (done < 0)
		return -1;
	*ret_found = !is_free(slot) && is_whole(t, slot);
	if (*ret_found)
		memcpy(ret->b, slot + ID_SIZE, ID_SIZE);
	return 0;
}

static int set(struct id_table *t, const struct id *id, const struct id *became, struct error *err)
{
	uint8_t slot[SLOT], fresh[SLOT];
	uint64_t at;
	if (t->used * 4 >= t->slots * 3 && grow(t, err) < 0)
		return -1;
	if (seek(t, t->fd, t->slots, id, &at, slot, err) < 0)
		return -1;
	make_slot(t, id, became, fresh);
	t->used += is_free(slot);
	return write_at(t, t->fd, HEAD + at * SLOT, fresh, SLOT, err);
}

int id_table_set(struct id_table *t, const struct id *id, const struct id *became, struct error *err)
{
	pthread_mutex_lock(&t->lock);
	int done = set(t, id, became, err);
	pthread_mutex_unlock(&t->lock);
	return done;
}
