/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/folders.h"

#include <stdlib.h>
#include <string.h>

#include "base/clean.h"

void folders_add(struct folders *f, const char *name)
{
	CLEAN_FREE char *copy = strdup(name);
	char **grown = copy ? realloc(f->names, (f->count + 1) * sizeof *grown) : NULL;
	if (!grown)
		return;
	f->names = grown;
	grown[f->count++] = TAKE(copy);
}

bool folders_have(const struct folders *f, const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->names[i], name) == 0)
			return true;
	return false;
}

char *folders_take(struct folders *f)
{
	return f->count ? f->names[--f->count] : NULL;
}

void folders_done(struct folders *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->names[i]);
	free(f->names);
	*f = (struct folders){ NULL, 0 };
}
