/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What leaves a bucket of S3: objects, with their versions where the bucket keeps any, and uploads that were never finished.
 */
#include <string.h>

#include "store/s3_internal.h"

#define VERSIONS_MAX 100u /* of one object, each removed by itself; what is below them is hidden */

/* --- removing ---------------------------------------------------------------------------- */

/* In a bucket that keeps versions this only hides the object. */
static int remove_plainly(struct s3_store *s, const char *whole, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "DELETE", .key = whole };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "remove s3://%s/%s", s->config.bucket, whole);
	if (r.status != 200 && r.status != 204 && (r.status != 404 || strcmp(r.problem.code, "NoSuchBucket") == 0))
		return s3_refused(s->http, &r, err, "remove s3://%s/%s", s->config.bucket, whole);
	atomic_store(&s->no_versions, !r.version[0]);
	return 0;
}

/* Removes the version that head describes. *ret_refused: it stays, as it is protected or these keys may not remove versions. */
static int remove_version(struct s3_store *s, const char *whole, const struct s3_response *head, bool *ret_refused, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "DELETE", .key = whole, .parameters = { { "versionId", head->version } }, .parameter_count = 1 };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "remove s3://%s/%s", s->config.bucket, whole);
	*ret_refused = r.status == 403;
	if (*ret_refused || r.status == 200 || r.status == 204 || (r.status == 404 && strcmp(r.problem.code, "NoSuchBucket") != 0))
		return 0;
	return s3_refused(s->http, &r, err, "remove s3://%s/%s", s->config.bucket, whole);
}

/* What Object Lock keeps is hidden instead, where little is lost by that; packs are nearly all of a repository, so they stay in sight until they can be removed. */
static bool may_be_hidden(const char *key)
{
	return strncmp(key, "packs/", 6) != 0;
}

/* In a bucket that keeps versions only removing a version gives its space back: the one in sight, and then what came to light below it (a put
 * that was repeated leaves two). */
static int take_away(struct store *base, const char *key, bool hide, struct error *err)
{
	struct s3_store *s = s3_of(base);
	if (store_check_key(base, key, err) < 0)
		return -1;
	CLEAN_FREE char *whole = s3_whole_key(s, key);
	if (!whole)
		return s3_no_memory(s, "remove", key, err);
	for (unsigned i = 0; i < VERSIONS_MAX && !atomic_load(&s->no_versions); i++) {
		CLEAN_RESPONSE struct s3_response head = S3_RESPONSE_INIT;
		bool refused = false;
		if (s3_head(s, whole, "remove", &head, err) < 0)
			return -1;
		if (head.status == 404)
			return 0;
		if (!head.version[0])
			break;
		if (remove_version(s, whole, &head, &refused, err) < 0)
			return -1;
		if (refused && s3_is_locked(&head) && !hide)
			return s3_say_locked(s, whole, &head, err);
		if (refused)
			break;
	}
	return remove_plainly(s, whole, err);
}

int s3_remove(struct store *base, const char *key, struct error *err)
{
	return take_away(base, key, may_be_hidden(key), err);
}

int s3_hide(struct store *base, const char *key, struct error *err)
{
	return take_away(base, key, true, err);
}

/* --- unfinished uploads ------------------------------------------------------------------- */

int s3_abort_upload(struct s3_store *s, const char *whole, const char *upload, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "DELETE", .key = whole, .parameters = { { "uploadId", upload } }, .parameter_count = 1 };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "give up the upload of s3://%s/%s", s->config.bucket, whole);
	if (r.status == 200 || r.status == 204 || r.status == 404)
		return 0;
	return s3_refused(s->http, &r, err, "give up the upload of s3://%s/%s", s->config.bucket, whole);
}

/* A server that cannot list them gives an empty page. */
static int uploads_page(struct s3_store *s, const struct s3_page *after, struct s3_page *ret, time_t *ret_now, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "GET" };
	if (after->next_key)
		q.parameters[q.parameter_count++] = (struct s3_header){ "key-marker", after->next_key };
	q.parameters[q.parameter_count++] = (struct s3_header){ "prefix", s->config.prefix };
	if (after->next_upload)
		q.parameters[q.parameter_count++] = (struct s3_header){ "upload-id-marker", after->next_upload };
	q.parameters[q.parameter_count++] = (struct s3_header){ "uploads", "" };
	if (s3_request(s->http, &q, &r, err) < 0)
		return error_add(err, "list unfinished uploads of %s", s->base.location);
	if (r.status == 501)
		return 0;
	if (r.status != 200)
		return s3_refused(s->http, &r, err, "list unfinished uploads of %s", s->base.location);
	if (s3_parse_uploads(ret, r.body.data, r.body.len, err) < 0)
		return error_add(err, "list unfinished uploads of %s", s->base.location);
	*ret_now = r.server_time ? r.server_time : r.local_time;
	return 0;
}

/* The server's clock tells an upload's age. */
static int sweep_page(struct s3_store *s, const struct s3_page *page, time_t now, uint64_t min_age, uint64_t *removed, struct error *err)
{
	size_t skip = strlen(s->config.prefix);
	for (size_t i = 0; i < page->count; i++) {
		const struct s3_listed *o = &page->items[i];
		bool ours = strncmp(o->key, s->config.prefix, skip) == 0 && store_key_valid(o->key + skip);
		if (!ours || now < o->begun || (uint64_t)(now - o->begun) < min_age)
			continue;
		if (s3_abort_upload(s, o->key, o->upload, err) < 0)
			return -1;
		++*removed;
	}
	return 0;
}

int s3_sweep(struct store *base, uint64_t min_age, uint64_t *ret_removed, struct error *err)
{
	struct s3_store *s = s3_of(base);
	CLEAN(s3_page_done) struct s3_page page = { 0 };
	uint64_t removed = 0;
	for (unsigned pages = 0; pages < PAGES_MAX; pages++) {
		struct s3_page next = { 0 };
		time_t now = 0;
		if (uploads_page(s, &page, &next, &now, err) < 0)
			return -1;
		s3_page_done(&page);
		page = next;
		if (sweep_page(s, &page, now, min_age, &removed, err) < 0)
			return -1;
		if (!page.more) {
			*ret_removed = removed;
			return 0;
		}
	}
	return error_set(err, ERR_CORRUPT, "list unfinished uploads of %s: the server's listing has no end", base->location);
}
