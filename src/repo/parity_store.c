/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store that heals what it reads. Pieces are read whole, compared with the sums of their group's table, and computed from the group where they are lost.
 * One lock around all of it: this is for repair, not for speed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "repo/object.h"
#include "repo/parity.h"
#include "repo/rs.h"

#define ASIDE_TRIES 9 /* places where a damaged object may have been put before it could be replaced */

struct healer {
	struct store base;
	struct store *below;
	const struct parity_set *set;
	pthread_mutex_t lock;          /* guards all below */
	bool has_table;
	uint32_t table_group;
	struct parity_table table;     /* of table_group */
	struct buf table_bytes;
	const struct parity_ref *at;   /* whose piece is held; NULL: none */
	uint64_t at_piece;
	uint8_t *piece;                /* PARITY_PIECE bytes */
	uint8_t *scratch;              /* PARITY_PIECE bytes */
	uint8_t *sums[RS_SHARDS_MAX], *out[RS_SHARDS_MAX];
};

static struct healer *healer_of(struct store *s)
{
	return (struct healer *)s;
}

/* --- reading what is there ------------------------------------------------------------------ */

static int use_table(struct healer *h, uint32_t group, struct error *err)
{
	if (h->has_table && h->table_group == group)
		return 0;
	h->has_table = false;
	parity_table_done(&h->table);
	if (parity_read_table(h->below, &h->set->groups[group], &h->table, &h->table_bytes, err) < 0)
		return -1;
	h->has_table = true;
	h->table_group = group;
	return 0;
}

static bool sum_fits(const uint8_t *data, size_t len, const uint8_t *sum)
{
	uint8_t actual[PARITY_SUM_SIZE];
	seal_checksum(data, len, actual);
	return memcmp(actual, sum, sizeof actual) == 0;
}

static size_t piece_length(uint64_t size, uint64_t piece)
{
	uint64_t at = piece * PARITY_PIECE;
	return at >= size ? 0 : size - at < PARITY_PIECE ? (size_t)(size - at) : PARITY_PIECE;
}

/* A member's own bytes, if they are what they were; also out of what an interrupted repair had put aside. */
static bool read_member(struct healer *h, const struct parity_member *m, uint64_t piece, uint8_t *to)
{
	size_t len = piece_length(m->size, piece);
	const uint8_t *sum = m->sums + piece * PARITY_SUM_SIZE;
	struct error why = { 0 };
	if (h->below->ops->get(h->below, m->name, piece * PARITY_PIECE, to, len, &why) == 0)
		return sum_fits(to, len, sum);
	for (int i = 1; why.kind == ERR_NOT_FOUND && i <= ASIDE_TRIES; i++) {
		char aside[OBJECT_KEY_MAX + 16];
		snprintf(aside, sizeof aside, "aside/%d/%s", i, m->name);
		if (h->below->ops->get(h->below, aside, piece * PARITY_PIECE, to, len, NULL) == 0 && sum_fits(to, len, sum))
			return true;
	}
	return false;
}

static bool read_shard(struct healer *h, const struct parity_group *g, unsigned shard, uint64_t piece, uint8_t *to)
{
	char hex[ID_HEX_SIZE], key[OBJECT_KEY_MAX];
	size_t len = piece_length(g->head.length, piece);
	id_to_hex(&g->shards[shard], hex);
	snprintf(key, sizeof key, "parity/%s", hex);
	return g->have[shard] && h->below->ops->get(h->below, key, piece * PARITY_PIECE, to, len, NULL) == 0 &&
	       sum_fits(to, len, h->table.shard_sums[shard] + piece * PARITY_SUM_SIZE);
}

/* --- healing -------------------------------------------------------------------------------------- */

static int too_much_lost(const struct healer *h, const struct parity_ref *ref, struct error *err)
{
	return error_set(err, ERR_CORRUPT, "%s is damaged, and too much of what its parity was made of is lost as well", h->set->members[h->set->groups[ref->group].first + ref->row].name);
}

/* A member of a bundle stands in each shard, whole. */
static int heal_from_bundle(struct healer *h, const struct parity_ref *ref, struct error *err)
{
	const struct parity_group *g = &h->set->groups[ref->group];
	const struct parity_member *m = &h->table.members[ref->row];
	for (unsigned k = 0; k < g->head.shards; k++) {
		char hex[ID_HEX_SIZE], key[OBJECT_KEY_MAX];
		id_to_hex(&g->shards[k], hex);
		snprintf(key, sizeof key, "parity/%s", hex);
		if (g->have[k] && h->below->ops->get(h->below, key, m->offset, h->piece, m->size, NULL) == 0 && sum_fits(h->piece, m->size, m->sums))
			return 0;
	}
	return too_much_lost(h, ref, err);
}

/* sums and shards: of the shards' pieces that can be used, padded with zeros. Returns how many. */
static unsigned gather_shards(struct healer *h, const struct parity_group *g, uint64_t piece, unsigned shards[RS_SHARDS_MAX])
{
	unsigned count = 0;
	for (unsigned k = 0; k < g->head.shards; k++) {
		memset(h->sums[count], 0, PARITY_PIECE);
		if (read_shard(h, g, k, piece, h->sums[count]))
			shards[count++] = k;
	}
	return count;
}

static int heal_across(struct healer *h, const struct parity_ref *ref, uint64_t piece, struct error *err)
{
	const struct parity_group *g = &h->set->groups[ref->group];
	unsigned shards[RS_SHARDS_MAX], lost[RS_SHARDS_MAX], lost_count = 0, mine = 0;
	unsigned count = gather_shards(h, g, piece, shards);
	for (unsigned row = 0; row < h->table.count; row++) {
		const struct parity_member *m = &h->table.members[row];
		size_t len = piece_length(m->size, piece);
		if (!len)
			continue;
		memset(h->scratch, 0, PARITY_PIECE);
		if (row != ref->row && read_member(h, m, piece, h->scratch)) {
			rs_add(h->sums, shards, count, row, h->scratch, PARITY_PIECE);
			continue;
		}
		if (lost_count == count)
			return too_much_lost(h, ref, err);
		if (row == ref->row)
			mine = lost_count;
		lost[lost_count++] = row;
	}
	const struct parity_member *m = &h->table.members[ref->row];
	rs_solve(h->out, h->sums, shards, lost, lost_count, PARITY_PIECE);
	size_t len = piece_length(m->size, piece);
	if (!sum_fits(h->out[mine], len, m->sums + piece * PARITY_SUM_SIZE))
		return too_much_lost(h, ref, err);
	memcpy(h->piece, h->out[mine], len);
	return 0;
}

/* Puts the piece into h->piece. */
static int hold_piece(struct healer *h, const struct parity_ref *ref, uint64_t piece, struct error *err)
{
	if (h->at == ref && h->at_piece == piece)
		return 0;
	h->at = NULL;
	if (use_table(h, ref->group, err) < 0)
		return -1;
	const struct parity_member *m = &h->table.members[ref->row];
	if (!read_member(h, m, piece, h->piece) &&
	    (h->set->groups[ref->group].head.form == PARITY_BUNDLE ? heal_from_bundle(h, ref, err) : heal_across(h, ref, piece, err)) < 0)
		return -1;
	h->at = ref;
	h->at_piece = piece;
	return 0;
}

static int get_from(struct healer *h, const struct parity_ref *ref, uint64_t offset, uint8_t *to, size_t len, struct error *err)
{
	if (offset > ref->size || len > ref->size - offset)
		return error_set(err, ERR_CORRUPT, "read %s: it ends after %llu bytes, but %zu at %llu were wanted", ref->name, (unsigned long long)ref->size, len,
		                 (unsigned long long)offset);
	while (len) {
		uint64_t piece = offset / PARITY_PIECE;
		size_t at = (size_t)(offset % PARITY_PIECE), n = piece_length(ref->size, piece) - at;
		if (n > len)
			n = len;
		if (hold_piece(h, ref, piece, err) < 0)
			return -1;
		memcpy(to, h->piece + at, n);
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}

/* --- the store ---------------------------------------------------------------------------------------- */

static int healer_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct healer *h = healer_of(s);
	size_t count;
	const struct parity_ref *const *refs = parity_find(h->set, key, &count);
	if (!count)
		return h->below->ops->get(h->below, key, offset, data, len, err);
	struct error why = { 0 };
	int done = -1;
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; done < 0 && i < count; i++) {
		error_clear(&why);
		done = get_from(h, refs[i], offset, data, len, &why);
	}
	pthread_mutex_unlock(&h->lock);
	if (done < 0 && err)
		*err = why;
	return done;
}

static int healer_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	struct healer *h = healer_of(s);
	size_t count;
	const struct parity_ref *const *refs = parity_find(h->set, key, &count);
	if (!count)
		return h->below->ops->stat(h->below, key, ret_found, ret_size, err);
	*ret_found = true;
	*ret_size = refs[0]->size;
	return 0;
}

static int healer_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	struct store *below = healer_of(s)->below;
	return below->ops->list(below, prefix, fn, cookie, err);
}

static int healer_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	struct store *below = healer_of(s)->below;
	return below->ops->put_begin(below, key, size_hint, ret, err);
}

/* A put belongs to the store below. */
static int healer_put_append(struct store_put *put, const void *data, size_t len, struct error *err)
{
	return put->store->ops->put_append(put, data, len, err);
}

static int healer_put_commit(struct store_put *put, struct error *err)
{
	return put->store->ops->put_commit(put, err);
}

static void healer_put_abort(struct store_put *put)
{
	put->store->ops->put_abort(put);
}

static int healer_remove(struct store *s, const char *key, struct error *err)
{
	struct store *below = healer_of(s)->below;
	return below->ops->remove(below, key, err);
}

static void healer_close(struct store *s)
{
	struct healer *h = healer_of(s);
	parity_table_done(&h->table);
	buf_done(&h->table_bytes);
	for (unsigned k = 0; k < RS_SHARDS_MAX; k++) {
		free(h->sums[k]);
		free(h->out[k]);
	}
	free(h->piece);
	free(h->scratch);
	free(s->location);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static const struct store_ops healer_ops = {
	.name = "parity",
	.put_begin = healer_put_begin,
	.put_append = healer_put_append,
	.put_commit = healer_put_commit,
	.put_abort = healer_put_abort,
	.get = healer_get,
	.stat = healer_stat,
	.list = healer_list,
	.remove = healer_remove,
	.close = healer_close,
};

int parity_store_open(struct store **ret, struct store *base, const struct parity_set *set, struct error *err)
{
	CLEAN_STORE struct store *s = NULL;
	struct healer *h = calloc(1, sizeof *h);
	if (!h)
		return error_set(err, ERR_NOMEM, "open parity: out of memory");
	s = &h->base;
	s->ops = &healer_ops;
	h->below = base;
	h->set = set;
	pthread_mutex_init(&h->lock, NULL);
	s->location = strdup(base->location);
	s->promises = base->promises;
	h->piece = malloc(PARITY_PIECE);
	h->scratch = malloc(PARITY_PIECE);
	bool whole = s->location && h->piece && h->scratch;
	for (unsigned k = 0; k < RS_SHARDS_MAX; k++) {
		h->sums[k] = malloc(PARITY_PIECE);
		h->out[k] = malloc(PARITY_PIECE);
		whole &= h->sums[k] && h->out[k];
	}
	if (!whole)
		return error_set(err, ERR_NOMEM, "open parity: out of memory");
	*ret = TAKE(s);
	return 0;
}
