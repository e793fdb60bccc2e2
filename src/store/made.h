/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of folders that a store has made, so that a test of it can take them away again. The kind's lock guards it. */
#ifndef STORE_MADE_H
#define STORE_MADE_H

#include <stddef.h>

struct made {
	char **names; /* in the order of their making; owned */
	size_t count;
};

/* Failing to note it costs an empty folder that stays. */
void made_note(struct made *m, const char *name);
/* The last one, which is the caller's then; NULL: none is left. */
char *made_take(struct made *m);
void made_done(struct made *m);

#endif
