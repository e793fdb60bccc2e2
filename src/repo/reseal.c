/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/reseal.h"

#include "repo/ids.h"
#include "repo/log.h"
#include "repo/object.h"
#include "repo/parity.h"
#include "repo/sessions.h"

#define OBJECT_BYTES_MAX (64u << 20)

/* What is replaced in place. Fences are kept for ever; tombstones, sessions, and notes of unfinished work come and go by themselves. */
static const enum seal_kind replaced_kinds[] = { SEAL_WRITER, SEAL_FENCE, SEAL_LOG, SEAL_SNAPSHOT };
static const enum seal_kind looked_at_kinds[] = { SEAL_WRITER, SEAL_FENCE, SEAL_LOG, SEAL_SNAPSHOT, SEAL_TOMBSTONE, SEAL_UNFINISHED };

static unsigned last_epoch(const struct repo *r)
{
	unsigned count;
	seal_masters(r->keys, &count);
	return count - 1;
}

static bool is_old(const struct repo *r, const struct seal_by *by)
{
	return by->how == SEAL_BY_MASTER && by->epoch < last_epoch(r);
}

/* --- what is left ----------------------------------------------------------------------------- */

bool reseal_is_complete(const struct reseal_left *l)
{
	return !l->packs && !l->segments && !l->objects && !l->sessions && !l->unreadable;
}

/* One that vanishes meanwhile needs no key. */
static int look_at(struct repo *r, enum seal_kind kind, const struct id *id, bool *ret_old, struct reseal_left *left, struct error *err)
{
	struct error why = { 0 };
	struct seal_by by;
	*ret_old = false;
	if (object_sealed_by(r->store, kind, id, &by, &why) == 0) {
		*ret_old = is_old(r, &by);
		return 0;
	}
	if (why.kind == ERR_NOT_FOUND)
		return 0;
	if (why.kind != ERR_CORRUPT)
		return error_set(err, why.kind, "%s", why.text);
	left->unreadable++;
	error_keep_first(&left->first_error, &why);
	return 0;
}

/* How many objects of the kind an old master key sealed. */
static int count_old(struct repo *r, enum seal_kind kind, uint64_t *count, struct reseal_left *left, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (ids_list(r->store, object_prefix(kind), &ids, err) < 0)
		return -1;
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct id id = ids_at(&ids, i);
		bool old;
		if (look_at(r, kind, &id, &old, left, err) < 0)
			return -1;
		*count += old;
	}
	return 0;
}

struct packs {
	struct buf indexed; /* ids of packs that a segment names, ordered */
	struct buf old;     /* those of them that an old master key sealed, ordered */
	struct buf others;  /* listed, and in no segment */
	struct reseal_left *left;
};

static void packs_done(struct packs *p)
{
	buf_done(&p->indexed);
	buf_done(&p->old);
	buf_done(&p->others);
}

static int note_pack(void *cookie, const char *key, uint64_t size)
{
	struct packs *p = cookie;
	struct id id;
	if (!object_id_of_key(key, &id))
		return 0;
	if (ids_have(&p->old, &id)) {
		p->left->packs++;
		p->left->pack_bytes += size;
	} else if (!ids_have(&p->indexed, &id)) {
		buf_add(&p->others, id.b, ID_SIZE);
	}
	return 0;
}

/* Rows of the index say by which key a pack is read; of packs that are in no segment, their heads. */
static int look_at_packs(struct repo *r, struct reseal_left *left, struct error *err)
{
	CLEAN(packs_done) struct packs p = { .left = left };
	for (size_t i = 0; i < index_segments(r->index); i++) {
		const struct segment *s = index_segment(r->index, i);
		for (uint32_t k = 0; k < s->pack_count; k++) {
			struct segment_pack pack;
			segment_pack_at(s, k, &pack);
			buf_add(&p.indexed, pack.id.b, ID_SIZE);
			if (is_old(r, &(struct seal_by){ .how = pack.how, .epoch = pack.epoch }))
				buf_add(&p.old, pack.id.b, ID_SIZE);
		}
	}
	ids_order(&p.indexed);
	ids_order(&p.old);
	if (r->store->ops->list(r->store, "packs/", note_pack, &p, err) < 0)
		return -1;
	for (size_t i = 0; i < p.others.len / ID_SIZE; i++) {
		struct id id = ids_at(&p.others, i);
		bool old;
		if (look_at(r, SEAL_PACK_DATA, &id, &old, left, err) < 0)
			return -1;
		left->packs += old;
	}
	return buf_ok(&p.indexed) && buf_ok(&p.old) && buf_ok(&p.others) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

int reseal_look(struct repo *r, struct reseal_left *ret, struct error *err)
{
	struct reseal_left left = { 0 };
	/* Sessions first: what those that have ended by now wrote is there to be seen. */
	int bad = count_old(r, SEAL_SESSION, &left.sessions, &left, err);
	if (!bad)
		bad = repo_load_index_anew(r, NULL, NULL, err) < 0 || look_at_packs(r, &left, err) < 0 || count_old(r, SEAL_INDEX, &left.segments, &left, err) < 0;
	for (size_t i = 0; !bad && i < sizeof looked_at_kinds / sizeof *looked_at_kinds; i++)
		bad = count_old(r, looked_at_kinds[i], &left.objects, &left, err);
	if (bad)
		return error_add(err, "look for what old master keys seal");
	*ret = left;
	return 0;
}

/* --- sealing anew, in place -------------------------------------------------------------------- */

struct resealer {
	struct repo *repo;
	const struct collect_options *options;
	struct reseal_report report;
	struct buf snapshots; /* ids of those that were replaced */
	struct parity_set parity;
	bool *parity_gone;    /* by group: it was removed */
};

static int stopped(const struct resealer *s, struct error *err)
{
	return progress_stopped(s->options->progress) ? error_set(err, ERR_CANCELLED, "interrupted; run it again to go on") : 0;
}

/* Copies of objects as they were must not come back by a repair. Bundles hold them; of larger ones pieces in groups. */
static int forget_parity(struct resealer *s, enum seal_kind kind, const struct id *id, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	uint64_t removed;
	size_t count;
	bool there = false;
	object_key(kind, id, key);
	const struct parity_ref *const *refs = parity_find(&s->parity, key, &count);
	for (size_t i = 0; i < count; i++)
		there |= !s->parity_gone[refs[i]->group];
	if (!there)
		return 0;
	if (parity_forget(s->repo->store, key, &removed, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		s->parity_gone[refs[i]->group] = true;
	s->report.parity_gone = true;
	return 0;
}

static void wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	buf_done(b);
}

static int replace(struct resealer *s, enum seal_kind kind, const struct id *id, struct error *err)
{
	CLEAN(wipe) struct buf payload = BUF_INIT;
	struct repo *r = s->repo;
	struct error why = { 0 };
	struct id session;
	if (object_read(r->store, r->keys, kind, id, OBJECT_BYTES_MAX, &session, &payload, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		if (why.kind != ERR_CORRUPT && why.kind != ERR_AUTH)
			return error_set(err, why.kind, "%s", why.text);
		s->report.damaged++;
		error_keep_first(&s->report.first_error, &why);
		return 0;
	}
	if (forget_parity(s, kind, id, err) < 0 || object_replace(r->store, r->keys, kind, id, &session, payload.data, payload.len, err) < 0)
		return -1;
	if (kind == SEAL_SNAPSHOT)
		buf_add(&s->snapshots, id->b, ID_SIZE);
	s->report.objects++;
	return 0;
}

static int replace_kind(struct resealer *s, enum seal_kind kind, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	struct reseal_left unreadable = { 0 }; /* reseal_look tells of them afterwards */
	if (ids_list(s->repo->store, object_prefix(kind), &ids, err) < 0)
		return -1;
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct id id = ids_at(&ids, i);
		if (stopped(s, err) < 0)
			return -1;
		bool old;
		if (look_at(s->repo, kind, &id, &old, &unreadable, err) < 0 || (old && replace(s, kind, &id, err) < 0))
			return error_add(err, "seal anew");
	}
	return 0;
}

/* Somebody may have forgotten a snapshot while it was replaced, which brought it back: the log says so, since it is written first. */
static int let_go_again(struct resealer *s, struct error *err)
{
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	if (!s->snapshots.len)
		return 0;
	if (repo_log_read(s->repo, &l, err) < 0)
		return -1;
	for (size_t i = 0; i < s->snapshots.len / ID_SIZE; i++) {
		struct id id = ids_at(&s->snapshots, i);
		char key[OBJECT_KEY_MAX];
		object_key(SEAL_SNAPSHOT, &id, key);
		if (ids_have(&l.forgotten, &id) && s->repo->store->ops->remove(s->repo->store, key, err) < 0)
			return -1;
	}
	return 0;
}

static int replace_all(struct resealer *s, struct error *err)
{
	int done = 0;
	if (parity_load(&s->parity, s->repo->store, err) < 0)
		return -1;
	s->parity_gone = calloc(s->parity.count + 1, sizeof *s->parity_gone);
	if (!s->parity_gone)
		return error_set(err, ERR_NOMEM, "seal anew: out of memory");
	for (size_t i = 0; done == 0 && i < sizeof replaced_kinds / sizeof *replaced_kinds; i++)
		done = replace_kind(s, replaced_kinds[i], err);
	/* Also after an interruption. */
	struct error why = { 0 };
	if (let_go_again(s, &why) < 0 && done == 0)
		done = error_set(err, why.kind, "%s", why.text);
	return done;
}

/* Who began before the change cannot read what is sealed by the new key: a tombstone would end his backup. Whose process is gone is no obstacle. */
static int refuse_older(struct resealer *s, struct error *err)
{
	CLEAN(session_list_done) struct session_list l = { 0 };
	struct reseal_left unreadable = { 0 };
	if (session_list_read(&l, s->repo, NULL, s->options->fence_seconds, err) < 0)
		return -1;
	for (size_t i = 0; i < l.count; i++) {
		const struct session_entry *e = &l.items[i];
		bool old = false;
		if (e->state == SESSION_ALIVE && look_at(s->repo, SEAL_SESSION, &e->object, &old, &unreadable, err) < 0)
			return -1;
		if (old)
			return error_set(err, ERR_BUSY, "somebody is at work on host %.64s (process %llu) who began before the master key was changed; nothing was done, run it again when he has finished",
			                 e->document.host, (unsigned long long)e->document.pid);
	}
	return 0;
}

int repo_reseal(struct repo *r, const struct collect_options *options, struct reseal_report *ret, struct error *err)
{
	struct collect_options collecting = *options;
	struct resealer s = { .repo = r, .options = options };
	collecting.reseal = last_epoch(r);
	int done = 0;
	if (collecting.reseal && (refuse_older(&s, err) < 0 || repo_collect(r, &collecting, &s.report.collected, err) < 0 || replace_all(&s, err) < 0))
		done = -1;
	buf_done(&s.snapshots);
	parity_set_done(&s.parity);
	free(s.parity_gone);
	if (done == 0)
		*ret = s.report;
	return done;
}
