/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/locks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "repo/format/parity.h"
#include "repo/object.h"
#include "task/pool.h"

#define THREADS 8u      /* they wait for the store */
#define QUEUE_MAX 64u
#define SKIPPED_MAX 1000000u

static uint64_t spare_seconds(const struct repo_header *h)
{
	return h->lock_seconds / 4;
}

static uint64_t shared_seconds(const struct repo_header *h)
{
	return h->lock_seconds + spare_seconds(h);
}

/* What is short-lived (sessions, tombstones), or only kept to be on the safe side (aside/), is not locked. */
static uint64_t seconds_of(const void *cookie, const char *key)
{
	const struct repo_header *h = cookie;
	if (strncmp(key, object_prefix(SEAL_SNAPSHOT), strlen(object_prefix(SEAL_SNAPSHOT))) == 0)
		return h->lock_seconds;
	return parity_covers(key) || strncmp(key, "parity/", 7) == 0 ? shared_seconds(h) : 0;
}

struct store_locks locks_of(const struct repo_header *header)
{
	return (struct store_locks){ .mode = (enum store_lock_mode)header->lock, .seconds = seconds_of, .cookie = header };
}

void locks_apply(struct repo *r)
{
	if (!r->header.lock)
		return;
	r->locks = locks_of(&r->header);
	store_lock_new(r->store, &r->locks);
}

int locks_verify_first(struct store *store, const struct id *key, const struct repo_header *header, struct error *err)
{
	char hex[ID_HEX_SIZE], path[OBJECT_KEY_MAX];
	int64_t until, now;
	id_to_hex(key, hex);
	snprintf(path, sizeof path, "keys/%s", hex);
	if (store_locked_until(store, path, &until, &now, err) < 0)
		return -1;
	if (until >= now + (int64_t)(header->lock_seconds / 2))
		return 0;
	store->ops->remove(store, path, NULL);
	return error_set(err, ERR_UNSUPPORTED, "%s: the store took an object that should be locked, and did not lock it%s; make it without --lock-for, or in a bucket with Object Lock", store->location,
	                 until ? " for as long" : "");
}

/* --- what this machine remembers ----------------------------------------------------------- */

/* One line "twofold-locked-1 LOCK SECONDS RENEWED", then one line of 64 digits for each pack that was left out. */
#define MARK "twofold-locked-1"

struct memory {
	unsigned lock;
	unsigned long seconds;
	long long renewed;   /* by the store's clock; 0: nothing is remembered */
	struct buf skipped;  /* packs, ordered */
};

static void memory_done(struct memory *m)
{
	buf_done(&m->skipped);
	*m = (struct memory){ .skipped = BUF_INIT };
}

static bool parse(FILE *f, struct memory *m)
{
	char line[128];
	if (!fgets(line, sizeof line, f) || strncmp(line, MARK " ", sizeof MARK) != 0)
		return false;
	char *at = line + sizeof MARK;
	m->lock = (unsigned)strtoul(at, &at, 10);
	m->seconds = strtoul(at, &at, 10);
	m->renewed = strtoll(at, &at, 10);
	if (*at != '\n')
		return false;
	while (fgets(line, sizeof line, f)) {
		struct id id;
		line[strcspn(line, "\n")] = 0;
		if (!id_from_hex(line, &id) || m->skipped.len / ID_SIZE >= SKIPPED_MAX)
			return false;
		buf_add(&m->skipped, id.b, ID_SIZE);
	}
	ids_order(&m->skipped);
	return buf_ok(&m->skipped);
}

/* A file that makes no sense counts as none. */
static void remember(const struct repo *r, struct memory *ret)
{
	char path[4096];
	memory_done(ret);
	if (!r->cache || snprintf(path, sizeof path, "%s/locked", r->cache) >= (int)sizeof path)
		return;
	CLEAN_FILE FILE *f = fopen(path, "re");
	if (f && !parse(f, ret))
		memory_done(ret);
}

/* What fails costs renewing again. */
static void write_memory(const struct repo *r, const struct memory *m)
{
	char path[4096], temporary[4096];
	if (!r->cache || snprintf(path, sizeof path, "%s/locked", r->cache) >= (int)sizeof path ||
	    snprintf(temporary, sizeof temporary, "%s/locked.%ld", r->cache, (long)getpid()) >= (int)sizeof temporary)
		return;
	mkdir(r->cache, 0700);
	FILE *f = fopen(temporary, "we");
	if (!f)
		return;
	fprintf(f, MARK " %u %lu %lld\n", m->lock, m->seconds, m->renewed);
	for (size_t at = 0; at < m->skipped.len; at += ID_SIZE) {
		struct id id;
		char hex[ID_HEX_SIZE];
		memcpy(id.b, m->skipped.data + at, ID_SIZE);
		id_to_hex(&id, hex);
		fprintf(f, "%s\n", hex);
	}
	bool ok = fflush(f) == 0 && !ferror(f);
	if (fclose(f) || !ok || rename(temporary, path) < 0)
		unlink(temporary);
}

/* --- renewing --------------------------------------------------------------------------------- */

struct renewal {
	struct repo *repo;
	const struct marks *marks;
	struct buf own;       /* with a write-only key: the packs in its index */
	struct pool *pool;
	struct memory memory; /* to be written */
};

struct extension {
	struct repo *repo;
	char key[OBJECT_KEY_MAX];
};

static int extend(const struct task_context *ctx, void *arg, struct error *err)
{
	struct extension *e = arg;
	bool found;
	int done = 0;
	if (!ctx->cancelled)
		done = store_extend_lock(e->repo->store, e->key, shared_seconds(&e->repo->header), &found, err); /* one that is gone needs none */
	free(e);
	return done;
}

static int submit(struct renewal *w, const char *key)
{
	struct error why = { 0 };
	struct extension *e = malloc(sizeof *e);
	if (!e) {
		error_set(&why, ERR_NOMEM, "out of memory");
		pool_cancel(w->pool, &why);
		return 1;
	}
	e->repo = w->repo;
	snprintf(e->key, sizeof e->key, "%s", key);
	pool_submit(w->pool, POOL_CONTENT, THREADS, extend, e);
	return 0;
}

/* What nobody will rely on loses its lock in time, so that it can be deleted. */
static bool is_left_out(struct renewal *w, const struct id *pack)
{
	if (seal_is_write_only(w->repo->keys))
		return !ids_have(&w->own, pack);
	if (!ids_have(&w->marks->packs, pack))
		return false;
	buf_add(&w->memory.skipped, pack->b, ID_SIZE);
	return true;
}

static bool is_stopped(const struct store *s)
{
	return s->watch && s->watch->stop && atomic_load_explicit(s->watch->stop, memory_order_relaxed);
}

static int see(void *cookie, const char *key, uint64_t size)
{
	struct renewal *w = cookie;
	struct error why = { 0 };
	struct id pack;
	(void)size;
	if (is_stopped(w->repo->store)) {
		error_set(&why, ERR_CANCELLED, "interrupted");
		pool_cancel(w->pool, &why);
	}
	if (pool_cancelled(w->pool))
		return 1;
	/* A snapshot's lock is its own: otherwise it could never be forgotten. */
	if (seconds_of(&w->repo->header, key) != shared_seconds(&w->repo->header) || strncmp(key, "snapshots/", 10) == 0)
		return 0;
	if (strncmp(key, "packs/", 6) == 0 && object_id_of_key(key, &pack) && is_left_out(w, &pack))
		return 0;
	return submit(w, key);
}

static int renew_all(struct renewal *w, struct error *err)
{
	int listed = w->repo->store->ops->list(w->repo->store, "", see, w, err);
	struct error why = { 0 };
	if (pool_wait(w->pool, &why) < 0) {
		if (err)
			*err = why;
		return -1;
	}
	return listed < 0 ? -1 : 0;
}

/* Packs that were about to go at the last renewal, and are no more: the collector has changed its mind. */
static int renew_spared(struct renewal *w, const struct memory *before, struct error *err)
{
	for (size_t at = 0; at < before->skipped.len; at += ID_SIZE) {
		struct id pack;
		char key[OBJECT_KEY_MAX];
		memcpy(pack.b, before->skipped.data + at, ID_SIZE);
		if (is_left_out(w, &pack))
			continue;
		object_key(SEAL_PACK_DATA, &pack, key);
		if (submit(w, key))
			break;
	}
	return pool_wait(w->pool, err);
}

static void renewal_done(struct renewal *w)
{
	pool_free(w->pool);
	buf_done(&w->own);
	memory_done(&w->memory);
}

static int store_time(struct store *store, int64_t *ret, struct error *err)
{
	struct store_facts facts;
	if (store_facts(store, &facts, err) < 0)
		return -1;
	*ret = (int64_t)time(NULL) + (facts.has_clock ? facts.clock_ahead / 1000 : 0);
	return 0;
}

/* Anybody who can write to the store can write another header; then backups would go on without the protection that they are thought to have. */
static int compare_lock(const struct repo *r, const struct memory *m, struct error *err)
{
	if (!m->renewed || (m->lock == r->header.lock && m->seconds == r->header.lock_seconds))
		return 0;
	return error_set(err, ERR_CORRUPT, "the repository's header asks for another lock (%u s) than this machine knows (%lu s): somebody changed it in the storage; see docs/SECURITY.md, and remove %s/locked if it is right",
	                 (unsigned)r->header.lock_seconds, m->seconds, r->cache);
}

static int renew(struct repo *r, const struct marks *marks, const struct memory *before, bool all, int64_t now, struct error *err)
{
	CLEAN(renewal_done) struct renewal w = { .repo = r, .marks = marks, .own = BUF_INIT, .memory = { r->header.lock, r->header.lock_seconds, all ? now : before->renewed, BUF_INIT } };
	const unsigned limits[POOL_LANES] = { [POOL_CONTENT] = QUEUE_MAX };
	if (seal_is_write_only(r->keys) && index_packs(r->index, &w.own, err) < 0)
		return -1;
	ids_order(&w.own);
	if (pool_new(&w.pool, THREADS, 1, limits, err) < 0 || (all ? renew_all(&w, err) : renew_spared(&w, before, err)) < 0)
		return error_add(err, "renew the locks of what earlier backups stored");
	if (!buf_ok(&w.memory.skipped))
		return error_set(err, ERR_NOMEM, "out of memory");
	/* Nothing stored before is relied on, and what will be later is not known. */
	if (!marks->unread_tombstones)
		write_memory(r, &w.memory);
	return 0;
}

int locks_renew(struct repo *r, const struct marks *marks, enum locks_due due, struct error *err)
{
	CLEAN(memory_done) struct memory before = { .skipped = BUF_INIT };
	int64_t now;
	remember(r, &before);
	if (compare_lock(r, &before, err) < 0)
		return -1;
	if (!r->header.lock)
		return 0;
	if (!store_can_lock(r->store))
		return error_set(err, ERR_UNSUPPORTED, "this repository locks what it stores, and objects in %s cannot be locked; use a bucket with Object Lock, or copy the snapshots into another repository (twofold copy)",
		                 r->store->location);
	if (store_time(r->store, &now, err) < 0)
		return -1;
	int64_t spare = (int64_t)spare_seconds(&r->header), age = now - before.renewed;
	bool all = !before.renewed || age < 0 || age > (due == LOCKS_EARLY ? spare / 2 : spare - spare / 8);
	if (!all && !before.skipped.len)
		return 0;
	return renew(r, marks, &before, all, now, err);
}

int locks_extend_pack(struct repo *r, const struct id *pack, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	bool found;
	if (!r->header.lock || !store_can_lock(r->store))
		return 0;
	object_key(SEAL_PACK_DATA, pack, key);
	return store_extend_lock(r->store, key, shared_seconds(&r->header), &found, err);
}
