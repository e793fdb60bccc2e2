/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * imgcmp ORIGINAL RESTORED [OFFSET BLOCK_SIZE] <FREE: every byte is equal, except that a block which the filesystem calls free may read as zeros.
 * FREE: ranges of block numbers "A-B" or "A", one a line, as dumpe2fs prints them; the filesystem begins at OFFSET. Without OFFSET all must be equal.
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

int main(int argc, char **argv)
{
	if (argc != 3 && argc != 5)
		return 2;
	struct file a = map(argv[1]), b = map(argv[2]);
	uint64_t offset = argc == 5 ? strtoull(argv[3], NULL, 10) : 0, block = argc == 5 ? strtoull(argv[4], NULL, 10) : 512;
	if (a.size != b.size) {
		printf("sizes differ: %zu and %zu\n", a.size, b.size);
		return 1;
	}
	size_t blocks = a.size / block + 1;
	uint8_t *is_free = calloc(blocks, 1);
	unsigned long long from, to;
	char line[256];
	while (argc == 5 && fgets(line, sizeof line, stdin)) {
		int n = sscanf(line, "%llu-%llu", &from, &to);
		for (uint64_t i = from; n >= 1 && i <= (n == 2 ? to : from) && i < blocks; i++)
			is_free[i] = 1;
	}
	unsigned bad = 0, dropped = 0;
	for (uint64_t at = 0; at < a.size && bad < 10;) {
		/* Before the filesystem in sectors, in it in blocks. */
		uint64_t len = at < offset ? 512 : block;
		if (at + len > a.size)
			len = a.size - at;
		if (memcmp(a.bytes + at, b.bytes + at, len) != 0) {
			bool may = at >= offset && is_free[(at - offset) / block] && is_zero(b.bytes + at, len);
			if (may)
				dropped++;
			else if (++bad <= 10)
				printf("differs at byte %llu (block %lld)%s\n", (unsigned long long)at,
				       at >= offset ? (long long)((at - offset) / block) : -1LL, is_zero(b.bytes + at, len) ? ", lost" : "");
		}
		at += len;
	}
	if (dropped)
		printf("%u free blocks were not kept\n", dropped);
	return bad != 0;
}
