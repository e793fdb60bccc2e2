/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/log.h"

#include <stdlib.h>
#include <string.h>

#include "repo/format/tags.h"

enum { LOG_TIME = 2, LOG_HOST = 5, LOG_BEFORE = 6, LOG_ADDED = 8, LOG_FORGOTTEN = 10, LOG_REPLACED = 12, LOG_HASHES = 13, LOG_VOUCHERS = 15, LOG_SIGNER = 17, LOG_SIGNATURE = 19 };
#define LOG_ONCE (TAG_BIT(LOG_HASHES) | TAG_BIT(LOG_VOUCHERS) | TAG_BIT(LOG_SIGNATURE) | TAG_BIT(LOG_TIME) | TAG_BIT(LOG_HOST) | TAG_BIT(LOG_BEFORE) | TAG_BIT(LOG_ADDED) | TAG_BIT(LOG_FORGOTTEN) | TAG_BIT(LOG_REPLACED))

void log_signers_done(struct log_signers *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i].name);
	free(l->items);
	*l = (struct log_signers){ 0 };
}

int log_signers_add(struct log_signers *l, const struct log_signer *s)
{
	struct log_signer copy = *s, *items = reallocarray(l->items, l->count + 1, sizeof *items);
	if (!items)
		return -1;
	l->items = items;
	if (!(copy.name = strdup(s->name)))
		return -1;
	l->items[l->count++] = copy;
	return 0;
}

void log_entry_done(struct log_entry *e)
{
	free(e->host);
	buf_done(&e->before);
	buf_done(&e->added);
	buf_done(&e->forgotten);
	buf_done(&e->replaced);
	buf_done(&e->hashes);
	buf_done(&e->vouchers);
	log_signers_done(&e->signers);
	*e = (struct log_entry){ 0 };
}

static void put_list(struct buf *b, unsigned tag, const struct buf *list)
{
	if (!list->len)
		return;
	buf_add_varint(b, tag);
	buf_add_blob(b, list->data, list->len);
}

static void put_signer(struct buf *b, const struct log_signer *s)
{
	CLEAN_BUF struct buf value = BUF_INIT;
	buf_add(&value, s->key, LOG_KEY_SIZE);
	field_add_time(&value, s->time);
	buf_add_blob(&value, s->name, strlen(s->name));
	buf_add(&value, s->signature, LOG_SIGNATURE_SIZE);
	tag_put(b, LOG_SIGNER, &value);
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
	put_list(b, LOG_HASHES, &e->hashes);
	put_list(b, LOG_VOUCHERS, &e->vouchers);
	for (size_t i = 0; i < e->signers.count; i++)
		put_signer(b, &e->signers.items[i]);
	if (e->is_signed) {
		buf_add_varint(b, LOG_SIGNATURE);
		buf_add_varint(b, LOG_KEY_SIZE + LOG_SIGNATURE_SIZE);
		buf_add(b, e->signer, LOG_KEY_SIZE);
		buf_add(b, e->signature, LOG_SIGNATURE_SIZE);
	}
}

/* All of the value: items of size bytes, ascending by their first order bytes (0: in no order); at least one. */
static int take_list(struct tags *t, size_t size, size_t order, struct buf *ret, struct error *err)
{
	size_t len = cursor_left(&t->value);
	const uint8_t *p = cursor_take(&t->value, len);
	if (len == 0 || len % size)
		return error_set(err, ERR_CORRUPT, "damaged entry of the log (list of ids)");
	for (size_t at = size; order && at < len; at += size)
		if (memcmp(p + at - size, p + at, order) >= 0)
			return error_set(err, ERR_CORRUPT, "damaged entry of the log (order of ids)");
	buf_add(ret, p, len);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

static void take_bytes(struct cursor *c, uint8_t *ret, size_t len)
{
	const uint8_t *p = cursor_take(c, len);
	if (p)
		memcpy(ret, p, len);
}

static int take_signer(struct log_entry *e, struct tags *t, struct error *err)
{
	struct log_signer s = { .name = NULL };
	const struct log_signers *l = &e->signers;
	take_bytes(&t->value, s.key, LOG_KEY_SIZE);
	s.time = field_time(&t->value);
	if (field_text(&t->value, LOG_NAME_MAX, &s.name) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	take_bytes(&t->value, s.signature, LOG_SIGNATURE_SIZE);
	CLEAN_FREE char *name = s.name;
	if (tag_end(t, err) < 0)
		return -1;
	if (!name || l->count >= LOG_SIGNERS_MAX || (l->count && memcmp(l->items[l->count - 1].key, s.key, LOG_KEY_SIZE) >= 0))
		return error_set(err, ERR_CORRUPT, "damaged entry of the log (signing keys)");
	return log_signers_add(&e->signers, &s) < 0 ? error_set(err, ERR_NOMEM, "out of memory") : 0;
}

static int take_signature(struct log_entry *e, struct tags *t, struct error *err)
{
	take_bytes(&t->value, e->signer, LOG_KEY_SIZE);
	take_bytes(&t->value, e->signature, LOG_SIGNATURE_SIZE);
	e->is_signed = true;
	return tag_end(t, err);
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
		return take_list(t, ID_SIZE, ID_SIZE, &e->before, err);
	case LOG_ADDED:
		return take_list(t, LOG_ADDED_SIZE, ID_SIZE, &e->added, err);
	case LOG_FORGOTTEN:
		return take_list(t, ID_SIZE, ID_SIZE, &e->forgotten, err);
	case LOG_REPLACED:
		return take_list(t, ID_SIZE, ID_SIZE, &e->replaced, err);
	case LOG_HASHES:
		return take_list(t, ID_SIZE, 0, &e->hashes, err);
	case LOG_VOUCHERS:
		return take_list(t, LOG_VOUCHER_SIZE, LOG_VOUCHER_ORDER, &e->vouchers, err);
	case LOG_SIGNER:
		return take_signer(e, t, err);
	case LOG_SIGNATURE:
		return take_signature(e, t, err);
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
	for (bool more = true; more;) {
		size_t before = (size_t)(t.list.p - bytes);
		if (tags_next(&t, LOG_ONCE, &more, err) < 0)
			return -1;
		if (more && t.tag == LOG_SIGNATURE)
			e.signed_len = before;
		if (more && log_field(&e, &t, err) < 0)
			return -1;
	}
	if (e.hashes.len && e.hashes.len != e.before.len)
		return error_set(err, ERR_CORRUPT, "damaged entry of the log (hashes)");
	if (tags_require(&t, TAG_BIT(LOG_TIME), 0, err) < 0)
		return -1;
	if (!e.host && !(e.host = strdup("")))
		return error_set(err, ERR_NOMEM, "out of memory");
	*ret = e;
	e = (struct log_entry){ 0 };
	return 0;
}
