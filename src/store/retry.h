/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Trying again what failed in passing: pauses that double, each cut to a random part of itself ("full jitter": many clients of one server must
 * not come back at the same moment), until the number of tries or the time is used up, the error is final, or the user stops.
 *
 * For the files of this folder. Kinds behind a network use struct retry for what only they can repeat (a part of an upload, a
 * broken connection under an open put); the wrapper repeats whole calls. Whoever gives up makes the error final, so that the layers
 * do not multiply their tries.
 */
#ifndef STORE_RETRY_H
#define STORE_RETRY_H

#include "store/store.h"

struct retry_policy {
	unsigned tries;         /* in all, the first included */
	unsigned first, longest; /* milliseconds: the first pause is at most first, each next one at most twice that, none over longest */
	unsigned total;         /* milliseconds after the first failure during which anything is tried again */
};

/* 20 tries, 0.5 to 20 s, 5 minutes; the environment's TWOFOLD_RETRY_SECONDS is the total instead (0: never try again). */
struct retry_policy retry_usual(void);

struct retry {
	const struct store *store; /* whose watch is asked and told */
	struct retry_policy policy;
	unsigned failed;           /* tries so far that failed */
	uint64_t since;            /* monotonic milliseconds of the first failure */
};

void retry_begin(struct retry *r, const struct store *s, const struct retry_policy *policy);
/* After a try that failed with *err (which must be given): true, after a pause, when it is worth another. False: err says how often and how long it was tried, and
 * is final; or the user stopped, and it is ERR_CANCELLED. */
bool retry_again(struct retry *r, struct error *err);

/* A store that repeats the calls of inner, and owns it from here on, also on failure. policy NULL: the usual one.
 * get, stat, remove, sweep, reserve, facts: simply again. list: again while nothing was handed out. Puts up to RETRY_KEEP bytes are kept and written again as a whole; where the
 * object is there by then, it is read back and compared. Larger ones go straight to inner, whose put_append repeats what it can; when their commit
 * fails in passing, an object of the right size under the key means that only the answer was lost. */
int store_open_retry(struct store **ret, struct store *inner, const struct retry_policy *policy, struct error *err);

#define RETRY_KEEP (1u << 20)

#endif
