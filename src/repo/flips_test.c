/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Damage of every kind, in every object of a repository that has all kinds: bits flipped in each structure, objects cut short, made longer, swapped, put in another's place, lost. The check must find each, and with parity a repair must bring
 * every object back, bit for bit. ./dev flips N flips N more bits in each object; the last line says how many there were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/check.h"
#include "repo/format/pack.h"
#include "repo/object.h"
#include "repo/parity.h"
#include "repo/repair.h"
#include "repo/test_snapshot.h"

#define BIG (1u << 20)
#define OBJECTS_MAX 60

/* As the repository was made, and is again after each case. */
static struct {
	char name[OBJECT_KEY_MAX];
	struct buf bytes;
} whole[OBJECTS_MAX];
static size_t whole_count;

static struct repo *repo; /* on a store in memory */
static struct store *store;
static unsigned flips, found, healed;

/* --- a repository ----------------------------------------------------------------------------- */

static void make_files(struct test_repo *t, uint32_t seed)
{
	uint8_t *data = malloc(BIG);
	test_fill(data, BIG, seed);
	test_begin(t);
	struct node files[2] = { test_file(t, "a", data, BIG, 300000, false), test_file(t, "b", data + seed, 200000, 9000, true) };
	struct snapshot s = { .kind = SNAPSHOT_FILES, .tree = test_tree(t, files, 2) };
	test_commit(t, &s, seed);
	free(data);
}

static void make_image(struct test_repo *t)
{
	uint8_t *data = malloc(BIG);
	test_fill(data, BIG, 99);
	test_begin(t);
	struct map_range ranges[2] = { { MAP_DATA, BIG / 2, test_chunk(t, data, BIG / 2), 0, BIG / 2 }, { .kind = MAP_UNUSED, .length = BIG / 2 } };
	struct snapshot s = { .kind = SNAPSHOT_IMAGE, .sector = 512, .disk_size = BIG };
	s.map = test_map(t, ranges, 2);
	test_commit(t, &s, 3000);
	free(data);
}

static int note_whole(void *cookie, const char *key, uint64_t size)
{
	struct test_repo *t = cookie;
	(void)size;
	assert_true(whole_count < OBJECTS_MAX);
	snprintf(whole[whole_count].name, OBJECT_KEY_MAX, "%s", key);
	TEST_OK(store_read(t->repo->store, key, 64u << 20, &whole[whole_count++].bytes, &err));
	return 0;
}

static int setup(void **state)
{
	(void)state;
	struct test_repo t;
	struct parity_report report;
	struct id id;
	const struct parity_options options = { .percent = 10 };
	const struct repo_secret other = { .how = SEAL_WRAP_KEYFILE, .data = "another-key-file-of-32-bytes-ab!", .len = 32 };
	test_repo_make(&t);
	make_files(&t, 1);
	make_files(&t, 2);
	make_image(&t);
	TEST_OK(repo_key_add(t.repo, &other, "second", &id, &err));
	TEST_OK(parity_add(t.repo, &options, &report, &err));
	TEST_OK(t.repo->store->ops->list(t.repo->store, "", note_whole, &t, &err));
	test_repo_done(&t);
	TEST_OK(store_open_memory(&store, &err));
	for (size_t i = 0; i < whole_count; i++)
		TEST_OK(store_write(store, whole[i].name, whole[i].bytes.data, whole[i].bytes.len, &err));
	TEST_OK(repo_open_store(&repo, store, &test_secret, NULL, &err));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	repo_free(repo);
	for (size_t i = 0; i < whole_count; i++)
		buf_done(&whole[i].bytes);
	return 0;
}

/* --- looking, and healing ------------------------------------------------------------------------- */

static bool is_in(size_t i, const char *folder)
{
	return strncmp(whole[i].name, folder, strlen(folder)) == 0;
}

static void put(size_t i, const void *bytes, size_t len)
{
	TEST_OK(store->ops->remove(store, whole[i].name, &err));
	TEST_OK(store_write(store, whole[i].name, bytes, len, &err));
}

struct named {
	const char *object;
	bool seen;
};

static void note_damage(void *cookie, const char *object, const char *what)
{
	struct named *n = cookie;
	(void)what;
	n->seen |= strcmp(object, n->object) == 0;
}

static void note_hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	(void)cookie, (void)snapshot, (void)path, (void)path_len, (void)area, (void)what;
}

/* What opening looks at is not looked at again by the check. */
static bool opening_fails(size_t i)
{
	return object_verify(store, NULL, whole[i].name, whole[i].bytes.len, NULL) < 0;
}

static bool check_finds(size_t i)
{
	struct named n = { whole[i].name, false };
	struct check_options options = { .read_data = true, .percent = 100, .threads = 1 };
	const struct check_sink sink = { note_damage, note_hit, &n };
	struct check_report report;
	if (strcmp(whole[i].name, "twofold") == 0)
		return opening_fails(i);
	TEST_OK(repo_check(repo, &options, &sink, &report, &err));
	return n.seen;
}

static void note_healed(void *cookie, const char *object, const char *how)
{
	(void)how;
	note_damage(cookie, object, NULL);
}

static void note_loss(void *cookie, const char *object, const char *why)
{
	(void)cookie;
	fail_msg("%s stays damaged: %s", object, why);
}

static int remove_one(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	buf_add(cookie, key, strlen(key) + 1);
	return 0;
}

/* All objects as they were; what lies aside goes. */
static void expect_whole(void)
{
	CLEAN_BUF struct buf now = BUF_INIT, aside = BUF_INIT;
	uint64_t count;
	TEST_OK(repair_discard_aside(store, &count, &err));
	for (size_t i = 0; i < whole_count; i++) {
		TEST_OK(store_read(store, whole[i].name, 64u << 20, &now, &err));
		if (now.len != whole[i].bytes.len || memcmp(now.data, whole[i].bytes.data, now.len) != 0)
			fail_msg("%s is not what it was", whole[i].name);
	}
	TEST_OK(store->ops->list(store, "", remove_one, &aside, &err));
	size_t objects = 0;
	for (const char *at = (const char *)aside.data; at < (const char *)aside.data + aside.len; at += strlen(at) + 1)
		objects++;
	assert_int_equal(objects, whole_count);
}

/* Parity objects are made anew, not healed: put back by hand. */
static void expect_healing(size_t i)
{
	struct named n = { whole[i].name, false };
	const struct repair_options options = { .host = "h", .level = 1 };
	const struct repair_sink sink = { .healed = note_healed, .lost = note_loss, .cookie = &n };
	struct repair_report report;
	uint64_t count;
	if (is_in(i, "parity/")) {
		TEST_OK(repo_repair(repo, &options, &sink, &report, &err));
		put(i, whole[i].bytes.data, whole[i].bytes.len);
	} else {
		TEST_OK(repair_entrance(store, &options, &sink, &count, &err));
		TEST_OK(repo_repair(repo, &options, &sink, &report, &err));
		if (!n.seen)
			fail_msg("%s was not healed", whole[i].name);
		healed++;
	}
	expect_whole();
}

/* --- damage -------------------------------------------------------------------------------------------- */

static void flip(size_t i, uint64_t bit)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	buf_add(&b, whole[i].bytes.data, whole[i].bytes.len);
	b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	put(i, b.data, b.len);
	flips++;
	/* What a key's secret protects is seen when it is used, or by parity; the check looks at its form. */
	bool seen = check_finds(i);
	if (!seen && !is_in(i, "keys/"))
		fail_msg("a flipped bit %llu of %s was not found", (unsigned long long)bit, whole[i].name);
	found += seen;
	expect_healing(i);
}

/* One bit of every field: heads, ids, tables, tags, ends. */
static size_t structures(size_t i, uint64_t ret[64])
{
	size_t n = 0, len = whole[i].bytes.len;
	const uint8_t *b = whole[i].bytes.data;
	const uint64_t fields[] = { 0, 8, 10, 11, 12, 14, 15, 16, 24, 28, 32, 47, 48, 60, 63, 79, 80, 112 };
	const uint64_t back[] = { 1, 9, 12, 20, 28, 32, 33, 48, 64, 64 + PARITY_GAP, 128 + PARITY_GAP };
	for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
		if (fields[k] < len)
			ret[n++] = fields[k] * 8 + k % 8;
	for (size_t k = 0; k < sizeof back / sizeof *back; k++)
		if (back[k] <= len)
			ret[n++] = (len - back[k]) * 8 + k % 8;
	uint64_t table;
	uint32_t length;
	if (is_in(i, "packs/") && pack_footer_decode(&table, &length, b + len - PACK_FOOTER_SIZE, len, NULL) == 0) {
		ret[n++] = table * 8;
		ret[n++] = (table - 1) * 8;
	}
	return n;
}

static void bits_in_every_structure(void **state)
{
	(void)state;
	uint64_t bits[64];
	for (size_t i = 0; i < whole_count; i++) {
		size_t count = structures(i, bits);
		/* The short form takes every third. */
		for (size_t k = i % 3; k < count; k += getenv("TWOFOLD_FLIPS") ? 1 : 3)
			flip(i, bits[k]);
	}
}

static void bits_anywhere(void **state)
{
	(void)state;
	uint32_t random = (uint32_t)time(NULL);
	const char *wanted = getenv("TWOFOLD_FLIPS");
	long count = wanted ? strtol(wanted, NULL, 10) : 1;
	print_message("seed %u\n", random);
	for (size_t i = 0; i < whole_count; i++)
		for (long k = 0; k < count; k++) {
			random = random * 1664525u + 1013904223u;
			flip(i, (uint64_t)random * 2654435761u % (whole[i].bytes.len * 8));
		}
}

static void expect_found(size_t i, const char *how)
{
	if (!check_finds(i))
		fail_msg("%s: %s was not found", how, whole[i].name);
	found++;
	expect_healing(i);
}

static void lengths(void **state)
{
	(void)state;
	CLEAN_BUF struct buf longer = BUF_INIT;
	for (size_t i = 0; i < whole_count; i++) {
		size_t len = whole[i].bytes.len;
		for (size_t k = 0; k < 3; k++) {
			put(i, whole[i].bytes.data, k == 0 ? 0 : k == 1 ? len / 2 : len - 1);
			expect_found(i, "cut short");
		}
		buf_clear(&longer);
		buf_add(&longer, whole[i].bytes.data, len);
		buf_add_u8(&longer, 0);
		put(i, longer.data, longer.len);
		expect_found(i, "longer");
	}
}

/* Another object of the same folder in its place: a swap is two of these. Keys have no name of their own, so any key is a key; parity objects of equal length likewise. */
static void others_in_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < whole_count; i++)
		for (size_t k = 0; k < whole_count; k++) {
			size_t folder = strcspn(whole[i].name, "/") + 1;
			if (i == k || strncmp(whole[i].name, whole[k].name, folder) != 0 || is_in(i, "keys/") || is_in(i, "parity/"))
				continue;
			put(i, whole[k].bytes.data, whole[k].bytes.len);
			expect_found(i, "in another's place");
		}
}

/* A copy under a name of its own, and under another kind's. */
static void doubles(void **state)
{
	(void)state;
	static const char *const folders[] = { "index/", "snapshots/", "packs/ee/" };
	for (size_t i = 0; i < whole_count; i++)
		for (size_t k = 0; k < 3; k++) {
			char name[OBJECT_KEY_MAX];
			struct named n = { name, false };
			struct check_options options = { .threads = 1 };
			const struct check_sink sink = { note_damage, note_hit, &n };
			struct check_report report;
			if (is_in(i, "keys/") || is_in(i, "parity/") || strcmp(whole[i].name, "twofold") == 0)
				continue;
			snprintf(name, sizeof name, "%seeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee", folders[k]);
			TEST_OK(store_write(store, name, whole[i].bytes.data, whole[i].bytes.len, &err));
			TEST_OK(repo_check(repo, &options, &sink, &report, &err));
			TEST_OK(store->ops->remove(store, name, &err));
			if (!n.seen)
				fail_msg("a copy of %s as %s was not found", whole[i].name, name);
			found++;
			expect_whole();
		}
}

/* Lost objects that are missed. A snapshot or key that is gone is as one that was removed; a segment is made anew, which repair's own tests see. */
static void losses(void **state)
{
	(void)state;
	for (size_t i = 0; i < whole_count; i++) {
		if (!is_in(i, "packs/") && strcmp(whole[i].name, "twofold") != 0)
			continue;
		TEST_OK(store->ops->remove(store, whole[i].name, &err));
		expect_found(i, "lost");
	}
}

static void count(void **state)
{
	(void)state;
	print_message("%u bits flipped; %u cases of damage found by the check, %u healed, in %zu objects\n", flips, found, healed, whole_count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_in_every_structure),
		cmocka_unit_test(bits_anywhere),
		cmocka_unit_test(lengths),
		cmocka_unit_test(others_in_its_place),
		cmocka_unit_test(doubles),
		cmocka_unit_test(losses),
		cmocka_unit_test(count),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
