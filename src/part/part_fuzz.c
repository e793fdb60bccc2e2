/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as a disk: what part_read hands out must be safe to slice, and a table that grows keeps its partitions.
 * The last byte chooses the sector size. Where a GPT header stands, its CRCs are made right first, or the
 * fuzzer would hardly ever pass them; a wrong byte in the header's own CRC keeps them as they are.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "part/gpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void fix_crcs(uint8_t *disk, uint64_t size, uint64_t sector, uint64_t at)
{
	if (at + sector > size || memcmp(disk + at, "EFI PART", 8) != 0)
		return;
	uint8_t *h = disk + at;
	uint64_t entries = get_le64(h + GPT_ENTRIES_LBA), header_size = get_le32(h + GPT_HEADER_SIZE);
	uint64_t len = (uint64_t)get_le32(h + GPT_ENTRY_COUNT) * get_le32(h + GPT_ENTRY_SIZE);
	if (get_le32(h + GPT_HEADER_CRC) == 0)
		return;
	if (entries < size / sector && len <= size - entries * sector && len <= GPT_ENTRIES_MAX)
		put_le32(h + GPT_ENTRIES_CRC, gpt_crc(disk + entries * sector, len));
	if (header_size <= sector) {
		put_le32(h + GPT_HEADER_CRC, 0);
		put_le32(h + GPT_HEADER_CRC, gpt_crc(h, header_size));
	}
}

static void check_table(const struct part_table *t, const struct block *disk)
{
	uint64_t end = 0;
	require(t->kind != PART_NONE || t->count == 0);
	for (size_t i = 0; i < t->count; i++) {
		const struct part *p = &t->parts[i];
		require(p->number && p->offset >= t->sector && p->offset >= end && p->size >= t->sector);
		end = p->offset + p->size;
		require(end > p->offset && end <= disk->size && strlen(p->name) < sizeof p->name);
	}
	require(strlen(t->problem) < sizeof t->problem);
}

/* The table of a disk that has grown says the same of its partitions, except that none is cut short any more. */
static void check_grown(struct block *disk, const struct part_table *before)
{
	struct part_table t;
	struct error err = { 0 };
	if (part_gpt_grow(disk, before, &err) < 0) {
		require(err.text[0]);
		return;
	}
	require(part_read(&t, disk, &err) == 0);
	check_table(&t, disk);
	require(t.kind == PART_GPT && t.count >= before->count);
	part_table_done(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 1 << 20)
		return 0;
	const size_t extra = 64 << 10;
	uint32_t sector = data[--size] & 1 ? 4096 : 512;
	uint8_t *copy = malloc(size + extra);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	memset(copy + size, 0, extra);
	for (uint64_t s = 512; s <= 4096; s *= 8) {
		fix_crcs(copy, size, s, s);
		fix_crcs(copy, size, s, size < s ? 0 : (size / s - 1) * s);
	}
	struct block *disk = NULL;
	struct part_table t;
	require(block_open_memory(&disk, copy, size, true, NULL) == 0);
	disk->sector = sector;
	if (part_read(&t, disk, NULL) == 0) {
		check_table(&t, disk);
		disk->size += extra;
		if (t.kind == PART_GPT)
			check_grown(disk, &t);
		part_table_done(&t);
	}
	block_free(disk);
	free(copy);
	return 0;
}
