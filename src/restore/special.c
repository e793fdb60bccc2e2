/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What has no content: symlinks, fifos, sockets, devices; and further names of what stands already. The main thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "restore/work.h"

void temporary_name(const struct restore *r, uint32_t number, char ret[TEMPORARY_MAX])
{
	snprintf(ret, TEMPORARY_MAX, ".twofold-%016llx-%u", (unsigned long long)r->nonce, number);
}

static int make_node(int dir, const char *name, const struct attr *a, struct error *err)
{
	if (S_ISLNK(a->mode))
		return beneath_make_symlink(dir, name, a->link, a->link_len, err);
	return beneath_make_special(dir, name, a->mode & S_IFMT, a->rdev, err);
}

int special_make(struct restore *r, const struct folder *folder, const char *name, const struct attr *a, struct link_group *group, bool replace,
                 struct error *err)
{
	char room[TEMPORARY_MAX];
	const char *working = name;
	struct apply_report report;
	int dir;
	if (replace) {
		temporary_name(r, r->numbers++, room);
		working = room;
	}
	if (open_folder(r, main_slot(r), folder, &dir, err) < 0 || make_node(dir, working, a, err) < 0)
		return -1;
	apply_attr(&r->apply, -1, dir, working, a, &report);
	gaps_note(&r->gaps, &report, folder->path, name);
	if (replace && beneath_rename(dir, working, name, err) < 0) {
		beneath_remove(dir, working, NULL);
		return -1;
	}
	if (group)
		atomic_store(&group->state, LINK_MADE);
	count(S_ISLNK(a->mode) ? &r->counts.symlinks : &r->counts.specials, 1);
	if (replace)
		count(&r->counts.replaced, 1);
	return 0;
}

/* --- hard links ---------------------------------------------------------------------------------- */

struct two_names {
	int old_dir, dir;
	const char *old_name, *name;
};

/* *ret_action: RESTORE_UNCHANGED when both names are one file already. */
static int decide_link(struct restore *r, const struct two_names *t, struct time_ns mtime, enum restore_action *ret, struct error *err)
{
	struct stat first, there;
	*ret = RESTORE_CREATE;
	if (fstatat(t->old_dir, t->old_name, &first, AT_SYMLINK_NOFOLLOW) < 0)
		return error_sys(err, errno, "look at its other name %s", t->old_name);
	if (fstatat(t->dir, t->name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_sys(err, errno, "look for what is there");
	struct time_ns time = { there.st_mtim.tv_sec, (uint32_t)there.st_mtim.tv_nsec };
	if (first.st_dev == there.st_dev && first.st_ino == there.st_ino)
		*ret = RESTORE_UNCHANGED;
	else if (r->options->overwrite == RESTORE_NEVER || (r->options->overwrite == RESTORE_IF_NEWER && time_compare(mtime, time) <= 0))
		*ret = RESTORE_KEEP;
	else
		*ret = RESTORE_REPLACE;
	if (*ret == RESTORE_REPLACE && S_ISDIR(there.st_mode))
		return beneath_remove(t->dir, t->name, err);
	return 0;
}

static int replace_by_link(struct restore *r, const struct two_names *t, struct error *err)
{
	char room[TEMPORARY_MAX];
	temporary_name(r, r->numbers++, room);
	if (beneath_make_link(t->old_dir, t->old_name, t->dir, room, err) < 0)
		return -1;
	int done = beneath_rename(t->dir, room, t->name, err);
	/* Renaming onto a name of the same file does nothing at all: the temporary name is still there. */
	beneath_remove(t->dir, room, NULL);
	return done;
}

static int make_link(struct restore *r, const struct hard_link *link, struct beneath_cache *old, struct error *err)
{
	struct two_names t = { .name = link->name };
	enum restore_action action;
	if (atomic_load(&link->group->state) != LINK_MADE)
		return error_set(err, ERR_NOT_FOUND, "the first name of this file, %s, could not be restored", link->group->path);
	if (open_folder(r, main_slot(r), link->folder, &t.dir, err) < 0 ||
	    beneath_open_parent(r->target, old, link->group->path, &t.old_dir, &t.old_name, err) < 0 || decide_link(r, &t, link->mtime, &action, err) < 0)
		return -1;
	switch (action) {
	case RESTORE_UNCHANGED: count(&r->counts.unchanged, 1); return 0;
	case RESTORE_KEEP: count(&r->counts.kept, 1); return 0;
	case RESTORE_REPLACE:
		if (replace_by_link(r, &t, err) < 0)
			return -1;
		count(&r->counts.replaced, 1);
		break;
	case RESTORE_CREATE:
		if (beneath_make_link(t.old_dir, t.old_name, t.dir, t.name, err) < 0)
			return -1;
		break;
	}
	count(&r->counts.hard_links, 1);
	return 0;
}

int link_make(struct restore *r, const struct hard_link *link, struct beneath_cache *old, struct error *err)
{
	struct error why = { 0 };
	if (make_link(r, link, old, &why) == 0)
		return 0;
	count(&r->counts.failed, 1);
	return survive(r, link->folder, link->name, &why, err);
}

void links_lock(struct restore *r)
{
	CLEAN_BENEATH_CACHE struct beneath_cache cache = BENEATH_CACHE_INIT;
	for (size_t i = 0; i < r->links.cap; i++) {
		struct link_group *g = r->links.slots[i];
		const char *name;
		int dir;
		if (!g || !g->flags || atomic_load(&g->state) != LINK_MADE)
			continue;
		struct attr a = { .flags = g->flags };
		struct apply_report report = { 0 };
		CLEAN_FD int fd = -1;
		if (beneath_open_parent(r->target, &cache, g->path, &dir, &name, NULL) < 0 || beneath_open_file(dir, name, O_RDONLY, &fd, NULL) < 0)
			continue; /* gone meanwhile, or not a regular file: those have no flags */
		apply_lock(fd, &a, &report);
		gaps_note(&r->gaps, &report, g->path, "");
	}
}
