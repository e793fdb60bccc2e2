/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A disk as named slices: MBR with its chain of EBRs, GPT (either header), or no table at all.
 *
 * Everything read here is hostile: overlapping, out-of-range and looping entries are refused one by one and
 * named in .problem; what remains is safe to slice. Of two that overlap, the one listed earlier in the table stays. One
 * that reaches past the end of the disk is cut there (a disk copied onto a smaller one: what is left of the
 * partition is worth having) and named too. An extended partition is not listed, its logical ones are.
 * part_read writes nothing. One call, one thread.
 * Sources: UEFI 2.10 section 5 (GPT, protective MBR); the MBR and EBR layout as in Linux block/partitions/msdos.c.
 */
#ifndef PART_PART_H
#define PART_PART_H

#include "block/block.h"

enum part_table_kind { PART_NONE, PART_MBR, PART_GPT };

struct part {
	unsigned number;      /* as Linux numbers it: 1 to 4 primary, 5 and up logical; GPT: entry index + 1 */
	uint64_t offset;      /* bytes from the start of the disk */
	uint64_t size;        /* bytes, at least one sector */
	uint8_t mbr_type;     /* 0 for GPT */
	bool bootable;        /* MBR active flag, or GPT legacy-boot attribute */
	bool logical;
	uint8_t type_guid[16], guid[16]; /* GPT, as on disk (mixed endian); zero for MBR */
	uint64_t attributes;  /* GPT */
	char name[109];       /* GPT name as UTF-8 (36 UTF-16 units at most), "" for MBR */
};

struct part_table {
	enum part_table_kind kind;
	uint32_t sector;       /* the sector size under which the table made sense */
	uint32_t mbr_signature;
	uint8_t disk_guid[16];
	uint64_t first_usable, last_usable; /* GPT, in sectors */
	uint64_t backup_offset;             /* GPT: byte offset of the backup header, 0 unknown */
	bool primary_bad, backup_bad;       /* GPT: which copy did not check (not named in .problem) */
	struct part *parts;    /* ascending by offset, none overlapping */
	size_t count;
	char problem[256];     /* "" or what was refused and why, for a warning */
};

/* PART_NONE when there is no table (a bare filesystem, or nothing known): not an error. A boot sector of
 * a filesystem (FAT, NTFS) that carries the 55AA signature is not a table. Fails only when reading does. */
int part_read(struct part_table *ret, struct block *disk, struct error *err);
void part_table_done(struct part_table *t);
/* "mbr", "gpt", "none". */
const char *part_table_name(enum part_table_kind kind);
/* 36 characters and a zero: the text form of a mixed-endian GUID. */
void part_guid_text(const uint8_t guid[16], char ret[37]);

/* After a GPT disk was written onto a larger device: moves backup header and array to the end, corrects both
 * headers' fields and CRCs and the protective MBR's size (not a hybrid one's). Does nothing for other tables, or when
 * the disk is no larger than the one that the table was made for. A bad primary copy is made anew from the backup.
 * At every moment one copy on the disk is intact. ERR_NO_SPACE when a partition reaches where the backup belongs. */
int part_gpt_grow(struct block *disk, const struct part_table *t, struct error *err);

#endif
