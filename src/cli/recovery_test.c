/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define VECTOR \
	"babab bobis magif bobaz\n" \
	"jaduz bavir fabon fajib\n" \
	"bosik kadug havar dumon\n" \
	"baham mohar hudil mapun\n" \
	"diman rogag biniv gibof\n" \
	"ralid bupas lodur vagal\n"
#define LETTERS "abcdefghijklmnopqrstuvwxyz"

static void sheet(const uint8_t key[RECOVERY_KEY_SIZE], char ret[400])
{
	char words[RECOVERY_WORDS][RECOVERY_WORD_SIZE];
	size_t at = 0;
	recovery_encode(key, words);
	for (unsigned i = 0; i < RECOVERY_WORDS; i++)
		at += (size_t)snprintf(ret + at, 400 - at, "%s%s", words[i], i % RECOVERY_LINE == RECOVERY_LINE - 1 ? "\n" : " ");
}

static void counting(uint8_t key[RECOVERY_KEY_SIZE])
{
	for (uint8_t i = 0; i < RECOVERY_KEY_SIZE; i++)
		key[i] = i;
}

/* The vector of docs/FORMAT.md, "Key wrapping". */
static void vector(void **state)
{
	(void)state;
	uint8_t key[RECOVERY_KEY_SIZE];
	char text[400];
	counting(key);
	sheet(key, text);
	assert_string_equal(text, VECTOR);
}

static void is_taken_in_other_forms(void **state)
{
	(void)state;
	uint8_t key[RECOVERY_KEY_SIZE], got[RECOVERY_KEY_SIZE];
	char text[400], other[900] = "# a sheet, from the safe\n  # with two comments\n";
	counting(key);
	for (int round = 0; round < 300; round++) {
		sheet(key, text);
		assert_int_equal(recovery_parse(text, strlen(text), got, NULL), RECOVERY_WHOLE);
		assert_memory_equal(key, got, sizeof key);
		for (unsigned i = 0; i < sizeof key; i++)
			key[i] = (uint8_t)(key[i] * 31 + i + (unsigned)round);
	}
	sheet(key, text);
	size_t at = strlen(other), line = 1;
	for (const char *p = text; *p; p++) {
		if (p == text || p[-1] == '\n')
			at += (size_t)snprintf(other + at, sizeof other - at, "%zu. ", line++);
		other[at++] = *p == ' ' ? '-' : *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
	}
	assert_int_equal(recovery_parse(other, at, got, NULL), RECOVERY_WHOLE);
	assert_memory_equal(key, got, sizeof key);
}

/* Every letter replaced by every other: always noticed, in its own word. */
static void every_wrong_letter_is_named(void **state)
{
	(void)state;
	uint8_t key[RECOVERY_KEY_SIZE], got[RECOVERY_KEY_SIZE];
	char text[400], expected[40];
	counting(key);
	sheet(key, text);
	for (size_t i = 0; text[i]; i++) {
		if (!strchr(LETTERS, text[i]))
			continue;
		char right = text[i];
		size_t word = i / RECOVERY_WORD_SIZE;
		snprintf(expected, sizeof expected, "line %zu, word %zu ", word / RECOVERY_LINE + 1, word % RECOVERY_LINE + 1);
		for (const char *c = LETTERS; *c; c++) {
			struct error err = { 0 };
			if (*c == right)
				continue;
			text[i] = *c;
			assert_int_equal(recovery_parse(text, strlen(text), got, &err), RECOVERY_MISTYPED);
			assert_non_null(strstr(err.text, expected));
		}
		text[i] = right;
	}
	assert_int_equal(recovery_parse(text, strlen(text), got, NULL), RECOVERY_WHOLE);
}

static void missing_and_exchanged(void **state)
{
	(void)state;
	uint8_t key[RECOVERY_KEY_SIZE], got[RECOVERY_KEY_SIZE];
	char text[400], cut[400], word[6];
	struct error err = { 0 };
	counting(key);
	sheet(key, text);
	snprintf(cut, sizeof cut, "%s", text + RECOVERY_WORD_SIZE); /* the first is missing */
	assert_int_equal(recovery_parse(cut, strlen(cut), got, &err), RECOVERY_MISTYPED);
	assert_int_equal(recovery_parse(text, strlen(text) - RECOVERY_WORD_SIZE, got, &err), RECOVERY_MISTYPED);
	assert_non_null(strstr(err.text, "not whole"));
	memcpy(word, text, 5);
	memcpy(text, text + RECOVERY_WORD_SIZE, 5);
	memcpy(text + RECOVERY_WORD_SIZE, word, 5);
	assert_int_equal(recovery_parse(text, strlen(text), got, &err), RECOVERY_MISTYPED);
	assert_non_null(strstr(err.text, "line 1, word 1 "));
}

static void passwords_are_passwords(void **state)
{
	(void)state;
	static const char *const texts[] = { "", "correct horse battery staple", "lusab babad gutih tugad lusab babad", "1 2 3 4 # x",
		                             "the quick brown fox jumps over the lazy dog and then it does all of that again once more to be quite sure that nobody guesses" };
	uint8_t got[RECOVERY_KEY_SIZE];
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_int_equal(recovery_parse(texts[i], strlen(texts[i]), got, NULL), RECOVERY_NONE);
}

static void lines(void **state)
{
	(void)state;
	uint8_t key[RECOVERY_KEY_SIZE];
	char text[400];
	struct error err = { 0 };
	const size_t len = RECOVERY_LINE * RECOVERY_WORD_SIZE;
	counting(key);
	sheet(key, text);
	for (unsigned line = 1; line <= RECOVERY_WORDS / RECOVERY_LINE; line++)
		assert_int_equal(recovery_check_line(text + (line - 1) * len, len, line, NULL), 0);
	assert_int_equal(recovery_check_line(text, len, 2, &err), -1);
	assert_int_equal(recovery_check_line(text, len - RECOVERY_WORD_SIZE, 1, &err), -1);
	assert_non_null(strstr(err.text, "4 words, not 3"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vector), cmocka_unit_test(is_taken_in_other_forms), cmocka_unit_test(every_wrong_letter_is_named),
		cmocka_unit_test(missing_and_exchanged), cmocka_unit_test(passwords_are_passwords), cmocka_unit_test(lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
