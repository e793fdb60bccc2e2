/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions (its file PROTOCOL, section 4): pure encoding and
 * decoding. Whatever the server sent is hostile: every length is checked here against the bytes that are there. No state, no locks.
 *
 * A packet is a length (4 bytes, big-endian, of what follows), a type, a request id, and what belongs to the type.
 */
#ifndef STORE_SFTP_PACKET_H
#define STORE_SFTP_PACKET_H

#include "base/buf.h"

enum sftp_type {
	SFTP_INIT = 1, SFTP_VERSION = 2, SFTP_OPEN = 3, SFTP_CLOSE = 4, SFTP_READ = 5, SFTP_WRITE = 6, SFTP_LSTAT = 7, SFTP_FSTAT = 8,
	SFTP_OPENDIR = 11, SFTP_READDIR = 12, SFTP_REMOVE = 13, SFTP_MKDIR = 14, SFTP_RMDIR = 15, SFTP_STAT = 17, SFTP_RENAME = 18,
	SFTP_STATUS = 101, SFTP_HANDLE = 102, SFTP_DATA = 103, SFTP_NAME = 104, SFTP_ATTRS = 105, SFTP_EXTENDED = 200, SFTP_EXTENDED_REPLY = 201,
};

enum sftp_code {
	SFTP_OK = 0, SFTP_EOF = 1, SFTP_NO_SUCH_FILE = 2, SFTP_PERMISSION_DENIED = 3, SFTP_FAILURE = 4, SFTP_BAD_MESSAGE = 5, SFTP_UNSUPPORTED = 8,
};

enum { SFTP_OPEN_READ = 1, SFTP_OPEN_WRITE = 2, SFTP_OPEN_CREATE = 8, SFTP_OPEN_EXCLUSIVE = 32 };

#define SFTP_PACKET_MAX (256u << 10) /* of a reply, without its length; OpenSSH's own limit */
#define SFTP_HANDLE_MAX 256u         /* the draft's limit */
#define SFTP_HEAD 9                  /* length, type, id */
#define SFTP_WRITE_HEAD (SFTP_HEAD + 4 + SFTP_HANDLE_MAX + 8 + 4)

/* --- requests: begin, add fields, end. The id is filled in when the packet is sent (sftp_packet_set_id). */

void sftp_begin(struct buf *b, enum sftp_type type);
void sftp_add_u32(struct buf *b, uint32_t v);
void sftp_add_u64(struct buf *b, uint64_t v);
void sftp_add_bytes(struct buf *b, const void *data, size_t len);
void sftp_add_text(struct buf *b, const char *text);
/* Fills in the length; extra bytes of the packet are sent from elsewhere, behind b. */
void sftp_end(struct buf *b, size_t extra);
void sftp_packet_set_id(struct buf *b, uint32_t id);

/* --- replies -------------------------------------------------------------------- */

/* All of these: false when the bytes are not what they must be; outputs are then untouched or meaningless. */

/* packet: without its length, at least type and id. */
bool sftp_reply_head(const void *packet, size_t len, uint8_t *ret_type, uint32_t *ret_id);

struct sftp_server {
	uint32_t version;
	bool fsync, posix_rename, statvfs, limits; /* extensions in the version that is known here */
};
/* packet: the whole VERSION packet without its length. Unknown extensions are passed over. */
bool sftp_decode_version(struct sftp_server *ret, const void *packet, size_t len);

/* From here on body is what follows the id. */
#define SFTP_TEXT_MAX 160
/* text: the server's words, printable ASCII only, cut to fit. A server may leave them away. */
bool sftp_decode_status(const void *body, size_t len, uint32_t *ret_code, char text[SFTP_TEXT_MAX]);
bool sftp_decode_handle(const void *body, size_t len, const uint8_t **ret, size_t *ret_len);
bool sftp_decode_data(const void *body, size_t len, const uint8_t **ret, size_t *ret_len);

struct sftp_attrs {
	bool has_size, has_mode, has_time;
	uint64_t size;
	uint32_t mode; /* as in struct stat */
	uint32_t mtime;
};
bool sftp_decode_attrs(const void *body, size_t len, struct sftp_attrs *ret);

/* The entries of a READDIR reply, one after the other. */
struct sftp_names {
	struct cursor at;
	uint32_t left;
};
bool sftp_names_begin(struct sftp_names *ret, const void *body, size_t len);
/* False also after the last one: then names->left is 0 and names->at is not bad. name is not terminated, and any bytes. */
bool sftp_names_next(struct sftp_names *names, const uint8_t **ret_name, size_t *ret_len, struct sftp_attrs *ret);

struct sftp_limits {
	uint64_t packet, read, write, handles; /* 0: the server names none */
};
bool sftp_decode_limits(const void *body, size_t len, struct sftp_limits *ret);
/* statvfs@openssh.com: bytes free for this user, and in all. */
bool sftp_decode_space(const void *body, size_t len, uint64_t *ret_free, uint64_t *ret_total);

#endif
