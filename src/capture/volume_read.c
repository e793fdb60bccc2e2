/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading a region's pieces in physical order, and storing them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/stream.h"
#include "capture/volume.h"

#define GROUP_BYTES (2u << 20)    /* pieces that one task reads */
#define GROUP_PIECES 256
#define PREFETCH_BYTES (24u << 20) /* how far the disk is asked ahead of the reading */
#define ZERO_RUN (16u << 10)      /* zeros of this length within a window are not stored */
#define BLOCK 4096u

struct group {
	struct volume *volume;
	size_t first, count; /* pieces */
};

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NOMEM, "store the image: out of memory");
}

static int stopped(struct error *err)
{
	return error_set(err, ERR_CANCELLED, "stopped; what was stored so far is used by the next image");
}

static uint8_t *scratch_of(struct image *image, unsigned slot)
{
	if (!image->scratch[slot])
		image->scratch[slot] = malloc(STREAM_SCRATCH);
	return image->scratch[slot];
}

/* --- results ---------------------------------------------------------------------------- */

static int add_stored(struct volume *v, const struct stored_range *r, struct error *err)
{
	if (!r->length)
		return 0;
	pthread_mutex_lock(&v->lock);
	int done = image_grow((void **)&v->stored, v->stored_count, &v->stored_cap, sizeof *v->stored);
	if (done == 0)
		v->stored[v->stored_count++] = *r;
	pthread_mutex_unlock(&v->lock);
	return done < 0 ? no_memory(err) : 0;
}

static int add_unreadable(struct volume *v, uint64_t at, uint64_t length, struct error *err)
{
	pthread_mutex_lock(&v->lock);
	int done = image_grow((void **)&v->unreadable, v->unreadable_count, &v->unreadable_cap, sizeof *v->unreadable);
	if (done == 0)
		v->unreadable[v->unreadable_count++] = (struct byte_range){ at, length };
	pthread_mutex_unlock(&v->lock);
	return done < 0 ? no_memory(err) : 0;
}

static void account(struct volume *v, uint64_t bytes)
{
	atomic_fetch_add_explicit(&v->accounted, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&v->image->bytes_read, bytes, memory_order_relaxed);
	progress_add(v->image->options->progress, 0, bytes);
}

/* --- windows ------------------------------------------------------------------------------ */

/* Reads what the device gives, block by block after a failure; the rest reads as zeros and is noted. */
static int read_bravely(struct volume *v, uint64_t at, uint8_t *data, size_t len, struct error *err)
{
	struct error why = { 0 };
	if (block_read(v->block, at, data, len, &why) == 0)
		return 0;
	if (why.kind != ERR_IO)
		return error_set(err, why.kind, "%s", why.text);
	if (why.sys == ENODEV || why.sys == ENXIO || why.sys == ENOMEDIUM || why.sys == ESHUTDOWN)
		return error_set(err, ERR_IO, "%s; the device is gone", why.text);
	for (size_t done = 0; done < len;) {
		size_t n = BLOCK - (at + done) % BLOCK;
		n = n < len - done ? n : len - done;
		if (block_read(v->block, at + done, data + done, n, &why) < 0) {
			memset(data + done, 0, n);
			if (add_unreadable(v, at + done, n, err) < 0)
				return -1;
			image_complain(v->image, &why);
		}
		done += n;
	}
	return 0;
}

/* The end of the run of non-zero blocks that starts at from; zero runs shorter than ZERO_RUN belong to it. */
static size_t data_end(const uint8_t *data, size_t from, size_t len)
{
	size_t end = from, zeros = 0;
	for (size_t at = from; at < len && zeros < ZERO_RUN;) {
		size_t n = len - at < BLOCK ? len - at : BLOCK;
		if (block_is_zero(data + at, n)) {
			zeros += n;
		} else {
			zeros = 0;
			end = at + n;
		}
		at += n;
	}
	return end;
}

/* What a window gathers for its chunk. */
struct gathering {
	uint8_t *chunk; /* bytes of all runs, one after the other */
	size_t len;
	struct buf runs; /* of struct stored_range, without the chunk's id */
};

static void gather_runs(struct gathering *g, const uint8_t *data, size_t len, uint64_t at)
{
	for (size_t from = 0; from < len;) {
		size_t n = len - from < BLOCK ? len - from : BLOCK;
		if (block_is_zero(data + from, n)) {
			from += n;
			continue;
		}
		size_t end = data_end(data, from, len);
		struct stored_range run = { .at = at + from, .length = end - from, .offset = (uint32_t)g->len };
		memmove(g->chunk + g->len, data + from, end - from);
		g->len += end - from;
		buf_add(&g->runs, &run, sizeof run);
		from = end;
	}
}

static int store_window(struct volume *v, const struct task_context *ctx, struct gathering *g, struct error *err)
{
	struct id id;
	if (!buf_ok(&g->runs))
		return no_memory(err);
	if (!g->len)
		return 0;
	if (writer_put(v->image->writer, ctx->slot, CHUNK_DATA, g->chunk, g->len, &id, err) < 0)
		return -1;
	struct stored_range *runs = (void *)g->runs.data;
	for (size_t i = 0; i < g->runs.len / sizeof *runs; i++) {
		runs[i].chunk = id;
		runs[i].chunk_length = (uint32_t)g->len;
		if (add_stored(v, &runs[i], err) < 0)
			return -1;
	}
	return 0;
}

static int read_window(struct volume *v, const struct task_context *ctx, const struct byte_range *ranges, size_t count, struct error *err)
{
	uint8_t *scratch = scratch_of(v->image, ctx->slot);
	if (!scratch)
		return no_memory(err);
	/* The chunk grows in the first half; what is read lands in the second. A window is at most 1 MiB. */
	struct gathering g = { .chunk = scratch, .runs = BUF_INIT };
	uint8_t *data = scratch + STREAM_SCRATCH / 2;
	int done = 0;
	for (size_t i = 0; done == 0 && i < count; i++) {
		done = read_bravely(v, ranges[i].at, data, (size_t)ranges[i].length, err);
		if (done == 0) {
			gather_runs(&g, data, (size_t)ranges[i].length, ranges[i].at);
			account(v, ranges[i].length);
		}
	}
	if (done == 0)
		done = store_window(v, ctx, &g, err);
	buf_done(&g.runs);
	return done;
}

/* --- files ------------------------------------------------------------------------------------- */

/* A file that is being read. */
struct file_reading {
	struct volume *volume;
	struct volume_file *file;
	size_t extent;  /* the one that was read last: files are read forwards */
	uint64_t start; /* of the segment in the file */
};

static const struct fs_extent *extent_at(struct file_reading *r, uint64_t logical)
{
	const struct volume_file *f = r->file;
	if (r->extent >= f->extent_count || f->extents[r->extent].logical > logical)
		r->extent = 0;
	while (r->extent < f->extent_count && f->extents[r->extent].logical + f->extents[r->extent].length <= logical)
		r->extent++;
	return r->extent < f->extent_count ? &f->extents[r->extent] : NULL;
}

static int read_file_bytes(void *cookie, uint64_t offset, void *data, size_t len, size_t *ret_len, struct error *err)
{
	struct file_reading *r = cookie;
	uint64_t logical = r->start + offset;
	if (progress_stopped(r->volume->image->options->progress))
		return stopped(err);
	const struct fs_extent *e = extent_at(r, logical);
	if (!e)
		return error_set(err, ERR_CORRUPT, "inode %llu has no block for byte %llu", (unsigned long long)r->file->inode, (unsigned long long)logical);
	uint64_t left = e->logical + e->length - logical;
	size_t n = len < left ? len : (size_t)left;
	if (block_read(r->volume->block, e->physical + (logical - e->logical), data, n, err) < 0)
		return -1;
	*ret_len = n;
	return 0;
}

/* Where one chunk's bytes lie on the disk: a range for each extent that it touches. */
static int map_part(struct file_reading *r, uint64_t logical, const struct content_part *part, struct error *err)
{
	uint32_t offset = 0;
	while (offset < part->length) {
		const struct fs_extent *e = extent_at(r, logical + offset);
		if (!e)
			return error_set(err, ERR_CORRUPT, "inode %llu has no block for byte %llu", (unsigned long long)r->file->inode,
			                 (unsigned long long)(logical + offset));
		uint64_t inside = logical + offset - e->logical, n = e->length - inside;
		if (n > part->length - offset)
			n = part->length - offset;
		struct stored_range range = { .at = e->physical + inside,
			                      .length = n,
			                      .chunk = part->chunk,
			                      .offset = offset,
			                      .chunk_length = (uint32_t)part->length };
		if (add_stored(r->volume, &range, err) < 0)
			return -1;
		offset += (uint32_t)n;
	}
	return 0;
}

static int file_stored(const struct task_context *ctx, void *cookie, struct content *content, bool failed, struct error *err)
{
	(void)ctx;
	struct file_reading *r = cookie;
	int done = 0;
	uint64_t logical = 0;
	for (size_t i = 0; done == 0 && !failed && i < content->count; i++) {
		if (content->parts[i].kind == CONTENT_CHUNK)
			done = map_part(r, logical, &content->parts[i], err);
		logical += content->parts[i].length;
	}
	if (!failed && done == 0) {
		if (content->paged) { /* the list is in the repository; a long one is not kept twice */
			free(content->parts);
			content->parts = NULL;
			content->count = 0;
		}
		r->file->content = *content;
		r->file->has_content = true;
		progress_add(r->volume->image->options->progress, 1, 0);
	} else {
		content_done(content);
	}
	free(r);
	return done;
}

/* The end of the run of written bytes that starts at from, at most the file's size. */
static uint64_t segment_end(const struct volume_file *f, size_t *extent)
{
	uint64_t end = f->extents[*extent].logical + f->extents[*extent].length;
	while (*extent + 1 < f->extent_count && !f->extents[*extent + 1].unwritten && f->extents[*extent + 1].logical == end) {
		++*extent;
		end += f->extents[*extent].length;
	}
	return end < f->size ? end : f->size;
}

static int read_file_segment(struct file_reading *r, struct stream *s, const struct task_context *ctx, uint64_t start, uint64_t end, struct error *err)
{
	uint8_t *scratch = scratch_of(r->volume->image, ctx->slot);
	uint64_t length = end - start, stored = 0;
	if (!scratch)
		return no_memory(err);
	r->start = start;
	if (length > CUT_MIN)
		return stream_segment(s, ctx, scratch, length, read_file_bytes, r, &stored, err);
	size_t got = 0;
	for (; stored < length; stored += got)
		if (read_file_bytes(r, stored, scratch + stored, (size_t)(length - stored), &got, err) < 0)
			return -1;
	return stream_small(s, ctx, scratch, (size_t)length, err);
}

/* Data segments and holes in turn, just as the file backup sees them by SEEK_DATA and SEEK_HOLE. */
static int read_file_runs(struct file_reading *r, struct stream *s, const struct task_context *ctx, struct error *err)
{
	const struct volume_file *f = r->file;
	uint64_t at = 0;
	for (size_t i = 0; i < f->extent_count && f->extents[i].logical < f->size; i++) {
		if (f->extents[i].unwritten)
			continue;
		uint64_t start = f->extents[i].logical, end = segment_end(f, &i);
		stream_hole(s, start - at);
		if (read_file_segment(r, s, ctx, start, end, err) < 0)
			return -1;
		at = end;
	}
	stream_hole(s, f->size - at);
	return 0;
}

/* The rest of the file's last block: zeros as a rule; else a chunk of its own. */
static int read_slack(struct volume *v, const struct task_context *ctx, const struct volume_file *f, uint8_t *data, struct error *err)
{
	uint64_t whole = volume_whole(v, f);
	for (size_t i = 0; i < f->extent_count; i++) {
		const struct fs_extent *e = &f->extents[i];
		uint64_t end = e->logical + e->length;
		if (e->unwritten || e->logical >= f->size || end <= f->size)
			continue;
		uint64_t length = (end < whole ? end : whole) - f->size, at = e->physical + (f->size - e->logical);
		account(v, length);
		if (read_bravely(v, at, data, (size_t)length, err) < 0)
			return -1;
		if (block_is_zero(data, (size_t)length))
			continue;
		struct stored_range range = { .at = at, .length = length, .chunk_length = (uint32_t)length };
		if (writer_put(v->image->writer, ctx->slot, CHUNK_DATA, data, (size_t)length, &range.chunk, err) < 0 || add_stored(v, &range, err) < 0)
			return -1;
	}
	return 0;
}

/* The bytes of the file's own, without slack, holes and unwritten extents. */
static uint64_t own_bytes(const struct volume_file *f)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < f->extent_count; i++) {
		const struct fs_extent *e = &f->extents[i];
		if (!e->unwritten && e->logical < f->size)
			sum += e->logical + e->length <= f->size ? e->length : f->size - e->logical;
	}
	return sum;
}

/* A file with bad sectors: its disk blocks are kept as windows, as far as they can be read, and the tree names it as incomplete. */
static int rescue_file(struct volume *v, const struct task_context *ctx, struct volume_file *f, const struct error *why, struct error *err)
{
	struct error told;
	f->failed = true;
	error_set(&told, ERR_IO, "inode %llu: %s; its readable blocks are kept", (unsigned long long)f->inode, why->text);
	image_complain(v->image, &told);
	for (size_t i = 0; i < f->extent_count; i++) {
		const struct fs_extent *e = &f->extents[i];
		if (e->unwritten || e->logical >= f->size)
			continue;
		uint64_t length = e->logical + e->length <= f->size ? e->length : f->size - e->logical;
		for (uint64_t done = 0; done < length;) {
			uint64_t n = length - done < (64u << 10) ? length - done : (64u << 10);
			if (read_window(v, ctx, &(struct byte_range){ e->physical + done, n }, 1, err) < 0)
				return -1;
			done += n;
		}
	}
	return 0;
}

static int read_file(struct volume *v, const struct task_context *ctx, struct volume_file *f, struct error *err)
{
	struct file_reading *r = malloc(sizeof *r);
	if (!r)
		return no_memory(err);
	*r = (struct file_reading){ .volume = v, .file = f };
	struct stream *s = stream_new(v->image->writer, f->size, file_stored, r, err);
	if (!s) {
		free(r);
		return -1;
	}
	stream_keep_parts(s);
	struct error why = { 0 };
	bool failed = read_file_runs(r, s, ctx, &why) < 0;
	uint8_t *scratch = scratch_of(v->image, ctx->slot);
	if (!failed && scratch && read_slack(v, ctx, f, scratch, &why) < 0) {
		stream_end(s, ctx, true, NULL);
		*err = why;
		return -1;
	}
	if (!failed)
		account(v, own_bytes(f));
	if (stream_end(s, ctx, failed, err) < 0)
		return -1;
	if (!failed)
		return 0;
	if (why.kind != ERR_IO || !why.sys || !scratch) {
		*err = why;
		return -1;
	}
	return rescue_file(v, ctx, f, &why, err) < 0 ? -1 : read_slack(v, ctx, f, scratch, err);
}

/* --- pieces in order ------------------------------------------------------------------------------ */

static int read_piece(struct volume *v, const struct task_context *ctx, const struct piece *p, struct error *err)
{
	if (p->kind == PIECE_FILE)
		return read_file(v, ctx, &v->files[p->first], err);
	return read_window(v, ctx, v->ranges + p->first, p->count, err);
}

static int read_group(const struct task_context *ctx, void *arg, struct error *err)
{
	struct group *g = arg;
	int done = 0;
	for (size_t i = 0; i < g->count && done == 0 && !ctx->cancelled && !pool_cancelled(ctx->pool); i++) {
		if (progress_stopped(g->volume->image->options->progress))
			done = stopped(err);
		else
			done = read_piece(g->volume, ctx, &g->volume->pieces[g->first + i], err);
	}
	free(g);
	return done;
}

static uint64_t piece_bytes(const struct volume *v, const struct piece *p)
{
	uint64_t sum = 0;
	if (p->kind == PIECE_FILE)
		return own_bytes(&v->files[p->first]);
	for (uint32_t i = 0; i < p->count; i++)
		sum += v->ranges[p->first + i].length;
	return sum;
}

static void prefetch_piece(struct volume *v, const struct piece *p)
{
	if (p->kind == PIECE_WINDOW) {
		for (uint32_t i = 0; i < p->count; i++)
			block_prefetch(v->block, v->ranges[p->first + i].at, v->ranges[p->first + i].length);
		return;
	}
	const struct volume_file *f = &v->files[p->first];
	for (size_t i = 0; i < f->extent_count; i++)
		if (!f->extents[i].unwritten)
			block_prefetch(v->block, f->extents[i].physical, f->extents[i].length < PREFETCH_BYTES ? f->extents[i].length : PREFETCH_BYTES);
}

static void submit(struct volume *v, size_t first, size_t count)
{
	struct task_context ctx = { v->image->pool, pool_slots(v->image->pool) - 1, pool_cancelled(v->image->pool) };
	struct error err = { 0 };
	struct group *g = malloc(sizeof *g);
	if (!g) {
		no_memory(&err);
		pool_cancel(v->image->pool, &err);
		return;
	}
	*g = (struct group){ v, first, count };
	pool_submit(ctx.pool, POOL_CONTENT, ctx.slot, read_group, g);
}

static void submit_all(struct volume *v)
{
	size_t ahead = 0;
	uint64_t ahead_bytes = 0;
	for (size_t i = 0; i < v->piece_count && !pool_cancelled(v->image->pool);) {
		size_t first = i;
		uint64_t bytes = 0;
		while (i < v->piece_count && i - first < GROUP_PIECES && (i == first || bytes < GROUP_BYTES))
			bytes += piece_bytes(v, &v->pieces[i++]);
		for (; ahead < v->piece_count && (ahead < i || ahead_bytes < PREFETCH_BYTES); ahead++) {
			prefetch_piece(v, &v->pieces[ahead]);
			ahead_bytes += piece_bytes(v, &v->pieces[ahead]);
		}
		ahead_bytes -= bytes < ahead_bytes ? bytes : ahead_bytes;
		submit(v, first, i - first);
	}
}

int volume_read(struct volume *v, struct error *err)
{
	submit_all(v);
	if (pool_wait(v->image->pool, err) < 0)
		return -1;
	if (v->accounted != v->planned)
		return error_set(err, ERR_CORRUPT, "image of %s: %llu bytes were planned and %llu were read; this is a defect of the program, please report it", v->block->label,
		                 (unsigned long long)v->planned, (unsigned long long)v->accounted);
	return 0;
}
