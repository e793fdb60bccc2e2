/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What has been decided and waits to be written. While the workers are at one batch, the main thread fills the other; a batch is settled
 * (further names of files, attributes of folders) when the workers are done with it.
 */
#include <stdlib.h>
#include <string.h>

#include "restore/work.h"

int batch_start(struct restore *r, struct error *err)
{
	for (unsigned i = 0; i < 2; i++) {
		struct batch *b = &r->batches[i];
		b->files = calloc(BATCH_FILES, sizeof(struct file *));
		if (!b->files)
			return error_set(err, ERR_NOMEM, "restore: out of memory");
		if (plan_new(&b->plan, r->repo, BATCH_PARTS, err) < 0)
			return -1;
	}
	return 0;
}

/* --- filling ---------------------------------------------------------------------------------- */

static size_t weigh(const struct attr *a)
{
	size_t sum = a->link_len + (a->user ? 32 : 0) + (a->group ? 32 : 0);
	for (size_t i = 0; i < a->xattr_count; i++)
		sum += 64 + a->xattrs[i].size;
	return sum;
}

bool batch_is_heavy(const struct restore *r)
{
	return r->batches[r->filling].weight >= BATCH_BYTES;
}

int batch_add_file(struct restore *r, struct file *file, struct error *err)
{
	if (batch_filling(r)->file_count == BATCH_FILES && batch_submit(r, err) < 0) {
		file_free(file);
		return -1;
	}
	struct batch *b = batch_filling(r);
	b->files[b->file_count++] = file;
	b->weight += sizeof *file + weigh(&file->attr) + 32;
	r->planning = file;
	return 0;
}

static int add_check(struct restore *r, uint64_t position, const struct content_part *part, struct error *err)
{
	struct batch *b = batch_filling(r);
	struct check c = { part->chunk, position, (uint32_t)part->length, (uint32_t)(b->file_count - 1) };
	buf_add(&b->checks, &c, sizeof c);
	return buf_ok(&b->checks) ? 0 : error_set(err, ERR_NOMEM, "restore: out of memory");
}

static bool is_full(const struct batch *b)
{
	return plan_full(b->plan) || b->checks.len >= BATCH_PARTS * sizeof(struct check);
}

int batch_add_part(struct restore *r, uint64_t position, const struct content_part *part, struct error *err)
{
	struct file *f = r->planning;
	struct error why = { 0 };
	bool found = false;
	if (part->length > SEAL_BLOCK_MAX) {
		error_set(&why, ERR_CORRUPT, "a chunk of %llu bytes is larger than any can be", (unsigned long long)part->length);
		file_lose(r, f, &why);
		return 0;
	}
	if (is_full(batch_filling(r)) && batch_submit(r, err) < 0)
		return -1;
	if (r->options->verify && add_check(r, position, part, err) < 0)
		return -1;
	f->checked = true;
	if (f->skipped)
		return 0;
	struct batch *b = batch_filling(r);
	struct plan_part want = { .chunk = part->chunk, .position = position, .owner = (uint32_t)(b->file_count - 1), .take = (uint32_t)part->length };
	/* Counted before the workers can see it. */
	atomic_fetch_add(&f->left, 1);
	f->parts++;
	if (plan_add(b->plan, &want, want.take, &found, &why, err) < 0)
		return -1;
	if (!found) {
		atomic_fetch_sub(&f->left, 1);
		f->parts--;
		file_lose(r, f, &why);
		progress_add(r->options->progress, 0, part->length);
	}
	return 0;
}

int batch_end_file(struct restore *r, struct error *err)
{
	struct file *f = r->planning;
	const struct content_part none = { .kind = CONTENT_HOLE };
	r->planning = NULL;
	if (r->options->verify && !f->checked && add_check(r, 0, &none, err) < 0) /* nothing to read, but a size and holes to look at */
		return -1;
	if (f->skipped || (f->parts == 0 && !f->spans))
		return 0;
	if (!f->spans) /* otherwise the workers are at it already */
		f->small = f->parts == 1;
	return file_done_part(r, main_slot(r), f, err);
}

int batch_add_link(struct restore *r, struct hard_link *link, struct error *err)
{
	struct batch *b = batch_filling(r);
	buf_add(&b->links, link, sizeof *link);
	b->weight += sizeof *link + 32;
	if (buf_ok(&b->links))
		return 0;
	free(link->name);
	return error_set(err, ERR_NOMEM, "restore: out of memory");
}

void batch_add_left(struct restore *r, struct folder *f)
{
	struct batch *b = batch_filling(r);
	f->next = NULL;
	*(b->left ? &b->left_last->next : &b->left) = f;
	b->left_last = f;
	b->weight += sizeof *f + f->len + weigh(&f->attr);
}

/* --- writing ------------------------------------------------------------------------------------ */

static int work_empty(struct restore *r, struct batch *b, const struct task_context *ctx, struct error *err)
{
	size_t count = b->file_count - (b->lends_last ? 1 : 0), i;
	while ((i = atomic_fetch_add(&b->next_file, 1)) < count) {
		struct file *f = b->files[i];
		if (f->spans || f->skipped || f->parts)
			continue;
		if (progress_stopped(r->options->progress) || pool_cancelled(ctx->pool))
			return error_set(err, ERR_CANCELLED, "interrupted");
		if (write_empty(r, ctx->slot, f, err) < 0)
			return -1;
	}
	return 0;
}

static int work(const struct task_context *ctx, void *arg, struct error *err)
{
	struct restore *r = arg;
	struct batch *b = &r->batches[!r->filling];
	struct plan_sink sink = { write_good, write_lost, r };
	if (ctx->cancelled)
		return 0;
	if (plan_work(b->plan, ctx, &r->slots[ctx->slot].raw, r->options->progress, &sink, err) < 0)
		return -1;
	return work_empty(r, b, ctx, err);
}

/* --- settling -------------------------------------------------------------------------------------- */

static void free_links(struct batch *b)
{
	struct hard_link *links = (void *)b->links.data;
	for (size_t i = 0; i < b->links.len / sizeof *links; i++)
		free(links[i].name);
	buf_clear(&b->links);
}

static void empty(struct batch *b)
{
	free_links(b);
	for (size_t i = 0; i < b->file_count - (b->lends_last ? 1 : 0); i++)
		file_free(b->files[i]);
	b->file_count = 0;
	b->lends_last = false;
	atomic_store(&b->next_file, 0);
	buf_clear(&b->checks);
	while (b->left) {
		struct folder *f = b->left;
		b->left = f->next;
		folder_free(f);
	}
	b->left_last = NULL;
	b->weight = 0;
	plan_clear(b->plan);
}

static int settle(struct restore *r, struct batch *b, struct error *err)
{
	CLEAN_BENEATH_CACHE struct beneath_cache old = BENEATH_CACHE_INIT;
	const struct hard_link *links = (const void *)b->links.data;
	for (size_t i = 0; i < b->links.len / sizeof *links; i++)
		if (link_make(r, &links[i], &old, err) < 0)
			return -1;
	for (struct folder *f = b->left; f; f = f->next)
		folder_finish(r, f);
	empty(b);
	return 0;
}

int batch_submit(struct restore *r, struct error *err)
{
	struct batch *full = batch_filling(r), *before = &r->batches[!r->filling];
	if (pool_wait(r->pool, err) < 0 || (r->options->verify && verify_batch(r, before, err) < 0) || plan_ready(full->plan, err) < 0)
		return -1;
	if (r->planning) {
		full->lends_last = true;
		r->planning->spans = true;
	}
	r->filling = !r->filling;
	for (unsigned i = 0; i < main_slot(r); i++)
		pool_submit(r->pool, POOL_CONTENT, main_slot(r), work, r);
	if (settle(r, before, err) < 0)
		return -1;
	if (r->planning)
		before->files[before->file_count++] = r->planning;
	return 0;
}

int batch_finish(struct restore *r, struct error *err)
{
	/* The first call writes what there is, the second settles it. */
	for (int call = 0; call < 2; call++)
		if (batch_submit(r, err) < 0)
			return -1;
	return pool_wait(r->pool, err);
}

void batch_drop(struct restore *r)
{
	for (unsigned i = 0; i < 2; i++) {
		struct batch *b = &r->batches[i];
		for (size_t n = 0; n < b->file_count; n++)
			file_abandon(r, b->files[n]);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct batch *b = &r->batches[i];
		if (b->plan)
			empty(b);
		free(b->files);
		plan_free(b->plan);
		buf_done(&b->links);
		buf_done(&b->checks);
		buf_done(&b->runs);
	}
}
