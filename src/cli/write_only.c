/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/write_only.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clean.h"

static const char mark[] = "twofold-write-1 ";

#define PIECES (WRITE_ONLY_SIZE / ID_SIZE)
#define DIGITS (2u * WRITE_ONLY_SIZE)

int write_only_parse(const char *line, size_t len, bool *ret_found, uint8_t ret[WRITE_ONLY_SIZE], struct error *err)
{
	size_t head = sizeof mark - 1;
	*ret_found = len >= head && memcmp(line, mark, head) == 0;
	if (!*ret_found)
		return 0;
	bool ok = len - head == DIGITS;
	for (size_t i = 0; ok && i < PIECES; i++) {
		char hex[ID_HEX_SIZE] = "";
		struct id piece;
		memcpy(hex, line + head + 2 * ID_SIZE * i, 2 * ID_SIZE);
		ok = id_from_hex(hex, &piece);
		if (ok)
			memcpy(ret + ID_SIZE * i, piece.b, ID_SIZE);
		explicit_bzero(hex, sizeof hex);
		explicit_bzero(&piece, sizeof piece);
	}
	return ok ? 0 : error_set(err, ERR_CORRUPT, "the write-only key is damaged: %u hexadecimal digits must follow %s", DIGITS, mark);
}

static int write_all(int fd, const uint8_t key[WRITE_ONLY_SIZE], struct error *err)
{
	char text[512 + DIGITS], *at = text;
	at += snprintf(at, 400, "# Twofold write-only key. Who has it can store backups, and cannot read what is there.\n# Give it as --password-file. It is of no use for restoring.\n%s", mark);
	for (size_t i = 0; i < PIECES; i++) {
		struct id piece;
		memcpy(piece.b, key + ID_SIZE * i, ID_SIZE);
		id_to_hex(&piece, at);
		at += 2 * ID_SIZE;
	}
	*at++ = '\n';
	ssize_t len = at - text, n = write(fd, text, (size_t)len);
	int sys = n < 0 ? errno : ENOSPC;
	explicit_bzero(text, sizeof text);
	if (n != len)
		return error_sys(err, sys, "write");
	return fsync(fd) < 0 ? error_sys(err, errno, "fsync") : 0;
}

int write_only_save(const char *path, const uint8_t key[WRITE_ONLY_SIZE], struct error *err)
{
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_sys(err, errno, "make write-only key %s", path);
	if (write_all(fd, key, err) == 0)
		return 0;
	unlink(path);
	return error_add(err, "make write-only key %s", path);
}
