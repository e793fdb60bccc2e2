/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "repo/object.h"
#include "repo/repo.h"
#include "repo/writer.h"

static char root[] = "/tmp/twofold-repo-XXXXXX";
static char location[64];
static const struct repo_secret password = { .how = SEAL_WRAP_KEYFILE, .data = "0123456789abcdef0123456789abcdef", .len = 32 };

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(root))
		return -1;
	snprintf(location, sizeof location, "%s/r", root);
	return seal_init(NULL);
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", root);
	return system(command);
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((i * 2654435761u + seed) >> (i % 7));
}

static void a_chunk_comes_back(void **state)
{
	(void)state;
	struct error err = { 0 };
	assert_int_equal(repo_init(location, &password, "test", NULL, &err), 0);
	assert_int_equal(repo_init(location, &password, "test", NULL, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);

	static uint8_t large[1 << 20], small[1000];
	struct id large_id, small_id, snapshot_id, session;
	fill(large, sizeof large, 1);
	fill(small, sizeof small, 2);
	{
		CLEAN_REPO struct repo *r = NULL;
		CLEAN(writer_cleanup) struct writer *w = NULL;
		assert_int_equal(repo_open(&r, location, &password, NULL, &err), 0);
		assert_int_equal(repo_load_index(r, &err), 0);
		struct writer_options options = { .slots = 2, .level = 3, .work = 1, .host = "h" };
		assert_int_equal(writer_begin(&w, r, &options, &err), 0);
		assert_int_equal(writer_put(w, 0, CHUNK_DATA, large, sizeof large, &large_id, &err), 0);
		assert_int_equal(writer_put(w, 1, CHUNK_META, small, sizeof small, &small_id, &err), 0);
		assert_int_equal(writer_put(w, 0, CHUNK_META, small, sizeof small, &small_id, &err), 0);
		struct writer_stats stats;
		writer_stats(w, &stats);
		assert_int_equal(stats.chunks_new, 2);
		assert_int_equal(stats.chunks_known, 1);
		char host[] = "h", user[] = "u", program[] = "p", model[] = "";
		struct snapshot s = { .kind = SNAPSHOT_FILES, .host = host, .user = user, .program = program, .model = model, .tree = small_id };
		session = *writer_session(w);
		assert_int_equal(writer_commit(w, &s, &snapshot_id, &err), 0);
	}
	CLEAN_REPO struct repo *r = NULL;
	CLEAN_BUF struct buf got = BUF_INIT;
	struct snapshot s = { 0 };
	struct id found;
	assert_int_equal(repo_open(&r, location, &password, NULL, &err), 0);
	assert_int_equal(repo_load_index(r, &err), 0);
	assert_int_equal(repo_get(r, CHUNK_DATA, &large_id, &got, &err), 0);
	assert_int_equal(got.len, sizeof large);
	assert_memory_equal(got.data, large, sizeof large);
	assert_int_equal(repo_get(r, CHUNK_META, &small_id, &got, &err), 0);
	assert_memory_equal(got.data, small, sizeof small);
	assert_int_equal(repo_get(r, CHUNK_DATA, &small_id, &got, &err), -1);
	assert_int_equal(repo_snapshot_find(r, "latest", &found, &s, &err), 0);
	assert_true(id_equal(&found, &snapshot_id));
	assert_true(id_equal(&s.session, &session));
	snapshot_done(&s);
}

static void a_wrong_secret_is_told(void **state)
{
	(void)state;
	CLEAN_REPO struct repo *r = NULL;
	struct error err = { 0 };
	const struct repo_secret other = { .how = SEAL_WRAP_KEYFILE, .data = "0123456789abcdef0123456789abcdeX", .len = 32 };
	assert_int_equal(repo_open(&r, location, &other, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_int_equal(repo_open(&r, "/tmp/no-such-repository", &other, NULL, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

/* Packs were committed, but the process died before it wrote its index: the next session finds them. */
static void leftovers_are_adopted(void **state)
{
	(void)state;
	struct error err = { 0 };
	static uint8_t data[1 << 20];
	struct id id;
	fill(data, sizeof data, 77);
	struct writer_options options = { .slots = 1, .level = 3, .work = 1, .host = "h" };
	{
		CLEAN_REPO struct repo *r = NULL;
		assert_int_equal(repo_open(&r, location, &password, NULL, &err), 0);
		assert_int_equal(repo_load_index(r, &err), 0);
		CLEAN(writer_cleanup) struct writer *w = NULL;
		assert_int_equal(writer_begin(&w, r, &options, &err), 0);
		assert_int_equal(writer_put(w, 0, CHUNK_DATA, data, sizeof data, &id, &err), 0);
	}
	char command[512];
	snprintf(command, sizeof command, "rm -r %s/index && mkdir -p %s/sessions && cp %s/twofold %s/sessions/%064d", location, location, location, location, 0);
	assert_int_equal(system(command), 0);
	CLEAN_REPO struct repo *r = NULL;
	assert_int_equal(repo_open(&r, location, &password, NULL, &err), 0);
	assert_int_equal(repo_load_index(r, &err), 0);
	assert_int_equal(index_chunks(r->index), 0);
	CLEAN(writer_cleanup) struct writer *w = NULL;
	assert_int_equal(writer_begin(&w, r, &options, &err), 0);
	struct writer_stats stats;
	assert_int_equal(writer_put(w, 0, CHUNK_DATA, data, sizeof data, &id, &err), 0);
	writer_stats(w, &stats);
	assert_int_equal(stats.chunks_new, 0);
	assert_true(stats.adopted_packs >= 3);
}

static void many_segments_are_merged_in_the_cache(void **state)
{
	(void)state;
	enum { SESSIONS = 40 };
	struct error err = { 0 };
	struct id ids[SESSIONS];
	char cache[128];
	snprintf(cache, sizeof cache, "%s/cache", root);
	struct writer_options options = { .slots = 1, .level = 3, .work = 1, .host = "h" };
	for (int i = 0; i < SESSIONS; i++) {
		CLEAN_REPO struct repo *r = NULL;
		uint8_t data[5000];
		fill(data, sizeof data, 1000 + (unsigned)i);
		assert_int_equal(repo_open(&r, location, &password, cache, &err), 0);
		assert_int_equal(repo_load_index(r, &err), 0);
		assert_true(index_segments(r->index) <= 2 * 16 + 4);
		CLEAN(writer_cleanup) struct writer *w = NULL;
		assert_int_equal(writer_begin(&w, r, &options, &err), 0);
		assert_int_equal(writer_put(w, 0, CHUNK_DATA, data, sizeof data, &ids[i], &err), 0);
	}
	for (int round = 0; round < 2; round++) {
		CLEAN_REPO struct repo *r = NULL;
		CLEAN_BUF struct buf got = BUF_INIT;
		assert_int_equal(repo_open(&r, location, &password, round ? cache : NULL, &err), 0);
		assert_int_equal(repo_load_index(r, &err), 0);
		if (round)
			assert_true(index_segments(r->index) < SESSIONS / 2);
		else
			assert_true(index_segments(r->index) >= SESSIONS);
		for (int i = 0; i < SESSIONS; i++) {
			uint8_t data[5000];
			fill(data, sizeof data, 1000 + (unsigned)i);
			assert_int_equal(repo_get(r, CHUNK_DATA, &ids[i], &got, &err), 0);
			assert_memory_equal(got.data, data, sizeof data);
		}
	}
}

static void the_last_key_stays(void **state)
{
	(void)state;
	CLEAN_REPO struct repo *r = NULL;
	struct error err = { 0 };
	struct id second;
	const struct repo_secret other = { .how = SEAL_WRAP_KEYFILE, .data = "another-key-file-of-32-bytes-ab!", .len = 32 };
	assert_int_equal(repo_open(&r, location, &password, NULL, &err), 0);
	struct id first = r->key;
	assert_int_equal(repo_key_remove(r, &first, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(repo_key_add(r, &other, "second", &second, &err), 0);
	assert_int_equal(repo_key_remove(r, &first, &err), 0);
	CLEAN_REPO struct repo *again = NULL;
	assert_int_equal(repo_open(&again, location, &password, NULL, &err), -1);
	assert_int_equal(repo_open(&again, location, &other, NULL, &err), 0);
}

/* A key that nobody can use does not count when the last one is taken away. */
static void a_damaged_key_is_no_key(void **state)
{
	(void)state;
	CLEAN_REPO struct repo *r = NULL;
	struct error err = { 0 };
	const struct repo_secret other = { .how = SEAL_WRAP_KEYFILE, .data = "another-key-file-of-32-bytes-ab!", .len = 32 };
	char damaged[80];
	snprintf(damaged, sizeof damaged, "keys/%064d", 7);
	assert_int_equal(repo_open(&r, location, &other, NULL, &err), 0);
	assert_int_equal(store_write(r->store, damaged, "2FOLDKEY and no more", 20, &err), 0);
	assert_int_equal(repo_key_remove(r, &r->key, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	struct id id;
	assert_true(id_from_hex(damaged + 5, &id));
	assert_int_equal(repo_key_remove(r, &id, &err), 0);
	CLEAN_REPO struct repo *again = NULL;
	assert_int_equal(repo_open(&again, location, &other, NULL, &err), 0);
}

/* A folder with something in it that is not a repository stays as it is. */
static void init_wants_an_empty_folder(void **state)
{
	(void)state;
	struct error err = { 0 };
	char folder[128], command[400];
	snprintf(folder, sizeof folder, "%s/taken", root);
	snprintf(command, sizeof command, "mkdir -p %s/letters && echo x >%s/letters/one", folder, folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(repo_init(folder, &password, "test", NULL, &err), -1);
	assert_int_equal(err.kind, ERR_EXISTS);
	snprintf(command, sizeof command, "test ! -e %s/keys && rm -r %s/letters", folder, folder);
	assert_int_equal(system(command), 0);
	assert_int_equal(repo_init(folder, &password, "test", NULL, &err), 0);
}

/* A writer that hides something in the padding, under the right key. */
static void padding_must_be_zero(void **state)
{
	(void)state;
	struct error err = { 0 };
	struct id id;
	char key[OBJECT_KEY_MAX];
	CLEAN_REPO struct repo *r = NULL;
	CLEAN_BUF struct buf object = BUF_INIT, payload = BUF_INIT;
	uint8_t plain[512];
	assert_int_equal(repo_open(&r, location, &password, NULL, &err), 0);
	const struct seal_by by = seal_current(r->keys);
	seal_random(id.b, ID_SIZE);
	assert_int_equal(object_write(r->store, r->keys, SEAL_SESSION, &id, &id, "hello", 5, &err), 0);
	assert_int_equal(object_read(r->store, r->keys, SEAL_SESSION, &id, 4096, NULL, &payload, &err), 0);
	assert_int_equal(payload.len, 5);
	object_key(SEAL_SESSION, &id, key);
	assert_int_equal(store_read(r->store, key, 4096, &object, &err), 0);
	assert_int_equal(object.len, OBJECT_HEADER_SIZE + sizeof plain + SEAL_TAG_SIZE);
	for (size_t at = 45; at < sizeof plain; at += 233) {
		CLEAN(seal_cipher_cleanup) struct seal_cipher *cipher = NULL;
		assert_int_equal(seal_cipher_new(&cipher, r->keys, &by, SEAL_SESSION, &id, &err), 0);
		assert_int_equal(seal_decrypt(cipher, 0, object.data + OBJECT_HEADER_SIZE, sizeof plain + SEAL_TAG_SIZE, plain, &err), 0);
		plain[at] = 1;
		uint8_t sealed[sizeof plain + SEAL_TAG_SIZE];
		assert_int_equal(seal_encrypt(cipher, 0, plain, sizeof plain, sealed, &err), 0);
		assert_int_equal(r->store->ops->remove(r->store, key, &err), 0);
		CLEAN_BUF struct buf changed = BUF_INIT;
		buf_add(&changed, object.data, OBJECT_HEADER_SIZE);
		buf_add(&changed, sealed, sizeof sealed);
		assert_int_equal(store_write(r->store, key, changed.data, changed.len, &err), 0);
		assert_int_equal(object_read(r->store, r->keys, SEAL_SESSION, &id, 4096, NULL, &payload, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
	}
	assert_int_equal(r->store->ops->remove(r->store, key, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chunk_comes_back),
		cmocka_unit_test(padding_must_be_zero),
		cmocka_unit_test(a_wrong_secret_is_told),
		cmocka_unit_test(leftovers_are_adopted),
		cmocka_unit_test(many_segments_are_merged_in_the_cache),
		cmocka_unit_test(the_last_key_stays),
		cmocka_unit_test(a_damaged_key_is_no_key),
		cmocka_unit_test(init_wants_an_empty_folder),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
