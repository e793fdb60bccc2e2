/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One fuzz target for each codec of test_codecs.c; FUZZ_CODEC names which. What decodes must encode to the same bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repo/format/test_codecs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct codec *codec;
	if (!codec && !(codec = test_codec(FUZZ_CODEC)))
		abort();
	CLEAN_BUF struct buf b = BUF_INIT;
	struct error err = { 0 };
	if (codec->again(data, size, &b, &err) < 0) {
		if (err.kind == ERR_NONE)
			abort();
		return 0;
	}
	if (!buf_ok(&b) || b.len != size || memcmp(b.data, data, size) != 0) {
		fprintf(stderr, "%s: %zu bytes encode to %zu others\n", codec->name, size, b.len);
		abort();
	}
	return 0;
}
