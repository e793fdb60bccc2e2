/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects in a bucket of S3, or of anything that speaks its language (Ceph's gateway and others): s3://bucket/prefix.
 *
 * The object KEY is the bucket's object prefix/KEY. Other objects below the prefix, whose names no key can be, are left alone and not listed.
 * docs/STORES.md says what is asked of a server.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/s3_internal.h"


char *s3_whole_key(const struct s3_store *s, const char *key)
{
	char *whole = NULL;
	return asprintf(&whole, "%s%s", s->config.prefix, key) < 0 ? NULL : whole;
}

int s3_no_memory(const struct s3_store *s, const char *verb, const char *key, struct error *err)
{
	return error_set(err, ERR_NOMEM, "%s %s/%s: out of memory", verb, s->base.location, key);
}

/* --- reading ----------------------------------------------------------------------- */

/* The answer to HEAD has no document that says why: a GET of one byte has. */
static int ask_why(struct s3_store *s, const char *whole, const char *verb, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	char byte;
	struct s3_request q = { .method = "GET", .key = whole, .ranged = true, .into = &byte, .len = 1 };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "%s s3://%s/%s", verb, s->config.bucket, whole);
	if (r.status < 300)
		return error_set(err, ERR_AUTH, "%s s3://%s/%s: the server gives the object, but refuses to describe it (HEAD)", verb, s->config.bucket, whole);
	return s3_refused(s->http, &r, err, "%s s3://%s/%s", verb, s->config.bucket, whole);
}

int s3_head(struct s3_store *s, const char *whole, const char *verb, struct s3_response *ret, struct error *err)
{
	struct s3_request q = { .method = "HEAD", .key = whole };
	if (s3_request(s->http, &q, ret, err) < 0)
		return error_add(err, "%s s3://%s/%s", verb, s->config.bucket, whole);
	if (ret->status == 200 || ret->status == 404)
		return 0;
	return ask_why(s, whole, verb, err);
}

static int s3_stat(struct store *base, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	struct s3_store *s = s3_of(base);
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	if (store_check_key(base, key, err) < 0)
		return -1;
	CLEAN_FREE char *whole = s3_whole_key(s, key);
	if (!whole)
		return s3_no_memory(s, "look at", key, err);
	if (s3_head(s, whole, "look at", &r, err) < 0)
		return -1;
	if (r.status == 200 && r.length == UINT64_MAX)
		return error_set(err, ERR_CORRUPT, "look at %s/%s: the server does not say how long it is", base->location, key);
	*ret_found = r.status == 200;
	*ret_size = *ret_found ? r.length : 0;
	return 0;
}

static int ends_early(const struct s3_store *s, const char *key, uint64_t size, struct error *err)
{
	if (size == UINT64_MAX)
		return error_set(err, ERR_CORRUPT, "read %s/%s: it ends too early", s->base.location, key);
	return error_set(err, ERR_CORRUPT, "read %s/%s: it ends after %llu bytes", s->base.location, key, (unsigned long long)size);
}

/* No bytes from offset: is the object there, and that long? */
static int get_nothing(struct s3_store *s, const char *key, uint64_t offset, struct error *err)
{
	bool found;
	uint64_t size;
	if (s3_stat(&s->base, key, &found, &size, err) < 0)
		return -1;
	if (!found)
		return error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", s->base.location, key);
	return offset <= size ? 0 : ends_early(s, key, size, err);
}

static int s3_get(struct store *base, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct s3_store *s = s3_of(base);
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	if (store_check_key(base, key, err) < 0)
		return -1;
	if (offset > (uint64_t)INT64_MAX - len)
		return ends_early(s, key, UINT64_MAX, err);
	if (!len)
		return get_nothing(s, key, offset, err);
	CLEAN_FREE char *whole = s3_whole_key(s, key);
	if (!whole)
		return s3_no_memory(s, "read", key, err);
	struct s3_request q = { .method = "GET", .key = whole, .ranged = true, .offset = offset, .into = data, .len = len };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "read %s/%s", base->location, key);
	if (r.received == len)
		return 0;
	if (r.status == 404 && strcmp(r.problem.code, "NoSuchBucket") != 0)
		return error_set(err, ERR_NOT_FOUND, "read %s/%s: there is no such object", base->location, key);
	if (r.status == 416)
		return ends_early(s, key, UINT64_MAX, err);
	if (r.status == 206 && r.has_range && r.first == offset && r.last < offset + len - 1)
		return ends_early(s, key, r.total, err);
	if (r.status == 206 || r.status == 200)
		return error_set(err, ERR_CORRUPT, "read %s/%s: the server answered with other bytes than those asked for; does it know ranges?", base->location, key);
	return s3_refused(s->http, &r, err, "read %s/%s", base->location, key);
}

/* --- listing -------------------------------------------------------------------------- */

static int list_page(struct s3_store *s, const char *whole_prefix, const char *token, struct s3_page *ret, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "GET" };
	if (token)
		q.parameters[q.parameter_count++] = (struct s3_header){ "continuation-token", token };
	q.parameters[q.parameter_count++] = (struct s3_header){ "encoding-type", "url" };
	q.parameters[q.parameter_count++] = (struct s3_header){ "list-type", "2" };
	q.parameters[q.parameter_count++] = (struct s3_header){ "prefix", whole_prefix };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "list s3://%s/%s", s->config.bucket, whole_prefix);
	if (r.status != 200)
		return s3_refused(s->http, &r, err, "list s3://%s/%s", s->config.bucket, whole_prefix);
	if (s3_parse_objects(ret, r.body.data, r.body.len, err) < 0)
		return error_add(err, "list s3://%s/%s", s->config.bucket, whole_prefix);
	return 0;
}

/* What is no key of ours under the prefix is somebody else's. */
static int hand_out(const struct s3_store *s, const struct s3_page *page, const char *whole_prefix, store_list_fn fn, void *cookie)
{
	size_t skip = strlen(s->config.prefix);
	for (size_t i = 0; i < page->count; i++) {
		const struct s3_listed *o = &page->items[i];
		if (strncmp(o->key, whole_prefix, strlen(whole_prefix)) != 0 || !store_key_valid(o->key + skip))
			continue;
		int result = fn(cookie, o->key + skip, o->size);
		if (result)
			return result;
	}
	return 0;
}

static int s3_list(struct store *base, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	struct s3_store *s = s3_of(base);
	CLEAN_FREE char *token = NULL;
	if (store_check_prefix(base, prefix, err) < 0)
		return -1;
	CLEAN_FREE char *whole = s3_whole_key(s, prefix);
	if (!whole)
		return s3_no_memory(s, "list", prefix, err);
	for (unsigned pages = 0; pages < PAGES_MAX; pages++) {
		struct s3_page page = { 0 };
		if (list_page(s, whole, token, &page, err) < 0)
			return -1;
		bool more = page.more, stuck = more && token && strcmp(token, page.next_key) == 0;
		free(token);
		token = TAKE(page.next_key);
		int result = stuck ? 0 : hand_out(s, &page, whole, fn, cookie);
		s3_page_done(&page);
		if (result || (!more && !stuck))
			return result;
		if (stuck)
			break;
	}
	return error_set(err, ERR_CORRUPT, "list s3://%s/%s: the server's listing has no end", s->config.bucket, whole);
}

/* --- opening -------------------------------------------------------------------------------- */

static void s3_close(struct store *base)
{
	struct s3_store *s = s3_of(base);
	s3_uploader_free(s->uploader);
	s3_http_free(s->http);
	s3_config_done(&s->config);
	free(base->location);
	free(s);
}

static int s3_facts(struct store *base, struct store_facts *ret, struct error *err)
{
	struct s3_store *s = s3_of(base);
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct timespec before;
	clock_gettime(CLOCK_REALTIME, &before);
	struct s3_request q = { .method = "HEAD" };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "look at %s", base->location);
	/* The header Date has whole seconds: their middle is meant. */
	if (r.server_time) {
		ret->has_clock = true;
		ret->clock_ahead = ((int64_t)r.server_time - before.tv_sec) * 1000 + 500 - before.tv_nsec / 1000000;
	}
	return 0;
}

static void s3_set_rates(struct store *base, struct store_rates *rates)
{
	s3_http_set_rates(s3_of(base)->http, rates);
}

/* One that is not empty is refused. */
static void s3_unmake(struct store *base)
{
	struct s3_store *s = s3_of(base);
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "DELETE" };
	if (s->made_bucket)
		s3_request(s->http, &q, &r, NULL);
	s->made_bucket = false;
}

static const struct store_ops s3_ops = {
	.name = "S3",
	.put_begin = s3_put_begin,
	.put_append = s3_put_append,
	.put_commit = s3_put_commit,
	.put_abort = s3_put_abort,
	.get = s3_get,
	.stat = s3_stat,
	.list = s3_list,
	.remove = s3_remove,
	.replace = s3_replace,
	.close = s3_close,
	.sweep = s3_sweep,
	.facts = s3_facts,
	.lock_new = s3_lock_new,
	.extend_lock = s3_extend_lock,
	.locked_until = s3_locked_until,
	.hide = s3_hide,
	.set_rates = s3_set_rates,
	.unmake = s3_unmake,
};

static int make_bucket(struct s3_store *s, bool locking, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	char body[256] = "";
	/* Amazon takes every region here but its first one. */
	if (strcmp(s->config.region, "us-east-1") != 0)
		snprintf(body, sizeof body,
		         "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>%.100s</LocationConstraint></CreateBucketConfiguration>",
		         s->config.region);
	struct s3_request q = { .method = "PUT", .body = body, .body_len = strlen(body) };
	if (locking)
		q.headers[q.header_count++] = (struct s3_header){ "x-amz-bucket-object-lock-enabled", "true" };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "make the bucket %s", s->config.bucket);
	s->made_bucket = r.status == 200;
	if (r.status == 200 || strcmp(r.problem.code, "BucketAlreadyOwnedByYou") == 0)
		return 0;
	return s3_refused(s->http, &r, err, "make the bucket %s, which is missing", s->config.bucket);
}

/* One small listing shows at once whether server, keys, region and bucket are right. */
static int check_bucket(struct s3_store *s, enum store_create create, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = {
		.method = "GET",
		.parameters = { { "list-type", "2" }, { "max-keys", "1" }, { "prefix", s->config.prefix } },
		.parameter_count = 3,
	};
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "open %s", s->base.location);
	if (r.status == 200)
		return 0;
	if (strcmp(r.problem.code, "NoSuchBucket") == 0 && create)
		return make_bucket(s, create == STORE_CREATE_LOCKING, err);
	return s3_refused(s->http, &r, err, "open %s", s->base.location);
}

int store_open_s3(struct store **ret, const char *location, enum store_create create, struct error *err)
{
	struct s3_config config;
	if (s3_config_parse(&config, location, err) < 0)
		return -1;
	struct s3_store *s = calloc(1, sizeof *s);
	if (!s) {
		s3_config_done(&config);
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	}
	s->config = config;
	s->base.ops = &s3_ops;
	s->base.promises = (struct store_promises){
		.atomic_put = true,
		.conditional_put = false, /* seen on a versioned bucket of Ceph 16: all of twelve won */
		.durable_put = true,
		.checksum = true,
		.remote = true,
		.list_lag = 0,
		.commits = 4,
	};
	size_t prefix = strlen(config.prefix);
	if (asprintf(&s->base.location, "s3://%s%s%.*s", config.bucket, prefix ? "/" : "", prefix ? (int)prefix - 1 : 0, config.prefix) < 0) {
		s->base.location = NULL;
		s3_close(&s->base);
		return error_set(err, ERR_NOMEM, "open %s: out of memory", location);
	}
	int done = s3_http_new(&s->http, &s->base, &s->config, err);
	if (done < 0)
		error_add(err, "open %s", s->base.location);
	if (done < 0 || s3_uploader_new(&s->uploader, err) < 0 || check_bucket(s, create, err) < 0) {
		s3_close(&s->base);
		return -1;
	}
	*ret = &s->base;
	return 0;
}
