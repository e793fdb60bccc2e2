/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"
#include "repo/format/fields.h"
#include "repo/format/seq_page.h"

/* Room in front of a page's records for its head, which is known last: level, kind, varint of at most 10 bytes. */
#define HEAD_ROOM 12u

struct level {
	struct buf page;     /* HEAD_ROOM bytes, then records */
	uint64_t count;      /* records or children on this page */
	uint64_t span, leaf_records;
	uint64_t flushed;    /* pages of this level that were put */
	struct id last;      /* the last child's id: the root, when it stays the only one */
};

struct seq_writer {
	enum seq_kind kind;
	seq_put_fn put;
	void *cookie;
	bool done;           /* finished or failed */
	uint64_t total_span;
	struct buf key;      /* of the last record */
	struct buf child;    /* scratch of put_page */
	struct level levels[SEQ_LEVELS_MAX];
};

int seq_writer_new(struct seq_writer **ret, enum seq_kind kind, seq_put_fn put, void *cookie, struct error *err)
{
	struct seq_writer *w = calloc(1, sizeof *w);
	if (!w)
		return error_set(err, ERR_NOMEM, "out of memory");
	w->kind = kind;
	w->put = put;
	w->cookie = cookie;
	*ret = w;
	return 0;
}

void seq_writer_free(struct seq_writer *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < SEQ_LEVELS_MAX; i++)
		buf_done(&w->levels[i].page);
	buf_done(&w->key);
	buf_done(&w->child);
	free(w);
}

static bool is_boundary(const uint8_t *p, size_t len)
{
	uint64_t hash = 0xcbf29ce484222325u;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3u;
	return hash >> 59 == 0;
}

static size_t records_size(const struct level *l)
{
	return l->page.len ? l->page.len - HEAD_ROOM : 0;
}

static void level_add(struct level *l, uint64_t span, uint64_t leaf_records)
{
	l->count++;
	l->span += span;
	l->leaf_records += leaf_records;
}

static void begin_page(struct level *l)
{
	static const uint8_t room[HEAD_ROOM];
	if (l->page.len == 0)
		buf_add(&l->page, room, sizeof room);
}

/* Puts the head in front of the records, stores the page, empties it. */
static int store_page(struct seq_writer *w, unsigned at, struct id *ret, struct error *err)
{
	struct level *l = &w->levels[at];
	CLEAN_BUF struct buf head = BUF_INIT;
	begin_page(l);
	buf_add_u8(&head, (uint8_t)at);
	buf_add_u8(&head, (uint8_t)w->kind);
	buf_add_varint(&head, l->count);
	if (!buf_ok(&head) || !buf_ok(&l->page))
		return error_set(err, ERR_NOMEM, "out of memory");
	uint8_t *page = l->page.data + HEAD_ROOM - head.len;
	memcpy(page, head.data, head.len);
	if (w->put(w->cookie, page, l->page.len - HEAD_ROOM + head.len, ret, err) < 0)
		return -1;
	l->flushed++;
	buf_clear(&l->page);
	return 0;
}

/* Stores the page of level at and adds it to the level above, whose page may be complete with that. */
static int put_page(struct seq_writer *w, unsigned at, struct error *err)
{
	for (bool full = true; full; at++) {
		if (at + 1 >= SEQ_LEVELS_MAX)
			return error_set(err, ERR_INVALID, "list is too long");
		struct level *l = &w->levels[at], *above = l + 1;
		struct id id;
		if (store_page(w, at, &id, err) < 0)
			return -1;
		begin_page(above);
		field_add_id(&above->page, &id);
		buf_add_varint(&above->page, l->span);
		buf_add_varint(&above->page, l->leaf_records);
		buf_add_blob(&above->page, w->key.data, w->key.len);
		if (!buf_ok(&above->page))
			return error_set(err, ERR_NOMEM, "out of memory");
		above->last = id;
		level_add(above, l->span, l->leaf_records);
		l->count = l->span = l->leaf_records = 0;
		size_t size = records_size(above);
		full = size >= SEQ_PAGE_MAX || (size >= SEQ_PAGE_MIN && is_boundary(id.b, ID_SIZE));
	}
	return 0;
}

static int check_record(const struct seq_writer *w, const void *record, size_t len, struct seq_key key, uint64_t span, struct error *err)
{
	struct seq_key own = { NULL, 0 };
	uint64_t own_span;
	if (w->done || len > SEQ_RECORD_MAX)
		return error_set(err, ERR_INVALID, "record of %zu bytes does not go into a list", len);
	if (seq_record_info(w->kind, record, len, &own, &own_span, err) < 0 || own_span != span || seq_key_compare(own, key) != 0)
		return error_set(err, ERR_INVALID, "record does not fit its key, its span or the list's kind");
	if (span > FIELD_LENGTH_MAX - w->total_span)
		return error_set(err, ERR_INVALID, "list spans more than 2^63 - 1");
	if (key.len && w->total_span && seq_key_compare((struct seq_key){ w->key.data, w->key.len }, key) >= 0)
		return error_set(err, ERR_INVALID, "records of a list must ascend by their keys");
	return 0;
}

static int add_record(struct seq_writer *w, const void *record, size_t len, struct seq_key key, uint64_t span, struct error *err)
{
	if (check_record(w, record, len, key, span, err) < 0)
		return -1;
	struct level *l = &w->levels[0];
	/* It stands alone on its page; the page before ends, whatever it holds. */
	if (len > SEQ_PAGE_MAX && l->count && put_page(w, 0, err) < 0)
		return -1;
	begin_page(l);
	buf_add_blob(&l->page, record, len);
	level_add(l, span, 1);
	w->total_span += span;
	buf_clear(&w->key);
	buf_add(&w->key, key.bytes, key.len);
	if (!buf_ok(&l->page) || !buf_ok(&w->key))
		return error_set(err, ERR_NOMEM, "out of memory");
	size_t size = records_size(l);
	if (size >= SEQ_PAGE_MAX || (size >= SEQ_PAGE_MIN && is_boundary(record, len)))
		return put_page(w, 0, err);
	return 0;
}

int seq_add(struct seq_writer *w, const void *record, size_t len, const void *key, size_t key_len, uint64_t span, struct error *err)
{
	if (add_record(w, record, len, (struct seq_key){ key, key_len }, span, err) < 0) {
		w->done = true;
		return -1;
	}
	return 0;
}

int seq_finish(struct seq_writer *w, struct id *ret_root, struct error *err)
{
	if (w->done)
		return error_set(err, ERR_INVALID, "list is finished already, or failed");
	w->done = true;
	for (unsigned at = 0; at < SEQ_LEVELS_MAX; at++) {
		struct level *l = &w->levels[at];
		bool top = l->flushed == 0;
		if (top && at && l->count == 1) {
			*ret_root = l->last;
			return 0;
		}
		if (top)
			return store_page(w, at, ret_root, err);
		if (l->count && put_page(w, at, err) < 0)
			return -1;
	}
	return error_set(err, ERR_INVALID, "list is too long");
}
