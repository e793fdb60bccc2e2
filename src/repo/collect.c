/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/collect.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "repo/collect_internal.h"
#include "repo/leftovers.h"
#include "repo/object.h"
#include "repo/settle.h"

#define SWEEP_AGE (24 * 3600) /* seconds: younger files may belong to a put on another machine */

int collect_stopped(const struct collect *c, struct error *err)
{
	if (!progress_stopped(c->options->progress))
		return 0;
	return error_set(err, ERR_CANCELLED, "prune was interrupted; the next one goes on");
}

void collect_tell(const struct collect *c, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;
	if (!c->options->tell)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	c->options->tell(c->options->cookie, text);
}

/* Pauses, but ends early where the user wants to stop. */
static int pause_for(const struct collect *c, uint64_t seconds, struct error *err)
{
	for (uint64_t tenth = 0; tenth < seconds * 10; tenth++) {
		if (collect_stopped(c, err) < 0)
			return -1;
		usleep(100000);
	}
	return 0;
}

/* Until a listing shows what was done so many lags ago. */
static int pause_for_listings(const struct collect *c, unsigned lags, struct error *err)
{
	uint64_t seconds = (uint64_t)lags * c->repo->store->promises.list_lag;
	if (seconds)
		collect_tell(c, "waiting %llu seconds: on this storage a listing may be so old", (unsigned long long)seconds);
	return pause_for(c, seconds, err);
}

/* A listing on this store may be as old as its lag, and so may that of whoever looks at what was just published: twice that. */
int collect_let_it_be_seen(const struct collect *c, struct error *err)
{
	return pause_for_listings(c, 2, err);
}

/* --- documents ------------------------------------------------------------------------------ */

static int publish(struct collect *c, enum seal_kind kind, const struct tombstone *t, struct id *ret, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	tombstone_encode(&bytes, t);
	if (!buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "publish what will be deleted: out of memory");
	seal_random(ret->b, ID_SIZE);
	return object_write(c->repo->store, c->repo->keys, kind, ret, own_session_id(c->session), bytes.data, bytes.len, err);
}

static int publish_tombstone(struct collect *c, struct buf *packs, struct buf *awaited, struct id *ret, struct error *err)
{
	struct tombstone t = { .time = time_now(), .session = *own_session_id(c->session) };
	t.packs = (void *)packs->data;
	t.pack_count = packs->len / ID_SIZE;
	t.awaited = awaited ? (void *)awaited->data : NULL;
	t.awaited_count = awaited ? awaited->len / ID_SIZE : 0;
	return publish(c, SEAL_TOMBSTONE, &t, ret, err);
}

static int remove_object(struct collect *c, enum seal_kind kind, const struct id *id, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	object_key(kind, id, key);
	return c->repo->store->ops->remove(c->repo->store, key, err);
}

/* Nothing was deleted yet: the own tombstone may go, and nobody is disturbed. */
static void withdraw(struct collect *c)
{
	if (c->published)
		remove_object(c, SEAL_TOMBSTONE, &c->tombstone, NULL);
	c->published = false;
}

/* --- 1: other sessions -------------------------------------------------------------------------- */

/* The best that is known of any of its objects. */
static enum session_state state_of(const struct session_list *l, const struct id *session)
{
	enum session_state state = SESSION_FORSAKEN;
	for (size_t i = 0; i < l->count; i++) {
		if (!id_equal(&l->items[i].session, session))
			continue;
		if (l->items[i].state != SESSION_FORSAKEN)
			state = l->items[i].state;
		if (state == SESSION_ALIVE)
			break;
	}
	return state;
}

static int refuse_other(const struct session_list *l, struct error *err)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct session_entry *e = &l->items[i];
		if (e->document.work != WORK_COLLECT || state_of(l, &e->session) != SESSION_ALIVE)
			continue;
		char text[64];
		struct tm tm;
		time_t at = (time_t)e->document.started.sec;
		strftime(text, sizeof text, "%Y-%m-%d %H:%M", localtime_r(&at, &tm) ? &tm : &(struct tm){ 0 });
		return error_set(err, ERR_BUSY, "another prune is at work on this repository, on host %.64s since %s (process %" PRIu64 "); nothing was done", e->document.host, text, e->document.pid);
	}
	return 0;
}

static int list_sessions(struct collect *c, struct session_list *ret, struct error *err)
{
	return session_list_read(ret, c->repo, c->session ? own_session_id(c->session) : NULL, c->options->fence_seconds, err);
}

/* What the process stored is indexed first: whoever comes later finds it only by that. */
static int index_leftovers(struct collect *c, struct error *err)
{
	CLEAN(marks_done) struct marks marks = MARKS_INIT;
	uint64_t packs = 0;
	if (!c->options->keep_seconds || c->indexed)
		return 0;
	if (marks_read(&marks, c->repo, err) < 0 || (c->repo->index ? index_refresh(c->repo->index, NULL, err) : repo_load_index(c->repo, err)) < 0 ||
	    leftovers_index(c->repo, own_session_id(c->session), &marks, &packs, err) < 0)
		return error_add(err, "index what an interrupted run left behind");
	c->indexed = true;
	return 0;
}

/* Its objects go; what it stored is noted as interrupted work. */
static int end_session(struct collect *c, const struct session_list *l, const struct id *session, struct error *err)
{
	for (size_t i = 0; c->options->keep_seconds && i < l->count; i++)
		if (id_equal(&l->items[i].session, session) && !l->items[i].damaged) {
			if (unfinished_note(c->repo, session, &l->items[i].document, err) < 0)
				return -1;
			break;
		}
	return session_delete(c->repo, l, session, err);
}

/* The session is given up: a fence first, then its objects go. */
static int fence(struct collect *c, const struct id *session, struct error *err)
{
	CLEAN(session_list_done) struct session_list l = { 0 };
	struct id id, fenced = *session;
	struct tombstone t = { .time = time_now(), .session = *own_session_id(c->session), .fenced = &fenced, .fenced_count = 1 };
	/* It may have been refreshed, or have ended, this moment. */
	if (list_sessions(c, &l, err) < 0)
		return -1;
	bool there = false;
	for (size_t i = 0; i < l.count; i++)
		there |= id_equal(&l.items[i].session, session);
	if (!there || state_of(&l, session) != SESSION_FORSAKEN)
		return 0;
	if (publish(c, SEAL_FENCE, &t, &id, err) < 0 || end_session(c, &l, session, err) < 0)
		return error_add(err, "give up a session that has not been heard of");
	c->report.fenced++;
	collect_tell(c, "a session of host %s, not heard of for long, was given up: what it stored is kept where a snapshot needs it", l.items[0].document.host);
	return 0;
}

static int clear_sessions(struct collect *c, struct error *err)
{
	CLEAN(session_list_done) struct session_list l = { 0 };
	uint64_t fenced = c->report.fenced;
	if (list_sessions(c, &l, err) < 0 || refuse_other(&l, err) < 0)
		return -1;
	if (c->options->dry_run)
		return 0;
	for (size_t i = 0; i < l.count; i++) {
		enum session_state state = state_of(&l, &l.items[i].session);
		if (state != SESSION_ALIVE && index_leftovers(c, err) < 0)
			return -1;
		if ((state == SESSION_GONE && end_session(c, &l, &l.items[i].session, err) < 0) ||
		    (state == SESSION_FORSAKEN && fence(c, &l.items[i].session, err) < 0))
			return -1;
		if (l.items[i].damaged)
			collect_tell(c, "a session object is damaged, so it cannot be told whether its writer lives, and what is marked stays; twofold repair names it: delete it once no backup is at work");
	}
	return c->report.fenced > fenced ? collect_let_it_be_seen(c, err) : 0;
}

/* --- earlier collections --------------------------------------------------------------------------- */

static bool lives(const struct session_list *l, const struct id *session)
{
	for (size_t i = 0; i < l->count; i++)
		if (id_equal(&l->items[i].session, session))
			return true;
	return false;
}

/* Packs of tombstones all of whose awaited sessions have ended: nobody is left who does not know of them. */
static int find_ripe(struct collect *c, struct error *err)
{
	for (size_t at = 0; at < c->marks.objects.len; at += ID_SIZE) {
		CLEAN(tombstone_done) struct tombstone t = { 0 };
		CLEAN_BUF struct buf bytes = BUF_INIT;
		struct id id;
		memcpy(id.b, c->marks.objects.data + at, ID_SIZE);
		if (object_read(c->repo->store, c->repo->keys, SEAL_TOMBSTONE, &id, TOMBSTONE_BYTES_MAX, NULL, &bytes, NULL) < 0 ||
		    tombstone_decode(&t, bytes.data, bytes.len, NULL) < 0)
			continue; /* a fence, or gone */
		bool ripe = t.awaited_count > 0;
		for (size_t i = 0; i < t.awaited_count; i++)
			ripe &= !lives(&c->sessions, &t.awaited[i]);
		if (ripe)
			buf_add(&c->ripe, t.packs, t.pack_count * ID_SIZE);
	}
	ids_order(&c->ripe);
	return buf_ok(&c->ripe) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

/* --- 2 to 4 ------------------------------------------------------------------------------------------- */

/* Interrupted work that a master key sealed which is to be used no more is not kept. */
static void give_up_old_work(struct collect *c)
{
	struct seal_by by;
	for (size_t i = 0; i < c->unfinished.count; i++)
		if (object_sealed_by(c->repo->store, SEAL_UNFINISHED, &c->unfinished.items[i].object, &by, NULL) == 0 && by.how == SEAL_BY_MASTER && by.epoch < c->options->reseal)
			c->unfinished.items[i].kept = false;
}

static int look(struct collect *c, struct error *err)
{
	if (marks_read(&c->marks, c->repo, err) < 0 || collect_list_packs(c, err) < 0 || list_sessions(c, &c->sessions, err) < 0 ||
	    refuse_other(&c->sessions, err) < 0 || unfinished_read(&c->unfinished, c->repo, c->options->keep_seconds, err) < 0 || find_ripe(c, err) < 0)
		return -1;
	if (c->options->reseal)
		give_up_old_work(c);
	struct pack_info *packs = (void *)c->packs.data;
	for (size_t i = 0; i < c->packs.len / sizeof *packs; i++)
		if (ids_have(&c->ripe, &packs[i].id))
			packs[i].flags |= PACK_RIPE;
	return collect_walk(c, err) < 0 || collect_account(c, err) < 0 ? -1 : collect_choose(c, err);
}

/* A store that is full takes no copies: then the packs that are dead as a whole go first, which makes room for the next prune. */
static int move(struct collect *c, struct error *err)
{
	struct pack_info *packs = (void *)c->packs.data;
	struct error why = { 0 };
	if (collect_move(c, &why) == 0)
		return 0;
	if (why.kind != ERR_NO_SPACE)
		return error_set(err, why.kind, "%s", why.text);
	collect_tell(c, "there is no room to rewrite packs that are partly used (%.200s): only those that are unused as a whole are deleted; run prune once more", why.text);
	writer_free(TAKE(c->writer));
	for (size_t i = 0; i < c->packs.len / sizeof *packs; i++)
		if (packs[i].flags & PACK_MOVE)
			packs[i].flags &= ~(uint32_t)(PACK_MOVE | PACK_GOES);
	c->report.moved_packs = c->report.moved_bytes = 0;
	buf_clear(&c->whole); /* what is in doomed packs only was not copied */
	return 0;
}

/* --- 5 and 6 -------------------------------------------------------------------------------------------- */

/* After the own tombstone is there: nobody else may be collecting, and this session must still count. */
static int alone(struct collect *c, struct session_list *ret_sessions, struct error *err)
{
	CLEAN(marks_done) struct marks marks = MARKS_INIT;
	if (marks_read(&marks, c->repo, err) < 0 || list_sessions(c, ret_sessions, err) < 0 || refuse_other(ret_sessions, err) < 0)
		return -1;
	if (marks_is_fenced(&marks, own_session_id(c->session)))
		return error_set(err, ERR_BUSY, "this prune was paused for so long that another one has given it up; run it again");
	for (size_t at = 0; at < marks.objects.len; at += ID_SIZE) {
		struct id id;
		char key[OBJECT_KEY_MAX];
		bool found = false;
		uint64_t size;
		memcpy(id.b, marks.objects.data + at, ID_SIZE);
		if (ids_have(&c->marks.objects, &id) || id_equal(&id, &c->tombstone))
			continue;
		object_key(SEAL_TOMBSTONE, &id, key);
		if (c->repo->store->ops->stat(c->repo->store, key, &found, &size, err) < 0)
			return -1;
		if (found)
			return error_set(err, ERR_BUSY, "another prune has begun on this repository at the same moment; nothing was deleted");
	}
	return 0;
}

/* Ids of sessions that may not know of the tombstone; those whose process is gone are ended. */
static int still_at_work(struct collect *c, const struct session_list *l, struct buf *ret, struct error *err)
{
	for (size_t i = 0; i < l->count; i++) {
		if (state_of(l, &l->items[i].session) == SESSION_GONE) {
			if (end_session(c, l, &l->items[i].session, err) < 0)
				return -1;
			continue;
		}
		buf_add(ret, l->items[i].session.b, ID_SIZE);
	}
	ids_order(ret);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

/* Removes from awaited what is not listed any more. */
static int drop_ended(struct collect *c, struct buf *awaited, struct error *err)
{
	CLEAN(session_list_done) struct session_list l = { 0 };
	CLEAN_BUF struct buf alive = BUF_INIT;
	size_t kept = 0;
	if (list_sessions(c, &l, err) < 0 || still_at_work(c, &l, &alive, err) < 0)
		return -1;
	for (size_t at = 0; at < awaited->len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, awaited->data + at, ID_SIZE);
		if (!ids_have(&alive, &id))
			continue;
		memcpy(awaited->data + kept, id.b, ID_SIZE);
		kept += ID_SIZE;
	}
	awaited->len = kept;
	return 0;
}

static void tell_awaited(struct collect *c, const struct session_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		if (state_of(l, &l->items[i].session) != SESSION_GONE && (i == 0 || !id_equal(&l->items[i].session, &l->items[i - 1].session)))
			collect_tell(c, "at work since before this prune: host %s, process %" PRIu64, l->items[i].damaged ? "unknown (its session object is damaged)" : l->items[i].document.host,
			             l->items[i].document.pid);
}

/* What has to wait is written down for the next collection; what is ripe goes on. */
static int leave_for_later(struct collect *c, struct buf *awaited, struct error *err)
{
	struct pack_info *packs = (void *)c->packs.data;
	CLEAN_BUF struct buf later = BUF_INIT;
	struct id again;
	for (size_t i = 0; i < c->packs.len / sizeof *packs; i++) {
		if (!(packs[i].flags & PACK_GOES) || packs[i].flags & PACK_RIPE)
			continue;
		packs[i].flags &= ~(uint32_t)PACK_GOES;
		buf_add(&later, packs[i].id.b, ID_SIZE);
		c->report.pending_packs++;
		c->report.pending_bytes += packs[i].size;
	}
	c->report.awaited = awaited->len / ID_SIZE;
	if (!buf_ok(&later))
		return error_set(err, ERR_NOMEM, "out of memory");
	if (later.len && publish_tombstone(c, &later, awaited, &again, err) < 0)
		return -1;
	/* The first one stays until its packs are gone: a listing is no instant, and could miss both. */
	c->published = false;
	return 0;
}

static int announce(struct collect *c, struct error *err)
{
	CLEAN(session_list_done) struct session_list l = { 0 };
	CLEAN_BUF struct buf going = BUF_INIT, awaited = BUF_INIT;
	if (collect_going(c, 0, &going, err) < 0)
		return -1;
	if (going.len > (size_t)TOMBSTONE_PACKS_MAX * ID_SIZE)
		return error_set(err, ERR_UNSUPPORTED, "prune: %zu packs at once are too many; give --max-repack a limit", going.len / ID_SIZE);
	if (going.len && publish_tombstone(c, &going, NULL, &c->tombstone, err) < 0)
		return error_add(err, "publish what will be deleted");
	c->published = going.len > 0;
	/* Also where nothing goes: two that merge segments at once would spoil each other's work. */
	if (collect_let_it_be_seen(c, err) < 0 || alone(c, &l, err) < 0 || still_at_work(c, &l, &awaited, err) < 0) {
		withdraw(c);
		return -1;
	}
	if (!going.len)
		return 0;
	if (awaited.len)
		tell_awaited(c, &l);
	for (uint64_t waited = 0; awaited.len && waited < c->options->wait_seconds; waited++)
		if (pause_for(c, 1, err) < 0 || drop_ended(c, &awaited, err) < 0)
			return -1;
	return awaited.len ? leave_for_later(c, &awaited, err) : 0;
}

/* --- 7 and 8 ---------------------------------------------------------------------------------------------- */

/* The tombstone keeps naming it, so that nobody relies on it, and a later collection tries again. */
static void note_protected(struct collect *c, uint64_t size, const struct error *why)
{
	if (!c->report.protected_packs++)
		snprintf(c->report.protected_why, sizeof c->report.protected_why, "%s", why->text);
	c->report.protected_bytes += size;
}

static int delete_packs(struct collect *c, const struct buf *going, struct error *err)
{
	for (size_t at = 0; at < going->len; at += ID_SIZE) {
		struct id id;
		struct error why = { 0 };
		memcpy(id.b, going->data + at, ID_SIZE);
		const struct pack_info *p = collect_pack(c, &id);
		if (collect_stopped(c, err) < 0)
			return error_add(err, "delete what nothing needs");
		if (remove_object(c, SEAL_PACK_DATA, &id, &why) == 0) {
			c->report.deleted_packs++;
			c->report.deleted_bytes += p ? p->size : 0;
		} else if (why.kind == ERR_PROTECTED) {
			note_protected(c, p ? p->size : 0, &why);
		} else {
			if (err)
				*err = why;
			return error_add(err, "delete what nothing needs");
		}
	}
	return 0;
}

/* Earlier tombstones whose packs are all gone now. */
static int delete_tombstones(struct collect *c, struct error *err)
{
	CLEAN_BUF struct buf present = BUF_INIT;
	if (pause_for_listings(c, 1, err) < 0)
		return -1;
	if (ids_list(c->repo->store, "packs/", &present, err) < 0)
		return -1;
	ids_order(&present);
	for (size_t at = 0; at < c->marks.objects.len; at += ID_SIZE) {
		CLEAN(tombstone_done) struct tombstone t = { 0 };
		CLEAN_BUF struct buf bytes = BUF_INIT;
		struct id id;
		bool left = false;
		memcpy(id.b, c->marks.objects.data + at, ID_SIZE);
		if (object_read(c->repo->store, c->repo->keys, SEAL_TOMBSTONE, &id, TOMBSTONE_BYTES_MAX, NULL, &bytes, NULL) < 0 ||
		    tombstone_decode(&t, bytes.data, bytes.len, NULL) < 0)
			continue;
		for (size_t i = 0; i < t.pack_count && !left; i++)
			left = ids_have(&present, &t.packs[i]);
		if (!left && remove_object(c, SEAL_TOMBSTONE, &id, err) < 0)
			return -1;
	}
	if (c->published && !c->report.protected_packs && remove_object(c, SEAL_TOMBSTONE, &c->tombstone, err) < 0)
		return -1;
	c->published = false;
	return 0;
}

/* Notes of work that is not kept any more, or has become a snapshot. */
static int delete_notes(struct collect *c, struct error *err)
{
	for (size_t i = 0; i < c->unfinished.count; i++) {
		struct error why = { 0 };
		if (c->unfinished.items[i].kept || remove_object(c, SEAL_UNFINISHED, &c->unfinished.items[i].object, &why) == 0 || why.kind == ERR_PROTECTED)
			continue; /* a later collection tries again */
		*err = why;
		return error_add(err, "delete a note of interrupted work");
	}
	return 0;
}

static int finish(struct collect *c, struct error *err)
{
	CLEAN_BUF struct buf going = BUF_INIT, missed = BUF_INIT;
	CLEAN(marks_done) struct marks marks = MARKS_INIT;
	uint64_t removed;
	if (collect_going(c, 0, &going, err) < 0)
		return -1;
	if (going.len && collect_walk_new(c, &missed, err) < 0) {
		withdraw(c);
		return -1;
	}
	if (missed.len && collect_rescue(c, &missed, err) < 0)
		return -1;
	if (marks_read_fences(&marks, c->repo, err) < 0)
		return -1;
	if (marks_is_fenced(&marks, own_session_id(c->session)))
		return error_set(err, ERR_BUSY, "this prune was paused for so long that another one has given it up; that one, or the next, goes on");
	if (collect_rewrite_index(c, &going, err) < 0 || delete_packs(c, &going, err) < 0 || delete_tombstones(c, err) < 0 || delete_notes(c, err) < 0)
		return -1;
	if (c->repo->store->ops->sweep)
		c->repo->store->ops->sweep(c->repo->store, SWEEP_AGE, &removed, NULL);
	return 0;
}

/* --- all of it ----------------------------------------------------------------------------------------------- */

static void collect_done(struct collect *c)
{
	writer_free(c->writer);
	own_session_end(c->session);
	session_list_done(&c->sessions);
	unfinished_list_done(&c->unfinished);
	marks_done(&c->marks);
	buf_done(&c->ripe);
	buf_done(&c->packs);
	free(c->pack_of_row);
	row_set_done(&c->live);
	buf_done(&c->waiting);
	buf_done(&c->whole);
	buf_done(&c->snapshots);
}

static int begin(struct collect *c, struct error *err)
{
	struct error why = { 0 };
	if (c->options->dry_run)
		return 0;
	if (own_session_begin(&c->session, c->repo, WORK_COLLECT, c->options->host, &why) == 0)
		return 0;
	if (why.kind != ERR_NO_SPACE)
		return error_set(err, why.kind, "%s", why.text);
	return store_reserve(c->repo->store, false, err) < 0 ? -1 : own_session_begin(&c->session, c->repo, WORK_COLLECT, c->options->host, err);
}

static int collect(struct collect *c, struct error *err)
{
	if (begin(c, err) < 0 || clear_sessions(c, err) < 0 || look(c, err) < 0)
		return -1;
	if (c->options->dry_run)
		return 0;
	if (move(c, err) < 0 || collect_confirm(c, err) < 0)
		return -1;
	/* What is written from here on is small, but it must not fail for want of room. */
	store_reserve(c->repo->store, false, NULL);
	int done = announce(c, err);
	if (done == 0)
		done = finish(c, err);
	store_reserve(c->repo->store, true, NULL);
	return done;
}

int repo_collect(struct repo *r, const struct collect_options *options, struct collect_report *ret, struct error *err)
{
	CLEAN(collect_done) struct collect c = { .repo = r, .options = options };
	if (collect(&c, err) < 0)
		return -1;
	*ret = c.report;
	return 0;
}
