/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store that misbehaves by a seed, or at one chosen call, around another store. For tests. (fault.h plans faults by kind of call and prefix.)
 *
 * Calls of all kinds are counted together, from 1: begin, append, commit, get, stat, list, remove (not abort: whoever dies does not clean up). Each decision depends on the
 * seed and the number of the call alone, so the same calls in the same order go the same way.
 */
#ifndef STORE_CHAOS_H
#define STORE_CHAOS_H

#include "store/fault.h"

/* What happens at the call of number .at. */
enum chaos_moment {
	CHAOS_BEFORE, /* nothing is done, the call fails */
	CHAOS_MIDDLE, /* half of it is done (append, get, list), or all of it (commit, remove), and the call fails */
	CHAOS_AFTER,  /* it is done and succeeds */
};

/* And from then on. */
enum chaos_then {
	CHAOS_GOES_ON, /* only that call fails */
	CHAOS_FULL,    /* that call and all later ones fail where they write (begin, append, commit), as on a disk that is full or read-only; others go on, but for removing where sys is EROFS */
	CHAOS_DEAD,    /* every call fails, as if the process had been killed */
};

struct chaos_strike {
	uint64_t at; /* 0: never */
	enum chaos_moment moment;
	enum chaos_then then;
	int sys;
};

/* What listings do not show yet, or show still, for up to ms milliseconds after each change (decided by the seed): shared by all stores on the same objects, and promised by them. */
struct chaos_lag;
int chaos_lag_new(struct chaos_lag **ret, uint64_t seed, unsigned ms, struct error *err);
void chaos_lag_free(struct chaos_lag *l);

struct chaos {
	uint64_t seed;
	unsigned fail;    /* of 1000 calls: not done, and an error */
	unsigned tear;    /* of 1000 appends, gets, listings: half done, and an error; of a commit: not done */
	unsigned lose;    /* of 1000 commits and removals: done, but an error is answered */
	unsigned repeat;  /* of 1000 commits, removals, gets, stats: sent twice, as by a connection that lost the first answer */
	unsigned delay;   /* of 1000 calls: up to delay_us microseconds later */
	unsigned delay_us;
	int sys;          /* of those errors; 0: EIO */
	bool shuffle;     /* listings come in another order each time */
	struct chaos_lag *lag; /* NULL: listings are never behind. The caller's */
	struct chaos_strike strike;
	/* Called before each call, on its thread; may block. false: this store is dead from now on. May be NULL. */
	bool (*gate)(void *cookie, enum fault_call call, const char *key);
	void *cookie;
	uint64_t calls; /* so far; may be read, like dead, once no other thread uses the store */
	bool dead;
};

/* The store owns inner from here on, also on failure; chaos stays the caller's, and must outlive the store. */
int store_open_chaos(struct store **ret, struct store *inner, struct chaos *chaos, struct error *err);

#endif
