/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What opens a repository: a password or a key file, and where it comes from.
 * Secrets are wiped when they are freed. One thread (the main one).
 */
#ifndef CLI_PASSWORD_H
#define CLI_PASSWORD_H

#include "cli/cli.h"
#include "cli/location.h"

#define SECRET_KEY_SIZE 32
#define SECRET_MAX 4096 /* bytes of a password */

enum secret_kind { SECRET_PASSWORD, SECRET_KEYFILE, SECRET_WRITE_ONLY /* for storing only: repo/writers.h */ };

enum secret_source {
	SECRET_FROM_FILE,     /* --password-file or TWOFOLD_PASSWORD_FILE */
	SECRET_FROM_VARIABLE,
	SECRET_FROM_COMMAND,
	SECRET_FROM_DEFAULT_KEY, /* the default repository's own key file */
	SECRET_FROM_PROMPT,   /* asking again makes sense when it is wrong */
};

struct secret {
	enum secret_kind kind;
	enum secret_source source;
	uint8_t *data;        /* owned; SECRET_KEY_SIZE bytes of a key file, or the password's bytes; a zero stands behind them */
	size_t len;           /* at least 1 */
	char origin[200];     /* for messages: "TWOFOLD_PASSWORD", "the key file /home/..." */
};

void secret_done(struct secret *s);
#define CLEAN_SECRET CLEAN(secret_done)

/* For opening. Order: --recovery-key (asked for on the terminal, line by line), --password-file, TWOFOLD_PASSWORD, TWOFOLD_PASSWORD_FILE, TWOFOLD_PASSWORD_COMMAND, the default repository's key file, a prompt.
 * No source and no terminal: ERR_AUTH that says what to set. */
int secret_for_opening(struct secret *ret, struct cli *cli, const struct location *location, struct error *err);
/* Straight to the prompt, after another secret was wrong. *ret_asked false, and nothing else done, where there is no terminal. */
int secret_ask_again(struct secret *ret, struct cli *cli, const struct location *location, bool *ret_asked, struct error *err);
/* For creating: the same order; a prompt asks twice. For the default location without any source and without a terminal, a random key file is made
 * (or the one that is there is taken), and the user is told to keep a copy. */
int secret_for_creating(struct secret *ret, struct cli *cli, const struct location *location, struct error *err);
/* The additional or new one of key add and key change: file (--new-password-file; NULL: not given), TWOFOLD_NEW_PASSWORD, or a prompt, twice. */
int secret_for_key(struct secret *ret, struct cli *cli, const char *file, struct error *err);

/* Wherever a password is taken from, text that has the form of a recovery key (recovery.h) is taken as the key file's bytes that it stands for.
 * A key file is one line "twofold-key-1 " and 64 hexadecimal digits; lines that begin with # and empty ones before it are skipped.
 * Any other file is a password file: its first line without the line's end is the password. */
int secret_read_file(struct secret *ret, const char *path, struct error *err);
/* 32 new random bytes, kept nowhere: for a recovery key. */
int secret_make_random(struct secret *ret, struct error *err);
/* Makes a key file with new random bytes, mode 0600, durable, and the folders above it (0700). An existing file is never touched: ERR_EXISTS. */
int secret_make_keyfile(struct secret *ret, const char *path, struct error *err);

#endif
