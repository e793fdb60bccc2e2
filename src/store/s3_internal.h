/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the S3 store share: s3.c (the store), s3_put.c (objects on their way up). */
#ifndef STORE_S3_INTERNAL_H
#define STORE_S3_INTERNAL_H

#include <stdatomic.h>

#include "store/kind.h"
#include "store/s3_http.h"

#define S3_PART (8u << 20) /* bytes of a part of a multipart upload; S3 wants at least 5 MiB of all but the last */

struct s3_uploader;

struct s3_store {
	struct store base;
	struct s3_config config;
	struct s3_http *http;
	struct s3_uploader *uploader;
	atomic_bool no_conditions; /* the server refuses If-None-Match */
	atomic_bool no_versions;   /* the last object that was removed was of a bucket without versions */
};

static inline struct s3_store *s3_of(struct store *s)
{
	return (struct s3_store *)s;
}

/* The object's whole name in the bucket. The caller frees it; NULL: out of memory. */
char *s3_whole_key(const struct s3_store *s, const char *key);

/* What the server knows of an object: ret->status is 200 or 404. Anything else is an error. verb, key: for the message. */
int s3_head(struct s3_store *s, const char *whole, const char *verb, struct s3_response *ret, struct error *err);
/* Gives an upload up; what cannot be reached is left to sweep. */
int s3_abort_upload(struct s3_store *s, const char *whole, const char *upload, struct error *err);

/* Threads that send parts, started with the first. */
int s3_uploader_new(struct s3_uploader **ret, struct error *err);
/* After the last put has ended. */
void s3_uploader_free(struct s3_uploader *u);

int s3_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err);
int s3_put_append(struct store_put *put, const void *data, size_t len, struct error *err);
int s3_put_commit(struct store_put *put, struct error *err);
void s3_put_abort(struct store_put *put);

#endif
