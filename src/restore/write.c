/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Content into files, on the workers, in whatever order the packs give it.
 *
 * A file of one part is made, written, given its attributes and closed in one go. A larger one is made by whoever comes first, stays in a bounded
 * table of open files, and is finished by whoever writes its last part.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "restore/work.h"

/* The name under which the file stands until it is whole. */
static const char *working_name(const struct restore *r, const struct file *f, char room[TEMPORARY_MAX])
{
	if (!f->replace)
		return f->name;
	temporary_name(r, f->number, room);
	return room;
}

void file_free(struct file *f)
{
	if (!f)
		return;
	attr_done(&f->attr);
	free(f->name);
	free(f->why);
	free(f);
}

/* --- what goes wrong ------------------------------------------------------------------------------ */

void file_lose(struct restore *r, struct file *f, const struct error *why)
{
	atomic_store(&f->damaged, true);
	pthread_mutex_lock(&r->open.lock);
	if (!f->why && (f->why = malloc(sizeof *f->why)))
		*f->why = *why;
	pthread_mutex_unlock(&r->open.lock);
}

static void set_group(struct file *f, enum link_state state)
{
	if (f->group)
		atomic_store(&f->group->state, state);
}

/* Nothing of the file is in the target. */
static int file_fail(struct restore *r, struct file *f, const struct error *why, struct error *err)
{
	set_group(f, LINK_FAILED);
	count(&r->counts.failed, 1);
	return survive(r, f->folder, f->name, why, err);
}

static void remove_working(struct restore *r, unsigned slot, struct file *f)
{
	char room[TEMPORARY_MAX];
	int dir;
	if (open_folder(r, slot, f->folder, &dir, NULL) == 0)
		beneath_remove(dir, working_name(r, f, room), NULL);
}

void file_abandon(struct restore *r, struct file *f)
{
	if (f->finished || !f->made)
		return;
	remove_working(r, main_slot(r), f);
	f->made = false;
}

/* --- making and finishing ---------------------------------------------------------------------------- */

static int make_file(struct restore *r, unsigned slot, const struct file *f, int *ret_fd, struct error *err)
{
	char room[TEMPORARY_MAX];
	int dir;
	if (open_folder(r, slot, f->folder, &dir, err) < 0 || beneath_make_file(dir, working_name(r, f, room), ret_fd, err) < 0)
		return -1;
	if (f->attr.flags)
		apply_empty(*ret_fd, &f->attr);
	return 0;
}

static int write_all(int fd, uint64_t position, const uint8_t *bytes, size_t len, struct error *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)(position + done));
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			return error_sys(err, n == 0 ? ENOSPC : errno, "write %zu bytes at %" PRIu64, len, position);
	}
	return 0;
}

static int set_size(int fd, uint64_t size, struct error *err)
{
	return ftruncate(fd, (off_t)size) == 0 ? 0 : error_sys(err, errno, "make it %" PRIu64 " bytes large", size);
}

/* The damaged file gets the present time, so that it is not taken for whole by the next restore. */
static void give_attributes(struct restore *r, const struct file *f, int fd)
{
	struct apply_report report;
	struct attr a = f->attr; /* not a copy of what it owns */
	struct timespec now;
	if (atomic_load(&f->damaged) && clock_gettime(CLOCK_REALTIME, &now) == 0)
		a.mtime = (struct time_ns){ now.tv_sec, (uint32_t)now.tv_nsec };
	apply_attr(&r->apply, fd, -1, NULL, &a, &report);
	gaps_note(&r->gaps, &report, f->folder->path, f->name);
}

/* After the renaming: an immutable file cannot be renamed, nor get another name. */
static void lock_file(struct restore *r, const struct file *f, int fd)
{
	struct apply_report report = { 0 };
	if (f->group || !(f->attr.flags & (ATTR_FLAG_IMMUTABLE | ATTR_FLAG_APPEND)))
		return;
	apply_lock(fd, &f->attr, &report);
	gaps_note(&r->gaps, &report, f->folder->path, f->name);
}

static int put_in_place(struct restore *r, unsigned slot, const struct file *f, struct error *err)
{
	char room[TEMPORARY_MAX];
	int dir;
	if (!f->replace)
		return 0;
	if (open_folder(r, slot, f->folder, &dir, err) < 0)
		return -1;
	return beneath_rename(dir, working_name(r, f, room), f->name, err);
}

static void count_file(struct restore *r, struct file *f)
{
	f->finished = true;
	set_group(f, LINK_MADE);
	count(&r->counts.files, 1);
	if (f->replace)
		count(&r->counts.replaced, 1);
	progress_add(r->options->progress, 1, 0);
	progress_current(r->options->progress, f->name, strlen(f->name));
}

static void warn_damaged(struct restore *r, struct file *f, const char *text)
{
	struct error what = { .kind = ERR_CORRUPT };
	if (f->why)
		what = *f->why;
	error_add(&what, "%s", text);
	warn_entry(r, f->folder, f->name, &what);
	count(&r->counts.damaged, 1);
}

/* Takes fd. All that could be written is. */
static int finish(struct restore *r, unsigned slot, struct file *f, int fd, struct error *err)
{
	CLEAN_FD int open = fd;
	struct error why = { 0 };
	if (atomic_load(&f->damaged) && f->replace) {
		remove_working(r, slot, f);
		f->made = false;
		set_group(f, LINK_FAILED);
		warn_damaged(r, f, "damaged in the repository; what stands in the target is left as it was");
		return 0;
	}
	give_attributes(r, f, fd);
	if (put_in_place(r, slot, f, &why) < 0) {
		remove_working(r, slot, f);
		f->made = false;
		return file_fail(r, f, &why, err);
	}
	lock_file(r, f, fd);
	count_file(r, f);
	if (atomic_load(&f->damaged))
		warn_damaged(r, f, "damaged in the repository; zeros stand for what is lost");
	if (close(take_fd(&open)) < 0 && errno != EINTR) {
		error_sys(&why, errno, "close it");
		return survive(r, f->folder, f->name, &why, err);
	}
	return 0;
}

/* --- files of one part, or none ------------------------------------------------------------------------- */

static int write_small(struct restore *r, unsigned slot, struct file *f, uint64_t position, const uint8_t *bytes, size_t len, struct error *err)
{
	struct error why = { 0 };
	CLEAN_FD int fd = -1;
	if (make_file(r, slot, f, &fd, &why) < 0)
		return file_fail(r, f, &why, err);
	f->made = true;
	if (write_all(fd, position, bytes, len, &why) < 0 || (position + len != f->attr.size && set_size(fd, f->attr.size, &why) < 0)) {
		remove_working(r, slot, f);
		f->made = false;
		return file_fail(r, f, &why, err);
	}
	count(&r->counts.bytes, len);
	return finish(r, slot, f, take_fd(&fd), err);
}

static int lost_whole(struct restore *r, struct file *f)
{
	set_group(f, LINK_FAILED);
	warn_damaged(r, f, "nothing of its content can be read from the repository; it is not restored");
	return 0;
}

int write_empty(struct restore *r, unsigned slot, struct file *f, struct error *err)
{
	if (atomic_load(&f->damaged))
		return lost_whole(r, f);
	return write_small(r, slot, f, 0, NULL, 0, err);
}

/* --- files of several parts -------------------------------------------------------------------------------- */

static void forget_entry(struct open_entry *e)
{
	e->file->entry = -1;
	e->file = NULL;
}

/* A free place, or the one that has not been used for longest. The table's lock is held. There are more places than threads, so there is always one. */
static struct open_entry *take_entry(struct open_table *t)
{
	struct open_entry *best = NULL;
	for (unsigned i = 0; i < OPEN_FILES; i++) {
		struct open_entry *e = &t->entries[i];
		if (!e->file)
			return e;
		if (e->users == 0 && (!best || e->used < best->used))
			best = e;
	}
	if (best) {
		close(best->fd);
		forget_entry(best);
	}
	return best;
}

/* Opens what was made before. Somebody may have put another file there. */
static int open_again(struct restore *r, unsigned slot, const struct file *f, int *ret_fd, struct error *err)
{
	char room[TEMPORARY_MAX];
	struct stat st;
	int dir;
	CLEAN_FD int fd = -1;
	if (open_folder(r, slot, f->folder, &dir, err) < 0 || beneath_open_file(dir, working_name(r, f, room), O_RDWR, &fd, err) < 0)
		return -1;
	if (fstat(fd, &st) < 0 || st.st_dev != f->dev || st.st_ino != f->ino)
		return error_set(err, ERR_EXISTS, "somebody exchanged it while it was restored");
	*ret_fd = take_fd(&fd);
	return 0;
}

static int make_large(struct restore *r, unsigned slot, struct file *f, int *ret_fd, struct error *err)
{
	struct stat st;
	CLEAN_FD int fd = -1;
	if (make_file(r, slot, f, &fd, err) < 0)
		return -1;
	f->made = true;
	if (fstat(fd, &st) < 0)
		return error_sys(err, errno, "look at it");
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (set_size(fd, f->attr.size, err) < 0)
		return -1;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* The table's lock is held: two threads must not make the same file. */
static int enter_table(struct restore *r, unsigned slot, struct file *f, struct error *err)
{
	struct open_entry *e = take_entry(&r->open);
	int fd;
	if (!e)
		return error_set(err, ERR_BUSY, "too many files are open");
	if ((f->made ? open_again(r, slot, f, &fd, err) : make_large(r, slot, f, &fd, err)) < 0)
		return -1;
	*e = (struct open_entry){ .file = f, .fd = fd };
	f->entry = (int)(e - r->open.entries);
	return 0;
}

/* *ret NULL: the file has failed. */
static int acquire(struct restore *r, unsigned slot, struct file *f, struct open_entry **ret, struct error *err)
{
	struct error why = { 0 };
	int done = 0;
	*ret = NULL;
	pthread_mutex_lock(&r->open.lock);
	if (!f->failed && f->entry < 0 && enter_table(r, slot, f, &why) < 0) {
		f->failed = true;
		done = -1;
	}
	if (!f->failed) {
		*ret = &r->open.entries[f->entry];
		(*ret)->users++;
		(*ret)->used = ++r->open.clock;
	}
	pthread_mutex_unlock(&r->open.lock);
	return done < 0 ? file_fail(r, f, &why, err) : 0;
}

/* failed: the first to say so says it. */
static bool release(struct restore *r, struct file *f, struct open_entry *e, bool failed)
{
	pthread_mutex_lock(&r->open.lock);
	e->users--;
	bool first = failed && !f->failed;
	f->failed |= failed;
	pthread_mutex_unlock(&r->open.lock);
	return first;
}

static int write_piece(struct restore *r, unsigned slot, struct file *f, uint64_t position, const uint8_t *bytes, size_t len, struct error *err)
{
	struct open_entry *e;
	struct error why = { 0 };
	if (acquire(r, slot, f, &e, err) < 0)
		return -1;
	if (!e)
		return 0;
	bool failed = write_all(e->fd, position, bytes, len, &why) < 0;
	if (!failed)
		count(&r->counts.bytes, len);
	if (release(r, f, e, failed))
		return file_fail(r, f, &why, err);
	return 0;
}

/* Nobody else uses the file any more. */
static int finish_large(struct restore *r, unsigned slot, struct file *f, struct error *err)
{
	int fd = -1, done = 0;
	struct error why = { 0 };
	pthread_mutex_lock(&r->open.lock);
	if (f->entry >= 0) {
		fd = r->open.entries[f->entry].fd;
		forget_entry(&r->open.entries[f->entry]);
	} else if (f->made && !f->failed) {
		done = open_again(r, slot, f, &fd, &why);
	}
	pthread_mutex_unlock(&r->open.lock);
	if (f->failed || done < 0) { /* what has failed was said */
		if (fd >= 0)
			close(fd);
		if (f->made)
			remove_working(r, slot, f);
		f->made = false;
		return done < 0 ? file_fail(r, f, &why, err) : 0;
	}
	return f->made ? finish(r, slot, f, fd, err) : lost_whole(r, f);
}

int file_done_part(struct restore *r, unsigned slot, struct file *f, struct error *err)
{
	return atomic_fetch_sub(&f->left, 1) == 1 ? finish_large(r, slot, f, err) : 0;
}

/* --- from the plan -------------------------------------------------------------------------------------------- */

/* The batch that the workers are at. */
static struct file *file_of(struct restore *r, const struct plan_part *part)
{
	return r->batches[!r->filling].files[part->owner];
}

int write_good(void *cookie, unsigned slot, const struct plan_part *parts, size_t n, uint8_t *data, size_t len, struct error *err)
{
	struct restore *r = cookie;
	(void)len;
	for (size_t i = 0; i < n; i++) {
		struct file *f = file_of(r, &parts[i]);
		const uint8_t *bytes = data + parts[i].offset + parts[i].skip;
		int done;
		if (f->small) {
			done = write_small(r, slot, f, parts[i].position, bytes, parts[i].take, err);
		} else {
			done = write_piece(r, slot, f, parts[i].position, bytes, parts[i].take, err);
			if (done == 0)
				done = file_done_part(r, slot, f, err);
		}
		if (done < 0)
			return -1;
		progress_add(r->options->progress, 0, parts[i].take);
	}
	return 0;
}

int write_lost(void *cookie, unsigned slot, const struct plan_part *parts, size_t n, const struct error *why, struct error *err)
{
	struct restore *r = cookie;
	for (size_t i = 0; i < n; i++) {
		struct file *f = file_of(r, &parts[i]);
		file_lose(r, f, why);
		if (file_done_part(r, slot, f, err) < 0)
			return -1;
		progress_add(r->options->progress, 0, parts[i].take);
	}
	return 0;
}
