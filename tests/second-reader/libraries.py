# SPDX-License-Identifier: GPL-3.0-or-later
# The standard algorithms that the format names, from the system's libraries: ChaCha20-Poly1305 and AES (libcrypto),
# zstd (libzstd), Argon2id (libsodium). Everything that is Twofold's own is in reader.py.
import ctypes
import hashlib
import hmac


class NotAuthentic(Exception):
	pass


crypto = ctypes.CDLL("libcrypto.so.3")
zstd = ctypes.CDLL("libzstd.so.1")
for name in ("EVP_CIPHER_CTX_new", "EVP_chacha20_poly1305", "EVP_aes_128_ecb"):
	getattr(crypto, name).restype = ctypes.c_void_p
P = ctypes.c_void_p
crypto.EVP_CIPHER_CTX_free.argtypes = [P]
crypto.EVP_DecryptInit_ex.argtypes = crypto.EVP_EncryptInit_ex.argtypes = [P, P, P, ctypes.c_char_p, ctypes.c_char_p]
crypto.EVP_DecryptUpdate.argtypes = crypto.EVP_EncryptUpdate.argtypes = [P, P, P, ctypes.c_char_p, ctypes.c_int]
crypto.EVP_CIPHER_CTX_ctrl.argtypes = [P, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]
crypto.EVP_DecryptFinal_ex.argtypes = [P, P, P]
zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
zstd.ZSTD_getFrameContentSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t
zstd.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [P, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
SET_TAG = 0x11


def chacha20_poly1305_open(key, nonce, associated, sealed):
	"""The plaintext of ciphertext ‖ tag; NotAuthentic otherwise."""
	if len(sealed) < 16:
		raise NotAuthentic("too short")
	body, tag = bytes(sealed[:-16]), bytes(sealed[-16:])
	context = crypto.EVP_CIPHER_CTX_new()
	try:
		out, n = ctypes.create_string_buffer(len(body) + 16), ctypes.c_int()
		ok = crypto.EVP_DecryptInit_ex(context, crypto.EVP_chacha20_poly1305(), None, key, nonce) == 1
		ok = ok and crypto.EVP_DecryptUpdate(context, None, ctypes.byref(n), associated, len(associated)) == 1
		ok = ok and (not body or crypto.EVP_DecryptUpdate(context, out, ctypes.byref(n), body, len(body)) == 1)
		ok = ok and crypto.EVP_CIPHER_CTX_ctrl(context, SET_TAG, 16, tag) == 1
		if not ok or crypto.EVP_DecryptFinal_ex(context, None, ctypes.byref(n)) != 1:
			raise NotAuthentic("a message does not authenticate")
		return out.raw[:len(body)]
	finally:
		crypto.EVP_CIPHER_CTX_free(context)


class Aes128:
	"""AES-128 of single blocks."""

	def __init__(self, key):
		self.context = crypto.EVP_CIPHER_CTX_new()
		crypto.EVP_EncryptInit_ex(self.context, crypto.EVP_aes_128_ecb(), None, key, None)

	def __del__(self):
		crypto.EVP_CIPHER_CTX_free(self.context)

	def encrypt(self, block):
		out, n = ctypes.create_string_buffer(32), ctypes.c_int()
		crypto.EVP_EncryptUpdate(self.context, out, ctypes.byref(n), block, 16)
		return out.raw[:16]


def zstd_frame(payload, raw_length):
	"""Decompresses exactly one frame that fills payload and tells raw_length."""
	payload = bytes(payload)
	if zstd.ZSTD_getFrameContentSize(payload, len(payload)) != raw_length:
		raise ValueError("a zstd frame of another content size")
	if zstd.ZSTD_findFrameCompressedSize(payload, len(payload)) != len(payload):
		raise ValueError("a zstd frame that does not fill its block")
	out = ctypes.create_string_buffer(raw_length)
	if zstd.ZSTD_decompress(out, raw_length, payload, len(payload)) != raw_length:
		raise ValueError("a zstd frame does not decompress")
	return out.raw


def argon2id(passphrase, salt, passes, kib):
	sodium = ctypes.CDLL("libsodium.so.23")
	sodium.sodium_init()
	out = ctypes.create_string_buffer(32)
	sodium.crypto_pwhash.argtypes = [P, ctypes.c_ulonglong, ctypes.c_char_p, ctypes.c_ulonglong, ctypes.c_char_p,
					 ctypes.c_ulonglong, ctypes.c_size_t, ctypes.c_int]
	if sodium.crypto_pwhash(out, 32, passphrase, len(passphrase), salt, passes, kib * 1024, 2) != 0:
		raise MemoryError("Argon2id failed")
	return out.raw


def sealed_box_open(box, secret):
	"""What libsodium's crypto_box_seal put into the box (X25519)."""
	sodium = ctypes.CDLL("libsodium.so.23")
	sodium.sodium_init()
	public, out = ctypes.create_string_buffer(32), ctypes.create_string_buffer(max(len(box) - 48, 1))
	sodium.crypto_scalarmult_base(public, bytes(secret))
	sodium.crypto_box_seal_open.argtypes = [P, ctypes.c_char_p, ctypes.c_ulonglong, ctypes.c_char_p, ctypes.c_char_p]
	if len(box) < 48 or sodium.crypto_box_seal_open(out, bytes(box), len(box), public.raw, bytes(secret)) != 0:
		raise NotAuthentic("a sealed box does not open")
	return out.raw[:len(box) - 48]


def hkdf(key, salt, info):
	"""HKDF-SHA-256, extract and expand, 32 bytes (RFC 5869)."""
	extracted = hmac.new(salt, key, hashlib.sha256).digest()
	return hmac.new(extracted, info + b"\1", hashlib.sha256).digest()


def ed25519_fits(public, message, signature):
	sodium = ctypes.CDLL("libsodium.so.23")
	sodium.sodium_init()
	sodium.crypto_sign_verify_detached.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulonglong, ctypes.c_char_p]
	return sodium.crypto_sign_verify_detached(bytes(signature), bytes(message), len(message), bytes(public)) == 0
