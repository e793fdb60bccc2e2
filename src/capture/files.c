/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "capture/attr.h"
#include "capture/parent.h"
#include "capture/stream.h"
#include "capture/walk.h"

/* Time stamps this close to the last backup's start are not trusted: filesystems have clocks as coarse as two seconds (FAT). */
#define RACY_SECONDS 2

static void source_done(struct source *s)
{
	for (size_t i = 0; i < s->count; i++)
		source_done(&s->children[i]);
	free(s->children);
	free(s->name);
	*s = (struct source){ 0 };
}

/* The child of this name, made where it is missing. */
static struct source *source_child(struct source *s, const char *name, size_t len)
{
	size_t at = 0;
	while (at < s->count) {
		int c = strncmp(s->children[at].name, name, len);
		if (c == 0 && s->children[at].name[len] == 0)
			return &s->children[at];
		if (c >= 0 && (c > 0 || s->children[at].name[len]))
			break;
		at++;
	}
	struct source *grown = realloc(s->children, (s->count + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	s->children = grown;
	char *copy = strndup(name, len);
	if (!copy)
		return NULL;
	memmove(grown + at + 1, grown + at, (s->count - at) * sizeof *grown);
	grown[at] = (struct source){ .name = copy };
	s->count++;
	return &grown[at];
}

static int source_add(struct source *root, const char *path, struct error *err)
{
	struct source *at = root;
	while (*path) {
		size_t len = strcspn(path, "/");
		if (len && !(at = source_child(at, path, len)))
			return error_set(err, ERR_NOMEM, "out of memory");
		path += len;
		path += strspn(path, "/");
	}
	at->whole = true;
	return 0;
}

/* A whole source holds everything below it, so what was named there too is dropped. */
static void source_prune(struct source *s)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->whole)
			source_done(&s->children[i]);
		else
			source_prune(&s->children[i]);
	}
	if (s->whole)
		s->count = 0;
}

/* Absolute, without links on the way; the last component stays what it is, so that a link is backed up as a link. */
static int absolute(const char *path, char ret[PATH_MAX], struct error *err)
{
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	char *copy = strndup(path, len);
	if (!copy)
		return error_set(err, ERR_NOMEM, "out of memory");
	char *slash = strrchr(copy, '/');
	const char *last = slash ? slash + 1 : copy;
	char folder[PATH_MAX];
	int n = -1;
	if (strcmp(last, "") == 0 || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
		n = realpath(copy, ret) ? 0 : -1;
	} else {
		const char *name = last;
		if (slash)
			*slash = 0;
		if (realpath(!slash ? "." : *copy ? copy : "/", folder))
			n = snprintf(ret, PATH_MAX, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) < PATH_MAX ? 0 : -1;
	}
	int sys = errno;
	free(copy);
	return n < 0 ? error_sys(err, sys, "find %s", path) : 0;
}

static int add_sources(struct source *root, const struct capture_files_options *o, struct blob_list *ret, struct error *err)
{
	for (size_t i = 0; i < o->path_count; i++) {
		char path[PATH_MAX];
		struct attr attr;
		if (absolute(o->paths[i], path, err) < 0 || capture_stat(AT_FDCWD, path, &attr, err) < 0)
			return error_add(err, "back up %s", o->paths[i]);
		if (blob_list_add(ret, path, strlen(path)) < 0)
			return error_set(err, ERR_NOMEM, "out of memory");
		if (source_add(root, path, err) < 0)
			return -1;
	}
	source_prune(root);
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(((const struct blob *)a)->data, ((const struct blob *)b)->data);
}

/* Their order, and how often one was named, says nothing, and must not hide a parent. */
static void sort_sources(struct blob_list *l)
{
	size_t kept = 0;
	if (l->count)
		qsort(l->items, l->count, sizeof *l->items, by_bytes);
	for (size_t i = 0; i < l->count; i++) {
		if (kept && strcmp(l->items[kept - 1].data, l->items[i].data) == 0)
			free(l->items[i].data);
		else
			l->items[kept++] = l->items[i];
	}
	l->count = kept;
}

static int describe(struct snapshot *s, const struct capture_files_options *o, struct error *err)
{
	s->kind = SNAPSHOT_FILES;
	s->host = strdup(o->host);
	s->user = strdup(o->user);
	s->program = strdup(o->program);
	s->model = strdup("");
	if (!s->host || !s->user || !s->program || !s->model)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < o->tag_count; i++)
		if (blob_list_add(&s->tags, o->tags[i], strlen(o->tags[i])) < 0)
			return error_set(err, ERR_NOMEM, "out of memory");
	sort_sources(&s->sources);
	return 0;
}

static void take_totals(const struct walk *w, struct snapshot *s)
{
	s->tree = w->tree;
	s->totals.files = w->files;
	s->totals.dirs = w->dirs;
	s->totals.others = w->others;
	s->totals.bytes = w->bytes;
	s->totals.files_new = w->files_new;
	s->totals.files_changed = w->files_changed;
	s->totals.files_unchanged = w->files_unchanged;
	s->totals.bytes_read = w->bytes_read;
	s->totals.warnings = w->warnings;
}

/* The walk holds a file descriptor for each folder between the root and where it stands. */
static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int run_walk(struct walk *w, const struct capture_files_options *o, struct error *err)
{
	unsigned threads = o->threads ? o->threads : task_processors();
	static const unsigned limits[POOL_LANES] = { [POOL_FINISH] = 4, [POOL_CONTENT] = 64 };
	if (pool_new(&w->pool, threads, 1, limits, err) < 0)
		return -1;
	unsigned slots = pool_slots(w->pool);
	w->scratch = calloc(slots, sizeof *w->scratch);
	int done = w->scratch ? 0 : error_set(err, ERR_NOMEM, "out of memory");
	if (done == 0)
		done = walk_run(w, err);
	pool_free(w->pool);
	for (unsigned i = 0; w->scratch && i < slots; i++)
		free(w->scratch[i]);
	free(w->scratch);
	return done;
}

static int take_parent(struct repo *repo, struct walk *w, struct snapshot *s, struct error *err)
{
	struct snapshot parent = { 0 };
	bool found = false;
	if (capture_find_parent(repo, s, &found, &s->parent, &parent, err) < 0)
		return -1;
	s->has_parent = w->has_prior = found;
	if (found) {
		w->prior_tree = parent.tree;
		w->trusted_before = (struct time_ns){ parent.time.sec - RACY_SECONDS, parent.time.ns };
		snapshot_done(&parent);
	}
	return 0;
}

static int capture(struct repo *repo, const struct capture_files_options *o, struct walk *w, struct snapshot *s, struct id *ret_id, struct error *err)
{
	struct timespec start, end;
	clock_gettime(CLOCK_REALTIME, &start);
	s->time = (struct time_ns){ start.tv_sec, (uint32_t)start.tv_nsec };
	CLEAN(writer_cleanup) struct writer *writer = NULL;
	unsigned threads = o->threads ? o->threads : task_processors();
	struct writer_options options = { .slots = threads + 1, .level = o->level, .work = WORK_BACKUP, .host = o->host };
	if (describe(s, o, err) < 0 || writer_begin(&writer, repo, &options, err) < 0)
		return -1;
	w->writer = writer;
	/* After the session was announced: what the parent reaches stays from then on. */
	if (take_parent(repo, w, s, err) < 0)
		return -1;
	raise_file_limit();
	if (run_walk(w, o, err) < 0)
		return -1;
	take_totals(w, s);
	clock_gettime(CLOCK_REALTIME, &end);
	s->totals.nanoseconds = (uint64_t)((end.tv_sec - start.tv_sec) * 1000000000ll + (end.tv_nsec - start.tv_nsec));
	return writer_commit(writer, s, ret_id, err);
}

int capture_files(struct repo *repo, const struct capture_files_options *o, struct snapshot *ret, struct id *ret_id, struct error *err)
{
	struct source root = { .name = strdup("") };
	struct walk w = { .options = o, .root = &root };
	struct snapshot s = { 0 };
	int done = names_new(&w.names, err);
	if (done == 0)
		done = add_sources(&root, o, &s.sources, err);
	if (done == 0)
		done = capture(repo, o, &w, &s, ret_id, err);
	source_done(&root);
	names_free(w.names);
	if (done < 0)
		snapshot_done(&s);
	else
		*ret = s;
	return done;
}
