/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What stands in the target already, and what is to become of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "restore/work.h"

static bool link_equal(int dir, const char *name, const struct attr *a)
{
	CLEAN_FREE char *text = malloc(a->link_len + 1);
	if (!text)
		return false;
	ssize_t len = readlinkat(dir, name, text, a->link_len + 1);
	return len >= 0 && (size_t)len == a->link_len && memcmp(text, a->link, a->link_len) == 0;
}

/* Same type is known. */
static bool is_equal(int dir, const char *name, const struct attr *a, const struct stat *st)
{
	switch (a->mode & S_IFMT) {
	case S_IFREG: return (uint64_t)st->st_size == a->size && st->st_mtim.tv_sec == a->mtime.sec && st->st_mtim.tv_nsec == (long)a->mtime.ns;
	case S_IFLNK: return link_equal(dir, name, a);
	case S_IFCHR:
	case S_IFBLK: return st->st_rdev == a->rdev;
	default: return true; /* a fifo or socket has nothing else */
	}
}

static enum restore_action choose(enum restore_overwrite how, int dir, const char *name, const struct attr *a, const struct stat *st)
{
	struct time_ns there = { st->st_mtim.tv_sec, (uint32_t)st->st_mtim.tv_nsec };
	switch (how) {
	case RESTORE_ALWAYS: return RESTORE_REPLACE;
	case RESTORE_NEVER: return RESTORE_KEEP;
	case RESTORE_IF_NEWER: return time_compare(a->mtime, there) > 0 ? RESTORE_REPLACE : RESTORE_KEEP;
	case RESTORE_IF_CHANGED: break;
	}
	bool same_type = (st->st_mode & S_IFMT) == (a->mode & S_IFMT);
	return same_type && is_equal(dir, name, a, st) ? RESTORE_UNCHANGED : RESTORE_REPLACE;
}

int existing_decide(struct restore *r, const struct folder *folder, const char *name, const struct attr *a, enum restore_action *ret, struct stat *ret_st,
                    struct error *err)
{
	struct stat st;
	int dir;
	*ret = RESTORE_CREATE;
	if (folder->made)
		return 0;
	if (open_folder(r, main_slot(r), folder, &dir, err) < 0)
		return -1;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_sys(err, errno, "look for what is there");
	*ret = choose(r->options->overwrite, dir, name, a, &st);
	if (ret_st)
		*ret_st = st;
	/* A folder cannot be renamed over: it must go, if it can, before. */
	if (*ret == RESTORE_REPLACE && S_ISDIR(st.st_mode) && !r->options->dry_run)
		return beneath_remove(dir, name, err);
	return 0;
}

static bool owner_differs(const struct restore *r, const struct attr *a, const struct stat *st)
{
	uint32_t uid = a->uid, gid = a->gid;
	if (geteuid() != 0)
		return false;
	if (!r->options->numeric_ids) {
		if (a->user)
			names_uid(r->names, a->user, &uid);
		if (a->group)
			names_gid(r->names, a->group, &gid);
	}
	return uid != st->st_uid || gid != st->st_gid;
}

void existing_correct(struct restore *r, const struct folder *folder, const char *name, const struct attr *a, const struct stat *st)
{
	struct apply_report report;
	int dir;
	bool mode_differs = !S_ISLNK(a->mode) && ((st->st_mode ^ a->mode) & 07777);
	if (!mode_differs && !owner_differs(r, a, st))
		return;
	if (open_folder(r, main_slot(r), folder, &dir, NULL) < 0)
		return;
	CLEAN_FD int fd = -1;
	if (!S_ISREG(a->mode) || beneath_open_file(dir, name, O_RDONLY, &fd, NULL) < 0)
		fd = -1;
	apply_attr(&r->apply, fd, dir, name, a, &report);
	gaps_note(&r->gaps, &report, folder->path, name);
}
