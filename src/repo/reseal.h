/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * After the master key was changed: what old master keys still seal is sealed anew by the last one, so that the old ones can be dropped. docs/FORMAT.md, "Sealing anew".
 *
 * It is a collection (collect.h) that moves packs for the sake of their key too, and writes index segments anew; then snapshots, entries of the log, fences and write-only keys are replaced in
 * place, under their ids. It can stop anywhere and be run again, in pieces (collect_options.max_repack), while others read and write. Threads: one.
 */
#ifndef REPO_RESEAL_H
#define REPO_RESEAL_H

#include "repo/collect.h"

/* What is still sealed by a master key before the last one. */
struct reseal_left {
	uint64_t packs, pack_bytes;
	uint64_t segments;
	uint64_t objects;    /* snapshots, entries of the log, fences, tombstones, write-only keys, notes of unfinished work */
	uint64_t sessions;   /* at work: they go on with the key that they began with */
	uint64_t unreadable; /* objects whose head makes no sense: nobody knows which key they need */
	struct error first_error;
};
/* Nothing needs an old master key any more. */
bool reseal_is_complete(const struct reseal_left *l);
/* Reads the index, and the heads of all other objects. */
int reseal_look(struct repo *r, struct reseal_left *ret, struct error *err);

struct reseal_report {
	struct collect_report collected;
	uint64_t objects;           /* replaced in place */
	uint64_t damaged;           /* could not be opened, and stay as they are; first_error is of the first */
	struct error first_error;
	bool parity_gone;           /* bundles of parity had copies of what was replaced: they were removed, and have to be made anew */
};
/* options->reseal need not be set, .dry_run must not. ERR_BUSY: somebody is at work who began before the change. ERR_UNSUPPORTED: the store cannot replace objects. Errors as of repo_collect. */
int repo_reseal(struct repo *r, const struct collect_options *options, struct reseal_report *ret, struct error *err);

#endif
