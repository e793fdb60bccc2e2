/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A block's plaintext: its head, then what follows. In the program it has been authenticated by then; here it is anything. */
#include <stdlib.h>

#include "seal/internal.h"

#define MAX (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < SEAL_BLOCK_HEAD)
		return 0;
	CLEAN(seal_coder_cleanup) struct seal_coder *coder = NULL;
	CLEAN_BUF struct buf raw = BUF_INIT;
	if (seal_coder_new(&coder, 3, NULL))
		abort();
	if (block_decode(coder, data, data + SEAL_BLOCK_HEAD, size - SEAL_BLOCK_HEAD, MAX, &raw, NULL))
		return 0;
	if (raw.len > MAX || raw.len != get_le32(data + 1))
		abort();
	/* What was taken must come through a round of our own. */
	struct seal_payload payload;
	CLEAN_BUF struct buf again = BUF_INIT;
	if (seal_compress(coder, raw.data, raw.len, &payload, NULL))
		abort();
	CLEAN(seal_coder_cleanup) struct seal_coder *reader = NULL;
	if (seal_coder_new(&reader, 3, NULL) || block_decode(reader, payload.head, payload.bytes, payload.len, MAX, &again, NULL) ||
	    again.len != raw.len || (raw.len && memcmp(again.data, raw.data, raw.len) != 0))
		abort();
	return 0;
}
