/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The folders of the target: entered and left as the walk goes, made when something in them is, given their attributes when all in them is done. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "restore/work.h"

int open_folder(struct restore *r, unsigned slot, const struct folder *folder, int *ret, struct error *err)
{
	return beneath_mkdirs(r->target, &r->slots[slot].folder, folder->path, ret, err);
}

void folder_free(struct folder *f)
{
	if (!f)
		return;
	attr_done(&f->attr);
	free(f->path);
	free(f);
}

static const char *name_of(const struct folder *f)
{
	const char *slash = strrchr(f->path, '/');
	return slash ? slash + 1 : f->path;
}

/* --- the target itself --------------------------------------------------------------------------- */

int folder_open_target(struct restore *r, const struct node *start, struct error *err)
{
	struct stat st;
	struct folder *f = calloc(1, sizeof *f);
	if (!f || !(f->path = strdup(""))) {
		free(f);
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	}
	r->at = f;
	f->state = FOLDER_READY;
	f->chosen = true;
	f->made = stat(r->options->target, &st) < 0;
	if (f->made && errno != ENOENT)
		return error_sys(err, errno, "open the target %s", r->options->target);
	/* Somebody's folder keeps its own attributes: /tmp would not be /tmp any more. One that we make gets those of the folder that it stands for. */
	f->give_attr = f->made && S_ISDIR(start->attr.mode) && (start->name_len || (r->snapshot->kind == SNAPSHOT_IMAGE && start->has_tree));
	if (f->give_attr && attr_copy(&f->attr, &start->attr) < 0)
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	if (f->made && r->options->dry_run)
		return 0;
	return beneath_open(&r->target, r->options->target, !r->options->dry_run, err);
}

/* --- making --------------------------------------------------------------------------------------- */

/* Without root, a folder whose owner may not write in it lets nothing be restored into it; it gets its mode back at the end. */
static void loosen(const struct restore *r, const struct folder *f, int above, const char *name, const struct stat *st)
{
	char path[40];
	if (geteuid() == 0 || st->st_uid != geteuid() || (st->st_mode & 0700) == 0700 || !f->give_attr || r->options->dry_run)
		return;
	CLEAN_FD int fd = openat(above, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (fd >= 0 && chmod(path, (st->st_mode & 07777) | 0700) < 0)
		return; /* what is to be made in it will say so */
}

/* Something has the name. *ret_make: it is gone now, or is to be thought so. Otherwise f has its state. */
static int meet(struct restore *r, struct folder *f, int above, const char *name, const struct stat *st, bool *ret_make, struct error *err)
{
	struct time_ns there = { st->st_mtim.tv_sec, (uint32_t)st->st_mtim.tv_nsec };
	enum restore_overwrite how = r->options->overwrite;
	bool older = how == RESTORE_IF_NEWER && time_compare(f->attr.mtime, there) < 0;
	*ret_make = false;
	if (S_ISDIR(st->st_mode)) {
		f->state = FOLDER_READY;
		f->give_attr = f->chosen && how != RESTORE_NEVER && !older;
		loosen(r, f, above, name, st);
		return 0;
	}
	if (how == RESTORE_NEVER || older) {
		struct error what = { 0 };
		error_set(&what, ERR_EXISTS, "something that is no folder stands there and is kept, so nothing below can be restored");
		warn_entry(r, f, "", &what);
		count(&r->counts.kept, 1);
		f->state = FOLDER_FAILED;
		return 0;
	}
	*ret_make = true;
	return r->options->dry_run ? 0 : beneath_remove(above, name, err);
}

static void prepare_empty(struct restore *r, const struct folder *f)
{
	if (!f->attr.flags)
		return;
	CLEAN_FD int fd = -1;
	if (beneath_open_folder(r->target, f->path, &fd, NULL) == 0)
		apply_empty(fd, &f->attr);
}

static int make(struct restore *r, struct folder *f, struct error *err)
{
	const char *name = name_of(f);
	struct stat st;
	bool go_on = true;
	int above = -1;
	if (strlen(name) > NAME_MAX)
		return error_set(err, ERR_UNSUPPORTED, "its name has %zu bytes, more than a name can have here", strlen(name));
	if (!r->options->dry_run || !f->above->made) {
		if (open_folder(r, main_slot(r), f->above, &above, err) < 0)
			return -1;
		if (!f->above->made && fstatat(above, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && meet(r, f, above, name, &st, &go_on, err) < 0)
			return -1;
	}
	if (!go_on)
		return 0;
	if (!r->options->dry_run && beneath_make_folder(above, name, err) < 0) {
		/* A filesystem that takes two names for one (without case, or normalising): they share a folder. */
		if (err->kind != ERR_EXISTS || fstatat(above, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
			return -1;
		return meet(r, f, above, name, &st, &go_on, err);
	}
	f->state = FOLDER_READY;
	f->made = f->give_attr = true;
	if (!r->options->dry_run)
		prepare_empty(r, f);
	return 0;
}

int folder_ready(struct restore *r, struct folder *f, bool *ret_ready, struct error *err)
{
	/* From the topmost one that is not ready: there may be more of them than a stack holds. */
	while (f->state == FOLDER_WAITING) {
		struct folder *top = f;
		while (top->above->state == FOLDER_WAITING)
			top = top->above;
		struct error why = { 0 };
		if (top->above->state == FOLDER_FAILED) {
			top->state = FOLDER_FAILED;
		} else if (make(r, top, &why) < 0) {
			top->state = FOLDER_FAILED;
			count(&r->counts.failed, 1);
			if (survive(r, top, "", &why, err) < 0)
				return -1;
		} else if (top->state == FOLDER_READY) {
			count(&r->counts.folders, 1);
		}
	}
	*ret_ready = f->state == FOLDER_READY;
	return 0;
}

/* --- walking ----------------------------------------------------------------------------------------- */

static struct folder *new_folder(struct folder *above, struct node *node, bool chosen)
{
	struct folder *f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	f->len = above->len + (above->len ? 1 : 0) + node->name_len;
	f->path = malloc(f->len + 1);
	if (!f->path) {
		free(f);
		return NULL;
	}
	snprintf(f->path, f->len + 1, "%s%s%s", above->path, above->len ? "/" : "", node->name);
	f->above = above;
	f->chosen = chosen;
	f->attr = node->attr;
	node->attr = (struct attr){ 0 };
	/* For whoever still looks at the node. */
	node->attr.mode = f->attr.mode;
	return f;
}

int folder_enter(struct restore *r, struct node *node, bool chosen, bool *ret_skip, struct error *err)
{
	bool ready = true;
	*ret_skip = true;
	if (r->at->state == FOLDER_FAILED)
		return 0;
	struct folder *f = new_folder(r->at, node, chosen);
	if (!f)
		return error_set(err, ERR_NOMEM, "restore: out of memory");
	if (chosen && folder_ready(r, f, &ready, err) < 0) {
		folder_free(f);
		return -1;
	}
	if (!ready) {
		folder_free(f);
		return 0;
	}
	r->at = f;
	r->depth++;
	*ret_skip = false;
	return 0;
}

void folder_leave_to(struct restore *r, size_t depth)
{
	while (r->depth > depth) {
		struct folder *f = r->at;
		r->at = f->above;
		r->depth--;
		f->above = NULL;
		batch_add_left(r, f);
	}
}

void folder_finish(struct restore *r, struct folder *f)
{
	struct apply_report report;
	struct error why = { 0 };
	CLEAN_FD int fd = -1;
	if (f->state != FOLDER_READY || !f->give_attr || r->options->dry_run)
		return;
	if (beneath_open_folder(r->target, f->path, &fd, &why) < 0) {
		warn_entry(r, f, "", &why);
		return;
	}
	apply_attr(&r->apply, fd, -1, NULL, &f->attr, &report);
	apply_lock(fd, &f->attr, &report);
	gaps_note(&r->gaps, &report, f->path, "");
}
