/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How far a piece of work has come, and whether the user wants it to stop.
 *
 * The layers that do the work (capture, restore, repo's check) add to the counters from any thread and poll
 * progress_stopped between pieces; who shows them (cli, serve) reads whenever it likes. Nothing here blocks, prints or fails.
 * Every function takes NULL for "nobody watches". The struct is the watcher's, and outlives the work.
 */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_CURRENT_MAX 512 /* bytes kept of the current name: its end */

struct progress {
	atomic_uint_least64_t files, bytes;             /* done so far, unchanged ones included */
	atomic_uint_least64_t files_total, bytes_total; /* found so far; while .counting they still grow. 0: unknown */
	atomic_bool counting;
	const atomic_bool *stop;                        /* set by a signal handler; NULL: cannot be stopped */
	pthread_mutex_t lock;                           /* guards the two below */
	char current[PROGRESS_CURRENT_MAX];             /* name of what is being worked on; bytes, not terminated */
	size_t current_len;
};

/* stop may be NULL; it must outlive the struct. */
void progress_init(struct progress *p, const atomic_bool *stop);
void progress_done(struct progress *p);

/* Something begins: a path or a partition, bytes of any kind. Skipped, never waited for, when another thread is at it. */
void progress_current(struct progress *p, const void *name, size_t len);
/* Copies the current name; returns its length. */
size_t progress_get_current(struct progress *p, char ret[PROGRESS_CURRENT_MAX]);

static inline void progress_add(struct progress *p, uint64_t files, uint64_t bytes)
{
	if (!p)
		return;
	atomic_fetch_add_explicit(&p->files, files, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->bytes, bytes, memory_order_relaxed);
}

static inline void progress_add_total(struct progress *p, uint64_t files, uint64_t bytes)
{
	if (!p)
		return;
	atomic_fetch_add_explicit(&p->files_total, files, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->bytes_total, bytes, memory_order_relaxed);
}

/* While true, the totals are still being found, and no time left is shown. */
static inline void progress_counting(struct progress *p, bool counting)
{
	if (p)
		atomic_store_explicit(&p->counting, counting, memory_order_relaxed);
}

/* True once the user asked to stop: finish the piece at hand, then fail with ERR_CANCELLED. */
static inline bool progress_stopped(const struct progress *p)
{
	return p && p->stop && atomic_load_explicit(p->stop, memory_order_relaxed);
}

#endif
