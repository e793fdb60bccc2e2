/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <sodium.h>

#include "seal/internal.h"

void seal_random(void *ret, size_t len)
{
	randombytes_buf(ret, len);
}

int seal_init(struct error *err)
{
	if (sodium_init() < 0)
		return error_set(err, ERR_IO, "libsodium cannot start: the system gives no random numbers");
	/* BLAKE3 remembers at its first call what the processor can do, without a lock: before there are threads. */
	struct seal_keys none = { 0 };
	struct id id;
	seal_chunk_id(&none, CHUNK_DATA, "", 0, &id);
	return 0;
}

int hkdf_fetch(EVP_KDF **ret, struct error *err)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	if (!kdf)
		return error_set(err, ERR_UNSUPPORTED, "OpenSSL offers no HKDF");
	*ret = kdf;
	return 0;
}

/* OSSL_PARAM's constructors take pointers that are not const, and only read. */
static void *readable(const void *p)
{
	return (void *)(uintptr_t)p;
}

static void kdf_ctx_cleanup(EVP_KDF_CTX **ctx)
{
	EVP_KDF_CTX_free(*ctx);
}

int hkdf_sha256(EVP_KDF *kdf, const void *secret, size_t secret_len, const void *salt, size_t salt_len, const void *info,
                size_t info_len, uint8_t *ret, size_t ret_len, struct error *err)
{
	CLEAN(kdf_ctx_cleanup) EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, readable(secret), secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, readable(salt), salt_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, readable(info), info_len),
		OSSL_PARAM_construct_end(),
	};
	if (!ctx || EVP_KDF_derive(ctx, ret, ret_len, params) != 1)
		return error_set(err, ERR_NOMEM, "OpenSSL cannot derive a key");
	return 0;
}

static int derive(struct seal_keys *k, unsigned epoch, const char *info, uint8_t ret[SEAL_KEY_SIZE], struct error *err)
{
	return hkdf_sha256(k->hkdf, k->masters[epoch], SEAL_KEY_SIZE, k->repository.b, ID_SIZE, info, strlen(info), ret, SEAL_KEY_SIZE, err);
}

int seal_keys_open(struct seal_keys **ret, const uint8_t *masters, unsigned count, const struct id *repository, struct error *err)
{
	return seal_keys_open_slots(ret, masters, count, 0, repository, err);
}

/* The keys that all epochs share come from the first master key, or stand for themselves where that was dropped. */
static int shared_keys(struct seal_keys *k, const uint8_t *slots, struct error *err)
{
	const uint8_t *shared = slots + (size_t)(k->epochs - k->first) * SEAL_KEY_SIZE;
	if (!k->first)
		return derive(k, 0, "twofold chunk id data", k->chunk_ids[CHUNK_DATA], err) || derive(k, 0, "twofold chunk id metadata", k->chunk_ids[CHUNK_META], err) ||
		                       derive(k, 0, "twofold cutting", k->cut, err)
		               ? -1
		               : 0;
	memcpy(k->chunk_ids[CHUNK_DATA], shared, SEAL_KEY_SIZE);
	memcpy(k->chunk_ids[CHUNK_META], shared + SEAL_KEY_SIZE, SEAL_KEY_SIZE);
	memcpy(k->cut, shared + 2u * SEAL_KEY_SIZE, SEAL_KEY_SIZE);
	return 0;
}

int seal_keys_open_slots(struct seal_keys **ret, const uint8_t *slots, unsigned count, unsigned first, const struct id *repository, struct error *err)
{
	if (count < 1 || count > SEAL_EPOCHS_MAX || first >= count)
		return error_set(err, ERR_INVALID, "a repository has 1 to %u master keys, not %u", SEAL_EPOCHS_MAX, count);
	/* Where the limit for locked memory is used up this is still wiped and kept out of core files. */
	CLEAN(seal_keys_cleanup) struct seal_keys *k = sodium_malloc(sizeof *k);
	if (!k)
		return error_set(err, ERR_NOMEM, "out of memory for keys");
	memset(k, 0, sizeof *k);
	memcpy(k->masters[first], slots, (size_t)(count - first) * SEAL_KEY_SIZE);
	k->epochs = count;
	k->first = first;
	k->repository = *repository;
	if (aead_fetch(&k->aead, err) || hkdf_fetch(&k->hkdf, err) || shared_keys(k, slots, err))
		return -1;
	for (unsigned e = first; e < count; e++)
		if (derive(k, e, "twofold objects", k->objects[e], err))
			return -1;
	if (session_keys_new(&k->sessions, err) < 0)
		return -1;
	sodium_mprotect_readonly(k);
	*ret = TAKE(k);
	return 0;
}

int seal_keys_open_write_only(struct seal_keys **ret, const struct seal_write_only *secrets, const struct id *repository, struct error *err)
{
	CLEAN(seal_keys_cleanup) struct seal_keys *k = sodium_malloc(sizeof *k);
	if (!k)
		return error_set(err, ERR_NOMEM, "out of memory for keys");
	memset(k, 0, sizeof *k);
	memcpy(k->chunk_ids, secrets->chunk_ids, sizeof k->chunk_ids);
	memcpy(k->cut, secrets->cut, sizeof k->cut);
	k->repository = *repository;
	if (aead_fetch(&k->aead, err) || hkdf_fetch(&k->hkdf, err) || session_keys_new(&k->sessions, err) < 0)
		return -1;
	sodium_mprotect_readonly(k);
	*ret = TAKE(k);
	return 0;
}

bool seal_is_write_only(const struct seal_keys *k)
{
	return k->epochs == 0;
}

void seal_write_only_of(const struct seal_keys *k, struct seal_write_only *ret)
{
	memcpy(ret->chunk_ids, k->chunk_ids, sizeof ret->chunk_ids);
	memcpy(ret->cut, k->cut, sizeof ret->cut);
}

void seal_keys_free(struct seal_keys *k)
{
	if (!k)
		return;
	session_keys_free(k->sessions);
	EVP_CIPHER_free(k->aead);
	EVP_KDF_free(k->hkdf);
	sodium_free(k);
}

void seal_cut_key(const struct seal_keys *k, uint8_t ret[32])
{
	memcpy(ret, k->cut, SEAL_KEY_SIZE);
}

unsigned seal_first(const struct seal_keys *k)
{
	return k->first;
}

void seal_slots_of(const struct seal_keys *k, unsigned first, uint8_t *ret)
{
	uint8_t *shared = ret + (size_t)(k->epochs - first) * SEAL_KEY_SIZE;
	memcpy(ret, k->masters[first], (size_t)(k->epochs - first) * SEAL_KEY_SIZE);
	if (!first)
		return;
	memcpy(shared, k->chunk_ids[CHUNK_DATA], SEAL_KEY_SIZE);
	memcpy(shared + SEAL_KEY_SIZE, k->chunk_ids[CHUNK_META], SEAL_KEY_SIZE);
	memcpy(shared + 2u * SEAL_KEY_SIZE, k->cut, SEAL_KEY_SIZE);
}

const uint8_t *seal_masters(const struct seal_keys *k, unsigned *ret_count)
{
	*ret_count = k->epochs;
	return k->masters[0];
}

/* --- which key ------------------------------------------------------------------ */

struct seal_by seal_current(const struct seal_keys *k)
{
	struct seal_by by = { .how = SEAL_BY_SESSION };
	if (k->epochs)
		return (struct seal_by){ .how = SEAL_BY_MASTER, .epoch = (uint16_t)(k->epochs - 1) };
	session_current(k, &by.session);
	return by;
}

const struct id *seal_repository(const struct seal_keys *k)
{
	return &k->repository;
}
