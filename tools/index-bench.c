/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Measures the index of a large repository: how many look-ups a second, and how much memory stays resident.
 *
 *   index-bench generate FOLDER CHUNKS SEGMENTS   writes segments as they stand in the cache (repo/format/segment.h)
 *   index-bench measure FOLDER LOOKUPS            opens them with index_open_files, looks up, prints one line a phase
 *
 * Two calls, so that the peak memory of the second is that of the index alone. Ids are what a keyed hash gives: their first 8 bytes are the points
 * of a Poisson process (uniform and sorted without sorting, in constant memory), the others follow from these by a mixing function. So a known id is known by 8 bytes.
 */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clean.h"
#include "repo/index.h"

#define CHUNKS_A_BLOCK 10
#define BLOCKS_A_PACK 64
#define BLOCK_SIZE (512u << 10)
#define SAMPLE (1u << 20) /* known ids; 8 MiB, part of the memory that is printed */
#define SEGMENTS_MAX 200

/* --- pseudo-random numbers (splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) --- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t next(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15u);
}

static void id_of_prefix(uint64_t prefix, uint8_t *at)
{
	uint64_t state = prefix;
	put_be64(at, prefix);
	for (size_t i = 8; i < ID_SIZE; i += 8)
		put_be64(at + i, next(&state));
}

/* --- generate --------------------------------------------------------------------------- */

static void put_head(FILE *f, uint32_t packs, uint32_t blocks, uint64_t chunks)
{
	uint8_t head[SEGMENT_HEADER_SIZE] = "2FOLDIDX";
	put_le16(head + 8, 1);
	put_le32(head + 16, packs);
	put_le32(head + 20, blocks);
	put_le64(head + 24, chunks);
	fwrite(head, 1, sizeof head, f);
}

static void put_packs(FILE *f, uint32_t count, uint64_t *state)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t row[SEGMENT_PACK_SIZE] = { 0 };
		id_of_prefix(next(state), row);
		row[32] = SEAL_PACK_DATA;
		put_le32(row + 36, BLOCKS_A_PACK * BLOCK_SIZE);
		fwrite(row, 1, sizeof row, f);
	}
}

static void put_blocks(FILE *f, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t row[SEGMENT_BLOCK_SIZE];
		put_le32(row, i / BLOCKS_A_PACK);
		put_le32(row + 4, i % BLOCKS_A_PACK);
		put_le32(row + 8, i % BLOCKS_A_PACK * BLOCK_SIZE);
		put_le32(row + 12, BLOCK_SIZE / 2);
		put_le32(row + 16, BLOCK_SIZE);
		fwrite(row, 1, sizeof row, f);
	}
}

/* Exponentially distributed gaps make sorted uniform ids; how many there are in all of 2^64 comes out within a few thousand of chunks. */
static uint64_t put_chunks(FILE *f, uint64_t chunks, uint32_t blocks, uint64_t *state)
{
	const double gap = 0x1p64 / (double)chunks;
	uint64_t prefix = 0, rows = 0;
	for (;;) {
		double uniform = ((double)(next(state) >> 11) + 1) * 0x1p-53; /* (0, 1] */
		double step = 1 - gap * log(uniform);
		if (step >= 0x1p63 || prefix + (uint64_t)step < prefix)
			return rows;
		prefix += (uint64_t)step;
		uint8_t row[SEGMENT_CHUNK_SIZE];
		uint64_t place = next(state);
		id_of_prefix(prefix, row);
		put_le32(row + 32, (uint32_t)((place & UINT32_MAX) * blocks >> 32));
		put_le32(row + 36, (uint32_t)(place >> 32) % (BLOCK_SIZE / 2));
		put_le32(row + 40, BLOCK_SIZE / CHUNKS_A_BLOCK);
		fwrite(row, 1, sizeof row, f);
		rows++;
	}
}

static void segment_path(char *ret, size_t size, const char *folder, unsigned i)
{
	snprintf(ret, size, "%s/segment-%03u", folder, i);
}

static int generate_one(const char *folder, unsigned i, uint64_t chunks, uint64_t *ret_chunks)
{
	char path[4096];
	uint64_t state = 0x2f01d + i;
	uint32_t blocks = (uint32_t)(chunks / CHUNKS_A_BLOCK) + 1, packs = blocks / BLOCKS_A_PACK + 1;
	segment_path(path, sizeof path, folder, i);
	FILE *f = fopen(path, "w");
	if (!f)
		return -1;
	put_head(f, packs, blocks, 0);
	put_packs(f, packs, &state);
	put_blocks(f, blocks);
	*ret_chunks = put_chunks(f, chunks, blocks, &state);
	rewind(f);
	put_head(f, packs, blocks, *ret_chunks);
	bool failed = ferror(f) != 0;
	return fclose(f) != 0 || failed ? -1 : 0;
}

static int generate(const char *folder, uint64_t chunks, unsigned segments)
{
	uint64_t sum = 0, one = 0;
	if (segments == 0 || segments > SEGMENTS_MAX || chunks / segments == 0 || chunks / segments > UINT32_MAX)
		return fprintf(stderr, "index-bench: 1 to %d segments of at least one chunk\n", SEGMENTS_MAX), 2;
	for (unsigned i = 0; i < segments; i++, sum += one)
		if (generate_one(folder, i, chunks / segments, &one) < 0)
			return perror("index-bench: generate"), 1;
	printf("generated %llu chunks in %u segments\n", (unsigned long long)sum, segments);
	return 0;
}

/* --- measure ---------------------------------------------------------------------------- */

/* Bytes of a line of /proc/self/status; 0 where it is missing. */
static uint64_t status_bytes(const char *name)
{
	char line[200];
	uint64_t kib = 0;
	size_t len = strlen(name);
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			kib = strtoull(line + len + 1, NULL, 10);
	if (f)
		fclose(f);
	return kib << 10;
}

/* Takes ids by reading the file, not the mapping: what is measured starts with nothing resident. */
static int sample_ids(char *const *paths, size_t count, uint64_t *ids)
{
	uint64_t state = 1;
	for (size_t s = 0; s < count; s++) {
		uint8_t head[SEGMENT_HEADER_SIZE], prefix[8];
		CLEAN_FD int fd = open(paths[s], O_RDONLY | O_CLOEXEC);
		if (fd < 0 || pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head)
			return -1;
		uint64_t first = SEGMENT_HEADER_SIZE + (uint64_t)get_le32(head + 16) * SEGMENT_PACK_SIZE + (uint64_t)get_le32(head + 20) * SEGMENT_BLOCK_SIZE;
		uint64_t rows = get_le64(head + 24);
		for (size_t i = s; i < SAMPLE; i += count) {
			off_t at = (off_t)(first + next(&state) % rows * SEGMENT_CHUNK_SIZE);
			if (pread(fd, prefix, sizeof prefix, at) != (ssize_t)sizeof prefix)
				return -1;
			ids[i] = get_be64(prefix);
		}
	}
	return 0;
}

struct work {
	struct index *index;
	const uint64_t *ids;
	uint64_t lookups, state, wrong;
	bool hits;
};

static void *look_up(void *cookie)
{
	struct work *w = cookie;
	for (uint64_t i = 0; i < w->lookups; i++) {
		uint64_t random = next(&w->state);
		struct id id;
		struct place place;
		struct error err = { 0 };
		bool found = false;
		id_of_prefix(w->hits ? w->ids[random % SAMPLE] : random, id.b);
		if (index_find(w->index, &id, &found, &place, &err) < 0 || found != w->hits)
			w->wrong++;
	}
	return NULL;
}

static double seconds_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* lookups in all, shared by the threads. */
static int phase(struct index *x, const uint64_t *ids, bool hits, unsigned threads, uint64_t lookups)
{
	pthread_t thread[2];
	struct work work[2];
	uint64_t wrong = 0;
	double start = seconds_now();
	for (unsigned t = 0; t < threads; t++) {
		work[t] = (struct work){ .index = x, .ids = ids, .lookups = lookups / threads, .state = mix(hits * 16 + threads * 2 + t), .hits = hits };
		if (pthread_create(&thread[t], NULL, look_up, &work[t]) != 0)
			return fprintf(stderr, "index-bench: cannot start a thread\n"), 1;
	}
	for (unsigned t = 0; t < threads; t++) {
		pthread_join(thread[t], NULL);
		wrong += work[t].wrong;
	}
	double took = seconds_now() - start;
	printf("%s\t%u\t%llu\t%.2f\t%.0f\t%.0f\t%.0f\n", hits ? "hits" : "misses", threads, (unsigned long long)lookups, took, (double)lookups / took,
	       (double)status_bytes("RssFile") / (1 << 20), (double)status_bytes("VmHWM") / (1 << 20));
	fflush(stdout);
	if (wrong)
		fprintf(stderr, "index-bench: %llu look-ups gave a wrong answer\n", (unsigned long long)wrong);
	return wrong != 0;
}

static int measure(const char *folder, uint64_t lookups)
{
	CLEAN(index_cleanup) struct index *x = NULL;
	static char names[SEGMENTS_MAX][1024];
	char *paths[SEGMENTS_MAX];
	size_t count = 0;
	struct error err = { 0 };
	for (; count < SEGMENTS_MAX; count++) {
		segment_path(names[count], sizeof names[count], folder, (unsigned)count);
		if (access(names[count], R_OK) < 0)
			break;
		paths[count] = names[count];
	}
	CLEAN_FREE uint64_t *ids = malloc(SAMPLE * sizeof *ids);
	if (!ids || count == 0 || sample_ids(paths, count, ids) < 0)
		return fprintf(stderr, "index-bench: no segments in %s (generate them first)\n", folder), 1;
	if (index_open_files(&x, paths, count, &err) < 0)
		return fprintf(stderr, "index-bench: %s\n", err.text), 1;
	printf("opened\t%llu\t%zu\t%.0f\n", (unsigned long long)index_chunks(x), count, (double)status_bytes("VmHWM") / (1 << 20));
	int bad = 0;
	for (unsigned threads = 1; threads <= 2; threads++)
		for (int hits = 1; hits >= 0; hits--)
			bad |= phase(x, ids, hits != 0, threads, lookups);
	return bad;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "generate") == 0)
		return generate(argv[2], strtoull(argv[3], NULL, 10), (unsigned)strtoul(argv[4], NULL, 10));
	if (argc == 4 && strcmp(argv[1], "measure") == 0)
		return measure(argv[2], strtoull(argv[3], NULL, 10));
	fprintf(stderr, "usage: index-bench generate FOLDER CHUNKS SEGMENTS | measure FOLDER LOOKUPS\n");
	return 2;
}
