/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/writeback.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define STEP (256u << 20)         /* bytes between two requests: so many lie in the order of the disk */
#define LOOK_NANOSECONDS 20000000 /* 20 ms */

/* True when it is time to end. */
static bool sleep_a_little(struct writeback *w)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_NANOSECONDS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&w->lock);
	if (!w->stop)
		pthread_cond_timedwait(&w->wake, &w->lock, &until);
	bool stop = w->stop;
	pthread_mutex_unlock(&w->lock);
	return stop;
}

static void *work(void *arg)
{
	struct writeback *w = arg;
	uint64_t asked = 0;
	while (!sleep_a_little(w)) {
		uint64_t written = atomic_load_explicit(w->written, memory_order_relaxed);
		if (written - asked < STEP)
			continue;
		asked = written;
		sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* starts, does not wait; errors are block_sync's to find */
	}
	return NULL;
}

void writeback_start(struct writeback *w, const char *path, const _Atomic uint64_t *written)
{
	pthread_condattr_t monotonic;
	w->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->fd < 0)
		return;
	w->written = written;
	w->stop = false;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&w->lock, NULL);
	w->running = pthread_create(&w->thread, NULL, work, w) == 0;
	if (w->running)
		return;
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	close(w->fd);
}

void writeback_stop(struct writeback *w)
{
	if (!w->running)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	close(w->fd);
	w->running = false;
}
