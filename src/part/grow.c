/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A GPT made for a smaller disk, brought to the end of the disk that it now stands on. */
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "part/gpt.h"

struct place {
	uint32_t sector;
	uint64_t last;        /* the disk's last sector: where the backup header belongs */
	uint64_t array;       /* sectors that the array of entries takes */
	uint64_t last_usable;
};

static int find_place(struct place *ret, const struct block *disk, const struct part_table *t, const struct gpt *g,
                      struct error *err)
{
	struct place p = { .sector = t->sector, .array = (g->entries_len + t->sector - 1) / t->sector };
	uint64_t sectors = disk->size / t->sector;
	if (sectors < 2 * p.array + 3)
		return error_set(err, ERR_NO_SPACE, "%s is too small for its partition table", disk->label);
	p.last = sectors - 1;
	p.last_usable = p.last - p.array - 1;
	if (p.last_usable < g->first_usable)
		return error_set(err, ERR_NO_SPACE, "%s is too small for its partition table", disk->label);
	for (size_t i = 0; i < t->count; i++)
		if (t->parts[i].offset + t->parts[i].size > (p.last_usable + 1) * t->sector)
			return error_set(err, ERR_NO_SPACE, "%s is too small: partition %u reaches where the backup table belongs",
			                 disk->label, t->parts[i].number);
	*ret = p;
	return 0;
}

/* g's header as it has to stand in one of the two places. */
static int write_header(struct block *disk, const struct gpt *g, const struct place *p, bool backup,
                        uint64_t entries_lba, struct error *err)
{
	uint64_t lba = backup ? p->last : 1;
	CLEAN_FREE uint8_t *h = calloc(1, p->sector);
	if (!h)
		return error_set(err, ERR_NOMEM, "out of memory");
	memcpy(h, g->header, g->header_size);
	put_le64(h + GPT_MY_LBA, lba);
	put_le64(h + GPT_ALTERNATE_LBA, backup ? 1 : p->last);
	put_le64(h + GPT_LAST_USABLE, p->last_usable);
	put_le64(h + GPT_ENTRIES_LBA, entries_lba);
	put_le32(h + GPT_HEADER_CRC, 0);
	put_le32(h + GPT_HEADER_CRC, gpt_crc(h, g->header_size));
	return block_write(disk, lba * p->sector, h, p->sector, err);
}

/* The array first and the header last: what is half written does not check, so the other copy is taken. */
static int write_copy(struct block *disk, const struct gpt *g, const struct place *p, bool backup, uint64_t entries_lba,
                      struct error *err)
{
	if (block_write(disk, entries_lba * p->sector, g->entries, g->entries_len, err) < 0 || block_sync(disk, err) < 0)
		return -1;
	if (write_header(disk, g, p, backup, entries_lba, err) < 0)
		return -1;
	return block_sync(disk, err);
}

/* The one entry of a protective MBR covers the disk, or says FFFFFFFF. A hybrid MBR is its owner's business. */
static int grow_protective(struct block *disk, const struct place *p, struct error *err)
{
	uint8_t boot[512];
	if (block_read(disk, 0, boot, sizeof boot, err) < 0)
		return -1;
	uint8_t *entry = NULL;
	for (unsigned i = 0; i < 4; i++) {
		uint8_t *e = boot + MBR_ENTRIES + (size_t)i * MBR_ENTRY_SIZE;
		if (e[4] && entry)
			return 0;
		if (e[4])
			entry = e;
	}
	if (get_le16(boot + 510) != 0xaa55 || !entry || entry[4] != MBR_TYPE_GPT || get_le32(entry + 8) != 1 ||
	    get_le32(entry + 12) == UINT32_MAX)
		return 0;
	memset(entry + 5, 0xff, 3); /* the last sector as cylinder, head, sector: cannot be expressed */
	put_le32(entry + 12, p->last < UINT32_MAX ? (uint32_t)p->last : UINT32_MAX);
	if (block_write(disk, 0, boot, sizeof boot, err) < 0)
		return -1;
	return block_sync(disk, err);
}

/* Where the primary's array is to stand: where it does, or, rebuilt from the backup, right after its header. */
static int primary_array(uint64_t *ret, const struct block *disk, const struct gpt *g, const struct place *p,
                         bool primary_bad, struct error *err)
{
	uint64_t lba = primary_bad ? 2 : g->entries_lba;
	if (lba + p->array > g->first_usable)
		return error_set(err, ERR_CORRUPT, "%s: its partition table leaves no room for itself", disk->label);
	*ret = lba;
	return 0;
}

static int load_either(struct gpt *ret, struct block *disk, const struct part_table *t, bool *ret_primary_bad,
                       struct error *err)
{
	struct gpt g = { 0 };
	struct error ignored = { 0 };
	*ret_primary_bad = gpt_load(&g, disk, t->sector, 1, &ignored) < 0 || !g.header;
	if (*ret_primary_bad && t->backup_offset && gpt_load(&g, disk, t->sector, t->backup_offset / t->sector, err) < 0)
		return -1;
	if (!g.header)
		return error_set(err, ERR_CORRUPT, "%s: neither copy of its partition table is intact", disk->label);
	*ret = g;
	return 0;
}

int part_gpt_grow(struct block *disk, const struct part_table *t, struct error *err)
{
	CLEAN_GPT struct gpt g = { 0 };
	struct place p;
	bool primary_bad = false;
	uint64_t array = 0;
	if (t->kind != PART_GPT)
		return 0;
	if (load_either(&g, disk, t, &primary_bad, err) < 0 || find_place(&p, disk, t, &g, err) < 0)
		return -1;
	if ((primary_bad ? g.lba : g.alternate_lba) >= p.last)
		return 0; /* the disk is no larger than the one that the table was made for */
	if (primary_array(&array, disk, &g, &p, primary_bad, err) < 0)
		return -1;

	/* The new backup may lie over the old one, so the copy that is known to be good is written last. */
	if (primary_bad && write_copy(disk, &g, &p, false, array, err) < 0)
		return error_add(err, "repair the partition table");
	if (write_copy(disk, &g, &p, true, p.last - p.array, err) < 0)
		return error_add(err, "move the backup partition table to the end");
	if (!primary_bad && write_copy(disk, &g, &p, false, array, err) < 0)
		return error_add(err, "update the partition table");
	return grow_protective(disk, &p, err);
}
