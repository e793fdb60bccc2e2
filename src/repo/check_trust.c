/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The check's look at the snapshot log: is what is there what was made, and nothing else. */
#include "repo/check_internal.h"
#include "repo/format/log.h"
#include "repo/log.h"
#include "repo/object.h"

#define PAYLOAD_MAX (64u << 20)

static void tell_each(struct check *c, enum seal_kind kind, const struct buf *ids, const char *what)
{
	for (size_t at = 0; at < ids->len; at += ID_SIZE) {
		struct id id;
		char key[OBJECT_KEY_MAX];
		memcpy(id.b, ids->data + at, ID_SIZE);
		object_key(kind, &id, key);
		check_damaged(c, key, "%s", what);
	}
}

/* A snapshot under the id of another can only come from who holds a key. */
static void check_hashes(struct check *c, const struct repo_log *l)
{
	for (size_t at = 0; at < l->added.len; at += LOG_ADDED_SIZE) {
		CLEAN_BUF struct buf payload = BUF_INIT;
		struct id id, hash;
		char key[OBJECT_KEY_MAX];
		memcpy(id.b, l->added.data + at, ID_SIZE);
		if (object_read(c->repo->store, c->repo->keys, SEAL_SNAPSHOT, &id, PAYLOAD_MAX, NULL, &payload, NULL) < 0)
			continue; /* gone or damaged: told elsewhere */
		seal_chunk_id(c->repo->keys, CHUNK_META, payload.data, payload.len, &hash);
		object_key(SEAL_SNAPSHOT, &id, key);
		if (memcmp(hash.b, l->added.data + at + ID_SIZE, ID_SIZE) != 0)
			check_damaged(c, key, "it is not the snapshot that the log names: somebody with a key put another in its place");
	}
}

int check_log_entry(struct check *c, const struct buf *bytes, struct error *err)
{
	struct log_entry e;
	(void)c;
	if (log_entry_decode(&e, bytes->data, bytes->len, err) < 0)
		return -1;
	log_entry_done(&e);
	return 0;
}

int check_trust(struct check *c, struct error *err)
{
	CLEAN(log_findings_done) struct log_findings f = { 0 };
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	if (repo_log_compare(c->repo, &f, err) < 0)
		return -1;
	tell_each(c, SEAL_SNAPSHOT, &f.vanished, LOG_VANISHED);
	tell_each(c, SEAL_LOG, &f.missing, LOG_MISSING);
	tell_each(c, SEAL_LOG, &f.lost, LOG_LOST);
	if (f.older_keys)
		check_damaged(c, "keys/", "%s", LOG_OLDER_KEYS);
	if (repo_log_read(c->repo, &l, err) < 0)
		return -1;
	check_hashes(c, &l);
	return 0;
}
