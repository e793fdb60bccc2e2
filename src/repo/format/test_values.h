/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Random values of every type that has a codec here, as a writer would make them, and their comparison. For tests only: out of memory ends the program. */
#ifndef REPO_FORMAT_TEST_VALUES_H
#define REPO_FORMAT_TEST_VALUES_H

#include "repo/format/document.h"
#include "repo/format/map.h"
#include "repo/format/node.h"
#include "repo/format/pack.h"
#include "repo/format/test_random.h"

struct id random_id(uint64_t *r);
struct time_ns random_time(uint64_t *r);
void random_attr(uint64_t *r, struct attr *ret, uint32_t type);
/* ret_size: what the parts add up to; a random size for a paged one. */
void random_content(uint64_t *r, struct content *ret, uint64_t *ret_size);
void random_part(uint64_t *r, struct content_part *ret);
void random_node(uint64_t *r, struct node *ret);
void random_range(uint64_t *r, struct map_range *ret);
void random_inode(uint64_t *r, struct inode_record *ret);
/* ret_blocks_length: what the sealed lengths add up to. */
void random_table(uint64_t *r, struct pack_table *ret, uint64_t *ret_blocks_length);
void random_snapshot(uint64_t *r, struct snapshot *ret);
void random_key(uint64_t *r, struct key_object *ret);

bool same_attr(const struct attr *a, const struct attr *b);
bool same_content(const struct content *a, const struct content *b);
bool same_node(const struct node *a, const struct node *b);
bool same_inode(const struct inode_record *a, const struct inode_record *b);
bool same_snapshot(const struct snapshot *a, const struct snapshot *b);

#endif
