/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/rate.h"

#include <time.h>

#define SECOND 1000000000u
#define SLICE 50000000u /* nanoseconds between two looks at the stop flag */
#define STEP_MIN 4096u
#define STEP_MAX (1u << 20)

static uint64_t system_now(void *cookie)
{
	struct timespec ts;
	(void)cookie;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void system_pause(void *cookie, uint64_t nanoseconds)
{
	struct timespec ts = { (time_t)(nanoseconds / SECOND), (long)(nanoseconds % SECOND) };
	(void)cookie;
	nanosleep(&ts, NULL);
}

void rate_init(struct rate *r, uint64_t bytes_per_second, const struct rate_clock *clock)
{
	*r = (struct rate){ .bytes_per_second = bytes_per_second, .clock = clock ? *clock : (struct rate_clock){ system_now, system_pause, NULL } };
	pthread_mutex_init(&r->lock, NULL);
}

void rate_done(struct rate *r)
{
	pthread_mutex_destroy(&r->lock);
}

/* Without overflow for any length. */
static uint64_t duration(const struct rate *r, uint64_t len)
{
	return len / r->bytes_per_second * SECOND + (uint64_t)((double)(len % r->bytes_per_second) * SECOND / (double)r->bytes_per_second);
}

/* Takes its place behind all who asked before; returns when its bytes will have been moved. */
static uint64_t reserve(struct rate *r, uint64_t len)
{
	pthread_mutex_lock(&r->lock);
	uint64_t now = r->clock.now(r->clock.cookie), earliest = now > RATE_BURST ? now - RATE_BURST : 0;
	if (r->free_at < earliest)
		r->free_at = earliest;
	uint64_t end = r->free_at += duration(r, len);
	pthread_mutex_unlock(&r->lock);
	return end;
}

int rate_take(struct rate *r, uint64_t len, const struct store_watch *watch, struct error *err)
{
	if (!r || !r->bytes_per_second || !len)
		return 0;
	uint64_t end = reserve(r, len);
	for (uint64_t now; (now = r->clock.now(r->clock.cookie)) < end;) {
		if (watch && watch->stop && atomic_load_explicit(watch->stop, memory_order_relaxed))
			return error_set(err, ERR_CANCELLED, "stopped while waiting for the rate limit");
		r->clock.pause(r->clock.cookie, end - now < SLICE ? end - now : SLICE);
	}
	return 0;
}

size_t rate_step(const struct rate *r, size_t most)
{
	if (!r || !r->bytes_per_second)
		return most;
	uint64_t step = r->bytes_per_second / 16;
	return step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : (size_t)step;
}
