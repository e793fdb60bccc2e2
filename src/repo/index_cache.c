/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The local cache of segments: fetching, mapping, merging. It is a convenience: whatever fails here is silently done without. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repo/index_internal.h"
#include "repo/index_merge.h"
#include "repo/object.h"

static int make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		int made = mkdir(path, 0700);
		*slash = '/';
		if (made < 0 && errno != EEXIST)
			return -1;
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

void index_cache_begin(struct index *x, const char *folder)
{
	x->cache = folder ? strdup(folder) : NULL;
	if (x->cache && make_folders(x->cache) < 0) {
		free(x->cache);
		x->cache = NULL;
	}
}

/* --- single segments ------------------------------------------------------------------ */

int index_map_file(const char *path, struct loaded *ret, bool *ret_found, struct error *err)
{
	*ret_found = false;
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_sys(err, errno, "open cached index %s", path);
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		return 0;
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return error_sys(err, errno, "map cached index %s", path);
	madvise(at, (size_t)st.st_size, MADV_RANDOM);
	madvise(at, (size_t)st.st_size, MADV_NOHUGEPAGE); /* or one touch maps 2 MiB, where the page cache has pages of that size */
	ret->bytes = at;
	ret->len = (size_t)st.st_size;
	ret->mapped = true;
	ret->fd = take_fd(&fd);
	*ret_found = true;
	return 0;
}

static void cache_path(const struct index *x, const struct id *id, const char *suffix, char *ret, size_t size)
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	snprintf(ret, size, "%s/%s%s", x->cache, hex, suffix);
}

/* The cache is a convenience: whatever fails here is silently done without. */
static void cache_save(const struct index *x, const struct id *id, const void *bytes, size_t len)
{
	char temporary[4096], path[4096], suffix[32];
	snprintf(suffix, sizeof suffix, ".%ld", (long)getpid());
	cache_path(x, id, suffix, temporary, sizeof temporary);
	cache_path(x, id, "", path, sizeof path);
	CLEAN_FD int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const uint8_t *)bytes + done, len - done);
		if (n < 0) {
			unlink(temporary);
			return;
		}
		done += (size_t)n;
	}
	if (rename(temporary, path) < 0)
		unlink(temporary);
}

static int fetch_segment(struct index *x, const struct id *id, struct loaded *ret, struct error *err)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	if (index_read_segment(x->store, x->keys, id, &payload, err) < 0)
		return -1;
	if (x->cache) {
		char path[4096];
		bool mapped = false;
		cache_save(x, id, payload.data, payload.len);
		cache_path(x, id, "", path, sizeof path);
		if (index_map_file(path, ret, &mapped, NULL) == 0 && mapped && ret->len == payload.len)
			return 0; /* so that a large index is never resident as a whole, also at its first use */
		if (mapped)
			index_unload(ret);
	}
	ret->bytes = payload.data;
	ret->len = payload.len;
	ret->mapped = false;
	payload = (struct buf)BUF_INIT; /* ret owns the bytes now */
	return 0;
}

int index_load_segment(struct index *x, const struct id *id, bool anew, struct error *err)
{
	struct loaded segment = { .id = *id };
	bool found = false;
	if (x->cache && !anew) {
		char path[4096];
		cache_path(x, id, "", path, sizeof path);
		if (index_map_file(path, &segment, &found, NULL) < 0)
			found = false;
		if (found && index_add_loaded(x, &segment, NULL) == 0)
			return 0;
		if (found) { /* damaged: fetched anew below */
			index_unload(&segment);
			unlink(path);
		}
	}
	if (seal_is_write_only(x->keys))
		return 0; /* others' */
	if (fetch_segment(x, id, &segment, err) < 0)
		return -1;
	if (index_add_loaded(x, &segment, err) < 0) {
		index_unload(&segment);
		return error_add(err, "load index");
	}
	return 0;
}

bool index_cache_add(struct index *x, struct loaded *segment, const void *bytes, size_t len)
{
	char path[4096];
	bool mapped = false;
	if (!x->cache)
		return false;
	cache_save(x, &segment->id, bytes, len);
	cache_path(x, &segment->id, "", path, sizeof path);
	if (index_map_file(path, segment, &mapped, NULL) < 0 || !mapped)
		return false;
	if (segment->len == len && index_add_loaded(x, segment, NULL) == 0)
		return true;
	index_unload(segment);
	return false;
}

/* --- merged segments --------------------------------------------------------------- */

/* Which of the listed segments stand in a merged file that is open. */
struct coverage {
	struct index *x;
	const struct buf *listed; /* sorted */
	bool *covered;            /* one for each */
};

static void load_merged(void *cookie, const char *path, const uint8_t *ids, size_t count)
{
	struct coverage *c = cookie;
	struct loaded segment = { .merged = true, .stand_count = count };
	bool found = false;
	segment.stands = malloc(count * ID_SIZE + 1);
	if (!segment.stands || index_map_file(path, &segment, &found, NULL) < 0 || !found) {
		free(segment.stands);
		return;
	}
	memcpy(segment.stands, ids, count * ID_SIZE);
	if (index_add_loaded(c->x, &segment, NULL) < 0) {
		index_unload(&segment);
		unlink(path);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const uint8_t *at = bsearch(ids + i * ID_SIZE, c->listed->data, c->listed->len / ID_SIZE, ID_SIZE, index_by_id);
		if (at)
			c->covered[(size_t)(at - c->listed->data) / ID_SIZE] = true;
	}
}

void index_cache_load_merged(struct index *x, const struct buf *listed, bool *covered)
{
	index_merged_find(x->cache, listed, load_merged, &(struct coverage){ x, listed, covered });
}

static void give_back(void *cookie, const struct segment *segment)
{
	const struct index *x = cookie;
	for (size_t i = 0; i < x->count; i++)
		if (&x->segments[i].view == segment && x->segments[i].mapped)
			madvise(x->segments[i].bytes, x->segments[i].len, MADV_DONTNEED);
}

static bool is_by_session(const struct index *x, const uint8_t *id)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->segments[i].by_session && memcmp(x->segments[i].id.b, id, ID_SIZE) == 0)
			return true;
	return false;
}

bool index_cache_merge(struct index *x, const struct buf *listed)
{
	size_t single = 0, count = 0;
	uint64_t single_bytes = 0, merged_bytes = 0;
	for (size_t i = 0; i < x->count; i++) {
		if (x->segments[i].by_session)
			continue;
		single += !x->segments[i].merged;
		*(x->segments[i].merged ? &merged_bytes : &single_bytes) += x->segments[i].len;
	}
	if (single < INDEX_MERGE_AT)
		return false;
	bool all = merged_bytes / 4 <= single_bytes;
	const struct segment **segments = calloc(x->count, sizeof(const struct segment *));
	CLEAN_BUF struct buf ids = BUF_INIT;
	for (size_t i = 0; segments && i < x->count; i++) {
		if (x->segments[i].by_session || (x->segments[i].merged && !all))
			continue;
		segments[count++] = &x->segments[i].view;
		if (!x->segments[i].merged && !all)
			buf_add(&ids, x->segments[i].id.b, ID_SIZE);
	}
	for (size_t at = 0; all && at < listed->len; at += ID_SIZE)
		if (!is_by_session(x, listed->data + at))
			buf_add(&ids, listed->data + at, ID_SIZE);
	const struct index_merging what = { .segments = segments, .count = count, .ids = &ids, .replaces = all, .give_back = give_back, .cookie = x };
	index_read_through(x, true);
	bool merged = segments && buf_ok(&ids) && index_merge(x->cache, &what, NULL) == 0;
	index_read_through(x, false);
	free(segments);
	for (size_t i = 0; merged && i < x->count; i++) {
		char path[4096];
		cache_path(x, &x->segments[i].id, "", path, sizeof path);
		if (!x->segments[i].merged && !x->segments[i].by_session)
			unlink(path);
	}
	return merged;
}

void index_cache_tidy(const struct index *x, const struct buf *listed)
{
	CLEAN_DIR DIR *dir = opendir(x->cache);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct id id;
		if (id_from_hex(e->d_name, &id) && (!listed->len || !bsearch(id.b, listed->data, listed->len / ID_SIZE, ID_SIZE, index_by_id)))
			unlinkat(dirfd(dir), e->d_name, 0);
	}
}
