/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A fuzz target without a fuzzer: runs every file of the folders and files given through it once.
 * An empty or missing corpus is not an error: the target still sees the empty input.
 */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clean.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static void close_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* The input stands in memory of exactly its size, so that a sanitizer sees a read past its end. */
static int replay(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)ftw;
	if (kind != FTW_F || !S_ISREG(st->st_mode))
		return 0;
	CLEAN(close_file) FILE *f = fopen(path, "rb");
	CLEAN_FREE uint8_t *data = malloc(st->st_size > 0 ? (size_t)st->st_size : 1);
	if (!f || !data || fread(data, 1, (size_t)st->st_size, f) != (size_t)st->st_size) {
		fprintf(stderr, "cannot read %s\n", path);
		return 1;
	}
	fprintf(stderr, "%s\n", path); /* the last line names the input that crashed */
	LLVMFuzzerTestOneInput(data, (size_t)st->st_size);
	replayed++;
	return 0;
}

int main(int argc, char **argv)
{
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++) {
		struct stat st;
		if (stat(argv[i], &st) == 0 && nftw(argv[i], replay, 16, FTW_PHYS) != 0)
			return 1;
	}
	printf("%u inputs replayed\n", replayed);
	return 0;
}
