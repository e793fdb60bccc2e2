/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A node: one entry of a directory, and one record of a SEQ_ENTRIES sequence (key = name, span 1).
 * Content: what a regular file's bytes are made of; inode-table records (SEQ_INODES) use the same encoding.
 * Pure codecs: bytes in, structs out. See docs/FORMAT.md, "Node" and "Content".
 */
#ifndef REPO_FORMAT_NODE_H
#define REPO_FORMAT_NODE_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

#define NODE_NAME_MAX 1024u        /* bytes; Linux allows 255, other filesystems up to 3 times that as UTF-8 */
#define NODE_LINK_MAX (64u << 10)
#define NODE_XATTR_MAX (1u << 20)  /* bytes of one value */
#define NODE_XATTRS_MAX 4096u
#define CONTENT_INLINE_MAX 32u     /* parts; more go into a SEQ_CONTENT sequence */

enum content_part_kind { CONTENT_CHUNK = 0, CONTENT_HOLE = 1 };

/* One run of a file's bytes. Record of SEQ_CONTENT (span = length). */
struct content_part {
	enum content_part_kind kind;
	uint64_t length;   /* bytes, not 0; a chunk's is its size */
	struct id chunk;   /* CONTENT_CHUNK */
};

/* The parts in file order; their lengths add up to the file's size. */
struct content {
	bool paged;                 /* the parts are in the sequence at root */
	struct id root;
	struct content_part *parts; /* !paged; owned */
	size_t count;
};

void content_done(struct content *c);
int content_copy(struct content *ret, const struct content *src); /* -1: out of memory */
void content_part_encode(struct buf *b, const struct content_part *p);
int content_part_decode(struct content_part *ret, const uint8_t *record, size_t len, struct error *err);

struct node {
	char *name;          /* bytes, owned, zero-terminated for convenience; name_len without it */
	size_t name_len;
	struct attr attr;
	bool has_content;    /* regular file whose bytes are stored */
	struct content content;
	bool has_tree;       /* directory whose entries are stored: root of a SEQ_ENTRIES sequence */
	struct id tree;
	bool incomplete;     /* content, entries or attributes could not be read in full, or the content changed while it was read */
	char *note;          /* NULL, or why content is missing or opaque ("encrypted"), UTF-8; owned */
};

void node_done(struct node *n);
int node_copy(struct node *ret, const struct node *src); /* -1: out of memory */
void node_encode(struct buf *b, const struct node *n);
/* Refuses (ERR_CORRUPT): empty names, ".", "..", '/' or NUL in a name, lengths over the limits, sizes over 2^63-1, parts that do not add up to the size (when inline),
 * content in what is not a regular file, a tree in what is not a directory, unsorted xattrs, left-over bytes. */
int node_decode(struct node *ret, const uint8_t *record, size_t len, struct error *err);
/* Just the name, in place: for searching a page without decoding it. */
int node_decode_name(const uint8_t *record, size_t len, const uint8_t **ret_name, size_t *ret_len, struct error *err);

#endif
