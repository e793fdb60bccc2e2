/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/chaos.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/wrap.h"

struct chaotic {
	struct store base;
	pthread_mutex_t lock; /* guards calls and dead of chaos */
	struct chaos *chaos;
};

struct chaotic_put {
	struct wrap_put wrap;
	struct buf whole; /* for sending it twice */
};

static struct chaotic *chaotic_of(struct store *s)
{
	return (struct chaotic *)s;
}

/* --- decisions ------------------------------------------------------------------------- */

struct verdict {
	bool fails, half, whole; /* whole: done all the same; half: half of it */
	bool twice;
	int sys;
	uint64_t number, dice;
};

/* splitmix64's finisher: neighbours come out unrelated. */
static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static bool rolls(uint64_t dice, unsigned which, unsigned of_1000)
{
	return of_1000 && mix(dice + which) % 1000 < of_1000;
}

static bool is_write(enum fault_call call)
{
	return call == FAULT_PUT_BEGIN || call == FAULT_PUT_APPEND || call == FAULT_PUT_COMMIT;
}

/* With the lock held. */
static void strike(struct chaos *c, enum fault_call call, struct verdict *v)
{
	const struct chaos_strike *s = &c->strike;
	if (!s->at || v->number < s->at)
		return;
	if (v->number > s->at && s->then != CHAOS_FULL)
		return;
	v->sys = s->sys ? s->sys : ESHUTDOWN;
	if (s->then == CHAOS_FULL) {
		v->fails = is_write(call) || (s->sys == EROFS && call == FAULT_REMOVE);
		v->half = v->number == s->at && s->moment == CHAOS_MIDDLE && call == FAULT_PUT_APPEND;
		return;
	}
	v->fails = s->moment != CHAOS_AFTER;
	bool atomic = call == FAULT_PUT_COMMIT || call == FAULT_REMOVE || call == FAULT_PUT_BEGIN || call == FAULT_STAT;
	v->whole = s->moment == CHAOS_MIDDLE && atomic;
	v->half = s->moment == CHAOS_MIDDLE && !atomic;
	if (s->then == CHAOS_DEAD)
		c->dead = true;
}

static void roll(const struct chaos *c, enum fault_call call, struct verdict *v)
{
	bool piecewise = call == FAULT_PUT_APPEND || call == FAULT_GET || call == FAULT_LIST;
	v->sys = c->sys ? c->sys : EIO;
	v->twice = rolls(v->dice, 1, c->repeat);
	if (rolls(v->dice, 2, c->fail)) {
		v->fails = true;
	} else if (rolls(v->dice, 3, c->tear) && (piecewise || call == FAULT_PUT_COMMIT)) {
		v->fails = true;
		v->half = piecewise;
	} else if (rolls(v->dice, 4, c->lose) && (call == FAULT_PUT_COMMIT || call == FAULT_REMOVE)) {
		v->fails = v->whole = true;
	}
}

static struct verdict decide(struct chaotic *f, enum fault_call call, const char *key)
{
	struct chaos *c = f->chaos;
	struct verdict v = { 0 };
	bool alive = !c->gate || c->gate(c->cookie, call, key);
	pthread_mutex_lock(&f->lock);
	v.number = ++c->calls;
	v.dice = mix(c->seed ^ mix(v.number));
	if (!alive)
		c->dead = true;
	if (c->dead) {
		v.fails = true;
		v.sys = ESHUTDOWN;
	} else {
		roll(c, call, &v);
		strike(c, call, &v);
	}
	pthread_mutex_unlock(&f->lock);
	if (!v.fails && rolls(v.dice, 5, c->delay) && c->delay_us)
		usleep((useconds_t)(mix(v.dice + 6) % c->delay_us));
	return v;
}

static int fail(const struct chaotic *f, const struct verdict *v, const char *what, const char *key, struct error *err)
{
	return error_sys(err, v->sys, "%s %s/%s (call %llu)", what, f->base.location, key, (unsigned long long)v->number);
}

/* --- listings that are behind ------------------------------------------------------------- */

struct late {
	char *key;
	uint64_t until; /* ms of the clock: from then on all is as it is */
	uint64_t size;
	bool removed;
};

struct chaos_lag {
	pthread_mutex_t lock; /* guards all below */
	uint64_t seed, changes; /* so far */
	unsigned ms;
	struct late *late;
	size_t count;
};

int chaos_lag_new(struct chaos_lag **ret, uint64_t seed, unsigned ms, struct error *err)
{
	struct chaos_lag *l = calloc(1, sizeof *l);
	if (!l)
		return error_set(err, ERR_NOMEM, "out of memory");
	pthread_mutex_init(&l->lock, NULL);
	l->seed = seed;
	l->ms = ms;
	*ret = l;
	return 0;
}

void chaos_lag_free(struct chaos_lag *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->count; i++)
		free(l->late[i].key);
	free(l->late);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static uint64_t clock_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Of a key only its last change counts. */
static void lag_note(struct chaos_lag *l, const char *key, uint64_t size, bool removed)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->changes++;
	size_t at = 0;
	while (at < l->count && strcmp(l->late[at].key, key) != 0)
		at++;
	struct late *grown = at < l->count ? l->late : realloc(l->late, (l->count + 1) * sizeof *grown);
	char *copy = grown ? strdup(key) : NULL;
	if (grown)
		l->late = grown;
	if (copy) {
		if (at < l->count)
			free(grown[at].key);
		else
			l->count++;
		grown[at] = (struct late){ copy, clock_ms() + mix(l->seed ^ mix(l->changes)) % (l->ms + 1u), size, removed };
	}
	pthread_mutex_unlock(&l->lock);
}

struct listed {
	uint64_t size;
	char key[208];
};

static int note_listed(void *cookie, const char *key, uint64_t size)
{
	struct listed one = { .size = size };
	snprintf(one.key, sizeof one.key, "%s", key);
	buf_add(cookie, &one, sizeof one);
	return 0;
}

/* Takes out of what was listed what is new, and puts into it what has just gone. */
static void lag_apply(struct chaos_lag *l, const char *prefix, struct buf *listed)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	uint64_t now = clock_ms();
	for (size_t i = 0; i < l->count; i++) {
		const struct late *late = &l->late[i];
		if (late->until <= now || strncmp(late->key, prefix, strlen(prefix)) != 0)
			continue;
		struct listed *items = (struct listed *)(void *)listed->data;
		size_t count = listed->len / sizeof *items, kept = 0;
		for (size_t n = 0; n < count; n++)
			if (strcmp(items[n].key, late->key) != 0)
				items[kept++] = items[n];
		listed->len = kept * sizeof *items;
		if (late->removed)
			note_listed(listed, late->key, late->size);
	}
	pthread_mutex_unlock(&l->lock);
}

/* --- the store ------------------------------------------------------------------------------ */

static void put_free(struct chaotic_put *put)
{
	buf_done(&put->whole);
	wrap_put_free(&put->wrap);
}

static int chaotic_put_begin(struct store *s, const char *key, uint64_t size_hint, struct store_put **ret, struct error *err)
{
	struct chaotic *f = chaotic_of(s);
	struct verdict v = decide(f, FAULT_PUT_BEGIN, key);
	if (v.fails)
		return fail(f, &v, "write", key, err);
	return wrap_put_begin(s, key, size_hint, sizeof(struct chaotic_put), ret, err);
}

static int chaotic_put_append(struct store_put *p, const void *data, size_t len, struct error *err)
{
	struct chaotic_put *put = (struct chaotic_put *)p;
	struct chaotic *f = chaotic_of(p->store);
	struct verdict v = decide(f, FAULT_PUT_APPEND, put->wrap.key);
	if (v.fails && !v.half)
		return fail(f, &v, "write", put->wrap.key, err);
	if (f->chaos->repeat)
		buf_add(&put->whole, data, len);
	if (put->wrap.inner->store->ops->put_append(put->wrap.inner, data, v.half ? len / 2 : len, err) < 0)
		return -1;
	return v.half ? fail(f, &v, "write", put->wrap.key, err) : 0;
}

static void chaotic_put_abort(struct store_put *p)
{
	struct chaotic_put *put = (struct chaotic_put *)p;
	put->wrap.inner->store->ops->put_abort(put->wrap.inner);
	put_free(put);
}

/* The object is sent again; a store answers that it is there already, and it stays what it is. */
static int send_again(struct chaotic *f, const struct chaotic_put *put, struct error *err)
{
	struct error why = { 0 };
	if (store_write(f->base.inner, put->wrap.key, put->whole.data, put->whole.len, &why) < 0 && why.kind != ERR_EXISTS) {
		if (err)
			*err = why;
		return -1;
	}
	return 0;
}

static int chaotic_put_commit(struct store_put *p, struct error *err)
{
	struct chaotic_put *put = (struct chaotic_put *)p;
	struct chaotic *f = chaotic_of(p->store);
	struct verdict v = decide(f, FAULT_PUT_COMMIT, put->wrap.key);
	int result = 0;
	if (v.fails && !v.whole) {
		put->wrap.inner->store->ops->put_abort(put->wrap.inner);
	} else {
		result = put->wrap.inner->store->ops->put_commit(put->wrap.inner, err);
		if (result == 0)
			lag_note(f->chaos->lag, put->wrap.key, 0, false);
		if (result == 0 && v.twice && f->chaos->repeat)
			result = send_again(f, put, err);
	}
	if (v.fails && result == 0)
		result = fail(f, &v, "write", put->wrap.key, err);
	put_free(put);
	return result;
}

static int chaotic_get(struct store *s, const char *key, uint64_t offset, void *data, size_t len, struct error *err)
{
	struct chaotic *f = chaotic_of(s);
	struct verdict v = decide(f, FAULT_GET, key);
	if (v.fails && !v.half)
		return fail(f, &v, "read", key, err);
	if (s->inner->ops->get(s->inner, key, offset, data, v.half ? len / 2 : len, err) < 0)
		return -1;
	if (v.half)
		return fail(f, &v, "read", key, err);
	return v.twice ? s->inner->ops->get(s->inner, key, offset, data, len, err) : 0;
}

static int chaotic_stat(struct store *s, const char *key, bool *ret_found, uint64_t *ret_size, struct error *err)
{
	struct chaotic *f = chaotic_of(s);
	struct verdict v = decide(f, FAULT_STAT, key);
	return v.fails ? fail(f, &v, "look for", key, err) : s->inner->ops->stat(s->inner, key, ret_found, ret_size, err);
}

static void shuffle(struct buf *listed, uint64_t dice)
{
	struct listed *items = (struct listed *)(void *)listed->data;
	size_t count = listed->len / sizeof *items;
	for (size_t i = count; i > 1; i--) {
		size_t other = mix(dice ^ i) % i;
		struct listed swap = items[i - 1];
		items[i - 1] = items[other];
		items[other] = swap;
	}
}

static int chaotic_list(struct store *s, const char *prefix, store_list_fn fn, void *cookie, struct error *err)
{
	struct chaotic *f = chaotic_of(s);
	struct verdict v = decide(f, FAULT_LIST, prefix);
	CLEAN_BUF struct buf listed = BUF_INIT;
	if (v.fails && !v.half)
		return fail(f, &v, "list", prefix, err);
	int result = s->inner->ops->list(s->inner, prefix, note_listed, &listed, err);
	if (result < 0)
		return result;
	lag_apply(f->chaos->lag, prefix, &listed);
	if (f->chaos->shuffle)
		shuffle(&listed, v.dice);
	if (!buf_ok(&listed))
		return error_set(err, ERR_NOMEM, "list %s: out of memory", prefix);
	const struct listed *items = (const void *)listed.data;
	size_t count = listed.len / sizeof *items;
	for (size_t i = 0; !result && i < (v.half ? count / 2 : count); i++)
		result = fn(cookie, items[i].key, items[i].size);
	return result || !v.half ? result : fail(f, &v, "list", prefix, err);
}

static int chaotic_remove(struct store *s, const char *key, struct error *err)
{
	struct chaotic *f = chaotic_of(s);
	struct verdict v = decide(f, FAULT_REMOVE, key);
	uint64_t size = 0;
	bool found = false;
	if (v.fails && !v.whole)
		return fail(f, &v, "remove", key, err);
	if (f->chaos->lag && s->inner->ops->stat(s->inner, key, &found, &size, NULL) == 0 && found)
		lag_note(f->chaos->lag, key, size, true);
	if (s->inner->ops->remove(s->inner, key, err) < 0 || (v.twice && s->inner->ops->remove(s->inner, key, err) < 0))
		return -1;
	return v.fails ? fail(f, &v, "remove", key, err) : 0;
}

/* Nothing is seen of it, or all. */
static int chaotic_replace(struct store *s, const char *key, const void *data, size_t len, struct error *err)
{
	struct chaotic *f = chaotic_of(s);
	struct verdict v = decide(f, FAULT_PUT_COMMIT, key);
	if (v.fails && !v.whole)
		return fail(f, &v, "replace", key, err);
	if (store_replace(s->inner, key, data, len, err) < 0)
		return -1;
	return v.fails ? fail(f, &v, "replace", key, err) : 0;
}

static void chaotic_close(struct store *s)
{
	pthread_mutex_destroy(&chaotic_of(s)->lock);
	wrap_close(s);
}

static const struct store_ops chaotic_ops = {
	.name = "chaos",
	.put_begin = chaotic_put_begin,
	.put_append = chaotic_put_append,
	.put_commit = chaotic_put_commit,
	.put_abort = chaotic_put_abort,
	.get = chaotic_get,
	.stat = chaotic_stat,
	.list = chaotic_list,
	.remove = chaotic_remove,
	.replace = chaotic_replace,
	.close = chaotic_close,
};

int store_open_chaos(struct store **ret, struct store *inner, struct chaos *chaos, struct error *err)
{
	struct chaotic *f = wrap_new(sizeof *f, &chaotic_ops, inner, err);
	if (!f) {
		store_close(inner);
		return -1;
	}
	if (chaos->lag)
		f->base.promises.list_lag = chaos->lag->ms / 1000 + 1;
	f->chaos = chaos;
	pthread_mutex_init(&f->lock, NULL);
	*ret = &f->base;
	return 0;
}
