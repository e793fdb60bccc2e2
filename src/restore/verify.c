/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading back what was restored: hashes of all content against the snapshot's chunk ids, zeros where it has holes. On the workers. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "block/block.h"
#include "restore/work.h"

#define GAP_STEP (256u << 10)

static int read_exactly(int fd, uint64_t position, uint8_t *data, size_t len, struct error *why)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, data + done, len - done, (off_t)(position + done));
		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return error_set(why, ERR_CORRUPT, "it ends at %" PRIu64, position + done);
		else if (errno != EINTR)
			return error_sys(why, errno, "read it at %" PRIu64, position + done);
	}
	return 0;
}

static int differs(struct error *why, uint64_t position, uint64_t length)
{
	return error_set(why, ERR_CORRUPT, "%" PRIu64 " bytes at %" PRIu64 " are not what the snapshot holds", length, position);
}

/* A hole: data in it, if there is any, must be zeros. */
static int check_gap(int fd, uint64_t from, uint64_t to, uint8_t *room, struct error *why)
{
	while (from < to) {
		off_t data = lseek(fd, (off_t)from, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data > (off_t)from)
			from = (uint64_t)data;
		if (from >= to)
			return 0;
		size_t n = to - from < GAP_STEP ? (size_t)(to - from) : GAP_STEP;
		if (read_exactly(fd, from, room, n, why) < 0)
			return -1;
		if (!block_is_zero(room, n))
			return differs(why, from, n);
		from += n;
	}
	return 0;
}

static int check_content(struct restore *r, const struct file *f, int fd, const struct check *checks, size_t n, struct buf *raw, struct error *why)
{
	uint64_t at = f->spans ? checks[0].position : 0;
	for (size_t i = 0; i < n; i++) {
		const struct check *c = &checks[i];
		struct id id;
		buf_clear(raw);
		if (!buf_reserve(raw, c->length > GAP_STEP ? c->length : GAP_STEP))
			return error_set(why, ERR_NOMEM, "read it back: out of memory");
		if (check_gap(fd, at, c->position, raw->data, why) < 0 || read_exactly(fd, c->position, raw->data, c->length, why) < 0)
			return -1;
		seal_chunk_id(r->repo->keys, CHUNK_DATA, raw->data, c->length, &id);
		if (c->length && !id_equal(&id, &c->chunk))
			return differs(why, c->position, c->length);
		at = c->position + c->length;
	}
	return f->finished || f->skipped ? check_gap(fd, at, f->attr.size, raw->data, why) : 0;
}

static int check_file(struct restore *r, unsigned slot, const struct file *f, const struct check *checks, size_t n, struct error *why)
{
	char room[TEMPORARY_MAX];
	const char *name = f->name;
	struct stat st;
	int dir;
	CLEAN_FD int fd = -1;
	bool whole = f->finished || f->skipped;
	if (!whole && f->replace) {
		temporary_name(r, f->number, room);
		name = room;
	}
	if (open_folder(r, slot, f->folder, &dir, why) < 0 || beneath_open_file(dir, name, O_RDONLY, &fd, why) < 0)
		return error_add(why, "read it back");
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* what is read should come from the disk */
	if (whole && fstat(fd, &st) == 0 && (uint64_t)st.st_size != f->attr.size)
		return error_set(why, ERR_CORRUPT, "it has %" PRIu64 " bytes, in the snapshot %" PRIu64, (uint64_t)st.st_size, f->attr.size);
	return check_content(r, f, fd, checks, n, &r->slots[slot].raw, why);
}

static int verify_run(struct restore *r, struct batch *b, unsigned slot, const struct check *checks, size_t n, struct error *err)
{
	struct file *f = b->files[checks[0].owner];
	struct error why = { 0 };
	bool lent = b->lends_last && checks[0].owner == b->file_count - 1;
	/* What is damaged, or could not be made, has been named. */
	if (atomic_load(&f->damaged) || f->failed || (!f->finished && !f->skipped && !lent) || (lent && !f->made))
		return 0;
	if (check_file(r, slot, f, checks, n, &why) == 0) {
		if (!lent)
			count(&r->counts.verified, 1);
		return 0;
	}
	if (why.kind == ERR_NOMEM) {
		*err = why;
		return -1;
	}
	error_add(&why, f->skipped ? "not verified, though its size and time are those of the snapshot (--overwrite always replaces it)" : "not verified after it was restored");
	warn_entry(r, f->folder, f->name, &why);
	count(&r->counts.damaged, 1);
	return 0;
}

static int work(const struct task_context *ctx, void *arg, struct error *err)
{
	struct restore *r = arg;
	struct batch *b = &r->batches[!r->filling];
	const struct check *checks = (const void *)b->checks.data;
	const uint32_t *runs = (const void *)b->runs.data;
	size_t count_of_runs = b->runs.len / sizeof *runs - 1, i;
	while (!ctx->cancelled && (i = atomic_fetch_add(&b->next_file, 1)) < count_of_runs) {
		if (progress_stopped(r->options->progress) || pool_cancelled(ctx->pool))
			return error_set(err, ERR_CANCELLED, "interrupted");
		if (verify_run(r, b, ctx->slot, checks + runs[i], runs[i + 1] - runs[i], err) < 0)
			return -1;
	}
	return 0;
}

int verify_batch(struct restore *r, struct batch *b, struct error *err)
{
	const struct check *checks = (const void *)b->checks.data;
	uint32_t n = (uint32_t)(b->checks.len / sizeof *checks);
	if (n == 0)
		return 0;
	buf_clear(&b->runs);
	for (uint32_t i = 0; i <= n; i++)
		if (i == 0 || i == n || checks[i].owner != checks[i - 1].owner)
			buf_add(&b->runs, &i, sizeof i);
	if (!buf_ok(&b->runs))
		return error_set(err, ERR_NOMEM, "verify: out of memory");
	atomic_store(&b->next_file, 0);
	if (r->sync_fd >= 0)
		syncfs(r->sync_fd);
	for (unsigned i = 0; i < main_slot(r); i++)
		pool_submit(r->pool, POOL_CONTENT, main_slot(r), work, r);
	return pool_wait(r->pool, err);
}
