/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/reach.h"

#include <stdlib.h>

#include "repo/format/map.h"
#include "repo/format/seq_page.h"

/* A page that is to be looked into. */
struct waiting {
	struct id id;
	enum seq_kind kind;
};

struct reach {
	struct repo *repo;
	const struct reach_visitor *visitor;
	struct buf stack; /* of struct waiting */
	struct buf page;
};

static void reach_done(struct reach *r)
{
	buf_done(&r->stack);
	buf_done(&r->page);
}

static int want_page(struct reach *r, enum seq_kind kind, const struct id *id, struct error *err)
{
	struct waiting w = { *id, kind };
	bool enter = false;
	if (r->visitor->page(r->visitor->cookie, id, &enter, err) < 0)
		return -1;
	if (enter)
		buf_add(&r->stack, &w, sizeof w);
	return buf_ok(&r->stack) ? 0 : error_set(err, ERR_NOMEM, "walk a snapshot: out of memory");
}

static int want_part(struct reach *r, const struct content_part *part, struct error *err)
{
	return part->kind == CONTENT_HOLE ? 0 : r->visitor->chunk(r->visitor->cookie, &part->chunk, err);
}

static int want_content(struct reach *r, const struct content *content, struct error *err)
{
	if (content->paged)
		return want_page(r, SEQ_CONTENT, &content->root, err);
	for (size_t i = 0; i < content->count; i++)
		if (want_part(r, &content->parts[i], err) < 0)
			return -1;
	return 0;
}

static int look_at_node(struct reach *r, const uint8_t *record, size_t len, struct error *err)
{
	CLEAN(node_done) struct node node = { 0 };
	if (node_decode(&node, record, len, err) < 0)
		return -1;
	if (r->visitor->progress)
		progress_add(r->visitor->progress, 1, 0);
	if (node.has_content && want_content(r, &node.content, err) < 0)
		return -1;
	return node.has_tree ? want_page(r, SEQ_ENTRIES, &node.tree, err) : 0;
}

static int look_at_inode(struct reach *r, const uint8_t *record, size_t len, struct error *err)
{
	CLEAN(inode_record_done) struct inode_record inode = { 0 };
	if (inode_record_decode(&inode, record, len, err) < 0)
		return -1;
	return inode.has_content ? want_content(r, &inode.content, err) : 0;
}

static int look_at(struct reach *r, enum seq_kind kind, const uint8_t *record, size_t len, struct error *err)
{
	struct content_part part;
	struct map_range range;
	switch (kind) {
	case SEQ_ENTRIES: return look_at_node(r, record, len, err);
	case SEQ_INODES: return look_at_inode(r, record, len, err);
	case SEQ_CONTENT: return content_part_decode(&part, record, len, err) < 0 ? -1 : want_part(r, &part, err);
	case SEQ_MAP:
		if (map_range_decode(&range, record, len, err) < 0)
			return -1;
		return range.kind == MAP_DATA ? r->visitor->chunk(r->visitor->cookie, &range.chunk, err) : 0;
	}
	return error_set(err, ERR_CORRUPT, "a page of an unknown kind");
}

static int look_into(struct reach *r, const struct waiting *w, struct error *err)
{
	struct seq_page page;
	struct seq_summary sum;
	if (repo_get_page(r->repo, &w->id, &r->page, err) < 0 ||
	    seq_page_open(&page, &sum, w->kind, r->page.data, r->page.len, (struct seq_key){ NULL, 0 }, err) < 0)
		return -1;
	const uint8_t *at = page.records;
	for (uint64_t i = 0; i < page.count; i++) {
		size_t len;
		if (page.level) {
			struct seq_child child = seq_child_at(&at, page.end);
			if (want_page(r, w->kind, &child.id, err) < 0)
				return -1;
			continue;
		}
		const uint8_t *record = seq_record_at(&at, page.end, &len);
		if (look_at(r, w->kind, record, len, err) < 0)
			return -1;
	}
	return 0;
}

static int walk(struct reach *r, enum seq_kind kind, const struct id *root, struct error *err)
{
	if (want_page(r, kind, root, err) < 0)
		return -1;
	while (r->stack.len) {
		struct waiting w;
		if (r->visitor->progress && progress_stopped(r->visitor->progress))
			return error_set(err, ERR_CANCELLED, "interrupted");
		r->stack.len -= sizeof w;
		memcpy(&w, r->stack.data + r->stack.len, sizeof w);
		if (look_into(r, &w, err) < 0)
			return -1;
	}
	return 0;
}

int reach_snapshot(struct repo *repo, const struct snapshot *s, const struct reach_visitor *visitor, struct error *err)
{
	CLEAN(reach_done) struct reach r = { .repo = repo, .visitor = visitor };
	if (s->kind == SNAPSHOT_FILES)
		return walk(&r, SEQ_ENTRIES, &s->tree, err);
	for (size_t i = 0; i < s->volume_count; i++)
		if (s->volumes[i].has_tree && (walk(&r, SEQ_ENTRIES, &s->volumes[i].tree, err) < 0 || walk(&r, SEQ_INODES, &s->volumes[i].inodes, err) < 0))
			return -1;
	return walk(&r, SEQ_MAP, &s->map, err);
}

int row_set_new(struct row_set *ret, uint64_t rows, struct error *err)
{
	uint64_t *words = calloc((size_t)(rows / 64 + 1), sizeof *words);
	if (!words)
		return error_set(err, ERR_NOMEM, "out of memory for %llu chunks", (unsigned long long)rows);
	*ret = (struct row_set){ words, rows };
	return 0;
}

void row_set_done(struct row_set *s)
{
	free(s->words);
	*s = (struct row_set){ 0 };
}
