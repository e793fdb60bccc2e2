/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "world.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

#include "capture/files.h"
#include "capture/image.h"
#include "restore/files.h"
#include "restore/image.h"

const struct repo_secret world_secret = { .how = SEAL_WRAP_KEYFILE, .data = "0123456789abcdef0123456789abcdef", .len = 32 };
const struct repo_secret world_other_secret = { .how = SEAL_WRAP_KEYFILE, .data = "fedcba9876543210fedcba9876543210", .len = 32 };

int world_open(struct repo **ret, struct store *store, struct error *err)
{
	return repo_open_store(ret, store, &world_secret, NULL, err);
}

static int open_indexed(struct repo **ret, struct store *store, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	if (world_open(&repo, store, err) < 0 || repo_load_index(repo, err) < 0)
		return -1;
	*ret = TAKE(repo);
	return 0;
}

int world_init(struct store *store, struct error *err)
{
	int result = repo_init_store(store, &world_secret, "test", NULL, err);
	store_close(store);
	return result;
}

/* Nothing that the tests back up may give a warning. */
static void keep_warning(void *cookie, const struct error *err)
{
	error_keep_first(cookie, err);
}

static int warned(int result, const struct error *warning, struct error *err)
{
	if (result < 0 || warning->kind == ERR_NONE)
		return result;
	*err = *warning;
	return error_add(err, "a warning");
}

int world_backup(struct store *store, const char *host, const char *tag, const struct model_tree *t, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct error warning = { 0 };
	struct warner warner = { keep_warning, &warning };
	const char *path = t->path;
	struct capture_files_options options = { .paths = &path, .path_count = 1, .host = host, .user = "user", .program = "test", .tags = &tag, .tag_count = 1, .threads = 1,
		                                 .level = 1, .warner = &warner };
	struct snapshot snapshot = { 0 };
	struct id id;
	if (open_indexed(&repo, store, err) < 0 || capture_files(repo, &options, &snapshot, &id, err) < 0)
		return -1;
	snapshot_done(&snapshot);
	return warned(0, &warning, err);
}

int world_image(struct store *store, const char *host, const char *tag, const struct model_disk *d, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct capture_image_options options = { .path = d->path, .host = host, .user = "user", .program = "test", .tags = &tag, .tag_count = 1, .threads = 1, .level = 1 };
	struct snapshot snapshot = { 0 };
	struct id id;
	if (open_indexed(&repo, store, err) < 0 || capture_image(repo, &options, &snapshot, &id, err) < 0)
		return -1;
	snapshot_done(&snapshot);
	return 0;
}

static bool has_tag(const struct snapshot *s, const char *tag)
{
	for (size_t i = 0; i < s->tags.count; i++)
		if (strcmp(s->tags.items[i].data, tag) == 0)
			return true;
	return false;
}

static const struct snapshot_entry *find_tag(const struct snapshot_list *list, const char *tag)
{
	for (size_t i = 0; i < list->count; i++)
		if (has_tag(&list->items[i].snapshot, tag))
			return &list->items[i];
	return NULL;
}

/* Reads the snapshots; damage among them is an error here. */
static int list_snapshots(struct repo *repo, struct snapshot_list *ret, struct error *err)
{
	if (repo_snapshots(repo, ret, err) < 0)
		return -1;
	if (!ret->damaged)
		return 0;
	*err = ret->first_error;
	snapshot_list_done(ret);
	return error_add(err, "a damaged snapshot");
}

int world_forget(struct store *store, const char *tag, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct snapshot_list list = { 0 };
	if (world_open(&repo, store, err) < 0 || list_snapshots(repo, &list, err) < 0)
		return -1;
	int result = 0;
	for (size_t i = 0; result == 0 && i < list.count; i++)
		if (has_tag(&list.items[i].snapshot, tag))
			result = repo_snapshot_forget(repo, &list.items[i].id, err);
	snapshot_list_done(&list);
	return result;
}

/* The snapshot of this tag, moved out of the list. */
static int take_snapshot(struct repo *repo, const char *tag, struct snapshot *ret, struct error *err)
{
	struct snapshot_list list = { 0 };
	if (list_snapshots(repo, &list, err) < 0)
		return -1;
	const struct snapshot_entry *entry = find_tag(&list, tag);
	struct id id;
	if (entry)
		id = entry->id;
	snapshot_list_done(&list);
	return entry ? repo_snapshot_read(repo, &id, ret, err) : error_set(err, ERR_NOT_FOUND, "no snapshot %s", tag);
}

int world_restore(struct store *store, const char *tag, const struct model_tree *t, const char *target, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct snapshot snapshot = { 0 };
	struct error warning = { 0 };
	struct warner warner = { keep_warning, &warning };
	struct restore_options options = { .target = target, .threads = 1, .warner = &warner };
	struct restore_result result = { 0 };
	if (open_indexed(&repo, store, err) < 0 || take_snapshot(repo, tag, &snapshot, err) < 0)
		return -1;
	int done = restore_files(repo, &snapshot, t->path, &options, &result, err);
	snapshot_done(&snapshot);
	return warned(done, &warning, err);
}

int world_restore_image(struct store *store, const char *tag, const char *target, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN(image_target_cleanup) struct image_target *t = NULL;
	struct snapshot snapshot = { 0 };
	struct error warning = { 0 };
	struct warner warner = { keep_warning, &warning };
	struct image_options options = { .threads = 1, .warner = &warner };
	struct image_result result = { 0 };
	if (open_indexed(&repo, store, err) < 0 || take_snapshot(repo, tag, &snapshot, err) < 0)
		return -1;
	int done = image_target_open(&t, &snapshot, target, 0, err);
	if (done == 0)
		done = image_restore(t, repo, &snapshot, &options, &result, err);
	snapshot_done(&snapshot);
	return warned(done, &warning, err);
}

/* --- is it still what it was? ----------------------------------------------------------- */

static void tell_damaged(void *cookie, const char *object, const char *what)
{
	struct error found = { 0 };
	error_set(&found, ERR_CORRUPT, "check: %s: %s", object, what);
	error_keep_first(cookie, &found);
}

static void tell_hit(void *cookie, const struct id *snapshot, const char *path, size_t path_len, const char *area, const char *what)
{
	struct error found = { 0 };
	(void)snapshot;
	error_set(&found, ERR_CORRUPT, "check: hit %s%.*s: %s", area ? area : "", (int)path_len, path ? path : "", what);
	error_keep_first(cookie, &found);
}

static int check_open(struct repo *repo, struct check_report *ret, struct error *err)
{
	struct error found = { 0 };
	struct check_options options = { .read_data = true, .percent = 100, .threads = 1 };
	struct check_sink sink = { tell_damaged, tell_hit, &found };
	if (repo_check(repo, &options, &sink, ret, err) < 0)
		return -1;
	if (found.kind == ERR_NONE && !ret->damaged && !ret->hits)
		return 0;
	if (err)
		*err = found;
	return -1;
}

int world_check(struct store *store, struct check_report *ret, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	return world_open(&repo, store, err) < 0 ? -1 : check_open(repo, ret, err);
}

static int compare(struct repo *repo, const struct expected *e, const struct snapshot *s, struct error *err)
{
	int result = e->image ? model_disk_in_snapshot(&e->disk, repo, s, err) : model_tree_in_snapshot(&e->tree, repo, s, err);
	return result < 0 ? error_add(err, "snapshot %s", e->tag) : 0;
}

int world_read(struct store *store, const struct expected *e, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct snapshot snapshot = { 0 };
	if (open_indexed(&repo, store, err) < 0 || take_snapshot(repo, e->tag, &snapshot, err) < 0)
		return -1;
	int result = compare(repo, e, &snapshot, err);
	snapshot_done(&snapshot);
	return result;
}

int world_prune(struct store *store, const char *host, unsigned max_unused, uint64_t fence_seconds, uint64_t keep_seconds, uint64_t wait_seconds, struct collect_report *ret, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct collect_options options = { .max_unused = max_unused, .max_repack = UINT64_MAX, .fence_seconds = fence_seconds, .keep_seconds = keep_seconds, .wait_seconds = wait_seconds, .threads = 1, .level = 1, .host = host };
	*ret = (struct collect_report){ 0 };
	return open_indexed(&repo, store, err) < 0 ? -1 : repo_collect(repo, &options, ret, err);
}

static int compare_all(struct repo *repo, const struct expected *list, size_t count, struct error *err)
{
	struct snapshot_list snapshots = { 0 };
	int result = list_snapshots(repo, &snapshots, err);
	for (size_t i = 0; result == 0 && i < count; i++) {
		const struct snapshot_entry *entry = find_tag(&snapshots, list[i].tag);
		if (entry)
			result = compare(repo, &list[i], &entry->snapshot, err);
		else if (!list[i].maybe)
			result = error_set(err, ERR_NOT_FOUND, "snapshot %s is lost", list[i].tag);
	}
	snapshot_list_done(&snapshots);
	return result;
}

int world_compare(struct journal *j, const struct expected *list, size_t count, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct store *store;
	if (store_open_journal(&store, j, err) < 0 || open_indexed(&repo, store, err) < 0)
		return -1;
	return compare_all(repo, list, count, err);
}

int world_verify(struct journal *j, const struct expected *list, size_t count, struct check_report *ret, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct store *store;
	struct check_report report;
	if (store_open_journal(&store, j, err) < 0 || open_indexed(&repo, store, err) < 0 || check_open(repo, ret ? ret : &report, err) < 0)
		return -1;
	return compare_all(repo, list, count, err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void world_remove_folder(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
