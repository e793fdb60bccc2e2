/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any text as a recovery key: what is taken for one encodes to words that are taken for the same. */
#include <stdlib.h>
#include <string.h>

#include "cli/recovery.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t key[RECOVERY_KEY_SIZE], again[RECOVERY_KEY_SIZE];
	char words[RECOVERY_WORDS][RECOVERY_WORD_SIZE], text[RECOVERY_WORDS * RECOVERY_WORD_SIZE];
	struct error err = { 0 };
	recovery_check_line(data, size, size ? data[0] % 6 + 1u : 1, &err);
	err = (struct error){ 0 };
	enum recovery_form form = recovery_parse(data, size, key, &err);
	if ((form == RECOVERY_MISTYPED) != (err.kind != ERR_NONE))
		abort();
	if (form != RECOVERY_WHOLE)
		return 0;
	recovery_encode(key, words);
	for (size_t i = 0; i < RECOVERY_WORDS; i++) {
		memcpy(text + i * RECOVERY_WORD_SIZE, words[i], RECOVERY_WORD_SIZE - 1);
		text[(i + 1) * RECOVERY_WORD_SIZE - 1] = ' ';
	}
	if (recovery_parse(text, sizeof text, again, &err) != RECOVERY_WHOLE || memcmp(key, again, sizeof key) != 0)
		abort();
	return 0;
}
