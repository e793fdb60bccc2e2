/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Object Lock: versions of objects that the bucket keeps until a date. All dates are of the server's clock, which this machine knows by every answer.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "store/s3_internal.h"

void s3_lock_new(struct store *base, const struct store_locks *locks)
{
	s3_of(base)->locks = locks;
}

static const char *mode_name(const struct s3_store *s)
{
	return s->locks && s->locks->mode == STORE_LOCK_GOVERNANCE ? "GOVERNANCE" : "COMPLIANCE";
}

void s3_lock_begin(const struct s3_store *s, const char *key, struct s3_lock *ret)
{
	*ret = (struct s3_lock){ .mode = mode_name(s), .seconds = s->locks ? s->locks->seconds(s->locks->cookie, key) : 0 };
}

static void date_text(time_t at, char ret[S3_LOCK_DATE])
{
	struct tm tm;
	if (!gmtime_r(&at, &tm) || !strftime(ret, S3_LOCK_DATE, "%Y-%m-%dT%H:%M:%SZ", &tm))
		ret[0] = 0;
}

void s3_lock_describe(const struct s3_store *s, struct s3_lock *lock, struct s3_request *q)
{
	if (!lock->seconds)
		return;
	date_text(s3_now(s->http) + (time_t)lock->seconds, lock->until);
	q->headers[q->header_count++] = (struct s3_header){ "x-amz-object-lock-mode", lock->mode };
	q->headers[q->header_count++] = (struct s3_header){ "x-amz-object-lock-retain-until-date", lock->until };
}

/* --- looking ----------------------------------------------------------------------------- */

/* A server that has a date that cannot be read means it so: it is locked. */
bool s3_is_locked(const struct s3_response *head)
{
	time_t now = head->server_time ? head->server_time : head->local_time, until = s3_parse_time(head->lock_until);
	return head->lock_until[0] && (until == -1 || until > now);
}

int s3_say_locked(const struct s3_store *s, const char *whole, const struct s3_response *head, struct error *err)
{
	char text[64] = "a date that the server gives in no known form";
	time_t until = s3_parse_time(head->lock_until);
	struct tm tm;
	if (until != -1 && gmtime_r(&until, &tm))
		strftime(text, sizeof text, "%F %H:%M UTC", &tm);
	return error_set(err, ERR_PROTECTED, "remove s3://%s/%s: the bucket's Object Lock protects it until %s", s->config.bucket, whole, text);
}

int s3_locked_until(struct store *base, const char *key, int64_t *ret, int64_t *ret_now, struct error *err)
{
	struct s3_store *s = s3_of(base);
	CLEAN_RESPONSE struct s3_response head = S3_RESPONSE_INIT;
	if (store_check_key(base, key, err) < 0)
		return -1;
	CLEAN_FREE char *whole = s3_whole_key(s, key);
	if (!whole)
		return s3_no_memory(s, "look at", key, err);
	if (s3_head(s, whole, "look at", &head, err) < 0)
		return -1;
	time_t until = s3_parse_time(head.lock_until);
	*ret = head.status != 200 || !head.lock_until[0] ? 0 : until == -1 ? INT64_MAX : until;
	*ret_now = s3_now(s->http);
	return 0;
}

/* --- extending ------------------------------------------------------------------------------- */

/* Whether the lock lasts for so long. A hundredth is no matter: it is the time between asking and looking. */
static bool lasts(const struct s3_store *s, const struct s3_response *head, uint64_t seconds)
{
	time_t until = s3_parse_time(head->lock_until);
	return head->lock_until[0] && (until == -1 || until >= s3_now(s->http) + (time_t)(seconds - seconds / 100) - 1);
}

static int put_retention(struct s3_store *s, const char *whole, const char *mode, uint64_t seconds, struct s3_response *ret, struct error *err)
{
	char body[256], until[S3_LOCK_DATE];
	date_text(s3_now(s->http) + (time_t)seconds, until);
	snprintf(body, sizeof body, "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>%.16s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>", mode, until);
	struct s3_request q = { .method = "PUT", .key = whole, .parameters = { { "retention", "" } }, .parameter_count = 1, .body = body, .body_len = strlen(body) };
	return s3_request(s->http, &q, ret, err) < 0 ? error_add(err, "lock s3://%s/%s", s->config.bucket, whole) : 0;
}

static bool is_missing(const struct s3_response *r)
{
	/* 405: what is in sight is a mark that hides the object. */
	return (r->status == 404 && strcmp(r->problem.code, "NoSuchBucket") != 0) || r->status == 405;
}

/* The server refused: is the lock longer already? Or of the other mode, which stays as it is? */
static int extend_refused(struct s3_store *s, const char *whole, const char *mode, uint64_t seconds, const struct s3_response *refused, bool *ret_found, struct error *err)
{
	CLEAN_RESPONSE struct s3_response head = S3_RESPONSE_INIT;
	CLEAN_RESPONSE struct s3_response again = S3_RESPONSE_INIT;
	if (s3_head(s, whole, "lock", &head, err) < 0)
		return -1;
	*ret_found = head.status == 200;
	if (!*ret_found || lasts(s, &head, seconds))
		return 0;
	if (!head.lock_mode[0] || strcmp(head.lock_mode, mode) == 0)
		return s3_refused(s->http, refused, err, "lock s3://%s/%s", s->config.bucket, whole);
	if (put_retention(s, whole, head.lock_mode, seconds, &again, err) < 0)
		return -1;
	return again.status == 200 ? 0 : s3_refused(s->http, &again, err, "lock s3://%s/%s", s->config.bucket, whole);
}

static int extend(struct s3_store *s, const char *whole, const char *mode, uint64_t seconds, bool *ret_found, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	if (put_retention(s, whole, mode, seconds, &r, err) < 0)
		return -1;
	*ret_found = !is_missing(&r);
	if (!*ret_found || r.status == 200 || r.status == 204)
		return 0;
	return r.status == 403 ? extend_refused(s, whole, mode, seconds, &r, ret_found, err) : s3_refused(s->http, &r, err, "lock s3://%s/%s", s->config.bucket, whole);
}

int s3_extend_lock(struct store *base, const char *key, uint64_t seconds, bool *ret_found, struct error *err)
{
	struct s3_store *s = s3_of(base);
	if (store_check_key(base, key, err) < 0)
		return -1;
	CLEAN_FREE char *whole = s3_whole_key(s, key);
	return whole ? extend(s, whole, mode_name(s), seconds, ret_found, err) : s3_no_memory(s, "lock", key, err);
}

int s3_lock_completed(struct s3_store *s, const char *whole, const struct s3_lock *lock, struct error *err)
{
	CLEAN_RESPONSE struct s3_response head = S3_RESPONSE_INIT;
	bool found = true;
	if (!lock->seconds)
		return 0;
	if (s3_head(s, whole, "lock", &head, err) < 0)
		return -1;
	if (head.status == 200 && lasts(s, &head, lock->seconds))
		return 0;
	if (extend(s, whole, lock->mode, lock->seconds, &found, err) < 0)
		return -1;
	return found ? 0 : error_set(err, ERR_NOT_FOUND, "lock s3://%s/%s: it is gone as soon as it was written", s->config.bucket, whole);
}
