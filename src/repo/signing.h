/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The own signing key: by it this user on this machine signs what he writes into the snapshot log, so that others who hold the master key cannot write in his name unnoticed.
 * docs/FORMAT.md, "Snapshot log"; whom to believe is signers.h. The key lies in a file "signing-key" of a folder of this repository's, outside of it. Threads: one.
 */
#ifndef REPO_SIGNING_H
#define REPO_SIGNING_H

#include "repo/format/log.h"
#include "repo/repo.h"

struct repo_log;

struct signing_options {
	const char *folder; /* of the user's own state for all repositories; made where it is missing */
	const char *name;   /* "user@host" */
	bool make;          /* a key may be made, and what was seen be remembered; otherwise nothing is written there */
	/* Why nothing is signed, once; warning: it was signed until now. One line. May be NULL. */
	void (*tell)(void *cookie, bool warning, const char *text);
	void *cookie;
};

struct signing {
	char *folder, *name; /* folder: this repository's */
	bool make, looked;   /* looked: for the key */
	struct seal_signer *signer;
	void (*tell)(void *cookie, bool warning, const char *text);
	void *cookie;
};
void signing_free(struct signing *s);

/* From here on what r writes is signed, where it can be. r without it signs nothing. */
int repo_sign_by(struct repo *r, const struct signing_options *options, struct error *err);

/* The own key, made where the log knows none under this name; NULL: nothing is signed (signing.tell was called). */
const struct seal_signer *signing_key(struct repo *r, const struct repo_log *l);
/* Whether this is the own key. None is made. */
bool signing_is_own(struct repo *r, const struct id *key);
/* Puts another key in the place of the one that was lost (or not: that one is kept as signing-key.before). Nothing is written into the repository. */
int signing_make(struct repo *r, struct error *err);
/* A folder of this repository's, for what is remembered of it; false: there is none. */
bool signing_path(const struct repo *r, const char *name, char ret[4096]);
/* Whole or not at all: a file beside it that was written before takes its place. */
int signing_save(const struct repo *r, const char *name, const void *bytes, size_t len, bool replace, struct error *err);

/* --- what is signed ------------------------------------------------------------------------ */
/* A row of LOG_VOUCHER_SIZE bytes: this snapshot, of this payload's hash, was made by the holder of s. */
void signing_vouch(const struct repo *r, const struct seal_signer *s, const struct id *snapshot, const struct id *hash, struct buf *ret);
bool signing_voucher_fits(const struct repo *r, const uint8_t *row);
/* ret: name borrowed. */
int signing_introduce(const struct repo *r, const struct seal_signer *s, struct log_signer *ret, struct error *err);
bool signing_introduction_fits(const struct repo *r, const struct log_signer *s);
/* bytes: the payload's, without the signature. */
int signing_sign_entry(const struct repo *r, const struct seal_signer *s, const struct id *entry, const struct buf *bytes, struct log_entry *e, struct error *err);
/* e was decoded from payload. */
bool signing_entry_fits(const struct repo *r, const struct id *entry, const struct log_entry *e, const struct buf *payload);

#endif
