/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The chunks that this process has taken on itself to store. */
#include <stdlib.h>

#include "repo/index_internal.h"

static size_t claims_place(const struct claims *c, const struct id *id)
{
	size_t at = (size_t)get_le64(id->b) & (c->cap - 1);
	while (c->used[at] && !id_equal(&c->slots[at], id))
		at = (at + 1) & (c->cap - 1);
	return at;
}

/* Copies to a table of cap places, leaving out what without (may be NULL) holds. */
static int claims_copy(struct claims *c, size_t cap, const struct segment *without)
{
	struct claims grown = { .cap = cap };
	uint64_t row;
	grown.slots = malloc(grown.cap * sizeof *grown.slots);
	grown.used = calloc(grown.cap, sizeof *grown.used);
	if (!grown.slots || !grown.used) {
		free(grown.slots);
		free(grown.used);
		return -1;
	}
	for (size_t i = 0; i < c->cap; i++) {
		if (!c->used[i] || (without && segment_find(without, &c->slots[i], &row)))
			continue;
		grown.count++;
		size_t at = claims_place(&grown, &c->slots[i]);
		grown.slots[at] = c->slots[i];
		grown.used[at] = true;
	}
	free(c->slots);
	free(c->used);
	*c = grown;
	return 0;
}

void index_claims_done(struct claims *c)
{
	free(c->slots);
	free(c->used);
	*c = (struct claims){ 0 };
}

/* 1 new, 0 known, -1 out of memory. */
static int claims_add(struct claims *c, const struct id *id)
{
	if (c->count * 4 >= c->cap * 3 && claims_copy(c, c->cap ? c->cap * 2 : 4096, NULL) < 0)
		return -1;
	size_t at = claims_place(c, id);
	if (c->used[at])
		return 0;
	c->slots[at] = *id;
	c->used[at] = true;
	c->count++;
	return 1;
}

int index_claim(struct index *x, const struct id *id)
{
	return index_is_settled(x, id) ? 0 : index_claim_copy(x, id);
}

int index_claim_copy(struct index *x, const struct id *id)
{
	pthread_mutex_lock(&x->lock);
	int added = claims_add(&x->claims, id);
	pthread_mutex_unlock(&x->lock);
	return added;
}

int index_claims_drop(struct index *x, const void *bytes, size_t len, struct error *err)
{
	struct segment view;
	pthread_mutex_lock(&x->lock);
	int done = segment_view(&view, bytes, len, err);
	if (done == 0 && x->claims.cap && claims_copy(&x->claims, x->claims.cap, &view) < 0)
		done = error_set(err, ERR_NOMEM, "extend index: out of memory");
	pthread_mutex_unlock(&x->lock);
	return done;
}

void index_forget_claims(struct index *x)
{
	index_claims_done(&x->claims);
}
