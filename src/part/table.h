/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside part/ only: how the readers of one kind of table (mbr.c, gpt.c) hand over what they find.
 *
 * A reader adds entries in the order of its table; table_add lets in only what is safe to slice, so the readers
 * need not check ranges or overlaps themselves. One thread.
 */
#ifndef PART_TABLE_H
#define PART_TABLE_H

#include "part/part.h"

/* More than any system gives names to (Linux: 256 a disk). */
#define TABLE_PARTS_MAX 1024

struct table {
	struct part_table *t;   /* what is filled in; .sector is set before the first entry is added */
	uint64_t sectors;       /* whole sectors of the disk */
	bool misfit;            /* something was not as it should be, named or not: another sector size may fit better */
	unsigned problems;
	size_t text_len;        /* of the first problem's text */
};

void table_init(struct table *l, struct part_table *t, const struct block *disk, uint32_t sector);

/* Notes what was refused; the first text is kept, the others are counted. */
void table_problem(struct table *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts a copy of p, with offset and size from first and count (sectors), in its place. An entry outside of the disk or
 * over one that was added before is refused, one that reaches past the end is cut there; both are noted. Fails only
 * when memory is out. */
int table_add(struct table *l, const struct part *p, uint64_t first, uint64_t count, struct error *err);

/* An MBR entry begins at 446 and has 16 bytes: boot flag, CHS, type, CHS, first sector, number of sectors. */
#define MBR_ENTRIES 446
#define MBR_ENTRY_SIZE 16
#define MBR_TYPE_GPT 0xee

static inline const uint8_t *mbr_entry(const uint8_t boot[512], unsigned i)
{
	return boot + MBR_ENTRIES + (size_t)i * MBR_ENTRY_SIZE;
}

/* boot: the disk's first 512 bytes, already judged to be an MBR. */
int mbr_read(struct table *l, struct block *disk, const uint8_t boot[512], struct error *err);

/* *ret_found false when neither copy under any of the sector sizes checks. Fails when memory is out, or
 * when nothing was found and a copy could not be read. */
int gpt_read(struct part_table *ret, struct block *disk, const uint32_t *sectors, size_t sector_count, bool *ret_found,
             struct error *err);

/* The CRC of GPT (and zlib, Ethernet). */
uint32_t gpt_crc(const void *data, size_t len);

#endif
