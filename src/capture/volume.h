/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One region of a disk on its way into the repository: a partition, a bare filesystem, or a gap. Used by image.c only.
 *
 * Three steps: volume_plan looks at the filesystem and lists what has to be read (pieces, in physical order); volume_read reads, cuts and stores them on the pool;
 * volume_trees makes the file tree and the inode table. All offsets in here are relative to the region's start.
 */
#ifndef CAPTURE_VOLUME_H
#define CAPTURE_VOLUME_H

#include <pthread.h>
#include <stdatomic.h>

#include "capture/image.h"
#include "fs/fs.h"
#include "repo/format/map.h"
#include "task/pool.h"

/* A run of bytes that is a part of a chunk. */
struct stored_range {
	uint64_t at, length;
	struct id chunk;
	uint32_t offset, chunk_length;
};

struct byte_range {
	uint64_t at, length;
};

/* A regular file of the filesystem. */
struct volume_file {
	uint64_t inode, size;
	uint32_t generation;
	struct time_ns mtime, ctime;
	struct fs_extent *extents; /* as the reader gave them; owned */
	size_t extent_count;
	struct content content;
	bool has_content;          /* content is stored */
	bool failed;               /* the device did not give all of it */
};

enum piece_kind { PIECE_FILE, PIECE_WINDOW };

struct piece {
	uint64_t at;      /* where its first byte lies: what pieces are sorted by */
	uint32_t kind;
	uint32_t count;   /* PIECE_WINDOW: how many ranges of .ranges from .first */
	size_t first;     /* PIECE_FILE: row of files; PIECE_WINDOW: row of ranges */
};

struct image {
	const struct capture_image_options *options;
	struct writer *writer;
	struct pool *pool;
	struct block *disk;
	uint8_t **scratch; /* one a slot, STREAM_SCRATCH bytes */
	_Atomic uint64_t bytes_read, warnings;
	uint64_t files, dirs, others;
};

struct volume {
	struct image *image;
	struct block *block;       /* the region; owned */
	uint64_t offset;           /* of the region on the disk */
	uint32_t number;           /* of the partition; 0: bare filesystem or gap */
	bool gap;
	struct fs *fs;             /* NULL: nobody understands it, or raw */
	struct fs_info info;       /* what it is, also where fs is NULL */
	char reason[240];          /* why it is stored raw, or "" */
	uint32_t window;           /* bytes */
	/* plan */
	struct volume_file *files; /* ascending by inode */
	size_t file_count, file_cap;
	struct byte_range *used;   /* ascending; NULL for raw regions */
	size_t used_count, used_cap;
	struct byte_range *ranges; /* what windows are made of; ascending */
	size_t range_count, range_cap;
	struct piece *pieces;      /* ascending */
	size_t piece_count, piece_cap;
	uint64_t planned;          /* bytes in pieces */
	/* results */
	pthread_mutex_t lock;      /* guards the three below */
	struct stored_range *stored;
	size_t stored_count, stored_cap;
	struct byte_range *unreadable;
	size_t unreadable_count, unreadable_cap;
	_Atomic uint64_t accounted; /* bytes that were read (or are unreadable) and stored or seen to be zero */
	bool has_tree;
	struct id tree, inodes;
	struct attr root_attr;
};

/* Looks at the region and lists the pieces. block becomes the volume's. */
int volume_plan(struct volume *v, struct error *err);
/* Reads and stores everything. From outside of the pool; waits. */
int volume_read(struct volume *v, struct error *err);
/* For a volume with fs: stores tree and inode table. From outside of the pool, which must be idle. */
int volume_trees(struct volume *v, unsigned slot, struct error *err);
void volume_done(struct volume *v);

/* The file's size, and what of its last block is read together with it. */
uint64_t volume_whole(const struct volume *v, const struct volume_file *file);

void image_complain(struct image *image, const struct error *err);
/* Grows an array of items of size bytes for one more; -1: out of memory. */
int image_grow(void **items, size_t count, size_t *cap, size_t size);

#endif
