/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "part/gpt.h"

#include <string.h>

#include "base/bytes.h"

uint32_t gpt_crc(const void *data, size_t len)
{
	/* The remainders of the 16 values of half a byte under the reversed polynomial EDB88320. */
	static const uint32_t half[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	const uint8_t *p = data;
	uint32_t crc = ~0u;
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ half[crc & 15];
		crc = crc >> 4 ^ half[crc & 15];
	}
	return ~crc;
}

void gpt_done(struct gpt *g)
{
	free(g->header);
	free(g->entries);
	*g = (struct gpt){ 0 };
}

/* The fields of g->header into g; false when they cannot be right. */
static bool decode_header(struct gpt *g, const struct block *disk, uint32_t sector, uint64_t lba)
{
	uint8_t *h = g->header;
	g->header_size = get_le32(h + GPT_HEADER_SIZE);
	if (memcmp(h, "EFI PART", 8) != 0 || g->header_size < GPT_HEADER_MIN || g->header_size > sector)
		return false;
	uint32_t crc = get_le32(h + GPT_HEADER_CRC);
	put_le32(h + GPT_HEADER_CRC, 0);
	uint32_t computed = gpt_crc(h, g->header_size);
	put_le32(h + GPT_HEADER_CRC, crc);
	if (crc != computed)
		return false;

	g->lba = get_le64(h + GPT_MY_LBA);
	g->alternate_lba = get_le64(h + GPT_ALTERNATE_LBA);
	g->first_usable = get_le64(h + GPT_FIRST_USABLE);
	g->last_usable = get_le64(h + GPT_LAST_USABLE);
	g->entries_lba = get_le64(h + GPT_ENTRIES_LBA);
	g->entry_count = get_le32(h + GPT_ENTRY_COUNT);
	g->entry_size = get_le32(h + GPT_ENTRY_SIZE);
	if (g->lba != lba || g->first_usable > g->last_usable)
		return false;
	if (g->entry_size < 128 || g->entry_size > 4096 || g->entry_size % 8)
		return false;
	if (g->entry_count == 0 || g->entry_count > GPT_ENTRIES_MAX / g->entry_size)
		return false;
	g->entries_len = (size_t)g->entry_count * g->entry_size;
	return g->entries_lba >= 2 && g->entries_lba < disk->size / sector &&
	       g->entries_len <= disk->size - g->entries_lba * sector;
}

static int load(struct gpt *g, struct block *disk, uint32_t sector, uint64_t lba, bool *ret_valid, struct error *err)
{
	*ret_valid = false;
	if (lba >= disk->size / sector)
		return 0;
	g->header = malloc(sector);
	if (!g->header)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (block_read(disk, lba * sector, g->header, sector, err) < 0)
		return -1;
	if (!decode_header(g, disk, sector, lba))
		return 0;
	g->entries = malloc(g->entries_len);
	if (!g->entries)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (block_read(disk, g->entries_lba * sector, g->entries, g->entries_len, err) < 0)
		return -1;
	*ret_valid = gpt_crc(g->entries, g->entries_len) == get_le32(g->header + GPT_ENTRIES_CRC);
	return 0;
}

int gpt_load(struct gpt *ret, struct block *disk, uint32_t sector, uint64_t lba, struct error *err)
{
	struct gpt g = { 0 };
	bool valid = false;
	int r = load(&g, disk, sector, lba, &valid, err);
	if (!valid)
		gpt_done(&g);
	if (r == 0)
		*ret = g;
	return r;
}

/* A copy that cannot be read is as bad as one that does not check, unless there is no other: err keeps why. */
static int try_copy(struct gpt *ret, struct block *disk, uint32_t sector, uint64_t lba, struct error *err)
{
	struct error local = { 0 };
	if (gpt_load(ret, disk, sector, lba, &local) == 0)
		return 0;
	error_keep_first(err, &local);
	return local.kind == ERR_NOMEM ? -1 : 0;
}

static size_t put_utf8(char *at, uint32_t c)
{
	if (c < 0x80) {
		at[0] = (char)c;
		return 1;
	}
	size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = len - 1; i > 0; i--, c >>= 6)
		at[i] = (char)(0x80 | (c & 0x3f));
	at[0] = (char)((0xf00u >> len & 0xff) | c);
	return len;
}

/* 36 UTF-16 units, zero-terminated when shorter. Half a surrogate pair becomes U+FFFD. */
static void decode_name(const uint8_t name[72], char ret[109])
{
	size_t len = 0;
	for (unsigned i = 0; i < 36; i++) {
		uint32_t c = get_le16(name + 2 * i);
		if (!c)
			break;
		uint32_t low = i + 1 < 36 ? get_le16(name + 2 * (i + 1)) : 0;
		if (c >= 0xd800 && c < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			i++;
		} else if (c >= 0xd800 && c < 0xe000) {
			c = 0xfffd;
		}
		len += put_utf8(ret + len, c);
	}
	ret[len] = 0;
}

static bool covers(uint64_t first, uint64_t last, uint64_t at, uint64_t count)
{
	return first < at + count && at <= last;
}

/* The header and array that were just read must not be content as well. */
static bool lies_over_table(const struct gpt *g, uint32_t sector, uint64_t first, uint64_t last)
{
	uint64_t array = (g->entries_len + sector - 1) / sector;
	return first < 2 || covers(first, last, g->lba, 1) || covers(first, last, g->entries_lba, array);
}

static int add_entry(struct table *l, const struct gpt *g, uint32_t index, struct error *err)
{
	const uint8_t *e = g->entries + (size_t)index * g->entry_size;
	struct part p = { .number = index + 1, .attributes = get_le64(e + 48) };
	if (block_is_zero(e, 16))
		return 0;
	memcpy(p.type_guid, e, 16);
	memcpy(p.guid, e + 16, 16);
	p.bootable = p.attributes & 4;
	decode_name(e + 56, p.name);
	uint64_t first = get_le64(e + 32), last = get_le64(e + 40);
	if (first > last) {
		table_problem(l, "partition %u ends before it begins", p.number);
		return 0;
	}
	if (lies_over_table(g, l->t->sector, first, last)) {
		table_problem(l, "partition %u lies over the partition table itself and was left out", p.number);
		return 0;
	}
	/* last - first + 1 cannot wrap to 0: first is at least 2 here */
	return table_add(l, &p, first, last - first + 1, err);
}

/* What the copy says, with .parts empty so far. */
static struct part_table describe(const struct gpt *g)
{
	struct part_table t = { .kind = PART_GPT, .first_usable = g->first_usable, .last_usable = g->last_usable };
	memcpy(t.disk_guid, g->header + GPT_DISK_GUID, 16);
	return t;
}

static int fill(struct part_table *ret, struct block *disk, uint32_t sector, const struct gpt *g, struct error *err)
{
	struct part_table t = describe(g);
	struct table l;
	table_init(&l, &t, disk, sector);
	for (uint32_t i = 0; i < g->entry_count; i++)
		if (add_entry(&l, g, i, err) < 0) {
			part_table_done(&t);
			return -1;
		}
	*ret = t;
	return 0;
}

/* The backup stands where the primary says, which is not the end once the disk has grown; else at the end. */
static int load_backup(struct gpt *ret, struct block *disk, uint32_t sector, const struct gpt *primary,
                       struct error *err)
{
	uint64_t sectors = disk->size / sector, last = sectors ? sectors - 1 : 0;
	struct gpt g = { 0 };
	if (primary->header && primary->alternate_lba > 1 && try_copy(&g, disk, sector, primary->alternate_lba, err) < 0)
		return -1;
	if (!g.header && last > 1 && primary->alternate_lba != last && try_copy(&g, disk, sector, last, err) < 0)
		return -1;
	*ret = g;
	return 0;
}

int gpt_read(struct part_table *ret, struct block *disk, const uint32_t *sectors, size_t sector_count, bool *ret_found,
             struct error *err)
{
	CLEAN_GPT struct gpt primary = { 0 };
	CLEAN_GPT struct gpt backup = { 0 };
	struct error local = { 0 };
	uint32_t sector = 0;
	int r = 0;
	for (size_t i = 0; r == 0 && i < sector_count && !primary.header; i++)
		r = try_copy(&primary, disk, sector = sectors[i], 1, &local);
	if (r == 0 && primary.header)
		r = load_backup(&backup, disk, sector, &primary, &local);
	else
		for (size_t i = 0; r == 0 && i < sector_count && !backup.header; i++)
			r = load_backup(&backup, disk, sector = sectors[i], &primary, &local);

	const struct gpt *use = primary.header ? &primary : &backup;
	if (r < 0 || (!use->header && local.kind)) {
		if (err)
			*err = local;
		return -1;
	}
	*ret_found = use->header;
	if (!use->header)
		return 0;
	if (fill(ret, disk, sector, use, err) < 0)
		return -1;
	ret->primary_bad = !primary.header;
	ret->backup_bad = !backup.header;
	ret->backup_offset = backup.header ? backup.lba * sector : 0;
	return 0;
}
