/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/id.h"

#include <stddef.h>

void id_to_hex(const struct id *id, char ret[ID_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < ID_SIZE; i++) {
		ret[2 * i] = digits[id->b[i] >> 4];
		ret[2 * i + 1] = digits[id->b[i] & 15];
	}
	ret[2 * ID_SIZE] = 0;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool id_from_hex(const char *hex, struct id *ret)
{
	struct id id;
	for (size_t i = 0; i < ID_SIZE; i++) {
		int high = digit(hex[2 * i]);
		if (high < 0)
			return false;
		int low = digit(hex[2 * i + 1]);
		if (low < 0)
			return false;
		id.b[i] = (uint8_t)(high << 4 | low);
	}
	if (hex[2 * ID_SIZE])
		return false;
	*ret = id;
	return true;
}
