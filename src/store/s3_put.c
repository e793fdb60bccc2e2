/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects on their way to S3. What fits one part is sent whole when it is committed. What is longer becomes a multipart upload: each part is handed
 * to a few threads as soon as it is full, so that whoever appends (a packer, under its lock) goes on; at most IN_FLIGHT parts wait or are being
 * sent, then appending waits for room. A put that waits to be committed holds one part's buffer and needs no more room than that, so nothing deadlocks.
 *
 * Every object carries a random mark of its put (x-amz-meta-twofold-put): when an answer got lost and the request was sent again, the mark tells
 * our own object from somebody else's.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "store/s3_internal.h"

#define IN_FLIGHT 4u
#define SPARE_MAX 4u       /* buffers kept for the next parts */
#define PARTS_MAX 10000u   /* S3's limit */
#define DAMAGE_TRIES 3     /* how often a part is sent anew that arrived as something else */

struct sent_part {
	char etag[72];
};

struct s3_put {
	struct store_put base;
	char *whole, token[33];
	struct s3_lock lock;
	uint8_t *part;           /* being filled; S3_PART bytes, or NULL */
	size_t len;              /* of it */
	unsigned parts;          /* handed to the uploader */
	/* The uploader's lock guards all below. */
	char *upload;            /* id of the multipart upload, once it is begun */
	bool beginning;
	unsigned pending;        /* parts that wait or are being sent */
	struct sent_part *sent;
	size_t sent_room;
	struct error error;
};

struct job {
	struct job *next;
	struct s3_put *put;
	uint8_t *part;
	size_t len;
	unsigned number; /* from 1 */
};

struct s3_uploader {
	pthread_mutex_t lock;
	pthread_cond_t work, changed; /* a job came, or stop; a job ended */
	struct job *first, **last;
	unsigned in_flight;
	uint8_t *spare[SPARE_MAX];
	unsigned spare_count;
	pthread_t threads[IN_FLIGHT];
	unsigned thread_count;
	bool stop;
};

static struct s3_store *store_of(const struct s3_put *p)
{
	return s3_of(p->base.store);
}

static int out_of_memory(const struct s3_put *p, struct error *err)
{
	return error_set(err, ERR_NOMEM, "write s3://%s/%s: out of memory", store_of(p)->config.bucket, p->whole);
}

/* --- buffers, not of malloc: they go back to the system whole ------------------------- */

static uint8_t *take_buffer(struct s3_uploader *u)
{
	pthread_mutex_lock(&u->lock);
	uint8_t *b = u->spare_count ? u->spare[--u->spare_count] : NULL;
	pthread_mutex_unlock(&u->lock);
	if (b)
		return b;
	void *fresh = mmap(NULL, S3_PART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return fresh == MAP_FAILED ? NULL : fresh;
}

static void give_buffer(struct s3_uploader *u, uint8_t *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&u->lock);
	bool kept = u->spare_count < SPARE_MAX;
	if (kept)
		u->spare[u->spare_count++] = b;
	pthread_mutex_unlock(&u->lock);
	if (!kept)
		munmap(b, S3_PART);
}

/* --- what every put sends ------------------------------------------------------------------ */

static void add_header(struct s3_request *q, const char *name, const char *value)
{
	q->headers[q->header_count++] = (struct s3_header){ name, value };
}

static void add_parameter(struct s3_request *q, const char *name, const char *value)
{
	q->parameters[q->parameter_count++] = (struct s3_header){ name, value };
}

/* Headers of the request that makes the object. */
static void describe(struct s3_put *p, struct s3_request *q)
{
	add_header(q, "x-amz-meta-twofold-put", p->token);
	s3_lock_describe(store_of(p), &p->lock, q);
}

/* Nothing relies on it: names are random, and some servers ignore it. */
static void add_condition(struct s3_put *p, struct s3_request *q)
{
	if (!atomic_load(&store_of(p)->no_conditions))
		add_header(q, "if-none-match", "*");
}

static bool refuses_condition(struct s3_put *p, const struct s3_response *r)
{
	if (r->status != 501 || atomic_load(&store_of(p)->no_conditions))
		return false;
	atomic_store(&store_of(p)->no_conditions, true);
	return true;
}

static int refused(const struct s3_put *p, const struct s3_response *r, struct error *err)
{
	if (p->lock.seconds && strcmp(r->problem.code, "InvalidRequest") == 0)
		return error_set(err, ERR_UNSUPPORTED, "write s3://%s/%s: the bucket does not lock objects: Object Lock is not switched on, which is done when a bucket is made", store_of(p)->config.bucket,
		                 p->whole);
	return s3_refused(store_of(p)->http, r, err, "write s3://%s/%s", store_of(p)->config.bucket, p->whole);
}

/* Did what arrived have this MD5? Only where the ETag is one. */
static bool arrived_whole(const struct s3_put *p, const struct s3_response *r, const void *data, size_t len)
{
	unsigned char md5[16];
	char hex[33];
	if (store_of(p)->config.opaque_etags || r->foreign_etag || strlen(r->etag) != 32 || strspn(r->etag, "0123456789abcdefABCDEF") != 32 ||
	    !s3_md5(data, len, md5))
		return true;
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", md5[i]);
	return strcasecmp(hex, r->etag) == 0;
}

static int damaged(const struct s3_put *p, const struct s3_response *r, struct error *err)
{
	return error_set(err, ERR_IO, "write s3://%s/%s: the server stored other bytes than were sent (its ETag is %.40s); if its ETags are no MD5s, add etag=opaque to the location",
	                 store_of(p)->config.bucket, p->whole, r->etag);
}

/* --- parts: on the uploader's threads -------------------------------------------------------- */

static int begin_upload(struct s3_put *p, char **ret, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "POST", .key = p->whole };
	add_parameter(&q, "uploads", "");
	describe(p, &q);
	if (s3_request(store_of(p)->http, &q, &r, err) < 0)
		return error_add(err, "write s3://%s/%s", store_of(p)->config.bucket, p->whole);
	if (r.status != 200)
		return refused(p, &r, err);
	if (s3_parse_upload_id(ret, r.body.data, r.body.len, err) < 0)
		return error_add(err, "write s3://%s/%s", store_of(p)->config.bucket, p->whole);
	return 0;
}

/* With the lock held: the upload's id is there afterwards, or the put has failed. */
static void need_upload(struct s3_uploader *u, struct s3_put *p)
{
	while (p->beginning)
		pthread_cond_wait(&u->changed, &u->lock);
	if (p->upload || p->error.kind != ERR_NONE)
		return;
	p->beginning = true;
	pthread_mutex_unlock(&u->lock);
	char *id = NULL;
	struct error err = { 0 };
	int done = begin_upload(p, &id, &err);
	pthread_mutex_lock(&u->lock);
	p->beginning = false;
	p->upload = id;
	if (done < 0)
		error_keep_first(&p->error, &err);
	pthread_cond_broadcast(&u->changed);
}

static int send_part(struct s3_put *p, const struct job *job, const char *upload, struct sent_part *ret, struct error *err)
{
	char number[16];
	snprintf(number, sizeof number, "%u", job->number);
	for (int attempt = 1;; attempt++) {
		CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
		struct s3_request q = { .method = "PUT", .key = p->whole, .body = job->part, .body_len = job->len };
		add_parameter(&q, "partNumber", number);
		add_parameter(&q, "uploadId", upload);
		if (s3_request(store_of(p)->http, &q, &r, err) < 0)
			return error_add(err, "write s3://%s/%s", store_of(p)->config.bucket, p->whole);
		if (r.status != 200)
			return refused(p, &r, err);
		if (!r.etag[0] || strspn(r.etag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+/=") != strlen(r.etag))
			return error_set(err, ERR_CORRUPT, "write s3://%s/%s: the server's answer has no usable ETag", store_of(p)->config.bucket, p->whole);
		if (arrived_whole(p, &r, job->part, job->len)) {
			memcpy(ret->etag, r.etag, sizeof ret->etag);
			return 0;
		}
		if (attempt == DAMAGE_TRIES)
			return damaged(p, &r, err);
	}
}

/* With the lock held. */
static int note_sent(struct s3_put *p, unsigned number, const struct sent_part *sent)
{
	if (number > p->sent_room) {
		size_t room = number + 16;
		struct sent_part *grown = realloc(p->sent, room * sizeof *grown);
		if (!grown)
			return -1;
		memset(grown + p->sent_room, 0, (room - p->sent_room) * sizeof *grown);
		p->sent = grown;
		p->sent_room = room;
	}
	p->sent[number - 1] = *sent;
	return 0;
}

/* Called and returns with the lock held. */
static void work_on(struct s3_uploader *u, struct job *job)
{
	struct s3_put *p = job->put;
	struct sent_part sent = { "" };
	struct error err = { 0 };
	need_upload(u, p);
	if (p->error.kind == ERR_NONE) {
		const char *upload = p->upload; /* stays as it is while parts are pending */
		pthread_mutex_unlock(&u->lock);
		int done = send_part(p, job, upload, &sent, &err);
		pthread_mutex_lock(&u->lock);
		if (done == 0 && note_sent(p, job->number, &sent) < 0)
			done = out_of_memory(p, &err);
		if (done < 0)
			error_keep_first(&p->error, &err);
	}
	pthread_mutex_unlock(&u->lock);
	give_buffer(u, job->part);
	free(job);
	pthread_mutex_lock(&u->lock);
	p->pending--;
	u->in_flight--;
	pthread_cond_broadcast(&u->changed);
}

static void *upload_thread(void *arg)
{
	struct s3_uploader *u = arg;
	pthread_mutex_lock(&u->lock);
	for (;;) {
		struct job *job = u->first;
		if (job) {
			u->first = job->next;
			if (!u->first)
				u->last = &u->first;
			work_on(u, job);
		} else if (u->stop) {
			break;
		} else {
			pthread_cond_wait(&u->work, &u->lock);
		}
	}
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

int s3_uploader_new(struct s3_uploader **ret, struct error *err)
{
	struct s3_uploader *u = calloc(1, sizeof *u);
	if (!u)
		return error_set(err, ERR_NOMEM, "out of memory");
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->work, NULL);
	pthread_cond_init(&u->changed, NULL);
	u->last = &u->first;
	*ret = u;
	return 0;
}

void s3_uploader_free(struct s3_uploader *u)
{
	if (!u)
		return;
	pthread_mutex_lock(&u->lock);
	u->stop = true;
	pthread_cond_broadcast(&u->work);
	pthread_mutex_unlock(&u->lock);
	for (unsigned i = 0; i < u->thread_count; i++)
		pthread_join(u->threads[i], NULL);
	for (unsigned i = 0; i < u->spare_count; i++)
		munmap(u->spare[i], S3_PART);
	pthread_cond_destroy(&u->changed);
	pthread_cond_destroy(&u->work);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

/* With the lock held: one more thread for each job in flight, up to IN_FLIGHT. */
static int need_thread(struct s3_uploader *u, struct error *err)
{
	if (u->thread_count == IN_FLIGHT || u->thread_count > u->in_flight)
		return 0;
	int sys = pthread_create(&u->threads[u->thread_count], NULL, upload_thread, u);
	if (sys && !u->thread_count)
		return error_sys(err, sys, "start a thread that sends to S3");
	if (!sys)
		u->thread_count++;
	return 0;
}

/* The filled part goes to the threads; waits while too many are under way. */
static int hand_over(struct s3_put *p, struct error *err)
{
	struct s3_uploader *u = store_of(p)->uploader;
	struct job *job = malloc(sizeof *job);
	if (!job)
		return out_of_memory(p, err);
	if (p->parts == PARTS_MAX) {
		free(job);
		return error_set(err, ERR_INVALID, "write s3://%s/%s: it has more than %u parts", store_of(p)->config.bucket, p->whole, PARTS_MAX);
	}
	pthread_mutex_lock(&u->lock);
	while (u->in_flight >= IN_FLIGHT && p->error.kind == ERR_NONE)
		pthread_cond_wait(&u->changed, &u->lock);
	int done = 0;
	if (p->error.kind != ERR_NONE) {
		if (err)
			*err = p->error;
		done = -1;
	} else if (need_thread(u, err) < 0) {
		done = -1;
	} else {
		*job = (struct job){ NULL, p, TAKE(p->part), p->len, ++p->parts };
		p->len = 0;
		p->pending++;
		u->in_flight++;
		*u->last = TAKE(job);
		u->last = &(*u->last)->next;
		pthread_cond_signal(&u->work);
	}
	pthread_mutex_unlock(&u->lock);
	free(job);
	return done;
}

/* --- the store's functions --------------------------------------------------------------------- */

static void put_free(struct s3_put *p)
{
	give_buffer(store_of(p)->uploader, p->part);
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
		if (p->len == S3_PART && hand_over(p, err) < 0)
			return -1;
		if (!p->part) {
			p->part = take_buffer(store_of(p)->uploader);
			if (!p->part)
				return out_of_memory(p, err);
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
	if (s3_head(store_of(p), p->whole, "write", &r, err) < 0)
		return -1;
	*ret_found = r.status == 200;
	return *ret_found && strcmp(r.token, p->token) == 0;
}

static int exists(const struct s3_put *p, struct error *err)
{
	return error_set(err, ERR_EXISTS, "write s3://%s/%s: it is there already", store_of(p)->config.bucket, p->whole);
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
		return refused(p, r, err);
	if (err)
		*err = why;
	return -1;
}

static int put_whole(struct s3_put *p, struct error *err)
{
	for (int attempt = 1;;) {
		CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
		struct s3_request q = { .method = "PUT", .key = p->whole, .body = p->part, .body_len = p->len };
		describe(p, &q);
		if (attempt == 1) /* later ones replace what arrived damaged */
			add_condition(p, &q);
		if (s3_request(store_of(p)->http, &q, &r, err) < 0) {
			error_add(err, "write s3://%s/%s", store_of(p)->config.bucket, p->whole);
			return settle(p, NULL, err);
		}
		if (refuses_condition(p, &r))
			continue;
		if (r.status != 200)
			return r.status == 412 || r.tries > 1 ? settle(p, &r, err) : refused(p, &r, err);
		if (arrived_whole(p, &r, p->part ? p->part : (const uint8_t *)"", p->len))
			return 0;
		if (attempt++ == DAMAGE_TRIES)
			return damaged(p, &r, err);
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
		return out_of_memory(p, err);
	for (;;) {
		CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
		struct s3_request q = { .method = "POST", .key = p->whole, .body = list.data, .body_len = list.len };
		add_parameter(&q, "uploadId", p->upload);
		add_condition(p, &q);
		if (s3_request(store_of(p)->http, &q, &r, err) < 0) {
			error_add(err, "write s3://%s/%s", store_of(p)->config.bucket, p->whole);
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

/* Waits for the parts; whether all were sent. */
static int wait_for_parts(struct s3_put *p, struct error *err)
{
	struct s3_uploader *u = store_of(p)->uploader;
	pthread_mutex_lock(&u->lock);
	while (p->pending)
		pthread_cond_wait(&u->changed, &u->lock);
	bool failed = p->error.kind != ERR_NONE;
	if (failed && err)
		*err = p->error;
	pthread_mutex_unlock(&u->lock);
	return failed ? -1 : 0;
}

static int commit(struct s3_put *p, struct error *err)
{
	bool found;
	if (p->parts && p->len && hand_over(p, err) < 0)
		return -1;
	/* While the last parts are under way. */
	if (is_ours(p, &found, err) < 0)
		return -1;
	if (found)
		return exists(p, err);
	if (!p->parts)
		return put_whole(p, err);
	if (wait_for_parts(p, err) < 0 || complete(p, err) < 0)
		return -1;
	return s3_lock_completed(store_of(p), p->whole, &p->lock, err);
}

void s3_put_abort(struct store_put *put)
{
	struct s3_put *p = (struct s3_put *)put;
	struct s3_uploader *u = store_of(p)->uploader;
	pthread_mutex_lock(&u->lock);
	struct error given_up = { .kind = ERR_CANCELLED, .text = "given up" };
	error_keep_first(&p->error, &given_up); /* parts that wait are not sent any more */
	pthread_mutex_unlock(&u->lock);
	wait_for_parts(p, NULL);
	if (p->upload)
		s3_abort_upload(store_of(p), p->whole, p->upload, NULL);
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
