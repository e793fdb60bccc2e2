/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#include "seal/internal.h"
#include "seal/seal.h"

static size_t unhex(const char *hex, uint8_t *ret)
{
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		char digits[3] = { hex[2 * i], hex[2 * i + 1], 0 };
		ret[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return n;
}

#define assert_hex(data, hex)                                                                                          \
	do {                                                                                                           \
		uint8_t expected_[128];                                                                                \
		size_t len_ = unhex(hex, expected_);                                                                   \
		assert_memory_equal(data, expected_, len_);                                                            \
	} while (0)

static const struct seal_by first_master = { .how = SEAL_BY_MASTER };

static struct seal_keys *keys_of(uint8_t master_byte, uint8_t repository_byte)
{
	uint8_t master[SEAL_KEY_SIZE];
	struct id repository;
	memset(master, master_byte, sizeof master);
	memset(repository.b, repository_byte, sizeof repository.b);
	struct seal_keys *k = NULL;
	assert_int_equal(seal_keys_open(&k, master, 1, &repository, NULL), 0);
	return k;
}

static struct seal_cipher *cipher_of(const struct seal_keys *k, enum seal_kind kind, uint8_t object_byte)
{
	struct id object;
	memset(object.b, object_byte, sizeof object.b);
	struct seal_cipher *c = NULL;
	assert_int_equal(seal_cipher_new(&c, k, &first_master, kind, &object, NULL), 0);
	return c;
}

static struct seal_coder *coder_of(int level)
{
	struct seal_coder *c = NULL;
	assert_int_equal(seal_coder_new(&c, level, NULL), 0);
	return c;
}

/* --- the primitives against their official vectors -------------------------- */

/* BLAKE3's test_vectors.json, keyed_hash. The lengths reach from one block to all lanes of the widest code. */
static void chunk_ids_are_keyed_blake3(void **state)
{
	(void)state;
	static const struct {
		size_t len;
		const char *hash;
	} vectors[] = {
		{ 0, "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26" },
		{ 1, "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b" },
		{ 1024, "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4" },
		{ 1025, "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69" },
		{ 102400, "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7" },
	};
	CLEAN_FREE uint8_t *data = malloc(102400);
	for (size_t i = 0; i < 102400; i++)
		data[i] = (uint8_t)(i % 251);
	struct seal_keys k = { 0 };
	memcpy(k.chunk_ids[CHUNK_META], "whats the Elvish word for friend", 32);
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		struct id id;
		seal_chunk_id(&k, CHUNK_META, data, vectors[i].len, &id);
		assert_hex(id.b, vectors[i].hash);
	}
}

/* RFC 5869, appendix A, test cases 1 and 3. */
static void hkdf_is_that_of_rfc_5869(void **state)
{
	(void)state;
	CLEAN(evp_kdf_cleanup) EVP_KDF *kdf = NULL;
	assert_int_equal(hkdf_fetch(&kdf, NULL), 0);
	uint8_t secret[22], salt[13], info[10], out[42];
	memset(secret, 0x0b, sizeof secret);
	unhex("000102030405060708090a0b0c", salt);
	unhex("f0f1f2f3f4f5f6f7f8f9", info);
	assert_int_equal(hkdf_sha256(kdf, secret, 22, salt, 13, info, 10, out, 42, NULL), 0);
	assert_hex(out, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
	assert_int_equal(hkdf_sha256(kdf, secret, 22, salt, 0, info, 0, out, 42, NULL), 0);
	assert_hex(out, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

/* RFC 8439, section 2.8.2. */
static void aead_is_that_of_rfc_8439(void **state)
{
	(void)state;
	static const char plain[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
				    "sunscreen would be it.";
	size_t len = sizeof plain - 1;
	uint8_t key[32], nonce[12], aad[12], out[sizeof plain], tag[16], back[sizeof plain];
	unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key);
	unhex("070000004041424344454647", nonce);
	unhex("50515253c0c1c2c3c4c5c6c7", aad);
	CLEAN(evp_cipher_cleanup) EVP_CIPHER *cipher = NULL;
	CLEAN(evp_cipher_ctx_cleanup) EVP_CIPHER_CTX *ctx = NULL;
	assert_int_equal(aead_fetch(&cipher, NULL), 0);
	assert_int_equal(aead_new(&ctx, cipher, key, NULL), 0);
	for (size_t split = 0; split <= len; split += 5) { /* in two updates, as blocks are */
		assert_int_equal(aead_begin(ctx, true, nonce, aad, sizeof aad, NULL), 0);
		assert_int_equal(aead_update(ctx, plain, split, out, NULL), 0);
		assert_int_equal(aead_update(ctx, plain + split, len - split, out + split, NULL), 0);
		assert_int_equal(aead_end_encrypt(ctx, tag, NULL), 0);
		assert_hex(out, "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
				"1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
				"3ff4def08e4b7a9de576d26586cec64b6116");
		assert_hex(tag, "1ae10b594f09e26a7e902ecbd0600691");
		bool ok = false;
		assert_int_equal(aead_begin(ctx, false, nonce, aad, sizeof aad, NULL), 0);
		assert_int_equal(aead_update(ctx, out, len, back, NULL), 0);
		assert_int_equal(aead_end_decrypt(ctx, tag, &ok, NULL), 0);
		assert_true(ok);
		assert_memory_equal(back, plain, len);
	}
}

/* --- keys --------------------------------------------------------------------- */

static void keys_differ_by_purpose_repository_and_master(void **state)
{
	(void)state;
	CLEAN(seal_keys_cleanup) struct seal_keys *a = keys_of(1, 1), *b = keys_of(1, 2), *c = keys_of(2, 1);
	struct id ids[4];
	seal_chunk_id(a, CHUNK_DATA, "x", 1, &ids[0]);
	seal_chunk_id(a, CHUNK_META, "x", 1, &ids[1]);
	seal_chunk_id(b, CHUNK_DATA, "x", 1, &ids[2]);
	seal_chunk_id(c, CHUNK_DATA, "x", 1, &ids[3]);
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < i; j++)
			assert_false(id_equal(&ids[i], &ids[j]));
	uint8_t cut[3][32];
	seal_cut_key(a, cut[0]);
	seal_cut_key(b, cut[1]);
	seal_cut_key(c, cut[2]);
	assert_memory_not_equal(cut[0], cut[1], 32);
	assert_memory_not_equal(cut[0], cut[2], 32);
	unsigned count;
	assert_int_equal(seal_masters(a, &count)[31], 1);
	assert_int_equal(count, 1);
	assert_int_equal(seal_repository(b)->b[0], 2);
}

/* --- messages ------------------------------------------------------------------- */

#define TEXT "the quick brown fox"
#define TEXT_LEN (sizeof TEXT - 1)

static void expect_refused(struct seal_cipher *c, uint64_t counter, const uint8_t *sealed, size_t len)
{
	uint8_t out[64];
	struct error err = { 0 };
	memset(out, 0xaa, sizeof out);
	assert_int_equal(seal_decrypt(c, counter, sealed, len, out, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_memory_not_equal(out, TEXT, 4);
}

static void message_comes_back(void **state)
{
	(void)state;
	CLEAN(seal_keys_cleanup) struct seal_keys *k = keys_of(1, 1);
	CLEAN(seal_cipher_cleanup) struct seal_cipher *c = cipher_of(k, SEAL_INDEX, 7), *reader = cipher_of(k, SEAL_INDEX, 7);
	static const size_t lengths[] = { 0, 1, 63, 64, 65, 1000, 1u << 20 };
	CLEAN_FREE uint8_t *plain = calloc(1, 1u << 20), *sealed = malloc((1u << 20) + SEAL_TAG_SIZE), *back = malloc(1u << 20);
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		size_t len = lengths[i];
		assert_int_equal(seal_encrypt(c, i, plain, len, sealed, NULL), 0);
		assert_int_equal(seal_decrypt(c, i, sealed, len + SEAL_TAG_SIZE, back, NULL), 0); /* both ways on one cipher */
		assert_memory_equal(back, plain, len);
		assert_int_equal(seal_decrypt(reader, i, sealed, len + SEAL_TAG_SIZE, back, NULL), 0);
		assert_memory_equal(back, plain, len);
	}
	assert_int_equal(seal_encrypt(c, UINT64_MAX, "", 0, sealed, NULL), 0);
	assert_int_equal(seal_decrypt(reader, UINT64_MAX, sealed, SEAL_TAG_SIZE, back, NULL), 0);
}

static void every_flipped_bit_is_noticed(void **state)
{
	(void)state;
	CLEAN(seal_keys_cleanup) struct seal_keys *k = keys_of(1, 1);
	CLEAN(seal_cipher_cleanup) struct seal_cipher *c = cipher_of(k, SEAL_INDEX, 7);
	uint8_t sealed[TEXT_LEN + SEAL_TAG_SIZE], back[TEXT_LEN];
	assert_int_equal(seal_encrypt(c, 5, TEXT, TEXT_LEN, sealed, NULL), 0);
	for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect_refused(c, 5, sealed, sizeof sealed);
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < sizeof sealed; len++)
		expect_refused(c, 5, sealed, len);
	assert_int_equal(seal_decrypt(c, 5, sealed, sizeof sealed, back, NULL), 0);
	assert_memory_equal(back, TEXT, TEXT_LEN);
}

static void message_opens_nowhere_else(void **state)
{
	(void)state;
	CLEAN(seal_keys_cleanup) struct seal_keys *k = keys_of(1, 1), *other_repository = keys_of(1, 2), *other_master = keys_of(2, 1);
	CLEAN(seal_cipher_cleanup) struct seal_cipher *c = cipher_of(k, SEAL_PACK_DATA, 7);
	CLEAN(seal_cipher_cleanup) struct seal_cipher *object = cipher_of(k, SEAL_PACK_DATA, 8), *kind = cipher_of(k, SEAL_PACK_META, 7),
						      *repository = cipher_of(other_repository, SEAL_PACK_DATA, 7),
						      *master = cipher_of(other_master, SEAL_PACK_DATA, 7);
	uint8_t first[TEXT_LEN + SEAL_TAG_SIZE], second[TEXT_LEN + SEAL_TAG_SIZE];
	assert_int_equal(seal_encrypt(c, 1, TEXT, TEXT_LEN, first, NULL), 0);
	assert_int_equal(seal_encrypt(c, 2, TEXT, TEXT_LEN, second, NULL), 0);
	assert_memory_not_equal(first, second, TEXT_LEN);
	expect_refused(c, 2, first, sizeof first);
	expect_refused(c, 1, second, sizeof second);
	expect_refused(c, 1 + (UINT64_C(1) << 32), first, sizeof first);
	expect_refused(object, 1, first, sizeof first);
	expect_refused(kind, 1, first, sizeof first);
	expect_refused(repository, 1, first, sizeof first);
	expect_refused(master, 1, first, sizeof first);
}

/* What each of several threads does with the same keys; the sum over all its ids, or NULL. */
static void *work_with_keys(void *arg)
{
	const struct seal_keys *k = arg;
	struct id *sum = calloc(1, sizeof *sum);
	uint8_t sealed[TEXT_LEN + SEAL_TAG_SIZE];
	for (uint8_t i = 0; sum && i < 50; i++) {
		struct id object, id;
		memset(object.b, i, ID_SIZE);
		CLEAN(seal_cipher_cleanup) struct seal_cipher *c = NULL;
		if (seal_cipher_new(&c, k, &first_master, SEAL_INDEX, &object, NULL) || seal_encrypt(c, i, TEXT, TEXT_LEN, sealed, NULL))
			return free(sum), NULL;
		seal_chunk_id(k, CHUNK_DATA, sealed, sizeof sealed, &id);
		for (unsigned j = 0; j < ID_SIZE; j++)
			sum->b[j] ^= id.b[j];
	}
	return sum;
}

static void threads_share_keys(void **state)
{
	(void)state;
	CLEAN(seal_keys_cleanup) struct seal_keys *k = keys_of(1, 1);
	CLEAN_FREE struct id *expected = work_with_keys(k);
	pthread_t threads[4];
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work_with_keys, k), 0);
	for (size_t i = 0; i < 4; i++) {
		void *sum;
		assert_int_equal(pthread_join(threads[i], &sum), 0);
		assert_non_null(sum);
		assert_memory_equal(sum, expected, ID_SIZE);
		free(sum);
	}
}

/* --- blocks ------------------------------------------------------------------------ */

struct block_kit {
	struct seal_keys *keys;
	struct seal_cipher *cipher;
	struct seal_coder *coder;
	struct buf sealed, raw;
};

static struct block_kit kit_new(int level)
{
	struct seal_keys *k = keys_of(1, 1);
	return (struct block_kit){ k, cipher_of(k, SEAL_PACK_DATA, 7), coder_of(level), BUF_INIT, BUF_INIT };
}

static void kit_done(struct block_kit *kit)
{
	seal_coder_free(kit->coder);
	seal_cipher_free(kit->cipher);
	seal_keys_free(kit->keys);
	buf_done(&kit->sealed);
	buf_done(&kit->raw);
}

static void check_block(struct block_kit *kit, const uint8_t *raw, size_t len, uint64_t counter)
{
	assert_int_equal(seal_block(kit->coder, kit->cipher, counter, raw, len, &kit->sealed, NULL), 0);
	assert_true(kit->sealed.len <= len + SEAL_BLOCK_HEAD + SEAL_TAG_SIZE);
	assert_int_equal(unseal_block(kit->coder, kit->cipher, counter, kit->sealed.data, kit->sealed.len, len, &kit->raw, NULL), 0);
	assert_int_equal(kit->raw.len, len);
	if (len)
		assert_memory_equal(kit->raw.data, raw, len);
}

static void blocks_come_back(void **state)
{
	(void)state;
	CLEAN(kit_done) struct block_kit kit = kit_new(3);
	static const size_t lengths[] = { 0, 1, 5, 100, 65536, 65537, 200000, 4u << 20, 3, SEAL_BLOCK_MAX };
	CLEAN_FREE uint8_t *noise = malloc(SEAL_BLOCK_MAX), *text = malloc(SEAL_BLOCK_MAX);
	seal_random(noise, SEAL_BLOCK_MAX);
	for (size_t i = 0; i < SEAL_BLOCK_MAX; i++)
		text[i] = (uint8_t)("etaoin shrdlu"[noise[i] % 13]);
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		check_block(&kit, noise, lengths[i], 2 * i);
		assert_int_equal(kit.sealed.len, lengths[i] + SEAL_BLOCK_HEAD + SEAL_TAG_SIZE);
		check_block(&kit, text, lengths[i], 2 * i + 1);
		if (lengths[i] >= 100)
			assert_true(kit.sealed.len < lengths[i]);
	}
	struct error err = { 0 };
	assert_int_equal(seal_block(kit.coder, kit.cipher, 99, noise, SEAL_BLOCK_MAX + 1, &kit.sealed, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
}

/* 10 KiB lie anywhere between two samples. */
static void few_compressible_bytes_among_noise_are_found(void **state)
{
	(void)state;
	static const int levels[] = { -1, 3, 5, 9 };
	size_t len = 1u << 20, easy = 10u << 10;
	CLEAN_FREE uint8_t *raw = malloc(len);
	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
		CLEAN(kit_done) struct block_kit kit = kit_new(levels[i]);
		for (size_t at = 0; at + easy <= len; at += 250000) {
			seal_random(raw, len);
			check_block(&kit, raw, len, 2 * at);
			assert_int_equal(kit.sealed.len, len + SEAL_BLOCK_HEAD + SEAL_TAG_SIZE);
			memset(raw + at, 'a', easy);
			check_block(&kit, raw, len, 2 * at + 1);
			assert_true(kit.sealed.len < len - easy / 2);
		}
	}
}

static void expect_block_refused(struct block_kit *kit, const uint8_t *sealed, size_t len, uint64_t counter, size_t max)
{
	struct error err = { 0 };
	assert_int_equal(unseal_block(kit->coder, kit->cipher, counter, sealed, len, max, &kit->raw, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	assert_int_equal(kit->raw.len, 0);
}

static void check_tampering(struct block_kit *kit, const uint8_t *raw, size_t raw_len)
{
	assert_int_equal(seal_block(kit->coder, kit->cipher, 4, raw, raw_len, &kit->sealed, NULL), 0);
	size_t len = kit->sealed.len;
	CLEAN_FREE uint8_t *copy = malloc(len);
	for (size_t i = 0; i < len; i++) {
		memcpy(copy, kit->sealed.data, len);
		copy[i] ^= (uint8_t)(1 << i % 8);
		expect_block_refused(kit, copy, len, 4, raw_len);
		expect_block_refused(kit, kit->sealed.data, i, 4, raw_len);
	}
	expect_block_refused(kit, kit->sealed.data, len, 5, raw_len);
	expect_block_refused(kit, kit->sealed.data, len, 4, raw_len - 1);
	assert_int_equal(unseal_block(kit->coder, kit->cipher, 4, kit->sealed.data, len, raw_len, &kit->raw, NULL), 0);
	assert_memory_equal(kit->raw.data, raw, raw_len);
}

static void tampered_blocks_are_refused(void **state)
{
	(void)state;
	CLEAN(kit_done) struct block_kit kit = kit_new(3);
	uint8_t noise[300], easy[3000];
	seal_random(noise, sizeof noise);
	for (size_t i = 0; i < sizeof easy; i++)
		easy[i] = noise[i % 97];
	check_tampering(&kit, noise, sizeof noise);
	check_tampering(&kit, easy, sizeof easy);
	assert_true(kit.sealed.len < 300);
}

/* What a writer with the key, but with a fault, could have sealed. */
static void refuse_plain(struct block_kit *kit, const void *plain, size_t len, enum error_kind kind)
{
	uint8_t sealed[512];
	struct error err = { 0 };
	assert_int_equal(seal_encrypt(kit->cipher, 1, plain, len, sealed, NULL), 0);
	assert_int_equal(unseal_block(kit->coder, kit->cipher, 1, sealed, len + SEAL_TAG_SIZE, 4000, &kit->raw, &err), -1);
	assert_int_equal(err.kind, kind);
	assert_int_equal(kit->raw.len, 0);
}

static void authentic_but_wrong_blocks_are_refused(void **state)
{
	(void)state;
	CLEAN(kit_done) struct block_kit kit = kit_new(3);
	uint8_t easy[3000] = { 0 }, plain[300] = { 0 };
	assert_int_equal(seal_block(kit.coder, kit.cipher, 0, easy, sizeof easy, &kit.sealed, NULL), 0);
	size_t len = kit.sealed.len - SEAL_TAG_SIZE;
	assert_int_equal(seal_decrypt(kit.cipher, 0, kit.sealed.data, kit.sealed.len, plain, NULL), 0);
	assert_int_equal(plain[0], 1);

	refuse_plain(&kit, plain, len + 1, ERR_CORRUPT); /* a byte behind the frame */
	refuse_plain(&kit, plain, len - 1, ERR_CORRUPT);
	refuse_plain(&kit, plain, 3, ERR_CORRUPT);
	put_le32(plain + 1, 2999);
	refuse_plain(&kit, plain, len, ERR_CORRUPT);
	put_le32(plain + 1, 3001);
	refuse_plain(&kit, plain, len, ERR_CORRUPT);
	put_le32(plain + 1, UINT32_MAX);
	refuse_plain(&kit, plain, len, ERR_CORRUPT);
	put_le32(plain + 1, 3000);
	memcpy(plain + len, plain + SEAL_BLOCK_HEAD, len - SEAL_BLOCK_HEAD); /* two frames */
	refuse_plain(&kit, plain, 2 * len - SEAL_BLOCK_HEAD, ERR_CORRUPT);
	plain[0] = 2;
	refuse_plain(&kit, plain, len, ERR_UNSUPPORTED);
	plain[0] = 0;
	refuse_plain(&kit, plain, len, ERR_CORRUPT); /* stored, but not as long as it says */
	refuse_plain(&kit, "\1\0\0\0\0\x50\x2a\x4d\x18\0\0\0\0", 13, ERR_CORRUPT); /* a skippable frame */
}

static void levels_out_of_range_are_refused(void **state)
{
	(void)state;
	struct seal_coder *c = NULL;
	struct error err = { 0 };
	assert_int_equal(seal_coder_new(&c, 23, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(seal_coder_new(&c, 0, &err), -1);
	assert_null(c);
	seal_coder_free(NULL);
	seal_cipher_free(NULL);
	seal_keys_free(NULL);
}

/* --- wrapping ------------------------------------------------------------------------ */

static bool opens(const struct seal_wrapped *w, const void *secret, size_t len, const char *aad)
{
	uint8_t master[SEAL_KEY_SIZE] = { 0 };
	bool ok = true;
	assert_int_equal(seal_unwrap_key(w, secret, len, aad, strlen(aad), master, &ok, NULL), 0);
	assert_int_equal(ok, master[0] == 'm'); /* untouched where it does not open */
	return ok;
}

static void check_wrapping(struct seal_wrapped w, const void *secret, size_t len)
{
	uint8_t master[SEAL_KEY_SIZE], wrong[64];
	memset(master, 'm', sizeof master);
	assert_int_equal(seal_wrap_key(&w, master, secret, len, "head", 4, NULL), 0);
	assert_true(opens(&w, secret, len, "head"));
	assert_false(opens(&w, secret, len, "heaD"));
	assert_false(opens(&w, secret, len - 1, "head"));
	memcpy(wrong, secret, len);
	wrong[len - 1] ^= 1;
	assert_false(opens(&w, wrong, len, "head"));
	for (size_t i = 0; i < SEAL_KEY_SIZE + SEAL_TAG_SIZE; i++) {
		struct seal_wrapped bad = w;
		bad.sealed[i] ^= 0x10;
		assert_false(opens(&bad, secret, len, "head"));
	}
	struct seal_wrapped bad = w;
	bad.salt[3] ^= 1;
	assert_false(opens(&bad, secret, len, "head"));
	bad = w;
	bad.how = w.how == SEAL_WRAP_PASSPHRASE ? SEAL_WRAP_KEYFILE : SEAL_WRAP_PASSPHRASE;
	bad.argon_passes = 1;
	bad.argon_memory_kib = 8;
	assert_false(opens(&bad, secret, len, "head"));
}

static void only_the_secret_unwraps(void **state)
{
	(void)state;
	struct seal_wrapped passphrase = { .how = SEAL_WRAP_PASSPHRASE, .count = 1, .argon_passes = 1, .argon_memory_kib = 64 };
	struct seal_wrapped keyfile = { .how = SEAL_WRAP_KEYFILE, .count = 1 };
	check_wrapping(passphrase, "correct horse", 13);
	check_wrapping(keyfile, "0123456789abcdef0123456789abcdef", 32);

	struct error err = { 0 };
	uint8_t master[SEAL_KEY_SIZE] = { 0 };
	assert_int_equal(seal_wrap_key(&keyfile, master, "short", 5, NULL, 0, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(seal_wrap_key(&passphrase, master, "", 0, NULL, 0, NULL), 0);
}

/* A fixed one, made by an independent implementation (Python); so neither parameters nor their order can change unseen. */
static void frozen_keys_unwrap(void **state)
{
	(void)state;
	struct seal_wrapped w = { .how = SEAL_WRAP_KEYFILE, .count = 1 };
	uint8_t secret[32], master[32];
	for (unsigned i = 0; i < 32; i++) {
		w.salt[i] = (uint8_t)(0x40 + i);
		secret[i] = (uint8_t)i;
	}
	bool ok = false;
	unhex("696020214f7d97584a8c26744baac3b2c49caa1014a39042ff5b78d486c851b88d33b03291fede5bab0541ce8bb14493", w.sealed);
	assert_int_equal(seal_unwrap_key(&w, secret, 32, "header", 6, master, &ok, NULL), 0);
	assert_true(ok);
	assert_hex(master, "8081828384858687888990919293949596979899a0a1a2a3a4a5a6a7a8a9b0b1");
	w.how = SEAL_WRAP_PASSPHRASE;
	w.argon_passes = 2;
	w.argon_memory_kib = 256;
	unhex("5ad5b0a6ea9b680570705493b69bc88fe44617cd44bc57e8f20a93473fe56fc9063fd873c108b54256ae3bcef3b86ad6", w.sealed);
	ok = false;
	assert_int_equal(seal_unwrap_key(&w, "password", 8, "header", 6, master, &ok, NULL), 0);
	assert_true(ok);
	assert_hex(master, "8081828384858687888990919293949596979899a0a1a2a3a4a5a6a7a8a9b0b1");
}

static void frozen_message_opens(void **state)
{
	(void)state;
	uint8_t master[32], sealed[21], plain[5], cut[32];
	struct id repository, object;
	for (unsigned i = 0; i < 32; i++) {
		master[i] = (uint8_t)i;
		repository.b[i] = (uint8_t)(0x20 + i);
		object.b[i] = (uint8_t)(0x40 + i);
	}
	CLEAN(seal_keys_cleanup) struct seal_keys *k = NULL;
	CLEAN(seal_cipher_cleanup) struct seal_cipher *c = NULL;
	assert_int_equal(seal_keys_open(&k, master, 1, &repository, NULL), 0);
	assert_hex(k->chunk_ids[CHUNK_DATA], "638bb93c533be8ceeba1f52b6363cb9f9bddf6943b6f1cf76b016183eb90a066");
	assert_hex(k->chunk_ids[CHUNK_META], "73afadcd742ad52f3b78474baefe76d23a6a8fcaae9f369531077df6a30bfa7a");
	seal_cut_key(k, cut);
	assert_hex(cut, "f5090ee71ac415ce85190f97ff6c963f3220f4ad50f2080b7ab7bbad5d9bd692");
	assert_int_equal(seal_cipher_new(&c, k, &first_master, SEAL_SNAPSHOT, &object, NULL), 0);
	assert_int_equal(unhex("2b7f188904e43691f740caa680c3214183031fe9d1", sealed), sizeof sealed);
	assert_int_equal(seal_decrypt(c, 258, sealed, sizeof sealed, plain, NULL), 0);
	assert_memory_equal(plain, "hello", 5);
}

/* Several master keys: chunk ids and cutting of the first, new objects by the last, old ones still open; which key it was stands in the head. */
static void master_keys_follow_each_other(void **state)
{
	(void)state;
	uint8_t masters[3 * SEAL_KEY_SIZE], sealed[5 + SEAL_TAG_SIZE], plain[5], cut[2][32];
	struct id repository, object;
	for (unsigned i = 0; i < sizeof masters; i++)
		masters[i] = (uint8_t)i;
	for (unsigned i = 0; i < 32; i++) {
		repository.b[i] = (uint8_t)(0x20 + i);
		object.b[i] = (uint8_t)(0x40 + i);
	}
	CLEAN(seal_keys_cleanup) struct seal_keys *one = NULL;
	CLEAN(seal_keys_cleanup) struct seal_keys *three = NULL;
	assert_int_equal(seal_keys_open(&one, masters, 1, &repository, NULL), 0);
	assert_int_equal(seal_keys_open(&three, masters, 3, &repository, NULL), 0);
	assert_memory_equal(one->chunk_ids, three->chunk_ids, sizeof one->chunk_ids);
	seal_cut_key(one, cut[0]);
	seal_cut_key(three, cut[1]);
	assert_memory_equal(cut[0], cut[1], 32);
	for (uint16_t e = 0; e < 3; e++) {
		CLEAN(seal_cipher_cleanup) struct seal_cipher *c = NULL;
		CLEAN(seal_cipher_cleanup) struct seal_cipher *old = NULL;
		struct seal_by by = { .epoch = e };
		struct error err = { 0 };
		assert_int_equal(seal_cipher_new(&c, three, &by, SEAL_SNAPSHOT, &object, NULL), 0);
		assert_int_equal(seal_encrypt(c, 258, "hello", 5, sealed, NULL), 0);
		if (e == 2) /* the vector of docs/FORMAT.md */
			assert_hex(sealed, "a66f4ce00d5f86a18dd9ab1e6dddbd3b5597cbd9a4");
		assert_int_equal(seal_cipher_new(&old, one, &first_master, SEAL_SNAPSHOT, &object, NULL), 0);
		assert_int_equal(seal_decrypt(old, 258, sealed, sizeof sealed, plain, NULL), e ? -1 : 0);
		seal_cipher_free(TAKE(old));
		assert_int_equal(seal_cipher_new(&old, one, &by, SEAL_SNAPSHOT, &object, &err), e ? -1 : 0);
		assert_int_equal(err.kind, e ? ERR_AUTH : ERR_NONE);
	}
	struct seal_by now = seal_current(three);
	assert_int_equal(now.epoch, 2);
}

static void hostile_parameters_are_refused(void **state)
{
	(void)state;
	static const struct seal_wrapped bad[] = {
		{ .how = SEAL_WRAP_PASSPHRASE, .count = 1, .argon_passes = 0, .argon_memory_kib = 64 },
		{ .how = SEAL_WRAP_PASSPHRASE, .count = 1, .argon_passes = UINT32_MAX, .argon_memory_kib = 64 },
		{ .how = SEAL_WRAP_PASSPHRASE, .count = 1, .argon_passes = 1, .argon_memory_kib = 7 },
		{ .how = SEAL_WRAP_PASSPHRASE, .count = 1, .argon_passes = 1, .argon_memory_kib = SEAL_ARGON_MEMORY_MAX_KIB + 1 },
		{ .how = (enum seal_wrap)9, .count = 1 },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint8_t master[SEAL_KEY_SIZE];
		bool ok;
		struct error err = { 0 };
		assert_int_equal(seal_unwrap_key(&bad[i], "x", 1, NULL, 0, master, &ok, &err), -1);
		assert_int_equal(err.kind, i < 4 ? ERR_CORRUPT : ERR_UNSUPPORTED);
		struct seal_wrapped w = bad[i];
		assert_int_equal(seal_wrap_key(&w, master, "x", 1, NULL, 0, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
	}
}

static int start(void **state)
{
	(void)state;
	return seal_init(NULL);
}

/* Ids and cuts stay, what the dropped one sealed does not open, and nobody can seal in its name. */
static void master_keys_are_dropped(void **state)
{
	(void)state;
	uint8_t masters[3 * SEAL_KEY_SIZE], slots[SEAL_SLOTS_MAX * SEAL_KEY_SIZE], again[SEAL_SLOTS_MAX * SEAL_KEY_SIZE], cut[2][32], sealed[21], plain[5];
	CLEAN(seal_keys_cleanup) struct seal_keys *all = NULL;
	CLEAN(seal_keys_cleanup) struct seal_keys *left = NULL;
	CLEAN(seal_cipher_cleanup) struct seal_cipher *c = NULL;
	CLEAN(seal_cipher_cleanup) struct seal_cipher *other = NULL;
	struct id ids[2][2], repository = { { 3 } }, object = { { 7 } };
	for (size_t i = 0; i < sizeof masters; i++)
		masters[i] = (uint8_t)(i * 5 + 1);
	assert_int_equal(seal_keys_open(&all, masters, 3, &repository, NULL), 0);
	seal_slots_of(all, 2, slots);
	assert_memory_equal(slots, masters + 2 * SEAL_KEY_SIZE, SEAL_KEY_SIZE);
	assert_int_equal(seal_slots(3, 2), 4);
	assert_int_equal(seal_keys_open_slots(&left, slots, 3, 3, &repository, NULL), -1);
	assert_int_equal(seal_keys_open_slots(&left, slots, 3, 2, &repository, NULL), 0);
	assert_int_equal(seal_first(left), 2);
	seal_slots_of(left, 2, again);
	assert_memory_equal(slots, again, 4 * SEAL_KEY_SIZE);
	for (int k = 0; k < 2; k++) {
		seal_cut_key(k ? left : all, cut[k]);
		seal_chunk_id(k ? left : all, CHUNK_DATA, "chunk", 5, &ids[k][0]);
		seal_chunk_id(k ? left : all, CHUNK_META, "chunk", 5, &ids[k][1]);
	}
	assert_memory_equal(cut[0], cut[1], sizeof cut[0]);
	assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
	struct seal_by now = seal_current(left);
	assert_int_equal(now.epoch, 2);
	assert_int_equal(seal_cipher_new(&c, all, &now, SEAL_LOG, &object, NULL), 0);
	assert_int_equal(seal_encrypt(c, 0, "hello", 5, sealed, NULL), 0);
	assert_int_equal(seal_cipher_new(&other, left, &now, SEAL_LOG, &object, NULL), 0);
	assert_int_equal(seal_decrypt(other, 0, sealed, sizeof sealed, plain, NULL), 0);
	for (uint16_t e = 0; e < 2; e++) {
		struct seal_by by = { .epoch = e };
		struct error err = { 0 };
		seal_cipher_free(TAKE(other));
		assert_int_equal(seal_cipher_new(&other, left, &by, SEAL_LOG, &object, &err), -1);
		assert_int_equal(err.kind, ERR_AUTH);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunk_ids_are_keyed_blake3),
		cmocka_unit_test(hkdf_is_that_of_rfc_5869),
		cmocka_unit_test(aead_is_that_of_rfc_8439),
		cmocka_unit_test(keys_differ_by_purpose_repository_and_master),
		cmocka_unit_test(message_comes_back),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(message_opens_nowhere_else),
		cmocka_unit_test(frozen_message_opens),
		cmocka_unit_test(threads_share_keys),
		cmocka_unit_test(blocks_come_back),
		cmocka_unit_test(few_compressible_bytes_among_noise_are_found),
		cmocka_unit_test(tampered_blocks_are_refused),
		cmocka_unit_test(authentic_but_wrong_blocks_are_refused),
		cmocka_unit_test(levels_out_of_range_are_refused),
		cmocka_unit_test(only_the_secret_unwraps),
		cmocka_unit_test(frozen_keys_unwrap),
		cmocka_unit_test(hostile_parameters_are_refused),
		cmocka_unit_test(master_keys_follow_each_other),
		cmocka_unit_test(master_keys_are_dropped),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
