/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/repo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "repo/block_cache.h"
#include "repo/ids.h"
#include "repo/coders.h"
#include "repo/keys.h"
#include "repo/locks.h"
#include "repo/log.h"
#include "repo/marks.h"
#include "repo/object.h"
#include "repo/signing.h"
#include "store/probe.h"
#include "repo/parity.h"
#include "repo/writers.h"

#define HEADER_KEY "twofold"

/* The algorithms of format version 1: see enum values in docs/FORMAT.md, "Public header". */
static const struct repo_header version_1 = { .version = 1, .hash = 1, .cipher = 1, .compression = 1, .cutting = 1 };

/* Keys may be there: a repository whose making was interrupted has nothing else. So may what an interrupted test of the store left. */
static int any_object(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	if (strncmp(key, "keys/", 5) == 0 || strncmp(key, "probe/", 6) == 0)
		return 0;
	*(bool *)cookie = true;
	return 1;
}

int repo_exists(const char *location, bool *ret_found, struct store **ret_store, struct error *err)
{
	CLEAN(store_cleanup) struct store *store = NULL;
	struct error why = { 0 };
	uint64_t size;
	if (store_open(&store, location, false, &why) < 0) {
		if (why.kind != ERR_NOT_FOUND) {
			if (err)
				*err = why;
			return -1;
		}
		*ret_found = false;
		if (ret_store)
			*ret_store = NULL;
		if (err)
			*err = why;
		return 0;
	}
	if (store->ops->stat(store, HEADER_KEY, ret_found, &size, err) < 0)
		return -1;
	if (ret_store)
		*ret_store = *ret_found ? TAKE(store) : NULL;
	return 0;
}

/* --- making and opening -------------------------------------------------------------- */

/* There is no repository yet, and nothing foreign. */
static int check_new(struct store *store, struct error *err)
{
	const char *location = store->location;
	bool found, taken = false;
	uint64_t size;
	if (store->ops->stat(store, HEADER_KEY, &found, &size, err) < 0)
		return error_add(err, "make repository");
	if (found)
		return error_set(err, ERR_EXISTS, "make repository: there is one already in %s", location);
	if (store->ops->list(store, "", any_object, &taken, err) < 0)
		return error_add(err, "make repository");
	if (taken)
		return error_set(err, ERR_EXISTS, "make repository: %s is not empty; use a folder that is empty or does not exist", location);
	return 0;
}

/* The store is asked for what a repository needs before anything is entrusted to it. */
static int check_store(struct store *store, struct error *err)
{
	struct probe probe;
	if (store_probe(store, 0, &probe, err) < 0)
		return error_add(err, "make repository");
	if (!probe_usable(&probe))
		return error_set(err, probe.first.kind, "make repository: this store cannot hold one: %s", probe.first.text);
	return 0;
}

int repo_init(const char *location, const struct repo_secret *secret, const char *label, const struct repo_lock *lock, struct error *err)
{
	CLEAN(store_cleanup) struct store *store = NULL;
	bool locking = lock && lock->mode;
	if (locking && store_check_locking(location, err) < 0)
		return error_add(err, "make repository");
	if (store_open(&store, location, locking ? STORE_CREATE_LOCKING : STORE_CREATE, err) < 0)
		return error_add(err, "make repository");
	int done = check_new(store, err) < 0 || check_store(store, err) < 0 ? -1 : repo_init_store(store, secret, label, lock, err);
	if (done < 0)
		store_unmake(store);
	return done;
}

static int write_first(struct store *store, const struct repo_header *header, const struct repo_secret *secret, const char *label, struct error *err)
{
	uint8_t master[SEAL_KEY_SIZE], bytes[HEADER_SIZE];
	struct id key;
	seal_random(master, sizeof master);
	repo_header_encode(bytes, header);
	/* The header comes last: what is interrupted before it is no repository. */
	int done = keys_write(store, master, 1, 0, secret, label, &key, err);
	explicit_bzero(master, sizeof master);
	if (done == 0 && header->lock)
		done = locks_verify_first(store, &key, header, err);
	return done < 0 ? -1 : store_write(store, HEADER_KEY, bytes, sizeof bytes, err);
}

int repo_init_store(struct store *store, const struct repo_secret *secret, const char *label, const struct repo_lock *lock, struct error *err)
{
	if (check_new(store, err) < 0)
		return -1;
	struct repo_header header = version_1;
	seal_random(header.repository.b, ID_SIZE);
	if (lock && lock->mode) {
		header.version = 2;
		header.lock = (uint8_t)lock->mode;
		header.lock_seconds = lock->seconds;
	}
	struct store_locks locks = locks_of(&header);
	if (header.lock)
		store_lock_new(store, &locks);
	int done = write_first(store, &header, secret, label, err);
	if (header.lock)
		store_lock_new(store, NULL);
	if (done < 0)
		return error_add(err, "make repository");
	store_reserve(store, true, NULL); /* where it cannot be had, a full store is only harder to collect */
	return 0;
}

static int read_header(struct repo *r, const char *location, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct error why = { 0 };
	if (store_read(r->store, HEADER_KEY, 4096, &bytes, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return error_set(err, ERR_NOT_FOUND, "open repository: %s is not a twofold repository; make one with: twofold init %s", location, location);
		if (err)
			*err = why;
		return error_add(err, "open repository");
	}
	if (repo_header_decode(&r->header, bytes.data, bytes.len, err) < 0)
		return error_add(err, "open repository %s", location);
	return 0;
}

static int name_cache(struct repo *r, const char *root, struct error *err)
{
	char hex[ID_HEX_SIZE];
	if (!root)
		return 0;
	id_to_hex(&r->header.repository, hex);
	if (asprintf(&r->cache, "%s/%s", root, hex) < 0) {
		r->cache = NULL;
		return error_set(err, ERR_NOMEM, "open repository: out of memory");
	}
	return 0;
}

int repo_open(struct repo **ret, const char *location, const struct repo_secret *secret, const char *cache_root, struct error *err)
{
	struct error why = { 0 };
	struct store *store = NULL;
	if (store_open(&store, location, false, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return error_set(err, ERR_NOT_FOUND, "open repository: nothing at %s; make it with: twofold init %s", location, location);
		if (err)
			*err = why;
		return error_add(err, "open repository");
	}
	return repo_open_store(ret, store, secret, cache_root, err);
}

static int unlock(struct repo *r, const struct repo_secret *secret, struct error *err)
{
	uint8_t slots[SEAL_SLOTS_MAX * SEAL_KEY_SIZE];
	unsigned count, first;
	if (secret->write_only)
		return writers_open(r, secret->data, secret->len, err);
	if (keys_unlock(r->store, &r->header.repository, secret, &r->key, slots, &count, &first, err) < 0)
		return -1;
	int opened = seal_keys_open_slots(&r->keys, slots, count, first, &r->header.repository, err);
	explicit_bzero(slots, sizeof slots);
	if (opened == 0)
		writers_find_sessions(r);
	return opened;
}

int repo_open_store(struct repo **ret, struct store *store, const struct repo_secret *secret, const char *cache_root, struct error *err)
{
	CLEAN_REPO struct repo *r = calloc(1, sizeof *r);
	uint8_t cut_key[32];
	if (!r) {
		store_close(store);
		return error_set(err, ERR_NOMEM, "open repository: out of memory");
	}
	r->store = store;
	if (read_header(r, store->location, err) < 0 || unlock(r, secret, err) < 0)
		return -1;
	locks_apply(r);
	seal_cut_key(r->keys, cut_key);
	struct cut_params params = { CUT_MIN, CUT_AVG, CUT_MAX };
	if (cut_new(&r->cutter, &params, cut_key, err) < 0 || coder_pool_new(&r->coders, err) < 0 || name_cache(r, cache_root, err) < 0)
		return -1;
	*ret = TAKE(r);
	return 0;
}

void repo_free(struct repo *r)
{
	if (!r)
		return;
	index_free(r->index);
	coder_pool_free(r->coders);
	block_cache_free(r->blocks);
	if (r->log)
		repo_log_done(r->log);
	free(r->log);
	signing_free(r->signing);
	cut_free(r->cutter);
	seal_keys_free(r->keys);
	store_close(r->store);
	free(r->cache);
	free(r);
}

void repo_cache_blocks(struct repo *r, uint64_t limit)
{
	block_cache_free(TAKE(r->blocks));
	if (limit && r->cache && !seal_is_write_only(r->keys)) /* which reads nothing */
		r->blocks = block_cache_new(r->cache, limit);
}

/* Packs that are in no segment any more were deleted. */
static void tidy_blocks(struct repo *r)
{
	CLEAN_BUF struct buf packs = BUF_INIT;
	struct id state;
	index_fingerprint(r->index, &state);
	if (!block_cache_is_tidy(r->blocks, &state) && index_packs(r->index, &packs, NULL) == 0)
		block_cache_tidy(r->blocks, &state, &packs);
}

/* With a write-only key the cache is all that is known of the index, so nothing of another key may be in it. */
static int index_folder(const struct repo *r, char **ret, struct error *err)
{
	char hex[ID_HEX_SIZE] = "", *folder = NULL;
	if (!r->cache)
		return 0;
	if (seal_is_write_only(r->keys))
		id_to_hex(&r->writer, hex);
	if (asprintf(&folder, "%s/index%s%.16s", r->cache, hex[0] ? "-" : "", hex) < 0)
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	*ret = folder;
	return 0;
}

int repo_load_index(struct repo *r, struct error *err)
{
	if (r->index)
		return 0;
	char *folder = NULL;
	if (index_folder(r, &folder, err) < 0)
		return -1;
	int done = index_open(&r->index, r->store, r->keys, folder, err);
	free(folder);
	if (done == 0 && r->blocks)
		tidy_blocks(r);
	return done;
}

int repo_load_index_anew(struct repo *r, index_damaged_fn fn, void *cookie, struct error *err)
{
	CLEAN_FREE char *folder = NULL;
	index_free(TAKE(r->index));
	/* Cached blocks are known by rows of the index that is gone. */
	coder_pool_free(TAKE(r->coders));
	if (coder_pool_new(&r->coders, err) < 0)
		return -1;
	if (index_folder(r, &folder, err) < 0)
		return -1;
	return index_open_anew(&r->index, r->store, r->keys, folder, fn, cookie, err);
}

/* --- snapshots ------------------------------------------------------------------------- */

#define SNAPSHOT_BYTES_MAX (64u << 20)

static int read_snapshot(struct repo *r, const struct id *id, struct id *ret_hash, struct snapshot *ret, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	char key[OBJECT_KEY_MAX];
	struct id session;
	struct seal_by by;
	struct snapshot snapshot = { 0 };
	object_key(SEAL_SNAPSHOT, id, key);
	if (repo_read_object(r, SEAL_SNAPSHOT, id, SNAPSHOT_BYTES_MAX, &session, &by, &bytes, err) < 0)
		return -1;
	if (snapshot_decode(&snapshot, bytes.data, bytes.len, err) < 0)
		return error_add(err, "%s", key);
	if (!id_equal(&session, &snapshot.session)) {
		snapshot_done(&snapshot);
		return error_set(err, ERR_CORRUPT, "%s: its session does not agree", key);
	}
	snapshot.has_writer = by.how == SEAL_BY_SESSION;
	if (snapshot.has_writer && seal_session_writer(r->keys, &session, &snapshot.writer, err) < 0) {
		snapshot_done(&snapshot);
		return -1;
	}
	seal_chunk_id(r->keys, CHUNK_META, bytes.data, bytes.len, ret_hash);
	*ret = snapshot;
	return 0;
}

int repo_snapshot_read(struct repo *r, const struct id *id, struct snapshot *ret, struct error *err)
{
	struct id hash;
	return read_snapshot(r, id, &hash, ret, err);
}

static int by_time(const void *a, const void *b)
{
	const struct snapshot_entry *x = a, *y = b;
	int c = time_compare(x->snapshot.time, y->snapshot.time);
	return c ? c : id_compare(&x->id, &y->id);
}

void snapshot_list_done(struct snapshot_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		snapshot_done(&l->items[i].snapshot);
	free(l->items);
	*l = (struct snapshot_list){ 0 };
}

int repo_snapshots(struct repo *r, struct snapshot_list *ret, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	CLEAN(marks_done) struct marks marks = MARKS_INIT;
	struct snapshot_list list = { 0 };
	if (ids_list(r->store, object_prefix(SEAL_SNAPSHOT), &ids, err) < 0 || marks_read_fences(&marks, r, err) < 0)
		return error_add(err, "list snapshots");
	list.items = calloc(ids.len / ID_SIZE + 1, sizeof *list.items);
	if (!list.items)
		return error_set(err, ERR_NOMEM, "list snapshots: out of memory");
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct snapshot_entry *entry = &list.items[list.count];
		struct error why = { 0 };
		entry->id = ids_at(&ids, i);
		if (read_snapshot(r, &entry->id, &entry->hash, &entry->snapshot, &why) == 0) {
			if (!marks_is_fenced(&marks, &entry->snapshot.session)) {
				list.count++;
				continue;
			}
			list.unconfirmed++;
			snapshot_done(&entry->snapshot);
			entry->snapshot = (struct snapshot){ 0 };
		}
		else if (why.kind != ERR_NOT_FOUND) { /* not found: it was forgotten meanwhile */
			list.damaged++;
			error_keep_first(&list.first_error, &why);
		}
	}
	qsort(list.items, list.count, sizeof *list.items, by_time);
	*ret = list;
	return 0;
}

static int take_latest(struct repo *r, struct id *ret_id, struct snapshot *ret, struct error *err)
{
	struct snapshot_list list = { 0 };
	if (repo_snapshots(r, &list, err) < 0)
		return -1;
	if (list.damaged) {
		error_set(err, ERR_CORRUPT, "find the latest snapshot: %zu cannot be read (%.300s); name a snapshot by its id", list.damaged, list.first_error.text);
		snapshot_list_done(&list);
		return -1;
	}
	if (!list.count) {
		snapshot_list_done(&list);
		return error_set(err, ERR_NOT_FOUND, "find the latest snapshot: the repository has none yet");
	}
	struct snapshot_entry *last = &list.items[--list.count];
	*ret_id = last->id;
	*ret = last->snapshot;
	snapshot_list_done(&list);
	return 0;
}

int repo_snapshot_resolve(struct repo *r, const char *name, struct id *ret_id, struct error *err)
{
	size_t len = strlen(name);
	if (len < 4 || len > 64 || strspn(name, "0123456789abcdef") != len)
		return error_set(err, ERR_INVALID, "find snapshot '%s': give 'latest', an id, or at least its first 4 digits", name);
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (ids_list(r->store, object_prefix(SEAL_SNAPSHOT), &ids, err) < 0)
		return error_add(err, "find snapshot");
	size_t matches = 0;
	struct id match = { 0 };
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct id id = ids_at(&ids, i);
		char hex[ID_HEX_SIZE];
		id_to_hex(&id, hex);
		if (strncmp(hex, name, len) == 0) {
			match = id;
			matches++;
		}
	}
	if (matches == 0)
		return error_set(err, ERR_NOT_FOUND, "find snapshot '%s': there is none; see: twofold snapshots", name);
	if (matches > 1)
		return error_set(err, ERR_INVALID, "find snapshot '%s': %zu begin so, give more digits", name, matches);
	*ret_id = match;
	return 0;
}

int repo_snapshot_find(struct repo *r, const char *name, struct id *ret_id, struct snapshot *ret, struct error *err)
{
	CLEAN(marks_done) struct marks marks = MARKS_INIT;
	CLEAN(snapshot_done) struct snapshot found = { 0 };
	struct id id;
	if (strcmp(name, "latest") == 0)
		return take_latest(r, ret_id, ret, err);
	if (repo_snapshot_resolve(r, name, &id, err) < 0 || repo_snapshot_read(r, &id, &found, err) < 0 || marks_read_fences(&marks, r, err) < 0)
		return -1;
	if (marks_is_fenced(&marks, &found.session))
		return error_set(err, ERR_BUSY, "find snapshot '%s': its backup was given up before it had finished, so it may lack something; run twofold prune, which makes sure of it", name);
	*ret = found;
	found = (struct snapshot){ 0 };
	*ret_id = id;
	return 0;
}

/* A full store must still let go of snapshots: the entry then takes the room that was set aside for that. *ret_reserve: it is to be set aside again. */
static int log_forgetting(struct repo *r, const struct id *id, bool *ret_reserve, struct error *err)
{
	struct error why = { 0 };
	if (repo_log_append(r, NULL, id, NULL, &why) == 0)
		return 0;
	*ret_reserve = why.sys == ENOSPC || why.sys == EDQUOT;
	if (*ret_reserve && store_reserve(r->store, false, NULL) == 0 && repo_log_append(r, NULL, id, NULL, &why) == 0)
		return 0;
	if (err)
		*err = why;
	return error_add(err, "forget a snapshot");
}

/* A snapshot is removed, not hidden: what is needed for it must not be taken for garbage while the store keeps it for a reason. */
static int refuse_locked(struct repo *r, const char *key, struct error *err)
{
	int64_t until, now;
	char text[64] = "a date far away";
	if (store_locked_until(r->store, key, &until, &now, err) < 0)
		return error_add(err, "forget a snapshot");
	if (until <= now)
		return 0;
	time_t at = (time_t)until;
	struct tm tm;
	if (gmtime_r(&at, &tm))
		strftime(text, sizeof text, "%F %H:%M UTC", &tm);
	return error_set(err, ERR_PROTECTED, "forget a snapshot: the bucket's Object Lock protects it until %s; forget it then", text);
}

int repo_snapshot_forget(struct repo *r, const struct id *id, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	object_key(SEAL_SNAPSHOT, id, key);
	return refuse_locked(r, key, err) < 0 ? -1 : repo_snapshot_drop(r, id, err);
}

int repo_snapshot_drop(struct repo *r, const struct id *id, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	bool found;
	uint64_t size;
	struct error why = { 0 };
	object_key(SEAL_SNAPSHOT, id, key);
	if (r->store->ops->stat(r->store, key, &found, &size, err) < 0)
		return error_add(err, "forget a snapshot");
	if (!found)
		return error_set(err, ERR_NOT_FOUND, "forget a snapshot: %s is gone already", key);
	/* The log first: what is interrupted in between can be forgotten again, while a snapshot that is gone without a word would look like theft. */
	bool reserve = false;
	int logged = log_forgetting(r, id, &reserve, err);
	bool removed = logged == 0 && r->store->ops->remove(r->store, key, &why) == 0;
	if (reserve)
		store_reserve(r->store, true, NULL);
	if (logged < 0 || removed)
		return logged;
	if (why.kind != ERR_AUTH && why.sys != EROFS)
		return error_set(err, why.kind, "forget a snapshot: %s", why.text);
	return error_set(err, why.kind, "forget a snapshot: %.400s; the repository can only be added to from here: forget from where deleting is allowed", why.text);
}
