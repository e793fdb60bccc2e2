/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For tests of images: takes them, reads their maps and files back, compares. Include cmocka.h before. */
#ifndef CAPTURE_TEST_IMAGE_H
#define CAPTURE_TEST_IMAGE_H

#include <sys/mman.h>

#include "capture/image.h"
#include "capture/test_capture.h"

/* In front of a shell command that needs the tools of an administrator. */
#define TOOLS "PATH=$PATH:/usr/sbin:/sbin; "

static struct test_repo t;
static char disk[96]; /* the source of most tests */
static struct warnings warnings = { .lock = PTHREAD_MUTEX_INITIALIZER };
static const struct warner warner = { keep_warning, &warnings };

static inline int setup(void **state)
{
	(void)state;
	test_repo_make(&t);
	snprintf(disk, sizeof disk, "%s/disk", t.root);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	warnings_clear(&warnings);
	test_repo_done(&t);
	return 0;
}

static inline void need_tools(const char *tools)
{
	char command[256];
	snprintf(command, sizeof command, TOOLS "for tool in %s; do command -v $tool >/dev/null || exit 1; done", tools);
	if (system(command) != 0) {
		print_message("one of %s is not installed\n", tools);
		skip();
	}
}

static inline struct capture_image_options options_of(const char *path)
{
	warnings_clear(&warnings);
	return (struct capture_image_options){ .path = path, .host = "host", .user = "user", .program = "test", .threads = 3, .level = 1, .warner = &warner };
}

static inline struct snapshot take(const char *path)
{
	struct capture_image_options o = options_of(path);
	struct snapshot s = { 0 };
	struct id id;
	test_repo_open(&t);
	TEST_OK(capture_image(t.repo, &o, &s, &id, &err));
	test_repo_open(&t);
	return s;
}

/* --- the map, read back ------------------------------------------------------------------ */

struct mapped {
	uint8_t *bytes; /* of the whole disk */
	uint8_t *kinds; /* enum map_kind, one a byte of the disk */
	uint64_t size;
	size_t ranges;
};

static inline void mapped_done(struct mapped *m)
{
	free(m->bytes);
	free(m->kinds);
}

typedef void (*range_fn)(void *cookie, uint64_t at, const struct map_range *range);

/* Every range in order; returns where the last one ends. */
static inline uint64_t each_range(const struct snapshot *s, range_fn fn, void *cookie)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	const uint8_t *record;
	size_t len;
	uint64_t at = 0;
	TEST_OK(seq_reader_new(&reader, SEQ_MAP, &s->map, repo_get_page, t.repo, &err));
	for (bool more = true; more;) {
		struct map_range range;
		TEST_OK(seq_next(reader, &more, &record, &len, NULL, &err));
		if (!more)
			break;
		TEST_OK(map_range_decode(&range, record, len, &err));
		fn(cookie, at, &range);
		at += range.length;
	}
	return at;
}

static inline void add_range(void *cookie, uint64_t at, const struct map_range *range)
{
	struct mapped *m = cookie;
	assert_true(at + range->length <= m->size);
	memset(m->kinds + at, (int)range->kind, range->length);
	m->ranges++;
	if (range->kind != MAP_DATA)
		return;
	CLEAN_BUF struct buf chunk = BUF_INIT;
	TEST_OK(repo_get(t.repo, CHUNK_DATA, &range->chunk, &chunk, &err));
	assert_int_equal(chunk.len, range->chunk_length);
	memcpy(m->bytes + at, chunk.data + range->offset, range->length);
}

static inline struct mapped read_map(const struct snapshot *s)
{
	struct mapped m = { calloc(1, s->disk_size), malloc(s->disk_size), s->disk_size, 0 };
	assert_non_null(m.bytes);
	assert_non_null(m.kinds);
	assert_int_equal(each_range(s, add_range, &m), s->disk_size);
	return m;
}

static inline uint8_t *read_disk(const char *path, uint64_t size)
{
	uint8_t *bytes = malloc(size);
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, size, 0), size);
	return bytes;
}

/* Everything that is not left out as unused equals the disk; ret (may be NULL) is what was read. */
static inline void expect_disk(const struct snapshot *s, const char *path, struct mapped *ret)
{
	struct mapped m = read_map(s);
	CLEAN_FREE uint8_t *bytes = read_disk(path, m.size);
	for (uint64_t i = 0; i < m.size; i++)
		if (m.kinds[i] != MAP_UNUSED && m.bytes[i] != bytes[i])
			fail_msg("byte %llu of the disk differs", (unsigned long long)i);
	if (ret)
		*ret = m;
	else
		mapped_done(&m);
}

static inline void count_kinds(void *cookie, uint64_t at, const struct map_range *range)
{
	(void)at;
	((uint64_t *)cookie)[range->kind] += range->length;
}

/* A path to a file of nearly 2^63 bytes that holds what the file at path holds. */
static inline void make_huge(const char *path, int *ret_fd, char ret[64])
{
	int fd = memfd_create("huge", 0);
	assert_true(fd >= 0);
	snprintf(ret, 64, "/proc/%ld/fd/%d", (long)getpid(), fd);
	if (path)
		shell("cat %s >%s", path, ret);
	assert_int_equal(ftruncate(fd, INT64_MAX - 4095), 0);
	*ret_fd = fd;
}

static inline void expect_file(const struct snapshot *s, const struct id *tree, const char *path, const void *bytes, size_t len)
{
	CLEAN_BUF struct buf got = BUF_INIT;
	struct node node;
	(void)s;
	if (!tree_find(t.repo, tree, path, &node))
		fail_msg("%s is not in the image's tree", path);
	assert_true(node.has_content);
	content_bytes(t.repo, &node.content, &got);
	node_done(&node);
	assert_int_equal(got.len, len);
	assert_memory_equal(got.data, bytes, len);
}

#endif
