/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A limit to how fast a store is written and read. */
#ifndef STORE_LIMIT_H
#define STORE_LIMIT_H

#include "store/rate.h"

/* Shared by all stores of a program that are to stay within it together. Either may have no limit. */
struct store_rates {
	struct rate up, down;
};

/* From now on *s moves no more than rates allow; rates must outlive it. A kind that hands large pieces to the network by itself paces them there; any other is replaced by a wrapper, which owns it. On failure *s is as
 * before. Before the first put. */
int store_limit(struct store **s, struct store_rates *rates, struct error *err);

#endif
