/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the codecs of this folder share: reading and writing of single fields, and the attributes that nodes and
 * the root of a volume have in common. Private to repo/format. See docs/FORMAT.md, "Conventions" and "Attributes".
 *
 * Every value has exactly one encoding: a field that a presence bit announces never holds the value that its absence means,
 * and the readers here refuse it where it does.
 */
#ifndef REPO_FORMAT_FIELDS_H
#define REPO_FORMAT_FIELDS_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"
#include "repo/format/node.h"

#define NODE_OWNER_MAX 1024u       /* bytes of a user's or group's name */
#define NODE_XATTR_NAME_MAX 1024u  /* Linux allows 255 */
#define NODE_NOTE_MAX 4096u
#define FIELD_LENGTH_MAX ((uint64_t)INT64_MAX) /* no file, disk or position goes beyond */
#define NS_PER_SECOND 1000000000u

/* Presence bits of a node, and of attributes alone (those of ATTR_BITS); the frequent ones fit into two bytes. */
enum {
	NODE_CONTENT = 1u << 0,
	NODE_TREE = 1u << 1,
	ATTR_MTIME_NS = 1u << 2,      /* mtime is not on a full second */
	ATTR_CTIME = 1u << 3,         /* ctime differs from mtime */
	ATTR_BTIME = 1u << 4,         /* has_btime */
	ATTR_BTIME_DIFFERS = 1u << 5, /* and it differs from mtime */
	ATTR_UID = 1u << 6,
	ATTR_GID = 1u << 7,
	ATTR_USER = 1u << 8,
	ATTR_GROUP = 1u << 9,
	ATTR_INO = 1u << 10,
	ATTR_DEV = 1u << 11,
	ATTR_SIZE = 1u << 12,
	ATTR_NLINK = 1u << 13,        /* is not 1 */
	ATTR_RDEV = 1u << 14,
	ATTR_FLAGS = 1u << 15,
	ATTR_XATTRS = 1u << 16,
	ATTR_LINK = 1u << 17,
	NODE_INCOMPLETE = 1u << 18,
	NODE_NOTE = 1u << 19,
	NODE_BITS_END = 1u << 20,
	ATTR_BITS = (NODE_BITS_END - 1) & ~(NODE_CONTENT | NODE_TREE | NODE_INCOMPLETE | NODE_NOTE),
};

/* cursor_varint, with the case of one byte in line. */
static inline uint64_t field_varint(struct cursor *c)
{
	if (!c->bad && c->p < c->end && *c->p < 0x80)
		return *c->p++;
	return cursor_varint(c);
}
/* At most max; more makes the cursor bad. */
static inline uint64_t field_max(struct cursor *c, uint64_t max)
{
	uint64_t v = field_varint(c);
	if (v > max) {
		c->bad = true;
		return 0;
	}
	return v;
}
/* 1 to max: a field that is only there because it is not 0. */
static inline uint64_t field_set(struct cursor *c, uint64_t max)
{
	uint64_t v = field_max(c, max);
	if (v == 0)
		c->bad = true;
	return v;
}
static inline int64_t field_svarint(struct cursor *c)
{
	uint64_t v = field_varint(c);
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
static inline struct id field_id(struct cursor *c)
{
	struct id id = { { 0 } };
	const uint8_t *p = cursor_take(c, ID_SIZE);
	if (p)
		memcpy(id.b, p, ID_SIZE);
	return id;
}
static inline void field_add_id(struct buf *b, const struct id *id)
{
	buf_add(b, id->b, ID_SIZE);
}
bool field_is_zero(const uint8_t *p, size_t len);
/* CRC-32C (Castagnoli, reflected 0x82f63b78, start and final xor 0xffffffff). Slow: for heads. */
uint32_t field_crc32c(const uint8_t *p, size_t len);

/* le32 below 1 000 000 000. */
uint32_t field_ns(struct cursor *c);
/* svarint seconds, le32 nanoseconds. */
void field_add_time(struct buf *b, struct time_ns t);
struct time_ns field_time(struct cursor *c);
/* The same, seconds as the difference to base; equal to base: bad. */
void field_add_time_after(struct buf *b, struct time_ns t, struct time_ns base);
struct time_ns field_time_after(struct cursor *c, struct time_ns base);
/* A copy with a terminating zero in *ret, which was NULL. A zero byte within, or over max: bad. -1: out of memory. */
int field_text(struct cursor *c, size_t max, char **ret);

/* Which of ATTR_BITS a has. */
uint32_t attr_bits(const struct attr *a);
/* The fields that bits announce, in the order of docs/FORMAT.md. */
void attr_encode(struct buf *b, const struct attr *a, uint32_t bits);
/* Fills *ret, which is all zero; on failure the caller calls attr_done. */
int attr_decode(struct attr *ret, struct cursor *c, uint32_t bits, struct error *err);

void content_encode(struct buf *b, const struct content *content);
/* Fills *ret, which is all zero; on failure the caller calls content_done. *ret_sum: of the parts when inline, else 0. */
int content_decode(struct content *ret, struct cursor *c, uint64_t *ret_sum, struct error *err);
/* Of the parts held in memory; over FIELD_LENGTH_MAX: UINT64_MAX. */
uint64_t content_sum(const struct content *content);

#endif
