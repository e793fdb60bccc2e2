/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading chunks, blocks and pack tables. */
#include <time.h>

#include "repo/format/pack.h"
#include "repo/block_cache.h"
#include "repo/coders.h"
#include "repo/object.h"
#include "repo/repo.h"

/* What is fetched at once for who reads on. */
#define AHEAD (4u << 20)

static int read_pack_head(struct repo *r, const struct place *place, const char *key, struct pack_header *ret, struct error *err)
{
	struct block_cache *cache = place->kind == SEAL_PACK_META ? r->blocks : NULL;
	CLEAN_BUF struct buf cached = BUF_INIT;
	uint8_t head[PACK_HEADER_SIZE];
	if (block_cache_get(cache, &place->pack, BLOCK_CACHE_HEAD, sizeof head, &cached) && cached.len == sizeof head && pack_header_decode(ret, cached.data, NULL) == 0)
		return 0;
	if (r->store->ops->get(r->store, key, 0, head, sizeof head, err) < 0 || pack_header_decode(ret, head, err) < 0)
		return -1;
	block_cache_put(cache, &place->pack, BLOCK_CACHE_HEAD, head, sizeof head);
	return 0;
}

/* The cipher of the pack. Of a session's own key only the pack itself says which session. */
static int cipher_for(struct repo *r, struct block_reader *reader, const struct place *place, const char *key, struct error *err)
{
	struct seal_by by = { .how = place->how, .epoch = place->epoch };
	if (coder_is_for(reader, &place->pack, place->kind))
		return 0;
	if (by.how != SEAL_BY_MASTER) {
		struct pack_header header;
		if (read_pack_head(r, place, key, &header, err) < 0)
			return -1;
		by = header.by;
	}
	return coder_for_pack(reader, r->keys, &by, &place->pack, place->kind, err);
}

static int open_block(struct repo *r, struct block_reader *reader, const struct place *place, const uint8_t *sealed, struct buf *plain, struct buf *ret, struct error *err)
{
	struct error why = { 0 };
	char key[OBJECT_KEY_MAX];
	object_key(place->kind, &place->pack, key);
	if (cipher_for(r, reader, place, key, err) < 0)
		return -1;
	int done = plain ? unseal_payload(reader->coder, reader->cipher, place->block, sealed, place->sealed_length, place->raw_length, plain, ret, &why)
	                 : unseal_block(reader->coder, reader->cipher, place->block, sealed, place->sealed_length, place->raw_length, ret, &why);
	if (done < 0)
		return error_set(err, why.kind == ERR_NOMEM ? ERR_NOMEM : ERR_CORRUPT, "block %u of %s is damaged: %s", place->block, key, why.text);
	if (ret->len != place->raw_length)
		return error_set(err, ERR_CORRUPT, "block %u of %s has %zu bytes, the index says %u", place->block, key, ret->len, place->raw_length);
	return 0;
}

/* Replaces *sealed by len bytes of the pack from the block on. */
static int fetch(struct repo *r, const struct place *place, size_t len, struct buf *sealed, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	object_key(place->kind, &place->pack, key);
	buf_clear(sealed);
	if (place->sealed_length > SEAL_BLOCK_MAX + SEAL_BLOCK_HEAD + SEAL_TAG_SIZE || !buf_reserve(sealed, len))
		return error_set(err, ERR_CORRUPT, "read a block of %s: %u bytes are too many", key, place->sealed_length);
	if (r->store->ops->get(r->store, key, place->block_offset, sealed->data, len, err) < 0)
		return -1;
	sealed->len = len;
	return 0;
}

/* What does not open is dropped, with the head by which it may have been tried in vain. */
static bool read_cached(struct repo *r, struct block_reader *reader, const struct place *place, struct buf *ret)
{
	if (place->kind != SEAL_PACK_META || !block_cache_get(r->blocks, &place->pack, place->block, place->sealed_length, &reader->sealed))
		return false;
	if (reader->sealed.len == place->sealed_length && open_block(r, reader, place, reader->sealed.data, NULL, ret, NULL) == 0)
		return true;
	block_cache_drop(r->blocks, &place->pack, place->block);
	block_cache_drop(r->blocks, &place->pack, BLOCK_CACHE_HEAD);
	coder_forget(reader);
	return false;
}

static int read_block(struct repo *r, struct block_reader *reader, const struct place *place, struct buf *ret, struct error *err)
{
	if (read_cached(r, reader, place, ret))
		return 0;
	if (fetch(r, place, place->sealed_length, &reader->sealed, err) < 0 || open_block(r, reader, place, reader->sealed.data, NULL, ret, err) < 0)
		return -1;
	if (place->kind == SEAL_PACK_META)
		block_cache_put(r->blocks, &place->pack, place->block, reader->sealed.data, place->sealed_length);
	return 0;
}

int repo_read_block(struct repo *r, const struct place *place, struct buf *ret, struct error *err)
{
	struct block_reader *reader = coder_take(r->coders, err);
	if (!reader)
		return -1;
	int done = read_block(r, reader, place, ret, err);
	coder_give(r->coders, reader);
	return done;
}

int repo_read_object(struct repo *r, enum seal_kind kind, const struct id *id, size_t max, struct id *ret_session, struct seal_by *ret_by, struct buf *ret, struct error *err)
{
	CLEAN_BUF struct buf object = BUF_INIT;
	char key[OBJECT_KEY_MAX];
	if (block_cache_get(r->blocks, id, BLOCK_CACHE_OBJECT, max, &object)) {
		if (object_open(r->keys, kind, id, &object, ret_session, ret_by, ret, NULL) == 0)
			return 0;
		block_cache_drop(r->blocks, id, BLOCK_CACHE_OBJECT);
	}
	object_key(kind, id, key);
	if (store_read(r->store, key, max, &object, err) < 0 || object_open(r->keys, kind, id, &object, ret_session, ret_by, ret, err) < 0)
		return -1;
	block_cache_put(r->blocks, id, BLOCK_CACHE_OBJECT, object.data, object.len);
	return 0;
}

static bool is_ahead(const struct read_ahead *a, const struct place *place)
{
	return a->bytes.len && id_equal(&a->pack, &place->pack) && place->block_offset >= a->offset &&
	       (uint64_t)place->block_offset + place->sealed_length <= (uint64_t)a->offset + a->bytes.len;
}

/* Fetches the block, and what follows it up to end; where that cannot be had in one, the block alone. */
static int fill_ahead(struct repo *r, struct read_ahead *a, const struct place *place, uint64_t end, struct error *err)
{
	uint64_t len = end > place->block_offset ? end - place->block_offset : 0;
	if (len > AHEAD)
		len = AHEAD;
	if (len < place->sealed_length)
		len = place->sealed_length;
	a->pack = place->pack;
	a->offset = place->block_offset;
	if (len > place->sealed_length && fetch(r, place, (size_t)len, &a->bytes, NULL) == 0)
		return 0;
	return fetch(r, place, place->sealed_length, &a->bytes, err);
}

static int read_ahead(struct repo *r, const struct place *place, uint64_t end, struct read_ahead *ahead, struct buf *plain, struct buf *ret, struct error *err)
{
	if (!is_ahead(ahead, place) && fill_ahead(r, ahead, place, end, err) < 0)
		return -1;
	struct block_reader *reader = coder_take(r->coders, err);
	if (!reader)
		return -1;
	int done = open_block(r, reader, place, ahead->bytes.data + (place->block_offset - ahead->offset), plain, ret, err);
	coder_give(r->coders, reader);
	return done;
}

int repo_read_block_ahead(struct repo *r, const struct place *place, uint64_t end, struct read_ahead *ahead, struct buf *ret, struct error *err)
{
	return read_ahead(r, place, end, ahead, NULL, ret, err);
}

int repo_read_block_both(struct repo *r, const struct place *place, uint64_t end, struct read_ahead *ahead, struct buf *ret_plain, struct buf *ret_raw, struct error *err)
{
	return read_ahead(r, place, end, ahead, ret_plain, ret_raw, err);
}

int repo_verify_chunk(struct repo *r, enum chunk_class class, const struct id *id, const struct place *place, const uint8_t *bytes, struct error *err)
{
	struct id actual;
	seal_chunk_id(r->keys, class, bytes, place->length, &actual);
	if (id_equal(&actual, id))
		return 0;
	char hex[ID_HEX_SIZE], key[OBJECT_KEY_MAX];
	id_to_hex(id, hex);
	object_key(place->kind, &place->pack, key);
	return error_set(err, ERR_CORRUPT, "chunk %.16s is not what block %u of %s holds; run twofold check", hex, place->block, key);
}

#define REFRESH_SECONDS 10

/* Whether the index is another one now. In a damaged repository many chunks are missing: it is not listed anew for each. */
bool repo_refresh_index(struct repo *r, unsigned generation)
{
	struct timespec now;
	bool changed = false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (index_generation(r->index) != generation)
		return true;
	int64_t last = atomic_load(&r->refreshed_at);
	if ((last && now.tv_sec - last < REFRESH_SECONDS) || !atomic_compare_exchange_strong(&r->refreshed_at, &last, now.tv_sec))
		return false;
	return index_refresh(r->index, &changed, NULL) == 0 && changed;
}

/* Where the chunk lies, and the block that holds it, decoded; given back with cache_release. The chunk's place is within the block. */
static struct cached_block *hold_block_now(struct repo *r, const struct id *id, struct place *ret_place, struct error *err)
{
	bool found;
	if (index_find(r->index, id, &found, ret_place, err) < 0)
		return NULL;
	if (!found) {
		char hex[ID_HEX_SIZE];
		id_to_hex(id, hex);
		error_set(err, ERR_NOT_FOUND, "chunk %.16s is in no pack that the index knows; run twofold check", hex);
		return NULL;
	}
	struct cached_block *block = cache_hold(r->coders, ret_place->pack_row, ret_place->block);
	if (!block) {
		CLEAN_BUF struct buf raw = BUF_INIT;
		if (repo_read_block(r, ret_place, &raw, err) < 0)
			return NULL;
		block = cache_keep(r->coders, ret_place->pack_row, ret_place->block, &raw);
		if (!block) {
			error_set(err, ERR_NOMEM, "read a chunk: out of memory");
			return NULL;
		}
	}
	if ((uint64_t)ret_place->offset + ret_place->length <= block->raw.len)
		return block;
	cache_release(r->coders, block);
	error_set(err, ERR_CORRUPT, "a chunk's place lies outside of its block; run twofold check");
	return NULL;
}

#define PLACES_MAX 8 /* of one chunk that are tried */

/* A session that was given up, and woke up, may have named packs that are gone: then another segment has the chunk's real place. */
static struct cached_block *hold_block(struct repo *r, const struct id *id, struct place *ret_place, struct error *err)
{
	struct error first = { 0 };
	for (int attempt = 0; attempt < PLACES_MAX; attempt++) {
		struct error why = { 0 };
		unsigned generation = index_generation(r->index);
		*ret_place = (struct place){ 0 };
		struct cached_block *block = hold_block_now(r, id, ret_place, &why);
		if (block)
			return block;
		error_keep_first(&first, &why);
		bool has_place = ret_place->pack_size > 0;
		if (why.kind != ERR_NOT_FOUND || (!repo_refresh_index(r, generation) && (!has_place || index_forget_pack(r->index, &ret_place->pack, NULL) < 0)))
			break;
	}
	if (err)
		*err = first;
	return NULL;
}

int repo_get(struct repo *r, enum chunk_class class, const struct id *id, struct buf *ret, struct error *err)
{
	struct place place;
	struct cached_block *block = hold_block(r, id, &place, err);
	if (!block)
		return -1;
	buf_clear(ret);
	int done = repo_verify_chunk(r, class, id, &place, block->raw.data + place.offset, err);
	if (done == 0) {
		buf_add(ret, block->raw.data + place.offset, place.length);
		done = buf_ok(ret) ? 0 : error_set(err, ERR_NOMEM, "read a chunk: out of memory");
	}
	cache_release(r->coders, block);
	return done;
}

int repo_get_range(struct repo *r, enum chunk_class class, const struct id *id, uint32_t offset, void *data, size_t len, struct error *err)
{
	struct place place;
	struct cached_block *block = hold_block(r, id, &place, err);
	if (!block)
		return -1;
	const uint8_t *bytes = block->raw.data + place.offset;
	int done = 0;
	if ((uint64_t)offset + len > place.length)
		done = error_set(err, ERR_CORRUPT, "read %zu bytes at %u of a chunk that has %u; run twofold check", len, offset, place.length);
	else if (!cache_is_verified(r->coders, block, id)) {
		done = repo_verify_chunk(r, class, id, &place, bytes, err);
		if (done == 0)
			cache_set_verified(r->coders, block, id);
	}
	if (done == 0)
		memcpy(data, bytes + offset, len);
	cache_release(r->coders, block);
	return done;
}

int repo_get_page(void *cookie, const struct id *id, struct buf *ret, struct error *err)
{
	return repo_get(cookie, CHUNK_META, id, ret, err);
}

int repo_read_pack_table(struct repo *r, const struct id *pack, uint64_t size, enum seal_kind *ret_kind, struct pack_table *ret, struct error *err)
{
	CLEAN(seal_cipher_cleanup) struct seal_cipher *cipher = NULL;
	CLEAN_BUF struct buf sealed = BUF_INIT, plain = BUF_INIT;
	uint8_t head[PACK_HEADER_SIZE], foot[PACK_FOOTER_SIZE];
	struct pack_header header;
	uint64_t offset;
	uint32_t length;
	char key[OBJECT_KEY_MAX];
	object_key(SEAL_PACK_DATA, pack, key);
	if (size < sizeof head + sizeof foot || size > PACK_SIZE_MAX)
		return error_set(err, ERR_CORRUPT, "%s has %llu bytes, which no pack has", key, (unsigned long long)size);
	const struct store_ops *ops = r->store->ops;
	if (ops->get(r->store, key, 0, head, sizeof head, err) < 0 || ops->get(r->store, key, size - sizeof foot, foot, sizeof foot, err) < 0)
		return -1;
	if (pack_header_decode(&header, head, err) < 0 || pack_footer_decode(&offset, &length, foot, size, err) < 0)
		return error_add(err, "%s", key);
	if (!id_equal(&header.pack, pack))
		return error_set(err, ERR_CORRUPT, "%s is another pack under this name", key);
	if (length > PACK_TABLE_MAX || length < SEAL_TAG_SIZE || !buf_reserve(&sealed, length) || !buf_reserve(&plain, length))
		return error_set(err, ERR_CORRUPT, "%s: its table of %u bytes cannot be read", key, length);
	if (ops->get(r->store, key, offset, sealed.data, length, err) < 0 || seal_cipher_new(&cipher, r->keys, &header.by, header.kind, pack, err) < 0)
		return -1;
	struct pack_table table = { 0 };
	if (seal_decrypt(cipher, PACK_TABLE_COUNTER, sealed.data, length, plain.data, err) < 0 ||
	    pack_table_decode(&table, plain.data, length - SEAL_TAG_SIZE, offset - PACK_HEADER_SIZE, err) < 0)
		return error_add(err, "table of %s", key);
	if (!id_equal(&table.session, &header.session)) {
		pack_table_done(&table);
		return error_set(err, ERR_CORRUPT, "%s: header and table disagree", key);
	}
	table.by = header.by;
	*ret = table;
	*ret_kind = header.kind;
	return 0;
}
