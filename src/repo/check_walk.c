/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Everything that hangs on one snapshot, page by page. The pages on the way down are a stack of frames: directories, pages of long lists and paged content alike.
 * A page that was walked before and has nothing wrong below it is not opened again; one that has is, so that every snapshot's paths are named.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "repo/check_internal.h"
#include "repo/format/map.h"
#include "repo/format/seq_page.h"
#include "repo/object.h"

#define DEPTH_MAX (1u << 20)

struct frame {
	struct buf page;           /* kept when the frame is popped, for the next one at this depth */
	struct seq_page view;
	const uint8_t *at;         /* the next record */
	uint64_t left;
	enum seq_kind kind;
	struct seq_key last;       /* branch: of the child before */
	uint64_t row;              /* the page's chunk in the index */
	size_t path_len;           /* of what the page belongs to: a directory, or a file */
	bool root, dirty;
};

/* What is lost of one file, or of the disk: told once, when all of it was seen. */
struct losses {
	uint64_t pieces, bytes;
	char first[ERROR_TEXT_MAX];
};

struct walk {
	struct check *check;
	const struct id *snapshot;
	struct frame *frames;
	size_t depth, cap;
	struct buf path;
	char area[64];             /* "" in a file tree; else "the disk", "the inode table of p1" */
	uint64_t span;             /* what the list that is entered next must add up to; 0: anything */
	struct losses losses;
};

static void walk_done(struct walk *w)
{
	for (size_t i = 0; i < w->cap; i++)
		buf_done(&w->frames[i].page);
	free(w->frames);
	buf_done(&w->path);
}

static void lose(struct walk *w, uint64_t bytes, const char *what)
{
	if (!w->losses.pieces++)
		snprintf(w->losses.first, sizeof w->losses.first, "%s", what);
	w->losses.bytes += bytes;
}

/* Tells what was lost of the file at path, or of the area. */
static void tell_losses(struct walk *w)
{
	char what[ERROR_TEXT_MAX + 80];
	if (!w->losses.pieces)
		return;
	if (w->losses.bytes)
		snprintf(what, sizeof what, "%llu byte%s lost: %s%s", (unsigned long long)w->losses.bytes, w->losses.bytes == 1 ? " is" : "s are",
		         w->losses.first, w->losses.pieces > 1 ? ", and more" : "");
	else
		snprintf(what, sizeof what, "%s", w->losses.first);
	check_hit(w->check, w->snapshot, &w->path, *w->area ? w->area : NULL, what);
	w->losses = (struct losses){ 0 };
}

/* --- chunks ---------------------------------------------------------------------------------- */

/* Says in words where the chunk should be. */
static void where_lost(struct check *c, const struct id *id, char ret[ERROR_TEXT_MAX])
{
	char hex[ID_HEX_SIZE], key[OBJECT_KEY_MAX];
	struct place place;
	bool found = false;
	id_to_hex(id, hex);
	if (c->spare && index_find(c->spare, id, &found, &place, NULL) == 0 && found) {
		object_key(place.kind, &place.pack, key);
		snprintf(ret, ERROR_TEXT_MAX, "chunk %.16s is in %s, which no index segment names", hex, key);
		return;
	}
	snprintf(ret, ERROR_TEXT_MAX, "chunk %.16s is in no pack that the index names", hex);
}

/* False: why says what is wrong. *ret_known: the index knows the chunk, and *ret says where it is. */
static bool chunk_is_there(struct check *c, const struct id *id, struct place *ret, bool *ret_known, char why[ERROR_TEXT_MAX])
{
	struct error err = { 0 };
	bool known = false;
	if (index_find(c->repo->index, id, &known, ret, &err) < 0) {
		*ret_known = false;
		memcpy(why, err.text, ERROR_TEXT_MAX);
		return false;
	}
	*ret_known = known;
	if (!known) {
		where_lost(c, id, why);
		return false;
	}
	bool missing = ret->pack_row < c->pack_count && c->missing[ret->pack_row]; /* packs that came after the index was loaded are there */
	if (!missing && !bitmap_get(&c->bad, ret->row))
		return true;
	char key[OBJECT_KEY_MAX];
	object_key(ret->kind, &ret->pack, key);
	if (missing)
		snprintf(why, ERROR_TEXT_MAX, "%s is missing", key);
	else
		snprintf(why, ERROR_TEXT_MAX, "block %u of %s is lost", ret->block, key);
	return false;
}

/* A run of data: length bytes of it are wanted of a chunk that must have chunk_length. True when it is well. */
static bool check_data(struct walk *w, const struct id *id, uint64_t length, uint64_t chunk_length)
{
	struct check *c = w->check;
	struct place place;
	char why[ERROR_TEXT_MAX];
	bool known, good = chunk_is_there(c, id, &place, &known, why);
	if (known)
		bitmap_set(&c->seen, place.row);
	if (good && place.length != chunk_length) {
		char hex[ID_HEX_SIZE];
		id_to_hex(id, hex);
		snprintf(why, sizeof why, "chunk %.16s has %u bytes where %llu are referred to", hex, place.length, (unsigned long long)chunk_length);
		good = false;
	}
	if (!good)
		lose(w, length, why);
	return good;
}

static bool check_part(struct walk *w, const struct content_part *part)
{
	return part->kind == CONTENT_HOLE || check_data(w, &part->chunk, part->length, part->length);
}

/* --- going down ----------------------------------------------------------------------------------- */

static int push_frame(struct walk *w, struct frame **ret, struct error *err)
{
	if (w->depth == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;
		struct frame *grown = cap <= DEPTH_MAX ? realloc(w->frames, cap * sizeof *grown) : NULL;
		if (!grown)
			return error_set(err, ERR_NOMEM, "check: out of memory");
		memset(grown + w->cap, 0, (cap - w->cap) * sizeof *grown);
		w->frames = grown;
		w->cap = cap;
	}
	*ret = &w->frames[w->depth];
	return 0;
}

/* Verifies the page that was fetched into the frame. expected (NULL for a root) is what the parent says of it. */
static int open_page(struct frame *f, const struct seq_child *expected, unsigned level, struct seq_key after, uint64_t span, struct error *err)
{
	struct seq_summary sum;
	if (seq_page_open(&f->view, &sum, f->kind, f->page.data, f->page.len, after, err) < 0)
		return -1;
	if (expected && (f->view.level != level || !seq_summary_equal(&sum, &expected->sum)))
		return error_set(err, ERR_CORRUPT, "page of a list is not what its parent says");
	if (span && sum.span != span)
		return error_set(err, ERR_CORRUPT, "a list holds %llu bytes where %llu belong", (unsigned long long)sum.span, (unsigned long long)span);
	f->at = f->view.records;
	f->left = f->view.count;
	f->last = after;
	return 0;
}

/* A page that cannot be read: named once as an object, and each time it is met as a loss. */
static void page_is_lost(struct walk *w, const struct place *place, const struct error *why)
{
	struct check *c = w->check;
	char key[OBJECT_KEY_MAX], what[300];
	object_key(place->kind, &place->pack, key);
	check_damaged(c, key, "%s", why->text);
	bitmap_set(&c->bad, place->row);
	snprintf(what, sizeof what, "block %u of %s is lost", place->block, key);
	lose(w, 0, what);
}

static struct frame *top(struct walk *w)
{
	return w->depth ? &w->frames[w->depth - 1] : NULL;
}

static void soil(struct walk *w)
{
	if (w->depth)
		top(w)->dirty = true;
}

/* Goes into the page, unless that is not needed or not possible. expected: NULL for the root of a list. */
static int enter(struct walk *w, enum seq_kind kind, const struct id *id, const struct seq_child *expected, struct error *err)
{
	struct check *c = w->check;
	struct place place;
	struct frame *f = NULL;
	struct error why = { 0 };
	char text[ERROR_TEXT_MAX];
	bool known, good = chunk_is_there(c, id, &place, &known, text);
	uint64_t span = w->span;
	w->span = 0;
	if (known && good && bitmap_get(&c->seen, place.row) && !bitmap_get(&c->dirty, place.row))
		return 0;
	bool first = known && !bitmap_get(&c->seen, place.row);
	if (known)
		bitmap_set(&c->seen, place.row);
	if (!good) {
		lose(w, 0, text);
		soil(w);
		return 0;
	}
	if (push_frame(w, &f, err) < 0)
		return -1;
	unsigned level = expected ? top(w)->view.level - 1u : 0;
	struct seq_key after = expected ? top(w)->last : (struct seq_key){ NULL, 0 };
	f->kind = kind;
	bool fetched = repo_get_page(c->repo, id, &f->page, &why) == 0;
	if (!fetched || open_page(f, expected, level, after, span, &why) < 0) {
		if (why.kind == ERR_NOMEM)
			return error_set(err, why.kind, "%s", why.text);
		if (fetched) { /* authentic, but not what belongs here: looked at again wherever it is met */
			lose(w, 0, why.text);
			bitmap_set(&c->dirty, place.row);
		} else {
			page_is_lost(w, &place, &why);
		}
		soil(w);
		return 0;
	}
	f->row = place.row;
	f->path_len = w->path.len;
	f->root = !expected;
	f->dirty = false;
	c->report.pages += first;
	w->depth++;
	return 0;
}

/* Content that follows is told by whoever calls: inline parts at once, paged ones when their root's frame is left. */
static int check_content(struct walk *w, const struct content *content, struct error *err)
{
	if (content->paged)
		return enter(w, SEQ_CONTENT, &content->root, NULL, err);
	for (size_t i = 0; i < content->count; i++)
		if (!check_part(w, &content->parts[i]))
			soil(w);
	return 0;
}

/* --- records ---------------------------------------------------------------------------------------- */

static int check_node(struct walk *w, const struct node *node, struct error *err)
{
	size_t depth = w->depth;
	buf_add_u8(&w->path, '/');
	buf_add(&w->path, node->name, node->name_len);
	if (!buf_ok(&w->path))
		return error_set(err, ERR_NOMEM, "check: out of memory");
	int done = 0;
	w->span = node->content.paged && !node->incomplete ? node->attr.size : 0;
	if (node->has_content)
		done = check_content(w, &node->content, err);
	else if (node->has_tree)
		done = enter(w, SEQ_ENTRIES, &node->tree, NULL, err);
	if (done < 0 || w->depth > depth)
		return done;
	tell_losses(w);
	return 0;
}

static int check_entry(struct walk *w, const uint8_t *record, size_t len, struct error *err)
{
	struct node node;
	struct error why = { 0 };
	if (node_decode(&node, record, len, &why) < 0) {
		if (why.kind == ERR_NOMEM)
			return error_set(err, why.kind, "%s", why.text);
		lose(w, 0, why.text);
		soil(w);
		tell_losses(w);
		return 0;
	}
	int done = check_node(w, &node, err);
	node_done(&node);
	return done;
}

static int check_inode(struct walk *w, const uint8_t *record, size_t len, struct error *err)
{
	struct inode_record inode;
	struct error why = { 0 };
	if (inode_record_decode(&inode, record, len, &why) < 0) {
		if (why.kind == ERR_NOMEM)
			return error_set(err, why.kind, "%s", why.text);
		lose(w, 0, why.text);
		soil(w);
		return 0;
	}
	int done = inode.has_content ? check_content(w, &inode.content, err) : 0;
	inode_record_done(&inode);
	return done;
}

static int check_record(struct walk *w, struct frame *f, struct error *err)
{
	struct content_part part;
	struct map_range range;
	struct error why = { 0 };
	size_t len = 0;
	bool good = false;
	const uint8_t *record = seq_record_at(&f->at, f->view.end, &len);
	switch (f->kind) {
	case SEQ_ENTRIES:
		return check_entry(w, record, len, err);
	case SEQ_INODES:
		return check_inode(w, record, len, err);
	case SEQ_CONTENT:
		good = content_part_decode(&part, record, len, &why) == 0 && check_part(w, &part);
		break;
	case SEQ_MAP:
		good = map_range_decode(&range, record, len, &why) == 0 &&
		       (range.kind != MAP_DATA || check_data(w, &range.chunk, range.length, range.chunk_length));
		break;
	}
	if (why.kind != ERR_NONE)
		lose(w, 0, why.text);
	f->dirty |= !good;
	return 0;
}

/* --- the walk ------------------------------------------------------------------------------------------ */

static void leave(struct walk *w)
{
	struct frame *f = top(w);
	w->path.len = f->path_len;
	if (f->dirty)
		bitmap_set(&w->check->dirty, f->row);
	bool dirty = f->dirty;
	/* A directory's own pages, a file's content, the disk. The inode table's files are part of it. */
	if (f->root && (!*w->area || w->depth == 1))
		tell_losses(w);
	w->depth--;
	if (dirty)
		soil(w);
}

static int step(struct walk *w, struct error *err)
{
	struct frame *f = top(w);
	w->path.len = f->path_len;
	if (f->left == 0) {
		leave(w);
		return 0;
	}
	f->left--;
	if (!f->view.level)
		return check_record(w, f, err);
	struct seq_child child = seq_child_at(&f->at, f->view.end);
	size_t depth = w->depth;
	int done = enter(w, f->kind, &child.id, &child, err);
	/* The frame may have moved. What is lost of a directory is told now: its other pages go on. */
	w->frames[depth - 1].last = child.sum.last;
	if (done == 0 && w->depth == depth && w->frames[depth - 1].kind == SEQ_ENTRIES)
		tell_losses(w);
	return done;
}

static int walk_list(struct walk *w, enum seq_kind kind, const struct id *root, const char *area, struct error *err)
{
	snprintf(w->area, sizeof w->area, "%s", area);
	if (enter(w, kind, root, NULL, err) < 0)
		return -1;
	if (!w->depth)
		tell_losses(w);
	while (w->depth) {
		if (check_stopped(w->check, err) < 0 || step(w, err) < 0)
			return -1;
	}
	return 0;
}

static int walk_volume(struct walk *w, const struct snapshot_volume *v, struct error *err)
{
	char name[16] = "", area[64];
	if (!v->has_tree)
		return 0;
	if (v->number)
		snprintf(name, sizeof name, "/p%u", v->number);
	snprintf(area, sizeof area, "the inode table of %s", v->number ? name + 1 : "the filesystem");
	w->path.len = 0;
	buf_add(&w->path, name, strlen(name));
	if (walk_list(w, SEQ_ENTRIES, &v->tree, "", err) < 0)
		return -1;
	return walk_list(w, SEQ_INODES, &v->inodes, area, err);
}

int check_snapshot(struct check *c, const struct id *id, const struct snapshot *s, struct error *err)
{
	CLEAN(walk_done) struct walk w = { .check = c, .snapshot = id };
	if (s->kind == SNAPSHOT_FILES)
		return walk_list(&w, SEQ_ENTRIES, &s->tree, "", err);
	for (size_t i = 0; i < s->volume_count; i++)
		if (walk_volume(&w, &s->volumes[i], err) < 0)
			return -1;
	w.path.len = 0;
	w.span = s->disk_size;
	return walk_list(&w, SEQ_MAP, &s->map, "the disk", err);
}
