/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Map: the address space of a disk; records of a SEQ_MAP sequence (span = length), which together cover it from 0 to its size.
 * Inode table: records of a SEQ_INODES sequence (key = be64 inode number, span 1), one sequence a filesystem.
 * Pure codecs. See docs/FORMAT.md, "Map" and "Inode table".
 */
#ifndef REPO_FORMAT_MAP_H
#define REPO_FORMAT_MAP_H

#include "repo/format/node.h"

enum map_kind {
	MAP_DATA = 0,        /* length bytes of chunk, from .offset in it */
	MAP_ZERO = 1,        /* was read, or is known, to be zeros */
	MAP_UNUSED = 2,      /* the filesystem says free: not stored, reads as zeros */
	MAP_UNREADABLE = 3,  /* the device failed to give it: reads as zeros, restores as zeros, is warned about */
};

#define MAP_LENGTH_MAX (((uint64_t)1 << 62) - 1)

struct map_range {
	enum map_kind kind;
	uint64_t length;     /* bytes, not 0; at most MAP_LENGTH_MAX, of data at most SEAL_BLOCK_MAX */
	struct id chunk;     /* MAP_DATA */
	uint32_t offset;     /* MAP_DATA: where in the chunk */
	uint32_t chunk_length; /* MAP_DATA: size of the whole chunk */
};

void map_range_encode(struct buf *b, const struct map_range *r);
int map_range_decode(struct map_range *ret, const uint8_t *record, size_t len, struct error *err);

/* A physical run of a file. Its end, logical and physical, is at most 2^63 - 1. */
struct inode_extent {
	uint64_t logical, physical, length; /* bytes; physical from the start of the filesystem */
	bool unwritten;
};

struct inode_record {
	uint64_t number;
	uint32_t generation;
	uint64_t size;
	struct time_ns mtime, ctime;
	struct inode_extent *extents; /* ascending by logical, not overlapping; owned */
	size_t extent_count;
	bool has_content;
	struct content content;
};

void inode_record_done(struct inode_record *r);
void inode_record_encode(struct buf *b, const struct inode_record *r);
int inode_record_decode(struct inode_record *ret, const uint8_t *record, size_t len, struct error *err);
void inode_record_key(uint64_t number, uint8_t ret[8]);

#endif
