/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/packer.h"

#include <pthread.h>
#include <stdlib.h>

#include "repo/object.h"
#include "repo/rows.h"
#include "repo/writer.h"

#define QUEUE_MAX 2        /* full packs that may wait for their commit, or be committed, before adders wait too */
#define COMMITTERS_MAX 4   /* at the end two more packs are there than may wait before: those that were open */
#define PACK_CHUNKS 200000 /* tiny chunks fill a pack by their number: its table must stay far below PACK_TABLE_MAX, and in memory until it is indexed */

struct open_pack {
	struct open_pack *next;
	enum seal_kind kind;
	struct id id;
	struct store_put *put;
	struct seal_cipher *cipher;
	struct pack_table table;
	uint64_t size;         /* bytes appended */
	unsigned unchecked;    /* blocks whose read-back is not done, plus one while the pack takes blocks */
	bool bad;              /* a read-back failed */
	bool torn;             /* an append failed: what lies in the store is not what the table says */
};

struct packer {
	struct repo *repo;
	struct id session;
	pthread_mutex_t lock;        /* guards all below */
	pthread_cond_t changed;      /* the queue got longer or shorter, or the committers are done */
	struct open_pack *open[2];   /* by chunk class */
	struct open_pack *queue;     /* full and checked, waiting to be committed; oldest first */
	unsigned queued, outstanding; /* outstanding: full packs not committed yet */
	struct open_pack *committed; /* tables that no index segment holds yet */
	size_t committed_chunks;
	bool unindexed;              /* packs were committed whose segment could not be written */
	bool stop;
	struct error error;
	pthread_t committers[COMMITTERS_MAX]; /* as many as the store is worth: promises.commits */
	unsigned started;
};

static void open_pack_free(struct packer *p, struct open_pack *k)
{
	if (!k)
		return;
	if (k->put)
		p->repo->store->ops->put_abort(k->put);
	seal_cipher_free(k->cipher);
	pack_table_done(&k->table);
	free(k);
}

static int open_pack_new(struct packer *p, enum seal_kind kind, struct open_pack **ret, struct error *err)
{
	struct open_pack *k = calloc(1, sizeof *k);
	uint8_t head[PACK_HEADER_SIZE];
	char key[OBJECT_KEY_MAX];
	if (!k)
		return error_set(err, ERR_NOMEM, "write a pack: out of memory");
	k->kind = kind;
	k->unchecked = 1;
	k->size = PACK_HEADER_SIZE;
	seal_random(k->id.b, ID_SIZE);
	k->table.session = p->session;
	object_key(kind, &k->id, key);
	struct pack_header header = { .kind = kind, .pack = k->id, .session = p->session, .by = seal_current(p->repo->keys) };
	k->table.by = header.by;
	pack_header_encode(head, &header);
	if (seal_cipher_new(&k->cipher, p->repo->keys, &header.by, kind, &k->id, err) < 0 ||
	    p->repo->store->ops->put_begin(p->repo->store, key, WRITER_PACK, &k->put, err) < 0 ||
	    p->repo->store->ops->put_append(k->put, head, sizeof head, err) < 0) {
		open_pack_free(p, k);
		return -1;
	}
	*ret = k;
	return 0;
}

/* --- committing ------------------------------------------------------------------ */

static int append_table(struct packer *p, struct open_pack *k, struct error *err)
{
	CLEAN_BUF struct buf plain = BUF_INIT, sealed = BUF_INIT;
	uint8_t foot[PACK_FOOTER_SIZE];
	pack_table_encode(&plain, &k->table, k->size - PACK_HEADER_SIZE);
	if (!buf_ok(&plain) || !buf_reserve(&sealed, plain.len + SEAL_TAG_SIZE))
		return error_set(err, ERR_NOMEM, "write a pack's table: out of memory");
	sealed.len = plain.len + SEAL_TAG_SIZE;
	if (seal_encrypt(k->cipher, PACK_TABLE_COUNTER, plain.data, plain.len, sealed.data, err) < 0)
		return -1;
	pack_footer_encode(foot, k->size, (uint32_t)sealed.len);
	const struct store_ops *ops = p->repo->store->ops;
	if (ops->put_append(k->put, sealed.data, sealed.len, err) < 0 || ops->put_append(k->put, foot, sizeof foot, err) < 0)
		return -1;
	k->size += sealed.len + sizeof foot;
	return 0;
}

static int commit_pack(struct packer *p, struct open_pack *k, struct error *err)
{
	if (k->bad)
		return error_set(err, ERR_CORRUPT,
		                 "read back a block before storing it: it does not decode to what was hashed; this points to faulty memory or a faulty processor, nothing of it was stored");
	if (append_table(p, k, err) < 0)
		return -1;
	struct store_put *put = TAKE(k->put);
	return p->repo->store->ops->put_commit(put, err);
}

static int store_segment(struct packer *p, struct open_pack *list, struct error *err)
{
	CLEAN(segment_rows_done) struct segment_rows rows = SEGMENT_ROWS_INIT;
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id;
	while (list) {
		struct open_pack *next = list->next;
		segment_rows_add(&rows, &list->id, list->kind, list->size, &list->table);
		open_pack_free(p, list);
		list = next;
	}
	if (segment_rows_encode(&rows, &p->session, &bytes, err) < 0)
		return -1;
	seal_random(id.b, ID_SIZE);
	if (object_write(p->repo->store, p->repo->keys, SEAL_INDEX, &id, &p->session, bytes.data, bytes.len, err) < 0)
		return error_add(err, "write index");
	return index_add(p->repo->index, &id, bytes.data, bytes.len, err);
}

/* Writes an index segment that names the packs in list, and frees them. Without the lock. */
static int write_segment(struct packer *p, struct open_pack *list, struct error *err)
{
	if (!list || store_segment(p, list, err) == 0)
		return 0;
	pthread_mutex_lock(&p->lock);
	p->unindexed = true;
	pthread_mutex_unlock(&p->lock);
	return -1;
}

/* What the index needs of a committed pack is small; its cipher is not wanted any more. */
static void keep_table(struct packer *p, struct open_pack *k)
{
	seal_cipher_free(k->cipher);
	k->cipher = NULL;
	k->next = p->committed;
	p->committed = k;
	p->committed_chunks += k->table.chunk_count;
}

static struct open_pack *take_committed(struct packer *p)
{
	struct open_pack *list = TAKE(p->committed);
	p->committed_chunks = 0;
	return list;
}

/* Called and returns with the lock held. */
static void commit_one(struct packer *p)
{
	struct open_pack *k = p->queue, *full = NULL;
	struct error err = { 0 };
	p->queue = k->next;
	k->next = NULL;
	pthread_mutex_unlock(&p->lock);
	/* Also after a failure elsewhere: what is whole serves the next run. */
	int done = k->torn ? -1 : commit_pack(p, k, &err);
	pthread_mutex_lock(&p->lock);
	p->queued--;
	if (done < 0) {
		if (!k->torn)
			error_keep_first(&p->error, &err);
		open_pack_free(p, k);
	} else {
		keep_table(p, k);
		if (p->committed_chunks >= SEGMENT_ROWS_CHUNKS)
			full = take_committed(p);
	}
	if (full) {
		pthread_mutex_unlock(&p->lock);
		done = write_segment(p, full, &err);
		pthread_mutex_lock(&p->lock);
		if (done < 0)
			error_keep_first(&p->error, &err);
	}
	p->outstanding--;
	pthread_cond_broadcast(&p->changed);
}

static void *committer(void *arg)
{
	struct packer *p = arg;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		if (p->queue)
			commit_one(p);
		else if (p->stop)
			break;
		else
			pthread_cond_wait(&p->changed, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int packer_new(struct packer **ret, struct repo *repo, const struct id *session, struct error *err)
{
	struct packer *p = calloc(1, sizeof *p);
	if (!p)
		return error_set(err, ERR_NOMEM, "write packs: out of memory");
	p->repo = repo;
	p->session = *session;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	unsigned wanted = repo->store->promises.commits;
	do {
		int sys = pthread_create(&p->committers[p->started], NULL, committer, p);
		if (sys) {
			packer_free(p);
			return error_sys(err, sys, "start the thread that commits packs");
		}
	} while (++p->started < wanted && p->started < COMMITTERS_MAX);
	*ret = p;
	return 0;
}

void packer_free(struct packer *p)
{
	if (!p)
		return;
	if (p->started) {
		pthread_mutex_lock(&p->lock);
		p->stop = true;
		pthread_cond_broadcast(&p->changed);
		pthread_mutex_unlock(&p->lock);
	}
	for (unsigned i = 0; i < p->started; i++)
		pthread_join(p->committers[i], NULL);
	open_pack_free(p, p->open[0]);
	open_pack_free(p, p->open[1]);
	for (struct open_pack *k = p->committed; k;) {
		struct open_pack *next = k->next;
		open_pack_free(p, k);
		k = next;
	}
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* With the lock held: one user less; the last one queues the pack. */
static void release(struct packer *p, struct open_pack *k)
{
	if (--k->unchecked)
		return;
	struct open_pack **end = &p->queue;
	while (*end)
		end = &(*end)->next;
	*end = k;
	p->queued++;
	pthread_cond_broadcast(&p->changed);
}

/* With the lock held: the pack takes no more blocks. */
static void close_pack(struct packer *p, enum chunk_class class)
{
	struct open_pack *k = TAKE(p->open[class]);
	p->outstanding++;
	release(p, k);
}

static int append(struct packer *p, struct open_pack *k, const struct seal_payload *payload, uint32_t raw_length, const struct pack_chunk *chunks, size_t count,
                  struct buf *sealed, struct error *err)
{
	if (seal_payload(k->cipher, k->table.block_count, payload, sealed, err) < 0 ||
	    p->repo->store->ops->put_append(k->put, sealed->data, sealed->len, err) < 0)
		return -1;
	bool ok = pack_table_add_block(&k->table, (uint32_t)sealed->len, raw_length) == 0;
	for (size_t i = 0; ok && i < count; i++)
		ok = pack_table_add_chunk(&k->table, &chunks[i].id, chunks[i].length) == 0;
	if (!ok)
		return error_set(err, ERR_NOMEM, "note a block: out of memory");
	k->size += sealed->len;
	return 0;
}

/* With the lock held. What fails here is p->error, also where the caller does not ask for it. */
static int add_block(struct packer *p, enum chunk_class class, const struct seal_payload *payload, uint32_t raw_length, const struct pack_chunk *chunks, size_t count,
                     struct buf *sealed, struct packed *ret)
{
	if (!p->open[class] && open_pack_new(p, class == CHUNK_DATA ? SEAL_PACK_DATA : SEAL_PACK_META, &p->open[class], &p->error) < 0)
		return -1;
	struct open_pack *k = p->open[class];
	if (append(p, k, payload, raw_length, chunks, count, sealed, &p->error) < 0) {
		k->torn = true;
		return -1;
	}
	k->unchecked++;
	*ret = (struct packed){ k, k->table.block_count - 1, k->id, k->kind };
	if (k->size >= WRITER_PACK || k->table.chunk_count >= PACK_CHUNKS)
		close_pack(p, class);
	return 0;
}

int packer_add(struct packer *p, enum chunk_class class, const struct seal_payload *payload, uint32_t raw_length, const struct pack_chunk *chunks, size_t count,
               struct buf *sealed, struct packed *ret, struct error *err)
{
	pthread_mutex_lock(&p->lock);
	while (p->queued >= QUEUE_MAX && p->error.kind == ERR_NONE)
		pthread_cond_wait(&p->changed, &p->lock);
	int done = p->error.kind == ERR_NONE ? add_block(p, class, payload, raw_length, chunks, count, sealed, ret) : -1;
	if (done < 0 && err)
		*err = p->error;
	pthread_mutex_unlock(&p->lock);
	return done;
}

void packer_checked(struct packer *p, const struct packed *where, bool ok)
{
	pthread_mutex_lock(&p->lock);
	if (!ok)
		where->pack->bad = true;
	release(p, where->pack);
	pthread_mutex_unlock(&p->lock);
}

int packer_finish(struct packer *p, struct error *err)
{
	pthread_mutex_lock(&p->lock);
	for (int class = 0; class < 2; class++)
		if (p->open[class])
			close_pack(p, (enum chunk_class)class);
	while (p->outstanding)
		pthread_cond_wait(&p->changed, &p->lock);
	bool failed = p->error.kind != ERR_NONE;
	if (failed && err)
		*err = p->error;
	struct open_pack *rest = take_committed(p);
	pthread_mutex_unlock(&p->lock);
	/* After a failure too: what was committed is worth finding again. */
	if (write_segment(p, rest, failed ? NULL : err) < 0)
		return -1;
	return failed ? -1 : 0;
}

void packer_set_session(struct packer *p, const struct id *session)
{
	pthread_mutex_lock(&p->lock);
	p->session = *session;
	pthread_mutex_unlock(&p->lock);
}

bool packer_is_indexed(struct packer *p)
{
	pthread_mutex_lock(&p->lock);
	bool indexed = !p->unindexed && !p->committed;
	pthread_mutex_unlock(&p->lock);
	return indexed;
}
