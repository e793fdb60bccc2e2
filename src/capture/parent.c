/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/parent.h"

static bool same_things(const struct snapshot *a, const struct snapshot *b)
{
	if (a->kind != b->kind || strcmp(a->host, b->host) != 0 || a->sources.count != b->sources.count)
		return false;
	for (size_t i = 0; i < a->sources.count; i++)
		if (a->sources.items[i].len != b->sources.items[i].len ||
		    memcmp(a->sources.items[i].data, b->sources.items[i].data, a->sources.items[i].len) != 0)
			return false;
	return true;
}

int capture_find_parent(struct repo *repo, const struct snapshot *s, bool *ret_found, struct id *ret_id, struct snapshot *ret, struct error *err)
{
	struct snapshot_list list = { 0 };
	*ret_found = false;
	if (seal_is_write_only(repo->keys))
		return 0; /* it reads none */
	if (repo_snapshots(repo, &list, err) < 0)
		return error_add(err, "find the last backup of the same things");
	for (size_t i = list.count; i-- > 0 && !*ret_found;) {
		/* What a write-only key wrote may say anything: nothing is taken over from it unread. */
		if (list.items[i].snapshot.has_writer || !same_things(s, &list.items[i].snapshot))
			continue;
		*ret_found = true;
		*ret_id = list.items[i].id;
		*ret = list.items[i].snapshot;
		list.items[i].snapshot = (struct snapshot){ 0 };
	}
	snapshot_list_done(&list);
	return 0;
}
