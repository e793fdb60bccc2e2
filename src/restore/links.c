/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/links.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void links_done(struct links *l)
{
	for (size_t i = 0; i < l->cap; i++) {
		if (l->slots[i])
			free(l->slots[i]->path);
		free(l->slots[i]);
	}
	free(l->slots);
	*l = (struct links){ 0 };
}

/* splitmix64's finisher: inode numbers are anything but uniform. */
static uint64_t mix(uint64_t v)
{
	v ^= v >> 30;
	v *= 0xbf58476d1ce4e5b9u;
	v ^= v >> 27;
	v *= 0x94d049bb133111ebu;
	return v ^ v >> 31;
}

static size_t place(const struct links *l, uint64_t dev, uint64_t ino)
{
	size_t at = (size_t)mix(mix(dev) ^ ino) & (l->cap - 1);
	while (l->slots[at] && (l->slots[at]->dev != dev || l->slots[at]->ino != ino))
		at = (at + 1) & (l->cap - 1);
	return at;
}

struct link_group *links_find(const struct links *l, uint64_t dev, uint64_t ino)
{
	return l->cap ? l->slots[place(l, dev, ino)] : NULL;
}

static int grow(struct links *l)
{
	struct links grown = { .cap = l->cap ? l->cap * 2 : 256, .count = l->count };
	grown.slots = calloc(grown.cap, sizeof(struct link_group *));
	if (!grown.slots)
		return -1;
	for (size_t i = 0; i < l->cap; i++)
		if (l->slots[i])
			grown.slots[place(&grown, l->slots[i]->dev, l->slots[i]->ino)] = l->slots[i];
	free(l->slots);
	*l = grown;
	return 0;
}

static uint64_t mix_bytes(uint64_t sum, const void *data, size_t len)
{
	for (const uint8_t *p = data; len--; p++)
		sum = (sum ^ *p) * 0x100000001b3u;
	return mix(sum);
}

uint64_t links_content(const struct node *node)
{
	const struct attr *a = &node->attr;
	uint64_t sum = mix((uint64_t)(a->mode & S_IFMT) ^ mix(a->size) ^ mix(a->rdev + 1));
	if (a->link)
		sum = mix_bytes(sum, a->link, a->link_len);
	if (!node->has_content)
		return sum;
	if (node->content.paged)
		return mix_bytes(sum, node->content.root.b, ID_SIZE);
	for (size_t i = 0; i < node->content.count; i++) {
		const struct content_part *p = &node->content.parts[i];
		sum = mix(sum ^ p->length ^ (uint64_t)p->kind << 63);
		if (p->kind == CONTENT_CHUNK)
			sum = mix_bytes(sum, p->chunk.b, ID_SIZE);
	}
	return sum;
}

struct link_group *links_add(struct links *l, uint64_t dev, uint64_t ino, const struct node *node, const char *path)
{
	if (l->count * 4 >= l->cap * 3 && grow(l) < 0)
		return NULL;
	struct link_group *g = calloc(1, sizeof *g);
	char *copy = strdup(path);
	if (!g || !copy) {
		free(g);
		free(copy);
		return NULL;
	}
	g->dev = dev;
	g->ino = ino;
	g->path = copy;
	g->content = links_content(node);
	g->flags = node->attr.flags & (ATTR_FLAG_IMMUTABLE | ATTR_FLAG_APPEND);
	l->slots[place(l, dev, ino)] = g;
	l->count++;
	return g;
}
