/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/ext/bits.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096
#define PAGE_BITS ((uint64_t)PAGE_BYTES * 8)

/* Never written, never freed; its address means "all set". */
static uint8_t full_page[1];

int bits_init(struct bits *b, uint64_t count)
{
	*b = (struct bits){ .count = count };
	uint64_t pages = count / PAGE_BITS + 1;
	if (pages > SIZE_MAX / sizeof *b->pages)
		return -1;
	b->page_count = (size_t)pages;
	b->pages = calloc(b->page_count, sizeof *b->pages);
	b->filled = calloc(b->page_count, sizeof *b->filled);
	if (b->pages && b->filled)
		return 0;
	bits_done(b);
	return -1;
}

void bits_done(struct bits *b)
{
	for (size_t i = 0; b->pages && i < b->page_count; i++)
		if (b->pages[i] != full_page)
			free(b->pages[i]);
	free(b->pages);
	free(b->filled);
	*b = (struct bits){ 0 };
}

bool bits_test(const struct bits *b, uint64_t at)
{
	if (at >= b->count)
		return false;
	const uint8_t *page = b->pages[at / PAGE_BITS];
	if (!page || page == full_page)
		return page != NULL;
	uint64_t bit = at % PAGE_BITS;
	return page[bit / 8] >> (bit % 8) & 1;
}

bool bits_any(const struct bits *b, uint64_t at, uint64_t len)
{
	for (uint64_t end = at + len; at < end && at < b->count;) {
		const uint8_t *page = b->pages[at / PAGE_BITS];
		uint64_t next = (at / PAGE_BITS + 1) * PAGE_BITS;
		if (page == full_page)
			return true;
		if (!page) {
			at = next;
			continue;
		}
		for (; at < end && at < next; at++)
			if (page[at % PAGE_BITS / 8] >> (at % 8) & 1)
				return true;
	}
	return false;
}

/* Sets bits [bit, end) of one page; returns how many were not set before. */
static uint32_t set_in_page(uint8_t *page, uint64_t bit, uint64_t end)
{
	uint32_t fresh = 0;
	while (bit < end) {
		uint8_t *byte = &page[bit / 8];
		if (bit % 8 == 0 && end - bit >= 8) {
			fresh += 8 - (uint32_t)__builtin_popcount(*byte);
			*byte = 0xff;
			bit += 8;
			continue;
		}
		uint8_t mask = (uint8_t)(1u << (bit % 8));
		fresh += !(*byte & mask);
		*byte |= mask;
		bit++;
	}
	return fresh;
}

static int set_page(struct bits *b, size_t i, uint64_t bit, uint64_t end, bool *ret_again)
{
	if (b->pages[i] == full_page) {
		*ret_again = true;
		return 0;
	}
	if (!b->pages[i] && end - bit < PAGE_BITS) {
		b->pages[i] = calloc(1, PAGE_BYTES);
		if (!b->pages[i])
			return -1;
	}
	uint32_t fresh = b->pages[i] ? set_in_page(b->pages[i], bit, end) : (uint32_t)PAGE_BITS;
	if (fresh < end - bit)
		*ret_again = true;
	b->filled[i] += fresh;
	if (b->filled[i] == PAGE_BITS) {
		free(b->pages[i]);
		b->pages[i] = full_page;
	}
	return 0;
}

int bits_set(struct bits *b, uint64_t at, uint64_t len, bool *ret_again)
{
	while (len) {
		uint64_t bit = at % PAGE_BITS;
		uint64_t n = PAGE_BITS - bit < len ? PAGE_BITS - bit : len;
		if (set_page(b, (size_t)(at / PAGE_BITS), bit, bit + n, ret_again) < 0)
			return -1;
		at += n;
		len -= n;
	}
	return 0;
}

void bits_copy(const struct bits *b, uint64_t at, uint64_t len, uint8_t *ret)
{
	size_t bytes = (size_t)((len + 7) / 8);
	memset(ret, 0, bytes);
	for (size_t done = 0; done < bytes && at / PAGE_BITS < b->page_count;) {
		size_t from = (size_t)(at % PAGE_BITS / 8);
		size_t n = PAGE_BYTES - from < bytes - done ? PAGE_BYTES - from : bytes - done;
		const uint8_t *page = b->pages[at / PAGE_BITS];
		if (page == full_page)
			memset(ret + done, 0xff, n);
		else if (page)
			memcpy(ret + done, page + from, n);
		done += n;
		at += (uint64_t)n * 8;
	}
	if (len % 8)
		ret[bytes - 1] &= (uint8_t)((1u << (len % 8)) - 1);
}
