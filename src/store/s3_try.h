/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One try of a request to S3, for s3_http.c, which tries again. Threads: any, a handle each. */
#ifndef STORE_S3_TRY_H
#define STORE_S3_TRY_H

#include <curl/curl.h>

#include "store/s3_http.h"

/* Where requests go. Constant while any is under way. */
struct s3_target {
	const struct store *store; /* whose watch is asked */
	const struct s3_config *config;
	char *host;                /* of the header Host */
	char *base;                /* scheme://host */
	struct store_rates *rates; /* may be NULL */
};

/* CURLE_OK: there is an answer of some status in *ret, whose tries stay as they are; a ranged answer that fits is whole. Otherwise why says what libcurl says. */
CURLcode s3_try(CURL *handle, const struct s3_target *to, const struct s3_request *request, const struct s3_credentials *c, struct s3_response *ret, char why[CURL_ERROR_SIZE]);

#endif
