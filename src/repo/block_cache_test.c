/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "repo/block_cache.h"
#include "repo/ids.h"
#include "repo/test_snapshot.h"

#define KIB 1024u

struct place_of_caches {
	char root[64];
	char folder[2][160]; /* of two repositories */
};

static void make_root(struct place_of_caches *p)
{
	snprintf(p->root, sizeof p->root, "/tmp/twofold-test-XXXXXX");
	assert_non_null(mkdtemp(p->root));
	for (int i = 0; i < 2; i++)
		snprintf(p->folder[i], sizeof p->folder[i], "%s/%064d", p->root, i);
}

static void remove_root(const struct place_of_caches *p)
{
	char command[96];
	snprintf(command, sizeof command, "rm -rf %s", p->root);
	assert_int_equal(system(command), 0);
}

static struct id id_of(uint8_t n)
{
	struct id id;
	memset(id.b, n, ID_SIZE);
	return id;
}

static void put(struct block_cache *c, uint8_t n, uint32_t part, size_t len)
{
	CLEAN_FREE uint8_t *bytes = malloc(len);
	struct id id = id_of(n);
	memset(bytes, n, len);
	block_cache_put(c, &id, part, bytes, len);
}

static bool has(struct block_cache *c, uint8_t n, uint32_t part, size_t len)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id = id_of(n);
	if (!block_cache_get(c, &id, part, 1u << 20, &bytes))
		return false;
	assert_int_equal(bytes.len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(bytes.data[i], n);
	return true;
}

/* As if it had been used so many minutes ago. */
static void age(const char *folder, uint8_t n, uint32_t part, int minutes)
{
	char hex[ID_HEX_SIZE], path[512];
	struct id id = id_of(n);
	struct timespec times[2];
	clock_gettime(CLOCK_REALTIME, &times[0]);
	times[0].tv_sec -= 60l * minutes;
	times[1] = times[0];
	id_to_hex(&id, hex);
	snprintf(path, sizeof path, "%s/blocks/%s-%08x", folder, hex, part);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_puts_and_gets(void **state)
{
	(void)state;
	struct place_of_caches p;
	make_root(&p);
	struct block_cache *c = block_cache_new(p.folder[0], 1u << 20);
	assert_false(has(c, 1, 0, 100));
	put(c, 1, 0, 100);
	put(c, 1, BLOCK_CACHE_OBJECT, 60);
	assert_true(has(c, 1, 0, 100));
	assert_true(has(c, 1, BLOCK_CACHE_OBJECT, 60));
	assert_false(has(c, 1, 1, 100));
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id = id_of(1);
	assert_false(block_cache_get(c, &id, 0, 99, &bytes)); /* longer than asked for */
	block_cache_drop(c, &id, 0);
	assert_false(has(c, 1, 0, 100));
	assert_true(has(c, 1, BLOCK_CACHE_OBJECT, 60));
	/* No cache at all. */
	assert_false(block_cache_get(NULL, &id, 0, 99, &bytes));
	block_cache_put(NULL, &id, 0, "x", 1);
	block_cache_drop(NULL, &id, 0);
	block_cache_free(c);
	remove_root(&p);
}

/* What was used last stays, in whichever repository. */
static void test_limit(void **state)
{
	(void)state;
	struct place_of_caches p;
	make_root(&p);
	struct block_cache *one = block_cache_new(p.folder[0], 160 * KIB), *other = block_cache_new(p.folder[1], 160 * KIB);
	for (uint8_t n = 0; n < 8; n++) {
		put(n % 2 ? other : one, n, n, 10 * KIB);
		age(p.folder[n % 2], n, n, 100 - n);
	}
	assert_true(has(one, 0, 0, 10 * KIB)); /* used again just now: 1 is the oldest */
	for (uint8_t n = 8; n < 18; n++)
		put(one, n, n, 10 * KIB);
	size_t left = 0;
	for (uint8_t n = 0; n < 18; n++)
		left += has(n < 8 && n % 2 ? other : one, n, n, 10 * KIB);
	assert_true(left <= 16 && left >= 12);
	assert_true(has(one, 0, 0, 10 * KIB));
	assert_false(has(other, 1, 1, 10 * KIB));
	assert_false(has(one, 2, 2, 10 * KIB));
	assert_true(has(one, 17, 17, 10 * KIB));
	/* Too large for the limit. */
	put(one, 40, 0, 161 * KIB);
	assert_false(has(one, 40, 0, 161 * KIB));
	block_cache_free(one);
	block_cache_free(other);
	remove_root(&p);
}

/* Where nothing can be written, nothing is kept, and nothing else happens. */
static void test_unwritable(void **state)
{
	(void)state;
	struct place_of_caches p;
	make_root(&p);
	int fd = open(p.folder[0], O_WRONLY | O_CREAT, 0600); /* a file where the folder should be */
	assert_true(fd >= 0);
	close(fd);
	struct block_cache *c = block_cache_new(p.folder[0], 1u << 20);
	put(c, 1, 0, 100);
	put(c, 1, 0, 100);
	assert_false(has(c, 1, 0, 100));
	block_cache_free(c);
	remove_root(&p);
}

static void test_tidy(void **state)
{
	(void)state;
	struct place_of_caches p;
	make_root(&p);
	struct block_cache *c = block_cache_new(p.folder[0], 1u << 20);
	struct id now = id_of(200), later = id_of(201), kept = id_of(1);
	CLEAN_BUF struct buf packs = BUF_INIT;
	assert_true(block_cache_is_tidy(c, &now)); /* nothing is there */
	put(c, 1, 0, 100);
	put(c, 2, 0, 100);
	put(c, 2, BLOCK_CACHE_HEAD, 100);
	put(c, 3, BLOCK_CACHE_OBJECT, 100);
	buf_add(&packs, kept.b, ID_SIZE);
	assert_false(block_cache_is_tidy(c, &now));
	block_cache_tidy(c, &now, &packs);
	assert_true(block_cache_is_tidy(c, &now));
	assert_false(block_cache_is_tidy(c, &later));
	assert_true(has(c, 1, 0, 100));
	assert_false(has(c, 2, 0, 100));
	assert_false(has(c, 2, BLOCK_CACHE_HEAD, 100));
	assert_true(has(c, 3, BLOCK_CACHE_OBJECT, 100));
	block_cache_free(c);
	remove_root(&p);
}

static void *worker(void *arg)
{
	for (int round = 0; round < 300; round++) {
		uint8_t n = (uint8_t)(round % 40);
		if (!has(arg, n, 7, 4 * KIB))
			put(arg, n, 7, 4 * KIB);
	}
	return NULL;
}

/* Two caches as two processes have them, two threads each, over a limit that makes them evict all the time. */
static void test_shared(void **state)
{
	(void)state;
	struct place_of_caches p;
	make_root(&p);
	struct block_cache *c[2] = { block_cache_new(p.folder[0], 80 * KIB), block_cache_new(p.folder[0], 80 * KIB) };
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, c[i / 2]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	size_t left = 0;
	for (uint8_t n = 0; n < 40; n++)
		left += has(c[0], n, 7, 4 * KIB);
	assert_true(left && left <= 20 + 2 * 2);
	block_cache_free(c[0]);
	block_cache_free(c[1]);
	remove_root(&p);
}

/* --- in a repository ------------------------------------------------------------------------ */

static struct repo *open_cached(const struct test_repo *t)
{
	struct repo *r = NULL;
	char cache[96];
	snprintf(cache, sizeof cache, "%s/cache", t->root);
	TEST_OK(repo_open(&r, t->location, &test_secret, cache, &err));
	repo_cache_blocks(r, 1u << 20);
	TEST_OK(repo_load_index(r, &err));
	return r;
}

static int shell(const struct test_repo *t, const char *command)
{
	char line[512];
	snprintf(line, sizeof line, "cd %s && { %s; } >/dev/null 2>&1", t->root, command);
	return system(line);
}

static int get_page(const struct test_repo *t, const struct id *id, const uint8_t *expected, size_t len)
{
	CLEAN_REPO struct repo *r = open_cached(t);
	CLEAN_BUF struct buf page = BUF_INIT;
	if (repo_get_page(r, id, &page, NULL) < 0)
		return -1;
	assert_int_equal(page.len, len);
	assert_memory_equal(page.data, expected, len);
	return 0;
}

static void test_damaged_file(void **state)
{
	(void)state;
	struct test_repo t;
	uint8_t page[3000], data[3000];
	struct id id;
	test_repo_make(&t);
	test_fill(page, sizeof page, 1);
	test_fill(data, sizeof data, 2);
	test_begin(&t);
	test_chunk(&t, data, sizeof data);
	TEST_OK(writer_put(t.writer, 0, CHUNK_META, page, sizeof page, &id, &err));
	TEST_OK(writer_flush(t.writer, &err));
	writer_free(TAKE(t.writer));

	assert_int_equal(get_page(&t, &id, page, sizeof page), 0);
	assert_int_equal(shell(&t, "[ $(ls cache/*/blocks/*-0* | wc -l) = 1 ] && mv repository/packs packs"), 0);
	assert_int_equal(get_page(&t, &id, page, sizeof page), 0); /* out of the cache: the packs are not there */

	static const char *const damages[] = {
		"f=$(ls cache/*/blocks/*-0*) && cp $f whole && byte=$(od -An -tu1 -j1000 -N1 $f) && printf \"\\\\$(printf %03o $((byte ^ 1)))\" | dd of=$f bs=1 seek=1000 conv=notrunc && ! cmp $f whole",
		"f=$(ls cache/*/blocks/*-0*) && truncate -s 100 $f",
		"f=$(ls cache/*/blocks/*-0*) && truncate -s 0 $f",
		"f=$(ls cache/*/blocks/*-0*) && echo more >>$f",
		"f=$(ls cache/*/blocks/*-0*) && head -c $(stat -c %s $f) /dev/zero >zero && mv zero $f",
		"rm cache/*/blocks/*-0*",
	};
	for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
		assert_int_equal(shell(&t, damages[i]), 0);
		assert_int_equal(get_page(&t, &id, page, sizeof page), -1);
		assert_int_equal(shell(&t, "mv packs repository/packs"), 0);
		assert_int_equal(get_page(&t, &id, page, sizeof page), 0);
		assert_int_equal(shell(&t, "cmp whole cache/*/blocks/*-0* && mv repository/packs packs"), 0);
	}
	test_repo_done(&t);
}

/* What a writer stores is in its cache before it is asked for; packs that no segment names leave it. */
static void test_written_through(void **state)
{
	(void)state;
	struct test_repo t;
	uint8_t page[3000];
	struct id id;
	test_repo_make(&t);
	test_fill(page, sizeof page, 3);
	repo_free(t.repo);
	t.repo = open_cached(&t);
	test_begin(&t);
	TEST_OK(writer_put(t.writer, 0, CHUNK_META, page, sizeof page, &id, &err));
	TEST_OK(writer_flush(t.writer, &err));
	writer_free(TAKE(t.writer));
	assert_int_equal(shell(&t, "mv repository/packs packs"), 0);
	assert_int_equal(get_page(&t, &id, page, sizeof page), 0);
	assert_int_equal(shell(&t, "ls cache/*/blocks/*-0*"), 0);
	assert_int_equal(shell(&t, "rm repository/index/*"), 0);
	repo_free(open_cached(&t));
	assert_int_not_equal(shell(&t, "ls cache/*/blocks/*-0*"), 0);
	test_repo_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_puts_and_gets), cmocka_unit_test(test_limit),        cmocka_unit_test(test_unwritable),      cmocka_unit_test(test_tidy),
		cmocka_unit_test(test_shared),        cmocka_unit_test(test_damaged_file), cmocka_unit_test(test_written_through),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
