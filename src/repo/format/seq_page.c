/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/seq_page.h"

#include <string.h>

#include "repo/format/fields.h"
#include "repo/format/node.h"

/* Bytes of the shortest child and record in a page. */
#define CHILD_SIZE_MIN (ID_SIZE + 3u)
#define RECORD_SIZE_MIN 2u

int seq_key_compare(struct seq_key a, struct seq_key b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int c = len ? memcmp(a.bytes, b.bytes, len) : 0;
	if (c)
		return c;
	return a.len < b.len ? -1 : a.len > b.len;
}

bool seq_summary_equal(const struct seq_summary *a, const struct seq_summary *b)
{
	return a->span == b->span && a->records == b->records && seq_key_compare(a->last, b->last) == 0;
}

int seq_record_info(enum seq_kind kind, const uint8_t *record, size_t len, struct seq_key *ret_key, uint64_t *ret_span, struct error *err)
{
	struct cursor c = cursor_of(record, len);
	struct seq_key key = { NULL, 0 };
	uint64_t span = 1;
	switch (kind) {
	case SEQ_ENTRIES:
		if (node_decode_name(record, len, &key.bytes, &key.len, err) < 0)
			return -1;
		break;
	case SEQ_INODES:
		key = (struct seq_key){ cursor_take(&c, 8), 8 };
		break;
	case SEQ_CONTENT:
		span = field_varint(&c) >> 1;
		break;
	case SEQ_MAP:
		span = field_varint(&c) >> 2;
		break;
	}
	if (!cursor_ok(&c) || span == 0)
		return error_set(err, ERR_CORRUPT, "damaged record in a list");
	*ret_key = key;
	*ret_span = span;
	return 0;
}

struct seq_child seq_child_at(const uint8_t **at, const uint8_t *end)
{
	struct cursor c = { *at, end, false };
	struct seq_child child = { .id = field_id(&c) };
	child.sum.span = field_varint(&c);
	child.sum.records = field_varint(&c);
	child.sum.last.bytes = cursor_blob(&c, SEQ_KEY_MAX, &child.sum.last.len);
	*at = c.bad ? NULL : c.p;
	return child;
}

const uint8_t *seq_record_at(const uint8_t **at, const uint8_t *end, size_t *ret_len)
{
	struct cursor c = { *at, end, false };
	const uint8_t *record = cursor_blob(&c, SEQ_RECORD_MAX, ret_len);
	*at = c.p;
	return record;
}

static bool has_keys(enum seq_kind kind)
{
	return kind == SEQ_ENTRIES || kind == SEQ_INODES;
}

/* Adds what one record or child holds; false: out of order, or too much. */
static bool add_up(struct seq_summary *sum, const struct seq_summary *more, enum seq_kind kind)
{
	if (more->span == 0 || more->records == 0 || more->span > FIELD_LENGTH_MAX - sum->span ||
	    more->records > FIELD_LENGTH_MAX - sum->records)
		return false;
	if (has_keys(kind) ? sum->last.bytes && seq_key_compare(sum->last, more->last) >= 0 : more->last.len != 0)
		return false;
	sum->span += more->span;
	sum->records += more->records;
	sum->last = more->last;
	return true;
}

static int check_branch(const struct seq_page *page, struct seq_summary *sum, enum seq_kind kind, struct error *err)
{
	const uint8_t *at = page->records;
	for (uint64_t i = 0; i < page->count; i++) {
		struct seq_child child = seq_child_at(&at, page->end);
		if (!at || (has_keys(kind) && child.sum.last.len == 0) || !add_up(sum, &child.sum, kind))
			return error_set(err, ERR_CORRUPT, "damaged branch page of a list");
	}
	return at == page->end ? 0 : error_set(err, ERR_CORRUPT, "branch page of a list has bytes left over");
}

static int check_leaf(const struct seq_page *page, struct seq_summary *sum, enum seq_kind kind, struct error *err)
{
	const uint8_t *at = page->records;
	for (uint64_t i = 0; i < page->count; i++) {
		size_t len = 0;
		const uint8_t *record = seq_record_at(&at, page->end, &len);
		struct seq_summary one = { .records = 1 };
		if (!record)
			return error_set(err, ERR_CORRUPT, "damaged leaf page of a list");
		if (seq_record_info(kind, record, len, &one.last, &one.span, err) < 0)
			return -1;
		if (!add_up(sum, &one, kind))
			return error_set(err, ERR_CORRUPT, "records of a list are out of order");
	}
	return at == page->end ? 0 : error_set(err, ERR_CORRUPT, "leaf page of a list has bytes left over");
}

int seq_page_open(struct seq_page *ret, struct seq_summary *ret_sum, enum seq_kind kind, const uint8_t *bytes, size_t len, struct seq_key after,
                  struct error *err)
{
	struct cursor c = cursor_of(bytes, len);
	struct seq_page page = { .level = cursor_u8(&c) };
	uint8_t page_kind = cursor_u8(&c);
	page.count = field_varint(&c);
	page.records = c.p;
	page.end = c.end;
	size_t shortest = page.level ? CHILD_SIZE_MIN : RECORD_SIZE_MIN;
	if (!cursor_ok(&c) || len > SEQ_PAGE_LIMIT || page.level >= SEQ_LEVELS_MAX || page.count > cursor_left(&c) / shortest ||
	    (page.level && page.count == 0))
		return error_set(err, ERR_CORRUPT, "damaged page of a list");
	if (page_kind != kind)
		return error_set(err, ERR_CORRUPT, "page of a list has kind %u where %u belongs", page_kind, (unsigned)kind);
	struct seq_summary sum = { .last = after };
	if ((page.level ? check_branch(&page, &sum, kind, err) : check_leaf(&page, &sum, kind, err)) < 0)
		return -1;
	*ret = page;
	*ret_sum = sum;
	return 0;
}

int seq_page_records(enum seq_kind kind, const uint8_t *bytes, size_t len, seq_record_fn fn, void *cookie, struct error *err)
{
	struct seq_page page;
	struct seq_summary sum;
	if (seq_page_open(&page, &sum, kind, bytes, len, (struct seq_key){ NULL, 0 }, err) < 0)
		return -1;
	if (page.level)
		return 0;
	const uint8_t *at = page.records;
	for (uint64_t i = 0; i < page.count; i++) {
		size_t record_len = 0;
		const uint8_t *record = seq_record_at(&at, page.end, &record_len);
		if (fn(cookie, record, record_len, err) < 0)
			return -1;
	}
	return 0;
}
