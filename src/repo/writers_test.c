/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "repo/format/segment.h"
#include "repo/marks.h"
#include "repo/object.h"
#include "repo/settle.h"
#include "repo/test_snapshot.h"
#include "repo/writers.h"

struct machine {
	uint8_t key[WRITE_ONLY_SIZE];
	struct id id;
	struct repo *repo;
};

static void machine_open(struct machine *m, struct test_repo *t)
{
	struct repo_secret secret = { .write_only = true, .data = m->key, .len = sizeof m->key };
	TEST_OK(repo_open(&m->repo, t->location, &secret, NULL, &err));
}

static void machine_make(struct machine *m, struct test_repo *t)
{
	TEST_OK(writers_add(t->repo, "web", &m->id, m->key, &err));
	machine_open(m, t);
}

static struct writer *begin(struct repo *repo)
{
	struct writer_options options = { .slots = 1, .level = 1, .work = WORK_BACKUP, .host = "host" };
	struct writer *w = NULL;
	TEST_OK(writer_begin(&w, repo, &options, &err));
	return w;
}

/* A backup of one file "f" of these bytes. */
static struct id back_up(struct repo *repo, const void *data, size_t len, struct writer_stats *ret)
{
	struct test_repo t = { .repo = repo, .writer = begin(repo) };
	t.slot = (struct writer_slot){ t.writer, 0 };
	static char text[] = "test", none[] = "";
	struct snapshot s = { .kind = SNAPSHOT_FILES, .time = { 1700000000, 0 }, .host = text, .user = text, .program = text, .model = none };
	struct node n = test_file(&t, "f", data, len, 4096, false);
	struct id id;
	s.tree = test_tree(&t, &n, 1);
	TEST_OK(writer_commit(t.writer, &s, &id, &err));
	writer_stats(t.writer, ret);
	writer_free(t.writer);
	return id;
}

static void test_round_trip(void **state)
{
	(void)state;
	struct test_repo t;
	struct machine m = { .repo = NULL };
	struct writer_stats stats;
	uint8_t data[10000];
	test_repo_make(&t);
	machine_make(&m, &t);
	test_fill(data, sizeof data, 1);
	struct id id = back_up(m.repo, data, sizeof data, &stats);
	assert_int_equal(stats.chunks_new, 4);

	/* What it wrote, it cannot open once the session is over. */
	struct snapshot s;
	repo_free(m.repo);
	machine_open(&m, &t);
	struct error refused = { 0 };
	assert_int_equal(repo_snapshot_read(m.repo, &id, &s, &refused), -1);
	assert_int_equal(refused.kind, ERR_AUTH);

	test_repo_open(&t);
	TEST_OK(repo_snapshot_read(t.repo, &id, &s, &err));
	assert_true(s.has_writer);
	assert_true(id_equal(&s.writer, &m.id));
	CLEAN_BUF struct buf chunk = BUF_INIT;
	struct id first;
	seal_chunk_id(t.repo->keys, CHUNK_DATA, data, 4096, &first);
	TEST_OK(repo_get(t.repo, CHUNK_DATA, &first, &chunk, &err));
	assert_memory_equal(chunk.data, data, 4096);
	snapshot_done(&s);
	repo_free(m.repo);
	test_repo_done(&t);
}

/* Whoever can read stores again what a write-only key wrote, and reads its own. */
static void test_nothing_is_relied_on(void **state)
{
	(void)state;
	struct test_repo t;
	struct machine m = { .repo = NULL };
	struct writer_stats stats;
	struct place place;
	struct id first;
	bool found;
	uint8_t data[10000];
	test_repo_make(&t);
	machine_make(&m, &t);
	test_fill(data, sizeof data, 1);
	seal_chunk_id(t.repo->keys, CHUNK_DATA, data, 4096, &first);
	back_up(m.repo, data, sizeof data, &stats);
	test_repo_open(&t);
	TEST_OK(index_find(t.repo->index, &first, &found, &place, &err));
	assert_true(found && place.marked);
	assert_int_equal(place.how, SEAL_BY_SESSION);

	back_up(t.repo, data, sizeof data, &stats);
	assert_int_equal(stats.chunks_new, 4);
	assert_int_equal(stats.chunks_known, 0);
	/* The machine again, so that its segment is the newest. */
	struct machine again = m;
	machine_open(&again, &t);
	back_up(again.repo, data, sizeof data, &stats);
	assert_int_equal(stats.chunks_new, 4);
	test_repo_open(&t);
	TEST_OK(index_find(t.repo->index, &first, &found, &place, &err));
	assert_true(found && !place.marked);
	assert_int_equal(place.how, SEAL_BY_MASTER);
	back_up(t.repo, data, sizeof data, &stats);
	assert_int_equal(stats.chunks_new, 0);
	repo_free(m.repo);
	repo_free(again.repo);
	test_repo_done(&t);
}

static void note_pack(const struct index *x, struct segment_pack *ret)
{
	segment_pack_at(index_segment(x, 0), 0, ret);
}

/* A segment that names a pack which is not the session's kind would be believed. */
static void test_forged_segment(void **state)
{
	(void)state;
	struct test_repo t;
	struct machine m = { .repo = NULL };
	struct writer_stats stats;
	uint8_t data[10000];
	test_repo_make(&t);
	machine_make(&m, &t);
	test_fill(data, sizeof data, 1);
	back_up(t.repo, data, sizeof data, &stats);
	test_repo_open(&t);
	struct segment_pack pack;
	note_pack(t.repo->index, &pack);
	assert_int_equal(pack.how, SEAL_BY_MASTER);

	struct writer *w = begin(m.repo);
	struct id session = *writer_session(w), id = { { 1 } };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	for (int how = 0; how < 2; how++) {
		struct segment_pack row = pack;
		struct error why = { 0 };
		row.how = how ? SEAL_BY_SESSION : SEAL_BY_MASTER;
		row.epoch = 0;
		id.b[1] = (uint8_t)how;
		buf_clear(&bytes);
		TEST_OK(segment_encode(&bytes, &session, &row, 1, NULL, 0, NULL, 0, &err));
		TEST_OK(object_write(m.repo->store, m.repo->keys, SEAL_INDEX, &id, &session, bytes.data, bytes.len, &err));
		assert_int_equal(index_read_segment(t.repo->store, t.repo->keys, &id, &bytes, &why), how ? 0 : -1);
		assert_int_equal(why.kind, how ? ERR_NONE : ERR_CORRUPT);
	}
	writer_free(w);
	repo_free(m.repo);
	test_repo_done(&t);
}

/* Nor does it say what is deleted, what counts, and what was there. */
static void test_forbidden_kinds(void **state)
{
	(void)state;
	static const enum seal_kind kinds[] = { SEAL_TOMBSTONE, SEAL_FENCE, SEAL_LOG, SEAL_WRITER };
	struct test_repo t;
	struct machine m = { .repo = NULL };
	test_repo_make(&t);
	machine_make(&m, &t);
	struct writer *w = begin(m.repo);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		CLEAN_BUF struct buf bytes = BUF_INIT;
		struct error why = { 0 };
		struct id id = { { (uint8_t)(i + 1) } };
		TEST_OK(object_write(m.repo->store, m.repo->keys, kinds[i], &id, writer_session(w), "x", 1, &err));
		assert_int_equal(object_read(t.repo->store, t.repo->keys, kinds[i], &id, 4096, NULL, &bytes, &why), -1);
		assert_int_equal(why.kind, ERR_CORRUPT);
	}
	writer_free(w);
	repo_free(m.repo);
	test_repo_done(&t);
}

/* What lies under tombstones/ cannot be read, so nothing is relied on; what comes meanwhile ends the backup. */
static void test_tombstones(void **state)
{
	(void)state;
	struct test_repo t;
	struct machine m = { .repo = NULL };
	struct writer_stats stats;
	uint8_t data[10000];
	static char text[] = "test", none[] = "";
	test_repo_make(&t);
	machine_make(&m, &t);
	test_fill(data, sizeof data, 1);
	back_up(m.repo, data, sizeof data, &stats);
	back_up(m.repo, data, sizeof data, &stats);
	assert_int_equal(stats.chunks_new, 0); /* its own, in the same process */

	struct tombstone stone = { .time = { 1, 0 } };
	struct id ids[2] = { { { 1 } }, { { 2 } } }, snapshot;
	CLEAN_BUF struct buf bytes = BUF_INIT;
	tombstone_encode(&bytes, &stone);
	TEST_OK(object_write(t.repo->store, t.repo->keys, SEAL_TOMBSTONE, &ids[0], &stone.session, bytes.data, bytes.len, &err));
	back_up(m.repo, data, sizeof data, &stats);
	assert_int_equal(stats.chunks_new, 4);

	t.writer = begin(m.repo);
	t.slot = (struct writer_slot){ t.writer, 0 };
	TEST_OK(object_write(t.repo->store, t.repo->keys, SEAL_TOMBSTONE, &ids[1], &stone.session, bytes.data, bytes.len, &err));
	struct snapshot s = { .kind = SNAPSHOT_FILES, .time = { 1700000000, 0 }, .host = text, .user = text, .program = text, .model = none };
	struct node n = test_file(&t, "f", data, sizeof data, 4096, false);
	struct error why = { 0 };
	s.tree = test_tree(&t, &n, 1);
	assert_int_equal(writer_commit(t.writer, &s, &snapshot, &why), -1);
	assert_int_equal(why.kind, ERR_BUSY);
	writer_free(t.writer);
	t.writer = NULL;
	repo_free(m.repo);
	test_repo_done(&t);
}

/* A box in another session's place, or of another key, opens nothing. */
static void test_boxes(void **state)
{
	(void)state;
	struct test_repo t;
	test_repo_make(&t);
	struct seal_write_only secrets;
	struct seal_pair pair, other;
	struct seal_keys *k = NULL;
	struct id writer = { { 1 } }, wrong = { { 2 } }, session;
	uint8_t box[SEAL_BOX_SIZE], key[SEAL_KEY_SIZE], public_half[SEAL_KEY_SIZE];
	seal_write_only_of(t.repo->keys, &secrets);
	TEST_OK(seal_keys_open_write_only(&k, &secrets, &t.repo->header.repository, &err));
	seal_pair_new(&pair);
	seal_pair_new(&other);
	seal_pair_public(pair.secret_half, public_half);
	assert_memory_equal(public_half, pair.public_half, sizeof public_half);
	TEST_OK(seal_session_begin(k, &writer, pair.public_half, &session, box, &err));
	TEST_OK(seal_box_open(t.repo->keys, box, pair.secret_half, &session, &writer, key, &err));
	assert_int_equal(seal_box_open(t.repo->keys, box, pair.secret_half, &wrong, &writer, key, NULL), -1);
	assert_int_equal(seal_box_open(t.repo->keys, box, pair.secret_half, &session, &wrong, key, NULL), -1);
	assert_int_equal(seal_box_open(t.repo->keys, box, other.secret_half, &session, &writer, key, NULL), -1);
	box[50] ^= 1;
	assert_int_equal(seal_box_open(t.repo->keys, box, pair.secret_half, &session, &writer, key, NULL), -1);
	seal_keys_free(k);
	test_repo_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_nothing_is_relied_on), cmocka_unit_test(test_forged_segment),
		cmocka_unit_test(test_forbidden_kinds), cmocka_unit_test(test_tombstones),           cmocka_unit_test(test_boxes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
