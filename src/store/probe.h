/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Finds out what a store really does, by doing it: puts, reads, lists, replaces and removes objects of its own under probe/, with names
 * that nobody else reads. For store-test, and in short for init. It removes what it made.
 */
#ifndef STORE_PROBE_H
#define STORE_PROBE_H

#include "store/store.h"

enum probe_answer { PROBE_UNKNOWN, PROBE_NO, PROBE_YES };

struct probe {
	/* Without these Twofold cannot use a store: */
	enum probe_answer put, read_back, range, list, keeps_old; /* keeps_old: a put under a name that is taken is refused, and the object stays */
	/* Good to know: */
	enum probe_answer one_winner;  /* of four puts of one name at the same moment exactly one succeeds */
	enum probe_answer remove;      /* no: the store only takes */
	enum probe_answer list_removed; /* a listing soon lacks what was removed */
	uint64_t list_lag;             /* milliseconds until a listing showed the new object, and until it lacked the removed one: the longer of both */
	uint64_t round_trip;           /* microseconds: the median of some looks for an object */
	uint64_t small_put;            /* microseconds for a small object, durable */
	uint64_t bytes;                /* moved in each direction; 0: not measured */
	double up, down;               /* bytes a second */
	struct store_promises promises;
	struct store_facts facts;
	struct error first;            /* why the first of the needed things is not there; kind ERR_NONE: all are */
};

/* bytes 0: the short form (a small object, no speed, a listing is waited for as long as the store may lag, at most 2 s). -1 only where the probe itself could not be made
 * (memory, cancelled); what the store cannot do stands in ret, and ret->first says why. */
int store_probe(struct store *s, uint64_t bytes, struct probe *ret, struct error *err);
/* All that is needed is there. */
bool probe_usable(const struct probe *p);

#endif
