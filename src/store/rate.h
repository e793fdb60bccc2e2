/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * So many bytes a second and no more, for all threads and stores that share a struct rate: who wants to move bytes asks first, and waits until it is his turn. What was not used
 * is not saved up beyond RATE_BURST. Threads: any.
 */
#ifndef STORE_RATE_H
#define STORE_RATE_H

#include <pthread.h>

#include "store/store.h"

#define RATE_BURST 50000000u /* nanoseconds */
#define RATE_LEAST 1024u     /* bytes a second */

/* Nanoseconds of a clock that only goes forward, and a pause of so many. Tests have their own. */
struct rate_clock {
	uint64_t (*now)(void *cookie);
	void (*pause)(void *cookie, uint64_t nanoseconds);
	void *cookie;
};

struct rate {
	pthread_mutex_t lock;
	uint64_t bytes_per_second; /* constant; 0: no limit */
	struct rate_clock clock;
	uint64_t free_at;          /* guarded by lock: when all that was granted has been moved */
};

/* clock NULL: the system's. */
void rate_init(struct rate *r, uint64_t bytes_per_second, const struct rate_clock *clock);
void rate_done(struct rate *r);
/* Returns when len bytes may have been moved. watch (may be NULL) ends the wait: ERR_CANCELLED. r NULL: at once. */
int rate_take(struct rate *r, uint64_t len, const struct store_watch *watch, struct error *err);
/* How many bytes to ask for at once, so that the flow is even: a sixteenth of a second, at least 4 KiB, at most 1 MiB. No limit: most. */
size_t rate_step(const struct rate *r, size_t most);

#endif
