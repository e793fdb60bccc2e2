/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Scope cleanup. CLEAN(fn) runs fn(&variable) when the variable leaves its scope, so it must be
 * initialised where it is declared. TAKE moves a pointer out (the variable becomes NULL).
 * DEFINE_CLEAN(type, free_fn) makes type##_cleanup for "struct type *" variables:
 *     DEFINE_CLEAN(pack, pack_free)      CLEAN(pack_cleanup) struct pack *p = NULL;
 */
#ifndef BASE_CLEAN_H
#define BASE_CLEAN_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEAN(fn) __attribute__((cleanup(fn)))
#define TAKE(p) ({ __typeof__(p) take_ = (p); (p) = NULL; take_; })
#define DEFINE_CLEAN(type, free_fn)                                                                \
	static inline void type##_cleanup(struct type **p)                                         \
	{                                                                                          \
		free_fn(*p);                                                                       \
	}

static inline void clean_free_(void *p)
{
	free(*(void **)p);
}
static inline void clean_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void clean_dir_(DIR **d)
{
	if (*d)
		closedir(*d);
}
static inline void clean_file_(FILE **f)
{
	if (*f)
		fclose(*f);
}
#define CLEAN_FREE CLEAN(clean_free_)
#define CLEAN_FD CLEAN(clean_fd_)
#define CLEAN_DIR CLEAN(clean_dir_)
#define CLEAN_FILE CLEAN(clean_file_)
static inline int take_fd(int *fd)
{
	int v = *fd;
	*fd = -1;
	return v;
}

#endif
