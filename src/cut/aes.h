/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * AES-128 of single blocks (FIPS 197), for cut.c alone: about one block for 2048 bytes of data, called in the middle of a scan
 * that must neither fail nor allocate nor share a context between threads; EVP offers none of the three.
 * Read-only after aes128_init, so any number of threads. With AES instructions where the processor has them; the portable way uses a
 * look-up table and is therefore not proof against someone who measures its timing on the same machine.
 */
#ifndef CUT_AES_H
#define CUT_AES_H

#include <stdbool.h>
#include <stdint.h>

#define AES128_ROUNDS 10

struct aes128 {
	uint8_t round_keys[AES128_ROUNDS + 1][16];
	uint8_t sbox[256];
};

void aes128_init(struct aes128 *ret, const uint8_t key[16]);
void aes128_encrypt_portable(const struct aes128 *aes, const uint8_t in[16], uint8_t out[16]);
/* Whether this processor may call aes128_encrypt_native. */
bool aes128_has_native(void);
/* The same result by the processor's own instructions. */
void aes128_encrypt_native(const struct aes128 *aes, const uint8_t in[16], uint8_t out[16]);

#endif
