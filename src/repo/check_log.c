/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/check_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t magic[8] = { '2', 'F', 'O', 'L', 'D', 'L', 'O', 'G' };

#define VERSION 1u
#define HEAD 24u
#define ROW (ID_SIZE + 8u)

static char *log_path(const struct repo *r, const char *end)
{
	char *path = NULL;
	if (!r->cache || asprintf(&path, "%s/check-log%s", r->cache, end) < 0)
		return NULL;
	return path;
}

static int by_pack(const void *a, const void *b)
{
	const struct check_log_entry *x = a, *y = b;
	int c = id_compare(&x->pack, &y->pack);
	return c ? c : (x->time > y->time) - (x->time < y->time);
}

/* --- reading --------------------------------------------------------------------------- */

static bool read_file(const char *path, struct buf *ret)
{
	CLEAN_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)(HEAD + ID_SIZE) ||
	    st.st_size > (off_t)(HEAD + ID_SIZE + (uint64_t)CHECK_LOG_PACKS_MAX * ROW))
		return false;
	size_t size = (size_t)st.st_size;
	if (!buf_reserve(ret, size))
		return false;
	while (ret->len < size) {
		ssize_t n = read(fd, ret->data + ret->len, size - ret->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		ret->len += (size_t)n;
	}
	return true;
}

static bool is_whole(const struct repo *r, const struct buf *bytes)
{
	struct id hash;
	seal_chunk_id(r->keys, CHUNK_META, bytes->data, bytes->len - ID_SIZE, &hash);
	return memcmp(hash.b, bytes->data + bytes->len - ID_SIZE, ID_SIZE) == 0 && memcmp(bytes->data, magic, sizeof magic) == 0 &&
	       get_le32(bytes->data + 8) == VERSION && bytes->len == HEAD + ID_SIZE + (size_t)get_le32(bytes->data + 12) * ROW;
}

void check_log_load(struct check_log *ret, const struct repo *r)
{
	CLEAN_FREE char *path = log_path(r, "");
	CLEAN_BUF struct buf bytes = BUF_INIT;
	*ret = (struct check_log){ .entries = BUF_INIT };
	if (!path || !read_file(path, &bytes) || !is_whole(r, &bytes))
		return;
	ret->interrupted = (int64_t)get_le64(bytes.data + 16);
	uint32_t count = get_le32(bytes.data + 12);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *row = bytes.data + HEAD + (size_t)i * ROW;
		struct check_log_entry e = { .time = (int64_t)get_le64(row + ID_SIZE) };
		memcpy(e.pack.b, row, ID_SIZE);
		buf_add(&ret->entries, &e, sizeof e);
	}
	if (!buf_ok(&ret->entries))
		check_log_done(ret);
}

int64_t check_log_find(const struct check_log *l, const struct id *pack)
{
	struct check_log_entry wanted = { .pack = *pack, .time = 0 };
	const struct check_log_entry *all = (const void *)l->entries.data;
	size_t low = 0, high = l->entries.len / sizeof *all;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (by_pack(&all[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < l->entries.len / sizeof *all && id_equal(&all[low].pack, pack) && all[low].time > 0 ? all[low].time : 0;
}

/* --- writing ------------------------------------------------------------------------------ */

static void encode(struct buf *b, struct check_log *l, const struct repo *r)
{
	struct check_log_entry *all = (void *)l->entries.data;
	size_t count = l->entries.len / sizeof *all, left = 0;
	if (count)
		qsort(all, count, sizeof *all, by_pack);
	for (size_t i = 0; i < count; i++)
		if ((!i || !id_equal(&all[i].pack, &all[i - 1].pack)) && left < CHECK_LOG_PACKS_MAX)
			all[left++] = all[i];
	buf_add(b, magic, sizeof magic);
	buf_add_le32(b, VERSION);
	buf_add_le32(b, (uint32_t)left);
	buf_add_le64(b, (uint64_t)l->interrupted);
	for (size_t i = 0; i < left; i++) {
		buf_add(b, all[i].pack.b, ID_SIZE);
		buf_add_le64(b, (uint64_t)all[i].time);
	}
	struct id hash = { { 0 } };
	if (buf_ok(b))
		seal_chunk_id(r->keys, CHUNK_META, b->data, b->len, &hash);
	buf_add(b, hash.b, ID_SIZE);
}

static int write_file(const char *path, const struct buf *b, struct error *err)
{
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, errno, "remember what was read: create %s", path);
	for (size_t at = 0; at < b->len;) {
		ssize_t n = write(fd, b->data + at, b->len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_sys(err, errno, "remember what was read: write %s", path);
		at += (size_t)n;
	}
	return 0;
}

int check_log_save(struct check_log *l, const struct repo *r, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	char end[40];
	if (!r->cache)
		return 0;
	snprintf(end, sizeof end, ".%ld", (long)getpid());
	CLEAN_FREE char *path = log_path(r, ""), *temporary = log_path(r, end);
	encode(&bytes, l, r);
	if (!path || !temporary || !buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "remember what was read: out of memory");
	unlink(temporary);
	int done = write_file(temporary, &bytes, err);
	if (done == 0 && rename(temporary, path) < 0)
		done = error_sys(err, errno, "remember what was read: rename %s", temporary);
	if (done < 0)
		unlink(temporary);
	return done;
}

void check_log_done(struct check_log *l)
{
	buf_done(&l->entries);
	*l = (struct check_log){ .entries = BUF_INIT };
}
