/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signatures of S3 requests: "Authenticating Requests (AWS Signature Version 4)" in Amazon's S3 API reference, with the payload's hash in a
 * header (not in chunks, not in the query). Pure functions; threads: any.
 */
#ifndef STORE_S3_SIGN_H
#define STORE_S3_SIGN_H

#include <stddef.h>

#include "base/buf.h"
#include "store/s3_config.h"

#define S3_DATE_SIZE 17 /* "20130524T000000Z" and a zero */
#define S3_HASH_SIZE 65 /* SHA-256 in hexadecimal digits and a zero */
#define S3_HEADERS_MAX 24

struct s3_header {
	const char *name;  /* lower case */
	const char *value; /* without blanks at its ends */
};

struct s3_signing {
	const char *method, *path; /* path: as sent, percent-encoded */
	const char *query;         /* as sent: encoded, sorted by name, every name with a "="; "" for none */
	const struct s3_header *headers; /* all that are to be signed: host and every x-amz-... at least; in any order */
	size_t header_count;             /* at most S3_HEADERS_MAX */
	const char *payload_hash;
	const char *date;                /* as in x-amz-date */
	const char *region;
	const struct s3_credentials *credentials;
};

/* Appends the value of the header Authorization. */
int s3_sign(const struct s3_signing *s, struct buf *ret, struct error *err);

void s3_sha256(const void *data, size_t len, char ret[S3_HASH_SIZE]);
/* MD5 as 16 bytes; false where the system's cryptography refuses it. */
bool s3_md5(const void *data, size_t len, unsigned char ret[16]);
/* Appends text percent-encoded: all but letters, digits and -._~ (and slashes, where they are kept). */
void s3_encode(struct buf *b, const char *text, bool keep_slashes);

#endif
