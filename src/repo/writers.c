/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/writers.h"

#include <stdio.h>
#include <stdlib.h>

#include "repo/marks.h"
#include "repo/object.h"

#define WRITER_BYTES_MAX (64u << 10)

static void box_key(const struct id *session, char ret[OBJECT_KEY_MAX])
{
	char hex[ID_HEX_SIZE];
	id_to_hex(session, hex);
	snprintf(ret, OBJECT_KEY_MAX, "sealed/%s", hex);
}

/* --- with a master key ------------------------------------------------------------------- */

static void write_only_fill(const struct repo *r, const struct id *id, const uint8_t public_half[SEAL_KEY_SIZE], uint8_t ret[WRITE_ONLY_SIZE])
{
	struct seal_write_only secrets;
	seal_write_only_of(r->keys, &secrets);
	memcpy(ret, r->header.repository.b, 32);
	memcpy(ret + 32, id->b, 32);
	memcpy(ret + 64, public_half, 32);
	memcpy(ret + 96, secrets.chunk_ids[CHUNK_DATA], 32);
	memcpy(ret + 128, secrets.chunk_ids[CHUNK_META], 32);
	memcpy(ret + 160, secrets.cut, 32);
	explicit_bzero(&secrets, sizeof secrets);
}

int writers_add(struct repo *r, const char *label, struct id *ret_id, uint8_t ret[WRITE_ONLY_SIZE], struct error *err)
{
	CLEAN(writer_key_done) struct writer_key w = { .created = time_now(), .label = strdup(label) };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct seal_pair pair;
	struct id id;
	if (seal_is_write_only(r->keys))
		return error_set(err, ERR_AUTH, "make a write-only key: a write-only key cannot make others");
	seal_pair_new(&pair);
	memcpy(w.secret_half, pair.secret_half, sizeof w.secret_half);
	explicit_bzero(pair.secret_half, sizeof pair.secret_half);
	if (!w.label)
		return error_set(err, ERR_NOMEM, "make a write-only key: out of memory");
	writer_key_encode(&bytes, &w);
	if (!buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "make a write-only key: out of memory");
	seal_random(id.b, ID_SIZE);
	int done = object_write(r->store, r->keys, SEAL_WRITER, &id, &id, bytes.data, bytes.len, err);
	explicit_bzero(bytes.data, bytes.len);
	if (done < 0)
		return error_add(err, "make a write-only key");
	write_only_fill(r, &id, pair.public_half, ret);
	*ret_id = id;
	return 0;
}

static int read_writer(struct repo *r, const struct id *id, struct writer_key *ret, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	int done = object_read(r->store, r->keys, SEAL_WRITER, id, WRITER_BYTES_MAX, NULL, &bytes, err);
	if (done == 0)
		done = writer_key_decode(ret, bytes.data, bytes.len, err);
	if (bytes.data)
		explicit_bzero(bytes.data, bytes.len);
	return done;
}

int writers_list(struct repo *r, writers_fn fn, void *cookie, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (ids_list(r->store, object_prefix(SEAL_WRITER), &ids, err) < 0)
		return error_add(err, "list write-only keys");
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		CLEAN(writer_key_done) struct writer_key w = { 0 };
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (read_writer(r, &id, &w, err) < 0)
			return error_add(err, "list write-only keys");
		int stop = fn(cookie, &id, &w);
		if (stop)
			return stop;
	}
	return 0;
}

static int open_session(struct repo *r, const struct id *session, const char *key, uint8_t ret_key[SEAL_KEY_SIZE], struct id *ret_writer, struct error *err)
{
	CLEAN(writer_key_done) struct writer_key w = { 0 };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct session_box s;
	if (store_read(r->store, key, 4096, &bytes, err) < 0 || session_box_decode(&s, bytes.data, bytes.len, err) < 0)
		return -1;
	if (!id_equal(&s.session, session))
		return error_set(err, ERR_CORRUPT, "it is another session's");
	if (read_writer(r, &s.writer, &w, err) < 0 || seal_box_open(r->keys, s.box, w.secret_half, session, &s.writer, ret_key, err) < 0)
		return -1;
	*ret_writer = s.writer;
	return 0;
}

/* A seal_session_fn. What is missing here makes what was sealed with it unreadable: that is damage, while of an object that is not found nobody would say so. */
static int find_session(void *cookie, const struct id *session, uint8_t ret_key[SEAL_KEY_SIZE], struct id *ret_writer, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	struct error why = { 0 };
	box_key(session, key);
	if (open_session(cookie, session, key, ret_key, ret_writer, &why) == 0)
		return 0;
	return error_set(err, why.kind == ERR_NOT_FOUND ? ERR_CORRUPT : why.kind, "find the key of a session in %s: %s", key, why.text);
}

void writers_find_sessions(struct repo *r)
{
	seal_set_session_source(r->keys, find_session, r);
}

/* --- with a write-only key ----------------------------------------------------------------- */

int writers_open(struct repo *r, const uint8_t *bytes, size_t len, struct error *err)
{
	struct seal_write_only secrets;
	if (len != WRITE_ONLY_SIZE)
		return error_set(err, ERR_INVALID, "open repository: a write-only key of %zu bytes", len);
	if (memcmp(bytes, r->header.repository.b, ID_SIZE) != 0)
		return error_set(err, ERR_AUTH, "open repository %s: the write-only key belongs to another repository", r->store->location);
	memcpy(r->writer.b, bytes + 32, ID_SIZE);
	memcpy(r->writer_public, bytes + 64, SEAL_KEY_SIZE);
	memcpy(secrets.chunk_ids[CHUNK_DATA], bytes + 96, SEAL_KEY_SIZE);
	memcpy(secrets.chunk_ids[CHUNK_META], bytes + 128, SEAL_KEY_SIZE);
	memcpy(secrets.cut, bytes + 160, SEAL_KEY_SIZE);
	int done = seal_keys_open_write_only(&r->keys, &secrets, &r->header.repository, err);
	explicit_bzero(&secrets, sizeof secrets);
	return done;
}

int writers_begin_session(struct repo *r, struct id *ret_session, struct error *err)
{
	struct session_box s = { .writer = r->writer };
	uint8_t bytes[SESSION_BOX_SIZE];
	char key[OBJECT_KEY_MAX];
	if (seal_session_begin(r->keys, &r->writer, r->writer_public, &s.session, s.box, err) < 0)
		return -1;
	session_box_encode(bytes, &s);
	box_key(&s.session, key);
	if (store_write(r->store, key, bytes, sizeof bytes, err) < 0)
		return error_add(err, "write the key of a session");
	*ret_session = s.session;
	return 0;
}
