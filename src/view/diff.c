/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "view/diff.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "view/internal.h"

#define DEPTH_MAX 65536u

/* One of the two directories that are compared, and its next entry. */
struct side {
	struct entries entries;
	struct node next;
	bool has;
};

struct pair {
	struct side sides[2];
	size_t path_len;
};

struct differ {
	struct view *views[2];
	view_diff_fn fn;
	void *cookie;
	struct pair *pairs;
	size_t depth, cap;
	struct buf path;
};

static void side_done(struct side *s)
{
	entries_done(&s->entries);
	if (s->has)
		node_done(&s->next);
	s->has = false;
}

static void differ_done(struct differ *d)
{
	for (size_t i = 0; i < d->depth; i++) {
		side_done(&d->pairs[i].sides[0]);
		side_done(&d->pairs[i].sides[1]);
	}
	free(d->pairs);
	buf_done(&d->path);
}

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NOMEM, "compare snapshots: out of memory");
}

static int tell(struct differ *d, enum view_change change, const struct node *a, const struct node *b, struct error *err)
{
	return d->fn(d->cookie, change, d->path.len ? (const char *)d->path.data : "", d->path.len, a, b, err);
}

/* --- two nodes ------------------------------------------------------------------------------- */

static bool same_content(const struct content *a, const struct content *b)
{
	if (a->paged || b->paged)
		return a->paged && b->paged && id_equal(&a->root, &b->root);
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct content_part *x = &a->parts[i], *y = &b->parts[i];
		if (x->kind != y->kind || x->length != y->length || (x->kind == CONTENT_CHUNK && !id_equal(&x->chunk, &y->chunk)))
			return false;
	}
	return true;
}

static bool same_bytes(const struct node *a, const struct node *b)
{
	switch (a->attr.mode & S_IFMT) {
	case S_IFREG:
		return a->attr.size == b->attr.size && a->has_content == b->has_content && same_content(&a->content, &b->content);
	case S_IFLNK:
		return a->attr.link_len == b->attr.link_len && (!a->attr.link_len || memcmp(a->attr.link, b->attr.link, a->attr.link_len) == 0);
	case S_IFCHR:
	case S_IFBLK:
		return a->attr.rdev == b->attr.rdev;
	default:
		return true;
	}
}

static bool same_xattrs(const struct attr *a, const struct attr *b)
{
	if (a->xattr_count != b->xattr_count)
		return false;
	for (size_t i = 0; i < a->xattr_count; i++) {
		const struct xattr *x = &a->xattrs[i], *y = &b->xattrs[i];
		if (strcmp(x->name, y->name) != 0 || x->size != y->size || (x->size && memcmp(x->value, y->value, x->size) != 0))
			return false;
	}
	return true;
}

/* What a restore would set. Not inode, device and change time: they differ between two places that hold the same. */
static bool same_meta(const struct attr *a, const struct attr *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && time_compare(a->mtime, b->mtime) == 0 && a->flags == b->flags && same_xattrs(a, b);
}

/* --- what is on one side only ------------------------------------------------------------------- */

struct one_sided {
	struct differ *differ;
	enum view_change change;
	size_t path_len; /* of the directory that is walked */
};

static int tell_one_sided(void *cookie, enum view_walk_event event, const char *path, size_t path_len, struct node *node, struct error *err)
{
	struct one_sided *o = cookie;
	struct differ *d = o->differ;
	(void)event;
	if (path_len == 0)
		return 0; /* told by who started the walk */
	d->path.len = o->path_len;
	if (d->path.len)
		buf_add_u8(&d->path, '/');
	buf_add(&d->path, path, path_len);
	if (!buf_ok(&d->path))
		return no_memory(err);
	return tell(d, o->change, o->change == VIEW_REMOVED ? node : NULL, o->change == VIEW_ADDED ? node : NULL, err);
}

static int tell_below(struct differ *d, unsigned side, const struct node *node, struct error *err)
{
	struct one_sided o = { d, side == 0 ? VIEW_REMOVED : VIEW_ADDED, d->path.len };
	struct view_walk walk = { .fn = tell_one_sided, .cookie = &o };
	if (!S_ISDIR(node->attr.mode))
		return 0;
	int done = view_walk(d->views[side], node, &walk, err);
	d->path.len = o.path_len;
	return done;
}

/* --- two directories ------------------------------------------------------------------------------ */

static int advance(struct differ *d, unsigned side, struct pair *p, struct error *err)
{
	struct side *s = &p->sides[side];
	if (s->has)
		return 0;
	return entries_next(d->views[side], &s->entries, &s->has, &s->next, err);
}

static int push(struct differ *d, const struct node *a, const struct node *b, struct error *err)
{
	if (a->has_tree && b->has_tree && id_equal(&a->tree, &b->tree))
		return 0;
	if (d->depth == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 16;
		struct pair *grown = cap <= DEPTH_MAX ? realloc(d->pairs, cap * sizeof *grown) : NULL;
		if (!grown)
			return cap <= DEPTH_MAX ? no_memory(err) : error_set(err, ERR_UNSUPPORTED, "compare snapshots: more than %u directories below each other", DEPTH_MAX);
		d->pairs = grown;
		d->cap = cap;
	}
	struct pair *p = &d->pairs[d->depth++];
	*p = (struct pair){ .path_len = d->path.len };
	return entries_open(d->views[0], a, &p->sides[0].entries, err) < 0 || entries_open(d->views[1], b, &p->sides[1].entries, err) < 0 ? -1 : 0;
}

/* The two nodes stand at d->path. */
static int compare(struct differ *d, const struct node *a, const struct node *b, struct error *err)
{
	if ((a->attr.mode & S_IFMT) != (b->attr.mode & S_IFMT)) {
		int answer = tell(d, VIEW_REPLACED, a, b, err);
		if (!answer)
			answer = tell_below(d, 0, a, err);
		return answer ? answer : tell_below(d, 1, b, err);
	}
	int answer = 0;
	if (!same_bytes(a, b))
		answer = tell(d, VIEW_CONTENT, a, b, err);
	else if (!same_meta(&a->attr, &b->attr))
		answer = tell(d, VIEW_META, a, b, err);
	return answer || !S_ISDIR(a->attr.mode) ? answer : push(d, a, b, err);
}

static int compare_names(const struct node *a, const struct node *b)
{
	int c = memcmp(a->name, b->name, a->name_len < b->name_len ? a->name_len : b->name_len);
	return c ? c : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

static int add_name(struct differ *d, const struct node *node, struct error *err)
{
	if (d->path.len)
		buf_add_u8(&d->path, '/');
	buf_add(&d->path, node->name, node->name_len);
	return buf_ok(&d->path) ? 0 : no_memory(err);
}

/* An entry that stands on one side only; takes it over. */
static int only(struct differ *d, unsigned side, struct node *node, struct error *err)
{
	int answer = add_name(d, node, err);
	if (!answer)
		answer = tell(d, side == 0 ? VIEW_REMOVED : VIEW_ADDED, side == 0 ? node : NULL, side == 1 ? node : NULL, err);
	if (!answer)
		answer = tell_below(d, side, node, err);
	node_done(node);
	return answer;
}

static int step(struct differ *d, struct error *err)
{
	struct pair *p = &d->pairs[d->depth - 1];
	d->path.len = p->path_len;
	if (advance(d, 0, p, err) < 0 || advance(d, 1, p, err) < 0)
		return -1;
	bool has[2] = { p->sides[0].has, p->sides[1].has };
	if (!has[0] && !has[1]) {
		side_done(&p->sides[0]);
		side_done(&p->sides[1]);
		d->depth--;
		return 0;
	}
	int c = !has[0] ? 1 : !has[1] ? -1 : compare_names(&p->sides[0].next, &p->sides[1].next);
	struct node nodes[2];
	for (unsigned side = 0; side < 2; side++)
		if (side == 0 ? c <= 0 : c >= 0) {
			nodes[side] = p->sides[side].next;
			p->sides[side].has = false;
		}
	if (c != 0)
		return only(d, c > 0, &nodes[c > 0], err);
	int answer = add_name(d, &nodes[0], err);
	if (!answer)
		answer = compare(d, &nodes[0], &nodes[1], err);
	node_done(&nodes[0]);
	node_done(&nodes[1]);
	return answer;
}

int view_diff(const struct view_place *a, const struct view_place *b, view_diff_fn fn, void *cookie, struct error *err)
{
	CLEAN(differ_done) struct differ d = { .views = { a->view, b->view }, .fn = fn, .cookie = cookie };
	int answer = compare(&d, a->node, b->node, err);
	while (!answer && d.depth)
		answer = step(&d, err);
	return answer;
}
