/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where an S3 store lies and who we are to it: the location, the environment and the files of the AWS command-line tools.
 *
 * s3://BUCKET[/PREFIX][?NAME=VALUE&...] with the names endpoint, region, style (path or host), profile, ca, etag; values are percent-decoded.
 * docs/STORES.md tells users the same. Pure but for reading the environment and two small files. Threads: any; getenv is only read.
 */
#ifndef STORE_S3_CONFIG_H
#define STORE_S3_CONFIG_H

#include <stdbool.h>

#include "base/clean.h"
#include "base/error.h"

struct s3_config {
	char *bucket;
	char *prefix;   /* "", or ends in a slash */
	char *endpoint; /* scheme://host[:port], without a slash at its end */
	char *region;
	char *profile;  /* section of the files; never NULL */
	char *ca_file;  /* NULL: the system's authorities */
	bool path_style;     /* endpoint/bucket/key, else bucket.endpoint/key */
	bool profile_chosen; /* the location names it: it goes before the environment's keys */
	bool opaque_etags;   /* etag=opaque: this server's ETags look like MD5s and are none */
};

int s3_config_parse(struct s3_config *ret, const char *location, struct error *err);
void s3_config_done(struct s3_config *c);

/* token is NULL for lasting keys. */
struct s3_credentials {
	char *key, *secret, *token;
};

/* Reads them afresh, so that temporary keys which somebody renews in the files are found. None: ERR_AUTH. */
int s3_credentials_load(struct s3_credentials *ret, const struct s3_config *config, struct error *err);
/* Wipes what is secret. */
void s3_credentials_done(struct s3_credentials *c);
bool s3_credentials_equal(const struct s3_credentials *a, const struct s3_credentials *b);

/* Value of name in [section] (or [profile section]) of an INI text of len bytes; NULL: none, or out of memory. The caller frees it. */
char *s3_ini_value(const char *text, size_t len, const char *section, const char *name);

#endif
