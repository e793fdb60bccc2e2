/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/s3_http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/evp.h>

#include "store/limit.h"
#include "store/retry.h"

#define TRIES_FIRST 3        /* while the server has never answered: more likely a wrong address than a passing failure */
#define CONNECT_SECONDS 15L
#define STALL_SECONDS 40L    /* no byte for so long: broken */
#define BODY_MAX (16u << 20)
#define IDLE_MAX 32          /* connections kept */

struct s3_http {
	const struct store *store; /* whose watch is asked */
	const struct s3_config *config;
	char *host;                /* of the header Host */
	char *base;                /* scheme://host */
	struct store_rates *rates; /* may be NULL */
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
	h->store = store;
	h->config = config;
	size_t scheme = (size_t)(strstr(config->endpoint, "://") + 3 - config->endpoint);
	int host = config->path_style ? asprintf(&h->host, "%s", config->endpoint + scheme)
	                              : asprintf(&h->host, "%s.%s", config->bucket, config->endpoint + scheme);
	int base = host < 0 ? -1 : asprintf(&h->base, "%.*s%s", (int)scheme, config->endpoint, h->host);
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
	free(h->host);
	free(h->base);
	free(h);
}

void s3_http_set_rates(struct s3_http *h, struct store_rates *rates)
{
	h->rates = rates;
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
	if (!renewed && s3_credentials_load(&fresh, h->config, NULL) == 0) {
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

/* --- one try ----------------------------------------------------------------------------- */

struct try {
	struct s3_http *http;
	const struct s3_request *request;
	struct s3_response *response;
	struct curl_slist *headers;
	struct buf path, query, url;
	char error[CURL_ERROR_SIZE];
	bool too_long;
	curl_off_t sent, received; /* bytes of bodies that were paced */
};

static void try_done(struct try *t)
{
	curl_slist_free_all(t->headers);
	buf_done(&t->path);
	buf_done(&t->query);
	buf_done(&t->url);
}

void s3_response_done(struct s3_response *r)
{
	buf_done(&r->body);
	*r = (struct s3_response)S3_RESPONSE_INIT;
}

/* The answer of this try goes to the caller's buffer only when it is exactly what was asked for. */
static bool fits(const struct s3_request *q, const struct s3_response *r)
{
	if (r->status == 206)
		return r->has_range && r->first == q->offset && r->last == q->offset + q->len - 1;
	return r->status == 200 && !r->has_range && q->offset == 0 && r->length == q->len;
}

static size_t on_body(char *data, size_t size, size_t count, void *cookie)
{
	struct try *t = cookie;
	struct s3_response *r = t->response;
	size_t len = size * count;
	if (t->request->ranged && fits(t->request, r)) {
		if (len > t->request->len - r->received)
			return 0;
		memcpy((uint8_t *)t->request->into + r->received, data, len);
		r->received += len;
		return len;
	}
	/* Of a large object that was not asked for like this, nothing is wanted. */
	if (len > BODY_MAX - r->body.len || (t->request->ranged && r->status < 300)) {
		t->too_long = true;
		return 0;
	}
	buf_add(&r->body, data, len);
	return buf_ok(&r->body) ? len : 0;
}

/* libcurl calls this between its steps, each of one buffer: waiting here holds the transfer back. */
static int on_step(void *cookie, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	struct try *t = cookie;
	struct store_rates *rates = t->http->rates;
	const struct store_watch *watch = t->http->store->watch;
	(void)down_total;
	(void)up_total;
	uint64_t more_up = up > t->sent ? (uint64_t)(up - t->sent) : 0, more_down = down > t->received ? (uint64_t)(down - t->received) : 0;
	t->sent = up;
	t->received = down;
	return rate_take(&rates->up, more_up, watch, NULL) < 0 || rate_take(&rates->down, more_down, watch, NULL) < 0;
}

static void set_pace(CURL *c, struct try *t)
{
	const struct store_rates *rates = t->http->rates;
	if (!rates)
		return;
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_step);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)rate_step(&rates->down, 256u << 10));
	curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, (long)rate_step(&rates->up, 1u << 20));
}

static void copy_value(char *ret, size_t size, const char *value, size_t len)
{
	if (len >= size)
		len = 0; /* longer than any that is meant */
	memcpy(ret, value, len);
	ret[len] = 0;
}

/* Digits, then the character end (0: the text's end); NULL otherwise. */
static const char *take_number(const char *p, char end, uint64_t *ret)
{
	char *stop;
	if (*p < '0' || *p > '9')
		return NULL;
	*ret = strtoull(p, &stop, 10);
	if (*stop != end)
		return NULL;
	return end ? stop + 1 : stop;
}

/* "bytes 0-9/443", or a star where the total is not told; nonsense counts as no range. */
static void parse_range(struct s3_response *r, const char *text)
{
	uint64_t first = 0, last = 0, total = UINT64_MAX;
	if (strncmp(text, "bytes ", 6) != 0)
		return;
	const char *p = take_number(text + 6, '-', &first);
	if (p)
		p = take_number(p, '/', &last);
	if (!p || (strcmp(p, "*") != 0 && !take_number(p, 0, &total)) || first > last || last >= INT64_MAX)
		return;
	r->has_range = true;
	r->first = first;
	r->last = last;
	r->total = total;
}

static bool is_blank(char c)
{
	return c == '\r' || c == '\n' || c == ' ' || c == '\t';
}

static void note_header(struct s3_response *r, const char *name, size_t name_len, const char *value, size_t len)
{
	char text[128] = "";
	copy_value(text, sizeof text, value, len);
#define IS(n) (name_len == sizeof(n) - 1 && strncasecmp(name, n, sizeof(n) - 1) == 0)
	if (IS("etag")) {
		bool quoted = len >= 2 && value[0] == '"' && value[len - 1] == '"';
		copy_value(r->etag, sizeof r->etag, value + quoted, len - (quoted ? 2 : 0));
	} else if (IS("content-length")) {
		char *end;
		r->length = strtoull(text, &end, 10);
		if (*end || end == text)
			r->length = UINT64_MAX;
	} else if (IS("content-range")) {
		parse_range(r, text);
	} else if (IS("date")) {
		time_t at = curl_getdate(text, NULL);
		r->server_time = at == (time_t)-1 ? 0 : at;
	} else if (IS("x-amz-meta-twofold-put")) {
		copy_value(r->token, sizeof r->token, value, len);
	} else if (IS("x-amz-version-id")) {
		copy_value(r->version, sizeof r->version, value, len);
	} else if (IS("x-amz-object-lock-retain-until-date")) {
		copy_value(r->lock_until, sizeof r->lock_until, value, len);
	} else if (IS("x-amz-object-lock-mode")) {
		copy_value(r->lock_mode, sizeof r->lock_mode, value, len);
	} else if (IS("x-amz-bucket-region")) {
		copy_value(r->problem.region, sizeof r->problem.region, value, len);
	} else if (IS("x-amz-server-side-encryption")) {
		r->foreign_etag = strncmp(text, "aws:", 4) == 0;
	} else if (IS("x-amz-server-side-encryption-customer-algorithm")) {
		r->foreign_etag = true;
	}
#undef IS
}

static size_t on_header(char *data, size_t size, size_t count, void *cookie)
{
	struct try *t = cookie;
	struct s3_response *r = t->response;
	size_t len = size * count, end = len;
	while (end && is_blank(data[end - 1]))
		end--;
	if (end >= 12 && strncmp(data, "HTTP/", 5) == 0) {
		/* An interim answer may stand before the real one. */
		unsigned tries = r->tries;
		s3_response_done(r);
		r->tries = tries;
		r->length = UINT64_MAX;
		r->local_time = time(NULL);
		const char *blank = memchr(data, ' ', end);
		r->status = blank ? strtol(blank, NULL, 10) : 0;
		return len;
	}
	const char *colon = memchr(data, ':', end);
	if (!colon)
		return len;
	const char *value = colon + 1;
	while (value < data + end && (*value == ' ' || *value == '\t'))
		value++;
	note_header(r, data, (size_t)(colon - data), value, (size_t)(data + end - value));
	return len;
}

static void add(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

static int build_url(struct s3_http *h, struct try *t, struct error *err)
{
	const struct s3_request *q = t->request;
	buf_add_u8(&t->path, '/');
	if (h->config->path_style) {
		s3_encode(&t->path, h->config->bucket, false);
		if (q->key)
			buf_add_u8(&t->path, '/');
	}
	if (q->key)
		s3_encode(&t->path, q->key, true);
	buf_add_u8(&t->path, 0);
	for (size_t i = 0; i < q->parameter_count; i++) {
		if (i)
			buf_add_u8(&t->query, '&');
		s3_encode(&t->query, q->parameters[i].name, false);
		buf_add_u8(&t->query, '=');
		s3_encode(&t->query, q->parameters[i].value, false);
	}
	buf_add_u8(&t->query, 0);
	if (!buf_ok(&t->path) || !buf_ok(&t->query))
		return error_set(err, ERR_NOMEM, "out of memory");
	add(&t->url, h->base);
	add(&t->url, (char *)t->path.data);
	if (q->parameter_count) {
		buf_add_u8(&t->url, '?');
		add(&t->url, (char *)t->query.data);
	}
	buf_add_u8(&t->url, 0);
	return buf_ok(&t->url) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

static int add_line(struct try *t, const char *name, const char *value, struct error *err)
{
	CLEAN_FREE char *line = NULL;
	/* Without a value libcurl leaves out the header that it would send by itself. */
	if (asprintf(&line, "%s:%s%s", name, *value ? " " : "", value) < 0) {
		line = NULL;
		return error_set(err, ERR_NOMEM, "out of memory");
	}
	struct curl_slist *longer = curl_slist_append(t->headers, line);
	if (!longer)
		return error_set(err, ERR_NOMEM, "out of memory");
	t->headers = longer;
	return 0;
}

struct signed_headers {
	struct s3_header all[S3_HEADERS_MAX];
	size_t count;
	char date[S3_DATE_SIZE], hash[S3_HASH_SIZE], md5[32], range[64];
};

static void push(struct signed_headers *s, const char *name, const char *value)
{
	s->all[s->count++] = (struct s3_header){ name, value };
}

static void collect_headers(struct s3_http *h, const struct s3_request *q, const struct s3_credentials *c, struct signed_headers *s)
{
	time_t now = time(NULL);
	struct tm tm;
	unsigned char md5[16];
	gmtime_r(&now, &tm);
	strftime(s->date, sizeof s->date, "%Y%m%dT%H%M%SZ", &tm);
	s3_sha256(q->body_len ? q->body : "", q->body_len, s->hash);
	push(s, "host", h->host);
	push(s, "x-amz-content-sha256", s->hash);
	push(s, "x-amz-date", s->date);
	if (c->token)
		push(s, "x-amz-security-token", c->token);
	if (q->ranged) {
		snprintf(s->range, sizeof s->range, "bytes=%llu-%llu", (unsigned long long)q->offset, (unsigned long long)(q->offset + q->len - 1));
		push(s, "range", s->range);
	}
	if (q->body_len && s3_md5(q->body, q->body_len, md5)) {
		EVP_EncodeBlock((unsigned char *)s->md5, md5, sizeof md5);
		push(s, "content-md5", s->md5);
	}
	for (size_t i = 0; i < q->header_count; i++)
		push(s, q->headers[i].name, q->headers[i].value);
}

static int sign(struct s3_http *h, struct try *t, const struct s3_credentials *c, struct error *err)
{
	struct signed_headers s = { .count = 0 };
	CLEAN_BUF struct buf value = BUF_INIT;
	collect_headers(h, t->request, c, &s);
	struct s3_signing signing = {
		.method = t->request->method,
		.path = (char *)t->path.data,
		.query = (char *)t->query.data,
		.headers = s.all,
		.header_count = s.count,
		.payload_hash = s.hash,
		.date = s.date,
		.region = h->config->region,
		.credentials = c,
	};
	if (s3_sign(&signing, &value, err) < 0)
		return -1;
	buf_add_u8(&value, 0);
	if (!buf_ok(&value))
		return error_set(err, ERR_NOMEM, "out of memory");
	for (size_t i = 1; i < s.count; i++) /* the first is Host, which libcurl sends by itself */
		if (add_line(t, s.all[i].name, s.all[i].value, err) < 0)
			return -1;
	if (add_line(t, "Authorization", (char *)value.data, err) < 0 || add_line(t, "Expect", "", err) < 0)
		return -1;
	return add_line(t, "Content-Type", "", err);
}

static void set_options(struct s3_http *h, CURL *c, struct try *t)
{
	const struct s3_request *q = t->request;
	curl_easy_setopt(c, CURLOPT_URL, (char *)t->url.data);
	curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
	if (h->config->ca_file)
		curl_easy_setopt(c, CURLOPT_CAINFO, h->config->ca_file);
	if (strcmp(q->method, "HEAD") == 0) {
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	} else if (q->body || strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->body_len ? q->body : "");
		curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 20);
	}
	if (strcmp(q->method, "HEAD") != 0)
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
}

static CURLcode send_once(struct s3_http *h, const struct s3_request *request, const struct s3_credentials *c, struct s3_response *ret, char *why, size_t why_size)
{
	CLEAN(try_done) struct try t = { .http = h, .request = request, .response = ret, .path = BUF_INIT, .query = BUF_INIT, .url = BUF_INIT };
	unsigned tries = ret->tries;
	s3_response_done(ret);
	ret->tries = tries;
	if (build_url(h, &t, NULL) < 0 || sign(h, &t, c, NULL) < 0)
		return CURLE_OUT_OF_MEMORY;
	CURL *handle = take_handle(h);
	if (!handle)
		return CURLE_OUT_OF_MEMORY;
	set_options(h, handle, &t);
	set_pace(handle, &t);
	CURLcode code = curl_easy_perform(handle);
	if (code == CURLE_WRITE_ERROR && t.too_long && ret->status)
		code = CURLE_OK; /* the status says it all */
	snprintf(why, why_size, "%s", t.error[0] ? t.error : curl_easy_strerror(code));
	give_handle(h, handle);
	if (code == CURLE_OK && request->ranged && ret->status < 300 && fits(request, ret) && ret->received != request->len) {
		snprintf(why, why_size, "%zu of %zu bytes came", ret->received, request->len);
		code = CURLE_PARTIAL_FILE;
	}
	if (code == CURLE_OK && ret->status >= 300) {
		struct s3_problem p;
		s3_parse_problem(&p, ret->body.data, ret->body.len);
		if (!p.region[0])
			memcpy(p.region, ret->problem.region, sizeof p.region);
		ret->problem = p;
	}
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
		          h->host, why);
		break;
	case CURLE_SSL_CONNECT_ERROR:
		error_set(err, ERR_IO, "no secure connection to %s: %s; if the server speaks plain HTTP, say http:// in the endpoint", h->host, why);
		break;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		error_set(err, ERR_IO, "%s cannot be reached: %s; is the endpoint right, and the network up?", h->host, why);
		break;
	default: error_set(err, ERR_IO, "no answer from %s: %s", h->host, why);
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
	retry_begin(&retry, h->store, &policy);
	do {
		CLEAN(s3_credentials_done) struct s3_credentials c = { 0 };
		unsigned generation;
		if (copy_credentials(h, &c, &generation, err) < 0)
			return -1;
		ret->tries = retry.failed + 1;
		CURLcode code = send_once(h, request, &c, ret, why, sizeof why);
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
		return error_set(err, ERR_INVALID, "%s: the bucket is not in region %s at this endpoint%s%s; set region= in the location or AWS_REGION", what, h->config->region,
		                 p->region[0] ? " but in " : "", p->region);
	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
		if (strcmp(p->code, advices[i].code) == 0)
			return error_set(err, advices[i].kind, "%s: %s (%s)", what, advices[i].text, p->code);
	enum error_kind kind = r->status == 403 || r->status == 401 ? ERR_AUTH : r->status == 404 ? ERR_NOT_FOUND : r->status == 507 ? ERR_NO_SPACE : ERR_IO;
	return error_set(err, kind, "%s: the server answered %ld%s%s%s%s", what, r->status, p->code[0] ? " " : "", p->code, p->message[0] ? ": " : "", p->message);
}
