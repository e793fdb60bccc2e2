/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/progress.h"

#include <string.h>

void progress_init(struct progress *p, const atomic_bool *stop)
{
	memset(p, 0, sizeof *p);
	p->stop = stop;
	pthread_mutex_init(&p->lock, NULL);
}

void progress_done(struct progress *p)
{
	if (p)
		pthread_mutex_destroy(&p->lock);
}

void progress_current(struct progress *p, const void *name, size_t len)
{
	if (!p || !name || pthread_mutex_trylock(&p->lock) != 0)
		return;
	const char *bytes = name;
	size_t keep = len < sizeof p->current ? len : sizeof p->current;
	memcpy(p->current, bytes + (len - keep), keep);
	p->current_len = keep;
	pthread_mutex_unlock(&p->lock);
}

size_t progress_get_current(struct progress *p, char ret[PROGRESS_CURRENT_MAX])
{
	if (!p)
		return 0;
	pthread_mutex_lock(&p->lock);
	size_t len = p->current_len;
	memcpy(ret, p->current, len);
	pthread_mutex_unlock(&p->lock);
	return len;
}
