/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/log_memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clean.h"
#include "repo/marks.h"

/* One line "twofold-seen-1 EPOCHS", then one line of 64 digits for each head. */
#define MARK "twofold-seen-1"
#define HEADS_MAX 10000u

void log_memory_done(struct log_memory *m)
{
	buf_done(&m->heads);
	*m = (struct log_memory){ 0 };
}

static bool path_of(const struct repo *r, const char *name, char ret[4096])
{
	return r->cache && snprintf(ret, 4096, "%s/%s", r->cache, name) < 4096;
}

static bool parse(FILE *f, struct log_memory *m)
{
	char line[128];
	if (!fgets(line, sizeof line, f) || strncmp(line, MARK " ", sizeof MARK) != 0)
		return false;
	unsigned long epochs = strtoul(line + sizeof MARK, NULL, 10);
	if (epochs > SEAL_EPOCHS_MAX)
		return false;
	m->epochs = (unsigned)epochs;
	while (fgets(line, sizeof line, f)) {
		struct id id;
		line[strcspn(line, "\n")] = 0;
		if (!id_from_hex(line, &id) || m->heads.len / ID_SIZE >= HEADS_MAX)
			return false;
		buf_add(&m->heads, id.b, ID_SIZE);
	}
	ids_order(&m->heads);
	return buf_ok(&m->heads);
}

int log_memory_read(const struct repo *r, struct log_memory *ret)
{
	char path[4096];
	if (!path_of(r, "log-seen", path))
		return -1;
	CLEAN_FILE FILE *f = fopen(path, "re");
	struct log_memory m = { 0 };
	if (f && parse(f, &m)) {
		*ret = m;
		return 0;
	}
	log_memory_done(&m);
	return 0;
}

void log_memory_lost(const struct log_memory *m, const struct repo_log *l, struct buf *ret)
{
	for (size_t at = 0; at < m->heads.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, m->heads.data + at, ID_SIZE);
		if (!ids_have(&l->entries, &id) && !ids_have(&l->replaced, &id))
			buf_add(ret, id.b, ID_SIZE);
	}
}

bool log_memory_is_lost(const struct log_memory *m, const struct repo_log *l)
{
	CLEAN_BUF struct buf lost = BUF_INIT;
	log_memory_lost(m, l, &lost);
	return lost.len > 0;
}

void log_memory_write(const struct repo *r, const uint8_t *heads, size_t len)
{
	char path[4096], temporary[4096], name[64];
	unsigned epochs;
	seal_masters(r->keys, &epochs);
	snprintf(name, sizeof name, "log-seen.%ld", (long)getpid());
	if (!path_of(r, "log-seen", path) || !path_of(r, name, temporary))
		return;
	mkdir(r->cache, 0700);
	FILE *f = fopen(temporary, "we");
	if (!f)
		return;
	fprintf(f, MARK " %u\n", epochs);
	for (size_t at = 0; at < len; at += ID_SIZE) {
		struct id id;
		char hex[ID_HEX_SIZE];
		memcpy(id.b, heads + at, ID_SIZE);
		id_to_hex(&id, hex);
		fprintf(f, "%s\n", hex);
	}
	bool ok = fflush(f) == 0 && !ferror(f);
	if (fclose(f) || !ok || rename(temporary, path) < 0)
		unlink(temporary);
}

void log_memory_forget(const struct repo *r)
{
	char path[4096];
	if (path_of(r, "log-seen", path))
		unlink(path);
}
