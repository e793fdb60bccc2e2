/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/made.h"

#include <stdlib.h>
#include <string.h>

#include "base/clean.h"

void made_note(struct made *m, const char *name)
{
	CLEAN_FREE char *copy = strdup(name);
	char **grown = copy ? realloc(m->names, (m->count + 1) * sizeof *grown) : NULL;
	if (!grown)
		return;
	m->names = grown;
	grown[m->count++] = TAKE(copy);
}

char *made_take(struct made *m)
{
	return m->count ? m->names[--m->count] : NULL;
}

void made_done(struct made *m)
{
	for (size_t i = 0; i < m->count; i++)
		free(m->names[i]);
	free(m->names);
	*m = (struct made){ NULL, 0 };
}
