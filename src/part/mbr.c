/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The four entries of an MBR, and the chain of EBRs that an extended partition holds.
 *
 * An EBR has the shape of an MBR. Its first entry is a logical partition, counted from the EBR itself; its second,
 * of an extended type, leads to the next EBR, counted from the start of the extended partition. Numbers and
 * tolerances follow Linux block/partitions/msdos.c, so that p5 here is p5 there.
 */
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "part/table.h"

#define EBR_MAX 256

struct entry {
	uint8_t type;
	bool active;
	uint32_t first, count; /* sectors; what first is relative to depends on where the entry stands */
};

static struct entry decode(const uint8_t boot[512], unsigned i)
{
	const uint8_t *e = mbr_entry(boot, i);
	return (struct entry){ e[4], e[0] == 0x80, get_le32(e + 8), get_le32(e + 12) };
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

/* An extended partition being followed. */
struct chain {
	unsigned number;        /* of the extended partition */
	uint64_t first, count;  /* its sectors */
	uint64_t seen[EBR_MAX]; /* sectors of the EBRs so far */
	size_t seen_count;
};

/* The EBR at sector; false: the chain ends here, which was noted where it is wrong. */
static bool read_ebr(struct table *l, struct chain *c, struct block *disk, uint64_t sector, uint8_t ret_ebr[512])
{
	for (size_t i = 0; i < c->seen_count; i++)
		if (c->seen[i] == sector) {
			table_problem(l, "the chain of extended partition %u runs in a circle", c->number);
			return false;
		}
	if (c->seen_count == EBR_MAX) {
		table_problem(l, "extended partition %u holds more than %d logical ones", c->number, EBR_MAX);
		return false;
	}
	if (sector >= l->sectors) {
		table_problem(l, "the chain of extended partition %u leads out of the disk", c->number);
		return false;
	}
	struct error err = { 0 };
	if (block_read(disk, sector * l->t->sector, ret_ebr, 512, &err) < 0) {
		table_problem(l, "the chain of extended partition %u breaks off: %.120s", c->number, err.text);
		return false;
	}
	c->seen[c->seen_count++] = sector;
	if (get_le16(ret_ebr + 510) == 0xaa55)
		return true;
	if (c->seen_count == 1 && block_is_zero(ret_ebr, 512))
		l->misfit = true; /* an extended partition nobody put anything in: fine, unless another sector size fits better */
	else
		table_problem(l, "the chain of extended partition %u breaks off at sector %" PRIu64, c->number, sector);
	return false;
}

/* Entries 3 and 4 of an EBR are normally empty; old OS/2 used them, others leave garbage there. */
static bool is_plausible_extra(const struct chain *c, uint64_t first, uint64_t count)
{
	return first >= c->first && first - c->first <= c->count && count <= c->count - (first - c->first);
}

static int read_chain(struct table *l, struct block *disk, struct chain *c, unsigned *next_number, struct error *err)
{
	uint8_t ebr[512];
	uint64_t at = c->first;
	while (read_ebr(l, c, disk, at, ebr)) {
		uint64_t link = 0;
		for (unsigned i = 0; i < 4; i++) {
			struct entry e = decode(ebr, i);
			if (!e.count)
				continue;
			if (is_extended(e.type)) {
				if (!link)
					link = c->first + e.first;
				continue;
			}
			if (i >= 2 && !is_plausible_extra(c, at + e.first, e.count))
				continue;
			struct part p = { .number = (*next_number)++, .mbr_type = e.type, .bootable = e.active,
			                  .logical = true };
			if (e.type && table_add(l, &p, at + e.first, e.count, err) < 0)
				return -1;
		}
		if (!link)
			break;
		at = link;
	}
	return 0;
}

int mbr_read(struct table *l, struct block *disk, const uint8_t boot[512], struct error *err)
{
	for (unsigned i = 0; i < 4; i++) {
		struct entry e = decode(boot, i);
		struct part p = { .number = i + 1, .mbr_type = e.type, .bootable = e.active };
		if (!e.type || !e.count || is_extended(e.type))
			continue;
		if (e.first == 0) /* as some bootable CD images have it: the table itself would be part of its content */
			table_problem(l, "partition %u begins at the partition table itself and was left out", p.number);
		else if (table_add(l, &p, e.first, e.count, err) < 0)
			return -1;
	}
	unsigned next_number = 5;
	for (unsigned i = 0; i < 4; i++) {
		struct entry e = decode(boot, i);
		if (!is_extended(e.type) || !e.count)
			continue;
		struct chain c = { .number = i + 1, .first = e.first, .count = e.count };
		if (e.first == 0)
			table_problem(l, "extended partition %u begins at the partition table itself", c.number);
		else if (read_chain(l, disk, &c, &next_number, err) < 0)
			return -1;
	}
	return 0;
}
