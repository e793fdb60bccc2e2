/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors: one convention for the whole program.
 *
 * A function that can fail returns int, 0 or -1, and takes a caller-owned struct error as its last
 * argument. The lowest layer that knows sets it (what was attempted, on what, what the system
 * answered); each layer above may put one piece of context in front; only cli/ and serve/ print.
 * err may be NULL where the caller does not care. Outputs (ret_*) are untouched on failure.
 * No function here allocates, so an error can be reported when memory is gone.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum error_kind {
	ERR_NONE = 0,
	ERR_IO,          /* the system or a device failed; .sys holds errno where there is one */
	ERR_NOT_FOUND,
	ERR_EXISTS,
	ERR_CORRUPT,     /* bytes from outside are not what they must be */
	ERR_AUTH,        /* wrong password or key, or a permission is missing */
	ERR_PROTECTED,   /* the store keeps it until a date, whoever asks */
	ERR_BUSY,        /* in use: mounted, locked */
	ERR_NO_SPACE,    /* disk full, quota, or target too small */
	ERR_NOMEM,
	ERR_UNSUPPORTED, /* newer format version, feature that this build does not know */
	ERR_CANCELLED,   /* the user or an earlier failure stopped the work */
	ERR_INVALID,     /* an argument of the caller's makes no sense; the user's usage error */
};

#define ERROR_TEXT_MAX 640

struct error {
	enum error_kind kind;
	int sys;                   /* errno, or 0 */
	bool passing;              /* the cause may be gone in a moment (a connection broke, a server is overloaded): the same may be tried again */
	char text[ERROR_TEXT_MAX]; /* one line, no newline, no full stop at its end */
};

/* Sets err; always returns -1, so that "return error_set(...)" reads well. */
int error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Sets err from errno value sys: the text gets ": strerror" appended, the kind follows from sys
 * (ENOENT not found, EACCES/EPERM auth, ENOSPC/EDQUOT no space, ENOMEM, EBUSY, else IO). Returns -1. */
int error_sys(struct error *err, int sys, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Marks what was just set as passing. Returns -1: return error_passing(err). */
int error_passing(struct error *err);

/* Puts "context: " in front of the text. Returns -1. */
int error_add(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* clang's analyzer looks at one file at a time and would follow "return error_set(...)" as if it could return 0. */
#ifdef __clang_analyzer__
#define error_set(...) ((error_set)(__VA_ARGS__), -1)
#define error_sys(...) ((error_sys)(__VA_ARGS__), -1)
#define error_add(...) ((error_add)(__VA_ARGS__), -1)
#define error_passing(...) ((error_passing)(__VA_ARGS__), -1)
#endif

/* Copies src into dst where dst is given and still empty (the first error wins). */
void error_keep_first(struct error *dst, const struct error *src);

static inline void error_clear(struct error *err)
{
	if (err) {
		err->kind = ERR_NONE;
		err->sys = 0;
		err->passing = false;
		err->text[0] = 0;
	}
}

#endif
