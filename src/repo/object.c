/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/object.h"

#include <stdio.h>
#include <stdlib.h>

#include "repo/format/document.h"

static const uint8_t magic[8] = { '2', 'F', 'O', 'L', 'D', 'O', 'B', 'J' };

#define INNER_HEAD (ID_SIZE + 8u) /* session id, payload length */
#define PLAIN_MIN 512u

static const char *const prefixes[] = {
	[SEAL_PACK_DATA] = "packs/", [SEAL_PACK_META] = "packs/",   [SEAL_INDEX] = "index/",
	[SEAL_SNAPSHOT] = "snapshots/", [SEAL_SESSION] = "sessions/", [SEAL_TOMBSTONE] = "tombstones/", [SEAL_LOG] = "log/",
	[SEAL_FENCE] = "fences/", [SEAL_WRITER] = "writers/", [SEAL_UNFINISHED] = "unfinished/",
};

const char *object_prefix(enum seal_kind kind)
{
	return prefixes[kind];
}

void object_key(enum seal_kind kind, const struct id *id, char ret[OBJECT_KEY_MAX])
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	if (kind == SEAL_PACK_DATA || kind == SEAL_PACK_META)
		snprintf(ret, OBJECT_KEY_MAX, "packs/%.2s/%s", hex, hex);
	else
		snprintf(ret, OBJECT_KEY_MAX, "%s%s", prefixes[kind], hex);
}

bool object_id_of_key(const char *key, struct id *ret)
{
	const char *slash = strrchr(key, '/');
	return id_from_hex(slash ? slash + 1 : key, ret);
}

/* Padme (PURBs, PETS 2019): the length keeps only as many leading bits as its exponent has bits, so it tells little. */
static uint64_t padded(uint64_t len)
{
	if (len < PLAIN_MIN)
		return PLAIN_MIN;
	unsigned e = 63 - (unsigned)__builtin_clzll(len);
	unsigned s = 32 - (unsigned)__builtin_clz(e);
	uint64_t mask = (1ull << (e - s)) - 1;
	return (len + mask) & ~mask;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Where sealed bytes go: into an object that grows in the store, or into memory. */
struct sink {
	struct store_put *put;
	struct buf *bytes;
};

static int sink_add(const struct sink *s, const void *data, size_t len, struct error *err)
{
	if (s->put)
		return s->put->store->ops->put_append(s->put, data, len, err);
	buf_add(s->bytes, data, len);
	return buf_ok(s->bytes) ? 0 : error_set(err, ERR_NOMEM, "seal an object: out of memory");
}

/* The plaintext: session, length, payload, padding. */
static int make_plain(const struct id *session, const void *payload, size_t len, struct buf *ret, struct error *err)
{
	buf_add(ret, session->b, ID_SIZE);
	buf_add_le64(ret, len);
	buf_add(ret, payload, len);
	size_t whole = (size_t)padded(ret->len);
	uint8_t *pad = buf_reserve(ret, whole - ret->len);
	if (!pad)
		return error_set(err, ERR_NOMEM, "seal an object: out of memory");
	memset(pad, 0, whole - ret->len);
	ret->len = whole;
	return 0;
}

static int seal_object(const struct sink *sink, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, const struct id *session, const struct buf *plain, struct error *err)
{
	CLEAN(seal_cipher_cleanup) struct seal_cipher *cipher = NULL;
	CLEAN_FREE uint8_t *sealed = malloc(OBJECT_MESSAGE + SEAL_TAG_SIZE);
	struct seal_by by = seal_current(keys);
	uint8_t head[OBJECT_HEADER_SIZE] = { 0 };
	if (!sealed)
		return error_set(err, ERR_NOMEM, "seal an object: out of memory");
	if (seal_cipher_new(&cipher, keys, &by, kind, id, err) < 0)
		return -1;
	memcpy(head, magic, 8);
	put_le16(head + 8, head_by_version(&by));
	head[10] = (uint8_t)kind;
	head_by_encode(head + 11, &by);
	memcpy(head + 16, id->b, ID_SIZE);
	memcpy(head + 48, session->b, ID_SIZE);
	if (sink_add(sink, head, sizeof head, err) < 0)
		return -1;
	uint64_t counter = 0;
	for (size_t at = 0; at < plain->len; at += OBJECT_MESSAGE, counter++) {
		size_t n = plain->len - at < OBJECT_MESSAGE ? plain->len - at : OBJECT_MESSAGE;
		if (seal_encrypt(cipher, counter, plain->data + at, n, sealed, err) < 0 || sink_add(sink, sealed, n + SEAL_TAG_SIZE, err) < 0)
			return -1;
	}
	return 0;
}

static void plain_done(struct buf *plain)
{
	if (plain->data)
		explicit_bzero(plain->data, plain->len);
	buf_done(plain);
}

int object_write(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, const struct id *session, const void *payload,
                 size_t len, struct error *err)
{
	CLEAN(plain_done) struct buf plain = BUF_INIT;
	struct sink sink = { 0 };
	char key[OBJECT_KEY_MAX];
	object_key(kind, id, key);
	if (make_plain(session, payload, len, &plain, err) < 0)
		return error_add(err, "write %s", key);
	if (store->ops->put_begin(store, key, plain.len + OBJECT_HEADER_SIZE, &sink.put, err) < 0)
		return -1;
	if (seal_object(&sink, keys, kind, id, session, &plain, err) < 0) {
		store->ops->put_abort(sink.put);
		return -1;
	}
	return store->ops->put_commit(sink.put, err);
}

int object_replace(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, const struct id *session, const void *payload, size_t len, struct error *err)
{
	CLEAN(plain_done) struct buf plain = BUF_INIT;
	CLEAN_BUF struct buf sealed = BUF_INIT;
	struct sink sink = { .bytes = &sealed };
	char key[OBJECT_KEY_MAX];
	object_key(kind, id, key);
	if (make_plain(session, payload, len, &plain, err) < 0 || seal_object(&sink, keys, kind, id, session, &plain, err) < 0)
		return error_add(err, "seal %s anew", key);
	return store_replace(store, key, sealed.data, sealed.len, err);
}

static int check_head(const uint8_t *head, enum seal_kind kind, const struct id *id, const char *key, struct seal_by *ret, struct error *err)
{
	struct id session;
	if (memcmp(head, magic, 8) != 0)
		return error_set(err, ERR_CORRUPT, "%s is damaged: it does not begin as an object of a repository does", key);
	if (get_le16(head + 8) > OBJECT_VERSION)
		return error_set(err, ERR_UNSUPPORTED, "%s has format version %u, this program knows up to %u: use a newer twofold", key, get_le16(head + 8),
		                 OBJECT_VERSION);
	memcpy(session.b, head + 48, ID_SIZE);
	if (get_le16(head + 8) == 0 || head[10] != kind || !head_by_decode(ret, get_le16(head + 8), head + 11, &session) || memcmp(head + 16, id->b, ID_SIZE) != 0)
		return error_set(err, ERR_CORRUPT, "%s is damaged or was put in another object's place", key);
	return 0;
}

int object_read(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, size_t max, struct id *ret_session, struct buf *ret,
                struct error *err)
{
	struct seal_by by;
	return object_read_by(store, keys, kind, id, max, ret_session, &by, ret, err);
}

/* Nobody who may only write says what is deleted, what counts, and what was there. */
static bool session_may_write(enum seal_kind kind)
{
	return kind == SEAL_INDEX || kind == SEAL_SNAPSHOT || kind == SEAL_SESSION;
}

int object_read_by(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, size_t max, struct id *ret_session, struct seal_by *ret_by,
                   struct buf *ret, struct error *err)
{
	CLEAN_BUF struct buf object = BUF_INIT;
	char key[OBJECT_KEY_MAX];
	object_key(kind, id, key);
	return store_read(store, key, max, &object, err) < 0 ? -1 : object_open(keys, kind, id, &object, ret_session, ret_by, ret, err);
}

int object_open(const struct seal_keys *keys, enum seal_kind kind, const struct id *id, const struct buf *object, struct id *ret_session, struct seal_by *ret_by, struct buf *ret,
                struct error *err)
{
	CLEAN(seal_cipher_cleanup) struct seal_cipher *cipher = NULL;
	CLEAN_BUF struct buf plain = BUF_INIT;
	char key[OBJECT_KEY_MAX];
	object_key(kind, id, key);
	if (object->len < OBJECT_HEADER_SIZE + SEAL_TAG_SIZE + INNER_HEAD)
		return error_set(err, ERR_CORRUPT, "%s is cut short (%zu bytes)", key, object->len);
	struct seal_by by;
	if (check_head(object->data, kind, id, key, &by, err) < 0)
		return -1;
	if (by.how == SEAL_BY_SESSION && !session_may_write(kind))
		return error_set(err, ERR_CORRUPT, "%s is sealed by a write-only key, which may not write such a thing", key);
	if (seal_cipher_new(&cipher, keys, &by, kind, id, err) < 0)
		return error_add(err, "open %s", key);
	if (!buf_reserve(&plain, object->len))
		return error_set(err, ERR_NOMEM, "read %s: out of memory", key);
	uint64_t counter = 0;
	for (size_t at = OBJECT_HEADER_SIZE; at < object->len; counter++) {
		size_t n = object->len - at;
		if (n > OBJECT_MESSAGE + SEAL_TAG_SIZE)
			n = OBJECT_MESSAGE + SEAL_TAG_SIZE;
		if (n <= SEAL_TAG_SIZE || seal_decrypt(cipher, counter, object->data + at, n, plain.data + plain.len, NULL) < 0)
			return error_set(err, ERR_CORRUPT, "%s is damaged: it does not authenticate; run twofold check", key);
		plain.len += n - SEAL_TAG_SIZE;
		at += n;
	}
	uint64_t len = get_le64(plain.data + ID_SIZE);
	if (memcmp(plain.data, object->data + 48, ID_SIZE) != 0 || len > plain.len - INNER_HEAD)
		return error_set(err, ERR_CORRUPT, "%s is damaged: its inner header does not agree", key);
	if (plain.len != padded(INNER_HEAD + len) || !is_zero(plain.data + INNER_HEAD + len, plain.len - INNER_HEAD - (size_t)len))
		return error_set(err, ERR_CORRUPT, "%s is not padded as it must be", key);
	if (ret_session)
		memcpy(ret_session->b, plain.data, ID_SIZE);
	*ret_by = by;
	buf_clear(ret);
	buf_add(ret, plain.data + INNER_HEAD, (size_t)len);
	return buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "read %s: out of memory", key);
}

int object_sealed_by(struct store *store, enum seal_kind kind, const struct id *id, struct seal_by *ret, struct error *err)
{
	uint8_t head[OBJECT_HEADER_SIZE];
	char key[OBJECT_KEY_MAX];
	struct id session;
	object_key(kind, id, key);
	if (store->ops->get(store, key, 0, head, sizeof head, err) < 0)
		return -1;
	memcpy(session.b, head + 48, ID_SIZE);
	if (!head_by_decode(ret, get_le16(head + 8), head + 11, &session))
		return error_set(err, ERR_CORRUPT, "%s is damaged: its head makes no sense", key);
	return 0;
}
