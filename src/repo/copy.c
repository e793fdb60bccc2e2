/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "repo/copy_internal.h"

bool copy_is_damage(const struct error *err)
{
	return err->kind == ERR_CORRUPT || err->kind == ERR_NOT_FOUND || (err->kind == ERR_IO && err->sys == EIO);
}

/* --- life ------------------------------------------------------------------------------ */

static int open_tables(struct copy *c, struct error *err)
{
	CLEAN_FREE char *path = NULL;
	char hex[ID_HEX_SIZE];
	id_to_hex(&c->to->header.repository, hex);
	if (c->from->cache && asprintf(&path, "%s/copy-%.32s", c->from->cache, hex) < 0) {
		path = NULL;
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	}
	/* What is forgotten in the source leaves its ids in the table: beyond this it is begun anew. */
	uint64_t max = 4 * index_chunks(c->from->index) + 100000;
	if (id_table_open(&c->chunks, path, c->to->keys, max, err) < 0 || id_table_open(&c->lists, NULL, c->to->keys, 0, err) < 0)
		return error_add(err, "copy");
	return 0;
}

int copy_new(struct copy **ret, struct repo *from, struct repo *to, const struct copy_options *options, const struct copy_sink *sink, struct error *err)
{
	if (id_equal(&from->header.repository, &to->header.repository))
		return error_set(err, ERR_INVALID, "copy: %s and %s are the same repository, or one is a copy of the other's files; bring its files up to date with a program such as rsync",
		                 from->store->location, to->store->location);
	CLEAN(copy_cleanup) struct copy *c = calloc(1, sizeof *c);
	if (!c)
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	c->from = from;
	c->to = to;
	c->options = *options;
	c->sink = sink;
	if (repo_load_index(from, err) < 0 || repo_load_index(to, err) < 0 || open_tables(c, err) < 0 || repo_snapshots(to, &c->there, err) < 0)
		return -1;
	c->matched = calloc(c->there.count + 1, sizeof *c->matched);
	if (!c->matched)
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	*ret = TAKE(c);
	return 0;
}

void copy_free(struct copy *c)
{
	if (!c)
		return;
	id_table_free(c->chunks);
	id_table_free(c->lists);
	snapshot_list_done(&c->there);
	free(c->matched);
	buf_done(&c->known);
	buf_done(&c->plan);
	free(c);
}

/* --- what the target has --------------------------------------------------------------------- */

static bool is_from_here(const struct copy *c, const struct snapshot *there)
{
	return there->has_origin && !there->has_writer && id_equal(&there->origin_repository, &c->from->header.repository);
}

/* A copy of the snapshot itself; of those from which something was lost, it may be tried again. */
static bool find_copy(struct copy *c, const struct id *id, const struct snapshot *s, struct id *ret)
{
	for (size_t i = 0; i < c->there.count; i++) {
		const struct snapshot *there = &c->there.items[i].snapshot;
		if (!is_from_here(c, there) || !id_equal(&there->origin, id) || there->totals.warnings > s->totals.warnings)
			continue;
		c->matched[i] = true;
		*ret = c->there.items[i].id;
		return true;
	}
	return false;
}

/* The document without what copying, and being stored by another session, changes. */
static int encode_plain(struct buf *b, const struct snapshot *s, struct error *err)
{
	struct snapshot plain = *s;
	plain.session = plain.parent = plain.origin = plain.origin_repository = (struct id){ { 0 } };
	plain.has_parent = plain.has_origin = false;
	plain.totals.added_raw = plain.totals.added_stored = 0;
	snapshot_encode(b, &plain);
	return buf_ok(b) ? 0 : error_set(err, ERR_NOMEM, "copy: out of memory");
}

int snapshots_equal(const struct snapshot *a, const struct snapshot *b, bool *ret, struct error *err)
{
	CLEAN_BUF struct buf x = BUF_INIT, y = BUF_INIT;
	if (encode_plain(&x, a, err) < 0 || encode_plain(&y, b, err) < 0)
		return -1;
	*ret = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
	return 0;
}

/* Equal in all that was backed up, whatever way it came there. */
static int find_equal(struct copy *c, const struct snapshot *s, bool *ret_found, struct id *ret, struct error *err)
{
	*ret_found = false;
	for (size_t i = 0; i < c->there.count && !*ret_found; i++) {
		const struct snapshot *there = &c->there.items[i].snapshot;
		if (there->has_writer || time_compare(there->time, s->time) != 0)
			continue;
		if (snapshots_equal(there, s, ret_found, err) < 0)
			return -1;
		if (!*ret_found)
			continue;
		c->matched[i] = true;
		*ret = c->there.items[i].id;
	}
	return 0;
}

static int note_known(struct copy *c, const struct id *source, const struct id *target, struct error *err)
{
	struct known_copy k = { *source, *target };
	buf_add(&c->known, &k, sizeof k);
	return buf_ok(&c->known) ? 0 : error_set(err, ERR_NOMEM, "copy: out of memory");
}

/* The parent is that snapshot's copy, if there is one. */
static void translate_parent(const struct copy *c, struct snapshot *s)
{
	const struct known_copy *known = (const void *)c->known.data;
	size_t count = c->known.len / sizeof *known;
	for (size_t i = 0; i < count && s->has_parent; i++) {
		if (!id_equal(&known[i].source, &s->parent))
			continue;
		s->parent = known[i].target;
		return;
	}
	s->has_parent = false;
	s->parent = (struct id){ { 0 } };
}

/* --- one snapshot --------------------------------------------------------------------------------- */

static int commit(struct copy *c, const struct id *id, struct snapshot *s, struct copied *ret, struct error *err)
{
	struct timespec now;
	struct writer_stats stats;
	bool known;
	s->totals.warnings += c->lost;
	if (find_equal(c, s, &known, &ret->id, err) < 0)
		return -1;
	ret->result = known ? COPY_KNOWN : COPY_DONE;
	ret->lost = c->lost;
	if (known)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	s->has_origin = true;
	s->origin_repository = c->from->header.repository;
	s->origin = *id;
	s->copied = (struct time_ns){ now.tv_sec, (uint32_t)now.tv_nsec };
	translate_parent(c, s);
	if (writer_commit(c->writer, s, &ret->id, err) < 0)
		return -1;
	writer_stats(c->writer, &stats);
	ret->added_raw = stats.added_raw;
	ret->added_stored = stats.added_stored;
	return 0;
}

/* s: a shallow copy, whose ids may be changed. */
static int copy_one(struct copy *c, const struct id *id, struct snapshot *s, struct copied *ret, struct error *err)
{
	struct writer_options options = { .slots = c->options.threads + 1, .level = c->options.level, .work = WORK_COPY, .host = c->options.host };
	CLEAN(writer_cleanup) struct writer *w = NULL;
	if (row_set_new(&c->planned, index_row_limit(c->from->index), err) < 0 || writer_begin(&w, c->to, &options, err) < 0)
		return -1;
	c->writer = w;
	if (copy_collect(c, s, err) < 0 || copy_rewrite(c, s, err) < 0)
		return -1;
	return commit(c, id, s, ret, err);
}

int copy_snapshot(struct copy *c, const struct id *id, const struct snapshot *s, struct copied *ret, struct error *err)
{
	struct copied done = { .result = COPY_KNOWN };
	struct snapshot copy = *s;
	if (!find_copy(c, id, s, &done.id)) {
		CLEAN_FREE struct snapshot_volume *volumes = calloc(s->volume_count + 1, sizeof *volumes);
		if (!volumes)
			return error_set(err, ERR_NOMEM, "copy: out of memory");
		if (s->volume_count)
			memcpy(volumes, s->volumes, s->volume_count * sizeof *volumes);
		copy.volumes = volumes;
		c->snapshot = id;
		c->lost = 0;
		int result = copy_one(c, id, &copy, &done, err);
		c->writer = NULL;
		row_set_done(&c->planned);
		buf_clear(&c->plan);
		if (result < 0)
			return -1;
	}
	if (note_known(c, id, &done.id, err) < 0)
		return -1;
	*ret = done;
	return 0;
}

int copy_translate(struct copy *c, enum seq_kind kind, const struct id *root, seq_put_fn put, void *cookie, struct error *err)
{
	static const struct id unnamed;
	if (row_set_new(&c->planned, index_row_limit(c->from->index), err) < 0)
		return -1;
	c->put = put;
	c->put_cookie = cookie;
	c->snapshot = &unnamed;
	int result = copy_one_list(c, kind, root, false, err);
	if (result == 0)
		result = copy_planned(c, err);
	if (result == 0)
		result = copy_one_list(c, kind, root, true, err);
	row_set_done(&c->planned);
	buf_clear(&c->plan);
	c->put = NULL;
	return result;
}

int copy_vanished(struct copy *c, struct buf *ret, struct error *err)
{
	buf_clear(ret);
	for (size_t i = 0; i < c->there.count; i++)
		if (is_from_here(c, &c->there.items[i].snapshot) && !c->matched[i])
			buf_add(ret, &c->there.items[i].id, ID_SIZE);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "copy: out of memory");
}
