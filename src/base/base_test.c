/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

static void varints_round_trip(void **state)
{
	(void)state;
	static const uint64_t values[] = { 0, 1, 127, 128, 16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX };
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		CLEAN_BUF struct buf b = BUF_INIT;
		buf_add_varint(&b, values[i]);
		buf_add_svarint(&b, -(int64_t)(values[i] / 2));
		struct cursor c = cursor_of(b.data, b.len);
		assert_int_equal(cursor_varint(&c), values[i]);
		assert_int_equal(cursor_svarint(&c), -(int64_t)(values[i] / 2));
		assert_true(cursor_ok(&c));
		assert_int_equal(cursor_left(&c), 0);
	}
}

static void varint_has_one_encoding(void **state)
{
	(void)state;
	static const uint8_t padded[] = { 0x81, 0x00 };
	struct cursor c = cursor_of(padded, sizeof padded);
	cursor_varint(&c);
	assert_false(cursor_ok(&c));
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 };
	c = cursor_of(huge, sizeof huge);
	cursor_varint(&c);
	assert_false(cursor_ok(&c));
}

static void cursor_never_passes_its_end(void **state)
{
	(void)state;
	static const uint8_t bytes[] = { 200, 1, 2, 3 };
	struct cursor c = cursor_of(bytes, sizeof bytes);
	size_t len = 0;
	assert_null(cursor_blob(&c, 1000, &len));
	assert_false(cursor_ok(&c));
	assert_int_equal(cursor_u8(&c), 0);
	c = cursor_of(NULL, 0);
	assert_int_equal(cursor_le64(&c), 0);
	assert_false(cursor_ok(&c));
}

static void error_gets_context_in_front(void **state)
{
	(void)state;
	struct error err = { 0 };
	assert_int_equal(error_sys(&err, ENOENT, "open %s", "a\nb"), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	error_add(&err, "backup");
	assert_string_equal(err.text, "backup: open a b: No such file or directory");
}

static void id_hex_round_trips(void **state)
{
	(void)state;
	struct id id = { { 0xab, 1 } }, back;
	char hex[ID_HEX_SIZE];
	id_to_hex(&id, hex);
	assert_true(id_from_hex(hex, &back));
	assert_true(id_equal(&id, &back));
	hex[3] = 'X';
	assert_false(id_from_hex(hex, &back));
	assert_false(id_from_hex("ab", &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(varints_round_trip),
		cmocka_unit_test(varint_has_one_encoding),
		cmocka_unit_test(cursor_never_passes_its_end),
		cmocka_unit_test(error_gets_context_in_front),
		cmocka_unit_test(id_hex_round_trips),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
