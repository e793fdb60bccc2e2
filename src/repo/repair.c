/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/repair.h"

#include <stdio.h>
#include <stdlib.h>

#include "repo/coders.h"
#include "repo/repair_internal.h"
#include "repo/sessions.h"

int repair_stopped(const struct repair *p, struct error *err)
{
	return progress_stopped(p->options->progress) ? error_set(err, ERR_CANCELLED, "interrupted; what was healed stays so, run the repair again to go on") : 0;
}

bool repair_may_give_up(const struct patient *t)
{
	return t->why.kind != ERR_UNSUPPORTED && t->why.kind != ERR_AUTH;
}

bool repo_same_chunks(const struct repo *a, const struct repo *b)
{
	for (enum chunk_class class = CHUNK_DATA; class <= CHUNK_META; class++) {
		struct id x, y;
		seal_chunk_id(a->keys, class, "twofold", 7, &x);
		seal_chunk_id(b->keys, class, "twofold", 7, &y);
		if (!id_equal(&x, &y))
			return false;
	}
	return true;
}

/* --- the way in ---------------------------------------------------------------------------- */

/* The object's bytes as they are and as parity has them: differing, and the healed ones make sense? */
static bool entrance_is_ill(struct store *store, struct store *healing, const char *name, uint64_t *ret_size)
{
	CLEAN_BUF struct buf now = BUF_INIT, healed = BUF_INIT;
	bool found;
	if (healing->ops->stat(healing, name, &found, ret_size, NULL) < 0 || !found || store_read(healing, name, 64u << 10, &healed, NULL) < 0)
		return false;
	if (object_verify(healing, NULL, name, *ret_size, NULL) < 0)
		return false;
	return store_read(store, name, 64u << 10, &now, NULL) < 0 || now.len != healed.len || memcmp(now.data, healed.data, now.len) != 0;
}

static int note_key(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	buf_add(cookie, key, strlen(key) + 1);
	return 0;
}

/* The header, the keys that are there, and where none is there those that parity knows: a key that is gone among others was removed. */
static int name_entrance(struct store *store, const struct parity_set *set, struct buf *names, struct error *err)
{
	buf_add(names, "twofold", sizeof "twofold");
	size_t before = names->len;
	if (store->ops->list(store, "keys/", note_key, names, err) < 0)
		return error_add(err, "list keys");
	for (size_t i = 0; names->len == before && i < set->member_count; i++)
		if (strncmp(set->members[i].name, "keys/", 5) == 0)
			buf_add(names, set->members[i].name, strlen(set->members[i].name) + 1);
	return buf_ok(names) ? 0 : error_set(err, ERR_NOMEM, "repair: out of memory");
}

int repair_entrance(struct store *store, const struct repair_options *options, const struct repair_sink *sink, uint64_t *ret_healed, struct error *err)
{
	CLEAN(parity_set_done) struct parity_set set = { 0 };
	CLEAN_STORE struct store *healing = NULL;
	CLEAN_BUF struct buf names = BUF_INIT;
	uint64_t healed = 0;
	if (parity_load(&set, store, err) < 0 || parity_store_open(&healing, store, &set, err) < 0 || name_entrance(store, &set, &names, err) < 0)
		return -1;
	for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1) {
		const char *name = (const char *)names.data + at;
		uint64_t size;
		size_t count;
		if (!parity_find(&set, name, &count) || !entrance_is_ill(store, healing, name, &size))
			continue;
		if (!options->dry_run && repair_replace(store, healing, name, size, err) < 0)
			return -1;
		sink->healed(sink->cookie, name, "from parity");
		healed++;
	}
	*ret_healed = healed;
	return 0;
}

/* --- what is damaged ------------------------------------------------------------------------------ */

static int add_patient(struct repair *p, const char *name, uint64_t size, bool missing, const struct error *why, struct error *err)
{
	struct patient *grown = realloc(p->patients, (p->patient_count + 1) * sizeof *grown);
	char *copy = strdup(name);
	if (grown)
		p->patients = grown;
	if (!grown || !copy) {
		free(copy);
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	}
	p->patients[p->patient_count++] = (struct patient){ .name = copy, .size = size, .missing = missing, .why = *why };
	p->report.damaged += !missing;
	p->report.missing += missing;
	return 0;
}

struct listed_object {
	char name[OBJECT_KEY_MAX];
	uint64_t size;
};

#define SNAPSHOT_OBJECT_MAX (80u << 20)

static int note_object(void *cookie, const char *key, uint64_t size)
{
	struct listed_object o = { .size = size };
	if (!parity_covers(key))
		return 0;
	snprintf(o.name, sizeof o.name, "%s", key);
	buf_add(cookie, &o, sizeof o);
	return 0;
}

static int examine(struct repair *p, const struct listed_object *o, struct error *err)
{
	struct error why = { 0 };
	struct id id;
	if (strncmp(o->name, "packs/", 6) == 0 && object_id_of_key(o->name, &id))
		buf_add(&p->listed_packs, id.b, ID_SIZE);
	progress_current(p->options->progress, o->name, strlen(o->name));
	int done = object_verify(p->repo->store, p->repo->keys, o->name, o->size, &why);
	progress_add(p->options->progress, 1, o->size);
	p->report.objects++;
	if (done == 0 || why.kind == ERR_NOT_FOUND) /* removed meanwhile */
		return 0;
	if (why.kind == ERR_NOMEM || why.kind == ERR_CANCELLED) {
		*err = why;
		return -1;
	}
	return add_patient(p, o->name, o->size, false, &why, err);
}

static int ignore_segment(void *cookie, const struct id *segment, const struct error *why)
{
	(void)cookie;
	(void)segment;
	(void)why;
	return 0;
}

/* Every segment as it is in the store now; damaged ones are left out. */
static int load_index(struct repair *p, struct error *err)
{
	struct repo *r = p->repo;
	CLEAN_FREE char *folder = NULL;
	index_free(TAKE(r->index));
	coder_pool_free(TAKE(r->coders)); /* knows blocks by rows of the old index */
	if (coder_pool_new(&r->coders, err) < 0)
		return -1;
	if (r->cache && asprintf(&folder, "%s/index", r->cache) < 0) {
		folder = NULL;
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	}
	return index_open_anew(&r->index, r->store, r->keys, folder, ignore_segment, NULL, err);
}

/* Packs that the index names and the store does not have. */
static int find_missing(struct repair *p, struct error *err)
{
	CLEAN_BUF struct buf named = BUF_INIT;
	struct error why = { 0 };
	error_set(&why, ERR_NOT_FOUND, "it is missing, and the index names it");
	ids_order(&p->listed_packs);
	if (index_packs(p->repo->index, &named, err) < 0)
		return -1;
	for (size_t i = 0; i < named.len / ID_SIZE; i++) {
		struct id id;
		char name[OBJECT_KEY_MAX];
		memcpy(id.b, named.data + i * ID_SIZE, ID_SIZE);
		object_key(SEAL_PACK_DATA, &id, name);
		if (!ids_have(&p->listed_packs, &id) && add_patient(p, name, 0, true, &why, err) < 0)
			return -1;
	}
	return 0;
}

static int note_name(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	buf_add(cookie, key, strlen(key) + 1);
	return 0;
}

/* A snapshot that an earlier repair put aside, because it was damaged, and was cut off before it could write it again. One that was put aside whole was cut, and stays where it is. */
static bool was_interrupted(struct repair *p, const char *aside, const char *name)
{
	CLEAN_BUF struct buf before = BUF_INIT, healed = BUF_INIT;
	struct store *store = p->repo->store;
	bool found;
	uint64_t size;
	size_t count;
	if (store->ops->stat(store, name, &found, &size, NULL) < 0 || found || !parity_find(&p->parity, name, &count))
		return false;
	if (store_read(store, aside, SNAPSHOT_OBJECT_MAX, &before, NULL) < 0 || store_read(p->healing, name, SNAPSHOT_OBJECT_MAX, &healed, NULL) < 0)
		return false;
	return before.len != healed.len || memcmp(before.data, healed.data, healed.len) != 0;
}

static int find_interrupted(struct repair *p, struct error *err)
{
	CLEAN_BUF struct buf names = BUF_INIT;
	struct error why = { 0 };
	error_set(&why, ERR_NOT_FOUND, "an interrupted repair put it aside");
	if (p->repo->store->ops->list(p->repo->store, "aside/", note_name, &names, err) < 0)
		return error_add(err, "list what was put aside");
	if (!buf_ok(&names))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	for (size_t at = 0; at < names.len; at += strlen((char *)names.data + at) + 1) {
		const char *aside = (char *)names.data + at, *name = strchr(aside + strlen("aside/"), '/');
		if (name && strncmp(name + 1, "snapshots/", 10) == 0 && was_interrupted(p, aside, name + 1) && add_patient(p, name + 1, 0, true, &why, err) < 0)
			return -1;
	}
	return 0;
}

static int find_damage(struct repair *p, struct error *err)
{
	CLEAN_BUF struct buf list = BUF_INIT;
	/* The index before the listing: a collector deletes packs after the segments that named them. */
	if (load_index(p, err) < 0)
		return -1;
	if (p->repo->store->ops->list(p->repo->store, "", note_object, &list, err) < 0)
		return error_add(err, "list objects");
	const struct listed_object *objects = (const void *)list.data;
	size_t count = list.len / sizeof *objects;
	for (size_t i = 0; i < count; i++)
		progress_add_total(p->options->progress, 1, objects[i].size);
	for (size_t i = 0; i < count; i++)
		if (repair_stopped(p, err) < 0 || examine(p, &objects[i], err) < 0)
			return -1;
	if (!buf_ok(&list) || !buf_ok(&p->listed_packs))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	return find_missing(p, err) < 0 ? -1 : find_interrupted(p, err);
}

/* --- whole objects ------------------------------------------------------------------------------------ */

static int heal_with(struct repair *p, struct patient *t, struct store *source, const char *how, struct error *err)
{
	bool found;
	uint64_t size;
	if (t->healed || source->ops->stat(source, t->name, &found, &size, NULL) < 0 || !found ||
	    object_verify(source, p->repo->keys, t->name, size, NULL) < 0)
		return 0;
	if (!p->options->dry_run && repair_replace(p->repo->store, source, t->name, size, err) < 0)
		return -1;
	t->healed = true;
	p->report.healed++;
	p->sink->healed(p->sink->cookie, t->name, how);
	return 0;
}

static int heal_objects(struct repair *p, struct error *err)
{
	for (size_t i = 0; i < p->patient_count; i++) {
		struct patient *t = &p->patients[i];
		size_t count;
		if (repair_stopped(p, err) < 0)
			return -1;
		if (parity_find(&p->parity, t->name, &count) && heal_with(p, t, p->healing, "from parity", err) < 0)
			return -1;
		if (p->options->from && heal_with(p, t, p->options->from->store, "from the other repository", err) < 0)
			return -1;
	}
	return 0;
}

/* A segment is only a shortcut: what it said is found again in the packs' tables. */
static int drop_segments(struct repair *p, struct error *err)
{
	for (size_t i = 0; i < p->patient_count; i++) {
		struct patient *t = &p->patients[i];
		if (t->healed || !repair_may_give_up(t) || strncmp(t->name, "index/", 6) != 0)
			continue;
		if (!p->options->dry_run && repair_put_aside(p->repo->store, t->name, err) < 0)
			return -1;
		t->healed = true;
		p->sink->healed(p->sink->cookie, t->name, "rebuilt from the packs' tables");
	}
	return 0;
}

/* Sessions and tombstones that cannot be read stop others: nobody can say what they name. A tombstone can go when no session is at work that could delete by it; of a session nobody knows whether it is. */
static int clear_documents(struct repair *p, enum seal_kind kind, bool may_go, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT, bytes = BUF_INIT;
	const char *advice = kind == SEAL_SESSION ? "if no backup is at work, delete this object" : "run the repair again when no other session is at work";
	if (ids_list(p->repo->store, object_prefix(kind), &ids, err) < 0)
		return -1;
	for (size_t i = 0; i < ids.len / ID_SIZE; i++) {
		struct id id;
		struct error why = { 0 };
		char name[OBJECT_KEY_MAX];
		memcpy(id.b, ids.data + i * ID_SIZE, ID_SIZE);
		object_key(kind, &id, name);
		if (object_read(p->repo->store, p->repo->keys, kind, &id, TOMBSTONE_BYTES_MAX, NULL, &bytes, &why) == 0 || why.kind != ERR_CORRUPT)
			continue;
		p->report.damaged++;
		if (!may_go) {
			p->report.unhealed++;
			error_set(&why, ERR_CORRUPT, "it is damaged: %s", advice);
			p->sink->lost(p->sink->cookie, name, why.text);
			continue;
		}
		if (!p->options->dry_run && repair_put_aside(p->repo->store, name, err) < 0)
			return -1;
		p->sink->healed(p->sink->cookie, name, "put aside; no session is at work that it could concern");
	}
	return 0;
}

static int count_other(void *cookie, const char *key, uint64_t size)
{
	struct id id;
	(void)size;
	*(size_t *)cookie += object_id_of_key(key, &id);
	return 0;
}

static int clear_all_documents(struct repair *p, struct error *err)
{
	size_t sessions = 0;
	if (p->repo->store->ops->list(p->repo->store, object_prefix(SEAL_SESSION), count_other, &sessions, err) < 0)
		return -1;
	bool alone = sessions <= (p->session ? 1u : 0u);
	return clear_documents(p, SEAL_SESSION, false, err) < 0 ? -1 : clear_documents(p, SEAL_TOMBSTONE, alone, err);
}

static void tell_unhealed(struct repair *p)
{
	for (size_t i = 0; i < p->patient_count; i++) {
		struct patient *t = &p->patients[i];
		if (t->healed)
			continue;
		p->report.unhealed++;
		p->sink->lost(p->sink->cookie, t->name, t->why.text);
	}
}

/* --- all of it -------------------------------------------------------------------------------------------- */

static void repair_done(struct repair *p)
{
	own_session_end(p->session);
	for (size_t i = 0; i < p->patient_count; i++)
		free(p->patients[i].name);
	free(p->patients);
	buf_done(&p->listed_packs);
	store_close(p->healing);
	parity_set_done(&p->parity);
}

static int do_repair(struct repair *p, struct error *err)
{
	const struct repair_options *o = p->options;
	if (!o->dry_run && own_session_begin(&p->session, p->repo, WORK_REPAIR, o->host, err) < 0)
		return -1;
	if (parity_load(&p->parity, p->repo->store, err) < 0 || parity_store_open(&p->healing, p->repo->store, &p->parity, err) < 0)
		return -1;
	if (clear_all_documents(p, err) < 0 || find_damage(p, err) < 0 || heal_objects(p, err) < 0 || drop_segments(p, err) < 0)
		return -1;
	if (!o->dry_run && (load_index(p, err) < 0 || repair_index_packs(p, err) < 0 || repair_packs(p, err) < 0 || load_index(p, err) < 0))
		return -1;
	if (repair_snapshots(p, err) < 0)
		return -1;
	tell_unhealed(p);
	return 0;
}

int repo_repair(struct repo *r, const struct repair_options *options, const struct repair_sink *sink, struct repair_report *ret, struct error *err)
{
	CLEAN(repair_done) struct repair p = { .repo = r, .options = options, .sink = sink };
	repo_cache_blocks(r, 0); /* as in a check */
	if (do_repair(&p, err) < 0)
		return error_add(err, "repair");
	*ret = p.report;
	return 0;
}
