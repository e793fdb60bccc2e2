/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sealed objects: index segments, snapshots, sessions, tombstones, each one whole document in the store.
 * docs/FORMAT.md, "Sealed objects". The name is the key's last part: 32 random bytes, which is also what its cipher key derives from,
 * so an object that was renamed or moved to another kind does not authenticate. Threads: any, one call each.
 */
#ifndef REPO_OBJECT_H
#define REPO_OBJECT_H

#include "base/buf.h"
#include "base/id.h"
#include "seal/seal.h"
#include "store/store.h"

#define OBJECT_HEADER_SIZE 80u
#define OBJECT_MESSAGE (1u << 20)
#define OBJECT_KEY_MAX 128

/* The store's key: "snapshots/<hex>", for packs "packs/xx/<hex>". */
void object_key(enum seal_kind kind, const struct id *id, char ret[OBJECT_KEY_MAX]);
/* The prefix under which objects of the kind lie: "snapshots/". */
const char *object_prefix(enum seal_kind kind);
/* The id in a listed key; false for a name that is none. */
bool object_id_of_key(const char *key, struct id *ret);

/* Seals payload under id (random, new) and stores it. Durable on return. */
int object_write(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, const struct id *session, const void *payload,
                 size_t len, struct error *err);

/* Seals it once more, by the key that is current now, in the place of the object that is there (store_replace): the same session and payload under the same id. */
int object_replace(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, const struct id *session, const void *payload, size_t len, struct error *err);

/* Replaces *ret by the payload. ret_session may be NULL. Objects over max bytes are refused before anything is allocated. */
int object_read(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, size_t max, struct id *ret_session, struct buf *ret,
                struct error *err);

/* The same, and which key sealed it: of what a session's own key sealed (indexes, snapshots, sessions only; another kind is ERR_CORRUPT) nothing may be relied on. */
int object_read_by(struct store *store, const struct seal_keys *keys, enum seal_kind kind, const struct id *id, size_t max, struct id *ret_session, struct seal_by *ret_by,
                   struct buf *ret, struct error *err);

/* Which key an object says that it is sealed by, from its head; of a pack too. ERR_NOT_FOUND: there is none. */
int object_sealed_by(struct store *store, enum seal_kind kind, const struct id *id, struct seal_by *ret, struct error *err);

/* The same of an object that is at hand as it lies in the store. */
int object_open(const struct seal_keys *keys, enum seal_kind kind, const struct id *id, const struct buf *object, struct id *ret_session, struct seal_by *ret_by, struct buf *ret,
                struct error *err);

#endif
