/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Object Lock: how long what a repository writes is locked, and that it stays so while backups share it. docs/decisions/object-lock.md.
 *
 * Where the header asks for a lock of P seconds: a snapshot is locked for P from its put, everything else that stays for P and a quarter more; and whenever a backup ends, all that was there
 * before is locked for at least P from then on. So a backup is protected for P, with everything it needs. Renewing asks the store once for each object; each machine remembers when it did so last (the file
 * "locked" in its cache folder), so it happens at most twice in each P / 4, and without a cache folder with every session. Threads: one, and its own.
 */
#ifndef REPO_LOCKS_H
#define REPO_LOCKS_H

#include "repo/marks.h"
#include "repo/repo.h"

/* What the header asks for, as a store takes it. header must outlive it. */
struct store_locks locks_of(const struct repo_header *header);
/* The header has been read: from now on the store locks what is put. Where a store cannot, nothing happens here: reading needs no lock. */
void locks_apply(struct repo *r);
/* In a repository that is being made: did the store lock its first key? Otherwise the key is removed, and ERR_UNSUPPORTED. */
int locks_verify_first(struct store *store, const struct id *key, const struct repo_header *header, struct error *err);

enum locks_due {
	LOCKS_EARLY,   /* when a session begins: where half of the spare time is over, so that there is some for the session */
	LOCKS_IN_TIME, /* before a snapshot is written: only where it would be too late otherwise */
};
/* Renews where it is due; nothing to do in a repository without locks. What marks name, which is about to be deleted, is not renewed. With a write-only key only packs that are in its index
 * are. A store that cannot lock: ERR_UNSUPPORTED. The header asks for another lock than this machine remembers: ERR_CORRUPT. */
int locks_renew(struct repo *r, const struct marks *marks, enum locks_due due, struct error *err);
/* One pack that another session wrote, and may not have locked. */
int locks_extend_pack(struct repo *r, const struct id *pack, struct error *err);

#endif
