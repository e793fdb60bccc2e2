/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A pool of worker threads that run tasks to completion.
 *
 * Tasks have a lane. Workers take from the lowest-numbered lane that has any, so what finishes
 * work (compressing a chunk) goes before what makes more of it (scanning a folder), and memory
 * stays bounded. A lane can be given a limit: pool_submit then runs the task at once, on
 * the submitting thread, when the lane is full; nobody ever waits for room, so nothing deadlocks.
 * POOL_SCAN is taken newest first (a depth-first walk), the others oldest first.
 *
 * Every task learns a slot number, 0 to pool_slots()-1, that no other task running at the same
 * time has, except those it runs itself by submitting to a full lane: per-thread state (codecs, buffers) stands in an array of that many. Threads
 * outside of the pool have the slot that they pass to pool_submit (the last slots are kept for them).
 *
 * The first error cancels: later tasks still run their function with *cancelled true so that they can free
 * what they own, and pool_wait returns that error.
 */
#ifndef TASK_POOL_H
#define TASK_POOL_H

#include <stdbool.h>

#include "base/error.h"

struct pool;

enum pool_lane { POOL_FINISH, POOL_CONTENT, POOL_SCAN, POOL_LANES };

struct task_context {
	struct pool *pool;
	unsigned slot;
	bool cancelled; /* true: free what you own and return 0 */
};

/* Returns 0, or -1 with err set; err is a buffer that the pool owns. */
typedef int (*task_fn)(const struct task_context *ctx, void *arg, struct error *err);

/* threads >= 1 workers; outsiders: how many threads outside of the pool will submit (their slots are
 * threads .. threads+outsiders-1). limits[lane] = 0 means no limit. */
int pool_new(struct pool **ret, unsigned threads, unsigned outsiders, const unsigned limits[POOL_LANES],
             struct error *err);
/* Stops the workers after what is queued has been run (cancelled). NULL is fine. */
void pool_free(struct pool *pool);
unsigned pool_slots(const struct pool *pool);

/* From a task: slot is ctx->slot. From outside: one of the outsiders' slots. arg is the task's from here on. */
void pool_submit(struct pool *pool, enum pool_lane lane, unsigned slot, task_fn fn, void *arg);

/* Waits until no task is queued or running; helps nobody. 0, or -1 and the first error. */
int pool_wait(struct pool *pool, struct error *err);

/* Cancels with this error (a signal handler's flag is noticed by the caller, who calls this). */
void pool_cancel(struct pool *pool, const struct error *why);
bool pool_cancelled(const struct pool *pool);

/* How many processors this process may use (its affinity mask), at least 1. */
unsigned task_processors(void);

#endif
