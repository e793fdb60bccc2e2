/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the clear heads of packs and sealed objects have in common: which key sealed them. */
#include <string.h>

#include "repo/format/document.h"

uint16_t head_by_version(const struct seal_by *by)
{
	return by->how == SEAL_BY_MASTER && by->epoch == 0 ? 1 : 2;
}

void head_by_encode(uint8_t ret[SEAL_BY_SIZE], const struct seal_by *by)
{
	memset(ret, 0, SEAL_BY_SIZE);
	ret[0] = (uint8_t)by->how;
	put_le16(ret + 1, by->epoch);
}

bool head_by_decode(struct seal_by *ret, uint16_t version, const uint8_t bytes[SEAL_BY_SIZE], const struct id *session)
{
	struct seal_by by = { .how = (enum seal_how)bytes[0], .epoch = get_le16(bytes + 1), .session = *session };
	if (bytes[0] > SEAL_BY_SESSION || bytes[3] || bytes[4] || (by.how == SEAL_BY_SESSION && by.epoch) || by.epoch >= SEAL_EPOCHS_MAX ||
	    head_by_version(&by) != version)
		return false;
	*ret = by;
	return true;
}
