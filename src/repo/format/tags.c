/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/format/tags.h"

#include <stdlib.h>

#include "repo/format/document.h"

void tags_begin(struct buf *b)
{
	buf_add_le16(b, FORMAT_VERSION);
}

void tag_put(struct buf *b, unsigned tag, struct buf *value)
{
	b->failed |= value->failed;
	buf_add_varint(b, tag);
	buf_add_blob(b, value->data, value->len);
	buf_clear(value);
}

void tag_put_text(struct buf *b, unsigned tag, const char *text)
{
	if (!text || !*text)
		return;
	buf_add_varint(b, tag);
	buf_add_blob(b, text, strlen(text));
}

void tag_put_id(struct buf *b, unsigned tag, const struct id *id)
{
	buf_add_varint(b, tag);
	buf_add_blob(b, id->b, ID_SIZE);
}

void tag_put_time(struct buf *b, unsigned tag, struct time_ns t)
{
	CLEAN_BUF struct buf value = BUF_INIT;
	field_add_time(&value, t);
	tag_put(b, tag, &value);
}

static int damaged(const struct tags *t, struct error *err)
{
	return error_set(err, ERR_CORRUPT, "damaged %s (field %llu)", t->what, (unsigned long long)t->tag);
}

int tags_open(struct tags *t, const char *what, const void *bytes, size_t len, struct error *err)
{
	*t = (struct tags){ .list = cursor_of(bytes, len), .what = what };
	uint16_t version = cursor_le16(&t->list);
	if (version > FORMAT_VERSION)
		return error_set(err, ERR_UNSUPPORTED, "%s has format version %u, this program knows up to %u", what, version, FORMAT_VERSION);
	return cursor_ok(&t->list) && version ? 0 : damaged(t, err);
}

int tags_next(struct tags *t, uint64_t once, bool *ret_more, struct error *err)
{
	*ret_more = cursor_left(&t->list) != 0;
	if (!*ret_more)
		return 0;
	uint64_t last = t->tag;
	t->tag = cursor_varint(&t->list);
	size_t len = 0;
	const uint8_t *p = cursor_blob(&t->list, SIZE_MAX, &len);
	bool may_repeat = last > 63 || !(once & TAG_BIT(last));
	if (!cursor_ok(&t->list) || t->tag == 0 || t->tag < last || (t->tag == last && !may_repeat))
		return damaged(t, err);
	t->value = cursor_of(p, len);
	if (t->tag < 64)
		t->seen |= TAG_BIT(t->tag);
	return 0;
}

int tag_unknown(const struct tags *t, struct error *err)
{
	if (t->tag & 1)
		return 0;
	return error_set(err, ERR_UNSUPPORTED, "%s has field %llu, which this program does not know and may not ignore", t->what,
	                 (unsigned long long)t->tag);
}

int tag_end(const struct tags *t, struct error *err)
{
	return cursor_ok(&t->value) && cursor_left(&t->value) == 0 ? 0 : damaged(t, err);
}

int tag_text(struct tags *t, char **ret, struct error *err)
{
	size_t len = cursor_left(&t->value);
	if (len == 0 || len > TAG_TEXT_MAX || memchr(t->value.p, 0, len))
		return damaged(t, err);
	char *text = malloc(len + 1);
	if (!text)
		return error_set(err, ERR_NOMEM, "out of memory");
	memcpy(text, cursor_take(&t->value, len), len);
	text[len] = 0;
	free(*ret);
	*ret = text;
	return 0;
}

int tags_require(const struct tags *t, uint64_t tags, uint64_t others, struct error *err)
{
	if ((t->seen & tags) != tags)
		return error_set(err, ERR_CORRUPT, "damaged %s (field %d is missing)", t->what, __builtin_ctzll(tags & ~t->seen));
	if (t->seen & others)
		return error_set(err, ERR_CORRUPT, "damaged %s (field %d does not belong there)", t->what, __builtin_ctzll(t->seen & others));
	return 0;
}
