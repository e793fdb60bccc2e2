/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Field lists: le16 version, then (varint tag, blob) with ascending tags. Private to repo/format; see docs/FORMAT.md, "Field lists".
 *
 * Writing: tags_begin, then tag_* in ascending order; a value is first put into a scratch buffer, since its length goes in front of it.
 * Reading: tags_open, then tags_next until it says there is no more; the value is a cursor of its own, which must be used up (tag_end).
 */
#ifndef REPO_FORMAT_TAGS_H
#define REPO_FORMAT_TAGS_H

#include "repo/format/fields.h"

#define TAG_TEXT_MAX (64u << 10)

void tags_begin(struct buf *b);
/* The value's bytes; when value failed for want of memory, so does b. Empties value. */
void tag_put(struct buf *b, unsigned tag, struct buf *value);
/* NULL and "" are not stored. */
void tag_put_text(struct buf *b, unsigned tag, const char *text);
void tag_put_id(struct buf *b, unsigned tag, const struct id *id);
void tag_put_time(struct buf *b, unsigned tag, struct time_ns t);

struct tags {
	struct cursor list;
	const char *what;     /* "snapshot", for errors */
	uint64_t tag;         /* of the current field; 0 before the first */
	struct cursor value;
	uint64_t seen;        /* bit n: tag n was there (n below 64) */
};

/* Checks the version. */
int tags_open(struct tags *t, const char *what, const void *bytes, size_t len, struct error *err);
/* Goes to the next field; *ret_more false at the end. A tag whose bit is in once must not come again (one that this version does not know may). */
int tags_next(struct tags *t, uint64_t once, bool *ret_more, struct error *err);
/* The current field is one that this version does not know: passes over it when its tag is odd, else ERR_UNSUPPORTED. */
int tag_unknown(const struct tags *t, struct error *err);
/* The value was sound and is used up. */
int tag_end(const struct tags *t, struct error *err);
/* All of the value; not "" and no zero byte within. *ret is replaced. */
int tag_text(struct tags *t, char **ret, struct error *err);
/* Every bit of tags must have been seen, none of others. */
int tags_require(const struct tags *t, uint64_t tags, uint64_t others, struct error *err);

#define TAG_BIT(tag) ((uint64_t)1 << (tag))

#endif
