/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether parity objects are what they must be, every byte of them: what is damaged there is not noticed until it is needed. */
#include <stdio.h>
#include <stdlib.h>

#include "repo/object.h"
#include "repo/parity.h"

struct finding {
	struct store *store;
	parity_damaged_fn fn;
	void *cookie;
	bool read_data;
	uint8_t *piece;
};

static int gap_is_zero(struct store *store, const char *key, uint64_t at, size_t len, struct error *err)
{
	uint8_t bytes[PARITY_GAP];
	if (!len)
		return 0;
	if (store->ops->get(store, key, at, bytes, len, err) < 0)
		return -1;
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return error_set(err, ERR_CORRUPT, "zeros of it are not zero");
	return 0;
}

static int check_heads(struct store *store, const char *key, uint64_t size, struct parity_head *ret, struct error *err)
{
	const uint64_t tail = PARITY_HEAD_SIZE + PARITY_GAP + PARITY_HEAD_SIZE;
	uint8_t bytes[2][PARITY_HEAD_SIZE];
	if (size < tail)
		return error_set(err, ERR_CORRUPT, "it is cut short (%llu bytes)", (unsigned long long)size);
	if (store->ops->get(store, key, size - tail, bytes[0], PARITY_HEAD_SIZE, err) < 0 ||
	    store->ops->get(store, key, size - PARITY_HEAD_SIZE, bytes[1], PARITY_HEAD_SIZE, err) < 0)
		return -1;
	if (parity_head_decode(ret, bytes[1], err) < 0)
		return -1;
	if (memcmp(bytes[0], bytes[1], PARITY_HEAD_SIZE) != 0)
		return error_set(err, ERR_CORRUPT, "its two heads differ");
	if (parity_object_size(ret) != size)
		return error_set(err, ERR_CORRUPT, "it has %llu bytes, its head says %llu", (unsigned long long)size, (unsigned long long)parity_object_size(ret));
	return gap_is_zero(store, key, size - PARITY_HEAD_SIZE - PARITY_GAP, PARITY_GAP, err);
}

static int check_tables(struct store *store, const char *key, const struct parity_head *h, struct buf *bytes, struct parity_table *ret, struct error *err)
{
	uint64_t padding = parity_table_at(h, 1) - parity_table_at(h, 0) - h->table_length;
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t sum[PARITY_SUM_SIZE];
		buf_clear(bytes);
		if (!buf_reserve(bytes, h->table_length))
			return error_set(err, ERR_NOMEM, "out of memory");
		if (store->ops->get(store, key, parity_table_at(h, copy), bytes->data, h->table_length, err) < 0)
			return -1;
		seal_checksum(bytes->data, h->table_length, sum);
		if (memcmp(sum, h->table_sum, sizeof sum) != 0)
			return error_set(err, ERR_CORRUPT, "one of its tables is damaged");
	}
	if (parity_table_decode(ret, h, bytes->data, h->table_length, err) < 0)
		return -1;
	return gap_is_zero(store, key, parity_table_at(h, 0) + h->table_length, (size_t)padding, err);
}

static int check_pieces(const struct finding *f, const char *key, const struct parity_head *h, const struct parity_table *table, struct error *err)
{
	for (uint64_t piece = 0; piece < parity_pieces(h->length); piece++) {
		uint64_t at = piece * PARITY_PIECE;
		size_t len = h->length - at < PARITY_PIECE ? (size_t)(h->length - at) : PARITY_PIECE;
		uint8_t sum[PARITY_SUM_SIZE];
		if (f->store->ops->get(f->store, key, at, f->piece, len, err) < 0)
			return -1;
		seal_checksum(f->piece, len, sum);
		if (memcmp(sum, table->shard_sums[h->shard] + piece * PARITY_SUM_SIZE, sizeof sum) != 0)
			return error_set(err, ERR_CORRUPT, "its bytes from %llu on are damaged", (unsigned long long)at);
	}
	return 0;
}

static int check_one(const struct finding *f, const char *key, uint64_t size, struct error *err)
{
	CLEAN(parity_table_done) struct parity_table table = { 0 };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct parity_head h;
	if (check_heads(f->store, key, size, &h, err) < 0 || check_tables(f->store, key, &h, &bytes, &table, err) < 0)
		return -1;
	return f->read_data ? check_pieces(f, key, &h, &table, err) : 0;
}

static int note_object(void *cookie, const char *key, uint64_t size)
{
	const struct finding *f = cookie;
	struct error why = { 0 };
	struct id id;
	if (object_id_of_key(key, &id) && check_one(f, key, size, &why) < 0 && why.kind != ERR_NOT_FOUND)
		f->fn(f->cookie, key, &why);
	return 0;
}

int parity_check(struct store *store, bool read_data, parity_damaged_fn fn, void *cookie, struct error *err)
{
	CLEAN_FREE uint8_t *piece = malloc(PARITY_PIECE);
	struct finding f = { store, fn, cookie, read_data, piece };
	if (!piece)
		return error_set(err, ERR_NOMEM, "check parity: out of memory");
	return store->ops->list(store, "parity/", note_object, &f, err) < 0 ? error_add(err, "check parity") : 0;
}
