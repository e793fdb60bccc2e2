/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of the SFTP store share: the store, its connection, small requests. sftp.c opens and reads, sftp_put.c and sftp_commit.c write, sftp_list.c lists and sweeps.
 * All functions may be called from several threads.
 */
#ifndef STORE_SFTP_H
#define STORE_SFTP_H

#include <pthread.h>

#include "store/folders.h"
#include "store/kind.h"
#include "store/sftp_conn.h"

#define SFTP_TMP "tmp"
#define SFTP_TMP_START "tmp-"
#define SFTP_OPEN_SLOTS 32 /* objects kept open for reading */

struct sftp_handle {
	uint8_t bytes[SFTP_HANDLE_MAX];
	size_t len; /* 0: none */
};

/* An object that is open for reading. */
struct sftp_slot {
	char *key;               /* NULL: nothing can find it; owned */
	struct sftp_conn *conn;  /* the handle is of this connection; a reference. NULL: empty */
	struct sftp_handle handle;
	unsigned users;
	uint64_t used;           /* the smallest goes first */
};

struct sftp {
	struct store base;
	struct sftp_location where;
	unsigned timeout;
	uint32_t file_mode, folder_mode;
	char instance[17];         /* begins the names of temporary files of this struct store */
	pthread_mutex_t lock;      /* guards all below */
	pthread_mutex_t connecting; /* one thread at a time connects; taken before lock */
	struct sftp_conn *conn;
	struct folders known;      /* to be there */
	struct folders made;       /* paths of those that were made */
	uint64_t clock, puts;
	struct sftp_slot slots[SFTP_OPEN_SLOTS];
};

static inline struct sftp *sftp_of(struct store *s)
{
	return (struct sftp *)s;
}

/* A living connection, made anew where the last one broke. The caller unrefs it. */
int sftp_link(struct sftp *s, struct sftp_conn **ret, struct error *err);

/* The path on the server of a key or folder; freed by the caller, NULL when memory is out. "" is the store itself. */
char *sftp_path(const struct sftp *s, const char *key);

/* Requests of one path, or one handle. sftp_ask_path: LSTAT, STAT, REMOVE, RMDIR, OPENDIR; a path of NULL is one that memory was out for: the request ends as lost. */
void sftp_ask_path(struct sftp_conn *c, struct sftp_request *r, enum sftp_type type, const char *path);
void sftp_ask_open(struct sftp_conn *c, struct sftp_request *r, const char *path, uint32_t flags, uint32_t mode);
void sftp_ask_mkdir(struct sftp_conn *c, struct sftp_request *r, const char *path, uint32_t mode);
void sftp_ask_handle(struct sftp_conn *c, struct sftp_request *r, enum sftp_type type, const struct sftp_handle *h);
void sftp_ask_fsync(struct sftp_conn *c, struct sftp_request *r, const struct sftp_handle *h);
/* Gives h back; nobody waits. */
void sftp_close_handle(struct sftp_conn *c, struct sftp_handle *h);

/* Waits for r; 0 when the answer is OK. ret_code: the server's, SFTP_OK where it answered something else than a status. Otherwise an error that says
 * what was attempted on which key. Empties r in each case. */
int sftp_expect_ok(struct sftp *s, struct sftp_conn *c, struct sftp_request *r, const char *what, const char *key, uint32_t *ret_code, struct error *err);
int sftp_expect_handle(struct sftp *s, struct sftp_conn *c, struct sftp_request *r, struct sftp_handle *ret, const char *what, const char *key, uint32_t *ret_code,
                       struct error *err);
/* SFTP_NO_SUCH_FILE is an error too; ask ret_code. */
int sftp_expect_attrs(struct sftp *s, struct sftp_conn *c, struct sftp_request *r, struct sftp_attrs *ret, const char *what, const char *key, uint32_t *ret_code,
                      struct error *err);

/* Reads exactly len bytes at offset, in pieces that are all under way at once. */
int sftp_fetch(struct sftp *s, struct sftp_conn *c, const struct sftp_handle *h, const char *key, uint64_t offset, void *data, size_t len, struct error *err);

/* Replaces *ret by all of a file of at most max bytes: its size and its first bytes are asked for at once. A longer one: ERR_CORRUPT. */
int sftp_fetch_whole(struct sftp *s, struct sftp_conn *c, const struct sftp_handle *h, const char *key, size_t max, struct buf *ret, struct error *err);

/* The server's clock, seconds, by a file made for it. False where that cannot be. */
bool sftp_now(struct sftp *s, struct sftp_conn *c, int64_t *ret);
/* A new name for a temporary file, as a key. */
void sftp_tmp_name(struct sftp *s, char ret[64]);
/* A folder of this path was made: sftp_unmake takes it away. */
void sftp_note_made(struct sftp *s, const char *path);
/* Makes a folder (its parents must be there), durably; it may be there already. */
int sftp_make_folder(struct sftp *s, struct sftp_conn *c, const char *folder, struct error *err);

/* sftp_put.c, sftp_commit.c */
int sftp_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err);
int sftp_put_append(struct store_put *put, const void *data, size_t len, struct error *err);
int sftp_put_commit(struct store_put *put, struct error *err);
void sftp_put_abort(struct store_put *put);
int sftp_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err);
/* What is remembered of the object. */
void sftp_forget(struct sftp *s, const char *key);
/* sftp_list.c */
int sftp_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err);
int sftp_sweep(struct store *s, uint64_t min_age, uint64_t *ret_removed, struct error *err);

#endif
