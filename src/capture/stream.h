/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One file's bytes on their way into the repository: cut, stored, gathered into a struct content.
 *
 * File backups and images use the same code, so that the same file is cut at the same places in both. A file is a sequence of data segments and holes; each
 * data segment is cut by itself from its start (docs/FORMAT.md, "Content").
 * Chunks of a long file are stored by other threads of the pool, so the content is complete only when the stream's end callback is called.
 * Threads: a stream is fed by one thread; the end callback comes on whichever thread stores its last chunk.
 */
#ifndef CAPTURE_STREAM_H
#define CAPTURE_STREAM_H

#include "repo/format/node.h"
#include "repo/writer.h"
#include "task/pool.h"

#define STREAM_SCRATCH (2u * CUT_MAX)

struct stream;

/* content is the callback's from here on. Called exactly once, also when the stream failed (content is then empty and failed true). */
typedef int (*stream_end_fn)(const struct task_context *ctx, void *cookie, struct content *content, bool failed, struct error *err);

/* Reads at most len bytes of the segment at offset (from its start); *ret_len 0 means that it ends there, earlier than was said. */
typedef int (*stream_read_fn)(void *cookie, uint64_t offset, void *data, size_t len, size_t *ret_len, struct error *err);

/* expected: the file's length, by which is decided whether its chunks are spread over the pool. */
struct stream *stream_new(struct writer *writer, uint64_t expected, stream_end_fn end, void *cookie, struct error *err);
/* The end callback gets the list of parts also where it is so long that it is paged. Before the first part. */
void stream_keep_parts(struct stream *s);
/* Cuts and stores a data segment of length bytes. scratch: STREAM_SCRATCH bytes of the calling thread's. *ret_stored: bytes that there were. */
int stream_segment(struct stream *s, const struct task_context *ctx, uint8_t *scratch, uint64_t length, stream_read_fn read, void *cookie,
                   uint64_t *ret_stored, struct error *err);
/* The same for a segment that is in memory and at most CUT_MIN long: one chunk. */
int stream_small(struct stream *s, const struct task_context *ctx, const void *data, size_t len, struct error *err);
void stream_hole(struct stream *s, uint64_t length);
/* After the last part, or after a failure (failed true): the stream is not the caller's any more. Returns what the end callback returned if it
 * was called here, else 0. */
int stream_end(struct stream *s, const struct task_context *ctx, bool failed, struct error *err);

#endif
