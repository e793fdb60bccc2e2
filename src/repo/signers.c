/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/signers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "repo/ids.h"
#include "repo/signing.h"

#define FILE_NAME "signers-seen"
#define MARK "twofold-signers-1"
#define LINES_MAX 1000000u
#define PAIR_SIZE (2 * ID_SIZE) /* host, hashed; key */
#define COPIES "\x01" "copies"  /* the name in which copies are made, whosesoever snapshots they are */

/* --- memory ------------------------------------------------------------------------------- */

struct memory {
	struct buf pairs;    /* ascending, each once */
	struct buf accepted; /* ids, ordered */
};

static void memory_done(struct memory *m)
{
	buf_done(&m->pairs);
	buf_done(&m->accepted);
}

static int by_pair(const void *a, const void *b)
{
	return memcmp(a, b, PAIR_SIZE);
}

static void memory_sort(struct memory *m)
{
	size_t kept = 0;
	if (m->pairs.len)
		qsort(m->pairs.data, m->pairs.len / PAIR_SIZE, PAIR_SIZE, by_pair);
	for (size_t at = 0; at < m->pairs.len; at += PAIR_SIZE) {
		if (kept && by_pair(m->pairs.data + kept - PAIR_SIZE, m->pairs.data + at) == 0)
			continue;
		memmove(m->pairs.data + kept, m->pairs.data + at, PAIR_SIZE);
		kept += PAIR_SIZE;
	}
	m->pairs.len = kept;
	ids_order(&m->accepted);
}

static bool knows_host(const struct memory *m, const struct id *host)
{
	for (size_t at = 0; at < m->pairs.len; at += PAIR_SIZE)
		if (memcmp(m->pairs.data + at, host->b, ID_SIZE) == 0)
			return true;
	return false;
}

static bool knows_pair(const struct memory *m, const struct id *host, const struct id *key)
{
	uint8_t pair[PAIR_SIZE];
	memcpy(pair, host->b, ID_SIZE);
	memcpy(pair + ID_SIZE, key->b, ID_SIZE);
	return m->pairs.len && bsearch(pair, m->pairs.data, m->pairs.len / PAIR_SIZE, PAIR_SIZE, by_pair);
}

static bool take_line(struct memory *m, const char *line)
{
	char a[ID_HEX_SIZE] = "", b[ID_HEX_SIZE] = "";
	struct id x, y;
	if (sscanf(line, "unsigned %64[0-9a-f]", a) == 1 && id_from_hex(a, &x)) {
		buf_add(&m->accepted, x.b, ID_SIZE);
		return true;
	}
	if (sscanf(line, "signs %64[0-9a-f] %64[0-9a-f]", a, b) != 2 || !id_from_hex(a, &x) || !id_from_hex(b, &y))
		return false;
	buf_add(&m->pairs, x.b, ID_SIZE);
	buf_add(&m->pairs, y.b, ID_SIZE);
	return true;
}

/* Empty where there is none. */
static void memory_read(const struct repo *r, struct memory *ret)
{
	char path[4096], line[256];
	bool sound;
	if (!signing_path(r, FILE_NAME, path))
		return;
	CLEAN_FILE FILE *f = fopen(path, "re");
	if (!f)
		return;
	sound = fgets(line, sizeof line, f) && strcmp(line, MARK "\n") == 0;
	for (unsigned i = 0; sound && i < LINES_MAX && fgets(line, sizeof line, f); i++)
		sound = take_line(ret, line);
	if (!sound) {
		buf_clear(&ret->pairs);
		buf_clear(&ret->accepted);
	}
	memory_sort(ret);
}

/* What fails costs a warning that could have been. */
static void memory_write(const struct repo *r, const struct memory *m)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	char a[ID_HEX_SIZE], b[ID_HEX_SIZE], line[256];
	struct id x, y;
	buf_add(&text, MARK "\n", strlen(MARK "\n"));
	for (size_t at = 0; at < m->pairs.len; at += PAIR_SIZE) {
		memcpy(x.b, m->pairs.data + at, ID_SIZE);
		memcpy(y.b, m->pairs.data + at + ID_SIZE, ID_SIZE);
		id_to_hex(&x, a);
		id_to_hex(&y, b);
		buf_add(&text, line, (size_t)snprintf(line, sizeof line, "signs %s %s\n", a, b));
	}
	for (size_t at = 0; at < m->accepted.len; at += ID_SIZE) {
		memcpy(x.b, m->accepted.data + at, ID_SIZE);
		id_to_hex(&x, a);
		buf_add(&text, line, (size_t)snprintf(line, sizeof line, "unsigned %s\n", a));
	}
	if (buf_ok(&text))
		signing_save(r, FILE_NAME, text.data, text.len, true, NULL);
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

/* --- judging --------------------------------------------------------------------------------- */

struct judge {
	struct repo *repo;
	const struct repo_log *log;
	struct memory before, after; /* what was known, and what is from now on */
	bool accept;
	struct signers_judgement judgement;
};

static void judge_done(struct judge *j)
{
	memory_done(&j->before);
	memory_done(&j->after);
	signers_judgement_done(&j->judgement);
}

void signers_judgement_done(struct signers_judgement *j)
{
	for (size_t i = 0; i < j->count; i++)
		free(j->items[i].host);
	free(j->items);
	*j = (struct signers_judgement){ 0 };
}

/* Something that was written in the name of a host. */
struct claim {
	struct id id, host; /* host: hashed */
	const char *name;
	struct time_ns time;
	bool is_entry, is_copy;
	bool is_signed, fits;
	struct id key;
};

static void hash_host(const struct repo *r, const char *name, struct id *ret)
{
	char text[1200];
	int len = snprintf(text, sizeof text, "host %s", name);
	seal_chunk_id(r->keys, CHUNK_META, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1, ret);
}

static int doubt(struct judge *j, const struct claim *c, enum signers_doubt what, struct error *err)
{
	struct signers_judgement *all = &j->judgement;
	for (size_t i = 0; what == SIGNERS_OTHER && i < all->count; i++)
		if (all->items[i].doubt == what && all->items[i].is_entry == c->is_entry && all->items[i].is_copy == c->is_copy && id_equal(&all->items[i].key, &c->key) &&
		    strcmp(all->items[i].host, c->name) == 0) {
			all->items[i].more++;
			return 0;
		}
	struct signers_finding f = { .doubt = what, .is_entry = c->is_entry, .is_copy = c->is_copy, .id = c->id, .time = c->time, .key = c->key, .host = strdup(c->name) };
	struct signers_finding *items = reallocarray(all->items, all->count + 1, sizeof *items);
	if (items)
		all->items = items;
	if (!items || !f.host) {
		free(f.host);
		return error_set(err, ERR_NOMEM, "look who signed: out of memory");
	}
	all->items[all->count++] = f;
	return 0;
}

static void remember_pair(struct judge *j, const struct claim *c)
{
	buf_add(&j->after.pairs, c->host.b, ID_SIZE);
	buf_add(&j->after.pairs, c->key.b, ID_SIZE);
}

/* Before this user first looked: made without a signature, when others of the same host already had one? */
static bool comes_after_signed(const struct claim *claims, size_t count, const struct claim *c)
{
	for (size_t i = 0; i < count; i++)
		if (claims[i].fits && claims[i].is_entry == c->is_entry && id_equal(&claims[i].host, &c->host) && time_compare(claims[i].time, c->time) < 0)
			return true;
	return false;
}

static int judge_claim(struct judge *j, const struct claim *claims, size_t count, const struct claim *c, struct error *err)
{
	bool known = knows_host(&j->before, &c->host);
	if (c->fits) {
		if (!known || j->accept || knows_pair(&j->before, &c->host, &c->key) || signing_is_own(j->repo, &c->key)) {
			remember_pair(j, c);
			return 0;
		}
		return doubt(j, c, SIGNERS_OTHER, err);
	}
	bool right = j->accept || ids_have(&j->before.accepted, &c->id) || (!c->is_signed && !known && !comes_after_signed(claims, count, c));
	if (!right)
		return doubt(j, c, c->is_signed ? SIGNERS_FALSE : SIGNERS_NONE, err);
	buf_add(&j->after.accepted, c->id.b, ID_SIZE);
	return 0;
}

/* Who vouches for the snapshot as it is; somebody known, where there are several. */
static void find_voucher(const struct judge *j, const struct snapshot_entry *s, struct claim *c)
{
	const struct buf *all = &j->log->vouchers;
	size_t low = 0, high = all->len / LOG_VOUCHER_SIZE;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (memcmp(all->data + middle * LOG_VOUCHER_SIZE, s->id.b, ID_SIZE) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t at = low * LOG_VOUCHER_SIZE; at < all->len && memcmp(all->data + at, s->id.b, ID_SIZE) == 0; at += LOG_VOUCHER_SIZE) {
		struct id key;
		memcpy(key.b, all->data + at + 2 * ID_SIZE, ID_SIZE);
		c->is_signed = true;
		if ((c->fits && !knows_pair(&j->before, &c->host, &key)) || memcmp(all->data + at + ID_SIZE, s->hash.b, ID_SIZE) != 0 || !signing_voucher_fits(j->repo, all->data + at))
			continue;
		c->fits = true;
		c->key = key;
	}
}

/* The claims that have to be judged: of machines with a write-only key it is known otherwise who made them. */
static size_t gather_claims(struct judge *j, const struct snapshot_list *snapshots, struct claim *ret)
{
	size_t count = 0;
	for (size_t i = 0; i < snapshots->count; i++) {
		const struct snapshot_entry *s = &snapshots->items[i];
		struct claim c = { .id = s->id, .name = s->snapshot.host, .time = s->snapshot.time, .is_copy = s->snapshot.has_origin };
		if (s->snapshot.has_writer)
			continue;
		hash_host(j->repo, c.is_copy ? COPIES : c.name, &c.host);
		find_voucher(j, s, &c);
		j->judgement.signed_snapshots += c.fits;
		j->judgement.unsigned_snapshots += !c.fits;
		ret[count++] = c;
	}
	for (size_t i = 0; i < j->log->writing_count; i++) {
		const struct log_writing *w = &j->log->writings[i];
		struct claim c = { .id = w->id, .name = w->host, .time = w->time, .is_entry = true, .is_signed = w->is_signed, .fits = w->fits, .key = w->key };
		hash_host(j->repo, c.name, &c.host);
		ret[count++] = c;
	}
	return count;
}

int signers_judge(struct repo *r, const struct repo_log *l, const struct snapshot_list *snapshots, bool accept, struct signers_judgement *ret, struct error *err)
{
	CLEAN(judge_done) struct judge j = { .repo = r, .log = l, .accept = accept };
	CLEAN_FREE struct claim *claims = calloc(snapshots->count + l->writing_count + 1, sizeof *claims);
	if (!claims)
		return error_set(err, ERR_NOMEM, "look who signed: out of memory");
	memory_read(r, &j.before);
	size_t count = gather_claims(&j, snapshots, claims);
	/* A key stays known when all that it signed is gone; what is accepted, only while it is there. */
	buf_add(&j.after.pairs, j.before.pairs.data, j.before.pairs.len);
	for (size_t i = 0; i < count; i++)
		if (judge_claim(&j, claims, count, &claims[i], err) < 0)
			return -1;
	memory_sort(&j.after);
	if (!buf_ok(&j.before.pairs) || !buf_ok(&j.before.accepted) || !buf_ok(&j.after.pairs) || !buf_ok(&j.after.accepted))
		return error_set(err, ERR_NOMEM, "look who signed: out of memory");
	if (r->signing && r->signing->make && (!same(&j.before.pairs, &j.after.pairs) || !same(&j.before.accepted, &j.after.accepted)))
		memory_write(r, &j.after);
	*ret = j.judgement;
	j.judgement = (struct signers_judgement){ 0 };
	return 0;
}

int signers_accept(struct repo *r, struct error *err)
{
	CLEAN(repo_log_done) struct repo_log l = { 0 };
	CLEAN(snapshot_list_done) struct snapshot_list snapshots = { 0 };
	CLEAN(signers_judgement_done) struct signers_judgement j = { 0 };
	return repo_log_read(r, &l, err) < 0 || repo_snapshots(r, &snapshots, err) < 0 ? -1 : signers_judge(r, &l, &snapshots, true, &j, err);
}

/* --- telling ------------------------------------------------------------------------------------ */

static void when(struct time_ns t, char *ret, size_t size)
{
	struct tm tm;
	time_t at = (time_t)t.sec;
	strftime(ret, size, "%Y-%m-%d %H:%M", localtime_r(&at, &tm) ? &tm : &(struct tm){ 0 });
}

static const char *name_of(const struct repo_log *l, const struct id *key)
{
	for (size_t i = 0; i < l->signers.count; i++)
		if (memcmp(l->signers.items[i].key, key->b, LOG_KEY_SIZE) == 0)
			return l->signers.items[i].name;
	return "who did not introduce himself";
}

const char *signers_text(const struct repo_log *l, const struct signers_finding *f, char ret[SIGNERS_TEXT_MAX])
{
	char date[64], key[ID_HEX_SIZE], more[64] = "";
	when(f->time, date, sizeof date);
	id_to_hex(&f->key, key);
	if (f->more)
		snprintf(more, sizeof more, " (and %llu more)", (unsigned long long)f->more);
	if (f->doubt == SIGNERS_FALSE)
		snprintf(ret, SIGNERS_TEXT_MAX, "of %s in the name of host %.200s: its signature is false: somebody who holds a key of the repository has put it there, or changed it", date, f->host);
	else if (f->doubt == SIGNERS_NONE)
		snprintf(ret, SIGNERS_TEXT_MAX,
		         "of %s in the name of host %.200s: it is not signed, though %s were: by an older program, without a home folder, with --no-cache, or by somebody else who holds a key of the repository; "
		         "if it is right: twofold snapshots --accept",
		         date, f->host, f->is_copy ? "earlier copies" : "others of this host");
	else
		snprintf(ret, SIGNERS_TEXT_MAX,
		         "of %s in the name of host %.200s%s%s: signed by key %.16s of %.200s, which had not signed for it before: a new machine, user or home folder, or somebody else who holds a key of the "
		         "repository; if it is right: twofold snapshots --accept",
		         date, f->host, f->is_copy ? ", a copy" : "", more, key, name_of(l, &f->key));
	return ret;
}
