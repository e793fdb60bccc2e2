/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which repository is meant, and where this user's own files lie. */
#ifndef CLI_LOCATION_H
#define CLI_LOCATION_H

#include "cli/cli.h"

struct location {
	char *text;      /* as the user gave it: a folder or scheme://...; the default as an absolute path. Owned */
	bool is_default; /* the embedded one: the first backup creates it by itself */
	/* Of the second repository of a command that has two: its own password, and no other, opens it. */
	const char *side;          /* "TO" or "FROM", part of its variables' names (TWOFOLD_TO_PASSWORD); NULL: the ordinary one */
	const char *password_file; /* --to-password-file; NULL: not given */
	const char *password_command;
};

/* operand (init LOCATION; may be NULL), else --repo, else TWOFOLD_REPOSITORY, else the default. An empty text is a usage error. */
int location_resolve(struct location *ret, struct cli *cli, const char *operand, struct error *err);
void location_done(struct location *l);
#define CLEAN_LOCATION CLEAN(location_done)

/* ${XDG_DATA_HOME:-~/.local/share}/twofold/NAME; the caller frees it. A relative XDG variable counts as not set, as its specification says
 * (XDG Base Directory Specification 0.8). Nothing is created. */
int location_data(char **ret, const char *name, struct error *err);
/* The same under ${XDG_CONFIG_HOME:-~/.config}, ${XDG_CACHE_HOME:-~/.cache} and ${XDG_STATE_HOME:-~/.local/state}. */
int location_config(char **ret, const char *name, struct error *err);
int location_cache(char **ret, const char *name, struct error *err);
int location_state(char **ret, const char *name, struct error *err);
/* A repository must not be made among other files, where it was hardly meant to be: ERR_EXISTS when text is a folder that holds anything but lost+found
 * (every new ext filesystem has it) and what an interrupted init left (the repository layer knows whether that is more). What is no folder here, and what cannot be listed, is left to the store. */
int location_check_empty(const char *text, struct error *err);
/* Creates path and the folders above it that are missing, mode 0700. */
int location_make_folders(const char *path, struct error *err);

#endif
