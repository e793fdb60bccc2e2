/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The check's look at the snapshot log: is what is there what was made, and nothing else. */
#include "repo/check_internal.h"
#include "repo/format/log.h"
#include "repo/log.h"
#include "repo/object.h"
#include "repo/signers.h"

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
static void check_hashes(struct check *c, const struct repo_log *l, const struct snapshot_list *snapshots)
{
	for (size_t i = 0; i < snapshots->count; i++) {
		char key[OBJECT_KEY_MAX];
		const uint8_t *hash = repo_log_hash(l, &snapshots->items[i].id);
		object_key(SEAL_SNAPSHOT, &snapshots->items[i].id, key);
		if (hash && memcmp(hash, snapshots->items[i].hash.b, ID_SIZE) != 0)
			check_damaged(c, key, "it is not the snapshot that the log names: somebody with a key put another in its place");
	}
}

static int check_signers(struct check *c, const struct repo_log *l, const struct snapshot_list *snapshots, struct error *err)
{
	CLEAN(signers_judgement_done) struct signers_judgement j = { 0 };
	if (signers_judge(c->repo, l, snapshots, false, &j, err) < 0)
		return -1;
	for (size_t i = 0; i < j.count; i++) {
		char key[OBJECT_KEY_MAX], text[SIGNERS_TEXT_MAX];
		object_key(j.items[i].is_entry ? SEAL_LOG : SEAL_SNAPSHOT, &j.items[i].id, key);
		check_damaged(c, key, "%s", signers_text(l, &j.items[i], text));
	}
	return 0;
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
	CLEAN(snapshot_list_done) struct snapshot_list snapshots = { 0 };
	if (repo_log_compare(c->repo, &f, err) < 0)
		return -1;
	tell_each(c, SEAL_SNAPSHOT, &f.vanished, LOG_VANISHED);
	tell_each(c, SEAL_LOG, &f.missing, LOG_MISSING);
	tell_each(c, SEAL_LOG, &f.lost, LOG_LOST);
	if (f.older_keys)
		check_damaged(c, "keys/", "%s", LOG_OLDER_KEYS);
	tell_each(c, SEAL_LOG, &f.log.changed, LOG_CHANGED);
	if (repo_snapshots(c->repo, &snapshots, err) < 0)
		return -1;
	check_hashes(c, &f.log, &snapshots);
	return check_signers(c, &f.log, &snapshots, err);
}
