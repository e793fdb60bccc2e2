/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "block/block.h"

static char folder[256];
static char device[64]; /* the loop device that is attached, or "" */

static int make_folder(void **state)
{
	(void)state;
	const char *tmp = getenv("TMPDIR");
	snprintf(folder, sizeof folder, "%s/twofold-block-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	char command[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	return system(command);
}

static void detach(void)
{
	if (device[0])
		run("PATH=$PATH:/usr/sbin:/sbin losetup -d %s", device);
	device[0] = 0;
}

static int remove_folder(void **state)
{
	(void)state;
	detach();
	return run("rm -rf '%s'", folder);
}

static const char *path_of(const char *name)
{
	static char path[512];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

/* A file of this size, all hole. */
static struct block *new_file(const char *name, uint64_t size)
{
	struct block *b = NULL;
	struct error err = { 0 };
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(block_open_fd(&b, fd, path_of(name), true, &err), 0);
	return b;
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

struct expected {
	const uint8_t *content;
	uint64_t at; /* the end of the range before */
};

static int check_extent(void *cookie, uint64_t offset, uint64_t len, enum block_extent kind)
{
	struct expected *e = cookie;
	assert_true(offset == e->at && len > 0);
	if (kind == BLOCK_ZERO)
		assert_true(block_is_zero(e->content + offset, len));
	e->at += len;
	return 0;
}

/* The same random work on b and on plain memory must end in the same content. */
static void behave_like_memory(struct block *b)
{
	struct error err = { 0 };
	uint64_t seed = 42;
	size_t size = (size_t)b->size;
	uint8_t *model = calloc(1, size), *buf = malloc(size);
	assert_true(model && buf);
	for (int i = 0; i < 400; i++) {
		uint64_t offset = next_random(&seed) % (size + 1), len = next_random(&seed) % (size - offset + 1);
		if (next_random(&seed) % 4)
			len %= 5000;
		if (next_random(&seed) % 3) {
			memset(buf, (int)(next_random(&seed) % 255 + 1), len);
			assert_int_equal(block_write(b, offset, buf, len, &err), 0);
			memcpy(model + offset, buf, len);
		} else {
			assert_int_equal(block_zero(b, offset, len, &err), 0);
			memset(model + offset, 0, len);
		}
		block_prefetch(b, offset, len);
	}
	assert_int_equal(block_sync(b, &err), 0);
	assert_int_equal(block_read(b, 0, buf, size, &err), 0);
	assert_memory_equal(buf, model, size);
	struct expected e = { model, 0 };
	assert_int_equal(block_extents(b, 0, size, check_extent, &e, &err), 0);
	assert_int_equal(e.at, size);
	free(model);
	free(buf);
}

static void every_kind_behaves_like_memory(void **state)
{
	(void)state;
	static uint8_t memory[300001];
	struct error err = { 0 };
	CLEAN_BLOCK struct block *m = NULL, *s = NULL, *of_file = NULL;
	CLEAN_BLOCK struct block *file = new_file("model", 1000003); /* of an odd size */
	assert_int_equal(block_open_memory(&m, memory, sizeof memory, true, &err), 0);
	behave_like_memory(m);
	assert_int_equal(block_zero(m, 0, m->size, &err), 0);
	assert_int_equal(block_open_slice(&s, m, 1001, 200000, "slice", &err), 0);
	behave_like_memory(s);
	assert_true(block_is_zero(memory, 1001));
	assert_true(block_is_zero(memory + 201001, 99000));
	behave_like_memory(file);
	assert_int_equal(block_zero(file, 0, file->size, &err), 0);
	assert_int_equal(block_open_slice(&of_file, file, 4096, 555555, "slice", &err), 0);
	behave_like_memory(of_file);
}

static void ranges_are_checked(void **state)
{
	(void)state;
	uint8_t memory[1000] = { 0 }, data[100];
	struct error err = { 0 };
	CLEAN_BLOCK struct block *b = NULL, *s = NULL;
	assert_int_equal(block_open_memory(&b, memory, sizeof memory, true, &err), 0);
	assert_int_equal(block_read(b, 901, data, 100, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_string_equal(err.text, "read 100 bytes at 901 of memory: it has only 1000 bytes");
	assert_int_equal(block_read(b, UINT64_MAX, data, 100, &err), -1);
	assert_int_equal(block_write(b, UINT64_MAX - 50, data, 100, &err), -1);
	assert_int_equal(block_zero(b, 1, UINT64_MAX, &err), -1);
	assert_int_equal(block_extents(b, 1001, 0, NULL, NULL, &err), -1);
	assert_int_equal(block_extents(b, 1000, 0, NULL, NULL, &err), 0);
	assert_int_equal(block_read(b, 1000, data, 0, &err), 0);
	assert_int_equal(block_read(b, 900, data, 100, &err), 0);
	assert_int_equal(block_open_slice(&s, b, 900, 101, "s", &err), -1);
	assert_int_equal(block_open_slice(&s, b, UINT64_MAX, 2, "s", &err), -1);
	assert_null(s);
	block_discard(b, 0, 5000);
	block_prefetch(b, 0, 5000);
}

static void what_is_read_only_stays_so(void **state)
{
	(void)state;
	uint8_t memory[1000] = { 1 };
	struct error err = { 0 };
	CLEAN_BLOCK struct block *b = NULL, *s = NULL;
	assert_int_equal(block_open_memory(&b, memory, sizeof memory, false, &err), 0);
	assert_int_equal(block_open_slice(&s, b, 0, 10, "s", &err), 0);
	assert_int_equal(block_write(b, 0, "x", 1, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(block_write(s, 0, "x", 1, &err), -1);
	assert_int_equal(block_zero(s, 0, 1, &err), -1);
	block_discard(s, 0, 10);
	assert_int_equal(block_sync(s, &err), 0);
	assert_int_equal(memory[0], 1);
}

struct runs {
	uint64_t start[8], len[8];
	enum block_extent kind[8];
	size_t count;
	size_t stop_at;
};

static int note_run(void *cookie, uint64_t offset, uint64_t len, enum block_extent kind)
{
	struct runs *r = cookie;
	assert_true(r->count < 8);
	r->start[r->count] = offset;
	r->len[r->count] = len;
	r->kind[r->count++] = kind;
	return r->count == r->stop_at ? 7 : 0;
}

static void extents_show_the_holes_of_a_file(void **state)
{
	(void)state;
	struct error err = { 0 };
	uint64_t mb = 1 << 20;
	CLEAN_BLOCK struct block *b = new_file("holes", 8 * mb + 5), *s = NULL;
	uint8_t *data = malloc(mb);
	memset(data, 7, mb);
	assert_int_equal(block_write(b, 2 * mb, data, mb, &err), 0);
	assert_int_equal(block_write(b, 6 * mb, data, mb, &err), 0);
	free(data);

	struct runs r = { .count = 0 };
	assert_int_equal(block_extents(b, 0, b->size, note_run, &r, &err), 0);
	if (r.count == 1 && r.kind[0] == BLOCK_DATA) {
		print_message("skipped: the temporary folder's filesystem has no holes\n");
		skip();
	}
	assert_int_equal(r.count, 5);
	assert_int_equal(r.kind[0], BLOCK_ZERO);
	assert_int_equal(r.start[1], 2 * mb);
	assert_int_equal(r.len[1], mb);
	assert_int_equal(r.start[4] + r.len[4], b->size);

	assert_int_equal(block_open_slice(&s, b, mb, 4 * mb, "s", &err), 0);
	r = (struct runs){ .stop_at = 2 };
	assert_int_equal(block_extents(s, 512, 3 * mb, note_run, &r, &err), 7);
	assert_int_equal(r.start[0], 512);
	assert_int_equal(r.start[1], mb);
	assert_int_equal(r.kind[1], BLOCK_DATA);

	assert_int_equal(block_zero(b, 0, b->size, &err), 0);
	r = (struct runs){ .count = 0 };
	assert_int_equal(block_extents(b, 0, b->size, note_run, &r, &err), 0);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.kind[0], BLOCK_ZERO);
}

static void a_file_that_shrinks_is_an_error(void **state)
{
	(void)state;
	struct error err = { 0 };
	uint8_t data[4096];
	CLEAN_BLOCK struct block *b = new_file("shrinks", 100000);
	assert_int_equal(truncate(path_of("shrinks"), 50000), 0);
	assert_int_equal(block_read(b, 48000, data, sizeof data, &err), -1);
	assert_int_equal(err.kind, ERR_IO);
	assert_non_null(strstr(err.text, "read 4096 bytes at 48000 of "));
	assert_non_null(strstr(err.text, "it ends early, at 50000"));
}

static void what_is_no_disk_is_refused(void **state)
{
	(void)state;
	struct error err = { 0 };
	struct block *b = NULL;
	assert_int_equal(block_open_file(&b, folder, false, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	assert_int_equal(block_open_file(&b, path_of("fifo"), false, &err), -1); /* and does not hang */
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(block_open_file(&b, "/dev/null", false, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(block_open_file(&b, path_of("nothing"), false, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_null(b);
}

static void a_long_path_keeps_its_end(void **state)
{
	(void)state;
	struct error err = { 0 };
	char label[300];
	memset(label, 'a', sizeof label);
	snprintf(label + 280, 20, "/disk.img");
	int fd = open(path_of("long"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CLEAN_BLOCK struct block *b = NULL;
	assert_int_equal(block_open_fd(&b, fd, label, false, &err), 0);
	assert_int_equal(strlen(b->label), sizeof b->label - 1);
	assert_string_equal(b->label + strlen(b->label) - 9, "/disk.img");
	assert_int_equal(b->size, 0);
}

static void zero_is_seen_at_every_place(void **state)
{
	(void)state;
	uint8_t data[300] = { 0 };
	for (size_t start = 0; start < 40; start++)
		for (size_t len = 0; len < 200; len++) {
			data[start + len] = 1;
			if (start)
				data[start - 1] = 1;
			assert_true(block_is_zero(data + start, len));
			for (size_t i = 0; i < len; i++) {
				data[start + i] = 0x80;
				assert_false(block_is_zero(data + start, len));
				data[start + i] = 0;
			}
			data[start + len] = 0;
			if (start)
				data[start - 1] = 0;
		}
}

/* A loop device over a new file; false, with the reason printed, where the machine gives none. */
static bool attach(const char *name, uint64_t size, unsigned sector)
{
	block_free(new_file(name, size));
	char command[700];
	snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin losetup -b %u -f --show '%s' 2>/dev/null", sector,
	         path_of(name));
	FILE *out = geteuid() == 0 ? popen(command, "r") : NULL;
	if (out && fgets(device, sizeof device, out))
		device[strcspn(device, "\n")] = 0;
	if (out)
		pclose(out);
	if (!device[0])
		print_message("skipped: %s\n", geteuid() ? "needs root" : "no loop device to be had");
	return device[0];
}

static void a_device_works_like_a_file(void **state)
{
	(void)state;
	struct error err = { 0 };
	for (unsigned sector = 512; sector <= 4096; sector *= 8) {
		if (!attach("loop", 4 << 20, sector))
			skip();
		struct block *b = NULL;
		assert_int_equal(block_open_file(&b, device, true, &err), 0);
		assert_int_equal(b->size, 4 << 20);
		assert_int_equal(b->sector, sector);
		behave_like_memory(b);
		block_discard(b, 1, b->size - 1);
		struct runs r = { .count = 0 };
		assert_int_equal(block_extents(b, 0, b->size, note_run, &r, &err), 0);
		assert_int_equal(r.count, 1);
		assert_int_equal(r.kind[0], BLOCK_DATA);
		block_free(b);
		detach();
	}
}

static void a_mounted_device_is_not_written(void **state)
{
	(void)state;
	struct error err = { 0 };
	struct block *b = NULL;
	char at[300];
	snprintf(at, sizeof at, "%s/at", folder);
	if (!attach("mounted", 8 << 20, 512))
		skip();
	mkdir(at, 0700);
	if (run("PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -qF %s >/dev/null 2>&1", device) || mount(device, at, "ext4", 0, "")) {
		detach();
		print_message("skipped: this machine does not mount\n");
		skip();
	}
	int opened = block_open_file(&b, device, true, &err);
	int read_only = block_open_file(&b, device, false, NULL);
	umount(at);
	detach();
	assert_int_equal(opened, -1);
	assert_int_equal(err.kind, ERR_BUSY);
	assert_non_null(strstr(err.text, "mounted"));
	assert_int_equal(read_only, 0);
	block_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_behaves_like_memory),
		cmocka_unit_test(ranges_are_checked),
		cmocka_unit_test(what_is_read_only_stays_so),
		cmocka_unit_test(extents_show_the_holes_of_a_file),
		cmocka_unit_test(a_file_that_shrinks_is_an_error),
		cmocka_unit_test(what_is_no_disk_is_refused),
		cmocka_unit_test(a_long_path_keeps_its_end),
		cmocka_unit_test(zero_is_seen_at_every_place),
		cmocka_unit_test(a_device_works_like_a_file),
		cmocka_unit_test(a_mounted_device_is_not_written),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
