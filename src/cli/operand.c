/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/operand.h"

#include <string.h>

int operand_snapshot(struct repo *repo, const char *text, struct snapshot *ret, struct id *ret_id, const char **ret_path, struct error *err)
{
	size_t len = strcspn(text, ":");
	CLEAN_FREE char *name = strndup(text, len);
	if (!name)
		return error_set(err, ERR_NOMEM, "find a snapshot: out of memory");
	if (repo_snapshot_find(repo, name, ret_id, ret, err) < 0)
		return -1;
	*ret_path = text[len] ? text + len + 1 : "";
	return 0;
}
