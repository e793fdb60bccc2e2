/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Makes a large repository of which half is unused, and looks at it after it was pruned.
 *
 *   prune-bench generate LOCATION KEYFILE CHUNKS   makes both; prints the id of the snapshot to be forgotten
 *   prune-bench verify LOCATION KEYFILE CHUNKS CACHE   after "forget" of that and "prune --max-unused 100": exactly the unused packs went, and the index has the others' chunks
 *
 * All is as a backup leaves it (keys, index segments, trees of files with their lists of chunks, snapshots), but for the packs of data: these are files of the right name and size without
 * content, since the collector reads only what it rewrites. Chunks lie ten in a block and 64 blocks in a pack; ids follow from the chunk's number. Packs of even number belong to the
 * snapshot that stays.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clean.h"
#include "repo/format/node.h"
#include "repo/format/seq.h"
#include "repo/object.h"
#include "repo/rows.h"
#include "repo/writer.h"

#define CHUNKS_A_BLOCK 10u
#define BLOCKS_A_PACK 64u
#define CHUNKS_A_PACK (CHUNKS_A_BLOCK * BLOCKS_A_PACK)
#define CHUNK_SIZE 50000u
#define BLOCK_RAW (CHUNKS_A_BLOCK * CHUNK_SIZE)
#define BLOCK_SEALED (BLOCK_RAW / 2)
#define PACK_SIZE (32u << 20)
#define PACKS_A_FILE 40u /* each file has the chunks of so many packs */
#define FILES_A_FOLDER 500u
#define SAMPLE 100000u

static uint64_t packs_of(uint64_t chunks)
{
	return (chunks + CHUNKS_A_PACK - 1) / CHUNKS_A_PACK;
}

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014 */
static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static struct id id_of(uint64_t kind, uint64_t number)
{
	struct id id;
	for (size_t i = 0; i < ID_SIZE; i += 8)
		put_be64(id.b + i, mix(mix(number * 4 + i / 8) + kind * 0x9e3779b97f4a7c15u));
	return id;
}

static struct id chunk_id(uint64_t number)
{
	return id_of(1, number);
}

static struct id pack_id(uint64_t number)
{
	return id_of(2, number);
}

/* --- the key ------------------------------------------------------------------------------ */

static const uint8_t key_bytes[32] = "prune-bench: no secret at all..";

static int write_key(const char *path, struct error *err)
{
	FILE *f = fopen(path, "w");
	if (!f)
		return error_set(err, ERR_IO, "cannot write %s", path);
	fprintf(f, "twofold-key-1 ");
	for (size_t i = 0; i < sizeof key_bytes; i++)
		fprintf(f, "%02x", key_bytes[i]);
	fprintf(f, "\n");
	return fclose(f) ? error_set(err, ERR_IO, "cannot write %s", path) : 0;
}

static struct repo_secret secret(void)
{
	return (struct repo_secret){ .how = SEAL_WRAP_KEYFILE, .data = key_bytes, .len = sizeof key_bytes };
}

/* --- trees ---------------------------------------------------------------------------------- */

/* The chunks of every second pack from first on: the same order in which a backup would have met them. */
static int write_content(struct writer_slot *slot, uint64_t first, uint64_t end, uint64_t chunks, struct node *node, struct error *err)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	CLEAN_BUF struct buf record = BUF_INIT;
	if (seq_writer_new(&w, SEQ_CONTENT, writer_put_page, slot, err) < 0)
		return -1;
	for (uint64_t pack = first; pack < end; pack += 2)
		for (uint64_t n = pack * CHUNKS_A_PACK; n < (pack + 1) * CHUNKS_A_PACK && n < chunks; n++) {
			struct content_part part = { CONTENT_CHUNK, CHUNK_SIZE, chunk_id(n) };
			buf_clear(&record);
			content_part_encode(&record, &part);
			if (seq_add(w, record.data, record.len, NULL, 0, part.length, err) < 0)
				return -1;
			node->attr.size += part.length;
		}
	node->has_content = node->content.paged = true;
	return seq_finish(w, &node->content.root, err);
}

static int add_node(struct seq_writer *w, struct node *node, uint64_t number, struct error *err)
{
	CLEAN_BUF struct buf record = BUF_INIT;
	char name[32];
	node->name_len = (size_t)snprintf(name, sizeof name, "%08llu", (unsigned long long)number);
	node->name = name;
	node->attr.nlink = 1;
	node->attr.mtime = node->attr.ctime = (struct time_ns){ 1700000000, 0 };
	node_encode(&record, node);
	node->name = NULL;
	return seq_add(w, record.data, record.len, name, node->name_len, 1, err);
}

/* *pack: the next one; goes up by two. */
static int write_folder(struct writer_slot *slot, uint64_t *pack, uint64_t chunks, struct id *ret, struct error *err)
{
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	if (seq_writer_new(&w, SEQ_ENTRIES, writer_put_page, slot, err) < 0)
		return -1;
	for (uint64_t i = 0; i < FILES_A_FOLDER && *pack < packs_of(chunks); i++) {
		struct node node = { .attr = { .mode = S_IFREG | 0644 } };
		uint64_t end = *pack + 2 * PACKS_A_FILE;
		if (end > packs_of(chunks))
			end = packs_of(chunks);
		if (write_content(slot, *pack, end, chunks, &node, err) < 0 || add_node(w, &node, i, err) < 0)
			return -1;
		*pack += 2 * PACKS_A_FILE;
	}
	return seq_finish(w, ret, err);
}

static int write_snapshot(struct repo *repo, uint64_t first, uint64_t chunks, struct id *ret, struct error *err)
{
	static char host[] = "bench", none[] = "";
	struct writer_options options = { .slots = 1, .level = 1, .work = WORK_BACKUP, .host = host };
	CLEAN(writer_cleanup) struct writer *writer = NULL;
	CLEAN(seq_writer_cleanup) struct seq_writer *w = NULL;
	struct snapshot s = { .kind = SNAPSHOT_FILES, .time = { 1700000000 + (int64_t)first, 0 }, .host = host, .user = host, .program = host, .model = none };
	if (writer_begin(&writer, repo, &options, err) < 0)
		return -1;
	struct writer_slot slot = { writer, 0 };
	if (seq_writer_new(&w, SEQ_ENTRIES, writer_put_page, &slot, err) < 0)
		return -1;
	uint64_t pack = first;
	for (uint64_t i = 0; pack < packs_of(chunks); i++) {
		struct node node = { .attr = { .mode = S_IFDIR | 0755 }, .has_tree = true };
		if (write_folder(&slot, &pack, chunks, &node.tree, err) < 0 || add_node(w, &node, i, err) < 0)
			return -1;
	}
	return seq_finish(w, &s.tree, err) < 0 ? -1 : writer_commit(writer, &s, ret, err);
}

/* --- packs of data, and their index ---------------------------------------------------------- */

static int make_pack(const char *location, uint64_t number, struct error *err)
{
	char key[OBJECT_KEY_MAX], path[4096];
	struct id id = pack_id(number);
	object_key(SEAL_PACK_DATA, &id, key);
	snprintf(path, sizeof path, "%s/%s", location, key);
	char *name = strrchr(path, '/');
	*name = 0;
	mkdir(path, 0700);
	*name = '/';
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 || ftruncate(fd, PACK_SIZE) < 0 ? error_set(err, ERR_IO, "cannot make %s", path) : 0;
}

static void add_rows(struct segment_rows *rows, uint64_t number, uint64_t chunks)
{
	struct segment_pack pack = { pack_id(number), SEAL_PACK_DATA, PACK_SIZE, SEAL_BY_MASTER, 0 };
	uint32_t pack_row = (uint32_t)(rows->packs.len / sizeof pack);
	uint64_t n = number * CHUNKS_A_PACK;
	buf_add(&rows->packs, &pack, sizeof pack);
	for (uint32_t b = 0; b < BLOCKS_A_PACK && n < chunks; b++) {
		struct segment_block block = { pack_row, b, PACK_HEADER_SIZE + b * BLOCK_SEALED, BLOCK_SEALED, BLOCK_RAW };
		uint32_t block_row = (uint32_t)(rows->blocks.len / sizeof block);
		buf_add(&rows->blocks, &block, sizeof block);
		for (uint32_t i = 0; i < CHUNKS_A_BLOCK && n < chunks; i++, n++) {
			struct segment_chunk chunk = { chunk_id(n), block_row, i * CHUNK_SIZE, CHUNK_SIZE };
			buf_add(&rows->chunks, &chunk, sizeof chunk);
		}
	}
}

static int write_segment(struct repo *repo, struct segment_rows *rows, const struct id *session, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id;
	seal_random(id.b, ID_SIZE);
	int done = segment_rows_encode(rows, session, &bytes, err);
	if (done == 0)
		done = object_write(repo->store, repo->keys, SEAL_INDEX, &id, session, bytes.data, bytes.len, err);
	segment_rows_done(rows);
	*rows = (struct segment_rows)SEGMENT_ROWS_INIT;
	return done;
}

static int write_data(struct repo *repo, const char *location, uint64_t chunks, struct error *err)
{
	CLEAN(segment_rows_done) struct segment_rows rows = SEGMENT_ROWS_INIT;
	struct id session;
	seal_random(session.b, ID_SIZE);
	for (uint64_t pack = 0; pack < packs_of(chunks); pack++) {
		if (make_pack(location, pack, err) < 0)
			return -1;
		add_rows(&rows, pack, chunks);
		if (segment_rows_chunks(&rows) >= SEGMENT_ROWS_CHUNKS && write_segment(repo, &rows, &session, err) < 0)
			return -1;
	}
	return rows.packs.len ? write_segment(repo, &rows, &session, err) : 0;
}

static int generate(const char *location, const char *key, uint64_t chunks, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct repo_secret how = secret();
	struct id stays, goes;
	char hex[ID_HEX_SIZE];
	if (write_key(key, err) < 0 || repo_init(location, &how, "bench", NULL, err) < 0 || repo_open(&repo, location, &how, NULL, err) < 0 ||
	    write_snapshot(repo, 0, chunks, &stays, err) < 0 || write_snapshot(repo, 1, chunks, &goes, err) < 0 || write_data(repo, location, chunks, err) < 0)
		return -1;
	id_to_hex(&goes, hex);
	printf("%s\n", hex);
	return 0;
}

/* --- looking at it afterwards -------------------------------------------------------------------- */

static int verify_packs(struct repo *repo, uint64_t chunks, struct error *err)
{
	for (uint64_t i = 0; i < packs_of(chunks); i++) {
		char key[OBJECT_KEY_MAX];
		struct id id = pack_id(i);
		uint64_t size;
		bool found;
		object_key(SEAL_PACK_DATA, &id, key);
		if (repo->store->ops->stat(repo->store, key, &found, &size, err) < 0)
			return -1;
		if (found != (i % 2 == 0))
			return error_set(err, ERR_CORRUPT, "pack %llu %s", (unsigned long long)i, found ? "was not deleted" : "is gone, and was needed");
	}
	return 0;
}

static int verify_index(struct repo *repo, uint64_t chunks, struct error *err)
{
	uint64_t samples = chunks < SAMPLE ? chunks : SAMPLE;
	if (repo_load_index(repo, err) < 0)
		return -1;
	for (uint64_t i = 0; i < samples; i++) {
		uint64_t n = mix(i) % chunks;
		struct id id = chunk_id(n), pack = pack_id(n / CHUNKS_A_PACK);
		struct place place;
		bool found, stays = n / CHUNKS_A_PACK % 2 == 0;
		if (index_find(repo->index, &id, &found, &place, err) < 0)
			return -1;
		if (found != stays || (found && !id_equal(&place.pack, &pack)))
			return error_set(err, ERR_CORRUPT, "the index is wrong about chunk %llu", (unsigned long long)n);
	}
	printf("%llu chunks in the index\n", (unsigned long long)index_chunks(repo->index));
	return 0;
}

static int verify(const char *location, uint64_t chunks, const char *cache, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	struct repo_secret how = secret();
	return repo_open(&repo, location, &how, cache, err) < 0 || verify_packs(repo, chunks, err) < 0 ? -1 : verify_index(repo, chunks, err);
}

int main(int argc, char **argv)
{
	struct error err = { 0 };
	int done = seal_init(&err);
	if (argc == 5 && strcmp(argv[1], "generate") == 0)
		done = done < 0 ? -1 : generate(argv[2], argv[3], strtoull(argv[4], NULL, 10), &err);
	else if (argc == 6 && strcmp(argv[1], "verify") == 0)
		done = done < 0 ? -1 : verify(argv[2], strtoull(argv[4], NULL, 10), argv[5], &err);
	else
		return fprintf(stderr, "usage: prune-bench generate LOCATION KEYFILE CHUNKS | verify LOCATION KEYFILE CHUNKS CACHE\n"), 2;
	if (done < 0)
		fprintf(stderr, "prune-bench: %s\n", err.text);
	return done < 0;
}
