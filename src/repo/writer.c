/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "repo/block_cache.h"
#include "repo/leftovers.h"
#include "repo/locks.h"
#include "repo/log.h"
#include "repo/object.h"
#include "repo/packer.h"
#include "repo/sessions.h"
#include "repo/settle.h"

/* A block under construction. */
struct gather {
	struct buf raw;
	struct buf chunks; /* of struct pack_chunk */
};

struct lane_slot {
	struct gather gather[2]; /* by chunk class */
	struct seal_coder *coder;
	struct seal_cipher *check_cipher; /* of check_pack */
	struct id check_pack;
	struct buf sealed, decoded; /* scratch */
};

struct writer {
	struct repo *repo;
	struct own_session *session;
	bool borrowed;         /* the session is the caller's */
	bool committed;
	enum session_work work;
	char *host;
	struct marks marks;    /* as they were last read */
	_Atomic bool wary;     /* packs were marked when this session began, or have been since */
	pthread_mutex_t lock; /* guards failure */
	struct error failure; /* the first; from then on nothing may rely on this session */
	struct packer *packer;
	struct lane_slot *slots;
	unsigned slot_count;
	_Atomic uint64_t chunks_new, chunks_known, added_raw, added_stored;
	uint64_t adopted_packs;
};

/* --- failure ----------------------------------------------------------------------------- */

static int fail_session(struct writer *w, const struct error *why)
{
	pthread_mutex_lock(&w->lock);
	error_keep_first(&w->failure, why);
	pthread_mutex_unlock(&w->lock);
	return -1;
}

static bool has_failed(struct writer *w, struct error *err)
{
	pthread_mutex_lock(&w->lock);
	bool failed = w->failure.kind != ERR_NONE;
	if (failed && err)
		*err = w->failure;
	pthread_mutex_unlock(&w->lock);
	return failed;
}

/* --- life -------------------------------------------------------------------------------- */

/* The session first, then what collectors have published, then the index: what is found in it afterwards stays as long as this session lives. */
static int announce(struct writer *w, const struct writer_options *options, struct error *err)
{
	w->work = options->work;
	w->host = strdup(options->host ? options->host : "");
	if (!w->host)
		return error_set(err, ERR_NOMEM, "begin a session: out of memory");
	if (options->session) {
		w->session = options->session;
		w->borrowed = true;
		return 0;
	}
	if (own_session_begin(&w->session, w->repo, w->work, w->host, err) < 0 || settle_look(w->repo, &w->marks, err) < 0)
		return -1;
	w->wary = w->marks.packs.len > 0;
	if (locks_renew(w->repo, &w->marks, LOCKS_EARLY, err) < 0)
		return -1;
	if (seal_is_write_only(w->repo->keys))
		return 0; /* others' packs cannot be read */
	return leftovers_adopt(w->repo, own_session_id(w->session), &w->marks, &w->adopted_packs, err);
}

int writer_begin(struct writer **ret, struct repo *repo, const struct writer_options *options, struct error *err)
{
	CLEAN(writer_cleanup) struct writer *w = calloc(1, sizeof *w);
	if (!w)
		return error_set(err, ERR_NOMEM, "begin a session: out of memory");
	pthread_mutex_init(&w->lock, NULL);
	w->repo = repo;
	w->slots = calloc(options->slots, sizeof *w->slots);
	if (!w->slots)
		return error_set(err, ERR_NOMEM, "begin a session: out of memory");
	w->slot_count = options->slots;
	for (unsigned i = 0; i < w->slot_count; i++)
		if (seal_coder_new(&w->slots[i].coder, options->level, err) < 0)
			return -1;
	if (announce(w, options, err) < 0 || packer_new(&w->packer, repo, own_session_id(w->session), err) < 0)
		return -1;
	*ret = TAKE(w);
	return 0;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	if (w->packer && !w->committed)
		writer_flush(w, NULL);
	/* A session object that stays behind costs the next writer a look at the packs, no more; it must stay where packs are not indexed, for only then are they looked for. */
	if (!w->borrowed && w->packer && !w->committed && atomic_load_explicit(&w->added_raw, memory_order_relaxed))
		own_session_note_unfinished(w->session, NULL);
	if (w->borrowed)
		;
	else if (!w->packer || packer_is_indexed(w->packer))
		own_session_end(w->session);
	else
		own_session_leave(w->session);
	packer_free(w->packer);
	marks_done(&w->marks);
	free(w->host);
	for (unsigned i = 0; w->slots && i < w->slot_count; i++) {
		struct lane_slot *s = &w->slots[i];
		for (int class = 0; class < 2; class++) {
			buf_done(&s->gather[class].raw);
			buf_done(&s->gather[class].chunks);
		}
		seal_coder_free(s->coder);
		seal_cipher_free(s->check_cipher);
		buf_done(&s->sealed);
		buf_done(&s->decoded);
	}
	free(w->slots);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

const struct id *writer_session(const struct writer *w)
{
	return own_session_id(w->session);
}

bool writer_is_wary(const struct writer *w)
{
	return atomic_load_explicit(&w->wary, memory_order_relaxed);
}

struct repo *writer_repo(const struct writer *w)
{
	return w->repo;
}

void writer_stats(const struct writer *w, struct writer_stats *ret)
{
	*ret = (struct writer_stats){ .chunks_new = w->chunks_new,
		                      .chunks_known = w->chunks_known,
		                      .added_raw = w->added_raw,
		                      .added_stored = w->added_stored,
		                      .adopted_packs = w->adopted_packs };
}

/* --- blocks ------------------------------------------------------------------------------ */

static bool make_check_cipher(struct writer *w, struct lane_slot *s, const struct packed *where)
{
	if (s->check_cipher && id_equal(&s->check_pack, &where->id))
		return true;
	seal_cipher_free(s->check_cipher);
	s->check_cipher = NULL;
	struct seal_by by = seal_current(w->repo->keys);
	if (seal_cipher_new(&s->check_cipher, w->repo->keys, &by, where->kind, &where->id, NULL) < 0)
		return false;
	s->check_pack = where->id;
	return true;
}

/* Opens the message again: it holds the payload, whose content the caller has verified. */
static bool opens_again(struct writer *w, struct lane_slot *s, const struct packed *where, const struct seal_payload *payload)
{
	size_t len = SEAL_BLOCK_HEAD + payload->len;
	buf_clear(&s->decoded);
	return make_check_cipher(w, s, where) && s->sealed.len == len + SEAL_TAG_SIZE && buf_reserve(&s->decoded, len) &&
	       seal_decrypt(s->check_cipher, where->counter, s->sealed.data, s->sealed.len, s->decoded.data, NULL) == 0 &&
	       memcmp(s->decoded.data, payload->head, SEAL_BLOCK_HEAD) == 0 && memcmp(s->decoded.data + SEAL_BLOCK_HEAD, payload->bytes, payload->len) == 0;
}

/* Opens the message again and hashes what comes out: what will be stored is what was hashed, whatever the memory or the codec did in between. */
static bool reads_back(struct writer *w, struct lane_slot *s, const struct packed *where, enum chunk_class class, const struct pack_chunk *chunks, size_t count)
{
	if (!make_check_cipher(w, s, where))
		return false;
	buf_clear(&s->decoded);
	if (unseal_block(s->coder, s->check_cipher, where->counter, s->sealed.data, s->sealed.len, SEAL_BLOCK_MAX, &s->decoded, NULL) < 0)
		return false;
	size_t at = 0;
	for (size_t i = 0; i < count; i++) {
		struct id id;
		if (chunks[i].length > s->decoded.len - at)
			return false;
		seal_chunk_id(w->repo->keys, class, s->decoded.data + at, chunks[i].length, &id);
		if (!id_equal(&id, &chunks[i].id))
			return false;
		at += chunks[i].length;
	}
	return at == s->decoded.len;
}

/* The next run looks first at what this one writes. Of a pack that is never committed it is dropped some day. */
static void keep_block(struct writer *w, const struct lane_slot *s, const struct packed *where)
{
	if (where->kind == SEAL_PACK_META)
		block_cache_put(w->repo->blocks, &where->id, (uint32_t)where->counter, s->sealed.data, s->sealed.len);
}

static int put_block(struct writer *w, struct lane_slot *s, enum chunk_class class, const void *raw, size_t len, const struct pack_chunk *chunks, size_t count,
                     struct error *err)
{
	struct packed where;
	struct seal_payload payload;
	if (seal_compress(s->coder, raw, len, &payload, err) < 0 ||
	    packer_add(w->packer, class, &payload, (uint32_t)len, chunks, count, &s->sealed, &where, err) < 0)
		return -1;
	bool ok = reads_back(w, s, &where, class, chunks, count);
	packer_checked(w->packer, &where, ok);
	if (!ok)
		return error_set(err, ERR_CORRUPT,
		                 "read back a block before storing it: it does not decode to what was hashed; this points to faulty memory or a faulty processor, nothing of it was stored");
	keep_block(w, s, &where);
	atomic_fetch_add_explicit(&w->added_raw, len, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->added_stored, s->sealed.len, memory_order_relaxed);
	return 0;
}

static int flush_gather(struct writer *w, struct lane_slot *s, enum chunk_class class, struct error *err)
{
	struct gather *g = &s->gather[class];
	if (g->raw.len == 0)
		return 0;
	int done = put_block(w, s, class, g->raw.data, g->raw.len, (const void *)g->chunks.data, g->chunks.len / sizeof(struct pack_chunk), err);
	buf_clear(&g->raw);
	buf_clear(&g->chunks);
	return done;
}

static int gather_chunk(struct writer *w, struct lane_slot *s, enum chunk_class class, const void *data, const struct pack_chunk *chunk, struct error *err)
{
	struct gather *g = &s->gather[class];
	if (g->raw.len + chunk->length > WRITER_BLOCK && flush_gather(w, s, class, err) < 0)
		return -1;
	if (!g->raw.data && !buf_reserve(&g->raw, WRITER_BLOCK))
		return error_set(err, ERR_NOMEM, "gather a block: out of memory");
	buf_add(&g->raw, data, chunk->length);
	buf_add(&g->chunks, chunk, sizeof *chunk);
	return buf_ok(&g->raw) && buf_ok(&g->chunks) ? 0 : error_set(err, ERR_NOMEM, "gather a block: out of memory");
}

/* A chunk that this session has claimed. */
static int store_claimed(struct writer *w, unsigned slot, enum chunk_class class, const void *data, const struct pack_chunk *chunk, struct error *err)
{
	struct lane_slot *s = &w->slots[slot];
	struct error why = { 0 };
	atomic_fetch_add_explicit(&w->chunks_new, 1, memory_order_relaxed);
	int done = chunk->length >= WRITER_SOLO ? put_block(w, s, class, data, chunk->length, chunk, 1, &why) : gather_chunk(w, s, class, data, chunk, &why);
	if (done == 0)
		return 0;
	if (err) /* the claim stands without its chunk */
		*err = why;
	return fail_session(w, &why);
}

int writer_put(struct writer *w, unsigned slot, enum chunk_class class, const void *data, size_t len, struct id *ret, struct error *err)
{
	struct pack_chunk chunk = { .length = (uint32_t)len };
	if (len == 0 || len > SEAL_BLOCK_MAX || slot >= w->slot_count)
		return error_set(err, ERR_INVALID, "store a chunk of %zu bytes", len);
	seal_chunk_id(w->repo->keys, class, data, len, &chunk.id);
	int claimed = index_claim(w->repo->index, &chunk.id);
	if (claimed < 0)
		return error_set(err, ERR_NOMEM, "store a chunk: out of memory");
	if (claimed == 0)
		atomic_fetch_add_explicit(&w->chunks_known, 1, memory_order_relaxed);
	else if (store_claimed(w, slot, class, data, &chunk, err) < 0)
		return -1;
	*ret = chunk.id;
	return 0;
}

int writer_put_copy(struct writer *w, unsigned slot, enum chunk_class class, const void *data, size_t len, const struct id *id, struct error *err)
{
	struct pack_chunk chunk = { .id = *id, .length = (uint32_t)len };
	if (len == 0 || len > SEAL_BLOCK_MAX || slot >= w->slot_count)
		return error_set(err, ERR_INVALID, "store a copy of a chunk of %zu bytes", len);
	int claimed = index_claim_copy(w->repo->index, id);
	if (claimed < 0)
		return error_set(err, ERR_NOMEM, "store a chunk: out of memory");
	return claimed ? store_claimed(w, slot, class, data, &chunk, err) : 0;
}

int writer_put_block(struct writer *w, unsigned slot, enum chunk_class class, const struct seal_payload *payload, uint32_t raw_length, const struct pack_chunk *chunks, size_t count,
                     struct error *err)
{
	struct lane_slot *s = &w->slots[slot];
	struct packed where;
	if (packer_add(w->packer, class, payload, raw_length, chunks, count, &s->sealed, &where, err) < 0)
		return -1;
	bool ok = opens_again(w, s, &where, payload);
	packer_checked(w->packer, &where, ok);
	if (!ok)
		return error_set(err, ERR_CORRUPT, "open a block again before storing it: it is not what it was; this points to faulty memory or a faulty processor");
	for (size_t i = 0; i < count; i++)
		if (index_claim_copy(w->repo->index, &chunks[i].id) < 0)
			return error_set(err, ERR_NOMEM, "store a block: out of memory");
	keep_block(w, s, &where);
	atomic_fetch_add_explicit(&w->added_raw, raw_length, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->added_stored, s->sealed.len, memory_order_relaxed);
	return 0;
}

int writer_put_page(void *cookie, const void *page, size_t len, struct id *ret, struct error *err)
{
	const struct writer_slot *at = cookie;
	return writer_put(at->writer, at->slot, CHUNK_META, page, len, ret, err);
}

/* --- the end ------------------------------------------------------------------------------- */

/* What the slots gathered is put together first, so that a small session makes few blocks. */
static int flush_class(struct writer *w, enum chunk_class class, struct error *err)
{
	struct lane_slot *first = &w->slots[0];
	for (unsigned i = 1; i < w->slot_count; i++) {
		struct gather *g = &w->slots[i].gather[class];
		const struct pack_chunk *chunks = (const void *)g->chunks.data;
		size_t at = 0;
		for (size_t c = 0; c < g->chunks.len / sizeof *chunks; c++) {
			if (gather_chunk(w, first, class, g->raw.data + at, &chunks[c], err) < 0)
				return -1;
			at += chunks[c].length;
		}
		buf_clear(&g->raw);
		buf_clear(&g->chunks);
	}
	return flush_gather(w, first, class, err);
}

int writer_flush(struct writer *w, struct error *err)
{
	struct error why = { 0 };
	if (!has_failed(w, NULL) && (flush_class(w, CHUNK_DATA, &why) < 0 || flush_class(w, CHUNK_META, &why) < 0))
		fail_session(w, &why);
	/* After a failure too: whole packs are worth finding again. */
	if (packer_finish(w->packer, &why) < 0)
		fail_session(w, &why);
	return has_failed(w, err) ? -1 : 0;
}

/* --- settling ------------------------------------------------------------------------------- */

/* What is in marked packs only is still there, since the collector waits for this session: it is copied. */
static int rescue(struct writer *w, const struct buf *unsettled, struct error *err)
{
	CLEAN_BUF struct buf chunk = BUF_INIT;
	const struct unsettled *u = (const void *)unsettled->data;
	for (size_t i = 0; i < unsettled->len / sizeof *u; i++)
		if (repo_get(w->repo, u[i].class, &u[i].id, &chunk, err) < 0 ||
		    writer_put_copy(w, 0, u[i].class, chunk.data, chunk.len, &u[i].id, err) < 0)
			return -1;
	return writer_flush(w, err);
}

static int verify_once(struct writer *w, const struct snapshot *s, struct error *err)
{
	CLEAN_BUF struct buf unsettled = BUF_INIT;
	return settle_find(w->repo, s, &unsettled, err) < 0 || (unsettled.len && rescue(w, &unsettled, err) < 0) ? -1 : 0;
}

static int verify(struct writer *w, const struct snapshot *s, struct error *err)
{
	unsigned lag = w->repo->store->promises.list_lag;
	struct error why = { 0 };
	if (verify_once(w, s, &why) == 0)
		return 0;
	/* Where listings lag, the segment that says where a chunk is now may not have been listed yet. */
	if (why.kind == ERR_NOT_FOUND && lag && !has_failed(w, NULL)) {
		sleep(2 * lag);
		why = (struct error){ 0 };
		if (settle_look(w->repo, &w->marks, &why) == 0 && verify_once(w, s, &why) == 0)
			return 0;
	}
	if (err)
		*err = why;
	return error_add(err, "make sure of what this backup shares with earlier ones%s", why.kind == ERR_NOT_FOUND ? ": a prune deleted some of it meanwhile; run the backup again, it finds what it has stored" : "");
}

/* The collector gave this session up: what was written under it stays, all else has to be looked at again under a new one. */
static int begin_anew(struct writer *w, struct error *err)
{
	struct own_session *fresh;
	if (own_session_begin(&fresh, w->repo, w->work, w->host, err) < 0)
		return -1;
	own_session_end(w->session);
	w->session = fresh;
	packer_set_session(w->packer, own_session_id(fresh));
	return settle_look(w->repo, &w->marks, err);
}

/* Until a look shows nothing that was not seen. ret_anew: the session is another one now. */
static int settle(struct writer *w, const struct snapshot *s, bool *ret_anew, struct error *err)
{
	bool pending = w->marks.packs.len > 0;
	for (;;) {
		CLEAN(marks_done) struct marks now = MARKS_INIT;
		if (marks_read(&now, w->repo, err) < 0)
			return -1;
		if (seal_is_write_only(w->repo->keys) && marks_has_news(&w->marks, &now))
			return error_set(err, ERR_BUSY, "a prune began meanwhile, and a write-only key cannot read what it is about to delete; run the backup again");
		bool fenced = marks_is_fenced(&now, own_session_id(w->session));
		if (!pending && !fenced && !marks_has_news(&w->marks, &now))
			return 0;
		bool packs = pending || now.packs.len > 0;
		if ((fenced ? begin_anew(w, err) : settle_look(w->repo, &w->marks, err)) < 0)
			return -1;
		*ret_anew |= fenced;
		packs |= w->marks.packs.len > 0;
		w->wary |= packs;
		if ((packs || fenced) && verify(w, s, err) < 0)
			return -1;
		pending = false;
	}
}

static int write_snapshot(struct writer *w, struct snapshot *snapshot, struct id *ret_id, struct buf *ret_payload, struct error *err)
{
	snapshot->session = *own_session_id(w->session);
	buf_clear(ret_payload);
	snapshot_encode(ret_payload, snapshot);
	if (!buf_ok(ret_payload))
		return error_set(err, ERR_NOMEM, "write snapshot: out of memory");
	seal_random(ret_id->b, ID_SIZE);
	if (object_write(w->repo->store, w->repo->keys, SEAL_SNAPSHOT, ret_id, &snapshot->session, ret_payload->data, ret_payload->len, err) < 0)
		return error_add(err, "write snapshot");
	return 0;
}

/* No log knows of it yet. Where the store refuses, it stays: it is whole, or its session does not count. */
static void drop_snapshot(struct writer *w, const struct id *id)
{
	char key[OBJECT_KEY_MAX];
	object_key(SEAL_SNAPSHOT, id, key);
	w->repo->store->ops->remove(w->repo->store, key, NULL);
}

int writer_commit(struct writer *w, struct snapshot *snapshot, struct id *ret_id, struct error *err)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	struct id id;
	bool anew = false;
	if (writer_flush(w, err) < 0 || settle(w, snapshot, &anew, err) < 0 || locks_renew(w->repo, &w->marks, LOCKS_IN_TIME, err) < 0)
		return -1;
	snapshot->totals.added_raw = w->added_raw;
	snapshot->totals.added_stored = w->added_stored;
	if (write_snapshot(w, snapshot, &id, &payload, err) < 0)
		return -1;
	for (;;) {
		struct id stale = id;
		anew = false;
		if (settle(w, snapshot, &anew, err) < 0) {
			/* It did not succeed, so nobody should take it for a backup. */
			if (seal_is_write_only(w->repo->keys))
				drop_snapshot(w, &id);
			else
				repo_snapshot_drop(w->repo, &id, NULL);
			return -1;
		}
		if (!anew)
			break;
		/* The snapshot names a session that does not count any more; a prune may have confirmed it, and then it has gone already. */
		struct error why = { 0 };
		if (write_snapshot(w, snapshot, &id, &payload, err) < 0)
			return -1;
		if (repo_snapshot_drop(w->repo, &stale, &why) < 0 && why.kind != ERR_NOT_FOUND)
			return error_set(err, why.kind, "%s", why.text);
	}
	w->committed = true;
	*ret_id = id;
	if (seal_is_write_only(w->repo->keys))
		return 0; /* the next writer that can read the log takes the snapshot in */
	if (repo_log_append(w->repo, own_session_id(w->session), &id, &payload, err) < 0)
		return error_add(err, "the snapshot is written, but the log does not say so (the next backup corrects it)");
	return 0;
}
