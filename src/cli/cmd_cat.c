/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/opened.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/text.h"

struct writing {
	struct repo *repo;
	struct buf chunk;
};

static int write_out(const void *data, size_t len, struct error *err)
{
	if (cli_interrupted())
		return error_set(err, ERR_CANCELLED, "interrupted");
	if (fwrite(data, 1, len, stdout) != len)
		return error_sys(err, errno, "write to standard output");
	return 0;
}

static int write_zeros(uint64_t len, struct error *err)
{
	static const char zeros[64 << 10];
	while (len) {
		size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
		if (write_out(zeros, n, err) < 0)
			return -1;
		len -= n;
	}
	return 0;
}

static int write_part(void *cookie, uint64_t offset, const struct content_part *part, struct error *err)
{
	struct writing *w = cookie;
	if (part->kind == CONTENT_HOLE)
		return write_zeros(part->length, err);
	if (repo_get(w->repo, CHUNK_DATA, &part->chunk, &w->chunk, err) < 0)
		return error_add(err, "at byte %llu", (unsigned long long)offset);
	if (w->chunk.len != part->length)
		return error_set(err, ERR_CORRUPT, "at byte %llu: a chunk has %zu bytes instead of %llu; run twofold check", (unsigned long long)offset, w->chunk.len,
		                 (unsigned long long)part->length);
	return write_out(w->chunk.data, w->chunk.len, err);
}

static int write_file(struct cli *cli, struct repo *repo, const struct opened *o, const struct node *node, struct error *err)
{
	struct writing w = { repo, BUF_INIT };
	CLEAN_FREE char *path = text_escaped(o->path, o->path_len);
	const char *name = path ? path : "the file";
	if (!S_ISREG(node->attr.mode))
		return error_set(err, ERR_INVALID, "%s in snapshot %s is a %s, not a file", *name ? name : "/", o->name, show_type(node->attr.mode));
	if (!node->has_content && node->attr.size)
		return error_set(err, ERR_UNSUPPORTED, "the content of %s is not in snapshot %s%s%s", name, o->name, node->note ? ": " : "",
		                 node->note ? node->note : "");
	int done = view_parts(o->view, &node->content, write_part, &w, err);
	buf_done(&w.chunk);
	if (done < 0)
		return error_add(err, "read %s of snapshot %s", name, o->name);
	if (node->incomplete)
		cli_warn(cli, "%s could not be read in full, or changed, while snapshot %s was made", name, o->name);
	return 0;
}

static int cat_run(struct cli *cli, const void *args, struct error *err)
{
	CLEAN_REPO struct repo *repo = NULL;
	CLEAN_OPENED struct opened o = { 0 };
	CLEAN(node_done) struct node node = { 0 };
	(void)args;
	cli_stdout_is_data(cli);
	if (cli_open_repo(cli, SESSION_INDEX, &repo, err) < 0 || opened_snapshot(&o, repo, cli->operands[0], err) < 0 || opened_node(&o, &node, err) < 0)
		return -1;
	return write_file(cli, repo, &o, &node, err);
}

const struct command command_cat = {
	.name = "cat",
	.group = GROUP_READ,
	.summary = "write a file of a snapshot to standard output",
	.operands = "SNAPSHOT:PATH",
	.min_operands = 1,
	.max_operands = 1,
	.about = "Holes are written as zeros. Symlinks are not followed. With --json, messages go to standard error.",
	.examples = "twofold cat latest:/etc/fstab\ntwofold cat 3f09c2d1:/p2/etc/fstab > fstab",
	.run = cat_run,
};
