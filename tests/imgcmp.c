/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * imgcmp ORIGINAL RESTORED <FREE: every byte is equal, except that a sector which a filesystem calls free may read as zeros.
 * FREE: for each filesystem a line "fs OFFSET BLOCK_SIZE", then ranges of free block numbers "A-B" or "A", one a line, as dumpe2fs prints them.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

struct file {
	const uint8_t *bytes;
	size_t size;
};

static struct file map(const char *path)
{
	struct file f = { NULL, 0 };
	struct stat st;
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(path);
		exit(2);
	}
	f.size = (size_t)st.st_size;
	if (f.size)
		f.bytes = mmap(NULL, f.size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (f.size && f.bytes == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	close(fd);
	return f;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

#define SECTOR 512

/* One byte for each sector: 1 where it may be dropped. */
static uint8_t *read_free(size_t sectors)
{
	uint8_t *is_free = calloc(sectors, 1);
	unsigned long long offset = 0, block = SECTOR, from, to;
	char line[256];
	while (is_free && fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "fs %llu %llu", &offset, &block) == 2)
			continue;
		int n = sscanf(line, "%llu-%llu", &from, &to);
		uint64_t first = (offset + from * block) / SECTOR, end = (offset + ((n == 2 ? to : from) + 1) * block) / SECTOR;
		for (uint64_t i = first; n >= 1 && i < end && i < sectors; i++)
			is_free[i] = 1;
	}
	return is_free;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	struct file a = map(argv[1]), b = map(argv[2]);
	if (a.size != b.size) {
		printf("sizes differ: %zu and %zu\n", a.size, b.size);
		return 1;
	}
	size_t sectors = a.size / SECTOR + 1;
	uint8_t *is_free = read_free(sectors);
	unsigned bad = 0, dropped = 0;
	for (size_t i = 0; is_free && i < sectors && i * SECTOR < a.size && bad < 10; i++) {
		size_t at = i * SECTOR, len = a.size - at < SECTOR ? a.size - at : SECTOR;
		if (memcmp(a.bytes + at, b.bytes + at, len) == 0)
			continue;
		if (is_free[i] && is_zero(b.bytes + at, len)) {
			dropped++;
			continue;
		}
		bad++;
		printf("differs at byte %zu%s\n", at, is_zero(b.bytes + at, len) ? ": lost" : "");
	}
	if (dropped)
		printf("%u free sectors were not kept\n", dropped);
	return bad != 0 || !is_free;
}
