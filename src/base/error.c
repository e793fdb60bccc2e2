/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void put_text(struct error *err, const char *fmt, va_list ap)
{
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	for (char *c = err->text; *c; c++)
		if (*c == '\n' || *c == '\r')
			*c = ' ';
}

int (error_set)(struct error *err, enum error_kind kind, const char *fmt, ...)
{
	if (!err)
		return -1;
	va_list ap;
	va_start(ap, fmt);
	err->kind = kind;
	err->sys = 0;
	err->passing = false;
	put_text(err, fmt, ap);
	va_end(ap);
	return -1;
}

static enum error_kind kind_of(int sys)
{
	switch (sys) {
	case ENOENT:
	case ENOTDIR: return ERR_NOT_FOUND;
	case EEXIST: return ERR_EXISTS;
	case EACCES:
	case EPERM: return ERR_AUTH;
	case ENOSPC:
	case EDQUOT: return ERR_NO_SPACE;
	case ENOMEM: return ERR_NOMEM;
	case EBUSY: return ERR_BUSY;
	default: return ERR_IO;
	}
}

int (error_sys)(struct error *err, int sys, const char *fmt, ...)
{
	if (!err)
		return -1;
	va_list ap;
	va_start(ap, fmt);
	put_text(err, fmt, ap);
	va_end(ap);
	err->kind = kind_of(sys);
	err->sys = sys;
	err->passing = false;
	size_t used = strlen(err->text);
	char buf[128];
	snprintf(err->text + used, sizeof err->text - used, ": %s", strerror_r(sys, buf, sizeof buf));
	return -1;
}

int (error_passing)(struct error *err)
{
	if (err)
		err->passing = true;
	return -1;
}

int (error_add)(struct error *err, const char *fmt, ...)
{
	if (!err)
		return -1;
	char old[ERROR_TEXT_MAX];
	memcpy(old, err->text, sizeof old);
	va_list ap;
	va_start(ap, fmt);
	put_text(err, fmt, ap);
	va_end(ap);
	size_t used = strlen(err->text);
	snprintf(err->text + used, sizeof err->text - used, ": %s", old);
	return -1;
}

void error_keep_first(struct error *dst, const struct error *src)
{
	if (dst && dst->kind == ERR_NONE)
		*dst = *src;
}
