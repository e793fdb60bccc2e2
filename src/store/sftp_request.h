/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Smaller steps of the SFTP store that sftp.h does not name already: what opening and asking for facts need. */
#ifndef STORE_SFTP_REQUEST_H
#define STORE_SFTP_REQUEST_H

#include "store/sftp.h"

/* Random bytes as hex digits: 2 * count and the zero. */
int sftp_random_hex(char *ret, size_t count, struct error *err);
/* False where the server does not say. */
bool sftp_free_space(struct sftp *s, struct sftp_conn *c, uint64_t *ret_free, uint64_t *ret_total);
/* Makes the store's own folder and all above it that are missing. */
int sftp_make_parents(struct sftp *s, struct sftp_conn *c, struct error *err);

#endif
