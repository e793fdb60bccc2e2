/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names of users and groups, and their numbers, as this system knows them now. Every answer is kept, also "unknown", because the system's own
 * look-up may ask a server and costs from a microsecond to seconds; so a backup or a restore makes one table and drops it at its end.
 *
 * May be called from several threads at once. Two that ask for the same unknown thing at the same time may both ask the system.
 */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clean.h"
#include "base/error.h"

struct names;

int names_new(struct names **ret, struct error *err);
void names_free(struct names *n);
DEFINE_CLEAN(names, names_free)
#define CLEAN_NAMES CLEAN(names_cleanup)

/* NULL where the number has no name (or memory is out). Valid until names_free. */
const char *names_user(struct names *n, uint32_t uid);
const char *names_group(struct names *n, uint32_t gid);

/* False where the name is unknown here; *ret is then untouched. */
bool names_uid(struct names *n, const char *user, uint32_t *ret);
bool names_gid(struct names *n, const char *group, uint32_t *ret);

#endif
