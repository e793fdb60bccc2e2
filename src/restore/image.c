/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The map of the disk is walked from its start. Data goes into a plan; when it is full, workers write it, in the order of the packs, while the
 * next one is filled. What needs no data (zeros, free space) is seen to on the way. The same walk with .compare reads everything back.
 */
#include "restore/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "part/part.h"
#include "repo/format/map.h"
#include "repo/format/seq.h"
#include "restore/image_target.h"
#include "restore/plan.h"
#include "restore/writeback.h"

#define PART_COUNT (128u << 10)   /* of one plan */
#define PAGE 4096u                /* what the page cache and most disks write in one piece */
#define LARGE (1u << 20)          /* shorter runs on a device are not worth a command of their own */
#define STEP (64u << 20)          /* between looks at the stop flag */
#define NAMED_MAX 20u             /* ranges named one by one */

/* Adjoining ranges without data. */
struct run {
	enum map_kind kind;
	uint64_t position, length;
};

struct job {
	struct image_target *t;
	struct repo *repo;
	const struct snapshot *snapshot;
	const struct image_options *options;
	bool compare;
	struct pool *pool;
	struct plan *plans[2];
	unsigned filling;           /* which plan is being filled; the other may be being written */
	struct buf *raw, *back;     /* one a slot: a decoded block; what was read back */
	struct buf zeros;           /* reading back what should be zero; main thread only */
	struct plan_part part;      /* data that still may get the zeros behind it: .owner counts them */
	uint32_t part_length;       /* of its chunk; 0: there is none */
	struct run run;             /* length 0: none */
	uint64_t done;              /* position reached */
	struct image_result result; /* main thread only */
	_Atomic uint64_t data, lost, verified;
	atomic_uint named;          /* warnings about single ranges so far */
	atomic_uint different;      /* ranges that did not read back */
	_Atomic uint64_t first_different;
	struct writeback writeback;
};

/* --- telling -------------------------------------------------------------------------------- */

/* Names one range; says once that there are more. */
static void warn_range(struct job *j, const struct error *what)
{
	unsigned before = atomic_fetch_add(&j->named, 1);
	struct error more = { 0 };
	if (before < NAMED_MAX) {
		warn(j->options->warner, what);
	} else if (before == NAMED_MAX) {
		error_set(&more, what->kind, "more ranges like these follow, which are only counted");
		warn(j->options->warner, &more);
	}
}

static void note_different(struct job *j, uint64_t position)
{
	uint64_t first = atomic_load(&j->first_different);
	if (atomic_fetch_add(&j->different, 1) == 0)
		first = UINT64_MAX;
	while (position < first && !atomic_compare_exchange_weak(&j->first_different, &first, position))
		;
}

/* --- data: on the workers ---------------------------------------------------------------------- */

/* len bytes and pad zeros behind them, in one write, so that no page and no sector is read first. The bytes behind belong to the next chunk: they come back. */
static int write_padded(struct job *j, uint64_t position, uint8_t *bytes, size_t len, size_t pad, struct error *err)
{
	uint8_t saved[PAGE];
	if (pad) {
		memcpy(saved, bytes + len, pad);
		memset(bytes + len, 0, pad);
	}
	int done = block_write(j->t->block, position, bytes, len + pad, err);
	if (pad)
		memcpy(bytes + len, saved, pad);
	return done;
}

static int compare_padded(struct job *j, struct buf *back, uint64_t position, const uint8_t *bytes, size_t len, size_t pad, struct error *err)
{
	buf_clear(back);
	if (!buf_reserve(back, len + pad))
		return error_set(err, ERR_NOMEM, "read %s back: out of memory", j->t->path);
	if (block_read(j->t->block, position, back->data, len + pad, err) < 0)
		return error_add(err, "read back what was restored");
	if (memcmp(back->data, bytes, len) != 0 || (pad && !block_is_zero(back->data + len, pad)))
		note_different(j, position);
	else
		atomic_fetch_add(&j->verified, len + pad);
	return 0;
}

static int good_parts(void *cookie, unsigned slot, const struct plan_part *parts, size_t count, uint8_t *data, size_t data_len, struct error *err)
{
	struct job *j = cookie;
	(void)data_len;
	for (size_t i = 0; i < count;) {
		uint64_t at = (uint64_t)parts[i].offset + parts[i].skip;
		size_t len = parts[i].take, n = i + 1;
		/* What adjoins in the block and on the disk is one write. */
		while (n < count && parts[n - 1].owner == 0 && (uint64_t)parts[n].offset + parts[n].skip == at + len &&
		       parts[n].position == parts[i].position + len)
			len += parts[n++].take;
		size_t pad = parts[n - 1].owner;
		int done = j->compare ? compare_padded(j, &j->back[slot], parts[i].position, data + at, len, pad, err) :
		                        write_padded(j, parts[i].position, data + at, len, pad, err);
		if (done < 0)
			return -1;
		if (!j->compare)
			atomic_fetch_add(&j->data, len);
		progress_add(j->options->progress, 0, len + pad);
		i = n;
	}
	return 0;
}

static int lost_parts(void *cookie, unsigned slot, const struct plan_part *parts, size_t count, const struct error *why, struct error *err)
{
	struct job *j = cookie;
	uint64_t bytes = 0, first = UINT64_MAX;
	(void)slot;
	for (size_t i = 0; i < count; i++) {
		bytes += parts[i].take;
		if (parts[i].position < first)
			first = parts[i].position;
		if (!j->compare && !j->t->fresh && block_write_zeros(j->t->block, parts[i].position, (uint64_t)parts[i].take + parts[i].owner, err) < 0)
			return -1;
		progress_add(j->options->progress, 0, (uint64_t)parts[i].take + parts[i].owner);
	}
	if (j->compare) /* named when it was written */
		return 0;
	atomic_fetch_add(&j->lost, bytes);
	struct error what = *why;
	error_add(&what, "%" PRIu64 " bytes in %zu range%s of the image, the first at %" PRIu64 ", are lost and restored as zeros", bytes, count,
	          count == 1 ? "" : "s", first);
	warn_range(j, &what);
	return 0;
}

static int work(const struct task_context *ctx, void *arg, struct error *err)
{
	struct job *j = arg;
	struct plan_sink sink = { good_parts, lost_parts, j };
	if (ctx->cancelled)
		return 0;
	return plan_work(j->plans[!j->filling], ctx, &j->raw[ctx->slot], j->options->progress, &sink, err);
}

/* Waits for the plan before, then hands over the one that was filled. */
static int submit(struct job *j, struct error *err)
{
	if (pool_wait(j->pool, err) < 0 || plan_ready(j->plans[j->filling], err) < 0)
		return -1;
	j->filling = !j->filling;
	plan_clear(j->plans[j->filling]);
	unsigned outside = pool_slots(j->pool) - 1;
	for (unsigned i = 0; i < outside; i++)
		pool_submit(j->pool, POOL_CONTENT, outside, work, j);
	return 0;
}

/* --- the map: on the main thread ------------------------------------------------------------- */

static int flush_part(struct job *j, struct error *err)
{
	if (j->part_length == 0)
		return 0;
	bool found;
	struct error why = { 0 };
	if (plan_full(j->plans[j->filling]) && submit(j, err) < 0)
		return -1;
	uint32_t length = j->part_length;
	j->part_length = 0;
	if (plan_add(j->plans[j->filling], &j->part, length, &found, &why, err) < 0)
		return -1;
	return found ? 0 : lost_parts(j, 0, &j->part, 1, &why, err);
}

static int stopped(const struct job *j, struct error *err)
{
	return progress_stopped(j->options->progress) ? error_set(err, ERR_CANCELLED, "interrupted") : 0;
}

/* Pages that the range holds only a part of are written, the others zeroed by a command. */
static int zero_range(struct job *j, uint64_t position, uint64_t length, struct error *err)
{
	struct block *b = j->t->block;
	uint64_t end = position + length, first = (position + PAGE - 1) / PAGE * PAGE, last = end / PAGE * PAGE;
	if (length < (j->t->device ? LARGE : 2 * PAGE) || first >= last)
		return block_write_zeros(b, position, length, err);
	if (block_write_zeros(b, position, first - position, err) < 0 || block_write_zeros(b, last, end - last, err) < 0)
		return -1;
	for (uint64_t n; first < last; first += n) {
		n = last - first < STEP ? last - first : STEP;
		if (stopped(j, err) < 0 || block_zero(b, first, n, err) < 0)
			return -1;
	}
	return 0;
}

static void discard_range(struct job *j, uint64_t position, uint64_t length)
{
	uint64_t end = (position + length) / PAGE * PAGE;
	position = (position + PAGE - 1) / PAGE * PAGE;
	if (position < end && (!j->t->device || length >= LARGE))
		block_discard(j->t->block, position, end - position);
}

static int compare_zero(void *cookie, uint64_t position, uint64_t length, enum block_extent kind)
{
	struct job *j = cookie;
	const uint64_t step = 1 << 20;
	for (uint64_t n; kind == BLOCK_DATA && length; position += n, length -= n) {
		n = length < step ? length : step;
		if (block_read(j->t->block, position, j->zeros.data, n, NULL) < 0 || !block_is_zero(j->zeros.data, n)) {
			note_different(j, position);
			return 0;
		}
	}
	return 0;
}

static void warn_unreadable(struct job *j, const struct run *r)
{
	struct error what = { 0 };
	error_set(&what, ERR_IO, "%" PRIu64 " bytes at %" PRIu64 " could not be read when the image was taken; they are restored as zeros", r->length,
	          r->position);
	warn_range(j, &what);
}

static int flush_run(struct job *j, struct error *err)
{
	struct run r = j->run;
	j->run.length = 0;
	if (r.length == 0)
		return 0;
	progress_add(j->options->progress, 0, r.length);
	if (j->compare) {
		if (r.kind == MAP_UNUSED)
			return 0;
		atomic_fetch_add(&j->verified, r.length);
		return block_extents(j->t->block, r.position, r.length, compare_zero, j, err);
	}
	if (r.kind == MAP_UNREADABLE)
		warn_unreadable(j, &r);
	*(r.kind == MAP_UNUSED ? &j->result.unused : r.kind == MAP_ZERO ? &j->result.zero : &j->result.unreadable) += r.length;
	if (j->t->fresh)
		return 0;
	if (r.kind == MAP_UNUSED)
		discard_range(j, r.position, r.length);
	else
		return zero_range(j, r.position, r.length, err);
	return 0;
}

/* position and range are within the target. */
static int take_range(struct job *j, uint64_t position, struct map_range *r, struct error *err)
{
	if (r->kind == MAP_DATA) {
		if (flush_part(j, err) < 0 || flush_run(j, err) < 0)
			return -1;
		j->part = (struct plan_part){ .chunk = r->chunk, .position = position, .skip = r->offset, .take = (uint32_t)r->length };
		j->part_length = r->chunk_length;
		return 0;
	}
	if (j->part_length && r->kind != MAP_UNREADABLE) {
		uint64_t rest = -position % PAGE;
		uint64_t pad = rest < r->length ? rest : r->length;
		j->part.owner = (uint32_t)pad;
		position += pad;
		r->length -= pad;
		if (!j->compare)
			*(r->kind == MAP_UNUSED ? &j->result.unused : &j->result.zero) += pad;
	}
	if (flush_part(j, err) < 0)
		return -1;
	if (j->run.length && j->run.kind == r->kind) {
		j->run.length += r->length;
		return 0;
	}
	if (r->length == 0)
		return 0;
	if (flush_run(j, err) < 0)
		return -1;
	j->run = (struct run){ r->kind, position, r->length };
	return 0;
}

static int take_record(struct job *j, uint64_t *start, const uint8_t *record, size_t len, struct error *err)
{
	struct map_range r;
	uint64_t begin = j->t->start, end = begin + j->t->size, at = *start;
	if (map_range_decode(&r, record, len, err) < 0)
		return -1;
	if (r.length > j->snapshot->disk_size - at)
		return error_set(err, ERR_CORRUPT, "the image's map reaches past the end of its disk");
	*start += r.length;
	if (*start <= begin)
		return 0;
	if (at < begin) {
		r.offset += r.kind == MAP_DATA ? (uint32_t)(begin - at) : 0;
		r.length -= begin - at;
		at = begin;
	}
	if (*start > end)
		r.length -= *start - end;
	j->done = at + r.length - begin;
	return take_range(j, at - begin, &r, err);
}

static int walk_map(struct job *j, struct error *err)
{
	CLEAN(seq_reader_cleanup) struct seq_reader *reader = NULL;
	uint64_t start = 0;
	if (seq_reader_new(&reader, SEQ_MAP, &j->snapshot->map, repo_get_page, j->repo, err) < 0 ||
	    (j->t->start && seq_seek_span(reader, j->t->start, &start, err) < 0))
		return error_add(err, "read the image's map");
	if (start > j->t->start)
		return error_set(err, ERR_CORRUPT, "read the image's map: it does not begin where it should");
	while (j->done < j->t->size) {
		const uint8_t *record;
		size_t len;
		bool more;
		if (stopped(j, err) < 0)
			return -1;
		if (seq_next(reader, &more, &record, &len, NULL, err) < 0)
			return error_add(err, "read the image's map");
		if (!more)
			return error_set(err, ERR_CORRUPT, "the image's map ends at %" PRIu64 " of %" PRIu64 " bytes", start, j->snapshot->disk_size);
		if (take_record(j, &start, record, len, err) < 0)
			return -1;
	}
	if (flush_part(j, err) < 0 || flush_run(j, err) < 0 || submit(j, err) < 0)
		return -1;
	return pool_wait(j->pool, err);
}

/* --- the whole ---------------------------------------------------------------------------------- */

static void job_done(struct job *j)
{
	unsigned slots = j->pool ? pool_slots(j->pool) : 0;
	writeback_stop(&j->writeback);
	pool_free(j->pool);
	for (unsigned i = 0; i < slots; i++) {
		if (j->raw)
			buf_done(&j->raw[i]);
		if (j->back)
			buf_done(&j->back[i]);
	}
	free(j->raw);
	free(j->back);
	buf_done(&j->zeros);
	plan_free(j->plans[0]);
	plan_free(j->plans[1]);
}

static int job_start(struct job *j, struct error *err)
{
	static const unsigned limits[POOL_LANES] = { 0 };
	unsigned threads = j->options->threads ? j->options->threads : plan_threads(j->repo);
	if (pool_new(&j->pool, threads, 1, limits, err) < 0)
		return -1;
	j->raw = calloc(pool_slots(j->pool), sizeof *j->raw);
	j->back = calloc(pool_slots(j->pool), sizeof *j->back);
	if (!j->raw || !j->back || !buf_reserve(&j->zeros, 1 << 20))
		return error_set(err, ERR_NOMEM, "restore an image: out of memory");
	for (unsigned i = 0; i < 2; i++)
		if (plan_new(&j->plans[i], j->repo, PART_COUNT, err) < 0)
			return -1;
	return 0;
}

static int verify(struct job *j, struct error *err)
{
	/* What is read back should come from the disk, not from memory. */
	CLEAN_FD int fd = open(j->t->path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	j->compare = true;
	j->done = 0;
	if (walk_map(j, err) < 0)
		return -1;
	unsigned different = atomic_load(&j->different);
	if (different)
		return error_set(err, ERR_IO, "verify %s: %u range%s did not read back as written, the first at %" PRIu64 "; the device may be faulty", j->t->path,
		                 different, different == 1 ? "" : "s", atomic_load(&j->first_different));
	j->result.verified = atomic_load(&j->verified);
	return 0;
}

/* Survived when it fails: all of the image is there. */
static void adapt_table(struct job *j)
{
	struct block *b = j->t->block;
	struct part_table table = { .count = 0 };
	struct error why = { 0 };
	if (j->t->partition || j->snapshot->table != PART_GPT || b->size <= j->t->size)
		return;
	int done = part_read(&table, b, &why);
	if (done == 0)
		done = part_gpt_grow(b, &table, &why);
	if (done == 0)
		j->result.table_moved = table.kind == PART_GPT;
	part_table_done(&table);
	if (done < 0) {
		error_add(&why, "the backup partition table could not be moved to the end of %s", j->t->path);
		warn(j->options->warner, &why);
	}
}

static void warn_sector(const struct job *j)
{
	struct error what = { 0 };
	if (!j->t->device || j->t->partition || j->snapshot->table == PART_NONE || j->snapshot->sector == j->t->block->sector)
		return;
	error_set(&what, ERR_UNSUPPORTED, "%s has sectors of %u bytes, the imaged disk had %u: its partition table will not be understood there", j->t->path,
	          j->t->block->sector, j->snapshot->sector);
	warn(j->options->warner, &what);
}

static int run_job(struct job *j, struct error *err)
{
	if (job_start(j, err) < 0)
		return -1;
	warn_sector(j);
	progress_add_total(j->options->progress, 0, j->t->size * (j->options->verify ? 2 : 1));
	writeback_start(&j->writeback, j->t->path, &j->data);
	if (walk_map(j, err) < 0)
		return -1;
	writeback_stop(&j->writeback);
	if (block_sync(j->t->block, err) < 0)
		return -1;
	if (j->options->verify && verify(j, err) < 0)
		return -1;
	adapt_table(j);
	return block_sync(j->t->block, err);
}

int image_restore(struct image_target *t, struct repo *repo, const struct snapshot *snapshot, const struct image_options *options, struct image_result *ret,
                  struct error *err)
{
	struct job j = { .t = t, .repo = repo, .snapshot = snapshot, .options = options, .result.size = t->size };
	int done = run_job(&j, err);
	job_done(&j);
	if (done < 0)
		return error_add(err, "restore onto %s", t->path);
	t->created = false; /* it stays */
	j.result.data = atomic_load(&j.data);
	j.result.lost = atomic_load(&j.lost);
	*ret = j.result;
	return 0;
}
