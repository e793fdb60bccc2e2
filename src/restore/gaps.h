/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Attributes that could not be set, summed up: without root there may be one for every file, and a line for each would hide all else.
 * Any thread.
 */
#ifndef RESTORE_GAPS_H
#define RESTORE_GAPS_H

#include <pthread.h>
#include <stdint.h>

#include "base/warn.h"
#include "restore/apply.h"

struct gaps {
	pthread_mutex_t lock;
	uint64_t entries;
	struct {
		uint64_t count;
		int sys;
		char first[256]; /* an entry's path, perhaps its end only */
		char xattr[64];
	} kinds[APPLY_KINDS];
};

void gaps_init(struct gaps *g);
void gaps_done(struct gaps *g);
/* folder may be ""; name "" for the folder itself. */
void gaps_note(struct gaps *g, const struct apply_report *report, const char *folder, const char *name);
/* One warning for each kind of attribute. */
void gaps_warn(struct gaps *g, const struct warner *w);

#endif
