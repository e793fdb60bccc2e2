/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An entry of the snapshot log: object log/ID, kind 8, a field list. docs/FORMAT.md, "Snapshot log". Pure.
 */
#ifndef REPO_FORMAT_LOG_H
#define REPO_FORMAT_LOG_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

#define LOG_ADDED_SIZE (2 * ID_SIZE) /* a snapshot's id, and the hash of its payload */
#define LOG_KEY_SIZE 32              /* of a signing key's public half */
#define LOG_SIGNATURE_SIZE 64
#define LOG_VOUCHER_SIZE (2 * ID_SIZE + LOG_KEY_SIZE + LOG_SIGNATURE_SIZE) /* a snapshot's id, the hash of its payload, who made it (public half), his signature */
#define LOG_VOUCHER_ORDER (2 * ID_SIZE + LOG_KEY_SIZE)                     /* bytes that order them */
#define LOG_NAME_MAX 512u
#define LOG_SIGNERS_MAX 65536u

/* A signing key, as its holder introduced it. */
struct log_signer {
	uint8_t key[LOG_KEY_SIZE]; /* public half */
	struct time_ns time;
	char *name;                /* "user@host"; owned */
	uint8_t signature[LOG_SIGNATURE_SIZE];
};
struct log_signers { /* ascending by key */
	struct log_signer *items;
	size_t count;
};
void log_signers_done(struct log_signers *l);
/* Appends a copy. -1: out of memory. */
int log_signers_add(struct log_signers *l, const struct log_signer *s);

/* All lists ascend by id, each id once. */
struct log_entry {
	struct time_ns time;
	char *host;           /* who wrote it; owned; "" where unknown */
	struct buf before;    /* ids of the entries that it follows */
	struct buf added;     /* LOG_ADDED_SIZE bytes each */
	struct buf forgotten; /* ids of snapshots */
	struct buf replaced;  /* ids of entries for which this one stands */
	struct buf hashes;    /* of the payloads of the entries in before, ID_SIZE bytes each, in their order; empty: of an older program */
	struct buf vouchers;  /* LOG_VOUCHER_SIZE bytes each, ascending by their first LOG_VOUCHER_ORDER; signatures are not looked at here */
	struct log_signers signers;
	bool is_signed;       /* by: */
	uint8_t signer[LOG_KEY_SIZE], signature[LOG_SIGNATURE_SIZE];
	size_t signed_len;    /* after decoding: so many bytes of the payload are what is signed */
};

void log_entry_done(struct log_entry *e);
/* Without is_signed: what is to be signed. */
void log_entry_encode(struct buf *b, const struct log_entry *e);
int log_entry_decode(struct log_entry *ret, const uint8_t *bytes, size_t len, struct error *err);

#endif
