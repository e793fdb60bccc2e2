/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parts of multipart uploads, and the few threads that send them: each part is handed over as soon as it is full, so that whoever appends (a packer, under its lock) goes on; at most
 * IN_FLIGHT parts wait or are being sent, then handing over waits for room. A put that waits to be committed holds one part's buffer and needs no more room than that, so nothing deadlocks.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "store/s3_put.h"

#define IN_FLIGHT 4u
#define SPARE_MAX 4u       /* buffers kept for the next parts */
#define PARTS_MAX 10000u   /* S3's limit */

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

/* --- buffers, not of malloc: they go back to the system whole ------------------------- */

uint8_t *s3_take_buffer(struct s3_uploader *u)
{
	pthread_mutex_lock(&u->lock);
	uint8_t *b = u->spare_count ? u->spare[--u->spare_count] : NULL;
	pthread_mutex_unlock(&u->lock);
	if (b)
		return b;
	void *fresh = mmap(NULL, S3_PART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return fresh == MAP_FAILED ? NULL : fresh;
}

void s3_give_buffer(struct s3_uploader *u, uint8_t *b)
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

/* --- parts: on the uploader's threads -------------------------------------------------------- */

static int begin_upload(struct s3_put *p, char **ret, struct error *err)
{
	CLEAN_RESPONSE struct s3_response r = S3_RESPONSE_INIT;
	struct s3_request q = { .method = "POST", .key = p->whole };
	s3_add_parameter(&q, "uploads", "");
	s3_put_describe(p, &q);
	if (s3_request(s3_put_store(p)->http, &q, &r, err) < 0)
		return error_add(err, "write s3://%s/%s", s3_put_store(p)->config.bucket, p->whole);
	if (r.status != 200)
		return s3_put_refused(p, &r, err);
	if (s3_parse_upload_id(ret, r.body.data, r.body.len, err) < 0)
		return error_add(err, "write s3://%s/%s", s3_put_store(p)->config.bucket, p->whole);
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
		s3_add_parameter(&q, "partNumber", number);
		s3_add_parameter(&q, "uploadId", upload);
		if (s3_request(s3_put_store(p)->http, &q, &r, err) < 0)
			return error_add(err, "write s3://%s/%s", s3_put_store(p)->config.bucket, p->whole);
		if (r.status != 200)
			return s3_put_refused(p, &r, err);
		if (!r.etag[0] || strspn(r.etag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+/=") != strlen(r.etag))
			return error_set(err, ERR_CORRUPT, "write s3://%s/%s: the server's answer has no usable ETag", s3_put_store(p)->config.bucket, p->whole);
		if (s3_arrived_whole(p, &r, job->part, job->len)) {
			memcpy(ret->etag, r.etag, sizeof ret->etag);
			return 0;
		}
		if (attempt == S3_DAMAGE_TRIES)
			return s3_put_damaged(p, &r, err);
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
			done = s3_put_no_memory(p, &err);
		if (done < 0)
			error_keep_first(&p->error, &err);
	}
	pthread_mutex_unlock(&u->lock);
	s3_give_buffer(u, job->part);
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

int s3_hand_over(struct s3_put *p, struct error *err)
{
	struct s3_uploader *u = s3_put_store(p)->uploader;
	struct job *job = malloc(sizeof *job);
	if (!job)
		return s3_put_no_memory(p, err);
	if (p->parts == PARTS_MAX) {
		free(job);
		return error_set(err, ERR_INVALID, "write s3://%s/%s: it has more than %u parts", s3_put_store(p)->config.bucket, p->whole, PARTS_MAX);
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

int s3_wait_for_parts(struct s3_put *p, struct error *err)
{
	struct s3_uploader *u = s3_put_store(p)->uploader;
	pthread_mutex_lock(&u->lock);
	while (p->pending)
		pthread_cond_wait(&u->changed, &u->lock);
	bool failed = p->error.kind != ERR_NONE;
	if (failed && err)
		*err = p->error;
	pthread_mutex_unlock(&u->lock);
	return failed ? -1 : 0;
}

void s3_drop_parts(struct s3_put *p)
{
	struct s3_uploader *u = s3_put_store(p)->uploader;
	pthread_mutex_lock(&u->lock);
	struct error given_up = { .kind = ERR_CANCELLED, .text = "given up" };
	error_keep_first(&p->error, &given_up); /* parts that wait are not sent any more */
	pthread_mutex_unlock(&u->lock);
	s3_wait_for_parts(p, NULL);
}
