/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Several passwords and key files at once, for what is done to several keys. */
#ifndef CLI_SECRETS_H
#define CLI_SECRETS_H

#include "cli/cli.h"
#include "repo/repo.h"

struct secret;

/* The one that opened the repository, then those of --also. */
struct secrets {
	struct secret *items;
	struct repo_secret *proofs; /* of the items */
	size_t count;
};

/* Opens the repository, and reads the files of --also. */
int secrets_open(struct secrets *ret, struct cli *cli, const struct text_list *also, struct repo **ret_repo, struct error *err);
void secrets_done(struct secrets *s);

#endif
