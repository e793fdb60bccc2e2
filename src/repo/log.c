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
	*l = (struct repo_log){ 0 };
}

static int by_snapshot(const void *a, const void *b)
{
	return memcmp(a, b, ID_SIZE);
}

/* Ascending, each snapshot once. */
static void order_added(struct buf *added)
{
	size_t kept = 0;
	if (added->len)
		qsort(added->data, added->len / LOG_ADDED_SIZE, LOG_ADDED_SIZE, by_snapshot);
	for (size_t at = 0; at < added->len; at += LOG_ADDED_SIZE) {
		if (kept && memcmp(added->data + kept - LOG_ADDED_SIZE, added->data + at, ID_SIZE) == 0)
			continue;
		memmove(added->data + kept, added->data + at, LOG_ADDED_SIZE);
		kept += LOG_ADDED_SIZE;
	}
	added->len = kept;
}

const uint8_t *repo_log_hash(const struct repo_log *l, const struct id *snapshot)
{
	const uint8_t *at = l->added.len ? bsearch(snapshot->b, l->added.data, l->added.len / LOG_ADDED_SIZE, LOG_ADDED_SIZE, by_snapshot) : NULL;
	return at ? at + ID_SIZE : NULL;
}

/* One that cannot be read counts as damaged; one that vanishes meanwhile was gathered into another. */
static int read_entry(struct repo *r, const struct id *id, struct repo_log *l, struct buf *named, struct error *err)
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
	return 0;
}

static int read_all(struct repo *r, struct repo_log *l, struct buf *named, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (ids_list(r->store, object_prefix(SEAL_LOG), &ids, err) < 0)
		return -1;
	if (ids.len / ID_SIZE > ENTRIES_MAX)
		return error_set(err, ERR_CORRUPT, "the log has %zu entries, more than %u", ids.len / ID_SIZE, ENTRIES_MAX);
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (read_entry(r, &id, l, named, err) < 0)
			return -1;
	}
	return 0;
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

static void add_snapshot(struct repo *r, const struct id *id, const void *payload, size_t len, struct log_entry *e)
{
	struct id hash;
	seal_chunk_id(r->keys, CHUNK_META, payload, len, &hash);
	buf_add(&e->added, id->b, ID_SIZE);
	buf_add(&e->added, hash.b, ID_SIZE);
}

/* Snapshots that are there and that the log does not know. One that cannot be read is left to check. */
static int add_unlogged(struct repo *r, const struct repo_log *l, struct log_entry *e, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT, payload = BUF_INIT;
	if (ids_list(r->store, object_prefix(SEAL_SNAPSHOT), &ids, err) < 0)
		return -1;
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (!repo_log_hash(l, &id) && !ids_have(&l->forgotten, &id) && object_read(r->store, r->keys, SEAL_SNAPSHOT, &id, SNAPSHOT_BYTES_MAX, NULL, &payload, NULL) == 0)
			add_snapshot(r, &id, payload.data, payload.len, e);
	}
	return 0;
}

/* The entry stands for all that are there: their snapshots, and for ever what was forgotten (another machine may gather at the same moment). */
static void gather(const struct repo_log *l, struct log_entry *e)
{
	for (size_t at = 0; at < l->added.len; at += LOG_ADDED_SIZE) {
		struct id id;
		memcpy(id.b, l->added.data + at, ID_SIZE);
		if (!ids_have(&l->forgotten, &id))
			buf_add(&e->added, l->added.data + at, LOG_ADDED_SIZE);
	}
	add_all(&e->forgotten, &l->forgotten);
	add_all(&e->replaced, &l->entries);
}

static int write_entry(struct repo *r, const struct id *session, struct log_entry *e, struct id *ret, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	order_added(&e->added);
	ids_order(&e->forgotten);
	ids_order(&e->replaced);
	log_entry_encode(&bytes, e);
	if (!buf_ok(&bytes) || !buf_ok(&e->added) || !buf_ok(&e->forgotten) || !buf_ok(&e->replaced) || !buf_ok(&e->before))
		return error_set(err, ERR_NOMEM, "write the log: out of memory");
	seal_random(ret->b, ID_SIZE);
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
static int follow(struct repo_log *l, const struct log_entry *e, const struct id *id, bool gathered, struct error *err)
{
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
	return buf_ok(&l->entries) && buf_ok(&l->heads) && buf_ok(&l->replaced) && buf_ok(&l->added) && buf_ok(&l->forgotten) ? 0 : error_set(err, ERR_NOMEM, "write the log: out of memory");
}

/* Follows all heads; gathers where it is time. */
static int finish_entry(struct repo *r, const struct id *session, struct repo_log *l, struct log_entry *e, struct error *err)
{
	struct id id, none;
	char host[256] = "";
	gethostname(host, sizeof host - 1);
	seal_random(none.b, ID_SIZE);
	bool gathers = l->live >= GATHER_AT && !l->damaged && !l->missing.len;
	e->time = time_now();
	e->host = strdup(host);
	if (!e->host)
		return error_set(err, ERR_NOMEM, "write the log: out of memory");
	add_all(&e->before, &l->heads);
	if (gathers)
		gather(l, e);
	if (write_entry(r, session ? session : &none, e, &id, err) < 0)
		return -1;
	struct log_memory seen = { 0 };
	if (log_memory_read(r, &seen) == 0 && !log_memory_is_lost(&seen, l))
		log_memory_write(r, id.b, ID_SIZE);
	log_memory_done(&seen);
	if (gathers)
		drop_gathered(r, l);
	return follow(l, e, &id, gathers, err);
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
		if (add_unlogged(r, r->log, &e, err) < 0)
			return error_add(err, "write the log");
	}
	if (payload)
		add_snapshot(r, snapshot, payload->data, payload->len, &e);
	else
		buf_add(&e.forgotten, snapshot->b, ID_SIZE);
	return finish_entry(r, session, r->log, &e, err);
}

/* --- comparing ------------------------------------------------------------------------ */

void log_findings_done(struct log_findings *f)
{
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
	f = (struct log_findings){ 0 };
	return 0;
}

int repo_log_accept(struct repo *r, struct error *err)
{
	CLEAN(log_findings_done) struct log_findings f = { 0 };
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	CLEAN(log_entry_done) struct log_entry e = { 0 };
	if (compare(r, &l, &f, err) < 0 || add_unlogged(r, &l, &e, err) < 0)
		return -1;
	add_all(&e.forgotten, &f.vanished);
	add_all(&e.replaced, &f.missing);
	log_memory_forget(r);
	return finish_entry(r, NULL, &l, &e, err);
}
