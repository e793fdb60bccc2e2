/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/carries.h"

#include <stdio.h>
#include <string.h>

#include "fs/fs.h"
#include "part/part.h"

/* Labels come from a disk: what a terminal must not get becomes '?'. */
static void clean_text(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

/* "ext4 \"root\"", or "" */
static void name_filesystem(struct block *b, char *ret, size_t size)
{
	struct fs_info info = { 0 };
	ret[0] = 0;
	if (fs_identify(b, &info, NULL) < 0 || !info.type[0])
		return;
	clean_text(info.label);
	if (info.label[0])
		snprintf(ret, size, "%s \"%s\"", info.type, info.label);
	else
		snprintf(ret, size, "%s", info.type);
}

static void describe_table(struct block *b, const struct part_table *t, struct buf *ret)
{
	buf_list(ret, "a partition table (%s) with %zu partition%s", part_table_name(t->kind), t->count, t->count == 1 ? "" : "s");
	for (size_t i = 0; i < t->count; i++) {
		CLEAN_BLOCK struct block *slice = NULL;
		char name[128];
		if (block_open_slice(&slice, b, t->parts[i].offset, t->parts[i].size, "", NULL) < 0)
			continue;
		name_filesystem(slice, name, sizeof name);
		if (name[0])
			buf_list(ret, "p%u %s", t->parts[i].number, name);
	}
}

int carries_describe(struct block *b, struct buf *ret, struct error *err)
{
	struct part_table t = { .count = 0 };
	if (part_read(&t, b, err) < 0)
		return -1;
	char name[128];
	if (t.kind != PART_NONE) {
		describe_table(b, &t, ret);
	} else {
		name_filesystem(b, name, sizeof name);
		if (name[0])
			buf_list(ret, "a filesystem: %s", name);
	}
	part_table_done(&t);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "look at %s: out of memory", b->label);
}
