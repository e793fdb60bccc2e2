# SPDX-License-Identifier: GPL-3.0-or-later
# Decodes what lies in a repository of format version 1. Written from docs/FORMAT.md alone, without a look at the program's code:
# where this has to guess, that text is wrong. It refuses all that the text calls damage.
import os
import struct

from blake3 import keyed_hash
from libraries import NotAuthentic, argon2id, chacha20_poly1305_open, ed25519_fits, hkdf, sealed_box_open, zstd_frame

DATA, METADATA, INDEX, SNAPSHOT, SESSION, TOMBSTONE, FENCE, LOG = range(1, 9)
WRITER = 9
ENTRIES, PARTS, RANGES, INODES = range(1, 5)
MOST_RAW = 8388608
MOST_SPAN = 2**63 - 1


class Damage(Exception):
	pass


def need(condition, what):
	if not condition:
		raise Damage(what)


class Fields:
	"""A string of bytes that is read from the front; every read is checked against what is left."""

	def __init__(self, data):
		self.data, self.at = bytes(data), 0

	def left(self):
		return len(self.data) - self.at

	def take(self, n):
		need(n <= self.left(), "fields end early")
		self.at += n
		return self.data[self.at - n:self.at]

	def end(self):
		need(self.left() == 0, "bytes are left over")

	def le(self, n):
		return int.from_bytes(self.take(n), "little")

	def varint(self, below=2**64):
		value, shift = 0, 0
		while True:
			byte = self.take(1)[0]
			value |= (byte & 0x7F) << shift
			shift += 7
			if not byte & 0x80:
				break
			need(shift < 70, "a varint is too long")
		need(value < 2**64 and (byte or shift == 7), "a varint is not the shortest")
		need(value < below, "a number is out of range")
		return value

	def svarint(self):
		value = self.varint()
		return value // 2 if value % 2 == 0 else -(value // 2) - 1

	def blob(self, most=65536, least=0):
		n = self.varint()
		need(least <= n <= most, "a length is out of range")
		return self.take(n)

	def text(self, most=65536, least=0):
		value = self.blob(most, least)
		need(b"\0" not in value, "a zero byte in a text")
		return value

	def nanoseconds(self):
		value = self.le(4)
		need(value < 10**9, "nanoseconds out of range")
		return value

	def time(self):
		return self.svarint(), self.nanoseconds()

	def time_after(self, first):
		seconds = (first[0] + self.svarint() + 2**63) % 2**64 - 2**63
		value = (seconds, self.nanoseconds())
		need(value != first, "a time is stored though it is equal")
		return value


# --- attributes, contents, nodes, ranges, inodes -----------------------------------------------------------------------

ATTRIBUTE_BITS = 0x3FFFC
NODE_BITS = 0xFFFFF


def attributes(f, bits):
	a = {"mode": f.varint(2**16) ^ 0x8000}
	seconds = f.svarint()
	nanoseconds = 0
	if bits & 0x4:
		nanoseconds = f.nanoseconds()
		need(nanoseconds, "zero nanoseconds are stored")
	a["mtime"] = mtime = (seconds, nanoseconds)
	a["ctime"] = f.time_after(mtime) if bits & 0x8 else mtime
	need(bits & 0x10 or not bits & 0x20, "a birth time without its bit")
	if bits & 0x10:
		a["btime"] = f.time_after(mtime) if bits & 0x20 else mtime
	for bit, name, below in ((0x40, "uid", 2**32), (0x80, "gid", 2**32)):
		a[name] = f.varint(below) if bits & bit else 0
		need(a[name] or not bits & bit, name + " 0 is stored")
	for bit, name in ((0x100, "user"), (0x200, "group")):
		if bits & bit:
			a[name] = f.text(1024)
	for bit, name, absent, below in ((0x400, "inode", 0, 2**64), (0x800, "device", 0, 2**64), (0x1000, "size", 0, 2**63),
					 (0x2000, "links", 1, 2**32), (0x4000, "rdev", 0, 2**64), (0x8000, "flags", 0, 2**64)):
		a[name] = f.varint(below) if bits & bit else absent
		need(not bits & bit or a[name] != absent, name + " is stored though absent means the same")
	a["xattrs"] = {}
	if bits & 0x10000:
		count = f.varint(4097)
		need(count, "no extended attributes are stored")
		last = b""
		for _ in range(count):
			name = f.text(1024, 1)
			need(name > last, "extended attributes out of order")
			last = name
			a["xattrs"][name] = f.blob(2**20)
	if bits & 0x20000:
		need(a["mode"] & 0xF000 == 0xA000, "a target of what is no symlink")
		a["target"] = f.text(65536, 1)
	return a


def part(f):
	"""(length, id or None for a hole)"""
	n = f.varint()
	length, hole = n >> 1, n & 1
	need(length, "an empty part")
	need(hole or length <= MOST_RAW, "a chunk is too long")
	return length, None if hole else f.take(32)


def content(f):
	"""A list of parts, or the id of the list's root."""
	n = f.varint()
	if n == 1:
		return f.take(32)
	need(n % 2 == 0 and n <= 64, "a content of another form")
	return [part(f) for _ in range(n // 2)]


def node(record):
	f = Fields(record)
	name = f.text(1024, 1)
	need(name not in (b".", b"..") and b"/" not in name, "a name that is none")
	bits = f.varint()
	need(bits & ~NODE_BITS == 0, "a node has bits of a later version")
	a = attributes(f, bits)
	a["name"] = name
	kind = a["mode"] & 0xF000
	if bits & 1:
		need(kind == 0x8000, "content of what is no file")
		a["content"] = content(f)
		if isinstance(a["content"], list):
			need(not bits & 0x1000, "a size is stored beside a content in place")
			a["size"] = sum(p[0] for p in a["content"])
	if bits & 2:
		need(kind == 0x4000, "entries of what is no directory")
		a["entries"] = f.take(32)
	a["incomplete"] = bool(bits & 0x40000)
	if bits & 0x80000:
		a["note"] = f.text(4096)
	f.end()
	return a


def map_range(record):
	"""(length, kind, chunk id, offset in it, length of the chunk)"""
	f = Fields(record)
	n = f.varint()
	length, kind = n >> 2, n & 3
	need(length, "an empty range")
	if kind:
		f.end()
		return length, kind, None, 0, 0
	chunk, offset, behind = f.take(32), f.varint(), f.varint()
	f.end()
	need(offset + length + behind <= MOST_RAW, "a range outside its chunk")
	return length, kind, chunk, offset, offset + length + behind


def inode(record):
	f = Fields(record)
	number = int.from_bytes(f.take(8), "big")
	bits = f.varint()
	need(bits < 32, "an inode has bits of a later version")
	a = {"number": number, "generation": 0, "size": 0, "extents": []}
	for bit, name, below in ((1, "generation", 2**32), (2, "size", 2**63)):
		if bits & bit:
			a[name] = f.varint(below)
			need(a[name], name + " 0 is stored")
	a["mtime"] = f.time()
	a["ctime"] = f.time_after(a["mtime"]) if bits & 4 else a["mtime"]
	if bits & 8:
		count, shift = f.varint(), f.le(1)
		need(0 < count <= f.left() // 3, "a wrong number of extents")
		logical = physical = every = 0
		for _ in range(count):
			n = f.varint()
			length = n >> 1
			logical += f.varint()
			physical += f.svarint()
			need(length and physical >= 0, "an extent is empty, or before the start")
			every |= length | logical | physical
			a["extents"].append((logical << shift, physical << shift, length << shift, bool(n & 1)))
			logical += length
			physical += length
			need(logical << shift <= MOST_SPAN and physical << shift <= MOST_SPAN, "an extent ends too far")
		need(every & 1, "the shift of the extents could be larger")
	if bits & 16:
		a["content"] = content(f)
		if isinstance(a["content"], list):
			need(sum(p[0] for p in a["content"]) == a["size"], "parts do not add up to the size")
	f.end()
	return a


# --- lists -------------------------------------------------------------------------------------------------------------

DECODE = {ENTRIES: node, PARTS: lambda r: _whole(part, r), RANGES: map_range, INODES: inode}


def _whole(decode, record):
	f = Fields(record)
	value = decode(f)
	f.end()
	return value


def _key_and_span(kind, record, value):
	if kind == ENTRIES:
		return value["name"], 1
	if kind == INODES:
		return record[:8], 1
	return b"", value[0]


def fnv1a(data):
	h = 0xCBF29CE484222325
	for byte in data:
		h = (h ^ byte) * 0x100000001B3 % 2**64
	return h


class PageEnds:
	"""Checks that the pages of one level end where the text says: told of each item, and of each page's end."""

	def __init__(self):
		self.size, self.must_end, self.unexplained = 0, False, False

	def item(self, length, item, hashed):
		"""length: with the length prefix"""
		long = len(item) > 131072
		need(not self.unexplained or long, "a page ends where it need not")
		need(not long or self.size == 0, "a long record does not stand alone")
		need(not self.must_end, "a page does not end where it has to")
		self.unexplained = False
		self.size += length
		self.must_end = self.size >= 131072 or (self.size >= 16384 and fnv1a(hashed) >> 59 == 0)

	def page(self):
		"""Without a reason in its own items, the page is the level's last one, or a long record follows."""
		self.unexplained = not self.must_end
		self.size, self.must_end = 0, False


# --- the repository ----------------------------------------------------------------------------------------------------

def crc32c(data):
	crc = 0xFFFFFFFF
	for byte in data:
		crc ^= byte
		for _ in range(8):
			crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
	return crc ^ 0xFFFFFFFF


def padded_length(n):
	if n <= 512:
		return 512
	e = n.bit_length() - 1
	step = 1 << (e - e.bit_length())
	return -(-n // step) * step


class Repository:
	def __init__(self, folder, key_file=None, passphrase=None):
		self.folder = folder
		self.id = self._header(self._object("twofold"))
		first, masters = self._unlock(key_file, passphrase)
		if first:  # the three keys that all epochs share stand for themselves
			masters, shared = masters[:-3], masters[-3:]
		else:
			shared = [hkdf(masters[0], self.id, info) for info in (b"twofold chunk id data", b"twofold chunk id metadata", b"twofold cutting")]
		self.chunk_keys, self.cutting_key = {DATA: shared[0], METADATA: shared[1]}, shared[2]
		self.objects_keys = {first + i: hkdf(m, self.id, b"twofold objects") for i, m in enumerate(masters)}
		self.rows, self.keys_named = {}, {}
		self.sessions = {}
		for name in self.names("index"):
			self._segment(self.sealed("index", name, INDEX))
		self.block = (None, None)

	# Objects

	def names(self, folder):
		path = os.path.join(self.folder, folder)
		return sorted(n for n in os.listdir(path)) if os.path.isdir(path) else []

	def _object(self, name):
		with open(os.path.join(self.folder, name), "rb") as f:
			return f.read()

	@staticmethod
	def _header(h):
		need(h[:8] == b"TWOFOLD\n", "not a repository")
		need(len(h) != 64 or struct.unpack("<I", h[60:])[0] == crc32c(h[:60]), "the header is damaged")
		version = struct.unpack("<H", h[8:10])[0]
		need(version in (1, 2), "a newer version")
		locked = h[14] in (1, 2) and h[48:52] != bytes(4) if version == 2 else h[14] == 0 and h[48:52] == bytes(4)
		need(len(h) == 64 and locked and h[15] == 0 and h[52:60] == bytes(8), "the header is damaged")
		need(h[10:14] == bytes((1, 1, 1, 1)), "unknown algorithms")
		return h[16:48]

	def _unlock(self, key_file, passphrase):
		way, best = 2 if key_file is not None else 1, None
		for name in self.names("keys"):
			k = self._object("keys/" + name)
			need(k[:8] == b"2FOLDKEY" and (k[8:10] == b"\1\0" and k[11] == 0 or k[8:10] in (b"\2\0", b"\3\0") and 2 <= k[11] <= 64), "a key object is damaged")
			count, first = max(k[11], 1), k[191] if k[8] == 3 else 0
			need(k[8] != 3 or 1 <= first < count and k[190] == 0, "how many master keys were dropped")
			need(len(k) == 208 + 32 * (count - first + (3 if first else 0)), "a key object's size")
			if k[10] != way:
				continue
			salt = k[32:64]
			if way == 2:
				w = hkdf(key_file, salt, b"twofold key file")
			else:
				passes, kib = struct.unpack("<II", k[24:32])
				need(1 <= passes <= 32 and 8 <= kib <= 4194304, "a key object's cost is out of range")
				w = argon2id(passphrase, salt[:16], passes, kib)
			try:
				keys = chacha20_poly1305_open(w, bytes(12), k[:192], k[192:])
			except NotAuthentic:
				continue
			if best is None or (count, -first) > best[0]:
				best = (count, -first), first, keys
		if best:
			return best[1], [best[2][i:i + 32] for i in range(0, len(best[2]), 32)]
		raise Damage("no key object opens by this secret")

	def which_key(self, head):
		"""The objects key that a head names."""
		how, epoch = head[11], struct.unpack("<H", head[12:14])[0]
		need(head[14:16] == bytes(2) and how <= 1, "a head names an unknown key")
		if how == 1:
			need(head[8:10] == b"\2\0" and epoch == 0, "a head's version")
			need(head[:8] == b"2FOLDPAK" or head[10] in (INDEX, SNAPSHOT, SESSION), "a write-only key wrote what it may not")
			return self._session_key(head[48:80])
		need(struct.unpack("<H", head[8:10])[0] == (2 if epoch else 1), "a head's version")
		need(epoch in self.objects_keys, "a master key is missing")
		return self.objects_keys[epoch]

	def _session_key(self, session):
		if session not in self.sessions:
			s = self._object("sealed/" + session.hex())
			need(len(s) == 160 and s[:16] == b"2FOLDSES\1" + bytes(7) and s[16:48] == session, "the key of a session")
			writer = s[48:80]
			f = Fields(self.sealed("writers", writer.hex(), WRITER)[1])
			need(f.le(2) == 1, "a write-only key's version")
			fields = {}
			while f.left():
				tag = f.varint()
				need(tag > max(fields, default=0), "a write-only key's tags")
				fields[tag] = f.blob()
			need(2 in fields and len(fields.get(4, b"")) == 32, "a write-only key lacks a field")
			inside = sealed_box_open(s[80:], fields[4])
			need(len(inside) == 32 and hkdf(inside, self.id, b"twofold session id" + writer) == session, "another session's key")
			self.sessions[session] = hkdf(inside, self.id, b"twofold session objects" + writer)
		return self.sessions[session]

	def message(self, objects_key, object_id, kind, counter, sealed):
		key = hkdf(objects_key, object_id, b"twofold object" + struct.pack("<I", kind))
		associated = self.id + object_id + struct.pack("<IQ", kind, counter)
		return chacha20_poly1305_open(key, struct.pack("<Q", counter) + bytes(4), associated, sealed)

	def sealed(self, folder, name, kind):
		"""(session, payload) of a sealed object"""
		data = self._object(f"{folder}/{name}")
		h, object_id = data[:80], bytes.fromhex(name)
		need(h[:8] == b"2FOLDOBJ" and h[10] == kind, f"{folder}/{name}: header")
		need(h[16:48] == object_id, f"{folder}/{name}: another object lies there")
		plain, objects_key = b"", self.which_key(h)
		for i, at in enumerate(range(80, len(data), 1048592)):
			plain += self.message(objects_key, object_id, kind, i, data[at:at + 1048592])
		need(plain[:32] == h[48:80], f"{folder}/{name}: session")
		n = struct.unpack("<Q", plain[32:40])[0]
		need(n <= len(plain) - 40, f"{folder}/{name}: a piece is missing")
		need(len(plain) == padded_length(40 + n) and not any(plain[40 + n:]), f"{folder}/{name}: padding")
		return plain[:32], plain[40:40 + n]

	# Chunks

	def _segment(self, session_and_payload):
		session, s = session_and_payload
		need(s[:8] == b"2FOLDIDX" and s[8:16] == b"\1" + bytes(7) and s[32:64] == session, "a segment's header")
		packs, blocks, chunks = struct.unpack("<IIQ", s[16:32])
		blocks_at = 64 + 40 * packs
		chunks_at = blocks_at + 20 * blocks
		need(len(s) == chunks_at + 44 * chunks, "a segment's size")
		last = b""
		for i in range(chunks):
			row = s[chunks_at + 44 * i:chunks_at + 44 * i + 44]
			need(row[:32] > last, "a segment is out of order")
			last = row[:32]
			b, offset, length = struct.unpack("<III", row[32:])
			need(b < blocks, "a chunk's block")
			pack, number, at, sealed, raw = struct.unpack("<5I", s[blocks_at + 20 * b:blocks_at + 20 * b + 20])
			need(pack < packs, "a block's pack")
			p = s[64 + 40 * pack:104 + 40 * pack]
			kind, key_named, size = p[32], p[33:36], struct.unpack("<I", p[36:])[0]
			if key_named[0] and last in self.rows and self.keys_named[self.rows[last][0]][0] == 0:
				continue  # a place that a write-only key wrote comes last
			need(kind in (DATA, METADATA) and at + sealed <= size and offset + length <= raw <= MOST_RAW, "a row")
			self.rows[last] = (p[:32], kind, number, at, sealed, raw, offset, length)
			self.keys_named[p[:32]] = key_named

	def _open_block(self, pack, kind, number, at, sealed, raw):
		if self.block[0] == (pack, number):
			return self.block[1]
		name = pack.hex()
		with open(f"{self.folder}/packs/{name[:2]}/{name}", "rb") as f:
			head = f.read(80)
			need(self.keys_named.get(pack, head[11:14]) == head[11:14], "the index names another key than the pack")
			f.seek(at)
			data = f.read(sealed)
		plain = self.message(self.which_key(head), pack, kind, number, data)
		algorithm, length = plain[0], struct.unpack("<I", plain[1:5])[0]
		need(length == raw and raw <= MOST_RAW, "a block's length")
		if algorithm == 0:
			need(len(plain) - 5 == length, "a stored block's length")
			result = plain[5:]
		else:
			need(algorithm == 1 and length, "a block's algorithm")
			result = zstd_frame(plain[5:], length)
		self.block = ((pack, number), result)
		return result

	def chunk(self, chunk_id, kind, length=None):
		need(chunk_id in self.rows, "chunk %s is in no segment" % chunk_id.hex())
		pack, pack_kind, number, at, sealed, raw, offset, size = self.rows[chunk_id]
		need(pack_kind == kind and (length is None or length == size), "a chunk of another kind or length")
		piece = self._open_block(pack, kind, number, at, sealed, raw)[offset:offset + size]
		need(keyed_hash(self.chunk_keys[kind], piece) == chunk_id, "chunk %s is damaged" % chunk_id.hex())
		return piece

	def table(self, name):
		"""The rows of a pack as its own table tells them."""
		data, pack = self._object(f"packs/{name[:2]}/{name}"), bytes.fromhex(name)
		h, footer = data[:80], data[-32:]
		need(h[:8] == b"2FOLDPAK" and h[10] in (1, 2) and h[16:48] == pack, "a pack's header")
		at, length = struct.unpack("<QI", footer[:12])
		need(footer[12:] == bytes(12) + b"2FOLDEND" and at + length + 32 == len(data) and len(data) % 16384 == 0, "a pack's footer")
		f = Fields(self.message(self.which_key(h), pack, h[10], 2**64 - 1, data[at:at + length]))
		need(f.take(32) == h[48:80], "a pack's session")
		rows, place = {}, 80
		for number in range(f.varint()):
			sealed, raw = f.le(4), f.le(4)
			need(sealed > 21 and raw <= MOST_RAW, "a block's lengths")
			chunks, offset = f.varint(), 0
			need(chunks, "a block without chunks")
			for _ in range(chunks):
				chunk_id, size = f.take(32), f.varint()
				need(size, "an empty chunk")
				rows[chunk_id] = (pack, h[10], number, place, sealed, raw, offset, size)
				offset += size
			need(offset == raw, "chunks do not fill their block")
			place += sealed
		need(place == at and not any(f.take(f.left())), "a pack's table")
		return rows

	# Lists

	def list(self, root, kind):
		"""Yields the decoded records of a list, checking all pages and where they end."""
		ends = {}
		yield from self._page(root, kind, None, None, ends)

	def _page(self, page_id, kind, level, told, ends):
		data = self.chunk(page_id, METADATA)
		need(len(data) <= 4456448, "a page is too long")
		f = Fields(data)
		own, own_kind, count = f.le(1), f.le(1), f.varint()
		need(own <= 7 and own_kind == kind and level in (None, own), "a page of another level or kind")
		need(count or (own == 0 and level is None), "an empty page")
		need(own == 0 or level is not None or count > 1, "a root with a single child")
		spans = records = 0
		last_key = None
		end = ends.setdefault(own, PageEnds())
		items = []
		for _ in range(count):
			start = f.at
			if own == 0:
				record = f.blob(4194304, 1)
				items.append((f.at - start, record))
			else:
				child = (f.take(32), f.varint(), f.varint(), f.blob(1024))
				items.append((f.at - start, child))
		f.end()
		for length, item in items:
			end.item(length, item, item if own == 0 else item[0])
			if own == 0:
				value = DECODE[kind](item)
				key, span = _key_and_span(kind, item, value)
				need(last_key is None or not key and kind in (PARTS, RANGES) or key > last_key, "keys out of order")
				spans, records, last_key = spans + span, records + 1, key
				yield value
			else:
				yield from self._page(item[0], kind, own - 1, item[1:], ends)
				need(last_key is None or kind in (PARTS, RANGES) or item[3] > last_key, "keys out of order")
				spans, records, last_key = spans + item[1], records + item[2], item[3]
		need(spans <= MOST_SPAN, "a list is too long")
		need(told is None or told == (spans, records, last_key), "a page is not what its parent says")
		end.page()

	def parts(self, a):
		parts = a["content"]
		return parts if isinstance(parts, list) else self.list(parts, PARTS)

	def file(self, a):
		"""Yields the bytes of a regular file, a piece at a time."""
		total = 0
		for length, chunk_id in self.parts(a):
			total += length
			yield bytes(length) if chunk_id is None else self.chunk(chunk_id, DATA, length)
		need(total == a["size"], "a file's parts do not add up to its size")

	# Snapshots

	def fenced(self):
		fenced = set()
		for name in self.names("fences"):
			f = document(self.sealed("fences", name, FENCE)[1], {})
			ids = f.get(10, [b""])[0]
			fenced.update(ids[i:i + 32] for i in range(0, len(ids), 32))
		return fenced

	def snapshots(self):
		fenced, found = self.fenced(), []
		for name in self.names("snapshots"):
			session, payload = self.sealed("snapshots", name, SNAPSHOT)
			s = snapshot(payload)
			need(s["session"] == session, "a snapshot of another session")
			s["id"] = name
			if session not in fenced:
				found.append(s)
		return sorted(found, key=lambda s: s["time"])

	def log(self):
		"""(entries, vouchers by snapshot: {(hash, key)}, names of signing keys); what is signed falsely is damage here"""
		entries, vouchers, names = {}, {}, {}
		for name in self.names("log"):
			payload = self.sealed("log", name, LOG)[1]
			d = document(payload, {17})
			need(not [t for t in d if t % 2 == 0 and t not in (2, 6, 8, 10, 12)], "an entry of the log of a later version")
			entries[bytes.fromhex(name)] = (d, keyed_hash(self.chunk_keys[METADATA], payload))
			for value in d.get(17, []):
				f = Fields(value)
				key, (seconds, nanoseconds), holder, signature = f.take(32), f.time(), f.blob(512, 1), f.take(64)
				f.end()
				need(ed25519_fits(key, b"twofold signing key" + self.id + key + struct.pack("<qI", seconds, nanoseconds) + holder, signature), "an introduction's signature")
				names[key] = holder
			rows = d.get(15, [b""])[0]
			for row in (rows[i:i + 160] for i in range(0, len(rows), 160)):
				need(ed25519_fits(row[64:96], b"twofold snapshot" + self.id + row[:64], row[96:]), "a voucher's signature")
				vouchers.setdefault(row[:32], set()).add((row[32:64], row[64:96]))
			if 19 in d:
				signed = payload[:payload.rindex(b"\x13\x60" + d[19][0])]
				need(ed25519_fits(d[19][0][:32], b"twofold log entry" + self.id + bytes.fromhex(name) + signed, d[19][0][32:]), "an entry's signature")
		for d, _ in entries.values():
			before, hashes = d.get(6, [b""])[0], d.get(13, [b""])[0]
			for i in range(0, len(hashes), 32):
				need(entries.get(before[i:i + 32], (None, hashes[i:i + 32]))[1] == hashes[i:i + 32], "another entry in the place of one")
		return entries, vouchers, names


def document(payload, repeated):
	"""A field list: tag -> values"""
	f = Fields(payload)
	need(f.le(2) == 1, "a document of a later version")
	fields, last = {}, 0
	while f.left():
		tag, value = f.varint(), f.blob(2**26)
		need(tag > last or (tag == last and (tag in repeated or (tag % 2 and tag > 24))), "tags out of order")
		last = tag
		fields.setdefault(tag, []).append(value)
	return fields


def one(fields, tag, decode, absent=None):
	if tag not in fields:
		return absent
	f = Fields(fields[tag][0])
	value = decode(f)
	f.end()
	return value


def volume(value):
	f = Fields(value)
	v = {"number": f.varint(), "offset": f.varint(), "size": f.varint(), "mbr_type": f.le(1), "type": f.take(16), "guid": f.take(16)}
	for name in ("name", "filesystem", "uuid", "label"):
		v[name] = f.text(4096)
	v["used"], flags = f.varint(), f.le(1)
	need(flags < 4, "a volume of a later version")
	v["whole"] = bool(flags & 1)
	v["reason"] = f.text(4096)
	if flags & 2:
		v["entries"], v["inodes"] = f.take(32), f.take(32)
		bits = f.varint()
		need(bits & ~ATTRIBUTE_BITS == 0, "bits of a node")
		v["root"] = attributes(f, bits)
	f.end()
	return v


TOTALS = ("files", "directories", "others", "bytes", "new", "changed", "unchanged", "read", "added", "stored", "warnings", "nanoseconds")


def snapshot(payload):
	d = document(payload, {11, 13, 24})
	need({2, 4, 14, 17} <= d.keys(), "a snapshot lacks a field")
	need(not [t for t in d if t % 2 == 0 and t not in (2, 4, 14, 18, 20, 22, 24)], "a snapshot of a later version")
	s = {"kind": one(d, 2, lambda f: f.le(1)), "time": one(d, 4, Fields.time), "session": d[14][0], "sources": d.get(11, []),
	     "tags": d.get(13, []), "parent": d.get(15, [None])[0], "host": d.get(5, [b""])[0], "user": d.get(7, [b""])[0],
	     "program": d.get(9, [b""])[0], "totals": one(d, 17, lambda f: dict((n, f.varint()) for n in TOTALS))}
	if s["kind"] == 1:
		need(18 in d and not {20, 21, 22, 24} & d.keys(), "fields of a snapshot of files")
		s["entries"] = d[18][0]
	else:
		need(s["kind"] == 2 and {20, 22} <= d.keys() and 18 not in d, "fields of a snapshot of an image")
		s["map"] = d[22][0]
		s["disk"] = one(d, 20, lambda f: (f.varint(), f.varint(), f.le(1), f.take(16), f.le(4)))
		s["volumes"] = [volume(v) for v in d.get(24, [])]
	return s
