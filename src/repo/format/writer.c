/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What makes write-only keys work: the box with a session's key, and the secret half of the key pair. */
#include <stdlib.h>

#include "repo/format/document.h"
#include "repo/format/tags.h"

static const uint8_t magic[8] = { '2', 'F', 'O', 'L', 'D', 'S', 'E', 'S' };

enum { WRITER_CREATED = 2, WRITER_SECRET = 4, WRITER_LABEL = 5 };
#define WRITER_NEEDED (TAG_BIT(WRITER_CREATED) | TAG_BIT(WRITER_SECRET))
#define WRITER_ALL (WRITER_NEEDED | TAG_BIT(WRITER_LABEL))

void session_box_encode(uint8_t ret[SESSION_BOX_SIZE], const struct session_box *s)
{
	memset(ret, 0, SESSION_BOX_SIZE);
	memcpy(ret, magic, sizeof magic);
	put_le16(ret + 8, 1);
	memcpy(ret + 16, s->session.b, ID_SIZE);
	memcpy(ret + 48, s->writer.b, ID_SIZE);
	memcpy(ret + 80, s->box, SEAL_BOX_SIZE);
}

int session_box_decode(struct session_box *ret, const uint8_t *bytes, size_t len, struct error *err)
{
	static const uint8_t zeros[6];
	if (len < 10 || memcmp(bytes, magic, sizeof magic) != 0)
		return error_set(err, ERR_CORRUPT, "the key of a session is damaged: it does not begin as one does");
	if (get_le16(bytes + 8) > 1)
		return error_set(err, ERR_UNSUPPORTED, "the key of a session has version %u, this program knows 1: use a newer twofold", get_le16(bytes + 8));
	if (len != SESSION_BOX_SIZE || get_le16(bytes + 8) != 1 || memcmp(bytes + 10, zeros, sizeof zeros) != 0)
		return error_set(err, ERR_CORRUPT, "the key of a session is damaged");
	memcpy(ret->session.b, bytes + 16, ID_SIZE);
	memcpy(ret->writer.b, bytes + 48, ID_SIZE);
	memcpy(ret->box, bytes + 80, SEAL_BOX_SIZE);
	return 0;
}

void writer_key_done(struct writer_key *w)
{
	explicit_bzero(w->secret_half, sizeof w->secret_half);
	free(w->label);
	w->label = NULL;
}

void writer_key_encode(struct buf *b, const struct writer_key *w)
{
	CLEAN_BUF struct buf value = BUF_INIT;
	tags_begin(b);
	tag_put_time(b, WRITER_CREATED, w->created);
	buf_add(&value, w->secret_half, sizeof w->secret_half);
	tag_put(b, WRITER_SECRET, &value);
	tag_put_text(b, WRITER_LABEL, w->label);
}

static int writer_field(struct writer_key *w, struct tags *t, struct error *err)
{
	struct id half;
	switch (t->tag) {
	case WRITER_CREATED:
		w->created = field_time(&t->value);
		break;
	case WRITER_SECRET:
		half = field_id(&t->value);
		memcpy(w->secret_half, half.b, sizeof w->secret_half);
		explicit_bzero(&half, sizeof half);
		break;
	case WRITER_LABEL:
		if (tag_text(t, &w->label, err) < 0)
			return -1;
		break;
	default:
		return tag_unknown(t, err);
	}
	return tag_end(t, err);
}

int writer_key_decode(struct writer_key *ret, const uint8_t *bytes, size_t len, struct error *err)
{
	CLEAN(writer_key_done) struct writer_key w = { 0 };
	struct tags t;
	if (tags_open(&t, "write-only key", bytes, len, err) < 0)
		return -1;
	for (bool more = true; more;) {
		if (tags_next(&t, WRITER_ALL, &more, err) < 0 || (more && writer_field(&w, &t, err) < 0))
			return -1;
	}
	if (tags_require(&t, WRITER_NEEDED, 0, err) < 0)
		return -1;
	if (!w.label && !(w.label = strdup("")))
		return error_set(err, ERR_NOMEM, "out of memory");
	*ret = w;
	w = (struct writer_key){ 0 };
	return 0;
}
