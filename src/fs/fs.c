/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/fs.h"

#include "fs/ext/ext.h"

/* A new filesystem is one more row. */
static const struct fs_driver *const drivers[] = {
	&ext_driver,
};

int fs_open(struct fs **ret, struct block *b, struct error *err)
{
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++) {
		bool found = false;
		if (drivers[i]->probe(b, &found, err) < 0)
			return error_add(err, "%s: look for a filesystem", b->label);
		if (!found)
			continue;
		if (drivers[i]->open(ret, b, err) < 0)
			return error_add(err, "%s: read the %s filesystem", b->label, drivers[i]->name);
		return 0;
	}
	*ret = NULL;
	return 0;
}

void fs_close(struct fs *fs)
{
	if (fs)
		fs->driver->close(fs);
}

void fs_inode_done(struct fs_inode *inode)
{
	attr_done(&inode->attr);
	free(inode->extents);
	free(inode->inline_data);
	*inode = (struct fs_inode){ 0 };
}
