/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Content-defined cutting: where one chunk of a stream ends depends on its bytes alone, so an insertion moves the cuts with the content.
 *
 * A rolling Gear hash over the last bytes nominates candidate positions; AES-128 under a key of the repository over
 * the rolling value decides, so that cut points tell nothing to who lacks the key (eprint 2025/532, 2025/558). The first min bytes are skipped; before
 * avg the condition is stricter, behind it looser (normalised chunking, FastCDC, USENIX ATC 2016), which narrows the spread. The algorithm is
 * part of the format (docs/FORMAT.md, "Cutting"): it must never change for one algorithm number.
 * A cutter is read-only after cut_new and may be used by many threads.
 */
#ifndef CUT_CUT_H
#define CUT_CUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/clean.h"
#include "base/error.h"

#define CUT_MIN (256u << 10)
#define CUT_AVG (1u << 20)
#define CUT_MAX (4u << 20)

struct cutter;

struct cut_params {
	uint32_t min, avg, max; /* bytes; min <= avg <= max, avg a power of two from 512 on, min >= 64 */
};

/* key: 32 bytes: the AES key, then the seed of the Gear table. */
int cut_new(struct cutter **ret, const struct cut_params *params, const uint8_t key[32], struct error *err);
void cut_free(struct cutter *c);
DEFINE_CLEAN(cutter, cut_free)

/* Length of the first chunk of data. len must be at least max, or all that is left of the stream. A stream of up to min bytes is one chunk.
 * Returns 1 to max; 0 only for len 0. */
size_t cut_length(const struct cutter *c, const uint8_t *data, size_t len);
uint32_t cut_max(const struct cutter *c);

#endif
