/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Signed requests to one S3 server, over libcurl: connections are kept and used again, passing failures (broken connections, timeouts, 429, 500,
 * 503 and what S3 calls SlowDown) are tried again as store/retry.h says, and keys that expired are read afresh.
 * Threads: any, one request each; a request blocks.
 */
#ifndef STORE_S3_HTTP_H
#define STORE_S3_HTTP_H

#include "base/buf.h"
#include "store/s3_config.h"
#include "store/s3_reply.h"
#include "store/s3_sign.h"
#include "store/store.h"

#define S3_PARAMETERS_MAX 8

struct s3_http;
struct store_rates;

/* store is asked for its watch only; config is borrowed. */
int s3_http_new(struct s3_http **ret, const struct store *store, const struct s3_config *config, struct error *err);
void s3_http_free(struct s3_http *h);
/* Bodies are sent and received no faster than that, by all requests together; NULL: no limit. While no request is under way. */
void s3_http_set_rates(struct s3_http *h, struct store_rates *rates);
/* The server's clock, as its last answer told it; this machine's before the first. */
time_t s3_now(const struct s3_http *h);

struct s3_request {
	const char *method;
	const char *key;                      /* whole, with the prefix, as it is; NULL: the bucket itself */
	struct s3_header parameters[S3_PARAMETERS_MAX]; /* of the query, as they are, in the order of their names */
	size_t parameter_count;
	struct s3_header headers[12];         /* all are signed */
	size_t header_count;
	const void *body;                     /* sent with its hash and its MD5; NULL: none */
	size_t body_len;
	bool ranged;                          /* GET: len bytes from offset go to into */
	uint64_t offset;
	void *into;
	size_t len;
};

struct s3_response {
	long status;
	char etag[72];        /* without its quotes */
	bool foreign_etag;    /* encrypted by the server, so the ETag is no MD5 */
	char token[40];       /* our own mark of the put that wrote it, where the object has one */
	char version[1028];   /* x-amz-version-id, or "": of a bucket that keeps versions */
	char lock_until[40], lock_mode[16]; /* x-amz-object-lock-retain-until-date and -mode, or "" */
	uint64_t length;      /* Content-Length, or UINT64_MAX */
	bool has_range;
	uint64_t first, last, total; /* Content-Range; total is UINT64_MAX where it is not told */
	size_t received;      /* bytes that went to into */
	time_t server_time, local_time; /* at the moment of the answer; server_time 0: not told */
	unsigned tries;       /* over 1: an earlier try may have had its effect, too */
	struct buf body;      /* where into was not filled: at most 16 MiB */
	struct s3_problem problem; /* of a status over 299 */
};

/* 0: there is an answer, of any status that is not worth another try. -1: there is none, and err is final. *ret must be S3_RESPONSE_INIT or done; it is the caller's in
 * either case. */
#define S3_RESPONSE_INIT { .body = BUF_INIT }
int s3_request(struct s3_http *h, const struct s3_request *request, struct s3_response *ret, struct error *err);
void s3_response_done(struct s3_response *r);
#define CLEAN_RESPONSE CLEAN(s3_response_done)

/* Sets err from an answer that was not wanted: "what: why; what to do". Returns -1. */
int s3_refused(const struct s3_http *h, const struct s3_response *r, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
