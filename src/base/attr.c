/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/attr.h"

#include <stdlib.h>
#include <string.h>

#include "base/clean.h"

void attr_done(struct attr *a)
{
	free(a->user);
	free(a->group);
	for (size_t i = 0; i < a->xattr_count; i++) {
		free(a->xattrs[i].name);
		free(a->xattrs[i].value);
	}
	free(a->xattrs);
	free(a->link);
	memset(a, 0, sizeof *a);
}

static int copy_bytes(uint8_t **ret, const void *src, size_t len)
{
	*ret = NULL;
	if (!src)
		return 0;
	*ret = malloc(len ? len : 1);
	if (!*ret)
		return -1;
	memcpy(*ret, src, len);
	return 0;
}

static int copy_text(char **ret, const char *src)
{
	*ret = src ? strdup(src) : NULL;
	return src && !*ret ? -1 : 0;
}

int attr_add_xattr(struct attr *a, const char *name, const void *value, size_t size)
{
	struct xattr *grown = realloc(a->xattrs, (a->xattr_count + 1) * sizeof *grown);
	if (!grown)
		return -1;
	a->xattrs = grown;
	struct xattr x = { .size = size };
	if (copy_text(&x.name, name) < 0)
		return -1;
	if (copy_bytes(&x.value, value, size) < 0) {
		free(x.name);
		return -1;
	}
	a->xattrs[a->xattr_count++] = x;
	return 0;
}

int attr_copy(struct attr *ret, const struct attr *src)
{
	struct attr a = *src;
	a.user = a.group = NULL;
	a.xattrs = NULL;
	a.xattr_count = 0;
	a.link = NULL;
	if (copy_text(&a.user, src->user) < 0 || copy_text(&a.group, src->group) < 0 ||
	    copy_bytes(&a.link, src->link, src->link_len) < 0)
		goto failed;
	for (size_t i = 0; i < src->xattr_count; i++)
		if (attr_add_xattr(&a, src->xattrs[i].name, src->xattrs[i].value, src->xattrs[i].size) < 0)
			goto failed;
	*ret = a;
	return 0;
failed:
	attr_done(&a);
	return -1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct xattr *)a)->name, ((const struct xattr *)b)->name);
}

void attr_sort_xattrs(struct attr *a)
{
	if (a->xattr_count > 1)
		qsort(a->xattrs, a->xattr_count, sizeof *a->xattrs, by_name);
}
