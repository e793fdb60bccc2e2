/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The key objects: found, opened, written, changed together. Used by repo.c; what commands call stands in repo.h. */
#ifndef REPO_KEYS_H
#define REPO_KEYS_H

#include "repo/repo.h"

#define KEYS_MAX 1000u /* key objects of a repository that are looked at */

/* Wraps the count master keys for the secret, in a new key object. */
int keys_write(struct store *store, const uint8_t *masters, unsigned count, const struct repo_secret *secret, const char *label, struct id *ret, struct error *err);

/* Tries the secret on every key object of its kind, those with the most master keys first. ret_masters has room for SEAL_EPOCHS_MAX keys. ERR_AUTH: none opens.
 * Where several open, of which some are another repository's, the one whose master keys open an object of this repository is taken. */
int keys_unlock(struct store *store, const struct id *repository, const struct repo_secret *secret, struct id *ret_key, uint8_t *ret_masters, unsigned *ret_count, struct error *err);

#endif
