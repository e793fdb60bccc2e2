/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/repair_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repo/repair_copy.h"

/* The chunk was found: stores it, once. */
static int keep_chunk(struct walk *w, enum chunk_class class, const struct id *id, const void *data, size_t len, uint64_t *counter, struct error *err)
{
	if (id_set_has(&w->fetched, id))
		return 0;
	++*counter;
	if (id_set_add(&w->fetched, id, err) < 0)
		return -1;
	return w->writer ? writer_put_copy(w->writer, 0, class, data, len, id, err) : 0;
}

static bool is_it(const struct walk *w, const struct id *id, const void *data, size_t len)
{
	struct id actual;
	seal_chunk_id(w->repair->repo->keys, CHUNK_DATA, data, len, &actual);
	return id_equal(&actual, id);
}

/* --- files and pages --------------------------------------------------------------------------- */

static bool get_from_twin(struct walk *w, enum chunk_class class, const struct id *id, struct buf *ret)
{
	return w->twin && repo_get(w->twin, class, id, ret, NULL) == 0;
}

static bool get_from_counterparts(struct walk *w, const struct id *id, uint64_t length, uint64_t offset, struct buf *ret)
{
	bool more = w->others != NULL && !w->in_map && length <= SEAL_BLOCK_MAX;
	for (unsigned i = 0; more; i++)
		if (counterpart_read(w->others, w, offset, (size_t)length, i, ret, &more) && is_it(w, id, ret->data, ret->len))
			return true;
	return false;
}

static bool read_all(int fd, uint64_t offset, void *data, size_t len)
{
	for (uint8_t *at = data; len;) {
		ssize_t n = pread(fd, at, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return true;
}

/* Bytes of the file that was backed up, if they still are what they were. */
static bool get_from_original(struct walk *w, const struct id *id, uint64_t length, uint64_t offset, struct buf *ret)
{
	struct stat st;
	if (!w->repair->options->originals || !w->on_files || length > SEAL_BLOCK_MAX)
		return false;
	buf_add_u8(&w->path, 0);
	w->path.len--;
	buf_clear(ret);
	if (!buf_ok(&w->path) || !buf_reserve(ret, length))
		return false;
	CLEAN_FD int fd = open((const char *)w->path.data, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !read_all(fd, offset, ret->data, length))
		return false;
	ret->len = length;
	return is_it(w, id, ret->data, ret->len);
}

/* In a pack, or found before. */
static int is_there(struct walk *w, const struct id *id, bool *ret, struct error *err)
{
	struct place place;
	if (index_find(w->repair->repo->index, id, ret, &place, err) < 0)
		return -1;
	*ret = *ret || id_set_has(&w->fetched, id);
	return 0;
}

int fetch_chunk(struct walk *w, const struct id *id, uint64_t length, uint64_t offset, bool *ret_there, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct repair_report *report = &w->repair->report;
	if (is_there(w, id, ret_there, err) < 0)
		return -1;
	if (*ret_there)
		return 0;
	if (get_from_twin(w, CHUNK_DATA, id, &bytes) || get_from_counterparts(w, id, length, offset, &bytes))
		*ret_there = keep_chunk(w, CHUNK_DATA, id, bytes.data, bytes.len, &report->from_other, err) == 0;
	else if (get_from_original(w, id, length, offset, &bytes))
		*ret_there = keep_chunk(w, CHUNK_DATA, id, bytes.data, bytes.len, &report->from_originals, err) == 0;
	else
		return id_set_add(&w->lost, id, err);
	return *ret_there ? 0 : -1;
}

int fetch_page(struct walk *w, enum seq_kind kind, const struct id *id, struct buf *ret, bool *ret_there, struct error *err)
{
	struct error why = { 0 };
	*ret_there = repo_get(w->repair->repo, CHUNK_META, id, ret, &why) == 0;
	if (*ret_there)
		return 0;
	/* A pack that cannot be read was given up by now; one that could be read and now cannot is not lost. */
	if (why.kind != ERR_NOT_FOUND && why.kind != ERR_CORRUPT && why.kind != ERR_UNSUPPORTED && why.kind != ERR_AUTH && !w->repair->options->dry_run) {
		*err = why;
		return error_add(err, "read a list again that could be read before");
	}
	*ret_there = get_from_twin(w, CHUNK_META, id, ret);
	if (!*ret_there && w->others && counterpart_page(w->others, w, kind, id, ret, ret_there, err) < 0)
		return -1;
	if (*ret_there)
		return keep_chunk(w, CHUNK_META, id, ret->data, ret->len, &w->repair->report.from_other, err);
	return id_set_add(&w->lost, id, err);
}

/* --- disks --------------------------------------------------------------------------------------- */

#define PIECES_MAX (1u << 20)

/* Where a part of a lost chunk was on the disk. */
struct piece {
	struct id id;
	uint64_t start;
	uint32_t chunk_length, offset, length;
};

int fetch_range(struct walk *w, const struct map_range *range, uint64_t start, bool *ret_there, struct error *err)
{
	const struct piece piece = { range->chunk, start, range->chunk_length, range->offset, (uint32_t)range->length };
	if (fetch_chunk(w, &range->chunk, range->chunk_length, 0, ret_there, err) < 0)
		return -1;
	/* Beyond the limit: the next round finds them, when those before have been found. */
	if (*ret_there || (!w->others && !w->repair->options->originals) || w->pieces.len / sizeof piece >= PIECES_MAX)
		return 0;
	buf_add(&w->pieces, &piece, sizeof piece);
	return buf_ok(&w->pieces) ? 0 : error_set(err, ERR_NOMEM, "repair: out of memory");
}

/* By chunk, then by the place in it. */
static int by_chunk(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	int order = memcmp(x->id.b, y->id.b, ID_SIZE);
	if (order)
		return order;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x->start > y->start) - (x->start < y->start);
}

/* The disk as it is now, or as a counterpart has it. */
struct disk_source {
	int fd; /* -1: the counterpart */
	struct counterparts *others;
	unsigned which;
	bool more;
};

static bool read_disk(struct disk_source *d, uint64_t offset, void *data, size_t len)
{
	return d->fd >= 0 ? read_all(d->fd, offset, data, len) : counterpart_read_disk(d->others, d->which, offset, data, len, &d->more);
}

/* Puts the chunk together out of its pieces. A place in it that was in several places of the disk (equal files) is tried in each: the turn-th of them. What no piece covers was not stored, for it was zeros. */
static bool assemble(struct disk_source *d, const struct piece *pieces, size_t count, size_t turn, uint8_t *data)
{
	memset(data, 0, pieces[0].chunk_length);
	for (size_t at = 0, end; at < count; at = end) {
		for (end = at + 1; end < count && pieces[end].offset == pieces[at].offset;)
			end++;
		const struct piece *p = &pieces[at + turn % (end - at)];
		if (p->offset > p->chunk_length || p->length > p->chunk_length - p->offset || !read_disk(d, p->start, data + p->offset, p->length))
			return false;
	}
	return true;
}

static size_t most_places(const struct piece *pieces, size_t count)
{
	size_t most = 1;
	for (size_t at = 0, end; at < count; at = end) {
		for (end = at + 1; end < count && pieces[end].offset == pieces[at].offset;)
			end++;
		most = end - at > most ? end - at : most;
	}
	return most;
}

/* The pieces of one chunk. Nobody can say which of a thousand equal blocks is still what it was without reading them: so many turns, and no more. */
#define TURNS_MAX 16u

static int fetch_pieces(struct walk *w, struct disk_source *d, const struct piece *pieces, size_t count, struct buf *scratch, uint64_t *counter, struct error *err)
{
	size_t turns = most_places(pieces, count), len = pieces[0].chunk_length;
	bool there;
	if (is_there(w, &pieces[0].id, &there, err) < 0)
		return -1;
	buf_clear(scratch);
	if (there || !len || len > SEAL_BLOCK_MAX)
		return 0;
	if (!buf_reserve(scratch, len))
		return error_set(err, ERR_NOMEM, "repair: out of memory");
	for (size_t turn = 0; turn < turns && turn < TURNS_MAX; turn++)
		if (assemble(d, pieces, count, turn, scratch->data) && is_it(w, &pieces[0].id, scratch->data, len))
			return keep_chunk(w, CHUNK_DATA, &pieces[0].id, scratch->data, len, counter, err);
	return repair_stopped(w->repair, err);
}

static int fetch_all_pieces(struct walk *w, struct disk_source *d, uint64_t *counter, struct error *err)
{
	CLEAN_BUF struct buf scratch = BUF_INIT;
	const struct piece *pieces = (const void *)w->pieces.data;
	size_t count = w->pieces.len / sizeof *pieces;
	for (size_t at = 0, end; at < count; at = end) {
		for (end = at + 1; end < count && id_equal(&pieces[end].id, &pieces[at].id);)
			end++;
		if (fetch_pieces(w, d, pieces + at, end - at, &scratch, counter, err) < 0)
			return -1;
	}
	return 0;
}

int fetch_from_disk(struct walk *w, const struct snapshot *s, struct error *err)
{
	const struct repair_options *o = w->repair->options;
	struct repair_report *report = &w->repair->report;
	size_t count = w->pieces.len / sizeof(struct piece);
	if (!count)
		return 0;
	qsort(w->pieces.data, count, sizeof(struct piece), by_chunk);
	int done = 0;
	struct disk_source d = { .fd = -1, .others = w->others, .more = w->others != NULL };
	for (; done == 0 && d.more; d.which++) {
		d.more = false;
		done = fetch_all_pieces(w, &d, &report->from_other, err);
	}
	const char *path = o->disk ? o->disk : s->sources.count ? s->sources.items[0].data : NULL;
	CLEAN_FD int fd = done == 0 && o->originals && path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	struct stat st;
	d.fd = fd;
	if (done == 0 && fd >= 0 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		done = fetch_all_pieces(w, &d, &report->from_originals, err);
	buf_clear(&w->pieces);
	return done;
}
