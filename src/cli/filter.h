/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The options --host, --path, --tag, --kind of commands that work on some of the snapshots. Pure. */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include "cli/cli.h"
#include "repo/format/document.h"

struct snapshot_filter {
	struct text_list hosts, paths, tags;
	unsigned kind;
};

extern const char *const filter_kinds[];

/* Rows of an option table; member is the struct snapshot_filter within type. */
#define FILTER_OPTIONS(type, member)                                                                            \
	OPTION_LIST(type, member.hosts, "host", 0, "NAME", "only snapshots of this host"),                      \
	OPTION_LIST(type, member.paths, "path", 0, "PATH", "only snapshots that hold PATH"),                    \
	OPTION_LIST(type, member.tags, "tag", 0, "TAG", "only snapshots with this tag"),                        \
	OPTION_CHOICE(type, member.kind, "kind", 0, "KIND", "only snapshots of this kind", filter_kinds)

/* One of the hosts, one of the paths, one of the tags, where any are given. */
bool filter_takes(const struct snapshot_filter *f, const struct snapshot *s);
/* Whether anything is filtered at all. */
bool filter_is_set(const struct snapshot_filter *f);

#endif
