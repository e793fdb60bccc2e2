/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * sftp://[user@]host[:port]/path, and the ssh program that carries it, so that the user's configuration, keys, agent, jump hosts and known hosts count.
 * One thread at a time for one struct.
 */
#ifndef STORE_SFTP_SSH_H
#define STORE_SFTP_SSH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct sftp_location {
	char *user, *port; /* NULL where none was given */
	char *host;
	char *path;        /* of the store on the server, without a slash at its end; "." for the login folder, relative below it */
};

/* Percent signs in the path are decoded (%20); a path that begins with /~/ lies below the login folder. ERR_INVALID for what cannot be meant, such as
 * a host that ssh would take for an option. */
int sftp_location_parse(struct sftp_location *ret, const char *location, struct error *err);
void sftp_location_done(struct sftp_location *l);

struct sftp_ssh {
	pid_t pid;  /* 0: none */
	int socket; /* its standard input and output */
	int errors; /* its standard error, not blocking */
	char said[2048]; /* the end of what it wrote there */
	size_t said_len;
};

#define SFTP_SSH_INIT { 0, -1, -1, "", 0 }

/* Starts ssh. It never asks, never accepts an unknown host key, gives up connecting after timeout seconds, and notices by itself when the
 * server is gone. The words of TWOFOLD_SSH (default "ssh") are the program and options that go before all others. It has a process group of
 * its own: Ctrl-C must not take the connection away from work that is being finished. */
int sftp_ssh_start(struct sftp_ssh *ret, const struct sftp_location *where, unsigned timeout, struct error *err);
/* Takes what is waiting on its standard error. False once that is closed. */
bool sftp_ssh_listen(struct sftp_ssh *ssh);
/* Ends it, and collects what it still says. */
void sftp_ssh_stop(struct sftp_ssh *ssh);
/* Why there is no connection, by what ssh said: ERR_AUTH for keys and host keys; what may pass is marked as passing. Call after sftp_ssh_stop.
 * doing and location begin the text. */
int sftp_ssh_failed(const struct sftp_ssh *ssh, const char *doing, const char *location, struct error *err);

#endif
