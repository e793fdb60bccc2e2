/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "repo/index_merge.h"
#include "repo/object.h"

/* A page fault in a mapped file brings in up to 16 pages (the kernel's fault-around). */
#define TOUCH_BYTES (64u << 10)

struct loaded {
	struct id id;
	struct segment view;
	uint8_t *bytes;
	size_t len;
	bool mapped;        /* else malloc'ed */
	int fd;             /* of the mapped file */
	bool merged;        /* stands for several segments; id is not set */
	uint8_t *stands;    /* merged: their ids, stand_count of them */
	size_t stand_count;
	bool own;           /* added by this process since the trusted packs were listed */
	bool gone;          /* deleted from the store: nothing is found in it any more */
	uint32_t first_row; /* of its packs, across all segments */
	uint64_t first_chunk; /* of its chunks, likewise */
};

/* The chunks that this process has taken on itself to store: an open-addressing set. */
struct claims {
	struct id *slots;
	bool *used;
	size_t cap, count;
};

struct index {
	struct store *store;         /* NULL for index_open_files */
	const struct seal_keys *keys;
	char *cache;
	pthread_rwlock_t loading;    /* guards segments, count, rows, mapped_bytes, marked, trusted, absent */
	struct loaded *segments;
	size_t count;
	uint32_t rows;
	uint64_t chunks, mapped_bytes;
	struct buf marked;           /* ids of packs, ascending */
	bool has_trusted;
	struct buf trusted;          /* likewise */
	struct buf absent;           /* packs that were found missing, a few, in no order */
	atomic_uint touches, generation;
	pthread_mutex_t refreshing;  /* one at a time */
	pthread_mutex_t lock;        /* guards claims */
	struct claims claims;
};

/* --- claims ------------------------------------------------------------------ */

static size_t claims_place(const struct claims *c, const struct id *id)
{
	size_t at = (size_t)get_le64(id->b) & (c->cap - 1);
	while (c->used[at] && !id_equal(&c->slots[at], id))
		at = (at + 1) & (c->cap - 1);
	return at;
}

/* Copies to a table of cap places, leaving out what without (may be NULL) holds. */
static int claims_copy(struct claims *c, size_t cap, const struct segment *without)
{
	struct claims grown = { .cap = cap };
	uint64_t row;
	grown.slots = malloc(grown.cap * sizeof *grown.slots);
	grown.used = calloc(grown.cap, sizeof *grown.used);
	if (!grown.slots || !grown.used) {
		free(grown.slots);
		free(grown.used);
		return -1;
	}
	for (size_t i = 0; i < c->cap; i++) {
		if (!c->used[i] || (without && segment_find(without, &c->slots[i], &row)))
			continue;
		grown.count++;
		size_t at = claims_place(&grown, &c->slots[i]);
		grown.slots[at] = c->slots[i];
		grown.used[at] = true;
	}
	free(c->slots);
	free(c->used);
	*c = grown;
	return 0;
}

static void claims_done(struct claims *c)
{
	free(c->slots);
	free(c->used);
	*c = (struct claims){ 0 };
}

/* 1 new, 0 known, -1 out of memory. */
static int claims_add(struct claims *c, const struct id *id)
{
	if (c->count * 4 >= c->cap * 3 && claims_copy(c, c->cap ? c->cap * 2 : 4096, NULL) < 0)
		return -1;
	size_t at = claims_place(c, id);
	if (c->used[at])
		return 0;
	c->slots[at] = *id;
	c->used[at] = true;
	c->count++;
	return 1;
}

/* --- segments ---------------------------------------------------------------- */

static int append_loaded(struct index *x, struct loaded *segment, struct error *err)
{
	struct loaded *grown = realloc(x->segments, (x->count + 1) * sizeof *grown);
	if (!grown)
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	if (segment->view.pack_count > UINT32_MAX - x->rows)
		return error_set(err, ERR_CORRUPT, "load index: the segments name more than 2^32 packs");
	x->segments = grown;
	segment->first_row = x->rows;
	x->rows += segment->view.pack_count;
	segment->first_chunk = x->chunks;
	x->chunks += segment->view.chunk_count;
	if (segment->mapped)
		x->mapped_bytes += segment->len;
	x->segments[x->count++] = *segment;
	return 0;
}

/* Takes segment's bytes over on success. */
static int add_loaded(struct index *x, struct loaded *segment, struct error *err)
{
	if (segment_view(&segment->view, segment->bytes, segment->len, err) < 0)
		return -1;
	pthread_rwlock_wrlock(&x->loading);
	int done = append_loaded(x, segment, err);
	pthread_rwlock_unlock(&x->loading);
	return done;
}

static void unload(struct loaded *segment)
{
	free(segment->stands);
	if (segment->mapped) {
		munmap(segment->bytes, segment->len);
		close(segment->fd);
	} else {
		free(segment->bytes);
	}
}

/* ret_found false: there is no such file, or it is empty. */
static int map_file(const char *path, struct loaded *ret, bool *ret_found, struct error *err)
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
	if (object_read(x->store, x->keys, SEAL_INDEX, id, INDEX_SEGMENT_MAX, NULL, &payload, err) < 0)
		return -1;
	if (x->cache) {
		char path[4096];
		bool mapped = false;
		cache_save(x, id, payload.data, payload.len);
		cache_path(x, id, "", path, sizeof path);
		if (map_file(path, ret, &mapped, NULL) == 0 && mapped && ret->len == payload.len)
			return 0; /* so that a large index is never resident as a whole, also at its first use */
		if (mapped)
			unload(ret);
	}
	ret->bytes = payload.data;
	ret->len = payload.len;
	ret->mapped = false;
	payload = (struct buf)BUF_INIT; /* ret owns the bytes now */
	return 0;
}

static int load_segment(struct index *x, const struct id *id, bool anew, struct error *err)
{
	struct loaded segment = { .id = *id };
	bool found = false;
	if (x->cache && !anew) {
		char path[4096];
		cache_path(x, id, "", path, sizeof path);
		if (map_file(path, &segment, &found, NULL) < 0)
			found = false;
		if (found && add_loaded(x, &segment, NULL) == 0)
			return 0;
		if (found) { /* damaged: fetched anew below */
			unload(&segment);
			unlink(path);
		}
	}
	if (fetch_segment(x, id, &segment, err) < 0)
		return -1;
	if (add_loaded(x, &segment, err) < 0) {
		unload(&segment);
		return error_add(err, "load index");
	}
	return 0;
}

static int list_one(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	struct id id;
	if (object_id_of_key(key, &id))
		buf_add(cookie, id.b, ID_SIZE);
	return 0;
}

/* --- merged segments --------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, ID_SIZE);
}

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
	if (!segment.stands || map_file(path, &segment, &found, NULL) < 0 || !found) {
		free(segment.stands);
		return;
	}
	memcpy(segment.stands, ids, count * ID_SIZE);
	if (add_loaded(c->x, &segment, NULL) < 0) {
		unload(&segment);
		unlink(path);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const uint8_t *at = bsearch(ids + i * ID_SIZE, c->listed->data, c->listed->len / ID_SIZE, ID_SIZE, by_id);
		if (at)
			c->covered[(size_t)(at - c->listed->data) / ID_SIZE] = true;
	}
}

static void give_back(void *cookie)
{
	index_give_back(cookie);
}

/* Merges what is not merged yet, once there is enough of it; and the merged files with it when they are not far larger. A failure costs nothing but time.
 * True: there is a new merged file, which is to be loaded in place of what is. */
static bool merge_loaded(struct index *x, const struct buf *listed)
{
	size_t single = 0, count = 0;
	uint64_t single_bytes = 0, merged_bytes = 0;
	for (size_t i = 0; i < x->count; i++) {
		single += !x->segments[i].merged;
		*(x->segments[i].merged ? &merged_bytes : &single_bytes) += x->segments[i].len;
	}
	if (single < INDEX_MERGE_AT)
		return false;
	bool all = merged_bytes / 4 <= single_bytes;
	const struct segment **segments = calloc(x->count, sizeof(const struct segment *));
	CLEAN_BUF struct buf ids = BUF_INIT;
	for (size_t i = 0; segments && i < x->count; i++) {
		if (x->segments[i].merged && !all)
			continue;
		segments[count++] = &x->segments[i].view;
		if (!x->segments[i].merged && !all)
			buf_add(&ids, x->segments[i].id.b, ID_SIZE);
	}
	if (all)
		buf_add(&ids, listed->data, listed->len);
	const struct index_merging what = { .segments = segments, .count = count, .ids = &ids, .replaces = all, .give_back = give_back, .cookie = x };
	index_read_through(x, true);
	bool merged = segments && buf_ok(&ids) && index_merge(x->cache, &what, NULL) == 0;
	index_read_through(x, false);
	free(segments);
	for (size_t i = 0; merged && i < x->count; i++) {
		char path[4096];
		cache_path(x, &x->segments[i].id, "", path, sizeof path);
		if (!x->segments[i].merged)
			unlink(path);
	}
	return merged;
}

/* Removes what the cache holds of segments that the store does not list any more. One that another process wrote just now is fetched again some day. */
static void tidy_cache(const struct index *x, const struct buf *listed)
{
	CLEAN_DIR DIR *dir = opendir(x->cache);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct id id;
		if (id_from_hex(e->d_name, &id) && (!listed->len || !bsearch(id.b, listed->data, listed->len / ID_SIZE, ID_SIZE, by_id)))
			unlinkat(dirfd(dir), e->d_name, 0);
	}
}

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

static struct index *new_index(struct error *err)
{
	struct index *x = calloc(1, sizeof *x);
	if (!x) {
		error_set(err, ERR_NOMEM, "load index: out of memory");
		return NULL;
	}
	pthread_mutex_init(&x->lock, NULL);
	pthread_mutex_init(&x->refreshing, NULL);
	pthread_rwlock_init(&x->loading, NULL);
	return x;
}

/* Who hears of damage; fn NULL: the cache is used, and damage ends the work. */
struct doubt {
	index_damaged_fn fn;
	void *cookie;
};

/* *ret_vanished: a listed segment is not there (any more). */
static int load_all(struct index *x, const struct buf *listed, const struct doubt *doubt, bool *ret_vanished, struct error *err)
{
	CLEAN_FREE bool *covered = calloc(listed->len / ID_SIZE + 1, sizeof *covered);
	if (!covered)
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	if (x->cache && !doubt->fn)
		index_merged_find(x->cache, listed, load_merged, &(struct coverage){ x, listed, covered });
	for (size_t at = 0; at < listed->len; at += ID_SIZE) {
		struct error why = { 0 };
		struct id id;
		memcpy(id.b, listed->data + at, ID_SIZE);
		if (covered[at / ID_SIZE] || load_segment(x, &id, doubt->fn != NULL, &why) == 0)
			continue;
		if (why.kind == ERR_NOT_FOUND) {
			*ret_vanished = true;
			continue;
		}
		if (doubt->fn && why.kind != ERR_NOMEM && doubt->fn(doubt->cookie, &id, &why) == 0)
			continue;
		if (err)
			*err = why;
		return -1;
	}
	return 0;
}

static void unload_all(struct index *x)
{
	for (size_t i = 0; i < x->count; i++)
		unload(&x->segments[i]);
	x->count = x->rows = 0;
	x->chunks = x->mapped_bytes = 0;
}

static int list_segments(struct index *x, struct buf *ret, struct error *err)
{
	if (x->store->ops->list(x->store, object_prefix(SEAL_INDEX), list_one, ret, err) < 0)
		return error_add(err, "load index");
	if (!buf_ok(ret))
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	if (ret->len)
		qsort(ret->data, ret->len / ID_SIZE, ID_SIZE, by_id);
	return 0;
}

static int open_index(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, const struct doubt *doubt, struct error *err)
{
	CLEAN(index_cleanup) struct index *x = new_index(err);
	CLEAN_BUF struct buf ids = BUF_INIT;
	bool vanished = false;
	if (!x)
		return -1;
	x->store = store;
	x->keys = keys;
	x->cache = cache ? strdup(cache) : NULL;
	if (x->cache && make_folders(x->cache) < 0) {
		free(x->cache);
		x->cache = NULL;
	}
	if (list_segments(x, &ids, err) < 0 || load_all(x, &ids, doubt, &vanished, err) < 0)
		return -1;
	if (x->cache && !doubt->fn && !vanished && merge_loaded(x, &ids)) {
		unload_all(x);
		if (load_all(x, &ids, doubt, &vanished, err) < 0)
			return -1;
	}
	if (vanished && index_refresh(x, NULL, err) < 0)
		return -1;
	if (x->cache)
		tidy_cache(x, &ids);
	*ret = TAKE(x);
	return 0;
}

int index_open(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, struct error *err)
{
	return open_index(ret, store, keys, cache, &(struct doubt){ 0 }, err);
}

int index_open_anew(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, index_damaged_fn fn, void *cookie, struct error *err)
{
	return open_index(ret, store, keys, cache, &(struct doubt){ fn, cookie }, err);
}

int index_open_files(struct index **ret, char *const *paths, size_t count, struct error *err)
{
	CLEAN(index_cleanup) struct index *x = new_index(err);
	if (!x)
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct loaded segment = { 0 };
		bool found = false;
		if (map_file(paths[i], &segment, &found, err) < 0)
			return -1;
		if (!found)
			return error_set(err, ERR_NOT_FOUND, "no index segment at %s", paths[i]);
		if (add_loaded(x, &segment, err) < 0)
			return -1;
	}
	*ret = TAKE(x);
	return 0;
}

void index_free(struct index *x)
{
	if (!x)
		return;
	unload_all(x);
	free(x->segments);
	claims_done(&x->claims);
	buf_done(&x->marked);
	buf_done(&x->trusted);
	buf_done(&x->absent);
	pthread_mutex_destroy(&x->refreshing);
	pthread_mutex_destroy(&x->lock);
	pthread_rwlock_destroy(&x->loading);
	free(x->cache);
	free(x);
}

void index_give_back(struct index *x)
{
	if (x->mapped_bytes <= INDEX_RESIDENT)
		return;
	for (size_t i = 0; i < x->count; i++)
		if (x->segments[i].mapped)
			madvise(x->segments[i].bytes, x->segments[i].len, MADV_DONTNEED);
}

void index_read_through(struct index *x, bool in_order)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->segments[i].mapped)
			madvise(x->segments[i].bytes, x->segments[i].len, in_order ? MADV_NORMAL : MADV_RANDOM);
}

/* Gives mapped pages back before they add up; a page that is wanted again comes from the page cache. */
static void bound_resident(struct index *x)
{
	if (atomic_fetch_add_explicit(&x->touches, 1, memory_order_relaxed) < INDEX_RESIDENT / TOUCH_BYTES)
		return;
	atomic_store_explicit(&x->touches, 0, memory_order_relaxed);
	index_give_back(x);
}

static bool read_mapped(void *cookie, uint64_t offset, void *to, size_t len)
{
	const struct loaded *segment = cookie;
	return pread(segment->fd, to, len, (off_t)offset) == (ssize_t)len;
}

/* A large index is read where it is searched: a page fault brings in sixteen pages, which then must be given back, and costs ten times as much (docs/decisions/large-index.md).
 * But not by who goes through it in order, and so comes to the same pages again, and gives them back himself. */
enum search_how { SEARCH_ANY, SEARCH_IN_ORDER };

static bool is_read(const struct index *x, const struct loaded *segment, enum search_how how)
{
	return how == SEARCH_ANY && x->mapped_bytes > INDEX_RESIDENT && segment->mapped;
}

static bool find_in(struct index *x, struct loaded *segment, enum search_how how, const struct id *id, uint64_t *ret_row, struct segment_chunk *ret)
{
	bool found = false, large = is_read(x, segment, how);
	if (large && segment_find_reading(&segment->view, read_mapped, segment, id, &found, ret_row, ret) == 0)
		return found;
	if (large)
		bound_resident(x);
	found = segment_find(&segment->view, id, ret_row);
	if (found)
		segment_chunk_at(&segment->view, *ret_row, ret);
	return found;
}

/* false: to be looked at in the mapping. */
static bool read_row(const struct loaded *segment, const uint8_t *table, uint32_t row, uint8_t *bytes, size_t size)
{
	return pread(segment->fd, bytes, size, table - segment->bytes + (off_t)row * (off_t)size) == (ssize_t)size;
}

/* Block and pack of a chunk; of a large index they are read as well. */
static int rows_of(struct index *x, const struct loaded *segment, enum search_how how, uint32_t row, struct segment_block *ret_block, struct segment_pack *ret_pack, struct error *err)
{
	const struct segment *s = &segment->view;
	bool large = is_read(x, segment, how);
	uint8_t block[SEGMENT_BLOCK_SIZE], pack[SEGMENT_PACK_SIZE];
	if (large && row < s->block_count && read_row(segment, s->blocks, row, block, sizeof block) && get_le32(block) < s->pack_count &&
	    read_row(segment, s->packs, get_le32(block), pack, sizeof pack)) {
		const uint32_t pack_row = get_le32(block);
		put_le32(block, 0); /* the one row of packs that is at hand */
		struct segment one = { .packs = pack, .blocks = block, .pack_count = 1, .block_count = 1 };
		if (segment_block_at(&one, 0, ret_block, err) < 0)
			return -1;
		segment_pack_at(&one, 0, ret_pack);
		ret_block->pack = pack_row;
		return 0;
	}
	if (large)
		bound_resident(x);
	if (segment_block_at(s, row, ret_block, err) < 0)
		return -1;
	segment_pack_at(s, ret_block->pack, ret_pack);
	return 0;
}

/* false: the row does not count. */
static bool row_counts(struct index *x, const struct loaded *segment, enum search_how how, const struct segment_chunk *chunk, bool *ret_marked)
{
	struct segment_block block;
	struct segment_pack pack;
	*ret_marked = false;
	if ((!x->marked.len && !x->has_trusted && !x->absent.len) || rows_of(x, segment, how, chunk->block, &block, &pack, NULL) < 0)
		return true; /* a row that makes no sense is told by index_find */
	if (x->has_trusted && !segment->own && !index_packs_have(&x->trusted, &pack.id))
		return false;
	for (size_t at = 0; at < x->absent.len; at += ID_SIZE)
		if (memcmp(x->absent.data + at, pack.id.b, ID_SIZE) == 0)
			return false;
	*ret_marked = index_packs_have(&x->marked, &pack.id);
	return true;
}

/* false: no segment has it. The copy stays valid: segments are never unloaded before the index is. The newest place counts, but any in a pack that is not marked goes before. */
static bool find_segment(struct index *x, enum search_how how, const struct id *id, struct loaded *ret, uint64_t *ret_row, struct segment_chunk *ret_chunk, bool *ret_marked)
{
	bool found = false;
	pthread_rwlock_rdlock(&x->loading);
	*ret_marked = false;
	for (size_t i = x->count; i-- > 0 && (!found || *ret_marked);) {
		struct segment_chunk chunk;
		uint64_t row;
		if (x->segments[i].gone || !find_in(x, &x->segments[i], how, id, &row, &chunk))
			continue;
		bool marked;
		if (!row_counts(x, &x->segments[i], how, &chunk, &marked) || (found && marked))
			continue;
		found = true;
		*ret = x->segments[i];
		*ret_row = row;
		*ret_chunk = chunk;
		*ret_marked = marked;
	}
	pthread_rwlock_unlock(&x->loading);
	return found;
}

int index_find(struct index *x, const struct id *id, bool *ret_found, struct place *ret, struct error *err)
{
	uint64_t row;
	struct loaded segment;
	struct segment_chunk chunk;
	struct segment_block block;
	struct segment_pack pack;
	bool marked;
	*ret_found = find_segment(x, SEARCH_ANY, id, &segment, &row, &chunk, &marked);
	if (!*ret_found)
		return 0;
	if (rows_of(x, &segment, SEARCH_ANY, chunk.block, &block, &pack, err) < 0)
		return error_add(err, "look up a chunk in the index");
	if ((uint64_t)chunk.offset + chunk.length > block.raw_length || (uint64_t)block.offset + block.sealed_length > pack.size ||
	    block.raw_length > SEAL_BLOCK_MAX)
		return error_set(err, ERR_CORRUPT, "look up a chunk in the index: its place makes no sense; run twofold check");
	*ret = (struct place){ .pack = pack.id,
		               .kind = pack.kind,
		               .how = pack.how,
		               .epoch = pack.epoch,
		               .pack_row = segment.first_row + block.pack,
		               .pack_size = pack.size,
		               .block = block.number,
		               .block_offset = block.offset,
		               .sealed_length = block.sealed_length,
		               .raw_length = block.raw_length,
		               .offset = chunk.offset,
		               .length = chunk.length,
		               .row = segment.first_chunk + row,
		               .marked = marked };
	return 0;
}

#define DENSE_ROWS 512 /* on average between two ids: further apart, each is in pages of its own */

void index_find_many(struct index *x, const struct id *ids, size_t count, index_found_fn fn, void *cookie)
{
	uint64_t apart = x->chunks / (count + 1) + 1;
	enum search_how how = apart <= DENSE_ROWS ? SEARCH_IN_ORDER : SEARCH_ANY;
	uint64_t at_once = INDEX_RESIDENT / 2 / (apart * SEGMENT_CHUNK_SIZE) + 1;
	index_read_through(x, how == SEARCH_IN_ORDER);
	for (size_t i = 0; i < count; i++) {
		struct loaded segment;
		struct segment_chunk chunk;
		uint64_t row = 0;
		bool marked;
		if (i % at_once == 0)
			index_give_back(x);
		bool found = find_segment(x, how, &ids[i], &segment, &row, &chunk, &marked);
		fn(cookie, &ids[i], found, found ? segment.first_chunk + row : 0);
	}
	index_give_back(x);
	index_read_through(x, false);
}

int index_claim(struct index *x, const struct id *id)
{
	uint64_t row;
	struct loaded segment;
	struct segment_chunk chunk;
	bool marked;
	if (find_segment(x, SEARCH_ANY, id, &segment, &row, &chunk, &marked) && !marked)
		return 0;
	return index_claim_copy(x, id);
}

int index_claim_copy(struct index *x, const struct id *id)
{
	pthread_mutex_lock(&x->lock);
	int added = claims_add(&x->claims, id);
	pthread_mutex_unlock(&x->lock);
	return added;
}

/* --- what others do meanwhile -------------------------------------------------------- */

static bool id_listed(const struct buf *listed, const uint8_t *id)
{
	return listed->len && bsearch(id, listed->data, listed->len / ID_SIZE, ID_SIZE, by_id);
}

static bool is_listed(const struct loaded *s, const struct buf *listed)
{
	static const struct id none;
	if (!s->merged) /* what exists only in memory has no id */
		return id_equal(&s->id, &none) || id_listed(listed, s->id.b);
	for (size_t i = 0; i < s->stand_count; i++)
		if (!id_listed(listed, s->stands + i * ID_SIZE))
			return false;
	return true;
}

/* Forgets what is not listed; ret_known holds one flag for each listed segment: some loaded one has its rows. */
static bool forget_unlisted(struct index *x, const struct buf *listed, bool *ret_known)
{
	bool changed = false;
	pthread_rwlock_wrlock(&x->loading);
	for (size_t i = 0; i < x->count; i++) {
		struct loaded *s = &x->segments[i];
		if (s->gone)
			continue;
		s->gone = !is_listed(s, listed);
		changed |= s->gone;
		const uint8_t *ids = s->merged ? s->stands : s->id.b;
		for (size_t k = 0; !s->gone && k < (s->merged ? s->stand_count : 1); k++) {
			const uint8_t *at = bsearch(ids + k * ID_SIZE, listed->data, listed->len / ID_SIZE, ID_SIZE, by_id);
			if (at)
				ret_known[(size_t)(at - listed->data) / ID_SIZE] = true;
		}
	}
	pthread_rwlock_unlock(&x->loading);
	return changed;
}

/* One that vanishes between the listing and the reading was merged or emptied just now: the next listing shows what came in its place. */
static int load_listed(struct index *x, const struct buf *listed, const bool *known, bool *ret_vanished, bool *ret_changed, struct error *err)
{
	for (size_t at = 0; at < listed->len; at += ID_SIZE) {
		struct error why = { 0 };
		struct id id;
		memcpy(id.b, listed->data + at, ID_SIZE);
		if (known[at / ID_SIZE])
			continue;
		*ret_changed = true;
		if (load_segment(x, &id, false, &why) == 0)
			continue;
		if (why.kind != ERR_NOT_FOUND) {
			if (err)
				*err = why;
			return -1;
		}
		*ret_vanished = true;
	}
	return 0;
}

#define REFRESH_TRIES 3

static int refresh(struct index *x, bool *ret_changed, struct error *err)
{
	bool vanished = true;
	for (int attempt = 0; vanished; attempt++) {
		CLEAN_BUF struct buf listed = BUF_INIT;
		vanished = false;
		if (attempt == REFRESH_TRIES)
			return 0; /* its listings lag: what is not there has been replaced, and that is listed by and by */
		if (list_segments(x, &listed, err) < 0)
			return -1;
		CLEAN_FREE bool *known = calloc(listed.len / ID_SIZE + 1, sizeof *known);
		if (!known)
			return error_set(err, ERR_NOMEM, "load index: out of memory");
		*ret_changed |= forget_unlisted(x, &listed, known);
		if (load_listed(x, &listed, known, &vanished, ret_changed, err) < 0)
			return -1;
	}
	return 0;
}

int index_refresh(struct index *x, bool *ret_changed, struct error *err)
{
	bool changed = false;
	pthread_mutex_lock(&x->refreshing);
	int done = refresh(x, &changed, err);
	if (changed)
		atomic_fetch_add(&x->generation, 1);
	pthread_mutex_unlock(&x->refreshing);
	if (ret_changed)
		*ret_changed = changed;
	return done;
}

unsigned index_generation(const struct index *x)
{
	return atomic_load(&x->generation);
}

static int replace_set(struct index *x, struct buf *set, const struct buf *packs, struct error *err)
{
	struct buf copy = BUF_INIT;
	buf_add(&copy, packs->data, packs->len);
	if (!buf_ok(&copy))
		return error_set(err, ERR_NOMEM, "note %zu packs: out of memory", packs->len / ID_SIZE);
	pthread_rwlock_wrlock(&x->loading);
	struct buf before = *set;
	*set = copy;
	pthread_rwlock_unlock(&x->loading);
	buf_done(&before);
	return 0;
}

int index_mark(struct index *x, const struct buf *packs, struct error *err)
{
	return replace_set(x, &x->marked, packs, err);
}

int index_trust_only(struct index *x, const struct buf *packs, struct error *err)
{
	if (replace_set(x, &x->trusted, packs, err) < 0)
		return -1;
	pthread_rwlock_wrlock(&x->loading);
	x->has_trusted = true;
	for (size_t i = 0; i < x->count; i++)
		x->segments[i].own = false;
	pthread_rwlock_unlock(&x->loading);
	return 0;
}

#define ABSENT_MAX 1024 /* in a repository that has lost more, look-ups are not made slow by it */

int index_forget_pack(struct index *x, const struct id *pack, struct error *err)
{
	pthread_rwlock_wrlock(&x->loading);
	if (x->absent.len < ABSENT_MAX * ID_SIZE)
		buf_add(&x->absent, pack->b, ID_SIZE);
	bool ok = buf_ok(&x->absent);
	pthread_rwlock_unlock(&x->loading);
	return ok ? 0 : error_set(err, ERR_NOMEM, "note a missing pack: out of memory");
}

uint64_t index_row_limit(const struct index *x)
{
	return x->chunks;
}

void index_forget_claims(struct index *x)
{
	claims_done(&x->claims);
}

static int adopt(struct index *x, const struct id *id, const void *bytes, size_t len, struct error *err)
{
	struct loaded segment = { .id = *id, .own = true, .len = len, .bytes = malloc(len) };
	if (!segment.bytes)
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	memcpy(segment.bytes, bytes, len);
	if (add_loaded(x, &segment, err) < 0) {
		unload(&segment);
		return -1;
	}
	return 0;
}

int index_adopt(struct index *x, const void *bytes, size_t len, struct error *err)
{
	return adopt(x, &(struct id){ 0 }, bytes, len, err);
}

int index_add(struct index *x, const struct id *id, const void *bytes, size_t len, struct error *err)
{
	struct loaded segment = { .id = *id, .own = true };
	bool mapped = false;
	if (x->cache) {
		char path[4096];
		cache_save(x, id, bytes, len);
		cache_path(x, id, "", path, sizeof path);
		if (map_file(path, &segment, &mapped, NULL) < 0)
			mapped = false;
		if (mapped && (segment.len != len || add_loaded(x, &segment, NULL) < 0)) {
			unload(&segment);
			mapped = false;
		}
	}
	if (!mapped && adopt(x, id, bytes, len, err) < 0)
		return -1;
	struct segment view;
	pthread_mutex_lock(&x->lock);
	int done = segment_view(&view, bytes, len, err);
	if (done == 0 && x->claims.cap && claims_copy(&x->claims, x->claims.cap, &view) < 0)
		done = error_set(err, ERR_NOMEM, "extend index: out of memory");
	pthread_mutex_unlock(&x->lock);
	return done;
}

int index_packs(const struct index *x, struct buf *ret, struct error *err)
{
	buf_clear(ret);
	for (size_t i = 0; i < x->count; i++) {
		const struct segment *s = &x->segments[i].view;
		if (x->segments[i].gone)
			continue;
		for (uint32_t row = 0; row < s->pack_count; row++)
			buf_add(ret, s->packs + (size_t)row * SEGMENT_PACK_SIZE, ID_SIZE);
	}
	if (!buf_ok(ret))
		return error_set(err, ERR_NOMEM, "list packs: out of memory");
	if (ret->len)
		qsort(ret->data, ret->len / ID_SIZE, ID_SIZE, by_id);
	return 0;
}

bool index_packs_have(const struct buf *packs, const struct id *pack)
{
	return packs->len && bsearch(pack->b, packs->data, packs->len / ID_SIZE, ID_SIZE, by_id);
}

bool index_segment_is_gone(const struct index *x, size_t i)
{
	return x->segments[i].gone;
}

size_t index_segments(const struct index *x)
{
	return x->count;
}

const struct segment *index_segment(const struct index *x, size_t i)
{
	return &x->segments[i].view;
}

const struct id *index_segment_id(const struct index *x, size_t i)
{
	return &x->segments[i].id;
}

uint64_t index_chunks(const struct index *x)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < x->count; i++)
		sum += x->segments[i].gone ? 0 : x->segments[i].view.chunk_count;
	return sum;
}
