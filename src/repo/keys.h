/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The key objects: found, opened, written, changed together. Used by repo.c; what commands call stands in repo.h. */
#ifndef REPO_KEYS_H
#define REPO_KEYS_H

#include "repo/repo.h"

#define KEYS_MAX 1000u /* key objects of a repository that are looked at */

/* Wraps master keys (slots: seal_slots in seal.h) for the secret, in a new key object. */
int keys_write(struct store *store, const uint8_t *slots, unsigned count, unsigned first, const struct repo_secret *secret, const char *label, struct id *ret, struct error *err);

/* Tries the secret on every key object of its kind, those with the most master keys first. ret_slots has room for SEAL_SLOTS_MAX keys. ERR_AUTH: none opens.
 * Where several open, of which some are another repository's, the one whose master keys open an object of this repository is taken. */
int keys_unlock(struct store *store, const struct id *repository, const struct repo_secret *secret, struct id *ret_key, uint8_t *ret_slots, unsigned *ret_count, unsigned *ret_first,
                struct error *err);

#endif
