/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/keys.h"

#include <stdio.h>
#include <stdlib.h>

#include "repo/ids.h"
#include "repo/object.h"
#include "repo/parity.h"

#define KEY_BYTES_MAX (64u << 10)

/* A key object as it lies in the store. */
struct listed_key {
	struct id id;
	struct key_object key;
	size_t aad_len;
	uint8_t aad[256];
	const struct repo_secret *secret; /* that opens it; NULL: not known */
};

struct listed_keys {
	struct listed_key *items;
	size_t count, damaged;
	struct error first_error; /* of the first that is damaged */
};

static void listed_keys_done(struct listed_keys *l)
{
	free(l->items);
	*l = (struct listed_keys){ 0 };
}

static void key_path(const struct id *id, char ret[OBJECT_KEY_MAX])
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	snprintf(ret, OBJECT_KEY_MAX, "keys/%s", hex);
}

/* --- writing one ------------------------------------------------------------------- */

/* key: label, time, way and cost; gets a new salt. */
static int store_key(struct store *store, struct key_object *key, const uint8_t *slots, unsigned count, unsigned first, const struct repo_secret *secret, struct id *ret, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	char path[OBJECT_KEY_MAX];
	size_t aad;
	struct id id;
	key->wrapped.count = (uint8_t)count;
	key->wrapped.first = (uint8_t)first;
	/* The associated data holds the salt, so it must be known before the wrapping: seal_wrap_key keeps what stands there. */
	seal_random(key->wrapped.salt, sizeof key->wrapped.salt);
	key_object_encode(&bytes, key, &aad);
	if (!buf_ok(&bytes))
		return error_set(err, ERR_NOMEM, "write key: out of memory");
	if (seal_wrap_key(&key->wrapped, slots, secret->data, secret->len, bytes.data, aad, err) < 0)
		return -1;
	buf_clear(&bytes);
	key_object_encode(&bytes, key, &aad);
	seal_random(id.b, sizeof id.b);
	key_path(&id, path);
	if (store_write(store, path, bytes.data, bytes.len, err) < 0)
		return error_add(err, "write key");
	*ret = id;
	return 0;
}

int keys_write(struct store *store, const uint8_t *slots, unsigned count, unsigned first, const struct repo_secret *secret, const char *label, struct id *ret, struct error *err)
{
	struct key_object key = { .created = time_now(), .wrapped = { .how = secret->how } };
	snprintf(key.label, sizeof key.label, "%s", label);
	if (secret->how == SEAL_WRAP_PASSPHRASE) {
		key.wrapped.argon_passes = secret->cost.passes ? secret->cost.passes : SEAL_ARGON_PASSES;
		key.wrapped.argon_memory_kib = secret->cost.memory_kib ? secret->cost.memory_kib : SEAL_ARGON_MEMORY_KIB;
	}
	return store_key(store, &key, slots, count, first, secret, ret, err);
}

/* --- reading all ------------------------------------------------------------------- */

static int read_key(struct store *store, struct listed_key *ret, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	char path[OBJECT_KEY_MAX];
	key_path(&ret->id, path);
	if (store_read(store, path, KEY_BYTES_MAX, &bytes, err) < 0)
		return -1;
	if (key_object_decode(&ret->key, bytes.data, bytes.len, &ret->aad_len, err) < 0)
		return error_add(err, "%s", path);
	memcpy(ret->aad, bytes.data, ret->aad_len < sizeof ret->aad ? ret->aad_len : sizeof ret->aad);
	return 0;
}

static int most_masters_first(const void *a, const void *b)
{
	const struct listed_key *x = a, *y = b;
	if (x->key.wrapped.count != y->key.wrapped.count)
		return x->key.wrapped.count > y->key.wrapped.count ? -1 : 1;
	if (x->key.wrapped.first != y->key.wrapped.first)
		return x->key.wrapped.first < y->key.wrapped.first ? -1 : 1;
	return id_compare(&x->id, &y->id);
}

/* Those that can be read, most master keys first; of the others the number and the first error. One that vanished meanwhile is neither. */
static int list_keys(struct store *store, struct listed_keys *ret, struct error *err)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	CLEAN(listed_keys_done) struct listed_keys list = { 0 };
	if (ids_list(store, "keys/", &ids, err) < 0)
		return -1;
	size_t count = ids.len / ID_SIZE;
	if (count > KEYS_MAX)
		return error_set(err, ERR_CORRUPT, "repository %s has %zu keys, more than %u", store->location, count, KEYS_MAX);
	list.items = calloc(count + 1, sizeof *list.items);
	if (!list.items || !buf_ok(&ids))
		return error_set(err, ERR_NOMEM, "list keys: out of memory");
	for (size_t i = 0; i < count; i++) {
		struct listed_key *item = &list.items[list.count];
		struct error why = { 0 };
		memcpy(item->id.b, ids.data + i * ID_SIZE, ID_SIZE);
		if (read_key(store, item, &why) == 0) {
			list.count++;
		} else if (why.kind != ERR_NOT_FOUND) {
			list.damaged++;
			error_keep_first(&list.first_error, &why);
		}
	}
	qsort(list.items, list.count, sizeof *list.items, most_masters_first);
	*ret = list;
	memset(&list, 0, sizeof list); /* *ret has them now */
	return 0;
}

/* A key is there and may be whole, but the store did not give it. */
static bool is_unread(const struct listed_keys *list)
{
	return list->damaged && list->first_error.kind != ERR_CORRUPT && list->first_error.kind != ERR_UNSUPPORTED;
}

static int open_key(const struct listed_key *item, const struct repo_secret *secret, uint8_t *ret_masters, bool *ret_ok, struct error *err)
{
	*ret_ok = false;
	if (item->key.wrapped.how != secret->how)
		return 0;
	return seal_unwrap_key(&item->key.wrapped, secret->data, secret->len, item->aad, item->aad_len, ret_masters, ret_ok, err);
}

struct sample {
	struct id id;
	bool found;
};

static int take_first(void *cookie, const char *key, uint64_t size)
{
	(void)size;
	struct sample *s = cookie;
	s->found = object_id_of_key(key, &s->id);
	return s->found;
}

/* Whether the master keys are this repository's: an object of it authenticates, or it has none yet. A key object of another repository that was put here opens with the same secret. */
static bool is_master_of(struct store *store, const struct id *repository, const uint8_t *slots, unsigned count, unsigned first)
{
	static const enum seal_kind kinds[] = { SEAL_SNAPSHOT, SEAL_INDEX };
	struct seal_keys *keys;
	bool fits = true;
	if (seal_keys_open_slots(&keys, slots, count, first, repository, NULL) < 0)
		return true;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds && fits; i++) {
		CLEAN_BUF struct buf bytes = BUF_INIT;
		struct sample sample = { 0 };
		struct error why = { 0 };
		if (store->ops->list(store, object_prefix(kinds[i]), take_first, &sample, NULL) < 0 || !sample.found)
			continue;
		if (object_read(store, keys, kinds[i], &sample.id, INDEX_SEGMENT_MAX, NULL, &bytes, &why) == 0)
			break;
		fits = why.kind != ERR_CORRUPT;
	}
	seal_keys_free(keys);
	return fits;
}

int keys_unlock(struct store *store, const struct id *repository, const struct repo_secret *secret, struct id *ret_key, uint8_t *ret_slots, unsigned *ret_count, unsigned *ret_first,
                struct error *err)
{
	CLEAN(listed_keys_done) struct listed_keys list = { 0 };
	uint8_t masters[SEAL_SLOTS_MAX * SEAL_KEY_SIZE];
	bool opened = false;
	if (list_keys(store, &list, err) < 0)
		return -1;
	if (list.count + list.damaged == 0)
		return error_set(err, ERR_CORRUPT, "open repository %s: it has no keys; restore its folder keys/ from a copy", store->location);
	for (size_t i = 0; i < list.count; i++) {
		unsigned count = list.items[i].key.wrapped.count, first = list.items[i].key.wrapped.first;
		bool ok;
		if (open_key(&list.items[i], secret, masters, &ok, err) < 0)
			return -1;
		bool fits = ok && (list.count == 1 || is_master_of(store, repository, masters, count, first));
		if (ok && (fits || !opened)) {
			memcpy(ret_slots, masters, (size_t)seal_slots(count, first) * SEAL_KEY_SIZE);
			*ret_key = list.items[i].id;
			*ret_count = count;
			*ret_first = first;
			opened = true;
		}
		explicit_bzero(masters, sizeof masters);
		if (fits)
			break;
	}
	if (opened)
		return 0;
	if (is_unread(&list))
		return error_set(err, list.first_error.kind, "open repository %s: no key that could be read fits: %.300s", store->location, list.first_error.text);
	if (list.damaged)
		return error_set(err, ERR_AUTH, "open repository %s: no key fits, and one is damaged: %.300s", store->location, list.first_error.text);
	return error_set(err, ERR_AUTH, "open repository %s: wrong %s; check %s and try again", store->location,
	                 secret->how == SEAL_WRAP_PASSPHRASE ? "password" : "key file",
	                 secret->how == SEAL_WRAP_PASSPHRASE ? "TWOFOLD_PASSWORD or --password-file" : "that it belongs to this repository");
}

/* --- list, add, remove ------------------------------------------------------------- */

int repo_keys(struct repo *r, repo_key_fn fn, void *cookie, struct error *err)
{
	CLEAN(listed_keys_done) struct listed_keys list = { 0 };
	if (list_keys(r->store, &list, err) < 0)
		return error_add(err, "list keys");
	if (list.damaged) {
		if (err)
			*err = list.first_error;
		return error_add(err, "list keys");
	}
	for (size_t i = 0; i < list.count; i++) {
		int stop = fn(cookie, &list.items[i].id, &list.items[i].key, id_equal(&list.items[i].id, &r->key));
		if (stop)
			return stop;
	}
	return 0;
}

struct slots {
	uint8_t b[SEAL_SLOTS_MAX * SEAL_KEY_SIZE];
};

static void slots_wipe(struct slots *m)
{
	explicit_bzero(m, sizeof *m);
}

int repo_key_add(struct repo *r, const struct repo_secret *secret, const char *label, struct id *ret, struct error *err)
{
	CLEAN(slots_wipe) struct slots slots;
	unsigned count, first = seal_first(r->keys);
	seal_masters(r->keys, &count);
	seal_slots_of(r->keys, first, slots.b);
	return keys_write(r->store, slots.b, count, first, secret, label, ret, err);
}

static int remove_key(struct store *store, const struct id *id, struct error *err)
{
	char path[OBJECT_KEY_MAX];
	uint64_t copies;
	key_path(id, path);
	if (store->ops->remove(store, path, err) < 0)
		return -1;
	return parity_forget(store, path, &copies, err) < 0 ? error_add(err, "the key is removed, but parity may still have a copy of it") : 0;
}

int repo_key_remove(struct repo *r, const struct id *id, struct error *err)
{
	CLEAN(listed_keys_done) struct listed_keys list = { 0 };
	char path[OBJECT_KEY_MAX];
	bool found;
	uint64_t size;
	size_t others = 0;
	unsigned epochs;
	key_path(id, path);
	if (list_keys(r->store, &list, err) < 0 || r->store->ops->stat(r->store, path, &found, &size, err) < 0)
		return error_add(err, "remove key");
	if (!found)
		return error_set(err, ERR_NOT_FOUND, "remove key: no such key; see: twofold key list");
	seal_masters(r->keys, &epochs);
	/* One from before a change of the master key that was interrupted does not open what is new. */
	for (size_t i = 0; i < list.count; i++)
		others += !id_equal(&list.items[i].id, id) && list.items[i].key.wrapped.count >= epochs;
	if (others == 0 && is_unread(&list))
		return error_set(err, list.first_error.kind, "remove key: no other key could be read: %.300s", list.first_error.text);
	if (others == 0)
		return error_set(err, ERR_INVALID, "remove key: it is the last one that works, nothing could open the repository any more; add another first");
	return remove_key(r->store, id, err);
}

/* --- a new master key ---------------------------------------------------------------- */

/* Which of the secrets opens which key. */
static int match_secrets(struct listed_keys *list, const struct repo_secret *secrets, size_t count, struct error *err)
{
	CLEAN(slots_wipe) struct slots scratch;
	for (size_t i = 0; i < list->count; i++)
		for (size_t s = 0; s < count && !list->items[i].secret; s++) {
			bool ok;
			if (open_key(&list->items[i], &secrets[s], scratch.b, &ok, err) < 0)
				return -1;
			if (ok)
				list->items[i].secret = &secrets[s];
		}
	for (size_t s = 0; s < count; s++) {
		bool used = false;
		for (size_t i = 0; i < list->count; i++)
			used |= list->items[i].secret == &secrets[s];
		if (!used)
			return error_set(err, ERR_AUTH, "one of the other passwords or key files (number %zu) opens no key", s);
	}
	return 0;
}

/* One that could not be read this time is not one to leave behind. */
static int refuse_unread(const struct listed_keys *list, struct error *err)
{
	if (!is_unread(list))
		return 0;
	return error_set(err, list->first_error.kind, "change the master key: a key could not be read: %.300s", list->first_error.text);
}

static int refuse_lost(const struct listed_keys *list, struct error *err)
{
	if (list->damaged)
		return error_set(err, ERR_CORRUPT, "change the master key: a key is damaged: %.300s; --revoke leaves it behind", list->first_error.text);
	for (size_t i = 0; i < list->count; i++) {
		char hex[ID_HEX_SIZE];
		id_to_hex(&list->items[i].id, hex);
		if (!list->items[i].secret)
			return error_set(err, ERR_INVALID, "change the master key: the key %.16s (%s) can be kept only with its password or key file: give it with --also FILE, or take away all such keys with --revoke", hex,
			                 list->items[i].key.label);
	}
	return 0;
}

int repo_key_rotate(struct repo *r, const struct repo_secret *secrets, size_t count, bool revoke, repo_rotate_fn fn, void *cookie, struct error *err)
{
	CLEAN(listed_keys_done) struct listed_keys list = { 0 };
	CLEAN(slots_wipe) struct slots slots;
	unsigned epochs, first = seal_first(r->keys);
	seal_masters(r->keys, &epochs);
	if (epochs == SEAL_EPOCHS_MAX)
		return error_set(err, ERR_INVALID, "change the master key: it was changed %u times, which is as often as can be; copy the repository into a new one", epochs - 1);
	if (list_keys(r->store, &list, err) < 0 || refuse_unread(&list, err) < 0 || match_secrets(&list, secrets, count, err) < 0 || (!revoke && refuse_lost(&list, err) < 0))
		return -1;
	seal_slots_of(r->keys, first, slots.b);
	uint8_t *fresh = slots.b + (size_t)(epochs - first) * SEAL_KEY_SIZE;
	if (first) /* what all epochs share goes behind it */
		memmove(fresh + SEAL_KEY_SIZE, fresh, 3u * SEAL_KEY_SIZE);
	seal_random(fresh, SEAL_KEY_SIZE);
	/* All new ones first: an interruption leaves both, and whoever opens takes the new one. */
	for (size_t i = 0; i < list.count; i++) {
		struct listed_key *item = &list.items[i];
		struct id id;
		if (!item->secret)
			continue;
		if (store_key(r->store, &item->key, slots.b, epochs + 1, first, item->secret, &id, err) < 0)
			return error_add(err, "change the master key");
		fn(cookie, &item->id, &id, &item->key);
	}
	for (size_t i = 0; i < list.count; i++) {
		struct listed_key *item = &list.items[i];
		if (remove_key(r->store, &item->id, err) < 0)
			return error_add(err, "change the master key: new data is sealed by the new one, but an old key could not be taken away");
		if (!item->secret)
			fn(cookie, &item->id, NULL, &item->key);
	}
	return 0;
}

/* --- without the old ones ---------------------------------------------------------------- */

/* The new key object for this secret, unless there is one already that holds no more than it should. */
static int write_reduced(struct repo *r, const struct listed_keys *list, const struct repo_secret *secret, unsigned first, struct listed_key *model, struct id *ret, bool *ret_written, struct error *err)
{
	CLEAN(slots_wipe) struct slots slots;
	unsigned epochs;
	seal_masters(r->keys, &epochs);
	*ret_written = false;
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].secret == secret && list->items[i].key.wrapped.count == epochs && list->items[i].key.wrapped.first >= first) {
			*ret = list->items[i].id;
			return 0;
		}
	seal_slots_of(r->keys, first, slots.b);
	*ret_written = true;
	return store_key(r->store, &model->key, slots.b, epochs, first, secret, ret, err);
}

static int drop_for(struct repo *r, struct listed_keys *list, const struct repo_secret *secret, unsigned first, repo_rotate_fn fn, void *cookie, struct error *err)
{
	struct listed_key *model = NULL;
	struct id id;
	bool written;
	for (size_t i = list->count; i-- > 0;) /* the first has the most master keys */
		if (list->items[i].secret == secret)
			model = &list->items[i];
	if (!model)
		return 0;
	if (write_reduced(r, list, secret, first, model, &id, &written, err) < 0)
		return error_add(err, "drop old master keys");
	for (size_t i = 0; i < list->count; i++) {
		struct listed_key *item = &list->items[i];
		if (item->secret != secret || id_equal(&item->id, &id))
			continue;
		if (remove_key(r->store, &item->id, err) < 0)
			return error_add(err, "drop old master keys: a key without them is there, but the one before could not be taken away");
		if (id_equal(&item->id, &r->key))
			r->key = id;
		fn(cookie, &item->id, &id, &item->key);
	}
	return 0;
}

int repo_key_drop(struct repo *r, const struct repo_secret *secrets, size_t count, unsigned first, repo_rotate_fn fn, void *cookie, struct error *err)
{
	CLEAN(listed_keys_done) struct listed_keys list = { 0 };
	unsigned epochs;
	seal_masters(r->keys, &epochs);
	if (list_keys(r->store, &list, err) < 0 || refuse_unread(&list, err) < 0 || match_secrets(&list, secrets, count, err) < 0)
		return -1;
	if (list.count && list.items[0].key.wrapped.count > epochs)
		return error_set(err, ERR_BUSY, "drop old master keys: the master key has been changed again meanwhile; run the command once more");
	for (size_t i = 0; i < count; i++)
		if (drop_for(r, &list, &secrets[i], first, fn, cookie, err) < 0)
			return -1;
	return 0;
}
