/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Entries and snapshots as text and as JSON objects. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "cli/cli.h"
#include "repo/format/document.h"
#include "repo/format/node.h"

/* "file", "folder", "symlink", "fifo", "socket", "block", "char". */
const char *show_type(uint32_t mode);
/* Prints path, made safe for a terminal, with the details of "ls -l" in front where they are wanted. path NULL: the node's name. */
void show_entry(struct cli *cli, const struct node *node, const char *path, size_t path_len, bool details);
/* Everything that is stored of the entry but its content: {"type": type, ...}. NULL when memory is out (cli_json reports that). */
json_t *show_entry_json(const char *type, const struct node *node, const char *path, size_t path_len);
/* Appends the list's texts, made safe for a terminal, with commas between them, and a zero byte. */
void show_joined(struct buf *b, const struct blob_list *l);
/* Everything that the snapshot's document says. */
json_t *show_snapshot_json(const struct id *id, const struct snapshot *s);

#endif
