/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The two fixed documents that are read before any key is known: public header and key object. */
#include <stdlib.h>
#include <string.h>

#include "repo/format/document.h"
#include "repo/format/fields.h"

static const uint8_t header_magic[8] = "TWOFOLD\n", key_magic[8] = "2FOLDKEY";

/* Bit by bit: it is needed for 60 bytes. */
uint32_t field_crc32c(const uint8_t *p, size_t len)
{
	uint32_t crc = 0xffffffffu;
	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

void repo_header_encode(uint8_t ret[HEADER_SIZE], const struct repo_header *h)
{
	memset(ret, 0, HEADER_SIZE);
	memcpy(ret, header_magic, sizeof header_magic);
	put_le16(ret + 8, h->version);
	ret[10] = h->hash;
	ret[11] = h->cipher;
	ret[12] = h->compression;
	ret[13] = h->cutting;
	ret[14] = h->lock;
	memcpy(ret + 16, h->repository.b, ID_SIZE);
	put_le32(ret + 48, h->lock_seconds);
	put_le32(ret + 60, field_crc32c(ret, 60));
}

/* One value has one encoding: version 2 says that there is a lock. */
static bool lock_is_sound(uint16_t version, uint8_t lock, uint32_t seconds)
{
	return version == 1 ? !lock && !seconds : lock >= 1 && lock <= HEADER_LOCK_MAX && seconds;
}

int repo_header_decode(struct repo_header *ret, const uint8_t *bytes, size_t len, struct error *err)
{
	if (len < 10 || memcmp(bytes, header_magic, sizeof header_magic) != 0)
		return error_set(err, ERR_CORRUPT, "not a Twofold repository");
	/* A damaged version number must not look like a newer version; headers of other versions may have other sizes. */
	if (len == HEADER_SIZE && get_le32(bytes + 60) != field_crc32c(bytes, 60))
		return error_set(err, ERR_CORRUPT, "the header of the repository is damaged");
	uint16_t version = get_le16(bytes + 8);
	if (version > HEADER_VERSION)
		return error_set(err, ERR_UNSUPPORTED, "the repository has format version %u, this program knows up to %u", version, HEADER_VERSION);
	if (len != HEADER_SIZE || version == 0 || !field_is_zero(bytes + 15, 1) || !field_is_zero(bytes + 52, 8) || !lock_is_sound(version, bytes[14], get_le32(bytes + 48)))
		return error_set(err, ERR_CORRUPT, "the header of the repository is damaged");
	for (int i = 10; i < 14; i++)
		if (bytes[i] != 1)
			return error_set(err, ERR_UNSUPPORTED, "the repository uses %s algorithm %u, this program knows only 1",
			                 ((const char *[]){ "hash", "cipher", "compression", "cutting" })[i - 10], bytes[i]);
	struct repo_header h = { .version = version, .hash = bytes[10], .cipher = bytes[11], .compression = bytes[12], .cutting = bytes[13], .lock = bytes[14], .lock_seconds = get_le32(bytes + 48) };
	memcpy(h.repository.b, bytes + 16, ID_SIZE);
	*ret = h;
	return 0;
}

/* --- key object ------------------------------------------------------------------ */

/* magic[8], le16 version, u8 how, u8 number of master keys (version 1: zero for one), le32 created ns, le64 created seconds, le32 passes, le32 memory, salt[32], label[128],
 * sealed[32 times seal_slots + 16]. Version 3: some master keys were dropped; the last byte of the label says how many. */
enum { KEY_SALT = 32, KEY_LABEL = 64, KEY_SEALED = 192 };
enum { KEY_FIRST = 191 }; /* version 3: its label is one byte shorter */
#define KEY_VERSION_MAX 3u

_Static_assert(KEY_LABEL + sizeof((struct key_object *)0)->label == KEY_SEALED, "label fills its place");

static size_t sealed_size(const struct seal_wrapped *w)
{
	return (size_t)seal_slots(w->count, w->first) * SEAL_KEY_SIZE + SEAL_TAG_SIZE;
}

static bool is_control(uint8_t c)
{
	return c < 0x20 || c == 0x7f;
}

void key_object_encode(struct buf *b, const struct key_object *k, size_t *ret_aad_len)
{
	uint8_t bytes[KEY_SEALED] = { 0 };
	memcpy(bytes, key_magic, sizeof key_magic);
	put_le16(bytes + 8, k->wrapped.first ? KEY_VERSION_MAX : k->wrapped.count > 1 ? 2 : 1);
	bytes[10] = (uint8_t)k->wrapped.how;
	bytes[11] = k->wrapped.count > 1 ? k->wrapped.count : 0;
	put_le32(bytes + 12, k->created.ns);
	put_le64(bytes + 16, (uint64_t)k->created.sec);
	put_le32(bytes + 24, k->wrapped.argon_passes);
	put_le32(bytes + 28, k->wrapped.argon_memory_kib);
	memcpy(bytes + KEY_SALT, k->wrapped.salt, sizeof k->wrapped.salt);
	for (size_t i = 0; i + 1 < sizeof k->label && k->label[i]; i++)
		bytes[KEY_LABEL + i] = is_control((uint8_t)k->label[i]) ? '?' : (uint8_t)k->label[i];
	if (k->wrapped.first) {
		bytes[KEY_FIRST - 1] = 0;
		bytes[KEY_FIRST] = k->wrapped.first;
	}
	buf_add(b, bytes, sizeof bytes);
	buf_add(b, k->wrapped.sealed, sealed_size(&k->wrapped));
	*ret_aad_len = KEY_SEALED;
}

/* The label is printed before anything is authenticated: it holds nothing that a terminal obeys. */
static bool label_is_sound(const uint8_t *label, size_t size)
{
	size_t len = strnlen((const char *)label, size);
	if (len == size || !field_is_zero(label + len, size - len))
		return false;
	for (size_t i = 0; i < len; i++)
		if (is_control(label[i]))
			return false;
	return true;
}

static bool costs_are_sound(const struct seal_wrapped *w)
{
	if (w->how == SEAL_WRAP_KEYFILE)
		return w->argon_passes == 0 && w->argon_memory_kib == 0;
	return w->argon_passes >= 1 && w->argon_passes <= SEAL_ARGON_PASSES_MAX && w->argon_memory_kib >= 8 &&
	       w->argon_memory_kib <= SEAL_ARGON_MEMORY_MAX_KIB;
}

int key_object_decode(struct key_object *ret, const uint8_t *bytes, size_t len, size_t *ret_aad_len, struct error *err)
{
	if (len < 10 || memcmp(bytes, key_magic, sizeof key_magic) != 0)
		return error_set(err, ERR_CORRUPT, "not a key object");
	uint16_t version = get_le16(bytes + 8);
	if (version > KEY_VERSION_MAX)
		return error_set(err, ERR_UNSUPPORTED, "key object has format version %u, this program knows up to %u", version, KEY_VERSION_MAX);
	if (version == 0 || len < KEY_SEALED || (version == 1 ? bytes[11] != 0 : bytes[11] < 2 || bytes[11] > SEAL_EPOCHS_MAX))
		return error_set(err, ERR_CORRUPT, "damaged key object");
	if (bytes[10] != SEAL_WRAP_PASSPHRASE && bytes[10] != SEAL_WRAP_KEYFILE)
		return error_set(err, ERR_UNSUPPORTED, "key object is wrapped in way %u, which this program does not know", bytes[10]);
	struct key_object k = { .created = { (int64_t)get_le64(bytes + 16), get_le32(bytes + 12) } };
	k.wrapped.how = (enum seal_wrap)bytes[10];
	k.wrapped.count = version == 1 ? 1 : bytes[11];
	k.wrapped.first = version == KEY_VERSION_MAX ? bytes[KEY_FIRST] : 0;
	size_t label = sizeof k.label - (version == KEY_VERSION_MAX);
	if (version == KEY_VERSION_MAX && (!k.wrapped.first || k.wrapped.first >= k.wrapped.count))
		return error_set(err, ERR_CORRUPT, "damaged key object");
	k.wrapped.argon_passes = get_le32(bytes + 24);
	k.wrapped.argon_memory_kib = get_le32(bytes + 28);
	if (len != KEY_SEALED + sealed_size(&k.wrapped) || k.created.ns >= NS_PER_SECOND || !costs_are_sound(&k.wrapped) || !label_is_sound(bytes + KEY_LABEL, label))
		return error_set(err, ERR_CORRUPT, "damaged key object");
	memcpy(k.wrapped.salt, bytes + KEY_SALT, sizeof k.wrapped.salt);
	memcpy(k.label, bytes + KEY_LABEL, label);
	memcpy(k.wrapped.sealed, bytes + KEY_SEALED, sealed_size(&k.wrapped));
	*ret = k;
	*ret_aad_len = KEY_SEALED;
	return 0;
}
