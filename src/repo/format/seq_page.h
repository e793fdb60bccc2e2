/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One page of a sequence: its parts, and the check that seq_next and seq_walk_pages rely on. Private to repo/ (the check verifies page by page); the layout stands in seq.h. */
#ifndef REPO_FORMAT_SEQ_PAGE_H
#define REPO_FORMAT_SEQ_PAGE_H

#include "repo/format/seq.h"

struct seq_key {
	const uint8_t *bytes; /* NULL: before all keys */
	size_t len;
};

/* What a branch says of a page below it, and what a page's records add up to. */
struct seq_summary {
	uint64_t span, records;
	struct seq_key last; /* key of the last record; len 0 for kinds without keys */
};

struct seq_child {
	struct id id;
	struct seq_summary sum;
};

struct seq_page {
	uint8_t level;
	uint64_t count;
	const uint8_t *records, *end;
};

/* memcmp order, shorter first. */
int seq_key_compare(struct seq_key a, struct seq_key b);
/* Key and span of a record; the key points into the record. Does not look at the rest of it. ERR_CORRUPT. */
int seq_record_info(enum seq_kind kind, const uint8_t *record, size_t len, struct seq_key *ret_key, uint64_t *ret_span, struct error *err);
/* Head and all records are read and checked: keys ascend strictly from after, spans add up below 2^63, nothing is left over. */
int seq_page_open(struct seq_page *ret, struct seq_summary *ret_sum, enum seq_kind kind, const uint8_t *bytes, size_t len, struct seq_key after,
                  struct error *err);
bool seq_summary_equal(const struct seq_summary *a, const struct seq_summary *b);
/* For pages that were opened: the child or record at *at, which moves behind it. */
struct seq_child seq_child_at(const uint8_t **at, const uint8_t *end);
const uint8_t *seq_record_at(const uint8_t **at, const uint8_t *end, size_t *ret_len);

#endif
