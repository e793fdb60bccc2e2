/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What others do while the index is open: segments that go and come, packs that are about to go, or gone. */
#include <stdlib.h>

#include "repo/index_internal.h"

static bool id_listed(const struct buf *listed, const uint8_t *id)
{
	return listed->len && bsearch(id, listed->data, listed->len / ID_SIZE, ID_SIZE, index_by_id);
}

static bool is_listed(const struct loaded *s, const struct buf *listed)
{
	static const struct id none;
	if (!s->merged) /* what exists only in memory has no id */
		return id_equal(&s->id, &none) || id_listed(listed, s->id.b);
	for (size_t i = 0; i < s->stand_count; i++)
		if (!id_listed(listed, s->stands + i * ID_SIZE))
			return false;
	return true;
}

/* Forgets what is not listed; ret_known holds one flag for each listed segment: some loaded one has its rows. */
static bool forget_unlisted(struct index *x, const struct buf *listed, bool *ret_known)
{
	bool changed = false;
	pthread_rwlock_wrlock(&x->loading);
	for (size_t i = 0; i < x->count; i++) {
		struct loaded *s = &x->segments[i];
		if (s->gone)
			continue;
		s->gone = !is_listed(s, listed);
		changed |= s->gone;
		const uint8_t *ids = s->merged ? s->stands : s->id.b;
		for (size_t k = 0; !s->gone && k < (s->merged ? s->stand_count : 1); k++) {
			const uint8_t *at = bsearch(ids + k * ID_SIZE, listed->data, listed->len / ID_SIZE, ID_SIZE, index_by_id);
			if (at)
				ret_known[(size_t)(at - listed->data) / ID_SIZE] = true;
		}
	}
	pthread_rwlock_unlock(&x->loading);
	return changed;
}

/* One that vanishes between the listing and the reading was merged or emptied just now: the next listing shows what came in its place. */
static int load_listed(struct index *x, const struct buf *listed, const bool *known, bool *ret_vanished, bool *ret_changed, struct error *err)
{
	for (size_t at = 0; at < listed->len; at += ID_SIZE) {
		struct error why = { 0 };
		struct id id;
		memcpy(id.b, listed->data + at, ID_SIZE);
		if (known[at / ID_SIZE])
			continue;
		*ret_changed = true;
		if (index_load_segment(x, &id, false, &why) == 0)
			continue;
		if (why.kind != ERR_NOT_FOUND) {
			if (err)
				*err = why;
			return -1;
		}
		*ret_vanished = true;
	}
	return 0;
}

#define REFRESH_TRIES 3

static int refresh(struct index *x, bool *ret_changed, struct error *err)
{
	bool vanished = true;
	for (int attempt = 0; vanished; attempt++) {
		CLEAN_BUF struct buf listed = BUF_INIT;
		vanished = false;
		if (attempt == REFRESH_TRIES)
			return 0; /* its listings lag: what is not there has been replaced, and that is listed by and by */
		if (index_list_segments(x, &listed, err) < 0)
			return -1;
		CLEAN_FREE bool *known = calloc(listed.len / ID_SIZE + 1, sizeof *known);
		if (!known)
			return error_set(err, ERR_NOMEM, "load index: out of memory");
		*ret_changed |= forget_unlisted(x, &listed, known);
		if (load_listed(x, &listed, known, &vanished, ret_changed, err) < 0)
			return -1;
	}
	return 0;
}

int index_refresh(struct index *x, bool *ret_changed, struct error *err)
{
	bool changed = false;
	pthread_mutex_lock(&x->refreshing);
	int done = refresh(x, &changed, err);
	if (changed)
		atomic_fetch_add(&x->generation, 1);
	pthread_mutex_unlock(&x->refreshing);
	if (ret_changed)
		*ret_changed = changed;
	return done;
}

unsigned index_generation(const struct index *x)
{
	return atomic_load(&x->generation);
}

static int replace_set(struct index *x, struct buf *set, const struct buf *packs, struct error *err)
{
	struct buf copy = BUF_INIT;
	buf_add(&copy, packs->data, packs->len);
	if (!buf_ok(&copy))
		return error_set(err, ERR_NOMEM, "note %zu packs: out of memory", packs->len / ID_SIZE);
	pthread_rwlock_wrlock(&x->loading);
	struct buf before = *set;
	*set = copy;
	pthread_rwlock_unlock(&x->loading);
	buf_done(&before);
	return 0;
}

int index_mark(struct index *x, const struct buf *packs, struct error *err)
{
	return replace_set(x, &x->marked, packs, err);
}

int index_trust_only(struct index *x, const struct buf *packs, struct error *err)
{
	if (replace_set(x, &x->trusted, packs, err) < 0)
		return -1;
	pthread_rwlock_wrlock(&x->loading);
	x->has_trusted = true;
	for (size_t i = 0; i < x->count; i++)
		x->segments[i].own = false;
	pthread_rwlock_unlock(&x->loading);
	return 0;
}

#define ABSENT_MAX 1024 /* in a repository that has lost more, look-ups are not made slow by it */

int index_forget_pack(struct index *x, const struct id *pack, struct error *err)
{
	pthread_rwlock_wrlock(&x->loading);
	if (x->absent.len < ABSENT_MAX * ID_SIZE)
		buf_add(&x->absent, pack->b, ID_SIZE);
	bool ok = buf_ok(&x->absent);
	pthread_rwlock_unlock(&x->loading);
	return ok ? 0 : error_set(err, ERR_NOMEM, "note a missing pack: out of memory");
}
