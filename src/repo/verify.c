/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether one object authenticates, every byte of it. */
#include <stdlib.h>

#include "repo/format/pack.h"
#include "repo/object.h"
#include "repo/parity.h"

#define DOCUMENT_MAX (64u << 20)

static int verify_header(struct store *store, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct repo_header header;
	return store_read(store, "twofold", 4096, &bytes, err) < 0 ? -1 : repo_header_decode(&header, bytes.data, bytes.len, err);
}

/* As far as can be told without its secret. */
static int verify_key(struct store *store, const char *name, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct key_object key;
	size_t aad;
	return store_read(store, name, 64u << 10, &bytes, err) < 0 ? -1 : key_object_decode(&key, bytes.data, bytes.len, &aad, err);
}

/* What is in the box is looked at where it is wanted. */
static int verify_box(struct store *store, const char *name, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct session_box box;
	return store_read(store, name, 4096, &bytes, err) < 0 ? -1 : session_box_decode(&box, bytes.data, bytes.len, err);
}

static int verify_blocks(struct store *store, struct seal_keys *keys, const char *name, const struct id *id, enum seal_kind kind, const struct pack_table *table,
                         struct error *err)
{
	CLEAN(seal_cipher_cleanup) struct seal_cipher *cipher = NULL;
	CLEAN_BUF struct buf sealed = BUF_INIT, plain = BUF_INIT;
	if (seal_cipher_new(&cipher, keys, &table->by, kind, id, err) < 0)
		return -1;
	for (size_t i = 0; i < table->block_count; i++) {
		const struct pack_block *b = &table->blocks[i];
		if (b->sealed_length > SEAL_BLOCK_MAX + SEAL_BLOCK_HEAD + SEAL_TAG_SIZE)
			return error_set(err, ERR_CORRUPT, "block %zu of %s: %u bytes are too many", i, name, b->sealed_length);
		buf_clear(&sealed);
		buf_clear(&plain);
		if (!buf_reserve(&sealed, b->sealed_length) || !buf_reserve(&plain, b->sealed_length))
			return error_set(err, ERR_NOMEM, "read %s: out of memory", name);
		if (store->ops->get(store, name, b->offset, sealed.data, b->sealed_length, err) < 0)
			return -1;
		if (seal_decrypt(cipher, i, sealed.data, b->sealed_length, plain.data, NULL) < 0)
			return error_set(err, ERR_CORRUPT, "block %zu of %s is damaged: it does not authenticate", i, name);
	}
	return 0;
}

static int verify_pack(struct store *store, struct seal_keys *keys, const char *name, uint64_t size, struct error *err)
{
	struct repo view = { .store = store, .keys = keys }; /* all that reading a table needs */
	CLEAN(pack_table_done) struct pack_table table = { 0 };
	enum seal_kind kind;
	struct id id;
	if (!object_id_of_key(name, &id))
		return error_set(err, ERR_CORRUPT, "%s is no pack's name", name);
	if (repo_read_pack_table(&view, &id, size, &kind, &table, err) < 0)
		return -1;
	return verify_blocks(store, keys, name, &id, kind, &table, err);
}

int object_verify(struct store *store, struct seal_keys *keys, const char *name, uint64_t size, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id;
	if (strcmp(name, "twofold") == 0)
		return verify_header(store, err);
	if (strncmp(name, "keys/", 5) == 0)
		return verify_key(store, name, err);
	if (strncmp(name, "sealed/", 7) == 0)
		return verify_box(store, name, err);
	if (!keys)
		return error_set(err, ERR_UNSUPPORTED, "%s cannot be verified without the keys", name);
	if (strncmp(name, "packs/", 6) == 0)
		return verify_pack(store, keys, name, size, err);
	for (enum seal_kind kind = SEAL_INDEX; kind <= SEAL_UNFINISHED; kind++)
		if (strncmp(name, object_prefix(kind), strlen(object_prefix(kind))) == 0 && object_id_of_key(name, &id))
			return object_read(store, keys, kind, &id, kind == SEAL_INDEX ? INDEX_SEGMENT_MAX : DOCUMENT_MAX, NULL, &bytes, err);
	return error_set(err, ERR_UNSUPPORTED, "%s is of a kind that this program does not know", name);
}
