/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "repo/format/log.h"
#include "repo/log_memory.h"
#include "repo/marks.h"
#include "repo/object.h"
#include "repo/signing.h"

#define ENTRY_BYTES_MAX (64u << 20)
#define ENTRIES_MAX 100000u
#define GATHER_AT 64 /* so many entries that stand for themselves are gathered into one */
#define SNAPSHOT_BYTES_MAX (64u << 20)

static void add_all(struct buf *to, const struct buf *from)
{
	buf_add(to, from->data, from->len);
}

/* Appends the ids in a that are not in b (ordered). */
static void add_without(struct buf *to, const struct buf *a, const struct buf *b)
{
	for (size_t at = 0; at < a->len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, a->data + at, ID_SIZE);
		if (!ids_have(b, &id))
			buf_add(to, id.b, ID_SIZE);
	}
}

/* --- reading ------------------------------------------------------------------------- */

void repo_log_done(struct repo_log *l)
{
	buf_done(&l->entries);
	buf_done(&l->heads);
	buf_done(&l->missing);
	buf_done(&l->replaced);
	buf_done(&l->added);
	buf_done(&l->forgotten);
	buf_done(&l->hashes);
	buf_done(&l->changed);
	buf_done(&l->vouchers);
	log_signers_done(&l->signers);
	for (size_t i = 0; i < l->writing_count; i++)
		free(l->writings[i].host);
	free(l->writings);
	*l = (struct repo_log){ 0 };
}

static int by_snapshot(const void *a, const void *b)
{
	return memcmp(a, b, ID_SIZE);
}

static int by_voucher(const void *a, const void *b)
{
	return memcmp(a, b, LOG_VOUCHER_ORDER);
}

/* Rows of size bytes, ascending, each once as compare sees it. */
static void order_rows(struct buf *rows, size_t size, int (*compare)(const void *, const void *))
{
	size_t kept = 0;
	if (rows->len)
		qsort(rows->data, rows->len / size, size, compare);
	for (size_t at = 0; at < rows->len; at += size) {
		if (kept && compare(rows->data + kept - size, rows->data + at) == 0)
			continue;
		memmove(rows->data + kept, rows->data + at, size);
		kept += size;
	}
	rows->len = kept;
}

static void order_added(struct buf *added)
{
	order_rows(added, LOG_ADDED_SIZE, by_snapshot);
}

static int by_key(const void *a, const void *b)
{
	return memcmp(((const struct log_signer *)a)->key, ((const struct log_signer *)b)->key, LOG_KEY_SIZE);
}

/* One introduction for each key is enough. */
static void order_signers(struct log_signers *l)
{
	size_t kept = 0;
	if (l->count)
		qsort(l->items, l->count, sizeof *l->items, by_key);
	for (size_t i = 0; i < l->count; i++) {
		if (kept && by_key(&l->items[kept - 1], &l->items[i]) == 0)
			free(l->items[i].name);
		else
			l->items[kept++] = l->items[i];
	}
	l->count = kept;
}

static const uint8_t *hash_of(const struct buf *rows, const struct id *id)
{
	const uint8_t *at = rows->len ? bsearch(id->b, rows->data, rows->len / LOG_ADDED_SIZE, LOG_ADDED_SIZE, by_snapshot) : NULL;
	return at ? at + ID_SIZE : NULL;
}

const uint8_t *repo_log_hash(const struct repo_log *l, const struct id *snapshot)
{
	return hash_of(&l->added, snapshot);
}

/* What an entry says of those before it, and of who wrote it. named_hashes: rows of id and hash. */
static int note_signing(struct repo *r, const struct id *id, const struct log_entry *e, const struct buf *payload, struct repo_log *l, struct buf *named_hashes, struct error *err)
{
	struct id hash;
	struct log_writing w = { .id = *id, .time = e->time, .is_signed = e->is_signed, .fits = signing_entry_fits(r, id, e, payload) };
	seal_chunk_id(r->keys, CHUNK_META, payload->data, payload->len, &hash);
	buf_add(&l->hashes, id->b, ID_SIZE);
	buf_add(&l->hashes, hash.b, ID_SIZE);
	for (size_t at = 0; at < e->hashes.len; at += ID_SIZE) {
		buf_add(named_hashes, e->before.data + at, ID_SIZE);
		buf_add(named_hashes, e->hashes.data + at, ID_SIZE);
	}
	add_all(&l->vouchers, &e->vouchers);
	memcpy(w.key.b, e->signer, ID_SIZE);
	struct log_writing *writings = reallocarray(l->writings, l->writing_count + 1, sizeof *writings);
	if (writings)
		l->writings = writings;
	if (!writings || !(w.host = strdup(e->host)))
		return error_set(err, ERR_NOMEM, "read the log: out of memory");
	l->writings[l->writing_count++] = w;
	for (size_t i = 0; i < e->signers.count; i++)
		if (signing_introduction_fits(r, &e->signers.items[i]) && log_signers_add(&l->signers, &e->signers.items[i]) < 0)
			return error_set(err, ERR_NOMEM, "read the log: out of memory");
	return 0;
}

/* An entry under the id of another can only come from who holds a master key. */
static void find_changed(struct repo_log *l, const struct buf *named_hashes)
{
	for (size_t at = 0; at < named_hashes->len; at += LOG_ADDED_SIZE) {
		struct id id;
		memcpy(id.b, named_hashes->data + at, ID_SIZE);
		const uint8_t *hash = hash_of(&l->hashes, &id);
		if (hash && memcmp(hash, named_hashes->data + at + ID_SIZE, ID_SIZE) != 0)
			buf_add(&l->changed, id.b, ID_SIZE);
	}
	ids_order(&l->changed);
}

/* One that cannot be read counts as damaged; one that vanishes meanwhile was gathered into another. */
static int read_entry(struct repo *r, const struct id *id, struct repo_log *l, struct buf *named, struct buf *named_hashes, struct error *err)
{
	CLEAN(log_entry_done) struct log_entry e = { 0 };
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct error why = { 0 };
	char key[OBJECT_KEY_MAX];
	object_key(SEAL_LOG, id, key);
	struct seal_by by;
	if (repo_read_object(r, SEAL_LOG, id, ENTRY_BYTES_MAX, NULL, &by, &bytes, &why) < 0 || log_entry_decode(&e, bytes.data, bytes.len, &why) < 0) {
		if (why.kind == ERR_NOMEM)
			return error_set(err, ERR_NOMEM, "read the log: out of memory");
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		l->damaged++;
		error_keep_first(&l->first_error, &why);
		buf_add(&l->entries, id->b, ID_SIZE); /* it is there: what names it misses nothing */
		return 0;
	}
	buf_add(&l->entries, id->b, ID_SIZE);
	add_all(named, &e.before);
	add_all(&l->replaced, &e.replaced);
	add_all(&l->added, &e.added);
	add_all(&l->forgotten, &e.forgotten);
	return note_signing(r, id, &e, &bytes, l, named_hashes, err);
}

static int read_all(struct repo *r, struct repo_log *l, struct buf *named, struct error *err)
{
	CLEAN_BUF struct buf named_hashes = BUF_INIT;
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (ids_list(r->store, object_prefix(SEAL_LOG), &ids, err) < 0)
		return -1;
	if (ids.len / ID_SIZE > ENTRIES_MAX)
		return error_set(err, ERR_CORRUPT, "the log has %zu entries, more than %u", ids.len / ID_SIZE, ENTRIES_MAX);
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (read_entry(r, &id, l, named, &named_hashes, err) < 0)
			return -1;
	}
	order_rows(&l->hashes, LOG_ADDED_SIZE, by_snapshot);
	order_rows(&l->vouchers, LOG_VOUCHER_SIZE, by_voucher);
	order_signers(&l->signers);
	find_changed(l, &named_hashes);
	return buf_ok(&named_hashes) && buf_ok(&l->hashes) && buf_ok(&l->vouchers) && buf_ok(&l->changed) ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

int repo_log_read(struct repo *r, struct repo_log *ret, struct error *err)
{
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	CLEAN_BUF struct buf named = BUF_INIT, known = BUF_INIT, gone = BUF_INIT;
	if (read_all(r, &l, &named, err) < 0)
		return error_add(err, "read the log");
	ids_order(&l.entries);
	ids_order(&l.replaced);
	ids_order(&l.forgotten);
	ids_order(&named);
	order_added(&l.added);
	/* What a gathering entry stands for is below it. */
	add_all(&known, &named);
	add_all(&known, &l.replaced);
	ids_order(&known);
	add_without(&l.heads, &l.entries, &known);
	add_without(&gone, &named, &l.entries);
	add_without(&l.missing, &gone, &l.replaced);
	add_without(&gone, &l.entries, &l.replaced);
	CLEAN_BUF struct buf live = BUF_INIT;
	add_without(&live, &l.entries, &l.replaced);
	l.live = live.len / ID_SIZE;
	if (!buf_ok(&l.entries) || !buf_ok(&l.replaced) || !buf_ok(&l.forgotten) || !buf_ok(&l.added) || !buf_ok(&l.heads) || !buf_ok(&l.missing) || !buf_ok(&named) ||
	    !buf_ok(&known) || !buf_ok(&live))
		return error_set(err, ERR_NOMEM, "read the log: out of memory");
	*ret = l;
	l = (struct repo_log){ 0 };
	return 0;
}

/* --- writing ------------------------------------------------------------------------- */

/* by: who made it; NULL: it was only found. */
static void add_snapshot(struct repo *r, const struct id *id, const void *payload, size_t len, const struct seal_signer *by, struct log_entry *e)
{
	struct id hash;
	seal_chunk_id(r->keys, CHUNK_META, payload, len, &hash);
	buf_add(&e->added, id->b, ID_SIZE);
	buf_add(&e->added, hash.b, ID_SIZE);
	if (by)
		signing_vouch(r, by, id, &hash, &e->vouchers);
}

/* Snapshots that are there and that the log does not know, but for one that the caller adds (or NULL). One that cannot be read is left to check. */
static int add_unlogged(struct repo *r, const struct repo_log *l, const struct id *but, struct log_entry *e, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT, payload = BUF_INIT;
	if (ids_list(r->store, object_prefix(SEAL_SNAPSHOT), &ids, err) < 0)
		return -1;
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (but && id_equal(but, &id))
			continue;
		if (!repo_log_hash(l, &id) && !ids_have(&l->forgotten, &id) && object_read(r->store, r->keys, SEAL_SNAPSHOT, &id, SNAPSHOT_BYTES_MAX, NULL, &payload, NULL) == 0)
			add_snapshot(r, &id, payload.data, payload.len, NULL, e);
	}
	return 0;
}

/* The entry stands for all that are there: their snapshots, and for ever what was forgotten (another machine may gather at the same moment). */
static int gather(const struct repo_log *l, struct log_entry *e)
{
	for (size_t at = 0; at < l->vouchers.len; at += LOG_VOUCHER_SIZE) {
		struct id id;
		memcpy(id.b, l->vouchers.data + at, ID_SIZE);
		if (repo_log_hash(l, &id) && !ids_have(&l->forgotten, &id))
			buf_add(&e->vouchers, l->vouchers.data + at, LOG_VOUCHER_SIZE);
	}
	for (size_t i = 0; i < l->signers.count; i++)
		if (log_signers_add(&e->signers, &l->signers.items[i]) < 0)
			return -1;
	for (size_t at = 0; at < l->added.len; at += LOG_ADDED_SIZE) {
		struct id id;
		memcpy(id.b, l->added.data + at, ID_SIZE);
		if (!ids_have(&l->forgotten, &id))
			buf_add(&e->added, l->added.data + at, LOG_ADDED_SIZE);
	}
	add_all(&e->forgotten, &l->forgotten);
	add_all(&e->replaced, &l->entries);
	return 0;
}

/* A key is introduced by its first entry. */
static int introduce(struct repo *r, const struct repo_log *l, const struct seal_signer *by, struct log_entry *e, struct error *err)
{
	struct log_signer own;
	if (signing_introduce(r, by, &own, err) < 0)
		return -1;
	for (size_t i = 0; i < l->signers.count; i++)
		if (by_key(&own, &l->signers.items[i]) == 0)
			return 0;
	return log_signers_add(&e->signers, &own) < 0 ? error_set(err, ERR_NOMEM, "write the log: out of memory") : 0;
}

/* Hashes of those before, where all can be had: an entry that could not be read has none. */
static void chain(const struct repo_log *l, struct log_entry *e)
{
	for (size_t at = 0; at < e->before.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, e->before.data + at, ID_SIZE);
		const uint8_t *hash = hash_of(&l->hashes, &id);
		if (!hash) {
			buf_clear(&e->hashes);
			return;
		}
		buf_add(&e->hashes, hash, ID_SIZE);
	}
}

/* *ret_hash: of its payload. */
static int write_entry(struct repo *r, const struct id *session, const struct seal_signer *by, struct log_entry *e, struct id *ret, struct id *ret_hash, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	order_added(&e->added);
	order_rows(&e->vouchers, LOG_VOUCHER_SIZE, by_voucher);
	order_signers(&e->signers);
	ids_order(&e->forgotten);
	ids_order(&e->replaced);
	seal_random(ret->b, ID_SIZE);
	log_entry_encode(&bytes, e);
	if (by && buf_ok(&bytes)) {
		if (signing_sign_entry(r, by, ret, &bytes, e, err) < 0)
			return -1;
		buf_clear(&bytes);
		log_entry_encode(&bytes, e);
	}
	if (!buf_ok(&bytes) || !buf_ok(&e->added) || !buf_ok(&e->forgotten) || !buf_ok(&e->replaced) || !buf_ok(&e->before) || !buf_ok(&e->hashes) || !buf_ok(&e->vouchers))
		return error_set(err, ERR_NOMEM, "write the log: out of memory");
	seal_chunk_id(r->keys, CHUNK_META, bytes.data, bytes.len, ret_hash);
	return object_write(r->store, r->keys, SEAL_LOG, ret, session, bytes.data, bytes.len, err) < 0 ? error_add(err, "write the log") : 0;
}

/* What was gathered is not wanted any more. Where the store refuses to delete, it stays and counts as replaced. */
static void drop_gathered(struct repo *r, const struct repo_log *l)
{
	for (size_t at = 0; at < l->entries.len; at += ID_SIZE) {
		struct id id;
		char key[OBJECT_KEY_MAX];
		memcpy(id.b, l->entries.data + at, ID_SIZE);
		object_key(SEAL_LOG, &id, key);
		if (r->store->ops->remove(r->store, key, NULL) < 0)
			return;
	}
}

/* The log with the entry. */
static int follow(struct repo_log *l, const struct log_entry *e, const struct id *id, const struct id *hash, bool gathered, struct error *err)
{
	buf_add(&l->hashes, id->b, ID_SIZE);
	buf_add(&l->hashes, hash->b, ID_SIZE);
	order_rows(&l->hashes, LOG_ADDED_SIZE, by_snapshot);
	add_all(&l->vouchers, &e->vouchers);
	order_rows(&l->vouchers, LOG_VOUCHER_SIZE, by_voucher);
	for (size_t i = 0; i < e->signers.count; i++)
		if (log_signers_add(&l->signers, &e->signers.items[i]) < 0)
			return error_set(err, ERR_NOMEM, "write the log: out of memory");
	order_signers(&l->signers);
	buf_add(&l->entries, id->b, ID_SIZE);
	buf_clear(&l->heads);
	buf_add(&l->heads, id->b, ID_SIZE);
	add_all(&l->replaced, &e->replaced);
	add_all(&l->added, &e->added);
	add_all(&l->forgotten, &e->forgotten);
	ids_order(&l->entries);
	ids_order(&l->replaced);
	ids_order(&l->forgotten);
	order_added(&l->added);
	l->live = gathered ? 1 : l->live + 1;
	return buf_ok(&l->entries) && buf_ok(&l->hashes) && buf_ok(&l->vouchers) && buf_ok(&l->heads) && buf_ok(&l->replaced) && buf_ok(&l->added) && buf_ok(&l->forgotten) ? 0 : error_set(err, ERR_NOMEM, "write the log: out of memory");
}

/* Follows all heads; gathers where it is time. */
static int finish_entry(struct repo *r, const struct id *session, struct repo_log *l, struct log_entry *e, struct error *err)
{
	const struct seal_signer *by = signing_key(r, l);
	struct id id, none, hash;
	char host[256] = "";
	gethostname(host, sizeof host - 1);
	seal_random(none.b, ID_SIZE);
	bool gathers = l->live >= GATHER_AT && !l->damaged && !l->missing.len;
	e->time = time_now();
	e->host = strdup(host);
	if (!e->host)
		return error_set(err, ERR_NOMEM, "write the log: out of memory");
	add_all(&e->before, &l->heads);
	chain(l, e);
	if (gathers && gather(l, e) < 0)
		return error_set(err, ERR_NOMEM, "write the log: out of memory");
	if ((by && introduce(r, l, by, e, err) < 0) || write_entry(r, session ? session : &none, by, e, &id, &hash, err) < 0)
		return -1;
	struct log_memory seen = { 0 };
	if (log_memory_read(r, &seen) == 0 && !log_memory_is_lost(&seen, l))
		log_memory_write(r, id.b, ID_SIZE);
	log_memory_done(&seen);
	if (gathers)
		drop_gathered(r, l);
	return follow(l, e, &id, &hash, gathers, err);
}

int repo_log_append(struct repo *r, const struct id *session, const struct id *snapshot, const struct buf *payload, struct error *err)
{
	CLEAN(log_entry_done) struct log_entry e = { 0 };
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	if (!r->log) {
		if (repo_log_read(r, &l, err) < 0)
			return -1;
		if (!(r->log = malloc(sizeof *r->log)))
			return error_set(err, ERR_NOMEM, "write the log: out of memory");
		*r->log = l;
		l = (struct repo_log){ 0 };
		if (add_unlogged(r, r->log, payload ? snapshot : NULL, &e, err) < 0)
			return error_add(err, "write the log");
	}
	if (payload)
		add_snapshot(r, snapshot, payload->data, payload->len, signing_key(r, r->log), &e);
	else
		buf_add(&e.forgotten, snapshot->b, ID_SIZE);
	return finish_entry(r, session, r->log, &e, err);
}

int repo_log_introduce(struct repo *r, struct error *err)
{
	CLEAN(log_entry_done) struct log_entry e = { 0 };
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	return repo_log_read(r, &l, err) < 0 ? -1 : finish_entry(r, NULL, &l, &e, err);
}

/* --- comparing ------------------------------------------------------------------------ */

void log_findings_done(struct log_findings *f)
{
	repo_log_done(&f->log);
	buf_done(&f->vanished);
	buf_done(&f->returned);
	buf_done(&f->unlogged);
	buf_done(&f->missing);
	buf_done(&f->lost);
	*f = (struct log_findings){ 0 };
}

static int compare(struct repo *r, struct repo_log *l, struct log_findings *f, struct error *err)
{
	CLEAN_BUF struct buf there = BUF_INIT;
	if (repo_log_read(r, l, err) < 0)
		return -1;
	if (ids_list(r->store, object_prefix(SEAL_SNAPSHOT), &there, err) < 0)
		return error_add(err, "compare the log");
	ids_order(&there);
	f->exists = l->entries.len > 0;
	f->damaged = l->damaged;
	f->first_error = l->first_error;
	for (size_t at = 0; at < l->added.len; at += LOG_ADDED_SIZE) {
		struct id id;
		memcpy(id.b, l->added.data + at, ID_SIZE);
		if (!ids_have(&l->forgotten, &id) && !ids_have(&there, &id))
			buf_add(&f->vanished, id.b, ID_SIZE);
	}
	for (size_t at = 0; at < there.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, there.data + at, ID_SIZE);
		if (ids_have(&l->forgotten, &id))
			buf_add(&f->returned, id.b, ID_SIZE);
		else if (!repo_log_hash(l, &id))
			buf_add(&f->unlogged, id.b, ID_SIZE);
	}
	add_all(&f->missing, &l->missing);
	return buf_ok(&f->vanished) && buf_ok(&f->returned) && buf_ok(&f->unlogged) && buf_ok(&f->missing) ? 0 : error_set(err, ERR_NOMEM, "compare the log: out of memory");
}

static void compare_memory(struct repo *r, const struct repo_log *l, struct log_findings *f)
{
	struct log_memory seen = { 0 };
	unsigned epochs;
	seal_masters(r->keys, &epochs);
	if (log_memory_read(r, &seen) == 0) {
		log_memory_lost(&seen, l, &f->lost);
		f->older_keys = seen.epochs > epochs;
		if (!f->lost.len && !f->older_keys && !f->damaged)
			log_memory_write(r, l->heads.data, l->heads.len);
	}
	log_memory_done(&seen);
}

int repo_log_compare(struct repo *r, struct log_findings *ret, struct error *err)
{
	CLEAN(log_findings_done) struct log_findings f = { 0 };
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	if (compare(r, &l, &f, err) < 0)
		return -1;
	if (f.vanished.len || f.missing.len) {
		/* Somebody may be forgetting, or gathering, at this moment: what is listed at two moments need not agree. */
		nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
		log_findings_done(&f);
		repo_log_done(&l);
		if (compare(r, &l, &f, err) < 0)
			return -1;
	}
	compare_memory(r, &l, &f);
	*ret = f;
	ret->log = l;
	l = (struct repo_log){ 0 };
	f = (struct log_findings){ 0 };
	return 0;
}

int repo_log_accept(struct repo *r, struct error *err)
{
	CLEAN(log_findings_done) struct log_findings f = { 0 };
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	CLEAN(log_entry_done) struct log_entry e = { 0 };
	if (compare(r, &l, &f, err) < 0 || add_unlogged(r, &l, NULL, &e, err) < 0)
		return -1;
	add_all(&e.forgotten, &f.vanished);
	add_all(&e.replaced, &f.missing);
	log_memory_forget(r);
	return finish_entry(r, NULL, &l, &e, err);
}
