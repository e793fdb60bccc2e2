/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For tests: the objects of one repository in memory, on which any number of stores may be open at once, with a record of every call that reached them.
 * Copying is cheap (bytes are shared, since objects never change), so a test can go back to the same beginning for each point at which it lets something fail.
 * Threads: stores as in store.h; the functions here while nobody uses a store on the journal.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "store/store.h"

#define JOURNAL_KEY_MAX 208

struct journal;

enum journal_op { JOURNAL_BEGIN, JOURNAL_APPEND, JOURNAL_COMMIT, JOURNAL_ABORT, JOURNAL_GET, JOURNAL_STAT, JOURNAL_LIST, JOURNAL_REMOVE, JOURNAL_OPS };

struct journal_call {
	enum journal_op op;
	char key[JOURNAL_KEY_MAX]; /* or prefix */
	uint64_t size;            /* bytes appended, read, or of the whole object (commit) */
	bool failed;              /* there was no such object, or there was one already */
};

int journal_new(struct journal **ret, struct error *err);
/* The same objects, and an empty record. */
int journal_copy(struct journal **ret, const struct journal *from, struct error *err);
/* Every store on it must be closed. NULL is fine. */
void journal_free(struct journal *j);
DEFINE_CLEAN(journal, journal_free)
/* The journal must outlive the store. */
int store_open_journal(struct store **ret, struct journal *j, struct error *err);

size_t journal_calls(const struct journal *j);
/* Valid until the next call of a store. */
const struct journal_call *journal_call(const struct journal *j, size_t i);
/* Sum of the sizes of all objects written under prefix since the journal was made or copied. */
uint64_t journal_written(const struct journal *j, const char *prefix);
size_t journal_objects(const struct journal *j, const char *prefix);
/* One byte of the object becomes another, or (cut true) its second half is lost: a damaged medium. ERR_NOT_FOUND. */
int journal_damage(struct journal *j, const char *key, uint64_t at, bool cut, struct error *err);

#endif
