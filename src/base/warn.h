/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a layer reports what it survived: a file it could not read, a page it had to do without. The upper layer counts, prints and sets the exit code. */
#ifndef BASE_WARN_H
#define BASE_WARN_H

#include "base/error.h"

struct warner {
	void (*fn)(void *cookie, const struct error *err); /* from any thread; must not block for long */
	void *cookie;
};

/* w may be NULL: nobody wants to know. */
static inline void warn(const struct warner *w, const struct error *err)
{
	if (w && w->fn)
		w->fn(w->cookie, err);
}

#endif
