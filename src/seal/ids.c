/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <blake3.h>
#include <sodium.h>

#include "seal/internal.h"

void seal_chunk_id(const struct seal_keys *k, enum chunk_class class, const void *data, size_t len, struct id *ret)
{
	blake3_hasher hasher;
	blake3_hasher_init_keyed(&hasher, k->chunk_ids[class]);
	blake3_hasher_update(&hasher, data, len);
	blake3_hasher_finalize(&hasher, ret->b, ID_SIZE);
	sodium_memzero(hasher.key, sizeof hasher.key);
	sodium_memzero(&hasher.chunk, sizeof hasher.chunk);
}

void seal_checksum(const void *data, size_t len, uint8_t ret[SEAL_CHECKSUM_SIZE])
{
	blake3_hasher hasher;
	blake3_hasher_init(&hasher);
	blake3_hasher_update(&hasher, data, len);
	blake3_hasher_finalize(&hasher, ret, SEAL_CHECKSUM_SIZE);
}
