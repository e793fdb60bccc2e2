/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <sodium.h>

#include "seal/internal.h"

static const uint8_t zero_nonce[AEAD_NONCE_SIZE];

/* The shortest Argon2id that libsodium does. */
#define MEMORY_MIN_KIB 8u

struct wrap_key {
	uint8_t b[SEAL_KEY_SIZE];
};

struct masters {
	uint8_t b[SEAL_SLOTS_MAX * SEAL_KEY_SIZE];
};

static void masters_wipe(struct masters *m)
{
	sodium_memzero(m, sizeof *m);
}

static void wrap_key_wipe(struct wrap_key *k)
{
	sodium_memzero(k, sizeof *k);
}

static int check_argon(const struct seal_wrapped *w, enum error_kind kind, struct error *err)
{
	if (w->argon_passes < 1 || w->argon_passes > SEAL_ARGON_PASSES_MAX || w->argon_memory_kib < MEMORY_MIN_KIB ||
	    w->argon_memory_kib > SEAL_ARGON_MEMORY_MAX_KIB)
		return error_set(err, kind, "key wants Argon2id with %u passes over %u KiB: beyond the limits of %u and %u", w->argon_passes,
		                 w->argon_memory_kib, SEAL_ARGON_PASSES_MAX, SEAL_ARGON_MEMORY_MAX_KIB);
	return 0;
}

static int passphrase_key(const struct seal_wrapped *w, const void *secret, size_t len, struct wrap_key *ret, struct error *err)
{
	if (crypto_pwhash(ret->b, sizeof ret->b, secret, len, w->salt, w->argon_passes, (size_t)w->argon_memory_kib * 1024,
	                  crypto_pwhash_ALG_ARGON2ID13))
		return error_set(err, ERR_NOMEM, "Argon2id needs %u MiB of memory, which the system does not give",
		                 (w->argon_memory_kib + 1023) / 1024);
	return 0;
}

static int keyfile_key(const struct seal_wrapped *w, const void *secret, struct wrap_key *ret, struct error *err)
{
	static const char info[] = "twofold key file";
	CLEAN(evp_kdf_cleanup) EVP_KDF *kdf = NULL;
	if (hkdf_fetch(&kdf, err))
		return -1;
	return hkdf_sha256(kdf, secret, SEAL_KEY_SIZE, w->salt, sizeof w->salt, info, sizeof info - 1, ret->b, sizeof ret->b, err);
}

static int context_of(const struct seal_wrapped *w, const void *secret, size_t len, EVP_CIPHER_CTX **ret, struct error *err)
{
	CLEAN(wrap_key_wipe) struct wrap_key key = { 0 };
	CLEAN(evp_cipher_cleanup) EVP_CIPHER *aead = NULL;
	int bad = w->how == SEAL_WRAP_PASSPHRASE ? passphrase_key(w, secret, len, &key, err) : keyfile_key(w, secret, &key, err);
	if (bad || aead_fetch(&aead, err))
		return -1;
	return aead_new(ret, aead, key.b, err);
}

int seal_wrap_key(struct seal_wrapped *ret, const uint8_t *masters, const void *secret, size_t secret_len,
                  const void *aad, size_t aad_len, struct error *err)
{
	struct seal_wrapped w = *ret;
	if (w.how == SEAL_WRAP_KEYFILE && secret_len != SEAL_KEY_SIZE)
		return error_set(err, ERR_INVALID, "a key file has %d bytes, not %zu", SEAL_KEY_SIZE, secret_len);
	if (w.how != SEAL_WRAP_KEYFILE && w.how != SEAL_WRAP_PASSPHRASE)
		return error_set(err, ERR_INVALID, "way %d of wrapping a key is unknown", (int)w.how);
	if (w.count < 1 || w.count > SEAL_EPOCHS_MAX || w.first >= w.count)
		return error_set(err, ERR_INVALID, "wrap %u master keys: at most %u", w.count, SEAL_EPOCHS_MAX);
	if (w.how == SEAL_WRAP_PASSPHRASE && check_argon(&w, ERR_INVALID, err))
		return -1;
	size_t len = (size_t)seal_slots(w.count, w.first) * SEAL_KEY_SIZE;
	CLEAN(evp_cipher_ctx_cleanup) EVP_CIPHER_CTX *ctx = NULL;
	if (context_of(&w, secret, secret_len, &ctx, err) || aead_begin(ctx, true, zero_nonce, aad, aad_len, err) ||
	    aead_update(ctx, masters, len, w.sealed, err) || aead_end_encrypt(ctx, w.sealed + len, err))
		return -1;
	*ret = w;
	return 0;
}

int seal_unwrap_key(const struct seal_wrapped *w, const void *secret, size_t secret_len, const void *aad, size_t aad_len,
                    uint8_t *ret_masters, bool *ret_ok, struct error *err)
{
	if (w->how != SEAL_WRAP_KEYFILE && w->how != SEAL_WRAP_PASSPHRASE)
		return error_set(err, ERR_UNSUPPORTED, "way %d of wrapping a key is unknown to this version", (int)w->how);
	if (w->count < 1 || w->count > SEAL_EPOCHS_MAX || w->first >= w->count)
		return error_set(err, ERR_CORRUPT, "a key with %u master keys", w->count);
	if (w->how == SEAL_WRAP_PASSPHRASE && check_argon(w, ERR_CORRUPT, err))
		return -1;
	if (w->how == SEAL_WRAP_KEYFILE && secret_len != SEAL_KEY_SIZE) {
		*ret_ok = false;
		return 0;
	}
	CLEAN(evp_cipher_ctx_cleanup) EVP_CIPHER_CTX *ctx = NULL;
	CLEAN(masters_wipe) struct masters masters = { 0 };
	size_t len = (size_t)seal_slots(w->count, w->first) * SEAL_KEY_SIZE;
	bool ok = false;
	if (context_of(w, secret, secret_len, &ctx, err) || aead_begin(ctx, false, zero_nonce, aad, aad_len, err) ||
	    aead_update(ctx, w->sealed, len, masters.b, err) || aead_end_decrypt(ctx, w->sealed + len, &ok, err))
		return -1;
	if (ok)
		memcpy(ret_masters, masters.b, len);
	*ret_ok = ok;
	return 0;
}
