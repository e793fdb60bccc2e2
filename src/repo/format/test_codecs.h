/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All codecs of this folder behind one shape, for tests and fuzz targets: make a random value's bytes, and decode bytes and encode them again.
 * Since a value has exactly one encoding, whatever decodes must come back as the same bytes.
 */
#ifndef REPO_FORMAT_TEST_CODECS_H
#define REPO_FORMAT_TEST_CODECS_H

#include "base/buf.h"
#include "base/error.h"

struct codec {
	const char *name;
	/* Appends the encoding of a random value. */
	void (*make)(uint64_t *random, struct buf *b);
	/* Decodes, appends the encoding of what came out; -1 when it does not decode. The decoder must have said why. */
	int (*again)(const uint8_t *bytes, size_t len, struct buf *b, struct error *err);
	/* A prefix of an encoding can be an encoding too: lists whose end is the object's end, where the sealed object tells the length. */
	bool prefix_may_decode;
};

extern const struct codec test_codecs[];
extern const size_t test_codec_count;
const struct codec *test_codec(const char *name);

#endif
