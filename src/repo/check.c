/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "repo/ids.h"
#include "repo/check_internal.h"
#include "repo/coders.h"
#include "repo/marks.h"
#include "repo/object.h"
#include "repo/parity.h"

#define DOCUMENT_MAX (64u << 20)

/* --- findings ------------------------------------------------------------------------- */

void check_damaged(struct check *c, const char *object, const char *fmt, ...)
{
	char what[ERROR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	const char *text = what;
	if (strncmp(text, object, strlen(object)) == 0) { /* many errors begin with the object's name, which is told anyway */
		text += strlen(object);
		text += strspn(text, ": ");
	}
	pthread_mutex_lock(&c->lock);
	c->report.damaged++;
	c->sink->damaged(c->sink->cookie, object, text);
	pthread_mutex_unlock(&c->lock);
}

void check_hit(struct check *c, const struct id *snapshot, const struct buf *path, const char *area, const char *what)
{
	pthread_mutex_lock(&c->lock);
	c->report.hits++;
	if (area)
		c->sink->hit(c->sink->cookie, snapshot, NULL, 0, area, what);
	else
		c->sink->hit(c->sink->cookie, snapshot, path->len ? (const char *)path->data : "/", path->len ? path->len : 1, NULL, what);
	pthread_mutex_unlock(&c->lock);
}

int check_stopped(const struct check *c, struct error *err)
{
	return progress_stopped(c->options->progress) ? error_set(err, ERR_CANCELLED, "interrupted") : 0;
}

/* --- single objects ---------------------------------------------------------------------- */

static int list_ids(struct check *c, const char *prefix, struct buf *ret, struct error *err)
{
	return ids_list(c->repo->store, prefix, ret, err) < 0 ? error_add(err, "check") : 0;
}

static int check_keys(struct check *c, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT, bytes = BUF_INIT;
	if (list_ids(c, "keys/", &ids, err) < 0)
		return -1;
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct id id = ids_at(&ids, i);
		char hex[ID_HEX_SIZE], path[OBJECT_KEY_MAX];
		struct key_object key;
		struct error why = { 0 };
		size_t aad;
		id_to_hex(&id, hex);
		snprintf(path, sizeof path, "keys/%s", hex);
		c->report.keys++;
		if (store_read(c->repo->store, path, 64u << 10, &bytes, &why) < 0 ? why.kind != ERR_NOT_FOUND
		                                                                  : key_object_decode(&key, bytes.data, bytes.len, &aad, &why) < 0)
			check_damaged(c, path, "%s", why.text);
	}
	return 0;
}

static int check_session(struct check *c, const struct buf *bytes, struct error *err)
{
	struct session s;
	(void)c;
	if (session_decode(&s, bytes->data, bytes->len, err) < 0)
		return -1;
	session_done(&s);
	return 0;
}

static int check_fence(struct check *c, const struct buf *bytes, struct error *err)
{
	struct tombstone t;
	if (tombstone_decode(&t, bytes->data, bytes->len, err) < 0)
		return -1;
	c->report.fenced_sessions += t.fenced_count;
	tombstone_done(&t);
	return 0;
}

static int check_writer(struct check *c, const struct buf *bytes, struct error *err)
{
	struct writer_key w;
	(void)c;
	if (writer_key_decode(&w, bytes->data, bytes->len, err) < 0)
		return -1;
	writer_key_done(&w);
	return 0;
}

/* One that lies there is no damage: a prune is at work, or was interrupted, and the next one goes on from it. */
static int check_tombstone(struct check *c, const struct buf *bytes, struct error *err)
{
	struct tombstone t;
	if (tombstone_decode(&t, bytes->data, bytes->len, err) < 0)
		return -1;
	c->report.tombstones++;
	c->report.marked_packs += t.pack_count;
	tombstone_done(&t);
	return 0;
}

/* Sessions and tombstones come and go: one that is no longer there is fine. */
static int check_documents(struct check *c, enum seal_kind kind, int (*look)(struct check *c, const struct buf *bytes, struct error *err), struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT, bytes = BUF_INIT;
	if (list_ids(c, object_prefix(kind), &ids, err) < 0)
		return -1;
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct id id = ids_at(&ids, i);
		char key[OBJECT_KEY_MAX];
		struct error why = { 0 };
		object_key(kind, &id, key);
		if (object_read(c->repo->store, c->repo->keys, kind, &id, DOCUMENT_MAX, NULL, &bytes, &why) < 0 ? why.kind != ERR_NOT_FOUND
		                                                                                              : look(c, &bytes, &why) < 0)
			check_damaged(c, key, "%s", why.text);
	}
	return 0;
}

/* --- index ---------------------------------------------------------------------------------- */

static int segment_damaged(void *cookie, const struct id *segment, const struct error *why)
{
	char key[OBJECT_KEY_MAX];
	struct check *c = cookie;
	object_key(SEAL_INDEX, segment, key);
	c->segments_damaged = true;
	check_damaged(c, key, "%s", why->text);
	return 0;
}

static int bitmap_make(struct bitmap *b, uint64_t bits, struct error *err)
{
	b->words = calloc(bits / 64 + 1, sizeof *b->words);
	b->bits = bits;
	return b->words ? 0 : error_set(err, ERR_NOMEM, "check: out of memory");
}

static void forget_rows(struct check *c)
{
	free(c->seen.words);
	free(c->dirty.words);
	free(c->bad.words);
	free(c->missing);
	c->seen.words = c->dirty.words = c->bad.words = NULL;
	c->missing = NULL;
	c->pack_count = 0;
}

int check_load_index(struct check *c, struct error *err)
{
	struct repo *r = c->repo;
	forget_rows(c);
	if (repo_load_index_anew(r, segment_damaged, c, err) < 0)
		return -1;
	c->report.segments = index_segments(r->index);
	c->report.chunks = index_chunks(r->index);
	for (size_t i = 0; i < c->report.segments; i++)
		c->pack_count += index_segment(r->index, i)->pack_count;
	c->missing = calloc((size_t)c->pack_count + 1, sizeof *c->missing);
	if (!c->missing)
		return error_set(err, ERR_NOMEM, "check: out of memory");
	return bitmap_make(&c->seen, c->report.chunks, err) < 0 || bitmap_make(&c->dirty, c->report.chunks, err) < 0 ||
	                       bitmap_make(&c->bad, c->report.chunks, err) < 0
	               ? -1
	               : 0;
}

/* What no snapshot refers to. A chunk in several segments is looked up in one of them only, so it is seen there. */
static int count_unreferenced(struct check *c, struct error *err)
{
	uint64_t row = 0;
	for (size_t i = 0; i < c->report.segments; i++) {
		const struct segment *s = index_segment(c->repo->index, i);
		for (uint64_t k = 0; k < s->chunk_count; k++, row++) {
			struct segment_chunk chunk;
			struct place place;
			bool found;
			if (bitmap_get(&c->seen, row))
				continue;
			segment_chunk_at(s, k, &chunk);
			if (index_find(c->repo->index, &chunk.id, &found, &place, err) < 0)
				return -1;
			if (found && place.row != row) {
				c->report.duplicate_chunks++;
				continue;
			}
			c->report.unreferenced_chunks++;
			c->report.unreferenced_bytes += chunk.length;
		}
		if (check_stopped(c, err) < 0)
			return -1;
	}
	return 0;
}

/* --- snapshots -------------------------------------------------------------------------------- */

/* Before the packs, so that it is known which of them are too old to be read. What cannot be read is told by check_snapshots. */
static int note_sessions(struct check *c, const struct buf *ids, struct error *err)
{
	for (size_t i = 0; c->options->has_since && i < ids->len / ID_SIZE; i++) {
		struct id id = ids_at(ids, i);
		struct snapshot s = { 0 };
		if (check_stopped(c, err) < 0)
			return -1;
		if (repo_snapshot_read(c->repo, &id, &s, NULL) < 0)
			continue;
		check_note_session(c, &s);
		snapshot_done(&s);
	}
	return 0;
}

static int check_snapshots(struct check *c, const struct buf *ids, struct error *err)
{
	CLEAN(marks_done) struct marks marks = MARKS_INIT;
	marks_read_fences(&marks, c->repo, NULL); /* one that is damaged has been told already */
	for (size_t i = 0; i < ids->len / ID_SIZE; i++) {
		struct id id = ids_at(ids, i);
		char key[OBJECT_KEY_MAX];
		struct snapshot s = { 0 };
		struct error why = { 0 };
		object_key(SEAL_SNAPSHOT, &id, key);
		progress_current(c->options->progress, key, strlen(key));
		if (repo_snapshot_read(c->repo, &id, &s, &why) < 0) {
			if (why.kind != ERR_NOT_FOUND) /* else it was forgotten meanwhile */
				check_damaged(c, key, "%s", why.text);
			continue;
		}
		/* One of a session that was given up, and not confirmed, does not count, and may lack what it likes. */
		bool counts = !marks_is_fenced(&marks, &s.session);
		c->report.snapshots += counts;
		int done = counts ? check_snapshot(c, &id, &s, err) : 0;
		snapshot_done(&s);
		if (done < 0)
			return -1;
		progress_add(c->options->progress, 1, 0);
	}
	return 0;
}

/* --- parity ----------------------------------------------------------------------------------- */

static void parity_damaged(void *cookie, const char *object, const struct error *why)
{
	check_damaged(cookie, object, "%s", why->text);
}

static int check_parity(struct check *c, struct error *err)
{
	struct parity_status status;
	if (parity_check(c->repo->store, c->options->read_data, parity_damaged, c, err) < 0 || parity_status(c->repo->store, &status, err) < 0)
		return -1;
	c->report.parity_objects = status.parity_objects;
	c->report.protected_objects = status.whole_objects + status.weak_objects;
	c->report.weak_objects = status.weak_objects;
	c->report.bare_objects = status.bare_objects;
	return 0;
}

static void check_done(struct check *c)
{
	forget_rows(c);
	free(c->choices);
	check_log_done(&c->log);
	buf_done(&c->aged);
	buf_done(&c->found);
	index_free(c->spare);
	pthread_mutex_destroy(&c->lock);
}

int repo_check(struct repo *r, const struct check_options *options, const struct check_sink *sink, struct check_report *ret, struct error *err)
{
	CLEAN(check_done) struct check c = { .repo = r, .options = options, .sink = sink, .lock = PTHREAD_MUTEX_INITIALIZER };
	CLEAN_BUF struct buf snapshots = BUF_INIT;
	repo_cache_blocks(r, 0); /* what the store holds is looked at, not what it held once */
	if (list_ids(&c, object_prefix(SEAL_SNAPSHOT), &snapshots, err) < 0 || check_load_index(&c, err) < 0)
		return -1;
	if (check_keys(&c, err) < 0 || check_documents(&c, SEAL_SESSION, check_session, err) < 0 ||
	    check_documents(&c, SEAL_TOMBSTONE, check_tombstone, err) < 0 ||
	    check_documents(&c, SEAL_FENCE, check_fence, err) < 0 || check_documents(&c, SEAL_LOG, check_log_entry, err) < 0 ||
	    check_documents(&c, SEAL_WRITER, check_writer, err) < 0 || check_documents(&c, SEAL_UNFINISHED, check_session, err) < 0)
		return -1;
	progress_add_total(options->progress, snapshots.len / ID_SIZE, 0);
	if (note_sessions(&c, &snapshots, err) < 0 || check_packs(&c, err) < 0 || check_snapshots(&c, &snapshots, err) < 0 || check_parity(&c, err) < 0 ||
	    check_trust(&c, err) < 0)
		return -1;
	if (!c.report.damaged && !c.report.hits && count_unreferenced(&c, err) < 0)
		return -1;
	*ret = c.report;
	return 0;
}
