/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One signed request and its answer: the address, the headers and their signature, what libcurl is told, what of the answer is kept.
 */
#include "store/s3_try.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/evp.h>

#include "store/limit.h"

#define CONNECT_SECONDS 15L
#define STALL_SECONDS 40L    /* no byte for so long: broken */
#define BODY_MAX (16u << 20)

struct try {
	const struct s3_target *target;
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
	struct store_rates *rates = t->target->rates;
	const struct store_watch *watch = t->target->store->watch;
	(void)down_total;
	(void)up_total;
	uint64_t more_up = up > t->sent ? (uint64_t)(up - t->sent) : 0, more_down = down > t->received ? (uint64_t)(down - t->received) : 0;
	t->sent = up;
	t->received = down;
	return rate_take(&rates->up, more_up, watch, NULL) < 0 || rate_take(&rates->down, more_down, watch, NULL) < 0;
}

static void set_pace(CURL *c, struct try *t)
{
	const struct store_rates *rates = t->target->rates;
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

static int build_url(const struct s3_target *to, struct try *t, struct error *err)
{
	const struct s3_request *q = t->request;
	buf_add_u8(&t->path, '/');
	if (to->config->path_style) {
		s3_encode(&t->path, to->config->bucket, false);
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
	add(&t->url, to->base);
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

static void collect_headers(const struct s3_target *to, const struct s3_request *q, const struct s3_credentials *c, struct signed_headers *s)
{
	time_t now = time(NULL);
	struct tm tm;
	unsigned char md5[16];
	gmtime_r(&now, &tm);
	strftime(s->date, sizeof s->date, "%Y%m%dT%H%M%SZ", &tm);
	s3_sha256(q->body_len ? q->body : "", q->body_len, s->hash);
	push(s, "host", to->host);
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

static int sign(const struct s3_target *to, struct try *t, const struct s3_credentials *c, struct error *err)
{
	struct signed_headers s = { .count = 0 };
	CLEAN_BUF struct buf value = BUF_INIT;
	collect_headers(to, t->request, c, &s);
	struct s3_signing signing = {
		.method = t->request->method,
		.path = (char *)t->path.data,
		.query = (char *)t->query.data,
		.headers = s.all,
		.header_count = s.count,
		.payload_hash = s.hash,
		.date = s.date,
		.region = to->config->region,
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

static void set_options(const struct s3_target *to, CURL *c, struct try *t)
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
	if (to->config->ca_file)
		curl_easy_setopt(c, CURLOPT_CAINFO, to->config->ca_file);
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

CURLcode s3_try(CURL *handle, const struct s3_target *to, const struct s3_request *request, const struct s3_credentials *c, struct s3_response *ret, char why[CURL_ERROR_SIZE])
{
	CLEAN(try_done) struct try t = { .target = to, .request = request, .response = ret, .path = BUF_INIT, .query = BUF_INIT, .url = BUF_INIT };
	unsigned tries = ret->tries;
	s3_response_done(ret);
	ret->tries = tries;
	if (build_url(to, &t, NULL) < 0 || sign(to, &t, c, NULL) < 0)
		return CURLE_OUT_OF_MEMORY;
	set_options(to, handle, &t);
	set_pace(handle, &t);
	CURLcode code = curl_easy_perform(handle);
	if (code == CURLE_WRITE_ERROR && t.too_long && ret->status)
		code = CURLE_OK; /* the status says it all */
	snprintf(why, CURL_ERROR_SIZE, "%s", t.error[0] ? t.error : curl_easy_strerror(code));
	if (code == CURLE_OK && request->ranged && ret->status < 300 && fits(request, ret) && ret->received != request->len) {
		snprintf(why, CURL_ERROR_SIZE, "%zu of %zu bytes came", ret->received, request->len);
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
