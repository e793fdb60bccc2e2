/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/object.h"
#include "repo/parity.h"
#include "repo/rs.h"
#include "repo/test_snapshot.h"

#define BIG (1u << 20)

static struct test_repo t;
static const struct parity_options at_ten = { .percent = 10 };

/* --- the code itself ---------------------------------------------------------------------------- */

/* Slow multiplication, straight from the definition: what docs/FORMAT.md says, without the library. */
static uint8_t multiply(uint8_t a, uint8_t b)
{
	uint8_t product = 0;
	for (; b; b >>= 1) {
		if (b & 1)
			product ^= a;
		a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1d : 0));
	}
	return product;
}

static void shards_are_what_the_format_says(void **state)
{
	(void)state;
	static const unsigned numbers[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	uint8_t data[64], sums[8][64] = { { 0 } }, *to[8];
	test_fill(data, sizeof data, 5);
	for (unsigned k = 0; k < 8; k++)
		to[k] = sums[k];
	for (unsigned member = 0; member < RS_MEMBERS_MAX; member += 7) {
		memset(sums, 0, sizeof sums);
		rs_add(to, numbers, 8, member, data, sizeof data);
		for (unsigned k = 0; k < 8; k++)
			for (size_t i = 0; i < sizeof data; i++) /* C * data * (248 + k xor member) = data */
				assert_int_equal(multiply(sums[k][i], (uint8_t)((248 + k) ^ member)), data[i]);
	}
}

static void any_losses_come_back_from_any_shards(void **state)
{
	(void)state;
	enum { MEMBERS = 60, LEN = 1000 };
	static uint8_t members[MEMBERS][LEN], shards[8][LEN], sums[8][LEN], out[8][LEN];
	static const unsigned all[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	uint8_t *to[8], *from[8], *ret[8];
	for (unsigned k = 0; k < 8; k++)
		to[k] = shards[k];
	memset(shards, 0, sizeof shards);
	for (unsigned i = 0; i < MEMBERS; i++) {
		test_fill(members[i], LEN, i + 1);
		rs_add(to, all, 8, i, members[i], LEN);
	}
	for (unsigned round = 0; round < 200; round++) {
		unsigned count = 1 + round % 8, used[8], lost[8];
		for (unsigned k = 0; k < count; k++) {
			used[k] = (k + round) % 8;
			lost[k] = (round * 7 + k * 11) % MEMBERS;
			memcpy(sums[k], shards[used[k]], LEN);
			from[k] = sums[k];
			ret[k] = out[k];
		}
		for (unsigned i = 0; i < MEMBERS; i++) {
			bool is_lost = false;
			for (unsigned k = 0; k < count; k++)
				is_lost |= lost[k] == i;
			if (!is_lost)
				rs_add(from, used, count, i, members[i], LEN);
		}
		rs_solve(ret, from, used, lost, count, LEN);
		for (unsigned k = 0; k < count; k++)
			assert_memory_equal(out[k], members[lost[k]], LEN);
	}
}

/* --- a repository ------------------------------------------------------------------------------------- */

static void add_snapshot(uint32_t seed, size_t len)
{
	uint8_t *data = malloc(len);
	test_fill(data, len, seed);
	test_begin(&t);
	struct node file[1] = { test_file(&t, "f", data, len, 300000, false) };
	struct snapshot s = { .kind = SNAPSHOT_FILES, .tree = test_tree(&t, file, 1) };
	test_commit(&t, &s, seed);
	free(data);
}

static int setup(void **state)
{
	(void)state;
	test_repo_make(&t);
	add_snapshot(1, BIG);
	add_snapshot(2, BIG / 2);
	add_snapshot(3, 3 * BIG + 12345);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_repo_done(&t);
	return 0;
}

struct object_list {
	char names[100][OBJECT_KEY_MAX];
	uint64_t sizes[100];
	size_t count;
};

static int note(void *cookie, const char *key, uint64_t size)
{
	struct object_list *l = cookie;
	assert_true(l->count < 100);
	snprintf(l->names[l->count], OBJECT_KEY_MAX, "%s", key);
	l->sizes[l->count++] = size;
	return 0;
}

static struct object_list list(const char *prefix)
{
	struct object_list l = { .count = 0 };
	TEST_OK(t.repo->store->ops->list(t.repo->store, prefix, note, &l, &err));
	return l;
}

static void damage(const char *name, uint64_t at, size_t len)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", t.location, name);
	chmod(path, 0600);
	FILE *f = fopen(path, "r+");
	assert_non_null(f);
	for (size_t i = 0; i < len; i++) {
		fseek(f, (long)(at + i), SEEK_SET);
		int byte = fgetc(f);
		fseek(f, (long)(at + i), SEEK_SET);
		fputc(byte ^ 0x55, f);
	}
	assert_int_equal(fclose(f), 0);
}

static struct parity_report add(const struct parity_options *options)
{
	struct parity_report report;
	TEST_OK(parity_add(t.repo, options, &report, &err));
	return report;
}

static struct parity_status look(void)
{
	struct parity_status s;
	TEST_OK(parity_status(t.repo->store, &s, &err));
	return s;
}

/* All of the object through a healing store, compared with what it was. */
static bool heals(const char *name, const struct buf *was)
{
	CLEAN(parity_set_done) struct parity_set set = { 0 };
	CLEAN_STORE struct store *store = NULL;
	CLEAN_BUF struct buf now = BUF_INIT;
	TEST_OK(parity_load(&set, t.repo->store, &err));
	TEST_OK(parity_store_open(&store, t.repo->store, &set, &err));
	if (store_read(store, name, 64u << 20, &now, NULL) < 0)
		return false;
	assert_int_equal(now.len, was->len);
	assert_memory_equal(now.data, was->data, was->len);
	TEST_OK(object_verify(store, t.repo->keys, name, now.len, &err));
	return true;
}

static void everything_is_protected_once(void **state)
{
	(void)state;
	struct parity_status s = look();
	assert_int_equal(s.parity_objects, 0);
	assert_int_equal(s.bare_objects, s.objects);
	struct parity_report r = add(&at_ten);
	assert_int_equal(r.left_out, 0);
	s = look();
	assert_int_equal(s.whole_objects, s.objects);
	assert_int_equal(s.percent, 10);
	assert_false(s.automatic);
	assert_int_equal(r.objects_added, s.objects);
	/* Again: nothing to do. */
	r = add(&at_ten);
	assert_int_equal(r.groups_made, 0);
	assert_int_equal(r.groups_removed, 0);
}

static void what_is_new_is_added_and_what_is_gone_goes(void **state)
{
	(void)state;
	add(&at_ten);
	add_snapshot(4, BIG);
	struct parity_status s = look();
	assert_int_equal(s.bare_objects, 5); /* two packs, a segment, a snapshot, an entry of the log */
	add(&(struct parity_options){ .automatic = true });
	s = look();
	assert_int_equal(s.whole_objects, s.objects);
	assert_int_equal(s.percent, 10);
	assert_true(s.automatic);
	struct object_list l = list("snapshots/");
	TEST_OK(t.repo->store->ops->remove(t.repo->store, l.names[0], &err));
	s = look();
	assert_int_equal(s.gone, 1);
	assert_int_equal(s.bare_objects, 0);
	struct parity_report r = add(&(struct parity_options){ .percent = 0 });
	assert_int_equal(r.groups_made, 1);
	s = look();
	assert_int_equal(s.gone, 0);
	assert_int_equal(s.whole_objects, s.objects);
	assert_true(s.automatic);
	uint64_t removed;
	TEST_OK(parity_remove(t.repo->store, &removed, &err));
	assert_int_equal(removed, s.parity_objects);
	assert_int_equal(look().parity_objects, 0);
}

/* Every object, one after the other: a run of bytes that rots at its start, middle, end; gone. */
static void every_object_heals(void **state)
{
	(void)state;
	add(&at_ten);
	struct object_list l = list("");
	for (size_t i = 0; i < l.count; i++) {
		CLEAN_BUF struct buf was = BUF_INIT;
		if (!parity_covers(l.names[i]))
			continue;
		TEST_OK(store_read(t.repo->store, l.names[i], 64u << 20, &was, &err));
		size_t run = was.len < 5000 ? was.len : 5000;
		const uint64_t places[3] = { 0, (was.len - run) / 2, was.len - run };
		for (int k = 0; k < 3; k++) {
			damage(l.names[i], places[k], run);
			assert_int_equal(object_verify(t.repo->store, t.repo->keys, l.names[i], was.len, NULL), -1);
			assert_true(heals(l.names[i], &was));
			damage(l.names[i], places[k], run);
		}
		TEST_OK(t.repo->store->ops->remove(t.repo->store, l.names[i], &err));
		assert_true(heals(l.names[i], &was));
		TEST_OK(store_write(t.repo->store, l.names[i], was.data, was.len, &err));
	}
}

/* Parity objects rot, too: any run of some KiB in one costs nothing that a member needs. */
static void parity_survives_its_own_damage(void **state)
{
	(void)state;
	CLEAN_BUF struct buf was = BUF_INIT;
	add(&at_ten);
	struct object_list parity = list("parity/"), packs = list("packs/");
	TEST_OK(store_read(t.repo->store, packs.names[0], 64u << 20, &was, &err));
	for (size_t i = 0; i < parity.count; i++)
		for (uint64_t at = 0; at + 4096 <= parity.sizes[i]; at += parity.sizes[i] / 5 + 1) {
			damage(parity.names[i], at, 4096);
			/* Another column than that of the damage, unless it fell upon the piece itself. */
			damage(packs.names[0], was.len - 5000, 100);
			bool healed = heals(packs.names[0], &was);
			damage(packs.names[0], was.len - 5000, 100);
			if (!healed)
				assert_true(at / PARITY_PIECE == (was.len - 5000) / PARITY_PIECE);
			damage(parity.names[i], at, 4096);
		}
	/* The whole last 4 KiB, the first head in them. */
	for (size_t i = 0; i < parity.count; i++)
		damage(parity.names[i], parity.sizes[i] - 4096, 4096);
	damage(packs.names[0], 100, 100);
	assert_true(heals(packs.names[0], &was));
	damage(packs.names[0], 100, 100);
}

static void what_is_lost_keeps_its_parity(void **state)
{
	(void)state;
	CLEAN_BUF struct buf was = BUF_INIT, other = BUF_INIT;
	add(&at_ten);
	struct object_list packs = list("packs/");
	TEST_OK(store_read(t.repo->store, packs.names[0], 64u << 20, &was, &err));
	TEST_OK(store_read(t.repo->store, packs.names[1], 64u << 20, &other, &err));
	/* Gone, though the index names it; and one that is damaged while the percentage changes, so that all groups are made anew. */
	TEST_OK(t.repo->store->ops->remove(t.repo->store, packs.names[0], &err));
	struct parity_report r = add(&at_ten);
	assert_int_equal(r.groups_held, 1);
	assert_true(heals(packs.names[0], &was));
	TEST_OK(store_write(t.repo->store, packs.names[0], was.data, was.len, &err));
	damage(packs.names[1], 1000, 10);
	r = add(&(struct parity_options){ .percent = 20 });
	assert_int_equal(r.left_out, 1);
	assert_true(r.groups_held > 0);
	assert_true(heals(packs.names[1], &other));
	damage(packs.names[1], 1000, 10);
	r = add(&(struct parity_options){ .percent = 20 });
	assert_int_equal(r.left_out, 0);
	assert_int_equal(r.groups_held, 0);
	struct parity_status s = look();
	assert_int_equal(s.whole_objects, s.objects);
	assert_int_equal(s.percent, 20);
}

static void a_removed_key_does_not_stay_in_parity(void **state)
{
	(void)state;
	const struct repo_secret other = { .how = SEAL_WRAP_KEYFILE, .data = "another-key-file-of-32-bytes-ab!", .len = 32 };
	struct id id;
	char hex[ID_HEX_SIZE], name[OBJECT_KEY_MAX];
	TEST_OK(repo_key_add(t.repo, &other, "second", &id, &err));
	add(&at_ten);
	TEST_OK(repo_key_remove(t.repo, &id, &err));
	CLEAN(parity_set_done) struct parity_set set = { 0 };
	size_t count;
	id_to_hex(&id, hex);
	snprintf(name, sizeof name, "keys/%s", hex);
	TEST_OK(parity_load(&set, t.repo->store, &err));
	parity_find(&set, name, &count);
	assert_int_equal(count, 0);
	assert_int_equal(look().bare_objects, 2); /* the header, and the key that is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shards_are_what_the_format_says),
		cmocka_unit_test(any_losses_come_back_from_any_shards),
		cmocka_unit_test_setup_teardown(everything_is_protected_once, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_new_is_added_and_what_is_gone_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(every_object_heals, setup, teardown),
		cmocka_unit_test_setup_teardown(parity_survives_its_own_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(a_removed_key_does_not_stay_in_parity, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_lost_keeps_its_parity, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
