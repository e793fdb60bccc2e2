/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The walk over the snapshot, and what is decided for each entry. */
#include "restore/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "restore/work.h"

#define THREADS_MAX 64u
#define PATH_SHOWN 400u /* bytes of a path in a message */

/* --- telling --------------------------------------------------------------------------------------- */

/* In front of err. Of a path that would fill the whole text its end is kept: the reason must stay readable. */
static void add_path(const struct restore *r, struct error *err, const struct folder *folder, const char *name)
{
	const char *above = *folder->path || *name ? folder->path : r->options->target;
	size_t above_len = strlen(above), name_len = strlen(name);
	const char *slash = *folder->path && *name ? "/" : "";
	if (above_len + name_len <= PATH_SHOWN)
		error_add(err, "%s%s%s", above, slash, name);
	else if (name_len < PATH_SHOWN)
		error_add(err, "...%s%s%s", above + above_len - (PATH_SHOWN - name_len), slash, name);
	else
		error_add(err, "...%s", name + name_len - PATH_SHOWN);
}

void warn_entry(struct restore *r, const struct folder *folder, const char *name, const struct error *why)
{
	struct error what = *why;
	add_path(r, &what, folder, name);
	warn(r->options->warner, &what);
}

int survive(struct restore *r, const struct folder *folder, const char *name, const struct error *why, struct error *err)
{
	bool fatal = why->kind == ERR_NO_SPACE || why->kind == ERR_NOMEM || why->kind == ERR_CANCELLED || why->sys == EROFS || why->sys == EMFILE ||
		     why->sys == ENFILE;
	if (!fatal) {
		warn_entry(r, folder, name, why);
		return 0;
	}
	if (err) {
		*err = *why;
		add_path(r, err, folder, name);
	}
	return -1;
}

static int failed(struct restore *r, const char *name, const struct error *why, struct error *err)
{
	count(&r->counts.failed, 1);
	return survive(r, r->at, name, why, err);
}

/* --- an entry that is no folder ----------------------------------------------------------------------- */

struct entry {
	const char *path;        /* in the snapshot, with its slash */
	size_t len;
	struct node *node;
	enum restore_action action;
	struct stat st;          /* of what stands there */
	struct link_group *group;
};

static void report(struct restore *r, const struct entry *e)
{
	if (r->options->report)
		r->options->report(r->options->cookie, e->action, e->path, e->len);
}

static int take_part(void *cookie, uint64_t offset, const struct content_part *part, struct error *err)
{
	struct restore *r = cookie;
	if (offset > r->planning->attr.size || part->length > r->planning->attr.size - offset)
		return error_set(err, ERR_CORRUPT, "its content is longer than its size");
	if (part->kind != CONTENT_CHUNK)
		return 0;
	if (batch_add_part(r, offset, part, err) < 0) {
		r->stop = true;
		return -1;
	}
	return 0;
}

static struct file *new_file(struct restore *r, struct entry *e)
{
	struct file *f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	f->folder = r->at;
	f->name = TAKE(e->node->name);
	f->attr = e->node->attr;
	e->node->attr = (struct attr){ 0 };
	f->group = e->group;
	f->number = r->numbers++;
	f->replace = e->action == RESTORE_REPLACE;
	f->skipped = e->action == RESTORE_UNCHANGED;
	f->entry = -1;
	atomic_store(&f->left, 1);
	return f;
}

static int plan_file(struct restore *r, struct entry *e, struct error *err)
{
	struct error why = { 0 };
	struct file *f = new_file(r, e);
	if (!f)
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	if (batch_add_file(r, f, err) < 0)
		return -1;
	if (view_parts(r->view, &e->node->content, take_part, r, &why) < 0) {
		if (r->stop || why.kind == ERR_NOMEM) {
			*err = why;
			return -1;
		}
		if (f->skipped)
			warn_entry(r, r->at, f->name, &why);
		else
			file_lose(r, f, &why);
	}
	return batch_end_file(r, err);
}

static void count_dry(struct restore *r, const struct entry *e)
{
	const struct attr *a = &e->node->attr;
	if (S_ISREG(a->mode)) {
		count(&r->counts.files, 1);
		count(&r->counts.bytes, a->size);
	} else {
		count(S_ISLNK(a->mode) ? &r->counts.symlinks : &r->counts.specials, 1);
	}
	if (e->action == RESTORE_REPLACE)
		count(&r->counts.replaced, 1);
}

/* Why the content is not what it was, if so. false: there is none at all. */
static bool check_content(struct restore *r, const struct node *node)
{
	struct error why = { 0 };
	bool there = node->has_content || node->attr.size == 0;
	if (!there)
		error_set(&why, ERR_UNSUPPORTED, "its content is not in the snapshot%s%s", node->note ? ": " : "", node->note ? node->note : "");
	else if (node->incomplete)
		error_set(&why, ERR_CORRUPT, "it changed, or could not be read in full, when it was backed up; it is restored as it was stored");
	else if (node->note)
		error_set(&why, ERR_UNSUPPORTED, "its content may not be what it was: %s", node->note);
	if (why.kind != ERR_NONE)
		warn_entry(r, r->at, node->name, &why);
	if (!there)
		count(&r->counts.failed, 1);
	return there;
}

/* There already, or to be kept: nothing is written. */
static int leave_alone(struct restore *r, struct entry *e, struct error *err)
{
	uint64_t size = S_ISREG(e->node->attr.mode) ? e->node->attr.size : 0;
	bool regular = S_ISREG(e->node->attr.mode);
	if (e->group)
		atomic_store(&e->group->state, LINK_MADE);
	progress_add(r->options->progress, regular, size);
	if (e->action == RESTORE_KEEP) {
		count(&r->counts.kept, 1);
		return 0;
	}
	count(&r->counts.unchanged, 1);
	if (r->options->dry_run)
		return 0;
	existing_correct(r, r->at, e->node->name, &e->node->attr, &e->st);
	return regular && r->options->verify ? plan_file(r, e, err) : 0;
}

static int make_entry(struct restore *r, struct entry *e, struct error *err)
{
	struct error why = { 0 };
	if (e->action == RESTORE_UNCHANGED || e->action == RESTORE_KEEP)
		return leave_alone(r, e, err);
	if (S_ISREG(e->node->attr.mode) && !check_content(r, e->node)) {
		if (e->group)
			atomic_store(&e->group->state, LINK_FAILED);
		return 0;
	}
	if (r->options->dry_run) {
		count_dry(r, e);
		return 0;
	}
	if (S_ISREG(e->node->attr.mode))
		return plan_file(r, e, err);
	if (special_make(r, r->at, e->node->name, &e->node->attr, e->group, e->action == RESTORE_REPLACE, &why) == 0)
		return 0;
	if (e->group)
		atomic_store(&e->group->state, LINK_FAILED);
	return failed(r, e->node->name, &why, err);
}

/* --- several names for one file -------------------------------------------------------------------------- */

static int add_group(struct restore *r, struct entry *e, uint64_t dev, struct error *err)
{
	size_t len = r->at->len + 1 + e->node->name_len + 1;
	CLEAN_FREE char *path = malloc(len);
	if (!path)
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	snprintf(path, len, "%s%s%s", r->at->path, r->at->len ? "/" : "", e->node->name);
	e->group = links_add(&r->links, dev, e->node->attr.ino, e->node, path);
	return e->group ? 0 : error_set(err, ERR_NOMEM, "restore: out of memory");
}

/* *ret_linked: an earlier entry is this file; it gets another name once that one is there. */
static int find_group(struct restore *r, struct entry *e, bool *ret_linked, struct error *err)
{
	const struct attr *a = &e->node->attr;
	uint64_t dev = r->snapshot->kind == SNAPSHOT_IMAGE ? r->volume : a->dev;
	*ret_linked = false;
	if (a->nlink < 2 || a->ino == 0)
		return 0;
	struct link_group *g = links_find(&r->links, dev, a->ino);
	if (!g)
		return add_group(r, e, dev, err);
	if (g->content != links_content(e->node)) {
		struct error why = { 0 };
		error_set(&why, ERR_CORRUPT, "in the snapshot it is the same file as %s, but with other content; it is restored as a file of its own", g->path);
		warn_entry(r, r->at, e->node->name, &why);
		return 0;
	}
	*ret_linked = true;
	e->action = RESTORE_CREATE;
	report(r, e);
	progress_add(r->options->progress, S_ISREG(a->mode), S_ISREG(a->mode) ? a->size : 0);
	if (r->options->dry_run) {
		count(&r->counts.hard_links, 1);
		return 0;
	}
	struct hard_link link = { .folder = r->at, .name = TAKE(e->node->name), .mtime = a->mtime, .group = g };
	return batch_add_link(r, &link, err);
}

static int take_entry(struct restore *r, struct entry *e, struct error *err)
{
	const struct attr *a = &e->node->attr;
	struct error why = { 0 };
	bool ready, linked;
	if (folder_ready(r, r->at, &ready, err) < 0 || !ready)
		return ready ? -1 : 0;
	if (r->counting)
		progress_add_total(r->options->progress, S_ISREG(a->mode), S_ISREG(a->mode) ? a->size : 0);
	if (e->node->name_len > NAME_MAX) {
		error_set(&why, ERR_UNSUPPORTED, "its name has %zu bytes, more than a name can have here", e->node->name_len);
		return failed(r, e->node->name, &why, err);
	}
	if (find_group(r, e, &linked, err) < 0 || linked)
		return linked ? 0 : -1;
	if (existing_decide(r, r->at, e->node->name, a, &e->action, &e->st, &why) < 0) {
		if (e->group)
			atomic_store(&e->group->state, LINK_FAILED);
		return failed(r, e->node->name, &why, err);
	}
	report(r, e);
	return make_entry(r, e, err);
}

/* --- the walk ------------------------------------------------------------------------------------------------ */

static enum restore_choice choose(struct restore *r, const char *path, size_t len, bool is_dir)
{
	if (!r->options->choose)
		return RESTORE_TAKE;
	return r->options->choose(r->options->cookie, path, len, is_dir, r->at->chosen && r->at->above);
}

static int take_folder(struct restore *r, struct entry *e, bool chosen, struct error *err)
{
	bool skip;
	if (e->node->note) {
		struct error why = { 0 };
		error_set(&why, ERR_UNSUPPORTED, "%s", e->node->note);
		warn_entry(r, r->at, e->node->name, &why);
	}
	if (r->depth == 0 && r->volumes)
		r->volume++;
	if (folder_enter(r, e->node, chosen, &skip, err) < 0)
		return -1;
	if (skip)
		return VIEW_SKIP;
	e->action = r->at->made ? RESTORE_CREATE : RESTORE_UNCHANGED;
	if (chosen)
		report(r, e);
	return 0;
}

/* Between entries: has somebody stopped the work, has a batch become large? */
static int look_up(struct restore *r, struct error *err)
{
	if (progress_stopped(r->options->progress))
		return error_set(err, ERR_CANCELLED, "interrupted");
	if (pool_cancelled(r->pool))
		return pool_wait(r->pool, err);
	return batch_is_heavy(r) ? batch_submit(r, err) : 0;
}

static int visit(void *cookie, enum view_walk_event event, const char *path, size_t len, struct node *node, struct error *err)
{
	struct restore *r = cookie;
	size_t depth = 1;
	(void)event;
	if (len == 0) /* where the walk starts: the target stands for it */
		return 0;
	for (size_t i = 0; i < len; i++)
		depth += path[i] == '/';
	folder_leave_to(r, depth - 1);
	if (look_up(r, err) < 0)
		return -1;
	r->path.len = r->prefix_len;
	buf_add_u8(&r->path, '/');
	buf_add(&r->path, path, len);
	if (!buf_ok(&r->path))
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	struct entry e = { .path = (const char *)r->path.data, .len = r->path.len, .node = node };
	bool is_dir = S_ISDIR(node->attr.mode);
	enum restore_choice choice = choose(r, e.path, e.len, is_dir);
	if (choice == RESTORE_SKIP || (choice == RESTORE_LOOK && !is_dir))
		return is_dir ? VIEW_SKIP : 0;
	return is_dir ? take_folder(r, &e, choice == RESTORE_TAKE, err) : take_entry(r, &e, err);
}

static int broken(void *cookie, const char *path, size_t len, const struct error *why)
{
	struct restore *r = cookie;
	struct error what = *why;
	error_add(&what, "folder %.*s%s%.*s of the snapshot: not all of its entries can be restored", (int)r->prefix_len, (const char *)r->path.data,
	          len || r->prefix_len == 0 ? "/" : "", (int)len, path);
	warn(r->options->warner, &what);
	count(&r->counts.failed, 1);
	return 0;
}

static int walk(struct restore *r, struct node *start, struct error *err)
{
	if (S_ISDIR(start->attr.mode)) {
		struct view_walk walk = { .fn = visit, .cookie = r, .broken = broken };
		if (view_walk(r->view, start, &walk, err) < 0)
			return -1;
	} else {
		struct entry e = { .path = (const char *)r->path.data, .len = r->path.len, .node = start };
		if (take_entry(r, &e, err) < 0)
			return -1;
	}
	folder_leave_to(r, 0);
	progress_counting(r->options->progress, false);
	return batch_finish(r, err);
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

/* "/etc" for "etc/", "//etc": what reports begin with. */
static int set_prefix(struct restore *r, const char *path, struct error *err)
{
	for (const char *at = path; *at;) {
		size_t len = strcspn(at, "/");
		if (len && !(len == 1 && *at == '.')) {
			buf_add_u8(&r->path, '/');
			buf_add(&r->path, at, len);
		}
		at += len + (at[len] == '/');
	}
	r->prefix_len = r->path.len;
	buf_reserve(&r->path, 1);
	return buf_ok(&r->path) ? 0 : error_set(err, ERR_NOMEM, "restore: out of memory");
}

static int start_workers(struct restore *r, struct error *err)
{
	static const unsigned limits[POOL_LANES] = { 0 };
	unsigned threads = r->options->threads ? r->options->threads : plan_threads(r->repo);
	if (pool_new(&r->pool, threads < THREADS_MAX ? threads : THREADS_MAX, 1, limits, err) < 0)
		return -1;
	r->slots = calloc(pool_slots(r->pool), sizeof *r->slots);
	if (!r->slots)
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	r->slot_count = pool_slots(r->pool);
	for (unsigned i = 0; i < r->slot_count; i++)
		r->slots[i].folder = (struct beneath_cache)BENEATH_CACHE_INIT;
	return batch_start(r, err);
}

/* What is on its way to the disk arrives; errors of delayed writing are heard of here. */
static int sync_target(struct restore *r, struct error *err)
{
	if (r->sync_fd >= 0 && syncfs(r->sync_fd) < 0)
		return error_sys(err, errno, "write what is cached of %s", r->options->target);
	return 0;
}

static void count_totals(struct restore *r)
{
	const struct snapshot_totals *t = &r->snapshot->totals;
	r->counting = r->prefix_len || r->options->choose || r->snapshot->kind != SNAPSHOT_FILES;
	progress_counting(r->options->progress, r->counting);
	if (!r->counting)
		progress_add_total(r->options->progress, t->files, t->bytes);
}

static int run(struct restore *r, const char *path, struct error *err)
{
	CLEAN(node_done) struct node start = { 0 };
	bool found;
	if (view_open(&r->view, r->repo, r->snapshot, err) < 0 || view_lookup(r->view, path, strlen(path), &found, &start, err) < 0)
		return -1;
	if (!found)
		return error_set(err, ERR_NOT_FOUND, "there is no %s in the snapshot", path);
	if (set_prefix(r, path, err) < 0 || names_new(&r->names, err) < 0)
		return -1;
	r->apply = (struct apply_options){ .names = r->names, .numeric_ids = r->options->numeric_ids };
	r->volumes = r->snapshot->kind == SNAPSHOT_IMAGE && start.name_len == 0 && !start.has_tree;
	count_totals(r);
	if (start_workers(r, err) < 0 || folder_open_target(r, &start, err) < 0)
		return -1;
	if (!r->options->dry_run)
		r->sync_fd = open(r->options->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (walk(r, &start, err) < 0)
		return -1;
	if (r->options->dry_run)
		return 0;
	links_lock(r);
	folder_finish(r, r->at);
	return sync_target(r, err);
}

static void drop(struct restore *r)
{
	pool_free(r->pool); /* nobody works any more */
	batch_drop(r);
	while (r->at) {
		struct folder *f = r->at;
		r->at = f->above;
		folder_free(f);
	}
	for (unsigned i = 0; i < OPEN_FILES; i++)
		if (r->open.entries[i].file)
			close(r->open.entries[i].fd);
	for (unsigned i = 0; i < r->slot_count; i++) {
		beneath_cache_done(&r->slots[i].folder);
		buf_done(&r->slots[i].raw);
	}
	free(r->slots);
	if (r->sync_fd >= 0)
		close(r->sync_fd);
	links_done(&r->links);
	buf_done(&r->path);
	beneath_close(r->target);
	names_free(r->names);
	view_free(r->view);
	gaps_done(&r->gaps);
	pthread_mutex_destroy(&r->open.lock);
}

static void fill_result(const struct restore *r, struct restore_result *ret)
{
	const struct counters *c = &r->counts;
	*ret = (struct restore_result){
		.files = c->files, .folders = c->folders, .symlinks = c->symlinks, .specials = c->specials, .hard_links = c->hard_links,
		.bytes = c->bytes, .replaced = c->replaced, .unchanged = c->unchanged, .kept = c->kept, .damaged = c->damaged,
		.failed = c->failed, .incomplete_attributes = r->gaps.entries, .verified = c->verified,
	};
}

int restore_files(struct repo *repo, const struct snapshot *snapshot, const char *path, const struct restore_options *options, struct restore_result *ret,
                  struct error *err)
{
	struct restore *r = calloc(1, sizeof *r);
	if (!r)
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	r->options = options;
	r->repo = repo;
	r->snapshot = snapshot;
	r->sync_fd = -1;
	seal_random(&r->nonce, sizeof r->nonce);
	pthread_mutex_init(&r->open.lock, NULL);
	gaps_init(&r->gaps);
	int done = run(r, path, err);
	gaps_warn(&r->gaps, options->warner);
	fill_result(r, ret);
	drop(r);
	free(r);
	return done;
}
