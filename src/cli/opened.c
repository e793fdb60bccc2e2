/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/opened.h"

#include <stdlib.h>
#include <string.h>

#include "cli/operand.h"
#include "cli/text.h"

int opened_snapshot(struct opened *ret, struct repo *repo, const char *text, struct error *err)
{
	char hex[ID_HEX_SIZE];
	if (operand_snapshot(repo, text, &ret->snapshot, &ret->id, &ret->path, err) < 0)
		return -1;
	if (view_open(&ret->view, repo, &ret->snapshot, err) < 0) {
		snapshot_done(&ret->snapshot);
		return -1;
	}
	id_to_hex(&ret->id, hex);
	snprintf(ret->name, sizeof ret->name, "%.16s", hex);
	ret->path_len = strlen(ret->path);
	return 0;
}

int opened_node(const struct opened *o, struct node *ret, struct error *err)
{
	bool found;
	if (view_lookup(o->view, o->path, o->path_len, &found, ret, err) < 0)
		return error_add(err, "snapshot %s", o->name);
	if (found)
		return 0;
	CLEAN_FREE char *path = text_escaped(o->path, o->path_len);
	return error_set(err, ERR_NOT_FOUND, "snapshot %s has no %s; see: twofold ls %s", o->name, path ? path : "such path", o->name);
}

void opened_done(struct opened *o)
{
	if (!o->view)
		return;
	view_free(o->view);
	snapshot_done(&o->snapshot);
	o->view = NULL;
}
