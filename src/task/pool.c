/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "task/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clean.h"

struct task {
	struct task *next;
	task_fn fn;
	void *arg;
};

struct lane {
	struct task *head, *tail;
	unsigned count, limit;
};

struct worker {
	struct pool *pool;
	unsigned slot;
	pthread_t thread;
};

struct pool {
	pthread_mutex_t lock;     /* guards all below but cancelled */
	pthread_cond_t work;      /* a task was queued, or stop was set */
	pthread_cond_t idle;      /* nothing is queued or running */
	struct lane lanes[POOL_LANES];
	unsigned running;
	bool stop;
	struct error error;       /* the first */
	atomic_bool cancelled;
	struct worker *workers;
	unsigned thread_count, slot_count;
};

unsigned task_processors(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set) < 0)
		return 1;
	int n = CPU_COUNT(&set);
	return n > 0 ? (unsigned)n : 1;
}

static void run(struct pool *pool, unsigned slot, task_fn fn, void *arg)
{
	struct task_context ctx = { pool, slot, atomic_load(&pool->cancelled) };
	struct error err = { 0 };
	if (fn(&ctx, arg, &err) >= 0)
		return;
	if (err.kind == ERR_NONE) /* or the failure would pass for success */
		error_set(&err, ERR_IO, "a step of the work failed without saying why; please report it");
	pool_cancel(pool, &err);
}

static struct task *take_next(struct pool *pool)
{
	for (int i = 0; i < POOL_LANES; i++) {
		struct lane *lane = &pool->lanes[i];
		struct task *task = lane->head;
		if (!task)
			continue;
		lane->head = task->next;
		if (!lane->head)
			lane->tail = NULL;
		lane->count--;
		return task;
	}
	return NULL;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct pool *pool = worker->pool;
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct task *task = take_next(pool);
		if (!task) {
			if (pool->stop)
				break;
			pthread_cond_wait(&pool->work, &pool->lock);
			continue;
		}
		pool->running++;
		pthread_mutex_unlock(&pool->lock);
		run(pool, worker->slot, task->fn, task->arg);
		free(task);
		pthread_mutex_lock(&pool->lock);
		pool->running--;
		if (pool->running == 0 && !pool->lanes[0].head && !pool->lanes[1].head && !pool->lanes[2].head)
			pthread_cond_broadcast(&pool->idle);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

int pool_new(struct pool **ret, unsigned threads, unsigned outsiders, const unsigned limits[POOL_LANES],
             struct error *err)
{
	struct pool *pool = calloc(1, sizeof *pool);
	if (!pool)
		return error_set(err, ERR_NOMEM, "start worker threads: out of memory");
	pool->workers = calloc(threads, sizeof *pool->workers);
	if (!pool->workers) {
		free(pool);
		return error_set(err, ERR_NOMEM, "start worker threads: out of memory");
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->idle, NULL);
	for (int i = 0; i < POOL_LANES; i++)
		pool->lanes[i].limit = limits[i];
	pool->slot_count = threads + outsiders;
	for (unsigned i = 0; i < threads; i++) {
		pool->workers[i] = (struct worker){ .pool = pool, .slot = i };
		int sys = pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]);
		if (sys) {
			pool_free(pool);
			return error_sys(err, sys, "start worker thread");
		}
		pool->thread_count++;
	}
	*ret = pool;
	return 0;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	struct error stopped = { .kind = ERR_CANCELLED, .text = "stopped" };
	pthread_mutex_lock(&pool->lock);
	bool queued = pool->lanes[0].head || pool->lanes[1].head || pool->lanes[2].head || pool->running;
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	if (queued)
		pool_cancel(pool, &stopped);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->workers[i].thread, NULL);
	pthread_cond_destroy(&pool->idle);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool->workers);
	free(pool);
}

unsigned pool_slots(const struct pool *pool)
{
	return pool->slot_count;
}

void pool_submit(struct pool *pool, enum pool_lane where, unsigned slot, task_fn fn, void *arg)
{
	struct lane *lane = &pool->lanes[where];
	struct task *task = malloc(sizeof *task);
	if (!task) { /* nothing is lost: the work is done here and now */
		run(pool, slot, fn, arg);
		return;
	}
	*task = (struct task){ NULL, fn, arg };
	pthread_mutex_lock(&pool->lock);
	if (lane->limit && lane->count >= lane->limit) {
		pthread_mutex_unlock(&pool->lock);
		free(task);
		run(pool, slot, fn, arg);
		return;
	}
	if (where == POOL_SCAN) { /* newest first: depth-first */
		task->next = lane->head;
		lane->head = task;
		if (!lane->tail)
			lane->tail = task;
	} else {
		if (lane->tail)
			lane->tail->next = task;
		else
			lane->head = task;
		lane->tail = task;
	}
	lane->count++;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

int pool_wait(struct pool *pool, struct error *err)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->running || pool->lanes[0].head || pool->lanes[1].head || pool->lanes[2].head)
		pthread_cond_wait(&pool->idle, &pool->lock);
	bool failed = pool->error.kind != ERR_NONE;
	if (failed && err)
		*err = pool->error;
	pthread_mutex_unlock(&pool->lock);
	return failed ? -1 : 0;
}

void pool_cancel(struct pool *pool, const struct error *why)
{
	pthread_mutex_lock(&pool->lock);
	error_keep_first(&pool->error, why);
	pthread_mutex_unlock(&pool->lock);
	atomic_store(&pool->cancelled, true);
}

bool pool_cancelled(const struct pool *pool)
{
	return atomic_load(&pool->cancelled);
}
