/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * crash [OPERATION...]: lets every operation end at every single call that it makes to the store, in every way, and looks at what is left.
 *
 * First the operation runs undisturbed, which tells how many calls it makes (N). Then, for each n up to N and each way to fail (killed before, in the middle of, or after call n;
 * disk full, over quota, read-only from call n on; an input/output error at call n), from the same beginning each time:
 *   1. it runs, and fails at call n. It may succeed where the call does not matter; then it must have done its work.
 *   2. the repository is opened as it lies there, and checked with all data: nothing is damaged, every snapshot that was committed gives back all its bytes.
 *   3. the same operation runs again, undisturbed: it succeeds, and stores nothing again that lies in the repository in whole packs.
 *   4. as 2, and what the operation makes is there; no session is left.
 * Everything runs in one simulated machine (sim.h), so call n is the same call every time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repo/copy.h"
#include "repo/parity.h"
#include "repo/repair.h"
#include "repo/reseal.h"
#include "sim.h"
#include "store/chaos.h"
#include "world.h"

struct scene {
	char folder[64], target[96];
	struct journal *base;
	struct journal *source; /* of copies: another repository, with backups */
	struct model_tree tree, tree_before;
	struct model_disk disk, disk_before;
};

struct operation {
	const char *name;
	enum { ON_NOTHING, ON_EMPTY, ON_OTHER, ON_BACKUPS, ON_NO_INDEX, ON_DAMAGED, ON_GARBAGE, ON_PARITY, ON_LOST, ON_ROTATED, BASES } on; /* what it begins with */
	int (*run)(const struct scene *s, struct store *store, struct error *err);
	const char *makes, *removes; /* tags */
	int (*done)(const struct scene *s, struct journal *j, struct error *err); /* has it done its work? NULL: see makes, removes */
	bool stores;  /* chunks */
	bool copies;  /* it makes what ON_BACKUPS has */
	bool rests;   /* where nothing is left to do it begins no session, so it ends none that was left */
	bool repairs; /* what it says is lost is no failure of the store; its session is ended by the next writer */
};

/* --- operations --------------------------------------------------------------------------- */

static int run_init(const struct scene *s, struct store *store, struct error *err)
{
	(void)s;
	bool found = false;
	uint64_t size;
	/* What the first try may have completed before its end. */
	if (store->ops->stat(store, "twofold", &found, &size, NULL) == 0 && found) {
		store_close(store);
		return 0;
	}
	return world_init(store, err);
}

static int run_backup(const struct scene *s, struct store *store, struct error *err)
{
	return world_backup(store, "host", "files-2", &s->tree, err);
}

static int run_image(const struct scene *s, struct store *store, struct error *err)
{
	return world_image(store, "host", "image-2", &s->disk, err);
}

static int run_forget(const struct scene *s, struct store *store, struct error *err)
{
	(void)s;
	return world_forget(store, "files-1", err);
}

static int run_restore(const struct scene *s, struct store *store, struct error *err)
{
	return world_restore(store, "files-1", &s->tree_before, s->target, err);
}

static int done_restore(const struct scene *s, struct journal *j, struct error *err)
{
	(void)j;
	return model_tree_on_disk(&s->tree_before, s->target, err);
}

static int run_restore_image(const struct scene *s, struct store *store, struct error *err)
{
	return world_restore_image(store, "image-1", s->target, err);
}

static int done_restore_image(const struct scene *s, struct journal *j, struct error *err)
{
	(void)j;
	return model_disk_on_disk(&s->disk_before, s->target, err);
}

static int run_check(const struct scene *s, struct store *store, struct error *err)
{
	struct check_report report;
	(void)s;
	return world_check(store, &report, err);
}

static int nothing_to_do(const struct scene *s, struct journal *j, struct error *err)
{
	(void)s;
	(void)j;
	(void)err;
	return 0;
}

/* --- keys */

static const struct repo_secret third_secret = { .how = SEAL_WRAP_KEYFILE, .data = "third567third567third567third567", .len = 32 };

static int add_key(struct repo *repo, const struct repo_secret *secret, struct error *err)
{
	struct id id;
	return repo_key_add(repo, secret, "another", &id, err);
}

static int run_key_add(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	(void)s;
	return world_open(&repo, store, err) < 0 ? -1 : add_key(repo, &third_secret, err);
}

static int opens(struct journal *j, const struct repo_secret *secret, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct store *store;
	if (store_open_journal(&store, j, err) < 0)
		return -1;
	return repo_open_store(&repo, store, secret, NULL, err);
}

static int done_key_add(const struct scene *s, struct journal *j, struct error *err)
{
	(void)s;
	return opens(j, &third_secret, err);
}

static int note_other(void *cookie, const struct id *id, const struct key_object *key, bool current)
{
	(void)key;
	if (!current)
		*(struct id *)cookie = *id;
	return 0;
}

/* Of the other key; that it is gone already is what the user wanted. */
static int run_key_remove(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct id other = { 0 }, none = { 0 };
	(void)s;
	if (world_open(&repo, store, err) < 0 || repo_keys(repo, note_other, &other, err) < 0)
		return -1;
	return id_equal(&other, &none) ? 0 : repo_key_remove(repo, &other, err);
}

static int done_key_remove(const struct scene *s, struct journal *j, struct error *err)
{
	(void)s;
	if (opens(j, &world_other_secret, NULL) == 0)
		return error_set(err, ERR_IO, "the removed key still opens the repository");
	return 0;
}

/* As key change does: the new one is there before the old one goes. The other key, that of the tests, stays. */
static int run_key_change(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct error why = { 0 };
	(void)s;
	if (repo_open_store(&repo, store, &world_other_secret, NULL, &why) < 0) {
		if (why.kind == ERR_AUTH) /* an earlier try came to its end */
			return 0;
		*err = why;
		return -1;
	}
	return add_key(repo, &third_secret, err) < 0 ? -1 : repo_key_remove(repo, &repo->key, err);
}

static int done_key_change(const struct scene *s, struct journal *j, struct error *err)
{
	return done_key_remove(s, j, err) < 0 ? -1 : opens(j, &third_secret, err);
}

static void hear_rotate(void *cookie, const struct id *before, const struct id *after, const struct key_object *key)
{
	(void)cookie;
	(void)before;
	(void)after;
	(void)key;
}

/* The keys of the tests may all be there or, after a first try, changed already. */
static int run_key_rotate(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	const struct repo_secret secrets[] = { world_secret, world_other_secret };
	(void)s;
	return world_open(&repo, store, err) < 0 ? -1 : repo_key_rotate(repo, secrets, 2, false, hear_rotate, NULL, err);
}

static int done_key_rotate(const struct scene *s, struct journal *j, struct error *err)
{
	(void)s;
	return opens(j, &world_secret, err) < 0 ? -1 : opens(j, &world_other_secret, err);
}

/* As the command does: all that is sealed by the old master key is sealed anew, then nobody holds that key any more. */
static int run_key_reseal(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	const struct repo_secret secrets[] = { world_secret, world_other_secret };
	const struct collect_options options = { .max_unused = 100, .max_repack = UINT64_MAX, .fence_seconds = 24 * 3600, .threads = 1, .level = 1, .host = "host" };
	struct reseal_left left;
	struct reseal_report report = { 0 };
	unsigned epochs;
	(void)s;
	if (world_open(&repo, store, err) < 0 || reseal_look(repo, &left, err) < 0)
		return -1;
	if (!reseal_is_complete(&left) && (repo_reseal(repo, &options, &report, err) < 0 || reseal_look(repo, &left, err) < 0))
		return -1;
	if (!reseal_is_complete(&left)) {
		*err = left.unreadable ? left.first_error : report.first_error;
		return error_add(err, "something is still sealed by the old key");
	}
	seal_masters(repo->keys, &epochs);
	return epochs < 2 ? 0 : repo_key_drop(repo, secrets, 2, epochs - 1, hear_rotate, NULL, err);
}

static int count_holder(void *cookie, const struct id *id, const struct key_object *key, bool current)
{
	(void)id;
	(void)current;
	*(unsigned *)cookie += key->wrapped.first + 1u < key->wrapped.count;
	return 0;
}

static int done_key_reseal(const struct scene *s, struct journal *j, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct store *store;
	unsigned holders = 0;
	if (done_key_rotate(s, j, err) < 0 || store_open_journal(&store, j, err) < 0 || world_open(&repo, store, err) < 0 || repo_keys(repo, count_holder, &holders, err) < 0)
		return -1;
	return holders ? error_set(err, ERR_IO, "%u keys hold the old master key", holders) : 0;
}

/* --- prune */

static int prune(const struct scene *s, struct store *store, unsigned max_unused, struct error *err)
{
	struct collect_report report;
	(void)s;
	return world_prune(store, "host", max_unused, 24 * 3600, 7 * 24 * 3600, 0, &report, err);
}

static int run_prune(const struct scene *s, struct store *store, struct error *err)
{
	return prune(s, store, 100, err);
}

static int run_prune_all(const struct scene *s, struct store *store, struct error *err)
{
	return prune(s, store, 0, err);
}

static int done_prune(const struct scene *s, struct journal *j, struct error *err)
{
	(void)s;
	if (journal_objects(j, "tombstones/"))
		return error_set(err, ERR_IO, "a tombstone is left");
	return 0;
}

/* --- parity, repair */

static void hear_left_out(void *cookie, const char *name, const struct error *why)
{
	(void)name;
	error_keep_first(cookie, why);
}

static void hear_healed(void *cookie, const char *object, const char *how)
{
	(void)cookie;
	(void)object;
	(void)how;
}

static void hear_lost(void *cookie, const char *object, const char *why)
{
	struct error lost = { 0 };
	error_set(&lost, ERR_IO, "%s: %s", object, why);
	error_keep_first(cookie, &lost);
}

static void hear_hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what, bool cut)
{
	(void)snapshot;
	(void)path_len;
	(void)cut;
	hear_lost(cookie, path ? path : area, what);
}

static void hear_replaced(void *cookie, const struct id *old, const struct id *new)
{
	(void)cookie;
	(void)old;
	(void)new;
}

/* What it tells as left out, or lost, is a warning, and the exit code says so. */
static int told(int result, const struct error *warning, struct error *err)
{
	if (result < 0 || warning->kind == ERR_NONE)
		return result;
	*err = *warning;
	return -1;
}

static int run_parity_add(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct error warning = { 0 };
	struct parity_options options = { .percent = 50, .left_out = hear_left_out, .cookie = &warning };
	struct parity_report report;
	(void)s;
	return world_open(&repo, store, err) < 0 ? -1 : told(parity_add(repo, &options, &report, err), &warning, err);
}

static int done_parity_add(const struct scene *s, struct journal *j, struct error *err)
{
	struct store *store;
	struct parity_status status;
	(void)s;
	if (store_open_journal(&store, j, err) < 0)
		return -1;
	int result = parity_status(store, &status, err);
	store_close(store);
	if (result == 0 && (status.bare_objects || !status.groups || status.damaged))
		return error_set(err, ERR_IO, "%llu objects have no parity, %llu parity objects are damaged", (unsigned long long)status.bare_objects, (unsigned long long)status.damaged);
	return result;
}

static int run_repair(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct repair_options options = { .host = "host", .level = 1 };
	struct error warning = { 0 };
	struct repair_sink sink = { hear_healed, hear_lost, hear_hit, hear_replaced, &warning };
	struct repair_report report;
	(void)s;
	return world_open(&repo, store, err) < 0 ? -1 : told(repo_repair(repo, &options, &sink, &report, err), &warning, err);
}

/* Tells of no loss that it has cut. */
static void hear_cut(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what, bool cut)
{
	if (!cut)
		hear_hit(cookie, snapshot, path, path_len, area, what, cut);
}

static int run_repair_cut(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct repair_options options = { .host = "host", .level = 1, .cut = true };
	struct error warning = { 0 };
	struct repair_sink sink = { hear_healed, hear_lost, hear_cut, hear_replaced, &warning };
	struct repair_report report;
	(void)s;
	return world_open(&repo, store, err) < 0 ? -1 : told(repo_repair(repo, &options, &sink, &report, err), &warning, err);
}

static int count_tag(struct journal *j, const char *tag, size_t *ret, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	struct store *store;
	if (store_open_journal(&store, j, err) < 0 || world_open(&repo, store, err) < 0 || repo_snapshots(repo, &list, err) < 0)
		return -1;
	*ret = 0;
	for (size_t i = 0; i < list.count; i++)
		*ret += list.items[i].snapshot.tags.count == 1 && strcmp(list.items[i].snapshot.tags.items[0].data, tag) == 0;
	return 0;
}

/* What is whole compares equal (run_verify); of what was cut there is one snapshot. */
static int done_repair_cut(const struct scene *s, struct journal *j, struct error *err)
{
	size_t count = 0;
	(void)s;
	if (count_tag(j, "lost-1", &count, err) < 0)
		return -1;
	return count == 1 ? 0 : error_set(err, ERR_IO, "there are %zu snapshots of what was cut", count);
}

static int run_parity_remove(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	uint64_t count;
	(void)s;
	return world_open(&repo, store, err) < 0 ? -1 : parity_remove(repo->store, &count, err);
}

static int done_parity_remove(const struct scene *s, struct journal *j, struct error *err)
{
	(void)s;
	return journal_objects(j, "parity/") ? error_set(err, ERR_IO, "parity is left") : 0;
}

/* --- copy */

static void hear_copy_lost(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	hear_hit(cookie, snapshot, path, path_len, area, what, false);
}

static int copy_all(struct repo *from, struct repo *to, struct error *err)
{
	CLEAN(copy_cleanup) struct copy *copy = NULL;
	CLEAN(snapshot_list_done) struct snapshot_list list = { 0 };
	struct error warning = { 0 };
	const struct copy_options options = { .threads = 1, .level = 1, .host = "host" };
	const struct copy_sink sink = { hear_copy_lost, &warning };
	if (copy_new(&copy, from, to, &options, &sink, err) < 0 || repo_snapshots(from, &list, err) < 0)
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		struct copied done;
		if (copy_snapshot(copy, &list.items[i].id, &list.items[i].snapshot, &done, err) < 0)
			return -1;
	}
	return told(0, &warning, err);
}

static int run_copy(const struct scene *s, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *to = NULL;
	CLEAN_REPO struct repo *from = NULL;
	struct store *source;
	if (world_open(&to, store, err) < 0 || store_open_journal(&source, s->source, err) < 0 || world_open(&from, source, err) < 0)
		return -1;
	return copy_all(from, to, err);
}

static const struct operation operations[] = {
	{ .name = "init", .on = ON_NOTHING, .run = run_init, .done = nothing_to_do },
	{ .name = "backup, first", .on = ON_EMPTY, .run = run_backup, .makes = "files-2", .stores = true },
	{ .name = "backup, incremental", .on = ON_BACKUPS, .run = run_backup, .makes = "files-2", .stores = true },
	{ .name = "image, first", .on = ON_EMPTY, .run = run_image, .makes = "image-2", .stores = true },
	{ .name = "image, incremental", .on = ON_BACKUPS, .run = run_image, .makes = "image-2", .stores = true },
	{ .name = "restore", .on = ON_BACKUPS, .run = run_restore, .done = done_restore },
	{ .name = "restore-image", .on = ON_BACKUPS, .run = run_restore_image, .done = done_restore_image },
	{ .name = "check --read-data", .on = ON_BACKUPS, .run = run_check, .done = nothing_to_do },
	{ .name = "forget", .on = ON_BACKUPS, .run = run_forget, .removes = "files-1" },
	{ .name = "key add", .on = ON_BACKUPS, .run = run_key_add, .done = done_key_add },
	{ .name = "key remove", .on = ON_BACKUPS, .run = run_key_remove, .done = done_key_remove },
	{ .name = "key change", .on = ON_BACKUPS, .run = run_key_change, .done = done_key_change },
	{ .name = "prune", .on = ON_GARBAGE, .run = run_prune, .done = done_prune },
	{ .name = "prune, packs anew", .on = ON_GARBAGE, .run = run_prune_all, .done = done_prune },
	{ .name = "key rotate", .on = ON_BACKUPS, .run = run_key_rotate, .done = done_key_rotate },
	{ .name = "key reseal", .on = ON_ROTATED, .run = run_key_reseal, .done = done_key_reseal, .rests = true },
	{ .name = "parity add", .on = ON_BACKUPS, .run = run_parity_add, .done = done_parity_add },
	{ .name = "parity remove", .on = ON_PARITY, .run = run_parity_remove, .done = done_parity_remove },
	{ .name = "repair, nothing to do", .on = ON_BACKUPS, .run = run_repair, .done = nothing_to_do, .repairs = true },
	{ .name = "repair, no index", .on = ON_NO_INDEX, .run = run_repair, .done = nothing_to_do, .repairs = true },
	{ .name = "repair, from parity", .on = ON_DAMAGED, .run = run_repair, .done = nothing_to_do, .repairs = true },
	{ .name = "repair --cut", .on = ON_LOST, .run = run_repair_cut, .done = done_repair_cut, .repairs = true },
	{ .name = "copy", .on = ON_OTHER, .run = run_copy, .done = nothing_to_do, .stores = true, .copies = true, .rests = true },
};

/* --- ways to fail ------------------------------------------------------------------------------ */

struct way {
	const char *name;
	struct chaos_strike strike;
	bool unheard; /* a pack that was stored without an answer is stored again */
};

static const struct way ways[] = {
	{ "killed before", { .moment = CHAOS_BEFORE, .then = CHAOS_DEAD }, false },
	{ "killed in the middle", { .moment = CHAOS_MIDDLE, .then = CHAOS_DEAD }, false },
	{ "killed after", { .moment = CHAOS_AFTER, .then = CHAOS_DEAD }, false },
	{ "ENOSPC from here on", { .moment = CHAOS_MIDDLE, .then = CHAOS_FULL, .sys = ENOSPC }, false },
	{ "EDQUOT from here on", { .moment = CHAOS_BEFORE, .then = CHAOS_FULL, .sys = EDQUOT }, false },
	{ "EROFS from here on", { .moment = CHAOS_BEFORE, .then = CHAOS_FULL, .sys = EROFS }, false },
	{ "EIO once", { .moment = CHAOS_BEFORE, .sys = EIO }, false },
	{ "EIO once, though done", { .moment = CHAOS_MIDDLE, .sys = EIO }, true },
};
#define WAYS (sizeof ways / sizeof *ways)

/* --- one run ------------------------------------------------------------------------------------- */

struct trial {
	const struct scene *scene;
	const struct operation *op;
	struct journal *journal;
	struct chaos chaos;
	struct expected expected[4];
	size_t count;
	int result;
	struct error err;
};

static void run_operation(void *arg)
{
	struct trial *t = arg;
	struct store *store;
	t->err = (struct error){ 0 };
	t->result = -1;
	if (store_open_journal(&store, t->journal, &t->err) == 0 && store_open_chaos(&store, store, &t->chaos, &t->err) == 0)
		t->result = t->op->run(t->scene, store, &t->err);
}

static void run_verify(void *arg)
{
	struct trial *t = arg;
	t->err = (struct error){ 0 };
	t->result = world_verify(t->journal, t->expected, t->count, NULL, &t->err);
}

/* Of a damaged repository: what is whole is readable, and what is not has not vanished. */
static void run_compare(void *arg)
{
	struct trial *t = arg;
	size_t count = 0;
	t->err = (struct error){ 0 };
	t->result = world_compare(t->journal, t->expected, t->count, &t->err);
	if (t->result == 0)
		t->result = count_tag(t->journal, "lost-1", &count, &t->err);
	if (t->result == 0 && !count)
		t->result = error_set(&t->err, ERR_IO, "a snapshot vanished");
}

/* As a process of its own. */
static int in_machine(struct trial *t, void (*run)(void *))
{
	struct sim_machine m = { .run = run, .arg = t, .name = t->op->name };
	sim_run(&m, 1, NULL, NULL);
	return t->result;
}

/* What was there before must stay; what is made or removed may be there or not. */
static void expect_base(struct trial *t)
{
	t->count = 0;
	if (t->op->on >= ON_BACKUPS || t->op->copies) {
		t->expected[t->count++] = (struct expected){ .tag = "files-1", .tree = t->scene->tree_before };
		t->expected[t->count++] = (struct expected){ .tag = "image-1", .image = true, .disk = t->scene->disk_before };
		for (size_t i = 0; i < t->count; i++)
			t->expected[i].maybe = t->op->copies || (t->op->removes && strcmp(t->expected[i].tag, t->op->removes) == 0);
	}
	if (!t->op->makes)
		return;
	struct expected *e = &t->expected[t->count++];
	*e = (struct expected){ .image = t->op->makes[0] == 'i', .maybe = true, .tree = t->scene->tree, .disk = t->scene->disk };
	snprintf(e->tag, sizeof e->tag, "%s", t->op->makes);
}

static int still_has(struct journal *j, const char *tag)
{
	struct error err;
	struct model_tree none = { .path = "/none" };
	struct expected e = { .maybe = true, .tree = none };
	snprintf(e.tag, sizeof e.tag, "%s", tag);
	/* Nothing of it could be right, so it passes only where there is none. */
	return world_verify(j, &e, 1, NULL, &err) < 0;
}

static int expect_done(struct trial *t, struct error *err)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->op->copies || (t->op->makes && strcmp(t->expected[i].tag, t->op->makes) == 0))
			t->expected[i].maybe = false;
	if (t->op->on != ON_NOTHING && in_machine(t, run_verify) < 0) {
		*err = t->err;
		return -1;
	}
	if (t->op->removes && still_has(t->journal, t->op->removes))
		return error_set(err, ERR_IO, "snapshot %s is still there", t->op->removes);
	return t->op->done ? t->op->done(t->scene, t->journal, err) : 0;
}

/* Bytes of whole packs that one undisturbed run writes. */
static uint64_t undisturbed(const struct scene *s, const struct operation *op, uint64_t *ret_calls, struct error *err)
{
	struct trial t = { .scene = s, .op = op };
	sim_seed(1);
	world_remove_folder(s->target);
	if (journal_copy(&t.journal, s->base, err) < 0)
		exit(2);
	expect_base(&t);
	if (in_machine(&t, run_operation) < 0 || (*ret_calls = t.chaos.calls, 0) || expect_done(&t, &t.err) < 0) {
		fprintf(stderr, "%s fails undisturbed: %s\n", op->name, t.err.text);
		exit(2);
	}
	uint64_t written = journal_written(t.journal, "packs/");
	journal_free(t.journal);
	return written;
}

/* What is wrong with how the operation ended? */
static int judge_end(const struct trial *t, const struct way *way, struct error *err)
{
	if (way->strike.then == CHAOS_DEAD)
		return 0; /* nobody hears what a dead process says */
	if (t->result == 0)
		return 0;
	/* What a repair tells as lost names the file or object, and the reason stands before it. */
	if (!t->op->repairs && !strstr(t->err.text, strerror(way->strike.sys)))
		return error_set(err, ERR_IO, "the error does not say why: \"%.200s\"", t->err.text);
	bool space = way->strike.sys == ENOSPC || way->strike.sys == EDQUOT;
	if (space && !t->op->repairs && t->err.kind != ERR_NO_SPACE)
		return error_set(err, ERR_IO, "the error is not of the kind \"no space\": \"%.200s\"", t->err.text);
	return 0;
}

/* A pack's size is padded, and metadata names times of this run. */
#define SLACK (4u << 14)

static int judge(struct trial *t, const struct way *way, uint64_t full, struct error *err)
{
	bool succeeded = t->result == 0 && way->strike.then != CHAOS_DEAD;
	if (judge_end(t, way, err) < 0)
		return -1;
	/* What was damaged before may be so still. */
	if (t->op->on != ON_NOTHING && t->op->on != ON_NO_INDEX && t->op->on != ON_DAMAGED && t->op->on != ON_LOST && in_machine(t, run_verify) < 0) {
		*err = t->err;
		return error_add(err, "afterwards");
	}
	if (t->op->on == ON_LOST && in_machine(t, run_compare) < 0) {
		*err = t->err;
		return error_add(err, "afterwards");
	}
	if (succeeded && expect_done(t, err) < 0)
		return error_add(err, "it says that it succeeded, but");
	uint64_t stored = journal_written(t->journal, "packs/");
	t->chaos = (struct chaos){ 0 };
	if (in_machine(t, run_operation) < 0) {
		*err = t->err;
		return error_add(err, "the same again");
	}
	if (expect_done(t, err) < 0)
		return error_add(err, "after the same again");
	uint64_t all = journal_written(t->journal, "packs/");
	if (t->op->stores && all > (way->unheard ? 2 * full : full) + SLACK)
		return error_set(err, ERR_IO, "stored %llu bytes in all where %llu do (%llu the first time)", (unsigned long long)all, (unsigned long long)full,
		                 (unsigned long long)stored);
	/* That of an interrupted repair is ended by the next writer. */
	if (!t->op->repairs && !t->op->rests && journal_objects(t->journal, "sessions/"))
		return error_set(err, ERR_IO, "a session is left");
	return 0;
}

static int try_one(const struct scene *s, const struct operation *op, const struct way *way, uint64_t at, uint64_t full, struct error *err)
{
	struct trial t = { .scene = s, .op = op, .chaos = { .strike = way->strike } };
	CLEAN(journal_cleanup) struct journal *j = NULL;
	sim_seed(1);
	world_remove_folder(s->target);
	if (journal_copy(&j, s->base, err) < 0)
		return -1;
	t.journal = j;
	t.chaos.strike.at = at;
	expect_base(&t);
	in_machine(&t, run_operation);
	return judge(&t, way, full, err);
}

/* --- the table --------------------------------------------------------------------------------------- */

static unsigned passed, failed;

static void run_row(const struct scene *s, const struct operation *op)
{
	uint64_t calls = 0;
	struct error err = { 0 };
	uint64_t full = undisturbed(s, op, &calls, &err);
	unsigned good = 0;
	for (uint64_t at = 1; at <= calls; at++)
		for (size_t w = 0; w < WAYS; w++) {
			if (try_one(s, op, &ways[w], at, full, &err) == 0) {
				good++;
				continue;
			}
			if (failed++ < 400)
				printf("not ok %s, %s call %llu of %llu: %s\n", op->name, ways[w].name, (unsigned long long)at, (unsigned long long)calls, err.text);
		}
	passed += good;
	printf("%-22s %6llu %8zu %8u\n", op->name, (unsigned long long)calls, WAYS, good);
	fflush(stdout);
}

static void must(int result, const struct error *err)
{
	if (result == 0)
		return;
	fprintf(stderr, "prepare: %s\n", err->text);
	exit(2);
}

static struct store *on(struct journal *j)
{
	struct error err;
	struct store *store = NULL;
	must(store_open_journal(&store, j, &err), &err);
	return store;
}

static void prepare_repository(void *arg)
{
	struct scene *s = arg;
	struct error err;
	CLEAN_REPO struct repo *repo = NULL;
	must(world_init(on(s->base), &err), &err);
	must(world_open(&repo, on(s->base), &err), &err);
	must(add_key(repo, &world_other_secret, &err), &err);
}

static void prepare_backups(void *arg)
{
	struct scene *s = arg;
	struct error err;
	must(world_backup(on(s->base), "host", "files-1", &s->tree, &err), &err);
	must(world_image(on(s->base), "host", "image-1", &s->disk, &err), &err);
	s->tree_before = s->tree;
	s->disk_before = s->disk;
	must(model_tree_change(&s->tree, 3, &err), &err);
	must(model_disk_change(&s->disk, 4, &err), &err);
}

static void prepare_parity(void *arg)
{
	struct scene *s = arg;
	struct error err;
	must(run_parity_add(s, on(s->base), &err), &err);
}

/* Snapshots that share with those that stay are taken and forgotten. */
static void prepare_garbage(void *arg)
{
	struct scene *s = arg;
	struct error err;
	struct model_tree other;
	char path[96];
	snprintf(path, sizeof path, "%s/other", s->folder);
	must(model_tree_make(&other, path, 18, 77, &err), &err);
	must(world_backup(on(s->base), "host", "gone-1", &other, &err), &err);
	must(world_backup(on(s->base), "host", "gone-2", &s->tree, &err), &err);
	must(world_forget(on(s->base), "gone-1", &err), &err);
	must(world_forget(on(s->base), "gone-2", &err), &err);
}

static void prepare_rotated(void *arg)
{
	struct scene *s = arg;
	struct error err;
	must(run_key_rotate(s, on(s->base), &err), &err);
}

static int note_key(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	buf_add(cookie, key, strlen(key) + 1);
	return 0;
}

/* Removes all objects under prefix, or flips a bit in the middle of each. */
static void damage_all(struct journal *j, const char *prefix, bool gone)
{
	CLEAN_BUF struct buf keys = BUF_INIT;
	struct error err;
	struct store *store = on(j);
	must(store->ops->list(store, prefix, note_key, &keys, &err), &err);
	for (size_t at = 0; at < keys.len; at += strlen((char *)keys.data + at) + 1)
		must(gone ? store->ops->remove(store, (char *)keys.data + at, &err) : journal_damage(j, (char *)keys.data + at, 300, false, &err), &err);
	store_close(store);
}

/* A snapshot of which all data is lost, and nothing else. */
static void prepare_lost(void *arg)
{
	struct scene *s = arg;
	struct error err;
	struct model_tree other;
	char path[96];
	CLEAN_BUF struct buf before = BUF_INIT, after = BUF_INIT;
	struct store *store = on(s->base);
	snprintf(path, sizeof path, "%s/lost", s->folder);
	must(model_tree_make(&other, path, 18, 78, &err), &err);
	must(store->ops->list(store, "packs/", note_key, &before, &err), &err);
	must(world_backup(on(s->base), "host", "lost-1", &other, &err), &err);
	must(store->ops->list(store, "packs/", note_key, &after, &err), &err);
	for (size_t at = 0; at < after.len; at += strlen((char *)after.data + at) + 1) {
		const char *key = (char *)after.data + at;
		if (!memmem(before.data, before.len, key, strlen(key)))
			must(journal_damage(s->base, key, 300, false, &err), &err);
	}
	store_close(store);
}

static void prepare_no_index(void *arg)
{
	damage_all(((struct scene *)arg)->base, "index/", true);
}

static void prepare_damaged(void *arg)
{
	damage_all(((struct scene *)arg)->base, "snapshots/", false);
}

static void prepare_one(struct scene *s, struct journal *bases[BASES], int which, int from, void (*run)(void *))
{
	struct sim_machine m = { .run = run, .arg = s, .name = "prepare" };
	struct error err;
	must(journal_copy(&s->base, bases[from], &err), &err);
	sim_run(&m, 1, NULL, NULL);
	bases[which] = s->base;
}

/* Each by operation.on, out of the one that it begins as. */
static void prepare(struct scene *s, struct journal *bases[BASES])
{
	struct error err;
	char path[96];
	snprintf(s->folder, sizeof s->folder, "%s/twofold-crash-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(s->folder))
		must(error_sys(&err, errno, "make a folder"), &err);
	snprintf(s->target, sizeof s->target, "%s/target", s->folder);
	snprintf(path, sizeof path, "%s/tree", s->folder);
	must(model_tree_make(&s->tree, path, 14, 1, &err), &err);
	snprintf(path, sizeof path, "%s/disk", s->folder);
	must(model_disk_make(&s->disk, path, 2, &err), &err);
	sim_seed(99);
	must(journal_new(&bases[ON_NOTHING], &err), &err);
	prepare_one(s, bases, ON_EMPTY, ON_NOTHING, prepare_repository);
	prepare_one(s, bases, ON_OTHER, ON_NOTHING, prepare_repository);
	prepare_one(s, bases, ON_BACKUPS, ON_EMPTY, prepare_backups);
	prepare_one(s, bases, ON_NO_INDEX, ON_BACKUPS, prepare_no_index);
	prepare_one(s, bases, ON_PARITY, ON_BACKUPS, prepare_parity);
	prepare_one(s, bases, ON_DAMAGED, ON_PARITY, prepare_damaged);
	prepare_one(s, bases, ON_GARBAGE, ON_BACKUPS, prepare_garbage);
	prepare_one(s, bases, ON_LOST, ON_BACKUPS, prepare_lost);
	prepare_one(s, bases, ON_ROTATED, ON_BACKUPS, prepare_rotated);
	s->source = bases[ON_BACKUPS];
}

static bool wanted(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], name, strlen(argv[i])) == 0)
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	struct scene scene = { .base = NULL };
	struct journal *bases[BASES];
	struct error err;
	must(seal_init(&err), &err);
	prepare(&scene, bases);
	printf("%-22s %6s %8s %8s\n", "operation", "points", "variants", "passed");
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
		scene.base = bases[operations[i].on];
		if (wanted(argc, argv, operations[i].name))
			run_row(&scene, &operations[i]);
	}
	for (size_t i = 0; i < BASES; i++)
		journal_free(bases[i]);
	world_remove_folder(scene.folder);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}
