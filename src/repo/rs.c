/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/rs.h"

#include <isa-l/erasure_code.h>

#define TABLE_BYTES 32u /* of isa-l's tables, for each coefficient */

static uint8_t coefficient(unsigned shard, unsigned member)
{
	return gf_inv((uint8_t)((248 + shard) ^ member));
}

void rs_add(uint8_t *const sums[], const unsigned shards[], unsigned count, unsigned member, const uint8_t *data, size_t len)
{
	uint8_t row[RS_SHARDS_MAX], tables[TABLE_BYTES * RS_SHARDS_MAX], *out[RS_SHARDS_MAX];
	for (unsigned k = 0; k < count; k++) {
		row[k] = coefficient(shards[k], member);
		out[k] = sums[k];
	}
	ec_init_tables(1, (int)count, row, tables);
	/* isa-l takes its input without const, and leaves it alone. */
	uint8_t *in = (uint8_t *)(uintptr_t)data;
	ec_encode_data_update((int)len, 1, (int)count, 0, tables, in, out);
}

void rs_solve(uint8_t *const ret[], uint8_t *const sums[], const unsigned shards[], const unsigned lost[], unsigned count, size_t len)
{
	uint8_t matrix[RS_SHARDS_MAX * RS_SHARDS_MAX], inverse[RS_SHARDS_MAX * RS_SHARDS_MAX], tables[TABLE_BYTES * RS_SHARDS_MAX * RS_SHARDS_MAX];
	uint8_t *in[RS_SHARDS_MAX], *out[RS_SHARDS_MAX];
	for (unsigned r = 0; r < count; r++) {
		in[r] = sums[r];
		out[r] = ret[r];
		for (unsigned c = 0; c < count; c++)
			matrix[r * count + c] = coefficient(shards[r], lost[c]);
	}
	/* Every square part of a Cauchy matrix has an inverse. */
	gf_invert_matrix(matrix, inverse, (int)count);
	ec_init_tables((int)count, (int)count, inverse, tables);
	ec_encode_data((int)len, (int)count, (int)count, tables, in, out);
}
