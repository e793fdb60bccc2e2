/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A node as it goes into a tree: what is written is what every reader accepts. */
#ifndef CAPTURE_RECORD_H
#define CAPTURE_RECORD_H

#include "repo/format/node.h"

/* Replaces *record by the encoded node. A node that no reader would accept (a damaged filesystem has links without a target, sizes beyond all bounds) is reduced
 * to its name and a note; *why then says what was wrong (kind ERR_NONE otherwise). -1: out of memory. */
int record_node(struct buf *record, struct node *node, struct error *why);

#endif
