/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A regular file or a block device of the running system. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "block/block.h"

struct file {
	struct block b;
	int fd;
	bool device;
};

static struct file *file_of(struct block *b)
{
	return (struct file *)b;
}

static int file_read(struct block *b, uint64_t offset, void *data, size_t len, struct error *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(file_of(b)->fd, (char *)data + done, len - done, (off_t)(offset + done));
		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return error_set(err, ERR_IO, "read %zu bytes at %" PRIu64 " of %s: it ends early, at %" PRIu64,
			                 len, offset, b->label, offset + done);
		else if (errno != EINTR)
			return error_sys(err, errno, "read %zu bytes at %" PRIu64 " of %s", len, offset, b->label);
	}
	return 0;
}

static int file_write(struct block *b, uint64_t offset, const void *data, size_t len, struct error *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(file_of(b)->fd, (const char *)data + done, len - done, (off_t)(offset + done));
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			return error_sys(err, n == 0 ? ENOSPC : errno, "write %zu bytes at %" PRIu64 " of %s", len, offset,
			                 b->label);
	}
	return 0;
}

/* The end of the run of one kind that begins at offset, at most end. The file's own position moves, but
 * nothing here reads it, so that threads do not disturb each other. */
static int find_run(struct block *b, uint64_t offset, uint64_t end, uint64_t *ret_end, enum block_extent *ret_kind,
                    struct error *err)
{
	int fd = file_of(b)->fd;
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO) { /* no data from here to the end of the file */
		*ret_end = end;
		*ret_kind = BLOCK_ZERO;
		return 0;
	}
	if (data < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) { /* a filesystem that knows no holes */
		*ret_end = end;
		*ret_kind = BLOCK_DATA;
		return 0;
	}
	if (data < 0)
		return error_sys(err, errno, "look for holes at %" PRIu64 " of %s", offset, b->label);
	if ((uint64_t)data > offset) {
		*ret_end = (uint64_t)data < end ? (uint64_t)data : end;
		*ret_kind = BLOCK_ZERO;
		return 0;
	}
	off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);
	*ret_end = hole > data && (uint64_t)hole < end ? (uint64_t)hole : end;
	*ret_kind = BLOCK_DATA;
	return 0;
}

static int file_extents(struct block *b, uint64_t offset, uint64_t len, block_extent_fn fn, void *cookie,
                        struct error *err)
{
	uint64_t end = offset + len;
	while (offset < end) {
		uint64_t run_end = end;
		enum block_extent kind = BLOCK_DATA;
		if (!file_of(b)->device && find_run(b, offset, end, &run_end, &kind, err) < 0)
			return -1;
		int r = fn(cookie, offset, run_end - offset, kind);
		if (r)
			return r;
		offset = run_end;
	}
	return 0;
}

static void file_prefetch(struct block *b, uint64_t offset, uint64_t len)
{
	/* The kernel cuts one request to the device's readahead window (128 KiB by default) and drops the rest
	 * silently, so ask in pieces of that size. */
	const uint64_t piece = 128 << 10;
	for (; len; offset += piece) {
		uint64_t n = len < piece ? len : piece;
		if (posix_fadvise(file_of(b)->fd, (off_t)offset, (off_t)n, POSIX_FADV_WILLNEED))
			return;
		len -= n;
	}
}

/* ZEROOUT or DISCARD on the whole sectors of the range; -1 and errno when the device does not want to. */
static int device_range(struct block *b, unsigned long request, uint64_t first, uint64_t end)
{
	uint64_t range[2] = { first, end - first };
	int r;
	do
		r = ioctl(file_of(b)->fd, request, range);
	while (r < 0 && errno == EINTR);
	return r;
}

static int punch_hole(struct block *b, uint64_t offset, uint64_t len)
{
	int r;
	do
		r = fallocate(file_of(b)->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	while (r < 0 && errno == EINTR);
	return r;
}

/* The whole sectors within the range; false when there are none. */
static bool whole_sectors(const struct block *b, uint64_t offset, uint64_t len, uint64_t *ret_first, uint64_t *ret_end)
{
	uint64_t mask = b->sector - 1;
	*ret_first = offset + (-offset & mask); /* no overflow: offset is at most the size of a device */
	*ret_end = (offset + len) & ~mask;
	return *ret_first < *ret_end;
}

static int device_zero(struct block *b, uint64_t offset, uint64_t len, struct error *err)
{
	uint64_t first, end;
	if (!whole_sectors(b, offset, len, &first, &end) || device_range(b, BLKZEROOUT, first, end) < 0)
		return block_write_zeros(b, offset, len, err);
	if (block_write_zeros(b, offset, first - offset, err) < 0)
		return -1;
	return block_write_zeros(b, end, offset + len - end, err);
}

static int file_zero(struct block *b, uint64_t offset, uint64_t len, struct error *err)
{
	if (file_of(b)->device)
		return device_zero(b, offset, len, err);
	return punch_hole(b, offset, len) == 0 ? 0 : block_write_zeros(b, offset, len, err);
}

static void file_discard(struct block *b, uint64_t offset, uint64_t len)
{
	uint64_t first, end;
	if (!file_of(b)->device)
		punch_hole(b, offset, len);
	else if (whole_sectors(b, offset, len, &first, &end))
		device_range(b, BLKDISCARD, first, end);
}

static int file_sync(struct block *b, struct error *err)
{
	int r;
	do
		r = fsync(file_of(b)->fd);
	while (r < 0 && errno == EINTR);
	return r == 0 ? 0 : error_sys(err, errno, "write what is cached of %s", b->label);
}

static void file_free(struct block *b)
{
	close(file_of(b)->fd);
	free(b);
}

static const struct block_ops read_only = {
	.name = "file",
	.read = file_read,
	.extents = file_extents,
	.prefetch = file_prefetch,
	.free = file_free,
};

static const struct block_ops read_write = {
	.name = "file",
	.read = file_read,
	.write = file_write,
	.extents = file_extents,
	.prefetch = file_prefetch,
	.zero = file_zero,
	.discard = file_discard,
	.sync = file_sync,
	.free = file_free,
};

static int check_type(const char *label, mode_t mode, struct error *err)
{
	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	const char *what = S_ISDIR(mode) ? "a folder" : S_ISCHR(mode) ? "a character device" : "a pipe or socket";
	return error_set(err, ERR_INVALID, "open %s: it is %s, neither a regular file nor a block device", label, what);
}

static int measure(struct file *f, const struct stat *st, struct error *err)
{
	f->b.sector = 512;
	f->b.size = (uint64_t)st->st_size;
	f->device = S_ISBLK(st->st_mode);
	if (!f->device)
		return 0;
	int sector = 0;
	if (ioctl(f->fd, BLKGETSIZE64, &f->b.size) < 0)
		return error_sys(err, errno, "ask for the size of %s", f->b.label);
	if (ioctl(f->fd, BLKSSZGET, &sector) < 0)
		return error_sys(err, errno, "ask for the sector size of %s", f->b.label);
	if (sector >= 512 && (sector & (sector - 1)) == 0)
		f->b.sector = (uint32_t)sector;
	return 0;
}

/* A long path is known best by its end. */
static void set_label(struct block *b, const char *text)
{
	size_t len = strlen(text), room = sizeof b->label - 1;
	if (len <= room)
		memcpy(b->label, text, len + 1);
	else
		snprintf(b->label, sizeof b->label, "...%s", text + len - (room - 3));
}

int block_open_fd(struct block **ret, int fd, const char *label, bool writable, struct error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_sys(err, errno, "open %s", label);
	if (check_type(label, st.st_mode, err) < 0)
		return -1;
	CLEAN_FREE struct file *f = calloc(1, sizeof *f);
	if (!f)
		return error_set(err, ERR_NOMEM, "out of memory");
	f->b.ops = writable ? &read_write : &read_only;
	set_label(&f->b, label);
	f->fd = fd;
	if (measure(f, &st, err) < 0)
		return -1;
	*ret = &TAKE(f)->b;
	return 0;
}

int block_open_file(struct block **ret, const char *path, bool writable, struct error *err)
{
	/* Looked at before it is opened: opening a pipe waits for its other end, a tape moves. */
	struct stat st;
	if (stat(path, &st) < 0)
		return error_sys(err, errno, "open %s", path);
	if (check_type(path, st.st_mode, err) < 0)
		return -1;
	/* On a block device O_EXCL means: fail when it, or a partition of it, is mounted or otherwise claimed, and
	 * keep it from being mounted meanwhile. It is what keeps a restore from overwriting a living filesystem. */
	int flags = O_CLOEXEC | (writable ? O_RDWR : O_RDONLY) | (writable && S_ISBLK(st.st_mode) ? O_EXCL : 0);
	CLEAN_FD int fd = open(path, flags);
	if (fd < 0 && errno == EBUSY)
		return error_set(err, ERR_BUSY,
		                 "open %s for writing: it, or a partition of it, is in use (mounted, swap, RAID, LVM or encrypted)",
		                 path);
	if (fd < 0)
		return error_sys(err, errno, "open %s%s", path, writable ? " for writing" : "");
	if (block_open_fd(ret, fd, path, writable, err) < 0)
		return -1;
	take_fd(&fd);
	return 0;
}
