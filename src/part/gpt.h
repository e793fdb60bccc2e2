/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside part/ only: one copy of a GPT, loaded and checked. Source: UEFI 2.10 section 5.3.
 */
#ifndef PART_GPT_H
#define PART_GPT_H

#include "part/table.h"

/* Where the fields of a header stand. */
enum {
	GPT_HEADER_SIZE = 12,
	GPT_HEADER_CRC = 16,
	GPT_MY_LBA = 24,
	GPT_ALTERNATE_LBA = 32,
	GPT_FIRST_USABLE = 40,
	GPT_LAST_USABLE = 48,
	GPT_DISK_GUID = 56,
	GPT_ENTRIES_LBA = 72,
	GPT_ENTRY_COUNT = 80,
	GPT_ENTRY_SIZE = 84,
	GPT_ENTRIES_CRC = 88,
	GPT_HEADER_MIN = 92,
};

struct gpt {
	uint8_t *header;       /* its whole sector; NULL: nothing loaded */
	uint8_t *entries;
	size_t entries_len;    /* entry_count * entry_size, at most GPT_ENTRIES_MAX */
	uint32_t header_size, entry_count, entry_size;
	uint64_t lba, alternate_lba, first_usable, last_usable, entries_lba;
};

/* 8192 entries of the usual 128 bytes; usual are 128. */
#define GPT_ENTRIES_MAX (1 << 20)

void gpt_done(struct gpt *g);
#define CLEAN_GPT CLEAN(gpt_done)

/* The copy whose header stands at lba, both CRCs checked. Leaves ret empty (.header NULL) when it does not check; fails
 * when it cannot be read or memory is out. */
int gpt_load(struct gpt *ret, struct block *disk, uint32_t sector, uint64_t lba, struct error *err);

#endif
