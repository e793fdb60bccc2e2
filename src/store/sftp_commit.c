/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end of an object that is written by SFTP. The last pieces, a sync of the file, a look for the name, and what makes missing folders go out together; once all are
 * answered, the rename and the syncs of folders: two round trips. SSH_FXP_RENAME never replaces a file (draft-02, 6.5; OpenSSH makes a hard link and removes the old
 * name), posix-rename does and is only for servers that cannot do it otherwise.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/retry.h"
#include "store/sftp_put.h"

#define READ_BACK (1u << 20)

static bool folder_known(struct sftp *s, const char *folder)
{
	pthread_mutex_lock(&s->lock);
	bool known = folders_have(&s->known, folder);
	pthread_mutex_unlock(&s->lock);
	return known;
}

/* Failing to remember costs round trips later, nothing else. */
static void remember_folder(struct sftp *s, const char *folder)
{
	pthread_mutex_lock(&s->lock);
	folders_add(&s->known, folder);
	pthread_mutex_unlock(&s->lock);
}

/* "" for the store itself. */
static void folder_of(const struct sftp_put *put, char ret[STORE_KEY_MAX + 1])
{
	const char *slash = strrchr(put->key, '/');
	size_t len = slash ? (size_t)(slash - put->key) : 0;
	memcpy(ret, put->key, len);
	ret[len] = 0;
}

/* The folder of key and those above it. */
static int ensure_folders(struct sftp_put *put, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	char folder[STORE_KEY_MAX + 1];
	memcpy(folder, put->key, strlen(put->key) + 1);
	for (char *slash = strchr(folder, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		bool fine = folder_known(s, folder) || sftp_make_folder(s, put->conn, folder, err) == 0;
		if (fine && !folder_known(s, folder))
			remember_folder(s, folder);
		*slash = '/';
		if (!fine)
			return -1;
	}
	return 0;
}

/* The bytes that were acknowledged over an earlier connection are still there. */
static int read_back(struct sftp_put *put, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	CLEAN_FREE uint8_t *block = put->check_size ? malloc(READ_BACK) : NULL;
	uint64_t sum = SFTP_SUM_START;
	if (put->check_size && !block)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	for (uint64_t at = 0; at < put->check_size;) {
		size_t part = put->check_size - at < READ_BACK ? (size_t)(put->check_size - at) : READ_BACK;
		if (sftp_fetch(s, put->conn, &put->handle, put->tmp, at, block, part, err) < 0)
			return -1;
		sum = sftp_sum_add(sum, block, part);
		at += part;
	}
	if (put->check_size && sum != put->check_sum)
		return error_set(err, ERR_IO, "write %s/%s: after the connection broke the server had lost part of what it had acknowledged; run the command again",
		                 s->base.location, put->key);
	put->check_size = 0;
	return 0;
}

#define LEVELS_MAX 3 /* folders in a key */

struct commit {
	struct sftp_handle folder; /* open for its sync; empty where that cannot be */
	struct sftp_handle above[LEVELS_MAX]; /* of each folder that was made just now: what it lies in, likewise */
	unsigned above_count;
	bool there;                /* something has the name already */
	uint64_t there_size;
};

/* Folders that are not known to be there are made without asking first: those that are there fail, which costs no time. */
struct making {
	struct sftp_request made[LEVELS_MAX], above[LEVELS_MAX];
	char folders[LEVELS_MAX][STORE_KEY_MAX + 1];
	unsigned count;
};

static void ask_folders(struct sftp_put *put, const char *folder, struct making *m)
{
	struct sftp *s = sftp_of(put->base.store);
	const char *end = folder;
	m->count = 0;
	while (*end && m->count < LEVELS_MAX) {
		const char *start = end;
		end += 1 + strcspn(end + 1, "/");
		char *name = m->folders[m->count];
		snprintf(name, STORE_KEY_MAX + 1, "%.*s", (int)(end - folder), folder);
		if (folder_known(s, name))
			continue;
		char parent[STORE_KEY_MAX + 1];
		snprintf(parent, sizeof parent, "%.*s", (int)(start - folder), folder);
		CLEAN_FREE char *path = sftp_path(s, name), *above = sftp_path(s, parent);
		m->made[m->count] = m->above[m->count] = (struct sftp_request){ 0 };
		sftp_ask_mkdir(put->conn, &m->made[m->count], path, s->folder_mode);
		sftp_ask_open(put->conn, &m->above[m->count], above, SFTP_OPEN_READ, 0);
		m->count++;
	}
}

static void take_folders(struct sftp_put *put, struct making *m, struct commit *ret)
{
	struct sftp *s = sftp_of(put->base.store);
	for (unsigned i = 0; i < m->count; i++) {
		struct sftp_handle *above = &ret->above[ret->above_count];
		uint32_t code;
		bool made = sftp_expect_ok(s, put->conn, &m->made[i], "make the folder", m->folders[i], &code, NULL) == 0;
		bool open = sftp_expect_handle(s, put->conn, &m->above[i], above, "open", m->folders[i], &code, NULL) == 0;
		CLEAN_FREE char *path = made ? sftp_path(s, m->folders[i]) : NULL;
		if (path)
			sftp_note_made(s, path);
		if (made && open)
			ret->above_count++;
		else if (open)
			sftp_close_handle(put->conn, above);
	}
}

/* They are there, and what they lie in is synced. */
static void remember_folders(struct sftp *s, const char *key)
{
	char folder[STORE_KEY_MAX + 1];
	for (const char *slash = strchr(key, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(folder, sizeof folder, "%.*s", (int)(slash - key), key);
		if (!folder_known(s, folder))
			remember_folder(s, folder);
	}
}

/* What is still unacknowledged, sync of the file (a server works on one file in the order of the requests: draft-02, 6.1), a look for the name, the folder opened: one round trip. */
static int prepare(struct sftp_put *put, const char *folder, struct commit *ret, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_conn *c = put->conn;
	struct sftp_request synced = { 0 }, looked = { 0 }, opened = { 0 };
	struct sftp_attrs attrs;
	uint32_t code, look_code, open_code;
	struct error why = { 0 };
	bool can_sync = sftp_conn_server(c)->fsync;
	struct making making = { .count = 0 };
	CLEAN_FREE char *path = sftp_path(s, put->key), *folder_path = sftp_path(s, folder);
	if (can_sync) {
		sftp_ask_fsync(c, &synced, &put->handle);
		ask_folders(put, folder, &making);
	}
	sftp_ask_path(c, &looked, SFTP_LSTAT, path);
	if (can_sync)
		sftp_ask_open(c, &opened, folder_path, SFTP_OPEN_READ, 0);
	int result = 0;
	while (result == 0 && put->first)
		result = sftp_put_reap(put, err);
	take_folders(put, &making, ret);
	if (can_sync && sftp_expect_ok(s, c, &synced, "write", put->key, &code, result == 0 ? err : NULL) < 0)
		result = -1;
	ret->there = sftp_expect_attrs(s, c, &looked, &attrs, "look for", put->key, &look_code, &why) == 0;
	ret->there_size = ret->there && attrs.has_size ? attrs.size : 0;
	ret->folder.len = 0;
	if (can_sync)
		sftp_expect_handle(s, c, &opened, &ret->folder, "open", folder, &open_code, NULL);
	if (result == 0 && !ret->there && look_code != SFTP_NO_SUCH_FILE) {
		if (err)
			*err = why;
		result = -1;
	}
	return result;
}

/* In most cases the folder is there, and open by now. Otherwise it is made; where it cannot be synced (an account that may not read it), it is not. */
static int find_folder(struct sftp_put *put, const char *folder, struct commit *commit, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_request opened = { 0 };
	uint32_t code;
	if (commit->folder.len)
		return 0;
	if (ensure_folders(put, err) < 0)
		return -1;
	if (!sftp_conn_server(put->conn)->fsync)
		return 0;
	CLEAN_FREE char *path = sftp_path(s, folder);
	sftp_ask_open(put->conn, &opened, path, SFTP_OPEN_READ, 0);
	sftp_expect_handle(s, put->conn, &opened, &commit->folder, "open", folder, &code, NULL);
	return 0;
}

/* Something has the name: this object, when the answer to an earlier rename was lost (the server may have made the link and not removed the old name yet);
 * otherwise another. */
static int found_name(struct sftp_put *put, uint64_t size, struct error *err)
{
	if (!put->renaming || size != put->size)
		return error_set(err, ERR_EXISTS, "write %s/%s: it is there already", put->base.store->location, put->key);
	sftp_put_remove(put);
	return 0;
}

static void rename_over(struct sftp_put *put, const char *from, const char *to, struct sftp_request *ret)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	sftp_begin(&packet, SFTP_EXTENDED);
	sftp_add_text(&packet, "posix-rename@openssh.com");
	sftp_add_text(&packet, from);
	sftp_add_text(&packet, to);
	sftp_end(&packet, 0);
	sftp_send(put->conn, ret, &packet, NULL, 0, 0);
}

/* Where the plain rename failed though nothing has the name: a server whose filesystem has no links. */
static int rename_otherwise(struct sftp_put *put, const char *from, const char *to, uint32_t code, struct error *err)
{
	/* put->renaming: an earlier rename, whose answer was lost, may have been done only now. */
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_conn *c = put->conn;
	struct sftp_request looked = { 0 }, renamed = { 0 };
	struct sftp_attrs attrs;
	uint32_t look_code;
	if (code != SFTP_FAILURE && code != SFTP_UNSUPPORTED && !(code == SFTP_NO_SUCH_FILE && put->renaming))
		return -1;
	sftp_ask_path(c, &looked, SFTP_LSTAT, to);
	if (sftp_expect_attrs(s, c, &looked, &attrs, "look for", put->key, &look_code, NULL) == 0)
		return found_name(put, attrs.has_size ? attrs.size : 0, err);
	if (code == SFTP_NO_SUCH_FILE || look_code != SFTP_NO_SUCH_FILE || !sftp_conn_server(c)->posix_rename)
		return -1;
	rename_over(put, from, to, &renamed);
	return sftp_expect_ok(s, c, &renamed, "write", put->key, &code, err);
}

/* The folder's sync, and those of what new folders lie in; before them the file's own once more, for servers whose disk is FAT (see local_rename_is_whole). A server that cannot sync folders says so: nothing more can be done there. A connection that broke: try again. */
struct syncs {
	struct sftp_request file, folder, above[LEVELS_MAX];
};

static void ask_syncs(struct sftp_put *put, struct commit *commit, struct syncs *ret)
{
	struct sftp_conn *c = put->conn;
	*ret = (struct syncs){ 0 };
	if (sftp_conn_server(c)->fsync)
		sftp_ask_fsync(c, &ret->file, &put->handle);
	if (commit->folder.len)
		sftp_ask_fsync(c, &ret->folder, &commit->folder);
	for (unsigned i = 0; i < commit->above_count; i++)
		sftp_ask_fsync(c, &ret->above[i], &commit->above[i]);
}

static int take_sync(struct sftp_put *put, struct sftp_request *r, struct error *err)
{
	struct error why = { 0 };
	uint32_t code;
	if (sftp_expect_ok(sftp_of(put->base.store), put->conn, r, "sync", put->key, &code, &why) == 0 || !why.passing)
		return 0;
	if (err)
		*err = why;
	return -1;
}

static int take_syncs(struct sftp_put *put, const struct commit *commit, struct syncs *syncs, struct error *err)
{
	int result = 0;
	if (sftp_conn_server(put->conn)->fsync && take_sync(put, &syncs->file, err) < 0)
		result = -1;
	if (commit->folder.len && take_sync(put, &syncs->folder, err) < 0)
		result = -1;
	for (unsigned i = 0; i < commit->above_count; i++)
		if (take_sync(put, &syncs->above[i], err) < 0)
			result = -1;
	return result;
}

/* The rename, and the sync of the folder right behind it. */
static int give_name(struct sftp_put *put, struct commit *commit, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_conn *c = put->conn;
	struct sftp_request renamed = { 0 };
	struct syncs syncs;
	uint32_t code;
	CLEAN_BUF struct buf packet = BUF_INIT;
	CLEAN_FREE char *from = sftp_path(s, put->tmp), *to = sftp_path(s, put->key);
	if (!from || !to)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	bool before = put->renaming;
	put->renaming = true;
	if (put->over) {
		rename_over(put, from, to, &renamed);
	} else {
		sftp_begin(&packet, SFTP_RENAME);
		sftp_add_text(&packet, from);
		sftp_add_text(&packet, to);
		sftp_end(&packet, 0);
		sftp_send(c, &renamed, &packet, NULL, 0, 0);
	}
	ask_syncs(put, commit, &syncs);
	int result = sftp_expect_ok(s, c, &renamed, "write", put->key, &code, err);
	int synced = take_syncs(put, commit, &syncs, result == 0 ? err : NULL);
	if (result < 0 && code != SFTP_OK && !put->over) {
		put->renaming = before;
		result = rename_otherwise(put, from, to, code, err);
		if (result == 0) {
			ask_syncs(put, commit, &syncs);
			synced = take_syncs(put, commit, &syncs, err);
		}
	}
	if (result == 0 && synced == 0)
		remember_folders(s, put->key);
	return result == 0 ? synced : result;
}

/* The temporary file is not there any more: it has got its name before the connection broke, or somebody removed it. */
static int was_renamed(struct sftp_put *put, struct error *err)
{
	bool found;
	uint64_t size;
	struct store *st = put->base.store;
	if (put->renaming && st->ops->stat(st, put->key, &found, &size, err) < 0)
		return -1;
	if (put->renaming && found && size == put->size)
		return 0;
	return error_set(err, ERR_IO, "write %s/%s: its temporary file on the server is gone; did somebody tidy up there? Run the command again", st->location, put->key);
}

static int sync_one(struct sftp_put *put, const char *name, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_request opened = { 0 }, synced = { 0 };
	struct sftp_handle handle = { 0 };
	struct error why = { 0 };
	uint32_t code;
	CLEAN_FREE char *path = sftp_path(s, name);
	sftp_ask_open(put->conn, &opened, path, SFTP_OPEN_READ, 0);
	if (sftp_expect_handle(s, put->conn, &opened, &handle, "sync", name, &code, &why) < 0) {
		if (why.passing && err)
			*err = why;
		return why.passing ? -1 : 0;
	}
	sftp_ask_fsync(put->conn, &synced, &handle);
	int result = take_sync(put, &synced, err);
	sftp_close_handle(put->conn, &handle);
	return result;
}

/* The object under its name, and every folder above it. */
static int sync_whole_path(struct sftp_put *put, struct error *err)
{
	char name[STORE_KEY_MAX + 1];
	if (!sftp_conn_server(put->conn)->fsync)
		return 0;
	snprintf(name, sizeof name, "%s", put->key);
	for (;;) {
		if (sync_one(put, name, err) < 0)
			return -1;
		if (!*name)
			return 0;
		char *slash = strrchr(name, '/');
		*(slash ? slash : name) = 0;
	}
}

static int try_commit(struct sftp_put *put, struct error *err)
{
	char folder[STORE_KEY_MAX + 1];
	struct commit commit = { 0 };
	bool gone;
	if (sftp_put_resume(put, &gone, err) < 0)
		return !gone || was_renamed(put, err) < 0 ? -1 : sync_whole_path(put, err);
	folder_of(put, folder);
	int result = prepare(put, folder, &commit, err);
	if (result == 0)
		result = find_folder(put, folder, &commit, err);
	if (result == 0)
		result = read_back(put, err);
	if (result == 0 && (!commit.there || put->over))
		result = give_name(put, &commit, err);
	else if (result == 0)
		result = found_name(put, commit.there_size, err);
	if (result == 0 && put->broke)
		result = sync_whole_path(put, err);
	sftp_close_handle(put->conn, &commit.folder);
	for (unsigned i = 0; i < commit.above_count; i++)
		sftp_close_handle(put->conn, &commit.above[i]);
	return result;
}

int sftp_put_commit(struct store_put *p, struct error *err)
{
	struct sftp_put *put = (struct sftp_put *)p;
	struct error why = { 0 };
	struct retry r;
	int result;
	retry_begin(&r, p->store, NULL);
	while ((result = try_commit(put, &why)) < 0 && retry_again(&r, &why))
		put->broke = true;
	if (result < 0) {
		sftp_put_remove(put);
		if (err)
			*err = why;
	}
	sftp_put_free(put);
	return result;
}

int sftp_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct store_put *p;
	if (sftp_put_begin(s, key, len, &p, err) < 0)
		return -1;
	struct sftp_put *put = (struct sftp_put *)p;
	put->over = true;
	if (sftp_put_append(p, data, len, err) < 0) {
		sftp_put_abort(p);
		return -1;
	}
	if (put->conn && !sftp_conn_server(put->conn)->posix_rename) {
		sftp_put_abort(p);
		return error_set(err, ERR_UNSUPPORTED, "replace %s/%s: the server lacks the extension posix-rename@openssh.com", s->location, key);
	}
	int result = sftp_put_commit(p, err);
	sftp_forget(sftp_of(s), key);
	return result;
}
