/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Signatures: Ed25519 (RFC 8032), by libsodium. */
#include <assert.h>
#include <sodium.h>

#include "seal/internal.h"

static_assert(SEAL_SIGN_SIZE == crypto_sign_PUBLICKEYBYTES, "size of a public key");
static_assert(SEAL_SIGN_SIZE == crypto_sign_SEEDBYTES, "size of a seed");
static_assert(SEAL_SIGNATURE_SIZE == crypto_sign_BYTES, "size of a signature");

/* In locked memory. */
struct seal_signer {
	uint8_t public_half[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
};

int seal_signer_new(struct seal_signer **ret, const uint8_t seed[SEAL_SIGN_SIZE], struct error *err)
{
	struct seal_signer *s = sodium_malloc(sizeof *s);
	if (!s)
		return error_set(err, ERR_NOMEM, "out of memory for keys");
	crypto_sign_seed_keypair(s->public_half, s->secret, seed);
	*ret = s;
	return 0;
}

void seal_signer_free(struct seal_signer *s)
{
	sodium_free(s);
}

const uint8_t *seal_signer_public(const struct seal_signer *s)
{
	return s->public_half;
}

void seal_sign(const struct seal_signer *s, const void *message, size_t len, uint8_t ret[SEAL_SIGNATURE_SIZE])
{
	crypto_sign_detached(ret, NULL, message, len, s->secret);
}

bool seal_signature_fits(const uint8_t public_half[SEAL_SIGN_SIZE], const void *message, size_t len, const uint8_t signature[SEAL_SIGNATURE_SIZE])
{
	return crypto_sign_verify_detached(signature, message, len, public_half) == 0;
}
