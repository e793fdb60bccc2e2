/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/cache.h"

#include <string.h>

#define LINES 64
#define LINE_SIZE ((size_t)64 << 10)
#define NO_LINE UINT64_MAX

struct cache {
	struct block *block;
	uint64_t clock;
	unsigned last;            /* the line of the latest hit: the next read is often in it too */
	uint64_t where[LINES];    /* offset / LINE_SIZE, or NO_LINE */
	uint64_t used_at[LINES];
	uint8_t *data[LINES];     /* allocated at first use */
};

struct cache *cache_new(struct block *b)
{
	struct cache *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->block = b;
	for (unsigned i = 0; i < LINES; i++)
		c->where[i] = NO_LINE;
	return c;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < LINES; i++)
		free(c->data[i]);
	free(c);
}

static size_t line_length(const struct cache *c, uint64_t line)
{
	uint64_t left = c->block->size - line * LINE_SIZE;
	return left < LINE_SIZE ? (size_t)left : LINE_SIZE;
}

static unsigned find(struct cache *c, uint64_t line)
{
	if (c->where[c->last] == line)
		return c->last;
	for (unsigned i = 0; i < LINES; i++)
		if (c->where[i] == line)
			return i;
	return LINES;
}

static unsigned oldest(const struct cache *c)
{
	unsigned best = 0;
	for (unsigned i = 1; i < LINES; i++)
		if (c->used_at[i] < c->used_at[best])
			best = i;
	return best;
}

/* LINES when it could not be filled: the caller then reads without the cache. */
static unsigned fill(struct cache *c, uint64_t line)
{
	unsigned i = oldest(c);
	c->where[i] = NO_LINE;
	if (!c->data[i])
		c->data[i] = malloc(LINE_SIZE);
	if (!c->data[i] || block_read(c->block, line * LINE_SIZE, c->data[i], line_length(c, line), NULL) < 0)
		return LINES;
	c->where[i] = line;
	return i;
}

int cache_read(struct cache *c, uint64_t offset, void *data, size_t len, struct error *err)
{
	if (len >= LINE_SIZE || offset > c->block->size || len > c->block->size - offset)
		return block_read(c->block, offset, data, len, err); /* which names a range outside of the device */
	uint8_t *to = data;
	while (len) {
		uint64_t line = offset / LINE_SIZE;
		size_t at = (size_t)(offset % LINE_SIZE);
		size_t n = LINE_SIZE - at < len ? LINE_SIZE - at : len;
		unsigned i = find(c, line);
		if (i == LINES)
			i = fill(c, line);
		if (i == LINES)
			return block_read(c->block, offset, to, len, err);
		memcpy(to, c->data[i] + at, n);
		c->used_at[i] = ++c->clock;
		c->last = i;
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}
