/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reed-Solomon over GF(2^8), polynomial 0x11d, as docs/FORMAT.md "Parity" defines it: shard j of a group is the sum over its members i of
 * C(j, i) * bytes of member i, with the Cauchy matrix C(j, i) = 1 / ((248 + j) xor i). Any e members that are lost come back from any e shards.
 * Pure functions on buffers of equal length (isa-l does the work, with the processor's vector instructions); threads: any.
 */
#ifndef REPO_RS_H
#define REPO_RS_H

#include <stddef.h>
#include <stdint.h>

#define RS_SHARDS_MAX 8u
#define RS_MEMBERS_MAX 240u

/* sums[k] ^= C(shards[k], member) * data, for k below count (1 to RS_SHARDS_MAX). len: below 2^31. */
void rs_add(uint8_t *const sums[], const unsigned shards[], unsigned count, unsigned member, const uint8_t *data, size_t len);
/* sums[k]: shard shards[k] plus the contributions of all members but the lost ones. Sets ret[k] to the bytes of member lost[k]; ret must not overlap sums.
 * Both lists are of distinct numbers, so this cannot fail. */
void rs_solve(uint8_t *const ret[], uint8_t *const sums[], const unsigned shards[], const unsigned lost[], unsigned count, size_t len);

#endif
