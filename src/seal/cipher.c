/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <sodium.h>
#include <stdlib.h>

#include "seal/internal.h"

/* EVP counts in int. */
#define PIECE_MAX ((size_t)1 << 30)

/* What every message is bound to: repository id, object id, le32 kind, le64 counter. */
enum { AAD_OBJECT = ID_SIZE, AAD_KIND = 2 * ID_SIZE, AAD_COUNTER = AAD_KIND + 4, AAD_SIZE = AAD_COUNTER + 8 };

struct seal_cipher {
	EVP_CIPHER_CTX *ctx;
	uint8_t aad[AAD_SIZE];
};

int aead_fetch(EVP_CIPHER **ret, struct error *err)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	if (!cipher)
		return error_set(err, ERR_UNSUPPORTED, "OpenSSL offers no ChaCha20-Poly1305");
	*ret = cipher;
	return 0;
}

static int failed(struct error *err)
{
	return error_set(err, ERR_NOMEM, "OpenSSL's ChaCha20-Poly1305 failed");
}

int aead_new(EVP_CIPHER_CTX **ret, EVP_CIPHER *cipher, const uint8_t key[SEAL_KEY_SIZE], struct error *err)
{
	CLEAN(evp_cipher_ctx_cleanup) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx || EVP_CipherInit_ex2(ctx, cipher, key, NULL, 1, NULL) != 1)
		return failed(err);
	*ret = TAKE(ctx);
	return 0;
}

int aead_begin(EVP_CIPHER_CTX *ctx, bool encrypt, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad, size_t aad_len,
               struct error *err)
{
	int done;
	if (aad_len > PIECE_MAX || EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, encrypt, NULL) != 1 ||
	    (aad_len && EVP_CipherUpdate(ctx, NULL, &done, aad, (int)aad_len) != 1))
		return failed(err);
	return 0;
}

int aead_update(EVP_CIPHER_CTX *ctx, const void *in, size_t len, uint8_t *out, struct error *err)
{
	const uint8_t *from = in;
	while (len) {
		size_t piece = len < PIECE_MAX ? len : PIECE_MAX;
		int done;
		if (EVP_CipherUpdate(ctx, out, &done, from, (int)piece) != 1 || (size_t)done != piece)
			return failed(err);
		from += piece;
		out += piece;
		len -= piece;
	}
	return 0;
}

int aead_end_encrypt(EVP_CIPHER_CTX *ctx, uint8_t ret_tag[SEAL_TAG_SIZE], struct error *err)
{
	uint8_t none[16];
	int done;
	if (EVP_CipherFinal_ex(ctx, none, &done) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_SIZE, ret_tag) != 1)
		return failed(err);
	return 0;
}

int aead_end_decrypt(EVP_CIPHER_CTX *ctx, const uint8_t tag[SEAL_TAG_SIZE], bool *ret_ok, struct error *err)
{
	uint8_t expected[SEAL_TAG_SIZE], none[16];
	int done;
	memcpy(expected, tag, sizeof expected);
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_SIZE, expected) != 1)
		return failed(err);
	*ret_ok = EVP_CipherFinal_ex(ctx, none, &done) == 1;
	return 0;
}

/* HKDF(objects key, salt = object id, info = "twofold object" and le32 kind). */
static int object_key(const struct seal_keys *k, const uint8_t *objects, enum seal_kind kind, const struct id *object, uint8_t ret[SEAL_KEY_SIZE],
                      struct error *err)
{
	static const char label[14] = "twofold object";
	uint8_t info[sizeof label + 4];
	memcpy(info, label, sizeof label);
	put_le32(info + sizeof label, (uint32_t)kind);
	return hkdf_sha256(k->hkdf, objects, SEAL_KEY_SIZE, object->b, ID_SIZE, info, sizeof info, ret, SEAL_KEY_SIZE, err);
}

int seal_cipher_new(struct seal_cipher **ret, const struct seal_keys *k, const struct seal_by *by, enum seal_kind kind, const struct id *object,
                    struct error *err)
{
	uint8_t objects[SEAL_KEY_SIZE], key[SEAL_KEY_SIZE];
	if (by->how == SEAL_BY_SESSION && session_key(k, &by->session, objects, err) < 0)
		return -1;
	if (by->how == SEAL_BY_MASTER && !k->epochs)
		return error_set(err, ERR_AUTH, "a write-only key opens nothing");
	if (by->how == SEAL_BY_MASTER && by->epoch >= k->epochs)
		return error_set(err, ERR_AUTH, "sealed by master key %u; the key that opened the repository knows only %u: the master key was changed since, use a key that was kept or added then",
		                 by->epoch + 1u, k->epochs);
	/* What was dropped is zeros, by which anybody could seal. */
	if (by->how == SEAL_BY_MASTER && by->epoch < k->first)
		return error_set(err, ERR_AUTH, "sealed by master key %u, which was dropped when all was sealed anew: written since by a program that had opened the repository before, or brought back by the storage",
		                 by->epoch + 1u);
	CLEAN(seal_cipher_cleanup) struct seal_cipher *c = calloc(1, sizeof *c);
	int bad = object_key(k, by->how == SEAL_BY_SESSION ? objects : k->objects[by->epoch], kind, object, key, err) || (c && aead_new(&c->ctx, k->aead, key, err));
	sodium_memzero(key, sizeof key);
	sodium_memzero(objects, sizeof objects);
	if (bad)
		return -1;
	if (!c)
		return error_set(err, ERR_NOMEM, "out of memory");
	memcpy(c->aad, k->repository.b, ID_SIZE);
	memcpy(c->aad + AAD_OBJECT, object->b, ID_SIZE);
	put_le32(c->aad + AAD_KIND, (uint32_t)kind);
	*ret = TAKE(c);
	return 0;
}

void seal_cipher_free(struct seal_cipher *c)
{
	if (!c)
		return;
	EVP_CIPHER_CTX_free(c->ctx); /* wipes the key */
	free(c);
}

int cipher_begin(struct seal_cipher *c, bool encrypt, uint64_t counter, struct error *err)
{
	uint8_t nonce[AEAD_NONCE_SIZE] = { 0 };
	put_le64(nonce, counter);
	put_le64(c->aad + AAD_COUNTER, counter);
	return aead_begin(c->ctx, encrypt, nonce, c->aad, AAD_SIZE, err);
}

int cipher_update(struct seal_cipher *c, const void *in, size_t len, uint8_t *out, struct error *err)
{
	return aead_update(c->ctx, in, len, out, err);
}

int cipher_end_encrypt(struct seal_cipher *c, uint8_t ret_tag[SEAL_TAG_SIZE], struct error *err)
{
	return aead_end_encrypt(c->ctx, ret_tag, err);
}

int cipher_end_decrypt(struct seal_cipher *c, const uint8_t tag[SEAL_TAG_SIZE], struct error *err)
{
	bool ok = false;
	if (aead_end_decrypt(c->ctx, tag, &ok, err))
		return -1;
	if (!ok)
		return error_set(err, ERR_CORRUPT, "message %llu does not authenticate: it was damaged, moved or exchanged",
		                 (unsigned long long)get_le64(c->aad + AAD_COUNTER));
	return 0;
}

int seal_encrypt(struct seal_cipher *c, uint64_t counter, const void *plain, size_t len, uint8_t *out, struct error *err)
{
	if (cipher_begin(c, true, counter, err) || cipher_update(c, plain, len, out, err))
		return -1;
	return cipher_end_encrypt(c, out + len, err);
}

int seal_decrypt(struct seal_cipher *c, uint64_t counter, const void *sealed, size_t len, uint8_t *out, struct error *err)
{
	if (len < SEAL_TAG_SIZE)
		return error_set(err, ERR_CORRUPT, "message %llu is cut short: %zu bytes", (unsigned long long)counter, len);
	const uint8_t *from = sealed;
	size_t plain = len - SEAL_TAG_SIZE;
	if (cipher_begin(c, false, counter, err) || cipher_update(c, from, plain, out, err) ||
	    cipher_end_decrypt(c, from + plain, err)) {
		if (plain)
			memset(out, 0, plain); /* nothing unauthenticated leaves, even by mistake */
		return -1;
	}
	return 0;
}
