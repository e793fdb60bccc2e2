/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tables that sfdisk and fdisk made, read back and compared with what sfdisk says of them. */
#include "part/test_disk.h"

#include <jansson.h>

static const struct part *part_by_number(const struct part_table *t, unsigned number)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->parts[i].number == number)
			return &t->parts[i];
	fail_msg("partition %u is missing", number);
	return NULL;
}

static const char *json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static bool is_extended(const char *type)
{
	unsigned long t = strtoul(type, NULL, 16);
	return t == 0x05 || t == 0x0f || t == 0x85;
}

static void compare_part(const struct part_table *t, const json_t *j, const char *disk)
{
	const char *node = json_text(j, "node");
	unsigned number = (unsigned)strtoul(node + strlen(disk), NULL, 10);
	const struct part *p = part_by_number(t, number);
	char guid[37];
	assert_int_equal(p->offset, json_integer_value(json_object_get(j, "start")) * t->sector);
	assert_int_equal(p->size, json_integer_value(json_object_get(j, "size")) * t->sector);
	if (t->kind == PART_MBR) {
		assert_int_equal(p->mbr_type, strtoul(json_text(j, "type"), NULL, 16));
		assert_int_equal(p->bootable, json_is_true(json_object_get(j, "bootable")));
		assert_int_equal(p->logical, number > 4);
		return;
	}
	part_guid_text(p->type_guid, guid);
	assert_string_equal(guid, json_text(j, "type"));
	part_guid_text(p->guid, guid);
	assert_string_equal(guid, json_text(j, "uuid"));
	assert_string_equal(p->name, json_text(j, "name"));
	assert_int_equal(p->bootable, strstr(json_text(j, "attrs"), "LegacyBIOSBootable") != NULL);
}

/* t against sfdisk --json. */
static void compare_with_sfdisk(const struct part_table *t, const char *disk)
{
	assert_int_equal(run("sfdisk --json %s >json 2>/dev/null", disk), 0);
	json_error_t error;
	json_t *root = json_load_file("json", 0, &error), *table = json_object_get(root, "partitiontable"), *j;
	assert_non_null(table);
	assert_string_equal(json_text(table, "label"), t->kind == PART_GPT ? "gpt" : "dos");
	if (t->kind == PART_GPT) {
		char guid[37];
		part_guid_text(t->disk_guid, guid);
		assert_string_equal(guid, json_text(table, "id"));
		assert_int_equal(t->first_usable, json_integer_value(json_object_get(table, "firstlba")));
		assert_int_equal(t->last_usable, json_integer_value(json_object_get(table, "lastlba")));
	} else {
		assert_int_equal(t->mbr_signature, strtoul(json_text(table, "id"), NULL, 16));
	}
	size_t i, listed = 0;
	json_array_foreach(json_object_get(table, "partitions"), i, j) {
		if (t->kind == PART_MBR && is_extended(json_text(j, "type")))
			continue;
		compare_part(t, j, disk);
		listed++;
	}
	assert_int_equal(t->count, listed);
	json_decref(root);
}

static void assert_clean(const struct part_table *t, enum part_table_kind kind, uint32_t sector)
{
	assert_int_equal(t->kind, kind);
	assert_int_equal(t->sector, sector);
	assert_string_equal(t->problem, "");
	assert_false(t->primary_bad);
	assert_false(t->backup_bad);
}

static void compare_script(const char *script, enum part_table_kind kind)
{
	new_disk("disk", 64 << 20);
	sfdisk("disk", script);
	struct part_table t = read_disk("disk", 512);
	assert_clean(&t, kind, 512);
	compare_with_sfdisk(&t, "disk");
	part_table_done(&t);
}

static const char gpt_script[] =
	"label: gpt\nlabel-id: 11111111-2222-4333-8444-555555555555\nfirst-lba: 34\n"
	"start=8192, size=4096, name=\"Gr\xc3\xb6\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x99\x82\", attrs=LegacyBIOSBootable\n"
	"start=2048, size=4096, type=U, name=\"esp\"\n"
	"start=20480, size=1, name=\"012345678901234567890123456789012345\"";

static void mbr_like_sfdisk(void **state)
{
	(void)state;
	if (!have_tool("sfdisk"))
		skip();
	compare_script("label: dos\nlabel-id: 0x1234abcd\nstart=2048, size=10000, type=83, bootable", PART_MBR);
	compare_script("label: dos\nstart=40000, size=10, type=83\nstart=63, size=10, type=7\nstart=73, size=1, type=c\n"
	               "start=2048, size=4096, type=82", PART_MBR);
	compare_script("label: dos\nstart=2048, size=10000, type=83\nstart=20480, size=90000, type=f\n"
	               "start=22528, size=4096, type=83\nstart=28672, size=4096, type=82, bootable\n"
	               "start=34816, size=8192, type=7\nstart=45056, size=2, type=83", PART_MBR);
	compare_script("label: dos\nstart=2048, size=90000, type=5\nstart=98304, size=100, type=83\n"
	               "start=4096, size=100, type=83", PART_MBR);
	compare_script("label: dos\nstart=2048, size=90000, type=85", PART_MBR);
	compare_script("label: dos\n", PART_MBR);
}

static void mbr_with_many_logicals_like_sfdisk(void **state)
{
	(void)state;
	if (!have_tool("sfdisk"))
		skip();
	char script[4000] = "label: dos\nstart=2048, size=128000, type=5\n";
	for (int i = 0; i < 30; i++)
		snprintf(script + strlen(script), sizeof script - strlen(script), "start=%d, size=%d, type=83\n",
		         4096 + i * 4096, 1000 + i);
	compare_script(script, PART_MBR);
}

static void gpt_like_sfdisk(void **state)
{
	(void)state;
	if (!have_tool("sfdisk"))
		skip();
	compare_script(gpt_script, PART_GPT);
	compare_script("label: gpt\n", PART_GPT);
	compare_script("label: gpt\ntable-length: 256\nfirst-lba: 100\n/dev/x200: start=4096, size=100", PART_GPT);
	struct part_table t = read_disk("disk", 4096); /* a disk behind an adapter that says otherwise */
	assert_clean(&t, PART_GPT, 512);
	assert_int_equal(t.count, 1);
	part_table_done(&t);
}

/* fdisk can be told another sector size for a file, sfdisk cannot. */
static void make_4k(const char *label, const char *parts)
{
	new_disk("disk", 64 << 20);
	assert_int_equal(run("printf '%s\\n%sw\\n' | fdisk -b 4096 disk >log 2>&1", label, parts), 0);
}

static void sectors_of_4096_bytes(void **state)
{
	(void)state;
	if (!have_tool("fdisk"))
		skip();
	make_4k("g", "n\\n1\\n256\\n511\\nn\\n2\\n512\\n5000\\n");
	for (uint32_t sector = 512; sector <= 4096; sector *= 8) {
		struct part_table t = read_disk("disk", sector);
		assert_clean(&t, PART_GPT, 4096);
		assert_int_equal(t.count, 2);
		assert_int_equal(t.parts[0].offset, 256 * 4096);
		assert_int_equal(t.parts[1].size, 4489 * 4096);
		assert_int_equal(t.backup_offset, (64 << 20) - 4096);
		part_table_done(&t);
	}
	/* The EBRs tell the sector size of an MBR. */
	make_4k("o", "n\\np\\n1\\n256\\n511\\nn\\ne\\n2\\n512\\n6000\\nn\\nl\\n1024\\n1535\\nn\\nl\\n2048\\n2100\\n");
	for (uint32_t sector = 512; sector <= 4096; sector *= 8) {
		struct part_table t = read_disk("disk", sector);
		assert_clean(&t, PART_MBR, 4096);
		assert_int_equal(t.count, 3);
		assert_int_equal(t.parts[2].number, 6);
		assert_int_equal(t.parts[2].offset, 2048 * 4096);
		part_table_done(&t);
	}
}

static void either_copy_of_a_gpt_serves(void **state)
{
	(void)state;
	if (!have_tool("sfdisk"))
		skip();
	const uint64_t size = 64 << 20;
	const struct {
		uint64_t offset;
		bool primary_bad, backup_bad;
	} damage[] = {
		{ 512 + 60, true, false },  { 1024 + 300, true, false },
		{ size - 512 + 60, false, true }, { size - 33 * 512 + 5, false, true },
	};
	for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
		new_disk("disk", size);
		sfdisk("disk", gpt_script);
		poke("disk", damage[i].offset, "damage", 6);
		struct part_table t = read_disk("disk", 512);
		assert_int_equal(t.kind, PART_GPT);
		assert_int_equal(t.primary_bad, damage[i].primary_bad);
		assert_int_equal(t.backup_bad, damage[i].backup_bad);
		assert_int_equal(t.backup_offset, damage[i].backup_bad ? 0 : size - 512);
		compare_with_sfdisk(&t, "disk");
		part_table_done(&t);
	}
	poke("disk", 512, "damage", 6); /* now both */
	struct part_table t = read_disk("disk", 512);
	assert_int_equal(t.kind, PART_NONE);
	assert_non_null(strstr(t.problem, "neither copy"));
	part_table_done(&t);
}

/* A hybrid MBR beside a GPT is ignored; a GPT without a protective entry is what the disk was before. */
static void mbr_decides_whether_gpt_counts(void **state)
{
	(void)state;
	if (!have_tool("sfdisk"))
		skip();
	static const uint8_t hybrid[16] = { 0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0 };
	new_disk("disk", 64 << 20);
	sfdisk("disk", gpt_script);
	poke("disk", 462, hybrid, 16);
	struct part_table t = read_disk("disk", 512);
	assert_clean(&t, PART_GPT, 512);
	assert_int_equal(t.count, 3);
	part_table_done(&t);
	poke("disk", 446, hybrid, 16);
	poke("disk", 462, (const uint8_t[16]){ 0 }, 16);
	t = read_disk("disk", 512);
	assert_clean(&t, PART_MBR, 512);
	assert_int_equal(t.count, 1);
	part_table_done(&t);
}

static void assert_tools_content(const char *disk, unsigned sector)
{
	if (sector == 512) {
		assert_int_equal(run("sfdisk --verify %s >log 2>&1", disk), 0);
		assert_int_equal(run("grep -q 'No errors detected' log && ! grep -qiE 'mismatch|corrupt|not on the end' log"), 0);
	}
	/* sgdisk takes the sector size of a file to be 512. */
	if (sector == 512 && run("command -v sgdisk >/dev/null 2>&1") == 0)
		assert_int_equal(run("sgdisk -v %s >log 2>&1; grep -q 'No problems found' log", disk), 0);
	assert_int_equal(run("LC_ALL=C fdisk -b %u -l %s >log 2>&1", sector, disk), 0);
	assert_int_not_equal(run("grep -qiE 'mismatch|corrupt|not on the end' log"), 0);
}

static void grow_by(uint64_t extra, uint32_t sector, bool damage)
{
	const uint64_t size = 64 << 20;
	struct error err = { 0 };
	if (damage)
		poke("disk", sector + 60, "damage", 6);
	struct part_table before = read_disk("disk", 512), after;
	/* Where the backup stands is learnt before the disk grows, as a restore does. */
	assert_int_equal(truncate("disk", (off_t)(size + extra)), 0);
	CLEAN_BLOCK struct block *b = open_disk("disk", 512, true);
	if (part_gpt_grow(b, &before, &err) < 0)
		fail_msg("%s", err.text);
	after = read_table(b);
	assert_clean(&after, PART_GPT, sector);
	uint64_t moved = extra / sector;
	assert_int_equal(after.backup_offset, size + moved * sector - sector);
	assert_int_equal(after.last_usable, before.last_usable + moved);
	assert_int_equal(after.count, before.count);
	for (size_t i = 0; i < before.count; i++) {
		assert_int_equal(after.parts[i].offset, before.parts[i].offset);
		assert_string_equal(after.parts[i].name, before.parts[i].name);
		assert_memory_equal(after.parts[i].guid, before.parts[i].guid, 16);
	}
	assert_int_equal(part_gpt_grow(b, &after, &err), 0); /* a second time there is nothing to do */
	part_table_done(&before);
	part_table_done(&after);
	assert_tools_content("disk", sector);
}

static void gpt_grows_with_its_disk(void **state)
{
	(void)state;
	if (!have_tool("sfdisk") || !have_tool("fdisk"))
		skip();
	static const uint64_t extra[] = { 512, 10 * 512 + 511, 33 * 512, 40 << 20 };
	for (unsigned i = 0; i < 2 * sizeof extra / sizeof *extra; i++) {
		new_disk("disk", 64 << 20);
		sfdisk("disk", gpt_script);
		grow_by(extra[i / 2], 512, i % 2);
	}
	for (unsigned i = 0; i < 4; i++) {
		make_4k("g", "n\\n1\\n256\\n511\\nn\\n2\\n512\\n5000\\n");
		grow_by(i / 2 ? 8 << 20 : 4096, 4096, i % 2);
	}
}

static void grow_leaves_alone_what_is_in_place(void **state)
{
	(void)state;
	if (!have_tool("sfdisk"))
		skip();
	struct error err = { 0 };
	new_disk("disk", 64 << 20);
	sfdisk("disk", gpt_script);
	assert_int_equal(run("cp --sparse=always disk same"), 0);
	struct part_table t = read_disk("disk", 512);
	struct block *b = open_disk("disk", 512, true);
	assert_int_equal(part_gpt_grow(b, &t, &err), 0);
	block_free(b);
	assert_int_equal(run("cmp disk same"), 0);
	part_table_done(&t);

	/* On a smaller disk the last partition would lie under the backup table. */
	sfdisk("disk", "label: gpt\nstart=2048, size=100000");
	t = read_disk("disk", 512);
	assert_int_equal(truncate("disk", 102048 * 512), 0);
	b = open_disk("disk", 512, true);
	assert_int_equal(part_gpt_grow(b, &t, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	block_free(b);
	part_table_done(&t);

	sfdisk("disk", "label: dos\nstart=2048, size=1000");
	assert_int_equal(run("cp --sparse=always disk same"), 0);
	t = read_disk("disk", 512);
	b = open_disk("disk", 512, true);
	assert_int_equal(part_gpt_grow(b, &t, &err), 0);
	block_free(b);
	assert_int_equal(run("cmp disk same"), 0);
	part_table_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mbr_like_sfdisk),
		cmocka_unit_test(mbr_with_many_logicals_like_sfdisk),
		cmocka_unit_test(gpt_like_sfdisk),
		cmocka_unit_test(sectors_of_4096_bytes),
		cmocka_unit_test(either_copy_of_a_gpt_serves),
		cmocka_unit_test(mbr_decides_whether_gpt_counts),
		cmocka_unit_test(gpt_grows_with_its_disk),
		cmocka_unit_test(grow_leaves_alone_what_is_in_place),
	};
	return cmocka_run_group_tests(tests, test_begin, test_end);
}
