/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A key file's 32 bytes as words that can be printed, read aloud and typed: the recovery key.
 *
 * 24 words of five letters, four to a line. A word is 16 bits as alternating consonants and vowels (the alphabet of proquints, arXiv 0901.4016): 11 bits of the
 * key, and 5 that check them together with the word's place. So one wrong letter is always noticed, and in which word; words that change places nearly always.
 * The last 8 of the 264 bits check the whole. docs/FORMAT.md, "Key wrapping". Pure; any thread.
 */
#ifndef CLI_RECOVERY_H
#define CLI_RECOVERY_H

#include <stddef.h>
#include <stdint.h>

#include "base/clean.h"
#include "base/error.h"

#define RECOVERY_KEY_SIZE 32
#define RECOVERY_WORDS 24
#define RECOVERY_LINE 4 /* words of a line */
#define RECOVERY_WORD_SIZE 6 /* five letters and a zero */

/* The words, in order. */
void recovery_encode(const uint8_t key[RECOVERY_KEY_SIZE], char ret[RECOVERY_WORDS][RECOVERY_WORD_SIZE]);

enum recovery_form {
	RECOVERY_NONE,     /* some other text */
	RECOVERY_WHOLE,    /* a recovery key */
	RECOVERY_MISTYPED, /* clearly meant to be one: the error says which word is wrong */
};

/* Recognises text by its form. Letters of either case make words, all else separates them (so line numbers, hyphens and commas may stand there); lines that begin with # do not count.
 * ret_key is set for RECOVERY_WHOLE, err for RECOVERY_MISTYPED. */
enum recovery_form recovery_parse(const void *text, size_t len, uint8_t ret_key[RECOVERY_KEY_SIZE], struct error *err);

/* Is text the four words of this line (from 1)? Not four words, or one that is mistyped: -1, err says which. */
int recovery_check_line(const void *text, size_t len, unsigned number, struct error *err);

#endif
