/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/recovery.h"

#include <stdbool.h>
#include <string.h>

static const char consonants[] = "bdfghjklmnprstvz", vowels[] = "aiou";

#define DATA_BITS 11
#define CHECK_BITS 5
#define LETTERS 5
/* Text with this many words of the right form is meant to be a recovery key. */
#define MEANT 18
#define WORDS_MAX 64 /* more are something else */

/* --- checks ------------------------------------------------------------------- */

/* The remainder of value (its lowest bits, highest first) by x^5 + x^2 + 1: a change within five neighbouring bits always shows. */
static unsigned crc5(unsigned value, unsigned bits)
{
	unsigned crc = 0;
	while (bits--) {
		unsigned top = (crc >> 4 ^ value >> bits) & 1;
		crc = (crc << 1 & 0x1f) ^ (top ? 0x05 : 0);
	}
	return crc;
}

static unsigned check_of(unsigned place, unsigned data)
{
	return crc5(place << DATA_BITS | data, 5 + DATA_BITS);
}

/* x^8 + x^2 + x + 1 */
static uint8_t crc8(const uint8_t *p, size_t len)
{
	uint8_t crc = 0;
	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = (uint8_t)(crc << 1 ^ (crc & 0x80 ? 0x07 : 0));
	}
	return crc;
}

/* --- words -------------------------------------------------------------------- */

/* A word's 16 bits, from its first letter: 4, 2, 4, 2, 4. */
static void word_of(unsigned value, char ret[RECOVERY_WORD_SIZE])
{
	ret[0] = consonants[value >> 12 & 15];
	ret[1] = vowels[value >> 10 & 3];
	ret[2] = consonants[value >> 6 & 15];
	ret[3] = vowels[value >> 4 & 3];
	ret[4] = consonants[value & 15];
	ret[5] = 0;
}

void recovery_encode(const uint8_t key[RECOVERY_KEY_SIZE], char ret[RECOVERY_WORDS][RECOVERY_WORD_SIZE])
{
	uint8_t bytes[RECOVERY_KEY_SIZE + 1];
	memcpy(bytes, key, RECOVERY_KEY_SIZE);
	bytes[RECOVERY_KEY_SIZE] = crc8(key, RECOVERY_KEY_SIZE);
	for (unsigned i = 0; i < RECOVERY_WORDS; i++) {
		unsigned data = 0;
		for (unsigned bit = i * DATA_BITS; bit < (i + 1) * DATA_BITS; bit++)
			data = data << 1 | (bytes[bit / 8] >> (7 - bit % 8) & 1);
		word_of(data << CHECK_BITS | check_of(i, data), ret[i]);
	}
	explicit_bzero(bytes, sizeof bytes);
}

struct word {
	char letters[16]; /* in lower case; the beginning of a longer one */
	size_t len;
	int value; /* -1: not of the form */
};

struct words {
	struct word items[WORDS_MAX];
	size_t count, formed;
	bool too_many;
};

static void words_wipe(struct words *w)
{
	explicit_bzero(w, sizeof *w);
}

static int value_of(const struct word *w)
{
	unsigned value = 0;
	if (w->len != LETTERS)
		return -1;
	for (unsigned i = 0; i < LETTERS; i++) {
		const char *set = i % 2 ? vowels : consonants;
		const char *at = strchr(set, w->letters[i]);
		if (!at)
			return -1;
		value = value << (i % 2 ? 2 : 4) | (unsigned)(at - set);
	}
	return (int)value;
}

static void end_word(struct words *w, struct word *word)
{
	if (!word->len)
		return;
	word->value = value_of(word);
	w->formed += word->value >= 0;
	if (w->count < WORDS_MAX)
		w->items[w->count++] = *word;
	else
		w->too_many = true;
	*word = (struct word){ .len = 0 };
}

static void split(struct words *ret, const char *text, size_t len)
{
	struct word word = { .len = 0 };
	bool comment = false, fresh = true; /* fresh: nothing stands before on this line */
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		bool letter = c >= 'a' && c <= 'z';
		comment = c == '\n' ? false : comment || (fresh && c == '#');
		fresh = c == '\n' || (fresh && (c == ' ' || c == '\t'));
		if (!letter || comment) {
			end_word(ret, &word);
			continue;
		}
		if (word.len + 1 < sizeof word.letters)
			word.letters[word.len] = c;
		word.len++;
	}
	end_word(ret, &word);
	explicit_bzero(&word, sizeof word);
}

static bool word_is_right(const struct word *w, unsigned place)
{
	return w->value >= 0 && check_of(place, (unsigned)w->value >> CHECK_BITS) == ((unsigned)w->value & ((1u << CHECK_BITS) - 1));
}

/* The first word that is wrong at its place, counted from first; count where there is none. */
static size_t first_wrong(const struct words *w, unsigned first)
{
	for (size_t i = 0; i < w->count; i++)
		if (first + i >= RECOVERY_WORDS || !word_is_right(&w->items[i], first + (unsigned)i))
			return i;
	return w->count;
}

static bool join(const struct words *w, uint8_t ret[RECOVERY_KEY_SIZE])
{
	uint8_t bytes[RECOVERY_KEY_SIZE + 1] = { 0 };
	for (unsigned bit = 0; bit < RECOVERY_WORDS * DATA_BITS; bit++) {
		unsigned data = (unsigned)w->items[bit / DATA_BITS].value >> CHECK_BITS;
		unsigned b = data >> (DATA_BITS - 1 - bit % DATA_BITS) & 1;
		bytes[bit / 8] |= (uint8_t)(b << (7 - bit % 8));
	}
	bool ok = crc8(bytes, RECOVERY_KEY_SIZE) == bytes[RECOVERY_KEY_SIZE];
	if (ok)
		memcpy(ret, bytes, RECOVERY_KEY_SIZE);
	explicit_bzero(bytes, sizeof bytes);
	return ok;
}

enum recovery_form recovery_parse(const void *text, size_t len, uint8_t ret_key[RECOVERY_KEY_SIZE], struct error *err)
{
	CLEAN(words_wipe) struct words w = { .count = 0 };
	split(&w, text, len);
	if (w.too_many || w.formed < MEANT)
		return RECOVERY_NONE;
	size_t wrong = first_wrong(&w, 0);
	if (wrong < w.count)
		error_set(err, ERR_AUTH, "the recovery key is mistyped: line %zu, word %zu is wrong, or a word before it is missing or double (%zu of %d words were given)",
		          wrong / RECOVERY_LINE + 1, wrong % RECOVERY_LINE + 1, w.count, RECOVERY_WORDS);
	else if (w.count < RECOVERY_WORDS)
		error_set(err, ERR_AUTH, "the recovery key is not whole: %zu of its %d words were given", w.count, RECOVERY_WORDS);
	else if (!join(&w, ret_key))
		error_set(err, ERR_AUTH, "the recovery key is mistyped: its words do not belong together; are all lines from the same sheet?");
	else
		return RECOVERY_WHOLE;
	return RECOVERY_MISTYPED;
}

int recovery_check_line(const void *text, size_t len, unsigned number, struct error *err)
{
	CLEAN(words_wipe) struct words w = { .count = 0 };
	split(&w, text, len);
	size_t wrong = first_wrong(&w, (number - 1) * RECOVERY_LINE);
	if (wrong < w.count && wrong < RECOVERY_LINE)
		return error_set(err, ERR_AUTH, "word %zu ('%s') is mistyped", wrong + 1, w.items[wrong].letters);
	if (w.count != RECOVERY_LINE)
		return error_set(err, ERR_AUTH, "the line has %d words, not %zu", RECOVERY_LINE, w.count);
	return 0;
}
