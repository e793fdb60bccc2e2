/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <zstd.h>

#include "seal/internal.h"

enum { STORED = 0, ZSTD = 1 };

/*
 * zstd's levels up to 4 pass over incompressible data at several GB/s by themselves: any test before them costs more than it saves (measured: 4 % of the
 * time of all compression). From level 5 on they take up to hundreds of times longer, and a test pays: a few samples first, at level 1, which
 * nearly always find what shrinks; and the whole block at level 1 before it is given up, so that nothing stays unseen between the samples.
 */
#define TEST_FROM_LEVEL 5
#define SAMPLE (16u << 10)
#define SAMPLE_DISTANCE (128u << 10)
#define SAMPLE_GAIN 64 /* a sample that shrinks by a 64th will do */
#define WHOLE_GAIN 256

struct seal_coder {
	int level;
	/* Made at their first use: who only reads needs no compressor. */
	ZSTD_CCtx *compressor;
	ZSTD_CCtx *test;
	ZSTD_DCtx *decompressor;
	uint8_t *scratch; /* a compressed payload */
	size_t scratch_size;
};

int seal_coder_new(struct seal_coder **ret, int level, struct error *err)
{
	if (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel() || level == 0)
		return error_set(err, ERR_INVALID, "compression level %d: zstd has %d to %d, without 0", level, ZSTD_minCLevel(),
		                 ZSTD_maxCLevel());
	struct seal_coder *c = calloc(1, sizeof *c);
	if (!c)
		return error_set(err, ERR_NOMEM, "out of memory");
	c->level = level;
	*ret = c;
	return 0;
}

void seal_coder_free(struct seal_coder *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->compressor);
	ZSTD_freeCCtx(c->test);
	ZSTD_freeDCtx(c->decompressor);
	free(c->scratch);
	free(c);
}

static int scratch_room(struct seal_coder *c, size_t size, struct error *err)
{
	if (size <= c->scratch_size)
		return 0;
	free(c->scratch);
	c->scratch = malloc(size);
	c->scratch_size = c->scratch ? size : 0;
	return c->scratch ? 0 : error_set(err, ERR_NOMEM, "out of memory for a block of %zu bytes", size);
}

/* Empties b and gives it room for exactly size bytes; unlike buf_reserve, neither copies what is dropped nor takes half as much again. */
static int buf_room(struct buf *b, size_t size, struct error *err)
{
	if (b->failed || size > b->cap || !b->data) {
		buf_done(b);
		b->data = malloc(size ? size : 1);
		if (!b->data)
			return error_set(err, ERR_NOMEM, "out of memory for a block of %zu bytes", size);
		b->cap = size ? size : 1;
	}
	b->len = 0;
	return 0;
}

static int make_context(ZSTD_CCtx **ctx, int level, struct error *err)
{
	if (*ctx)
		return 0;
	ZSTD_CCtx *made = ZSTD_createCCtx();
	if (!made || ZSTD_isError(ZSTD_CCtx_setParameter(made, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(made, ZSTD_c_contentSizeFlag, 1)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(made, ZSTD_c_checksumFlag, 0))) {
		ZSTD_freeCCtx(made);
		return error_set(err, ERR_NOMEM, "out of memory for zstd");
	}
	*ctx = made;
	return 0;
}

static bool shrinks(struct seal_coder *c, const uint8_t *raw, size_t len, size_t gain)
{
	size_t small = ZSTD_compress2(c->test, c->scratch, c->scratch_size, raw, len);
	return ZSTD_isError(small) || small < len - len / gain;
}

static bool looks_compressible(struct seal_coder *c, const uint8_t *raw, size_t len)
{
	for (size_t at = 0; at < len; at += SAMPLE_DISTANCE)
		if (len - at >= SAMPLE && shrinks(c, raw + at, SAMPLE, SAMPLE_GAIN))
			return true;
	return shrinks(c, raw, len, WHOLE_GAIN);
}

/* The zstd frame in c->scratch; length 0 where storing is no worse. */
static int compress(struct seal_coder *c, const uint8_t *raw, size_t len, size_t *ret_len, struct error *err)
{
	*ret_len = 0;
	if (!len)
		return 0;
	if (make_context(&c->compressor, c->level, err) || scratch_room(c, ZSTD_compressBound(len), err))
		return -1;
	if (c->level >= TEST_FROM_LEVEL && len > 2 * SAMPLE) {
		if (make_context(&c->test, 1, err))
			return -1;
		if (!looks_compressible(c, raw, len))
			return 0;
	}
	size_t small = ZSTD_compress2(c->compressor, c->scratch, c->scratch_size, raw, len);
	if (ZSTD_isError(small))
		return error_set(err, ERR_NOMEM, "zstd cannot compress %zu bytes: %s", len, ZSTD_getErrorName(small));
	if (small < len)
		*ret_len = small;
	return 0;
}

int seal_compress(struct seal_coder *coder, const void *raw, size_t len, struct seal_payload *ret, struct error *err)
{
	if (len > SEAL_BLOCK_MAX)
		return error_set(err, ERR_INVALID, "a block of %zu bytes: %u are the most", len, SEAL_BLOCK_MAX);
	size_t small;
	if (compress(coder, raw, len, &small, err))
		return -1;
	*ret = (struct seal_payload){ { small ? ZSTD : STORED }, small ? coder->scratch : raw, small ? small : len };
	put_le32(ret->head + 1, (uint32_t)len);
	return 0;
}

int seal_payload(struct seal_cipher *cipher, uint64_t counter, const struct seal_payload *payload, struct buf *ret, struct error *err)
{
	ret->len = 0;
	size_t sealed = SEAL_BLOCK_HEAD + payload->len + SEAL_TAG_SIZE;
	if (buf_room(ret, sealed, err) || cipher_begin(cipher, true, counter, err) ||
	    cipher_update(cipher, payload->head, SEAL_BLOCK_HEAD, ret->data, err) ||
	    cipher_update(cipher, payload->bytes, payload->len, ret->data + SEAL_BLOCK_HEAD, err) ||
	    cipher_end_encrypt(cipher, ret->data + SEAL_BLOCK_HEAD + payload->len, err))
		return -1;
	ret->len = sealed;
	return 0;
}

int seal_block(struct seal_coder *coder, struct seal_cipher *cipher, uint64_t counter, const void *raw, size_t len,
               struct buf *ret, struct error *err)
{
	struct seal_payload payload;
	ret->len = 0;
	return seal_compress(coder, raw, len, &payload, err) ? -1 : seal_payload(cipher, counter, &payload, ret, err);
}

static int decompress(struct seal_coder *c, const uint8_t *frame, size_t len, size_t raw_len, struct buf *ret, struct error *err)
{
	/* An empty block is stored; so a skippable frame, whose content is empty too, cannot pass. */
	if (!raw_len || ZSTD_getFrameContentSize(frame, len) != raw_len)
		return error_set(err, ERR_CORRUPT, "a block's zstd frame is not of %zu bytes, as its head says", raw_len);
	if (ZSTD_findFrameCompressedSize(frame, len) != len)
		return error_set(err, ERR_CORRUPT, "a block is not exactly one zstd frame");
	if (!c->decompressor && !(c->decompressor = ZSTD_createDCtx()))
		return error_set(err, ERR_NOMEM, "out of memory for zstd");
	if (buf_room(ret, raw_len, err))
		return -1;
	size_t done = ZSTD_decompressDCtx(c->decompressor, ret->data, raw_len, frame, len);
	if (ZSTD_isError(done))
		return error_set(err, ERR_CORRUPT, "a block cannot be decompressed: %s", ZSTD_getErrorName(done));
	if (done != raw_len)
		return error_set(err, ERR_CORRUPT, "a block decompresses to %zu bytes instead of %zu", done, raw_len);
	ret->len = raw_len;
	return 0;
}

int block_decode(struct seal_coder *coder, const uint8_t head[SEAL_BLOCK_HEAD], const uint8_t *payload, size_t len, size_t max,
                 struct buf *ret, struct error *err)
{
	size_t raw_len = get_le32(head + 1);
	if (raw_len > max)
		return error_set(err, ERR_CORRUPT, "a block claims %zu bytes: %zu are the most", raw_len, max);
	switch (head[0]) {
	case STORED:
		if (len != raw_len)
			return error_set(err, ERR_CORRUPT, "a stored block has %zu bytes instead of %zu", len, raw_len);
		if (payload != ret->data) {
			if (buf_room(ret, len, err))
				return -1;
			if (len)
				memcpy(ret->data, payload, len);
		}
		ret->len = len;
		return 0;
	case ZSTD: return decompress(coder, payload, len, raw_len, ret, err);
	default: return error_set(err, ERR_UNSUPPORTED, "a block's compression %u is unknown to this version", head[0]);
	}
}

/*
 * The head is deciphered first, only to know where the payload goes: a stored one straight to its place. It is not believed for
 * anything else before the tag has been checked, and either place has room for what is there.
 */
static int open_block(struct seal_coder *coder, struct seal_cipher *cipher, uint64_t counter, const uint8_t *sealed,
                      size_t payload_len, size_t max, struct buf *ret, struct error *err)
{
	uint8_t head[SEAL_BLOCK_HEAD];
	if (cipher_begin(cipher, false, counter, err) || cipher_update(cipher, sealed, sizeof head, head, err))
		return -1;
	bool stored = head[0] == STORED;
	if (stored ? buf_room(ret, payload_len, err) : scratch_room(coder, payload_len, err))
		return -1;
	uint8_t *payload = stored ? ret->data : coder->scratch;
	if (cipher_update(cipher, sealed + SEAL_BLOCK_HEAD, payload_len, payload, err) ||
	    cipher_end_decrypt(cipher, sealed + SEAL_BLOCK_HEAD + payload_len, err))
		return -1;
	return block_decode(coder, head, payload, payload_len, max, ret, err);
}

int unseal_block(struct seal_coder *coder, struct seal_cipher *cipher, uint64_t counter, const void *sealed, size_t len, size_t max,
                 struct buf *ret, struct error *err)
{
	if (max > SEAL_BLOCK_MAX)
		max = SEAL_BLOCK_MAX;
	ret->len = 0;
	if (len < SEAL_BLOCK_HEAD + SEAL_TAG_SIZE)
		return error_set(err, ERR_CORRUPT, "a block is cut short: %zu bytes", len);
	/* A payload is never longer than the raw bytes: what does not shrink is stored. */
	size_t payload_len = len - SEAL_BLOCK_HEAD - SEAL_TAG_SIZE;
	if (payload_len > max)
		return error_set(err, ERR_CORRUPT, "a block of %zu bytes: %zu are the most", payload_len, max);
	if (!open_block(coder, cipher, counter, sealed, payload_len, max, ret, err))
		return 0;
	ret->len = 0;
	return -1;
}

int unseal_payload(struct seal_coder *coder, struct seal_cipher *cipher, uint64_t counter, const void *sealed, size_t len, size_t max, struct buf *ret_plain, struct buf *ret_raw,
                   struct error *err)
{
	if (max > SEAL_BLOCK_MAX)
		max = SEAL_BLOCK_MAX;
	ret_plain->len = ret_raw->len = 0;
	if (len < SEAL_BLOCK_HEAD + SEAL_TAG_SIZE || len - SEAL_BLOCK_HEAD - SEAL_TAG_SIZE > max)
		return error_set(err, ERR_CORRUPT, "a block has %zu bytes, which none can have here", len);
	size_t plain = len - SEAL_TAG_SIZE;
	if (buf_room(ret_plain, plain, err) || seal_decrypt(cipher, counter, sealed, len, ret_plain->data, err) < 0)
		return -1;
	ret_plain->len = plain;
	return block_decode(coder, ret_plain->data, ret_plain->data + SEAL_BLOCK_HEAD, plain - SEAL_BLOCK_HEAD, max, ret_raw, err);
}
