/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file of a write-only key: lines of comment, then "twofold-write-1 " and its bytes (repo/writers.h) in hexadecimal digits. One thread. */
#ifndef CLI_WRITE_ONLY_H
#define CLI_WRITE_ONLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "repo/writers.h"

/* *ret_found: the line is one. ERR_CORRUPT: it begins so, and is damaged. */
int write_only_parse(const char *line, size_t len, bool *ret_found, uint8_t ret[WRITE_ONLY_SIZE], struct error *err);
/* Mode 0600, durable. An existing file is never touched: ERR_EXISTS. */
int write_only_save(const char *path, const uint8_t key[WRITE_ONLY_SIZE], struct error *err);

#endif
