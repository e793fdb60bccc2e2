/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "capture/attr.h"
#include "capture/holes.h"
#include "capture/prior.h"
#include "capture/record.h"
#include "capture/stream.h"
#include "repo/format/seq.h"

#define BATCH_FILES 64
#define BATCH_BYTES (2u << 20)

/* A folder on its way. Freed when its tree is stored. */
struct folder {
	struct walk *walk;
	struct folder *parent;   /* NULL for the root */
	size_t place;            /* of its node in the parent */
	const struct source *source; /* not NULL: only these children */
	int fd;                  /* kept while entries have to be opened through it */
	uint64_t device, source_device;
	char *path;              /* for messages and excludes: "/etc"; "" for the root */
	size_t below;            /* where in path the part begins that is seen from the source */
	bool named;              /* that it cannot be opened has been told */
	bool has_prior;
	struct id prior_tree;
	struct node *nodes;      /* ascending by name */
	bool *dropped;           /* a node whose file vanished: not part of the tree */
	size_t count, cap;
	atomic_uint pending;     /* entries that are not finished, and the scan itself */
	atomic_bool changed;     /* the tree differs from the prior one */
};

struct batch_file {
	size_t place;
	bool known;              /* the last snapshot had it, differently */
};

/* Files of one folder, to be read one after the other. */
struct batch {
	struct folder *folder;
	size_t count;
	uint64_t bytes;
	struct batch_file files[BATCH_FILES];
};

static int scan_folder(const struct task_context *ctx, void *arg, struct error *err);

static void complain(struct walk *w, const struct error *err)
{
	atomic_fetch_add(&w->warnings, 1);
	warn(w->options->warner, err);
}

static int stopped(struct error *err)
{
	return error_set(err, ERR_CANCELLED, "stopped; what was stored so far is used by the next backup");
}

/* --- finishing folders --------------------------------------------------------------------- */

static void folder_free(struct folder *f)
{
	for (size_t i = 0; i < f->count; i++)
		node_done(&f->nodes[i]);
	free(f->nodes);
	free(f->dropped);
	free(f->path);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static int store_tree(struct folder *f, unsigned slot, struct id *ret, struct error *err)
{
	struct writer_slot at = { f->walk->writer, slot };
	CLEAN(seq_writer_cleanup) struct seq_writer *pages = NULL;
	CLEAN_BUF struct buf record = BUF_INIT;
	if (seq_writer_new(&pages, SEQ_ENTRIES, writer_put_page, &at, err) < 0)
		return -1;
	for (size_t i = 0; i < f->count; i++) {
		if (f->dropped[i])
			continue;
		struct error why;
		if (record_node(&record, &f->nodes[i], &why) < 0)
			return error_set(err, ERR_NOMEM, "store folder %s: out of memory", f->path);
		if (why.kind) {
			error_add(&why, "%s/%s is stored by its name only", f->path, f->nodes[i].name);
			complain(f->walk, &why);
		}
		if (seq_add(pages, record.data, record.len, f->nodes[i].name, f->nodes[i].name_len, 1, err) < 0)
			return error_add(err, "store folder %s", f->path);
	}
	return seq_finish(pages, ret, err);
}

/* One entry less to wait for. The last one stores the tree and goes on with the parent. */
static int release(struct folder *f, const struct task_context *ctx, struct error *err)
{
	int done = 0;
	while (f && atomic_fetch_sub(&f->pending, 1) == 1) {
		struct folder *parent = f->parent;
		struct id tree = f->prior_tree;
		bool same = f->has_prior && !atomic_load(&f->changed) && !writer_is_wary(f->walk->writer);
		if (done == 0 && !same && !ctx->cancelled && !pool_cancelled(ctx->pool))
			done = store_tree(f, ctx->slot, &tree, err);
		if (!parent) {
			f->walk->tree = tree;
		} else {
			struct node *node = &parent->nodes[f->place];
			node->has_tree = true;
			node->tree = tree;
			if (!f->has_prior || !id_equal(&tree, &f->prior_tree))
				atomic_store(&parent->changed, true);
		}
		folder_free(f);
		f = parent;
	}
	return done;
}

static void drop(struct folder *f, size_t place)
{
	f->dropped[place] = true;
	atomic_store(&f->changed, true);
}

/* --- reading files ------------------------------------------------------------------------------ */

/* A file that is being read; ends in file_read. */
struct reading {
	struct folder *folder;
	size_t place;
	int fd;
	uint64_t at;     /* start of the segment in the file */
	bool known;
	bool unreadable; /* what failed was reading the file, not the repository */
};

static int read_segment(void *cookie, uint64_t offset, void *data, size_t len, size_t *ret_len, struct error *err)
{
	struct reading *r = cookie;
	struct walk *w = r->folder->walk;
	ssize_t n;
	if (progress_stopped(w->options->progress))
		return stopped(err);
	do
		n = pread(r->fd, data, len, (off_t)(r->at + offset));
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		r->unreadable = true;
		return error_sys(err, errno, "read %zu bytes at %llu", len, (unsigned long long)(r->at + offset));
	}
	*ret_len = (size_t)n;
	atomic_fetch_add_explicit(&w->bytes_read, (uint64_t)n, memory_order_relaxed);
	progress_add(w->options->progress, 0, (uint64_t)n);
	return 0;
}

static bool same_times(const struct attr *a, const struct attr *b)
{
	return a->size == b->size && time_compare(a->mtime, b->mtime) == 0 && time_compare(a->ctime, b->ctime) == 0;
}

static uint64_t content_length(const struct content *c)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < c->count; i++)
		sum += c->parts[i].length;
	return sum;
}

/* The bytes are what was read; the size follows them, so that a node never promises more or less than it has. */
static void settle_size(struct node *node)
{
	if (!node->content.paged)
		node->attr.size = content_length(&node->content);
}

/* The stream's end: all chunks are stored, or it failed. */
static int file_read(const struct task_context *ctx, void *cookie, struct content *content, bool failed, struct error *err)
{
	struct reading *r = cookie;
	struct folder *f = r->folder;
	struct node *node = &f->nodes[r->place];
	if (!failed) {
		node->has_content = true;
		node->content = *content;
		settle_size(node);
		atomic_fetch_add_explicit(&f->walk->bytes, node->attr.size, memory_order_relaxed);
		atomic_fetch_add_explicit(r->known ? &f->walk->files_changed : &f->walk->files_new, 1, memory_order_relaxed);
		progress_add(f->walk->options->progress, 1, 0);
	}
	free(r);
	return release(f, ctx, err);
}

static uint8_t *scratch_of(struct walk *w, unsigned slot)
{
	if (!w->scratch[slot])
		w->scratch[slot] = malloc(STREAM_SCRATCH);
	return w->scratch[slot];
}

/* One run of data: ret_end is where it really ended. */
static int read_run(struct reading *r, struct stream *s, const struct task_context *ctx, const struct hole_run *run, uint64_t *ret_end, struct error *err)
{
	uint8_t *scratch = scratch_of(r->folder->walk, ctx->slot);
	uint64_t stored = 0;
	if (!scratch)
		return error_set(err, ERR_NOMEM, "out of memory");
	r->at = run->offset;
	if (run->length > CUT_MIN) {
		if (stream_segment(s, ctx, scratch, run->length, read_segment, r, &stored, err) < 0)
			return -1;
	} else { /* most files: one read, one chunk */
		size_t got = 1;
		for (; got && stored < run->length; stored += got)
			if (read_segment(r, stored, scratch + stored, (size_t)(run->length - stored), &got, err) < 0)
				return -1;
		if (stream_small(s, ctx, scratch, (size_t)stored, err) < 0)
			return -1;
	}
	*ret_end = run->offset + stored;
	return 0;
}

static int read_runs(struct reading *r, struct stream *s, const struct task_context *ctx, uint64_t size, uint64_t *ret_end, struct error *err)
{
	struct holes holes;
	struct hole_run run;
	holes_start(&holes, r->fd, size);
	while (holes_next(&holes, &run)) {
		uint64_t end = run.offset + run.length;
		if (run.hole)
			stream_hole(s, run.length);
		else if (read_run(r, s, ctx, &run, &end, err) < 0)
			return -1;
		*ret_end = end;
		if (end < run.offset + run.length)
			break; /* it shrank */
	}
	return 0;
}

static void note_incomplete(struct folder *f, size_t place, const char *why)
{
	struct node *node = &f->nodes[place];
	struct error err;
	node->incomplete = true;
	error_set(&err, ERR_BUSY, "file %s/%s %s", f->path, node->name, why);
	complain(f->walk, &err);
}

/* Unreadable, or gone: named, and the walk goes on. */
static void give_up(struct folder *f, size_t place, struct error *why)
{
	struct node *node = &f->nodes[place];
	if (why->kind == ERR_NOT_FOUND) {
		error_set(why, ERR_NOT_FOUND, "file %s/%s vanished while the backup ran", f->path, node->name);
	} else {
		error_add(why, "file %s/%s is stored without its content", f->path, node->name);
		node->incomplete = true;
	}
	complain(f->walk, why);
	if (why->kind == ERR_NOT_FOUND)
		drop(f, place);
}

/* What the system did not tell is named, and makes the node one that the next backup does not rely on. */
static void note_gap(struct folder *f, struct node *node, struct error *gap)
{
	if (!gap->kind)
		return;
	node->incomplete = true;
	error_add(gap, "%s/%s", f->path, node->name);
	complain(f->walk, gap);
}

/* Opens the file and makes its node say what it is now. ret_fd -1: it was given up, and named. */
static int open_file(struct folder *f, size_t place, int *ret_fd, struct error *err)
{
	struct node *node = &f->nodes[place];
	struct error why = { 0 }, gap = { 0 };
	CLEAN_FD int fd = -1;
	*ret_fd = -1;
	if (capture_open(f->fd, node->name, &node->attr, &fd, &why) < 0 ||
	    capture_complete(f->walk->names, f->fd, node->name, fd, &node->attr, &gap, &why) < 0) {
		if (why.kind == ERR_NOMEM) {
			*err = why;
			return -1;
		}
		give_up(f, place, &why);
		return 0;
	}
	note_gap(f, node, &gap);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Reads one file. Its folder's pending count goes down when the last chunk is stored. */
static int read_file(struct folder *f, const struct batch_file *file, const struct task_context *ctx, struct error *err)
{
	CLEAN_FD int fd = -1;
	struct walk *w = f->walk;
	struct node *node = &f->nodes[file->place];
	progress_current(w->options->progress, node->name, node->name_len);
	int opened = open_file(f, file->place, &fd, err);
	if (fd < 0)
		return release(f, ctx, opened < 0 ? NULL : err) < 0 ? -1 : opened;
	uint64_t size = node->attr.size, end = 0;
	struct error why = { 0 };
	struct reading *r = malloc(sizeof *r);
	struct stream *s = r ? stream_new(w->writer, size, file_read, r, err) : NULL;
	if (!s) {
		free(r);
		release(f, ctx, NULL);
		return error_set(err, ERR_NOMEM, "read a file: out of memory");
	}
	*r = (struct reading){ .folder = f, .place = file->place, .fd = fd, .known = file->known };
	bool failed = read_runs(r, s, ctx, size, &end, &why) < 0;
	struct attr after = { 0 };
	bool changed = !failed && (end != size || capture_stat_fd(fd, &after, NULL) < 0 || !same_times(&node->attr, &after));
	attr_done(&after);
	if (changed)
		note_incomplete(f, file->place, "changed while it was read; it is stored as it was read, back it up again");
	if (!failed && end < size)
		node->attr.size = end;
	if (failed && r->unreadable) { /* whatever the reason is; the name is there, so it did not vanish */
		why.kind = ERR_IO;
		give_up(f, file->place, &why);
	} else if (failed) {
		*err = why;
		stream_end(s, ctx, true, NULL);
		return -1;
	}
	return stream_end(s, ctx, failed, err);
}

static int read_batch(const struct task_context *ctx, void *arg, struct error *err)
{
	struct batch *b = arg;
	int done = 0;
	for (size_t i = 0; i < b->count; i++) {
		bool stop = done < 0 || ctx->cancelled || pool_cancelled(ctx->pool);
		if (!stop && progress_stopped(b->folder->walk->options->progress)) {
			done = stopped(err);
			stop = true;
		}
		if (stop)
			release(b->folder, ctx, NULL);
		else
			done = read_file(b->folder, &b->files[i], ctx, err);
	}
	free(b);
	return done;
}

/* --- scanning folders ------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct name_list {
	char **items;
	size_t count, cap;
};

static void name_list_done(struct name_list *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->items[i]);
	free(n->items);
}

static int add_name(struct name_list *n, const char *name)
{
	if (n->count == n->cap) {
		size_t cap = n->cap ? n->cap * 2 : 64;
		char **grown = realloc(n->items, cap * sizeof *grown);
		if (!grown)
			return -1;
		n->items = grown;
		n->cap = cap;
	}
	n->items[n->count] = strdup(name);
	return n->items[n->count] ? (n->count++, 0) : -1;
}

static int list_sources(const struct source *source, struct name_list *ret)
{
	for (size_t i = 0; i < source->count; i++)
		if (add_name(ret, source->children[i].name) < 0)
			return -1;
	return 0;
}

/* A name that is removed and made again while the folder is read may come twice (POSIX, readdir). */
static void drop_doubles(struct name_list *n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n->count; i++) {
		if (kept && strcmp(n->items[kept - 1], n->items[i]) == 0)
			free(n->items[i]);
		else
			n->items[kept++] = n->items[i];
	}
	n->count = kept;
}

static int list_names(struct folder *f, struct name_list *ret, struct error *err)
{
	if (f->source)
		return list_sources(f->source, ret) < 0 ? error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path) : 0;
	int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "scan folder %s", f->path);
	CLEAN_DIR DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return error_sys(err, errno, "scan folder %s", f->path);
	}
	for (;;) {
		errno = 0;
		struct dirent *entry = readdir(dir);
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (add_name(ret, entry->d_name) < 0)
			return error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path);
	}
	if (errno)
		return error_sys(err, errno, "scan folder %s", f->path);
	if (ret->count)
		qsort(ret->items, ret->count, sizeof *ret->items, by_name);
	drop_doubles(ret);
	return 0;
}

static bool unchanged(const struct walk *w, const struct attr *now, const struct attr *then)
{
	return !w->options->read_all && now->mode == then->mode && now->size == then->size && now->ino == then->ino &&
	       time_compare(now->mtime, then->mtime) == 0 && time_compare(now->ctime, then->ctime) == 0 &&
	       time_compare(now->ctime, w->trusted_before) < 0 && time_compare(now->mtime, w->trusted_before) < 0;
}

/* A place for one more node; the caller fills it. */
static struct node *add_node(struct folder *f, const char *name)
{
	if (f->count == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 16;
		struct node *nodes = realloc(f->nodes, cap * sizeof *nodes);
		if (nodes)
			f->nodes = nodes;
		bool *dropped = realloc(f->dropped, cap * sizeof *dropped);
		if (dropped)
			f->dropped = dropped;
		if (!nodes || !dropped)
			return NULL;
		f->cap = cap;
	}
	struct node *node = &f->nodes[f->count];
	*node = (struct node){ .name = strdup(name), .name_len = strlen(name) };
	f->dropped[f->count] = false;
	if (!node->name)
		return NULL;
	f->count++;
	return node;
}

/* What is gathered while a folder is scanned; tasks are submitted only at its end, when f->nodes does not move any more. */
struct scan {
	struct folder *folder;
	struct prior prior;
	struct buf batches;  /* of struct batch * */
	struct buf folders;  /* of struct folder * */
	struct batch *batch; /* the open one */
};

static int want_content(struct scan *scan, size_t place, bool known, struct error *err)
{
	struct folder *f = scan->folder;
	struct batch *b = scan->batch;
	uint64_t size = f->nodes[place].attr.size;
	if (b && (b->count == BATCH_FILES || b->bytes + size > BATCH_BYTES))
		b = NULL;
	if (!b) {
		b = calloc(1, sizeof *b);
		if (!b)
			return error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path);
		b->folder = f;
		buf_add(&scan->batches, &b, sizeof(struct batch *));
		if (!buf_ok(&scan->batches)) {
			free(b);
			return error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path);
		}
		scan->batch = b;
	}
	b->files[b->count++] = (struct batch_file){ place, known };
	b->bytes += size;
	atomic_fetch_add(&f->pending, 1);
	progress_add_total(f->walk->options->progress, 1, size);
	return 0;
}

static int want_folder(struct scan *scan, size_t place, const struct node *prior, const struct source *source, struct error *err)
{
	struct folder *f = scan->folder, *child = calloc(1, sizeof *child);
	if (!child || asprintf(&child->path, "%s/%s", f->path, f->nodes[place].name) < 0) {
		free(child);
		return error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path);
	}
	child->walk = f->walk;
	child->parent = f;
	child->place = place;
	child->source = source && !source->whole ? source : NULL;
	child->fd = -1;
	child->device = f->nodes[place].attr.dev;
	child->named = f->nodes[place].incomplete;
	bool starts = source && source->whole;
	child->source_device = starts ? child->device : f->source_device;
	child->below = starts ? strlen(child->path) + 1 : f->below;
	child->has_prior = prior && prior->has_tree;
	if (child->has_prior)
		child->prior_tree = prior->tree;
	atomic_init(&child->pending, 1);
	buf_add(&scan->folders, &child, sizeof(struct folder *));
	if (!buf_ok(&scan->folders)) { /* a folder that is never scanned would leave the tree above it unfinished */
		folder_free(child);
		return error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path);
	}
	atomic_fetch_add(&f->pending, 1);
	return 0;
}

/* Asks the system for the attributes that stat does not give. *ret_there false: it is gone. */
static int ask_attr(struct folder *f, struct node *node, bool *ret_there, struct error *err)
{
	struct error why = { 0 }, gap = { 0 };
	struct attr seen = node->attr; /* owns nothing yet */
	CLEAN_FD int fd = -1;
	*ret_there = true;
	if (S_ISDIR(seen.mode) && capture_open(f->fd, node->name, &node->attr, &fd, &why) < 0) {
		node->attr = seen;
	} else if (capture_complete(f->walk->names, f->fd, node->name, fd, &node->attr, &gap, &why) < 0) {
		if (why.kind == ERR_NOMEM) {
			*err = why;
			return -1;
		}
		node->attr = seen;
	}
	if (why.kind == ERR_NOT_FOUND) {
		*ret_there = false;
		error_set(&why, ERR_NOT_FOUND, "%s/%s vanished while the backup ran", f->path, node->name);
		complain(f->walk, &why);
		return 0;
	}
	note_gap(f, node, why.kind ? &why : &gap);
	return 0;
}

/* Numbers of devices change from boot to boot; all names of one file must agree on it, also those in folders where nothing else changed. */
static void set_device(struct folder *f, struct node *node, uint64_t dev)
{
	bool folder = S_ISDIR(node->attr.mode);
	if (node->attr.dev == dev || (node->attr.nlink <= 1 && !folder))
		return;
	node->attr.dev = dev;
	if (!folder)
		atomic_store(&f->changed, true);
}

/* The attributes that stat does not give: from the last snapshot where nothing changed, else from the system. */
static int complete_attr(struct folder *f, size_t place, struct node *prior, struct error *err)
{
	struct node *node = &f->nodes[place];
	bool there;
	if (!prior || prior->incomplete || !unchanged(f->walk, &node->attr, &prior->attr)) {
		atomic_store(&f->changed, true);
		if (ask_attr(f, node, &there, err) < 0)
			return -1;
		if (!there)
			drop(f, place);
		return 0;
	}
	struct attr seen = node->attr; /* owns nothing yet */
	node->attr = prior->attr;
	prior->attr = (struct attr){ 0 };
	node->attr.nlink = seen.nlink;
	set_device(f, node, seen.dev);
	return 0;
}

static int scan_file(struct scan *scan, size_t place, struct node *prior, struct error *err)
{
	struct folder *f = scan->folder;
	struct walk *w = f->walk;
	struct node *node = &f->nodes[place];
	atomic_fetch_add_explicit(&w->files, 1, memory_order_relaxed);
	bool known = prior && S_ISREG(prior->attr.mode);
	if (!known || !prior->has_content || prior->incomplete || !unchanged(w, &node->attr, &prior->attr) ||
	    !prior_is_stored(writer_repo(w->writer), &prior->content)) {
		atomic_store(&f->changed, true);
		return want_content(scan, place, known, err);
	}
	char *name = node->name; /* the prior node keeps one, to be compared with the next names */
	uint64_t dev = node->attr.dev;
	*node = *prior;
	set_device(f, node, dev);
	*prior = (struct node){ .name = name, .name_len = node->name_len };
	atomic_fetch_add_explicit(&w->bytes, node->attr.size, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->files_unchanged, 1, memory_order_relaxed);
	progress_add_total(w->options->progress, 1, node->attr.size);
	progress_add(w->options->progress, 1, node->attr.size);
	return 0;
}

static const struct source *source_child(const struct folder *f, const char *name)
{
	for (size_t i = 0; f->source && i < f->source->count; i++)
		if (strcmp(f->source->children[i].name, name) == 0)
			return &f->source->children[i];
	return NULL;
}

static bool is_excluded(const struct folder *f, const char *name, const struct attr *attr)
{
	const struct exclude *exclude = f->walk->options->exclude;
	if (!exclude || f->source) /* what was asked for by name is never left out */
		return false;
	if (S_ISREG(attr->mode) && exclude_size(exclude, attr->size))
		return true;
	char *path = NULL;
	int len = asprintf(&path, "%s/%s", f->path, name);
	if (len < 0)
		return false;
	bool matched = exclude_match(exclude, path, (size_t)len, f->below, S_ISDIR(attr->mode));
	free(path);
	return matched;
}

static int scan_entry(struct scan *scan, const char *name, struct error *err)
{
	struct folder *f = scan->folder;
	struct walk *w = f->walk;
	struct attr attr = { 0 };
	struct error why = { 0 };
	if (capture_stat(f->fd, name, &attr, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND && !f->source)
			error_set(&why, ERR_NOT_FOUND, "%s/%s vanished while the backup ran", f->path, name);
		else
			error_add(&why, "%s/%s is left out", f->path, name);
		complain(w, &why);
		return 0;
	}
	if (is_excluded(f, name, &attr))
		return 0;
	struct node *node = add_node(f, name);
	if (!node)
		return error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path);
	node->attr = attr;
	size_t place = f->count - 1;
	struct node *prior = prior_find(&scan->prior, name);
	if (S_ISREG(attr.mode))
		return scan_file(scan, place, prior, err);
	if (!prior || (prior->attr.mode & S_IFMT) != (attr.mode & S_IFMT)) {
		atomic_store(&f->changed, true);
		prior = NULL;
	}
	if (complete_attr(f, place, prior, err) < 0)
		return -1;
	if (f->dropped[place])
		return 0;
	if (!S_ISDIR(attr.mode)) {
		atomic_fetch_add_explicit(&w->others, 1, memory_order_relaxed);
		return 0;
	}
	atomic_fetch_add_explicit(&w->dirs, 1, memory_order_relaxed);
	return want_folder(scan, place, prior, source_child(f, name), err);
}

/* Of a folder that is marked to be left out only the mark is kept, of one on another filesystem nothing. */
static int leave_out(const struct folder *f, struct name_list *names)
{
	const struct exclude *exclude = f->walk->options->exclude;
	const char *marker = NULL;
	if (!exclude || f->source || !f->parent)
		return 0;
	bool foreign = exclude_device(exclude, f->device, f->source_device);
	if (!foreign && !exclude_folder(exclude, f->fd, &marker))
		return 0;
	name_list_done(names);
	*names = (struct name_list){ 0 };
	return marker ? add_name(names, marker) : 0;
}

static int scan_names(struct scan *scan, const struct name_list *names, struct error *err)
{
	struct folder *f = scan->folder;
	struct error why = { 0 };
	if (f->has_prior && prior_open(&scan->prior, writer_repo(f->walk->writer), &f->prior_tree, &why) < 0)
		f->has_prior = false; /* everything is then read */
	int done = 0;
	for (size_t i = 0; done == 0 && i < names->count; i++)
		done = scan_entry(scan, names->items[i], err);
	prior_skip_rest(&scan->prior);
	if (scan->prior.broken || scan->prior.count != f->count)
		atomic_store(&f->changed, true);
	prior_close(&scan->prior);
	return done;
}

static void submit_scan(struct scan *scan, const struct task_context *ctx)
{
	struct batch **batches = (void *)scan->batches.data;
	for (size_t i = 0; i < scan->batches.len / sizeof *batches; i++)
		pool_submit(ctx->pool, POOL_CONTENT, ctx->slot, read_batch, batches[i]);
	struct folder **folders = (void *)scan->folders.data;
	for (size_t i = scan->folders.len / sizeof *folders; i-- > 0;) /* the newest is taken first */
		pool_submit(ctx->pool, POOL_SCAN, ctx->slot, scan_folder, folders[i]);
	buf_done(&scan->batches);
	buf_done(&scan->folders);
}

static int open_folder(struct folder *f, struct error *err)
{
	struct attr attr;
	if (!f->parent) {
		f->fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (f->fd < 0)
			return error_sys(err, errno, "open folder /");
		if (capture_stat_fd(f->fd, &attr, err) < 0)
			return error_add(err, "folder /");
		f->device = f->source_device = attr.dev; /* of a source "/"; others are told where they begin */
		return 0;
	}
	const char *name = f->parent->nodes[f->place].name;
	f->fd = openat(f->parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
	if (f->fd < 0 && errno == EPERM)
		f->fd = openat(f->parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return f->fd < 0 ? error_sys(err, errno, "open folder %s", f->path) : 0;
}

/* A folder that cannot be read is kept as an empty one, and named. */
static int scan_opened(struct scan *scan, struct error *err)
{
	struct folder *f = scan->folder;
	CLEAN(name_list_done) struct name_list names = { 0 };
	struct error why = { 0 };
	bool opened = open_folder(f, &why) == 0;
	if (!opened || list_names(f, &names, &why) < 0) {
		if (opened || !f->named)
			complain(f->walk, &why);
		atomic_store(&f->changed, true);
		f->has_prior = false;
		if (f->parent)
			f->parent->nodes[f->place].incomplete = true;
		return 0;
	}
	if (leave_out(f, &names) < 0)
		return error_set(err, ERR_NOMEM, "scan folder %s: out of memory", f->path);
	return scan_names(scan, &names, err);
}

static int scan_folder(const struct task_context *ctx, void *arg, struct error *err)
{
	struct folder *f = arg;
	struct scan scan = { .folder = f };
	int done = 0;
	if (!ctx->cancelled && progress_stopped(f->walk->options->progress))
		done = stopped(err);
	else if (!ctx->cancelled && !pool_cancelled(ctx->pool))
		done = scan_opened(&scan, err);
	atomic_fetch_add(&f->walk->scans, scan.folders.len / sizeof(struct folder *));
	submit_scan(&scan, ctx); /* also after a failure: each task ends what it stands for */
	if (atomic_fetch_sub(&f->walk->scans, 1) == 1)
		progress_counting(f->walk->options->progress, false);
	if (release(f, ctx, done < 0 ? NULL : err) < 0)
		return -1;
	return done;
}

int walk_run(struct walk *w, struct error *err)
{
	struct folder *root = calloc(1, sizeof *root);
	if (!root)
		return error_set(err, ERR_NOMEM, "start the backup: out of memory");
	root->walk = w;
	root->fd = -1;
	root->source = w->root->whole ? NULL : w->root;
	root->path = strdup("");
	root->below = 1; /* "/etc" of a source "/" is seen as "etc" */
	root->has_prior = w->has_prior;
	root->prior_tree = w->prior_tree;
	atomic_init(&root->pending, 1);
	if (!root->path) {
		free(root);
		return error_set(err, ERR_NOMEM, "start the backup: out of memory");
	}
	progress_counting(w->options->progress, true);
	atomic_init(&w->scans, 1);
	pool_submit(w->pool, POOL_SCAN, pool_slots(w->pool) - 1, scan_folder, root);
	return pool_wait(w->pool, err);
}
