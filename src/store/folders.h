/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of folders: those that a store knows to be there and durable, and those that it has made itself, so that a test of it can take them away again. The kind's lock guards each list. */
#ifndef STORE_FOLDERS_H
#define STORE_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>

struct folders {
	char **names; /* in the order of their adding; owned */
	size_t count;
};

/* A copy of name. Failing to note it costs time later, or an empty folder that stays, nothing else. */
void folders_add(struct folders *f, const char *name);
bool folders_have(const struct folders *f, const char *name);
/* The last one, which is the caller's then; NULL: none is left. */
char *folders_take(struct folders *f);
void folders_done(struct folders *f);

#endif
