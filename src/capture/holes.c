/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "capture/holes.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

void holes_start(struct holes *h, int fd, uint64_t size)
{
	*h = (struct holes){ .fd = fd, .size = size };
	if (!size)
		return;
	/* Most files have none, and then this is the only question. */
	off_t end = lseek(fd, 0, SEEK_HOLE);
	if (end > 0)
		h->data_end = (uint64_t)end;
	else if (end < 0 && errno != ENXIO)
		h->data_end = size;
}

/* No data from here to the end of the file: a hole up to the size, if the file still has that size. */
static uint64_t end_of_tail(struct holes *h)
{
	struct stat st;
	if (fstat(h->fd, &st) < 0 || (uint64_t)st.st_size >= h->size)
		return h->size;
	h->shrunk = true;
	h->size = (uint64_t)st.st_size > h->at ? (uint64_t)st.st_size : h->at;
	return h->size;
}

/* Where the data begins that is at, or comes after, the end of the last run; sets data_end to its end. */
static uint64_t find_data(struct holes *h)
{
	off_t start = lseek(h->fd, (off_t)h->at, SEEK_DATA);
	if (start < 0 && errno == ENXIO)
		return end_of_tail(h);
	off_t end = start < 0 ? -1 : lseek(h->fd, start, SEEK_HOLE);
	if (start < (off_t)h->at || end <= start) { /* cannot be asked, or the file changed between the two questions */
		h->data_end = h->size;
		return h->at;
	}
	h->data_end = (uint64_t)end;
	return (uint64_t)start;
}

bool holes_next(struct holes *h, struct hole_run *ret)
{
	if (h->at >= h->size)
		return false;
	uint64_t start = h->data_end > h->at ? h->at : find_data(h);
	uint64_t end = start > h->at ? start : h->data_end;
	if (end > h->size)
		end = h->size;
	if (end <= h->at) /* it shrank to here */
		return false;
	*ret = (struct hole_run){ h->at, end - h->at, start > h->at };
	h->at = end;
	return true;
}
