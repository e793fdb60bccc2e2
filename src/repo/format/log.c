/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/log.h"

#include <stdlib.h>
#include <string.h>

#include "repo/format/tags.h"

enum { LOG_TIME = 2, LOG_HOST = 5, LOG_BEFORE = 6, LOG_ADDED = 8, LOG_FORGOTTEN = 10, LOG_REPLACED = 12 };
#define LOG_ALL (TAG_BIT(LOG_TIME) | TAG_BIT(LOG_HOST) | TAG_BIT(LOG_BEFORE) | TAG_BIT(LOG_ADDED) | TAG_BIT(LOG_FORGOTTEN) | TAG_BIT(LOG_REPLACED))

void log_entry_done(struct log_entry *e)
{
	free(e->host);
	buf_done(&e->before);
	buf_done(&e->added);
	buf_done(&e->forgotten);
	buf_done(&e->replaced);
	*e = (struct log_entry){ 0 };
}

static void put_list(struct buf *b, unsigned tag, const struct buf *list)
{
	if (!list->len)
		return;
	buf_add_varint(b, tag);
	buf_add_blob(b, list->data, list->len);
}

void log_entry_encode(struct buf *b, const struct log_entry *e)
{
	tags_begin(b);
	tag_put_time(b, LOG_TIME, e->time);
	tag_put_text(b, LOG_HOST, e->host);
	put_list(b, LOG_BEFORE, &e->before);
	put_list(b, LOG_ADDED, &e->added);
	put_list(b, LOG_FORGOTTEN, &e->forgotten);
	put_list(b, LOG_REPLACED, &e->replaced);
}

/* All of the value: items of size bytes that begin with an id, ascending; at least one. */
static int take_list(struct tags *t, size_t size, struct buf *ret, struct error *err)
{
	size_t len = cursor_left(&t->value);
	const uint8_t *p = cursor_take(&t->value, len);
	if (len == 0 || len % size)
		return error_set(err, ERR_CORRUPT, "damaged entry of the log (list of ids)");
	for (size_t at = size; at < len; at += size)
		if (memcmp(p + at - size, p + at, ID_SIZE) >= 0)
			return error_set(err, ERR_CORRUPT, "damaged entry of the log (order of ids)");
	buf_add(ret, p, len);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

static int log_field(struct log_entry *e, struct tags *t, struct error *err)
{
	switch (t->tag) {
	case LOG_TIME:
		e->time = field_time(&t->value);
		return tag_end(t, err);
	case LOG_HOST:
		return tag_text(t, &e->host, err) < 0 ? -1 : tag_end(t, err);
	case LOG_BEFORE:
		return take_list(t, ID_SIZE, &e->before, err);
	case LOG_ADDED:
		return take_list(t, LOG_ADDED_SIZE, &e->added, err);
	case LOG_FORGOTTEN:
		return take_list(t, ID_SIZE, &e->forgotten, err);
	case LOG_REPLACED:
		return take_list(t, ID_SIZE, &e->replaced, err);
	default:
		return tag_unknown(t, err);
	}
}

int log_entry_decode(struct log_entry *ret, const uint8_t *bytes, size_t len, struct error *err)
{
	CLEAN(log_entry_done) struct log_entry e = { 0 };
	struct tags t;
	if (tags_open(&t, "entry of the log", bytes, len, err) < 0)
		return -1;
	for (bool more = true; more;)
		if (tags_next(&t, LOG_ALL, &more, err) < 0 || (more && log_field(&e, &t, err) < 0))
			return -1;
	if (tags_require(&t, TAG_BIT(LOG_TIME), 0, err) < 0)
		return -1;
	if (!e.host && !(e.host = strdup("")))
		return error_set(err, ERR_NOMEM, "out of memory");
	*ret = e;
	e = (struct log_entry){ 0 };
	return 0;
}
