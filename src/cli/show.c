/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/show.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cli/text.h"

const char *show_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "folder";
	case S_IFLNK: return "symlink";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	case S_IFBLK: return "block";
	case S_IFCHR: return "char";
	default: return "unknown";
	}
}

/* --- text ------------------------------------------------------------------------------- */

/* A name where it is known, else the number. */
static const char *owner(char ret[24], const char *name, uint32_t number)
{
	if (name && *name && text_is_utf8(name, strlen(name)) && strcspn(name, " \t\n\033") == strlen(name))
		return name;
	snprintf(ret, 24, "%" PRIu32, number);
	return ret;
}

static void add_details(struct buf *line, const struct attr *a)
{
	char mode[TEXT_MAX], time[TEXT_MAX], user[24], group[24], size[48], text[400];
	if (S_ISBLK(a->mode) || S_ISCHR(a->mode))
		snprintf(size, sizeof size, "%u, %u", major(a->rdev), minor(a->rdev));
	else
		snprintf(size, sizeof size, "%" PRIu64, a->size);
	int len = snprintf(text, sizeof text, "%s %3" PRIu32 " %-8.60s %-8.60s %12s %s ", text_mode(mode, a->mode), a->nlink, owner(user, a->user, a->uid),
	                   owner(group, a->group, a->gid), size, text_time(time, a->mtime));
	buf_add(line, text, (size_t)len);
}

void show_entry(struct cli *cli, const struct node *node, const char *path, size_t path_len, bool details)
{
	CLEAN_BUF struct buf line = BUF_INIT;
	if (details)
		add_details(&line, &node->attr);
	if (path)
		text_escape(&line, path, path_len);
	else
		text_escape(&line, node->name, node->name_len);
	if (S_ISDIR(node->attr.mode) && line.len && line.data[line.len - 1] != '/')
		buf_add_u8(&line, '/');
	if (details && S_ISLNK(node->attr.mode)) {
		buf_add(&line, " -> ", 4);
		text_escape(&line, node->attr.link, node->attr.link_len);
	}
	if (details && node->note) {
		buf_add(&line, "  (", 3);
		text_escape(&line, node->note, strlen(node->note));
		buf_add_u8(&line, ')');
	}
	if (details && node->incomplete)
		buf_add(&line, "  (incomplete)", 14);
	buf_add_u8(&line, 0);
	cli_print(cli, "%s\n", buf_ok(&line) ? (const char *)line.data : "out of memory");
}

/* --- JSON --------------------------------------------------------------------------------- */

static void set_number(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void set_time(json_t *o, const char *key, struct time_ns t)
{
	char text[TEXT_MAX];
	json_object_set_new(o, key, json_string(text_time_utc(text, t)));
}

static void set_text(json_t *o, const char *key, const char *text)
{
	if (text && *text)
		cli_json_bytes(o, key, text, strlen(text));
}

static void set_id(json_t *o, const char *key, const struct id *id)
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	json_object_set_new(o, key, json_string(hex));
}

static void set_base64(json_t *o, const char *key, const void *data, size_t len)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	text_base64(&text, data, len);
	json_object_set_new(o, key, buf_ok(&text) ? json_stringn(text.len ? (const char *)text.data : "", text.len) : NULL);
}

static void set_xattrs(json_t *o, const struct attr *a)
{
	if (!a->xattr_count)
		return;
	json_t *list = json_array();
	for (size_t i = 0; i < a->xattr_count; i++) {
		json_t *x = json_object();
		cli_json_bytes(x, "name", a->xattrs[i].name, strlen(a->xattrs[i].name));
		set_base64(x, "value", a->xattrs[i].value, a->xattrs[i].size);
		json_array_append_new(list, x);
	}
	json_object_set_new(o, "xattrs", list);
}

static void set_attr(json_t *o, const struct attr *a)
{
	char mode[TEXT_MAX];
	set_number(o, "mode", a->mode);
	json_object_set_new(o, "permissions", json_string(text_mode(mode, a->mode)));
	set_number(o, "uid", a->uid);
	set_number(o, "gid", a->gid);
	set_text(o, "user", a->user);
	set_text(o, "group", a->group);
	set_number(o, "size", a->size);
	set_time(o, "mtime", a->mtime);
	set_time(o, "ctime", a->ctime);
	if (a->has_btime)
		set_time(o, "btime", a->btime);
	set_number(o, "inode", a->ino);
	set_number(o, "device", a->dev);
	set_number(o, "links", a->nlink);
	if (S_ISBLK(a->mode) || S_ISCHR(a->mode)) {
		set_number(o, "major", major(a->rdev));
		set_number(o, "minor", minor(a->rdev));
	}
	if (a->flags)
		set_number(o, "flags", a->flags);
	if (S_ISLNK(a->mode))
		cli_json_bytes(o, "target", a->link, a->link_len);
	set_xattrs(o, a);
}

/* What the bytes are made of: a script can tell equal files by it. */
static void set_content(json_t *o, const struct content *c)
{
	if (c->paged) {
		set_id(o, "content", &c->root);
		return;
	}
	json_t *parts = json_array();
	for (size_t i = 0; i < c->count; i++) {
		json_t *part = json_object();
		set_number(part, "length", c->parts[i].length);
		if (c->parts[i].kind == CONTENT_CHUNK)
			set_id(part, "chunk", &c->parts[i].chunk);
		json_array_append_new(parts, part);
	}
	json_object_set_new(o, "parts", parts);
}

json_t *show_entry_json(const char *type, const struct node *node, const char *path, size_t path_len)
{
	json_t *o = json_pack("{ss}", "type", type);
	if (!o)
		return NULL;
	cli_json_bytes(o, "path", path, path_len);
	cli_json_bytes(o, "name", node->name, node->name_len);
	json_object_set_new(o, "kind", json_string(show_type(node->attr.mode)));
	set_attr(o, &node->attr);
	if (node->has_content)
		set_content(o, &node->content);
	if (node->has_tree)
		set_id(o, "tree", &node->tree);
	if (node->incomplete)
		json_object_set_new(o, "incomplete", json_true());
	set_text(o, "note", node->note);
	return o;
}

static void set_list(json_t *o, const char *key, const struct blob_list *l)
{
	json_t *list = json_array();
	for (size_t i = 0; i < l->count; i++) {
		/* An object for each, so that a path that is not UTF-8 has its bytes beside it. */
		json_t *one = json_object();
		cli_json_bytes(one, "text", l->items[i].data, l->items[i].len);
		json_array_append_new(list, one);
	}
	json_object_set_new(o, key, list);
}

static void set_totals(json_t *o, const struct snapshot_totals *t)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "files", t->files }, { "folders", t->dirs }, { "others", t->others }, { "bytes", t->bytes }, { "files_new", t->files_new },
		{ "files_changed", t->files_changed }, { "files_unchanged", t->files_unchanged }, { "bytes_read", t->bytes_read }, { "added_raw", t->added_raw },
		{ "added_stored", t->added_stored }, { "warnings", t->warnings }, { "nanoseconds", t->nanoseconds },
	};
	json_t *totals = json_object();
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		set_number(totals, numbers[i].name, numbers[i].value);
	json_object_set_new(o, "totals", totals);
}

static json_t *volume_json(const struct snapshot_volume *v)
{
	json_t *o = json_object();
	set_number(o, "number", v->number);
	set_number(o, "offset", v->offset);
	set_number(o, "size", v->size);
	set_text(o, "name", v->name);
	set_text(o, "filesystem", v->fs_type);
	set_text(o, "uuid", v->fs_uuid);
	set_text(o, "label", v->fs_label);
	set_number(o, "used", v->fs_used);
	json_object_set_new(o, "raw", json_boolean(v->raw));
	set_text(o, "raw_reason", v->raw_reason);
	json_object_set_new(o, "browsable", json_boolean(v->has_tree));
	return o;
}

static void set_disk(json_t *o, const struct snapshot *s)
{
	static const char *const tables[] = { "none", "mbr", "gpt" };
	json_t *volumes = json_array();
	set_number(o, "disk_size", s->disk_size);
	set_number(o, "sector", s->sector);
	json_object_set_new(o, "table", json_string(s->table < 3 ? tables[s->table] : "unknown"));
	set_text(o, "model", s->model);
	for (size_t i = 0; i < s->volume_count; i++)
		json_array_append_new(volumes, volume_json(&s->volumes[i]));
	json_object_set_new(o, "volumes", volumes);
}

json_t *show_snapshot_json(const struct id *id, const struct snapshot *s)
{
	json_t *o = json_pack("{ss}", "type", "snapshot");
	if (!o)
		return NULL;
	set_id(o, "id", id);
	json_object_set_new(o, "kind", json_string(s->kind == SNAPSHOT_IMAGE ? "image" : "files"));
	set_time(o, "time", s->time);
	set_text(o, "host", s->host);
	set_text(o, "user", s->user);
	set_text(o, "program", s->program);
	set_list(o, "sources", &s->sources);
	set_list(o, "tags", &s->tags);
	if (s->has_parent)
		set_id(o, "parent", &s->parent);
	if (s->has_writer)
		set_id(o, "write_only_key", &s->writer);
	set_totals(o, &s->totals);
	if (s->kind == SNAPSHOT_IMAGE)
		set_disk(o, s);
	return o;
}

void show_joined(struct buf *b, const struct blob_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		if (i)
			buf_add(b, ", ", 2);
		text_escape(b, l->items[i].data, l->items[i].len);
	}
	buf_add_u8(b, 0);
}
