/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "view/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "repo/format/seq.h"

#define DEPTH_MAX 65536u /* directories below each other in a walk */

int view_open(struct view **ret, struct repo *repo, const struct snapshot *snapshot, struct error *err)
{
	if (!repo->index)
		return error_set(err, ERR_INVALID, "open a snapshot: the index is not loaded");
	struct view *v = malloc(sizeof *v);
	if (!v)
		return error_set(err, ERR_NOMEM, "open a snapshot: out of memory");
	v->repo = repo;
	v->snapshot = snapshot;
	*ret = v;
	return 0;
}

void view_free(struct view *v)
{
	free(v);
}

static int no_memory(struct error *err)
{
	return error_set(err, ERR_NOMEM, "read a snapshot: out of memory");
}

/* --- directories that stand in no tree: the root, and the volumes of an image ------------- */

static bool is_bare(const struct snapshot *s)
{
	return s->volume_count == 1 && s->volumes[0].number == 0;
}

/* The folder that holds one folder a volume: nothing else has neither a name nor a tree. */
static bool is_disk_root(const struct view *v, const struct node *directory)
{
	return v->snapshot->kind == SNAPSHOT_IMAGE && !is_bare(v->snapshot) && directory->name_len == 0 && !directory->has_tree;
}

static int make_directory(struct node *ret, const char *name, struct time_ns time, struct error *err)
{
	*ret = (struct node){ .name = strdup(name), .name_len = strlen(name) };
	ret->attr.mode = S_IFDIR | 0555;
	ret->attr.nlink = 2;
	ret->attr.mtime = ret->attr.ctime = time;
	return ret->name ? 0 : no_memory(err);
}

static char *volume_note(const struct snapshot_volume *volume)
{
	char *note = NULL;
	if (volume->raw_reason && *volume->raw_reason)
		return strdup(volume->raw_reason);
	bool known = volume->fs_type && *volume->fs_type;
	if (asprintf(&note, "%s%s", known ? "no reader for " : "no filesystem that is known", known ? volume->fs_type : "") < 0)
		return NULL;
	return note;
}

static int volume_node(const struct view *v, const struct snapshot_volume *volume, const char *name, struct node *ret, struct error *err)
{
	struct node node;
	if (make_directory(&node, name, v->snapshot->time, err) < 0)
		return -1;
	bool ok = true;
	if (volume->has_tree) {
		attr_done(&node.attr);
		ok = attr_copy(&node.attr, &volume->root_attr) == 0;
		/* A hostile snapshot may call its root anything. */
		node.attr.mode = S_IFDIR | (node.attr.mode & 07777);
		node.has_tree = true;
		node.tree = volume->tree;
	}
	if (ok && (!volume->has_tree || (volume->raw_reason && *volume->raw_reason))) {
		node.note = volume_note(volume);
		ok = node.note != NULL;
	}
	if (!ok) {
		node_done(&node);
		return no_memory(err);
	}
	*ret = node;
	return 0;
}

int view_root(struct view *v, struct node *ret, struct error *err)
{
	const struct snapshot *s = v->snapshot;
	if (s->kind == SNAPSHOT_IMAGE && is_bare(s))
		return volume_node(v, &s->volumes[0], "", ret, err);
	struct node node;
	if (make_directory(&node, "", s->time, err) < 0)
		return -1;
	if (s->kind == SNAPSHOT_FILES) {
		node.attr.mode = S_IFDIR | 0755;
		node.has_tree = true;
		node.tree = s->tree;
	}
	*ret = node;
	return 0;
}

static void volume_name(const struct snapshot_volume *volume, char ret[16])
{
	snprintf(ret, 16, "p%u", volume->number);
}

/* --- the entries of a directory, one after the other ------------------------------------------ */

struct named_volume {
	const struct snapshot_volume *volume;
	char name[16];
};

void entries_done(struct entries *e)
{
	seq_reader_free(e->reader);
	free(e->volumes);
	*e = (struct entries){ 0 };
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct named_volume *)a)->name, ((const struct named_volume *)b)->name);
}

static int open_volumes(const struct view *v, struct entries *ret, struct error *err)
{
	const struct snapshot *s = v->snapshot;
	ret->volumes = calloc(s->volume_count + 1, sizeof *ret->volumes);
	if (!ret->volumes)
		return no_memory(err);
	for (size_t i = 0; i < s->volume_count; i++) {
		ret->volumes[i].volume = &s->volumes[i];
		volume_name(&s->volumes[i], ret->volumes[i].name);
	}
	ret->volume_count = s->volume_count;
	qsort(ret->volumes, ret->volume_count, sizeof *ret->volumes, by_name);
	return 0;
}

int entries_open(struct view *v, const struct node *directory, struct entries *ret, struct error *err)
{
	*ret = (struct entries){ 0 };
	if (!S_ISDIR(directory->attr.mode))
		return error_set(err, ERR_INVALID, "list what is not a directory");
	if (is_disk_root(v, directory))
		return open_volumes(v, ret, err);
	if (!directory->has_tree)
		return 0;
	return seq_reader_new(&ret->reader, SEQ_ENTRIES, &directory->tree, repo_get_page, v->repo, err);
}

int entries_next(struct view *v, struct entries *e, bool *ret_more, struct node *ret, struct error *err)
{
	const uint8_t *record;
	size_t len;
	*ret_more = false;
	if (e->volume_next < e->volume_count) {
		const struct named_volume *named = &e->volumes[e->volume_next++];
		*ret_more = true;
		return volume_node(v, named->volume, named->name, ret, err);
	}
	if (!e->reader || seq_next(e->reader, ret_more, &record, &len, NULL, err) < 0)
		return e->reader ? -1 : 0;
	return *ret_more ? node_decode(ret, record, len, err) : 0;
}

int view_entries(struct view *v, const struct node *directory, view_entry_fn fn, void *cookie, struct error *err)
{
	CLEAN(entries_done) struct entries e;
	if (entries_open(v, directory, &e, err) < 0)
		return -1;
	for (;;) {
		struct node node = { 0 };
		bool more;
		if (entries_next(v, &e, &more, &node, err) < 0)
			return -1;
		if (!more)
			return 0;
		int answer = fn(cookie, &node, err);
		node_done(&node);
		if (answer)
			return answer;
	}
}

/* --- finding by name ------------------------------------------------------------------------------ */

static int compare_names(const uint8_t *a, size_t a_len, const char *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int child_in_tree(struct view *v, const struct id *tree, const char *name, size_t name_len, bool *ret_found, struct node *ret, struct error *err)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	if (seq_reader_new(&reader, SEQ_ENTRIES, tree, repo_get_page, v->repo, err) < 0 || seq_seek_key(reader, name, name_len, err) < 0)
		return -1;
	for (;;) {
		const uint8_t *record, *found;
		size_t len, found_len;
		bool more;
		if (seq_next(reader, &more, &record, &len, NULL, err) < 0)
			return -1;
		if (!more)
			break;
		if (node_decode_name(record, len, &found, &found_len, err) < 0)
			return -1;
		int c = compare_names(found, found_len, name, name_len);
		if (c > 0)
			break;
		if (c < 0)
			continue;
		if (node_decode(ret, record, len, err) < 0)
			return -1;
		*ret_found = true;
		return 0;
	}
	*ret_found = false;
	return 0;
}

int view_child(struct view *v, const struct node *directory, const char *name, size_t name_len, bool *ret_found, struct node *ret, struct error *err)
{
	if (is_disk_root(v, directory)) {
		for (size_t i = 0; i < v->snapshot->volume_count; i++) {
			char volume[16];
			volume_name(&v->snapshot->volumes[i], volume);
			if (strlen(volume) != name_len || memcmp(volume, name, name_len) != 0)
				continue;
			*ret_found = true;
			return volume_node(v, &v->snapshot->volumes[i], volume, ret, err);
		}
	}
	if (directory->has_tree && name_len && name_len <= NODE_NAME_MAX)
		return child_in_tree(v, &directory->tree, name, name_len, ret_found, ret, err);
	*ret_found = false;
	return 0;
}

int view_lookup(struct view *v, const char *path, size_t path_len, bool *ret_found, struct node *ret, struct error *err)
{
	const char *end = path + path_len;
	struct node at;
	if (view_root(v, &at, err) < 0)
		return -1;
	bool found = true;
	while (found && path < end) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		size_t len = (size_t)((slash ? slash : end) - path);
		const char *name = path;
		path += len + (slash != NULL);
		if (len == 0 || (len == 1 && name[0] == '.'))
			continue;
		int done = 0;
		struct node child = { 0 };
		if (len == 2 && memcmp(name, "..", 2) == 0)
			done = error_set(err, ERR_INVALID, "look up a path: '..' has no meaning in a snapshot");
		else
			done = view_child(v, &at, name, len, &found, &child, err);
		if (done < 0 || !found) {
			node_done(&at);
			if (done < 0)
				return -1;
			break;
		}
		node_done(&at);
		at = child;
	}
	*ret_found = found;
	if (found)
		*ret = at;
	return 0;
}

/* --- walking ------------------------------------------------------------------------------------------ */

/* A directory whose entries are being read. */
struct level {
	struct entries entries;
	struct node node;     /* the directory itself, for VIEW_LEAVE */
	size_t path_len;      /* of the directory */
};

struct walker {
	struct view *view;
	const struct view_walk *walk;
	struct level *levels;
	size_t depth, cap;
	struct buf path;
};

static void walker_done(struct walker *w)
{
	for (size_t i = 0; i < w->depth; i++) {
		entries_done(&w->levels[i].entries);
		node_done(&w->levels[i].node);
	}
	free(w->levels);
	buf_done(&w->path);
}

/* The callback gets a path that is never NULL. */
static int tell(struct walker *w, enum view_walk_event event, struct node *node, struct error *err)
{
	return w->walk->fn(w->walk->cookie, event, w->path.len ? (const char *)w->path.data : "", w->path.len, node, err);
}

static int tell_broken(struct walker *w, const struct error *why, struct error *err)
{
	if (why->kind != ERR_NOMEM && w->walk->broken && w->walk->broken(w->walk->cookie, w->path.len ? (const char *)w->path.data : "", w->path.len, why) == 0)
		return 0;
	if (err)
		*err = *why;
	return -1;
}

/* Takes node over. */
static int push_level(struct walker *w, struct node *node, struct error *err)
{
	struct error why = { 0 };
	if (w->depth == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;
		struct level *grown = w->depth < DEPTH_MAX ? realloc(w->levels, cap * sizeof *grown) : NULL;
		if (!grown) {
			node_done(node);
			return w->depth < DEPTH_MAX ? no_memory(err) : error_set(err, ERR_UNSUPPORTED, "walk a snapshot: more than %u directories below each other", DEPTH_MAX);
		}
		w->levels = grown;
		w->cap = cap;
	}
	struct level *level = &w->levels[w->depth];
	*level = (struct level){ .path_len = w->path.len };
	if (entries_open(w->view, node, &level->entries, &why) < 0) {
		node_done(node);
		return tell_broken(w, &why, err);
	}
	level->node = *node;
	w->depth++;
	return 0;
}

/* Shows a node to the caller and goes into it where it is a directory. Takes node over. */
static int visit(struct walker *w, struct node *node, struct error *err)
{
	int answer = tell(w, VIEW_NODE, node, err);
	if (answer == 0 && S_ISDIR(node->attr.mode))
		return push_level(w, node, err);
	node_done(node);
	return answer < 0 ? -1 : 0;
}

static int pop_level(struct walker *w, struct error *err)
{
	struct level *level = &w->levels[w->depth - 1];
	w->path.len = level->path_len;
	entries_done(&level->entries);
	int answer = w->walk->leave ? tell(w, VIEW_LEAVE, &level->node, err) : 0;
	node_done(&level->node);
	w->depth--;
	return answer < 0 ? -1 : 0;
}

static int step(struct walker *w, struct error *err)
{
	struct level *level = &w->levels[w->depth - 1];
	struct node node = { 0 };
	struct error why = { 0 };
	bool more = false;
	w->path.len = level->path_len;
	if (entries_next(w->view, &level->entries, &more, &node, &why) < 0) {
		if (tell_broken(w, &why, err) < 0)
			return -1;
		return pop_level(w, err);
	}
	if (!more)
		return pop_level(w, err);
	if (w->path.len)
		buf_add_u8(&w->path, '/');
	buf_add(&w->path, node.name, node.name_len);
	if (!buf_ok(&w->path)) {
		node_done(&node);
		return no_memory(err);
	}
	return visit(w, &node, err);
}

int view_walk(struct view *v, const struct node *start, const struct view_walk *walk, struct error *err)
{
	CLEAN(walker_done) struct walker w = { .view = v, .walk = walk };
	struct node copy = { 0 };
	if (node_copy(&copy, start) < 0)
		return no_memory(err);
	if (visit(&w, &copy, err) < 0)
		return -1;
	while (w.depth)
		if (step(&w, err) < 0)
			return -1;
	return 0;
}
