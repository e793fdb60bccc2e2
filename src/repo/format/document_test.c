/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "repo/format/document.h"
#include "repo/format/test_values.h"

static void header_stands_as_documented(void **state)
{
	(void)state;
	struct repo_header h = { 1, 1, 1, 1, 1, { { 0xaa, 0xbb } }, 0, 0 }, back;
	uint8_t bytes[HEADER_SIZE];
	repo_header_encode(bytes, &h);
	assert_memory_equal(bytes, "TWOFOLD\n\1\0\1\1\1\1\0\0\xaa\xbb", 18);
	assert_int_equal(repo_header_decode(&back, bytes, sizeof bytes, NULL), 0);
	assert_true(id_equal(&h.repository, &back.repository));
	assert_int_equal(back.version, 1);
}

static enum error_kind header_error(const uint8_t *bytes, size_t len)
{
	struct repo_header h;
	struct error err = { 0 };
	assert_int_equal(repo_header_decode(&h, bytes, len, &err), -1);
	return err.kind;
}

static void headers_are_told_apart(void **state)
{
	(void)state;
	struct repo_header h = { 1, 1, 1, 1, 1, { { 0xaa, 0xbb } }, 0, 0 };
	uint8_t bytes[HEADER_SIZE];
	repo_header_encode(bytes, &h);
	bytes[20] ^= 1;
	assert_int_equal(header_error(bytes, sizeof bytes), ERR_CORRUPT);
	bytes[20] ^= 1;
	bytes[8] ^= 3; /* not another version: damage */
	assert_int_equal(header_error(bytes, sizeof bytes), ERR_CORRUPT);
	h.version = 3;
	repo_header_encode(bytes, &h);
	assert_int_equal(header_error(bytes, sizeof bytes), ERR_UNSUPPORTED);
	assert_int_equal(header_error(bytes, 40), ERR_UNSUPPORTED);
	h.version = 1;
	h.cipher = 2;
	repo_header_encode(bytes, &h);
	assert_int_equal(header_error(bytes, sizeof bytes), ERR_UNSUPPORTED);
	assert_int_equal(header_error((const uint8_t *)"restic", 6), ERR_CORRUPT);
	assert_int_equal(header_error(NULL, 0), ERR_CORRUPT);
}

static void header_with_a_lock(void **state)
{
	(void)state;
	struct repo_header h = { 2, 1, 1, 1, 1, { { 0xaa, 0xbb } }, 2, 86400 }, back;
	uint8_t bytes[HEADER_SIZE];
	repo_header_encode(bytes, &h);
	assert_memory_equal(bytes, "TWOFOLD\n\2\0\1\1\1\1\2\0\xaa\xbb", 18);
	assert_memory_equal(bytes + 48, "\x80\x51\1\0\0\0\0\0\0\0\0\0", 12);
	assert_int_equal(repo_header_decode(&back, bytes, sizeof bytes, NULL), 0);
	assert_int_equal(back.lock, 2);
	assert_int_equal(back.lock_seconds, 86400);
	/* A lock without its time or mode, of an unknown mode, or in version 1. */
	const struct repo_header wrong[] = { { 2, 1, 1, 1, 1, { { 1 } }, 0, 1 }, { 2, 1, 1, 1, 1, { { 1 } }, 1, 0 }, { 2, 1, 1, 1, 1, { { 1 } }, 3, 1 }, { 1, 1, 1, 1, 1, { { 1 } }, 1, 1 } };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		repo_header_encode(bytes, &wrong[i]);
		assert_int_equal(header_error(bytes, sizeof bytes), ERR_CORRUPT);
	}
}

static void keys_come_back_whole(void **state)
{
	(void)state;
	uint64_t r = 41;
	for (int i = 0; i < 500; i++) {
		struct key_object k, back;
		CLEAN_BUF struct buf b = BUF_INIT;
		size_t aad = 0;
		random_key(&r, &k);
		key_object_encode(&b, &k, &aad);
		assert_int_equal(aad + seal_slots(k.wrapped.count, k.wrapped.first) * SEAL_KEY_SIZE + SEAL_TAG_SIZE, b.len);
		assert_int_equal(b.data[8], k.wrapped.first ? 3 : k.wrapped.count > 1 ? 2 : 1);
		assert_int_equal(key_object_decode(&back, b.data, b.len, &aad, NULL), 0);
		assert_string_equal(k.label, back.label);
		assert_int_equal(time_compare(k.created, back.created), 0);
		assert_int_equal(k.wrapped.how, back.wrapped.how);
		assert_int_equal(k.wrapped.argon_passes, back.wrapped.argon_passes);
		assert_int_equal(k.wrapped.argon_memory_kib, back.wrapped.argon_memory_kib);
		assert_memory_equal(k.wrapped.salt, back.wrapped.salt, sizeof k.wrapped.salt);
		assert_int_equal(k.wrapped.count, back.wrapped.count);
		assert_int_equal(k.wrapped.first, back.wrapped.first);
		assert_memory_equal(k.wrapped.sealed, back.wrapped.sealed, seal_slots(k.wrapped.count, k.wrapped.first) * SEAL_KEY_SIZE + SEAL_TAG_SIZE);
	}
}

static int decode_key(const struct key_object *k)
{
	struct key_object back;
	CLEAN_BUF struct buf b = BUF_INIT;
	size_t aad;
	key_object_encode(&b, k, &aad);
	return key_object_decode(&back, b.data, b.len, &aad, NULL);
}

static void a_hostile_key_cannot_ask_for_much(void **state)
{
	(void)state;
	struct key_object k = { .wrapped = { .how = SEAL_WRAP_PASSPHRASE, .count = 1, .argon_passes = 3, .argon_memory_kib = SEAL_ARGON_MEMORY_MAX_KIB } };
	assert_int_equal(decode_key(&k), 0);
	k.wrapped.argon_memory_kib++;
	assert_int_equal(decode_key(&k), -1);
	k.wrapped.argon_memory_kib = 0;
	assert_int_equal(decode_key(&k), -1);
	k.wrapped.argon_memory_kib = 1024;
	k.wrapped.argon_passes = SEAL_ARGON_PASSES_MAX + 1;
	assert_int_equal(decode_key(&k), -1);
	k.wrapped.argon_passes = 0;
	assert_int_equal(decode_key(&k), -1);
	k.wrapped.how = SEAL_WRAP_KEYFILE;
	assert_int_equal(decode_key(&k), -1);
	k.wrapped.argon_memory_kib = 0;
	assert_int_equal(decode_key(&k), 0);
}

static void a_label_holds_nothing_that_a_terminal_obeys(void **state)
{
	(void)state;
	struct key_object k = { .label = "alice\033[2J@laptop", .wrapped = { .how = SEAL_WRAP_KEYFILE, .count = 1 } }, back;
	CLEAN_BUF struct buf b = BUF_INIT;
	size_t aad;
	key_object_encode(&b, &k, &aad);
	assert_int_equal(key_object_decode(&back, b.data, b.len, &aad, NULL), 0);
	assert_string_equal(back.label, "alice?[2J@laptop");
	b.data[64 + 5] = 27;
	assert_int_equal(key_object_decode(&back, b.data, b.len, &aad, NULL), -1);
}

static void heads_tell_which_key(void **state)
{
	(void)state;
	static const struct {
		uint16_t version;
		uint8_t bytes[SEAL_BY_SIZE];
		bool ok;
	} heads[] = {
		{ 1, { 0 }, true }, { 2, { 0 }, false }, { 2, { 0, 1 }, true }, { 1, { 0, 1 }, false }, { 2, { 0, SEAL_EPOCHS_MAX }, false }, { 2, { 0, 0, 1 }, false },
		{ 2, { 1 }, true }, { 1, { 1 }, false }, { 2, { 1, 1 }, false }, { 2, { 2 }, false }, { 2, { 0, 1, 0, 1 }, false }, { 2, { 0, 1, 0, 0, 1 }, false },
	};
	const struct id session = { { 7 } };
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		struct seal_by by;
		uint8_t again[SEAL_BY_SIZE];
		assert_int_equal(head_by_decode(&by, heads[i].version, heads[i].bytes, &session), heads[i].ok);
		if (!heads[i].ok)
			continue;
		head_by_encode(again, &by);
		assert_memory_equal(again, heads[i].bytes, sizeof again);
		assert_int_equal(head_by_version(&by), heads[i].version);
	}
}

static void snapshots_come_back_whole(void **state)
{
	(void)state;
	uint64_t r = 42;
	for (int i = 0; i < 1000; i++) {
		CLEAN(snapshot_done) struct snapshot s = { 0 };
		CLEAN(snapshot_done) struct snapshot back = { 0 };
		CLEAN_BUF struct buf b = BUF_INIT;
		struct error err = { 0 };
		random_snapshot(&r, &s);
		snapshot_encode(&b, &s);
		if (snapshot_decode(&back, b.data, b.len, &err) < 0)
			fail_msg("%s", err.text);
		assert_true(same_snapshot(&s, &back));
	}
}

static void a_later_field_is_ignored_or_refused(void **state)
{
	(void)state;
	struct snapshot s = { .kind = SNAPSHOT_FILES };
	CLEAN(snapshot_done) struct snapshot back = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	struct error err = { 0 };
	snapshot_encode(&b, &s);
	buf_add_varint(&b, 101);
	buf_add_blob(&b, "later", 5);
	buf_add_varint(&b, 101);
	buf_add_blob(&b, "again", 5);
	if (snapshot_decode(&back, b.data, b.len, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(back.host, "");
	snapshot_done(&back);
	size_t len = b.len;
	buf_add_varint(&b, 102);
	buf_add_blob(&b, "must", 4);
	assert_int_equal(snapshot_decode(&back, b.data, b.len, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	b.len = len;
	buf_add_varint(&b, 99); /* tags ascend */
	buf_add_blob(&b, "", 0);
	assert_int_equal(snapshot_decode(&back, b.data, b.len, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	b.len = len;
	put_le16(b.data, 2);
	assert_int_equal(snapshot_decode(&back, b.data, b.len, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

static void a_snapshot_has_the_fields_of_its_kind(void **state)
{
	(void)state;
	struct snapshot s = { .kind = SNAPSHOT_IMAGE, .disk_size = 1000 };
	struct snapshot_volume v = { .offset = 500, .size = 500 };
	CLEAN(snapshot_done) struct snapshot back = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	struct error err = { 0 };
	s.volumes = &v;
	s.volume_count = 1;
	snapshot_encode(&b, &s);
	assert_int_equal(snapshot_decode(&back, b.data, b.len, &err), 0);
	snapshot_done(&back);
	assert_int_equal(b.data[4], SNAPSHOT_IMAGE);
	b.data[4] = SNAPSHOT_FILES;
	assert_int_equal(snapshot_decode(&back, b.data, b.len, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	b.data[4] = 77;
	assert_int_equal(snapshot_decode(&back, b.data, b.len, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	v.size = 501;
	buf_clear(&b);
	snapshot_encode(&b, &s);
	assert_int_equal(snapshot_decode(&back, b.data, b.len, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
}

static void sessions_and_tombstones_come_back_whole(void **state)
{
	(void)state;
	char host[] = "laptop";
	char process[] = "boot 4026531836 99";
	struct session s = { { -5, 1 }, { 1700000000, 999999999 }, host, 12345, 3, process };
	CLEAN(session_done) struct session back = { 0 };
	CLEAN_BUF struct buf b = BUF_INIT;
	session_encode(&b, &s);
	assert_int_equal(session_decode(&back, b.data, b.len, NULL), 0);
	assert_string_equal(back.host, host);
	assert_int_equal(back.started.sec, -5);
	assert_int_equal(time_compare(back.refreshed, s.refreshed), 0);
	assert_int_equal(back.pid, 12345);
	assert_int_equal(back.work, 3);
	assert_string_equal(back.process, process);

	struct id ids[] = { { { 1 } }, { { 2 } }, { { 3 } } };
	struct tombstone t = { .time = { 5, 6 }, .session = { { 8 } }, .packs = ids, .pack_count = 3, .awaited = ids, .awaited_count = 1, .fenced = ids + 1, .fenced_count = 2 };
	CLEAN(tombstone_done) struct tombstone t_back = { 0 };
	buf_clear(&b);
	tombstone_encode(&b, &t);
	assert_int_equal(tombstone_decode(&t_back, b.data, b.len, NULL), 0);
	assert_int_equal(t_back.pack_count, 3);
	assert_int_equal(t_back.awaited_count, 1);
	assert_memory_equal(t_back.packs, ids, sizeof ids);
	assert_int_equal(t_back.fenced_count, 2);
	assert_memory_equal(t_back.fenced, ids + 1, 2 * sizeof *ids);
	tombstone_done(&t_back);
	ids[2] = ids[1]; /* not ascending */
	buf_clear(&b);
	tombstone_encode(&b, &t);
	assert_int_equal(tombstone_decode(&t_back, b.data, b.len, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_stands_as_documented),
		cmocka_unit_test(headers_are_told_apart),
		cmocka_unit_test(header_with_a_lock),
		cmocka_unit_test(keys_come_back_whole),
		cmocka_unit_test(a_hostile_key_cannot_ask_for_much),
		cmocka_unit_test(a_label_holds_nothing_that_a_terminal_obeys),
		cmocka_unit_test(heads_tell_which_key),
		cmocka_unit_test(snapshots_come_back_whole),
		cmocka_unit_test(a_later_field_is_ignored_or_refused),
		cmocka_unit_test(a_snapshot_has_the_fields_of_its_kind),
		cmocka_unit_test(sessions_and_tombstones_come_back_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
