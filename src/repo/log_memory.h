/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What this machine has seen of a repository's log: the file log-seen in its cache folder. Without a cache it remembers nothing. Used by log.c only. */
#ifndef REPO_LOG_MEMORY_H
#define REPO_LOG_MEMORY_H

#include "repo/log.h"

struct log_memory {
	struct buf heads; /* ids, ordered */
	unsigned epochs;  /* master keys; 0: nothing is remembered */
};
void log_memory_done(struct log_memory *m);
/* -1: there is no cache. A file that makes no sense counts as none. */
int log_memory_read(const struct repo *r, struct log_memory *ret);
/* Appends the remembered heads that the log neither holds nor knows to be replaced. */
void log_memory_lost(const struct log_memory *m, const struct repo_log *l, struct buf *ret);
bool log_memory_is_lost(const struct log_memory *m, const struct repo_log *l);
/* Remembers these, and how many master keys there are. What fails costs a warning that could have been. */
void log_memory_write(const struct repo *r, const uint8_t *heads, size_t len);
void log_memory_forget(const struct repo *r);

#endif
