/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One group: every member is read once, authenticated, and added to the shards, which grow in memory by bands. With shards that are larger than their share of BAND_MAX the members are read again
 * for each further band, piece by piece.
 */
#include "repo/parity_make.h"

#include <stdio.h>
#include <stdlib.h>

#include "repo/object.h"
#include "repo/rs.h"

#define BAND_MAX (80u << 20)  /* bytes of all shards in memory */
#define WHOLE_MAX (48u << 20) /* members up to this are held in memory while they are added */

struct making {
	struct repo *repo;
	const struct parity_options *options;
	struct parity_report *report;
	struct parity_head head;
	struct parity_table table;
	uint8_t *member_sums[PARITY_BUNDLE_MEMBERS_MAX];
	uint8_t *shard_sums[PARITY_SHARDS_MAX];
	uint8_t *shard[PARITY_SHARDS_MAX]; /* band bytes each */
	uint64_t band;
	struct store_put *put[PARITY_SHARDS_MAX];
	struct buf whole;                  /* the member at hand, if it is small enough */
	uint8_t *piece;
};

static void making_done(struct making *m)
{
	for (unsigned k = 0; k < PARITY_SHARDS_MAX; k++) {
		if (m->put[k])
			m->put[k]->store->ops->put_abort(m->put[k]);
		free(m->shard[k]);
		free(m->shard_sums[k]);
	}
	for (size_t i = 0; i < PARITY_BUNDLE_MEMBERS_MAX; i++)
		free(m->member_sums[i]);
	parity_table_done(&m->table);
	buf_done(&m->whole);
	free(m->piece);
}

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NOMEM, "make parity: out of memory");
}

/* --- a member ---------------------------------------------------------------------------------- */

/* An object in memory, as far as object_verify looks at a store. */
struct held {
	struct store base;
	const struct buf *bytes;
};

static int held_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	const struct buf *b = ((struct held *)s)->bytes;
	if (offset > b->len || len > b->len - offset)
		return error_set(err, ERR_CORRUPT, "%s ends after %zu bytes", key, b->len);
	memcpy(data, b->data + offset, len);
	return 0;
}

static int held_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	(void)key;
	(void)err;
	*ret_found = true;
	*ret_size = ((struct held *)s)->bytes->len;
	return 0;
}

/* Reads the object where it is small enough, and verifies it. */
static int read_member(struct making *m, const struct parity_object *o, struct error *err)
{
	static const struct store_ops ops = { .name = "held", .get = held_get, .stat = held_stat };
	struct store *store = m->repo->store;
	if (o->size > WHOLE_MAX)
		return object_verify(store, m->repo->keys, o->name, o->size, err);
	if (store_read(store, o->name, (size_t)o->size, &m->whole, err) < 0)
		return -1;
	if (m->whole.len != o->size)
		return error_set(err, ERR_CORRUPT, "%s has changed its size", o->name);
	struct held held = { .base = { .ops = &ops, .location = store->location }, .bytes = &m->whole };
	return object_verify(&held.base, m->repo->keys, o->name, o->size, err);
}

/* 1: it is to be left out, and that was told. */
static int take_member(struct making *m, const struct parity_object *o, struct error *err)
{
	struct error why = { 0 };
	buf_clear(&m->whole);
	if (progress_stopped(m->options->progress))
		return error_set(err, ERR_CANCELLED, "interrupted");
	if (read_member(m, o, &why) < 0) {
		if (why.kind == ERR_NOMEM || why.kind == ERR_CANCELLED) {
			*err = why;
			return -1;
		}
		if (why.kind != ERR_NOT_FOUND) {
			m->report->left_out++;
			if (m->options->left_out)
				m->options->left_out(m->options->cookie, o->name, &why);
		}
		return 1;
	}
	struct parity_member *member = &m->table.members[m->table.count];
	snprintf(member->name, sizeof member->name, "%s", o->name);
	member->size = o->size;
	member->sums = m->member_sums[m->table.count] = malloc(parity_pieces(o->size) * PARITY_SUM_SIZE);
	if (!member->sums)
		return no_memory(err);
	m->table.count++;
	m->report->bytes_read += o->size;
	progress_add(m->options->progress, 1, o->size);
	return 0;
}

/* --- across ---------------------------------------------------------------------------------------- */

/* The member's pieces that lie in the band from offset on. whole: m->whole holds the member. */
static int add_pieces(struct making *m, unsigned row, uint64_t offset, bool whole, struct error *err)
{
	static const unsigned all[PARITY_SHARDS_MAX] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	const struct parity_member *member = &m->table.members[row];
	uint8_t *to[PARITY_SHARDS_MAX];
	for (uint64_t at = offset; at < member->size && at < offset + m->band; at += PARITY_PIECE) {
		size_t len = member->size - at < PARITY_PIECE ? (size_t)(member->size - at) : PARITY_PIECE;
		const uint8_t *data = whole ? m->whole.data + at : m->piece;
		if (!whole && m->repo->store->ops->get(m->repo->store, member->name, at, m->piece, len, err) < 0)
			return -1;
		seal_checksum(data, len, m->member_sums[row] + at / PARITY_PIECE * PARITY_SUM_SIZE);
		if (len < PARITY_PIECE) {
			if (whole)
				memcpy(m->piece, data, len);
			memset(m->piece + len, 0, PARITY_PIECE - len);
			data = m->piece;
		}
		for (unsigned k = 0; k < m->head.shards; k++)
			to[k] = m->shard[k] + (at - offset);
		rs_add(to, all, m->head.shards, row, data, PARITY_PIECE);
	}
	return 0;
}

static int flush_band(struct making *m, uint64_t offset, struct error *err)
{
	for (unsigned k = 0; k < m->head.shards; k++) {
		uint64_t left = m->head.length - offset, n = left < m->band ? left : m->band;
		for (uint64_t at = 0; at < n; at += PARITY_PIECE)
			seal_checksum(m->shard[k] + at, n - at < PARITY_PIECE ? (size_t)(n - at) : PARITY_PIECE,
			              m->shard_sums[k] + (offset + at) / PARITY_PIECE * PARITY_SUM_SIZE);
		if (m->repo->store->ops->put_append(m->put[k], m->shard[k], (size_t)n, err) < 0)
			return -1;
		memset(m->shard[k], 0, m->band);
	}
	return 0;
}

static int make_across(struct making *m, const struct parity_object *const *objects, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		int left_out = take_member(m, objects[i], err);
		if (left_out < 0)
			return -1;
		if (left_out)
			continue;
		unsigned row = (unsigned)m->table.count - 1;
		if (objects[i]->size > m->head.length)
			m->head.length = objects[i]->size;
		if (add_pieces(m, row, 0, objects[i]->size <= WHOLE_MAX, err) < 0)
			return -1;
	}
	if (!m->table.count)
		return 0;
	for (uint64_t offset = 0; offset < m->head.length; offset += m->band) {
		for (unsigned row = 0; offset && row < m->table.count; row++)
			if (add_pieces(m, row, offset, false, err) < 0)
				return -1;
		if (flush_band(m, offset, err) < 0)
			return -1;
	}
	return 0;
}

/* --- bundle ------------------------------------------------------------------------------------------- */

static int make_bundle(struct making *m, const struct parity_object *const *objects, size_t count, struct error *err)
{
	CLEAN_BUF struct buf all = BUF_INIT;
	for (size_t i = 0; i < count; i++) {
		int left_out = take_member(m, objects[i], err);
		if (left_out < 0)
			return -1;
		if (left_out)
			continue;
		seal_checksum(m->whole.data, m->whole.len, m->member_sums[m->table.count - 1]);
		buf_add(&all, m->whole.data, m->whole.len);
	}
	if (!buf_ok(&all))
		return no_memory(err);
	m->head.length = all.len;
	for (unsigned k = 0; k < m->head.shards && all.len; k++) {
		for (size_t at = 0; at < all.len; at += PARITY_PIECE)
			seal_checksum(all.data + at, all.len - at < PARITY_PIECE ? all.len - at : PARITY_PIECE, m->shard_sums[k] + at / PARITY_PIECE * PARITY_SUM_SIZE);
		if (m->repo->store->ops->put_append(m->put[k], all.data, all.len, err) < 0)
			return -1;
	}
	return 0;
}

/* --- a group --------------------------------------------------------------------------------------------- */

/* For shards of at most length bytes. */
static int prepare(struct making *m, size_t count, uint64_t length, struct error *err)
{
	uint64_t padded = parity_pieces(length) * PARITY_PIECE;
	m->table.members = calloc(count, sizeof *m->table.members);
	m->piece = malloc(PARITY_PIECE);
	m->band = BAND_MAX / m->head.shards / PARITY_PIECE * PARITY_PIECE;
	if (m->band > padded)
		m->band = padded;
	if (!m->table.members || !m->piece)
		return no_memory(err);
	for (unsigned k = 0; k < m->head.shards; k++) {
		struct id id;
		char hex[ID_HEX_SIZE], key[OBJECT_KEY_MAX];
		seal_random(id.b, ID_SIZE);
		id_to_hex(&id, hex);
		snprintf(key, sizeof key, "parity/%s", hex);
		m->shard_sums[k] = malloc(parity_pieces(length) * PARITY_SUM_SIZE);
		m->table.shard_sums[k] = m->shard_sums[k];
		m->shard[k] = m->head.form == PARITY_ACROSS ? calloc(1, m->band) : NULL;
		if (!m->shard_sums[k] || (m->head.form == PARITY_ACROSS && !m->shard[k]))
			return no_memory(err);
		if (m->repo->store->ops->put_begin(m->repo->store, key, length, &m->put[k], err) < 0)
			return -1;
	}
	return 0;
}

/* Tables and heads behind the shards, and all becomes visible. */
static int finish(struct making *m, struct error *err)
{
	CLEAN_BUF struct buf table = BUF_INIT, tail = BUF_INIT;
	static const uint8_t zeros[PARITY_GAP];
	parity_table_encode(&table, &m->table, m->head.shards, m->head.length);
	if (!buf_ok(&table))
		return no_memory(err);
	if (table.len > PARITY_TABLE_MAX)
		return error_set(err, ERR_INVALID, "make parity: the table of a group is too long (%zu bytes)", table.len);
	m->head.table_length = (uint32_t)table.len;
	seal_checksum(table.data, table.len, m->head.table_sum);
	for (unsigned k = 0; k < m->head.shards; k++) {
		uint8_t head[PARITY_HEAD_SIZE];
		m->head.shard = (uint8_t)k;
		parity_head_encode(head, &m->head);
		buf_clear(&tail);
		buf_add(&tail, table.data, table.len);
		buf_add(&tail, zeros, table.len < PARITY_GAP ? PARITY_GAP - table.len : 0);
		buf_add(&tail, table.data, table.len);
		buf_add(&tail, head, sizeof head);
		buf_add(&tail, zeros, PARITY_GAP);
		buf_add(&tail, head, sizeof head);
		if (!buf_ok(&tail))
			return no_memory(err);
		if (m->repo->store->ops->put_append(m->put[k], tail.data, tail.len, err) < 0 || m->repo->store->ops->put_commit(TAKE(m->put[k]), err) < 0)
			return -1;
		m->report->parity_bytes += parity_object_size(&m->head);
	}
	m->report->groups_made++;
	m->report->objects_added += m->table.count;
	return 0;
}

int parity_make_group(struct repo *r, const struct parity_options *options, enum parity_form form, unsigned shards, unsigned percent, bool automatic,
                      const struct parity_object *const *objects, size_t count, struct parity_report *report, struct error *err)
{
	uint64_t length = 0;
	CLEAN(making_done) struct making m = { .repo = r, .options = options, .report = report };
	m.head = (struct parity_head){ .form = form, .automatic = automatic, .shards = (uint8_t)shards, .percent = (uint8_t)percent };
	for (size_t i = 0; i < count; i++)
		length = form == PARITY_BUNDLE ? length + objects[i]->size : objects[i]->size > length ? objects[i]->size : length;
	if (!length)
		return 0; /* nothing in it to protect */
	if (prepare(&m, count, length, err) < 0)
		return -1;
	if ((form == PARITY_BUNDLE ? make_bundle(&m, objects, count, err) : make_across(&m, objects, count, err)) < 0)
		return -1;
	return m.table.count ? finish(&m, err) : 0;
}
