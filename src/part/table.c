/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "part/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void table_init(struct table *l, struct part_table *t, const struct block *disk, uint32_t sector)
{
	*l = (struct table){ .t = t, .sectors = disk->size / sector };
	t->sector = sector;
}

void table_problem(struct table *l, const char *fmt, ...)
{
	l->misfit = true;
	if (++l->problems == 1) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(l->t->problem, sizeof l->t->problem - 32, fmt, ap);
		va_end(ap);
		l->text_len = strlen(l->t->problem);
		return;
	}
	snprintf(l->t->problem + l->text_len, sizeof l->t->problem - l->text_len, " (and %u more)", l->problems - 1);
}

/* Where an entry at this offset belongs in the ascending list. */
static size_t find_place(const struct part_table *t, uint64_t offset)
{
	size_t low = 0, high = t->count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (t->parts[mid].offset < offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const struct part *find_overlap(const struct part_table *t, size_t place, const struct part *p)
{
	if (place > 0 && t->parts[place - 1].offset + t->parts[place - 1].size > p->offset)
		return &t->parts[place - 1];
	if (place < t->count && p->offset + p->size > t->parts[place].offset)
		return &t->parts[place];
	return NULL;
}

static int insert(struct part_table *t, size_t place, const struct part *p, struct error *err)
{
	if ((t->count & (t->count - 1)) == 0) { /* full at every power of two */
		struct part *grown = realloc(t->parts, (t->count ? 2 * t->count : 1) * sizeof *grown);
		if (!grown)
			return error_set(err, ERR_NOMEM, "out of memory");
		t->parts = grown;
	}
	memmove(t->parts + place + 1, t->parts + place, (t->count - place) * sizeof *t->parts);
	t->parts[place] = *p;
	t->count++;
	return 0;
}

int table_add(struct table *l, const struct part *p, uint64_t first, uint64_t count, struct error *err)
{
	struct part_table *t = l->t;
	if (first >= l->sectors || count == 0) {
		table_problem(l, "partition %u lies outside of the disk", p->number);
		return 0;
	}
	bool cut = count > l->sectors - first;
	if (cut)
		count = l->sectors - first;
	struct part fitted = *p;
	fitted.offset = first * t->sector;
	fitted.size = count * t->sector;

	size_t place = find_place(t, fitted.offset);
	const struct part *other = find_overlap(t, place, &fitted);
	if (other) {
		table_problem(l, "partition %u overlaps partition %u and was left out", p->number, other->number);
		return 0;
	}
	if (t->count == TABLE_PARTS_MAX) {
		table_problem(l, "partition %u is one too many and was left out", p->number);
		return 0;
	}
	if (cut)
		table_problem(l, "partition %u reaches past the end of the disk and was cut there", p->number);
	return insert(t, place, &fitted, err);
}
