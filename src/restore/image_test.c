/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "part/part.h"
#include "repo/test_snapshot.h"
#include "restore/image.h"
#include "restore/carries.h"

#define MIB (1u << 20)
#define SIZE (8 * MIB)

static struct test_repo t;
static char path[160];
static struct snapshot snapshot;
static struct snapshot_volume volumes[1];
static struct image_options options;
static struct image_result result;
static struct map_range ranges[64];
static size_t range_count;
static uint8_t *disk;   /* what the image holds */
static uint8_t *used;   /* 0 where the filesystem says free: then the content does not matter */
static uint64_t position;

/* --- warnings ------------------------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char warnings[64][ERROR_TEXT_MAX];
static unsigned warning_count;

static void note(void *cookie, const struct error *err)
{
	(void)cookie;
	pthread_mutex_lock(&lock);
	if (warning_count < 64)
		memcpy(warnings[warning_count], err->text, sizeof err->text);
	warning_count++;
	pthread_mutex_unlock(&lock);
}

static bool warned(const char *part)
{
	for (unsigned i = 0; i < warning_count && i < 64; i++)
		if (strstr(warnings[i], part))
			return true;
	return false;
}

static const struct warner warner = { note, NULL };

/* --- the world ------------------------------------------------------------------------------------ */

static int setup(void **state)
{
	static char none[] = "";
	(void)state;
	test_repo_make(&t);
	snprintf(path, sizeof path, "%s/disk.img", t.root);
	test_begin(&t);
	volumes[0] = (struct snapshot_volume){ .number = 3, .offset = 2 * MIB, .size = 3 * MIB + 512, .name = none, .fs_type = none, .fs_uuid = none,
		                               .fs_label = none, .raw_reason = none };
	snapshot = (struct snapshot){ .kind = SNAPSHOT_IMAGE, .sector = 512, .volumes = volumes, .volume_count = 1 };
	options = (struct image_options){ .threads = 3, .verify = true, .warner = &warner };
	warning_count = 0;
	range_count = 0;
	position = 0;
	disk = calloc(1, SIZE);
	used = malloc(SIZE);
	memset(used, 1, SIZE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(disk);
	free(used);
	test_repo_done(&t);
	return 0;
}

static void add(enum map_kind kind, uint64_t length)
{
	ranges[range_count++] = (struct map_range){ .kind = kind, .length = length };
	if (kind == MAP_UNUSED)
		memset(used + position, 0, length);
	position += length;
}

/* A chunk of its own, or length bytes of a larger one. */
static void add_data(uint32_t seed, uint32_t chunk_length, uint32_t offset, uint32_t length)
{
	uint8_t *bytes = malloc(chunk_length);
	test_fill(bytes, chunk_length, seed);
	ranges[range_count++] = (struct map_range){
		.kind = MAP_DATA, .length = length, .chunk = test_chunk(&t, bytes, chunk_length), .offset = offset, .chunk_length = chunk_length
	};
	memcpy(disk + position, bytes + offset, length);
	position += length;
	free(bytes);
}

static void commit(void)
{
	snapshot.disk_size = position;
	snapshot.map = test_map(&t, ranges, range_count);
	test_commit(&t, &snapshot, 1);
}

/* Every kind of range, in every order that matters. */
static void make_disk(void)
{
	add_data(1, 65536, 0, 65536);
	add_data(2, 65536, 0, 65536); /* adjoins in the block too */
	add(MAP_ZERO, 10000);
	add_data(3, 5000, 0, 5000);   /* begins and ends anywhere */
	add(MAP_ZERO, 300);           /* less than the rest of the page */
	add_data(4, 600000, 0, 600000);
	add(MAP_UNUSED, 3 * MIB / 2 + 77);
	add_data(5, 40000, 12288, 20000); /* a fragmented file: the end before the beginning */
	add(MAP_UNREADABLE, 4096);
	add_data(5, 40000, 0, 12288);
	add_data(1, 65536, 0, 65536); /* once more */
	add(MAP_ZERO, 1 * MIB);
	add(MAP_UNUSED, 4096);
	add(MAP_ZERO, 2 * MIB);
	add_data(6, 100, 0, 100);
	add(MAP_UNUSED, 7 * MIB - position);
	add_data(7, 1000, 0, 1000);
	commit();
}

static int restore_to(const char *to, unsigned partition, struct error *err)
{
	CLEAN(image_target_cleanup) struct image_target *target = NULL;
	warning_count = 0;
	if (image_target_open(&target, &snapshot, to, partition, err) < 0)
		return -1;
	return image_restore(target, t.repo, &snapshot, &options, &result, err);
}

static void restore_well(unsigned partition)
{
	struct error err = { 0 };
	if (restore_to(path, partition, &err) < 0)
		fail_msg("%s", err.text);
}

static int open_it(void)
{
	int fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	return fd;
}

/* free_is: what is to be found where the filesystem says free; -1: anything. */
static void holds(uint64_t from, uint64_t len, int free_is)
{
	uint8_t *bytes = malloc(len);
	int fd = open_it();
	assert_int_equal(pread(fd, bytes, len, 0), (ssize_t)len);
	close(fd);
	for (uint64_t i = 0; i < len; i++) {
		if (used[from + i] ? bytes[i] != disk[from + i] : free_is >= 0 && bytes[i] != free_is)
			fail_msg("byte %llu is %u, not %u", (unsigned long long)i, bytes[i], disk[from + i]);
	}
	free(bytes);
}

static struct stat look(void)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return st;
}

static void make_old(uint64_t size)
{
	uint8_t *bytes = malloc(size);
	memset(bytes, 0xee, size);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	close(fd);
	free(bytes);
}

/* --- files -------------------------------------------------------------------------------------------- */

static void onto_a_new_file(void **state)
{
	(void)state;
	make_disk();
	restore_well(0);
	holds(0, position, 0);
	struct stat st = look();
	assert_int_equal(st.st_size, position);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(st.st_blocks * 512 < 1200000); /* sparse */
	assert_int_equal(warning_count, 1);
	assert_true(warned("4096 bytes at") && warned("could not be read when the image was taken"));
	assert_int_equal(result.unreadable, 4096);
	assert_int_equal(result.size, position);
	assert_int_equal(result.lost, 0);
	assert_true(result.verified > 0);
	/* Slack of data that is written with it counts as zero, not as data. */
	assert_int_equal(result.data, 65536 * 3 + 5000 + 600000 + 20000 + 12288 + 100 + 1000);
}

static void onto_an_empty_file(void **state)
{
	(void)state;
	make_disk();
	make_old(0);
	restore_well(0);
	holds(0, position, 0);
}

static void onto_old_content(void **state)
{
	(void)state;
	make_disk();
	make_old(position);
	restore_well(0);
	holds(0, position, -1);
	assert_true(look().st_blocks * 512 < 2000000); /* what is not used was given back */
}

static void onto_a_larger_file(void **state)
{
	(void)state;
	uint8_t tail[4096];
	make_disk();
	make_old(position + MIB);
	restore_well(0);
	holds(0, position, -1);
	assert_int_equal(look().st_size, position + MIB);
	int fd = open_it();
	assert_int_equal(pread(fd, tail, sizeof tail, (off_t)position), sizeof tail);
	close(fd);
	assert_int_equal(tail[0], 0xee);
	assert_int_equal(tail[4095], 0xee);
	assert_false(result.table_moved);
}

static void smaller_is_refused(void **state)
{
	(void)state;
	struct error err = { 0 };
	char numbers[64];
	make_disk();
	make_old(position - 1);
	assert_int_equal(restore_to(path, 0, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	snprintf(numbers, sizeof numbers, "has %llu bytes, the image needs %llu", (unsigned long long)position - 1, (unsigned long long)position);
	assert_non_null(strstr(err.text, numbers));
	memset(disk, 0xee, position);
	memset(used, 1, position);
	holds(0, position - 1, -1); /* nothing was written */
}

static void one_partition(void **state)
{
	(void)state;
	struct error err = { 0 };
	make_disk();
	restore_well(3);
	assert_int_equal(look().st_size, 3 * MIB + 512);
	holds(2 * MIB, 3 * MIB + 512, 0);
	make_old(3 * MIB + 512);
	restore_well(3);
	holds(2 * MIB, 3 * MIB + 512, -1);
	assert_int_equal(restore_to(path, 2, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	volumes[0].size = 1ull << 60;
	assert_int_equal(restore_to(path, 3, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
}

static void what_it_carries(void **state)
{
	(void)state;
	struct error err = { 0 };
	struct image_target *target = NULL;
	make_disk();
	assert_int_equal(image_target_open(&target, &snapshot, path, 0, &err), 0);
	assert_string_equal(image_target_carries(target), "");
	image_target_free(target);
	assert_int_equal(access(path, F_OK), -1); /* made, not used, gone */
	make_old(0);
	assert_int_equal(truncate(path, (off_t)position), 0);
	assert_int_equal(image_target_open(&target, &snapshot, path, 0, &err), 0);
	assert_string_equal(image_target_carries(target), "");
	image_target_free(target);
	make_old(position);
	assert_int_equal(image_target_open(&target, &snapshot, path, 0, &err), 0);
	assert_non_null(strstr(image_target_carries(target), "data of no kind"));
	image_target_free(target);
	assert_int_equal(access(path, F_OK), 0);
	char command[400];
	snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin; mkswap -q -L 'my label' '%s' 2>/dev/null", path);
	if (system(command) == 0) {
		assert_int_equal(image_target_open(&target, &snapshot, path, 0, &err), 0);
		assert_string_equal(image_target_carries(target), "a filesystem: swap \"my label\"");
		image_target_free(target);
	}
	assert_int_equal(restore_to(t.root, 0, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(restore_to("/dev/null", 0, &err), -1);
	snapshot.kind = SNAPSHOT_FILES;
	assert_int_equal(restore_to(path, 0, &err), -1);
	assert_non_null(strstr(err.text, "twofold restore"));
}

/* --- what goes wrong ---------------------------------------------------------------------------------------- */

static void lost_chunks(void **state)
{
	(void)state;
	add_data(1, 10000, 0, 10000);
	add_data(2, 5000, 0, 5000);
	add(MAP_ZERO, 100000);
	add_data(3, 4096, 0, 4096);
	memset(ranges[1].chunk.b, 9, ID_SIZE);
	memset(disk + 10000, 0, 5000);
	commit();
	make_old(position);
	restore_well(0);
	holds(0, position, -1);
	assert_int_equal(result.lost, 5000);
	assert_int_equal(warning_count, 1);
	assert_true(warned("5000 bytes in 1 range of the image, the first at 10000, are lost"));
}

static void maps_that_lie(void **state)
{
	(void)state;
	struct error err = { 0 };
	add_data(1, 10000, 0, 10000);
	add(MAP_ZERO, 10000);
	commit();
	snapshot.disk_size = position + 1;
	assert_int_equal(restore_to(path, 0, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_non_null(strstr(err.text, "ends at 20000 of 20001"));
	assert_int_equal(access(path, F_OK), -1); /* half of an image is none */
	snapshot.disk_size = position - 1;
	assert_int_equal(restore_to(path, 0, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	snapshot.disk_size = UINT64_MAX;
	assert_int_equal(restore_to(path, 0, &err), -1);
	assert_int_equal(access(path, F_OK), -1);
}

static void chunk_of_another_length(void **state)
{
	(void)state;
	add_data(1, 10000, 0, 10000);
	ranges[0].length = ranges[0].chunk_length = 20000;
	position = 20000;
	memset(disk, 0, position);
	commit();
	restore_well(0);
	assert_int_equal(result.lost, 20000);
	holds(0, position, 0);
}

static void stopped(void **state)
{
	(void)state;
	struct error err = { 0 };
	atomic_bool stop = true;
	struct progress progress;
	make_disk();
	progress_init(&progress, &stop);
	options.progress = &progress;
	assert_int_equal(restore_to(path, 0, &err), -1);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_int_equal(access(path, F_OK), -1);
	atomic_store(&stop, false);
	restore_well(0);
	assert_int_equal(atomic_load(&progress.bytes), 2 * position); /* written, and read back */
	progress_done(&progress);
}

/* --- partition tables ------------------------------------------------------------------------------------------ */

static bool make_gpt(void)
{
	char command[600];
	snprintf(command, sizeof command,
	         "PATH=$PATH:/sbin:/usr/sbin; truncate -s 4M '%s' && printf 'label: gpt\\nfirst-lba: 34\\nstart=64, size=1000, name=one\\nstart=2048, size=2048\\n' | sfdisk -q "
	         "--no-reread --no-tell-kernel '%s' >/dev/null 2>&1",
	         path, path);
	return system(command) == 0;
}

static void larger_gets_its_table_moved(void **state)
{
	(void)state;
	if (!make_gpt()) {
		print_message("skipped: sfdisk is not installed\n");
		skip();
	}
	int fd = open_it();
	uint8_t *bytes = malloc(65536);
	for (uint64_t at = 0; at < 4 * MIB; at += 65536) {
		assert_int_equal(pread(fd, bytes, 65536, (off_t)at), 65536);
		ranges[range_count++] = block_is_zero(bytes, 65536) ?
		                                (struct map_range){ .kind = MAP_ZERO, .length = 65536 } :
		                                (struct map_range){ .kind = MAP_DATA, .length = 65536, .chunk = test_chunk(&t, bytes, 65536), .chunk_length = 65536 };
	}
	close(fd);
	free(bytes);
	position = 4 * MIB;
	snapshot.table = PART_GPT;
	commit();
	make_old(6 * MIB);
	restore_well(0);
	assert_true(result.table_moved);
	CLEAN_BLOCK struct block *b = NULL;
	struct part_table table;
	TEST_OK(block_open_file(&b, path, false, &err));
	TEST_OK(part_read(&table, b, &err));
	assert_int_equal(table.kind, PART_GPT);
	assert_int_equal(table.count, 2);
	assert_int_equal(table.backup_offset, 6 * MIB - 512);
	assert_false(table.primary_bad);
	assert_false(table.backup_bad);
	assert_int_equal(table.last_usable, 6 * MIB / 512 - 34);
	CLEAN_BUF struct buf text = BUF_INIT;
	TEST_OK(carries_describe(b, &text, &err));
	buf_add_u8(&text, 0);
	assert_non_null(strstr((char *)text.data, "a partition table (gpt) with 2 partitions"));
	part_table_done(&table);
}

/* --- devices -------------------------------------------------------------------------------------------------------- */

static bool attach(char device[64])
{
	char command[300];
	if (geteuid() != 0)
		return false;
	snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin; losetup -f --show '%s' 2>/dev/null", path);
	FILE *f = popen(command, "r");
	bool got = f && fgets(device, 64, f);
	if (f)
		pclose(f);
	if (got)
		device[strcspn(device, "\n")] = 0;
	return got;
}

static void detach(const char *device)
{
	char command[200];
	snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin; losetup -d %s", device);
	assert_int_equal(system(command), 0);
}

static void onto_a_device(void **state)
{
	(void)state;
	char device[64];
	struct error err = { 0 };
	make_disk();
	make_old(SIZE);
	if (!attach(device)) {
		print_message("skipped: no loop devices here\n");
		skip();
	}
	/* The file under it is in use. */
	int refused = restore_to(path, 0, &err);
	enum error_kind kind = err.kind;
	int done = restore_to(device, 0, &err);
	detach(device);
	assert_int_equal(refused, -1);
	assert_int_equal(kind, ERR_BUSY);
	if (done < 0)
		fail_msg("%s", err.text);
	holds(0, position, -1);
	assert_int_equal(look().st_size, SIZE);
}

static void mounted_is_refused(void **state)
{
	(void)state;
	char device[64], command[500], where[200];
	struct error err = { 0 };
	make_disk();
	make_old(SIZE);
	snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin; mkfs.ext4 -q -F '%s' >/dev/null 2>&1", path);
	if (system(command) != 0 || !attach(device)) {
		print_message("skipped: no mkfs.ext4 or no loop devices here\n");
		skip();
	}
	snprintf(where, sizeof where, "%s/mounted", t.root);
	mkdir(where, 0755);
	snprintf(command, sizeof command, "mount '%s' '%s' 2>/dev/null", device, where);
	int mounted = system(command), refused = 0;
	if (mounted == 0) {
		refused = restore_to(device, 0, &err);
		snprintf(command, sizeof command, "umount '%s'", where);
		assert_int_equal(system(command), 0);
	}
	detach(device);
	if (mounted != 0) {
		print_message("skipped: nothing can be mounted here\n");
		skip();
	}
	assert_int_equal(refused, -1);
	assert_int_equal(err.kind, ERR_BUSY);
	assert_non_null(strstr(err.text, where));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(onto_a_new_file), TEST(onto_an_empty_file), TEST(onto_old_content), TEST(onto_a_larger_file), TEST(smaller_is_refused),
		TEST(one_partition), TEST(what_it_carries), TEST(lost_chunks), TEST(maps_that_lie), TEST(chunk_of_another_length), TEST(stopped),
		TEST(larger_gets_its_table_moved), TEST(onto_a_device), TEST(mounted_is_refused),
	};
	return cmocka_run_group_tests_name("restore image", tests, NULL, NULL);
}
