/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/marks.h"

#include <stdlib.h>

#include "repo/object.h"

/* --- marks --------------------------------------------------------------------------------- */

void marks_done(struct marks *m)
{
	buf_done(&m->objects);
	buf_done(&m->packs);
	buf_done(&m->fenced);
}

static int read_one(struct marks *m, struct repo *r, enum seal_kind kind, const struct id *id, struct error *err)
{
	CLEAN(tombstone_done) struct tombstone t = { 0 };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	char key[OBJECT_KEY_MAX];
	struct error why = { 0 };
	if (object_read(r->store, r->keys, kind, id, TOMBSTONE_BYTES_MAX, NULL, &bytes, &why) == 0 && tombstone_decode(&t, bytes.data, bytes.len, &why) == 0) {
		buf_add(&m->objects, id->b, ID_SIZE);
		buf_add(&m->packs, t.packs, kind == SEAL_TOMBSTONE ? t.pack_count * ID_SIZE : 0);
		buf_add(&m->fenced, t.fenced, kind == SEAL_FENCE ? t.fenced_count * ID_SIZE : 0);
		return 0;
	}
	if (why.kind == ERR_NOT_FOUND)
		return 0;
	object_key(kind, id, key);
	if (why.kind == ERR_CORRUPT)
		return error_set(err, why.kind, "%s cannot be read (%.200s), so what is about to be deleted is not known; %s", key, why.text,
		                 kind == SEAL_TOMBSTONE ? "run twofold prune, which replaces it" : "run twofold repair");
	return error_set(err, why.kind, "read %s: %s", key, why.text);
}

static int read_all(struct marks *m, struct repo *r, enum seal_kind kind, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (ids_list(r->store, object_prefix(kind), &ids, err) < 0)
		return error_add(err, "look for what is about to be deleted");
	/* Who may only write sees that something is there, not what it says. */
	if (seal_is_write_only(r->keys)) {
		buf_add(&m->objects, ids.data, ids.len);
		*(kind == SEAL_FENCE ? &m->unread_fences : &m->unread_tombstones) = ids.len > 0;
		return 0;
	}
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (read_one(m, r, kind, &id, err) < 0)
			return -1;
	}
	return 0;
}

static int finish(struct marks *ret, struct marks *m, struct error *err)
{
	if (!buf_ok(&m->objects) || !buf_ok(&m->packs) || !buf_ok(&m->fenced))
		return error_set(err, ERR_NOMEM, "look for what is about to be deleted: out of memory");
	ids_order(&m->objects);
	ids_order(&m->packs);
	ids_order(&m->fenced);
	marks_done(ret);
	*ret = *m;
	*m = (struct marks)MARKS_INIT;
	return 0;
}

int marks_read(struct marks *ret, struct repo *repo, struct error *err)
{
	CLEAN(marks_done) struct marks m = MARKS_INIT;
	/* Tombstones first: one that was withdrawn because its collector was fenced is gone only after the fence is there. */
	if (read_all(&m, repo, SEAL_TOMBSTONE, err) < 0 || read_all(&m, repo, SEAL_FENCE, err) < 0)
		return -1;
	return finish(ret, &m, err);
}

int marks_read_fences(struct marks *ret, struct repo *repo, struct error *err)
{
	CLEAN(marks_done) struct marks m = MARKS_INIT;
	return read_all(&m, repo, SEAL_FENCE, err) < 0 ? -1 : finish(ret, &m, err);
}

bool marks_is_fenced(const struct marks *m, const struct id *session)
{
	return ids_have(&m->fenced, session);
}

bool marks_has_news(const struct marks *before, const struct marks *now)
{
	for (size_t at = 0; at < now->objects.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, now->objects.data + at, ID_SIZE);
		if (!ids_have(&before->objects, &id))
			return true;
	}
	return false;
}
