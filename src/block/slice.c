/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A window of another block device: a partition of a disk. */
#include <inttypes.h>
#include <stdio.h>

#include "block/block.h"

struct slice {
	struct block b;
	struct block *parent;
	uint64_t start;
};

static struct slice *slice_of(struct block *b)
{
	return (struct slice *)b;
}

static int slice_read(struct block *b, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct slice *s = slice_of(b);
	if (block_read(s->parent, s->start + offset, data, len, err) < 0)
		return error_add(err, "%s", b->label);
	return 0;
}

static int slice_write(struct block *b, uint64_t offset, const void *data, size_t len, struct error *err)
{
	struct slice *s = slice_of(b);
	if (block_write(s->parent, s->start + offset, data, len, err) < 0)
		return error_add(err, "%s", b->label);
	return 0;
}

struct shifted {
	uint64_t start;
	block_extent_fn fn;
	void *cookie;
};

static int shift_extent(void *cookie, uint64_t offset, uint64_t len, enum block_extent kind)
{
	struct shifted *s = cookie;
	return s->fn(s->cookie, offset - s->start, len, kind);
}

static int slice_extents(struct block *b, uint64_t offset, uint64_t len, block_extent_fn fn, void *cookie,
                         struct error *err)
{
	struct slice *s = slice_of(b);
	struct shifted shifted = { s->start, fn, cookie };
	return block_extents(s->parent, s->start + offset, len, shift_extent, &shifted, err);
}

static void slice_prefetch(struct block *b, uint64_t offset, uint64_t len)
{
	block_prefetch(slice_of(b)->parent, slice_of(b)->start + offset, len);
}

static int slice_zero(struct block *b, uint64_t offset, uint64_t len, struct error *err)
{
	struct slice *s = slice_of(b);
	if (block_zero(s->parent, s->start + offset, len, err) < 0)
		return error_add(err, "%s", b->label);
	return 0;
}

static void slice_discard(struct block *b, uint64_t offset, uint64_t len)
{
	block_discard(slice_of(b)->parent, slice_of(b)->start + offset, len);
}

static int slice_sync(struct block *b, struct error *err)
{
	return block_sync(slice_of(b)->parent, err);
}

static void slice_free(struct block *b)
{
	free(b);
}

static const struct block_ops read_only = {
	.name = "slice",
	.read = slice_read,
	.extents = slice_extents,
	.prefetch = slice_prefetch,
	.free = slice_free,
};

static const struct block_ops read_write = {
	.name = "slice",
	.read = slice_read,
	.write = slice_write,
	.extents = slice_extents,
	.prefetch = slice_prefetch,
	.zero = slice_zero,
	.discard = slice_discard,
	.sync = slice_sync,
	.free = slice_free,
};

int block_open_slice(struct block **ret, struct block *parent, uint64_t offset, uint64_t size,
                     const char *label, struct error *err)
{
	if (offset > parent->size || size > parent->size - offset)
		return error_set(err, ERR_INVALID, "%" PRIu64 " bytes at %" PRIu64 " are not within %s of %" PRIu64 " bytes",
		                 size, offset, parent->label, parent->size);
	struct slice *s = calloc(1, sizeof *s);
	if (!s)
		return error_set(err, ERR_NOMEM, "out of memory");
	s->b.ops = parent->ops->write ? &read_write : &read_only;
	s->b.size = size;
	s->b.sector = parent->sector;
	snprintf(s->b.label, sizeof s->b.label, "%s", label);
	s->parent = parent;
	s->start = offset;
	*ret = &s->b;
	return 0;
}
