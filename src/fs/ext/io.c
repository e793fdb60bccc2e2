/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "fs/ext/ext.h"

void ext_io_name(struct ext_io *io, char ret[EXT_IO_NAME_SIZE])
{
	snprintf(ret, EXT_IO_NAME_SIZE, "%" PRIxPTR, (uintptr_t)io);
}

static errcode_t io_open(const char *name, int flags, io_channel *ret)
{
	uintptr_t address = (uintptr_t)strtoumax(name, NULL, 16);
	if (flags & IO_FLAG_RW || !address)
		return EXT2_ET_BAD_DEVICE_NAME;
	io_channel io = NULL;
	errcode_t rc = ext2fs_get_memzero(sizeof *io, &io);
	if (rc)
		return rc;
	io->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	io->manager = &ext_io_manager;
	io->block_size = 1024;
	io->refcount = 1;
	io->private_data = (void *)address;
	rc = ext2fs_get_memzero(1, &io->name);
	if (rc) {
		ext2fs_free_mem(&io);
		return rc;
	}
	*ret = io;
	return 0;
}

static errcode_t io_close(io_channel io)
{
	if (--io->refcount > 0)
		return 0;
	ext2fs_free_mem(&io->name);
	ext2fs_free_mem(&io);
	return 0;
}

static errcode_t io_set_blksize(io_channel io, int size)
{
	io->block_size = size;
	return 0;
}

/* A negative count means bytes. */
static errcode_t io_read_blk64(io_channel io, unsigned long long block, int count, void *data)
{
	uint64_t size = (uint64_t)io->block_size;
	uint64_t len = count < 0 ? (uint64_t)-(int64_t)count : (uint64_t)count * size;
	struct ext_io *ours = io->private_data;
	if (block > UINT64_MAX / size || cache_read(ours->cache, block * size, data, (size_t)len, &ours->err) < 0)
		return EXT2_ET_SHORT_READ;
	return 0;
}

static errcode_t io_read_blk(io_channel io, unsigned long block, int count, void *data)
{
	return io_read_blk64(io, block, count, data);
}

static errcode_t io_write_blk64(io_channel io, unsigned long long block, int count, const void *data)
{
	(void)io, (void)block, (void)count, (void)data;
	return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write_blk(io_channel io, unsigned long block, int count, const void *data)
{
	return io_write_blk64(io, block, count, data);
}

static errcode_t io_flush(io_channel io)
{
	(void)io;
	return 0;
}

struct struct_io_manager ext_io_manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "twofold",
	.open = io_open,
	.close = io_close,
	.set_blksize = io_set_blksize,
	.read_blk = io_read_blk,
	.read_blk64 = io_read_blk64,
	.write_blk = io_write_blk,
	.write_blk64 = io_write_blk64,
	.flush = io_flush,
};
