/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A block device in the caller's memory: for tests, fuzzers, and what is small. */
#include <stdio.h>
#include <string.h>

#include "block/block.h"

struct memory {
	struct block b;
	uint8_t *data;
};

static uint8_t *place(struct block *b, uint64_t offset)
{
	return ((struct memory *)b)->data + offset;
}

static int memory_read(struct block *b, uint64_t offset, void *data, size_t len, struct error *err)
{
	(void)err;
	memcpy(data, place(b, offset), len);
	return 0;
}

static int memory_write(struct block *b, uint64_t offset, const void *data, size_t len, struct error *err)
{
	(void)err;
	memcpy(place(b, offset), data, len);
	return 0;
}

static int memory_zero(struct block *b, uint64_t offset, uint64_t len, struct error *err)
{
	(void)err;
	memset(place(b, offset), 0, (size_t)len);
	return 0;
}

static int memory_sync(struct block *b, struct error *err)
{
	(void)b;
	(void)err;
	return 0;
}

static void memory_free(struct block *b)
{
	free(b);
}

static const struct block_ops read_only = {
	.name = "memory",
	.read = memory_read,
	.free = memory_free,
};

static const struct block_ops read_write = {
	.name = "memory",
	.read = memory_read,
	.write = memory_write,
	.zero = memory_zero,
	.sync = memory_sync,
	.free = memory_free,
};

int block_open_memory(struct block **ret, void *data, size_t size, bool writable, struct error *err)
{
	struct memory *m = calloc(1, sizeof *m);
	if (!m)
		return error_set(err, ERR_NOMEM, "out of memory");
	m->b.ops = writable ? &read_write : &read_only;
	m->b.size = size;
	m->b.sector = 512;
	snprintf(m->b.label, sizeof m->b.label, "memory");
	m->data = data;
	*ret = &m->b;
	return 0;
}
