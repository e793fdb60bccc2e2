/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What an S3 server answers, taken apart: pages of listings, errors, the ids of uploads. Everything here is hostile: documents with a DOCTYPE,
 * too deep or with too long texts are refused, numbers are checked, names that no object of ours can have are dropped.
 * Pure functions over libexpat; threads: any. The caller bounds the length of a document.
 */
#ifndef STORE_S3_REPLY_H
#define STORE_S3_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"

struct s3_listed {
	char *key;     /* whole, with the prefix; decoded */
	char *upload;  /* listings of uploads: its id; else NULL */
	time_t begun;  /* listings of uploads */
	uint64_t size; /* listings of objects */
};

struct s3_page {
	struct s3_listed *items;
	size_t count, room;
	bool more;
	char *next_key;    /* objects: the token that continues; uploads: the key marker. NULL: none */
	char *next_upload; /* uploads only */
};

/* ListObjectsV2, ListMultipartUploads. */
int s3_parse_objects(struct s3_page *ret, const void *data, size_t len, struct error *err);
int s3_parse_uploads(struct s3_page *ret, const void *data, size_t len, struct error *err);
void s3_page_done(struct s3_page *p);

struct s3_problem {
	char code[64];     /* "NoSuchKey"; "" where the document is no error */
	char message[256]; /* the server's own words, printable */
	char region[64];   /* where the bucket is, if the server says so */
};

/* Anything that is not an error document leaves ret empty: answers of proxies are often HTML. */
void s3_parse_problem(struct s3_problem *ret, const void *data, size_t len);

/* The id of a multipart upload that was begun. *ret is the caller's. */
int s3_parse_upload_id(char **ret, const void *data, size_t len, struct error *err);

/* "2026-11-23T21:38:01.870Z"; -1 for anything else. */
time_t s3_parse_time(const char *text);

#endif
