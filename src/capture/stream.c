/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/stream.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "repo/format/seq.h"

#define SPREAD_FROM (16u << 20) /* files from this size on have their chunks stored by several threads */
#define PARTS_A_RUN 64

/* Parts stand in runs that never move, since other threads fill in their ids. */
struct part_run {
	struct part_run *next;
	size_t count;
	struct content_part parts[PARTS_A_RUN];
};

struct stream {
	struct writer *writer;
	stream_end_fn end;
	void *cookie;
	bool spread, keep_parts;
	struct part_run *first, *last;
	size_t count;
	bool out_of_memory;
	atomic_bool failed;
	atomic_uint users; /* the feeder, and each chunk on its way */
};

struct chunk_task {
	struct stream *stream;
	struct content_part *part;
	uint8_t data[];
};

struct stream *stream_new(struct writer *writer, uint64_t expected, stream_end_fn end, void *cookie, struct error *err)
{
	struct stream *s = calloc(1, sizeof *s);
	if (!s) {
		error_set(err, ERR_NOMEM, "read a file: out of memory");
		return NULL;
	}
	s->writer = writer;
	s->end = end;
	s->cookie = cookie;
	s->spread = expected >= SPREAD_FROM;
	atomic_init(&s->users, 1);
	return s;
}

static struct content_part *add_part(struct stream *s, const struct content_part *part)
{
	if (!s->last || s->last->count == PARTS_A_RUN) {
		struct part_run *run = malloc(sizeof *run);
		if (!run) {
			s->out_of_memory = true;
			return NULL;
		}
		run->next = NULL;
		run->count = 0;
		*(s->last ? &s->last->next : &s->first) = run;
		s->last = run;
	}
	struct content_part *at = &s->last->parts[s->last->count++];
	*at = *part;
	s->count++;
	return at;
}

void stream_hole(struct stream *s, uint64_t length)
{
	if (length)
		add_part(s, &(struct content_part){ .kind = CONTENT_HOLE, .length = length });
}

void stream_keep_parts(struct stream *s)
{
	s->keep_parts = true;
}

/* --- the end ------------------------------------------------------------------------- */

static int content_inline(struct stream *s, struct content *ret)
{
	ret->parts = malloc((s->count ? s->count : 1) * sizeof *ret->parts);
	if (!ret->parts)
		return -1;
	for (struct part_run *run = s->first; run; run = run->next) {
		memcpy(ret->parts + ret->count, run->parts, run->count * sizeof *ret->parts);
		ret->count += run->count;
	}
	return 0;
}

static int content_paged(struct stream *s, unsigned slot, struct content *ret, struct error *err)
{
	struct writer_slot at = { s->writer, slot };
	CLEAN(seq_writer_cleanup) struct seq_writer *pages = NULL;
	CLEAN_BUF struct buf record = BUF_INIT;
	if (seq_writer_new(&pages, SEQ_CONTENT, writer_put_page, &at, err) < 0)
		return -1;
	for (struct part_run *run = s->first; run; run = run->next)
		for (size_t i = 0; i < run->count; i++) {
			buf_clear(&record);
			content_part_encode(&record, &run->parts[i]);
			if (!buf_ok(&record))
				return error_set(err, ERR_NOMEM, "store a file's list of chunks: out of memory");
			if (seq_add(pages, record.data, record.len, NULL, 0, run->parts[i].length, err) < 0)
				return -1;
		}
	if (seq_finish(pages, &ret->root, err) < 0)
		return -1;
	ret->paged = true;
	return 0;
}

static void free_runs(struct stream *s)
{
	for (struct part_run *run = s->first; run;) {
		struct part_run *next = run->next;
		free(run);
		run = next;
	}
}

static int drop(struct stream *s, const struct task_context *ctx, struct error *err)
{
	if (atomic_fetch_sub(&s->users, 1) != 1)
		return 0;
	struct content content = { 0 };
	int done = 0;
	bool failed = atomic_load(&s->failed);
	bool paged = s->count > CONTENT_INLINE_MAX;
	if (!failed && (!paged || s->keep_parts))
		done = content_inline(s, &content) < 0 ? error_set(err, ERR_NOMEM, "read a file: out of memory") : 0;
	if (!failed && done == 0 && paged)
		done = content_paged(s, ctx->slot, &content, err);
	if (done < 0)
		content_done(&content);
	free_runs(s);
	int ended = s->end(ctx, s->cookie, &content, failed || done < 0, done < 0 ? NULL : err);
	free(s);
	return done < 0 ? -1 : ended;
}

int stream_end(struct stream *s, const struct task_context *ctx, bool failed, struct error *err)
{
	bool lost = !failed && s->out_of_memory; /* a hole, of which nobody has told yet */
	if (failed || lost)
		atomic_store(&s->failed, true);
	int ended = drop(s, ctx, lost ? NULL : err);
	return lost ? error_set(err, ERR_NOMEM, "read a file: out of memory") : ended;
}

/* --- chunks ----------------------------------------------------------------------------- */

static int store_chunk(const struct task_context *ctx, void *arg, struct error *err)
{
	struct chunk_task *task = arg;
	struct stream *s = task->stream;
	int done = 0;
	if (ctx->cancelled)
		atomic_store(&s->failed, true);
	else
		done = writer_put(s->writer, ctx->slot, CHUNK_DATA, task->data, task->part->length, &task->part->chunk, err);
	if (done < 0)
		atomic_store(&s->failed, true);
	free(task);
	int ended = drop(s, ctx, done < 0 ? NULL : err);
	return done < 0 ? -1 : ended;
}

static int add_chunk(struct stream *s, const struct task_context *ctx, const void *data, size_t len, struct error *err)
{
	struct content_part *part = add_part(s, &(struct content_part){ .kind = CONTENT_CHUNK, .length = len });
	if (!part)
		return error_set(err, ERR_NOMEM, "read a file: out of memory");
	struct chunk_task *task = s->spread ? malloc(sizeof *task + len) : NULL;
	if (!task)
		return writer_put(s->writer, ctx->slot, CHUNK_DATA, data, len, &part->chunk, err);
	task->stream = s;
	task->part = part;
	memcpy(task->data, data, len);
	atomic_fetch_add(&s->users, 1);
	pool_submit(ctx->pool, POOL_FINISH, ctx->slot, store_chunk, task);
	return 0;
}

int stream_small(struct stream *s, const struct task_context *ctx, const void *data, size_t len, struct error *err)
{
	return len ? add_chunk(s, ctx, data, len, err) : 0;
}

/* Fills scratch from have up to its end, or as far as the segment goes. */
static int fill(uint8_t *scratch, size_t *have, uint64_t *at, uint64_t length, bool *ended, stream_read_fn read, void *cookie, struct error *err)
{
	while (!*ended && *have < STREAM_SCRATCH) {
		size_t want = STREAM_SCRATCH - *have, got = 0;
		if (want > length - *at)
			want = (size_t)(length - *at);
		if (want && read(cookie, *at, scratch + *have, want, &got, err) < 0)
			return -1;
		*have += got;
		*at += got;
		*ended = got == 0 || *at == length;
	}
	return 0;
}

int stream_segment(struct stream *s, const struct task_context *ctx, uint8_t *scratch, uint64_t length, stream_read_fn read, void *cookie,
                   uint64_t *ret_stored, struct error *err)
{
	const struct cutter *cutter = writer_repo(s->writer)->cutter;
	size_t have = 0;
	uint64_t at = 0;
	bool ended = false;
	do {
		if (fill(scratch, &have, &at, length, &ended, read, cookie, err) < 0)
			return -1;
		size_t used = 0;
		while (have - used >= CUT_MAX || (ended && used < have)) {
			size_t n = cut_length(cutter, scratch + used, have - used);
			if (add_chunk(s, ctx, scratch + used, n, err) < 0)
				return -1;
			used += n;
			if (pool_cancelled(ctx->pool))
				return error_set(err, ERR_CANCELLED, "stopped");
		}
		memmove(scratch, scratch + used, have - used);
		have -= used;
	} while (!ended);
	*ret_stored = at;
	return 0;
}
