/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The runs of an open file: data and holes in turn, from its start to its size, by SEEK_DATA and SEEK_HOLE. Where a filesystem knows no holes,
 * all is data. The runs always cover the size given at the start exactly, unless the file is seen to have shrunk; what grows meanwhile is
 * not seen. Moves the file's offset: read with pread. One system call for a file without holes. Never fails: what cannot be
 * asked is data, and reading it tells. One thread at a time.
 */
#ifndef CAPTURE_HOLES_H
#define CAPTURE_HOLES_H

#include <stdbool.h>
#include <stdint.h>

struct holes {
	int fd;
	uint64_t at;       /* end of the last run */
	uint64_t size;     /* end of the last run to come */
	uint64_t data_end; /* at < data_end: data up to there, known already */
	bool shrunk;       /* the file ended before its size: what was read is not what stands there */
};

struct hole_run {
	uint64_t offset;
	uint64_t length; /* not 0 */
	bool hole;
};

/* size: as it was when the file was opened. */
void holes_start(struct holes *h, int fd, uint64_t size);
/* False after the last run. */
bool holes_next(struct holes *h, struct hole_run *ret);

#endif
