/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/gaps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void gaps_init(struct gaps *g)
{
	memset(g, 0, sizeof *g);
	pthread_mutex_init(&g->lock, NULL);
}

void gaps_done(struct gaps *g)
{
	pthread_mutex_destroy(&g->lock);
}

static void keep_path(char *ret, size_t size, const char *folder, const char *name)
{
	int len = snprintf(NULL, 0, "%s%s%s", folder, *folder && *name ? "/" : "", name);
	if ((size_t)len < size)
		snprintf(ret, size, "%s%s%s", folder, *folder && *name ? "/" : "", name);
	else
		snprintf(ret, size, ".../%s", *name ? name : strrchr(folder, '/') ? strrchr(folder, '/') + 1 : folder);
}

void gaps_note(struct gaps *g, const struct apply_report *report, const char *folder, const char *name)
{
	if (!report->missing)
		return;
	pthread_mutex_lock(&g->lock);
	g->entries++;
	for (int kind = 0; kind < APPLY_KINDS; kind++) {
		if (!(report->missing & 1u << kind) || g->kinds[kind].count++)
			continue;
		g->kinds[kind].sys = report->sys[kind];
		keep_path(g->kinds[kind].first, sizeof g->kinds[kind].first, folder, name);
		if (kind == APPLY_XATTRS)
			memcpy(g->kinds[kind].xattr, report->xattr, sizeof report->xattr);
	}
	pthread_mutex_unlock(&g->lock);
}

void gaps_warn(struct gaps *g, const struct warner *w)
{
	for (int kind = 0; kind < APPLY_KINDS; kind++) {
		if (!g->kinds[kind].count)
			continue;
		struct error what = { 0 };
		int sys = g->kinds[kind].sys;
		const char *xattr = kind == APPLY_XATTRS ? g->kinds[kind].xattr : "";
		bool hint = geteuid() != 0 && (sys == EPERM || sys == EACCES);
		char reason[128];
		error_set(&what, ERR_AUTH, "%s of %" PRIu64 " entr%s could not be set, or not in full; the first: %s%s%s%s: %s%s", apply_kind_name(kind),
		          g->kinds[kind].count, g->kinds[kind].count == 1 ? "y" : "ies", g->kinds[kind].first, *xattr ? " (" : "", xattr, *xattr ? ")" : "",
		          strerror_r(sys, reason, sizeof reason), hint ? " (this needs root)" : "");
		warn(w, &what);
	}
}
