/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "view/disk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "repo/format/map.h"
#include "repo/format/seq.h"

#define WINDOW_RANGES 2048u
#define WINDOWS_MAX 48u

struct placed_range {
	uint64_t start;
	struct map_range range;
};

/* A stretch of the map, decoded: adjoining ranges, ascending. Never changed once it is listed. */
struct window {
	struct placed_range *ranges;
	size_t count;
	uint64_t start, end;
	unsigned holders;  /* guarded by lock, as are the links */
	bool listed;
	struct window *newer, *older;
};

struct view_disk {
	struct block block;
	struct repo *repo;
	pthread_mutex_t lock;      /* guards the list of windows */
	struct window *newest, *oldest;
	unsigned listed;
	pthread_mutex_t reading;   /* guards reader */
	struct seq_reader *reader;
};

/* --- windows ---------------------------------------------------------------------------- */

static void window_free(struct window *w)
{
	if (!w)
		return;
	free(w->ranges);
	free(w);
}
DEFINE_CLEAN(window, window_free)

static void unlist(struct view_disk *d, struct window *w)
{
	*(w->newer ? &w->newer->older : &d->newest) = w->older;
	*(w->older ? &w->older->newer : &d->oldest) = w->newer;
	w->newer = w->older = NULL;
	w->listed = false;
	d->listed--;
}

static void list_newest(struct view_disk *d, struct window *w)
{
	w->older = d->newest;
	w->newer = NULL;
	*(d->newest ? &d->newest->newer : &d->oldest) = w;
	d->newest = w;
	w->listed = true;
	d->listed++;
}

static struct window *hold_listed(struct view_disk *d, uint64_t offset)
{
	pthread_mutex_lock(&d->lock);
	struct window *w = d->newest;
	while (w && (offset < w->start || offset >= w->end))
		w = w->older;
	if (w) {
		w->holders++;
		if (w != d->newest) {
			unlist(d, w);
			list_newest(d, w);
		}
	}
	pthread_mutex_unlock(&d->lock);
	return w;
}

static void keep(struct view_disk *d, struct window *w)
{
	pthread_mutex_lock(&d->lock);
	w->holders = 1;
	list_newest(d, w);
	while (d->oldest && d->listed > WINDOWS_MAX) {
		struct window *oldest = d->oldest;
		unlist(d, oldest);
		if (!oldest->holders)
			window_free(oldest);
	}
	pthread_mutex_unlock(&d->lock);
}

static void release(struct view_disk *d, struct window *w)
{
	pthread_mutex_lock(&d->lock);
	bool last = --w->holders == 0 && !w->listed;
	pthread_mutex_unlock(&d->lock);
	if (last)
		window_free(w);
}

/* The next range of the map; more false at its end. */
static int next_range(struct view_disk *d, bool *ret_more, struct placed_range *ret, struct error *err)
{
	const uint8_t *record;
	size_t len;
	if (seq_next(d->reader, ret_more, &record, &len, &ret->start, err) < 0)
		return -1;
	return *ret_more ? map_range_decode(&ret->range, record, len, err) : 0;
}

/* Reads on from the leaf page that holds offset until the window is full. Once offset is covered, trouble further on is left to who wants that place. */
static int fill(struct view_disk *d, struct window *w, uint64_t offset, struct error *err)
{
	if (seq_seek_span(d->reader, offset, NULL, err) < 0)
		return -1;
	for (;;) {
		bool covered = w->count && offset < w->end, more;
		if (w->count == WINDOW_RANGES) {
			if (covered)
				return 0;
			w->count = 0; /* a long page: what lies before the wanted place is not needed */
		}
		struct placed_range *next = &w->ranges[w->count];
		if (next_range(d, &more, next, covered ? NULL : err) < 0)
			return covered ? 0 : -1;
		if (!more)
			return covered ? 0 : error_set(err, ERR_CORRUPT, "the map of %s ends at byte %llu of %llu; run twofold check", d->block.label,
			                               (unsigned long long)(w->count ? w->end : 0), (unsigned long long)d->block.size);
		if (w->count == 0)
			w->start = next->start;
		w->end = next->start + next->range.length;
		w->count++;
	}
}

/* The window that holds offset; given back with release. */
static int hold(struct view_disk *d, uint64_t offset, struct window **ret, struct error *err)
{
	*ret = hold_listed(d, offset);
	if (*ret)
		return 0;
	CLEAN(window_cleanup) struct window *w = calloc(1, sizeof *w);
	if (w)
		w->ranges = malloc(WINDOW_RANGES * sizeof *w->ranges);
	if (!w || !w->ranges)
		return error_set(err, ERR_NOMEM, "read %s: out of memory", d->block.label);
	pthread_mutex_lock(&d->reading);
	int done = fill(d, w, offset, err);
	pthread_mutex_unlock(&d->reading);
	if (done < 0)
		return -1;
	struct placed_range *fitting = realloc(w->ranges, w->count * sizeof *fitting);
	if (fitting)
		w->ranges = fitting;
	keep(d, w);
	*ret = TAKE(w);
	return 0;
}

/* The row of the range that holds offset, which lies in the window. */
static size_t row_of(const struct window *w, uint64_t offset)
{
	size_t low = 0, high = w->count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (w->ranges[middle].start <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Calls fn for the ranges that touch offset .. offset + len, each cut to it. Nonzero stops and is returned. */
typedef int (*range_fn)(struct view_disk *d, const struct map_range *range, uint64_t offset, uint64_t skip, uint64_t len, void *cookie, struct error *err);

static int each_range(struct view_disk *d, uint64_t offset, uint64_t len, range_fn fn, void *cookie, struct error *err)
{
	while (len) {
		struct window *w;
		if (hold(d, offset, &w, err) < 0)
			return -1;
		int answer = 0;
		for (size_t i = row_of(w, offset); !answer && len && i < w->count; i++) {
			const struct placed_range *at = &w->ranges[i];
			uint64_t skip = offset - at->start, n = at->range.length - skip < len ? at->range.length - skip : len;
			answer = fn(d, &at->range, offset, skip, n, cookie, err);
			offset += n;
			len -= n;
		}
		release(d, w);
		if (answer)
			return answer;
	}
	return 0;
}

/* --- struct block ------------------------------------------------------------------------- */

static int read_range(struct view_disk *d, const struct map_range *range, uint64_t offset, uint64_t skip, uint64_t len, void *cookie, struct error *err)
{
	uint8_t **data = cookie;
	uint8_t *to = *data;
	*data += len;
	if (range->kind != MAP_DATA) {
		memset(to, 0, (size_t)len);
		return 0;
	}
	if (skip + range->offset + len > range->chunk_length)
		return error_set(err, ERR_CORRUPT, "read %s at byte %llu: its map points behind the end of a chunk; run twofold check", d->block.label,
		                 (unsigned long long)offset);
	if (repo_get_range(d->repo, CHUNK_DATA, &range->chunk, (uint32_t)(range->offset + skip), to, (size_t)len, err) < 0)
		return error_add(err, "read %s at byte %llu", d->block.label, (unsigned long long)offset);
	return 0;
}

static int disk_read(struct block *b, uint64_t offset, void *data, size_t len, struct error *err)
{
	uint8_t *at = data;
	return each_range((struct view_disk *)b, offset, len, read_range, &at, err);
}

/* Ranges of the same kind are told as one. */
struct merged {
	block_extent_fn fn;
	void *cookie;
	uint64_t offset, length;
	enum block_extent kind;
};

static int tell_merged(struct merged *m)
{
	return m->length ? m->fn(m->cookie, m->offset, m->length, m->kind) : 0;
}

static int merge_range(struct view_disk *d, const struct map_range *range, uint64_t offset, uint64_t skip, uint64_t len, void *cookie, struct error *err)
{
	struct merged *m = cookie;
	(void)d;
	(void)skip;
	(void)err;
	enum block_extent kind = range->kind == MAP_DATA ? BLOCK_DATA : BLOCK_ZERO;
	if (m->length && m->kind == kind) {
		m->length += len;
		return 0;
	}
	int answer = tell_merged(m);
	m->offset = offset;
	m->length = len;
	m->kind = kind;
	return answer;
}

static int disk_extents(struct block *b, uint64_t offset, uint64_t len, block_extent_fn fn, void *cookie, struct error *err)
{
	struct merged m = { .fn = fn, .cookie = cookie };
	int answer = each_range((struct view_disk *)b, offset, len, merge_range, &m, err);
	return answer ? answer : tell_merged(&m);
}

static void disk_free(struct block *b)
{
	struct view_disk *d = (struct view_disk *)b;
	while (d->newest) {
		struct window *w = d->newest;
		unlist(d, w);
		window_free(w);
	}
	seq_reader_free(d->reader);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->reading);
	free(d);
}

static const struct block_ops disk_ops = {
	.name = "snapshot",
	.read = disk_read,
	.extents = disk_extents,
	.free = disk_free,
};

int view_disk_open(struct block **ret, struct repo *repo, const struct snapshot *snapshot, struct error *err)
{
	if (snapshot->kind != SNAPSHOT_IMAGE)
		return error_set(err, ERR_INVALID, "the snapshot holds files, not a disk");
	if (!repo->index)
		return error_set(err, ERR_INVALID, "open a snapshot's disk: the index is not loaded");
	struct view_disk *d = calloc(1, sizeof *d);
	if (!d)
		return error_set(err, ERR_NOMEM, "open a snapshot's disk: out of memory");
	uint32_t sector = snapshot->sector;
	d->block.ops = &disk_ops;
	d->block.size = snapshot->disk_size;
	d->block.sector = sector >= 512 && (sector & (sector - 1)) == 0 ? sector : 512;
	snprintf(d->block.label, sizeof d->block.label, "the image of %s", snapshot->sources.count ? snapshot->sources.items[0].data : "a disk");
	d->repo = repo;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->reading, NULL);
	if (seq_reader_new(&d->reader, SEQ_MAP, &snapshot->map, repo_get_page, repo, err) < 0) {
		disk_free(&d->block);
		return -1;
	}
	*ret = &d->block;
	return 0;
}
