/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/image_target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "block/occupied.h"
#include "restore/carries.h"

static int choose_range(struct image_target *t, const struct snapshot *s, unsigned partition, struct error *err)
{
	if (s->kind != SNAPSHOT_IMAGE)
		return error_set(err, ERR_INVALID, "the snapshot holds files, not an image; restore it with twofold restore");
	t->partition = partition;
	t->start = 0;
	t->size = s->disk_size;
	if (partition == 0)
		return 0;
	for (size_t i = 0; i < s->volume_count; i++) {
		const struct snapshot_volume *v = &s->volumes[i];
		if (v->number != partition)
			continue;
		if (v->size == 0 || v->offset > s->disk_size || v->size > s->disk_size - v->offset)
			return error_set(err, ERR_CORRUPT, "partition %u of the image reaches past the end of its disk", partition);
		t->start = v->offset;
		t->size = v->size;
		return 0;
	}
	return error_set(err, ERR_NOT_FOUND, "the image has no partition %u (twofold ls SNAPSHOT shows what it has)", partition);
}

static int make_file(struct image_target *t, int fd, struct error *err)
{
	if (t->size > INT64_MAX || ftruncate(fd, (off_t)t->size) < 0)
		return error_sys(err, t->size > INT64_MAX ? EFBIG : errno, "make %s %" PRIu64 " bytes large", t->path, t->size);
	t->fresh = true;
	return block_open_fd(&t->block, fd, t->path, true, err);
}

static int open_new(struct image_target *t, struct error *err)
{
	CLEAN_FD int fd = open(t->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, errno, "create %s", t->path);
	t->created = true;
	if (make_file(t, fd, err) < 0)
		return -1;
	take_fd(&fd);
	return 0;
}

static int open_empty(struct image_target *t, struct error *err)
{
	CLEAN_FD int fd = open(t->path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "open %s for writing", t->path);
	if (make_file(t, fd, err) < 0)
		return -1;
	take_fd(&fd);
	return 0;
}

static int refuse_occupied(const struct image_target *t, struct error *err)
{
	CLEAN_BUF struct buf by = BUF_INIT;
	if (occupied_by(t->path, OCCUPIED_AT_ALL, &by, err) < 0)
		return -1;
	if (by.len)
		return error_set(err, ERR_BUSY, "restore onto %s: it is %.*s; free it first", t->path, (int)by.len, (const char *)by.data);
	return 0;
}

static int stop_at_data(void *cookie, uint64_t offset, uint64_t length, enum block_extent kind)
{
	(void)cookie;
	(void)offset;
	(void)length;
	return kind == BLOCK_DATA;
}

static int describe(struct image_target *t, struct error *err)
{
	static const char unknown[] = "data of no kind that is known";
	if (carries_describe(t->block, &t->carries, err) < 0)
		return -1;
	if (t->device || t->carries.len)
		return 0;
	int data = block_extents(t->block, 0, t->block->size, stop_at_data, NULL, err);
	if (data < 0)
		return -1;
	t->fresh = data == 0; /* all hole, as truncate(1) makes it: nothing to be lost, nothing to be zeroed */
	if (data)
		buf_add(&t->carries, unknown, strlen(unknown));
	return 0;
}

static int open_existing(struct image_target *t, const struct stat *st, struct error *err)
{
	t->device = S_ISBLK(st->st_mode);
	if ((t->device || S_ISREG(st->st_mode)) && refuse_occupied(t, err) < 0)
		return -1;
	if (S_ISREG(st->st_mode) && st->st_size == 0)
		return open_empty(t, err);
	if (block_open_file(&t->block, t->path, true, err) < 0) /* refuses all other types */
		return -1;
	if (t->block->size < t->size)
		return error_set(err, ERR_NO_SPACE, "%s has %" PRIu64 " bytes, the %s needs %" PRIu64 "; %s", t->path, t->block->size,
		                 t->partition ? "partition" : "image", t->size,
		                 t->device ? "take a larger device" : "remove the file, or name one that does not exist");
	return describe(t, err);
}

int image_target_open(struct image_target **ret, const struct snapshot *snapshot, const char *path, unsigned partition, struct error *err)
{
	CLEAN(image_target_cleanup) struct image_target *t = calloc(1, sizeof *t);
	if (!t || !(t->path = strdup(path)))
		return error_set(err, ERR_NOMEM, "open %s: out of memory", path);
	if (choose_range(t, snapshot, partition, err) < 0)
		return -1;
	struct stat st;
	if (stat(path, &st) == 0) {
		if (open_existing(t, &st, err) < 0)
			return -1;
	} else if (errno != ENOENT) {
		return error_sys(err, errno, "open %s", path);
	} else if (open_new(t, err) < 0) {
		return -1;
	}
	buf_add_u8(&t->carries, 0);
	if (!buf_ok(&t->carries))
		return error_set(err, ERR_NOMEM, "open %s: out of memory", path);
	*ret = TAKE(t);
	return 0;
}

void image_target_free(struct image_target *t)
{
	if (!t)
		return;
	block_free(t->block);
	if (t->created)
		unlink(t->path);
	buf_done(&t->carries);
	free(t->path);
	free(t);
}

const char *image_target_carries(const struct image_target *t)
{
	return (const char *)t->carries.data;
}

uint64_t image_target_size(const struct image_target *t)
{
	return t->block->size;
}
