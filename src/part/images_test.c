/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Real images of every kind: those that hold a table show it, all others are bare, as blkid says too. */
#include "part/test_disk.h"

#include <dirent.h>

/* What blkid sees: "dos", "gpt", "sun", ...; "" where there is no table. */
static void ask_blkid(char ret[32])
{
	ret[0] = 0;
	FILE *out = popen("blkid -p -s PTTYPE -o value image 2>/dev/null", "r");
	if (out && fgets(ret, 32, out))
		ret[strcspn(ret, "\n")] = 0;
	if (out)
		pclose(out);
}

static void check_image(const char *path, bool blkid)
{
	if (run("xz -dc '%s' > image", path) != 0)
		fail_msg("%s cannot be unpacked", path);
	CLEAN_BLOCK struct block *b = open_disk("image", 512, false);
	struct part_table t = read_table(b);
	uint64_t end = 0;
	for (size_t i = 0; i < t.count; i++) {
		assert_true(t.parts[i].offset >= end);
		end = t.parts[i].offset + t.parts[i].size;
		assert_true(end <= b->size);
	}
	char kind[32];
	ask_blkid(kind);
	enum part_table_kind expected = strcmp(kind, "dos") == 0 ? PART_MBR : strcmp(kind, "gpt") == 0 ? PART_GPT : PART_NONE;
	if (blkid && t.kind != expected)
		fail_msg("%s: blkid says \"%s\", we say %s", path, kind, part_table_name(t.kind));
	if (t.problem[0])
		print_message("%s: %s\n", path, t.problem);
	part_table_done(&t);
}

static size_t check_folder(const char *data, const char *name, bool blkid)
{
	char path[2048];
	size_t count = 0;
	snprintf(path, sizeof path, "%s/%s", data, name);
	CLEAN_DIR DIR *folder = opendir(path);
	for (struct dirent *e; folder && (e = readdir(folder));) {
		size_t len = strlen(e->d_name);
		if (len < 3 || strcmp(e->d_name + len - 3, ".xz") != 0)
			continue;
		snprintf(path, sizeof path, "%s/%s/%s", data, name, e->d_name);
		check_image(path, blkid);
		count++;
	}
	return count;
}

static void real_images_as_blkid_sees_them(void **state)
{
	(void)state;
	const char *data = getenv("TWOFOLD_TEST_DATA");
	bool blkid = have_tool("blkid");
	if (!have_tool("xz"))
		skip();
	size_t tables = data ? check_folder(data, "util-linux-images/pt", blkid) : 0;
	size_t others = data ? check_folder(data, "util-linux-images", blkid) : 0;
	if (tables + others == 0) {
		print_message("skipped: no images below TWOFOLD_TEST_DATA\n");
		skip();
	}
	print_message("%zu images of tables, %zu others\n", tables, others);
}

int main(void)
{
	/* The test works in a temporary folder, so a relative path is made absolute before. */
	const char *data = getenv("TWOFOLD_TEST_DATA");
	CLEAN_FREE char *absolute = data ? realpath(data, NULL) : NULL;
	if (absolute)
		setenv("TWOFOLD_TEST_DATA", absolute, 1);
	const struct CMUnitTest tests[] = { cmocka_unit_test(real_images_as_blkid_sees_them) };
	return cmocka_run_group_tests(tests, test_begin, test_end);
}
