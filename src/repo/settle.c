/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/settle.h"

#include "repo/reach.h"

/* A fenced session that wakes up may write a segment whose packs are gone already. As long as none was ever fenced there is no such thing, and the packs need not be listed. */
static int trust_packs(struct repo *repo, const struct marks *marks, struct error *err)
{
	CLEAN_BUF struct buf packs = BUF_INIT;
	/* Which packs are about to go cannot be read with a write-only key, so nothing that is there is relied on. */
	if (marks->unread_tombstones)
		return index_trust_only(repo->index, &packs, err);
	if (!marks->fenced.len && !marks->unread_fences)
		return 0;
	if (ids_list(repo->store, "packs/", &packs, err) < 0)
		return -1;
	ids_order(&packs);
	return index_trust_only(repo->index, &packs, err);
}

int settle_look(struct repo *repo, struct marks *marks, struct error *err)
{
	if (marks_read(marks, repo, err) < 0)
		return -1;
	int loaded = repo->index ? index_refresh(repo->index, NULL, err) : repo_load_index(repo, err);
	if (loaded < 0 || trust_packs(repo, marks, err) < 0)
		return -1;
	return index_mark(repo->index, &marks->packs, err);
}

struct settle {
	struct repo *repo;
	struct row_set seen;
	struct buf *unsettled;
};

/* *ret_first: not met before. */
static int look_up(struct settle *s, const struct id *id, enum chunk_class class, bool *ret_first, struct error *err)
{
	struct unsettled u = { *id, class };
	struct place place;
	bool found;
	if (index_find(s->repo->index, id, &found, &place, err) < 0)
		return -1;
	*ret_first = !found || !row_set_has(&s->seen, place.row);
	if (!*ret_first)
		return 0;
	if (found)
		row_set_add(&s->seen, place.row);
	if (!found || place.marked)
		buf_add(s->unsettled, &u, sizeof u);
	return buf_ok(s->unsettled) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

static int see_page(void *cookie, const struct id *id, bool *ret_enter, struct error *err)
{
	return look_up(cookie, id, CHUNK_META, ret_enter, err);
}

static int see_chunk(void *cookie, const struct id *id, struct error *err)
{
	bool first;
	return look_up(cookie, id, CHUNK_DATA, &first, err);
}

int settle_find(struct repo *repo, const struct snapshot *s, struct buf *ret, struct error *err)
{
	struct settle settle = { .repo = repo, .unsettled = ret };
	struct reach_visitor visitor = { .page = see_page, .chunk = see_chunk, .cookie = &settle };
	buf_clear(ret);
	if (row_set_new(&settle.seen, index_row_limit(repo->index), err) < 0)
		return -1;
	int done = reach_snapshot(repo, s, &visitor, err);
	row_set_done(&settle.seen);
	return done;
}
