/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For tests: a repository in a temporary folder, and snapshots made by hand, without capture/. Every function asserts that it succeeds (cmocka). Include cmocka.h before. */
#ifndef REPO_TEST_SNAPSHOT_H
#define REPO_TEST_SNAPSHOT_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "repo/format/map.h"
#include "repo/format/seq.h"
#include "repo/repo.h"
#include "repo/writer.h"

struct test_repo {
	char root[64], location[80];
	struct repo *repo;     /* open, with its index */
	struct writer *writer; /* NULL outside of test_begin .. test_commit */
	struct writer_slot slot;
};

static const struct repo_secret test_secret = { .how = SEAL_WRAP_KEYFILE, .data = "0123456789abcdef0123456789abcdef", .len = 32 };

#define TEST_OK(call) \
	do { \
		struct error err = { 0 }; \
		if ((call) < 0) \
			fail_msg("%s", err.text); \
	} while (0)

static inline void test_repo_open(struct test_repo *t)
{
	repo_free(t->repo);
	t->repo = NULL;
	TEST_OK(repo_open(&t->repo, t->location, &test_secret, NULL, &err));
	TEST_OK(repo_load_index(t->repo, &err));
}

static inline void test_repo_make(struct test_repo *t)
{
	*t = (struct test_repo){ .root = "/tmp/twofold-test-XXXXXX" };
	assert_non_null(mkdtemp(t->root));
	snprintf(t->location, sizeof t->location, "%s/repository", t->root);
	TEST_OK(seal_init(&err));
	TEST_OK(repo_init(t->location, &test_secret, "test", NULL, &err));
	test_repo_open(t);
}

static inline void test_repo_done(struct test_repo *t)
{
	char command[128];
	writer_free(t->writer);
	repo_free(t->repo);
	snprintf(command, sizeof command, "rm -rf %s", t->root);
	assert_int_equal(system(command), 0);
}

static inline void test_begin(struct test_repo *t)
{
	struct writer_options options = { .slots = 1, .level = 1, .work = 1, .host = "host" };
	TEST_OK(writer_begin(&t->writer, t->repo, &options, &err));
	t->slot = (struct writer_slot){ t->writer, 0 };
}

/* Bytes that do not repeat and differ with the seed. */
static inline void test_fill(uint8_t *data, size_t len, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		data[i] = (uint8_t)x;
	}
}

static inline struct id test_chunk(struct test_repo *t, const void *data, size_t len)
{
	struct id id;
	TEST_OK(writer_put(t->writer, 0, CHUNK_DATA, data, len, &id, &err));
	return id;
}

static inline struct node test_node(const char *name, uint32_t mode)
{
	struct node n = { .name = strdup(name), .name_len = strlen(name) };
	n.attr.mode = mode;
	n.attr.nlink = 1;
	n.attr.mtime = n.attr.ctime = (struct time_ns){ 1700000000, 5 };
	return n;
}

/* A regular file, cut in pieces of piece bytes; paged when asked, or when the pieces are too many. */
static inline struct node test_file(struct test_repo *t, const char *name, const void *data, size_t len, size_t piece, bool paged)
{
	struct node n = test_node(name, S_IFREG | 0644);
	size_t count = (len + piece - 1) / piece;
	struct content_part *parts = calloc(count + 1, sizeof *parts);
	for (size_t i = 0; i < count; i++) {
		size_t at = i * piece, size = len - at < piece ? len - at : piece;
		parts[i] = (struct content_part){ CONTENT_CHUNK, size, test_chunk(t, (const uint8_t *)data + at, size) };
	}
	n.attr.size = len;
	n.has_content = true;
	n.content = (struct content){ .parts = parts, .count = count };
	if (!paged && count <= CONTENT_INLINE_MAX)
		return n;
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	TEST_OK(seq_writer_new(&w, SEQ_CONTENT, writer_put_page, &t->slot, &err));
	for (size_t i = 0; i < count; i++) {
		CLEAN_BUF struct buf record = BUF_INIT;
		content_part_encode(&record, &parts[i]);
		TEST_OK(seq_add(w, record.data, record.len, NULL, 0, parts[i].length, &err));
	}
	content_done(&n.content);
	n.content.paged = true;
	TEST_OK(seq_finish(w, &n.content.root, &err));
	return n;
}

/* Nodes in ascending order of their names; frees them. */
static inline struct id test_tree(struct test_repo *t, struct node *nodes, size_t count)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct id root;
	TEST_OK(seq_writer_new(&w, SEQ_ENTRIES, writer_put_page, &t->slot, &err));
	for (size_t i = 0; i < count; i++) {
		CLEAN_BUF struct buf record = BUF_INIT;
		node_encode(&record, &nodes[i]);
		TEST_OK(seq_add(w, record.data, record.len, nodes[i].name, nodes[i].name_len, 1, &err));
		node_done(&nodes[i]);
	}
	TEST_OK(seq_finish(w, &root, &err));
	return root;
}

static inline struct node test_folder(const char *name, const struct id *tree)
{
	struct node n = test_node(name, S_IFDIR | 0755);
	n.has_tree = true;
	n.tree = *tree;
	return n;
}

static inline struct id test_map(struct test_repo *t, const struct map_range *ranges, size_t count)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct id root;
	TEST_OK(seq_writer_new(&w, SEQ_MAP, writer_put_page, &t->slot, &err));
	for (size_t i = 0; i < count; i++) {
		CLEAN_BUF struct buf record = BUF_INIT;
		map_range_encode(&record, &ranges[i]);
		TEST_OK(seq_add(w, record.data, record.len, NULL, 0, ranges[i].length, &err));
	}
	TEST_OK(seq_finish(w, &root, &err));
	return root;
}

/* Completes s (kind and roots are set; time is second), commits, and opens the repository anew. */
static inline struct id test_commit(struct test_repo *t, struct snapshot *s, int64_t second)
{
	static char text[] = "test", none[] = "";
	struct id id;
	s->time = (struct time_ns){ second, 0 };
	s->host = s->user = s->program = text;
	s->model = none;
	TEST_OK(writer_commit(t->writer, s, &id, &err));
	writer_free(t->writer);
	t->writer = NULL;
	test_repo_open(t);
	return id;
}

#endif
