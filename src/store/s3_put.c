/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects on their way to S3. What fits one part is sent whole when it is committed. What is longer becomes a multipart upload, whose parts s3_upload.c sends while the object still grows.
 *
 * Every object carries a random mark of its put (x-amz-meta-twofold-put): when an answer got lost and the request was sent again, the mark tells
 * our own object from somebody else's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "store/s3_put.h"

struct s3_store *s3_put_store(const struct s3_put *p)
{
	return s3_of(p->base.store);
}

int s3_put_no_memory(const struct s3_put *p, struct error *err)
{
	return error_set(err, ERR_NOMEM, "write s3://%s/%s: out of memory", s3_put_store(p)->config.bucket, p->whole);
}

/* --- what every put sends ------------------------------------------------------------------ */

void s3_add_header(struct s3_request *q, const char *name, const char *value)
{
	q->headers[q->header_count++] = (struct s3_header){ name, value };
}

void s3_add_parameter(struct s3_request *q, const char *name, const char *value)
{
	q->parameters[q->parameter_count++] = (struct s3_header){ name, value };
}

void s3_put_describe(struct s3_put *p, struct s3_request *q)
{
	s3_add_header(q, "x-amz-meta-twofold-put", p->token);
	s3_lock_describe(s3_put_store(p), &p->lock, q);
}

/* Nothing relies on it: names are random, and some servers ignore it. */
static void add_condition(struct s3_put *p, struct s3_request *q)
{
	if (!atomic_load(&s3_put_store(p)->no_conditions))
		s3_add_header(q, "if-none-match", "*");
}

static bool refuses_condition(struct s3_put *p, const struct s3_response *r)
{
	if (r->status != 501 || atomic_load(&s3_put_store(p)->no_conditions))
		return false;
	atomic_store(&s3_put_store(p)->no_conditions, true);
	return true;
}

int s3_put_refused(const struct s3_put *p, const struct s3_response *r, struct error *err)
{
	if (p->lock.seconds && strcmp(r->problem.code, "InvalidRequest") == 0)
		return error_set(err, ERR_UNSUPPORTED, "write s3://%s/%s: the bucket does not lock objects: Object Lock is not switched on, which is done when a bucket is made", s3_put_store(p)->config.bucket,
		                 p->whole);
	return s3_refused(s3_put_store(p)->http, r, err, "write s3://%s/%s", s3_put_store(p)->config.bucket, p->whole);
}

bool s3_arrived_whole(const struct s3_put *p, const struct s3_response *r, const void *data, size_t len)
{
	unsigned char md5[16];
	char hex[33];
	if (s3_put_store(p)->config.opaque_etags || r->foreign_etag || strlen(r->etag) != 32 || strspn(r->etag, "0123456789abcdefABCDEF") != 32 ||
	    !s3_md5(data, len, md5))
		return true;
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", md5[i]);
	return strcasecmp(hex, r->etag) == 0;
}

int s3_put_damaged(const struct s3_put *p, const struct s3_response *r, struct error *err)
{
	return error_set(err, ERR_IO, "write s3://%s/%s: the server stored other bytes than were sent (its ETag is %.40s); if its ETags are no MD5s, add etag=opaque to the location",
	                 s3_put_store(p)->config.bucket, p->whole, r->etag);
}

/* --- the store's functions --------------------------------------------------------------------- */

static void put_free(struct s3_put *p)
{
	s3_give_buffer(s3_put_store(p)->uploader, p->part);
	free(p->whole);
	free(p->upload);
	free(p->sent);
	free(p);
}

int s3_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	(void)size_hint;
	if (store_check_key(s, key, err) < 0)
		return -1;
	struct s3_put *p = calloc(1, sizeof *p);
	uint8_t random[16];
	if (p)
		p->whole = s3_whole_key(s3_of(s), key);
	if (!p || !p->whole || getrandom(random, sizeof random, 0) != sizeof random) {
		free(p);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	}
	for (int i = 0; i < 16; i++)
		snprintf(p->token + 2 * i, 3, "%02x", random[i]);
	s3_lock_begin(s3_of(s), key, &p->lock);
	p->base.store = s;
	*ret = &p->base;
	return 0;
}

int s3_put_append(struct store_put *put, const void *data, size_t len, struct error *err)
{
	struct s3_put *p = (struct s3_put *)put;
	const uint8_t *from = data;
	while (len) {
		if (p->len == S3_PART && s3_hand_over(p, err) < 0)
			return -1;
		if (!p->part) {
			p->part = s3_take_buffer(s3_put_store(p)->uploader);
			if (!p->part)
				return s3_put_no_memory(p, err);
		}
		size_t n = len < S3_PART - p->len ? len : S3_PART - p->len;
		memcpy(p->part + p->len, from, n);
		p->len += n;
		from += n;
		len -= n;
	}
	return 0;
}

/* 1: the object there carries our mark. 0: it does not, or there is none. */
static int is_ours(struct s3_put *p, bool *ret_found, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	if (s3_head(s3_put_store(p), p->whole, "write", &r, err) < 0)
		return -1;
	*ret_found = r.status == 200;
	return *ret_found && strcmp(r.token, p->token) == 0;
}

static int exists(const struct s3_put *p, struct error *err)
{
	return error_set(err, ERR_EXISTS, "write s3://%s/%s: it is there already", s3_put_store(p)->config.bucket, p->whole);
}

/* The request that makes the object had no answer, or one that an earlier try of it may have caused: 0 where the object is ours, else failure. */
static int settle(struct s3_put *p, const struct s3_response *r, struct error *err)
{
	bool found = false;
	struct error why = err ? *err : (struct error){ 0 };
	int ours = is_ours(p, &found, err);
	if (ours != 0)
		return ours > 0 ? 0 : -1;
	if (r && r->status == 412 && found)
		return exists(p, err);
	if (r)
		return s3_put_refused(p, r, err);
	if (err)
		*err = why;
	return -1;
}

static int put_whole(struct s3_put *p, struct error *err)
{
	for (int attempt = 1;;) {
		CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
		struct s3_request q = { .method = "PUT", .key = p->whole, .body = p->part, .body_len = p->len };
		s3_put_describe(p, &q);
		if (attempt == 1 && !p->over) /* later ones replace what arrived damaged */
			add_condition(p, &q);
		if (s3_request(s3_put_store(p)->http, &q, &r, err) < 0) {
			error_add(err, "write s3://%s/%s", s3_put_store(p)->config.bucket, p->whole);
			return settle(p, NULL, err);
		}
		if (refuses_condition(p, &r))
			continue;
		if (r.status != 200)
			return r.status == 412 || r.tries > 1 ? settle(p, &r, err) : s3_put_refused(p, &r, err);
		if (s3_arrived_whole(p, &r, p->part ? p->part : (const uint8_t *)"", p->len))
			return 0;
		if (attempt++ == S3_DAMAGE_TRIES)
			return s3_put_damaged(p, &r, err);
	}
}

static void build_list(const struct s3_put *p, struct buf *b)
{
	static const char head[] = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", foot[] = "</CompleteMultipartUpload>";
	buf_add(b, head, sizeof head - 1);
	for (unsigned i = 0; i < p->parts; i++) {
		char row[160];
		int len = snprintf(row, sizeof row, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag></Part>", i + 1, p->sent[i].etag);
		buf_add(b, row, (size_t)len);
	}
	buf_add(b, foot, sizeof foot - 1);
}

/* All parts are there. */
static int complete(struct s3_put *p, struct error *err)
{
	CLEAN_BUF struct buf list = BUF_INIT;
	build_list(p, &list);
	if (!buf_ok(&list))
		return s3_put_no_memory(p, err);
	for (;;) {
		CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
		struct s3_request q = { .method = "POST", .key = p->whole, .body = list.data, .body_len = list.len };
		s3_add_parameter(&q, "uploadId", p->upload);
		add_condition(p, &q);
		if (s3_request(s3_put_store(p)->http, &q, &r, err) < 0) {
			error_add(err, "write s3://%s/%s", s3_put_store(p)->config.bucket, p->whole);
			return settle(p, NULL, err);
		}
		if (refuses_condition(p, &r))
			continue;
		/* The status is sent before the work is done: the document tells. */
		if (r.status == 200)
			s3_parse_problem(&r.problem, r.body.data, r.body.len);
		if (r.status == 200 && !r.problem.code[0])
			return 0;
		return settle(p, &r, err);
	}
}

static int commit(struct s3_put *p, struct error *err)
{
	bool found = false;
	if (p->parts && p->len && s3_hand_over(p, err) < 0)
		return -1;
	/* While the last parts are under way. */
	if (!p->over && is_ours(p, &found, err) < 0)
		return -1;
	if (!p->over && found)
		return exists(p, err);
	if (!p->parts)
		return put_whole(p, err);
	if (s3_wait_for_parts(p, err) < 0 || complete(p, err) < 0)
		return -1;
	return s3_lock_completed(s3_put_store(p), p->whole, &p->lock, err);
}

void s3_put_abort(struct store_put *put)
{
	struct s3_put *p = (struct s3_put *)put;
	s3_drop_parts(p);
	if (p->upload)
		s3_abort_upload(s3_put_store(p), p->whole, p->upload, NULL);
	put_free(p);
}

int s3_put_commit(struct store_put *put, struct error *err)
{
	struct s3_put *p = (struct s3_put *)put;
	if (commit(p, err) < 0) {
		s3_put_abort(put);
		return -1;
	}
	put_free(p);
	return 0;
}

/* S3 replaces an object at once by its own rules; where versions are kept, the old one stays as such. */
int s3_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct store_put *put;
	if (s3_put_begin(s, key, len, &put, err) < 0)
		return -1;
	((struct s3_put *)put)->over = true;
	if (s3_put_append(put, data, len, err) < 0) {
		s3_put_abort(put);
		return -1;
	}
	return s3_put_commit(put, err);
}
