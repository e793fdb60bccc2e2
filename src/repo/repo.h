/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A repository: made, opened, its keys and snapshots.
 *
 * Opening reads the public header, finds a key object that the secret opens, and loads nothing else; the index comes with
 * repo_load_index. struct repo may be read from many threads once it is open.
 */
#ifndef REPO_REPO_H
#define REPO_REPO_H

#include "cut/cut.h"
#include "repo/format/document.h"
#include "repo/index.h"
#include "seal/seal.h"
#include "store/store.h"

/* What the user proves to be allowed with. */
struct repo_secret {
	enum seal_wrap how;
	const void *data; /* the passphrase's bytes, or the key file's 32 */
	size_t len;
	bool write_only;  /* data is what a write-only key file holds (repo/writers.h); how does not count */
	struct seal_argon cost; /* of a passphrase, where a key is made with it; zero: the least */
};

struct repo {
	struct store *store;
	struct repo_header header;
	struct seal_keys *keys;
	struct id key;            /* the key object that opened it */
	struct id writer;         /* opened with a write-only key (seal_is_write_only): which, and its public half */
	uint8_t writer_public[SEAL_KEY_SIZE];
	struct cutter *cutter;    /* for file content */
	struct index *index;      /* NULL before repo_load_index */
	char *cache;              /* folder for this repository, or NULL */
	struct coder_pool *coders;
	struct block_cache *blocks; /* what was read of metadata packs, and snapshots; NULL: none is kept */
	struct repo_log *log;     /* as it was at the first entry that this process wrote, and its own since; NULL before */
	struct signing *signing;  /* repo/signing.h; NULL: nothing is signed, and nothing known of who signs */
	struct store_locks locks; /* of new objects; the header says for how long */
	_Atomic int64_t refreshed_at; /* when a missing chunk last made a reader refresh the index, in seconds of the monotonic clock */
};

/* Object Lock: docs/decisions/object-lock.md. */
struct repo_lock {
	enum store_lock_mode mode; /* STORE_LOCK_NONE: none */
	uint32_t seconds;
};
#define REPO_LOCK_MAX 3153600000u /* seconds: 100 years, as S3 */

/* Makes a new repository in an empty or missing location. An existing one is ERR_EXISTS, a folder with other things in it too.
 * label names the first key. lock, where not NULL: what is written is locked, now and by every later writer; ERR_UNSUPPORTED where the store does not do it. */
int repo_init(const char *location, const struct repo_secret *secret, const char *label, const struct repo_lock *lock, struct error *err);

/* cache_root: folder under which caches of all repositories lie, or NULL for none. ERR_NOT_FOUND: nothing there;
 * ERR_CORRUPT: something else is there; ERR_AUTH: no key object opens with this secret; ERR_UNSUPPORTED: newer version. */
int repo_open(struct repo **ret, const char *location, const struct repo_secret *secret, const char *cache_root, struct error *err);
/* The same on a store that is open already: init borrows it, the repository owns it from here on, also on failure. */
int repo_init_store(struct store *store, const struct repo_secret *secret, const char *label, const struct repo_lock *lock, struct error *err);
int repo_open_store(struct repo **ret, struct store *store, const struct repo_secret *secret, const char *cache_root, struct error *err);
/* From here on what is read of metadata packs, and snapshots, is kept in the local cache, at most limit bytes of all repositories below cache_root together (repo/block_cache.h); 0: not, or not any more. Nothing is done where
 * there is no cache. For stores behind a network: a local folder is no faster for it. Not while another thread uses r. */
void repo_cache_blocks(struct repo *r, uint64_t limit);
void repo_free(struct repo *r);
DEFINE_CLEAN(repo, repo_free)
#define CLEAN_REPO CLEAN(repo_cleanup)
/* ret_found: does location hold a repository's header? Where it is false because the place itself is missing, err says so. ret_store, which may be NULL: the open store, the caller's now (a connection
 * takes as long to make as dozens of requests); NULL where it is not found. */
int repo_exists(const char *location, bool *ret_found, struct store **ret_store, struct error *err);

int repo_load_index(struct repo *r, struct error *err);
/* Replaces the index by one whose segments were all fetched from the store; see index_open_anew. */
int repo_load_index_anew(struct repo *r, index_damaged_fn fn, void *cookie, struct error *err);

/* --- keys --------------------------------------------------------------------- */
typedef int (*repo_key_fn)(void *cookie, const struct id *id, const struct key_object *key, bool current);
int repo_keys(struct repo *r, repo_key_fn fn, void *cookie, struct error *err);
int repo_key_add(struct repo *r, const struct repo_secret *secret, const char *label, struct id *ret, struct error *err);
/* The last key is refused (ERR_INVALID): nothing could open the repository any more. */
int repo_key_remove(struct repo *r, const struct id *id, struct error *err);
/* A new master key for what is written from now on; what is there stays readable. Every key object is made anew, which needs its secret: secrets are all that are at hand, that by which r was
 * opened among them. A key whose secret is not there is refused (ERR_INVALID, nothing was changed), or taken away with revoke. fn is told of each key: its old id, and its new one, or NULL where
 * it was taken away. r itself goes on with the old master key: close it. Costs an Argon2id for each password's key and each passphrase. */
typedef void (*repo_rotate_fn)(void *cookie, const struct id *before, const struct id *after, const struct key_object *key);
int repo_key_rotate(struct repo *r, const struct repo_secret *secrets, size_t count, bool revoke, repo_rotate_fn fn, void *cookie, struct error *err);

/* The master keys below epoch first are dropped from the key objects that the secrets open, so that these open nothing any more that is sealed by them: repo/reseal.h says when that may be. fn:
 * of each key object that was made anew. */
int repo_key_drop(struct repo *r, const struct repo_secret *secrets, size_t count, unsigned first, repo_rotate_fn fn, void *cookie, struct error *err);

/* --- snapshots ------------------------------------------------------------------ */
struct snapshot_entry {
	struct id id;
	struct id hash; /* of its payload, as the log has it */
	struct snapshot snapshot;
};
struct snapshot_list {
	struct snapshot_entry *items; /* oldest first */
	size_t count;
	size_t damaged;               /* objects that could not be read; first_error says why for the first */
	struct error first_error;
	size_t unconfirmed;           /* of sessions that were fenced: they do not count until a prune has confirmed them */
};
/* A damaged snapshot does not hide the others: it is counted. */
int repo_snapshots(struct repo *r, struct snapshot_list *ret, struct error *err);
void snapshot_list_done(struct snapshot_list *l);
int repo_snapshot_read(struct repo *r, const struct id *id, struct snapshot *ret, struct error *err);
/* name: full id, or unique prefix of at least 4 digits. ERR_NOT_FOUND, or ERR_INVALID when more than one matches. The snapshot is not read, so it may be damaged. */
int repo_snapshot_resolve(struct repo *r, const char *name, struct id *ret_id, struct error *err);
/* The same, or "latest"; and reads it. */
int repo_snapshot_find(struct repo *r, const char *name, struct id *ret_id, struct snapshot *ret, struct error *err);
/* Deletes the snapshot's object, and nothing else: the chunks that only it referred to become garbage. Damaged ones too. ERR_NOT_FOUND: it is gone already.
 * A store that lets nothing be deleted: ERR_AUTH, or what the store says, with what to do. One that protects the snapshot until a date: ERR_PROTECTED, and nothing was done. */
int repo_snapshot_forget(struct repo *r, const struct id *id, struct error *err);
/* The same for who has written it anew, or never finished it: one that the store protects is hidden. */
int repo_snapshot_drop(struct repo *r, const struct id *id, struct error *err);

/* An immutable sealed object, out of the cache where it is there: like object_read_by (repo/object.h). */
int repo_read_object(struct repo *r, enum seal_kind kind, const struct id *id, size_t max, struct id *ret_session, struct seal_by *ret_by, struct buf *ret, struct error *err);

/* --- reading chunks: from any thread --------------------------------------------- */
/* Replaces *ret by the chunk's bytes, authenticated and hashed. ERR_NOT_FOUND: in no segment.
 * A chunk or pack that is missing may have been moved by a collector: the index is then refreshed and the chunk looked up once more. */
int repo_get(struct repo *r, enum chunk_class class, const struct id *id, struct buf *ret, struct error *err);
/* Copies len bytes from offset in the chunk, authenticated and hashed; small pieces of a large chunk cost little while its block is cached. ERR_CORRUPT: the chunk is shorter. */
int repo_get_range(struct repo *r, enum chunk_class class, const struct id *id, uint32_t offset, void *data, size_t len, struct error *err);
/* After something was missing, looked up at the given index_generation: true when it is worth looking again. */
bool repo_refresh_index(struct repo *r, unsigned generation);
/* The raw bytes of the block at place, authenticated; chunks in it are not hashed. Bypasses the decoded blocks that are kept in memory; the local cache (repo_cache_blocks) counts. ERR_NOT_FOUND: the pack is gone, perhaps moved. */
int repo_read_block(struct repo *r, const struct place *place, struct buf *ret, struct error *err);
/* The same from the store alone, for who reads many blocks of a pack in order of their offsets: the store is asked for up to 4 MiB at once, but for nothing from the pack's byte end on. ahead starts
 * zeroed, and belongs to one thread. */
struct read_ahead {
	struct id pack;
	uint32_t offset;
	struct buf bytes;
};
int repo_read_block_ahead(struct repo *r, const struct place *place, uint64_t end, struct read_ahead *ahead, struct buf *ret, struct error *err);
static inline void read_ahead_done(struct read_ahead *ahead)
{
	buf_done(&ahead->bytes);
}
/* The same, and *ret_plain the block's plaintext as it was compressed: seal/seal.h, unseal_payload. */
int repo_read_block_both(struct repo *r, const struct place *place, uint64_t end, struct read_ahead *ahead, struct buf *ret_plain, struct buf *ret_raw, struct error *err);
/* Hashes chunk bytes against their id: ERR_CORRUPT with the pack named. */
int repo_verify_chunk(struct repo *r, enum chunk_class class, const struct id *id, const struct place *place, const uint8_t *bytes, struct error *err);
/* For seq readers: a seq_get_fn; cookie is the struct repo. */
int repo_get_page(void *cookie, const struct id *id, struct buf *ret, struct error *err);

/* The sealed table of a pack, from the pack alone. */
struct pack_table;
int repo_read_pack_table(struct repo *r, const struct id *pack, uint64_t size, enum seal_kind *ret_kind, struct pack_table *ret, struct error *err);

#endif
