/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An object store: named, immutable byte strings. Objects are written once, whole, and never changed.
 *
 * Keys are relative paths of [a-z0-9/] ("packs/3f/3f09..."); any other key is ERR_INVALID. Kinds of store are rows of one table in store.c, chosen by
 * the location's form.
 *
 * Threads: all functions may be called from several threads at once, and calls of different threads overlap: a get never waits for the put
 * of another thread to end, and several puts may be open, and be committed, at the same time. One struct store_put belongs to one thread at a time.
 *
 * Errors: those whose cause may be gone in a moment (a connection that broke, a server that is overloaded) have .passing set (error_passing); all others are
 * final, and trying again is of no use. Who calls a store that was opened by store_open need not care: it has been tried
 * again already (store/retry.h), and what still arrives is to be reported.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct store;
struct store_put;
struct store_rates;

/* Nonzero stops the listing and is returned by it. key is valid during the call. */
typedef int (*store_list_fn)(void *cookie, const char *key, uint64_t size);

/* What a store promises beyond the contract of struct store_ops, so that callers can do with less where there is less. docs/STORES.md has a
 * table of all kinds. */
struct store_promises {
	bool atomic_put;      /* whoever reads or lists sees an object whole or not at all. Needed: a store without it is refused by init */
	bool conditional_put; /* of several puts of one key at the same time exactly one succeeds. False: the store looks first, and two that
	                       * look at the same moment may both succeed (keys are random, so only deliberate races notice) */
	bool durable_put;     /* a put that returned 0 survives a power cut of the machine that stores it, as far as its disks obey */
	bool checksum;        /* the other side compares a checksum of what arrived with one that was sent */
	bool remote;          /* a call takes a network round trip */
	unsigned list_lag;    /* seconds for which a listing may lack an object that was put, or show one that was removed. 0: never */
	unsigned commits;     /* how many put_commit are worth having under way at once; at least 1 */
};

/* Objects that nobody can delete before a date (Object Lock of S3). */
enum store_lock_mode {
	STORE_LOCK_NONE,
	STORE_LOCK_COMPLIANCE, /* the store lets nobody shorten it */
	STORE_LOCK_GOVERNANCE, /* who has a permission for that may */
};
struct store_locks {
	enum store_lock_mode mode;
	/* For how many seconds from its put an object of this key is locked; 0: not at all. From any thread. */
	uint64_t (*seconds)(const void *cookie, const char *key);
	const void *cookie;
};

/* What store_open does where there is nothing yet. The first two are false and true. */
enum store_create {
	STORE_MUST_EXIST,
	STORE_CREATE,
	STORE_CREATE_LOCKING, /* so that it can lock objects */
};

/* A moment's state. */
struct store_facts {
	bool has_space, has_clock;
	uint64_t free, total;  /* bytes that may still be stored, and in all */
	int64_t clock_ahead;   /* milliseconds by which the store's clock is ahead of this machine's */
};

/* Who waits for the store, and how he is told. All may be NULL. */
struct store_watch {
	const atomic_bool *stop; /* once true, nothing is tried again and no pause is waited out: ERR_CANCELLED */
	/* Something failed and will be tried again after so many milliseconds. From any thread, several at once. */
	void (*waiting)(void *cookie, const struct error *why, unsigned attempt, unsigned pause);
	void *cookie;
};

struct store_ops {
	const char *name;
	/* Starts an object that will be about size_hint bytes (0: unknown). Nothing is visible before commit. A kind behind a network keeps what is
	 * not acknowledged yet, and gets over broken connections by itself. */
	int (*put_begin)(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err);
	int (*put_append)(struct store_put *put, const void *data, size_t len, struct error *err);
	/* The object is whole, visible and durable (promises.durable_put) once this returns 0. Frees put in either case. An object that has this
	 * key already stays as it is: ERR_EXISTS. Every block may have been written and the disk be full only now: all errors of put_append
	 * are possible here too. */
	int (*put_commit)(struct store_put *put, struct error *err);
	/* Leaves nothing visible. Frees put. */
	void (*put_abort)(struct store_put *put);
	/* Exactly len bytes from offset; fewer there: ERR_CORRUPT. No such object: ERR_NOT_FOUND. */
	int (*get)(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err);
	/* Replaces *ret by a whole object of at most max bytes, in as few round trips as can be; a longer one: ERR_CORRUPT. NULL: stat and get do it. Call store_read. */
	int (*read)(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err);
	/* ret_found false is not an error. */
	int (*stat)(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err);
	/* Every object below prefix (which ends in '/', or is "" for all), in no order, each once. A prefix that does not exist is empty. fn runs on the calling
	 * thread and may call the store. After a passing error a kind continues where it was, as far as it can: fn never sees an object twice. */
	int (*list)(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err);
	/* Removing what is not there is fine. A power cut soon after may bring the object back. Refused by the store (it only takes, never gives
	 * up): ERR_AUTH. Kept by the store until a date, whoever asks: ERR_PROTECTED. */
	int (*remove)(struct store *s, const char *key, struct error *err);
	void (*close)(struct store *s);
	/* For the collector: removes what puts that died (not committed, not aborted) left behind, once it is min_age seconds old. Puts of this struct
	 * store stay in any case; those of others are known to be alive only where the kind has locks (a local folder), so min_age should be
	 * longer than any put takes. NULL where a kind of store leaves nothing behind. */
	int (*sweep)(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err);
	/* For init and the collector: keep true makes sure that a few MiB are set aside in the store (nothing is done where they are already, or where
	 * little room is left: ERR_NO_SPACE), keep false gives them up, so that a store that is full can still take what a collection
	 * writes before it deletes. NULL where a store cannot be full, or cannot set anything aside. Call store_reserve. */
	int (*reserve)(struct store *s, bool keep, struct error *err);
	/* For the collector: objects directly in the folder prefix that were removed are gone for good once this returned 0; without it a power cut may bring them
	 * back. NULL where removals last anyway. A wrapper need not have it. Call store_make_removals_last. */
	int (*make_removals_last)(struct store *s, const char *prefix, struct error *err);
	/* For sealing a small object anew: these bytes take the place of the object key, or become it where there is none. Whoever reads or lists meanwhile sees the old object or the
	 * new one, whole; a power cut leaves one of them; durable on return. Trying again does no harm. NULL where a kind cannot. Call store_replace. */
	int (*replace)(struct store *s, const char *key, const void *data, size_t len, struct error *err);
	/* What can be told of the store at this moment. NULL: nothing. Call store_facts. */
	int (*facts)(struct store *s, struct store_facts *ret, struct error *err);
	/* Locks, by the store's clock; a wrapper need not have these. NULL where a kind cannot lock. Call store_lock_new and so on, below. */
	void (*lock_new)(struct store *s, const struct store_locks *locks);
	int (*extend_lock)(struct store *s, const char *key, uint64_t seconds, bool *ret_found, struct error *err);
	int (*locked_until)(struct store *s, const char *key, int64_t *ret, int64_t *ret_now, struct error *err);
	/* Takes away what this struct store has made besides objects (folders, a bucket), as far as it is empty: after a test that leaves nothing behind. Whoever begins to use the place at
	 * this moment may be disturbed. NULL where nothing is made; a wrapper need not have it. Call store_unmake. */
	void (*unmake)(struct store *s);
	/* Paces itself from now on (store/limit.h); rates outlive s. NULL: what is appended and got is paced before it gets here. */
	void (*set_rates)(struct store *s, struct store_rates *rates);
	/* Takes the object out of sight as remove does, but where it is locked it only hides it. NULL: as remove. */
	int (*hide)(struct store *s, const char *key, struct error *err);
};

/* Implementations embed these as their first members. All but watch is constant once the store is open. */
struct store {
	const struct store_ops *ops;
	char *location;                   /* as messages show it; owned */
	struct store_promises promises;
	struct store *inner;              /* of a wrapper: the store that it wraps and owns; otherwise NULL */
	const struct store_watch *watch;  /* store_set_watch; may be NULL */
};
struct store_put {
	struct store *store;
};

/* Opens the store at location: a folder's path, or scheme://... create makes the folder (mode 0700) where it is missing; without it a missing
 * location is ERR_NOT_FOUND. Kinds behind a network come wrapped: what fails in passing is tried again. */
int store_open(struct store **ret, const char *location, enum store_create create, struct error *err);
void store_close(struct store *s);
DEFINE_CLEAN(store, store_close)
#define CLEAN_STORE CLEAN(store_cleanup)

/* For this store and what it wraps. watch must outlive the store, or be replaced by NULL before it goes, while no call is under way. */
void store_set_watch(struct store *s, const struct store_watch *watch);

/* ops->reserve and ops->facts, also where a kind has none: then nothing is done, and nothing known. */
int store_reserve(struct store *s, bool keep, struct error *err);
int store_facts(struct store *s, struct store_facts *ret, struct error *err);
/* ops->make_removals_last of the store, or of the one that it wraps. */
int store_make_removals_last(struct store *s, const char *prefix, struct error *err);

/* ops->unmake of the store, or of the one that it wraps. */
void store_unmake(struct store *s);

/* --- locks: of the store, or of the one that it wraps --- */
/* Can what lies at such a location be locked at all? ERR_UNSUPPORTED, before anything is opened or made. */
int store_check_locking(const char *location, struct error *err);
bool store_can_lock(struct store *s);
/* From now on new objects are locked as locks says; it must outlive their puts. NULL: not any more. Before any put, on a store that can lock. A put that returned 0 is locked
 * where the store obeys; whether it does is told by store_locked_until. */
void store_lock_new(struct store *s, const struct store_locks *locks);
/* The object is locked for at least so many seconds from now (less a hundredth); a longer lock stays. ret_found false: there is no such object. Refused: ERR_AUTH. */
int store_extend_lock(struct store *s, const char *key, uint64_t seconds, bool *ret_found, struct error *err);
/* Seconds since 1970 until when nobody can delete the object, 0 where it is not locked (or not there, or the keys may not know); and the store's clock now. */
int store_locked_until(struct store *s, const char *key, int64_t *ret, int64_t *ret_now, struct error *err);
/* Out of sight, though it may be locked. */
int store_hide(struct store *s, const char *key, struct error *err);

/* A store in memory, for tests. */
int store_open_memory(struct store **ret, struct error *err);

/* ops->replace; ERR_UNSUPPORTED where the kind has none, or the server does not offer what it takes. */
int store_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err);

/* Whole small objects. store_read refuses objects over max bytes (ERR_CORRUPT) before it allocates. */
int store_write(struct store *s, const char *key, const void *data, size_t len, struct error *err);
int store_read(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err);
/* The same by stat and get, for wrappers whose inner store has no ops->read. */
int store_read_by_parts(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err);

#endif
