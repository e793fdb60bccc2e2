/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An entry of the snapshot log: object log/ID, kind 8, a field list. docs/FORMAT.md, "Snapshot log". Pure.
 */
#ifndef REPO_FORMAT_LOG_H
#define REPO_FORMAT_LOG_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

#define LOG_ADDED_SIZE (2 * ID_SIZE) /* a snapshot's id, and the hash of its payload */

/* All lists ascend by id, each id once. */
struct log_entry {
	struct time_ns time;
	char *host;           /* who wrote it; owned; "" where unknown */
	struct buf before;    /* ids of the entries that it follows */
	struct buf added;     /* LOG_ADDED_SIZE bytes each */
	struct buf forgotten; /* ids of snapshots */
	struct buf replaced;  /* ids of entries for which this one stands */
};

void log_entry_done(struct log_entry *e);
void log_entry_encode(struct buf *b, const struct log_entry *e);
int log_entry_decode(struct log_entry *ret, const uint8_t *bytes, size_t len, struct error *err);

#endif
