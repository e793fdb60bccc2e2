/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/unfinished.h"

#include <stdlib.h>
#include <string.h>

#include "repo/object.h"

#define NOTE_BYTES_MAX (64u << 10)
#define FUTURE_SECONDS (24 * 3600) /* clocks of two machines may differ by so much */

int unfinished_note(struct repo *repo, const struct id *session, const struct session *document, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id;
	bool makes_snapshots = document->work == WORK_BACKUP || document->work == WORK_IMAGE || document->work == WORK_COPY;
	if (!makes_snapshots || seal_is_write_only(repo->keys))
		return 0;
	session_encode(&bytes, document);
	if (!buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "note interrupted work: out of memory");
	seal_random(id.b, ID_SIZE);
	return object_write(repo->store, repo->keys, SEAL_UNFINISHED, &id, session, bytes.data, bytes.len, err);
}

void unfinished_list_done(struct unfinished_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		session_done(&l->items[i].document);
	free(l->items);
	*l = (struct unfinished_list){ 0 };
}

static int64_t last_sign(const struct unfinished *u)
{
	return u->document.refreshed.sec;
}

static bool is_within(int64_t at, int64_t now, uint64_t seconds)
{
	if (at > now)
		return (uint64_t)at - (uint64_t)now <= FUTURE_SECONDS;
	return (uint64_t)now - (uint64_t)at < seconds;
}

static bool is_kept(const struct unfinished_list *l, const struct unfinished *u, uint64_t seconds, int64_t now)
{
	if (!u->document.host || !is_within(last_sign(u), now, seconds * UNFINISHED_KEEP_TIMES))
		return false;
	for (size_t i = 0; i < l->count; i++) {
		const struct unfinished *other = &l->items[i];
		if (other->document.host && other->document.work == u->document.work && strcmp(other->document.host, u->document.host) == 0 && is_within(last_sign(other), now, seconds))
			return true;
	}
	return false;
}

int unfinished_read(struct unfinished_list *ret, struct repo *repo, uint64_t keep_seconds, struct error *err)
{
	CLEAN(unfinished_list_done) struct unfinished_list l = { 0 };
	CLEAN_BUF struct buf objects = BUF_INIT;
	if (ids_list(repo->store, object_prefix(SEAL_UNFINISHED), &objects, err) < 0)
		return error_add(err, "look for interrupted work");
	l.items = calloc(objects.len / ID_SIZE + 1, sizeof *l.items);
	if (!l.items || !buf_ok(&objects))
		return error_set(err, ERR_NOMEM, "look for interrupted work: out of memory");
	for (size_t at = 0; at < objects.len; at += ID_SIZE) {
		CLEAN_BUF struct buf bytes = BUF_INIT;
		struct error why = { 0 };
		struct unfinished *u = &l.items[l.count];
		memcpy(u->object.b, objects.data + at, ID_SIZE);
		if (object_read(repo->store, repo->keys, SEAL_UNFINISHED, &u->object, NOTE_BYTES_MAX, &u->session, &bytes, &why) == 0)
			session_decode(&u->document, bytes.data, bytes.len, NULL);
		else if (why.kind == ERR_NOT_FOUND)
			continue;
		else if (why.kind != ERR_CORRUPT && why.kind != ERR_UNSUPPORTED)
			return error_set(err, why.kind, "look for interrupted work: %s", why.text);
		l.count++;
	}
	for (size_t i = 0; i < l.count; i++)
		l.items[i].kept = keep_seconds && is_kept(&l, &l.items[i], keep_seconds, time_now().sec);
	*ret = l;
	memset(&l, 0, sizeof l); /* *ret has them now */
	return 0;
}
