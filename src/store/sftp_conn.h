/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One SFTP connection, shared by all threads: requests go out as they come, up to SFTP_REQUESTS of them are in flight, a thread of the connection
 * takes the replies in and wakes who waits.
 *
 * A connection that broke, or was silent for too long while something was in flight, is dead: every request of it ends as lost,
 * those sent later too. A new connection is a new struct. All functions may be called from any thread; one request belongs to one.
 */
#ifndef STORE_SFTP_CONN_H
#define STORE_SFTP_CONN_H

#include "store/sftp_packet.h"
#include "store/sftp_ssh.h"

#define SFTP_REQUESTS 256u        /* in flight */
#define SFTP_FLIGHT (8u << 20)    /* bytes of data in flight, in both directions together */

struct sftp_conn;

/* Set it to zero, send it, wait for it, look at it, sftp_request_done it. It must stay where it is until it was waited for. */
struct sftp_request {
	void *into;            /* of a READ: where the data goes, into_len bytes at most. NULL: into body */
	size_t into_len;
	/* Valid after sftp_wait: */
	uint8_t type;          /* of the reply */
	bool lost;             /* the connection died first: it may have been done, or not */
	size_t got;            /* bytes written to into, of a DATA reply */
	struct buf body;       /* of the reply, behind the id */
	/* The connection's: */
	bool sent, done, waited, detached;
	size_t weight;
};

/* Connects: runs ssh, agrees on version 3, asks for the limits. timeout: seconds that the server may take for that, and later may be silent
 * while it owes a reply. location: for messages. */
int sftp_conn_open(struct sftp_conn **ret, const struct sftp_location *where, const char *location, unsigned timeout, struct error *err);
struct sftp_conn *sftp_conn_ref(struct sftp_conn *c);
/* The last one ends it. NULL is fine. Not from the connection's own thread. */
void sftp_conn_unref(struct sftp_conn *c);
DEFINE_CLEAN(sftp_conn, sftp_conn_unref)
#define CLEAN_CONN CLEAN(sftp_conn_cleanup)
bool sftp_conn_dead(struct sftp_conn *c);
/* Why it is dead; passing unless there is nothing to hope for. */
int sftp_conn_why(struct sftp_conn *c, const char *doing, struct error *err);

const struct sftp_server *sftp_conn_server(const struct sftp_conn *c);
/* The most bytes of one READ or WRITE: what the server permits, at least 32 KiB, at most 128. */
size_t sftp_conn_piece(const struct sftp_conn *c);

/* Sends packet (sftp_begin ... sftp_end; its id is filled in), and len bytes of data behind it. weight: bytes of data that are in flight by it (to be read or written).
 * Waits for room; where the connection is dead the request ends at once as lost, so this cannot fail. */
void sftp_send(struct sftp_conn *c, struct sftp_request *r, struct buf *packet, const void *data, size_t len, size_t weight);
/* Returns when the reply is there or the connection dead; at once for a request that was never sent (lost then is true). */
void sftp_wait(struct sftp_conn *c, struct sftp_request *r);
/* Is the reply there already? */
bool sftp_done(struct sftp_conn *c, struct sftp_request *r);
/* Sends a request whose reply nobody needs (CLOSE). */
void sftp_send_blind(struct sftp_conn *c, struct buf *packet);
void sftp_request_done(struct sftp_request *r);

#endif
