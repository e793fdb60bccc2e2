/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <time.h>

#include "repo/check_internal.h"

/* --- sessions, by which a pack's age is known ------------------------------------------------- */

void check_note_session(struct check *c, const struct snapshot *s)
{
	const struct time_ns *since = &c->options->since;
	int64_t seconds = (int64_t)(s->totals.nanoseconds / 1000000000u) + 1;
	if (s->has_origin && s->copied.sec >= since->sec)
		return;
	/* A time that cannot be added to is none to rely on. */
	if (!c->options->has_since || s->time.sec >= since->sec || seconds >= since->sec - s->time.sec || s->time.sec < 0)
		return;
	buf_add(&c->aged, &s->session, sizeof s->session);
}

static int by_id(const void *a, const void *b)
{
	return id_compare(a, b);
}

static uint64_t monotonic(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool check_wants(struct check *c, const struct id *session)
{
	if (c->aged.len && bsearch(session, c->aged.data, c->aged.len / sizeof *session, sizeof *session, by_id))
		return false;
	if (!c->deadline || monotonic() < c->deadline)
		return true;
	pthread_mutex_lock(&c->lock);
	c->report.packs_left++;
	pthread_mutex_unlock(&c->lock);
	return false;
}

/* --- choice and order --------------------------------------------------------------------------- */

static int longest_ago_first(const void *a, const void *b)
{
	const struct pack_choice *x = a, *y = b;
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	if (x->shuffle != y->shuffle)
		return x->shuffle < y->shuffle ? -1 : 1;
	return (x->row > y->row) - (x->row < y->row);
}

/* Marks packs until percent of all bytes are chosen. */
static void choose(struct check *c, bool resume)
{
	uint64_t all = 0, chosen = 0;
	for (uint32_t i = 0; i < c->pack_count; i++)
		all += c->choices[i].size;
	for (uint32_t i = 0; i < c->pack_count; i++) {
		struct pack_choice *p = &c->choices[i];
		if (chosen * 100 >= all * c->options->percent)
			break;
		if (resume && p->time >= c->log.interrupted)
			continue;
		p->read = true;
		chosen += p->size;
		progress_add_total(c->options->progress, 0, p->size);
	}
}

int check_choose(struct check *c, struct error *err)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	c->started = (struct time_ns){ now.tv_sec, (uint32_t)now.tv_nsec };
	c->deadline = c->options->budget ? monotonic() + c->options->budget : 0;
	if (!buf_ok(&c->aged))
		return error_set(err, ERR_NOMEM, "check: out of memory");
	if (c->aged.len)
		qsort(c->aged.data, c->aged.len / sizeof(struct id), sizeof(struct id), by_id);
	check_log_load(&c->log, c->repo);
	for (uint32_t i = 0; i < c->pack_count; i++) {
		struct pack_choice *p = &c->choices[i];
		seal_random(&p->shuffle, sizeof p->shuffle);
		p->time = check_log_find(&c->log, &p->pack);
		if (p->time > c->started.sec) /* a clock was wrong: better once too often */
			p->time = 0;
	}
	if (c->pack_count)
		qsort(c->choices, c->pack_count, sizeof *c->choices, longest_ago_first);
	if (c->options->read_data)
		choose(c, c->options->resume && c->log.interrupted > 0);
	return 0;
}

/* --- what is remembered ---------------------------------------------------------------------------- */

static bool is_full(const struct check_options *o)
{
	return o->read_data && o->percent == 100 && !o->has_since && !o->budget;
}

void check_remember(struct check *c, bool complete)
{
	struct check_report *r = &c->report;
	r->has_log = c->repo->cache != NULL;
	buf_clear(&c->log.entries);
	for (uint32_t i = 0; i < c->pack_count; i++) {
		const struct pack_choice *p = &c->choices[i];
		struct check_log_entry e = { p->pack, p->lost ? 0 : p->time };
		if (e.time) {
			buf_add(&c->log.entries, &e, sizeof e);
			if (!r->oldest_read || e.time < r->oldest_read)
				r->oldest_read = e.time;
		} else {
			r->packs_never_read++;
		}
	}
	if (!c->options->read_data)
		return;
	/* One that was interrupted twice goes on from where it first began. */
	if (is_full(c->options) && (complete || !c->options->resume || !c->log.interrupted))
		c->log.interrupted = complete ? 0 : c->started.sec;
	/* It is only a memory aid: what cannot be written costs reading again. */
	if (buf_ok(&c->log.entries) && check_log_save(&c->log, c->repo, NULL) < 0)
		r->has_log = false;
}
