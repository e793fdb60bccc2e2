/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an S3 server answers: the first byte chooses the document that is expected. */
#include <stdlib.h>
#include <string.h>

#include "store/s3_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_page(const struct s3_page *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (!p->items[i].key || p->items[i].size > INT64_MAX)
			abort();
	if (p->more && !p->next_key)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct s3_page page = { 0 };
	struct s3_problem problem;
	char *id = NULL;
	if (!size)
		return 0;
	switch (data[0] % 4) {
	case 0:
		if (s3_parse_objects(&page, data + 1, size - 1, NULL) == 0)
			check_page(&page);
		break;
	case 1:
		if (s3_parse_uploads(&page, data + 1, size - 1, NULL) == 0)
			check_page(&page);
		break;
	case 2:
		s3_parse_problem(&problem, data + 1, size - 1);
		if (strlen(problem.code) >= sizeof problem.code || strlen(problem.message) >= sizeof problem.message)
			abort();
		break;
	default:
		if (s3_parse_upload_id(&id, data + 1, size - 1, NULL) == 0 && !*id)
			abort();
		free(id);
	}
	s3_page_done(&page);
	return 0;
}
