/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An object that is being written by SFTP: what sftp_put.c, which writes, and sftp_commit.c, which gives it its name, share. One thread at a time. */
#ifndef STORE_SFTP_PUT_H
#define STORE_SFTP_PUT_H

#include "store/sftp.h"
#include "store/sftp_request.h"

#define SFTP_SUM_START 0xcbf29ce484222325u

/* Part of an object that is not acknowledged yet. */
struct piece {
	struct piece *next;
	struct sftp_request request;
	uint64_t offset;
	uint64_t sum_before; /* of all bytes before it */
	size_t len;
	uint8_t data[];
};

struct sftp_put {
	struct store_put base;
	char *key;
	char tmp[64];
	struct sftp_conn *conn;     /* that handle belongs to; a reference; NULL: none yet, or broken */
	struct sftp_handle handle;
	struct piece *first, *last; /* sent, in order */
	size_t flight;              /* bytes in them */
	uint64_t size, sum;         /* of all that was appended */
	uint64_t check_size, check_sum; /* what has to be read back before the commit; size 0: nothing */
	bool made;                  /* the temporary file is there */
	bool renaming;              /* a rename was sent whose answer did not come */
	bool broke;                 /* a connection broke during the commit: what was synced over it, and what not, is not known */
	bool failed;                /* an append failed for good */
	bool over;                  /* takes the place of an object that is there */
};

/* FNV-1a, 64 bits: against what a crash leaves; no protection from a server that wants to deceive, which the layers above find. */
static inline uint64_t sftp_sum_add(uint64_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ data[i]) * 0x100000001b3u;
	return sum;
}

/* After a break: a new connection, the file open again, everything unacknowledged under way again. ret_gone: there is no such file any more. */
int sftp_put_resume(struct sftp_put *put, bool *ret_gone, struct error *err);
/* Waits for the oldest piece and frees it. A broken connection leaves it where it is. */
int sftp_put_reap(struct sftp_put *put, struct error *err);
/* Removes the temporary file as far as it can be done now; what stays is swept later. */
void sftp_put_remove(struct sftp_put *put);
void sftp_put_free(struct sftp_put *put);

#endif
