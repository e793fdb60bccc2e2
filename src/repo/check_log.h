/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which packs were read through and found whole, and when: remembered in the repository's local cache, so that checks that read a part each time come to everything.
 *
 * One file, `check-log`, replaced whole: 8 bytes "2FOLDLOG", le32 version (1), le32 number of packs, le64 start of a full read that was interrupted (0: none), then for each pack
 * its id and le64 seconds, ascending by id; at the end 32 bytes, the keyed hash of all before it (as a chunk of metadata). Whatever else stands there counts as nothing:
 * then every pack is as if never read. Not thread-safe.
 */
#ifndef REPO_CHECK_LOG_H
#define REPO_CHECK_LOG_H

#include "base/buf.h"
#include "repo/repo.h"

#define CHECK_LOG_PACKS_MAX (4u << 20) /* 160 MB; packs beyond it are not remembered */

struct check_log_entry {
	struct id pack;
	int64_t time; /* seconds since 1970 */
};

struct check_log {
	int64_t interrupted; /* when a full read began that did not come to its end; 0: none */
	struct buf entries;  /* of struct check_log_entry, ascending by pack */
};

/* An empty log where there is none, none that is whole, or no cache. */
void check_log_load(struct check_log *ret, const struct repo *r);
/* 0: never. */
int64_t check_log_find(const struct check_log *l, const struct id *pack);
/* Sorts the entries, and drops doubles (the earlier time stays). Nothing happens where there is no cache. */
int check_log_save(struct check_log *l, const struct repo *r, struct error *err);
void check_log_done(struct check_log *l);

#endif
