/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Gets written data on its way to the disk while more of it is produced, so that the sync at the end has little left to do. Left to itself, the system
 * begins when a tenth of the memory is dirty, which may be all of the work. Costs a thread that mostly sleeps.
 */
#ifndef RESTORE_WRITEBACK_H
#define RESTORE_WRITEBACK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct writeback {
	int fd;
	const _Atomic uint64_t *written;
	pthread_t thread;
	pthread_mutex_t lock; /* guards stop */
	pthread_cond_t wake;
	bool stop, running;
};

/* path: the file or device; written: bytes so far, counted by whoever writes. Where it cannot be started nothing is lost but time. */
void writeback_start(struct writeback *w, const char *path, const _Atomic uint64_t *written);
/* After this nothing of it runs any more. Fine also without a start, on a zeroed struct. */
void writeback_stop(struct writeback *w);

#endif
