/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/record.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int reduce(struct node *node, const struct error *why)
{
	uint64_t ino = node->attr.ino;
	attr_done(&node->attr);
	node->attr = (struct attr){ .mode = S_IFREG, .ino = ino, .nlink = 1 };
	content_done(&node->content);
	node->content = (struct content){ 0 };
	node->has_content = node->has_tree = false;
	node->incomplete = true;
	free(node->note);
	node->note = strdup(why->text);
	return node->note ? 0 : -1;
}

static int encode(struct buf *record, const struct node *node)
{
	buf_clear(record);
	node_encode(record, node);
	return buf_ok(record) ? 0 : -1;
}

int record_node(struct buf *record, struct node *node, struct error *why)
{
	struct node check = { 0 };
	error_clear(why);
	if (encode(record, node) < 0)
		return -1;
	if (node_decode(&check, record->data, record->len, why) == 0) {
		node_done(&check);
		return 0;
	}
	if (why->kind == ERR_NOMEM)
		return -1;
	return reduce(node, why) < 0 ? -1 : encode(record, node);
}
