/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/coders.h"

#include <pthread.h>
#include <stdlib.h>

#define CACHE_BYTES (24u << 20)

struct coder_pool {
	pthread_mutex_t lock; /* guards all below */
	struct block_reader *idle;
	struct cached_block *newest, *oldest;
	size_t bytes;
};

int coder_pool_new(struct coder_pool **ret, struct error *err)
{
	struct coder_pool *p = calloc(1, sizeof *p);
	if (!p)
		return error_set(err, ERR_NOMEM, "open repository: out of memory");
	pthread_mutex_init(&p->lock, NULL);
	*ret = p;
	return 0;
}

static void reader_free(struct block_reader *r)
{
	seal_coder_free(r->coder);
	seal_cipher_free(r->cipher);
	buf_done(&r->sealed);
	free(r);
}

static void unlist(struct coder_pool *p, struct cached_block *b)
{
	*(b->newer ? &b->newer->older : &p->newest) = b->older;
	*(b->older ? &b->older->newer : &p->oldest) = b->newer;
	b->newer = b->older = NULL;
	b->listed = false;
	p->bytes -= b->raw.cap;
}

static void list_newest(struct coder_pool *p, struct cached_block *b)
{
	b->older = p->newest;
	*(p->newest ? &p->newest->newer : &p->oldest) = b;
	p->newest = b;
	b->listed = true;
	p->bytes += b->raw.cap;
}

static void block_free(struct cached_block *b)
{
	buf_done(&b->raw);
	free(b);
}

void coder_pool_free(struct coder_pool *p)
{
	if (!p)
		return;
	while (p->idle) {
		struct block_reader *r = p->idle;
		p->idle = r->next;
		reader_free(r);
	}
	while (p->newest) {
		struct cached_block *b = p->newest;
		unlist(p, b);
		block_free(b);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

struct block_reader *coder_take(struct coder_pool *p, struct error *err)
{
	pthread_mutex_lock(&p->lock);
	struct block_reader *r = p->idle;
	if (r)
		p->idle = r->next;
	pthread_mutex_unlock(&p->lock);
	if (r)
		return r;
	r = calloc(1, sizeof *r);
	if (!r) {
		error_set(err, ERR_NOMEM, "read a block: out of memory");
		return NULL;
	}
	if (seal_coder_new(&r->coder, 3, err) < 0) {
		free(r);
		return NULL;
	}
	return r;
}

void coder_give(struct coder_pool *p, struct block_reader *r)
{
	pthread_mutex_lock(&p->lock);
	r->next = p->idle;
	p->idle = r;
	pthread_mutex_unlock(&p->lock);
}

void coder_forget(struct block_reader *r)
{
	seal_cipher_free(r->cipher);
	r->cipher = NULL;
}

bool coder_is_for(const struct block_reader *r, const struct id *pack, enum seal_kind kind)
{
	return r->cipher && r->kind == kind && id_equal(&r->pack, pack);
}

int coder_for_pack(struct block_reader *r, const struct seal_keys *keys, const struct seal_by *by, const struct id *pack, enum seal_kind kind, struct error *err)
{
	struct seal_cipher *cipher = NULL;
	if (seal_cipher_new(&cipher, keys, by, kind, pack, err) < 0)
		return -1;
	seal_cipher_free(r->cipher);
	r->cipher = cipher;
	r->pack = *pack;
	r->kind = kind;
	return 0;
}

struct cached_block *cache_hold(struct coder_pool *p, uint32_t pack_row, uint32_t block)
{
	pthread_mutex_lock(&p->lock);
	struct cached_block *b = p->newest;
	while (b && (b->pack_row != pack_row || b->block != block))
		b = b->older;
	if (b) {
		b->holders++;
		if (b != p->newest) {
			unlist(p, b);
			list_newest(p, b);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return b;
}

static void drop_oldest(struct coder_pool *p)
{
	for (struct cached_block *b = p->oldest; b && p->bytes > CACHE_BYTES;) {
		struct cached_block *next = b->newer;
		if (!b->holders) {
			unlist(p, b);
			block_free(b);
		}
		b = next;
	}
}

struct cached_block *cache_keep(struct coder_pool *p, uint32_t pack_row, uint32_t block, struct buf *raw)
{
	struct cached_block *b = calloc(1, sizeof *b);
	if (!b)
		return NULL;
	b->raw = *raw;
	*raw = (struct buf)BUF_INIT;
	b->pack_row = pack_row;
	b->block = block;
	b->holders = 1;
	pthread_mutex_lock(&p->lock);
	list_newest(p, b);
	drop_oldest(p);
	pthread_mutex_unlock(&p->lock);
	return b;
}

void cache_release(struct coder_pool *p, struct cached_block *b)
{
	pthread_mutex_lock(&p->lock);
	b->holders--;
	drop_oldest(p);
	pthread_mutex_unlock(&p->lock);
}

bool cache_is_verified(struct coder_pool *p, const struct cached_block *b, const struct id *chunk)
{
	pthread_mutex_lock(&p->lock);
	bool verified = b->has_verified && id_equal(&b->verified, chunk);
	pthread_mutex_unlock(&p->lock);
	return verified;
}

void cache_set_verified(struct coder_pool *p, struct cached_block *b, const struct id *chunk)
{
	pthread_mutex_lock(&p->lock);
	b->verified = *chunk;
	b->has_verified = true;
	pthread_mutex_unlock(&p->lock);
}
