/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store that fails by plan, around another store. For tests: full disks, lost answers, torn writes and flipped bits at a
 * chosen call. Calls of one kind are counted from 1 over all threads, for each fault by itself and only those whose
 * key starts with its prefix.
 */
#ifndef STORE_FAULT_H
#define STORE_FAULT_H

#include "store/store.h"

enum fault_call { FAULT_PUT_BEGIN, FAULT_PUT_APPEND, FAULT_PUT_COMMIT, FAULT_GET, FAULT_STAT, FAULT_LIST, FAULT_REMOVE };

enum fault_effect {
	FAULT_FAIL,   /* nothing is done, the call fails with sys */
	FAULT_LOST,   /* the call is done, but its answer is an error with sys (a connection that broke just then) */
	FAULT_SHORT,  /* append: the first half is written, then it fails with sys. get: ERR_CORRUPT, as an object cut short gives */
	FAULT_FLIP,   /* append, get: done, with one bit of the middle byte flipped, and success is reported */
};

struct fault {
	enum fault_call call;
	enum fault_effect effect;
	uint64_t from;      /* the first call that is hit; 0 is 1 */
	uint64_t count;     /* how many calls are hit from there on; 0: all */
	int sys;            /* errno, for example ENOSPC; ECONNRESET passes (error.h) */
	const char *prefix; /* of the keys that count; NULL: every key */
	uint64_t seen;      /* calls that counted so far; may be read once no other thread uses the store */
};

/* The store owns inner from here on, also on failure. faults stay the caller's, and must outlive the store. */
int store_open_fault(struct store **ret, struct store *inner, struct fault *faults, size_t count, struct error *err);

#endif
