/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The small documents of a repository: public header, key object, snapshot, session, tombstone.
 * Pure codecs, all versioned, all limits checked. See docs/FORMAT.md.
 *
 * Snapshot, session and tombstone are field lists: le16 version, then fields (varint tag, blob) with ascending tags (repeatable where so said), so that a later minor addition can
 * be skipped by an older reader when its tag is odd ("may be ignored") and must be refused when it is even ("must be understood").
 */
#ifndef REPO_FORMAT_DOCUMENT_H
#define REPO_FORMAT_DOCUMENT_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/id.h"
#include "seal/seal.h"

#define FORMAT_VERSION 1u
#define HEADER_VERSION 2u /* of the header: 2 where new objects are locked, which an older program would not do; else 1 */
#define OBJECT_VERSION 2u /* of packs, sealed objects and segments: 2 where another key than the first master key sealed them */

/* --- which key sealed an object: 5 bytes of its clear head: u8 how, le16 epoch, 2 zero --------- */
#define SEAL_BY_SIZE 5
/* Version of a head that holds this: 1 where it is the first master key, as all objects were before there were others, else 2. */
uint16_t head_by_version(const struct seal_by *by);
void head_by_encode(uint8_t ret[SEAL_BY_SIZE], const struct seal_by *by);
/* False where the bytes are not what a head of this version holds. session: the head's. */
bool head_by_decode(struct seal_by *ret, uint16_t version, const uint8_t bytes[SEAL_BY_SIZE], const struct id *session);

/* --- public header: object "twofold", in clear, fixed 64 bytes --------------------------------
 * magic "TWOFOLD\n" [8], le16 version, u8 hash (1 keyed BLAKE3), u8 cipher (1 ChaCha20-Poly1305), u8 compression (1 zstd), u8 cutting (1 Gear+AES),
 * u8 lock (0 none, 1 compliance, 2 governance), 1 zero byte, repository id[32], le32 seconds of the lock, 8 zero bytes, le32 CRC-32C (Castagnoli) of the 60 bytes before.
 * Version 1: no lock. */
#define HEADER_SIZE 64u
struct repo_header {
	uint16_t version;
	uint8_t hash, cipher, compression, cutting;
	struct id repository;
	uint8_t lock;          /* 0, or an enum store_lock_mode, for lock_seconds */
	uint32_t lock_seconds;
};
#define HEADER_LOCK_MAX 2u
void repo_header_encode(uint8_t ret[HEADER_SIZE], const struct repo_header *h);
/* Not a repository (magic): ERR_CORRUPT; a newer version or an unknown algorithm: ERR_UNSUPPORTED naming both versions. */
int repo_header_decode(struct repo_header *ret, const uint8_t *bytes, size_t len, struct error *err);

/* --- key object: keys/ID -------------------------------------------------------------------- */
struct key_object {
	struct time_ns created;
	char label[128];          /* "alice@laptop", for key list; in clear */
	struct seal_wrapped wrapped;
};
/* ret_aad_len: how many leading bytes are the associated data of the wrapping (everything before .sealed). */
void key_object_encode(struct buf *b, const struct key_object *k, size_t *ret_aad_len);
int key_object_decode(struct key_object *ret, const uint8_t *bytes, size_t len, size_t *ret_aad_len, struct error *err);

/* --- snapshot --------------------------------------------------------------------------------- */
#define SNAPSHOT_LIST_MAX 65536u  /* sources; tags */
#define SNAPSHOT_VOLUMES_MAX 4096u
#define SNAPSHOT_TEXT_MAX 4096u   /* bytes of one of a volume's texts */
/* After decoding no text is NULL: what was not stored is "". */
enum snapshot_kind { SNAPSHOT_FILES = 1, SNAPSHOT_IMAGE = 2 };

struct blob { /* bytes, owned, zero-terminated for convenience */
	char *data;
	size_t len;
};
struct blob_list {
	struct blob *items;
	size_t count;
};
void blob_list_done(struct blob_list *l);
int blob_list_add(struct blob_list *l, const void *data, size_t len); /* -1: out of memory */

struct snapshot_totals {
	uint64_t files, dirs, others;       /* entries in the snapshot */
	uint64_t bytes;                     /* of files; of an image: of the disk */
	uint64_t files_new, files_changed, files_unchanged;
	uint64_t bytes_read;                /* read from the source */
	uint64_t added_raw, added_stored;   /* new chunks: before and after compression and sealing */
	uint64_t warnings;                  /* over 0: exit code was 3 */
	uint64_t nanoseconds;               /* how long it took */
};

/* A partition of an image, or the bare filesystem (number 0). */
struct snapshot_volume {
	uint32_t number;
	uint64_t offset, size;              /* bytes on the disk */
	uint8_t mbr_type;
	uint8_t type_guid[16], guid[16];
	char *name;                         /* GPT name, or ""; owned */
	char *fs_type, *fs_uuid, *fs_label; /* "" where unknown; owned */
	uint64_t fs_used;
	bool raw;                           /* stored whole (all that is not zero), not by its used map */
	char *raw_reason;                   /* why, or ""; owned */
	bool has_tree;                      /* a reader understood it: */
	struct id tree;                     /* root directory's SEQ_ENTRIES */
	struct attr root_attr;              /* of the root directory itself */
	struct id inodes;                   /* SEQ_INODES */
};

struct snapshot {
	enum snapshot_kind kind;
	struct time_ns time;
	char *host, *user, *program;        /* program: "twofold 0.1"; owned */
	struct blob_list sources;           /* absolute paths, or the device */
	struct blob_list tags;
	bool has_parent;
	struct id parent;
	bool has_origin;                    /* a copy, of this snapshot in this repository, made then: */
	struct id origin_repository, origin;
	struct time_ns copied;
	struct id session;
	struct snapshot_totals totals;
	/* files: */
	struct id tree;                     /* SEQ_ENTRIES of the root "/" */
	/* image: */
	uint64_t disk_size;
	uint32_t sector;
	uint8_t table;                      /* enum part_table_kind's value: 0 none, 1 MBR, 2 GPT */
	uint8_t disk_guid[16];
	uint32_t mbr_signature;
	char *model;                        /* what the device called itself, or ""; owned */
	struct id map;                      /* SEQ_MAP */
	struct snapshot_volume *volumes;
	size_t volume_count;
	/* Not in the document: the write-only key of the machine that wrote it, where there is one (repo_snapshot_read sets these). */
	bool has_writer;
	struct id writer;
};
void snapshot_done(struct snapshot *s);
void snapshot_encode(struct buf *b, const struct snapshot *s);
int snapshot_decode(struct snapshot *ret, const uint8_t *bytes, size_t len, struct error *err);

/* --- write-only keys: docs/FORMAT.md, "Write-only keys" ------------------------------------------- */
/* The clear object sealed/SESSION: the key of a session, for whoever has the secret half of the write-only key. */
#define SESSION_BOX_SIZE (80u + SEAL_BOX_SIZE)
struct session_box {
	struct id session, writer;
	uint8_t box[SEAL_BOX_SIZE];
};
void session_box_encode(uint8_t ret[SESSION_BOX_SIZE], const struct session_box *s);
int session_box_decode(struct session_box *ret, const uint8_t *bytes, size_t len, struct error *err);

/* Payload of writers/ID. */
struct writer_key {
	struct time_ns created;
	uint8_t secret_half[SEAL_KEY_SIZE];
	char *label;                        /* for people; owned */
};
void writer_key_done(struct writer_key *w); /* wipes the secret */
void writer_key_encode(struct buf *b, const struct writer_key *w);
int writer_key_decode(struct writer_key *ret, const uint8_t *bytes, size_t len, struct error *err);

/* --- session and tombstone ------------------------------------------------------------------------ */
enum session_work { WORK_BACKUP = 1, WORK_IMAGE = 2, WORK_COLLECT = 3, WORK_COPY = 4, WORK_REPAIR = 5 };

struct session {
	struct time_ns started, refreshed;
	char *host;                         /* owned */
	uint64_t pid;
	uint8_t work;                       /* enum session_work, or a later version's */
	char *process;                      /* which process exactly (repo/sessions.h), or ""; owned */
};
void session_done(struct session *s);
void session_encode(struct buf *b, const struct session *s);
int session_decode(struct session *ret, const uint8_t *bytes, size_t len, struct error *err);

struct tombstone {
	struct time_ns time;
	struct id session;                  /* the collector's */
	struct id *packs;                   /* ascending; whole packs that will go */
	size_t pack_count;
	struct id *fenced;                  /* ascending; sessions whose snapshots do not count */
	size_t fenced_count;
	struct id *awaited;                 /* ascending; sessions that may not know of this tombstone: the packs stay until these have ended */
	size_t awaited_count;
};
void tombstone_done(struct tombstone *t);
void tombstone_encode(struct buf *b, const struct tombstone *t);
int tombstone_decode(struct tombstone *ret, const uint8_t *bytes, size_t len, struct error *err);

#endif
