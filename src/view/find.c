/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "view/find.h"

#include <stdlib.h>
#include <sys/stat.h>

/* Trees in which nothing was found: an open-addressing set. Ids are keyed hashes, so their first bytes are as good as random. */
struct id_set {
	struct id *slots;
	bool *used;
	size_t cap, count;
};

struct view_find {
	view_match_fn match;
	void *cookie;
	bool names_only;
	struct id_set empty;
};

static size_t set_place(const struct id_set *s, const struct id *id)
{
	size_t at = (size_t)get_le64(id->b) & (s->cap - 1);
	while (s->used[at] && !id_equal(&s->slots[at], id))
		at = (at + 1) & (s->cap - 1);
	return at;
}

static bool set_has(const struct id_set *s, const struct id *id)
{
	return s->cap && s->used[set_place(s, id)];
}

static void set_done(struct id_set *s)
{
	free(s->slots);
	free(s->used);
}

/* Out of memory: the set stays as it is, and some folders are searched again. */
static void set_add(struct id_set *s, const struct id *id)
{
	if (s->count * 4 >= s->cap * 3) {
		struct id_set grown = { .cap = s->cap ? s->cap * 2 : 1024 };
		grown.slots = malloc(grown.cap * sizeof *grown.slots);
		grown.used = calloc(grown.cap, sizeof *grown.used);
		if (!grown.slots || !grown.used) {
			set_done(&grown);
			return;
		}
		for (size_t i = 0; i < s->cap; i++) {
			if (!s->used[i])
				continue;
			size_t at = set_place(&grown, &s->slots[i]);
			grown.slots[at] = s->slots[i];
			grown.used[at] = true;
		}
		grown.count = s->count;
		set_done(s);
		*s = grown;
	}
	size_t at = set_place(s, id);
	s->count += !s->used[at];
	s->slots[at] = *id;
	s->used[at] = true;
}

int view_find_new(struct view_find **ret, view_match_fn match, void *cookie, bool names_only, struct error *err)
{
	struct view_find *f = calloc(1, sizeof *f);
	if (!f)
		return error_set(err, ERR_NOMEM, "find: out of memory");
	*f = (struct view_find){ .match = match, .cookie = cookie, .names_only = names_only };
	*ret = f;
	return 0;
}

void view_find_free(struct view_find *f)
{
	if (!f)
		return;
	set_done(&f->empty);
	free(f);
}

/* --- one snapshot ------------------------------------------------------------------------- */

struct search {
	struct view_find *find;
	const struct view_find_calls *calls;
	struct buf path;   /* with its leading slash */
	struct buf levels; /* a byte for each directory on the way down: whether something was found in it, or it could not be read */
};

static int make_path(struct search *s, const char *path, size_t path_len, struct error *err)
{
	buf_clear(&s->path);
	buf_add_u8(&s->path, '/');
	buf_add(&s->path, path, path_len);
	return buf_ok(&s->path) ? 0 : error_set(err, ERR_NOMEM, "find: out of memory");
}

static void mark(struct search *s)
{
	if (s->levels.len)
		s->levels.data[s->levels.len - 1] = 1;
}

static void leave(struct search *s, const struct node *node)
{
	bool found = s->levels.data[--s->levels.len];
	if (found)
		mark(s);
	else if (s->find->names_only && node->has_tree)
		set_add(&s->find->empty, &node->tree);
}

static int visit(void *cookie, enum view_walk_event event, const char *path, size_t path_len, struct node *node, struct error *err)
{
	struct search *s = cookie;
	if (event == VIEW_LEAVE) {
		leave(s, node);
		return 0;
	}
	if (make_path(s, path, path_len, err) < 0)
		return -1;
	if (path_len && s->find->match(s->find->cookie, (const char *)s->path.data, s->path.len, node)) {
		mark(s);
		int answer = s->calls->found(s->calls->cookie, (const char *)s->path.data, s->path.len, node, err);
		if (answer)
			return -1;
	}
	if (!S_ISDIR(node->attr.mode))
		return 0;
	if (s->find->names_only && node->has_tree && set_has(&s->find->empty, &node->tree))
		return VIEW_SKIP;
	buf_add_u8(&s->levels, 0);
	return buf_ok(&s->levels) ? 0 : error_set(err, ERR_NOMEM, "find: out of memory");
}

static int broken(void *cookie, const char *path, size_t path_len, const struct error *why)
{
	struct search *s = cookie;
	mark(s);
	if (!s->calls->broken || make_path(s, path, path_len, NULL) < 0)
		return -1;
	return s->calls->broken(s->calls->cookie, (const char *)s->path.data, s->path.len, why);
}

int view_find_run(struct view_find *f, struct view *v, const struct view_find_calls *calls, struct error *err)
{
	struct search s = { .find = f, .calls = calls };
	struct view_walk walk = { .fn = visit, .cookie = &s, .leave = true, .broken = broken };
	struct node root;
	if (view_root(v, &root, err) < 0)
		return -1;
	int done = view_walk(v, &root, &walk, err);
	node_done(&root);
	buf_done(&s.path);
	buf_done(&s.levels);
	return done;
}
