/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What crash and soak tests have in common: the program's operations on a given store, and the question whether a repository still gives back what it must. */
#ifndef CRASH_WORLD_H
#define CRASH_WORLD_H

#include "model.h"
#include "repo/check.h"
#include "repo/collect.h"
#include "store/journal.h"
#include "store/store.h"

#define WORLD_TAG 24

/* A snapshot that must be there, found by its tag. */
struct expected {
	char tag[WORLD_TAG];
	bool image;
	bool maybe; /* it may also be gone, or never have been made; but if it is there, it must be whole */
	struct model_tree tree;
	struct model_disk disk;
};

extern const struct repo_secret world_secret, world_other_secret;

/* Each opens the repository on store, works, and closes it, whatever happens. host: of the session and the snapshot. */
int world_init(struct store *store, struct error *err);
int world_backup(struct store *store, const char *host, const char *tag, const struct model_tree *t, struct error *err);
int world_image(struct store *store, const char *host, const char *tag, const struct model_disk *d, struct error *err);
/* Removes the snapshots with this tag; none is fine. */
int world_forget(struct store *store, const char *tag, struct error *err);
int world_restore(struct store *store, const char *tag, const struct model_tree *t, const char *target, struct error *err);
int world_restore_image(struct store *store, const char *tag, const char *target, struct error *err);
/* Reads all of one snapshot and compares it. */
int world_read(struct store *store, const struct expected *e, struct error *err);
int world_prune(struct store *store, const char *host, unsigned max_unused, uint64_t fence_seconds, uint64_t keep_seconds, uint64_t wait_seconds, struct collect_report *ret, struct error *err);
int world_check(struct store *store, struct check_report *ret, struct error *err);

/* Compares every expected snapshot. -1: with what is wrong. */
int world_compare(struct journal *j, const struct expected *list, size_t count, struct error *err);
/* The same after a check with all data. ret may be NULL. */
int world_verify(struct journal *j, const struct expected *list, size_t count, struct check_report *ret, struct error *err);

int world_open(struct repo **ret, struct store *store, struct error *err);
/* Removes a folder with all in it. */
void world_remove_folder(const char *path);

#endif
