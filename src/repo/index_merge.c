/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/index_merge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "base/id.h"

#define PREFIX "merged-"
#define SUFFIX ".ids"
#define IDS_MAX (1u << 20) /* segments of one merged file */
#define BLOCKS_AT_ONCE (1u << 18) /* between giving pages back: some MiB */
#define WINDOW_ROWS 4096u /* of one segment that are copied at once: 176 KiB */

/* --- finding ------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, ID_SIZE);
}

static bool read_ids(const char *path, struct buf *ret)
{
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size % ID_SIZE || st.st_size / ID_SIZE > IDS_MAX)
		return false;
	buf_clear(ret);
	uint8_t *at = buf_reserve(ret, (size_t)st.st_size);
	if (!at || read(fd, at, (size_t)st.st_size) != st.st_size)
		return false;
	ret->len = (size_t)st.st_size;
	return true;
}

static bool all_listed(const struct buf *ids, const struct buf *listed)
{
	for (size_t at = 0; at < ids->len; at += ID_SIZE)
		if (!listed->len || !bsearch(ids->data + at, listed->data, listed->len / ID_SIZE, ID_SIZE, by_bytes))
			return false;
	return true;
}

void index_merged_find(const char *folder, const struct buf *listed, index_merged_fn fn, void *cookie)
{
	CLEAN_BUF struct buf ids = BUF_INIT;
	CLEAN_DIR DIR *dir = opendir(folder);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		size_t len = strlen(e->d_name), suffix = sizeof SUFFIX - 1;
		char list[4096], path[4096];
		if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1) != 0 || len < suffix || strcmp(e->d_name + len - suffix, SUFFIX) != 0)
			continue;
		if (snprintf(list, sizeof list, "%s/%s", folder, e->d_name) >= (int)sizeof list)
			continue;
		snprintf(path, sizeof path, "%.*s", (int)(strlen(list) - suffix), list);
		if (read_ids(list, &ids) && all_listed(&ids, listed) && access(path, R_OK) == 0) {
			fn(cookie, path, ids.data, ids.len / ID_SIZE);
		} else {
			unlink(list);
			unlink(path);
		}
	}
}

/* --- merging --------------------------------------------------------------------------- */

/* One segment's place in the merge. */
struct input {
	const struct segment *segment;
	uint64_t next;             /* chunk row */
	uint8_t *window;           /* WINDOW_ROWS from the one that next was in when they were copied */
	uint64_t window_first, window_end;
	uint32_t packs, blocks;    /* rows of the segments before it */
};

struct merge {
	const struct index_merging *what;
	FILE *out;
	struct input *inputs;
	size_t count;
	size_t *heap;              /* inputs by their next chunk's id, then by order */
	size_t heap_count;
	uint64_t chunks;
	uint8_t last[ID_SIZE];
};

static const uint8_t *next_id(const struct merge *m, size_t input)
{
	const struct input *in = &m->inputs[input];
	return in->window + (in->next - in->window_first) * SEGMENT_CHUNK_SIZE;
}

/* Copies the next rows, and gives the pages back at once: a page fault in the mapped file may bring in two megabytes, of each of hundreds of segments. */
static void fill_window(struct merge *m, struct input *in)
{
	uint64_t left = in->segment->chunk_count - in->next, rows = left < WINDOW_ROWS ? left : WINDOW_ROWS;
	memcpy(in->window, in->segment->chunks + in->next * SEGMENT_CHUNK_SIZE, rows * SEGMENT_CHUNK_SIZE);
	in->window_first = in->next;
	in->window_end = in->next + rows;
	m->what->give_back(m->what->cookie, in->segment);
}

static bool before(const struct merge *m, size_t a, size_t b)
{
	int c = memcmp(next_id(m, a), next_id(m, b), ID_SIZE);
	return c ? c < 0 : a < b;
}

static void sink(struct merge *m, size_t at)
{
	for (;;) {
		size_t least = at;
		for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < m->heap_count; child++)
			if (before(m, m->heap[child], m->heap[least]))
				least = child;
		if (least == at)
			return;
		size_t moved = m->heap[at];
		m->heap[at] = m->heap[least];
		m->heap[least] = moved;
		at = least;
	}
}

static void put(struct merge *m, const void *data, size_t len)
{
	if (len)
		fwrite(data, 1, len, m->out); /* ferror tells at the end */
}

static int put_tables(struct merge *m, struct error *err)
{
	uint64_t packs = 0, blocks = 0;
	for (size_t i = 0; i < m->count; i++) {
		const struct segment *s = m->inputs[i].segment;
		m->inputs[i].packs = (uint32_t)packs;
		m->inputs[i].blocks = (uint32_t)blocks;
		packs += s->pack_count;
		blocks += s->block_count;
		put(m, s->packs, (size_t)s->pack_count * SEGMENT_PACK_SIZE);
	}
	if (packs > UINT32_MAX || blocks > UINT32_MAX)
		return error_set(err, ERR_UNSUPPORTED, "merge index: more than 2^32 rows");
	for (size_t i = 0; i < m->count; i++) {
		const struct segment *s = m->inputs[i].segment;
		for (uint32_t row = 0; row < s->block_count; row++) {
			if (row % BLOCKS_AT_ONCE == 0)
				m->what->give_back(m->what->cookie, s);
			uint8_t block[SEGMENT_BLOCK_SIZE];
			memcpy(block, s->blocks + (size_t)row * SEGMENT_BLOCK_SIZE, sizeof block);
			put_le32(block, get_le32(block) + m->inputs[i].packs);
			put(m, block, sizeof block);
		}
		m->what->give_back(m->what->cookie, s);
	}
	return 0;
}

static void put_chunks(struct merge *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->inputs[i].segment->chunk_count) {
			fill_window(m, &m->inputs[i]);
			m->heap[m->heap_count++] = i;
		}
	for (size_t i = m->heap_count; i-- > 0;)
		sink(m, i);
	while (m->heap_count) {
		struct input *in = &m->inputs[m->heap[0]];
		uint8_t chunk[SEGMENT_CHUNK_SIZE];
		memcpy(chunk, next_id(m, m->heap[0]), sizeof chunk);
		if (!m->chunks || memcmp(chunk, m->last, ID_SIZE) != 0) {
			memcpy(m->last, chunk, ID_SIZE);
			put_le32(chunk + 32, get_le32(chunk + 32) + in->blocks);
			put(m, chunk, sizeof chunk);
			m->chunks++;
		}
		if (++in->next == in->segment->chunk_count)
			m->heap[0] = m->heap[--m->heap_count];
		else if (in->next == in->window_end)
			fill_window(m, in);
		sink(m, 0);
	}
}

static int write_merged(struct merge *m, struct error *err)
{
	uint8_t head[SEGMENT_HEADER_SIZE] = { 0 };
	uint32_t packs = 0, blocks = 0;
	put(m, head, sizeof head);
	if (put_tables(m, err) < 0)
		return -1;
	put_chunks(m);
	for (size_t i = 0; i < m->count; i++) {
		packs += m->inputs[i].segment->pack_count;
		blocks += m->inputs[i].segment->block_count;
	}
	segment_header(head, &m->inputs[0].segment->session, packs, blocks, m->chunks);
	if (fflush(m->out) || ferror(m->out) || fseeko(m->out, 0, SEEK_SET))
		return error_sys(err, errno, "merge index");
	put(m, head, sizeof head);
	if (fflush(m->out) || ferror(m->out))
		return error_sys(err, errno, "merge index");
	return 0;
}

static int write_list(const char *path, const struct buf *ids, struct error *err)
{
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, ids->data, ids->len) != (ssize_t)ids->len)
		return error_sys(err, errno, "write %s", path);
	return 0;
}

/* The list comes last and under its final name only when it is whole: without it the merged file does not count. */
static int merge_into(struct merge *m, const char *path, const struct buf *ids, struct error *err)
{
	char part[4200], list[4200];
	snprintf(part, sizeof part, "%s.part", path);
	snprintf(list, sizeof list, "%s" SUFFIX, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	m->out = fd < 0 ? NULL : fdopen(fd, "wb");
	if (!m->out)
		return error_sys(err, errno, "write %s", path);
	int done = write_merged(m, err);
	fclose(m->out);
	if (done == 0)
		done = write_list(part, ids, err);
	if (done == 0 && rename(part, list) < 0)
		done = error_sys(err, errno, "write %s", list);
	if (done < 0) {
		unlink(part);
		unlink(path);
	}
	return done;
}

/* Whoever has one of them open keeps it until it closes. */
static void remove_others(const char *folder, const char *keep)
{
	CLEAN_DIR DIR *dir = opendir(folder);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		char path[4096];
		if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1) != 0 || snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path)
			continue;
		if (strncmp(path, keep, strlen(keep)) != 0)
			unlink(path);
	}
}

int index_merge(const char *folder, const struct index_merging *what, struct error *err)
{
	struct merge m = { .what = what, .count = what->count, .inputs = calloc(what->count, sizeof *m.inputs), .heap = calloc(what->count, sizeof *m.heap) };
	char path[4096], hex[ID_HEX_SIZE];
	struct id name;
	CLEAN_FREE uint8_t *windows = malloc(what->count * WINDOW_ROWS * SEGMENT_CHUNK_SIZE + 1);
	int done = -1;
	seal_random(name.b, ID_SIZE);
	id_to_hex(&name, hex);
	if (!m.inputs || !m.heap || !windows || !m.count)
		error_set(err, ERR_NOMEM, "merge index: out of memory");
	else if (snprintf(path, sizeof path, "%s/" PREFIX "%.32s", folder, hex) >= (int)sizeof path)
		error_set(err, ERR_INVALID, "merge index: the cache's path is too long");
	else {
		for (size_t i = 0; i < m.count; i++)
			m.inputs[i] = (struct input){ .segment = what->segments[i], .window = windows + i * WINDOW_ROWS * SEGMENT_CHUNK_SIZE };
		done = merge_into(&m, path, what->ids, err);
		if (done == 0 && what->replaces)
			remove_others(folder, path);
	}
	free(m.inputs);
	free(m.heap);
	return done;
}
