/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the S3 store share: s3.c (the store), s3_put.c (objects on their way up), s3_remove.c, s3_lock.c. */
#ifndef STORE_S3_INTERNAL_H
#define STORE_S3_INTERNAL_H

#include <stdatomic.h>

#include "store/kind.h"
#include "store/s3_http.h"

#define S3_PART (8u << 20) /* bytes of a part of a multipart upload; S3 wants at least 5 MiB of all but the last */

#define PAGES_MAX 1000000u  /* of a listing: 1000 objects each */

struct s3_uploader;

struct s3_store {
	struct store base;
	struct s3_config config;
	struct s3_http *http;
	struct s3_uploader *uploader;
	atomic_bool no_conditions; /* the server refuses If-None-Match */
	atomic_bool no_versions;   /* the last object that was removed was of a bucket without versions */
	bool made_bucket;          /* it was missing */
	const struct store_locks *locks; /* of new objects; NULL: none */
};

static inline struct s3_store *s3_of(struct store *s)
{
	return (struct s3_store *)s;
}

/* The object's whole name in the bucket. The caller frees it; NULL: out of memory. */
char *s3_whole_key(const struct s3_store *s, const char *key);

/* Sets err: "VERB LOCATION/KEY: out of memory". Returns -1. */
int s3_no_memory(const struct s3_store *s, const char *verb, const char *key, struct error *err);

/* What the server knows of an object: ret->status is 200 or 404. Anything else is an error. verb, key: for the message. */
int s3_head(struct s3_store *s, const char *whole, const char *verb, struct s3_response *ret, struct error *err);
/* Gives an upload up; what cannot be reached is left to sweep. */
int s3_abort_upload(struct s3_store *s, const char *whole, const char *upload, struct error *err);

/* --- s3_remove.c --- */
int s3_remove(struct store *base, const char *key, struct error *err);
int s3_hide(struct store *base, const char *key, struct error *err);
int s3_sweep(struct store *base, uint64_t min_age, uint64_t *ret_removed, struct error *err);

/* --- s3_lock.c --- */
#define S3_LOCK_DATE 40
struct s3_lock {
	const char *mode;
	uint64_t seconds;         /* 0: none */
	char until[S3_LOCK_DATE]; /* as the last request said */
};
void s3_lock_new(struct store *base, const struct store_locks *locks);
int s3_extend_lock(struct store *base, const char *key, uint64_t seconds, bool *ret_found, struct error *err);
int s3_locked_until(struct store *base, const char *key, int64_t *ret, int64_t *ret_now, struct error *err);
/* The lock that a new object of this key gets; adds it to the request that makes the object, counted from this moment (lock must outlive the request). */
void s3_lock_begin(const struct s3_store *s, const char *key, struct s3_lock *ret);
void s3_lock_describe(const struct s3_store *s, struct s3_lock *lock, struct s3_request *q);
/* After a multipart upload: some servers (Ceph 16) take the lock of its beginning and forget it, and it may have begun long ago. */
int s3_lock_completed(struct s3_store *s, const char *whole, const struct s3_lock *lock, struct error *err);
bool s3_is_locked(const struct s3_response *head);
int s3_say_locked(const struct s3_store *s, const char *whole, const struct s3_response *head, struct error *err);

/* Threads that send parts, started with the first. */
int s3_uploader_new(struct s3_uploader **ret, struct error *err);
/* After the last put has ended. */
void s3_uploader_free(struct s3_uploader *u);

int s3_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err);
int s3_put_append(struct store_put *put, const void *data, size_t len, struct error *err);
int s3_put_commit(struct store_put *put, struct error *err);
void s3_put_abort(struct store_put *put);
int s3_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err);

#endif
