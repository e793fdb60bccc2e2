/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "block/block.h"

#include <inttypes.h>
#include <string.h>

static int check_range(const struct block *b, const char *what, uint64_t offset, uint64_t len, struct error *err)
{
	if (offset <= b->size && len <= b->size - offset)
		return 0;
	return error_set(err, ERR_INVALID, "%s %" PRIu64 " bytes at %" PRIu64 " of %s: it has only %" PRIu64 " bytes",
	                 what, len, offset, b->label, b->size);
}

static int check_writable(const struct block *b, const char *what, struct error *err)
{
	if (b->ops->write)
		return 0;
	return error_set(err, ERR_INVALID, "%s %s: it was opened for reading only", what, b->label);
}

int block_read(struct block *b, uint64_t offset, void *data, size_t len, struct error *err)
{
	if (check_range(b, "read", offset, len, err) < 0)
		return -1;
	return len ? b->ops->read(b, offset, data, len, err) : 0;
}

int block_write(struct block *b, uint64_t offset, const void *data, size_t len, struct error *err)
{
	if (check_writable(b, "write", err) < 0 || check_range(b, "write", offset, len, err) < 0)
		return -1;
	return len ? b->ops->write(b, offset, data, len, err) : 0;
}

int block_extents(struct block *b, uint64_t offset, uint64_t len, block_extent_fn fn, void *cookie,
                  struct error *err)
{
	if (check_range(b, "map", offset, len, err) < 0)
		return -1;
	if (!len)
		return 0;
	if (!b->ops->extents)
		return fn(cookie, offset, len, BLOCK_DATA);
	return b->ops->extents(b, offset, len, fn, cookie, err);
}

void block_prefetch(struct block *b, uint64_t offset, uint64_t len)
{
	if (b->ops->prefetch && len && check_range(b, "prefetch", offset, len, NULL) == 0)
		b->ops->prefetch(b, offset, len);
}

int block_write_zeros(struct block *b, uint64_t offset, uint64_t len, struct error *err)
{
	/* Not const, so that it lies in .bss and not in the program's file. Never written. */
	static uint8_t zeros[1 << 18];
	while (len) {
		size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
		if (block_write(b, offset, zeros, n, err) < 0)
			return -1;
		offset += n;
		len -= n;
	}
	return 0;
}

int block_zero(struct block *b, uint64_t offset, uint64_t len, struct error *err)
{
	if (check_writable(b, "zero", err) < 0 || check_range(b, "zero", offset, len, err) < 0)
		return -1;
	if (!len)
		return 0;
	if (!b->ops->zero)
		return block_write_zeros(b, offset, len, err);
	return b->ops->zero(b, offset, len, err);
}

void block_discard(struct block *b, uint64_t offset, uint64_t len)
{
	if (b->ops->write && b->ops->discard && len && check_range(b, "discard", offset, len, NULL) == 0)
		b->ops->discard(b, offset, len);
}

int block_sync(struct block *b, struct error *err)
{
	return b->ops->write && b->ops->sync ? b->ops->sync(b, err) : 0;
}

void block_free(struct block *b)
{
	if (b)
		b->ops->free(b);
}

bool block_is_zero(const void *data, size_t len)
{
	/* The first bytes settle nearly all data that is not zero. The rest is compared with itself, shifted by
	 * that much: memcmp is the fastest vector loop that every C library has. */
	const uint8_t *p = data;
	size_t head = len < 16 ? len : 16;
	for (size_t i = 0; i < head; i++)
		if (p[i])
			return false;
	return len == head || memcmp(p, p + head, len - head) == 0;
}
