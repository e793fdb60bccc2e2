/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/secrets.h"

#include <stdlib.h>
#include <string.h>

#include "cli/password.h"
#include "cli/session.h"

void secrets_done(struct secrets *s)
{
	for (size_t i = 0; s->items && i < s->count; i++)
		secret_done(&s->items[i]);
	free(s->items);
	free(s->proofs);
	*s = (struct secrets){ 0 };
}

int secrets_open(struct secrets *ret, struct cli *cli, const struct text_list *also, struct repo **ret_repo, struct error *err)
{
	CLEAN(secrets_done) struct secrets s = { 0 };
	CLEAN_REPO struct repo *repo = NULL;
	s.items = calloc(also->count + 1, sizeof *s.items);
	s.proofs = calloc(also->count + 1, sizeof *s.proofs);
	if (!s.items || !s.proofs)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (cli_open_repo_with(cli, 0, &repo, &s.items[0], err) < 0)
		return -1;
	s.count = 1;
	for (size_t i = 0; i < also->count; i++, s.count++)
		if (secret_read_file(&s.items[s.count], also->items[i], err) < 0)
			return -1;
	for (size_t i = 0; i < s.count; i++)
		s.proofs[i] = cli_secret(&s.items[i]);
	*ret_repo = TAKE(repo);
	*ret = s;
	memset(&s, 0, sizeof s); /* *ret has them now */
	return 0;
}
