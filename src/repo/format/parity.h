/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parity objects: one shard of a group each, in clear, so that they heal a repository whose keys or header are lost. Pure codecs; docs/FORMAT.md, "Parity".
 *
 *   0        shard: L bytes, in pieces of PARITY_PIECE
 *   L        table, T bytes; zeros up to PARITY_GAP, where it is shorter
 *            the table again
 *            head, 64 bytes; zeros, PARITY_GAP bytes; the head again
 * So no run of a few KiB that goes bad takes both tables or both heads. All lengths and counts are checked here; sums are compared by who reads the pieces.
 */
#ifndef REPO_FORMAT_PARITY_H
#define REPO_FORMAT_PARITY_H

#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

#define PARITY_HEAD_SIZE 64u
#define PARITY_GAP (16u << 10)
#define PARITY_PIECE (64u << 10)
#define PARITY_SUM_SIZE 16u
#define PARITY_SHARDS_MAX 8u
#define PARITY_MEMBERS_MAX 240u         /* across */
#define PARITY_BUNDLE_MEMBERS_MAX 4096u
#define PARITY_MEMBER_MAX (1u << 30)    /* bytes of a member */
#define PARITY_TABLE_MAX (64u << 20)
#define PARITY_NAME_MAX 128u            /* with the terminating zero */

enum parity_form {
	PARITY_ACROSS = 1, /* a shard is Reed-Solomon over the members, byte by byte */
	PARITY_BUNDLE = 2, /* a shard is the members, one after the other */
};

struct parity_head {
	enum parity_form form;
	bool automatic;            /* backups keep the parity up to date */
	uint8_t shard, shards;     /* this one's number, from 0; how many the group has */
	uint8_t percent;           /* 1 to 100: what the user asked for */
	uint64_t length;           /* L */
	uint32_t table_length;     /* T */
	uint8_t table_sum[PARITY_SUM_SIZE]; /* equal in all shards of a group, and in no other group: it names the group */
};

struct parity_member {
	char name[PARITY_NAME_MAX]; /* the object's, in the store */
	uint64_t size;
	uint64_t offset;            /* bundle: where it begins; across: 0 */
	const uint8_t *sums;        /* of its pieces; in the table's bytes */
};

/* A view of a table's bytes, which stay the caller's. */
struct parity_table {
	struct parity_member *members; /* ascending by name; a member's place is its row */
	size_t count;
	const uint8_t *shard_sums[PARITY_SHARDS_MAX];
};

/* What is protected: what stays. Not parity itself, sessions, tombstones, nor what repair has put aside. */
bool parity_covers(const char *name);
uint64_t parity_pieces(uint64_t length);
/* Size of the whole object; where the table's two copies and the first head begin. */
uint64_t parity_object_size(const struct parity_head *h);
uint64_t parity_table_at(const struct parity_head *h, unsigned copy);

void parity_head_encode(uint8_t ret[PARITY_HEAD_SIZE], const struct parity_head *h);
int parity_head_decode(struct parity_head *ret, const uint8_t bytes[PARITY_HEAD_SIZE], struct error *err);

void parity_table_done(struct parity_table *t);
/* Appends. length: of the shards. */
void parity_table_encode(struct buf *b, const struct parity_table *t, unsigned shards, uint64_t length);
int parity_table_decode(struct parity_table *ret, const struct parity_head *h, const uint8_t *bytes, size_t len, struct error *err);

#endif
