/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/filter.h"

#include <string.h>

const char *const filter_kinds[] = { "all", "files", "image", NULL };

static bool list_has(const struct blob_list *l, const char *text)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->items[i].data, text) == 0)
			return true;
	return false;
}

/* Whether path is one of the sources, or lies below one. */
static bool holds_path(const struct blob_list *sources, const char *path)
{
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	for (size_t i = 0; i < sources->count; i++) {
		const struct blob *source = &sources->items[i];
		bool below = source->len <= len && memcmp(source->data, path, source->len) == 0;
		if (below && (source->len == len || path[source->len] == '/' || (source->len == 1 && source->data[0] == '/')))
			return true;
	}
	return false;
}

bool filter_is_set(const struct snapshot_filter *f)
{
	return f->hosts.count || f->paths.count || f->tags.count || f->kind;
}

bool filter_takes(const struct snapshot_filter *f, const struct snapshot *s)
{
	bool host = f->hosts.count == 0, path = f->paths.count == 0, tag = f->tags.count == 0;
	if (f->kind && (f->kind == 2) != (s->kind == SNAPSHOT_IMAGE))
		return false;
	for (size_t i = 0; i < f->hosts.count && !host; i++)
		host = strcmp(s->host, f->hosts.items[i]) == 0;
	for (size_t i = 0; i < f->paths.count && !path; i++)
		path = holds_path(&s->sources, f->paths.items[i]);
	for (size_t i = 0; i < f->tags.count && !tag; i++)
		tag = list_has(&s->tags, f->tags.items[i]);
	return host && path && tag;
}
