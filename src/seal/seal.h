/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys, chunk ids, authenticated encryption, compression of blocks.
 *
 * One master key of 32 bytes for a repository. From it HKDF-SHA-256 (RFC 5869) derives, with salt = repository id and
 * a fixed info text each: the chunk-id key for data, that for metadata, the cutting key, and the object key. Every object (pack, index segment,
 * snapshot, ...) has a random 32-byte id and a key of its own: HKDF(object key, salt = object id, info = "twofold object" and le32 kind). Under that key,
 * messages are ChaCha20-Poly1305 (RFC 8439) with a 96-bit nonce = le64 counter, le32 zero; the associated data is repository id,
 * object id, le32 kind, le64 counter. So no message can be moved to another place, object, kind or repository.
 * struct seal_keys lives in memory that is locked (as far as the system's limit allows), kept out of core files, and wiped; an object's own key, and
 * the state of a hash, stand in ordinary memory while they are in use, and are wiped after it.
 * struct seal_keys is read-only after opening, for any number of threads; struct seal_cipher and struct seal_coder are for one thread at a time.
 */
#ifndef SEAL_SEAL_H
#define SEAL_SEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"

#define SEAL_KEY_SIZE 32
#define SEAL_TAG_SIZE 16

/* What an object is; the number is part of the format. */
enum seal_kind {
	SEAL_PACK_DATA = 1,
	SEAL_PACK_META = 2,
	SEAL_INDEX = 3,
	SEAL_SNAPSHOT = 4,
	SEAL_SESSION = 5,
	SEAL_TOMBSTONE = 6,
	SEAL_FENCE = 7,
	SEAL_LOG = 8,
	SEAL_WRITER = 9, /* the secret half of a write-only key */
	SEAL_UNFINISHED = 10, /* a session that was interrupted */
};

/* Chunk ids of data and of metadata are hashed under different keys, so equal bytes never make a file's chunk stand for a tree. */
enum chunk_class { CHUNK_DATA = 0, CHUNK_META = 1 };

/* Which key sealed an object; it stands in the object's clear head. The head is not believed for it: another key than the right one authenticates nothing. */
enum seal_how {
	SEAL_BY_MASTER = 0,  /* a master key of the repository, counted by epochs */
	SEAL_BY_SESSION = 1, /* the key of one session of a machine that may only write */
};
struct seal_by {
	enum seal_how how;
	uint16_t epoch;    /* by master */
	struct id session; /* by session: whose; else not looked at */
};
#define SEAL_EPOCHS_MAX 64u

struct seal_keys;

/* What a machine holds that may only write, besides the public half of its key pair: it computes chunk ids and cuts, and opens nothing. */
struct seal_write_only {
	uint8_t chunk_ids[2][SEAL_KEY_SIZE]; /* by enum chunk_class */
	uint8_t cut[SEAL_KEY_SIZE];
};

/* Fills with random bytes from the system; cannot fail once seal_init was called. */
void seal_random(void *ret, size_t len);
/* Once, before anything else, from one thread. */
int seal_init(struct error *err);

/* What key objects hold, 32 bytes each: the master keys of epochs first to count - 1; and, where first is not 0, so that those before it were dropped, the two keys of chunk ids and the
 * cutting key, which came from the first master key. */
#define SEAL_SLOTS_MAX (SEAL_EPOCHS_MAX + 3u)
static inline unsigned seal_slots(unsigned count, unsigned first)
{
	return first ? count - first + 3 : count;
}
int seal_keys_open_slots(struct seal_keys **ret, const uint8_t *slots, unsigned count, unsigned first, const struct id *repository, struct error *err);
/* The same as k holds it, without epochs below first. ret: room for SEAL_SLOTS_MAX keys; wipe it. */
void seal_slots_of(const struct seal_keys *k, unsigned first, uint8_t *ret);
/* The first epoch that k holds the master key of. */
unsigned seal_first(const struct seal_keys *k);
/* masters: count keys of SEAL_KEY_SIZE bytes, by epoch, none dropped; chunk ids and cutting come from the first, new objects are sealed by the last. */
int seal_keys_open(struct seal_keys **ret, const uint8_t *masters, unsigned count, const struct id *repository, struct error *err);
void seal_keys_free(struct seal_keys *k);
DEFINE_CLEAN(seal_keys, seal_keys_free)
/* The 32 bytes that cut_new wants. */
void seal_cut_key(const struct seal_keys *k, uint8_t ret[32]);
/* ret_count keys of SEAL_KEY_SIZE bytes. */
const uint8_t *seal_masters(const struct seal_keys *k, unsigned *ret_count);
/* What seals new objects. */
struct seal_by seal_current(const struct seal_keys *k);
const struct id *seal_repository(const struct seal_keys *k);

/* --- sessions with a key of their own: docs/FORMAT.md, "Write-only keys" ------------ */
/* Keys without any master key: what they seal is sealed by the session that seal_session_begin names, and nothing opens but what that session wrote. */
int seal_keys_open_write_only(struct seal_keys **ret, const struct seal_write_only *secrets, const struct id *repository, struct error *err);
bool seal_is_write_only(const struct seal_keys *k);
/* For the machine's file. k holds a master key. */
void seal_write_only_of(const struct seal_keys *k, struct seal_write_only *ret);

/* The key pair of a write-only key (X25519). */
struct seal_pair {
	uint8_t public_half[SEAL_KEY_SIZE], secret_half[SEAL_KEY_SIZE];
};
void seal_pair_new(struct seal_pair *ret);
/* ret_public from secret. */
void seal_pair_public(const uint8_t secret[SEAL_KEY_SIZE], uint8_t ret_public[SEAL_KEY_SIZE]);

#define SEAL_BOX_SIZE (SEAL_KEY_SIZE + 48) /* libsodium's sealed box of 32 bytes */
/* From now on k, opened write-only, seals by a fresh key of a new session, whose id comes with it; ret_box is that key for whoever has the secret half. While no other uses k. */
int seal_session_begin(struct seal_keys *k, const struct id *writer, const uint8_t public_half[SEAL_KEY_SIZE], struct id *ret_session, uint8_t ret_box[SEAL_BOX_SIZE], struct error *err);
/* The session's objects key out of its box. ERR_CORRUPT: it does not open, or is another session's. */
int seal_box_open(const struct seal_keys *k, const uint8_t box[SEAL_BOX_SIZE], const uint8_t secret_half[SEAL_KEY_SIZE], const struct id *session, const struct id *writer,
                  uint8_t ret_key[SEAL_KEY_SIZE], struct error *err);
/* Asked, from any thread, for the objects key of a session that is not remembered (some hundreds are). Set once, before k is shared. */
typedef int (*seal_session_fn)(void *cookie, const struct id *session, uint8_t ret_key[SEAL_KEY_SIZE], struct id *ret_writer, struct error *err);
void seal_set_session_source(struct seal_keys *k, seal_session_fn fn, void *cookie);
/* Which write-only key the session was made with. */
int seal_session_writer(const struct seal_keys *k, const struct id *session, struct id *ret_writer, struct error *err);

/* Keyed BLAKE3 of the chunk's bytes. */
void seal_chunk_id(const struct seal_keys *k, enum chunk_class class, const void *data, size_t len, struct id *ret);

/* The first bytes of BLAKE3 without a key, over what is sealed already: finds damage, proves nothing. */
#define SEAL_CHECKSUM_SIZE 16
void seal_checksum(const void *data, size_t len, uint8_t ret[SEAL_CHECKSUM_SIZE]);

/* --- one object's cipher ------------------------------------------------- */
struct seal_cipher;
/* ERR_AUTH: k does not hold that key. */
int seal_cipher_new(struct seal_cipher **ret, const struct seal_keys *k, const struct seal_by *by, enum seal_kind kind, const struct id *object, struct error *err);
void seal_cipher_free(struct seal_cipher *c);
DEFINE_CLEAN(seal_cipher, seal_cipher_free)
/* One cipher serves both directions. out gets len + SEAL_TAG_SIZE bytes; must not overlap plain. A counter is used once in an object's life: the caller sees to it. */
int seal_encrypt(struct seal_cipher *c, uint64_t counter, const void *plain, size_t len, uint8_t *out, struct error *err);
/* len includes the tag; out gets len - SEAL_TAG_SIZE bytes, and must not overlap sealed. ERR_CORRUPT when it does not authenticate; out is then zeroed. */
int seal_decrypt(struct seal_cipher *c, uint64_t counter, const void *sealed, size_t len, uint8_t *out, struct error *err);

/* --- blocks: compress, then encrypt --------------------------------------- */
/* Block plaintext: u8 algorithm (0 stored, 1 zstd frame), le32 raw length, payload. */
#define SEAL_BLOCK_HEAD 5
#define SEAL_BLOCK_MAX (8u << 20) /* raw bytes of a block at the most */

/*
 * zstd's contexts and a scratch buffer as large as the largest block so far, each made at its first use. At level 3 and 4 MiB blocks one takes about
 * 6 MiB for writing and 4.2 MiB for reading; high levels take more.
 */
struct seal_coder;
int seal_coder_new(struct seal_coder **ret, int level, struct error *err);
void seal_coder_free(struct seal_coder *c);
DEFINE_CLEAN(seal_coder, seal_coder_free)
/* A block's plaintext in two steps, so that compression needs no cipher: the payload points into raw or into the coder, and is valid until the coder's next use. */
struct seal_payload {
	uint8_t head[SEAL_BLOCK_HEAD];
	const void *bytes;
	size_t len;
};
/* len up to SEAL_BLOCK_MAX. Data that does not shrink is stored as it is (from level 5 on that is tried quickly first). */
int seal_compress(struct seal_coder *coder, const void *raw, size_t len, struct seal_payload *ret, struct error *err);
/* Replaces *ret (its memory is used again; empty on failure) by the sealed block; the payload must not lie in it. */
int seal_payload(struct seal_cipher *cipher, uint64_t counter, const struct seal_payload *payload, struct buf *ret, struct error *err);
/* Both. */
int seal_block(struct seal_coder *coder, struct seal_cipher *cipher, uint64_t counter, const void *raw, size_t len, struct buf *ret, struct error *err);
/* Replaces *ret (likewise; stored bytes are deciphered right there) by the raw bytes. All lengths are checked against max, and against SEAL_BLOCK_MAX, before
 * anything is allocated. ERR_CORRUPT when it is not exactly what seal_block made; ERR_UNSUPPORTED for an algorithm that this version does not know. */
int unseal_block(struct seal_coder *coder, struct seal_cipher *cipher, uint64_t counter, const void *sealed, size_t len, size_t max, struct buf *ret,
                 struct error *err);

/* The same for who moves a block to another pack: *ret_plain is the block's plaintext (a struct seal_payload's head and bytes), *ret_raw what it decompresses to. */
int unseal_payload(struct seal_coder *coder, struct seal_cipher *cipher, uint64_t counter, const void *sealed, size_t len, size_t max, struct buf *ret_plain, struct buf *ret_raw,
                   struct error *err);

/* --- signatures: Ed25519 ------------------------------------------------------ */
#define SEAL_SIGN_SIZE 32 /* of either half; the secret one is RFC 8032's seed */
#define SEAL_SIGNATURE_SIZE 64
struct seal_signer;
int seal_signer_new(struct seal_signer **ret, const uint8_t seed[SEAL_SIGN_SIZE], struct error *err);
void seal_signer_free(struct seal_signer *s);
const uint8_t *seal_signer_public(const struct seal_signer *s);
/* What is signed begins with a text that says what it is, so that no signature stands for anything else: the caller sees to it. */
void seal_sign(const struct seal_signer *s, const void *message, size_t len, uint8_t ret[SEAL_SIGNATURE_SIZE]);
bool seal_signature_fits(const uint8_t public_half[SEAL_SIGN_SIZE], const void *message, size_t len, const uint8_t signature[SEAL_SIGNATURE_SIZE]);

/* --- wrapping the master key ------------------------------------------------ */
enum seal_wrap { SEAL_WRAP_PASSPHRASE = 1 /* Argon2id 1.3 */, SEAL_WRAP_KEYFILE = 2 /* 32 random bytes, HKDF */ };

struct seal_wrapped {
	enum seal_wrap how;
	uint32_t argon_passes;       /* passphrase: t; 0 for a key file */
	uint32_t argon_memory_kib;   /* passphrase: m */
	uint8_t salt[32];            /* Argon2id takes the first 16 bytes */
	uint8_t count;               /* master keys, 1 to SEAL_EPOCHS_MAX */
	uint8_t first;               /* those of epochs below it were dropped; less than count */
	uint8_t sealed[SEAL_SLOTS_MAX * SEAL_KEY_SIZE + SEAL_TAG_SIZE]; /* of seal_slots(count, first) keys and a tag; ChaCha20-Poly1305, nonce zero (the key is used once), AAD below */
};

#define SEAL_ARGON_PASSES 3u
#define SEAL_ARGON_MEMORY_KIB (128u << 10)
/* A hostile key object cannot make us allocate or work more. */
#define SEAL_ARGON_PASSES_MAX 32u
#define SEAL_ARGON_MEMORY_MAX_KIB (4u << 20)

/* What Argon2id shall cost for a new passphrase. */
struct seal_argon {
	uint32_t passes, memory_kib;
	bool below; /* the machine's memory does not allow SEAL_ARGON_MEMORY_KIB */
};
/* Measures what this machine does in about 0.7 s: SEAL_ARGON_MEMORY_KIB, or a quarter of the memory that the process may have where that is less, and at least SEAL_ARGON_PASSES.
 * Takes one pass, so about 0.1 s. */
int seal_argon_measure(struct seal_argon *ret, struct error *err);

/* aad/aad_len: bytes bound to the wrapping (the key object's header). secret: the passphrase's bytes, or a key file's 32. masters: as many keys as seal_slots says. Fills .sealed; the caller has set the rest, .salt
 * (random) too, since the associated data holds them. */
int seal_wrap_key(struct seal_wrapped *ret, const uint8_t *masters, const void *secret, size_t secret_len, const void *aad,
                  size_t aad_len, struct error *err);
/* Gives seal_slots(w->count, w->first) keys. ret_ok false: another secret (not an error). */
int seal_unwrap_key(const struct seal_wrapped *w, const void *secret, size_t secret_len, const void *aad, size_t aad_len,
                    uint8_t *ret_masters, bool *ret_ok, struct error *err);

#endif
