/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The lists of a snapshot, made anew with the ids of the target. The same walk runs twice: first it only collects which chunks of data are wanted, then, with these copied, it writes.
 * Directories are a stack of frames; a file's content, a map and an inode table are read in one go.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repo/copy_internal.h"

#define DEPTH_MAX (1u << 20)

/* What is lost of one file, or area. */
struct losses {
	uint64_t pieces, bytes;
	bool list;                 /* all of it: its list cannot be read */
	char first[ERROR_TEXT_MAX];
};

/* A directory on the way down. */
struct dir_frame {
	struct id root;            /* in the source */
	struct seq_reader *reader;
	struct seq_writer *writer; /* NULL while collecting */
	struct node node;          /* the entry whose own list is the next frame */
	size_t path_len;
	bool lossy;                /* something was left out in it or below: made anew, and told, for each snapshot */
};

struct walk {
	struct copy *c;
	bool write;
	bool failed;               /* what failed last was no reading of the source: nothing to be survived */
	struct writer_slot slot;
	struct buf path, record;
	struct dir_frame *frames;
	size_t depth, cap;
};

static void frame_done(struct dir_frame *f)
{
	seq_reader_free(f->reader);
	seq_writer_free(f->writer);
	node_done(&f->node);
	*f = (struct dir_frame){ .reader = NULL };
}

static void walk_done(struct walk *w)
{
	while (w->depth)
		frame_done(&w->frames[--w->depth]);
	free(w->frames);
	buf_done(&w->path);
	buf_done(&w->record);
}

static struct walk walk_begin(struct copy *c, bool write)
{
	return (struct walk){ .c = c, .write = write, .slot = { c->writer, c->options.threads }, .path = BUF_INIT, .record = BUF_INIT };
}

static void tell(struct walk *w, const char *area, const struct losses *l)
{
	char what[ERROR_TEXT_MAX + 64];
	if (!w->write || (!l->pieces && !l->list))
		return;
	if (l->list)
		snprintf(what, sizeof what, "all of it is lost: %s", l->first);
	else
		snprintf(what, sizeof what, "%llu bytes are lost", (unsigned long long)l->bytes);
	w->c->lost++;
	w->c->sink->lost(w->c->sink->cookie, w->c->snapshot, area ? NULL : w->path.len ? (const char *)w->path.data : "/", w->path.len ? w->path.len : 1, area, what);
}

static int new_writer(struct walk *w, enum seq_kind kind, struct seq_writer **ret, struct error *err)
{
	if (!w->write)
		return 0;
	return w->c->put ? seq_writer_new(ret, kind, w->c->put, w->c->put_cookie, err) : seq_writer_new(ret, kind, writer_put_page, &w->slot, err);
}

static int add(struct walk *w, struct seq_writer *writer, const void *key, size_t key_len, uint64_t span, struct error *err)
{
	if (!buf_ok(&w->record))
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	w->failed = seq_add(writer, w->record.data, w->record.len, key, key_len, span, err) < 0;
	return w->failed ? -1 : 0;
}

static bool is_survivable(const struct walk *w, const struct error *why)
{
	return !w->failed && copy_is_damage(why);
}

/* --- chunks and content ------------------------------------------------------------------ */

/* *ret_lost: nothing in the target stands for it; else, when writing, *id is the new one. */
static int take_chunk(struct walk *w, struct id *id, uint64_t length, bool *ret_lost, struct losses *l, struct error *err)
{
	bool found = true;
	*ret_lost = false;
	w->failed = (w->write ? copy_find(w->c, id, &found, id, err) : copy_want(w->c, id, err)) < 0;
	if (w->failed)
		return -1;
	*ret_lost = !found;
	l->pieces += !found;
	l->bytes += found ? 0 : length;
	return 0;
}

static int take_part(struct walk *w, struct content_part *part, struct losses *l, struct error *err)
{
	bool lost = false;
	if (part->kind == CONTENT_CHUNK && take_chunk(w, &part->chunk, part->length, &lost, l, err) < 0)
		return -1;
	if (lost)
		*part = (struct content_part){ .kind = CONTENT_HOLE, .length = part->length };
	return 0;
}

static int flat_list(struct walk *w, enum seq_kind kind, const struct id *root, struct id *ret, struct losses *l, struct error *err);

static int take_content(struct walk *w, struct content *content, struct losses *l, struct error *err)
{
	if (content->paged)
		return flat_list(w, SEQ_CONTENT, &content->root, &content->root, l, err);
	for (size_t i = 0; i < content->count; i++)
		if (take_part(w, &content->parts[i], l, err) < 0)
			return -1;
	return 0;
}

/* --- lists without lists of their own kind below ------------------------------------------- */

static int take_inode(struct walk *w, struct seq_writer *writer, const uint8_t *record, size_t len, struct error *err)
{
	CLEAN(inode_record_done) struct inode_record inode = { 0 };
	struct losses l = { 0 };
	uint8_t key[8];
	if (inode_record_decode(&inode, record, len, err) < 0 || (inode.has_content && take_content(w, &inode.content, &l, err) < 0))
		return -1;
	if (!w->write)
		return 0;
	/* It only saves reading the disk again: the file's own entry says what is lost. */
	if (l.pieces || l.list)
		inode.has_content = false;
	inode_record_encode(&w->record, &inode);
	inode_record_key(inode.number, key);
	return add(w, writer, key, sizeof key, 1, err);
}

static int take_range(struct walk *w, struct seq_writer *writer, const uint8_t *record, size_t len, struct losses *l, struct error *err)
{
	struct map_range range;
	bool lost = false;
	if (map_range_decode(&range, record, len, err) < 0 || (range.kind == MAP_DATA && take_chunk(w, &range.chunk, range.length, &lost, l, err) < 0))
		return -1;
	if (!w->write)
		return 0;
	if (lost)
		range = (struct map_range){ .kind = MAP_UNREADABLE, .length = range.length };
	map_range_encode(&w->record, &range);
	return add(w, writer, NULL, 0, range.length, err);
}

static int take_record(struct walk *w, enum seq_kind kind, struct seq_writer *writer, const uint8_t *record, size_t len, struct losses *l, struct error *err)
{
	struct content_part part;
	buf_clear(&w->record);
	if (kind == SEQ_INODES)
		return take_inode(w, writer, record, len, err);
	if (kind == SEQ_MAP)
		return take_range(w, writer, record, len, l, err);
	if (content_part_decode(&part, record, len, err) < 0 || take_part(w, &part, l, err) < 0)
		return -1;
	if (!w->write)
		return 0;
	content_part_encode(&w->record, &part);
	return add(w, writer, NULL, 0, part.length, err);
}

/* The whole list: *ret is its new root. What the source has lost of it is in *l; then *ret is untouched if l->list. */
static int flat_list(struct walk *w, enum seq_kind kind, const struct id *root, struct id *ret, struct losses *l, struct error *err)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	CLEAN(seq_writer_cleanup) struct seq_writer *writer = NULL;
	struct id from = *root, became;
	struct error why = { 0 };
	const uint8_t *record;
	size_t len;
	bool found, more;
	uint64_t before = l->pieces;
	if (id_table_find(w->c->lists, &from, &found, &became, err) < 0)
		return -1;
	if (found) {
		*ret = became;
		return 0;
	}
	if (seq_reader_new(&reader, kind, &from, repo_get_page, w->c->from, err) < 0 || new_writer(w, kind, &writer, err) < 0)
		return -1;
	for (;;) {
		if (progress_stopped(w->c->options.progress))
			return error_set(err, ERR_CANCELLED, "copy: interrupted");
		if (seq_next(reader, &more, &record, &len, NULL, &why) < 0 || (more && take_record(w, kind, writer, record, len, l, &why) < 0))
			break;
		if (more)
			continue;
		if (!w->write)
			return 0;
		if (seq_finish(writer, &became, err) < 0)
			return -1;
		*ret = became;
		return l->pieces == before ? id_table_set(w->c->lists, &from, &became, err) : 0;
	}
	if (!is_survivable(w, &why)) {
		*err = why;
		return -1;
	}
	l->list = true;
	memcpy(l->first, why.text, sizeof l->first);
	return 0;
}

/* --- directories ----------------------------------------------------------------------------- */

static int push(struct walk *w, const struct id *root, struct error *err)
{
	if (w->depth == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;
		struct dir_frame *grown = cap <= DEPTH_MAX ? realloc(w->frames, cap * sizeof *grown) : NULL;
		if (!grown)
			return error_set(err, ERR_NOMEM, "copy: out of memory");
		w->frames = grown;
		w->cap = cap;
	}
	struct dir_frame *f = &w->frames[w->depth];
	*f = (struct dir_frame){ .root = *root, .path_len = w->path.len };
	w->depth++;
	return seq_reader_new(&f->reader, SEQ_ENTRIES, root, repo_get_page, w->c->from, err) < 0 || new_writer(w, SEQ_ENTRIES, &f->writer, err) < 0 ? -1 : 0;
}

static int mark_lossy(struct node *n, struct error *err)
{
	n->incomplete = true;
	if (!n->note && !(n->note = strdup("lost in the repository that this was copied from")))
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	return 0;
}

/* The entry is complete but for what is lost of it: into its directory with it. */
static int put_node(struct walk *w, struct dir_frame *f, struct node *n, struct losses *l, struct error *err)
{
	int done = 0;
	if (l->pieces || l->list) {
		f->lossy = true;
		if (l->list) {
			n->has_tree = n->has_content = false;
			content_done(&n->content);
		}
		tell(w, NULL, l);
		done = mark_lossy(n, err);
	}
	if (done == 0 && w->write) {
		buf_clear(&w->record);
		node_encode(&w->record, n);
		done = add(w, f->writer, n->name, n->name_len, 1, err);
	}
	node_done(n);
	return done;
}

static int take_entry(struct walk *w, const uint8_t *record, size_t len, struct error *err)
{
	struct dir_frame *f = &w->frames[w->depth - 1];
	CLEAN(node_done) struct node n = { 0 };
	struct losses l = { 0 };
	struct id became;
	bool found = true;
	if (node_decode(&n, record, len, err) < 0)
		return -1;
	w->path.len = f->path_len;
	buf_add_u8(&w->path, '/');
	buf_add(&w->path, n.name, n.name_len);
	if (!buf_ok(&w->path))
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	if (n.has_content && take_content(w, &n.content, &l, err) < 0)
		return -1;
	if (n.has_tree && id_table_find(w->c->lists, &n.tree, &found, &became, err) < 0)
		return -1;
	if (n.has_tree && !found) {
		struct id tree = n.tree;
		f->node = n;
		n = (struct node){ 0 };
		return push(w, &tree, err);
	}
	if (n.has_tree)
		n.tree = became;
	return put_node(w, f, &n, &l, err);
}

/* The directory on top is complete, or lost: *ret is its root when it was the last. */
static int leave(struct walk *w, struct losses *l, struct id *ret, struct error *err)
{
	struct dir_frame *f = &w->frames[w->depth - 1];
	struct id became = f->root;
	bool lossy = f->lossy || l->list;
	if (w->write && !l->list && seq_finish(f->writer, &became, err) < 0)
		return -1;
	if (w->write && !lossy && id_table_set(w->c->lists, &f->root, &became, err) < 0)
		return -1;
	w->path.len = f->path_len;
	frame_done(f);
	w->depth--;
	if (!w->depth) {
		*ret = became;
		return 0;
	}
	f = &w->frames[w->depth - 1];
	f->lossy |= lossy;
	f->node.tree = became;
	return put_node(w, f, &f->node, l, err);
}

/* A tree from its root. *l: the root itself is lost. */
static int take_tree(struct walk *w, const struct id *root, struct id *ret, struct losses *l, struct error *err)
{
	struct id from = *root;
	bool found;
	if (id_table_find(w->c->lists, &from, &found, ret, err) < 0)
		return -1;
	if (found)
		return 0;
	if (push(w, &from, err) < 0)
		return -1;
	while (w->depth) {
		struct error why = { 0 };
		struct losses lost = { 0 };
		const uint8_t *record;
		size_t len;
		bool more;
		if (progress_stopped(w->c->options.progress))
			return error_set(err, ERR_CANCELLED, "copy: interrupted");
		bool read = seq_next(w->frames[w->depth - 1].reader, &more, &record, &len, NULL, &why) == 0;
		if (read && more && take_entry(w, record, len, &why) == 0)
			continue;
		if (why.kind != ERR_NONE && !is_survivable(w, &why)) {
			*err = why;
			return -1;
		}
		lost.list = why.kind != ERR_NONE;
		memcpy(lost.first, why.text, sizeof lost.first);
		if (w->depth == 1)
			*l = lost;
		if (leave(w, &lost, ret, err) < 0)
			return -1;
	}
	return 0;
}

/* --- snapshots --------------------------------------------------------------------------------- */

static int empty_list(struct walk *w, enum seq_kind kind, struct id *ret, struct error *err)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *writer = NULL;
	return seq_writer_new(&writer, kind, writer_put_page, &w->slot, err) < 0 ? -1 : seq_finish(writer, ret, err);
}

static int take_volume(struct walk *w, const struct snapshot_volume *v, struct snapshot_volume *ret, struct error *err)
{
	struct losses tree = { 0 }, inodes = { 0 };
	char name[24] = "", area[64];
	if (!v->has_tree)
		return 0;
	if (v->number)
		snprintf(name, sizeof name, "/p%u", v->number);
	buf_clear(&w->path);
	buf_add(&w->path, name, strlen(name));
	if (take_tree(w, &v->tree, &ret->tree, &tree, err) < 0 || flat_list(w, SEQ_INODES, &v->inodes, &ret->inodes, &inodes, err) < 0)
		return -1;
	if (!w->write)
		return 0;
	tell(w, NULL, &tree);
	ret->has_tree = !tree.list;
	snprintf(area, sizeof area, "the inode table of %s", v->number ? name + 1 : "the filesystem");
	tell(w, area, &inodes);
	return inodes.list ? empty_list(w, SEQ_INODES, &ret->inodes, err) : 0;
}

/* from is only read; *ret gets the new ids. */
static int take_snapshot(struct walk *w, const struct snapshot *from, struct snapshot *ret, struct error *err)
{
	struct losses l = { 0 };
	if (from->kind == SNAPSHOT_FILES) {
		if (take_tree(w, &from->tree, &ret->tree, &l, err) < 0)
			return -1;
	} else {
		for (size_t i = 0; i < from->volume_count; i++)
			if (take_volume(w, &from->volumes[i], &ret->volumes[i], err) < 0)
				return -1;
		buf_clear(&w->path);
		if (flat_list(w, SEQ_MAP, &from->map, &ret->map, &l, err) < 0)
			return -1;
		if (!l.list)
			tell(w, "the disk", &l);
	}
	if (l.list && w->write)
		return error_set(err, ERR_CORRUPT, "%s", l.first);
	return 0;
}

int copy_collect(struct copy *c, const struct snapshot *s, struct error *err)
{
	CLEAN(walk_done) struct walk w = walk_begin(c, false);
	struct snapshot scratch = *s;
	CLEAN_FREE struct snapshot_volume *volumes = calloc(s->volume_count + 1, sizeof *volumes);
	if (!volumes)
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	scratch.volumes = volumes;
	return take_snapshot(&w, s, &scratch, err) < 0 ? -1 : copy_planned(c, err);
}

int copy_rewrite(struct copy *c, struct snapshot *s, struct error *err)
{
	CLEAN(walk_done) struct walk w = walk_begin(c, true);
	return take_snapshot(&w, s, s, err);
}

int copy_one_list(struct copy *c, enum seq_kind kind, const struct id *root, bool write, struct error *err)
{
	CLEAN(walk_done) struct walk w = walk_begin(c, write);
	struct losses l = { 0 };
	struct id became;
	if ((kind == SEQ_ENTRIES ? take_tree(&w, root, &became, &l, err) : flat_list(&w, kind, root, &became, &l, err)) < 0)
		return -1;
	return l.list ? error_set(err, ERR_CORRUPT, "%s", l.first) : 0;
}
