/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The first step of nearly every command: find the repository, unlock it, load its index. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli/cli.h"
#include "base/warn.h"
#include "repo/repo.h"

enum {
	SESSION_INDEX = 1,  /* load the index too */
	SESSION_WRITES = 4, /* the command reads nothing, so that a write-only key will do */
	SESSION_CREATE = 2, /* the embedded default repository is made where it is missing */
};

/* Resolves location and secret, opens. Where the secret came from a prompt and was wrong, asks again, twice. */
int cli_open_repo(struct cli *cli, unsigned flags, struct repo **ret, struct error *err);

/* The same, and gives the secret that opened it (free it with secret_done). */
struct secret;
int cli_open_repo_with(struct cli *cli, unsigned flags, struct repo **ret, struct secret *ret_secret, struct error *err);

/* Ctrl-C ends the waiting for a store that does not answer, and the user is told of it. cli must outlive the store. Before the store is used. */
void cli_watch_store(struct cli *cli, struct store *store);

/* store moves no more than --limit-upload and --limit-download allow, all stores of this program together. Before it is used. */
int cli_limit_store(struct cli *cli, struct store **store, struct error *err);

/* The same for the second repository of a command: location's text, side and password_file or password_command are set. SESSION_CREATE: made where there is none. */
struct location;
int cli_open_other(struct cli *cli, const struct location *location, unsigned flags, struct repo **ret, struct error *err);

struct cli_new_repo {
	unsigned parity;       /* percent, or 0 for none */
	struct repo_lock lock; /* of what is stored in it */
};
/* Makes a repository at location (NULL: --repo and so on) and says so. */
int cli_make_repo(struct cli *cli, const char *location, const struct cli_new_repo *wanted, struct error *err);

/* The secret as repo.h takes it: to open with; or to make a key with: for a password it is measured here what it may cost (seal_argon_measure), and a weaker one than usual is warned of. Borrows s. */
struct repo_secret cli_secret(const struct secret *s);
int cli_new_secret(struct cli *cli, const struct secret *s, struct repo_secret *ret, struct error *err);

/* "user@host", a key's label. */
void cli_label(char *ret, size_t size);
/* This machine's name, and the user's. */
const char *cli_host(void);
const char *cli_user(void);

/* A warner that prints through cli_warn_error. */
struct warner cli_warner(struct cli *cli);

#endif
