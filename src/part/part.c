/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "part/part.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "part/table.h"

/* Sector sizes worth trying: what the disk says, then what disks and the cases around them otherwise say. */
static size_t sector_candidates(const struct block *disk, uint32_t ret[3])
{
	size_t n = 0;
	const uint32_t wanted[] = { disk->sector, 512, 4096 };
	for (size_t i = 0; i < 3; i++)
		if (i == 0 || wanted[i] != disk->sector)
			ret[n++] = wanted[i];
	return n;
}

static bool has_gpt_entry(const uint8_t boot[512])
{
	for (unsigned i = 0; i < 4; i++)
		if (mbr_entry(boot, i)[4] == MBR_TYPE_GPT)
			return true;
	return false;
}

/* A BIOS parameter block: FAT, and NTFS, exFAT, BitLocker and ReFS, which keep its shape. A boot loader's MBR
 * leaves this area empty, or fills it with code that does not pass for one. */
static bool is_filesystem_boot(const uint8_t boot[512])
{
	static const char systems[][9] = { "NTFS    ", "EXFAT   ", "-FVE-FS-", "ReFS\0\0\0\0" };
	for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
		if (memcmp(boot + 3, systems[i], 8) == 0)
			return true;
	if (boot[0] != 0xeb && boot[0] != 0xe9)
		return false;
	uint16_t sector = get_le16(boot + 11), reserved = get_le16(boot + 14);
	uint8_t cluster = boot[13], fats = boot[16], media = boot[21];
	return sector >= 512 && sector <= 4096 && (sector & (sector - 1)) == 0 && cluster && (cluster & (cluster - 1)) == 0 &&
	       reserved && fats >= 1 && fats <= 4 && (media == 0xf0 || media >= 0xf8);
}

/* Code or random bytes that happen to end in 55AA rarely have a possible value in all four places. */
static bool is_mbr(const uint8_t boot[512])
{
	static const uint8_t aix[4] = { 0xc9, 0xc2, 0xd4, 0xc1 };
	for (unsigned i = 0; i < 4; i++)
		if (mbr_entry(boot, i)[0] & 0x7f)
			return false;
	return memcmp(boot, aix, 4) != 0;
}

/* Whether the whole disk is one filesystem, volume or raid member: a table without a single
 * partition that can be used is then only a boot sector. */
static int is_bare(struct block *disk, bool *ret, struct error *err)
{
	static const struct {
		uint32_t offset;
		uint8_t len;
		const char *magic;
	} known[] = {
		{ 0, 4, "XFSB" }, { 0, 6, "LUKS\xba\xbe" }, { 0, 4, "hsqs" }, { 512, 8, "LABELONE" },
		{ 1024, 4, "\x10\x20\xf5\xf2" /* f2fs */ }, { 1080, 2, "\x53\xef" /* ext */ }, { 4086, 10, "SWAPSPACE2" },
		{ 4096, 4, "\xfc\x4e\x2b\xa9" /* md 1.2 */ }, { 32769, 5, "CD001" }, { 65600, 8, "_BHRfS_M" /* btrfs */ },
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		uint8_t found[16];
		if (disk->size < known[i].offset + known[i].len)
			continue;
		if (block_read(disk, known[i].offset, found, known[i].len, err) < 0)
			return -1;
		if (memcmp(found, known[i].magic, known[i].len) == 0) {
			*ret = true;
			return 0;
		}
	}
	*ret = false;
	return 0;
}

/* Entries under the disk's sector size; under another only when all of them fit there, and under the first not. */
static int read_entries(struct part_table *ret, struct block *disk, const uint8_t boot[512], const uint32_t *sectors,
                        size_t sector_count, bool *ret_misfit, struct error *err)
{
	struct part_table first = { .kind = PART_NONE };
	for (size_t i = 0; i < sector_count; i++) {
		struct part_table t = { .kind = PART_MBR, .mbr_signature = get_le32(boot + 440) };
		struct table l;
		table_init(&l, &t, disk, sectors[i]);
		if (mbr_read(&l, disk, boot, err) < 0) {
			part_table_done(&t);
			part_table_done(&first);
			return -1;
		}
		if (!l.misfit) {
			part_table_done(&first);
			*ret = t;
			*ret_misfit = false;
			return 0;
		}
		if (i == 0)
			first = t;
		else
			part_table_done(&t);
	}
	*ret = first;
	*ret_misfit = true;
	return 0;
}

/* Leaves ret as it is when the entries are not those of a table. */
static int read_mbr(struct part_table *ret, struct block *disk, const uint8_t boot[512], const uint32_t *sectors,
                    size_t sector_count, struct error *err)
{
	struct part_table t;
	bool misfit = false, bare = false;
	if (read_entries(&t, disk, boot, sectors, sector_count, &misfit, err) < 0)
		return -1;
	if (is_filesystem_boot(boot)) /* a table can follow what is left of a boot sector, but then it is faultless */
		bare = misfit || t.count == 0;
	else if (t.count == 0 && is_bare(disk, &bare, err) < 0)
		return -1;
	if (bare)
		part_table_done(&t);
	else
		*ret = t;
	return 0;
}

int part_read(struct part_table *ret, struct block *disk, struct error *err)
{
	struct part_table t = { .kind = PART_NONE, .sector = disk->sector };
	uint8_t boot[512];
	uint32_t sectors[3];
	size_t sector_count = sector_candidates(disk, sectors);
	if (disk->size >= sizeof boot && block_read(disk, 0, boot, sizeof boot, err) < 0)
		return error_add(err, "read the partition table");
	if (disk->size < sizeof boot || get_le16(boot + 510) != 0xaa55) {
		*ret = t;
		return 0;
	}
	/* Without a protective MBR a GPT does not count, here as in Linux: it is what a disk was before. */
	bool gpt = has_gpt_entry(boot), found = false;
	if (gpt && gpt_read(&t, disk, sectors, sector_count, &found, err) < 0)
		return error_add(err, "read the partition table");
	if (found) {
		t.mbr_signature = get_le32(boot + 440);
	} else if (gpt) {
		if (is_mbr(boot) && !is_filesystem_boot(boot))
			snprintf(t.problem, sizeof t.problem,
			         "the disk is marked as GPT, but neither copy of its table is intact");
	} else if (is_mbr(boot) && read_mbr(&t, disk, boot, sectors, sector_count, err) < 0) {
		return error_add(err, "read the partition table");
	}
	*ret = t;
	return 0;
}

void part_table_done(struct part_table *t)
{
	free(t->parts);
	*t = (struct part_table){ 0 };
}

const char *part_table_name(enum part_table_kind kind)
{
	switch (kind) {
	case PART_MBR: return "mbr";
	case PART_GPT: return "gpt";
	case PART_NONE: break;
	}
	return "none";
}

void part_guid_text(const uint8_t guid[16], char ret[37])
{
	snprintf(ret, 37, "%08X-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X", get_le32(guid), get_le16(guid + 4),
	         get_le16(guid + 6), guid[8], guid[9], guid[10], guid[11], guid[12], guid[13], guid[14], guid[15]);
}
