/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "view/disk.h"
#include "view/tree.h"

#define TREE_TIME 1700000000

static uint64_t next(uint64_t *row)
{
	uint64_t z = *row += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

void model_fill(uint8_t *data, size_t len, uint32_t seed)
{
	uint64_t row = seed / 16;
	for (size_t i = 0; i < len; i += 8) {
		if (i >= len / 2 && i < len / 2 + 8)
			row = seed * 77777u + 5;
		uint64_t v = next(&row);
		memcpy(data + i, &v, len - i < 8 ? len - i : 8);
	}
}

/* --- trees ----------------------------------------------------------------------- */

static void name_of(unsigned i, char ret[32])
{
	snprintf(ret, 32, "d%u/f%u", i % 4, i);
}

/* A new file in place of the old, as most programs save: another inode, and another time. */
static int write_file(struct model_tree *t, unsigned i, struct error *err)
{
	char name[32], path[192], temporary[192];
	const struct model_file *f = &t->files[i];
	name_of(i, name);
	snprintf(path, sizeof path, "%s/%s", t->path, name);
	snprintf(temporary, sizeof temporary, "%s/new", t->path);
	CLEAN_FREE uint8_t *data = malloc(f->size + 8);
	if (!data)
		return error_set(err, ERR_NOMEM, "out of memory");
	model_fill(data, f->size, f->seed);
	CLEAN_FD int fd = open(temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	struct timespec times[2] = { { TREE_TIME + t->stamp, 0 }, { TREE_TIME + t->stamp, 0 } };
	if (fd < 0 || write(fd, data, f->size) != (ssize_t)f->size || futimens(fd, times) < 0 || rename(temporary, path) < 0)
		return error_sys(err, errno, "make %s", path);
	return 0;
}

/* Few seeds, and the size follows from the seed: the same file comes again, in other places and in other trees. */
static void roll_file(struct model_tree *t, unsigned i, uint64_t *row)
{
	/* Most are small; some are a block by themselves, some are cut. */
	static const uint32_t sizes[] = { 0, 1, 100, 700, 3000, 9000, 9001, 20000, 60000, 300000 };
	uint32_t seed = (uint32_t)(next(row) % 70) + 1;
	t->stamp++;
	t->files[i] = (struct model_file){ seed, seed == 70 ? 1500000 : sizes[seed % 10] + seed };
}

int model_tree_make(struct model_tree *t, const char *path, unsigned files, uint64_t seed, struct error *err)
{
	uint64_t row = seed;
	char folder[160];
	*t = (struct model_tree){ 0 };
	snprintf(t->path, sizeof t->path, "%s", path);
	mkdir(path, 0755);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(folder, sizeof folder, "%s/d%u", path, i);
		if (mkdir(folder, 0755) < 0 && errno != EEXIST)
			return error_sys(err, errno, "make %s", folder);
	}
	for (unsigned i = 0; i < files; i++) {
		roll_file(t, i, &row);
		if (write_file(t, i, err) < 0)
			return -1;
	}
	return 0;
}

int model_tree_change(struct model_tree *t, uint64_t seed, struct error *err)
{
	uint64_t row = seed;
	unsigned changes = 1 + (unsigned)(next(&row) % 5);
	while (changes--) {
		unsigned i = (unsigned)(next(&row) % MODEL_FILES);
		char name[32], path[192];
		if (t->files[i].seed && next(&row) % 3 == 0) {
			name_of(i, name);
			snprintf(path, sizeof path, "%s/%s", t->path, name);
			t->files[i] = (struct model_file){ 0, 0 };
			if (unlink(path) < 0)
				return error_sys(err, errno, "remove %s", path);
			continue;
		}
		roll_file(t, i, &row);
		if (write_file(t, i, err) < 0)
			return -1;
	}
	return 0;
}

static int compare(const struct model_file *f, const char *name, const void *data, size_t len, struct error *err)
{
	CLEAN_FREE uint8_t *want = malloc(f->size + 8);
	if (!want)
		return error_set(err, ERR_NOMEM, "out of memory");
	model_fill(want, f->size, f->seed);
	if (len != f->size)
		return error_set(err, ERR_CORRUPT, "%s has %zu bytes, not %u", name, len, f->size);
	if (memcmp(want, data, len) != 0)
		return error_set(err, ERR_CORRUPT, "%s has other bytes", name);
	return 0;
}

static unsigned counted;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)st;
	(void)ftw;
	counted += type == FTW_F;
	return 0;
}

static unsigned model_count(const struct model_tree *t)
{
	unsigned count = 0;
	for (unsigned i = 0; i < MODEL_FILES; i++)
		count += t->files[i].seed != 0;
	return count;
}

static int read_file(const char *path, struct buf *ret, struct error *err)
{
	struct stat st;
	CLEAN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "open %s", path);
	uint8_t *at = buf_reserve(ret, (size_t)st.st_size + 1);
	if (!at || read(fd, at, (size_t)st.st_size) != st.st_size)
		return error_set(err, ERR_IO, "read %s", path);
	ret->len += (size_t)st.st_size;
	return 0;
}

int model_tree_on_disk(const struct model_tree *t, const char *path, struct error *err)
{
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		char name[32], file[256];
		CLEAN_BUF struct buf data = BUF_INIT;
		if (!t->files[i].seed)
			continue;
		name_of(i, name);
		snprintf(file, sizeof file, "%s/%s", path, name);
		if (read_file(file, &data, err) < 0 || compare(&t->files[i], file, data.data, data.len, err) < 0)
			return -1;
	}
	counted = 0;
	nftw(path, count_file, 16, FTW_PHYS);
	return counted == model_count(t) ? 0 : error_set(err, ERR_CORRUPT, "%s holds %u files, not %u", path, counted, model_count(t));
}

static int count_node(void *cookie, enum view_walk_event event, const char *path, size_t path_len, struct node *node, struct error *err)
{
	(void)event;
	(void)path;
	(void)path_len;
	(void)err;
	*(unsigned *)cookie += S_ISREG(node->attr.mode);
	return 0;
}

static int compare_node(struct view *v, const struct model_file *f, const char *path, struct error *err)
{
	struct node node = { 0 };
	bool found;
	if (view_lookup(v, path, strlen(path), &found, &node, err) < 0)
		return -1;
	if (!found)
		return error_set(err, ERR_CORRUPT, "%s is not in the snapshot", path);
	size_t len = 0;
	CLEAN_FREE uint8_t *data = malloc(f->size + 8);
	int result = data ? view_read(v, &node, 0, data, f->size + 8, &len, err) : error_set(err, ERR_NOMEM, "out of memory");
	node_done(&node);
	return result < 0 ? error_add(err, "%s", path) : compare(f, path, data, len, err);
}

int model_tree_in_snapshot(const struct model_tree *t, struct repo *repo, const struct snapshot *s, struct error *err)
{
	CLEAN_VIEW struct view *v = NULL;
	if (view_open(&v, repo, s, err) < 0)
		return -1;
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		char name[32], path[192];
		if (!t->files[i].seed)
			continue;
		name_of(i, name);
		snprintf(path, sizeof path, "%s/%s", t->path, name);
		if (compare_node(v, &t->files[i], path, err) < 0)
			return -1;
	}
	struct node root = { 0 };
	bool found;
	unsigned count = 0;
	struct view_walk walk = { .fn = count_node, .cookie = &count };
	if (view_lookup(v, t->path, strlen(t->path), &found, &root, err) < 0)
		return -1;
	int result = found ? view_walk(v, &root, &walk, err) : error_set(err, ERR_CORRUPT, "%s is not in the snapshot", t->path);
	node_done(&root);
	if (result < 0)
		return -1;
	return count == model_count(t) ? 0 : error_set(err, ERR_CORRUPT, "the snapshot has %u files, not %u", count, model_count(t));
}

/* --- disks --------------------------------------------------------------------------- */

static int write_disk(const struct model_disk *d, struct error *err)
{
	static uint8_t block[MODEL_BLOCK];
	CLEAN_FD int fd = open(d->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_sys(err, errno, "make %s", d->path);
	for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
		memset(block, 0, sizeof block);
		if (d->blocks[i])
			model_fill(block, sizeof block, d->blocks[i]);
		if (pwrite(fd, block, sizeof block, (off_t)i * MODEL_BLOCK) != sizeof block)
			return error_sys(err, errno, "write %s", d->path);
	}
	return 0;
}

int model_disk_make(struct model_disk *d, const char *path, uint64_t seed, struct error *err)
{
	uint64_t row = seed;
	*d = (struct model_disk){ 0 };
	snprintf(d->path, sizeof d->path, "%s", path);
	for (unsigned i = 0; i < MODEL_BLOCKS; i++)
		d->blocks[i] = next(&row) % 3 ? (uint32_t)(next(&row) % 1000) + 1 : 0;
	return write_disk(d, err);
}

int model_disk_change(struct model_disk *d, uint64_t seed, struct error *err)
{
	uint64_t row = seed;
	for (unsigned n = 0; n < 4; n++)
		d->blocks[next(&row) % MODEL_BLOCKS] = next(&row) % 3 ? (uint32_t)(next(&row) % 1000) + 1 : 0;
	return write_disk(d, err);
}

static int compare_disk(const struct model_disk *d, const uint8_t *data, struct error *err)
{
	static uint8_t want[MODEL_BLOCK];
	for (unsigned i = 0; i < MODEL_BLOCKS; i++) {
		memset(want, 0, sizeof want);
		if (d->blocks[i])
			model_fill(want, sizeof want, d->blocks[i]);
		if (memcmp(want, data + (size_t)i * MODEL_BLOCK, MODEL_BLOCK) != 0)
			return error_set(err, ERR_CORRUPT, "block %u of the disk differs", i);
	}
	return 0;
}

int model_disk_on_disk(const struct model_disk *d, const char *path, struct error *err)
{
	CLEAN_BUF struct buf data = BUF_INIT;
	if (read_file(path, &data, err) < 0)
		return -1;
	if (data.len != (size_t)MODEL_BLOCKS * MODEL_BLOCK)
		return error_set(err, ERR_CORRUPT, "%s has %zu bytes", path, data.len);
	return compare_disk(d, data.data, err);
}

int model_disk_in_snapshot(const struct model_disk *d, struct repo *repo, const struct snapshot *s, struct error *err)
{
	struct block *b = NULL;
	size_t size = (size_t)MODEL_BLOCKS * MODEL_BLOCK;
	CLEAN_FREE uint8_t *data = malloc(size);
	if (!data)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (s->disk_size != size)
		return error_set(err, ERR_CORRUPT, "the disk has %llu bytes", (unsigned long long)s->disk_size);
	if (view_disk_open(&b, repo, s, err) < 0)
		return -1;
	int result = block_read(b, 0, data, size, err);
	block_free(b);
	return result < 0 ? -1 : compare_disk(d, data, err);
}
