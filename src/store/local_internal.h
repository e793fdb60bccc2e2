/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the local store share: local.c (objects), local_folders.c (the folders that they lie in). */
#ifndef STORE_LOCAL_INTERNAL_H
#define STORE_LOCAL_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "store/fdcache.h"
#include "store/kind.h"
#include "store/folders.h"

struct local {
	struct store base;
	int root;
	mode_t file_mode, folder_mode;
	bool rename_is_whole;
	struct fdcache cache;
	pthread_mutex_t lock;  /* guards both lists */
	struct folders known;  /* below root: those whose own entry in their parent is known to be durable */
	struct folders made;   /* below root, by this store */
	struct folders made_roots; /* root, and what is above it */
};

static inline struct local *local_of(struct store *s)
{
	return (struct local *)s;
}

/* Sets err: "WHAT LOCATION/KEY: why; what to do". Returns -1. */
int local_fail(struct error *err, int sys, const char *what, const struct local *l, const char *key);

/* The folder that key is in; "." for the root. */
void local_parent_of(const char *key, char ret[STORE_KEY_MAX + 1]);
int local_sync_folder(const struct local *l, const char *folder, struct error *err);
/* Made, or there already: 0; otherwise the errno. Not synced. */
int local_make_folder(struct local *l, const char *folder);
/* The folder is there, and a power cut does not take it away. */
int local_ensure_folder(struct local *l, const char *folder, struct error *err);
/* Makes path, which is written to and restored, and what is missing above it; notes what it made. */
int local_make_root(struct folders *made, char *path, struct error *err);
void local_unmake(struct store *s);

#endif
