/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the kinds of store share, and how each is opened. For the files of this folder only; everybody else
 * includes store/store.h.
 */
#ifndef STORE_KIND_H
#define STORE_KIND_H

#include "store/store.h"

#define STORE_KEY_MAX 200u /* bytes; every kind of store can hold this much below its location */

/* Nonempty parts of [a-z0-9] joined by single slashes, so that no key can leave the store. */
bool store_key_valid(const char *key);
/* "", or a valid key and a slash. */
bool store_prefix_valid(const char *prefix);
/* The same as errors: ERR_INVALID. */
int store_check_key(const struct store *s, const char *key, struct error *err);
int store_check_prefix(const struct store *s, const char *prefix, struct error *err);

/* Rows of the table in store.c. location is given whole, as the user wrote it. */
int store_open_local(struct store **ret, const char *location, enum store_create create, struct error *err);
int store_open_sftp(struct store **ret, const char *location, enum store_create create, struct error *err);
int store_open_s3(struct store **ret, const char *location, enum store_create create, struct error *err);

#endif
