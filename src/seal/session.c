/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Keys of single sessions: made by machines that may only write, found again by whoever has the secret half of their key. */
#include <assert.h>
#include <pthread.h>
#include <sodium.h>

#include "seal/internal.h"

#define REMEMBERED 256u

static_assert(SEAL_BOX_SIZE == SEAL_KEY_SIZE + crypto_box_SEALBYTES, "size of a sealed box");
static_assert(SEAL_KEY_SIZE == crypto_box_PUBLICKEYBYTES, "size of a public key");
static_assert(SEAL_KEY_SIZE == crypto_box_SECRETKEYBYTES, "size of a secret key");

struct remembered {
	struct id session, writer;
	uint8_t key[SEAL_KEY_SIZE];
};

/* In locked memory. */
struct session_keys {
	pthread_mutex_t lock; /* guards all below but source and cookie */
	struct remembered items[REMEMBERED];
	unsigned count, next; /* next: which is replaced when all are taken */
	bool has_current;
	struct remembered current; /* by which new objects are sealed */
	seal_session_fn source;
	void *cookie;
};

int session_keys_new(struct session_keys **ret, struct error *err)
{
	struct session_keys *s = sodium_malloc(sizeof *s);
	if (!s)
		return error_set(err, ERR_NOMEM, "out of memory for keys");
	memset(s, 0, sizeof *s);
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

void session_keys_free(struct session_keys *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	sodium_free(s);
}

void seal_set_session_source(struct seal_keys *k, seal_session_fn fn, void *cookie)
{
	k->sessions->source = fn;
	k->sessions->cookie = cookie;
}

/* With the lock held. */
static const struct remembered *find(const struct session_keys *s, const struct id *session)
{
	if (s->has_current && id_equal(&s->current.session, session))
		return &s->current;
	for (unsigned i = 0; i < s->count; i++)
		if (id_equal(&s->items[i].session, session))
			return &s->items[i];
	return NULL;
}

static bool recall(struct session_keys *s, const struct id *session, struct remembered *ret)
{
	pthread_mutex_lock(&s->lock);
	const struct remembered *found = find(s, session);
	if (found)
		*ret = *found;
	pthread_mutex_unlock(&s->lock);
	return found != NULL;
}

static void remember(struct session_keys *s, const struct remembered *fresh)
{
	pthread_mutex_lock(&s->lock);
	if (!find(s, &fresh->session)) {
		s->items[s->next] = *fresh;
		s->next = (s->next + 1) % REMEMBERED;
		s->count += s->count < REMEMBERED;
	}
	pthread_mutex_unlock(&s->lock);
}

static int look_up(const struct seal_keys *k, const struct id *session, struct remembered *ret, struct error *err)
{
	struct session_keys *s = k->sessions;
	if (recall(s, session, ret))
		return 0;
	if (!s->source)
		return error_set(err, ERR_AUTH, "sealed by a key that this one does not open");
	ret->session = *session;
	if (s->source(s->cookie, session, ret->key, &ret->writer, err) < 0)
		return -1;
	remember(s, ret);
	return 0;
}

int session_key(const struct seal_keys *k, const struct id *session, uint8_t ret[SEAL_KEY_SIZE], struct error *err)
{
	struct remembered r;
	int done = look_up(k, session, &r, err);
	if (done == 0)
		memcpy(ret, r.key, SEAL_KEY_SIZE);
	sodium_memzero(&r, sizeof r);
	return done;
}

int seal_session_writer(const struct seal_keys *k, const struct id *session, struct id *ret_writer, struct error *err)
{
	struct remembered r;
	int done = look_up(k, session, &r, err);
	if (done == 0)
		*ret_writer = r.writer;
	sodium_memzero(&r, sizeof r);
	return done;
}

void session_current(const struct seal_keys *k, struct id *ret_session)
{
	pthread_mutex_lock(&k->sessions->lock);
	*ret_session = k->sessions->current.session;
	pthread_mutex_unlock(&k->sessions->lock);
}

/* --- boxes ------------------------------------------------------------------------- */

void seal_pair_new(struct seal_pair *ret)
{
	crypto_box_keypair(ret->public_half, ret->secret_half);
}

void seal_pair_public(const uint8_t secret[SEAL_KEY_SIZE], uint8_t ret_public[SEAL_KEY_SIZE])
{
	crypto_scalarmult_base(ret_public, secret);
}

/* HKDF(what the box holds, salt = repository id, info = label, writer's id). The session's id comes out of it too, so that nobody can make a session of another's id. */
static int derive(const struct seal_keys *k, const uint8_t inside[SEAL_KEY_SIZE], const struct id *writer, struct remembered *ret, struct error *err)
{
	static const char objects[] = "twofold session objects", name[] = "twofold session id";
	uint8_t info[64];
	ret->writer = *writer;
	memcpy(info, objects, sizeof objects - 1);
	memcpy(info + sizeof objects - 1, writer->b, ID_SIZE);
	if (hkdf_sha256(k->hkdf, inside, SEAL_KEY_SIZE, k->repository.b, ID_SIZE, info, sizeof objects - 1 + ID_SIZE, ret->key, SEAL_KEY_SIZE, err) < 0)
		return -1;
	memcpy(info, name, sizeof name - 1);
	memcpy(info + sizeof name - 1, writer->b, ID_SIZE);
	return hkdf_sha256(k->hkdf, inside, SEAL_KEY_SIZE, k->repository.b, ID_SIZE, info, sizeof name - 1 + ID_SIZE, ret->session.b, ID_SIZE, err);
}

int seal_session_begin(struct seal_keys *k, const struct id *writer, const uint8_t public_half[SEAL_KEY_SIZE], struct id *ret_session, uint8_t ret_box[SEAL_BOX_SIZE], struct error *err)
{
	struct remembered fresh;
	uint8_t inside[SEAL_KEY_SIZE];
	if (k->epochs)
		return error_set(err, ERR_INVALID, "a master key needs no key of a session");
	seal_random(inside, sizeof inside);
	int bad = crypto_box_seal(ret_box, inside, sizeof inside, public_half);
	if (bad)
		error_set(err, ERR_INVALID, "the public half of the write-only key is no point of Curve25519");
	else
		bad = derive(k, inside, writer, &fresh, err);
	if (!bad) {
		pthread_mutex_lock(&k->sessions->lock);
		k->sessions->current = fresh;
		k->sessions->has_current = true;
		pthread_mutex_unlock(&k->sessions->lock);
		*ret_session = fresh.session;
	}
	sodium_memzero(inside, sizeof inside);
	sodium_memzero(&fresh, sizeof fresh);
	return bad ? -1 : 0;
}

int seal_box_open(const struct seal_keys *k, const uint8_t box[SEAL_BOX_SIZE], const uint8_t secret_half[SEAL_KEY_SIZE], const struct id *session, const struct id *writer,
                  uint8_t ret_key[SEAL_KEY_SIZE], struct error *err)
{
	uint8_t inside[SEAL_KEY_SIZE], public_half[SEAL_KEY_SIZE];
	struct remembered found = { .writer = *writer };
	crypto_scalarmult_base(public_half, secret_half);
	int bad = crypto_box_seal_open(inside, box, SEAL_BOX_SIZE, public_half, secret_half);
	if (!bad && derive(k, inside, writer, &found, err) < 0) {
		sodium_memzero(inside, sizeof inside);
		return -1;
	}
	if (bad || !id_equal(&found.session, session))
		bad = error_set(err, ERR_CORRUPT, "it does not open: it was damaged, exchanged, or made for another write-only key");
	else
		memcpy(ret_key, found.key, SEAL_KEY_SIZE);
	sodium_memzero(inside, sizeof inside);
	sodium_memzero(&found, sizeof found);
	return bad ? -1 : 0;
}
