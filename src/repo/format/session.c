/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Session and tombstone: what writers and the collector tell each other. */
#include <stdlib.h>

#include "repo/format/document.h"
#include "repo/format/tags.h"

enum { SESSION_STARTED = 2, SESSION_REFRESHED = 4, SESSION_HOST = 5, SESSION_PID = 7, SESSION_WORK = 9, SESSION_PROCESS = 11 };
enum { TOMBSTONE_TIME = 2, TOMBSTONE_SESSION = 4, TOMBSTONE_PACKS = 8, TOMBSTONE_FENCED = 10, TOMBSTONE_AWAITED = 11 };
#define SESSION_NEEDED (TAG_BIT(SESSION_STARTED) | TAG_BIT(SESSION_REFRESHED) | TAG_BIT(SESSION_PID) | TAG_BIT(SESSION_WORK))
#define SESSION_ALL (SESSION_NEEDED | TAG_BIT(SESSION_HOST) | TAG_BIT(SESSION_PROCESS))
#define TOMBSTONE_ALL \
	(TAG_BIT(TOMBSTONE_TIME) | TAG_BIT(TOMBSTONE_SESSION) | TAG_BIT(TOMBSTONE_PACKS) | TAG_BIT(TOMBSTONE_FENCED) | TAG_BIT(TOMBSTONE_AWAITED))

void session_done(struct session *s)
{
	free(s->host);
	free(s->process);
	*s = (struct session){ 0 };
}

void session_encode(struct buf *b, const struct session *s)
{
	CLEAN_BUF struct buf value = BUF_INIT;
	tags_begin(b);
	tag_put_time(b, SESSION_STARTED, s->started);
	tag_put_time(b, SESSION_REFRESHED, s->refreshed);
	tag_put_text(b, SESSION_HOST, s->host);
	buf_add_varint(&value, s->pid);
	tag_put(b, SESSION_PID, &value);
	buf_add_u8(&value, s->work);
	tag_put(b, SESSION_WORK, &value);
	tag_put_text(b, SESSION_PROCESS, s->process);
}

static int session_field(struct session *s, struct tags *t, struct error *err)
{
	switch (t->tag) {
	case SESSION_STARTED:
		s->started = field_time(&t->value);
		break;
	case SESSION_REFRESHED:
		s->refreshed = field_time(&t->value);
		break;
	case SESSION_HOST:
		if (tag_text(t, &s->host, err) < 0)
			return -1;
		break;
	case SESSION_PID:
		s->pid = field_varint(&t->value);
		break;
	case SESSION_WORK:
		s->work = cursor_u8(&t->value);
		break;
	case SESSION_PROCESS:
		if (tag_text(t, &s->process, err) < 0)
			return -1;
		break;
	default:
		return tag_unknown(t, err);
	}
	return tag_end(t, err);
}

int session_decode(struct session *ret, const uint8_t *bytes, size_t len, struct error *err)
{
	CLEAN(session_done) struct session s = { 0 };
	struct tags t;
	if (tags_open(&t, "session", bytes, len, err) < 0)
		return -1;
	for (bool more = true; more;) {
		if (tags_next(&t, SESSION_ALL, &more, err) < 0 || (more && session_field(&s, &t, err) < 0))
			return -1;
	}
	if (tags_require(&t, SESSION_NEEDED, 0, err) < 0)
		return -1;
	if ((!s.host && !(s.host = strdup(""))) || (!s.process && !(s.process = strdup(""))))
		return error_set(err, ERR_NOMEM, "out of memory");
	*ret = s;
	s = (struct session){ 0 };
	return 0;
}

/* --- tombstone ------------------------------------------------------------------ */

void tombstone_done(struct tombstone *t)
{
	free(t->packs);
	free(t->fenced);
	free(t->awaited);
	*t = (struct tombstone){ 0 };
}

static void put_ids(struct buf *b, unsigned tag, const struct id *ids, size_t count)
{
	if (count == 0)
		return;
	buf_add_varint(b, tag);
	buf_add_blob(b, ids, count * sizeof *ids);
}

void tombstone_encode(struct buf *b, const struct tombstone *t)
{
	tags_begin(b);
	tag_put_time(b, TOMBSTONE_TIME, t->time);
	tag_put_id(b, TOMBSTONE_SESSION, &t->session);
	put_ids(b, TOMBSTONE_PACKS, t->packs, t->pack_count);
	put_ids(b, TOMBSTONE_FENCED, t->fenced, t->fenced_count);
	put_ids(b, TOMBSTONE_AWAITED, t->awaited, t->awaited_count);
}

/* All of the value: ids that ascend; a list that is there is not empty. */
static int take_ids(struct tags *t, struct id **ret, size_t *ret_count, struct error *err)
{
	size_t len = cursor_left(&t->value), count = len / ID_SIZE;
	const uint8_t *p = cursor_take(&t->value, len);
	if (count == 0 || len % ID_SIZE)
		return error_set(err, ERR_CORRUPT, "damaged tombstone (list of ids)");
	for (size_t i = 1; i < count; i++)
		if (memcmp(p + (i - 1) * ID_SIZE, p + i * ID_SIZE, ID_SIZE) >= 0)
			return error_set(err, ERR_CORRUPT, "damaged tombstone (order of ids)");
	struct id *ids = malloc(len);
	if (!ids)
		return error_set(err, ERR_NOMEM, "out of memory");
	memcpy(ids, p, len);
	*ret = ids;
	*ret_count = count;
	return 0;
}

static int tombstone_field(struct tombstone *s, struct tags *t, struct error *err)
{
	switch (t->tag) {
	case TOMBSTONE_TIME:
		s->time = field_time(&t->value);
		break;
	case TOMBSTONE_SESSION:
		s->session = field_id(&t->value);
		break;
	case TOMBSTONE_PACKS:
		return take_ids(t, &s->packs, &s->pack_count, err);
	case TOMBSTONE_FENCED:
		return take_ids(t, &s->fenced, &s->fenced_count, err);
	case TOMBSTONE_AWAITED:
		return take_ids(t, &s->awaited, &s->awaited_count, err);
	default:
		return tag_unknown(t, err);
	}
	return tag_end(t, err);
}

int tombstone_decode(struct tombstone *ret, const uint8_t *bytes, size_t len, struct error *err)
{
	CLEAN(tombstone_done) struct tombstone s = { 0 };
	struct tags t;
	if (tags_open(&t, "tombstone", bytes, len, err) < 0)
		return -1;
	for (bool more = true; more;) {
		if (tags_next(&t, TOMBSTONE_ALL, &more, err) < 0 || (more && tombstone_field(&s, &t, err) < 0))
			return -1;
	}
	if (tags_require(&t, TAG_BIT(TOMBSTONE_TIME) | TAG_BIT(TOMBSTONE_SESSION), 0, err) < 0)
		return -1;
	*ret = s;
	s = (struct tombstone){ 0 };
	return 0;
}
