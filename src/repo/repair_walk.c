/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Everything that hangs on the snapshots: what no pack has is fetched from elsewhere (repair_fetch.c). Lists that are whole are walked once, those with something lost below them for each
 * snapshot, so that every file that is hit is named.
 */
#include "repo/repair_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repo/repair_copy.h"
#include "repo/repair_fetch.h"

/* --- sets of ids ----------------------------------------------------------------------------- */

static const struct id none;

void id_set_done(struct id_set *s)
{
	free(s->slots);
	*s = (struct id_set){ 0 };
}

/* Ids are hashes: their first bytes say where to begin. */
static size_t slot_of(const struct id_set *s, const struct id *id)
{
	size_t at = (size_t)get_le64(id->b) & (s->size - 1);
	while (!id_equal(&s->slots[at], &none) && !id_equal(&s->slots[at], id))
		at = (at + 1) & (s->size - 1);
	return at;
}

bool id_set_has(const struct id_set *s, const struct id *id)
{
	return s->count && !id_equal(&s->slots[slot_of(s, id)], &none);
}

int id_set_add(struct id_set *s, const struct id *id, struct error *err)
{
	if (2 * s->count >= s->size) {
		struct id_set grown = { .size = s->size ? 2 * s->size : 1024 };
		grown.slots = calloc(grown.size, sizeof *grown.slots);
		if (!grown.slots)
			return error_set(err, ERR_NOMEM, "repair: out of memory");
		for (size_t i = 0; i < s->size; i++)
			if (!id_equal(&s->slots[i], &none))
				grown.slots[slot_of(&grown, &s->slots[i])] = s->slots[i];
		grown.count = s->count;
		free(s->slots);
		*s = grown;
	}
	size_t at = slot_of(s, id);
	s->count += id_equal(&s->slots[at], &none);
	s->slots[at] = *id;
	return 0;
}

/* --- lists -------------------------------------------------------------------------------------------- */

/* expected: what the parent says of the page; NULL for a root. */
static int walk_page(struct walk *w, enum seq_kind kind, const struct id *id, const struct seq_child *expected, unsigned levels, uint64_t start,
                     const struct list_visitor *v, struct error *err)
{
	CLEAN_BUF struct buf page = BUF_INIT;
	struct seq_page view;
	struct seq_summary sum;
	bool there;
	if (fetch_page(w, kind, id, &page, &there, err) < 0)
		return -1;
	if (!there || seq_page_open(&view, &sum, kind, page.data, page.len, (struct seq_key){ NULL, 0 }, NULL) < 0 || view.level >= levels ||
	    (expected && !seq_summary_equal(&sum, &expected->sum)))
		return v->gap(w, v->cookie, expected ? expected->sum.span : 0, expected ? expected->sum.records : 0, err);
	const uint8_t *at = view.records;
	for (uint64_t i = 0; i < view.count; i++) {
		if (view.level) {
			struct seq_child child = seq_child_at(&at, view.end);
			if (walk_page(w, kind, &child.id, &child, view.level, start, v, err) < 0)
				return -1;
			start += child.sum.span;
			continue;
		}
		size_t len;
		uint64_t span;
		struct seq_key key;
		const uint8_t *record = seq_record_at(&at, view.end, &len);
		if (seq_record_info(kind, record, len, &key, &span, err) < 0 || v->record(w, v->cookie, record, len, start, err) < 0)
			return -1;
		start += span;
	}
	return 0;
}

int walk_list(struct walk *w, enum seq_kind kind, const struct id *root, const struct list_visitor *visitor, struct error *err)
{
	if (repair_stopped(w->repair, err) < 0)
		return -1;
	return walk_page(w, kind, root, NULL, SEQ_LEVELS_MAX, 0, visitor, err);
}

/* --- looking for what is lost ---------------------------------------------------------------------------- */

struct losses {
	uint64_t bytes, entries;
	bool any;
};

static int note_gap(struct walk *w, void *cookie, uint64_t span, uint64_t records, struct error *err)
{
	struct losses *l = cookie;
	(void)w, (void)err;
	l->any = true;
	l->bytes += span;
	l->entries += records;
	return 0;
}

static int note_data(struct walk *w, struct losses *l, const struct id *id, uint64_t length, uint64_t offset, struct error *err)
{
	bool there;
	if (fetch_chunk(w, id, length, offset, &there, err) < 0)
		return -1;
	l->any |= !there;
	l->bytes += there ? 0 : length;
	return 0;
}

static int see_part(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	struct content_part part;
	if (content_part_decode(&part, record, len, err) < 0)
		return -1;
	return part.kind == CONTENT_HOLE ? 0 : note_data(w, cookie, &part.chunk, part.length, start, err);
}

static int see_range(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	struct map_range range;
	struct losses *l = cookie;
	bool there = true;
	if (map_range_decode(&range, record, len, err) < 0 || (range.kind == MAP_DATA && fetch_range(w, &range, start, &there, err) < 0))
		return -1;
	l->any |= !there;
	l->bytes += there ? 0 : range.length;
	return 0;
}

/* Walks a list unless it is known to be whole, and remembers what it is. */
static int look(struct walk *w, enum seq_kind kind, const struct id *root, int (*record)(struct walk *, void *, const uint8_t *, size_t, uint64_t, struct error *),
                struct losses *l, struct error *err)
{
	struct losses mine = { 0 };
	const struct list_visitor visitor = { record, note_gap, &mine };
	if (id_set_has(&w->clean, root))
		return 0;
	if (++w->depth > REPAIR_DEPTH_MAX)
		return error_set(err, ERR_UNSUPPORTED, "folders lie more than %u deep in a snapshot: such are not looked through", REPAIR_DEPTH_MAX);
	int done = walk_list(w, kind, root, &visitor, err);
	w->depth--;
	if (done < 0)
		return -1;
	l->any |= mine.any;
	l->bytes += mine.bytes;
	l->entries += mine.entries;
	return id_set_add(mine.any ? &w->hit : &w->clean, root, err);
}

static int look_content(struct walk *w, const struct content *c, struct losses *l, struct error *err)
{
	uint64_t at = 0;
	if (c->paged)
		return look(w, SEQ_CONTENT, &c->root, see_part, l, err);
	for (size_t i = 0; i < c->count; i++) {
		if (c->parts[i].kind == CONTENT_CHUNK && note_data(w, l, &c->parts[i].chunk, c->parts[i].length, at, err) < 0)
			return -1;
		at += c->parts[i].length;
	}
	return 0;
}

static void tell_hit(struct walk *w, const char *area, const char *what)
{
	const struct repair *p = w->repair;
	const struct repair_sink *sink = p->sink;
	bool cut = p->options->cut && !p->options->dry_run;
	const char *path = w->path.len ? (const char *)w->path.data : "/";
	if (w->mute)
		return;
	sink->hit(sink->cookie, w->snapshot, area ? NULL : path, area ? 0 : w->path.len ? w->path.len : 1, area, what, cut);
	w->repair->report.hits++;
	w->repair->report.cut_hits += cut;
}

static void tell_bytes(struct walk *w, const char *area, const struct losses *l)
{
	char what[80];
	if (l->bytes)
		snprintf(what, sizeof what, "%llu bytes are lost", (unsigned long long)l->bytes);
	else
		snprintf(what, sizeof what, "its content is lost");
	tell_hit(w, area, what);
}

static int see_node(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err);

/* The entries of the directory at w->path. */
static int look_entries(struct walk *w, const struct id *root, struct losses *l, struct error *err)
{
	struct losses mine = { 0 };
	if (look(w, SEQ_ENTRIES, root, see_node, &mine, err) < 0)
		return -1;
	l->any |= mine.any;
	/* see_node leaves bytes and entries alone: what is left here are the directory's own pages. */
	if (mine.entries || (mine.any && id_set_has(&w->lost, root))) {
		char what[80] = "its entries are lost";
		if (mine.entries)
			snprintf(what, sizeof what, "%llu of its entries are lost", (unsigned long long)mine.entries);
		tell_hit(w, NULL, what);
	}
	return 0;
}

static int see_node(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	CLEAN(node_done) struct node node = { 0 };
	struct losses mine = { 0 }, *l = cookie;
	size_t path_len = w->path.len;
	(void)start;
	if (node_decode(&node, record, len, err) < 0)
		return -1;
	buf_add_u8(&w->path, '/');
	buf_add(&w->path, node.name, node.name_len);
	if (!buf_ok(&w->path))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	int done = node.has_tree ? look_entries(w, &node.tree, &mine, err) : node.has_content ? look_content(w, &node.content, &mine, err) : 0;
	if (done == 0 && mine.any && !node.has_tree)
		tell_bytes(w, NULL, &mine);
	l->any |= mine.any;
	w->path.len = path_len;
	return done;
}

static int see_inode(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	CLEAN(inode_record_done) struct inode_record inode = { 0 };
	(void)start;
	if (inode_record_decode(&inode, record, len, err) < 0)
		return -1;
	w->inode = inode.number;
	return inode.has_content ? look_content(w, &inode.content, cookie, err) : 0;
}

static int look_volume(struct walk *w, const struct snapshot_volume *v, bool *ret_hit, struct error *err)
{
	struct losses tree = { 0 }, inodes = { 0 };
	char name[16] = "", area[64];
	if (!v->has_tree)
		return 0;
	if (v->number)
		snprintf(name, sizeof name, "/p%u", v->number);
	w->path.len = 0;
	buf_add(&w->path, name, strlen(name));
	w->root_len = w->path.len;
	w->volume = v;
	if (look_entries(w, &v->tree, &tree, err) < 0)
		return -1;
	w->in_inodes = true;
	if (look(w, SEQ_INODES, &v->inodes, see_inode, &inodes, err) < 0)
		return -1;
	w->in_inodes = false;
	snprintf(area, sizeof area, "the inode table of %s", v->number ? name + 1 : "the filesystem");
	if (inodes.any)
		tell_bytes(w, area, &inodes);
	*ret_hit |= tree.any || inodes.any;
	return 0;
}

static int look_snapshot(struct walk *w, const struct snapshot_entry *e, bool *ret_hit, struct error *err)
{
	struct losses l = { 0 };
	w->snapshot = &e->id;
	w->on_files = e->snapshot.kind == SNAPSHOT_FILES;
	w->path.len = w->root_len = 0;
	w->volume = NULL;
	if (w->others)
		counterparts_of(w->others, &e->id, &e->snapshot);
	if (w->on_files) {
		int done = look_entries(w, &e->snapshot.tree, &l, err);
		*ret_hit = l.any;
		return done;
	}
	for (size_t i = 0; i < e->snapshot.volume_count; i++)
		if (look_volume(w, &e->snapshot.volumes[i], ret_hit, err) < 0)
			return -1;
	w->in_map = true;
	if (look(w, SEQ_MAP, &e->snapshot.map, see_range, &l, err) < 0 || fetch_from_disk(w, &e->snapshot, err) < 0)
		return -1;
	w->in_map = false;
	if (l.any)
		tell_bytes(w, "the disk", &l);
	*ret_hit |= l.any;
	return 0;
}

/* --- all snapshots ------------------------------------------------------------------------------------------ */

static void walk_done(struct walk *w)
{
	writer_free(w->writer);
	counterparts_free(w->others);
	buf_done(&w->path);
	buf_done(&w->pieces);
	id_set_done(&w->clean);
	id_set_done(&w->hit);
	id_set_done(&w->lost);
	id_set_done(&w->fetched);
}

static int look_round(struct walk *w, const struct snapshot_list *list, bool *hit, bool *ret_any, struct error *err)
{
	*ret_any = false;
	id_set_done(&w->hit);
	id_set_done(&w->lost);
	for (size_t i = 0; i < list->count; i++) {
		hit[i] = false;
		if (look_snapshot(w, &list->items[i], &hit[i], err) < 0)
			return -1;
		*ret_any |= hit[i];
	}
	return 0;
}

/* What is found for one snapshot serves those before it too, and a page that is found names what is to be found below it: so in rounds, until one finds nothing, before anything is told. */
static int look_rounds(struct walk *w, const struct snapshot_list *list, bool *hit, struct error *err)
{
	bool any = true;
	size_t before;
	w->mute = true;
	do {
		before = w->fetched.count;
		if (look_round(w, list, hit, &any, err) < 0)
			return -1;
	} while (any && w->fetched.count > before);
	w->mute = false;
	return any ? look_round(w, list, hit, &any, err) : 0;
}

static int look_all(struct walk *w, const struct snapshot_list *list, bool *hit, struct error *err)
{
	struct repair *p = w->repair;
	const struct writer_options options = { .slots = 1, .level = p->options->level, .work = WORK_REPAIR, .host = p->options->host, .session = p->session };
	if (!p->options->dry_run && writer_begin(&w->writer, p->repo, &options, err) < 0)
		return -1;
	if (look_rounds(w, list, hit, err) < 0)
		return -1;
	if (w->writer && writer_flush(w->writer, err) < 0)
		return -1;
	writer_free(TAKE(w->writer));
	counterparts_free(TAKE(w->others));
	return 0;
}

/* Whose chunks have our ids, or who else may have what they are made of. */
static int open_other(struct walk *w, struct error *err)
{
	struct repair *p = w->repair;
	if (!p->options->from)
		return 0;
	if (!repo_same_chunks(p->repo, p->options->from))
		return counterparts_open(&w->others, p->repo, p->options, err);
	w->twin = p->options->from;
	return 0;
}

/* Snapshots that were found damaged are told as such; one that could be read, and now cannot, must not be passed over. */
static int no_other_is_damaged(const struct repair *p, const struct snapshot_list *list, struct error *err)
{
	size_t known = 0;
	for (size_t i = 0; i < p->patient_count; i++)
		known += strncmp(p->patients[i].name, "snapshots/", 10) == 0;
	if (list->damaged <= known)
		return 0;
	*err = list->first_error;
	return error_add(err, "a snapshot that could be read before");
}

int repair_snapshots(struct repair *p, struct error *err)
{
	CLEAN(walk_done) struct walk w = { .repair = p };
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	if (repo_snapshots(p->repo, &list, err) < 0 || no_other_is_damaged(p, &list, err) < 0 || open_other(&w, err) < 0)
		return -1;
	CLEAN_FREE bool *hit = calloc(list.count + 1, sizeof *hit);
	if (!hit)
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	if (look_all(&w, &list, hit, err) < 0)
		return -1;
	for (size_t i = 0; p->options->cut && !p->options->dry_run && i < list.count; i++)
		/* Written anew it would pass for one that can be relied on. */
		if (hit[i] && !list.items[i].snapshot.has_writer && repair_cut(&w, &list, i, err) < 0)
			return error_add(err, "cut what is lost out of a snapshot");
	return 0;
}
