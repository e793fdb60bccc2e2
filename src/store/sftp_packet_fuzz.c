/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever an SFTP server may send. */
#include <stddef.h>
#include <stdint.h>

#include "store/sftp_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void touch(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink ^= data[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t type;
	uint32_t id, code;
	struct sftp_server server;
	struct sftp_attrs attrs;
	struct sftp_names names;
	struct sftp_limits limits;
	uint64_t free, total;
	char text[SFTP_TEXT_MAX];
	const uint8_t *part;
	size_t len;
	sftp_decode_version(&server, data, size);
	if (!sftp_reply_head(data, size, &type, &id))
		return 0;
	const uint8_t *body = data + 5;
	size -= 5;
	if (sftp_decode_status(body, size, &code, text))
		touch((const uint8_t *)text, strlen(text));
	if (sftp_decode_handle(body, size, &part, &len))
		touch(part, len);
	if (sftp_decode_data(body, size, &part, &len))
		touch(part, len);
	sftp_decode_attrs(body, size, &attrs);
	if (sftp_names_begin(&names, body, size))
		while (sftp_names_next(&names, &part, &len, &attrs))
			touch(part, len);
	sftp_decode_limits(body, size, &limits);
	sftp_decode_space(body, size, &free, &total);
	return 0;
}
