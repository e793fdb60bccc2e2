/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/s3_http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/retry.h"
#include "store/s3_try.h"

#define TRIES_FIRST 3        /* while the server has never answered: more likely a wrong address than a passing failure */
#define IDLE_MAX 32          /* connections kept */

struct s3_http {
	struct s3_target to;
	pthread_mutex_t lock;      /* guards all below */
	CURL *idle[IDLE_MAX];
	unsigned idle_count;
	struct s3_credentials credentials;
	unsigned generation;       /* of the credentials */
	atomic_bool reached;       /* the server has answered once */
	_Atomic int64_t clock_ahead; /* seconds by which its clock is ahead of this machine's */
};

/* --- making ------------------------------------------------------------------------ */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void start_curl(void)
{
	curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int s3_http_new(struct s3_http **ret, const struct store *store, const struct s3_config *config, struct error *err)
{
	pthread_once(&curl_once, start_curl);
	if (curl_ready != CURLE_OK)
		return error_set(err, ERR_IO, "start libcurl: %s", curl_easy_strerror(curl_ready));
	struct s3_http *h = calloc(1, sizeof *h);
	if (!h)
		return error_set(err, ERR_NOMEM, "out of memory");
	pthread_mutex_init(&h->lock, NULL);
	h->to.store = store;
	h->to.config = config;
	size_t scheme = (size_t)(strstr(config->endpoint, "://") + 3 - config->endpoint);
	int host = config->path_style ? asprintf(&h->to.host, "%s", config->endpoint + scheme)
	                              : asprintf(&h->to.host, "%s.%s", config->bucket, config->endpoint + scheme);
	int base = host < 0 ? -1 : asprintf(&h->to.base, "%.*s%s", (int)scheme, config->endpoint, h->to.host);
	int done = base < 0 ? error_set(err, ERR_NOMEM, "out of memory") : s3_credentials_load(&h->credentials, config, err);
	if (done < 0) {
		s3_http_free(h);
		return -1;
	}
	*ret = h;
	return 0;
}

void s3_http_free(struct s3_http *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->idle_count; i++)
		curl_easy_cleanup(h->idle[i]);
	s3_credentials_done(&h->credentials);
	pthread_mutex_destroy(&h->lock);
	free(h->to.host);
	free(h->to.base);
	free(h);
}

void s3_http_set_rates(struct s3_http *h, struct store_rates *rates)
{
	h->to.rates = rates;
}

time_t s3_now(const struct s3_http *h)
{
	return time(NULL) + (time_t)atomic_load(&h->clock_ahead);
}

static CURL *take_handle(struct s3_http *h)
{
	pthread_mutex_lock(&h->lock);
	CURL *c = h->idle_count ? h->idle[--h->idle_count] : NULL;
	pthread_mutex_unlock(&h->lock);
	return c ? c : curl_easy_init();
}

/* Its connection stays open. */
static void give_handle(struct s3_http *h, CURL *c)
{
	curl_easy_reset(c);
	pthread_mutex_lock(&h->lock);
	bool kept = h->idle_count < IDLE_MAX;
	if (kept)
		h->idle[h->idle_count++] = c;
	pthread_mutex_unlock(&h->lock);
	if (!kept)
		curl_easy_cleanup(c);
}

static int copy_credentials(struct s3_http *h, struct s3_credentials *ret, unsigned *ret_generation, struct error *err)
{
	pthread_mutex_lock(&h->lock);
	struct s3_credentials c = { strdup(h->credentials.key), strdup(h->credentials.secret), h->credentials.token ? strdup(h->credentials.token) : NULL };
	bool whole = c.key && c.secret && (c.token || !h->credentials.token);
	*ret_generation = h->generation;
	pthread_mutex_unlock(&h->lock);
	*ret = c;
	return whole ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

/* The server refused the keys of this generation: are there others by now? */
static bool renew_credentials(struct s3_http *h, unsigned generation)
{
	struct s3_credentials fresh;
	pthread_mutex_lock(&h->lock);
	bool renewed = h->generation != generation;
	if (!renewed && s3_credentials_load(&fresh, h->to.config, NULL) == 0) {
		if (!s3_credentials_equal(&fresh, &h->credentials)) {
			struct s3_credentials old = h->credentials;
			h->credentials = fresh;
			fresh = old;
			h->generation++;
			renewed = true;
		}
		s3_credentials_done(&fresh);
	}
	pthread_mutex_unlock(&h->lock);
	return renewed;
}

static CURLcode send_once(struct s3_http *h, const struct s3_request *request, const struct s3_credentials *c, struct s3_response *ret, char why[CURL_ERROR_SIZE])
{
	CURL *handle = take_handle(h);
	if (!handle)
		return CURLE_OUT_OF_MEMORY;
	CURLcode code = s3_try(handle, &h->to, request, c, ret, why);
	give_handle(h, handle);
	return code;
}

/* --- trying again --------------------------------------------------------------------------- */

static bool one_of(const char *code, const char *const *codes)
{
	for (; *codes; codes++)
		if (strcmp(code, *codes) == 0)
			return true;
	return false;
}

/* An answer after which the same request may well succeed. Damage on the way counts, too. */
static bool passing_answer(const struct s3_response *r)
{
	static const char *const codes[] = { "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException",
		                             "RequestLimitExceeded", "OperationAborted", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody",
		                             "InvalidDigest", "ConditionalRequestConflict", NULL };
	if (r->status == 408 || r->status == 429 || r->status == 500 || r->status == 502 || r->status == 503 || r->status == 504)
		return true;
	return r->status >= 400 && one_of(r->problem.code, codes);
}

static bool passing_failure(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_PARTIAL_FILE:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR: return true;
	default: return false;
	}
}

static bool wants_other_keys(const struct s3_response *r)
{
	static const char *const codes[] = { "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId",
		                             "SignatureDoesNotMatch", "RequestExpired", NULL };
	return r->status == 403 || r->status == 401 || (r->status == 400 && one_of(r->problem.code, codes));
}

/* Sets err; one that may pass is marked so. */
static void no_answer(const struct s3_http *h, CURLcode code, const char *why, struct error *err)
{
	switch (code) {
	case CURLE_OUT_OF_MEMORY: error_set(err, ERR_NOMEM, "out of memory"); break;
	case CURLE_ABORTED_BY_CALLBACK: error_set(err, ERR_CANCELLED, "stopped while waiting for the rate limit"); break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		error_set(err, ERR_AUTH, "the certificate of %s is not trusted: %s; where its authority is one of your own, name its file by ca= in the location or by AWS_CA_BUNDLE",
		          h->to.host, why);
		break;
	case CURLE_SSL_CONNECT_ERROR:
		error_set(err, ERR_IO, "no secure connection to %s: %s; if the server speaks plain HTTP, say http:// in the endpoint", h->to.host, why);
		break;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		error_set(err, ERR_IO, "%s cannot be reached: %s; is the endpoint right, and the network up?", h->to.host, why);
		break;
	default: error_set(err, ERR_IO, "no answer from %s: %s", h->to.host, why);
	}
	if (passing_failure(code))
		error_passing(err);
}

int s3_request(struct s3_http *h, const struct s3_request *request, struct s3_response *ret, struct error *err)
{
	char why[CURL_ERROR_SIZE] = "";
	bool renewed = false;
	struct retry_policy policy = retry_usual();
	if (!atomic_load(&h->reached) && policy.tries > TRIES_FIRST)
		policy.tries = TRIES_FIRST;
	struct retry retry;
	struct error failure = { 0 };
	retry_begin(&retry, h->to.store, &policy);
	do {
		CLEAN(s3_credentials_done) struct s3_credentials c = { 0 };
		unsigned generation;
		if (copy_credentials(h, &c, &generation, err) < 0)
			return -1;
		ret->tries = retry.failed + 1;
		CURLcode code = send_once(h, request, &c, ret, why);
		if (code == CURLE_OK) {
			atomic_store(&h->reached, true);
			if (ret->server_time)
				atomic_store(&h->clock_ahead, (int64_t)ret->server_time - ret->local_time);
			renewed = !renewed && wants_other_keys(ret) && renew_credentials(h, generation);
			if (renewed)
				continue;
			if (!passing_answer(ret))
				return 0;
			s3_refused(h, ret, &failure, "%s", request->method);
			error_passing(&failure);
		} else {
			no_answer(h, code, why, &failure);
		}
	} while (renewed || retry_again(&retry, &failure));
	if (err)
		*err = failure;
	return -1;
}

/* --- refusals ------------------------------------------------------------------------------- */

static int clocks(const struct s3_response *r, const char *what, struct error *err)
{
	char here[40], there[40];
	struct tm tm;
	gmtime_r(&r->local_time, &tm);
	strftime(here, sizeof here, "%F %T", &tm);
	gmtime_r(&r->server_time, &tm);
	strftime(there, sizeof there, "%F %T", &tm);
	return error_set(err, ERR_AUTH, "%s: this machine's clock says %s UTC, the server's %s UTC, too far apart for a signature; set the clock", what, here, there);
}

struct advice {
	const char *code;
	enum error_kind kind;
	const char *text;
};

static const struct advice advices[] = {
	{ "InvalidAccessKeyId", ERR_AUTH, "the server does not know this access key; is it the right one for this endpoint, and not withdrawn?" },
	{ "SignatureDoesNotMatch", ERR_AUTH, "the secret key does not belong to the access key" },
	{ "ExpiredToken", ERR_AUTH, "the temporary keys have expired; get new ones" },
	{ "ExpiredTokenException", ERR_AUTH, "the temporary keys have expired; get new ones" },
	{ "TokenRefreshRequired", ERR_AUTH, "the temporary keys have expired; get new ones" },
	{ "InvalidToken", ERR_AUTH, "the session token (AWS_SESSION_TOKEN) is not valid" },
	{ "UserSuspended", ERR_AUTH, "the server has suspended this user" },
	{ "AccessDenied", ERR_AUTH, "these keys may not do that" },
	{ "NoSuchBucket", ERR_NOT_FOUND, "there is no such bucket" },
	{ "QuotaExceeded", ERR_NO_SPACE, "the quota of the user or bucket is full" },
	{ "EntityTooLarge", ERR_INVALID, "the server takes no objects of this size" },
	{ "NotImplemented", ERR_UNSUPPORTED, "this server cannot do that" },
	{ "InvalidObjectState", ERR_IO, "the object lies in an archive; restore it there first" },
};

int s3_refused(const struct s3_http *h, const struct s3_response *r, struct error *err, const char *fmt, ...)
{
	char what[300];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	const struct s3_problem *p = &r->problem;
	if (strcmp(p->code, "RequestTimeTooSkewed") == 0 && r->server_time)
		return clocks(r, what, err);
	if (r->status == 301 || r->status == 307 || strcmp(p->code, "AuthorizationHeaderMalformed") == 0)
		return error_set(err, ERR_INVALID, "%s: the bucket is not in region %s at this endpoint%s%s; set region= in the location or AWS_REGION", what, h->to.config->region,
		                 p->region[0] ? " but in " : "", p->region);
	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
		if (strcmp(p->code, advices[i].code) == 0)
			return error_set(err, advices[i].kind, "%s: %s (%s)", what, advices[i].text, p->code);
	enum error_kind kind = r->status == 403 || r->status == 401 ? ERR_AUTH : r->status == 404 ? ERR_NOT_FOUND : r->status == 507 ? ERR_NO_SPACE : ERR_IO;
	return error_set(err, kind, "%s: the server answered %ld%s%s%s%s", what, r->status, p->code[0] ? " " : "", p->code, p->message[0] ? ": " : "", p->message);
}
