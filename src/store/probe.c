/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "store/probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FOLDER "probe/"
#define SMALL 1000u            /* bytes of a small object */
#define BLOCK (512u << 10)     /* of one append, one get */
#define READERS 2              /* as a restore on a small machine */
#define RACERS 4
#define LOOKS 9                /* for the round trip */
#define LAG_MAX 10000u         /* milliseconds that a listing is waited for in the long form */
#define LAG_MAX_SHORT 2000u

struct probing {
	struct store *s;
	struct probe *probe;
	char start[32];   /* "probe/RANDOM" */
	bool brief;
	uint8_t small[SMALL];
};

static uint64_t now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int random_bytes(void *data, size_t len, struct error *err)
{
	uint8_t *at = data;
	while (len) {
		ssize_t n = getrandom(at, len < 256 ? len : 256, 0);
		if (n <= 0)
			return error_set(err, ERR_IO, "get random bytes");
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static void key_of(const struct probing *p, const char *name, char ret[64])
{
	snprintf(ret, 64, "%s%s", p->start, name);
}

/* A needed thing is missing. */
static enum probe_answer no(struct probing *p, const struct error *why)
{
	error_keep_first(&p->probe->first, why);
	return PROBE_NO;
}

/* --- what it does ----------------------------------------------------------------------- */

static enum probe_answer try_put(struct probing *p)
{
	struct error why = { 0 };
	char key[64];
	key_of(p, "small", key);
	uint64_t start = now_us();
	if (store_write(p->s, key, p->small, SMALL, &why) < 0)
		return no(p, &why);
	p->probe->small_put = now_us() - start;
	return PROBE_YES;
}

static enum probe_answer try_read(struct probing *p)
{
	CLEAN_BUF struct buf whole = BUF_INIT;
	struct error why = { 0 };
	char key[64];
	key_of(p, "small", key);
	if (store_read(p->s, key, SMALL, &whole, &why) < 0)
		return no(p, &why);
	if (whole.len == SMALL && memcmp(whole.data, p->small, SMALL) == 0)
		return PROBE_YES;
	error_set(&why, ERR_CORRUPT, "read %s/%s: it is not what was written a moment ago", p->s->location, key);
	return no(p, &why);
}

static enum probe_answer try_range(struct probing *p)
{
	struct error why = { 0 };
	uint8_t part[100];
	char key[64];
	key_of(p, "small", key);
	if (p->s->ops->get(p->s, key, 300, part, sizeof part, &why) < 0)
		return no(p, &why);
	if (memcmp(part, p->small + 300, sizeof part) == 0)
		return PROBE_YES;
	error_set(&why, ERR_CORRUPT, "read a range of %s/%s: the store gives another one", p->s->location, key);
	return no(p, &why);
}

struct wanted {
	const char *key;
	uint64_t size;
	bool found;
};

static int note(void *cookie, const char *key, uint64_t size)
{
	struct wanted *w = cookie;
	if (strcmp(key, w->key) == 0) {
		w->found = true;
		w->size = size;
	}
	return 0;
}

/* Lists until the object is there, or is gone. */
static enum probe_answer try_list(struct probing *p, const char *name, bool there, struct error *why)
{
	char key[64];
	key_of(p, name, key);
	uint64_t start = now_us(), limit = 1000ull * (p->brief ? LAG_MAX_SHORT : LAG_MAX);
	for (;;) {
		struct wanted w = { key, 0, false };
		if (p->s->ops->list(p->s, FOLDER, note, &w, why) < 0)
			return PROBE_NO;
		uint64_t took = now_us() - start;
		if (w.found == there) {
			if (took / 1000 > p->probe->list_lag)
				p->probe->list_lag = took / 1000;
			return PROBE_YES;
		}
		if (took > limit)
			break;
		nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
	}
	error_set(why, ERR_IO, "list %s/" FOLDER ": after %llu s it still %s %s", p->s->location, (unsigned long long)limit / 1000000, there ? "lacks" : "shows", key);
	return PROBE_NO;
}

static enum probe_answer try_list_new(struct probing *p)
{
	struct error why = { 0 };
	enum probe_answer answer = try_list(p, "small", true, &why);
	/* A store that is known to lag may still be at it when the short form gives up. */
	if (answer == PROBE_NO && p->s->promises.list_lag && why.kind == ERR_IO)
		return PROBE_UNKNOWN;
	return answer == PROBE_YES ? answer : no(p, &why);
}

static enum probe_answer try_replace(struct probing *p)
{
	CLEAN_BUF struct buf whole = BUF_INIT;
	struct error why = { 0 };
	char key[64];
	key_of(p, "small", key);
	int wrote = store_write(p->s, key, "another", 7, &why);
	if (wrote < 0 && why.kind != ERR_EXISTS)
		return no(p, &why);
	if (wrote < 0 && store_read(p->s, key, SMALL, &whole, &why) < 0)
		return no(p, &why);
	if (wrote < 0 && whole.len == SMALL && memcmp(whole.data, p->small, SMALL) == 0)
		return PROBE_YES;
	error_set(&why, ERR_UNSUPPORTED, "write %s/%s again: the store replaced an object that was there", p->s->location, key);
	return no(p, &why);
}

struct racer {
	struct probing *p;
	pthread_t thread;
	unsigned number;
	bool won, lost, started;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	char key[64], text[16];
	struct error why = { 0 };
	key_of(r->p, "race", key);
	int len = snprintf(text, sizeof text, "racer %u", r->number);
	r->won = store_write(r->p->s, key, text, (size_t)len, &why) == 0;
	r->lost = !r->won && why.kind == ERR_EXISTS;
	return NULL;
}

static enum probe_answer try_race(struct probing *p)
{
	struct racer racers[RACERS];
	unsigned won = 0, lost = 0;
	for (unsigned i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){ .p = p, .number = i };
		racers[i].started = pthread_create(&racers[i].thread, NULL, race, &racers[i]) == 0;
	}
	for (unsigned i = 0; i < RACERS; i++) {
		if (racers[i].started)
			pthread_join(racers[i].thread, NULL);
		won += racers[i].won;
		lost += racers[i].lost;
	}
	return won == 1 && lost == RACERS - 1 ? PROBE_YES : won > 1 ? PROBE_NO : PROBE_UNKNOWN;
}

/* --- how fast ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void measure_round_trip(struct probing *p)
{
	uint64_t took[LOOKS];
	char key[64];
	key_of(p, "small", key);
	for (unsigned i = 0; i < LOOKS; i++) {
		bool found;
		uint64_t size, start = now_us();
		if (p->s->ops->stat(p->s, key, &found, &size, NULL) < 0)
			return;
		took[i] = now_us() - start;
	}
	qsort(took, LOOKS, sizeof *took, compare);
	p->probe->round_trip = took[LOOKS / 2];
}

/* Writes one large object in blocks that no compression on the way can shrink. */
static int measure_up(struct probing *p, uint64_t blocks, struct error *err)
{
	CLEAN_FREE uint8_t *block = malloc(BLOCK);
	struct store_put *put;
	char key[64];
	key_of(p, "large", key);
	if (!block || random_bytes(block, BLOCK, err) < 0)
		return block ? -1 : error_set(err, ERR_NOMEM, "test a store: out of memory");
	uint64_t start = now_us();
	if (p->s->ops->put_begin(p->s, key, blocks * BLOCK, &put, err) < 0)
		return -1;
	for (uint64_t i = 0; i < blocks; i++) {
		memcpy(block, &i, sizeof i);
		if (p->s->ops->put_append(put, block, BLOCK, err) < 0) {
			p->s->ops->put_abort(put);
			return -1;
		}
	}
	if (p->s->ops->put_commit(put, err) < 0)
		return -1;
	p->probe->up = (double)(blocks * BLOCK) * 1e6 / (double)(now_us() - start + 1);
	return 0;
}

struct reading {
	struct probing *p;
	pthread_t thread;
	uint64_t first, blocks; /* every READERSth from first on */
	bool started;
	int result;
	struct error err;
};

static void *read_blocks(void *arg)
{
	struct reading *r = arg;
	CLEAN_FREE uint8_t *block = malloc(BLOCK);
	char key[64];
	key_of(r->p, "large", key);
	r->result = block ? 0 : error_set(&r->err, ERR_NOMEM, "test a store: out of memory");
	for (uint64_t i = r->first; r->result == 0 && i < r->blocks; i += READERS) {
		r->result = r->p->s->ops->get(r->p->s, key, i * BLOCK, block, BLOCK, &r->err);
		if (r->result == 0 && memcmp(block, &i, sizeof i) != 0)
			r->result = error_set(&r->err, ERR_CORRUPT, "read %s/%s: it is not what was written a moment ago", r->p->s->location, key);
	}
	return NULL;
}

static int measure_down(struct probing *p, uint64_t blocks, struct error *err)
{
	struct reading readers[READERS];
	int result = 0;
	uint64_t start = now_us();
	for (unsigned i = 0; i < READERS; i++) {
		readers[i] = (struct reading){ .p = p, .first = i, .blocks = blocks };
		readers[i].started = pthread_create(&readers[i].thread, NULL, read_blocks, &readers[i]) == 0;
		if (!readers[i].started)
			read_blocks(&readers[i]);
	}
	for (unsigned i = 0; i < READERS; i++) {
		if (readers[i].started)
			pthread_join(readers[i].thread, NULL);
		if (readers[i].result < 0 && result == 0) {
			result = -1;
			*err = readers[i].err;
		}
	}
	p->probe->down = (double)(blocks * BLOCK) * 1e6 / (double)(now_us() - start + 1);
	return result;
}

static void measure(struct probing *p, uint64_t bytes)
{
	struct error why = { 0 };
	uint64_t blocks = (bytes + BLOCK - 1) / BLOCK;
	measure_round_trip(p);
	if (measure_up(p, blocks, &why) < 0)
		p->probe->put = no(p, &why);
	else if (measure_down(p, blocks, &why) < 0)
		p->probe->read_back = no(p, &why);
	else
		p->probe->bytes = blocks * BLOCK;
}

/* --- the whole --------------------------------------------------------------------------------- */

/* Removes all of it; the answer is that for the small one. */
static void tidy(struct probing *p)
{
	static const char *const names[] = { "small", "race", "large" };
	struct error why = { 0 };
	char key[64];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		key_of(p, names[i], key);
		int removed = p->s->ops->remove(p->s, key, NULL);
		if (i == 0)
			p->probe->remove = removed == 0 ? PROBE_YES : PROBE_NO;
	}
	if (p->probe->remove == PROBE_YES && !p->brief)
		p->probe->list_removed = try_list(p, "small", false, &why);
}

int store_probe(struct store *s, uint64_t bytes, struct probe *ret, struct error *err)
{
	struct probe found = { .promises = s->promises };
	struct probing p = { .s = s, .probe = &found, .brief = bytes == 0 };
	uint64_t name;
	if (random_bytes(p.small, sizeof p.small, err) < 0 || random_bytes(&name, sizeof name, err) < 0)
		return -1;
	snprintf(p.start, sizeof p.start, FOLDER "%016llx", (unsigned long long)name);
	found.put = try_put(&p);
	if (found.put == PROBE_YES) {
		found.read_back = try_read(&p);
		found.range = try_range(&p);
		found.list = try_list_new(&p);
		found.keeps_old = try_replace(&p);
		if (!p.brief) {
			found.one_winner = try_race(&p);
			measure(&p, bytes);
		}
	}
	if (!p.brief)
		store_facts(s, &found.facts, NULL);
	tidy(&p);
	if (found.first.kind == ERR_CANCELLED) {
		if (err)
			*err = found.first;
		return -1;
	}
	*ret = found;
	return 0;
}

bool probe_usable(const struct probe *p)
{
	return p->promises.atomic_put && p->first.kind == ERR_NONE && p->put == PROBE_YES && p->read_back == PROBE_YES && p->range == PROBE_YES &&
	       p->list != PROBE_NO && p->keeps_old == PROBE_YES;
}
