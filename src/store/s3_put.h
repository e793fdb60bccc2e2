/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An object on its way to S3, as s3_put.c (the put) and s3_upload.c (its parts) share it. */
#ifndef STORE_S3_PUT_H
#define STORE_S3_PUT_H

#include "store/s3_internal.h"

#define S3_DAMAGE_TRIES 3 /* how often what arrived as something else is sent anew */

struct sent_part {
	char etag[72];
};

struct s3_put {
	struct store_put base;
	char *whole, token[33];
	struct s3_lock lock;
	bool over;               /* takes the place of an object that is there */
	uint8_t *part;           /* being filled; S3_PART bytes, or NULL */
	size_t len;              /* of it */
	unsigned parts;          /* handed to the uploader */
	/* The uploader's lock guards all below. */
	char *upload;            /* id of the multipart upload, once it is begun */
	bool beginning;
	unsigned pending;        /* parts that wait or are being sent */
	struct sent_part *sent;
	size_t sent_room;
	struct error error;
};

/* --- s3_put.c: what both send --- */
struct s3_store *s3_put_store(const struct s3_put *p);
/* These set err and return -1. */
int s3_put_no_memory(const struct s3_put *p, struct error *err);
int s3_put_refused(const struct s3_put *p, const struct s3_response *r, struct error *err);
int s3_put_damaged(const struct s3_put *p, const struct s3_response *r, struct error *err);
void s3_add_header(struct s3_request *q, const char *name, const char *value);
void s3_add_parameter(struct s3_request *q, const char *name, const char *value);
/* Headers of the request that makes the object. */
void s3_put_describe(struct s3_put *p, struct s3_request *q);
/* Did what arrived have this MD5? Only where the ETag is one. */
bool s3_arrived_whole(const struct s3_put *p, const struct s3_response *r, const void *data, size_t len);

/* --- s3_upload.c --- */
/* S3_PART bytes; NULL: out of memory. */
uint8_t *s3_take_buffer(struct s3_uploader *u);
/* NULL is fine. */
void s3_give_buffer(struct s3_uploader *u, uint8_t *b);
/* The filled part goes to the threads; waits while too many are under way. */
int s3_hand_over(struct s3_put *p, struct error *err);
/* Waits for the parts; whether all were sent. */
int s3_wait_for_parts(struct s3_put *p, struct error *err);
/* Those that wait are not sent any more; returns when none is under way. */
void s3_drop_parts(struct s3_put *p);

#endif
