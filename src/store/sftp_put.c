/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing objects by SFTP.
 *
 * A put is a file tmp/tmp-..., written in pieces of which up to PUT_FLIGHT bytes are unacknowledged. Commit: the last pieces, a sync of the
 * file, and a look for the name go out together; once all are answered, the rename and the sync of the folder: two round trips. SSH_FXP_RENAME never replaces
 * a file (draft-02, 6.5; OpenSSH makes a hard link and removes the old name), posix-rename does and is only for servers that cannot do it otherwise.
 *
 * When the connection breaks, the put goes on over a new one: the file is opened again, and what was not acknowledged is written again. What was acknowledged
 * before is read back before the commit and compared by a checksum: a server that crashed may have lost it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/retry.h"
#include "store/sftp.h"

#define PUT_FLIGHT (4u << 20)
#define SUM_START 0xcbf29ce484222325u
#define READ_BACK (1u << 20)

/* Part of an object that is not acknowledged yet. */
struct piece {
	struct piece *next;
	struct sftp_request request;
	uint64_t offset;
	uint64_t sum_before; /* of all bytes before it */
	size_t len;
	uint8_t data[];
};

struct sftp_put {
	struct store_put base;
	char *key;
	char tmp[64];
	struct sftp_conn *conn;     /* that handle belongs to; a reference; NULL: none yet, or broken */
	struct sftp_handle handle;
	struct piece *first, *last; /* sent, in order */
	size_t flight;              /* bytes in them */
	uint64_t size, sum;         /* of all that was appended */
	uint64_t check_size, check_sum; /* what has to be read back before the commit; size 0: nothing */
	bool made;                  /* the temporary file is there */
	bool renaming;              /* a rename was sent whose answer did not come */
	bool failed;                /* an append failed for good */
};

/* FNV-1a, 64 bits: against what a crash leaves; no protection from a server that wants to deceive, which the layers above find. */
static uint64_t sum_add(uint64_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ data[i]) * 0x100000001b3u;
	return sum;
}

static void send_piece(struct sftp_put *put, struct piece *p)
{
	CLEAN_BUF struct buf packet = BUF_INIT;
	p->request = (struct sftp_request){ 0 };
	sftp_begin(&packet, SFTP_WRITE);
	sftp_add_bytes(&packet, put->handle.bytes, put->handle.len);
	sftp_add_u64(&packet, p->offset);
	sftp_add_u32(&packet, (uint32_t)p->len);
	sftp_end(&packet, p->len);
	sftp_send(put->conn, &p->request, &packet, p->data, p->len, p->len);
}

/* Everything that was sent is over before the connection may go. */
static void drop_conn(struct sftp_put *put)
{
	if (!put->conn)
		return;
	for (struct piece *p = put->first; p; p = p->next) {
		sftp_wait(put->conn, &p->request);
		sftp_request_done(&p->request);
	}
	sftp_conn_unref(TAKE(put->conn));
	put->handle.len = 0;
}

/* --- opening the temporary file, at first and again ---------------------------------------- */

static int open_tmp(struct sftp_put *put, uint32_t flags, uint32_t *ret_code, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_request r = { 0 };
	CLEAN_FREE char *path = sftp_path(s, put->tmp);
	sftp_ask_open(put->conn, &r, path, flags, s->file_mode);
	return sftp_expect_handle(s, put->conn, &r, &put->handle, "write", put->key, ret_code, err);
}

static int create_tmp(struct sftp_put *put, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	uint32_t flags = SFTP_OPEN_READ | SFTP_OPEN_WRITE | SFTP_OPEN_CREATE | SFTP_OPEN_EXCLUSIVE, code;
	int result = open_tmp(put, flags, &code, err);
	if (result < 0 && code == SFTP_NO_SUCH_FILE) {
		if (sftp_make_folder(s, put->conn, SFTP_TMP, err) < 0)
			return -1;
		result = open_tmp(put, flags, &code, err);
	}
	put->made = result == 0;
	return result;
}

static int reopen_tmp(struct sftp_put *put, bool *ret_gone, struct error *err)
{
	uint32_t code;
	*ret_gone = false;
	if (open_tmp(put, SFTP_OPEN_READ | SFTP_OPEN_WRITE, &code, err) == 0)
		return 0;
	*ret_gone = code == SFTP_NO_SUCH_FILE;
	return -1;
}

/* After a break: a new connection, the file open again, everything unacknowledged under way again. ret_gone: there is no such file any more. */
static int resume(struct sftp_put *put, bool *ret_gone, struct error *err)
{
	*ret_gone = false;
	if (put->conn && !sftp_conn_dead(put->conn))
		return 0;
	drop_conn(put);
	if (sftp_link(sftp_of(put->base.store), &put->conn, err) < 0)
		return -1;
	if (!put->made)
		return create_tmp(put, err) < 0 ? -1 : 0;
	if (reopen_tmp(put, ret_gone, err) < 0)
		return -1;
	put->check_size = put->first ? put->first->offset : put->size;
	put->check_sum = put->first ? put->first->sum_before : put->sum;
	for (struct piece *p = put->first; p; p = p->next)
		send_piece(put, p);
	return 0;
}

/* --- acknowledgements ------------------------------------------------------------------------ */

/* Waits for the oldest piece and frees it. A broken connection leaves it where it is. */
static int reap(struct sftp_put *put, struct error *err)
{
	struct piece *p = put->first;
	uint32_t code;
	if (sftp_expect_ok(sftp_of(put->base.store), put->conn, &p->request, "write", put->key, &code, err) < 0)
		return -1;
	put->first = p->next;
	if (!put->first)
		put->last = NULL;
	put->flight -= p->len;
	free(p);
	return 0;
}

/* Until at most so many bytes are unacknowledged; beyond that takes what is there without waiting. Gets over broken connections. */
static int settle(struct sftp_put *put, size_t flight, struct error *err)
{
	struct error why = { 0 };
	struct retry r;
	bool gone;
	retry_begin(&r, put->base.store, NULL);
	do {
		int result = resume(put, &gone, &why);
		while (result == 0 && put->first && (put->flight > flight || sftp_done(put->conn, &put->first->request)))
			result = reap(put, &why);
		if (result == 0)
			return 0;
	} while (retry_again(&r, &why));
	put->failed = true;
	if (err)
		*err = why;
	return -1;
}

static int add_piece(struct sftp_put *put, const uint8_t *data, size_t len, struct error *err)
{
	struct piece *p = malloc(sizeof *p + len);
	if (!p)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	*p = (struct piece){ .offset = put->size, .sum_before = put->sum, .len = len };
	memcpy(p->data, data, len);
	if (put->last)
		put->last->next = p;
	else
		put->first = p;
	put->last = p;
	put->flight += len;
	put->size += len;
	put->sum = sum_add(put->sum, data, len);
	send_piece(put, p);
	return 0;
}

/* --- the vtable's ------------------------------------------------------------------------------- */

static void put_free(struct sftp_put *put)
{
	if (put->conn) {
		struct sftp_conn *c = sftp_conn_ref(put->conn);
		struct sftp_handle h = put->handle;
		drop_conn(put);
		sftp_close_handle(c, &h);
		sftp_conn_unref(c);
	}
	for (struct piece *p = put->first; p;) {
		struct piece *next = p->next;
		free(p);
		p = next;
	}
	free(put->key);
	free(put);
}

/* As far as it can be done now; what stays is swept later. */
static void remove_tmp(struct sftp_put *put)
{
	struct sftp *s = sftp_of(put->base.store);
	CLEAN_BUF struct buf packet = BUF_INIT;
	CLEAN_FREE char *path = sftp_path(s, put->tmp);
	if (!put->made || !put->conn || !path)
		return;
	sftp_begin(&packet, SFTP_REMOVE);
	sftp_add_text(&packet, path);
	sftp_end(&packet, 0);
	sftp_send_blind(put->conn, &packet);
}

int sftp_put_begin(struct store *st, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	(void)size_hint;
	if (store_check_key(st, key, err) < 0)
		return -1;
	struct sftp_put *put = calloc(1, sizeof *put);
	if (!put || !(put->key = strdup(key))) {
		free(put);
		return error_set(err, ERR_NOMEM, "write %s: out of memory", key);
	}
	put->base.store = st;
	put->sum = SUM_START;
	sftp_tmp_name(sftp_of(st), put->tmp);
	if (sftp_link(sftp_of(st), &put->conn, err) < 0 || create_tmp(put, err) < 0) {
		put_free(put);
		return -1;
	}
	*ret = &put->base;
	return 0;
}

int sftp_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct sftp_put *put = (struct sftp_put *)p;
	const uint8_t *at = data;
	while (len) {
		if (settle(put, PUT_FLIGHT, err) < 0)
			return -1;
		size_t piece = sftp_conn_piece(put->conn);
		if (piece > len)
			piece = len;
		if (add_piece(put, at, piece, err) < 0)
			return -1;
		at += piece;
		len -= piece;
	}
	return 0;
}

void sftp_put_abort(struct store_put *p)
{
	struct sftp_put *put = (struct sftp_put *)p;
	remove_tmp(put);
	put_free(put);
}

/* --- commit ---------------------------------------------------------------------------------------- */

static bool folder_known(struct sftp *s, const char *folder)
{
	bool known = false;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; !known && i < s->folder_count; i++)
		known = strcmp(s->folders[i], folder) == 0;
	pthread_mutex_unlock(&s->lock);
	return known;
}

/* Failing to remember costs round trips later, nothing else. */
static void remember_folder(struct sftp *s, const char *folder)
{
	char *copy = strdup(folder);
	pthread_mutex_lock(&s->lock);
	char **grown = copy ? realloc(s->folders, (s->folder_count + 1) * sizeof *grown) : NULL;
	if (grown) {
		s->folders = grown;
		grown[s->folder_count++] = TAKE(copy);
	}
	pthread_mutex_unlock(&s->lock);
	free(copy);
}

/* The folder of key and those above it; "" for the store itself. */
static int ensure_folders(struct sftp_put *put, char folder[STORE_KEY_MAX + 1], struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	size_t len = strlen(put->key);
	memcpy(folder, put->key, len + 1);
	for (char *slash = strchr(folder, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		bool fine = folder_known(s, folder) || sftp_make_folder(s, put->conn, folder, err) == 0;
		if (fine && !folder_known(s, folder))
			remember_folder(s, folder);
		*slash = '/';
		if (!fine)
			return -1;
	}
	char *last = strrchr(folder, '/');
	*(last ? last : folder) = 0;
	return 0;
}

/* The bytes that were acknowledged over an earlier connection are still there. */
static int read_back(struct sftp_put *put, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	CLEAN_FREE uint8_t *block = put->check_size ? malloc(READ_BACK) : NULL;
	uint64_t sum = SUM_START;
	if (put->check_size && !block)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	for (uint64_t at = 0; at < put->check_size;) {
		size_t part = put->check_size - at < READ_BACK ? (size_t)(put->check_size - at) : READ_BACK;
		if (sftp_fetch(s, put->conn, &put->handle, put->tmp, at, block, part, err) < 0)
			return -1;
		sum = sum_add(sum, block, part);
		at += part;
	}
	if (put->check_size && sum != put->check_sum)
		return error_set(err, ERR_IO, "write %s/%s: after the connection broke the server had lost part of what it had acknowledged; run the command again",
		                 s->base.location, put->key);
	put->check_size = 0;
	return 0;
}

struct commit {
	struct sftp_handle folder; /* open for its sync; empty where that cannot be */
	bool there;                /* something has the name already */
	uint64_t there_size;
};

/* Sync of the file, a look for the name, the folder opened: one round trip. */
static int prepare(struct sftp_put *put, const char *folder, struct commit *ret, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_conn *c = put->conn;
	struct sftp_request synced = { 0 }, looked = { 0 }, opened = { 0 };
	struct sftp_attrs attrs;
	uint32_t code, look_code, open_code;
	struct error why = { 0 };
	bool can_sync = sftp_conn_server(c)->fsync;
	CLEAN_FREE char *path = sftp_path(s, put->key), *folder_path = sftp_path(s, folder);
	if (can_sync)
		sftp_ask_fsync(c, &synced, &put->handle);
	sftp_ask_path(c, &looked, SFTP_LSTAT, path);
	if (can_sync)
		sftp_ask_open(c, &opened, folder_path, SFTP_OPEN_READ, 0);
	int result = can_sync ? sftp_expect_ok(s, c, &synced, "write", put->key, &code, err) : 0;
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

/* Something has the name: this object, when the answer to an earlier rename was lost (the server may have made the link and not removed the old name yet);
 * otherwise another. */
static int found_name(struct sftp_put *put, uint64_t size, struct error *err)
{
	if (!put->renaming || size != put->size)
		return error_set(err, ERR_EXISTS, "write %s/%s: it is there already", put->base.store->location, put->key);
	remove_tmp(put);
	return 0;
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
	CLEAN_BUF struct buf packet = BUF_INIT;
	sftp_begin(&packet, SFTP_EXTENDED);
	sftp_add_text(&packet, "posix-rename@openssh.com");
	sftp_add_text(&packet, from);
	sftp_add_text(&packet, to);
	sftp_end(&packet, 0);
	sftp_send(c, &renamed, &packet, NULL, 0, 0);
	return sftp_expect_ok(s, c, &renamed, "write", put->key, &code, err);
}

/* The rename, and the sync of the folder right behind it. */
static int give_name(struct sftp_put *put, struct commit *commit, struct error *err)
{
	struct sftp *s = sftp_of(put->base.store);
	struct sftp_conn *c = put->conn;
	struct sftp_request renamed = { 0 }, synced = { 0 };
	uint32_t code, sync_code;
	CLEAN_BUF struct buf packet = BUF_INIT;
	CLEAN_FREE char *from = sftp_path(s, put->tmp), *to = sftp_path(s, put->key);
	if (!from || !to)
		return error_set(err, ERR_NOMEM, "write %s: out of memory", put->key);
	sftp_begin(&packet, SFTP_RENAME);
	sftp_add_text(&packet, from);
	sftp_add_text(&packet, to);
	sftp_end(&packet, 0);
	bool before = put->renaming;
	put->renaming = true;
	sftp_send(c, &renamed, &packet, NULL, 0, 0);
	if (commit->folder.len)
		sftp_ask_fsync(c, &synced, &commit->folder);
	int result = sftp_expect_ok(s, c, &renamed, "write", put->key, &code, err);
	if (commit->folder.len)
		sftp_wait(c, &synced);
	if (result < 0 && code != SFTP_OK) {
		put->renaming = before;
		result = rename_otherwise(put, from, to, code, err);
		if (result == 0 && commit->folder.len)
			sftp_ask_fsync(c, &synced, &commit->folder);
	}
	/* A server that cannot sync folders says so: nothing more can be done there. A connection that broke: try again. */
	struct error why = { 0 };
	if (result == 0 && commit->folder.len && sftp_expect_ok(s, c, &synced, "sync", put->key, &sync_code, &why) < 0 && why.passing) {
		if (err)
			*err = why;
		result = -1;
	}
	sftp_request_done(&synced);
	return result;
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

static int try_commit(struct sftp_put *put, struct error *err)
{
	char folder[STORE_KEY_MAX + 1];
	struct commit commit = { 0 };
	bool gone;
	if (resume(put, &gone, err) < 0)
		return gone ? was_renamed(put, err) : -1;
	while (put->first)
		if (reap(put, err) < 0)
			return -1;
	if (ensure_folders(put, folder, err) < 0)
		return -1;
	int result = prepare(put, folder, &commit, err);
	if (result == 0)
		result = read_back(put, err);
	if (result == 0 && !commit.there)
		result = give_name(put, &commit, err);
	else if (result == 0)
		result = found_name(put, commit.there_size, err);
	sftp_close_handle(put->conn, &commit.folder);
	return result;
}

int sftp_put_commit(struct store_put *p, struct error *err)
{
	struct sftp_put *put = (struct sftp_put *)p;
	struct error why = { 0 };
	struct retry r;
	int result;
	retry_begin(&r, p->store, NULL);
	do
		result = try_commit(put, &why);
	while (result < 0 && retry_again(&r, &why));
	if (result < 0) {
		remove_tmp(put);
		if (err)
			*err = why;
	}
	put_free(put);
	return result;
}
