/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The snapshot log: which snapshots were made and which were forgotten, in sealed entries that name those before them. So a snapshot that vanishes, or comes back after it was forgotten, is
 * noticed whatever the storage shows; and each machine remembers the last entries that it saw, so that a storage which goes back in time as a whole is noticed by it too.
 * docs/FORMAT.md, "Snapshot log". Threads: one.
 */
#ifndef REPO_LOG_H
#define REPO_LOG_H

#include "repo/format/log.h"
#include "repo/repo.h"

/* Who wrote an entry, as far as the entry says. */
struct log_writing {
	struct id id;
	struct time_ns time;
	char *host;           /* owned */
	bool is_signed, fits; /* fits: the signature is by key */
	struct id key;
};

/* Ids one after the other (ids.h), ascending. */
struct repo_log {
	struct buf entries;   /* that are there */
	struct buf heads;     /* of these, those that no other names */
	struct buf missing;   /* named by an entry, not there, and not replaced */
	struct buf replaced;  /* entries for which others stand */
	struct buf added;     /* LOG_ADDED_SIZE bytes each: snapshot, hash of its payload */
	struct buf forgotten; /* snapshots */
	struct buf hashes;    /* of entries that could be read: id, hash of its payload */
	struct buf changed;   /* ids of entries that are not what another that follows them says */
	struct buf vouchers;  /* LOG_VOUCHER_SIZE bytes each, as entries have them: the signatures may be false (signing.h) */
	struct log_signers signers; /* who introduced himself; ascending; the signatures fit */
	struct log_writing *writings;
	size_t writing_count;
	size_t live;          /* entries that no other replaces */
	size_t damaged;       /* entries that cannot be read */
	struct error first_error;
};
void repo_log_done(struct repo_log *l);
int repo_log_read(struct repo *r, struct repo_log *ret, struct error *err);
/* The hash of the snapshot's payload as the log has it; NULL: it is not in it. */
const uint8_t *repo_log_hash(const struct repo_log *l, const struct id *snapshot);

/* A snapshot was written (payload: as sealed), or forgotten (payload NULL). Where there is no log yet, it begins with all snapshots that are there; those that are there and that it does not know
 * are taken in. Durable on return. session: NULL for none. The first in a process costs
 * a listing and reading the entries since they were last gathered, which is done here when they are many. */
int repo_log_append(struct repo *r, const struct id *session, const struct id *snapshot, const struct buf *payload, struct error *err);

/* An entry that only introduces the own signing key, which was just made (signing_make). */
int repo_log_introduce(struct repo *r, struct error *err);

/* What log and storage say of each other; ids as above. */
struct log_findings {
	struct repo_log log;  /* as it was read */
	bool exists;          /* there is a log */
	struct buf vanished;  /* in the log, not forgotten, not there */
	struct buf returned;  /* forgotten, and there */
	struct buf unlogged;  /* there, not in the log: an older program's, or of a backup that was interrupted at its very end */
	struct buf missing;   /* entries that others name */
	struct buf lost;      /* entries that this machine saw as the last ones, and that are gone without a trace: the storage went back in time */
	bool older_keys;      /* this machine has seen more master keys than the key that opened the repository knows */
	size_t damaged;       /* entries */
	struct error first_error;
};
void log_findings_done(struct log_findings *f);
/* Remembers the heads for the next time, unless something is lost. */
int repo_log_compare(struct repo *r, struct log_findings *ret, struct error *err);
/* Takes what is there for right: an entry says so, and this machine remembers it, save who signs (signers.h). */
int repo_log_accept(struct repo *r, struct error *err);

/* What is said of each. */
#define LOG_VANISHED "it is gone, and the log does not say that it was forgotten; if that is right: twofold snapshots --accept"
#define LOG_RETURNED "it was forgotten, and is there: forgetting was interrupted or refused, or the storage brought back what was deleted; forget it again"
#define LOG_MISSING "this entry of the log is gone, which others name: the storage lost or hides it; if that is right: twofold snapshots --accept"
#define LOG_LOST "this machine saw this entry as the end of the log, and now it is gone: the storage went back in time; if that is right (it was restored from a copy): twofold snapshots --accept"
#define LOG_CHANGED "this entry of the log is not the one that later entries name: somebody with a key put another in its place"
#define LOG_OLDER_KEYS "this machine has seen a newer master key than these keys hold: the storage brought back keys from before a change; if that is right: twofold snapshots --accept"

#endif
