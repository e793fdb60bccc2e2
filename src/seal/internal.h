/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of seal/, and their tests, share behind seal.h. No other folder includes this. */
#ifndef SEAL_INTERNAL_H
#define SEAL_INTERNAL_H

#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "seal/seal.h"

/* In locked memory, read-only once it is filled. */
struct seal_keys {
	uint8_t masters[SEAL_EPOCHS_MAX][SEAL_KEY_SIZE]; /* by epoch */
	uint8_t chunk_ids[2][SEAL_KEY_SIZE]; /* by enum chunk_class */
	uint8_t cut[SEAL_KEY_SIZE];
	uint8_t objects[SEAL_EPOCHS_MAX][SEAL_KEY_SIZE]; /* by epoch */
	unsigned epochs; /* 0: opened write-only */
	unsigned first;  /* masters and objects below it are zeros: dropped */
	struct id repository;
	struct session_keys *sessions; /* session.c */
	/* Fetched once: a fetch by name costs more than a small message. */
	EVP_CIPHER *aead;
	EVP_KDF *hkdf;
};

/* --- keys.c -------------------------------------------------------------- */
static inline void evp_kdf_cleanup(EVP_KDF **kdf)
{
	EVP_KDF_free(*kdf);
}
int hkdf_fetch(EVP_KDF **ret, struct error *err);
/* HKDF-SHA-256, extract and expand (RFC 5869). */
int hkdf_sha256(EVP_KDF *kdf, const void *secret, size_t secret_len, const void *salt, size_t salt_len, const void *info,
                size_t info_len, uint8_t *ret, size_t ret_len, struct error *err);

/* --- session.c ------------------------------------------------------------- */
struct session_keys;
int session_keys_new(struct session_keys **ret, struct error *err);
void session_keys_free(struct session_keys *s);
DEFINE_CLEAN(session_keys, session_keys_free)
/* The objects key of a session. */
int session_key(const struct seal_keys *k, const struct id *session, uint8_t ret[SEAL_KEY_SIZE], struct error *err);
/* ret_session: by which new objects are sealed. */
void session_current(const struct seal_keys *k, struct id *ret_session);

/* --- cipher.c: one message is begin, any number of updates, end ----------- */
#define AEAD_NONCE_SIZE 12

static inline void evp_cipher_cleanup(EVP_CIPHER **cipher)
{
	EVP_CIPHER_free(*cipher);
}
static inline void evp_cipher_ctx_cleanup(EVP_CIPHER_CTX **ctx)
{
	EVP_CIPHER_CTX_free(*ctx);
}
int aead_fetch(EVP_CIPHER **ret, struct error *err);
/* A context with its key, for messages in either direction. */
int aead_new(EVP_CIPHER_CTX **ret, EVP_CIPHER *cipher, const uint8_t key[SEAL_KEY_SIZE], struct error *err);
int aead_begin(EVP_CIPHER_CTX *ctx, bool encrypt, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad, size_t aad_len,
               struct error *err);
int aead_update(EVP_CIPHER_CTX *ctx, const void *in, size_t len, uint8_t *out, struct error *err);
int aead_end_encrypt(EVP_CIPHER_CTX *ctx, uint8_t ret_tag[SEAL_TAG_SIZE], struct error *err);
/* Until *ret_ok is true, nothing that aead_update gave out may be believed. */
int aead_end_decrypt(EVP_CIPHER_CTX *ctx, const uint8_t tag[SEAL_TAG_SIZE], bool *ret_ok, struct error *err);

/* The same for an object's messages. */
int cipher_begin(struct seal_cipher *c, bool encrypt, uint64_t counter, struct error *err);
int cipher_update(struct seal_cipher *c, const void *in, size_t len, uint8_t *out, struct error *err);
int cipher_end_encrypt(struct seal_cipher *c, uint8_t ret_tag[SEAL_TAG_SIZE], struct error *err);
/* ERR_CORRUPT when it does not authenticate. */
int cipher_end_decrypt(struct seal_cipher *c, const uint8_t tag[SEAL_TAG_SIZE], struct error *err);

/* --- block.c --------------------------------------------------------------- */
/* A block's plaintext, after its encryption was undone: the raw bytes into ret. payload may be ret->data itself where the block is stored. */
int block_decode(struct seal_coder *coder, const uint8_t head[SEAL_BLOCK_HEAD], const uint8_t *payload, size_t len, size_t max,
                 struct buf *ret, struct error *err);

#endif
