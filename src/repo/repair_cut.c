/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A snapshot written anew without what is lost: lost data of files become holes, their nodes say that they are incomplete and why; lost entries of directories go; lost ranges of a disk are unreadable; inodes whose content lacks
 * something leave the inode table, so that the next image reads them. What is whole keeps its pages.
 */
#include <stdio.h>
#include <stdlib.h>

#include "repo/copy.h"
#include "repo/log.h"
#include "repo/repair_walk.h"

static const char cut_note[] = "part of it was lost in the repository, and cut out by a repair";

struct cutting {
	struct writer_slot slot;
	struct seq_writer *to;
	bool gap;              /* a page of this list itself is lost */
};

static int put_record(struct cutting *c, const struct buf *record, const void *key, size_t key_len, uint64_t span, struct error *err)
{
	if (!buf_ok(record))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	return seq_add(c->to, record->data, record->len, key, key_len, span, err);
}

/* Writes a list anew: visitor's cookie is c, whose writer is made and finished here. ret_id: its new root. */
static int rewrite(struct walk *w, struct cutting *c, enum seq_kind kind, const struct id *root, const struct list_visitor *visitor, struct id *ret_id, struct error *err)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *to = NULL;
	if (++w->depth > REPAIR_DEPTH_MAX)
		return error_set(err, ERR_UNSUPPORTED, "folders lie more than %u deep in a snapshot", REPAIR_DEPTH_MAX);
	if (seq_writer_new(&to, kind, writer_put_page, &c->slot, err) < 0)
		return -1;
	c->to = to;
	int done = walk_list(w, kind, root, visitor, err);
	w->depth--;
	return done < 0 ? -1 : seq_finish(to, ret_id, err);
}

static int skip_gap(struct walk *w, void *cookie, uint64_t span, uint64_t records, struct error *err)
{
	(void)w, (void)span, (void)records, (void)err;
	((struct cutting *)cookie)->gap = true;
	return 0;
}

/* --- content of files --------------------------------------------------------------------------- */

static int cut_part(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct content_part part;
	(void)start;
	if (content_part_decode(&part, record, len, err) < 0)
		return -1;
	if (part.kind == CONTENT_CHUNK && id_set_has(&w->lost, &part.chunk))
		part = (struct content_part){ .kind = CONTENT_HOLE, .length = part.length };
	content_part_encode(&b, &part);
	return put_record(cookie, &b, NULL, 0, part.length, err);
}

static int hole_for_gap(struct walk *w, void *cookie, uint64_t span, uint64_t records, struct error *err)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct cutting *c = cookie;
	const struct content_part part = { .kind = CONTENT_HOLE, .length = span };
	(void)w, (void)records;
	if (!span) { /* the root itself: nothing is known */
		c->gap = true;
		return 0;
	}
	content_part_encode(&b, &part);
	return put_record(c, &b, NULL, 0, span, err);
}

/* Sets *ret_hit where something was replaced by holes. A content whose root is lost is left out. */
static int cut_content(struct walk *w, struct writer_slot slot, struct node *node, bool *ret_hit, struct error *err)
{
	struct content *content = &node->content;
	for (size_t i = 0; !content->paged && i < content->count; i++) {
		struct content_part *part = &content->parts[i];
		if (part->kind != CONTENT_CHUNK || !id_set_has(&w->lost, &part->chunk))
			continue;
		*part = (struct content_part){ .kind = CONTENT_HOLE, .length = part->length };
		*ret_hit = true;
	}
	if (!content->paged || !id_set_has(&w->hit, &content->root))
		return 0;
	struct cutting c = { .slot = slot };
	const struct list_visitor visitor = { cut_part, hole_for_gap, &c };
	struct id root;
	if (rewrite(w, &c, SEQ_CONTENT, &content->root, &visitor, &root, err) < 0)
		return -1;
	*ret_hit = true;
	content->root = root;
	if (c.gap) {
		content_done(content);
		*content = (struct content){ 0 };
		node->has_content = false;
	}
	return 0;
}

/* --- trees ------------------------------------------------------------------------------------------ */

static int mark_incomplete(struct node *node, struct error *err)
{
	char *note = strdup(cut_note);
	if (!note)
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	free(node->note);
	node->note = note;
	node->incomplete = true;
	return 0;
}

static int cut_node(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err);

/* ret_gap: entries of the list itself are lost. */
static int cut_tree(struct walk *w, struct writer_slot slot, struct id *tree, bool *ret_gap, struct error *err)
{
	struct cutting c = { .slot = slot };
	const struct list_visitor visitor = { cut_node, skip_gap, &c };
	struct id root;
	if (!id_set_has(&w->hit, tree))
		return 0;
	if (rewrite(w, &c, SEQ_ENTRIES, tree, &visitor, &root, err) < 0)
		return -1;
	*tree = root;
	*ret_gap = c.gap;
	return 0;
}

static int cut_node(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	CLEAN(node_done) struct node node = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	struct cutting *c = cookie;
	bool hit = false;
	(void)start;
	if (node_decode(&node, record, len, err) < 0)
		return -1;
	if (node.has_tree ? cut_tree(w, c->slot, &node.tree, &hit, err) < 0 : node.has_content && cut_content(w, c->slot, &node, &hit, err) < 0)
		return -1;
	if (hit && mark_incomplete(&node, err) < 0)
		return -1;
	node_encode(&b, &node);
	return put_record(c, &b, node.name, node.name_len, 1, err);
}

/* --- images --------------------------------------------------------------------------------------------- */

static int cut_inode(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	CLEAN(inode_record_done) struct inode_record inode = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	uint8_t key[8];
	(void)start;
	if (inode_record_decode(&inode, record, len, err) < 0)
		return -1;
	bool hit = inode.has_content && inode.content.paged && id_set_has(&w->hit, &inode.content.root);
	for (size_t i = 0; inode.has_content && !inode.content.paged && i < inode.content.count; i++)
		hit |= inode.content.parts[i].kind == CONTENT_CHUNK && id_set_has(&w->lost, &inode.content.parts[i].chunk);
	if (hit)
		return 0;
	inode_record_key(inode.number, key);
	buf_add(&b, record, len);
	return put_record(cookie, &b, key, sizeof key, 1, err);
}

static int cut_range(struct walk *w, void *cookie, const uint8_t *record, size_t len, uint64_t start, struct error *err)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct map_range range;
	(void)start;
	if (map_range_decode(&range, record, len, err) < 0)
		return -1;
	if (range.kind == MAP_DATA && id_set_has(&w->lost, &range.chunk))
		range = (struct map_range){ .kind = MAP_UNREADABLE, .length = range.length };
	map_range_encode(&b, &range);
	return put_record(cookie, &b, NULL, 0, range.length, err);
}

static int unreadable_for_gap(struct walk *w, void *cookie, uint64_t span, uint64_t records, struct error *err)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct cutting *c = cookie;
	const struct map_range range = { .kind = MAP_UNREADABLE, .length = span };
	(void)w, (void)records;
	c->gap |= !span;
	if (!span)
		return 0;
	map_range_encode(&b, &range);
	return put_record(c, &b, NULL, 0, span, err);
}

/* A map whose root is lost: the whole disk is unreadable. */
static int cut_map(struct walk *w, struct writer_slot slot, struct snapshot *s, struct error *err)
{
	struct cutting c = { .slot = slot };
	const struct list_visitor visitor = { cut_range, unreadable_for_gap, &c };
	if (!id_set_has(&w->hit, &s->map))
		return 0;
	if (!id_set_has(&w->lost, &s->map))
		return rewrite(w, &c, SEQ_MAP, &s->map, &visitor, &s->map, err);
	CLEAN(seq_writer_cleanup) struct seq_writer *to = NULL;
	if (seq_writer_new(&to, SEQ_MAP, writer_put_page, &c.slot, err) < 0)
		return -1;
	c.to = to;
	return unreadable_for_gap(w, &c, s->disk_size, 0, err) < 0 ? -1 : seq_finish(to, &s->map, err);
}

static int cut_volume(struct walk *w, struct writer_slot slot, struct snapshot_volume *v, struct error *err)
{
	struct cutting c = { .slot = slot };
	const struct list_visitor visitor = { cut_inode, skip_gap, &c };
	bool gap = false;
	if (!v->has_tree)
		return 0;
	if (cut_tree(w, slot, &v->tree, &gap, err) < 0)
		return -1;
	return id_set_has(&w->hit, &v->inodes) ? rewrite(w, &c, SEQ_INODES, &v->inodes, &visitor, &v->inodes, err) : 0;
}

/* Whether a repair that was cut off has stored it already. */
static int find_cut(const struct snapshot_list *list, const struct snapshot *s, const struct snapshot_entry **ret, struct error *err)
{
	*ret = NULL;
	for (size_t i = 0; i < list->count && !*ret; i++) {
		const struct snapshot *t = &list->items[i].snapshot;
		bool equal = false;
		if (t != s && !t->has_writer && time_compare(t->time, s->time) == 0 && snapshots_equal(t, s, &equal, err) < 0)
			return -1;
		if (equal)
			*ret = &list->items[i];
	}
	return 0;
}

/* --- the snapshot ------------------------------------------------------------------------------------------ */

int repair_cut(struct walk *w, const struct snapshot_list *list, size_t which, struct error *err)
{
	const struct id *id = &list->items[which].id;
	struct snapshot *s = &list->items[which].snapshot;
	const struct snapshot_entry *before;
	struct repair *p = w->repair;
	CLEAN(writer_cleanup) struct writer *writer = NULL;
	const struct writer_options options = { .slots = 1, .level = p->options->level, .work = WORK_REPAIR, .host = p->options->host, .session = p->session };
	char key[OBJECT_KEY_MAX];
	struct id fresh;
	bool gap = false;
	if (writer_begin(&writer, p->repo, &options, err) < 0)
		return -1;
	struct writer_slot slot = { writer, 0 };
	w->depth = 0;
	if (s->kind == SNAPSHOT_FILES && cut_tree(w, slot, &s->tree, &gap, err) < 0)
		return -1;
	for (size_t i = 0; i < s->volume_count; i++)
		if (cut_volume(w, slot, &s->volumes[i], err) < 0)
			return -1;
	if (s->kind == SNAPSHOT_IMAGE && cut_map(w, slot, s, err) < 0)
		return -1;
	s->totals.warnings++;
	if (find_cut(list, s, &before, err) < 0)
		return -1;
	if (before)
		fresh = before->id;
	else if (writer_commit(writer, s, &fresh, err) < 0)
		return -1;
	object_key(SEAL_SNAPSHOT, id, key);
	if (repo_log_append(p->repo, NULL, id, NULL, err) < 0 || repair_put_aside(p->repo->store, key, err) < 0)
		return -1;
	p->report.cut_snapshots++;
	p->sink->replaced(p->sink->cookie, id, &fresh);
	return 0;
}
