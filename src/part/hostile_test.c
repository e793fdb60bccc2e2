/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tables that lie, made by hand in memory: each is read to its end, and what is wrong is left out and named. */
#include "part/test_disk.h"

#include "base/bytes.h"
#include "part/gpt.h"

#define DISK_SECTORS 20000
static uint8_t disk[DISK_SECTORS * 512];

static void put_entry(uint64_t sector, unsigned i, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t *boot = disk + sector * 512, *e = boot + MBR_ENTRIES + (size_t)i * MBR_ENTRY_SIZE;
	e[4] = type;
	put_le32(e + 8, first);
	put_le32(e + 12, count);
	put_le16(boot + 510, 0xaa55);
}

static struct part_table read_memory(void)
{
	struct error err = { 0 };
	CLEAN_BLOCK struct block *b = NULL;
	assert_int_equal(block_open_memory(&b, disk, sizeof disk, false, &err), 0);
	return read_table(b);
}

/* Reads the disk, expects so many partitions and this in .problem, and clears the disk. */
static void expect(enum part_table_kind kind, size_t count, const char *problem)
{
	struct part_table t = read_memory();
	uint64_t end = 0;
	for (size_t i = 0; i < t.count; i++) {
		assert_true(t.parts[i].offset >= end && t.parts[i].size >= t.sector);
		end = t.parts[i].offset + t.parts[i].size;
		assert_true(end <= sizeof disk);
	}
	if (t.kind != kind || t.count != count || (problem[0] ? !strstr(t.problem, problem) : t.problem[0]))
		fail_msg("expected %s, %zu, \"%s\"; got %s, %zu, \"%s\"", part_table_name(kind), count, problem,
		         part_table_name(t.kind), t.count, t.problem);
	part_table_done(&t);
	memset(disk, 0, sizeof disk);
}

static void chains_end(void **state)
{
	(void)state;
	put_entry(0, 0, 5, 100, 10000); /* leads back to its own first EBR */
	put_entry(100, 0, 0x83, 10, 10);
	put_entry(100, 1, 5, 0, 100);
	expect(PART_MBR, 1, "extended partition 1 runs in a circle");

	put_entry(0, 0, 5, 100, 10000); /* a longer circle */
	put_entry(100, 0, 0x83, 10, 10);
	put_entry(100, 1, 5, 1000, 100);
	put_entry(1100, 0, 0x83, 10, 10);
	put_entry(1100, 1, 5, 2000, 100);
	put_entry(2100, 1, 5, 1000, 100);
	expect(PART_MBR, 2, "runs in a circle");

	put_entry(0, 1, 0xf, 100, 10000);
	put_entry(100, 0, 0x83, 10, 10);
	put_entry(100, 1, 5, UINT32_MAX, UINT32_MAX);
	expect(PART_MBR, 1, "extended partition 2 leads out of the disk");

	put_entry(0, 1, 0xf, UINT32_MAX, UINT32_MAX);
	expect(PART_MBR, 0, "leads out of the disk");

	put_entry(0, 1, 0x85, 100, 10000);
	put_entry(100, 0, 0x83, 10, 10);
	put_entry(100, 1, 5, 500, 100); /* nothing there */
	expect(PART_MBR, 1, "breaks off at sector 600");

	put_entry(0, 0, 5, 0, 10000); /* the MBR as its own EBR */
	put_entry(0, 1, 0x83, 100, 100);
	expect(PART_MBR, 1, "extended partition 1 begins at the partition table");
}

static void chains_have_a_limit(void **state)
{
	(void)state;
	put_entry(0, 0, 5, 100, 19000);
	for (uint32_t i = 0; i < 1000; i++) {
		put_entry(100 + i * 4, 0, 0x83, 1, 2);
		put_entry(100 + i * 4, 1, 5, (i + 1) * 4, 4);
	}
	expect(PART_MBR, 256, "holds more than 256");
}

static void overlaps_keep_the_earlier(void **state)
{
	(void)state;
	put_entry(0, 0, 0x83, 1000, 1000);
	put_entry(0, 1, 0x83, 500, 501);
	put_entry(0, 2, 0x83, 1999, 10);
	put_entry(0, 3, 0x83, 2000, 10);
	struct part_table t = read_memory();
	assert_int_equal(t.count, 2);
	assert_int_equal(t.parts[0].number, 1);
	assert_int_equal(t.parts[1].number, 4);
	assert_string_equal(t.problem, "partition 2 overlaps partition 1 and was left out (and 1 more)");
	part_table_done(&t);

	put_entry(0, 1, 0x83, 0, 100);
	put_entry(0, 2, 0x83, 100, 18000); /* around the others */
	expect(PART_MBR, 2, "partition 2 begins at the partition table itself and was left out (and 1 more)");
}

static void ends_are_cut(void **state)
{
	(void)state;
	put_entry(0, 0, 0x83, 1000, UINT32_MAX);
	put_entry(0, 1, 0x83, DISK_SECTORS, 1);
	struct part_table t = read_memory();
	assert_int_equal(t.count, 1);
	assert_int_equal(t.parts[0].size, (DISK_SECTORS - 1000) * 512);
	part_table_done(&t);
	expect(PART_MBR, 1, "partition 1 reaches past the end of the disk and was cut there (and 1 more)");
}

static void a_reading_error_ends_the_chain_only(void **state)
{
	(void)state;
	/* A device that is shorter than it says is one way to have a reading error. */
	struct error err = { 0 };
	struct block *b = NULL;
	new_disk("short", 1 << 20);
	put_entry(0, 0, 0x83, 10, 10);
	put_entry(0, 1, 5, 1900, 100);
	put_entry(1900, 0, 0x83, 1, 1);
	poke("short", 0, disk, 512);
	b = open_disk("short", 512, true);
	assert_int_equal(truncate("short", 600 * 512), 0);
	struct part_table t;
	assert_int_equal(part_read(&t, b, &err), 0);
	assert_int_equal(t.count, 1);
	assert_non_null(strstr(t.problem, "extended partition 2 breaks off: read 512 bytes at"));
	part_table_done(&t);
	assert_int_equal(truncate("short", 0), 0);
	assert_int_equal(part_read(&t, b, &err), -1);
	assert_int_equal(err.kind, ERR_IO);
	block_free(b);
	memset(disk, 0, sizeof disk);
}

struct gpt_values {
	uint32_t header_size, count, entry_size;
	uint64_t my_lba, first_usable, last_usable, entries_lba;
};

static const struct gpt_values sane = { 92, 128, 128, 1, 34, DISK_SECTORS - 34, 2 };

/* Both CRCs right over whatever v says, as far as its array lies within the disk. */
static void put_gpt(const struct gpt_values *v)
{
	put_entry(0, 0, MBR_TYPE_GPT, 1, DISK_SECTORS - 1);
	uint8_t *h = disk + 512;
	memcpy(h, "EFI PART\0\0\1\0", 12);
	put_le32(h + GPT_HEADER_SIZE, v->header_size);
	put_le64(h + GPT_MY_LBA, v->my_lba);
	put_le64(h + GPT_ALTERNATE_LBA, DISK_SECTORS - 1);
	put_le64(h + GPT_FIRST_USABLE, v->first_usable);
	put_le64(h + GPT_LAST_USABLE, v->last_usable);
	put_le64(h + GPT_ENTRIES_LBA, v->entries_lba);
	put_le32(h + GPT_ENTRY_COUNT, v->count);
	put_le32(h + GPT_ENTRY_SIZE, v->entry_size);
	uint64_t len = (uint64_t)v->count * v->entry_size;
	if (v->entries_lba < DISK_SECTORS && len <= sizeof disk - v->entries_lba * 512)
		put_le32(h + GPT_ENTRIES_CRC, gpt_crc(disk + v->entries_lba * 512, len));
	put_le32(h + GPT_HEADER_CRC, 0);
	if (v->header_size <= sizeof disk - 512)
		put_le32(h + GPT_HEADER_CRC, gpt_crc(h, v->header_size));
}

static void put_gpt_entry(unsigned i, uint64_t first, uint64_t last, const void *name, size_t name_len)
{
	uint8_t *e = disk + 1024 + (size_t)i * 128;
	memset(e, 0, 128);
	put_le32(e, i + 1);
	put_le32(e + 16, i + 1);
	put_le64(e + 32, first);
	put_le64(e + 40, last);
	memcpy(e + 56, name, name_len);
}

static void gpt_headers_are_checked(void **state)
{
	(void)state;
	struct gpt_values bad[16];
	for (size_t i = 0; i < 16; i++)
		bad[i] = sane;
	bad[0].header_size = 91;
	bad[1].header_size = 513;
	bad[2].header_size = UINT32_MAX;
	bad[3].count = 0;
	bad[4].count = UINT32_MAX;
	bad[5].count = 8193;
	bad[6].entry_size = 0;
	bad[7].entry_size = UINT32_MAX;
	bad[8].entry_size = 132;
	bad[9].count = 0x2000001, bad[9].entry_size = 128; /* their product is 128 in 32 bits */
	bad[10].my_lba = 2;
	bad[11].entries_lba = 0;
	bad[12].entries_lba = UINT64_MAX;
	bad[13].entries_lba = DISK_SECTORS - 2;
	bad[14].first_usable = UINT64_MAX;
	bad[15].entries_lba = 1;
	for (size_t i = 0; i < 16; i++) {
		put_gpt(&bad[i]);
		expect(PART_NONE, 0, "neither copy");
	}
	put_gpt(&sane);
	expect(PART_GPT, 0, "");
}

static void gpt_entries_are_checked(void **state)
{
	(void)state;
	put_gpt_entry(0, 100, 99, "", 0);
	put_gpt_entry(1, 0, UINT64_MAX, "", 0);
	put_gpt_entry(2, 1, 1, "", 0);
	put_gpt_entry(3, 33, 40, "", 0);
	put_gpt_entry(4, UINT64_MAX, UINT64_MAX, "", 0);
	put_gpt_entry(5, 5000, 5000, "", 0);
	put_gpt_entry(6, 4000, UINT64_MAX, "", 0);
	put_gpt_entry(7, 6000, UINT64_MAX, "", 0);
	put_gpt(&sane);
	struct part_table t = read_memory();
	assert_int_equal(t.parts[0].number, 6);
	assert_int_equal(t.parts[0].size, 512);
	assert_int_equal(t.parts[1].number, 8);
	part_table_done(&t);
	expect(PART_GPT, 2, "partition 1 ends before it begins (and 6 more)");
}

static void names_become_utf8(void **state)
{
	(void)state;
	uint8_t longest[72];
	memset(longest, 0xac, sizeof longest); /* U+ACAC, three bytes in UTF-8 */
	put_gpt_entry(0, 100, 199, "a\0\x00\xd8" "b\0", 6);         /* half a pair */
	put_gpt_entry(1, 200, 299, "\x00\xdc\x3d\xd8\x42\xde", 6);   /* the other half, then a whole one */
	put_gpt_entry(2, 300, 399, longest, 72);
	put_gpt_entry(3, 400, 499, longest, 72);
	put_le16(disk + 1024 + 3 * 128 + 56 + 70, 0xd83d);            /* a half at the very end */
	put_gpt(&sane);
	struct part_table t = read_memory();
	assert_string_equal(t.parts[0].name, "a\xef\xbf\xbd" "b");
	assert_string_equal(t.parts[1].name, "\xef\xbf\xbd\xf0\x9f\x99\x82");
	assert_int_equal(strlen(t.parts[2].name), 108);
	assert_string_equal(t.parts[3].name + 105, "\xef\xbf\xbd");
	part_table_done(&t);
	memset(disk, 0, sizeof disk);
}

static void too_many_are_named(void **state)
{
	(void)state;
	struct gpt_values v = sane;
	v.count = 2000;
	v.first_usable = 1000;
	for (unsigned i = 0; i < v.count; i++)
		put_gpt_entry(i, 19999 - i, 19999 - i, "", 0);
	put_gpt(&v);
	expect(PART_GPT, 1024, "partition 1025 is one too many and was left out (and 975 more)");
}

/* A filesystem on the whole disk is no table, whatever its boot sector holds. */
static void bare_filesystems_stay_bare(void **state)
{
	(void)state;
	uint64_t seed = 7;
	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < 510; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			disk[i] = (uint8_t)(seed >> 56);
		}
		for (unsigned i = 0; i < 4 && round % 2; i++) /* the worst that chance may do to random bytes */
			disk[MBR_ENTRIES + 16 * i] &= 0x80;
		put_le16(disk + 510, 0xaa55);
		put_le16(disk + 1080, 0xef53);
		struct part_table t = read_memory();
		assert_int_equal(t.kind, PART_NONE);
		part_table_done(&t);
	}
	memset(disk, 0, sizeof disk);
	static const char ntfs[8] = { 'N', 'T', 'F', 'S', ' ', ' ', ' ', ' ' };
	static const uint8_t fat[] = { 0xeb, 0x3c, 0x90, 'm', 'k', 'f', 's', '.', 'f', 'a', 't',
	                               0, 2, 4, 1, 0, 2, 0, 2, 0, 0, 0xf8 };
	memcpy(disk, fat, sizeof fat);
	put_entry(0, 0, 0xc, 0, DISK_SECTORS); /* as mkfs.fat --mbr=y makes it */
	expect(PART_NONE, 0, "");
	memcpy(disk, fat, sizeof fat); /* left over from before the disk was partitioned */
	put_entry(0, 0, 0xc, 2048, 1000);
	expect(PART_MBR, 1, "");
	memcpy(disk + 3, ntfs, sizeof ntfs);
	put_le16(disk + 510, 0xaa55);
	expect(PART_NONE, 0, "");
}

static void tiny_disks_are_no_tables(void **state)
{
	(void)state;
	put_gpt(&sane);
	for (size_t size = 0; size < 3000; size++) {
		struct error err = { 0 };
		CLEAN_BLOCK struct block *b = NULL;
		CLEAN_FREE uint8_t *copy = malloc(size + 1); /* so that the sanitizer sees a step beyond */
		memcpy(copy, disk, size);
		assert_int_equal(block_open_memory(&b, copy, size, false, &err), 0);
		struct part_table t = read_table(b);
		assert_int_equal(t.kind, PART_NONE);
		part_table_done(&t);
	}
	memset(disk, 0, sizeof disk);
}

static void grow_trusts_nothing(void **state)
{
	(void)state;
	struct error err = { 0 };
	CLEAN_BLOCK struct block *b = NULL;
	assert_int_equal(block_open_memory(&b, disk, sizeof disk, true, &err), 0);
	struct gpt_values v = sane;
	v.last_usable = 1000;
	v.first_usable = 10; /* the array would not fit before it */
	put_gpt(&v);
	put_le64(disk + 512 + GPT_ALTERNATE_LBA, 1500);
	put_le32(disk + 512 + GPT_HEADER_CRC, 0);
	put_le32(disk + 512 + GPT_HEADER_CRC, gpt_crc(disk + 512, 92));
	struct part_table t = read_table(b);
	assert_int_equal(t.kind, PART_GPT);
	assert_int_equal(part_gpt_grow(b, &t, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	memset(disk + 512, 0, 512);
	assert_int_equal(part_gpt_grow(b, &t, &err), -1); /* no copy left */
	assert_int_equal(err.kind, ERR_CORRUPT);
	part_table_done(&t);
	memset(disk, 0, sizeof disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_end),
		cmocka_unit_test(chains_have_a_limit),
		cmocka_unit_test(overlaps_keep_the_earlier),
		cmocka_unit_test(ends_are_cut),
		cmocka_unit_test(a_reading_error_ends_the_chain_only),
		cmocka_unit_test(gpt_headers_are_checked),
		cmocka_unit_test(gpt_entries_are_checked),
		cmocka_unit_test(names_become_utf8),
		cmocka_unit_test(too_many_are_named),
		cmocka_unit_test(bare_filesystems_stay_bare),
		cmocka_unit_test(tiny_disks_are_no_tables),
		cmocka_unit_test(grow_trusts_nothing),
	};
	return cmocka_run_group_tests(tests, test_begin, test_end);
}
